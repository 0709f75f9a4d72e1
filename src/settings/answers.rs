//! `provider.answers`: the operator's rules for what an answer of the provider means.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// Most rules.
const MOST_RULES: usize = 200;

/// What an answer means where all conditions that are set hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRule {
    /// The call that is answered; any without.
    pub operation: Option<ProviderOperation>,
    /// The HTTP status; any without.
    pub status: Option<StatusRange>,
    /// The code, as text, letter for letter.
    pub code: Option<String>,
    /// What the message contains, whatever the case of its letters.
    pub message: Option<String>,
    /// The asset's status in the answer of the detail call, whatever the case of its letters.
    pub asset_status: Option<String>,
    /// What the answer means.
    pub means: AnswerMeans,
}

/// The calls that rules are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderOperation {
    /// What is known of an asset.
    Detail,
    /// The deletion.
    Delete,
    /// What is known of a generation job.
    Job,
}

/// What an answer can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerMeans {
    /// Success: the asset is there, it was deleted, or the job has a status. Only with a 2xx status.
    Found,
    /// There is no such asset.
    Gone,
    /// A job uses the asset.
    InUse,
    /// Too many calls.
    TooMany,
    /// To be asked again later.
    Later,
    /// The provider does not do this.
    Refused,
    /// The key is refused.
    Key,
}

impl ProviderOperation {
    /// The name in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detail => "detail",
            Self::Delete => "delete",
            Self::Job => "job",
        }
    }
}

impl AnswerMeans {
    /// The name in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Gone => "gone",
            Self::InUse => "in_use",
            Self::TooMany => "too_many",
            Self::Later => "later",
            Self::Refused => "refused",
            Self::Key => "key",
        }
    }
}

/// HTTP statuses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// The answers that are successes.
    pub const SUCCESS: Self = Self { first: 200, last: 299 };

    /// One status.
    #[must_use]
    pub const fn one(status: u16) -> Self {
        Self { first: status, last: status }
    }

    /// Whether it holds this status.
    #[must_use]
    pub const fn contains(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }

    /// `404`, `4xx` or `200-299`.
    fn parse(text: &str) -> Option<Self> {
        let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| Some(text).filter(digits)?.parse().ok().filter(|status| (100..=599).contains(status));
        if let Some(hundred) = text.strip_suffix("xx") {
            let first = number(&format!("{hundred}00"))?;
            return Some(Self { first, last: first + 99 });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: number(first.trim())?, last: number(last.trim())? };
        (range.first <= range.last).then_some(range)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A rule as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAnswerRule {
    operation: Option<ProviderOperation>,
    status: Option<NumberOrText>,
    code: Option<NumberOrText>,
    message: Option<String>,
    asset_status: Option<String>,
    means: AnswerMeans,
}

/// Written as a number or as text.
#[derive(Clone, Debug)]
struct NumberOrText(String);

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrTextVisitor)
    }
}

struct NumberOrTextVisitor;

impl Visitor<'_> for NumberOrTextVisitor {
    type Value = NumberOrText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<NumberOrText, E> {
        Ok(NumberOrText(text.trim().to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<NumberOrText, E> {
        Ok(NumberOrText(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<NumberOrText, E> {
        Ok(NumberOrText(number.to_string()))
    }
}

/// Rules as written: a list of tables in the file, a JSON list of objects in a variable.
#[derive(Clone, Debug, Default)]
pub(super) struct RawAnswers(Vec<RawAnswerRule>);

impl<'de> Deserialize<'de> for RawAnswers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnswersVisitor)
    }
}

struct AnswersVisitor;

impl<'de> Visitor<'de> for AnswersVisitor {
    type Value = RawAnswers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rules, [[provider.answers]], or a JSON list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawAnswers, E> {
        if text.trim().is_empty() {
            return Ok(RawAnswers::default());
        }
        serde_json::from_str(text).map(RawAnswers).map_err(|error| E::custom(format!("as a JSON list: {error}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawAnswers, A::Error> {
        let mut rules = Vec::new();
        while let Some(rule) = list.next_element()? {
            rules.push(rule);
        }
        Ok(RawAnswers(rules))
    }

    /// `[provider.answers]`: one rule.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawAnswers, A::Error> {
        RawAnswerRule::deserialize(MapAccessDeserializer::new(map)).map(|rule| RawAnswers(vec![rule]))
    }
}

/// The rules, checked, or what is wrong with one. The first is number 1.
pub(super) fn rules(raw: &RawAnswers) -> Result<Vec<AnswerRule>, String> {
    if raw.0.len() > MOST_RULES {
        return Err(format!("holds more than {MOST_RULES} rules"));
    }
    let numbered = raw.0.iter().zip(1..);
    numbered.map(|(raw, number)| rule(raw).map_err(|why| format!("rule {number}: {why}"))).collect()
}

fn rule(raw: &RawAnswerRule) -> Result<AnswerRule, String> {
    let status = raw.status.as_ref().map(|text| {
        StatusRange::parse(&text.0).ok_or_else(|| "status: must be such as 404, 4xx or 200-299".to_owned())
    });
    let rule = AnswerRule {
        operation: raw.operation,
        status: status.transpose()?,
        code: raw.code.as_ref().map(|code| code.0.clone()),
        message: raw.message.clone(),
        asset_status: raw.asset_status.clone(),
        means: raw.means,
    };
    checked(rule)
}

fn checked(rule: AnswerRule) -> Result<AnswerRule, String> {
    let texts = [("code", &rule.code), ("message", &rule.message), ("asset_status", &rule.asset_status)];
    if let Some((name, _)) = texts.iter().find(|(_, text)| text.as_deref().is_some_and(|text| text.trim().is_empty())) {
        return Err(format!("{name}: must not be empty; leave it out instead"));
    }
    if rule.status.is_none() && texts.iter().all(|(_, text)| text.is_none()) {
        return Err("needs a condition: status, code, message or asset_status".to_owned());
    }
    let outside =
        |range: StatusRange| !(StatusRange::SUCCESS.contains(range.first) && StatusRange::SUCCESS.contains(range.last));
    if rule.means == AnswerMeans::Found && rule.status.is_some_and(outside) {
        return Err("status: what means \"found\" needs a status of 200-299".to_owned());
    }
    if rule.asset_status.is_some() && !matches!(rule.operation, None | Some(ProviderOperation::Detail)) {
        return Err("asset_status: only the answer to \"detail\" has one".to_owned());
    }
    Ok(rule)
}

#[cfg(test)]
mod tests;
