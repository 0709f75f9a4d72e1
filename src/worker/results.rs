//! Results, published until the queue has them that an answer depends on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use tokio::sync::watch;

use super::handle::not_published;
use crate::broker::BrokerError;
use crate::broker::connection::Session;
use crate::broker::publisher::{Publisher, Routed};
use crate::broker::topology::Names;
use crate::config::Settings;
use crate::retry::Budget;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Span;

/// How long a queue may take to find a leader again. RabbitMQ refuses what is published meanwhile, as a full queue does.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long after a refusal the next one is no surprise.
const KNOWN: Duration = Duration::from_secs(60);

/// Clones share what they know of the readers.
#[derive(Clone)]
pub(super) struct Results {
    exchange: Arc<str>,
    /// Whether the worker has a queue of its own for results.
    own_queue: bool,
    budget: Budget,
    /// When a reader's queue refused a result last.
    refused: watch::Sender<Option<Instant>>,
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
        let (own_queue, refused) = (settings.broker.results_queue, watch::Sender::new(None));
        Self { exchange, own_queue, budget, refused, metrics }
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
        let mut budget = self.budget.start();
        let mut routed = not_published(self.to_all(&sending).await, span)?;
        while routed != Routed::Yes {
            let Some(delay) = budget.next(None) else {
                span.failed("unroutable", || "no queue took it".to_owned());
                tracing::error!(exchange, key, ?routed, "no queue takes results");
                return Ok(false);
            };
            tokio::time::sleep(delay).await;
            // A reader has what it took, and gets it no second time.
            let again = match routed {
                Routed::Refused => sending.to_own_queue().await,
                _ => self.to_all(&sending).await,
            };
            routed = not_published(again, span)?;
        }
        Ok(true)
    }

    /// To every queue, or where one refuses it, to all that an answer depends on.
    async fn to_all(&self, sending: &Sending<'_>) -> Result<Routed, BrokerError> {
        match self.patiently(sending).await? {
            Routed::Refused => self.without_readers(sending).await,
            routed => Ok(routed),
        }
    }

    /// To every queue; once more after a while where one refuses it, unless that is no surprise.
    async fn patiently(&self, sending: &Sending<'_>) -> Result<Routed, BrokerError> {
        let routed = sending.to_every_reader().await?;
        if routed != Routed::Refused || self.refused.borrow().is_some_and(|at| at.elapsed() < KNOWN) {
            return Ok(routed);
        }
        tokio::time::sleep(PATIENCE).await;
        sending.to_every_reader().await
    }

    /// To the worker's own queue, after a queue has refused it. Where the own queue takes it, or there is none, the other was
    /// a reader's.
    async fn without_readers(&self, sending: &Sending<'_>) -> Result<Routed, BrokerError> {
        let own = if self.own_queue { sending.to_own_queue().await? } else { Routed::Yes };
        if own == Routed::Yes {
            self.refused.send_replace(Some(Instant::now()));
            self.metrics.result_refused();
            let key = sending.key;
            tracing::warn!(key, "a reader's queue did not take a result, which is lost for it; is that queue full?");
        }
        Ok(own)
    }
}
