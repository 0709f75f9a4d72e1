//! How a request can end.

use serde::Serialize;

/// The final answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This request's `DELETE` removed the asset.
    Deleted,
    /// The asset was gone before this request began to delete.
    AlreadyAbsent,
    /// A dry run got as far as the `DELETE`.
    WouldDelete,
    /// Not done because of what was asked.
    Rejected(Refusal),
    /// Not done although it was asked properly.
    Failed(Refusal),
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
            Self::Deleted => "deleted",
            Self::AlreadyAbsent => "already_absent",
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
            Self::Deleted | Self::AlreadyAbsent | Self::WouldDelete => None,
        }
    }
}
