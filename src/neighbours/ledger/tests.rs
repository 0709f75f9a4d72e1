//! What every ledger must do, told once and asked of each kind.

mod backups;
mod brake;
mod only_postgres;
mod only_sqlite;
mod promises;
mod tampering;

use std::time::Duration;

use jiff::Timestamp;

use super::clock::to_millisecond;
use super::row::State;
use super::state::Act;
use super::*;
use crate::contract::message::{Cause, Proof};

/// Runs each test against a ledger in a file, and one in a database of its own.
macro_rules! of_every_ledger {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(super::open_in(folder.path()).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test] async fn $name() {
                let database = $crate::neighbours::ledger::tests::only_postgres::TestDatabase::new().await;
                super::$name(database.open().await).await;
                database.remove().await;
            })+
        }
    };
}

pub(super) use of_every_ledger;

of_every_ledger![
    the_first_decision_wins,
    a_decided_request_begins_with_its_answer,
    another_asset_under_the_same_id_is_a_conflict,
    another_dry_run_under_the_same_id_is_a_conflict,
    a_conflict_changes_nothing,
    a_refusal_of_an_unknown_request_is_its_answer,
    a_refusal_of_an_open_request_changes_nothing,
    a_refusal_of_a_decided_request_does_not_repeat_its_answer,
    attempts_are_counted_from_the_first_sight,
    a_delete_that_may_have_been_sent_is_never_forgotten,
    an_attempt_that_was_superseded_changes_nothing,
    what_it_waited_for_is_remembered,
    nothing_happens_to_a_request_that_never_began,
    nothing_happens_to_a_decided_request,
    a_dry_run_never_deletes,
    a_probe_succeeds,
    a_request_is_shown_as_it_stands,
    an_asset_stands_where_its_strongest_request_says,
    a_request_is_found_by_its_id_its_asset_and_its_case,
    every_change_is_kept_and_verified,
    the_first_size_of_a_case_stands,
    a_case_counts_its_decided_requests_once_each,
    a_case_is_completed_once,
    old_decisions_become_tombstones_in_the_order_they_were_taken,
    a_tombstone_remembers_what_became_of_its_asset,
    a_tombstone_is_verified,
    the_overview_shows_what_is_open_and_what_was_decided,
];

pub(super) async fn open_in(folder: &std::path::Path) -> Ledger {
    let url = format!("sqlite://{}", folder.join("ledger.db").display());
    Ledger::open(&url.into(), Metrics::new().unwrap()).await.unwrap()
}

/// A time in the test's own past, `seconds` after its start; with a fraction that the ledger rounds off.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_700_000_000 + seconds, 123_456_789).unwrap()
}

pub(super) fn id(text: &str) -> RequestId {
    RequestId::parse(text).unwrap()
}

pub(super) fn nth(request: &str, number: u32) -> Attempt {
    Attempt { request_id: id(request), token: Token(number.into()) }
}

pub(super) fn first(request: &str) -> Attempt {
    nth(request, 1)
}

pub(super) fn first_of(request: &RequestId) -> Attempt {
    Attempt { request_id: request.clone(), token: Token(1) }
}

pub(super) fn answered(event: &str) -> Begun {
    decided(event, Some("case"))
}

pub(super) fn decided(event: &str, of_case: Option<&str>) -> Begun {
    let past = Past { of_case: of_case.map(str::to_owned), interrupted: 0, heard: false };
    Begun::Decided { event: event.to_owned(), past }
}

pub(super) fn recorded(event: &str, of_case: Option<&str>) -> RefusalRecord {
    RefusalRecord::Recorded { event: event.to_owned(), of_case: of_case.map(str::to_owned) }
}

pub(super) fn case(text: &str) -> CaseId {
    CaseId::parse(text).unwrap()
}

