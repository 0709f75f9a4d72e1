//! Troubles of all requests: consuming stops, no request fails for them, and it goes on by itself. Troubles of some
//! requests that look alike: consuming goes on, and those requests end.

use serde_json::{Value, json};

use crate::support::sandbox::answer;
use crate::support::{World, deletes, outcome, until, world};

/// Twelve requests and nothing else in the queue, for all of which one call fails in the same way. Other assets are
/// answered well.
async fn twelve_fail(world: &mut World, name: &str, operation: &str, what: Value, says: &str) {
    twelve_end(world, name, operation, what, ("attempts_exhausted", says)).await;
}

/// The same, with the cause that they all end with.
async fn twelve_end(world: &mut World, name: &str, operation: &str, what: Value, (cause, says): (&str, &str)) {
    let assets: Vec<String> = (0..12).map(|number| format!("{name}-{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.sandbox.fault(operation, asset, 0, what.clone()).await;
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    for asset in &assets {
        let event = world.broker.result(asset).await;
        assert_eq!(outcome(&event), ("failed", cause), "{event}");
        assert_eq!(event["data"]["attempts"], 3, "one try and one for each of the two steps: {event}");
        let detail = event["data"]["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
    }
}

/// No circuit has opened, and the worker consumes.
async fn no_outage(world: &mut World) {
    let metrics = world.get("/metrics").await.1;
    let opened = metrics.lines().filter(|line| line.starts_with("asset_eraser_circuit_opened_total"));
    assert!(opened.clone().all(|line| line.ends_with(" 0")), "{:?}", opened.collect::<Vec<_>>());
    world.until_ready(true).await;
    assert_eq!(outcome(&world.delete("well").await), ("deleted", ""));
}

#[tokio::test]
async fn a_provider_that_is_wrong_about_some_assets_ends_their_requests() {
    let mut world = world(&[]).await;
    let another = json!({"code": 0, "msg": null, "data": {"assetId": "another", "name": "x"}});
    twelve_fail(&mut world, "another", "detail", answer(200, &another), "another ID").await;
    twelve_fail(&mut world, "garbage", "detail", answer(200, &json!("<html>")), "cannot be read").await;
    twelve_fail(&mut world, "broken", "detail", answer(500, &json!({})), "HTTP status 500").await;
    twelve_fail(&mut world, "unlisted", "detail", answer(200, &json!({"code": 1001})), "1001").await;
    no_outage(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn deletes_that_fail_for_some_assets_end_their_requests() {
    let mut world = world(&[]).await;
    twelve_fail(&mut world, "broken", "delete", answer(500, &json!({})), "HTTP status 500").await;
    twelve_fail(&mut world, "garbage", "delete", answer(200, &json!("<html>")), "cannot be read").await;
    no_outage(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_key_that_is_refused_for_some_assets_only_ends_their_requests() {
    let mut world = world(&[]).await;
    let refusal = json!({"message": "not an asset of this account"});
    let refused = |says| ("provider_refused", says);
    twelve_end(&mut world, "detail", "detail", answer(403, &refusal), refused("HTTP status 403")).await;
    twelve_end(&mut world, "delete", "delete", answer(401, &refusal), refused("HTTP status 401")).await;
    no_outage(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_guard_that_fails_for_some_assets_ends_their_requests() {
    let mut world = world(&[]).await;
    twelve_fail(&mut world, "broken", "jobs", answer(500, &json!({})), "HTTP status 500").await;
    twelve_fail(&mut world, "garbage", "jobs", answer(200, &json!({"jobs": "none"})), "the answer is not").await;
    no_outage(&mut world).await;
    assert!(world.broker.seen().iter().all(|one| one.event["data"]["delete_sent"].is_null()));
    world.finish(0).await;
}

/// The key is refused for all assets; the probe that asks whether that is over meets a fault instead, so the line opens
/// again and again.
#[tokio::test]
async fn no_stop_of_the_line_holds_a_request_past_the_greatest_age() {
    let mut world = world(&[("RETRY__MAX_AGE", "2s")]).await;
    world.sandbox.fault("detail", "asset-eraser-probe", 0, answer(500, &json!({}))).await;
    world.sandbox.fault("detail", "", 0, answer(401, &json!({"message": "bad key"}))).await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "a", "asset_id": "a"})).await;
    let event = world.broker.result("a").await;
    assert_eq!(outcome(&event), ("failed", "attempts_exhausted"));
    let detail = event["data"]["detail"].as_str().unwrap();
    assert!(detail.contains("provider_key") && detail.contains("HTTP 401"), "{detail}");
    world.finish(0).await;
}

#[tokio::test]
async fn no_wait_that_the_provider_asks_for_holds_a_request_past_the_greatest_age() {
    let mut world = world(&[("RETRY__MAX_AGE", "1s")]).await;
    let wait = json!({"answer": {"status": 503, "headers": {"Retry-After": "1"}, "body": {}}});
    world.sandbox.fault("detail", "a", 0, wait).await;
    let event = world.delete("a").await;
    assert_eq!(outcome(&event), ("failed", "attempts_exhausted"));
    assert!(event["data"]["detail"].as_str().unwrap().contains("provider_busy"), "{event}");
    world.finish(0).await;
}

/// An outage that lasts longer than the greatest age: what waited for its end gets its attempt.
#[tokio::test]
async fn an_outage_longer_than_the_greatest_age_fails_no_request_that_waits_for_its_end() {
    let mut world = world(&[("RETRY__MAX_AGE", "2s")]).await;
    world.sandbox.fault("detail", "", 0, answer(500, &json!({}))).await;
    let assets: Vec<String> = (0..20).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    assert_eq!(world.until_ready(false).await["stopped"][0]["cause"], "provider_down");
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert!(world.broker.seen().is_empty());
    world.sandbox.no_faults().await;
    world.broker.requests_answered(20).await;
    assert!(world.broker.seen().iter().all(|one| outcome(&one.event) == ("deleted", "")));
    world.finish(0).await;
}

#[tokio::test]
async fn a_refused_key_stops_consuming_and_fails_no_request() {
    let mut world = world(&[]).await;
    world.sandbox.fault("detail", "", 0, answer(401, &json!({"message": "bad key"}))).await;
    for asset in ["a", "b", "c"] {
        world.sandbox.add(asset).await;
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "provider_key");
    let broker = &world.broker;
    until("all three are back in the queue", || async { (broker.count("requests").await == 3).then_some(()) }).await;
    assert!(world.broker.seen().is_empty());
    assert!(world.get("/metrics").await.1.contains(r#"asset_eraser_line_stopped{cause="provider_key"} 1"#));
    world.sandbox.no_faults().await;
    for asset in ["a", "b", "c"] {
        assert_eq!(outcome(&world.broker.result(asset).await), ("deleted", ""));
    }
    world.until_ready(true).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_provider_that_is_down_for_all_requests_opens_the_circuit() {
    let mut world = world(&[]).await;
    world.sandbox.fault("detail", "", 0, answer(500, &json!({}))).await;
    let assets: Vec<String> = (0..20).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "provider_down");
    let broker = &world.broker;
    until("all are back in the queue", || async { (broker.count("requests").await == 20).then_some(()) }).await;
    assert!(world.broker.seen().is_empty());
    world.sandbox.no_faults().await;
    world.broker.requests_answered(20).await;
    for one in world.broker.seen() {
        assert_eq!(outcome(&one.event), ("deleted", ""));
    }
    world.finish(0).await;
}

#[tokio::test]
async fn nothing_is_deleted_without_a_record() {
    let mut world = world(&[]).await;
    assert_eq!(outcome(&world.delete("first").await), ("deleted", ""));
    let file = rusqlite::Connection::open(world.dir.path().join("ledger.db")).unwrap();
    file.execute_batch("BEGIN EXCLUSIVE").unwrap();
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "ledger");
    assert!(world.sandbox.calls_of("a").await.is_empty());
    file.execute_batch("ROLLBACK").unwrap();
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_guard_that_answers_no_request_stops_consuming_and_fails_none() {
    let mut world = world(&[]).await;
    world.sandbox.fault("jobs", "", 0, answer(500, &json!({}))).await;
    let assets: Vec<String> = (0..20).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "guard_down", "{ready}");
    let broker = &world.broker;
    until("all are back in the queue", || async { (broker.count("requests").await == 20).then_some(()) }).await;
    assert!(world.broker.seen().is_empty(), "with its two steps used up, each would have failed");
    assert!(world.get("/metrics").await.1.contains(r#"asset_eraser_circuit_opened_total{circuit="guard_down"} 1"#));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.sandbox.no_faults().await;
    world.broker.requests_answered(20).await;
    assert!(world.broker.seen().iter().all(|one| outcome(&one.event) == ("deleted", "")));
    world.until_ready(true).await;
    world.finish(0).await;
}

#[tokio::test]
async fn an_outage_is_noticed_before_anybody_has_used_up_its_retries() {
    // Each request alone would go on for a minute.
    let mut world = world(&[("RETRY__MAX_ELAPSED", "60s")]).await;
    world.sandbox.fault("detail", "", 0, answer(503, &json!({}))).await;
    let assets: Vec<String> = (0..8).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    let began = std::time::Instant::now();
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    assert_eq!(world.until_ready(false).await["stopped"][0]["cause"], "provider_down");
    let broker = &world.broker;
    until("all are back in the queue", || async { (broker.count("requests").await == 8).then_some(()) }).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "they were put off at once");
    let before = world.sandbox.calls().await.len();
    world.sandbox.no_faults().await;
    world.broker.requests_answered(8).await;
    for call in world.sandbox.calls().await.iter().skip(before).filter(|call| call["status"] == 503) {
        assert_eq!(call["asset"], "asset-eraser-probe", "only the probe calls during an outage");
    }
    world.finish(0).await;
}
