//! An attempt that a later one has superseded deletes nothing more, and every `DELETE` is on record before it is sent.

use serde_json::json;

use crate::support::private::PrivatePostgres;
use crate::support::sandbox::answer;
use crate::support::{World, deletes, outcome, until, world};

/// The time for which the look after a refused `DELETE` lasts: the other replica has it for an attempt of its own.
const LOOK_MS: u64 = 4_000;

/// Settings under which one `DELETE` is retried for longer than another replica takes for an attempt. A worker handles
/// one request at a time, so that two copies of a request go to two replicas.
const PATIENT: [(&str, &str); 4] =
    [("PROVIDER__TIMEOUT", "10s"), ("RETRY__MAX_ELAPSED", "20s"), ("GUARD__POLL", "5s"), ("WORKER__CONCURRENCY", "1")];

async fn patient_world(postgres: &PrivatePostgres) -> World {
    let settings = [&PATIENT[..], &[("LEDGER__URL", postgres.url.as_str())]].concat();
    world(&settings).await
}

/// Asks for the asset, and waits until one replica has sent a `DELETE` in vain and looks at the asset at length.
async fn ask_and_fail_once(world: &mut World) {
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, answer(503, &json!({}))).await;
    world.sandbox.fault("detail", "a", 1, json!({"delay_ms": 0})).await;
    world.sandbox.fault("detail", "a", 1, json!({"delay_ms": LOOK_MS})).await;
    ask(world).await;
    world.sandbox.until_called("detail", "a", 2).await;
}

async fn ask(world: &mut World) {
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_attempt_sends_no_delete_while_the_later_one_waits() {
    let postgres = PrivatePostgres::start();
    let mut world = patient_world(&postgres).await;
    world.add_replicas(1).await;
    ask_and_fail_once(&mut world).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    // One copy for each replica: the one that is busy keeps its own for later.
    ask(&mut world).await;
    ask(&mut world).await;
    let url = format!("{}/v1/requests/r", world.worker().address().await);
    until("the last attempt waits for the job", || async {
        let said = crate::support::sandbox::http_get(&url).await.1;
        said.contains(r#""waited_for":"in_use""#).then_some(())
    })
    .await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    for one in world.broker.results("r", 3).await {
        assert_eq!(outcome(&one.event), ("deleted", ""));
    }
    let (history, calls) = (world.history("r").await, world.sandbox.calls_of("a").await);
    let superseded = history.unannounced(&calls);
    assert!(superseded.is_empty(), "DELETE calls by an attempt that was superseded: {superseded:?}, {:?}", history.0);
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_attempt_sends_no_delete_after_the_decision_of_the_later_one() {
    let postgres = PrivatePostgres::start();
    let mut world = patient_world(&postgres).await;
    ask_and_fail_once(&mut world).await;
    world.set("PROTECTED", "a");
    world.add_replicas(1).await;
    ask(&mut world).await;
    ask(&mut world).await;
    world.broker.results("r", 3).await;
    let decided_ms = world.history("r").await.decided_ms();
    let calls = world.sandbox.calls_of("a").await;
    let late: Vec<_> = calls.iter().filter(|call| call["at_ms"].as_i64() > Some(decided_ms)).collect();
    assert!(!late.iter().any(|call| call["operation"] == "delete"), "calls after the decision: {late:?}");
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_attempt_decides_nothing_while_the_delete_of_the_later_one_is_out() {
    let postgres = PrivatePostgres::start();
    let mut world = patient_world(&postgres).await;
    world.add_replicas(1).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("detail", "a", 1, json!({"delay_ms": LOOK_MS})).await;
    world.sandbox.fault("delete", "a", 1, json!({"delay_ms": 2 * LOOK_MS})).await;
    let request = json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"});
    world.ask(request.clone()).await;
    world.sandbox.until_called("detail", "a", 1).await;
    world.ask(request).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    // The first attempt hears of the job while the DELETE of the second one is out.
    world.sandbox.until_called("jobs", "a", 2).await;
    for one in world.broker.results("r", 2).await {
        assert_eq!(outcome(&one.event), ("deleted", ""));
    }
    world.finish(0).await;
}

#[tokio::test]
async fn every_delete_of_one_attempt_is_on_record() {
    let mut world = world(&[("RETRY__MAX_ELAPSED", "5s")]).await;
    world.sandbox.fault("delete", "a", 2, answer(500, &json!({}))).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    assert_on_record(&mut world, "r-a", "a", 3).await;
    world.finish(0).await;
}

#[tokio::test]
async fn every_delete_of_a_request_with_several_attempts_is_on_record() {
    let mut world = world(&[("RETRY__MAX_ELAPSED", "1ms")]).await;
    world.sandbox.fault("delete", "a", 2, answer(500, &json!({}))).await;
    let event = world.delete("a").await;
    assert_eq!((outcome(&event), &event["data"]["attempts"]), (("deleted", ""), &json!(3)));
    assert_on_record(&mut world, "r-a", "a", 3).await;
    world.finish(0).await;
}

#[tokio::test]
async fn every_delete_of_a_request_whose_worker_died_is_on_record() {
    let mut world = world(&[("PROVIDER__TIMEOUT", "60s"), ("RETRY__MAX_ELAPSED", "5s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, json!({"hang": "before"})).await;
    world.sandbox.fault("delete", "a", 2, answer(500, &json!({}))).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.kill_worker().await;
    world.start_worker().await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    assert_on_record(&mut world, "r", "a", 4).await;
    world.finish(0).await;
}

async fn assert_on_record(world: &mut World, request: &str, asset: &str, sent: usize) {
    assert_eq!(deletes(&world.sandbox.calls_of(asset).await), sent, "DELETE calls sent");
    let history = world.history(request).await;
    assert_eq!(history.deletes(), sent, "DELETE calls on record: {:?}", history.0);
}
