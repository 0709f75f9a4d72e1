//! `/v1`: where an asset or a request stands, for job starters and requesters. Answered out of the ledger, so that every
//! replica says the same; never out of a cache, since a job starter relies on seeing what is on record now.
//!
//! | Call | 200 | 404 |
//! | --- | --- | --- |
//! | `GET /v1/assets/{asset_id}` | `requested`, `deleting` or `deleted`, since when and by which request; `deleted` with its proof | `unknown` |
//! | `GET /v1/requests/{request_id}` | its state, and once decided its event | `unknown` |
//!
//! 400 names the rule that an ID breaks, 401 is a missing or wrong token, 503 a ledger that cannot be asked: a client that
//! wants to start a job must not, on any of them.

use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{HttpState, same};
use crate::contract::message::{AssetId, RequestId};
use crate::neighbours::ledger::{AssetState, Entry, LedgerError};
use crate::platform::text::plain_json;

pub(super) fn routes(state: &HttpState) -> Router<HttpState> {
    Router::new()
        .route("/assets/{asset_id}", get(asset))
        .route("/requests/{request_id}", get(request))
        .layer(from_fn_with_state(state.token.clone(), authorised))
}

async fn asset(Shared(state): Shared<HttpState>, Path(id): Path<String>) -> Response {
    let asset = match AssetId::parse(&id) {
        Ok(asset) => asset,
        Err(rule) => return json_response(StatusCode::BAD_REQUEST, &json!({"error": format!("asset_id: {rule}")})),
    };
    match state.ledger.asset(&asset).await {
        Ok((AssetState::Unknown, _) | (_, None)) => {
            json_response(StatusCode::NOT_FOUND, &json!({"asset_id": id, "state": "unknown"}))
        }
        Ok((stands, Some(entry))) => {
            let since = if stands == AssetState::Requested { entry.first_seen } else { entry.updated };
            let request = entry.request_id.as_str();
            let mut shown = json!({"asset_id": id, "state": stands.as_str(), "since": since, "request_id": request});
            if stands == AssetState::Deleted {
                shown["proof"] = json!(entry.proof);
            }
            json_response(StatusCode::OK, &shown)
        }
        Err(error) => unavailable(&error),
    }
}

async fn request(Shared(state): Shared<HttpState>, Path(id): Path<String>) -> Response {
    let request = match RequestId::parse(&id) {
        Ok(request) => request,
        Err(rule) => return json_response(StatusCode::BAD_REQUEST, &json!({"error": format!("request_id: {rule}")})),
    };
    match state.ledger.request(&request).await {
        Ok(None) => json_response(StatusCode::NOT_FOUND, &json!({"request_id": id, "state": "unknown"})),
        Ok(Some(entry)) => json_response(StatusCode::OK, &shown(entry)),
        Err(error) => unavailable(&error),
    }
}

fn shown(entry: Entry) -> Value {
    let mut shown = json!({
        "request_id": entry.request_id.as_str(), "asset_id": entry.asset_id, "dry_run": entry.dry_run,
        "state": entry.state, "attempts": entry.attempts, "first_seen": entry.first_seen, "updated": entry.updated,
    });
    // What it waited for before it was decided is of no more use.
    if entry.outcome.is_none() {
        shown["waited_for"] = json!(entry.waited_for);
    }
    if let Some(backup) = entry.backup {
        shown["backup"] = json!(backup);
    }
    if let Some(outcome) = entry.outcome {
        shown["outcome"] = json!(outcome);
    }
    if let Some(proof) = entry.proof {
        shown["proof"] = json!(proof);
    }
    // Not kept for ever. As recorded; one that is no JSON is still shown, as text.
    if let Some(event) = entry.event {
        shown["event"] = serde_json::from_str(&event).unwrap_or(Value::String(event));
    }
    shown
}

/// The log has the details; they are not for every client that may ask.
fn unavailable(error: &LedgerError) -> Response {
    tracing::warn!(%error, "a question to the ledger was not answered");
    json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "the ledger cannot be asked now"}))
}

async fn authorised(Shared(token): Shared<Option<SecretString>>, request: Request, next: Next) -> Response {
    let Some(token) = token else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("Bearer "));
    if given.is_some_and(|given| same(given.as_bytes(), token.expose_secret().as_bytes())) {
        return next.run(request).await;
    }
    let said = json!({"error": "needs the header Authorization: Bearer <http.token of the worker>"});
    let mut refused = json_response(StatusCode::UNAUTHORIZED, &said);
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refused
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, plain_json(&body.to_string())).into_response()
}
