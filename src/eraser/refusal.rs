//! Messages that get an answer and are not worked on: malformed ones, and those whose request ID is used up.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Answer, Eraser, Inner, Verdict, recorded};
use crate::ledger::{LedgerError, Refused, UsedUp};
use crate::message::event::{Facts, Subject};
use crate::message::request::Labels;
use crate::message::{Cause, Outcome, Request, RequestId, ResultEvent, Unreadable};

impl Eraser {
    /// Buries a message that is no valid request, with an answer when it named its request; without one when a valid
    /// request of that name is still under way and will have an answer of its own.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub async fn refuse(&self, bad: &Unreadable) -> Result<Verdict, LedgerError> {
        let answer = self.0.refusal(bad).await?;
        Ok(Verdict::Bury { answer, why: "invalid_request", detail: bad.problem.clone() })
    }
}

impl Inner {
    /// A malformed message says nothing that is believed of its case but its name: not how many requests it has.
    async fn refusal(&self, bad: &Unreadable) -> Result<Option<Answer>, LedgerError> {
        let Some(request_id) = &bad.request_id else { return Ok(None) };
        let (id, copy, ledger) = (request_id.clone(), bad.clone(), self.ledger.id());
        let event = move |now| refused(ledger, &id, &copy, now);
        let (answer, of_case) = match self.ledger.refuse(request_id, bad.labels.case_id.as_ref(), event).await? {
            Refused::Recorded(event) => return self.answer(recorded(event)?, &bad.labels).await.map(Some),
            Refused::Decided { event, of_case } => (Some(recorded(event)?), of_case),
            Refused::InFlight { of_case } | Refused::Forgotten { of_case } => (None, of_case),
        };
        // The same for the same message.
        let message = refused(Uuid::nil(), request_id, bad, Timestamp::UNIX_EPOCH);
        let message = Uuid::new_v5(&Uuid::nil(), message.as_bytes());
        self.count_outside(&bad.labels, of_case.as_deref(), message).await?;
        match answer {
            Some(event) => self.answer(event, &bad.labels).await.map(Some),
            None => Ok(None),
        }
    }

    /// The answer under a request ID that is used up and has no event to repeat.
    pub(super) async fn conflict(
        &self,
        request: &Request,
        by: &UsedUp,
        first_seen: Timestamp,
        of_case: Option<&str>,
    ) -> Result<Verdict, LedgerError> {
        let labels = &request.labels;
        let event = conflict(request, by, first_seen);
        // Another asset is another request, also in the same case.
        let of_case = of_case.filter(|_| !matches!(by, UsedUp::AnotherRequest { same_asset: false }));
        self.other_case_size(labels).await?;
        self.count_outside(labels, of_case, Uuid::parse_str(&event.id).unwrap_or_default()).await?;
        let case = self.completed_case(labels).await?;
        Ok(Verdict::Answer(Answer { event: Box::new(event), case, recorded: None }))
    }

    /// Counts a message in its case, unless the request that has its ID stands for it there.
    async fn count_outside(&self, labels: &Labels, of_case: Option<&str>, message: Uuid) -> Result<(), LedgerError> {
        match &labels.case_id {
            Some(case) if of_case != Some(case.as_str()) => self.ledger.count_conflict(case, message).await,
            Some(_) | None => Ok(()),
        }
    }
}

/// What a malformed message is answered (JSON).
fn refused(ledger: Uuid, request_id: &RequestId, bad: &Unreadable, now: Timestamp) -> String {
    let subject = Subject { request_id, asset_id: bad.asset_id.as_ref(), labels: &bad.labels };
    let outcome = Outcome::rejected(Cause::InvalidRequest, &bad.problem);
    ResultEvent::new(ledger, subject, &outcome, Facts { attempts: 1, ..Facts::default() }, now).body
}

fn conflict(request: &Request, by: &UsedUp, first_seen: Timestamp) -> ResultEvent {
    let id = &request.request_id;
    let detail = match by {
        // It says nothing of the other request, which may be another publisher's.
        UsedUp::AnotherRequest { .. } => {
            format!("request_id {id} was used before, by a request that differs from this one in at least one field")
        }
        UsedUp::Forgotten { outcome, decided } => {
            format!("request_id {id} was answered {outcome:?} on {decided:.0}, and its event is no longer kept")
        }
    };
    let outcome = Outcome::rejected(Cause::RequestConflict, detail);
    let subject = Subject { request_id: id, asset_id: Some(&request.asset_id), labels: &request.labels };
    ResultEvent::conflict(subject, &outcome, first_seen)
}
