//! `shakedown run`: generate load, print one report.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::base::{DurationText, Rate, RateRange, Seed};
use crate::engine::{ClosePolicy, Verify};
use crate::io::Engine;
use crate::io::ring::RingError;
use crate::load::{ArrivalPattern, Share, StreamName};
use crate::measure::Expectation;
use crate::protocol::{DigestAt, HandshakeMode};
use crate::report::{json, text};
use crate::run::{
    Conduct, ExitCode, Interruption, ProxyVersion, Resolver, ResultFile, ResultFileError, RunPlan, RunResult, Until,
};
use crate::scenario::{
    Allowance, BitRate, ClientRequest, HoldRequest, Machine, Origins, Percent, PlanError, Request, Resolved,
    SourceRange, TargetText, TlsRequest, read_file, resolve,
};
use crate::sink::Sink;

use super::exit::{CliError, Exit};
use super::output::{self, Color};
use super::progress::Progress;
use super::{announce, built_in_sink, lookup};

/// Below the flags in the help of `run`.
pub(super) const AFTER_HELP: &str = "\
Examples:
  shakedown run
      A first look: the built-in sink, 64 connections at a time, 10 seconds
  shakedown run rtmp://10.0.0.5/live -R 2k -d 30s --threshold 'response.p99<50ms'
      Open loop: 2000 handshakes a second, whatever the server does
  shakedown run 10.0.0.5:1935 -R 0:500 -d 1m --hold forever -o result.json
      A ramp of clients that stay
  shakedown run rtmp://10.0.0.5/live -R 50 -d 1m --until publish --hold 5m
      Encoders that publish streams of their own and stay on air

Conditions are [SCOPE.]METRIC OP VALUE [in WINDOW], OP one of < <= > >=:
  response.p99<50ms   also service connect tls s0s1 s2 reply app_connect publish
                      first_frame confirm slot_wait lateness, each with min mean
                      p50 to p99.99 max
  failed<1%           also dropped downgraded: shares of the attempts due
  rate>=19k/s         completed per second
  outage<10s          the longest time in which nothing completed
  failed<1% in 1m     in every window of 1s to 1h; so too dropped rate response
  encoders.failed<1%  of a population; also stage:NAME. target:HOST. client:NAME.
  failed>5% for 5s    of --abort-if: failed dropped rate response outage, in each of
                      so many seconds

Attempts that go on after the handshake (--until) call the target's own hooks, as
on_connect and on_publish: load them only if they are yours.

Exit codes:
  0         as asked; failures without a condition on them are in the report
  1         could not run, or nothing completed because of this machine's limits
  2         the command line cannot be carried out
  3         a condition was missed, or --abort-if or --guard ended the load
  4         cannot be told: the generator was the limit, or samples are too few
  5         nothing completed: the target or the network failed
  130, 143  ended by SIGINT or SIGTERM; the report is of what was measured";

/// The target of a simulated run without one.
const SIMULATED_TARGET: &str = "rtmp://serve.sim/live";

/// Flags of `shakedown run`.
#[derive(clap::Args, Debug)]
pub(super) struct RunArgs {
    /// Targets: rtmp://host[:port][/app[/stream]], host:port or [v6]:port, or a scenario file, whose values the flags
    /// override; none starts the built-in sink
    #[arg(value_name = "TARGET|SCENARIO.toml")]
    subjects: Vec<Subject>,