pub(super) fn asked(request: &str, asset: &str) -> Asked {
    Asked {
        request_id: id(request),
        asset_id: AssetId::parse(asset).unwrap(),
        case_id: Some(case("case")),
        dry_run: false,
        backup: None,
        request: format!(r#"{{"request_id":"{request}","asset_id":"{asset}","case_id":"case"}}"#),
    }
}

/// The outcome of this name, with the strongest proof.
pub(super) fn of(outcome: &str) -> Outcome {
    match outcome {
        "deleted" => Outcome::Deleted(Proof::Erased),
        "already_absent" => Outcome::AlreadyAbsent(Proof::Absent),
        "rejected" => Outcome::rejected(Cause::InUse, ""),
        "failed" => Outcome::failed(Cause::StillPresent, ""),
        other => panic!("no outcome is called {other:?}"),
    }
}

/// Begins and expects the request to be open.
pub(super) async fn begin(ledger: &Ledger, asked: Asked, now: Timestamp) -> Record {
    match ledger.at(now).begin(asked, Beside::NoSuspect).await.unwrap() {
        Begun::Open(record) => record,
        other => panic!("expected an open request, got {other:?}"),
    }
}

/// An open request that has sent a `DELETE`, and a decided one.
pub(super) async fn record_some(ledger: &Ledger) {
    begin(ledger, asked("open", "a"), at(0)).await;
    ledger.at(at(1)).deleting(&first("open"), None, false).await.unwrap();
    ledger.at(at(2)).put_off(&first("open"), 2, "provider").await.unwrap();
    begin(ledger, asked("decided", "b"), at(3)).await;
    ledger.at(at(4)).decide(&first("decided"), &of("deleted"), |_| "event".into()).await.unwrap();
}

/// What [`record_some`] has recorded is there after a restart.
pub(super) async fn assert_some_is_there(ledger: &Ledger) {
    let wanted = Record {
        attempt: nth("open", 2),
        now: to_millisecond(at(6)),
        first_seen: to_millisecond(at(0)),
        attempts: 2,
        interrupted: 0,
        rung: 2,
        deletes: 1,
        missed: 0,
        seen: false,
        waited_for: Some("provider".to_owned()),
        backup: None,
    };
    assert_eq!(begin(ledger, asked("open", "a"), at(6)).await, wanted);
    assert_eq!(ledger.at(at(7)).begin(asked("decided", "b"), Beside::NoSuspect).await.unwrap(), answered("event"));
}

async fn a_request_is_shown_as_it_stands(ledger: Ledger) {
    assert_eq!(ledger.request(&id("r")).await.unwrap(), None);
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).put_off(&first("r"), 1, "in_use").await.unwrap();
    let open = ledger.request(&id("r")).await.unwrap().unwrap();
    assert_eq!((open.state, open.waited_for.as_deref(), open.outcome), ("waiting", Some("in_use"), None));
    begin(&ledger, asked("r", "a"), at(1)).await;
    ledger.at(at(2)).decide(&nth("r", 2), &of("deleted"), |_| "event".into()).await.unwrap();
    let decided = ledger.request(&id("r")).await.unwrap().unwrap();
    assert_eq!((decided.state, decided.outcome.as_deref(), decided.attempts), ("decided", Some("deleted"), 2));
    assert_eq!((decided.asset_id.as_deref(), decided.event.as_deref()), (Some("a"), Some("event")));
    assert_eq!((decided.first_seen, decided.updated), (to_millisecond(at(0)), to_millisecond(at(2))));
}

async fn a_request_is_found_by_its_id_its_asset_and_its_case(ledger: Ledger) {
    begin(&ledger, asked("r2", "a"), at(2)).await;
    begin(&ledger, asked("r1", "a"), at(1)).await;
    begin(&ledger, Asked { case_id: None, ..asked("r3", "b") }, at(3)).await;
    for (key, most, wanted) in
        [("r2", 9, &["r2"][..]), ("a", 9, &["r1", "r2"]), ("case", 1, &["r1"]), ("b", 9, &["r3"]), ("other", 9, &[])]
    {
        let found = ledger.find(key, most).await.unwrap();
        assert_eq!(found.iter().map(|(entry, _)| entry.request_id.as_str()).collect::<Vec<_>>(), wanted, "{key}");
    }
}

