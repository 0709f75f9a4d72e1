//! Cases: how many requests they have, how many are decided, and the event that says they all are.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use crate::ledger::Case;

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
    let written = connection
        .prepare_cached("INSERT INTO cases (case_id, size) VALUES (?1, ?2) ON CONFLICT (case_id) DO NOTHING")?
        .execute((case, size))?;
    let found = connection
        .prepare_cached("SELECT size FROM cases WHERE case_id = ?1")?
        .query_row([case], |columns| columns.get(0))?;
    Ok((found, written))
}

pub(super) fn load(connection: &Connection, case: &str) -> rusqlite::Result<Option<Case>> {
    let found: Option<(u32, Option<String>)> = connection
        .prepare_cached("SELECT size, event FROM cases WHERE case_id = ?1")?
        .query_row([case], |columns| columns.try_into())
        .optional()?;
    let Some((size, event)) = found else { return Ok(None) };
    let decided: BTreeMap<String, u32> = connection
        .prepare_cached("SELECT outcome, requests FROM case_counts WHERE case_id = ?1")?
        .query_map([case], |columns| columns.try_into())?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Case { size, decided, event }))
}

/// The event on record, this one if there was none (`None` for a case without a size); and how many rows were written.
pub(super) fn complete(connection: &Connection, case: &str, event: &str) -> rusqlite::Result<(Option<String>, usize)> {
    let written = connection
        .prepare_cached("UPDATE cases SET event = ?2 WHERE case_id = ?1 AND event IS NULL")?
        .execute([case, event])?;
    let found = connection
        .prepare_cached("SELECT event FROM cases WHERE case_id = ?1")?
        .query_row([case], |columns| columns.get(0))
        .optional()?;
    Ok((found.flatten(), written))
}

/// Cases with an outcome that was counted another number of times than it stands there, and how many more stand there.
pub(super) fn miscounted(connection: &Connection) -> rusqlite::Result<Vec<(String, String, i64)>> {
    connection
        .prepare(
            "SELECT case_id, outcome, sum(n) FROM (
                 SELECT case_id, outcome, count(*) AS n FROM requests
                 WHERE state = 'decided' AND case_id IS NOT NULL GROUP BY case_id, outcome
                 UNION ALL SELECT case_id, outcome, -requests FROM case_counts)
             GROUP BY case_id, outcome HAVING sum(n) <> 0 ORDER BY case_id, outcome",
        )?
        .query_map([], |columns| columns.try_into())?
        .collect()
}
