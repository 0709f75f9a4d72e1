//! Nothing in use is deleted, and no answer means in use.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::support::private::PrivatePostgres;
use crate::support::sandbox::answer;
use crate::support::{deletes, outcome, until, world};

#[tokio::test]
async fn an_asset_in_use_is_deleted_once_its_job_ends() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("jobs", "a", 3).await;
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.sandbox.job("video_1", &["a"], "completed").await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    assert!(event["data"]["attempts"].as_u64().unwrap() >= 3, "{event}");
    world.finish(0).await;
}

/// A flood of requests that wait for a day would ask the registry for each of them every `guard.poll`.
#[tokio::test]
async fn what_has_waited_long_is_looked_at_less_often() {
    let mut world = world(&[("GUARD__POLL", "100ms"), ("RETRY__WAIT_STEPS", "100ms,700ms")]).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    let looks = async || {
        let calls = world.sandbox.calls_of("a").await;
        let looks = calls.into_iter().filter(|call| call["operation"] == "jobs");
        looks.map(|call| call["at_ms"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    until("two looks are a step apart", || async {
        let looks = looks().await;
        looks.windows(2).any(|two| two[1] - two[0] >= 700 && two[0] - looks[0] >= 7_000).then_some(())
    })
    .await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn who_does_not_want_to_wait_is_told_at_once() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "queued").await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("rejected", "in_use"));
    assert!(event["data"]["detail"].as_str().unwrap().contains("video_1"));
    for job in 2..10 {
        world.sandbox.job(&format!("video_{job}"), &["a"], "queued").await;
    }
    world.ask(json!({"request_id": "r2", "asset_id": "a", "on_in_use": "reject"})).await;
    let detail = world.broker.result("r2").await["data"]["detail"].to_string();
    assert!(detail.contains("video_5 and 4 more"), "{detail}");
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn waiting_ends_at_the_deadline_or_at_the_greatest_age() {
    let mut world = world(&[("RETRY__MAX_AGE", "1s")]).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    world.sandbox.job("video_1", &["a", "b"], "processing").await;
    let deadline = (Timestamp::now() + Duration::from_millis(700)).to_string();
    world.ask(json!({"request_id": "late", "asset_id": "a", "deadline": deadline})).await;
    world.ask(json!({"request_id": "old", "asset_id": "b"})).await;
    assert_eq!(outcome(&world.broker.result("late").await), ("failed", "in_use"));
    assert_eq!(outcome(&world.broker.result("old").await), ("failed", "in_use"));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn an_unknown_job_status_counts_as_in_use() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.job_as_registered("video_1", &["a"], "completed", "resting").await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("rejected", "in_use"));
    world.finish(0).await;
}

#[tokio::test]
async fn an_unknown_job_status_is_told_and_a_known_one_is_read_in_any_case() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.job_as_registered("video_1", &["a"], "completed", " COMPLETED ").await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.sandbox.add("b").await;
    world.sandbox.job_as_registered("video_2", &["b", "asset-eraser-check"], "completed", "Rest\ning").await;
    for request in ["r2", "r3"] {
        world.ask(json!({"request_id": request, "asset_id": "b", "on_in_use": "reject"})).await;
        let event = world.broker.result(request).await;
        assert_eq!(outcome(&event), ("rejected", "in_use"));
        assert_eq!(event["data"]["detail"], r#"in use by video_2 (unknown status "Rest\ning")"#);
    }
    let warnings = world.worker().output().matches("unknown job status").count();
    assert_eq!(warnings, 1);
    let mut check = world.command("check");
    assert!(check.ended().await.success());
    assert!(check.output().contains(r#"video_2 (unknown status "Rest\ning")"#), "{}", check.output());
    world.finish(0).await;
}

#[tokio::test]
async fn a_guard_that_cannot_answer_keeps_the_asset() {
    let steps = ("RETRY__WAIT_STEPS", "200ms,200ms,200ms,200ms,400ms,400ms,400ms,400ms");
    let mut world = world(&[steps, ("GUARD__HTTP__TIMEOUT", "200ms")]).await;
    let bad = [
        ("broken", answer(500, &json!({}))),
        ("other", answer(200, &json!({"jobs": "none"}))),
        ("page", answer(200, &json!("<html>"))),
        ("cut", json!({"cut": "before"})),
        ("slow", json!({"hang": true})),
    ];
    for (asset, what) in bad.clone() {
        world.sandbox.add(asset).await;
        world.sandbox.fault("jobs", asset, 0, what).await;
        world.ask(json!({"request_id": asset, "asset_id": asset})).await;
    }
    for (asset, _) in &bad {
        world.sandbox.until_called("jobs", asset, 5).await;
    }
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.sandbox.no_faults().await;
    for (asset, _) in &bad {
        assert_eq!(outcome(&world.broker.result(asset).await), ("deleted", ""));
    }
    assert!(world.get("/metrics").await.1.contains(r#"asset_eraser_put_off_total{reason="guard"}"#));
    world.finish(0).await;
}

#[tokio::test]
async fn a_registry_that_forgot_to_close_a_job_is_corrected_by_the_provider() {
    let mut world = world(&[("GUARD__CONFIRM_WITH_PROVIDER", "true")]).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    world.sandbox.job_as_registered("video_1", &["a"], "completed", "processing").await;
    world.sandbox.job_as_registered("video_2", &["b"], "processing", "processing").await;
    world.ask(json!({"request_id": "ra", "asset_id": "a"})).await;
    assert_eq!(outcome(&world.broker.result("ra").await), ("deleted", ""));
    world.ask(json!({"request_id": "rb", "asset_id": "b", "on_in_use": "reject"})).await;
    assert_eq!(outcome(&world.broker.result("rb").await), ("rejected", "in_use"));
    world.finish(0).await;
}

#[tokio::test]
async fn a_job_that_starts_between_two_deletes_stops_the_second() {
    let mut world = world(&[("RETRY__MAX_ELAPSED", "20s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, json!({"pretend": true})).await;
    // The job starts while the worker looks for the asset after its first DELETE.
    world.sandbox.fault("detail", "a", 1, json!({"delay_ms": 0})).await;
    world.sandbox.fault("detail", "a", 1, json!({"delay_ms": 1500})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.sandbox.until_called("jobs", "a", 3).await;
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.sandbox.job("video_1", &["a"], "failed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn a_job_that_starts_during_the_looks_keeps_the_asset() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("detail", "a", 1, json!({"delay_ms": 1500})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    world.sandbox.until_called("detail", "a", 1).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("rejected", "in_use"));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn a_job_that_starts_while_the_provider_is_asked_about_another_keeps_the_asset() {
    let mut world = world(&[("GUARD__CONFIRM_WITH_PROVIDER", "true")]).await;
    world.sandbox.add("a").await;
    world.sandbox.job_as_registered("video_1", &["a"], "completed", "processing").await;
    world.sandbox.fault("job", "", 1, json!({"delay_ms": 1000})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    let sandbox = &world.sandbox;
    until("the provider is asked about the job", || async {
        sandbox.calls().await.iter().any(|call| call["operation"] == "job").then_some(())
    })
    .await;
    world.sandbox.job("video_2", &["a"], "processing").await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("rejected", "in_use"));
    assert!(event["data"]["detail"].to_string().contains("video_2"), "{event}");
    world.sandbox.job("video_2", &["a"], "completed").await;
    world.ask(json!({"request_id": "later", "asset_id": "a"})).await;
    assert_eq!(outcome(&world.broker.result("later").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn a_job_that_starts_while_the_ledger_is_slow_keeps_the_asset() {
    let postgres = PrivatePostgres::start();
    let mut world = world(&[("LEDGER__URL", &postgres.url)]).await;
    let (mut client, connection) = tokio_postgres::connect(&postgres.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    world.sandbox.add("a").await;
    world.sandbox.fault("jobs", "a", 1, json!({"delay_ms": 700})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    world.sandbox.until_called("jobs", "a", 1).await;
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE asset_eraser.history IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // The guard has said free by then, and the ledger has not noted yet that the deletion begins.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    lock.commit().await.unwrap();
    assert_eq!(outcome(&world.broker.result("r").await), ("rejected", "in_use"));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.finish(0).await;
}
