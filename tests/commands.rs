//! `check` and `config`, as an operator calls them.

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
