//! Events for readers that want to know that a deletion is about to begin.

use lapin::options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::support::contract::assert_event;
use crate::support::{World, deletes, operations, outcome, until, world};

/// A queue for `event.started` that holds one message and refuses more.
async fn listen(world: &World) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let (channel, queue) = (world.broker.channel(), world.broker.queue("started"));
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), arguments).await.unwrap();
    let exchange = world.broker.prefix.as_str().into();
    let bind = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange, "event.started".into(), bind, FieldTable::default()).await.unwrap();
}

async fn take(world: &World) -> Value {
    let (_, body) = until("an event", || world.broker.take("started")).await;
    let event = serde_json::from_slice(&body).unwrap();
    assert_event(&event);
    event
}

#[tokio::test]
async fn the_guard_is_asked_only_after_the_event_is_in_its_queue() {
    let mut world = world(&[("BROKER__STARTED_EVENTS", "true")]).await;
    listen(&world).await;
    world.sandbox.add_all(["first", "second"].map(str::to_owned)).await;
    world.ask(json!({"request_id": "r-first", "asset_id": "first"})).await;
    assert_eq!(outcome(&world.broker.result("r-first").await), ("deleted", ""));
    // The queue is full now.
    world.ask(json!({"request_id": "r-second", "asset_id": "second"})).await;
    world.sandbox.until_called("detail", "second", 3).await;
    let calls = world.sandbox.calls_of("second").await;
    assert!(!operations(&calls).contains(&"jobs"), "{calls:?}");
    let event = take(&world).await;
    assert_eq!((&event["type"], &event["subject"]), (&json!("asset.deletion.started.v1"), &json!("first")));
    assert_eq!(event["data"]["request_id"], "r-first");
    assert_eq!(outcome(&world.broker.result("r-second").await), ("deleted", ""));
    assert_eq!(take(&world).await["data"]["asset_id"], "second");
    let queue = world.broker.queue("started");
    world.broker.channel().queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_in_use_is_announced_once_and_a_dry_run_never() {
    let mut world = world(&[("BROKER__STARTED_EVENTS", "true")]).await;
    world.sandbox.add_all(["a", "b"].map(str::to_owned)).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask(json!({"request_id": "dry", "asset_id": "b", "dry_run": true})).await;
    assert_eq!(outcome(&world.broker.result("dry").await), ("would_delete", ""));
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("jobs", "a", 3).await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    world.broker.result("r").await;
    assert_eq!(deletes(&world.sandbox.calls().await), 1);
    // No queue is bound for it: that holds nothing up.
    world.until_sample(r#"asset_eraser_events_total{event="started"}"#, 1.0).await;
    world.finish(0).await;
}
