//! What was asked, what was begun, what was decided: the memory that lets a request be handled again after any crash
//! without deleting unasked, losing an answer or answering twice.
//!
//! Every method is durable when it returns `Ok`. After an `Err` the change may or may not be there, and every method
//! may be called again: only the recorded answer of [`Ledger::decide`] may be published, never an intended one.
//! The same holds when a future is dropped before it is ready.

mod answers;
mod backups;
mod brake;
mod error;
mod history;
mod memory;
mod overview;
mod postgres;
pub mod retention;
mod sqlite;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_backups;
#[cfg(test)]
mod tests_brake;
#[cfg(test)]
mod tests_postgres;
#[cfg(test)]
mod tests_sqlite;
#[cfg(test)]
mod tests_tampering;

use std::path::PathBuf;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

pub use self::answers::{Asked, AssetState, Attempt, Begun, Case, Entry, Record, Refused, UsedUp, Verified};
pub use self::brake::{Braking, Deletion, Release};
pub use self::error::LedgerError;
pub use self::history::Change;
pub use self::memory::Memory;
pub use self::overview::{Open, Overview};
pub use self::postgres::Postgres;
use self::retention::{Compacted, Span};
pub use self::sqlite::Sqlite;
use self::state::{Call, Verb};
use crate::message::Backup;
use crate::message::id::{AssetId, CaseId, RequestId};
use crate::telemetry::metrics::Metrics;

/// Where requests are recorded. Clones share one ledger.
#[derive(Clone, Debug)]
pub enum Ledger {
    /// An `SQLite` file, for one worker.
    Sqlite(Sqlite),
    /// A `PostgreSQL` database, for any number of workers.
    Postgres(Postgres),
    /// Nothing outlives the process.
    Memory(Memory),
}

/// Requests checked at once.
const PAGE: u32 = 1_000;

/// A request with its evidence.
type Evidence = (RequestId, state::Row, Vec<Change>);

