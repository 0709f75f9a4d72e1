//! Results, published until the queue has them that an answer depends on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use tokio::sync::watch;

use crate::neighbours::broker::BrokerError;
use crate::neighbours::broker::publisher::{Publisher, Routed};
use crate::neighbours::broker::session::Session;
use crate::neighbours::broker::topology::Names;
use crate::platform::retry::{Backoff, Budget};
use crate::platform::telemetry::metrics::Metrics;
use crate::platform::telemetry::traces::Span;
use crate::settings::Settings;

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
struct ResultSending<'a> {
    publisher: &'a Publisher,
    exchange: &'a str,
    key: &'a str,
    body: &'a [u8],
    properties: BasicProperties,
}

impl ResultSending<'_> {
    async fn to_every_reader(&self) -> Result<Routed, BrokerError> {
        self.publisher.publish(self.exchange, self.key, self.body, self.properties.clone()).await
    }

    async fn to_every_reader_again(&self) -> Result<Routed, BrokerError> {
        self.publisher.publish_apart(self.exchange, self.key, self.body, self.properties.clone()).await
    }

    async fn to_own_queue(&self) -> Result<Routed, BrokerError> {
        self.publisher.publish_to_own(self.exchange, self.key, self.body, self.properties.clone()).await
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
    pub async fn publish(
        &self,
        session: &Session,
        key: &str,
        body: &str,
        properties: BasicProperties,
        span: &mut Span,
    ) -> Result<bool, BrokerError> {
        let (publisher, exchange, body) = (session.publisher(), &*self.exchange, body.as_bytes());
        let sending = ResultSending { publisher, exchange, key, body, properties };
        let mut budget = self.budget.start();
        let done = not_published(self.to_all(&sending, &mut budget).await, span)?;
        if !done {
            span.failed("unroutable", || "no queue took it".to_owned());
            tracing::error!(exchange, key, "no queue takes results");
        }
        Ok(done)
    }

    async fn to_all(&self, sending: &ResultSending<'_>, budget: &mut Backoff) -> Result<bool, BrokerError> {
        loop {
            match sending.to_every_reader().await? {
                Routed::Yes => return Ok(true),
                Routed::Refused => return Box::pin(self.after_refusal(sending, budget)).await,
                Routed::No => {}
            }
            if !waited(budget).await {
                return Ok(false);
            }
        }
    }

    /// The broker refuses a message whole when one queue refuses it, and does not say which. So the worker's own queue gets it
    /// alone, as that is what the answer depends on; what is refused once that queue has it, is a reader's to lose.
    async fn after_refusal(&self, sending: &ResultSending<'_>, budget: &mut Backoff) -> Result<bool, BrokerError> {
        let known = self.refused.borrow().is_some_and(|at| at.elapsed() < KNOWN);
        if !known {
            tokio::time::sleep(PATIENCE).await;
        }
        if self.own_queue && !to_own_queue(sending, budget).await? {
            return Ok(false);
        }
        let again = if known { Routed::Refused } else { sending.to_every_reader_again().await? };
        if again == Routed::Refused {
            self.note_refused(sending.key);
        }
        Ok(self.own_queue || again != Routed::No)
    }

    fn note_refused(&self, key: &str) {
        self.refused.send_replace(Some(Instant::now()));
        self.metrics.result_refused();
        tracing::warn!(key, "a reader's queue did not take a result, which is lost for it; is that queue full?");
    }
}

async fn to_own_queue(sending: &ResultSending<'_>, budget: &mut Backoff) -> Result<bool, BrokerError> {
    while sending.to_own_queue().await? != Routed::Yes {
        if !waited(budget).await {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits before the next try, if there is one.
async fn waited(budget: &mut Backoff) -> bool {
    let Some(delay) = budget.next(None) else { return false };
    tokio::time::sleep(delay).await;
    true
}

/// An error of publishing goes onto its span, and on.
pub(super) fn not_published<T>(published: Result<T, BrokerError>, span: &mut Span) -> Result<T, BrokerError> {
    published.inspect_err(|error| span.failed("not_confirmed", || error.to_string()))
}
