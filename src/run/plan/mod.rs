//! The effective plan of a run: every default applied, every name resolved. Printed, saved, and never validated again.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use ipnet::IpNet;

use crate::base::table::choices;
use crate::base::{Secret, Seed};
pub use crate::engine::{ClosePolicy, Hold, Verify};
use crate::io::Engine;
use crate::load::{AppName, ArrivalPattern, Reconnect, Share, StreamKeys, StreamName};
pub use crate::measure::{Expectation, Until};
use crate::protocol::{ClientProfile, ClientSpec, DigestAt, HandshakeMode};
use crate::run::condition::{AbortCondition, Threshold};

mod conditions;
mod layout;
mod prospect;
mod schedule;
mod streams;
mod subject;

pub use layout::recorder_layout;
pub use schedule::PlannedStage;
pub(super) use schedule::{concurrency, profile};
pub use streams::DEFAULT_STREAM;

/// Everything a run does, decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Name of the scenario; null for a run that flags describe.
    pub scenario: Option<String>,
    /// Where the load goes; populations refer to targets by index.
    pub targets: Vec<Target>,
    /// The target is the built-in sink, started for this run.
    pub built_in_sink: bool,
    /// Who executes the operations.
    pub engine: Engine,
    /// Worker threads.
    pub workers: u32,
    /// The CPU each worker is pinned to; workers beyond its length wrap around. Empty: not pinned.
    pub cpus: Vec<u32>,
    /// The clients, grouped by what they do.
    pub populations: Vec<Population>,
    /// Local addresses to connect from; populations refer to them by index.
    pub sources: Vec<IpAddr>,
    /// Conditions the result must meet.
    pub thresholds: Vec<Threshold>,
    /// Conditions that end the load early.
    pub abort_if: Vec<AbortCondition>,
    /// The end of the load waits until every hold is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// Held connections released a second at the end; null: all at once.
    pub release_per_s: Option<f64>,
    /// Names are looked up again this often; null: once.
    pub resolve_every_ns: Option<u64>,
    /// The header of a load balancer before C0.
    pub proxy_protocol: Option<ProxyPlan>,
    /// How TLS is spoken to targets that want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsPlan>,
    /// Held connections are checked by TCP keepalive this often; null: a flow that vanished goes unnoticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_check_ns: Option<u64>,
    /// Audio and video of a real size, which a part of the publishers sends.
    #[serde(default, alias = "clip", skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaPlan>,
    /// `connect` offers the codecs of Enhanced RTMP.
    #[serde(default, alias = "four_cc", skip_serializing_if = "std::ops::Not::not")]
    pub enhanced_rtmp: bool,
    /// All randomness comes from it.
    pub seed: Seed,
    /// This machine's part of the arrivals.
    pub share: Share,
    /// When the load begins (RFC 3339); at once if absent.
    pub start_at: Option<String>,
}

/// One address of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// As the user wrote it.
    pub name: String,
    /// The host part of it.
    pub host: String,
    /// What it resolved to.
    pub address: SocketAddr,
    /// Its connections use TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// The application that sessions connect to.
    #[serde(default = "default_app")]
    pub app: String,
    /// The URL in `connect`: scheme, host, port and application.
    #[serde(default)]
    pub tc_url: String,
    /// Parameters that follow the application in `connect`, `?` included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_query: Option<Secret<String>>,
    /// The stream its URL names, for populations that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
    /// Clients that find another application and another stream in its URL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<UrlSplit>,
    /// What follows host and port in its URL; never saved.
    #[serde(skip)]
    pub path: Option<Secret<String>>,
}

/// What some clients find in a target's URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlSplit {
    /// Which clients.
    pub clients: Vec<ClientProfile>,
    /// The application.
    pub app: String,
    /// Parameters that follow it in `connect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_query: Option<Secret<String>>,
    /// The stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPlan {
    /// The certificates that servers must descend from, instead of the public ones.
    pub ca: Option<PathBuf>,
    /// No certificate is looked at.
    pub insecure: bool,
    /// The name asked for and checked, instead of the target's.
    pub server_name: Option<String>,
    /// Connections resume the session of an earlier one.
    pub resume: bool,
}

