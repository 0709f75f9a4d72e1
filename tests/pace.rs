//! As fast as the provider allows, and no faster.

use serde_json::json;

use crate::support::sandbox::answer;
use crate::support::{World, outcome, until, world};

async fn ask_for(world: &mut World, count: usize) {
    let assets: Vec<String> = (0..count).map(|number| format!("a{number}")).collect();
    world.sandbox.add_all(assets.clone()).await;
    for asset in &assets {
        world.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
    }
}

async fn gauge(world: &mut World, name: &str) -> f64 {
    let text = world.get("/metrics").await.1;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("asset_eraser_{name} "))).map(str::to_owned);
    line.expect(name).parse().unwrap()
}

#[tokio::test]
async fn more_requests_are_worked_on_at_once_while_answers_come_as_fast_as_before() {
    let mut world = world(&[("PROVIDER__TIMEOUT", "10s")]).await;
    world.sandbox.latency(100).await;
    let before = gauge(&mut world, "concurrency_limit").await;
    ask_for(&mut world, 400).await;
    // Looked at on the way: how far it goes depends on what else this machine has to do.
    let url = format!("{}/metrics", world.worker().address().await);
    until("twice as many may be worked on", || async {
        let text = crate::support::sandbox::http_get(&url).await.1;
        let now = text.lines().find_map(|line| line.strip_prefix("asset_eraser_concurrency_limit "));
        (now.unwrap().parse::<f64>().unwrap() >= 2.0 * before).then_some(())
    })
    .await;
    world.broker.requests_answered(400).await;
    world.finish(0).await;
}

#[tokio::test]
async fn an_operator_may_fix_both_numbers() {
    let mut world = world(&[("WORKER__CONCURRENCY", "3"), ("PROVIDER__MAX_RATE", "40")]).await;
    let began = std::time::Instant::now();
    ask_for(&mut world, 20).await;
    world.broker.requests_answered(20).await;
    // Three calls a request, none of them before its turn.
    assert!(began.elapsed().as_secs_f64() >= 59.0 / 40.0, "{:?}", began.elapsed());
    world.until_sample("asset_eraser_concurrency_limit", 3.0).await;
    world.finish(0).await;
}

#[tokio::test]
async fn rejected_calls_slow_all_requests_down_and_use_up_no_attempts() {
    let mut world = world(&[]).await;
    let too_many = answer(429, &json!({"message": "too many"}));
    world.sandbox.fault("detail", "", 6, too_many).await;
    // With its two steps of the wait ladder used up, a request would fail.
    ask_for(&mut world, 30).await;
    world.broker.requests_answered(30).await;
    assert!(world.broker.seen().iter().all(|one| outcome(&one.event) == ("deleted", "")));
    assert!(gauge(&mut world, "rate_limit").await > 0.0, "a limit was found");
    // That is no outage.
    world.until_sample(r#"asset_eraser_circuit_opened_total{circuit="provider_down"}"#, 0.0).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_wait_that_one_request_is_told_is_kept_by_all() {
    let mut world = world(&[("RETRY__MAX_ELAPSED", "10s")]).await;
    world.sandbox.add_all(["a", "b"].map(str::to_owned)).await;
    let wait = json!({"answer": {"status": 429, "headers": {"Retry-After": "2"}, "body": {}}});
    world.sandbox.fault("detail", "a", 1, wait).await;
    world.ask(json!({"request_id": "r-a", "asset_id": "a"})).await;
    world.sandbox.until_called("detail", "a", 1).await;
    let sandbox = &world.sandbox;
    until("it was told to wait", || async {
        sandbox.calls_of("a").await.iter().any(|call| call["status"] == 429).then_some(())
    })
    .await;
    world.ask(json!({"request_id": "r-b", "asset_id": "b"})).await;
    world.broker.requests_answered(2).await;
    let calls = world.sandbox.calls().await;
    let at = |asset: &str, number: usize| {
        let of_asset = calls.iter().filter(|call| call["asset"] == asset && call["operation"] == "detail");
        of_asset.map(|call| call["at_ms"].as_i64().unwrap()).nth(number).unwrap()
    };
    assert!(at("b", 0) - at("a", 0) >= 1_950, "the other one waited too: {calls:?}");
    world.finish(0).await;
}
