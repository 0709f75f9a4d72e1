//! How many calls a second the provider allows, found out from what it rejects.
//!
//! No call is held back until one is rejected (429). From then on calls are spaced evenly at a rate that follows the
//! shape of TCP CUBIC (RFC 9438): after a rejection the rate is cut to just below what was admitted, comes back to that
//! peak quickly, stays near it for long, and only then looks for more, faster and faster. What differs from CUBIC:
//!
//! * the peak is not the rate at which it was rejected but what the provider has *admitted* in the last second, which is
//!   its limit to a few per cent however far above it the calls were (the idea of BBR's delivery rate);
//! * how long it stays depends on what a rejection costs: some calls without a `Retry-After`, seconds of silence with.
//!
//! Only decides, and is told the time: a test can simulate hours. [`super::gate`] does the waiting.

use std::collections::VecDeque;
use std::time::Duration;

/// After a rejection, the rate begins so far below the peak: cheap rejections, and those that cost a wait.
const CUT: (f64, f64) = (0.05, 0.02);
/// Where rejections cost a wait, the peak is kept so far below what was measured, and is then not rejected by chance.
const MARGIN: f64 = 0.01;
/// A rejection before there is a new measurement means that the last one was too high by so much.
const CORRECTION: f64 = 0.93;
/// Shortest way back to the peak. As long again it stays near it, before it looks for more.
const SHORTEST_HOLD: Duration = Duration::from_millis(1_500);
/// The same after the very first rejection.
const BLIND_HOLD: Duration = Duration::from_millis(250);
/// Calls between a cut and the next search, at least: so at most one in so many is rejected.
const CALLS_HELD: f64 = 75.0;
/// How often the wait that a rejection costs has to fit into the hold, for the loss to stay below a few per cent.
const WAITS_HELD: u32 = 12;
/// Share of the calls of one cycle, from cut to cut, that may be rejected before the next cycles get longer; by how much
/// they do, how much shorter they get again, and how much longer they may become.
const REJECTIONS: f64 = 0.01;
const WAITED: f64 = 0.02;
const MORE_PATIENCE: f64 = 1.5;
const LESS_PATIENCE: f64 = 0.8;
const MOST_PATIENCE: f64 = 16.0;
/// Below the peak, the first rejection after a cut, and one after so many calls, is the provider's mood. A limit that has
/// become lower rejects far more than that, and at once.
const MOOD: usize = 40;
/// A rejection is doubted where so many times as much was admitted before; that is believed so much less then.
const DOUBT: f64 = 2.0;
const BELIEF: f64 = 0.7;
/// Longest hold, however long the provider asks to wait.
const LONGEST_HOLD: Duration = Duration::from_secs(600);
/// What is admitted is measured over this time, or over so many calls if they took longer: of a few, one more or less is
/// too much of a difference.
const WINDOW: (Duration, usize) = (Duration::from_secs(1), 8);
/// Calls older than this are not looked at.
const OLDEST: Duration = Duration::from_secs(30);
/// A shorter measurement says nothing.
const LEAST: Duration = Duration::from_millis(400);
/// Calls a second. Below this nothing would ever be found out.
const SLOWEST: f64 = 0.2;
/// Calls a second. Nothing that comes this fast needs to be held back.
const FASTEST: f64 = 100_000.0;

/// The adaptive rate of calls. Times are measured from any fixed moment.
#[derive(Debug, Default)]
pub struct Rate {
    /// None while no call was ever rejected.
    curve: Option<Curve>,
    /// No call before this.
    next: Duration,
    /// When the last turn was taken.
    last: Duration,
    /// Admitted calls of the last [`WINDOW`], by the time of their answer.
    admitted: VecDeque<Duration>,
    /// Only calls of this epoch and later are in `admitted`.
    measured_from: u64,
    /// When the rate was last cut.
    cut: Duration,
    /// Calls admitted and rejected since then.
    cycle: (usize, usize),
    /// The most that was admitted, in calls a second; less after each rejection that says otherwise.
    best: f64,
    /// Calls admitted since the last rejection.
    since_rejected: usize,
    /// Stretches the hold where a search costs too many rejections.
    patience: f64,
    /// Whether there was ever a measurement.
    known: bool,
    /// Counts the cuts: what was sent before the last one says nothing about the rate after it.
    epoch: u64,
}

