//! Troubles of everybody: consuming stops, nobody fails for them, and it goes on by itself.

use serde_json::json;

use crate::support::sandbox::answer;
use crate::support::{deletes, outcome, until, world};

#[tokio::test]
async fn a_refused_key_stops_consuming_and_fails_nobody() {
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
async fn a_provider_that_is_down_for_everybody_opens_the_circuit() {
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
async fn a_guard_that_answers_nobody_stops_consuming_and_fails_nobody() {
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
