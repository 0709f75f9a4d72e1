//! The clock of one replica is wrong: limits and ages hold all the same, as they follow one clock for all replicas.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::support::clock::ahead_by;
use crate::support::private::PrivatePostgres;
use crate::support::{World, deletes, outcome, until, world};

const HOUR: i64 = 3_600;
const LIMIT: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn the_brake_holds_although_one_replicas_clock_is_behind() {
    brake_holds(ahead_by(-300), Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brake_holds_although_the_next_replicas_clock_is_ahead() {
    brake_holds(Vec::new(), ahead_by(300)).await;
}

/// The first replica begins as many deletions as it may; then the second one comes.
async fn brake_holds(first: Vec<(String, String)>, second: Vec<(String, String)>) {
    let postgres = PrivatePostgres::start();
    let settings = [("LEDGER__URL", postgres.url.as_str()), ("BRAKE__MAX_DELETIONS", "5"), ("BRAKE__WINDOW", "1m")];
    let mut world = World::without_worker(&std::env::var("AMQP_URL").unwrap(), &settings).await;
    world.environment = first;
    world.start_worker().await;
    ask_for(&mut world, 0..10).await;
    world.broker.requests_answered(LIMIT).await;
    world.until_ready(false).await;
    world.environment = second;
    world.add_replica_unready().await;
    world.environment.clear();
    ask_for(&mut world, 10..20).await;
    until_all_braked(&world).await;
    assert_eq!(deletes(&world.sandbox.calls().await), LIMIT, "deletions before a release");
    release_until_answered(&mut world, 20).await;
    world.finish(0).await;
}

async fn ask_for(world: &mut World, numbers: std::ops::Range<usize>) {
    let assets: Vec<String> = numbers.map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
}

async fn until_all_braked(world: &World) {
    for address in world.addresses().await {
        let url = format!("{address}/readyz");
        until("every replica is held by the brake", || async {
            let (status, body) = crate::support::sandbox::http_get(&url).await;
            (status == 503 && body.contains(r#""cause":"brake""#)).then_some(())
        })
        .await;
    }
}

async fn release_until_answered(world: &mut World, count: usize) {
    for release in 1.. {
        let mut command = world.command_with(&["brake", "release", "--yes"]);
        assert!(command.ended().await.success(), "{}", command.output());
        world.broker.requests_answered(count.min(world.broker.answered() + 1)).await;
        if world.broker.answered() >= count {
            return;
        }
        assert!(release < 100, "{} of {count} requests are answered", world.broker.answered());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_request_is_as_old_as_it_is_whatever_a_replicas_clock_says() {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &postgres.url), ("RETRY__MAX_AGE", "1h")]).await;
    world.broker.requests_answered(0).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("jobs", "a", 1).await;
    world.stop_worker().await;
    world.environment = ahead_by(3 * HOUR);
    world.start_worker().await;
    let asked = world.sandbox.calls_of("a").await.len();
    until("the replica whose clock is ahead asks the guard three times", || async {
        let seen = world.broker.seen();
        assert!(seen.is_empty(), "answered while it waits: {}", seen[0].text);
        // An attempt is one look and one question.
        (world.sandbox.calls_of("a").await.len() >= asked + 6).then_some(())
    })
    .await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_has_passed_when_it_has_whatever_a_replicas_clock_says() {
    let postgres = PrivatePostgres::start();
    let mut world = World::without_worker(&std::env::var("AMQP_URL").unwrap(), &[("LEDGER__URL", &postgres.url)]).await;
    world.environment = ahead_by(3 * HOUR);
    world.start_worker().await;
    world.sandbox.add("a").await;
    let deadline = Timestamp::now() + Duration::from_secs(3_600);
    world.ask(json!({"request_id": "r", "asset_id": "a", "deadline": deadline.to_string()})).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_clock_is_behind_deletes_nothing_after_the_deadline() {
    let postgres = PrivatePostgres::start();
    let mut world = World::without_worker(&std::env::var("AMQP_URL").unwrap(), &[("LEDGER__URL", &postgres.url)]).await;
    world.environment = ahead_by(-3 * HOUR);
    world.start_worker().await;
    world.sandbox.add("a").await;
    let deadline = Timestamp::now() - Duration::from_secs(3_600);
    world.ask(json!({"request_id": "r", "asset_id": "a", "deadline": deadline.to_string()})).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("failed", "deadline_passed"));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.finish(0).await;
}
