//! A message as it came: its body, and what its properties say.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};

use super::clean::BODY_LEFT_OUT;
use super::headers::USER_ID;
use crate::contract::message::{Envelope, TraceContext};

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

    use super::super::headers::{copied, signed};
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
