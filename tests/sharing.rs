//! No cache line is written by two workers: what a worker allocates lies on lines where no other worker has anything.

// musl's allocator serves all threads from one heap.
#![cfg(not(target_env = "musl"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shakedown::base::{Nanos, Seed, Time};
use shakedown::fleet::{Fleet, Prepared};
use shakedown::io::Io;
use shakedown::io::sim::{SimConfig, SimNetwork};
use shakedown::run::{LoadPlan, Preparation};

use plans::target;

mod plans;

const WORKERS: u32 = 4;
/// Lines that x86 prefetches in pairs.
const PAIR_OF_LINES: usize = 128;
/// Blocks that are remembered.
const MOST: usize = 1 << 16;

/// Remembers what the threads that are workers allocate.
struct Remembering;

/// A block of memory: its first byte, its length and its worker, from 1.
struct Block {
    start: AtomicUsize,
    len: AtomicUsize,
    worker: AtomicUsize,
}

static BLOCKS: [Block; MOST] =
    [const { Block { start: AtomicUsize::new(0), len: AtomicUsize::new(0), worker: AtomicUsize::new(0) } }; MOST];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The worker that this thread is, from 1; 0 if it is none, or is not making anything.
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

fn remember(start: *mut u8, len: usize) {
    let worker = WORKER.get();
    if worker == 0 || start.is_null() {
        return;
    }
    if let Some(block) = BLOCKS.get(NEXT.fetch_add(1, Ordering::Relaxed)) {
        block.start.store(start.addr(), Ordering::Relaxed);
        block.len.store(len, Ordering::Relaxed);
        block.worker.store(worker, Ordering::Relaxed);
    }
}

// SAFETY: every method hands its arguments to `System` unchanged, so `System`'s guarantees are this allocator's. What is
// remembered lies in statics and in a constant thread-local without a destructor: reaching them neither allocates nor
// fails.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises about `layout` are passed on.
        let block = unsafe { System.alloc(layout) };
        remember(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let block = unsafe { System.alloc_zeroed(layout) };
        remember(block, layout.size());
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises about the block and its layout are passed on; `System` gave it.
        let block = unsafe { System.realloc(block, layout, size) };
        remember(block, size);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

/// What workers make before the load is all they write to while it runs (see the test `no_allocation`), beside their
/// mailboxes and the counter of attempts, which have lines of their own by their types.
#[test]
fn the_workers_memory_shares_no_cache_line() {
    let load = LoadPlan::closed(256, 0, None, Some(20_000));
    let mut plan = plans::plan(load, 256);
    plan.workers = WORKERS;
    plans::aim(&mut plan, (0..3).map(|index| target(([10, 0, 0, 1], 1_935 + index).into())).collect());
    let preparation = Arc::new(Preparation::new(Arc::new(plan)).unwrap());
    let fleet = Fleet::launch(
        WORKERS,
        &[],
        || Time::ZERO,
        move |worker| {
            WORKER.set(worker as usize + 1);
            let (parts, io_plan) = preparation.parts(worker);
            let io = SimNetwork::new(io_plan, SimConfig::new(Seed::new(1)));
            let start = io.now() + Nanos::from_millis(1);
            WORKER.set(0);
            let preparation = Arc::clone(&preparation);
            let begin = move |_| {
                WORKER.set(worker as usize + 1);
                let made = preparation.worker(worker, parts, start);
                WORKER.set(0);
                made
            };
            Ok(Prepared { io, begin: Box::new(begin) })
        },
    )
    .unwrap();
    fleet.start(Time::ZERO);
    let (outcomes, _) = fleet.join();
    let completed: u64 = outcomes.iter().map(|outcome| outcome.snapshot.measured().tally.counts.completed).sum();
    assert_eq!(completed, 20_000);

    let count = NEXT.load(Ordering::Relaxed);
    assert!((100..MOST).contains(&count), "{count} blocks");
    let mut owners: BTreeMap<usize, usize> = BTreeMap::new();
    let mut seen = [0_usize; WORKERS as usize];
    for block in &BLOCKS[..count] {
        let (start, len) = (block.start.load(Ordering::Relaxed), block.len.load(Ordering::Relaxed));
        let worker = block.worker.load(Ordering::Relaxed);
        seen[worker - 1] += len;
        if len == 0 {
            continue;
        }
        for line in start / PAIR_OF_LINES..=(start + len - 1) / PAIR_OF_LINES {
            let owner = *owners.entry(line).or_insert(worker);
            assert_eq!(owner, worker, "workers {owner} and {worker} share the lines at {:#x}", line * PAIR_OF_LINES);
        }
    }
    assert!(seen.iter().all(|bytes| *bytes > 1 << 20), "each worker has its tables and histograms: {seen:?}");
}
