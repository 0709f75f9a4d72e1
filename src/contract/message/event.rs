//! The result event: a structured CloudEvent 1.0 whose ID never changes for a request.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::backup::Backup;
use super::cloud_event::{CloudEvent, NAMESPACE};
use super::id::{AssetId, CaseId, RequestId};
use super::outcome::{Cause, Outcome, Proof};
use super::request::Labels;

/// A result event as it is recorded and published, byte for byte the same every time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultEvent {
    /// The CloudEvents `id`, also the AMQP `message_id`.
    pub id: String,
    /// `deleted`, `already_absent`, …: the last word of the routing key.
    pub outcome: String,
    /// `data.cause`, empty when there is none.
    pub cause: String,
    /// `data.proof`, empty when there is none.
    pub proof: String,
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
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the detail call said before the deletion.
    pub asset: Option<AssetSeen>,
    /// How often the request was tried.
    pub attempts: u32,
    /// First seen.
    pub received_at: Option<Timestamp>,
    /// The provider's last `code` and `msg`.
    pub provider: Option<LastWord>,
    /// The copy of its bytes, if one was asked for and made.
    pub backup: Option<Backup>,
    /// Whether a `DELETE` was sent for the request, by this or an earlier attempt.
    pub delete_sent: bool,
    /// Whether the asset's own URL still serves bytes, where it was asked after the deletion.
    pub url_serves: Option<bool>,
}

/// What the provider said about the asset before the deletion. It owes none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct AssetSeen {
    /// The name given at upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Image`, `Video`, `Audio`, `Document`, or what the provider adds some day.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub asset_type: Option<String>,
    /// When it was made, as the provider writes it: without a time zone, so it is no timestamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// The provider's last `code` and `msg`; `null` where its answer had none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct LastWord {
    /// The HTTP status.
    pub status: Option<u16>,
    /// `code`, as text whatever its JSON type was.
    pub code: Option<String>,
    /// `msg`, for a person; never branched on.
    pub msg: Option<String>,
    /// The rule that said what the answer means: one of `provider.answers` (the first is number 1), a list of codes, or one
    /// that is built in; `null` where no rule is for it.
    pub rule: Option<String>,
}

