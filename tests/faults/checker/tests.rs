//! The checker has to find what is wrong: a run in which all is well, and one thing changed.

use std::collections::{BTreeMap, BTreeSet};

use asset_eraser::contract::message::{AssetId, Outcome, Proof, RequestId};
use asset_eraser::neighbours::ledger::{Asked, Begun, Beside, Change, Entry, Ledger};
use asset_eraser::platform::telemetry::metrics::Metrics;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::asks::{Ask, Kind};
use super::super::clocks::Clocks;
use super::super::conditions::Conditions;
use super::super::copies::{Bytes, Copies};
use super::super::plan::Store;
use super::super::starters::{Jobs, Lost};
use super::{Call, Event, History, Violation, text};
use crate::support::clock::Life;
use crate::support::s3::Read;

/// What is wrong with a run.
type Wrong = Box<dyn FnOnce(&mut History)>;

const DECIDED_MS: i64 = 1_774_800_001_000;
/// How far the clock of the second worker is ahead.
const AHEAD_S: i64 = 3600;

/// What happens to a request, and how long before its decision.
type Steps<'a> = &'a [(i64, &'a str)];

const DELETED: Steps<'_> = &[
    (90, "begun"),
    (80, "detail found"),
    (70, "jobs free"),
    (60, "deleting"),
    (50, "delete 0"),
    (40, "detail missing"),
    (0, "decided"),
];
const KEPT: Steps<'_> = &[
    (95, "begun"),
    (90, "detail found"),
    (85, "jobs free"),
    (80, "file"),
    (75, "backed_up"),
    (70, "jobs free"),
    (60, "deleting"),
    (50, "delete 0"),
    (40, "detail missing"),
    (0, "decided"),
];
/// Each `DELETE` gives no answer, and the second one finds nothing.
const TWICE: Steps<'_> = &[
    (95, "begun"),
    (90, "detail found"),
    (85, "jobs free"),
    (80, "deleting"),
    (75, "delete cut"),
    (70, "jobs free"),
    (65, "deleting"),
    (60, "delete -1"),
    (50, "detail missing"),
    (40, "detail missing"),
    (0, "decided"),
];
/// While other requests find their assets.
const ABSENT: Steps<'_> = &[(95, "begun"), (92, "detail missing"), (85, "detail missing"), (0, "decided")];
const DRY: Steps<'_> = &[(90, "begun"), (80, "detail found"), (70, "jobs free"), (0, "decided")];
const REJECTED: Steps<'_> = &[(90, "begun"), (80, "detail found"), (70, "jobs busy"), (0, "decided")];

fn event(ask: &Ask, outcome: &str, cause: &str) -> Event {
    let mut body = json!({"id": format!("id-{} {cause}", ask.request_id), "data": {
        "request_id": ask.request_id, "asset_id": ask.asset_id, "outcome": outcome,
        "verified": matches!(outcome, "deleted" | "already_absent"),
    }});
    match outcome {
        "deleted" => body["data"]["proof"] = json!("erased"),
        "already_absent" => body["data"]["proof"] = json!("absent"),
        _ => {}
    }
    if !cause.is_empty() {
        body["data"]["cause"] = json!(cause);
    }
    as_event(body)
}

fn as_event(body: Value) -> Event {
    Event { at_ms: DECIDED_MS + 5, text: body.to_string(), body }
}

fn ask(kind: Kind, number: usize) -> Ask {
    let (request_id, asset_id) = (format!("r{number}"), format!("a{number}"));
    let traceparent = format!("trace-{number}");
    Ask { kind, request_id, asset_id, traceparent, body: json!({}), reply: false, deadline_ms: None }
}

fn call(ask: &Ask, what: &str, at_ms: i64) -> Call {
    let (operation, said) = what.split_once(' ').unwrap_or((what, ""));
    let jobs = if said == "busy" { vec!["job".to_owned()] } else { Vec::new() };
    let took_effect = operation == "delete" && said != "-1";
    Call {
        at_ms,
        operation: operation.to_owned(),
        asset: Some(ask.asset_id.clone()),
        status: Some(200).filter(|_| said != "cut"),
        answered: Some(said.to_owned()).filter(|_| matches!(said, "found" | "missing" | "0" | "-1")),
        listed: Some(jobs).filter(|_| operation == "jobs"),
        jobs_in_progress: Vec::new(),
        took_effect,
        effect_ms: Some(at_ms).filter(|_| took_effect),
        jobs_at_effect: Vec::new(),
        traceparent: Some(ask.traceparent.clone()),
    }
}

