//! Contract: messages, identifiers and the closed sets of reasons, as pure data.

pub(crate) mod json;
pub mod message;
pub mod reasons;
