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
    output::write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::PASS)
}

/// Flags of `shakedown man`.
#[derive(clap::Args, Debug)]
pub(super) struct ManArgs {
    /// The command whose page it is [default: the page about all of them]
    command: Option<String>,
}

/// Prints a manual page in roff.
pub(super) fn manual(args: &ManArgs, mut program: Command) -> Result<Exit, CliError> {
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
            CliError::usage(format!("there is no command '{name}'; there is {}", names.join(", ")))
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .source(concat!("shakedown ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(|error| CliError::environment(format!("cannot render the manual page: {error}")))?;
    output::write(&String::from_utf8_lossy(&page))?;
    Ok(Exit::PASS)
}
