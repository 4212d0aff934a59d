//! A request and a machine become one effective plan.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::base::{Nanos, Rate, RateRange, Seed};
use crate::engine::{ClosePolicy, Hold, Verify};
use crate::io::Engine;
use crate::load::{ArrivalPattern, Share};
use crate::protocol::{ClientProfile, HandshakeMode};
use crate::run::{
    ClientPlan, ClientShare, LoadPlan, Population, Preparation, RunPlan, StagePlan, Target, Threshold, Until,
};

use super::PlanError;
use super::machine::Machine;
use super::request::{ClientRequest, HoldRequest, Request};
use super::safety;
use super::target::{Lookup, TargetText};

const DEFAULT_CONCURRENCY: u32 = 64;
const DEFAULT_DURATION: Nanos = Nanos::from_secs(10);
const DEFAULT_TIMEOUT: Nanos = Nanos::from_secs(10);
/// What the simulated network is asked to play without a target.
const DEFAULT_SIM_TARGET: &str = "rtmp://serve.sim/live";
/// Sources have 16-bit names, one of which means "the kernel chooses".
const MAX_SOURCES: usize = 65_535;
/// Connections of a simulated run: as many as one ring's file table may hold.
const MAX_SIMULATED: u32 = 1 << 20;
/// Sources that the built-in sink's clients may use: 127.0.0.1 and up.
const LOOPBACK_SOURCES: u32 = 250;

/// A plan, and what to tell the user about how it came to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The effective plan.
    pub plan: RunPlan,
    /// Sizes that were adapted, one sentence each.
    pub notes: Vec<String>,
}

/// Applies defaults, looks names up and refuses what cannot work.
///
/// # Errors
/// One sentence with the cause and the remedy; the exit code for it is 2.
pub fn resolve(request: &Request, machine: &Machine, lookup: Lookup<'_>) -> Result<Resolved, PlanError> {
    let mut notes = Vec::new();
    let built_in_sink = request.targets.is_empty() && request.engine == Engine::IoUring;
    let targets = resolve_targets(request, lookup)?;
    let hold = request.hold.map_or(Hold::ForNs(0), |hold| match hold {
        HoldRequest::For(duration) => Hold::ForNs(Nanos::from(duration).as_u64()),
        HoldRequest::Forever => Hold::Forever,
    });
    let timeout = request.timeout.map_or(DEFAULT_TIMEOUT, Nanos::from);
    let connect_timeout = request.connect_timeout.map_or(DEFAULT_TIMEOUT, Nanos::from);
    for (name, value) in [("--timeout", timeout), ("--connect-timeout", connect_timeout)] {
        if value == Nanos::ZERO {
            return Err(PlanError::new(format!("{name} 0s would fail every attempt; give it a length, such as 10s")));
        }
    }
    let load = resolve_load(request)?;
    let mut sources: Vec<IpAddr> = Vec::new();
    for address in request.sources.iter().flat_map(|range| range.addresses()) {
        if !sources.contains(&address) {
            sources.push(address);
        }
    }
    check_sources(&sources, &targets)?;

    // Without a target the machine is shared with the sink: half of the cores each.
    let cores = match (built_in_sink, request.engine) {
        (_, Engine::Sim) => 1,
        (true, _) => (machine.cores / 2).max(1),
        (false, _) => machine.cores.max(1),
    };
    let automatic_sources = built_in_sink && sources.is_empty();
    let port_sets = if automatic_sources {
        u64::from(LOOPBACK_SOURCES)
    } else {
        sources.len().max(1) as u64 * targets.len() as u64
    };
    let ports = u64::from(machine.ports) * port_sets;
    let concurrency = match request.concurrency {
        Some(0) => return Err(PlanError::new("-c 0 leaves no slot to connect with; give at least 1")),
        Some(count) => count,
        None => {
            let capacity = u64::from(machine.descriptors) * u64::from(request.workers.unwrap_or(cores));
            default_concurrency(&load, hold, timeout, capacity.min(ports))
        }
    };
    check_hold(&load, hold, concurrency, &mut notes)?;
    check_ports(concurrency, ports, targets.len(), machine, request.engine)?;
    let workers = resolve_workers(request, concurrency, cores, machine, &mut notes)?;
    if automatic_sources && request.engine == Engine::IoUring {
        sources = loopback_sources(concurrency, machine);
    }
    let share = request.share.unwrap_or(Share::WHOLE);
    if share.count > 1 && matches!(load, LoadPlan::Closed { .. }) {
        return Err(PlanError::new(
            "--share deals out planned arrivals and a closed loop has none; give a rate with -R",
        ));
    }
    let clients = resolve_clients(request)?;
    let plan = RunPlan {
        targets,
        built_in_sink,
        engine: request.engine,
        workers,
        cpus: if request.engine == Engine::Sim { Vec::new() } else { worker_cpus(machine, workers, cores) },
        populations: vec![Population {
            name: "clients".into(),
            load,
            concurrency,
            clients,
            verify: request.verify.unwrap_or(Verify::All),
            until: request.until.unwrap_or(Until::Handshake),
            hold,
            close: request.close.unwrap_or(ClosePolicy::Rst),
            connect_timeout_ns: connect_timeout.as_u64(),
            timeout_ns: timeout.as_u64(),
        }],
        sources,
        thresholds: request.thresholds.clone(),
        seed: request.seed.unwrap_or_else(Seed::random),
        share,
        start_at: request.start_at.clone(),
    };
    Threshold::of_plan(&plan).map_err(|error| PlanError::new(error.to_string()))?;
    Preparation::new(Arc::new(plan.clone())).map_err(|error| PlanError::new(error.to_string()))?;
    Ok(Resolved { plan, notes })
}