async fn every_change_is_kept_and_verified(ledger: Ledger) {
    assert_eq!(ledger.verify(None).await.unwrap(), None);
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap();
    ledger.at(at(2)).put_off(&first("r"), 1, "provider").await.unwrap();
    begin(&ledger, asked("r", "a"), at(3)).await;
    ledger.at(at(4)).decide(&nth("r", 2), &of("deleted"), |_| "event".into()).await.unwrap();
    ledger.at(at(5)).decide(&nth("r", 2), &of("failed"), |_| "late".into()).await.unwrap();
    ledger.at(at(6)).refuse(&id("bad"), None, |_| "refusal".into()).await.unwrap();
    let history = ledger.find("r", 1).await.unwrap().remove(0).1;
    let kept: Vec<_> = history.iter().map(|one| (one.number, one.state.as_str(), one.why.as_deref())).collect();
    let wanted = [
        (1, "begun", None),
        (2, "deleting", None),
        (3, "waiting", Some("provider")),
        (4, "begun", None),
        (5, "decided", Some("deleted")),
    ];
    assert_eq!(kept, wanted);
    assert_eq!((history[3].attempts, history[4].at), (2, to_millisecond(at(4))));
    let verified = ledger.verify(None).await.unwrap().unwrap();
    assert_eq!((verified.requests, verified.entries, verified.problems), (2, 6, vec![]));
    assert_eq!(ledger.verify(Some(&verified.last)).await.unwrap(), None, "all of them were checked");
}

async fn an_asset_stands_where_its_strongest_request_says(ledger: Ledger) {
    let asset = AssetId::parse("a").unwrap();
    let stands = async || {
        let (state, entry) = ledger.asset(&asset).await.unwrap();
        (state, entry.map(|entry| entry.request_id.to_string()))
    };
    let by = |request: &str| Some(request.to_owned());
    assert_eq!(stands().await, (AssetState::Unknown, None));
    begin(&ledger, asked("other", "b"), at(0)).await;
    begin(&ledger, Asked { dry_run: true, ..asked("dry", "a") }, at(0)).await;
    ledger.at(at(0)).decide(&first("dry"), &of("already_absent"), |_| "event".into()).await.unwrap();
    begin(&ledger, asked("failed", "a"), at(1)).await;
    ledger.at(at(1)).decide(&first("failed"), &of("failed"), |_| "event".into()).await.unwrap();
    assert_eq!(stands().await, (AssetState::Unknown, None), "neither says anything");
    begin(&ledger, asked("late", "a"), at(3)).await;
    begin(&ledger, asked("early", "a"), at(2)).await;
    assert_eq!(stands().await, (AssetState::Requested, by("early")));
    ledger.at(at(4)).deleting(&first("late"), None, false).await.unwrap();
    ledger.at(at(5)).put_off(&first("late"), 1, "provider").await.unwrap();
    assert_eq!(stands().await, (AssetState::Deleting, by("late")), "also while it waits");
    begin(&ledger, asked("late", "a"), at(6)).await;
    ledger.at(at(6)).decide(&nth("late", 2), &of("failed"), |_| "event".into()).await.unwrap();
    assert_eq!(stands().await, (AssetState::Deleting, by("late")), "it is not known what became of the DELETE");
    ledger.at(at(6)).decide(&first("early"), &of("already_absent"), |_| "event".into()).await.unwrap();
    assert_eq!(stands().await, (AssetState::Deleted, by("early")));
}

async fn the_first_size_of_a_case_stands(ledger: Ledger) {
    assert_eq!(ledger.case(&case("c")).await.unwrap(), None);
    assert_eq!(ledger.case_size(&case("c"), 3).await.unwrap(), 3);
    assert_eq!(ledger.case_size(&case("c"), 4).await.unwrap(), 3);
    assert_eq!(ledger.case_size(&case("d"), 4).await.unwrap(), 4);
}

