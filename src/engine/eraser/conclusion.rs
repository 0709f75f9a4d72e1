//! How an attempt ends: an outcome on record, or a wait on record.

use std::time::Duration;

use jiff::Timestamp;

use super::{EraserParts, Publication, Run, Verdict, recorded};
use crate::contract::message::event::{AssetSeen, Facts, Subject};
use crate::contract::message::request::Labels;
use crate::contract::message::{Cause, Outcome, Request, RequestId, ResultEvent};
use crate::contract::reasons::{PutOff, Stop};
use crate::neighbours::ledger::LedgerError;
use crate::neighbours::provider::Detail;
use crate::settings::brief;

/// A request has to wait: for what, and whether that uses up one of its steps of the wait ladder.
#[derive(Debug)]
pub(super) struct Waiting {
    reason: PutOff,
    why: String,
    kind: WaitKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitKind {
    /// A job uses the asset: polled, costs no step.
    InUse,
    /// A fault of this request: costs a step, and ends with this cause once all are used up.
    Fault(Cause),
    /// Its turn has not come: costs no step.
    Pace,
    /// A trouble that every request has: costs no step.
    Common,
}

impl Waiting {
    pub(super) fn in_use(jobs: String) -> Self {
        Self { reason: PutOff::InUse, why: jobs, kind: WaitKind::InUse }
    }

    pub(super) fn guard(why: String) -> Self {
        Self { reason: PutOff::Guard, why, kind: WaitKind::Fault(Cause::AttemptsExhausted) }
    }

    pub(super) fn backup(why: String) -> Self {
        Self { reason: PutOff::Backup, why, kind: WaitKind::Fault(Cause::BackupFailed) }
    }

    /// As many backups as may be made at once are being made.
    pub(super) fn backup_turn() -> Self {
        Self {
            reason: PutOff::Backup,
            why: "there were others to be made (backup.concurrency)".to_owned(),
            kind: WaitKind::Pace,
        }
    }

    pub(super) fn provider(why: String) -> Self {
        Self { reason: PutOff::Provider, why, kind: WaitKind::Fault(Cause::AttemptsExhausted) }
    }

    /// The provider refuses this asset, and not the key: that may be over later.
    pub(super) fn refused(why: String) -> Self {
        Self { reason: PutOff::Provider, why, kind: WaitKind::Fault(Cause::ProviderRefused) }
    }

    /// The provider answered "deleted" and still has the asset.
    pub(super) fn still_present(why: String) -> Self {
        Self { reason: PutOff::StillPresent, why, kind: WaitKind::Fault(Cause::StillPresent) }
    }

    /// The provider says that there are too many calls: the pace is to blame, and no step is used up for it.
    pub(super) fn pace(why: String) -> Self {
        Self { reason: PutOff::Pace, why, kind: WaitKind::Pace }
    }

    /// The broker did not take an event: its connection is lost, and every delivery comes back, or a queue refuses it.
    pub(super) fn broker() -> Self {
        Self { reason: PutOff::Broker, why: "the broker did not take an event".to_owned(), kind: WaitKind::Common }
    }

    pub(super) fn stopped(stop: Stop, why: String) -> Self {
        Self { reason: PutOff::Stopped(stop), why, kind: WaitKind::Common }
    }

    /// The request may be the one that ends its workers, and another such request is at work.
    pub(super) fn suspect() -> Self {
        let why = "its worker ended during it before, and another such request was at work".to_owned();
        Self { reason: PutOff::Suspect, why, kind: WaitKind::Common }
    }
}

impl EraserParts {
    /// What has to be published for a decision that is on record.
    pub(super) async fn answer(&self, event: ResultEvent, labels: &Labels) -> Result<Publication, LedgerError> {
        let recorded = RequestId::parse(&event.request_id).map_err(LedgerError::corrupt)?;
        Ok(Publication { event: Box::new(event), case: self.completed_case(labels).await?, recorded: Some(recorded) })
    }

    /// A request that is answered when its deadline passes should be answered then, not an hour later: the longest delay
    /// that ends before the deadline, or the shortest there is.
    pub(super) fn not_past(&self, deadline: Option<Timestamp>, delay: Duration, now: Timestamp) -> Duration {
        let Some(deadline) = deadline else { return delay };
        let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
        let steps = self.settings.retry.wait_steps.iter().copied();
        let fitting = steps.chain([delay]).filter(|step| *step <= left && *step <= delay).max();
        fitting.unwrap_or_else(|| self.shortest().min(delay))
    }
}

impl Run<'_> {
    /// Makes the outcome durable. What is on record wins: a decision is never changed.
    pub(super) async fn decide(&self, outcome: &Outcome) -> Result<Publication, LedgerError> {
        let facts = Facts {
            asset: self.asset.as_ref().map(seen),
            attempts: self.record.attempts,
            received_at: Some(self.record.first_seen),
            provider: self.provider.clone(),
            backup: self.record.backup.clone(),
            delete_sent: self.record.deletes > 0,
            url_serves: self.url_serves,
        };
        let (ledger, outcome, request) = (self.eraser.ledger.id(), outcome.clone(), self.request.clone());
        let decision = outcome.clone();
        let event = move |now| {
            let Request { request_id, asset_id, labels, .. } = &request;
            let subject = Subject { request_id, asset_id: Some(asset_id), labels };
            ResultEvent::new(ledger, subject, &outcome, facts, now).body
        };
        let decided = self.eraser.ledger.decide(&self.record.attempt, &decision, event).await?;
        self.eraser.metrics.decided_after(self.age());
        self.eraser.answer(recorded(decided)?, &self.request.labels).await
    }

