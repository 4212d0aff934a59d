//! The flags that `run` and `capacity` share: targets, clients, generator and result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueHint;
use ipnet::IpNet;

use crate::base::{DurationText, Rate, Seed, input};
use crate::engine::{ClosePolicy, Verify};
use crate::fleet::CpuList;
use crate::io::Engine;
use crate::load::{AppName, ArrivalPattern, StreamName};
use crate::measure::Expectation;
use crate::protocol::{DigestAt, HandshakeMode};
use crate::run::{ProxyVersion, Until};
use crate::scenario::{
    Allowance, BitRate, ClientRequest, Family, HoldRequest, Percent, PlanError, Request, SourceRange, TargetText,
    TlsRequest, read_file,
};

use super::choice::choice;
use super::cpus;
use super::exit::CliError;
use super::output::{self, Color, Report, Saving};
use super::progress::ProgressArgs;
use super::shell::Offering;

/// The target of a simulated run without one.
const SIMULATED_TARGET: &str = "rtmp://serve.sim/live";

/// Who is loaded, by whom, and what becomes of the result.
#[derive(clap::Args, Debug)]
pub(super) struct LoadArgs {
    /// Targets: rtmp://host[:port][/app[/stream]], host:port or [v6]:port, or a scenario file (- is stdin), whose values the
    /// flags override; none starts the built-in sink
    #[arg(value_name = "TARGET|SCENARIO.toml", value_hint = ValueHint::FilePath)]
    subjects: Vec<Subject>,

    /// Slots: attempts in flight plus connections held [default: 64; open loop: sized from the plan]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, help_heading = "Load")]
    concurrency: Option<u32>,
    /// Spacing of open-loop arrivals [default: uniform]
    #[arg(long, value_parser = choice::<ArrivalPattern>(), help_heading = "Load")]
    arrival: Option<ArrivalPattern>,

