//! What a row of the ledger may become: the legal transitions in [`State::after`], and what each verb does to a row.
//!
//! Pure, and shared by every kind of ledger, so that they cannot disagree: a store only loads a row, applies one of
//! these functions, and writes what it answers.

use jiff::Timestamp;

use super::clock::Clock;
use super::history;
use super::row::{BackedUp, Chain, Decision, KeptDetails, Row, State};
use super::{Asked, AssetState, Attempt, Begun, Beside, Deletion, Entry, Past, Record, RefusalRecord, Token, UsedUp};
use crate::contract::message::id::{CaseId, RequestId};
use crate::contract::message::{Backup, Proof};
use crate::settings::BrakeSettings;

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Begin,
    BackUp,
    Delete,
    Withhold,
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
            // What an earlier attempt may have sent stays on record beside the state.
            (
                None | Some(Self::Begun | Self::BackedUp | Self::NotSent | Self::Deleting | Self::Waiting),
                Act::Begin,
            ) => Some(Self::Begun),
            // After a `DELETE`, too, when a copy was lost since.
            (Some(Self::Begun | Self::BackedUp | Self::NotSent | Self::Deleting), Act::BackUp) => Some(Self::BackedUp),
            (Some(Self::Deleting), Act::Withhold) => Some(Self::NotSent),
            (Some(Self::Begun | Self::BackedUp | Self::NotSent | Self::Deleting | Self::Waiting), Act::Delete) => {
                Some(Self::Deleting)
            }
            (Some(Self::Begun | Self::BackedUp | Self::NotSent | Self::Deleting | Self::Waiting), Act::PutOff) => {
                Some(Self::Waiting)
            }
            (Some(Self::Begun | Self::BackedUp | Self::NotSent | Self::Deleting | Self::Waiting), Act::Decide)
            | (None, Act::Refuse) => Some(Self::Decided),
            (None, Act::BackUp | Act::Delete | Act::Withhold | Act::PutOff | Act::Decide)
            | (Some(Self::Begun | Self::BackedUp | Self::NotSent | Self::Deleting | Self::Waiting), Act::Refuse)
            | (Some(Self::Begun | Self::BackedUp | Self::NotSent | Self::Waiting), Act::Withhold)
            | (Some(Self::Waiting), Act::BackUp)
            | (Some(Self::Decided), _) => None,
        }
    }
}

/// What a verb does: the row to write, if any, and the reply once that is durable.
#[derive(Debug)]
pub(super) struct Step<T> {
    pub write: Option<Write>,
    pub reply: T,
    /// There exactly when this begins a deletion: the reply instead when the brake holds, given how many have begun.
    pub braked: Option<fn(u64) -> T>,
}

/// A row to write.
#[derive(Debug)]
pub(super) struct Write {
    pub row: Box<Row>,
    /// Whether the request's history gets an entry for it.
    pub entry: bool,
}

/// A verb that the state of its request does not allow; says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Illegal(pub &'static str);

const NEVER_BEGUN: Illegal = Illegal("it was never begun");
const ALREADY_DECIDED: Illegal = Illegal("it is already decided");
const STILL_OPEN: Illegal = Illegal("it is still open");
const NOTHING_TO_WITHHOLD: Illegal = Illegal("no DELETE was recorded last");
/// The attempt that began last owns the request: two workers that have it both, as after a lost connection, must not
/// both go on.
pub(super) const SUPERSEDED: Illegal = Illegal("a later attempt has begun");

/// How long an attempt is left alone after its last change once its request was contended: this much, doubled with each
/// time. So of two live workers that hold copies of one request, one gets through, however long an attempt takes.
const LEFT_ALONE_MS: i64 = 1_000;
/// Most doublings of that: a crash in the middle of a contention costs at most an hour and some minutes.
const LEFT_ALONE_DOUBLINGS: u32 = 12;

/// The row of an open request, for the attempt that owns it. Tokens are compared for equality: a ledger that was set
/// back counts its attempts again.
fn owned(row: Option<Row>, attempt: Token) -> Result<Row, Illegal> {
    let row = row.ok_or(NEVER_BEGUN)?;
    if row.attempt == Some(attempt) { Ok(row) } else { Err(SUPERSEDED) }
}

