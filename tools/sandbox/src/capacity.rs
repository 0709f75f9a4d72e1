//! How many provider calls a second are let through; the rest are answered 429 without being done.
//!
//! A token bucket, refilled continuously: it holds a tenth of a second's worth, at least one call, so the allowed rate
//! is well defined however the calls are spread. A client that offers more than the rate gets exactly the rate.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

/// The part of a second whose calls the bucket holds.
const BURST: f64 = 0.1;
/// Shortest stretch of a schedule: what is shorter is a mistake, and would have to be walked through call by call.
const SHORTEST_S: f64 = 0.1;

/// Body of `PUT /control/capacity`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    per_second: Option<f64>,
    schedule: Option<Vec<Stretch>>,
    retry_after_s: Option<u64>,
}

/// A rate that holds for a while.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stretch {
    per_second: f64,
    for_s: f64,
}

/// What became of a call.
pub enum Ticket {
    Admitted,
    /// To be answered 429, with this `Retry-After` when there is one.
    Refused {
        retry_after_s: Option<u64>,
    },
}

/// The limiter. Without an order everything is admitted, and counted.
#[derive(Default)]
pub struct Capacity {
    bucket: Option<Bucket>,
    admitted: u64,
    refused: u64,
}

impl Capacity {
    /// Replaces the limiter and starts its counters, its schedule and a full bucket anew.
    pub fn set(&mut self, order: Order, now: Instant) -> Result<(), String> {
        let schedule = match (order.per_second, order.schedule) {
            (None, None) => Vec::new(),
            (Some(per_second), None) => vec![Stretch { per_second, for_s: f64::INFINITY }],
            (None, Some(schedule)) if !schedule.is_empty() => schedule,
            (None, Some(_)) => return Err("an empty schedule says nothing".into()),
            (Some(_), Some(_)) => return Err("per_second or schedule, not both".into()),
        };
        // Written so that a NaN fails too.
        let sound = |stretch: &Stretch| {
            stretch.per_second > 0.0 && stretch.per_second.is_finite() && stretch.for_s >= SHORTEST_S
        };
        if !schedule.iter().all(sound) {
            return Err(format!("per_second must be above 0, and for_s at least {SHORTEST_S}"));
        }
        let bucket = (!schedule.is_empty()).then(|| Bucket::new(schedule, order.retry_after_s, now));
        *self = Self { bucket, admitted: 0, refused: 0 };
        Ok(())
    }

    /// Lets a call through, or not.
    pub fn take(&mut self, now: Instant) -> Ticket {
        if let Some(bucket) = &mut self.bucket {
            bucket.advance(now);
            if bucket.tokens < 1.0 {
                self.refused += 1;
                return Ticket::Refused { retry_after_s: bucket.retry_after_s };
            }
            bucket.tokens -= 1.0;
        }
        self.admitted += 1;
        Ticket::Admitted
    }

    /// The rate now, how many calls the rate has allowed since it was set (without the burst), and what became of those
    /// that came.
    pub fn told(&mut self, now: Instant) -> Value {
        let (mut per_second, mut allowed) = (None, None);
        if let Some(bucket) = &mut self.bucket {
            bucket.advance(now);
            per_second = Some(bucket.stretch().per_second);
            allowed = Some(bucket.allowed);
        }
        json!({"per_second": per_second, "allowed": allowed, "admitted": self.admitted, "refused": self.refused})
    }
}

struct Bucket {
    /// Walked through again and again; never empty.
    schedule: Vec<Stretch>,
    retry_after_s: Option<u64>,
    current: usize,
    /// Of the current stretch.
    left_s: f64,
    /// Until when it is filled.
    at: Instant,
    tokens: f64,
    /// The rate, added up over time.
    allowed: f64,
}

impl Bucket {
    fn new(schedule: Vec<Stretch>, retry_after_s: Option<u64>, now: Instant) -> Self {
        let first = schedule[0];
        let tokens = burst(first.per_second);
        Self { schedule, retry_after_s, current: 0, left_s: first.for_s, at: now, tokens, allowed: 0.0 }
    }

    fn stretch(&self) -> Stretch {
        self.schedule[self.current]
    }

    fn advance(&mut self, now: Instant) {
        let mut passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        while passed > Duration::ZERO {
            let rate = self.stretch().per_second;
            let step = passed.as_secs_f64().min(self.left_s);
            self.tokens = (self.tokens + rate * step).min(burst(rate));
            self.allowed += rate * step;
            self.left_s -= step;
            passed = passed.saturating_sub(Duration::from_secs_f64(step));
            // Below a nanosecond `passed` no longer changes: rounding must not keep the loop here.
            if self.left_s < 1e-9 {
                self.current = (self.current + 1) % self.schedule.len();
                self.left_s = self.stretch().for_s;
            }
        }
    }
}

fn burst(per_second: f64) -> f64 {
    (per_second * BURST).max(1.0)
}
