//! Gateways: other providers resell the same upstream, and what they put before it has habits of its own.
//!
//! A gateway refuses a call, bends its work, or words its answer in its own way. The work itself is done in `provider.rs`,
//! which knows only the documented words.
//!
//! | Mode | Habit |
//! | --- | --- |
//! | `documented` | as the provider's documentation says; the default |
//! | `wrong_key`, `forbidden` | every call is answered 401, 403 |
//! | `wrong_account` | assets and jobs that exist are missing, in the documented words |
//! | `missing_404`, `missing_500`, `missing_502`, `missing_400` | a missing asset is answered with this status |
//! | `ark` | detail and `DELETE` speak in the envelope of the upstream: a missing asset is 404, a success has no code |
//! | `soft_delete` | the detail of a deleted asset is its old one, with the status `DELETED` |
//! | `slow_delete` | a `DELETE` answers success at once, and deletes `after_ms` later (two minutes) |
//! | `too_many_200`, `too_many_420` | every call is one too many, with this status |
//! | `locked_403`, `in_use_409` | a `DELETE` is answered with this status, and deletes nothing |
//! | `cdn_keeps` | the file of a deleted asset is still served |
//!
//! "Every call" is every call to the provider itself: not to the job registry, and not for a file. The mode of an asset
//! also holds for the jobs that use it. A fault wins over a mode where it says what is done; the answer is still in the
//! gateway's words.

use std::collections::{BTreeMap, HashMap};

use axum::http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer,
    call::Subject,
    fault::Operation,
    work::{Bent, Done, Payload},
    world::Job,
};

/// How long after its `DELETE` a slow gateway deletes, when the order does not say.
const USUAL_DELAY_MS: u64 = 120_000;

/// What some gateways answer when calls come too fast. No standard has a name for it.
const CALM: u16 = 420;

/// One way in which a gateway differs from the documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Documented,
    WrongKey,
    Forbidden,
    WrongAccount,
    #[serde(rename = "missing_404")]
    Missing404,
    #[serde(rename = "missing_500")]
    Missing500,
    #[serde(rename = "missing_502")]
    Missing502,
    #[serde(rename = "missing_400")]
    Missing400,
    Ark,
    SoftDelete,
    SlowDelete(#[serde(skip, default = "usual_delay_ms")] u64),
    #[serde(rename = "too_many_200")]
    TooMany200,
    #[serde(rename = "too_many_420")]
    TooMany420,
    #[serde(rename = "locked_403")]
    Locked403,
    #[serde(rename = "in_use_409")]
    InUse409,
    CdnKeeps,
}

fn usual_delay_ms() -> u64 {
    USUAL_DELAY_MS
}

/// Body of `PUT /control/gateway`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayOrder {
    mode: Mode,
    /// Absent: all calls.
    asset: Option<String>,
    after_ms: Option<u64>,
}

/// The modes that hold.
#[derive(Default)]
pub struct Gateway {
    all: Mode,
    /// By asset. Each wins over the one for all.
    own: HashMap<String, Mode>,
}

impl Gateway {
    /// Sets the mode of an asset, or the one for all, or says what is wrong with the order.
    pub fn set(&mut self, order: GatewayOrder) -> Result<(), String> {
        let mode = checked(order.mode, order.after_ms)?;
        match order.asset {
            Some(asset) => drop(self.own.insert(asset, mode)),
            None => self.all = mode,
        }
        Ok(())
    }

    /// The mode that holds for a call. A job has the mode of the first of its assets that has one.
    pub fn mode(&self, subject: &Subject, jobs: &BTreeMap<String, Job>) -> Mode {
        let own = match subject {
            Subject::Asset(id) => self.own.get(id),
            Subject::Job(id) => jobs.get(id).and_then(|job| job.assets.iter().find_map(|asset| self.own.get(asset))),
            Subject::Nothing => None,
        };
        own.copied().unwrap_or(self.all)
    }
}

fn checked(mode: Mode, after_ms: Option<u64>) -> Result<Mode, String> {
    match (mode, after_ms) {
        (mode, None) => Ok(mode),
        (Mode::SlowDelete(_), Some(ms)) => Ok(Mode::SlowDelete(ms)),
        (_, Some(_)) => Err("after_ms is for the mode slow_delete only; leave it out".into()),
    }
}

impl Mode {
    /// The answer of a gateway that does not let the call through.
    pub fn refusal(self, operation: Operation) -> Option<Done> {
        match operation {
            Operation::Delete => self.refusal_of_all().or_else(|| self.refusal_of_delete()),
            operation if operation.is_of_provider() => self.refusal_of_all(),
            _ => None,
        }
    }

