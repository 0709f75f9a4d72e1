//! What the body of an answer says, for the record of calls.

use serde_json::Value;

/// The statuses of a job that has ended.
const ENDED: [&str; 4] = ["completed", "succeeded", "failed", "cancelled"];

/// Where the provider and the gateways before it write the code of an answer.
const CODES: [&str; 4] = ["/code", "/error/code", "/errorCode", "/ResponseMetadata/Error/Code"];

/// Where gateways write what is wrong, in words.
const WORDS: [&str; 2] = ["/error/message", "/ResponseMetadata/Error/Message"];

/// The codes of an asset that does not exist.
const MISSING: [&str; 3] = ["-1", "NotFound.asset_id", "ASSET_NOT_FOUND"];

/// The words of one, where the code says less than they do.
const MISSING_WORDS: [&str; 2] = ["NotFound.asset_id", "asset does not exist"];

/// The code of a provider's answer, as text.
pub fn code(body: &Value) -> Option<String> {
    CODES.iter().find_map(|place| match body.pointer(place)? {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    })
}

/// Whether a detail call's answer finds the asset; nothing for an answer that says neither, or is about another asset.
/// One that describes the asset as deleted does not find it.
pub fn sight(body: &Value, asset: Option<&str>) -> Option<&'static str> {
    let described = match code(body).as_deref() {
        Some("0") => &body["data"],
        None => &body["Result"],
        Some(code) => return (MISSING.contains(&code) || says_missing(body)).then_some("missing"),
    };
    (described["assetId"].as_str()? == asset?).then(|| if is_deleted(described) { "missing" } else { "found" })
}

fn says_missing(body: &Value) -> bool {
    let words = WORDS.iter().find_map(|place| body.pointer(place)?.as_str());
    words.is_some_and(|words| MISSING_WORDS.iter().any(|missing| words.contains(missing)))
}

fn is_deleted(described: &Value) -> bool {
    described["status"].as_str() == Some("DELETED")
}

/// The jobs in progress that a registry's answer lists; nothing for an answer that is no list of jobs.
pub fn listed(body: &Value) -> Option<Vec<String>> {
    let jobs = body["jobs"].as_array()?.iter();
    let in_progress = jobs.filter(|job| !job["status"].as_str().is_some_and(|status| ENDED.contains(&status)));
    Some(in_progress.map(|job| job["id"].as_str().unwrap_or_default().to_owned()).collect())
}
