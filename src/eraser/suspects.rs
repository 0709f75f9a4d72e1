//! Requests that were in work each time their worker died: one of them may be the cause, so they are worked on alone. Then
//! a further crash counts against one request, and its bystanders get through.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Delivered, Inner, Verdict};
use crate::ledger::LedgerError;
use crate::message::Request;

/// Attempts in a row that ended with their workers before a request is a suspect. One may be any kill.
const SUSPECT: u32 = 2;

/// The place for the one suspect at work.
#[derive(Default)]
pub(super) struct Suspects(Arc<Mutex<()>>);

/// That a request may be worked on now.
pub(super) enum Alone {
    /// No suspect: beside others.
    NoNeed,
    /// The only suspect at work, as long as this is held.
    Alone { _place: OwnedMutexGuard<()> },
}

impl Suspects {
    async fn take(&self, limit: Duration) -> Option<Alone> {
        let place = tokio::time::timeout(limit, Arc::clone(&self.0).lock_owned()).await.ok()?;
        Some(Alone::Alone { _place: place })
    }
}

impl Inner {
    /// Waits until no other suspect is at work, if the request is one. `None` when that took too long.
    pub(super) async fn alone_if_suspect(
        &self,
        request: &Request,
        delivered: &Delivered,
    ) -> Result<Option<Alone>, LedgerError> {
        // A message that comes for the first time was in no crash.
        if delivered.delivery_count == 0 || !self.is_suspect(request).await? {
            return Ok(Some(Alone::NoNeed));
        }
        Ok(self.suspects.take(self.settings.retry.max_elapsed).await)
    }

    /// What becomes of a suspect while another one takes long.
    pub(super) fn not_alone(&self) -> Verdict {
        Verdict::PutOff { delay: self.shortest(), reason: "suspect" }
    }

    async fn is_suspect(&self, request: &Request) -> Result<bool, LedgerError> {
        let entry = self.ledger.request(&request.request_id).await?;
        Ok(entry.is_some_and(|entry| entry.outcome.is_none() && entry.interrupted >= SUSPECT))
    }
}
