//! The file beside the ledger's that remembers how far the ledger had got: a worker that starts with an older copy of the
//! ledger would not know otherwise.
//!
//! It is written after each commit and never synced: after a power cut it may be behind, and never ahead.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::neighbours::ledger::LedgerError;
use crate::neighbours::ledger::progress::Shown;

/// Where SQLite counts commits: it has one timeline and one writer.
pub(super) const PLACE: (i64, i16) = (0, 0);

/// The open file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    /// Whether the last write failed, so that a failure is logged once.
    failed: bool,
}

impl Mark {
    /// Opens the mark of this ledger file, and reads what it says.
    pub(super) fn open(ledger: &Path) -> Result<(Self, Option<Shown>), LedgerError> {
        let path = path_of(ledger);
        let mut text = String::new();
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.and_then(|mut file| file.read_to_string(&mut text).map(|_| file));
        let file = file.map_err(|error| {
            super::file::cannot_open(&path, error.to_string(), "check that this user may write that file")
        })?;
        Ok((Self { file, path, failed: false }, read(&text)))
    }

    /// Remembers what the ledger shows. A failure weakens a check and breaks no promise, so it is only logged.
    pub(super) fn write(&mut self, id: Uuid, accepted: i64, commits: i64) {
        let text = format!("{id} {accepted:020} {commits:020}\n");
        let written = self.file.rewind().and_then(|()| self.file.write_all(text.as_bytes()));
        if let (Err(error), false) = (&written, self.failed) {
            let file = self.path.display().to_string();
            tracing::warn!(%error, file, "how far the ledger has got was not remembered beside it");
        }
        self.failed = written.is_err();
    }
}

fn path_of(ledger: &Path) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push("-seen");
    path.into()
}

/// What a mark says; `None` for one that was just made or was cut short.
fn read(text: &str) -> Option<Shown> {
    let mut words = text.split_whitespace();
    let mut next = || words.next();
    let id = Uuid::parse_str(next()?).ok()?;
    let (accepted, commits) = (next()?.parse().ok()?, next()?.parse().ok()?);
    Some(Shown { id, accepted, found: None, commits: [(PLACE, commits)].into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_it_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.db");
        let (mut mark, before) = Mark::open(&ledger).unwrap();
        assert_eq!(before, None);
        let id = Uuid::from_u128(7);
        for commits in [1_000, 3] {
            mark.write(id, 2, commits);
        }
        let shown = Shown { id, accepted: 2, found: None, commits: [(PLACE, 3)].into() };
        assert_eq!(Mark::open(&ledger).unwrap().1, Some(shown));
        assert!(folder.path().join("ledger.db-seen").exists());
        assert_eq!(read("7e7f0000 1"), None);
    }
}
