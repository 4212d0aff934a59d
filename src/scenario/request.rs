//! What was asked for: everything optional still is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::{Rate, RateRange, Seed, host_address};
use crate::engine::{ClosePolicy, Verify};
use crate::fleet::CpuList;
use crate::io::Engine;
use crate::load::{AppName, ArrivalPattern, Reconnect, Share, StreamName};
use crate::protocol::{ClientProfile, DigestAt, HandshakeMode};
use crate::run::{Expectation, ProxyVersion, TlsPlan, Until};

use super::PlanError;
use super::origins::{Origins, Setting};
use super::safety::Allowance;
use super::target::{Family, TargetText};

/// A run as asked for by flags, by a scenario file, or by a file whose values flags override.
///
/// What describes clients (`rate` to `expect`) makes the only population if there are no `populations`; else it
/// overrides the same value of each of them.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Name of the scenario, if there is one.
    pub scenario: Option<String>,
    /// What a scenario's clients do, group by group; empty: what the flags say.
    pub populations: Vec<PopulationRequest>,
    /// Empty: the built-in sink.
    pub targets: Vec<TargetText>,
    /// Parts of the load that the targets get, in their order; empty: equal ones.
    pub weights: Vec<u32>,
    /// Of names with addresses of both families only these are used.
    pub family: Option<Family>,
    /// Public addresses that may be loaded.
    pub allowed: Vec<Allowance>,
    /// Open loop at this rate; closed loop without.
    pub rate: Option<RateRange>,
    /// Spacing of open-loop arrivals.
    pub arrival: Option<ArrivalPattern>,
    /// Slots.
    pub concurrency: Option<u32>,
    /// Length of the measured load.
    pub duration: Option<Duration>,
    /// Number of measured attempts.
    pub attempts: Option<u64>,
    /// Length of the load before it.
    pub warmup: Option<Duration>,
    /// Worker threads.
    pub workers: Option<u32>,
    /// Kinds of client; empty: this program's own.
    pub clients: Vec<ClientRequest>,
    /// Mode asked of the server.
    pub mode: Option<HandshakeMode>,
    /// Where C1's digest lies.
    pub digest_at: Option<DigestAt>,
    /// Send a wrong C2.
    pub wrong_c2: bool,
    /// Which handshakes are verified.
    pub verify: Option<Verify>,
    /// What completes an attempt.
    pub until: Option<Until>,
    /// What clients connect to, whatever the targets' URLs say.
    pub app: Option<AppName>,
    /// How streams are named.
    pub stream: Option<StreamName>,
    /// A file of stream keys, one for each connection.
    pub stream_keys: Option<PathBuf>,
    /// How long completed connections are kept.
    pub hold: Option<HoldRequest>,
    /// How they are closed.
    pub close: Option<ClosePolicy>,
    /// Local addresses.
    pub sources: Vec<SourceRange>,
    /// Timeout of the TCP connect.
    pub connect_timeout: Option<Duration>,
    /// Timeout from connected to complete.
    pub timeout: Option<Duration>,
    /// What the target is to do with hostile clients.
    pub expect: Option<Expectation>,
    /// Conditions on the result.
    pub thresholds: Vec<String>,
    /// Conditions that end the load early.
    pub abort_if: Vec<String>,
    /// A low-rate canary against this target ends the load when it fails.
    pub canary: Option<TargetText>,
    /// The end of the load waits until every hold is over.
    pub drain: Option<bool>,
    /// Held connections released a second at the end; all at once without.
    pub release: Option<Rate>,
    /// Names are looked up again this often.
    pub resolve_every: Option<Duration>,
    /// A PROXY header before C0, of this version.
    pub proxy_protocol: Option<ProxyVersion>,
    /// The clients' addresses in it.
    pub client_ips: Option<IpNet>,
    /// Audio and video of this FLV file are published.
    pub media: Option<PathBuf>,
    /// Audio and video of this rate are published.
    pub bitrate: Option<BitRate>,
    /// The part of the publishers that send them.
    pub media_clients: Option<Percent>,
    /// Held connections are checked by TCP keepalive this often.
    pub hold_check: Option<Duration>,
    /// `connect` offers the codecs of Enhanced RTMP.
    pub enhanced_rtmp: Option<bool>,
    /// How TLS is spoken to targets that want it.
    pub tls: TlsRequest,
    /// The CPUs that workers are pinned to, in order.
    pub cpus: Option<CpuList>,
    /// Backend.
    pub engine: Option<Engine>,
    /// Seed of all randomness.
    pub seed: Option<Seed>,
    /// This machine's part.
    pub share: Option<Share>,
    /// When to begin (RFC 3339).
    pub start_at: Option<String>,
    /// A scenario's stages end earlier than its file says.
    pub shortened: bool,
    /// Where the values come from.
    pub origins: Origins,
}

