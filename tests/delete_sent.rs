//! A `DELETE` may have been sent: the request waits for its end, and its event says so.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::faults::proxy::Proxy;
use crate::support::backups::keeping_world;
use crate::support::private::PrivatePostgres;
use crate::support::sandbox::answer;
use crate::support::{World, deletes, outcome, until, world};

/// Waits until the guard was asked so many more times, in which the request must not be answered.
async fn stays_open_for(world: &mut World, more: usize) {
    world.broker.requests_answered(0).await;
    let asked = questions(world).await;
    until("the guard is asked a few times more", || async {
        let seen = world.broker.seen();
        assert!(seen.is_empty(), "answered while a job uses the asset: {}", seen[0].text);
        (questions(world).await >= asked + more).then_some(())
    })
    .await;
}

async fn questions(world: &World) -> usize {
    world.sandbox.calls_of("a").await.iter().filter(|call| call["operation"] == "jobs").count()
}

/// Asks with `reject`; a job starts while the first `DELETE` is out, which never takes effect.
async fn job_starts_during_the_delete(world: &mut World) {
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, json!({"hang": "before"})).await;
    world.ask(json!({"request_id": "r", "asset_id": "a", "on_in_use": "reject"})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
}

#[tokio::test]
async fn a_request_whose_delete_timed_out_waits_for_a_job_instead_of_being_rejected() {
    let mut world = world(&[("RETRY__MAX_ELAPSED", "10s")]).await;
    job_starts_during_the_delete(&mut world).await;
    stays_open_for(&mut world, 4).await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

#[tokio::test]
async fn a_request_whose_worker_died_during_its_delete_waits_for_a_job_instead_of_being_rejected() {
    let mut world = world(&[("PROVIDER__TIMEOUT", "60s")]).await;
    job_starts_during_the_delete(&mut world).await;
    world.kill_worker().await;
    world.start_worker().await;
    stays_open_for(&mut world, 4).await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r").await), ("deleted", ""));
    world.finish(0).await;
}

/// A `DELETE` that is answered so, always; the request's end.
async fn end_of(world: &mut World, asset: &str, what: Value, more: Value) -> Value {
    world.sandbox.add(asset).await;
    world.sandbox.fault("delete", asset, 0, what).await;
    let mut request = json!({"request_id": asset, "asset_id": asset});
    request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    world.ask(request).await;
    let event = world.broker.result(asset).await;
    assert!(deletes(&world.sandbox.calls_of(asset).await) > 0, "{event}");
    event
}

fn assert_says_sent(event: &Value, cause: &str) {
    assert_eq!(outcome(event).1, cause, "{event}");
    assert_eq!(event["data"]["delete_sent"], true, "{event}");
}

#[tokio::test]
async fn a_deadline_that_passed_after_a_delete_says_that_it_was_sent() {
    let mut world = world(&[("RETRY__WAIT_STEPS", "200ms,200ms,200ms,200ms,200ms,200ms,200ms,200ms,1s,1s")]).await;
    let soon = (Timestamp::now() + Duration::from_millis(1_500)).to_string();
    let event = end_of(&mut world, "a", answer(500, &json!({})), json!({"deadline": soon})).await;
    assert_says_sent(&event, "deadline_passed");
    world.finish(0).await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_job_until_its_deadline_says_that_a_delete_was_sent() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, json!({"hang": "before"})).await;
    let soon = (Timestamp::now() + Duration::from_secs(4)).to_string();
    world.ask(json!({"request_id": "r", "asset_id": "a", "deadline": soon})).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    assert_says_sent(&world.broker.result("r").await, "in_use");
    world.finish(0).await;
}

#[tokio::test]
async fn a_refusal_of_the_provider_says_that_a_delete_was_sent() {
    let mut world = world(&[("PROVIDER__REFUSED_CODES", "1001")]).await;
    let event = end_of(&mut world, "a", answer(200, &json!({"code": 1001, "msg": "no"})), json!({})).await;
    assert_says_sent(&event, "provider_refused");
    world.finish(0).await;
}

