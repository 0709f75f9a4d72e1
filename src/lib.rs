//! Deletes a provider's assets irreversibly, on request from RabbitMQ, and proves it. See `ARCHITECTURE.md`.

pub mod contract;
pub mod engine;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod neighbours;
pub mod operator;
pub mod platform;
pub mod settings;
