//! The event of a decision is kept until the broker has it, and as long as any copy of the request may come.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::faults::proxy::Proxy;
use crate::support::clock::ahead_by;
use crate::support::private::{PrivateBroker, PrivatePostgres};
use crate::support::{World, outcome, until, world};

/// The age at which events are compacted in the tests of clocks.
const KEPT: [(&str, &str); 2] = [("RETRY__MAX_AGE", "1h"), ("LEDGER__COMPACT_AFTER", "1h")];
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The time for a round of compaction after a start. Nothing else tells that there was a round without work.
const ROUND: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_never_confirmed_is_not_compacted_away() {
    let broker = PrivateBroker::start();
    let (proxy, url) = Proxy::before(&broker.url).await;
    let settings = [("RETRY__MAX_AGE", "1s"), ("LEDGER__COMPACT_AFTER", "1s"), ("PROVIDER__TIMEOUT", "10s")];
    let mut world = World::without_worker(&broker.url, &settings).await;
    world.set("BROKER__URL", &url);
    world.start_worker().await;
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, json!({"delay_ms": 500})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    proxy.freeze();
    until_old(&mut world).await;
    for _ in 0..3 {
        world.kill_worker().await;
        world.start_worker_unready().await;
        tokio::time::sleep(ROUND).await;
    }
    proxy.thaw();
    world.until_ready(true).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""), "the redelivered request");
    world.finish(0).await;
}

/// Waits until the request was decided more than a second ago.
async fn until_old(world: &mut World) {
    let url = format!("{}/v1/requests/r", world.worker().address().await);
    until("the request was decided a second ago", || async {
        let said: Value = serde_json::from_str(&crate::support::sandbox::http_get(&url).await.1).unwrap();
        let decided: Timestamp = said["updated"].as_str()?.parse().unwrap();
        let age = Timestamp::now().duration_since(decided);
        (said["state"] == "decided" && age.as_millis() > 1_100).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_clock_is_ahead_compacts_no_young_request_in_postgresql() {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[&KEPT[..], &[("LEDGER__URL", postgres.url.as_str())]].concat()).await;
    let events = decide_some(&mut world).await;
    world.environment = ahead_by(3 * HOUR);
    world.add_replicas(1).await;
    until_handled_by(&mut world, 1).await;
    tokio::time::sleep(ROUND).await;
    assert_kept(&mut world, &events).await;
    world.environment.clear();
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_clock_jumps_ahead_compacts_no_young_request_in_sqlite() {
    let mut world = world(&KEPT).await;
    let events = decide_some(&mut world).await;
    world.stop_worker().await;
    world.environment = ahead_by(30 * DAY);
    world.start_worker().await;
    until_handled_by(&mut world, 0).await;
    tokio::time::sleep(ROUND).await;
    assert_kept(&mut world, &events).await;
    world.environment.clear();
    world.finish(0).await;
}

/// The events of requests that were decided.
async fn decide_some(world: &mut World) -> Vec<Value> {
    let mut events = Vec::new();
    for asset in ["a", "b", "c"] {
        let event = world.delete(asset).await;
        assert_eq!(outcome(&event), ("deleted", ""));
        events.push(event);
    }
    events
}

/// Asks until this replica has answered a request.
async fn until_handled_by(world: &mut World, replica: usize) {
    for number in 0.. {
        assert!(number < 100, "replica {replica} answers no request");
        world.delete(&format!("more-{number}")).await;
        if world.sample(replica, r#"asset_eraser_results_total{cause="none",outcome="deleted"}"#).await > 0.0 {
            return;
        }
    }
}

async fn assert_kept(world: &mut World, events: &[Value]) {
    for event in events {
        let request = event["data"]["request_id"].as_str().unwrap();
        let said = world.request(request).await;
        assert_eq!(&said["event"], event, "{request} as /v1/requests has it: {said}");
    }
}
