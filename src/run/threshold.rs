//! Conditions on a result: `metric OP value`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::plan::{Population, RunPlan};
use super::result::{Attempts, LatencyTable, Rates, RunResult};
use crate::base::{DurationText, Nanos, Rate};
use crate::measure::{LatencyHistogram, LatencySummary, Metric, ModeCounts, Quantile};

/// A condition: `response.p99<50ms`, `failed<=1%`, `rate>=19k/s`. A population's name and a point may stand in front
/// (`encoders.response.p99<50ms`); without one it is about all.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    expression: String,
    population: Option<String>,
    quantity: Quantity,
    comparison: Comparison,
    /// Nanoseconds, a ratio, or per second, as the quantity has it.
    limit: f64,
}

/// What a condition met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// The condition as it was written.
    pub expression: String,
    /// The measured value; null if there is none.
    pub actual: Option<f64>,
    /// The unit of `actual`.
    pub unit: Unit,
    /// Whether it holds; null if the run cannot tell.
    pub pass: Option<bool>,
    /// Why the run cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The unit of a measured value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// A share, 1 is all.
    Ratio,
    /// Per second.
    PerS,
}

/// Why a text is not a condition of this plan: one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ThresholdError(String);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Latency(Metric, Statistic),
    Failed,
    Dropped,
    Downgraded,
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Min,
    Mean,
    Quantile(Quantile),
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The attempts a condition is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) attempts: &'a Attempts,
    pub(super) rate: &'a Rates,
    pub(super) modes: &'a ModeCounts,
    pub(super) latency: &'a LatencyTable,
}

impl Threshold {
    /// The conditions of a plan, in its order.
    ///
    /// # Errors
    /// Names the first condition that is not one, or that this plan cannot have.
    pub fn of_plan(plan: &RunPlan) -> Result<Vec<Self>, ThresholdError> {
        let checked = |text: &String| {
            let threshold: Self = text.parse()?;
            threshold.check(plan)?;
            Ok(threshold)
        };
        plan.thresholds.iter().map(checked).collect()
    }

    /// The limit of a latency, if this is an upper one.
    pub(super) fn latency_limit(&self) -> Option<Nanos> {
        let upper = matches!(self.comparison, Comparison::Less | Comparison::LessOrEqual);
        (upper && matches!(self.quantity, Quantity::Latency(..))).then(|| Nanos::new(self.limit as u64))
    }

    /// It asks for a rate or a latency, which a limited generator cannot vouch for.
    pub(super) fn needs_an_unlimited_generator(&self) -> bool {
        matches!(self.quantity, Quantity::Latency(..) | Quantity::Rate)
    }

    /// What the condition met in `result`.
    pub fn evaluate(&self, result: &RunResult) -> ThresholdResult {
        let actual = Scope::of(result, self.population.as_deref())
            .ok_or_else(|| "the result has no such population".to_owned())
            .and_then(|scope| self.quantity.measured(&scope));
        let (actual, reason) = match actual {
            Ok(actual) => (Some(actual), None),
            Err(reason) => (None, Some(reason)),
        };
        ThresholdResult {
            expression: self.expression.clone(),
            actual,
            unit: self.quantity.unit(),
            pass: actual.map(|actual| self.comparison.holds(actual, self.limit)),
            reason,
        }
    }

