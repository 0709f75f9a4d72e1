use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::call::Sandbox;

const KEY: &str = "test-key";
const ASSETS: &str = "/kyyReactApiServer/kyyVideo2/asset";
const RESULTS: &str = "/kyyReactApiServer/v1/result";
const TASKS: &str = "/kyyReactApiServer/v2/model-center/tasks";
const VIDEOS: &str = "/kyyReactApiServer/v1/kyyvideo2/videos";

/// Modes that word a missing asset in their own way, with the status and the code of it.
const MISSING: [(&str, u16, &str); 5] = [
    ("missing_404", 404, "NotFound.asset_id"),
    ("missing_500", 500, "ASSET_NOT_FOUND"),
    ("missing_502", 502, "upstream_error"),
    ("missing_400", 400, "InvalidParameter.asset_id"),
    ("ark", 404, "NotFound.asset_id"),
];

/// An answer that came whole.
struct Heard {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    fn told(&self) -> (u16, Value) {
        (self.status, self.json())
    }
}

/// A sandbox in this process that has the assets `a` and `b`, and a job `j` that uses `a`.
struct Puppet(TowerToHyperService<Router>);

impl Puppet {
    async fn new() -> Self {
        let puppet = Self(TowerToHyperService::new(crate::router(Arc::new(Sandbox::new(KEY, None)))));
        puppet.order("POST", "assets", json!({"ids": ["a", "b"]})).await;
        puppet.order("PUT", "jobs/j", json!({"assets": ["a"], "status": "processing"})).await;
        puppet
    }

    async fn with(order: Value) -> Self {
        let puppet = Self::new().await;
        puppet.order("PUT", "gateway", order).await;
        puppet
    }

