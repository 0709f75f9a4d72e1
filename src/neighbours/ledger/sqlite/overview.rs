//! The overview out of the file.

use jiff::Timestamp;
use rusqlite::{Connection, Row as Columns};

use super::rows::{self, named, parsed, written};
use crate::neighbours::ledger::overview::{Asking, OPEN, StoreOverview};

pub(super) fn overview(connection: &Connection, asking: Asking) -> rusqlite::Result<StoreOverview> {
    let mut found = StoreOverview::default();
    for state in OPEN {
        // The index is named, or SQLite may walk the whole table instead.
        let count = "SELECT count(*) FROM requests INDEXED BY requests_open WHERE state <> 'decided' AND state = ?1";
        let count: u32 = connection.prepare_cached(count)?.query_row([state.as_str()], |row| row.get(0))?;
        found.counts.push((state, count.into()));
        let oldest = format!(
            "SELECT {} FROM requests INDEXED BY requests_open WHERE state <> 'decided' AND state = ?1
             ORDER BY first_seen LIMIT ?2",
            rows::COLUMNS
        );
        let mut oldest = connection.prepare_cached(&oldest)?;
        let rows = oldest.query_map((state.as_str(), asking.most), named)?;
        found.oldest.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    let decided = "SELECT substr(updated, 1, 16) || ':00Z' AS minute, outcome, count(*) AS requests FROM (
                       SELECT updated, outcome FROM requests INDEXED BY requests_decided
                       WHERE state = 'decided' AND sealed IS NULL AND updated >= ?1 ORDER BY updated DESC LIMIT ?2)
                   GROUP BY minute, outcome";
    let mut decided = connection.prepare_cached(decided)?;
    let rows = decided.query_map((written(asking.since), asking.most_decided), minute)?;
    found.decided = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found)
}

fn minute(columns: &Columns<'_>) -> rusqlite::Result<(Timestamp, String, u64)> {
    let minute = parsed(columns, "minute", |text| text.parse::<Timestamp>().map_err(|error| error.to_string()))?;
    Ok((minute, columns.get("outcome")?, columns.get::<_, u32>("requests")?.into()))
}
