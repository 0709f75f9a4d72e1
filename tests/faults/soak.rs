//! Requests at a steady rate with faults among them, for long: nothing may grow that should not.
//!
//! `make soak`; `SOAK_MINUTES` (30) and `SOAK_RATE` (requests a second, 40).

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;

use super::asks::Asks;
use super::conditions::Conditions;
use super::plan::{self, Fault, Store};
use super::seed;
use super::stage::Stage;
use crate::support::{LIMIT, outcome, sandbox, until_within};

/// What every asset of a soak is called after; the sandbox has as many as are asked for.
const PREFIX: &str = "soak-";
const SAMPLE: Duration = Duration::from_secs(10);
const FAULT: Duration = Duration::from_secs(6);
/// Before the first sample that counts: pools, caches and the ledger's log have their size then.
const WARM_UP: Duration = Duration::from_secs(120);
/// What may be more in the last quarter than in the first: at most for memory, at least for what comes and goes with the
/// pace, where only a leak raises the least.
const MORE_MEMORY_KIB: u64 = 12 * 1024;
const MORE_FILES: u64 = 16;
const MORE_TASKS: u64 = 16;
const MORE_THREADS: u64 = 2;
/// Of the ledger's file, for one deleted request with its evidence.
const LEDGER_BYTES: std::ops::Range<u64> = 1_000..4_000;

#[derive(Clone, Copy)]
struct Sample {
    second: u64,
    memory_kib: u64,
    files: u64,
    threads: u64,
    tasks: u64,
    ledger_kib: u64,
    asked: usize,
    answered: usize,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { second, memory_kib, files, threads, tasks, ledger_kib, asked, answered } = self;
        write!(f, "{second:5} s: {memory_kib} KiB, {files} files, {threads} threads, {tasks} tasks, ")?;
        write!(f, "ledger {ledger_kib} KiB, {asked} asked, {answered} answered")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as long as SOAK_MINUTES says"]
async fn nothing_grows_in_the_long_run() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect(name));
    let (length, rate) = (Duration::from_secs(60 * number("SOAK_MINUTES", 30)), number("SOAK_RATE", 40));
    let mut random = Rng::with_seed(seed());
    let mut stage = Stage::start(Store::Sqlite, 1, &Asks::default(), &Conditions::default()).await;
    stage.world.sandbox.endless(PREFIX).await;
    let (began, mut asked, mut samples) = (Instant::now(), 0, Vec::new());
    let (mut next_sample, mut next_fault) = (SAMPLE, FAULT);
    while began.elapsed() < length {
        let due = usize::try_from(u64::try_from(began.elapsed().as_millis()).unwrap() * rate / 1000).unwrap();
        for number in asked..due {
            let (request, asset) = (format!("r{number}"), format!("{PREFIX}{number}"));
            stage.world.ask(json!({"request_id": request, "asset_id": asset})).await;
        }
        asked = due;
        if began.elapsed() >= next_fault {
            next_fault = began.elapsed() + FAULT;
            // What is broken by the answer would otherwise pile up while few are asked for.
            stage.mend().await;
            if let Some(fault) = bearable(&mut random) {
                stage.suffer(&fault, 0).await;
            }
        }
        if began.elapsed() >= next_sample {
            next_sample += SAMPLE;
            let sample = sample(&mut stage, began.elapsed(), asked).await;
            println!("{sample}");
            samples.push(sample);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.mend().await;
    until_within(LIMIT * 10, "every request is answered", || async {
        (stage.world.broker.answered() == asked).then_some(())
    })
    .await;
    let last = sample(&mut stage, began.elapsed(), asked).await;
    conclude(stage, &samples, last).await;
}

/// A fault that leaves the process alive, as it is the process that is watched. The connections to the broker are cut,
/// frozen and slowed, so it need not go away itself.
fn bearable(random: &mut Rng) -> Option<Fault> {
    let fault = plan::draw(random, 1, 1, Store::Sqlite, &Conditions::default()).remove(0).fault;
    let ends = matches!(
        fault,
        Fault::WorkerKilled | Fault::WorkerStopped | Fault::ClockJumped(_) | Fault::BrokerStopped | Fault::BrokerKilled // Each of these would be kept for every asset there is.
    );
    let lie = matches!(&fault, Fault::AnswersBad(bad) if bad.iter().any(|bad| bad.parity.is_some()));
    (!ends && !lie).then_some(fault)
}

async fn sample(stage: &mut Stage, at: Duration, asked: usize) -> Sample {
    let pid = stage.world.worker().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of_status = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    };
    let url = format!("{}/metrics", stage.world.worker().address().await);
    let metrics = sandbox::http_get(&url).await.1;
    let tasks = metrics.lines().find_map(|line| line.strip_prefix("asset_eraser_tasks ")).unwrap();
    Sample {
        second: at.as_secs(),
        memory_kib: of_status("VmRSS:"),
        files: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
        threads: of_status("Threads:"),
        tasks: tasks.parse().unwrap(),
        ledger_kib: ledger_bytes(stage.world.dir.path()) / 1024,
        asked,
        answered: stage.world.broker.answered(),
    }
}

fn ledger_bytes(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("ledger.db")).unwrap().len()
}

async fn conclude(mut stage: Stage, samples: &[Sample], last: Sample) {
    let warm: Vec<Sample> = samples.iter().copied().filter(|sample| sample.second >= WARM_UP.as_secs()).collect();
    let quarter = warm.len() / 4;
    assert!(quarter > 0, "SOAK_MINUTES is too short for anything to be seen");
    let (early, late) = (&warm[..quarter], &warm[warm.len() - quarter..]);
    println!("first: {}\nlast:  {last}", warm[0]);
    for one in stage.world.broker.seen() {
        assert_eq!(outcome(&one.event), ("deleted", ""), "{}", one.text);
    }
    stage.world.broker.assert_one_event_a_request();
    let most = |part: &[Sample]| part.iter().map(|sample| sample.memory_kib).max().unwrap_or(0);
    assert!(most(late) <= most(early) + MORE_MEMORY_KIB, "memory has grown");
    not_left_over("files", early, late, |sample| sample.files, MORE_FILES);
    not_left_over("tasks", early, late, |sample| sample.tasks, MORE_TASKS);
    not_left_over("threads", early, late, |sample| sample.threads, MORE_THREADS);
    // What the log still holds is in the file once the worker has stopped.
    stage.world.broker.until_empty(0).await;
    stage.world.stop_worker().await;
    let each = ledger_bytes(stage.world.dir.path()) / last.answered as u64;
    println!("the ledger has {each} bytes for each request");
    assert!(LEDGER_BYTES.contains(&each), "{each} bytes for each request are not what is expected");
    stage.world.start_worker().await;
    stage.world.end(0).await;
}

fn not_left_over(what: &str, early: &[Sample], late: &[Sample], of: fn(&Sample) -> u64, more: u64) {
    let least_of = |part: &[Sample]| part.iter().map(of).min().unwrap_or(0);
    let (then, now) = (least_of(early), least_of(late));
    println!("at least {then} {what} in the first quarter, {now} in the last");
    assert!(now <= then + more, "{what} are left over");
}