/// Clients of a scenario that do the same thing.
#[derive(Clone, Debug, Default)]
pub struct PopulationRequest {
    /// Its name in the report.
    pub name: String,
    /// What it does, one after the other.
    pub stages: Vec<StageRequest>,
    /// Empty: the run's targets.
    pub targets: Vec<TargetText>,
    /// Parts of the load that its own targets get; empty: equal ones.
    pub weights: Vec<u32>,
    /// Spacing of open-loop arrivals.
    pub arrival: Option<ArrivalPattern>,
    /// Slots of its open-loop stages.
    pub concurrency: Option<u32>,
    /// Kinds of client; empty: this program's own.
    pub clients: Vec<ClientRequest>,
    /// Mode asked of the server.
    pub mode: Option<HandshakeMode>,
    /// Where C1's digest lies.
    pub digest_at: Option<DigestAt>,
    /// Send a wrong C2.
    pub wrong_c2: bool,
    /// Which handshakes are verified.
    pub verify: Option<Verify>,
    /// What completes an attempt.
    pub until: Option<Until>,
    /// What clients connect to, whatever the targets' URLs say.
    pub app: Option<AppName>,
    /// How streams are named.
    pub stream: Option<StreamName>,
    /// A file of stream keys, one for each connection.
    pub stream_keys: Option<PathBuf>,
    /// How long completed connections are kept.
    pub hold: Option<HoldRequest>,
    /// How they are closed.
    pub close: Option<ClosePolicy>,
    /// Local addresses; empty: the run's.
    pub sources: Vec<SourceRange>,
    /// Timeout of the TCP connect.
    pub connect_timeout: Option<Duration>,
    /// Timeout from connected to complete.
    pub timeout: Option<Duration>,
    /// What the target is to do with hostile clients.
    pub expect: Option<Expectation>,
    /// Where the values come from.
    pub origins: Origins,
}

/// One stage of a population.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRequest {
    /// Its name in the report; numbered without.
    pub name: Option<String>,
    /// What happens in it.
    pub load: StageLoad,
    /// How long it lasts.
    pub length: Duration,
    /// Left out of the result's totals.
    pub warmup: bool,
    /// An event beside the other stages: it happens again and again at this distance.
    pub every: Option<Duration>,
}

/// What happens in a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StageLoad {
    /// Arrivals at a planned rate, constant or a ramp.
    Rate(RateRange),
    /// So many arrivals at its beginning.
    Burst(u64),
    /// So many clients at a time, each starting its next attempt when the last one is over; or a ramp of them.
    Concurrency {
        /// At the beginning.
        from: u32,
        /// At the end.
        to: u32,
    },
    /// A fleet that has lost its connections at the stage's beginning and comes back.
    Storm {
        /// Clients.
        fleet: u32,
        /// By which rule they come back.
        reconnect: Reconnect,
    },
    /// A low rate that says whether the target accepts (again).
    Probe(Rate),
}

/// `NAME` or `NAME=WEIGHT` of `--client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    /// Which client.
    pub profile: ClientProfile,
    /// Its part of the attempts, relative to the others'.
    pub weight: u32,
}

/// `--hold 30s`, `--hold exp:20m` or `--hold forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldRequest {
    /// For a time.
    For(Duration),
    /// For exponentially distributed times of this mean.
    Exponential(Duration),
    /// To the end of the run.
    Forever,
}

/// `[tls]`, or `--tls-ca` and its like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsRequest {
    /// Whose certificates are accepted, instead of those that the host trusts.
    pub ca: Option<PathBuf>,
    /// Any certificate is accepted.
    pub insecure: Option<bool>,
    /// The name asked for and checked, instead of the target's.
    pub name: Option<String>,
    /// Sessions are resumed.
    pub resume: Option<bool>,
}

