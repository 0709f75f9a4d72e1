//! The thread that writes the file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::commands::QueuedVerb;
use super::file::{self, Identity};
use super::mark::{Mark, PLACE};
use super::own_row;
use crate::neighbours::ledger::LedgerError;
use crate::neighbours::ledger::progress::{Progress, Shown};
use crate::platform::telemetry::metrics::Metrics;

/// Most changes in one transaction: keeps a commit short, and so the wait of those queued behind it.
const BATCH: usize = 256;
/// Shortest time between two commits. Under load more changes share one, and with it a sync and the pages it writes;
/// without load no request waits, as a call to the provider takes longer than this.
const PACE: Duration = Duration::from_millis(1);

/// Jobs that were done in one transaction, and what became of it.
pub(super) type DoneBatch = (Vec<Box<dyn QueuedVerb>>, Result<(), LedgerError>);

/// The thread's side: the connection and what it reports to.
pub(super) struct Writer {
    file: Arc<Path>,
    identity: Identity,
    connection: Connection,
    mark: Mark,
    progress: Progress,
    metrics: Metrics,
    commits: Arc<AtomicU64>,
}

/// Why a batch was not committed.
enum CommitFault {
    Sqlite(rusqlite::Error),
    SetBack(String, i64),
}

impl From<rusqlite::Error> for CommitFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Writer {
    pub(super) fn open(
        file: Arc<Path>,
        progress: Progress,
        metrics: Metrics,
        commits: Arc<AtomicU64>,
    ) -> Result<(Self, Uuid), LedgerError> {
        let connection = file::open(&file)?;
        let identity = file::identity(&file)?;
        let (mark, before) = Mark::open(&file)?;
        let mut writer = Self { file, identity, connection, mark, progress, metrics, commits };
        let shown = own_row::shown(&writer.connection).map_err(|error| writer.unavailable(&error))?;
        let id = shown.id;
        writer.look(before.as_ref(), shown)?;
        Ok((writer, id))
    }

    /// Compares what the ledger shows now with what was seen. A ledger that was set back says so from then on.
    fn look(&mut self, before: Option<&Shown>, shown: Shown) -> Result<(), LedgerError> {
        let (id, accepted, commits) = (shown.id, shown.accepted, shown.commits[&PLACE]);
        match self.progress.look(before, shown) {
            Ok(()) => self.mark.write(id, accepted, commits),
            Err(why) => {
                own_row::found(&self.connection, &why, accepted).map_err(|error| self.unavailable(&error))?;
            }
        }
        Ok(())
    }

    pub(super) fn run(
        mut self,
        mut queued: mpsc::Receiver<Box<dyn QueuedVerb>>,
        done: &mpsc::UnboundedSender<DoneBatch>,
    ) {
        let mut last: Option<Instant> = None;
        while let Some(first) = queued.blocking_recv() {
            if let Some(last) = last {
                thread::sleep(PACE.saturating_sub(last.elapsed()));
            }
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(job) = queued.try_recv()
            {
                batch.push(job);
            }
            // Unwinding rolls the transaction back. Without this thread no request could ever write again.
            let committed = catch_unwind(AssertUnwindSafe(|| self.commit(&mut batch))).unwrap_or_else(|_panic| {
                Err(file::unavailable(&self.file, "a panic while it was written".to_owned(), "report the panic above"))
            });
            if committed.is_err() {
                // Those that queued up meanwhile would each wait for the same lock again: tell them now.
                while let Ok(job) = queued.try_recv() {
                    batch.push(job);
                }
            }
            last = Some(Instant::now());
            // No caller is left to answer when the runtime is gone.
            let _ = done.send((batch, committed));
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(file = %self.file.display(), %error, "the ledger was not closed cleanly; nothing is lost");
        }
    }

    fn commit(&mut self, batch: &mut [Box<dyn QueuedVerb>]) -> Result<(), LedgerError> {
        file::still_there(&self.file, self.identity)?;
        self.not_set_back()?;
        match self.transact(batch) {
            Ok(None) => Ok(()),
            Ok(Some((changes, took, shown))) => {
                self.metrics.ledger_commit(changes, took);
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.mark.write(shown.id, shown.accepted, shown.commits[&PLACE]);
                Ok(())
            }
            Err(CommitFault::Sqlite(error)) => Err(self.unavailable(&error)),
            Err(CommitFault::SetBack(why, accepted)) => {
                own_row::found(&self.connection, &why, accepted).map_err(|error| self.unavailable(&error))?;
                Err(LedgerError::WentBack(why))
            }
        }
    }

    /// Nothing is done with a ledger that was set back, until an operator has accepted that.
    fn not_set_back(&mut self) -> Result<(), LedgerError> {
        if self.progress.set_back().is_none() {
            return Ok(());
        }
        let shown = own_row::shown(&self.connection).map_err(|error| self.unavailable(&error))?;
        self.look(self.progress.seen().as_ref(), shown)?;
        self.progress.set_back().map_or(Ok(()), |why| Err(LedgerError::WentBack(why)))
    }

    /// Does the work in one transaction. `None` when there was nothing to write.
    fn transact(&mut self, batch: &mut [Box<dyn QueuedVerb>]) -> Result<Option<(usize, Duration, Shown)>, CommitFault> {
        let start = Instant::now();
        // IMMEDIATE takes the write lock before the first read, so what is read stays true until the commit even when
        // another process uses the file. Dropped without a commit, the transaction is rolled back.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut changes = 0;
        for job in batch {
            changes += job.work(&transaction)?;
        }
        if changes == 0 {
            transaction.commit()?;
            return Ok(None);
        }
        let shown = own_row::count(&transaction)?;
        let looked = self.progress.look(self.progress.seen().as_ref(), shown.clone());
        looked.map_err(|why| CommitFault::SetBack(why, shown.accepted))?;
        transaction.commit()?;
        Ok(Some((changes, start.elapsed(), shown)))
    }

    fn unavailable(&self, error: &rusqlite::Error) -> LedgerError {
        file::unavailable(&self.file, error.to_string(), file::advice(error))
    }
}

/// Tells the callers. Not the writer's thread: each of them would be woken over the border between two threads, which
/// costs as much as the writing; so only this task is.
pub(super) async fn tell(mut answers: mpsc::UnboundedReceiver<DoneBatch>) {
    while let Some((batch, committed)) = answers.recv().await {
        for job in batch {
            job.answer(committed.clone());
        }
    }
}