/// The rate over time since the last cut.
#[derive(Debug)]
struct Curve {
    floor: f64,
    peak: f64,
    /// Moved on while there is less to do than the rate allows: what is not used is not tried.
    since: Duration,
    hold: Duration,
    search: Search,
}

/// How fast the rate rises where nothing is known.
#[derive(Clone, Copy, Debug)]
enum Search {
    /// After the very first rejection: seven times in a second.
    Blind,
    /// Ten per cent in the first second, and then faster and faster: an allowance that was doubled is found in two or
    /// three.
    Quick,
    /// Ten per cent a second: where a rejection costs a wait, it is not to overshoot.
    Careful,
}

impl Curve {
    fn at(&self, now: Duration) -> f64 {
        let time = now.saturating_sub(self.since).as_secs_f64();
        // -1 at the cut, 0 at the peak, 1 when the search begins.
        let x = time / self.hold.as_secs_f64() - 1.0;
        let above = (time - 2.0 * self.hold.as_secs_f64()).max(0.0);
        let exponent = match self.search {
            Search::Blind => 2.0 * above,
            Search::Quick => 0.1 * above + 0.1 * above * above,
            Search::Careful => 0.1 * above,
        };
        let search = exponent.min(20.0).exp();
        let near = self.peak + (self.peak - self.floor) * x.min(1.0).powi(3);
        (near * search).clamp(SLOWEST, FASTEST)
    }
}

impl Rate {
    /// Calls a second now; `None` while there is no limit.
    #[must_use]
    pub fn now(&self, now: Duration) -> Option<f64> {
        self.curve.as_ref().map(|curve| curve.at(now))
    }

    /// The epoch for a call while there is no limit.
    #[must_use]
    pub fn unlimited(&self) -> Option<u64> {
        self.curve.is_none().then_some(self.epoch)
    }

    /// Takes the next call's turn: the epoch to be given back with its answer, or how long it still has to wait.
    ///
    /// # Errors
    /// The time until the turn comes, if nothing changes the rate meanwhile.
    pub fn take(&mut self, now: Duration) -> Result<u64, Duration> {
        let Some(rate) = self.now(now) else { return Ok(self.epoch) };
        if now < self.next {
            return Err(self.next.saturating_sub(now));
        }
        let interval = Duration::from_secs_f64(1.0 / rate);
        if now.saturating_sub(self.next) > interval.max(Duration::from_millis(100)) {
            // No call was waiting: there is less to do than the rate allows.
            if let Some(curve) = &mut self.curve {
                let unused = now.saturating_sub(self.last.max(curve.since));
                curve.since = (curve.since + unused).min(now);
            }
            self.next = now;
        }
        // Counted from when the turn was due, so that a late timer does not slow everything down.
        self.next += interval;
        self.last = now;
        Ok(self.epoch)
    }

    /// Gives a turn back that was not used.
    pub fn give_back(&mut self, now: Duration) {
        if let Some(rate) = self.now(now) {
            self.next = self.next.saturating_sub(Duration::from_secs_f64(1.0 / rate));
        }
    }

    /// A call was admitted: it has an answer, whatever that says.
    pub fn admitted(&mut self, now: Duration, epoch: u64) {
        self.cycle.0 += 1;
        self.since_rejected += 1;
        if epoch >= self.measured_from {
            self.admitted.push_back(now);
            self.forget(now);
            self.best = self.best.max(self.measured(now).unwrap_or_default());
        }
    }

