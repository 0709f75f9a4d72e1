//! Faults: retried in process, then over the wait ladder, then answered.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::support::sandbox::answer;
use crate::support::{deletes, operations, outcome, world};

#[tokio::test]
async fn passing_faults_are_retried_in_process() {
    let mut world = world(&[]).await;
    world.sandbox.fault("detail", "a", 1, answer(503, &json!({}))).await;
    world.sandbox.fault("detail", "a", 1, json!({"cut": "before"})).await;
    world.sandbox.fault("jobs", "a", 1, answer(502, &json!({}))).await;
    world.sandbox.fault("delete", "a", 1, answer(500, &json!({}))).await;
    let event = world.delete("a").await;
    assert_eq!((outcome(&event), &event["data"]["attempts"]), (("deleted", ""), &json!(1)));
    world.finish(0).await;
}

#[tokio::test]
async fn a_request_that_always_fails_climbs_the_ladder_and_ends() {
    let mut world = world(&[]).await;
    world.sandbox.fault("delete", "a", 0, answer(500, &json!({"code": 9, "msg": "boom"}))).await;
    let event = world.delete("a").await;
    assert_eq!(outcome(&event), ("failed", "attempts_exhausted"));
    assert_eq!(event["data"]["attempts"], 3, "one try and one for each of the two steps");
    assert_eq!(world.sandbox.assets().await, ["a"]);
    let metrics = world.get("/metrics").await.1;
    assert!(metrics.contains(r#"asset_eraser_put_off_total{reason="provider"} 2"#), "{metrics}");
    world.finish(0).await;
}

#[tokio::test]
async fn a_route_that_is_missing_is_never_a_missing_asset() {
    let mut world = world(&[]).await;
    world.sandbox.fault("detail", "a", 0, answer(404, &json!({"message": "No handler found"}))).await;
    assert_eq!(outcome(&world.delete("a").await), ("failed", "attempts_exhausted"));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn nothing_is_deleted_after_the_deadline() {
    let mut world = world(&[]).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    let past = (Timestamp::now() - Duration::from_secs(1)).to_string();
    world.ask(json!({"request_id": "past", "asset_id": "a", "deadline": past})).await;
    assert_eq!(outcome(&world.broker.result("past").await), ("failed", "deadline_passed"));
    assert!(world.sandbox.calls().await.is_empty());
    // The deadline passes while the provider is slow.
    world.sandbox.fault("detail", "b", 1, json!({"delay_ms": 1500})).await;
    let soon = (Timestamp::now() + Duration::from_secs(1)).to_string();
    world.ask(json!({"request_id": "soon", "asset_id": "b", "deadline": soon})).await;
    assert_eq!(outcome(&world.broker.result("soon").await), ("failed", "deadline_passed"));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for_by_all_requests() {
    let mut world = world(&[("RETRY__MAX_ELAPSED", "3s"), ("RETRY__MAX_INTERVAL", "10ms")]).await;
    let wait = json!({"answer": {"status": 429, "headers": {"Retry-After": "1"}, "body": {}}});
    world.sandbox.fault("detail", "a", 1, wait).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    let began = Instant::now();
    world.ask(json!({"request_id": "ra", "asset_id": "a"})).await;
    world.sandbox.until_called("detail", "a", 1).await;
    world.ask(json!({"request_id": "rb", "asset_id": "b"})).await;
    assert_eq!(outcome(&world.broker.result("rb").await), ("deleted", ""));
    assert!(began.elapsed() >= Duration::from_millis(900), "b did not wait: {:?}", began.elapsed());
    assert_eq!(outcome(&world.broker.result("ra").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn a_long_retry_after_stops_the_line_and_costs_no_request_a_step() {
    let mut world = world(&[]).await;
    let wait = json!({"answer": {"status": 503, "headers": {"Retry-After": "2"}, "body": {}}});
    world.sandbox.fault("detail", "a", 1, wait).await;
    world.sandbox.add("a").await;
    let began = Instant::now();
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "provider_busy");
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    world.finish(0).await;
}

#[tokio::test]
async fn no_request_is_held_through_a_long_retry_after() {
    let mut world = world(&[]).await;
    let wait = json!({"answer": {"status": 429, "headers": {"Retry-After": "2"}, "body": {}}});
    world.sandbox.fault("delete", "a", 1, wait).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    // b is between its first look and its DELETE when a is told to wait.
    world.sandbox.fault("detail", "b", 1, json!({"delay_ms": 700})).await;
    world.ask(json!({"request_id": "rb", "asset_id": "b"})).await;
    world.sandbox.until_called("detail", "b", 1).await;
    world.ask(json!({"request_id": "ra", "asset_id": "a"})).await;
    for request in ["ra", "rb"] {
        assert_eq!(outcome(&world.broker.result(request).await), ("deleted", ""));
    }
    let calls = world.sandbox.calls_of("b").await;
    assert_eq!(operations(&calls), ["detail", "detail", "jobs", "delete", "detail"], "put off, not held");
    world.finish(0).await;
}
