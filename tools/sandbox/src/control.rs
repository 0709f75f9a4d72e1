//! The strings of the puppet: JSON, no key, never logged as a call.
//!
//! | Call | Body | Answer |
//! | --- | --- | --- |
//! | `PUT /control/assets/{id}` | `{"name","assetType","status","size","url"}`, all optional | `{}`; `size` is of its file, in bytes; `url` is what detail says, `null` too |
//! | `GET /control/assets/{id}` | | `{"exists":true\|false}` |
//! | `POST /control/assets` | `{"ids":[…]}` | `{}` |
//! | `GET /control/assets` | | `{"ids":[…]}` that exist, sorted |
//! | `GET /control/files/{id}` | | `{"length","sha256"}` of the asset's file, also when it is deleted |
//! | `PUT /control/endless` | `{"prefix"?}` | `{}`; every asset of the prefix exists until deleted, in no list; again: anew |
//! | `PUT /control/jobs/{id}` | `{"assets":[…],"status":"processing","registry_status"?}`; without `assets` a known job keeps its own | `{}` |
//! | `POST /control/faults` | `{"operation","asset"?,"times"?,"do"}`, see below | `{"id":n}` |
//! | `DELETE /control/faults` | | `{}`; calls that hang already go on hanging |
//! | `PUT /control/gateway` | `{"mode","asset"?,"after_ms"?}`, see `gateway.rs` | `{}`; without `asset` for all calls; the mode of an asset wins |
//! | `DELETE /control/gateway` | | `{}`; all modes are forgotten; deletions that were promised still come |
//! | `PUT /control/latency` | `{"ms":n}`, before each call takes effect | `{}` |
//! | `PUT /control/capacity` | `{"per_second","retry_after_s"?}`, or `{"schedule":[{"per_second","for_s"},…],"retry_after_s"?}` for ever, or `{}` | `{}`; see `capacity.rs` |
//! | `GET /control/capacity` | | `{"per_second","allowed","admitted","refused"}`: the rate now, and sums since it was set |
//! | `PUT /control/log` | `{"keep":false}` | `{}`; calls are not logged any more |
//! | `GET /control/calls[?asset=ID]` | | `{"calls":[…]}`, see `world::Call` |
//! | `DELETE /control/calls` | | `{}`; numbers go on |
//!
//! Provider calls above the capacity are answered 429, with `Retry-After` when it says so, and not done. Calls to the job
//! registry are not limited. Next come the faults, and last the modes of the gateway.
//!
//! `do` is one of `{"answer":{"status","headers"?,"body"?,"took_effect"?}}`, `{"hang":true|"before"|"after"}`,
//! `{"cut":"before"|"after"|"midway"}`, `{"pretend":true}`, `{"stale":true}`, `{"delay_ms":n}`, for a `delete`
//! `{"late":{"ms","hang"?}}` (the call is cut or hung, and the asset is deleted so much later), and for a `file`
//! `{"send":{…}}`, see `raw::Sending`. A wrong body is answered 400 `{"error"}`.

use std::{borrow::Cow, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{StatusCode, Uri},
    response::Response,
    routing::{delete, get, post, put},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    call::{Sandbox, json_response},
    capacity, fault,
    file::Content,
    gateway::{Gateway, GatewayOrder},
    world::{Address, Asset, Endless, Job},
};

type Shared = State<Arc<Sandbox>>;

/// `Err` says what is wrong with the request, as HTTP 400.
type Told = Result<Value, String>;

pub fn routes() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/assets/{id}", put(put_asset).get(get_asset))
        .route("/assets", post(post_assets).get(get_assets))
        .route("/files/{id}", get(get_file))
        .route("/endless", put(put_endless))
        .route("/jobs/{id}", put(put_job))
        .route("/faults", post(post_fault).merge(delete(delete_faults)))
        .route("/gateway", put(put_gateway).delete(delete_gateway))
        .route("/latency", put(put_latency))
        .route("/capacity", put(put_capacity).get(get_capacity))
        .route("/log", put(put_log))
        .route("/calls", get(get_calls).delete(delete_calls))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct NewAsset {
    name: Option<String>,
    #[serde(rename = "assetType")]
    kind: Option<String>,
    status: Option<String>,
    size: Option<u64>,
    /// Absent is the sandbox's own; `null` is `null`.
    #[serde(default, deserialize_with = "told_address")]
    url: Address,
}

fn told_address<'de, D: Deserializer<'de>>(url: D) -> Result<Address, D::Error> {
    Option::deserialize(url).map(Address::Told)
}

async fn put_asset(State(sandbox): Shared, Path(id): Path<String>, body: Bytes) -> Response {
    let new = if body.is_empty() { Ok(NewAsset::default()) } else { parse(&body) };
    told(new.map(|new| {
        let mut asset = Asset::new(new.name, new.kind);
        asset.status = new.status.unwrap_or(asset.status);
        asset.size = new.size.unwrap_or(asset.size);
        asset.address = new.url;
        sandbox.world().add_asset(id, asset);
        json!({})
    }))
}

