//! How long a search will probably take.

use std::convert::Infallible;

use super::conclusion::QualificationVerdict;
use super::controller::{Measurer, Search, search};
use super::trial::{Purpose, TrialOutcome, TrialRequest};
use crate::base::Nanos;

/// The trials that a search will probably need, and their time: printed before the start.
#[derive(Clone, Debug, PartialEq)]
pub struct TimePlan {
    /// By purpose, in the order of the search.
    pub parts: Vec<PlannedTrials>,
    /// Sum of the parts.
    pub total: Nanos,
    /// What the search may take at most.
    pub budget: Nanos,
    /// Whether such a target gets an answer in that time: a rate for the first goal, or a yes.
    pub answers: bool,
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

/// The assumed capacity over the first rate: six doublings and a bit.
const CAPACITY_OVER_START: f64 = 75.0;
/// A warm-up is assumed to be over after this time.
const WARM_UP: Nanos = Nanos::from_secs(5);

impl TimePlan {
    /// Runs the search in thought against a target that does everything below its capacity and nothing above it.
    pub(super) fn of(begun: &Search) -> Self {
        let spec = begun.spec();
        let mut ideal = IdealTarget { capacity_per_s: assumed_capacity_per_s(begun), overhead: spec.trial_overhead };
        let mut thought = begun.clone();
        let Ok(conclusion) = search(&mut thought, &mut ideal);
        let answers = match &conclusion.qualification {
            Some(qualification) => qualification.verdict == QualificationVerdict::Met,
            None => conclusion.goals[0].confirmed_per_s.is_some(),
        };
        let mut parts: Vec<PlannedTrials> = Vec::new();
        for trial in &thought.trials()[begun.trials().len()..] {
            let purpose = trial.request.purpose;
            match parts.iter_mut().find(|part| part.purpose == purpose) {
                Some(part) => (part.count, part.takes) = (part.count + 1, part.takes + trial.took),
                None => parts.push(PlannedTrials { purpose, count: 1, takes: trial.took }),
            }
        }
        Self { parts, total: thought.spent().saturating_sub(begun.spent()), budget: spec.budget, answers }
    }
}

fn assumed_capacity_per_s(begun: &Search) -> f64 {
    let highest = |exceeds: bool| {
        let judged = begun.judged_trials().filter(|trial| begun.exceeds(trial, 0) == exceeds);
        judged.map(|trial| trial.request.rate_per_s).reduce(f64::max)
    };
    let guessed = begun.spec().start_rate.as_per_second() * CAPACITY_OVER_START;
    let met = highest(false);
    let capacity = if highest(true).is_some() { met } else { met.map(|met| met.max(guessed)) };
    capacity.unwrap_or(guessed).min(begun.spec().highest_per_s())
}

struct IdealTarget {
    capacity_per_s: f64,
    overhead: Nanos,
}

impl Measurer for IdealTarget {
    type Error = Infallible;

    fn trial(&mut self, request: &TrialRequest) -> Result<TrialOutcome, Infallible> {
        let is_warm_up = request.purpose == Purpose::WarmUp;
        let duration = if is_warm_up { request.duration.min(WARM_UP) } else { request.duration };
        let attempts = (request.rate_per_s * duration.as_secs_f64()).ceil() as u64;
        let lost = if request.rate_per_s > self.capacity_per_s { attempts } else { 0 };
        let took = duration + self.overhead;
        Ok(TrialOutcome { request: *request, attempts, lost, backlog_growth: 0.0, limited: None, took })
    }
}
