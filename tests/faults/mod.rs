//! Random faults over a run of requests, and every promise checked afterwards.
//!
//! `make test` does two short runs, which draw the same each time, so that a change is what makes them fail. `make faults`
//! does as many as fit into `FAULTS_MINUTES`, and draws anew. The seed of a run is printed; `FAULTS_SEED` does it again
//! (what is drawn is the same; what meets what is up to the machine).

mod asks;
mod breaks;
mod checker;
mod clocks;
mod conditions;
mod copies;
mod ending;
mod plan;
pub mod proxy;
mod soak;
mod stage;
mod starters;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;

use self::asks::{Ask, Asks, Kind};
use self::checker::History;
use self::conditions::Conditions;
use self::plan::{Planned, Store};
use self::stage::Stage;
use self::starters::Starters;
use crate::support::World;

/// How long a run waits until a request waits whose ID is asked for a second time.
const OPEN: Duration = Duration::from_secs(10);
/// Histories printed of each kind of violation.
const SHOWN: usize = 2;
/// Jobs that use assets from the beginning, until the middle of the run and until its end.
const JOBS: [(&str, Kind); 2] = [("busy", Kind::Busy), ("busy-for-good", Kind::BusyReject)];

/// The seed of the short runs.
const SHORT_SEED: u64 = 6;

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
    Run { seed: seed_or(|| SHORT_SEED), store, replicas, assets: 300, faults: 12 }.play(&mut totals).await;
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
        let run = Run { seed: random.u64(..), store, replicas, assets: 1200, faults: 40 };
        run.play(&mut totals).await;
        totals.print();
    }
    totals.conclude();
}

fn seed() -> u64 {
    seed_or(|| fastrand::u64(..))
}

fn seed_or(other: fn() -> u64) -> u64 {
    std::env::var("FAULTS_SEED").map_or_else(|_| other(), |seed| seed.parse().expect("FAULTS_SEED"))
}

impl Run {
    async fn play(self, totals: &mut Totals) {
        let mut random = Rng::with_seed(self.seed);
        let conditions = Conditions::draw(&mut random, self.assets, self.store);
        println!("{self:?}\n  {conditions:?}");
        let asks = Asks::draw(&mut random, self.assets, &conditions);
        let plan = plan::draw(&mut random, self.faults, asks.asks.len(), self.store, &conditions);
        let mut stage = Stage::start(self.store, self.replicas, &asks, &conditions).await;
        for (job, kind) in JOBS {
            stage.world.sandbox.job(job, &asks.assets_of(kind), "processing").await;
        }
        let starters = starters(&mut stage, &asks, random.fork()).await;
        // The first that is begun has the ID, so those that are to be second wait for the first.
        let (second, first): (Vec<Ask>, Vec<Ask>) = asks.asks.iter().cloned().partition(|ask| ask.kind.is_second());
        let (open, second): (Vec<Ask>, Vec<Ask>) = second.into_iter().partition(|ask| ask.kind == Kind::OtherWordsOpen);
        let portion = first.len().div_ceil(plan.len() + 1);
        let mut portions = first.chunks(portion);
        for (number, planned) in plan.iter().enumerate() {
            stage.publish(portions.next().unwrap_or_default()).await;
            suffer(&mut stage, &starters, number, planned, random.usize(..)).await;
            if number == plan.len() / 2 {
                until_waiting(&stage.world, &open).await;
                stage.publish(&open).await;
                // The worker has the chance to look at them while their first requests wait.
                tokio::time::sleep(Duration::from_secs(1)).await;
                stage.world.sandbox.job("busy", &asks.assets_of(Kind::Busy), "completed").await;
            }
            *totals.faults.entry(planned.fault.name()).or_default() += 1;
        }
        for rest in portions {
            stage.publish(rest).await;
        }
        let mut jobs = starters.stop().await;
        totals.jobs += jobs.relied_on.len();
        jobs.relied_on.extend(JOBS.map(|(job, _)| job.to_owned()));
        stage.mend().await;
        stage.until_quiet(asks.requests()).await;
        stage.publish(&second).await;
        totals.add(&ending::history(stage, asks, jobs, self, conditions).await);
    }
}

async fn starters(stage: &mut Stage, asks: &Asks, random: Rng) -> Starters {
    let contended = [Kind::Contended, Kind::Hasty].into_iter().flat_map(|kind| asks.assets_of(kind));
    let contended = contended.map(str::to_owned).collect();
    let address = stage.world.worker().address().await;
    Starters::start(stage.world.sandbox.control(), address, contended, random)
}

async fn suffer(stage: &mut Stage, starters: &Starters, number: usize, planned: &Planned, pick: usize) {
    stage.until_answered(planned.answered, planned.at_most).await;
    println!("  {number}: {}", planned.fault);
    stage.suffer(&planned.fault, pick).await;
    let address = stage.world.worker().address().await;
    *starters.worker.lock().unwrap() = address;
}

/// Until the first requests of these IDs have asked the guard, or the time is over.
async fn until_waiting(world: &World, second: &[Ask]) {
    let began = Instant::now();
    for ask in second {
        let asked = async || world.sandbox.calls_of(&ask.asset_id).await.iter().any(|call| call["operation"] == "jobs");
        while began.elapsed() < OPEN && !asked().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Totals {
    /// Prints what went wrong as it is found: each violation with the shortest history that shows it.
    fn add(&mut self, history: &History) {
        let violations = history.violations();
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for violation in &violations {
            let times = kinds.entry(violation.kind()).or_default();
            *times += 1;
            if *times <= SHOWN {
                println!("{}", history.about(violation));
            }
        }
        for (kind, times) in kinds {
            println!("  {times:6} times {kind}");
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
