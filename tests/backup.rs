//! What has to be kept is kept before it is deleted; nothing else is downloaded.

use serde_json::json;

use crate::support::backups::{keeping_world, names_in};
use crate::support::{deletes, operations, outcome};

#[tokio::test]
async fn what_has_to_be_kept_is_there_whole_before_it_is_deleted() {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add_as("a", json!({"name": "Cat", "assetType": "Image", "size": 123_457})).await;
    world.ask_to_keep("a").await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    let file = world.assert_kept(&event, "a").await;

    let folder = file.parent().unwrap();
    assert!(folder.ends_with("a/r-a"), "{}", folder.display());
    assert_eq!(names_in(&world.kept_folder()), ["asset-…", "backup.json"]);
    let text = std::fs::read_to_string(folder.join("backup.json")).unwrap();
    let described: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(described["content_type"], "image/png");
    assert!(described["made_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{described}");
    let asset = &described["asset"];
    assert_eq!((&asset["name"], &asset["type"], &asset["status"]), (&json!("Cat"), &json!("Image"), &json!("Active")));
    assert_eq!(asset["url"], format!("{}/files/a", world.sandbox.url));
    world.no_secret_in(&text);

    let calls = world.sandbox.calls_of("a").await;
    assert_eq!(&operations(&calls)[..5], ["detail", "jobs", "file", "jobs", "delete"], "{calls:?}");
    let (status, answer) = world.get("/v1/requests/r-a").await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["backup"]), (200, &event["data"]["backup"]), "{answer}");
    world.until_sample(r#"asset_eraser_backups_total{result="made"}"#, 1.0).await;
    world.until_sample("asset_eraser_backup_bytes_total", 123_457.0).await;
    world.until_sample("asset_eraser_backup_duration_seconds_count", 1.0).await;
    world.finish(0).await;
}

#[tokio::test]
async fn the_host_of_the_bytes_is_shown_no_key() {
    let mut world = keeping_world(&[]).await;
    // A proxy would be told where the bytes are, and would resolve names for us.
    let proxy =
        ["http_proxy", "HTTP_PROXY", "all_proxy"].map(|name| (name.to_owned(), "http://127.0.0.1:9".to_owned()));
    world.stop_worker().await;
    world.set("PROVIDER__TIMEOUT", "5s");
    world.environment.extend(proxy);
    world.environment.push(("no_proxy".into(), "127.0.0.1".into()));
    world.start_worker().await;
    world.sandbox.add_as("moved", json!({"url": format!("{}/elsewhere?sign=x", world.sandbox.url)})).await;
    let there = json!({"answer": {"status": 302, "headers": {"location": "/files/moved"}}});
    world.sandbox.fault("other", "", 1, there).await;
    world.ask_to_keep("moved").await;
    let event = world.broker.result("r-moved").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    let file = world.assert_kept(&event, "moved").await;
    let text = std::fs::read_to_string(file.with_file_name("backup.json")).unwrap();
    assert!(text.contains("/elsewhere\"") && !text.contains("sign"), "{text}");

    let calls = world.sandbox.calls_of("moved").await;
    let call = calls.iter().find(|call| call["operation"] == "file").unwrap();
    assert_eq!(call["method"], "GET");
    let headers = call["headers"].as_object().unwrap();
    let known = ["accept", "accept-encoding", "host", "user-agent"];
    assert!(headers.keys().all(|name| known.contains(&name.as_str())), "{headers:?}");
    world.no_secret_in(&call.to_string());
    world.finish(0).await;
}

