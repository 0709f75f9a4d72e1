//! How fast, how lean and how considerate the worker is: the real one, with everything on, against the sandbox.
//!
//! | Part | What it measures |
//! | --- | --- |
//! | `at-once` | rate, CPU and memory beside the leanest loop that does the same calls (`floor.rs`), taking turns |
//! | `slow` | the same with a provider that takes its time, and the floor at its best concurrency |
//! | `idle` | CPU while there is nothing to do |
//! | `backlog` | peak memory with a large backlog |
//! | `goodput` | against a limiter that the worker is not told about: what it reaches, what it is refused; draws curves |
//! | `scale` | one, two and four workers with one PostgreSQL ledger |
//!
//! ```text
//! make bench                       # all but scale
//! make bench PARTS='idle backlog'  # some
//! make bench-scale
//! BACKLOG=1000000 make bench PARTS=backlog
//! ```
//!
//! Sizes and durations are environment variables, see `load/settings.rs`. A missed target is printed, and no failure.

use std::cell::Cell;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

mod broker;
mod chart;
mod goodput;
mod process;
mod report;
mod rest;
mod round;
mod sandbox;
mod scale;
mod settings;
mod side_by_side;
mod stage;
mod system;

use broker::Broker;
use report::Report;
use scale::Database;
use settings::Settings;
use stage::Stage;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PARTS: [&str; 6] = ["at-once", "slow", "idle", "backlog", "goodput", "scale"];

#[tokio::main]
async fn main() -> ExitCode {
    // rustls needs one provider for the process, also for plain http.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("no such part: {unknown}; there are {}", PARTS.join(", ")).into());
    }
    let chosen = |part: &&str| if parts.is_empty() { *part != "scale" } else { parts.iter().any(|one| one == part) };
    let parts: Vec<&str> = PARTS.into_iter().filter(chosen).collect();
    let settings = Settings::load()?;
    let (amqp, run) = (settings.amqp.clone(), format!("bench-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]));
    let database = if parts.contains(&"scale") { Some(Database::create(&run).await?) } else { None };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let rounds = Cell::new(0);
    let played = tokio::select! {
        played = play(settings, &parts, &run, &rounds, database.as_ref().map(|database| database.url.as_str())) => played,
        _ = terminate.recv() => Err("stopped".into()),
        _ = interrupt.recv() => Err("stopped".into()),
    };
    // Whatever happened: the processes and their folder went with `play`, the rest goes now.
    if played.is_err() && rounds.get() > 0 {
        Broker::remove(&amqp, &stage::prefix(&run, rounds.get())).await?;
    }
    if let Some(database) = database {
        database.remove().await?;
    }
    played
}

async fn play(settings: Settings, parts: &[&str], run: &str, rounds: &Cell<u32>, database: Option<&str>) -> Result<()> {
    let (report, charts) = (Report::default(), charts()?);
    let stage = Stage::start(settings, run, rounds, &charts).await?;
    for part in parts {
        match *part {
            "at-once" => side_by_side::at_once(&stage, &report).await?,
            "slow" => side_by_side::slow(&stage, &report).await?,
            "idle" => rest::idle(&stage, &report).await?,
            "backlog" => rest::backlog(&stage, &report).await?,
            "goodput" => goodput::goodput(&stage, &report, &charts).await?,
            _ => scale::scale(&stage, database.ok_or("no database")?).await?,
        }
    }
    report.print();
    Ok(())
}

/// `bench` in Cargo's target folder, where the curves are drawn and the ledgers lie.
fn charts() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program is not in a folder of Cargo's")?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
