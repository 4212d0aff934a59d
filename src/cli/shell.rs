//! `shakedown completions` and `shakedown man`: what a shell and `man` want to know.

use clap::Command;

use super::exit::{CliError, Exit};
use super::output;

/// Flags of `shakedown completions`.
#[derive(clap::Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the completion script.
pub(super) fn completions(args: &CompletionsArgs, command: &mut Command) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "shakedown", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::PASS)
}

/// Prints the manual page in roff.
pub(super) fn manual(command: Command) -> Result<Exit, CliError> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| CliError::environment(format!("cannot render the manual page: {error}")))?;
    output::print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::PASS)
}
