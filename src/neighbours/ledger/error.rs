//! What can go wrong with a ledger.

use super::state::{Illegal, SUPERSEDED};
use crate::contract::message::id::RequestId;

/// Why the ledger did not do as told. Names the place and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// `ledger.url` cannot be used. The URL is not repeated, as it may hold a password.
    #[error("ledger.url is not usable: {0}")]
    Url(String),
    /// It could not be opened or made ready.
    #[error("cannot open the ledger {place}: {what}; {advice}")]
    Open {
        /// The file, or the database without user and password.
        place: String,
        /// What went wrong.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// It was written by a later release.
    #[error(
        "the ledger {place} has schema version {found}, and this release knows versions up to {known}; \
         run the release that wrote it or a later one, or point ledger.url at another place"
    )]
    Newer {
        /// The file, or the database without user and password.
        place: String,
        /// The version found.
        found: i64,
        /// The latest version known here.
        known: i64,
    },
    /// The file is an `SQLite` database of some other program.
    #[error("{place} is not a ledger of asset-eraser but another SQLite database; point ledger.url at another file")]
    Foreign {
        /// The file, or the database without user and password.
        place: String,
    },
    /// The disk, a lock or the way to the database is in the way; may pass.
    #[error("the ledger {place} cannot be written: {what}; {advice}")]
    Unavailable {
        /// The file, or the database without user and password.
        place: String,
        /// What went wrong.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// A row makes no sense, as after an edit by hand.
    #[error("the ledger {place} holds an unreadable row for request {request_id}: {what}; correct it by hand")]
    Unreadable {
        /// The file, or the database without user and password.
        place: String,
        /// The request of that row.
        request_id: RequestId,
        /// What is wrong with it.
        what: String,
    },
    /// What was recorded for a request is not what was once written.
    #[error(
        "the ledger holds a record that cannot be read: {0}; correct it by hand, or restore the ledger from a backup"
    )]
    Corrupt(String),
    /// The ledger shows less than this process has seen of it.
    #[error("{0}")]
    WentBack(String),
    /// Another worker has begun with the request since: it owns it now.
    #[error("request {request_id} was taken over by another worker")]
    Superseded {
        /// The request.
        request_id: RequestId,
    },
    /// The state of the request does not allow this: a fault of the caller.
    #[error("request {request_id} cannot go on as told: {why}")]
    Illegal {
        /// The request.
        request_id: RequestId,
        /// Why not.
        why: &'static str,
    },
}

impl LedgerError {
    /// Whether this concerns the ledger as a whole and may pass: stop consuming and probe. Any other error after the
    /// opening concerns one request, and a probe would not notice it; but for [`LedgerError::WentBack`].
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the ledger was set back: stop consuming until an operator has accepted that.
    #[must_use]
    pub const fn is_set_back(&self) -> bool {
        matches!(self, Self::WentBack(_))
    }

    /// For a recorded event that its reader cannot make sense of.
    #[must_use]
    pub const fn corrupt(what: String) -> Self {
        Self::Corrupt(what)
    }

    pub(super) fn illegal(request_id: &RequestId, illegal: Illegal) -> Self {
        let request_id = request_id.clone();
        if illegal == SUPERSEDED {
            Self::Superseded { request_id }
        } else {
            Self::Illegal { request_id, why: illegal.0 }
        }
    }
}
