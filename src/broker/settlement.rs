//! The four ends of a delivery. A delivery is consumed by exactly one of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lapin::Acker;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, ShortString};

use super::BrokerError;
use super::clean::BODY_LEFT_OUT;
use super::headers::{USER_ID, copied, longest_detail, signed};
use super::publisher::{Publisher, Routed};
use super::topology::{DEAD, Names, REQUEST, wait_key};
use crate::message::{Envelope, TraceContext};
use crate::reasons::{Buried, PutOff};
use crate::telemetry::metrics::Metrics;

/// What a message says, without what AMQP makes of it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The body; empty where it was left out.
    pub body: Vec<u8>,
    /// How many bytes of a body were left out, because it is longer than any request may be.
    pub left_out: Option<u64>,
    /// `message_id`.
    pub message_id: Option<String>,
    /// `correlation_id`.
    pub correlation_id: Option<String>,
    /// `reply_to`.
    pub reply_to: Option<String>,
    /// `content_type`.
    pub content_type: Option<String>,
    /// The user who published it, as far as the broker vouches for that.
    pub publisher: Option<String>,
    /// The W3C trace headers.
    pub trace: TraceContext,
    /// How often it was delivered and came back, as the broker says; it is believed of a publisher, too.
    pub returns: u32,
}

impl Message {
    /// What a request is read from.
    #[must_use]
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope {
            body: &self.body,
            left_out: self.left_out,
            content_type: self.content_type.as_deref(),
            message_id: self.message_id.as_deref(),
        }
    }
}

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

pub(super) fn read(body: Vec<u8>, properties: &BasicProperties, own: Option<&ShortString>) -> Message {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    let header_text = |name: &str| header_text(properties, name);
    let copy = own.is_some() && properties.user_id().as_ref() == own;
    let left_out = header_text(BODY_LEFT_OUT).filter(|_| body.is_empty()).and_then(|size| size.parse().ok());
    Message {
        body,
        left_out,
        publisher: if copy { header_text(USER_ID) } else { text(properties.user_id()) },
        message_id: text(properties.message_id()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        content_type: text(properties.content_type()),
        returns: returns(properties),
        trace: TraceContext::new(header_text("traceparent").as_deref(), header_text("tracestate").as_deref()),
    }
}

fn returns(properties: &BasicProperties) -> u32 {
    let count = header(properties, "x-delivery-count").and_then(AMQPValue::as_long_long_int);
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

pub(super) fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref().and_then(|headers| headers.inner().get(name))
}

pub(super) fn header_text(properties: &BasicProperties, name: &str) -> Option<String> {
    text_of(header(properties, name)?)
}

pub(super) fn text_of(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;

    #[test]
    fn a_copy_is_believed_about_who_published_the_original_and_nothing_else_is() {
        let own = ShortString::from("worker");
        let forged = || {
            let mut headers = FieldTable::default();
            headers.insert(USER_ID.into(), AMQPValue::LongString("desk".into()));
            BasicProperties::default().with_headers(headers)
        };
        let publisher = |properties: &BasicProperties| read(Vec::new(), properties, Some(&own)).publisher;
        for (original, wanted) in [
            (BasicProperties::default().with_user_id("desk".into()), Some("desk")),
            (forged().with_user_id("mallory".into()), Some("mallory")),
            (forged(), None),
            (BasicProperties::default(), None),
        ] {
            let wanted = wanted.map(str::to_owned);
            assert_eq!(publisher(&original), wanted);
            // However often it is put off.
            let mut copy = original;
            for _ in 0..3 {
                copy = signed(copied(&copy, &[], 131_072), &own, publisher(&copy).as_deref());
                assert_eq!((publisher(&copy), copy.user_id().as_ref()), (wanted.clone(), Some(&own)));
            }
        }
        let not_signed = copied(&BasicProperties::default().with_user_id("desk".into()), &[], 131_072);
        assert_eq!(publisher(&not_signed), None, "a copy that an unrestricted worker has made");
    }
}
