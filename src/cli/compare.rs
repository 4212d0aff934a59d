//! `shakedown compare`: do results differ by more than noise?

use std::path::PathBuf;
use std::str::FromStr;

use crate::base::visible_json;
use crate::compare::{Limit, Measured, Outcome, Rules, Side, compare};
use crate::report::{Style, compare as rendered};
use crate::run::ExitCode;

use super::exit::{CliError, Exit};
use super::output::{self, Color};

/// Below the flags in the help.
pub(super) const AFTER_HELP: &str = "\
Noise is what differs between runs of one side, so give several of each, made in
turn:
  shakedown compare old=o1.json,o2.json,o3.json new=n1.json,n2.json,n3.json
      What is better, worse or within noise: with an interval that covers the
      truth in 95 % of cases
  shakedown compare --fail-on-regression 5% old=o1.json,o2.json new=n1.json,...
      Exits 3 if anything is worse by more than 5 % beyond noise, 4 if nothing
      could be tested (single runs, a generator that was the limit), else 0
  shakedown compare --fail-on-regression 5% --strict old=... new=...
      Exits 4 also where the noise is too large to exclude such a regression:
      0 then means that there is none";

/// Flags of `shakedown compare`.
#[derive(clap::Args, Debug)]
pub(super) struct CompareArgs {
    /// Result files of each side under its name, the baseline first: written by `run -o` or by `capacity -o`
    #[arg(value_name = "NAME=FILE[,FILE...]", required = true)]
    sides: Vec<SideFiles>,
    /// Compare results of different plans, and say what differs
    #[arg(long)]
    anyway: bool,
    /// Exit 3 if anything is worse by more than this beyond noise: in percent for rates and latencies,
    /// in percentage points for shares of attempts
    #[arg(long, value_name = "PERCENT")]
    fail_on_regression: Option<Percentage>,
    /// Exit 4 where the noise is too large to exclude such a regression; without it that is exit 0
    #[arg(long, requires = "fail_on_regression")]
    strict: bool,
    /// What to render
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Write here instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, at the terminal's width.
    #[default]
    Text,
    /// For a pull request or a wiki.
    Md,
    /// For programs.
    Json,
}

/// Files under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SideFiles {
    name: String,
    files: Vec<PathBuf>,
}

/// How much worse something may be, as a share.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Percentage(f64);

impl FromStr for SideFiles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write NAME=FILE[,FILE...], for example old=old1.json,old2.json";
        let (name, files) = text.split_once('=').ok_or_else(|| format!("it has no name; {example}"))?;
        if name.trim().is_empty() || files.split(',').any(str::is_empty) {
            return Err(format!("a name or a file is missing; {example}"));
        }
        Ok(Self { name: name.trim().to_owned(), files: files.split(',').map(PathBuf::from).collect() })
    }
}

impl FromStr for Percentage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent: Option<f64> = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        percent
            .filter(|percent| (0.0..=1_000.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| "it is not a percentage from 0% to 1000%; write for example 5% or 0.5%".to_owned())
    }
}

/// Compares the files; the exit code says whether a limit was kept.
pub(super) fn execute(args: &CompareArgs) -> Result<Exit, CliError> {
    let limit = |Percentage(limit)| Limit { limit, strict: args.strict };
    let rules = Rules { anyway: args.anyway, regression: args.fail_on_regression.map(limit) };
    let comparison = compare(&sides(&args.sides)?, rules).map_err(|error| CliError::usage(error.to_string()))?;
    let format = if args.json { Format::Json } else { args.format };
    let text = match format {
        Format::Json => rendered::json(&comparison),
        Format::Md => rendered::markdown(&comparison),
        Format::Text => {
            let color = args.output.is_none() && args.color.on_stdout();
            output::rendered(color, |color| rendered::text(&comparison, Style { color, width: output::width() }))
        }
    };
    let text = if format == Format::Json { visible_json(&text).into_owned() } else { text };
    output::write(args.output.as_deref(), &text)?;
    Ok(match comparison.outcome() {
        Outcome::Pass => Exit::PASS,
        Outcome::Worse => ExitCode::Missed.into(),
        Outcome::Inconclusive => ExitCode::Inconclusive.into(),
    })
}

/// The results of each name; a name may be given several times.
fn sides(named: &[SideFiles]) -> Result<Vec<Side>, CliError> {
    let mut sides: Vec<Side> = Vec::new();
    for SideFiles { name, files } in named {
        let read = |file: &PathBuf| Measured::read(file).map_err(|error| CliError::usage(error.to_string()));
        let results = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        match sides.iter_mut().find(|side| side.name == *name) {
            Some(side) => side.results.extend(results),
            None => sides.push(Side { name: name.clone(), results }),
        }
    }
    Ok(sides)
}