    /// Imitate these clients, mixed by weight, such as ffmpeg=60,obs=40 [default: shakedown, this program's own]
    #[arg(long, value_name = "NAME[=WEIGHT]", value_delimiter = ',', value_parser = Offering::clients(),
          hide_possible_values = true, help_heading = "Client")]
    client: Vec<ClientRequest>,
    /// Handshake mode asked of the server [default: complex]
    #[arg(long, value_parser = choice::<HandshakeMode>(), help_heading = "Client")]
    mode: Option<HandshakeMode>,
    /// Where C1 carries its digest [default: first-half]
    #[arg(long, value_parser = choice::<DigestAt>(), help_heading = "Client")]
    digest: Option<DigestAt>,
    /// Send a C2 whose digest or echo is wrong: a strict server must refuse it
    #[arg(long, help_heading = "Client")]
    wrong_c2: bool,
    /// Which handshakes have their digests checked; sample is 1 in 64 [default: all]
    #[arg(long, value_parser = choice::<Verify>(), help_heading = "Client")]
    verify: Option<Verify>,
    /// What completes an attempt [default: handshake; of capacity: reply]
    #[arg(long, value_parser = choice::<Until>(), help_heading = "Client")]
    until: Option<Until>,
    /// Keep completed connections this long: 30s, exp:20m (exponential, mean 20m) or forever [default: 0s]
    #[arg(long, value_name = "DURATION|forever", help_heading = "Client")]
    hold: Option<HoldRequest>,
    /// At the end of the load, wait for held connections instead of cutting them
    #[arg(long, help_heading = "Client")]
    drain: bool,
    /// Release held connections at this rate when the load is over [default: all at once]
    #[arg(long, value_name = "RATE", help_heading = "Client")]
    release: Option<Rate>,
    /// How completed connections are closed [default: rst]
    #[arg(long, value_parser = choice::<ClosePolicy>(), help_heading = "Client")]
    close: Option<ClosePolicy>,
    /// Local addresses, used in turn: ADDR or ADDR-ADDR, comma-separated
    #[arg(long, value_name = "ADDR[-ADDR]", value_delimiter = ',', help_heading = "Client")]
    source: Vec<SourceRange>,
    /// Timeout of the TCP connect [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Client")]
    connect_timeout: Option<DurationText>,
    /// Timeout from connected to complete; how long hostile clients wait for a reaction [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Client")]
    timeout: Option<DurationText>,
    /// How the target must treat hostile clients, such as 'closed within 5s'; without it they cannot fail
    #[arg(long, value_name = "REACTION", help_heading = "Client")]
    expect: Option<Expectation>,
    /// Weights of the targets, in their order, such as 3,1 [default: equal for every address]
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Client")]
    weights: Vec<u32>,
    /// Use only the IPv4 addresses of names that have both [default: all]
    #[arg(long, help_heading = "Client")]
    ipv4: bool,
    /// Use only the IPv6 addresses of names that have both
    #[arg(long, conflicts_with = "ipv4", help_heading = "Client")]
    ipv6: bool,
    /// Look names up again this often and follow their addresses
    #[arg(long, value_name = "DURATION", help_heading = "Client")]
    resolve: Option<DurationText>,
    /// Send the header of a load balancer before C0
    #[arg(long, value_parser = choice::<ProxyVersion>(), help_heading = "Client")]
    proxy_protocol: Option<ProxyVersion>,
    /// The clients' addresses in that header, used in turn
    #[arg(long, value_name = "CIDR", help_heading = "Client")]
    client_ips: Option<IpNet>,

    /// The application that clients connect to, with its query [default: what each client finds in the target's URL]
    #[arg(long, value_name = "APP", help_heading = "Session")]
    app: Option<AppName>,
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
    /// Share of the publishers that send them; the others send a trickle [default: 100%]
    #[arg(long, value_name = "PERCENT", help_heading = "Session")]
    media_clients: Option<Percent>,
    /// Check held connections by TCP keepalive after this silence; one that vanished is lost after a third more, and
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

    /// Worker threads [default: one for each CPU of --cpus, or each allowed core]
    #[arg(short = 't', long, value_name = "N", allow_negative_numbers = true, help_heading = "Generator")]
    workers: Option<u32>,
    /// Pin the workers to these CPUs, in this order: 2-15,17; with more workers than CPUs, CPUs are used again in turn [default: one
    /// thread of each core, node by node; of 8 cores and more one is left free]
    #[arg(long, value_name = "LIST", value_parser = cpus::parse, help_heading = "Generator")]
    cpus: Option<CpuList>,
    /// I/O engine; sim is a virtual network without sockets [default: io_uring]
    #[arg(long, value_parser = choice::<Engine>(), help_heading = "Generator")]
    engine: Option<Engine>,
    /// Seed of all randomness [default: random, printed and saved]
    #[arg(long, value_name = "N", help_heading = "Generator")]
    seed: Option<Seed>,
    /// Allow a public address: an address, a range (CIDR) or a host name
    #[arg(long, value_name = "CIDR|NAME", help_heading = "Generator")]
    allow_target: Vec<String>,
    /// End the load early, such as 'failed>5% for 5s'
    #[arg(long, value_name = "CONDITION", value_parser = Offering::conditions(), hide_possible_values = true,
          help_heading = "Generator")]
    abort_if: Vec<String>,
    /// Try this target once a second and end the load when it fails
    #[arg(long, value_name = "TARGET", help_heading = "Generator")]
    canary: Option<TargetText>,
    /// Do not end a load that every target refuses
    #[arg(long, help_heading = "Generator")]
    pub(super) keep_going: bool,

    /// A condition on the result, such as 'response.p99<50ms'; exit 3 if it is missed
    #[arg(long, value_name = "CONDITION", value_parser = Offering::conditions(), hide_possible_values = true,
          help_heading = "Result")]
    threshold: Vec<String>,
    /// Save a key and value with the result
    #[arg(long, value_name = "K=V", value_parser = parse_label, help_heading = "Result")]
    label: Vec<(String, String)>,
    /// Save a text file with the result, such as the server's configuration
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    attach: Vec<PathBuf>,
    /// Read this once a second while the load runs: a process of this machine and its children, or a machine by its
    /// node_exporter; what is used up is named in the report
    #[arg(long, value_name = "pid:N|URL", help_heading = "Result")]
    pub(super) observe: Vec<crate::observe::Subject>,
    /// Write the result file; - is stdout, and the report goes to stderr
    #[arg(short, long, value_name = "FILE", help_heading = "Result")]
    pub(super) output: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, help_heading = "Result")]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) progress: ProgressArgs,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, help_heading = "Result")]
    pub(super) color: Color,
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
        let is_file = text.ends_with(".toml") && !text.contains("://");
        if is_file || input::is_open_already(Path::new(text)) {
            Ok(Self::Scenario(text.into()))
        } else {
            text.parse().map(Self::Target)
        }
    }
}

