//! The memory that `check` announces is what a worker allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;

use shakedown::base::{Nanos, Time};
use shakedown::fleet::BATCH_MEMORY;
use shakedown::io::epoll::Epoll;
use shakedown::io::ring::Ring;
use shakedown::io::{Completion, Engine, Io, IoPlan, Op};
use shakedown::load::Reconnect;
use shakedown::protocol::ClientProfile;
use shakedown::run::{Hold, MemoryNeed, Preparation, RunPlan, Until};

use plans::{aim, client, closed, lane, open, population, probe, stage, storm, target, warmup};

mod plans;

/// Counts the bytes that a thread has allocated and not freed, while it asks for it.
struct Counting;

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    if COUNTS.get() {
        BYTES.set(BYTES.get() + bytes);
    }
}

// SAFETY: every method hands its arguments to `System` unchanged, so `System`'s guarantees are this allocator's. The
// counters are constants without a destructor: reaching them neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promises about the block and its layout are passed on; `System` gave it.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is left out of the computation: small lists by lane, target and client. Of the sum, at most.
const TOLERANCE: f64 = 0.02;

/// Bytes that are on the heap when a worker of `plan` has been made as a run makes it, on the backend of `make`.
fn allocated<I: Io, E: Display>(plan: &Arc<RunPlan>, make: impl FnOnce(IoPlan) -> Result<I, E>) -> u64 {
    let preparation = Preparation::new(Arc::clone(plan)).unwrap();
    BYTES.set(0);
    COUNTS.set(true);
    let (parts, io_plan) = preparation.parts(0);
    let io = make(io_plan).unwrap_or_else(|error| panic!("{error}"));
    let worker = preparation.worker(0, parts, Time::ZERO);
    let batch = (Vec::<Completion>::with_capacity(8_192), Vec::<Op>::with_capacity(8_192));
    COUNTS.set(false);
    let bytes = BYTES.get();
    drop((io, worker, batch));
    u64::try_from(bytes).expect("a worker takes memory")
}

fn assert_computed(plan: RunPlan, what: &str) {
    for engine in [Engine::IoUring, Engine::Epoll] {
        let plan = Arc::new(RunPlan { engine, ..plan.clone() });
        let need = MemoryNeed::of(&plan).unwrap();
        let (real, beside) = match engine {
            // The queues are the kernel's: mapped, not allocated.
            Engine::IoUring => (allocated(&plan, Ring::new), need.worker.rings - BATCH_MEMORY as u64),
            // Where receives that drop what they receive would write, if the kernel did: a MiB that is never touched.
            _ => (allocated(&plan, Epoll::new) - (1 << 20), 0),
        };
        let computed = need.worker_bytes - beside;
        let error = (computed as f64 - real as f64) / real as f64;
        assert!(error.abs() < TOLERANCE, "{what} on {engine}: computed {need:?}, allocated {real}");
    }
}

#[test]
fn what_is_computed_is_what_is_allocated() {
    let second = Nanos::from_secs(1);
    let few = plans::plan(closed(Nanos::ZERO, None, Some(1_000)), 64);
    assert_computed(few.clone(), "64 slots");
    assert_computed(plans::plan(closed(Nanos::ZERO, None, Some(1_000)), 15_000), "15 000 slots");

    let stages = vec![warmup(100.0, second), stage("load", 100.0, 200.0, Some(second))];
    let mut mixed = plans::plan(open(stages, None), 2_000);
    mixed.populations[0].clients = vec![
        client(ClientProfile::Ffmpeg, ClientProfile::Ffmpeg.spec().mode),
        client(ClientProfile::HalfC1, ClientProfile::HalfC1.spec().mode),
    ];
    mixed.populations[0].lanes.push(lane(open(vec![probe(5.0, second)], None), 10));
    mixed.populations.push(population("fleet", storm(500, Reconnect::Obs, second), 500));
    aim(&mut mixed, (0..3).map(|index| target(([10, 0, 0, 1], 1_935 + index).into())).collect());
    assert_computed(mixed, "populations, clients and targets");

    let mut workers = few;
    workers.workers = 3;
    workers.populations[0].lanes[0].concurrency = 3_001;
    assert_computed(workers, "the worker with the most slots");
}

#[test]
fn sessions_count_as_if_every_slot_had_one() {
    let mut plan = plans::plan(closed(Nanos::ZERO, None, Some(1_000)), 1_000);
    plan.populations[0].hold = Hold::Forever;
    let alone = MemoryNeed::of(&Arc::new(plan.clone())).unwrap();
    plan.populations[0].until = Until::Publish;
    let need = MemoryNeed::of(&Arc::new(plan)).unwrap();
    let of_each = (need.worker.slots - alone.worker.slots) / 1_000;
    assert!((300..2_000).contains(&of_each), "{of_each} bytes a session");
    assert!(need.shared_bytes > 0, "publishers send a trickle that all workers share");
    assert_eq!(need.total_bytes, need.worker_bytes + need.shared_bytes);
}
