//! Cases: how many requests they have, how many are decided, and the event that says they all are.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::rows::written;
use crate::neighbours::ledger::{Case, OutcomeCounts};

/// Counts a request that is decided in this transaction.
pub(super) fn count(connection: &Connection, case: &str, outcome: &str) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO case_counts (case_id, outcome, requests) VALUES (?1, ?2, 1)
             ON CONFLICT (case_id, outcome) DO UPDATE SET requests = requests + 1",
        )?
        .execute([case, outcome])
}

/// The size on record, this one if there was none; and how many rows were written for it.
pub(super) fn size(connection: &Connection, case: &str, size: u32) -> rusqlite::Result<(u32, usize)> {
    let rows = connection
        .prepare_cached("INSERT INTO cases (case_id, size) VALUES (?1, ?2) ON CONFLICT (case_id) DO NOTHING")?
        .execute((case, size))?;
    let found = connection
        .prepare_cached("SELECT size FROM cases WHERE case_id = ?1")?
        .query_row([case], |columns| columns.get(0))?;
    Ok((found, rows))
}

pub(super) fn load(connection: &Connection, case: &str) -> rusqlite::Result<Option<Case>> {
    let found: Option<(u32, Option<String>)> = connection
        .prepare_cached("SELECT size, event FROM cases WHERE case_id = ?1")?
        .query_row([case], |columns| columns.try_into())
        .optional()?;
    let Some((size, event)) = found else { return Ok(None) };
    let decided: OutcomeCounts = connection
        .prepare_cached("SELECT outcome, requests FROM case_counts WHERE case_id = ?1")?
        .query_map([case], |columns| columns.try_into())?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Case { size, decided, event }))
}

/// Counts a message that has no row of its own, once; says how many rows were written.
pub(super) fn count_conflict(
    connection: &Connection,
    case: &str,
    message: &str,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO case_conflicts (case_id, message, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let new = connection.prepare_cached(sql)?.execute((case, message, written(now)))?;
    if new > 0 { Ok(new + count(connection, case, "rejected")?) } else { Ok(0) }
}

/// The event on record, else the one that `event` makes of the outcomes decided first, as many as the case has (`None`
/// for a case without a size); and how many rows were written.
pub(super) fn complete(
    connection: &Connection,
    case: &str,
    event: impl FnOnce(&OutcomeCounts) -> String,
) -> rusqlite::Result<(Option<String>, usize)> {
    let found: Option<(u32, Option<String>)> = connection
        .prepare_cached("SELECT size, event FROM cases WHERE case_id = ?1")?
        .query_row([case], |columns| columns.try_into())
        .optional()?;
    let size = match found {
        None => return Ok((None, 0)),
        Some((_, Some(event))) => return Ok((Some(event), 0)),
        Some((size, None)) => size,
    };
    let event = event(&first_decided(connection, case, size)?);
    let update = "UPDATE cases SET event = ?2 WHERE case_id = ?1";
    let rows = connection.prepare_cached(update)?.execute([case, &event])?;
    Ok((Some(event), rows))
}

/// The outcomes of the first `most` decisions of a case.
fn first_decided(connection: &Connection, case: &str, most: u32) -> rusqlite::Result<OutcomeCounts> {
    connection
        .prepare_cached(
            "SELECT outcome, count(*) FROM (
                 SELECT outcome, updated AS at, request_id AS name FROM requests
                 WHERE case_id = ?1 AND state = 'decided'
                 UNION ALL SELECT 'rejected', at, message FROM case_conflicts WHERE case_id = ?1
                 ORDER BY at, name LIMIT ?2)
             GROUP BY outcome",
        )?
        .query_map((case, most), |columns| columns.try_into())?
        .collect()
}

/// Cases with an outcome that was counted another number of times than it stands there, and how many more stand there.
pub(super) fn miscounted(connection: &Connection) -> rusqlite::Result<Vec<(String, String, i64)>> {
    connection
        .prepare(
            "SELECT case_id, outcome, sum(n) FROM (
                 SELECT case_id, outcome, count(*) AS n FROM requests
                 WHERE state = 'decided' AND case_id IS NOT NULL GROUP BY case_id, outcome
                 UNION ALL SELECT case_id, 'rejected', 1 FROM case_conflicts
                 UNION ALL SELECT case_id, outcome, -requests FROM case_counts)
             GROUP BY case_id, outcome HAVING sum(n) <> 0 ORDER BY case_id, outcome",
        )?
        .query_map([], |columns| columns.try_into())?
        .collect()
}
