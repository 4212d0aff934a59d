//! The search for one goal: climb, warm-up, decision, confirmation.

use super::bounds::{Bounds, Guess, Progress, rounded};
use super::classification::{Class, Rule, attempts_to_tell};
use super::controller::Search;
use super::spec::{Goal, Mode};
use super::trial::{OVERLOAD, Purpose, TrialOutcome, TrialRequest};
use crate::base::Nanos;

/// The climb halves its bracket until it is this close; then trials of full length take over.
const CLIMB_WIDTH: f64 = 0.04;
/// Where one of the bounds is missing, deciding steps by at least so many widths.
const FIRST_STEP_WIDTHS: f64 = 2.0;
/// The climb doubles the load.
const CLIMB_STEP: f64 = 1.0;
/// The warm-up runs at this share of what the climb reached.
const WARM_UP_SHARE: f64 = 0.3;
/// The warm-up may take this share of the budget at most.
const WARM_UP_BUDGET: f64 = 0.2;
/// A lower rate warms nothing, and its medians are never the same.
const LEAST_WARM_UP_PER_S: f64 = 10.0;
/// Deciding leaves time for so many confirmations: one may meet a load that is just too much or be spoiled, and such ones end
/// early.
const CONFIRMATIONS: usize = 2;
/// The first confirmation lies this part of a width below the lower bound: a load that a few trials sustain may be just too much
/// for a long one.
const FIRST_BELOW: f64 = 0.6;
/// After a failed confirmation the next one keeps so many widths below the upper bound.
const CLEARANCE: f64 = 3.0;
/// A confirmation keeps this distance below what is too much where no decision came before it, or where confirmations
/// failed time and again: the target drifts, and small steps down would use up the time.
const WIDE_CLEARANCE: f64 = 0.1;
/// The last confirmation takes what time is left, at least this part of its planned length.
const LAST_SHARE: f64 = 0.5;
/// So many failed confirmations ask for wide steps.
const DRIFTING_CONFIRMATIONS: usize = 3;
/// Stalls that confirmations show are believed from so many on.
const STALLED_CONFIRMATIONS: usize = 2;
/// A confirmation has so many more attempts than are needed: some may fail for a reason of the generator's.
const SPARE_ATTEMPTS: f64 = 0.01;
/// Stalls lose a similar share at any load, an overload loses less at half of it: this part of it at most.
const STALL_SHARE: f64 = 0.5;
/// A confirmation that stalls lose, not its load, loses no more than this.
const STALL_LOSS: f64 = OVERLOAD;
/// A chance that is none.
const UNLIKELY: f64 = 0.01;
/// So many expected losses are no matter of chance: a quarter of them or less has a probability below 1 %.
const ENOUGH_LOSSES: f64 = 10.0;
const FAR_LESS: f64 = 0.25;
/// Above this loss a load is an overload first of all.
const OVERLOAD_LOSS: f64 = 0.3;

/// The largest loss ratio that so many lost of so many attempts are compatible with at 95 % confidence: the upper limit of a
/// Poisson distribution's mean, by the approximation of Wilson and Hilferty (within 1 % of the exact one).
pub fn loss_at_most(lost: u64, attempts: u64) -> f64 {
    /// The normal distribution's quantile at 95 %.
    const QUANTILE: f64 = 1.645;
    let more = lost as f64 + 1.0;
    let mean = more * (1.0 - 1.0 / (9.0 * more) + QUANTILE / (3.0 * more.sqrt())).powi(3);
    (mean / attempts.max(1) as f64).min(1.0)
}

