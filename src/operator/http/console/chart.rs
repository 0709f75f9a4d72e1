//! What was decided, minute by minute, as bars.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::contract::message::Outcome;

/// Minutes shown.
const MINUTES: usize = 60;
/// Of the picture, in its own units.
pub(super) const WIDTH: usize = 600;
pub(super) const HEIGHT: usize = 120;
const STEP: usize = WIDTH / MINUTES;

/// Bars, and what they add up to.
pub(super) struct Chart {
    pub(super) bars: Vec<Bar>,
    /// What the whole height stands for; 0 when nothing was decided.
    pub(super) top: u64,
    /// By outcome, those that there were.
    pub(super) totals: Vec<(&'static str, u64)>,
    pub(super) first: String,
    pub(super) last: String,
}

/// One minute.
pub(super) struct Bar {
    pub(super) x: usize,
    /// From the bottom up.
    pub(super) parts: Vec<ChartPart>,
    /// Shown when the mouse points at it.
    pub(super) title: String,
}

/// One outcome of a minute.
pub(super) struct ChartPart {
    pub(super) outcome: &'static str,
    pub(super) y: f64,
    pub(super) height: f64,
}

impl Chart {
    pub(super) fn new(decided: &BTreeMap<Timestamp, BTreeMap<String, u64>>, now: Timestamp) -> Self {
        let minutes: Vec<Timestamp> = (0..MINUTES).rev().map(|back| minute(now, back)).collect();
        let of = |minute: &Timestamp| decided.get(minute).map_or(0, |counts| counts.values().sum::<u64>());
        let top = minutes.iter().map(of).max().unwrap_or(0);
        let bars = minutes.iter().enumerate().filter_map(|(place, minute)| {
            let counts = decided.get(minute)?;
            Some(Bar { x: place * STEP, parts: parts(counts, top), title: title(*minute, counts) })
        });
        let counted = |outcome: &'static str| {
            let counts = minutes.iter().filter_map(|minute| decided.get(minute)?.get(outcome));
            (outcome, counts.sum::<u64>())
        };
        let totals = Outcome::NAMES.into_iter().map(counted).filter(|(_, count)| *count > 0);
        let time = |minute: Option<&Timestamp>| minute.map(|at| at.strftime("%H:%M").to_string()).unwrap_or_default();
        Self {
            bars: bars.collect(),
            top,
            totals: totals.collect(),
            first: time(minutes.first()),
            last: time(minutes.last()),
        }
    }
}

/// The minute so many before the one that it is now.
fn minute(now: Timestamp, back: usize) -> Timestamp {
    let minute = now.as_second().div_euclid(60) * 60;
    let back = SignedDuration::from_mins(i64::try_from(back).unwrap_or(0));
    Timestamp::from_second(minute).ok().and_then(|at| at.checked_sub(back).ok()).unwrap_or(now)
}

fn parts(counts: &BTreeMap<String, u64>, top: u64) -> Vec<ChartPart> {
    let mut below = 0.0;
    let part = |outcome: &'static str| {
        let height = height(*counts.get(outcome)?, top);
        below += height;
        Some(ChartPart { outcome, y: height_of_all() - below, height })
    };
    Outcome::NAMES.into_iter().filter_map(part).collect()
}

#[allow(clippy::cast_precision_loss)] // a picture
fn height(count: u64, top: u64) -> f64 {
    height_of_all() * count as f64 / top.max(1) as f64
}

#[allow(clippy::cast_precision_loss)] // a picture
fn height_of_all() -> f64 {
    HEIGHT as f64
}

fn title(minute: Timestamp, counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    format!("{} UTC: {}", minute.strftime("%H:%M"), counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_minute_fills_the_height_and_the_others_stand_beside_it_in_proportion() {
        let now: Timestamp = "2026-11-25T03:30:20Z".parse().unwrap();
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let decided = BTreeMap::from([
            ("2026-11-25T03:30:00Z".parse().unwrap(), counts(&[("deleted", 6), ("failed", 2)])),
            ("2026-11-25T02:31:00Z".parse().unwrap(), counts(&[("deleted", 4)])),
            // An hour ago: not shown.
            ("2026-11-25T02:30:00Z".parse().unwrap(), counts(&[("deleted", 90)])),
        ]);
        let chart = Chart::new(&decided, now);
        assert_eq!((chart.top, chart.totals.as_slice()), (8, &[("deleted", 10), ("failed", 2)][..]));
        assert_eq!((chart.first.as_str(), chart.last.as_str()), ("02:31", "03:30"));
        let [early, late] = chart.bars.as_slice() else { panic!("two minutes had decisions") };
        assert_eq!((early.x, early.parts[0].y, early.parts[0].height), (0, 60.0, 60.0));
        assert_eq!((late.x, late.parts[1].y, late.parts[1].height), (590, 0.0, 30.0));
        assert_eq!(late.title, "03:30 UTC: 6 deleted, 2 failed");
        assert_eq!(Chart::new(&BTreeMap::new(), now).top, 0);
    }
}
