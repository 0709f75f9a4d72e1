//! Events that are no request's result: a deletion is about to begin, a case is complete.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::cloud_event::CloudEvent;
use super::id::{AssetId, CaseId, RequestId};
use super::outcome::Outcome;

/// A structured CloudEvent 1.0, the same ID and byte for byte the same every time it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it tells.
    pub kind: NoticeKind,
    /// The CloudEvents `id`, also the AMQP `message_id`.
    pub id: String,
    /// The JSON text.
    pub body: String,
}

/// What a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// A request is on record, and the guard is asked next.
    Started,
    /// The last request of a case was decided.
    CaseCompleted,
}

impl NoticeKind {
    /// The name in the event's type and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::CaseCompleted => "case_completed",
        }
    }

    /// The routing key. The end of a case is a result, to be kept where results are.
    #[must_use]
    pub const fn routing_key(self) -> &'static str {
        match self {
            Self::Started => "event.started",
            Self::CaseCompleted => "result.case_completed",
        }
    }
}

/// What a started event says: only what is the same whenever the request is handed out again.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct StartedData<'a> {
    /// The request.
    request_id: &'a RequestId,
    /// The asset that is about to be deleted.
    asset_id: &'a AssetId,
    /// When the request was first seen.
    #[cfg_attr(test, schemars(with = "super::schema::Time"))]
    received_at: Timestamp,
}

/// What the end of a case says.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct CaseCompletedData<'a> {
    /// The case.
    case_id: &'a CaseId,
    /// How many requests it has.
    #[cfg_attr(test, schemars(range(min = 1, max = crate::contract::message::request::MAX_CASE_SIZE)))]
    case_size: u32,
    /// How many of them had which outcome.
    outcomes: Counts,
    /// When the last one was decided.
    #[cfg_attr(test, schemars(with = "super::schema::Time"))]
    completed_at: Timestamp,
}

/// A case's requests by outcome.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct Counts {
    deleted: u32,
    already_absent: u32,
    would_delete: u32,
    rejected: u32,
    failed: u32,
}

impl Counts {
    fn of(decided: &BTreeMap<String, u32>) -> Self {
        let count = |name: &str| decided.get(name).copied().unwrap_or_default();
        let [deleted, already_absent, would_delete, rejected, failed] = Outcome::NAMES.map(count);
        Self { deleted, already_absent, would_delete, rejected, failed }
    }
}

impl Notice {
    /// A deletion is about to begin. Says only what is the same whenever the request is handed out again.
    #[must_use]
    pub fn started(ledger: Uuid, request_id: &RequestId, asset_id: &AssetId, first_seen: Timestamp) -> Self {
        let data = StartedData { request_id, asset_id, received_at: first_seen };
        let id = Uuid::new_v5(&ledger, format!("{request_id} started").as_bytes());
        Self::new(NoticeKind::Started, id, asset_id.as_str(), first_seen, data)
    }

    /// The last request of a case was decided. `decided` counts the case's requests by outcome.
    #[must_use]
    pub fn case_completed(
        ledger: Uuid,
        case: &CaseId,
        size: u32,
        decided: &BTreeMap<String, u32>,
        now: Timestamp,
    ) -> Self {
        let data =
            CaseCompletedData { case_id: case, case_size: size, outcomes: Counts::of(decided), completed_at: now };
        // No request ID is "case": what follows one is another word.
        let id = Uuid::new_v5(&ledger, format!("case completed {case}").as_bytes());
        Self::new(NoticeKind::CaseCompleted, id, case.as_str(), now, data)
    }

    /// `id` is derived from the ledger's, as another ledger may tell of the same request or case otherwise.
    fn new(kind: NoticeKind, id: Uuid, subject: &str, time: Timestamp, data: impl Serialize) -> Self {
        let event = CloudEvent::new(id, kind.as_str(), Some(subject), Some(time), data);
        Self { kind, id: id.to_string(), body: event.to_json() }
    }

    /// The end of a case, read back from the ledger.
    ///
    /// # Errors
    /// When the text is no event of ours.
    pub fn recorded_case(body: String) -> Result<Self, String> {
        let event: Value = serde_json::from_str(&body).map_err(|error| format!("recorded event of a case: {error}"))?;
        let id = event["id"].as_str().ok_or("recorded event of a case: id is missing")?.to_owned();
        Ok(Self { kind: NoticeKind::CaseCompleted, id, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: Uuid = Uuid::from_u128(0x1d0f_33a0_52c1_4f7e_8a0b_6b7f_9d44_20aa);

    #[test]
    fn a_started_event_says_the_same_each_time() {
        let (request, asset) = (RequestId::parse("r-1").unwrap(), AssetId::parse("asset-1").unwrap());
        let at = "2026-11-24T10:00:00Z".parse().unwrap();
        let started = Notice::started(LEDGER, &request, &asset, at);
        assert_eq!(started, Notice::started(LEDGER, &request, &asset, at));
        insta::assert_snapshot!(started.body);
    }

    #[test]
    fn the_end_of_a_case_counts_every_outcome_and_reads_back_as_it_was() {
        let case = CaseId::parse("case-7").unwrap();
        let decided = BTreeMap::from([("deleted".to_owned(), 9), ("failed".to_owned(), 1)]);
        let completed = Notice::case_completed(LEDGER, &case, 10, &decided, "2026-11-24T10:00:00Z".parse().unwrap());
        assert_eq!(Notice::recorded_case(completed.body.clone()).unwrap(), completed);
        insta::assert_snapshot!(completed.body);
    }
}
