//! A run on a network made for it, and what came of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use shakedown::base::{Nanos, Seed, Time};
use shakedown::engine::{Ends, Worker};
use shakedown::fleet::{End, Mailbox, Observer, Order, run_turns};
use shakedown::io::sim::{Freeze, Peer, PeerCounts, PeerScript, SimConfig, SimNetwork};
use shakedown::io::{Buffers, Completion, Engine, Io, Op, TargetId};
use shakedown::measure::{
    Attempts, Failure, FailureDetail, FailureKind, IntervalReport, LatencyHistogram, Metric, Snapshot, Step, Timeline,
};
use shakedown::observe::Observation;
use shakedown::protocol::HandshakeMode;
use shakedown::run::{
    Hold, LoadPlan, Population, Preparation, ResultParts, RunPlan, RunResult, Target, WatchOutcome, Window, environment,
};

pub use crate::plans::*;

/// What each packet takes, in microseconds.
pub const ONE_WAY: u64 = 100;
/// What the default peer's service takes, in microseconds.
pub const SERVICE: u64 = 200;
/// An attempt that nobody delays, in microseconds: connect, then the answer.
pub const ATTEMPT: u64 = 2 * ONE_WAY + 2 * ONE_WAY + SERVICE;

/// Between the network's beginning and the load's.
const LEAD: Nanos = Nanos::from_millis(1);
/// More turns than any run here takes: a run that does not end fails instead of hanging.
const MOST_TURNS: u64 = 3_000_000;
/// Deadlines expire at the first multiple of this many nanoseconds, from the load's start, that is not before them.
const DEADLINE_TICK: u64 = 1 << 20;

/// A plan, the network to carry it out on, and orders to give on the way.
#[derive(Clone, Debug)]
pub struct Lab {
    pub plan: RunPlan,
    pub network: SimConfig,
    /// When, after the network's beginning.
    pub orders: Vec<(Nanos, Order)>,
    /// Check the books after every turn, not only at the end.
    pub audited: bool,
    /// Keep what each turn left.
    pub traced: bool,
}

/// What a turn left.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// When, after the load's start.
    pub at: Nanos,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Connections held.
    pub held: u64,
    /// Attempts started so far, by stage.
    pub started: Vec<u64>,
}

/// What one worker left behind.
pub struct Report {
    pub plan: RunPlan,
    pub end: End,
    /// When the worker was done, after the load's start.
    pub ended: Nanos,
    pub start: Time,
    pub ends: Ends,
    pub snapshot: Snapshot,
    pub timeline: Timeline,
    /// By target, after everything sent has arrived.
    pub peers: Vec<PeerCounts>,
    /// Of a traced run, from the load's start on.
    pub turns: Vec<Turn>,
}

pub fn micros(micros: u64) -> Nanos {
    Nanos::from_micros(micros)
}

pub fn millis(millis: u64) -> Nanos {
    Nanos::from_millis(millis)
}

pub fn secs(secs: u64) -> Nanos {
    Nanos::from_secs(secs)
}

/// A constant rate for a time.
pub fn open_for(per_s: f64, length: Nanos) -> LoadPlan {
    open(vec![stage("load", per_s, per_s, Some(length))], None)
}

/// A constant rate until so many attempts are due.
pub fn open_of(per_s: f64, attempts: u64) -> LoadPlan {
    open(vec![stage("load", per_s, per_s, None)], Some(attempts))
}

pub fn closed_for(length: Nanos) -> LoadPlan {
    closed(Nanos::ZERO, Some(length), None)
}

pub fn closed_of(attempts: u64) -> LoadPlan {
    closed(Nanos::ZERO, None, Some(attempts))
}

/// So many equal targets.
pub fn targets(count: u8) -> Vec<Target> {
    (1..=count).map(|last| target(([10, 0, 0, last], 1935).into())).collect()
}

/// A stretch from `at` after the load's start.
pub fn freeze(at: Nanos, length: Nanos) -> Freeze {
    Freeze { at: LEAD + at, length }
}

/// When a deadline set for `at` after the load's start expires.
pub fn expiry(at: Nanos) -> Nanos {
    Nanos::new(at.as_u64().next_multiple_of(DEADLINE_TICK))
}

/// Exactly these spans.
pub fn spans(spans: impl IntoIterator<Item = Nanos>) -> LatencyHistogram {
    let mut histogram = LatencyHistogram::new();
    spans.into_iter().for_each(|span| histogram.record(span));
    histogram
}

/// Exactly these ages.
pub fn ages(ages: impl IntoIterator<Item = Nanos>) -> LatencyHistogram {
    let mut histogram = LatencyHistogram::of_ages();
    ages.into_iter().for_each(|age| histogram.record(age));
    histogram
}

pub fn failure(step: Step, kind: FailureKind, detail: FailureDetail) -> Failure {
    Failure::new(step, kind).with_detail(detail)
}

