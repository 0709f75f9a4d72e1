//! Against simulated providers, in simulated time.

use std::collections::VecDeque;

use super::*;

const STEP: Duration = Duration::from_millis(1);

/// A provider that allows some calls a second, with a small burst, and rejects the rest.
struct SimulatedProvider {
    allowed: fn(f64) -> f64,
    tokens: f64,
    /// Whether the allowance of each second may be used up at any time in it; else it comes bit by bit.
    by_the_second: bool,
    retry_after: Option<Duration>,
    latency: Duration,
    /// The share of calls that it rejects for no reason.
    moody: f64,
}

#[derive(Default, Debug)]
struct SeenRate {
    allowed: f64,
    admitted: f64,
    rejected: f64,
}

impl SeenRate {
    fn goodput(&self) -> f64 {
        self.admitted / self.allowed
    }

    fn rejections(&self) -> f64 {
        self.rejected / (self.admitted + self.rejected)
    }
}

/// Callers that always have something to do, for so many seconds; what was seen in each.
fn simulate(provider: &mut SimulatedProvider, callers: usize, seconds: u32) -> Vec<SeenRate> {
    let (mut rate, mut random) = (Rate::default(), fastrand::Rng::with_seed(7));
    let mut answers: VecDeque<(Duration, u64, bool)> = VecDeque::new();
    let (mut paused, mut now) = (Duration::ZERO, Duration::ZERO);
    let mut seen = Vec::new();
    for _ in 0..seconds {
        let mut second = SeenRate::default();
        for _ in 0..1000 {
            now += STEP;
            let allowed = (provider.allowed)(now.as_secs_f64());
            let tokens = allowed * STEP.as_secs_f64();
            provider.tokens = match (provider.by_the_second, now.subsec_millis()) {
                (true, 0) => allowed,
                (true, _) => provider.tokens,
                (false, _) => (provider.tokens + tokens).min((allowed / 10.0).max(1.0)),
            };
            second.allowed += tokens;
            while answers.front().is_some_and(|(at, ..)| *at <= now) {
                let (_, epoch, admitted) = answers.pop_front().unwrap();
                if admitted {
                    rate.admitted(now, epoch);
                } else {
                    rate.rejected(now, epoch, provider.retry_after);
                    paused = paused.max(now + provider.retry_after.unwrap_or_default());
                }
            }
            while answers.len() < callers && now >= paused {
                let Ok(epoch) = rate.take(now) else { break };
                let admitted = provider.tokens >= 1.0 && random.f64() >= provider.moody;
                if admitted {
                    provider.tokens -= 1.0;
                    second.admitted += 1.0;
                } else {
                    second.rejected += 1.0;
                }
                answers.push_back((now + provider.latency, epoch, admitted));
            }
        }
        seen.push(second);
    }
    seen
}

fn sum(seen: &[SeenRate]) -> SeenRate {
    seen.iter().fold(SeenRate::default(), |all, one| SeenRate {
        allowed: all.allowed + one.allowed,
        admitted: all.admitted + one.admitted,
        rejected: all.rejected + one.rejected,
    })
}

fn provider(allowed: fn(f64) -> f64, latency_ms: u64, retry_after_s: u64) -> SimulatedProvider {
    let retry_after = (retry_after_s > 0).then(|| Duration::from_secs(retry_after_s));
    let latency = Duration::from_millis(latency_ms);
    SimulatedProvider { allowed, tokens: 1.0, by_the_second: false, retry_after, latency, moody: 0.0 }
}

#[test]
fn a_fixed_allowance_is_used_and_hardly_ever_overrun() {
    let allowances: [fn(f64) -> f64; 5] = [|_| 10.0, |_| 50.0, |_| 200.0, |_| 500.0, |_| 33.3];
    let mut bad = false;
    for (allowed, by_the_second) in allowances.into_iter().flat_map(|allowed| [(allowed, false), (allowed, true)]) {
        for latency in [2, 20, 100] {
            for retry_after in [0, 1] {
                let mut provider = SimulatedProvider { by_the_second, ..provider(allowed, latency, retry_after) };
                let seen = simulate(&mut provider, 64, 200);
                // Where every rejection costs a second, finding out takes more of them.
                let settled = sum(&seen[if retry_after > 0 { 30 } else { 15 }..]);
                let (goodput, rejections) = (settled.goodput(), settled.rejections());
                let kind = if by_the_second { "by the second" } else { "bit by bit" };
                println!(
                    "{goodput:.3} {rejections:.4} of {} {kind}, {latency} ms, Retry-After {retry_after}",
                    allowed(0.0)
                );
                // A second's wait weighs more the less is allowed, and where it makes one miss the rest of a second.
                let hard = retry_after > 0 && (by_the_second || allowed(0.0) < 20.0);
                bad |= goodput < if hard { 0.92 } else { 0.95 } || rejections >= 0.02;
            }
        }
    }
    assert!(!bad, "see above");
}

