//! From the plan to backends and workers: the pieces that every worker gets of it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::base::{Nanos, StreamPurpose, Time};
use crate::engine::{Client, Load, PopulationSpec, Worker, WorkerPlan};
use crate::io::{BufferPlan, Engine, IoPlan, SourceId, TargetId};
use crate::load::{Arrivals, LoadProfile, LoadProfileError, Quota, QuotaShare, Segment, Shape, WeightedTurns};
use crate::measure::{Recorder, RecorderLayout};
use crate::protocol::{C2_SIZE, ClientClock, ClientTemplates, S0S1S2_SIZE};

use super::plan::{ClientPlan, LoadPlan, Population, RunPlan, StagePlan};
use super::result::recorder_layout;

/// C0C1s of a kind of client that each worker signs at its start; it sends them in turn. 64 of them stay in a core's cache.
const TEMPLATES_PER_WORKER: usize = 64;

/// What all workers share of a plan.
#[derive(Debug)]
pub struct Preparation {
    plan: Arc<RunPlan>,
    layout: Arc<RecorderLayout>,
    populations: Vec<PreparedPopulation>,
}

#[derive(Debug)]
struct PreparedPopulation {
    load: PreparedLoad,
    /// The first of its stages in the layout.
    first_stage: u16,
}

#[derive(Debug)]
enum PreparedLoad {
    Open(Arc<LoadProfile>),
    Closed(Arc<Quota>),
}

/// A worker's part that is ready before the start instant is known: its templates.
#[derive(Debug)]
pub struct WorkerParts {
    clients: Vec<Client>,
}

impl Preparation {
    /// Plans the arrivals of every population.
    ///
    /// # Errors
    /// If a population's stages are not a load profile.
    pub fn new(plan: Arc<RunPlan>) -> Result<Self, LoadProfileError> {
        let layout = Arc::new(recorder_layout(&plan));
        let mut populations = Vec::new();
        for (index, population) in (0u16..).zip(&plan.populations) {
            let first_stage = layout.stages.iter().position(|stage| stage.population == index).unwrap_or(0) as u16;
            let load = match &population.load {
                LoadPlan::Open { stages, attempts, .. } => {
                    PreparedLoad::Open(Arc::new(profile(stages, first_stage, *attempts)?))
                }
                LoadPlan::Closed { attempts, .. } => {
                    PreparedLoad::Closed(Arc::new(Quota::new(*attempts, plan.workers)))
                }
            };
            populations.push(PreparedPopulation { load, first_stage });
        }
        Ok(Self { plan, layout, populations })
    }

    /// What the recorders of this plan measure.
    pub fn layout(&self) -> &Arc<RecorderLayout> {
        &self.layout
    }

    /// Signs a worker's templates and says what its backend must be.
    pub fn parts(&self, worker: u32) -> (WorkerParts, IoPlan) {
        let mut bytes = Vec::new();
        let clock = self.clock();
        let mut parts = WorkerParts { clients: Vec::new() };
        for (index, client) in self.plan.clients().iter().enumerate() {
            let stream = worker | (index as u32) << 16;
            let mut random = self.plan.seed.stream(StreamPurpose::ClientTemplates, stream);
            let templates = ClientTemplates::of_client(&client.spec(), clock, TEMPLATES_PER_WORKER, &mut random);
            let templates_offset = bytes.len() as u32;
            bytes.extend_from_slice(templates.bytes());
            parts.clients.push(Client { templates: Arc::new(templates), templates_offset, wrong_c2: client.wrong_c2 });
        }
        let slots: u32 = self.plan.populations.iter().map(|population| self.slots(population, worker)).sum();
        let io = IoPlan {
            slots,
            targets: self.plan.targets.iter().map(|target| target.address).collect(),
            sources: self.plan.sources.clone(),
            listeners: Vec::new(),
            nodelay: true,
            shared_bytes: bytes.into(),
            buffers: BufferPlan {
                count: slots,
                receive_size: WorkerPlan::RECEIVE_SIZE as u32,
                send_size: C2_SIZE as u32,
            },
        };
        (parts, io)
    }

    /// Makes a worker that begins at `start`.
    pub fn worker(&self, worker: u32, parts: WorkerParts, start: Time) -> Worker {
        let kinds = self.plan.clients();
        let populations = self
            .plan
            .populations
            .iter()
            .zip(&self.populations)
            .map(|(population, prepared)| PopulationSpec {
                load: self.load(population, prepared, worker),
                slots: self.slots(population, worker),
                clients: indices(population, &kinds),
                turns: self.turns(population, worker),
                verify: population.verify,
                targets: in_turn_from((0..self.plan.targets.len() as u16).map(TargetId).collect(), worker),
                sources: in_turn_from(self.source_ids(), worker),
                hold: population.hold,
                close: population.close,
                connect_timeout: Nanos::new(population.connect_timeout_ns),
                timeout: Nanos::new(population.timeout_ns),
            })
            .collect();
        let plan = WorkerPlan {
            start,
            hold_end: self.plan.length(),
            clients: parts.clients,
            populations,
            targets: self.plan.targets.len() as u16,
            sampling: self.plan.seed.stream(StreamPurpose::Sampling, worker),
        };
        Worker::new(plan, Recorder::new(Arc::clone(&self.layout), start))
    }

