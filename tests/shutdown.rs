//! SIGTERM: finish what runs, give the rest back, exit 0.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{deletes, outcome, until, world};

#[tokio::test]
async fn what_runs_is_finished_within_the_grace_time() {
    let mut world = world(&[("WORKER__CONCURRENCY", "2")]).await;
    world.sandbox.latency(200).await;
    let assets: Vec<String> = (0..10).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    world.sandbox.until_called("delete", "a0", 1).await;
    world.stop_worker().await;
    let left = world.broker.count("requests").await;
    assert!((6..10).contains(&left), "{left} are left");
    world.start_worker().await;
    world.broker.requests_answered(10).await;
    assert_eq!(deletes(&world.sandbox.calls().await), 10);
    world.finish(0).await;
}

#[tokio::test]
async fn what_cannot_be_finished_goes_back_uncounted() {
    let mut world = world(&[("WORKER__GRACE", "200ms"), ("PROVIDER__TIMEOUT", "60s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("detail", "a", 1, json!({"hang": true})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("detail", "a", 1).await;
    world.worker().signal(Signal::SIGINT);
    let status = world.worker().ended().await;
    assert!(status.success(), "exit {status}");
    let broker = &world.broker;
    let (properties, body) = until("the request is back", || broker.take("requests")).await;
    let headers = properties.headers().clone().unwrap_or_default();
    let counted = headers.inner().get("x-delivery-count");
    assert!(counted.is_none_or(|count| format!("{count:?}").contains("(0)")), "{counted:?}");
    world.broker.publish_request(&body, lapin::BasicProperties::default()).await;
    world.start_worker().await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}
