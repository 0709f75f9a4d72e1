//! The ledger in a `PostgreSQL` database, shared by any number of workers.
//!
//! Each verb is one transaction that holds an advisory lock on its request ID from before the row is read until the
//! commit. So two workers that got the same request act one after the other, also when there is no row to lock yet.

mod brake;
mod cases;
mod connections;
mod durability;
mod heard;
mod overview;
mod own_row;
mod rows;
mod schema;
mod tombstones;

use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio::time::timeout;
use uuid::Uuid;

use self::connections::Connections;
use self::heard::Heard;
use super::alone::Alone;
use super::brake::{BrakeLimit, Braking, Release};
use super::clock::Clock;
use super::history;
use super::overview::{Asking, StoreOverview};
use super::progress::Acceptance;
use super::retention::{Compacted, RetentionSpan};
use super::row::Row;
use super::state::{Call, Step, Verb, Write};
use super::{Case, Evidence, LedgerError, OutcomeCounts};
use crate::contract::message::id::{AssetId, CaseId, RequestId};
use crate::platform::postgres::{Database, PooledConnection, PostgresFault, Role};
use crate::platform::telemetry::metrics::Metrics;
use crate::settings::BrakeSettings;

/// Longest wait of a caller for its answer: a database that died without a word gets here.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What the server itself ends, so that a lock is not kept by a worker that vanished.
const SERVER_LIMITS: [(&str, &str); 2] = [("statement_timeout", "20s"), ("idle_in_transaction_session_timeout", "20s")];

/// A ledger in a database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    connections: Connections,
    heard: Heard,
    id: Uuid,
}

impl Postgres {
    pub(super) async fn open(url: &str, metrics: Metrics) -> Result<Self, LedgerError> {
        let limits = SERVER_LIMITS.map(|(name, value)| (name, value.to_owned()));
        let database = Database::new(url, Role::Ledger, &limits, ANSWER_LIMIT).map_err(LedgerError::Url)?;
        let connections = Connections::new(database, metrics);
        schema::make_ready(&connections).await?;
        let shown = async { own_row::shown(&connections.database.get().await?).await };
        let id = shown.await.map_err(|fault| connections.unavailable(&fault))?.id;
        let opened = Self { heard: Heard::start(connections.clone()), connections, id };
        // Commands look at a ledger that was set back, too; a worker asks whether it was.
        match opened.probe().await {
            Ok(()) | Err(LedgerError::WentBack(_)) => Ok(opened),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn run<T: Send, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        match timeout(ANSWER_LIMIT, self.transact(call)).await {
            Ok(done) => done,
            Err(_) => Err(self.connections.silent()),
        }
    }

    async fn transact<T, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        let (id, mut client) = (call.id.clone(), self.connections.current().await?);
        let done = self.apply(call, &mut client).await;
        Database::give_back(client, done.as_ref().err());
        match done {
            Ok(done) => done,
            Err(fault) if fault.is_about_values() => {
                let place = self.connections.database.place();
                Err(LedgerError::Unreadable { place, request_id: id, what: fault.told().0 })
            }
            Err(fault) => Err(self.connections.unavailable(&fault)),
        }
    }

    async fn apply<T, F: Verb<T>>(
        &self,
        call: Call<F>,
        client: &mut PooledConnection,
    ) -> Result<Result<T, LedgerError>, PostgresFault> {
        let Call { id, brake, clock, verb } = call;
        let start = Instant::now();
        // Dropped without a commit, it is rolled back.
        let mut transaction = client.transaction().await?;
        let (mut row, mut now) = rows::lock_and_load(&transaction, &id).await?;
        let mut counting = None;
        if let Some(brake) = brake {
            let mut limit = BrakeLimit::at(&brake, clock.time(now));
            let far = brake::deletions_from_afar(&transaction, &limit).await?;
            let deletions = if let Some(deletions) = far {
                deletions
            } else {
                transaction.rollback().await?;
                transaction = client.transaction().await?;
                (row, now) = rows::lock_and_load(&transaction, &id).await?;
                limit = BrakeLimit::at(&brake, clock.time(now));
                brake::deletions(&transaction, &limit).await?
            };
            counting = Some((limit, deletions));
        }
        let is_new = row.is_none();
        let step = match verb(row, clock.time(now)) {
            Ok(step) => step,
            Err(illegal) => return Ok(Err(LedgerError::illegal(&id, illegal))),
        };
        let Step { write, reply, braked } = step;
        let Some(Write { mut row, entry }) = write else { return Ok(Ok(reply)) };
        if let (Some((limit, deletions)), Some(braked)) = (counting, braked) {
            if deletions >= limit.most {
                return Ok(Ok(braked(deletions)));
            }
            brake::count(&transaction, &id, &limit).await?;
        }
        let change = entry.then(|| history::append(&id, &mut row));
        let (place, commits) = rows::store(&transaction, &id, &row, change.as_ref(), is_new).await?;
        transaction.commit().await?;
        self.connections.committed(place, commits, 1, start);
        Ok(Ok(reply))
    }

    pub(super) async fn load(&self, id: &RequestId) -> Result<Option<Row>, LedgerError> {
        self.connections.ask(async |client| rows::load(client, id).await).await
    }

