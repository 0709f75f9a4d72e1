//! The request: decoded once, with every rule of the contract, into a value that cannot be wrong any more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::{Fields, shown};
use super::id::{AssetId, CaseId, RequestId};
use crate::contract::json;

/// Largest request body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Longest text of a person's (`requested_by`, `reason`, what is expected), in characters. It is kept twice: in the request
/// and in its event.
pub const MAX_TEXT: usize = 4_096;

/// Most requests of one case.
pub const MAX_CASE_SIZE: u32 = 1_000_000;

/// Every field that a request may have.
pub const FIELDS: [&str; 11] = [
    "request_id",
    "asset_id",
    "requested_by",
    "reason",
    "case_id",
    "case_size",
    "on_in_use",
    "deadline",
    "expect",
    "dry_run",
    "backup",
];

/// A message as it came from the broker, as far as decoding needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envelope<'a> {
    /// The AMQP body.
    pub body: &'a [u8],
    /// How many bytes it has, where it was too long to be read.
    pub left_out: Option<u64>,
    /// The AMQP `content_type`; `application/cloudevents+json` marks a structured CloudEvent.
    pub content_type: Option<&'a str>,
    /// The AMQP `message_id`, the first fallback for `request_id`.
    pub message_id: Option<&'a str>,
}

/// What a valid request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The requester's name for this request.
    pub request_id: RequestId,
    /// The one asset to delete.
    pub asset_id: AssetId,
    /// Passed through to the result.
    pub labels: Labels,
    /// What to do while a job in progress uses the asset.
    pub on_in_use: OnInUse,
    /// Never delete after this.
    pub deadline: Option<Timestamp>,
    /// What the asset must be.
    pub expect: Option<Expect>,
    /// Do everything but the `DELETE`.
    pub dry_run: bool,
    /// Whether the asset's bytes have to be kept before it is deleted; `None` leaves it to the operator.
    pub backup: Option<bool>,
}

/// Whose request it is: passed through to the result, and no matter for the decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Labels {
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The erasure case this request belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_id: Option<CaseId>,
    /// How many requests the case has. Never without a `case_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_size: Option<u32>,
}

/// What to do while a job in progress uses the asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnInUse {
    /// Try again until it is free.
    #[default]
    Wait,
    /// Answer `rejected` at once.
    Reject,
}

/// What the detail call must say for the deletion to go on; at least one is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Expect {
    /// The provider's `assetType`, compared exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = MAX_TEXT)))]
    pub asset_type: Option<String>,
    /// The provider's `name`, compared exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = MAX_TEXT)))]
    pub name: Option<String>,
}

/// A message that is no valid request: what is wrong, and whom to answer if that much could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Set when the request ID could be read although something else could not.
    pub request_id: Option<RequestId>,
    /// Set when the asset ID could be read.
    pub asset_id: Option<AssetId>,
    /// The pass-through fields that could be read.
    pub labels: Labels,
    /// Names the field and the rule it breaks.
    pub problem: String,
}

impl Request {
    /// Decodes a message.
    ///
    /// # Errors
    /// [`Unreadable`] names the first field that breaks a rule and keeps the IDs that could be read.
    pub fn decode(envelope: Envelope<'_>) -> Result<Self, Box<Unreadable>> {
        let message_id = ("AMQP message_id", envelope.message_id);
        // What no field can be read of still has the name that its publisher gave to the message.
        let outer = body(envelope.body, envelope.left_out)
            .map_err(|problem| unreadable(&Fields::none(), &[message_id], problem))?;
        if !is_cloud_event(envelope.content_type) {
            return read(&outer, &[message_id]);
        }
        let (id, data) = (outer.text("id"), cloud_event_data(&outer));
        let ids = [message_id, ("CloudEvent id", id.as_deref())];
        match (cloud_event_problem(&outer), data) {
            (None, Ok(data)) => read(&data, &ids),
            (Some(problem), Ok(data)) => Err(unreadable(&data, &ids, problem)),
            // A request that was sent as an event by mistake has its fields here.
            (Some(problem), Err(_)) | (None, Err(problem)) => Err(unreadable(&outer, &ids, problem)),
        }
    }

    /// What was asked, as JSON for the ledger. A conflict's event ID follows from it, so what is not said is left out if
    /// it is younger than the first version.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::json!({
            "request_id": self.request_id.as_str(), "asset_id": self.asset_id.as_str(),
            "requested_by": self.labels.requested_by, "reason": self.labels.reason, "case_id": self.labels.case_id,
            "case_size": self.labels.case_size,
            "on_in_use": self.on_in_use, "deadline": self.deadline, "expect": self.expect, "dry_run": self.dry_run,
        });
        if let Some(backup) = self.backup {
            json["backup"] = backup.into();
        }
        json.to_string()
    }
}

