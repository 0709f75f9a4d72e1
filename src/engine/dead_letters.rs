//! Dead letters: what could not be handled, looked at by a person, replayed or dropped.
//!
//! A replayed letter takes the normal path from the beginning: whether its publisher may ask, whether its ID is used up,
//! whether the asset is in use are all asked again. So one that was answered gets the recorded answer, and only one that
//! never was is carried out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::contract::message::Request;
use crate::neighbours::broker::BrokerError;
use crate::neighbours::broker::dead_queue::{DeadLetters, Letter};
use crate::platform::text::{plain, plain_json};
use crate::settings;

/// Which letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that are there when the look begins.
    All,
    /// Those that are dead for this cause.
    Why(String),
    /// These.
    Ids(BTreeSet<String>),
}

/// What to do with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Back to the request queue.
    Replay,
    /// Away for good.
    Drop,
}

/// The letters asked for, as many as were wanted.
pub struct Listing {
    /// Letters in the queue.
    pub total: u32,
    /// Those asked for, the oldest first.
    pub letters: Vec<Letter>,
    /// Whether all of the queue was looked at.
    pub complete: bool,
}

/// What became of the letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// With how many it was done.
    pub letters: u32,
    /// The IDs that no letter has.
    pub missing: BTreeSet<String>,
}

/// Something was done with some letters, and then the broker did not answer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the broker did not answer; up to {begun} letters are done, and each is either done or dead as before: look, and go on"
)]
pub struct Interrupted {
    /// With how many it was begun.
    pub begun: u32,
    #[source]
    source: BrokerError,
}

/// Whose request a letter seems to be, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterRequest {
    /// The request.
    pub request_id: Option<String>,
    /// The asset.
    pub asset_id: Option<String>,
    /// Who asked, as the request says.
    pub requested_by: Option<String>,
}

impl Which {
    fn takes(&self, letter: &Letter) -> bool {
        match self {
            Self::All => true,
            Self::Why(why) => letter.why == *why,
            Self::Ids(ids) => ids.contains(&letter.id),
        }
    }
}

impl DeadLetterRequest {
    /// Of a letter.
    #[must_use]
    pub fn of(letter: &Letter) -> Self {
        let message = &letter.message;
        let decoded = Request::decode(message.envelope());
        let (request_id, asset_id, labels) = match decoded {
            Ok(request) => (Some(request.request_id), Some(request.asset_id), request.labels),
            Err(unreadable) => (unreadable.request_id, unreadable.asset_id, unreadable.labels),
        };
        Self {
            request_id: request_id.map(|id| id.to_string()),
            asset_id: asset_id.map(|id| id.to_string()),
            requested_by: labels.requested_by,
        }
    }
}

/// Looks for letters; at most `most` of them.
///
/// # Errors
/// When the broker does not answer. Nothing has changed then.
pub async fn list(broker: &settings::BrokerSettings, which: &Which, most: usize) -> Result<Listing, BrokerError> {
    let mut look = DeadLetters::open(broker).await?;
    let (mut letters, mut seen) = (Vec::new(), 0);
    while letters.len() < most
        && let Some(letter) = look.next().await?
    {
        seen += 1;
        if which.takes(&letter) {
            letters.push(letter);
        }
    }
    let total = look.total;
    look.close().await?;
    Ok(Listing { total, letters, complete: seen == total })
}

/// The body of a letter, however long it is.
///
/// # Errors
/// When the broker does not answer. Nothing has changed then.
pub async fn body(broker: &settings::BrokerSettings, id: &str) -> Result<Option<Vec<u8>>, BrokerError> {
    let mut look = DeadLetters::open_for_bodies(broker).await?;
    let mut body = None;
    while body.is_none()
        && let Some(letter) = look.next().await?
    {
        body = (letter.id == id).then_some(letter.message.body);
    }
    look.close().await?;
    Ok(body)
}

/// How many letters there are of each cause.
///
/// # Errors
/// When the broker does not answer. Nothing has changed then.
pub async fn count(broker: &settings::BrokerSettings, which: &Which) -> Result<BTreeMap<String, u32>, BrokerError> {
    let mut look = DeadLetters::open(broker).await?;
    let mut counts = BTreeMap::new();
    while let Some(letter) = look.next().await? {
        if which.takes(&letter) {
            *counts.entry(letter.why).or_default() += 1;
        }
    }
    look.close().await?;
    Ok(counts)
}

/// Replays or drops letters. At any moment each letter is in one place: a process that dies in here, or is cut off, has lost
/// none and doubled none.
///
/// # Errors
/// [`Interrupted`] when the broker does not answer.
pub async fn act(broker: &settings::BrokerSettings, which: &Which, deed: Deed) -> Result<Done, Interrupted> {
    let mut begun = 0;
    let acted = act_counting(broker, which, deed, &mut begun).await;
    acted.map_err(|source| Interrupted { begun, source })
}

async fn act_counting(
    broker: &settings::BrokerSettings,
    which: &Which,
    deed: Deed,
    begun: &mut u32,
) -> Result<Done, BrokerError> {
    let mut look = DeadLetters::open(broker).await?;
    let mut missing = if let Which::Ids(ids) = which { ids.clone() } else { BTreeSet::new() };
    let only_these = !missing.is_empty();
    while !(only_these && missing.is_empty())
        && let Some(letter) = look.next().await?
    {
        // Of two letters with one ID one was meant.
        if !which.takes(&letter) || (only_these && !missing.remove(&letter.id)) {
            continue;
        }
        *begun += 1;
        match deed {
            Deed::Replay => letter.replay().await?,
            Deed::Drop => letter.drop_for_good().await?,
        }
    }
    look.close().await?;
    Ok(Done { letters: *begun, missing })
}

/// The body of a letter for a person.
#[must_use]
pub fn shown_body(letter: &Letter) -> String {
    match letter.message.left_out {
        Some(_) => format!("(longer than a request may be; `asset-eraser dead show --raw {}` prints it)", letter.id),
        None => readable(&letter.message.body),
    }
}

/// A body as what it is: JSON as JSON, other text as text, anything else as bytes.
#[must_use]
fn readable(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else { return body.escape_ascii().to_string() };
    let json: Option<Value> = serde_json::from_str(text).ok();
    json.map_or_else(|| plain(text), |json| plain_json(&format!("{json:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_what_it_is_and_moves_no_cursor() {
        assert_eq!(readable(br#"{"a":"\u001b[2J"}"#), "{\n  \"a\": \"\\u001b[2J\"\n}");
        assert_eq!(readable(b"no\x1b[2JJSON"), "no<U+001B>[2JJSON");
        assert_eq!(readable("\"\u{202e}\"".as_bytes()), "\"\\u202e\"");
        assert_eq!(readable(b"\xff\x00"), "\\xff\\x00");
    }
}