    /// The row that says most about the asset.
    pub(super) async fn asset(&self, asset: &AssetId) -> Result<Option<(RequestId, Row)>, LedgerError> {
        self.connections.ask(async |client| rows::strongest(client, asset).await).await
    }

    pub(super) async fn find(&self, key: &str, most: u32) -> Result<Vec<Evidence>, LedgerError> {
        self.connections.ask(async |client| rows::find(client, key, most).await).await
    }

    pub(super) async fn overview(&self, asking: Asking) -> Result<StoreOverview, LedgerError> {
        self.connections.ask(async |client| overview::overview(client, &asking).await).await
    }

    pub(super) async fn page(&self, after: &str, most: u32) -> Result<Vec<Evidence>, LedgerError> {
        self.connections.ask(async |client| rows::page(client, after, most).await).await
    }

    pub(super) async fn case(&self, case: &CaseId) -> Result<Option<Case>, LedgerError> {
        self.connections.ask(async |client| cases::load(client, case.as_str()).await).await
    }

    pub(super) async fn miscounted(&self) -> Result<Vec<(String, String, i64)>, LedgerError> {
        self.connections.ask(async |client| cases::miscounted(client).await).await
    }

    pub(super) async fn latest_decision(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.connections.ask(async |client| rows::latest_decision(client).await).await
    }

    pub(super) async fn now(&self) -> Result<Timestamp, LedgerError> {
        self.connections.ask(async |client| rows::now(client).await).await
    }

    pub(super) async fn case_size(&self, case: &CaseId, size: u32) -> Result<u32, LedgerError> {
        self.connections.write(async |client| cases::size(client, case.as_str(), size).await).await
    }

    pub(super) async fn count_conflict(&self, case: &CaseId, message: Uuid) -> Result<(), LedgerError> {
        let message = message.to_string();
        self.connections.write(async |client| cases::count_conflict(client, case.as_str(), &message).await).await
    }

    pub(super) async fn complete_case(
        &self,
        case: &CaseId,
        clock: Clock,
        event: impl FnOnce(&OutcomeCounts, Timestamp) -> String,
    ) -> Result<Option<String>, LedgerError> {
        let complete = async |client: &Transaction<'_>| {
            let now = clock.time(rows::now(client).await?);
            cases::complete(client, case.as_str(), |counts| event(counts, now)).await
        };
        self.connections.write(complete).await
    }

    pub(super) async fn heard(&self, id: &RequestId) -> Result<(), LedgerError> {
        self.heard.record(id).await
    }

    pub(super) async fn braking(&self, brake: &BrakeSettings, clock: Clock) -> Result<Braking, LedgerError> {
        let braking = async |client: &Transaction<'_>| {
            let limit = BrakeLimit::at(brake, clock.time(rows::now(client).await?));
            brake::braking(client, &limit).await
        };
        self.connections.ask(braking).await
    }

    pub(super) async fn release_brake(&self, brake: &BrakeSettings, clock: Clock) -> Result<Release, LedgerError> {
        let release = async |client: &Transaction<'_>| {
            let at = clock.time(rows::now(client).await?);
            let deletions = brake::release(client, &BrakeLimit::at(brake, at), at).await?;
            Ok((Release { at, deletions }, 1))
        };
        self.connections.write(release).await
    }

    pub(super) async fn compact(&self, span: &RetentionSpan) -> Result<Compacted, LedgerError> {
        let step = async |client: &Transaction<'_>| {
            let done = tombstones::compact(client, span).await?;
            Ok((done.clone(), done.requests))
        };
        self.connections.write(step).await
    }

    /// The lock belongs to a transaction that stays open: when the worker dies, the server lets go of it, also where a
    /// pooler keeps the session for others.
    pub(super) async fn place_alone(&self) -> Result<Option<Alone>, LedgerError> {
        let alone = Alone::locking(self.connections.current().await?);
        let locked = alone.lock().await.map_err(|fault| self.connections.unavailable(&fault))?;
        Ok(locked.then_some(alone))
    }

    pub(super) async fn accept(&self) -> Result<Option<Acceptance>, LedgerError> {
        let accept = async { own_row::accept(&self.connections.database.get().await?).await };
        accept.await.map_err(|fault| self.connections.unavailable(&fault))
    }

    pub(super) async fn look(&self) -> Result<(), LedgerError> {
        self.connections.current().await.map(drop)
    }

    pub(super) fn set_back(&self) -> Option<String> {
        self.connections.progress.set_back()
    }

    pub(super) const fn id(&self) -> Uuid {
        self.id
    }

    pub(super) async fn probe(&self) -> Result<(), LedgerError> {
        let write = "UPDATE asset_eraser.probe SET probes = probes + 1";
        let probe = async |client: &Transaction<'_>| {
            client.execute(write, &[]).await?;
            Ok(((), 1))
        };
        self.connections.write(probe).await
    }

    pub(super) async fn durability_warnings(&self) -> Result<Vec<&'static str>, LedgerError> {
        self.connections.ask(async |client| durability::warnings(client).await).await
    }

    pub(super) fn close(self) {
        self.connections.database.close();
    }
}
