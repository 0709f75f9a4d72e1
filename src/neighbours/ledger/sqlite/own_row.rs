//! The row that the ledger has of itself.

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Type;
use uuid::Uuid;

use super::mark::PLACE;
use crate::neighbours::ledger::progress::{Acceptance, Shown};

/// What the ledger shows of itself.
pub(super) fn shown(connection: &Connection) -> rusqlite::Result<Shown> {
    connection.prepare_cached("SELECT id, accepted, set_back, commits FROM ledger")?.query_row([], read)
}

/// Counts a commit; what the ledger shows with it.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<Shown> {
    let sql = "UPDATE ledger SET commits = commits + 1 RETURNING id, accepted, set_back, commits";
    connection.prepare_cached(sql)?.query_row([], read)
}

/// Puts on record that the ledger was set back, for every process; unless an operator has accepted that since it was found,
/// after the acceptance with this number.
pub(super) fn found(connection: &Connection, why: &str, accepted: i64) -> rusqlite::Result<usize> {
    let sql = "UPDATE ledger SET set_back = ?1 WHERE set_back IS NULL AND accepted = ?2";
    connection.prepare_cached(sql)?.execute((why, accepted))
}

/// An operator lets workers go on with it.
pub(super) fn accept(connection: &Connection) -> rusqlite::Result<Option<Acceptance>> {
    let Shown { found: Some(why), accepted, .. } = shown(connection)? else { return Ok(None) };
    // Higher than any before, also than one that the older copy does not know of.
    let accepted = accepted.saturating_add(1).max(Timestamp::now().as_millisecond());
    connection.execute("UPDATE ledger SET accepted = ?1, set_back = NULL", [accepted])?;
    Ok(Some(Acceptance { why, number: accepted }))
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Shown> {
    let id: String = row.get("id")?;
    let id = Uuid::parse_str(&id)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.to_string().into()))?;
    let commits = [(PLACE, row.get("commits")?)].into();
    Ok(Shown { id, accepted: row.get("accepted")?, found: row.get("set_back")?, commits })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn what_was_found_before_an_acceptance_does_not_undo_it() {
        let folder = tempfile::tempdir().unwrap();
        let connection = file::open(&folder.path().join("ledger.db")).unwrap();
        let before = shown(&connection).unwrap().accepted;
        assert_eq!(found(&connection, "it went back", before).unwrap(), 1);
        let accepted = accept(&connection).unwrap().unwrap().number;
        // A worker that had looked before, and only now puts on record what it saw.
        assert_eq!(found(&connection, "it went back", before).unwrap(), 0);
        assert_eq!(shown(&connection).unwrap().found, None);
        assert_eq!(found(&connection, "it went back again", accepted).unwrap(), 1);
    }
}
