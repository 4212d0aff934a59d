//! `shakedown report`: render a saved result again.

use std::path::PathBuf;

use crate::capacity::CapacityResult;
use crate::report::{capacity, json, text};
use crate::run::{ExitCode, ResultFileError, RunResult};

use super::exit::{CliError, Exit};
use super::output::{self, Color};

/// Flags of `shakedown report`.
#[derive(clap::Args, Debug)]
pub(super) struct ReportArgs {
    /// A result file written by `shakedown run -o` or `capacity -o`
    #[arg(value_name = "RESULT.json")]
    result: PathBuf,
    /// What to render
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Write here instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// When to colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, at the terminal's width.
    #[default]
    Text,
    /// The result file itself.
    Json,
}

/// Renders the file; its verdict is the exit code again.
pub(super) fn execute(args: &ReportArgs) -> Result<Exit, CliError> {
    let style = text::Style { color: args.output.is_none() && args.color.on_stdout(), width: output::width() };
    let as_json = args.json || args.format == Format::Json;
    let usage = |error: ResultFileError| CliError::usage(error.to_string());
    let (text, exit) = match CapacityResult::read(&args.result) {
        Ok(result) => {
            let text = if as_json { result.to_text() } else { capacity::render(&result, style) };
            (text, result.exit_code())
        }
        Err(ResultFileError::UnknownSchema { .. }) => {
            let result = RunResult::read(&args.result).map_err(usage)?;
            let text = if as_json { json::render(&result) } else { text::render(&result, style) };
            (text, ExitCode::of(&result))
        }
        Err(error) => return Err(usage(error)),
    };
    match &args.output {
        None => output::print(&text)?,
        Some(path) => std::fs::write(path, text)
            .map_err(|error| CliError::environment(format!("cannot write {}: {error}", path.display())))?,
    }
    Ok(exit.into())
}
