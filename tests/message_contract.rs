//! What a request may say, and what comes back.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::support::{operations, outcome, until, world};

#[tokio::test]
async fn hostile_asset_ids_are_refused_before_any_call() {
    let mut world = world(&[]).await;
    let long = "a".repeat(129);
    let hostile = ["../upload", "a/b", "a?b", "a%2e%2e", "", &long, "a\nb", "a#b", ".."];
    for (number, asset) in hostile.iter().enumerate() {
        world.ask(json!({"request_id": format!("r{number}"), "asset_id": asset})).await;
        let event = world.broker.result(&format!("r{number}")).await;
        assert_eq!(outcome(&event), ("rejected", "invalid_request"), "{asset:?}");
        assert!(event["data"]["detail"].as_str().unwrap().starts_with("asset_id:"), "{event}");
    }
    assert_eq!(world.sandbox.calls().await, Vec::<serde_json::Value>::new());
    world.finish(u32::try_from(hostile.len()).unwrap()).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_buried_with_the_reason() {
    let mut world = world(&[]).await;
    let big = format!(r#"{{"request_id":"big","asset_id":"a","reason":"{}"}}"#, "x".repeat(70_000));
    for (body, why) in [
        ("not json", "body: must be a JSON object"),
        (r#"{"asset_id":"a"}"#, "request_id: is missing"),
        (&*big, "body: is 7"),
        (r#"{"request_id":"r","asset_id":"a","dryrun":true}"#, "dryrun: is not a field"),
    ] {
        world.broker.publish_request(body.as_bytes(), BasicProperties::default()).await;
        let broker = &world.broker;
        let (properties, dead) = until("a dead message", || broker.take("dead")).await;
        assert_eq!(dead, body.as_bytes());
        let headers = properties.headers().clone().unwrap();
        let header = |name: &str| match headers.inner().get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(header("x-asset-eraser-why"), "invalid_request");
        assert!(header("x-asset-eraser-detail").starts_with(why), "{}", header("x-asset-eraser-detail"));
    }
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("rejected", "invalid_request"), "its request_id was readable");
    assert!(world.sandbox.calls().await.is_empty());
    world.finish(0).await;
}

#[tokio::test]
async fn a_result_is_a_cloud_event_that_says_everything() {
    let mut world = world(&[]).await;
    world.sandbox.add_named("a", "Cat Image", "Image").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
    headers.insert("tracestate".into(), AMQPValue::LongString("vendor=1".into()));
    let properties = BasicProperties::default().with_correlation_id("corr-1".into()).with_headers(headers);
    let request = json!({"request_id": "r", "asset_id": "a", "requested_by": "me", "reason": "old", "case_id": "c-1"});
    world.ask_with(request, properties).await;
    let result = world.broker.results("r", 1).await.remove(0);
    assert_eq!(result.key, "result.deleted");
    assert_eq!(result.properties.content_type().as_ref().unwrap().as_str(), "application/cloudevents+json");
    assert_eq!(result.properties.correlation_id().as_ref().unwrap().as_str(), "corr-1");
    assert_eq!(result.properties.message_id().as_ref().unwrap().as_str(), result.event["id"].as_str().unwrap());
    let traced = result.properties.headers().clone().unwrap();
    assert_eq!(traced.inner().get("traceparent"), Some(&AMQPValue::LongString(trace.into())));
    let event = &result.event;
    assert_eq!((event["specversion"].as_str(), event["subject"].as_str()), (Some("1.0"), Some("a")));
    assert_eq!(event["type"], "asset.deletion.deleted.v1");
    let data = &event["data"];
    assert_eq!(
        (&data["requested_by"], &data["reason"], &data["case_id"]),
        (&json!("me"), &json!("old"), &json!("c-1"))
    );
    assert_eq!((&data["verified"], &data["attempts"]), (&json!(true), &json!(1)));
    assert_eq!((&data["asset"]["name"], &data["asset"]["type"]), (&json!("Cat Image"), &json!("Image")));
    assert_eq!(data["provider"]["code"], "0");
    let calls = world.sandbox.calls_of("a").await;
    assert_eq!(operations(&calls), ["detail", "jobs", "delete", "detail"]);
    for call in &calls {
        assert!(call["traceparent"].as_str().unwrap().contains("0af7651916cd43dd8448eb211c80319c"), "{call}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn a_cloud_event_may_carry_the_request_and_reply_to_gets_a_copy() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let channel = world.broker.channel().clone();
    let replies = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let event =
        json!({"specversion": "1.0", "id": "ce-1", "source": "/test", "type": "delete", "data": {"asset_id": "a"}});
    world.asked_for(["a".to_owned()]);
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_reply_to(replies.name().clone());
    world.ask_with(event, properties).await;
    let result = world.broker.results("ce-1", 1).await.remove(0);
    assert_eq!(outcome(&result.event), ("deleted", ""));
    assert_eq!(result.properties.correlation_id().as_ref().unwrap().as_str(), "ce-1");
    let reply = until("the reply", || async {
        let no_ack = BasicGetOptions { no_ack: true };
        channel.basic_get(replies.name().clone(), no_ack).await.unwrap().map(|got| got.delivery.data.clone())
    })
    .await;
    assert_eq!(reply, result.text.as_bytes());
    world.finish(0).await;
}

#[tokio::test]
async fn a_reply_to_that_is_gone_or_ours_does_not_hold_up_the_queue() {
    let mut world = world(&[]).await;
    let ours = world.broker.queue("requests");
    for (asset, queue) in [("a", "there-is-no-such-queue"), ("b", &ours)] {
        world.sandbox.add(asset).await;
        let properties = BasicProperties::default().with_reply_to(queue.into());
        world.ask_with(json!({"request_id": asset, "asset_id": asset}), properties).await;
        assert_eq!(outcome(&world.broker.result(asset).await), ("deleted", ""));
    }
    // The copies are sent after the result.
    world.until_sample("asset_eraser_replies_unroutable_total", 1.0).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_dry_run_does_everything_but_delete() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "dry_run": true})).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("would_delete", ""));
    assert_eq!(operations(&world.sandbox.calls_of("a").await), ["detail", "jobs"]);
    assert_eq!(world.sandbox.assets().await, ["a"]);
    world.finish(0).await;
}