/// Audio and video of a real size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MediaPlan {
    /// Where they come from.
    pub source: MediaSource,
    /// The part of the publishers that send it, percent; the others send the least that keeps a server content.
    pub clients_percent: u32,
}

/// Where audio and video come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaSource {
    /// An FLV file, in real time, again and again.
    File(PathBuf),
    /// Made up, at this rate.
    BitsPerSecond(u64),
}

/// A PROXY header before C0, as a load balancer sends it (the PROXY protocol of haproxy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyPlan {
    /// Its form.
    pub version: ProxyVersion,
    /// The addresses it names as clients, in turn.
    pub client_ips: IpNet,
}

choices! {
    /// The form of a PROXY header.
    pub enum ProxyVersion {
        /// A line of text.
        V1 = "v1",
        /// Binary.
        V2 = "v2",
    }
}

/// Clients that do the same thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// Its name in the report.
    pub name: String,
    /// What it does: each lane has slots of its own, and lanes run side by side.
    pub lanes: Vec<Lane>,
    /// Its targets and their parts of the attempts; never empty.
    pub targets: Vec<TargetShare>,
    /// Its local addresses, as indices of the plan's; empty: the kernel chooses.
    pub sources: Vec<u16>,
    /// Its kinds of client; never empty.
    pub clients: Vec<ClientShare>,
    /// Which handshakes have their digests checked.
    pub verify: Verify,
    /// What completes an attempt.
    pub until: Until,
    /// What it connects to; null: as the targets say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// How its streams are named; null: as the targets say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
    /// Stream keys, one for each connection; never saved.
    #[serde(skip)]
    pub stream_keys: Arc<StreamKeys>,
    /// How long a completed connection is kept.
    pub hold: Hold,
    /// How a connection is closed after completion and hold.
    pub close: ClosePolicy,
    /// Timeout of the TCP connect.
    pub connect_timeout_ns: u64,
    /// Timeout from connected to complete; how long hostile clients wait for the target's reaction.
    pub timeout_ns: u64,
    /// What the target is to do with hostile clients; null: whatever it does is no failure.
    pub expect: Option<Expectation>,
    /// It is the canary whose failure ends the load; it stays out of the totals.
    #[serde(alias = "guard")]
    pub canary: bool,
}

/// A target and its part of a population's attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetShare {
    /// Index of the plan's targets.
    pub target: u16,
    /// Attempts that it gets in as many as the weights of the population's targets sum up to.
    pub weight: u32,
}

/// A part of what a population does, with slots of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// When it begins, after the beginning of the load.
    pub begins_ns: u64,
    /// Slots: attempts in flight plus connections held.
    pub concurrency: u32,
    /// When its attempts start.
    pub load: LoadPlan,
}

/// When attempts start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LoadPlan {
    /// A slot starts its next attempt when the last one is over: no rate is asked.
    Closed {
        /// Planned numbers of slots in use, one after the other.
        steps: Vec<StepPlan>,
        /// End of the load after this many measured attempts, if bounded by number.
        attempts: Option<u64>,
    },
    /// Attempts start at planned instants, whatever the target does.
    Open {
        /// Spacing of the arrivals.
        arrival: ArrivalPattern,
        /// Planned rates, one after the other.
        stages: Vec<StagePlan>,
        /// End of the load after this many measured attempts, if bounded by number.
        attempts: Option<u64>,
        /// The stages come again and again; null: once.
        repeat: Option<Repeat>,
    },
    /// A fleet that has lost its connections when the lane begins, and comes back by the encoders' own rules.
    Storm {
        /// The stage's name in the report.
        name: String,
        /// Clients, over all machines; each has a slot.
        fleet: u32,
        /// When a client tries again.
        reconnect: Reconnect,
        /// When those that are not back are given up.
        duration_ns: u64,
    },
}

/// How often the stages of a lane come, the first time included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// From one beginning to the next.
    pub every_ns: u64,
    /// How often.
    pub times: u32,
}

