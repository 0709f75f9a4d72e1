//! A reader whose queue refuses results loses them, holds up no request, and makes others read one twice at most.

use std::collections::BTreeMap;

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::support::private::PrivateBroker;
use crate::support::{World, outcome, until, world_at};

/// A queue of a reader's for all results, which holds so many and refuses more.
pub async fn refusing_reader(world: &World, name: &str, kind: &str, most: i32) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(most));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let (channel, queue) = (world.broker.channel(), world.broker.queue(name));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), durable, arguments).await.unwrap();
    let (exchange, options) = (world.broker.prefix.as_str().into(), QueueBindOptions::default());
    channel.queue_bind(queue.into(), exchange, "result.#".into(), options, FieldTable::default()).await.unwrap();
}

/// How often each event came, of so many requests.
fn copies(world: &World) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for one in world.broker.seen() {
        *copies.entry(one.event["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    copies
}

async fn all_answered(world: &mut World, name: &str, count: usize) {
    for number in 0..count {
        let asset = format!("{name}-{number}");
        world.sandbox.add(&asset).await;
        let case = format!("case-{name}");
        let ask = json!({"request_id": format!("r-{asset}"), "asset_id": asset, "case_id": case, "case_size": count});
        world.ask(ask).await;
    }
    for number in 0..count {
        assert_eq!(outcome(&world.broker.result(&format!("r-{name}-{number}")).await), ("deleted", ""));
    }
    world.broker.completed(&format!("case-{name}"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_refuses_is_lost_for_that_reader_alone() {
    let broker = PrivateBroker::start();
    let mut world = world_at(&broker.url, &[]).await;
    refusing_reader(&world, "classic", "classic", 0).await;
    refusing_reader(&world, "quorum", "quorum", 1).await;
    world.broker.queue_beside("patient", Some("result.#")).await;
    all_answered(&mut world, "a", 5).await;
    world.broker.until_empty(0).await;
    // Five results and the end of a case.
    world.until_sample("asset_eraser_results_refused_total", 6.0).await;
    // A refusal that is a surprise may be a queue without a leader, so each is published to all once more.
    let patient = world.broker.count("patient").await;
    assert!((6..=12).contains(&patient), "{patient}");
    let began = std::time::Instant::now();
    all_answered(&mut world, "b", 5).await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(3),
        "the next ones wait for nothing: {:?}",
        began.elapsed()
    );
    world.broker.until_empty(0).await;
    assert!(world.sample(0, r#"asset_eraser_put_off_total{reason="unroutable"}"#).await < 0.5);
    let copies = copies(&world);
    assert!(copies.len() == 12 && copies.values().all(|count| *count <= 3), "{copies:?}");
    let patient = || async { (world.broker.count("patient").await == patient + 6).then_some(()) };
    until("the patient reader has each of them once", patient).await;
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_own_queue_no_answer_depends_on_a_reader_that_refuses() {
    let broker = PrivateBroker::start();
    let mut world = world_at(&broker.url, &[("BROKER__RESULTS_QUEUE", "false")]).await;
    refusing_reader(&world, "classic", "classic", 0).await;
    world.sandbox.add("a").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.until_sample("asset_eraser_results_refused_total", 1.0).await;
    let (status, request) = world.get("/v1/requests/r").await;
    assert!(status == 200 && request.contains("deleted"), "{request}");
    // Where the end of a test looks for results.
    world.broker.queue_beside("results", None).await;
    world.broker.until_empty(0).await;
    world.end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_own_queue_holds_requests_up_and_readers_get_no_third_copy() {
    let broker = PrivateBroker::start();
    let mut world = world_at(&broker.url, &[("RETRY__MAX_ELAPSED", "60s")]).await;
    world.broker.queue_beside("patient", Some("result.#")).await;
    world.sandbox.add_all((0..6).map(|number| format!("a-{number}"))).await;
    for number in 0..2 {
        world.ask(json!({"request_id": format!("r-{number}"), "asset_id": format!("a-{number}")})).await;
    }
    let results = || async { (world.broker.count("results").await == 2).then_some(()) };
    until("two results are in the own queue", results).await;
    let pattern = format!(r"^{}\.results$", world.broker.prefix.replace('.', r"\."));
    broker.ctl(&["set_policy", "full", &pattern, r#"{"max-length":1}"#, "--apply-to", "queues"]);
    for number in 2..6 {
        world.ask(json!({"request_id": format!("r-{number}"), "asset_id": format!("a-{number}")})).await;
    }
    let patient = || async { (world.broker.count("patient").await >= 6).then_some(()) };
    until("the patient reader has them", patient).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(world.broker.count("patient").await, 6, "no second copy while the own queue is full");
    broker.ctl(&["clear_policy", "full"]);
    world.broker.requests_answered(6).await;
    world.broker.until_empty(0).await;
    assert!(world.broker.count("patient").await <= 10, "no third copy");
    assert!(world.sample(0, "asset_eraser_results_refused_total").await < 0.5, "it was no reader that refused");
    world.finish(0).await;
}
