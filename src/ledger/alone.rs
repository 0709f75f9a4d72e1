//! The one place for a request that may be what its workers die of.

use crate::database::{Database, Object};

/// That no other worker of the ledger works on a suspect, as long as this is held. It ends with the process too.
pub struct Alone(
    /// The connection that has the lock; `None` where the ledger has one worker.
    Option<Object>,
);

impl Alone {
    /// A ledger with one worker needs no lock.
    pub(super) const fn only_worker() -> Self {
        Self(None)
    }

    /// The advisory lock of this connection, which is closed when the place is given up.
    pub(super) const fn locked(connection: Object) -> Self {
        Self(Some(connection))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            Database::close_one(connection);
        }
    }
}
