//! The loop: deliveries in, at most as many at once as the gate permits, each settled exactly once; drained on shutdown.

mod handle;
mod publishers;
mod results;
mod waits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::handle::Handler;
use crate::contract::reasons::PutOff;
use crate::engine::eraser::Eraser;
use crate::neighbours::broker::consumer::Consumer;
use crate::neighbours::broker::session::Session;
use crate::neighbours::broker::settlement::{Copied, Delivery, Return};
use crate::neighbours::broker::topology::TopologySettings;
use crate::neighbours::broker::{BrokerError, BrokerState};
use crate::neighbours::pace::gate::Gate;
use crate::neighbours::pace::intake::Intake;
use crate::platform::retry;
use crate::platform::telemetry::metrics::Metrics;
use crate::settings::Settings;

/// Shortest and longest wait between two tries to reach the broker, and between two probes of what stopped the line.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// How long handing back may take after the grace time, before the connection is closed over it.
const HAND_BACK: Duration = Duration::from_secs(5);

/// The worker: owns every task that handles a delivery.
pub struct Worker {
    settings: Settings,
    handler: Handler,
    line: Intake,
    metrics: Metrics,
    /// What `/readyz` says of the broker.
    state: watch::Sender<BrokerState>,
    /// One task a delivery. They outlive a lost session: a deletion that runs is finished and recorded.
    tasks: JoinSet<()>,
    /// Bounds the tasks of all sessions together, and says how many that may be now.
    gate: Gate,
    /// Cancelled when the grace time is over: a request that is still at work hands its delivery back.
    hand_back: CancellationToken,
}

/// How many deliveries the broker sends ahead: the limit, rounded up to a power of two, since every change costs a new
/// consumer. Goes down only when it is much too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefetch(u16);

/// The least prefetch: fewer would make the worker wait for the broker between two requests.
const LEAST_PREFETCH: usize = 8;

impl Prefetch {
    fn new(limit: usize) -> Self {
        Self(u16::try_from(limit.max(LEAST_PREFETCH).next_power_of_two()).unwrap_or(u16::MAX))
    }

    /// The one to change to, if any.
    fn follow(self, limit: usize) -> Option<Self> {
        let fitting = Self::new(limit);
        (fitting.0 > self.0 || fitting.0 < self.0 / 2).then_some(fitting)
    }
}

/// Why a consumer was left.
enum Left {
    /// Finish and end.
    Shutdown,
    /// The line was stopped: the session stays, consuming ends.
    LineStopped,
    /// Connection, channel or consumer are gone, for whatever reason: all alike.
    Lost,
}

impl Worker {
    /// A worker that reports the broker's state to `state`.
    #[must_use]
    pub fn new(
        settings: Settings,
        eraser: Eraser,
        gate: Gate,
        line: Intake,
        metrics: Metrics,
        state: watch::Sender<BrokerState>,
    ) -> Self {
        let hand_back = CancellationToken::new();
        let handler = Handler::new(&settings, eraser, line.clone(), metrics.clone(), hand_back.clone());
        Self { settings, handler, gate, line, metrics, state, tasks: JoinSet::new(), hand_back }
    }

