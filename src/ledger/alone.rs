//! The one place for a request that may be what its workers die of.

use crate::database::{Database, Object};

/// That no other suspect is at work, as long as this is held. It ends with the process too.
#[derive(Debug)]
pub enum Alone {
    /// The ledger has one worker, which sees to it by itself.
    InProcess,
    /// A lock that belongs to this connection to the database.
    Locked(Lock),
}

/// An advisory lock of a connection, which is closed when this is dropped.
pub struct Lock(Option<Object>);

impl Lock {
    pub(super) const fn of(connection: Object) -> Self {
        Self(Some(connection))
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            Database::close_one(connection);
        }
    }
}