    /// Open loop at this rate, such as 20k, 1.5k/s or 600/m; A:B ramps over -d
    #[arg(short = 'R', long, value_name = "RATE", allow_negative_numbers = true, help_heading = "Load")]
    rate: Option<RateRange>,
    /// Slots: attempts in flight plus connections held [default: 64; open loop: sized from the plan]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, help_heading = "Load")]
    concurrency: Option<u32>,
    /// End the load after this long [default: 10s when -n is not given]
    #[arg(short, long, value_name = "DURATION", help_heading = "Load")]
    duration: Option<DurationText>,
    /// End the load after this many due attempts
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, help_heading = "Load")]
    attempts: Option<u64>,
    /// Load before the measured load, left out of the totals [default: 0s]
    #[arg(short, long, value_name = "DURATION", help_heading = "Load")]
    warmup: Option<DurationText>,
    /// Spacing of open-loop arrivals [default: uniform]
    #[arg(long, value_enum, help_heading = "Load")]
    arrival: Option<ArrivalArg>,
    /// This machine's part of the arrivals, such as 0/3
    #[arg(long, value_name = "I/N", help_heading = "Load")]
    share: Option<Share>,
    /// Begin at this instant (RFC 3339)
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    start_at: Option<String>,

    /// Imitate these clients, mixed by weight, such as ffmpeg=60,obs=40 [default: shakedown, this program's own]
    #[arg(long, value_name = "NAME[=WEIGHT]", value_delimiter = ',', help_heading = "Client")]
    client: Vec<ClientRequest>,
    /// Handshake mode asked of the server [default: complex]
    #[arg(long, value_enum, help_heading = "Client")]
    mode: Option<ModeArg>,
    /// Where C1 carries its digest [default: first-half]
    #[arg(long, value_enum, help_heading = "Client")]
    digest: Option<DigestArg>,
    /// Send a C2 whose digest or echo is wrong: a strict server must refuse it
    #[arg(long, help_heading = "Client")]
    wrong_c2: bool,
    /// Which handshakes have their digests checked; sample is 1 in 64 [default: all]
    #[arg(long, value_enum, help_heading = "Client")]
    verify: Option<VerifyArg>,
    /// What completes an attempt [default: handshake]
    #[arg(long, value_enum, help_heading = "Client")]
    until: Option<UntilArg>,
    /// Keep completed connections this long: 30s, exp:20m (exponential, mean 20m) or forever [default: 0s]
    #[arg(long, value_name = "DURATION|forever", help_heading = "Client")]
    hold: Option<HoldRequest>,
    /// Release held connections at this rate when the load is over [default: all at once]
    #[arg(long, value_name = "RATE", help_heading = "Client")]
    release: Option<Rate>,
    /// How completed connections are closed [default: rst]
    #[arg(long, value_enum, help_heading = "Client")]
    close: Option<CloseArg>,
    /// Local addresses, used in turn: ADDR or ADDR-ADDR, comma-separated
    #[arg(long, value_name = "ADDR[-ADDR]", value_delimiter = ',', help_heading = "Client")]
    source: Vec<SourceRange>,
    /// Limit of the TCP connect [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Client")]
    connect_timeout: Option<DurationText>,
    /// Limit from connected to complete; how long hostile clients wait for a reaction [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Client")]
    timeout: Option<DurationText>,
    /// What the target is to do with hostile clients, such as 'closed within 5s'; else they cannot fail
    #[arg(long, value_name = "REACTION", help_heading = "Client")]
    expect: Option<Expectation>,
    /// Parts of the load for the targets, in their order, such as 3,1 [default: equal for every address]
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Client")]
    weights: Vec<u32>,
    /// Look names up again this often and follow their addresses
    #[arg(long, value_name = "DURATION", help_heading = "Client")]
    resolve: Option<DurationText>,
    /// Send the header of a load balancer before C0
    #[arg(long, value_enum, help_heading = "Client")]
    proxy_protocol: Option<ProxyArg>,
    /// The clients' addresses in that header, used in turn
    #[arg(long, value_name = "CIDR", help_heading = "Client")]
    client_ips: Option<IpNet>,

    /// Names of the streams, with {id}, {id%N}, {slot}, {worker}, {source} or {key} in them [default: those of the
    /// targets, else shakedown-{id}]
    #[arg(long, value_name = "NAME", help_heading = "Session")]
    stream: Option<StreamName>,
    /// Stream keys in the first column of a CSV file, one for each connection, none twice
    #[arg(long, value_name = "FILE", help_heading = "Session")]
    stream_keys: Option<PathBuf>,
    /// Publishers send the audio and video of this FLV file, in real time, again and again
    #[arg(long, value_name = "FILE.flv", help_heading = "Session")]
    media: Option<PathBuf>,
    /// Publishers send made-up audio and video of this rate, such as 2.5M or 800k bits a second
    #[arg(long, value_name = "RATE", help_heading = "Session")]
    bitrate: Option<BitRate>,
    /// The part of the publishers that send them; the others send a trickle [default: 100%]
    #[arg(long, value_name = "PERCENT", help_heading = "Session")]
    media_clients: Option<Percent>,
    /// Ask held connections for a sign of life after this silence; one that vanished is lost after a third more, and
    /// no earlier than after 4s: 30s notices it within 40s
    #[arg(long, value_name = "DURATION", help_heading = "Session")]
    hold_check: Option<DurationText>,
    /// Offer the codecs of Enhanced RTMP in connect
    #[arg(long, help_heading = "Session")]
    enhanced_rtmp: bool,
    /// Accept the certificates of the authorities in this PEM file only [default: those this host trusts]
    #[arg(long, value_name = "FILE", help_heading = "TLS (rtmps://)")]
    tls_ca: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, help_heading = "TLS (rtmps://)")]
    insecure: bool,
    /// Ask for this name and check the certificate for it [default: the target's host]
    #[arg(long, value_name = "NAME", help_heading = "TLS (rtmps://)")]
    tls_name: Option<String>,
    /// Resume the TLS session of an earlier connection [default: every handshake is a full one]
    #[arg(long, help_heading = "TLS (rtmps://)")]
    tls_resume: bool,

    /// Worker threads [default: one per allowed core]
    #[arg(short = 't', long, value_name = "N", allow_negative_numbers = true, help_heading = "Generator")]
    workers: Option<u32>,
    /// Who executes the operations; sim is a virtual network without sockets [default: io_uring]
    #[arg(long, value_enum, help_heading = "Generator")]
    engine: Option<EngineArg>,
    /// Seed of all randomness [default: random, printed and saved]
    #[arg(long, value_name = "N", help_heading = "Generator")]
    seed: Option<Seed>,
    /// Allow a public address: an address, a range (CIDR) or a host name
    #[arg(long, value_name = "CIDR|NAME", help_heading = "Generator")]
    allow_target: Vec<String>,
    /// End the load early, such as 'failed>5% for 5s'
    #[arg(long, value_name = "CONDITION", help_heading = "Generator")]
    abort_if: Vec<String>,
    /// Try this target once a second and end the load when it fails
    #[arg(long, value_name = "TARGET", help_heading = "Generator")]
    guard: Option<TargetText>,
    /// Do not end a load that every target refuses
    #[arg(long, help_heading = "Generator")]
    keep_going: bool,

    /// A condition on the result, such as 'response.p99<50ms'; exit 3 if it is missed
    #[arg(long, value_name = "CONDITION", help_heading = "Result")]
    threshold: Vec<String>,
    /// Save a key and value with the result
    #[arg(long, value_name = "K=V", value_parser = parse_label, help_heading = "Result")]
    label: Vec<(String, String)>,
    /// Save a text file with the result, such as the server's configuration
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    attach: Vec<PathBuf>,
    /// Write the result file
    #[arg(short, long, value_name = "FILE", help_heading = "Result")]
    output: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, help_heading = "Result")]
    json: bool,
    /// No progress and no notes on stderr
    #[arg(short, long, help_heading = "Result")]
    quiet: bool,
    /// No progress bar
    #[arg(long, help_heading = "Result")]
    no_progress: bool,
    /// When to colour
    #[arg(long, value_enum, default_value_t, help_heading = "Result")]
    color: Color,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ArrivalArg {
    Uniform,
    Poisson,
}

