//! The memory that a plan needs, from the sizes of what its workers really make.

use std::sync::Arc;

use serde::Serialize;

use crate::base::Time;
use crate::doctor::KERNEL_BYTES_PER_END;
use crate::engine::{Worker, WorkerPlan};
use crate::fleet::BATCH_MEMORY;
use crate::host::MachineFacts;
use crate::io::epoll::Epoll;
use crate::io::ring::Ring;
use crate::io::sim::SimNetwork;
use crate::io::tls::TlsIo;
use crate::io::{Engine, IoPlan};
use crate::measure::LatencyHistogram;
use crate::protocol::C2_SIZE;

use super::{LoadError, Preparation};
use crate::run::plan::{LoadPlan, RunPlan, Until};

/// Bytes that a plan needs at most. Tables are written when a worker is made; buffers and histograms become resident
/// where they are used, so a run that has few attempts in flight takes less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// Workers.
    pub workers: u32,
    /// Of the worker with the most slots.
    pub worker: WorkerMemory,
    /// The sum of the worker's parts.
    pub worker_bytes: u64,
    /// Audio and video, which all workers share.
    pub shared_bytes: u64,
    /// Of all workers, each taken for the largest, and what they share.
    pub total_bytes: u64,
    /// The kernel's for as many connections as there are slots, at this end, measured on Linux 6.18: in no sum above.
    pub kernel_bytes: u64,
}

/// Bytes of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerMemory {
    /// Connections in flight or held: the engine's tables and the backend's.
    pub slots: u64,
    /// A pair to receive and send for each slot, used by attempts in flight.
    pub buffers: u64,
    /// Openings signed before the load, of each kind of client.
    pub templates: u64,
    /// Latencies of each stage, target and client, and of the present second.
    pub histograms: u64,
    /// Queues shared with the kernel, and the ops and completions of a turn.
    pub rings: u64,
}

impl MemoryNeed {
    /// What `plan` needs. Makes one worker's tables and lets them go again; touches no socket.
    ///
    /// # Errors
    /// If the load cannot be planned.
    pub fn of(plan: &Arc<RunPlan>) -> Result<Self, LoadError> {
        let preparation = Preparation::new(Arc::clone(plan))?;
        // Slots are dealt out evenly, the first workers get the remainder.
        let (parts, mut io_plan) = preparation.parts(0);
        let secured = preparation.tls().is_some();
        if secured {
            io_plan.buffers = TlsIo::<Ring>::buffers_below(io_plan.buffers);
        }
        let (table, queues) = match plan.engine {
            Engine::IoUring => Ring::memory(&io_plan),
            Engine::Epoll => Epoll::memory(&io_plan),
            Engine::Sim => (0, 0),
        };
        let templates = parts.memory() + io_plan.shared_bytes.len();
        let IoPlan { media, buffers, .. } = io_plan;
        let worker = preparation.worker(0, parts, Time::ZERO);
        // The phase of TLS is recorded where there is one.
        let of_tls = if secured { preparation.layout().stages.len() * LatencyHistogram::new().memory() } else { 0 };
        let worker = WorkerMemory {
            slots: (worker.memory() + table) as u64,
            buffers: buffers.memory() as u64,
            templates: templates as u64,
            histograms: (worker.recorder().memory() + of_tls) as u64,
            rings: (queues + BATCH_MEMORY) as u64,
        };
        let (workers, worker_bytes, shared_bytes) = (plan.workers, worker.sum(), media.len() as u64);
        Ok(Self {
            workers,
            worker,
            worker_bytes,
            shared_bytes,
            total_bytes: worker_bytes * u64::from(workers) + shared_bytes,
            kernel_bytes: match plan.engine {
                Engine::Sim => 0,
                Engine::IoUring | Engine::Epoll => u64::from(plan.concurrency()) * KERNEL_BYTES_PER_END,
            },
        })
    }
}

/// This process may not have the memory of a plan's slots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{slots} slots need at least {need_mb} MB of memory, and {cause}; take fewer (-c), or raise the limit")]
pub struct NoRoom {
    slots: u32,
    need_mb: u64,
    cause: String,
}

/// Makes sure that this process may have the memory of a plan's slots, before any of them is made: an allocation that fails
/// ends the process without a word.
///
/// # Errors
/// Says how much is needed, how much there is, and what to do.
pub fn check_room(plan: &RunPlan) -> Result<(), NoRoom> {
    check_address_space(plan)?;
    let need = Room::needed(plan).resident;
    // Facts cost a few files; what is small fits.
    const SMALL: u64 = 64 << 20;
    match (need > SMALL).then(|| MachineFacts::detect_without_ring().memory_left()).flatten() {
        Some(left) if left < need => {
            Err(NoRoom::of(plan, need, format!("this machine or its memory cgroup has {} MB left", left / 1_000_000)))
        }
        _ => Ok(()),
    }
}

/// The same of what this process may reserve, whatever the machine has: for a plan that is not carried out here.
///
/// # Errors
/// As [`check_room`].
pub fn check_address_space(plan: &RunPlan) -> Result<(), NoRoom> {
    let need = Room::needed(plan).address_space;
    let reserved = Vec::<u8>::new().try_reserve_exact(need as usize);
    reserved.map_err(|_| NoRoom::of(plan, need, "this process may not have so much (ulimit -v, ulimit -d)".to_owned()))
}

impl NoRoom {
    fn of(plan: &RunPlan, need: u64, cause: String) -> Self {
        Self { slots: plan.concurrency(), need_mb: need.div_ceil(1_000_000), cause }
    }
}

/// The least that the slots of a plan take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// Written to as soon as the load runs.
    resident: u64,
    /// Reserved, too.
    address_space: u64,
}

impl Room {
    fn needed(plan: &RunPlan) -> Self {
        let sessions = plan.populations.iter().any(|population| population.until > Until::Handshake);
        let slots = plan.concurrency();
        // A closed loop uses its slots at once, as far as it has attempts for them; other loads use as few as they can.
        let lanes = plan.populations.iter().flat_map(|population| &population.lanes);
        let used = lanes.map(|lane| match lane.load {
            LoadPlan::Closed { attempts, .. } => attempts.unwrap_or(u64::MAX).min(lane.concurrency.into()),
            LoadPlan::Open { .. } | LoadPlan::Storm { .. } => 0,
        });
        let used: u64 = used.sum();
        let tables = Worker::memory_of(slots, sessions) as u64;
        let buffers = (WorkerPlan::RECEIVE_SIZE + C2_SIZE) as u64;
        let network = if plan.engine == Engine::Sim { SimNetwork::BYTES_PER_CONNECTION } else { 0 };
        Self {
            resident: tables + used * (buffers + network),
            address_space: tables + u64::from(slots) * buffers + used * network,
        }
    }
}

impl WorkerMemory {
    /// All of it.
    pub const fn sum(&self) -> u64 {
        self.slots + self.buffers + self.templates + self.histograms + self.rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fixtures::open_plan;

    #[test]
    fn tables_have_the_size_that_is_said_before_they_are_made() {
        for (until, sessions) in [(Until::Handshake, false), (Until::Publish, true)] {
            let mut plan = open_plan();
            plan.populations[0].until = until;
            let slots = plan.concurrency();
            let preparation = Preparation::new(Arc::new(plan)).unwrap();
            let (parts, _) = preparation.parts(0);
            let worker = preparation.worker(0, parts, Time::ZERO);
            assert_eq!(worker.memory(), Worker::memory_of(slots, sessions), "{until:?}");
        }
    }
}
