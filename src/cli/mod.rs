//! The command line: clap types, one file a command, exit codes.

mod announce;
mod bench;
mod built_in_sink;
mod capacity;
mod check;
mod choice;
mod compare;
mod cpus;
mod doctor;
mod exit;
mod inspect;
mod load_args;
mod lookup;
mod merge;
mod output;
mod probe;
mod progress;
mod report;
mod run;
mod shell;
mod sink;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};

use crate::base::{REDACTED, redact_repeated, redact_url, visible};
use exit::CliError;

/// RTMP handshake load generator: open-loop load, exact latencies, one report that says whether to believe it.
#[derive(Parser, Debug)]
#[command(name = "shakedown", version = VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Version and commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SHAKEDOWN_COMMIT"), ")");

#[derive(Subcommand, Debug)]
enum Command {
    /// Generate load and print one report
    #[command(after_help = run::AFTER_HELP)]
    Run(Box<run::RunArgs>),
    /// Find how many handshakes per second a target can take, or whether it can take enough
    #[command(after_help = capacity::AFTER_HELP)]
    Capacity(Box<capacity::CapacityArgs>),
    /// Print the effective plan of a scenario, without traffic
    Check(check::CheckArgs),
    /// Make one connection and explain every step, as far as --until asks
    Probe(probe::ProbeArgs),
    /// Run the built-in target
    Sink(sink::SinkArgs),
    /// Render a saved result again
    Report(report::ReportArgs),
    /// Merge the results of several machines exactly
    Merge(merge::MergeArgs),
    /// Compare results, and say whether they differ by more than noise
    #[command(after_help = compare::AFTER_HELP)]
    Compare(compare::CompareArgs),
    /// Measure several targets in turn, several rounds, for one table
    #[command(after_help = bench::AFTER_HELP)]
    Bench(bench::BenchArgs),
    /// Explain recorded handshakes and sessions: a capture, or raw streams
    Inspect(inspect::InspectArgs),
    /// Check whether this machine can generate load, and say what to change
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions(shell::CompletionsArgs),
    /// Print a manual page: shakedown man run | man -l -
    Man(shell::ManArgs),
}

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    crate::io::survive_file_size_limit();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error = with_visible_words(without_secrets(error));
            if error.use_stderr() {
                // Without clap's colours: it takes those in the words of others for its own.
                output::tell(without_written_secrets(&error.render().to_string()).trim_end());
            } else {
                // Help and version hold no words of others; a closed pipe under them ends quietly.
                let _ = error.print();
            }
            return std::process::ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match &cli.command {
        Command::Run(args) => run::execute(args),
        Command::Capacity(args) => capacity::execute(args),
        Command::Check(args) => check::execute(args),
        Command::Probe(args) => probe::execute(args),
        Command::Sink(args) => sink::execute(args),
        Command::Report(args) => report::execute(args),
        Command::Merge(args) => merge::execute(args),
        Command::Compare(args) => compare::execute(args),
        Command::Bench(args) => bench::execute(args),
        Command::Inspect(args) => inspect::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Completions(args) => shell::completions(args, &mut Cli::command()),
        Command::Man(args) => shell::manual(args, Cli::command()),
    };
    match done {
        Ok(exit) => std::process::ExitCode::from(exit.0),
        Err(CliError { exit, message }) => {
            output::tell(&format!("error: {}", visible(&without_written_secrets(&message))));
            std::process::ExitCode::from(exit.0)
        }
    }
}

/// An error about the command line repeats its words: not the keys and tokens in targets and in names of streams.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let flag = text(&error, ContextKind::InvalidArg).unwrap_or_default();
    let may_hold_keys = flag.starts_with("--stream ") || flag.starts_with("--app ");
    let is_value = error.get(ContextKind::InvalidValue).is_some();
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        let Some(text) = text(&error, kind) else { continue };
        let shown = match kind {
            ContextKind::InvalidValue if may_hold_keys && !text.is_empty() => REDACTED.to_owned(),
            ContextKind::InvalidValue if flag.starts_with("--reject ") => without_pattern(&text),
            ContextKind::InvalidValue if flag.contains("TARGET") => redact_url(&text),
            ContextKind::InvalidArg if is_value || text.contains('<') => continue,
            ContextKind::InvalidArg | ContextKind::InvalidSubcommand => redact_url(&text),
            _ => continue,
        };
        error.insert(kind, ContextValue::String(shown));
    }
    error
}

/// An error about the command line shows its words as what they are; clap would leave out sequences that a terminal acts
/// upon.
fn with_visible_words(mut error: clap::Error) -> clap::Error {
    let shown = |(kind, value): (_, &_)| match value {
        ContextValue::String(word) => Some((kind, visible(word).into_owned())),
        _ => None,
    };
    let words: Vec<_> = error.context().filter_map(shown).collect();
    for (kind, word) in words {
        error.insert(kind, ContextValue::String(word));
    }
    error
}

/// A rule of the sink without the names of streams that it fits.
fn without_pattern(rule: &str) -> String {
    match rule.split_once("name=") {
        Some((request, rest)) => {
            let refusal = rest.rsplit_once(':').map_or("", |(_, refusal)| refusal);
            let colon = if rest.contains(':') { ":" } else { "" };
            format!("{request}name={REDACTED}{colon}{refusal}")
        }
        None => rule.to_owned(),
    }
}

/// A message that may repeat words of this command line, without the keys and tokens in them.
fn without_written_secrets(message: &str) -> String {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    redact_repeated(message, words.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_the_command_line_repeat_no_secret() {
        for (words, shown) in [
            ("run rtmp://h:99999/live/S3CRET?token=S3CRET", "'rtmp://h:99999/live/***?***'"),
            ("run --canary http://h/live/S3CRET", "'http://h/live/***'"),
            ("run h:1935/live/S3CRET?token=S3CRET", "'h:1935/***?***'"),
            ("run live/S3CRET", "'live/***'"),
            ("run rtmp:/h/live/S3CRET", "'rtmp:/***'"),
            ("rtmp://h/live/S3CRET", "'rtmp://h/live/***'"),
            ("live/S3CRET", "'live/***'"),
            ("sink --reject publish:name=S3CRET:no", "'publish:name=***:no'"),
            ("sink --reject publish:name=S3CRET", "'publish:name=***'"),
            ("run --stream S3CRET{idd}", "did you mean {id}?"),
            ("run --stream=S3CRET{", "'***' for '--stream <NAME>'"),
            ("run --app live?S3CRET{id}", "'***' for '--app <APP>'"),
            ("probe 127.0.0.1:1 rtmp://h/live/S3CRET", "'rtmp://h/live/***'"),
            ("check a.toml rtmp://h/live/S3CRET.toml", "'rtmp://h/live/***'"),
        ] {
            let error = Cli::try_parse_from(["shakedown"].into_iter().chain(words.split(' '))).unwrap_err();
            let told = without_secrets(error).render().to_string();
            assert!(told.contains(shown) && !told.contains("S3CRET"), "{told}");
        }
    }
}
