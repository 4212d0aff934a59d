//! From trials to a conclusion.

use super::classification::loss_resolution;
use super::conclusion::{Conclusion, GoalConclusion, Verdict};
use super::controller::{Recovered, Search};
use super::goal_search::GoalSearch;
use super::qualification;
use super::spec::Mode;

impl Conclusion {
    /// What the trials of a search say so far.
    pub(super) fn of(search: &Search) -> Self {
        let goals = 0..search.spec().goals.len();
        Self {
            goals: goals.map(|goal| GoalSearch::new(search, goal).conclude(search)).collect(),
            recovered: match search.recovery() {
                Recovered::NeverOverloaded | Recovered::NotProbed | Recovered::NotYet { .. } => None,
                Recovered::Yes => Some(true),
                Recovered::No { .. } => Some(false),
            },
            qualification: match search.spec().mode {
                Mode::Find => None,
                Mode::Qualify { need, margin } => Some(qualification::conclude(search, need, margin)),
            },
        }
    }
}

impl GoalSearch<'_> {
    fn conclude(&self, search: &Search) -> GoalConclusion {
        let lower = self.decided.lower();
        // What the climb found stands where no trials of full length came to it; the last word has a single one.
        let above = |rate: f64| lower.is_none_or(|lower| rate > lower.rate_per_s);
        let upper = self.decided.supported_upper(&self.rule);
        let upper = upper.or_else(|| self.climb.upper().filter(|load| above(load.rate_per_s)));
        let upper = upper.or_else(|| self.decided.upper());
        let shown_lower =
            lower.or_else(|| self.climb.lower().filter(|load| upper.is_none_or(|u| load.rate_per_s < u.rate_per_s)));
        let confirmed = self.confirmed();
        let bounds = shown_lower.zip(upper);
        let attempts = confirmed
            .map(|(_, trial)| trial.attempts)
            .or_else(|| lower.map(|load| load.trials.iter().map(|trial| trial.attempts).sum()));
        GoalConclusion {
            name: self.goal.name.clone(),
            loss_ratio: self.goal.loss_ratio,
            lower_bound_per_s: shown_lower.map(|load| load.rate_per_s),
            upper_bound_per_s: upper.map(|load| load.rate_per_s),
            confirmed_per_s: confirmed.map(|(_, trial)| trial.request.rate_per_s),
            confirming_trial: confirmed.map(|(index, _)| index),
            conditional_throughput_per_s: lower.map(|load| self.rule.conditional_throughput(load)),
            resolution: bounds.map(|(lower, upper)| upper.rate_per_s / lower.rate_per_s - 1.0),
            loss_resolution: attempts.filter(|attempts| *attempts > 0).map(loss_resolution),
            verdict: self.verdict(search),
        }
    }

    fn verdict(&self, search: &Search) -> Verdict {
        if let Recovered::No { after_per_s } = search.recovery() {
            return Verdict::DidNotRecover { after_per_s };
        }
        let judged: Vec<_> = search.judged_trials().collect();
        if !judged.is_empty() && judged.iter().all(|trial| trial.lost == trial.attempts) {
            return Verdict::NothingCompletes;
        }
        let generator_limited = || {
            let ceiling = self.decided.relevant_ceiling()?;
            Some(Verdict::GeneratorLimited { at_per_s: ceiling.rate_per_s, reason: ceiling.reason.clone() })
        };
        if let Some((_, trial)) = self.confirmed() {
            let is_highest = trial.request.rate_per_s >= search.spec().highest_per_s();
            return generator_limited().unwrap_or(if is_highest { Verdict::RangeLimited } else { Verdict::Confirmed });
        }
        if self.is_unstable() {
            return self.unstable(search);
        }
        let lowest = search.spec().min_rate.as_per_second();
        if self.decided.upper().or(self.climb.upper()).is_some_and(|load| load.rate_per_s <= lowest) {
            return Verdict::NothingSustained;
        }
        // What a search that goes on, or was interrupted, may still come to is not known.
        if let Some(attempts) = self.too_few_attempts().filter(|_| search.is_over()) {
            return Verdict::NotDecidable { attempts, needed: self.attempts_needed() };
        }
        if let Some(limited) = generator_limited() {
            return limited;
        }
        match self.failed_confirmations().count() {
            0 if self.decided.lower().is_none() || self.decided.upper().is_none() => Verdict::Undecided,
            failed => Verdict::NotConfirmed { failed },
        }
    }

    fn unstable(&self, search: &Search) -> Verdict {
        let bad = search
            .trials()
            .iter()
            .enumerate()
            .filter(|(_, trial)| Search::is_judged(trial) && self.rule.exceeds(trial));
        let bad_trials: Vec<usize> = bad.map(|(index, _)| index).collect();
        let exceeding_share = bad_trials.len() as f64 / search.judged_trials().count().max(1) as f64;
        Verdict::Unstable { exceeding_share, bad_trials }
    }
}