/// Modes as flags name them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum ModeArg {
    /// Random bytes and their echo.
    Simple,
    /// Digests in C1, S1, C2 and S2.
    Complex,
}

/// Digest positions as flags name them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum DigestArg {
    /// Offset bytes at 8..12 ("schema 1").
    FirstHalf,
    /// Offset bytes at 772..776 ("schema 0").
    SecondHalf,
}

/// Verification as flags name it.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum VerifyArg {
    /// Every handshake.
    #[default]
    All,
    /// One in 64.
    Sample,
    /// None.
    None,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum UntilArg {
    /// S2 is in and C2 is out.
    Handshake,
    /// The first byte that answers connect.
    Reply,
    /// The _result of connect.
    Connect,
    /// NetStream.Publish.Start.
    Publish,
    /// NetStream.Play.Start and the first audio or video.
    Play,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CloseArg {
    Rst,
    Fin,
    Peer,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ProxyArg {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum EngineArg {
    #[value(name = "io_uring")]
    IoUring,
    Sim,
}

impl From<ModeArg> for HandshakeMode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Simple => Self::Simple,
            ModeArg::Complex => Self::Complex,
        }
    }
}

impl From<DigestArg> for DigestAt {
    fn from(digest: DigestArg) -> Self {
        match digest {
            DigestArg::FirstHalf => Self::FirstHalf,
            DigestArg::SecondHalf => Self::SecondHalf,
        }
    }
}

