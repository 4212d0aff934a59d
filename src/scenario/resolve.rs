//! A request and a machine become one effective plan.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Nanos, Rate, RateRange, Seed};
use crate::engine::{ClosePolicy, Hold, Verify};
use crate::fleet::CpuList;
use crate::io::Engine;
use crate::load::{ArrivalPattern, Share, StreamKeys};
use crate::measure::{Expectation, ExpectedEvent};
use crate::protocol::{ClientProfile, HandshakeMode};
use crate::run::{
    ClientPlan, ClientShare, Lane, LoadPlan, Pace, Population, ProxyPlan, Repeat, RunPlan, StagePlan, Target,
    TargetShare, Until, redact_condition,
};

use super::PlanError;
use super::addresses::Addresses;
use super::machine::Machine;
use super::origins::{Origins, Setting};
use super::request::{ClientRequest, HoldRequest, PopulationRequest, Request};
use super::stages;
use super::target::{Lookup, TargetText};
pub use checks::check_prospects;
use checks::{check_conditions, check_loads, check_share};
use room::Room;
use slots::Slots;

mod checks;
mod room;
mod sessions;
mod slots;

const DEFAULT_CONCURRENCY: u32 = 64;
const DEFAULT_DURATION: Nanos = Nanos::from_secs(10);
const DEFAULT_TIMEOUT: Nanos = Nanos::from_secs(10);
/// The canary's name.
const CANARY: &str = "canary";
/// A canary that fails slowly must not run out of slots.
const CANARY_SLOTS: u32 = 8;
/// An attempt of the canary that takes longer has failed.
const CANARY_TIMEOUT: Duration = Duration::from_secs(2);
/// Sources have 16-bit names, one of which means "the kernel chooses".
const MAX_SOURCES: usize = 65_535;
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
    let built_in_sink = uses_built_in_sink(request);
    let mut addresses = Addresses::new(request, lookup);
    let flags = PopulationRequest::of_flags(request);
    let asked = if request.populations.is_empty() { std::slice::from_ref(&flags) } else { &request.populations[..] };
    let mut populations = resolve_populations(request, asked, &mut addresses)?;
    let shown = |text: &str| redact_condition(text, |target| addresses.name_of(target));
    let thresholds = checks::conditions(&request.origins, Setting::THRESHOLDS, &request.thresholds, shown)?;
    let abort_if = checks::conditions(&request.origins, Setting::ABORT_IF, &request.abort_if, shown)?;
    let Addresses { targets, mut sources, .. } = addresses;
    check_names(request, asked, &populations)?;
    check_sources(request, asked, &sources, &targets, &populations)?;

    check_cpus(request, machine)?;
    let cores = cores(request, machine, built_in_sink);
    let automatic_sources = built_in_sink && sources.is_empty();
    let ports = |group: &[&Population]| u64::from(machine.ports) * pairs(group, automatic_sources);
    let room = Room::of(request, machine, cores, built_in_sink);
    let share = request.share.unwrap_or(Share::WHOLE);
    size_lanes(&mut populations, room.connections, ports, |population| {
        sessions::most_slots(population, &targets, share)
    });
    for (asked, population) in asked.iter().zip(&populations) {
        for lane in &population.lanes {
            check_hold(&lane.load, &asked.origins, population.hold, lane.concurrency, &mut notes)?;
        }
    }
    for population in populations.iter().filter(|_| request.engine() != Engine::Sim) {
        let group = sharing_ports(&populations, population);
        check_ports(&group, ports(&group), machine, &Slots::of_largest(asked, &group))?;
    }
    let slots = Slots::of_largest(asked, &populations.iter().collect::<Vec<_>>());
    let concurrency = slots.number(&populations)?;
    let workers = room.workers(request, concurrency, cores, &slots, &mut notes)?;
    if automatic_sources && request.engine() != Engine::Sim {
        sources = loopback_sources(concurrency, machine);
        for population in &mut populations {
            population.sources = (0..sources.len() as u16).collect();
        }
    }
    check_share(request, asked, &populations)?;
    let drain = drain(request, asked, &populations)?;
    let plan = RunPlan {
        scenario: request.scenario.clone(),
        targets,
        built_in_sink,
        engine: request.engine(),
        workers,
        cpus: worker_cpus(request, machine, workers, cores, built_in_sink),
        populations,
        sources,
        thresholds,
        abort_if,
        drain,
        release_per_s: request.release.map(Rate::as_per_second),
        resolve_every_ns: resolve_every(request)?,
        proxy_protocol: proxy(request)?,
        tls: None,
        hold_check_ns: None,
        media: None,
        enhanced_rtmp: false,
        seed: request.seed.unwrap_or_else(Seed::random),
        share,
        start_at: request.start_at.clone(),
    };
    notes.extend(free_core(request, machine, &plan));
    let plan = sessions::with_options(plan, request)?;
    sessions::check_names(&plan, asked, &mut notes)?;
    check_loads(request, asked, &plan)?;
    check_conditions(&request.origins, &plan)?;
    Ok(Resolved { plan, notes })
}

