//! A standby takes the place of the ledger's primary in the middle of much work.

use std::collections::{BTreeMap, BTreeSet};

use crate::crashes::{ask_for_many, assert_all_deleted};
use crate::standby::both;
use crate::support::private::PrivatePostgres;
use crate::support::sandbox::http_get;
use crate::support::{World, deletes, outcome, until, world};

const REQUESTS: usize = 2000;

/// Two workers on a primary with a standby, with all requests on their way.
async fn at_work(primary: &PrivatePostgres, standby: &PrivatePostgres) -> World {
    let mut world = world(&[("LEDGER__URL", &both(primary, standby))]).await;
    world.add_replicas(1).await;
    // Slow enough that the failover comes in the middle.
    world.sandbox.latency(40).await;
    ask_for_many(&mut world, REQUESTS).await;
    world.broker.requests_answered(REQUESTS / 4).await;
    world
}

/// How many requests the ledger knows an answer of.
async fn decided(server: &PrivatePostgres) -> i64 {
    let (client, connection) = tokio_postgres::connect(&server.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let decided = "SELECT count(*) FROM asset_eraser.requests WHERE event IS NOT NULL";
    client.query_one(decided, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_that_is_promoted_has_lost_nothing() {
    let primary = PrivatePostgres::start();
    let standby = primary.standby(true);
    let mut world = at_work(&primary, &standby).await;
    primary.kill();
    let answered = i64::try_from(world.broker.answered()).unwrap();
    standby.promote();
    assert!(decided(&standby).await >= answered, "each answer that was published is in the ledger");
    world.until_ready(true).await;
    world.sandbox.job("video_1", &[], "completed").await;
    assert_all_deleted(&mut world, REQUESTS).await;
    assert_eq!(decided(&standby).await, i64::try_from(REQUESTS).unwrap());
    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "{}", verify.output());
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_asynchronous_standby_was_promoted_and_accepted_every_request_is_answered_and_evidence_is_missing() {
    let primary = PrivatePostgres::start();
    let standby = primary.standby(false);
    let mut world = at_work(&primary, &standby).await;
    // What comes now never reaches the standby.
    standby.stop();
    let lacking = world.broker.answered();
    world.broker.requests_answered(lacking + REQUESTS / 4).await;
    primary.kill();
    standby.start_again();
    standby.promote();
    for address in world.addresses().await {
        until("every replica says that the ledger went back", || async {
            http_get(&format!("{address}/readyz")).await.1.contains("ledger_went_back").then_some(())
        })
        .await;
    }
    world.until_sample("asset_eraser_in_flight", 0.0).await;
    let before = deletes(&world.sandbox.calls().await);
    let mut check = world.command("check");
    assert_eq!(check.ended().await.code(), Some(1), "{}", check.output());
    assert_eq!(deletes(&world.sandbox.calls().await), before, "nothing is deleted until an operator has accepted it");
    let mut accept = world.command_with(&["ledger", "accept", "--yes"]);
    assert!(accept.ended().await.success(), "{}", accept.output());
    world.until_ready(true).await;
    world.sandbox.job("video_1", &[], "completed").await;
    world.broker.requests_answered(REQUESTS).await;
    world.broker.until_empty(0).await;

    assert_eq!(world.sandbox.assets().await.len(), 50, "only what was not asked for is left");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut answers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in world.broker.seen().into_iter().filter(|one| one.key != "result.case_completed") {
        *counts.entry(outcome(&one.event).0.to_owned()).or_default() += 1;
        answers.entry(one.event["subject"].to_string()).or_default().insert(one.text);
    }
    let twice = answers.values().filter(|texts| texts.len() > 1).count();
    assert!(counts.keys().all(|outcome| ["deleted", "already_absent"].contains(&outcome.as_str())), "{counts:?}");
    let missing = i64::try_from(REQUESTS).unwrap() - decided(&standby).await;
    println!("events by outcome: {counts:?}; requests without evidence: {missing}; answered a second time: {twice}");
    assert!(missing > 0, "decisions were lost");
    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "what is there is whole: {}", verify.output());
    world.end(0).await;
}