/// What a result says.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct ResultData<'a> {
    /// The request that is answered.
    request_id: &'a RequestId,
    /// The asset that it named; missing when that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    asset_id: Option<&'a AssetId>,
    /// Who asked, as the request says.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<&'a str>,
    /// Why, as the request says.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The erasure case, as the request says.
    #[serde(skip_serializing_if = "Option::is_none")]
    case_id: Option<&'a CaseId>,
    /// How many requests the case has, as the request says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1, max = crate::contract::message::request::MAX_CASE_SIZE)))]
    case_size: Option<u32>,
    /// How it ended.
    #[cfg_attr(test, schemars(extend("enum" = Outcome::NAMES)))]
    outcome: &'static str,
    /// Why not, for a machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    /// Why not, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// How well it is known that the asset is gone; there with `deleted` and `already_absent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
    /// Whether it was seen, and not only said, that the asset is gone: with the proofs `erased` and `absent`.
    verified: bool,
    /// Whether the asset's own URL still served bytes after the deletion; missing where it was not asked, or gave no clear
    /// answer. A content delivery network may do so for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    url_serves: Option<bool>,
    /// `true` when a `DELETE` was sent although the request was rejected or has failed: the provider may have carried it
    /// out, or may do so yet. Missing in every other case.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, schemars(extend("const" = true)))]
    delete_sent: bool,
    /// How often the request was tried.
    attempts: u32,
    /// When the request was first seen. Missing only with `publisher_not_allowed`, which tells no times.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<super::schema::Time>"))]
    received_at: Option<Timestamp>,
    /// When it was decided. Missing only with `publisher_not_allowed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<super::schema::Time>"))]
    decided_at: Option<Timestamp>,
    /// What the provider said about the asset before the deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<AssetSeen>,
    /// The provider's last word.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<LastWord>,
    /// The copy of the asset's bytes that was made before the deletion, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<Backup>,
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
    /// The one event of a request. Its ID follows from the ledger's and the request's: another ledger may answer a request
    /// of the same ID otherwise.
    #[must_use]
    pub fn new(ledger: Uuid, subject: Subject<'_>, outcome: &Outcome, facts: Facts, decided_at: Timestamp) -> Self {
        let id = Uuid::new_v5(&ledger, subject.request_id.as_str().as_bytes());
        Self::with_id(|_| id, subject, outcome, facts, Some(decided_at))
    }

    /// The refusal of a request that was not even looked at. It isn't that request ID's outcome, and nothing of it is
    /// recorded: so its ID follows from all of its content, which tells no times, and both are the same when the same
    /// message comes again.
    #[must_use]
    pub fn unheard(subject: Subject<'_>, outcome: &Outcome) -> Self {
        let id = |data: &ResultData<'_>| {
            Uuid::new_v5(&NAMESPACE, format!("{} unheard {}", subject.request_id, json!(data)).as_bytes())
        };
        Self::with_id(id, subject, outcome, Facts::default(), None)
    }

    /// The refusal of a request under a `request_id` that is used up. It isn't that request ID's outcome, so it has an ID of
    /// its own, derived from all of its data. `used` is when the request ID was first seen: like everything else in it, the
    /// same when the same message comes again.
    #[must_use]
    pub fn conflict(subject: Subject<'_>, outcome: &Outcome, used: Timestamp) -> Self {
        let id = |data: &ResultData<'_>| {
            Uuid::new_v5(&NAMESPACE, format!("{} conflict {}", subject.request_id, json!(data)).as_bytes())
        };
        Self::with_id(id, subject, outcome, Facts::default(), Some(used))
    }

    /// `id` is given the whole of `data`.
    fn with_id(
        id: impl FnOnce(&ResultData<'_>) -> Uuid,
        subject: Subject<'_>,
        outcome: &Outcome,
        facts: Facts,
        decided_at: Option<Timestamp>,
    ) -> Self {
        let (refusal, labels) = (outcome.refusal(), subject.labels);
        let data = ResultData {
            request_id: subject.request_id,
            asset_id: subject.asset_id,
            requested_by: labels.requested_by.as_deref(),
            reason: labels.reason.as_deref(),
            case_id: labels.case_id.as_ref(),
            case_size: labels.case_size,
            outcome: outcome.as_str(),
            cause: refusal.map(|refusal| refusal.cause),
            detail: refusal.map(|refusal| refusal.detail.as_str()),
            proof: outcome.proof(),
            verified: outcome.proof().is_some_and(Proof::is_verified),
            url_serves: facts.url_serves,
            delete_sent: facts.delete_sent && refusal.is_some(),
            attempts: facts.attempts,
            received_at: facts.received_at.or(decided_at),
            decided_at,
            asset: facts.asset,
            provider: facts.provider,
            backup: facts.backup,
        };
        let asset = subject.asset_id.map(AssetId::as_str);
        let id = id(&data);
        let event = CloudEvent::new(id, data.outcome, asset, decided_at, data);
        Self {
            id: id.to_string(),
            outcome: outcome.as_str().to_owned(),
            cause: refusal.map_or("", |refusal| refusal.cause.as_str()).to_owned(),
            proof: outcome.proof().map_or("", Proof::as_str).to_owned(),
            request_id: subject.request_id.to_string(),
            asset_id: asset.unwrap_or_default().to_owned(),
            attempts: facts.attempts.into(),
            body: event.to_json(),
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
            proof: event["data"]["proof"].as_str().unwrap_or_default().to_owned(),
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
    use crate::contract::message::id::CaseId;
    use crate::contract::message::outcome::{Cause, Proof};

    const LEDGER: Uuid = Uuid::from_u128(0x1d0f_33a0_52c1_4f7e_8a0b_6b7f_9d44_20aa);

    fn event(request: &str, at: &str, outcome: &Outcome) -> ResultEvent {
        event_of(LEDGER, request, at, outcome)
    }

    fn event_of(ledger: Uuid, request: &str, at: &str, outcome: &Outcome) -> ResultEvent {
        let (request_id, asset_id) = (RequestId::parse(request).unwrap(), AssetId::parse("asset-1").unwrap());
        let labels = Labels { case_id: Some(CaseId::parse("case-7").unwrap()), ..Labels::default() };
        let subject = Subject { request_id: &request_id, asset_id: Some(&asset_id), labels: &labels };
        ResultEvent::new(ledger, subject, outcome, Facts { attempts: 2, ..Facts::default() }, at.parse().unwrap())
    }

    #[test]
    fn the_event_id_follows_from_the_ledger_and_the_request_id_alone() {
        let first = event("r-1", "2026-11-24T10:00:00Z", &Outcome::Deleted(Proof::Erased));
        let again = event("r-1", "2026-11-25T10:00:00Z", &Outcome::AlreadyAbsent(Proof::Absent));
        assert_eq!(first.id, again.id);
        assert_ne!(first.id, event("r-2", "2026-11-24T10:00:00Z", &Outcome::Deleted(Proof::Erased)).id);
        let other = event_of(Uuid::from_u128(7), "r-1", "2026-11-24T10:00:00Z", &Outcome::Deleted(Proof::Erased));
        assert_ne!(first.id, other.id, "another ledger may decide otherwise");
        assert_eq!(
            first.id, "2c44019d-0c09-542f-bb56-290c7cdbbd86",
            "publishers deduplicate by this ID: it must never change"
        );
    }

    #[test]
    fn a_conflict_has_an_event_id_that_follows_from_all_of_its_data() {
        let conflict = |detail: &str, at: &str| {
            let (request_id, asset_id) = (RequestId::parse("r-1").unwrap(), AssetId::parse("a").unwrap());
            let labels = Labels::default();
            let subject = Subject { request_id: &request_id, asset_id: Some(&asset_id), labels: &labels };
            ResultEvent::conflict(subject, &Outcome::rejected(Cause::RequestConflict, detail), at.parse().unwrap())
        };
        let first = conflict("used before", "2026-11-24T10:00:00Z");
        assert_eq!(first, conflict("used before", "2026-11-24T10:00:00Z"));
        for other in [conflict("forgotten", "2026-11-24T10:00:00Z"), conflict("used before", "2026-11-25T10:00:00Z")] {
            assert_ne!(first.id, other.id);
        }
    }

    #[test]
    fn only_a_refusal_says_that_a_delete_was_sent() {
        let sent = |outcome: &Outcome| {
            let request_id = RequestId::parse("r-1").unwrap();
            let subject = Subject { request_id: &request_id, asset_id: None, labels: &Labels::default() };
            let facts = Facts { delete_sent: true, ..Facts::default() };
            ResultEvent::new(LEDGER, subject, outcome, facts, Timestamp::UNIX_EPOCH).body.contains("delete_sent")
        };
        assert!(sent(&Outcome::failed(Cause::DeadlinePassed, "late")));
        assert!(!sent(&Outcome::Deleted(Proof::Erased)) && !sent(&Outcome::AlreadyAbsent(Proof::Absent)));
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
        assert_ne!(unheard("asset-1").id, event("r-1", "2026-11-24T10:00:00Z", &Outcome::Deleted(Proof::Erased)).id);
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
