//! The end: what came of everything, and what to do about what is missing.

use std::io::{self, Write, stderr, stdout};
use std::time::Duration;

use indicatif::HumanCount;
use serde_json::json;

use super::SubmitError;
use super::batch::Batch;
use super::cases::Named;
use super::sending::{NO_ANSWER, Sending};
use crate::platform::text::plain_json;

/// What to do about a case that was sent with another size before.
const OTHER_SIZE: &str = "A case keeps the case_size that was said first. To add requests to a case that was sent before: \
                          --case-size none";

/// How it has ended.
#[derive(Debug)]
pub(super) enum Ending {
    Done,
    TimedOut,
    /// By this signal.
    Interrupted(u8),
    Stopped(String),
}

/// All that is told at the end.
pub(super) struct SubmitReport<'a> {
    pub(super) batch: &'a Batch,
    pub(super) sending: &'a Sending<'a>,
    pub(super) end: Ending,
    pub(super) took: Duration,
    pub(super) json: bool,
}

impl SubmitReport<'_> {
    /// Tells it, and says how the process ends.
    pub(super) fn tell(self) -> Result<(), SubmitError> {
        let flushed = self.sending.flush().map_err(|error| SubmitError::Stopped(format!("--results: {error}")));
        match self.print() {
            // The output is no longer read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed.map_err(|error| SubmitError::Stopped(error.to_string()))?,
        }
        flushed?;
        let not_done = self.sending.tally().not_done();
        match self.end {
            Ending::Done if not_done == 0 => Ok(()),
            Ending::Done => Err(SubmitError::NotDone(format!(
                "{} of {} requests were not done",
                HumanCount(not_done),
                HumanCount(self.batch.total())
            ))),
            Ending::TimedOut => Err(SubmitError::NotDone("--timeout is over".to_owned())),
            Ending::Interrupted(signal) => Err(SubmitError::Interrupted(signal)),
            Ending::Stopped(problem) => Err(SubmitError::Stopped(problem)),
        }
    }

    fn print(&self) -> io::Result<()> {
        let (mut out, mut error) = (stdout().lock(), stderr().lock());
        let numbers = self.sending.numbers();
        if self.json {
            writeln!(out, "{}", plain_json(&self.to_json().to_string()))?;
        } else if let Some(answered) = numbers.answered {
            self.sending.tally().table(numbers.total - answered, &mut out)?;
            self.sending.tally().proofs(&mut out)?;
        }
        if !self.json
            && let Ending::Done = self.end
        {
            let what = if numbers.answered.is_some() { "answered" } else { "published and confirmed" };
            let left_out = match self.batch.duplicates.count() {
                0 => String::new(),
                duplicates => format!("; duplicates left out: {}", HumanCount(duplicates)),
            };
            writeln!(
                out,
                "{} requests {what} in {:.1}s{left_out}",
                HumanCount(numbers.total),
                self.took.as_secs_f64()
            )?;
            self.batch.told_cases().iter().try_for_each(|case| writeln!(out, "{case}"))?;
        }
        self.sending.tally().name(self.batch.unit, &mut error)?;
        self.advise(&mut error)
    }

    fn to_json(&self) -> serde_json::Value {
        let numbers = self.sending.numbers();
        let end = match self.end {
            Ending::Done => "done",
            Ending::TimedOut => "timed_out",
            Ending::Interrupted(_) => "interrupted",
            Ending::Stopped(_) => "stopped",
        };
        let mut totals = json!({
            "end": end, "requests": numbers.total, "duplicates": self.batch.duplicates.count(),
            "confirmed": numbers.confirmed, "seconds": self.took.as_secs_f64(),
        });
        let case = |case: &Named| json!({"case_id": case.case, "requests": case.requests, "case_size": case.size});
        totals["cases"] = self.batch.cases.iter().map(case).collect();
        totals["more_cases"] = json!(self.batch.more_cases);
        if let Some(answered) = numbers.answered {
            totals["answered"] = json!(answered);
            totals["outcomes"] = self.sending.tally().to_json();
            totals["proofs"] = self.sending.tally().proofs_json();
        }
        totals
    }

    /// What is to be done about what is missing.
    fn advise(&self, out: &mut impl Write) -> io::Result<()> {
        let numbers = self.sending.numbers();
        if self.sending.tally().not_done() > 0 {
            let own = if self.batch.own_ids { ", or another request_id where the input has its own" } else { "" };
            writeln!(
                out,
                "The same command gets the same answers. To ask again for what was not done: another --batch{own}"
            )?;
        }
        if self.sending.tally().is_refused_for_its_size() {
            writeln!(out, "{OTHER_SIZE}")?;
        }
        if let Ending::Done = self.end {
            return Ok(());
        }
        if numbers.confirmed < numbers.total {
            let unit = self.batch.unit;
            let until = match self.sending.confirmed_until()? {
                Some(line) => format!(", all of them up to {unit} {line}"),
                None => String::new(),
            };
            let (confirmed, total) = (HumanCount(numbers.confirmed), HumanCount(numbers.total));
            writeln!(out, "{confirmed} of {total} requests are confirmed by the broker{until}")?;
        } else if numbers.answered == Some(0) {
            writeln!(out, "{NO_ANSWER}")?;
        }
        writeln!(
            out,
            "Run the same command again to go on: what was decided is answered again, nothing is deleted twice"
        )
    }
}
