//! The promises, checked against all that can be seen of a run from outside: the provider's record of calls, every event,
//! the ledger, the store of copies, and what the harness itself did.

mod answers;
mod cases;
mod copies;
mod limits;
mod order;
mod story;
mod tests;
mod witnesses;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use asset_eraser::neighbours::ledger::{Change, Entry};
use serde::Deserialize;
use serde_json::Value;

use self::story::Story;
use super::asks::Ask;
use super::clocks::Clocks;
use super::conditions::Conditions;
use super::copies::Copies;
use super::plan::Store;
use super::stage::Span;
use super::starters::Jobs;

/// One call as the sandbox recorded it.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    pub at_ms: i64,
    pub operation: String,
    pub asset: Option<String>,
    pub status: Option<u16>,
    /// `found` or `missing` of a detail call, the code of a `DELETE`.
    pub answered: Option<String>,
    /// The jobs in progress that an answer of the registry lists.
    pub listed: Option<Vec<String>>,
    pub jobs_in_progress: Vec<String>,
    pub took_effect: bool,
    pub effect_ms: Option<i64>,
    pub jobs_at_effect: Vec<String>,
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
    pub store: Store,
    pub replicas: usize,
    pub conditions: Conditions,
    pub asks: Vec<Ask>,
    /// In the order in which they arrived.
    pub calls: Vec<Call>,
    /// Out of the queue of results: answers, and ends of cases.
    pub events: Vec<Event>,
    /// Out of the queue that requests name as `reply_to`.
    pub replies: Vec<Event>,
    /// Out of the queue for started events.
    pub started: Vec<Event>,
    /// The request IDs of what came into the dead queue; each may have come more than once.
    pub buried: BTreeSet<String>,
    pub ledger: BTreeMap<String, (Entry, Vec<Change>)>,
    /// What `asset-eraser ledger verify` complains of.
    pub evidence: Option<String>,
    /// What exists at the end.
    pub assets: BTreeSet<String>,
    pub jobs: Jobs,
    pub clocks: Clocks,
    /// Whether the key saw no asset for a while.
    pub emptied: bool,
    /// How often a worker was killed.
    pub kills: usize,
    /// When faults that interrupt attempts began and ended, in milliseconds since 1970.
    pub interruptions: Vec<Span>,
    /// When the brake was released.
    pub releases: Vec<Span>,
    /// The deadline of each request that has one in the future, in milliseconds since 1970.
    pub deadlines: BTreeMap<String, i64>,
    /// When answers of the provider were lost on their way.
    pub troubles: Vec<i64>,
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

/// Lines of a long history that are shown: the first ones and the last ones.
const HEAD: usize = 12;
const TAIL: usize = 50;

/// What was found so far.
type Found = Vec<Violation>;

impl History {
    pub fn violations(&self) -> Found {
        let mut found = Vec::new();
        for story in self.stories() {
            self.answers(&story, &mut found);
            self.order(&story, &mut found);
            self.witnesses(&story, &mut found);
            self.crashes(&story, &mut found);
            self.taken_away(&story, &mut found);
            self.in_time(&story, &mut found);
            self.keeps(&story, &mut found);
        }
        self.unasked(&mut found);
        self.used(&mut found);
        self.fetched(&mut found);
        self.cases(&mut found);
        self.contents(&mut found);
        self.brake(&mut found);
        self.evidence(&mut found);
        found
    }

