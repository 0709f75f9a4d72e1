//! Rows: read and written.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row as Columns;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{cases, own_row};
use crate::contract::message::Proof;
use crate::contract::message::id::{AssetId, RequestId};
use crate::neighbours::ledger::history::Change;
use crate::neighbours::ledger::progress::CommitPosition;
use crate::neighbours::ledger::retention::RetentionSpan;
use crate::neighbours::ledger::row::{BackedUp, Chain, Decision, KeptDetails, Row, State};
use crate::neighbours::ledger::{Evidence, Token};
use crate::platform::postgres::{PostgresFault, column};

/// Name space of the lock numbers (RFC 9562, version 5). Workers of all releases must agree on it.
const LOCKS: Uuid = Uuid::from_u128(0x3c0d_94a8_5b1e_4f0a_8d27_0e61_b7c4_12f9);

/// What makes a [`Row`].
pub(super) const COLUMNS: &str =
    "asset_id, case_id, dry_run, backup_asked, request, state, attempts, attempt, interrupted,
        contended, rung, deletes, missed, seen, waited_for, backup, outcome, proof, event, heard, sealed,
        (extract(epoch FROM first_seen) * 1000)::bigint AS first_seen,
        (extract(epoch FROM updated) * 1000)::bigint AS updated, entries, chain";

const INSERT: &str = "INSERT INTO asset_eraser.requests (request_id, state, attempts, attempt, interrupted, contended,
        rung, deletes, missed, waited_for, outcome, event, updated, entries, chain, backup, seen, proof, asset_id, dry_run,
        request, first_seen, case_id, backup_asked)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, timestamptz 'epoch' + $13 * interval '1 millisecond',
        $14, $15, $16, $17, $18, $19, $20, $21, timestamptz 'epoch' + $22 * interval '1 millisecond', $23, $24)";

/// Writes what may change; what was asked and when it was first seen never do.
const UPDATE: &str = "UPDATE asset_eraser.requests SET state = $2, attempts = $3, attempt = $4, interrupted = $5,
        contended = $6, rung = $7, deletes = $8, missed = $9, waited_for = $10, outcome = $11, event = $12,
        updated = timestamptz 'epoch' + $13 * interval '1 millisecond', entries = $14, chain = $15, backup = $16,
        seen = $17, proof = $18
    WHERE request_id = $1";

/// The database server's time, in milliseconds since 1970.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";

/// Only ever added to.
const RECORD: &str = "INSERT INTO asset_eraser.history (request_id, number, at, state, attempts, why, digest, hash)
    VALUES ($1, $2, timestamptz 'epoch' + $3 * interval '1 millisecond', $4, $5, $6, $7, $8)";

fn load_sql() -> String {
    format!("SELECT {COLUMNS} FROM asset_eraser.requests WHERE request_id = $1")
}

pub(super) async fn load(client: &Transaction<'_>, id: &RequestId) -> Result<Option<Row>, PostgresFault> {
    let load = client.prepare_cached(&load_sql()).await?;
    client.query_opt(&load, &[&id.as_str()]).await?.as_ref().map(read).transpose()
}

/// Locks the request until the transaction ends; its row, and the time once the lock was had.
pub(super) async fn lock_and_load(
    transaction: &Transaction<'_>,
    id: &RequestId,
) -> Result<(Option<Row>, Timestamp), PostgresFault> {
    let lock = format!("SELECT {NOW} FROM (SELECT pg_advisory_xact_lock($1)) AS locked");
    let (lock, load) = (transaction.prepare_cached(&lock).await?, transaction.prepare_cached(&load_sql()).await?);
    let number = i64::from_be_bytes(Uuid::new_v5(&LOCKS, id.as_str().as_bytes()).as_u64_pair().0.to_be_bytes());
    // Sent together, executed in this order: the read sees what the last holder of the lock has committed.
    let (parameter, key): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&number], [&id.as_str()]);
    let (locked, columns) = tokio::join!(transaction.query_one(&lock, &parameter), transaction.query_opt(&load, &key));
    // In this order: the error of the first statement is the cause of the second's.
    let now = time(&locked?, "now")?;
    Ok((columns?.as_ref().map(read).transpose()?, now))
}

