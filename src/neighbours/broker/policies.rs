//! Policies that others put on the worker's queues. RabbitMQ does not tell a client of them, and takes the lower one of a
//! policy's limit and a queue's own; so what they do is tried on a queue of the same kind and prefix, which is deleted again.

use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio_util::sync::CancellationToken;

use super::BrokerError;
use super::connection::connect;
use super::topology::{Names, tried};
use crate::contract::reasons::PolicyLimit;
use crate::platform::telemetry::metrics::Metrics;
use crate::settings;

/// Messages that each queue should take.
const MESSAGES: u32 = 10;

/// The body of each: as large as a request is.
const BODY: [u8; 512] = [b' '; 512];

/// Deliveries that each message should live through: more than the limit that RabbitMQ 4 has where nothing else is said.
const DELIVERIES: u32 = 25;

/// Longest wait for the whole trial.
const LIMIT: Duration = Duration::from_secs(30);

/// Time from the start to the first trial.
const FIRST: Duration = Duration::from_secs(10);
/// Time from a trial that succeeded to the next.
const NEXT: Duration = Duration::from_secs(600);
/// Time from a trial that failed to the next.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Tries every ten minutes what policies do, until `shutdown`; tells the log and the metrics. What a trial found stays until
/// another succeeds.
pub async fn watch(settings: settings::BrokerSettings, metrics: Metrics, shutdown: CancellationToken) {
    let watch = async {
        tokio::time::sleep(FIRST).await;
        loop {
            tokio::time::sleep(noted(limits(&settings).await, &metrics)).await;
        }
    };
    shutdown.run_until_cancelled_owned(watch).await;
}

/// Says what a trial found, and gives the time until the next.
fn noted(trial: Result<Vec<PolicyLimit>, BrokerError>, metrics: &Metrics) -> Duration {
    match trial {
        Ok(found) => {
            note(&found, metrics);
            NEXT
        }
        Err(error) => {
            tracing::warn!(%error, "it is not known what policies do to the queues; another trial follows in a minute");
            AFTER_FAILURE
        }
    }
}

fn note(found: &[PolicyLimit], metrics: &Metrics) {
    for limit in PolicyLimit::ALL {
        metrics.policy_limits(limit, found.contains(&limit));
    }
    for limit in found {
        tracing::warn!(limit = limit.as_str(), "{}", limit.harm());
    }
}

/// The limits that policies put on queues with the worker's prefix; only low ones are found.
///
/// # Errors
/// When the broker does not answer, or does not let the worker declare a queue.
pub async fn limits(settings: &settings::BrokerSettings) -> Result<Vec<PolicyLimit>, BrokerError> {
    let tried = tokio::time::timeout(LIMIT, limits_now(settings)).await;
    tried.map_err(|_| BrokerError::Timeout(LIMIT, "try what policies do"))?
}

async fn limits_now(settings: &settings::BrokerSettings) -> Result<Vec<PolicyLimit>, BrokerError> {
    let names = Names::new(&settings.prefix);
    let key = format!("check.{}", uuid::Uuid::new_v4().simple());
    let queue = format!("{}.{key}", names.exchange());
    // Of its own: whatever the broker refuses here costs no session.
    let connection = connect(settings).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), durable, tried()).await?;
    let (exchange, bind) = (names.exchange(), QueueBindOptions::default());
    channel
        .queue_bind(queue.as_str().into(), exchange.into(), key.as_str().into(), bind, FieldTable::default())
        .await?;
    let short = !takes_all(&channel, exchange, &key).await?;
    let lost = !outlives_deliveries(&channel, &queue).await?;
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    connection.close(200, "tried".into()).await?;
    let found = [(PolicyLimit::Length, short), (PolicyLimit::Deliveries, lost)];
    Ok(found.into_iter().filter_map(|(limit, found)| found.then_some(limit)).collect())
}

/// Whether the queue takes some messages and has all of them afterwards.
async fn takes_all(channel: &Channel, exchange: &str, key: &str) -> Result<bool, BrokerError> {
    for _ in 0..MESSAGES {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let sent = channel.basic_publish(exchange.into(), key.into(), options, &BODY, properties).await?;
        if let Confirmation::Nack(_) = sent.await? {
            return Ok(false);
        }
    }
    let queue = format!("{exchange}.{key}");
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), passive, FieldTable::default()).await?.message_count() >= MESSAGES)
}

/// Whether a message is still there after so many deliveries. The others are taken away first.
async fn outlives_deliveries(channel: &Channel, queue: &str) -> Result<bool, BrokerError> {
    let mut last: Option<BasicGetMessage> = None;
    while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await? {
        if let Some(before) = last.replace(got) {
            before.delivery.acker.ack(lapin::options::BasicAckOptions::default()).await?;
        }
    }
    for _ in 0..DELIVERIES {
        let Some(got) = last else { return Ok(false) };
        got.delivery.acker.nack(BasicNackOptions { requeue: true, multiple: false }).await?;
        last = channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
    }
    Ok(last.is_some())
}
