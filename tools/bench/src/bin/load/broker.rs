//! RabbitMQ around one round: the queues, the backlog, and how many results there are.

use std::collections::BTreeSet;
use std::time::Duration;

use asset_eraser::broker::topology::{self, Names, TopologySettings};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::Result;

/// The wait queues of a worker with default settings, in seconds; they are here to be removed.
const WAITS: [u64; 5] = [5, 30, 120, 600, 3600];
/// The worker's default.
const DELIVERY_LIMIT: u32 = 20;
/// Requests under way to the broker before their confirmations are waited for.
const UNCONFIRMED: usize = 2_000;

pub struct Broker {
    channel: Channel,
    prefix: String,
    results: String,
    // Declared last: the channel needs it until then.
    connection: Connection,
}

impl Broker {
    /// Declares what the worker would: the floor's queues are the same.
    pub async fn declare(amqp: &str, prefix: &str) -> Result<Self> {
        let names = Names::new(prefix);
        let broker = Self::connect(amqp, prefix).await?;
        let delays = WAITS.map(Duration::from_secs).into_iter().collect::<BTreeSet<_>>();
        let settings = TopologySettings { delays, results_queue: true, delivery_limit: DELIVERY_LIMIT };
        topology::declare(&broker.channel, &names, &settings).await?;
        Ok(broker)
    }

    async fn connect(amqp: &str, prefix: &str) -> Result<Self> {
        let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, prefix: prefix.to_owned(), results: Names::new(prefix).results(), connection })
    }

    /// Publishes requests for as many assets, all confirmed.
    pub async fn publish(&self, requests: u32) -> Result<()> {
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let mut confirms = Vec::with_capacity(UNCONFIRMED);
        for number in 0..requests {
            let prefix = &self.prefix;
            let body = format!(
                r#"{{"request_id":"{prefix}/{number}","asset_id":"{}{number}","requested_by":"privacy-desk"}}"#,
                assets(prefix)
            );
            let (exchange, key) = (prefix.as_str().into(), topology::REQUEST.into());
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let sent = self.channel.basic_publish(exchange, key, options, body.as_bytes(), properties.clone());
            confirms.push(sent.await?);
            if confirms.len() == UNCONFIRMED || number + 1 == requests {
                for confirm in confirms.drain(..) {
                    let confirmed = confirm.await?;
                    if !confirmed.is_ack() || confirmed.take_message().is_some() {
                        return Err("the broker did not take a request".into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Results so far. Counted by the broker: taking them out here would cost the machine more than the floor does.
    pub async fn results(&self) -> Result<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        Ok(self
            .channel
            .queue_declare(self.results.as_str().into(), passive, FieldTable::default())
            .await?
            .message_count())
    }

    pub async fn close(self) -> Result<()> {
        self.connection.close(200, "bye".into()).await?;
        Ok(())
    }

    /// Deletes the exchange and the queues; no matter whether they are there.
    pub async fn remove(amqp: &str, prefix: &str) -> Result<()> {
        let (names, broker) = (Names::new(prefix), Self::connect(amqp, prefix).await?);
        let waits = WAITS.map(|seconds| names.wait(Duration::from_secs(seconds)));
        for queue in [names.requests(), names.results(), names.dead()].into_iter().chain(waits) {
            broker.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
        broker.channel.exchange_delete(names.exchange().into(), ExchangeDeleteOptions::default()).await?;
        broker.close().await
    }
}

/// What the IDs of a round's assets begin with.
pub fn assets(prefix: &str) -> String {
    format!("asset-{prefix}-")
}
