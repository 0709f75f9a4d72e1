//! What was asked against what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Result;
use super::plan::{Kind, Plan};
use super::sandbox::Sandbox;
use super::stage::{Metrics, Stage};

/// Differences shown in full; a demo that goes wrong often goes wrong in the same way.
const SHOWN: usize = 10;

pub struct Report {
    rows: Vec<Row>,
    checks: Vec<(String, bool)>,
    differences: Vec<String>,
    /// Answers seen, by outcome and cause.
    seen: BTreeMap<(String, String), usize>,
    metrics: Vec<String>,
}

struct Row {
    kind: Kind,
    asked: usize,
    answered: usize,
    right: usize,
}

fn text(event: &Value, field: &str) -> String {
    event["data"][field].as_str().unwrap_or_default().to_owned()
}

impl Report {
    pub fn new(plan: &Plan, events: &[Value]) -> Self {
        let mut by_asset: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        let mut seen = BTreeMap::new();
        let own = format!("demo-{}-", plan.run);
        for event in events.iter().filter(|event| text(event, "request_id").starts_with(&own)) {
            by_asset.entry(text(event, "asset_id")).or_default().push(event);
            *seen.entry((text(event, "outcome"), text(event, "cause"))).or_default() += 1;
        }
        let mut report =
            Self { rows: Vec::new(), checks: Vec::new(), differences: Vec::new(), seen, metrics: Vec::new() };
        for kind in Kind::ALL {
            let mut row = Row { kind, asked: plan.of(kind).count(), answered: 0, right: 0 };
            let assets: BTreeSet<_> = plan.of(kind).map(|message| &message.asset).collect();
            for asset in assets {
                let got = by_asset.remove(asset).unwrap_or_default();
                report.compare(&mut row, asset, &got);
            }
            report.rows.push(row);
        }
        let strange: Vec<_> = by_asset.keys().cloned().collect();
        report.check("nothing was answered that was not asked", strange.is_empty(), || format!("{strange:?}"));
        report
    }

    /// Every answer has to be the expected one; two answers to one request have to be the same event.
    fn compare(&mut self, row: &mut Row, asset: &str, got: &[&Value]) {
        let expected: usize = match (row.kind.answer(), row.kind) {
            (None, _) => 0,
            (Some(_), Kind::Twice) => 2,
            (Some(_), _) => 1,
        };
        let right = |event: &&&Value| {
            row.kind.answer().is_some_and(|(outcome, cause)| {
                (text(event, "outcome").as_str(), text(event, "cause").as_str()) == (outcome, cause)
            })
        };
        let same = got.iter().all(|event| *event == got[0]);
        let count = got.iter().filter(right).count();
        row.answered += got.len();
        row.right += if same { count } else { 0 };
        if got.len() != expected || count != expected || !same {
            let got: Vec<_> = got.iter().map(|event| event["data"].to_string()).collect();
            self.differences.push(format!("{}, {asset}: {expected} answers expected, got {got:?}", row.kind.title()));
        }
    }

    fn check(&mut self, what: &str, holds: bool, why_not: impl FnOnce() -> String) {
        self.checks.push((what.to_owned(), holds));
        if !holds {
            self.differences.push(format!("{what}: no: {}", why_not()));
        }
    }

    pub fn dead(&mut self, expected: usize, buried: usize) {
        let what = format!("the dead queue has the {expected} malformed and unreadable messages");
        self.check(&what, buried == expected, || format!("it has {buried}"));
    }

    /// What the provider was really asked, and what is really left.
    pub async fn sandbox(&mut self, plan: &Plan, sandbox: &Sandbox) -> Result<()> {
        let (left, expected) = (sandbox.assets(&plan.run).await?, plan.left());
        let what = format!("exactly the {} assets that had to stay are left", expected.len());
        let (is, should): (BTreeSet<_>, BTreeSet<_>) = (left.iter().collect(), expected.iter().collect());
        self.check(&what, is == should, || {
            format!("missing {:?}, too many {:?}", should.difference(&is), is.difference(&should))
        });
        let deletes = sandbox.deletes(&plan.run).await?;
        let in_use: Vec<_> = deletes
            .iter()
            .filter(|call| call["jobs_in_progress"].as_array().is_none_or(|jobs| !jobs.is_empty()))
            .collect();
        let what = format!("none of {} DELETEs hit an asset in use", deletes.len());
        self.check(&what, in_use.is_empty(), || format!("{in_use:?}"));
        Ok(())
    }

