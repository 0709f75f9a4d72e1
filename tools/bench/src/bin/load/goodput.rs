//! The worker against a limit that it is not told: how much of what is allowed it uses, and how often it is refused.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Result;
use super::chart;
use super::report::{Report, Wanted};
use super::stage::{Stage, Who, Working};

/// Between two samples.
const EVERY: Duration = Duration::from_millis(200);
/// Of a call: with calls that take no time, a handful at once would saturate any limit.
const LATENCY_MS: u64 = 20;
/// Limits that stay, in calls per second.
const FIXED: [f64; 2] = [50.0, 200.0];
/// Limits that follow each other; the first one is settled into before it is measured.
const CHANGING: [f64; 4] = [100.0, 200.0, 60.0, 150.0];
/// What a worker has to follow a change.
const FOLLOW: Duration = Duration::from_secs(5);
/// Provider calls of a deletion (the job registry is not limited), and requests to have left at the end.
const CALLS: f64 = 3.0;
const SPARE: f64 = 1.5;

/// The sandbox's sums and the worker's limits at one moment.
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    pub per_second: f64,
    pub allowed: f64,
    pub admitted: f64,
    pub refused: f64,
    /// Requests at once that the worker allows itself, and calls per second; when it says so.
    pub concurrency: Option<f64>,
    pub rate_limit: Option<f64>,
}

/// One run against one limiter.
struct Run {
    name: String,
    title: String,
    capacity: Value,
    /// The highest limit, for the size of the backlog.
    most: f64,
    /// Seconds in which it is measured.
    windows: Vec<(f64, f64)>,
}

pub async fn goodput(stage: &Stage<'_>, report: &Report, charts: &Path) -> Result<()> {
    let (settle, length) = (stage.settings.settle.as_secs_f64(), stage.settings.goodput.as_secs_f64());
    println!("\ngoodput: a limit that the worker is not told, {LATENCY_MS} ms a call, {settle} s to find it");
    for limit in FIXED {
        for retry_after in [None, Some(1)] {
            let (suffix, words) = retry_after.map_or(("", "no Retry-After"), |_| ("-retry-after", "Retry-After: 1"));
            let run = Run {
                name: format!("goodput-{limit}{suffix}"),
                title: format!("{limit} calls/s, {words}"),
                capacity: json!({"per_second": limit, "retry_after_s": retry_after}),
                most: limit,
                windows: vec![(settle, settle + length)],
            };
            measure(stage, report, &run, charts).await?;
        }
    }
    measure(stage, report, &changing(settle, stage.settings.change.as_secs_f64()), charts).await
}

/// Each limit in turn, then the first one again, which was not measured the first time.
fn changing(settle: f64, hold: f64) -> Run {
    let stretch = |per_second: &f64| json!({"per_second": per_second, "for_s": hold});
    let mut windows = Vec::new();
    let mut from = 0.0;
    for _ in 0..=CHANGING.len() {
        let lead = if from == 0.0 { settle } else { FOLLOW.as_secs_f64() };
        windows.push((from + lead, from + hold));
        from += hold;
    }
    windows.retain(|(from, to)| from < to);
    Run {
        name: "goodput-changing".into(),
        title: format!("a limit that changes every {hold} s, no Retry-After"),
        capacity: json!({"schedule": CHANGING.iter().map(stretch).collect::<Vec<_>>()}),
        most: CHANGING.iter().copied().fold(0.0, f64::max),
        windows,
    }
}

async fn measure(stage: &Stage<'_>, report: &Report, run: &Run, charts: &Path) -> Result<()> {
    let end = run.windows.last().ok_or("nothing to measure: SETTLE_S is longer than CHANGE_S")?.1;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some thousand
    let backlog = (run.most / CALLS * end * SPARE) as u32 + 500;
    let (prefix, broker) = stage.round(backlog, LATENCY_MS, &json!({})).await?;
    let mut working = stage.put_on(Who::Worker, &prefix).await?;
    // Only now: the schedule begins with the run.
    stage.sandbox.prepare(&super::broker::assets(&prefix), LATENCY_MS, &run.capacity).await?;
    let samples = watch(stage, &mut working, end).await?;
    stage.end(&prefix, broker, vec![working]).await?;

    let sums = run.windows.iter().map(|window| sums(&samples, *window));
    let (allowed, admitted, refused) = sums.fold((0.0, 0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    let reached = admitted / allowed * 100.0;
    let share_refused = if refused > 0.0 { refused / (admitted + refused) * 100.0 } else { 0.0 };
    report.target(&format!("{}: reached", run.title), reached, " %", Wanted::AtLeast(95.0));
    report.target(&format!("{}: 429s", run.title), share_refused, " %", Wanted::Below(2.0));
    if let Some(Sample { concurrency: Some(concurrency), rate_limit: Some(rate), .. }) = samples.last() {
        println!("    the worker's own limits at the end: {concurrency} at once, {rate:.0} calls/s (0: none)");
    }
    let file = charts.join(format!("{}.svg", run.name));
    let subtitle =
        format!("{reached:.1} % of what was allowed was reached, {share_refused:.1} % of the calls were answered 429");
    std::fs::write(&file, chart::draw(&run.title, &subtitle, &samples, &run.windows))?;
    let here = std::env::current_dir()?;
    println!("    drawn in {}", file.strip_prefix(here).unwrap_or(&file).display());
    Ok(())
}

async fn watch(stage: &Stage<'_>, working: &mut Working, seconds: f64) -> Result<Vec<Sample>> {
    let (began, mut turn) = (Instant::now(), tokio::time::interval(EVERY));
    let mut samples = Vec::new();
    loop {
        turn.tick().await;
        working.process.runs()?;
        let capacity = stage.sandbox.capacity().await?;
        let at = began.elapsed().as_secs_f64();
        if at > seconds {
            return Ok(samples);
        }
        let gauges = ["asset_eraser_concurrency_limit", "asset_eraser_rate_limit"];
        let [concurrency, rate_limit] = working.metrics(&stage.http, gauges).await?;
        samples.push(Sample {
            at,
            per_second: capacity.per_second,
            allowed: capacity.allowed,
            admitted: capacity.admitted,
            refused: capacity.refused,
            concurrency,
            rate_limit,
        });
    }
}

/// Calls allowed, admitted and refused in a window.
fn sums(samples: &[Sample], (from, to): (f64, f64)) -> (f64, f64, f64) {
    let mut inside = samples.iter().filter(|sample| (from..=to).contains(&sample.at));
    let Some(first) = inside.next() else { return (0.0, 0.0, 0.0) };
    let last = inside.next_back().unwrap_or(first);
    (last.allowed - first.allowed, last.admitted - first.admitted, last.refused - first.refused)
}
