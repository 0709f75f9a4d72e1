//! What is kept of a request that was decided long ago.

use serde_json::{Value, json};

use crate::support::{LIMIT, deletes, outcome, world};

#[tokio::test]
async fn an_old_request_becomes_a_tombstone_and_is_never_worked_on_again() {
    let mut world = world(&[("RETRY__MAX_AGE", "1s"), ("LEDGER__COMPACT_AFTER", "1s")]).await;
    world.sandbox.add("a").await;
    let request = json!({"request_id": "r-a", "asset_id": "a", "case_id": "c", "reason": "Art. 17"});
    world.ask(request.clone()).await;
    let first = world.broker.result("r-a").await;
    // Old requests are looked for when a worker starts, and now and then.
    let began = std::time::Instant::now();
    let kept = loop {
        assert!(began.elapsed() < LIMIT, "it is still kept");
        world.stop_worker().await;
        world.start_worker().await;
        let kept: Value = serde_json::from_str(&world.get("/v1/requests/r-a").await.1).unwrap();
        if kept["event"].is_null() {
            break kept;
        }
    };
    assert_eq!((&kept["state"], &kept["outcome"]), (&json!("decided"), &json!("deleted")));
    let asset: Value = serde_json::from_str(&world.get("/v1/assets/a").await.1).unwrap();
    assert_eq!((&asset["state"], &asset["request_id"]), (&json!("deleted"), &json!("r-a")));
    // The asset is there again, as if the ID had been given away twice: a replay must not delete it.
    world.sandbox.add("a").await;
    for _ in 0..2 {
        world.ask(request.clone()).await;
    }
    let again = world.broker.results("r-a", 3).await;
    assert_eq!(outcome(&again[1].event), ("rejected", "request_conflict"));
    assert_ne!(again[1].event["id"], first["id"], "the request's one event stays the only one with its ID");
    assert_eq!(again[1].text, again[2].text, "the same message has the same answer");
    let detail = again[1].event["data"]["detail"].as_str().unwrap();
    assert!(detail.contains("was answered \"deleted\" on 20") && detail.contains("no longer kept"), "{detail}");
    // A message that only guesses learns nothing of it.
    world.ask(json!({"request_id": "r-a", "asset_id": "a"})).await;
    let guessed = world.broker.results("r-a", 4).await.remove(3).event;
    let detail = guessed["data"]["detail"].as_str().unwrap();
    assert!(detail.contains("differs from this one") && !detail.contains("deleted"), "{detail}");
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 1);
    let mut show = world.command_with(&["ledger", "show", "a"]);
    assert!(show.ended().await.success());
    assert!(show.output().contains("decided   attempt 1   deleted"), "{}", show.output());
    assert!(show.output().contains("only this is kept"), "{}", show.output());
    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "{}", verify.output());
    world.finish(0).await;
}
