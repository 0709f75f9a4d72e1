//! The copy that a request has made, as its row keeps it.

use serde::{Deserialize, Serialize};

use super::history::Change;
use super::state::State;
use crate::message::Backup;

/// A copy, and the entry of the history that tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackedUp {
    #[serde(flatten)]
    pub(super) backup: Backup,
    /// Its number.
    pub(super) entry: u32,
}

impl BackedUp {
    /// As a column holds it.
    pub(super) fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// What a column holds.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("backup: {error}"))
    }

    /// What its entry says for people.
    pub(super) fn told(&self) -> String {
        format!("{} bytes at {}", self.backup.length, self.backup.location)
    }

    /// Whether this is the entry that tells of it.
    fn is_told_by(&self, change: &Change) -> bool {
        (change.number, change.why.as_deref(), change.digest.as_deref())
            == (self.entry, Some(self.told().as_str()), Some(self.backup.sha256.as_str()))
    }
}

/// Whether a row's copy is the one that the last entry about a copy tells of.
pub(super) fn is_told(row: Option<&BackedUp>, changes: &[Change]) -> bool {
    match (row, changes.iter().rfind(|change| change.state == State::BackedUp.as_str())) {
        (None, None) => true,
        (Some(backup), Some(change)) => backup.is_told_by(change),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
