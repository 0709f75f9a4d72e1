//! The brake: how many deletions may begin within a window of time, whichever worker begins them.
//!
//! A deletion is counted in the transaction that records it as begun, so that none is begun uncounted, and a crash
//! afterwards forgets none. Counted are numbers in buckets of time, not requests, so that a full window is some rows.

use jiff::Timestamp;

use super::state::{self, Call};
use super::{Attempt, Deletion, Ledger, LedgerError, LedgerStore};
use crate::settings::BrakeSettings;

/// Buckets in a window. A deletion counts for up to one bucket longer than the window, never shorter.
const BUCKETS: i64 = 60;

/// How far the brake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Braking {
    /// How many deletions have begun within the window and since the last release.
    pub deletions: u64,
    /// The last release, if there ever was one.
    pub last_release: Option<Release>,
}

/// A release of the brake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// When.
    pub at: Timestamp,
    /// How many deletions of the window count no more since then.
    pub deletions: u64,
}

/// The brake at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrakeLimit {
    /// Most deletions.
    pub most: u64,
    /// The bucket that is filled now, told by its end (milliseconds since 1970): so each counts for at least as long as
    /// all that is in it, however wide buckets were when it was filled.
    pub bucket: i64,
    /// Buckets that end then or earlier count no more.
    pub past: i64,
}

impl BrakeLimit {
    pub(super) fn at(brake: &BrakeSettings, now: Timestamp) -> Self {
        let window = i64::try_from(brake.window.as_millis()).unwrap_or(i64::MAX);
        let (width, now) = ((window / BUCKETS).max(1), now.as_millisecond());
        let bucket = now.div_euclid(width).saturating_add(1).saturating_mul(width);
        Self { most: brake.max_deletions.into(), bucket, past: now.saturating_sub(window) }
    }
}

impl Braking {
    /// Whether the next deletion would be held.
    #[must_use]
    pub fn holds(&self, brake: &BrakeSettings) -> bool {
        self.deletions >= u64::from(brake.max_deletions)
    }
}

impl Ledger {
    /// Records, before every single `DELETE`, that it may have been sent, and whether the asset was found (`seen`); and counts
    /// it, if the request has not begun to delete before and there is a brake. Without one nothing is counted. Of all calls on one ledger, by whichever
    /// worker, no more than `brake.max_deletions` are counted within any `brake.window`, by the ledger's clock.
    ///
    /// # Errors
    /// When the ledger cannot be written; when the request was never begun or is a dry run; when another attempt has
    /// begun since, or the request is decided. After any error no `DELETE` may be sent.
    pub async fn deleting(
        &self,
        attempt: &Attempt,
        brake: Option<&BrakeSettings>,
        seen: bool,
    ) -> Result<Deletion, LedgerError> {
        let token = attempt.token;
        let verb = move |row, now| state::deleting(row, token, seen, now);
        let (id, brake, clock) = (attempt.request_id.clone(), brake.copied(), self.clock);
        self.call(Call { id, brake, clock, verb }).await
    }

    /// How far the brake is, all that was committed before this call included.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn braking(&self, brake: &BrakeSettings) -> Result<Braking, LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.braking(brake, self.clock).await,
            LedgerStore::Postgres(postgres) => postgres.braking(brake, self.clock).await,
        }
    }

    /// Lets every deletion that was counted so far count no more, and records that.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn release_brake(&self, brake: &BrakeSettings) -> Result<Release, LedgerError> {
        match &self.store {
            LedgerStore::Sqlite(sqlite) => sqlite.release_brake(brake, self.clock).await,
            LedgerStore::Postgres(postgres) => postgres.release_brake(brake, self.clock).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deletion_counts_for_the_window_and_at_most_one_bucket_longer() {
        let brake = BrakeSettings { max_deletions: 1, window: Duration::from_secs(3600) };
        let at = |ms| BrakeLimit::at(&brake, Timestamp::from_millisecond(ms).unwrap());
        let (hour, minute) = (3_600_000, 60_000);
        for begun in [0, 1, minute - 1, minute, 7 * hour + 59_999] {
            let counts = |ms| at(begun).bucket > at(ms).past;
            assert!(counts(begun) && counts(begun + hour), "{begun}");
            assert!(!counts(begun + hour + minute), "{begun}");
        }
    }
}
