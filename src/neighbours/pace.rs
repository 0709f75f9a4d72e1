//! How fast, and whether at all. [`intake`](mod@intake) says if the worker may consume, [`circuit`] when the provider or the
//! guard is to be left alone, [`gate`] when the next call may be made. None of it knows the broker, or what a request is.

pub mod circuit;
pub mod gate;
pub mod intake;
pub mod limit;
mod pause;
mod permits;
mod rate;

pub use permits::WorkPermit;
