//! Deliveries, one after the other, until there are no more for whatever reason.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::Channel;
use lapin::options::BasicCancelOptions;

use super::BrokerError;
use super::publisher::Publisher;
use super::settlement::Delivery;
use super::topology::Names;
use crate::telemetry::metrics::Metrics;

/// A consumer of the request queue.
pub struct Consumer {
    inner: lapin::Consumer,
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
        Self { inner, channel, publisher, names, metrics }
    }

    /// The next delivery; `None` when there will be no more: cancelled by us or by the server, channel or connection
    /// gone. All alike: whoever wants more opens another session. Cancel-safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        match self.inner.next().await? {
            Ok(delivery) => {
                Some(Delivery::new(delivery, self.publisher.clone(), self.names.clone(), self.metrics.clone()))
            }
            Err(error) => {
                tracing::warn!(%error, "the consumer failed");
                None
            }
        }
    }

    /// Asks the broker for no more. What has arrived by then still comes out of [`Consumer::next`].
    ///
    /// # Errors
    /// When the channel is gone.
    pub async fn cancel(&self) -> Result<(), BrokerError> {
        self.channel.basic_cancel(self.inner.tag(), BasicCancelOptions::default()).await?;
        Ok(())
    }
}
