//! What a `DELETE` answers, and what is made of it.

use serde_json::json;

use crate::support::sandbox::answer;
use crate::support::{deletes, outcome, until, world};

#[tokio::test]
async fn a_delete_that_took_effect_counts_whatever_it_answered() {
    let mut world = world(&[("PROVIDER__CONTROL_ASSET", "control")]).await;
    world.sandbox.add("control").await;
    for (asset, what) in [
        ("cut", json!({"cut": "after"})),
        ("midway", json!({"cut": "midway"})),
        ("hang", json!({"hang": "after"})),
        ("e500", json!({"answer": {"status": 500, "body": {}, "took_effect": true}})),
        ("code", json!({"answer": {"status": 200, "body": {"code": "77", "msg": "?"}, "took_effect": true}})),
        ("html", json!({"answer": {"status": 200, "body": "<html>", "took_effect": true}})),
    ] {
        world.sandbox.fault("delete", asset, 1, what).await;
        let event = world.delete(asset).await;
        assert_eq!(outcome(&event), ("deleted", ""), "{asset}");
        assert_eq!(event["data"]["proof"], "erased", "{asset}");
        assert_eq!(deletes(&world.sandbox.calls_of(asset).await), 1, "{asset}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn a_delete_that_did_not_take_effect_is_sent_again() {
    // Of answers that say nothing of a later try, the budget decides how many are sent.
    let mut world = world(&[("PROVIDER__RETRY_CODES", "busy,503"), ("RETRY__MAX_ELAPSED", "20s")]).await;
    for (asset, what) in [
        ("cut", json!({"cut": "before"})),
        ("e500", answer(500, &json!({}))),
        ("e429", answer(429, &json!({}))),
        ("busy", answer(200, &json!({"code": "busy", "msg": "later"}))),
        ("number", answer(200, &json!({"code": 503, "msg": "later"}))),
        ("unlisted", answer(200, &json!({"code": 42, "msg": "?"}))),
        ("pretend", json!({"pretend": true})),
    ] {
        world.sandbox.fault("delete", asset, 1, what).await;
        assert_eq!(outcome(&world.delete(asset).await), ("deleted", ""), "{asset}");
        assert_eq!(deletes(&world.sandbox.calls_of(asset).await), 2, "{asset}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn a_read_that_lags_behind_the_delete_is_looked_at_again() {
    let mut world = world(&[]).await;
    // Stale only matters for looks after the delete: the first look finds the asset either way.
    world.sandbox.fault("detail", "a", 3, json!({"stale": true})).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_delete_is_sent_again_even_when_the_looks_used_up_the_budget() {
    let mut world = world(&[("PROVIDER__VERIFY_INTERVAL", "100ms"), ("RETRY__MAX_ELAPSED", "1ms")]).await;
    world.sandbox.fault("delete", "a", 1, json!({"pretend": true})).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 2);
    world.finish(0).await;
}

#[tokio::test]
async fn one_deletion_without_effect_is_not_the_end_when_another_call_failed_before() {
    // The looks after the second DELETE use up the budget.
    let mut world = world(&[("PROVIDER__VERIFY_INTERVAL", "200ms")]).await;
    world.sandbox.fault("delete", "a", 1, json!({"cut": "before"})).await;
    world.sandbox.fault("delete", "a", 1, json!({"pretend": true})).await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    assert_eq!(deletes(&world.sandbox.calls().await), 3);
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_that_never_goes_away_is_still_present() {
    let mut world = world(&[]).await;
    world.sandbox.fault("delete", "a", 0, json!({"pretend": true})).await;
    assert_eq!(outcome(&world.delete("a").await), ("failed", "still_present"));
    assert!(deletes(&world.sandbox.calls_of("a").await) >= 2);
    assert_eq!(world.sandbox.assets().await, ["a"]);
    world.finish(0).await;
}

#[tokio::test]
async fn a_refusal_is_passed_on_with_the_providers_words() {
    let mut world = world(&[("PROVIDER__REFUSED_CODES", "1001")]).await;
    for (asset, code) in [("listed", 1001), ("unlisted", 42)] {
        world.sandbox.fault("delete", asset, 0, answer(200, &json!({"code": code, "msg": "not yours"}))).await;
        let event = world.delete(asset).await;
        assert_eq!(outcome(&event), ("failed", "provider_refused"));
        let rule = json!((asset == "listed").then_some("provider.refused_codes"));
        let said = json!({"status": 200, "code": code.to_string(), "msg": "not yours", "rule": rule});
        assert_eq!(event["data"]["provider"], said);
    }
    assert_eq!(deletes(&world.sandbox.calls_of("listed").await), 1, "a refusal is not tried again");
    assert!(deletes(&world.sandbox.calls_of("unlisted").await) > 1);
    world.finish(0).await;
}

#[tokio::test]
async fn an_attempt_that_ended_after_its_delete_is_recognised_by_the_next() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    // The DELETE takes effect, and then the provider says nothing for longer than the in-process budget.
    world.sandbox.fault("delete", "a", 1, json!({"cut": "after"})).await;
    world.sandbox.fault("detail", "a", 1, json!({"delay_ms": 0})).await;
    world.sandbox.fault("detail", "a", 0, answer(500, &json!({}))).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.sandbox.until_called("detail", "a", 5).await;
    let put_off = r#"asset_eraser_put_off_total{reason="provider"}"#;
    until("it is put off", || async { (world.sample(0, put_off).await >= 1.0).then_some(()) }).await;
    world.sandbox.no_faults().await;
    let event = world.broker.result("r").await;
    assert_eq!(outcome(&event), ("deleted", ""), "this request's DELETE did it");
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_delete_that_found_nothing_is_remembered_after_a_crash() {
    let mut world = world(&[("PROVIDER__CONFIRM_TARGET", "false"), ("PROVIDER__TIMEOUT", "60s")]).await;
    world.sandbox.fault("detail", "a", 1, json!({"hang": "before"})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a"})).await;
    // The DELETE was answered "not found", and the look afterwards never ends.
    world.sandbox.until_called("detail", "a", 1).await;
    world.kill_worker().await;
    world.start_worker().await;
    assert_eq!(outcome(&world.broker.result("r").await), ("already_absent", ""));
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    world.finish(0).await;
}
