//! `shakedown report`: render a saved result again.

use std::path::PathBuf;

use crate::report::{json, text};
use crate::run::{ExitCode, RunResult};

use super::exit::{CliError, Exit};
use super::output::{self, Color};

/// Flags of `shakedown report`.
#[derive(clap::Args, Debug)]
pub(super) struct ReportArgs {
    /// A result file written by `shakedown run -o`
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
    let result = RunResult::read(&args.result).map_err(|error| CliError::usage(error.to_string()))?;
    let text = if args.json || args.format == Format::Json {
        json::render(&result)
    } else {
        let color = args.output.is_none() && args.color.on_stdout();
        text::render(&result, text::Style { color, width: output::width() })
    };
    match &args.output {
        None => output::print(&text)?,
        Some(path) => std::fs::write(path, text)
            .map_err(|error| CliError::environment(format!("cannot write {}: {error}", path.display())))?,
    }
    Ok(ExitCode::of(&result).into())
}
