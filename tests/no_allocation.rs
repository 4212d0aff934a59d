//! A worker allocates when it is made and never again: an allocation on the way would show in the latencies it measures.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use shakedown::base::{Nanos, Seed, Time};
use shakedown::io::Io;
use shakedown::io::sim::{Peer, PeerScript, SessionModel, SimConfig, SimNetwork};
use shakedown::load::Reconnect;
use shakedown::measure::Until;
use shakedown::protocol::HandshakeMode;
use shakedown::run::{
    ClosePolicy, Hold, Lane, LoadPlan, MediaPlan, MediaSource, Preparation, Repeat, RunPlan, StagePlan, Verify,
};

use plans::{aim, burst, closed, lane, open, poisson, probe, stage, step, storm, target, warmup};

mod plans;

/// Counts the allocations of a thread while it asks for it.
struct Counting;

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

fn count_one() {
    if COUNTS.get() {
        COUNTED.set(COUNTED.get() + 1);
    }
}

// SAFETY: every method hands its arguments to `System` unchanged, so `System`'s guarantees are this allocator's. The
// counters are constants without a destructor: reaching them neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: the caller's promises about the block and its layout are passed on; `System` gave it.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` allocates.
fn allocations<T>(work: impl FnOnce() -> T) -> (T, u64) {
    COUNTED.set(0);
    COUNTS.set(true);
    let result = work();
    COUNTS.set(false);
    (result, COUNTED.get())
}

/// Room for the completions and ops of a turn, as in the loop of a worker thread.
const BATCH: usize = 8_192;

fn stages() -> Vec<StagePlan> {
    let length = Nanos::from_millis(600);
    vec![warmup(1_000.0, length), stage("load", 1_000.0, 3_000.0, Some(length))]
}

fn plan(load: LoadPlan, hold: Hold, close: ClosePolicy, verify: Verify, targets: u16) -> RunPlan {
    let mut plan = plans::plan(load, 200);
    let population = &mut plan.populations[0];
    (population.hold, population.close, population.verify) = (hold, close, verify);
    (population.connect_timeout_ns, population.timeout_ns) = (100_000_000, 100_000_000);
    aim(&mut plan, (0..targets).map(|index| target(([10, 0, 0, 1], 1_935 + index).into())).collect());
    plan
}

/// Runs `plan` turn by turn: completed attempts, failed ones, and what the worker allocated in all turns.
fn run(plan: RunPlan, peer: Peer) -> (u64, u64, u64) {
    let preparation = Preparation::new(Arc::new(plan)).unwrap();
    let (parts, io_plan) = preparation.parts(0);
    let mut network = SimNetwork::new(io_plan, SimConfig { peers: vec![peer], ..SimConfig::new(Seed::new(1)) });
    let mut worker = preparation.worker(0, parts, network.now() + Nanos::from_millis(1));
    let (mut completions, mut ops) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut allocated = 0;
    while !worker.is_finished() {
        let now = network.now();
        let buffers = network.buffers();
        let ((), turn) = allocations(|| {
            while let Some(report) = worker.roll(now) {
                worker.recorder_mut().give_spare(report);
            }
            worker.step(now, &completions, buffers, &mut ops);
            worker.recorder_mut().turn(Nanos::ZERO, Nanos::ZERO);
        });
        allocated += turn;
        completions.clear();
        let wake_at: Time = worker.next_wakeup();
        if !worker.is_finished() {
            network.submit_and_wait(&mut ops, wake_at, &mut completions).unwrap();
        }
    }
    let counts = worker.recorder().snapshot().measured().tally.counts;
    (counts.completed, counts.failed, allocated)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| black_box(Vec::<u8>::with_capacity(10))).1, 1);
    assert_eq!(allocations(|| black_box(vec![0_u8; 10])).1, 1);
    let mut grown = vec![1_u8];
    assert_eq!(allocations(|| grown.reserve_exact(100)).1, 1);
    assert_eq!(allocations(|| grown.len()), (1, 0));
}

