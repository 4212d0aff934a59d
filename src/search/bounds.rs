//! The bounds that classified loads give, and the load to try between or beyond them.

use super::classification::{Class, Load, Rule, TELLING_GROWTH, loads};
use super::spec::SearchSpec;
use super::trial::{Purpose, TrialOutcome};

/// Two loads that the generator could not offer make a ceiling; a single trial may have met somebody else's burst.
const LIMITED_TRIALS: usize = 2;
/// At the generator's own ceiling the bounds need not be close: the answer is "at least" anyway.
const CEILING_WIDTH: f64 = 0.1;
/// So many trials that missed the goal make an upper bound to show.
const SUPPORTING_TRIALS: usize = 2;
/// Each step down is so many times the one before.
const DESCENT: f64 = 2.0;
/// The same where no backlog grows: an overload is not the reason then, and a bound is looked for farther away.
const STALL_DESCENT: f64 = 4.0;
/// A load that is no further below another than this is close by.
const CLOSE_BY: f64 = 1.05;

/// The floors of the first and the last quarter lie this share of a trial apart, if they rise evenly.
const GROWTH_TIME: f64 = 0.75;

/// What the loads so far say under one rule.
pub(super) struct Bounds<'a> {
    loads: Vec<(Load<'a>, Class)>,
    ceiling: Option<Ceiling>,
    max_per_s: f64,
    min_per_s: f64,
}

/// Where the generator is the limit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ceiling {
    pub(super) rate_per_s: f64,
    pub(super) reason: String,
}

/// Where to look, as long as the bounds do not say it themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    pub(super) low_per_s: f64,
    pub(super) high_per_s: Option<f64>,
}

