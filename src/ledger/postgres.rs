//! The ledger in a `PostgreSQL` database, shared by any number of workers.
//!
//! Each verb is one transaction that holds an advisory lock on its request ID from before the row is read until the
//! commit. So two workers that got the same request act one after the other, also when there is no row to lock yet.

mod schema;

use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row as Columns};
use uuid::Uuid;

use super::LedgerError;
use super::state::{Call, Decision, Row, State, Step, Verb};
use crate::database::{Database, Fault, column};
use crate::message::id::{AssetId, RequestId};
use crate::telemetry::metrics::Metrics;

/// Longest wait of a caller for its answer: a database that died without a word gets here.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What the server itself ends, so that a lock is not kept by a worker that vanished. In milliseconds.
const SERVER_LIMITS: &str = "-c statement_timeout=20000 -c idle_in_transaction_session_timeout=20000";

/// Name space of the lock numbers (RFC 9562, version 5). Workers of all releases must agree on it.
const LOCKS: Uuid = Uuid::from_u128(0x3c0d_94a8_5b1e_4f0a_8d27_0e61_b7c4_12f9);

const LOAD: &str = "SELECT asset_id, dry_run, state, attempts, rung, deleting, waited_for, outcome, event,
        (extract(epoch FROM first_seen) * 1000)::bigint AS first_seen,
        (extract(epoch FROM updated) * 1000)::bigint AS updated
    FROM asset_eraser.requests WHERE request_id = $1";

/// In the order of [`super::AssetState`].
const FIND: &str = "SELECT request_id, asset_id, dry_run, state, attempts, rung, deleting, waited_for, outcome, event,
        (extract(epoch FROM first_seen) * 1000)::bigint AS first_seen,
        (extract(epoch FROM updated) * 1000)::bigint AS updated
    FROM asset_eraser.requests WHERE asset_id = $1 AND NOT dry_run
    ORDER BY CASE WHEN outcome IN ('deleted', 'already_absent') THEN 0 WHEN deleting THEN 1
                  WHEN outcome IS NULL THEN 2 ELSE 3 END, asset_eraser.requests.first_seen LIMIT 1";

const INSERT: &str = "INSERT INTO asset_eraser.requests (request_id, state, attempts, rung, deleting, waited_for,
        outcome, event, updated, asset_id, dry_run, request, first_seen)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, timestamptz 'epoch' + $9 * interval '1 millisecond',
        $10, $11, $12, timestamptz 'epoch' + $13 * interval '1 millisecond')";

/// Writes what may change; what was asked and when it was first seen never do.
const UPDATE: &str = "UPDATE asset_eraser.requests SET state = $2, attempts = $3, rung = $4, deleting = $5,
        waited_for = $6, outcome = $7, event = $8, updated = timestamptz 'epoch' + $9 * interval '1 millisecond'
    WHERE request_id = $1";

/// A ledger in a database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    database: Database,
    metrics: Metrics,
}

impl Postgres {
    pub(super) async fn open(url: &str, metrics: Metrics) -> Result<Self, LedgerError> {
        let database = Database::new(url, SERVER_LIMITS, ANSWER_LIMIT).map_err(LedgerError::Url)?;
        let opened = Self { database, metrics };
        schema::make_ready(&opened).await?;
        opened.probe().await?;
        Ok(opened)
    }

