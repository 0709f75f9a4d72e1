//! What the overview asks others for. Kept for a moment, as many may look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::Here;
use crate::neighbours::broker::BrokerError;
use crate::neighbours::broker::depths::{Depth, depths};
use crate::neighbours::ledger::{Braking, LedgerError, Overview};

/// How long a glance is good for.
const FRESH: Duration = Duration::from_secs(5);

/// Requests shown in each state.
const MOST: u32 = 20;

/// How far back decisions are counted.
pub(super) const SPAN: SignedDuration = SignedDuration::from_hours(1);

/// The last glance.
#[derive(Default)]
pub(super) struct Glances(Mutex<Option<(Instant, Arc<Glance>)>>);

/// What was seen, each part by itself: one that cannot be had must not hide the others.
pub(super) struct Glance {
    pub(super) at: Timestamp,
    pub(super) queues: Result<Vec<Depth>, BrokerError>,
    pub(super) ledger: Result<Overview, LedgerError>,
    pub(super) braking: Option<Result<Braking, LedgerError>>,
}

impl Here {
    pub(super) async fn glance(&self) -> Arc<Glance> {
        // Held while asking, so that no more than one page asks at a time, and the others get what it got.
        let mut last = self.console.0.glances.0.lock().await;
        if let Some((at, glance)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return glance.clone();
        }
        let (now, console, ledger) = (Timestamp::now(), &self.console.0, &self.state.ledger);
        let braking = async {
            match &console.brake {
                Some(brake) => Some(ledger.braking(brake).await),
                None => None,
            }
        };
        let (queues, overview, braking) = tokio::join!(
            depths(&console.broker, &console.topology),
            ledger.overview(now.saturating_sub(SPAN).unwrap_or(now), MOST),
            braking
        );
        let glance = Arc::new(Glance { at: now, queues, ledger: overview, braking });
        *last = Some((Instant::now(), glance.clone()));
        glance
    }
}