impl From<VerifyArg> for Verify {
    fn from(verify: VerifyArg) -> Self {
        match verify {
            VerifyArg::All => Self::All,
            VerifyArg::Sample => Self::Sample,
            VerifyArg::None => Self::None,
        }
    }
}

impl From<UntilArg> for Until {
    fn from(until: UntilArg) -> Self {
        match until {
            UntilArg::Handshake => Self::Handshake,
            UntilArg::Reply => Self::Reply,
            UntilArg::Connect => Self::Connect,
            UntilArg::Publish => Self::Publish,
            UntilArg::Play => Self::Play,
        }
    }
}

impl From<ProxyArg> for ProxyVersion {
    fn from(version: ProxyArg) -> Self {
        match version {
            ProxyArg::V1 => Self::V1,
            ProxyArg::V2 => Self::V2,
        }
    }
}

impl From<EngineArg> for Engine {
    fn from(engine: EngineArg) -> Self {
        match engine {
            EngineArg::IoUring => Self::IoUring,
            EngineArg::Sim => Self::Sim,
        }
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("a label is KEY=VALUE, such as server=nginx-1.22".into()),
    }
}

/// What a run is about.
#[derive(Clone, Debug)]
enum Subject {
    Target(TargetText),
    Scenario(PathBuf),
}

impl Subject {
    fn target(&self) -> Option<&TargetText> {
        match self {
            Self::Target(target) => Some(target),
            Self::Scenario(_) => None,
        }
    }

    fn scenario(&self) -> Option<&PathBuf> {
        match self {
            Self::Target(_) => None,
            Self::Scenario(file) => Some(file),
        }
    }
}

impl FromStr for Subject {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        if text.ends_with(".toml") && !text.contains("://") {
            Ok(Self::Scenario(text.into()))
        } else {
            text.parse().map(Self::Target)
        }
    }
}

impl RunArgs {
    fn request(&self) -> Result<Request, CliError> {
        let scenarios: Vec<&PathBuf> = self.subjects.iter().filter_map(Subject::scenario).collect();
        match scenarios.as_slice() {
            [] => self.flags(),
            [file] => {
                let scenario = read_file(file).map_err(|error| CliError::usage(error.to_string()))?;
                Ok(scenario.overridden_by(&self.flags()?)?)
            }
            [first, second, ..] => Err(CliError::usage(format!(
                "{} and {} are two scenarios, and a run is of one; put their populations into one file",
                first.display(),
                second.display()
            ))),
        }
    }

