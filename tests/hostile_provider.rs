//! A provider and a job registry that do the worst that a server can do. Nothing is deleted for it, no call lasts longer
//! than its timeout, memory stays bounded, and the others go on.

use std::time::Duration;

use serde_json::json;

use crate::support::hostile::{Hostile, How};
use crate::support::{World, outcome, world};

/// What the worker may use at its worst. A quarter of it is the worker itself, built for tests.
const MOST_KIB: u64 = 100 * 1024;
/// The most that may be taken of one answer: what is read, and what the two sockets hold.
const MOST_TAKEN: usize = 16 * 1024 * 1024;

/// Three assets of which one call each is answered like this, and one that is answered well; then all of them well.
async fn goes_on_after(how: How, says: &str) {
    let server = Hostile::start(how).await;
    let [provider, registry] = server.settings();
    let all = [
        (provider.0, &*provider.1),
        (registry.0, &*registry.1),
        ("PROVIDER__TIMEOUT", "1500ms"),
        ("GUARD__HTTP__TIMEOUT", "1500ms"),
        ("PROVIDER__CONTROL_ASSET", "control"),
        ("RETRY__MAX_ELAPSED", "100ms"),
        ("RETRY__WAIT_STEPS", "200ms"),
    ];
    let mut world = world(&all).await;
    let before = world.worker().peak_memory_kib();
    for asset in ["detail-1", "jobs-1", "delete-1", "well"] {
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    assert_eq!(outcome(&world.broker.result("well").await), ("deleted", ""));
    // It was carried out, and nothing of its answer could be read: the looks afterwards tell.
    let event = world.broker.result("delete-1").await;
    assert_eq!((outcome(&event), &event["data"]["verified"]), (("deleted", ""), &json!(true)));
    for asset in ["detail-1", "jobs-1"] {
        let event = world.broker.result(asset).await;
        assert_eq!(outcome(&event), ("failed", "attempts_exhausted"), "{asset}");
        let detail = event["data"]["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{asset}: {detail}");
    }
    assert_eq!(server.deletes(), ["delete-1", "well"]);
    let (longest, taken) = server.most();
    assert!(longest < Duration::from_secs(10), "an answer was listened to for {longest:?}");
    assert!(taken < MOST_TAKEN, "{taken} bytes of an answer were taken");
    still_well(&mut world, &server).await;
    let after = world.worker().peak_memory_kib();
    assert!(after < MOST_KIB, "{how:?}: {before} KiB before, {after} KiB at the most");
    world.finish(0).await;
}

async fn still_well(world: &mut World, server: &Hostile) {
    server.behave();
    for asset in ["detail-1", "jobs-1"] {
        world.ask(json!({"request_id": format!("{asset}-again"), "asset_id": asset})).await;
        assert_eq!(outcome(&world.broker.result(&format!("{asset}-again")).await), ("deleted", ""));
    }
    assert_eq!(server.deletes(), ["delete-1", "detail-1", "jobs-1", "well"]);
    assert!(world.get("/metrics").await.1.contains("asset_eraser_panics_total 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end() {
    goes_on_after(How::Stream, "too large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_that_are_announced() {
    goes_on_after(How::Gigabytes, "too large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_that_are_not_announced() {
    goes_on_after(How::Unannounced, "too large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_one_byte_a_second() {
    goes_on_after(How::DripHead, "no answer in time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_one_byte_a_second() {
    goes_on_after(How::DripBody, "no answer in time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end() {
    goes_on_after(How::Headers, "the connection broke").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_header_without_an_end() {
    goes_on_after(How::LongHeader, "the connection broke").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_without_an_end() {
    goes_on_after(How::Interim, "no answer in time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http() {
    goes_on_after(How::Garbage, "the connection broke").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_shorter_than_announced() {
    goes_on_after(How::Short, "the connection broke").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_at_once() {
    goes_on_after(How::Close, "the connection broke").await;
}
