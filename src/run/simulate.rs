//! A run on the simulated network: one worker, in virtual time, on the calling thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Nanos, Time};
use crate::engine::Worker;
use crate::fleet::{Mailbox, Observer, Order, Outcome, Progress, run_turns};
use crate::io::Io;
use crate::io::sim::{Peer, SimConfig, SimNetwork};
use crate::measure::{IntervalReport, Timeline};
use crate::observe::Observation;

use super::control::{Ending, Notice, Ran, Watch};
use super::interruption::{InterruptedAt, Interruption};
use super::plan::RunPlan;
use super::prepare::Preparation;
use super::result::Event;
use super::watch::{RunWatch, Trip};

/// Virtual time between the network's beginning and the load's.
const LEAD: Nanos = Nanos::from_millis(1);
/// When every simulated load begins.
const STARTED_AT: &str = "1970-01-01T00:00:00.000Z";

/// Runs `plan` on the simulated network; targets are played by the peers their host names stand for.
///
/// # Panics
/// If the plan is not one that [`Preparation::new`] takes: it is checked when it is made.
pub fn simulate(plan: Arc<RunPlan>) -> Ran {
    simulate_watched(plan, &Interruption::default(), &mut Unwatched)
}

/// The same, unless it is interrupted before its end, while `watch` looks on, in virtual time.
///
/// # Panics
/// As [`simulate`].
pub fn simulate_watched(plan: Arc<RunPlan>, interruption: &Interruption, watch: &mut impl Watch) -> Ran {
    let preparation = Preparation::new(Arc::clone(&plan)).expect("the plan was checked when it was made");
    let (parts, io_plan) = preparation.parts(0);
    let mut config = SimConfig::new(plan.seed);
    config.peers = plan.targets.iter().map(|target| Peer::by_host(&target.host).unwrap_or_default()).collect();
    let mut network = SimNetwork::new(io_plan, config);
    let start = network.now() + LEAD;
    let mut worker = preparation.worker(0, parts, start);
    // Orders of this run alone: another one may be simulated after it.
    let mailbox = &Mailbox::default();
    let mut collector = Collector {
        timeline: Timeline::new(1).with_seconds(),
        seconds: RunWatch::new(&plan, preparation.layout()),
        trip: None,
        enough: false,
        mailbox,
        interruption,
        releases_on_order: plan.releases_on_order(),
        watch,
        start,
        plan: Arc::clone(&plan),
        now: start,
        interrupted_at: None,
    };
    let end = run_turns(&mut network, &mut worker, mailbox, &mut collector);
    let ended: Time = network.now();
    let ends = worker.ends();
    let (snapshot, reports) = worker.finish(ended);
    for report in reports {
        collector.add(&report);
    }
    let outcome = Outcome {
        snapshot,
        cpu: None,
        cpu_time: Nanos::ZERO,
        cpu_wait: None,
        wall_time: ended.since(start),
        ends,
        completion_overflows: 0,
        error: None,
    };
    let ending = Ending {
        plan,
        start,
        started_at: STARTED_AT.into(),
        interrupted: interruption.received(),
        interrupted_at: collector.interrupted_at,
        ended_early: interruption.received().is_some() || collector.trip.is_some() || collector.enough,
        events: collector.trip.iter().map(Event::of_trip).collect(),
        trip: collector.trip,
        network: (BTreeMap::new(), BTreeMap::new()),
        findings: Vec::new(),
        observation: Observation::default(),
    };
    let parts = ending.parts(vec![outcome], collector.timeline, collector.seconds, &preparation);
    Ran { parts, broken: end.err().map(|error| error.to_string()) }
}

/// What the control thread does for workers in real time: takes the timeline and orders the release.
struct Collector<'a, W> {
    timeline: Timeline,
    seconds: RunWatch,
    trip: Option<Trip>,
    /// Who looks on has seen enough.
    enough: bool,
    mailbox: &'a Mailbox,
    interruption: &'a Interruption,
    releases_on_order: bool,
    watch: &'a mut W,
    start: Time,
    plan: Arc<RunPlan>,
    /// When the worker last said how far it has come.
    now: Time,
    interrupted_at: Option<InterruptedAt>,
}

impl<W: Watch> Collector<'_, W> {
    fn add(&mut self, report: &IntervalReport) {
        self.timeline.add(report);
        for second in self.timeline.take_completed() {
            if self.watch.second(&second).is_break() && !self.enough {
                self.enough = true;
                self.mailbox.order(Order::Stop);
            }
            let tripped = self.seconds.push(second);
            if self.trip.is_none() && tripped.is_some() {
                self.mailbox.order(Order::Stop);
                self.trip = tripped;
            }
        }
    }
}

impl<W: Watch> Observer for Collector<'_, W> {
    fn interval(&mut self, mut report: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        self.add(&report);
        report.clear();
        Some(report)
    }

    fn turn(&mut self, worker: &Worker) {
        for order in [Order::Stop, Order::Abandon] {
            if self.interruption.mailbox.has(order) && !self.mailbox.has(order) {
                self.mailbox.order(order);
                let at = InterruptedAt::new(&self.plan, self.start, self.now, worker.is_drained());
                self.interrupted_at.get_or_insert(at);
            }
        }
        if self.releases_on_order && worker.is_drained() {
            self.mailbox.order(Order::Release);
        }
    }

    fn published(&mut self, worker: &Worker, now: Time) {
        self.now = now;
        self.watch.progress(&Progress::of(worker), now.since(self.start));
    }
}

/// Nobody looks on.
struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _progress: &Progress, _elapsed: Nanos) {}

    fn notice(&mut self, _notice: Notice<'_>) {}
}
