//! The dead letters: listed, shown, replayed, dropped.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::{Here, age, notice, page, second};
use crate::engine::dead_letters::{self, Deed, Done, Which};
use crate::neighbours::broker::dead_queue::Letter;

/// Letters looked at for a page.
const MOST: usize = 50;

/// What came of a deed, from one page to the next.
#[derive(Deserialize)]
pub(super) struct DeedResult {
    done: Option<u32>,
}

/// A form of ours.
#[derive(Deserialize)]
pub(super) struct Sent {
    token: String,
    /// For a replay of all with one cause.
    #[serde(default)]
    why: String,
    /// Ticked, for what cannot be undone.
    #[serde(default)]
    sure: String,
    /// Where the answer will be found.
    #[serde(default)]
    request: String,
}

#[derive(Template)]
#[template(path = "operator/http/console/dead_letters.html")]
struct Letters<'a> {
    total: u32,
    complete: bool,
    done: Option<u32>,
    token: &'a str,
    /// How many are shown of each cause.
    causes: BTreeMap<String, usize>,
    lines: Vec<DeadLetterRow>,
}

struct DeadLetterRow {
    id: String,
    why: String,
    detail: String,
    since: String,
    publisher: String,
    request: String,
    asset: String,
}

#[derive(Template)]
#[template(path = "operator/http/console/dead_letter.html")]
struct DeadLetterPage<'a> {
    token: &'a str,
    line: DeadLetterRow,
    requested_by: String,
    at: String,
    properties: &'a [(String, String)],
    bytes: u64,
    body: String,
}

impl DeadLetterRow {
    fn new(letter: &Letter, worker: Option<&str>, now: Timestamp) -> (Self, String) {
        let asked = dead_letters::DeadLetterRequest::of(letter);
        let line = Self {
            id: letter.id.clone(),
            why: letter.why.clone(),
            detail: letter.detail.clone(),
            since: letter.since.map(|since| age(since, now)).unwrap_or_default(),
            publisher: letter.publisher(worker).unwrap_or_default().to_owned(),
            request: asked.request_id.unwrap_or_default(),
            asset: asked.asset_id.unwrap_or_default(),
        };
        (line, asked.requested_by.unwrap_or_default())
    }
}

pub(super) async fn list(Shared(here): Shared<Here>, Query(told): Query<DeedResult>) -> Response {
    let _looking = here.console.0.looking.lock().await;
    let listed = match dead_letters::list(&here.console.0.broker, &Which::All, MOST).await {
        Ok(listed) => listed,
        Err(error) => return not_answered(&error),
    };
    let (worker, now) = (here.console.0.broker.own_user(), Timestamp::now());
    let lines: Vec<DeadLetterRow> =
        listed.letters.iter().map(|letter| DeadLetterRow::new(letter, worker.as_deref(), now).0).collect();
    let mut causes = BTreeMap::new();
    for line in &lines {
        *causes.entry(line.why.clone()).or_default() += 1;
    }
    let (total, complete, token) = (listed.total, listed.complete, here.console.0.login.form_token());
    page(StatusCode::OK, &Letters { total, complete, done: told.done, token, causes, lines })
}

pub(super) async fn show(Shared(here): Shared<Here>, Path(id): Path<String>) -> Response {
    let _looking = here.console.0.looking.lock().await;
    let which = Which::Ids(BTreeSet::from([id]));
    let letter = match dead_letters::list(&here.console.0.broker, &which, 1).await {
        Ok(mut listed) => listed.letters.pop(),
        Err(error) => return not_answered(&error),
    };
    let Some(letter) = letter else { return gone() };
    let (line, requested_by) =
        DeadLetterRow::new(&letter, here.console.0.broker.own_user().as_deref(), Timestamp::now());
    let shown = DeadLetterPage {
        token: here.console.0.login.form_token(),
        line,
        requested_by,
        at: letter.since.map(second).unwrap_or_default(),
        properties: &letter.properties,
        bytes: letter.size(),
        body: dead_letters::shown_body(&letter),
    };
    page(StatusCode::OK, &shown)
}

pub(super) async fn replay(
    Shared(here): Shared<Here>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(sent): Form<Sent>,
) -> Response {
    // Percent-encoded by the page, which shows no text as it is.
    let request = percent_decode_str(&sent.request).decode_utf8_lossy();
    let after = if request.is_empty() {
        "/dead?done=1".to_owned()
    } else {
        format!("/find?q={}", utf8_percent_encode(&request, NON_ALPHANUMERIC))
    };
    here.act(&headers, &sent, Which::Ids(BTreeSet::from([id])), Deed::Replay, Some(after)).await
}

pub(super) async fn replay_all(Shared(here): Shared<Here>, headers: HeaderMap, Form(sent): Form<Sent>) -> Response {
    here.act(&headers, &sent, Which::Why(sent.why.clone()), Deed::Replay, None).await
}

pub(super) async fn drop_for_good(
    Shared(here): Shared<Here>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(sent): Form<Sent>,
) -> Response {
    here.act(&headers, &sent, Which::Ids(BTreeSet::from([id])), Deed::Drop, None).await
}

impl Here {
    async fn act(&self, headers: &HeaderMap, sent: &Sent, which: Which, deed: Deed, after: Option<String>) -> Response {
        let console = &self.console.0;
        if !console.login.sent(headers, &sent.token) {
            return notice(
                StatusCode::FORBIDDEN,
                "Not done",
                "The form did not come from this console. Load the page again.",
            );
        }
        if sent.sure != "yes" {
            return notice(StatusCode::BAD_REQUEST, "Not done", "Tick the box: it cannot be undone.");
        }
        let _looking = console.looking.lock().await;
        match dead_letters::act(&console.broker, &which, deed).await {
            Ok(Done { letters: 0, .. }) => gone(),
            Ok(Done { letters, .. }) => {
                tracing::info!(?which, ?deed, letters, "done at the console");
                let to = after.unwrap_or_else(|| format!("/dead?done={letters}"));
                (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
            }
            Err(error) => not_answered(&error),
        }
    }
}

fn gone() -> Response {
    let text = "It was replayed or dropped, or another operator looks at it just now.";
    notice(StatusCode::NOT_FOUND, "There is no such letter", text)
}

fn not_answered(error: &dyn std::error::Error) -> Response {
    tracing::warn!(%error, "the dead queue could not be looked through");
    let because = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    notice(StatusCode::SERVICE_UNAVAILABLE, "The broker did not answer", format!("{error}{because}"))
}
