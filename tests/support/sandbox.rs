//! The stand-in for the provider and the job registry, and calls of its control endpoint.

use std::net::TcpListener;
use std::ops::Deref;
use std::time::Duration;

use sandbox::Settings;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::until;

/// It answers until it is dropped.
pub struct Sandbox {
    control: Control,
    _stop: oneshot::Sender<()>,
}

/// Its control endpoint. Clones are for tasks of a test's own.
#[derive(Clone)]
pub struct Control {
    pub url: String,
}

impl Deref for Sandbox {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub async fn http_get(url: &str) -> (u16, String) {
    let answer = client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The status of the answer, if there is one soon.
pub async fn try_get(url: &str) -> Option<u16> {
    let answer = client().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
    Some(answer.status().as_u16())
}

/// The text of the answer, if there is one soon.
pub async fn try_text(url: &str) -> Option<String> {
    let answer = client().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
    answer.text().await.ok()
}

impl Sandbox {
    /// On a thread of its own, since that of the test may block.
    pub fn start(token: &str, jobs_token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = Settings {
            token: token.to_owned(),
            jobs_token: Some(jobs_token.to_owned()),
            assets: Vec::new(),
            keep_log: true,
        };
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || serve(listener, &settings, stopped));
        Self { control: Control { url }, _stop: stop }
    }

    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve(listener: TcpListener, settings: &Settings, stopped: oneshot::Receiver<()>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    // `stopped` resolves when the `Sandbox` is dropped. Calls that still hang end with the runtime.
    tokio::select! {
        () = sandbox::serve(listener, settings, std::future::pending()) => {}
        _ = stopped => {}
    }
}

impl Control {
    async fn send(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let mut request = client().request(method, format!("{}/control/{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "sandbox: {path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    pub async fn add(&self, asset: &str) {
        self.add_all([asset.to_owned()]).await;
    }

    pub async fn add_all(&self, assets: impl IntoIterator<Item = String>) {
        let ids: Vec<String> = assets.into_iter().collect();
        self.send(reqwest::Method::POST, "assets", Some(json!({"ids": ids}))).await;
    }

    pub async fn add_named(&self, asset: &str, name: &str, asset_type: &str) {
        self.add_as(asset, json!({"name": name, "assetType": asset_type})).await;
    }

    /// An asset as the sandbox's control endpoint takes it: `name`, `assetType`, `status`, `size`, `url`.
    pub async fn add_as(&self, asset: &str, what: Value) {
        self.send(reqwest::Method::PUT, &format!("assets/{asset}"), Some(what)).await;
    }

    /// Length and SHA-256 of the bytes that its url leads to when nothing goes wrong.
    pub async fn file(&self, asset: &str) -> Value {
        self.send(reqwest::Method::GET, &format!("files/{asset}"), None).await
    }

    /// Every asset of the prefix exists until it is deleted; and calls are not recorded any more, which would be many.
    pub async fn endless(&self, prefix: &str) {
        self.send(reqwest::Method::PUT, "endless", Some(json!({"prefix": prefix}))).await;
        self.send(reqwest::Method::PUT, "log", Some(json!({"keep": false}))).await;
    }

    pub async fn assets(&self) -> Vec<String> {
        let assets = self.send(reqwest::Method::GET, "assets", None).await;
        assets["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    pub async fn exists(&self, asset: &str) -> bool {
        self.send(reqwest::Method::GET, &format!("assets/{asset}"), None).await["exists"] == true
    }

    pub async fn job(&self, job: &str, assets: &[&str], status: &str) {
        let body = json!({"assets": assets, "status": status});
        self.send(reqwest::Method::PUT, &format!("jobs/{job}"), Some(body)).await;
    }

    /// A job that the provider and the registry disagree about.
    pub async fn job_as_registered(&self, job: &str, assets: &[&str], status: &str, registry_status: &str) {
        let body = json!({"assets": assets, "status": status, "registry_status": registry_status});
        self.send(reqwest::Method::PUT, &format!("jobs/{job}"), Some(body)).await;
    }

    /// `times` of 0 means for ever, an empty asset any.
    pub async fn fault(&self, operation: &str, asset: &str, times: u32, what: Value) {
        let mut body = json!({"operation": operation, "do": what});
        if !asset.is_empty() {
            body["asset"] = json!(asset);
        }
        if times > 0 {
            body["times"] = json!(times);
        }
        self.send(reqwest::Method::POST, "faults", Some(body)).await;
    }

    pub async fn no_faults(&self) {
        self.send(reqwest::Method::DELETE, "faults", None).await;
    }

    /// From now on the provider behaves as this gateway does, for one asset or for all (an empty one).
    pub async fn gateway(&self, mode: &str, asset: &str) {
        let mut body = json!({"mode": mode});
        if !asset.is_empty() {
            body["asset"] = json!(asset);
        }
        self.send(reqwest::Method::PUT, "gateway", Some(body)).await;
    }

    /// A `DELETE` is answered at once, and the assets are gone so much later.
    pub async fn slow_deletes(&self, after_ms: u32) {
        let body = json!({"mode": "slow_delete", "after_ms": after_ms});
        self.send(reqwest::Method::PUT, "gateway", Some(body)).await;
    }

    pub async fn latency(&self, ms: u32) {
        self.send(reqwest::Method::PUT, "latency", Some(json!({"ms": ms}))).await;
    }

    pub async fn calls(&self) -> Vec<Value> {
        self.send(reqwest::Method::GET, "calls", None).await["calls"].as_array().unwrap().clone()
    }

    pub async fn calls_of(&self, asset: &str) -> Vec<Value> {
        let path = format!("calls?asset={asset}");
        self.send(reqwest::Method::GET, &path, None).await["calls"].as_array().unwrap().clone()
    }

    /// Waits until so many calls of one operation on one asset have arrived.
    pub async fn until_called(&self, operation: &str, asset: &str, times: usize) {
        until(&format!("{times} {operation} calls on {asset}"), || async {
            let calls = self.calls_of(asset).await;
            (calls.iter().filter(|call| call["operation"] == operation).count() >= times).then_some(())
        })
        .await;
    }
}

/// An answer of the provider, for a fault.
pub fn answer(status: u16, body: &Value) -> Value {
    json!({"answer": {"status": status, "body": body}})
}