async fn entry(ask: &Ask, event: &Event) -> Entry {
    let url = SecretString::from("memory:");
    let ledger = Ledger::open(&url, Metrics::new().unwrap()).await.unwrap();
    let id = RequestId::parse(&ask.request_id).unwrap();
    let asked = Asked {
        request_id: id.clone(),
        asset_id: AssetId::parse(&ask.asset_id).unwrap(),
        case_id: None,
        dry_run: false,
        backup: None,
        request: "{}".to_owned(),
    };
    let begun = ledger.begin(asked, Beside::NoSuspect).await.unwrap();
    let Begun::Open(record) = begun else { panic!("it is new: {begun:?}") };
    let text = event.text.clone();
    ledger.decide(&record.attempt, &Outcome::Deleted(Proof::Erased), |_| text).await.unwrap();
    ledger.request(&id).await.unwrap().unwrap()
}

fn change(ask: &Ask, state: &str, at_ms: i64) -> Change {
    Change {
        request_id: RequestId::parse(&ask.request_id).unwrap(),
        number: 1,
        at: Timestamp::from_millisecond(at_ms).unwrap(),
        state: state.to_owned(),
        attempts: 1,
        why: (state == "deleting").then(|| "the asset was found".to_owned()),
        digest: None,
        hash: String::new(),
    }
}

/// A run without requests.
fn nothing() -> History {
    let life = |replica, ahead_s| Life { replica, began_ms: DECIDED_MS - 1000, ended_ms: None, ahead_s };
    let mut conditions = Conditions { bucket: true, brake: Some(5), started_events: true, ..Conditions::default() };
    conditions.delivery_limit = Some(2);
    History {
        store: Store::Postgres,
        replicas: 1,
        conditions,
        asks: Vec::new(),
        calls: Vec::new(),
        events: Vec::new(),
        replies: Vec::new(),
        started: Vec::new(),
        buried: BTreeSet::new(),
        ledger: BTreeMap::new(),
        evidence: None,
        assets: BTreeSet::new(),
        jobs: Jobs { relied_on: BTreeSet::from(["job".to_owned()]), lost: Vec::new() },
        clocks: Clocks::new(vec![life(0, 0), life(1, AHEAD_S)], DECIDED_MS + 1000),
        interruptions: Vec::new(),
        emptied: false,
        kills: 0,
        releases: Vec::new(),
        deadlines: BTreeMap::new(),
        troubles: Vec::new(),
        copies: Copies::default(),
    }
}

impl History {
    async fn add(&mut self, ask: Ask, steps: Steps<'_>, outcome: &str, cause: &str) {
        let event = event(&ask, outcome, cause);
        let states = ["begun", "backed_up", "deleting", "not_sent", "waiting", "decided"];
        let (entries, calls): (Vec<_>, Vec<_>) = steps.iter().partition(|(_, what)| states.contains(what));
        self.calls.extend(calls.into_iter().map(|(before, what)| call(&ask, what, DECIDED_MS - before)));
        if ask.kind != Kind::Intruder {
            let changes = entries.into_iter().map(|(before, state)| change(&ask, state, DECIDED_MS - before)).collect();
            self.ledger.insert(ask.request_id.clone(), (entry(&ask, &event).await, changes));
        }
        if !matches!(outcome, "deleted" | "already_absent") {
            self.assets.insert(ask.asset_id.clone());
        }
        if outcome == "deleted" {
            self.started.push(as_event(json!({"id": format!("s-{}", ask.request_id), "data": {
                "request_id": ask.request_id}})));
        }
        self.events.push(event);
        self.asks.push(ask);
    }

    fn call(&mut self, request: usize, operation: &str) -> &mut Call {
        let trace = format!("trace-{request}");
        let own = |call: &&mut Call| call.operation == operation && call.traceparent.as_deref() == Some(&trace);
        self.calls.iter_mut().find(own).unwrap()
    }

    /// Takes the first call of a kind away.
    fn without(&mut self, request: usize, operation: &str) {
        let at_ms = self.call(request, operation).at_ms;
        let trace = format!("trace-{request}");
        self.calls.retain(|call| call.at_ms != at_ms || call.traceparent.as_deref() != Some(&trace));
    }

