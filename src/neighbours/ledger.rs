//! What was asked, what was begun, what was decided: the memory that lets a request be handled again after any crash
//! without deleting unasked, losing an answer or answering twice.
//!
//! Every method is durable when it returns `Ok`. After an `Err` the change may or may not be there, and every method
//! may be called again: only the recorded answer of [`Ledger::decide`] may be published, never an intended one.
//! The same holds when a future is dropped before it is ready.

mod alone;
mod brake;
mod clock;
mod error;
mod history;
mod operations;
mod overview;
mod postgres;
mod progress;
pub mod retention;
mod row;
mod sqlite;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

pub use self::alone::Alone;
pub use self::brake::{Braking, Release};
use self::clock::Clock;
pub use self::error::LedgerError;
pub use self::history::Change;
pub use self::operations::{
    Asked, AssetState, Attempt, Begun, Beside, Case, Deletion, Entry, Past, Record, RefusalRecord, Token, UsedUp,
    Verified,
};
pub use self::overview::{OpenRequests, Overview};
use self::postgres::Postgres;
pub use self::progress::Acceptance;
use self::retention::{Compacted, RetentionSpan};
use self::sqlite::Sqlite;
use self::state::{Call, Verb};
use crate::contract::message::id::{AssetId, CaseId, RequestId};
use crate::contract::message::{Backup, Outcome};
use crate::platform::telemetry::metrics::Metrics;

/// Where requests are recorded. Clones share one ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: LedgerStore,
    clock: Clock,
}

/// What keeps the records.
#[derive(Clone, Debug)]
enum LedgerStore {
    /// An `SQLite` file, for one worker; of `memory:` a private one, which ends with the process.
    Sqlite(Sqlite),
    /// A `PostgreSQL` database, for any number of workers.
    Postgres(Postgres),
}

/// Requests checked at once.
const PAGE: u32 = 1_000;

/// A request with its evidence.
type Evidence = (RequestId, row::Row, Vec<Change>);

/// A case's requests by outcome.
type OutcomeCounts = BTreeMap<String, u32>;

