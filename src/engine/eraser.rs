//! The decision procedure for one request, from intent to outcome. Knows no AMQP, no SQL and no HTTP server.
//!
//! The only `DELETE` is in `Run::delete`; read upwards from there to see what has to be true before it.

mod asset_locks;
mod backup;
mod brake;
mod cases;
mod conclusion;
mod contention;
mod lookups;
mod outage;
mod permit;
mod refusal;
mod suspects;
mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use self::asset_locks::Turns;
use self::backup::Safe;
use self::conclusion::Waiting;
use self::outage::{Outage, Witness};
use self::permit::{Permit, Withheld};
use self::suspects::{Company, Suspects};
use crate::contract::message::event::LastWord;
use crate::contract::message::{Cause, Notice, OnInUse, Outcome, Request, RequestId, ResultEvent, TraceContext};
use crate::contract::reasons::{Buried, PutOff, Stop};
use crate::neighbours::backup::Backups;
use crate::neighbours::guard::{self, Guard};
use crate::neighbours::ledger::{Asked, Begun, Deletion, Ledger, LedgerError, Past, Record};
use crate::neighbours::pace::intake::Intake;
use crate::neighbours::provider::{Client, Detail, Fault, Meaning};
use crate::platform::telemetry::metrics::Metrics;
use crate::settings::Settings;

/// Detail calls after a `DELETE` that answered "deleted" while the asset is still found, before it is sent again.
const LOOKS_AFTER_DELETE: u32 = 4;

/// `DELETE`s that answered "deleted" without effect before that is given up, however short the in-process budget is:
/// the looks after the first one can use all of it up.
const LEAST_DELETES: u32 = 2;

/// Decides requests. Clones share everything.
#[derive(Clone)]
pub struct Eraser(Arc<EraserParts>);

struct EraserParts {
    settings: Settings,
    provider: Client,
    guard: Guard,
    ledger: Ledger,
    backups: Backups,
    line: Intake,
    metrics: Metrics,
    /// One request at a time per asset: two at once would each see the other's half-done work.
    turns: Turns,
    suspects: Suspects,
    provider_outage: Outage,
    guard_outage: Outage,
    /// Whether the provider answers a probe well, asked when it has refused the key.
    key_witness: Witness<bool>,
}

/// What the worker has to do with the delivery now.
#[derive(Debug)]
pub enum Verdict {
    /// Publish this, then acknowledge.
    Answer(Publication),
    /// Publish the answer if there is one, put a copy into the dead queue, then acknowledge.
    Bury {
        /// The answer, when the request could be told apart from others.
        answer: Option<Publication>,
        /// For what.
        why: Buried,
        /// A sentence for a person.
        detail: String,
    },
    /// Put a copy into a wait queue and acknowledge.
    PutOff {
        /// One of the configured delays.
        delay: Duration,
        /// Why.
        reason: PutOff,
    },
    /// Give it back uncounted: the worker shuts down.
    HandBack,
}

/// What is to be published before a delivery may be acknowledged.
#[derive(Debug)]
pub struct Publication {
    /// The result.
    pub event: Box<ResultEvent>,
    /// That the request's case is complete, when it is.
    pub case: Option<Box<Notice>>,
    /// The request whose recorded answer this is; `None` for an answer that is on record nowhere.
    pub recorded: Option<RequestId>,
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
}

