//! The promises, checked against all that can be seen of a run from outside: the provider's record of calls, every event,
//! the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use asset_eraser::ledger::{Change, Entry};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::asks::{Ask, Kind};
use super::copies::Copies;

/// One call as the sandbox recorded it.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    pub at_ms: i64,
    pub operation: String,
    pub asset: Option<String>,
    pub status: Option<u16>,
    pub jobs_in_progress: Vec<String>,
    pub took_effect: bool,
    pub traceparent: Option<String>,
}

/// One event as it came out of the broker.
#[derive(Clone, Debug)]
pub struct Event {
    pub at_ms: i64,
    pub text: String,
    pub body: Value,
}

/// All that is known of a run.
pub struct History {
    pub asks: Vec<Ask>,
    /// In the order in which they arrived.
    pub calls: Vec<Call>,
    pub events: Vec<Event>,
    /// The request IDs of what came into the dead queue; each may have come more than once.
    pub buried: BTreeSet<String>,
    pub ledger: BTreeMap<String, (Entry, Vec<Change>)>,
    /// What exists at the end.
    pub assets: BTreeSet<String>,
    /// Jobs that somebody relied on: those whose starter was told that the asset is not being deleted, and those that were
    /// there from the beginning.
    pub relied_on: BTreeSet<String>,
    /// Whether clocks jumped; then times of the worker say nothing.
    pub clocks_jumped: bool,
    pub copies: Copies,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number in ARCHITECTURE.md.
    pub promise: u8,
    pub what: String,
    /// Request and asset.
    pub request: String,
    pub asset: String,
}

/// What the guard has said for one request so far.
#[derive(Default)]
struct Guarded {
    answers: usize,
    deletes: usize,
    /// In its last answer.
    jobs: Vec<String>,
}

