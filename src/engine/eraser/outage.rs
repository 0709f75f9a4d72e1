//! The failures of all requests together: when they are an outage, consuming stops, and no request's attempts are used up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Eraser, EraserParts};
use crate::contract::reasons::Stop;
use crate::neighbours::pace::circuit::Circuit;
use crate::neighbours::pace::intake::Intake;
use crate::platform::telemetry::metrics::Metrics;

/// Between two looks at the ledger. A little more than what its own looks are apart.
const WATCH: Duration = Duration::from_millis(1_100);

/// Probes that the provider may reject as too many calls before its answer counts as none.
const PROBES: u32 = 3;

impl Eraser {
    /// Asks whatever stopped the line whether it is well again, and lets the line go on where it is.
    pub async fn probe(&self) {
        let eraser = &*self.0;
        for (stop, _) in eraser.line.stopped() {
            let well = match stop {
                Stop::Ledger | Stop::LedgerWentBack => eraser.ledger_is_well().await,
                Stop::Brake => eraser.held_by().await.is_ok_and(|held| held.is_none()),
                Stop::ProviderBusy => eraser.provider.gate().paused_for().is_zero(),
                Stop::ProviderKey => eraser.probed_key().await,
                Stop::ControlLost => eraser.control_is_found().await,
                Stop::NothingFound => eraser.finds_something().await,
                Stop::ProviderDown => eraser.shows_life().await.unwrap_or(false),
                Stop::GuardDown => eraser.guard.probe().await,
                // The request that waits for its place opens the line.
                Stop::WaitQueues => false,
            };
            match stop {
                _ if !well => {}
                Stop::ProviderDown => {
                    // Before the line opens: who comes in first must not find yesterday's pace.
                    eraser.provider.gate().restart();
                    eraser.provider_outage.is_over();
                }
                Stop::GuardDown => eraser.guard_outage.is_over(),
                Stop::Ledger
                | Stop::LedgerWentBack
                | Stop::Brake
                | Stop::ProviderBusy
                | Stop::ProviderKey
                | Stop::ControlLost
                | Stop::NothingFound
                | Stop::WaitQueues => {
                    eraser.line.resume(stop);
                }
            }
        }
    }
}

impl Eraser {
    /// Looks at the ledger once a second, also while there is nothing to do, until `shutdown`: what another worker wrote
    /// before a failover is known then, and its loss is noticed before the next request comes.
    pub async fn watch_ledger(&self, shutdown: CancellationToken) {
        let watch = async {
            loop {
                tokio::time::sleep(WATCH).await;
                // A ledger that is away is noticed by the requests.
                if let Err(error) = self.0.ledger.look().await
                    && error.is_set_back()
                {
                    self.0.line.stop(Stop::LedgerWentBack, error.to_string());
                }
            }
        };
        tokio::select! { () = shutdown.cancelled() => {}, () = watch => {} }
    }

    /// Stops the line if the ledger was set back. To be asked before anything is consumed.
    pub async fn ledger_at_start(&self) {
        self.0.ledger_is_well().await;
    }
}

impl EraserParts {
    /// Whether the provider answers a probe well. Asked before a failure counts as an outage.
    pub(super) async fn provider_is_well(&self) -> bool {
        for _ in 0..PROBES {
            // The probe would wait as long as the provider asks, and a delivery is held meanwhile.
            if self.provider.gate().paused_for() > self.settings.retry.max_elapsed {
                return false;
            }
            if let Some(alive) = self.shows_life().await {
                return alive;
            }
        }
        false
    }

    /// Whether a probe shows that the provider is at work; `None` when it says only that there are too many calls. The
    /// control asset must be known: any other answer to a question about it than a clear one is a failure.
    async fn shows_life(&self) -> Option<bool> {
        let answer = self.provider.probe().await;
        let alive =
            if self.provider.control_asset().is_some() { answer.meaning.is_clear() } else { answer.shows_life() };
        (!answer.meaning.is_rejection()).then_some(alive)
    }

