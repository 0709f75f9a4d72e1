//! The worker and the floor, taking turns: a provider that answers at once, and one that takes its time.

use std::time::Duration;

use super::Result;
use super::report::{Report, Wanted, median};
use super::round::{self, Lead, Measured, Plan};
use super::stage::{Stage, Who};

/// Concurrencies of the floor that are tried.
const AT_ONCE: [u16; 5] = [8, 16, 32, 64, 128];
const SLOW: [u16; 6] = [16, 32, 64, 128, 256, 512];
/// No side is measured for longer than this with a provider that answers at once.
const LONGEST: Duration = Duration::from_secs(60);
/// For one deletion: detail, jobs, `DELETE`, detail.
const CALLS: u64 = 4;
/// Before the floor is measured to find its best concurrency.
const SWEEP_LEAD: Duration = Duration::from_secs(1);
/// More requests than the floor was seen to do in the time: what is faster still finds some.
const SPARE: f64 = 1.5;

pub async fn at_once(stage: &Stage<'_>, report: &Report) -> Result<()> {
    let settings = &stage.settings;
    println!("\nat once: the provider answers at once, {} requests a round", settings.requests);
    let plan =
        Plan { who: Who::Worker, backlog: settings.requests, latency_ms: 0, lead: Lead::Tenth, longest: LONGEST };
    let (best, _) = sweep(stage, &AT_ONCE, |_| Plan { longest: settings.sweep, ..plan }).await?;
    let (rate, cpu) = turns(stage, plan, plan, best).await?;
    report.target("at once: deletions per second, worker / floor", rate, "", Wanted::AtLeast(0.80));
    report.target("at once: CPU per deletion, worker / floor", cpu, "", Wanted::AtMost(1.35));
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // milliseconds
pub async fn slow(stage: &Stage<'_>, report: &Report) -> Result<()> {
    let (settings, latency_ms) = (&stage.settings, stage.settings.latency_ms);
    println!("\nslow: {latency_ms} ms a call; the worker has {} s to find its concurrency", settings.lead.as_secs());
    let trial =
        Plan { who: Who::Worker, backlog: 0, latency_ms, lead: Lead::After(SWEEP_LEAD), longest: settings.sweep };
    // What a call takes bounds the rate from above, so the first backlogs need no measurement.
    let calls_ms = (CALLS * latency_ms.max(1)) as f64;
    let most = |concurrency: u16| f64::from(concurrency) * 1000.0 / calls_ms;
    let needed = |concurrency| backlog(most(concurrency), SWEEP_LEAD + settings.sweep);
    let (best, rate) = sweep(stage, &SLOW, |concurrency| Plan { backlog: needed(concurrency), ..trial }).await?;
    let floor = Plan { backlog: backlog(rate, SWEEP_LEAD + settings.window), longest: settings.window, ..trial };
    let backlog = backlog(rate, settings.lead + settings.window);
    let worker = Plan { backlog, lead: Lead::After(settings.lead), ..floor };
    let (rate, _) = turns(stage, worker, floor, best).await?;
    let what = format!("{latency_ms} ms a call: deletions per second, worker / floor");
    report.target(&what, rate, "", Wanted::AtLeast(0.95));
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some ten thousand
fn backlog(rate: f64, time: Duration) -> u32 {
    (rate * time.as_secs_f64() * SPARE) as u32 + 1000
}

/// The floor at several concurrencies; the best, and its rate.
async fn sweep(stage: &Stage<'_>, concurrencies: &[u16], plan: impl Fn(u16) -> Plan) -> Result<(u16, f64)> {
    let mut best = (0, 0.0);
    for concurrency in concurrencies {
        let plan = Plan { who: Who::Floor(*concurrency), ..plan(*concurrency) };
        let measured = round::play(stage, plan).await?;
        println!("  floor, {concurrency:3} at once: {:6.0} deletions/s", measured.rate);
        if measured.rate > best.1 {
            best = (*concurrency, measured.rate);
        }
    }
    Ok(best)
}

/// Rounds in turns. The ratios are those of neighbours, so that a machine that gets slower meanwhile is slower for both.
async fn turns(stage: &Stage<'_>, worker: Plan, floor: Plan, best: u16) -> Result<(f64, f64)> {
    let cores = std::thread::available_parallelism()?;
    println!("  floor at {best} at once from here on; cores, of {cores}: worker or floor, sandbox, RabbitMQ");
    println!("                 deletions/s  CPU ms/deletion  peak MiB   cores busy       at once");
    let mut ratios = Vec::new();
    for round in 1..=stage.settings.rounds {
        let worker = round::play(stage, Plan { who: Who::Worker, ..worker }).await?;
        show(round, "worker", &worker);
        let floor = round::play(stage, Plan { who: Who::Floor(best), ..floor }).await?;
        show(round, "floor", &Measured { concurrency: Some(f64::from(best)), ..floor });
        ratios.push((worker.rate / floor.rate, worker.cpu_ms / floor.cpu_ms, worker.peak / floor.peak));
    }
    let of = |which: fn(&(f64, f64, f64)) -> f64| median(ratios.iter().map(which));
    let (rate, cpu, peak) = (of(|ratio| ratio.0), of(|ratio| ratio.1), of(|ratio| ratio.2));
    println!("    ratio, median {rate:10.2} {cpu:16.2} {peak:9.2}");
    Ok((rate, cpu))
}

fn show(round: usize, who: &str, measured: &Measured) {
    let Measured { rate, cpu_ms, peak, cores, sandbox_cores, .. } = measured;
    let rabbitmq = measured.rabbitmq_cores.map_or("   ?".into(), |cores| format!("{cores:.2}"));
    let concurrency = measured.concurrency.map_or("?".into(), |concurrency| concurrency.to_string());
    println!(
        "    {round} {who:6} {rate:15.0} {cpu_ms:16.3} {peak:9.1}   {cores:.2} {sandbox_cores:.2} {rabbitmq}   {concurrency:>7}"
    );
}
