//! Requests that were in work each time their worker died: one of them may be the cause, so they are worked on alone. Then
//! a further crash counts against one request, and its bystanders get through.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Inner, Verdict, asked};
use crate::ledger::{Alone, Begun, Beside, LedgerError};
use crate::message::Request;

/// Attempts in a row that ended with their workers before a request is a suspect. One such end can be an ordinary kill.
const SUSPECT: u32 = 2;

/// The place for the one suspect at work in this process.
#[derive(Default)]
pub(super) struct Suspects(Arc<Mutex<()>>);

/// That no other suspect is at work, in this process and at any other worker of the ledger.
pub(super) struct OnlySuspect {
    _here: OwnedMutexGuard<()>,
    _anywhere: Alone,
}

impl Inner {
    /// Begins an attempt; alone, if the request is a suspect. `Err` says what becomes of a suspect while another one is at
    /// work.
    pub(super) async fn begin(
        &self,
        request: &Request,
    ) -> Result<Result<(Begun, Option<OnlySuspect>), Verdict>, LedgerError> {
        let limit = self.settings.broker.delivery_limit;
        let most = limit.saturating_sub(1).clamp(1, SUSPECT);
        match self.ledger.begin(asked(request), Beside::Others { most }).await? {
            Begun::Suspect => {}
            begun => return Ok(Ok((begun, None))),
        }
        let Some(alone) = self.only_suspect().await? else {
            return Ok(Err(Verdict::PutOff { delay: self.shortest(), reason: "suspect" }));
        };
        let begun = self.ledger.begin(asked(request), Beside::NoSuspect).await?;
        Ok(Ok((begun, Some(alone))))
    }

    /// Waits until no other suspect is at work; `None` when that takes too long.
    async fn only_suspect(&self) -> Result<Option<OnlySuspect>, LedgerError> {
        let limit = self.settings.retry.max_elapsed;
        let here = tokio::time::timeout(limit, Arc::clone(&self.suspects.0).lock_owned()).await;
        let Ok(here) = here else { return Ok(None) };
        let anywhere = self.ledger.place_alone().await?;
        Ok(anywhere.map(|anywhere| OnlySuspect { _here: here, _anywhere: anywhere }))
    }
}
