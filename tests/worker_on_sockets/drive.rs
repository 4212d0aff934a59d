//! One worker, driven to its end on any backend.

use std::cell::Cell;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use shakedown::base::Nanos;
use shakedown::engine::Worker;
use shakedown::fleet::{End, Mailbox, Observer, Order, run_turns};
use shakedown::io::epoll::Epoll;
use shakedown::io::ring::{Descriptors, Ring, RingError};
use shakedown::io::sim::{Peer, PeerScript, SimConfig, SimNetwork};
use shakedown::io::tls::TlsIo;
use shakedown::io::{BufferPool, Engine, Io, IoPlan};
use shakedown::measure::{Attempts, Failure, FailureDetail, FailureKind, IntervalReport, ModeCounts, Snapshot, Step};
use shakedown::run::{Hold, Preparation, RunPlan, WorkerParts};

use crate::plans::{self, closed, target};

/// A backend with sockets.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    Ring(Descriptors),
    Epoll,
}

pub const BACKENDS: [Backend; 3] =
    [Backend::Ring(Descriptors::Direct), Backend::Ring(Descriptors::Ordinary), Backend::Epoll];

/// One of each engine, where the kind of descriptors has no say.
pub const ENGINES: [Backend; 2] = [Backend::Ring(Descriptors::Direct), Backend::Epoll];

impl Backend {
    pub fn engine(self) -> Engine {
        match self {
            Self::Ring(_) => Engine::IoUring,
            Self::Epoll => Engine::Epoll,
        }
    }
}

/// Longer than anything that is not meant to time out.
const NEVER_NS: u64 = 60_000_000_000;

/// A closed loop of `attempts` on `slots` slots, complex, verified, closed by RST.
pub fn plan(slots: u32, attempts: u64) -> RunPlan {
    let mut plan = plans::plan(closed(Nanos::ZERO, None, Some(attempts)), slots);
    plan.engine = Engine::IoUring;
    let population = &mut plan.populations[0];
    (population.connect_timeout_ns, population.timeout_ns) = (NEVER_NS, NEVER_NS);
    plan
}

/// The same plan for another address.
pub fn against(plan: &RunPlan, address: SocketAddr) -> RunPlan {
    RunPlan { targets: vec![target(address)], ..plan.clone() }
}

/// How a worker ended.
#[derive(Debug)]
pub struct Ended {
    pub end: End,
    pub snapshot: Snapshot,
}

/// Step and kind of failures, the first one's evidence, and how many there were.
pub type FailureRow = (Step, FailureKind, FailureDetail, u64);

/// What can be compared of two ends: the outcomes, without their times.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    pub counts: Attempts,
    pub modes: ModeCounts,
    /// Failures and losses.
    pub failures: Vec<FailureRow>,
}

impl Ended {
    pub fn outcomes(&self) -> Outcomes {
        let record = self.snapshot.measured();
        let mut failures: Vec<FailureRow> = Vec::new();
        for (Failure { step, kind, detail }, count) in record.failures.iter() {
            // A worker that the machine keeps from running says so of attempts whose time ran out meanwhile.
            let kind = if kind == FailureKind::GeneratorPaused { FailureKind::Timeout } else { kind };
            match failures.iter_mut().find(|known| (known.0, known.1, known.2) == (step, kind, detail)) {
                Some(known) => known.3 += count.count,
                None => failures.push((step, kind, detail, count.count)),
            }
        }
        Outcomes { counts: record.tally.counts, modes: record.tally.modes, failures }
    }
}

/// Runs `plan` on the simulated network, its target played by `script`.
pub fn on_sim(plan: &RunPlan, script: PeerScript) -> Ended {
    let preparation = Preparation::new(Arc::new(plan.clone())).expect("a load profile");
    let (parts, io_plan) = preparation.parts(0);
    let config = SimConfig { peers: vec![Peer::scripted(script)], ..SimConfig::new(plan.seed) };
    let mut network = SimNetwork::new(io_plan, config);
    let worker = preparation.worker(0, parts, network.now());
    drive(&mut network, worker, plan, &Mailbox::default(), |_| None)
}

/// Runs `plan` on a backend of this thread.
pub fn on_sockets(plan: &RunPlan, backend: Backend) -> Ended {
    on_sockets_with_orders(plan, backend, |_| None)
}