/// The database server's time.
pub(super) async fn now(client: &Transaction<'_>) -> Result<Timestamp, PostgresFault> {
    let now = client.prepare_cached(&format!("SELECT {NOW}")).await?;
    time(&client.query_one(&now, &[]).await?, "now")
}

/// Writes the row and its newest entry, and counts the commit. The statements are on their way before the first is
/// answered.
pub(super) async fn store(
    transaction: &Transaction<'_>,
    id: &RequestId,
    row: &Row,
    change: Option<&Change>,
    is_new: bool,
) -> Result<(CommitPosition, i64), PostgresFault> {
    let counts = [row.attempts, row.interrupted, row.contended, row.rung, row.deletes, row.missed, row.chain.entries];
    let [attempts, interrupted, contended, rung, deletes, missed, entries] = counts.map(i64::from);
    let attempt = row.attempt.map(|token| token.0);
    // A row is written with a decision once: when it is taken.
    let (outcome, event) = match &row.decision {
        Some(Decision { outcome, kept: KeptDetails::Event(event), .. }) => (Some(outcome), Some(event)),
        // No verb writes a tombstone.
        Some(Decision { kept: KeptDetails::Sealed(_), .. }) | None => (None, None),
    };
    // As floats, which hold every millisecond exactly until the year 287396: an interval is multiplied by one.
    let (first_seen, updated) = (milliseconds(row.first_seen), milliseconds(row.updated));
    let (name, state) = (id.as_str(), row.state.as_str());
    let backup = row.backup.as_ref().map(BackedUp::to_json);
    let proof = row.decision.as_ref().and_then(|decision| decision.proof).map(Proof::as_str);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![
        &name,
        &state,
        &attempts,
        &attempt,
        &interrupted,
        &contended,
        &rung,
        &deletes,
        &missed,
        &row.waited_for,
        &outcome,
        &event,
        &updated,
        &entries,
        &row.chain.head,
        &backup,
        &row.seen,
        &proof,
    ];
    if is_new {
        let asked: [&(dyn ToSql + Sync); 6] =
            [&row.asset_id, &row.dry_run, &row.request, &first_seen, &row.case_id, &row.backup_asked];
        values.extend(asked);
    }
    let statement = transaction.prepare_cached(if is_new { INSERT } else { UPDATE }).await?;
    let stored = async { Ok::<_, PostgresFault>(transaction.execute(&statement, &values).await?) };
    let in_case = async {
        let (Some(case), Some(outcome)) = (&row.case_id, outcome) else { return Ok(()) };
        cases::count(transaction, id.as_str(), case, outcome).await
    };
    let (stored, recorded, in_case, counted) =
        tokio::join!(stored, record(transaction, change), in_case, own_row::count(transaction));
    stored?;
    recorded?;
    in_case?;
    counted
}

/// Only ever added to.
async fn record(transaction: &Transaction<'_>, change: Option<&Change>) -> Result<(), PostgresFault> {
    let Some(change) = change else { return Ok(()) };
    let (number, at, tried) = (i64::from(change.number), milliseconds(change.at), i64::from(change.attempts));
    let name = change.request_id.as_str();
    let entry: [&(dyn ToSql + Sync); 8] =
        [&name, &number, &at, &change.state, &tried, &change.why, &change.digest, &change.hash];
    transaction.execute(&transaction.prepare_cached(RECORD).await?, &entry).await?;
    Ok(())
}

/// The broker has confirmed these answers; also says how many rows were written.
pub(super) async fn heard(transaction: &Transaction<'_>, ids: &[&str]) -> Result<((), usize), PostgresFault> {
    let sql = "UPDATE asset_eraser.requests SET heard = true
               WHERE request_id = ANY($1) AND state = 'decided' AND NOT heard";
    let rows = transaction.execute(&transaction.prepare_cached(sql).await?, &[&ids]).await?;
    Ok(((), usize::try_from(rows).unwrap_or(usize::MAX)))
}

/// When the latest decision was taken that may be compacted.
pub(super) async fn latest_decision(client: &Transaction<'_>) -> Result<Option<Timestamp>, PostgresFault> {
    let sql = "SELECT (extract(epoch FROM updated) * 1000)::bigint AS updated FROM asset_eraser.requests AS r
               WHERE state = 'decided' AND sealed IS NULL AND heard ORDER BY r.updated DESC LIMIT 1";
    let found = client.query_opt(&client.prepare_cached(sql).await?, &[]).await?;
    found.map(|row| time(&row, "updated")).transpose()
}

