//! The end of a case counts every request that was asked for it once, however each was answered, and no other.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::proxy::Proxy;
use crate::support::private::PrivatePostgres;
use crate::support::{World, outcome, world};

fn of_case(case: &str, size: u32, request: &str, asset: &str) -> Value {
    json!({"request_id": request, "asset_id": asset, "case_id": case, "case_size": size})
}

async fn world_with(assets: &[&str]) -> World {
    let world = world(&[]).await;
    world.sandbox.add_all(assets.iter().map(|asset| (*asset).to_owned())).await;
    world
}

/// Asks for two requests of a case of three, which are deleted.
async fn two_of_three(world: &mut World) {
    for asset in ["a", "b"] {
        world.ask(of_case("c", 3, &format!("r-{asset}"), asset)).await;
        assert_eq!(outcome(&world.broker.result(&format!("r-{asset}")).await), ("deleted", ""));
    }
}

async fn assert_two_deleted_one_rejected(world: &mut World) {
    let completed = world.broker.completed("c", 1).await.remove(0).event;
    let counts = json!({"deleted": 2, "already_absent": 0, "would_delete": 0, "rejected": 1, "failed": 0});
    assert_eq!(completed["data"]["outcomes"], counts, "{completed}");
    assert_verified(world).await;
}

/// The ledger's own check finds nothing wrong, neither with a request nor with the counts of a case.
async fn assert_verified(world: &mut World) {
    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "{}", verify.output());
}

#[tokio::test]
async fn a_request_id_that_was_used_for_another_asset_counts_as_rejected() {
    let mut world = world_with(&["a", "b", "d", "e"]).await;
    world.ask(of_case("other", 2, "r-used", "e")).await;
    assert_eq!(outcome(&world.broker.result("r-used").await), ("deleted", ""));
    two_of_three(&mut world).await;
    world.ask(of_case("c", 3, "r-used", "d")).await;
    let conflict = world.broker.results("r-used", 2).await.remove(1).event;
    assert_eq!(outcome(&conflict), ("rejected", "request_conflict"));
    assert_two_deleted_one_rejected(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_request_id_that_was_used_in_another_case_counts_as_rejected() {
    let mut world = world_with(&["a", "b", "e"]).await;
    world.ask(of_case("other", 2, "r-used", "e")).await;
    assert_eq!(outcome(&world.broker.result("r-used").await), ("deleted", ""));
    two_of_three(&mut world).await;
    world.ask(of_case("c", 3, "r-used", "e")).await;
    let conflict = world.broker.results("r-used", 2).await.remove(1).event;
    assert_eq!(outcome(&conflict), ("rejected", "request_conflict"));
    assert_two_deleted_one_rejected(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_malformed_request_under_a_request_id_of_another_case_counts_as_rejected() {
    let mut world = world_with(&["a", "b", "e"]).await;
    world.ask(of_case("other", 2, "r-used", "e")).await;
    assert_eq!(outcome(&world.broker.result("r-used").await), ("deleted", ""));
    two_of_three(&mut world).await;
    world.ask(of_case("c", 3, "r-used", "no/asset")).await;
    assert_two_deleted_one_rejected(&mut world).await;
    world.finish(1).await;
}

#[tokio::test]
async fn the_same_conflict_twice_counts_once() {
    let mut world = world_with(&["a", "b", "d", "e"]).await;
    world.ask(json!({"request_id": "r-used", "asset_id": "e"})).await;
    assert_eq!(outcome(&world.broker.result("r-used").await), ("deleted", ""));
    for _ in 0..2 {
        world.ask(of_case("c", 3, "r-used", "d")).await;
    }
    world.broker.results("r-used", 3).await;
    two_of_three(&mut world).await;
    assert_two_deleted_one_rejected(&mut world).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_malformed_request_does_not_fix_the_size_of_its_case() {
    let mut world = world_with(&["a", "b"]).await;
    world.ask(of_case("c", 1, "r-bad", "no/asset")).await;
    assert_eq!(outcome(&world.broker.result("r-bad").await), ("rejected", "invalid_request"));
    for asset in ["a", "b"] {
        world.ask(of_case("c", 2, &format!("r-{asset}"), asset)).await;
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("deleted", ""), "{event}");
    }
    let completed = world.broker.completed("c", 1).await.remove(0).event;
    assert_eq!((&completed["data"]["case_size"], sum(&completed)), (&json!(2), 2), "{completed}");
    world.finish(1).await;
}

const CASES: usize = 16;
const REQUESTS: usize = 4;

/// A worker handles all of the requests at once, and asks the guard again only after all of them wait.
const AT_ONCE: [(&str, &str); 2] = [("WORKER__CONCURRENCY", "64"), ("GUARD__POLL", "2s")];

#[tokio::test]
async fn a_case_that_gets_more_requests_than_its_size_at_once_counts_as_many_as_its_size() {
    counts_its_size(world(&AT_ONCE).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_gets_more_requests_than_its_size_on_two_replicas_counts_as_many_as_its_size() {
    let postgres = PrivatePostgres::start();
    let (proxy, url) = Proxy::before(&postgres.url).await;
    let mut world = world(&[&AT_ONCE[..], &[("LEDGER__URL", url.as_str())]].concat()).await;
    world.add_replicas(1).await;
    // All requests of a case are decided before one of them reads how many are.
    proxy.delay(Duration::from_millis(30));
    counts_its_size(world).await;
}

async fn counts_its_size(mut world: World) {
    let names = |case: usize| (0..REQUESTS).map(move |number| format!("a{case}-{number}"));
    let assets: Vec<String> = (0..CASES).flat_map(names).collect();
    world.sandbox.add_all(assets.clone()).await;
    let all: Vec<&str> = assets.iter().map(String::as_str).collect();
    world.sandbox.job("video_1", &all, "processing").await;
    for case in 0..CASES {
        for asset in names(case) {
            world.ask(of_case(&format!("c{case}"), 2, &format!("r-{asset}"), &asset)).await;
        }
    }
    for asset in &assets {
        world.sandbox.until_called("jobs", asset, 1).await;
    }
    world.sandbox.job("video_1", &all, "completed").await;
    let mut sums = Vec::new();
    for case in 0..CASES {
        let completed = world.broker.completed(&format!("c{case}"), 1).await.remove(0).event;
        sums.push(sum(&completed));
    }
    assert_eq!(sums, [2; CASES], "the requests that each case of two counts");
    world.broker.requests_answered(CASES * REQUESTS).await;
    assert_verified(&mut world).await;
    world.finish(0).await;
}

/// How many requests the end of a case counts.
fn sum(completed: &Value) -> u64 {
    completed["data"]["outcomes"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}