/// The same with a control thread's part: after each turn `order` may give an order.
pub fn on_sockets_with_orders(plan: &RunPlan, backend: Backend, order: impl FnMut(&Worker) -> Option<Order>) -> Ended {
    match backend {
        Backend::Ring(descriptors) => run_on(plan, order, |io_plan| {
            let ring = Ring::with_descriptors(io_plan, descriptors)?;
            assert_eq!(ring.descriptors(), descriptors);
            Ok::<_, RingError>(ring)
        }),
        Backend::Epoll => run_on(plan, order, Epoll::new),
    }
}

/// Runs `plan` on what `make` makes, with TLS above it if a target needs it.
fn run_on<I: Io, E: Display>(
    plan: &RunPlan,
    order: impl FnMut(&Worker) -> Option<Order>,
    make: impl FnOnce(IoPlan) -> Result<I, E>,
) -> Ended {
    let preparation = Preparation::new(Arc::new(plan.clone())).expect("a load profile");
    let (parts, io_plan) = preparation.parts(0);
    match preparation.tls() {
        None => {
            let io = make(io_plan).unwrap_or_else(|error| panic!("{error}"));
            drive_to_end(io, plan, &preparation, parts, order)
        }
        Some(tls) => {
            let io = TlsIo::new(io_plan, tls, make).unwrap_or_else(|error| panic!("{error}"));
            drive_to_end(io, plan, &preparation, parts, order)
        }
    }
}

fn drive_to_end<I: Io>(
    mut io: I,
    plan: &RunPlan,
    preparation: &Preparation,
    parts: WorkerParts,
    order: impl FnMut(&Worker) -> Option<Order>,
) -> Ended {
    let worker = preparation.worker(0, parts, io.now());
    let ended = drive(&mut io, worker, plan, &Mailbox::default(), order);
    assert_eq!(io.completion_overflows(), 0);
    ended
}

fn drive<I: Io>(
    io: &mut I,
    mut worker: Worker,
    plan: &RunPlan,
    mailbox: &Mailbox,
    order: impl FnMut(&Worker) -> Option<Order>,
) -> Ended {
    let slots = plan.concurrency() as usize;
    let forever = plan.populations[0].hold == Hold::Forever;
    let mut audit = Audit { mailbox, forever, order, latest: Cell::new(Attempts::default()) };
    let end = run_turns(io, &mut worker, mailbox, &mut audit).expect("the backend works");
    if end == End::Finished {
        let buffers = io.buffers();
        for pool in [&mut buffers.receive, &mut buffers.send] {
            // TLS has as many again.
            let free = free_buffers(pool);
            assert!(free == slots || free == 2 * slots, "{free} buffers are free with {slots} slots");
        }
    }
    let (snapshot, _reports) = worker.finish(io.now());
    Ended { end, snapshot }
}

fn free_buffers(pool: &mut BufferPool) -> usize {
    std::iter::from_fn(|| pool.take()).count()
}

/// Checks the books after every turn, and plays the control thread.
struct Audit<'a, F> {
    mailbox: &'a Mailbox,
    forever: bool,
    order: F,
    latest: Cell<Attempts>,
}

impl<F: FnMut(&Worker) -> Option<Order>> Observer for Audit<'_, F> {
    fn interval(&mut self, mut report: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        report.clear();
        Some(report)
    }

    fn turn(&mut self, worker: &Worker) {
        let stages = worker.recorder().snapshot().stages();
        let (waiting, in_flight) = (worker.waiting_by_stage(), worker.in_flight_by_stage());
        for ((stage, waiting), in_flight) in stages.iter().zip(waiting).zip(in_flight) {
            let counts = stage.tally.counts;
            assert_eq!(counts.due, counts.started + counts.dropped + waiting, "{counts:?}");
            assert_eq!(counts.started, counts.completed + counts.failed + counts.observed + in_flight, "{counts:?}");
            assert_eq!(counts.completed, stage.tally.modes.total());
        }
        let counts = worker.recorder().snapshot().measured().tally.counts;
        let before = self.latest.replace(counts);
        assert!(counts.due >= before.due && counts.started >= before.started, "{before:?}, then {counts:?}");
        if self.forever && worker.is_drained() {
            self.mailbox.order(Order::Release);
        }
        if let Some(order) = (self.order)(worker) {
            self.mailbox.order(order);
        }
    }
}

/// Milliseconds as a plan writes them.
pub fn millis(millis: u64) -> u64 {
    Nanos::from_millis(millis).as_u64()
}
