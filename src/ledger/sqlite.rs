//! The ledger in an `SQLite` file.
//!
//! One thread owns the connection that writes and does all the work, so no async task ever blocks on the disk. It commits whatever
//! has queued up in one transaction, so many requests share one `fsync`, and answers nobody before that commit.
//! The thread ends when the last handle is dropped.

mod brake;
mod cases;
mod file;
mod reader;
mod rows;
mod tombstones;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use self::file::Identity;
use self::reader::Reader;
use self::rows::{is_about_values, load};
use super::brake::{Braking, Limit};
use super::history;
use super::retention::{Compacted, Span};
use super::state::{Call, Row, Step, Verb};
use super::{Case, Evidence, LedgerError};
use crate::message::id::{AssetId, CaseId, RequestId};
use crate::telemetry::metrics::Metrics;

/// Most changes in one transaction: keeps a commit short, and so the wait of those queued behind it.
const BATCH: usize = 256;
/// Most changes queued; past that, callers wait. More than the most requests a worker handles at once (1000).
const QUEUE: usize = 1024;
/// Longest wait of a caller for its answer. Only a hanging disk gets there, as locks give up much sooner.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for the file to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A handle on the thread that writes the file.
#[derive(Clone, Debug)]
pub struct Sqlite {
    file: Arc<Path>,
    /// Declared before `jobs`, so that it is closed before the writer closes the file for good.
    reader: Reader,
    /// The thread ends when the last clone of this is dropped.
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// Its other end lives as long as the thread keeps the file open.
    ended: watch::Receiver<()>,
    /// Transactions committed so far, to prove that changes share them.
    commits: Arc<AtomicU64>,
}

impl Sqlite {
    pub(super) async fn open(file: PathBuf, metrics: Metrics) -> Result<Self, LedgerError> {
        let file: Arc<Path> = file.into();
        let (jobs, queued) = mpsc::channel(QUEUE);
        let (alive, ended) = watch::channel(());
        let (opened, ready) = oneshot::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let (name, thread) = (file.display().to_string(), thread::Builder::new().name("ledger".to_owned()));
        let (path, counted) = (Arc::clone(&file), Arc::clone(&commits));
        let work = move || {
            match Writer::open(path, metrics, counted) {
                Ok(writer) => {
                    // Nobody waits for it any more when the opening future was dropped; then the queue is closed too.
                    let _ = opened.send(Ok(()));
                    writer.run(queued);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
            drop(alive);
        };
        thread.spawn(work).map_err(|error| LedgerError::Open {
            place: name,
            what: format!("no thread for it: {error}"),
            advice: "raise the limit on threads",
        })?;
        answer(&file, ready).await?;
        let reader = Reader::open(Arc::clone(&file))?;
        Ok(Self { file, reader, jobs, ended, commits })
    }

    pub(super) async fn run<T: Send + 'static, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        let (to, answer) = oneshot::channel();
        let file = Arc::clone(&self.file);
        self.submit(Box::new(Request { file, call: Some(call), reply: None, to }), answer).await
    }

    pub(super) async fn load(&self, id: &RequestId) -> Result<Option<Row>, LedgerError> {
        let id = id.clone();
        self.reader.ask(move |connection| load(connection, &id)).await
    }

    /// The row that says most about the asset.
    pub(super) async fn asset(&self, asset: &AssetId) -> Result<Option<(RequestId, Row)>, LedgerError> {
        let asset = asset.clone();
        self.reader.ask(move |connection| rows::strongest(connection, &asset)).await
    }

    pub(super) async fn find(&self, key: String, most: u32) -> Result<Vec<Evidence>, LedgerError> {
        self.reader.ask(move |connection| rows::find(connection, &key, most)).await
    }

    pub(super) async fn page(&self, after: String, most: u32) -> Result<Vec<Evidence>, LedgerError> {
        self.reader.ask(move |connection| rows::page(connection, &after, most)).await
    }

    pub(super) async fn case(&self, case: &CaseId) -> Result<Option<Case>, LedgerError> {
        let case = case.clone();
        self.reader.ask(move |connection| cases::load(connection, case.as_str())).await
    }

    pub(super) async fn miscounted(&self) -> Result<Vec<(String, String, i64)>, LedgerError> {
        self.reader.ask(cases::miscounted).await
    }

    pub(super) async fn case_size(&self, case: &CaseId, size: u32) -> Result<u32, LedgerError> {
        let case = case.clone();
        self.write(move |connection| cases::size(connection, case.as_str(), size)).await
    }

    pub(super) async fn complete_case(&self, case: &CaseId, event: String) -> Result<Option<String>, LedgerError> {
        let case = case.clone();
        self.write(move |connection| cases::complete(connection, case.as_str(), &event)).await
    }

    pub(super) async fn braking(&self, limit: Limit) -> Result<Braking, LedgerError> {
        self.reader.ask(move |connection| brake::braking(connection, &limit)).await
    }

    pub(super) async fn release_brake(&self, limit: Limit, now: Timestamp) -> Result<u64, LedgerError> {
        self.write(move |connection| brake::release(connection, &limit, now)).await
    }

    pub(super) async fn compact(&self, span: Span) -> Result<Compacted, LedgerError> {
        self.write(move |connection| tombstones::compact(connection, &span).map(|done| (done.clone(), done.requests)))
            .await
    }

    /// Writes; `work` also says how many rows it wrote.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<(T, usize)> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (to, answer) = oneshot::channel();
        self.submit(Box::new(Work { todo: Some(work), reply: None, to }), answer).await
    }