#[tokio::test]
async fn attempts_that_are_exhausted_after_a_delete_say_that_it_was_sent() {
    let mut world = world(&[]).await;
    let event = end_of(&mut world, "a", answer(500, &json!({})), json!({})).await;
    assert_says_sent(&event, "attempts_exhausted");
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_that_is_still_present_after_a_delete_says_that_it_was_sent() {
    let mut world = world(&[]).await;
    let event = end_of(&mut world, "a", json!({"pretend": true}), json!({})).await;
    assert_says_sent(&event, "still_present");
    world.finish(0).await;
}

/// Asks, and stops the worker between two attempts, of which the first has sent a `DELETE` in vain.
async fn stop_after_a_delete(world: &mut World, more: Value) {
    world.sandbox.fault("delete", "a", 0, answer(500, &json!({}))).await;
    let mut request = json!({"request_id": "r", "asset_id": "a"});
    request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    world.ask(request).await;
    world.sandbox.until_called("delete", "a", 1).await;
    world.stop_worker().await;
}

#[tokio::test]
async fn an_asset_that_is_protected_after_a_delete_says_that_it_was_sent() {
    let mut world = world(&[]).await;
    world.sandbox.add("a").await;
    stop_after_a_delete(&mut world, json!({})).await;
    world.set("PROTECTED", "a");
    world.start_worker().await;
    assert_says_sent(&world.broker.result("r").await, "protected");
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_that_is_another_one_after_a_delete_says_that_it_was_sent() {
    let mut world = world(&[]).await;
    world.sandbox.add_named("a", "film", "Video").await;
    stop_after_a_delete(&mut world, json!({"expect": {"name": "film"}})).await;
    world.sandbox.add_named("a", "another", "Video").await;
    world.start_worker().await;
    assert_says_sent(&world.broker.result("r").await, "asset_mismatch");
    world.finish(0).await;
}

#[tokio::test]
async fn a_copy_that_is_lost_after_a_delete_says_that_it_was_sent() {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add("a").await;
    stop_after_a_delete(&mut world, json!({"backup": true})).await;
    std::fs::remove_dir_all(world.kept_folder()).unwrap();
    world.sandbox.fault("file", "a", 0, json!({"answer": {"status": 404}})).await;
    world.start_worker().await;
    assert_says_sent(&world.broker.result("r").await, "backup_failed");
    world.finish(0).await;
}

/// Passes without the field, too: it holds the field back where no `DELETE` was sent, and where the outcome tells.
#[tokio::test]
async fn an_event_says_nothing_of_a_delete_that_was_not_sent() {
    let mut world = world(&[("PROTECTED", "logo")]).await;
    world.sandbox.add_all(["busy", "late"].map(str::to_owned)).await;
    world.sandbox.job("video_1", &["busy"], "processing").await;
    let past = (Timestamp::now() - Duration::from_secs(1)).to_string();
    world.ask(json!({"request_id": "r-busy", "asset_id": "busy", "on_in_use": "reject"})).await;
    world.ask(json!({"request_id": "r-late", "asset_id": "late", "deadline": past})).await;
    world.ask(json!({"request_id": "r-gone", "asset_id": "gone"})).await;
    world.delete("a").await;
    world.delete("logo").await;
    for (request, cause) in
        [("r-busy", "in_use"), ("r-late", "deadline_passed"), ("r-gone", ""), ("r-a", ""), ("r-logo", "protected")]
    {
        let event = world.broker.result(request).await;
        assert_eq!((outcome(&event).1, event["data"].get("delete_sent")), (cause, None), "{event}");
    }
    world.finish(0).await;
}

/// The time for which each answer of the database is on its way while the intent to delete is recorded.
const SLOW: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_while_the_intent_was_recorded_leaves_the_asset_unknown() {
    let postgres = PrivatePostgres::start();
    let (proxy, url) = Proxy::before(&postgres.url).await;
    let mut world = world(&[("LEDGER__URL", &url)]).await;
    world.sandbox.add("a").await;
    // Long enough for the test to make the database slow after the guard was asked, and before it answers.
    world.sandbox.fault("jobs", "a", 1, json!({"delay_ms": 500})).await;
    let deadline = (Timestamp::now() + Duration::from_secs(3)).to_string();
    world.ask(json!({"request_id": "r", "asset_id": "a", "deadline": deadline})).await;
    world.sandbox.until_called("jobs", "a", 1).await;
    proxy.delay(SLOW);
    let event = world.broker.result("r").await;
    proxy.mend();
    assert_eq!((outcome(&event), event["data"].get("delete_sent")), (("failed", "deadline_passed"), None));
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    let (status, said) = world.get("/v1/assets/a").await;
    assert_eq!(status, 404, "what is known of an asset for which no DELETE was sent: {said}");
    assert_eq!(world.history("r").await.deletes(), 0, "DELETE calls on record");
    world.finish(0).await;
}
