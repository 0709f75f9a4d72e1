//! Those who start jobs on assets that are asked for at the same time, as docs/job-starters.md tells them to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::sandbox::{Control, try_get};

/// What became of the jobs.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    /// Those that were started, because the starter was told that the asset is not being deleted.
    pub relied_on: BTreeSet<String>,
    /// What jobs that were started did without.
    pub lost: Vec<Lost>,
}

/// A job that was started, and whose asset was not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub job: String,
    pub asset: String,
    /// `at its start` or `at its end`.
    pub when: &'static str,
}

/// Starters at work until stopped.
pub struct Starters {
    /// Where a worker listens; changes with each restart.
    pub worker: Arc<Mutex<String>>,
    jobs: Arc<Mutex<Jobs>>,
    stop: CancellationToken,
    working: JoinHandle<()>,
}

/// One starter, and what it works with.
struct Starter {
    sandbox: Control,
    worker: Arc<Mutex<String>>,
    jobs: Arc<Mutex<Jobs>>,
    random: Rng,
}

impl Starters {
    pub fn start(sandbox: Control, worker: String, assets: Vec<String>, random: Rng) -> Self {
        let (worker, jobs, stop) = (Arc::new(Mutex::new(worker)), Arc::default(), CancellationToken::new());
        let mut starter = Starter { sandbox, worker: worker.clone(), jobs: Arc::clone(&jobs), random };
        let stopped = stop.clone();
        let working = tokio::spawn(async move {
            let mut number = 0;
            while !assets.is_empty() && !stopped.is_cancelled() {
                number += 1;
                let asset = &assets[starter.random.usize(0..assets.len())];
                starter.work(format!("started-{number}"), asset).await;
            }
        });
        Self { worker, jobs, stop, working }
    }

    /// All have ended.
    pub async fn stop(self) -> Jobs {
        self.stop.cancel();
        self.working.await.expect("the starters work");
        self.jobs.lock().unwrap().clone()
    }
}

impl Starter {
    /// Registers a job, asks, and does the job if the asset is not being deleted.
    async fn work(&mut self, job: String, asset: &str) {
        self.sandbox.job(&job, &[asset], "processing").await;
        // Some take their time before they ask; the worker's guard sees the job meanwhile.
        if self.random.bool() {
            self.pause(0..300).await;
        }
        let url = format!("{}/v1/assets/{asset}", self.worker.lock().unwrap());
        if try_get(&url).await == Some(404) {
            self.jobs.lock().unwrap().relied_on.insert(job.clone());
            self.look(&job, asset, "at its start").await;
            self.pause(50..600).await;
            self.look(&job, asset, "at its end").await;
        }
        self.sandbox.job(&job, &[asset], "completed").await;
        self.pause(0..30).await;
    }

    async fn look(&self, job: &str, asset: &str, when: &'static str) {
        if !self.sandbox.exists(asset).await {
            let lost = Lost { job: job.to_owned(), asset: asset.to_owned(), when };
            self.jobs.lock().unwrap().lost.push(lost);
        }
    }

    async fn pause(&mut self, ms: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(ms))).await;
    }
}
