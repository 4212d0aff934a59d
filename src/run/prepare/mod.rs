//! From the plan to backends and workers: the pieces that every worker gets of it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::base::{Nanos, StreamPurpose, Time, host_address};
use crate::engine::{Client, Headers, Hold, LaneSpec, Load, Worker, WorkerPlan};
use crate::io::tls::{Tls, TlsClient, TlsClientPlan, TlsError, Trust};
use crate::io::{BufferPlan, Bytes, Engine, IoPlan, SourceId, TargetId};
use crate::load::{
    Arrivals, ConcurrencyError, ConcurrencyPlan, LoadProfile, LoadProfileError, Quota, QuotaShare, Share, WeightedTurns,
};
use crate::measure::{Recorder, RecorderLayout};
use crate::protocol::{ClientClock, ClientProfile, ClientTemplates, S0S1S2_SIZE};

use crate::host::local_port_range;
use crate::run::plan::{
    ClientPlan, Lane, LoadPlan, Population, RunPlan, StepPlan, Target, concurrency, profile, recorder_layout,
};

mod memory;
mod proxy;
mod sessions;

pub use memory::{MemoryNeed, NoRoom, WorkerMemory, check_address_space, check_room};
use sessions::PreparedSessions;

/// C0C1s of a kind of client that each worker signs at its start; it sends them in turn. 64 of them stay in a core's cache.
const TEMPLATES_PER_WORKER: usize = 64;

/// What all workers share of a plan.
#[derive(Debug)]
pub struct Preparation {
    plan: Arc<RunPlan>,
    layout: Arc<RecorderLayout>,
    lanes: Vec<PreparedLane>,
    sessions: PreparedSessions,
    /// Audio and video, which all workers share.
    media: Bytes,
    /// How targets are secured; `None` if none is.
    tls: Option<Tls>,
    /// All local ports, where connections will need more than half of them.
    ports: Option<RangeInclusive<u16>>,
}

/// A lane of a population, and the first of its stages in the layout.
#[derive(Debug)]
struct PreparedLane {
    population: usize,
    lane: usize,
    load: PreparedLoad,
    first_stage: u16,
}

#[derive(Debug)]
enum PreparedLoad {
    Open(Arc<LoadProfile>),
    Closed(Arc<Quota>, ConcurrencyPlan),
    Storm,
}