/// The populations asked for, and the canary.
fn resolve_populations(
    request: &Request,
    asked: &[PopulationRequest],
    addresses: &mut Addresses<'_>,
) -> Result<Vec<Population>, PlanError> {
    let mut populations = Vec::new();
    for population in asked {
        let keys = sessions::keys(population)?;
        // The only population of a scenario may leave its load to the flags.
        let lanes = match asked {
            [only] if only.stages.is_empty() => vec![whole(resolve_load(request, &only.origins, keys.as_deref())?)],
            _ => stages::lanes(population)?,
        };
        let resolved = resolve_population(population, lanes, addresses)?;
        populations.push(sessions::with_streams(resolved, population, keys, &addresses.targets)?);
    }
    if let Some(canary) = &request.canary {
        populations.push(canary_of(canary, request, &populations, addresses)?);
    }
    Ok(populations)
}

/// Pairs of a source and a target that a group of populations has: each pair has all ports.
fn pairs(group: &[&Population], automatic_sources: bool) -> u64 {
    let sources: BTreeSet<u16> = group.iter().flat_map(|population| population.sources.iter().copied()).collect();
    let targets: BTreeSet<u16> =
        group.iter().flat_map(|population| population.targets.iter().map(|share| share.target)).collect();
    let sources = if automatic_sources { LOOPBACK_SOURCES as usize } else { sources.len().max(1) };
    sources as u64 * targets.len() as u64
}

/// Cores for the workers. Without a target the machine is shared with the sink: half of the cores each.
fn cores(request: &Request, machine: &Machine, built_in_sink: bool) -> u32 {
    match (&request.cpus, built_in_sink, request.engine()) {
        (_, _, Engine::Sim) => 1,
        (Some(list), ..) => list.as_slice().len() as u32,
        (None, true, _) => (machine.workers() / 2).max(1),
        (None, false, _) => machine.workers(),
    }
}

/// A note on the core that no worker gets, if there is one.
fn free_core(request: &Request, machine: &Machine, plan: &RunPlan) -> Option<String> {
    let core = machine.topology.free_core()?;
    let is_free = !plan.cpus.is_empty() && !core.cpus.iter().any(|cpu| plan.cpus.contains(cpu));
    is_free.then(|| {
        format!(
            "CPU {} is left free for the control thread, interrupts and the kernel's own work: {} chooses others",
            CpuList::from(core.cpus.clone()),
            request.origins.name(Setting::CPUS)
        )
    })
}

fn uses_built_in_sink(request: &Request) -> bool {
    let own = request.populations.iter().any(|population| !population.targets.is_empty());
    request.targets.is_empty() && !own && request.engine() != Engine::Sim
}

/// The whole of a load that flags describe; its slots are decided later.
fn whole(load: LoadPlan) -> Lane {
    Lane { begins_ns: 0, concurrency: 0, load }
}

