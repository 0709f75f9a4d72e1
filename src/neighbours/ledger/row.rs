//! A request as the ledger keeps it: one row, beside its history.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Token;
use crate::contract::message::{Backup, Proof};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// An attempt has begun; no `DELETE` has been sent in it.
    Begun,
    /// A copy of the asset was made in this attempt; no `DELETE` has been sent since.
    BackedUp,
    /// A `DELETE` may have been sent.
    Deleting,
    /// The `DELETE` recorded last was withheld after all.
    NotSent,
    /// Put off to a wait queue.
    Waiting,
    /// Answered for good.
    Decided,
}

impl State {
    /// The name in the row and in the history.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::BackedUp => "backed_up",
            Self::Deleting => "deleting",
            Self::NotSent => "not_sent",
            Self::Waiting => "waiting",
            Self::Decided => "decided",
        }
    }

    /// The state with this name.
    pub(super) fn read(name: &str) -> Option<Self> {
        let all = [Self::Begun, Self::BackedUp, Self::Deleting, Self::NotSent, Self::Waiting, Self::Decided];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

/// A request in the ledger, apart from its ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// `None` only for a request refused before its asset could be read.
    pub asset_id: Option<String>,
    pub dry_run: bool,
    /// What the request said about a copy; gone from a tombstone.
    pub backup_asked: Option<bool>,
    /// As asked. Written with a new row only, and gone from a tombstone.
    pub request: Option<String>,
    pub state: State,
    pub attempts: u32,
    /// The attempt that owns the request; `None` once it has ended.
    pub attempt: Option<Token>,
    /// Attempts in a row that began and never ended.
    pub interrupted: u32,
    /// How often in a row an attempt was taken over while its worker was alive.
    pub contended: u32,
    pub rung: u32,
    /// The `DELETE`s on record, of this and every earlier attempt: each may have been sent.
    pub deletes: u32,
    /// Those of them that the provider answered with "nothing deleted".
    pub missed: u32,
    /// Whether the asset was found before a `DELETE` was sent.
    pub seen: bool,
    pub waited_for: Option<String>,
    /// The copy made last; gone from a tombstone.
    pub backup: Option<BackedUp>,
    /// There exactly when decided.
    pub decision: Option<Decision>,
    /// Whether the broker has confirmed the answer.
    pub heard: bool,
    pub first_seen: Timestamp,
    pub updated: Timestamp,
    pub case_id: Option<String>,
    pub chain: Chain,
}

/// The final answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub outcome: String,
    /// How well it is known that the asset is gone, with an outcome that says so.
    pub proof: Option<Proof>,
    pub kept: KeptDetails,
}

/// What is kept of a decision's details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeptDetails {
    /// All of them; this is the event.
    Event(String),
    /// None: the row is a tombstone. This was the last hash of its chain.
    Sealed(String),
}

/// The end of a request's chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub entries: u32,
    /// Empty before the first.
    pub head: String,
}

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
}