/// The state of a search between bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Progress {
    /// This load is needed.
    Try(f64),
    /// The bounds are as close as asked, or nothing higher may be offered.
    Closed,
    /// The lowest rate is not sustained.
    NothingBelow,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(rule: &Rule, trials: &'a [TrialOutcome], spec: &SearchSpec) -> Self {
        let loads = loads(trials).into_iter().map(|load| {
            let class = rule.classify(&load);
            (load, class)
        });
        Self {
            loads: loads.collect(),
            ceiling: ceiling(trials),
            max_per_s: spec.highest_per_s(),
            min_per_s: spec.min_rate.as_per_second(),
        }
    }

    /// The lowest load that is not sustained (Relevant Upper Bound).
    pub(super) fn upper(&self) -> Option<&Load<'a>> {
        self.loads.iter().find(|(_, class)| *class == Class::Upper).map(|(load, _)| load)
    }

    /// The highest load that is sustained, below the upper bound and the generator's ceiling (Relevant Lower Bound).
    pub(super) fn lower(&self) -> Option<&Load<'a>> {
        self.lowers().next()
    }

    /// The generator's ceiling, where it lies below the upper bound.
    pub(super) fn relevant_ceiling(&self) -> Option<&Ceiling> {
        let upper = self.upper().map_or(f64::INFINITY, |load| load.rate_per_s);
        self.ceiling.as_ref().filter(|ceiling| ceiling.rate_per_s <= upper)
    }

    /// Whether the generator cannot offer this rate.
    pub(super) fn ceiling_at(&self, rate_per_s: f64) -> bool {
        self.ceiling.as_ref().is_some_and(|ceiling| ceiling.rate_per_s <= rate_per_s)
    }

    /// What a load was classified as.
    pub(super) fn class(&self, rate_per_s: f64) -> Class {
        let known = self.loads.iter().find(|(load, _)| load.rate_per_s == rate_per_s);
        known.map_or(Class::Undecided, |(_, class)| *class)
    }

    /// Whether a load's trials of full length all met the goal but one.
    pub(super) fn fails_once(&self, rule: &Rule, rate_per_s: f64) -> bool {
        let known = self.loads.iter().find(|(load, _)| load.rate_per_s == rate_per_s);
        known.is_some_and(|(load, _)| {
            let met = rule.full_trials(load).filter(|trial| !rule.exceeds(trial)).count();
            met >= 1 && rule.full_trials(load).count() == met + 1
        })
    }

    /// Lower bounds, highest first.
    pub(super) fn lowers(&self) -> impl Iterator<Item = &Load<'a>> {
        let top = self.top().unwrap_or(f64::INFINITY);
        let below =
            self.loads.iter().rev().filter(move |(load, class)| *class == Class::Lower && load.rate_per_s < top);
        below.map(|(load, _)| load)
    }

    /// Upper bounds, lowest first.
    pub(super) fn uppers(&self) -> impl Iterator<Item = &Load<'a>> {
        self.loads.iter().filter(|(_, class)| *class == Class::Upper).map(|(load, _)| load)
    }

    /// The lowest upper bound that two trials speak for: so many at or below it, and above the lower bound, missed the goal.
    /// One alone may have been spoiled, and then the capacity lies above it.
    pub(super) fn supported_upper(&self, rule: &Rule) -> Option<&Load<'a>> {
        let lower = self.lower().map_or(0.0, |load| load.rate_per_s);
        let above = self.loads.iter().filter(|(load, _)| load.rate_per_s > lower);
        let missed = above.scan(0, |missed, (load, class)| {
            *missed += rule.full_trials(load).filter(|trial| rule.exceeds(trial)).count();
            Some((load, *class == Class::Upper && *missed >= SUPPORTING_TRIALS))
        });
        missed.filter(|(_, is_supported)| *is_supported).map(|(load, _)| load).next()
    }

    /// The next load for bounds of a relative distance of `width`, stepping by at least `first_step` where one of them
    /// is missing.
    pub(super) fn progress(&self, rule: &Rule, width: f64, first_step: f64, guess: Guess) -> Progress {
        let lower = self.lower().map(|load| load.rate_per_s);
        if let Some(begun) = self.begun(rule, lower) {
            return Progress::Try(begun);
        }
        match (lower, self.top()) {
            (None, None) => Progress::Try(self.within(guess.low_per_s)),
            (Some(lower), None) if lower >= self.max_per_s => Progress::Closed,
            (Some(lower), None) => Progress::Try(self.within(self.above(lower, width, first_step, guess))),
            (None, Some(top)) if top <= self.min_per_s => Progress::NothingBelow,
            // The generator's ceiling is nothing that was decided: what was reached below it comes first.
            (None, Some(top)) if self.upper().is_none() && guess.low_per_s < top => {
                Progress::Try(self.within(guess.low_per_s))
            }
            (None, Some(top)) => Progress::Try(self.within(self.below(rule, top, first_step, guess))),
            (Some(lower), Some(top)) => {
                let width = if self.relevant_ceiling().is_some() { width.max(CEILING_WIDTH) } else { width };
                let middle = rounded((lower * top).sqrt());
                // Rates are rounded: bounds that nothing lies between are as close as they get.
                let is_closed = top <= lower * (1.0 + width) * (1.0 + ROUNDING) || middle <= lower || middle >= top;
                if is_closed {
                    return Progress::Closed;
                }
                let hinted = self.hint().and_then(|hint| beside(hint, width, lower, top));
                Progress::Try(hinted.unwrap_or(middle))
            }
        }
    }

    /// What the target served while it was overloaded, if its backlog grew: of a load of which a share g is added to the
    /// backlog between the first and the last quarter (three quarters of the time), 1 - g / 0.75 is served.
    fn hint(&self) -> Option<f64> {
        let upper = self.upper()?;
        let growth = upper.trials.iter().map(|trial| trial.backlog_growth).reduce(f64::min)?;
        (growth >= TELLING_GROWTH).then(|| upper.rate_per_s * (1.0 - growth / GROWTH_TIME))
    }

    /// The lowest rate that is known to be too much, for whatever reason.
    fn top(&self) -> Option<f64> {
        let upper = self.upper().map(|load| load.rate_per_s);
        let ceiling = self.ceiling.as_ref().map(|ceiling| ceiling.rate_per_s);
        upper.into_iter().chain(ceiling).reduce(f64::min)
    }

    /// A load whose trials have not decided it yet.
    fn begun(&self, rule: &Rule, lower: Option<f64>) -> Option<f64> {
        let (low, top) = (lower.unwrap_or(0.0), self.top().unwrap_or(f64::INFINITY));
        let between = self.loads.iter().filter(|(load, _)| load.rate_per_s > low && load.rate_per_s < top);
        let mut begun = between.filter(|(load, class)| *class == Class::Undecided && rule.has_full_trials(load));
        begun.next().map(|(load, _)| load.rate_per_s)
    }

    fn above(&self, lower: f64, width: f64, first_step: f64, guess: Guess) -> f64 {
        let close = 1.0 + width;
        if guess.low_per_s > lower * close {
            return guess.low_per_s;
        }
        if let Some(high) = guess.high_per_s.filter(|high| *high > lower) {
            return if high <= lower * close * (1.0 + ROUNDING) { high } else { rounded((lower * high).sqrt()) };
        }
        let previous = self.lowers().nth(1).map_or(0.0, |load| lower / load.rate_per_s - 1.0);
        rounded(lower * (1.0 + (2.0 * previous).clamp(first_step, 1.0)))
    }

    fn below(&self, rule: &Rule, top: f64, first_step: f64, guess: Guess) -> f64 {
        let lost_everything = self.upper().is_some_and(|load| load.trials.iter().all(|t| t.lost == t.attempts));
        if lost_everything {
            return self.min_per_s;
        }
        let failed: Vec<_> = self.uppers().filter(|load| rule.has_full_trials(load)).collect();
        // The longest: the last one may have been held up by what the climb knew.
        let steps = failed.windows(2).map(|pair| pair[1].rate_per_s / pair[0].rate_per_s - 1.0);
        let step = match (failed.first(), steps.reduce(f64::max)) {
            (Some(lowest), Some(longest)) => {
                let is_overload = lowest.trials.iter().any(|trial| rule.backlog_grows(trial));
                longest * if is_overload { DESCENT } else { STALL_DESCENT }
            }
            _ => first_step,
        };
        let below = rounded(top / (1.0 + step.clamp(first_step, 1.0)));
        // No step goes past a load close by where the climb still held, and the first one past none.
        let reach = if failed.len() <= 1 { 0.0 } else { top / CLOSE_BY };
        if (reach..top).contains(&guess.low_per_s) { below.max(guess.low_per_s) } else { below }
    }

    fn within(&self, rate_per_s: f64) -> f64 {
        rate_per_s.clamp(self.min_per_s.min(self.max_per_s), self.max_per_s)
    }
}