#[test]
fn lanes_side_by_side_allocate_nothing() {
    // Planned arrivals, an event, a probe, steps, and a fleet of 200 that obs's rule brings back; three targets, held
    // exponentially, which the server ends after 300 ms.
    let half_a_second = Nanos::from_millis(500);
    let mut plan = plan(
        open(stages(), None),
        Hold::Exponential { mean_ns: half_a_second.as_u64() },
        ClosePolicy::Rst,
        Verify::Sample,
        3,
    );
    let steps = vec![step(1, 40, half_a_second), step(40, 5, half_a_second)];
    let event = LoadPlan::Open {
        arrival: shakedown::load::ArrivalPattern::Uniform,
        stages: vec![burst(50, half_a_second)],
        attempts: None,
        repeat: Some(Repeat { every_ns: 600_000_000, times: 5 }),
    };
    plan.populations[0].lanes.extend([
        lane(LoadPlan::Closed { steps, attempts: None }, 40),
        Lane { begins_ns: 600_000_000, ..lane(event, 50) },
        lane(open(vec![probe(100.0, Nanos::from_secs(4))], None), 10),
    ]);
    let mut fleet = plans::population("fleet", storm(200, Reconnect::Obs, Nanos::from_secs(10)), 200);
    (fleet.hold, fleet.targets) = (Hold::Forever, plan.populations[0].targets.clone());
    plan.populations.push(fleet);
    plan.release_per_s = Some(300.0);
    let (completed, _, allocated) =
        run(plan.clone(), Peer::scripted(PeerScript::CloseHeldAfter { after: Nanos::from_millis(300) }));
    assert!(completed > 1_500, "{completed}");
    assert_eq!(allocated, 0);
    let (_, failed, allocated) = run(plan, Peer::scripted(PeerScript::Refuse));
    assert!(failed > 2_500, "{failed}");
    assert_eq!(allocated, 0);
}

#[test]
fn a_turn_allocates_nothing() {
    let half_a_second = Nanos::from_millis(500);
    let closed = closed(half_a_second, Some(half_a_second), None);
    let held = Hold::ForNs(50_000_000);
    for (plan, script, completes) in [
        (plan(open(stages(), None), Hold::ForNs(0), ClosePolicy::Rst, Verify::All, 1), PeerScript::serve(), true),
        (plan(poisson(stages()), held, ClosePolicy::Fin, Verify::Sample, 8), PeerScript::serve(), true),
        (plan(closed, Hold::ForNs(0), ClosePolicy::Peer, Verify::None, 2), PeerScript::ClosesWithFin, true),
        (
            plan(open(stages(), None), Hold::Forever, ClosePolicy::Rst, Verify::All, 1),
            PeerScript::CloseHeldAfter { after: Nanos::from_millis(20) },
            true,
        ),
        (plan(open(stages(), None), held, ClosePolicy::Rst, Verify::All, 3), PeerScript::Silent, false),
        (plan(open(stages(), None), held, ClosePolicy::Rst, Verify::All, 1), PeerScript::Refuse, false),
        (plan(open(stages(), None), held, ClosePolicy::Rst, Verify::All, 1), PeerScript::Http, false),
    ] {
        let (completed, failed, allocated) = run(plan, Peer::scripted(script.clone()));
        assert!((completed > 500) == completes && (failed > 500) != completes, "{script:?}: {completed}, {failed}");
        assert_eq!(allocated, 0, "{script:?}");
    }
}

/// The rows of a backend are made when it is first heard of.
#[test]
fn sessions_allocate_for_new_backends_only() {
    for until in [Until::Reply, Until::Connect, Until::Publish, Until::Play] {
        let allocated = |length_ms| {
            let stages = vec![stage("load", 1_000.0, 1_000.0, Some(Nanos::from_millis(length_ms)))];
            let mut plan = plan(open(stages, None), Hold::ForNs(60_000_000), ClosePolicy::Fin, Verify::Sample, 2);
            plan.media = Some(MediaPlan { source: MediaSource::BitsPerSecond(1_000_000), clients_percent: 50 });
            let population = &mut plan.populations[0];
            population.until = until;
            population.clients[0].client.mode = HandshakeMode::Simple;
            let (completed, _, allocated) = run(plan, Peer::conducting(SessionModel::default()));
            assert!(completed > length_ms / 2, "{until}: {completed}");
            allocated
        };
        let (few, many) = (allocated(500), allocated(1_500));
        assert_eq!(few, many, "{until}: attempts that meet nothing new allocate");
        assert!(until > Until::Reply || many == 0, "{many}");
    }
}
