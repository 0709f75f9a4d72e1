//! The failures of all requests together: when they are an outage, consuming stops, and no request's attempts are used up.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Eraser, Inner};
use crate::pace::circuit::Circuit;
use crate::pace::line::{Line, Stop};
use crate::provider::Meaning;
use crate::telemetry::metrics::Metrics;

/// Between two looks at the ledger. A little more than what its own looks are apart.
const WATCH: Duration = Duration::from_millis(1_100);

impl Eraser {
    /// Asks whatever stopped the line whether it is well again, and lets the line go on where it is.
    pub async fn probe(&self) {
        let eraser = &*self.0;
        for (stop, _) in eraser.line.stopped() {
            let well = match stop {
                Stop::Ledger | Stop::LedgerWentBack => eraser.ledger_is_well().await,
                Stop::Brake => eraser.held_by().await.is_ok_and(|held| held.is_none()),
                Stop::ProviderBusy => eraser.provider.gate().paused_for().is_zero(),
                Stop::ProviderKey => !matches!(eraser.provider.probe().await.meaning, Meaning::KeyRefused(_)),
                Stop::ProviderDown => {
                    !matches!(eraser.provider.probe().await.meaning, Meaning::Retry { .. } | Meaning::KeyRefused(_))
                }
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

impl Inner {
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

/// The circuit of those who are asked by every request: the provider, or the guard.
pub(super) struct Outage {
    stop: Stop,
    began: Instant,
    circuit: Mutex<Circuit>,
    line: Line,
    metrics: Metrics,
}

impl Outage {
    /// A closed circuit; open, it stops the line with `stop`.
    pub(super) fn new(stop: Stop, line: Line, metrics: Metrics) -> Self {
        Self { stop, began: Instant::now(), circuit: Mutex::default(), line, metrics }
    }

    /// A clear answer: whatever failed before was not an outage.
    pub(super) fn answered(&self) {
        self.circuit().answered(self.now());
    }

    /// A call about this asset has failed. True while there is an outage: then the request is to be put off.
    pub(super) fn failed(&self, asset: &str, why: &str) -> bool {
        let opens = self.circuit().failed(self.now(), asset);
        self.stop_if(opens, why)
    }

    /// A request for this asset has used up its in-process retries. True while there is an outage.
    pub(super) fn gave_up(&self, asset: &str, why: &str) -> bool {
        let opens = self.circuit().gave_up(asset);
        self.stop_if(opens, why)
    }

    /// A probe had a clear answer: consuming may go on.
    pub(super) fn is_over(&self) {
        self.circuit().close();
        self.line.resume(self.stop);
    }

    fn stop_if(&self, opens: bool, why: &str) -> bool {
        if opens {
            self.metrics.circuit_opened(self.stop.as_str());
            self.line.stop(self.stop, format!("it fails for everybody: {why}"));
        }
        self.line.holds(self.stop)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
