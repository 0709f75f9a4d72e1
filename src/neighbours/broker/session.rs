//! One session with the broker: everything that is consumed and published until the connection is lost. Never
//! mended, only replaced.

use std::sync::Arc;

use lapin::options::{BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::{OPEN, close, connect, listen, signature};
use super::consumer::Consumer;
use super::publisher::{Publisher, Routed};
use super::replies::Replies;
use super::topology::{self, Names, TopologySettings};
use super::{BrokerError, BrokerState};
use crate::platform::telemetry::metrics::Metrics;
use crate::settings;

/// One connection with its channels. Anything that fails cancels [`Session::lost`]; then open another.
pub struct Session {
    connection: Arc<Connection>,
    consuming: Channel,
    publisher: Arc<Publisher>,
    names: Names,
    metrics: Metrics,
    state: watch::Receiver<BrokerState>,
    lost: CancellationToken,
    replies: Replies,
    /// Listens to the connection's events; ends with the session.
    events: JoinHandle<()>,
}

impl Session {
    /// Connects, declares the topology, and prepares a channel for consuming and one, confirmed, for publishing. With
    /// `publishers`, copies are signed, and only signed copies are believed about who published the original.
    ///
    /// # Errors
    /// Whatever kept it from being usable. See [`BrokerError::is_permanent`].
    pub async fn open(
        settings: &settings::BrokerSettings,
        publishers: Option<&settings::PublisherSettings>,
        topology: &TopologySettings,
        metrics: &Metrics,
    ) -> Result<Self, BrokerError> {
        let opening = Self::open_now(settings, publishers, topology, metrics);
        tokio::time::timeout(OPEN, opening).await.map_err(|_| BrokerError::Timeout(OPEN, "connect"))?
    }

    async fn open_now(
        settings: &settings::BrokerSettings,
        publishers: Option<&settings::PublisherSettings>,
        topology: &TopologySettings,
        metrics: &Metrics,
    ) -> Result<Self, BrokerError> {
        let own = signature(settings, publishers).await?;
        let connection = Arc::new(connect(settings).await?);
        let lost = CancellationToken::new();
        let (tell, state) = watch::channel(BrokerState::Connected);
        let events = tokio::spawn(listen(connection.events_listener(), tell, lost.clone()));
        let names = Names::new(&settings.prefix);
        let publishing = connection.create_channel().await?;
        topology::declare(&publishing, &names, topology).await?;
        topology::try_publishing(&connection, &names, topology).await?;
        publishing.confirm_select(ConfirmSelectOptions::default()).await?;
        let consuming = connection.create_channel().await?;
        let publisher = Arc::new(Publisher::new(&connection, publishing, own.clone(), lost.clone()));
        Ok(Self {
            connection,
            consuming,
            publisher,
            names,
            metrics: metrics.clone(),
            state,
            lost,
            replies: Replies::new(settings, own),
            events,
        })
    }

    /// Starts to consume requests; the broker sends at most `prefetch` ahead of their settlement.
    ///
    /// # Errors
    /// When the channel or the queue is gone.
    pub async fn consume(&self, prefetch: u16) -> Result<Consumer, BrokerError> {
        let inner = self.consume_again(prefetch).await?;
        Ok(Consumer::new(
            inner,
            self.consuming.clone(),
            self.publisher.clone(),
            self.names.clone(),
            self.metrics.clone(),
        ))
    }

    /// Goes on with another prefetch. What had arrived before still comes, first.
    ///
    /// # Errors
    /// When the channel or the queue is gone.
    pub async fn change_prefetch(&self, consumer: &mut Consumer, prefetch: u16) -> Result<(), BrokerError> {
        let next = self.consume_again(prefetch).await?;
        consumer.go_on_with(next).await
    }

    /// A prefetch belongs to its consumer for good, so another one needs another consumer.
    async fn consume_again(&self, prefetch: u16) -> Result<lapin::Consumer, BrokerError> {
        let (queue, options) = (self.names.requests(), BasicConsumeOptions::default());
        let asked = async {
            self.consuming.basic_qos(prefetch, BasicQosOptions::default()).await?;
            self.consuming.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await
        };
        // A quorum queue that has no leader never answers.
        Ok(tokio::time::timeout(OPEN, asked).await.map_err(|_| BrokerError::Timeout(OPEN, "consume"))??)
    }

    /// For results.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Sends a copy of a result to a `reply_to` queue, and waits until the broker has it.
    ///
    /// # Errors
    /// When the copy is lost: it is not tried again, and costs nothing else.
    pub async fn reply(&self, queue: &str, body: &[u8], properties: BasicProperties) -> Result<Routed, BrokerError> {
        // Boxed: connecting is some kilobytes, and most copies need none of it.
        Box::pin(self.replies.send(queue, body, properties)).await
    }

    /// Cancelled when this session is of no more use.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Whether the broker takes messages now.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Ends the session; what is not acknowledged goes back to the queue.
    pub async fn close(&self) {
        close(&self.connection).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.events.abort();
    }
}
