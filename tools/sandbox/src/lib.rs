//! A stand-in for the provider and for a job registry, with faults on demand.
//!
//! Tests, the demo and compose run against it as a black box: it shares no code with the worker, so a mistake in the
//! worker's idea of the provider cannot hide here. What it answers follows the provider's documented API; where that
//! is silent, the sandbox makes a choice and tests use faults to try the others.
//!
//! | Part | Where |
//! | --- | --- |
//! | provider | `{address}/kyyReactApiServer/…`, needs `Authorization: Bearer {token}` |
//! | files | `GET /files/{asset_id}`, without a key: the bytes of an asset, which its detail call points at |
//! | job registry | `GET /jobs/{asset_id}`, needs the registry's token when there is one |
//! | control | `/control/…`: assets, jobs, faults, gateways, latency, capacity, the log of calls; see `control.rs` |
//!
//! The binary serves it as a process. The worker's tests call [`serve`] instead, so Cargo builds the sandbox of the same
//! sources with them.

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit};
use tokio::net::TcpListener;

mod answer;
mod call;
mod capacity;
mod control;
mod fault;
mod file;
mod gateway;
mod provider;
mod raw;
mod server;
mod work;
mod world;

/// Room for a `POST /control/assets` of some hundred thousand IDs.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// The keys that callers must carry, and what there is at the start.
pub struct Settings {
    /// Of provider calls, as `Authorization: Bearer KEY`; anything else is answered 401.
    pub token: String,
    /// Of `GET /jobs/{asset_id}`; without it the registry is open.
    pub jobs_token: Option<String>,
    /// Assets that exist from the start.
    pub assets: Vec<String>,
    /// Whether calls are logged from the start; `PUT /control/log` changes it.
    pub keep_log: bool,
}

/// Answers calls until `stop` resolves, then lets running calls finish for two seconds.
pub async fn serve(listener: TcpListener, settings: &Settings, stop: impl Future<Output = ()>) {
    let sandbox = Arc::new(call::Sandbox::new(&settings.token, settings.jobs_token.as_deref()));
    sandbox.world().log_off = !settings.keep_log;
    settings.assets.iter().for_each(|id| sandbox.world().add_asset(id.clone(), world::Asset::new(None, None)));
    server::run(listener, router(sandbox), stop).await;
}

fn router(sandbox: Arc<call::Sandbox>) -> Router {
    Router::new()
        .merge(provider::routes())
        .nest("/control", control::routes())
        .fallback(provider::no_handler)
        .method_not_allowed_fallback(provider::no_handler)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(sandbox)
}