    /// Puts the request off, or ends it when it has waited long enough.
    pub(super) async fn put_off(&self, waiting: Waiting) -> Result<Verdict, LedgerError> {
        let for_backup = waiting.reason == PutOff::Backup;
        if let Some(outcome) = self.waited_enough(&waiting) {
            if for_backup {
                self.eraser.metrics.backup_failed();
            }
            return Ok(Verdict::Answer(self.decide(&outcome).await?));
        }
        let steps = &self.eraser.settings.retry.wait_steps;
        let step = usize::try_from(self.record.rung).unwrap_or(usize::MAX);
        let (rung, delay) = match waiting.kind {
            WaitKind::InUse => (self.record.rung, patient(steps, self.eraser.settings.guard.poll, self.age())),
            WaitKind::Fault(_) => (self.record.rung + 1, steps.get(step).copied().unwrap_or(self.eraser.shortest())),
            WaitKind::Pace | WaitKind::Common => (self.record.rung, patient(steps, self.eraser.shortest(), self.age())),
        };
        self.eraser.ledger.put_off(&self.record.attempt, rung, waiting.reason.as_str()).await?;
        if for_backup {
            self.eraser.metrics.backup_put_off();
        }
        tracing::info!(reason = waiting.reason.as_str(), why = waiting.why, delay = ?delay, "put off");
        Ok(Verdict::PutOff {
            delay: self.eraser.not_past(self.request.deadline, delay, self.now()),
            reason: waiting.reason,
        })
    }

    fn age(&self) -> Duration {
        Duration::try_from(self.now().duration_since(self.record.first_seen)).unwrap_or_default()
    }

    fn waited_enough(&self, waiting: &Waiting) -> Option<Outcome> {
        let old = self.eraser.is_too_old(self.now().duration_since(self.record.first_seen));
        let late = self.request.deadline.is_some_and(|deadline| self.now() >= deadline);
        let why = &waiting.why;
        match waiting.kind {
            WaitKind::InUse if old || late => Some(Outcome::failed(Cause::InUse, format!("still in use by {why}"))),
            WaitKind::Fault(_) | WaitKind::Pace if late => {
                Some(Outcome::failed(Cause::DeadlinePassed, format!("not done in time: {why}")))
            }
            WaitKind::Fault(cause) if self.ladder_climbed() || (old && cause != Cause::AttemptsExhausted) => {
                Some(Outcome::failed(cause, format!("every retry was used up; the last said: {why}")))
            }
            WaitKind::Fault(_) | WaitKind::Pace | WaitKind::Common if old => Some(self.too_old(waiting)),
            WaitKind::InUse | WaitKind::Fault(_) | WaitKind::Pace | WaitKind::Common => None,
        }
    }

    /// Nothing holds a request past `retry.max_age`: what holds it up then ends it.
    pub(super) fn too_old(&self, waiting: &Waiting) -> Outcome {
        let (limit, why) = (brief(self.eraser.settings.retry.max_age), &waiting.why);
        let reason = waiting.reason.as_str();
        let detail = format!("it is older than retry.max_age ({limit}), and is still held up ({reason}): {why}");
        Outcome::failed(Cause::AttemptsExhausted, detail)
    }

    fn ladder_climbed(&self) -> bool {
        usize::try_from(self.record.rung).unwrap_or(usize::MAX) >= self.eraser.settings.retry.wait_steps.len()
    }
}

/// A request that has waited long is looked at less often, so that many of them cost little: after the longest step that adds
/// no more than a tenth to its age, or after `least`.
fn patient(steps: &[Duration], least: Duration, age: Duration) -> Duration {
    let steps = steps.iter().copied().filter(|step| *step <= age / 10);
    steps.chain([least]).max().unwrap_or(least)
}

/// What goes into the event of it.
fn seen(asset: &Detail) -> AssetSeen {
    let Detail { name, asset_type, created, status: _, url: _ } = asset.clone();
    AssetSeen { name, asset_type, created }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_the_more_patient_but_by_no_more_than_a_tenth() {
        let seconds = Duration::from_secs;
        let steps = [5, 30, 120, 600, 3_600].map(seconds);
        let mut looks = 0;
        let mut age = seconds(0);
        while age < seconds(86_400) {
            let delay = patient(&steps, seconds(30), age);
            assert!(delay == seconds(30) || delay <= age / 10, "{delay:?} at {age:?}");
            (age, looks) = (age + delay, looks + 1);
        }
        assert_eq!(looks, 144, "in a day; 2,880 without");
        assert_eq!(patient(&[], seconds(30), seconds(86_400)), seconds(30));
    }
}
