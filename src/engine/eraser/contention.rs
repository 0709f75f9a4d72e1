//! Two copies of one request at two workers: the attempt that began last owns it, and the other one gives way.

use std::time::Duration;

use jiff::Timestamp;

use super::{EraserParts, Verdict};
use crate::contract::message::Request;
use crate::contract::reasons::PutOff;

impl EraserParts {
    /// The delivery waits: the answer of the other attempt is on record when it comes back. The wait is drawn from the
    /// steps of the wait ladder, and more of them are drawn from the more often the request was contended.
    pub(super) fn give_way(&self, request: &Request, contended: u32) -> Verdict {
        tracing::info!(request = %request.request_id, contended, "another attempt is at work; put off");
        let steps = &self.settings.retry.wait_steps;
        let most = (contended as usize).min(steps.len().saturating_sub(1));
        let delay = steps.get(fastrand::usize(0..=most)).copied().unwrap_or_else(|| self.shortest());
        Verdict::PutOff { delay: self.not_past(request.deadline, delay, Timestamp::now()), reason: PutOff::Superseded }
    }

    /// The shortest delay that there is.
    pub(super) fn shortest(&self) -> Duration {
        self.settings.retry.wait_steps.iter().min().copied().unwrap_or(self.settings.guard.poll)
    }
}
