//! Spans, as a collector gets them; and that no request waits for a collector that is not there.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::support::backups::settings_to_keep;
use crate::support::collector::{Collector, Seen};
use crate::support::sandbox::answer;
use crate::support::{World, outcome, until, world};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// A message of a publisher's trace.
fn traced(flags: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in [("traceparent", format!("00-{TRACE}-{PARENT}-{flags}")), ("tracestate", "vendor=1".into())] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    BasicProperties::default().with_headers(headers).with_message_id("m-1".into())
}

async fn traced_world(collector: &str, more: &[(&str, &str)]) -> World {
    let token = format!("ctok-{}", uuid::Uuid::new_v4().simple());
    let own = [("TRACING__OTLP_ENDPOINT", collector), ("TRACING__OTLP_TOKEN", &token)];
    world(&own.iter().chain(more).copied().collect::<Vec<_>>()).await
}

fn names(spans: &[Seen]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// The one that everything else is below.
fn process(spans: &[Seen]) -> &Seen {
    spans.iter().find(|span| span.kind == CONSUMER).expect("a span of the delivery")
}

fn attribute<'a>(span: &'a Seen, name: &str) -> &'a str {
    span.attributes.get(name).map_or("", String::as_str)
}

fn has_process(spans: &[Seen]) -> bool {
    spans.iter().any(|span| span.kind == CONSUMER)
}

/// No password and no token of any service in what the collector got; the token of its own comes in its header.
fn no_secrets(world: &World, collector: &Collector) {
    let posts = collector.posts();
    assert!(!posts.is_empty());
    for (headers, body) in posts {
        world.no_secret_in(&String::from_utf8_lossy(&body));
        let said = headers["authorization"].to_str().unwrap();
        assert!(said.starts_with("Bearer ctok-"), "{said}");
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }
}

#[tokio::test]
async fn a_deletion_is_a_span_below_its_publisher_s_and_each_call_one_below_that() {
    let collector = Collector::start().await;
    let mut world = traced_world(&collector.url, &[("TRACING__SERVICE_NAME", "eraser-7")]).await;
    let prefix = world.broker.prefix.clone();
    world.sandbox.add("a").await;
    world.ask_with(json!({"request_id": "r", "asset_id": "a"}), traced("01")).await;
    let result = world.broker.results("r", 1).await.remove(0);
    let spans = collector.trace(TRACE, has_process).await;

    let delivery = process(&spans);
    assert_eq!((delivery.name.as_str(), delivery.parent.as_str()), (&*format!("process {prefix}.requests"), PARENT));
    for (name, value) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", &*format!("{prefix}:request:{prefix}.requests")),
        ("messaging.rabbitmq.destination.routing_key", "request"),
        ("messaging.message.id", "m-1"),
        ("asset_eraser.request_id", "r"),
        ("asset_eraser.asset_id", "a"),
        ("asset_eraser.outcome", "deleted"),
    ] {
        assert_eq!(attribute(delivery, name), value, "{name}: {delivery:#?}");
    }
    assert_eq!((delivery.resource["service.name"].as_str(), delivery.failed), ("eraser-7", false));

    // In the order of the checklist, all of them below the delivery's.
    let detail = "GET /kyyVideo2/asset/{asset_id}";
    let delete = "DELETE /kyyVideo2/asset/{asset_id}";
    let publish = format!("publish {prefix}:result.deleted");
    assert_eq!(names(&spans), [detail, "GET", delete, detail, &*publish, &*delivery.name]);
    let calls = &spans[..4];
    let published = &spans[4];
    assert!(spans[..5].iter().all(|span| span.parent == delivery.id && !span.failed), "{spans:#?}");
    assert!(calls.iter().all(|span| span.kind == CLIENT && attribute(span, "http.response.status_code") == "200"));
    assert_eq!(attribute(&calls[2], "url.template"), "/kyyVideo2/asset/{asset_id}");
    assert!(attribute(&calls[2], "url.full").starts_with(&world.sandbox.url), "{:#?}", calls[2]);
    assert_eq!(attribute(&calls[1], "url.full"), "", "the registry's address may hold a password");
    assert_eq!((published.kind, attribute(published, "messaging.operation.type")), (PRODUCER, "send"));
    assert_eq!(attribute(published, "messaging.message.id"), result.event["id"]);

    // Who is called hears of the call's span, who reads the result of the publication's.
    let heard: Vec<String> = world.sandbox.calls_of("a").await.iter().map(|call| text(&call["traceparent"])).collect();
    let told: Vec<String> = calls.iter().map(|span| format!("00-{TRACE}-{}-01", span.id)).collect();
    assert_eq!(heard, told);
    let headers = result.properties.headers().clone().unwrap();
    let header = |name: &str| headers.inner().get(name).cloned();
    assert_eq!(header("traceparent"), Some(AMQPValue::LongString(format!("00-{TRACE}-{}-01", published.id).into())));
    assert_eq!(header("tracestate"), Some(AMQPValue::LongString("vendor=1".into())));
    no_secrets(&world, &collector);
    world.finish(0).await;
}