/// The next state, with the reason when there is none.
fn advance(from: Option<State>, act: Act) -> Result<State, Illegal> {
    State::after(from, act).ok_or(match from {
        None => NEVER_BEGUN,
        Some(State::Decided) => ALREADY_DECIDED,
        Some(_) if matches!(act, Act::Withhold) => NOTHING_TO_WITHHOLD,
        Some(_) => STILL_OPEN,
    })
}

pub(super) fn begin(
    row: Option<Row>,
    asked: Asked,
    beside: Beside,
    now: Timestamp,
    token: impl FnOnce(u32) -> Token,
) -> Result<Step<Begun>, Illegal> {
    let Some(mut row) = row else {
        let mut row = Row::unseen(asked.case_id.as_ref(), advance(None, Act::Begin)?, now);
        row.asset_id = Some(asked.asset_id.as_str().to_owned());
        row.dry_run = asked.dry_run;
        row.backup_asked = asked.backup;
        row.request = Some(asked.request);
        row.attempts = 1;
        row.attempt = Some(token(1));
        let open = Begun::Open(row.record(&asked.request_id, now));
        return Ok(Step::write(row, open));
    };
    if let Some(by) = used_up(&row, &asked) {
        let first_seen = row.first_seen;
        return Ok(Step::read(Begun::UsedUp { by, first_seen }));
    }
    if let Some(Decision { kept: KeptDetails::Event(event), .. }) = row.decision {
        let past = Past { of_case: row.case_id, interrupted: row.interrupted, heard: row.heard };
        return Ok(Step::read(Begun::Decided { event, past }));
    }
    if left_alone(&row, now) {
        return Ok(Step::read(Begun::Busy { contended: row.contended }));
    }
    let interrupted = row.interruptions();
    if matches!(beside, Beside::Others { most } if interrupted >= most) {
        return Ok(Step::read(Begun::Suspect));
    }
    row.state = advance(Some(row.state), Act::Begin)?;
    row.attempts = row.attempts.saturating_add(1);
    row.interrupted = interrupted;
    row.attempt = Some(token(row.attempts));
    row.updated = now;
    let open = Begun::Open(row.record(&asked.request_id, now));
    Ok(Step::write(row, open))
}

/// What has used up the request ID, when the request on record does not answer this one: it has to be equal in every
/// field, since the evidence keeps the words of the first.
fn used_up(row: &Row, asked: &Asked) -> Option<UsedUp> {
    let another = Some(UsedUp::AnotherRequest);
    match &row.decision {
        Some(Decision { outcome, kept: KeptDetails::Sealed(_), .. }) if history::is_of(row, &asked.request) => {
            Some(UsedUp::Forgotten { outcome: outcome.clone(), decided: row.updated })
        }
        Some(Decision { kept: KeptDetails::Sealed(_), .. }) => another,
        _ if row.request.as_deref() == Some(asked.request.as_str()) => None,
        _ => another,
    }
}

/// Whether another attempt is at work that must not be taken over yet.
fn left_alone(row: &Row, now: Timestamp) -> bool {
    let doubled = LEFT_ALONE_MS.saturating_mul(1 << row.contended.min(LEFT_ALONE_DOUBLINGS));
    let since = now.as_millisecond().saturating_sub(row.updated.as_millisecond());
    row.attempt.is_some() && row.contended > 0 && (0..doubled).contains(&since)
}

/// An attempt finds that it was taken over: it has not crashed, and the request is contended.
pub(super) fn superseded(row: Option<Row>) -> Result<Step<u32>, Illegal> {
    let mut row = row.ok_or(NEVER_BEGUN)?;
    if row.decision.is_some() {
        return Ok(Step::read(row.contended));
    }
    row.interrupted = row.interrupted.saturating_sub(1);
    row.contended = row.contended.saturating_add(1);
    let contended = row.contended;
    Ok(Step::note(row, contended))
}

/// An attempt ends without an outcome or a wait, as its worker shuts down.
pub(super) fn hand_back(row: Option<Row>, attempt: Token) -> Result<Step<()>, Illegal> {
    let mut row = owned(row, attempt)?;
    row.attempt = None;
    Ok(Step::note(row, ()))
}

pub(super) fn backed_up(row: Option<Row>, attempt: Token, backup: Backup, now: Timestamp) -> Result<Step<()>, Illegal> {
    let mut row = owned(row, attempt)?;
    row.state = advance(Some(row.state), Act::BackUp)?;
    if row.dry_run {
        return Err(Illegal("it is a dry run, which keeps nothing"));
    }
    row.backup = Some(BackedUp { backup, entry: row.chain.entries + 1 });
    row.updated = now;
    Ok(Step::write(row, ()))
}

