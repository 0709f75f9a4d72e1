//! Connections to the broker: by which URL, how large what comes in may be, and as whom the broker knows the worker.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Connection, ConnectionProperties, Event};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::stream;
use super::topology;
use super::{BrokerError, BrokerState, tls};
use crate::contract::message::request::MAX_BODY;
use crate::platform::crypto;
use crate::settings;

/// Longest wait for a connection with everything declared.
pub(super) const OPEN: Duration = Duration::from_secs(30);

/// Longest wait for a clean end.
const CLOSE: Duration = Duration::from_secs(5);

/// Heartbeat asked of the broker, in seconds, unless the URL says otherwise: a connection that died without a word is
/// noticed after two of them.
const HEARTBEAT_S: u16 = 10;

/// The largest frame that is asked of the broker unless the URL says otherwise, in bytes: RabbitMQ's own default. The
/// library keeps room for 32 of them in each direction, so the broker's limit, which may be none, is not taken over.
const FRAME_MAX: u32 = 128 * 1024;

pub(super) async fn close(connection: &Connection) {
    // A connection that is already gone refuses to be closed; either way it is over.
    let closed = tokio::time::timeout(CLOSE, connection.close(200, "bye".into())).await;
    tracing::debug!(clean = matches!(closed, Ok(Ok(()))), "broker session ended");
}

pub(super) async fn listen(
    events: impl futures_util::Stream<Item = Event> + Send,
    state: watch::Sender<BrokerState>,
    lost: CancellationToken,
) {
    // However this ends, a lost connection would not be noticed after it.
    let _lost = lost.drop_guard();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(reason, "the broker takes no messages");
                state.send_replace(BrokerState::Blocked);
            }
            Event::ConnectionUnblocked => {
                tracing::info!("the broker takes messages again");
                state.send_replace(BrokerState::Connected);
            }
            Event::Error(error) => {
                tracing::warn!(%error, "broker connection failed");
                break;
            }
            _ => {}
        }
    }
}

/// Publishes to the queue without a name, which cannot exist: the broker looks at the message, then drops it.
async fn dropped_by(settings: &settings::BrokerSettings, properties: BasicProperties) -> Result<(), BrokerError> {
    // A connection of its own: a channel that the broker closes over a refusal costs the session on its connection.
    let connection = connect(settings).await?;
    // Kept until the connection is closed, as it would begin to close itself.
    let channel = connection.create_channel().await?;
    let tried = async {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicPublishOptions::default();
        channel.basic_publish("".into(), "".into(), options, b"", properties).await?.await
    };
    let tried = tried.await;
    close(&connection).await;
    Ok(tried.map(drop)?)
}

/// The user that copies and results are signed with. Without `publishers.allow` nothing depends on it, so a broker that knows
/// us by another name, or does not tell, gets them unsigned.
pub(super) async fn signature(
    settings: &settings::BrokerSettings,
    publishers: Option<&settings::PublisherSettings>,
) -> Result<Option<ShortString>, BrokerError> {
    if let Some(publishers) = publishers {
        let own = ShortString::from(publishers.own.as_str());
        known_as(settings, &own).await?;
        return Ok(Some(own));
    }
    let Some(own) = settings.own_user().map(ShortString::from) else { return Ok(None) };
    match dropped_by(settings, BasicProperties::default().with_user_id(own.clone())).await {
        Err(BrokerError::Amqp(error))
            if topology::is_refused_precondition(&error) || topology::is_refused_access(&error) =>
        {
            tracing::info!(%error, "copies and results are not signed with the worker's user");
            Ok(None)
        }
        dropped => dropped.map(|()| Some(own)),
    }
}

/// Makes sure that the broker knows us as `user`, which it may not where a token or a certificate says who we are. It
/// would refuse every copy then, and count the originals as returned.
async fn known_as(settings: &settings::BrokerSettings, user: &ShortString) -> Result<(), BrokerError> {
    match dropped_by(settings, BasicProperties::default().with_user_id(user.clone())).await {
        Err(BrokerError::Amqp(error)) if topology::is_refused_precondition(&error) => {
            Err(BrokerError::Settings(format!(
                "publishers.allow: copies of messages are signed with the user of broker.url, {user:?}, and the broker knows \
                 this connection as another one"
            )))
        }
        // A broker that lets us publish nothing to that exchange has not told us; the first copy will.
        Err(BrokerError::Amqp(error)) if topology::is_refused_access(&error) => Ok(()),
        dropped => dropped,
    }
}

/// The longest that comes in over a connection, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Longest {
    /// `frame_max`, unless the URL says another.
    pub frame: u32,
    /// A longer body is left out (`clean`).
    pub body: u64,
}