    /// One story for each request; copies of a message belong to one.
    fn stories(&self) -> Vec<Story<'_>> {
        let mut calls: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        let mut events: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for call in &self.calls {
            calls.entry(call.traceparent.as_deref().unwrap_or_default()).or_default().push(call);
        }
        for event in &self.events {
            events.entry(text(&event.body["data"]["request_id"])).or_default().push(event);
        }
        let mut told = BTreeSet::new();
        let asks = self.asks.iter().filter(|ask| told.insert(ask.traceparent.as_str()));
        asks.map(|ask| {
            let mut own = calls.get(ask.traceparent.as_str()).cloned().unwrap_or_default();
            // Looks at the control asset are made for it, and are about another asset.
            own.retain(|call| call.asset.as_deref() == Some(&ask.asset_id) || call.asset.is_none());
            let events = events.get(ask.request_id.as_str()).map_or(&[][..], Vec::as_slice);
            Story::new(self, ask, own, events)
        })
        .collect()
    }

    /// The ask that a call was made for.
    fn ask_of(&self, call: &Call) -> Option<&Ask> {
        self.asks.iter().find(|ask| Some(&ask.traceparent) == call.traceparent.as_ref())
    }

    /// One line for each message of a case, with the answers under its ID.
    fn asks_of_case(&self, case: &str) -> Vec<(i64, String)> {
        let asks = self.asks.iter().filter(|ask| ask.body["case_id"] == case);
        let told = |ask: &Ask| {
            let answers =
                self.events.iter().filter(|event| event.body["data"]["request_id"] == ask.request_id.as_str());
            let answers: BTreeSet<String> = answers.map(Event::answer).collect();
            (0, format!("ask    {} {:?}, answers {answers:?}", ask.request_id, ask.kind))
        };
        asks.map(told).collect()
    }

    /// Everything about one violation's asset and request, in order of true time.
    pub fn about(&self, violation: &Violation) -> String {
        let mut lines: Vec<(i64, String)> = Vec::new();
        for call in self.calls.iter().filter(|call| call.asset.as_deref() == Some(&violation.asset)) {
            lines.push((call.at_ms, call.told(self.ask_of(call))));
        }
        for (queue, events) in [("event ", &self.events), ("reply ", &self.replies), ("start ", &self.started)] {
            let mine = |event: &&Event| text(&event.body["data"]["request_id"]) == violation.request;
            let mut told = BTreeSet::new();
            let shown = |event: &Event| {
                let text = if told.insert(event.text.clone()) { event.text.as_str() } else { "the same again" };
                (event.at_ms, format!("{queue} {text}"))
            };
            lines.extend(events.iter().filter(mine).map(shown));
        }
        for change in self.ledger.get(&violation.request).map_or(&[][..], |(_, changes)| changes) {
            let Change { at, state, attempts, why, .. } = change;
            let why = why.as_deref().unwrap_or_default();
            let at = self.clocks.true_ms(*at).unwrap_or_else(|| at.as_millisecond());
            lines.push((at, format!("ledger {state}, attempt {attempts} {why}")));
        }
        lines.extend(self.asks_of_case(&violation.request));
        lines.sort();
        let Violation { promise, what, request, asset } = violation;
        let kinds: Vec<_> = self.asks.iter().filter(|ask| ask.request_id == *request).map(|ask| ask.kind).collect();
        let mut all = format!("promise {promise}: request {request} {kinds:?}, asset {asset}: {what}\n");
        let left_out = HEAD..lines.len().saturating_sub(TAIL);
        for (number, (at, line)) in lines.iter().enumerate() {
            if !left_out.contains(&number) {
                writeln!(all, "  {at} {line}").unwrap();
            } else if number == HEAD {
                writeln!(all, "  … {} lines", left_out.len()).unwrap();
            }
        }
        all
    }
}

impl Event {
    /// Outcome and cause.
    fn answer(&self) -> String {
        let data = &self.body["data"];
        format!("{} {}", text(&data["outcome"]), text(&data["cause"]))
    }
}

impl Call {
    fn is(&self, operation: &str) -> bool {
        self.operation == operation
    }

    /// One line for a person.
    fn told(&self, ask: Option<&Ask>) -> String {
        let Self { operation, status, answered, listed, jobs_in_progress, took_effect, effect_ms, .. } = self;
        let status = status.map_or("none".to_owned(), |status| status.to_string());
        let said = answered.as_ref().map(|said| format!(" {said:?}")).unwrap_or_default();
        let listed = listed.as_ref().map(|jobs| format!(", listed {jobs:?}")).unwrap_or_default();
        let effect =
            if *took_effect { format!(", took effect at {}", effect_ms.unwrap_or_default()) } else { String::new() };
        let request = ask.map_or("no request".to_owned(), |ask| format!("{} ({:?})", ask.request_id, ask.kind));
        format!("call   {operation} for {request}: answer {status}{said}{listed}{effect}, jobs {jobs_in_progress:?}")
    }
}

impl Violation {
    /// What violations of one kind have in common.
    pub fn kind(&self) -> String {
        let words = self.what.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        format!("promise {}: {words}", self.promise)
    }
}

fn violation(promise: u8, what: impl Into<String>, request: &str, asset: &str) -> Violation {
    Violation { promise, what: what.into(), request: request.to_owned(), asset: asset.to_owned() }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
