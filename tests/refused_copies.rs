//! Queues that take no copy, and a broker that lets the worker publish nothing: each holds up what needs it, says why, and
//! ends no request.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions};
use serde_json::{Value, json};

use crate::support::party::{add_user, url};
use crate::support::private::PrivateBroker;
use crate::support::sandbox::http_get;
use crate::support::{World, outcome, until, world, world_at};

/// A private broker with one policy for the queues whose names end so.
fn limited(broker: &PrivateBroker, world: &World, queues: &str, most: u32) {
    let pattern = format!(r"^{}\.{queues}", world.broker.prefix.replace('.', r"\."));
    let limit = json!({"max-length": most}).to_string();
    broker.ctl(&["set_policy", "limited", &pattern, &limit, "--apply-to", "queues"]);
}

/// Asks for each asset; all are in use by a job.
async fn ask_in_use(world: &mut World, assets: &[String]) {
    world.sandbox.add_all(assets.iter().cloned()).await;
    world.sandbox.job("video_1", &assets.iter().map(String::as_str).collect::<Vec<_>>(), "processing").await;
    for asset in assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
}

/// Asks for assets in use until the line stops. A queue looks at its length limit after the fact, so how many it takes at first
/// is not known.
async fn ask_until_stopped(world: &mut World) -> Vec<String> {
    let url = format!("{}/readyz", world.worker().address().await);
    let mut waiting = Vec::new();
    while waiting.len() < 100 && http_get(&url).await.0 == 200 {
        waiting.push(format!("waiting-{}", waiting.len()));
        world.sandbox.add(&waiting[waiting.len() - 1]).await;
        world.sandbox.job("video_1", &waiting.iter().map(String::as_str).collect::<Vec<_>>(), "processing").await;
        let asset = &waiting[waiting.len() - 1];
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
        world.sandbox.until_called("jobs", asset, 1).await;
    }
    waiting
}

async fn all_deleted(world: &mut World, assets: &[String]) {
    world.sandbox.job("video_1", &[], "completed").await;
    for asset in assets {
        assert_eq!(outcome(&world.broker.result(asset).await), ("deleted", ""), "{asset}");
    }
}

fn names(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number}")).collect()
}

/// Sessions that the worker had.
fn sessions(world: &mut World) -> usize {
    world.worker().output().matches("broker connected").count()
}

fn causes(ready: &Value) -> Vec<&str> {
    ready["stopped"].as_array().unwrap().iter().map(|stop| stop["cause"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_dead_queue_holds_up_the_dead_and_no_other_request() {
    let broker = PrivateBroker::start();
    let mut world = world_at(&broker.url, &[]).await;
    limited(&broker, &world, "dead$", 1);
    let waiting = names("waiting", 3);
    ask_in_use(&mut world, &waiting).await;
    // A length limit is looked at after the fact: one or two more are taken.
    for number in 0..6 {
        let body = format!("no JSON {number}");
        world.broker.publish_request(body.as_bytes(), BasicProperties::default()).await;
    }
    let refused = r#"asset_eraser_put_off_total{reason="dead_queue"}"#;
    until("some wait for their burial", || async { (world.sample(0, refused).await >= 5.0).then_some(()) }).await;
    for asset in names("healthy", 3) {
        assert_eq!(outcome(&world.delete(&asset).await), ("deleted", ""), "{asset}");
    }
    world.until_ready(true).await;
    all_deleted(&mut world, &waiting).await;
    broker.ctl(&["clear_policy", "limited"]);
    until("all are dead", || async { (world.broker.count("dead").await == 6).then_some(()) }).await;
    assert_eq!(sessions(&mut world), 1);
    world.finish(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_wait_queues_stop_the_line_until_there_is_room() {
    let broker = PrivateBroker::start();
    let steps = [("RETRY__WAIT_STEPS", "1m,2m"), ("GUARD__POLL", "90s"), ("WORKER__GRACE", "1s")];
    let mut world = world_at(&broker.url, &steps).await;
    limited(&broker, &world, "wait", 1);
    let waiting = ask_until_stopped(&mut world).await;
    let ready = world.until_ready(false).await;
    assert_eq!(causes(&ready), ["wait_queues"], "{ready}");
    broker.ctl(&["clear_policy", "limited"]);
    world.until_ready(true).await;
    assert_eq!(outcome(&world.delete("healthy").await), ("deleted", ""));
    assert_eq!(sessions(&mut world), 1);
    // A stop hands back what has no place.
    limited(&broker, &world, "wait", 1);
    let more = names("more", 3);
    world.sandbox.add_all(more.iter().cloned()).await;
    let used: Vec<&str> = waiting.iter().chain(&more).map(String::as_str).collect();
    world.sandbox.job("video_1", &used, "processing").await;
    for asset in &more {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    world.until_ready(false).await;
    world.stop_worker().await;
    broker.ctl(&["clear_policy", "limited"]);
    world.sandbox.job("video_1", &[], "completed").await;
    world.start_worker().await;
    all_deleted(&mut world, &more).await;
    for wait in ["wait.1m", "wait.90s", "wait.2m"] {
        until(&format!("{wait} is emptied"), || async { world.broker.take(wait).await.is_none().then_some(()) }).await;
    }
    world.end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_taken_away_stops_consuming_and_fails_no_request() {
    let broker = PrivateBroker::start();
    add_user(&broker, "eraser");
    let permit = |write: &str| broker.ctl(&["set_permissions", "-p", "/", "eraser", ".*", write, ".*"]);
    permit(".*");
    let own = url(&broker, "eraser");
    let mut world = world_at(&broker.url, &[("BROKER__URL", &own), ("BROKER__DELIVERY_LIMIT", "1")]).await;
    let waiting = names("waiting", 3);
    ask_in_use(&mut world, &waiting).await;
    world.sandbox.until_called("jobs", &waiting[2], 1).await;
    permit("^$");
    // The broker goes on permitting what it has permitted to a channel.
    broker.close_connections("eraser", "for another look at its permissions");
    let why = |ready: &Value| ready["broker_why"].as_str().is_some_and(|why| why.contains("ACCESS_REFUSED"));
    let refused = world.until_ready_says(why).await;
    assert_eq!(refused["ready"], false, "{refused}");
    world.ask(json!({"request_id": "late", "asset_id": "late"})).await;
    world.sandbox.add("late").await;
    permit(".*");
    world.until_ready(true).await;
    assert_eq!(outcome(&world.broker.result("late").await), ("deleted", ""));
    all_deleted(&mut world, &waiting).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_message_that_came_back_often_gets_a_new_copy() {
    // The queue's own limit is ten times as high.
    let mut world = world(&[("BROKER__DELIVERY_LIMIT", "2"), ("PROVIDER__TIMEOUT", "60s")]).await;
    world.stop_worker().await;
    world.sandbox.add("a").await;
    world.sandbox.fault("detail", "a", 1, json!({"hang": "before"})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    for _ in 0..20 {
        let queue = world.broker.queue("requests");
        let got = until("it is there", || async {
            world.broker.channel().basic_get(queue.as_str().into(), BasicGetOptions::default()).await.unwrap()
        });
        got.await.delivery.nack(BasicNackOptions { requeue: true, multiple: false }).await.unwrap();
    }
    world.start_worker().await;
    world.sandbox.until_called("detail", "a", 1).await;
    world.kill_worker().await;
    world.start_worker().await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}
