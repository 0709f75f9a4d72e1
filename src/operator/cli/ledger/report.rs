//! The erasure report of a case: for a person as a page, for a machine as JSON.

use std::collections::BTreeMap;

use askama::Template;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::contract::message::{Backup, Proof};
use crate::neighbours::ledger::{Case, Change, Entry};

/// Most open requests that are named in a sentence; all of them have a line, too.
const MOST_NAMED: usize = 100;

/// Everything the ledger says of one case.
#[derive(Debug, Serialize, Template)]
#[template(path = "operator/cli/ledger/report.html")]
pub(super) struct ErasureReport {
    case_id: String,
    /// How many requests the case was said to have.
    case_size: Option<u32>,
    /// How many of them never came.
    missing: usize,
    /// Messages that were answered `request_conflict`: they count as requests of the case and have no line.
    conflicts: usize,
    /// The requests that are not decided yet.
    open: Vec<OpenRequest>,
    made_at: String,
    version: &'static str,
    /// Requests by outcome; `open` are those without one yet.
    counts: BTreeMap<String, usize>,
    /// Requests after which the asset is said to be gone, by how well that is known.
    proofs: BTreeMap<&'static str, usize>,
    lines: Vec<ReportedRequest>,
}

/// A request that is not decided yet.
#[derive(Debug, Serialize)]
struct OpenRequest {
    request_id: String,
    asset_id: String,
    /// Empty while it did not have to wait.
    waits_for: String,
}

/// One request of the case.
#[derive(Debug, Serialize)]
struct ReportedRequest {
    asset_id: String,
    /// Name and type, as the provider gave them before the deletion.
    described: String,
    request_id: String,
    asked_at: String,
    requested_by: String,
    reason: String,
    outcome: String,
    /// Empty where the asset is not said to be gone.
    proof: &'static str,
    decided_at: String,
    verified: String,
    /// A copy that was kept of what was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<Backup>,
    entries: usize,
    /// Of the last entry.
    hash: String,
}

impl ErasureReport {
    /// `case` has to be read before the requests: what was decided in between is then called missing, and not the
    /// other way round.
    pub(super) fn new(case_id: &str, case: Option<&Case>, requests: &[(Entry, Vec<Change>)], now: Timestamp) -> Self {
        let lines: Vec<ReportedRequest> =
            requests.iter().map(|(entry, history)| ReportedRequest::new(entry, history)).collect();
        let mut counts = BTreeMap::new();
        let mut proofs = BTreeMap::new();
        for line in &lines {
            *counts.entry(line.outcome.clone()).or_default() += 1;
            if !line.proof.is_empty() {
                *proofs.entry(line.proof).or_default() += 1;
            }
        }
        let open: Vec<OpenRequest> = requests.iter().filter_map(|(entry, _)| OpenRequest::new(entry)).collect();
        let (case_id, made_at, version) = (case_id.to_owned(), second(now), env!("CARGO_PKG_VERSION"));
        let case_size = case.map(|case| case.size);
        let decided = case.map_or(0, |case| case.decided.values().map(|count| *count as usize).sum());
        let conflicts = decided.saturating_sub(lines.len() - open.len());
        let arrived = lines.len() + conflicts;
        let missing = case_size.map_or(0, |size| (size as usize).saturating_sub(arrived));
        Self { case_id, case_size, missing, conflicts, open, made_at, version, counts, proofs, lines }
    }

    /// What is missing of the case, in sentences.
    pub(super) fn missing_parts(&self) -> Vec<String> {
        let mut parts = vec![self.arrived()];
        if self.conflicts > 0 {
            let conflicts = self.conflicts;
            parts.push(format!(
                "Messages answered request_conflict, which count as rejected and have no line here: {conflicts}."
            ));
        }
        if !self.open.is_empty() {
            let named: Vec<String> = self.open.iter().take(MOST_NAMED).map(OpenRequest::told).collect();
            let more = if self.open.len() > MOST_NAMED { ", …" } else { "" };
            parts.push(format!("Requests that are open: {}: {}{more}.", self.open.len(), named.join(", ")));
        }
        parts
    }