    /// The plan has what the condition is about.
    fn check(&self, plan: &RunPlan) -> Result<(), ThresholdError> {
        let error = |text: String| Err(ThresholdError(format!("threshold '{}' {text}", self.expression)));
        let names =
            || plan.populations.iter().map(|population| population.name.as_str()).collect::<Vec<_>>().join(", ");
        let about: Vec<&Population> = match &self.population {
            None => plan.populations.iter().collect(),
            Some(name) => plan.populations.iter().filter(|population| population.name == *name).collect(),
        };
        if about.is_empty() {
            return error(format!("names no population of the plan: there is {}", names()));
        }
        let Quantity::Latency(metric, statistic) = self.quantity else { return Ok(()) };
        if metric == Metric::Confirm {
            return error("has nothing to measure: the attempt is complete with S2, use s2 or service".to_owned());
        }
        if metric.needs_plan() && !about.into_iter().any(Population::is_open_loop) {
            return error(format!(
                "needs planned arrivals, and closed loop has none: use service.{statistic}, or give a rate (-R)"
            ));
        }
        Ok(())
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let expression = text.trim();
        let error = |text: String| ThresholdError(format!("threshold '{expression}' {text}"));
        let Some(at) = expression.find(['<', '>']) else {
            return Err(error("has no comparison: write for example 'response.p99<50ms' with < <= > or >=".to_owned()));
        };
        let (subject, rest) = expression.split_at(at);
        let (comparison, value) = if let Some(value) = rest.strip_prefix("<=") {
            (Comparison::LessOrEqual, value)
        } else if let Some(value) = rest.strip_prefix(">=") {
            (Comparison::GreaterOrEqual, value)
        } else if let Some(value) = rest.strip_prefix('<') {
            (Comparison::Less, value)
        } else {
            (Comparison::Greater, &rest[1..])
        };
        let (population, quantity) = parse_subject(subject.trim()).map_err(error)?;
        let limit = quantity.parse_limit(value.trim()).map_err(error)?;
        Ok(Self { expression: expression.to_owned(), population, quantity, comparison, limit })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.expression)
    }
}

impl<'a> Scope<'a> {
    /// All attempts, or those of one population; `None` if there is no such population.
    pub(super) fn of(result: &'a RunResult, population: Option<&str>) -> Option<Self> {
        let all =
            Self { attempts: &result.attempts, rate: &result.rate, modes: &result.modes, latency: &result.latency };
        let Some(name) = population else { return Some(all) };
        match result.plan.populations.as_slice() {
            [only] => (only.name == name).then_some(all),
            _ => result.by_population.iter().find(|row| row.name == name).map(|row| Self {
                attempts: &row.attempts,
                rate: &row.rate,
                modes: &row.modes,
                latency: &row.latency,
            }),
        }
    }
}

impl Quantity {
    fn unit(self) -> Unit {
        match self {
            Self::Latency(..) => Unit::Ns,
            Self::Failed | Self::Dropped | Self::Downgraded => Unit::Ratio,
            Self::Rate => Unit::PerS,
        }
    }

    /// The limit, or how it should be written.
    fn parse_limit(self, text: &str) -> Result<f64, String> {
        match self.unit() {
            Unit::Ns => {
                let duration: DurationText = text
                    .parse()
                    .map_err(|_| format!("has the value '{text}': a latency needs a unit, as 50ms or 1.5s"))?;
                let limit = Nanos::from(duration.0);
                if limit > LatencyHistogram::LONGEST {
                    return Err("is beyond what is measured: latencies are told apart up to 60s".to_owned());
                }
                Ok(limit.as_u64() as f64)
            }
            Unit::Ratio => {
                let percent = text.strip_suffix('%').or((text == "0").then_some(text)).map(str::trim);
                percent
                    .and_then(|number| number.parse().ok())
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(|percent: f64| percent / 100.0)
                    .ok_or_else(|| {
                        format!("has the value '{text}': a share of the due attempts is written as 1% or 0.05%")
                    })
            }
            Unit::PerS => {
                let rate: Rate =
                    text.parse().map_err(|_| format!("has the value '{text}': a rate is written as 20k/s"))?;
                Ok(rate.as_per_second())
            }
        }
    }

    /// The measured value, or why there is none.
    fn measured(self, scope: &Scope) -> Result<f64, String> {
        let share = |count: u64| match scope.attempts.due {
            0 => Err("no attempt was due".to_owned()),
            due => Ok(count as f64 / due as f64),
        };
        match self {
            Self::Latency(metric, statistic) => {
                let summary = scope.latency.get(metric).ok_or_else(|| format!("{metric} was not measured"))?;
                statistic.of(summary).map(|value| value as f64)
            }
            Self::Failed => share(scope.attempts.failed),
            Self::Dropped => share(scope.attempts.dropped),
            Self::Downgraded => share(scope.modes.downgraded),
            Self::Rate => Ok(scope.rate.completed_per_s),
        }
    }
}

impl Statistic {
    fn of(self, summary: &LatencySummary) -> Result<u64, String> {
        let value = match self {
            Self::Min => summary.min_ns,
            Self::Mean => summary.mean_ns,
            Self::Max => summary.max_ns,
            Self::Quantile(quantile) => {
                summary.at(quantile).map_err(|error| error.to_string())?.map(|value| value.as_u64())
            }
        };
        value.ok_or_else(|| match self {
            Self::Quantile(quantile) if summary.count > 0 => {
                format!("{quantile} needs 10 samples above it, and {} attempts completed", summary.count)
            }
            _ => "no attempt completed".to_owned(),
        })
    }
}

