//! What a run was doing when a signal ended it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Time;

use crate::run::plan::RunPlan;

/// When a signal ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterruptedAt {
    /// Seconds since the run's start; 0 before it.
    pub t_s: f64,
    /// What the run was doing.
    pub phase: Phase,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its load has not begun.
    Waiting,
    /// Attempts start and are not measured.
    WarmUp,
    /// Attempts start.
    Load,
    /// No further attempt starts; those in flight are waited for.
    Drain,
    /// The load is over, and connections are held.
    Hold,
}

impl InterruptedAt {
    /// A run of `plan` that began at `start` is interrupted `now`; `drained`: its load is over and nothing is in flight.
    pub(in crate::run) fn new(plan: &RunPlan, start: Time, now: Time, drained: bool) -> Self {
        let elapsed = now.since(start);
        let phase = match elapsed {
            _ if now < start => Phase::Waiting,
            _ if drained => Phase::Hold,
            _ if elapsed < plan.warmup() => Phase::WarmUp,
            _ if elapsed < plan.length() => Phase::Load,
            _ => Phase::Drain,
        };
        Self { t_s: elapsed.as_secs_f64(), phase }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "before the load began",
            Self::WarmUp => "in the warm-up",
            Self::Load => "while attempts started",
            Self::Drain => "while the last attempts were waited for",
            Self::Hold => "while connections were held",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Nanos;
    use crate::run::fixtures;

    #[test]
    fn a_signal_meets_the_run_in_one_of_its_phases() {
        let mut plan = fixtures::open_plan();
        let stages = vec![
            fixtures::stage("warm-up", true, 10.0, 10.0, Some(1)),
            fixtures::stage("load", false, 10.0, 10.0, Some(2)),
        ];
        plan.populations[0].lanes[0].load = fixtures::open_load(stages, None);
        let start = Time::ZERO + Nanos::from_secs(100);
        let at = |now_s: f64, drained| {
            let at = InterruptedAt::new(&plan, start, Time::from_nanos((now_s * 1e9) as u64), drained);
            (at.t_s, at.phase)
        };
        assert_eq!(at(99.0, false), (0.0, Phase::Waiting));
        assert_eq!(at(100.5, false), (0.5, Phase::WarmUp));
        assert_eq!(at(101.5, false), (1.5, Phase::Load));
        assert_eq!(at(103.5, false), (3.5, Phase::Drain));
        assert_eq!(at(103.5, true), (3.5, Phase::Hold));
    }
}