    /// Every copy that an answer names has to be there, with the bytes that the asset had.
    pub async fn backups(&mut self, plan: &Plan, events: &[Value], sandbox: &Sandbox) -> Result<()> {
        let mut wrong = Vec::new();
        for message in plan.of(Kind::Kept) {
            let (asset, truth) = (&message.asset, sandbox.file(&message.asset).await?);
            let event = events.iter().find(|event| text(event, "asset_id") == *asset);
            let said = event.map_or(Value::Null, |event| event["data"]["backup"].clone());
            let is = match said["location"].as_str().and_then(|location| location.strip_prefix("file://")) {
                None => json!("no file is named"),
                Some(path) => {
                    std::fs::read(path).map_or_else(|error| json!(error.to_string()), |bytes| described(&bytes))
                }
            };
            if is != truth || said["length"] != truth["length"] || said["sha256"] != truth["sha256"] {
                wrong.push(format!("{asset}: the answer names {said}, there is {is}, the asset was {truth}"));
            }
        }
        let what = format!("each of {} copies has the bytes of its asset", plan.of(Kind::Kept).count());
        self.check(&what, wrong.is_empty(), || wrong.join("; "));
        Ok(())
    }

    /// The worker's own count has to be what was heard.
    pub async fn metrics(&mut self, before: &Metrics, stage: &Stage) -> Result<()> {
        let mut counted = BTreeMap::new();
        let mut now = stage.metrics().await?;
        // A result is counted just after the broker confirms it, so it may be heard a moment earlier.
        for _ in 0..50 {
            counted = by_outcome(&now.since(Some(before), "asset_eraser_results_total"));
            if counted == self.seen {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            now = stage.metrics().await?;
        }
        let seen = self.seen.clone();
        self.check("the worker's metrics count the same answers", counted == seen, || {
            format!("heard {seen:?}, counted {counted:?}")
        });
        for name in [
            "results_total",
            "put_off_total",
            "provider_calls_total",
            "guard_checks_total",
            "backups_total",
            "dead_letters_total",
        ] {
            let grown = now.since(Some(before), &format!("asset_eraser_{name}"));
            self.metrics.extend(grown.iter().map(|(series, value)| format!("{series} {value}")));
        }
        let calls = now.sum("asset_eraser_decided_after_seconds_count")
            - before.sum("asset_eraser_decided_after_seconds_count");
        let seconds =
            now.sum("asset_eraser_decided_after_seconds_sum") - before.sum("asset_eraser_decided_after_seconds_sum");
        self.metrics.push(format!("# on average decided {:.2} s after it was first seen", seconds / calls.max(1.0)));
        self.metrics.push(format!("# all of them: {}/metrics", stage.worker()));
        Ok(())
    }

    pub fn agrees(&self) -> bool {
        self.differences.is_empty()
    }

    pub fn print(&self, took: Duration) {
        println!("what the metrics say (this run's share):");
        self.metrics.iter().for_each(|line| println!("  {line}"));
        println!("\n{:<33} {:>5}  {:<29} {:>8} {:>6}", "what", "asked", "has to be answered", "answered", "right");
        for row in &self.rows {
            let answer = match row.kind.answer() {
                None => "(buried, no answer)".to_owned(),
                Some((outcome, "")) => outcome.to_owned(),
                Some((outcome, cause)) => format!("{outcome} / {cause}"),
            };
            println!("{:<33} {:>5}  {answer:<29} {:>8} {:>6}", row.kind.title(), row.asked, row.answered, row.right);
        }
        let sum = |column: fn(&Row) -> usize| self.rows.iter().map(column).sum::<usize>();
        let (asked, answered, right) = (sum(|row| row.asked), sum(|row| row.answered), sum(|row| row.right));
        println!("{:<33} {asked:>5}  {:<29} {answered:>8} {right:>6}\n", "all", "");
        for (what, holds) in &self.checks {
            println!("{} {what}", if *holds { "yes" } else { "NO " });
        }
        for difference in self.differences.iter().take(SHOWN) {
            println!("DIFFERENT: {difference}");
        }
        let more = self.differences.len().saturating_sub(SHOWN);
        if more > 0 {
            println!("… and {more} more");
        }
        let verdict = if self.agrees() { "asked and answered agree" } else { "asked and answered DIFFER" };
        println!("\n{verdict}: {asked} messages in {:.1} s", took.as_secs_f64());
    }
}

fn described(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes))})
}

fn by_outcome(samples: &[(String, f64)]) -> BTreeMap<(String, String), usize> {
    let label = |series: &str, name: &str| {
        let (_, rest) = series.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let read = |(series, value): &(String, f64)| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a counter of whole things
        let count = *value as usize;
        let cause = label(series, "cause").filter(|cause| cause != "none").unwrap_or_default();
        Some(((label(series, "outcome")?, cause), count))
    };
    samples.iter().filter_map(read).collect()
}
