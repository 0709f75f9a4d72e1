//! Messages that get an answer and are not worked on: malformed ones, and those whose request ID is used up.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Eraser, EraserParts, Publication, Verdict, recorded};
use crate::contract::message::event::{Facts, Subject};
use crate::contract::message::request::Labels;
use crate::contract::message::{Cause, Outcome, Request, RequestId, ResultEvent, Unreadable};
use crate::contract::reasons::Buried;
use crate::neighbours::ledger::{LedgerError, RefusalRecord, UsedUp};

impl Eraser {
    /// Buries a message that is no valid request, with an answer when it named its request.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn refuse(&self, bad: &Unreadable) -> Result<Verdict, LedgerError> {
        let answer = match &bad.request_id {
            Some(request_id) => Some(self.0.refusal(request_id, bad).await?),
            None => None,
        };
        Ok(Verdict::Bury { answer, why: Buried::InvalidRequest, detail: bad.problem.clone() })
    }
}

impl EraserParts {
    /// A malformed message says nothing that is believed of its case but the name: not how many requests it has.
    async fn refusal(&self, request_id: &RequestId, bad: &Unreadable) -> Result<Publication, LedgerError> {
        let labels = &bad.labels;
        let (id, copy, ledger) = (request_id.clone(), bad.clone(), self.ledger.id());
        let event = move |now| {
            let facts = Facts { attempts: 1, ..Facts::default() };
            ResultEvent::new(ledger, subject(&id, &copy), &invalid(&copy), facts, now).body
        };
        match self.ledger.refuse(request_id, labels.case_id.as_ref(), event).await? {
            RefusalRecord::Recorded { event, of_case } => {
                let event = recorded(event)?;
                self.count_outside(labels, of_case.as_deref(), &event, &bad.problem).await?;
                self.answer(event, labels).await
            }
            RefusalRecord::Known { first_seen } => {
                let used =
                    format!("request_id {request_id} was used before, and this message is no request: {}", bad.problem);
                let outcome = Outcome::rejected(Cause::RequestConflict, used);
                let event = ResultEvent::conflict(subject(request_id, bad), &outcome, first_seen);
                let said = event.id.clone();
                self.unrecorded(event, labels, &said).await
            }
        }
    }

    /// The answer under a request ID that is used up and has no event to repeat.
    pub(super) async fn conflict(
        &self,
        request: &Request,
        by: &UsedUp,
        first_seen: Timestamp,
    ) -> Result<Verdict, LedgerError> {
        self.record_case_size(&request.labels).await?;
        let event = conflict(request, by, first_seen);
        self.unrecorded(event, &request.labels, &request.to_json()).await.map(Verdict::Answer)
    }

    /// An answer that is on record nowhere. Its message counts as one request of its case; `said` tells it from others of
    /// that ID.
    async fn unrecorded(&self, event: ResultEvent, labels: &Labels, said: &str) -> Result<Publication, LedgerError> {
        self.count_outside(labels, None, &event, said).await?;
        Ok(Publication { event: Box::new(event), case: self.completed_case(labels).await?, recorded: None })
    }

    /// Counts a message in its case, unless the request that has its ID stands for it there.
    pub(super) async fn count_outside(
        &self,
        labels: &Labels,
        of_case: Option<&str>,
        event: &ResultEvent,
        said: &str,
    ) -> Result<(), LedgerError> {
        let Some(case) = labels.case_id.as_ref().filter(|case| of_case != Some(case.as_str())) else { return Ok(()) };
        let message = Uuid::new_v5(&Uuid::nil(), format!("{} {said}", event.request_id).as_bytes());
        self.ledger.count_conflict(case, message).await
    }
}

fn subject<'a>(request_id: &'a RequestId, bad: &'a Unreadable) -> Subject<'a> {
    Subject { request_id, asset_id: bad.asset_id.as_ref(), labels: &bad.labels }
}

fn invalid(bad: &Unreadable) -> Outcome {
    Outcome::rejected(Cause::InvalidRequest, &bad.problem)
}

fn conflict(request: &Request, by: &UsedUp, first_seen: Timestamp) -> ResultEvent {
    let id = &request.request_id;
    let detail = match by {
        // It says nothing of the other request, which may be another publisher's.
        UsedUp::AnotherRequest => {
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
