//! The decision procedure for one request, from intent to outcome. Knows no AMQP, no SQL and no HTTP server.
//!
//! The only `DELETE` is in `Run::delete`; read upwards from there to see what has to be true before it.

mod calls;
mod settle;
mod turns;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use self::settle::Waiting;
use self::turns::Turns;
use crate::config::Settings;
use crate::guard::{Guard, GuardAnswer};
use crate::ledger::{Asked, Begun, Ledger, LedgerError, Record, Refused};
use crate::message::event::{Facts, LastWord, Subject};
use crate::message::{Cause, OnInUse, Outcome, Request, ResultEvent, TraceContext, Unreadable};
use crate::pace::circuit::Circuit;
use crate::pace::line::{Line, Stop};
use crate::pace::pause::Pause;
use crate::provider::{Client, Detail, Meaning};
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
    line: Line,
    pause: Pause,
    metrics: Metrics,
    /// One request at a time per asset: two at once would each see the other's half-done work.
    turns: Turns,
    /// Sees the provider's failures of all requests together.
    circuit: Mutex<Circuit>,
}

/// What the worker has to do with the delivery now.
#[derive(Debug)]
pub enum Verdict {
    /// Publish this event, then acknowledge.
    Answer(Box<ResultEvent>),
    /// Publish the event if there is one, put a copy into the dead queue, then acknowledge.
    Bury {
        /// The answer, when the request could be told apart from others.
        event: Option<Box<ResultEvent>>,
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
    record: Record,
    asset: Option<Detail>,
    verified: bool,
    provider: Option<LastWord>,
}

/// How the last `DELETE` failed, with the asset still there.
enum LastTry {
    /// It answered "deleted".
    StillPresent,
    /// It answered a code that is on no list.
    Unlisted,
    /// It gave no usable answer.
    Fault(String),
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
        line: Line,
        metrics: Metrics,
    ) -> Self {
        let circuit = Mutex::new(Circuit::default());
        let (pause, turns) = (Pause::default(), Turns::default());
        Self(Arc::new(Inner { settings, provider, guard, ledger, line, pause, metrics, turns, circuit }))
    }

