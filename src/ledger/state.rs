//! What a row of the ledger may become: the legal transitions in [`State::after`], and what each verb does to a row.
//!
//! Pure, and shared by every kind of ledger, so that they cannot disagree: a store only loads a row, applies one of
//! these functions, and writes what it answers.

use jiff::Timestamp;

use super::backups::BackedUp;
use super::brake::{Deletion, Limit};
use super::history::Chain;
use super::{Asked, AssetState, Begun, Entry, Record, Refused, UsedUp};
use crate::message::Backup;
use crate::message::id::{CaseId, RequestId};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// An attempt has begun; no `DELETE` has been sent in it.
    Begun,
    /// A copy of the asset was made in this attempt; no `DELETE` has been sent since.
    BackedUp,
    /// A `DELETE` may have been sent.
    Deleting,
    /// Put off to a wait queue.
    Waiting,
    /// Answered for good.
    Decided,
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Begin,
    BackUp,
    Delete,
    PutOff,
    Decide,
    Refuse,
}

impl State {
    /// The state after `act`, or `None` when that must not happen. `from` is `None` for a request never seen.
    ///
    /// Open states lead to one another freely: after a lost connection the broker hands out a request again while its
    /// first handling may still run, so the two interleave. `Decided` leads nowhere.
    pub(super) const fn after(from: Option<Self>, act: Act) -> Option<Self> {
        match (from, act) {
            (None | Some(Self::Begun | Self::BackedUp | Self::Waiting), Act::Begin) => Some(Self::Begun),
            // After a `DELETE`, too, when a copy was lost since; that one was sent stays on record beside the state.
            (Some(Self::Begun | Self::BackedUp | Self::Deleting), Act::BackUp) => Some(Self::BackedUp),
            // A fresh attempt does not undo the doubt that an earlier one left behind.
            (Some(Self::Deleting), Act::Begin)
            | (Some(Self::Begun | Self::BackedUp | Self::Deleting | Self::Waiting), Act::Delete) => {
                Some(Self::Deleting)
            }
            (Some(Self::Begun | Self::BackedUp | Self::Deleting | Self::Waiting), Act::PutOff) => Some(Self::Waiting),
            (Some(Self::Begun | Self::BackedUp | Self::Deleting | Self::Waiting), Act::Decide)
            | (None, Act::Refuse) => Some(Self::Decided),
            (None, Act::BackUp | Act::Delete | Act::PutOff | Act::Decide)
            | (Some(Self::Begun | Self::BackedUp | Self::Deleting | Self::Waiting), Act::Refuse)
            | (Some(Self::Waiting), Act::BackUp)
            | (Some(Self::Decided), _) => None,
        }
    }

    /// The name in the history.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::BackedUp => "backed_up",
            Self::Deleting => "deleting",
            Self::Waiting => "waiting",
            Self::Decided => "decided",
        }
    }

    /// The name in the row. Its schema knows no `backed_up`: the number of the copy's entry says that.
    pub(super) const fn stored(self) -> &'static str {
        match self {
            Self::BackedUp => Self::Begun.as_str(),
            Self::Begun | Self::Deleting | Self::Waiting | Self::Decided => self.as_str(),
        }
    }

    /// The state of a row with this name in it, with this copy, and so many entries.
    pub(super) fn read(name: &str, backup: Option<&BackedUp>, entries: u32) -> Option<Self> {
        let states = [Self::Begun, Self::Deleting, Self::Waiting, Self::Decided];
        let state = states.into_iter().find(|state| state.as_str() == name)?;
        let backed_up = state == Self::Begun && backup.is_some_and(|backup| backup.entry == entries);
        Some(if backed_up { Self::BackedUp } else { state })
    }
}

/// A request in the ledger, apart from its ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// `None` only for a request refused before its asset could be read.
    pub asset_id: Option<String>,
    pub dry_run: bool,
    /// What the request said about a copy; gone from a tombstone.
    pub backup_asked: Option<bool>,
    /// As asked. Written with a new row only, read back only to be checked or shown, and gone from a tombstone.
    pub request: Option<String>,
    pub state: State,
    pub attempts: u32,
    pub rung: u32,
    /// Sticky: a `DELETE` may have been sent in this or an earlier attempt.
    pub deleting: bool,
    pub waited_for: Option<String>,
    /// The copy made last; gone from a tombstone.
    pub backup: Option<BackedUp>,
    /// There exactly when decided.
    pub decision: Option<Decision>,
    pub first_seen: Timestamp,
    pub updated: Timestamp,
    pub case_id: Option<String>,
    pub chain: Chain,
}

/// The final answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub outcome: String,
    pub kept: Kept,
}

/// What is kept of a decision's details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// All of them; this is the event.
    Event(String),
    /// None: the row is a tombstone. This was the last hash of its chain.
    Sealed(String),
}

