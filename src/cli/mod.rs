//! The command line. One file a command.

mod ask;
mod beside;
pub mod brake;
pub mod check;
pub mod config;
pub mod ledger;
mod pages;
pub mod run;
pub mod submit;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Settings, variables};

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
    /// Try to reach the broker, the provider, the guard and the ledger; exits 1 if one can't be reached.
    Check,
    /// Print the effective settings, secrets hidden.
    Config,
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
    let args = Args::parse();
    // These two need no settings.
    let printed = match &args.command {
        Command::Completions { shell } => Some(pages::completions(Args::command(), *shell)),
        Command::Man { dir } => Some(pages::man(Args::command(), dir.as_deref())),
        _ => None,
    };
    if let Some(printed) = printed {
        return ended(printed);
    }
    let environment = variables(std::env::vars_os());
    // One thread: a request is a few hundred microseconds of work between waits, and handing it from thread to thread
    // costs more than it gains. What blocks or computes for long has threads of its own (the ledger, the broker's loop).
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    if let Command::Submit(submit) = &args.command {
        return match environment.and_then(|set| Settings::load_broker(args.config.as_deref(), set)) {
            Ok(broker) => match runtime.block_on(submit::submit(&broker, submit)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error, error.code()),
            },
            Err(error) => fail(&error, 2),
        };
    }
    let settings = match environment.and_then(|set| Settings::load(args.config.as_deref(), set)) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, 2),
    };
    if let Command::Config = args.command {
        print!("{}", config::print(&settings));
        return ExitCode::SUCCESS;
    }
    let done = runtime.block_on(async {
        match args.command {
            // Boxed, as all of the worker is in it.
            Command::Run => Box::pin(run::run(settings)).await,
            Command::Check => check::check(&settings).await,
            // Done above.
            Command::Config | Command::Submit(_) | Command::Completions { .. } | Command::Man { .. } => Ok(()),
            Command::Brake { command } => brake::brake(&settings, &command).await,
            Command::Ledger { command } => ledger::ledger(&settings, &command).await,
        }
    });
    ended(done)
}

fn ended(done: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error, 1),
    }
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("asset-eraser: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
    ExitCode::from(code)
}