    /// Works until `shutdown`, through every loss of the broker.
    ///
    /// # Errors
    /// Only at the start, when a queue exists with other arguments: waiting would not mend that.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        self.tell(BrokerState::Connecting);
        let mut again = retry::forever(AGAIN.0, AGAIN.1);
        let mut started = false;
        while !shutdown.is_cancelled() {
            let opened = tokio::select! {
                () = shutdown.cancelled() => break,
                opened = self.open() => opened,
            };
            match opened {
                Ok(session) => {
                    started = true;
                    let began = Instant::now();
                    self.serve(&session, &shutdown).await;
                    if shutdown.is_cancelled() {
                        self.drain().await;
                    }
                    session.close().await;
                    // A session that ends at once every time must not be rebuilt in a tight loop.
                    if began.elapsed() > AGAIN.1 {
                        again.reset();
                    } else if !shutdown.is_cancelled() {
                        tokio::time::sleep(again.next(None).unwrap_or(AGAIN.1)).await;
                    }
                }
                Err(error) if !started && error.is_permanent() => return Err(error),
                Err(error) => {
                    let delay = again.next(None).unwrap_or(AGAIN.1);
                    tracing::warn!(%error, ?delay, "no session with the broker, trying again");
                    self.tell(BrokerState::Refused(error.to_string().into()));
                    tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(delay) => {} }
                }
            }
        }
        self.drain().await;
        Ok(())
    }

    async fn open(&self) -> Result<Arc<Session>, BrokerError> {
        let topology = TopologySettings::of(&self.settings);
        let Settings { broker, publishers, .. } = &self.settings;
        Session::open(broker, publishers.as_ref(), &topology, &self.metrics).await.map(Arc::new)
    }

    /// Consumes on one session until it is lost or the worker shuts down.
    async fn serve(&mut self, session: &Arc<Session>, shutdown: &CancellationToken) {
        self.tell(BrokerState::Connected);
        tracing::info!("broker connected");
        loop {
            let line = self.line.clone();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = session.lost().cancelled_owned() => break,
                () = line.wait_open() => {}
            }
            let prefetch = Prefetch::new(*self.gate.permits().limit().borrow());
            let mut consumer = match session.consume(prefetch.0).await {
                Ok(consumer) => consumer,
                Err(error) => {
                    tracing::warn!(%error, "could not consume");
                    break;
                }
            };
            let left = self.consume(session, &mut consumer, prefetch, shutdown).await;
            match left {
                Left::Lost => break,
                Left::Shutdown | Left::LineStopped => self.stop_consuming(consumer, &left).await,
            }
            if let Left::Shutdown = left {
                return;
            }
        }
        tracing::warn!("broker connection lost; what runs is finished and recorded");
        self.tell(BrokerState::Connecting);
    }

    async fn consume(
        &mut self,
        session: &Arc<Session>,
        consumer: &mut Consumer,
        mut prefetch: Prefetch,
        shutdown: &CancellationToken,
    ) -> Left {
        let (mut state, mut limit) = (session.state(), self.gate.permits().limit());
        // It may have changed since the consumer was made.
        limit.mark_changed();
        let (lost, line) = (session.lost(), self.line.clone());
        loop {
            let permits = self.gate.permits().clone();
            // Cancel-safe: a permit that was taken is given back, and a delivery is taken out of the consumer's
            // buffer only in the poll that returns it.
            let next = async {
                let permit = permits.acquire().await;
                consumer.next().await.map(|delivery| (delivery, permit))
            };
            tokio::select! {
                () = shutdown.cancelled() => return Left::Shutdown,
                () = lost.cancelled() => return Left::Lost,
                () = line.wait_closed() => return Left::LineStopped,
                Ok(()) = state.changed() => {
                    let now = state.borrow_and_update().clone();
                    self.tell(now);
                }
                Ok(()) = limit.changed() => {
                    let now = *limit.borrow_and_update();
                    if let Some(other) = prefetch.follow(now) {
                        tracing::debug!(limit = now, prefetch = other.0, "another prefetch");
                        if let Err(error) = session.change_prefetch(consumer, other.0).await {
                            tracing::warn!(%error, "could not change the prefetch");
                            return Left::Lost;
                        }
                        prefetch = other;
                    }
                }
                // What it held is not settled any more. The broker hands it out again once the session is gone.
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => if !self.ended(&ended) {
                    lost.cancel();
                    return Left::Lost;
                },
                next = next => match next {
                    None => return Left::Lost,
                    Some((delivery, permit)) => {
                        self.metrics.consumer_worked();
                        let (handler, session) = (self.handler.clone(), session.clone());
                        // Boxed, as what is spawned is moved several times, and this is some kilobytes.
                        let work = Box::pin(async move {
                            handler.handle(delivery, &session).await;
                            drop(permit);
                        });
                        self.tasks.spawn(work);
                    }
                },
            }
        }
    }

    /// Cancels the consumer and gives away what it had buffered: on shutdown to another worker at once, at a stopped
    /// line to a wait queue, or where that takes nothing to the end of the queue.
    async fn stop_consuming(&self, mut consumer: Consumer, left: &Left) {
        if let Err(error) = consumer.cancel().await {
            tracing::warn!(%error, "could not cancel the consumer");
            return;
        }
        while let Some(delivery) = consumer.next().await {
            let given: Result<(), BrokerError> = match left {
                Left::Shutdown => delivery.returned(Return::Fresh).await,
                Left::LineStopped | Left::Lost => self.wait_shortest(delivery).await,
            };
            if let Err(error) = given {
                tracing::warn!(%error, "a delivery was not settled; the broker hands it out again");
            }
        }
    }

    async fn wait_shortest(&self, delivery: Delivery) -> Result<(), BrokerError> {
        let delay = self.handler.shortest_wait();
        match delivery.put_off(delay, PutOff::LineStopped).await? {
            Copied::Yes => self.metrics.put_off(PutOff::LineStopped),
            Copied::Refused(delivery) => return delivery.returned(Return::Fresh).await,
        }
        Ok(())
    }

    /// Waits for what runs: the grace time, then until it has handed back.
    async fn drain(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        tracing::info!(running = self.tasks.len(), "draining");
        if tokio::time::timeout(self.settings.worker.grace, self.join_all()).await.is_err() {
            self.hand_back.cancel();
            if tokio::time::timeout(HAND_BACK, self.join_all()).await.is_err() {
                tracing::warn!(running = self.tasks.len(), "not handed back in time; the broker hands them out again");
                self.tasks.shutdown().await;
            }
        }
    }

    async fn join_all(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(&ended);
        }
    }

    /// Panics of a request are caught and settled in the handler; one that gets here is the handler's own. False for it.
    fn ended(&self, ended: &Result<(), tokio::task::JoinError>) -> bool {
        if let Err(error) = ended {
            self.metrics.panicked();
            tracing::error!(%error, "a handler ended badly");
        }
        ended.is_ok()
    }

    fn tell(&self, state: BrokerState) {
        self.metrics.broker_connected(state == BrokerState::Connected);
        self.state.send_replace(state);
    }
}

/// Probes whatever stopped the line until it is open again; for ever, until `shutdown`.
pub async fn probe_when_stopped(eraser: Eraser, line: Intake, shutdown: CancellationToken) {
    let watch = async {
        loop {
            line.wait_closed().await;
            let mut again = retry::forever(AGAIN.0, AGAIN.1);
            while !line.is_open() {
                tokio::time::sleep(again.next(None).unwrap_or(AGAIN.1)).await;
                eraser.probe().await;
            }
        }
    };
    tokio::select! { () = shutdown.cancelled() => {}, () = watch => {} }
}

#[cfg(test)]
mod tests {
    mod panic;

    use super::*;

    #[test]
    fn the_prefetch_follows_the_limit_in_steps() {
        let prefetch = Prefetch::new(3);
        assert_eq!(prefetch, Prefetch(8));
        assert_eq!((prefetch.follow(8), prefetch.follow(9)), (None, Some(Prefetch(16))));
        let prefetch = Prefetch(64);
        assert_eq!((prefetch.follow(64), prefetch.follow(20), prefetch.follow(10)), (None, None, Some(Prefetch(16))));
    }
}
