//! What is not deleted, whichever publisher asks: protected assets, and everything while the worker makes dry runs only.

use serde_json::json;

use crate::support::{deletes, outcome, world};

#[tokio::test]
async fn a_protected_asset_is_refused_without_a_call() {
    let mut world = world(&[("PROTECTED", "asset-2026*,logo-?")]).await;
    for asset in ["asset-20260330", "logo-1"] {
        let event = world.delete(asset).await;
        assert_eq!(outcome(&event), ("rejected", "protected"));
        assert!(world.sandbox.calls_of(asset).await.is_empty());
    }
    let detail = world.broker.result("r-logo-1").await["data"]["detail"].clone();
    assert_eq!(detail, json!("the asset is protected by \"logo-?\""));
    for asset in ["asset-2025", "logo-12"] {
        assert_eq!(outcome(&world.delete(asset).await), ("deleted", ""));
    }
    world.ask(json!({"request_id": "dry", "asset_id": "logo-2", "dry_run": true})).await;
    assert_eq!(outcome(&world.broker.result("dry").await), ("rejected", "protected"));
    // Recorded like any other decision.
    world.ask(json!({"request_id": "r-logo-1", "asset_id": "logo-1"})).await;
    let results = world.broker.results("r-logo-1", 2).await;
    assert_eq!(results[0].text, results[1].text);
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_that_is_protected_while_its_request_waits_is_not_deleted() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 0, crate::support::sandbox::answer(500, &json!({}))).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.stop_worker().await;
    let before = deletes(&world.sandbox.calls().await);
    world.sandbox.no_faults().await;
    world.set("PROTECTED", "?");
    world.start_worker().await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("rejected", "protected"));
    let detail = event["data"]["detail"].as_str().unwrap();
    assert!(detail.ends_with("a DELETE may have been sent before it was"), "{detail}");
    assert_eq!(deletes(&world.sandbox.calls().await), before);
    world.finish(0).await;
}

#[tokio::test]
async fn in_a_dry_run_of_the_worker_nothing_is_deleted() {
    let mut world = world(&[("WORKER__DRY_RUN", "true"), ("BROKER__STARTED_EVENTS", "true")]).await;
    assert_eq!(world.until_ready(true).await["dry_run"], true);
    assert!(world.worker().output().contains("nothing is deleted"), "{}", world.worker().output());
    let event = world.delete("a").await;
    assert_eq!(outcome(&event), ("would_delete", ""));
    world.ask(json!({"request_id": "r-gone", "asset_id": "gone"})).await;
    assert_eq!(outcome(&world.broker.result("r-gone").await), ("already_absent", ""));
    assert!(world.get("/metrics").await.1.contains(r#"events_total{event="started"} 0"#));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn what_was_answered_in_a_dry_run_of_the_worker_stays_answered_and_what_waits_goes_on() {
    let mut world = world(&[("WORKER__DRY_RUN", "true")]).await;
    world.delete("a").await;
    world.sandbox.add("b").await;
    world.sandbox.job("video_1", &["b"], "processing").await;
    world.ask(json!({"request_id": "r-b", "asset_id": "b"})).await;
    world.sandbox.until_called("jobs", "b", 2).await;
    world.stop_worker().await;
    world.set("WORKER__DRY_RUN", "false");
    world.start_worker().await;
    assert_eq!(world.until_ready(true).await["dry_run"], false);
    // The same message again is no conflict, and is not carried out after all.
    world.ask(json!({"request_id": "r-a", "asset_id": "a"})).await;
    let results = world.broker.results("r-a", 2).await;
    assert_eq!((outcome(&results[1].event), &results[1].text), (("would_delete", ""), &results[0].text));
    world.sandbox.job("video_1", &[], "completed").await;
    assert_eq!(outcome(&world.broker.result("r-b").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.ask(json!({"request_id": "r-a-2", "asset_id": "a"})).await;
    assert_eq!(outcome(&world.broker.result("r-a-2").await), ("deleted", ""));
    world.finish(0).await;
}
