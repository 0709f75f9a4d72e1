//! The provider's asset API: four questions, one attempt each, and what every answer means.
//!
//! Nothing here tries again or decides about a request; that is the eraser's. What an answer means is decided in
//! one place only, `classify`.

mod asset_url;
mod classify;
mod client;
mod envelope;
mod inflate;
mod limits;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
pub(crate) mod origin;
mod recorded;
mod rules;
pub(crate) mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::message::event::LastWord;
use crate::neighbours::pace::gate::PaceVerdict;

pub use asset_url::AssetUrl;
pub use client::Client;
pub(crate) use client::ID_ENCODED;
pub(crate) use limits::retry_after;
pub use recorded::{ReadAnswer, RecordedAnswer};

/// Why a client could not be made. Names the setting, never its value.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The token cannot be sent.
    #[error("provider.token holds a character that an HTTP header cannot carry (a line break at its end?)")]
    Token,
    /// The base URL cannot carry a path.
    #[error("provider.base_url must be an http or https URL with a host")]
    BaseUrl,
    /// TLS or the HTTP client could not be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

/// One answer of the provider: what it means, and the words to record with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the answer means; the only part that may be decided on.
    pub meaning: Meaning<T>,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The rule that says what it means; `None` where none holds.
    pub rule: Option<Arc<str>>,
    /// The `code` as text, whether it came as a string or as an integer.
    pub code: Option<String>,
    /// The `msg`, for people only: at most 500 characters, without control characters and without our token.
    pub msg: Option<String>,
    /// What was seen of the sender, where the answer is not clear and may not be the provider's own. Without our token.
    pub seen: Option<String>,
}

impl<T> Answer<T> {
    /// An answer that never came, or that cannot be read.
    pub(crate) fn fault(why: Fault) -> Self {
        Self {
            meaning: Meaning::Retry { after: None, why },
            status: None,
            rule: None,
            code: None,
            msg: None,
            seen: None,
        }
    }

    /// Whether it shows that the provider is at work, whatever it says: a rule knows it, or it is any HTTP answer below 500
    /// of the provider's own that is not about the key, the number of calls or a missing route.
    #[must_use]
    pub fn shows_life(&self) -> bool {
        match self.meaning {
            Meaning::Retry { why: Fault::Between(_) | Fault::TooMany(_) | Fault::NoRoute, .. } => false,
            Meaning::KeyRefused(status) => status != 401,
            Meaning::Retry { .. } => self.status.is_some_and(|status| status < 500),
            Meaning::Found(_) | Meaning::Gone | Meaning::InUse | Meaning::Refused | Meaning::Unlisted => true,
        }
    }

    /// The words to put on record.
    #[must_use]
    pub fn words(&self) -> LastWord {
        let rule = self.rule.as_deref().map(str::to_owned);
        LastWord { status: self.status, code: self.code.clone(), msg: self.msg.clone(), rule }
    }

    /// What went wrong, with what was seen of the sender.
    #[must_use]
    pub fn told(&self, why: impl fmt::Display) -> String {
        self.seen.as_ref().map_or_else(|| why.to_string(), |seen| format!("{why} ({seen})"))
    }
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning<T> {
    /// Success as the operation defines it: the asset's details, the deletion, the job's status.
    Found(T),
    /// There is no such asset, by a rule.
    Gone,
    /// A job uses the asset, by a rule.
    InUse,
    /// The provider does not do this, by a rule.
    Refused,
    /// No usable answer, or one that may be different later.
    Retry {
        /// How long the provider asks us to stay away.
        after: Option<Duration>,
        /// What went wrong.
        why: Fault,
    },
    /// HTTP 401 or 403, or a rule: the key is wrong for every request alike, or for this asset.
    KeyRefused(u16),
    /// A readable code that no rule is for.
    Unlisted,
}

impl<T> Meaning<T> {
    /// A short name of bounded variety, for metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Found(_) => "ok",
            Self::Gone => "gone",
            Self::InUse => "in_use",
            Self::Refused => "refused",
            Self::Retry { why, .. } => why.as_str(),
            Self::KeyRefused(_) => "key_refused",
            Self::Unlisted => "unlisted",
        }
    }

    /// Whether the provider has answered the question, whatever it says.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        !matches!(self, Self::Retry { .. } | Self::KeyRefused(_))
    }

    /// Whether the key is refused.
    #[must_use]
    pub fn is_key_refused(&self) -> bool {
        matches!(self, Self::KeyRefused(_))
    }

    /// Whether the provider only says that there are too many calls.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Retry { why, .. } if why.is_rejection())
    }

    /// What the answer says about the pace, and how long all callers are asked to wait.
    #[must_use]
    pub fn pace(&self) -> (PaceVerdict, Option<Duration>) {
        match self {
            Self::Found(_) | Self::Gone | Self::InUse | Self::Refused | Self::Unlisted => (PaceVerdict::Fine, None),
            Self::KeyRefused(_) => (PaceVerdict::Failed, None),
            Self::Retry { after, why } => {
                let verdict = match why {
                    Fault::TooMany(_) => PaceVerdict::TooMany,
                    // A code that means "later" may mean that it is too much: this is not documented.
                    Fault::Status(503) | Fault::Timeout | Fault::Code => PaceVerdict::TooMuch,
                    _ => PaceVerdict::Failed,
                };
                (verdict, *after)
            }
        }
    }
}