#[tokio::test]
async fn a_copy_is_one_span_and_the_host_of_the_asset_hears_of_no_trace() {
    let collector = Collector::start().await;
    let mut world = traced_world(&collector.url, &settings_to_keep()).await;
    world.sandbox.add("a").await;
    world.ask_with(json!({"request_id": "r", "asset_id": "a", "backup": true}), traced("01")).await;
    let result = world.broker.results("r", 1).await.remove(0);
    let spans = collector.trace(TRACE, has_process).await;
    let copy = spans.iter().find(|span| span.name == "keep a copy").expect("a span of the copy");
    let backup = &result.event["data"]["backup"];
    assert_eq!((copy.kind, &copy.parent, copy.failed), (1, &process(&spans).id, false));
    assert_eq!(attribute(copy, "asset_eraser.backup.location"), backup["location"]);
    let calls = world.sandbox.calls_of("a").await;
    let file = calls.iter().find(|call| call["operation"] == "file").expect("a download");
    assert!(file["traceparent"].is_null(), "{file}");
    no_secrets(&world, &collector);
    world.finish(0).await;
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn what_is_put_off_refused_or_failed_says_so() {
    let collector = Collector::start().await;
    let mut world = traced_world(&collector.url, &[("PROVIDER__REFUSED_CODES", "1044")]).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.sandbox.fault("delete", "a", 0, answer(200, &json!({"code": "1044", "msg": "never"}))).await;
    world.ask_with(json!({"request_id": "r", "asset_id": "a"}), traced("01")).await;
    let spans = collector.trace(TRACE, has_process).await;
    let waiting = process(&spans).clone();
    assert_eq!((attribute(&waiting, "asset_eraser.put_off"), waiting.failed), ("in_use", false));
    assert_eq!(attribute(&waiting, "asset_eraser.request_id"), "r");

    world.sandbox.job("video_1", &["a"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("failed", "provider_refused"));
    let decided = |span: &&Seen| span.kind == CONSUMER && !attribute(span, "asset_eraser.outcome").is_empty();
    let spans = collector.trace(TRACE, |spans| spans.iter().any(|span| decided(&span))).await;
    let failed = spans.iter().find(decided).unwrap();
    assert!(failed.failed && attribute(failed, "error.type") == "provider_refused", "{failed:#?}");
    assert_eq!((failed.parent.as_str(), attribute(failed, "asset_eraser.outcome")), (PARENT, "failed"));
    assert!(failed.id != waiting.id, "each attempt is one of its own, below the publisher's");

    // Without a trace of the publisher's, one begins here; and a call without an answer is an error.
    world.sandbox.add("b").await;
    world.sandbox.fault("detail", "b", 1, answer(500, &json!({}))).await;
    world.ask(json!({"request_id": "r-b", "asset_id": "b"})).await;
    assert_eq!(outcome(&world.broker.result("r-b").await), ("deleted", ""));
    let delivery = until("the span of r-b", || async {
        let spans = collector.spans();
        spans.into_iter().find(|span| span.kind == CONSUMER && attribute(span, "asset_eraser.request_id") == "r-b")
    })
    .await;
    assert!(delivery.parent.is_empty() && delivery.trace != TRACE, "{delivery:#?}");
    let spans = collector.trace(&delivery.trace, has_process).await;
    assert_eq!((attribute(&spans[0], "error.type"), spans[0].failed), ("http_5xx", true));
    assert!(spans.iter().skip(1).all(|span| !span.failed), "{spans:#?}");

    // Whose publisher does not keep the trace.
    world.sandbox.add("c").await;
    world.ask_with(json!({"request_id": "r-c", "asset_id": "c"}), traced("00")).await;
    let result = world.broker.results("r-c", 1).await.remove(0);
    let told = result.properties.headers().clone().unwrap().inner()["traceparent"].clone();
    assert!(matches!(told, AMQPValue::LongString(text) if text.to_string().ends_with("-00")));
    world.delete("d").await;
    until("the span of what came later", || async {
        let spans = collector.spans();
        assert!(!spans.iter().any(|span| attribute(span, "asset_eraser.request_id") == "r-c"));
        spans.iter().any(|span| attribute(span, "asset_eraser.request_id") == "r-d").then_some(())
    })
    .await;
    no_secrets(&world, &collector);
    world.finish(0).await;
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_keeps_no_worker_from_working_or_ending() {
    let hanging = Collector::hanging().await;
    for collector in ["http://127.0.0.1:1", &hanging.url] {
        let mut world = traced_world(collector, &[]).await;
        for number in 0..20 {
            assert_eq!(outcome(&world.delete(&format!("a-{number}")).await), ("deleted", ""));
        }
        if collector == hanging.url {
            until("the collector is sent something", || async { (!hanging.posts().is_empty()).then_some(()) }).await;
        }
        world.stop_worker().await;
        let told = world.output(1);
        assert!(told.contains("spans were lost on their way to the collector"), "{told}");
        world.start_worker().await;
        world.finish(0).await;
    }
}

#[tokio::test]
async fn what_a_worker_did_last_is_sent_before_it_ends() {
    let collector = Collector::start().await;
    let mut world = traced_world(&collector.url, &[]).await;
    world.delete("a").await;
    world.stop_worker().await;
    assert!(has_process(&collector.spans()), "{:#?}", collector.spans());
    world.start_worker().await;
    world.finish(0).await;
}
