//! Calls that are safe to repeat, repeated in process: looks at the asset, questions to the guard.

use std::time::{Duration, Instant};

use super::conclusion::Waiting;
use super::{Absence, End, EraserParts, LOOKS_AFTER_DELETE, Run, Sight};
use crate::contract::message::Notice;
use crate::contract::reasons::{PutOff, Stop};
use crate::neighbours::guard::GuardAnswer;
use crate::neighbours::pace::gate::Pass;
use crate::neighbours::provider::{Detail, Fault, Meaning};
use crate::platform::retry::Budget;

impl EraserParts {
    /// The in-process retry budget.
    pub(super) fn budget(&self) -> Budget {
        let retry = &self.settings.retry;
        Budget { initial: retry.initial, max_interval: retry.max_interval, max_elapsed: retry.max_elapsed }
    }

    /// Waits for a call's turn.
    pub(super) async fn pass(&self) -> Result<Pass, End> {
        self.not_paused()?;
        Ok(self.provider.gate().pass().await)
    }

    /// A delivery must not be held for a long wait that the provider asked for: the broker closes the channel of one that is
    /// held past its `consumer_timeout`.
    pub(super) fn not_paused(&self) -> Result<(), End> {
        if self.provider.gate().paused_for() > self.settings.retry.max_elapsed {
            let why = "the provider asks for a wait that is longer than retry.max_elapsed".to_owned();
            return Err(End::Wait(Waiting::stopped(Stop::ProviderBusy, why)));
        }
        Ok(())
    }

    /// The key is refused. Stops the line, unless the key is good for another asset: then the refusal is about this one.
    pub(super) async fn key_refused(&self, status: u16, seen: Option<&str>) -> Result<Fault, End> {
        let refused = Instant::now();
        if !self.line.holds(Stop::ProviderKey) && self.key_witness.says(self.key_is_good(refused)).await {
            return Ok(Fault::OfThisAsset(status));
        }
        let seen = seen.map(|seen| format!(" ({seen})")).unwrap_or_default();
        let why = format!("the provider answered HTTP {status}: the key is not accepted{seen}");
        self.line.stop(Stop::ProviderKey, format!("{why}; {}", self.provider.way()));
        Err(Waiting::stopped(Stop::ProviderKey, why).into())
    }

    /// Whether an asset was found with the key after this moment, or a probe is not refused.
    async fn key_is_good(&self, since: Instant) -> bool {
        if self.not_paused().is_err() {
            return self.controls.is_found_since(since);
        }
        let probe = self.provider.probe().await;
        // A probe that fails says nothing of the key.
        let is_taken = probe.shows_life() && !probe.meaning.is_key_refused();
        is_taken || self.controls.is_found_since(since)
    }
}