fn resolve_population(
    asked: &PopulationRequest,
    mut lanes: Vec<Lane>,
    addresses: &mut Addresses<'_>,
) -> Result<Population, PlanError> {
    let (name, origins) = (&asked.name, &asked.origins);
    let clients = resolve_clients(asked)?;
    let hostile = clients.iter().any(|share| share.client.is_hostile());
    if asked.expect.is_some() && !hostile {
        let text = format!(
            "{name} expects a reaction to hostile clients and has none; give it one (such as half-c1), or use thresholds"
        );
        return Err(origins.refusal(&[Setting::EXPECT, Setting::CLIENTS], text));
    }
    let storm = lanes.iter().any(|lane| matches!(lane.load, LoadPlan::Storm { .. }));
    if storm && hostile {
        let text = format!(
            "the fleet of {name} comes back to stay, and hostile clients do not; give them a population of their own"
        );
        return Err(origins.refusal(&[Setting::CLIENTS], text));
    }
    if asked.concurrency == Some(0) {
        return Err(PlanError::new("-c 0 leaves no slot to connect with; give at least 1"));
    }
    for lane in &mut lanes {
        lane.concurrency = match &lane.load {
            LoadPlan::Open { .. } => asked.concurrency.unwrap_or(0),
            LoadPlan::Closed { steps, .. } => steps.iter().map(|step| step.from.max(step.to)).max().unwrap_or(0),
            LoadPlan::Storm { fleet, .. } => *fleet,
        };
    }
    let (timeout, connect_timeout) = (
        // Whether something was to happen by then is known only after it.
        asked.timeout.map_or_else(|| patience(asked.expect), Nanos::from),
        asked.connect_timeout.map_or(DEFAULT_TIMEOUT, Nanos::from),
    );
    for (flag, value) in [("--timeout", timeout), ("--connect-timeout", connect_timeout)] {
        if value == Nanos::ZERO {
            return Err(PlanError::new(format!("{flag} 0s would fail every attempt; give it a length, such as 10s")));
        }
    }
    if let Some(expect) = asked.expect.filter(|expect| expect.limit > timeout) {
        let text = format!(
            "{name} expects '{expect}' and waits only {timeout} for it; give it a longer {}, or none",
            origins.name(Setting::TIMEOUT)
        );
        return Err(origins.refusal(&[Setting::TIMEOUT, Setting::EXPECT], text));
    }
    Ok(Population {
        name: name.clone(),
        lanes,
        targets: addresses.targets(asked)?,
        sources: addresses.sources(asked),
        clients,
        verify: asked.verify.unwrap_or(Verify::All),
        until: asked.until.unwrap_or(Until::Handshake),
        app: asked.app.clone(),
        stream: None,
        stream_keys: Arc::default(),
        hold: match asked.hold {
            Some(HoldRequest::For(duration)) => Hold::ForNs(Nanos::from(duration).as_u64()),
            Some(HoldRequest::Exponential(mean)) => Hold::Exponential { mean_ns: Nanos::from(mean).as_u64() },
            Some(HoldRequest::Forever) => Hold::Forever,
            None if storm => Hold::Forever,
            None => Hold::ForNs(0),
        },
        close: asked.close.unwrap_or(ClosePolicy::Rst),
        connect_timeout_ns: connect_timeout.as_u64(),
        timeout_ns: timeout.as_u64(),
        expect: asked.expect,
        canary: false,
    })
}

/// How long attempts have, and how long hostile clients wait for a reaction: a little longer than it may take.
fn patience(expect: Option<Expectation>) -> Nanos {
    expect.map_or(DEFAULT_TIMEOUT, |expect| match expect.event {
        ExpectedEvent::Open => expect.limit,
        _ => expect.limit + Nanos::new(expect.limit.as_u64() / 4).max(Nanos::from_secs(1)),
    })
}

/// The canary: one attempt a second as long as anything else goes on.
fn canary_of(
    target: &TargetText,
    request: &Request,
    populations: &[Population],
    addresses: &mut Addresses<'_>,
) -> Result<Population, PlanError> {
    let asked = PopulationRequest {
        name: CANARY.to_owned(),
        targets: vec![target.clone()],
        concurrency: Some(CANARY_SLOTS),
        timeout: Some(CANARY_TIMEOUT),
        connect_timeout: Some(CANARY_TIMEOUT),
        origins: request.origins.renamed(Setting::CANARY, Setting::TARGETS),
        ..PopulationRequest::default()
    };
    let length = populations.iter().map(Population::length).max().filter(|length| *length < Nanos::MAX);
    let stage = StagePlan {
        name: CANARY.to_owned(),
        warmup: false,
        probe: false,
        pace: Pace::Rate { from_per_s: 1.0, to_per_s: 1.0 },
        duration_ns: length.map(Nanos::as_u64),
    };
    let load = LoadPlan::Open { arrival: ArrivalPattern::Uniform, stages: vec![stage], attempts: None, repeat: None };
    Ok(Population { canary: true, ..resolve_population(&asked, vec![whole(load)], addresses)? })
}

