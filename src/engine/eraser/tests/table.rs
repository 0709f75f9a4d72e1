//! The rows of the table.

use super::*;

/// Something that happens to one request.
struct Situation {
    /// As `docs/what-happens-when.md` says it.
    when: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// Switches of the stand-in: method, path, body.
    there: &'static [(&'static str, &'static str, &'static str)],
    /// What the request says beside its ID and that of the asset `a`.
    asked: &'static str,
    /// What comes of the first attempt.
    first: &'static str,
    /// What it ends with, where the first attempt puts it off.
    end: &'static str,
    deletes: usize,
}

const NOTHING: Situation =
    Situation { when: "", settings: &[], there: &[], asked: "{}", first: "", end: "", deletes: 0 };

const A: (&str, &str, &str) = ("PUT", "assets/a", "{}");
const CONTROL: (&str, &str, &str) = ("PUT", "assets/control", "{}");
const CONTROLLED: (&str, &str) = ("PROVIDER__CONTROL_ASSET", "control");
const BUSY: (&str, &str, &str) = ("PUT", "jobs/j", r#"{"assets":["a"],"status":"processing"}"#);

macro_rules! fault {
    ($operation:literal, $asset:literal, $what:literal) => {
        ("POST", "faults", concat!(r#"{"operation":""#, $operation, r#"","asset":""#, $asset, r#"","do":"#, $what, "}"))
    };
}

macro_rules! gateway {
    ($mode:literal) => {
        ("PUT", "gateway", concat!(r#"{"mode":""#, $mode, r#""}"#))
    };
}

const SITUATIONS: &[Situation] = &[
    Situation { when: "DELETE answers 0, and it is gone", there: &[A], first: "deleted erased", deletes: 1, ..NOTHING },
    Situation {
        when: "the asset was never found before",
        settings: &[("PROVIDER__CONFIRM_TARGET", "false")],
        there: &[A],
        first: "deleted provider_word",
        deletes: 1,
        ..NOTHING
    },
    Situation {
        when: "provider.verify is off",
        settings: &[("PROVIDER__VERIFY", "false")],
        there: &[A],
        first: "deleted provider_word",
        deletes: 1,
        ..NOTHING
    },
    Situation { when: "not found, and no control", first: "already_absent unconfirmed", ..NOTHING },
    Situation {
        when: "not found, and a control between the looks and after them",
        settings: &[CONTROLLED],
        there: &[CONTROL],
        first: "already_absent absent",
        ..NOTHING
    },
    Situation {
        when: "the control asset is not found",
        settings: &[CONTROLLED],
        first: "put off control_lost",
        ..NOTHING
    },
    Situation {
        when: "the control asset cannot be asked about",
        settings: &[CONTROLLED],
        there: &[CONTROL, fault!("detail", "control", r#"{"answer":{"status":500}}"#)],
        first: "put off provider",
        end: "failed attempts_exhausted",
        ..NOTHING
    },
    Situation {
        when: "so many assets in a row are not found",
        settings: &[("PROVIDER__ABSENT_STREAK", "1")],
        first: "put off nothing_found",
        ..NOTHING
    },
    Situation {
        when: "a request for the control asset",
        settings: &[("PROVIDER__CONTROL_ASSET", "a")],
        there: &[A],
        first: "rejected protected",
        ..NOTHING
    },
    Situation {
        when: "the asset is protected",
        settings: &[("PROTECTED", "a*")],
        there: &[A],
        first: "rejected protected",
        ..NOTHING
    },
    Situation {
        when: "worker.dry_run",
        settings: &[("WORKER__DRY_RUN", "true")],
        there: &[A],
        first: "would_delete",
        ..NOTHING
    },
    Situation { when: "dry_run", there: &[A], asked: r#"{"dry_run":true}"#, first: "would_delete", ..NOTHING },
    Situation {
        when: "the asset is not the one that was meant",
        there: &[A],
        asked: r#"{"expect":{"name":"Dog"}}"#,
        first: "rejected asset_mismatch",
        ..NOTHING
    },
    Situation { when: "a job in progress uses it", there: &[A, BUSY], first: "put off in_use", ..NOTHING },
    Situation {
        when: "a job in progress uses it, with reject",
        there: &[A, BUSY],
        asked: r#"{"on_in_use":"reject"}"#,
        first: "rejected in_use",
        ..NOTHING
    },
    Situation {
        when: "a job in progress uses it, and the request is older than retry.max_age",
        settings: &[("RETRY__MAX_AGE", "1ms")],
        there: &[A, BUSY],
        first: "failed in_use",
        ..NOTHING
    },
    Situation {
        when: "the deadline has passed",
        there: &[A],
        asked: r#"{"deadline":"2020-01-01T00:00:00Z"}"#,
        first: "failed deadline_passed",
        ..NOTHING
    },
    Situation {
        when: "a guard source is down",
        there: &[A, fault!("jobs", "a", r#"{"answer":{"status":500}}"#)],
        first: "put off guard",
        end: "failed attempts_exhausted",
        ..NOTHING
    },
    Situation {
        when: "DELETE answers 0, and it is still found",
        there: &[A, fault!("delete", "a", r#"{"pretend":true}"#)],
        first: "put off still_present",
        end: "failed still_present",
        deletes: 6,
        ..NOTHING
    },
    Situation {
        when: "DELETE is cut after it took effect, without a control",
        there: &[A, fault!("delete", "a", r#"{"cut":"after"}"#)],
        first: "deleted unconfirmed",
        deletes: 1,
        ..NOTHING
    },
    Situation {
        when: "DELETE is cut after it took effect, with a control",
        settings: &[CONTROLLED],
        there: &[A, CONTROL, fault!("delete", "a", r#"{"cut":"after"}"#)],
        first: "deleted erased",
        deletes: 1,
        ..NOTHING
    },
    Situation {
        when: "DELETE is cut, of an asset that was never found",
        settings: &[CONTROLLED, ("PROVIDER__CONFIRM_TARGET", "false")],
        there: &[CONTROL, fault!("delete", "a", r#"{"cut":"before"}"#)],
        first: "already_absent absent",
        deletes: 1,
        ..NOTHING
    },
    Situation {
        when: "DELETE answers \"not found\", and the asset vanished by another hand",
        settings: &[CONTROLLED],
        there: &[
            A,
            CONTROL,
            fault!("delete", "a", r#"{"answer":{"status":200,"body":{"code":"-1"},"took_effect":true}}"#),
        ],
        first: "already_absent absent",
        deletes: 1,
        ..NOTHING
    },
    Situation {
        when: "DELETE answers a refused code",
        settings: &[("PROVIDER__REFUSED_CODES", "1001")],
        there: &[A, fault!("delete", "a", r#"{"answer":{"status":200,"body":{"code":1001}}}"#)],
        first: "failed provider_refused",
        deletes: 1,
        ..NOTHING
    },
    Situation {
        when: "403 about this asset",
        there: &[A, gateway!("locked_403")],
        first: "put off provider",
        end: "failed provider_refused",
        deletes: 3,
        ..NOTHING
    },
    Situation { when: "409", there: &[A, gateway!("in_use_409")], first: "put off in_use", deletes: 1, ..NOTHING },
    Situation {
        when: "409, with reject",
        there: &[A, gateway!("in_use_409")],
        asked: r#"{"on_in_use":"reject"}"#,
        first: "rejected in_use",
        deletes: 1,
        ..NOTHING
    },
    Situation {
        when: "420",
        there: &[A, fault!("detail", "a", r#"{"answer":{"status":420}}"#)],
        first: "put off pace",
        ..NOTHING
    },
    Situation {
        when: "the key is refused",
        there: &[A, gateway!("wrong_key")],
        first: "put off provider_key",
        ..NOTHING
    },
    Situation {
        when: "429 with a long Retry-After",
        there: &[A, fault!("detail", "a", r#"{"answer":{"status":429,"headers":{"retry-after":"9"}}}"#)],
        first: "put off provider_busy",
        ..NOTHING
    },
    Situation {
        when: "the detail call finds a row with the status Deleted",
        there: &[("PUT", "assets/a", r#"{"status":"DELETED"}"#)],
        first: "already_absent unconfirmed",
        ..NOTHING
    },
    Situation {
        when: "404 without a rule",
        there: &[gateway!("missing_404")],
        first: "put off provider",
        end: "failed attempts_exhausted",
        ..NOTHING
    },
    Situation {
        when: "5xx",
        there: &[A, fault!("detail", "a", r#"{"answer":{"status":500}}"#)],
        first: "put off provider",
        end: "failed attempts_exhausted",
        ..NOTHING
    },
    Situation {
        when: "a backup is wanted, and the asset has no URL that may be asked",
        there: &[A],
        asked: r#"{"backup":true}"#,
        first: "failed backup_failed",
        ..NOTHING
    },
    Situation {
        when: "as many deletions have begun as the brake allows",
        settings: &[("BRAKE__MAX_DELETIONS", "1"), ("BRAKE__WINDOW", "1h")],
        there: &[A],
        first: "deleted erased",
        deletes: 1,
        ..NOTHING
    },
];

#[tokio::test]
async fn what_happens_when() {
    futures_util::future::join_all(SITUATIONS.iter().map(happens)).await;
}

/// Makes the situation, and compares what comes of it.
async fn happens(row: &Situation) {
    let stage = Stage::new(row.settings).await;
    for (method, path, body) in row.there {
        stage.control(method, path, &serde_json::from_str(body).unwrap()).await;
    }
    let mut asked: Value = serde_json::from_str(row.asked).unwrap();
    (asked["request_id"], asked["asset_id"]) = (json!("r"), json!("a"));
    let request = request(&asked);
    assert_eq!(stage.attempt(&request).await, row.first, "{}", row.when);
    if !row.end.is_empty() {
        assert_eq!(stage.until_answered(&request).await, row.end, "{}, in the end", row.when);
    }
    assert_eq!(stage.deletes().await, row.deletes, "{}: DELETEs", row.when);
    assert_eq!(stage.line.is_open(), !stops(row.first), "{}: {:?}", row.when, stage.line.stopped());
}

/// Whether what it waits for concerns all requests.
fn stops(first: &str) -> bool {
    let stops = Stop::ALL.map(Stop::as_str);
    first.strip_prefix("put off ").is_some_and(|reason| stops.contains(&reason))
}

#[tokio::test]
async fn a_request_that_was_decided_gets_its_recorded_event() {
    let stage = Stage::new(&[]).await;
    stage.control("PUT", "assets/a", &json!({})).await;
    let asked = request(&json!({"request_id": "r", "asset_id": "a"}));
    assert_eq!(stage.attempt(&asked).await, "deleted erased");
    assert_eq!(stage.attempt(&asked).await, "deleted erased");
    assert_eq!(stage.deletes().await, 1);
    let other = request(&json!({"request_id": "r", "asset_id": "b"}));
    assert_eq!(stage.attempt(&other).await, "rejected request_conflict");
}

#[tokio::test]
async fn the_brake_holds_the_next_request() {
    let stage = Stage::new(&[("BRAKE__MAX_DELETIONS", "1"), ("BRAKE__WINDOW", "1h")]).await;
    for (asset, said) in [("a", "deleted erased"), ("b", "put off brake")] {
        stage.control("PUT", &format!("assets/{asset}"), &json!({})).await;
        let asked = request(&json!({"request_id": asset, "asset_id": asset}));
        assert_eq!(stage.attempt(&asked).await, said);
    }
    assert!(stage.line.holds(Stop::Brake));
    assert_eq!(stage.deletes().await, 1);
}

#[tokio::test]
async fn a_request_that_crashes_its_worker_again_and_again_is_buried() {
    let stage = Stage::new(&[("BROKER__DELIVERY_LIMIT", "2")]).await;
    stage.control("PUT", "assets/a", &json!({})).await;
    let asked = request(&json!({"request_id": "r", "asset_id": "a"}));
    for _ in 0..2 {
        stage.ledger.begin(super::super::asked(&asked), crate::neighbours::ledger::Beside::NoSuspect).await.unwrap();
    }
    assert_eq!(stage.attempt(&asked).await, "failed attempts_exhausted, buried delivery_limit");
    assert_eq!(stage.deletes().await, 0);
}

#[tokio::test]
async fn a_deletion_that_was_lost_with_its_worker_is_recognised() {
    let stage = Stage::new(&[CONTROLLED]).await;
    stage.control("PUT", "assets/control", &json!({})).await;
    let asked = request(&json!({"request_id": "r", "asset_id": "a"}));
    let beside = crate::neighbours::ledger::Beside::NoSuspect;
    let Begun::Open(record) = stage.ledger.begin(super::super::asked(&asked), beside).await.unwrap() else {
        panic!("it is new")
    };
    // The asset was found, the DELETE is on record, and the worker died.
    stage.ledger.deleting(&record.attempt, None, true).await.unwrap();
    assert_eq!(stage.attempt(&asked).await, "deleted erased");
    assert_eq!(stage.deletes().await, 0, "it is looked for before another one is sent");
}

#[tokio::test]
async fn started_events_come_once_and_before_the_guard_is_asked() {
    let stage = Stage::new(&[("BROKER__STARTED_EVENTS", "true")]).await;
    stage.control("PUT", "assets/a", &json!({})).await;
    stage.control("PUT", "jobs/j", &json!({"assets": ["a"], "status": "processing"})).await;
    let asked = request(&json!({"request_id": "r", "asset_id": "a"}));
    for _ in 0..3 {
        assert_eq!(stage.attempt(&asked).await, "put off in_use");
    }
    assert_eq!(stage.announced.0.lock().unwrap().len(), 1);
}