/// Before every single `DELETE`.
pub(super) fn deleting(
    row: Option<Row>,
    attempt: Token,
    seen: bool,
    now: Timestamp,
) -> Result<Step<Deletion>, Illegal> {
    let mut row = owned(row, attempt)?;
    row.state = advance(Some(row.state), Act::Delete)?;
    if row.dry_run {
        return Err(Illegal("it is a dry run, which never deletes"));
    }
    // Once a request: what has begun is neither counted again nor held.
    let begins = row.deletes == 0;
    row.deletes = row.deletes.saturating_add(1);
    row.seen |= seen;
    row.updated = now;
    let braked: Option<fn(u64) -> Deletion> = begins.then_some(|deletions| Deletion::Braked { deletions });
    Ok(Step { braked, ..Step::write(row, Deletion::Allowed) })
}

pub(super) fn not_sent(row: Option<Row>, attempt: Token, now: Timestamp) -> Result<Step<()>, Illegal> {
    let mut row = owned(row, attempt)?;
    row.state = advance(Some(row.state), Act::Withhold)?;
    row.deletes = row.deletes.saturating_sub(1);
    row.missed = row.missed.min(row.deletes);
    row.updated = now;
    Ok(Step::write(row, ()))
}

/// The provider answered the last `DELETE` with "not found" or "in use". It stays on record as sent: the answer is no proof.
pub(super) fn missed(row: Option<Row>, attempt: Token) -> Result<Step<()>, Illegal> {
    let mut row = owned(row, attempt)?;
    row.missed = row.missed.saturating_add(1).min(row.deletes);
    Ok(Step::note(row, ()))
}

pub(super) fn put_off(
    row: Option<Row>,
    attempt: Token,
    rung: u32,
    waited_for: &str,
    now: Timestamp,
) -> Result<Step<()>, Illegal> {
    let mut row = owned(row, attempt)?;
    row.state = advance(Some(row.state), Act::PutOff)?;
    row.rung = rung;
    row.waited_for = Some(waited_for.to_owned());
    (row.attempt, row.interrupted, row.contended) = (None, 0, 0);
    row.updated = now;
    Ok(Step::write(row, ()))
}

/// The first decision wins: later ones are answered with it. `event` makes the event, given the time of the decision.
pub(super) fn decide(
    row: Option<Row>,
    attempt: Token,
    (outcome, proof): (String, Option<Proof>),
    event: impl FnOnce(Timestamp) -> String,
    now: Timestamp,
) -> Result<Step<String>, Illegal> {
    if let Some(Row { decision: Some(Decision { kept: KeptDetails::Event(event), .. }), .. }) = row {
        return Ok(Step::read(event));
    }
    let mut row = owned(row, attempt)?;
    row.state = advance(Some(row.state), Act::Decide)?;
    let event = event(now);
    row.decision = Some(Decision { outcome, proof, kept: KeptDetails::Event(event.clone()) });
    row.attempt = None;
    row.updated = now;
    Ok(Step::write(row, event))
}

pub(super) fn refuse(
    row: Option<Row>,
    case: Option<&CaseId>,
    event: impl FnOnce(Timestamp) -> String,
    now: Timestamp,
) -> Result<Step<RefusalRecord>, Illegal> {
    let Some(row) = row else {
        let mut row = Row::unseen(case, advance(None, Act::Refuse)?, now);
        let event = event(now);
        let kept = KeptDetails::Event(event.clone());
        row.decision = Some(Decision { outcome: REFUSED_OUTCOME.to_owned(), proof: None, kept });
        let of_case = row.case_id.clone();
        return Ok(Step::write(row, RefusalRecord::Recorded { event, of_case }));
    };
    Ok(Step::read(match row.decision.map(|decision| decision.kept) {
        // By a malformed message that says the same: its answer has no word that this one does not have.
        Some(KeptDetails::Event(recorded)) if row.asset_id.is_none() && recorded == event(row.first_seen) => {
            RefusalRecord::Recorded { event: recorded, of_case: row.case_id }
        }
        _ => RefusalRecord::Known { first_seen: row.first_seen },
    }))
}

/// The outcome of every request refused unread.
const REFUSED_OUTCOME: &str = "rejected";

