//! What the ledger is given and what it answers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::contract::message::id::{AssetId, CaseId, RequestId};
use crate::contract::message::{Backup, Proof};

/// A request about to be attempted.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose answer is recorded.
    pub request_id: RequestId,
    /// What to delete.
    pub asset_id: AssetId,
    /// The erasure case it belongs to.
    pub case_id: Option<CaseId>,
    /// Whether nothing may be deleted.
    pub dry_run: bool,
    /// Whether a copy of the asset has to be there first, if the request says so or says otherwise.
    pub backup: Option<bool>,
    /// The whole request as asked, JSON: another request under the same ID has to be equal to it.
    pub request: String,
}

/// What the ledger knows of a request that is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Not decided: go on. The record counts this attempt.
    Open(Record),
    /// Its attempts ended with their workers so often that it may only be worked on alone.
    Suspect,
    /// Another attempt is at work, and a copy of the request has cost it its place before: it is left alone for now.
    Busy {
        /// How often in a row an attempt was taken over.
        contended: u32,
    },
    /// Decided before.
    Decided {
        /// The recorded event (JSON), to be published again.
        event: String,
        /// What came before.
        past: Past,
    },
    /// The request ID was used up before, and there is no event that answers this request.
    UsedUp {
        /// By what.
        by: UsedUp,
        /// When it was first used.
        first_seen: Timestamp,
    },
}

/// Beside what an attempt would be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Beside other requests: none whose attempts ended with their workers `most` times in a row or more.
    Others {
        /// The least number that makes it a suspect.
        most: u32,
    },
    /// Beside no other suspect: whatever it has done.
    NoSuspect,
}

/// What is known of a decided request beside its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// The case that its ID was first used for: another one only where that was by a malformed message.
    pub of_case: Option<String>,
    /// Attempts in a row that began and never ended, before the one that decided.
    pub interrupted: u32,
    /// Whether the broker has confirmed the answer.
    pub heard: bool,
}

/// What has used up a request ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsedUp {
    /// A request that differs in at least one field.
    AnotherRequest,
    /// The same request, decided so long ago that its event is no longer kept.
    Forgotten {
        /// The outcome.
        outcome: String,
        /// When it was decided.
        decided: Timestamp,
    },
}

/// What is known of an open request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The attempt that has begun.
    pub attempt: Attempt,
    /// When it began, by the ledger's clock, to the millisecond.
    pub now: Timestamp,
    /// When the request first began, to the millisecond.
    pub first_seen: Timestamp,
    /// How often it has begun, this time included.
    pub attempts: u32,
    /// Attempts in a row that began and never ended, this one excluded: their workers died.
    pub interrupted: u32,
    /// The step of the wait ladder last put off to; 0 before the first.
    pub rung: u32,
    /// How many `DELETE`s this and earlier attempts may have sent.
    pub deletes: u32,
    /// How many of them the provider answered with "nothing deleted".
    pub missed: u32,
    /// Whether the asset was found before one of them.
    pub seen: bool,
    /// Why it was last put off.
    pub waited_for: Option<String>,
    /// The copy of the asset that was made last.
    pub backup: Option<Backup>,
}

/// One attempt at a request, as [`Ledger::begin`](super::Ledger::begin) has recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The request.
    pub request_id: RequestId,
    /// What tells the attempt from all others.
    pub token: Token,
}

/// A random number that one attempt is known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token(pub(super) i64);

impl Token {
    /// A new one.
    pub(super) fn random() -> Self {
        // Of the 64 bits, four are fixed (RFC 9562, version 4).
        Self(Uuid::new_v4().as_u64_pair().0.cast_signed())
    }
}

/// What became of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalRecord {
    /// The refusal of this message, or of an earlier malformed one of the same ID, is on record.
    Recorded {
        /// The event (JSON).
        event: String,
        /// The case of the message that is on record.
        of_case: Option<String>,
    },
    /// A valid request has this ID, or what has it is no longer kept. Nothing was recorded.
    Known {
        /// When the ID was first used.
        first_seen: Timestamp,
    },
}

/// How far an erasure case is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// How many requests it has.
    pub size: u32,
    /// How many of them are decided, by outcome.
    pub decided: BTreeMap<String, u32>,
    /// The event (JSON) that says it is complete, once there is one.
    pub event: Option<String>,
}

/// Where an asset stands, for those who are about to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AssetState {
    /// Its deletion was carried out or found done, with another proof than `unconfirmed`.
    Deleted,
    /// A `DELETE` may have been sent, by a request that is open or has failed.
    Deleting,
    /// Its deletion is asked for and not decided.
    Requested,
    /// No open request asks for it.
    Unknown,
}

impl AssetState {
    /// The name in the HTTP answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Deleting => "deleting",
            Self::Requested => "requested",
            Self::Unknown => "unknown",
        }
    }
}

/// One request as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its ID.
    pub request_id: RequestId,
    /// The asset, unless the request was refused before that could be read.
    pub asset_id: Option<String>,
    /// The erasure case it belongs to.
    pub case_id: Option<String>,
    /// As it was asked (JSON), where it was looked for with [`Ledger::find`](super::Ledger::find).
    pub request: Option<String>,
    /// Whether nothing may be deleted.
    pub dry_run: bool,
    /// `begun`, `backed_up`, `deleting`, `not_sent`, `waiting` or `decided`.
    pub state: &'static str,
    /// How often it has begun.
    pub attempts: u32,
    /// Why it was last put off.
    pub waited_for: Option<String>,
    /// The copy of the asset that was made before the deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// Once decided: the outcome.
    pub outcome: Option<String>,
    /// Once decided that the asset is gone: how well that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Once decided: the event (JSON), unless it is so old that it is no longer kept.
    pub event: Option<String>,
    /// When it first began.
    pub first_seen: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
}

/// What a check of the evidence has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last request checked.
    pub last: RequestId,
    /// How many requests.
    pub requests: usize,
    /// How many entries of theirs.
    pub entries: usize,
    /// Whose evidence is not what was written, and in what.
    pub problems: Vec<(RequestId, String)>,
}

/// Whether a request may send its `DELETE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is on record that it may have been sent.
    Allowed,
    /// The brake holds: nothing was recorded.
    Braked {
        /// How many deletions have begun within the window.
        deletions: u64,
    },
}
