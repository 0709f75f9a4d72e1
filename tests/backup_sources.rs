//! Whatever goes wrong where the bytes come from: without a whole copy nothing is deleted.

use serde_json::{Value, json};

use crate::support::backups::{files_in, keeping_world, names_in};
use crate::support::{World, deletes, outcome, world};

const SIZE: u64 = 10_007;

fn served(status: u16, headers: &Value, body: &Value) -> Value {
    json!({"answer": {"status": status, "headers": headers, "body": body}})
}

/// What may be over soon.
fn passing() -> Vec<(&'static str, Value)> {
    vec![
        ("cut", json!({"send": {"bytes": 5000}})),
        ("cut-at-once", json!({"send": {"bytes": 0}})),
        ("too-long-a-length", json!({"send": {"declared": SIZE + 1}})),
        ("chunked-cut", json!({"send": {"framing": "chunked", "bytes": 5000, "cut": true}})),
        ("chunked-whole-without-an-end", json!({"send": {"framing": "chunked", "cut": true}})),
        ("no-answer", json!({"cut": "before"})),
        ("silent", json!({"hang": true})),
        ("stalled", json!({"send": {"stall_at": 5000}})),
        ("slow", json!({"send": {"bytes_per_s": 1000}})),
        ("broken", served(500, &json!({}), &json!("oops"))),
        ("away", served(503, &json!({"retry-after": "1"}), &json!(""))),
        ("too-many", served(429, &json!({"retry-after": "1"}), &json!(""))),
        ("expired", served(403, &json!({}), &json!("<Error>expired</Error>"))),
    ]
}

/// What looks lasting.
fn lasting() -> Vec<(&'static str, Value)> {
    let to = |place: &str| served(302, &json!({"location": place}), &json!(""));
    vec![
        ("no-end", json!({"send": {"framing": "close"}})),
        ("no-end-and-cut", json!({"send": {"framing": "close", "bytes": 5000}})),
        ("empty", served(200, &json!({"content-type": "image/png"}), &json!(""))),
        ("empty-chunked", json!({"send": {"framing": "chunked", "bytes": 0}})),
        ("page", served(200, &json!({"content-type": "text/html; charset=utf-8"}), &json!("<html>log in</html>"))),
        ("message", served(200, &json!({}), &json!({"code": 500, "msg": "error"}))),
        ("missing", served(404, &json!({}), &json!("no such key"))),
        ("part", served(206, &json!({"content-type": "image/png"}), &json!("half"))),
        ("nothing-new", served(304, &json!({}), &json!(""))),
        ("announced-too-large", json!({"send": {"declared": 20_000, "bytes": 20_000}})),
        ("too-large", json!({"send": {"framing": "chunked", "bytes": 20_000}})),
        ("endless", json!({"send": {"framing": "chunked", "endless": true}})),
        ("other-scheme", to("https://127.0.0.1/files/other-scheme")),
        ("no-web", to("file:///etc/passwd")),
        ("round", to("/files/round")),
        ("nowhere", served(302, &json!({}), &json!(""))),
    ]
}

const STEPS: &str = "200ms,200ms,200ms,200ms,400ms,400ms,400ms,400ms,1s,1s,1s,1s,2s,2s,2s,2s";
const SETTINGS: [(&str, &str); 3] =
    [("BACKUP__TIMEOUT", "1s"), ("BACKUP__CONCURRENCY", "32"), ("BACKUP__MAX_SIZE", "16KiB")];

async fn ask_with(world: &mut World, faults: &[(&str, Value)]) {
    for (asset, fault) in faults {
        world.sandbox.add(asset).await;
        world.sandbox.fault("file", asset, 0, fault.clone()).await;
        world.ask_to_keep(asset).await;
    }
}

#[tokio::test]
async fn a_source_that_fails_for_a_while_delays_the_deletion() {
    let mut world = keeping_world(&[&SETTINGS[..], &[("RETRY__WAIT_STEPS", STEPS)]].concat()).await;
    let faults = passing();
    ask_with(&mut world, &faults).await;
    for (asset, _) in &faults {
        world.sandbox.until_called("file", asset, 2).await;
    }
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    assert!(!names_in(&world.kept_folder()).contains(&"backup.json".to_owned()));
    world.sandbox.no_faults().await;
    for (asset, _) in &faults {
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("deleted", ""), "{event}");
        world.assert_kept(&event, asset).await;
    }
    assert_eq!(files_in(&world.kept_folder()).len(), 2 * faults.len(), "nothing is left of what was cut");
    let metrics = world.get("/metrics").await.1;
    assert!(metrics.contains(r#"asset_eraser_put_off_total{reason="backup"}"#), "{metrics}");
    world.finish(0).await;
}

#[tokio::test]
async fn a_source_that_fails_to_the_end_keeps_the_asset() {
    let mut world = keeping_world(&SETTINGS).await;
    let faults = passing();
    ask_with(&mut world, &faults).await;
    for (asset, _) in &faults {
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("failed", "backup_failed"), "{event}");
        assert!(world.downloads(asset).await >= 3, "{asset} was tried on each step");
    }
    assert_nothing_gone(world, faults.len()).await;
}