    /// A call was rejected. `wait` is what the provider asked for, if anything; the gate keeps it.
    pub fn rejected(&mut self, now: Duration, epoch: u64, wait: Option<Duration>) {
        self.cycle.1 += 1;
        // A provider that counts by the second goes on rejecting to the end of it, however few the calls become.
        let just_cut = self.known && now < self.cut + WINDOW.0;
        if epoch < self.epoch || just_cut {
            return;
        }
        let wait = wait.unwrap_or_default();
        let mood = wait.is_zero() && self.is_mood(now);
        self.since_rejected = 0;
        if mood {
            return;
        }
        self.forget(now);
        let before = self.now(now);
        let (measured, searching) = match (self.measured(now), before) {
            // The measurement lags behind a rate that rises or falls.
            (Some(measured), Some(before)) => (measured.min(before), before > measured * 1.1),
            (Some(measured), None) => (measured, true),
            (None, Some(before)) if self.known => (before * CORRECTION, false),
            (None, Some(before)) => (before / 2.0, true),
            // Nothing known yet: as many as have just been admitted, spread over a second.
            (None, None) => (count(self.admitted.len()).max(1.0), true),
        };
        // As few were asked for as were admitted: after an outage, say. That there may be no more is not believed, but a
        // little more each time it is said.
        let doubtful = measured * DOUBT < self.best;
        self.best = if doubtful { self.best * BELIEF } else { self.best.max(measured) };
        let searching = searching || doubtful;
        self.known |= self.measured(now).is_some();
        let costly = !wait.is_zero();
        let calls = Duration::from_secs_f64((CALLS_HELD / measured.max(SLOWEST)).min(60.0));
        let share = count(self.cycle.1) / count(self.cycle.0 + self.cycle.1).max(1.0);
        let waited = wait.as_secs_f64() / now.saturating_sub(self.cut).as_secs_f64().max(0.001);
        let change = if share > REJECTIONS || waited > WAITED { MORE_PATIENCE } else { LESS_PATIENCE };
        self.patience = (self.patience * change).clamp(1.0, MOST_PATIENCE);
        self.cycle = (0, 0);
        let (search, hold) = match (self.known, searching) {
            (false, _) if before.is_none() => (Search::Blind, Duration::ZERO),
            (false, _) | (true, true) => (Search::Quick, SHORTEST_HOLD),
            (true, false) if costly => (Search::Careful, calls.max(wait * WAITS_HELD)),
            (true, false) => (Search::Quick, calls),
        };
        let hold = hold.max(if before.is_some() { SHORTEST_HOLD } else { BLIND_HOLD });
        let hold = if searching { hold } else { hold.mul_f64(self.patience) };
        let hold = hold.min(LONGEST_HOLD);
        let (cut, margin) = if costly { (CUT.1, MARGIN) } else { (CUT.0, 0.0) };
        let peak = (measured * (1.0 - margin)).clamp(SLOWEST, FASTEST);
        self.curve = Some(Curve { floor: peak * (1.0 - cut), peak, since: now + wait, hold, search });
        // Not at once: what was rejected now would be rejected again.
        self.next = now + wait + Duration::from_secs_f64(1.0 / peak);
        self.epoch += 1;
        self.cut = now + wait;
        if !wait.is_zero() {
            // Silence is not measured, nor the answers that still come during it.
            self.admitted.clear();
            self.measured_from = self.epoch;
        }
    }

    /// Whether a rejection says nothing: the rate is one that was admitted for long, and hardly any call is rejected.
    /// Without this a provider that rejects one call in some hundred, whatever the rate, would be asked less and less.
    fn is_mood(&self, now: Duration) -> bool {
        let Some(curve) = self.curve.as_ref().filter(|_| self.known) else { return false };
        now < curve.since + curve.hold * 2 && (self.cycle.1 == 1 || self.since_rejected >= MOOD)
    }

    /// Admitted calls a second, lately.
    fn measured(&self, now: Duration) -> Option<f64> {
        let span = now.saturating_sub(*self.admitted.front()?);
        // The one that was rejected ends the last interval.
        (span >= LEAST && self.admitted.len() >= WINDOW.1).then(|| count(self.admitted.len()) / span.as_secs_f64())
    }

    fn forget(&mut self, now: Duration) {
        let (old, oldest) = (now.saturating_sub(WINDOW.0), now.saturating_sub(OLDEST));
        while let Some(at) = self.admitted.front()
            && (*at < oldest || (*at < old && self.admitted.len() > WINDOW.1))
        {
            self.admitted.pop_front();
        }
    }
}

#[allow(clippy::cast_precision_loss)] // some thousands
fn count(calls: usize) -> f64 {
    calls as f64
}

#[cfg(test)]
mod tests;
