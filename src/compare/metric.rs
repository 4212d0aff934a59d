//! One metric of one side beside the baseline's.

use serde::Serialize;

use super::measured::{Error, Measured, Reading};
use super::welch::{Interval, Sample, interval, relative_interval};
use super::{CONFIDENCE, Pair, Side};
use crate::run::Unit;

/// A metric of both sides, and whether it differs by more than noise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRow {
    /// Its name, as in thresholds.
    pub metric: String,
    /// The unit of all its values.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// What the baseline's runs measured.
    pub baseline: SideValues,
    /// What the side's runs measured.
    pub side: SideValues,
    /// The side's mean less the baseline's.
    pub difference: f64,
    /// The lower end of the interval around it; null if noise is unknown.
    pub difference_low: Option<f64>,
    /// The upper end.
    pub difference_high: Option<f64>,
    /// What the runs say.
    pub judgement: Judgement,
}

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// The values of one metric, one from each run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideValues {
    /// In the order of the files.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (with n - 1); null for a single run.
    pub stdev: Option<f64>,
}

/// What the runs say of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// The whole interval is on the better side of the baseline.
    Better,
    /// The whole interval is on the worse side.
    Worse,
    /// The interval includes no difference.
    WithinNoise,
    /// A side has a single run.
    NoiseUnknown,
    /// The generator, or a limit that was set, ended a run before the target's own: only lower bounds were compared.
    Inconclusive,
}

impl Better {
    /// Rates and numbers of connections are better when higher; latencies and shares of what went wrong when lower.
    pub(super) const fn of(unit: Unit) -> Self {
        match unit {
            Unit::PerS | Unit::Count => Self::Higher,
            Unit::Ns | Unit::Ratio => Self::Lower,
        }
    }
}

/// The metrics that every result of both sides supports.
pub(super) fn pair(baseline: &Side, side: &Side) -> Pair {
    let metrics = common(baseline, side).map(|common| row(&common, limited(baseline) || limited(side))).collect();
    Pair { baseline: baseline.name.clone(), side: side.name.clone(), metrics }
}

/// A metric that every result of both sides supports.
pub(super) struct Common {
    pub metric: String,
    pub unit: Unit,
    pub baseline: Sample,
    pub side: Sample,
}

/// The metrics that every result of both sides supports; not those that are about nothing.
pub(super) fn common(baseline: &Side, side: &Side) -> impl Iterator<Item = Common> {
    baseline.results[0].readings.iter().filter_map(move |reading| {
        let both = [baseline, side].map(|side| values(side, &reading.metric));
        let [Some(baseline), Some(side)] = both else { return None };
        let least_variance = least_variance(&baseline, &side);
        let sample = |values: Vec<(f64, Error)>| {
            Sample::new(values.into_iter().map(|(value, _)| value).collect(), least_variance)
        };
        let (baseline, side) = (sample(baseline), sample(side));
        // Nothing was dropped or stalled anywhere: no row to read. That nothing failed or was lost is worth one.
        let nothing = baseline.values().iter().chain(side.values()).all(|value| *value == 0.0);
        let common = Common { metric: reading.metric.clone(), unit: reading.unit, baseline, side };
        (!nothing || !is_left_out_at_zero(&common.metric)).then_some(common)
    })
}

/// Whether a metric's row is left out where it is zero on both sides.
pub(super) fn is_left_out_at_zero(metric: &str) -> bool {
    matches!(metric, "dropped" | "stalled")
}

/// Some number of this side is a lower bound only.
pub(super) fn limited(side: &Side) -> bool {
    side.results.iter().any(|result| result.limited.is_some())
}

/// The value of a metric in each result, if each has one.
fn values(side: &Side, metric: &str) -> Option<Vec<(f64, Error)>> {
    let value = |result: &Measured| {
        let has = |reading: &&Reading| reading.metric == metric;
        result.readings.iter().find(has).and_then(|reading| Some((reading.value?, reading.error)))
    };
    side.results.iter().map(value).collect()
}

/// The variance of a single value by the way it is measured. A share is counted: its variance is binomial, with the share
/// over all runs, so that a side without failures is no more certain than the others.
fn least_variance(baseline: &[(f64, Error)], side: &[(f64, Error)]) -> f64 {
    let all = || baseline.iter().chain(side);
    let count = all().count() as f64;
    let share = all().map(|(value, _)| value).sum::<f64>() / count;
    let variance = |error: &Error| match *error {
        // Of a uniform distribution.
        Error::Within(width) => width.powi(2) / 12.0,
        Error::Counted(0) => 0.0,
        Error::Counted(attempts) => share * (1.0 - share).max(0.0) / attempts as f64,
    };
    all().map(|(_, error)| variance(error)).sum::<f64>() / count
}

fn row(common: &Common, limited: bool) -> MetricRow {
    let Common { metric, unit, baseline, side } = common;
    let better = Better::of(*unit);
    let interval = match unit {
        // Shares differ by points, at most by all.
        Unit::Ratio => interval(side, baseline, 1.0, CONFIDENCE)
            .map(|Interval { low, high }| Interval { low: low.max(-1.0), high: high.min(1.0) }),
        Unit::Ns | Unit::PerS | Unit::Count => relative_interval(side, baseline, 1.0, CONFIDENCE),
    };
    MetricRow {
        metric: metric.clone(),
        unit: *unit,
        better,
        baseline: SideValues::of(baseline),
        side: SideValues::of(side),
        difference: side.mean() - baseline.mean(),
        difference_low: interval.map(|interval| interval.low),
        difference_high: interval.map(|interval| interval.high),
        judgement: judge(better, interval, limited),
    }
}

fn judge(better: Better, interval: Option<Interval>, limited: bool) -> Judgement {
    match (interval, better) {
        _ if limited => Judgement::Inconclusive,
        (None, _) => Judgement::NoiseUnknown,
        (Some(Interval { low, .. }), Better::Higher) if low > 0.0 => Judgement::Better,
        (Some(Interval { low, .. }), Better::Lower) if low > 0.0 => Judgement::Worse,
        (Some(Interval { high, .. }), Better::Higher) if high < 0.0 => Judgement::Worse,
        (Some(Interval { high, .. }), Better::Lower) if high < 0.0 => Judgement::Better,
        (Some(_), _) => Judgement::WithinNoise,
    }
}

impl SideValues {
    fn of(sample: &Sample) -> Self {
        Self { values: sample.values().to_vec(), mean: sample.mean(), stdev: sample.deviation() }
    }
}
