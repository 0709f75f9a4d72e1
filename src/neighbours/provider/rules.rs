//! Which rule says what an answer means. The operator's rules come first, in their order, then the lists of codes, then what
//! is built in.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::settings::{AnswerMeans, AnswerRule, ProviderOperation, ProviderSettings, StatusRange};

/// A shorter token is not searched for in texts: it would be found everywhere, and protects nothing.
const SECRET_MIN: usize = 8;

/// Every rule, and the secret that must not come back out of an answer.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    all: Arc<[NamedRule]>,
    token: SecretString,
    /// Longest pause that an answer may ask for.
    pub(super) max_pause: Duration,
}

/// A rule, and what it is called for people and in the evidence.
#[derive(Debug)]
struct NamedRule {
    name: Arc<str>,
    rule: AnswerRule,
}

/// What a rule can see of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions<'a> {
    pub(super) operation: ProviderOperation,
    pub(super) status: u16,
    pub(super) code: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    pub(super) asset_status: Option<&'a str>,
}

impl Rules {
    pub(super) fn new(settings: &ProviderSettings) -> Self {
        let own = settings
            .answers
            .iter()
            .zip(1..)
            .map(|(rule, number)| NamedRule { name: format!("provider.answers[{number}]").into(), rule: rule.clone() });
        let lists = [
            ("provider.retry_codes", &settings.retry_codes, AnswerMeans::Later),
            ("provider.refused_codes", &settings.refused_codes, AnswerMeans::Refused),
            ("provider.gone_codes", &settings.gone_codes, AnswerMeans::Gone),
        ];
        let listed = lists.into_iter().flat_map(|(name, codes, means)| {
            codes.iter().map(move |code| NamedRule { name: name.into(), rule: of_code(code, means) })
        });
        let all = own.chain(listed).chain(built_in()).collect();
        Self { all, token: settings.token.clone(), max_pause: settings.max_pause }
    }

    /// The first rule that holds.
    pub(super) fn first(&self, seen: Conditions<'_>) -> Option<(AnswerMeans, Arc<str>)> {
        let first = self.all.iter().find(|named| holds(&named.rule, seen))?;
        Some((first.rule.means, Arc::clone(&first.name)))
    }

    pub(super) fn leaks(&self, text: &str) -> bool {
        let token = self.token.expose_secret();
        token.len() >= SECRET_MIN && text.contains(token)
    }

    /// A text fit to be recorded: servers like to quote the key that they refuse. Cut only afterwards, so that half a
    /// key cannot remain.
    pub(super) fn kept(&self, text: &str, limit: usize) -> String {
        let text =
            if self.leaks(text) { text.replace(self.token.expose_secret(), "[redacted]") } else { text.to_owned() };
        match text.char_indices().nth(limit) {
            Some((end, _)) => text[..end].to_owned(),
            None => text,
        }
    }
}

const ANY: AnswerRule = AnswerRule {
    operation: None,
    status: None,
    code: None,
    message: None,
    asset_status: None,
    means: AnswerMeans::Later,
};

/// A code of one of the lists counts with 2xx only.
fn of_code(code: &str, means: AnswerMeans) -> AnswerRule {
    AnswerRule { status: Some(StatusRange::SUCCESS), code: Some(code.to_owned()), means, ..ANY }
}

/// What the provider documents, and what HTTP says. A status without a rule means "later", and so does a code.
fn built_in() -> Vec<NamedRule> {
    let of_status = |status, means| AnswerRule { status: Some(StatusRange::one(status)), means, ..ANY };
    let deleted = AnswerRule {
        operation: Some(ProviderOperation::Detail),
        status: Some(StatusRange::SUCCESS),
        asset_status: Some("deleted".to_owned()),
        means: AnswerMeans::Gone,
        ..ANY
    };
    let rules = [
        ("built in: HTTP 401", of_status(401, AnswerMeans::Key)),
        ("built in: HTTP 403", of_status(403, AnswerMeans::Key)),
        ("built in: HTTP 409", of_status(409, AnswerMeans::InUse)),
        ("built in: HTTP 423", of_status(423, AnswerMeans::InUse)),
        ("built in: HTTP 420", of_status(420, AnswerMeans::TooMany)),
        ("built in: HTTP 429", of_status(429, AnswerMeans::TooMany)),
        ("built in: asset status deleted", deleted),
        ("built in: code 0", of_code(SUCCESS, AnswerMeans::Found)),
    ];
    rules.into_iter().map(|(name, rule)| NamedRule { name: name.into(), rule }).collect()
}

/// The only code that means success.
pub(super) const SUCCESS: &str = "0";

fn holds(rule: &AnswerRule, seen: Conditions<'_>) -> bool {
    let same = |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|wanted| is == Some(wanted));
    let alike = |wanted: &str, is: Option<&str>| is.is_some_and(|is| is.trim().eq_ignore_ascii_case(wanted.trim()));
    rule.operation.is_none_or(|operation| operation == seen.operation)
        && rule.status.is_none_or(|range| range.contains(seen.status))
        && (rule.means != AnswerMeans::Found || StatusRange::SUCCESS.contains(seen.status))
        && same(&rule.code, seen.code)
        && rule.message.as_deref().is_none_or(|part| contains(seen.message, part))
        && rule.asset_status.as_deref().is_none_or(|wanted| alike(wanted, seen.asset_status))
}

fn contains(message: Option<&str>, part: &str) -> bool {
    message.is_some_and(|message| message.to_lowercase().contains(&part.to_lowercase()))
}
