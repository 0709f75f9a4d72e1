//! Messages that the AMQP library cannot read as they come: headers that fill a frame, routing keys that are no text. Each is
//! carried out or buried, costs no connection, and can be looked at, sent through again and dropped where it is dead.

use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::support::amqp::{self, RawPublisher, long, short};
use crate::support::{World, outcome, until, world};

/// RabbitMQ's `frame_max`, in bytes.
const FRAME_MAX: usize = 131_072;

/// What a content header has beside one header with a text, in bytes: the frame's own eight, class to flags, and lengths.
const BESIDE: usize = 8 + 14 + 4 + 2 + 5;

/// The headers of a message: entries of a table, each with a text.
fn headers(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entry = |(name, text): &(&str, &[u8])| [&short(name.as_bytes())[..], b"S", &long(text)].concat();
    long(&entries.iter().map(entry).collect::<Vec<_>>().concat())
}

/// One header that leaves `room` bytes of the largest frame that a publisher may send.
fn filling(room: usize) -> Vec<u8> {
    headers(&[("x", &vec![b'v'; FRAME_MAX - BESIDE - room])])
}

/// `CC: [key]`, for which the broker sends a message to another key, too.
fn copied_to(key: &str) -> Vec<u8> {
    let keys = [&b"S"[..], &long(key.as_bytes())].concat();
    long(&[&short(b"CC")[..], b"A", &long(&keys)].concat())
}

async fn raw() -> RawPublisher {
    RawPublisher::connect(&std::env::var("AMQP_URL").unwrap()).await
}

async fn ask(world: &mut World, asset: &str, headers: &[u8]) {
    world.asked_for([asset.to_owned()]);
    let body = json!({"request_id": asset, "asset_id": asset}).to_string();
    raw().await.publish(&world.broker.prefix.clone(), amqp::HEADERS, headers, body.as_bytes()).await;
}

/// The connection was never lost.
fn one_connection(world: &mut World) {
    let said = world.worker().output();
    assert_eq!(said.matches("broker connected").count(), 1, "{said}");
}

async fn until_dead(world: &World, count: u32) {
    until(&format!("{count} are dead"), || async { (world.broker.count("dead").await == count).then_some(()) }).await;
}

/// Runs `asset-eraser dead`; gives what it printed.
async fn dead(world: &mut World, args: &[&str]) -> String {
    let line: Vec<&str> = ["dead"].iter().chain(args).copied().collect();
    let mut command = world.command_with(&line);
    let status = command.ended().await;
    assert_eq!(status.code(), Some(0), "{args:?}: {}", command.output());
    command.output()
}

