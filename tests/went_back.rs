//! A ledger that shows less than a worker has seen of it is not used until an operator has accepted that.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{World, outcome, world};

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