impl Longest {
    /// For a connection over which requests come. One that is a little too long is still buried with the reason beside it.
    pub(super) const REQUEST: Self = Self { frame: FRAME_MAX, body: 4 * MAX_BODY as u64 };
    /// For one that takes whatever there is.
    pub(super) const ANY: Self = Self { frame: FRAME_MAX, body: u64::MAX };
}

pub(super) async fn connect(settings: &settings::BrokerSettings) -> Result<Connection, BrokerError> {
    connect_with(settings, Longest::REQUEST).await
}

pub(super) async fn connect_with(
    settings: &settings::BrokerSettings,
    longest: Longest,
) -> Result<Connection, BrokerError> {
    crypto::install();
    let urls = settings.current_urls();
    let share = share(urls.len());
    let mut last = BrokerError::Settings("broker.url names no broker".to_owned());
    for url in &urls {
        let connected = connect_to(url, settings, longest);
        let connected = tokio::time::timeout(share, connected).await;
        match connected.unwrap_or(Err(BrokerError::Timeout(share, "connect"))) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
        tracing::debug!(error = %last, "a node of the broker is not to be had");
    }
    Err(last)
}

/// The longest wait for one of so many nodes. A session takes up to two connections, and nodes that say nothing must leave
/// time for the one that does.
fn share(nodes: usize) -> Duration {
    match u32::try_from(nodes) {
        Ok(nodes @ 2..) => OPEN / 3 / nodes,
        _ => OPEN,
    }
}

async fn connect_to(
    url: &SecretString,
    settings: &settings::BrokerSettings,
    longest: Longest,
) -> Result<Connection, BrokerError> {
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| {
        // Not the parser's words: they may quote the URL.
        BrokerError::Settings("broker.url is no AMQP URL: amqp://USER:PASSWORD@HOST:PORT/VHOST".into())
    })?;
    if uri.vhost.is_empty() {
        // By the letter a slash at the end names the virtual host without a name, and none is meant.
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    uri.query.frame_max = Some(uri.query.frame_max.filter(|most| *most > 0).unwrap_or(longest.frame));
    let name = format!("asset-eraser {}", env!("CARGO_PKG_VERSION"));
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let (over_tls, config) = (uri.scheme == AMQPScheme::AMQPS, tls::config(settings)?);
    // Boxed: it is some kilobytes, and most of every future that has it in it.
    let connected = Box::pin(stream::connect(uri, properties, config, longest.body)).await;
    connected.map_err(|error| if over_tls { tls::explained(error, settings) } else { error.into() })
}

#[cfg(test)]
mod tests {
    use super::super::session::Session;
    use super::super::topology::TopologySettings;
    use super::*;
    use crate::platform::telemetry::metrics::Metrics;
    use crate::settings::{PublisherSettings, Settings};

    #[tokio::test]
    async fn a_broker_that_knows_us_as_somebody_else_is_found_out_before_a_copy_is_lost() {
        let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
        let set = |key: &str, value: &str| (format!("ASSET_ERASER__{key}"), value.to_owned());
        let all = [set("BROKER__URL", &url), set("PROVIDER__TOKEN", "x"), set("GUARD__NONE", "true")];
        let settings = Settings::load(None, all).unwrap();
        let user = url::Url::parse(&url).unwrap().username().to_owned();
        known_as(&settings.broker, &user.as_str().into()).await.unwrap();
        let publishers = PublisherSettings { allow: vec!["desk".to_owned()], own: "another".to_owned() };
        let topology = TopologySettings::of(&settings);
        let metrics = Metrics::new().unwrap();
        let opened = Session::open(&settings.broker, Some(&publishers), &topology, &metrics).await;
        let error = opened.map(|_| ()).unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("\"another\""), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_connection_that_was_never_made() {
        let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run the tests with `make test`");
        let mut stranger = url::Url::parse(&url).unwrap();
        stranger.set_password(Some("wrong")).unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for url in [format!("amqp://{closed}/%2f"), stranger.to_string()] {
            let set = [("ASSET_ERASER__BROKER__URL".to_owned(), url)];
            let settings = Settings::load_broker(None, set).unwrap();
            for _ in 0..3 {
                connect(&settings).await.map(|_| ()).unwrap_err();
            }
            all_ended().await;
        }
        // One that takes the connection and then says nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://{}/%2f", silent.local_addr().unwrap());
        let settings = Settings::load_broker(None, [("ASSET_ERASER__BROKER__URL".to_owned(), url)]).unwrap();
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_millis(100), connect(&settings)).await.map(|_| ()).unwrap_err();
        }
        all_ended().await;
    }

    /// The tasks of this runtime, and the threads of the AMQP library, each of which is waited for by one.
    async fn all_ended() {
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let ended = async {
            while tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        assert!(ended.is_ok(), "{} tasks are left", tasks());
    }
}
