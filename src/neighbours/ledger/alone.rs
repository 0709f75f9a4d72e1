//! The one place for a request that may be what its workers die of.

use crate::platform::postgres::{Database, PooledConnection, PostgresFault};

/// The advisory lock of the worker that works on a suspect: "aels" in ASCII.
const LOCK: i64 = 0x6165_6c73;
/// A transaction that may last, and keeps no row from being cleaned up as long as it asks for none.
const OPEN_END: &str =
    "START TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0";

/// That no other worker of the ledger works on a suspect, as long as this is held. It ends with the process too.
pub struct Alone(
    /// The connection that has the lock; `None` where the ledger has one worker.
    Option<PooledConnection>,
);

impl Alone {
    /// A ledger with one worker needs no lock.
    pub(super) const fn only_worker() -> Self {
        Self(None)
    }

    /// A connection whose transaction is to have the lock. It is closed when the place is given up.
    pub(super) const fn locking(connection: PooledConnection) -> Self {
        Self(Some(connection))
    }

    /// False if another worker has the lock.
    pub(super) async fn lock(&self) -> Result<bool, PostgresFault> {
        let Some(connection) = &self.0 else { return Ok(true) };
        connection.batch_execute(OPEN_END).await?;
        Ok(connection.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&LOCK]).await?.get(0))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            Database::close_one(connection);
        }
    }
}
