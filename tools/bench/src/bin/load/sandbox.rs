//! The stand-in for the provider, and its strings.

use std::path::Path;

use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Result;
use super::process::Process;

pub struct Sandbox {
    pub url: String,
    pub process: Process,
    client: Client,
}

/// What its limiter says, in sums since it was set.
#[derive(Clone, Copy, Deserialize)]
pub struct Capacity {
    /// The rate now.
    pub per_second: f64,
    /// The rate, added up over time.
    pub allowed: f64,
    pub admitted: f64,
    pub refused: f64,
}

impl Sandbox {
    pub async fn start(dir: &Path, token: &str) -> Result<Self> {
        let mut process = Process::spawn(dir, "sandbox", &["--no-log", "--token", token], &[])?;
        let url = process.address().await?;
        Ok(Self { url, process, client: Client::builder().no_proxy().build()? })
    }

    /// For one round: every asset of the prefix exists, every call takes `latency_ms`, as many calls a second as
    /// `capacity` says.
    pub async fn prepare(&self, assets: &str, latency_ms: u64, capacity: &Value) -> Result<()> {
        self.send(Method::PUT, "endless", &json!({ "prefix": assets })).await?;
        self.send(Method::PUT, "latency", &json!({ "ms": latency_ms })).await?;
        self.send(Method::PUT, "capacity", capacity).await?;
        Ok(())
    }

    pub async fn capacity(&self) -> Result<Capacity> {
        Ok(serde_json::from_value(self.send(Method::GET, "capacity", &Value::Null).await?)?)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/control/{path}", self.url);
        let answer = self.client.request(method, &url).body(body.to_string()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("sandbox: {url}: {status} {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }
}