async fn a_case_counts_its_decided_requests_once_each(ledger: Ledger) {
    ledger.case_size(&case("case"), 4).await.unwrap();
    for (number, outcome) in (0..).zip(["deleted", "deleted", "failed", ""]) {
        let request = id(&format!("r{number}"));
        begin(&ledger, asked(request.as_str(), "a"), at(number)).await;
        for _ in 0..2 {
            if !outcome.is_empty() {
                ledger.at(at(number)).decide(&first_of(&request), &of(outcome), |_| "event".into()).await.unwrap();
            }
        }
    }
    begin(&ledger, Asked { case_id: None, ..asked("of-no-case", "a") }, at(5)).await;
    ledger.at(at(5)).decide(&first("of-no-case"), &of("deleted"), |_| "event".into()).await.unwrap();
    ledger.at(at(6)).refuse(&id("malformed"), Some(&case("case")), |_| "refusal".into()).await.unwrap();
    ledger.at(at(6)).refuse(&id("r3"), Some(&case("case")), |_| "a malformed copy".into()).await.unwrap();
    let decided = [("deleted", 2), ("failed", 1), ("rejected", 1)].map(|(name, count)| (name.to_owned(), count));
    let counted = Case { size: 4, decided: decided.into(), event: None };
    assert_eq!(ledger.case(&case("case")).await.unwrap(), Some(counted));
    assert_eq!(ledger.verify_cases().await.unwrap(), []);
}

async fn a_case_is_completed_once(ledger: Ledger) {
    let unknown = ledger.complete_case(&case("c"), |_, _| "event".to_owned()).await.unwrap_err();
    assert!(!unknown.is_unavailable() && unknown.to_string().contains("case c"), "{unknown}");
    ledger.case_size(&case("c"), 1).await.unwrap();
    for event in ["first", "second"] {
        assert_eq!(ledger.complete_case(&case("c"), move |_, _| event.to_owned()).await.unwrap(), "first");
    }
    assert_eq!(ledger.case(&case("c")).await.unwrap().unwrap().event.as_deref(), Some("first"));
}

/// Five requests, the later decided the smaller its number; number 0 is open.
async fn decided_backwards(ledger: &Ledger) {
    for number in (0..5).rev() {
        let request = id(&format!("r{number}"));
        begin(ledger, asked(request.as_str(), &format!("a{number}")), at(0)).await;
        ledger.at(at(1)).deleting(&first_of(&request), None, false).await.unwrap();
        if number > 0 {
            let outcome = if number == 2 { "failed" } else { "deleted" };
            ledger
                .at(at(100 - number))
                .decide(&first_of(&request), &of(outcome), move |_| format!("event {number}"))
                .await
                .unwrap();
            ledger.heard(&request).await.unwrap();
        }
    }
}

/// One step: so many at most, after what the last step has done.
async fn compact(ledger: &Ledger, before: i64, most: u32, last: &mut Compacted) -> usize {
    let span = RetentionSpan { after: last.last.take(), before: at(before), most };
    *last = ledger.compact(span).await.unwrap();
    assert_eq!(last.kept, []);
    last.requests
}

async fn old_decisions_become_tombstones_in_the_order_they_were_taken(ledger: Ledger) {
    decided_backwards(&ledger).await;
    let mut last = Compacted::default();
    assert_eq!(compact(&ledger, 96, 9, &mut last).await, 0, "none is so old");
    assert_eq!(compact(&ledger, 99, 2, &mut last).await, 2);
    let kept = async |number: i64| {
        let entry = ledger.request(&id(&format!("r{number}"))).await.unwrap().unwrap();
        entry.event.is_some()
    };
    assert!(!kept(4).await && !kept(3).await && kept(2).await && kept(1).await);
    assert_eq!(compact(&ledger, 99, 2, &mut last).await, 1, "the last one is too young, the open one is open");
    assert_eq!(compact(&ledger, 99, 2, &mut last).await, 0);
    assert_eq!(last.last, None, "there is no more");
    assert!(!kept(2).await && kept(1).await);
    assert_eq!(compact(&ledger, 99, 9, &mut last).await, 0, "from the first again: none twice");
}

