//! Questions to the file, beside the writer: in WAL mode a reader and the writer do not wait for each other.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::file::{self, Identity};
use super::rows::is_about_values;
use super::{ANSWER_LIMIT, LedgerError};

/// A connection that can only read; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    file: Arc<Path>,
    identity: Identity,
    connection: Arc<Mutex<Connection>>,
}

impl Reader {
    /// For a file that the writer has made ready.
    pub(super) fn open(file: Arc<Path>) -> Result<Self, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&file, flags)
            .and_then(|connection| connection.busy_timeout(file::BUSY_TIMEOUT).map(|()| connection));
        let connection = opened.map_err(|error| file::cannot_open(&file, error.to_string(), file::advice(&error)))?;
        let identity = file::identity(&file)?;
        Ok(Self { file, identity, connection: Arc::new(Mutex::new(connection)) })
    }

    /// Asks. All of the answer is of one moment, and of one after every commit that was answered before.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let answer = async {
            // Waited for here, so that no more than one thread is ever busy or blocked with this.
            let connection = Arc::clone(&self.connection).lock_owned().await;
            let reader = self.clone();
            tokio::task::spawn_blocking(move || reader.ask_now(&connection, read)).await
        };
        match timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            // The question's own panic, raised again where it was asked.
            Ok(Err(ended)) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Ok(Err(ended)) => Err(file::unavailable(&self.file, ended.to_string(), "restart this program")),
            Err(_) => Err(file::silent(&self.file)),
        }
    }

    fn ask_now<T>(
        &self,
        connection: &Connection,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        // What a file says that was taken away is what was true then.
        file::still_there(&self.file, self.identity)?;
        let answer = connection.unchecked_transaction().and_then(|snapshot| {
            let answer = read(&snapshot)?;
            snapshot.commit()?;
            Ok(answer)
        });
        answer.map_err(|error| {
            // One row spoilt by hand is no trouble of all requests.
            if is_about_values(&error) {
                LedgerError::Corrupt(error.to_string())
            } else {
                file::unavailable(&self.file, error.to_string(), file::advice(&error))
            }
        })
    }
}
