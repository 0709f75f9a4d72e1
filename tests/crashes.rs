//! Machines die at the worst moment.

use serde_json::json;

use crate::support::{World, deletes, outcome, until, world};

/// Makes assets and asks for their deletion; every tenth has a job that ends only later.
pub async fn ask_for_many(world: &mut World, count: usize) {
    let assets: Vec<String> = (0..count).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    world.sandbox.add_all((0..50).map(|number| format!("unasked{number}"))).await;
    let busy: Vec<&str> = assets.iter().step_by(10).map(String::as_str).collect();
    world.sandbox.job("video_1", &busy, "processing").await;
    for asset in &assets {
        let case =
            json!({"request_id": format!("r-{asset}"), "asset_id": asset, "case_id": "many", "case_size": count});
        world.ask(case).await;
    }
}

pub async fn assert_all_deleted(world: &mut World, count: usize) {
    world.broker.requests_answered(count).await;
    for one in world.broker.seen().iter().filter(|one| one.key != "result.case_completed") {
        assert_eq!(outcome(&one.event), ("deleted", ""), "{}", one.text);
    }
    // That an event ID has one content is asserted at the end of every test.
    let completed = world.broker.completed("many", 1).await;
    assert!(completed.iter().all(|one| one.event["id"] == completed[0].event["id"]), "one distinct event ID");
    let (case, counts) = (&completed[0].event["data"], &completed[0].event["data"]["outcomes"]);
    assert_eq!((&counts["deleted"], &counts["failed"]), (&case["case_size"], &json!(0)), "{case}");
    assert_eq!(world.sandbox.assets().await.len(), 50, "only what no request asked for is left");
}

#[tokio::test]
async fn two_thousand_requests_survive_ten_kills() {
    let mut world = world(&[]).await;
    // Slow enough that every kill hits requests in the middle.
    world.sandbox.latency(10).await;
    ask_for_many(&mut world, 2000).await;
    for kill in 1..=10 {
        let goal = world.broker.answered() + 60;
        world.broker.requests_answered(goal).await;
        assert!(world.broker.answered() < 2000, "kill {kill} comes too late");
        world.kill_worker().await;
        world.start_worker().await;
        if kill == 5 {
            world.sandbox.job("video_1", &[], "completed").await;
        }
    }
    assert_all_deleted(&mut world, 2000).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_request_that_crashes_the_worker_again_and_again_is_buried() {
    let mut world = world(&[("BROKER__DELIVERY_LIMIT", "3"), ("PROVIDER__TIMEOUT", "60s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("detail", "a", 0, json!({"hang": true})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    for crash in 1..=3 {
        world.sandbox.until_called("detail", "a", crash).await;
        world.kill_worker().await;
        world.start_worker().await;
    }
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("failed", "attempts_exhausted"));
    assert_eq!(world.sandbox.calls_of("a").await.len(), 3, "the fourth time it was not touched");
    world.finish(1).await;
}

#[tokio::test]
async fn a_crash_after_the_delete_is_answered_deleted() {
    let mut world = world(&[("PROVIDER__TIMEOUT", "60s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, json!({"hang": "after"})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    let sandbox = &world.sandbox;
    until("it took effect", || async { sandbox.assets().await.is_empty().then_some(()) }).await;
    world.kill_worker().await;
    world.start_worker().await;
    let event = world.broker.result("r").await;
    assert_eq!((outcome(&event), &event["data"]["attempts"]), (("deleted", ""), &json!(2)));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.finish(0).await;
}
