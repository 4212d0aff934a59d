//! `shakedown run`: generate load, print one report.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::{DurationText, RateRange};
use crate::io::Engine;
use crate::load::Share;
use crate::observe::{self, Observer};
use crate::report::{json, text};
use crate::run::{Conduct, ControlRuntime, ExitCode, Interruption, Ran, Resolver, RunPlan, RunResult, preflight};
use crate::scenario::{Machine, Request, Resolved, check_prospects, resolve};
use crate::sink::Sink;

use super::exit::{CliError, Exit};
use super::load_args::LoadArgs;
use super::output::{self, Saving};
use super::progress::Progress;
use super::{announce, built_in_sink, lookup};

/// Below the flags in the help of `run`.
pub(super) const AFTER_HELP: &str = "\
Examples:
  shakedown run
      A first look: the built-in sink, 64 connections at a time, 10 seconds
  shakedown run rtmp://10.0.0.5/live -R 2k -d 9s --threshold 'response.p99<50ms'
      Open loop: 2000 handshakes a second, whatever the server does
  shakedown run 10.0.0.5:1935 -R 0:500 -d 1m --hold forever -o result.json
      A ramp of clients that stay
  shakedown run 10.0.0.5:1935 -R 50 -d 1m --until publish --hold 5m --drain
      Encoders that publish streams of their own, on air for 5 minutes each;
      without --drain the end of the load would take them off the air

Conditions are [SCOPE.]METRIC OP VALUE [in WINDOW], OP one of < <= > >=:
  response.p99<50ms   also service connect tls s0s1 s2 reply app_connect publish
                      first_frame confirm slot_wait lateness, each with min mean
                      p50 to p99.99 max
  failed<1%           also dropped downgraded: shares of the attempts due
  lost<1%             lost while held, a share of the connections held
  stalled<1%          publishers held that could not send for 2 s; unsent: the
                      share of the media due that never left
  rate>=19k/s         completed per second
  outage<10s          the longest time in which nothing completed
  failed<1% in 1m     in every window of 1s to 1h; so too lost dropped rate
                      response
  encoders.failed<1%  of a population; also stage:NAME. target:HOST. client:NAME
  failed>5% for 5s    of --abort-if: failed lost dropped rate response outage,
                      in each of so many seconds

Attempts that go on after the handshake (--until) call the target's hooks, as
on_connect and on_publish: load them only if they are yours.

Exit codes:
  0         as asked; failures without a condition on them are in the report
  1         could not run, or nothing completed because of this machine's limits
  2         the command line cannot be carried out
  3         a condition was missed, --abort-if or --canary ended the load, or
            nothing completed of a whole target, population or kind of client
  4         cannot be told: the generator was the limit, samples are too few, or
            no hostile client got a connection
  5         nothing completed: the target or the network failed
  130, 143  ended by SIGINT or SIGTERM; the report is of what was measured
  129       likewise, by SIGHUP: its terminal or connection is gone";

/// Flags of `shakedown run`.
#[derive(clap::Args, Debug)]
pub(super) struct RunArgs {
    /// Open loop at this rate, such as 20k, 1.5k/s or 600/m; A:B ramps over -d
    #[arg(short = 'R', long, value_name = "RATE", allow_negative_numbers = true, help_heading = "Load")]
    rate: Option<RateRange>,
    /// End the load after this long [default: 10s when -n is not given]
    #[arg(short, long, value_name = "DURATION", help_heading = "Load")]
    duration: Option<DurationText>,
    /// End the load after this many due attempts
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, help_heading = "Load")]
    attempts: Option<u64>,
    /// Load before the measured load, left out of the totals [default: 0s]
    #[arg(short, long, value_name = "DURATION", help_heading = "Load")]
    warmup: Option<DurationText>,
    /// This machine's part of the arrivals, such as 0/3
    #[arg(long, value_name = "I/N", help_heading = "Load")]
    share: Option<Share>,
    /// Begin at this instant (RFC 3339)
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    start_at: Option<String>,

    #[command(flatten)]
    pub(super) load: LoadArgs,
}

