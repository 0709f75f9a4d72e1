//! The end of a run: waits for what is still to come, stops everything, and gathers what there is to see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use asset_eraser::neighbours::ledger::{Change, Entry, Ledger};
use asset_eraser::platform::telemetry::metrics::Metrics;
use secrecy::SecretString;
use serde_json::Value;

use super::Run;
use super::asks::{Ask, Asks};
use super::checker::{Call, Event, History, text};
use super::clocks::Clocks;
use super::conditions::Conditions;
use super::copies::Copies;
use super::stage::{REPLIES, STARTED, Stage};
use super::starters::Jobs;
use crate::support::World;
use crate::support::broker::Seen;
use crate::support::clock::now_ms;

/// With nothing new for so long, what is missing does not come any more. Longer than a released brake still holds.
const QUIET: Duration = Duration::from_secs(30);
/// A `DELETE` that is carried out late is carried out within this time.
const LATE: Duration = Duration::from_secs(4);
/// More entries than a run has.
const MOST: u32 = 100_000;

impl Stage {
    /// Until so many requests are answered, or nothing new comes any more.
    pub async fn until_quiet(&mut self, requests: usize) {
        self.until_done(|world| world.broker.answered() >= requests).await;
    }

    /// Until it is done, or nothing new comes any more.
    async fn until_done(&mut self, done: impl Fn(&World) -> bool) {
        let (mut events, mut since) = (0, Instant::now());
        while !done(&self.world) && since.elapsed() < QUIET {
            let now = self.world.broker.events();
            if now > events {
                (events, since) = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.release_brake().await;
        }
    }
}

pub async fn history(mut stage: Stage, asks: Asks, jobs: Jobs, run: Run, conditions: Conditions) -> History {
    let expected = expected(&asks);
    stage.until_done(|world| expected.iter().all(|one| one.is_among(&world.broker.seen()))).await;
    tokio::time::sleep(LATE).await;
    let buried = buried(&mut stage, asks.to_bury()).await;
    let copies = Copies::look(&stage, &asks).await;
    let calls = stage.world.sandbox.calls().await;
    let calls: Vec<Call> = calls.into_iter().map(|call| serde_json::from_value(call).unwrap()).collect();
    let ledger = rows(&stage.world, &asks).await;
    let history = History {
        store: run.store,
        replicas: run.replicas,
        evidence: evidence(&mut stage.world).await,
        buried,
        calls,
        events: stage.world.broker.seen().into_iter().map(|one| event(one.at_ms, one.text)).collect(),
        replies: drained(&stage.world, REPLIES).await,
        started: if conditions.started_events { drained(&stage.world, STARTED).await } else { Vec::new() },
        conditions,
        ledger,
        assets: stage.world.sandbox.assets().await.into_iter().collect(),
        jobs,
        clocks: Clocks::new(stage.world.lives.clone(), now_ms()),
        interruptions: stage.interruptions.clone(),
        emptied: stage.emptied,
        kills: stage.kills,
        releases: stage.releases.clone(),
        deadlines: stage.deadlines.clone(),
        troubles: stage.to_provider.troubles(),
        copies,
        asks: asks.asks,
    };
    // A world in which a promise was broken may never come to rest.
    if history.violations().is_empty() {
        stage.world.end(0).await;
    }
    history
}

/// What has to be among the events at the end.
enum Expected {
    /// The refusal of a message that comes second under its request ID.
    Conflict(String),
    /// The end of a case.
    End(String),
}

fn expected(asks: &Asks) -> Vec<Expected> {
    let conflicts = asks.asks.iter().filter(|ask| ask.kind.is_second());
    let sized = |ask: &Ask| ask.body["case_size"].as_u64().map(|_| text(&ask.body["case_id"]).to_owned());
    let cases: BTreeSet<String> = asks.asks.iter().filter_map(sized).collect();
    let conflicts = conflicts.map(|ask| Expected::Conflict(ask.request_id.clone()));
    conflicts.chain(cases.into_iter().map(Expected::End)).collect()
}

impl Expected {
    fn is_among(&self, seen: &[Seen]) -> bool {
        seen.iter().any(|one| {
            let data = &one.event["data"];
            match self {
                Self::Conflict(request) => {
                    data["cause"] == "request_conflict" && data["request_id"] == request.as_str()
                }
                Self::End(case) => one.key == "result.case_completed" && data["case_id"] == case.as_str(),
            }
        })
    }
}

fn event(at_ms: i64, text: String) -> Event {
    Event { at_ms, body: serde_json::from_str(&text).unwrap(), text }
}

/// The request IDs in the dead queue, which is empty afterwards; waits for so many, some time.
async fn buried(stage: &mut Stage, count: usize) -> BTreeSet<String> {
    let began = Instant::now();
    while (stage.world.broker.count("dead").await as usize) < count && began.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut buried = BTreeSet::new();
    while let Some((_, body)) = stage.world.broker.take("dead").await {
        let message: Value = serde_json::from_slice(&body).unwrap();
        buried.insert(text(&message["request_id"]).to_owned());
    }
    buried
}

async fn drained(world: &World, queue: &str) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((_, body)) = world.broker.take(queue).await {
        events.push(event(now_ms(), String::from_utf8(body).unwrap()));
    }
    events
}

/// Every row of the ledger, by request ID.
async fn rows(world: &World, asks: &Asks) -> BTreeMap<String, (Entry, Vec<Change>)> {
    let ledger = Ledger::open(&SecretString::from(world.ledger()), Metrics::new().unwrap()).await.unwrap();
    let mut found = BTreeMap::new();
    let mut keys: Vec<&str> = asks.cases().into_iter().collect();
    // A row of a malformed request may belong to no case.
    keys.extend(asks.asks.iter().filter(|ask| ask.kind.is_buried()).map(|ask| ask.request_id.as_str()));
    for key in keys {
        let rows = ledger.find(key, MOST).await.unwrap();
        found.extend(rows.into_iter().map(|(entry, changes)| (entry.request_id.to_string(), (entry, changes))));
    }
    ledger.close().await;
    found
}

/// What is wrong with the evidence, if anything.
async fn evidence(world: &mut World) -> Option<String> {
    let mut verify = world.command_with(&["ledger", "verify"]);
    let well = verify.ended().await.success();
    (!well).then(|| verify.output())
}
