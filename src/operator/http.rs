//! What the worker answers over HTTP: `/metrics`, `/livez`, `/readyz`, `/v1` out of the ledger, and the pages for people.
//!
//! Reads state and changes none, but for the pages, which replay and drop dead letters. The first three ask no
//! other service: a probe must be answered the quicker the worse things are.

pub mod console;
mod server;
mod v1;

use std::time::Duration;

use axum::{
    Router,
    extract::State as Shared,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use secrecy::SecretString;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use self::console::Console;
use crate::neighbours::broker::BrokerState;
use crate::neighbours::ledger::Ledger;
use crate::neighbours::pace::intake::Intake;
use crate::platform::telemetry::metrics::Metrics;
use crate::platform::text::plain_json;

/// How long open connections may take to finish after shutdown began. Without a limit, a client that has connected and
/// sends nothing would keep the process from ending.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What the endpoints read.
#[derive(Debug, Clone)]
pub struct HttpState {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// Why nothing is consumed, for `/readyz`.
    pub line: Intake,
    /// How the connection to the broker is, for `/readyz`.
    pub broker: watch::Receiver<BrokerState>,
    /// For `/v1`.
    pub ledger: Ledger,
    /// What `/v1` wants to hear, if anything.
    pub token: Option<SecretString>,
    /// Whether nothing is ever deleted, for `/readyz`.
    pub dry_run: bool,
    /// The pages for people, if they are wanted.
    pub console: Option<Console>,
}

/// Where connections come in.
#[derive(Debug)]
pub struct Listeners {
    /// For everything that the console's does not serve.
    pub http: TcpListener,
    /// For the pages for people alone.
    pub console: Option<TcpListener>,
}

/// Serves until `shutdown` is cancelled, then lets running requests finish for at most two seconds.
pub async fn serve(listeners: Listeners, state: HttpState, shutdown: CancellationToken) {
    let drained = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_LIMIT).await;
        }
    };
    tokio::select! {
        // Nothing is lost when this arm is dropped half-way: only reads are served.
        () = serve_both(listeners, state, shutdown) => {}
        () = drained => {}
    }
}

async fn serve_both(listeners: Listeners, state: HttpState, shutdown: CancellationToken) {
    let (metrics, most) = (state.metrics.clone(), server::most_connections());
    let pages = state.console.clone().map(|console| console::routes(&state, console)).unwrap_or_default();
    let Some(console) = listeners.console else {
        return server::serve(listeners.http, router(pages, state), most, metrics, shutdown).await;
    };
    let pages = pages.with_state(state.clone());
    tokio::join!(
        server::serve(listeners.http, router(Router::new(), state), most, metrics.clone(), shutdown.clone()),
        server::serve(console, pages, server::FEWEST, metrics, shutdown)
    );
}

fn router(pages: Router<HttpState>, state: HttpState) -> Router {
    pages
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .nest("/v1", v1::routes(&state))
        .with_state(state)
}

/// In a time that does not tell how much of it is right.
fn same(given: &[u8], token: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    given.ct_eq(token).into()
}

async fn metrics(Shared(state): Shared<HttpState>) -> Response {
    match state.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written out");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    broker: &'static str,
    /// Why the last try to connect failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker_why: Option<String>,
    /// An operator who believes in a deletion must be able to see that there are none.
    dry_run: bool,
    stopped: Vec<Stopped>,
}

#[derive(Serialize)]
struct Stopped {
    cause: &'static str,
    why: String,
}

async fn readyz(Shared(state): Shared<HttpState>) -> Response {
    let readiness = Readiness::of(&state);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&readiness) {
        Ok(json) => (status, [(header::CONTENT_TYPE, "application/json")], plain_json(&json)).into_response(),
        Err(error) => {
            tracing::error!(%error, "readiness cannot be written out");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Readiness {
    fn of(state: &HttpState) -> Self {
        // The task that keeps the connection has ended when the channel is closed: its last word is worth nothing.
        let abandoned = state.broker.has_changed().is_err();
        let broker = if abandoned { BrokerState::Connecting } else { state.broker.borrow().clone() };
        let stopped: Vec<_> =
            state.line.stopped().into_iter().map(|(stop, why)| Stopped { cause: stop.as_str(), why }).collect();
        Self {
            // A blocked connection can publish no result, so nothing could be finished.
            ready: broker == BrokerState::Connected && stopped.is_empty(),
            broker: match &broker {
                BrokerState::Connecting | BrokerState::Refused(_) => "connecting",
                BrokerState::Connected => "connected",
                BrokerState::Blocked => "blocked",
            },
            broker_why: if let BrokerState::Refused(why) = broker { Some(why.to_string()) } else { None },
            dry_run: state.dry_run,
            stopped,
        }
    }
}

#[cfg(test)]
mod tests;
