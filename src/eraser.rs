//! The decision procedure for one request, from intent to outcome. Knows no AMQP, no SQL and no HTTP server.
//!
//! The only `DELETE` is in `Run::delete`; read upwards from there to see what has to be true before it.

mod backup;
mod brake;
mod calls;
mod cases;
mod outage;
mod permit;
mod settle;
mod target;
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use self::backup::Safe;
use self::outage::Outage;
use self::permit::{Permit, Withheld};
use self::settle::Waiting;
use self::turns::Turns;
use crate::backup::Backups;
use crate::config::Settings;
use crate::guard::{self, Guard};
use crate::ledger::{Asked, Attempt, Begun, Deletion, Ledger, LedgerError, Record, Refused, UsedUp};
use crate::message::event::{Facts, LastWord, Subject};
use crate::message::{Cause, Notice, OnInUse, Outcome, Request, ResultEvent, TraceContext, Unreadable};
use crate::pace::line::{Line, Stop};
use crate::provider::{Client, Detail, Fault, Meaning};
use crate::telemetry::metrics::Metrics;

/// Detail calls after a `DELETE` that answered "deleted" while the asset is still found, before it is sent again.
const LOOKS_AFTER_DELETE: u32 = 4;

/// `DELETE`s that answered "deleted" without effect before that is given up, however short the in-process budget is:
/// the looks after the first one can use all of it up.
const LEAST_DELETES: u32 = 2;

/// Jobs named in a sentence about an asset in use.
const JOBS_NAMED: usize = 5;

/// Decides requests. Clones share everything.
#[derive(Clone)]
pub struct Eraser(Arc<Inner>);

struct Inner {
    settings: Settings,
    provider: Client,
    guard: Guard,
    ledger: Ledger,
    backups: Backups,
    line: Line,
    metrics: Metrics,
    /// One request at a time per asset: two at once would each see the other's half-done work.
    turns: Turns,
    provider_outage: Outage,
    guard_outage: Outage,
}

/// What the worker has to do with the delivery now.
#[derive(Debug)]
pub enum Verdict {
    /// Publish this, then acknowledge.
    Answer(Answer),
    /// Publish the answer if there is one, put a copy into the dead queue, then acknowledge.
    Bury {
        /// The answer, when the request could be told apart from others.
        answer: Option<Answer>,
        /// Bounded set, also a metric label.
        why: &'static str,
        /// A sentence for a person.
        detail: String,
    },
    /// Put a copy into a wait queue and acknowledge.
    PutOff {
        /// One of the configured delays.
        delay: Duration,
        /// Bounded set, also a metric label.
        reason: &'static str,
    },
}

/// What is to be published before a delivery may be acknowledged.
#[derive(Debug)]
pub struct Answer {
    /// The result.
    pub event: Box<ResultEvent>,
    /// That the request's case is complete, when it is.
    pub case: Option<Box<Notice>>,
}

/// Publishes an event that is no answer.
pub trait Announce: Sync {
    /// True once every queue that wants to have it has it; false when it may not have arrived.
    fn announce<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, bool>;
}

/// What the message around a request says.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// Continued on the provider's calls.
    pub trace: TraceContext,
    /// How often the broker has handed this message out before without hearing of it again.
    pub delivery_count: u64,
}

/// Why a request can't be decided now. Everything else is an [`Outcome`].
#[derive(Debug)]
enum NotNow {
    /// The ledger did not take a record: nothing may be done without one.
    Ledger(LedgerError),
    /// To be tried again later.
    Wait(Waiting),
}

impl From<LedgerError> for NotNow {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// One attempt at one request.
struct Run<'a> {
    eraser: &'a Inner,
    request: &'a Request,
    delivered: &'a Delivered,
    announce: &'a dyn Announce,
    record: Record,
    attempt: Attempt,
    asset: Option<Detail>,
    verified: bool,
    provider: Option<LastWord>,
}