    /// Takes a request as far as it can be taken now.
    ///
    /// # Errors
    /// When the ledger can't be written. Nothing is deleted or answered then; the same request may be passed again.
    pub async fn erase(&self, request: &Request, delivered: &Delivered) -> Result<Verdict, LedgerError> {
        let eraser = &*self.0;
        let _turn = eraser.turns.take(&request.asset_id).await;
        let asked = Asked {
            request_id: request.request_id.clone(),
            asset_id: request.asset_id.clone(),
            case_id: request.labels.case_id.clone(),
            dry_run: request.dry_run,
            request: request.to_json(),
        };
        // The intent is durable before the guard is asked: a job starter that registers its job and then asks the
        // ledger sees this request, or the guard sees the job.
        let record = match eraser.ledger.begin(asked, Timestamp::now()).await? {
            Begun::Open(record) => record,
            Begun::Decided(event) => return Ok(Verdict::Answer(Box::new(recorded(event)?))),
            Begun::Conflict { asset_id } => return Ok(Verdict::Answer(Box::new(conflict(request, asset_id)))),
        };
        let mut run = Run { eraser, request, delivered, record, asset: None, verified: false, provider: None };
        if delivered.delivery_count >= u64::from(eraser.settings.broker.delivery_limit) {
            let detail =
                format!("the worker did not survive it {} times; it was not tried again", delivered.delivery_count);
            let event = run.decide(&Outcome::failed(Cause::AttemptsExhausted, &detail)).await?;
            return Ok(Verdict::Bury { event: Some(Box::new(event)), why: "delivery_limit", detail });
        }
        match run.checklist().await {
            Ok(outcome) => Ok(Verdict::Answer(Box::new(run.decide(&outcome).await?))),
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
        let mut event = None;
        if let Some(request_id) = &bad.request_id {
            let subject = Subject { request_id, asset_id: bad.asset_id.as_ref(), labels: &bad.labels };
            let outcome = Outcome::rejected(Cause::InvalidRequest, &bad.problem);
            let (facts, now) = (Facts { attempts: 1, ..Facts::default() }, Timestamp::now());
            let refusal = ResultEvent::new(subject, &outcome, facts, now);
            if let Refused::Recorded(text) = self.0.ledger.refuse(request_id, refusal.body, now).await? {
                event = Some(Box::new(recorded(text)?));
            }
        }
        Ok(Verdict::Bury { event, why: "invalid_request", detail: bad.problem.clone() })
    }

    /// Asks whatever stopped the line whether it is well again, and lets the line go on where it is.
    pub async fn probe(&self) {
        let eraser = &*self.0;
        for (stop, _) in eraser.line.stopped() {
            let well = match stop {
                Stop::Ledger => eraser.ledger.probe().await.is_ok(),
                Stop::ProviderBusy => eraser.pause.left().is_zero(),
                Stop::ProviderKey => !matches!(eraser.provider.probe().await.meaning, Meaning::KeyRefused(_)),
                Stop::ProviderDown => {
                    !matches!(eraser.provider.probe().await.meaning, Meaning::Retry { .. } | Meaning::KeyRefused(_))
                }
            };
            if well {
                if stop == Stop::ProviderDown {
                    eraser.succeeded();
                }
                eraser.line.resume(stop);
            }
        }
    }
}

impl Run<'_> {
    /// The provider's own checklist: confirm the target, ask whether it is in use, delete, verify.
    async fn checklist(&mut self) -> Result<Outcome, NotNow> {
        if let Some(outcome) = self.too_late() {
            return Ok(outcome);
        }
        if let Some(outcome) = self.confirm_target().await? {
            return Ok(outcome);
        }
        if self.request.dry_run {
            return Ok(match self.guard().await? {
                Some(outcome) => outcome,
                None => Outcome::WouldDelete,
            });
        }
        self.delete_until_gone().await
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

    /// Is the asset there, and is it the one that was meant? `Some` ends the request.
    async fn confirm_target(&mut self) -> Result<Option<Outcome>, NotNow> {
        let settings = &self.eraser.settings.provider;
        if !settings.confirm_target && self.request.expect.is_none() && !self.record.deleting {
            return Ok(None);
        }
        let found = match self.look_twice().await? {
            Sight::Present(detail) => detail,
            // Only the ledger can tell who made it vanish: an earlier attempt of this request, or somebody else.
            Sight::Gone => {
                self.verified = true;
                return Ok(Some(if self.record.deleting { Outcome::Deleted } else { Outcome::AlreadyAbsent }));
            }
        };
        let mismatch = found.as_ref().and_then(|found| mismatch(self.request, found));
        self.asset = found;
        Ok(mismatch)
    }

    /// Is it in use? `None` means that the guard answered "no job in progress" just now.
    async fn guard(&mut self) -> Result<Option<Outcome>, NotNow> {
        let jobs = match self.ask_guard().await? {
            GuardAnswer::Free => return Ok(None),
            GuardAnswer::InUse { jobs } => named(&jobs),
            GuardAnswer::Unknown { why } => return Err(NotNow::Wait(Waiting::guard(why))),
        };
        match self.request.on_in_use {
            OnInUse::Reject => Ok(Some(Outcome::rejected(Cause::InUse, format!("in use by {jobs}")))),
            OnInUse::Wait => Err(NotNow::Wait(Waiting::in_use(jobs))),
        }
    }

    /// Deletes until two witnesses agree, the provider refuses, or the in-process budget is used up.
    async fn delete_until_gone(&mut self) -> Result<Outcome, NotNow> {
        let mut budget = self.eraser.budget().start();
        let mut deletes = 0;
        loop {
            let answer = match self.delete().await? {
                Ok(answer) => answer,
                Err(outcome) => return Ok(outcome),
            };
            deletes += 1;
            let (after, last) = match answer {
                Meaning::Found(()) if !self.eraser.settings.provider.verify => return Ok(Outcome::Deleted),
                Meaning::Found(()) => {
                    if self.gone_after_success().await? {
                        return Ok(self.deleted());
                    }
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
                        Meaning::Retry { after, why } => (after, LastTry::Fault(why.to_string())),
                        _ => (None, LastTry::Unlisted),
                    }
                }
            };
            match budget.next(after) {
                Some(delay) => self.eraser.wait(delay, after).await,
                None if matches!(last, LastTry::StillPresent) && deletes < LEAST_DELETES => {}
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
            LastTry::Fault(why) => Err(NotNow::Wait(self.provider_fault(after, &why))),
        }
    }

    /// The one place that deletes. `Err` is an outcome that forbids it.
    ///
    /// Before *every* `DELETE`: in time, the guard says free *now*, and the ledger knows that it may have happened.
    /// So any wait comes before the guard is asked.
    async fn delete(&mut self) -> Result<Result<Meaning<()>, Outcome>, NotNow> {
        self.eraser.paused().await?;
        if let Some(outcome) = self.guard().await? {
            return Ok(Err(outcome));
        }
        if !self.record.deleting {
            self.eraser.ledger.deleting(&self.request.request_id, Timestamp::now()).await?;
            self.record.deleting = true;
        }
        if let Some(outcome) = self.too_late() {
            return Ok(Err(outcome));
        }
        let answer = self.eraser.provider.delete(&self.request.asset_id, &self.delivered.trace).await;
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

fn mismatch(request: &Request, found: &Detail) -> Option<Outcome> {
    let expect = request.expect.as_ref()?;
    let differs = |field: &str, wanted: Option<&String>, is: Option<&String>| {
        wanted.filter(|wanted| Some(*wanted) != is).map(|wanted| {
            let is = is.map_or("nothing", String::as_str);
            Outcome::rejected(Cause::AssetMismatch, format!("expected {field} {wanted:?}, the provider says {is:?}"))
        })
    };
    differs("asset_type", expect.asset_type.as_ref(), found.asset_type.as_ref())
        .or_else(|| differs("name", expect.name.as_ref(), found.name.as_ref()))
}

/// The first few jobs: an asset may be in thousands, and this goes into an event.
fn named(jobs: &[String]) -> String {
    let first = jobs.iter().take(JOBS_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match jobs.len().saturating_sub(JOBS_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn conflict(request: &Request, first: Option<String>) -> ResultEvent {
    let first = first.unwrap_or_default();
    let detail =
        format!("request_id {} was used before, for asset {first:?} or with another dry_run", request.request_id);
    let outcome = Outcome::rejected(Cause::RequestConflict, detail);
    let subject =
        Subject { request_id: &request.request_id, asset_id: Some(&request.asset_id), labels: &request.labels };
    ResultEvent::conflict(subject, &outcome, Facts::default(), Timestamp::now())
}

fn recorded(event: String) -> Result<ResultEvent, LedgerError> {
    ResultEvent::recorded(event).map_err(LedgerError::corrupt)
}
