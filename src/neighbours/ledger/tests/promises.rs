//! What the promises need of every ledger: that an attempt owns its request, that each `DELETE` is on record, that crashes
//! and contention are told apart, that answers are kept until they are heard, and that cases end.

use std::time::Duration;

use uuid::Uuid;

use super::super::clock::to_millisecond;
use super::super::tests::{answered, asked, at, begin, case, first, id, nth, of, of_every_ledger, open_in};
use super::super::*;
use super::only_postgres::TestDatabase;

of_every_ledger![
    an_attempt_is_known_by_its_token_alone,
    every_delete_is_on_record,
    a_delete_that_was_withheld_leaves_no_doubt,
    a_delete_that_was_answered_not_found_is_remembered,
    attempts_that_never_ended_are_counted,
    an_attempt_that_gives_way_is_no_crash,
    a_contended_request_is_left_alone_longer_each_time,
    a_request_equal_in_every_field_is_the_same_one,
    only_answers_that_were_heard_become_tombstones,
    a_conflict_is_counted_once_in_its_case,
    a_case_ends_with_as_many_as_it_has,
    a_crash_of_a_decided_request_is_remembered,
    ages_go_by_the_ledger_s_clock,
    a_ledger_has_a_name_of_its_own,
];

async fn contend(ledger: &Ledger, request: &str) -> u32 {
    ledger.superseded(&id(request)).await.unwrap()
}

async fn an_attempt_is_known_by_its_token_alone(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    for stranger in [0, 2, 3] {
        let error = ledger.at(at(1)).deleting(&nth("r", stranger), None, false).await.unwrap_err();
        assert!(matches!(error, LedgerError::Superseded { .. }), "{stranger}: {error}");
    }
    ledger.at(at(1)).put_off(&first("r"), 1, "provider").await.unwrap();
    ledger.at(at(2)).deleting(&first("r"), None, false).await.unwrap_err();
    // Not those of a test: as a worker has them.
    let Begun::Open(one) = ledger.begin(asked("s", "a"), Beside::NoSuspect).await.unwrap() else { panic!("it is new") };
    let Begun::Open(other) = ledger.begin(asked("s", "a"), Beside::NoSuspect).await.unwrap() else {
        panic!("it is open")
    };
    assert_ne!(one.attempt.token, other.attempt.token);
    ledger.deleting(&one.attempt, None, false).await.unwrap_err();
    ledger.deleting(&other.attempt, None, false).await.unwrap();
}

async fn states(ledger: &Ledger) -> Vec<String> {
    let (_, changes) = ledger.find("r", 1).await.unwrap().remove(0);
    changes.into_iter().map(|change| change.state).collect()
}

async fn every_delete_is_on_record(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    for now in 1..4 {
        ledger.at(at(now)).deleting(&first("r"), None, false).await.unwrap();
    }
    assert_eq!(begin(&ledger, asked("r", "a"), at(5)).await.deletes, 3);
    assert_eq!(states(&ledger).await, ["begun", "deleting", "deleting", "deleting", "begun"]);
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, []);
}

async fn a_delete_that_was_withheld_leaves_no_doubt(ledger: Ledger) {
    let asset = AssetId::parse("a").unwrap();
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).not_sent(&first("r")).await.unwrap_err();
    ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap();
    ledger.at(at(2)).not_sent(&first("r")).await.unwrap();
    assert_eq!(ledger.asset(&asset).await.unwrap().0, AssetState::Requested);
    ledger.at(at(3)).not_sent(&first("r")).await.unwrap_err();
    ledger.at(at(3)).decide(&first("r"), &of("failed"), |_| "event".into()).await.unwrap();
    assert_eq!(ledger.asset(&asset).await.unwrap().0, AssetState::Unknown);
    assert_eq!(states(&ledger).await, ["begun", "deleting", "not_sent", "decided"]);
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, []);
}

