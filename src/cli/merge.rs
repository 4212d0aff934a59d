//! `shakedown merge`: the exact merge of several machines' results.

use std::path::{Path, PathBuf};

use crate::report::text;
use crate::run::{ExitCode, RunResult};

use super::exit::{CliError, Exit};
use super::output::{self, Color, Report, Saving};

/// Flags of `shakedown merge`.
#[derive(clap::Args, Debug)]
pub(super) struct MergeArgs {
    /// Result files of runs of one plan, one for each --share
    #[arg(value_name = "RESULT.json", required = true)]
    results: Vec<PathBuf>,
    /// Write the merged result file; - is stdout, and the report goes to stderr
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print the merged result as JSON
    #[arg(long)]
    json: bool,
    /// When to use colour in the report
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

/// Merges the files and prints the merged report; its verdict is the exit code.
pub(super) fn execute(args: &MergeArgs) -> Result<Exit, CliError> {
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if let Some(input) = args.results.iter().find(|input| same(input, &args.output)) {
        return Err(CliError::usage(format!(
            "-o {} would overwrite a result that is merged; give another file",
            input.display()
        )));
    }
    let results = args
        .results
        .iter()
        .map(|path| RunResult::read(path).map_err(|error| CliError::usage(error.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    let merged = RunResult::merge(results).map_err(|error| CliError::usage(error.to_string()))?;
    let render = |color| text::render(&merged, text::Style { color, width: output::width() });
    let text = output::rendered(args.color.on_stdout(), render);
    let report = if args.json { Report::Json } else { Report::Text { text: &text, quiet: false } };
    Saving::reserve(Some(&args.output))?.deliver(&merged.to_text(), &report)?;
    Ok(ExitCode::of(&merged).into())
}