    pub(super) async fn run<T: Send, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        let Call { id, verb } = call;
        match timeout(ANSWER_LIMIT, self.transact(&id, verb)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(Fault::Row(what))) => {
                Err(LedgerError::Unreadable { place: self.database.place(), request_id: id, what })
            }
            Ok(Err(fault)) => Err(self.unavailable(&fault)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn transact<T, F: Verb<T>>(&self, id: &RequestId, verb: F) -> Result<Result<T, LedgerError>, Fault> {
        let start = Instant::now();
        let mut client = self.database.get().await?;
        // Dropped without a commit, it is rolled back.
        let transaction = client.transaction().await?;
        let row = lock_and_load(&transaction, id).await?;
        let is_new = row.is_none();
        let step = match verb(row) {
            Ok(step) => step,
            Err(illegal) => return Ok(Err(LedgerError::illegal(id, illegal))),
        };
        let Step { write, reply } = step;
        let Some(row) = write else { return Ok(Ok(reply)) };
        store(&transaction, id, &row, is_new).await?;
        transaction.commit().await?;
        self.metrics.ledger_commit(1, start.elapsed());
        Ok(Ok(reply))
    }

    /// The row that says most about the asset.
    pub(super) async fn asset(&self, asset: &AssetId) -> Result<Option<(RequestId, Row)>, LedgerError> {
        let look = async {
            let client = self.database.get().await?;
            let statement = client.prepare_cached(FIND).await?;
            let found = client.query_opt(&statement, &[&asset.as_str()]).await?;
            found.as_ref().map(|columns| Ok((request_id(columns)?, read(columns)?))).transpose()
        };
        match timeout(ANSWER_LIMIT, look).await {
            Ok(Err(Fault::Row(what))) => {
                Err(LedgerError::Corrupt(format!("a row of asset {} cannot be read: {what}", asset.as_str())))
            }
            Ok(found) => found.map_err(|fault| self.unavailable(&fault)),
            Err(_) => Err(self.silent()),
        }
    }

    pub(super) async fn probe(&self) -> Result<(), LedgerError> {
        let write = async {
            let client = self.database.get().await?;
            client.execute("UPDATE asset_eraser.probe SET probes = probes + 1", &[]).await?;
            Ok(())
        };
        match timeout(ANSWER_LIMIT, write).await {
            Ok(done) => done.map_err(|fault: Fault| self.unavailable(&fault)),
            Err(_) => Err(self.silent()),
        }
    }

    pub(super) fn close(self) {
        self.database.close();
    }

    fn unavailable(&self, fault: &Fault) -> LedgerError {
        let (what, advice) = fault.told();
        LedgerError::Unavailable { place: self.database.place(), what, advice }
    }

    fn silent(&self) -> LedgerError {
        let what = format!("no answer within {} s", ANSWER_LIMIT.as_secs());
        LedgerError::Unavailable { place: self.database.place(), what, advice: "check the database and the way to it" }
    }
}

async fn lock_and_load(transaction: &Transaction<'_>, id: &RequestId) -> Result<Option<Row>, Fault> {
    let lock = transaction.prepare_cached("SELECT pg_advisory_xact_lock($1)").await?;
    let load = transaction.prepare_cached(LOAD).await?;
    let number = i64::from_be_bytes(Uuid::new_v5(&LOCKS, id.as_str().as_bytes()).as_u64_pair().0.to_be_bytes());
    // Sent together, executed in this order: the read sees what the last holder of the lock has committed.
    let (parameter, key): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&number], [&id.as_str()]);
    let (_, columns) = tokio::try_join!(transaction.execute(&lock, &parameter), transaction.query_opt(&load, &key))?;
    columns.as_ref().map(read).transpose()
}

async fn store(transaction: &Transaction<'_>, id: &RequestId, row: &Row, is_new: bool) -> Result<(), Error> {
    let (attempts, rung) = (i64::from(row.attempts), i64::from(row.rung));
    let outcome = row.decision.as_ref().map(|decision| &decision.outcome);
    let event = row.decision.as_ref().map(|decision| &decision.event);
    // As floats, which hold every millisecond exactly until the year 287396: an interval is multiplied by one.
    let (first_seen, updated) = (milliseconds(row.first_seen), milliseconds(row.updated));
    let (id, state) = (id.as_str(), row.state.as_str());
    let mut values: Vec<&(dyn ToSql + Sync)> =
        vec![&id, &state, &attempts, &rung, &row.deleting, &row.waited_for, &outcome, &event, &updated];
    if is_new {
        let asked: [&(dyn ToSql + Sync); 4] = [&row.asset_id, &row.dry_run, &row.request, &first_seen];
        values.extend(asked);
    }
    let statement = transaction.prepare_cached(if is_new { INSERT } else { UPDATE }).await?;
    transaction.execute(&statement, &values).await?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // below 2^53 for every Timestamp
fn milliseconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64
}

fn request_id(columns: &Columns) -> Result<RequestId, Fault> {
    RequestId::parse(column(columns, "request_id")?).map_err(Fault::Row)
}

fn read(columns: &Columns) -> Result<Row, Fault> {
    let number = |name: &str| {
        u32::try_from(column::<i64>(columns, name)?).map_err(|_| Fault::Row(format!("{name} is out of range")))
    };
    let time = |name: &str| {
        Timestamp::from_millisecond(column(columns, name)?).map_err(|error| Fault::Row(format!("{name}: {error}")))
    };
    let state: String = column(columns, "state")?;
    let decision = match (column(columns, "outcome")?, column(columns, "event")?) {
        (Some(outcome), Some(event)) => Some(Decision { outcome, event }),
        _ => None,
    };
    Ok(Row {
        asset_id: column(columns, "asset_id")?,
        dry_run: column(columns, "dry_run")?,
        request: None,
        state: State::parse(&state).ok_or_else(|| Fault::Row(format!("no state is called {state:?}")))?,
        attempts: number("attempts")?,
        rung: number("rung")?,
        deleting: column(columns, "deleting")?,
        waited_for: column(columns, "waited_for")?,
        decision,
        first_seen: time("first_seen")?,
        updated: time("updated")?,
    })
}
