//! The command line of asset-eraser: parses, calls a command, turns its error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    asset_eraser::operator::cli::main()
}
