//! `docs/asyncapi.yaml` is what really goes over the broker.

use std::path::Path;

use jsonschema::Validator;
use lapin::BasicProperties;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::support::backups::keeping_world;
use crate::support::contract::{assert_valid, docs, read, resolved, validator, yaml};
use crate::support::{World, outcome, until, world};

fn document() -> Value {
    resolved(&docs().join("asyncapi.yaml"))
}

#[test]
fn the_document_is_asyncapi() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/asyncapi-3.0.0.schema.json");
    let schema = validator(&serde_json::from_str(&read(&schema)).unwrap());
    let mut written = yaml(&docs().join("asyncapi.yaml"));
    assert_valid(&schema, &written, "asyncapi.yaml");
    written["channels"]["requestsQueue"]["bindings"]["amqp"] = json!({"is": "a queue"});
    assert!(!schema.is_valid(&written), "everything is AsyncAPI");
}

/// What the document says of one message.
struct Message {
    headers: Validator,
    payload: Validator,
}

impl Message {
    fn of(document: &Value, name: &str) -> Self {
        let message = &document["components"]["messages"][name];
        Self { headers: validator(&message["headers"]), payload: validator(&message["payload"]) }
    }
}

#[test]
fn the_examples_are_as_the_document_says() {
    let document = document();
    let mut seen = 0;
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let rules = Message::of(&document, name);
        for example in message["examples"].as_array().into_iter().flatten() {
            assert_valid(&rules.headers, &example["headers"], name);
            assert_valid(&rules.payload, &example["payload"], name);
            seen += 1;
        }
    }
    assert_eq!(seen, 8);
}

/// The properties and headers of a message, side by side as in the document.
fn side_by_side(properties: &BasicProperties) -> Value {
    let mut all = serde_json::Map::new();
    let texts = [
        ("content_type", properties.content_type()),
        ("message_id", properties.message_id()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("user_id", properties.user_id()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            all.insert(name.into(), json!(text.as_str()));
        }
    }
    if let Some(mode) = properties.delivery_mode() {
        all.insert("delivery_mode".into(), json!(mode));
    }
    if let Some(at) = properties.timestamp() {
        all.insert("timestamp".into(), json!(at));
    }
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if let AMQPValue::LongString(text) = value {
            all.insert(name.to_string(), json!(text.to_string()));
        }
    }
    Value::Object(all)
}

/// The other way round, for an example.
fn properties(headers: &Value, user: &str) -> BasicProperties {
    let text = |name: &str| headers[name].as_str().map(Into::into);
    let mut properties = BasicProperties::default().with_user_id(user.into());
    macro_rules! put {
        ($($name:literal $with:ident)*) => { $(if let Some(value) = text($name) { properties = properties.$with(value); })* };
    }
    put!("content_type" with_content_type "message_id" with_message_id "correlation_id" with_correlation_id);
    let mut table = FieldTable::default();
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = headers[name].as_str() {
            table.insert(name.into(), AMQPValue::LongString(value.into()));
        }
    }
    properties.with_headers(table)
}

/// Declares a queue as the document does. RabbitMQ refuses that when it exists with other arguments.
async fn declare(world: &World, queue: &Value, delay: Option<(&str, i64)>) {
    let ours = |text: &str| {
        text.replace("asset.deletion", &world.broker.prefix).replace("{delay}", delay.map_or("", |(name, _)| name))
    };
    let mut arguments = FieldTable::default();
    for (name, value) in queue["x-arguments"].as_object().unwrap() {
        let value = match value.as_str() {
            Some(text) => AMQPValue::LongString(ours(text).into()),
            None => AMQPValue::LongLongInt(value.as_i64().unwrap()),
        };
        arguments.insert(name.as_str().into(), value);
    }
    if let Some((_, ttl)) = delay {
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ttl));
    }
    let flag = |name: &str| queue[name].as_bool().unwrap();
    let (durable, exclusive, auto_delete) = (flag("durable"), flag("exclusive"), flag("autoDelete"));
    let options = QueueDeclareOptions { durable, exclusive, auto_delete, ..QueueDeclareOptions::default() };
    let (channel, name) = (world.broker.channel(), ours(queue["name"].as_str().unwrap()));
    channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap_or_else(|e| panic!("{name}: {e}"));
}

