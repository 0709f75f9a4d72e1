//! What an answer of the provider means: the one table. Pure; everyone else uses the class.
//!
//! | the answer | means |
//! | --- | --- |
//! | 401, 403, 407 without a JSON object, and with signs of a proxy or web filter; any 407 | later |
//! | any other 401, 403 | the key is refused |
//! | any other status than 2xx | later (404 too: it is a missing route, never a missing asset) |
//! | 2xx, body cut, too large, or not the documented object | later |
//! | 2xx, code `0`, and what the operation promises with it | found |
//! | 2xx, code `0`, without that, or about another ID | later |
//! | 2xx, a code of `retry_codes`, `refused_codes`, `gone_codes` | later, refused, gone (the first list counts) |
//! | 2xx, any other code | unlisted |

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use secrecy::{ExposeSecret, SecretString};

use super::envelope::{AnswerEnvelope, Asset};
use super::origin::Origin;
use super::{Answer, AssetUrl, Detail, Fault, JobStatus, Meaning};

/// The only code that means success.
const SUCCESS: &str = "0";
/// The longest `msg` that is kept, in characters.
const MSG_LIMIT: usize = 500;
/// The longest account of the sender that is kept, in characters.
const SEEN_LIMIT: usize = 500;
/// The longest detail field that is kept, in characters.
const FIELD_LIMIT: usize = 1_000;
/// A longer `Retry-After` counts as this long: nothing waits longer than the longest wait queue may.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// A shorter token is not searched for in texts: it would be found everywhere, and protects nothing.
const SECRET_MIN: usize = 8;

/// What the operator says about codes, and the secret that must not come back out of an answer.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) retry: Vec<String>,
    pub(super) refused: Vec<String>,
    pub(super) gone: Vec<String>,
    pub(super) token: SecretString,
}

/// One answer as it came over the wire.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) origin: Origin,
    pub(super) body: Result<Vec<u8>, Fault>,
}

/// What a detail answer about `asked` means.
pub(super) fn detail(reply: &Reply, rules: &Rules, asked: &str) -> Answer<Detail> {
    classify(reply, rules, |envelope| {
        envelope.code.as_ref().ok_or(Fault::Unreadable)?;
        let asset = Asset::parse(envelope.data.as_deref()).ok_or(Fault::Unreadable)?;
        if asset.asset_id != asked {
            return Err(Fault::WrongAsset);
        }
        let url = asset.url().filter(|url| !rules.leaks(url)).and_then(AssetUrl::new);
        let [name, asset_type, created, status] =
            asset.texts().map(|text| text.map(|text| rules.kept(&text, FIELD_LIMIT)));
        Ok(Detail { name, asset_type, created, status, url })
    })
}

/// What the answer to a `DELETE` means. It does not name the asset, so the code is all there is to read.
pub(super) fn delete(reply: &Reply, rules: &Rules) -> Answer<()> {
    classify(reply, rules, |envelope| {
        envelope.code.as_ref().ok_or(Fault::Unreadable)?;
        Ok(())
    })
}

/// What an answer about the job `asked` means. It may come without a code, as the bare job object.
pub(super) fn job(reply: &Reply, rules: &Rules, asked: &str) -> Answer<JobStatus> {
    classify(reply, rules, |envelope| {
        let job = envelope.job().ok_or(Fault::Unreadable)?;
        if job.is_another(asked) {
            return Err(Fault::WrongAsset);
        }
        let status = job.status().ok_or(Fault::Unreadable)?;
        Ok(match status.to_ascii_lowercase().as_str() {
            "queued" => JobStatus::Queued,
            "processing" => JobStatus::Processing,
            "completed" => JobStatus::Completed,
            "failed" => JobStatus::Failed,
            _ => JobStatus::Other(rules.kept(status, MSG_LIMIT)),
        })
    })
}

/// The table. `success` is asked when the code is `0` or absent, and says what the operation makes of it.
fn classify<T>(reply: &Reply, rules: &Rules, success: impl FnOnce(&AnswerEnvelope) -> Result<T, Fault>) -> Answer<T> {
    let envelope = reply.body.as_ref().ok().and_then(|body| {
        AnswerEnvelope::parse(body).filter(|envelope| !envelope.code.as_deref().is_some_and(|code| rules.leaks(code)))
    });
    let later = |why| Meaning::Retry { after: reply.retry_after, why };
    let meaning = match (reply.status, &reply.body, &envelope) {
        (407, _, _) => later(Fault::Between(407)),
        (status @ (401 | 403), _, None) if reply.is_between() => later(Fault::Between(status)),
        (status @ (401 | 403), _, _) => Meaning::KeyRefused(status),
        (200..=299, Err(fault), _) => later(*fault),
        (200..=299, Ok(_), None) => later(Fault::Unreadable),
        (200..=299, Ok(_), Some(envelope)) => match envelope.code.as_deref() {
            None | Some(SUCCESS) => success(envelope).map_or_else(later, Meaning::Found),
            Some(code) if listed(&rules.retry, code) => later(Fault::Code),
            Some(code) if listed(&rules.refused, code) => Meaning::Refused,
            Some(code) if listed(&rules.gone, code) => Meaning::Gone,
            Some(_) => Meaning::Unlisted,
        },
        (status, _, _) => later(Fault::Status(status)),
    };
    // Recorded also where they do not count, such as with a 500: they are what a person wants to read.
    let msg = envelope.as_ref().and_then(AnswerEnvelope::text);
    let doubtful = meaning.is_key_refused() || (envelope.is_none() && !meaning.is_clear());
    Answer {
        seen: doubtful.then(|| rules.kept(&reply.origin.told(), SEEN_LIMIT)),
        meaning,
        msg: msg.map(|msg| rules.kept(&printable(msg), MSG_LIMIT)),
        code: envelope.and_then(|envelope| envelope.code),
    }
}

impl Reply {
    /// Whether there are signs that the provider did not send it. To be asked of a body that is none of the provider's.
    fn is_between(&self) -> bool {
        self.origin.is_between(self.body.as_deref().unwrap_or_default())
    }
}

fn listed(codes: &[String], code: &str) -> bool {
    codes.iter().any(|listed| listed == code)
}

fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

impl Rules {
    fn leaks(&self, text: &str) -> bool {
        let token = self.token.expose_secret();
        token.len() >= SECRET_MIN && text.contains(token)
    }

    /// A text fit to be recorded: servers like to quote the key that they refuse. Cut only afterwards, so that half a
    /// key cannot remain.
    fn kept(&self, text: &str, limit: usize) -> String {
        let text =
            if self.leaks(text) { text.replace(self.token.expose_secret(), "[redacted]") } else { text.to_owned() };
        match text.char_indices().nth(limit) {
            Some((end, _)) => text[..end].to_owned(),
            None => text,
        }
    }
}

/// Reads a `Retry-After`: seconds, or an HTTP date. `None` when it is neither; a date in the past is zero.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value).ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests;
