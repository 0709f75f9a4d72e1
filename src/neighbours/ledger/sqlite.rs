//! The ledger in an `SQLite` file.
//!
//! One thread owns the connection that writes and does all the work, so no async task ever blocks on the disk. It commits whatever
//! has queued up in one transaction, so many requests share one `fsync`, and answers no request before that commit.
//! The thread ends when the last handle is dropped.

mod brake;
mod cases;
mod commands;
mod file;
mod mark;
mod overview;
mod own_row;
mod reader;
mod rows;
mod tombstones;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use uuid::Uuid;

use self::commands::{Probe, QueuedVerb, VerbCommand, VerbReply, Work};
use self::reader::Reader;
use self::rows::load;
use self::writer::Writer;
use super::brake::{BrakeLimit, Braking, Release};
use super::clock::Clock;
use super::overview::{Asking, StoreOverview};
use super::progress::{Acceptance, Progress};
use super::retention::{Compacted, RetentionSpan};
use super::row::Row;
use super::state::{Call, Verb};
use super::{Case, Evidence, LedgerError, OutcomeCounts};
use crate::contract::message::id::{AssetId, CaseId, RequestId};
use crate::platform::telemetry::metrics::Metrics;
use crate::settings::BrakeSettings;

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
    jobs: mpsc::Sender<Box<dyn QueuedVerb>>,
    /// Its other end lives as long as the thread keeps the file open.
    ended: watch::Receiver<()>,
    /// Transactions committed so far, to prove that changes share them.
    commits: Arc<AtomicU64>,
    progress: Progress,
    id: Uuid,
    /// The folder of a private file, removed with the last clone.
    _folder: Option<Arc<TempDir>>,
}

/// Where Linux keeps files in memory.
const IN_MEMORY: &str = "/dev/shm";

/// A folder that no other user may look into.
fn private_folder() -> Result<TempDir, LedgerError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("asset-eraser-ledger.");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(IN_MEMORY).or_else(|_| builder.tempdir()).map_err(|error| LedgerError::Open {
        place: "memory:".to_owned(),
        what: format!("no folder for it: {error}"),
        advice: "let this user write /dev/shm or the folder that TMPDIR names",
    })
}

impl Sqlite {
    /// A ledger that ends with the process, in memory where the system has a place for such files.
    pub(super) async fn open_private(metrics: Metrics) -> Result<Self, LedgerError> {
        let folder = private_folder()?;
        let opened = Self::open(folder.path().join("ledger.db"), metrics).await?;
        Ok(Self { _folder: Some(Arc::new(folder)), ..opened })
    }

    pub(super) async fn open(file: PathBuf, metrics: Metrics) -> Result<Self, LedgerError> {
        let file: Arc<Path> = file.into();
        let (jobs, queued) = mpsc::channel(QUEUE);
        let (alive, ended) = watch::channel(());
        let (opened, ready) = oneshot::channel();
        let (done, answers) = mpsc::unbounded_channel();
        let commits = Arc::new(AtomicU64::new(0));
        let (name, thread) = (file.display().to_string(), thread::Builder::new().name("ledger".to_owned()));
        let progress = Progress::default();
        let (path, counted, remembered) = (Arc::clone(&file), Arc::clone(&commits), progress.clone());
        let work = move || {
            match Writer::open(path, remembered, metrics, counted) {
                Ok((writer, id)) => {
                    // The receiver is gone when the opening future was dropped; then the queue is closed too.
                    let _ = opened.send(Ok(Ok(id)));
                    writer.run(queued, &done);
                }
                Err(error) => {
                    let _ = opened.send(Ok(Err(error)));
                }
            }
            drop(alive);
        };
        thread.spawn(work).map_err(|error| LedgerError::Open {
            place: name,
            what: format!("no thread for it: {error}"),
            advice: "raise the limit on threads",
        })?;
        let id = answer(&file, ready).await?;
        tokio::spawn(writer::tell(answers));
        let reader = Reader::open(Arc::clone(&file))?;
        Ok(Self { file, reader, jobs, ended, commits, progress, id, _folder: None })
    }

    pub(super) async fn run<T: Send + 'static, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        let (to, answer) = oneshot::channel();
        let file = Arc::clone(&self.file);
        self.submit(Box::new(VerbCommand::new(file, call, to)), answer).await
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