impl History {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for ask in &self.asks {
            self.answers(ask, &mut found);
        }
        self.deletes(&mut found);
        self.ends(&mut found);
        self.records(&mut found);
        self.keeps(&mut found);
        found
    }

    /// Promises 1 and 4: one answer each, and one that fits.
    fn answers(&self, ask: &Ask, found: &mut Vec<Violation>) {
        let mut broken = |promise, what: String| found.push(violation(promise, what, &ask.request_id, &ask.asset_id));
        let own: Vec<&Event> = self.events_of(ask).collect();
        let Some(first) = own.first() else { return broken(1, "has no answer".into()) };
        let ids: BTreeSet<&str> = own.iter().map(|event| text(&event.body["id"])).collect();
        let contents: BTreeSet<&str> = own.iter().map(|event| event.text.as_str()).collect();
        if self.buried.contains(&ask.request_id) != (ask.kind == Kind::Malformed) {
            broken(1, "is buried, or should be".into());
        }
        if (ids.len(), contents.len()) != (1, 1) {
            broken(4, format!("has {} event IDs and {} different contents", ids.len(), contents.len()));
        }
        let (outcome, cause) = (text(&first.body["data"]["outcome"]), text(&first.body["data"]["cause"]));
        let fooled = cause == "still_present" && ask.kind.may_delete() && self.lied_twice(ask);
        if !fooled && !ask.kind.may_be_answered(outcome, cause) {
            broken(4, format!("is {:?} and was answered {outcome} {cause}", ask.kind));
        }
    }

    /// Whether two `DELETE`s were answered "deleted" without effect.
    fn lied_twice(&self, ask: &Ask) -> bool {
        let lie = |call: &&Call| {
            let own = call.traceparent.as_ref() == Some(&ask.traceparent) && call.operation == "delete";
            own && call.status == Some(200) && !call.took_effect
        };
        self.calls.iter().filter(lie).count() >= 2
    }

    /// A conflict is answered beside the request whose ID it has.
    fn events_of<'a>(&'a self, ask: &'a Ask) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(|event| {
            let data = &event.body["data"];
            let conflict = data["cause"] == "request_conflict";
            text(&data["request_id"]) == ask.request_id && conflict == (ask.kind == Kind::Conflict)
        })
    }

    /// Promises 2 and 3, and no `DELETE` after the decision: what has to be true of every single `DELETE`.
    fn deletes(&self, found: &mut Vec<Violation>) {
        let mut guards: BTreeMap<&str, Guarded> = BTreeMap::new();
        for call in &self.calls {
            let guarded = guards.entry(call.traceparent.as_deref().unwrap_or_default()).or_default();
            match call.operation.as_str() {
                "jobs" if call.status == Some(200) => {
                    guarded.answers += 1;
                    guarded.jobs.clone_from(&call.jobs_in_progress);
                }
                "delete" => {
                    guarded.deletes += 1;
                    self.delete(call, guarded, found);
                }
                _ => {}
            }
        }
    }

    fn delete(&self, call: &Call, guarded: &Guarded, found: &mut Vec<Violation>) {
        let asset = call.asset.as_deref().unwrap_or_default();
        let ask = self.asks.iter().find(|ask| Some(&ask.traceparent) == call.traceparent.as_ref());
        let request = ask.map_or("", |ask| ask.request_id.as_str());
        let mut broken = |promise, what: String| found.push(violation(promise, what, request, asset));
        if !ask.is_some_and(|ask| ask.asset_id == asset && ask.kind.may_delete()) {
            broken(3, "a DELETE that nobody asked for".into());
        }
        if guarded.deletes > guarded.answers {
            broken(2, "a DELETE without an answer of the guard for it".into());
        }
        let mut jobs = guarded.jobs.iter().chain(&call.jobs_in_progress);
        if let Some(job) = jobs.find(|job| self.relied_on.contains(*job)) {
            broken(2, format!("a DELETE while job {job} used the asset"));
        }
        let decided = ask.and_then(|ask| self.decided_ms(ask));
        if decided.is_some_and(|decided| call.at_ms > decided) && !self.clocks_jumped {
            broken(4, "a DELETE after the decision".into());
        }
    }

    fn decided_ms(&self, ask: &Ask) -> Option<i64> {
        let event = self.events_of(ask).next()?;
        let at: Timestamp = text(&event.body["data"]["decided_at"]).parse().ok()?;
        Some(at.as_millisecond())
    }

    /// Promise 5, and what must survive: what the events say of an asset is how it is.
    fn ends(&self, found: &mut Vec<Violation>) {
        for ask in &self.asks {
            let Some(event) = self.events_of(ask).next() else { continue };
            let outcome = text(&event.body["data"]["outcome"]);
            let exists = self.assets.contains(&ask.asset_id);
            let gone = matches!(outcome, "deleted" | "already_absent");
            if gone && exists {
                let what = format!("answered {outcome}, and the asset is still there");
                found.push(violation(5, what, &ask.request_id, &ask.asset_id));
            }
            let untouched = !gone && !ask.kind.may_delete() && ask.kind != Kind::Missing;
            if untouched && !exists {
                let what = format!("answered {outcome}, and the asset is gone");
                found.push(violation(3, what, &ask.request_id, &ask.asset_id));
            }
        }
    }

    /// Promise 4: what is on record is what was published, and the intent came before the guard.
    fn records(&self, found: &mut Vec<Violation>) {
        for ask in self.asks.iter().filter(|ask| !matches!(ask.kind, Kind::Conflict)) {
            let mut broken = |what: &str| found.push(violation(4, what.to_owned(), &ask.request_id, &ask.asset_id));
            let Some((entry, _)) = self.ledger.get(&ask.request_id) else {
                broken("is not in the ledger");
                continue;
            };
            let published = self.events_of(ask).next().map(|event| event.text.as_str());
            if entry.event.as_deref() != published {
                broken("has another event on record than was published");
            }
        }
    }

    /// Promise 7: what was to be kept is whole, was on record before the `DELETE`, and nothing else was fetched.
    fn keeps(&self, found: &mut Vec<Violation>) {
        let kept = |asset: &str| self.asks.iter().any(|ask| ask.kind == Kind::Kept && ask.asset_id == asset);
        for call in self.calls.iter().filter(|call| call.operation == "file") {
            let asset = call.asset.as_deref().unwrap_or_default();
            if !kept(asset) {
                found.push(violation(7, "the bytes of an asset that nobody wanted".into(), "", asset));
            }
        }
        for ask in self.asks.iter().filter(|ask| ask.kind == Kind::Kept) {
            let sent = |call: &Call| call.operation == "delete" && call.traceparent.as_ref() == Some(&ask.traceparent);
            let Some(event) = self.events_of(ask).next().filter(|_| self.calls.iter().any(sent)) else { continue };
            let mut broken = |what: &str| found.push(violation(7, what.to_owned(), &ask.request_id, &ask.asset_id));
            if !self.copies.are_whole(&ask.asset_id, &event.body["data"]["backup"]) {
                broken("a DELETE without a whole copy");
            }
            let changes = self.ledger.get(&ask.request_id).map_or(&[][..], |(_, changes)| changes);
            let place = |state: &str| changes.iter().position(|change| change.state == state);
            if place("backed_up").is_none_or(|at| place("deleting").is_none_or(|deleting| deleting < at)) {
                broken("a DELETE before a copy was on record");
            }
        }
    }

    /// Everything about one violation's asset and request, in order of time.
    pub fn about(&self, violation: &Violation) -> String {
        let mut lines: Vec<(i64, String)> = Vec::new();
        for call in self.calls.iter().filter(|call| call.asset.as_deref() == Some(&violation.asset)) {
            let Call { at_ms, operation, status, jobs_in_progress, took_effect, .. } = call;
            let status = status.map_or("none".to_owned(), |status| status.to_string());
            let effect = if *took_effect { ", took effect" } else { "" };
            lines.push((*at_ms, format!("call   {operation}: answer {status}{effect}, jobs {jobs_in_progress:?}")));
        }
        let mine = |event: &&Event| text(&event.body["data"]["request_id"]) == violation.request;
        for event in self.events.iter().filter(mine) {
            lines.push((event.at_ms, format!("event  {}", event.text)));
        }
        for change in self.ledger.get(&violation.request).map_or(&[][..], |(_, changes)| changes) {
            let Change { at, state, attempts, why, .. } = change;
            let why = why.as_deref().unwrap_or_default();
            lines.push((at.as_millisecond(), format!("ledger {state}, attempt {attempts} {why}")));
        }
        lines.sort();
        let Violation { promise, what, request, asset } = violation;
        let mut all = format!("promise {promise}: request {request}, asset {asset}: {what}\n");
        for (at, line) in lines {
            writeln!(all, "  {at} {line}").unwrap();
        }
        all
    }
}

fn violation(promise: u8, what: String, request: &str, asset: &str) -> Violation {
    Violation { promise, what, request: request.to_owned(), asset: asset.to_owned() }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
