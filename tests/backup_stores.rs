//! Where copies are kept: a folder or a bucket, which can fail; and how much memory a copy takes.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::backups::{files_in, keeping_world, names_in, settings_to_keep};
use crate::support::s3::{BUCKET, S3};
use crate::support::{World, deletes, outcome};

const MIB: u64 = 1 << 20;

/// A world whose worker keeps copies in a bucket, which it opens with this secret or with the right one.
async fn world_with_bucket(secret: Option<&str>) -> (World, S3) {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let mut world = World::without_worker(&url, &settings_to_keep()).await;
    let s3 = S3::start(world.dir.path()).await;
    world.set("BACKUP__URL", &format!("s3://{BUCKET}/some/prefix"));
    world.environment = s3.environment(secret.unwrap_or(&s3.secret));
    world.start_worker().await;
    (world, s3)
}

async fn assert_in_bucket(world: &World, s3: &S3, event: &Value, asset: &str) {
    let location = event["data"]["backup"]["location"].as_str().unwrap();
    let key = location.strip_prefix(&format!("s3://{BUCKET}/")).expect(location);
    assert!(key.starts_with("some/prefix/20"), "{key}");
    world.assert_copy(event, asset, &s3.bucket.join(key)).await;
}

async fn finish_with_bucket(world: World, s3: &S3) {
    let output = world.output(1);
    assert!(!output.contains(&s3.secret), "the store's key was printed");
    world.finish(0).await;
}

#[tokio::test]
async fn a_bucket_keeps_small_and_large_copies() {
    let (mut world, s3) = world_with_bucket(None).await;
    // One that is sent whole, two on the edge of a piece, one of several pieces.
    for (asset, size) in [("small", 10_007), ("edge", 8 * MIB), ("beyond", 8 * MIB + 1), ("large", 20 * MIB + 3)] {
        world.sandbox.add_as(asset, json!({"assetType": "Video", "size": size})).await;
        world.ask_to_keep(asset).await;
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("deleted", ""), "{event}");
        assert_in_bucket(&world, &s3, &event, asset).await;
        assert_eq!(world.downloads(asset).await, 1);
    }
    finish_with_bucket(world, &s3).await;
}

#[tokio::test]
async fn a_copy_in_a_bucket_is_found_again() {
    let (mut world, s3) = world_with_bucket(None).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("jobs", "a", 1, json!({"delay_ms": 0})).await;
    world.sandbox.job("video_1", &[], "processing").await;
    world.sandbox.fault("file", "a", 1, json!({"send": {"stall_at": 100, "stall_ms": 500}})).await;
    world.ask_to_keep("a").await;
    world.sandbox.until_called("file", "a", 1).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.sandbox.until_called("jobs", "a", 3).await;
    world.sandbox.job("video_1", &[], "completed").await;
    let event = world.broker.result("r-a").await;
    assert_eq!((outcome(&event), world.downloads("a").await), (("deleted", ""), 1));
    assert_in_bucket(&world, &s3, &event, "a").await;
    world.until_sample(r#"asset_eraser_backups_total{result="kept"}"#, 1.0).await;
    finish_with_bucket(world, &s3).await;
}

#[tokio::test]
async fn a_bucket_that_does_not_let_the_worker_in_keeps_the_asset() {
    let (mut world, s3) = world_with_bucket(Some("wrong-secret")).await;
    world.sandbox.add("a").await;
    world.ask_to_keep("a").await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("failed", "backup_failed"), "{event}");
    let detail = event["data"]["detail"].as_str().unwrap();
    assert!(detail.contains("does not let the worker in") && !detail.contains("wrong-secret"), "{event}");
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    assert!(files_in(&s3.bucket).is_empty());
    world.until_sample(r#"asset_eraser_put_off_total{reason="backup"}"#, 2.0).await;
    finish_with_bucket(world, &s3).await;
}

#[tokio::test]
async fn a_store_that_loses_bits_keeps_the_asset() {
    let (mut world, s3) = world_with_bucket(None).await;
    s3.loses_bits.store(true, Ordering::SeqCst);
    for (asset, size) in [("small", 10_007), ("large", 9 * MIB)] {
        world.sandbox.add_as(asset, json!({"assetType": "Video", "size": size})).await;
        world.ask_to_keep(asset).await;
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("failed", "backup_failed"), "{event}");
        assert!(event["data"]["detail"].as_str().unwrap().contains("other bytes than were written"), "{event}");
    }
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    let left = names_in(&s3.bucket);
    assert!(!left.iter().any(|name| name == "backup.json" || name == "asset-…"), "{left:?}");
    s3.loses_bits.store(false, Ordering::SeqCst);
    world.sandbox.add("later").await;
    world.ask_to_keep("later").await;
    let event = world.broker.result("r-later").await;
    assert_eq!(outcome(&event), ("deleted", ""), "{event}");
    assert_in_bucket(&world, &s3, &event, "later").await;
    finish_with_bucket(world, &s3).await;
}

#[tokio::test]
async fn a_folder_that_is_gone_delays_the_deletion_and_then_fails_it() {
    let mut world = keeping_world(&[]).await;
    let folder = world.kept_folder();
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    world.ask_to_keep("a").await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("failed", "backup_failed"), "{event}");
    assert_eq!(event["data"]["attempts"], 3, "it was put off on each step");
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    world.until_sample(r#"asset_eraser_put_off_total{reason="backup"}"#, 2.0).await;
    std::fs::remove_file(&folder).unwrap();
    world.ask_to_keep("b").await;
    let event = world.broker.result("r-b").await;
    assert_eq!(outcome(&event), ("deleted", ""), "{event}");
    world.assert_kept(&event, "b").await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_worker_without_the_folder_that_was_named_does_not_start() {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
    let mut world = World::without_worker(&url, &settings_to_keep()).await;
    std::fs::write(world.kept_folder(), "in the way").unwrap();
    let mut worker = world.command("run");
    assert!(!worker.ended().await.success());
    assert!(worker.output().contains("backup.url"), "{}", worker.output());
}

/// Keeps one asset of so many bytes, and says what that took.
async fn keep_large(size: u64, limit_kib: u64) {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add_as("a", json!({"assetType": "Video", "size": size})).await;
    let before = world.worker().peak_memory_kib();
    let began = Instant::now();
    world.ask_to_keep("a").await;
    let event = world.broker.result("r-a").await;
    let took = began.elapsed();
    assert_eq!(outcome(&event), ("deleted", ""), "{event}");
    let peak = world.worker().peak_memory_kib();
    eprintln!("{} MiB: {took:.1?}, peak memory {peak} KiB, {before} KiB before", size / MIB);
    world.assert_kept(&event, "a").await;
    assert_eq!(names_in(&world.kept_folder()), ["asset-…", "backup.json"]);
    assert!(peak < before + limit_kib, "{peak} KiB of memory, {before} KiB before");
    world.finish(0).await;
}

/// Two pieces of a download are in memory at a time, whatever its size.
const LIMIT_KIB: u64 = 64 * 1024;

#[tokio::test]
async fn a_large_copy_takes_little_memory() {
    keep_large(256 * MIB, LIMIT_KIB).await;
}

#[tokio::test]
#[ignore = "two gigabytes on the disk, and half a minute"]
async fn a_huge_copy_takes_no_more_memory() {
    keep_large(2048 * MIB, LIMIT_KIB).await;
}