/// How the last `DELETE` failed, with the asset still there.
#[derive(Clone, Copy)]
enum LastTry {
    /// It answered "deleted".
    StillPresent,
    /// It answered a code that is on no list.
    Unlisted,
    /// It gave no usable answer.
    Fault(Fault),
}

/// What the two witnesses say.
enum Sight {
    Present(Option<Detail>),
    Gone,
}

impl Eraser {
    /// An eraser over these parts.
    #[must_use]
    pub fn new(
        settings: Settings,
        provider: Client,
        guard: Guard,
        ledger: Ledger,
        backups: Backups,
        line: Line,
        metrics: Metrics,
    ) -> Self {
        let outage = |stop| Outage::new(stop, line.clone(), metrics.clone());
        let (provider_outage, guard_outage) = (outage(Stop::ProviderDown), outage(Stop::GuardDown));
        let turns = Turns::default();
        Self(Arc::new(Inner {
            settings,
            provider,
            guard,
            ledger,
            backups,
            line,
            metrics,
            turns,
            provider_outage,
            guard_outage,
        }))
    }

    /// Takes a request as far as it can be taken now.
    ///
    /// # Errors
    /// When the ledger can't be written. Nothing is deleted or answered then; the same request may be passed again.
    pub async fn erase(
        &self,
        request: &Request,
        delivered: &Delivered,
        announce: &dyn Announce,
    ) -> Result<Verdict, LedgerError> {
        let eraser = &*self.0;
        let _turn = eraser.turns.take(&request.asset_id).await;
        let asked = Asked {
            request_id: request.request_id.clone(),
            asset_id: request.asset_id.clone(),
            case_id: request.labels.case_id.clone(),
            dry_run: request.dry_run,
            backup: request.backup,
            request: request.to_json(),
        };
        // The intent is durable before the guard is asked: a job starter that registers its job and then asks the
        // ledger sees this request, or the guard sees the job.
        let record = match eraser.ledger.begin(asked, Timestamp::now()).await? {
            Begun::Open(record) => record,
            Begun::Decided(event) => {
                return eraser.answer(recorded(event)?, &request.labels).await.map(Verdict::Answer);
            }
            Begun::UsedUp { by, first_seen } => {
                let event = Box::new(conflict(request, &by, first_seen));
                return Ok(Verdict::Answer(Answer { event, case: None }));
            }
        };
        let other_size = eraser.other_case_size(&request.labels).await?;
        let mut run = Run {
            eraser,
            request,
            delivered,
            announce,
            attempt: Attempt { request_id: request.request_id.clone(), number: record.attempts },
            record,
            asset: None,
            verified: false,
            provider: None,
        };
        if delivered.delivery_count >= u64::from(eraser.settings.broker.delivery_limit) {
            let detail =
                format!("the worker did not survive it {} times; it was not tried again", delivered.delivery_count);
            let answer = run.decide(&Outcome::failed(Cause::AttemptsExhausted, &detail)).await?;
            return Ok(Verdict::Bury { answer: Some(answer), why: "delivery_limit", detail });
        }
        let outcome = match run.case_mismatch(other_size) {
            Some(outcome) => Ok(outcome),
            None => run.checklist().await,
        };
        match outcome {
            Ok(outcome) => Ok(Verdict::Answer(run.decide(&outcome).await?)),
            Err(NotNow::Wait(waiting)) => run.put_off(waiting).await,
            Err(NotNow::Ledger(error)) => Err(error),
        }
    }

    /// Buries a message that is no valid request, with an answer when it named its request; without one when a valid
    /// request of that name is still under way and will have an answer of its own.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub async fn refuse(&self, bad: &Unreadable) -> Result<Verdict, LedgerError> {
        let (eraser, labels) = (&*self.0, &bad.labels);
        let mut answer = None;
        if let Some(request_id) = &bad.request_id {
            // A case is not kept open by a request of it that was malformed.
            eraser.other_case_size(labels).await?;
            let subject = Subject { request_id, asset_id: bad.asset_id.as_ref(), labels };
            let outcome = Outcome::rejected(Cause::InvalidRequest, &bad.problem);
            let (facts, now) = (Facts { attempts: 1, ..Facts::default() }, Timestamp::now());
            let refusal = ResultEvent::new(subject, &outcome, facts, now);
            let refused = eraser.ledger.refuse(request_id, labels.case_id.as_ref(), refusal.body, now).await?;
            answer = match refused {
                Refused::Recorded(text) => Some(eraser.answer(recorded(text)?, labels).await?),
                Refused::InFlight | Refused::Forgotten => None,
            };
        }
        Ok(Verdict::Bury { answer, why: "invalid_request", detail: bad.problem.clone() })
    }
}

