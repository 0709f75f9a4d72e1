//! How many requests may be worked on at once, found out from how long the provider's answers take.
//!
//! The idea is TCP Vegas's, as Netflix's concurrency-limits has it in `Gradient2Limit`: while answers take as long as when
//! there was little to do, no call queues at the provider, and more is tried; when they take longer, the difference is a
//! queue, and less is. Taken from there: the gradient between the two times, with a tolerance; the allowance for a
//! queue of the square root of the limit; that a limit which is not used does not grow. Taken from Vector's Adaptive
//! Request Concurrency: one decision for a whole window of answers, which has to be longer than one round trip; and the
//! cut by a tenth when the provider says that it is too much (429, 503, no answer in time).
//!
//! Taken from neither: a limit that has grown by a third and moves no more answers a second goes back. Where something
//! else is used up, such as a core of this machine, the provider's answers do not get slower, and more at once would only
//! cost memory.
//!
//! Only decides, and is told the time; `permits` does the counting.

use std::collections::VecDeque;
use std::time::Duration;

/// The limit at the start, and after an outage.
pub const START: usize = 8;

/// Answers so much slower than the fastest count as no queue: a factor, and an addition for what a busy machine adds to
/// the fastest of them.
const TOLERATED: (f64, Duration) = (1.5, Duration::from_millis(10));
/// A decision's window: at least this long, and at least so many answers.
const WINDOW: (Duration, u32) = (Duration::from_millis(50), 10);
/// The fastest answers are those of the last so many of these spans: a provider that became slower for good is taken
/// as it is after that time.
const SPANS: usize = 3;
const SPAN: Duration = Duration::from_secs(10);
/// How far one window of the least length goes towards the new limit; a longer one goes further, but never all the way.
/// So eight become some hundred within ten seconds, and not sooner than two laps can tell whether that helps.
const STEP: (f64, f64) = (0.2, 0.5);
/// Most that one window takes away.
const LEAST_GRADIENT: f64 = 0.5;
/// What remains after a window in which the provider said that it was too much.
const CUT: f64 = 0.9;

/// Answers are counted over laps of this length.
const LAP: Duration = Duration::from_secs(1);
/// A lap is better than the best one when its answers grew by such a part of what the limit grew by since: a limit that
/// helps at all helps in proportion. A growth below the least one counts as that.
const BETTER: f64 = 0.2;
const LEAST_GROWTH: f64 = 0.15;
/// A limit so many times that of the best lap ought to have made it better.
const GROWN: f64 = 1.33;
/// So many laps in a row that were no better are no accident.
const PATIENCE: u32 = 2;
/// How long a limit is kept that more of did not help, before it is tried again.
const CONTENT: Duration = Duration::from_secs(30);

/// How one call to the provider ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Answered, after this long.
    Answered(Duration),
    /// Answered that it is too much, or not in time.
    TooMuch,
    /// Something that says nothing of the load.
    Other,
}

/// The adaptive limit. Times are measured from any fixed moment.
#[derive(Debug)]
pub struct Limit {
    at_once: f64,
    most: f64,
    window: Window,
    /// When each span began, and the fastest window in it. Newest last.
    spans: VecDeque<(Duration, Duration)>,
    lap: Lap,
    /// The limit with which the lap with most answers a second began, and how many those were.
    best: Option<(f64, f64)>,
    /// Laps in a row that were no better.
    no_better: u32,
    /// No more than this, until then.
    content: Option<(f64, Duration)>,
}

#[derive(Debug, Default)]
struct Lap {
    since: Duration,
    /// The limit then.
    at_once: f64,
    answers: u32,
    /// Whether the limit held back the whole of it.
    unused: bool,
}

#[derive(Debug, Default)]
struct Window {
    since: Duration,
    answers: u32,
    took: Duration,
    too_much: bool,
    /// Whether there was ever more to do than the limit let through.
    used: bool,
}

