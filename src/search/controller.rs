//! Which trial is next.

use super::conclusion::Conclusion;
use super::spec::{SearchSpec, SpecError};
use super::trial::{Purpose, TrialOutcome, TrialRequest};
use crate::base::Nanos;

/// A search in progress.
#[derive(Clone, Debug)]
pub struct Search {
    spec: SearchSpec,
    trials: Vec<TrialOutcome>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Run this trial and record its outcome.
    Trial(TrialRequest),
    /// The search has ended.
    Done(Conclusion),
}

/// Whoever runs trials: the generator, or a simulated server.
pub trait Measurer {
    /// Why a trial could not be run at all.
    type Error;

    /// Runs one trial.
    fn trial(&mut self, request: &TrialRequest) -> Result<TrialOutcome, Self::Error>;
}

/// The trials that a search will probably need, and their time: printed before the start.
#[derive(Clone, Debug, PartialEq)]
pub struct TimePlan {
    /// By purpose, in the order of the search.
    pub parts: Vec<PlannedTrials>,
    /// Sum of the parts.
    pub total: Nanos,
    /// What the search may take at most.
    pub budget: Nanos,
}

/// The trials of one purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlannedTrials {
    /// What they are for.
    pub purpose: Purpose,
    /// How many.
    pub count: usize,
    /// How long they take together, overheads included.
    pub takes: Nanos,
}

/// Drives a search to its end.
pub fn search<M: Measurer>(search: &mut Search, measurer: &mut M) -> Result<Conclusion, M::Error> {
    loop {
        match search.next() {
            Step::Trial(request) => search.record(measurer.trial(&request)?),
            Step::Done(conclusion) => return Ok(conclusion),
        }
    }
}

impl Search {
    /// A search that has not begun, or why there cannot be one.
    pub fn new(spec: SearchSpec) -> Result<Self, SpecError> {
        Ok(Self { spec, trials: Vec::new() })
    }

    /// What to do next: a pure function of the spec and the recorded trials.
    pub fn next(&self) -> Step {
        Step::Done(self.stop())
    }

    /// Takes the outcome of a trial: the one [`Search::next`] asked for, or a saved one of the same search.
    pub fn record(&mut self, outcome: TrialOutcome) {
        self.trials.push(outcome);
    }

    /// What is known so far: for a budget that ended or an interruption.
    pub fn stop(&self) -> Conclusion {
        Conclusion { goals: Vec::new(), recovered: None, qualification: None }
    }

    /// The recorded trials, oldest first.
    pub fn trials(&self) -> &[TrialOutcome] {
        &self.trials
    }

    /// What is searched for.
    pub const fn spec(&self) -> &SearchSpec {
        &self.spec
    }

    /// What the trials so far have taken.
    pub fn spent(&self) -> Nanos {
        self.trials.iter().fold(Nanos::ZERO, |sum, trial| sum + trial.took)
    }

    /// The time that the search will probably take.
    pub fn time_plan(&self) -> TimePlan {
        TimePlan { parts: Vec::new(), total: Nanos::ZERO, budget: self.spec.budget }
    }
}
