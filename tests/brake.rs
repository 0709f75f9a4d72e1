//! The brake: past the operator's limit nothing is deleted any more, by no worker, until it is released.

use serde_json::json;

use crate::support::private::PrivatePostgres;
use crate::support::{World, deletes, outcome, until, world};

/// Makes assets and asks for the deletion of each under its own name.
async fn ask_for(world: &mut World, assets: impl Iterator<Item = String>) {
    let assets: Vec<String> = assets.collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
}

/// Runs a command that has to end well; what it printed.
async fn said(world: &mut World, args: &[&str]) -> String {
    let mut command = world.command_with(args);
    assert!(command.ended().await.success(), "{}", command.output());
    command.output()
}

#[tokio::test]
async fn past_the_limit_nothing_is_deleted_until_the_brake_is_released() {
    let mut world = world(&[("BRAKE__MAX_DELETIONS", "3"), ("WORKER__CONCURRENCY", "4")]).await;
    ask_for(&mut world, (0..5).map(|number| format!("a{number}"))).await;
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "brake");
    let why = ready["stopped"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("3 deletions have begun within 1h, and brake.max_deletions is 3"), "{why}");
    assert!(why.contains("`asset-eraser brake release`"), "{why}");
    world.broker.requests_answered(3).await;
    let broker = &world.broker;
    until("the others wait", || async { (broker.count("requests").await == 2).then_some(()) }).await;
    assert!(world.get("/metrics").await.1.contains(r#"asset_eraser_line_stopped{cause="brake"} 1"#));
    assert!(
        said(&mut world, &["brake", "status"])
            .await
            .starts_with("3 of 3 deletions have begun within 1h\nthe brake holds")
    );

    // A restart does not release it.
    world.stop_worker().await;
    world.start_worker_unready().await;
    assert_eq!(world.until_ready(false).await["stopped"][0]["cause"], "brake");
    assert_eq!(deletes(&world.sandbox.calls().await), 3, "not one more");
    assert_eq!(world.broker.answered(), 3, "no request fails for it");

    let mut unconfirmed = world.command_with(&["brake", "release"]);
    assert_eq!(unconfirmed.ended().await.code(), Some(1));
    assert!(unconfirmed.output().contains("say --yes"), "{}", unconfirmed.output());
    let released = said(&mut world, &["brake", "release", "--yes"]).await;
    assert!(released.contains("released: 3 deletions count no more, and up to 3 may begin"), "{released}");
    world.broker.requests_answered(5).await;
    world.until_ready(true).await;
    for number in 0..5 {
        assert_eq!(outcome(&world.broker.result(&format!("a{number}")).await), ("deleted", ""));
    }
    let status = said(&mut world, &["brake", "status"]).await;
    assert!(
        status.starts_with("2 of 3 deletions have begun within 1h\nthe brake does not hold\nlast released at"),
        "{status}"
    );
    world.finish(0).await;
}

#[tokio::test]
async fn a_worker_in_the_middle_of_a_deletion_ends_it_although_the_brake_holds() {
    let mut world = world(&[("BRAKE__MAX_DELETIONS", "1"), ("PROVIDER__TIMEOUT", "10s")]).await;
    world.sandbox.fault("delete", "a", 1, json!({"delay_ms": 2000})).await;
    ask_for(&mut world, ["a".to_owned()].into_iter()).await;
    world.sandbox.until_called("delete", "a", 1).await;
    ask_for(&mut world, ["b".to_owned()].into_iter()).await;
    assert_eq!(world.until_ready(false).await["stopped"][0]["cause"], "brake");
    assert_eq!(outcome(&world.broker.result("a").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("b").await), 0);
    said(&mut world, &["brake", "release", "--yes"]).await;
    assert_eq!(outcome(&world.broker.result("b").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn a_deletion_that_the_brake_held_is_announced_once() {
    let mut world = world(&[("BRAKE__MAX_DELETIONS", "1"), ("BROKER__STARTED_EVENTS", "true")]).await;
    world.delete("a").await;
    world.until_ready(true).await;
    ask_for(&mut world, ["b".to_owned()].into_iter()).await;
    world.until_ready(false).await;
    let broker = &world.broker;
    until("it waits", || async { (broker.count("requests").await == 1).then_some(()) }).await;
    said(&mut world, &["brake", "release", "--yes"]).await;
    assert_eq!(outcome(&world.broker.result("b").await), ("deleted", ""));
    let metrics = world.get("/metrics").await.1;
    assert!(metrics.contains("asset_eraser_events_total{event=\"started\"} 2\n"), "{metrics}");
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_together_never_exceed_the_limit() {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &postgres.url), ("BRAKE__MAX_DELETIONS", "25")]).await;
    world.add_replicas(1).await;
    ask_for(&mut world, (0..80).map(|number| format!("a{number}"))).await;
    let addresses = world.addresses().await;
    for limit in [25, 50, 75] {
        world.broker.requests_answered(limit).await;
        for address in &addresses {
            let url = format!("{address}/readyz");
            until("every replica stops", || async {
                let (status, body) = crate::support::sandbox::http_get(&url).await;
                (status == 503 && body.contains(r#""cause":"brake""#)).then_some(())
            })
            .await;
        }
        assert_eq!((deletes(&world.sandbox.calls().await), world.broker.answered()), (limit, limit));
        said(&mut world, &["brake", "release", "--yes"]).await;
    }
    world.broker.requests_answered(80).await;
    assert_eq!(deletes(&world.sandbox.calls().await), 80);
    world.finish(0).await;
}

#[tokio::test]
async fn brake_says_when_there_is_none_or_nothing_to_see() {
    let mut world = world(&[]).await;
    let mut none = world.command_with(&["brake", "status"]);
    assert_eq!(none.ended().await.code(), Some(1));
    assert!(none.output().contains("brake.max_deletions is not set"), "{}", none.output());
    world.set("BRAKE__MAX_DELETIONS", "1");
    world.set("LEDGER__URL", "memory:");
    let mut memory = world.command_with(&["brake", "release", "--yes"]);
    assert_eq!(memory.ended().await.code(), Some(1));
    assert!(memory.output().contains("nothing to see or to release from outside"), "{}", memory.output());
    world.finish(0).await;
}
