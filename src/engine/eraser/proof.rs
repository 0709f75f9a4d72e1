//! How well it is known that an asset is gone. No answer says more than its proof.

use std::time::Instant;

use super::{Absence, End, Run};
use crate::contract::message::{Outcome, Proof};

impl Run<'_> {
    /// Two looks found the asset gone. Only the ledger can tell whether this request did it: a `DELETE` that was answered
    /// "not found" did not, nor did one of something that was never there.
    pub(super) async fn gone(&mut self, absence: Absence) -> Result<Outcome, End> {
        let control_after = self.control_after(absence.looked).await?;
        let was_deleted = self.found && self.record.deletes > self.record.missed;
        let proof = match (was_deleted, control_after, absence.control_before) {
            (true, true, _) => Proof::Erased,
            (false, true, true) => Proof::Absent,
            (_, false, _) | (false, true, false) => Proof::Unconfirmed,
        };
        if proof == Proof::Unconfirmed {
            self.unconfirmed()?;
        }
        Ok(if was_deleted { Outcome::Deleted(proof) } else { Outcome::AlreadyAbsent(proof) })
    }

    /// The provider answered "deleted", and a look that had ended then did not find the asset. This is proof where the asset
    /// was found before, and a control around the look: the asset itself, seen a moment ago, is one.
    pub(super) async fn proof_after_success(&mut self, looked: Instant) -> Result<Proof, End> {
        let proven = self.found && (self.eraser.controls.is_fresh() || self.control_after(looked).await?);
        Ok(if proven { Proof::Erased } else { Proof::ProviderWord })
    }
}
