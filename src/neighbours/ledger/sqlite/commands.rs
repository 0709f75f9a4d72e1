//! What the writing thread is given to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::rows::{is_about_values, load};
use super::{brake, cases, file, rows};
use crate::contract::message::id::RequestId;
use crate::neighbours::ledger::brake::BrakeLimit;
use crate::neighbours::ledger::state::{Call, Step, Verb, Write};
use crate::neighbours::ledger::{LedgerError, history};

/// What a caller is told: the reply, or the panic over its own question. That is raised again where it was asked, so
/// that it is that request's, and the thread lives on for the others.
pub(super) type VerbReply<T> = thread::Result<Result<T, LedgerError>>;

/// Something to do within a transaction, and the caller to answer when that is durable.
pub(super) trait QueuedVerb: Send {
    /// Does it; returns how many rows it wrote. An error spoils the whole transaction.
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize>;
    /// Tells the caller, once the transaction is durable or has failed.
    fn answer(self: Box<Self>, committed: Result<(), LedgerError>);
}

/// A verb for one request.
pub(super) struct VerbCommand<T, F> {
    file: Arc<Path>,
    call: Option<Call<F>>,
    /// What to answer if the commit succeeds.
    reply: Option<VerbReply<T>>,
    to: oneshot::Sender<VerbReply<T>>,
}

impl<T, F> VerbCommand<T, F> {
    pub(super) fn new(file: Arc<Path>, call: Call<F>, to: oneshot::Sender<VerbReply<T>>) -> Self {
        Self { file, call: Some(call), reply: None, to }
    }
}

impl<T: Send, F: Verb<T>> QueuedVerb for VerbCommand<T, F> {
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize> {
        let Some(Call { id, brake, clock, verb }) = self.call.take() else {
            return Ok(0);
        };
        let now = clock.time(Timestamp::now());
        let limit = brake.map(|brake| BrakeLimit::at(&brake, now));
        let row = match load(transaction, &id) {
            Ok(row) => row,
            Err(error) if is_about_values(&error) => {
                // One row spoilt by hand must not stop the others.
                let (place, what) = (self.file.display().to_string(), error.to_string());
                self.reply = Some(Ok(Err(LedgerError::Unreadable { place, request_id: id, what })));
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let is_new = row.is_none();
        // It decides and writes nothing, so nothing is half done when it panics.
        let (changes, reply) = match catch_unwind(AssertUnwindSafe(|| verb(row, now))) {
            Ok(Ok(step)) => {
                let (changes, reply) = apply(transaction, &id, step, limit.as_ref(), is_new)?;
                (changes, Ok(Ok(reply)))
            }
            Ok(Err(illegal)) => (0, Ok(Err(LedgerError::illegal(&id, illegal)))),
            Err(panic) => (0, Err(panic)),
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
    limit: Option<&BrakeLimit>,
    is_new: bool,
) -> rusqlite::Result<(usize, T)> {
    let Step { write, reply, braked } = step;
    let Some(Write { mut row, entry }) = write else { return Ok((0, reply)) };
    let mut changes = 0;
    if let (Some(limit), Some(braked)) = (limit, braked) {
        let deletions = brake::deletions(transaction, limit)?;
        if deletions >= limit.most {
            return Ok((0, braked(deletions)));
        }
        changes += brake::count(transaction, limit)?;
    }
    let change = entry.then(|| history::append(id, &mut row));
    let write = if is_new { rows::insert } else { rows::update };
    changes += write(transaction, id, &row)?;
    if let Some(change) = change {
        rows::record(transaction, &change)?;
    }
    // A row is written with a decision once: when it is taken.
    if let (Some(case), Some(decision)) = (&row.case_id, &row.decision) {
        cases::count(transaction, case, &decision.outcome)?;
    }
    Ok((changes, reply))
}

/// Something to write, and what to answer then.
pub(super) struct Work<T, F> {
    todo: Option<F>,
    reply: Option<VerbReply<T>>,
    to: oneshot::Sender<VerbReply<T>>,
}

impl<T, F> Work<T, F> {
    pub(super) fn new(todo: F, to: oneshot::Sender<VerbReply<T>>) -> Self {
        Self { todo: Some(todo), reply: None, to }
    }
}

impl<T: Send, F: FnOnce(&Connection) -> rusqlite::Result<(T, usize)> + Send> QueuedVerb for Work<T, F> {
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize> {
        let Some(work) = self.todo.take() else { return Ok(0) };
        match work(transaction) {
            Ok((reply, changes)) => {
                self.reply = Some(Ok(Ok(reply)));
                Ok(changes)
            }
            // One row spoilt by hand must not stop the others. It was read before anything was written.
            Err(error) if is_about_values(&error) => {
                self.reply = Some(Ok(Err(LedgerError::Corrupt(error.to_string()))));
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
fn answer_with<T>(to: oneshot::Sender<VerbReply<T>>, reply: Option<VerbReply<T>>, committed: Result<(), LedgerError>) {
    let reply = match (committed, reply) {
        (Ok(()), reply) | (Err(_), reply @ Some(Err(_))) => reply,
        (Err(error), _) => Some(Ok(Err(error))),
    };
    if let Some(reply) = reply {
        // A caller that went away has no use for the answer.
        let _ = to.send(reply);
    }
}

/// A write for its own sake.
pub(super) struct Probe {
    pub(super) to: oneshot::Sender<VerbReply<()>>,
}

impl QueuedVerb for Probe {
    fn work(&mut self, transaction: &Connection) -> rusqlite::Result<usize> {
        file::probe(transaction)
    }

    fn answer(self: Box<Self>, committed: Result<(), LedgerError>) {
        let _ = self.to.send(Ok(committed));
    }
}