/// Gives a size to the lanes that have none: what their plans need, within the `room` and ports of this machine and
/// the `most` that a lane of a population can use.
fn size_lanes(
    populations: &mut [Population],
    room: u64,
    ports: impl Fn(&[&Population]) -> u64,
    most: impl Fn(&Population) -> u64,
) {
    // What the lanes that have a size leave to each of those that have none.
    let part = |whole: u64, group: &[&Population]| {
        let lanes = group.iter().flat_map(|population| &population.lanes);
        let sized = lanes.clone().map(|lane| u64::from(lane.concurrency)).sum();
        whole.saturating_sub(sized) / lanes.filter(|lane| lane.concurrency == 0).count().max(1) as u64
    };
    let part_of_room = part(room, &populations.iter().collect::<Vec<_>>());
    let capacities: Vec<u64> = populations
        .iter()
        .map(|population| {
            let group = sharing_ports(populations, population);
            part_of_room.min(part(ports(&group), &group)).min(most(population))
        })
        .collect();
    for (population, capacity) in populations.iter_mut().zip(capacities) {
        let (hold, timeout) = (population.hold, Nanos::new(population.timeout_ns));
        for lane in population.lanes.iter_mut().filter(|lane| lane.concurrency == 0) {
            lane.concurrency = default_concurrency(&lane.load, hold, timeout, capacity);
        }
    }
}

/// The populations whose connections need ports of the same sources and targets as `population`'s, itself included.
fn sharing_ports<'a>(populations: &'a [Population], population: &Population) -> Vec<&'a Population> {
    let shares = |other: &&Population| {
        let same_target = |share: &TargetShare| population.targets.iter().any(|own| own.target == share.target);
        other.targets.iter().any(same_target)
            && (other.sources == population.sources
                || other.sources.iter().any(|source| population.sources.contains(source)))
    };
    populations.iter().filter(shares).collect()
}

fn check_names(request: &Request, asked: &[PopulationRequest], populations: &[Population]) -> Result<(), PlanError> {
    for (index, population) in populations.iter().enumerate() {
        if let Some(first) = populations[..index].iter().position(|other| other.name == population.name) {
            let name = &population.name;
            return Err(if population.canary {
                let canary = request.origins.name(Setting::CANARY);
                let text = format!("'{name}' is the name of the population that {canary} makes; give this one another");
                asked[first].origins.refusal(&[Setting::NAME], text)
            } else {
                let text = format!("two populations are called '{name}'; give each a name of its own");
                asked[index].origins.refusal(&[Setting::NAME], text)
            });
        }
    }
    Ok(())
}

fn resolve_every(request: &Request) -> Result<Option<u64>, PlanError> {
    let name = request.origins.name(Setting::RESOLVE);
    let refusal = |text: String| Err(request.origins.refusal(&[Setting::RESOLVE], text));
    match request.resolve_every {
        None => Ok(None),
        Some(_) if request.engine() == Engine::Sim => {
            refusal(format!("the names of the simulated network do not change; drop {name}"))
        }
        Some(every) if every < Duration::from_secs(1) => {
            refusal(format!("{name} asks the resolver more than once a second; give it 1s or more"))
        }
        Some(every) => Ok(Some(Nanos::from(every).as_u64())),
    }
}

fn proxy(request: &Request) -> Result<Option<ProxyPlan>, PlanError> {
    let origins = &request.origins;
    let (protocol, ips) = (origins.name(Setting::PROXY_PROTOCOL), origins.name(Setting::CLIENT_IPS));
    match (request.proxy_protocol, request.client_ips) {
        (None, None) => Ok(None),
        (Some(version), Some(client_ips)) => Ok(Some(ProxyPlan { version, client_ips })),
        (Some(_), None) => {
            let example = origins.written(Setting::CLIENT_IPS, "10.9.0.0/16");
            let text =
                format!("{protocol} names clients and no addresses are given for them; add for example {example}");
            Err(origins.refusal(&[Setting::PROXY_PROTOCOL], text))
        }
        (None, Some(_)) => {
            let example = origins.written(Setting::PROXY_PROTOCOL, "v1");
            let text = format!("{ips} are sent in a PROXY header and none is asked; add {example}, or v2");
            Err(origins.refusal(&[Setting::CLIENT_IPS], text))
        }
    }
}