impl Ledger {
    /// Opens the ledger at `url`, `sqlite://<file>`, `postgres://…` or `memory:`, and makes what is not there.
    ///
    /// # Errors
    /// When the URL is of another kind, or the place cannot be opened, locked or written, or is not such a ledger.
    pub async fn open(url: &SecretString, metrics: Metrics) -> Result<Self, LedgerError> {
        let url = url.expose_secret();
        if url == "memory:" {
            return Ok(Self::Memory(Memory::default()));
        }
        if ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Ok(Self::Postgres(Postgres::open(url, metrics).await?));
        }
        let file = match url.strip_prefix("sqlite://") {
            None => {
                return Err(LedgerError::Url("it must be `sqlite://<file>`, `postgres://…` or `memory:`".to_owned()));
            }
            Some("") => {
                return Err(LedgerError::Url(
                    "no file follows `sqlite://`; example: `sqlite://asset-eraser.db`".to_owned(),
                ));
            }
            // To SQLite this is a private database that vanishes, the opposite of what a file promises.
            Some(":memory:") => {
                return Err(LedgerError::Url("for a ledger that is not kept, write `memory:`".to_owned()));
            }
            Some(file) if file.contains('?') => {
                return Err(LedgerError::Url("`sqlite://<file>` takes no parameters after a `?`".to_owned()));
            }
            Some(file) => PathBuf::from(file),
        };
        Ok(Self::Sqlite(Sqlite::open(file, metrics).await?))
    }

    /// Records that an attempt begins. Counts it if the request is open.
    ///
    /// # Errors
    /// When the ledger cannot be written, or the request's row cannot be read.
    pub async fn begin(&self, asked: Asked, now: Timestamp) -> Result<Begun, LedgerError> {
        let (id, now) = (asked.request_id.clone(), to_millisecond(now));
        self.run(id, move |row| state::begin(row, asked, now)).await
    }

    /// Records that the request waits at step `rung` of the ladder, and what for.
    ///
    /// # Errors
    /// When the ledger cannot be written; when the request was never begun, is decided already, or was begun again since.
    pub async fn put_off(
        &self,
        attempt: &Attempt,
        rung: u32,
        waited_for: &'static str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (number, now) = (attempt.number, to_millisecond(now));
        self.run(attempt.request_id.clone(), move |row| state::put_off(row, number, rung, waited_for, now)).await
    }

    /// Records that a copy of the asset is kept. To be asked before a `DELETE`, so that whatever happens after it, it is
    /// known where the copy is.
    ///
    /// # Errors
    /// When the ledger cannot be written; when the request was never begun, is not being worked on, or was begun again
    /// since.
    pub async fn backed_up(&self, attempt: &Attempt, backup: &Backup, now: Timestamp) -> Result<(), LedgerError> {
        let (number, backup, now) = (attempt.number, backup.clone(), to_millisecond(now));
        self.run(attempt.request_id.clone(), move |row| state::backed_up(row, number, backup, now)).await
    }

    /// Records the final outcome and its event (JSON), unless there is one already, and returns the event on record:
    /// the one to publish.
    ///
    /// # Errors
    /// When the ledger cannot be written; when the request was never begun, or was begun again since and is open.
    pub async fn decide(
        &self,
        attempt: &Attempt,
        outcome: &str,
        event: String,
        now: Timestamp,
    ) -> Result<String, LedgerError> {
        let (number, outcome, now) = (attempt.number, outcome.to_owned(), to_millisecond(now));
        self.run(attempt.request_id.clone(), move |row| state::decide(row, number, outcome, event, now)).await
    }

    /// Records the refusal of a request of which no more than its ID could be read or trusted. Changes nothing when
    /// the ID is known: a bad copy must not decide a good request.
    ///
    /// # Errors
    /// When the ledger cannot be written, or the request's row cannot be read.
    pub async fn refuse(
        &self,
        id: &RequestId,
        case: Option<&CaseId>,
        event: String,
        now: Timestamp,
    ) -> Result<Refused, LedgerError> {
        let (case, now) = (case.cloned(), to_millisecond(now));
        self.run(id.clone(), move |row| state::refuse(row, case, event, now)).await
    }

    /// Records how many requests a case has, unless that is on record, and returns what is.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn case_size(&self, case: &CaseId, size: u32) -> Result<u32, LedgerError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.case_size(case, size).await,
            Self::Postgres(postgres) => postgres.case_size(case, size).await,
            Self::Memory(memory) => Ok(memory.case_size(case, size)),
        }
    }

    /// How far a case is, all that was committed before this call included; `None` while nobody has said how many
    /// requests it has.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn case(&self, case: &CaseId) -> Result<Option<Case>, LedgerError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.case(case).await,
            Self::Postgres(postgres) => postgres.case(case).await,
            Self::Memory(memory) => Ok(memory.case(case)),
        }
    }

    /// Records the event (JSON) that ends a case, unless there is one, and returns the one on record: the one to
    /// publish.
    ///
    /// # Errors
    /// When the ledger cannot be written, or does not know how many requests the case has.
    pub async fn complete_case(&self, case: &CaseId, event: String) -> Result<String, LedgerError> {
        let recorded = match self {
            Self::Sqlite(sqlite) => sqlite.complete_case(case, event).await?,
            Self::Postgres(postgres) => postgres.complete_case(case, event).await?,
            Self::Memory(memory) => memory.complete_case(case, event),
        };
        recorded.ok_or_else(|| LedgerError::corrupt(format!("the size of case {case} is not on record")))
    }

    /// Makes tombstones of decided requests: what was asked, the event and the entries of each are dropped; that it was
    /// decided, when, how, and of which asset stays. One step of [`retention`].
    ///
    /// # Errors
    /// When the ledger cannot be written, or a row cannot be read.
    pub async fn compact(&self, span: Span) -> Result<Compacted, LedgerError> {
        let span = Span { before: to_millisecond(span.before), ..span };
        match self {
            Self::Sqlite(sqlite) => sqlite.compact(span).await,
            Self::Postgres(postgres) => postgres.compact(&span).await,
            Self::Memory(memory) => Ok(memory.compact(&span)),
        }
    }

    /// What is known of a request, all that was committed before this call included.
    ///
    /// # Errors
    /// When the ledger cannot be read, or the request's row cannot.
    pub async fn request(&self, id: &RequestId) -> Result<Option<Entry>, LedgerError> {
        let row = match self {
            Self::Sqlite(sqlite) => sqlite.load(id).await?,
            Self::Postgres(postgres) => postgres.load(id).await?,
            Self::Memory(memory) => memory.load(id),
        };
        Ok(row.map(|row| row.entry(id.clone())))
    }

    /// Where an asset stands, and the request that says so; all that was committed before this call included.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a row of the asset cannot.
    pub async fn asset(&self, asset: &AssetId) -> Result<(AssetState, Option<Entry>), LedgerError> {
        let row = match self {
            Self::Sqlite(sqlite) => sqlite.asset(asset).await?,
            Self::Postgres(postgres) => postgres.asset(asset).await?,
            Self::Memory(memory) => memory.asset(asset),
        };
        let said = row.map(|(id, row)| (state::asset_state(&row), row.entry(id)));
        Ok(match said {
            None | Some((AssetState::Unknown, _)) => (AssetState::Unknown, None),
            Some((state, entry)) => (state, Some(entry)),
        })
    }

    /// The requests of this ID, for this asset, or of this case, the oldest first, each with every change of it; at
    /// most `most`. All of it is of one moment.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a row cannot.
    pub async fn find(&self, key: &str, most: u32) -> Result<Vec<(Entry, Vec<Change>)>, LedgerError> {
        let found = match self {
            Self::Sqlite(sqlite) => sqlite.find(key.to_owned(), most).await?,
            Self::Postgres(postgres) => postgres.find(key, most).await?,
            Self::Memory(memory) => memory.find(key, most),
        };
        let shown = |(id, row, mut changes): Evidence| {
            // Of a tombstone one entry is left, and it stands in the row.
            changes.extend(history::tombstone(&id, &row));
            (row.entry(id), changes)
        };
        Ok(found.into_iter().map(shown).collect())
    }

    /// Checks the evidence of the requests whose IDs follow `after`, a thousand at most: the last ID checked, if any,
    /// and what is wrong with which. Pass that ID to go on.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a row cannot.
    pub async fn verify(&self, after: Option<&RequestId>) -> Result<Option<Verified>, LedgerError> {
        let after = after.map_or("", RequestId::as_str).to_owned();
        let page = match self {
            Self::Sqlite(sqlite) => sqlite.page(after, PAGE).await?,
            Self::Postgres(postgres) => postgres.page(&after, PAGE).await?,
            Self::Memory(memory) => memory.page(&after, PAGE),
        };
        let Some((last, ..)) = page.last() else { return Ok(None) };
        let mut verified = Verified { last: last.clone(), requests: page.len(), entries: 0, problems: Vec::new() };
        for (id, row, changes) in page {
            verified.entries += changes.len();
            verified.problems.extend(history::problem(&id, &row, &changes).map(|what| (id, what)));
        }
        Ok(Some(verified))
    }

    /// The cases of which another number of requests was decided than stands there, and in what: requests were removed
    /// whole, or added by hand.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn verify_cases(&self) -> Result<Vec<(String, String)>, LedgerError> {
        let miscounted = match self {
            Self::Sqlite(sqlite) => sqlite.miscounted().await?,
            Self::Postgres(postgres) => postgres.miscounted().await?,
            Self::Memory(_) => Vec::new(),
        };
        let told = |(case, outcome, more): (String, String, i64)| {
            let what = if more < 0 { "missing" } else { "too many" };
            (case, format!("{} requests with outcome {outcome:?} are {what}", more.unsigned_abs()))
        };
        Ok(miscounted.into_iter().map(told).collect())
    }

    /// Proves that the ledger can be written, by writing.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn probe(&self) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.probe().await,
            Self::Postgres(postgres) => postgres.probe().await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// One sentence for each way in which the place of the ledger may lose a commit that it has answered.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn durability_warnings(&self) -> Result<Vec<&'static str>, LedgerError> {
        match self {
            Self::Postgres(postgres) => postgres.durability_warnings().await,
            Self::Sqlite(_) | Self::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Lets go of this handle and waits, a few seconds at most, until the last write is done and the file closed.
    /// Other clones keep the file open.
    pub async fn close(self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close(),
            Self::Memory(_) => {}
        }
    }

    async fn run<T: Send + 'static, F: Verb<T>>(&self, id: RequestId, verb: F) -> Result<T, LedgerError> {
        self.call(Call { id, limit: None, verb }).await
    }

    async fn call<T: Send + 'static, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.run(call).await,
            Self::Postgres(postgres) => postgres.run(call).await,
            Self::Memory(memory) => memory.run(call),
        }
    }
}

/// What every ledger keeps of a time, so that every ledger answers alike before and after a restart.
fn to_millisecond(time: Timestamp) -> Timestamp {
    // Cannot fail: towards zero there is always a representable time.
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}
