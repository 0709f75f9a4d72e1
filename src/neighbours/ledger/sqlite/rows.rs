//! Rows: read and written.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, named_params};

use crate::contract::message::Proof;
use crate::contract::message::id::{AssetId, RequestId};
use crate::neighbours::ledger::history::Change;
use crate::neighbours::ledger::retention::RetentionSpan;
use crate::neighbours::ledger::row::{BackedUp, Chain, Decision, KeptDetails, Row, State};
use crate::neighbours::ledger::{Evidence, Token};

/// What makes a [`Row`].
pub(super) const COLUMNS: &str =
    "request_id, asset_id, case_id, dry_run, backup_asked, request, state, attempts, attempt, interrupted, contended,
                       rung, deletes, missed, seen, waited_for, backup, outcome, proof, event, heard, sealed, first_seen, updated,
                       entries, chain";

pub(super) fn load(connection: &Connection, id: &RequestId) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM requests WHERE request_id = ?1"))?
        .query_row([id.as_str()], read)
        .optional()
}

/// In the order of [`crate::neighbours::ledger::AssetState`].
pub(super) fn strongest(connection: &Connection, asset: &AssetId) -> rusqlite::Result<Option<(RequestId, Row)>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM requests WHERE asset_id = ?1 AND NOT dry_run
         ORDER BY CASE WHEN proof <> 'unconfirmed' THEN 0 WHEN deletes > 0 THEN 1
                       WHEN outcome IS NULL THEN 2 ELSE 3 END, first_seen LIMIT 1"
    );
    connection.prepare_cached(&sql)?.query_row([asset.as_str()], named).optional()
}

pub(super) fn named(columns: &rusqlite::Row<'_>) -> rusqlite::Result<(RequestId, Row)> {
    Ok((parsed(columns, "request_id", RequestId::parse)?, read(columns)?))
}

pub(super) fn find(connection: &Connection, key: &str, most: u32) -> rusqlite::Result<Vec<Evidence>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM requests WHERE request_id = ?1 OR asset_id = ?1 OR case_id = ?1
         ORDER BY first_seen, request_id LIMIT ?2"
    );
    evidence(connection, &sql, (key, most))
}

/// Up to `most` requests after this one.
pub(super) fn page(connection: &Connection, after: &str, most: u32) -> rusqlite::Result<Vec<Evidence>> {
    let sql = format!("SELECT {COLUMNS} FROM requests WHERE request_id > ?1 ORDER BY request_id LIMIT ?2");
    evidence(connection, &sql, (after, most))
}

pub(super) fn to_compact(connection: &Connection, span: &RetentionSpan) -> rusqlite::Result<Vec<Evidence>> {
    // Named, or SQLite may walk the whole table instead.
    let sql = format!(
        "SELECT {COLUMNS} FROM requests INDEXED BY requests_decided
         WHERE state = 'decided' AND sealed IS NULL AND heard AND (updated, request_id) > (?1, ?2) AND updated < ?3
         ORDER BY updated, request_id LIMIT ?4"
    );
    // Nothing sorts before two empty texts.
    let (at, id) = span.after.as_ref().map_or_else(Default::default, |(at, id)| (written(*at), id.to_string()));
    evidence(connection, &sql, (at, id, written(span.before), span.most))
}

/// Writes a tombstone.
pub(super) fn seal(connection: &Connection, id: &RequestId, row: &Row) -> rusqlite::Result<usize> {
    connection.prepare_cached("DELETE FROM history WHERE request_id = ?1")?.execute([id.as_str()])?;
    let (_, event, sealed) = decision(row);
    connection
        .prepare_cached(
            "UPDATE requests SET request = ?5, waited_for = NULL, seen = 0, backup_asked = NULL, backup = NULL, event = ?2,
                                 sealed = ?3, chain = ?4
             WHERE request_id = ?1",
        )?
        .execute((id.as_str(), event, sealed, &row.chain.head, &row.request))
}