#[tokio::test]
async fn a_source_that_has_something_else_keeps_the_asset() {
    let mut world = keeping_world(&[&SETTINGS[..], &[("RETRY__WAIT_STEPS", STEPS)]].concat()).await;
    let faults = lasting();
    ask_with(&mut world, &faults).await;
    for (asset, _) in &faults {
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("failed", "backup_failed"), "{event}");
        assert_eq!(event["data"]["attempts"], 1, "{asset} is not put off for hours: {event}");
        assert!(!event["data"]["detail"].as_str().unwrap().contains("127.0.0.1"), "no URL: {event}");
    }
    assert_nothing_gone(world, faults.len()).await;
}

async fn assert_nothing_gone(mut world: World, assets: usize) {
    assert_eq!(deletes(&world.sandbox.calls().await), 0);
    assert_eq!(world.sandbox.assets().await.len(), assets);
    assert_eq!(files_in(&world.kept_folder()), Vec::<std::path::PathBuf>::new(), "nothing is left of them");
    let failed = u32::try_from(assets).unwrap();
    world.until_sample(r#"asset_eraser_backups_total{result="failed"}"#, failed.into()).await;
    world.finish(0).await;
}

#[tokio::test]
async fn every_way_to_send_a_whole_file_will_do() {
    let mut world = keeping_world(&[]).await;
    let ways = [
        ("chunked", json!({"send": {"framing": "chunked"}})),
        ("slow", json!({"send": {"bytes_per_s": 20_000}})),
        ("paused", json!({"send": {"stall_at": 5000, "stall_ms": 300}})),
    ];
    ask_with(&mut world, &ways).await;
    for (asset, _) in &ways {
        let event = world.broker.result(&format!("r-{asset}")).await;
        assert_eq!(outcome(&event), ("deleted", ""));
        world.assert_kept(&event, asset).await;
        assert_eq!(world.downloads(asset).await, 1);
    }
    world.finish(0).await;
}

/// By HTTP the body ends where its length says, so a client cannot know better. What comes after it must not get into the copy.
#[tokio::test]
async fn bytes_beyond_the_length_that_was_said_are_not_kept() {
    let mut world = keeping_world(&[]).await;
    ask_with(&mut world, &[("a", json!({"send": {"declared": 100}}))]).await;
    let event = world.broker.result("r-a").await;
    assert_eq!((outcome(&event), &event["data"]["backup"]["length"]), (("deleted", ""), &json!(100)));
    world.finish(0).await;
}

#[tokio::test]
async fn an_url_that_may_not_be_asked_is_not_asked() {
    let settings = [("BACKUP__URL", "file://kept"), ("BACKUP__ALLOW_HTTP", "true")];
    let mut world = world(&settings).await;
    let port = url::Url::parse(&world.sandbox.url).unwrap().port().unwrap();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "[64:ff9b::7f00:1]",
        "user:password@127.0.0.1",
        "１２７.0.0.1",
    ];
    let urls = hosts.map(|host| Some(format!("http://{host}:{port}/files/x")));
    let others = ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:image/png;base64,AA", "/files/x", "", "http://"];
    let urls: Vec<Option<String>> =
        urls.into_iter().chain(others.map(|url| Some(url.to_owned()))).chain([None]).collect();
    for (number, url) in urls.iter().enumerate() {
        let asset = format!("a{number}");
        world.sandbox.add_as(&asset, json!({"url": url})).await;
        world.ask_to_keep(&asset).await;
    }
    for (number, url) in urls.iter().enumerate() {
        let event = world.broker.result(&format!("r-a{number}")).await;
        assert_eq!(outcome(&event), ("failed", "backup_failed"), "{url:?}: {event}");
    }
    let calls = world.sandbox.calls().await;
    let asked = calls.iter().filter(|call| call["operation"] == "file" || call["operation"] == "other").count();
    assert_eq!((asked, deletes(&calls)), (0, 0), "{calls:?}");
    world.finish(0).await;
}

#[tokio::test]
async fn a_redirect_leads_only_where_an_url_may_lead() {
    let mut world = keeping_world(&[]).await;
    let port = url::Url::parse(&world.sandbox.url).unwrap().port().unwrap();
    world.sandbox.add_all(["target".to_owned(), "away".to_owned()]).await;
    let to =
        json!({"answer": {"status": 307, "headers": {"location": format!("http://localhost:{port}/files/target")}}});
    world.sandbox.fault("file", "away", 0, to).await;
    world.ask_to_keep("away").await;
    assert_eq!(outcome(&world.broker.result("r-away").await), ("failed", "backup_failed"));
    assert_eq!(world.downloads("target").await, 0, "only one of its two names is allowed");
    world.finish(0).await;
}

#[tokio::test]
async fn without_allow_http_nothing_comes_unencrypted() {
    let mut world = world(&[("BACKUP__URL", "file://kept"), ("BACKUP__ALLOW_HOSTS", "127.0.0.1")]).await;
    world.sandbox.add("a").await;
    world.ask_to_keep("a").await;
    let event = world.broker.result("r-a").await;
    assert_eq!(outcome(&event), ("failed", "backup_failed"));
    assert!(event["data"]["detail"].as_str().unwrap().contains("http"), "{event}");
    assert_eq!(world.downloads("a").await, 0);
    world.finish(0).await;
}
