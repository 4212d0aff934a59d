//! `shakedown bench`: several targets in turn, several rounds, one table.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use clap::Parser;
use rustix::process::{Pid, Signal as Order, kill_process};

use crate::base::{DurationText, host_address, save};
use crate::bench::{BenchResult, BenchTarget, Measurement, Suite, SuiteTarget, settings};
use crate::compare::Measured;
use crate::observe::{accept_backlog, listener_of};
use crate::report::{bench as rendered, html};
use crate::run::{ExitCode, Signal, Signals};
use crate::scenario::{PlanError, TargetText, check_target};

use super::exit::{CliError, Exit};
use super::load_args::attachment;
use super::output;
use super::progress::parse_every;
use super::{Cli, Command};

/// Below the flags in the help.
pub(super) const AFTER_HELP: &str = "\
A suite names targets and the load, docs/bench.md shows one:
  shakedown bench servers.toml -o results --format md > servers.md
      Measures A B C A B C ..., keeps every result in the folder results, and
      prints the page to publish";

/// Flags of `shakedown bench`.
#[derive(clap::Args, Debug)]
pub(super) struct BenchArgs {
    /// Targets, load, variants and rounds
    #[arg(value_name = "SUITE.toml")]
    suite: PathBuf,
    /// What to print at the end
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Keep every result in this folder, and the table as bench.json, bench.md and bench.html
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// No line for each measurement
    #[arg(short, long)]
    quiet: bool,
    /// Report progress this often
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_every)]
    progress_every: DurationText,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, at the terminal's width.
    #[default]
    Text,
    /// The page to publish, in Markdown.
    Md,
    /// The page to publish, in HTML.
    Html,
    /// For programs.
    Json,
}

/// How a measurement ended.
struct Ended {
    exit_code: Option<i32>,
    measured: Result<Measured, String>,
    /// The result file's text, if there is one.
    text: Option<String>,
    interrupted: Option<Signal>,
}

/// Carries the suite out.
pub(super) fn execute(args: &BenchArgs) -> Result<Exit, CliError> {
    let suite = Suite::read(&args.suite).map_err(|error| CliError::usage(error.to_string()))?;
    super::run::check_clock()?;
    check_commands(&args.suite, &suite)?;
    let targets = suite.subjects().into_iter().map(|target| describe(&suite, target)).collect::<Result<Vec<_>, _>>()?;
    let _taken = args.output.as_deref().map(take_folder).transpose()?;
    let started_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut result = BenchResult::new(&suite, started_at, settings(), targets);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::environment(format!("no runtime for the measurements: {error}")))?;
    let mut folder = Folder { path: args.output.as_deref(), unsaved: None };
    runtime.block_on(measure(args, &suite, &mut result, &mut folder))?;
    folder.save("bench.json", &result.to_text());
    folder.save("bench.md", &rendered::markdown(&result));
    folder.save("bench.html", &html::render_bench(&result));
    output::end_by_signals();
    match if args.json { Format::Json } else { args.format } {
        Format::Json => output::print_json(&result.to_text()),
        Format::Md => output::print_rendered(&rendered::markdown(&result)),
        Format::Html => output::print_rendered(&html::render_bench(&result)),
        Format::Text => output::print(&rendered::text(&result, output::width())),
    }?;
    folder.unsaved.map_or(Ok(exit(&result)), Err)
}

/// Where results are kept.
struct Folder<'a> {
    path: Option<&'a Path>,
    /// The first file that could not be written. What can be measured and printed still is.
    unsaved: Option<CliError>,
}

impl Folder<'_> {
    fn save(&mut self, name: &str, text: &str) {
        let Some(path) = self.path else { return };
        if let Err(error) = save::save(&path.join(name), text) {
            output::tell(&format!("{error}"));
            let text = format!("{error}; give -o a folder that can be written");
            self.unsaved.get_or_insert(CliError::environment(text));
        }
    }
}

/// Makes sure that results can be kept in `folder`, and that no other suite keeps its there meanwhile.
fn take_folder(folder: &Path) -> Result<File, CliError> {
    let cannot = |error: std::io::Error| {
        let text = format!("cannot write {}: {error}; give -o a folder that can be written", folder.display());
        CliError::environment(text)
    };
    fs::create_dir_all(folder).map_err(cannot)?;
    let taken = File::open(folder).map_err(cannot)?;
    match taken.try_lock() {
        Err(TryLockError::WouldBlock) => Err(CliError::environment(format!(
            "another `shakedown bench` keeps its results in {}; give -o another folder",
            folder.display()
        ))),
        // Without locks on this file system nobody is kept away.
        Ok(()) | Err(TryLockError::Error(_)) => save::check_folder(folder).map(|()| taken).map_err(cannot),
    }
}

