//! How well it is known that an asset is gone. No answer says more than its proof.

use std::time::Instant;

use super::{Absence, End, Run};
use crate::contract::message::{Outcome, Proof};
use crate::contract::reasons::PutOff;

impl Run<'_> {
    /// Two looks found the asset gone. Only the ledger can tell whether this request did it: a `DELETE` that was answered
    /// "not found" did not, nor did one of something that was never there.
    pub(super) async fn gone(&mut self, absence: Absence) -> Result<Outcome, End> {
        let was_deleted = self.found && self.record.deletes > self.record.missed;
        let proof = match absence.control_between && self.control_after(absence.looked).await? {
            true if was_deleted => Proof::Erased,
            true => Proof::Absent,
            false => Proof::Unconfirmed,
        };
        if proof == Proof::Unconfirmed {
            self.unconfirmed()?;
        }
        Ok(if was_deleted { Outcome::Deleted(proof) } else { Outcome::AlreadyAbsent(proof) })
    }

    /// The same before this attempt has sent a `DELETE`. If the last one of an earlier attempt answered "deleted", the request
    /// has waited for that to take effect.
    pub(super) async fn gone_meanwhile(&mut self, absence: Absence) -> Result<Outcome, End> {
        if self.found && self.record.waited_for.as_deref() == Some(PutOff::StillPresent.as_str()) {
            return Ok(Outcome::Deleted(self.proof_after_success(absence.looked).await?));
        }
        self.gone(absence).await
    }

    /// The provider answered "deleted", and a look that had ended then did not find the asset. This is proof where the asset
    /// was found before, and a control around the look: the asset itself, seen a moment ago, is one.
    pub(super) async fn proof_after_success(&mut self, looked: Instant) -> Result<Proof, End> {
        let proven = self.found && (self.eraser.controls.is_fresh() || self.control_after(looked).await?);
        Ok(if proven { Proof::Erased } else { Proof::ProviderWord })
    }
}
