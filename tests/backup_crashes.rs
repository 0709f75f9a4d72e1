//! A machine that dies between the copy and the deletion loses neither, and makes neither twice.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::backups::{files_in, keeping_world, names_in};
use crate::support::{World, deletes, outcome, until};

const SLOW_GUARD: (&str, &str) = ("GUARD__HTTP__TIMEOUT", "60s");

/// What is done to the bytes of a copy.
type Damage = fn(&mut Vec<u8>);

/// Asks for it, and holds the worker where the guard is asked once more: the copy is made, nothing is deleted.
async fn ask_and_hold(world: &mut World, asset: &str) {
    world.sandbox.add(asset).await;
    world.sandbox.fault("jobs", asset, 1, json!({"delay_ms": 0})).await;
    world.sandbox.fault("jobs", asset, 1, json!({"hang": true})).await;
    world.ask_to_keep(asset).await;
    world.sandbox.until_called("jobs", asset, 2).await;
    assert_eq!(deletes(&world.sandbox.calls_of(asset).await), 0);
}

async fn kill_and_restart(world: &mut World) {
    world.kill_worker().await;
    world.start_worker().await;
}

async fn assert_deleted_once(world: &mut World, asset: &str, downloads: usize) -> Value {
    let event = world.broker.result(&format!("r-{asset}")).await;
    assert_eq!(outcome(&event), ("deleted", ""), "{event}");
    assert_eq!(world.downloads(asset).await, downloads, "{asset}");
    assert_eq!(deletes(&world.sandbox.calls_of(asset).await), 1, "{asset}");
    event
}

#[tokio::test]
async fn killed_between_copy_and_deletion_it_downloads_nothing_again() {
    let mut world = keeping_world(&[SLOW_GUARD]).await;
    ask_and_hold(&mut world, "a").await;
    let before = files_in(&world.kept_folder());
    kill_and_restart(&mut world).await;
    let event = assert_deleted_once(&mut world, "a", 1).await;
    world.assert_kept(&event, "a").await;
    assert_eq!(files_in(&world.kept_folder()), before);
    world.until_sample(r#"asset_eraser_backups_total{result="kept"}"#, 1.0).await;
    world.finish(0).await;
}

#[tokio::test]
async fn killed_after_the_deletion_it_still_says_where_the_copy_is() {
    let mut world = keeping_world(&[("PROVIDER__TIMEOUT", "60s")]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("delete", "a", 1, json!({"hang": "after"})).await;
    world.ask_to_keep("a").await;
    world.sandbox.until_called("delete", "a", 1).await;
    let sandbox = &world.sandbox;
    until("it took effect", || async { sandbox.assets().await.is_empty().then_some(()) }).await;
    kill_and_restart(&mut world).await;
    let event = assert_deleted_once(&mut world, "a", 1).await;
    world.assert_kept(&event, "a").await;
    world.finish(0).await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_download_it_begins_anew_and_trusts_no_half() {
    let mut world = keeping_world(&[]).await;
    // The store gets its first piece before the bytes stop.
    world.sandbox.add_as("a", json!({"assetType": "Video", "size": 20_000_000})).await;
    world.sandbox.fault("file", "a", 1, json!({"send": {"stall_at": 17_000_000}})).await;
    world.ask_to_keep("a").await;
    let folder = world.kept_folder();
    until("a part is written", || async { (!files_in(&folder).is_empty()).then_some(()) }).await;
    let half = files_in(&folder);
    kill_and_restart(&mut world).await;
    let event = assert_deleted_once(&mut world, "a", 2).await;
    let file = world.assert_kept(&event, "a").await;
    assert!(!half.contains(&file), "a half is never gone on with");
    let whole: Vec<PathBuf> = files_in(&folder).into_iter().filter(|file| !half.contains(file)).collect();
    assert_eq!(whole.len(), 2, "{whole:?}");
    world.finish(0).await;
}

#[tokio::test]
async fn without_its_ledger_it_finds_the_copy_in_the_store() {
    let mut world = keeping_world(&[SLOW_GUARD, ("LEDGER__URL", "memory:")]).await;
    ask_and_hold(&mut world, "a").await;
    kill_and_restart(&mut world).await;
    let event = assert_deleted_once(&mut world, "a", 1).await;
    world.assert_kept(&event, "a").await;
    assert_eq!(names_in(&world.kept_folder()), ["asset-…", "backup.json"]);
    world.finish(0).await;
}

#[tokio::test]
async fn a_copy_that_was_damaged_meanwhile_is_not_trusted_and_not_touched() {
    let mut world = keeping_world(&[SLOW_GUARD]).await;
    let ways: [(&str, Damage); 3] =
        [("cut", |bytes| bytes.truncate(5000)), ("changed", |bytes| bytes[9000] ^= 1), ("emptied", Vec::clear)];
    for (asset, _) in ways {
        ask_and_hold(&mut world, asset).await;
    }
    world.kill_worker().await;
    let mut damaged = Vec::new();
    for (asset, harm) in ways {
        let part = format!("/{asset}/r-{asset}/asset-");
        let copy = |file: &PathBuf| file.to_string_lossy().contains(&part);
        let file = files_in(&world.kept_folder()).into_iter().find(copy).expect("a copy");
        let mut bytes = std::fs::read(&file).unwrap();
        harm(&mut bytes);
        std::fs::write(&file, &bytes).unwrap();
        damaged.push((file, bytes));
    }
    world.start_worker().await;
    for ((asset, _), (old, bytes)) in ways.iter().zip(damaged) {
        let event = assert_deleted_once(&mut world, asset, 2).await;
        let new = world.assert_kept(&event, asset).await;
        assert_ne!(new, old);
        assert_eq!(std::fs::read(&old).unwrap(), bytes, "what is there is never written over");
        assert_eq!(names_in(new.parent().unwrap()), ["asset-…", "asset-…", "backup-2.json", "backup.json"]);
    }
    assert!(world.output(2).contains("a backup is not what it is described as"));
    world.finish(0).await;
}

#[tokio::test]
async fn a_description_that_was_changed_is_not_believed() {
    let mut world = keeping_world(&[SLOW_GUARD]).await;
    for asset in ["a", "b", "c"] {
        ask_and_hold(&mut world, asset).await;
    }
    world.kill_worker().await;
    let described = |asset: &str| {
        let part = format!("/r-{asset}/backup.json");
        files_in(&world.kept_folder()).into_iter().find(|file| file.to_string_lossy().ends_with(&part)).unwrap()
    };
    let outside = world.dir.path().join("asset-6f0e1c9e-1111-4222-8333-123456789abc");
    std::fs::write(&outside, b"not it").unwrap();
    let mut text: Value = serde_json::from_slice(&std::fs::read(described("a")).unwrap()).unwrap();
    text["location"] = json!(format!("file://{}", outside.display()));
    text["length"] = json!(6);
    text["sha256"] = crate::support::backups::digest(&outside)["sha256"].clone();
    std::fs::write(described("a"), text.to_string()).unwrap();
    std::fs::write(described("b"), "{").unwrap();
    std::fs::remove_file(described("c")).unwrap();
    world.start_worker().await;
    for asset in ["a", "b", "c"] {
        let event = assert_deleted_once(&mut world, asset, 2).await;
        world.assert_kept(&event, asset).await;
    }
    world.finish(0).await;
}
