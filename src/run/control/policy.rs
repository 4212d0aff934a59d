//! What is decided while a load runs. Nothing here reads a clock, waits, or knows who carries the load: seconds, signals
//! and ticks go in, orders, events and notices come out. A run on sockets and a simulated one ask the same machine.
//!
//! A load ends by its plan, by a signal, by a condition or a canary that trips, because whoever looks on has seen enough,
//! or because every target refuses everything. Each of them but the plan stops it: nothing more starts, and what is in
//! flight is waited for. Only a second signal cuts that short.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::vec::Drain;

use crate::base::{Nanos, Time};
use crate::fleet::{Order, Progress};
use crate::measure::{CompletedSecond, RecorderLayout};

use crate::finding::{Finding, FindingCode};
use crate::run::judging::watch::{RunWatch, Trip};
use crate::run::plan::RunPlan;
use crate::run::result::Event;
use crate::run::result::InterruptedAt;
use crate::run::result::Signal;

/// A load that every target refuses is ended after this long.
const REFUSED_FOR: Nanos = Nanos::from_secs(3);

/// How far the workers are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub now: Time,
    /// Totals of all workers.
    pub progress: Progress,
    /// Every worker's load is over and nothing is in flight; connections may be held.
    pub drained: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Every worker gets this order.
    Order(Order),
    /// The result gets this event.
    Event(Event),
    /// Whoever looks on is told.
    Notice(Notice),
}

/// Something that happened while the load ran, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first signal: so many attempts in flight are waited for.
    Stopping(Signal, u64),
    /// A condition of `--abort-if`, or the canary: what is in flight is waited for.
    Tripped(Trip),
    /// The second signal: nothing is waited for.
    Abandoning,
    /// Every target refused every attempt for three seconds, and nothing completed.
    Refused,
}

/// Decides, from the start of a load to its end.
pub(super) struct Policy {
    plan: Arc<RunPlan>,
    start: Time,
    keep_going: bool,
    seconds: RunWatch,
    decisions: Vec<Decision>,
    interrupted: Option<(Signal, InterruptedAt)>,
    trip: Option<Trip>,
    /// Whoever looks on has seen enough.
    enough: bool,
    refused: bool,
    ended_early: bool,
    released: bool,
}

/// What was decided, once the load is over.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The first signal, and when it came.
    pub interrupted: Option<(Signal, InterruptedAt)>,
    /// Why the run was ended by its own conditions.
    pub trip: Option<Trip>,
    /// Every target refused everything.
    pub refused: bool,
    /// The load was ended by an order, not by its plan.
    pub ended_early: bool,
}

impl Policy {
    /// For a load of `plan` that begins at `start`. `keep_going`: a load that every target refuses is not ended.
    pub(super) fn new(plan: &Arc<RunPlan>, layout: &RecorderLayout, start: Time, keep_going: bool) -> Self {
        Self {
            plan: Arc::clone(plan),
            start,
            keep_going,
            seconds: RunWatch::new(plan, layout),
            decisions: Vec::new(),
            interrupted: None,
            trip: None,
            enough: false,
            refused: false,
            ended_early: false,
            released: false,
        }
    }

    /// Takes in a second that every worker has reported, and whether whoever looks on wants more of them.
    pub(super) fn second(&mut self, second: CompletedSecond, wish: ControlFlow<()>, drained: bool) {
        let tripped = self.seconds.push(second);
        if wish.is_break() && !self.enough {
            self.enough = true;
            self.stop(drained);
        }
        if let (None, Some(trip)) = (&self.trip, tripped) {
            self.stop(drained);
            self.decisions.push(Decision::Event(Event {
                t_s: f64::from(trip.at_s),
                code: "ended".into(),
                text: trip.text.clone(),
            }));
            self.decisions.push(Decision::Notice(Notice::Tripped(trip.clone())));
            self.trip = Some(trip);
        }
    }

    /// Takes in a signal.
    pub(super) fn signal(&mut self, signal: Signal, standing: &Standing) {
        if self.interrupted.is_some() {
            self.decisions.extend([Decision::Order(Order::Abandon), Decision::Notice(Notice::Abandoning)]);
            return;
        }
        let at = InterruptedAt::new(&self.plan, self.start, standing.now, standing.drained);
        self.interrupted = Some((signal, at));
        self.stop(standing.drained);
        let Progress { started, completed, failed, .. } = standing.progress;
        // Each count is exact, but they may be of different instants.
        let in_flight = started.saturating_sub(completed + failed);
        self.decisions.push(Decision::Notice(Notice::Stopping(signal, in_flight)));
    }

    /// Some time has passed.
    pub(super) fn tick(&mut self, standing: &Standing) {
        let elapsed = standing.now.since(self.start);
        let Progress { completed, failed, refused, .. } = standing.progress;
        let all_refused = completed == 0 && failed > 0 && refused == failed;
        if !self.keep_going && !self.refused && all_refused && elapsed >= REFUSED_FOR {
            self.refused = true;
            self.stop(standing.drained);
            let text = format!("every target refused every connection for {REFUSED_FOR}");
            let event = Event { t_s: elapsed.as_secs_f64(), code: "ended".into(), text };
            self.decisions.extend([Decision::Event(event), Decision::Notice(Notice::Refused)]);
        }
        if self.plan.releases_on_order() && standing.drained && !self.released {
            self.released = true;
            self.decisions.push(Decision::Order(Order::Release));
        }
    }

    /// What was decided since the last call, in order.
    pub(super) fn decisions(&mut self) -> Drain<'_, Decision> {
        self.decisions.drain(..)
    }

    /// The load is over. `rest`: seconds that are known only now; they decide nothing any more, but windows have them.
    pub(super) fn finish(mut self, rest: impl Iterator<Item = CompletedSecond>) -> (Decided, RunWatch) {
        for second in rest {
            self.seconds.push(second);
        }
        let Self { interrupted, trip, refused, ended_early, .. } = self;
        (Decided { interrupted, trip, refused, ended_early }, self.seconds)
    }

    /// An order that comes when everything has drained ends the hold, and leaves the load as it was planned.
    fn stop(&mut self, drained: bool) {
        self.ended_early |= !drained;
        self.decisions.push(Decision::Order(Order::Stop));
    }
}

impl Decided {
    /// What to know of it beside the numbers.
    pub(super) fn finding(&self) -> Option<Finding> {
        self.refused.then(|| {
            Finding::warning(
                FindingCode::RefusedByAll,
                format!("every target refused every connection for {REFUSED_FOR}; the load was ended"),
                "check that the server runs and listens on this address; --keep-going loads it all the same",
            )
        })
    }
}

#[cfg(test)]
mod tests;