    pub(super) async fn overview(&self, asking: Asking) -> Result<StoreOverview, LedgerError> {
        self.reader.ask(move |connection| overview::overview(connection, asking)).await
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

    pub(super) async fn complete_case(
        &self,
        case: &CaseId,
        clock: Clock,
        event: impl FnOnce(&OutcomeCounts, Timestamp) -> String + Send + 'static,
    ) -> Result<Option<String>, LedgerError> {
        let case = case.clone();
        let make = move |counts: &OutcomeCounts| event(counts, clock.time(Timestamp::now()));
        self.write(move |connection| cases::complete(connection, case.as_str(), make)).await
    }

    pub(super) async fn count_conflict(&self, case: &CaseId, message: Uuid, clock: Clock) -> Result<(), LedgerError> {
        let (case, message) = (case.clone(), message.to_string());
        let work = move |connection: &Connection| {
            let now = clock.time(Timestamp::now());
            cases::count_conflict(connection, case.as_str(), &message, now).map(|rows| ((), rows))
        };
        self.write(work).await
    }

    pub(super) async fn heard(&self, id: &RequestId) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(move |connection| rows::heard(connection, &id).map(|rows| ((), rows))).await
    }

    pub(super) async fn latest_decision(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.reader.ask(rows::latest_decision).await
    }

    /// On a connection of its own, as the writer takes nothing while the ledger is set back.
    pub(super) async fn accept(&self) -> Result<Option<Acceptance>, LedgerError> {
        let file = Arc::clone(&self.file);
        let accept = move || {
            let connection = file::open(&file)?;
            own_row::accept(&connection)
                .map_err(|error| file::unavailable(&file, error.to_string(), file::advice(&error)))
        };
        match tokio::task::spawn_blocking(accept).await {
            Ok(accepted) => accepted,
            Err(ended) => Err(file::unavailable(&self.file, ended.to_string(), "restart this program")),
        }
    }

    pub(super) fn set_back(&self) -> Option<String> {
        self.progress.set_back()
    }

    pub(super) const fn id(&self) -> Uuid {
        self.id
    }

    pub(super) async fn braking(&self, brake: &BrakeSettings, clock: Clock) -> Result<Braking, LedgerError> {
        let limit = BrakeLimit::at(brake, clock.time(Timestamp::now()));
        self.reader.ask(move |connection| brake::braking(connection, &limit)).await
    }

    pub(super) async fn release_brake(&self, brake: &BrakeSettings, clock: Clock) -> Result<Release, LedgerError> {
        let at = clock.time(Timestamp::now());
        let limit = BrakeLimit::at(brake, at);
        let deletions = self.write(move |connection| brake::release(connection, &limit, at)).await?;
        Ok(Release { at, deletions })
    }

    pub(super) async fn compact(&self, span: RetentionSpan) -> Result<Compacted, LedgerError> {
        self.write(move |connection| tombstones::compact(connection, &span).map(|done| (done.clone(), done.requests)))
            .await
    }

    /// Writes; `work` also says how many rows it wrote.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<(T, usize)> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (to, answer) = oneshot::channel();
        self.submit(Box::new(Work::new(work, to)), answer).await
    }

    pub(super) async fn probe(&self) -> Result<(), LedgerError> {
        let (to, answer) = oneshot::channel();
        self.submit(Box::new(Probe { to }), answer).await
    }

    pub(super) async fn close(self) {
        let Self { file, reader, jobs, mut ended, commits, .. } = self;
        drop((reader, jobs));
        // Nothing is ever sent: this ends with the error that the thread has dropped its end.
        if timeout(CLOSE_LIMIT, ended.changed()).await.is_err() {
            tracing::warn!(file = %file.display(), "the ledger is still open in another task; all answered changes are safe");
        }
        tracing::debug!(file = %file.display(), commits = commits.load(Ordering::Relaxed), "ledger closed");
    }

    async fn submit<T>(
        &self,
        job: Box<dyn QueuedVerb>,
        answer: oneshot::Receiver<VerbReply<T>>,
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

async fn answer<T>(file: &Path, answer: oneshot::Receiver<VerbReply<T>>) -> Result<T, LedgerError> {
    match timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(Ok(reply))) => reply,
        Ok(Ok(Err(panic))) => std::panic::resume_unwind(panic),
        Ok(Err(_)) => Err(ended_early(file)),
        Err(_) => Err(file::silent(file)),
    }
}

fn ended_early(file: &Path) -> LedgerError {
    file::unavailable(file, "its writer has ended".to_owned(), "restart this program")
}

#[cfg(test)]
mod tests;