#[tokio::test]
async fn nothing_is_downloaded_that_no_request_wants_kept() {
    let mut world = keeping_world(&[("BACKUP__REASONS", "cleanup,expired")]).await;
    let requests = [
        ("plain", json!({}), 0),
        ("listed", json!({"reason": "expired"}), 1),
        ("unlisted", json!({"reason": "expired by hand"}), 0),
        ("unwanted", json!({"reason": "expired", "backup": false}), 0),
        ("erasure", json!({"reason": "expired", "case_id": "c"}), 0),
        ("case-kept", json!({"reason": "erasure", "case_id": "c2", "backup": true}), 1),
        ("rehearsed", json!({"reason": "expired", "backup": true, "dry_run": true}), 0),
    ];
    for (asset, more, downloads) in requests {
        world.sandbox.add(asset).await;
        let mut request = json!({"request_id": format!("r-{asset}"), "asset_id": asset});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.ask(request).await;
        let event = world.broker.result(&format!("r-{asset}")).await;
        let wanted = if asset == "rehearsed" { "would_delete" } else { "deleted" };
        assert_eq!(outcome(&event), (wanted, ""), "{asset}");
        assert_eq!(world.downloads(asset).await, downloads, "{asset}");
        if downloads > 0 {
            world.assert_kept(&event, asset).await;
        } else {
            assert!(event["data"].get("backup").is_none(), "{event}");
        }
    }
    assert_eq!(names_in(&world.kept_folder()).len(), 4);
    world.until_sample(r#"asset_eraser_backups_total{result="made"}"#, 2.0).await;
    world.finish(0).await;
}

#[tokio::test]
async fn two_requests_under_one_id_may_not_differ_about_the_backup() {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add("a").await;
    world.ask_to_keep("a").await;
    assert_eq!(outcome(&world.broker.result("r-a").await), ("deleted", ""));
    world.ask(json!({"request_id": "r-a", "asset_id": "a"})).await;
    let both = world.broker.results("r-a", 2).await;
    assert_eq!(outcome(&both[1].event), ("rejected", "request_conflict"));
    world.ask_to_keep("a").await;
    let all = world.broker.results("r-a", 3).await;
    assert_eq!(all[2].text, all[0].text, "the same answer again");
    assert_eq!(world.downloads("a").await, 1);
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_in_use_is_not_downloaded() {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    world.ask_to_keep("a").await;
    world.sandbox.until_called("jobs", "a", 3).await;
    assert_eq!(world.downloads("a").await, 0);
    world.sandbox.job("video_1", &["a"], "completed").await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    world.assert_kept(&event, "a").await;
    assert_eq!(world.downloads("a").await, 1);
    world.finish(0).await;
}

#[tokio::test]
async fn a_job_that_starts_during_the_download_stops_the_deletion_and_the_copy_stays() {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("file", "a", 1, json!({"send": {"stall_at": 100, "stall_ms": 1500}})).await;
    world.ask_to_keep("a").await;
    world.sandbox.until_called("file", "a", 1).await;
    world.sandbox.job("video_1", &["a"], "processing").await;
    // Before the download, after it, and when it comes back.
    world.sandbox.until_called("jobs", "a", 3).await;
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    assert_eq!(names_in(&world.kept_folder()), ["asset-…", "backup.json"]);
    world.sandbox.job("video_1", &["a"], "completed").await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    world.assert_kept(&event, "a").await;
    assert_eq!(world.downloads("a").await, 1, "the copy that was there is enough");
    assert_eq!(names_in(&world.kept_folder()), ["asset-…", "backup.json"]);
    world.until_sample(r#"asset_eraser_backups_total{result="made"}"#, 1.0).await;
    world.until_sample(r#"asset_eraser_backups_total{result="kept"}"#, 1.0).await;
    world.finish(0).await;
}

#[tokio::test]
async fn a_deadline_that_passes_during_the_download_stops_the_deletion() {
    let mut world = keeping_world(&[]).await;
    world.sandbox.add("a").await;
    world.sandbox.fault("file", "a", 1, json!({"send": {"stall_at": 100, "stall_ms": 1500}})).await;
    let deadline = (jiff::Timestamp::now() + std::time::Duration::from_secs(1)).to_string();
    world.ask(json!({"request_id": "r-a", "asset_id": "a", "backup": true, "deadline": deadline})).await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("failed", "deadline_passed"), "{event}");
    assert_eq!(deletes(&world.sandbox.calls_of("a").await), 0);
    world.finish(0).await;
}

#[tokio::test]
async fn an_asset_that_is_still_being_made_is_waited_for() {
    let mut world = keeping_world(&[("RETRY__WAIT_STEPS", "200ms,200ms,400ms,400ms,1s,1s,2s,2s")]).await;
    world.sandbox.add_as("a", json!({"status": "Processing", "url": null})).await;
    world.ask_to_keep("a").await;
    world.until_sample(r#"asset_eraser_put_off_total{reason="backup"}"#, 1.0).await;
    world.sandbox.add("a").await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("deleted", ""));
    world.assert_kept(&event, "a").await;
    world.finish(0).await;
}

#[tokio::test]
async fn one_asset_is_kept_for_each_request_that_asks_for_it() {
    let mut world = keeping_world(&[]).await;
    // Two requests for one asset: the second finds it gone, and has nothing to keep.
    world.sandbox.add("a").await;
    for request in ["r-1", "r-2"] {
        world.ask(json!({"request_id": request, "asset_id": "a", "backup": true})).await;
    }
    let (first, second) = (world.broker.result("r-1").await, world.broker.result("r-2").await);
    let (kept, late) = if outcome(&first).0 == "deleted" { (first, second) } else { (second, first) };
    assert_eq!((outcome(&kept).0, outcome(&late).0), ("deleted", "already_absent"));
    world.assert_kept(&kept, "a").await;
    assert!(late["data"].get("backup").is_none(), "{late}");
    assert_eq!(world.downloads("a").await, 1);
    world.finish(0).await;
}

#[tokio::test]
async fn who_waits_for_a_turn_uses_up_no_step() {
    let mut world = keeping_world(&[("BACKUP__CONCURRENCY", "1")]).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    // Longer than `retry.max_elapsed` and all of `retry.wait_steps` together.
    world.sandbox.fault("file", "a", 1, json!({"send": {"stall_at": 100, "stall_ms": 4000}})).await;
    world.ask_to_keep("a").await;
    world.sandbox.until_called("file", "a", 1).await;
    world.ask_to_keep("b").await;
    for asset in ["a", "b"] {
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("deleted", ""), "{event}");
        world.assert_kept(&event, asset).await;
    }
    let calls = world.sandbox.calls().await;
    let first = |asset: &str| calls.iter().position(|call| call["operation"] == "file" && call["asset"] == asset);
    assert!(first("a").unwrap() < first("b").unwrap());
    assert_eq!((world.downloads("a").await, world.downloads("b").await), (1, 1));
    assert!(world.get("/metrics").await.1.contains(r#"asset_eraser_put_off_total{reason="backup"}"#));
    world.finish(0).await;
}
