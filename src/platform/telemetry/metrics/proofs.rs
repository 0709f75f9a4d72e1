//! The metrics of what is known of a deletion.

use prometheus::IntCounterVec;

use super::{Declare, Metrics, MetricsError, known};
use crate::contract::message::Proof;

/// What an asset's own URL did after the deletion.
const SERVES: [&str; 3] = ["yes", "no", "unclear"];

pub(super) struct ProofMetrics {
    proofs: IntCounterVec,
    urls: IntCounterVec,
}

impl ProofMetrics {
    pub(super) fn declare(declare: &Declare) -> Result<Self, MetricsError> {
        let metrics = Self {
            proofs: declare.counters(
                "proofs_total",
                "Results published that say that an asset is gone, by how well that is known.",
                &["proof"],
            )?,
            urls: declare.counters(
                "url_checks_total",
                "Assets' own URLs asked after the deletion, by whether they still served bytes.",
                &["serves"],
            )?,
        };
        for proof in Proof::ALL {
            metrics.proofs.with_label_values(&[proof.as_str()]);
        }
        for serves in SERVES {
            metrics.urls.with_label_values(&[serves]);
        }
        Ok(metrics)
    }
}

impl Metrics {
    /// A result with this proof was published; empty where it has none.
    pub fn proof(&self, proof: &str) {
        if !proof.is_empty() {
            let proof = known(proof, Proof::ALL.map(Proof::as_str).into_iter());
            self.0.proofs.proofs.with_label_values(&[proof]).inc();
        }
    }

    /// An asset's own URL was asked after the deletion; `None` where it gave no clear answer.
    pub fn url_asked(&self, serves: Option<bool>) {
        let serves = match serves {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unclear",
        };
        self.0.proofs.urls.with_label_values(&[serves]).inc();
    }
}