/// `--bitrate 2.5M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRate {
    /// Bits a second.
    pub bits_per_second: u64,
}

/// `--media-clients 10%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u32);

/// `ADDR` or `ADDR-ADDR`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    first: IpAddr,
    last: IpAddr,
}

/// The highest weight: more would be a typing error.
pub(super) const MAX_WEIGHT: u32 = 1_000_000;
/// Most addresses one range may have: more would be a typing error.
const MAX_RANGE: u128 = 65_534;

impl Request {
    /// The backend asked for, or the default one.
    pub fn engine(&self) -> Engine {
        self.engine.unwrap_or_default()
    }

    /// Refuses stages, with their place in the scenario file: `why` says who does not want them.
    ///
    /// # Errors
    /// If a population has stages.
    pub fn refuse_stages(&self, why: &str) -> Result<(), PlanError> {
        match self.populations.iter().find(|population| !population.stages.is_empty()) {
            Some(staged) => Err(staged.origins.refusal(&[Setting::STAGES], why.to_owned())),
            None => Ok(()),
        }
    }

    /// The error that a local address that was asked for cannot be used, with its place in the scenario file.
    pub fn refusal_of_source(&self, source: IpAddr, message: String) -> PlanError {
        let asks = |ranges: &[SourceRange]| ranges.iter().any(|range| range.contains(source));
        let population = self.populations.iter().find(|population| asks(&population.sources));
        population.map_or(&self.origins, |population| &population.origins).refusal(&[Setting::SOURCES], message)
    }
}

impl PopulationRequest {
    /// What the flags say about the only population; its load is theirs.
    pub fn of_flags(flags: &Request) -> Self {
        Self {
            name: "clients".to_owned(),
            stages: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            arrival: flags.arrival,
            concurrency: flags.concurrency,
            clients: flags.clients.clone(),
            mode: flags.mode,
            digest_at: flags.digest_at,
            wrong_c2: flags.wrong_c2,
            verify: flags.verify,
            until: flags.until,
            app: flags.app.clone(),
            stream: flags.stream.clone(),
            stream_keys: flags.stream_keys.clone(),
            hold: flags.hold,
            close: flags.close,
            sources: flags.sources.clone(),
            connect_timeout: flags.connect_timeout,
            timeout: flags.timeout,
            expect: flags.expect,
            origins: Origins::default(),
        }
    }
}

impl FromStr for ClientRequest {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
        let profile = name.trim().parse().map_err(|error| PlanError::new(format!("{error}")))?;
        match weight.trim().parse() {
            Ok(weight @ 1..=MAX_WEIGHT) => Ok(Self { profile, weight }),
            _ => Err(PlanError::new(format!(
                "'{weight}' is not a weight of {profile}: give a whole number from 1 to {MAX_WEIGHT}, such as {profile}=60"
            ))),
        }
    }
}

impl FromStr for HoldRequest {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let (text, hold): (_, fn(Duration) -> Self) = match text.strip_prefix("exp:") {
            Some(mean) => (mean, Self::Exponential),
            None => (text, Self::For),
        };
        let duration = text
            .parse::<crate::base::DurationText>()
            .map_err(|error| PlanError::new(format!("{error}, 'exp:' and a mean such as exp:20m, or 'forever'")))?
            .0;
        match hold(duration) {
            Self::Exponential(Duration::ZERO) => {
                Err(PlanError::new("'exp:' has a mean of nothing; give one such as exp:20m, or 0s to hold none"))
            }
            hold => Ok(hold),
        }
    }
}

impl TlsRequest {
    /// Nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// With its defaults: certificates are checked and sessions not resumed.
    pub(super) fn plan(&self) -> TlsPlan {
        TlsPlan {
            ca: self.ca.clone(),
            insecure: self.insecure == Some(true),
            server_name: self.name.clone(),
            resume: self.resume == Some(true),
        }
    }
}

