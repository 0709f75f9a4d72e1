//! Operator: the command line, and what the worker serves over HTTP. Nothing here calls `DELETE`.

pub mod cli;
pub mod http;
