//! The envelope of every event: a structured CloudEvent 1.0.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// The CloudEvents `source` of every event.
pub const SOURCE: &str = "/asset-eraser";

/// The AMQP `content_type` of every event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Name space of the IDs of events that are on record nowhere (RFC 9562, version 5). Those of a ledger's events are in the
/// name space that is the ledger's own ID.
pub(super) const NAMESPACE: Uuid = Uuid::from_u128(0x6a1e_7c52_08d4_4b9b_9f36_51c0_dd2a_77e1);

/// A structured CloudEvent 1.0.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct CloudEvent<'a, D> {
    #[cfg_attr(test, schemars(extend("const" = "1.0")))]
    specversion: &'static str,
    /// Always the same for the same event, however often it comes; also the AMQP `message_id`. Tell repetitions by it.
    #[cfg_attr(test, schemars(regex(pattern = super::schema::UUID)))]
    id: String,
    #[cfg_attr(test, schemars(extend("const" = SOURCE)))]
    source: &'static str,
    /// What happened.
    r#type: String,
    /// Whom it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<super::schema::Time>"))]
    time: Option<Timestamp>,
    #[cfg_attr(test, schemars(extend("const" = "application/json")))]
    datacontenttype: &'static str,
    data: D,
}

impl<'a, D: Serialize> CloudEvent<'a, D> {
    /// `kind` is the word that tells this event's type from others.
    pub(super) fn new(id: Uuid, kind: &str, subject: Option<&'a str>, time: Option<Timestamp>, data: D) -> Self {
        Self {
            specversion: "1.0",
            id: id.to_string(),
            source: SOURCE,
            r#type: event_type(kind),
            subject,
            time,
            datacontenttype: "application/json",
            data,
        }
    }

    /// As it is recorded and published. By way of a `Value`, which puts names in the order of the alphabet: an event's
    /// bytes must be the same for ever, also when a field is moved.
    pub(super) fn to_json(&self) -> String {
        json!(self).to_string()
    }
}

/// The CloudEvents `type`.
pub(super) fn event_type(kind: &str) -> String {
    format!("asset.deletion.{kind}.v1")
}