/// Loads just below and just above a hint, if they lie well between the bounds: together they are bounds of the width.
fn beside(hint: f64, width: f64, lower: f64, top: f64) -> Option<f64> {
    let half = 1.0 + width / 2.0;
    let beside = [rounded(hint / half), rounded(hint * half)];
    beside.into_iter().find(|rate| *rate > lower * half && *rate < top / half)
}

/// Rates are rounded to this relative distance, so that they can be read: far below any width.
const ROUNDING: f64 = 0.001;

/// A rate with four significant digits.
pub(super) fn rounded(rate_per_s: f64) -> f64 {
    let unit = 10f64.powi(rate_per_s.log10().floor() as i32 - 3);
    if unit < 1.0 { (rate_per_s * unit.recip()).round() / unit.recip() } else { (rate_per_s / unit).round() * unit }
}

/// The lowest rate that the generator could not offer: tried twice, or in a confirmation.
fn ceiling(trials: &[TrialOutcome]) -> Option<Ceiling> {
    let limited = trials.iter().filter_map(|trial| Some((trial, trial.limited.as_ref()?)));
    let found = limited.filter(|(trial, _)| {
        let same = |other: &&TrialOutcome| other.request.rate_per_s == trial.request.rate_per_s && !other.is_valid();
        trial.request.purpose == Purpose::Confirm || trials.iter().filter(same).count() >= LIMITED_TRIALS
    });
    let lowest = found.min_by(|(a, _), (b, _)| a.request.rate_per_s.total_cmp(&b.request.rate_per_s));
    lowest.map(|(trial, reason)| Ceiling { rate_per_s: trial.request.rate_per_s, reason: reason.clone() })
}
