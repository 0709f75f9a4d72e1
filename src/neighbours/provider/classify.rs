//! What an answer of the provider means: the one place. Pure; everyone else uses the class.
//!
//! The first line that holds counts:
//!
//! | the answer | means |
//! | --- | --- |
//! | 401, 403, 407 without a JSON object, and with signs of a proxy or web filter; any 407 | later |
//! | 2xx, and the body broke off, is too large or is packed in an unknown way | later |
//! | a rule of `provider.answers` | as it says |
//! | 2xx and a code of `retry_codes`, `refused_codes`, `gone_codes` | later, refused, gone |
//! | 401, 403 | the key is refused, unless it is good for other assets |
//! | 409, 423 | in use |
//! | 420, 429 | too many calls |
//! | 2xx to a detail call, and the asset has the status `Deleted` | gone |
//! | 2xx, code `0`, and what the operation promises with it | found |
//! | 2xx, code `0`, without that, or about another ID | later |
//! | 2xx, any other code | unlisted |
//! | anything else | later (404 too: it may be a missing route) |

use std::sync::Arc;
use std::time::Duration;

use super::envelope::{AnswerEnvelope, Asset};
use super::origin::Origin;
use super::rules::{Conditions, Rules};
use super::{Answer, AssetUrl, Detail, Fault, JobStatus, Meaning};
use crate::settings::{AnswerMeans, ProviderOperation};

/// The longest `msg` that is kept, in characters.
const MSG_LIMIT: usize = 500;
/// The longest account of the sender that is kept, in characters.
const SEEN_LIMIT: usize = 500;
/// The longest detail field that is kept, in characters.
const FIELD_LIMIT: usize = 1_000;
/// What the provider's web framework says of a route that it does not have (seen by integrators).
const NO_ROUTE: &str = "No handler found for ";

/// One answer as it came over the wire.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// How long its headers ask to stay away.
    pub(super) pause: Option<Duration>,
    pub(super) origin: Origin,
    pub(super) body: Result<Vec<u8>, Fault>,
}

/// What a detail answer about `asked` means.
pub(super) fn detail(reply: &Reply, rules: &Rules, asked: &str) -> Answer<Detail> {
    classify(reply, rules, ProviderOperation::Detail, asked, |envelope| {
        let asset = Asset::parse(envelope.and_then(AnswerEnvelope::data)).ok_or(Fault::Unreadable)?;
        if asset.asset_id != asked {
            return Err(Fault::WrongAsset);
        }
        let url = asset.url().filter(|url| !rules.leaks(url)).and_then(AssetUrl::new);
        let [name, asset_type, created, status] =
            asset.texts().map(|text| text.map(|text| rules.kept(&text, FIELD_LIMIT)));
        Ok(Detail { name, asset_type, created, status, url })
    })
}

/// What the answer to a `DELETE` means. It does not name the asset, so the rule is all there is to read.
pub(super) fn delete(reply: &Reply, rules: &Rules, asked: &str) -> Answer<()> {
    classify(reply, rules, ProviderOperation::Delete, asked, |_| Ok(()))
}

/// What an answer about the job `asked` means. It may come without a code, as the bare job object.
pub(super) fn job(reply: &Reply, rules: &Rules, asked: &str) -> Answer<JobStatus> {
    classify(reply, rules, ProviderOperation::Job, asked, |envelope| {
        let job = envelope.and_then(AnswerEnvelope::job).ok_or(Fault::Unreadable)?;
        if job.is_another(asked) {
            return Err(Fault::WrongAsset);
        }
        let status = job.status().ok_or(Fault::Unreadable)?;
        Ok(JobStatus::read(status).unwrap_or_else(|| JobStatus::Other(rules.kept(status, MSG_LIMIT))))
    })
}

/// The table. `success` says what the operation makes of a success.
fn classify<T>(
    reply: &Reply,
    rules: &Rules,
    operation: ProviderOperation,
    asked: &str,
    success: impl FnOnce(Option<&AnswerEnvelope>) -> Result<T, Fault>,
) -> Answer<T> {
    let envelope = reply.body.as_ref().ok().and_then(|body| AnswerEnvelope::parse(body));
    let envelope = envelope.filter(|envelope| !envelope.any_code().is_some_and(|code| rules.leaks(&code)));
    let code = code_of(operation, envelope.as_ref());
    let message = envelope.as_ref().and_then(AnswerEnvelope::text);
    let asset_status = envelope.as_ref().and_then(|envelope| status_of(envelope, asked));
    let (code, asset_status) = (code.as_deref(), asset_status.as_deref());
    let seen = Conditions { operation, status: reply.status, code, message, asset_status };
    let success = || success(envelope.as_ref()).map_or_else(|why| reply.later(why, rules), Meaning::Found);
    let (meaning, rule) = match reply.no_answer(envelope.as_ref()) {
        Some(fault) => (reply.later(fault, rules), None),
        None => match rules.first(seen) {
            Some((means, name)) => (reply.meant(means, rules, success), Some(name)),
            None => (reply.unruled(seen, envelope.as_ref(), rules, success), None),
        },
    };
    let msg = message.map(|msg| rules.kept(&printable(msg), MSG_LIMIT));
    reply.answer(meaning, rule, code.map(str::to_owned), msg, envelope.is_some(), rules)
}