/// Every arrival is waiting, started or dropped, and every started one completed, failed, observed or in flight.
pub fn audit(worker: &Worker) {
    let stages = worker.recorder().snapshot().stages().iter();
    let open = worker.waiting_by_stage().into_iter().zip(worker.in_flight_by_stage());
    for (stage, (waiting, in_flight)) in stages.zip(open) {
        let Attempts { due, started, dropped, completed, failed, observed, .. } = stage.tally.counts;
        assert_eq!(due, waiting + started + dropped, "due = waiting + started + dropped");
        assert_eq!(started, completed + failed + observed + in_flight, "started = the ended ones + in flight");
        assert_eq!(completed, stage.tally.modes.total(), "completed = the four modes");
    }
}

impl Lab {
    /// One population against one default peer; no noise.
    pub fn new(load: LoadPlan, slots: u32) -> Self {
        let plan = plan(load, slots);
        Self { network: SimConfig::new(plan.seed), plan, orders: Vec::new(), audited: false, traced: false }
    }

    /// With its books checked after every turn, and what each turn left kept.
    pub fn traced(mut self) -> Self {
        (self.audited, self.traced) = (true, true);
        self
    }

    pub fn against(mut self, peer: Peer) -> Self {
        self.network.peers = vec![peer];
        self
    }

    pub fn against_script(self, script: PeerScript) -> Self {
        self.against(Peer::scripted(script))
    }

    pub fn with(mut self, change: impl FnOnce(&mut Population)) -> Self {
        change(&mut self.plan.populations[0]);
        self
    }

    /// Local addresses of every population.
    pub fn sources(&mut self, sources: Vec<IpAddr>) {
        for population in &mut self.plan.populations {
            population.sources = (0..sources.len() as u16).collect();
        }
        self.plan.sources = sources;
    }

    /// Handshakes without digests: counts and instants are the same, and no HMAC is computed.
    pub fn simple(self) -> Self {
        self.with(|clients| clients.clients[0].client.mode = HandshakeMode::Simple)
    }

    pub fn seeded(mut self, seed: u64) -> Self {
        self.plan.seed = Seed::new(seed);
        self.network.seed = self.plan.seed;
        self
    }

    /// Gives an order `at` after the load's start.
    pub fn order(self, at: Nanos, order: Order) -> Self {
        self.order_early(LEAD + at, order)
    }

    /// Gives an order `at` after the network's beginning, which is 1 ms before the load's.
    pub fn order_early(mut self, at: Nanos, order: Order) -> Self {
        self.orders.push((at, order));
        self
    }

    /// The first worker's run.
    pub fn run(&self) -> Report {
        self.run_workers(1).pop().unwrap()
    }

    /// The runs of the plan's first workers, each on a network of its own, one after the other.
    pub fn run_workers(&self, workers: u32) -> Vec<Report> {
        let preparation = Preparation::new(Arc::new(self.plan.clone())).unwrap();
        (0..workers).map(|worker| self.run_worker(&preparation, worker)).collect()
    }

    fn run_worker(&self, preparation: &Preparation, index: u32) -> Report {
        let (parts, io_plan) = preparation.parts(index);
        let slots = io_plan.slots;
        let network = SimNetwork::new(io_plan, SimConfig { index, ..self.network.clone() });
        let begin = network.now();
        let start = begin + LEAD;
        let mut worker = preparation.worker(index, parts, start);
        let mailbox = Mailbox::default();
        let mut orders: Vec<(Time, Order)> = self.orders.iter().map(|(at, order)| (begin + *at, *order)).collect();
        orders.sort_by_key(|(at, _)| *at);
        let now = Cell::new(begin);
        let mut io = Conducted { network, mailbox: &mailbox, orders, turns: 0, now: &now };
        let mut control = Control {
            timeline: Timeline::new(1),
            mailbox: &mailbox,
            releases: self.plan.populations.iter().any(|population| population.hold == Hold::Forever),
            audited: self.audited,
            trace: self.traced.then(Vec::new),
            start,
            now: &now,
        };
        let end = run_turns(&mut io, &mut worker, &mailbox, &mut control).unwrap();
        audit(&worker);
        let mut network = io.network;
        if end == End::Finished {
            assert!(worker.is_finished());
            assert!(worker.in_flight_by_stage().iter().all(|&in_flight| in_flight == 0));
            assert_eq!(worker.recorder().held_now(), 0);
            let Buffers { receive, send, .. } = network.buffers();
            assert_eq!((receive.available(), send.available()), (slots, slots), "all buffers are free again");
        }
        let ended = network.now();
        let ends = worker.ends();
        let (snapshot, reports) = worker.finish(ended);
        reports.iter().for_each(|report| control.timeline.add(report));
        settle(&mut network);
        let turns = control.trace.unwrap_or_default();
        Report {
            turns,
            plan: self.plan.clone(),
            end,
            ended: ended.since(start),
            start,
            ends,
            snapshot,
            timeline: control.timeline,
            peers: (0..self.plan.targets.len() as u16).map(|target| network.peer_counts(TargetId(target))).collect(),
        }
    }
}

