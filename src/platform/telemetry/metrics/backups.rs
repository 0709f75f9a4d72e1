//! The metrics of backups.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::{Declare, Metrics, MetricsError};

/// What became of looking for a copy, or making one.
const RESULTS: [&str; 4] = ["made", "kept", "put_off", "failed"];

/// From a small picture (50 ms) to the default `backup.timeout` (10 min).
const SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

pub(super) struct BackupMetrics {
    results: IntCounterVec,
    bytes: IntCounter,
    seconds: Histogram,
}

impl BackupMetrics {
    pub(super) fn declare(declare: &Declare) -> Result<Self, MetricsError> {
        let backups = Self {
            results: declare.counters(
                "backups_total",
                "Backups before a deletion, by what became of them.",
                &["result"],
            )?,
            bytes: declare.counter("backup_bytes_total", "Bytes of the backups made.")?,
            seconds: declare.histogram(
                "backup_duration_seconds",
                "Time one backup took, from the first byte asked for to the last one read back.",
                SECONDS,
            )?,
        };
        for result in RESULTS {
            backups.results.with_label_values(&[result]);
        }
        Ok(backups)
    }

    fn count(&self, result: &'static str) {
        self.results.with_label_values(&[result]).inc();
    }
}

impl Metrics {
    /// A copy was made and read back whole.
    pub fn backup_made(&self, bytes: u64, took: Duration) {
        let backups = &self.0.backups;
        backups.count("made");
        backups.bytes.inc_by(bytes);
        backups.seconds.observe(took.as_secs_f64());
    }

    /// A copy that an earlier attempt has made was there, and was read back whole.
    pub fn backup_kept(&self) {
        self.0.backups.count("kept");
    }

    /// There was no copy in this attempt, and there may be one in the next.
    pub fn backup_put_off(&self) {
        self.0.backups.count("put_off");
    }

    /// There is no copy, and the request has failed for it.
    pub fn backup_failed(&self) {
        self.0.backups.count("failed");
    }
}