    pub(super) async fn probe(&self) -> Result<(), LedgerError> {
        let (to, answer) = oneshot::channel();
        self.submit(Box::new(Probe { to }), answer).await
    }

    pub(super) async fn close(self) {
        let Self { file, reader, jobs, mut ended, commits } = self;
        drop((reader, jobs));
        // Nothing is ever sent: this ends with the error that the thread has dropped its end.
        if timeout(CLOSE_LIMIT, ended.changed()).await.is_err() {
            tracing::warn!(file = %file.display(), "the ledger is still open in another task; all answered changes are safe");
        }
        tracing::debug!(file = %file.display(), commits = commits.load(Ordering::Relaxed), "ledger closed");
    }

    async fn submit<T>(
        &self,
        job: Box<dyn Job>,
        answer: oneshot::Receiver<Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        match timeout(ANSWER_LIMIT, self.jobs.send(job)).await {
            Ok(Ok(())) => self::answer(&self.file, answer).await,
            Ok(Err(_)) => Err(ended_early(&self.file)),
            Err(_) => Err(file::silent(&self.file)),
        }
    }

    /// Transactions committed so far.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Fails to wait for a change once the thread has closed the file.
    #[cfg(test)]
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }
}

async fn answer<T>(file: &Path, answer: oneshot::Receiver<Result<T, LedgerError>>) -> Result<T, LedgerError> {
    match timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Err(ended_early(file)),
        Err(_) => Err(file::silent(file)),
    }
}

fn ended_early(file: &Path) -> LedgerError {
    file::unavailable(file, "its writer has ended".to_owned(), "restart this program")
}

/// Something to do within a transaction, and somebody to tell when that is durable.
trait Job: Send {
    /// Does it; returns how many rows it wrote. An error spoils the whole transaction.
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize>;
    /// Tells the caller, once the transaction is durable or has failed.
    fn answer(self: Box<Self>, committed: Result<(), LedgerError>);
}

/// The thread's side: the connection and what it reports to.
struct Writer {
    file: Arc<Path>,
    identity: Identity,
    connection: Connection,
    metrics: Metrics,
    commits: Arc<AtomicU64>,
}

impl Writer {
    fn open(file: Arc<Path>, metrics: Metrics, commits: Arc<AtomicU64>) -> Result<Self, LedgerError> {
        let connection = file::open(&file)?;
        let identity = file::identity(&file)?;
        Ok(Self { file, identity, connection, metrics, commits })
    }

