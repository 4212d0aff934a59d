//! Layer 7: the command line: clap types, one file a command, exit codes.

mod exit;
mod output;

use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