impl Ledger {
    /// Opens the ledger at `url`, `sqlite://<file>`, `postgres://…` or `memory:`, and makes what is not there.
    ///
    /// # Errors
    /// When the URL is of another kind, or the place cannot be opened, locked or written, or is not such a ledger.
    pub async fn open(url: &SecretString, metrics: Metrics) -> Result<Self, LedgerError> {
        let url = url.expose_secret();
        let store = if url == "memory:" {
            LedgerStore::Sqlite(Sqlite::open_private(metrics).await?)
        } else if ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            LedgerStore::Postgres(Postgres::open(url, metrics).await?)
        } else {
            LedgerStore::Sqlite(Sqlite::open(file_of(url)?, metrics).await?)
        };
        Ok(Self { store, clock: Clock::default() })
    }

    /// The same ledger at a time of the test's choice.
    #[cfg(test)]
    pub(super) fn at(&self, now: Timestamp) -> Self {
        Self { store: self.store.clone(), clock: Clock::Fixed(now) }
    }

    /// The random name of this ledger, given when it was made. The IDs of its events are derived from it, since another
    /// ledger may answer a request of the same ID otherwise.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.id(),
            LedgerStore::Postgres(postgres) => postgres.id(),
        }
    }

    /// The time by the ledger's clock.
    ///
    /// # Errors
    /// When the ledger cannot be asked.
    pub async fn now(&self) -> Result<Timestamp, LedgerError> {
        let own = match &self.store {
            LedgerStore::Postgres(postgres) => postgres.now().await?,
            LedgerStore::Sqlite(_) => Timestamp::now(),
        };
        Ok(self.clock.time(own))
    }

    /// Records that an attempt begins. Counts it if the request is open.
    ///
    /// # Errors
    /// When the ledger cannot be written, or the request's row cannot be read.
    pub async fn begin(&self, asked: Asked, beside: Beside) -> Result<Begun, LedgerError> {
        let (id, clock) = (asked.request_id.clone(), self.clock);
        self.run(id, move |row, now| state::begin(row, asked, beside, now, |attempts| clock.token(attempts))).await
    }

    /// The one place for a suspect among all workers of the ledger; `None` while another holds it.
    ///
    /// # Errors
    /// When the ledger cannot be asked.
    pub async fn place_alone(&self) -> Result<Option<Alone>, LedgerError> {
        match &self.store {
            LedgerStore::Postgres(postgres) => postgres.place_alone().await,
            // No other process works with it.
            LedgerStore::Sqlite(_) => Ok(Some(Alone::only_worker())),
        }
    }

    /// Records that the request waits at step `rung` of the ladder, and what for. The attempt ends.
    ///
    /// # Errors
    /// When the ledger cannot be written; when the request was never begun, is decided already, or was begun again since.
    pub async fn put_off(&self, attempt: &Attempt, rung: u32, waited_for: &'static str) -> Result<(), LedgerError> {
        let token = attempt.token;
        self.run(attempt.request_id.clone(), move |row, now| state::put_off(row, token, rung, waited_for, now)).await
    }

    /// Records that the attempt ended without an outcome or a wait, so that it counts as no crash.
    ///
    /// # Errors
    /// As [`Ledger::put_off`].
    pub async fn hand_back(&self, attempt: &Attempt) -> Result<(), LedgerError> {
        let token = attempt.token;
        self.run(attempt.request_id.clone(), move |row, _| state::hand_back(row, token)).await
    }

    /// Records that an attempt has found itself taken over: its worker lives, so it counts as no crash. Says how often in
    /// a row that has happened to the request.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn superseded(&self, request_id: &RequestId) -> Result<u32, LedgerError> {
        self.run(request_id.clone(), |row, _| state::superseded(row)).await
    }

    /// Records that a copy of the asset is kept. To be asked before a `DELETE`, so that whatever happens after it, it is
    /// known where the copy is.
    ///
    /// # Errors
    /// When the ledger cannot be written; when the request was never begun, is not being worked on, or was begun again
    /// since.
    pub async fn backed_up(&self, attempt: &Attempt, backup: &Backup) -> Result<(), LedgerError> {
        let (token, backup) = (attempt.token, backup.clone());
        self.run(attempt.request_id.clone(), move |row, now| state::backed_up(row, token, backup, now)).await
    }

    /// Records that the `DELETE` that [`Ledger::deleting`] has recorded last was not sent, and will not be.
    ///
    /// # Errors
    /// As [`Ledger::put_off`], and when no `DELETE` was recorded last.
    pub async fn not_sent(&self, attempt: &Attempt) -> Result<(), LedgerError> {
        let token = attempt.token;
        self.run(attempt.request_id.clone(), move |row, now| state::not_sent(row, token, now)).await
    }

    /// Records that the provider answered the last `DELETE` with "not found": an asset that is gone then was not
    /// deleted by it.
    ///
    /// # Errors
    /// As [`Ledger::put_off`].
    pub async fn missed(&self, attempt: &Attempt) -> Result<(), LedgerError> {
        let token = attempt.token;
        self.run(attempt.request_id.clone(), move |row, _| state::missed(row, token)).await
    }

    /// Records the final outcome and its event (JSON), unless there is one already, and returns the event on record:
    /// the one to publish. `event` makes it, given the time of the decision.
    ///
    /// # Errors
    /// When the ledger cannot be written; when the request was never begun, or was begun again since and is open.
    pub async fn decide(
        &self,
        attempt: &Attempt,
        outcome: &Outcome,
        event: impl FnOnce(Timestamp) -> String + Send + 'static,
    ) -> Result<String, LedgerError> {
        let (token, outcome) = (attempt.token, (outcome.as_str().to_owned(), outcome.proof()));
        let verb = move |row, now| state::decide(row, token, outcome, event, now);
        self.run(attempt.request_id.clone(), verb).await
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
        event: impl FnOnce(Timestamp) -> String + Send + 'static,
    ) -> Result<RefusalRecord, LedgerError> {
        let case = case.cloned();
        self.run(id.clone(), move |row, now| state::refuse(row, case.as_ref(), event, now)).await
    }

    /// Records that the broker has confirmed a request's answer: only such answers are compacted.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn heard(&self, id: &RequestId) -> Result<(), LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.heard(id).await,
            LedgerStore::Postgres(postgres) => postgres.heard(id).await,
        }
    }

    /// Records how many requests a case has, unless that is on record, and returns what is.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn case_size(&self, case: &CaseId, size: u32) -> Result<u32, LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.case_size(case, size).await,
            LedgerStore::Postgres(postgres) => postgres.case_size(case, size).await,
        }
    }

    /// Counts a rejected message of a case whose request ID was used up outside of it, once for each `message`, a
    /// name derived from all that it says. So the case ends although the message has no row of its own.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn count_conflict(&self, case: &CaseId, message: Uuid) -> Result<(), LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.count_conflict(case, message, self.clock).await,
            LedgerStore::Postgres(postgres) => postgres.count_conflict(case, message).await,
        }
    }

    /// How far a case is, all that was committed before this call included; `None` while it is not on record how many
    /// requests it has.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn case(&self, case: &CaseId) -> Result<Option<Case>, LedgerError> {
        let found = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.case(case).await?,
            LedgerStore::Postgres(postgres) => postgres.case(case).await?,
        };
        self.not_set_back().map(|()| found)
    }

    /// Records the event (JSON) that ends a case, unless there is one, and returns the one on record: the one to
    /// publish. `event` makes it of the outcomes of the requests that were decided first, exactly as many as the case
    /// has, and of the time.
    ///
    /// # Errors
    /// When the ledger cannot be written, or does not know how many requests the case has.
    pub async fn complete_case(
        &self,
        case: &CaseId,
        event: impl FnOnce(&OutcomeCounts, Timestamp) -> String + Send + 'static,
    ) -> Result<String, LedgerError> {
        let clock = self.clock;
        let recorded = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.complete_case(case, clock, event).await?,
            LedgerStore::Postgres(postgres) => postgres.complete_case(case, clock, event).await?,
        };
        recorded.ok_or_else(|| LedgerError::corrupt(format!("the size of case {case} is not on record")))
    }

    /// Makes tombstones of decided requests: what was asked, the event and the entries of each are dropped; that it was
    /// decided, when, how, and of which asset stays. One step of [`retention`].
    ///
    /// # Errors
    /// When the ledger cannot be written, or a row cannot be read.
    pub async fn compact(&self, span: RetentionSpan) -> Result<Compacted, LedgerError> {
        let span = RetentionSpan { before: clock::to_millisecond(span.before), ..span };
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.compact(span).await,
            LedgerStore::Postgres(postgres) => postgres.compact(&span).await,
        }
    }

    /// When the latest of the decisions was taken that may be compacted.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn latest_decision(&self) -> Result<Option<Timestamp>, LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.latest_decision().await,
            LedgerStore::Postgres(postgres) => postgres.latest_decision().await,
        }
    }

    /// Lets workers go on with the ledger as it is, although it shows less than they have seen; `None` when no worker has
    /// found that.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn accept(&self) -> Result<Option<Acceptance>, LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.accept().await,
            LedgerStore::Postgres(postgres) => postgres.accept().await,
        }
    }

    /// Looks how far the ledger has got, and remembers that, also what other workers have written.
    ///
    /// # Errors
    /// When the ledger cannot be asked, or was set back.
    pub async fn look(&self) -> Result<(), LedgerError> {
        match &self.store {
            LedgerStore::Postgres(postgres) => postgres.look().await,
            // No other process writes but commands, and the writer looks at each commit.
            LedgerStore::Sqlite(_) => self.not_set_back(),
        }
    }

    /// Why the ledger is not what it was, as far as this process knows; `None` when it is.
    #[must_use]
    pub fn set_back(&self) -> Option<String> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.set_back(),
            LedgerStore::Postgres(postgres) => postgres.set_back(),
        }
    }

    /// What a ledger that was set back says is not what is on record: a promise must not rest on it. To be asked after the
    /// ledger was read, as reading it may find that.
    fn not_set_back(&self) -> Result<(), LedgerError> {
        self.set_back().map_or(Ok(()), |why| Err(LedgerError::WentBack(why)))
    }

    /// What is known of a request, all that was committed before this call included.
    ///
    /// # Errors
    /// When the ledger cannot be read, or the request's row cannot.
    pub async fn request(&self, id: &RequestId) -> Result<Option<Entry>, LedgerError> {
        let row = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.load(id).await?,
            LedgerStore::Postgres(postgres) => postgres.load(id).await?,
        };
        self.not_set_back()?;
        Ok(row.map(|row| row.entry(id.clone())))
    }

    /// Where an asset stands, and the request that says so; all that was committed before this call included.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a row of the asset cannot.
    pub async fn asset(&self, asset: &AssetId) -> Result<(AssetState, Option<Entry>), LedgerError> {
        let row = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.asset(asset).await?,
            LedgerStore::Postgres(postgres) => postgres.asset(asset).await?,
        };
        self.not_set_back()?;
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
        let found = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.find(key.to_owned(), most).await?,
            LedgerStore::Postgres(postgres) => postgres.find(key, most).await?,
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
        let page = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.page(after, PAGE).await?,
            LedgerStore::Postgres(postgres) => postgres.page(&after, PAGE).await?,
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
        let miscounted = match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.miscounted().await?,
            LedgerStore::Postgres(postgres) => postgres.miscounted().await?,
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
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.probe().await,
            LedgerStore::Postgres(postgres) => postgres.probe().await,
        }
    }

    /// One sentence for each way in which the place of the ledger may lose a commit that it has answered.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn durability_warnings(&self) -> Result<Vec<&'static str>, LedgerError> {
        match &self.store {
            LedgerStore::Postgres(postgres) => postgres.durability_warnings().await,
            LedgerStore::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// Lets go of this handle and waits, a few seconds at most, until the last write is done and the file closed.
    /// Other clones keep the file open.
    pub async fn close(self) {
        match self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.close().await,
            LedgerStore::Postgres(postgres) => postgres.close(),
        }
    }

    async fn run<T: Send + 'static, F: Verb<T>>(&self, id: RequestId, verb: F) -> Result<T, LedgerError> {
        self.call(Call { id, brake: None, clock: self.clock, verb }).await
    }

    async fn call<T: Send + 'static, F: Verb<T>>(&self, call: Call<F>) -> Result<T, LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.run(call).await,
            LedgerStore::Postgres(postgres) => postgres.run(call).await,
        }
    }
}

/// The file that an `SQLite` URL names.
fn file_of(url: &str) -> Result<PathBuf, LedgerError> {
    let rule = match url.strip_prefix("sqlite://") {
        None => "it must be `sqlite://<file>`, `postgres://…` or `memory:`",
        Some("") => "no file follows `sqlite://`; example: `sqlite://asset-eraser.db`",
        // To SQLite this is a private database that vanishes, the opposite of what a file promises.
        Some(":memory:") => "for a ledger that is not kept, write `memory:`",
        Some(file) if file.contains('?') => "`sqlite://<file>` takes no parameters after a `?`",
        Some(file) => return Ok(PathBuf::from(file)),
    };
    Err(LedgerError::Url(rule.to_owned()))
}
