//! Dead letters: listed, shown, replayed through the normal path, dropped; nothing is lost or doubled on the way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{LIMIT, World, deletes, outcome, until, world};

/// Runs one of the commands; gives its exit code and what it printed.
async fn dead(world: &mut World, args: &[&str]) -> (Option<i32>, String) {
    let line: Vec<&str> = ["dead"].iter().chain(args).copied().collect();
    let mut command = world.command_with(&line);
    let status = command.ended().await;
    (status.code(), command.output())
}

async fn listed(world: &mut World, args: &[&str]) -> Vec<Value> {
    let line: Vec<&str> = ["list", "--json"].iter().chain(args).copied().collect();
    let (code, said) = dead(world, &line).await;
    assert_eq!(code, Some(0), "{said}");
    let listed: Value = serde_json::from_str(&said).unwrap();
    listed["letters"].as_array().unwrap().clone()
}

/// Publishes what cannot be handled, and waits until so many are dead in all.
async fn bury(world: &mut World, bodies: impl IntoIterator<Item = String>, dead: u32) {
    for body in bodies {
        world.broker.publish_request(body.as_bytes(), BasicProperties::default()).await;
    }
    until(&format!("{dead} are dead"), || async { (world.broker.count("dead").await == dead).then_some(()) }).await;
}

