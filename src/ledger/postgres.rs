//! The ledger in a `PostgreSQL` database, shared by any number of workers.
//!
//! Each verb is one transaction that holds an advisory lock on its request ID from before the row is read until the
//! commit. So two workers that got the same request act one after the other, also when there is no row to lock yet.

mod brake;
mod cases;
mod durability;
mod overview;
mod rows;
mod schema;
mod tombstones;

use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio::time::timeout;
use tokio_postgres::IsolationLevel;

use super::brake::{Braking, Limit};
use super::history;
use super::overview::{Asking, Found};
use super::retention::{Compacted, Span};
use super::state::{Call, Row, Step, Verb};
use super::{Case, Evidence, LedgerError};
use crate::database::{Database, Fault, Object, Role};
use crate::message::id::{AssetId, CaseId, RequestId};
use crate::telemetry::metrics::Metrics;

/// Longest wait of a caller for its answer: a database that died without a word gets here.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What the server itself ends, so that a lock is not kept by a worker that vanished. In milliseconds.
const SERVER_LIMITS: &str = "-c statement_timeout=20000 -c idle_in_transaction_session_timeout=20000";

/// A ledger in a database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    database: Database,
    metrics: Metrics,
}

impl Postgres {
    pub(super) async fn open(url: &str, metrics: Metrics) -> Result<Self, LedgerError> {
        let database = Database::new(url, Role::Ledger, SERVER_LIMITS, ANSWER_LIMIT).map_err(LedgerError::Url)?;
        let opened = Self { database, metrics };
        schema::make_ready(&opened).await?;
        opened.probe().await?;
        Ok(opened)
    }

    pub(super) async fn run<T: Send, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        let id = call.id.clone();
        match timeout(ANSWER_LIMIT, self.transact(call)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(fault)) if fault.is_about_values() => {
                Err(LedgerError::Unreadable { place: self.database.place(), request_id: id, what: fault.told().0 })
            }
            Ok(Err(fault)) => Err(self.unavailable(&fault)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn transact<T, F: Verb<T>>(&self, call: Call<F>) -> Result<Result<T, LedgerError>, Fault> {
        let start = Instant::now();
        let mut client = self.database.get().await?;
        let done = self.transact_on(&mut client, call, start).await;
        Database::give_back(client, done.as_ref().err());
        done
    }

    async fn transact_on<T, F: Verb<T>>(
        &self,
        client: &mut Object,
        call: Call<F>,
        start: Instant,
    ) -> Result<Result<T, LedgerError>, Fault> {
        let Call { id, limit, verb } = call;
        // Dropped without a commit, it is rolled back.
        let mut transaction = client.transaction().await?;
        let mut row = rows::lock_and_load(&transaction, &id).await?;
        let mut counting = None;
        if let Some(limit) = limit {
            let far = brake::deletions_from_afar(&transaction, &limit).await?;
            let deletions = if let Some(deletions) = far {
                deletions
            } else {
                transaction.rollback().await?;
                transaction = client.transaction().await?;
                row = rows::lock_and_load(&transaction, &id).await?;
                brake::deletions(&transaction, &limit).await?
            };
            counting = Some((limit, deletions));
        }
        let is_new = row.is_none();
        let step = match verb(row) {
            Ok(step) => step,
            Err(illegal) => return Ok(Err(LedgerError::illegal(&id, illegal))),
        };
        let Step { write, reply, braked } = step;
        let Some(mut row) = write else { return Ok(Ok(reply)) };
        if let (Some((limit, deletions)), Some(braked)) = (counting, braked) {
            if deletions >= limit.most {
                return Ok(Ok(braked(deletions)));
            }
            brake::count(&transaction, &id, &limit).await?;
        }
        let change = history::append(&id, &mut row);
        rows::store(&transaction, &id, &row, &change, is_new).await?;
        transaction.commit().await?;
        self.metrics.ledger_commit(1, start.elapsed());
        Ok(Ok(reply))
    }

    pub(super) async fn load(&self, id: &RequestId) -> Result<Option<Row>, LedgerError> {
        self.ask(async |client| rows::load(client, id).await).await
    }

    /// The row that says most about the asset.
    pub(super) async fn asset(&self, asset: &AssetId) -> Result<Option<(RequestId, Row)>, LedgerError> {
        self.ask(async |client| rows::strongest(client, asset).await).await
    }

    pub(super) async fn find(&self, key: &str, most: u32) -> Result<Vec<Evidence>, LedgerError> {
        self.ask(async |client| rows::find(client, key, most).await).await
    }

    pub(super) async fn overview(&self, asking: Asking) -> Result<Found, LedgerError> {
        self.ask(async |client| overview::overview(client, &asking).await).await
    }

    pub(super) async fn page(&self, after: &str, most: u32) -> Result<Vec<Evidence>, LedgerError> {
        self.ask(async |client| rows::page(client, after, most).await).await
    }

    pub(super) async fn case(&self, case: &CaseId) -> Result<Option<Case>, LedgerError> {
        self.ask(async |client| cases::load(client, case.as_str()).await).await
    }

    pub(super) async fn miscounted(&self) -> Result<Vec<(String, String, i64)>, LedgerError> {
        self.ask(async |client| cases::miscounted(client).await).await
    }

    pub(super) async fn case_size(&self, case: &CaseId, size: u32) -> Result<u32, LedgerError> {
        self.limited(async |client| cases::size(client, case.as_str(), size).await).await
    }

    pub(super) async fn complete_case(&self, case: &CaseId, event: String) -> Result<Option<String>, LedgerError> {
        self.limited(async |client| cases::complete(client, case.as_str(), &event).await).await
    }

    pub(super) async fn braking(&self, limit: Limit) -> Result<Braking, LedgerError> {
        self.ask(async |client| brake::braking(client, &limit).await).await
    }

    pub(super) async fn release_brake(&self, limit: Limit, now: Timestamp) -> Result<u64, LedgerError> {
        let release = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            let released = brake::release(&transaction, &limit, now).await?;
            transaction.commit().await?;
            Ok(released)
        };
        self.limited(release).await
    }

