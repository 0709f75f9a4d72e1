//! The brake's counts. The one writer makes every count exact.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::neighbours::ledger::brake::{BrakeLimit, Braking, Release};

/// How many deletions have begun within the window.
pub(super) fn deletions(connection: &Connection, limit: &BrakeLimit) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT coalesce(sum(deletions), 0) FROM brake_counts WHERE until_ms > ?1")?
        .query_row([limit.past], |columns| columns.get(0))
        .map(whole)
}

/// Counts one; says how many rows were written.
pub(super) fn count(connection: &Connection, limit: &BrakeLimit) -> rusqlite::Result<usize> {
    let in_bucket: i64 = connection
        .prepare_cached(
            "INSERT INTO brake_counts (until_ms, deletions) VALUES (?1, 1)
             ON CONFLICT (until_ms) DO UPDATE SET deletions = deletions + 1 RETURNING deletions",
        )?
        .query_row([limit.bucket], |columns| columns.get(0))?;
    // The worker that begins a bucket removes those that count no more, so that the table is never longer than a window.
    if in_bucket > 1 {
        return Ok(1);
    }
    let past = connection.prepare_cached("DELETE FROM brake_counts WHERE until_ms <= ?1")?.execute([limit.past])?;
    Ok(past + 1)
}

pub(super) fn braking(connection: &Connection, limit: &BrakeLimit) -> rusqlite::Result<Braking> {
    let last_release = connection
        .prepare_cached("SELECT at_ms, deletions FROM brake_releases ORDER BY at_ms DESC LIMIT 1")?
        .query_row([], |columns| {
            let at = Timestamp::from_millisecond(columns.get(0)?).unwrap_or(Timestamp::UNIX_EPOCH);
            Ok(Release { at, deletions: whole(columns.get(1)?) })
        })
        .optional()?;
    Ok(Braking { deletions: deletions(connection, limit)?, last_release })
}

/// How many deletions of the window count no more, and how many rows were written.
pub(super) fn release(connection: &Connection, limit: &BrakeLimit, now: Timestamp) -> rusqlite::Result<(u64, usize)> {
    let released = deletions(connection, limit)?;
    let recorded = i64::try_from(released).unwrap_or(i64::MAX);
    connection
        .prepare_cached("INSERT INTO brake_releases (at_ms, deletions) VALUES (?1, ?2)")?
        .execute([now.as_millisecond(), recorded])?;
    let removed = connection.prepare_cached("DELETE FROM brake_counts")?.execute([])?;
    Ok((released, removed + 1))
}

/// A count is never negative.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
