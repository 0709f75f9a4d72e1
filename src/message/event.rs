//! The result event: a structured CloudEvent 1.0 whose ID never changes for a request.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::id::{AssetId, RequestId};
use super::outcome::Outcome;
use super::request::Labels;

/// The CloudEvents `source` of every result.
pub const SOURCE: &str = "/asset-eraser";

/// The AMQP `content_type` of every result.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Name space of the event IDs (RFC 9562, version 5). Changing it would give every request a second event ID.
pub(super) const NAMESPACE: Uuid = Uuid::from_u128(0x6a1e_7c52_08d4_4b9b_9f36_51c0_dd2a_77e1);

/// A result event as it is recorded and published, byte for byte the same every time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultEvent {
    /// The CloudEvents `id`, also the AMQP `message_id`.
    pub id: String,
    /// `deleted`, `already_absent`, …: the last word of the routing key.
    pub outcome: String,
    /// `data.cause`, empty when there is none.
    pub cause: String,
    /// `data.request_id`.
    pub request_id: String,
    /// `data.asset_id`, empty when it could not be read.
    pub asset_id: String,
    /// `data.attempts`.
    pub attempts: u64,
    /// The JSON text.
    pub body: String,
}

/// What the worker learnt on the way to an outcome.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// What the detail call said before the deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<Value>,
    /// True when a detail call after the delete found nothing.
    pub verified: bool,
    /// How often the request was tried.
    pub attempts: u32,
    /// First seen.
    pub received_at: Option<Timestamp>,
    /// The provider's last `code` and `msg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<LastWord>,
}

/// The provider's last `code` and `msg`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LastWord {
    /// `code`, as text whatever its JSON type was.
    pub code: Option<String>,
    /// `msg`, for a person; never branched on.
    pub msg: Option<String>,
}

/// Whose request the event answers.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The request.
    pub request_id: &'a RequestId,
    /// The asset, when it could be read.
    pub asset_id: Option<&'a AssetId>,
    /// Passed through.
    pub labels: &'a Labels,
}

impl ResultEvent {
    /// The one event of a request.
    #[must_use]
    pub fn new(subject: Subject<'_>, outcome: &Outcome, facts: Facts, decided_at: Timestamp) -> Self {
        let id = Uuid::new_v5(&NAMESPACE, subject.request_id.as_str().as_bytes());
        Self::with_id(|_| id, subject, outcome, facts, Some(decided_at))
    }

    /// The refusal of a request that was not even looked at. It isn't that request ID's outcome, and nothing of it is
    /// recorded: so its ID follows from all of its content, which tells no times, and both are the same when the same
    /// message comes again.
    #[must_use]
    pub fn unheard(subject: Subject<'_>, outcome: &Outcome) -> Self {
        let id = |data: &Value| Uuid::new_v5(&NAMESPACE, format!("{} unheard {data}", subject.request_id).as_bytes());
        Self::with_id(id, subject, outcome, Facts::default(), None)
    }

    /// The refusal of a request under a `request_id` that is used up. It isn't that request ID's outcome, so it has an
    /// ID of its own, derived from the request ID (in which no space can stand) and what was `asked`, as JSON. `used` is
    /// when the request ID was first seen: like everything else in it, the same when the same message comes again.
    #[must_use]
    pub fn conflict(subject: Subject<'_>, outcome: &Outcome, asked: &str, used: Timestamp) -> Self {
        let id = Uuid::new_v5(&NAMESPACE, format!("{} conflict {asked}", subject.request_id).as_bytes());
        Self::with_id(|_| id, subject, outcome, Facts::default(), Some(used))
    }

