//! The one way to the provider: every call needs a pass, and every answer is seen here.
//!
//! | What | Who decides |
//! | --- | --- |
//! | not before (`Retry-After`) | `pause`: what one caller is told, all of them keep |
//! | so many calls a second | the operator (`provider.max_rate`), and `rate` |
//! | so many requests at once | the operator (`worker.concurrency`), or `limit`; counted by `permits` |

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::limit::{Limit, Seen};
use super::pause::Pause;
use super::permits::Permits;
use super::rate::Rate;
use crate::platform::telemetry::metrics::Metrics;
use crate::settings::Concurrency;

/// A waiting caller looks again after this long: the rate may have risen meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A turn that came within this time was not waited for.
const AT_ONCE: Duration = Duration::from_millis(2);

/// The gate; clones share it.
#[derive(Clone)]
pub struct Gate(Arc<GateParts>);

struct GateParts {
    began: Instant,
    pause: Pause,
    known: Option<DefaultDirectRateLimiter>,
    rate: Mutex<Rate>,
    /// Held by the caller that is next: callers go one after the other, in the order in which they came.
    turn: tokio::sync::Mutex<()>,
    /// None where the operator has fixed the number.
    limit: Option<Mutex<Limit>>,
    permits: Permits,
    metrics: Metrics,
}

/// Leave for one call, now. Used or given back.
#[must_use]
pub struct Pass {
    gate: Gate,
    epoch: u64,
    /// Whether its turn had to be waited for: then more requests at once would only make the line longer.
    waited: bool,
    used: bool,
}

/// What an answer says about the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceVerdict {
    /// It came as it should, whatever it says.
    Fine,
    /// Too many calls (429).
    TooMany,
    /// Too much work, or none done in time (503, timeout).
    TooMuch,
    /// The call failed in a way that says nothing of the pace.
    Failed,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate with these limits: requests at once, and calls a second if the operator knows how many are allowed.
    #[must_use]
    pub fn new(concurrency: Concurrency, max_rate: Option<NonZeroU32>, metrics: Metrics) -> Self {
        let (limit, at_once) = match concurrency {
            Concurrency::Fixed(at_once) => (None, at_once),
            Concurrency::Adaptive { most } => {
                let limit = Limit::new(most);
                let at_once = limit.now();
                (Some(Mutex::new(limit)), at_once)
            }
        };
        metrics.concurrency_limit(at_once);
        Self(Arc::new(GateParts {
            began: Instant::now(),
            pause: Pause::default(),
            // One at a time: a burst is what the provider would reject.
            known: max_rate.map(|rate| RateLimiter::direct(Quota::per_second(rate).allow_burst(NonZeroU32::MIN))),
            rate: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            limit,
            permits: Permits::new(at_once),
            metrics,
        }))
    }

    /// Counts the requests worked on.
    #[must_use]
    pub fn permits(&self) -> &Permits {
        &self.0.permits
    }

    /// How long the provider has asked all callers to wait; zero when it has not.
    #[must_use]
    pub fn paused_for(&self) -> Duration {
        self.0.pause.left()
    }

    /// Calls a second that the provider seems to allow; `None` while it has rejected none.
    #[must_use]
    pub fn rate_now(&self) -> Option<f64> {
        self.rate().now(self.0.began.elapsed())
    }

    /// Waits for the caller's turn. Cancel-safe.
    pub async fn pass(&self) -> Pass {
        loop {
            self.0.pause.wait().await;
            let asked = Instant::now();
            if let Some(known) = &self.0.known {
                known.until_ready().await;
            }
            let epoch = self.take_turn().await;
            let waited = asked.elapsed() > AT_ONCE;
            let pass = Pass { gate: self.clone(), epoch, waited, used: false };
            // The provider may have asked to wait meanwhile.
            if self.0.pause.left().is_zero() {
                return pass;
            }
        }
    }

    async fn take_turn(&self) -> u64 {
        // Mostly there is no limit, and no caller has to stand in line.
        if let Some(epoch) = self.rate().unlimited() {
            return epoch;
        }
        let _turn = self.0.turn.lock().await;
        loop {
            let now = self.0.began.elapsed();
            let taken = self.rate().take(now);
            match taken {
                Ok(epoch) => return epoch,
                Err(wait) => tokio::time::sleep(wait.min(LOOK_AGAIN)).await,
            }
        }
    }

    /// The provider was down and is back: begin with few.
    pub fn restart(&self) {
        if let Some(limit) = &self.0.limit {
            let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
            limit.restart(self.0.began.elapsed());
            self.adopt(limit.now());
        }
    }

    fn adopt(&self, at_once: usize) {
        self.0.permits.set(at_once);
        self.0.metrics.concurrency_limit(at_once);
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        // Numbers; a panic between two of them leaves a rate that is a little off.
        self.0.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The call that this pass was for has ended. `wait` is what the answer asks all callers to wait.
    pub fn used(mut self, verdict: PaceVerdict, took: Duration, wait: Option<Duration>) {
        self.used = true;
        let gate = &self.gate.0;
        let now = gate.began.elapsed();
        if let Some(wait) = wait {
            gate.pause.extend(wait);
        }
        let rate_now = {
            let mut rate = self.gate.rate();
            match verdict {
                PaceVerdict::TooMany => rate.rejected(now, self.epoch, wait),
                PaceVerdict::Fine | PaceVerdict::TooMuch | PaceVerdict::Failed => rate.admitted(now, self.epoch),
            }
            rate.now(now)
        };
        gate.metrics.rate_limit(rate_now.unwrap_or_default());
        let Some(limit) = &gate.limit else { return };
        let seen = match verdict {
            PaceVerdict::Fine => Seen::Answered(took),
            PaceVerdict::TooMany | PaceVerdict::TooMuch => Seen::TooMuch,
            PaceVerdict::Failed => Seen::Other,
        };
        let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
        let before = limit.now();
        limit.saw(now, seen, if self.waited { 0 } else { gate.permits.busy() });
        if limit.now() != before {
            self.gate.adopt(limit.now());
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.used {
            let now = self.gate.0.began.elapsed();
            self.gate.rate().give_back(now);
        }
    }
}