impl Limit {
    /// A limit that never exceeds `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = float(most.max(1));
        Self {
            at_once: float(START).min(most),
            most,
            window: Window::default(),
            spans: VecDeque::new(),
            lap: Lap { at_once: float(START).min(most), ..Lap::default() },
            best: None,
            no_better: 0,
            content: None,
        }
    }

    /// Requests at once.
    #[must_use]
    pub fn now(&self) -> usize {
        whole(self.at_once)
    }

    /// Begins again after an outage: what was found out before may be too much for a provider that just came back.
    pub fn restart(&mut self, now: Duration) {
        self.at_once = self.at_once.min(float(START));
        self.window = Window { since: now, ..Window::default() };
        self.lap = Lap { since: now, at_once: self.at_once, ..Lap::default() };
        (self.best, self.no_better, self.content) = (None, 0, None);
    }

    /// One call ended. `busy` are the requests being worked on that something else than this limit would not hold back.
    pub fn saw(&mut self, now: Duration, seen: Seen, busy: usize) {
        match seen {
            Seen::Answered(took) => {
                self.window.answers += 1;
                self.window.took += took;
                self.lap.answers += 1;
            }
            Seen::TooMuch => self.window.too_much = true,
            Seen::Other => {}
        }
        self.window.used |= float(busy) >= self.at_once.floor() * 0.9;
        let enough = self.window.answers >= WINDOW.1.max(u32::try_from(self.now()).unwrap_or(u32::MAX) / 2);
        let long = now.saturating_sub(self.window.since) >= WINDOW.0;
        if long && (enough || self.window.too_much) {
            let length = now.saturating_sub(self.window.since);
            let window = std::mem::replace(&mut self.window, Window { since: now, ..Window::default() });
            self.lap.unused |= !window.used;
            self.decide(now, &window, length);
            self.end_lap(now);
        }
    }

    fn decide(&mut self, now: Duration, window: &Window, length: Duration) {
        if window.too_much {
            self.at_once = (self.at_once * CUT).max(1.0);
            return;
        }
        let took = window.took / window.answers.max(1);
        let tolerated = self.fastest(now, took).mul_f64(TOLERATED.0) + TOLERATED.1;
        let gradient = (tolerated.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(LEAST_GRADIENT, 1.0);
        let wanted = self.at_once * gradient + self.at_once.sqrt();
        let step = STEP.0 * (length.as_secs_f64() / WINDOW.0.as_secs_f64()).sqrt();
        let next = self.at_once + (wanted - self.at_once) * step.min(STEP.1);
        if next > self.at_once && !window.used {
            return;
        }
        let most = self.content.map_or(self.most, |(most, _)| most.min(self.most));
        self.at_once = next.clamp(1.0, most);
    }

    /// Compares what the lap has moved with what the best one has.
    fn end_lap(&mut self, now: Duration) {
        let length = now.saturating_sub(self.lap.since);
        if length < LAP {
            return;
        }
        let over = self.content.filter(|(_, until)| now >= *until);
        if let Some((most, _)) = over {
            // Begun from less than what helped last, so that a limit that only luck has raised comes down again: without
            // that, the luckiest lap of many would decide, and the limit would creep up.
            self.at_once = self.at_once.min(most / GROWN.powf(1.5)).max(1.0);
            (self.best, self.no_better, self.content) = (None, 0, None);
        }
        let next = Lap { since: now, at_once: self.at_once, ..Lap::default() };
        let lap = std::mem::replace(&mut self.lap, next);
        let moved = f64::from(lap.answers) / length.as_secs_f64();
        match self.best {
            _ if over.is_some() => {}
            // What was not held back says nothing of what the limit can move.
            _ if lap.unused || length > 2 * LAP => {}
            Some((at_once, best))
                if moved < best * (1.0 + BETTER * (lap.at_once / at_once - 1.0).max(LEAST_GROWTH)) =>
            {
                self.no_better += 1;
                let grown = at_once * GROWN;
                if self.no_better >= PATIENCE && self.content.is_none() && self.at_once > grown {
                    self.content = Some((grown, now + CONTENT));
                    self.at_once = grown;
                }
            }
            _ => (self.best, self.no_better) = (Some((lap.at_once, moved)), 0),
        }
    }

    /// The fastest window of the last spans, this one included.
    fn fastest(&mut self, now: Duration, took: Duration) -> Duration {
        match self.spans.back_mut() {
            Some((since, fastest)) if now.saturating_sub(*since) < SPAN => *fastest = took.min(*fastest),
            _ => self.spans.push_back((now, took)),
        }
        while self.spans.len() > SPANS {
            self.spans.pop_front();
        }
        self.spans.iter().map(|(_, fastest)| *fastest).min().unwrap_or(took)
    }
}