/// A goal and everything that the trials say about it.
pub(super) struct GoalSearch<'a> {
    search: &'a Search,
    index: usize,
    pub(super) goal: &'a Goal,
    pub(super) rule: Rule,
    pub(super) climb_rule: Rule,
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
            climb_rule,
            climb: Bounds::new(&climb_rule, search.trials(), spec),
            decided: Bounds::new(&rule, search.trials(), spec),
        }
    }

    /// The trial that this goal needs next; none if it is settled or the budget has no room for it.
    pub(super) fn next(&self) -> Option<TrialRequest> {
        let has_successor = self.index + 1 < self.search.spec().goals.len();
        if has_successor && self.confirmed().is_some() {
            return None;
        }
        if self.failed_confirmations().next().is_some() {
            return self.confirm();
        }
        let start = Guess { low_per_s: self.search.spec().start_rate.as_per_second(), high_per_s: None };
        let is_deciding = self.search.trials().iter().any(|trial| self.is_own(trial, Purpose::Decide));
        if self.is_unstable() {
            return None;
        }
        match self.climb.progress(&self.climb_rule, CLIMB_WIDTH, CLIMB_STEP, start) {
            Progress::NothingBelow if !is_deciding => return None,
            // Once trials of full length decide, short ones are only needed again to find a lost upper bound.
            Progress::Try(rate) if !is_deciding || self.climb.upper().is_none() => {
                let is_bracketed = self.climb.lower().is_some() && self.climb.upper().is_some();
                let warm_up = if is_bracketed { self.warm_up() } else { None };
                let trial = || self.request(rate, self.climb_rule.full_trial(rate), Purpose::Climb);
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
            let is_met = is_confirmation && !self.rule.exceeds(trial) && trial.attempts >= self.attempts_needed();
            is_met && self.decided.class(trial.request.rate_per_s) != Class::Upper
        });
        met.max_by(|(_, a), (_, b)| a.request.rate_per_s.total_cmp(&b.request.rate_per_s))
    }

    /// Confirmations of this goal that missed it.
    pub(super) fn failed_confirmations(&self) -> impl Iterator<Item = &'a TrialOutcome> + Clone {
        self.own_confirmations().filter(|trial| trial.is_valid() && self.rule.exceeds(trial))
    }

    /// Attempts without which the goal's loss ratio cannot be told from a higher one.
    pub(super) fn attempts_needed(&self) -> u64 {
        attempts_to_tell(self.goal.loss_ratio)
    }

    /// Attempts that a confirmation would have, where they are too few for the goal.
    pub(super) fn too_few_attempts(&self) -> Option<u64> {
        let spec = self.search.spec();
        match spec.mode {
            Mode::Find => self.too_few_attempts_at(self.decided.lower().or(self.climb.lower())?.rate_per_s),
            Mode::Qualify { .. } => self.too_few_attempts_at(spec.highest_per_s()),
        }
    }

    /// Attempts that a confirmation of this rate would have in what the other trials leave of the budget, where they are
    /// too few for the goal.
    pub(super) fn too_few_attempts_at(&self, rate_per_s: f64) -> Option<u64> {
        let length = self.confirmation(rate_per_s).min(self.search.left_for_confirmations());
        let attempts = rate_per_s * length.as_secs_f64();
        (attempts < self.attempts_needed() as f64).then_some(attempts as u64)
    }

    /// The length of a confirmation of this rate: as long as the attempts take that the goal needs, and no shorter than
    /// planned.
    pub(super) fn confirmation(&self, rate_per_s: f64) -> Nanos {
        let longest = self.longest_confirmation();
        let needed_s = (self.attempts_needed() as f64 * (1.0 + SPARE_ATTEMPTS) / rate_per_s).ceil();
        self.search.spec().confirm.max(Nanos::from_secs_f64(needed_s.min(longest.as_secs_f64())))
    }

    fn longest_confirmation(&self) -> Nanos {
        let spec = self.search.spec();
        spec.longest_confirm.max(spec.confirm)
    }

    /// Whether the trials miss the goal for another reason than their load. Either two loads of which one is half of the
    /// other both fail and the lower one loses no less, though some trials as high as these met the goal; or confirmations
    /// fail time and again while no backlog grows.
    pub(super) fn is_unstable(&self) -> bool {
        let stalled = |trial: &&TrialOutcome| !self.rule.backlog_grows(trial) && trial.loss_ratio() <= STALL_LOSS;
        self.failed_confirmations().filter(stalled).count() >= STALLED_CONFIRMATIONS
            || self.fails_at_half_the_load(&self.rule, &self.decided)
            || self.fails_at_half_the_load(&self.climb_rule, &self.climb)
    }

    /// Whether of two loads the one that is half of the other fails as well and loses no less, though the target can do
    /// better: some trial met the goal that a constant loss of this share would have spoiled.
    fn fails_at_half_the_load(&self, rule: &Rule, bounds: &Bounds) -> bool {
        if bounds.lower().is_some() {
            return false;
        }
        let failed = || bounds.uppers().filter(|load| rule.full_trials(load).next().is_some());
        let Some(lowest) = failed().next() else { return false };
        let Some(double) = failed().find(|load| load.rate_per_s >= 2.0 * lowest.rate_per_s * 0.99) else {
            return false;
        };
        let loss = rule.pooled_loss(lowest);
        let is_independent = loss <= OVERLOAD_LOSS && loss >= STALL_SHARE * rule.pooled_loss(double);
        is_independent && self.has_met_in_spite_of(loss)
    }

    /// Whether losing attempts by chance, this share of them, can be ruled out: a trial met the goal that then would
    /// hardly have met it, or the probes together lost far less.
    fn has_met_in_spite_of(&self, loss: f64) -> bool {
        let chance = |trial: &TrialOutcome| (1.0 - loss).powf(trial.attempts as f64);
        if self.search.judged_trials().any(|trial| !self.rule.exceeds(trial) && chance(trial) < UNLIKELY) {
            return true;
        }
        let probes = self.search.trials().iter().filter(|t| t.is_valid() && t.request.purpose == Purpose::Probe);
        let (attempts, lost) = probes.fold((0, 0), |sum, probe| (sum.0 + probe.attempts, sum.1 + probe.lost));
        let expected = attempts as f64 * loss;
        expected >= ENOUGH_LOSSES && lost as f64 <= FAR_LESS * expected
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
        if !Self::warms(rate) {
            return None;
        }
        self.affordable(self.request(rate, duration, Purpose::WarmUp))
    }

    /// Whether a warm-up at this rate would do anything.
    pub(super) fn warms(rate_per_s: f64) -> bool {
        rate_per_s >= LEAST_WARM_UP_PER_S
    }

    fn decide(&self) -> Option<TrialRequest> {
        if self.too_few_attempts().is_some() {
            return None;
        }
        let guess = Guess {
            low_per_s: self.climb.lower().map_or(f64::INFINITY, |load| load.rate_per_s),
            high_per_s: self.climb.upper().map(|load| load.rate_per_s),
        };
        match self.decided.progress(&self.rule, self.goal.width, FIRST_STEP_WIDTHS * self.goal.width, guess) {
            Progress::Try(rate) => self
                .affordable(self.request(rate, self.rule.full_trial(rate), Purpose::Decide))
                .or_else(|| self.confirm()),
            Progress::Closed => self.confirm(),
            Progress::NothingBelow => None,
        }
    }

    /// The next confirmation: at the lower bound; below the one that failed; and with time left, once more where one
    /// failed that other trials speak for.
    fn confirm(&self) -> Option<TrialRequest> {
        let rate = match self.confirmed() {
            None if self.failed_confirmations().next().is_some() => self.below_the_failed(),
            None => self.first_confirmation().or_else(|| self.undecided_confirmation())?,
            Some((_, trial)) => self.above_the_confirmed(trial.request.rate_per_s)?,
        };
        if self.too_few_attempts_at(rate).is_some() || rate < self.search.spec().min_rate.as_per_second() {
            return None;
        }
        let request = self.request(rate, self.confirmation(rate), Purpose::Confirm);
        self.search.affords(request.duration, Nanos::ZERO).then_some(request).or_else(|| self.last_confirmation(rate))
    }

    /// A shorter confirmation, in what is left of the time. Where one has failed before, well below all that did: the target
    /// may have less to give than it had, and there is no further chance.
    fn last_confirmation(&self, rate_per_s: f64) -> Option<TrialRequest> {
        if self.confirmed().is_some() {
            return None;
        }
        let spec = self.search.spec();
        let failed = self.failed_confirmations().map(|trial| trial.request.rate_per_s);
        let rate = failed.reduce(f64::min).map_or(rate_per_s, |lowest| rounded(lowest / (1.0 + WIDE_CLEARANCE)));
        let length = self.shorter_confirmation(rate).filter(|_| rate >= spec.min_rate.as_per_second())?;
        Some(self.request(rate, length, Purpose::Confirm))
    }

    /// The length of a confirmation of this rate in what is left of the time, if that is enough for one.
    pub(super) fn shorter_confirmation(&self, rate_per_s: f64) -> Option<Nanos> {
        let left = Nanos::from_secs(
            self.search.left().min(self.longest_confirmation()).as_u64() / Nanos::from_secs(1).as_u64(),
        );
        let is_enough = rate_per_s * left.as_secs_f64() >= self.attempts_needed() as f64
            && left.as_secs_f64() >= LAST_SHARE * self.search.spec().confirm.as_secs_f64();
        is_enough.then_some(left)
    }

    /// The lower bound, or a little less where something is known to be too much.
    fn first_confirmation(&self) -> Option<f64> {
        let lower = self.decided.lower()?.rate_per_s;
        let is_free = self.climb.upper().is_none() && self.climb.relevant_ceiling().is_none();
        let below = if is_free { lower } else { rounded(lower / (1.0 + FIRST_BELOW * self.goal.width)) };
        Some(self.flooded().map_or(below, |rate| below.min(rounded(rate / (1.0 + WIDE_CLEARANCE)))))
    }

    /// The lowest rate of which a confirmation lost so much that the generator could not keep up with what came back: connects
    /// that are tried again load it, too. That says nothing for certain, but only a rate well below is worth another one.
    fn flooded(&self) -> Option<f64> {
        let flooded = self.own_confirmations().filter(|trial| !trial.is_valid() && trial.loss_ratio() >= STALL_LOSS);
        flooded.map(|trial| trial.request.rate_per_s).reduce(f64::min)
    }

    /// The rate for a confirmation where time ends before a load was decided: what the climb reached, and well below all
    /// that is known to be too much. An answer that is lower than it might be is worth more than none.
    fn undecided_confirmation(&self) -> Option<f64> {
        let too_much = self.decided.uppers().chain(self.climb.uppers()).map(|load| load.rate_per_s).reduce(f64::min);
        let clear = too_much.map_or(f64::INFINITY, |rate| rate / (1.0 + WIDE_CLEARANCE));
        self.climb.lower().map(|load| rounded(load.rate_per_s.min(clear)))
    }

    /// The rate for a confirmation after one that failed: a step below it, and well below what other trials have found too
    /// much; or the lower bound if that lies between. A wide step after several.
    fn below_the_failed(&self) -> f64 {
        let failed = || self.failed_confirmations().map(|trial| trial.request.rate_per_s);
        let (lowest, highest) = (failed().fold(f64::INFINITY, f64::min), failed().fold(0.0, f64::max));
        let below = |rate: f64, widths: f64| rate / (1.0 + widths * self.goal.width);
        let uppers = self.decided.uppers().chain(self.climb.uppers()).map(|load| load.rate_per_s);
        let too_much = uppers.filter(|rate| *rate > highest).reduce(f64::min);
        let clear = below(lowest, 1.0).min(too_much.map_or(f64::INFINITY, |rate| below(rate, CLEARANCE)));
        if failed().count() >= DRIFTING_CONFIRMATIONS || self.flooded().is_some() {
            return rounded(lowest / (1.0 + WIDE_CLEARANCE));
        }
        let lower = self.decided.lower().map(|load| load.rate_per_s);
        lower.filter(|lower| *lower >= clear && *lower < below(lowest, 0.5)).unwrap_or(rounded(clear))
    }

    /// The rate for another confirmation above a confirmed rate, if it would say more: the lower bound, or the highest rate
    /// of which one confirmation failed though all other trials of full length met the goal.
    fn above_the_confirmed(&self, confirmed: f64) -> Option<f64> {
        let says_more = |rate: &f64| *rate > confirmed * (1.0 + self.goal.width);
        let failed = self.failed_confirmations().map(|trial| trial.request.rate_per_s);
        if failed.clone().next().is_none() {
            return self.decided.lower().map(|load| load.rate_per_s).filter(says_more);
        }
        let doubtful = failed.filter(|rate| self.decided.fails_once(&self.rule, *rate));
        doubtful.filter(says_more).reduce(f64::max)
    }

    /// The request, if there is still time for confirmations after it: for one as soon as there is anything to confirm.
    fn affordable(&self, request: TrialRequest) -> Option<TrialRequest> {
        let spec = self.search.spec();
        let later_goals = spec.goals.len() - 1 - self.index;
        let own = match (self.confirmed(), self.decided.lower()) {
            (Some(_), _) => 1,
            // Later goals know most of their loads, and have less time.
            (None, Some(_)) if self.index > 0 => 1,
            (None, Some(_)) => CONFIRMATIONS,
            (None, None) if self.index == 0 && self.undecided_confirmation().is_some() => 1,
            (None, None) => 0,
        };
        // As long as the climb goes up, it may reach rates that need no longer one.
        let length = match (self.decided.lower(), self.climb.upper(), self.undecided_confirmation()) {
            (Some(lower), ..) => self.confirmation(lower.rate_per_s),
            (None, Some(_), Some(rate)) => self.confirmation(rate),
            (None, ..) => spec.confirm,
        };
        let confirmation = (length + self.search.longest_drain()).as_secs_f64();
        let mut reserve = Nanos::from_secs_f64(confirmation * (own + later_goals) as f64);
        if length > spec.confirm {
            // The last one that is long enough; and a trial that is too much is followed by probes.
            reserve += request.duration + self.search.longest_drain();
        }
        self.search.affords(request.duration, reserve).then_some(request)
    }

    fn request(&self, rate_per_s: f64, duration: Nanos, purpose: Purpose) -> TrialRequest {
        self.search.request(rate_per_s, duration, purpose, self.index)
    }

    /// All confirmations that this goal asked for.
    pub(super) fn own_confirmations(&self) -> impl Iterator<Item = &'a TrialOutcome> + Clone {
        self.search.trials().iter().filter(|trial| self.is_own(trial, Purpose::Confirm))
    }

    fn is_own(&self, trial: &TrialOutcome, purpose: Purpose) -> bool {
        trial.request.purpose == purpose && trial.request.goal == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_few_attempts_show_is_the_upper_limit_of_a_poisson_mean() {
        // Exact limits: chi-squared quantiles, 2 (lost + 1) degrees of freedom, halved.
        for (lost, mean) in [(0, 2.996), (1, 4.744), (3, 7.754), (10, 16.962), (100, 118.079)] {
            let found = 600.0 * loss_at_most(lost, 600);
            assert!((found / mean - 1.0).abs() < 0.01, "{lost}: {found}, not {mean}");
        }
        assert_eq!((loss_at_most(7, 7), loss_at_most(0, 0)), (1.0, 1.0));
    }
}
