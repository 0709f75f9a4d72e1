//! What holds for every answer of a job registry, whatever its bytes are. Asked by the property tests and by the fuzzer.

use std::sync::LazyLock;

use serde_json::Value;

use super::job_states::{FINISHED, Words};
use super::{Guard, http};
use crate::contract::json;
use crate::contract::message::id::AssetId;
use crate::platform::telemetry::metrics::Metrics;

const ASSET: &str = "a-1";

static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard {
    sources: Vec::new(),
    none: false,
    words: Words::new(vec!["queued".to_owned(), "processing".to_owned()]),
    confirmer: None,
    metrics: Metrics::new().expect("metrics"),
});

/// The input is the body of an answer about [`ASSET`].
pub(crate) fn registry(body: &[u8]) {
    let asset = AssetId::parse(ASSET).expect("an ID");
    let jobs = match http::read(body, &asset) {
        Ok(jobs) => jobs,
        Err(why) => {
            assert!(!why.is_empty() && why.len() <= 200, "{why}");
            return;
        }
    };
    let free = !jobs.iter().any(|job| GUARD.counts(job));
    // Another reading, by a parser that knows nothing of jobs. It refuses what may only stand inside of a job: 1e999.
    let Ok(read) = serde_json::from_slice::<Value>(json::without_mark(body)) else {
        assert!(!jobs.is_empty(), "free, and no JSON");
        return;
    };
    let fields = read.as_object().expect("an object");
    assert!(fields.keys().all(|key| key == "jobs" || key == "asset_id"), "{read}");
    assert!(fields.get("asset_id").is_none_or(|id| id.is_null() || id == ASSET), "{read}");
    let listed = fields["jobs"].as_array().expect("a list of jobs");
    assert_eq!(listed.len(), jobs.len());
    for (listed, job) in listed.iter().zip(&jobs) {
        assert!(listed.is_object() && listed["id"] == job.id.as_str() && listed["status"] == job.status.as_str());
    }
    if free {
        let status = |job: &Value| job["status"].as_str().map(|word| word.trim().to_ascii_lowercase());
        let over = |job: &Value| status(job).is_some_and(|status| FINISHED.contains(&status.as_str()));
        assert!(listed.iter().all(over), "free, with {read}");
    }
}
