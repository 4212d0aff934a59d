//! What all trials at a load together say about it: sustained, not sustained, or not known yet.

use super::spec::{Goal, SearchSpec};
use super::trial::{Purpose, TrialOutcome};
use crate::base::Nanos;

/// A backlog's floor wanders even where the target keeps up: a queue near its capacity is a random walk, whose standard
/// deviation after N attempts is sqrt(N) attempts times the variation of the service time. This many of them, as a share
/// of the attempts, are not yet growth.
const BACKLOG_NOISE: f64 = 0.35;
/// Beyond that noise, a backlog may grow by this share of the loss that the goal allows: what is added to it in one trial
/// is lost in a longer one.
const GROWTH_SHARE: f64 = 0.2;
/// Growth of the same overload is similar in two trials: the lesser one is at least this part of the other.
const SIMILAR_GROWTH: f64 = 0.5;

/// A growth that is far above its noise: a tenth of the load or so is not served.
pub(super) const TELLING_GROWTH: f64 = 0.05;

/// With fewer attempts a short trial would miss an overload of some percent.
const TELLING_ATTEMPTS: f64 = 40.0;
/// A short trial stays shorter than this.
const LONGEST_STRETCH: f64 = 4.0;

/// How long a load may be tried, in duration sums, before a verdict that hangs on pooled loss is final.
const LONGEST_DOUBT: f64 = 2.0;

/// How the trials at a load are judged: a goal's own rule, or the coarser one of the climb.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) loss_ratio: f64,
    exceed_ratio: f64,
    /// Trials of at least this length count in full, at rates that make enough attempts in that time.
    full_trial: Nanos,
    /// That many are enough; at a lower rate all lengths are longer,
    enough_attempts: f64,
    /// but no more than so many times.
    longest_stretch: f64,
    duration_sum: Nanos,
    /// Whether the loss pooled over a load's trials must meet the goal as well.
    pools: bool,
    /// Whether two trials whose backlog grows, and none that meets the goal, settle that the load is too much.
    growth_settles: bool,
}

/// Without a failure among N attempts, the loss ratio is below 3/N at 95 % confidence.
const RULE_OF_THREE: f64 = 3.0;

/// Attempts without which this loss ratio cannot be told from a higher one.
pub fn attempts_to_tell(loss_ratio: f64) -> u64 {
    (RULE_OF_THREE / loss_ratio).ceil() as u64
}

/// The smallest loss ratio that so many attempts can tell from none.
pub(super) fn loss_resolution(attempts: u64) -> f64 {
    RULE_OF_THREE / attempts as f64
}

/// What a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Sustained: a lower bound.
    Lower,
    /// Not sustained: an upper bound.
    Upper,
    /// More trials are needed.
    Undecided,
}

/// A load and its valid trials.
#[derive(Clone, Debug)]
pub(super) struct Load<'a> {
    pub(super) rate_per_s: f64,
    pub(super) trials: Vec<&'a TrialOutcome>,
}

impl Rule {
    /// The rule by which a goal's loads are decided.
    pub(super) fn of_goal(goal: &Goal) -> Self {
        Self {
            loss_ratio: goal.loss_ratio,
            exceed_ratio: goal.exceed_ratio,
            full_trial: goal.final_trial,
            // Two of them have what the goal needs.
            enough_attempts: attempts_to_tell(goal.loss_ratio) as f64 / 2.0,
            longest_stretch: f64::INFINITY,
            duration_sum: goal.duration_sum,
            pools: true,
            growth_settles: false,
        }
    }

    /// The rule of the climb: one trial that meets the goal is enough to go on; to turn round, three that miss it are
    /// needed or one whose backlog grows a lot, so that spoiled trials do not end the climb.
    pub(super) fn of_climb(goal: &Goal, spec: &SearchSpec) -> Self {
        let trial = spec.climb_trial;
        Self {
            loss_ratio: goal.loss_ratio,
            exceed_ratio: 2.0 / 3.0,
            full_trial: trial,
            enough_attempts: TELLING_ATTEMPTS,
            longest_stretch: LONGEST_STRETCH,
            duration_sum: trial + trial + trial,
            pools: false,
            growth_settles: true,
        }
    }

    /// The length of a full trial at this rate.
    pub(super) fn full_trial(&self, rate_per_s: f64) -> Nanos {
        Nanos::from_secs_f64(self.full_trial.as_secs_f64() * self.stretch(rate_per_s))
    }

    /// How many times longer a trial is at a rate so low that it would have too few attempts.
    fn stretch(&self, rate_per_s: f64) -> f64 {
        (self.enough_attempts / (rate_per_s * self.full_trial.as_secs_f64())).clamp(1.0, self.longest_stretch)
    }

    /// The trial time that classifies a load, in seconds.
    fn duration_sum_s(&self, rate_per_s: f64) -> f64 {
        self.duration_sum.as_secs_f64() * self.stretch(rate_per_s)
    }

    /// Whether a trial misses the goal: too much was lost, or a backlog grew that a longer trial would have lost.
    pub(super) fn exceeds(&self, trial: &TrialOutcome) -> bool {
        trial.loss_ratio() > self.loss_ratio || self.backlog_grows(trial)
    }

