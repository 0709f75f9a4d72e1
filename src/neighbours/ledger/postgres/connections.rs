//! The connections to the database, and that it is still the ledger that this process has worked with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use tokio::time::timeout;
use tokio_postgres::IsolationLevel;

use super::{ANSWER_LIMIT, own_row};
use crate::neighbours::ledger::LedgerError;
use crate::neighbours::ledger::progress::Progress;
use crate::platform::postgres::{Database, PooledConnection, PostgresFault};
use crate::platform::telemetry::metrics::Metrics;

/// Longest time between two looks at how far the ledger has got: what another worker wrote since the last one is not
/// missed after a failover that lost it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The connections of one process; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub(super) database: Database,
    pub(super) progress: Progress,
    metrics: Metrics,
    /// When the ledger was looked at last, in milliseconds since this process began; 0 for never.
    looked_ms: Arc<AtomicU64>,
}

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Connections {
    pub(super) fn new(database: Database, metrics: Metrics) -> Self {
        Self { database, progress: Progress::default(), metrics, looked_ms: Arc::default() }
    }

    /// A connection. How far the ledger has got is looked at on each new one, and once a second.
    pub(super) async fn any(&self) -> Result<PooledConnection, LedgerError> {
        let mut client = self.database.get().await.map_err(|fault| self.unavailable(&fault))?;
        let new = PooledConnection::metrics(&client).recycle_count == 0;
        if new || self.is_due() || self.progress.set_back().is_some() {
            self.look(&mut client).await.map_err(|fault| self.unavailable(&fault))?;
        }
        Ok(client)
    }

    /// A connection to a ledger that was not set back.
    pub(super) async fn current(&self) -> Result<PooledConnection, LedgerError> {
        let client = self.any().await?;
        self.progress.set_back().map_or(Ok(client), |why| Err(LedgerError::WentBack(why)))
    }

    /// A ledger that was set back says so from then on, to every process.
    async fn look(&self, client: &mut PooledConnection) -> Result<(), PostgresFault> {
        let before = self.progress.seen();
        let shown = own_row::shown(client).await?;
        let accepted = shown.accepted;
        if let Err(why) = self.progress.look(before.as_ref(), shown) {
            own_row::found(client, &why, accepted).await?;
        }
        Ok(())
    }

    /// True for one caller each time.
    fn is_due(&self) -> bool {
        // From 1 on, as 0 is never.
        let now = u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = self.looked_ms.load(Ordering::Relaxed);
        let due = u64::try_from(LOOK_EVERY.as_millis()).unwrap_or(u64::MAX);
        (last == 0 || now.saturating_sub(last) >= due)
            && self.looked_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Reads. All of it is of one moment, however many statements it takes.
    pub(super) async fn ask<T>(
        &self,
        read: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, PostgresFault>,
    ) -> Result<T, LedgerError> {
        let in_a_snapshot = async {
            let mut client = self.any().await?;
            let read = async {
                let snapshot =
                    client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
                let transaction = snapshot.start().await?;
                let found = read(&transaction).await?;
                transaction.commit().await?;
                Ok(found)
            };
            let found = read.await;
            Database::give_back(client, found.as_ref().err());
            found.map_err(|fault| self.failed(&fault))
        };
        timeout(ANSWER_LIMIT, in_a_snapshot).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Writes, in one transaction. `work` also says how many changes it made.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<(T, usize), PostgresFault>,
    ) -> Result<T, LedgerError> {
        let in_a_transaction = async {
            let mut client = self.current().await?;
            let start = Instant::now();
            let write = async {
                let transaction = client.transaction().await?;
                let (done, changes) = work(&transaction).await?;
                if changes > 0 {
                    let (place, commits) = own_row::count(&transaction).await?;
                    transaction.commit().await?;
                    self.committed(place, commits, changes, start);
                }
                Ok(done)
            };
            let done = write.await;
            Database::give_back(client, done.as_ref().err());
            done.map_err(|fault| self.failed(&fault))
        };
        timeout(ANSWER_LIMIT, in_a_transaction).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Remembers a commit.
    pub(super) fn committed(&self, place: (i64, i16), commits: i64, changes: usize, start: Instant) {
        self.progress.committed(place, commits);
        self.metrics.ledger_commit(changes, start.elapsed());
    }

    fn failed(&self, fault: &PostgresFault) -> LedgerError {
        if fault.is_about_values() { LedgerError::Corrupt(fault.told().0) } else { self.unavailable(fault) }
    }

    pub(super) fn unavailable(&self, fault: &PostgresFault) -> LedgerError {
        let (what, advice) = fault.told();
        LedgerError::Unavailable { place: self.database.place(), what, advice }
    }

    pub(super) fn silent(&self) -> LedgerError {
        let what = format!("no answer within {} s", ANSWER_LIMIT.as_secs());
        LedgerError::Unavailable { place: self.database.place(), what, advice: "check the database and the way to it" }
    }
}
