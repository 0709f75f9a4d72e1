//! Random faults over a run of requests, and every promise checked afterwards.
//!
//! `make test` does two short runs, `make faults` as many as fit into `FAULTS_MINUTES`. The seed of a run is printed;
//! `FAULTS_SEED` does it again (what is drawn is the same; what meets what is up to the machine).

mod asks;
mod breaks;
mod checker;
mod checker_tests;
mod copies;
mod plan;
pub mod proxy;
mod soak;
mod stage;
mod starters;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use asset_eraser::ledger::Ledger;
use asset_eraser::telemetry::metrics::Metrics;
use fastrand::Rng;
use secrecy::SecretString;
use serde_json::Value;

use self::asks::{Ask, Asks, CASE, Kind};
use self::checker::{Call, Event, History};
use self::copies::Copies;
use self::plan::{Fault, Store};
use self::stage::Stage;
use self::starters::Starters;
use crate::support::{World, until};

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    seed: u64,
    store: Store,
    replicas: usize,
    /// Assets that are asked for.
    assets: usize,
    faults: usize,
}

/// Sums over runs.
#[derive(Default)]
struct Totals {
    runs: usize,
    requests: usize,
    deletes: usize,
    jobs: usize,
    faults: BTreeMap<&'static str, usize>,
    violations: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_promise_is_broken_by_faults_with_a_ledger_in_a_file() {
    short(Store::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_promise_is_broken_by_faults_with_two_replicas_on_one_database() {
    short(Store::Postgres, 2).await;
}

async fn short(store: Store, replicas: usize) {
    let mut totals = Totals::default();
    Run { seed: seed(), store, replicas, assets: 300, faults: 12 }.play(&mut totals).await;
    totals.conclude();
}

/// `make faults`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "as long as FAULTS_MINUTES says"]
async fn no_promise_is_broken_by_many_faults() {
    let minutes = std::env::var("FAULTS_MINUTES").map_or(10, |minutes| minutes.parse().expect("FAULTS_MINUTES"));
    let (began, mut totals, mut random) = (Instant::now(), Totals::default(), Rng::with_seed(seed()));
    while began.elapsed() < Duration::from_secs(60 * minutes) {
        let (store, replicas) = if random.bool() { (Store::Sqlite, 1) } else { (Store::Postgres, random.usize(1..4)) };
        let run = Run { seed: random.u64(..), store, replicas, assets: 2000, faults: 60 };
        run.play(&mut totals).await;
        totals.print();
    }
    totals.conclude();
}

fn seed() -> u64 {
    std::env::var("FAULTS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("FAULTS_SEED"))
}

impl Run {
    async fn play(self, totals: &mut Totals) {
        println!("{self:?}");
        let mut random = Rng::with_seed(self.seed);
        let asks = Asks::draw(&mut random, self.assets);
        let plan = plan::draw(&mut random, self.faults, asks.asks.len(), self.store);
        let mut stage = Stage::start(self.store, self.replicas, &asks).await;
        let busy = [("busy", Kind::Busy), ("busy-for-good", Kind::BusyReject)];
        for (job, kind) in busy {
            stage.world.sandbox.job(job, &asks.assets_of(kind), "processing").await;
        }
        let contended = asks.assets_of(Kind::Contended).into_iter().map(str::to_owned).collect();
        let address = stage.world.worker().address().await;
        let starters = Starters::start(stage.world.sandbox.control(), address, contended, random.fork());

        // Whoever is begun first has the ID, so those that are to be second wait for the answer of the first.
        let (conflicts, first): (Vec<Ask>, Vec<Ask>) =
            asks.asks.iter().cloned().partition(|ask| ask.kind == Kind::Conflict);
        let portion = first.len().div_ceil(plan.len() + 1);
        let mut portions = first.chunks(portion);
        for (number, planned) in plan.iter().enumerate() {
            stage.publish(portions.next().unwrap_or_default()).await;
            stage.until_answered(planned.answered, planned.at_most).await;
            println!("  {number}: {}", planned.fault);
            stage.suffer(&planned.fault, random.usize(..)).await;
            *starters.worker.lock().unwrap() = stage.world.worker().address().await;
            if number == plan.len() / 2 {
                stage.world.sandbox.job("busy", &asks.assets_of(Kind::Busy), "completed").await;
            }
            *totals.faults.entry(planned.fault.name()).or_default() += 1;
        }
        for rest in portions {
            stage.publish(rest).await;
        }
        let mut relied_on = starters.stop().await;
        totals.jobs += relied_on.len();
        relied_on.extend(busy.map(|(job, _)| job.to_owned()));
        let clocks_jumped = plan.iter().any(|planned| matches!(planned.fault, Fault::ClockJumped(_)));
        stage.mend().await;
        stage.world.broker.requests_answered(asks.requests()).await;
        stage.publish(&conflicts).await;
        let history = ended(stage, asks, relied_on, clocks_jumped).await;
        totals.add(&history);
    }
}

/// Waits for the last answer, stops everything, and gathers what there is to see.
async fn ended(mut stage: Stage, asks: Asks, relied_on: BTreeSet<String>, clocks_jumped: bool) -> History {
    let world = &mut stage.world;
    let conflicts = asks.asks.iter().filter(|ask| ask.kind == Kind::Conflict).count();
    until(&format!("{conflicts} conflicts are answered"), || async {
        let seen = world.broker.seen();
        let refused = seen.iter().filter(|one| one.event["data"]["cause"] == "request_conflict");
        let requests: BTreeSet<&str> = refused.map(|one| checker::text(&one.event["data"]["request_id"])).collect();
        (requests.len() == conflicts).then_some(())
    })
    .await;
    let buried = buried(world, asks.malformed()).await;
    let calls = world.sandbox.calls().await;
    let calls: Vec<Call> = calls.into_iter().map(|call| serde_json::from_value(call).unwrap()).collect();
    let copies = Copies::look(world, &asks, &stage.store).await;
    let world = &mut stage.world;
    let mut verify = world.command_with(&["ledger", "verify"]);
    assert!(verify.ended().await.success(), "{}", verify.output());
    let ledger = Ledger::open(&SecretString::from(world.ledger()), Metrics::new().unwrap()).await.unwrap();
    // The malformed ones are of no case.
    let mut found = ledger.find(CASE, 100_000).await.unwrap();
    for ask in asks.asks.iter().filter(|ask| ask.kind == Kind::Malformed) {
        found.extend(ledger.find(&ask.request_id, 10).await.unwrap());
    }
    ledger.close().await;
    let seen = world.broker.seen().into_iter();
    let history = History {
        buried,
        calls,
        events: seen.map(|one| Event { at_ms: one.at_ms, text: one.text, body: one.event }).collect(),
        ledger: found.into_iter().map(|(entry, changes)| (entry.request_id.to_string(), (entry, changes))).collect(),
        assets: world.sandbox.assets().await.into_iter().collect(),
        relied_on,
        clocks_jumped,
        copies,
        asks: asks.asks,
    };
    stage.world.end(0).await;
    history
}

/// The request IDs in the dead queue, which is empty afterwards; waits for the first `count`.
async fn buried(world: &World, count: usize) -> BTreeSet<String> {
    let mut buried = BTreeSet::new();
    until(&format!("{count} requests are buried"), || async {
        (world.broker.count("dead").await as usize >= count).then_some(())
    })
    .await;
    while let Some((_, body)) = world.broker.take("dead").await {
        let message: Value = serde_json::from_slice(&body).unwrap();
        buried.insert(checker::text(&message["request_id"]).to_owned());
    }
    buried
}

impl Totals {
    /// Prints what went wrong as it is found: each violation with the shortest history that shows it.
    fn add(&mut self, history: &History) {
        let violations = history.violations();
        for violation in violations.iter().take(5) {
            println!("{}", history.about(violation));
        }
        self.runs += 1;
        self.requests += history.asks.iter().map(|ask| &ask.request_id).collect::<BTreeSet<_>>().len();
        self.deletes += history.calls.iter().filter(|call| call.operation == "delete").count();
        self.violations += violations.len();
    }

    fn print(&self) {
        let Self { runs, requests, deletes, jobs, faults, violations } = self;
        let all: usize = faults.values().sum();
        println!(
            "{runs} runs, {requests} requests, {deletes} DELETEs, {jobs} jobs started, {all} faults, {violations} violations"
        );
        for (fault, times) in faults {
            println!("  {times:6} {fault}");
        }
    }

    fn conclude(&self) {
        self.print();
        assert_eq!(self.violations, 0, "a promise was broken: see the history above; FAULTS_SEED repeats the run");
    }
}