fn resolve_clients(asked: &PopulationRequest) -> Result<Vec<ClientShare>, PlanError> {
    if asked.mode == Some(HandshakeMode::Simple) && asked.digest_at.is_some() {
        let origins = &asked.origins;
        let (digest, simple) = (origins.name(Setting::DIGEST), origins.written(Setting::MODE, "simple"));
        let text = format!("{digest} places a digest and {simple} has none; drop one of them");
        return Err(origins.refusal(&[Setting::DIGEST, Setting::MODE], text));
    }
    let own = [ClientRequest { profile: ClientProfile::Shakedown, weight: 1 }];
    let clients = if asked.clients.is_empty() { &own[..] } else { &asked.clients };
    let mut shares: Vec<ClientShare> = Vec::new();
    for &ClientRequest { profile, weight } in clients {
        if shares.iter().any(|share| share.client.profile == profile) {
            let text = format!("{} names {profile} twice; give it one weight", asked.origins.name(Setting::CLIENTS));
            return Err(asked.origins.refusal(&[Setting::CLIENTS], text));
        }
        shares.push(ClientShare { client: resolve_client(profile, asked)?, weight });
    }
    Ok(shares)
}

/// A client that is imitated has its mode and its place of the digest; only this program's own takes them from the flags.
fn resolve_client(profile: ClientProfile, request: &PopulationRequest) -> Result<ClientPlan, PlanError> {
    let spec = profile.spec();
    let (mode, digest_at) = match profile {
        ClientProfile::Shakedown => (request.mode.unwrap_or(spec.mode), request.digest_at.unwrap_or(spec.digest_at)),
        _ => (spec.mode, spec.digest_at),
    };
    let origins = &request.origins;
    let (asks_mode, asks_digest) = (origins.name(Setting::MODE), origins.name(Setting::DIGEST));
    // A list of clients is written in many ways; a flag is one.
    let client = match origins.name(Setting::CLIENTS) {
        flag if flag == Setting::CLIENTS.flag => format!("{flag} {profile}"),
        _ => profile.to_string(),
    };
    let (of_mode, of_digest) = ([Setting::MODE, Setting::CLIENTS], [Setting::DIGEST, Setting::CLIENTS]);
    if let Some(wanted) = request.mode.filter(|wanted| *wanted != mode) {
        let text =
            format!("{client} makes the {mode} handshake and {asks_mode} asks for the {wanted} one; drop one of them");
        return Err(origins.refusal(&of_mode, text));
    }
    if request.mode.is_some() && profile.speaks_no_rtmp() {
        let text = format!("{client} makes no handshake, so {asks_mode} does not apply; drop one of them");
        return Err(origins.refusal(&of_mode, text));
    }
    match request.digest_at {
        Some(_) if mode == HandshakeMode::Simple => {
            let text = format!("{asks_digest} places a digest and {client} sends none; drop one of them");
            Err(origins.refusal(&of_digest, text))
        }
        Some(wanted) if wanted != digest_at => {
            let text = format!(
                "{client} has its digest in the {digest_at} and {asks_digest} asks for the {wanted}; drop one of them"
            );
            Err(origins.refusal(&of_digest, text))
        }
        _ => Ok(ClientPlan { profile, mode, digest_at, wrong_c2: request.wrong_c2 }),
    }
}

/// `origins` are those of the population whose load flags describe.
fn resolve_load(request: &Request, origins: &Origins, keys: Option<&StreamKeys>) -> Result<LoadPlan, PlanError> {
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
            let text = format!(
                "{} spaces planned arrivals and a closed loop has none; give a rate with {}",
                origins.name(Setting::ARRIVAL),
                origins.name(Setting::STAGES)
            );
            return Err(origins.refusal(&[Setting::ARRIVAL], text));
        }
        let most = keys.map_or(u32::MAX, |keys| u32::try_from(keys.len()).unwrap_or(u32::MAX));
        let concurrency = request.concurrency.unwrap_or(most.min(DEFAULT_CONCURRENCY));
        return Ok(LoadPlan::closed(concurrency, warmup.as_u64(), duration.map(Nanos::as_u64), request.attempts));
    };
    if !rate.is_constant() && request.duration.is_none() {
        return Err(PlanError::new(format!("-R {rate} is a ramp and needs a length; give it with -d")));
    }
    Ok(LoadPlan::Open {
        arrival: request.arrival.unwrap_or(ArrivalPattern::Uniform),
        stages: open_stages(rate, warmup, duration),
        attempts: request.attempts,
        repeat: None,
    })
}

