//! Deliveries, one after the other, until there are no more for whatever reason.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use lapin::Channel;
use lapin::options::BasicCancelOptions;

use super::BrokerError;
use super::publisher::Publisher;
use super::settlement::Delivery;
use super::topology::Names;
use crate::platform::telemetry::metrics::Metrics;

/// A consumer of the request queue.
pub struct Consumer {
    inner: lapin::Consumer,
    /// Those that were cancelled, with what had arrived by then. The oldest first.
    before: VecDeque<lapin::Consumer>,
    channel: Channel,
    publisher: Arc<Publisher>,
    names: Names,
    metrics: Metrics,
}

impl Consumer {
    pub(super) fn new(
        inner: lapin::Consumer,
        channel: Channel,
        publisher: Arc<Publisher>,
        names: Names,
        metrics: Metrics,
    ) -> Self {
        Self { inner, before: VecDeque::new(), channel, publisher, names, metrics }
    }

    /// The next delivery; `None` when there will be no more: cancelled by us or by the server, channel or connection
    /// gone. All alike: a caller that wants more opens another session. Cancel-safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        while let Some(before) = self.before.front_mut() {
            match before.next().await {
                None => drop(self.before.pop_front()),
                arrived => return self.delivery(arrived),
            }
        }
        let arrived = self.inner.next().await;
        self.delivery(arrived)
    }

    fn delivery(&self, arrived: Option<lapin::Result<lapin::message::Delivery>>) -> Option<Delivery> {
        match arrived? {
            Ok(delivery) => {
                Some(Delivery::new(delivery, self.publisher.clone(), self.names.clone(), self.metrics.clone()))
            }
            Err(error) => {
                tracing::warn!(%error, "the consumer failed");
                None
            }
        }
    }

    /// Goes on with another consumer of the queue. What had arrived before still comes, first.
    pub(super) async fn go_on_with(&mut self, next: lapin::Consumer) -> Result<(), BrokerError> {
        let before = std::mem::replace(&mut self.inner, next);
        let cancelled = self.cancelled(&before).await;
        self.before.push_back(before);
        cancelled
    }

    /// Asks the broker for no more. What has arrived by then still comes out of [`Consumer::next`].
    ///
    /// # Errors
    /// When the channel is gone.
    pub async fn cancel(&self) -> Result<(), BrokerError> {
        self.cancelled(&self.inner).await
    }

    async fn cancelled(&self, consumer: &lapin::Consumer) -> Result<(), BrokerError> {
        let options = BasicCancelOptions::default();
        let cancelled = async { Ok(self.channel.basic_cancel(consumer.tag(), options).await?) };
        self.publisher.while_it_lasts(cancelled).await
    }
}
