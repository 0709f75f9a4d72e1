//! Every name and every declaration.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ErrorKind, ExchangeKind};

use super::BrokerError;
use crate::settings::{Settings, brief};

/// The routing key of requests.
pub const REQUEST: &str = "request";

/// The binding key of results.
const RESULTS: &str = "result.#";

/// What a result's key begins with where it is for the worker's own queue alone. A reader who may bind `result.…` cannot
/// bind it.
const OWN: &str = "own.";

/// How many times the worker's delivery limit the queue's own is: the backstop for a message that ends its worker before
/// the ledger hears of it. The broker counts every message that a worker had fetched when it died, so the limit must be far
/// above what the bystanders of a crash loop get to.
const BACKSTOP: u32 = 10;

/// The dead queue's delivery limit: a look at a dead letter takes it and gives it back, and RabbitMQ 4 would drop
/// it after twenty looks. Too high to be reached, and below 2³¹, as everything that counts them can hold that.
const LOOKS: i64 = 1_000_000_000;

/// RabbitMQ's code for "exists with other arguments", and for a `user_id` that is not the connection's.
const PRECONDITION_FAILED: u16 = 406;

/// RabbitMQ's code for a queue or an exchange that does not exist.
pub(super) const NOT_FOUND: u16 = 404;

/// RabbitMQ's code for what a user has no permission for.
const ACCESS_REFUSED: u16 = 403;

/// The names of one deployment, all from its prefix.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// The names under `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The one exchange.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.prefix
    }

    /// Where requests wait for a worker.
    #[must_use]
    pub fn requests(&self) -> String {
        format!("{}.requests", self.prefix)
    }

    /// Where what was put off waits for `delay`.
    #[must_use]
    pub fn wait(&self, delay: Duration) -> String {
        format!("{}.{}", self.prefix, wait_key(delay))
    }

    /// Where what could not be handled stays.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// Where results stay until a reader takes them.
    #[must_use]
    pub fn results(&self) -> String {
        format!("{}.results", self.prefix)
    }

    /// Whether a queue is one that the worker itself puts messages into or takes them from.
    #[must_use]
    pub fn is_internal(&self, queue: &str) -> bool {
        let rest = queue.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| matches!(rest, "requests" | "dead" | "results") || rest.starts_with("wait."))
    }
}

/// The routing key of one wait queue.
pub(super) fn wait_key(delay: Duration) -> String {
    format!("wait.{}", brief(delay))
}

/// The key of a result for the worker's own queue alone.
pub(super) fn own_key(key: &str) -> String {
    format!("{OWN}{key}")
}

/// The routing key of the dead queue.
pub(super) const DEAD: &str = "dead";

/// What the declarations depend on.
#[derive(Clone, Debug)]
pub struct TopologySettings {
    /// One wait queue each.
    pub delays: BTreeSet<Duration>,
    /// Whether to declare the results queue.
    pub results_queue: bool,
    /// The worker's delivery limit; the queue's is ten times as high.
    pub delivery_limit: u32,
}

impl TopologySettings {
    /// The wait ladder and the guard's poll both need their queues.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            delays: settings.retry.wait_steps.iter().copied().chain([settings.guard.poll]).collect(),
            results_queue: settings.broker.results_queue,
            delivery_limit: settings.broker.delivery_limit,
        }
    }
}

/// Declares everything; harmless when it is all there already.
///
/// # Errors
/// [`BrokerError::Topology`] names what exists with other arguments.
pub async fn declare(channel: &Channel, names: &Names, settings: &TopologySettings) -> Result<(), BrokerError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(names.exchange().into(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .map_err(|error| named(names.exchange(), error))?;
    let mut dead = dead_lettering(names, REQUEST);
    dead.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(LOOKS));
    queue(channel, names, &names.dead(), DEAD, dead).await?;
    let limit = i64::from(settings.delivery_limit) * i64::from(BACKSTOP);
    let mut requests = dead_lettering(names, DEAD);
    requests.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
    queue(channel, names, &names.requests(), REQUEST, requests).await?;
    for delay in &settings.delays {
        let mut wait = dead_lettering(names, REQUEST);
        let ttl = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        wait.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ttl));
        queue(channel, names, &names.wait(*delay), &wait_key(*delay), wait).await?;
    }
    if settings.results_queue {
        let mut results = quorum();
        // A limit by a policy would otherwise drop the oldest results without a word.
        results.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        queue(channel, names, &names.results(), RESULTS, results).await?;
        bind(channel, names, &names.results(), &own_key(RESULTS)).await?;
    }
    Ok(())
}

