//! The search for one goal: climb, warm-up, decision, confirmation.

use super::bounds::{Bounds, Guess, Progress, rounded};
use super::classification::Rule;
use super::controller::Search;
use super::spec::Goal;
use super::trial::{Purpose, TrialOutcome, TrialRequest};
use crate::base::Nanos;

/// The climb halves its bracket until it is this close; then trials of full length take over.
const CLIMB_WIDTH: f64 = 0.04;
/// The climb doubles the load.
const CLIMB_STEP: f64 = 1.0;
/// The warm-up runs at this share of what the climb reached.
const WARM_UP_SHARE: f64 = 0.3;
/// The warm-up may take this share of the budget at most.
const WARM_UP_BUDGET: f64 = 0.2;
/// Deciding leaves time for so many confirmations: the first one may fail.
const CONFIRMATIONS: usize = 2;
/// Without a failure among N attempts, the loss ratio is below 3/N at 95 % confidence.
const RULE_OF_THREE: f64 = 3.0;
/// Stalls lose a similar share at any load, an overload loses less at half of it: this part of it at most.
const STALL_SHARE: f64 = 0.5;
/// Above this loss a load is an overload first of all.
const OVERLOAD_LOSS: f64 = 0.3;

/// A goal and everything that the trials say about it.
pub(super) struct GoalSearch<'a> {
    search: &'a Search,
    index: usize,
    pub(super) goal: &'a Goal,
    pub(super) rule: Rule,
    pub(super) climb: Bounds<'a>,
    pub(super) decided: Bounds<'a>,
}

impl<'a> GoalSearch<'a> {
    pub(super) fn new(search: &'a Search, index: usize) -> Self {
        let spec = search.spec();
        let goal = &spec.goals[index];
        let (rule, climb_rule) = (Rule::of_goal(goal), Rule::of_climb(goal, spec));
        Self {
            search,
            index,
            goal,
            rule,
            climb: Bounds::new(&climb_rule, search.trials(), spec),
            decided: Bounds::new(&rule, search.trials(), spec),
        }
    }

    /// The trial that this goal needs next; none if it is settled or the budget has no room for it.
    pub(super) fn next(&self) -> Option<TrialRequest> {
        if self.confirmed().is_some() {
            return None;
        }
        if self.own_confirmations().next().is_some() {
            return self.confirm();
        }
        let climb_rule = Rule::of_climb(self.goal, self.search.spec());
        let start = Guess { low_per_s: self.search.spec().start_rate.as_per_second(), high_per_s: None };
        let is_deciding = self.search.trials().iter().any(|trial| self.is_own(trial, Purpose::Decide));
        match self.climb.progress(&climb_rule, CLIMB_WIDTH, CLIMB_STEP, start) {
            Progress::NothingBelow if !is_deciding => return None,
            // Once trials of full length decide, short ones are only needed again to find a lost upper bound.
            Progress::Try(rate) if !is_deciding || self.climb.upper().is_none() => {
                let is_bracketed = self.climb.lower().is_some() && self.climb.upper().is_some();
                let warm_up = if is_bracketed { self.warm_up() } else { None };
                let trial = || self.request(rate, self.search.spec().climb_trial, Purpose::Climb);
                let request = warm_up.unwrap_or_else(trial);
                return self.affordable(request).or_else(|| self.confirm());
            }
            _ => {}
        }
        if let Some(warm_up) = self.warm_up() {
            return Some(warm_up);
        }
        self.decide()
    }

    /// The confirmation that this goal met, at the highest rate, whichever goal had asked for it.
    pub(super) fn confirmed(&self) -> Option<(usize, &'a TrialOutcome)> {
        let trials = self.search.trials().iter().enumerate();
        let met = trials.filter(|(_, trial)| {
            let is_confirmation = trial.request.purpose == Purpose::Confirm && trial.is_valid();
            is_confirmation && !self.rule.exceeds(trial) && trial.attempts >= self.attempts_needed()
        });
        met.max_by(|(_, a), (_, b)| a.request.rate_per_s.total_cmp(&b.request.rate_per_s))
    }