    fn changes(&mut self, request: usize) -> &mut Vec<Change> {
        &mut self.ledger.get_mut(&format!("r{request}")).unwrap().1
    }

    /// Moves the first entry of a state.
    fn enter(&mut self, request: usize, state: &str, at_ms: i64) {
        let own = self.changes(request).iter_mut().find(|change| change.state == state);
        own.unwrap().at = Timestamp::from_millisecond(at_ms).unwrap();
    }

    fn strike(&mut self, request: usize, state: &str) {
        let changes = self.changes(request);
        let place = changes.iter().rposition(|change| change.state == state).unwrap();
        changes.remove(place);
    }

    fn answer(&mut self, request: usize, outcome: &str, cause: &str) {
        let id = format!("r{request}");
        let own = self.events.iter_mut().find(|event| event.body["data"]["request_id"] == id.as_str()).unwrap();
        (own.body["data"]["outcome"], own.body["data"]["cause"]) = (json!(outcome), json!(cause));
        own.text = own.body.to_string();
    }
}

/// One request of each kind that matters.
async fn well() -> History {
    let mut run = nothing();
    let mut plain = ask(Kind::Plain, 1);
    (plain.reply, plain.body) = (true, json!({"case_id": "c", "case_size": 2}));
    run.add(plain, DELETED, "deleted", "").await;
    run.add(ask(Kind::DryRun, 2), DRY, "would_delete", "").await;
    let kept = ask(Kind::Kept, 3);
    run.add(kept, KEPT, "deleted", "").await;
    run.events[2].body["data"]["backup"] = json!({"location": "s3://copy", "length": 3, "sha256": "ab"});
    run.add(ask(Kind::Missing, 4), ABSENT, "already_absent", "").await;
    run.add(ask(Kind::Intruder, 5), &[], "rejected", "publisher_not_allowed").await;
    run.add(ask(Kind::Soon, 6), TWICE, "deleted", "").await;
    run.add(ask(Kind::BusyReject, 7), REJECTED, "rejected", "in_use").await;
    run.started.push(as_event(json!({"id": "s-r7", "data": {"request_id": "r7"}})));
    run.calls.sort_by_key(|call| call.at_ms);
    run.buried.insert("r5".to_owned());
    run.deadlines.insert("r6".to_owned(), DECIDED_MS);
    run.replies.push(run.events[0].clone());
    let ended = json!({"id": "end", "type": "asset.deletion.case_completed.v1", "data": {
        "case_id": "c", "case_size": 2, "outcomes": {"deleted": 1, "rejected": 1}}});
    run.events.push(as_event(ended));
    let bytes = Bytes { length: 3, sha256: "ab".to_owned() };
    let read = Read { key: "some/prefix/2026/a3/r3/asset-1".replace("2026/", "2026/11/25/"), at_ms: DECIDED_MS - 76 };
    run.copies = Copies {
        assets: BTreeMap::from([("a3".to_owned(), bytes.clone())]),
        stored: BTreeMap::from([("s3://copy".to_owned(), bytes)]),
        reads: vec![read],
    };
    run
}

async fn found(change: impl FnOnce(&mut History)) -> Vec<(u8, String)> {
    let mut history = well().await;
    change(&mut history);
    let violations = history.violations();
    for violation in &violations {
        assert!(history.about(violation).contains(&violation.what));
    }
    violations.into_iter().map(|Violation { promise, what, .. }| (promise, what)).collect()
}

#[tokio::test]
async fn a_run_in_which_all_is_well_breaks_nothing() {
    assert_eq!(found(|_| {}).await, []);
}

/// Times of a worker whose clock is ahead mean what they meant.
#[tokio::test]
async fn a_clock_that_is_ahead_breaks_nothing() {
    let ahead = |history: &mut History| {
        for change in history.changes(1) {
            change.at += jiff::SignedDuration::from_secs(AHEAD_S);
        }
    };
    assert_eq!(found(ahead).await, []);
}

/// What was never found before a `DELETE` is not said to be deleted, whatever became of the `DELETE`.
#[tokio::test]
async fn an_asset_never_seen_is_never_answered_deleted() {
    const UNSEEN: Steps<'_> = &[
        (90, "begun"),
        (85, "jobs free"),
        (80, "deleting"),
        (75, "delete cut"),
        (50, "detail missing"),
        (40, "detail missing"),
        (0, "decided"),
    ];
    let mut run = nothing();
    run.conditions.blind = true;
    run.add(ask(Kind::Missing, 1), UNSEEN, "deleted", "").await;
    let found = run.violations();
    assert!(found.iter().any(|found| found.what == "is Missing and was answered deleted "), "{found:?}");
}

