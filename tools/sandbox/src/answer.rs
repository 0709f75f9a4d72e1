//! What the body of an answer says, for the record of calls.

use serde_json::Value;

/// The statuses of a job that has ended.
const ENDED: [&str; 4] = ["completed", "succeeded", "failed", "cancelled"];

/// The code of a provider's answer, as text.
pub fn code(body: &Value) -> Option<String> {
    match &body["code"] {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    }
}

/// Whether a detail call's answer finds the asset; nothing for an answer that says neither, or is about another asset.
pub fn sight(body: &Value, asset: Option<&str>) -> Option<&'static str> {
    match code(body)?.as_str() {
        "0" if body["data"]["assetId"].as_str() == asset => Some("found"),
        "-1" => Some("missing"),
        _ => None,
    }
}

/// The jobs in progress that a registry's answer lists; nothing for an answer that is no list of jobs.
pub fn listed(body: &Value) -> Option<Vec<String>> {
    let jobs = body["jobs"].as_array()?.iter();
    let in_progress = jobs.filter(|job| !job["status"].as_str().is_some_and(|status| ENDED.contains(&status)));
    Some(in_progress.map(|job| job["id"].as_str().unwrap_or_default().to_owned()).collect())
}
