//! The command line. One file a command.

mod background;
pub mod brake;
pub mod check;
pub mod config;
mod confirmation;
pub mod dead_letters;
pub mod ledger;
mod pages;
mod private_file;
pub mod run;
pub mod submit;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::submit::SubmitError;
use crate::platform::text::plain_lines;
use crate::settings::{ConfigError, Settings, keys, variables};

/// Deletes a provider's assets irreversibly, on request from RabbitMQ, and proves it.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// The settings file (TOML). Every key can also be set as `ASSET_ERASER__SECTION__KEY`.
    #[arg(long, env = "ASSET_ERASER_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Consume requests until SIGTERM or SIGINT.
    Run,
    /// Try to reach the broker, the provider, the guard and the ledger; exits 1 if one cannot be reached.
    Check {
        /// Read answers of the provider from this file instead, and print what each means and by which rule: a JSON list, or
        /// one object a line, of `{"operation", "id", "status", "headers", "body"}`; only `status` has to be there.
        #[arg(long, value_name = "FILE")]
        answers: Option<PathBuf>,
    },
    /// Print the effective settings, secrets hidden.
    Config {
        /// Print every setting that there is instead, with its default, as a table in Markdown.
        #[arg(long)]
        keys: bool,
    },
    /// Ask for deletions: publish a request for each asset named, or for each line of a file.
    ///
    /// Needs the settings of the section broker alone. Exits 0 when everything was done, 1 when something was not, 2 when
    /// the input or the usage is wrong and nothing was sent.
    Submit(Box<submit::SubmitArgs>),
    /// See how far the brake is, or release it.
    Brake {
        #[command(subcommand)]
        command: brake::BrakeCommand,
    },
    /// Look at what could not be handled, replay it or drop it. Needs the settings of the broker alone.
    Dead {
        #[command(subcommand)]
        command: dead_letters::DeadCommand,
    },
    /// Look into the ledger.
    Ledger {
        #[command(subcommand)]
        command: ledger::LedgerCommand,
    },
    /// Print the completions of a shell, to be read by it at its start.
    Completions {
        /// Which one.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands into a folder.
    Man {
        /// The folder; files there are overwritten.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ConfigError>() => fail(&*error, 2),
        Err(error) => fail(&*error, error.downcast_ref::<SubmitError>().map_or(1, SubmitError::code)),
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let (file, set) = (args.config.as_deref(), variables(std::env::vars_os())?);
    let broker = |set| Settings::load_broker(file, set);
    let settings = |set| Settings::load(file, set);
    match args.command {
        // Boxed, as all of the worker is in it.
        Command::Run => finish(Box::pin(run::run(settings(set)?))),
        Command::Check { answers: Some(file) } => check::answers(&settings(set)?, &file),
        Command::Check { answers: None } => finish(check::check(&settings(set)?)),
        Command::Config { keys: true } => {
            print!("{}", keys::table());
            Ok(())
        }
        Command::Config { keys: false } => {
            print!("{}", config::print(&settings(set)?));
            Ok(())
        }
        Command::Submit(command) => finish(submit::submit(&broker(set)?, &command)),
        Command::Brake { command } => finish(brake::brake(&settings(set)?, &command)),
        Command::Dead { command } => finish(dead_letters::dead(&broker(set)?, &command)),
        Command::Ledger { command } => finish(ledger::ledger(&settings(set)?, &command)),
        Command::Completions { shell } => pages::completions(Args::command(), shell),
        Command::Man { dir } => pages::man(Args::command(), dir.as_deref()),
    }
}

/// One thread: a request is a few hundred microseconds of work between waits, and handing it from thread to thread costs
/// more than it gains. What blocks or computes for long has threads of its own (the ledger, the broker's loop).
fn finish(command: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

fn fail(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("asset-eraser: {}", plain_lines(&error.to_string()));
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {}", plain_lines(&cause.to_string()));
        source = cause.source();
    }
    ExitCode::from(code)
}