/// One stretch of an open-loop plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagePlan {
    /// Its name in the report.
    pub name: String,
    /// Left out of the result's totals.
    pub warmup: bool,
    /// Its attempts tell whether the target accepts (again).
    pub probe: bool,
    /// When its attempts are due.
    #[serde(flatten)]
    pub pace: Pace,
    /// Its length; `None` (last stage only): until `attempts` are due.
    pub duration_ns: Option<u64>,
}

/// When a stage's attempts are due.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Evenly, or around it.
    Rate {
        /// Arrivals per second at its beginning.
        from_per_s: f64,
        /// Arrivals per second at its end.
        to_per_s: f64,
    },
    /// All at its beginning.
    Burst {
        /// How many.
        count: u64,
    },
}

/// One stretch of a closed-loop plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Its name in the report.
    pub name: String,
    /// Left out of the result's totals.
    pub warmup: bool,
    /// Slots in use at its beginning.
    pub from: u32,
    /// Slots in use at its end.
    pub to: u32,
    /// Its length; `None` (last step only): until the attempts are used up.
    pub duration_ns: Option<u64>,
}

/// A kind of client and its part of the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientShare {
    /// What it sends.
    #[serde(flatten)]
    pub client: ClientPlan,
    /// Attempts of this kind in as many as the weights of the population sum up to.
    pub weight: u32,
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// Whose handshake it is.
    pub profile: ClientProfile,
    /// The mode asked of the server.
    pub mode: HandshakeMode,
    /// Where C1's digest lies (complex mode).
    pub digest_at: DigestAt,
    /// Send a C2 whose digest is wrong: a strict server must refuse it.
    pub wrong_c2: bool,
}

/// The application of targets that name none.
pub const DEFAULT_APP: &str = "live";

fn default_app() -> String {
    DEFAULT_APP.to_owned()
}

impl StagePlan {
    /// The highest rate planned, arrivals per second; a burst counts as if spread over one second.
    pub fn peak_per_s(&self) -> f64 {
        match self.pace {
            Pace::Rate { from_per_s, to_per_s } => from_per_s.max(to_per_s),
            Pace::Burst { count } => count as f64,
        }
    }
}

impl LoadPlan {
    /// A closed loop of constant concurrency: `warmup_ns` unmeasured, then until time or number of attempts end it.
    pub fn closed(concurrency: u32, warmup_ns: u64, duration_ns: Option<u64>, attempts: Option<u64>) -> Self {
        let step = |name: &str, warmup, duration_ns| StepPlan {
            name: name.to_owned(),
            warmup,
            from: concurrency,
            to: concurrency,
            duration_ns,
        };
        let mut steps = vec![step("load", false, duration_ns)];
        if warmup_ns > 0 {
            steps.insert(0, step("warm-up", true, Some(warmup_ns)));
        }
        Self::Closed { steps, attempts }
    }

    /// Attempts have intended instants: planned ones, or those of the clients' back-off.
    pub fn is_open_loop(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }

    /// The highest rate planned, arrivals per second; `None` where none is: in closed loop. A fleet may come back all
    /// at once.
    pub fn peak_per_s(&self) -> Option<f64> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { stages, .. } => Some(stages.iter().map(StagePlan::peak_per_s).fold(0.0, f64::max)),
            Self::Storm { fleet, .. } => Some(f64::from(*fleet)),
        }
    }
}

impl Population {
    /// Slots of all its lanes; more than can be counted, which no plan is resolved to, are `u32::MAX`.
    pub fn concurrency(&self) -> u32 {
        self.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.concurrency))
    }

    /// The attempts of a lane at least have intended instants.
    pub fn is_open_loop(&self) -> bool {
        self.lanes.iter().any(|lane| lane.load.is_open_loop())
    }

    /// The highest rate planned in a lane, arrivals per second; `None` if none is planned.
    pub fn peak_per_s(&self) -> Option<f64> {
        self.lanes.iter().filter_map(|lane| lane.load.peak_per_s()).reduce(f64::max)
    }
}

