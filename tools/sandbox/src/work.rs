//! The work of a call: how it may be bent, and what it came to.

use axum::http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::file::Content;

/// How the work of a call is bent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bent {
    No,
    /// A delete that answers success and deletes nothing.
    Pretend,
    /// A detail call that still sees what is gone.
    Stale,
    /// A call with the key of another account: it sees nothing of what exists.
    Blind,
    /// A call that also sees what was deleted: its detail as deleted, its file as it was.
    Remembering,
    /// A delete that answers success at once and deletes so much later.
    Delayed {
        ms: u64,
    },
}

/// What the work of a call changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    Nothing,
    Now,
    /// The asset is to be deleted so much later.
    Later {
        ms: u64,
    },
}

/// What the work of a call came to.
pub struct Done {
    pub status: StatusCode,
    pub retry_after: Option<HeaderValue>,
    pub body: Payload,
    pub effect: Effect,
}

pub enum Payload {
    Json(Value),
    File(Content),
}

impl Done {
    /// HTTP 200 for something that changed nothing.
    pub fn told(body: Value) -> Self {
        Self::refused(StatusCode::OK, body)
    }

    /// Another status, and nothing changed.
    pub fn refused(status: StatusCode, body: Value) -> Self {
        Self { status, retry_after: None, body: Payload::Json(body), effect: Effect::Nothing }
    }

    /// A refusal that may say when to come again.
    pub fn too_many(status: StatusCode, retry_after: Option<HeaderValue>, body: Value) -> Self {
        Self { retry_after, ..Self::refused(status, body) }
    }

    /// The bytes of an asset.
    pub fn file(content: Content) -> Self {
        Self { status: StatusCode::OK, retry_after: None, body: Payload::File(content), effect: Effect::Nothing }
    }

    /// HTTP 200 for something that changed the world.
    pub fn changed(body: Value) -> Self {
        Self { effect: Effect::Now, ..Self::told(body) }
    }

    /// HTTP 200 for a deletion that is still to come.
    pub fn promised(body: Value, ms: u64) -> Self {
        Self { effect: Effect::Later { ms }, ..Self::told(body) }
    }
}