    async fn of(mode: &str) -> Self {
        Self::with(json!({ "mode": mode })).await
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Heard {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request =
            Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {KEY}"));
        let (parts, body) = self.0.call(request.body(body).unwrap()).await.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        // Calls in this process never wait, so a deletion that is due would never get its turn.
        yield_now().await;
        Heard { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    async fn order(&self, method: &str, call: &str, body: Value) {
        let heard = self.send(method, &format!("/control/{call}"), body).await;
        assert_eq!(heard.status, 200, "{}", heard.json());
    }

    async fn detail(&self, asset: &str) -> (u16, Value) {
        self.send("GET", &format!("{ASSETS}/{asset}"), Value::Null).await.told()
    }

    async fn delete(&self, asset: &str) -> (u16, Value) {
        self.send("DELETE", &format!("{ASSETS}/{asset}"), Value::Null).await.told()
    }

    async fn exists(&self, asset: &str) -> bool {
        self.send("GET", &format!("/control/assets/{asset}"), Value::Null).await.json()["exists"] == true
    }

    /// What the log has of the last call: its status, what it was answered, and whether it took effect.
    async fn logged(&self) -> Value {
        let mut calls = self.calls().await;
        calls.pop().unwrap()
    }

    /// The same of all calls, oldest first.
    async fn calls(&self) -> Vec<Value> {
        let calls = self.send("GET", "/control/calls", Value::Null).await.json();
        let brief = |call: &Value| json!([call["status"], call["answered"], call["took_effect"]]);
        calls["calls"].as_array().unwrap().iter().map(brief).collect()
    }
}

#[tokio::test]
async fn the_documented_mode_changes_nothing() {
    let (plain, documented) = (Puppet::new().await, Puppet::of("documented").await);
    for puppet in [plain, documented] {
        let (status, found) = puppet.detail("a").await;
        assert_eq!((status, &found["code"], &found["data"]["status"]), (200, &json!(0), &json!("Active")));
        assert_eq!(puppet.delete("a").await, (200, json!({"code": "0", "msg": "删除成功", "data": null})));
        assert_eq!(puppet.delete("a").await.1["code"], "-1");
        assert_eq!(puppet.detail("a").await.1["code"], -1);
        let calls = [json!([200, "found", false]), json!([200, "0", true]), json!([200, "-1", false])];
        assert_eq!(puppet.calls().await[..3], calls);
        assert_eq!(puppet.logged().await, json!([200, "missing", false]));
    }
}

#[tokio::test]
async fn some_modes_refuse_every_call_to_the_provider() {
    let flat = |code: u16, msg: &str| json!({"code": code, "msg": msg, "data": null});
    let modes = [
        ("wrong_key", 401, flat(401, "invalid api key")),
        ("forbidden", 403, flat(403, "invalid api key")),
        ("too_many_200", 200, flat(10029, "FlowLimitExceeded: too many requests")),
        ("too_many_420", 420, flat(420, "enhance your calm")),
    ];
    let (asset, upload) = (format!("{ASSETS}/a"), format!("{ASSETS}/upload"));
    let (job, task) = (format!("{RESULTS}/j"), format!("{TASKS}/j"));
    let new = json!({"assetType": "Image", "url": "https://a.invalid/", "name": "Cat"});
    for (mode, status, body) in modes {
        let puppet = Puppet::of(mode).await;
        for (method, path) in [("GET", &asset), ("DELETE", &asset), ("GET", &job), ("GET", &task)] {
            let heard = puppet.send(method, path, Value::Null).await;
            assert_eq!(heard.told(), (status, body.clone()), "{mode} {method} {path}");
            let again = heard.headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(again, (status == 420).then_some("0.5"), "{mode}");
        }
        assert_eq!(puppet.send("POST", &upload, new.clone()).await.status, status);
        assert_eq!(puppet.send("POST", VIDEOS, json!({"first_image": "asset://a"})).await.status, status);
        let calls = puppet.calls().await;
        assert_eq!(calls[0], json!([status, null, false]), "a refusal says nothing of the asset");
        assert_eq!(calls[1], json!([status, body["code"].to_string(), false]));
        assert!(calls.iter().all(|call| call[2] == false), "{calls:?}");

        assert_eq!(puppet.send("GET", "/jobs/a", Value::Null).await.json()["jobs"].as_array().unwrap().len(), 1);
        assert_eq!(puppet.send("GET", "/files/a", Value::Null).await.status, 200);
        assert!(puppet.exists("a").await);
    }
}

#[tokio::test]
async fn another_account_sees_nothing_and_deletes_nothing() {
    let puppet = Puppet::of("wrong_account").await;
    let absent = json!({"code": -1, "msg": "素材不存在", "data": null});
    assert_eq!(puppet.detail("a").await, (200, absent));
    assert_eq!(puppet.logged().await, json!([200, "missing", false]));
    assert_eq!(puppet.delete("a").await, (200, json!({"code": "-1", "msg": "素材不存在", "data": null})));
    assert_eq!(puppet.logged().await, json!([200, "-1", false]));
    for jobs in [RESULTS, TASKS] {
        assert_eq!(puppet.send("GET", &format!("{jobs}/j"), Value::Null).await.json()["code"], -1);
    }
    assert!(puppet.exists("a").await);
}

#[tokio::test]
async fn a_missing_asset_is_worded_as_the_gateway_does() {
    for (mode, status, code) in MISSING {
        let puppet = Puppet::of(mode).await;
        assert_eq!(puppet.detail("a").await.0, 200, "{mode}");
        assert_eq!(puppet.logged().await, json!([200, "found", false]), "{mode}");
        assert_eq!(puppet.delete("a").await.0, 200, "{mode}");
        assert_eq!(puppet.logged().await[2], true, "{mode}");
        assert_eq!(puppet.delete("a").await.0, status, "{mode}");
        assert_eq!(puppet.logged().await, json!([status, code, false]), "{mode}");
        assert_eq!(puppet.detail("a").await.0, status, "{mode}");
        assert_eq!(puppet.logged().await, json!([status, "missing", false]), "{mode}");
        let unknown = puppet.send("GET", &format!("{RESULTS}/none"), Value::Null).await;
        assert_eq!((unknown.status, &unknown.json()["code"]), (200, &json!(-1)), "{mode}: jobs are as documented");
    }
}

#[tokio::test]
async fn the_words_of_a_missing_asset_are_these() {
    let nested = |code: &str, message: &str| json!({"error": {"code": code, "message": message}});
    let words = [
        ("missing_404", nested("NotFound.asset_id", "The specified asset was not found.")),
        ("missing_500", json!({"errorCode": "ASSET_NOT_FOUND", "errorMessage": "asset not found"})),
        ("missing_502", nested("upstream_error", "upstream: NotFound.asset_id: the asset does not exist")),
        ("missing_400", nested("InvalidParameter.asset_id", "asset does not exist or no permission")),
    ];
    for (mode, body) in words {
        let puppet = Puppet::of(mode).await;
        assert_eq!((puppet.detail("none").await.1, puppet.delete("none").await.1), (body.clone(), body));
    }
}

#[tokio::test]
async fn ark_speaks_in_the_envelope_of_the_upstream() {
    let documented = Puppet::new().await.detail("a").await.1;
    let puppet = Puppet::of("ark").await;
    let found = puppet.detail("a").await.1;
    assert_eq!(found["Result"]["assetId"], documented["data"]["assetId"]);
    assert_eq!(found["Result"].as_object().unwrap().len(), documented["data"].as_object().unwrap().len());
    assert_eq!((found.get("code"), &found["ResponseMetadata"]["Action"]), (None, &json!("GetAsset")));
    assert!(found["ResponseMetadata"]["RequestId"].is_string());

    let deleted = puppet.delete("a").await.1;
    assert_eq!((deleted.get("code"), &deleted["Result"]), (None, &json!({})));
    assert_eq!(puppet.logged().await, json!([200, null, true]), "a success has no code");
    let missing = puppet.detail("a").await.1;
    assert_eq!(missing["ResponseMetadata"]["Error"]["Message"], "The specified asset was not found.");
}

#[tokio::test]
async fn a_soft_gateway_shows_what_it_deleted() {
    let puppet = Puppet::of("soft_delete").await;
    let before = puppet.detail("a").await.1;
    assert_eq!(puppet.delete("a").await.1["code"], "0");
    assert_eq!(puppet.logged().await, json!([200, "0", true]));
    assert!(!puppet.exists("a").await);

    let (status, mut after) = puppet.detail("a").await;
    assert_eq!((status, &after["code"], &after["data"]["status"]), (200, &json!(0), &json!("DELETED")));
    assert_eq!(puppet.logged().await, json!([200, "missing", false]), "it is not found");
    after["data"]["status"] = before["data"]["status"].clone();
    assert_eq!(after, before);
    assert_eq!(puppet.detail("none").await.1["code"], -1, "what never was is missing");
    assert_eq!(puppet.delete("a").await.1["code"], "-1");
    assert_eq!(puppet.send("GET", "/files/a", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_soft_gateway_knows_what_was_deleted_of_an_endless_store() {
    let puppet = Puppet::of("soft_delete").await;
    puppet.order("PUT", "endless", json!({"prefix": "e-"})).await;
    assert_eq!(puppet.detail("e-1").await.1["data"]["status"], "Active");
    puppet.delete("e-1").await;
    assert_eq!(puppet.detail("e-1").await.1["data"]["status"], "DELETED");
}

#[tokio::test]
async fn a_slow_gateway_promises_first() {
    let puppet = Puppet::of("slow_delete").await;
    for _ in 0..2 {
        assert_eq!(puppet.delete("a").await.1["code"], "0");
        assert_eq!(puppet.logged().await, json!([200, "0", false]));
        assert_eq!(puppet.detail("a").await.1["data"]["status"], "Active");
        assert_eq!(puppet.logged().await, json!([200, "found", false]));
    }
    assert_eq!(puppet.delete("none").await.1["code"], "-1");
}

#[tokio::test]
async fn a_slow_gateway_deletes_in_the_end() {
    let puppet = Puppet::with(json!({"mode": "slow_delete", "after_ms": 300})).await;
    puppet.delete("a").await;
    puppet.order("PUT", "gateway", json!({"mode": "slow_delete", "after_ms": 3_600_000})).await;
    puppet.delete("a").await;
    puppet.order("DELETE", "gateway", Value::Null).await;
    while puppet.exists("a").await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let effects: Vec<Value> = puppet.calls().await.iter().map(|call| call[2].clone()).collect();
    assert_eq!(effects, [true, false], "the second call neither deletes nor postpones");
    assert_eq!(puppet.detail("a").await.1["code"], -1);
}

#[tokio::test]
async fn some_gateways_do_not_delete() {
    let modes = [
        ("locked_403", 403, "OperationDenied.InvalidState", "the asset is locked"),
        ("in_use_409", 409, "Conflict.InUse", "the asset is referenced by a task"),
    ];
    for (mode, status, code, message) in modes {
        let puppet = Puppet::of(mode).await;
        assert_eq!(puppet.delete("a").await, (status, json!({"error": {"code": code, "message": message}})));
        assert_eq!(puppet.logged().await, json!([status, code, false]));
        assert_eq!(puppet.detail("a").await.1["data"]["status"], "Active");
        assert!(puppet.exists("a").await);
    }
}

#[tokio::test]
async fn a_cdn_keeps_the_file() {
    let puppet = Puppet::of("cdn_keeps").await;
    let before = puppet.send("GET", "/files/a", Value::Null).await;
    assert_eq!(puppet.delete("a").await.1["code"], "0");
    assert_eq!(puppet.detail("a").await.1["code"], -1);
    let after = puppet.send("GET", "/files/a", Value::Null).await;
    assert!(after.status == 200 && after.bytes == before.bytes);
    assert_eq!(puppet.send("GET", "/files/none", Value::Null).await.status, 404);
    puppet.order("DELETE", "gateway", Value::Null).await;
    assert_eq!(puppet.send("GET", "/files/a", Value::Null).await.status, 404);
}

#[tokio::test]
async fn the_mode_of_an_asset_wins_over_that_for_all() {
    let puppet = Puppet::with(json!({"mode": "forbidden", "asset": "a"})).await;
    let job = format!("{RESULTS}/j");
    assert_eq!((puppet.detail("a").await.0, puppet.detail("b").await.0), (403, 200));
    assert_eq!(puppet.send("GET", &job, Value::Null).await.status, 403, "the job uses the asset");
    puppet.order("PUT", "gateway", json!({"mode": "wrong_key"})).await;
    assert_eq!((puppet.detail("a").await.0, puppet.detail("b").await.0), (403, 401));
    puppet.order("PUT", "gateway", json!({"mode": "documented", "asset": "a"})).await;
    assert_eq!((puppet.detail("a").await.0, puppet.detail("b").await.0), (200, 401));
    puppet.order("DELETE", "gateway", Value::Null).await;
    assert_eq!((puppet.detail("a").await.0, puppet.detail("b").await.0), (200, 200));
}

#[tokio::test]
async fn a_wrong_order_is_refused_and_changes_nothing() {
    let puppet = Puppet::new().await;
    let orders = [
        (json!({"mode": "sometimes"}), "sometimes"),
        (json!({"mode": "ark", "asse": "a"}), "asse"),
        (json!({"mode": "ark", "after_ms": 5}), "after_ms"),
        (json!({"asset": "a"}), "mode"),
    ];
    for (order, named) in orders {
        let (status, body) = puppet.send("PUT", "/control/gateway", order).await.told();
        assert_eq!(status, 400);
        assert!(body["error"].as_str().unwrap().contains(named), "{body}");
    }
    assert_eq!(puppet.detail("none").await.1["code"], -1);
}

async fn fault(puppet: &Puppet, operation: &str, deed: Value) {
    puppet.order("POST", "faults", json!({"operation": operation, "times": 1, "do": deed})).await;
}

#[tokio::test]
async fn a_fault_wins_over_a_mode() {
    let puppet = Puppet::of("wrong_key").await;
    fault(&puppet, "delete", json!({"pretend": true})).await;
    assert_eq!(puppet.delete("a").await.1["code"], "0");
    fault(&puppet, "detail", json!({"answer": {"status": 503}})).await;
    assert_eq!(puppet.send("GET", &format!("{ASSETS}/a"), Value::Null).await.status, 503);
    fault(&puppet, "delete", json!({"delay_ms": 1})).await;
    assert_eq!(puppet.delete("a").await.0, 401, "a late answer is still the gateway's");
    fault(&puppet, "delete", json!({"answer": {"status": 500, "body": {}, "took_effect": true}})).await;
    assert_eq!(puppet.delete("a").await.0, 500);
    assert_eq!(puppet.logged().await, json!([500, null, true]));
    assert!(!puppet.exists("a").await);
}

#[tokio::test]
async fn a_fault_is_answered_in_the_words_of_the_gateway() {
    let puppet = Puppet::of("ark").await;
    fault(&puppet, "delete", json!({"pretend": true})).await;
    assert_eq!(puppet.delete("a").await.1["Result"], json!({}));
    assert!(puppet.exists("a").await);
    puppet.delete("a").await;
    fault(&puppet, "detail", json!({"stale": true})).await;
    assert_eq!(puppet.detail("a").await.1["Result"]["status"], "Active");
    assert_eq!(puppet.logged().await, json!([200, "found", false]));
}

#[tokio::test]
async fn capacity_comes_before_the_mode() {
    let puppet = Puppet::of("wrong_key").await;
    puppet.order("PUT", "capacity", json!({"per_second": 0.001, "retry_after_s": 7})).await;
    assert_eq!(puppet.detail("a").await.0, 401);
    let refused = puppet.send("GET", &format!("{ASSETS}/a"), Value::Null).await;
    assert_eq!((refused.status, &refused.headers[header::RETRY_AFTER]), (429, &"7".parse().unwrap()));
}

#[tokio::test]
async fn a_task_is_the_same_job() {
    let puppet = Puppet::new().await;
    let task = puppet.send("GET", &format!("{TASKS}/j"), Value::Null).await;
    assert_eq!(task.told(), (200, json!({"code": 0, "msg": null, "data": {"id": "j", "status": "processing"}})));
    let calls = puppet.send("GET", "/control/calls", Value::Null).await.json();
    assert_eq!((&calls["calls"][0]["operation"], &calls["calls"][0]["job"]), (&json!("job"), &json!("j")));
    assert_eq!(puppet.send("GET", &format!("{TASKS}/none"), Value::Null).await.json()["code"], -1);
}