    /// Confirmations of this goal that missed it.
    pub(super) fn failed_confirmations(&self) -> impl Iterator<Item = &'a TrialOutcome> {
        self.own_confirmations().filter(|trial| trial.is_valid() && self.rule.exceeds(trial))
    }

    /// Attempts without which the goal's loss ratio cannot be told from a higher one.
    pub(super) fn attempts_needed(&self) -> u64 {
        (RULE_OF_THREE / self.goal.loss_ratio).ceil() as u64
    }

    /// The smallest loss ratio that so many attempts can tell from none.
    pub(super) fn loss_resolution(attempts: u64) -> f64 {
        RULE_OF_THREE / attempts as f64
    }

    /// Attempts that a confirmation would have, where they are too few for the goal.
    pub(super) fn too_few_attempts(&self) -> Option<u64> {
        let rate = self.decided.lower().or(self.climb.lower())?.rate_per_s;
        let attempts = rate * self.search.spec().confirm.as_secs_f64();
        (attempts < self.attempts_needed() as f64).then_some(attempts as u64)
    }

    /// Whether the trials miss the goal for another reason than their load. Either two loads of which one is half of the
    /// other both fail and the lower one loses no less, though some trials as high as these met the goal; or confirmations
    /// fail time and again while no backlog grows.
    pub(super) fn is_unstable(&self) -> bool {
        let stalled = self.failed_confirmations().filter(|trial| !self.rule.backlog_grows(trial)).count();
        stalled >= CONFIRMATIONS || self.fails_at_half_the_load()
    }

    fn fails_at_half_the_load(&self) -> bool {
        if self.decided.lower().is_some() {
            return false;
        }
        let decided = || self.decided.uppers().filter(|load| self.rule.has_full_trials(load));
        let Some(lowest) = decided().next() else { return false };
        let Some(double) = decided().find(|load| load.rate_per_s >= 2.0 * lowest.rate_per_s * 0.99) else {
            return false;
        };
        let loss = self.rule.pooled_loss(lowest);
        let is_independent = loss <= OVERLOAD_LOSS && loss >= STALL_SHARE * self.rule.pooled_loss(double);
        let mut judged = self.search.judged_trials();
        is_independent && judged.any(|t| t.request.rate_per_s >= lowest.rate_per_s && !self.rule.exceeds(t))
    }

    fn warm_up(&self) -> Option<TrialRequest> {
        let spec = self.search.spec();
        let longest = Nanos::from_secs_f64(spec.budget.as_secs_f64() * WARM_UP_BUDGET);
        let duration = spec.warm_up.min(longest);
        let is_warm = self.search.trials().iter().any(|trial| trial.request.purpose == Purpose::WarmUp);
        if is_warm || duration == Nanos::ZERO {
            return None;
        }
        let rate = rounded(self.climb.lower()?.rate_per_s * WARM_UP_SHARE).max(spec.min_rate.as_per_second());
        self.affordable(self.request(rate, duration, Purpose::WarmUp))
    }

    fn decide(&self) -> Option<TrialRequest> {
        if self.too_few_attempts().is_some() || self.is_unstable() {
            return None;
        }
        let guess = Guess {
            low_per_s: self.climb.lower().map_or(f64::INFINITY, |load| load.rate_per_s),
            high_per_s: self.climb.upper().map(|load| load.rate_per_s),
        };
        match self.decided.progress(&self.rule, self.goal.width, self.goal.width, guess) {
            Progress::Try(rate) => {
                self.affordable(self.request(rate, self.length(rate), Purpose::Decide)).or_else(|| self.confirm())
            }
            Progress::Closed => self.confirm(),
            Progress::NothingBelow => None,
        }
    }

    /// The length of a trial that decides: two of them have the attempts that the goal needs.
    pub(super) fn length(&self, rate_per_s: f64) -> Nanos {
        let needed = Nanos::from_secs_f64(self.attempts_needed() as f64 / 2.0 / rate_per_s);
        self.goal.final_trial.max(needed)
    }

    /// The next confirmation: at the lower bound, then a step below the one that failed.
    fn confirm(&self) -> Option<TrialRequest> {
        let lower = self.decided.lower().map(|load| load.rate_per_s);
        let failed = self.failed_confirmations().map(|trial| trial.request.rate_per_s).reduce(f64::min);
        let step = 1.0 + self.goal.width;
        let rate = match (failed, lower) {
            (None, lower) => lower?,
            (Some(failed), Some(lower)) if lower * step * step >= failed => lower,
            (Some(failed), _) => rounded(failed / step),
        };
        if self.too_few_attempts().is_some() || rate < self.search.spec().min_rate.as_per_second() {
            return None;
        }
        let request = self.request(rate, self.search.spec().confirm, Purpose::Confirm);
        self.search.affords(request.duration, Nanos::ZERO).then_some(request)
    }

    /// The request, if there is still time for confirmations after it. While there is nothing to confirm, there is no
    /// reason to keep time for it.
    fn affordable(&self, request: TrialRequest) -> Option<TrialRequest> {
        let spec = self.search.spec();
        let later_goals = spec.goals.len() - 1 - self.index;
        let confirmations = if self.decided.lower().is_some() { CONFIRMATIONS + later_goals } else { 0 };
        let confirmation = (spec.confirm + spec.trial_overhead).as_secs_f64();
        let reserve = Nanos::from_secs_f64(confirmation * confirmations as f64);
        self.search.affords(request.duration, reserve).then_some(request)
    }

    fn request(&self, rate_per_s: f64, duration: Nanos, purpose: Purpose) -> TrialRequest {
        TrialRequest { rate_per_s, duration, purpose, goal: self.index }
    }

    /// All confirmations that this goal asked for.
    pub(super) fn own_confirmations(&self) -> impl Iterator<Item = &'a TrialOutcome> {
        self.search.trials().iter().filter(|trial| self.is_own(trial, Purpose::Confirm))
    }

    fn is_own(&self, trial: &TrialOutcome, purpose: Purpose) -> bool {
        trial.request.purpose == purpose && trial.request.goal == self.index
    }
}
