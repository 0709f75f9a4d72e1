//! Cases: requests that belong together, and are told of together when the last of them is decided.

use super::{EraserParts, Run};
use crate::contract::message::request::Labels;
use crate::contract::message::{Cause, Notice, Outcome};
use crate::neighbours::ledger::LedgerError;

impl EraserParts {
    /// The event that says that this request's case is complete, if it is. To be asked after the request's own decision
    /// is on record: then whichever request of a case is decided last sees all the others, on any replica, and so does
    /// its redelivery if the worker ends in between.
    pub(super) async fn completed_case(&self, labels: &Labels) -> Result<Option<Box<Notice>>, LedgerError> {
        let Some(id) = &labels.case_id else { return Ok(None) };
        let Some(case) = self.ledger.case(id).await? else { return Ok(None) };
        let event = match case.event {
            Some(event) => event,
            None if case.decided.values().sum::<u32>() < case.size => return Ok(None),
            None => {
                let (ledger, of, size) = (self.ledger.id(), id.clone(), case.size);
                let event = move |decided: &_, now| Notice::case_completed(ledger, &of, size, decided, now).body;
                self.ledger.complete_case(id, event).await?
            }
        };
        Notice::recorded_case(event).map(Box::new).map(Some).map_err(LedgerError::corrupt)
    }

    /// Puts the size of the request's case on record, and returns the one that is there when it is another.
    pub(super) async fn record_case_size(&self, labels: &Labels) -> Result<Option<u32>, LedgerError> {
        let (Some(id), Some(size)) = (&labels.case_id, labels.case_size) else { return Ok(None) };
        Ok(Some(self.ledger.case_size(id, size).await?).filter(|recorded| *recorded != size))
    }
}

impl Run<'_> {
    /// Requests that do not agree on how many they are were not meant like this, at least one of them.
    pub(super) async fn other_case_size(&self) -> Result<Option<Outcome>, LedgerError> {
        let labels = &self.request.labels;
        let Some(recorded) = self.eraser.record_case_size(labels).await? else { return Ok(None) };
        let (Some(size), Some(case)) = (labels.case_size, &labels.case_id) else { return Ok(None) };
        let detail = format!(
            "case_size: an earlier request of case {case} said {recorded}, this one says {size}; send the same in every \
             request of a case, and give another case another case_id"
        );
        Ok(Some(Outcome::rejected(Cause::InvalidRequest, detail)))
    }
}
