//! Neighbours: one module for each system that the worker talks to. What they share is in lower layers.

pub mod backup;
pub mod broker;
pub mod guard;
pub mod ledger;
pub mod pace;
pub mod provider;