impl Row {
    /// A request that was never seen before, apart from what it asks.
    fn unseen(case: Option<&CaseId>, state: State, now: Timestamp) -> Self {
        Self {
            asset_id: None,
            dry_run: false,
            backup_asked: None,
            request: None,
            state,
            attempts: 0,
            attempt: None,
            interrupted: 0,
            contended: 0,
            rung: 0,
            deletes: 0,
            missed: 0,
            seen: false,
            waited_for: None,
            backup: None,
            decision: None,
            heard: false,
            first_seen: now,
            updated: now,
            case_id: case.map(CaseId::to_string),
            chain: Chain::default(),
        }
    }

    /// Attempts in a row that began and never ended, if another one began now.
    const fn interruptions(&self) -> u32 {
        self.interrupted.saturating_add(self.attempt.is_some() as u32)
    }

    pub(super) fn entry(self, request_id: RequestId) -> Entry {
        // Of a tombstone's request there is a hash.
        let sealed = matches!(self.decision, Some(Decision { kept: KeptDetails::Sealed(_), .. }));
        let proof = self.decision.as_ref().and_then(|decision| decision.proof);
        let (outcome, event) = match self.decision {
            None => (None, None),
            Some(Decision { outcome, kept: KeptDetails::Event(event), .. }) => (Some(outcome), Some(event)),
            Some(Decision { outcome, kept: KeptDetails::Sealed(_), .. }) => (Some(outcome), None),
        };
        Entry {
            request_id,
            asset_id: self.asset_id,
            case_id: self.case_id,
            request: self.request.filter(|_| !sealed),
            dry_run: self.dry_run,
            state: self.state.as_str(),
            attempts: self.attempts,
            waited_for: self.waited_for,
            backup: self.backup.map(|backed_up| backed_up.backup),
            outcome,
            proof,
            event,
            first_seen: self.first_seen,
            updated: self.updated,
        }
    }

    /// What a fresh attempt is given; `now` is the ledger's time.
    fn record(&self, request_id: &RequestId, now: Timestamp) -> Record {
        let token = self.attempt.unwrap_or_default();
        Record {
            attempt: Attempt { request_id: request_id.clone(), token },
            now,
            first_seen: self.first_seen,
            attempts: self.attempts,
            interrupted: self.interrupted,
            rung: self.rung,
            deletes: self.deletes,
            missed: self.missed,
            seen: self.seen,
            waited_for: self.waited_for.clone(),
            backup: self.backup.as_ref().map(|backed_up| backed_up.backup.clone()),
        }
    }
}

impl<T> Step<T> {
    const fn read(reply: T) -> Self {
        Self { write: None, reply, braked: None }
    }

    fn write(row: Row, reply: T) -> Self {
        Self { write: Some(Write { row: Box::new(row), entry: true }), reply, braked: None }
    }

    /// Changes what the history does not tell.
    fn note(row: Row, reply: T) -> Self {
        Self { write: Some(Write { row: Box::new(row), entry: false }), reply, braked: None }
    }
}

/// What one row says about its asset. The stores order an asset's rows by this, in SQL of their own; the tests they
/// share hold them to it. Dry runs never delete, so they say nothing.
pub(super) fn asset_state(row: &Row) -> AssetState {
    match &row.decision {
        _ if row.dry_run => AssetState::Unknown,
        Some(Decision { proof: Some(proof), .. }) if *proof != Proof::Unconfirmed => AssetState::Deleted,
        // Also when the request has failed since: the provider may still carry a DELETE out that it was sent.
        _ if row.deletes > 0 => AssetState::Deleting,
        None => AssetState::Requested,
        Some(_) => AssetState::Unknown,
    }
}

/// A verb bound to its arguments, as a store runs it: it is given the row and the ledger's time. A mere alias, so that
/// signatures stay readable.
pub(super) trait Verb<T>: FnOnce(Option<Row>, Timestamp) -> Result<Step<T>, Illegal> + Send + 'static {}

impl<T, F> Verb<T> for F where F: FnOnce(Option<Row>, Timestamp) -> Result<Step<T>, Illegal> + Send + 'static {}

/// A request and the verb for it.
pub(super) struct Call<F> {
    pub id: RequestId,
    /// Of the deletions that a verb may begin; without one none is counted.
    pub brake: Option<BrakeSettings>,
    pub clock: Clock,
    pub verb: F,
}
