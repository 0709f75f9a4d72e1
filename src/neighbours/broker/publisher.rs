//! Publishing that is done when the broker says so.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio_util::sync::CancellationToken;

use super::BrokerError;
use super::received::Message;
use super::topology::own_key;
use crate::contract::message::cloud_event::CONTENT_TYPE;
use crate::contract::message::{ResultEvent, TraceContext};

/// Longest wait for a confirmation. A broker that is blocked (memory or disk alarm) or a quorum queue without its
/// majority confirms late, so it is long; RabbitMQ closes the channel of a delivery that is held longer than its
/// `consumer_timeout`, 30 minutes by default, so it is shorter than that.
pub(super) const CONFIRM: Duration = Duration::from_secs(600);

/// AMQP's `delivery_mode` for a message that survives a restart.
const PERSISTENT: u8 = 2;

/// RabbitMQ's direct reply-to: answers come to the channel that asked, need no queue and no permission, and end with that
/// channel. As a `reply_to` it has a key to the channel behind it.
pub const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// Every queue it was routed to has it.
    Yes,
    /// No queue is bound for it.
    No,
    /// A queue that is bound for it did not take it, being full for instance.
    Refused,
}

/// A channel in confirm mode.
pub struct Publisher {
    connection: Arc<Connection>,
    channel: Channel,
    /// Who we are, where copies are signed with it.
    own: Option<ShortString>,
    lost: CancellationToken,
}

impl Publisher {
    pub(super) fn new(
        connection: &Arc<Connection>,
        channel: Channel,
        own: Option<ShortString>,
        lost: CancellationToken,
    ) -> Self {
        Self { connection: connection.clone(), channel, own, lost }
    }

    /// The largest frame that may be sent, in bytes. The AMQP library does not look at the size of properties.
    pub(super) fn frame_max(&self) -> u32 {
        self.connection.configuration().frame_max()
    }

    /// Our own user, where copies are signed with it.
    pub(super) fn own(&self) -> Option<&ShortString> {
        self.own.as_ref()
    }

    /// Publishes a persistent message, mandatory but for direct replies, and waits until the broker has it.
    ///
    /// # Errors
    /// When the connection or the channel is gone or says nothing; the session is lost then. The message may or may not
    /// have arrived.
    pub async fn publish(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Routed, BrokerError> {
        self.waited_for(self.confirmed(&self.channel, exchange, key, body, properties)).await
    }

    /// Publishes on a channel of its own. A queue that was full goes on refusing what comes from the channels that it has
    /// refused, after its limit was raised, until it gets shorter.
    ///
    /// # Errors
    /// As for [`Publisher::publish`].
    pub async fn publish_apart(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Routed, BrokerError> {
        let published = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let confirmed = self.confirmed(&channel, exchange, key, body, properties).await?;
            channel.close(200, "published".into()).await?;
            Ok(confirmed)
        };
        self.waited_for(published).await
    }

    /// Publishes a result to the worker's own queue alone, after a queue has refused it that may be a reader's.
    ///
    /// # Errors
    /// As for [`Publisher::publish`].
    pub async fn publish_to_own(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Routed, BrokerError> {
        self.publish_apart(exchange, &own_key(key), body, properties).await
    }

    async fn waited_for(
        &self,
        confirmed: impl Future<Output = Result<Routed, BrokerError>>,
    ) -> Result<Routed, BrokerError> {
        let confirmed = tokio::time::timeout(CONFIRM, self.while_it_lasts(confirmed)).await;
        let confirmed = confirmed.unwrap_or(Err(BrokerError::Timeout(CONFIRM, "publish")));
        if confirmed.is_err() {
            self.lost.cancel();
        }
        confirmed
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Gives the session up: something that should be there is not, and only a new session declares it again.
    pub(super) fn give_up(&self) {
        self.lost.cancel();
    }

    /// What the broker answers, while the session lasts.
    ///
    /// The AMQP library leaves some questions that were under way when a connection broke without an answer. A task that
    /// waited on would hold one of the places for requests, until all are held by those who wait for nothing.
    pub(super) async fn while_it_lasts<T>(
        &self,
        answer: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        answered_before(&self.lost, answer).await
    }

    async fn confirmed(
        &self,
        channel: &Channel,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Routed, BrokerError> {
        let mandatory = !is_direct_reply(exchange, key);
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let mut properties = properties.with_delivery_mode(PERSISTENT);
        // The broker vouches for it, so a reader can tell our results from those of other users.
        if let Some(own) = &self.own {
            properties = properties.with_user_id(own.clone());
        }
        let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?;
        match sent.await? {
            Confirmation::Ack(None) => Ok(Routed::Yes),
            // Acknowledged and returned: no queue is bound for it.
            Confirmation::Ack(Some(_)) => Ok(Routed::No),
            Confirmation::Nack(_) => Ok(Routed::Refused),
            Confirmation::NotRequested => Err(BrokerError::NotTaken("a channel without confirmations".into())),
        }
    }
}

/// Whether a message goes straight to the channel that asked. RabbitMQ hands it over, and returns it all the same as one
/// that no queue takes if it is mandatory; so it is not known whether that channel is still there.
fn is_direct_reply(exchange: &str, key: &str) -> bool {
    exchange.is_empty() && key.starts_with(DIRECT_REPLY)
}

async fn answered_before<T>(
    lost: &CancellationToken,
    answer: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    tokio::select! {
        biased;
        answer = answer => answer,
        () = lost.cancelled() => Err(BrokerError::Lost),
    }
}

/// The AMQP properties of a result.
#[must_use]
pub fn result_properties(event: &ResultEvent, request: &Message, trace: &TraceContext) -> BasicProperties {
    let properties = event_properties(&event.id, trace);
    match ShortString::try_new(request.correlation_id.as_deref().unwrap_or(&event.request_id)) {
        Ok(correlation) => properties.with_correlation_id(correlation),
        Err(_) => properties,
    }
}

/// The AMQP properties of an event: its ID, and the trace it belongs to.
#[must_use]
pub fn event_properties(id: &str, trace: &TraceContext) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in [("traceparent", &trace.traceparent), ("tracestate", &trace.tracestate)] {
        if let Some(value) = value {
            headers.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
        }
    }
    let now = jiff::Timestamp::now().as_second();
    BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_message_id(id.into())
        .with_timestamp(u64::try_from(now).unwrap_or_default())
        .with_headers(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_an_answer_of_a_connection_that_is_lost() {
        let lost = CancellationToken::new();
        assert!(matches!(answered_before(&lost, async { Ok(7) }).await, Ok(7)));
        let never = std::future::pending::<Result<(), BrokerError>>();
        let (answer, ()) = tokio::join!(answered_before(&lost, never), async { lost.cancel() });
        assert!(matches!(answer, Err(BrokerError::Lost)));
        assert!(matches!(answered_before(&lost, async { Ok(7) }).await, Ok(7)), "what came, came");
    }
}