/// The code of an answer. A job's own error has one, too, which is none of the answer's.
fn code_of(operation: ProviderOperation, envelope: Option<&AnswerEnvelope>) -> Option<String> {
    let envelope = envelope?;
    if operation == ProviderOperation::Job && envelope.job().is_some() {
        return envelope.code.clone();
    }
    envelope.any_code()
}

/// The status of the asset, where the answer is about the one that was asked for.
fn status_of(envelope: &AnswerEnvelope, asked: &str) -> Option<String> {
    let asset = Asset::parse(envelope.data()).filter(|asset| asset.asset_id == asked)?;
    asset.status().map(str::to_owned)
}

impl Reply {
    fn is_success(&self) -> bool {
        (200..=299).contains(&self.status)
    }

    /// Why this is no answer of the provider's, whatever the rules say.
    fn no_answer(&self, envelope: Option<&AnswerEnvelope>) -> Option<Fault> {
        match (self.status, &self.body) {
            (407, _) => Some(Fault::Between(407)),
            (status @ (401 | 403), body) if envelope.is_none() => {
                let between = self.origin.is_between(body.as_deref().unwrap_or_default());
                between.then_some(Fault::Between(status))
            }
            (_, Err(fault)) if self.is_success() => Some(*fault),
            _ => None,
        }
    }

    fn meant<T>(&self, means: AnswerMeans, rules: &Rules, success: impl FnOnce() -> Meaning<T>) -> Meaning<T> {
        match means {
            AnswerMeans::Found => success(),
            AnswerMeans::Gone => Meaning::Gone,
            AnswerMeans::InUse => Meaning::InUse,
            AnswerMeans::TooMany => self.later(Fault::TooMany(self.status), rules),
            AnswerMeans::Later if self.is_success() => self.later(Fault::Code, rules),
            AnswerMeans::Later => self.later(Fault::Status(self.status), rules),
            AnswerMeans::Refused => Meaning::Refused,
            AnswerMeans::Key => Meaning::KeyRefused(self.status),
        }
    }

    /// What an answer means that no rule is for.
    fn unruled<T>(
        &self,
        seen: Conditions<'_>,
        envelope: Option<&AnswerEnvelope>,
        rules: &Rules,
        success: impl FnOnce() -> Meaning<T>,
    ) -> Meaning<T> {
        match envelope {
            _ if self.status == 404 && seen.message.is_some_and(|message| message.starts_with(NO_ROUTE)) => {
                self.later(Fault::NoRoute, rules)
            }
            _ if !self.is_success() => self.later(Fault::Status(self.status), rules),
            Some(_) if seen.code.is_some() => Meaning::Unlisted,
            Some(_) if seen.operation == ProviderOperation::Job => success(),
            _ => self.later(Fault::Unreadable, rules),
        }
    }

    /// The pause counts only where the answer is about too many calls.
    fn later<T>(&self, why: Fault, rules: &Rules) -> Meaning<T> {
        let about_calls = matches!(why, Fault::TooMany(_) | Fault::Status(420 | 429 | 503));
        let after = self.pause.filter(|_| about_calls).map(|pause| pause.min(rules.max_pause));
        Meaning::Retry { after, why }
    }

    fn answer<T>(
        &self,
        meaning: Meaning<T>,
        rule: Option<Arc<str>>,
        code: Option<String>,
        msg: Option<String>,
        is_object: bool,
        rules: &Rules,
    ) -> Answer<T> {
        let doubtful = meaning.is_key_refused() || (!is_object && !meaning.is_clear());
        let seen = doubtful.then(|| rules.kept(&self.origin.told(), SEEN_LIMIT));
        // Code and message are recorded also where they do not count: they are what a person wants to read.
        Answer { meaning, status: Some(self.status), rule, code, msg, seen }
    }
}

fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests;