#[allow(clippy::cast_precision_loss)] // at most some thousands
fn float(number: usize) -> f64 {
    number as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to some thousands
fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider that works on some calls at once, each for a while; more have to queue.
    fn settle(limit: &mut Limit, from: Duration, seconds: u64, at_once: usize, service_ms: f64) -> Duration {
        let mut now = from;
        while now < from + Duration::from_secs(seconds) {
            let busy = limit.now();
            // The next call is one of `busy`, and waits until those before it are through.
            let queue = (float(busy) / float(at_once)).max(1.0);
            let took = Duration::from_secs_f64(service_ms / 1000.0 * queue);
            for _ in 0..busy {
                limit.saw(now + took, Seen::Answered(took), busy);
            }
            now += took;
        }
        now
    }

    #[test]
    fn it_grows_while_nobody_queues_and_stops_soon_after() {
        for (at_once, service_ms) in [(8, 50.0), (40, 20.0), (100, 200.0), (150, 20.0)] {
            let mut limit = Limit::new(1000);
            settle(&mut limit, Duration::ZERO, 10, at_once, service_ms);
            let (found, best) = (limit.now(), at_once);
            println!("{best} at once, {service_ms} ms: {found}");
            assert!(found >= best * 9 / 10, "{found} is too few for {best}");
            assert!(found <= best * 3, "{found} is too many for {best}");
        }
    }

    #[test]
    fn it_shrinks_when_the_provider_gets_slower_and_takes_it_as_it_is_in_the_end() {
        let mut limit = Limit::new(1000);
        let now = settle(&mut limit, Duration::ZERO, 20, 100, 20.0);
        let before = limit.now();
        let now = settle(&mut limit, now, 5, 100, 200.0);
        assert!(limit.now() < before / 2, "{} after {before}", limit.now());
        settle(&mut limit, now, 60, 100, 200.0);
        assert!(limit.now() > 90, "{}", limit.now());
    }

    #[test]
    fn it_goes_back_when_more_at_once_moves_no_more() {
        const ENOUGH: f64 = 40.0;
        for seed in 0..20 {
            let (mut limit, mut random) = (Limit::new(1000), fastrand::Rng::with_seed(seed));
            // A thousand answers a second, somewhat more or less, is all that this machine can do, however many are asked
            // for at once; and the provider is never the slower for it.
            let (mut now, mut answers, mut luck, mut sum) = (0.0, 0.0, 1.0, 0.0);
            while now < 1000.0 {
                if random.u32(0..500) == 0 {
                    luck = 0.85 + 0.3 * random.f64();
                }
                let apart = 0.001 * luck / (float(limit.now()) / ENOUGH).min(1.0);
                now += apart;
                answers += 1.0;
                sum += float(limit.now()) * apart;
                limit.saw(Duration::from_secs_f64(now), Seen::Answered(Duration::from_millis(2)), limit.now());
            }
            println!("{:.0} at once on average, {:.0} answers a second", sum / now, answers / now);
            assert!(sum / now < 2.0 * ENOUGH && answers / now > 930.0, "seed {seed}");
        }
    }

    #[test]
    fn it_shrinks_when_it_is_too_much() {
        let mut limit = Limit::new(1000);
        let mut now = settle(&mut limit, Duration::ZERO, 10, 100, 20.0);
        for _ in 0..100 {
            now += Duration::from_millis(60);
            limit.saw(now, Seen::TooMuch, limit.now());
        }
        assert_eq!(limit.now(), 1);
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut limit = Limit::new(1000);
        for n in 0..10_000 {
            limit.saw(Duration::from_millis(10 * n), Seen::Answered(Duration::from_millis(5)), 3);
        }
        assert_eq!(limit.now(), START);
    }

    #[test]
    fn it_never_exceeds_the_most_and_begins_again_after_an_outage() {
        let mut limit = Limit::new(50);
        let now = settle(&mut limit, Duration::ZERO, 10, 1000, 20.0);
        assert_eq!(limit.now(), 50);
        limit.restart(now);
        assert_eq!(limit.now(), START);
        assert_eq!(Limit::new(4).now(), 4);
    }
}
