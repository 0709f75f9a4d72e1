//! Requests of one case end in one more event, once all of them are decided.

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::support::{World, deletes, outcome, until, world};

/// Binds the results queue, as another reader's would be.
async fn bind(world: &World, key: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let (channel, queue) = (world.broker.channel(), world.broker.queue("results"));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), durable, arguments).await.unwrap();
    let (exchange, options) = (world.broker.prefix.as_str().into(), QueueBindOptions::default());
    channel.queue_bind(queue.into(), exchange, key.into(), options, FieldTable::default()).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_case_survives_a_crash_after_its_last_decision() {
    let mut world = world(&[("BROKER__RESULTS_QUEUE", "false")]).await;
    world.sandbox.add("a").await;
    // No queue takes the end of the case.
    bind(&world, "result.deleted").await;
    world.ask(json!({"request_id": "r-a", "asset_id": "a", "case_id": "c", "case_size": 1})).await;
    world.broker.result("r-a").await;
    let metrics = format!("{}/metrics", world.worker().address().await);
    until("the end of the case was not taken", || async {
        let said = crate::support::sandbox::http_get(&metrics).await.1;
        said.contains(r#"put_off_total{reason="unroutable"}"#).then_some(())
    })
    .await;
    world.kill_worker().await;
    bind(&world, "result.#").await;
    world.start_worker().await;
    let completed = world.broker.completed("c", 1).await.remove(0);
    assert_eq!(completed.event["data"]["outcomes"]["deleted"], 1);
    assert_eq!(deletes(&world.sandbox.calls().await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_case_ends_in_one_event_that_counts_every_outcome() {
    let mut world = world(&[]).await;
    world.sandbox.add_all(["a", "b", "c", "d", "e"].map(str::to_owned)).await;
    world.sandbox.job("video_1", &["e"], "processing").await;
    let of_case = |request: &str, asset: &str| json!({"request_id": request, "asset_id": asset, "case_id": "Fall 7"});
    // Only some say how many there are.
    let mut sized = of_case("r-a", "a");
    sized["case_size"] = json!(7);
    world.ask(sized).await;
    world.ask(of_case("r-b", "b")).await;
    world.ask(of_case("r-gone", "gone")).await;
    let mut dry = of_case("r-c", "c");
    dry["dry_run"] = json!(true);
    world.ask(dry).await;
    let mut mistaken = of_case("r-d", "d");
    mistaken["expect"] = json!({"name": "another"});
    world.ask(mistaken).await;
    world.ask(of_case("r-bad", "a/b")).await;
    world.ask(json!({"request_id": "r-other", "asset_id": "f", "case_id": "Fall 8", "case_size": 2})).await;
    world.ask(of_case("r-e", "e")).await;
    for request in ["r-a", "r-b", "r-gone", "r-c", "r-d", "r-bad", "r-other"] {
        world.broker.result(request).await;
    }
    world.sandbox.until_called("jobs", "e", 2).await;
    assert!(world.broker.seen().iter().all(|one| one.key != "result.case_completed"), "one request is open");
    world.sandbox.job("video_1", &["e"], "completed").await;
    let completed = world.broker.completed("Fall 7", 1).await.remove(0);
    let event = &completed.event;
    assert_eq!((&event["type"], &event["subject"]), (&json!("asset.deletion.case_completed.v1"), &json!("Fall 7")));
    assert_eq!(completed.properties.message_id().as_ref().unwrap().as_str(), event["id"].as_str().unwrap());
    let counts = json!({"deleted": 3, "already_absent": 1, "would_delete": 1, "rejected": 2, "failed": 0});
    assert_eq!((&event["data"]["outcomes"], &event["data"]["case_size"]), (&counts, &json!(7)));
    // A replay is answered as before, the end of the case too; one request too many has an answer of its own.
    world.ask(of_case("r-a", "a")).await;
    let again = world.broker.completed("Fall 7", 2).await;
    assert!(again.iter().all(|one| one.text == completed.text));
    world.ask(of_case("r-late", "b")).await;
    assert_eq!(outcome(&world.broker.result("r-late").await), ("already_absent", ""));
    let again = world.broker.completed("Fall 7", 3).await;
    assert!(again.iter().all(|one| one.text == completed.text), "what was published stays");
    assert_eq!(world.broker.seen().iter().filter(|one| one.event["data"]["case_id"] == "Fall 8").count(), 1);
    world.finish(1).await;
}

#[tokio::test]
async fn a_request_that_says_another_size_is_refused() {
    let mut world = world(&[]).await;
    world.sandbox.add_all(["a", "b"].map(str::to_owned)).await;
    let sized = |asset: &str, size: u32| json!({"request_id": format!("r-{asset}"), "asset_id": asset, "case_id": "c", "case_size": size});
    world.ask(sized("a", 2)).await;
    world.broker.result("r-a").await;
    world.ask(sized("b", 3)).await;
    let event = world.broker.result("r-b").await;
    assert_eq!(outcome(&event), ("rejected", "invalid_request"));
    let detail = event["data"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("case_size: an earlier request of case c said 2, this one says 3"), "{detail}");
    assert!(world.sandbox.calls_of("b").await.is_empty());
    let completed = world.broker.completed("c", 1).await.remove(0);
    assert_eq!(completed.event["data"]["outcomes"]["rejected"], 1, "it was decided");
    world.finish(0).await;
}
