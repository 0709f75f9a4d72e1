//! What may be deleted at all, whatever the provider and the guard say.

use super::Run;
use crate::contract::message::{Cause, Outcome};

/// The right to delete the asset of a run. Nothing is deleted without it, and it is made only here.
#[derive(Debug)]
pub(super) struct Permit(());

/// Why there is none.
pub(super) enum Withheld {
    /// The asset is protected: this ends the request.
    Protected(Outcome),
    /// It is a dry run: everything but the `DELETE`.
    DryRun,
}

impl Run<'_> {
    pub(super) fn permit(&self) -> Result<Permit, Withheld> {
        let asset = &self.request.asset_id;
        if let Some(pattern) = self.eraser.settings.protected.iter().find(|pattern| pattern.matches(asset)) {
            let begun = if self.record.deletes > 0 { "; a DELETE may have been sent before it was" } else { "" };
            let detail = format!("the asset is protected by {:?}{begun}", pattern.as_str());
            return Err(Withheld::Protected(Outcome::rejected(Cause::Protected, detail)));
        }
        if self.eraser.provider.control_asset() == Some(asset) {
            let detail =
                "the asset is provider.control_asset, which shows that the key finds assets: it is never deleted";
            return Err(Withheld::Protected(Outcome::rejected(Cause::Protected, detail)));
        }
        if self.is_dry_run() { Err(Withheld::DryRun) } else { Ok(Permit(())) }
    }

    /// As the request says, or the operator for all of them. The ledger is told only what the request says: a
    /// redelivery must not look like another request because a setting has changed in between.
    pub(super) fn is_dry_run(&self) -> bool {
        self.request.dry_run || self.eraser.settings.worker.dry_run
    }
}
