//! Controls: assets that this key was seen to find. Without one, "not found" may be said of the key and not of the asset.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::conclusion::Waiting;
use super::outage::Witness;
use super::{End, EraserParts, Run};
use crate::contract::message::{AssetId, TraceContext};
use crate::contract::reasons::Stop;
use crate::neighbours::provider::{Fault, Meaning};
use crate::settings::ProviderSettings;

/// Most assets that were not found and are looked for again while consuming has stopped for them.
const MOST_MISSED: usize = 1_000;

/// What this process knows of controls.
pub(super) struct Controls {
    /// The look that found an asset and began last.
    last: watch::Sender<Option<Find>>,
    /// How long before a look a find counts.
    window: Duration,
    /// Different assets in a row that were not found, with none found; counted without a control asset only.
    missed: Mutex<VecDeque<AssetId>>,
    /// How many of them stop the line.
    streak: Option<usize>,
    /// What the control asset's answer is, shared by all requests that ask at the same time.
    witness: Witness<Control>,
}

/// A look that found an asset.
#[derive(Clone, Copy, Debug)]
struct Find {
    began: Instant,
    ended: Instant,
}

/// What was answered about the control asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Found,
    Missing,
    KeyRefused(u16),
    /// Nothing that tells.
    Fault(Fault),
    /// No control asset is set.
    None,
}

impl Controls {
    pub(super) fn new(settings: &ProviderSettings, has_control: bool) -> Self {
        Self {
            last: watch::Sender::new(None),
            window: settings.control_window,
            missed: Mutex::default(),
            streak: settings.absent_streak.filter(|_| !has_control).map(|streak| streak as usize),
            witness: Witness::default(),
        }
    }

    /// A look that began then has found an asset just now.
    fn found(&self, began: Instant) {
        let find = Find { began, ended: Instant::now() };
        self.last.send_if_modified(|last| {
            let newer = last.is_none_or(|last| last.began < began);
            if newer {
                *last = Some(find);
            }
            newer
        });
        self.missed().clear();
    }

    /// Whether an asset was found so short a time ago that it counts for a look that begins now.
    pub(super) fn is_fresh(&self) -> bool {
        self.last.borrow().is_some_and(|find| find.ended.elapsed() <= self.window)
    }

    /// Whether an asset was found by a look that began no earlier than this.
    pub(super) fn is_found_since(&self, since: Instant) -> bool {
        self.last.borrow().is_some_and(|find| find.began >= since)
    }

    /// Waits for another request to find its asset.
    async fn found_by_others(&self, since: Instant, patience: Duration) -> bool {
        let mut finds = self.last.subscribe();
        let found = finds.wait_for(|find| find.is_some_and(|find| find.began >= since));
        tokio::time::timeout(patience, found).await.is_ok_and(|found| found.is_ok())
    }

    /// An asset was not found, and no control was. True once so many different ones in a row were not.
    fn missed_one(&self, asset: &AssetId) -> bool {
        let Some(streak) = self.streak else { return false };
        let mut missed = self.missed();
        if !missed.contains(asset) && missed.len() < MOST_MISSED {
            missed.push_back(asset.clone());
        }
        missed.len() >= streak
    }

    /// One of the assets that were not found; another one each time.
    fn next_missed(&self) -> Option<AssetId> {
        let mut missed = self.missed();
        let next = missed.pop_front()?;
        missed.push_back(next.clone());
        Some(next)
    }

    fn missed(&self) -> MutexGuard<'_, VecDeque<AssetId>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EraserParts {
    /// A look that began then has found an asset.
    pub(super) fn found(&self, began: Instant) {
        self.controls.found(began);
        if self.line.holds(Stop::NothingFound) {
            self.line.resume(Stop::NothingFound);
        }
    }

    /// Asks about the control asset.
    async fn ask_control(&self, trace: &TraceContext) -> Control {
        let began = Instant::now();
        let pass = self.provider.gate().pass().await;
        let Some(answer) = self.provider.control(pass, trace).await else { return Control::None };
        match answer.meaning {
            Meaning::Found(_) => {
                self.found(began);
                Control::Found
            }
            Meaning::Gone => Control::Missing,
            Meaning::KeyRefused(status) => Control::KeyRefused(status),
            Meaning::Retry { why, .. } => Control::Fault(why),
            Meaning::InUse | Meaning::Refused | Meaning::Unlisted => Control::Fault(Fault::Code),
        }
    }

    /// Whether the control asset is found again.
    pub(super) async fn control_is_found(&self) -> bool {
        self.ask_control(&TraceContext::default()).await == Control::Found
    }

    /// Whether one of the assets that were not found is found now.
    pub(super) async fn finds_something(&self) -> bool {
        let Some(asset) = self.controls.next_missed() else { return true };
        let (began, pass) = (Instant::now(), self.provider.gate().pass().await);
        let answer = self.provider.detail(pass, &asset, &TraceContext::default()).await;
        let found = matches!(answer.meaning, Meaning::Found(_));
        if found {
            self.found(began);
        }
        found
    }

    fn control_lost(&self) -> Waiting {
        let asset = self.provider.control_asset().map(AssetId::as_str).unwrap_or_default();
        let why = format!(
            "the provider does not find provider.control_asset ({asset}): the key, the account or the address is wrong, or it \
             was deleted"
        );
        self.line.stop(Stop::ControlLost, format!("{why}; {}", self.provider.way()));
        Waiting::stopped(Stop::ControlLost, why)
    }

    fn nothing_found(&self) -> Waiting {
        let streak = self.controls.streak.unwrap_or_default();
        let why = format!(
            "{streak} different assets in a row were not found, and none was (provider.absent_streak): the key, the account or \
             the address may be wrong; set provider.control_asset to an asset that must always be found"
        );
        self.line.stop(Stop::NothingFound, format!("{why}; {}", self.provider.way()));
        Waiting::stopped(Stop::NothingFound, why)
    }
}

impl Run<'_> {
    /// Whether the control asset is found; false where none is set. One that is set has to be found before anything is said
    /// of another asset.
    pub(super) async fn control_asset(&self) -> Result<bool, End> {
        let eraser = self.eraser;
        eraser.not_paused()?;
        match eraser.controls.witness.says(eraser.ask_control(&self.delivered.trace)).await {
            Control::Found => Ok(true),
            Control::None => Ok(false),
            Control::Missing => Err(eraser.control_lost().into()),
            Control::KeyRefused(status) => {
                let why = eraser.key_refused(status, self.seen.as_deref()).await?;
                Err(Waiting::provider(format!("the control asset cannot be asked about: {why}")).into())
            }
            Control::Fault(why) => {
                let told = format!("the control asset cannot be asked about: {why}");
                self.provider_failed(why, &told).await?;
                Err(self.provider_fault(None, Some(why), &told).await.into())
            }
        }
    }

    /// Whether an asset is found after this moment: by another request, or it is the control asset.
    pub(super) async fn control_after(&self, since: Instant) -> Result<bool, End> {
        let (controls, patience) = (&self.eraser.controls, self.eraser.settings.provider.verify_interval);
        if controls.is_found_since(since) || self.control_asset().await? {
            return Ok(true);
        }
        Ok(controls.found_by_others(since, patience).await)
    }

    /// No control was found beside an asset that was not. `Err` once that is said of too many.
    pub(super) fn unconfirmed(&self) -> Result<(), End> {
        if self.eraser.controls.missed_one(&self.request.asset_id) {
            return Err(self.eraser.nothing_found().into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