/// Makes sure that the broker lets us publish all that the worker publishes, before anything is consumed: a refusal closes
/// the channel, and with it every session that has work to hand on. The messages are taken back before a queue sees them.
///
/// # Errors
/// [`BrokerError::Amqp`] with the broker's words when it refuses.
pub(super) async fn try_publishing(
    connection: &Connection,
    names: &Names,
    settings: &TopologySettings,
) -> Result<(), BrokerError> {
    let channel = connection.create_channel().await?;
    channel.tx_select().await?;
    let waits = settings.delays.iter().map(|delay| wait_key(*delay));
    for key in waits.chain([REQUEST, DEAD, "result.deleted", "own.result.deleted"].map(str::to_owned)) {
        let (exchange, options) = (names.exchange().into(), BasicPublishOptions::default());
        channel.basic_publish(exchange, key.into(), options, b"", BasicProperties::default()).await?;
    }
    channel.tx_rollback().await?;
    Ok(channel.close(200, "tried".into()).await?)
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

/// The arguments of a queue on which is tried what policies do: those of the dead queue, without a way out. It goes by itself
/// where it is not deleted.
pub(super) fn tried() -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(LOOKS));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(60_000));
    arguments
}

/// At-least-once dead-lettering: the queue keeps a message until its target has confirmed it. It needs
/// `reject-publish`, and RabbitMQ 3.10 or later.
fn dead_lettering(names: &Names, key: &str) -> FieldTable {
    let mut arguments = quorum();
    for (name, value) in [
        ("x-dead-letter-exchange", names.exchange()),
        ("x-dead-letter-routing-key", key),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-overflow", "reject-publish"),
    ] {
        arguments.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    arguments
}

async fn queue(
    channel: &Channel,
    names: &Names,
    name: &str,
    key: &str,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, arguments).await.map_err(|error| named(name, error))?;
    bind(channel, names, name, key).await
}

async fn bind(channel: &Channel, names: &Names, queue: &str, key: &str) -> Result<(), BrokerError> {
    let (exchange, options) = (names.exchange().into(), QueueBindOptions::default());
    channel.queue_bind(queue.into(), exchange, key.into(), options, FieldTable::default()).await?;
    Ok(())
}

/// Whether this is RabbitMQ's answer to a declaration or a property that it does not agree with.
pub(super) fn is_refused_precondition(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if said.get_id() == PRECONDITION_FAILED)
}

/// Whether this is RabbitMQ's answer to what there is not.
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if said.get_id() == NOT_FOUND)
}

/// Whether this is RabbitMQ's answer to what our user has no permission for.
pub(super) fn is_refused_access(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if said.get_id() == ACCESS_REFUSED)
}

fn named(name: &str, error: lapin::Error) -> BrokerError {
    match error.kind() {
        ErrorKind::ProtocolError(said) if said.get_id() == PRECONDITION_FAILED => {
            BrokerError::Topology { name: name.to_owned(), said: said.get_message().to_string() }
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        let names = Names::new("asset.deletion");
        assert_eq!(names.requests(), "asset.deletion.requests");
        assert_eq!(names.wait(Duration::from_secs(120)), "asset.deletion.wait.2m");
        assert!(names.is_internal("asset.deletion.wait.5s") && names.is_internal("asset.deletion.requests"));
        assert!(!names.is_internal("asset.deletion.replies") && !names.is_internal("asset.deletionrequests"));
    }
}