impl FromStr for BitRate {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (number, unit) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1e3),
            Some(b'M') => (&text[..text.len() - 1], 1e6),
            _ => (text, 1.0),
        };
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match number.parse::<f64>().map(|number| number * unit) {
            Ok(bits) if plain && (1.0..1e15).contains(&bits) => Ok(Self { bits_per_second: bits.round() as u64 }),
            _ => Err(PlanError::new(format!(
                "'{text}' is not a bit rate: write a number of bits a second, for example 2.5M, 800k or 64000"
            ))),
        }
    }
}

impl FromStr for Percent {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        number
            .filter(|percent| (1..=100).contains(percent))
            .map(Self)
            .ok_or_else(|| PlanError::new(format!("'{text}' is not a part: write 1% to 100% in whole percents")))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl FromStr for SourceRange {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let address = |part: &str| {
            host_address(part.trim()).ok_or_else(|| {
                PlanError::new(format!("source '{text}' is not ADDR or ADDR-ADDR (example: 10.0.1.2-10.0.1.33)"))
            })
        };
        // A zone may hold a dash. It is the target's, for a packet leaves by one interface.
        let range = text.split_once('-').filter(|(first, _)| host_address(text).is_none() && !first.contains('%'));
        let (first, last) = range.unwrap_or((text, text));
        let range = Self { first: address(first)?, last: address(last)? };
        match range.len() {
            Some(1..=MAX_RANGE) => Ok(range),
            Some(count) => {
                Err(PlanError::new(format!("source range '{text}' has {count} addresses, the most is {MAX_RANGE}")))
            }
            None => Err(PlanError::new(format!(
                "source range '{text}' does not go from a lower to a higher address of one family"
            ))),
        }
    }
}

impl SourceRange {
    /// Its addresses, ascending.
    pub fn addresses(self) -> Box<dyn Iterator<Item = IpAddr>> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Box::new((first.to_bits()..=last.to_bits()).map(|bits| IpAddr::V4(bits.into())))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Box::new((first.to_bits()..=last.to_bits()).map(|bits| IpAddr::V6(bits.into())))
            }
            _ => Box::new(std::iter::empty()),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    fn len(self) -> Option<u128> {
        let (first, last) = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (u128::from(first.to_bits()), u128::from(last.to_bits())),
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits()),
            _ => return None,
        };
        last.checked_sub(first).map(|span| span.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_includes_both_ends() {
        let range: SourceRange = "127.0.0.2-127.0.0.4".parse().unwrap();
        let addresses: Vec<String> = range.addresses().map(|address| address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
        assert_eq!("::1".parse::<SourceRange>().unwrap().addresses().count(), 1);
    }

    #[test]
    fn a_client_has_a_weight() {
        let client = |text: &str| text.parse::<ClientRequest>().map(|client| (client.profile, client.weight));
        assert_eq!(client("obs"), Ok((ClientProfile::Obs, 1)));
        assert_eq!(client("nginx-rtmp=60"), Ok((ClientProfile::NginxRtmp, 60)));
        for text in ["", "=1", "obs=", "obs=0", "obs=-1", "obs=1.5", "obs=1000001", "ffmpg"] {
            assert!(client(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bit_rate_has_a_unit_of_thousands_or_none() {
        let bits = |text: &str| text.parse::<BitRate>().map(|rate| rate.bits_per_second);
        assert_eq!(bits("2.5M"), Ok(2_500_000));
        assert_eq!(bits("800k"), Ok(800_000));
        assert_eq!(bits("64000"), Ok(64_000));
        for text in ["", "M", "0", "-1M", "1e9", "inf", "NaN", "2.5m", "2.5Mbit", "1.2.3k", "99999999999M"] {
            assert!(bits(text).unwrap_err().to_string().contains("2.5M"), "{text}");
        }
    }

    #[test]
    fn a_part_is_in_percent() {
        let part = |text: &str| text.parse::<Percent>().map(|percent| percent.0);
        assert_eq!((part("10%"), part("100 %"), part("1%")), (Ok(10), Ok(100), Ok(1)));
        for text in ["", "10", "0%", "101%", "1.5%", "-1%", "%"] {
            assert!(part(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_ranges_that_are_none() {
        for text in ["", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "eth0", "10.0.0.0-10.255.255.255", "::-ffff::"] {
            assert!(text.parse::<SourceRange>().is_err(), "{text}");
        }
    }
}
