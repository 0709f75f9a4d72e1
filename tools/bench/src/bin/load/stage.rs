//! What every part needs: the sandbox, queues of its own for each round, and workers or floors to put on them.

use std::cell::Cell;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::Result;
use super::broker::{Broker, assets};
use super::process::Process;
use super::sandbox::Sandbox;
use super::settings::Settings;
use super::system::Servers;

/// The sandbox's key.
const TOKEN: &str = "bench-token";

pub struct Stage<'a> {
    pub settings: Settings,
    pub sandbox: Sandbox,
    pub servers: Servers,
    pub http: reqwest::Client,
    /// Rounds so far; each has a prefix of its own. Another's, which removes the queues of one that went wrong.
    rounds: &'a Cell<u32>,
    run: &'a str,
    // Declared last: the processes write into it.
    dir: TempDir,
}

/// Who works.
#[derive(Clone, Copy)]
pub enum Who {
    /// The worker with its defaults.
    Worker,
    /// The floor, with as many requests at once.
    Floor(u16),
}

/// A process that works on a round's queue.
pub struct Working {
    pub process: Process,
    /// Of a worker's HTTP port.
    address: Option<String>,
}

/// Of the queues of one round of a run.
pub fn prefix(run: &str, round: u32) -> String {
    format!("{run}-{round}")
}

impl<'a> Stage<'a> {
    /// `run` tells this run's queues from any other's. `folder` is on the disk that the build is on: a temporary folder may be
    /// memory, and then the ledger would cost nothing.
    pub async fn start(settings: Settings, run: &'a str, rounds: &'a Cell<u32>, folder: &Path) -> Result<Self> {
        let dir = TempDir::with_prefix_in("load.", folder)?;
        let sandbox = Sandbox::start(dir.path(), TOKEN).await?;
        let database = std::env::var("DATABASE_URL").unwrap_or_default();
        let servers = Servers::find(&[("RabbitMQ", &settings.amqp), ("PostgreSQL", &database)]);
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { settings, sandbox, servers, http, rounds, run, dir })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new prefix with its queues, `backlog` requests in them, and a sandbox that has their assets.
    pub async fn round(&self, backlog: u32, latency_ms: u64, capacity: &Value) -> Result<(String, Broker)> {
        self.rounds.set(self.rounds.get() + 1);
        let prefix = prefix(self.run, self.rounds.get());
        let broker = Broker::declare(&self.settings.amqp, &prefix).await?;
        broker.publish(backlog).await?;
        self.sandbox.prepare(&assets(&prefix), latency_ms, capacity).await?;
        Ok((prefix, broker))
    }

    /// Stops who worked, and removes the queues.
    pub async fn end(&self, prefix: &str, broker: Broker, working: Vec<Working>) -> Result<()> {
        for one in working {
            one.process.stop().await?;
        }
        broker.close().await?;
        Broker::remove(&self.settings.amqp, prefix).await
    }

    pub async fn put_on(&self, who: Who, prefix: &str) -> Result<Working> {
        match who {
            Who::Worker => {
                let ledger = format!("sqlite://{}", self.dir().join(format!("{prefix}.db")).display());
                self.worker(prefix, &ledger).await
            }
            Who::Floor(concurrency) => {
                let (amqp, url, concurrency) = (&self.settings.amqp, &self.sandbox.url, concurrency.to_string());
                let process = Process::spawn(self.dir(), "floor", &[amqp, prefix, url, TOKEN, &concurrency], &[])?;
                Ok(Working { process, address: None })
            }
        }
    }

    /// A worker with everything on, and everything at its default but the addresses: the concurrency too.
    pub async fn worker(&self, prefix: &str, ledger: &str) -> Result<Working> {
        let url = &self.sandbox.url;
        let settings = [
            ("BROKER__URL", self.settings.amqp.as_str()),
            ("BROKER__PREFIX", prefix),
            ("PROVIDER__BASE_URL", &format!("{url}/kyyReactApiServer")),
            ("PROVIDER__TOKEN", TOKEN),
            ("GUARD__HTTP__URL", &format!("{url}/jobs/{{asset_id}}")),
            ("LEDGER__URL", ledger),
            ("HTTP__LISTEN", "127.0.0.1:0"),
        ];
        let mut process = Process::spawn(self.dir(), "asset-eraser", &["run"], &settings)?;
        let address = Some(process.address().await?);
        Ok(Working { process, address })
    }
}

impl Working {
    /// The values of some metrics, named as `/metrics` writes them, where the worker has them.
    pub async fn metrics<const N: usize>(&self, http: &reqwest::Client, names: [&str; N]) -> Result<[Option<f64>; N]> {
        let Some(address) = &self.address else { return Ok([None; N]) };
        let text = http.get(format!("{address}/metrics")).send().await?.text().await?;
        let value = |name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok())
        };
        Ok(names.map(value))
    }
}
