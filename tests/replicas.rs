//! Several workers on one queue, with one memory in PostgreSQL between them.

use serde_json::json;

use crate::crashes::{ask_for_many, assert_all_deleted};
use crate::support::private::PrivatePostgres;
use crate::support::{deletes, outcome, until, world};

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_survive_kills_among_them() {
    replicas_survive_kills(3, 2000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_survive_kills_among_them() {
    replicas_survive_kills(2, 1000).await;
}

async fn replicas_survive_kills(replicas: usize, requests: usize) {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &postgres.url)]).await;
    world.add_replicas(replicas - 1).await;
    // Slow enough that every kill hits requests in the middle.
    world.sandbox.latency(80).await;
    ask_for_many(&mut world, requests).await;
    for kill in 0..3 * replicas {
        let goal = world.broker.answered() + 50;
        world.broker.requests_answered(goal).await;
        assert!(world.broker.answered() < requests, "kill {kill} comes too late");
        world.kill_and_restart_replica(kill % replicas).await;
        if kill == replicas {
            world.sandbox.job("video_1", &[], "completed").await;
        }
    }
    assert_all_deleted(&mut world, requests).await;
    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "{}", verify.output());
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_replica_it_reaches_a_request_has_one_answer() {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &postgres.url)]).await;
    world.add_replicas(1).await;
    for number in 0..20 {
        let (request, asset) = (format!("r{number}"), format!("a{number}"));
        world.sandbox.add(&asset).await;
        for _ in 0..4 {
            world.ask(json!({"request_id": request, "asset_id": asset})).await;
        }
    }
    for number in 0..20 {
        let results = world.broker.results(&format!("r{number}"), 4).await;
        assert!(results.iter().all(|one| one.text == results[0].text), "one event, four times");
        assert_eq!(outcome(&results[0].event), ("deleted", ""));
    }
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_stops_deletions_until_it_is_back() {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &postgres.url)]).await;
    world.sandbox.latency(10).await;
    ask_for_many(&mut world, 2000).await;
    world.sandbox.job("video_1", &[], "completed").await;
    world.broker.requests_answered(300).await;
    for (down, goal) in [(PrivatePostgres::stop as fn(&PrivatePostgres), 900), (PrivatePostgres::kill, 1000)] {
        down(&postgres);
        let said = world.until_ready(false).await;
        assert_eq!(said["stopped"][0]["cause"], "ledger", "{said}");
        world.until_sample("asset_eraser_in_flight", 0.0).await;
        let before = deletes(&world.sandbox.calls().await);
        let later: Vec<String> = (0..20).map(|number| format!("later{goal}-{number}")).collect();
        world.sandbox.add_all(later.clone()).await;
        for asset in &later {
            world.ask(json!({"request_id": format!("r-{asset}"), "asset_id": asset})).await;
        }
        let broker = &world.broker;
        until("no worker takes requests", || async { (broker.count("requests").await >= 20).then_some(()) }).await;
        assert_eq!(deletes(&world.sandbox.calls().await), before, "nothing is deleted without a record");
        postgres.start_again();
        world.until_ready(true).await;
        world.broker.requests_answered(goal).await;
    }
    assert_all_deleted(&mut world, 2040).await;
    world.finish(0).await;
}