async fn a_delete_that_was_answered_not_found_is_remembered(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap();
    ledger.missed(&first("r")).await.unwrap();
    let record = begin(&ledger, asked("r", "a"), at(2)).await;
    assert_eq!((record.deletes, record.missed), (1, 1));
    ledger.missed(&first("r")).await.unwrap_err();
    ledger.at(at(3)).deleting(&nth("r", 2), None, false).await.unwrap();
    ledger.at(at(3)).not_sent(&nth("r", 2)).await.unwrap();
    assert_eq!(begin(&ledger, asked("r", "a"), at(4)).await.missed, 1);
    let asset = AssetId::parse("a").unwrap();
    assert_eq!(ledger.asset(&asset).await.unwrap().0, AssetState::Deleting, "the answer is no proof");
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, []);
}

async fn attempts_that_never_ended_are_counted(ledger: Ledger) {
    for crashes in 0..3 {
        assert_eq!(begin(&ledger, asked("r", "a"), at(0)).await.interrupted, crashes);
        let beside = Beside::Others { most: crashes + 1 };
        assert_eq!(ledger.begin(asked("r", "a"), beside).await.unwrap(), Begun::Suspect);
    }
    ledger.hand_back(&nth("r", 3)).await.unwrap();
    assert_eq!(begin(&ledger, asked("r", "a"), at(1)).await.interrupted, 2, "a worker that shuts down has not crashed");
    ledger.at(at(2)).put_off(&nth("r", 4), 0, "in_use").await.unwrap();
    assert_eq!(begin(&ledger, asked("r", "a"), at(3)).await.interrupted, 0, "it ended well");
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, []);
}

async fn an_attempt_that_gives_way_is_no_crash(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    assert_eq!(begin(&ledger, asked("r", "a"), at(1)).await.interrupted, 1);
    assert_eq!(contend(&ledger, "r").await, 1);
    assert_eq!(begin(&ledger, asked("r", "a"), at(100)).await.interrupted, 1, "the second may have crashed");
    ledger.at(at(101)).decide(&nth("r", 3), &of("deleted"), |_| "event".into()).await.unwrap();
    contend(&ledger, "r").await;
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, []);
}

async fn a_contended_request_is_left_alone_longer_each_time(ledger: Ledger) {
    let busy = async |seconds| {
        matches!(ledger.at(at(seconds)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), Begun::Busy { .. })
    };
    begin(&ledger, asked("r", "a"), at(0)).await;
    assert!(!busy(1).await, "a crash costs no wait");
    contend(&ledger, "r").await;
    assert!(busy(2).await && !busy(3).await, "two seconds");
    contend(&ledger, "r").await;
    assert!(busy(6).await && !busy(7).await, "four seconds");
    // What the attempt does counts as a sign of life.
    contend(&ledger, "r").await;
    ledger.at(at(14)).deleting(&nth("r", 4), None, false).await.unwrap();
    assert!(busy(21).await);
    ledger.at(at(21)).put_off(&nth("r", 4), 1, "provider").await.unwrap();
    assert!(!busy(21).await, "it has ended");
}

async fn a_request_equal_in_every_field_is_the_same_one(ledger: Ledger) {
    let other = || Asked { request: r#"{"request_id":"r","on_in_use":"reject"}"#.to_owned(), ..asked("r", "a") };
    begin(&ledger, asked("r", "a"), at(0)).await;
    let by = UsedUp::AnotherRequest;
    let conflict = Begun::UsedUp { by, first_seen: to_millisecond(at(0)) };
    assert_eq!(ledger.at(at(1)).begin(other(), Beside::NoSuspect).await.unwrap(), conflict);
    ledger.at(at(2)).decide(&first("r"), &of("deleted"), |_| "event".into()).await.unwrap();
    assert_eq!(ledger.at(at(3)).begin(other(), Beside::NoSuspect).await.unwrap(), conflict);
    assert_eq!(ledger.at(at(3)).begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), answered("event"));
}

async fn only_answers_that_were_heard_become_tombstones(ledger: Ledger) {
    for request in ["heard", "unheard"] {
        begin(&ledger, asked(request, "a"), at(0)).await;
        ledger.heard(&id(request)).await.unwrap();
        ledger.at(at(1)).decide(&first(request), &of("deleted"), |_| "event".into()).await.unwrap();
    }
    assert_eq!(ledger.latest_decision().await.unwrap(), None, "an open request has no answer to hear");
    for _ in 0..2 {
        ledger.heard(&id("heard")).await.unwrap();
    }
    assert_eq!(ledger.latest_decision().await.unwrap(), Some(to_millisecond(at(1))));
    let done = ledger.compact(RetentionSpan { after: None, before: at(9), most: 9 }).await.unwrap();
    assert_eq!(done.requests, 1);
    assert_eq!(ledger.at(at(9)).begin(asked("unheard", "a"), Beside::NoSuspect).await.unwrap(), answered("event"));
    assert!(ledger.request(&id("heard")).await.unwrap().unwrap().event.is_none());
}

