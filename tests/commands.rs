//! `check` and `config`, as an operator calls them.

use std::os::unix::fs::PermissionsExt;

use fantoccini::Locator;
use serde_json::json;

use crate::support::backups::keeping_world;
use crate::support::browser::{browse, picture};
use crate::support::{nothing_unseen_in, outcome, world};

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
    let mut show = world.command_with(&["ledger", "show", "unknown"]);
    assert_eq!(show.ended().await.code(), Some(1));
    assert!(show.output().contains("nothing is on record under \"unknown\""), "{}", show.output());

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

#[tokio::test]
async fn ledger_exports_a_report_of_a_case() {
    let mut world = world(&[("PROVIDER__CONTROL_ASSET", "control")]).await;
    world.sandbox.add_named("a", "<b>Cat</b> & co", "Image").await;
    world.sandbox.add_all(["b".to_owned(), "c".to_owned(), "control".to_owned()]).await;
    world.sandbox.job("video_1", &["b", "c"], "processing").await;
    let case = "case/7";
    let by = |request: &str, asset: &str| json!({"request_id": request, "asset_id": asset, "case_id": case, "requested_by": "privacy desk", "reason": "Art. 17"});
    let mut sized = by("r-a", "a");
    sized["case_size"] = json!(5);
    world.ask(sized).await;
    let mut refused = by("r-b", "b");
    refused["on_in_use"] = json!("reject");
    world.ask(refused).await;
    world.ask(by("r-c", "c")).await;
    world.ask(by("r-d", "gone")).await;
    for request in ["r-a", "r-b", "r-d"] {
        world.broker.result(request).await;
    }
    world.sandbox.until_called("jobs", "c", 2).await;
    let mut export = world.command_with(&["ledger", "export", "--case", case]);
    assert!(export.ended().await.success(), "{}", export.output());
    let read = |name: &str| std::fs::read_to_string(world.dir.path().join(name)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&read("erasure-report.json")).unwrap();
    assert_eq!(report["counts"], json!({"already_absent": 1, "deleted": 1, "open": 1, "rejected": 1}));
    assert_eq!((&report["missing"], &report["open"][0]["request_id"]), (&json!(1), &json!("r-c")));
    for part in
        ["5 requests; 1 of them have not arrived: they were never asked", "open: 1: r-c (asset c, waits: in_use)"]
    {
        assert!(export.output().contains(part), "{part}: {}", export.output());
    }
    let lines = report["lines"].as_array().unwrap();
    let of = |asset: &str| lines.iter().find(|line| line["asset_id"] == asset).unwrap();
    assert_eq!((&of("a")["requested_by"], &of("a")["reason"]), (&json!("privacy desk"), &json!("Art. 17")));
    for (asset, how) in [
        ("a", "deleted by this request; looked for afterwards and not found"),
        ("b", "not deleted: in use by video_1"),
        ("gone", "two looks did not find it; this request deleted nothing"),
    ] {
        assert_eq!(of(asset)["verified"], how);
    }
    assert!(of("c")["verified"].as_str().unwrap().starts_with("not decided"));
    assert_eq!(of("a")["hash"].as_str().unwrap().len(), 64);
    let page = format!("file://{}/erasure-report.html", world.dir.path().display());
    let hash = of("a")["hash"].as_str().unwrap();
    browse(world.dir.path(), &page, async |browser| {
        let text = async |css| browser.find(Locator::Css(css)).await.unwrap().text().await.unwrap();
        assert_eq!(text("h1").await, "Erasure report: case case/7");
        let counts = "Outcome Requests\nalready_absent 1\ndeleted 1\nopen 1\nrejected 1";
        assert_eq!(text("table.counts").await, counts);
        picture(browser, "report").await;
        let said = text("body").await;
        for part in [
            // What comes from outside is text, also when it looks like HTML.
            "<b>Cat</b> & co, Image",
            "by privacy desk\nArt. 17",
            "deleted by this request; looked for afterwards and not found",
            "not deleted: in use by video_1",
            "not decided",
            "The case was said to have 5 requests; 1 of them have not arrived",
            "Requests that are open: 1: r-c (asset c, waits: in_use).",
            hash,
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    })
    .await;
    // A report is evidence: it is not overwritten.
    let mut again = world.command_with(&["ledger", "export", "--case", case]);
    assert_eq!(again.ended().await.code(), Some(1));
    assert!(again.output().contains("erasure-report.html: File exists"), "{}", again.output());
    let mut none = world.command_with(&["ledger", "export", "--case", "r-a"]);
    assert_eq!(none.ended().await.code(), Some(1), "a request ID is no case");
    world.sandbox.job("video_1", &[], "completed").await;
    world.broker.result("r-c").await;
    world.finish(0).await;
}

#[tokio::test]
async fn where_a_copy_is_kept_is_shown_with_its_request() {
    let login = "a-long-password-for-the-console";
    let mut world = keeping_world(&[("CONSOLE__ENABLED", "true"), ("CONSOLE__PASSWORD", login)]).await;
    world.sandbox.add_all(["a".to_owned(), "b".to_owned()]).await;
    world.ask(json!({"request_id": "r-a", "asset_id": "a", "case_id": "case-7", "backup": true})).await;
    world.ask(json!({"request_id": "r-b", "asset_id": "b", "case_id": "case-7"})).await;
    let kept = world.broker.result("r-a").await["data"]["backup"].clone();
    assert!(world.broker.result("r-b").await["data"].get("backup").is_none());
    let (length, place) = (kept["length"].as_u64().unwrap(), kept["location"].as_str().unwrap());
    let sha256 = kept["sha256"].as_str().unwrap();

    let mut show = world.command_with(&["ledger", "show", "case-7"]);
    assert!(show.ended().await.success(), "{}", show.output());
    let said = show.output();
    let line = format!("  a copy is kept: {length} bytes at {place}, SHA-256 {sha256}\n");
    assert_eq!(said.matches("a copy is kept").count(), 1, "{said}");
    assert!(said.contains(&line) && said.contains("  backed_up attempt 1 "), "{said}");
    let mut show = world.command_with(&["ledger", "show", "case-7", "--json"]);
    assert!(show.ended().await.success(), "{}", show.output());
    let shown: serde_json::Value = serde_json::from_str(&show.output()).unwrap();
    let of = |key: &str, request: &str, from: &serde_json::Value| {
        let all = from[key].as_array().unwrap();
        all.iter().find(|one| one["request_id"] == request).unwrap().get("backup").cloned()
    };
    assert_eq!((of("requests", "r-a", &shown), of("requests", "r-b", &shown)), (Some(kept.clone()), None));

    let mut export = world.command_with(&["ledger", "export", "--case", "case-7"]);
    assert!(export.ended().await.success(), "{}", export.output());
    let read = |name: &str| std::fs::read_to_string(world.dir.path().join(name)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&read("erasure-report.json")).unwrap();
    assert_eq!((of("lines", "r-a", &report), of("lines", "r-b", &report)), (Some(kept.clone()), None));
    let page = read("erasure-report.html");
    let url = format!("{}/find?q=case-7", world.worker().address().await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let console = client.get(&url).bearer_auth(login).send().await.unwrap().text().await.unwrap();
    for page in [page, console] {
        assert_eq!(page.matches("A copy is kept").count(), 1, "{page}");
        assert!(page.contains(&format!("{length} bytes at {place}")) && page.contains(sha256), "{page}");
    }

    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "{}", verify.output());
    world.finish(0).await;
}

/// Whatever a publisher writes into a request, and wherever a person then reads it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_unseen_of_a_request_reaches_a_person() {
    let login = "a-long-password-for-the-console";
    let mut world = world(&[("CONSOLE__ENABLED", "true"), ("CONSOLE__PASSWORD", login)]).await;
    world.sandbox.add_named("a", "name\u{202e}\u{1b}[2J", "type\u{9b}2J").await;
    let unseen = |word: &str| format!("{word}\u{202e}\u{200b}\u{2066}\u{e0041}");
    let body = json!({
        "request_id": "r-1", "asset_id": "a", "case_id": "case-1", "reason": unseen("reason"),
        "requested_by": unseen("by"), "expect": {"name": unseen("name")},
    });
    world.ask(body).await;
    assert_eq!(outcome(&world.broker.result("r-1").await).0, "rejected");
    let url = world.worker().address().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut read = Vec::new();
    for path in ["/find?q=case-1", "/v1/requests/r-1", "/v1/assets/a", "/"] {
        let page = client.get(format!("{url}{path}")).bearer_auth(login).send().await.unwrap();
        read.push(page.text().await.unwrap());
    }
    for args in [
        &["ledger", "show", "r-1"][..],
        &["ledger", "show", "r-1", "--json"],
        &["ledger", "export", "--case", "case-1"],
    ] {
        let mut command = world.command_with(args);
        assert!(command.ended().await.success(), "{}", command.output());
        read.push(command.output());
    }
    for report in ["erasure-report.html", "erasure-report.json"] {
        let path = world.dir.path().join(report);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{report}");
        read.push(std::fs::read_to_string(path).unwrap());
    }
    for text in &read {
        nothing_unseen_in(text);
    }
    assert!(read[0].contains("reason&#60;U+202E&#62;") && read[1].contains("reason\\u202e"), "{read:?}");
    world.finish(0).await;
}
