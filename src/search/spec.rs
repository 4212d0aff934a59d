//! What is searched for: goals, limits and the time there is.

use crate::base::{Nanos, Rate};

/// A search: what counts as sustained, between which rates, within which time.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSpec {
    /// What a load must meet; the trials of one goal count for all. Searched in this order while the budget lasts.
    pub goals: Vec<Goal>,
    /// T: an attempt that completes later than this after its intended start is lost.
    pub deadline: Nanos,
    /// The lowest rate worth a trial; below it the target is said to sustain nothing.
    pub min_rate: Rate,
    /// The highest rate that may be offered.
    pub max_rate: Option<Rate>,
    /// The first rate of the climb. A qualification begins no lower either: less than this was offered before.
    pub start_rate: Rate,
    /// All the time the trials may take, overheads included ([`TrialOutcome::took`](super::TrialOutcome::took)).
    pub budget: Nanos,
    /// Length of the confirmation, at rates that make enough attempts in that time.
    pub confirm: Nanos,
    /// How long a confirmation may be at lower rates, which need longer for as many attempts; within the budget.
    pub longest_confirm: Nanos,
    /// Length of a trial of the climb, at rates that make enough attempts in that time.
    pub climb_trial: Nanos,
    /// Longest warm-up between the climb and the trials that decide; zero for none.
    pub warm_up: Nanos,
    /// What a trial is expected to cost on top of its duration.
    pub trial_overhead: Nanos,
    /// How a target is probed after an overload; `None` where it need not be.
    pub recovery: Option<Recovery>,
    /// Whether a capacity is wanted or a yes or no.
    pub mode: Mode,
}

/// When a load is sustained, and how exactly the highest such load is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// Its name in reports: `slo`, `strict` or the user's.
    pub name: String,
    /// Share of attempts that may be lost.
    pub loss_ratio: f64,
    /// Share of the trial time at a load that may miss the goal (draft-ietf-bmwg-mlrsearch, Goal Exceed Ratio).
    pub exceed_ratio: f64,
    /// The search ends when the bounds are this close: upper bound at most (1 + width) times the lower bound.
    pub width: f64,
    /// Length of the trials that decide (Goal Final Trial Duration).
    pub final_trial: Nanos,
    /// Trial time that classifies a load (Goal Duration Sum).
    pub duration_sum: Nanos,
}

/// The probe after an overload: one excursion can break a target's accept loop for good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovery {
    /// Length of a probe.
    pub probe: Nanos,
    /// How long the target may take to answer again, probes included.
    pub within: Nanos,
}

/// Whether a capacity is wanted or a yes or no.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The highest rate that meets each goal.
    Find,
    /// Whether the target sustains `need` times `margin`; more than that is never offered.
    Qualify {
        /// The rate that the event needs.
        need: Rate,
        /// Its safety margin, at least 1.
        margin: f64,
    },
}

/// Why a search cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(pub String);

impl SearchSpec {
    /// The default search at a deadline: the goal `slo`, 5 minutes. `docs/search.md` shows what its numbers rest on.
    pub fn new(deadline: Nanos) -> Self {
        Self {
            goals: vec![Goal::slo(deadline)],
            deadline,
            min_rate: Rate::per_second(10.0).expect("finite and above zero"),
            max_rate: None,
            start_rate: Rate::per_second(500.0).expect("finite and above zero"),
            budget: Nanos::from_secs(300),
            confirm: Nanos::from_secs(60),
            longest_confirm: Nanos::from_secs(300),
            climb_trial: Nanos::from_secs(2).max(deadline + deadline),
            warm_up: Nanos::from_secs(60),
            trial_overhead: Nanos::from_secs(1),
            recovery: Some(Recovery { probe: Nanos::from_secs(1), within: Nanos::from_secs(20) }),
            mode: Mode::Find,
        }
    }

    /// Whether a search can be made of it.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        let refuse = |why: String| Err(SpecError(why));
        if self.goals.is_empty() {
            return refuse("a search needs a goal".to_owned());
        }
        for goal in &self.goals {
            goal.check()?;
        }
        let (lowest, start, highest) =
            (self.min_rate.as_per_second(), self.start_rate.as_per_second(), self.highest_per_s());
        if lowest <= 0.0 || start < lowest {
            return refuse(format!("the first rate {} lies below the lowest one, {}", self.start_rate, self.min_rate));
        }
        if highest < lowest {
            return refuse(format!(
                "the highest rate lies below the lowest one worth a trial, {}: raise it",
                self.min_rate
            ));
        }
        if let Mode::Qualify { need, margin } = self.mode {
            if !(margin.is_finite() && margin >= 1.0) {
                return refuse(format!(
                    "a margin of {margin} is below the need itself: write 1 or more, for example 1.2"
                ));
            }
            if highest < need.as_per_second() {
                return refuse(format!(
                    "the highest rate allowed (--max-rate) is below the need, {need}: raise or drop it"
                ));
            }
        }
        if self.deadline == Nanos::ZERO || self.climb_trial == Nanos::ZERO || self.confirm == Nanos::ZERO {
            return refuse("the deadline and the lengths of trials must be above zero".to_owned());
        }
        let least = self.confirm + self.trial_overhead + self.climb_trial + self.trial_overhead;
        let needed = self.goals.iter().fold(least, |sum, goal| sum + goal.duration_sum);
        if needed > self.budget {
            return refuse(format!(
                "a budget of {} has no room for a confirmation of {} and the trials before it: give at least {needed}, or \
                 confirm for a shorter time",
                self.budget, self.confirm
            ));
        }
        Ok(())
    }

    /// The highest rate that may be offered, per second; infinite where nothing limits it.
    pub(super) fn highest_per_s(&self) -> f64 {
        let allowed = self.max_rate.map_or(f64::INFINITY, Rate::as_per_second);
        match self.mode {
            Mode::Find => allowed,
            Mode::Qualify { need, margin } => allowed.min(need.as_per_second() * margin),
        }
    }
}

impl Goal {
    /// The default goal: 0.5 % lost.
    pub fn slo(deadline: Nanos) -> Self {
        Self::new("slo", 0.005, deadline)
    }

    /// 0.001 % lost: needs about 300 000 clean attempts at a load.
    pub fn strict(deadline: Nanos) -> Self {
        Self::new("strict", 0.000_01, deadline)
    }

    /// A goal of the user's with the default precision.
    pub fn new(name: &str, loss_ratio: f64, deadline: Nanos) -> Self {
        // Long enough for its quarters to show a backlog that takes deadlines to build up.
        let final_trial = Nanos::from_secs(8).max(Nanos::from_secs_f64(4.0 * deadline.as_secs_f64()));
        Self {
            name: name.to_owned(),
            loss_ratio,
            exceed_ratio: 0.5,
            width: 0.01,
            final_trial,
            duration_sum: final_trial + final_trial,
        }
    }

    fn check(&self) -> Result<(), SpecError> {
        let share = |value: f64| value > 0.0 && value < 1.0;
        let fits = share(self.loss_ratio) && share(self.exceed_ratio) && self.width > 0.0 && self.width.is_finite();
        if !fits || self.final_trial == Nanos::ZERO {
            return Err(SpecError(format!(
                "goal '{}': loss and exceed ratio must lie between 0 and 1, width and trial length (--width, --trial) above 0",
                self.name
            )));
        }
        if self.duration_sum < self.final_trial {
            return Err(SpecError(format!(
                "goal '{}': a load needs {} of trials, but one trial takes {} already",
                self.name, self.duration_sum, self.final_trial
            )));
        }
        Ok(())
    }
}
