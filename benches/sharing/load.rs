//! The loads: closed loops of short complex connections, all verified.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};

use shakedown::base::{Nanos, Seed, Time};
use shakedown::engine::Verify;
use shakedown::fleet::{Fleet, Prepared};
use shakedown::io::ring::Ring;
use shakedown::io::{Engine, Io, IoPlan};
use shakedown::run::{LoadPlan, Preparation};
use shakedown::sink::{Sink, SinkPlan};

use super::echo::Echo;
use super::plans;

/// Attempts in flight, of each worker.
const CONCURRENCY: u32 = 64;
/// Slots of a sink: a slot is free again only when its close is over.
const SINK_SLOTS: u32 = 4_096;

/// What attempts cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub attempts: u64,
    pub cpu_ns: u64,
}

/// A fleet of a worker a CPU on a backend that answers at once: the CPU time of the workers.
pub fn without_kernel(cpus: &[u32], attempts: u64) -> Result<Cost, Box<dyn Error>> {
    let preparation = prepared(cpus.len() as u32, attempts * cpus.len() as u64);
    // The backend has a clock of its own.
    let fleet = launch(preparation, cpus, || Echo::BEGIN, |plan, _| Ok(Echo::new(plan)))?;
    fleet.start(Echo::BEGIN);
    let (outcomes, _) = fleet.join();
    let cpu_ns = outcomes.iter().map(|outcome| outcome.cpu_time.as_u64()).sum();
    let completed = outcomes.iter().map(|outcome| outcome.snapshot.measured().tally.counts.completed).sum();
    Ok(Cost { attempts: completed, cpu_ns })
}

/// A sink on each CPU, for the worker there.
pub struct Pairs {
    sinks: Vec<(u32, Sink)>,
}

impl Pairs {
    pub fn start(cpus: &[u32]) -> Result<Self, Box<dyn Error>> {
        let sink = |cpu: &u32| {
            let plan = SinkPlan {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                engine: Engine::IoUring,
                workers: 1,
                cpus: vec![*cpu],
                verify: Verify::All,
                delay: Nanos::ZERO,
                slots_per_worker: SINK_SLOTS,
                reject: Vec::new(),
                ping_every: Nanos::ZERO,
                tls: None,
                seed: Seed::new(1935),
            };
            Ok((*cpu, Sink::start(plan)?))
        };
        Ok(Self { sinks: cpus.iter().map(sink).collect::<Result<_, Box<dyn Error>>>()? })
    }

    /// One fleet with a worker on each of `cpus`.
    pub fn one_fleet(&self, cpus: &[u32], attempts: u64) -> Result<Cost, Box<dyn Error>> {
        let targets = self.targets(cpus);
        let preparation = prepared(cpus.len() as u32, attempts * cpus.len() as u64);
        let fleet = launch(preparation, cpus, now, move |plan, worker| on_ring(plan, targets[worker as usize]))?;
        finish(vec![fleet])
    }

    /// A fleet with one worker on each of `cpus`.
    pub fn fleets(&self, cpus: &[u32], attempts: u64) -> Result<Cost, Box<dyn Error>> {
        let alone = |(cpu, target)| launch(prepared(1, attempts), &[cpu], now, move |plan, _| on_ring(plan, target));
        let targets = cpus.iter().copied().zip(self.targets(cpus));
        finish(targets.map(alone).collect::<Result<_, _>>()?)
    }

    pub fn stop(self) {
        for (_, sink) in self.sinks {
            sink.stop();
        }
    }

    fn targets(&self, cpus: &[u32]) -> Vec<SocketAddr> {
        let of_cpu =
            |cpu: &u32| self.sinks.iter().find(|(own, _)| own == cpu).expect("every CPU has a sink").1.address();
        cpus.iter().map(of_cpu).collect()
    }
}

/// Runs fleets to their end: the CPU time of the whole process, which is that of workers and sinks.
fn finish(fleets: Vec<Fleet>) -> Result<Cost, Box<dyn Error>> {
    let before = nanos(ClockId::ProcessCPUTime);
    for fleet in &fleets {
        fleet.start(fleet.now() + Nanos::from_millis(2));
    }
    let mut attempts = 0;
    for fleet in fleets {
        let (outcomes, _) = fleet.join();
        for outcome in outcomes {
            let counts = outcome.snapshot.measured().tally.counts;
            if counts.completed != counts.due {
                return Err(format!("{} of {} attempts completed", counts.completed, counts.due).into());
            }
            attempts += counts.completed;
        }
    }
    Ok(Cost { attempts, cpu_ns: nanos(ClockId::ProcessCPUTime) - before })
}

fn prepared(workers: u32, attempts: u64) -> Arc<Preparation> {
    let slots = CONCURRENCY * workers;
    let mut plan = plans::plan(LoadPlan::closed(slots, 0, None, Some(attempts)), slots);
    (plan.engine, plan.workers, plan.seed) = (Engine::IoUring, workers, Seed::new(1935));
    Arc::new(Preparation::new(Arc::new(plan)).expect("a closed loop has no profile to be refused"))
}

/// A worker on each of `cpus`, as a run has them.
fn launch<I: Io + 'static>(
    preparation: Arc<Preparation>,
    cpus: &[u32],
    now: fn() -> Time,
    make: impl Fn(IoPlan, u32) -> Result<I, String> + Send + Sync + 'static,
) -> Result<Fleet, Box<dyn Error>> {
    let fleet = Fleet::launch(cpus.len() as u32, cpus, now, move |worker| {
        let (parts, io_plan) = preparation.parts(worker);
        let io = make(io_plan, worker)?;
        let preparation = Arc::clone(&preparation);
        Ok(Prepared { io, begin: Box::new(move |start| preparation.worker(worker, parts, start)) })
    })?;
    Ok(fleet)
}

/// The plan's only target is, for this worker, the sink on its CPU.
fn on_ring(plan: IoPlan, target: SocketAddr) -> Result<Ring, String> {
    Ring::new(IoPlan { targets: vec![target], ..plan }).map_err(|error| error.to_string())
}

fn now() -> Time {
    Time::from_nanos(nanos(ClockId::Monotonic))
}

/// What the clock shows.
pub fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
