//! `--find concurrent`: the idle time-out, a rate to ramp at, and the ramp.

use crate::base::Nanos;

use super::{Measurement, OVERHEAD};
use crate::capacity::audience::Audience;
use crate::capacity::error::CapacityError;
use crate::capacity::measurement::baseline::Unloaded;
use crate::capacity::measurement::concurrent::{WATCH, idle_timeout, ramp};
use crate::capacity::result::*;
use crate::capacity::trial::run_trial;
use crate::capacity::trial::shape::{Load, rate};

/// What the idle time-out, and the rate for the ramp, may each take of the budget.
pub(in crate::capacity) const fn quarter(budget: Nanos) -> Nanos {
    Nanos::new(budget.as_u64() / 4)
}

/// How long idle connections are watched.
pub(in crate::capacity) fn longest_watch(budget: Nanos) -> Nanos {
    WATCH.min(quarter(budget))
}

impl<A: Audience> Measurement<'_, A> {
    /// How many connections the target holds at once.
    pub(in crate::capacity) fn find_concurrent(
        &mut self,
        result: &mut CapacityResult,
        unloaded: &Unloaded,
    ) -> Result<(), CapacityError> {
        let budget = self.settings.budget;
        let idle = idle_timeout(self.runner, self.audience, &self.shape, longest_watch(budget))?;
        self.audience.say(&match idle.age {
            Some(age) => format!("idle time-out: it closes connections that say nothing after {age}"),
            None => format!("idle time-out: none within {:.0} s", idle.watched.as_secs_f64()),
        });
        if self.runner.interrupted().is_some() {
            return Ok(());
        }
        let per_s = match self.request.max_rate {
            Some(given) => given.as_per_second(),
            None => self.quick_rate(unloaded)?,
        };
        if per_s <= 0.0 || self.runner.interrupted().is_some() {
            return Ok(());
        }
        let left = budget.saturating_sub(self.runner.elapsed()).saturating_sub(OVERHEAD).max(Nanos::from_secs(2));
        let began = self.runner.elapsed();
        let (concurrent, run) = ramp(self.runner, self.audience, &self.shape, (per_s / 2.0, left), &idle)?;
        self.time.search_s += self.runner.elapsed().saturating_sub(began).as_secs_f64();
        self.note_findings(&run, false);
        result.environment.clone_from(&run.environment);
        result.plan = run.plan;
        result.concurrent = Some(concurrent);
        Ok(())
    }

    /// About what the target takes, by short trials only.
    fn quick_rate(&mut self, unloaded: &Unloaded) -> Result<f64, CapacityError> {
        const LENGTH: Nanos = Nanos::from_secs(1);
        let limit = self.runner.elapsed() + quarter(self.settings.budget);
        let loss = self.settings.goals[0].loss_ratio;
        let (mut met, mut offered) = (0.0, 2.0 * unloaded.baseline.rate_per_s);
        while self.runner.elapsed() < limit && self.runner.interrupted().is_none() {
            let plan = self.shape.plan(Load::Rate(rate(offered), LENGTH))?;
            let trial = run_trial(self.runner, self.audience, plan, TrialPurpose::Climb, self.shape.deadline())?;
            self.time.cooldown_s += self.site.cool_down(self.runner).as_secs_f64();
            let exceeds = trial.row.lost as f64 > loss * trial.row.attempts as f64;
            let row = TrialRow { exceeds, ..trial.row };
            self.audience.trial(&row);
            let over = exceeds || !row.valid || trial.cut_short;
            self.trials.push(row);
            if over {
                break;
            }
            met = offered;
            offered *= 2.0;
        }
        Ok(if met > 0.0 { met } else { unloaded.baseline.rate_per_s })
    }
}
