//! Targets beside what was measured.

use std::cell::RefCell;

/// What a number should be.
#[derive(Clone, Copy)]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

/// Everything that has a target, for the end of the run.
#[derive(Default)]
pub struct Report(RefCell<Vec<String>>);

impl Report {
    /// Prints a number with its target, and keeps it for the end.
    pub fn target(&self, what: &str, value: f64, unit: &str, wanted: Wanted) {
        let (met, sign, bound) = match wanted {
            Wanted::AtLeast(bound) => (value >= bound, '≥', bound),
            Wanted::AtMost(bound) => (value <= bound, '≤', bound),
            Wanted::Below(bound) => (value < bound, '<', bound),
        };
        let verdict = if met { "ok" } else { "MISSED" };
        let line = format!("{what:<58} {value:8.2}{unit:<4} wanted {sign} {bound}{unit:<4} {verdict}");
        println!("  {line}");
        self.0.borrow_mut().push(line);
    }

    pub fn print(&self) {
        let lines = self.0.borrow();
        if !lines.is_empty() {
            println!("\nall targets");
            lines.iter().for_each(|line| println!("  {line}"));
        }
    }
}

/// The middle one.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.is_empty() {
        f64::NAN
    } else if numbers.len() % 2 == 1 {
        numbers[middle]
    } else {
        f64::midpoint(numbers[middle - 1], numbers[middle])
    }
}
