//! `shakedown capacity`: how many handshakes a second a target takes, and how sure that is.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::{DurationText, Nanos, Rate, rate_text};
use crate::capacity::{
    Audience, CapacityError, CapacityRequest, CapacityResult, ControlRequest, Deadline, Find, FleetRequest,
    GoalRequest, Runner, TrialProgress, TrialRow, measure, share,
};
use crate::fleet::Progress;
use crate::io::Engine;
use crate::load::Reconnect;
use crate::protocol::ClientProfile;
use crate::report::{capacity as report, text, wrapped};
use crate::run::{Interruption, Notice};
use crate::scenario::{Machine, Request, TargetText, resolve};
use crate::sink::{Sink, SinkPlan};

use super::exit::{CliError, Exit};
use super::load_args::LoadArgs;
use super::output::{self, Saving};
use super::progress::{Lines, ProgressArgs};
use super::{lookup, run};

/// Below the flags in the help of `capacity`.
pub(super) const AFTER_HELP: &str = "\
Examples:
  shakedown capacity rtmp://10.0.0.5/live
      The highest rate at which 99.5 % of the handshakes complete within 100 ms,
      found within 5 minutes and confirmed for 60 s
  shakedown capacity rtmp://10.0.0.5/live --need 8k/s
      A yes or no before an event; never offers more than 1.2 times the need
  shakedown capacity rtmp://10.0.0.5/live --fleet 20000 --recover-in 30s
      The same for a fleet that has lost its connections
  shakedown capacity rtmp://127.0.0.1/live --mode simple --observe pid:4711
  shakedown capacity rtmp://10.0.0.5/live --find concurrent

An attempt is lost when it fails, or completes later than the deadline after its
intended start. Attempts wait for the server's answer after C2 (--until reply),
which calls its on_connect hook: load a server only if it is yours.

Exit codes:
  0         the capacity is found, or the need is met
  1         could not run, or nothing completed because of this machine's limits
  2         the command line cannot be carried out
  3         the need is missed, a condition was missed, or there is no capacity
  4         cannot be told: the generator was the limit, or trials contradict
  5         nothing completed: the target or the network failed
  130, 143  ended by SIGINT or SIGTERM; what was known is reported and saved
  129       likewise, by SIGHUP: its terminal or connection is gone";

/// Flags of `shakedown capacity`.
#[derive(clap::Args, Debug)]
pub(super) struct CapacityArgs {
    /// What to look for
    #[arg(long, value_enum, default_value_t, help_heading = "Search")]
    find: FindArg,
    /// An attempt is lost when it completes later than this after its intended start; +T: over the unloaded median
    /// [default: 100ms]
    #[arg(long, value_name = "T|+T", allow_hyphen_values = true, help_heading = "Search")]
    deadline: Option<Deadline>,
    /// What may be lost, such as strict=0.001%; the first one is the headline [default: slo=0.5%]
    #[arg(long, value_name = "NAME=LOSS", help_heading = "Search")]
    goal: Vec<GoalRequest>,
    /// Time for everything, baseline and confirmation included [default: 5m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = "Search")]
    budget: Option<DurationText>,
    /// Offer no more than this
    #[arg(long, value_name = "RATE", allow_hyphen_values = true, help_heading = "Search")]
    max_rate: Option<Rate>,
    /// Length of the trials that decide [default: 8s, four deadlines if that is longer]
    #[arg(long, value_name = "DURATION", help_heading = "Search")]
    trial: Option<DurationText>,
    /// The search ends when its bounds are this close [default: 1%]
    #[arg(long, value_name = "PERCENT", value_parser = parse_width, help_heading = "Search")]
    width: Option<f64>,
    /// Length of the confirmation [default: 60s, a fifth of a shorter budget; longer at low rates]
    #[arg(long, value_name = "DURATION", help_heading = "Search")]
    confirm: Option<DurationText>,
    /// Length of the warm-up before trials that decide [default: until the target is steady, at most 60s]
    #[arg(short, long, value_name = "DURATION", help_heading = "Search")]
    warmup: Option<DurationText>,
    /// Resume the search in this file, and save it there unless -o names another
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    resume: Option<PathBuf>,
    /// Judge by RFC 9411: the goal strict, FIN close, 300 s
    #[arg(long, help_heading = "Search")]
    rfc9411: bool,

