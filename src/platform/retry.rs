//! How long to wait before trying again: exponential backoff with full jitter, within a budget.
//!
//! The only file that knows the `backoff` crate. That crate jitters *around* an interval; full jitter, uniform from
//! zero to the cap, is the same thing around half the cap with a randomization factor of one.

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// The least cap a backoff starts from, so that a zero in the settings cannot make a busy loop.
const MIN_INITIAL: Duration = Duration::from_millis(1);

/// How often and how long one operation may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The longest that the first wait may be; the cap doubles with every further wait.
    pub initial: Duration,
    /// The longest that any jittered wait may be.
    pub max_interval: Duration,
    /// The time, from [`Budget::start`] on, in which every wait must end.
    pub max_elapsed: Duration,
}

impl Budget {
    /// Starts the clock of one operation.
    #[must_use]
    pub fn start(&self) -> Backoff {
        Backoff::new(self.initial, self.max_interval, Some(self.max_elapsed))
    }
}

/// A backoff without an end, for what must come back some day, such as the broker: `next` never answers `None`.
#[must_use]
pub fn forever(initial: Duration, max_interval: Duration) -> Backoff {
    Backoff::new(initial, max_interval, None)
}

/// The waits of one operation, one after the other.
#[derive(Debug, Clone)]
pub struct Backoff {
    inner: ExponentialBackoff,
    /// The crate may overshoot by a rounding; the waits promised here never do.
    max_interval: Duration,
}

impl Backoff {
    fn new(initial: Duration, max_interval: Duration, max_elapsed: Option<Duration>) -> Self {
        let max_interval = max_interval.max(MIN_INITIAL);
        let initial = initial.clamp(MIN_INITIAL, max_interval);
        let inner = ExponentialBackoffBuilder::new()
            .with_initial_interval(initial / 2)
            .with_max_interval(max_interval / 2)
            .with_multiplier(2.0)
            .with_randomization_factor(1.0)
            .with_max_elapsed_time(max_elapsed)
            .build();
        Self { inner, max_interval }
    }

    /// How long to wait before the next try, or `None` when the budget is used up.
    ///
    /// `retry_after` is what the other side asked for: the wait is never shorter than that, and there is none at all
    /// when it does not end within the budget (the caller then has to put the work off).
    pub fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let jittered = self.inner.next_backoff().map(|wait| wait.min(self.max_interval));
        let Some(asked) = retry_after else {
            return jittered;
        };
        if let Some(budget) = self.inner.max_elapsed_time {
            let left = budget.checked_sub(self.inner.get_elapsed_time())?;
            if asked > left {
                return None;
            }
        }
        // The jitter may have missed the budget where the asked wait still fits.
        Some(jittered.map_or(asked, |wait| wait.max(asked)))
    }

    /// Begins again with short waits and the whole budget, after something worked.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn budget(max_elapsed: Duration) -> Budget {
        Budget { initial: 100 * MS, max_interval: 400 * MS, max_elapsed }
    }

    #[test]
    fn waits_are_spread_over_the_whole_cap_which_doubles_up_to_its_limit() {
        let mut widest = [Duration::ZERO; 5];
        let mut narrowest = [Duration::MAX; 5];
        for _ in 0..2_000 {
            let mut backoff = budget(Duration::from_secs(3600)).start();
            for step in 0..5 {
                let wait = backoff.next(None).unwrap();
                widest[step] = widest[step].max(wait);
                narrowest[step] = narrowest[step].min(wait);
            }
        }
        for (step, cap) in [100, 200, 400, 400, 400].into_iter().enumerate() {
            let cap = cap * MS;
            // One nanosecond: the rounding of the crate below the overall limit.
            assert!(widest[step] <= cap + Duration::from_nanos(1), "{step}: {widest:?}");
            assert!(widest[step] > cap * 9 / 10, "{step}: {widest:?}");
            assert!(narrowest[step] < cap / 10, "{step}: {narrowest:?}");
        }
    }

    #[test]
    fn a_used_up_budget_gives_no_further_wait() {
        let mut backoff = budget(50 * MS).start();
        backoff.inner.start_time -= 60 * MS;
        assert_eq!(backoff.next(None), None);
        assert_eq!(backoff.next(Some(Duration::ZERO)), None);
    }

    #[test]
    fn every_wait_ends_within_the_budget() {
        for _ in 0..500 {
            let mut backoff = budget(50 * MS).start();
            while let Some(wait) = backoff.next(None) {
                assert!(wait <= 50 * MS);
                backoff.inner.start_time -= wait.max(MS);
            }
        }
    }

    #[test]
    fn a_retry_after_that_fits_is_never_cut_short() {
        for _ in 0..500 {
            let wait = budget(10_000 * MS).start().next(Some(300 * MS)).unwrap();
            assert_eq!(wait, 300 * MS, "the first jitter is at most 100 ms");
            let wait = budget(10_000 * MS).start().next(Some(MS)).unwrap();
            assert!(wait >= MS && wait <= 101 * MS);
        }
    }

    #[test]
    fn a_retry_after_that_does_not_fit_ends_the_budget() {
        let mut backoff = budget(1_000 * MS).start();
        assert_eq!(backoff.next(Some(1_001 * MS)), None);
        backoff.inner.start_time -= 800 * MS;
        assert_eq!(backoff.next(Some(300 * MS)), None);
        assert!(backoff.next(Some(100 * MS)).is_some());
    }

    #[test]
    fn forever_goes_on_and_a_reset_makes_it_short_again() {
        let mut backoff = forever(10 * MS, 80 * MS);
        for _ in 0..10_000 {
            assert!(backoff.next(None).unwrap() <= 80 * MS);
        }
        assert_eq!(backoff.next(Some(86_400_000 * MS)), Some(86_400_000 * MS));
        backoff.reset();
        assert!(backoff.next(None).unwrap() <= 11 * MS);
    }

    #[test]
    fn zeroes_make_no_busy_loop() {
        let mut backoff = forever(Duration::ZERO, Duration::ZERO);
        let total: Duration = (0..1_000).filter_map(|_| backoff.next(None)).sum();
        assert!(total > 50 * MS, "{total:?}");
    }
}
