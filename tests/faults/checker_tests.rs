//! The checker has to find what is wrong: a run in which all is well, and one thing changed.

use std::collections::{BTreeMap, BTreeSet};

use asset_eraser::ledger::{Asked, Begun, Beside, Change, Entry, Ledger};
use asset_eraser::message::{AssetId, RequestId};
use asset_eraser::telemetry::metrics::Metrics;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::asks::{Ask, Kind};
use super::checker::{Call, Event, History, Violation};
use super::copies::{Bytes, Copies};

/// What is wrong with a run.
type Wrong = Box<dyn FnOnce(&mut History)>;

const DECIDED_MS: i64 = 1_774_800_001_000;

fn event(ask: &Ask, outcome: &str, cause: Option<&str>) -> Event {
    let decided = "2026-03-29T16:00:01Z";
    let mut body = json!({"id": format!("id-{}", ask.request_id), "data": {
        "request_id": ask.request_id, "asset_id": ask.asset_id, "outcome": outcome, "decided_at": decided,
    }});
    if let Some(cause) = cause {
        body["data"]["cause"] = json!(cause);
    }
    Event { at_ms: DECIDED_MS + 5, text: body.to_string(), body }
}

fn ask(kind: Kind, number: usize) -> Ask {
    let (request_id, asset_id) = (format!("r{number}"), format!("a{number}"));
    Ask { kind, request_id, asset_id, traceparent: format!("trace-{number}"), body: Value::Null }
}

fn call(ask: &Ask, operation: &str, before_ms: i64) -> Call {
    Call {
        at_ms: DECIDED_MS - before_ms,
        operation: operation.to_owned(),
        asset: Some(ask.asset_id.clone()),
        status: Some(200),
        jobs_in_progress: Vec::new(),
        took_effect: operation == "delete",
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
    let Begun::Open(record) = ledger.begin(asked, Beside::NoSuspect).await.unwrap() else { panic!("it is new") };
    let text = event.text.clone();
    ledger.decide(&record.attempt, "deleted", |_| text).await.unwrap();
    ledger.request(&id).await.unwrap().unwrap()
}

fn change(ask: &Ask, number: u32, state: &str) -> Change {
    Change {
        request_id: RequestId::parse(&ask.request_id).unwrap(),
        number,
        at: Timestamp::UNIX_EPOCH,
        state: state.to_owned(),
        attempts: 1,
        why: None,
        digest: None,
        hash: String::new(),
    }
}

/// One request was deleted, one was a dry run, one was deleted with a copy.
async fn well() -> History {
    let (plain, dry, kept) = (ask(Kind::Plain, 1), ask(Kind::DryRun, 2), ask(Kind::Kept, 3));
    let mut with_copy = event(&kept, "deleted", None);
    with_copy.body["data"]["backup"] = json!({"location": "file:///copy", "length": 3, "sha256": "ab"});
    let events = vec![event(&plain, "deleted", None), event(&dry, "would_delete", None), with_copy];
    let calls = [("detail", 9), ("jobs", 8), ("delete", 7), ("detail", 6)].map(|(what, ms)| call(&plain, what, ms));
    let calls = calls.into_iter().chain(
        [("detail", 9), ("jobs", 8), ("file", 7), ("jobs", 6), ("delete", 5)].map(|(what, ms)| call(&kept, what, ms)),
    );
    let mut ledger = BTreeMap::new();
    for (ask, event) in [(&plain, &events[0]), (&dry, &events[1]), (&kept, &events[2])] {
        let changes = [(1, "backed_up"), (2, "deleting")].map(|(number, state)| change(ask, number, state));
        ledger.insert(ask.request_id.clone(), (entry(ask, event).await, changes.into()));
    }
    let bytes = Bytes { length: 3, sha256: "ab".to_owned() };
    History {
        asks: vec![plain, dry, kept],
        calls: calls.collect(),
        events,
        buried: BTreeSet::new(),
        ledger,
        assets: BTreeSet::from(["a2".to_owned()]),
        relied_on: BTreeSet::from(["job".to_owned()]),
        clocks_jumped: false,
        copies: Copies {
            assets: BTreeMap::from([("a3".to_owned(), bytes.clone())]),
            stored: BTreeMap::from([("file:///copy".to_owned(), bytes)]),
        },
    }
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

#[tokio::test]
async fn the_checker_finds_each_way_to_break_a_promise() {
    let again = |history: &mut History, at: usize| {
        let call = history.calls[at].clone();
        history.calls.push(call);
    };
    let changes: Vec<(u8, &str, Wrong)> = vec![
        (1, "no answer", Box::new(|history| drop(history.events.remove(0)))),
        (
            4,
            "2 event IDs",
            Box::new(|history| {
                let mut other = history.events[0].clone();
                (other.body["id"], other.text) = (json!("other"), "other".to_owned());
                history.events.push(other);
            }),
        ),
        (
            4,
            "1 event IDs and 2 different contents",
            Box::new(|history| {
                let mut other = history.events[0].clone();
                other.text.push(' ');
                history.events.push(other);
            }),
        ),
        (
            4,
            "was answered failed",
            Box::new(|history| {
                history.events[0].body["data"]["outcome"] = json!("failed");
            }),
        ),
        (2, "without an answer of the guard", Box::new(|history| drop(history.calls.remove(1)))),
        (2, "without an answer of the guard", Box::new(|history| history.calls[1].status = Some(500))),
        (2, "without an answer of the guard", Box::new(move |history| again(history, 2))),
        (2, "while job", Box::new(|history| history.calls[1].jobs_in_progress = vec!["job".to_owned()])),
        (2, "while job", Box::new(|history| history.calls[2].jobs_in_progress = vec!["job".to_owned()])),
        (3, "nobody asked for", Box::new(|history| history.asks[0].kind = Kind::Late)),
        (3, "nobody asked for", Box::new(|history| history.calls[2].asset = Some("a9".to_owned()))),
        (3, "nobody asked for", Box::new(|history| history.calls[2].traceparent = None)),
        (3, "the asset is gone", Box::new(|history| history.assets.clear())),
        (4, "after the decision", Box::new(|history| history.calls[2].at_ms = DECIDED_MS + 1)),
        (5, "still there", Box::new(|history| history.assets.extend(["a1".to_owned()]))),
        (7, "without a whole copy", Box::new(|history| history.copies.stored.clear())),
        (
            7,
            "without a whole copy",
            Box::new(|history| {
                history.copies.assets.insert("a3".to_owned(), Bytes { length: 4, sha256: "ab".to_owned() });
            }),
        ),
        (
            7,
            "without a whole copy",
            Box::new(|history| {
                history.events[2].body["data"]["backup"] = Value::Null;
            }),
        ),
        (7, "before a copy", Box::new(|history| history.ledger.get_mut("r3").unwrap().1.reverse())),
        (7, "before a copy", Box::new(|history| drop(history.ledger.get_mut("r3").unwrap().1.remove(0)))),
        (7, "nobody wanted", Box::new(|history| history.calls[6].asset = Some("a1".to_owned()))),
        (4, "not in the ledger", Box::new(|history| drop(history.ledger.remove("r1")))),
        (
            4,
            "another event on record",
            Box::new(|history| {
                let other = history.ledger["r2"].clone();
                history.ledger.insert("r1".to_owned(), other);
            }),
        ),
    ];
    for (promise, what, change) in changes {
        let found = found(change).await;
        assert!(found.iter().any(|(which, said)| *which == promise && said.contains(what)), "{what}: {found:?}");
    }
}
