//! `shakedown completions` and `shakedown man`: what a shell and `man` want to know.

use std::error::Error;
use std::ffi::OsStr;
use std::sync::LazyLock;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::exit::{CliError, Exit};
use super::output;
use crate::measure::Metric;
use crate::protocol::ClientProfile;
use crate::scenario::ClientRequest;

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
    output::print_rendered(&String::from_utf8_lossy(&script))?;
    Ok(Exit::PASS)
}

/// Reads a value as its type does, and offers names to completions: values that begin so, not the only ones.
#[derive(Clone)]
pub(super) struct Offering<T> {
    names: fn() -> Vec<&'static str>,
    read: fn(&str) -> Result<T, Box<dyn Error + Send + Sync>>,
}

impl Offering<ClientRequest> {
    /// The names of clients.
    pub(super) fn clients() -> Self {
        Self { names: || ClientProfile::ALL.map(ClientProfile::name).into(), read: |text| Ok(text.parse()?) }
    }
}

impl Offering<String> {
    /// What a condition can be on.
    pub(super) fn conditions() -> Self {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let shares = ["failed", "dropped", "downgraded", "rate", "outage"].map(str::to_owned);
            let latencies = Metric::ALL.into_iter().flat_map(|metric| {
                ["mean", "p50", "p90", "p99", "p99.9", "max"].map(|statistic| format!("{metric}.{statistic}"))
            });
            shares.into_iter().chain(latencies).collect()
        });
        Self { names: || NAMES.iter().map(String::as_str).collect(), read: |text| Ok(text.to_owned()) }
    }
}

impl Offering<Metric> {
    /// A latency by its name.
    pub(super) fn metrics() -> Self {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| Metric::ALL.iter().map(ToString::to_string).collect());
        Self {
            names: || NAMES.iter().map(String::as_str).collect(),
            read: |text| {
                let metric = Metric::ALL.into_iter().zip(NAMES.iter()).find(|(_, name)| *name == text);
                metric.map(|(metric, _)| metric).ok_or_else(|| format!("one of {}", NAMES.join(", ")).into())
            },
        }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Offering<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        self.read.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.names)().into_iter().map(PossibleValue::new)))
    }
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
    let page =
        page(command).map_err(|error| CliError::environment(format!("cannot render the manual page: {error}")))?;
    output::print_rendered(&String::from_utf8_lossy(&page))?;
    Ok(Exit::PASS)
}

fn page(mut command: Command) -> std::io::Result<Vec<u8>> {
    let below = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // clap_mangen would fill the lines of examples and tables as it fills prose.
    command = command.after_help(None);
    let (has_commands, has_version) = (command.has_subcommands(), command.get_version().is_some());
    let man = Man::new(command).source(concat!("shakedown ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    as_it_stands(&below).to_writer(&mut page)?;
    if has_version {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

/// What stands below the flags in the help, line by line: 80 columns wide, so from the margin on. Paragraphs that begin
/// with a short heading are sections.
fn as_it_stands(text: &str) -> Roff {
    const LONGEST_HEADING: usize = 20;
    let mut roff = Roff::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let mut lines = paragraph.lines().peekable();
        let heading = lines.peek().and_then(|line| line.strip_suffix(':'));
        match heading.filter(|heading| heading.len() <= LONGEST_HEADING) {
            Some(heading) => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                lines.next();
            }
            None => {
                roff.control("PP", []);
            }
        }
        roff.control("in", ["0"]).control("nf", []);
        lines.for_each(|line| {
            roff.text([roman(line)]);
        });
        roff.control("fi", []).control("in", []);
    }
    roff
}