/// When the latest decision was taken that may be compacted.
pub(super) fn latest_decision(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT updated FROM requests INDEXED BY requests_decided
               WHERE state = 'decided' AND sealed IS NULL AND heard ORDER BY updated DESC LIMIT 1";
    let read = |columns: &rusqlite::Row<'_>| time(columns, "updated");
    connection.prepare_cached(sql)?.query_row([], read).optional()
}

/// The broker has confirmed the answer; says how many rows were written.
pub(super) fn heard(connection: &Connection, id: &RequestId) -> rusqlite::Result<usize> {
    let sql = "UPDATE requests SET heard = 1 WHERE request_id = ?1 AND state = 'decided' AND NOT heard";
    connection.prepare_cached(sql)?.execute([id.as_str()])
}

/// What this selects, with all entries.
fn evidence(connection: &Connection, sql: &str, parameters: impl Params) -> rusqlite::Result<Vec<Evidence>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, named)?;
    rows.map(|row| row.and_then(|(id, row)| Ok((id.clone(), row, history(connection, &id)?)))).collect()
}

fn history(connection: &Connection, id: &RequestId) -> rusqlite::Result<Vec<Change>> {
    connection
        .prepare_cached(
            "SELECT request_id, number, at, state, attempts, why, digest, hash
             FROM history WHERE request_id = ?1 ORDER BY number",
        )?
        .query_map([id.as_str()], |columns| {
            Ok(Change {
                request_id: id.clone(),
                number: columns.get("number")?,
                at: time(columns, "at")?,
                state: columns.get("state")?,
                attempts: columns.get("attempts")?,
                why: columns.get("why")?,
                digest: columns.get("digest")?,
                hash: columns.get("hash")?,
            })
        })?
        .collect()
}

/// Only ever added to.
pub(super) fn record(connection: &Connection, change: &Change) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO history (request_id, number, at, state, attempts, why, digest, hash)
             VALUES (:request_id, :number, :at, :state, :attempts, :why, :digest, :hash)",
        )?
        .execute(named_params! {
            ":request_id": change.request_id.as_str(),
            ":number": change.number,
            ":at": written(change.at),
            ":state": change.state,
            ":attempts": change.attempts,
            ":why": change.why,
            ":digest": change.digest,
            ":hash": change.hash,
        })
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let proof = |name: &str| Proof::read(name).ok_or_else(|| format!("no proof is called {name:?}"));
    let proof = row.get::<_, Option<String>>("proof")?.map(|_| parsed(row, "proof", proof)).transpose()?;
    let decision = match (row.get("outcome")?, row.get("event")?, row.get("sealed")?) {
        (Some(outcome), _, Some(sealed)) => Some(Decision { outcome, proof, kept: KeptDetails::Sealed(sealed) }),
        (Some(outcome), Some(event), None) => Some(Decision { outcome, proof, kept: KeptDetails::Event(event) }),
        _ => None,
    };
    let state = |name: &str| State::read(name).ok_or_else(|| format!("no state is called {name:?}"));
    Ok(Row {
        asset_id: row.get("asset_id")?,
        case_id: row.get("case_id")?,
        dry_run: row.get("dry_run")?,
        backup_asked: row.get("backup_asked")?,
        request: row.get("request")?,
        state: parsed(row, "state", state)?,
        attempts: row.get("attempts")?,
        attempt: row.get::<_, Option<i64>>("attempt")?.map(Token),
        interrupted: row.get("interrupted")?,
        contended: row.get("contended")?,
        rung: row.get("rung")?,
        deletes: row.get("deletes")?,
        missed: row.get("missed")?,
        seen: row.get("seen")?,
        waited_for: row.get("waited_for")?,
        backup: row.get::<_, Option<String>>("backup")?.map(|_| parsed(row, "backup", BackedUp::read)).transpose()?,
        decision,
        heard: row.get("heard")?,
        first_seen: time(row, "first_seen")?,
        updated: time(row, "updated")?,
        chain: Chain { entries: row.get("entries")?, head: row.get("chain")? },
    })
}

pub(super) fn time(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    parsed(row, column, |text| text.parse::<Timestamp>().map_err(|error| error.to_string()))
}

pub(super) fn parsed<T>(
    row: &rusqlite::Row<'_>,
    column: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).map_err(|why| {
        let index = row.as_ref().column_index(column).unwrap_or_default();
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, why.into())
    })
}

