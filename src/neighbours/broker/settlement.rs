//! The four ends of a delivery. A delivery is consumed by exactly one of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lapin::Acker;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};

use super::BrokerError;
use super::headers::{copied, longest_detail, signed};
use super::publisher::{Publisher, Routed};
use super::received::{Message, read};
use super::topology::{DEAD, Names, REQUEST, wait_key};
use crate::contract::reasons::{Buried, PutOff};
use crate::platform::telemetry::metrics::Metrics;

/// How a delivery goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Requeued. The broker counts it towards the delivery limit.
    Nack,
    /// As a new copy at the end of the queue, not counted: a clean shutdown must not eat a request's deliveries.
    Fresh,
}

/// What became of a delivery that was to go to another queue.
#[must_use]
pub enum Copied {
    /// The queue has it, and the original is gone.
    Yes,
    /// The queue does not take it, being full for instance; the delivery is still to be settled.
    Refused(Box<Delivery>),
}

/// One message that the broker waits to hear about.
pub struct Delivery {
    /// What it says.
    pub message: Message,
    properties: BasicProperties,
    acker: Acker,
    publisher: Arc<Publisher>,
    names: Names,
    metrics: Metrics,
    settled: bool,
}

impl Delivery {
    pub(super) fn new(
        delivery: lapin::message::Delivery,
        publisher: Arc<Publisher>,
        names: Names,
        metrics: Metrics,
    ) -> Self {
        let message = read(delivery.data, &delivery.properties, publisher.own());
        Self {
            message,
            properties: delivery.properties,
            acker: delivery.acker,
            publisher,
            names,
            metrics,
            settled: false,
        }
    }

    /// Its result is confirmed.
    ///
    /// # Errors
    /// When the channel is gone; the broker hands the message out again.
    pub async fn answered(mut self) -> Result<(), BrokerError> {
        self.ack().await
    }

    /// To be tried again after `delay`, one of the declared ones: a confirmed copy in its wait queue.
    ///
    /// # Errors
    /// When the copy was not confirmed or the channel is gone; the broker hands the message out again.
    pub async fn put_off(mut self, delay: Duration, reason: PutOff) -> Result<Copied, BrokerError> {
        if self.message.left_out.is_some() {
            tokio::time::sleep(delay).await;
            return self.returned(Return::Nack).await.map(|()| Copied::Yes);
        }
        let headers = [("x-asset-eraser-reason", reason.as_str())];
        if !self.copy(&wait_key(delay), &headers).await? {
            return Ok(Copied::Refused(Box::new(self)));
        }
        self.ack().await.map(|()| Copied::Yes)
    }

    /// Not to be handled: a confirmed copy in the dead queue that says why. A message whose body was left out has no copy: the
    /// broker moves it there itself.
    ///
    /// # Errors
    /// When the copy was not confirmed or the channel is gone; the broker hands the message out again.
    pub async fn buried(mut self, why: Buried, detail: &str) -> Result<Copied, BrokerError> {
        if self.message.left_out.is_some() {
            self.metrics.dead_letter(why);
            return self.rejected().await.map(|()| Copied::Yes);
        }
        let most = longest_detail(self.publisher.frame_max());
        let end = (0..=detail.len().min(most)).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
        let at = Timestamp::now().to_string();
        let headers = [
            ("x-asset-eraser-why", why.as_str()),
            ("x-asset-eraser-detail", &detail[..end]),
            ("x-asset-eraser-at", &at),
        ];
        if !self.copy(DEAD, &headers).await? {
            return Ok(Copied::Refused(Box::new(self)));
        }
        self.metrics.dead_letter(why);
        self.ack().await.map(|()| Copied::Yes)
    }

    /// Given back to the queue.
    ///
    /// # Errors
    /// When the channel is gone; then the broker has it back already.
    pub async fn returned(mut self, how: Return) -> Result<(), BrokerError> {
        match how {
            Return::Fresh if self.message.left_out.is_none() && self.copy(REQUEST, &[]).await.unwrap_or(false) => {
                self.ack().await
            }
            Return::Fresh | Return::Nack => {
                self.settled = true;
                let requeue = BasicNackOptions { requeue: true, multiple: false };
                let nacked = async { Ok(self.acker.nack(requeue).await?) };
                if self.publisher.while_it_lasts(nacked).await? { Ok(()) } else { Err(BrokerError::Stale) }
            }
        }
    }

    /// The queue dead-letters it.
    async fn rejected(mut self) -> Result<(), BrokerError> {
        self.settled = true;
        let rejected = async { Ok(self.acker.reject(BasicRejectOptions { requeue: false }).await?) };
        if self.publisher.while_it_lasts(rejected).await? { Ok(()) } else { Err(BrokerError::Stale) }
    }

    async fn ack(&mut self) -> Result<(), BrokerError> {
        self.settled = true;
        let acked = async { Ok(self.acker.ack(BasicAckOptions::default()).await?) };
        if self.publisher.while_it_lasts(acked).await? { Ok(()) } else { Err(BrokerError::Stale) }
    }

    /// Publishes a copy under `key`. True only when a queue has it: the original is acknowledged next. False where the
    /// queue does not take it.
    async fn copy(&mut self, key: &str, headers: &[(&str, &str)]) -> Result<bool, BrokerError> {
        let mut properties = copied(&self.properties, headers, self.publisher.frame_max());
        if let Some(own) = self.publisher.own() {
            properties = signed(properties, own, self.message.publisher.as_deref());
        }
        let exchange = self.names.exchange();
        let (body, publisher) = (&self.message.body, &self.publisher);
        let mut copied = publisher.publish(exchange, key, body, properties.clone()).await;
        if let Ok(Routed::Refused) = copied {
            copied = Box::pin(publisher.publish_apart(exchange, key, body, properties)).await;
        }
        match copied {
            Ok(Routed::Yes) => Ok(true),
            Ok(Routed::Refused) => Ok(false),
            // The queue or its binding is gone, and a new session declares both.
            Ok(Routed::No) => {
                self.settled = true;
                self.publisher.give_up();
                Err(BrokerError::NotTaken(format!("{exchange} with key {key}")))
            }
            Err(error) => {
                self.settled = true;
                Err(error)
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            self.metrics.unsettled_drop();
            tracing::debug!("a delivery was dropped unsettled; the broker hands it out again once the session ends");
        }
    }
}
