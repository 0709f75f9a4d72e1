//! RabbitMQ. Knows queues, copies and confirmations, and nothing of what a request means.

mod clean;
pub mod connection;
pub mod consumer;
pub mod dead_queue;
pub mod depths;
mod headers;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
pub mod policies;
pub mod publisher;
pub mod received;
mod replies;
pub mod requester;
pub mod session;
pub mod settlement;
mod stream;
mod tls;
pub mod topology;

use std::sync::Arc;

/// What `/readyz` says of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// Not connected; tried again for ever.
    Connecting,
    /// Not connected either, and why the last try failed. Carries no URL.
    Refused(Arc<str>),
    /// Connected.
    Connected,
    /// Connected, but the broker takes no messages (memory or disk alarm).
    Blocked,
}

/// What went wrong with the broker. No variant carries the URL.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// `broker.url` or one of the TLS files cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A queue or exchange exists with other arguments. Waiting doesn't mend that.
    #[error(
        "{name} exists already with other arguments than the worker needs ({said}); move its messages away and delete \
         it, or set another broker.prefix"
    )]
    Topology {
        /// The queue or exchange.
        name: String,
        /// The broker's words.
        said: String,
    },
    /// The connection failed, and TLS may be why.
    #[error("{said}; {advice}")]
    Tls {
        /// The library's words.
        said: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The connection or a channel failed.
    #[error("{0}")]
    Amqp(#[from] lapin::Error),
    /// No answer in time.
    #[error("no answer from the broker within {0:?} to: {1}")]
    Timeout(std::time::Duration, &'static str),
    /// The session was lost before the broker answered; what it was asked may have been done.
    #[error("the connection to the broker was lost")]
    Lost,
    /// A copy was not confirmed by any queue.
    #[error("the broker did not take a message for {0}")]
    NotTaken(String),
    /// The broker had forgotten the delivery before it was settled.
    #[error("the delivery was already settled or its channel is gone")]
    Stale,
}

impl BrokerError {
    /// True when trying again cannot help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::Topology { .. })
    }
}
