//! `asset-eraser submit`: asks for deletions, for a person or a script.

mod batch;
mod bits;
mod cases;
mod csv;
mod draft;
mod entries;
mod input;
mod lines;
mod progress;
mod report;
mod sending;
mod spool;
mod tally;
mod twins;

use std::error::Error;
use std::io::stderr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::HumanCount;
use tokio::signal::unix::{SignalKind, signal};

use self::batch::Batch;
use self::draft::Defaults;
use self::input::{Format, Input};
use self::progress::{BETWEEN_LOOKS, ProgressView};
use self::report::{Ending, SubmitReport};
use self::sending::Sending;
use super::confirmation::{Consent, ask};
use super::private_file;
use crate::neighbours::broker::requester::Requester;
use crate::platform::text::plain;
use crate::settings;

/// What to ask for, and how.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// Asset IDs; or - for standard input.
    #[arg(value_name = "ASSET_ID", conflicts_with = "file")]
    assets: Vec<String>,
    /// A file of requests, or - for standard input.
    ///
    /// CSV: the first line names the columns, which are called as the fields of a request; commas, semicolons or tabs
    /// separate them. NDJSON: each line is a request. In both, `request_id` may be missing, and is then made of all that
    /// the request says, so that the same command run again asks for nothing twice. The encoding is UTF-8, or UTF-16
    /// with a byte order mark. When one line is not clear, nothing is sent, and the line is named.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How the file is written [default: by its name; plain for standard input].
    #[arg(long)]
    format: Option<Format>,
    /// A name that becomes part of every `request_id` that is made: with another one, the same is asked for once more.
    #[arg(long, value_name = "NAME")]
    batch: Option<String>,
    /// Do not ask. Needed where there is no terminal to answer on.
    #[arg(long)]
    yes: bool,
    /// Wait for every answer, and show what came of it; exits 1 unless everything was done.
    #[arg(long)]
    wait: bool,
    /// The longest wait, such as 90s, 10m or 2h; exits 1 when it is over.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "wait")]
    timeout: Option<Duration>,
    /// So long without any answer, and those that are missing are asked for again, in case an answer was lost.
    #[arg(long, value_name = "DURATION", value_parser = a_second_or_more, default_value = "15m")]
    ask_again: Duration,
    /// Write every result into a file, a JSON object a line; what it held is lost.
    #[arg(long, value_name = "FILE", requires = "wait")]
    results: Option<PathBuf>,
    /// Print the totals as one JSON object.
    #[arg(long)]
    json: bool,
    // Last, as its heading would go on over what follows.
    #[command(flatten)]
    defaults: Defaults,
}

/// Why it has ended badly, and what the process exits with.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Bad input, or bad usage; nothing was sent.
    #[error("{0}")]
    Refused(String),
    /// Something else than the requests.
    #[error("{0}")]
    Stopped(String),
    /// A signal, by its number.
    #[error("interrupted")]
    Interrupted(u8),
    /// At least one request was not done; all has been said about it.
    #[error("{0}")]
    NotDone(String),
}

impl SubmitError {
    /// What the process exits with.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 2,
            Self::Stopped(_) | Self::NotDone(_) => 1,
            // As a shell tells it.
            Self::Interrupted(signal) => 128 + *signal,
        }
    }
}