#[tokio::test]
async fn a_letter_is_listed_shown_and_dropped() {
    let mut world = world(&[]).await;
    for (body, dead) in [(r#"{"request_id":"r-1","asset_id":"a/b"}"#, 1), ("\x1b[2Jno JSON", 2)] {
        bury(&mut world, [body.to_owned()], dead).await;
    }
    let (code, said) = dead(&mut world, &["list"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("invalid_request") && said.contains("r-1") && said.contains("2 of 2 letters"), "{said}");
    let letters = listed(&mut world, &[]).await;
    assert_eq!(letters[0]["request_id"], "r-1");
    assert!(letters[0]["detail"].as_str().unwrap().starts_with("asset_id: "), "{}", letters[0]);
    let (first, second) = (letters[0]["id"].as_str().unwrap(), letters[1]["id"].as_str().unwrap());
    let said = dead(&mut world, &["show", second]).await.1;
    assert!(said.contains("invalid_request") && said.contains("no JSON") && !said.contains('\x1b'), "{said}");
    let raw = dead(&mut world, &["show", "--raw", second]).await.1;
    assert_eq!(raw, "\x1b[2Jno JSON");

    let (code, said) = dead(&mut world, &["drop", second]).await;
    assert!(code == Some(1) && said.contains("say --yes"), "it has to ask: {said}");
    assert_eq!(listed(&mut world, &[]).await.len(), 2);
    let (code, said) = dead(&mut world, &["drop", "--yes", second, "0123456789ab"]).await;
    assert!(code == Some(1) && said.contains("1 letter dropped") && said.contains("0123456789ab"), "{said}");
    assert_eq!(listed(&mut world, &[]).await[0]["id"], first);
    let (code, said) = dead(&mut world, &["drop", "--yes"]).await;
    assert!(code == Some(2) && said.contains("--all"), "which ones has to be said: {said}");
    world.finish(1).await;
}

#[tokio::test]
async fn a_letter_of_a_user_who_may_ask_now_is_carried_out_when_it_is_replayed() {
    let mut world = world(&[("PUBLISHERS__ALLOW", "desk")]).await;
    world.sandbox.add("a-1").await;
    world.ask(json!({"request_id": "r-1", "asset_id": "a-1"})).await;
    world.broker.result("r-1").await;
    bury(&mut world, ["no JSON".to_owned()], 2).await;
    world.stop_worker().await;
    world.set("PUBLISHERS__ALLOW", "unset");
    world.start_worker().await;
    let letters = listed(&mut world, &["--why", "publisher_not_allowed"]).await;
    assert_eq!(letters.len(), 2, "no user said who they are");
    // A letter is answered before it is buried, so the other one may be before it.
    let one = letters.iter().find(|letter| letter["request_id"] == "r-1").unwrap()["id"].as_str().unwrap().to_owned();
    let (code, said) = dead(&mut world, &["replay", "--yes", &one]).await;
    assert!(code == Some(0) && said.contains("1 letter sent through again"), "{said}");
    let results = world.broker.results("r-1", 2).await;
    assert_eq!(outcome(&results[1].event), ("deleted", ""));
    // Once more would be answered with the same, from the ledger; there is none.
    assert_eq!(dead(&mut world, &["replay", "--yes", &one]).await.0, Some(1));
    assert_eq!(deletes(&world.sandbox.calls().await), 1);
    // What is still wrong is dead again, once, for what is wrong with it now.
    let (code, said) = dead(&mut world, &["replay", "--yes", "--all"]).await;
    assert!(code == Some(0), "{said}");
    until_dead_again(&mut world).await;
    world.finish(1).await;
}

/// For another cause than before.
async fn until_dead_again(world: &mut World) {
    let began = Instant::now();
    while listed(world, &["--why", "invalid_request"]).await.len() != 1 {
        assert!(began.elapsed() < LIMIT, "{:?}", listed(world, &[]).await);
    }
}

#[tokio::test]
async fn what_the_broker_gave_up_is_told_and_carried_out_when_it_is_replayed() {
    // RabbitMQ 4 counts the way into the dead queue and the way out of it as one return each.
    let mut world = world(&[("BROKER__DELIVERY_LIMIT", "3")]).await;
    world.stop_worker().await;
    world.sandbox.add("a-1").await;
    world.ask(json!({"request_id": "r-1", "asset_id": "a-1"})).await;
    let queue = world.broker.queue("requests");
    // A consumer that gives it back for ever.
    until("the broker gives it up", || async {
        let got = world.broker.channel().basic_get(queue.as_str().into(), BasicGetOptions::default()).await.unwrap();
        if let Some(got) = got {
            got.delivery.nack(BasicNackOptions { requeue: true, multiple: false }).await.unwrap();
        }
        (world.broker.count("dead").await == 1).then_some(())
    })
    .await;
    let letters = listed(&mut world, &[]).await;
    assert_eq!((&letters[0]["why"], &letters[0]["request_id"]), (&json!("broker_delivery_limit"), &json!("r-1")));
    assert!(letters[0]["since"].is_string(), "{}", letters[0]);
    world.start_worker().await;
    assert_eq!(dead(&mut world, &["replay", "--yes", "--why", "broker_delivery_limit"]).await.0, Some(0));
    assert_eq!(outcome(&world.broker.result("r-1").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn a_request_that_expired_in_the_queue_is_dead_and_carried_out_when_it_is_replayed() {
    let mut world = world(&[]).await;
    world.stop_worker().await;
    world.sandbox.add("a").await;
    world
        .ask_with(json!({"request_id": "r", "asset_id": "a"}), BasicProperties::default().with_expiration("50".into()))
        .await;
    until("it is dead", || async { (world.broker.count("dead").await == 1).then_some(()) }).await;
    world.start_worker().await;
    assert_eq!(dead(&mut world, &["replay", "--yes", "--why", "broker_expired"]).await.0, Some(0));
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

/// What a publisher can write into a message that a worker has never seen.
fn forged(user: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in [("user-id", user), ("why", "\u{202e}yks"), ("detail", "\u{202e}d\u{9b}2J"), ("at", "never")] {
        headers.insert(format!("x-asset-eraser-{name}").into(), AMQPValue::LongString(value.into()));
    }
    BasicProperties::default().with_headers(headers).with_message_id("m-\u{2066}1".into()).with_expiration("50".into())
}

#[tokio::test]
async fn a_publisher_passes_for_no_other_among_dead_letters_and_writes_nothing_that_cannot_be_seen() {
    let mut world = world(&[("PUBLISHERS__ALLOW", "alice")]).await;
    world.stop_worker().await;
    let body = json!({"request_id": "r-\u{202e}1", "asset_id": "a\u{200b}", "reason": "\u{2028}\u{e0041}"}).to_string();
    world.broker.publish_request(body.as_bytes(), forged("alice")).await;
    until("it is dead", || async { (world.broker.count("dead").await == 1).then_some(()) }).await;
    let letter = listed(&mut world, &[]).await.remove(0);
    assert_eq!((&letter["publisher"], &letter["why"]), (&Value::Null, &json!("broker_expired")));
    let id = letter["id"].as_str().unwrap().to_owned();
    let mut all = String::new();
    for args in [&["list"][..], &["list", "--json"], &["show", &id]] {
        all += &dead(&mut world, args).await.1;
    }
    assert!(all.contains("<U+202E>") && all.contains("\\u202e"), "{all}");
    let unseen = all.chars().find(|c| *c != '\n' && asset_eraser::platform::text::is_hidden(*c));
    assert_eq!(unseen, None, "{all}");
    world.start_worker().await;
    world.finish(1).await;
}

/// RabbitMQ 4 drops a message that came back twenty times, where no policy says otherwise.
#[tokio::test]
async fn looking_loses_nothing() {
    let mut world = world(&[]).await;
    bury(&mut world, (0..5).map(|n| format!("letter {n}")), 5).await;
    let first = listed(&mut world, &[]).await;
    for _ in 0..25 {
        assert_eq!(listed(&mut world, &[]).await, first);
    }
    world.finish(5).await;
}

#[tokio::test]
async fn a_replay_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    const LETTERS: u32 = 400;
    let mut world = world(&[]).await;
    bury(&mut world, (0..LETTERS).map(|n| format!("letter {n}")), LETTERS).await;
    world.stop_worker().await;
    let mut kills = 0;
    while world.broker.count("dead").await > 0 {
        let before = world.broker.count("requests").await;
        let mut replay = world.command_with(&["dead", "replay", "--all", "--yes"]);
        // Longer each time, so that it comes to an end; always in the middle, while it can.
        let wanted = (before + 7 * (kills + 1)).min(LETTERS);
        until("some are replayed", || async { (world.broker.count("requests").await >= wanted).then_some(()) }).await;
        replay.signal(Signal::SIGKILL);
        replay.ended().await;
        kills += 1;
        // What it held is back once the broker has noticed.
        until("each is in one place", || async {
            (world.broker.count("requests").await + world.broker.count("dead").await == LETTERS).then_some(())
        })
        .await;
    }
    assert!(kills > 1, "it was never killed in the middle");
    println!("killed {kills} times");
    let mut bodies = BTreeMap::new();
    let queue = world.broker.queue("requests");
    for _ in 0..LETTERS {
        let got = world.broker.channel().basic_get(queue.as_str().into(), BasicGetOptions::default()).await.unwrap();
        let got = got.unwrap();
        *bodies.entry(got.delivery.data.clone()).or_insert(0) += 1;
        got.delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    assert_eq!((bodies.len(), bodies.values().max()), (400, Some(&1)), "lost, or doubled");
    world.start_worker().await;
    world.finish(0).await;
}

#[tokio::test]
async fn letters_are_replayed_while_workers_bury_others() {
    let mut world = world(&[]).await;
    bury(&mut world, (0..60).map(|n| format!("letter {n}")), 60).await;
    let mut replay = world.command_with(&["dead", "replay", "--all", "--yes"]);
    for n in 60..100 {
        world.broker.publish_request(format!("letter {n}").as_bytes(), BasicProperties::default()).await;
    }
    let status = replay.ended().await;
    assert!(status.success(), "{}", replay.output());
    until("all are dead again", || async { (world.broker.count("dead").await == 100).then_some(()) }).await;
    tokio::time::timeout(Duration::from_secs(60), world.finish(100)).await.unwrap();
}
