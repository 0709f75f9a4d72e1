//! Requests that were in work each time their worker died: one of them may be the cause, so they are worked on alone. Then
//! a further crash counts against one request, and its bystanders get through.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{EraserParts, Verdict, asked};
use crate::contract::message::Request;
use crate::contract::reasons::PutOff;
use crate::neighbours::ledger::{Alone, Begun, Beside, LedgerError};

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

/// Beside what an attempt was begun.
pub(super) enum Company {
    /// Beside other requests.
    BesideOthers,
    /// Beside no other suspect, until this is dropped.
    Alone { _until_dropped: Box<OnlySuspect> },
    /// A suspect that is too old to wait for its turn any longer: it is to be decided, and not worked on.
    NoneLeft,
}

impl EraserParts {
    /// Begins an attempt; alone, if the request is a suspect. `Err` says what becomes of a suspect while another one is at
    /// work.
    pub(super) async fn begin(&self, request: &Request) -> Result<Result<(Begun, Company), Verdict>, LedgerError> {
        let limit = self.settings.broker.delivery_limit;
        let most = limit.saturating_sub(1).clamp(1, SUSPECT);
        match self.ledger.begin(asked(request), Beside::Others { most }).await? {
            Begun::Suspect => {}
            begun => return Ok(Ok((begun, Company::BesideOthers))),
        }
        let place = match self.only_suspect().await? {
            Some(alone) => Company::Alone { _until_dropped: Box::new(alone) },
            None if self.has_waited_enough(request).await? => Company::NoneLeft,
            None => return Ok(Err(Verdict::PutOff { delay: self.shortest(), reason: PutOff::Suspect })),
        };
        let begun = self.ledger.begin(asked(request), Beside::NoSuspect).await?;
        Ok(Ok((begun, place)))
    }

    async fn has_waited_enough(&self, request: &Request) -> Result<bool, LedgerError> {
        let Some(entry) = self.ledger.request(&request.request_id).await? else { return Ok(false) };
        let age = self.ledger.now().await?.duration_since(entry.first_seen);
        Ok(self.is_too_old(age))
    }

    /// Whether a request of this age may wait no longer, whatever it waits for.
    pub(super) fn is_too_old(&self, age: SignedDuration) -> bool {
        age >= SignedDuration::try_from(self.settings.retry.max_age).unwrap_or(SignedDuration::MAX)
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