/// What a verb does: the row to write, if any, and the reply once that is durable.
#[derive(Debug)]
pub(super) struct Step<T> {
    pub write: Option<Row>,
    pub reply: T,
    /// There exactly when this begins a deletion: the reply instead when the brake holds, given how many have begun.
    pub braked: Option<fn(u64) -> T>,
}

/// A verb that the state of its request does not allow; says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Illegal(pub &'static str);

const NEVER_BEGUN: Illegal = Illegal("it was never begun");
const ALREADY_DECIDED: Illegal = Illegal("it is already decided");
const STILL_OPEN: Illegal = Illegal("it is still open");
/// Whoever began last owns the request: two workers that have it both, as after a lost connection, must not both go on.
pub(super) const SUPERSEDED: Illegal = Illegal("a later attempt has begun");

/// The row of an attempt that nobody has superseded.
fn owned(row: Option<Row>, number: u32) -> Result<Row, Illegal> {
    let row = row.ok_or(NEVER_BEGUN)?;
    if row.attempts > number { Err(SUPERSEDED) } else { Ok(row) }
}

/// The next state, with the reason when there is none.
fn advance(from: Option<State>, act: Act) -> Result<State, Illegal> {
    State::after(from, act).ok_or(match from {
        None => NEVER_BEGUN,
        Some(State::Decided) => ALREADY_DECIDED,
        Some(State::Begun | State::BackedUp | State::Deleting | State::Waiting) => STILL_OPEN,
    })
}

pub(super) fn begin(row: Option<Row>, asked: Asked, now: Timestamp) -> Result<Step<Begun>, Illegal> {
    let Some(mut row) = row else {
        let row = Row {
            asset_id: Some(asked.asset_id.as_str().to_owned()),
            case_id: asked.case_id.map(|case| case.to_string()),
            chain: Chain::default(),
            dry_run: asked.dry_run,
            backup_asked: asked.backup,
            request: Some(asked.request),
            state: advance(None, Act::Begin)?,
            attempts: 1,
            rung: 0,
            deleting: false,
            waited_for: None,
            backup: None,
            decision: None,
            first_seen: now,
            updated: now,
        };
        let open = Begun::Open(row.record());
        return Ok(Step::write(row, open));
    };
    // Refused while it could not be read: there is nothing to compare with, and its answer stands.
    let unread = row.asset_id.is_none();
    // Of a tombstone it is not known any more, and nothing is deleted under its ID.
    let sealed = matches!(row.decision, Some(Decision { kept: Kept::Sealed(_), .. }));
    let same_backup = sealed || row.backup_asked == asked.backup;
    let same = row.asset_id.as_deref() == Some(asked.asset_id.as_str()) && row.dry_run == asked.dry_run && same_backup;
    if !unread && !same {
        let by = UsedUp::AnotherRequest { asset_id: row.asset_id };
        return Ok(Step::read(Begun::UsedUp { by, first_seen: row.first_seen }));
    }
    if let Some(Decision { outcome, kept }) = row.decision {
        return Ok(Step::read(match kept {
            Kept::Event(event) => Begun::Decided(event),
            Kept::Sealed(_) => {
                let by = UsedUp::Forgotten { outcome, decided: row.updated };
                Begun::UsedUp { by, first_seen: row.first_seen }
            }
        }));
    }
    row.state = advance(Some(row.state), Act::Begin)?;
    row.attempts = row.attempts.saturating_add(1);
    row.updated = now;
    let open = Begun::Open(row.record());
    Ok(Step::write(row, open))
}

pub(super) fn backed_up(row: Option<Row>, number: u32, backup: Backup, now: Timestamp) -> Result<Step<()>, Illegal> {
    let mut row = owned(row, number)?;
    row.state = advance(Some(row.state), Act::BackUp)?;
    if row.dry_run {
        return Err(Illegal("it is a dry run, which keeps nothing"));
    }
    row.backup = Some(BackedUp { backup, entry: row.chain.entries + 1 });
    row.updated = now;
    Ok(Step::write(row, ()))
}

pub(super) fn deleting(row: Option<Row>, number: u32, now: Timestamp) -> Result<Step<Deletion>, Illegal> {
    let mut row = owned(row, number)?;
    row.state = advance(Some(row.state), Act::Delete)?;
    if row.dry_run {
        return Err(Illegal("it is a dry run, which never deletes"));
    }
    // Once a request: what has begun is neither counted again nor held.
    let begins = !row.deleting;
    row.deleting = true;
    row.updated = now;
    let braked: Option<fn(u64) -> Deletion> = begins.then_some(|deletions| Deletion::Braked { deletions });
    Ok(Step { braked, ..Step::write(row, Deletion::Allowed) })
}