impl Comparison {
    fn holds(self, actual: f64, limit: f64) -> bool {
        match self {
            Self::Less => actual < limit,
            Self::LessOrEqual => actual <= limit,
            Self::Greater => actual > limit,
            Self::GreaterOrEqual => actual >= limit,
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min => f.write_str("min"),
            Self::Mean => f.write_str("mean"),
            Self::Max => f.write_str("max"),
            Self::Quantile(quantile) => quantile.fmt(f),
        }
    }
}

/// Population and quantity, or what is wrong with them.
fn parse_subject(subject: &str) -> Result<(Option<String>, Quantity), String> {
    let unprefixed = parse_quantity(subject);
    match subject.split_once('.') {
        Some((population, rest)) if matches!(unprefixed, Err(QuantityError::UnknownMetric)) => {
            parse_quantity(rest).map(|quantity| (Some(population.to_owned()), quantity))
        }
        _ => unprefixed.map(|quantity| (None, quantity)),
    }
    .map_err(|error| match error {
        QuantityError::UnknownMetric => {
            let latencies = Metric::ALL.map(|metric| metric.to_string()).join(", ");
            format!("names no metric: there is failed, dropped, downgraded, rate, and with a statistic {latencies}")
        }
        QuantityError::UnknownStatistic => {
            "has no such statistic: there is min, mean, p50 to p99.99 and max, as in response.p99".to_owned()
        }
    })
}

#[derive(Clone, Copy, Debug)]
enum QuantityError {
    UnknownMetric,
    UnknownStatistic,
}

fn parse_quantity(text: &str) -> Result<Quantity, QuantityError> {
    match text {
        "failed" => return Ok(Quantity::Failed),
        "dropped" => return Ok(Quantity::Dropped),
        "downgraded" => return Ok(Quantity::Downgraded),
        "rate" => return Ok(Quantity::Rate),
        _ => {}
    }
    let (metric, statistic) = text.split_once('.').unwrap_or((text, ""));
    let metric =
        Metric::ALL.into_iter().find(|known| known.to_string() == metric).ok_or(QuantityError::UnknownMetric)?;
    let statistic = match statistic {
        "min" => Statistic::Min,
        "mean" => Statistic::Mean,
        "max" => Statistic::Max,
        _ => statistic
            .parse()
            .ok()
            .filter(|quantile| *quantile >= Quantile::P50)
            .map(Statistic::Quantile)
            .ok_or(QuantityError::UnknownStatistic)?,
    };
    Ok(Quantity::Latency(metric, statistic))
}

