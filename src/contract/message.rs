//! The message contract: what a request may say and what a result says. Pure data, no I/O.

pub mod backup;
pub mod cloud_event;
pub mod event;
pub mod id;
pub mod notice;
pub mod outcome;
pub mod pattern;
pub mod request;
pub mod trace;

pub(crate) mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
#[cfg(test)]
mod schema;

pub use backup::Backup;
pub use event::ResultEvent;
pub use id::{AssetId, CaseId, RequestId};
pub use notice::Notice;
pub use outcome::{Cause, Outcome, Proof, Refusal};
pub use pattern::AssetPattern;
pub use request::{Envelope, Expect, OnInUse, Request, Unreadable};
pub use trace::TraceContext;