/// Why an answer is of no use now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection was made (name, network, TLS), so nothing was sent.
    Connect,
    /// No complete answer in time; what was asked may have been done.
    Timeout,
    /// The connection broke before the answer was complete; what was asked may have been done.
    Cut,
    /// An HTTP status that carries no answer (3xx, 4xx, 5xx).
    Status(u16),
    /// Too many calls: HTTP 420 or 429, or a rule for another status.
    TooMany(u16),
    /// A refusal (401, 403, or a rule) that is about this asset: the key is good for others.
    OfThisAsset(u16),
    /// HTTP 404, as the provider says it of a route that it does not have.
    NoRoute,
    /// A 2xx answer that is not what the API documents.
    Unreadable,
    /// The answer is about another asset or job.
    WrongAsset,
    /// A refusal (401, 403, 407) that something on the way to the provider has sent, such as a proxy or a web filter.
    Between(u16),
    /// The body is compressed in a way that is not understood.
    Encoding,
    /// A code that the settings list as "try later".
    Code,
    /// The answer is longer than 1 MiB.
    TooLarge,
}

impl Fault {
    /// Whether the provider only says that there were too many calls: no fault of its own, and of no asset.
    #[must_use]
    pub const fn is_rejection(self) -> bool {
        matches!(self, Self::TooMany(_))
    }

    /// A short name of bounded variety, for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Cut => "cut",
            Self::TooMany(_) => "too_many",
            Self::Status(500..) => "http_5xx",
            Self::Status(400..) | Self::Between(_) | Self::NoRoute | Self::OfThisAsset(_) => "http_4xx",
            Self::Status(_) => "http_other",
            Self::Unreadable | Self::Encoding => "unreadable",
            Self::WrongAsset => "wrong_asset",
            Self::Code => "retry_code",
            Self::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection could be made"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Cut => f.write_str("the connection broke before the answer was complete"),
            Self::NoRoute => f.write_str("HTTP status 404: no such route (is the base URL right?)"),
            Self::OfThisAsset(status) => write!(f, "HTTP status {status} about this asset; the key is good for others"),
            Self::TooMany(status) => write!(f, "HTTP status {status}: too many calls"),
            Self::Status(404) => f.write_str(
                "HTTP status 404: a missing route, or an asset that is missing; a rule in provider.answers can say",
            ),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Between(status) => {
                write!(f, "HTTP status {status}, sent by a proxy or a web filter and not by the provider")
            }
            Self::Unreadable => f.write_str("the answer cannot be read"),
            Self::Encoding => f.write_str("the answer is compressed in a way that is not understood"),
            Self::WrongAsset => f.write_str("the answer is about another ID than the one asked for"),
            Self::Code => f.write_str("the provider answered with a code that means: later"),
            Self::TooLarge => f.write_str("the answer is too large"),
        }
    }
}

/// What the detail call says about an asset. Every field is optional: the provider owes none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// The name given at upload.
    pub name: Option<String>,
    /// `Image`, `Video`, `Audio`, `Document`, or what the provider adds some day.
    pub asset_type: Option<String>,
    /// The provider's `createTime`, as it came: it has no time zone, so it is no timestamp.
    pub created: Option<String>,
    /// `Processing`, `Active`, `Failed`; not part of a result event.
    pub status: Option<String>,
    /// Where its bytes are.
    pub url: Option<AssetUrl>,
}

/// The status of a generation job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// Accepted, not begun.
    Queued,
    /// At work.
    Processing,
    /// Over, with a video.
    Completed,
    /// Over, without one.
    Failed,
    /// A word that the provider does not document; treat it as at work.
    Other(String),
}

impl JobStatus {
    /// A word of the provider's, or of what is behind it; `None` for one that is not known.
    fn read(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "queued" => Self::Queued,
            "processing" | "running" => Self::Processing,
            "completed" | "succeeded" => Self::Completed,
            "failed" | "cancelled" | "canceled" | "expired" => Self::Failed,
            _ => return None,
        })
    }

    /// Whether the job can no longer need its assets. An unknown word never means that.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}