/// The row that says most about the asset, in the order of [`crate::neighbours::ledger::AssetState`].
pub(super) async fn strongest(
    client: &Transaction<'_>,
    asset: &AssetId,
) -> Result<Option<(RequestId, Row)>, PostgresFault> {
    let sql = format!(
        "SELECT request_id, {COLUMNS} FROM asset_eraser.requests AS r WHERE asset_id = $1 AND NOT dry_run
         ORDER BY CASE WHEN proof <> 'unconfirmed' THEN 0 WHEN deletes > 0 THEN 1
                       WHEN outcome IS NULL THEN 2 ELSE 3 END, r.first_seen LIMIT 1"
    );
    let found = client.query_opt(&client.prepare_cached(&sql).await?, &[&asset.as_str()]).await?;
    found.as_ref().map(named).transpose()
}

pub(super) async fn find(client: &Transaction<'_>, key: &str, most: u32) -> Result<Vec<Evidence>, PostgresFault> {
    let sql = format!(
        "SELECT request_id, {COLUMNS} FROM asset_eraser.requests AS r
         WHERE request_id = $1 OR asset_id = $1 OR case_id = $1 ORDER BY r.first_seen, request_id LIMIT $2"
    );
    evidence(client, &sql, &[&key, &i64::from(most)]).await
}

/// Up to `most` requests after this one.
pub(super) async fn page(client: &Transaction<'_>, after: &str, most: u32) -> Result<Vec<Evidence>, PostgresFault> {
    let sql = format!(
        "SELECT request_id, {COLUMNS} FROM asset_eraser.requests
         WHERE request_id > $1 ORDER BY request_id LIMIT $2"
    );
    evidence(client, &sql, &[&after, &i64::from(most)]).await
}

/// Locks what it finds, and leaves out what another replica has locked: that one compacts it.
pub(super) async fn to_compact(
    transaction: &Transaction<'_>,
    span: &RetentionSpan,
) -> Result<Vec<Evidence>, PostgresFault> {
    let sql = format!(
        "SELECT request_id, {COLUMNS} FROM asset_eraser.requests AS r
         WHERE state = 'decided' AND sealed IS NULL AND heard
             AND (r.updated, request_id) > (timestamptz 'epoch' + $1 * interval '1 millisecond', $2)
             AND r.updated < timestamptz 'epoch' + $3 * interval '1 millisecond'
         ORDER BY r.updated, request_id LIMIT $4 FOR UPDATE SKIP LOCKED"
    );
    // Before every time that a request can have been decided at.
    let first = (Timestamp::UNIX_EPOCH, "");
    let (at, id) = span.after.as_ref().map_or(first, |(at, id)| (*at, id.as_str()));
    let (at, before, most) = (milliseconds(at), milliseconds(span.before), i64::from(span.most));
    evidence(transaction, &sql, &[&at, &id, &before, &most]).await
}

/// Writes tombstones: the ID, the seal, the new hash and the hash of the request of each.
pub(super) async fn seal(
    transaction: &Transaction<'_>,
    ids: &[String],
    seals: &[String],
    heads: &[String],
    requests: &[Option<String>],
) -> Result<(), PostgresFault> {
    let sql = "UPDATE asset_eraser.requests AS r
               SET request = t.request, waited_for = NULL, seen = false, backup_asked = NULL, backup = NULL, event = '', sealed = t.sealed, chain = t.chain
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t (id, sealed, chain, request) WHERE r.request_id = t.id";
    transaction.execute(&transaction.prepare_cached(sql).await?, &[&ids, &seals, &heads, &requests]).await?;
    let sql = "DELETE FROM asset_eraser.history WHERE request_id = ANY($1)";
    transaction.execute(&transaction.prepare_cached(sql).await?, &[&ids]).await?;
    Ok(())
}