fn resolve_targets(request: &Request, lookup: Lookup<'_>) -> Result<Vec<Target>, PlanError> {
    let mut targets = Vec::new();
    for text in &request.targets {
        for address in text.addresses(lookup)? {
            safety::check(text, address, &request.allowed)?;
            targets.push(Target::of(text, address));
        }
    }
    if targets.is_empty() && request.engine == Engine::Sim {
        let text: TargetText = DEFAULT_SIM_TARGET.parse()?;
        let addresses = text.addresses(lookup)?;
        targets.extend(addresses.into_iter().map(|address| Target::of(&text, address)));
    }
    if targets.is_empty() {
        // The port is known once the sink listens.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        targets.push(Target { name: "built-in sink".into(), host: "127.0.0.1".into(), address });
    }
    if targets.len() > usize::from(u16::MAX) {
        return Err(PlanError::new(format!(
            "{} target addresses are too many; the most is {}",
            targets.len(),
            u16::MAX
        )));
    }
    Ok(targets)
}

impl Target {
    fn of(text: &TargetText, address: SocketAddr) -> Self {
        Self { name: text.text.clone(), host: text.host.clone(), address }
    }
}

fn resolve_clients(request: &Request) -> Result<Vec<ClientShare>, PlanError> {
    if request.mode == Some(HandshakeMode::Simple) && request.digest_at.is_some() {
        return Err(PlanError::new("--digest places a digest and --mode simple has none; drop one of them"));
    }
    let own = [ClientRequest { profile: ClientProfile::Shakedown, weight: 1 }];
    let asked = if request.clients.is_empty() { &own[..] } else { &request.clients };
    let mut shares: Vec<ClientShare> = Vec::new();
    for &ClientRequest { profile, weight } in asked {
        if shares.iter().any(|share| share.client.profile == profile) {
            return Err(PlanError::new(format!("--client names {profile} twice; give it one weight")));
        }
        shares.push(ClientShare { client: resolve_client(profile, request)?, weight });
    }
    Ok(shares)
}

/// A client that is imitated has its mode and its place of the digest; only this program's own takes them from the flags.
fn resolve_client(profile: ClientProfile, request: &Request) -> Result<ClientPlan, PlanError> {
    let spec = profile.spec();
    let (mode, digest_at) = match profile {
        ClientProfile::Shakedown => (request.mode.unwrap_or(spec.mode), request.digest_at.unwrap_or(spec.digest_at)),
        _ => (spec.mode, spec.digest_at),
    };
    if let Some(wanted) = request.mode.filter(|wanted| *wanted != mode) {
        return Err(PlanError::new(format!(
            "--client {profile} makes the {mode} handshake and --mode asks for the {wanted} one; drop one of them"
        )));
    }
    match request.digest_at {
        Some(_) if mode == HandshakeMode::Simple => {
            Err(PlanError::new(format!("--digest places a digest and --client {profile} sends none; drop one of them")))
        }
        Some(wanted) if wanted != digest_at => Err(PlanError::new(format!(
            "--client {profile} has its digest in the {digest_at} and --digest asks for the {wanted}; drop one of them"
        ))),
        _ => Ok(ClientPlan { profile, mode, digest_at, wrong_c2: request.wrong_c2 }),
    }
}

