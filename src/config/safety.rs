//! The settings that keep deletions within what an operator wants.

use super::source::Source;
use super::validate::{DAY, SECOND, within};
use super::{Brake, ConfigError, RawBrake};
use crate::message::AssetPattern;

pub(super) fn brake(source: &Source, raw: &RawBrake) -> Result<Option<Brake>, ConfigError> {
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
        Some(max_deletions) => Ok(Some(Brake { max_deletions, window })),
    }
}

/// A pattern that can match nothing was meant to protect something.
pub(super) fn protected(source: &Source, patterns: &[String]) -> Result<Vec<AssetPattern>, ConfigError> {
    let parsed = |text: &String| {
        AssetPattern::parse(text).map_err(|rule| source.problem("protected", format!("pattern {text:?} {rule}")))
    };
    patterns.iter().map(parsed).collect()
}
