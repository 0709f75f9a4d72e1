//! Deletes a provider's assets irreversibly, on request from RabbitMQ, and proves it. See `ARCHITECTURE.md`.

pub mod message;
