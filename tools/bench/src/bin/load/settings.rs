//! Sizes and durations. Each default can be overridden by an environment variable of that name.

use std::str::FromStr;
use std::time::Duration;

use super::Result;

/// How large and how long everything is.
pub struct Settings {
    /// `AMQP_URL`
    pub amqp: String,
    /// `ROUNDS`: of worker and floor each, taking turns.
    pub rounds: usize,
    /// `REQUESTS`: in a round against a provider that answers at once.
    pub requests: u32,
    /// `LATENCY_MS`: of every call, in the rounds with a slow provider.
    pub latency_ms: u64,
    /// `LEAD_S`: what the worker has to find its concurrency with a slow provider, before it is measured.
    pub lead: Duration,
    /// `WINDOW_S`: how long a slow round is measured.
    pub window: Duration,
    /// `SWEEP_S`: how long the floor is measured at one concurrency, to find its best.
    pub sweep: Duration,
    /// `IDLE_S`: how long the worker is watched doing nothing.
    pub idle: Duration,
    /// `BACKLOG`: requests that wait while peak memory is looked at.
    pub backlog: u32,
    /// `SETTLE_S`: what a worker has to find a limit it was not told.
    pub settle: Duration,
    /// `GOODPUT_S`: how long it is measured against a fixed limit afterwards.
    pub goodput: Duration,
    /// `CHANGE_S`: how long each limit of the changing run holds.
    pub change: Duration,
    /// `SCALE_LATENCY_MS`, `SCALE_LEAD_S`, `SCALE_WINDOW_S`: of every call; before it is measured; how long it is.
    pub scale_latency_ms: u64,
    pub scale_lead: Duration,
    pub scale_window: Duration,
}

impl Settings {
    pub fn load() -> Result<Self> {
        let seconds = |name, default| read(name, default).map(Duration::from_secs);
        Ok(Self {
            amqp: std::env::var("AMQP_URL").map_err(|_| "AMQP_URL is not set: run `make bench`")?,
            rounds: read("ROUNDS", 3)?,
            requests: read("REQUESTS", 20_000)?,
            latency_ms: read("LATENCY_MS", 20)?,
            lead: seconds("LEAD_S", 10)?,
            window: seconds("WINDOW_S", 6)?,
            sweep: seconds("SWEEP_S", 4)?,
            idle: seconds("IDLE_S", 20)?,
            backlog: read("BACKLOG", 100_000)?,
            settle: seconds("SETTLE_S", 20)?,
            goodput: seconds("GOODPUT_S", 30)?,
            change: seconds("CHANGE_S", 20)?,
            scale_latency_ms: read("SCALE_LATENCY_MS", 50)?,
            scale_lead: seconds("SCALE_LEAD_S", 10)?,
            scale_window: seconds("SCALE_WINDOW_S", 10)?,
        })
    }
}

fn read<T: FromStr>(name: &str, default: T) -> Result<T> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().map_err(|_| format!("{name}={text:?} is not a number it can be").into())
}
