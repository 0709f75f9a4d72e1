//! What came of the requests, counted.

use std::collections::BTreeMap;
use std::io::{self, Write};

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::platform::text::{plain, plain_json};

/// The outcomes that leave nothing to be done.
const GOOD: [&str; 3] = ["deleted", "already_absent", "would_delete"];

/// Most of the requests with another outcome that are named one by one.
const MOST_NAMED: usize = 10;

/// As much of an event as is told.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Result {
    #[serde(default)]
    pub(super) request_id: String,
    #[serde(default)]
    pub(super) asset_id: String,
    pub(super) outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proof: Option<String>,
    #[serde(default)]
    pub(super) verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decided_at: Option<String>,
}

impl Result {
    /// Out of the body of an answer.
    pub(super) fn of_event(body: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Event {
            data: Result,
        }
        serde_json::from_slice(body).map(|event: Event| event.data)
    }

    fn is_good(&self) -> bool {
        GOOD.contains(&self.outcome.as_str())
    }

    /// One line of the file of results.
    pub(super) fn to_line(&self, line: u64) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct ResultLine<'a> {
            line: u64,
            #[serde(flatten)]
            result: &'a Result,
        }
        let mut text = plain_json(&serde_json::to_string(&ResultLine { line, result: self })?);
        text.push('\n');
        Ok(text.into_bytes())
    }
}

/// How many had which outcome, and the first few that were not done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<(String, String), u64>,
    /// Of those after which the asset is said to be gone.
    proofs: BTreeMap<String, u64>,
    not_done: u64,
    named: Vec<(u64, Result)>,
    other_size: bool,
}

impl Tally {
    pub(super) fn take(&mut self, line: u64, result: Result) {
        let cause = result.cause.clone().unwrap_or_default();
        *self.counts.entry((plain(&result.outcome), plain(&cause))).or_default() += 1;
        if let Some(proof) = &result.proof {
            *self.proofs.entry(plain(proof)).or_default() += 1;
        }
        if !result.is_good() {
            self.not_done += 1;
            self.other_size |=
                result.detail.as_deref().is_some_and(|detail| detail.starts_with("case_size: an earlier"));
            if self.named.len() < MOST_NAMED {
                self.named.push((line, result));
            }
        }
    }

    /// How many ended otherwise than asked.
    pub(super) fn not_done(&self) -> u64 {
        self.not_done
    }

    /// Whether a request said another size than its case has on record.
    pub(super) fn is_refused_for_its_size(&self) -> bool {
        self.other_size
    }

    /// In a few words: `deleted 7, failed 1`.
    pub(super) fn brief(&self) -> String {
        let mut by_outcome: BTreeMap<&str, u64> = BTreeMap::new();
        for ((outcome, _), count) in &self.counts {
            *by_outcome.entry(outcome).or_default() += count;
        }
        let words: Vec<String> =
            by_outcome.iter().map(|(outcome, count)| format!("{outcome} {}", HumanCount(*count))).collect();
        words.join(", ")
    }

    pub(super) fn table(&self, unanswered: u64, out: &mut impl Write) -> io::Result<()> {
        let mut row = |outcome: &str, cause: &str, count: &str| writeln!(out, "{outcome:<16}{cause:<24}{count:>12}");
        row("outcome", "cause", "requests")?;
        for ((outcome, cause), count) in &self.counts {
            row(outcome, cause, &HumanCount(*count).to_string())?;
        }
        if unanswered > 0 {
            row("not answered", "", &HumanCount(unanswered).to_string())?;
        }
        let total = self.counts.values().sum::<u64>() + unanswered;
        row("total", "", &HumanCount(total).to_string())
    }

    /// How well it is known that assets are gone: `proof: erased 7, unconfirmed 1`.
    pub(super) fn proofs(&self, out: &mut impl Write) -> io::Result<()> {
        let words: Vec<String> =
            self.proofs.iter().map(|(proof, count)| format!("{proof} {}", HumanCount(*count))).collect();
        if words.is_empty() { Ok(()) } else { writeln!(out, "proof: {}", words.join(", ")) }
    }

    /// The same, for a machine.
    pub(super) fn proofs_json(&self) -> Value {
        json!(self.proofs)
    }

    /// The first few that were not done.
    pub(super) fn name(&self, unit: &str, out: &mut impl Write) -> io::Result<()> {
        for (line, result) in &self.named {
            let Result { asset_id, request_id, outcome, .. } = result;
            let cause = result.cause.as_deref().map(|cause| format!(" / {cause}")).unwrap_or_default();
            let detail = result.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let text = format!("{asset_id} (request {request_id}): {outcome}{cause}{detail}");
            writeln!(out, "{unit} {line}: {}", plain(&text))?;
        }
        let more = self.not_done - self.named.len() as u64;
        if more > 0 { writeln!(out, "… and {} more", HumanCount(more)) } else { Ok(()) }
    }

    pub(super) fn to_json(&self) -> Value {
        let rows = self.counts.iter().map(|((outcome, cause), count)| {
            let mut row = json!({"outcome": outcome, "requests": count});
            if !cause.is_empty() {
                row["cause"] = json!(cause);
            }
            row
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(outcome: &str, cause: Option<&str>) -> Vec<u8> {
        let data = json!({"request_id": "r", "asset_id": "a", "outcome": outcome, "cause": cause, "detail": "no\u{1b}[2J",
                "proof": cause.is_none().then_some("erased")});
        json!({"specversion": "1.0", "data": data}).to_string().into_bytes()
    }

    #[test]
    fn outcomes_are_counted_and_what_was_not_done_is_named() {
        let mut tally = Tally::default();
        for line in 0..1012 {
            let (outcome, cause) = if line < 1000 { ("deleted", None) } else { ("failed", Some("in_use")) };
            tally.take(line, Result::of_event(&event(outcome, cause)).unwrap());
        }
        let mut out = Vec::new();
        tally.table(3, &mut out).unwrap();
        tally.proofs(&mut out).unwrap();
        tally.name("line", &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
        assert_eq!((tally.not_done(), tally.brief().as_str()), (12, "deleted 1,000, failed 12"));
        let rows =
            json!([{"outcome": "deleted", "requests": 1000}, {"outcome": "failed", "cause": "in_use", "requests": 12}]);
        assert_eq!(tally.to_json(), rows);
    }

    #[test]
    fn a_body_that_is_no_result_is_none() {
        for body in [&b"{}"[..], b"[]", b"\xff", br#"{"data":{"case_id":"c"}}"#] {
            assert!(Result::of_event(body).is_err());
        }
    }
}
