//! The evidence: every change of a request, each bound by its hash to the one before.
//!
//! Each request has a chain of its own, whose head stands in the request's row and is written with it. So a chain costs
//! one more row in the same transaction, any number of workers write theirs at once, and a person who changes, adds or
//! removes an entry, an answer or what was asked has to forge the rest of that chain and its head. Against a person who
//! can do all of that, and against whole requests that were removed, only a copy kept elsewhere helps.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::row::{BackedUp, Chain, Decision, KeptDetails, Row, State};
use crate::contract::message::Proof;
use crate::contract::message::id::RequestId;

/// Why a `DELETE` is known to be one of something that was there.
const SEEN: &str = "the asset was found";

/// One change of a request, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whose.
    pub request_id: RequestId,
    /// 1 for the first.
    pub number: u32,
    /// When.
    pub at: Timestamp,
    /// What it became: `begun`, `backed_up`, `deleting`, `not_sent`, `waiting` or `decided`.
    pub state: String,
    /// In which attempt.
    pub attempts: u32,
    /// What it waits for, where the copy is, or the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// SHA-256 of what was asked (the first entry), of the copy's bytes, or of the event (the last), in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// SHA-256 of this entry and the hash before it.
    pub hash: String,
}

/// Adds the change that made the row what it is now; the row and the entry have to be written together.
pub(super) fn append(id: &RequestId, row: &mut Row) -> Change {
    let digest = match (event(row), copy(row), &row.request) {
        (Some(event), _, _) => Some(sha256(event)),
        (None, Some(copy), _) => Some(copy.backup.sha256.clone()),
        // Bound by the first entry.
        (None, None, request) => request.as_deref().filter(|_| row.chain.entries == 0).map(sha256),
    };
    let mut change = Change {
        request_id: id.clone(),
        number: row.chain.entries + 1,
        at: row.updated,
        state: row.state.as_str().to_owned(),
        attempts: row.attempts,
        why: why(row),
        digest,
        hash: String::new(),
    };
    change.hash = link(&row.chain.head, row.asset_id.as_deref(), &change);
    row.chain = Chain { entries: change.number, head: change.hash.clone() };
    change
}

/// Makes the row of a decided request a tombstone; its entries have to be removed with it. The chain's last hash is
/// kept, and bound by a new one to all that stays.
pub(super) fn seal(id: &RequestId, row: &mut Row) {
    let head = std::mem::take(&mut row.chain.head);
    row.request = row.request.as_deref().map(sha256);
    row.chain.head = tombstone_hash(id, row, &head);
    row.waited_for = None;
    row.backup_asked = None;
    row.backup = None;
    row.seen = false;
    if let Some(decision) = &mut row.decision {
        decision.kept = KeptDetails::Sealed(head);
    }
}

/// Whether a tombstone is that of this request, equal in every field.
pub(super) fn is_of(row: &Row, request: &str) -> bool {
    row.request.as_deref() == Some(sha256(request).as_str())
}

/// The one entry that stands for all those of a tombstone; `None` for any other row. Its digest is the hash of the last
/// entry there was, as a report made before that shows it.
pub(super) fn tombstone(id: &RequestId, row: &Row) -> Option<Change> {
    let Some(Decision { outcome, kept: KeptDetails::Sealed(head), .. }) = &row.decision else { return None };
    Some(Change {
        request_id: id.clone(),
        number: row.chain.entries,
        at: row.updated,
        state: row.state.as_str().to_owned(),
        attempts: row.attempts,
        why: Some(outcome.clone()),
        digest: Some(head.clone()),
        hash: row.chain.head.clone(),
    })
}

/// What is wrong with a request's evidence, if anything. The row has to hold what was asked.
pub(super) fn problem(id: &RequestId, row: &Row, changes: &[Change]) -> Option<String> {
    if let Some(Decision { kept: KeptDetails::Sealed(head), .. }) = &row.decision {
        return tombstone_problem(id, row, head, changes);
    }
    let mut head = "";
    for (number, change) in (1..).zip(changes) {
        if change.number != number {
            return Some(format!("entry {number} is missing"));
        }
        if change.hash != link(head, row.asset_id.as_deref(), change) {
            return Some(format!("entry {number} was changed, or the entry before it or the asset ID was"));
        }
        head = &change.hash;
    }
    let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
        return Some("all of its entries are missing".to_owned());
    };
    if row.chain.head != head || row.chain.entries != last.number {
        return Some("entries after the last one are missing, or the row was changed".to_owned());
    }
    let now = (row.updated, row.state.as_str(), row.attempts, why(row));
    if now != (last.at, last.state.as_str(), last.attempts, last.why.clone()) {
        return Some("the row does not say what its last entry says".to_owned());
    }
    if let Some(event) = event(row)
        && last.digest != Some(sha256(event))
    {
        return Some("its event was changed".to_owned());
    }
    // Only of what was refused unread nothing was asked.
    let unread = row.asset_id.is_none() && row.request.is_none();
    if !unread && first.digest != row.request.as_deref().map(sha256) {
        return Some("what was asked was changed".to_owned());
    }
    if !is_told(row.backup.as_ref(), changes) {
        return Some("the row does not say which copy was made".to_owned());
    }
    let done = (row.first_seen, Some(row.deletes), row.seen);
    if done != (first.at, deletes(changes), was_seen(changes)) || !says_what_was_asked(row) || !says_its_proof(row) {
        return Some("the row does not say what was asked and done".to_owned());
    }
    None
}