async fn a_tombstone_remembers_what_became_of_its_asset(ledger: Ledger) {
    decided_backwards(&ledger).await;
    compact(&ledger, 1000, 9, &mut Compacted::default()).await;
    let used = |outcome: &str, seconds| Begun::UsedUp {
        by: UsedUp::Forgotten { outcome: outcome.to_owned(), decided: to_millisecond(at(seconds)) },
        first_seen: to_millisecond(at(0)),
    };
    assert_eq!(ledger.at(at(200)).begin(asked("r1", "a1"), Beside::NoSuspect).await.unwrap(), used("deleted", 99));
    assert_eq!(ledger.at(at(200)).begin(asked("r2", "a2"), Beside::NoSuspect).await.unwrap(), used("failed", 98));
    let another = ledger.at(at(200)).begin(asked("r1", "a2"), Beside::NoSuspect).await.unwrap();
    assert!(matches!(another, Begun::UsedUp { by: UsedUp::AnotherRequest, .. }), "{another:?}");
    let reason = Asked { request: "{\"reason\":\"guessed\"}".to_owned(), ..asked("r1", "a1") };
    let another = ledger.at(at(200)).begin(reason, Beside::NoSuspect).await.unwrap();
    assert!(matches!(another, Begun::UsedUp { by: UsedUp::AnotherRequest, .. }), "one field is enough: {another:?}");
    assert_eq!(
        ledger.at(at(200)).refuse(&id("r1"), None, |_| "bad copy".into()).await.unwrap(),
        RefusalRecord::Known { first_seen: to_millisecond(at(0)) }
    );
    ledger.at(at(200)).decide(&first("r1"), &of("failed"), |_| "late".into()).await.unwrap_err();
    assert_eq!(begin(&ledger, asked("r0", "a0"), at(200)).await.attempts, 2, "an open request is as it was");
    let stands = async |asset| ledger.asset(&AssetId::parse(asset).unwrap()).await.unwrap();
    let (state, entry) = stands("a1").await;
    assert_eq!((state, entry.unwrap().updated), (AssetState::Deleted, to_millisecond(at(99))));
    assert_eq!(stands("a2").await.0, AssetState::Deleting, "a DELETE may have been sent");
}

async fn a_tombstone_is_verified(ledger: Ledger) {
    decided_backwards(&ledger).await;
    let (_, before) = ledger.find("r1", 1).await.unwrap().remove(0);
    compact(&ledger, 1000, 9, &mut Compacted::default()).await;
    let (entry, after) = ledger.find("r1", 1).await.unwrap().remove(0);
    assert_eq!((entry.request, entry.event, entry.outcome.as_deref()), (None, None, Some("deleted")));
    let [left] = after.as_slice() else { panic!("{after:?}") };
    assert_eq!(left.digest.as_ref(), Some(&before.last().unwrap().hash), "the hash that a report shows");
    assert_eq!((left.number, left.why.as_deref()), (3, Some("deleted")));
    let verified = ledger.verify(None).await.unwrap().unwrap();
    assert_eq!((verified.requests, verified.problems), (5, vec![]));
    assert_eq!(ledger.verify_cases().await.unwrap(), []);
}