    /// What a proof says, for the summary.
    fn proof_means(name: &str) -> &'static str {
        match Proof::read(name) {
            Some(Proof::Erased) => "found before, deleted, and not found afterwards while an asset was found",
            Some(Proof::Absent) => "was not there: not found twice, while an asset was found between and after",
            Some(Proof::ProviderWord) => "the provider says that it deleted it; this was not seen",
            Some(Proof::Unconfirmed) | None => "not known: the key may not see the asset; not counted as erased",
        }
    }

    fn arrived(&self) -> String {
        let arrived = self.lines.len() + self.conflicts;
        match (self.case_size, self.missing) {
            (None, _) => "No request said how many requests the case has (case_size), so it is not known whether some \
                          were never asked."
                .to_owned(),
            (Some(size), 0) if arrived > size as usize => {
                format!("The case was said to have {size} requests, and {arrived} have arrived.")
            }
            (Some(size), 0) => format!("The case was said to have {size} requests, and all of them have arrived."),
            (Some(size), missing) => format!(
                "The case was said to have {size} requests; {missing} of them have not arrived: they were never asked, \
                 or are still in a queue."
            ),
        }
    }
}

impl OpenRequest {
    fn new(entry: &Entry) -> Option<Self> {
        entry.outcome.is_none().then(|| Self {
            request_id: entry.request_id.to_string(),
            asset_id: entry.asset_id.clone().unwrap_or_default(),
            waits_for: entry.waited_for.clone().unwrap_or_default(),
        })
    }

    fn told(&self) -> String {
        let waits = if self.waits_for.is_empty() { String::new() } else { format!(", waits: {}", self.waits_for) };
        format!("{} (asset {}{waits})", self.request_id, self.asset_id)
    }
}

impl ReportedRequest {
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
            proof: entry.proof.map(Proof::as_str).unwrap_or_default(),
            decided_at: entry.outcome.as_ref().map(|_| second(entry.updated)).unwrap_or_default(),
            verified: verified(entry, &event["data"], history),
            backup: entry.backup.clone(),
            entries: history.len(),
            hash: history.last().map(|change| change.hash.clone()).unwrap_or_default(),
        }
    }

    /// What the page makes stand out.
    fn class(&self) -> &'static str {
        match (self.outcome.as_str(), self.proof) {
            ("open", _) => "open",
            (_, "erased" | "absent" | "provider_word") => "gone",
            _ => "not",
        }
    }
}

/// How it is known that the asset is gone, or why it is not.
fn verified(entry: &Entry, data: &Value, history: &[Change]) -> String {
    let detail = data["detail"].as_str().unwrap_or_default();
    let sent = history.iter().any(|change| change.state == "deleting");
    if entry.event.is_none() && entry.outcome.is_some() {
        let proof = entry.proof.map(shown).unwrap_or_default();
        return format!("{proof}decided long ago; the details are no longer kept");
    }
    let serves = match data["url_serves"].as_bool() {
        Some(true) => "; its own URL still served bytes right afterwards",
        Some(false) => "; its own URL served nothing any more",
        None => "",
    };
    match (entry.outcome.as_deref(), entry.proof) {
        (Some("deleted"), Some(proof)) => format!("{}{serves}", deleted(proof)),
        (Some("already_absent"), Some(Proof::Unconfirmed)) => {
            "UNCONFIRMED: not found, and no other asset was found with the same key at that time: the key may not see it"
                .to_owned()
        }
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

fn deleted(proof: Proof) -> &'static str {
    match proof {
        Proof::Erased | Proof::Absent => "deleted by this request; looked for afterwards and not found",
        Proof::ProviderWord => "the provider answered that it deleted it; no look afterwards proves it",
        Proof::Unconfirmed => {
            "UNCONFIRMED: a DELETE was sent, and the asset was not found afterwards; nor was any other with the same key at that \
             time"
        }
    }
}

/// A proof whose details are gone.
fn shown(proof: Proof) -> String {
    format!("proof: {}; ", proof.as_str())
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests;
