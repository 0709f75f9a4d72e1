//! One request, one answer, however often it is asked.

use lapin::BasicProperties;
use serde_json::json;

use crate::support::{deletes, outcome, world};

#[tokio::test]
async fn a_request_that_was_decided_gets_its_recorded_event_again() {
    let mut world = world(&[]).await;
    world.delete("a").await;
    let before = world.sandbox.calls().await.len();
    world.ask(json!({"request_id": "r-a", "asset_id": "a"})).await;
    let results = world.broker.results("r-a", 2).await;
    assert_eq!(results[0].text, results[1].text);
    assert_eq!(world.sandbox.calls().await.len(), before, "a replay calls no service");
    world.finish(0).await;
}

#[tokio::test]
async fn a_recorded_event_survives_a_restart_of_the_worker() {
    let mut world = world(&[]).await;
    world.delete("a").await;
    world.stop_worker().await;
    world.start_worker().await;
    world.ask(json!({"request_id": "r-a", "asset_id": "a"})).await;
    let results = world.broker.results("r-a", 2).await;
    assert_eq!(results[0].text, results[1].text);
    assert_eq!(deletes(&world.sandbox.calls().await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_used_request_id_is_refused_for_anything_else() {
    let mut world = world(&[]).await;
    world.delete("a").await;
    world.sandbox.add("b").await;
    world.ask(json!({"request_id": "r-a", "asset_id": "b"})).await;
    let second = world.broker.results("r-a", 2).await.remove(1);
    assert_eq!(outcome(&second.event), ("rejected", "request_conflict"));
    assert_eq!(second.event["data"]["asset_id"], "b");
    assert!(world.sandbox.calls_of("b").await.is_empty());
    world.ask(json!({"request_id": "r-a", "asset_id": "a", "dry_run": true})).await;
    let third = world.broker.results("r-a", 3).await.remove(2);
    assert_eq!(outcome(&third.event), ("rejected", "request_conflict"));
    world.finish(0).await;
}

#[tokio::test]
async fn two_requests_for_one_asset_take_turns() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.latency(50).await;
    for request in ["r1", "r2", "r3"] {
        world.ask(json!({"request_id": request, "asset_id": "a"})).await;
    }
    let mut outcomes = Vec::new();
    for request in ["r1", "r2", "r3"] {
        outcomes.push(outcome(&world.broker.result(request).await).0.to_owned());
    }
    outcomes.sort();
    assert_eq!(outcomes, ["already_absent", "already_absent", "deleted"]);
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_malformed_request_uses_its_request_id_up() {
    let mut world = world(&[]).await;
    let malformed = json!({"request_id": "r", "asset_id": "a/b", "reason": "the victim's"});
    for _ in 0..2 {
        world.ask(malformed.clone()).await;
    }
    let results = world.broker.results("r", 2).await;
    assert_eq!(results[0].text, results[1].text);
    // Another message learns nothing of it, whether it can be read or not.
    world.sandbox.add("a").await;
    let others = [json!({"request_id": "r", "asset_id": "a"}), json!({"request_id": "r"})];
    for (n, other) in others.into_iter().enumerate() {
        world.ask_with(other, BasicProperties::default()).await;
        let answer = world.broker.results("r", n + 3).await.remove(n + 2);
        assert_eq!(outcome(&answer.event), ("rejected", "request_conflict"));
        assert!(!answer.text.contains("victim"), "{}", answer.text);
    }
    assert!(world.sandbox.calls().await.is_empty());
    world.finish(3).await;
}