impl RunArgs {
    fn request(&self) -> Result<Request, CliError> {
        let flags = Request {
            rate: self.rate,
            duration: self.duration.map(|duration| duration.0),
            attempts: self.attempts,
            warmup: self.warmup.map(|warmup| warmup.0),
            share: self.share,
            start_at: self.start_at.clone(),
            ..self.load.flags()?
        };
        self.load.over_scenario(flags)
    }

    fn begins_at(&self) -> Result<Option<SystemTime>, CliError> {
        let Some(text) = &self.start_at else { return Ok(None) };
        let at = humantime::parse_rfc3339_weak(text).map_err(|error| {
            CliError::usage(format!(
                "--start-at '{text}' is not an instant ({error}); write it like 2026-01-31T18:00:00Z"
            ))
        })?;
        if at <= SystemTime::now() {
            return Err(CliError::usage(format!("--start-at {text} has passed; give an instant in the future")));
        }
        Ok(Some(at))
    }
}

/// Carries the command out.
pub(super) fn execute(args: &RunArgs) -> Result<Exit, CliError> {
    let machine = Machine::detect();
    let start_at = args.begins_at()?;
    let labels = args.load.labels()?;
    let request = args.request()?;
    let Resolved { mut plan, notes } = match request.engine() {
        Engine::IoUring | Engine::Epoll => resolve(&request, &machine, &lookup::on_the_network)?,
        Engine::Sim => resolve(&request, &machine, &lookup::in_the_simulation)?,
    };
    check_local(&request, &plan)?;
    check_prospects(&request, &plan)?;
    crate::run::check_room(&plan).map_err(|error| CliError::environment(error.to_string()))?;
    let observer = observer(&args.load.observe, plan.engine)?;
    let saving = Saving::reserve(args.load.output.as_deref())?;
    let (family, allowed) = (request.family, request.allowed.clone());
    let resolver = Resolver::new(move |target| lookup::again(target, family, &allowed));
    let conduct = Conduct { keep_going: args.load.keep_going, start_at, resolver: Some(resolver), observer };
    let (result, broken) = match plan.engine {
        Engine::Sim => {
            let interruption = Interruption::by_signals().map_err(|error| CliError::environment(error.to_string()))?;
            announce(args, &plan, &notes, None);
            let mut progress = Progress::new(&plan, &args.load.progress, args.load.color);
            let ran = crate::run::simulate_watched(Arc::new(plan), conduct.keep_going, &interruption, &mut progress);
            progress.finish();
            (finish(ran.parts, labels), ran.broken)
        }
        Engine::IoUring | Engine::Epoll => {
            raise_descriptor_limit();
            check_descriptors()?;
            check_clock()?;
            let runtime =
                ControlRuntime::beside(plan.engine).map_err(|error| CliError::environment(error.to_string()))?;
            let sink = plan.built_in_sink.then(|| built_in_sink::start(&mut plan, &machine)).transpose()?;
            announce(args, &plan, &notes, start_at);
            let ran = runtime.block_on(on_sockets(args, plan, conduct, sink))?;
            (finish(ran.parts, labels), ran.broken)
        }
    };
    let render = |color| text::render(&result, text::Style { color, width: output::width() });
    let text = || output::rendered(args.load.color.on_stdout(), render);
    args.load.deliver(saving, &json::render(&result), text)?;
    match broken {
        Some(reason) => Err(CliError::environment(format!("a worker's backend broke during the run: {reason}"))),
        None => Ok(ExitCode::of(&result).into()),
    }
}