    /// Whether the floor of the backlog rose by more than the goal's loss and the noise of a queue.
    pub(super) fn backlog_grows(&self, trial: &TrialOutcome) -> bool {
        trial.backlog_growth > GROWTH_SHARE * self.loss_ratio + BACKLOG_NOISE / (trial.attempts.max(1) as f64).sqrt()
    }

    /// What a load's trials say: draft-ietf-bmwg-mlrsearch, Appendix A, and the loss pooled over them.
    pub(super) fn classify(&self, load: &Load) -> Class {
        let mut sums = DurationSums::default();
        for trial in &load.trials {
            let length = trial.request.duration.as_secs_f64();
            let is_full = self.is_full(trial);
            match (is_full, self.exceeds(trial)) {
                (true, false) => sums.good += length,
                (true, true) => sums.bad += length,
                (false, false) => sums.short_good += length,
                (false, true) => sums.short_bad += length,
            }
        }
        let no_good = sums.good + sums.short_good == 0.0;
        let growing = || load.trials.iter().filter(|trial| self.backlog_grows(trial)).map(|trial| trial.backlog_growth);
        let (least, most) = (growing().fold(f64::INFINITY, f64::min), growing().fold(0.0, f64::max));
        if self.growth_settles && no_good && growing().count() >= 2 && least >= SIMILAR_GROWTH * most {
            return Class::Upper;
        }
        let balancing = sums.short_good * self.exceed_ratio / (1.0 - self.exceed_ratio);
        let bad = sums.bad + (sums.short_bad - balancing).max(0.0);
        let duration_sum = self.duration_sum_s(load.rate_per_s);
        let whole = (sums.good + bad).max(duration_sum);
        // Sums of seconds are equal only to rounding.
        let allowed = whole * self.exceed_ratio * (1.0 + 1e-9);
        if bad > allowed {
            return Class::Upper;
        }
        if whole - sums.good > allowed {
            return Class::Undecided;
        }
        if !self.pools || self.pooled_loss(load) <= self.loss_ratio {
            Class::Lower
        } else if sums.good + bad < LONGEST_DOUBT * duration_sum {
            Class::Undecided
        } else {
            Class::Upper
        }
    }

    /// Loss over all full trials of a load together. Of three or more the worst is left out: one may have been spoiled
    /// by something else; what happens twice belongs to the load.
    pub(super) fn pooled_loss(&self, load: &Load) -> f64 {
        let mut full: Vec<_> = self.full_trials(load).collect();
        full.sort_by(|a, b| a.loss_ratio().total_cmp(&b.loss_ratio()));
        if full.len() >= 3 {
            full.pop();
        }
        let lost: u64 = full.iter().map(|trial| trial.lost).sum();
        let attempts: u64 = full.iter().map(|trial| trial.attempts).sum();
        lost as f64 / attempts.max(1) as f64
    }

    /// Whether a load has trials of full length.
    pub(super) fn has_full_trials(&self, load: &Load) -> bool {
        self.full_trials(load).next().is_some()
    }

    /// The rate that came through at a load: draft-ietf-bmwg-mlrsearch, Appendix B.
    pub(super) fn conditional_throughput(&self, load: &Load) -> f64 {
        let mut full: Vec<_> = self.full_trials(load).collect();
        full.sort_by(|a, b| a.loss_ratio().total_cmp(&b.loss_ratio()));
        let length = |trial: &TrialOutcome| trial.request.duration.as_secs_f64();
        let whole = full.iter().map(|trial| length(trial)).sum::<f64>().max(self.duration_sum_s(load.rate_per_s));
        let mut remaining = whole * (1.0 - self.exceed_ratio);
        let mut quantile_loss = 0.0;
        for trial in full {
            if remaining <= 0.0 {
                return load.rate_per_s * (1.0 - quantile_loss);
            }
            quantile_loss = trial.loss_ratio();
            remaining -= length(trial);
        }
        load.rate_per_s * if remaining > 0.0 { 0.0 } else { 1.0 - quantile_loss }
    }

    /// The trials of full length at a load.
    pub(super) fn full_trials<'a>(&'a self, load: &'a Load<'_>) -> impl Iterator<Item = &'a TrialOutcome> {
        load.trials.iter().copied().filter(|trial| self.is_full(trial))
    }

    fn is_full(&self, trial: &TrialOutcome) -> bool {
        /// Lengths of trials are rounded.
        const ROUNDING: Nanos = Nanos::from_micros(1);
        trial.request.duration + ROUNDING >= self.full_trial(trial.request.rate_per_s)
    }
}

/// Trial time at a load in seconds, by length of the trials and by whether they met the goal.
#[derive(Default)]
struct DurationSums {
    good: f64,
    bad: f64,
    short_good: f64,
    short_bad: f64,
}

