//! Results, published until the queue has them that an answer depends on.

use std::sync::Arc;

use lapin::BasicProperties;

use super::handle::not_published;
use crate::broker::BrokerError;
use crate::broker::connection::Session;
use crate::broker::publisher::{Publisher, Routed};
use crate::broker::topology::Names;
use crate::config::Settings;
use crate::retry::Budget;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Span;

/// Clones share the counters.
#[derive(Clone)]
pub(super) struct Results {
    exchange: Arc<str>,
    /// Whether the worker has a queue of its own for results.
    own_queue: bool,
    budget: Budget,
    metrics: Metrics,
}

/// One message.
struct Sending<'a> {
    publisher: &'a Publisher,
    exchange: &'a str,
    key: &'a str,
    body: &'a [u8],
    properties: BasicProperties,
}

impl Sending<'_> {
    async fn to_every_reader(&self) -> Result<Routed, BrokerError> {
        self.publisher.publish(self.exchange, self.key, self.body, self.properties.clone()).await
    }

    async fn to_own_queue(&self) -> Result<Routed, BrokerError> {
        // Boxed: it is rare, and its future would be a part of every delivery's.
        Box::pin(self.publisher.publish_to_own(self.exchange, self.key, self.body, self.properties.clone())).await
    }
}

impl Results {
    pub fn new(settings: &Settings, budget: Budget, metrics: Metrics) -> Self {
        let exchange = Names::new(&settings.broker.prefix).exchange().into();
        Self { exchange, own_queue: settings.broker.results_queue, budget, metrics }
    }

    /// Publishes until the broker confirms that a queue has it. `false` when none has it within the budget: the delivery
    /// must not be held for as long as that lasts.
    ///
    /// The broker refuses a message whole when one queue refuses it, and does not say which. What a reader's queue refuses
    /// is lost for that reader, and is published again for the worker's own queue alone.
    pub async fn publish(
        &self,
        session: &Session,
        key: &str,
        body: &str,
        properties: BasicProperties,
        span: &mut Span,
    ) -> Result<bool, BrokerError> {
        let (publisher, exchange, body) = (session.publisher(), &*self.exchange, body.as_bytes());
        let sending = Sending { publisher, exchange, key, body, properties };
        let (mut budget, mut everyone) = (self.budget.start(), true);
        loop {
            let sent = if everyone { sending.to_every_reader().await } else { sending.to_own_queue().await };
            let routed = not_published(sent, span)?;
            let taken = match routed {
                Routed::Yes => true,
                Routed::Refused if everyone => not_published(self.without_readers(&sending).await, span)?,
                Routed::Refused | Routed::No => false,
            };
            if taken {
                return Ok(true);
            }
            // A reader has what it took, and gets it no second time.
            everyone = routed == Routed::No && everyone;
            let Some(delay) = budget.next(None) else {
                span.failed("unroutable", || "no queue took it".to_owned());
                tracing::error!(exchange, key, ?routed, "no queue takes results");
                return Ok(false);
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// Whether all that an answer depends on has it, after a queue has refused it. Where the worker's own queue takes it at
    /// once, that queue was a reader's.
    async fn without_readers(&self, sending: &Sending<'_>) -> Result<bool, BrokerError> {
        let own = if self.own_queue { sending.to_own_queue().await? } else { Routed::Yes };
        if own == Routed::Yes {
            self.metrics.result_refused();
            let key = sending.key;
            tracing::warn!(key, "a reader's queue did not take a result, which is lost for it; is that queue full?");
        }
        Ok(own == Routed::Yes)
    }
}