async fn letters(world: &mut World) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&dead(world, &["list", "--json"]).await).unwrap();
    listed["letters"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_fill_a_frame_hold_up_no_request() {
    let mut world = world(&[]).await;
    let rooms = [0, 1, 20, 26, 27, 60, 500, 600];
    let assets: Vec<String> = rooms.iter().map(|room| format!("full-{room}")).collect();
    let healthy: Vec<String> = (0..5).map(|number| format!("healthy-{number}")).collect();
    world.sandbox.add_all(assets.iter().chain(&healthy).cloned()).await;
    // Each has to wait, so that it comes with the count of its deliveries, and as a copy of the worker's.
    let used: Vec<&str> = assets.iter().chain(&healthy).map(String::as_str).collect();
    world.sandbox.job("video_1", &used, "processing").await;
    for (asset, room) in assets.iter().zip(rooms) {
        ask(&mut world, asset, &filling(room)).await;
    }
    for asset in &healthy {
        ask(&mut world, asset, &headers(&[])).await;
    }
    for asset in assets.iter().chain(&healthy) {
        world.sandbox.until_called("jobs", asset, 2).await;
    }
    world.sandbox.job("video_1", &[], "completed").await;
    for asset in assets.iter().chain(&healthy) {
        assert_eq!(outcome(&world.broker.result(asset).await), ("deleted", ""), "{asset}");
    }
    one_connection(&mut world);
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_killed_worker_had_comes_back_with_a_count_in_a_full_frame() {
    let mut world = world(&[("PROVIDER__TIMEOUT", "60s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("detail", "a", 1, json!({"hang": "before"})).await;
    ask(&mut world, "a", &filling(0)).await;
    world.sandbox.until_called("detail", "a", 1).await;
    world.kill_worker().await;
    world.start_worker().await;
    assert_eq!(outcome(&world.broker.result("a").await), ("deleted", ""));
    one_connection(&mut world);
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_with_headers_that_fill_a_frame_is_shown_sent_through_again_and_dropped() {
    let mut world = world(&[]).await;
    let (exchange, mut raw) = (world.broker.prefix.clone(), raw().await);
    world.sandbox.add("a").await;
    // Into the dead queue as its publisher wrote them, where each look adds to them.
    for (id, body) in [("first", r#"{"request_id":"r","asset_id":"a"}"#), ("second", "no JSON")] {
        let properties = [&filling(1 + id.len())[..], &short(id.as_bytes())].concat();
        raw.publish_to(&exchange, b"dead", amqp::HEADERS | amqp::MESSAGE_ID, &properties, body.as_bytes()).await;
    }
    // And the copy of one that was refused.
    raw.publish(&exchange, amqp::HEADERS, &filling(0), b"no JSON").await;
    until_dead(&world, 3).await;
    let first = letters(&mut world).await;
    assert_eq!(first.len(), 3);
    for _ in 0..3 {
        let again = letters(&mut world).await;
        let ids = |letters: &[Value]| letters.iter().map(|letter| letter["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&again), ids(&first), "the IDs stay");
    }
    let (asked, garbage) = (first[0]["id"].as_str().unwrap(), first[1]["id"].as_str().unwrap());
    let shown = dead(&mut world, &["show", asked]).await;
    assert!(shown.contains("x-asset-eraser-left-out: 1 header of") && shown.contains("message_id: first"), "{shown}");
    dead(&mut world, &["drop", "--yes", garbage]).await;
    world.asked_for(["a".to_owned()]);
    dead(&mut world, &["replay", "--yes", asked]).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    dead(&mut world, &["drop", "--yes", "--all"]).await;
    one_connection(&mut world);
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routing_key_that_is_no_text_costs_no_connection() {
    let mut world = world(&[]).await;
    let (exchange, mut raw) = (world.broker.prefix.clone(), raw().await);
    world.sandbox.add_all(["a", "b"].map(str::to_owned)).await;
    world.asked_for(["a", "b"].map(str::to_owned));
    for (key, to, asset) in [(&b"\xff"[..], "request", "a"), (b"\xc3\x28\x00", "dead", "b")] {
        let body = json!({"request_id": asset, "asset_id": asset}).to_string();
        raw.publish_to(&exchange, key, amqp::HEADERS, &copied_to(to), body.as_bytes()).await;
    }
    assert_eq!(outcome(&world.broker.result("a").await), ("deleted", ""));
    until_dead(&world, 1).await;
    let letters = letters(&mut world).await;
    dead(&mut world, &["show", letters[0]["id"].as_str().unwrap()]).await;
    dead(&mut world, &["replay", "--yes", "--all"]).await;
    assert_eq!(outcome(&world.broker.result("b").await), ("deleted", ""));
    one_connection(&mut world);
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_fit_into_small_frames() {
    let url = std::env::var("AMQP_URL").unwrap();
    let mut world = world(&[("BROKER__URL", &format!("{url}?frame_max=4096"))]).await;
    let longest = short(&[b'x'; 255]);
    let texts: Vec<u8> = longest.repeat(6);
    let flags = amqp::CONTENT_TYPE | amqp::CONTENT_ENCODING | amqp::CORRELATION_ID | amqp::MESSAGE_ID | amqp::TYPE;
    let flags = flags | amqp::APP_ID;
    let (exchange, mut raw) = (world.broker.prefix.clone(), raw().await);
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.asked_for(["a".to_owned()]);
    raw.publish(&exchange, flags, &texts, br#"{"request_id":"r","asset_id":"a"}"#).await;
    world.sandbox.until_called("jobs", "a", 2).await;
    world.sandbox.job("video_1", &[], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    // Each says something long about itself when it is buried.
    let much: Vec<u8> = format!(r#"{{"request_id":"m","{}":1}}"#, "n".repeat(5000)).into();
    raw.publish(&exchange, flags, &texts, &much).await;
    raw.publish(&exchange, amqp::HEADERS, &headers(&[("h", &[b'v'; 4000]), ("i", b"kept")]), b"no JSON").await;
    until_dead(&world, 2).await;
    let shown = letters(&mut world).await;
    assert!(shown.iter().any(|letter| letter["properties"]["i"] == "kept"), "{shown:?}");
    world.broker.publish_request(b"[]", BasicProperties::default()).await;
    until_dead(&world, 3).await;
    one_connection(&mut world);
    world.finish(3).await;
}