async fn the_overview_shows_what_is_open_and_what_was_decided(ledger: Ledger) {
    assert_eq!(ledger.overview(at(0), 9).await.unwrap(), Overview::default());
    // 1,700,000,000 is twenty seconds into a minute.
    for (request, first_seen) in [("w2", 2), ("w1", 1), ("b", 3), ("d", 4), ("e1", 5), ("e2", 6), ("late", 7)] {
        begin(&ledger, asked(request, "a"), at(first_seen)).await;
    }
    for request in ["w1", "w2"] {
        ledger.at(at(8)).put_off(&first(request), 1, "in_use").await.unwrap();
    }
    ledger.at(at(8)).deleting(&first("d"), None, false).await.unwrap();
    for (request, outcome, decided) in [("e1", "deleted", 10), ("e2", "deleted", 39), ("late", "failed", 40)] {
        ledger.at(at(decided)).decide(&first(request), &of(outcome), |_| "event".into()).await.unwrap();
    }
    let overview = ledger.overview(at(0), 9).await.unwrap();
    let names = |open: &OpenRequests| open.oldest.iter().map(|entry| entry.request_id.to_string()).collect::<Vec<_>>();
    assert_eq!((overview.waiting.count, names(&overview.waiting)), (2, vec!["w1".to_owned(), "w2".to_owned()]));
    assert_eq!((overview.begun.count, names(&overview.begun)), (2, vec!["b".to_owned(), "d".to_owned()]));
    let decided: Vec<(i64, String)> =
        overview.decided.iter().map(|(minute, counts)| (minute.as_second(), format!("{counts:?}"))).collect();
    let first_minute = 1_700_000_000 - 20;
    let wanted = [(first_minute, r#"{"deleted": 2}"#), (first_minute + 60, r#"{"failed": 1}"#)];
    assert_eq!(decided, wanted.map(|(minute, counts)| (minute, counts.to_owned())));
    assert!(!overview.cut);
    let later = ledger.overview(at(39), 1).await.unwrap();
    assert_eq!((later.waiting.count, later.waiting.oldest.len()), (2, 1));
    assert_eq!(later.decided.values().map(|counts| counts.values().sum::<u64>()).collect::<Vec<_>>(), [1, 1]);
}

async fn the_first_decision_wins(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    let one = ledger.at(at(1)).decide(&first("r"), &of("deleted"), |_| "first".into()).await.unwrap();
    let other = ledger.at(at(2)).decide(&first("r"), &of("failed"), |_| "second".into()).await.unwrap();
    assert_eq!((one.as_str(), other.as_str()), ("first", "first"));
}

async fn a_decided_request_begins_with_its_answer(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).decide(&first("r"), &of("deleted"), |_| "event".into()).await.unwrap();
    assert_eq!(ledger.at(at(2)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), answered("event"));
}

fn used_by_another_request(first_seen: Timestamp) -> Begun {
    let by = UsedUp::AnotherRequest;
    Begun::UsedUp { by, first_seen: to_millisecond(first_seen) }
}

async fn another_asset_under_the_same_id_is_a_conflict(ledger: Ledger) {
    let conflict = used_by_another_request(at(0));
    begin(&ledger, asked("r", "a"), at(0)).await;
    assert_eq!(ledger.at(at(1)).begin(asked("r", "b"), Beside::NoSuspect).await.unwrap(), conflict);
    ledger.at(at(2)).decide(&first("r"), &of("deleted"), |_| "event".into()).await.unwrap();
    assert_eq!(ledger.at(at(3)).begin(asked("r", "b"), Beside::NoSuspect).await.unwrap(), conflict);
}

async fn another_dry_run_under_the_same_id_is_a_conflict(ledger: Ledger) {
    let dry = r#"{"request_id":"r","dry_run":true}"#.to_owned();
    begin(&ledger, Asked { dry_run: true, request: dry, ..asked("r", "a") }, at(0)).await;
    let conflict = ledger.at(at(1)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap();
    let by = UsedUp::AnotherRequest;
    assert!(matches!(&conflict, Begun::UsedUp { by: found, .. } if *found == by), "{conflict:?}");
}

async fn a_conflict_changes_nothing(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).begin(asked("r", "b"), Beside::NoSuspect).await.unwrap();
    assert_eq!(begin(&ledger, asked("r", "a"), at(2)).await.attempts, 2);
}

async fn a_refusal_of_an_unknown_request_is_its_answer(ledger: Ledger) {
    let refused = ledger.at(at(0)).refuse(&id("r"), None, |_| "refused".into()).await.unwrap();
    assert_eq!(refused, recorded("refused", None));
    // A message that can be read is another one, and is not told what this one was.
    let conflict = Begun::UsedUp { by: UsedUp::AnotherRequest, first_seen: to_millisecond(at(0)) };
    assert_eq!(ledger.at(at(1)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), conflict);
    ledger.heard(&id("r")).await.unwrap();
    compact(&ledger, 1000, 9, &mut Compacted::default()).await;
    assert_eq!(ledger.at(at(1)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), conflict);
}

async fn a_refusal_of_an_open_request_changes_nothing(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    for now in 1..3 {
        assert_eq!(
            ledger.at(at(now)).refuse(&id("r"), None, |_| "refused".into()).await.unwrap(),
            RefusalRecord::Known { first_seen: to_millisecond(at(0)) }
        );
    }
    assert_eq!(begin(&ledger, asked("r", "a"), at(3)).await.attempts, 2);
    assert_eq!(ledger.at(at(4)).decide(&nth("r", 2), &of("deleted"), |_| "event".into()).await.unwrap(), "event");
}

async fn a_refusal_of_a_decided_request_does_not_repeat_its_answer(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).decide(&first("r"), &of("deleted"), |_| "event".into()).await.unwrap();
    let refused = ledger.at(at(2)).refuse(&id("r"), None, |_| "refused".into()).await.unwrap();
    assert_eq!(refused, RefusalRecord::Known { first_seen: to_millisecond(at(0)) });
    let told = |now: Timestamp| format!("told at {now}");
    let first = ledger.at(at(3)).refuse(&id("s"), None, told).await.unwrap();
    assert_eq!(first, recorded(&told(to_millisecond(at(3))), None));
    assert_eq!(ledger.at(at(4)).refuse(&id("s"), None, told).await.unwrap(), first, "the same message again");
    let another = ledger.at(at(4)).refuse(&id("s"), None, |_| "another".into()).await.unwrap();
    assert_eq!(another, RefusalRecord::Known { first_seen: to_millisecond(at(3)) });
}