    fn flags(&self) -> Result<Request, CliError> {
        let engine = self.engine.map(Engine::from);
        let mut targets: Vec<TargetText> = self.subjects.iter().filter_map(Subject::target).cloned().collect();
        if self.subjects.is_empty() && engine == Some(Engine::Sim) {
            targets.push(SIMULATED_TARGET.parse()?);
        }
        Ok(Request {
            scenario: None,
            populations: Vec::new(),
            targets,
            weights: self.weights.clone(),
            allowed: self.allow_target.iter().map(|text| Allowance::from(text.as_str())).collect(),
            rate: self.rate,
            arrival: self.arrival.map(|arrival| match arrival {
                ArrivalArg::Uniform => ArrivalPattern::Uniform,
                ArrivalArg::Poisson => ArrivalPattern::Poisson,
            }),
            concurrency: self.concurrency,
            duration: self.duration.map(|duration| duration.0),
            attempts: self.attempts,
            warmup: self.warmup.map(|warmup| warmup.0),
            workers: self.workers,
            clients: self.client.clone(),
            mode: self.mode.map(HandshakeMode::from),
            digest_at: self.digest.map(DigestAt::from),
            wrong_c2: self.wrong_c2,
            verify: self.verify.map(Verify::from),
            until: self.until.map(Until::from),
            stream: self.stream.clone(),
            stream_keys: self.stream_keys.clone(),
            hold: self.hold,
            close: self.close.map(|close| match close {
                CloseArg::Rst => ClosePolicy::Rst,
                CloseArg::Fin => ClosePolicy::Fin,
                CloseArg::Peer => ClosePolicy::Peer,
            }),
            sources: self.source.clone(),
            connect_timeout: self.connect_timeout.map(|timeout| timeout.0),
            timeout: self.timeout.map(|timeout| timeout.0),
            expect: self.expect,
            thresholds: self.threshold.clone(),
            abort_if: self.abort_if.clone(),
            guard: self.guard.clone(),
            release: self.release,
            resolve_every: self.resolve.map(|every| every.0),
            proxy_protocol: self.proxy_protocol.map(ProxyVersion::from),
            client_ips: self.client_ips,
            media: self.media.clone(),
            bitrate: self.bitrate,
            media_clients: self.media_clients,
            hold_check: self.hold_check.map(|check| check.0),
            enhanced_rtmp: self.enhanced_rtmp.then_some(true),
            tls: TlsRequest {
                ca: self.tls_ca.clone(),
                insecure: self.insecure.then_some(true),
                name: self.tls_name.clone(),
                resume: self.tls_resume.then_some(true),
            },
            engine,
            seed: self.seed,
            share: self.share,
            start_at: self.start_at.clone(),
            origins: Origins::default(),
        })
    }