    /// Answer whether the target can take this rate, instead of searching
    #[arg(long, value_name = "RATE", allow_hyphen_values = true, help_heading = "Qualification")]
    need: Option<Rate>,
    /// Factor by which the offered rate exceeds the need [default: 1.2]
    #[arg(long, value_name = "FACTOR", help_heading = "Qualification")]
    margin: Option<f64>,
    /// Derive the need from this many clients that have lost their connections
    #[arg(long, value_name = "CLIENTS", requires = "recover_in", value_parser = clap::value_parser!(u32).range(1..),
          allow_negative_numbers = true, help_heading = "Qualification")]
    fleet: Option<u32>,
    /// Time within which all of them must be back
    #[arg(long, value_name = "DURATION", requires = "fleet", help_heading = "Qualification")]
    recover_in: Option<DurationText>,
    /// How they reconnect: obs, nginx-rtmp or 'flat 3s' [default: as the clients do, else obs]
    #[arg(long, value_name = "RULE", requires = "fleet", help_heading = "Qualification")]
    reconnect: Option<Reconnect>,

    /// Measure the generator's ceiling against this sink on the same path [default: the built-in sink here]
    #[arg(long, value_name = "TARGET", conflicts_with = "no_control", help_heading = "Evidence")]
    control: Option<TargetText>,
    /// Do not measure the generator's ceiling
    #[arg(long, help_heading = "Evidence")]
    no_control: bool,

    #[command(flatten)]
    pub(super) load: LoadArgs,

    #[arg(short = 'R', long = "rate", hide = true, allow_hyphen_values = true)]
    rate: Option<String>,
    #[arg(short = 'd', long = "duration", hide = true, allow_hyphen_values = true)]
    duration: Option<String>,
    #[arg(short = 'n', long = "attempts", hide = true, allow_hyphen_values = true)]
    attempts: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FindArg {
    /// Attempts per second.
    #[default]
    Rate,
    /// Connections held at once.
    Concurrent,
}

fn parse_width(text: &str) -> Result<f64, String> {
    share(text)
        .filter(|width| (0.001..=0.5).contains(width))
        .ok_or_else(|| format!("'{text}' is no width: write 0.1% to 50%, for example 1%"))
}

impl CapacityArgs {
    /// What a capacity search decides itself.
    fn refuse_load(&self) -> Result<(), CliError> {
        for (flag, given, instead) in [
            ("-R", &self.rate, "--max-rate to limit them, --need to ask about one"),
            ("-d", &self.duration, "--budget for everything, --trial and --confirm for the parts"),
            ("-n", &self.attempts, "--budget for everything, --trial and --confirm for the parts"),
        ] {
            if given.is_some() {
                return Err(CliError::usage(format!(
                    "`capacity` chooses the rates and lengths of its trials, so {flag} has nothing to say; use {instead}, or \
                     `run`"
                )));
            }
        }
        Ok(())
    }

