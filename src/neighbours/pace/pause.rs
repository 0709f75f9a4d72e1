//! "Not before": a wait that the provider asked one caller for, kept by all of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait taken from the provider: an absurd `Retry-After` must not stop deletions for ever.
const LONGEST: Duration = Duration::from_secs(3600);

/// When the next provider call may start. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pause(Arc<Mutex<Option<Instant>>>);

impl Pause {
    /// No call before `delay` from now; never shortens a longer pause.
    pub fn extend(&self, delay: Duration) {
        let until = Instant::now() + delay.min(LONGEST);
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = Some(pause.map_or(until, |before| before.max(until)));
    }

    /// How long the pause still lasts; zero when there is none.
    #[must_use]
    pub fn left(&self) -> Duration {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Waits until the pause is over.
    pub async fn wait(&self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_wait_never_ends_a_longer_one_and_none_lasts_over_an_hour() {
        let pause = Pause::default();
        assert!(pause.left().is_zero());
        pause.extend(Duration::from_secs(60));
        pause.extend(Duration::from_secs(1));
        assert!(pause.left() > Duration::from_secs(50));
        pause.extend(Duration::from_secs(1_000_000));
        assert!(pause.left() <= LONGEST);
    }
}
