//! The other side of the queue: one session of a publisher that asks and takes the answers. Declares nothing.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ErrorKind, ExchangeKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::{Longest, OPEN, close, connect_with, listen};
use super::publisher::{DIRECT_REPLY, Publisher, Routed};
use super::topology::{NOT_FOUND, Names, REQUEST, is_not_found};
use super::{BrokerError, BrokerState};
use crate::settings;

/// RabbitMQ's codes for what no second try mends: no permission, no such exchange, a property that is refused.
const REFUSALS: [u16; 3] = [403, NOT_FOUND, 406];

/// One connection that asks. Anything that fails cancels [`Requester::lost`]; then open another.
pub struct Requester {
    connection: Arc<Connection>,
    /// The publisher's. Answers are consumed on it too, as direct reply-to wants it.
    channel: Channel,
    publisher: Publisher,
    names: Names,
    state: watch::Receiver<BrokerState>,
    lost: CancellationToken,
    /// Listens to the connection's events; ends with the session.
    events: JoinHandle<()>,
}

/// One request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The AMQP `message_id`.
    pub request_id: String,
    /// The body.
    pub body: Vec<u8>,
    /// What the answer is known by, when one is wanted.
    pub correlation: Option<String>,
}

/// One answer, as it came.
#[derive(Clone, Debug)]
pub struct ResultMessage {
    /// The correlation ID that was asked with.
    pub correlation: String,
    /// The event.
    pub body: Vec<u8>,
}

/// The answers to what is asked on one session.
pub struct Answers(lapin::Consumer);

impl Answers {
    /// The next answer; `None` when there will be no more, for whatever reason.
    pub async fn next(&mut self) -> Option<ResultMessage> {
        let delivery = self.0.next().await?.ok()?;
        let correlation = delivery.properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default();
        Some(ResultMessage { correlation, body: delivery.data })
    }
}

impl Requester {
    /// Connects. Requests carry `user`, which the broker checks: a worker with `publishers.allow` wants to be told.
    ///
    /// # Errors
    /// Whatever kept it from being usable; that there is no exchange, too, as then no worker would ever be asked.
    pub async fn open(settings: &settings::BrokerSettings, user: Option<&str>) -> Result<Self, BrokerError> {
        let opening = Self::open_now(settings, user);
        tokio::time::timeout(OPEN, opening).await.map_err(|_| BrokerError::Timeout(OPEN, "connect"))?
    }

    async fn open_now(settings: &settings::BrokerSettings, user: Option<&str>) -> Result<Self, BrokerError> {
        let connection = Arc::new(connect_with(settings, Longest::ANY).await?);
        let lost = CancellationToken::new();
        let (tell, state) = watch::channel(BrokerState::Connected);
        let events = tokio::spawn(listen(connection.events_listener(), tell, lost.clone()));
        let names = Names::new(&settings.prefix);
        let channel = connection.create_channel().await?;
        there(&channel, names.exchange()).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let publisher = Publisher::new(&connection, channel.clone(), user.map(ShortString::from), lost.clone());
        Ok(Self { connection, channel, publisher, names, state, lost, events })
    }

    /// Starts to hear answers; to be called before anything is asked that wants one.
    ///
    /// # Errors
    /// When the channel is gone.
    pub async fn answers(&self) -> Result<Answers, BrokerError> {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let asked = self.channel.basic_consume(DIRECT_REPLY.into(), "".into(), options, FieldTable::default());
        Ok(Answers(self.publisher.while_it_lasts(async { Ok(asked.await?) }).await?))
    }

    /// Publishes a request, and waits until the broker has it.
    ///
    /// # Errors
    /// When the session is gone, or the broker refuses to take anything of the kind; see [`is_refusal`].
    pub async fn publish(&self, ask: &Ask) -> Result<Routed, BrokerError> {
        let now = jiff::Timestamp::now().as_second();
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(ask.request_id.as_str().into())
            .with_timestamp(u64::try_from(now).unwrap_or_default());
        if let Some(correlation) = &ask.correlation {
            properties = properties.with_correlation_id(correlation.as_str().into()).with_reply_to(DIRECT_REPLY.into());
        }
        self.publisher.publish(self.names.exchange(), REQUEST, &ask.body, properties).await
    }

