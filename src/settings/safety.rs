//! The settings that keep deletions within what an operator wants.

use super::checks::{DAY, SECOND, within};
use super::raw::RawBrake;
use super::source::Source;
use super::{BrakeSettings, BrokerSettings, ConfigError, PublisherSettings};
use crate::contract::message::AssetPattern;

/// Longest name of a user, in bytes: the AMQP property `user_id` takes no longer one.
pub(super) const MAX_USER: usize = 255;

pub(super) fn brake(source: &Source, raw: &RawBrake) -> Result<Option<BrakeSettings>, ConfigError> {
    let window = within(source, "brake.window", raw.window.0, 3600 * SECOND, 60 * SECOND, 7 * DAY)?;
    match raw.max_deletions.0 {
        None if raw.window.0.is_some() => {
            let problem = "says how far brake.max_deletions looks back; set that too, or leave both out";
            Err(source.problem("brake.window", problem))
        }
        None => Ok(None),
        Some(0) => {
            let problem = "must be at least 1; with worker.dry_run = true nothing is deleted at all";
            Err(source.problem("brake.max_deletions", problem))
        }
        Some(max_deletions) => Ok(Some(BrakeSettings { max_deletions, window })),
    }
}

/// A pattern that can match nothing was meant to protect something.
pub(super) fn protected(source: &Source, patterns: &[String]) -> Result<Vec<AssetPattern>, ConfigError> {
    let parsed = |text: &String| {
        AssetPattern::parse(text).map_err(|rule| source.problem("protected", format!("pattern {text:?} {rule}")))
    };
    patterns.iter().map(parsed).collect()
}

pub(super) fn publishers(
    source: &Source,
    allow: Option<&[String]>,
    broker: &BrokerSettings,
) -> Result<Option<PublisherSettings>, ConfigError> {
    let key = "publishers.allow";
    let Some(allow) = allow else { return Ok(None) };
    if allow.is_empty() || allow.iter().any(|user| user.is_empty() || user.len() > MAX_USER) {
        let problem = "must name RabbitMQ users, of 1 to 255 bytes each; leave it out to allow all users";
        return Err(source.problem(key, problem));
    }
    let Some(own) = broker.own_user() else {
        let problem = "needs a user in broker.url that the broker knows the worker by (not auth_mechanism=external): \
                       copies of messages are signed with it";
        return Err(source.problem(key, problem));
    };
    // A program that publishes as the worker's user can say anything about who has published.
    if allow.contains(&own) {
        let problem = "must not name the worker's own user, that of broker.url; give the worker a user of its own, which \
                       no other program publishes with";
        return Err(source.problem(key, problem));
    }
    Ok(Some(PublisherSettings { allow: allow.to_vec(), own }))
}
