//! The copy of an asset that has to be there before it is deleted, where one is wanted.

use std::time::Instant;

use super::conclusion::Waiting;
use super::{End, Run};
use crate::contract::message::{Backup, Cause, Outcome};
use crate::neighbours::backup::{Kept, Trouble, Turn, Wanted};
use crate::platform::telemetry::traces;

/// That nothing is lost with the asset that had to be kept: no copy is wanted, or one was read back whole in this attempt.
/// Nothing is deleted without it, and it is made only here.
#[derive(Debug)]
pub(super) struct Safe(());

impl Run<'_> {
    /// As the request says, or else the operator for its reason. A request of a case is an erasure: what it erases is not
    /// kept unless it says so itself.
    pub(super) fn wants_backup(&self) -> bool {
        let (labels, reasons) = (&self.request.labels, &self.eraser.settings.backup.reasons);
        let listed = || labels.reason.as_ref().is_some_and(|reason| reasons.contains(reason));
        self.request.backup.unwrap_or_else(|| labels.case_id.is_none() && listed())
    }

    /// Sees to it that the asset is kept, if it has to be.
    ///
    /// The guard is asked first, as a copy of what is in use is of no use yet, and once more before the `DELETE`.
    pub(super) async fn back_up(&mut self) -> Result<Safe, End> {
        if !self.wants_backup() {
            return Ok(Safe(()));
        }
        self.guard().await?;
        let backup = match self.kept().await? {
            Ok(backup) => backup,
            Err(why) => {
                self.eraser.metrics.backup_failed();
                return Err(Outcome::failed(Cause::BackupFailed, why).into());
            }
        };
        // On record before the `DELETE`: whatever happens after it, the answer says where the copy is.
        if self.record.backup.as_ref() != Some(&backup) {
            self.eraser.ledger.backed_up(&self.record.attempt, &backup).await?;
            self.record.backup = Some(backup);
        }
        Ok(Safe(()))
    }

    /// A copy that is whole, or why there will be none.
    async fn kept(&self) -> Result<Result<Backup, String>, End> {
        let Some(turn) = self.eraser.backups.turn(self.eraser.settings.retry.max_elapsed).await else {
            return Err(Waiting::backup_turn().into());
        };
        let mut span = traces::backup(&self.delivered.trace);
        let kept = self.kept_in_time(&turn).await;
        match &kept {
            Ok(Ok(backup)) => {
                span.note("asset_eraser.backup.bytes", i64::try_from(backup.length).unwrap_or(i64::MAX));
                span.note_text("asset_eraser.backup.location", &backup.location);
            }
            Ok(Err(why)) => span.failed("backup_failed", || why.clone()),
            Err(_) => span.failed("put_off", || "put off, see the log".to_owned()),
        }
        kept
    }

    /// The same, tried again for as long as is worth it in process.
    async fn kept_in_time(&self, turn: &Turn<'_>) -> Result<Result<Backup, String>, End> {
        let (eraser, mut budget) = (self.eraser, self.eraser.budget().start());
        let asset = self.asset.clone().unwrap_or_default();
        let (request, first_seen) = (self.request, self.record.first_seen);
        let wanted = Wanted { request_id: &request.request_id, asset_id: &request.asset_id, first_seen, asset: &asset };
        loop {
            let started = Instant::now();
            let (why, after, lasting) = match eraser.backups.keep(turn, wanted).await {
                Ok(Kept::Made(backup)) => {
                    eraser.metrics.backup_made(backup.length, started.elapsed());
                    return Ok(Ok(backup));
                }
                Ok(Kept::Found(backup)) => {
                    eraser.metrics.backup_kept();
                    return Ok(Ok(backup));
                }
                Err(Trouble::Lasting(why)) => return Ok(Err(why)),
                Err(Trouble::Doubtful(why)) => (why, None, true),
                Err(Trouble::Passing { why, after }) => (why, after, false),
            };
            tracing::info!(why, "no backup yet");
            match budget.next(after) {
                Some(delay) => tokio::time::sleep(delay).await,
                None if lasting => return Ok(Err(why)),
                None => return Err(Waiting::backup(why).into()),
            }
        }
    }
}
