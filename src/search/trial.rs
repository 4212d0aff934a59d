//! What the search asks for, and what comes back.

use serde::{Deserialize, Serialize};

use crate::base::Nanos;

/// A trial that loses this share of its attempts, or whose backlog grows by it, is an overload to recover from.
pub(super) const OVERLOAD: f64 = 0.1;
/// A confirmation goes on for this part of its length at least: until then, a backlog that grows is hardly told from one
/// that a stall has lifted.
const TELLING_PART: f64 = 1.0 / 3.0;

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
    /// Share of the attempts that even the loosest goal does not let a trial lose more of: then it misses them all.
    #[serde(default = "all")]
    pub may_lose: f64,
}

/// What a trial of a file from before may lose: it had to be run to its end.
const fn all() -> f64 {
    1.0
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
    /// Planned arrivals, up to where the trial ended.
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

impl TrialRequest {
    /// Whether a trial need not go on that has lost so many attempts for certain, so long after its load began: it misses
    /// every goal, and what it says about the reason, an overload or stalls, would hardly change. What it has of its length
    /// stands for the whole.
    pub fn is_settled(&self, elapsed: Nanos, lost: u64) -> bool {
        let share = lost as f64 / (self.rate_per_s * self.duration.as_secs_f64());
        let tells = elapsed.as_secs_f64() >= TELLING_PART * self.duration.as_secs_f64();
        match self.purpose {
            Purpose::Decide => share > self.may_lose.max(OVERLOAD),
            Purpose::Confirm => share > self.may_lose.max(if tells { 0.0 } else { OVERLOAD }),
            // Short, or they judge nothing.
            Purpose::Climb | Purpose::WarmUp | Purpose::Probe => false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Settled after so many seconds with so many of 1 000 a second lost.
    fn is_settled(purpose: Purpose, length_s: u64, at_s: u64, lost: u64) -> bool {
        let duration = Nanos::from_secs(length_s);
        let request = TrialRequest { rate_per_s: 1_000.0, duration, purpose, goal: 0, may_lose: 0.005 };
        request.is_settled(Nanos::from_secs(at_s), lost)
    }

    #[test]
    fn a_decision_is_settled_by_an_overload_of_the_whole() {
        assert!(!is_settled(Purpose::Decide, 8, 7, 800), "freezes may lose as much");
        assert!(is_settled(Purpose::Decide, 8, 1, 801));
    }

    #[test]
    fn a_confirmation_is_settled_by_its_goal_once_it_tells_why() {
        assert!(!is_settled(Purpose::Confirm, 60, 20, 300), "as many may be lost");
        assert!(is_settled(Purpose::Confirm, 60, 20, 301));
        assert!(!is_settled(Purpose::Confirm, 60, 19, 6_000));
        assert!(is_settled(Purpose::Confirm, 60, 6, 6_001));
    }

    #[test]
    fn short_trials_and_those_that_judge_nothing_run_to_their_end() {
        for purpose in [Purpose::Climb, Purpose::WarmUp, Purpose::Probe] {
            assert!(!is_settled(purpose, 2, 1, 1_000), "{purpose:?}");
        }
    }

    #[test]
    fn a_trial_of_an_older_file_ran_to_its_end() {
        let json = r#"{"rate_per_s":1000.0,"duration_ns":8000000000,"purpose":"decide","goal":0}"#;
        let request: TrialRequest = serde_json::from_str(json).unwrap();
        assert!(!request.is_settled(Nanos::from_secs(1), 8_000));
    }
}
