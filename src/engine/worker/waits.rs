//! Requests that have to wait, in one of the wait queues; and what happens where none takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::AGAIN;
use crate::contract::reasons::{PutOff, Stop};
use crate::neighbours::broker::BrokerError;
use crate::neighbours::broker::settlement::{Copied, Delivery, Return};
use crate::neighbours::pace::intake::Intake;
use crate::platform::retry;
use crate::platform::telemetry::metrics::Metrics;
use crate::settings::RetrySettings;

/// The longest wait for a place in the dead queue.
const BEFORE_BURIAL: Duration = Duration::from_secs(300);

/// The wait queues; clones share everything.
#[derive(Clone)]
pub(super) struct Waits {
    /// One queue each.
    delays: Arc<[Duration]>,
    line: Intake,
    metrics: Metrics,
    hand_back: CancellationToken,
    /// How many deliveries no wait queue takes.
    held: Arc<AtomicUsize>,
}

/// One delivery that no wait queue takes. The line is stopped as long as there is one.
struct Held<'a>(&'a Waits);

impl<'a> Held<'a> {
    fn new(waits: &'a Waits) -> Self {
        waits.held.fetch_add(1, Ordering::SeqCst);
        waits.line.stop(
            Stop::WaitQueues,
            "no wait queue takes a request that has to wait; a limit of their lengths, set by a policy, may be why"
                .into(),
        );
        Self(waits)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.0.held.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.line.resume(Stop::WaitQueues);
        }
    }
}

impl Waits {
    pub fn new(
        retry: &RetrySettings,
        poll: Duration,
        line: Intake,
        metrics: Metrics,
        hand_back: CancellationToken,
    ) -> Self {
        let delays = retry.wait_steps.iter().copied().chain([poll]).collect();
        Self { delays, line, metrics, hand_back, held: Arc::default() }
    }

    /// The shortest wait.
    pub fn shortest(&self) -> Duration {
        self.delays.iter().min().copied().unwrap_or(BEFORE_BURIAL)
    }

    /// How long a message waits that the dead queue does not take: its answer is published again after each wait.
    pub fn before_burial(&self) -> Duration {
        let short = self.delays.iter().filter(|delay| **delay <= BEFORE_BURIAL);
        short.max().copied().unwrap_or_else(|| self.shortest())
    }

    /// Puts a delivery off: for `delay`, or where that queue does not take it for another time. Where none takes it, the
    /// line stops until one does.
    ///
    /// # Errors
    /// When the session is lost; the broker hands the message out again.
    pub async fn put_off(&self, delivery: Delivery, delay: Duration, reason: PutOff) -> Result<(), BrokerError> {
        match self.anywhere(delivery, delay, reason).await? {
            None => Ok(()),
            Some(delivery) => Box::pin(self.hold(delivery, delay, reason)).await,
        }
    }

    /// Tries again until a queue takes the delivery, or the worker stops.
    async fn hold(&self, mut delivery: Delivery, delay: Duration, reason: PutOff) -> Result<(), BrokerError> {
        let (_held, mut again) = (Held::new(self), retry::forever(AGAIN.0, AGAIN.1));
        loop {
            let pause = again.next(None).unwrap_or(AGAIN.1);
            if self.hand_back.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return delivery.returned(Return::Fresh).await;
            }
            match self.anywhere(delivery, delay, reason).await? {
                None => return Ok(()),
                Some(refused) => delivery = refused,
            }
        }
    }

    /// Tries each wait queue; gives back a delivery that none takes.
    async fn anywhere(
        &self,
        mut delivery: Delivery,
        delay: Duration,
        reason: PutOff,
    ) -> Result<Option<Delivery>, BrokerError> {
        for other in self.nearest(delay) {
            match delivery.put_off(other, reason).await? {
                Copied::Yes => {
                    self.metrics.put_off(reason);
                    return Ok(None);
                }
                Copied::Refused(refused) => delivery = *refused,
            }
        }
        Ok(Some(delivery))
    }

    /// All waits: this one, then the longer ones, then the shorter ones.
    fn nearest(&self, delay: Duration) -> Vec<Duration> {
        let mut all: Vec<Duration> = self.delays.to_vec();
        all.sort_by_key(|other| (*other < delay, other.abs_diff(delay)));
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn another_wait_is_rather_longer_than_shorter() {
        let set = [("PROVIDER__TOKEN", "x"), ("GUARD__NONE", "true"), ("GUARD__POLL", "30s")];
        let set = set.into_iter().chain([("BROKER__URL", "amqp://h"), ("RETRY__WAIT_STEPS", "5s,30s,2m,10m")]);
        let set = set.map(|(key, value)| (format!("ASSET_ERASER__{key}"), value.to_owned()));
        let settings = Settings::load(None, set).unwrap();
        let metrics = Metrics::new().unwrap();
        let line = Intake::new(metrics.clone());
        let waits = Waits::new(&settings.retry, settings.guard.poll, line, metrics, CancellationToken::new());
        let seconds = |delays: Vec<Duration>| delays.iter().map(Duration::as_secs).collect::<Vec<_>>();
        assert_eq!(seconds(waits.nearest(Duration::from_secs(30))), [30, 120, 600, 5]);
        assert_eq!((waits.shortest().as_secs(), waits.before_burial().as_secs()), (5, 120));
    }
}