/// Whether the error is about what one row holds, not about the file.
pub(super) fn is_about_values(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// Outcome, event and seal as the file keeps them: of a tombstone the event is empty, as its schema asks.
fn decision(row: &Row) -> (Option<&str>, Option<&str>, Option<&str>) {
    match &row.decision {
        None => (None, None, None),
        Some(Decision { outcome, kept: KeptDetails::Event(event), .. }) => (Some(outcome), Some(event), None),
        Some(Decision { outcome, kept: KeptDetails::Sealed(sealed), .. }) => (Some(outcome), Some(""), Some(sealed)),
    }
}

fn proof_of(row: &Row) -> Option<&'static str> {
    row.decision.as_ref().and_then(|decision| decision.proof).map(Proof::as_str)
}

pub(super) fn insert(connection: &Connection, id: &RequestId, row: &Row) -> rusqlite::Result<usize> {
    let (outcome, event, _) = decision(row);
    connection
        .prepare_cached(
            "INSERT INTO requests (request_id, asset_id, case_id, dry_run, backup_asked, request, state, attempts,
                                   attempt, interrupted, contended, rung, deletes, missed, seen, waited_for, outcome, proof, event, heard,
                                   first_seen, updated, entries, chain)
             VALUES (:request_id, :asset_id, :case_id, :dry_run, :backup_asked, :request, :state, :attempts, :attempt,
                     :interrupted, :contended, :rung, :deletes, :missed, :seen, :waited_for, :outcome, :proof, :event, :heard, :first_seen,
                     :updated, :entries, :chain)",
        )?
        .execute(named_params! {
            ":request_id": id.as_str(),
            ":asset_id": row.asset_id,
            ":case_id": row.case_id,
            ":dry_run": row.dry_run,
            ":backup_asked": row.backup_asked,
            ":request": row.request,
            ":state": row.state.as_str(),
            ":attempts": row.attempts,
            ":attempt": row.attempt.map(|token| token.0),
            ":interrupted": row.interrupted,
            ":contended": row.contended,
            ":rung": row.rung,
            ":deletes": row.deletes,
            ":missed": row.missed,
            ":seen": row.seen,
            ":waited_for": row.waited_for,
            ":outcome": outcome,
            ":proof": proof_of(row),
            ":event": event,
            ":heard": row.heard,
            ":first_seen": written(row.first_seen),
            ":updated": written(row.updated),
            ":entries": row.chain.entries,
            ":chain": row.chain.head,
        })
}

/// Writes what may change; what was asked and when it was first seen never do.
pub(super) fn update(connection: &Connection, id: &RequestId, row: &Row) -> rusqlite::Result<usize> {
    let (outcome, event, _) = decision(row);
    connection
        .prepare_cached(
            "UPDATE requests SET state = :state, attempts = :attempts, attempt = :attempt, interrupted = :interrupted,
                                 contended = :contended, rung = :rung, deletes = :deletes, missed = :missed, seen = :seen, waited_for = :waited_for,
                                 outcome = :outcome, proof = :proof, event = :event, updated = :updated, entries = :entries,
                                 chain = :chain, backup = :backup
             WHERE request_id = :request_id",
        )?
        .execute(named_params! {
            ":request_id": id.as_str(),
            ":backup": row.backup.as_ref().map(BackedUp::to_json),
            ":state": row.state.as_str(),
            ":attempts": row.attempts,
            ":attempt": row.attempt.map(|token| token.0),
            ":interrupted": row.interrupted,
            ":contended": row.contended,
            ":rung": row.rung,
            ":deletes": row.deletes,
            ":missed": row.missed,
            ":seen": row.seen,
            ":waited_for": row.waited_for,
            ":outcome": outcome,
            ":proof": proof_of(row),
            ":event": event,
            ":updated": written(row.updated),
            ":entries": row.chain.entries,
            ":chain": row.chain.head,
        })
}

/// A time as the file keeps it: always three decimals, so that it sorts as text.
pub(super) fn written(time: Timestamp) -> String {
    format!("{time:.3}")
}
