//! The worker with nothing to do, and with a backlog that is larger than it wants to hold.

use std::time::Duration;

use serde_json::json;

use super::Result;
use super::report::{Report, Wanted};
use super::round::{self, Lead, Plan};
use super::stage::{Stage, Who};

/// What start-up leaves to do is done by then.
const CALM: Duration = Duration::from_secs(3);
/// A backlog of a million is done by then on a small machine.
const LONGEST: Duration = Duration::from_secs(3600);

pub async fn idle(stage: &Stage<'_>, report: &Report) -> Result<()> {
    let watched = stage.settings.idle;
    println!("\nidle: no requests, {} s", watched.as_secs());
    let (prefix, broker) = stage.round(0, 0, &json!({})).await?;
    let working = stage.put_on(Who::Worker, &prefix).await?;
    tokio::time::sleep(CALM).await;
    let before = working.process.cpu()?;
    tokio::time::sleep(watched).await;
    let share = (working.process.cpu()? - before) / watched.as_secs_f64() * 100.0;
    stage.end(&prefix, broker, vec![working]).await?;
    report.target("idle: CPU of one core", share, " %", Wanted::Below(0.2));
    Ok(())
}

pub async fn backlog(stage: &Stage<'_>, report: &Report) -> Result<()> {
    let backlog = stage.settings.backlog;
    println!("\nbacklog: {backlog} requests wait when the worker starts");
    let plan = Plan { who: Who::Worker, backlog, latency_ms: 0, lead: Lead::Tenth, longest: LONGEST };
    let measured = round::play(stage, plan).await?;
    println!("  done at {:.0} deletions/s", measured.rate);
    let what = format!("backlog of {backlog}: peak memory of the worker");
    report.target(&what, measured.peak, " MiB", Wanted::Below(40.0));
    Ok(())
}
