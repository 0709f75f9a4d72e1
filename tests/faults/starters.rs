//! Those who start jobs on assets that are asked for at the same time, as docs/job-starters.md tells them to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::sandbox::{Control, try_get};

/// Starters at work until stopped.
pub struct Starters {
    /// Where a worker listens; changes with each restart.
    pub worker: Arc<Mutex<String>>,
    relied_on: Arc<Mutex<BTreeSet<String>>>,
    stop: CancellationToken,
    working: JoinHandle<()>,
}

impl Starters {
    pub fn start(sandbox: Control, worker: String, assets: Vec<String>, mut random: Rng) -> Self {
        let (worker, relied_on) = (Arc::new(Mutex::new(worker)), Arc::new(Mutex::new(BTreeSet::new())));
        let stop = CancellationToken::new();
        let (address, started, stopped) = (worker.clone(), relied_on.clone(), stop.clone());
        let working = tokio::spawn(async move {
            let mut number = 0;
            while !assets.is_empty() && !stopped.is_cancelled() {
                number += 1;
                let (job, asset) = (format!("started-{number}"), &assets[random.usize(0..assets.len())]);
                sandbox.job(&job, &[asset], "processing").await;
                let url = format!("{}/v1/assets/{asset}", address.lock().unwrap());
                if try_get(&url).await == Some(404) {
                    started.lock().unwrap().insert(job.clone());
                    tokio::time::sleep(Duration::from_millis(random.u64(50..600))).await;
                }
                sandbox.job(&job, &[asset], "completed").await;
                tokio::time::sleep(Duration::from_millis(random.u64(0..30))).await;
            }
        });
        Self { worker, relied_on, stop, working }
    }

    /// The jobs that were started; they have all ended.
    pub async fn stop(self) -> BTreeSet<String> {
        self.stop.cancel();
        self.working.await.expect("the starters work");
        self.relied_on.lock().unwrap().clone()
    }
}