/// The longest text that is attached: it is saved with every result.
const LONGEST_ATTACHMENT: u64 = 16 << 20;

/// What an attached file is called, and its text.
pub(super) fn attachment(path: &Path) -> Result<(String, String), CliError> {
    let path_shown = input::name(path);
    let text = input::read_text(path, LONGEST_ATTACHMENT).map_err(|error| {
        CliError::usage(format!("cannot attach {}: {error}; give a text file", path_shown.display()))
    })?;
    let name = path_shown.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
    Ok((name, text))
}

impl LoadArgs {
    /// `flags` over the scenario's if there is one.
    ///
    /// # Errors
    /// If there are several scenarios, or the one there is cannot be read or overridden.
    pub(super) fn over_scenario(&self, flags: Request) -> Result<Request, CliError> {
        let scenarios: Vec<&PathBuf> = self.subjects.iter().filter_map(Subject::scenario).collect();
        match scenarios.as_slice() {
            [] => Ok(flags),
            [file] => {
                let scenario = read_file(file).map_err(|error| CliError::usage(error.to_string()))?;
                Ok(scenario.overridden_by(&flags)?)
            }
            [first, second, ..] => Err(CliError::usage(format!(
                "{} and {} are two scenarios, and a run is of one; put their populations into one file",
                first.display(),
                second.display()
            ))),
        }
    }

    /// What these flags ask for.
    ///
    /// # Errors
    /// Never for what a user gives: the simulated target is known.
    pub(super) fn flags(&self) -> Result<Request, CliError> {
        let engine = self.engine;
        let mut targets: Vec<TargetText> = self.subjects.iter().filter_map(Subject::target).cloned().collect();
        if self.subjects.is_empty() && engine == Some(Engine::Sim) {
            targets.push(SIMULATED_TARGET.parse()?);
        }
        Ok(Request {
            targets,
            weights: self.weights.clone(),
            family: match (self.ipv4, self.ipv6) {
                (true, _) => Some(Family::Ipv4),
                (_, true) => Some(Family::Ipv6),
                (false, false) => None,
            },
            allowed: self.allow_target.iter().map(|text| Allowance::from(text.as_str())).collect(),
            arrival: self.arrival,
            concurrency: self.concurrency,
            workers: self.workers,
            cpus: self.cpus.clone(),
            clients: self.client.clone(),
            mode: self.mode,
            digest_at: self.digest,
            wrong_c2: self.wrong_c2,
            verify: self.verify,
            until: self.until,
            app: self.app.clone(),
            stream: self.stream.clone(),
            stream_keys: self.stream_keys.clone(),
            hold: self.hold,
            close: self.close,
            sources: self.source.clone(),
            connect_timeout: self.connect_timeout.map(|timeout| timeout.0),
            timeout: self.timeout.map(|timeout| timeout.0),
            expect: self.expect,
            thresholds: self.threshold.clone(),
            abort_if: self.abort_if.clone(),
            canary: self.canary.clone(),
            drain: self.drain.then_some(true),
            release: self.release,
            resolve_every: self.resolve.map(|every| every.0),
            proxy_protocol: self.proxy_protocol,
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
            ..Request::default()
        })
    }

    /// The user's keys and values, and the texts of attached files under `attach:NAME`.
    pub(super) fn labels(&self) -> Result<BTreeMap<String, String>, CliError> {
        let mut labels: BTreeMap<String, String> = self.label.iter().cloned().collect();
        for path in &self.attach {
            let (name, text) = attachment(path)?;
            labels.insert(format!("attach:{name}"), text);
        }
        Ok(labels)
    }

    /// Saves a result, then shows it: as `text` renders it, or with `--json` as its file.
    ///
    /// # Errors
    /// If it cannot be saved or shown.
    pub(super) fn deliver(&self, saving: Saving, file: &str, text: impl FnOnce() -> String) -> Result<(), CliError> {
        let text = if self.json { None } else { Some(text()) };
        let report = text.as_deref().map_or(Report::Json, |text| Report::Text { text, quiet: self.progress.quiet });
        saving.deliver(file, &report)
    }

    /// Says a line to people, unless they want none.
    pub(super) fn tell(&self, line: &str) {
        if !self.progress.quiet {
            output::tell(line);
        }
    }
}