/// Each change has to be found, in these words.
async fn assert_found(changes: Vec<(u8, &str, Wrong)>) {
    for (promise, what, change) in changes {
        let found = found(change).await;
        assert!(found.iter().any(|(which, said)| *which == promise && said.contains(what)), "{what}: {found:?}");
    }
}

fn other(history: &mut History, change: impl Fn(&mut Event)) {
    let mut other = history.events[0].clone();
    change(&mut other);
    history.events.push(other);
}

#[tokio::test]
async fn the_checker_finds_an_answer_that_is_missing_or_wrong() {
    assert_found(vec![
        (1, "no answer", Box::new(|run| drop(run.events.remove(0)))),
        (
            4,
            "2 event IDs",
            Box::new(|run| {
                other(run, |event| {
                    (event.body["id"], event.text) = (json!("other"), "other".to_owned());
                });
            }),
        ),
        (4, "1 event IDs and 2 different contents", Box::new(|run| other(run, |event| event.text.push(' ')))),
        (4, "was answered failed", Box::new(|run| run.answer(1, "failed", ""))),
        (4, "not in the ledger", Box::new(|run| drop(run.ledger.remove("r1")))),
        (
            4,
            "another event on record",
            Box::new(|run| {
                let other = run.ledger["r2"].clone();
                run.ledger.insert("r1".to_owned(), other);
            }),
        ),
        (4, "that no clock told", Box::new(|run| run.enter(1, "begun", DECIDED_MS + 3_600_000 * 5))),
        (1, "no copy of its answer", Box::new(|run| run.replies.clear())),
        (4, "one event ID has two contents", Box::new(|run| run.replies[0].text.push(' '))),
        (
            4,
            "one event ID has two contents",
            Box::new(|run| {
                let mut again = run.started[0].clone();
                again.text.push(' ');
                run.started.push(again);
            }),
        ),
        (4, "evidence does not hold", Box::new(|run| run.evidence = Some("entry 1 is missing".to_owned()))),
        (3, "the asset is gone", Box::new(|run| run.assets.clear())),
        (5, "still there", Box::new(|run| run.assets.extend(["a1".to_owned()]))),
        (
            5,
            "is verified to be gone, and the asset is still there",
            Box::new(|run| {
                run.assets.extend(["a1".to_owned()]);
                run.events[0].body["data"]["proof"] = json!("unconfirmed");
            }),
        ),
        (
            5,
            "no asset was found after the last look",
            Box::new(|run| run.calls.retain(|call| call.answered.as_deref() != Some("found"))),
        ),
        (1, "is buried", Box::new(|run| run.buried.clear())),
        (1, "is buried", Box::new(|run| run.buried.extend(["r1".to_owned()]))),
        (
            3,
            "its publisher may not ask",
            Box::new(|run| {
                let other = run.ledger["r2"].clone();
                run.ledger.insert("r5".to_owned(), other);
            }),
        ),
        (
            4,
            "was answered rejected in_use",
            Box::new(|run| {
                let at = run.asks.iter().position(|ask| ask.kind == Kind::BusyReject).unwrap();
                run.asks[at].kind = Kind::Plain;
            }),
        ),
        (1, "no answer", Box::new(|run| run.answer(5, "rejected", "in_use"))),
        (4, "not refused as a conflict", Box::new(|run| run.asks[0].kind = Kind::OtherWords)),
    ])
    .await;
}