/// That of a signal if it was interrupted, 1 if a row has no result at all, else 0: how a target does is for the reader.
fn exit(result: &BenchResult) -> Exit {
    match result.interrupted {
        Some(signal) => ExitCode::from(signal).into(),
        None if result.missing().next().is_some() => ExitCode::CouldNotRun.into(),
        None => Exit::PASS,
    }
}

/// Every command can be read, and no target's address is refused, before the first one is started.
fn check_commands(path: &Path, suite: &Suite) -> Result<(), CliError> {
    for measurement in suite.measurements().into_iter().filter(|one| one.round == 1) {
        let words = words_of_child(&measurement, &[]);
        let refusal = match Cli::try_parse_from(std::iter::once(OsString::from("shakedown")).chain(words)) {
            Ok(cli) => public_address(&cli).map(|error| error.to_string()),
            Err(error) => {
                let told = super::without_secrets(error).render().to_string();
                Some(told.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
            }
        };
        if let Some(cause) = refusal {
            let name = suite.name(measurement.target);
            return Err(CliError::usage(format!(
                "{}: the command for '{name}' cannot be given: {cause} (`{}`)",
                path.display(),
                measurement.command_line()
            )));
        }
    }
    Ok(())
}

/// Why a command would be refused for the address that it names. What a host name stands for is for the measurement to say.
fn public_address(cli: &Cli) -> Option<PlanError> {
    let load = match &cli.command {
        Command::Run(args) => &args.load,
        Command::Capacity(args) => &args.load,
        _ => return None,
    };
    let request = load.over_scenario(load.flags().ok()?).ok()?;
    let addressed = request.targets.iter().filter_map(|target| Some((target, address_of(target)?)));
    addressed.into_iter().find_map(|(target, address)| check_target(target, address, &request.allowed).err())
}

/// What is known of a target before it is measured.
fn describe(suite: &Suite, target: Option<usize>) -> Result<BenchTarget, CliError> {
    let mut described = BenchTarget {
        name: suite.name(target).to_owned(),
        url: None,
        labels: BTreeMap::new(),
        attachments: BTreeMap::new(),
        processes: Vec::new(),
        cpus: Vec::new(),
        backlog: None,
    };
    let Some(target) = target.map(|target| &suite.targets[target]) else { return Ok(described) };
    described.url = Some(target.shown_url());
    described.labels = target.labels.clone();
    for path in &target.attach {
        described.attachments.extend([attachment(path)?]);
    }
    if let Some(address) = target.url().parse().ok().and_then(|target| address_of(&target)) {
        let listening = listener_of(address);
        described.cpus = listening.cpus();
        described.processes = listening.processes.iter().map(|one| format!("{} ({})", one.name, one.pid)).collect();
        described.backlog = accept_backlog(address);
    }
    Ok(described)
}

async fn measure(
    args: &BenchArgs,
    suite: &Suite,
    result: &mut BenchResult,
    folder: &mut Folder<'_>,
) -> Result<(), CliError> {
    let measurements = suite.measurements();
    let tell = |line: &str| {
        if !args.quiet {
            output::tell(line);
        }
    };
    tell(&format!(
        "{} measurements: {} targets in turn, {} rounds",
        measurements.len(),
        suite.subjects().len(),
        suite.rounds
    ));
    let no_signals = |error| CliError::environment(format!("signals cannot be received: {error}"));
    let mut signals = Signals::new().map_err(no_signals)?;
    // What is refused once is refused again.
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    for (index, measurement) in measurements.iter().enumerate() {
        let name = suite.name(measurement.target);
        let at = format!("{}/{} {name} {}", index + 1, measurements.len(), measurement.variant);
        if let Some(why) = refused.get(&measurement.row) {
            result.add(measurement, Some(i32::from(Exit::from(ExitCode::Usage).0)), Err(why.clone()));
            continue;
        }
        if index > 0 {
            result.interrupted = signal_within(&mut signals, suite.pause()).await;
            if result.interrupted.is_some() {
                break;
            }
        }
        let labels = measurement.target.map(|target| &suite.targets[target]).into_iter().flat_map(labels);
        let began = tokio::time::Instant::now();
        let goes_on = || tell(&format!("{}: measured for {} s", at.trim_end(), began.elapsed().as_secs()));
        let beat = Beat { every: args.progress_every.0, goes_on: &goes_on };
        let ended = one(measurement, &labels.collect::<Vec<_>>(), &mut signals, &beat).await?;
        if let Some(text) = &ended.text {
            folder.save(&file_name(index, name, measurement), text);
        }
        tell(&format!("{}: {}", at.trim_end(), told(&ended)));
        if let (Some(2), Err(why)) = (ended.exit_code, &ended.measured) {
            refused.insert(measurement.row, why.clone());
        }
        result.interrupted = ended.interrupted;
        result.add(measurement, ended.exit_code, ended.measured);
        if result.interrupted.is_some() {
            break;
        }
    }
    Ok(())
}

/// What is said while a measurement goes on.
struct Beat<'a> {
    every: Duration,
    goes_on: &'a dyn Fn(),
}

