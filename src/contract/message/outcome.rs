//! How a request can end.

use serde::Serialize;

/// The final answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This request's `DELETE` removed the asset.
    Deleted(Proof),
    /// The asset was not there, as far as the proof goes, and this request did not remove it.
    AlreadyAbsent(Proof),
    /// A dry run got as far as the `DELETE`.
    WouldDelete,
    /// Not done because of what was asked.
    Rejected(Refusal),
    /// Not done although it was asked properly.
    Failed(Refusal),
}

/// How well it is known that the asset is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// This key saw the asset, the `DELETE` was sent, and afterwards it was not found while a control was.
    Erased,
    /// It was never seen; two looks did not find it while a control was found between and after them.
    Absent,
    /// The provider answered "deleted", and no look afterwards proves it.
    ProviderWord,
    /// It was not found, and no control was either: this key may not see it.
    Unconfirmed,
}

impl Proof {
    /// Every proof there is.
    pub const ALL: [Self; 4] = [Self::Erased, Self::Absent, Self::ProviderWord, Self::Unconfirmed];

    /// The name in events, in the ledger and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::Absent => "absent",
            Self::ProviderWord => "provider_word",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// The proof of this name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proof| proof.as_str() == name)
    }

    /// Whether it was seen, and not only said, that the asset is gone.
    #[must_use]
    pub const fn is_verified(self) -> bool {
        matches!(self, Self::Erased | Self::Absent)
    }
}

/// Why not, for a machine and for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For a machine.
    pub cause: Cause,
    /// A sentence for a person.
    pub detail: String,
}

/// The causes of the contract. One list: the `cause` label of the metrics is bounded by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The body could not be read as a request.
    InvalidRequest,
    /// The request ID was used before for something else.
    RequestConflict,
    /// The asset is not what the request expected.
    AssetMismatch,
    /// The publisher of the request is not allowed to ask.
    PublisherNotAllowed,
    /// A job in progress uses the asset.
    InUse,
    /// The operator has protected the asset.
    Protected,
    /// The request's deadline passed first.
    DeadlinePassed,
    /// The provider answered that it does not delete this.
    ProviderRefused,
    /// The provider said "deleted" and still has it.
    StillPresent,
    /// Every retry was used up.
    AttemptsExhausted,
    /// The request wants a backup, and there is none that is whole.
    BackupFailed,
}

impl Cause {
    /// The name in events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::RequestConflict => "request_conflict",
            Self::AssetMismatch => "asset_mismatch",
            Self::PublisherNotAllowed => "publisher_not_allowed",
            Self::InUse => "in_use",
            Self::Protected => "protected",
            Self::DeadlinePassed => "deadline_passed",
            Self::ProviderRefused => "provider_refused",
            Self::StillPresent => "still_present",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::BackupFailed => "backup_failed",
        }
    }
}

impl Outcome {
    /// Every name there is.
    pub const NAMES: [&str; 5] = ["deleted", "already_absent", "would_delete", "rejected", "failed"];

    /// Answers `rejected`.
    pub fn rejected(cause: Cause, detail: impl Into<String>) -> Self {
        Self::Rejected(Refusal { cause, detail: detail.into() })
    }

    /// Answers `failed`.
    pub fn failed(cause: Cause, detail: impl Into<String>) -> Self {
        Self::Failed(Refusal { cause, detail: detail.into() })
    }

    /// The name in events, routing keys and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Deleted(_) => "deleted",
            Self::AlreadyAbsent(_) => "already_absent",
            Self::WouldDelete => "would_delete",
            Self::Rejected(_) => "rejected",
            Self::Failed(_) => "failed",
        }
    }

    /// Why not, for a rejected or failed request.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Rejected(refusal) | Self::Failed(refusal) => Some(refusal),
            Self::Deleted(_) | Self::AlreadyAbsent(_) | Self::WouldDelete => None,
        }
    }

    /// How well it is known that the asset is gone, for a request after which it is.
    #[must_use]
    pub const fn proof(&self) -> Option<Proof> {
        match self {
            Self::Deleted(proof) | Self::AlreadyAbsent(proof) => Some(*proof),
            Self::WouldDelete | Self::Rejected(_) | Self::Failed(_) => None,
        }
    }
}
