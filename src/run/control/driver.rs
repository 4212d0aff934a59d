//! What the loops have in common that control workers: the one on sockets and the simulated one.

use std::ops::ControlFlow;

use crate::base::{Nanos, Time};
use crate::fleet::{Order, Progress};
use crate::measure::CompletedSecond;

use super::policy::{Decision, Notice, Policy, Standing};
use crate::run::assemble::ResultParts;
use crate::run::result::Event;
use crate::run::result::Signal;

/// Who looks on while the load runs.
pub trait Watch {
    /// Called every few tens of milliseconds; `elapsed` counts from the load's start.
    fn progress(&mut self, progress: &Progress, elapsed: Nanos);

    /// Called with each whole second as soon as every worker has reported it. The load ends with the first `Break`; what is
    /// in flight is waited for.
    fn second(&mut self, _second: &CompletedSecond) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Called once per event.
    fn notice(&mut self, notice: &Notice);
}

/// A run that is over.
#[derive(Debug)]
pub struct Ran {
    /// What its result is made of.
    pub parts: ResultParts,
    /// A worker's backend broke during the run: the reason.
    pub broken: Option<String>,
}

/// What every loop that controls workers does: it tells the policy and the onlooker what happens, hands on the orders, and
/// keeps the events.
pub(super) struct Driver<'a> {
    pub policy: Policy,
    pub watch: &'a mut dyn Watch,
    pub events: Vec<Event>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(policy: Policy, watch: &'a mut dyn Watch) -> Self {
        Self { policy, watch, events: Vec::new() }
    }

    /// A second that every worker has reported; `drained` as in [`Standing`].
    pub(super) fn second(&mut self, second: CompletedSecond, drained: bool, order: impl FnMut(Order)) {
        let wish = self.watch.second(&second);
        self.policy.second(second, wish, drained);
        self.carry_out(order);
    }

    pub(super) fn signal(&mut self, signal: Signal, standing: &Standing, order: impl FnMut(Order)) {
        self.policy.signal(signal, standing);
        self.carry_out(order);
    }

    /// Some tens of milliseconds have passed.
    pub(super) fn tick(&mut self, standing: &Standing, start: Time, order: impl FnMut(Order)) {
        self.watch.progress(&standing.progress, standing.now.since(start));
        self.policy.tick(standing);
        self.carry_out(order);
    }

    fn carry_out(&mut self, mut order: impl FnMut(Order)) {
        for decision in self.policy.decisions() {
            match decision {
                Decision::Order(given) => order(given),
                Decision::Event(event) => self.events.push(event),
                Decision::Notice(notice) => self.watch.notice(&notice),
            }
        }
    }
}
