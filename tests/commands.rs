//! `check` and `config`, as an operator calls them.

use serde_json::json;

use crate::support::world;

#[tokio::test]
async fn check_says_what_is_reached() {
    let mut world = world(&[]).await;
    let mut check = world.command("check");
    let status = check.ended().await;
    let said = check.output();
    assert!(status.success(), "{said}");
    for part in ["broker", "provider", "guard", "ledger"] {
        assert!(said.contains(&format!("ok    {part}")), "{said}");
    }
    world.finish(0).await;
}

#[tokio::test]
async fn check_fails_for_what_is_not_reached() {
    let mut world = world(&[]).await;
    let answer = serde_json::json!({"answer": {"status": 403, "body": {}}});
    world.sandbox.fault("detail", "", 0, answer).await;
    world.sandbox.fault("jobs", "", 0, serde_json::json!({"cut": "before"})).await;
    let mut check = world.command("check");
    let status = check.ended().await;
    let said = check.output();
    assert_eq!(status.code(), Some(1), "{said}");
    for part in ["FAIL  provider", "FAIL  guard", "ok    broker", "ok    ledger"] {
        assert!(said.contains(part), "{said}");
    }
    world.sandbox.no_faults().await;
    world.finish(0).await;
}

#[tokio::test]
async fn config_shows_the_settings_without_secrets() {
    let mut world = world(&[]).await;
    let mut config = world.command("config");
    assert!(config.ended().await.success());
    let said = config.output();
    assert!(said.contains("[provider]") && said.contains(r#"token = "***""#), "{said}");
    world.finish(0).await;
}

#[tokio::test]
async fn ledger_shows_and_verifies_what_is_on_record() {
    let mut world = world(&[]).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask(json!({"request_id": "r-a", "asset_id": "a", "case_id": "case-7"})).await;
    world.ask(json!({"request_id": "r-b", "asset_id": "b", "case_id": "case-7", "expect": {"name": "x"}})).await;
    world.broker.result("r-b").await;
    world.sandbox.until_called("jobs", "a", 2).await;
    world.sandbox.job("video_1", &["a"], "completed").await;
    let event = world.broker.result("r-a").await;
    // While the worker works.
    let mut show = world.command_with(&["ledger", "show", "case-7"]);
    assert!(show.ended().await.success(), "{}", show.output());
    let said = show.output();
    for part in ["request r-a  asset a  case case-7: deleted", "waiting   attempt 1   in_use", "expected name"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mut show = world.command_with(&["ledger", "show", "a", "--json"]);
    assert!(show.ended().await.success(), "{}", show.output());
    let shown: serde_json::Value = serde_json::from_str(&show.output()).unwrap();
    assert_eq!((&shown["complete"], shown["requests"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(shown["requests"][0]["event"], event);
    let history = shown["requests"][0]["history"].as_array().unwrap();
    assert_eq!((&history[0]["state"], &history.last().unwrap()["why"]), (&json!("begun"), &json!("deleted")));
    let mut show = world.command_with(&["ledger", "show", "nobody"]);
    assert_eq!(show.ended().await.code(), Some(1));
    assert!(show.output().contains("nothing is on record under \"nobody\""), "{}", show.output());

    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "{}", verify.output());
    assert!(verify.output().contains("2 requests with"), "{}", verify.output());
    let file = rusqlite::Connection::open(world.dir.path().join("ledger.db")).unwrap();
    file.execute("UPDATE history SET why = 'failed' WHERE request_id = 'r-a' AND why = 'deleted'", ()).unwrap();
    let mut verify = world.command_with(&["ledger", "verify"]);
    assert_eq!(verify.ended().await.code(), Some(1));
    assert!(verify.output().contains("WRONG  request r-a: entry"), "{}", verify.output());
    world.finish(0).await;
}
