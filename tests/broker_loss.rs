//! The broker goes away, refuses, forgets.

use lapin::ExchangeKind;
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::crashes::{ask_for_many, assert_all_deleted};
use crate::faults::proxy::Proxy;
use crate::support::private::PrivateBroker;
use crate::support::{World, deletes, outcome, until, world, world_at};

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_survive_restarts_of_the_broker() {
    let broker = PrivateBroker::start();
    let mut world = world_at(&broker.url, &[]).await;
    broker.settle();
    ask_for_many(&mut world, 2000).await;
    world.broker.requests_answered(300).await;
    broker.stop();
    world.until_ready(false).await;
    broker.start_again();
    world.broker.reconnect().await;
    world.until_ready(true).await;
    world.broker.requests_answered(900).await;
    broker.kill();
    broker.start_again();
    world.broker.reconnect().await;
    world.sandbox.job("video_1", &[], "completed").await;
    assert_all_deleted(&mut world, 2000).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_consumer_cancelled_by_the_server_comes_back() {
    let mut world = world(&[]).await;
    world.delete("a").await;
    // Deleting the queue cancels its consumer; the worker declares it again.
    let name = world.broker.queue("requests");
    world.broker.channel().queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    let seen = world.broker.queue("requests");
    let channel = lapin_channel().await;
    until("the queue is there again", || async {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let fresh = channel.create_channel().await.unwrap();
        fresh.queue_declare(seen.as_str().into(), options, FieldTable::default()).await.ok()
    })
    .await;
    world.until_ready(true).await;
    assert_eq!(outcome(&world.delete("b").await), ("deleted", ""));
    world.finish(0).await;
}

async fn lapin_channel() -> lapin::Connection {
    let url = std::env::var("AMQP_URL").unwrap();
    lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_or_channel_closed_by_the_server_is_rebuilt() {
    let broker = PrivateBroker::start();
    let mut world = world_at(&broker.url, &[]).await;
    world.delete("a").await;
    broker.ctl(&["close_all_connections", "test"]);
    world.broker.reconnect().await;
    assert_eq!(outcome(&world.delete("b").await), ("deleted", ""));
    // A result published to an exchange that is gone closes the channel; the worker declares and binds it again.
    world.sandbox.add("c").await;
    world.sandbox.fault("detail", "c", 1, json!({"delay_ms": 1000})).await;
    world.ask(json!({"request_id": "r-c", "asset_id": "c"})).await;
    world.sandbox.until_called("detail", "c", 1).await;
    let exchange = world.broker.prefix.as_str().into();
    world.broker.channel().exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
    assert_eq!(outcome(&world.broker.result("r-c").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_connection_is_reported_and_waited_out() {
    let broker = PrivateBroker::start();
    let mut world = world_at(&broker.url, &[]).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("jobs", "a", 1).await;
    broker.ctl(&["set_vm_memory_high_watermark", "0.0000001"]);
    let said = world.until_ready(false).await;
    assert_eq!(said["broker"], "blocked", "{said}");
    world.sandbox.job("video_1", &["a"], "completed").await;
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    world.until_ready(true).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn a_result_that_no_queue_takes_is_never_acknowledged() {
    let mut world = world(&[("BROKER__RESULTS_QUEUE", "false")]).await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    let url = format!("{}/metrics", world.worker().address().await);
    until("it was put off twice", || async {
        let metrics = crate::support::sandbox::http_get(&url).await.1;
        let put_off =
            |line: &str| line.strip_prefix(r#"asset_eraser_put_off_total{reason="unroutable"} "#)?.parse().ok();
        metrics.lines().find_map(put_off).filter(|count: &f64| *count >= 2.0)
    })
    .await;
    let name = world.broker.queue("results");
    let channel = world.broker.channel();
    channel.queue_declare(name.clone().into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    let (exchange, key) = (world.broker.prefix.as_str().into(), "result.#".into());
    channel.queue_bind(name.into(), exchange, key, QueueBindOptions::default(), FieldTable::default()).await.unwrap();
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1, "only the publishing was repeated");
    world.finish(0).await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_a_clear_error() {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let mut world = World::without_worker(&url, &[]).await;
    let name = world.broker.queue("requests");
    let channel = world.broker.channel();
    let mut other = FieldTable::default();
    other.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), other).await.unwrap();
    let mut worker = world.command("run");
    let status = worker.ended().await;
    let said = worker.output();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&name) && said.contains("exists already with other arguments"), "{said}");
    channel_leftovers(&world).await;
}

/// What the worker declared before it gave up.
async fn channel_leftovers(world: &World) {
    let channel = world.broker.channel();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let exchange: lapin::types::ShortString = world.broker.prefix.as_str().into();
    channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
    for queue in ["requests", "dead"] {
        let name = world.broker.queue(queue);
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    }
    channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_to_the_next_node_that_it_can_reach() {
    let url = std::env::var("AMQP_URL").unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut away = url::Url::parse(&url).unwrap();
    away.set_port(Some(closed)).unwrap();
    let (first, through_first) = Proxy::before(&url).await;
    let (_second, through_second) = Proxy::before(&url).await;
    let nodes = format!("{away},{through_first},{through_second}");
    let mut world = world_at(&url, &[("BROKER__URL", &nodes)]).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    // It says nothing any more, as a node that was cut off.
    first.freeze();
    first.cut();
    assert_eq!(outcome(&world.delete("b").await), ("deleted", ""));
    drop(first);
    assert_eq!(outcome(&world.delete("c").await), ("deleted", ""));
    world.finish(0).await;
}
