//! A ledger that shows less than a worker has seen of it is not used until an operator has accepted that.

use std::path::Path;

use serde_json::{Value, json};

use crate::standby::both;
use crate::support::private::PrivatePostgres;
use crate::support::sandbox::http_get;
use crate::support::{World, deletes, outcome, until, world};

/// Copies the ledger of a worker that has stopped, as a backup or a restore does: without the file that remembers how far
/// it had got.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    for end in ["-wal", "-shm"] {
        let file = |path: &Path| path.with_file_name(format!("{}{end}", path.file_name().unwrap().display()));
        let _ = std::fs::remove_file(file(to));
        if file(from).exists() {
            std::fs::copy(file(from), file(to)).unwrap();
        }
    }
}

/// Runs `asset-eraser ledger accept`; whether it ended well, and what it printed.
async fn accept(world: &mut World, more: &[&str]) -> (bool, String) {
    let mut command = world.command_with(&[&["ledger", "accept"], more].concat());
    let status = command.ended().await;
    (status.success(), command.output())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_restored_is_not_used_until_that_is_accepted() {
    let mut world = world(&[]).await;
    let (file, backup) = (world.dir.path().join("ledger.db"), world.dir.path().join("backup.db"));
    world.stop_worker().await;
    copy(&file, &backup);
    world.start_worker().await;
    assert_eq!(outcome(&world.delete("a").await), ("deleted", ""));
    world.stop_worker().await;
    copy(&backup, &file);

    for _ in 0..2 {
        world.start_worker_unready().await;
        let ready: Value = world.until_ready(false).await;
        assert_eq!(ready["stopped"][0]["cause"], "ledger_went_back", "{ready}");
        assert_eq!(world.get("/v1/assets/a").await.0, 503, "its deletion is missing");
        world.stop_worker().await;
    }
    world.start_worker_unready().await;
    world.sandbox.add("b").await;
    world.ask(json!({"request_id": "r-b", "asset_id": "b"})).await;
    let (accepted, said) = accept(&mut world, &[]).await;
    assert!(!accepted && said.contains("--yes"), "without a terminal it cannot ask: {said}");
    assert_eq!(world.get("/v1/assets/a").await.0, 503, "nothing was accepted");
    assert!(world.sandbox.calls_of("b").await.is_empty());
    let (accepted, said) = accept(&mut world, &["--yes"]).await;
    assert!(accepted && said.contains("went back in time"), "{said}");
    world.until_ready(true).await;
    assert_eq!(outcome(&world.broker.result("r-b").await), ("deleted", ""));
    let (accepted, said) = accept(&mut world, &["--yes"]).await;
    assert!(accepted && said.contains("nothing to accept"), "{said}");
    world.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asynchronous_standby_that_lacks_commits_is_not_used_until_that_is_accepted() {
    let primary = PrivatePostgres::start();
    let standby = primary.standby(false);
    let mut world = world(&[("LEDGER__URL", &both(&primary, &standby))]).await;
    world.add_replicas(1).await;
    // What is decided now never reaches the standby.
    standby.stop();
    for asset in ["a", "b"] {
        assert_eq!(outcome(&world.delete(asset).await), ("deleted", ""));
    }
    primary.kill();
    standby.start_again();
    standby.promote();
    for address in world.addresses().await {
        until("every replica says that the ledger went back", || async {
            let (status, body) = http_get(&format!("{address}/readyz")).await;
            (status == 503 && body.contains("ledger_went_back")).then_some(())
        })
        .await;
        assert_eq!(http_get(&format!("{address}/v1/assets/a")).await.0, 503, "its deletion is missing");
    }
    world.sandbox.add("c").await;
    world.ask(json!({"request_id": "r-c", "asset_id": "c"})).await;
    world.stop_worker().await;
    world.start_worker_unready().await;
    let ready = world.until_ready(false).await;
    assert_eq!(ready["stopped"][0]["cause"], "ledger_went_back", "also a worker that was started since: {ready}");
    assert_eq!(deletes(&world.sandbox.calls_of("c").await), 0);
    let (accepted, said) = accept(&mut world, &["--yes"]).await;
    assert!(accepted && said.contains("went back in time"), "{said}");
    assert_eq!(outcome(&world.broker.result("r-c").await), ("deleted", ""));
    world.until_ready(true).await;
    world.finish(0).await;
}