impl Report {
    /// The measured stages'.
    pub fn counts(&self) -> Attempts {
        self.snapshot.measured().tally.counts
    }

    /// A stage's.
    pub fn stage(&self, index: usize) -> Attempts {
        self.snapshot.stages()[index].tally.counts
    }

    /// The instants at which attempts of a stage started, of a traced run.
    pub fn starts(&self, stage: usize) -> Vec<Nanos> {
        let mut before = 0;
        let mut starts = Vec::new();
        for turn in &self.turns {
            let count = turn.started[stage] - std::mem::replace(&mut before, turn.started[stage]);
            starts.extend((0..count).map(|_| turn.at));
        }
        starts
    }

    /// What was measured of completed attempts.
    pub fn spans(&self, metric: Metric) -> LatencyHistogram {
        self.snapshot.measured().tally.latencies.get(metric).cloned().unwrap_or_default()
    }

    /// Each kind of failure and how often it happened.
    pub fn failures(&self) -> Vec<(Failure, u64)> {
        self.snapshot.measured().failures.iter().map(|(failure, count)| (failure, count.count)).collect()
    }

    /// How long failed attempts took.
    pub fn time_to_failure(&self) -> LatencyHistogram {
        self.snapshot.measured().time_to_failure.unwrap_or_default()
    }

    /// An end of the run, after the load's start.
    pub fn at(&self, end: Option<Time>) -> Nanos {
        end.expect("the run came that far").since(self.start)
    }

    /// The result as it would be saved, over a window as it was planned.
    pub fn result(self) -> RunResult {
        let warmup = self.plan.warmup();
        RunResult::assemble(ResultParts {
            window: Window {
                duration_s: self.plan.length().saturating_sub(warmup).as_secs_f64(),
                warmup_s: warmup.as_secs_f64(),
            },
            snapshot: self.snapshot,
            timeline: self.timeline,
            watched: WatchOutcome::default(),
            started_at: "1970-01-01T00:00:00.000Z".into(),
            environment: environment(Engine::Sim),
            labels: BTreeMap::new(),
            workers: Vec::new(),
            held: u64::from(self.ends.held.unwrap_or(0)),
            network_before: BTreeMap::new(),
            network_after: BTreeMap::new(),
            findings: Vec::new(),
            events: Vec::new(),
            observation: Observation::default(),
            ended_by: None,
            interrupted: None,
            interrupted_at: None,
            plan: self.plan,
        })
    }
}

/// Lets everything under way arrive.
fn settle(network: &mut SimNetwork) {
    let until = network.now() + secs(5);
    while network.now() < until {
        network.submit_and_wait(&mut Vec::new(), until, &mut Vec::new()).unwrap();
    }
}

/// The network, and a control thread that gives its orders at exact instants.
struct Conducted<'a> {
    network: SimNetwork,
    mailbox: &'a Mailbox,
    orders: Vec<(Time, Order)>,
    turns: u64,
    now: &'a Cell<Time>,
}

impl Io for Conducted<'_> {
    fn now(&self) -> Time {
        self.network.now()
    }

    fn buffers(&mut self) -> &mut Buffers {
        self.network.buffers()
    }

    fn submit_and_wait(
        &mut self,
        ops: &mut Vec<Op>,
        wake_at: Time,
        completions: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        self.turns += 1;
        assert!(self.turns < MOST_TURNS, "the run does not end");
        let next_order = self.orders.first().map_or(Time::MAX, |(at, _)| *at);
        self.network.submit_and_wait(ops, wake_at.min(next_order), completions)?;
        while let Some((at, order)) = self.orders.first()
            && *at <= self.network.now()
        {
            self.mailbox.order(*order);
            self.orders.remove(0);
        }
        self.now.set(self.network.now());
        Ok(())
    }

    fn completion_overflows(&self) -> u64 {
        self.network.completion_overflows()
    }
}

/// What the control thread does with one worker: collects its seconds, and releases what it holds when it has drained.
struct Control<'a> {
    timeline: Timeline,
    mailbox: &'a Mailbox,
    releases: bool,
    audited: bool,
    trace: Option<Vec<Turn>>,
    start: Time,
    now: &'a Cell<Time>,
}

impl Observer for Control<'_> {
    fn interval(&mut self, mut report: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        self.timeline.add(&report);
        report.clear();
        Some(report)
    }

    fn turn(&mut self, worker: &Worker) {
        if self.audited {
            audit(worker);
        }
        let now = self.now.get();
        if let Some(trace) = &mut self.trace
            && now >= self.start
        {
            trace.push(Turn {
                at: now.since(self.start),
                in_flight: worker.in_flight_by_stage().iter().sum(),
                held: worker.recorder().held_now().into(),
                started: worker.recorder().snapshot().stages().iter().map(|row| row.tally.counts.started).collect(),
            });
        }
        if self.releases && worker.is_drained() {
            self.mailbox.order(Order::Release);
        }
    }
}
