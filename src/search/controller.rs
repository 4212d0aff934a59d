//! Which trial is next.

use super::bounds::rounded;
use super::classification::{Rule, judges};
use super::conclusion::Conclusion;
use super::goal_search::GoalSearch;
use super::qualification;
use super::spec::{Mode, SearchSpec, SpecError};
use super::time_plan::TimePlan;
use super::trial::{OVERLOAD, Purpose, TrialOutcome, TrialRequest};
use crate::base::Nanos;

/// A target that loses no more than this at a low rate answers.
const ANSWERS: f64 = 0.5;
/// The probe's rate as a share of the overload's.
const PROBE_SHARE: f64 = 0.1;

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
        spec.check()?;
        Ok(Self { spec, trials: Vec::new() })
    }

    /// What to do next: a pure function of the spec and the recorded trials.
    pub fn next(&self) -> Step {
        match self.wanted() {
            Some(request) => Step::Trial(request),
            None => Step::Done(self.stop()),
        }
    }

    /// Takes the outcome of a trial: the one [`Search::next`] asked for, or a saved one of the same search.
    pub fn record(&mut self, outcome: TrialOutcome) {
        self.trials.push(outcome);
    }

    /// What is known so far: for a budget that ended or an interruption.
    pub fn stop(&self) -> Conclusion {
        Conclusion::of(self)
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

    /// Whether a trial misses a goal: lost too much, or its backlog grew. `goal` is an index into the spec's goals.
    pub fn exceeds(&self, trial: &TrialOutcome, goal: usize) -> bool {
        Rule::of_goal(&self.spec.goals[goal]).exceeds(trial)
    }

    /// The time that the rest of the search will probably take: it is run in thought against a target that is neither noisy
    /// nor slow to recover, and whose capacity lies six doublings above the first rate, or just below the highest one; or
    /// just above what the trials so far met, if one was too much.
    pub fn time_plan(&self) -> TimePlan {
        TimePlan::of(self)
    }

    /// Whether a trial of this length, and `reserve` after it, fit what is left of the budget, even if it takes as long
    /// to drain as any trial before.
    pub(super) fn affords(&self, duration: Nanos, reserve: Nanos) -> bool {
        duration + reserve <= self.left()
    }

    /// What is left of the budget for trials after the next one's drain.
    pub(super) fn left(&self) -> Nanos {
        self.spec.budget.saturating_sub(self.spent() + self.longest_drain())
    }

    /// What trials other than confirmations leave of the budget, the drain of one confirmation taken off.
    pub(super) fn left_for_confirmations(&self) -> Nanos {
        let others = self.trials.iter().filter(|trial| trial.request.purpose != Purpose::Confirm);
        let spent = others.fold(Nanos::ZERO, |sum, trial| sum + trial.took);
        self.spec.budget.saturating_sub(spent + self.longest_drain())
    }

    /// Whether nothing is to be tried any more: the answer is there, or what is missing does not fit the budget.
    pub(super) fn is_over(&self) -> bool {
        self.wanted().is_none()
    }

    /// What a trial may take beyond its length: as much as any before, at least what is always needed.
    pub(super) fn longest_drain(&self) -> Nanos {
        let beyond = self.trials.iter().map(|trial| trial.took.saturating_sub(trial.request.duration));
        let drained = self.spec.trial_overhead + self.spec.deadline + self.spec.deadline;
        beyond.fold(drained, Nanos::max)
    }

    /// A trial that `goal` asks for.
    pub(super) fn request(&self, rate_per_s: f64, duration: Nanos, purpose: Purpose, goal: usize) -> TrialRequest {
        let may_lose = self.spec.goals.iter().map(|goal| goal.loss_ratio).fold(0.0, f64::max);
        TrialRequest { rate_per_s, duration, purpose, goal, may_lose }
    }

    /// Whether a trial judges its load.
    pub(super) fn is_judged(trial: &TrialOutcome) -> bool {
        trial.is_valid() && judges(trial.request.purpose)
    }

    /// The trials that judge their load.
    pub(super) fn judged_trials(&self) -> impl Iterator<Item = &TrialOutcome> {
        self.trials.iter().filter(|trial| Self::is_judged(trial))
    }

    /// What followed the last overload.
    pub(super) fn recovery(&self) -> Recovered {
        let Some(last) = self.trials.iter().rposition(|trial| is_overload(trial) && self.has_answered_before(trial))
        else {
            return Recovered::NeverOverloaded;
        };
        let rate_per_s = self.trials[last].request.rate_per_s;
        let mut waited = Nanos::ZERO;
        for trial in &self.trials[last + 1..] {
            // A probe that the generator spoiled shows nothing, and any other trial means that a probe was answered.
            if trial.request.purpose != Purpose::Probe || !trial.is_valid() || trial.loss_ratio() <= ANSWERS {
                return Recovered::Yes;
            }
            waited += trial.took;
        }
        match self.spec.recovery {
            None => Recovered::NotProbed,
            Some(recovery) if waited >= recovery.within => Recovered::No { after_per_s: rate_per_s },
            Some(recovery) => Recovered::NotYet { after_per_s: rate_per_s, probe: recovery.probe },
        }
    }

    fn wanted(&self) -> Option<TrialRequest> {
        match self.recovery() {
            Recovered::No { .. } => return None,
            Recovered::NotYet { after_per_s, probe } => {
                let rate = rounded(after_per_s * PROBE_SHARE).max(self.spec.min_rate.as_per_second()).min(after_per_s);
                let goal = self.trials.last().map_or(0, |trial| trial.request.goal);
                let request = self.request(rate, probe, Purpose::Probe, goal);
                return self.affords(probe, Nanos::ZERO).then_some(request);
            }
            Recovered::NeverOverloaded | Recovered::NotProbed | Recovered::Yes => {}
        }
        match self.spec.mode {
            Mode::Find => (0..self.spec.goals.len()).find_map(|goal| GoalSearch::new(self, goal).next()),
            Mode::Qualify { need, margin } => qualification::next(self, need, margin),
        }
    }

    /// A target that has never answered cannot be lost by an overload.
    fn has_answered_before(&self, overload: &TrialOutcome) -> bool {
        let before = self.trials.iter().take_while(|trial| !std::ptr::eq(*trial, overload));
        before.filter(|trial| trial.is_valid()).any(|trial| trial.loss_ratio() <= ANSWERS)
    }
}

/// What is known about the target after its last overload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Recovered {
    NeverOverloaded,
    NotProbed,
    NotYet { after_per_s: f64, probe: Nanos },
    Yes,
    No { after_per_s: f64 },
}

fn is_overload(trial: &TrialOutcome) -> bool {
    let is_heavy = trial.loss_ratio() >= OVERLOAD || trial.backlog_growth >= OVERLOAD;
    is_heavy && Search::is_judged(trial)
}