    fn load(&self, population: &Population, prepared: &PreparedPopulation, worker: u32) -> Load {
        match (&prepared.load, &population.load) {
            (PreparedLoad::Open(profile), LoadPlan::Open { arrival, .. }) => {
                // Workers without a slot get no arrivals, so the others share all of them.
                let serving = self.plan.workers.min(population.concurrency);
                let share = self.plan.share.split(worker.min(serving - 1), serving);
                let arrivals = Arrivals::new(Arc::clone(profile), *arrival, share, self.plan.seed);
                Load::Open { arrivals, end: profile.length() }
            }
            (PreparedLoad::Closed(quota), LoadPlan::Closed { warmup_ns, .. }) => Load::Closed {
                quota: QuotaShare::new(Arc::clone(quota)),
                warmup: Nanos::new(*warmup_ns),
                end: population.load.length(),
                warmup_stage: prepared.first_stage,
                stage: prepared.first_stage + u16::from(*warmup_ns > 0),
            },
            _ => unreachable!("a population was prepared from its own plan"),
        }
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
            Engine::IoUring => {
                let uptime = clock_gettime(ClockId::Monotonic);
                let uptime_ms = (uptime.tv_sec * 1_000 + uptime.tv_nsec / 1_000_000) as u32;
                let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
                ClientClock { uptime_ms, unix_s }
            }
        }
    }

    /// Slots are dealt out evenly, the first workers get the remainder.
    fn slots(&self, population: &Population, worker: u32) -> u32 {
        let workers = self.plan.workers;
        population.concurrency / workers + u32::from(worker < population.concurrency % workers)
    }

    fn source_ids(&self) -> Vec<SourceId> {
        match self.plan.sources.len() {
            0 => vec![SourceId::ANY],
            count => (0..count as u16).map(SourceId).collect(),
        }
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

fn profile(stages: &[StagePlan], first_stage: u16, attempts: Option<u64>) -> Result<LoadProfile, LoadProfileError> {
    let segments = (first_stage..)
        .zip(stages)
        .map(|(stage, plan)| Segment {
            shape: if plan.from_per_s == plan.to_per_s {
                Shape::Constant { per_s: plan.from_per_s }
            } else {
                Shape::Ramp { from_per_s: plan.from_per_s, to_per_s: plan.to_per_s }
            },
            length: plan.duration_ns.map_or(Nanos::MAX, Nanos::new),
            stage,
        })
        .collect();
    LoadProfile::new(segments, attempts)
}

impl LoadPlan {
    /// When the load is over at the latest, from its beginning; [`Nanos::MAX`] if only a number of attempts bounds it.
    pub fn length(&self) -> Nanos {
        match self {
            Self::Closed { warmup_ns, duration_ns, .. } => {
                duration_ns.map_or(Nanos::MAX, |duration| Nanos::new(*warmup_ns) + Nanos::new(duration))
            }
            Self::Open { stages, .. } => stages
                .iter()
                .map(|stage| stage.duration_ns.map_or(Nanos::MAX, Nanos::new))
                .fold(Nanos::ZERO, |sum, length| sum + length),
        }
    }

    /// When the arrival after the last one would be intended if the plan went on: the span that all arrivals together
    /// take at the planned rate. [`Nanos::MAX`] in closed loop, where nothing is planned.
    pub fn paced_length(&self) -> Nanos {
        let Self::Open { stages, attempts, .. } = self else { return Nanos::MAX };
        let Some((last, before)) = stages.split_last() else { return Nanos::ZERO };
        let begin = before
            .iter()
            .map(|stage| stage.duration_ns.map_or(Nanos::MAX, Nanos::new))
            .fold(Nanos::ZERO, |sum, length| sum + length);
        let reached = attempts.and_then(|attempts| {
            let last_alone = profile(std::slice::from_ref(last), 0, None).ok()?;
            last_alone.instant_of(attempts as f64)
        });
        reached.map_or(self.length(), |offset| begin + offset)
    }

    /// How long it warms up before it is measured.
    pub fn warmup(&self) -> Nanos {
        match self {
            Self::Closed { warmup_ns, .. } => Nanos::new(*warmup_ns),
            Self::Open { stages, .. } => stages
                .iter()
                .take_while(|stage| stage.warmup)
                .fold(Nanos::ZERO, |sum, stage| sum + stage.duration_ns.map_or(Nanos::ZERO, Nanos::new)),
        }
    }
}

impl RunPlan {
    /// When the last load is over at the latest, from the beginning; [`Nanos::MAX`] if only numbers bound it.
    pub fn length(&self) -> Nanos {
        self.populations.iter().map(|population| population.load.length()).max().unwrap_or(Nanos::MAX)
    }

    /// When the last planned arrival has had its share of time; zero if nothing is planned.
    pub fn paced_length(&self) -> Nanos {
        let open = self.populations.iter().filter(|population| matches!(population.load, LoadPlan::Open { .. }));
        open.map(|population| population.load.paced_length()).max().unwrap_or(Nanos::ZERO)
    }

    /// How long the longest warm-up is.
    pub fn warmup(&self) -> Nanos {
        self.populations.iter().map(|population| population.load.warmup()).max().unwrap_or(Nanos::ZERO)
    }
}

const _: () = assert!(WorkerPlan::RECEIVE_SIZE >= S0S1S2_SIZE);
