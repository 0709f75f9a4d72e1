//! When does "this asset cannot be deleted now" look like "the provider is down"? The same for the guard.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// So many different assets must fail before an outage is suspected.
pub const FAULTS_TO_DOUBT: usize = 5;
/// Failures are counted over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// In parts of this length.
const PART: Duration = Duration::from_secs(1);
/// Fewer calls say nothing about a rate.
const LEAST_CALLS: u32 = 20;

/// Sees the calls of all requests, and suspects an outage
///
/// * when most calls of the last ten seconds have failed, at least ten of them, for at least five different assets: an
///   outage is noticed before a request has used up its retries; or
/// * when five different assets in a row have used up their in-process retries, with not one clear answer in between:
///   an outage is noticed where there is little to do, too.
///
/// *Different* assets, because the two faults that look alike from one request must end differently:
///
/// * One poisoned asset, for which the provider fails every time, must walk its wait ladder and end as
///   `attempts_exhausted`. Were its failures counted each time, in a quiet hour it would raise the suspicion alone.
/// * An outage fails every asset. It must stop consumption instead, so that no request burns attempts, and ends as
///   `failed`, for a fault that is not its own.
///
/// Twelve poisoned assets with nothing else in the queue look like an outage, too. So a suspicion opens nothing: the
/// owner asks a witness, a probe about another ID. A clear answer contradicts the outage, and the failures belong to
/// their requests.
///
/// Only decides: the owner asks the witness, stops the line and probes, and reports what came of it here. Times are
/// measured from any fixed moment.
#[derive(Debug, Default)]
pub struct Circuit {
    /// Assets that have used up their retries in a row. Never more than [`FAULTS_TO_DOUBT`].
    row: BTreeSet<String>,
    parts: VecDeque<Second>,
}

/// What was seen in one second.
#[derive(Debug, Default)]
struct Second {
    since: Duration,
    answered: u32,
    failed: u32,
    /// For which the calls failed. Never more than [`FAULTS_TO_DOUBT`].
    assets: BTreeSet<String>,
}

impl Circuit {
    /// A request had a clear answer: the row is broken.
    pub fn answered(&mut self, now: Duration) {
        self.row.clear();
        self.part(now).answered += 1;
    }

    /// One call about `asset` has failed. True while this looks like an outage.
    #[must_use = "true means: ask a witness now"]
    pub fn failed(&mut self, now: Duration, asset: &str) -> bool {
        let part = self.part(now);
        part.failed += 1;
        if part.assets.len() < FAULTS_TO_DOUBT {
            part.assets.insert(asset.to_owned());
        }
        let (failed, answered) =
            self.parts.iter().fold((0, 0), |(failed, answered), part| (failed + part.failed, answered + part.answered));
        let assets: BTreeSet<&String> = self.parts.iter().flat_map(|part| &part.assets).collect();
        failed > answered && failed + answered >= LEAST_CALLS && assets.len() >= FAULTS_TO_DOUBT
    }

    /// `asset` has used up its in-process retries. True while this looks like an outage.
    #[must_use = "true means: ask a witness now"]
    pub fn gave_up(&mut self, asset: &str) -> bool {
        if self.row.len() < FAULTS_TO_DOUBT {
            self.row.insert(asset.to_owned());
        }
        self.row.len() >= FAULTS_TO_DOUBT
    }

    /// A probe had a clear answer: no outage, or none any more. Everything is forgotten.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn part(&mut self, now: Duration) -> &mut Second {
        while self.parts.front().is_some_and(|part| now.saturating_sub(part.since) >= WINDOW) {
            self.parts.pop_front();
        }
        if self.parts.back().is_none_or(|part| now.saturating_sub(part.since) >= PART) {
            self.parts.push_back(Second { since: now, ..Second::default() });
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn give_up(circuit: &mut Circuit, assets: std::ops::Range<usize>) -> Vec<bool> {
        assets.map(|n| circuit.gave_up(&format!("asset-{n}"))).collect()
    }

    #[test]
    fn the_fifth_different_asset_in_a_row_that_gives_up_looks_like_an_outage() {
        let mut circuit = Circuit::default();
        assert_eq!(give_up(&mut circuit, 0..7), [false, false, false, false, true, true, true]);
    }

    #[test]
    fn one_poisoned_asset_never_looks_like_an_outage() {
        let mut circuit = Circuit::default();
        assert!((0..1_000).all(|n| !circuit.failed(SECOND * n, "poisoned") && !circuit.gave_up("poisoned")));
        assert!((0..1_000).all(|n| !circuit.failed(SECOND * 1000, ["poisoned", "too"][n % 2])));
    }

    #[test]
    fn a_clear_answer_breaks_the_row() {
        let mut circuit = Circuit::default();
        give_up(&mut circuit, 0..4);
        circuit.answered(SECOND);
        assert_eq!(give_up(&mut circuit, 4..8), [false; 4]);
    }

    #[test]
    fn most_calls_failing_looks_like_an_outage_before_a_request_gives_up() {
        let mut circuit = Circuit::default();
        let doubted = (0..40).position(|n| circuit.failed(SECOND, &format!("asset-{}", n % 7)));
        assert_eq!(doubted, Some(19), "the twentieth call");
        circuit.forget();
        // Every second call: that is no outage.
        for n in 0..200 {
            circuit.answered(SECOND * n / 20);
            assert!(!circuit.failed(SECOND * n / 20, &format!("asset-{n}")));
        }
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let mut circuit = Circuit::default();
        assert!((0..200).all(|n| !circuit.failed(SECOND * n, &format!("asset-{n}"))), "ten in ten seconds are too few");
    }

    #[test]
    fn what_a_witness_has_contradicted_does_not_count_again() {
        let mut circuit = Circuit::default();
        give_up(&mut circuit, 0..5);
        circuit.forget();
        assert_eq!(give_up(&mut circuit, 0..5), [false, false, false, false, true]);
    }

    #[test]
    fn memory_is_bounded_during_a_long_outage() {
        let mut circuit = Circuit::default();
        for n in 0..10_000 {
            let _ = circuit.failed(SECOND * n / 100, &format!("asset-{n}"));
            let _ = circuit.gave_up(&format!("asset-{n}"));
        }
        assert!(circuit.parts.len() <= 11 && circuit.parts.iter().all(|part| part.assets.len() <= FAULTS_TO_DOUBT));
        assert_eq!(circuit.row.len(), FAULTS_TO_DOUBT);
    }
}
