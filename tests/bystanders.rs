//! A request that crashes the worker ends; what was in work beside it does not, and what happens to a session or to a
//! worker that is stopped counts for no request.

use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use serde_json::json;

use crate::faults::proxy::Proxy;
use crate::support::private::{PrivateBroker, PrivatePostgres};
use crate::support::{World, outcome, until, until_within, world, world_at};

const POISON: &str = "poison";
const BYSTANDERS: [&str; 7] = ["b1", "b2", "b3", "b4", "b5", "b6", "b7"];
/// The time within which a crash loop has to end.
const LOOP: Duration = Duration::from_secs(150);

async fn ask(world: &mut World, asset: &str) {
    world.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
}

async fn calls(world: &World, operation: &str, asset: &str) -> usize {
    let calls = world.sandbox.calls_of(asset).await;
    calls.iter().filter(|call| call["operation"] == operation).count()
}

/// Kills and restarts all workers each time a call for the poison arrives, until the poison is answered. They die at once: if
/// one died later, the suspect that it took over meanwhile would die with it, which is its own death and not the poison's.
async fn crash_until_answered(world: &mut World, replicas: usize) {
    world.broker.requests_answered(0).await;
    let (began, mut crashes) = (Instant::now(), 0);
    while !answered(world) {
        assert!(began.elapsed() < LOOP, "the poison has no answer after {crashes} crashes");
        if calls(world, "detail", POISON).await > crashes {
            world.kill_and_restart_at_once(replicas).await;
            crashes += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn answered(world: &World) -> bool {
    world.broker.seen().iter().any(|one| one.event["data"]["request_id"] == "r-poison")
}

const SETTINGS: [(&str, &str); 3] =
    [("BROKER__DELIVERY_LIMIT", "3"), ("PROVIDER__TIMEOUT", "60s"), ("WORKER__CONCURRENCY", "8")];

#[tokio::test]
async fn only_the_request_that_crashes_the_worker_fails() {
    only_the_poison_fails(world(&SETTINGS).await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_request_that_crashes_two_replicas_fails() {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[&SETTINGS[..], &[("LEDGER__URL", postgres.url.as_str())]].concat()).await;
    world.add_replicas(1).await;
    only_the_poison_fails(world, 2).await;
}

async fn only_the_poison_fails(mut world: World, replicas: usize) {
    world.sandbox.add_all(BYSTANDERS.iter().copied().chain([POISON]).map(str::to_owned)).await;
    world.sandbox.fault("detail", POISON, 0, json!({"hang": true})).await;
    for asset in BYSTANDERS {
        world.sandbox.fault("detail", asset, 0, json!({"delay_ms": 1_500})).await;
    }
    for asset in BYSTANDERS.iter().take(3).chain([&POISON]).chain(BYSTANDERS.iter().skip(3)) {
        ask(&mut world, asset).await;
    }
    for asset in BYSTANDERS.iter().chain([&POISON]) {
        world.sandbox.until_called("detail", asset, 1).await;
    }
    crash_until_answered(&mut world, replicas).await;
    assert_eq!(outcome(&world.broker.result("r-poison").await), ("failed", "attempts_exhausted"));
    let mut ends = Vec::new();
    for asset in BYSTANDERS {
        let event = world.broker.result(&format!("r-{asset}")).await;
        ends.push((asset, outcome(&event).0.to_owned()));
    }
    assert_eq!(ends, BYSTANDERS.map(|asset| (asset, "deleted".to_owned())));
    world.finish(1).await;
}

/// Lost sessions before one stop of the worker, which also shortens the wait before the next session.
const CUTS: usize = 3;
const STOPS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn lost_sessions_and_stopped_workers_count_for_no_request() {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let (proxy, through) = Proxy::before(&url).await;
    let mut world = World::without_worker(&url, &[("BROKER__DELIVERY_LIMIT", "3")]).await;
    world.set("BROKER__URL", &through);
    world.start_worker().await;
    world.broker.requests_answered(0).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.sandbox.fault("jobs", "a", 0, json!({"delay_ms": 400})).await;
    ask(&mut world, "a").await;
    let mut asked = 0;
    for _ in 0..STOPS {
        for _ in 0..CUTS {
            // In the middle of an attempt, so that the broker gets the request back as it was.
            asked = until_asked_again(&world, asked).await;
            proxy.cut();
        }
        world.stop_worker().await;
        world.start_worker().await;
    }
    world.sandbox.job("video_1", &["a"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r-a").await), ("deleted", ""));
    world.finish(0).await;
}

/// Waits until the guard is asked once more, and gives how often it was asked.
async fn until_asked_again(world: &World, before: usize) -> usize {
    until("the guard is asked again", || async {
        let seen = world.broker.seen();
        assert!(seen.is_empty(), "the waiting request was answered after {before} questions: {}", seen[0].text);
        let now = calls(world, "jobs", "a").await;
        (now > before).then_some(now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_answer_and_the_burial_loses_no_dead_letter() {
    let broker = PrivateBroker::start();
    let settings = [("BROKER__DELIVERY_LIMIT", "1"), ("PROVIDER__TIMEOUT", "60s")];
    let mut world = world_at(&broker.url, &settings).await;
    refuse_dead_letters(&broker, &world).await;
    world.sandbox.add(POISON).await;
    world.sandbox.fault("detail", POISON, 0, json!({"hang": true})).await;
    ask(&mut world, POISON).await;
    crash_until_answered(&mut world, 1).await;
    world.kill_worker().await;
    assert_eq!(outcome(&world.broker.result("r-poison").await), ("failed", "attempts_exhausted"));
    broker.ctl(&["clear_policy", "full"]);
    while world.broker.take("dead").await.is_some() {}
    world.start_worker().await;
    let (broker, limit) = (&world.broker, Duration::from_secs(20));
    let (_, body) = until_within(limit, "the dead letter of the poison", || broker.take("dead")).await;
    let letter: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(letter["request_id"], "r-poison");
    until("nothing is left to be buried", || nothing_left_to_bury(&world)).await;
    world.finish(0).await;
}

/// A worker that dies between a copy and its acknowledgement has doubled a message, which is then buried twice. Takes all dead
/// letters.
async fn nothing_left_to_bury(world: &World) -> Option<()> {
    let mut left = world.sample(0, "asset_eraser_in_flight").await;
    for queue in ["requests", "wait.200ms", "wait.300ms", "wait.400ms"] {
        left += f64::from(world.broker.count(queue).await);
    }
    while world.broker.take("dead").await.is_some() {}
    (left == 0.0).then_some(())
}

/// Fills the dead queue, and makes it take no more.
async fn refuse_dead_letters(broker: &PrivateBroker, world: &World) {
    let queue = world.broker.queue("dead");
    let policy = r#"{"max-length": 1, "overflow": "reject-publish"}"#;
    broker.ctl(&["set_policy", "--apply-to", "queues", "full", &queue.replace('.', "\\."), policy]);
    until("the dead queue takes no more", || async {
        let (channel, options) = (world.broker.channel(), BasicPublishOptions::default());
        let (exchange, properties) = (world.broker.prefix.as_str().into(), BasicProperties::default());
        let sent = channel.basic_publish(exchange, "dead".into(), options, b"{}", properties).await;
        (!sent.unwrap().await.unwrap().is_ack()).then_some(())
    })
    .await;
}

/// Of two suspects one is worked on alone, and takes long. The other one waits, but not for ever.
#[tokio::test]
async fn a_suspect_whose_turn_never_comes_is_answered_at_the_greatest_age() {
    let more = [("BROKER__DELIVERY_LIMIT", "10"), ("PROVIDER__TIMEOUT", "60s"), ("RETRY__MAX_AGE", "5s")];
    let mut world = world(&more).await;
    for asset in ["a", "b"] {
        world.sandbox.add(asset).await;
        world.sandbox.fault("detail", asset, 0, json!({"hang": true})).await;
        ask(&mut world, asset).await;
    }
    for crash in 1..=2 {
        for asset in ["a", "b"] {
            world.sandbox.until_called("detail", asset, crash).await;
        }
        world.kill_and_restart_replica(0).await;
    }
    world.broker.requests_answered(1).await;
    let event = world.broker.seen()[0].event.clone();
    assert_eq!(outcome(&event), ("failed", "attempts_exhausted"), "{event}");
    assert!(event["data"]["detail"].as_str().unwrap().contains("held up (suspect)"), "{event}");
    // The one at work is older, too, and its attempt decides it.
    world.sandbox.no_faults().await;
    world.kill_and_restart_replica(0).await;
    world.broker.requests_answered(2).await;
    let deleted = world.broker.seen().iter().filter(|one| outcome(&one.event) == ("deleted", "")).count();
    assert_eq!(deleted, 1);
    world.finish(0).await;
}