async fn attempts_are_counted_from_the_first_sight(ledger: Ledger) {
    for attempt in 1..=4_u32 {
        let record = begin(&ledger, asked("r", "a"), at(i64::from(attempt))).await;
        assert_eq!(record.attempts, attempt);
        assert_eq!(record.first_seen, Timestamp::from_millisecond(at(1).as_millisecond()).unwrap());
    }
    assert_eq!(begin(&ledger, asked("s", "a"), at(9)).await.attempts, 1);
}

async fn a_delete_that_may_have_been_sent_is_never_forgotten(ledger: Ledger) {
    assert_eq!(begin(&ledger, asked("r", "a"), at(0)).await.deletes, 0);
    ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap();
    assert!(begin(&ledger, asked("r", "a"), at(2)).await.deletes > 0);
    ledger.at(at(3)).deleting(&nth("r", 2), None, false).await.unwrap();
    ledger.at(at(4)).put_off(&nth("r", 2), 1, "provider").await.unwrap();
    assert!(begin(&ledger, asked("r", "a"), at(5)).await.deletes > 0);
    assert_eq!(begin(&ledger, asked("s", "a"), at(6)).await.deletes, 0);
}

async fn an_attempt_that_was_superseded_changes_nothing(ledger: Ledger) {
    for now in 0..2 {
        begin(&ledger, asked("r", "a"), at(now)).await;
    }
    let before = ledger.request(&id("r")).await.unwrap();
    let superseded = |error: LedgerError| matches!(error, LedgerError::Superseded { .. }) && !error.is_unavailable();
    assert!(superseded(ledger.at(at(2)).deleting(&first("r"), None, false).await.unwrap_err()));
    assert!(superseded(ledger.at(at(2)).put_off(&first("r"), 1, "in_use").await.unwrap_err()));
    assert!(superseded(
        ledger.at(at(2)).decide(&first("r"), &of("already_absent"), |_| "early".into()).await.unwrap_err()
    ));
    assert_eq!(ledger.request(&id("r")).await.unwrap(), before);
    ledger.at(at(3)).deleting(&nth("r", 2), None, false).await.unwrap();
    ledger.at(at(4)).decide(&nth("r", 2), &of("deleted"), |_| "event".into()).await.unwrap();
    assert!(superseded(ledger.at(at(5)).deleting(&first("r"), None, false).await.unwrap_err()));
    assert_eq!(ledger.at(at(5)).decide(&first("r"), &of("failed"), |_| "late".into()).await.unwrap(), "event");
}