#[tokio::test]
async fn the_checker_finds_a_delete_that_something_has_to_come_before() {
    assert_found(vec![
        (2, "before the intent", Box::new(|run| run.enter(1, "begun", DECIDED_MS - 69))),
        (2, "without an answer of the guard", Box::new(|run| run.without(1, "jobs"))),
        (2, "without an answer of the guard", Box::new(|run| run.call(1, "jobs").listed = None)),
        (
            2,
            "without an answer of the guard",
            Box::new(|run| {
                let again = run.call(1, "delete").clone();
                run.calls.push(again);
            }),
        ),
        (2, "the guard had listed job", Box::new(|run| run.call(1, "jobs").listed = Some(vec!["job".to_owned()]))),
        (
            2,
            "the guard had listed job",
            Box::new(|run| {
                run.replicas = 2;
                run.call(1, "jobs").listed = Some(vec!["job".to_owned()]);
            }),
        ),
        (2, "a DELETE while job", Box::new(|run| run.call(1, "delete").jobs_in_progress = vec!["job".to_owned()])),
        (2, "was deleted while job", Box::new(|run| run.call(1, "delete").jobs_at_effect = vec!["job".to_owned()])),
        (
            2,
            "its asset was gone at its end",
            Box::new(|run| {
                run.jobs.lost.push(Lost { job: "job".to_owned(), asset: "a1".to_owned(), when: "at its end" });
            }),
        ),
        (2, "had not looked", Box::new(|run| run.without(1, "detail"))),
        (2, "had not looked", Box::new(|run| run.enter(1, "begun", DECIDED_MS - 75))),
        (2, "without a started event", Box::new(|run| run.started.clear())),
        (
            3,
            "started event of a dry run",
            Box::new(|run| {
                run.started.push(as_event(json!({"id": "s", "data": {"request_id": "r2"}})));
            }),
        ),
        (3, "no request asked for", Box::new(|run| run.asks[0].kind = Kind::Late)),
        (3, "words of a second message", Box::new(|run| run.asks[0].kind = Kind::OtherWords)),
        (3, "no request asked for", Box::new(|run| run.call(1, "delete").asset = Some("a9".to_owned()))),
        (3, "no request asked for", Box::new(|run| run.call(1, "delete").traceparent = None)),
        (4, "without an entry before it", Box::new(|run| run.strike(1, "deleting"))),
        (4, "without an entry before it", Box::new(|run| run.enter(1, "deleting", DECIDED_MS - 49))),
        (4, "without an entry of its own", Box::new(|run| run.strike(6, "deleting"))),
        (
            4,
            "without an entry of its own",
            Box::new(|run| {
                let withheld = change(&run.asks[5], "not_sent", DECIDED_MS - 72);
                run.changes(6).push(withheld);
            }),
        ),
        (
            4,
            "without an entry before it",
            Box::new(|run| {
                run.strike(1, "begun");
                let first = &run.changes(1)[0];
                assert_eq!(first.state, "deleting", "it is the beginning of an attempt");
            }),
        ),
        (4, "after the decision", Box::new(|run| run.call(1, "delete").at_ms = DECIDED_MS + 1)),
        (4, "after the decision", Box::new(|run| run.enter(1, "decided", DECIDED_MS + AHEAD_S * 1000 - 51))),
        (5, "rejected as in use", Box::new(|run| run.answer(1, "rejected", "in_use"))),
    ])
    .await;
}

#[tokio::test]
async fn the_checker_counts_the_witnesses() {
    let last = |run: &mut History, request: usize| {
        let trace = format!("trace-{request}");
        let own = |call: &Call| call.operation == "detail" && call.traceparent.as_deref() == Some(&trace);
        let place = run.calls.iter().rposition(own).unwrap();
        run.calls.remove(place)
    };
    assert_found(vec![
        (5, "deleted with 0 of 1", Box::new(move |run| drop(last(run, 1)))),
        (5, "deleted with 1 of 2", Box::new(move |run| drop(last(run, 6)))),
        (5, "deleted with 1 of 2", Box::new(|run| run.call(1, "delete").answered = None)),
        (5, "absent with 1 of 2", Box::new(move |run| drop(last(run, 4)))),
        (5, "absent with 1 of 2", Box::new(|run| run.call(4, "detail").answered = Some("found".to_owned()))),
        (
            5,
            "absent with 1 of 2",
            Box::new(move |run| {
                let mut late = last(run, 4);
                late.at_ms = DECIDED_MS + 1;
                run.calls.push(late);
            }),
        ),
        (5, "its own DELETE took effect", Box::new(|run| run.answer(1, "already_absent", ""))),
        (
            5,
            "its one DELETE found nothing",
            Box::new(|run| {
                let delete = run.call(1, "delete");
                (delete.answered, delete.took_effect) = (Some("-1".to_owned()), false);
            }),
        ),
    ])
    .await;
}