/// Why a load cannot be planned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// The arrivals cannot.
    #[error(transparent)]
    Profile(#[from] LoadProfileError),
    /// The numbers of slots in use cannot.
    #[error(transparent)]
    Concurrency(#[from] ConcurrencyError),
    /// What is to be said or sent after the handshake cannot be made ready.
    #[error("{0}")]
    Session(String),
    /// TLS cannot be had as planned.
    #[error(transparent)]
    Tls(#[from] Arc<TlsError>),
}

/// A worker's part that is ready before the start instant is known: its templates.
#[derive(Debug)]
pub struct WorkerParts {
    clients: Vec<Client>,
    headers: Option<Headers>,
}

impl WorkerParts {
    /// Bytes of the templates, beside those that the backend's plan has of them.
    pub(super) fn memory(&self) -> usize {
        self.clients.iter().map(|client| client.templates.memory()).sum()
    }
}

impl Preparation {
    /// Plans the attempts of every lane.
    ///
    /// # Errors
    /// If the stages of a lane are no load.
    pub fn new(plan: Arc<RunPlan>) -> Result<Self, LoadError> {
        let layout = Arc::new(recorder_layout(&plan));
        let mut lanes = Vec::new();
        let mut first_stage = 0;
        for (index, population) in plan.populations.iter().enumerate() {
            for (lane, Lane { begins_ns, load, .. }) in population.lanes.iter().enumerate() {
                let begins = Nanos::new(*begins_ns);
                let prepared = match load {
                    LoadPlan::Open { stages, attempts, repeat, .. } => {
                        PreparedLoad::Open(Arc::new(profile(begins, stages, *repeat, first_stage, *attempts)?))
                    }
                    LoadPlan::Closed { steps, attempts } => PreparedLoad::Closed(
                        Arc::new(Quota::new(*attempts, plan.workers)),
                        concurrency(begins, steps, first_stage)?,
                    ),
                    LoadPlan::Storm { .. } => PreparedLoad::Storm,
                };
                lanes.push(PreparedLane { population: index, lane, load: prepared, first_stage });
                first_stage += load.stages().count() as u16;
            }
        }
        let sessions = PreparedSessions::new(&plan).map_err(LoadError::Session)?;
        let media = sessions.media();
        let tls = tls_of(&plan)?;
        let ports = local_port_range().filter(|ports| plan.engine != Engine::Sim && crowds(&plan, ports.len()));
        Ok(Self { plan, layout, lanes, sessions, media, tls, ports })
    }

    /// What the recorders of this plan measure.
    pub fn layout(&self) -> &Arc<RecorderLayout> {
        &self.layout
    }

    /// How targets are secured; `None` if none is.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Signs a worker's templates and says what its backend must be.
    pub fn parts(&self, worker: u32) -> (WorkerParts, IoPlan) {
        let mut bytes = Vec::new();
        let clock = self.clock();
        let mut parts = WorkerParts { clients: Vec::new(), headers: None };
        for (index, client) in self.plan.clients().iter().enumerate() {
            let stream = worker | (index as u32) << 16;
            let mut random = self.plan.seed.stream(StreamPurpose::ClientTemplates, stream);
            let templates = ClientTemplates::of_client(&client.spec(), clock, TEMPLATES_PER_WORKER, &mut random);
            let templates_offset = bytes.len() as u32;
            bytes.extend_from_slice(templates.bytes());
            parts.clients.push(Client {
                templates: Arc::new(templates),
                templates_offset,
                wrong_c2: client.wrong_c2,
                hostile: client.is_hostile(),
                nagle: self.plan.keeps_nagle(client),
                acknowledges_at_once: client.profile == ClientProfile::Shakedown,
            });
        }
        parts.headers = self.plan.proxy_protocol.map(|proxy| proxy::headers(&proxy, &self.plan, worker, &mut bytes));
        let slots: u32 = self.lanes.iter().map(|lane| self.slots(self.lane(lane), worker)).sum();
        let io = IoPlan {
            slots,
            targets: self.plan.targets.iter().map(|target| target.address).collect(),
            sources: self.plan.sources.clone(),
            listeners: Vec::new(),
            nodelay: true,
            arrival_times: true,
            hold_check: self.plan.hold_check_ns.map(Nanos::new),
            ports: self.ports.clone(),
            shared_bytes: bytes.into(),
            media: Bytes::clone(&self.media),
            buffers: BufferPlan {
                count: slots,
                receive_size: WorkerPlan::RECEIVE_SIZE as u32,
                send_size: self.sessions.send_size(),
            },
        };
        (parts, io)
    }

    /// Makes a worker that begins at `start`.
    pub fn worker(&self, worker: u32, parts: WorkerParts, start: Time) -> Worker {
        let kinds = self.plan.clients();
        let spec = |(number, prepared): (u32, &PreparedLane)| {
            let population = &self.plan.populations[prepared.population];
            let targets = population.targets.iter().map(|share| (TargetId(share.target), share.weight)).collect();
            LaneSpec {
                load: self.load(number, prepared, worker),
                slots: self.slots(self.lane(prepared), worker),
                clients: indices(population, &kinds),
                turns: self.turns(population, worker),
                verify: population.verify,
                targets: in_turn_from(targets, worker),
                sources: in_turn_from(source_ids(population), worker),
                until: population.until,
                session: self.sessions.rules_of(&self.plan, prepared.population, self.first_client(prepared, worker)),
                hold: population.hold,
                close: population.close,
                connect_timeout: Nanos::new(population.connect_timeout_ns),
                timeout: Nanos::new(population.timeout_ns),
                expect: population.expect,
                is_canary: population.canary,
            }
        };
        let plan = WorkerPlan {
            start,
            hold_end: if self.plan.drain || self.plan.feeds_players() { Nanos::MAX } else { self.plan.length() },
            clients: parts.clients,
            lanes: (0..).zip(&self.lanes).map(spec).collect(),
            targets: self.plan.targets.len() as u16,
            tls: self.plan.targets.iter().map(|target| target.tls).collect(),
            session: self.sessions.plan(&self.plan, worker),
            headers: parts.headers,
            release_per_s: self.plan.release_per_s.map(|per_s| per_s / f64::from(self.plan.workers)),
            sampling: self.plan.seed.stream(StreamPurpose::Sampling, worker),
            holding: self.plan.seed.stream(StreamPurpose::Holding, worker),
        };
        Worker::new(plan, Recorder::new(Arc::clone(&self.layout), start))
    }

    fn lane(&self, prepared: &PreparedLane) -> &Lane {
        &self.plan.populations[prepared.population].lanes[prepared.lane]
    }

    /// `number` is the lane's among all lanes: each has random numbers of its own.
    fn load(&self, number: u32, prepared: &PreparedLane, worker: u32) -> Load {
        let lane = self.lane(prepared);
        // Workers without a slot get no attempts, so the others share all of them.
        let serving = self.plan.workers.min(lane.concurrency).max(1);
        let part = Share { index: worker.min(serving - 1), count: serving };
        match (&prepared.load, &lane.load) {
            (PreparedLoad::Open(profile), LoadPlan::Open { arrival, .. }) => {
                let share = self.plan.share.split(part.index, part.count);
                let seed = self.plan.seed.of_lane(number);
                let arrivals = Arrivals::new(Arc::clone(profile), *arrival, share, seed);
                Load::Open { arrivals, end: profile.length() }
            }
            (PreparedLoad::Closed(quota, plan), LoadPlan::Closed { .. }) => {
                Load::Closed { quota: self.quota_share(prepared, quota), plan: plan.clone(), part }
            }
            (PreparedLoad::Storm, LoadPlan::Storm { fleet, reconnect, .. }) => Load::Storm {
                rule: *reconnect,
                begin: Nanos::new(lane.begins_ns),
                end: lane.end(),
                stage: prepared.first_stage,
                fleet: *fleet,
                part: self.plan.share.split(worker, self.plan.workers),
                random: self.plan.seed.of_lane(number).stream(StreamPurpose::Reconnects, 0),
            },
            _ => unreachable!("a lane was prepared from its own plan"),
        }
    }

    /// Slots that are never held and always in use become free again, whatever the target does: attempts may be taken ahead
    /// of them. A ramp may leave a worker none.
    fn quota_share(&self, prepared: &PreparedLane, quota: &Arc<Quota>) -> QuotaShare {
        let lane = self.lane(prepared);
        let steady = |steps: &[StepPlan]| steps.iter().all(|step| step.from == step.to && step.to >= lane.concurrency);
        let always_in_use = matches!(&lane.load, LoadPlan::Closed { steps, .. } if steady(steps));
        let held = self.plan.populations[prepared.population].hold != Hold::ForNs(0);
        let share = if always_in_use && !held { QuotaShare::ahead } else { QuotaShare::new };
        share(Arc::clone(quota))
    }

    /// The turns of a population's clients. Each machine and worker is one turn further at its start, so that they do not
    /// all begin with the same client.
    fn turns(&self, population: &Population, worker: u32) -> WeightedTurns {
        let mut turns = WeightedTurns::new(population.clients.iter().map(|share| share.weight));
        for _ in 0..self.plan.share.index + worker {
            turns.take();
        }
        turns
    }

    /// What a client on this machine sees; the simulated network's begin at zero, so that a run repeats byte for byte.
    fn clock(&self) -> ClientClock {
        match self.plan.engine {
            Engine::Sim => ClientClock::default(),
            Engine::IoUring | Engine::Epoll => clock_of_this_machine(),
        }
    }

    /// The number of a worker's first slot among all of a lane's, over all machines.
    fn first_client(&self, prepared: &PreparedLane, worker: u32) -> u32 {
        let lane = self.lane(prepared);
        let of_machines_before: u32 = match lane.load {
            LoadPlan::Storm { fleet, .. } => {
                let Share { index, count } = self.plan.share;
                (0..index).map(|index| ConcurrencyPlan::part(fleet, Share { index, count })).sum()
            }
            LoadPlan::Open { .. } | LoadPlan::Closed { .. } => self.plan.share.index * lane.concurrency,
        };
        of_machines_before + (0..worker).map(|before| self.slots(lane, before)).sum::<u32>()
    }

    /// Slots are dealt out evenly, the first workers get the remainder. The clients of a fleet are dealt out to machines
    /// before.
    fn slots(&self, lane: &Lane, worker: u32) -> u32 {
        let of_machine = match lane.load {
            LoadPlan::Storm { fleet, .. } => ConcurrencyPlan::part(fleet, self.plan.share),
            LoadPlan::Open { .. } | LoadPlan::Closed { .. } => lane.concurrency,
        };
        ConcurrencyPlan::part(of_machine, Share { index: worker, count: self.plan.workers })
    }
}

/// Whether a population may have connections open from more than half of its sources' `ports` to a target.
fn crowds(plan: &RunPlan, ports: usize) -> bool {
    plan.populations.iter().any(|population| {
        let tuples = population.sources.len().max(1) * population.targets.len();
        population.concurrency() as usize > tuples * ports / 2
    })
}

/// Reads certificates, if a target uses TLS.
fn tls_of(plan: &RunPlan) -> Result<Option<Tls>, LoadError> {
    if !plan.targets.iter().any(|target| target.tls) {
        return Ok(None);
    }
    let asked = plan.tls.clone().unwrap_or_default();
    let trust = match asked.ca {
        _ if asked.insecure => Trust::Anybody,
        Some(file) => Trust::Authorities(file),
        None => Trust::System,
    };
    let client = |target: &Target| {
        target.tls.then(|| TlsClientPlan {
            server_name: asked.server_name.clone().unwrap_or_else(|| {
                // A zone is this machine's alone, no certificate names it.
                host_address(&target.host).map_or_else(|| target.host.clone(), |address| address.to_string())
            }),
            trust: trust.clone(),
            resume: asked.resume,
        })
    };
    let clients = TlsClient::load(&plan.targets.iter().map(client).collect::<Vec<_>>()).map_err(Arc::new)?;
    Ok(Some(Tls { clients, server: None }))
}

/// What a client on this machine sees now.
pub fn clock_of_this_machine() -> ClientClock {
    let uptime = clock_gettime(ClockId::Monotonic);
    let uptime_ms = (uptime.tv_sec * 1_000 + uptime.tv_nsec / 1_000_000) as u32;
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
    ClientClock { uptime_ms, unix_s }
}

fn source_ids(population: &Population) -> Vec<SourceId> {
    match population.sources.as_slice() {
        [] => vec![SourceId::ANY],
        indices => indices.iter().copied().map(SourceId).collect(),
    }
}

/// The places of a population's clients among all kinds.
fn indices(population: &Population, kinds: &[ClientPlan]) -> Vec<u16> {
    let index = |client| kinds.iter().position(|kind| *kind == client).expect("it is one of the plan's clients") as u16;
    population.clients.iter().map(|share| index(share.client)).collect()
}

/// Each worker begins at another entry, so that they do not all visit the same one at the same time.
fn in_turn_from<T>(mut entries: Vec<T>, worker: u32) -> Vec<T> {
    let first = worker as usize % entries.len();
    entries.rotate_left(first);
    entries
}

const _: () = assert!(WorkerPlan::RECEIVE_SIZE >= S0S1S2_SIZE);
