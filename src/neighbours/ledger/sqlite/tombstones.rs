//! Decided requests become tombstones.

use rusqlite::Connection;

use super::rows;
use crate::neighbours::ledger::history;
use crate::neighbours::ledger::retention::{Compacted, RetentionSpan};

/// One step. Evidence that is not as it was written is kept, for an operator to look into.
pub(super) fn compact(connection: &Connection, span: &RetentionSpan) -> rusqlite::Result<Compacted> {
    let mut done = Compacted::default();
    for (id, mut row, changes) in rows::to_compact(connection, span)? {
        done.last = Some((row.updated, id.clone()));
        if let Some(what) = history::problem(&id, &row, &changes) {
            done.kept.push((id, what));
            continue;
        }
        history::seal(&id, &mut row);
        rows::seal(connection, &id, &row)?;
        done.requests += 1;
    }
    Ok(done)
}
