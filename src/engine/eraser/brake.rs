//! The brake: an operator's limit on deletions, for all workers of one ledger together.

use super::conclusion::Waiting;
use super::{Eraser, EraserParts};
use crate::contract::reasons::Stop;
use crate::neighbours::ledger::LedgerError;
use crate::settings::{BrakeSettings, brief};

impl Eraser {
    /// Stops the line if the brake holds. To be asked before anything is consumed: a restart of a worker has not
    /// released it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn brake_at_start(&self) -> Result<(), LedgerError> {
        // Where nothing is deleted nothing has to be held.
        if self.0.settings.worker.dry_run {
            return Ok(());
        }
        if let Some(deletions) = self.0.held_by().await? {
            self.0.braked(deletions);
        }
        Ok(())
    }
}

impl EraserParts {
    /// How many deletions hold the brake, if it holds.
    pub(super) async fn held_by(&self) -> Result<Option<u64>, LedgerError> {
        let Some(brake) = &self.settings.brake else { return Ok(None) };
        let braking = self.ledger.braking(brake).await?;
        Ok(braking.holds(brake).then_some(braking.deletions))
    }

    /// The brake holds for every request: stops the line.
    pub(super) fn braked(&self, deletions: u64) -> Waiting {
        let why = self.settings.brake.as_ref().map(|brake| why(brake, deletions)).unwrap_or_default();
        self.line.stop(Stop::Brake, why.clone());
        Waiting::stopped(Stop::Brake, why)
    }
}

fn why(brake: &BrakeSettings, deletions: u64) -> String {
    format!(
        "{deletions} deletions have begun within {}, and brake.max_deletions is {}; it goes on as that time passes, or \
         after `asset-eraser brake release`",
        brief(brake.window),
        brake.max_deletions
    )
}
