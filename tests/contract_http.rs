//! `docs/openapi.yaml` is what the worker really answers.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::backups::settings_to_keep;
use crate::support::contract::{assert_valid, docs, read, resolved, validator, yaml};
use crate::support::private::PrivatePostgres;
use crate::support::sandbox::answer;
use crate::support::{World, outcome, world};

#[test]
fn the_document_is_openapi() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/openapi-3.1.schema.json");
    let schema = serde_json::from_str(&read(&schema)).unwrap();
    let mut document = yaml(&docs().join("openapi.yaml"));
    assert_valid(&validator(&schema), &document, "openapi.yaml");
    document["paths"]["/livez"]["get"]["responses"] = json!([]);
    assert!(!validator(&schema).is_valid(&document), "everything is OpenAPI");
}

#[test]
fn the_examples_are_as_the_document_says() {
    let document = resolved(&docs().join("openapi.yaml"));
    let mut seen = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (status, answer) in methods["get"]["responses"].as_object().unwrap() {
            let json = &answer["content"]["application/json"];
            for (name, example) in json["examples"].as_object().into_iter().flatten() {
                let schema = validator(&json["schema"]);
                assert_valid(&schema, &example["value"], &format!("{path} {status} {name}"));
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 4);
}

/// The document, and which of its answers have been given.
struct Document {
    paths: Value,
    given: BTreeSet<(String, u16)>,
}

impl Document {
    fn read() -> Self {
        let paths = resolved(&docs().join("openapi.yaml"))["paths"].take();
        Self { paths, given: BTreeSet::new() }
    }

    /// Gets it, and holds status, headers and body against what the document says of `path`.
    async fn get(&mut self, world: &mut World, path: &str, id: &str, token: &str) -> (u16, Value) {
        let name = path.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
        let url = format!("{}{}", world.worker().address().await, path.replace(&format!("{{{name}}}"), id));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(&url).bearer_auth(token).send().await.unwrap();
        let status = answer.status().as_u16();
        let documented = self.paths[path]["get"]["responses"][status.to_string()].take();
        assert!(documented.is_object(), "{path}: {status} is not in the document");
        for (name, rule) in documented["headers"].as_object().into_iter().flatten() {
            let value = answer.headers().get(name).unwrap_or_else(|| panic!("{path} {status}: no header {name}"));
            assert_valid(&validator(&rule["schema"]), &json!(value.to_str().unwrap()), name);
        }
        let kind = answer.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        world.no_secret_in(&text);
        let body = if kind == "application/json" { serde_json::from_str(&text).unwrap() } else { json!(text) };
        let content = &documented["content"][&kind];
        assert!(content.is_object(), "{path} {status}: {kind} is not in the document");
        assert_valid(&validator(&content["schema"]), &body, &format!("{path} {status}"));
        self.paths[path]["get"]["responses"][status.to_string()] = documented;
        self.given.insert((path.to_owned(), status));
        (status, body)
    }

    fn assert_every_answer_was_given(&self) {
        for (path, methods) in self.paths.as_object().unwrap() {
            for status in methods["get"]["responses"].as_object().unwrap().keys() {
                assert!(self.given.contains(&(path.clone(), status.parse().unwrap())), "{path}: {status} never came");
            }
        }
    }
}

const ASSETS: &str = "/v1/assets/{asset_id}";
const REQUESTS: &str = "/v1/requests/{request_id}";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_over_http_is_as_the_document_says() {
    let postgres = PrivatePostgres::start();
    let token = format!("stok-{}", uuid::Uuid::new_v4().simple());
    let settings = [("LEDGER__URL", postgres.url.as_str()), ("HTTP__TOKEN", &token)];
    let mut world = world(&[&settings_to_keep()[..], &settings].concat()).await;
    let mut document = Document::read();
    for path in ["/livez", "/metrics", "/readyz"] {
        assert_eq!(document.get(&mut world, path, "", "").await.0, 200);
    }
    for path in [ASSETS, REQUESTS] {
        assert_eq!(document.get(&mut world, path, "a", "wrong").await.0, 401);
        assert_eq!(document.get(&mut world, path, "a", &token).await.0, 404);
        for bad in ["a%20b", "%ff", &"a".repeat(129)] {
            assert_eq!(document.get(&mut world, path, bad, &token).await.0, 400, "{bad}");
        }
    }

    // One of each state: in use, deleted, being deleted, kept first, refused before its asset could be read.
    world.sandbox.add_all(["used", "stuck", "kept"].map(str::to_owned)).await;
    world.sandbox.job("video_1", &["used"], "processing").await;
    world.sandbox.fault("delete", "stuck", 0, answer(500, &json!({}))).await;
    world.ask(json!({"request_id": "r-used", "asset_id": "used"})).await;
    world.ask(json!({"request_id": "r-stuck", "asset_id": "stuck"})).await;
    world.ask(json!({"request_id": "r-bad", "asset_id": "a/b"})).await;
    world.delete("gone").await;
    world.ask_to_keep("kept").await;
    let kept = world.broker.result("r-kept").await;
    world.broker.result("r-bad").await;
    world.sandbox.until_called("jobs", "used", 2).await;
    world.sandbox.until_called("delete", "stuck", 1).await;
    for (asset, state) in [("used", "requested"), ("stuck", "deleting"), ("gone", "deleted")] {
        assert_eq!(document.get(&mut world, ASSETS, asset, &token).await.1["state"], state);
    }
    assert_eq!(outcome(&world.broker.result("r-stuck").await), ("failed", "attempts_exhausted"));
    for (request, decided) in
        [("r-used", false), ("r-stuck", true), ("r-gone", true), ("r-kept", true), ("r-bad", true)]
    {
        let shown = document.get(&mut world, REQUESTS, request, &token).await.1;
        let copy = (request == "r-kept").then(|| &kept["data"]["backup"]);
        assert_eq!(shown.get("backup"), copy, "{shown}");
        assert_eq!(shown["state"] == "decided", decided, "{shown}");
        assert_eq!(shown["event"]["data"]["request_id"] == request, decided, "{shown}");
    }

    postgres.kill();
    world.until_ready(false).await;
    assert_eq!(document.get(&mut world, "/readyz", "", "").await.0, 503);
    for path in [ASSETS, REQUESTS] {
        assert_eq!(document.get(&mut world, path, "a", &token).await.0, 503);
    }
    document.assert_every_answer_was_given();
    postgres.start_again();
    world.until_ready(true).await;
    world.sandbox.job("video_1", &["used"], "completed").await;
    assert_eq!(outcome(&world.broker.result("r-used").await), ("deleted", ""));
    world.finish(1).await;
}
