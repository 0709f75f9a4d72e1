//! How fast, and whether at all: [`line`](mod@line) says if the worker may consume, [`circuit`] when the provider is to be left
//! alone. Both only decide or remember; neither knows the broker or makes a call.

pub mod circuit;
pub mod line;
pub mod pause;