#[tokio::test]
async fn the_broker_has_what_the_document_says() {
    let document = document();
    let world = world(&[]).await;
    let mut queues = 0;
    for channel in document["channels"].as_object().unwrap().values() {
        let amqp = &channel["bindings"]["amqp"];
        if amqp["exchange"]["name"] == "asset.deletion" {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            assert_eq!(amqp["exchange"]["type"], "topic");
            let (exchange, none) = (world.broker.prefix.as_str().into(), FieldTable::default());
            let declared = world.broker.channel().exchange_declare(exchange, lapin::ExchangeKind::Topic, options, none);
            declared.await.unwrap();
        }
        if amqp["is"] == "queue" {
            let waits = amqp["queue"]["name"].as_str().unwrap().contains("{delay}");
            let delays = [Some(("200ms", 200)), Some(("300ms", 300)), Some(("400ms", 400))];
            for delay in if waits { &delays[..] } else { &[None] } {
                declare(&world, &amqp["queue"], *delay).await;
                queues += 1;
            }
        }
    }
    assert_eq!(queues, 6);
    world.finish(0).await;
}

#[tokio::test]
async fn every_message_is_as_the_document_says() {
    let document = document();
    let mut world = keeping_world(&[("BROKER__STARTED_EVENTS", "true")]).await;
    let (channel, started) = (world.broker.channel().clone(), world.broker.queue("started"));
    channel
        .queue_declare(started.as_str().into(), QueueDeclareOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let (exchange, key) = (world.broker.prefix.as_str().into(), "event.started".into());
    let bound =
        channel.queue_bind(started.as_str().into(), exchange, key, QueueBindOptions::default(), FieldTable::default());
    bound.await.unwrap();

    // The document's own requests; its one asset exists, so one is carried out.
    world.sandbox.add_named("asset-20260330142158-q75m8", "Cat Image", "Image").await;
    world.asked_for(["asset-20260330142158-q75m8".to_owned()]);
    let user = url::Url::parse(&std::env::var("AMQP_URL").unwrap()).unwrap().username().to_owned();
    let mut ids = Vec::new();
    for name in ["request", "requestEvent"] {
        for example in document["components"]["messages"][name]["examples"].as_array().unwrap() {
            let mut body = example["payload"].clone();
            if name == "request" {
                // The examples share an ID, which a request uses up.
                body["request_id"] = json!(format!("r-{}", ids.len()));
            }
            ids.push(body["request_id"].as_str().or(body["id"].as_str()).unwrap().to_owned());
            let sent = properties(&example["headers"], &user);
            world.broker.publish_request(body.to_string().as_bytes(), sent).await;
        }
    }
    world.ask(json!({"request_id": "last", "asset_id": "none", "case_id": "case-7"})).await;
    world.broker.publish_request(b"not JSON", BasicProperties::default()).await;
    world.sandbox.add("kept").await;
    world.ask_to_keep("kept").await;
    assert!(world.broker.result("r-kept").await["data"]["backup"].is_object());
    for id in &ids {
        world.broker.results(id, 1).await;
    }
    let completed = world.broker.completed("case-7", 1).await;
    let rules = Message::of(&document, "caseCompleted");
    assert_valid(&rules.headers, &side_by_side(&completed[0].properties), "caseCompleted");
    assert_valid(&rules.payload, &completed[0].event, "caseCompleted");

    let rules = Message::of(&document, "result");
    let results: Vec<_> = world.broker.seen().into_iter().filter(|one| one.key != "result.case_completed").collect();
    assert_eq!(results.len(), ids.len() + 2);
    for result in &results {
        assert_valid(&rules.headers, &side_by_side(&result.properties), "result");
        assert_valid(&rules.payload, &result.event, "result");
        assert_eq!(result.key, format!("result.{}", outcome(&result.event).0));
    }

    let broker = &world.broker;
    let (properties, body) = until("a started event", || broker.take("started")).await;
    let rules = Message::of(&document, "started");
    assert_valid(&rules.headers, &side_by_side(&properties), "started");
    assert_valid(&rules.payload, &serde_json::from_slice(&body).unwrap(), "started");
    let (properties, _) = until("a dead message", || broker.take("dead")).await;
    let headers = side_by_side(&properties);
    assert_valid(&Message::of(&document, "dead").headers, &headers, "dead");
    assert_eq!(headers["x-asset-eraser-why"], "invalid_request");

    channel.queue_delete(started.into(), QueueDeleteOptions::default()).await.unwrap();
    world.finish(0).await;
}