    fn request(&self, load: Request) -> Result<CapacityRequest, CliError> {
        let nanos = |length: Option<DurationText>| length.map(|length| Nanos::from(length.0));
        let resume = match &self.resume {
            None => None,
            Some(path) => {
                let result = CapacityResult::read(path).map_err(|error| CliError::usage(error.to_string()))?;
                Some((path.display().to_string(), Box::new(result)))
            }
        };
        if let Some(margin) = self.margin
            && !(margin.is_finite() && margin >= 1.0)
        {
            return Err(CliError::usage(format!(
                "--margin {margin} is below the need itself; write 1 or more, for example 1.2"
            )));
        }
        let fleet = self.fleet.zip(self.recover_in).map(|(clients, recover_in)| FleetRequest {
            clients,
            recover_in: recover_in.0.into(),
            reconnect: self.reconnect.unwrap_or_else(|| reconnect_of(&load)),
        });
        let saved_as = self.saves_to().map(|path| path.display().to_string());
        let request = CapacityRequest {
            load,
            built_in_sink: false,
            find: match self.find {
                FindArg::Rate => Find::Rate,
                FindArg::Concurrent => Find::Concurrent,
            },
            deadline: self.deadline,
            goals: self.goal.clone(),
            need: self.need,
            margin: self.margin,
            fleet,
            max_rate: self.max_rate,
            trial: nanos(self.trial),
            width: self.width,
            confirm: nanos(self.confirm),
            warmup: nanos(self.warmup),
            budget: nanos(self.budget),
            control: match &self.control {
                _ if self.no_control => ControlRequest::Skip,
                Some(target) => ControlRequest::Target(Box::new(target.clone())),
                None => ControlRequest::BuiltInSink,
            },
            observe: self.load.observe.clone(),
            resume,
            saved_as,
            rfc9411: self.rfc9411,
            labels: self.load.labels()?,
        };
        Ok(request.completed_from_file()?)
    }

    /// Where the result goes.
    fn saves_to(&self) -> Option<&Path> {
        self.load.output.as_deref().or(self.resume.as_deref())
    }
}

/// How the clients that were asked for come back, if one of their programs has a rule.
fn reconnect_of(load: &Request) -> Reconnect {
    let mut clients = load.clients.iter().chain(load.populations.iter().flat_map(|population| &population.clients));
    match clients.find(|client| matches!(client.profile, ClientProfile::Obs | ClientProfile::NginxRtmp)) {
        Some(client) if client.profile == ClientProfile::NginxRtmp => Reconnect::NginxRtmp,
        _ => Reconnect::Obs,
    }
}

/// Carries the command out.
pub(super) fn execute(args: &CapacityArgs) -> Result<Exit, CliError> {
    args.refuse_load()?;
    let machine = Machine::detect();
    let load = args.load.over_scenario(args.load.flags()?)?;
    let mut request = args.request(load)?;
    let engine = request.load.engine();
    let saving = Saving::reserve(args.saves_to())?;
    read_pipes(&request.load, &machine);
    let interruption = Interruption::by_signals().map_err(|error| CliError::environment(error.to_string()))?;
    let mut stage = Stage::new(&args.load, request.resumed().map_or(0, |resumed| resumed.trials.len()));
    let result = match engine {
        Engine::Sim => {
            let mut runner = Runner::simulated(interruption);
            measure(&request, machine, &lookup::in_the_simulation, &mut runner, &mut stage)
        }
        Engine::IoUring | Engine::Epoll => {
            run::raise_descriptor_limit();
            run::check_descriptors()?;
            run::check_clock()?;
            let mut runner = Runner::on_sockets(engine, interruption)?;
            let (sink, machine) = built_in_sink(&mut request, machine)?;
            let result = measure(&request, machine, &lookup::on_the_network, &mut runner, &mut stage);
            if let Some(sink) = sink {
                sink.stop();
            }
            result
        }
    };
    stage.bar.finish_and_clear();
    let result = result?;
    let render = |color| report::render(&result, text::Style { color, width: output::width() });
    args.load.deliver(saving, &result.to_text(), || output::rendered(args.load.color.on_stdout(), render))?;
    Ok(result.exit_code().into())
}

/// Reads the pipes among a plan's files before signals are taken over: their writers may let us wait. What is wrong with
/// the plan is said later.
fn read_pipes(load: &Request, machine: &Machine) {
    let keys = load.populations.iter().map(|population| &population.stream_keys);
    let mut files = [&load.stream_keys, &load.media, &load.tls.ca].into_iter().chain(keys).flatten();
    if files.any(|file| !file.is_file()) {
        let _plan = resolve(load, machine, &|host, port| Ok(vec![lookup::stand_in(host, port, load.family)]));
    }
}