impl Run<'_> {
    /// The provider's own checklist, for what may be deleted at all: confirm the target, keep a copy if one is wanted, ask
    /// whether it is in use, delete, verify.
    async fn checklist(&mut self) -> Result<Outcome, NotNow> {
        if let Some(outcome) = self.too_late() {
            return Ok(outcome);
        }
        let permit = match self.permit() {
            Ok(permit) => Some(permit),
            Err(Withheld::Protected(outcome)) => return Ok(outcome),
            Err(Withheld::DryRun) => None,
        };
        if let Some(outcome) = self.confirm_target().await? {
            return Ok(outcome);
        }
        let Some(permit) = permit else {
            return Ok(self.guard().await?.unwrap_or(Outcome::WouldDelete));
        };
        // In a box: most requests want no copy, and need not be as large as if they did.
        match Box::pin(self.back_up()).await? {
            Ok(safe) => self.delete_until_gone(&permit, &safe).await,
            Err(outcome) => Ok(outcome),
        }
    }

    /// Past the deadline nothing is deleted; a request that waited for a job until then says so.
    fn too_late(&self) -> Option<Outcome> {
        let deadline = self.request.deadline.filter(|deadline| Timestamp::now() >= *deadline)?;
        Some(if self.record.waited_for.as_deref() == Some(settle::IN_USE) {
            Outcome::failed(Cause::InUse, format!("a job in progress still used the asset at the deadline {deadline}"))
        } else {
            Outcome::failed(Cause::DeadlinePassed, format!("the deadline {deadline} has passed"))
        })
    }

    /// Is it in use? `None` means that the guard answered "no job in progress" just now.
    async fn guard(&mut self) -> Result<Option<Outcome>, NotNow> {
        self.announce_start().await?;
        let Some(jobs) = self.ask_guard().await? else { return Ok(None) };
        let jobs = named(&jobs);
        match self.request.on_in_use {
            OnInUse::Reject => Ok(Some(Outcome::rejected(Cause::InUse, format!("in use by {jobs}")))),
            OnInUse::Wait => Err(NotNow::Wait(Waiting::in_use(jobs))),
        }
    }

    /// Deletes until two witnesses agree, the provider refuses, or the in-process budget is used up.
    async fn delete_until_gone(&mut self, permit: &Permit, safe: &Safe) -> Result<Outcome, NotNow> {
        let mut budget = self.eraser.budget().start();
        let mut without_effect = 0;
        loop {
            let answer = match self.delete(permit, safe).await? {
                Ok(answer) => answer,
                Err(outcome) => return Ok(outcome),
            };
            let (after, last) = match answer {
                Meaning::Found(()) if !self.eraser.settings.provider.verify => return Ok(Outcome::Deleted),
                Meaning::Found(()) => {
                    if self.gone_after_success().await? {
                        return Ok(self.deleted());
                    }
                    without_effect += 1;
                    (None, LastTry::StillPresent)
                }
                Meaning::KeyRefused(status) => return Err(NotNow::Wait(self.eraser.key_refused(status))),
                // Whatever else the DELETE said, the detail call knows what is true.
                unclear => {
                    if let Sight::Gone = self.look_twice().await? {
                        return Ok(self.deleted());
                    }
                    match unclear {
                        Meaning::Refused => return Ok(self.refused()),
                        Meaning::Retry { after, why } => {
                            self.provider_failed(why)?;
                            (after, LastTry::Fault(why))
                        }
                        _ => (None, LastTry::Unlisted),
                    }
                }
            };
            match budget.next(after) {
                Some(delay) => tokio::time::sleep(delay).await,
                None if matches!(last, LastTry::StillPresent) && without_effect < LEAST_DELETES => {}
                None => return self.give_up(last, after),
            }
        }
    }

    /// The budget of `DELETE`s in this process is used up.
    fn give_up(&self, last: LastTry, after: Option<Duration>) -> Result<Outcome, NotNow> {
        match last {
            LastTry::StillPresent => {
                Ok(Outcome::failed(Cause::StillPresent, "the provider answers \"deleted\" and still has the asset"))
            }
            LastTry::Unlisted => Ok(self.refused()),
            LastTry::Fault(why) => Err(NotNow::Wait(self.provider_fault(after, Some(why), &why.to_string()))),
        }
    }

    /// The one place that deletes, what the permit is for, once nothing is lost by it that had to be kept. `Err` is an
    /// outcome that forbids it.
    ///
    /// Before *every* `DELETE`: in time, the guard says free *now*, and the ledger knows that it may have happened.
    /// So any wait, for the call's turn too, comes before the guard is asked.
    async fn delete(&mut self, _permit: &Permit, _safe: &Safe) -> Result<Result<Meaning<()>, Outcome>, NotNow> {
        let pass = self.eraser.pass().await?;
        if let Some(outcome) = self.guard().await? {
            return Ok(Err(outcome));
        }
        let free_since = Instant::now();
        if !self.record.deleting {
            let brake = self.eraser.settings.brake.as_ref();
            match self.eraser.ledger.deleting(&self.attempt, Timestamp::now(), brake).await? {
                Deletion::Allowed => self.record.deleting = true,
                Deletion::Braked { deletions } => return Err(NotNow::Wait(self.eraser.braked(deletions))),
            }
        }
        // The ledger may take seconds to write, as a database does that waits for its standby.
        if free_since.elapsed() > guard::FRESH
            && let Some(outcome) = self.guard().await?
        {
            return Ok(Err(outcome));
        }
        if let Some(outcome) = self.too_late() {
            return Ok(Err(outcome));
        }
        let answer = self.eraser.provider.delete(pass, &self.request.asset_id, &self.delivered.trace).await;
        self.provider = Some(LastWord { code: answer.code, msg: answer.msg });
        Ok(Ok(answer.meaning))
    }

    fn deleted(&mut self) -> Outcome {
        self.verified = true;
        Outcome::Deleted
    }

    fn refused(&self) -> Outcome {
        let word = self.provider.clone().unwrap_or_default();
        let (code, msg) = (word.code.unwrap_or_default(), word.msg.unwrap_or_default());
        Outcome::failed(Cause::ProviderRefused, format!("the provider answered code {code}: {msg}"))
    }
}

/// The first few jobs: an asset may be in thousands, and this goes into an event.
fn named(jobs: &[String]) -> String {
    let first = jobs.iter().take(JOBS_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match jobs.len().saturating_sub(JOBS_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The answer under a request ID that is used up and has no event to repeat.
fn conflict(request: &Request, by: &UsedUp, first_seen: Timestamp) -> ResultEvent {
    let id = &request.request_id;
    let detail = match by {
        UsedUp::AnotherRequest { asset_id } => {
            let first = asset_id.as_deref().unwrap_or_default();
            format!("request_id {id} was used before, for asset {first:?} or with another dry_run or backup")
        }
        UsedUp::Forgotten { outcome, decided } => {
            format!("request_id {id} was answered {outcome:?} on {decided:.0}, and its event is no longer kept")
        }
    };
    let outcome = Outcome::rejected(Cause::RequestConflict, detail);
    let subject = Subject { request_id: id, asset_id: Some(&request.asset_id), labels: &request.labels };
    ResultEvent::conflict(subject, &outcome, &request.to_json(), first_seen)
}

fn recorded(event: String) -> Result<ResultEvent, LedgerError> {
    ResultEvent::recorded(event).map_err(LedgerError::corrupt)
}
