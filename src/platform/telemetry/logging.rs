//! Log lines, to stderr, as text or as one JSON object a line.
//!
//! Only this crate's own lines may be more than warnings, whatever the setting says. At `debug` and `trace` the HTTP and
//! AMQP crates write headers, URLs and whole frames, the provider token and the broker password among them; a
//! directive such as `hyper=trace` or `[some_span]=trace` must not be a way to get at them. A list of crates to silence would
//! be out of date after the next `cargo update`, so the rule names the one crate that is let through.

use std::io::IsTerminal;

use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::platform::text::LogLines;
use crate::settings::{LogFormat, LogSettings};

/// The target of this crate's lines: the library's and the binary's (`asset-eraser` has this crate name too).
const OURS: &str = "asset_eraser";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is neither a level nor filter directives.
    #[error(
        "log.level {level:?} is not understood: use off, error, warn, info, debug, trace, \
         or directives such as \"asset_eraser::neighbours::broker=debug,asset_eraser=info\""
    )]
    Level {
        /// What the setting said.
        level: String,
    },
    /// Something else in this process has taken the log over.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Sends log lines of the whole process to stderr. Call once, at start.
///
/// # Errors
/// When `log.level` is not understood, or logging was set up before.
pub fn init(log: &LogSettings) -> Result<(), LogError> {
    subscriber(log, std::io::stderr, std::io::stderr().is_terminal())?.try_init().map_err(|_| LogError::AlreadySet)
}

/// Where lines go, without what turns a direction or cannot be seen in them.
struct PlainLines<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for PlainLines<W> {
    type Writer = LogLines<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLines(self.0.make_writer())
    }
}

fn subscriber<W>(
    log: &LogSettings,
    writer: W,
    colours: bool,
) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(PlainLines(writer))
        // It reports a failed write with eprintln!, which panics when it is stderr that is gone.
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.with_ansi(false).json().flatten_event(true).with_span_list(false).boxed(),
    };
    // Without the hint, `and` would take the most verbose level there is as the most verbose one wanted.
    let capped = filter_fn(may_pass).with_max_level_hint(LevelFilter::TRACE);
    Ok(tracing_subscriber::registry().with(lines.with_filter(wanted(&log.level)?.and(capped))))
}

/// What the setting asks for. A bare level is meant for this crate.
fn wanted(level: &str) -> Result<EnvFilter, LogError> {
    let refused = || LogError::Level { level: level.to_owned() };
    let level = level.trim();
    // LevelFilter takes nothing for `error`; an empty variable in the environment is more likely a mistake.
    if level.is_empty() {
        return Err(refused());
    }
    let is_word = level.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_word {
        return EnvFilter::builder().parse(level).map_err(|_| refused());
    }
    // EnvFilter takes any other word for the name of a crate to be traced, so `inof` would silence everything.
    let level: LevelFilter = level.parse().map_err(|_| refused())?;
    EnvFilter::builder().parse(format!("{OURS}={level},warn")).map_err(|_| refused())
}

/// Whether a line may be written at all: see the top of this file.
fn may_pass(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::WARN || is_ours(line.target())
}

fn is_ours(target: &str) -> bool {
    target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// What was written to the log.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(pub(crate) Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What comes out at this level when all crates log at every level.
    fn output(format: LogFormat, level: &str) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let log = LogSettings { format, level: level.to_owned() };
        let subscriber = subscriber(&log, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(asset = "a-1", "ours-info");
            tracing::debug!("ours-debug");
            tracing::trace!("ours-trace");
            tracing::trace!(target: "asset_eraser_lookalike", "lookalike-trace");
            tracing::trace_span!(target: "h2::client", "secret-span").in_scope(|| {
                for_others();
            });
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn for_others() {
        macro_rules! log_as {
            ($($target:literal)*) => {$(
                tracing::trace!(target: $target, "secret-trace");
                tracing::info!(target: $target, "secret-info");
                tracing::warn!(target: $target, "warning of {}", $target);
            )*};
        }
        log_as!("lapin::channel" "amq_protocol_uri" "hyper::proto" "hyper_util::client" "reqwest::connect" "h2" "rustls");
    }

    #[test]
    fn a_bare_level_is_for_us_and_others_may_warn() {
        let info = output(LogFormat::Text, "info");
        assert!(info.contains("ours-info") && !info.contains("ours-debug"), "{info}");
        assert!(info.contains("warning of lapin::channel"), "{info}");
        let debug = output(LogFormat::Text, " DEBUG ");
        assert!(debug.contains("ours-debug") && !debug.contains("ours-trace"), "{debug}");
    }

    #[test]
    fn no_setting_makes_another_crate_say_more_than_warnings() {
        for level in [
            "trace",
            "trace,asset_eraser=trace",
            "asset_eraser=trace,lapin=trace,lapin::channel=trace,hyper=trace,reqwest=trace,h2=trace,rustls=trace",
            "asset_eraser=trace,[secret-span]=trace",
            "asset_eraser=trace,[{asset}]=trace",
        ] {
            let text = output(LogFormat::Text, level);
            assert!(text.contains("ours-trace"), "{level}: {text}");
            assert!(!text.contains("secret") && !text.contains("lookalike"), "{level}: {text}");
        }
    }

    #[test]
    fn directives_choose_among_our_modules() {
        let text = output(LogFormat::Text, "asset_eraser::platform::telemetry=debug,off");
        assert!(text.contains("ours-debug") && !text.contains("warning of"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = output(LogFormat::Json, "info");
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["message"], "ours-info");
        assert_eq!(first["asset"], "a-1");
        assert_eq!(first["level"], "INFO");
        assert!(text.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()), "{text}");
    }

    #[test]
    fn a_misspelt_level_is_refused_by_name() {
        for level in ["inof", "", "hyper", "asset_eraser=loud", "=,="] {
            let error = wanted(level).unwrap_err().to_string();
            assert!(error.contains(&format!("{level:?}")) && error.contains("off, error, warn"), "{error}");
        }
    }
}