async fn a_conflict_is_counted_once_in_its_case(ledger: Ledger) {
    ledger.case_size(&case("case"), 3).await.unwrap();
    for message in [1, 1, 2] {
        ledger.count_conflict(&case("case"), Uuid::from_u128(message)).await.unwrap();
    }
    ledger.count_conflict(&case("other"), Uuid::from_u128(1)).await.unwrap();
    assert_eq!(ledger.case(&case("case")).await.unwrap().unwrap().decided, [("rejected".to_owned(), 2)].into());
    assert_eq!(ledger.verify_cases().await.unwrap(), []);
}

async fn a_case_ends_with_as_many_as_it_has(ledger: Ledger) {
    ledger.case_size(&case("case"), 2).await.unwrap();
    for (number, outcome) in (0..).zip(["deleted", "failed", "deleted", "deleted"]) {
        let request = format!("r{number}");
        begin(&ledger, asked(&request, "a"), at(number)).await;
        ledger.at(at(number)).decide(&first(&request), &of(outcome), |_| "event".into()).await.unwrap();
    }
    assert_eq!(ledger.case(&case("case")).await.unwrap().unwrap().decided.values().sum::<u32>(), 4);
    let event = ledger.complete_case(&case("case"), |counts, _| format!("{counts:?}")).await.unwrap();
    assert_eq!(event, r#"{"deleted": 1, "failed": 1}"#, "those that were decided first");
}

async fn a_crash_of_a_decided_request_is_remembered(ledger: Ledger) {
    for now in 0..3 {
        begin(&ledger, asked("r", "a"), at(now)).await;
    }
    ledger.at(at(3)).decide(&nth("r", 3), &of("failed"), |_| "event".into()).await.unwrap();
    let past = |heard| Begun::Decided {
        event: "event".to_owned(),
        past: Past { of_case: Some("case".to_owned()), interrupted: 2, heard },
    };
    assert_eq!(ledger.begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), past(false));
    ledger.heard(&id("r")).await.unwrap();
    assert_eq!(ledger.begin(asked("r", "a"), Beside::NoSuspect).await.unwrap(), past(true));
}

async fn ages_go_by_the_ledger_s_clock(ledger: Ledger) {
    let record = begin(&ledger, asked("r", "a"), at(7)).await;
    assert_eq!((record.now, record.first_seen), (to_millisecond(at(7)), to_millisecond(at(7))));
    let decided = ledger.at(at(8)).decide(&first("r"), &of("deleted"), |now| now.to_string()).await.unwrap();
    assert_eq!(decided, to_millisecond(at(8)).to_string());
    let apart = ledger.now().await.unwrap().duration_since(Timestamp::now()).abs();
    assert!(apart < jiff::SignedDuration::from_secs(60), "this machine's servers have its clock: {apart:?}");
}

async fn a_ledger_has_a_name_of_its_own(ledger: Ledger) {
    assert_eq!(ledger.id(), ledger.clone().id());
    assert!(!ledger.id().is_nil());
    assert_eq!(ledger.accept().await.unwrap(), None, "it was not set back");
}

/// The reason why a ledger takes nothing.
async fn refused(ledger: &Ledger) -> String {
    let error = ledger.begin(asked("next", "a"), Beside::NoSuspect).await.unwrap_err();
    assert!(error.is_set_back() && !error.is_unavailable(), "{error}");
    assert!(ledger.probe().await.unwrap_err().is_set_back());
    assert!(ledger.request(&id("r")).await.unwrap_err().is_set_back(), "what is missing is not unknown");
    error.to_string()
}