async fn what_it_waited_for_is_remembered(ledger: Ledger) {
    let record = begin(&ledger, asked("r", "a"), at(0)).await;
    assert_eq!((record.rung, record.waited_for), (0, None));
    ledger.at(at(1)).put_off(&first("r"), 3, "in_use").await.unwrap();
    let record = begin(&ledger, asked("r", "a"), at(2)).await;
    assert_eq!((record.rung, record.waited_for.as_deref()), (3, Some("in_use")));
}

async fn nothing_happens_to_a_request_that_never_began(ledger: Ledger) {
    let never = |error: LedgerError| matches!(error, LedgerError::Illegal { .. }) && !error.is_unavailable();
    assert!(never(ledger.at(at(0)).deleting(&first("r"), None, false).await.unwrap_err()));
    assert!(never(ledger.at(at(0)).put_off(&first("r"), 1, "in_use").await.unwrap_err()));
    assert!(never(ledger.at(at(0)).decide(&first("r"), &of("deleted"), |_| "event".into()).await.unwrap_err()));
    assert_eq!(begin(&ledger, asked("r", "a"), at(1)).await.attempts, 1);
}

async fn nothing_happens_to_a_decided_request(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).decide(&first("r"), &of("failed"), |_| "event".into()).await.unwrap();
    let error = ledger.at(at(2)).deleting(&first("r"), None, false).await.unwrap_err();
    assert_eq!(error.to_string(), "request r was taken over by another worker");
    assert!(ledger.at(at(3)).put_off(&first("r"), 1, "in_use").await.is_err());
    assert_eq!(ledger.at(at(4)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), answered("event"));
}

async fn a_dry_run_never_deletes(ledger: Ledger) {
    let dry = || Asked { dry_run: true, ..asked("r", "a") };
    begin(&ledger, dry(), at(0)).await;
    let error = ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap_err();
    assert!(matches!(error, LedgerError::Illegal { .. }), "{error}");
    assert_eq!(begin(&ledger, dry(), at(2)).await.deletes, 0);
}

async fn a_probe_succeeds(ledger: Ledger) {
    ledger.probe().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), ledger.close()).await.unwrap();
}

#[test]
fn a_decision_is_final_and_only_a_begun_request_deletes() {
    let acts = [Act::Begin, Act::Delete, Act::PutOff, Act::Decide, Act::Refuse];
    for act in acts {
        assert_eq!(State::after(Some(State::Decided), act), None, "{act:?}");
    }
    assert_eq!(acts.map(|act| State::after(None, act)), [Some(State::Begun), None, None, None, Some(State::Decided)]);
    for open in [State::Begun, State::BackedUp, State::Deleting, State::NotSent, State::Waiting] {
        assert_eq!(State::after(Some(open), Act::Delete), Some(State::Deleting));
        assert_eq!(State::after(Some(open), Act::Decide), Some(State::Decided));
        assert_eq!(State::after(Some(open), Act::Refuse), None);
        assert_eq!(State::read(open.as_str()), Some(open));
    }
    assert_eq!(State::after(Some(State::Deleting), Act::Begin), Some(State::Begun));
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused_without_being_repeated() {
    for url in ["mysql://u:secret@h/db", "sqlite://", "sqlite://:memory:", "sqlite://secret.db?mode=rwc", "secret"] {
        let error = Ledger::open(&url.into(), Metrics::new().unwrap()).await.unwrap_err();
        assert!(matches!(error, LedgerError::Url(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
