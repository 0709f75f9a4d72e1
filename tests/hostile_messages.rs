//! Messages whose AMQP part is as strange as their bodies. Each has its answer, or is buried with the field named, and the
//! others go on.

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, ByteArray, FieldArray, FieldTable, ShortString};
use serde_json::{Value, json};

use crate::support::amqp::{self, RawPublisher};
use crate::support::private::PrivateBroker;
use crate::support::{World, outcome, until, world, world_at};

const CLOUD_EVENT: &str = "application/cloudevents+json";

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn table(name: &str, value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(name.into(), value);
    table
}

fn header(name: &str, value: AMQPValue) -> BasicProperties {
    BasicProperties::default().with_headers(table(name, value))
}

fn array(values: impl IntoIterator<Item = AMQPValue>) -> AMQPValue {
    let mut array = FieldArray::default();
    for value in values {
        array.push(value);
    }
    AMQPValue::FieldArray(array)
}

fn nested(depth: usize) -> AMQPValue {
    (0..depth).fold(AMQPValue::Void, |inner, level| {
        if level % 2 == 0 { array([inner]) } else { AMQPValue::FieldTable(table("n", inner)) }
    })
}

/// Valid requests in strange company.
fn strange() -> Vec<BasicProperties> {
    let plain = BasicProperties::default;
    let longest = || ShortString::from("x".repeat(255));
    let number = AMQPValue::LongLongInt;
    vec![
        header("traceparent", AMQPValue::FieldTable(table("a", text("b")))),
        header("traceparent", AMQPValue::ByteArray(ByteArray::from(vec![0xff; 55]))),
        header("traceparent", text(&"0".repeat(60_000))),
        header("tracestate", array([text("a=b")])),
        header("x-delivery-count", text("many")),
        header("x-delivery-count", number(-5)),
        header("x-delivery-count", AMQPValue::Double(1e300)),
        header("x-death", text("nonsense")),
        header("x-death", array([number(1), AMQPValue::FieldTable(table("count", text("all"))), AMQPValue::Void])),
        header("x-opt-deaths", AMQPValue::Boolean(true)),
        header("x-first-death-queue", nested(3)),
        header("x-asset-eraser-user-id", array([])),
        header("x-asset-eraser-reason", nested(30)),
        header("x-asset-eraser-why", number(i64::MIN)),
        header("", AMQPValue::Timestamp(u64::MAX)),
        header(&"k".repeat(200), text(&"v".repeat(100_000))),
        header("decimal", AMQPValue::DecimalValue(lapin::types::DecimalValue { scale: 255, value: u32::MAX })),
        plain().with_headers(FieldTable::default()),
        plain().with_content_type("".into()),
        plain().with_content_type(longest()),
        plain().with_content_type("text/plain; charset=utf-16".into()),
        plain().with_content_encoding("gzip".into()),
        plain().with_message_id("".into()),
        plain().with_message_id(longest()),
        plain().with_correlation_id("".into()),
        plain().with_correlation_id(longest()),
        plain().with_reply_to("".into()),
        plain().with_reply_to(longest()),
        plain().with_reply_to("amq.gen-missing".into()),
        plain().with_reply_to("amq.rabbitmq.reply-to.nonsense".into()),
        plain().with_expiration("3600000".into()).with_priority(255).with_type(longest()).with_app_id(longest()),
        plain().with_timestamp(u64::MAX).with_cluster_id("c".into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_strange_company_is_carried_out_after_a_wait_too() {
    let mut world = world(&[]).await;
    let strange = strange();
    let assets: Vec<String> = (0..strange.len()).map(|number| format!("a-{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    // Each is put off once at least: the copy has to be as good as the original.
    world.sandbox.job("video_1", &assets.iter().map(String::as_str).collect::<Vec<_>>(), "processing").await;
    for (asset, properties) in assets.iter().zip(strange) {
        world.ask_with(json!({"request_id": asset, "asset_id": asset}), properties).await;
    }
    for asset in &assets {
        world.sandbox.until_called("jobs", asset, 2).await;
    }
    world.sandbox.job("video_1", &[], "completed").await;
    for asset in &assets {
        let result = world.broker.results(asset, 1).await.remove(0);
        assert_eq!(outcome(&result.event), ("deleted", ""), "{asset}");
        let correlation = result.properties.correlation_id().clone().map(|id| id.to_string()).unwrap_or_default();
        assert!([asset.as_str(), "", &"x".repeat(255)].contains(&&*correlation), "{correlation}");
    }
    one_connection(&mut world);
    world.finish(0).await;
}

/// Publishes a message, and gives the reason with which it is buried; the body has to be whole.
async fn buried(world: &World, body: &[u8], properties: BasicProperties) -> String {
    world.broker.publish_request(body, properties).await;
    let (properties, dead) = until("a dead message", || world.broker.take("dead")).await;
    assert!(dead == body, "another body of {} bytes", dead.len());
    match properties.headers().as_ref().and_then(|headers| headers.inner().get("x-asset-eraser-detail")) {
        Some(AMQPValue::LongString(why)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_request_is_buried_and_the_field_named() {
    let mut world = world(&[]).await;
    let plain = BasicProperties::default;
    let cloud = || plain().with_content_type(CLOUD_EVENT.into());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let request = r#"{"request_id":"r","asset_id":"a"}"#;
    let too_long = format!("{request}{}", " ".repeat(64 * 1024 + 1 - request.len()));
    let names: Vec<String> = (0..7_000).map(|number| format!(r#""{number:x}":0,"#)).collect();
    let names = names.concat();
    for (body, properties, why) in [
        (&b""[..], plain(), "body: must be a JSON object"),
        (b" \n", plain(), "body: must be a JSON object"),
        (too_long.as_bytes(), plain(), "body: is 65537 bytes long"),
        (b"{\"request_id\":\"\xff\"}", plain(), "body: is not UTF-8"),
        (b"\xff\xfe{\0}\0", plain(), "body: is not UTF-8"),
        (b"\x1f\x8b\x08\x00\x00", plain().with_content_encoding("gzip".into()), "body: is not UTF-8"),
        (deep.as_bytes(), plain(), "body: must be a JSON object"),
        (format!(r#"{{"asset_id":{deep}}}"#).as_bytes(), plain(), "request_id: is missing"),
        (format!(r#"{{{names}"asset_id":"a"}}"#).as_bytes(), plain(), "0: is not a field"),
        (br#"{"asset_id":"a"}"#, plain().with_message_id("".into()), "AMQP message_id: must not be empty"),
        (br#"{"asset_id":"a"}"#, plain().with_message_id("x".repeat(255).into()), "AMQP message_id: is 255"),
        (br#"{"asset_id":"a"}"#, cloud(), "CloudEvent specversion"),
        (request.as_bytes(), cloud().with_message_id("m".into()), "CloudEvent specversion"),
        (b"[]", header("x-delivery-count", AMQPValue::LongLongInt(1000)), "body: must be a JSON object"),
        (b"[]", header("much", text(&"v".repeat(129_500))), "body: must be a JSON object"),
        (b"[]", header("x-asset-eraser-detail", nested(20)), "body: must be a JSON object"),
        (b"[]", plain().with_reply_to("x".repeat(255).into()).with_priority(9), "body: must be a JSON object"),
    ] {
        let told = buried(&world, body, properties).await;
        assert!(told.starts_with(why), "{told}");
    }
    assert_eq!(world.sandbox.calls().await, Vec::<Value>::new());
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    one_connection(&mut world);
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_fields_is_answered_under_the_name_of_its_message() {
    let mut world = world(&[]).await;
    let too_long = " ".repeat(64 * 1024 + 1);
    let bodies: [&[u8]; 6] = [b"", b"[]", b"null", b"not json", b"\xff\xfe", too_long.as_bytes()];
    for (number, body) in bodies.into_iter().enumerate() {
        for kind in ["application/json", CLOUD_EVENT] {
            let name = format!("{number}-{kind}");
            let properties = BasicProperties::default().with_message_id(name.clone().into());
            let why = buried(&world, body, properties.with_content_type(kind.into())).await;
            let event = world.broker.result(&name).await;
            assert_eq!(outcome(&event), ("rejected", "invalid_request"), "{event}");
            assert_eq!(event["data"]["detail"], why);
        }
    }
    let event = br#"{"specversion":"1.0","id":"ce-1","source":"s","type":"t","data":[]}"#;
    buried(&world, event, BasicProperties::default().with_content_type(CLOUD_EVENT.into())).await;
    assert_eq!(outcome(&world.broker.result("ce-1").await), ("rejected", "invalid_request"));
    world.sandbox.add("a").await;
    world.asked_for(["a".to_owned()]);
    let marked = "\u{feff}{\"request_id\":\"marked\",\"asset_id\":\"a\"}";
    world.broker.publish_request(marked.as_bytes(), BasicProperties::default()).await;
    assert_eq!(outcome(&world.broker.result("marked").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_buried_whole_and_memory_stays_bounded() {
    let mut world = world(&[]).await;
    let body = vec![b'{'; 8 * 1024 * 1024];
    for _ in 0..6 {
        world.broker.publish_request(&body, BasicProperties::default()).await;
        let (_, dead) = until("a dead message", || world.broker.take("dead")).await;
        assert!(dead == body, "another body of {} bytes", dead.len());
    }
    let peak = world.worker().peak_memory_kib();
    assert!(peak < 200 * 1024, "{peak} KiB");
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_persistent_is_answered_like_any_other() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.asked_for(["a".to_owned()]);
    let properties = BasicProperties::default().with_delivery_mode(1);
    let (exchange, body) = (world.broker.prefix.clone(), br#"{"request_id":"r","asset_id":"a"}"#);
    let options = BasicPublishOptions::default();
    let sent = world.broker.channel().basic_publish(exchange.into(), "request".into(), options, body, properties).await;
    assert!(sent.unwrap().await.unwrap().is_ack());
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

/// What no client library writes, and the broker passes on.
async fn raw(world: &World, flags: u16, properties: &[u8], body: &[u8]) {
    let url = std::env::var("AMQP_URL").unwrap();
    RawPublisher::connect(&url).await.publish(&world.broker.prefix, flags, properties, body).await;
}

/// What a dead message says about itself.
async fn said_of_the_dead(world: &World) -> String {
    let (properties, _) = until("a dead message", || world.broker.take("dead")).await;
    match properties.headers().as_ref().and_then(|headers| headers.inner().get("x-asset-eraser-detail")) {
        Some(AMQPValue::LongString(why)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_is_not_utf_8_neither_costs_the_connection_nor_passes_for_a_name() {
    let mut world = world(&[]).await;
    let bad = amqp::short(b"\xff\xfe");
    raw(&world, amqp::MESSAGE_ID, &bad, br#"{"asset_id":"a"}"#).await;
    let why = said_of_the_dead(&world).await;
    assert!(why.starts_with("AMQP message_id: may hold only visible ASCII"), "{why}");
    // Beside a request that is valid, also after a wait.
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.asked_for(["a".to_owned()]);
    let entry = [&bad[..], b"S", &amqp::long(b"\xff")].concat();
    let all = [&bad[..], &bad, &amqp::long(&entry), &bad, &bad, &bad, &bad, &bad].concat();
    let flags = amqp::CONTENT_TYPE | amqp::CONTENT_ENCODING | amqp::HEADERS | amqp::CORRELATION_ID | amqp::REPLY_TO;
    let flags = flags | amqp::MESSAGE_ID | amqp::TYPE | amqp::APP_ID;
    raw(&world, flags, &all, br#"{"request_id":"r","asset_id":"a"}"#).await;
    world.sandbox.until_called("jobs", "a", 2).await;
    world.sandbox.job("video_1", &[], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    one_connection(&mut world);
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_nested_deeply_do_not_end_the_worker() {
    let mut world = world(&[]).await;
    let mut value = vec![b'V'];
    for _ in 0..20_000 {
        value = [&b"A"[..], &amqp::long(&value)].concat();
    }
    let headers = amqp::long(&[&amqp::short(b"n")[..], &value].concat());
    raw(&world, amqp::HEADERS, &headers, br#"{"asset_id":"../x"}"#).await;
    assert!(said_of_the_dead(&world).await.starts_with("request_id: is missing"));
    world.sandbox.add("a").await;
    world.asked_for(["a".to_owned()]);
    raw(&world, amqp::HEADERS, &headers, br#"{"request_id":"r","asset_id":"a"}"#).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    one_connection(&mut world);
    world.finish(0).await;
}

/// It was never lost.
fn one_connection(world: &mut World) {
    let said = world.worker().output();
    assert_eq!(said.matches("broker connected").count(), 1, "{said}");
}

/// Longer than anything that is read, and more of it than a worker may have of memory.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_long_are_put_aside_unread_and_cost_no_memory() {
    let mut world = world(&[("CONSOLE__ENABLED", "true"), ("CONSOLE__PASSWORD", "a-long-password")]).await;
    let before = world.worker().peak_memory_kib();
    let long = vec![b'x'; 6 << 20];
    let headers = table("mine", text("kept"));
    for n in 0..20 {
        let named = BasicProperties::default().with_message_id(format!("long-{n}").into());
        world.broker.publish_request(&long, named.with_headers(headers.clone())).await;
    }
    world.delete("after").await;
    until("all are dead", || async { (world.broker.count("dead").await == 20).then_some(()) }).await;
    let answer = world.broker.result("long-7").await;
    assert_eq!(outcome(&answer), ("rejected", "invalid_request"));
    let detail = answer["data"]["detail"].as_str().unwrap();
    assert_eq!(detail, "body: is 6291456 bytes long; at most 65536 are allowed");
    assert_eq!(world.get("/dead").await.0, 401);
    let page = format!("{}/dead", world.worker().address().await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = client.get(page).bearer_auth("a-long-password").send().await.unwrap().text().await.unwrap();
    assert!(page.contains(detail) && page.contains("20"), "{page}");
    let grown = world.worker().peak_memory_kib() - before;
    assert!(grown < 32 * 1024, "{grown} KiB");

    let mut list = world.command_with(&["dead", "list", "--json", "--why", "invalid_request"]);
    assert!(list.ended().await.success(), "{}", list.output());
    let listed: Value = serde_json::from_str(&list.output()).unwrap();
    let letter = &listed["letters"][0];
    assert_eq!((&letter["bytes"], &letter["properties"]["mine"]), (&json!(6 << 20), &json!("kept")));
    let id = letter["id"].as_str().unwrap();
    let mut raw = world.command_with(&["dead", "show", "--raw", id]);
    assert!(raw.ended().await.success());
    assert!(raw.output().into_bytes() == long, "the body is as it was published");
    // Through it again, and dead again.
    let mut replay = world.command_with(&["dead", "replay", "--yes", id]);
    assert!(replay.ended().await.success(), "{}", replay.output());
    until("it is dead again", || async { (world.broker.count("dead").await == 20).then_some(()) }).await;
    let mut drop = world.command_with(&["dead", "drop", "--yes", "--all"]);
    assert!(drop.ended().await.success() && drop.output().contains("20 letters dropped"), "{}", drop.output());
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_the_limits_that_are_shipped_takes_the_longest_request_and_no_flood_of_longer_ones() {
    let limits = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/rabbitmq/limits.conf");
    let broker = PrivateBroker::start_with(|_| std::fs::read_to_string(limits).unwrap());
    let mut world = world_at(&broker.url, &[]).await;
    world.sandbox.add("a").await;
    let text = "\u{10fff}".repeat(4096);
    let request = json!({"request_id": "r", "asset_id": "a", "reason": text, "requested_by": text});
    let mut whole = request.to_string();
    whole += &" ".repeat(64 * 1024 - whole.len());
    world.asked_for(["a".to_owned()]);
    world.broker.publish_request(whole.as_bytes(), BasicProperties::default()).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    let channel = world.broker.another_channel().await;
    let (exchange, options) = (world.broker.prefix.clone(), BasicPublishOptions::default());
    let long = vec![b'x'; (1 << 20) + 1];
    let sent =
        channel.basic_publish(exchange.into(), "request".into(), options, &long, BasicProperties::default()).await;
    let refused = sent.unwrap().await.unwrap_err().to_string();
    assert!(refused.contains("larger than configured max size"), "{refused}");
    world.finish(0).await;
}