#[test]
fn a_provider_that_rejects_some_calls_for_no_reason_is_not_asked_less_and_less() {
    for moody in [0.002, 0.005] {
        let mut provider = SimulatedProvider { moody, ..provider(|_| 300.0, 10, 0) };
        let settled = sum(&simulate(&mut provider, 64, 400)[30..]);
        println!("{:.3} with {moody} rejected", settled.goodput());
        assert!(settled.goodput() >= 0.95, "{moody}: {settled:?}");
    }
}

#[test]
fn a_rejection_while_little_is_asked_does_not_slow_everything_down_for_minutes() {
    let mut rate = Rate::default();
    let mut now = Duration::ZERO;
    let mut ask = |rate: &mut Rate, every_ms: u64, seconds: u64| {
        let end = now + Duration::from_secs(seconds);
        let mut admitted = 0;
        while now < end {
            now += Duration::from_millis(every_ms);
            if let Ok(epoch) = rate.take(now) {
                rate.admitted(now, epoch);
                admitted += 1;
            }
        }
        (admitted, now)
    };
    // A limit is known, and forgotten by now.
    let (_, early) = ask(&mut rate, 8, 10);
    rate.rejected(early, 0, None);
    ask(&mut rate, 8, 60);
    // Few are asked for, and some of them are rejected, each after a wait.
    let (_, mut later) = ask(&mut rate, 50, 5);
    for _ in 0..4 {
        let epoch = rate.epoch;
        rate.rejected(later, epoch, Some(Duration::from_secs(1)));
        later = ask(&mut rate, 8, 3).1;
    }
    ask(&mut rate, 8, 12);
    let (admitted, _) = ask(&mut rate, 8, 10);
    assert!(admitted > 1_000, "{admitted} of 1250");
}

#[test]
fn an_allowance_that_changes_is_followed() {
    let allowed = |time: f64| match time % 80.0 {
        ..20.0 => 100.0,
        ..40.0 => 200.0,
        ..60.0 => 60.0,
        _ => 150.0,
    };
    let seen = simulate(&mut provider(allowed, 10, 0), 64, 160);
    let after_changes = seen.into_iter().enumerate().filter(|(second, _)| second % 20 >= 5);
    let settled = sum(&after_changes.map(|(_, seen)| seen).collect::<Vec<_>>());
    println!("{:.3} {:.4}", settled.goodput(), settled.rejections());
    assert!(settled.goodput() >= 0.95 && settled.rejections() < 0.02, "{settled:?}");
}

#[test]
fn nobody_is_held_back_who_was_never_rejected() {
    let mut rate = Rate::default();
    for _ in 0..10_000 {
        assert_eq!(rate.take(Duration::ZERO), Ok(0));
        rate.admitted(Duration::ZERO, 0);
    }
    assert_eq!(rate.now(Duration::ZERO), None);
}

#[test]
fn calls_sent_before_a_cut_say_nothing_about_the_rate_after_it() {
    let mut rate = Rate::default();
    for _ in 0..20 {
        rate.admitted(Duration::from_secs(1), 0);
    }
    rate.rejected(Duration::from_secs(1), 0, None);
    let cut = rate.now(Duration::from_secs(1));
    for _ in 0..100 {
        rate.rejected(Duration::from_secs(1), 0, None);
    }
    assert_eq!(rate.now(Duration::from_secs(1)), cut);
}

#[test]
fn a_turn_that_was_not_used_is_given_to_the_next() {
    let mut rate = Rate::default();
    rate.rejected(Duration::ZERO, 0, None);
    let now = Duration::from_secs(100);
    rate.take(now).unwrap();
    rate.take(now).unwrap_err();
    rate.give_back(now);
    rate.take(now).unwrap();
}

#[test]
fn a_rate_that_is_not_used_does_not_rise() {
    let mut rate = Rate::default();
    for n in 0..100 {
        rate.admitted(Duration::from_millis(10 * n), 0);
    }
    rate.rejected(Duration::from_secs(1), 0, None);
    for second in 2..2000 {
        rate.take(Duration::from_secs(second)).unwrap();
    }
    let rate = rate.now(Duration::from_secs(2000)).unwrap();
    assert!(rate < 150.0, "{rate}");
}
