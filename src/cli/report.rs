//! `shakedown report`: render a saved result again.

use std::path::{Path, PathBuf};

use crate::base::input;
use crate::base::visible_json;
use crate::capacity::{CAPACITY_SCHEMA, CapacityResult};
use crate::measure::Metric;
use crate::report::{capacity, csv, hgrm, html, json, markdown, text};
use crate::run::{ExitCode, LatencyTable, ResultFileError, RunResult, schema_kind};

use super::exit::{CliError, Exit};
use super::output::{self, Color};
use super::shell::Offering;

/// Flags of `shakedown report`.
#[derive(clap::Args, Debug)]
pub(super) struct ReportArgs {
    /// A file written by `shakedown run -o` or `shakedown capacity -o`
    #[arg(value_name = "RESULT.json")]
    result: PathBuf,
    /// What to render
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Which table of a run, with --format csv
    #[arg(long, value_enum)]
    rows: Option<Rows>,
    /// Which latency, with --format hgrm [default: response; in closed loop service]
    #[arg(long, value_name = "METRIC", value_parser = Offering::metrics(), hide_possible_values = true)]
    metric: Option<Metric>,
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
    /// The result file itself.
    Json,
    /// One file with charts, without network: to share.
    Html,
    /// A summary in Markdown: for a pull request.
    Md,
    /// A table for spreadsheets: timeline or latencies, or the trials of a capacity.
    Csv,
    /// HdrHistogram's percentile distribution, in milliseconds.
    Hgrm,
}

/// The tables of a run that CSV has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Rows {
    /// A row for each second; in long runs for more.
    #[default]
    Timeline,
    /// A row for each metric.
    Latency,
}

/// What a file holds.
enum Saved {
    Run(Box<RunResult>),
    Capacity(Box<CapacityResult>),
}

/// Renders the file; its verdict is the exit code again.
pub(super) fn execute(args: &ReportArgs) -> Result<Exit, CliError> {
    let format = if args.json { Format::Json } else { args.format };
    for (flag, given, of, only) in
        [("--rows", args.rows.is_some(), Format::Csv, "csv"), ("--metric", args.metric.is_some(), Format::Hgrm, "hgrm")]
    {
        if given && format != of {
            return Err(CliError::usage(format!("{flag} is for --format {only}: give both or neither")));
        }
    }
    let saved = read(&args.result)?;
    let text = match &saved {
        Saved::Run(result) => of_run(result, format, args)?,
        Saved::Capacity(result) => of_capacity(result, format, args)?,
    };
    let text = if format == Format::Json { visible_json(&text).into_owned() } else { text };
    output::write(args.output.as_deref(), &text)?;
    Ok(match saved {
        Saved::Run(result) => ExitCode::of(&result).into(),
        Saved::Capacity(result) => result.exit_code().into(),
    })
}

fn read(path: &Path) -> Result<Saved, CliError> {
    let parse = |text: &str| match RunResult::parse(text, input::name(path)) {
        Err(ResultFileError::UnknownSchema { schema, .. }) if schema_kind(&schema) == schema_kind(CAPACITY_SCHEMA) => {
            CapacityResult::parse(text, input::name(path)).map(|result| Saved::Capacity(Box::new(result)))
        }
        parsed => parsed.map(|result| Saved::Run(Box::new(result))),
    };
    ResultFileError::read(path).and_then(|text| parse(&text)).map_err(|error| CliError::usage(error.to_string()))
}

fn of_run(result: &RunResult, format: Format, args: &ReportArgs) -> Result<String, CliError> {
    Ok(match format {
        Format::Text => for_people(args, |style| text::render(result, style)),
        Format::Json => json::render(result),
        Format::Html => html::render_run(result),
        Format::Md => markdown::render_run(result),
        Format::Csv => match args.rows.unwrap_or_default() {
            Rows::Timeline => csv::timeline(result),
            Rows::Latency => csv::latency(result),
        },
        Format::Hgrm => distribution(&result.latency, args)?,
    })
}

fn of_capacity(result: &CapacityResult, format: Format, args: &ReportArgs) -> Result<String, CliError> {
    Ok(match format {
        Format::Text => for_people(args, |style| capacity::render(result, style)),
        Format::Json => result.to_text(),
        Format::Html => html::render_capacity(result),
        Format::Md => markdown::render_capacity(result),
        Format::Csv if args.rows.is_some() => {
            return Err(CliError::usage("--rows is for the result of a run: that of a capacity has its trials only"));
        }
        Format::Csv => csv::trials(result),
        Format::Hgrm => match &result.confirmation {
            Some(confirmation) => distribution(&confirmation.latency, args)?,
            None => {
                return Err(CliError::usage(format!(
                    "{} has no confirmation, and so no distribution: give the result of a run",
                    args.result.display()
                )));
            }
        },
    })
}

fn for_people(args: &ReportArgs, render: impl Fn(text::Style) -> String) -> String {
    let color = args.output.is_none() && args.color.on_stdout();
    output::rendered(color, |color| render(text::Style { color, width: output::width() }))
}

/// The distribution asked for: by default of what a client would have waited, as far as there is a plan.
fn distribution(latency: &LatencyTable, args: &ReportArgs) -> Result<String, CliError> {
    let there = |metric| latency.get(metric).map(|summary| (metric, summary));
    let chosen = match args.metric {
        Some(metric) => there(metric),
        None => there(Metric::Response).or_else(|| there(Metric::Service)),
    };
    let Some((_, summary)) = chosen else {
        let known: Vec<_> = Metric::ALL.into_iter().filter(|metric| latency.get(*metric).is_some()).collect();
        let known = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(CliError::usage(format!("{} has no such latency: it has {known}", args.result.display())));
    };
    hgrm::render(summary).map_err(|error| CliError::usage(format!("{}: {error}", args.result.display())))
}