fn open_stages(rate: RateRange, warmup: Nanos, duration: Option<Nanos>) -> Vec<StagePlan> {
    let stage = |name: &str, warmup, from: Rate, to: Rate, length: Option<Nanos>| StagePlan {
        name: name.into(),
        warmup,
        probe: false,
        pace: Pace::Rate { from_per_s: from.as_per_second(), to_per_s: to.as_per_second() },
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
    let LoadPlan::Open { stages, repeat, .. } = load else { return DEFAULT_CONCURRENCY };
    let rates = stages.iter().filter(|stage| matches!(stage.pace, Pace::Rate { .. })).map(StagePlan::peak_per_s);
    let peak = rates.fold(0.0, f64::max);
    let held = match hold {
        Hold::ForNs(nanos) => Nanos::new(nanos),
        Hold::Exponential { mean_ns } => Nanos::new(mean_ns),
        Hold::Forever => Nanos::MAX,
    };
    let occupied = (timeout + held).min(load.length());
    // The bursts that fall into the time that an attempt may take.
    let times = repeat.map_or(1, |Repeat { every_ns, times }| {
        (occupied.as_u64() / every_ns.max(1)).saturating_add(1).min(u64::from(times))
    });
    let counts = stages.iter().map(|stage| if let Pace::Burst { count } = stage.pace { count } else { 0 });
    let bursts = counts.fold(0, u64::saturating_add).saturating_mul(times);
    let on_average = peak * occupied.as_secs_f64() + bursts as f64;
    // The number that holds of random length have at the same time varies like that of Poisson arrivals.
    let spread = if let Hold::Exponential { .. } = hold { 6.0 * on_average.sqrt() } else { 0.0 };
    let by_rate = (on_average + spread).ceil() as u64;
    let wanted = most_attempts(load).map_or(by_rate, |most| most.min(by_rate));
    wanted.max(u64::from(DEFAULT_CONCURRENCY)).min(capacity.max(1)).min(u64::from(u32::MAX)) as u32
}

/// Attempts of a load that its number bounds, those of the warm-up included: as planned when spaced evenly; one of a
/// billion Poisson processes has more.
fn most_attempts(load: &LoadPlan) -> Option<u64> {
    let (before_last, arrival, attempts) = match load {
        LoadPlan::Closed { attempts, .. } => return *attempts,
        LoadPlan::Open { arrival, stages, attempts, .. } => (stages.split_last()?.1, *arrival, (*attempts)?),
        LoadPlan::Storm { .. } => return None,
    };
    let planned: f64 = before_last.iter().map(planned_attempts).sum();
    let spread = match arrival {
        ArrivalPattern::Uniform => 0.0,
        ArrivalPattern::Poisson => 6.0 * planned.sqrt(),
    };
    Some(attempts.saturating_add((planned + spread).ceil() as u64))
}

/// Arrivals that a stage plans.
fn planned_attempts(stage: &StagePlan) -> f64 {
    match stage.pace {
        Pace::Rate { from_per_s, to_per_s } => {
            (from_per_s + to_per_s) / 2.0 * stage.duration_ns.map_or(0.0, |ns| Nanos::new(ns).as_secs_f64())
        }
        Pace::Burst { count } => count as f64,
    }
}

/// Whether the end of the load waits for what is held, which must come to an end by itself.
fn drain(request: &Request, asked: &[PopulationRequest], populations: &[Population]) -> Result<bool, PlanError> {
    let drains = request.drain == Some(true);
    let for_ever = populations.iter().position(|population| population.hold == Hold::Forever);
    match for_ever.and_then(|index| asked.get(index)).filter(|_| drains) {
        Some(population) => Err(population.origins.refusal(
            &[Setting::HOLD],
            format!(
                "{} waits for every hold, and one for ever has no end; give a hold time, or leave {0} out",
                request.origins.name(Setting::DRAIN)
            ),
        )),
        None => Ok(drains),
    }
}

/// Connections held for ever leave their slots to nobody: what waits for one would wait for ever.
fn check_hold(
    load: &LoadPlan,
    origins: &Origins,
    hold: Hold,
    concurrency: u32,
    notes: &mut Vec<String>,
) -> Result<(), PlanError> {
    if hold != Hold::Forever {
        return Ok(());
    }
    let forever = origins.written(Setting::HOLD, "forever");
    if let LoadPlan::Closed { steps, attempts } = load
        && steps.iter().any(|step| step.warmup)
    {
        if attempts.is_some() {
            let text = format!(
                "{forever} never frees a slot, so the warm-up of a closed loop leaves none for -n; drop -w, or give a \
                 rate with -R or a hold time"
            );
            return Err(origins.refusal(&[Setting::HOLD], text));
        }
        notes.push(format!("the warm-up holds all {concurrency} slots for ever: no attempt is left to measure"));
    }
    // A planned load of limited length ends with what still waits.
    let ends_by_itself = matches!(load, LoadPlan::Open { .. }) && load.length() < Nanos::MAX;
    match most_attempts(load) {
        Some(attempts) if attempts > u64::from(concurrency) && !ends_by_itself => {
            let enough = origins.written(Setting::CONCURRENCY, attempts);
            let text = format!(
                "{forever} never frees a slot, so {concurrency} slots cannot make {attempts} attempts; give {enough} or a \
                 hold time"
            );
            Err(origins.refusal(&[Setting::HOLD], text))
        }
        _ => Ok(()),
    }
}

fn check_sources(
    request: &Request,
    asked: &[PopulationRequest],
    sources: &[IpAddr],
    targets: &[Target],
    populations: &[Population],
) -> Result<(), PlanError> {
    // A population has sources of its own, or the run's.
    let refusal = |own: Option<&PopulationRequest>, text: String| {
        let own = own.filter(|population| !population.sources.is_empty());
        own.map_or(&request.origins, |population| &population.origins).refusal(&[Setting::SOURCES], text)
    };
    if sources.len() > MAX_SOURCES {
        let text = format!("{} source addresses are too many; the most is {MAX_SOURCES}", sources.len());
        return Err(refusal(asked.iter().find(|population| !population.sources.is_empty()), text));
    }
    for (index, population) in populations.iter().enumerate() {
        for source in population.sources.iter().map(|index| sources[usize::from(*index)]) {
            let targets = population.targets.iter().map(|share| &targets[usize::from(share.target)]);
            if let Some(target) = targets.into_iter().find(|target| target.address.is_ipv4() != source.is_ipv4()) {
                let text = format!(
                    "source {source} and target {} are of different address families; give sources of the target's family",
                    target.address
                );
                return Err(refusal(asked.get(index), text));
            }
        }
    }
    Ok(())
}

/// `group` are populations that share `ports`.
fn check_ports(group: &[&Population], ports: u64, machine: &Machine, slots: &Slots<'_>) -> Result<(), PlanError> {
    let concurrency: u64 = group.iter().map(|population| u64::from(population.concurrency())).sum();
    if concurrency <= ports {
        return Ok(());
    }
    let targets: BTreeSet<u16> =
        group.iter().flat_map(|population| population.targets.iter().map(|share| share.target)).collect();
    let of_a_source = (u64::from(machine.ports) * targets.len() as u64).max(1);
    Err(slots.refusal(format!(
        "{concurrency} connections need {concurrency} local ports and there are {ports} ({} for each source and target); \
         give {} source addresses with {}, widen net.ipv4.ip_local_port_range, or {}",
        machine.ports,
        concurrency.div_ceil(of_a_source),
        slots.asked.origins.name(Setting::SOURCES),
        slots.fewer()
    )))
}

/// The CPUs asked for are ones that this process may use.
fn check_cpus(request: &Request, machine: &Machine) -> Result<(), PlanError> {
    let Some(list) = &request.cpus else { return Ok(()) };
    let origins = &request.origins;
    let name = origins.name(Setting::CPUS);
    if request.engine() == Engine::Sim {
        let text = format!("the simulated network pins no worker; drop {name}");
        return Err(origins.refusal(&[Setting::CPUS], text));
    }
    let mut allowed = machine.topology.cpus();
    allowed.sort_unstable();
    list.check_within(&allowed).map_err(|error| origins.refusal(&[Setting::CPUS], format!("{name}: {error}")))
}

/// The CPUs asked for, or the first ones of the machine, no more than there are workers. A built-in sink gets those that
/// are left; without one, more workers than cores may be asked for, and get the cores' other threads.
fn worker_cpus(request: &Request, machine: &Machine, workers: u32, cores: u32, built_in_sink: bool) -> Vec<u32> {
    let (cpus, most) = match &request.cpus {
        _ if request.engine() == Engine::Sim => return Vec::new(),
        Some(list) => (list.as_slice().to_vec(), cores),
        None if request.workers.is_some() && !built_in_sink => (machine.topology.cpus(), machine.cores.max(1)),
        None => (machine.topology.cpus(), cores),
    };
    cpus.into_iter().take(workers.min(most) as usize).collect()
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
