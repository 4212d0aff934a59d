//! What the search asks for, and what comes back.

use serde::{Deserialize, Serialize};

use crate::base::Nanos;

/// One load for some time, on fresh sockets, against a target that has drained what earlier trials left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRequest {
    /// Intended arrivals per second, constant over the trial.
    pub rate_per_s: f64,
    /// How long attempts arrive.
    #[serde(rename = "duration_ns")]
    pub duration: Nanos,
    /// Why this trial is run.
    pub purpose: Purpose,
    /// The goal that asked for it, as an index into [`SearchSpec::goals`](super::SearchSpec::goals). The outcome counts
    /// for all goals.
    pub goal: usize,
}

/// Why a trial is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A short trial: the load doubles until the goal is missed, then the bracket is halved.
    Climb,
    /// Load until the target is warm, no longer than the request says; it may end sooner, and judges nothing.
    WarmUp,
    /// A trial of full length, which decides what a load is.
    Decide,
    /// The longer run that makes the rate believable.
    Confirm,
    /// A low rate after an overload: does the target still answer?
    Probe,
}

/// How a trial went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialOutcome {
    /// What had been asked for.
    pub request: TrialRequest,
    /// Planned arrivals.
    pub attempts: u64,
    /// Those of them that failed for a reason of the target or the network, completed later than the deadline after
    /// their intended start, or were still waiting for longer than the deadline. At most `attempts`.
    pub lost: u64,
    /// By how much the backlog grew, as a share of `attempts`: the *least* number of attempts in flight or waiting seen
    /// in the last quarter of the load, less the least seen in its first quarter. The least, because a stall lifts the
    /// backlog for a moment and an overload lifts its floor. Negative where it shrank.
    pub backlog_growth: f64,
    /// The generator's own limit in one sentence, if it was the limit: the trial says nothing about the target then.
    pub limited: Option<String>,
    /// What the trial cost of the budget: load, drain, cooldown and preparation.
    #[serde(rename = "took_ns")]
    pub took: Nanos,
}

impl TrialOutcome {
    /// Share of the attempts that were lost; all of them where there were none.
    pub fn loss_ratio(&self) -> f64 {
        if self.attempts == 0 { 1.0 } else { self.lost.min(self.attempts) as f64 / self.attempts as f64 }
    }

    /// Whether it says something about the target.
    pub const fn is_valid(&self) -> bool {
        self.limited.is_none()
    }
}
