//! The `SQLite` file itself: opened so that a commit is durable, checked to be ours, its schema made.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::neighbours::ledger::LedgerError;

/// What leads from each version to the next; how many there are is the version that this release reads and writes
/// (`PRAGMA user_version`).
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
/// Marks a file as this program's (`PRAGMA application_id`): "aeld" in ASCII.
const APPLICATION_ID: i64 = 0x6165_6c64;
/// How long to wait for another process that holds the lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// What a probe writes, bytes: a request of 64 KiB and its event.
const PROBE_SIZE: i64 = 128 * 1024;
/// Pages (of 4 KiB) in the write-ahead log before they are written back to the file.
const CHECKPOINT: i64 = 8_000;
/// What the write-ahead log is cut back to after a checkpoint, bytes.
const LOG_LIMIT: i64 = 64 * 1024 * 1024;

/// Opens the file, making it if need be, and proves that it can be written.
pub(super) fn open(file: &Path) -> Result<Connection, LedgerError> {
    // Without the URI flag: a name that begins with `file:` is a name.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let cannot = |error: rusqlite::Error| cannot_open(file, error.to_string(), advice(&error));
    let mut connection = Connection::open_with_flags(file, flags).map_err(cannot)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(cannot)?;
    // Looked at before anything is written: a file that is not ours stays as it was.
    content(&connection).map_err(cannot)?.check(file)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(cannot)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let what = format!("it cannot be put into WAL mode (it stays in {mode} mode)");
        return Err(cannot_open(file, what, "keep it on a local disk, not on a network file system"));
    }
    // FULL: a commit returns after the log is synced, so that it survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL").map_err(cannot)?;
    // A page that changes often is written back to the file once for many changes.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT, |_| Ok(())).map_err(cannot)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_LIMIT, |_| Ok(())).map_err(cannot)?;
    make_ready(&mut connection, file, cannot)?;
    Ok(connection)
}

/// Makes the schema in a new file, brings that of an older one up to date, and writes once: `SQLite` opens a file that it may only read without complaint.
fn make_ready(
    connection: &mut Connection,
    file: &Path,
    cannot: impl Fn(rusqlite::Error) -> LedgerError,
) -> Result<(), LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&cannot)?;
    // Again, now under the lock: another process may have been here meanwhile.
    let content = content(&transaction).map_err(&cannot)?;
    content.check(file)?;
    let found = usize::try_from(content.version).unwrap_or(usize::MAX);
    for (migration, version) in MIGRATIONS.iter().zip(1_i64..).skip(found) {
        transaction.execute_batch(migration).map_err(&cannot)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&cannot)?;
        transaction.pragma_update(None, "user_version", version).map_err(&cannot)?;
    }
    probe(&transaction).map_err(&cannot)?;
    transaction.commit().map_err(&cannot)
}

/// Writes for the sake of writing, as much as the biggest request needs.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<usize> {
    connection.prepare_cached("UPDATE probe SET probes = probes + 1, filling = randomblob(?1)")?.execute([PROBE_SIZE])
}

/// What tells whose file this is.
struct Content {
    application_id: i64,
    version: i64,
    /// Tables, indexes and the like.
    objects: i64,
}

fn content(connection: &Connection) -> rusqlite::Result<Content> {
    Ok(Content {
        application_id: connection.pragma_query_value(None, "application_id", |row| row.get(0))?,
        version: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        objects: connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
    })
}

impl Content {
    const fn is_empty(&self) -> bool {
        self.application_id == 0 && self.version == 0 && self.objects == 0
    }

    fn check(&self, file: &Path) -> Result<(), LedgerError> {
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if self.is_empty() {
            Ok(())
        } else if self.application_id != APPLICATION_ID {
            Err(LedgerError::Foreign { place: file.display().to_string() })
        } else if self.version > known {
            Err(LedgerError::Newer { place: file.display().to_string(), found: self.version, known })
        } else if self.version < 1 {
            // No release wrote such a file.
            let what = format!("it has schema version {}, which never existed", self.version);
            Err(cannot_open(file, what, "restore it from a backup"))
        } else {
            Ok(())
        }
    }
}

/// Which file a path leads to (device and inode).
pub(super) type Identity = (u64, u64);

/// Which file the path leads to now.
pub(super) fn identity(file: &Path) -> Result<Identity, LedgerError> {
    #[cfg(unix)]
    fn of(metadata: &std::fs::Metadata) -> Identity {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    }
    // Elsewhere a file in use cannot be taken away.
    #[cfg(not(unix))]
    fn of(_: &std::fs::Metadata) -> Identity {
        (0, 0)
    }
    std::fs::metadata(file)
        .map(|metadata| of(&metadata))
        .map_err(|error: io::Error| unavailable(file, error.to_string(), "check that the file is there"))
}

/// A file taken away stays readable and writable to those who hold it open, and what is in it is lost when they end.
pub(super) fn still_there(file: &Path, identity: Identity) -> Result<(), LedgerError> {
    if self::identity(file).is_ok_and(|now| now == identity) {
        return Ok(());
    }
    let what = "it was moved, deleted or replaced while in use".to_owned();
    Err(unavailable(file, what, "put it back, then restart this program"))
}

pub(super) fn silent(file: &Path) -> LedgerError {
    let what = format!("no answer within {} s", super::ANSWER_LIMIT.as_secs());
    unavailable(file, what, "check that the disk responds")
}

pub(super) fn unavailable(file: &Path, what: String, advice: &'static str) -> LedgerError {
    LedgerError::Unavailable { place: file.display().to_string(), what, advice }
}

pub(super) fn cannot_open(file: &Path, what: String, advice: &'static str) -> LedgerError {
    LedgerError::Open { place: file.display().to_string(), what, advice }
}

/// What to do about an error of `SQLite`'s.
pub(super) fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds it locked: find and end it (a backup, an sqlite3 shell, a second worker)"
        }
        Some(ErrorCode::DiskFull) => "make room on the disk",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "check that its folder exists and that this user may write both the folder and the file"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "restore it from a backup; a file that is not a ledger at all must be moved away"
        }
        _ => "check the disk and its system log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_synced_to_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder.path().join("ledger.db")).unwrap();
        let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!((synchronous, mode.as_str()), (2, "wal"), "2 is FULL");
    }
}
