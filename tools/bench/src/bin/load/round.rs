//! One round: a backlog, the workers that work on it, and what that cost between two moments of it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Result;
use super::broker::Broker;
use super::stage::{Stage, Who, Working};

/// Between two looks at the number of results.
const LOOK: Duration = Duration::from_millis(50);
/// Longest time without a new result.
const PATIENCE: Duration = Duration::from_secs(60);

/// The worker's count of deletions, as `/metrics` writes it.
const DELETED: &str = "asset_eraser_results_total{cause=\"none\",outcome=\"deleted\"}";
/// A result may be published a moment before it is counted.
const ALMOST_ALL: f64 = 0.99;

/// When measuring begins, counted from the first result, so that no start-up is in it.
#[derive(Clone, Copy)]
pub enum Lead {
    /// Once a tenth of the backlog is done.
    Tenth,
    After(Duration),
}

#[derive(Clone, Copy)]
pub struct Plan {
    pub who: Who,
    pub backlog: u32,
    pub latency_ms: u64,
    pub lead: Lead,
    /// Measuring ends with the backlog, or after this.
    pub longest: Duration,
}

/// Sums at one moment.
struct Moment {
    at: Instant,
    results: u32,
    /// Seconds of CPU.
    own: f64,
    sandbox: f64,
    rabbitmq: Option<f64>,
}

/// What a round came to.
pub struct Measured {
    /// Deletions per second.
    pub rate: f64,
    /// Milliseconds of CPU per deletion.
    pub cpu_ms: f64,
    /// MiB.
    pub peak: f64,
    /// Cores kept busy.
    pub cores: f64,
    pub sandbox_cores: f64,
    pub rabbitmq_cores: Option<f64>,
    /// Requests at once that the worker came to, when it says so.
    pub concurrency: Option<f64>,
}

pub async fn play(stage: &Stage<'_>, plan: Plan) -> Result<Measured> {
    let (prefix, broker) = stage.round(plan.backlog, plan.latency_ms, &json!({})).await?;
    let mut working = stage.put_on(plan.who, &prefix).await?;
    let (from, to) = follow(stage, &broker, &mut working, plan).await?;
    let peak = working.process.peak()?;
    let [concurrency, deleted] = working.metrics(&stage.http, ["asset_eraser_concurrency_limit", DELETED]).await?;
    if deleted.is_some_and(|deleted| deleted < f64::from(to.results) * ALMOST_ALL) {
        return Err(working.process.said("answered something else than \"deleted\": its rate means nothing"));
    }
    stage.end(&prefix, broker, vec![working]).await?;
    let (seconds, done) = ((to.at - from.at).as_secs_f64(), f64::from(to.results - from.results));
    if done < 1.0 {
        return Err("the backlog was done before measuring began: it is too small for this machine".into());
    }
    Ok(Measured {
        rate: done / seconds,
        cpu_ms: (to.own - from.own) / done * 1000.0,
        peak,
        cores: (to.own - from.own) / seconds,
        sandbox_cores: (to.sandbox - from.sandbox) / seconds,
        rabbitmq_cores: to.rabbitmq.zip(from.rabbitmq).map(|(to, from)| (to - from) / seconds),
        concurrency,
    })
}

/// The two moments between which it is measured.
async fn follow(stage: &Stage<'_>, broker: &Broker, working: &mut Working, plan: Plan) -> Result<(Moment, Moment)> {
    let (mut first, mut from) = (None, None);
    let (mut last, mut last_new) = (0, Instant::now());
    loop {
        working.process.runs()?;
        let results = broker.results().await?;
        if results > last {
            (last, last_new) = (results, Instant::now());
            first.get_or_insert(last_new);
        } else if last_new.elapsed() > PATIENCE {
            return Err(working.process.said("makes no progress"));
        }
        let ready = match plan.lead {
            Lead::Tenth => results >= plan.backlog / 10,
            Lead::After(lead) => first.is_some_and(|first| first.elapsed() >= lead),
        };
        if from.is_none() && ready && results > 0 {
            from = Some(Moment::now(stage, working, results)?);
        }
        if let Some(from) = from.take_if(|from| results >= plan.backlog || from.at.elapsed() >= plan.longest) {
            return Ok((from, Moment::now(stage, working, results)?));
        }
        if results >= plan.backlog {
            return Err("the backlog was done before measuring began: it is too small for this machine".into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Moment {
    fn now(stage: &Stage<'_>, working: &Working, results: u32) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            results,
            own: working.process.cpu()?,
            sandbox: stage.sandbox.process.cpu()?,
            rabbitmq: stage.servers.cpu().get("RabbitMQ").copied(),
        })
    }
}