    fn run(mut self, mut queued: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = queued.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(job) = queued.try_recv()
            {
                batch.push(job);
            }
            let committed = self.commit(&mut batch);
            if committed.is_err() {
                // Those that queued up meanwhile would each wait for the same lock again: tell them now.
                while let Ok(job) = queued.try_recv() {
                    batch.push(job);
                }
            }
            for job in batch {
                job.answer(committed.clone());
            }
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(file = %self.file.display(), %error, "the ledger was not closed cleanly; nothing is lost");
        }
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
        file::still_there(&self.file, self.identity)?;
        let changes = self
            .transact(batch)
            .map_err(|error| file::unavailable(&self.file, error.to_string(), file::advice(&error)))?;
        if let Some((changes, took)) = changes {
            self.metrics.ledger_commit(changes, took);
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Does the work in one transaction. `None` when there was nothing to write.
    fn transact(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<Option<(usize, Duration)>> {
        let start = Instant::now();
        // IMMEDIATE takes the write lock before the first read, so what is read stays true until the commit even when
        // another process uses the file. Dropped without a commit, the transaction is rolled back.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut changes = 0;
        for job in batch {
            changes += job.work(&transaction)?;
        }
        transaction.commit()?;
        Ok((changes > 0).then(|| (changes, start.elapsed())))
    }
}

/// A verb for one request.
struct Request<T, F> {
    file: Arc<Path>,
    call: Option<Call<F>>,
    /// What to answer if the commit succeeds.
    reply: Option<Result<T, LedgerError>>,
    to: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T: Send, F: Verb<T>> Job for Request<T, F> {
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize> {
        let Some(Call { id, limit, verb }) = self.call.take() else {
            return Ok(0);
        };
        let row = match load(transaction, &id) {
            Ok(row) => row,
            Err(error) if is_about_values(&error) => {
                // One row spoilt by hand must not stop the others.
                let (place, what) = (self.file.display().to_string(), error.to_string());
                self.reply = Some(Err(LedgerError::Unreadable { place, request_id: id, what }));
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let is_new = row.is_none();
        let (changes, reply) = match verb(row) {
            Ok(step) => {
                let (changes, reply) = apply(transaction, &id, step, limit.as_ref(), is_new)?;
                (changes, Ok(reply))
            }
            Err(illegal) => (0, Err(LedgerError::illegal(&id, illegal))),
        };
        self.reply = Some(reply);
        Ok(changes)
    }

    fn answer(self: Box<Self>, committed: Result<(), LedgerError>) {
        answer_with(self.to, self.reply, committed);
    }
}

/// Writes what a step says, unless it begins a deletion and the brake holds; says how many rows that were.
fn apply<T>(
    transaction: &Connection,
    id: &RequestId,
    step: Step<T>,
    limit: Option<&Limit>,
    is_new: bool,
) -> rusqlite::Result<(usize, T)> {
    let Step { write, reply, braked } = step;
    let Some(mut row) = write else { return Ok((0, reply)) };
    let mut changes = 0;
    if let (Some(limit), Some(braked)) = (limit, braked) {
        let deletions = brake::deletions(transaction, limit)?;
        if deletions >= limit.most {
            return Ok((0, braked(deletions)));
        }
        changes += brake::count(transaction, limit)?;
    }
    let change = history::append(id, &mut row);
    let write = if is_new { rows::insert } else { rows::update };
    changes += write(transaction, id, &row)?;
    rows::record(transaction, &change)?;
    // A row is written with a decision once: when it is taken.
    if let (Some(case), Some(decision)) = (&row.case_id, &row.decision) {
        cases::count(transaction, case, &decision.outcome)?;
    }
    Ok((changes, reply))
}

/// Something to write, and what to answer then.
struct Work<T, F> {
    todo: Option<F>,
    reply: Option<Result<T, LedgerError>>,
    to: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T: Send, F: FnOnce(&Connection) -> rusqlite::Result<(T, usize)> + Send> Job for Work<T, F> {
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize> {
        let Some(work) = self.todo.take() else { return Ok(0) };
        match work(transaction) {
            Ok((reply, changes)) => {
                self.reply = Some(Ok(reply));
                Ok(changes)
            }
            // One row spoilt by hand must not stop the others. It was read before anything was written.
            Err(error) if is_about_values(&error) => {
                self.reply = Some(Err(LedgerError::Corrupt(error.to_string())));
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), LedgerError>) {
        answer_with(self.to, self.reply, committed);
    }
}

/// Tells the caller its reply, or why it was not committed.
fn answer_with<T>(
    to: oneshot::Sender<Result<T, LedgerError>>,
    reply: Option<Result<T, LedgerError>>,
    committed: Result<(), LedgerError>,
) {
    let reply = match committed {
        Ok(()) => reply,
        Err(error) => Some(Err(error)),
    };
    if let Some(reply) = reply {
        // A caller that went away has no use for the answer.
        let _ = to.send(reply);
    }
}

/// A write for its own sake.
struct Probe {
    to: oneshot::Sender<Result<(), LedgerError>>,
}

impl Job for Probe {
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize> {
        file::probe(transaction)
    }

    fn answer(self: Box<Self>, committed: Result<(), LedgerError>) {
        let _ = self.to.send(committed);
    }
}
