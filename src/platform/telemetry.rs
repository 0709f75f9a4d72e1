//! What the worker tells its operator: numbers ([`metrics`]), lines ([`logging`]) and spans ([`traces`]).
//!
//! Nothing in here decides anything, and nothing in here may ever see a secret.

pub mod logging;
pub mod metrics;
pub mod traces;