fn resolve_load(request: &Request) -> Result<LoadPlan, PlanError> {
    if request.attempts == Some(0) {
        return Err(PlanError::new("-n 0 asks for no attempt; give at least 1"));
    }
    if request.duration.is_some_and(|duration| duration.is_zero()) {
        return Err(PlanError::new("-d 0s leaves no time for load; give it a length, such as 10s"));
    }
    let warmup = request.warmup.map_or(Nanos::ZERO, Nanos::from);
    let duration = match (request.duration, request.attempts) {
        (Some(duration), _) => Some(Nanos::from(duration)),
        (None, Some(_)) => None,
        (None, None) => Some(DEFAULT_DURATION),
    };
    let Some(rate) = request.rate else {
        if request.arrival.is_some() {
            return Err(PlanError::new(
                "--arrival spaces planned arrivals and a closed loop has none; give a rate with -R",
            ));
        }
        return Ok(LoadPlan::Closed {
            warmup_ns: warmup.as_u64(),
            duration_ns: duration.map(Nanos::as_u64),
            attempts: request.attempts,
        });
    };
    if !rate.is_constant() && request.duration.is_none() {
        return Err(PlanError::new(format!("-R {rate} is a ramp and needs a length; give it with -d")));
    }
    Ok(LoadPlan::Open {
        arrival: request.arrival.unwrap_or(ArrivalPattern::Uniform),
        stages: open_stages(rate, warmup, duration),
        attempts: request.attempts,
    })
}

fn open_stages(rate: RateRange, warmup: Nanos, duration: Option<Nanos>) -> Vec<StagePlan> {
    let stage = |name: &str, warmup, from: Rate, to: Rate, length: Option<Nanos>| StagePlan {
        name: name.into(),
        warmup,
        from_per_s: from.as_per_second(),
        to_per_s: to.as_per_second(),
        duration_ns: length.map(Nanos::as_u64),
    };
    let mut stages = Vec::new();
    if warmup > Nanos::ZERO {
        // A ramp is warmed up at the rate it begins with, or at the one it goes to if it begins with none.
        let at = if rate.from().as_per_second() > 0.0 { rate.from() } else { rate.to() };
        stages.push(stage("warm-up", true, at, at, Some(warmup)));
    }
    stages.push(stage("load", false, rate.from(), rate.to(), duration));
    stages
}

/// Slots for a load without `-c`: enough for the planned rate if every attempt and every hold took its full time, within
/// what the tables and ports of this machine can hold.
fn default_concurrency(load: &LoadPlan, hold: Hold, timeout: Nanos, capacity: u64) -> u32 {
    let LoadPlan::Open { stages, .. } = load else { return DEFAULT_CONCURRENCY };
    let peak = stages.iter().map(|stage| stage.from_per_s.max(stage.to_per_s)).fold(0.0, f64::max);
    let held = match hold {
        Hold::ForNs(nanos) => Nanos::new(nanos),
        Hold::Forever => Nanos::MAX,
    };
    let occupied = (timeout + held).min(load.length());
    let by_rate = (peak * occupied.as_secs_f64()).ceil() as u64;
    let wanted = most_attempts(load).map_or(by_rate, |most| most.min(by_rate));
    wanted.max(u64::from(DEFAULT_CONCURRENCY)).min(capacity.max(1)).min(u64::from(u32::MAX)) as u32
}

/// Attempts of a load that its number bounds, those of the warm-up included: as planned when spaced evenly; one of a
/// billion Poisson processes has more.
fn most_attempts(load: &LoadPlan) -> Option<u64> {
    let (before_last, arrival, attempts) = match load {
        LoadPlan::Closed { attempts, .. } => return *attempts,
        LoadPlan::Open { arrival, stages, attempts } => (stages.split_last()?.1, *arrival, (*attempts)?),
    };
    let length_s = |stage: &StagePlan| stage.duration_ns.map_or(0.0, |ns| Nanos::new(ns).as_secs_f64());
    let planned: f64 =
        before_last.iter().map(|stage| (stage.from_per_s + stage.to_per_s) / 2.0 * length_s(stage)).sum();
    let spread = match arrival {
        ArrivalPattern::Uniform => 0.0,
        ArrivalPattern::Poisson => 6.0 * planned.sqrt(),
    };
    Some(attempts.saturating_add((planned + spread).ceil() as u64))
}

