//! How far it is: a bar on a terminal, a line now and then elsewhere. All on standard error.

use std::cell::Cell;
use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Between two looks.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How far it is.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) confirmed: u64,
    /// With `--wait`.
    pub(super) answered: Option<u64>,
    pub(super) total: u64,
    pub(super) outcomes: String,
}

/// Shows it.
pub(super) enum ProgressView {
    Bar(ProgressBar),
    Lines { began: Instant, last: Cell<Instant> },
}

impl ProgressView {
    /// For so many requests.
    pub(super) fn new(total: u64) -> Self {
        let target = ProgressDrawTarget::stderr();
        if target.is_hidden() {
            let now = Instant::now();
            return Self::Lines { began: now, last: Cell::new(now) };
        }
        let bar = ProgressBar::with_draw_target(Some(total), target);
        // One that does not parse leaves the library's own style, which shows as much.
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {human_pos}/{human_len} {msg} {rate} ETA {left}") {
            let rate = |state: &ProgressState, to: &mut dyn Write| {
                // A terminal that takes no text is no reason to stop.
                let _ = write!(to, "{:.0}/s", state.per_sec());
            };
            // It is not known before something is done.
            let left = |state: &ProgressState, to: &mut dyn Write| {
                let _ = match state.pos() {
                    0 => write!(to, "?"),
                    _ => write!(to, "{:#}", HumanDuration(state.eta())),
                };
            };
            bar.set_style(style.progress_chars("=> ").with_key("rate", rate).with_key("left", left));
        }
        Self::Bar(bar)
    }

    /// To be called again and again.
    pub(super) fn show(&self, numbers: &Numbers) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(numbers.answered.unwrap_or(numbers.confirmed));
                bar.set_message(numbers.words());
            }
            Self::Lines { began, last } => {
                if last.get().elapsed() >= BETWEEN_LINES {
                    last.set(Instant::now());
                    eprintln!("{}", numbers.line(began.elapsed()));
                }
            }
        }
    }

    /// Tells something on the way.
    pub(super) fn note(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Self::Lines { .. } => eprintln!("{text}"),
        }
    }

    /// Makes way for what is told at the end.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Numbers {
    fn words(&self) -> String {
        match self.answered {
            None => "published".to_owned(),
            Some(_) if self.confirmed < self.total => format!("answered, {} published", HumanCount(self.confirmed)),
            Some(_) if self.outcomes.is_empty() => "answered".to_owned(),
            Some(_) => format!("answered ({})", self.outcomes),
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let done = self.answered.unwrap_or(self.confirmed);
        #[expect(clippy::cast_precision_loss, reason = "shown without a fraction")]
        let rate = done as f64 / elapsed.as_secs_f64();
        format!("{} of {} {}, {rate:.0}/s", HumanCount(done), HumanCount(self.total), self.words())
    }
}