    /// The user's keys and values, and the texts of attached files under `attach:NAME`.
    fn labels(&self) -> Result<BTreeMap<String, String>, CliError> {
        let mut labels: BTreeMap<String, String> = self.label.iter().cloned().collect();
        for path in &self.attach {
            let text = std::fs::read_to_string(path).map_err(|error| {
                CliError::usage(format!("cannot attach {}: {error}; give a text file", path.display()))
            })?;
            let name =
                path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
            labels.insert(format!("attach:{name}"), text);
        }
        Ok(labels)
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

    fn tell(&self, line: &str) {
        if !self.quiet {
            output::tell(line);
        }
    }
}

/// Carries the command out.
pub(super) fn execute(args: &RunArgs) -> Result<Exit, CliError> {
    let machine = Machine::detect();
    let start_at = args.begins_at()?;
    let labels = args.labels()?;
    let request = args.request()?;
    let Resolved { mut plan, notes } = match request.engine() {
        Engine::IoUring => resolve(&request, &machine, &lookup::on_the_network)?,
        Engine::Sim => resolve(&request, &machine, &lookup::in_the_simulation)?,
    };
    check_local(&request, &plan)?;
    let file = args
        .output
        .as_deref()
        .map(ResultFile::reserve)
        .transpose()
        .map_err(|error| CliError::environment(format!("{error}; give -o a place that can be written")))?;
    let allowed = request.allowed.clone();
    let resolver = Resolver::new(move |target| lookup::again(target, &allowed));
    let conduct = Conduct { keep_going: args.keep_going, start_at, resolver: Some(resolver) };
    let Reported { result, saved, broken } = match plan.engine {
        Engine::Sim => {
            let interruption = Interruption::by_signals().map_err(|error| CliError::environment(error.to_string()))?;
            announce(args, &plan, &notes, None);
            let ran = crate::run::simulate_until(Arc::new(plan), &interruption);
            let result = finish(ran.parts, labels);
            let saved = file.map_or(Ok(()), |file| file.write(&result));
            Reported { result, saved, broken: ran.broken }
        }
        Engine::IoUring => {
            raise_descriptor_limit();
            check_descriptors()?;
            let runtime = control_runtime()?;
            let sink = plan.built_in_sink.then(|| built_in_sink::start(&mut plan, &machine)).transpose()?;
            announce(args, &plan, &notes, start_at);
            runtime.block_on(on_ring(args, plan, conduct, labels, file, sink))?
        }
    };
    let text = if args.json {
        json::render(&result)
    } else {
        text::render(&result, text::Style { color: args.color.on_stdout(), width: output::width() })
    };
    output::print(&text)?;
    saved
        .map_err(|error| CliError::environment(format!("{error}; the result is not saved, what stdout has is all")))?;
    match broken {
        Some(reason) => Err(CliError::environment(format!("a worker's ring broke during the run: {reason}"))),
        None => Ok(ExitCode::of(&result).into()),
    }
}

/// A run whose result is assembled; it is shown even where it could not be saved.
struct Reported {
    result: RunResult,
    saved: Result<(), ResultFileError>,
    /// A worker's backend broke during the run: the reason.
    broken: Option<String>,
}

async fn on_ring(
    args: &RunArgs,
    plan: RunPlan,
    conduct: Conduct,
    labels: BTreeMap<String, String>,
    file: Option<ResultFile>,
    sink: Option<Sink>,
) -> Result<Reported, CliError> {
    let mut progress = Progress::new(&plan, args.quiet, args.quiet || args.no_progress, args.color);
    let ran = crate::run::run(Arc::new(plan), conduct, &mut progress).await;
    progress.finish();
    if let Some(sink) = sink {
        sink.stop();
    }
    let ran = ran.map_err(|error| CliError::environment(error.to_string()))?;
    let result = finish(ran.parts, labels);
    let saved = match file {
        Some(file) => file.write_on_ring(&result).await,
        None => Ok(()),
    };
    Ok(Reported { result, saved, broken: ran.broken })
}

fn finish(mut parts: crate::run::ResultParts, labels: BTreeMap<String, String>) -> RunResult {
    parts.labels = labels;
    RunResult::assemble(parts)
}

/// The control thread's runtime is a ring of its own; where io_uring is forbidden this is where it shows first.
fn control_runtime() -> Result<tokio_uring::Runtime, CliError> {
    tokio_uring::Runtime::new(&tokio_uring::builder())
        .map_err(|error| CliError::environment(RingError::of_setup(error).to_string()))
}

/// Addresses, peak rate and peak connections, before the first packet.
fn announce(args: &RunArgs, plan: &RunPlan, notes: &[String], start_at: Option<SystemTime>) {
    for line in announce::lines(plan, start_at) {
        args.tell(&line);
    }
    for note in notes {
        args.tell(&format!("note: {note}"));
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

/// The ring's file tables are bounded by the soft limit; a process may raise it to the hard one.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it stays low, making the ring says so with the number.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The control thread has room for its own descriptors. tokio panics where there is none for its signal pipe.
pub(super) fn check_descriptors() -> Result<(), CliError> {
    const PAIRS: usize = 4;
    let opened: Result<Vec<_>, _> = (0..PAIRS).map(|_| UnixStream::pair()).collect();
    opened.map(drop).map_err(|error| {
        CliError::environment(format!("the control thread needs {} descriptors: {error}; raise `ulimit -n`", 2 * PAIRS))
    })
}