    /// Whether the key is accepted for a probe.
    pub(super) async fn probed_key(&self) -> bool {
        !self.provider.probe().await.meaning.is_key_refused()
    }

    /// Whether the ledger can be written, and was not set back; that stops the line.
    async fn ledger_is_well(&self) -> bool {
        let probed = self.ledger.probe().await;
        if let Err(error) = &probed
            && error.is_set_back()
        {
            self.line.stop(Stop::LedgerWentBack, error.to_string());
        }
        probed.is_ok()
    }
}

/// The circuit of what every request asks: the provider, or the guard.
pub(super) struct Outage {
    stop: Stop,
    /// What an operator has to know beside the last fault.
    way: String,
    began: Instant,
    circuit: Mutex<Circuit>,
    witness: Witness<bool>,
    line: Intake,
    metrics: Metrics,
}

impl Outage {
    /// A closed circuit; open, it stops the line with `stop`.
    pub(super) fn new(stop: Stop, way: String, line: Intake, metrics: Metrics) -> Self {
        let (circuit, witness) = (Mutex::default(), Witness::default());
        Self { stop, way, began: Instant::now(), circuit, witness, line, metrics }
    }

    /// A clear answer: whatever failed before was not an outage.
    pub(super) fn answered(&self) {
        self.circuit().answered(self.now());
    }

    /// A call about this asset has failed. True while there is an outage: then the request is to be put off. `well` asks
    /// about another ID, and is true for a clear answer.
    pub(super) async fn failed(&self, asset: &str, why: &str, well: impl Future<Output = bool>) -> bool {
        let doubt = self.circuit().failed(self.now(), asset);
        self.is_outage(doubt, why, well).await
    }

    /// A request for this asset has used up its in-process retries. Otherwise as [`Outage::failed`].
    pub(super) async fn gave_up(&self, asset: &str, why: &str, well: impl Future<Output = bool>) -> bool {
        let doubt = self.circuit().gave_up(asset);
        self.is_outage(doubt, why, well).await
    }

    /// Whether nothing is answered well. An outage that a good answer contradicts is none: what failed belongs to its
    /// requests, which use up their steps.
    pub(super) async fn is_outage(&self, doubt: bool, why: &str, well: impl Future<Output = bool>) -> bool {
        if doubt && !self.line.holds(self.stop) {
            // Another request may have asked meanwhile, and stopped the line.
            let judged = async { !self.line.holds(self.stop) && self.judge(well.await, why) };
            self.witness.says(judged).await;
        }
        self.line.holds(self.stop)
    }

    fn judge(&self, well: bool, why: &str) -> bool {
        if well {
            self.circuit().forget();
        } else {
            self.metrics.circuit_opened(self.stop.as_str());
            self.line.stop(self.stop, format!("no call is answered well, nor is a probe: {why}{}", self.way));
        }
        well
    }

    /// A probe had a clear answer: consuming may go on.
    pub(super) fn is_over(&self) {
        self.circuit().forget();
        self.line.resume(self.stop);
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked when a failure may be that of one request or of all. Requests that ask at the same time share one answer.
pub(super) struct Witness<T> {
    /// How often it was asked.
    asked: AtomicU64,
    last: tokio::sync::Mutex<Option<T>>,
}

impl<T> Default for Witness<T> {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), last: tokio::sync::Mutex::default() }
    }
}

impl<T: Copy> Witness<T> {
    /// The answer to a question that was asked after this call had begun.
    pub(super) async fn says(&self, ask: impl Future<Output = T>) -> T {
        let before = self.asked.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        match last.take() {
            Some(answer) if self.asked.load(Ordering::Acquire) != before => {
                *last = Some(answer);
                answer
            }
            _ => {
                self.asked.fetch_add(1, Ordering::Release);
                let answer = ask.await;
                *last = Some(answer);
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests;
