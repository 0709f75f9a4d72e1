//! What the true time was when a worker wrote a time down.

use jiff::Timestamp;

use crate::support::clock::Life;

/// What a process's start and end are known to, and more than a time is rounded by.
const BLUR_MS: i64 = 20;

/// The clocks of a run. Each is further from every other one than the run is long, so a time tells which clock told it.
#[derive(Clone, Debug, Default)]
pub struct Clocks(Vec<Life>);

impl Clocks {
    /// What still runs is taken to end now.
    pub fn new(mut lives: Vec<Life>, now: i64) -> Self {
        for life in &mut lives {
            life.ended_ms.get_or_insert(now);
        }
        Self(lives)
    }

    /// The true time of an entry, in milliseconds since 1970; `None` where no clock told this time.
    ///
    /// An entry has the time of the worker that wrote it, or that of the database's server, whose clock is right: then it
    /// lies within the run.
    pub fn true_ms(&self, at: Timestamp) -> Option<i64> {
        let at = at.as_millisecond();
        if self.run_holds(at) {
            return Some(at);
        }
        self.0.iter().find(|life| lived(life, at - ahead_ms(life))).map(|life| at - ahead_ms(life))
    }

    /// Whether a true time lies within the run.
    fn run_holds(&self, ms: i64) -> bool {
        let first = self.0.iter().map(|life| life.began_ms).min();
        let last = self.0.iter().filter_map(|life| life.ended_ms).max();
        first.is_some_and(|first| first - BLUR_MS <= ms) && last.is_some_and(|last| ms - BLUR_MS <= last)
    }

    /// Whether the clock of a worker was wrong at some time.
    pub fn jumped(&self) -> bool {
        self.0.iter().any(|life| life.ahead_s != 0)
    }
}

fn ahead_ms(life: &Life) -> i64 {
    life.ahead_s * 1000
}

fn lived(life: &Life, true_ms: i64) -> bool {
    life.began_ms - BLUR_MS <= true_ms && life.ended_ms.is_none_or(|ended| true_ms <= ended + BLUR_MS)
}