    /// `id` is given the whole of `data`.
    fn with_id(
        id: impl FnOnce(&Value) -> Uuid,
        subject: Subject<'_>,
        outcome: &Outcome,
        facts: Facts,
        decided_at: Option<Timestamp>,
    ) -> Self {
        let name = outcome.as_str();
        let mut data = json!({
            "request_id": subject.request_id.as_str(), "outcome": name, "verified": facts.verified,
            "attempts": facts.attempts,
        });
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                data[key] = value;
            }
        };
        put("received_at", facts.received_at.or(decided_at).map(|at| json!(at)));
        put("decided_at", decided_at.map(|at| json!(at)));
        put("asset_id", subject.asset_id.map(|id| json!(id.as_str())));
        put("requested_by", subject.labels.requested_by.as_ref().map(|text| json!(text)));
        put("reason", subject.labels.reason.as_ref().map(|text| json!(text)));
        put("case_id", subject.labels.case_id.as_ref().map(|text| json!(text)));
        put("case_size", subject.labels.case_size.map(|size| json!(size)));
        put("cause", outcome.refusal().map(|refusal| json!(refusal.cause)));
        put("detail", outcome.refusal().map(|refusal| json!(refusal.detail)));
        put("asset", facts.asset);
        put("provider", facts.provider.map(|word| json!(word)));
        let id = id(&data);
        let mut event = json!({
            "specversion": "1.0", "id": id.to_string(), "source": SOURCE, "type": format!("asset.deletion.{name}.v1"),
            "datacontenttype": "application/json", "data": data,
        });
        if let Some(at) = decided_at {
            event["time"] = json!(at);
        }
        if let Some(asset) = subject.asset_id {
            event["subject"] = json!(asset.as_str());
        }
        Self {
            id: id.to_string(),
            outcome: name.to_owned(),
            cause: outcome.refusal().map_or("", |refusal| refusal.cause.as_str()).to_owned(),
            request_id: subject.request_id.to_string(),
            asset_id: subject.asset_id.map_or("", AssetId::as_str).to_owned(),
            attempts: facts.attempts.into(),
            body: event.to_string(),
        }
    }

    /// An event read back from the ledger.
    ///
    /// # Errors
    /// When the text is no event of ours.
    pub fn recorded(body: String) -> Result<Self, String> {
        let event: Value = serde_json::from_str(&body).map_err(|error| format!("recorded event: {error}"))?;
        let text = |value: &Value, name: &str| {
            value.as_str().map(str::to_owned).ok_or_else(|| format!("recorded event: {name} is missing"))
        };
        Ok(Self {
            id: text(&event["id"], "id")?,
            outcome: text(&event["data"]["outcome"], "data.outcome")?,
            cause: event["data"]["cause"].as_str().unwrap_or_default().to_owned(),
            request_id: text(&event["data"]["request_id"], "data.request_id")?,
            asset_id: event["data"]["asset_id"].as_str().unwrap_or_default().to_owned(),
            attempts: event["data"]["attempts"].as_u64().unwrap_or_default(),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::id::CaseId;
    use crate::message::outcome::Cause;

    fn event(request: &str, at: &str, outcome: &Outcome) -> ResultEvent {
        let (request_id, asset_id) = (RequestId::parse(request).unwrap(), AssetId::parse("asset-1").unwrap());
        let labels = Labels { case_id: Some(CaseId::parse("case-7").unwrap()), ..Labels::default() };
        let subject = Subject { request_id: &request_id, asset_id: Some(&asset_id), labels: &labels };
        ResultEvent::new(subject, outcome, Facts { attempts: 2, ..Facts::default() }, at.parse().unwrap())
    }

    #[test]
    fn the_event_id_follows_from_the_request_id_alone() {
        let first = event("r-1", "2026-11-24T10:00:00Z", &Outcome::Deleted);
        let again = event("r-1", "2026-11-25T10:00:00Z", &Outcome::AlreadyAbsent);
        assert_eq!(first.id, again.id);
        assert_ne!(first.id, event("r-2", "2026-11-24T10:00:00Z", &Outcome::Deleted).id);
        assert_eq!(
            first.id, "5173f9f0-04de-54b5-8ba1-cf170df6ebba",
            "publishers deduplicate by this ID: it must never change"
        );
    }

    #[test]
    fn an_unheard_request_has_an_event_of_its_own_that_follows_from_what_it_says() {
        let unheard = |asset: &str| {
            let (request_id, asset_id) = (RequestId::parse("r-1").unwrap(), AssetId::parse(asset).unwrap());
            let subject = Subject { request_id: &request_id, asset_id: Some(&asset_id), labels: &Labels::default() };
            ResultEvent::unheard(subject, &Outcome::rejected(Cause::PublisherNotAllowed, "who are you"))
        };
        assert_eq!(unheard("a"), unheard("a"));
        assert_ne!(unheard("a").id, unheard("b").id);
        assert_ne!(unheard("asset-1").id, event("r-1", "2026-11-24T10:00:00Z", &Outcome::Deleted).id);
        assert_eq!(ResultEvent::recorded(unheard("a").body).unwrap(), unheard("a"));
        insta::assert_snapshot!(unheard("a").body);
    }

    #[test]
    fn a_recorded_event_reads_back_as_it_was() {
        let refused = Outcome::rejected(Cause::InUse, "job video_1 uses it");
        let event = event("r-1", "2026-11-24T10:00:00Z", &refused);
        assert_eq!(ResultEvent::recorded(event.body.clone()).unwrap(), event);
        insta::assert_snapshot!(event.body);
    }
}
