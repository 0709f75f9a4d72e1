//! Answers that a person has recorded, read as the worker would read them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use super::Meaning;
use super::classify::{self, Reply};
use super::envelope::{AnswerEnvelope, Asset};
use super::limits;
use super::origin::Origin;
use super::rules::Rules;
use crate::settings::{ProviderOperation, ProviderSettings};

/// One answer, as JSON: `{"operation"?, "id"?, "status", "headers"?, "body"?}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedAnswer {
    /// What was asked; all that there is without.
    operation: Option<ProviderOperation>,
    /// The asset or job that was asked about; the one that the answer names without.
    id: Option<String>,
    /// The HTTP status.
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text is the body as it came; anything else is the JSON that it held.
    #[serde(default)]
    body: Value,
}

/// What a recorded answer means.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The call that it would answer.
    pub operation: ProviderOperation,
    /// The HTTP status.
    pub status: u16,
    /// What it means, as the metrics call it.
    pub means: &'static str,
    /// The rule that says so.
    pub rule: Option<String>,
    /// How long it asks all callers to wait.
    pub pause: Option<Duration>,
}

impl RecordedAnswer {
    /// What it means, for the call that it answers, or for each that it might.
    ///
    /// # Errors
    /// A header that is none.
    pub fn read(&self, settings: &ProviderSettings) -> Result<Vec<ReadAnswer>, String> {
        let (rules, reply) = (Rules::new(settings), self.reply()?);
        let all = [ProviderOperation::Detail, ProviderOperation::Delete, ProviderOperation::Job];
        let asked = all.into_iter().filter(|one| self.operation.is_none_or(|operation| operation == *one));
        Ok(asked.map(|operation| self.read_as(operation, &reply, &rules)).collect())
    }

    fn read_as(&self, operation: ProviderOperation, reply: &Reply, rules: &Rules) -> ReadAnswer {
        let id = self.id.clone().or_else(|| named(reply)).unwrap_or_default();
        let (means, rule, pause) = match operation {
            ProviderOperation::Detail => told(classify::detail(reply, rules, &id)),
            ProviderOperation::Delete => told(classify::delete(reply, rules, &id)),
            ProviderOperation::Job => told(classify::job(reply, rules, &id)),
        };
        ReadAnswer { operation, status: self.status, means, rule, pause }
    }

    fn reply(&self) -> Result<Reply, String> {
        let body = match &self.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let headers = self.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<HeaderMap, _>>()?;
        let pause = limits::pause(&headers, Timestamp::now());
        Ok(Reply { status: self.status, pause, origin: Origin::read(&headers, None), body: Ok(body.into_bytes()) })
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
    header.ok_or_else(|| format!("headers: {name:?} is no HTTP header"))
}

/// The asset or job that an answer names.
fn named(reply: &Reply) -> Option<String> {
    let envelope = AnswerEnvelope::parse(reply.body.as_deref().ok()?)?;
    Asset::parse(envelope.data()).map(|asset| asset.asset_id).or_else(|| envelope.job()?.id().map(str::to_owned))
}

fn told<T>(answer: super::Answer<T>) -> (&'static str, Option<String>, Option<Duration>) {
    let pause = match answer.meaning {
        Meaning::Retry { after, .. } => after,
        _ => None,
    };
    (answer.meaning.as_str(), answer.rule.map(|rule| rule.to_string()), pause)
}
