//! The yes or no before an event: the load rises to the need times its margin and never beyond.

use super::bounds::rounded;
use super::classification::Class;
use super::conclusion::{Qualification, QualificationVerdict};
use super::controller::Search;
use super::goal_search::GoalSearch;
use super::trial::{Purpose, TrialRequest};
use crate::base::{Nanos, Rate};

/// Short trials at these shares of the target rate come first, so that a weak target is found out gently.
const STEPS_BEFORE: [f64; 2] = [0.25, 0.5];
/// The warm-up's share of the need.
const WARM_UP_SHARE: f64 = 0.3;

/// The next trial of a qualification by the first goal; none if the answer is there, or the budget ends.
pub(super) fn next(search: &Search, need: Rate, margin: f64) -> Option<TrialRequest> {
    let ladder = Ladder::new(search, need.as_per_second(), margin);
    let standing = ladder.standing();
    let Standing::Needs(rate_per_s, purpose) = standing else { return None };
    let spec = search.spec();
    let duration = match purpose {
        Purpose::Climb => ladder.goal.climb_rule.full_trial(rate_per_s),
        Purpose::WarmUp => spec.warm_up.min(spec.confirm),
        Purpose::Confirm => ladder.confirmation_length(rate_per_s)?,
        Purpose::Decide | Purpose::Probe => ladder.goal.rule.full_trial(rate_per_s),
    };
    let request = search.request(rate_per_s, duration, purpose, 0);
    search.affords(duration, Nanos::ZERO).then_some(request)
}

/// The answer so far.
pub(super) fn conclude(search: &Search, need: Rate, margin: f64) -> Qualification {
    let ladder = Ladder::new(search, need.as_per_second(), margin);
    let confirmed = ladder.goal.confirmed().map(|(_, trial)| trial.request.rate_per_s);
    Qualification {
        need_per_s: ladder.need_per_s,
        target_per_s: ladder.target_per_s,
        headroom: confirmed.map(|rate| rate / ladder.need_per_s),
        verdict: match ladder.standing() {
            Standing::Answered(verdict) => verdict,
            Standing::Needs(..) => QualificationVerdict::Inconclusive,
        },
    }
}

struct Ladder<'a> {
    search: &'a Search,
    goal: GoalSearch<'a>,
    need_per_s: f64,
    target_per_s: f64,
}

enum Standing {
    Needs(f64, Purpose),
    Answered(QualificationVerdict),
}

impl<'a> Ladder<'a> {
    fn new(search: &'a Search, need_per_s: f64, margin: f64) -> Self {
        let target_per_s = search.spec().highest_per_s().min(need_per_s * margin);
        Self { search, goal: GoalSearch::new(search, 0), need_per_s, target_per_s }
    }

    fn standing(&self) -> Standing {
        use QualificationVerdict::{Inconclusive, Met, Missed};
        for rung in self.rungs() {
            match self.rung(rung) {
                Rung::Needs(purpose) => return Standing::Needs(rung, purpose),
                Rung::Limited => return Standing::Answered(Inconclusive),
                // A need that half of the target rate is below is missed if that half fails.
                Rung::Fails if rung <= self.need_per_s => return Standing::Answered(Missed),
                Rung::Fails => return self.without_margin(),
                Rung::Holds => {}
            }
            if rung > self.warm_up_rate() && self.needs_warm_up() {
                return Standing::Needs(self.warm_up_rate(), Purpose::WarmUp);
            }
        }
        match self.confirmation(self.target_per_s) {
            Class::Lower => Standing::Answered(Met),
            Class::Upper => self.without_margin(),
            Class::Undecided => Standing::Needs(self.target_per_s, Purpose::Confirm),
        }
    }

    /// What is left to ask once the target rate is not sustained: is the need itself?
    fn without_margin(&self) -> Standing {
        use QualificationVerdict::{MarginMissed, Missed};
        if self.need_per_s >= self.target_per_s {
            return Standing::Answered(Missed);
        }
        match (self.goal.decided.class(self.need_per_s), self.confirmation(self.need_per_s)) {
            (_, Class::Lower) => Standing::Answered(MarginMissed),
            (Class::Upper, _) | (_, Class::Upper) => Standing::Answered(Missed),
            (Class::Lower, Class::Undecided) => Standing::Needs(self.need_per_s, Purpose::Confirm),
            (Class::Undecided, Class::Undecided) if self.is_decided_by_confirming(self.need_per_s) => {
                Standing::Needs(self.need_per_s, Purpose::Confirm)
            }
            (Class::Undecided, Class::Undecided) => Standing::Needs(self.need_per_s, Purpose::Decide),
        }
    }

    /// The loads on the way up, lowest first; the last one is the target rate.
    fn rungs(&self) -> impl Iterator<Item = f64> {
        let steps = STEPS_BEFORE.map(|share| rounded(self.target_per_s * share));
        let need = (self.need_per_s < self.target_per_s).then_some(self.need_per_s);
        // The unloaded target was offered as much as the lowest of them already.
        let start = self.search.spec().start_rate.as_per_second();
        steps.into_iter().chain(need).filter(move |rate| *rate >= start).chain([self.target_per_s])
    }

    /// A short trial that meets the goal is enough below the target rate; nothing fails without trials of full length.
    fn rung(&self, rate_per_s: f64) -> Rung {
        if self.goal.decided.ceiling_at(rate_per_s) {
            return Rung::Limited;
        }
        let is_target = rate_per_s == self.target_per_s;
        match (self.goal.decided.class(rate_per_s), self.goal.climb.class(rate_per_s)) {
            (Class::Upper, _) => Rung::Fails,
            (Class::Lower, _) => Rung::Holds,
            (Class::Undecided, Class::Lower) if !is_target || self.is_decided_by_confirming(rate_per_s) => Rung::Holds,
            (Class::Undecided, Class::Undecided) => Rung::Needs(Purpose::Climb),
            (Class::Undecided, _) => Rung::Needs(Purpose::Decide),
        }
    }

    /// Whether a decision would need half of what the confirmation does, so that it is none before it.
    fn is_decided_by_confirming(&self, rate_per_s: f64) -> bool {
        self.goal.rule.full_trial(rate_per_s) > self.goal.goal.final_trial
    }

    /// The length of a confirmation, in what is left of the time; none if that is too short.
    fn confirmation_length(&self, rate_per_s: f64) -> Option<Nanos> {
        let length = self.goal.confirmation(rate_per_s);
        let fits = self.search.affords(length, Nanos::ZERO) && self.goal.too_few_attempts_at(rate_per_s).is_none();
        if fits { Some(length) } else { self.goal.shorter_confirmation(rate_per_s) }
    }

    /// How the confirmations at a rate went.
    fn confirmation(&self, rate_per_s: f64) -> Class {
        let mut own =
            self.goal.own_confirmations().filter(|trial| trial.request.rate_per_s == rate_per_s && trial.is_valid());
        match own.next() {
            None => Class::Undecided,
            Some(trial) if self.goal.rule.exceeds(trial) => Class::Upper,
            Some(_) => Class::Lower,
        }
    }

    fn warm_up_rate(&self) -> f64 {
        rounded(self.need_per_s * WARM_UP_SHARE)
    }

    fn needs_warm_up(&self) -> bool {
        let spec = self.search.spec();
        let is_warm = self.search.trials().iter().any(|trial| trial.request.purpose == Purpose::WarmUp);
        !is_warm && spec.warm_up > Nanos::ZERO && GoalSearch::warms(self.warm_up_rate())
    }
}

enum Rung {
    Needs(Purpose),
    Holds,
    Fails,
    Limited,
}
