//! When does "this asset cannot be deleted now" become "the provider is down"? The same for the guard.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// So many different assets must fail before it counts as an outage.
pub const FAULTS_TO_OPEN: usize = 5;
/// Failures are counted over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// In parts of this length.
const PART: Duration = Duration::from_secs(1);
/// Fewer calls say nothing about a rate.
const LEAST_CALLS: u32 = 20;

/// Sees everybody's calls, and opens
///
/// * when most calls of the last ten seconds have failed, at least ten of them, for at least five different assets: an
///   outage is noticed before anybody has used up its retries; or
/// * when five different assets in a row have used up their in-process retries, with not one clear answer in between:
///   an outage is noticed where there is little to do, too.
///
/// *Different* assets, because the two faults that look alike from one request must end differently:
///
/// * One poisoned asset, for which the provider fails every time, must walk its wait ladder and end as
///   `attempts_exhausted`. Were its failures counted each time, in a quiet hour it would open the circuit alone, and
///   stop the deletion of every other asset.
/// * An outage fails every asset. It must stop consumption instead, so that no request burns attempts, and ends as
///   `failed`, for a fault that is not its own.
///
/// Only decides: whoever owns it stops the line, probes, and reports the probe's success here. Times are measured from
/// any fixed moment.
#[derive(Debug, Default)]
pub struct Circuit {
    open: bool,
    /// Assets that have used up their retries in a row. Never more than [`FAULTS_TO_OPEN`].
    row: BTreeSet<String>,
    parts: VecDeque<Part>,
}

/// What was seen in one second.
#[derive(Debug, Default)]
struct Part {
    since: Duration,
    answered: u32,
    failed: u32,
    /// For which the calls failed. Never more than [`FAULTS_TO_OPEN`].
    assets: BTreeSet<String>,
}

impl Circuit {
    /// Somebody had a clear answer: the row is broken.
    pub fn answered(&mut self, now: Duration) {
        self.row.clear();
        self.part(now).answered += 1;
    }

    /// One call about `asset` has failed. True when this opens the circuit.
    #[must_use = "true means: stop the line now"]
    pub fn failed(&mut self, now: Duration, asset: &str) -> bool {
        let part = self.part(now);
        part.failed += 1;
        if part.assets.len() < FAULTS_TO_OPEN {
            part.assets.insert(asset.to_owned());
        }
        let (failed, answered) =
            self.parts.iter().fold((0, 0), |(failed, answered), part| (failed + part.failed, answered + part.answered));
        let assets: BTreeSet<&String> = self.parts.iter().flat_map(|part| &part.assets).collect();
        let outage = failed > answered && failed + answered >= LEAST_CALLS && assets.len() >= FAULTS_TO_OPEN;
        self.open_if(outage)
    }

    /// `asset` has used up its in-process retries. True when this opens the circuit.
    #[must_use = "true means: stop the line now"]
    pub fn gave_up(&mut self, asset: &str) -> bool {
        if self.row.len() < FAULTS_TO_OPEN {
            self.row.insert(asset.to_owned());
        }
        self.open_if(self.row.len() >= FAULTS_TO_OPEN)
    }

    /// A probe had a clear answer: everything is forgotten, the circuit closed.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// True once per outage.
    fn open_if(&mut self, outage: bool) -> bool {
        let opens = outage && !self.open;
        self.open |= outage;
        opens
    }

    fn part(&mut self, now: Duration) -> &mut Part {
        while self.parts.front().is_some_and(|part| now.saturating_sub(part.since) >= WINDOW) {
            self.parts.pop_front();
        }
        if self.parts.back().is_none_or(|part| now.saturating_sub(part.since) >= PART) {
            self.parts.push_back(Part { since: now, ..Part::default() });
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
    fn the_fifth_different_asset_in_a_row_that_gives_up_opens_it_once() {
        let mut circuit = Circuit::default();
        assert_eq!(give_up(&mut circuit, 0..7), [false, false, false, false, true, false, false]);
    }

    #[test]
    fn one_poisoned_asset_never_opens_it() {
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
    fn most_calls_failing_opens_it_before_anybody_gives_up() {
        let mut circuit = Circuit::default();
        let opened = (0..40).position(|n| circuit.failed(SECOND, &format!("asset-{}", n % 7)));
        assert_eq!(opened, Some(19), "the twentieth call");
        circuit.close();
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
    fn a_second_outage_opens_it_again() {
        let mut circuit = Circuit::default();
        give_up(&mut circuit, 0..5);
        circuit.close();
        assert_eq!(give_up(&mut circuit, 0..5), [false, false, false, false, true]);
    }

    #[test]
    fn memory_is_bounded_during_a_long_outage() {
        let mut circuit = Circuit::default();
        for n in 0..10_000 {
            let _ = circuit.failed(SECOND * n / 100, &format!("asset-{n}"));
            let _ = circuit.gave_up(&format!("asset-{n}"));
        }
        assert!(circuit.parts.len() <= 11 && circuit.parts.iter().all(|part| part.assets.len() <= FAULTS_TO_OPEN));
        assert_eq!(circuit.row.len(), FAULTS_TO_OPEN);
    }
}
