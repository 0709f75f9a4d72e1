//! The decision procedure for one request, from intent to outcome. Knows no AMQP, no SQL and no HTTP server.
//!
//! The only `DELETE` is in `Run::delete`; read upwards from there to see what has to be true before it.

mod asset_locks;
mod backup;
mod brake;
mod cases;
mod conclusion;
mod contention;
mod controls;
mod lookups;
mod outage;
mod permit;
mod proof;
mod refusal;
mod suspects;
mod target;
mod url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use self::asset_locks::Turns;
use self::backup::Safe;
use self::conclusion::Waiting;
use self::controls::Controls;
use self::outage::{Outage, Witness};
use self::permit::{Permit, Withheld};
use self::suspects::{Company, Suspects};
use crate::contract::message::event::LastWord;
use crate::contract::message::{Cause, Notice, OnInUse, Outcome, Proof, Request, RequestId, ResultEvent, TraceContext};
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
    controls: Controls,
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

/// Why the checklist goes no further.
#[derive(Debug)]
enum End {
    /// The request is decided.
    Outcome(Outcome),
    /// To be tried again later.
    Wait(Waiting),
    /// The ledger did not take a record: nothing may be done without one.
    Ledger(LedgerError),
}

impl From<LedgerError> for End {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl From<Waiting> for End {
    fn from(waiting: Waiting) -> Self {
        Self::Wait(waiting)
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
    /// Whether this or an earlier attempt has found the asset.
    found: bool,
    provider: Option<LastWord>,
    /// Whether the asset's own URL still serves bytes after the deletion.
    url_serves: Option<bool>,
    /// What was seen of the sender of the provider's last answer, where that may be another.
    seen: Option<String>,
}

/// How the last `DELETE` failed, with the asset still there.
#[derive(Clone, Copy)]
enum LastTry {
    /// It answered "deleted".
    StillPresent,
    /// It answered "not found".
    NotFound,
    /// It answered a code that no rule is for.
    Unlisted,
    /// It gave no usable answer.
    Fault(Fault),
}

/// What two looks have seen.
enum Sight {
    Present(Detail),
    Gone(Absence),
}

/// Two looks did not find the asset.
#[derive(Clone, Copy, Debug)]
struct Absence {
    /// Whether a control was found between them.
    control_between: bool,
    /// When the last look had ended.
    looked: Instant,
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
        let controls = Controls::new(&settings.provider, provider.control_asset().is_some());
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
            controls,
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
        let found = record.seen;
        let mut run = Run {
            eraser,
            request,
            delivered,
            announce,
            record,
            began: Instant::now(),
            asset: None,
            found,
            provider: None,
            url_serves: None,
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
            outcome = self.outcome() => outcome,
        };
        match outcome {
            Ok(outcome) | Err(End::Outcome(outcome)) => Ok(Verdict::Answer(self.decide(&outcome).await?)),
            Err(End::Wait(waiting)) => self.put_off(waiting).await,
            Err(End::Ledger(error)) => Err(error),
        }
    }