/// The loads that were judged, lowest first, each with all its valid trials.
pub(super) fn loads(trials: &[TrialOutcome]) -> Vec<Load<'_>> {
    let mut loads: Vec<Load> = Vec::new();
    for trial in trials.iter().filter(|trial| trial.is_valid() && judges(trial.request.purpose)) {
        let rate_per_s = trial.request.rate_per_s;
        match loads.binary_search_by(|load| load.rate_per_s.total_cmp(&rate_per_s)) {
            Ok(known) => loads[known].trials.push(trial),
            Err(place) => loads.insert(place, Load { rate_per_s, trials: vec![trial] }),
        }
    }
    loads
}

/// Whether trials of this purpose judge the load they were run at.
pub(super) const fn judges(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Climb | Purpose::Decide | Purpose::Confirm)
}

#[cfg(test)]
mod tests {
    use super::super::trial::TrialRequest;
    use super::*;

    const DEADLINE: Nanos = Nanos::from_millis(100);

    fn trial(seconds: u64, lost: u64, backlog_growth: f64) -> TrialOutcome {
        let duration = Nanos::from_secs(seconds);
        let request =
            TrialRequest { rate_per_s: 1_000.0, duration, purpose: Purpose::Decide, goal: 0, may_lose: 0.005 };
        TrialOutcome { request, attempts: 1_000 * seconds, lost, backlog_growth, limited: None, took: duration }
    }

    fn class(rule: &Rule, trials: &[&TrialOutcome]) -> Class {
        rule.classify(&Load { rate_per_s: 1_000.0, trials: trials.to_vec() })
    }

    #[test]
    fn a_load_is_classified_from_all_its_trials() {
        let rule = Rule::of_goal(&Goal::slo(DEADLINE));
        let (good, spoiled, bad) = (trial(8, 0, 0.0), trial(8, 400, 0.0), trial(8, 80, 0.0));
        assert_eq!(class(&rule, &[&good]), Class::Lower);
        assert_eq!(class(&rule, &[&spoiled]), Class::Undecided);
        assert_eq!(class(&rule, &[&spoiled, &bad]), Class::Upper);
        // Half of the time is good, but the loss over both trials is not; a third trial shows that one was spoiled.
        assert_eq!(class(&rule, &[&spoiled, &good]), Class::Undecided);
        assert_eq!(class(&rule, &[&spoiled, &good, &good]), Class::Lower);
        // Two bad ones are no accident, however many good ones there are.
        let stalls = [&spoiled, &spoiled, &good, &good, &good];
        assert_eq!(class(&rule, &stalls), Class::Upper);
    }

    #[test]
    fn short_trials_only_count_against_a_load() {
        let rule = Rule::of_goal(&Goal::slo(DEADLINE));
        let (good, bad) = (trial(2, 0, 0.0), trial(2, 100, 0.0));
        assert_eq!(class(&rule, &[&good, &good, &good, &good]), Class::Undecided);
        assert_eq!(class(&rule, &[&bad; 5]), Class::Upper);
        assert_eq!(class(&rule, &[&bad, &bad, &bad, &bad, &bad, &good]), Class::Undecided);
    }

    #[test]
    fn a_growing_backlog_misses_the_goal_before_anything_is_late() {
        let rule = Rule::of_goal(&Goal::slo(DEADLINE));
        // 0.1 % of the goal and 0.35 / sqrt(8 000) = 0.39 % of noise.
        assert!(!rule.exceeds(&trial(8, 0, 0.004)));
        assert!(rule.exceeds(&trial(8, 0, 0.006)));
        assert!(rule.exceeds(&trial(8, 41, 0.0)));
    }

    #[test]
    fn the_climb_turns_round_on_similar_growth_or_three_failures() {
        let spec = SearchSpec::new(DEADLINE);
        let rule = Rule::of_climb(&spec.goals[0], &spec);
        let (good, bad, grown) = (trial(2, 0, 0.0), trial(2, 100, 0.0), trial(2, 500, 0.3));
        assert_eq!(class(&rule, &[&bad, &bad]), Class::Undecided);
        assert_eq!(class(&rule, &[&bad, &bad, &good]), Class::Lower);
        assert_eq!(class(&rule, &[&bad, &bad, &bad]), Class::Upper);
        assert_eq!(class(&rule, &[&grown, &grown]), Class::Upper);
        assert_eq!(class(&rule, &[&grown, &trial(2, 500, 0.1)]), Class::Undecided);
        assert_eq!(class(&rule, &[&good]), Class::Lower);
    }

    #[test]
    fn conditional_throughput_is_what_comes_through_in_the_allowed_share_of_the_time() {
        let rule = Rule::of_goal(&Goal::slo(DEADLINE));
        let trials = [trial(8, 800, 0.0), trial(8, 8, 0.0), trial(8, 16, 0.0)];
        // 24 s of trials, of which 12 s must be covered: the best and the second best trial.
        assert_eq!(rule.conditional_throughput(&loads(&trials)[0]), 998.0);
        assert_eq!(rule.conditional_throughput(&loads(&trials[1..2])[0]), 999.0);
        assert_eq!(rule.conditional_throughput(&loads(&[trial(2, 0, 0.0)])[0]), 0.0);
    }
}