#[cfg(test)]
mod tests {
    use super::super::result::fixtures;
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Threshold>().unwrap_err().to_string()
    }

    #[test]
    fn every_form_of_the_grammar_is_read() {
        for (text, limit) in [
            ("response.p99<50ms", 5e7),
            (" service.max <= 1s ", 1e9),
            ("s0s1.p99.99<250us", 250e3),
            ("lateness.mean<1ms", 1e6),
            ("connect.min>1us", 1e3),
            ("slot_wait.p50<60s", 6e10),
            ("failed<1%", 0.01),
            ("dropped<=0", 0.0),
            ("downgraded<0.05%", 0.0005),
            ("rate>=19k/s", 19_000.0),
            ("encoders.response.p99.9<50ms", 5e7),
            ("encoders.failed<1%", 0.01),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert!((threshold.limit - limit).abs() <= limit * 1e-12, "{text}: {}", threshold.limit);
            assert_eq!(threshold.population.as_deref(), text.starts_with("encoders").then_some("encoders"), "{text}");
            assert_eq!(threshold.to_string(), text.trim());
        }
    }

    #[test]
    fn errors_are_one_sentence_with_the_valid_names() {
        insta::assert_snapshot!(error("response.p99=50ms"), @"threshold 'response.p99=50ms' has no comparison: write for example 'response.p99<50ms' with < <= > or >=");
        insta::assert_snapshot!(error("respons.p99<50ms"), @"threshold 'respons.p99<50ms' names no metric: there is failed, dropped, downgraded, rate, and with a statistic response, service, connect, s0s1, s2, confirm, slot_wait, lateness");
        insta::assert_snapshot!(error("response.p9<50ms"), @"threshold 'response.p9<50ms' has no such statistic: there is min, mean, p50 to p99.99 and max, as in response.p99");
        insta::assert_snapshot!(error("response<50ms"), @"threshold 'response<50ms' has no such statistic: there is min, mean, p50 to p99.99 and max, as in response.p99");
        insta::assert_snapshot!(error("response.p99<50"), @"threshold 'response.p99<50' has the value '50': a latency needs a unit, as 50ms or 1.5s");
        insta::assert_snapshot!(error("response.p99<2m"), @"threshold 'response.p99<2m' is beyond what is measured: latencies are told apart up to 60s");
        insta::assert_snapshot!(error("failed<5"), @"threshold 'failed<5' has the value '5': a share of the due attempts is written as 1% or 0.05%");
        insta::assert_snapshot!(error("failed<500%"), @"threshold 'failed<500%' has the value '500%': a share of the due attempts is written as 1% or 0.05%");
        insta::assert_snapshot!(error("rate>fast"), @"threshold 'rate>fast' has the value 'fast': a rate is written as 20k/s");
        insta::assert_snapshot!(error("<5%"), @"threshold '<5%' names no metric: there is failed, dropped, downgraded, rate, and with a statistic response, service, connect, s0s1, s2, confirm, slot_wait, lateness");
    }

    #[test]
    fn closed_loop_has_no_planned_arrivals() {
        let mut plan = fixtures::closed_plan();
        for metric in ["response", "slot_wait", "lateness"] {
            plan.thresholds = vec![format!("{metric}.p99<50ms")];
            let error = Threshold::of_plan(&plan).unwrap_err().to_string();
            assert!(error.contains("closed loop") && error.contains("service.p99"), "{error}");
        }
        plan.thresholds = vec!["service.p99<50ms".to_owned(), "rate>1".to_owned()];
        assert_eq!(Threshold::of_plan(&plan).unwrap().len(), 2);
    }

    #[test]
    fn a_condition_must_be_about_something_in_the_plan() {
        let mut plan = fixtures::open_plan();
        plan.thresholds = vec!["decoders.failed<1%".to_owned()];
        insta::assert_snapshot!(Threshold::of_plan(&plan).unwrap_err(), @"threshold 'decoders.failed<1%' names no population of the plan: there is encoders");
        plan.thresholds = vec!["confirm.p99<1ms".to_owned()];
        assert!(Threshold::of_plan(&plan).unwrap_err().to_string().contains("complete with S2"));
    }

    #[test]
    fn conditions_are_met_missed_or_undecidable() {
        // 2 000 due: 1 980 completed with service 1..=1 980 us, 10 failed, 10 dropped, 2 s.
        let result = fixtures::open_result(&[]);
        for (text, actual, pass) in [
            ("failed<=0.5%", Some(0.005), Some(true)),
            ("failed<0.5%", Some(0.005), Some(false)),
            ("dropped<1%", Some(0.005), Some(true)),
            ("downgraded<=0", Some(0.0), Some(true)),
            ("rate>=990/s", Some(990.0), Some(true)),
            ("rate>990/s", Some(990.0), Some(false)),
            ("encoders.rate>1k/s", Some(990.0), Some(false)),
            ("service.p99.9<1s", None, None),
        ] {
            let met = text.parse::<Threshold>().unwrap().evaluate(&result);
            assert_eq!((met.actual, met.pass), (actual, pass), "{text}");
            assert_eq!(met.reason.is_some(), pass.is_none(), "{text}");
        }
        let median = "service.p50<1ms".parse::<Threshold>().unwrap().evaluate(&result);
        assert_eq!(median.pass, Some(true), "{median:?}");
        let p75 = "service.p75>1.48ms".parse::<Threshold>().unwrap().evaluate(&result);
        assert_eq!(p75.pass, Some(true), "{p75:?}");
    }

    #[test]
    fn an_undecidable_percentile_says_what_it_needs() {
        let met = "service.p99.9<1s".parse::<Threshold>().unwrap().evaluate(&fixtures::open_result(&[]));
        insta::assert_snapshot!(met.reason.unwrap(), @"p99.9 needs 10 samples above it, and 1980 attempts completed");
    }
}