fn is_cloud_event(content_type: Option<&str>) -> bool {
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/cloudevents+json")
}

/// What is wrong with a body of so many bytes.
#[must_use]
pub fn too_long(size: u64) -> String {
    format!("body: is {size} bytes long; at most {MAX_BODY} are allowed")
}

/// The fields of a body, which may begin with a byte order mark.
fn body(body: &[u8], left_out: Option<u64>) -> Result<Fields<'_>, String> {
    let size = left_out.unwrap_or(body.len() as u64);
    if left_out.is_some() || size > MAX_BODY as u64 {
        return Err(too_long(size));
    }
    let text = std::str::from_utf8(json::without_mark(body)).map_err(|e| format!("body: is not UTF-8: {e}"))?;
    Fields::read(text).map_err(|problem| format!("body: {problem}"))
}

/// The first rule that the envelope of a CloudEvent breaks.
fn cloud_event_problem(event: &Fields<'_>) -> Option<String> {
    if let Some(name) = event.duplicate() {
        return Some(format!("CloudEvent {}: stands twice", shown(name)));
    }
    if event.text("specversion").as_deref() != Some("1.0") {
        return Some("CloudEvent specversion: must be \"1.0\"".into());
    }
    let empty = |name: &&str| event.text(name).is_none_or(|text| text.is_empty());
    let name = ["id", "source", "type"].into_iter().find(empty)?;
    Some(format!("CloudEvent {name}: must be a non-empty string"))
}

fn cloud_event_data<'a>(event: &Fields<'a>) -> Result<Fields<'a>, String> {
    let data = event.get("data").ok_or("CloudEvent data: is missing; the request goes there, as a JSON object")?;
    Fields::read(data.get()).map_err(|problem| format!("CloudEvent data: {problem}"))
}

/// A message that breaks a rule, with whatever of it can be read.
fn unreadable(fields: &Fields<'_>, fallback_ids: &[(&str, Option<&str>)], problem: String) -> Box<Unreadable> {
    let (request_id, asset_id) = (request_id(fields, fallback_ids).ok(), asset_id(fields).ok());
    Box::new(Unreadable { request_id, asset_id, labels: labels(fields), problem })
}

fn labels(fields: &Fields<'_>) -> Labels {
    Labels {
        requested_by: text(fields, "requested_by").ok().flatten(),
        reason: text(fields, "reason").ok().flatten(),
        case_id: case_id(fields).ok().flatten(),
        case_size: case_size(fields).ok().flatten(),
    }
}

fn read(fields: &Fields<'_>, fallback_ids: &[(&str, Option<&str>)]) -> Result<Request, Box<Unreadable>> {
    let (request_id, asset_id) = (request_id(fields, fallback_ids), asset_id(fields));
    let problem = |problem: String| unreadable(fields, fallback_ids, problem);
    if let Some(name) = fields.duplicate() {
        return Err(problem(format!("{}: stands twice", shown(name))));
    }
    if let Some(name) = fields.unknown(&FIELDS) {
        let hint = if name == "specversion" {
            "; a CloudEvent needs the AMQP content_type application/cloudevents+json".to_owned()
        } else {
            format!("; the fields are {}", FIELDS.join(", "))
        };
        return Err(problem(format!("{}: is not a field of a request{hint}", shown(name))));
    }
    let rest = || -> Result<_, String> {
        for name in ["requested_by", "reason"] {
            text(fields, name)?;
        }
        case_id(fields)?;
        case_size(fields)?;
        Ok((on_in_use(fields)?, deadline(fields)?, expect(fields)?, flag(fields, "dry_run")?, flag(fields, "backup")?))
    };
    match (&request_id, &asset_id, rest()) {
        (Ok(request_id), Ok(asset_id), Ok((on_in_use, deadline, expect, dry_run, backup))) => Ok(Request {
            request_id: request_id.clone(),
            asset_id: asset_id.clone(),
            labels: labels(fields),
            on_in_use,
            deadline,
            expect,
            dry_run: dry_run.unwrap_or(false),
            backup,
        }),
        (Err(text), _, _) | (_, Err(text), _) => Err(problem(text.clone())),
        (_, _, Err(text)) => Err(problem(text)),
    }
}