    /// Cancelled when this session is of no more use.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether the broker takes messages now.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Ends the session.
    pub async fn close(&self) {
        close(&self.connection).await;
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.events.abort();
    }
}

/// A declaration that declares nothing; it needs no permission.
async fn there(channel: &Channel, exchange: &str) -> Result<(), BrokerError> {
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let asked = channel.exchange_declare(exchange.into(), ExchangeKind::Topic, passive, FieldTable::default()).await;
    match asked {
        Err(error) if is_not_found(&error) => Err(BrokerError::Settings(format!(
            "broker.prefix: there is no exchange {exchange} on this virtual host; a worker with the same prefix makes it \
             when it starts"
        ))),
        asked => Ok(asked?),
    }
}

fn refusal(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}

/// Whether the broker refuses for good what it was asked.
#[must_use]
pub fn is_refusal(error: &BrokerError) -> bool {
    error.is_permanent()
        || matches!(error, BrokerError::Amqp(error) if refusal(error).is_some_and(|code| REFUSALS.contains(&code)))
}

/// Whether the broker knows the connection as another user than requests say, as it may where a token or a certificate
/// says who we are.
#[must_use]
pub fn is_other_user(error: &BrokerError) -> bool {
    match error {
        BrokerError::Amqp(error) => match error.kind() {
            ErrorKind::ProtocolError(said) => said.get_message().as_str().contains("user_id property"),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};

    use super::super::session::Session;
    use super::super::topology::TopologySettings;
    use super::*;
    use crate::platform::telemetry::metrics::Metrics;
    use crate::settings::Settings;

    #[tokio::test]
    async fn a_broker_that_knows_us_as_somebody_else_refuses_in_a_way_that_is_known() {
        let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
        let prefix = format!("t-{}", uuid::Uuid::new_v4().simple());
        let set = |key: &str, value: &str| (format!("ASSET_ERASER__{key}"), value.to_owned());
        let all = [("BROKER__URL", url.as_str()), ("BROKER__PREFIX", &prefix), ("PROVIDER__TOKEN", "x")];
        let all = all.into_iter().chain([("GUARD__NONE", "true"), ("RETRY__WAIT_STEPS", "1s"), ("GUARD__POLL", "1s")]);
        let settings = Settings::load(None, all.map(|(key, value)| set(key, value))).unwrap();
        let error = Requester::open(&settings.broker, None).await.map(|_| ()).unwrap_err();
        assert!(is_refusal(&error) && error.to_string().contains("there is no exchange"), "{error}");

        let (topology, metrics) = (TopologySettings::of(&settings), Metrics::new().unwrap());
        let session = Session::open(&settings.broker, None, &topology, &metrics).await.unwrap();
        let ask = Ask { request_id: "r".to_owned(), body: b"{}".to_vec(), correlation: None };
        let stranger = Requester::open(&settings.broker, Some("another")).await.unwrap();
        let error = stranger.publish(&ask).await.unwrap_err();
        assert!(is_other_user(&error) && is_refusal(&error), "{error}");
        let unnamed = Requester::open(&settings.broker, None).await.unwrap();
        assert_eq!(unnamed.publish(&ask).await.unwrap(), Routed::Yes);
        unnamed.close().await;

        session.close().await;
        clean_up(&settings.broker).await;
    }

    async fn clean_up(broker: &settings::BrokerSettings) {
        let connection = connect_with(broker, Longest::ANY).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        for queue in ["requests", "dead", "results", "wait.1s"] {
            let name = format!("{}.{queue}", broker.prefix);
            channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        channel.exchange_delete(broker.prefix.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }
}
