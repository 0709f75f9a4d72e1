//! Deletes a provider's assets irreversibly, on request from RabbitMQ, and proves it. See `ARCHITECTURE.md`.

pub mod backup;
pub mod broker;
pub mod cli;
pub mod config;
mod crypto;
pub mod database;
pub mod dead;
pub mod eraser;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
pub mod http;
mod json;
pub mod ledger;
pub mod message;
pub mod pace;
pub mod panics;
pub mod provider;
pub mod reasons;
pub mod retry;
pub mod telemetry;
#[cfg(test)]
mod test_http;
pub mod text;
pub mod worker;
