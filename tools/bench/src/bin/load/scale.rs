//! One, two and four workers on one queue, with one PostgreSQL ledger between them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_postgres::{Client, NoTls};

use super::Result;
use super::broker::Broker;
use super::stage::{Stage, Working};

const WORKERS: [usize; 3] = [1, 2, 4];
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
/// Deletions per second for which the first backlog is made; later ones are made for what was seen, times what came
/// with each doubling at most.
const FIRST_RATE: f64 = 2500.0;
const SPARE: f64 = 2.5;

/// Results and seconds of CPU at one moment.
struct Moment {
    at: Instant,
    results: u32,
    workers: f64,
    sandbox: f64,
    servers: HashMap<&'static str, f64>,
}

pub async fn scale(stage: &Stage<'_>, database: &str) -> Result<()> {
    let settings = &stage.settings;
    let latency_ms = settings.scale_latency_ms;
    println!(
        "\nscale: {latency_ms} ms a call, one PostgreSQL ledger, measured for {} s",
        settings.scale_window.as_secs()
    );
    println!("  workers  deletions/s   ratio   at once        cores busy: workers  sandbox  RabbitMQ  PostgreSQL");
    let mut rate = FIRST_RATE / SPARE;
    let mut first = None;
    for workers in WORKERS {
        let time = (settings.scale_lead + settings.scale_window).as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some ten thousand
        let backlog = (rate * SPARE * time) as u32 + 1000;
        let (prefix, broker) = stage.round(backlog, latency_ms, &json!({})).await?;
        let mut working = Vec::new();
        for _ in 0..workers {
            working.push(stage.worker(&prefix, database).await?);
        }
        let (from, to) = follow(stage, &broker, &mut working, backlog).await?;
        let concurrency = concurrency(stage, &working).await?;
        stage.end(&prefix, broker, working).await?;

        let seconds = (to.at - from.at).as_secs_f64();
        rate = f64::from(to.results - from.results) / seconds;
        let ratio = rate / *first.get_or_insert(rate);
        let server = |name| Some((to.servers.get(name)? - from.servers.get(name)?) / seconds);
        let shown = |cores: Option<f64>| cores.map_or("?".into(), |cores| format!("{cores:.2}"));
        println!(
            "  {workers:7} {rate:12.0} {ratio:7.2} {concurrency:>9} {:28.2} {:8.2} {:>9} {:>11}",
            (to.workers - from.workers) / seconds,
            (to.sandbox - from.sandbox) / seconds,
            shown(server("RabbitMQ")),
            shown(server("PostgreSQL")),
        );
    }
    let cores = std::thread::available_parallelism()?;
    println!("  of {cores} cores in all; a server's are all that it did, for others too");
    Ok(())
}

/// What the workers chose, when they say so.
async fn concurrency(stage: &Stage<'_>, working: &[Working]) -> Result<String> {
    let mut chosen = Vec::new();
    for one in working {
        let [limit] = one.metrics(&stage.http, ["asset_eraser_concurrency_limit"]).await?;
        chosen.push(limit.map_or("?".into(), |limit| limit.to_string()));
    }
    Ok(chosen.join("+"))
}

async fn follow(stage: &Stage<'_>, broker: &Broker, working: &mut [Working], backlog: u32) -> Result<(Moment, Moment)> {
    let (mut first, mut from): (Option<Instant>, Option<Moment>) = (None, None);
    let began = Instant::now();
    loop {
        for one in working.iter_mut() {
            one.process.runs()?;
        }
        let results = broker.results().await?;
        if results > 0 {
            first.get_or_insert_with(Instant::now);
        } else if began.elapsed() > PATIENCE {
            return Err("the workers make no progress".into());
        }
        if from.is_none() && first.is_some_and(|first| first.elapsed() >= stage.settings.scale_lead) {
            from = Some(Moment::now(stage, working, results)?);
        }
        let over = |from: &mut Moment| results >= backlog || from.at.elapsed() >= stage.settings.scale_window;
        if let Some(from) = from.take_if(over) {
            return Ok((from, Moment::now(stage, working, results)?));
        }
        if results >= backlog {
            return Err("the backlog was done before measuring began: it is too small for this machine".into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Moment {
    fn now(stage: &Stage<'_>, working: &[Working], results: u32) -> Result<Self> {
        let workers: Vec<f64> = working.iter().map(|one| one.process.cpu()).collect::<Result<_>>()?;
        Ok(Self {
            at: Instant::now(),
            results,
            workers: workers.iter().sum(),
            sandbox: stage.sandbox.process.cpu()?,
            servers: stage.servers.cpu(),
        })
    }
}

/// A database of the bench's own, on the server of `DATABASE_URL`.
pub struct Database {
    name: String,
    pub url: String,
    admin: Client,
}

impl Database {
    pub async fn create(run: &str) -> Result<Self> {
        let server = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: run `make bench-scale`")?;
        let (admin, connection) = tokio_postgres::connect(&server, NoTls).await?;
        tokio::spawn(connection);
        let name = run.replace('-', "_");
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let mut url: url::Url = server.parse()?;
        url.set_path(&name);
        Ok(Self { name, url: url.into(), admin })
    }

    pub async fn remove(self) -> Result<()> {
        self.admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        Ok(())
    }
}