impl Run<'_> {
    /// Is the asset there? "Gone" needs two detail calls that both don't find it, `verify_interval` apart. A control that is
    /// found between them belongs to it: what blinds the key for both looks hides the control, too.
    pub(super) async fn look_twice(&mut self) -> Result<Sight, End> {
        if let Some(found) = self.look().await? {
            return Ok(Sight::Present(found));
        }
        let first = Instant::now();
        tokio::time::sleep(self.eraser.settings.provider.verify_interval).await;
        let control_between = self.eraser.controls.is_found_since(first) || Box::pin(self.control_asset()).await?;
        let found = self.look().await?;
        Ok(found.map_or_else(|| Sight::Gone(Absence { control_between, looked: Instant::now() }), Sight::Present))
    }

    /// After a `DELETE` that answered "deleted", one detail call that doesn't find the asset is the second witness; says when
    /// it had answered. A read may lag behind the delete, so a few are made, further and further apart.
    pub(super) async fn gone_after_success(&mut self) -> Result<Option<Instant>, End> {
        let mut interval = self.eraser.settings.provider.verify_interval;
        for look in 0..LOOKS_AFTER_DELETE {
            if look > 0 {
                tokio::time::sleep(interval).await;
                interval *= 2;
            }
            if self.look().await?.is_none() {
                return Ok(Some(Instant::now()));
            }
        }
        Ok(None)
    }

    /// One settled answer of the detail call: `None` when the provider doesn't find the asset.
    async fn look(&mut self) -> Result<Option<Detail>, End> {
        let mut budget = self.eraser.budget().start();
        loop {
            let pass = self.eraser.pass().await?;
            let began = Instant::now();
            let answer = self.eraser.provider.detail(pass, &self.request.asset_id, &self.delivered.trace).await;
            let said = answer.words();
            self.seen = answer.seen;
            let (after, fault, why) = match answer.meaning {
                Meaning::Found(detail) => {
                    self.eraser.provider_outage.answered();
                    self.eraser.found(began);
                    self.found = true;
                    return Ok(Some(detail));
                }
                Meaning::Gone => {
                    self.eraser.provider_outage.answered();
                    self.provider.get_or_insert(said);
                    return Ok(None);
                }
                Meaning::InUse => {
                    self.provider = Some(said);
                    return Err(self.used_by(format!("a task that the provider knows of ({})", self.said())));
                }
                Meaning::KeyRefused(status) => {
                    let why = self.eraser.key_refused(status, self.seen.as_deref()).await?;
                    self.provider = Some(said);
                    return Err(Waiting::refused(self.told(why)).into());
                }
                Meaning::Retry { after, why } => {
                    let told = self.told(why);
                    self.provider_failed(why, &told).await?;
                    (after, Some(why), told)
                }
                // A detail call that neither finds nor misses the asset says nothing about it: never guessed.
                Meaning::Refused | Meaning::Unlisted => {
                    (None, None, format!("the detail call answered code {}", said.code.clone().unwrap_or_default()))
                }
            };
            self.provider = Some(said);
            match budget.next(after) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(self.provider_fault(after, fault, &why).await.into()),
            }
        }
    }

    /// Publishes that this deletion is about to begin, before the guard is first asked. What the request
    /// waited for last tells that it was asked before: then it is known already.
    pub(super) async fn announce_start(&self) -> Result<(), End> {
        let waited_for = self.record.waited_for.as_deref();
        let asked = [PutOff::InUse, PutOff::Guard, PutOff::Backup, PutOff::Stopped(Stop::Brake)];
        let known =
            self.record.deletes > 0 || waited_for.is_some_and(|reason| asked.iter().any(|one| one.as_str() == reason));
        if !self.eraser.settings.broker.started_events || self.is_dry_run() || known {
            return Ok(());
        }
        let request = self.request;
        let notice =
            Notice::started(self.eraser.ledger.id(), &request.request_id, &request.asset_id, self.record.first_seen);
        if self.announce.announce(&notice).await { Ok(()) } else { Err(End::Wait(Waiting::broker())) }
    }

    /// One settled answer of the guard: the jobs in progress that use the asset. Only `None` allows a deletion.
    pub(super) async fn ask_guard(&self) -> Result<Option<Vec<String>>, End> {
        let mut budget = self.eraser.budget().start();
        loop {
            let jobs = match self.eraser.guard.check(&self.request.asset_id, &self.delivered.trace).await {
                GuardAnswer::Free => None,
                GuardAnswer::InUse { jobs } => Some(jobs),
                GuardAnswer::Unknown { why } => {
                    self.guard_failed(&why).await?;
                    let Some(delay) = budget.next(None) else {
                        return Err(End::Wait(self.guard_fault(why).await));
                    };
                    tokio::time::sleep(delay).await;
                    continue;
                }
            };
            self.eraser.guard_outage.answered();
            return Ok(jobs);
        }
    }

    /// The guard gave no usable answer. While it gives none for any request, none goes on trying.
    async fn guard_failed(&self, why: &str) -> Result<(), End> {
        let (eraser, asset) = (self.eraser, self.request.asset_id.as_str());
        if eraser.guard_outage.failed(asset, why, eraser.guard.probe()).await {
            return Err(End::Wait(Waiting::stopped(Stop::GuardDown, why.to_owned())));
        }
        Ok(())
    }

    /// The guard did not give a usable answer within the budget. During an outage that uses up none of this request's
    /// steps.
    async fn guard_fault(&self, why: String) -> Waiting {
        let (eraser, asset) = (self.eraser, self.request.asset_id.as_str());
        if eraser.guard_outage.gave_up(asset, &why, eraser.guard.probe()).await {
            return Waiting::stopped(Stop::GuardDown, why);
        }
        Waiting::guard(why)
    }

    /// A call to the provider gave no usable answer. While it gives none for any request, none goes on trying.
    pub(super) async fn provider_failed(&self, why: Fault, told: &str) -> Result<(), End> {
        // Too many calls are no outage: the pace is found, and the call made again.
        if why.is_rejection() {
            return Ok(());
        }
        let (eraser, asset) = (self.eraser, self.request.asset_id.as_str());
        let mut down = eraser.provider_outage.failed(asset, told, eraser.provider_is_well()).await;
        // Something that lets no call through would fail the few requests of a quiet hour.
        if let Fault::Between(_) = why {
            down = down || eraser.provider_outage.is_outage(true, told, eraser.provider_is_well()).await;
        }
        if down {
            return Err(End::Wait(Waiting::stopped(Stop::ProviderDown, told.to_owned())));
        }
        Ok(())
    }

    /// What went wrong with the last call to the provider, for a person.
    pub(super) fn told(&self, why: Fault) -> String {
        self.seen.as_ref().map_or_else(|| why.to_string(), |seen| format!("{why} ({seen})"))
    }

    /// The provider did not give a usable answer within the budget. When it gives none for any request, stops the line
    /// instead of using up this request's steps of the wait ladder.
    pub(super) async fn provider_fault(&self, after: Option<Duration>, fault: Option<Fault>, why: &str) -> Waiting {
        let eraser = self.eraser;
        if let Some(after) = after.filter(|after| *after > eraser.settings.retry.max_elapsed) {
            let why = format!("the provider asks to wait {}s", after.as_secs());
            eraser.line.stop(Stop::ProviderBusy, why.clone());
            return Waiting::stopped(Stop::ProviderBusy, why);
        }
        if fault.is_some_and(Fault::is_rejection) {
            return Waiting::pace(why.to_owned());
        }
        let (asset, well) = (self.request.asset_id.as_str(), eraser.provider_is_well());
        if eraser.provider_outage.gave_up(asset, why, well).await {
            return Waiting::stopped(Stop::ProviderDown, why.to_owned());
        }
        Waiting::provider(why.to_owned())
    }
}
