//! A connection to the broker that breaks again and again, in the middle of everything.

use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::asks::Asks;
use super::conditions::Conditions;
use super::plan::{Fault, Store};
use super::seed;
use super::stage::Stage;
use crate::support::outcome;

/// Breaks, and requests asked for between two of them.
const BREAKS: usize = 30;
const ASKED: usize = 10;
/// Outages of broker and provider together.
const OUTAGES: usize = 3;
/// Longer than `provider.timeout`, so that the worker notices, and shorter than the broker takes to notice.
const OUTAGE_MS: u64 = 4_000;

/// An answer that the AMQP library owes when its connection breaks may never come. A task that waits for it holds one of the
/// places for requests, and when all are held, the worker is connected, ready, and does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn no_place_for_requests_is_lost_with_a_connection() {
    let mut random = Rng::with_seed(seed());
    let mut stage = Stage::start(Store::Sqlite, 1, &Asks::default(), &Conditions::default()).await;
    for number in 0..BREAKS {
        for asked in 0..ASKED {
            let asset = format!("a{number}-{asked}");
            stage.world.sandbox.add(&asset).await;
            stage.world.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
        }
        let soon = Duration::from_millis(random.u64(1..60));
        tokio::time::sleep(soon).await;
        let fault = if random.bool() { Fault::BrokerFrozen(soon) } else { Fault::BrokerCut };
        stage.suffer(&fault, 0).await;
    }
    all_is_answered(stage, BREAKS * ASKED).await;
}

/// While the provider does not answer either: then the worker cancels its consumer and puts off what it has, all on the
/// connection that has just stopped to answer.
#[tokio::test(flavor = "multi_thread")]
async fn no_place_for_requests_is_lost_when_the_provider_is_away_too() {
    let mut stage = Stage::start(Store::Sqlite, 1, &Asks::default(), &Conditions::default()).await;
    let mut random = Rng::with_seed(seed());
    for outage in 0..OUTAGES {
        for asked in 0..ASKED {
            let asset = format!("a{outage}-{asked}");
            stage.world.sandbox.add(&asset).await;
            stage.world.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
        }
        let before = random.u64(1_000..2_800);
        stage.both_frozen(Duration::from_millis(before), Duration::from_millis(OUTAGE_MS - before)).await;
        stage.world.broker.requests_answered((outage + 1) * ASKED).await;
    }
    all_is_answered(stage, OUTAGES * ASKED).await;
}

async fn all_is_answered(mut stage: Stage, requests: usize) {
    stage.mend().await;
    stage.world.broker.requests_answered(requests).await;
    for one in stage.world.broker.seen() {
        assert_eq!(outcome(&one.event), ("deleted", ""), "{}", one.text);
    }
    stage.world.until_sample("asset_eraser_in_flight", 0.0).await;
    stage.world.finish(0).await;
}