/// Why a request cannot be decided now. Everything else is an [`Outcome`].
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
    eraser: &'a EraserParts,
    request: &'a Request,
    delivered: &'a Delivered,
    announce: &'a dyn Announce,
    record: Record,
    /// When the attempt began, by the clock that only goes forward.
    began: Instant,
    asset: Option<Detail>,
    verified: bool,
    provider: Option<LastWord>,
    /// What was seen of the sender of the provider's last answer, where that may be another.
    seen: Option<String>,
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
        line: Intake,
        metrics: Metrics,
    ) -> Self {
        let outage = |stop, way| Outage::new(stop, way, line.clone(), metrics.clone());
        let provider_outage = outage(Stop::ProviderDown, format!("; {}", provider.way()));
        let guard_outage = outage(Stop::GuardDown, String::new());
        let (turns, suspects) = (Turns::default(), Suspects::default());
        Self(Arc::new(EraserParts {
            settings,
            provider,
            guard,
            ledger,
            backups,
            line,
            metrics,
            turns,
            suspects,
            provider_outage,
            guard_outage,
            key_witness: Witness::default(),
        }))
    }

    /// Takes a request as far as it can be taken now, or until `hand_back` is cancelled.
    ///
    /// # Errors
    /// When the ledger cannot be written. Nothing is deleted or answered then; the same request may be passed again.
    pub async fn erase(
        &self,
        request: &Request,
        delivered: &Delivered,
        announce: &dyn Announce,
        hand_back: &CancellationToken,
    ) -> Result<Verdict, LedgerError> {
        let eraser = &*self.0;
        let _turn = eraser.turns.take(&request.asset_id).await;
        // The intent is durable before the guard is asked: a job starter that registers its job and then asks the
        // ledger sees this request, or the guard sees the job.
        let (begun, place) = match eraser.begin(request).await? {
            Ok(begun) => begun,
            Err(verdict) => return Ok(verdict),
        };
        let record = match begun {
            Begun::Open(record) => record,
            // Only said of an attempt beside others.
            Begun::Suspect => return Ok(Verdict::PutOff { delay: eraser.shortest(), reason: PutOff::Suspect }),
            Begun::Busy { contended } => return Ok(eraser.give_way(request, contended)),
            Begun::Decided { event, past } => return eraser.again(request, recorded(event)?, past).await,
            Begun::UsedUp { by, first_seen } => return eraser.conflict(request, &by, first_seen).await,
        };
        let mut run = Run {
            eraser,
            request,
            delivered,
            announce,
            record,
            began: Instant::now(),
            asset: None,
            verified: false,
            provider: None,
            seen: None,
        };
        match run.attempt(&place, hand_back).await {
            Err(LedgerError::Superseded { .. }) => {
                let contended = eraser.ledger.superseded(&request.request_id).await?;
                Ok(eraser.give_way(request, contended))
            }
            ended => ended,
        }
    }

    /// Records that the broker has confirmed this answer: before that, the ledger keeps all of it.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn heard(&self, answer: &Publication) -> Result<(), LedgerError> {
        let Some(request_id) = &answer.recorded else { return Ok(()) };
        self.0.ledger.heard(request_id).await
    }
}

impl EraserParts {
    /// The answer to a request that was decided before. One that had crashed its worker too often is buried, too, unless
    /// that is done: the answer is only heard after it.
    async fn again(&self, request: &Request, event: ResultEvent, past: Past) -> Result<Verdict, LedgerError> {
        self.count_outside(&request.labels, past.of_case.as_deref(), &event, &request.to_json()).await?;
        let answer = self.answer(event, &request.labels).await?;
        if past.interrupted < self.settings.broker.delivery_limit || past.heard {
            return Ok(Verdict::Answer(answer));
        }
        Ok(Verdict::Bury { answer: Some(answer), why: Buried::DeliveryLimit, detail: crashed(past.interrupted) })
    }
}

fn crashed(interrupted: u32) -> String {
    format!("its worker ended in the middle of it {interrupted} times in a row; it was not tried again")
}

fn asked(request: &Request) -> Asked {
    Asked {
        request_id: request.request_id.clone(),
        asset_id: request.asset_id.clone(),
        case_id: request.labels.case_id.clone(),
        dry_run: request.dry_run,
        backup: request.backup,
        request: request.to_json(),
    }
}