/// What is to be observed, each looked at once; none if there is nothing.
fn observer(subjects: &[observe::Subject], engine: Engine) -> Result<Option<Observer>, CliError> {
    match (subjects, engine) {
        ([], _) => Ok(None),
        (_, Engine::Sim) => Err(CliError::usage(
            "--observe reads real machines, and those of --engine sim have no processes; leave out one of them",
        )),
        (subjects, Engine::IoUring | Engine::Epoll) => {
            Observer::new(subjects).map(Some).map_err(|error| CliError::usage(error.to_string()))
        }
    }
}

async fn on_sockets(args: &RunArgs, plan: RunPlan, conduct: Conduct, sink: Option<Sink>) -> Result<Ran, CliError> {
    let mut progress = Progress::new(&plan, &args.load.progress, args.load.color);
    let ran = crate::run::run(Arc::new(plan), conduct, &mut progress).await;
    progress.finish();
    if let Some(sink) = sink {
        sink.stop();
    }
    ran.map_err(|error| CliError::environment(error.to_string()))
}

fn finish(mut parts: crate::run::ResultParts, labels: BTreeMap<String, String>) -> RunResult {
    parts.labels = labels;
    RunResult::assemble(parts)
}

/// Addresses, peak rate and peak connections, before the first packet.
fn announce(args: &RunArgs, plan: &RunPlan, notes: &[String], start_at: Option<SystemTime>) {
    for line in announce::lines(plan, start_at) {
        args.load.tell(&line);
    }
    let cut = preflight::cut_holds(plan);
    for note in notes.iter().chain(&cut) {
        args.load.tell(&format!("note: {note}"));
    }
}

/// A source that is not on this host would fail every attempt, with the error that also means "no ports left".
fn check_local(request: &Request, plan: &RunPlan) -> Result<(), CliError> {
    if plan.engine == Engine::Sim {
        return Ok(());
    }
    match plan.sources.iter().find(|source| is_elsewhere(**source)) {
        None => Ok(()),
        Some(source) => {
            let text = format!(
                "source {source} is not an address of this host; give one that `ip address` shows, or add it there"
            );
            Err(request.refusal_of_source(*source, text).into())
        }
    }
}

fn is_elsewhere(source: IpAddr) -> bool {
    UdpSocket::bind((source, 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// File tables of rings, or all files of the process, are bounded by the soft limit; a process may raise it to the hard
/// one.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it stays low, making the backend says so with the number.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The clock shows an instant that can be written (RFC 3339), and that certificates can be held against: neither is there
/// before 1970.
pub(super) fn check_clock() -> Result<(), CliError> {
    check_instant(SystemTime::now())
}

fn check_instant(now: SystemTime) -> Result<(), CliError> {
    /// 9999-01-01: the year after it has no room for a run's end.
    const LAST: Duration = Duration::from_secs(253_370_764_800);
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) if since < LAST => Ok(()),
        passed => Err(CliError::environment(format!(
            "this machine's clock is {}, so no result could say when it was measured; set it (date, timedatectl)",
            if passed.is_ok() { "past the year 9998" } else { "before 1970" }
        ))),
    }
}

/// The control thread has room for its own descriptors. tokio panics where there is none for its signal pipe.
pub(super) fn check_descriptors() -> Result<(), CliError> {
    const PAIRS: usize = 4;
    let opened: Result<Vec<_>, _> = (0..PAIRS).map(|_| UnixStream::pair()).collect();
    opened.map(drop).map_err(|error| {
        CliError::environment(format!("the control thread needs {} descriptors: {error}; raise `ulimit -n`", 2 * PAIRS))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_no_result_can_show_is_said() {
        let at = |instant: Option<SystemTime>| check_instant(instant.unwrap()).map_err(|error| error.message);
        let (epoch, day) = (SystemTime::UNIX_EPOCH, Duration::from_secs(86_400));
        assert_eq!(at(epoch.checked_add(day)), Ok(()));
        assert!(at(epoch.checked_sub(day)).unwrap_err().contains("clock is before 1970"));
        assert!(at(epoch.checked_add(day * 365 * 8_100)).unwrap_err().contains("clock is past the year 9998"));
    }
}
