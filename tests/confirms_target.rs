//! The first look: is it there, and is it what was meant?

use serde_json::json;

use crate::support::sandbox::answer;
use crate::support::{deletes, operations, outcome, world};

#[tokio::test]
async fn an_asset_that_two_looks_do_not_find_is_already_absent() {
    let mut world = world(&[]).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("already_absent", ""));
    assert_eq!(operations(&world.sandbox.calls_of("a").await), ["detail", "detail"]);
    world.finish(0).await;
}

#[tokio::test]
async fn one_look_that_misses_the_asset_proves_nothing() {
    let mut world = world(&[]).await;
    world.sandbox.fault("detail", "a", 1, answer(200, &json!({"code": -1, "msg": "hiccup", "data": null}))).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_other_than_expected_is_left_alone() {
    let mut world = world(&[]).await;
    world.sandbox.add_named("a", "Cat", "Image").await;
    for (request, expect) in [("type", json!({"asset_type": "Video"})), ("name", json!({"name": "Dog"}))] {
        world.ask(json!({"request_id": request, "asset_id": "a", "expect": expect})).await;
        assert_eq!(outcome(&world.broker.result(request).await), ("rejected", "asset_mismatch"));
    }
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.ask(json!({"request_id": "ok", "asset_id": "a", "expect": {"asset_type": "Image", "name": "Cat"}})).await;
    assert_eq!(outcome(&world.broker.result("ok").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn an_answer_about_another_asset_is_not_believed() {
    let mut world = world(&[]).await;
    let other = json!({"code": 0, "data": {"assetId": "other", "name": "x", "assetType": "Image", "status": "Active"}});
    world.sandbox.fault("detail", "a", 2, answer(200, &other)).await;
    let event = world.delete("a").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    assert_eq!(event["data"]["asset"]["name"], "Sandbox asset");
    world.finish(0).await;
}
