//! Platform: what any service needs, and what knows nothing of assets.

pub(crate) mod crypto;
pub mod panics;
pub mod postgres;
pub mod retry;
pub mod telemetry;
#[cfg(test)]
pub(crate) mod test_http;
pub mod text;