pub(super) fn put_off(
    row: Option<Row>,
    number: u32,
    rung: u32,
    waited_for: &str,
    now: Timestamp,
) -> Result<Step<()>, Illegal> {
    let mut row = owned(row, number)?;
    row.state = advance(Some(row.state), Act::PutOff)?;
    row.rung = rung;
    row.waited_for = Some(waited_for.to_owned());
    row.updated = now;
    Ok(Step::write(row, ()))
}

/// The first decision wins: later ones are answered with it.
pub(super) fn decide(
    row: Option<Row>,
    number: u32,
    outcome: String,
    event: String,
    now: Timestamp,
) -> Result<Step<String>, Illegal> {
    if let Some(Row { decision: Some(Decision { kept: Kept::Event(event), .. }), .. }) = row {
        return Ok(Step::read(event));
    }
    let mut row = owned(row, number)?;
    row.state = advance(Some(row.state), Act::Decide)?;
    row.decision = Some(Decision { outcome, kept: Kept::Event(event.clone()) });
    row.updated = now;
    Ok(Step::write(row, event))
}

pub(super) fn refuse(
    row: Option<Row>,
    case: Option<CaseId>,
    event: String,
    now: Timestamp,
) -> Result<Step<Refused>, Illegal> {
    match row.map(|row| row.decision) {
        Some(Some(Decision { kept: Kept::Event(event), .. })) => Ok(Step::read(Refused::Recorded(event))),
        Some(Some(Decision { kept: Kept::Sealed(_), .. })) => Ok(Step::read(Refused::Forgotten)),
        Some(None) => Ok(Step::read(Refused::InFlight)),
        None => {
            let row = Row {
                asset_id: None,
                case_id: case.map(|case| case.to_string()),
                chain: Chain::default(),
                dry_run: false,
                backup_asked: None,
                request: None,
                state: advance(None, Act::Refuse)?,
                attempts: 0,
                rung: 0,
                deleting: false,
                waited_for: None,
                backup: None,
                decision: Some(Decision { outcome: REFUSED_OUTCOME.to_owned(), kept: Kept::Event(event.clone()) }),
                first_seen: now,
                updated: now,
            };
            Ok(Step::write(row, Refused::Recorded(event)))
        }
    }
}

/// The outcome of every request refused unread.
const REFUSED_OUTCOME: &str = "rejected";

impl Row {
    pub(super) fn entry(self, request_id: RequestId) -> Entry {
        let (outcome, event) = match self.decision {
            None => (None, None),
            Some(Decision { outcome, kept: Kept::Event(event) }) => (Some(outcome), Some(event)),
            Some(Decision { outcome, kept: Kept::Sealed(_) }) => (Some(outcome), None),
        };
        Entry {
            request_id,
            asset_id: self.asset_id,
            case_id: self.case_id,
            request: self.request,
            dry_run: self.dry_run,
            state: self.state.as_str(),
            attempts: self.attempts,
            waited_for: self.waited_for,
            backup: self.backup.map(|backed_up| backed_up.backup),
            outcome,
            event,
            first_seen: self.first_seen,
            updated: self.updated,
        }
    }

    fn record(&self) -> Record {
        Record {
            first_seen: self.first_seen,
            attempts: self.attempts,
            rung: self.rung,
            deleting: self.deleting,
            waited_for: self.waited_for.clone(),
            backup: self.backup.as_ref().map(|backed_up| backed_up.backup.clone()),
        }
    }
}

impl<T> Step<T> {
    const fn read(reply: T) -> Self {
        Self { write: None, reply, braked: None }
    }

    const fn write(row: Row, reply: T) -> Self {
        Self { write: Some(row), reply, braked: None }
    }
}

/// What one row says about its asset. The stores order an asset's rows by this, in SQL of their own; the tests they
/// share hold them to it. Dry runs never delete, so they say nothing.
pub(super) fn asset_state(row: &Row) -> AssetState {
    match &row.decision {
        _ if row.dry_run => AssetState::Unknown,
        Some(decision) if GONE.contains(&decision.outcome.as_str()) => AssetState::Deleted,
        // Also when the request has failed since: the provider may still carry a DELETE out that it was sent.
        _ if row.deleting => AssetState::Deleting,
        None => AssetState::Requested,
        Some(_) => AssetState::Unknown,
    }
}

/// Outcomes after which the asset is known not to be there.
const GONE: [&str; 2] = ["deleted", "already_absent"];

/// A verb bound to its arguments, as a store runs it. A mere alias, so that signatures stay readable.
pub(super) trait Verb<T>: FnOnce(Option<Row>) -> Result<Step<T>, Illegal> + Send + 'static {}

impl<T, F> Verb<T> for F where F: FnOnce(Option<Row>) -> Result<Step<T>, Illegal> + Send + 'static {}

/// A request and the verb for it.
pub(super) struct Call<F> {
    pub id: RequestId,
    /// Of the deletions that a verb may begin; without one none is counted.
    pub limit: Option<Limit>,
    pub verb: F,
}