fn request_id(fields: &Fields<'_>, fallbacks: &[(&str, Option<&str>)]) -> Result<RequestId, String> {
    let own = match fields.get("request_id") {
        Some(value) => Some(("request_id", string(value, "request_id")?)),
        // Twice: the message has a name of its own, and it is not known which. It must not use up another.
        None if fields.has("request_id") => return Err("request_id: stands twice".into()),
        None => fallbacks.iter().find_map(|(from, text)| text.map(|text| (*from, text.to_owned()))),
    };
    let (from, text) = own.ok_or("request_id: is missing, and there is no AMQP message_id to use instead")?;
    RequestId::parse(&text).map_err(|problem| format!("{from}: {problem}"))
}

fn asset_id(fields: &Fields<'_>) -> Result<AssetId, String> {
    let value = fields.get("asset_id").ok_or("asset_id: is missing (or stands twice)")?;
    AssetId::parse(&string(value, "asset_id")?).map_err(|problem| format!("asset_id: {problem}"))
}

fn string(value: &RawValue, name: &str) -> Result<String, String> {
    serde_json::from_str(value.get()).map_err(|_| format!("{name}: must be a string"))
}

/// `null` counts as absent: many serialisers write it for a field that was not set.
fn optional<T: for<'de> Deserialize<'de>>(fields: &Fields<'_>, name: &str, rule: &str) -> Result<Option<T>, String> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|_| format!("{name}: {rule}"))
}

fn text(fields: &Fields<'_>, name: &str) -> Result<Option<String>, String> {
    let text = optional::<String>(fields, name, "must be a string")?;
    match text.as_ref().map_or(0, |text| text.chars().count()) {
        length if length > MAX_TEXT => {
            Err(format!("{name}: is {length} characters long; at most {MAX_TEXT} are allowed"))
        }
        _ => Ok(text),
    }
}

fn case_id(fields: &Fields<'_>) -> Result<Option<CaseId>, String> {
    let text = optional::<String>(fields, "case_id", "must be a string")?;
    text.map(|text| CaseId::parse(&text)).transpose().map_err(|problem| format!("case_id: {problem}"))
}

fn case_size(fields: &Fields<'_>) -> Result<Option<u32>, String> {
    let rule = format!("must be a whole number, 1 to {MAX_CASE_SIZE}");
    let Some(size) = optional::<u32>(fields, "case_size", &rule)? else { return Ok(None) };
    if !(1..=MAX_CASE_SIZE).contains(&size) {
        return Err(format!("case_size: {rule}"));
    }
    if !matches!(case_id(fields), Ok(Some(_))) {
        return Err("case_size: needs a case_id beside it".into());
    }
    Ok(Some(size))
}

/// No `null` here or for `dry_run` and `backup`: these decide about a deletion, so they say it or are left out.
fn on_in_use(fields: &Fields<'_>) -> Result<OnInUse, String> {
    let Some(value) = fields.get("on_in_use") else { return Ok(OnInUse::default()) };
    serde_json::from_str(value.get()).map_err(|_| "on_in_use: must be \"wait\" or \"reject\"".to_owned())
}

fn flag(fields: &Fields<'_>, name: &str) -> Result<Option<bool>, String> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    serde_json::from_str(value.get()).map(Some).map_err(|_| format!("{name}: must be true or false"))
}

fn deadline(fields: &Fields<'_>) -> Result<Option<Timestamp>, String> {
    optional(fields, "deadline", "must be an RFC 3339 time with an offset, such as \"2026-11-24T10:00:00Z\"")
}

fn expect(fields: &Fields<'_>) -> Result<Option<Expect>, String> {
    let Some(value) = fields.get("expect").filter(|value| value.get() != "null") else { return Ok(None) };
    let inner = Fields::read(value.get()).map_err(|problem| format!("expect: {problem}"))?;
    if let Some(name) = inner.duplicate() {
        return Err(format!("expect.{}: stands twice", shown(name)));
    }
    if let Some(name) = inner.unknown(&["asset_type", "name"]) {
        let name = shown(name);
        return Err(format!("expect.{name}: is not a field of expect; the fields are asset_type, name"));
    }
    let text = |name| text(&inner, name).map_err(|problem| format!("expect.{problem}"));
    match (text("asset_type")?, text("name")?) {
        (None, None) => Err("expect: must hold asset_type or name or both".into()),
        (asset_type, name) => Ok(Some(Expect { asset_type, name })),
    }
}

#[cfg(test)]
mod tests;