/// Asking again fills the queues.
fn a_second_or_more(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration < Duration::from_secs(1) => Err("must be 1s or more".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Checks everything, asks, publishes, and with `--wait` hears what came of it.
///
/// # Errors
/// A [`SubmitError`]: whatever kept it from that; with `--wait` also that a request was not done.
pub async fn submit(broker: &settings::BrokerSettings, args: &SubmitArgs) -> Result<(), Box<dyn Error>> {
    Ok(submitted(broker, args).await?)
}

async fn submitted(broker: &settings::BrokerSettings, args: &SubmitArgs) -> Result<(), SubmitError> {
    let input = Input::new(&args.assets, args.file.as_deref(), args.format).map_err(SubmitError::Refused)?;
    let name = args.batch.as_deref().unwrap_or_default();
    let batch = Batch::read(&input, &args.defaults, name).map_err(|refused| {
        for line in refused.lines {
            eprintln!("{}", plain(&line));
        }
        SubmitError::Refused(refused.problem)
    })?;
    for note in &batch.notes {
        eprintln!("note: {}", plain(note));
    }
    let results = args.results.as_ref().map(|path| {
        private_file::written(path)
            .map_err(|error| SubmitError::Refused(format!("--results: {}: {error}", path.display())))
    });
    let results = results.transpose()?;
    confirmed(broker, &batch, args.yes).await?;
    let progress = ProgressView::new(batch.total());
    let began = Instant::now();
    let sending = Sending::new(broker, &batch, &progress, args.wait.then_some(args.ask_again), results);
    let end = watched(&sending, &progress, args.timeout).await;
    progress.finish();
    let report = SubmitReport { batch: &batch, sending: &sending, end, took: began.elapsed(), json: args.json };
    report.tell()
}

/// Runs until it ends, the time is over, or a signal comes.
async fn watched(sending: &Sending<'_>, progress: &ProgressView, timeout: Option<Duration>) -> Ending {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        return Ending::Stopped("signals cannot be heard".to_owned());
    };
    let over = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let showing = async {
        let mut looks = tokio::time::interval(BETWEEN_LOOKS);
        loop {
            looks.tick().await;
            progress.show(&sending.numbers());
        }
    };
    tokio::select! {
        ended = sending.run() => ended.map_or_else(Ending::Stopped, |()| Ending::Done),
        () = over => Ending::TimedOut,
        _ = interrupt.recv() => Ending::Interrupted(2),
        _ = terminate.recv() => Ending::Interrupted(15),
        () = showing => Ending::Done,
    }
}

/// A dry run needs no question.
async fn confirmed(broker: &settings::BrokerSettings, batch: &Batch, yes: bool) -> Result<(), SubmitError> {
    let deletions = batch.total() - batch.dry_runs;
    if deletions == 0 || yes {
        return Ok(());
    }
    // After a "yes" it should not turn out that no broker takes the requests.
    let tried = Requester::open(broker, None).await;
    tried
        .map_err(|error| SubmitError::Stopped(format!("nothing was sent: the broker at {}: {error}", broker.place())))?
        .close()
        .await;
    let question = format!("{}\nPublish these requests? A deletion cannot be undone.", described(broker, batch));
    // Beside the runtime, whose thread answers the broker meanwhile.
    let asked = tokio::task::spawn_blocking(move || ask(&question, &mut stderr())).await;
    let answer = asked.map_err(std::io::Error::other).flatten();
    match answer.map_err(|error| SubmitError::Stopped(format!("nothing was sent: {error}")))? {
        Consent::Yes => Ok(()),
        Consent::No => Err(SubmitError::Stopped("nothing was sent".to_owned())),
        Consent::NobodyThere => {
            let problem = "nothing was sent: there is no terminal to ask on; say --yes, or --dry-run";
            Err(SubmitError::Refused(problem.to_owned()))
        }
    }
}

fn described(broker: &settings::BrokerSettings, batch: &Batch) -> String {
    let count = |count: u64, one: &str| format!("{} {one}{}", HumanCount(count), if count == 1 { "" } else { "s" });
    let deletions = count(batch.total() - batch.dry_runs, "asset");
    let dry = if batch.dry_runs > 0 { format!(", and {}", count(batch.dry_runs, "dry run")) } else { String::new() };
    let duplicates = match batch.duplicates.count() {
        0 => String::new(),
        duplicates => format!(" ({} left out)", count(duplicates, "duplicate")),
    };
    let cases = batch.cases.iter().map(|case| case.case.as_str()).collect::<Vec<_>>().join(", ");
    let more = if batch.more_cases > 0 { " and more" } else { "" };
    let cases = if cases.is_empty() { "none".to_owned() } else { format!("{cases}{more}") };
    let sizes = batch.told_cases().into_iter().chain([String::new()]).collect::<Vec<_>>().join("\n");
    let user = broker.user().map(|user| format!(", as user {user}")).unwrap_or_default();
    format!(
        "To be deleted for good: {deletions}{dry}{duplicates}\nCase: {cases}\n{sizes}Broker: {}, exchange {}{user}",
        broker.place(),
        broker.prefix
    )
}
