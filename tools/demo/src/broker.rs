//! Publishing the requests, and hearing every answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::sync::Notify;

use super::Result;
use super::plan::Message;

pub struct Broker {
    channel: Channel,
    prefix: String,
    answers: Arc<Mutex<Vec<Value>>>,
    more: Arc<Notify>,
    // Declared last: the channel needs it until then.
    connection: Connection,
}

impl Broker {
    /// Listens to all results from here on, on a queue of its own.
    pub async fn connect(amqp: &str, prefix: &str) -> Result<Self> {
        let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), own, FieldTable::default()).await?;
        let (name, options) = (queue.name(), QueueBindOptions::default());
        channel.queue_bind(name.clone(), prefix.into(), "result.#".into(), options, FieldTable::default()).await?;
        let options = BasicConsumeOptions::default();
        let mut results = channel.basic_consume(name.clone(), "".into(), options, FieldTable::default()).await?;
        let (answers, more) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Notify>::default());
        let (write, tell) = (answers.clone(), more.clone());
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = results.next().await {
                let event = serde_json::from_slice(&delivery.data).expect("every result is JSON");
                write.lock().expect("no panic holds it").push(event);
                tell.notify_one();
                if delivery.ack(BasicAckOptions::default()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { channel, prefix: prefix.to_owned(), answers, more, connection })
    }

    /// Publishes, and waits until the broker has confirmed that a queue took each.
    pub async fn publish(&self, messages: &[Message]) -> Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let properties =
                BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
            let (exchange, key) = (self.prefix.as_str().into(), "request".into());
            confirms
                .push(self.channel.basic_publish(exchange, key, options, message.body.as_bytes(), properties).await?);
        }
        for confirm in confirms {
            let confirmed = confirm.await?;
            if !confirmed.is_ack() || confirmed.take_message().is_some() {
                return Err("a request was not taken by any queue: is the worker's prefix another one?".into());
            }
        }
        Ok(())
    }

    /// Answers so far; returns once there are `enough`, or after `limit`.
    pub async fn wait(&self, enough: usize, limit: Duration) -> usize {
        let waiting = async {
            while self.count() < enough {
                self.more.notified().await;
            }
        };
        // Both ends are fine: this is how progress gets shown.
        let _ = tokio::time::timeout(limit, waiting).await;
        self.count()
    }

    fn count(&self) -> usize {
        self.answers.lock().expect("no panic holds it").len()
    }

    pub fn answers(&self) -> Vec<Value> {
        self.answers.lock().expect("no panic holds it").clone()
    }

    /// Messages in the dead queue.
    pub async fn dead(&self) -> Result<usize> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = format!("{}.dead", self.prefix);
        Ok(self.channel.queue_declare(name.into(), options, FieldTable::default()).await?.message_count() as usize)
    }

    /// How many were buried since there were `before`; waits a little for as many as expected, since the answer to a
    /// message comes before its burial.
    pub async fn until_dead(&self, before: usize, expected: usize) -> Result<usize> {
        let mut buried = 0;
        for _ in 0..100 {
            buried = self.dead().await?.saturating_sub(before);
            if buried >= expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(buried)
    }

    /// Deletes the exchange and the queues of a worker that was started for this run.
    pub async fn clean_up(&self, wait_queues: &[&str]) -> Result<()> {
        let queues = ["requests", "results", "dead"].map(str::to_owned).into_iter();
        for queue in queues.chain(wait_queues.iter().map(|delay| format!("wait.{delay}"))) {
            let name = format!("{}.{queue}", self.prefix);
            self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
        }
        self.channel.exchange_delete(self.prefix.as_str().into(), ExchangeDeleteOptions::default()).await?;
        self.connection.close(200, "bye".into()).await?;
        Ok(())
    }
}
