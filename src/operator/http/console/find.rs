//! What is on record of an asset, a request or a case, with its history.

use askama::Template;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::{Here, notice, page as shown, second};
use crate::contract::message::{Backup, Proof};
use crate::neighbours::ledger::{Change, Entry};
use crate::platform::text::plain_json;

/// Requests shown at most.
const MOST: u32 = 50;

/// What is looked for.
#[derive(Deserialize)]
pub(super) struct SearchQuery {
    #[serde(default)]
    q: String,
}

#[derive(Template)]
#[template(path = "operator/http/console/find.html")]
struct FindPage {
    key: String,
    requests: Vec<FoundRequest>,
    /// Whether there may be more.
    cut: bool,
}

struct FoundRequest {
    id: String,
    asset: String,
    case: String,
    dry_run: bool,
    /// An outcome, or `open`.
    outcome: String,
    /// Empty where the asset is not said to be gone.
    proof: &'static str,
    requested_by: String,
    reason: String,
    detail: String,
    asked_at: String,
    backup: Option<Backup>,
    history: Vec<HistoryStep>,
    event: String,
}

struct HistoryStep {
    at: String,
    state: String,
    attempt: u32,
    why: String,
}

pub(super) async fn page(Shared(here): Shared<Here>, Query(asked): Query<SearchQuery>) -> Response {
    let key = asked.q.trim().to_owned();
    if key.is_empty() {
        return shown(StatusCode::OK, &FindPage { key, requests: Vec::new(), cut: false });
    }
    match here.state.ledger.find(&key, MOST).await {
        Ok(found) => {
            let cut = found.len() == MOST as usize;
            // The latest first: an operator looks for it most often.
            let requests = found.iter().rev().map(|(entry, history)| FoundRequest::new(entry, history)).collect();
            shown(StatusCode::OK, &FindPage { key, requests, cut })
        }
        Err(error) => {
            tracing::warn!(%error, "a question to the ledger was not answered");
            notice(StatusCode::SERVICE_UNAVAILABLE, "The ledger cannot be asked now", error.to_string())
        }
    }
}

impl FoundRequest {
    fn new(entry: &Entry, history: &[Change]) -> Self {
        // What the worker itself wrote, so always JSON; of a tombstone there is none.
        let json = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let asked: Value = json(&entry.request).unwrap_or_default();
        let event: Option<Value> = json(&entry.event);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let step = |change: &Change| HistoryStep {
            at: second(change.at),
            state: change.state.clone(),
            attempt: change.attempts,
            why: change.why.clone().unwrap_or_default(),
        };
        Self {
            id: entry.request_id.to_string(),
            asset: entry.asset_id.clone().unwrap_or_default(),
            case: entry.case_id.clone().unwrap_or_default(),
            dry_run: entry.dry_run,
            outcome: entry.outcome.clone().unwrap_or_else(|| "open".to_owned()),
            proof: entry.proof.map(Proof::as_str).unwrap_or_default(),
            requested_by: text(&asked["requested_by"]),
            reason: text(&asked["reason"]),
            detail: event.as_ref().map(|event| text(&event["data"]["detail"])).unwrap_or_default(),
            asked_at: second(entry.first_seen),
            backup: entry.backup.clone(),
            history: history.iter().map(step).collect(),
            event: event.map(|event| plain_json(&format!("{event:#}"))).unwrap_or_default(),
        }
    }
}
