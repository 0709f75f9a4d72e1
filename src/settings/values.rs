//! Values as they are written: TOML's own types from a file, text from the environment.

use std::marker::PhantomData;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error};
use toml::Value;

/// A value of kind `K`, or nothing when the key is not set.
#[derive(Debug)]
pub(super) struct Wire<K: Kind>(pub Option<K::Value>, PhantomData<K>);

impl<K: Kind> Default for Wire<K> {
    fn default() -> Self {
        Self(None, PhantomData)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Wire<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        K::read(&value).map(|value| Self(Some(value), PhantomData)).ok_or_else(|| D::Error::custom(K::RULE))
    }
}

/// One URL or several, joined by commas; secret, as they hold passwords.
#[derive(Debug)]
pub(super) struct Urls(pub SecretString);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(url) => Some(url),
            Value::Array(urls) => {
                let urls: Option<Vec<_>> = urls.iter().map(Value::as_str).collect();
                urls.map(|urls| urls.join(","))
            }
            _ => None,
        };
        text.map(|text| Self(text.into())).ok_or_else(|| D::Error::custom("must be a URL or a list of URLs"))
    }
}

/// How one kind of value is written.
pub(super) trait Kind {
    type Value: std::fmt::Debug;
    /// What a person is told who wrote something else.
    const RULE: &'static str;
    fn read(value: &Value) -> Option<Self::Value>;
}

#[derive(Debug)]
pub(super) struct Flag;
impl Kind for Flag {
    type Value = bool;
    const RULE: &'static str = "must be true or false";
    fn read(value: &Value) -> Option<bool> {
        value.as_bool().or_else(|| value.as_str()?.parse().ok())
    }
}

#[derive(Debug)]
pub(super) struct Number;
impl Kind for Number {
    type Value = u32;
    const RULE: &'static str = "must be a whole number";
    fn read(value: &Value) -> Option<u32> {
        value.as_integer().map_or_else(|| value.as_str()?.parse().ok(), |number| number.try_into().ok())
    }
}

#[derive(Debug)]
pub(super) struct Ratio;
impl Kind for Ratio {
    type Value = f64;
    const RULE: &'static str = "must be a number from 0 to 1, such as 0.1";
    fn read(value: &Value) -> Option<f64> {
        let ratio = match value {
            Value::Float(ratio) => *ratio,
            // 0 and 1 may be written without a point.
            Value::Integer(number) => f64::from(u8::try_from(*number).ok()?),
            Value::String(text) => text.parse().ok()?,
            _ => return None,
        };
        (0.0..=1.0).contains(&ratio).then_some(ratio)
    }
}

/// How many at once: a number, or `None` for "adaptive".
#[derive(Debug)]
pub(super) struct AtOnce;
impl Kind for AtOnce {
    type Value = Option<u32>;
    const RULE: &'static str = "must be a whole number or \"adaptive\"";
    fn read(value: &Value) -> Option<Option<u32>> {
        if value.as_str() == Some("adaptive") { Some(None) } else { Number::read(value).map(Some) }
    }
}

#[derive(Debug)]
pub(super) struct Millis;
impl Kind for Millis {
    type Value = Duration;
    const RULE: &'static str = "must be a duration such as \"250ms\", \"30s\", \"10m\" or \"24h\"";
    fn read(value: &Value) -> Option<Duration> {
        duration(value.as_str()?)
    }
}

/// Bytes.
#[derive(Debug)]
pub(super) struct Bytes;
impl Kind for Bytes {
    type Value = u64;
    const RULE: &'static str = "must be a size such as \"500MiB\" or \"10GiB\"";
    fn read(value: &Value) -> Option<u64> {
        let text = value.as_str()?;
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, bytes) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(bytes)
    }
}

/// The units of a size, the largest first.
const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

#[derive(Debug)]
pub(super) struct List;
impl Kind for List {
    type Value = Vec<String>;
    const RULE: &'static str = "must be a list of texts, such as [\"queued\", \"processing\"] or \"queued,processing\"";
    fn read(value: &Value) -> Option<Vec<String>> {
        match value {
            Value::String(text) => Some(words(text)),
            Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Codes;
impl Kind for Codes {
    type Value = Vec<String>;
    const RULE: &'static str = "must be a list of codes, such as [\"-1\", 1001] or \"-1,1001\"";
    fn read(value: &Value) -> Option<Vec<String>> {
        match value {
            Value::Integer(code) => Some(vec![code.to_string()]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_integer().map(|code| code.to_string()).or_else(|| item.as_str().map(str::to_owned)))
                .collect(),
            other => List::read(other),
        }
    }
}

#[derive(Debug)]
pub(super) struct Steps;
impl Kind for Steps {
    type Value = Vec<Duration>;
    const RULE: &'static str = "must be a list of durations, such as [\"5s\", \"30s\"] or \"5s,30s\"";
    fn read(value: &Value) -> Option<Vec<Duration>> {
        List::read(value)?.iter().map(|step| duration(step)).collect()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// One number and one unit, to the millisecond.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// A duration in the largest unit that leaves no remainder: `5s`, `2m`, `250ms`. Part of the wait queues' names.
#[must_use]
pub fn brief(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms > 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

/// A size in the largest unit that leaves no remainder: `10GiB`, `1500B`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let fits = |unit: u64| bytes >= unit && bytes.is_multiple_of(unit);
    UNITS
        .into_iter()
        .find(|(_, unit)| fits(*unit))
        .map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_reads_back_as_it_is_shown() {
        let read = |text: &str| Bytes::read(&Value::String(text.to_owned()));
        for text in ["1B", "1500B", "1KiB", "10GiB", "3TiB", "0B"] {
            assert_eq!(size(read(text).unwrap()), text);
        }
        for bad in ["", "5", "GiB", "5 GiB", "-5B", "1.5GiB", "1GB", "1gib", "99999999999999999999B", "20000000TiB"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_duration_reads_back_as_it_is_shown() {
        for text in ["250ms", "5s", "30s", "2m", "10m", "1h", "24h", "0ms"] {
            assert_eq!(brief(duration(text).unwrap()), text);
        }
        for bad in ["", "5", "s", "5 s", "-5s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
