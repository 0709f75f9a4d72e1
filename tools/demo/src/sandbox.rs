//! The sandbox's control endpoint.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::Result;
use super::plan::{Kind, Plan};

pub struct Sandbox {
    client: Client,
    url: String,
}

impl Sandbox {
    pub fn new(url: &str) -> Self {
        Self { client: Client::new(), url: url.trim_end_matches('/').to_owned() }
    }

    /// Makes the assets, jobs and faults of the plan.
    pub async fn prepare(&self, plan: &Plan) -> Result<()> {
        self.send(Method::POST, "assets", &json!({"ids": plan.assets()})).await?;
        for kind in [Kind::Waits, Kind::InUse] {
            self.job(plan, kind, "processing").await?;
        }
        for fault in plan.faults() {
            self.send(Method::POST, "faults", &fault).await?;
        }
        Ok(())
    }

    /// Ends the job that the waiting requests wait for.
    pub async fn end_job(&self, plan: &Plan) -> Result<()> {
        self.job(plan, Kind::Waits, "completed").await
    }

    async fn job(&self, plan: &Plan, kind: Kind, status: &str) -> Result<()> {
        let assets: Vec<_> = plan.of(kind).map(|message| &message.asset).collect();
        let path = format!("jobs/video_{}_{kind:?}", plan.run);
        self.send(Method::PUT, &path, &json!({"assets": assets, "status": status})).await?;
        Ok(())
    }

    /// Assets of this run that exist, sorted.
    pub async fn assets(&self, run: &str) -> Result<Vec<String>> {
        let all = self.send(Method::GET, "assets", &Value::Null).await?;
        let ids = all["ids"].as_array().cloned().unwrap_or_default();
        let own = format!("asset-{run}-");
        Ok(ids.iter().filter_map(Value::as_str).filter(|id| id.starts_with(&own)).map(str::to_owned).collect())
    }

    /// Every `DELETE` of this run that the provider got.
    pub async fn deletes(&self, run: &str) -> Result<Vec<Value>> {
        let all = self.send(Method::GET, "calls", &Value::Null).await?;
        let calls = all["calls"].as_array().cloned().unwrap_or_default();
        let own = format!("asset-{run}-");
        let ours = |call: &Value| {
            call["operation"] == "delete" && call["asset"].as_str().is_some_and(|asset| asset.starts_with(&own))
        };
        Ok(calls.into_iter().filter(ours).collect())
    }

    /// Length and SHA-256 of the bytes that an asset has, or had.
    pub async fn file(&self, asset: &str) -> Result<Value> {
        self.send(Method::GET, &format!("files/{asset}"), &Value::Null).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/control/{path}", self.url);
        let mut request = self.client.request(method, &url);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("sandbox: {url}: {status} {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }
}
