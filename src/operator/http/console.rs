//! The pages for people, at `/`: what waits, what runs, what was decided, and the dead letters. Made here, whole; nothing
//! runs in the browser.
//!
//! Everything needs a login. What changes something is a `POST` with a token that only our own pages know.

mod chart;
mod dead_letters;
mod find;
mod glance;
mod login;
mod overview;
mod tries;

use std::sync::Arc;

use askama::Template;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, extract::Request, middleware::Next};
use jiff::Timestamp;
use uuid::Uuid;

use self::glance::Glances;
use self::login::Login;
use super::HttpState;
use crate::neighbours::broker::topology::TopologySettings;
use crate::neighbours::pace::gate::Gate;
use crate::settings::{self, Settings};

/// More than any form here has, in bytes.
const LARGEST_FORM: usize = 16 * 1024;

/// Sent with everything: no script, no frame, no other place to load from or to send to, nothing kept.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
];

/// What the pages need beside what the other endpoints have; clones share it.
#[derive(Clone)]
pub struct Console(Arc<ConsoleParts>);

struct ConsoleParts {
    login: Login,
    broker: settings::BrokerSettings,
    topology: TopologySettings,
    brake: Option<settings::BrakeSettings>,
    gate: Gate,
    glances: Glances,
    /// Held by the request that looks at dead letters: two looks at once would each see a part of them.
    looking: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// The console, if the settings have one. `ledger` is the ledger's random ID.
    #[must_use]
    pub fn new(settings: &Settings, gate: Gate, ledger: Uuid) -> Option<Self> {
        let login = Login::new(settings.console.as_ref()?, ledger);
        Some(Self(Arc::new(ConsoleParts {
            login,
            broker: settings.broker.clone(),
            topology: TopologySettings::of(settings),
            brake: settings.brake,
            gate,
            glances: Glances::default(),
            looking: tokio::sync::Mutex::default(),
        })))
    }
}

/// What a handler is given.
#[derive(Clone)]
struct Here {
    state: HttpState,
    console: Console,
}

pub(super) fn routes(state: &HttpState, console: Console) -> Router<HttpState> {
    let here = Here { state: state.clone(), console };
    Router::new()
        .route("/", get(overview::page))
        .route("/find", get(find::page))
        .route("/dead", get(dead_letters::list))
        .route("/dead/replay", post(dead_letters::replay_all))
        .route("/dead/{id}", get(dead_letters::show))
        .route("/dead/{id}/replay", post(dead_letters::replay))
        .route("/dead/{id}/drop", post(dead_letters::drop_for_good))
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .layer(from_fn_with_state(here.clone(), login::required))
        .route("/console.css", get(style))
        .layer(from_fn(with_headers))
        .with_state(here)
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css")], include_str!("console/console.css")).into_response()
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    response
}

/// A page, or what went wrong with it.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the console cannot be written out");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that only says something.
#[derive(Template)]
#[template(path = "operator/http/console/notice.html")]
struct NoticePage {
    title: &'static str,
    text: String,
}

fn notice(status: StatusCode, title: &'static str, text: impl Into<String>) -> Response {
    page(status, &NoticePage { title, text: text.into() })
}

/// To the second, as people read it. All times are UTC.
fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long ago, in one unit.
fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