/// Without a target the built-in sink is it, on one half of the cores.
fn built_in_sink(request: &mut CapacityRequest, machine: Machine) -> Result<(Option<Sink>, Machine), CliError> {
    let load = &mut request.load;
    let targets = load.populations.iter().any(|population| !population.targets.is_empty());
    if !load.targets.is_empty() || targets {
        return Ok((None, machine));
    }
    let workers = match &load.cpus {
        Some(list) => list.as_slice().to_vec(),
        None => {
            let half = (machine.workers() / 2).max(1);
            machine.topology.cpus().into_iter().take(half as usize).collect()
        }
    };
    let cpus = machine.topology.apart_from(&workers);
    /// As many as trials against a sink on this machine can use.
    const SLOTS: u32 = 65_536;
    let seed = load.seed.unwrap_or_else(crate::base::Seed::random);
    let sink =
        Sink::start(SinkPlan::for_load(load.engine(), SLOTS.min(machine.descriptors), cpus, machine.descriptors, seed))
            .map_err(|error| CliError::environment(error.to_string()))?;
    load.targets = vec![format!("rtmp://{}/live", sink.address()).parse()?];
    request.built_in_sink = true;
    Ok((Some(sink), machine.only(&workers)))
}

impl From<CapacityError> for CliError {
    fn from(error: CapacityError) -> Self {
        match error {
            CapacityError::Usage(text) => Self::usage(text),
            CapacityError::Environment(text) => Self::environment(text),
        }
    }
}

/// Shows on stderr how the search goes: a line a trial, and a bar while one runs.
struct Stage {
    bar: ProgressBar,
    lines: Lines,
    quiet: bool,
    /// Trials so far, those of a resumed search among them.
    trials: usize,
}

impl Stage {
    fn new(args: &LoadArgs, trials: usize) -> Self {
        let ProgressArgs { quiet, progress_every, .. } = args.progress;
        let hidden = args.progress.is_hidden();
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        let template = if args.color.on_stderr() { "[{bar:20.cyan}] {wide_msg}" } else { "[{bar:20}] {wide_msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, lines: Lines::new(progress_every, hidden), quiet, trials }
    }

    fn tell(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| output::tell(line));
        }
    }
}

impl Audience for Stage {
    fn say(&mut self, line: &str) {
        self.tell(wrapped(line, output::width()).trim_end());
    }

    fn progress(&mut self, trial: TrialProgress, progress: &Progress) {
        let TrialProgress { purpose, rate_per_s, elapsed, length } = trial;
        self.bar.set_length(length.as_u64() / 1_000_000);
        self.bar.set_position(elapsed.min(length).as_u64() / 1_000_000);
        let message = format!(
            "{} at {}  {:.1}s of {:.1}s  {} completed  {} failed",
            purpose.plural(1),
            rate_text(rate_per_s),
            elapsed.min(length).as_secs_f64(),
            length.as_secs_f64(),
            progress.completed,
            progress.failed
        );
        if self.lines.is_due() {
            output::tell(&format!("     {message}"));
        }
        self.bar.set_message(message);
    }

    fn notice(&mut self, notice: &Notice) {
        let line = match notice {
            Notice::Stopping(signal, _) => format!("{}: what is known so far follows", signal.participle()),
            Notice::Tripped(trip) => format!("{}: the trial is ended", trip.text),
            Notice::Abandoning => "stopping at once".to_owned(),
            Notice::Refused => "every target refuses every connection".to_owned(),
        };
        self.tell(&line);
    }

    fn trial(&mut self, row: &TrialRow) {
        self.trials += 1;
        self.tell(&format!("{:>3}  {}", self.trials, report::trial_line(row)));
    }
}
