//! The erasure report of a case: for a person as a page, for a machine as JSON.

use std::collections::BTreeMap;

use askama::Template;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::ledger::{Change, Entry};
use crate::message::Backup;

/// Everything the ledger says of one case.
#[derive(Debug, Serialize, Template)]
#[template(path = "cli/ledger/report.html")]
pub(super) struct Report {
    case_id: String,
    /// How many requests the case was said to have.
    case_size: Option<u32>,
    /// How many of them never came.
    missing: usize,
    made_at: String,
    version: &'static str,
    /// Requests by outcome; `open` are those without one yet.
    counts: BTreeMap<String, usize>,
    lines: Vec<Line>,
}

/// One request of the case.
#[derive(Debug, Serialize)]
struct Line {
    asset_id: String,
    /// Name and type, as the provider gave them before the deletion.
    described: String,
    request_id: String,
    asked_at: String,
    requested_by: String,
    reason: String,
    outcome: String,
    decided_at: String,
    verified: String,
    /// A copy that was kept of what was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<Backup>,
    entries: usize,
    /// Of the last entry.
    hash: String,
}

impl Report {
    pub(super) fn new(
        case_id: &str,
        case_size: Option<u32>,
        requests: &[(Entry, Vec<Change>)],
        now: Timestamp,
    ) -> Self {
        let lines: Vec<Line> = requests.iter().map(|(entry, history)| Line::new(entry, history)).collect();
        let mut counts = BTreeMap::new();
        for line in &lines {
            *counts.entry(line.outcome.clone()).or_default() += 1;
        }
        let (case_id, made_at, version) = (case_id.to_owned(), second(now), env!("CARGO_PKG_VERSION"));
        let missing = case_size.map_or(0, |size| (size as usize).saturating_sub(lines.len()));
        Self { case_id, case_size, missing, made_at, version, counts, lines }
    }
}

impl Line {
    fn new(entry: &Entry, history: &[Change]) -> Self {
        // What the worker itself wrote, so always JSON; a row edited by hand shows as empty fields, and in `verify`.
        let json = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let asked: Value = json(&entry.request).unwrap_or_default();
        let event: Value = json(&entry.event).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let asset = &event["data"]["asset"];
        let described = [text(&asset["name"]), text(&asset["type"])].into_iter().filter(|part| !part.is_empty());
        Self {
            asset_id: entry.asset_id.clone().unwrap_or_default(),
            described: described.collect::<Vec<_>>().join(", "),
            request_id: entry.request_id.to_string(),
            asked_at: second(entry.first_seen),
            requested_by: text(&asked["requested_by"]),
            reason: text(&asked["reason"]),
            outcome: entry.outcome.clone().unwrap_or_else(|| "open".to_owned()),
            decided_at: entry.outcome.as_ref().map(|_| second(entry.updated)).unwrap_or_default(),
            verified: verified(entry, &event["data"], history),
            backup: entry.backup.clone(),
            entries: history.len(),
            hash: history.last().map(|change| change.hash.clone()).unwrap_or_default(),
        }
    }

    /// What the page makes stand out.
    fn class(&self) -> &'static str {
        match self.outcome.as_str() {
            "deleted" | "already_absent" => "gone",
            "open" => "open",
            _ => "not",
        }
    }
}

/// How it is known that the asset is gone, or why it is not.
fn verified(entry: &Entry, data: &Value, history: &[Change]) -> String {
    let detail = data["detail"].as_str().unwrap_or_default();
    let sent = history.iter().any(|change| change.state == "deleting");
    if entry.event.is_none() && entry.outcome.is_some() {
        return "decided long ago; how it was verified is no longer kept".to_owned();
    }
    match (entry.outcome.as_deref(), data["verified"].as_bool()) {
        (Some("deleted"), Some(true)) => "deleted by this request; looked for afterwards and not found".to_owned(),
        (Some("deleted"), _) => "the provider confirmed the deletion; not looked for afterwards".to_owned(),
        (Some("already_absent"), _) => "two looks did not find it; this request deleted nothing".to_owned(),
        (Some("would_delete"), _) => "a dry run: nothing was deleted".to_owned(),
        (Some(_), _) if sent => {
            format!("{detail}. A DELETE may have been sent before: only a new request can tell whether it took effect")
        }
        (Some(_), _) => format!("not deleted: {detail}"),
        (None, _) => match &entry.waited_for {
            Some(reason) => format!("not decided; waits: {reason}"),
            None => "not decided".to_owned(),
        },
    }
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
