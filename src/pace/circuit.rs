//! When does "this asset cannot be deleted now" become "the provider is down"?

use std::collections::BTreeSet;

/// So many different assets in a row must fail before the provider counts as down.
pub const FAULTS_TO_OPEN: usize = 5;

/// Counts the assets that have used up their in-process retries since the provider last succeeded for anybody.
///
/// *Different* assets, because the two faults that look alike from one request must end differently:
///
/// * One poisoned asset, for which the provider fails every time, must walk its wait ladder and end as
///   `attempts_exhausted`. Were its failures counted each time, in a quiet hour it would open the circuit alone, and
///   stop the deletion of every other asset.
/// * An outage fails every asset. It must stop consumption instead, so that no request burns attempts, and ends as
///   `failed`, for a fault that is not its own.
///
/// Only decides: whoever owns it stops the line, probes, and reports the probe's success here.
#[derive(Debug, Default)]
pub struct Circuit {
    /// Never more than [`FAULTS_TO_OPEN`]; the circuit is open when that many are in it.
    faulty: BTreeSet<String>,
}

impl Circuit {
    /// A closed circuit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `asset` has used up its in-process retries. True when this opens the circuit, so once per outage: an open
    /// circuit answers false until [`Circuit::succeeded`] has closed it.
    #[must_use = "true means: stop the line now"]
    pub fn failed(&mut self, asset: &str) -> bool {
        !self.is_open() && self.faulty.insert(asset.to_owned()) && self.is_open()
    }

    /// The provider answered somebody with sense, a probe included: the row is broken, the circuit closed.
    pub fn succeeded(&mut self) {
        self.faulty.clear();
    }

    /// Whether the provider counts as down.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.faulty.len() >= FAULTS_TO_OPEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(circuit: &mut Circuit, assets: std::ops::Range<usize>) -> Vec<bool> {
        assets.map(|n| circuit.failed(&format!("asset-{n}"))).collect()
    }

    #[test]
    fn the_fifth_different_asset_in_a_row_opens_it_once() {
        let mut circuit = Circuit::new();
        assert_eq!(fail(&mut circuit, 0..7), [false, false, false, false, true, false, false]);
        assert!(circuit.is_open());
    }

    #[test]
    fn one_poisoned_asset_never_opens_it() {
        let mut circuit = Circuit::new();
        assert!((0..1_000).all(|_| !circuit.failed("poisoned")));
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_success_breaks_the_row() {
        let mut circuit = Circuit::new();
        fail(&mut circuit, 0..4);
        circuit.succeeded();
        assert_eq!(fail(&mut circuit, 4..8), [false; 4]);
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_second_outage_opens_it_again() {
        let mut circuit = Circuit::new();
        fail(&mut circuit, 0..5);
        circuit.succeeded();
        assert!(!circuit.is_open());
        assert_eq!(fail(&mut circuit, 0..5), [false, false, false, false, true]);
    }

    #[test]
    fn memory_is_bounded_during_a_long_outage() {
        let mut circuit = Circuit::new();
        fail(&mut circuit, 0..10_000);
        assert_eq!(circuit.faulty.len(), FAULTS_TO_OPEN);
    }
}
