//! How long an answer asks its caller to stay away: `Retry-After`, `retry-after-ms`, and the headers of rate limits.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// A longer wait counts as this long: nothing waits longer than the longest wait queue may.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// A reset that is larger is no number of seconds from now but a time, in seconds since 1970.
const LEAST_TIME: f64 = 1e9;
/// A time that is larger is in milliseconds since 1970.
const LEAST_TIME_MS: f64 = 1e12;

/// The wait that these headers ask for, if any.
pub(super) fn pause(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    milliseconds(headers)
        .or_else(|| text(headers, RETRY_AFTER.as_str()).and_then(|value| retry_after(value, now)))
        .or_else(|| structured(headers))
        .or_else(|| counted(headers, ["ratelimit-remaining", "ratelimit-reset"], now))
        .or_else(|| counted(headers, ["x-ratelimit-remaining", "x-ratelimit-reset"], now))
}

/// Reads a `Retry-After`: seconds, also with a fraction, or an HTTP date. `None` when it is neither; a date in the past is
/// zero.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Some(seconds) = number(value) {
        seconds_of(seconds)
    } else {
        let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value).ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST))
}

fn milliseconds(headers: &HeaderMap) -> Option<Duration> {
    text(headers, "retry-after-ms").and_then(number).map(|ms| seconds_of(ms / 1_000.0))
}

/// `RateLimit: "default";r=0;t=30`, or as earlier drafts had it, `limit=100, remaining=0, reset=30`.
fn structured(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, "ratelimit")?;
    let parts = value.split([';', ',']).filter_map(|part| part.split_once('='));
    let (mut remaining, mut reset) = (None, None);
    for (name, value) in parts {
        match name.trim() {
            "r" | "remaining" => remaining = number(value.trim()),
            "t" | "reset" => reset = number(value.trim()),
            _ => {}
        }
    }
    (remaining? < 1.0).then_some(())?;
    reset.map(seconds_of)
}

/// The wait until the reset, where none remain or none are named.
fn counted(headers: &HeaderMap, [remaining, reset]: [&str; 2], now: Timestamp) -> Option<Duration> {
    let left = text(headers, remaining).and_then(number).unwrap_or(0.0);
    let reset = text(headers, reset).and_then(number).filter(|_| left < 1.0)?;
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
    let now_ms = now.as_millisecond() as f64;
    Some(seconds_of(match reset {
        ms if ms >= LEAST_TIME_MS => (ms - now_ms) / 1_000.0,
        seconds if seconds >= LEAST_TIME => seconds - now_ms / 1_000.0,
        seconds => seconds,
    }))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Digits, with or without a fraction: no sign, no exponent.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let digits = text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_digit());
    (plain && digits).then(|| text.parse().ok())?
}

fn seconds_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    const NOW: &str = "1994-11-06T08:49:07Z";

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let second = Duration::from_secs(1);
        for (value, wait) in [
            ("0", Some(Duration::ZERO)),
            (" 120 ", Some(120 * second)),
            ("1.5", Some(Duration::from_millis(1_500))),
            ("0.25", Some(Duration::from_millis(250))),
            ("99999999999999999999999", Some(LONGEST)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30 * second)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(Duration::ZERO)),
            ("Sun, 06 Nov 2094 08:49:37 GMT", Some(LONGEST)),
            ("-5", None),
            ("1e3", None),
            (".5", None),
            ("5.", None),
            ("1.2.3", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, NOW.parse().unwrap()), wait, "{value}");
        }
    }

    #[test]
    fn every_header_of_a_rate_limit_is_read() {
        type Headers = &'static [(&'static str, &'static str)];
        let table: &[(Headers, Option<u64>)] = &[
            (&[], None),
            (&[("retry-after", "2")], Some(2_000)),
            (&[("retry-after-ms", "1500"), ("retry-after", "2")], Some(1_500)),
            (&[("ratelimit", "\"default\";r=0;t=30")], Some(30_000)),
            (&[("ratelimit", "\"default\";r=5;t=30")], None),
            (&[("ratelimit", "limit=100, remaining=0, reset=7")], Some(7_000)),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "9")], Some(9_000)),
            (&[("ratelimit-remaining", "3"), ("ratelimit-reset", "9")], None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111757")], Some(24 * 60 * 60 * 1_000)),
            (&[("x-ratelimit-reset", "4")], Some(4_000)),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "soon")], None),
            (&[("retry-after", "soon"), ("x-ratelimit-reset", "4")], Some(4_000)),
        ];
        for (headers, wait) in table {
            let pair = |(name, value): &(&str, &str)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            };
            let read = pause(&headers.iter().map(pair).collect(), NOW.parse().unwrap());
            assert_eq!(read, wait.map(Duration::from_millis), "{headers:?}");
        }
    }

    #[test]
    fn a_reset_may_be_a_time() {
        let now: Timestamp = "2026-11-27T10:00:00Z".parse().unwrap();
        let seconds = now.as_second() + 30;
        for value in [seconds.to_string(), (seconds * 1_000).to_string()] {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static("x-ratelimit-reset"),
                HeaderValue::from_str(&value).unwrap(),
            )]);
            assert_eq!(pause(&headers, now), Some(Duration::from_secs(30)), "{value}");
        }
    }
}