/// Whether a row's copy is the one that the last entry about a copy tells of.
fn is_told(row: Option<&BackedUp>, changes: &[Change]) -> bool {
    match (row, changes.iter().rfind(|change| change.state == State::BackedUp.as_str())) {
        (None, None) => true,
        (Some(backup), Some(change)) => is_told_by(backup, change),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether this is the entry that tells of the copy.
fn is_told_by(copy: &BackedUp, change: &Change) -> bool {
    (change.number, change.why.as_deref(), change.digest.as_deref())
        == (copy.entry, Some(copy.told().as_str()), Some(copy.backup.sha256.as_str()))
}

/// The `DELETE`s that may have been sent; `None` where more were withheld than recorded.
fn deletes(changes: &[Change]) -> Option<u32> {
    changes.iter().try_fold(0_u32, |deletes, change| match change.state.as_str() {
        "deleting" => deletes.checked_add(1),
        "not_sent" => deletes.checked_sub(1),
        _ => Some(deletes),
    })
}

/// Whether the asset was found before one of the `DELETE`s.
fn was_seen(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.state == "deleting" && change.why.as_deref() == Some(SEEN))
}

/// The proof stands in the row twice: in the event, which its digest guards, and in a column that a tombstone keeps.
fn says_its_proof(row: &Row) -> bool {
    let Some(event) = event(row) else { return true };
    let Ok(event) = serde_json::from_str::<Value>(event) else { return true };
    let proof = row.decision.as_ref().and_then(|decision| decision.proof);
    event["data"]["proof"].as_str() == proof.map(Proof::as_str)
}

/// What was asked stands in the row twice: whole, which its digest guards, and in columns to look it up by.
fn says_what_was_asked(row: &Row) -> bool {
    // Refused unread: nothing was asked that could be told.
    let Some(request) = &row.request else { return true };
    let asked: Value = serde_json::from_str(request).unwrap_or_default();
    asked["case_id"].as_str() == row.case_id.as_deref()
        && asked["dry_run"].as_bool().unwrap_or(false) == row.dry_run
        && asked["backup"].as_bool() == row.backup_asked
}

fn tombstone_problem(id: &RequestId, row: &Row, head: &str, changes: &[Change]) -> Option<String> {
    if !changes.is_empty() {
        return Some("it is a tombstone, and has entries".to_owned());
    }
    // Whatever a tombstone does not keep is not in its hash, and would be believed.
    let more = row.backup.is_some() || row.backup_asked.is_some() || row.seen;
    (more || row.chain.head != tombstone_hash(id, row, head)).then(|| "the tombstone was changed".to_owned())
}

/// Over everything that a tombstone keeps.
fn tombstone_hash(id: &RequestId, row: &Row, head: &str) -> String {
    let Row { asset_id, case_id, dry_run, request, attempts, deletes, decision, first_seen, updated, chain, .. } = row;
    let kept = serde_json::json!([
        "tombstone",
        head,
        id.as_str(),
        asset_id,
        case_id,
        dry_run,
        request,
        attempts,
        deletes,
        decision.as_ref().map(|decision| &decision.outcome),
        decision.as_ref().and_then(|decision| decision.proof),
        first_seen.as_millisecond(),
        updated.as_millisecond(),
        chain.entries,
    ]);
    sha256(&kept.to_string())
}

fn event(row: &Row) -> Option<&String> {
    match &row.decision {
        Some(Decision { kept: KeptDetails::Event(event), .. }) => Some(event),
        Some(Decision { kept: KeptDetails::Sealed(_), .. }) | None => None,
    }
}

/// The copy, when that is what the row has just got.
fn copy(row: &Row) -> Option<&BackedUp> {
    row.backup.as_ref().filter(|_| row.state == State::BackedUp)
}

fn why(row: &Row) -> Option<String> {
    match row.state {
        State::Waiting => row.waited_for.clone(),
        State::Decided => row.decision.as_ref().map(|decision| decision.outcome.clone()),
        State::BackedUp => row.backup.as_ref().map(BackedUp::told),
        State::Deleting => row.seen.then(|| SEEN.to_owned()),
        State::Begun | State::NotSent => None,
    }
}

/// Over a JSON array, in which no two different entries look alike.
fn link(before: &str, asset_id: Option<&str>, change: &Change) -> String {
    let Change { request_id, number, at, state, attempts, why, digest, hash: _ } = change;
    let entry = (before, request_id.as_str(), asset_id, number, at.as_millisecond(), state, attempts, why, digest);
    sha256(&serde_json::json!(entry).to_string())
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_one_everybody_computes() {
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
