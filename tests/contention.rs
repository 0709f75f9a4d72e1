//! Two replicas work for one request, or for one asset: they hand each other no endless work, and one of them deletes.

use std::time::Duration;

use serde_json::json;

use crate::support::private::PrivatePostgres;
use crate::support::{outcome, until_within, world};

/// The longest that two copies of a request may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
/// The most attempts that two copies of a request may need.
const ATTEMPTS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_of_a_slow_request_on_two_replicas_end_in_an_answer() {
    let postgres = PrivatePostgres::start();
    let settings = [
        ("LEDGER__URL", postgres.url.as_str()),
        ("PROVIDER__TIMEOUT", "10s"),
        ("GUARD__HTTP__TIMEOUT", "10s"),
        ("RETRY__MAX_AGE", "20s"),
        ("RETRY__WAIT_STEPS", "200ms,400ms"),
        ("WORKER__CONCURRENCY", "1"),
    ];
    let mut world = world(&settings).await;
    world.add_replicas(1).await;
    world.sandbox.add("a").await;
    world.sandbox.latency(700).await;
    let request = json!({"request_id": "r", "asset_id": "a"});
    world.ask(request.clone()).await;
    // The second copy is half an attempt behind the first, so that each would take the request from the other.
    world.sandbox.until_called("jobs", "a", 1).await;
    world.ask(request).await;
    world.broker.requests_answered(0).await;
    let broker = &world.broker;
    let answered = || async { (broker.answered() == 1).then_some(()) };
    until_within(ANSWERED_WITHIN, "the request is answered", answered).await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    assert!(event["data"]["attempts"].as_u64().unwrap() <= ATTEMPTS, "{event}");
    world.broker.results("r", 2).await;
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_requests_for_one_asset_on_two_replicas_one_is_answered_deleted() {
    let postgres = PrivatePostgres::start();
    let settings = [("LEDGER__URL", postgres.url.as_str()), ("PROVIDER__TIMEOUT", "10s"), ("WORKER__CONCURRENCY", "1")];
    let mut world = world(&settings).await;
    world.add_replicas(1).await;
    world.sandbox.add("a").await;
    // Each replica sees the asset before the other one's DELETE takes effect; the slower DELETE finds nothing.
    world.sandbox.fault("delete", "a", 1, json!({"delay_ms": 1_500})).await;
    world.sandbox.fault("delete", "a", 1, json!({"delay_ms": 3_000})).await;
    for request in ["r1", "r2"] {
        world.ask(json!({"request_id": request, "asset_id": "a"})).await;
    }
    let mut answers = Vec::new();
    for request in ["r1", "r2"] {
        let event = world.broker.result(request).await;
        answers.push(outcome(&event).0.to_owned());
    }
    answers.sort();
    assert_eq!(answers, ["already_absent", "deleted"]);
    world.finish(0).await;
}
