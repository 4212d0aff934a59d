//! Whether a side is worse than the baseline by more than a limit.

use serde::Serialize;

use super::metric::{Better, Common, common, limited};
use super::welch::{Interval, interval, relative_interval};
use super::{CONFIDENCE, Limit, Outcome, Side};
use crate::run::Unit;

/// What became of a limit on how much worse a side may be.
///
/// Many metrics are tested at once, so each is tested more strictly (Bonferroni): that any is found worse although none is
/// by more than the limit has the probability `1 - confidence`, halved, for only one direction counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Regression {
    /// The limit: a share of the baseline's mean; of metrics that are shares themselves, the difference.
    pub limit: f64,
    /// What cannot be told keeps the comparison from passing.
    pub strict: bool,
    /// The probability of two-sided intervals that all of them cover the truth.
    pub confidence: f64,
    /// How many metrics could be tested.
    pub tests: usize,
    /// What is worse by more than the limit beyond noise.
    pub worse: Vec<RegressionRow>,
    /// What the results do not show to be worse by more than the limit, and do not show not to be: the noise is too large.
    pub not_excluded: Vec<RegressionRow>,
    /// What could not be tested: a side has a single run, or the generator was its limit.
    pub undecided: Vec<RegressionRow>,
}

/// A metric of a side that was held against the limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegressionRow {
    /// The side.
    pub side: String,
    /// The metric.
    pub metric: String,
    /// By how much it is worse on average, in the limit's terms; negative where it is better; null if the baseline has
    /// nothing.
    pub worsening: Option<f64>,
}

impl Regression {
    /// How a comparison with this limit ends.
    pub fn outcome(&self) -> Outcome {
        let unknown = self.tests == 0 || !self.undecided.is_empty() || self.strict && !self.not_excluded.is_empty();
        match self.worse.as_slice() {
            [] if unknown => Outcome::Inconclusive,
            [] => Outcome::Pass,
            _ => Outcome::Worse,
        }
    }

    pub(super) fn of(limit: Limit, baseline: &Side, others: &[Side]) -> Self {
        let Limit { limit, strict } = limit;
        let (mut tested, mut undecided) = (Vec::new(), Vec::new());
        for side in others {
            let measured = |side: &Side| side.results.len() > 1 && !limited(side);
            let list = if measured(side) && measured(baseline) { &mut tested } else { &mut undecided };
            list.extend(common(baseline, side).map(|common| (side, common)));
        }
        let confidence = 1.0 - (1.0 - CONFIDENCE) / tested.len().max(1) as f64;
        let row = |(side, common): &(&Side, Common)| RegressionRow {
            side: side.name.clone(),
            metric: common.metric.clone(),
            worsening: worsening(common),
        };
        let (worse, others): (Vec<_>, Vec<_>) = tested
            .iter()
            .partition(|(_, common)| beyond(common, limit, confidence).is_some_and(|beyond| beyond.low > 0.0));
        let possible =
            |(_, common): &&&(&Side, Common)| beyond(common, limit, CONFIDENCE).is_some_and(|beyond| beyond.high > 0.0);
        Self {
            limit,
            strict,
            confidence: CONFIDENCE,
            tests: tested.len(),
            worse: worse.into_iter().map(row).collect(),
            not_excluded: others.iter().filter(possible).copied().map(row).collect(),
            undecided: undecided.iter().map(row).collect(),
        }
    }
}

/// By how much a side is worse than the limit allows, in the metric's unit; noise of both sides included.
fn beyond(common: &Common, limit: f64, confidence: f64) -> Option<Interval> {
    let Common { unit, baseline, side, .. } = common;
    let beside = |factor| relative_interval(side, baseline, factor, confidence);
    match (unit, Better::of(*unit)) {
        (Unit::Ratio, _) => interval(side, baseline, 1.0, confidence)
            .map(|Interval { low, high }| Interval { low: low - limit, high: high - limit }),
        (_, Better::Lower) => beside(1.0 + limit),
        (_, Better::Higher) => beside(1.0 - limit).map(|Interval { low, high }| Interval { low: -high, high: -low }),
    }
}

fn worsening(common: &Common) -> Option<f64> {
    let Common { unit, baseline, side, .. } = common;
    let difference = side.mean() - baseline.mean();
    match (unit, Better::of(*unit)) {
        (Unit::Ratio, _) => Some(difference),
        _ if baseline.mean() == 0.0 => None,
        (_, Better::Lower) => Some(difference / baseline.mean()),
        (_, Better::Higher) => Some(-difference / baseline.mean()),
    }
}
