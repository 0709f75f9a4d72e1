//! May the worker consume? One switch per cause, so that the end of one trouble cannot hide another.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use crate::contract::reasons::Stop;
use crate::platform::telemetry::metrics::Metrics;

/// The line requests come in on: open while no [`Stop`] holds. Clones share one state.
#[derive(Debug, Clone)]
pub struct Intake(Arc<Switches>);

#[derive(Debug)]
struct Switches {
    /// Each cause that holds now, with a sentence for a person. Open = empty.
    stops: watch::Sender<BTreeMap<Stop, String>>,
    /// Told inside the state's lock, so that the gauge and the state cannot end up different.
    metrics: Metrics,
}

impl Intake {
    /// An open line.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Switches { stops: watch::Sender::new(BTreeMap::new()), metrics }))
    }

    /// Closes the line for this cause until [`Intake::resume`]. `why` is shown on `/readyz` and logged, so it must hold
    /// no secret; a cause that holds already only gets the new `why`.
    pub fn stop(&self, stop: Stop, why: String) {
        let mut first = false;
        let newest = why.clone();
        self.0.stops.send_if_modified(|stops| {
            let before = stops.insert(stop, why);
            first = before.is_none();
            if first {
                self.0.metrics.line_stopped(stop, true);
            }
            before.as_ref() != Some(&newest)
        });
        // Once per trouble: every request in flight reports the same one.
        match stop {
            _ if !first => {}
            // The provider's own wish, and over by itself.
            Stop::ProviderBusy => tracing::warn!(cause = stop.as_str(), why = newest, "stopped consuming"),
            _ => tracing::error!(cause = stop.as_str(), why = newest, "stopped consuming"),
        }
    }

    /// Takes this cause back. The line opens when it was the last one.
    pub fn resume(&self, stop: Stop) {
        let mut left = 0;
        let held = self.0.stops.send_if_modified(|stops| {
            let held = stops.remove(&stop).is_some();
            if held {
                self.0.metrics.line_stopped(stop, false);
            }
            left = stops.len();
            held
        });
        if held {
            tracing::info!(cause = stop.as_str(), causes_left = left, "a reason not to consume is gone");
        }
    }

    /// The causes that hold now, each with its why.
    #[must_use]
    pub fn stopped(&self) -> Vec<(Stop, String)> {
        self.0.stops.borrow().iter().map(|(stop, why)| (*stop, why.clone())).collect()
    }

    /// Whether this cause holds now.
    #[must_use]
    pub fn holds(&self, stop: Stop) -> bool {
        self.0.stops.borrow().contains_key(&stop)
    }

    /// Whether the worker may consume now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.stops.borrow().is_empty()
    }

    /// Waits until the line is open; at once if it is. Cancel-safe. It may have closed again when this returns.
    pub async fn wait_open(&self) {
        self.wait(BTreeMap::is_empty).await;
    }

    /// Waits until the line is closed; at once if it is. Cancel-safe. A closure shorter than the wake-up may be missed.
    pub async fn wait_closed(&self) {
        self.wait(|stops| !stops.is_empty()).await;
    }

    async fn wait(&self, until: impl Fn(&BTreeMap<Stop, String>) -> bool) {
        // Errs only when the sender is gone, and `self` holds it.
        let _ = self.0.stops.subscribe().wait_for(|stops| until(stops)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const A_MOMENT: Duration = Duration::from_millis(30);

    fn line() -> (Intake, Metrics) {
        let metrics = Metrics::new().unwrap();
        (Intake::new(metrics.clone()), metrics)
    }

    #[tokio::test]
    async fn it_opens_only_when_the_last_cause_is_gone() {
        let (line, _) = line();
        assert!(line.is_open());
        line.stop(Stop::Ledger, "disk full".into());
        line.stop(Stop::ProviderKey, "401".into());
        line.resume(Stop::Ledger);
        assert!(!line.is_open());
        assert!(timeout(A_MOMENT, line.wait_open()).await.is_err());
        line.resume(Stop::ProviderKey);
        assert!(line.is_open());
        timeout(SOON, line.wait_open()).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_a_clone() {
        let (line, _) = line();
        let clone = line.clone();
        let waiter = tokio::spawn(async move {
            clone.wait_closed().await;
            clone.wait_open().await;
        });
        assert!(timeout(A_MOMENT, line.wait_closed()).await.is_err());
        line.stop(Stop::ProviderDown, "five in a row".into());
        tokio::time::sleep(A_MOMENT).await;
        assert!(!waiter.is_finished());
        line.resume(Stop::ProviderDown);
        timeout(SOON, waiter).await.unwrap().unwrap();
    }

    #[test]
    fn stopping_twice_keeps_the_newest_why_and_needs_one_resume() {
        let (line, _) = line();
        line.stop(Stop::ProviderBusy, "wait 1 s".into());
        line.stop(Stop::ProviderBusy, "wait 9 s".into());
        assert_eq!(line.stopped(), [(Stop::ProviderBusy, "wait 9 s".to_owned())]);
        line.resume(Stop::ProviderBusy);
        line.resume(Stop::ProviderBusy);
        assert!(line.stopped().is_empty());
    }

    #[test]
    fn the_gauge_follows() {
        let (line, metrics) = line();
        line.stop(Stop::Ledger, "disk full".into());
        assert!(metrics.render().unwrap().contains(r#"line_stopped{cause="ledger"} 1"#));
        line.resume(Stop::Ledger);
        assert!(metrics.render().unwrap().contains(r#"line_stopped{cause="ledger"} 0"#));
    }
}