#[tokio::test]
async fn the_checker_finds_what_was_not_kept() {
    assert_found(vec![
        (7, "without a whole copy", Box::new(|run| run.copies.stored.clear())),
        (
            7,
            "without a whole copy",
            Box::new(|run| {
                run.copies.assets.insert("a3".to_owned(), Bytes { length: 4, sha256: "ab".to_owned() });
            }),
        ),
        (7, "without a whole copy", Box::new(|run| run.events[2].body["data"]["backup"] = Value::Null)),
        (7, "before a copy", Box::new(|run| run.changes(3).reverse())),
        (7, "before a copy", Box::new(|run| run.strike(3, "backed_up"))),
        (7, "no request wanted", Box::new(|run| run.call(3, "file").asset = Some("a1".to_owned()))),
        (7, "not read the copy back", Box::new(|run| run.copies.reads.clear())),
        (7, "not read the copy back", Box::new(|run| run.copies.reads[0].at_ms = DECIDED_MS - 49)),
        (7, "not read the copy back", Box::new(|run| run.copies.reads[0].at_ms = DECIDED_MS - 96)),
        (7, "not read the copy back", Box::new(|run| run.copies.reads[0].key = "a3/r4/asset-1".to_owned())),
    ])
    .await;
}

#[tokio::test]
async fn the_checker_finds_a_limit_that_did_not_hold() {
    assert_found(vec![
        (4, "compacted away", Box::new(|run| run.ledger.get_mut("r1").unwrap().0.event = None)),
        (3, "after the deadline", Box::new(|run| run.deadlines.extend([("r6".to_owned(), DECIDED_MS - 561)]))),
        (3, "3 deletions began", Box::new(|run| run.conditions.brake = Some(2))),
        (
            3,
            "3 deletions began",
            Box::new(|run| {
                run.conditions.brake = Some(1);
                run.releases.push((DECIDED_MS - 900, DECIDED_MS - 890));
            }),
        ),
        (
            1,
            "3 of its attempts in a row were taken over, with 1 copies and 0 interruptions",
            Box::new(|run| {
                let taken = change(&run.asks[0], "begun", DECIDED_MS - 95);
                let taken = [7, 8, 9].map(|attempts| Change { attempts, ..taken.clone() });
                run.changes(1).extend(taken);
            }),
        ),
        (1, "after 0 attempts that never ended", Box::new(|run| run.answer(1, "failed", "attempts_exhausted"))),
        (
            1,
            "after 1 attempts that never ended",
            Box::new(|run| {
                run.kills = 9;
                run.answer(1, "failed", "attempts_exhausted");
                run.changes(1)[0].attempts = 7;
            }),
        ),
        (
            1,
            "after 2 attempts that never ended",
            Box::new(|run| {
                run.kills = 1;
                run.answer(1, "failed", "attempts_exhausted");
                let lost = change(&run.asks[0], "begun", DECIDED_MS - 95);
                run.changes(1).extend([Change { attempts: 8, ..lost.clone() }, Change { attempts: 9, ..lost }]);
            }),
        ),
    ])
    .await;
    let crashed = |run: &mut History| {
        run.kills = 2;
        run.answer(1, "failed", "attempts_exhausted");
        let lost = change(&run.asks[0], "begun", DECIDED_MS - 95);
        run.changes(1).extend([Change { attempts: 8, ..lost.clone() }, Change { attempts: 9, ..lost }]);
    };
    let exhausted = found(crashed).await.into_iter().any(|(_, what)| what.contains("exhausted"));
    assert!(!exhausted, "two crashes are as many as the limit");
}

#[tokio::test]
async fn the_checker_finds_a_case_that_does_not_end_well() {
    let end = |run: &History| run.events.iter().position(|event| event.body["id"] == "end").unwrap();
    assert_found(vec![
        (4, "has no end", Box::new(move |run| drop(run.events.remove(end(run))))),
        (
            4,
            "2 different ends",
            Box::new(move |run| {
                let mut again = run.events[end(run)].clone();
                again.text.push(' ');
                run.events.push(again);
            }),
        ),
        (
            4,
            "of 2 requests ends with 1 counted",
            Box::new(move |run| {
                let at = end(run);
                run.events[at].body["data"]["outcomes"] = json!({"deleted": 1});
            }),
        ),
    ])
    .await;
}

#[test]
fn violations_of_one_kind_have_one_name() {
    let of = |what: &str| super::violation(1, what, "r", "a").kind();
    assert_eq!(of("a DELETE 17 ms late"), of("a DELETE 230 ms late"));
    assert_eq!(text(&json!("x")), "x");
}