    pub(super) async fn compact(&self, span: &Span) -> Result<Compacted, LedgerError> {
        let step = async |client: &mut Object| {
            let start = Instant::now();
            let transaction = client.transaction().await?;
            let done = tombstones::compact(&transaction, span).await?;
            transaction.commit().await?;
            if done.requests > 0 {
                self.metrics.ledger_commit(done.requests, start.elapsed());
            }
            Ok(done)
        };
        self.limited(step).await
    }

    /// Reads. All of it is of one moment, however many statements it takes.
    async fn ask<T>(&self, read: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, LedgerError> {
        let in_a_snapshot = async |client: &mut Object| {
            let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
            let transaction = snapshot.start().await?;
            let found = read(&transaction).await?;
            transaction.commit().await?;
            Ok(found)
        };
        self.limited(in_a_snapshot).await
    }

    async fn limited<T>(&self, work: impl AsyncFnOnce(&mut Object) -> Result<T, Fault>) -> Result<T, LedgerError> {
        let done = async {
            let mut client = self.database.get().await?;
            let done = work(&mut client).await;
            Database::give_back(client, done.as_ref().err());
            done
        };
        match timeout(ANSWER_LIMIT, done).await {
            Ok(Err(fault)) if fault.is_about_values() => Err(LedgerError::Corrupt(fault.told().0)),
            Ok(done) => done.map_err(|fault| self.unavailable(&fault)),
            Err(_) => Err(self.silent()),
        }
    }

    pub(super) async fn probe(&self) -> Result<(), LedgerError> {
        let write = "UPDATE asset_eraser.probe SET probes = probes + 1";
        self.limited(async |client| Ok(client.execute(write, &[]).await.map(|_| ())?)).await
    }

    pub(super) async fn durability_warnings(&self) -> Result<Vec<&'static str>, LedgerError> {
        self.ask(async |client| durability::warnings(client).await).await
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