    /// What the checklist comes to, and what a deletion left behind.
    async fn outcome(&mut self) -> Result<Outcome, End> {
        let outcome = match Box::pin(self.checklist()).await {
            Ok(outcome) | Err(End::Outcome(outcome)) => outcome,
            end => return end,
        };
        if matches!(outcome, Outcome::Deleted(_)) {
            Box::pin(self.ask_url()).await;
        }
        Ok(outcome)
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
    async fn checklist(&mut self) -> Result<Outcome, End> {
        // An earlier DELETE may have worked: before anything is said that sounds as if nothing was done, it is looked for.
        let sent = self.record.deletes > 0;
        if sent {
            self.confirm_target().await?;
        }
        self.in_time()?;
        let permit = match self.permit() {
            Ok(permit) => Some(permit),
            Err(Withheld::Protected(outcome)) => return Ok(outcome),
            Err(Withheld::DryRun) => None,
        };
        if !sent {
            self.confirm_target().await?;
        }
        let Some(permit) = permit else {
            self.guard().await?;
            return Ok(Outcome::WouldDelete);
        };
        // In a box: most requests want no copy, and need not be as large as if they did.
        let safe = Box::pin(self.back_up()).await?;
        self.delete_until_gone(&permit, &safe).await
    }

    /// Past the deadline nothing is deleted; a request that waited for a job until then says so.
    fn in_time(&self) -> Result<(), Outcome> {
        let Some(deadline) = self.request.deadline.filter(|deadline| self.now() >= *deadline) else { return Ok(()) };
        Err(if self.record.waited_for.as_deref() == Some(PutOff::InUse.as_str()) {
            Outcome::failed(Cause::InUse, format!("a job in progress still used the asset at the deadline {deadline}"))
        } else {
            Outcome::failed(Cause::DeadlinePassed, format!("the deadline {deadline} has passed"))
        })
    }

    /// Is it in use? `Ok` means that the guard answered "no job in progress" just now.
    async fn guard(&mut self) -> Result<(), End> {
        self.announce_start().await?;
        match self.ask_guard().await? {
            Some(jobs) => Err(self.used_by(guard::named(&jobs))),
            None => Ok(()),
        }
    }

    /// Something says that the asset is in use.
    fn used_by(&self, user: String) -> End {
        match self.request.on_in_use {
            // A rejection says that nothing was done, which is not known while an earlier DELETE is out.
            OnInUse::Reject if self.record.deletes == self.record.missed => {
                Outcome::rejected(Cause::InUse, format!("in use by {user}")).into()
            }
            OnInUse::Reject | OnInUse::Wait => Waiting::in_use(user).into(),
        }
    }

    /// Deletes until two witnesses agree, the provider refuses, or the in-process budget is used up.
    async fn delete_until_gone(&mut self, permit: &Permit, safe: &Safe) -> Result<Outcome, End> {
        let mut budget = self.eraser.budget().start();
        let mut without_effect = 0;
        loop {
            let (after, last) = match self.delete(permit, safe).await? {
                Meaning::Found(()) if !self.eraser.settings.provider.verify => {
                    return Ok(Outcome::Deleted(Proof::ProviderWord));
                }
                Meaning::Found(()) => {
                    if let Some(looked) = self.gone_after_success().await? {
                        return Ok(Outcome::Deleted(Box::pin(self.proof_after_success(looked)).await?));
                    }
                    without_effect += 1;
                    (None, LastTry::StillPresent)
                }
                unclear => self.after_no_success(unclear).await?,
            };
            match budget.next(after) {
                Some(delay) => tokio::time::sleep(delay).await,
                None if matches!(last, LastTry::StillPresent) && without_effect < LEAST_DELETES => {}
                None => return Err(self.give_up(last, after).await),
            }
        }
    }

    /// Whatever a `DELETE` said beside "deleted", the detail call knows what is true.
    async fn after_no_success(&mut self, unclear: Meaning<()>) -> Result<(Option<Duration>, LastTry), End> {
        let unclear = self.of_this_asset(unclear).await?;
        let (seen, said) = (self.seen.clone(), self.provider.clone());
        if matches!(unclear, Meaning::Gone | Meaning::InUse) {
            self.eraser.ledger.missed(&self.record.attempt).await?;
            self.record.missed += 1;
        }
        if let Sight::Gone(absence) = self.look_twice().await? {
            return Err(Box::pin(self.gone(absence)).await?.into());
        }
        (self.seen, self.provider) = (seen, said);
        match unclear {
            Meaning::Refused => Err(self.refused().into()),
            Meaning::InUse => Err(self.used_by(format!("a task that the provider knows of ({})", self.said()))),
            Meaning::Retry { after: _, why: why @ Fault::OfThisAsset(_) } => {
                Err(Waiting::refused(self.told(why)).into())
            }
            Meaning::Retry { after, why } => {
                self.provider_failed(why, &self.told(why)).await?;
                Ok((after, LastTry::Fault(why)))
            }
            Meaning::Gone => Ok((None, LastTry::NotFound)),
            Meaning::Found(()) | Meaning::KeyRefused(_) | Meaning::Unlisted => Ok((None, LastTry::Unlisted)),
        }
    }

    /// The budget of `DELETE`s in this process is used up.
    async fn give_up(&self, last: LastTry, after: Option<Duration>) -> End {
        match last {
            // A deletion may take the provider minutes.
            LastTry::StillPresent => {
                Waiting::still_present("the provider answers \"deleted\" and still has the asset".to_owned()).into()
            }
            // The two calls contradict each other: one of them was answered for another account, or too late.
            LastTry::NotFound => Waiting::refused(self.said()).into(),
            LastTry::Unlisted => self.refused().into(),
            LastTry::Fault(why) => self.provider_fault(after, Some(why), &self.told(why)).await.into(),
        }
    }

    /// An unclear answer to a `DELETE`. A refused key is one only where the key is not good for other assets either.
    async fn of_this_asset(&self, unclear: Meaning<()>) -> Result<Meaning<()>, End> {
        match unclear {
            Meaning::KeyRefused(status) => {
                let why = self.eraser.key_refused(status, self.seen.as_deref()).await?;
                Ok(Meaning::Retry { after: None, why })
            }
            other => Ok(other),
        }
    }

    /// The one place that deletes, what the permit is for, once nothing is lost by it that had to be kept.
    ///
    /// Before *every* `DELETE`: in time, the guard says free *now*, and the ledger knows that it may have happened, and that
    /// no other attempt has begun. So any wait, for the call's turn too, comes before the guard is asked.
    async fn delete(&mut self, _permit: &Permit, _safe: &Safe) -> Result<Meaning<()>, End> {
        let pass = self.eraser.pass().await?;
        self.guard().await?;
        let free = Instant::now();
        self.in_time()?;
        self.record_delete().await?;
        self.still_allowed(free).await?;
        let answer = self.eraser.provider.delete(pass, &self.request.asset_id, &self.delivered.trace).await;
        self.provider = Some(answer.words());
        self.seen = answer.seen;
        Ok(answer.meaning)
    }

    /// Puts on record that a `DELETE` may have been sent. The ledger refuses an attempt that was superseded.
    async fn record_delete(&mut self) -> Result<(), End> {
        let brake = self.eraser.settings.brake.as_ref();
        match self.eraser.ledger.deleting(&self.record.attempt, brake, self.found).await? {
            Deletion::Allowed => self.record.deletes += 1,
            Deletion::Braked { deletions } => return Err(self.eraser.braked(deletions).into()),
        }
        Ok(())
    }

    /// Asks once more for what allows the `DELETE` that was just recorded, if the record took so long that something may have
    /// changed. If it has, it is on record that it was not sent.
    async fn still_allowed(&mut self, free: Instant) -> Result<(), End> {
        let again = match self.in_time() {
            Ok(()) if free.elapsed() <= guard::FRESH => return Ok(()),
            Ok(()) => self.guard().await,
            Err(late) => Err(late.into()),
        };
        if again.is_err() {
            self.eraser.ledger.not_sent(&self.record.attempt).await?;
            self.record.deletes -= 1;
        }
        again
    }

    fn refused(&self) -> Outcome {
        Outcome::failed(Cause::ProviderRefused, self.said())
    }

    /// What the provider answered last, for a person.
    fn said(&self) -> String {
        let word = self.provider.clone().unwrap_or_default();
        let status = word.status.map(|status| format!("HTTP {status}, ")).unwrap_or_default();
        let (code, msg) = (word.code.unwrap_or_default(), word.msg.unwrap_or_default());
        format!("the provider answered {status}code {code}: {msg}")
    }
}

fn recorded(event: String) -> Result<ResultEvent, LedgerError> {
    ResultEvent::recorded(event).map_err(LedgerError::corrupt)
}

#[cfg(test)]
mod tests;
