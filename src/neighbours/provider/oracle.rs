//! What holds for every answer of the provider, whatever its bytes are. Asked by the property tests and by the fuzzer.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::classify::{self, Reply};
use super::limits::retry_after;
use super::origin::Origin;
use super::rules::Rules;
use super::{Answer, Fault, JobStatus, Meaning};
use crate::contract::json;
use crate::settings::Settings;

const STATUSES: [u16; 10] = [200, 201, 299, 401, 403, 404, 429, 500, 503, 302];
const TOKEN: &str = "very-secret-token";
const ASSET: &str = "a-1";
const JOB: &str = "j";

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let lists = [("PROVIDER__RETRY_CODES", "1002,busy"), ("PROVIDER__REFUSED_CODES", "1001")];
    Rules::new(&Settings::with(&[&[("PROVIDER__TOKEN", TOKEN)], &lists[..]].concat()).provider)
});

/// The first byte chooses the HTTP status (`0` is 200, `3` is 401); the rest is the body, and, where it is short, a
/// `Retry-After` too.
pub(crate) fn envelope(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let status = STATUSES[usize::from(first.wrapping_sub(b'0')) % STATUSES.len()];
    let text = std::str::from_utf8(body).unwrap_or_default();
    let pause = retry_after(text, Timestamp::UNIX_EPOCH);
    assert!(pause.is_none_or(|wait| wait <= Duration::from_secs(24 * 60 * 60)), "{pause:?}");
    let rules = &*RULES;
    let reply = Reply { status, pause, origin: Origin::default(), body: Ok(body.to_vec()) };
    let body = json::without_mark(body);
    // `None` also where the body holds, beside what counts, something that this parser refuses.
    let read: Option<Value> = serde_json::from_slice(body).ok();

    let answer = classify::detail(&reply, rules, ASSET);
    common(&answer, status, read.as_ref());
    if let Meaning::Found(detail) = &answer.meaning {
        assert_eq!(answer.code.as_deref(), Some("0"));
        if let Some(read) = &read {
            let data = if read["data"].is_null() { &read["Result"] } else { &read["data"] };
            assert!(data["assetId"] == ASSET || data["Id"] == ASSET, "{read}");
        }
        for text in [&detail.name, &detail.asset_type, &detail.created, &detail.status].into_iter().flatten() {
            harmless(text, 1_000);
        }
    }
    let answer = classify::delete(&reply, rules, ASSET);
    common(&answer, status, read.as_ref());
    if let Meaning::Found(()) = answer.meaning {
        assert_eq!(answer.code.as_deref(), Some("0"));
    }
    let answer = classify::job(&reply, rules, JOB);
    common(&answer, status, read.as_ref());
    if let Meaning::Found(job) = &answer.meaning {
        job_is_told(job, read.as_ref());
    }
}

/// What holds for every operation.
fn common<T>(answer: &Answer<T>, status: u16, read: Option<&Value>) {
    let code = answer.code.as_deref();
    match (&answer.meaning, status) {
        // A page, and no object: sent by something on the way.
        (Meaning::Retry { why: Fault::Between(said), .. }, 401 | 403) => {
            assert_eq!(*said, status);
            assert!(read.is_none(), "{read:?}");
        }
        (Meaning::Retry { why: Fault::Status(said), .. }, 300.. | ..200) if !matches!(status, 401 | 403 | 429) => {
            assert_eq!(*said, status);
        }
        (Meaning::KeyRefused(said), 401 | 403) | (Meaning::Retry { why: Fault::TooMany(said), .. }, 429) => {
            assert_eq!(*said, status);
        }
        (Meaning::Retry { why: Fault::NoRoute, .. }, 404) => {}
        (meaning, _) => {
            let said = meaning.as_str();
            assert!((200..300).contains(&status) && said != "key_refused", "{said} for HTTP status {status}");
            assert!(
                !matches!(meaning, Meaning::Retry { why: Fault::Status(_), .. }),
                "{said} for HTTP status {status}"
            );
        }
    }
    match answer.meaning {
        Meaning::Found(_) => assert!(matches!(code, None | Some("0")), "{code:?}"),
        // Or the asset's status says so.
        Meaning::Gone => assert!(code == Some("-1") || read.is_none_or(says_deleted), "{code:?}"),
        Meaning::InUse => panic!("in use by HTTP status {status}"),
        Meaning::Refused => assert_eq!(code, Some("1001")),
        Meaning::Unlisted => assert!(!matches!(code, None | Some("0" | "-1" | "1001" | "1002" | "busy")), "{code:?}"),
        Meaning::Retry { .. } | Meaning::KeyRefused(_) => {}
    }
    if let (Some(code), Some(read)) = (code, read) {
        assert!(read.is_object(), "{read}");
        let places =
            [&read["code"], &read["error"]["code"], &read["errorCode"], &read["ResponseMetadata"]["Error"]["Code"]];
        let said = |value: &&Value| match value {
            Value::String(text) => text == code,
            number => *code == number.to_string(),
        };
        assert!(places.iter().any(said), "{code} is in no place for a code: {read}");
    }
    assert!(!code.is_some_and(|code| code.contains(TOKEN)));
    if let Some(msg) = &answer.msg {
        harmless(msg, 500);
        assert!(!msg.chars().any(char::is_control), "{msg:?}");
    }
    let (_, wait) = answer.meaning.pace();
    assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(24 * 60 * 60)));
}

fn says_deleted(read: &Value) -> bool {
    let of = |data: &Value| data["status"].as_str().is_some_and(|status| status.trim().eq_ignore_ascii_case("deleted"));
    of(&read["data"]) || of(&read["Result"])
}

fn harmless(text: &str, limit: usize) {
    assert!(text.chars().count() <= limit && !text.contains(TOKEN), "{text:?}");
}

/// A job has ended only when the answer says so in as many words, and nothing in it says otherwise.
fn job_is_told(job: &JobStatus, read: Option<&Value>) {
    let Some(read) = read else { return };
    let (outer, inner) = (&read["status"], &read["data"]["status"]);
    let inner = if read["data"].is_null() { &read["Result"]["status"] } else { inner };
    let counts =
        if read["data"].is_object() || read["data"].is_null() && read["Result"].is_object() { inner } else { outer };
    let word = |value: &Value| value.as_str().map(|word| word.trim().to_ascii_lowercase()).unwrap_or_default();
    if job.is_finished() {
        let ends = ["completed", "succeeded", "failed", "cancelled", "canceled", "expired"];
        assert!(ends.contains(&word(counts).as_str()), "{read}");
        assert!(word(outer) == word(counts) || word(outer).is_empty(), "{read}");
    }
    if let JobStatus::Other(word) = job {
        harmless(word, 500);
    }
}