async fn get_asset(State(sandbox): Shared, Path(id): Path<String>) -> Response {
    let exists = sandbox.world().asset(&id).is_some();
    told(Ok(json!({ "exists": exists })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAssets {
    ids: Vec<String>,
}

async fn post_assets(State(sandbox): Shared, body: Bytes) -> Response {
    told(parse(&body).map(|new: NewAssets| {
        let mut world = sandbox.world();
        new.ids.into_iter().for_each(|id| world.add_asset(id, Asset::new(None, None)));
        json!({})
    }))
}

async fn get_assets(State(sandbox): Shared) -> Response {
    let ids: Vec<_> = sandbox.world().assets.keys().cloned().collect();
    told(Ok(json!({ "ids": ids })))
}

async fn get_file(State(sandbox): Shared, Path(id): Path<String>) -> Response {
    let content = {
        let world = sandbox.world();
        let gone = || world.gone.get(&id).map(Cow::Borrowed);
        world.asset(&id).or_else(gone).map(|asset| Content::of(&id, &asset))
    };
    let Some(content) = content else { return told(Err(format!("there never was an asset {id:?}"))) };
    let length = content.length;
    // Seconds for gigabytes, in which other calls have to be answered.
    let digest = tokio::task::spawn_blocking(move || content.sha256()).await;
    told(digest.map(|sha256| json!({ "length": length, "sha256": sha256 })).map_err(|error| error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEndless {
    prefix: Option<String>,
}

async fn put_endless(State(sandbox): Shared, body: Bytes) -> Response {
    told(parse(&body).map(|new: NewEndless| {
        sandbox.world().endless = new.prefix.map(Endless::new);
        json!({})
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewJob {
    assets: Option<Vec<String>>,
    status: String,
    registry_status: Option<String>,
}

async fn put_job(State(sandbox): Shared, Path(id): Path<String>, body: Bytes) -> Response {
    told(parse(&body).and_then(|new: NewJob| {
        let mut world = sandbox.world();
        let known = world.jobs.remove(&id);
        let created = known.as_ref().map_or_else(Timestamp::now, |job| job.created);
        let assets = new.assets.or(known.map(|job| job.assets)).ok_or("a new job needs assets")?;
        world.jobs.insert(id, Job { assets, status: new.status, registry_status: new.registry_status, created });
        Ok(json!({}))
    }))
}

async fn post_fault(State(sandbox): Shared, body: Bytes) -> Response {
    told(parse(&body).and_then(|order: fault::Order| {
        let id = sandbox.world().faults.add(order)?;
        Ok(json!({ "id": id }))
    }))
}

async fn delete_faults(State(sandbox): Shared) -> Response {
    sandbox.world().faults.clear();
    told(Ok(json!({})))
}

async fn put_gateway(State(sandbox): Shared, body: Bytes) -> Response {
    told(parse(&body).and_then(|order: GatewayOrder| {
        sandbox.world().gateway.set(order)?;
        Ok(json!({}))
    }))
}

async fn delete_gateway(State(sandbox): Shared) -> Response {
    sandbox.world().gateway = Gateway::default();
    told(Ok(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    ms: u64,
}

async fn put_latency(State(sandbox): Shared, body: Bytes) -> Response {
    told(parse(&body).map(|latency: Latency| {
        sandbox.world().latency_ms = latency.ms;
        json!({})
    }))
}

async fn put_capacity(State(sandbox): Shared, body: Bytes) -> Response {
    told(parse(&body).and_then(|order: capacity::Order| {
        sandbox.world().capacity.set(order, Instant::now())?;
        Ok(json!({}))
    }))
}

async fn get_capacity(State(sandbox): Shared) -> Response {
    told(Ok(sandbox.world().capacity.told(Instant::now())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    keep: bool,
}

async fn put_log(State(sandbox): Shared, body: Bytes) -> Response {
    told(parse(&body).map(|log: Log| {
        sandbox.world().keep_log(log.keep);
        json!({})
    }))
}

/// The asset is compared as written in the query: valid asset IDs need no percent-encoding.
async fn get_calls(State(sandbox): Shared, RawQuery(query): RawQuery) -> Response {
    let wanted = match query.as_deref() {
        None | Some("") => None,
        Some(query) => match query.strip_prefix("asset=") {
            Some(asset) => Some(asset),
            None => return told(Err(format!("the query is asset=ID, not {query:?}"))),
        },
    };
    // Copied out, so that writing JSON of a long log does not hold up the calls.
    let of_wanted = |asset: &Option<String>| wanted.is_none_or(|wanted| asset.as_deref() == Some(wanted));
    let calls: Vec<_> = sandbox.world().calls.iter().filter(|call| of_wanted(&call.asset)).cloned().collect();
    told(Ok(json!({ "calls": calls })))
}

async fn delete_calls(State(sandbox): Shared) -> Response {
    sandbox.world().calls.clear();
    told(Ok(json!({})))
}

/// Nested routers see the path without `/control`.
async fn unknown(uri: Uri) -> Response {
    let error = format!("no such control call: /control{}", uri.path());
    json_response(StatusCode::NOT_FOUND, &json!({ "error": error }))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn told(result: Told) -> Response {
    match result {
        Ok(body) => json_response(StatusCode::OK, &body),
        Err(error) => json_response(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    }
}