/// Connections held for ever leave their slots to nobody: what waits for one would wait for ever.
fn check_hold(load: &LoadPlan, hold: Hold, concurrency: u32, notes: &mut Vec<String>) -> Result<(), PlanError> {
    if hold != Hold::Forever {
        return Ok(());
    }
    if let LoadPlan::Closed { warmup_ns: 1.., attempts, .. } = load {
        if attempts.is_some() {
            return Err(PlanError::new(
                "--hold forever never frees a slot, so the warm-up of a closed loop leaves none for -n; drop -w, or give \
                 a rate with -R or a hold time",
            ));
        }
        notes.push(format!("the warm-up holds all {concurrency} slots for ever: no attempt is left to measure"));
    }
    // A planned load of limited length ends with what still waits.
    let ends_by_itself = matches!(load, LoadPlan::Open { .. }) && load.length() < Nanos::MAX;
    match most_attempts(load) {
        Some(attempts) if attempts > u64::from(concurrency) && !ends_by_itself => Err(PlanError::new(format!(
            "--hold forever never frees a slot, so {concurrency} slots cannot make {attempts} attempts; give -c {attempts} or a hold time"
        ))),
        _ => Ok(()),
    }
}

fn check_sources(sources: &[IpAddr], targets: &[Target]) -> Result<(), PlanError> {
    if sources.len() > MAX_SOURCES {
        return Err(PlanError::new(format!(
            "{} source addresses are too many; the most is {MAX_SOURCES}",
            sources.len()
        )));
    }
    for source in sources {
        if let Some(target) = targets.iter().find(|target| target.address.is_ipv4() != source.is_ipv4()) {
            return Err(PlanError::new(format!(
                "source {source} and target {} are of different address families; give sources of the target's family",
                target.address
            )));
        }
    }
    Ok(())
}

fn check_ports(
    concurrency: u32,
    ports: u64,
    targets: usize,
    machine: &Machine,
    engine: Engine,
) -> Result<(), PlanError> {
    if engine == Engine::Sim || u64::from(concurrency) <= ports {
        return Ok(());
    }
    let of_a_source = (u64::from(machine.ports) * targets as u64).max(1);
    Err(PlanError::new(format!(
        "{concurrency} connections need {concurrency} local ports and there are {ports} ({} for each source and target); \
         give {} source addresses with --source, widen net.ipv4.ip_local_port_range, or lower -c",
        machine.ports,
        u64::from(concurrency).div_ceil(of_a_source)
    )))
}

fn resolve_workers(
    request: &Request,
    concurrency: u32,
    cores: u32,
    machine: &Machine,
    notes: &mut Vec<String>,
) -> Result<u32, PlanError> {
    if request.engine == Engine::Sim {
        if concurrency > MAX_SIMULATED {
            return Err(PlanError::new(format!(
                "the simulated network has room for {MAX_SIMULATED} connections, not {concurrency}; lower -c"
            )));
        }
        return match request.workers {
            None | Some(1) => Ok(1),
            Some(_) => Err(PlanError::new("the simulated network runs one worker; drop -t")),
        };
    }
    let needed = concurrency.div_ceil(machine.descriptors.max(1));
    match request.workers {
        Some(0) => Err(PlanError::new("-t 0 leaves no worker; give at least 1")),
        Some(workers) if workers > 4_096 => {
            Err(PlanError::new(format!("-t {workers} is too many workers; the most is 4096")))
        }
        Some(workers) if workers < needed => Err(PlanError::new(format!(
            "{concurrency} slots need {needed} workers: a worker's file table holds {} connections (the hard limit of open \
             files, ulimit -Hn); give -t {needed}, raise the limit, or lower -c",
            machine.descriptors
        ))),
        Some(workers) => Ok(workers),
        None if needed > cores => {
            notes.push(format!(
                "{needed} workers on {cores} cores: a worker's file table holds {} connections (ulimit -Hn) and {concurrency} slots are needed",
                machine.descriptors
            ));
            Ok(needed)
        }
        None => Ok(cores.min(concurrency)),
    }
}

/// The first cores are the workers'; a built-in sink gets those that follow.
fn worker_cpus(machine: &Machine, workers: u32, cores: u32) -> Vec<u32> {
    machine.cpus.iter().copied().take(workers.min(cores) as usize).collect()
}

/// Loopback addresses, so that no source uses more than half of its ports: connect() slows down beyond that.
fn loopback_sources(concurrency: u32, machine: &Machine) -> Vec<IpAddr> {
    let count = concurrency.div_ceil((machine.ports / 2).max(1)).clamp(1, LOOPBACK_SOURCES);
    if count == 1 {
        return Vec::new();
    }
    (1..=count).map(|last| IpAddr::from([127, 0, 0, last as u8])).collect()
}

#[cfg(test)]
mod tests;