#[tokio::test]
async fn a_file_that_was_restored_is_not_taken_until_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (file, old) = (folder.path().join("ledger.db"), folder.path().join("old.db"));
    let ledger = open_in(folder.path()).await;
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.close().await;
    std::fs::copy(&file, &old).unwrap();
    let ledger = open_in(folder.path()).await;
    ledger.at(at(1)).decide(&first("r"), &of("rejected"), |_| "event".into()).await.unwrap();
    ledger.close().await;

    std::fs::copy(&old, &file).unwrap();
    let ledger = open_in(folder.path()).await;
    let why = refused(&ledger).await;
    assert!(why.contains("went back in time") && why.contains("`asset-eraser ledger accept`"), "{why}");
    // Another process sees it too, and what is left can be looked at.
    let beside = open_in(folder.path()).await;
    assert_eq!(refused(&beside).await, why);
    assert_eq!(beside.find("r", 9).await.unwrap().len(), 1);
    let accepted = beside.accept().await.unwrap().unwrap();
    assert_eq!(accepted.why, why);
    begin(&ledger, asked("next", "a"), at(2)).await;
    begin(&beside, asked("r", "a"), at(3)).await;
    for ledger in [ledger, beside] {
        ledger.close().await;
    }
    let ledger = open_in(folder.path()).await;
    begin(&ledger, asked("more", "a"), at(4)).await;
    ledger.close().await;

    // The same copy once more: what was accepted is not accepted again.
    std::fs::copy(&old, &file).unwrap();
    let ledger = open_in(folder.path()).await;
    refused(&ledger).await;
    ledger.accept().await.unwrap().unwrap();
    ledger.close().await;
    begin(&open_in(folder.path()).await, asked("once-more", "a"), at(5)).await;
}

#[tokio::test]
async fn a_file_made_anew_is_not_the_ledger_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(folder.path()).await;
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.close().await;
    std::fs::remove_file(folder.path().join("ledger.db")).unwrap();
    let ledger = open_in(folder.path()).await;
    assert!(refused(&ledger).await.contains("the ledger is another one"));
    ledger.accept().await.unwrap().unwrap();
    begin(&ledger, asked("r", "a"), at(1)).await;
}

#[tokio::test]
async fn a_database_that_lost_commits_is_not_taken_until_that_is_accepted() {
    let database = TestDatabase::new().await;
    let (ledger, beside) = (database.open().await, database.open().await);
    begin(&ledger, asked("r", "a"), at(0)).await;
    begin(&beside, asked("s", "a"), at(0)).await;
    // As on a standby that had not got the last commits; a new connection is what a failover brings.
    database.run("UPDATE asset_eraser.progress SET commits = commits - 1").await;
    database.end_connections().await;
    let why = refused_soon(&ledger).await;
    assert!(why.contains("went back in time"), "{why}");
    refused_soon(&beside).await;
    let after = database.open().await;
    assert!(after.set_back().is_some(), "it is known when the worker starts");
    assert_eq!(refused(&after).await, why, "a worker that was started since sees it too");
    assert_eq!(beside.accept().await.unwrap().unwrap().why, why);
    for ledger in [&ledger, &beside, &after] {
        ledger.probe().await.unwrap();
        begin(ledger, asked("r", "a"), at(3)).await;
    }
    database.remove().await;
}

#[tokio::test]
async fn a_question_that_finds_a_database_set_back_is_not_answered() {
    let database = TestDatabase::new().await;
    let ledger = database.open().await;
    begin(&ledger, asked("r", "a"), at(0)).await;
    database.run("DELETE FROM asset_eraser.history; DELETE FROM asset_eraser.requests").await;
    database.run("UPDATE asset_eraser.progress SET commits = 0").await;
    database.end_connections().await;
    let asset = AssetId::parse("a").unwrap();
    let began = std::time::Instant::now();
    while let Err(error) = ledger.asset(&asset).await {
        if error.is_set_back() {
            return database.remove().await;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{error}");
    }
    panic!("it is unknown, says a ledger that was set back");
}

/// The first call after all connections were ended may still get one of them.
async fn refused_soon(ledger: &Ledger) -> String {
    let began = std::time::Instant::now();
    while !ledger.begin(asked("next", "a"), Beside::NoSuspect).await.is_err_and(|error| error.is_set_back()) {
        assert!(began.elapsed() < Duration::from_secs(30), "it is still taken");
    }
    refused(ledger).await
}