/// One measurement, in a process of its own. A signal goes on to it, and what it then gives is kept.
async fn one(
    measurement: &Measurement,
    labels: &[OsString],
    signals: &mut Signals,
    beat: &Beat<'_>,
) -> Result<Ended, CliError> {
    let cannot_start = |error| CliError::environment(format!("cannot start a measurement: {error}"));
    let mut command = std::process::Command::new(std::env::current_exe().map_err(cannot_start)?);
    command
        .args(words_of_child(measurement, labels))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Out of the terminal's group: Ctrl-C reaches it through us, once.
    command.process_group(0);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(cannot_start)?;
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    let mut output = pin!(child.wait_with_output());
    let mut interrupted = None;
    let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + beat.every, beat.every);
    loop {
        tokio::select! {
            _ = beats.tick() => (beat.goes_on)(),
            output = &mut output => return Ok(ended(output.map_err(cannot_start)?, interrupted)),
            received = signals.next() => {
                interrupted = interrupted.or(Some(received));
                let order = match received {
                    Signal::Interrupt => Order::INT,
                    Signal::Terminate => Order::TERM,
                    Signal::Hangup => Order::HUP,
                };
                // If it is gone already, its output comes next.
                let _ = pid.map(|pid| kill_process(pid, order));
            }
        }
    }
}

fn ended(output: Output, interrupted: Option<Signal>) -> Ended {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let exit_code = output.status.code();
    let measured = if text.trim().is_empty() {
        let said = errors.lines().rev().find(|line| !line.trim().is_empty());
        Err(said.map_or_else(
            || format!("it ended without a result ({})", output.status),
            |line| line.trim_start_matches("error: ").to_owned(),
        ))
    } else {
        Measured::parse(&text, Path::new("its output")).map_err(|error| error.to_string())
    };
    let text = measured.is_ok().then_some(text);
    Ended { exit_code, measured, text, interrupted }
}

/// The measurement's words, and those that make it speak to a program.
fn words_of_child(measurement: &Measurement, labels: &[OsString]) -> Vec<OsString> {
    let words = measurement.words.iter().map(OsString::from);
    words.chain(labels.iter().cloned()).chain(["--json", "--quiet"].map(OsString::from)).collect()
}

/// A target's labels and attachments go with its results.
fn labels(target: &SuiteTarget) -> Vec<OsString> {
    let name = std::iter::once(("target", target.name.as_str()));
    let labels = target.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let labels = name.chain(labels).flat_map(|(key, value)| ["--label".into(), format!("{key}={value}").into()]);
    let attached = target.attach.iter().flat_map(|path| ["--attach".into(), path.clone().into_os_string()]);
    labels.chain(attached).collect()
}

/// The address of a target that is given by one: names are looked up by the measurements alone.
fn address_of(target: &TargetText) -> Option<SocketAddr> {
    host_address(&target.host).map(|ip| SocketAddr::new(ip, target.port))
}

fn told(ended: &Ended) -> String {
    match &ended.measured {
        Err(why) => why.clone(),
        Ok(measured) => {
            let values: Vec<_> = measured
                .readings
                .iter()
                .filter_map(|reading| {
                    Some(format!("{} {}", reading.metric, rendered::told(reading.unit, reading.value?)))
                })
                .collect();
            let remark = measured.nothing.as_deref().or(measured.limited);
            let limited = remark.map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{}{limited}", values.join(", "))
        }
    }
}

/// Where a result is kept: in the order of the measurements.
fn file_name(index: usize, name: &str, measurement: &Measurement) -> String {
    let variant = &measurement.variant;
    let parts = [Some(name.to_owned()), variant.mode.clone(), variant.until.clone(), variant.close.clone()];
    let safe = |part: String| -> String {
        part.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
    };
    let parts: Vec<_> = parts.into_iter().flatten().map(safe).collect();
    format!("{:03}-{}-round-{}.json", index + 1, parts.join("-"), measurement.round)
}

/// The signal that comes within `pause`, if one does.
async fn signal_within(signals: &mut Signals, pause: Duration) -> Option<Signal> {
    tokio::time::timeout(pause, signals.next()).await.ok()
}
