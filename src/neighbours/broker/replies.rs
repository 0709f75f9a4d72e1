//! Copies of results for those who asked, over connections of their own: a `reply_to` is what a publisher wrote, and some make
//! the broker close the connection. That costs the copy; the session, and what is in work on it, goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::options::ConfirmSelectOptions;
use lapin::types::ShortString;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::{Longest, close, connect_with, listen};
use super::publisher::{DIRECT_REPLY, Publisher, Routed};
use super::topology::is_refused_access;
use super::{BrokerError, BrokerState};
use crate::settings;

/// Longest wait for one copy to be confirmed, with its connection. No request waits longer for a queue of another's.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the worker believes that it may write to no queue. To hear it costs a connection.
const FORBIDDEN: Duration = Duration::from_secs(10);

/// How often a copy for a queue is tried when its connection is lost.
const TRIES: usize = 3;

/// The largest frame, in bytes: a copy has few properties, and room for many frames is kept.
const FRAME_MAX: u32 = 16 * 1024;

/// The ways to those who asked.
pub(super) struct Replies {
    settings: settings::BrokerSettings,
    /// Who we are, where copies are signed with it.
    own: Option<ShortString>,
    /// To queues, many at once.
    queues: Mutex<Option<Arc<ReplyConnection>>>,
    /// To the channels of direct reply-to, one at a time: of several, it would not be known whose key the broker closed the
    /// connection over.
    direct: Mutex<Option<Arc<ReplyConnection>>>,
    /// When the broker said last that we may write to no queue.
    forbidden: watch::Sender<Option<Instant>>,
}

/// One connection. Ends when it is dropped.
struct ReplyConnection {
    publisher: Publisher,
    events: JoinHandle<()>,
}

impl Drop for ReplyConnection {
    fn drop(&mut self) {
        self.events.abort();
        let connection = self.publisher.connection();
        // Without a runtime the process is at its end, and the connection with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { close(&connection).await });
        }
    }
}

impl Replies {
    pub fn new(settings: &settings::BrokerSettings, own: Option<ShortString>) -> Self {
        let forbidden = watch::Sender::new(None);
        Self { settings: settings.clone(), own, queues: Mutex::default(), direct: Mutex::default(), forbidden }
    }

    /// Sends a copy, and waits until the broker has it.
    ///
    /// # Errors
    /// When the broker closes the connection or the channel over it, or does not answer in time. The copy is lost then.
    pub async fn send(&self, queue: &str, body: &[u8], properties: BasicProperties) -> Result<Routed, BrokerError> {
        if self.forbidden.borrow().is_some_and(|at| at.elapsed() < FORBIDDEN) {
            return Err(BrokerError::NotTaken("reply_to queues, to which the worker's user may not write".into()));
        }
        let sent = self.try_sending(queue, body, properties).await;
        if let Err(BrokerError::Amqp(error)) = &sent
            && is_refused_access(error)
        {
            self.forbidden.send_replace(Some(Instant::now()));
        }
        sent
    }

    async fn try_sending(&self, queue: &str, body: &[u8], properties: BasicProperties) -> Result<Routed, BrokerError> {
        if queue.starts_with(DIRECT_REPLY) {
            let mut way = self.direct.lock().await;
            return self.try_once(&mut way, queue, body, properties).await;
        }
        let mut sent = Err(BrokerError::Lost);
        for _ in 0..TRIES {
            let open = self.open(&mut *self.queues.lock().await).await;
            sent = match open {
                Ok(open) => published(&open, queue, body, properties.clone()).await,
                Err(error) => Err(error),
            };
            if sent.as_ref().err().is_none_or(is_final) {
                break;
            }
        }
        sent
    }

    async fn try_once(
        &self,
        way: &mut Option<Arc<ReplyConnection>>,
        queue: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Routed, BrokerError> {
        let open = self.open(way).await?;
        published(&open, queue, body, properties).await
    }

    /// The connection of this way, a new one where the last was lost.
    async fn open(&self, way: &mut Option<Arc<ReplyConnection>>) -> Result<Arc<ReplyConnection>, BrokerError> {
        if let Some(open) = way.as_ref().filter(|open| !open.publisher.is_lost()) {
            return Ok(open.clone());
        }
        let opened = tokio::time::timeout(LIMIT, ReplyConnection::new(&self.settings, self.own.clone())).await;
        let opened = Arc::new(opened.map_err(|_| BrokerError::Timeout(LIMIT, "connect"))??);
        Ok(way.insert(opened).clone())
    }
}

impl ReplyConnection {
    async fn new(settings: &settings::BrokerSettings, own: Option<ShortString>) -> Result<Self, BrokerError> {
        let connection = Arc::new(connect_with(settings, Longest { frame: FRAME_MAX, ..Longest::REQUEST }).await?);
        let lost = CancellationToken::new();
        let (tell, _) = watch::channel(BrokerState::Connected);
        let events = tokio::spawn(listen(connection.events_listener(), tell, lost.clone()));
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { publisher: Publisher::new(&connection, channel, own, lost), events })
    }
}

async fn published(
    open: &ReplyConnection,
    queue: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<Routed, BrokerError> {
    let published = tokio::time::timeout(LIMIT, open.publisher.publish("", queue, body, properties)).await;
    published.unwrap_or_else(|_| {
        open.publisher.give_up();
        Err(BrokerError::Timeout(LIMIT, "publish a copy"))
    })
}

/// Whether another try would end the same way: the broker has said something about this copy, or was given its time.
fn is_final(error: &BrokerError) -> bool {
    match error {
        BrokerError::Amqp(error) => matches!(error.kind(), lapin::ErrorKind::ProtocolError(_)),
        BrokerError::Lost => false,
        _ => true,
    }
}
