//! `asset-eraser brake`: how many deletions have begun, and letting workers go on that the brake has stopped.

use std::error::Error;
use std::io::Write;

use clap::Subcommand;
use secrecy::ExposeSecret;

use super::confirmation::confirmed;
use crate::neighbours::ledger::Ledger;
use crate::platform::telemetry::metrics::Metrics;
use crate::settings::{BrakeSettings, Settings, brief};

/// What to do with the brake.
#[derive(Debug, Subcommand)]
pub enum BrakeCommand {
    /// Show how many deletions have begun within the window, the limit, and whether it holds.
    Status,
    /// Let as many deletions begin again as `brake.max_deletions` says, by every worker of the ledger.
    Release {
        /// Do not ask. Needed where there is no terminal to answer on.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of the brake's commands; they work while workers do.
///
/// # Errors
/// When there is no brake, the ledger cannot be reached, or the release was not confirmed.
pub async fn brake(settings: &Settings, command: &BrakeCommand) -> Result<(), Box<dyn Error>> {
    let Some(brake) = &settings.brake else {
        return Err("brake.max_deletions is not set: there is no brake".into());
    };
    if settings.ledger.url.expose_secret() == "memory:" {
        let problem = "ledger.url is memory:, and what it counts is known to its worker alone; there is nothing to see or \
                       to release from outside (a restart of the worker counts from 0 again)";
        return Err(problem.into());
    }
    let ledger = Ledger::open(&settings.ledger.url, Metrics::new()?).await?;
    let done = match command {
        BrakeCommand::Status => status(&ledger, brake, &mut std::io::stdout()).await,
        BrakeCommand::Release { yes } => release(&ledger, brake, *yes).await,
    };
    ledger.close().await;
    done
}

async fn status(ledger: &Ledger, brake: &BrakeSettings, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let braking = ledger.braking(brake).await?;
    let (limit, window) = (brake.max_deletions, brief(brake.window));
    writeln!(out, "{} of {limit} deletions have begun within {window}", braking.deletions)?;
    let holds = if braking.holds(brake) { "holds: no other deletion begins" } else { "does not hold" };
    writeln!(out, "the brake {holds}")?;
    if let Some(last) = braking.last_release {
        writeln!(out, "last released at {:.0}, after {} deletions", last.at, last.deletions)?;
    }
    Ok(())
}

async fn release(ledger: &Ledger, brake: &BrakeSettings, yes: bool) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    status(ledger, brake, &mut out).await?;
    let question = format!("Let up to {} more deletions begin? They cannot be undone.", brake.max_deletions);
    if !yes && !confirmed(&question)? {
        return Err("nothing was released".into());
    }
    let released = ledger.release_brake(brake).await?;
    writeln!(
        out,
        "released: {} deletions count no more, and up to {} may begin within {}; stopped workers go on within 15s",
        released.deletions,
        brake.max_deletions,
        brief(brake.window)
    )?;
    Ok(())
}