impl Run<'_> {
    /// One attempt, from its record to its end on record.
    async fn attempt(&mut self, place: &Company, hand_back: &CancellationToken) -> Result<Verdict, LedgerError> {
        if let Company::NoneLeft = place {
            return Ok(Verdict::Answer(self.decide(&self.too_old(&Waiting::suspect())).await?));
        }
        let interrupted = self.record.interrupted;
        if interrupted >= self.eraser.settings.broker.delivery_limit {
            let detail = crashed(interrupted);
            let answer = self.decide(&Outcome::failed(Cause::AttemptsExhausted, &detail)).await?;
            return Ok(Verdict::Bury { answer: Some(answer), why: Buried::DeliveryLimit, detail });
        }
        if let Some(outcome) = self.other_case_size().await? {
            return Ok(Verdict::Answer(self.decide(&outcome).await?));
        }
        let outcome = tokio::select! {
            // Dropping the checklist is safe at any point: what it did so far is in the ledger.
            () = hand_back.cancelled() => return self.hand_back().await,
            outcome = self.checklist() => outcome,
        };
        match outcome {
            Ok(outcome) => Ok(Verdict::Answer(self.decide(&outcome).await?)),
            Err(NotNow::Wait(waiting)) => self.put_off(waiting).await,
            Err(NotNow::Ledger(error)) => Err(error),
        }
    }

    /// The attempt ends with its worker, in order: it counts as no crash.
    async fn hand_back(&self) -> Result<Verdict, LedgerError> {
        self.eraser.ledger.hand_back(&self.record.attempt).await?;
        Ok(Verdict::HandBack)
    }

    /// The time by the ledger's clock.
    fn now(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.began.elapsed()).unwrap_or(SignedDuration::MAX);
        self.record.now.checked_add(since).unwrap_or(Timestamp::MAX)
    }

    /// The provider's own checklist, for what may be deleted at all: confirm the target, keep a copy if one is wanted, ask
    /// whether it is in use, delete, verify.
    async fn checklist(&mut self) -> Result<Outcome, NotNow> {
        // An earlier DELETE may have worked: before anything is said that sounds as if nothing was done, it is looked for.
        let sent = self.record.deletes > 0;
        if sent && let Some(outcome) = self.confirm_target().await? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.too_late() {
            return Ok(outcome);
        }
        let permit = match self.permit() {
            Ok(permit) => Some(permit),
            Err(Withheld::Protected(outcome)) => return Ok(outcome),
            Err(Withheld::DryRun) => None,
        };
        if !sent && let Some(outcome) = self.confirm_target().await? {
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
        let deadline = self.request.deadline.filter(|deadline| self.now() >= *deadline)?;
        Some(if self.record.waited_for.as_deref() == Some(PutOff::InUse.as_str()) {
            Outcome::failed(Cause::InUse, format!("a job in progress still used the asset at the deadline {deadline}"))
        } else {
            Outcome::failed(Cause::DeadlinePassed, format!("the deadline {deadline} has passed"))
        })
    }

    /// Is it in use? `None` means that the guard answered "no job in progress" just now.
    async fn guard(&mut self) -> Result<Option<Outcome>, NotNow> {
        self.announce_start().await?;
        let Some(jobs) = self.ask_guard().await? else { return Ok(None) };
        let jobs = guard::named(&jobs);
        match self.request.on_in_use {
            // A rejection says that nothing was done, which is not known while an earlier DELETE is out.
            OnInUse::Reject if self.record.deletes == 0 => {
                Ok(Some(Outcome::rejected(Cause::InUse, format!("in use by {jobs}"))))
            }
            OnInUse::Reject | OnInUse::Wait => Err(NotNow::Wait(Waiting::in_use(jobs))),
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
                // Whatever else the DELETE said, the detail call knows what is true.
                unclear => {
                    let unclear = self.of_this_asset(unclear).await?;
                    let seen = self.seen.clone();
                    if matches!(unclear, Meaning::Gone) {
                        self.eraser.ledger.missed(&self.record.attempt).await?;
                        self.record.missed += 1;
                    }
                    if let Sight::Gone = self.look_twice().await? {
                        return Ok(self.gone());
                    }
                    self.seen = seen;
                    match unclear {
                        Meaning::Refused => return Ok(self.refused()),
                        Meaning::Retry { after, why } => {
                            self.provider_failed(why, &self.told(why)).await?;
                            (after, LastTry::Fault(why))
                        }
                        _ => (None, LastTry::Unlisted),
                    }
                }
            };
            match budget.next(after) {
                Some(delay) => tokio::time::sleep(delay).await,
                None if matches!(last, LastTry::StillPresent) && without_effect < LEAST_DELETES => {}
                None => return self.give_up(last, after).await,
            }
        }
    }

    /// The budget of `DELETE`s in this process is used up.
    async fn give_up(&self, last: LastTry, after: Option<Duration>) -> Result<Outcome, NotNow> {
        match last {
            LastTry::StillPresent => {
                Ok(Outcome::failed(Cause::StillPresent, "the provider answers \"deleted\" and still has the asset"))
            }
            LastTry::Unlisted => Ok(self.refused()),
            LastTry::Fault(why) => Err(NotNow::Wait(self.provider_fault(after, Some(why), &self.told(why)).await)),
        }
    }

    /// An unclear answer to a `DELETE`. A refused key is one only where the key is good for a probe.
    async fn of_this_asset(&self, unclear: Meaning<()>) -> Result<Meaning<()>, NotNow> {
        match unclear {
            Meaning::KeyRefused(status) => {
                let why = self.eraser.key_refused(status, self.seen.as_deref()).await?;
                Ok(Meaning::Retry { after: None, why })
            }
            other => Ok(other),
        }
    }

    /// The one place that deletes, what the permit is for, once nothing is lost by it that had to be kept. `Err` is an
    /// outcome that forbids it.
    ///
    /// Before *every* `DELETE`: in time, the guard says free *now*, and the ledger knows that it may have happened, and that
    /// no other attempt has begun. So any wait, for the call's turn too, comes before the guard is asked.
    async fn delete(&mut self, _permit: &Permit, _safe: &Safe) -> Result<Result<Meaning<()>, Outcome>, NotNow> {
        let pass = self.eraser.pass().await?;
        if let Some(outcome) = self.guard().await? {
            return Ok(Err(outcome));
        }
        let free = Instant::now();
        if let Some(outcome) = self.too_late() {
            return Ok(Err(outcome));
        }
        self.record_delete().await?;
        if let Some(outcome) = self.withheld(free).await? {
            return Ok(Err(outcome));
        }
        let answer = self.eraser.provider.delete(pass, &self.request.asset_id, &self.delivered.trace).await;
        self.provider = Some(LastWord { code: answer.code, msg: answer.msg });
        self.seen = answer.seen;
        Ok(Ok(answer.meaning))
    }

    /// Puts on record that a `DELETE` may have been sent. The ledger refuses an attempt that was superseded.
    async fn record_delete(&mut self) -> Result<(), NotNow> {
        let brake = self.eraser.settings.brake.as_ref();
        match self.eraser.ledger.deleting(&self.record.attempt, brake).await? {
            Deletion::Allowed => self.record.deletes += 1,
            Deletion::Braked { deletions } => return Err(NotNow::Wait(self.eraser.braked(deletions))),
        }
        Ok(())
    }

    /// What forbids the `DELETE` that was just recorded, if the record took so long that something may have changed. Then
    /// it is on record that it was not sent.
    async fn withheld(&mut self, free: Instant) -> Result<Option<Outcome>, NotNow> {
        let again = match self.too_late() {
            None if free.elapsed() <= guard::FRESH => return Ok(None),
            None => self.guard().await,
            late => Ok(late),
        };
        if !matches!(again, Ok(None)) {
            self.eraser.ledger.not_sent(&self.record.attempt).await?;
            self.record.deletes -= 1;
        }
        again
    }

    /// Two looks found the asset gone. Only the ledger can tell whether this request did it: a `DELETE` that was answered
    /// "not found" did not.
    fn gone(&mut self) -> Outcome {
        if self.record.deletes > self.record.missed {
            return self.deleted();
        }
        self.verified = true;
        Outcome::AlreadyAbsent
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

fn recorded(event: String) -> Result<ResultEvent, LedgerError> {
    ResultEvent::recorded(event).map_err(LedgerError::corrupt)
}