/// What this selects, with all entries.
async fn evidence(
    client: &Transaction<'_>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Evidence>, PostgresFault> {
    let rows = client.query(&client.prepare_cached(sql).await?, parameters).await?;
    let rows: Vec<(RequestId, Row)> = rows.iter().map(named).collect::<Result<_, PostgresFault>>()?;
    let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let mut changes: HashMap<RequestId, Vec<Change>> = HashMap::new();
    for change in history(client, &ids).await? {
        changes.entry(change.request_id.clone()).or_default().push(change);
    }
    let own = |(id, row): (RequestId, Row)| {
        let changes = changes.remove(&id).unwrap_or_default();
        (id, row, changes)
    };
    Ok(rows.into_iter().map(own).collect())
}

/// The entries of these requests, those of each in their order.
async fn history(client: &Transaction<'_>, ids: &[&str]) -> Result<Vec<Change>, PostgresFault> {
    let sql =
        "SELECT request_id, number, (extract(epoch FROM at) * 1000)::bigint AS at, state, attempts, why, digest, hash
        FROM asset_eraser.history WHERE request_id = ANY($1) ORDER BY request_id, number";
    let found = client.query(&client.prepare_cached(sql).await?, &[&ids]).await?;
    let change = |columns| {
        Ok(Change {
            request_id: request_id(columns)?,
            number: number(columns, "number")?,
            at: time(columns, "at")?,
            state: column(columns, "state")?,
            attempts: number(columns, "attempts")?,
            why: column(columns, "why")?,
            digest: column(columns, "digest")?,
            hash: column(columns, "hash")?,
        })
    };
    found.iter().map(change).collect()
}

#[allow(clippy::cast_precision_loss)] // below 2^53 for every Timestamp
pub(super) fn milliseconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64
}

fn request_id(columns: &Columns) -> Result<RequestId, PostgresFault> {
    RequestId::parse(column(columns, "request_id")?).map_err(PostgresFault::Row)
}

pub(super) fn named(columns: &Columns) -> Result<(RequestId, Row), PostgresFault> {
    Ok((request_id(columns)?, read(columns)?))
}

fn number(columns: &Columns, name: &str) -> Result<u32, PostgresFault> {
    u32::try_from(column::<i64>(columns, name)?).map_err(|_| PostgresFault::Row(format!("{name} is out of range")))
}

pub(super) fn time(columns: &Columns, name: &str) -> Result<Timestamp, PostgresFault> {
    Timestamp::from_millisecond(column(columns, name)?).map_err(|error| PostgresFault::Row(format!("{name}: {error}")))
}

fn read(columns: &Columns) -> Result<Row, PostgresFault> {
    let state: String = column(columns, "state")?;
    let backup: Option<String> = column(columns, "backup")?;
    let proof: Option<String> = column(columns, "proof")?;
    let known =
        |name: String| Proof::read(&name).ok_or_else(|| PostgresFault::Row(format!("no proof is called {name:?}")));
    let proof = proof.map(known).transpose()?;
    let decision = match (column(columns, "outcome")?, column(columns, "event")?, column(columns, "sealed")?) {
        (Some(outcome), _, Some(sealed)) => Some(Decision { outcome, proof, kept: KeptDetails::Sealed(sealed) }),
        (Some(outcome), Some(event), None) => Some(Decision { outcome, proof, kept: KeptDetails::Event(event) }),
        _ => None,
    };
    Ok(Row {
        asset_id: column(columns, "asset_id")?,
        case_id: column(columns, "case_id")?,
        dry_run: column(columns, "dry_run")?,
        backup_asked: column(columns, "backup_asked")?,
        request: column(columns, "request")?,
        state: State::read(&state).ok_or_else(|| PostgresFault::Row(format!("no state is called {state:?}")))?,
        attempts: number(columns, "attempts")?,
        attempt: column::<Option<i64>>(columns, "attempt")?.map(Token),
        interrupted: number(columns, "interrupted")?,
        contended: number(columns, "contended")?,
        rung: number(columns, "rung")?,
        deletes: number(columns, "deletes")?,
        missed: number(columns, "missed")?,
        seen: column(columns, "seen")?,
        waited_for: column(columns, "waited_for")?,
        backup: backup.as_deref().map(BackedUp::read).transpose().map_err(PostgresFault::Row)?,
        decision,
        heard: column(columns, "heard")?,
        first_seen: time(columns, "first_seen")?,
        updated: time(columns, "updated")?,
        chain: Chain { entries: number(columns, "entries")?, head: column(columns, "chain")? },
    })
}