impl RunPlan {
    /// Slots of all populations.
    pub fn concurrency(&self) -> u32 {
        self.populations.iter().map(Population::concurrency).sum()
    }

    /// The client goes on after the handshake and leaves Nagle's algorithm on: its writes may wait for acknowledgements.
    pub fn keeps_nagle(&self, client: &ClientPlan) -> bool {
        let goes_on = |population: &&Population| population.until > Until::Handshake;
        let uses = |population: &Population| population.clients.iter().any(|share| share.client == *client);
        let session = client.profile.session();
        session.is_some_and(|session| !session.nodelay) && self.populations.iter().filter(goes_on).any(uses)
    }

    /// Who sends a `connect` that waits until C2 is acknowledged, by the client's own doing.
    pub fn clients_whose_connect_waits(&self) -> Vec<String> {
        let mut names = Vec::new();
        let sessions = self.populations.iter().filter(|population| population.until > Until::Handshake);
        for share in sessions.flat_map(|population| &population.clients) {
            let name = share.client.name();
            if share.client.profile.session().is_some_and(|session| session.connect_waits()) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Connections are held until every worker has drained, then released by an order.
    pub(super) fn releases_on_order(&self) -> bool {
        let for_ever = || self.populations.iter().any(|population| population.hold == Hold::Forever);
        !self.drain && (self.feeds_players() || for_ever())
    }

    /// Some attempts play, maybe what others publish: streams go on as long as a player still waits for its first frame.
    pub(super) fn feeds_players(&self) -> bool {
        self.populations.iter().any(|population| population.until == Until::Play)
    }

    /// Every kind of client once, in the order of the populations: the order in which recorders count them.
    pub fn clients(&self) -> Vec<ClientPlan> {
        let mut kinds = Vec::new();
        for share in self.populations.iter().flat_map(|population| &population.clients) {
            if !kinds.contains(&share.client) {
                kinds.push(share.client);
            }
        }
        kinds
    }
}

impl ClientPlan {
    /// Its name in the report.
    pub fn name(&self) -> String {
        let name = match (self.profile, self.mode, self.digest_at) {
            (ClientProfile::Shakedown, HandshakeMode::Simple, _) => "shakedown, simple".to_owned(),
            (ClientProfile::Shakedown, HandshakeMode::Complex, DigestAt::SecondHalf) => {
                "shakedown, digest in second half".to_owned()
            }
            (profile, ..) => profile.to_string(),
        };
        if self.wrong_c2 { format!("{name}, wrong C2") } else { name }
    }

    /// It wants no handshake: what counts is how the target reacts.
    pub fn is_hostile(&self) -> bool {
        self.profile.is_hostile()
    }

    /// How its handshake looks. Only this program's own client leaves the mode and the digest's place open.
    pub fn spec(&self) -> ClientSpec {
        match self.profile {
            ClientProfile::Shakedown => ClientSpec::shakedown(self.mode, self.digest_at),
            profile => profile.spec(),
        }
    }
}

/// A file's path, or a rate as `2.5 Mbit/s`.
impl fmt::Display for MediaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::BitsPerSecond(rate @ 1_000_000..) => write!(f, "{} Mbit/s", *rate as f64 / 1e6),
            Self::BitsPerSecond(rate) => write!(f, "{} kbit/s", *rate as f64 / 1e3),
        }
    }
}

impl Target {
    /// A target without TLS, with the default application.
    pub fn new(name: impl Into<String>, host: impl Into<String>, address: SocketAddr) -> Self {
        let host = host.into();
        let authority = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Self {
            name: name.into(),
            tc_url: format!("rtmp://{authority}:{}/{DEFAULT_APP}", address.port()),
            host,
            address,
            tls: false,
            app: default_app(),
            app_query: None,
            stream: None,
            splits: Vec::new(),
            path: None,
        }
    }

    /// Name and, where it says more, address.
    pub fn label(&self) -> String {
        if self.name.contains(&self.address.to_string()) {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.address)
        }
    }
}