    fn refusal_of_all(self) -> Option<Done> {
        let wrong_key = |status: StatusCode| Done::refused(status, flat(status.as_u16(), "invalid api key"));
        match self {
            Self::WrongKey => Some(wrong_key(StatusCode::UNAUTHORIZED)),
            Self::Forbidden => Some(wrong_key(StatusCode::FORBIDDEN)),
            Self::TooMany200 => Some(Done::told(flat(10029, "FlowLimitExceeded: too many requests"))),
            Self::TooMany420 => Some(calm()),
            _ => None,
        }
    }

    fn refusal_of_delete(self) -> Option<Done> {
        let (status, code, message) = match self {
            Self::Locked403 => (StatusCode::FORBIDDEN, "OperationDenied.InvalidState", "the asset is locked"),
            Self::InUse409 => (StatusCode::CONFLICT, "Conflict.InUse", "the asset is referenced by a task"),
            _ => return None,
        };
        Some(Done::refused(status, nested(code, message)))
    }

    /// How the gateway bends the work of a call that it lets through.
    pub fn bent(self, operation: Operation) -> Bent {
        match (self, operation) {
            (Self::WrongAccount, Operation::Detail | Operation::Delete | Operation::Job) => Bent::Blind,
            (Self::SoftDelete, Operation::Detail) | (Self::CdnKeeps, Operation::File) => Bent::Remembering,
            (Self::SlowDelete(ms), Operation::Delete) => Bent::Delayed { ms },
            _ => Bent::No,
        }
    }

    /// A documented answer about an asset, in the gateway's words. Its effect stays as it is.
    pub fn worded(self, operation: Operation, seq: u64, done: Done) -> Done {
        let action = match operation {
            Operation::Detail => "GetAsset",
            Operation::Delete => "DeleteAsset",
            _ => return done,
        };
        let metadata = json!({"RequestId": format!("sandbox-{seq:08}"), "Action": action});
        match &done.body {
            Payload::Json(body) => match answer::code(body).as_deref() {
                Some("0") if self == Self::Ark => Done { body: Payload::Json(bare(&metadata, &body["data"])), ..done },
                Some("-1") => self.missing(metadata).unwrap_or(done),
                _ => done,
            },
            Payload::File(_) => done,
        }
    }

    /// The answer about a missing asset, where the gateway does not leave the documented one.
    fn missing(self, metadata: Value) -> Option<Done> {
        let (status, body) = match self {
            Self::Missing404 => (StatusCode::NOT_FOUND, nested("NotFound.asset_id", NOT_FOUND)),
            Self::Missing500 => (StatusCode::INTERNAL_SERVER_ERROR, camel("ASSET_NOT_FOUND", "asset not found")),
            Self::Missing502 => (StatusCode::BAD_GATEWAY, nested("upstream_error", UPSTREAM)),
            Self::Missing400 => (StatusCode::BAD_REQUEST, nested("InvalidParameter.asset_id", NO_PERMISSION)),
            Self::Ark => (StatusCode::NOT_FOUND, enveloped(metadata, "NotFound.asset_id", NOT_FOUND)),
            _ => return None,
        };
        Some(Done::refused(status, body))
    }
}

const NOT_FOUND: &str = "The specified asset was not found.";
const UPSTREAM: &str = "upstream: NotFound.asset_id: the asset does not exist";
const NO_PERMISSION: &str = "asset does not exist or no permission";

fn calm() -> Done {
    let status = StatusCode::from_u16(CALM).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    Done::too_many(status, Some(HeaderValue::from_static("0.5")), flat(CALM, "enhance your calm"))
}

fn flat(code: u16, msg: &str) -> Value {
    json!({"code": code, "msg": msg, "data": null})
}

fn nested(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message}})
}

fn camel(code: &str, message: &str) -> Value {
    json!({"errorCode": code, "errorMessage": message})
}

/// An error in the envelope of the upstream.
fn enveloped(mut metadata: Value, code: &str, message: &str) -> Value {
    metadata["Error"] = json!({"Code": code, "Message": message});
    json!({ "ResponseMetadata": metadata })
}

/// A success in the envelope of the upstream, which has no code. A call without data has an empty result.
fn bare(metadata: &Value, data: &Value) -> Value {
    let result = if data.is_null() { json!({}) } else { data.clone() };
    json!({"ResponseMetadata": metadata, "Result": result})
}

#[cfg(test)]
mod tests;
