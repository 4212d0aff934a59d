//! The control of a run on the simulated network: one worker, in virtual time, on the calling thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Nanos, Time};
use crate::engine::Worker;
use crate::fleet::{Mailbox, Observer, Outcome, Progress, run_turns};
use crate::io::Io;
use crate::io::sim::{Peer, SimConfig, SimNetwork};
use crate::measure::{IntervalReport, Timeline};
use crate::observe::Observation;

use super::driver::{Driver, Ran, Watch};
use super::ending::Ending;
use super::interruption::Interruption;
use super::policy::{Notice, Policy, Standing};
use crate::run::plan::RunPlan;
use crate::run::prepare::Preparation;

/// Virtual time between the network's beginning and the load's.
const LEAD: Nanos = Nanos::from_millis(1);
/// When every simulated load begins.
const STARTED_AT: &str = "1970-01-01T00:00:00.000Z";

/// Runs `plan` on the simulated network; targets are played by the peers their host names stand for.
///
/// # Panics
/// If the plan is not one that [`Preparation::new`] takes: it is checked when it is made.
pub fn simulate(plan: Arc<RunPlan>) -> Ran {
    simulate_watched(plan, false, &Interruption::default(), &mut Unwatched)
}

/// The same, unless it is interrupted before its end, while `watch` looks on, in virtual time. `keep_going`: a load that
/// every target refuses is not ended.
///
/// # Panics
/// As [`simulate`].
pub fn simulate_watched(
    plan: Arc<RunPlan>,
    keep_going: bool,
    interruption: &Interruption,
    watch: &mut dyn Watch,
) -> Ran {
    let preparation = Preparation::new(Arc::clone(&plan)).expect("the plan was checked when it was made");
    let (parts, io_plan) = preparation.parts(0);
    let mut config = SimConfig::new(plan.seed);
    config.peers = plan.targets.iter().map(|target| Peer::by_host(&target.host).unwrap_or_default()).collect();
    let mut network = SimNetwork::new(io_plan, config);
    let start = network.now() + LEAD;
    let mut worker = preparation.worker(0, parts, start);
    let mailbox = &Mailbox::default();
    let mut collector = Collector {
        driver: Driver::new(Policy::new(&plan, preparation.layout(), start, keep_going), watch),
        timeline: Timeline::new(1).with_seconds(),
        mailbox,
        interruption,
        signals: 0,
        start,
        drained: false,
    };
    let end = run_turns(&mut network, &mut worker, mailbox, &mut collector);
    let ended: Time = network.now();
    let ends = worker.ends();
    let (snapshot, reports) = worker.finish(ended);
    let Collector { driver: Driver { policy, events, .. }, mut timeline, .. } = collector;
    for report in reports {
        timeline.add(&report);
    }
    let (decided, seconds) = policy.finish(timeline.take_completed());
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
        decided,
        network: (BTreeMap::new(), BTreeMap::new()),
        findings: Vec::new(),
        events,
        observation: Observation::default(),
    };
    let parts = ending.parts(vec![outcome], timeline, seconds, &preparation);
    Ran { parts, broken: end.err().map(|error| error.to_string()) }
}

/// Hands on what the worker says to those who decide, and their orders to the worker.
struct Collector<'a> {
    driver: Driver<'a>,
    timeline: Timeline,
    mailbox: &'a Mailbox,
    interruption: &'a Interruption,
    /// How many of the signals have been taken in.
    signals: usize,
    start: Time,
    /// The worker had drained when it last said how far it has come.
    drained: bool,
}

impl Observer for Collector<'_> {
    fn interval(&mut self, mut report: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        self.timeline.add(&report);
        for second in self.timeline.take_completed() {
            self.driver.second(second, self.drained, |order| self.mailbox.order(order));
        }
        report.clear();
        Some(report)
    }

    fn published(&mut self, worker: &Worker, now: Time) {
        self.drained = worker.is_drained();
        // Virtual time waits for nobody: a signal that came before the load meets its first instant.
        let now = now.max(self.start);
        let standing = Standing { now, progress: Progress::of(worker), drained: self.drained };
        for signal in self.interruption.signals().skip(self.signals) {
            self.signals += 1;
            self.driver.signal(signal, &standing, |order| self.mailbox.order(order));
        }
        self.driver.tick(&standing, self.start, |order| self.mailbox.order(order));
    }
}

/// Nobody looks on.
struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _progress: &Progress, _elapsed: Nanos) {}

    fn notice(&mut self, _notice: &Notice) {}
}
