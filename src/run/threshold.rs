//! Conditions on a result: `[SCOPE.]METRIC OP VALUE [in WINDOW]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{Population, RunPlan};
use super::result::{Attempts, LatencyTable, Rates, Row, RunResult};
use super::watch::WatchOutcome;
use crate::base::{DurationText, Nanos, rate_text};
use crate::measure::{MediaCounts, ModeCounts};

mod own_part;
mod prospect;
mod quantity;
mod subject;

pub use quantity::redact_condition;
pub(super) use quantity::{Quantity, parse_condition};
pub(super) use subject::Subject;

/// A condition: `response.p99<50ms`, `failed<=1%`, `rate>=19k/s`, `outage<10s`.
///
/// A scope and a point may stand in front: a population's name (`encoders.failed<1%`), `population:NAME`, `stage:NAME`,
/// `target:NAME` or `client:NAME`; without one it is about all. A window may follow (`failed<1% in 1m`): the condition
/// must then hold in every window of that length.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    expression: String,
    subject: Subject,
    condition: Condition,
    /// Length of the windows in seconds.
    window_s: Option<u32>,
}

/// What a condition met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// The condition as it was written.
    pub expression: String,
    /// The measured value, that of the worst window where there are several; null if there is none.
    pub actual: Option<f64>,
    /// The unit of `actual`.
    pub unit: Unit,
    /// When the worst window or the longest outage began, seconds since the run's start; absent for conditions on the
    /// whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_s: Option<u32>,
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
    /// A number of connections.
    Count,
}

/// Why a text is not a condition of this plan: one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ThresholdError(pub(super) String);

/// `METRIC OP VALUE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) quantity: Quantity,
    pub(super) comparison: quantity::Comparison,
    /// Nanoseconds, a ratio, or per second, as the quantity has it.
    pub(super) limit: f64,
}

/// The attempts a condition is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) attempts: &'a Attempts,
    pub(super) rate: &'a Rates,
    pub(super) modes: &'a ModeCounts,
    pub(super) latency: &'a LatencyTable,
    /// That of a population or of all.
    pub(super) media: &'a MediaCounts,
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

    /// A run of `plan` can hold one of its windows, if it has windows.
    ///
    /// # Errors
    /// If what it is about is measured for less than that.
    pub fn check_window(&self, plan: &RunPlan) -> Result<(), ThresholdError> {
        let Some(window) = self.window_s.map(|seconds| Nanos::from_secs(seconds.into())) else { return Ok(()) };
        let measured =
            |population: &Population| population.length().as_u64().saturating_sub(population.warmup().as_u64());
        let population = match &self.subject {
            Subject::Population(name) => plan.populations.iter().find(|population| population.name == *name),
            _ => None,
        };
        let measured = population.map_or_else(|| plan.asked().map(measured).max().unwrap_or(0), measured);
        if window.as_u64() <= measured {
            return Ok(());
        }
        let text = |nanos: u64| DurationText(Duration::from_nanos(nanos));
        Err(ThresholdError(format!(
            "threshold '{}' has windows of {} and the load is measured for {}: shorten the window, or lengthen the load",
            self.expression,
            text(window.as_u64()),
            text(measured)
        )))
    }

    /// A run of `plan` can decide it.
    ///
    /// # Errors
    /// If it needs more attempts than are planned: the verdict could only be that it cannot be told.
    pub fn check_prospect(&self, plan: &RunPlan) -> Result<(), ThresholdError> {
        let checked = match self.window_s {
            Some(seconds) => self.condition.check_window(&self.subject, seconds, plan),
            None => self.condition.check_total(&self.subject, plan),
        };
        checked.map_err(|text| ThresholdError(format!("threshold '{}' {text}", self.expression)))
    }

    /// The limit of a latency, if this is an upper one.
    pub(super) fn latency_limit(&self) -> Option<Nanos> {
        let Condition { quantity, comparison, limit } = self.condition;
        (comparison.is_upper() && matches!(quantity, Quantity::Latency(..))).then(|| Nanos::new(limit as u64))
    }

    /// It asks for a rate or a latency, which a limited generator cannot vouch for.
    pub(super) fn needs_an_unlimited_generator(&self) -> bool {
        matches!(self.condition.quantity, Quantity::Latency(..) | Quantity::Rate)
    }

    /// What the condition met in `result`; `watched` is what was seen while the run went on.
    pub fn evaluate(&self, result: &RunResult, watched: &WatchOutcome) -> ThresholdResult {
        let (actual, at_s, reason) = if self.is_watched() {
            match watched.of(&self.expression) {
                _ if !result.machines.is_empty() => {
                    let reason =
                        "what each machine saw second by second is not in its file: see the machines' own results";
                    (None, None, Some(reason.to_owned()))
                }
                Some(Ok(worst)) => (Some(worst.value), worst.at_s, None),
                Some(Err(reason)) => (None, None, Some(reason.clone())),
                None => (None, None, Some("it was not watched while the run went on".to_owned())),
            }
        } else {
            let measured = Scope::of_subject(result, &self.subject)
                .and_then(|scope| Ok((self.condition.quantity.measured(&scope)?, scope)));
            match measured {
                Ok((actual, _)) if self.condition.holds(actual) => (Some(actual), None, None),
                Ok((actual, scope)) => (Some(actual), None, self.condition.excuse(actual, &scope, result)),
                Err(reason) => (None, None, Some(reason)),
            }
        };
        ThresholdResult {
            expression: self.expression.clone(),
            actual,
            unit: self.condition.quantity.unit(),
            at_s,
            pass: actual.filter(|_| reason.is_none()).map(|actual| self.condition.holds(actual)),
            reason,
        }
    }

    /// It is decided second by second while the run goes on, not from the totals.
    pub(super) fn is_watched(&self) -> bool {
        self.window_s.is_some() || self.condition.quantity == Quantity::Outage
    }

    pub(super) fn expression(&self) -> &str {
        &self.expression
    }

    pub(super) fn condition(&self) -> Condition {
        self.condition
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(super) fn window_s(&self) -> Option<u32> {
        self.window_s
    }

    /// The plan has what the condition is about.
    fn check(&self, plan: &RunPlan) -> Result<(), ThresholdError> {
        let error = |text: String| ThresholdError(format!("threshold '{}' {text}", self.expression));
        self.subject.check(self.condition.quantity, plan).map_err(error)?;
        if self.is_watched() {
            self.subject.check_by_second(self.condition.quantity, plan).map_err(error)?;
        }
        Ok(())
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let expression = text.trim();
        let error = |text: String| ThresholdError(format!("threshold '{expression}' {text}"));
        let (subject, condition, window_s) =
            quantity::parse_condition(expression, "in", "response.p99<50ms").map_err(error)?;
        let why = match condition.quantity {
            Quantity::Outage => "needs no window: an outage is looked for in the whole run",
            Quantity::Downgraded => "cannot have a window: downgrades are counted for the whole run only",
            Quantity::Stalled | Quantity::Unsent => "cannot have a window: media is counted for the whole run only",
            _ => "",
        };
        if window_s.is_some() && !why.is_empty() {
            return Err(error(why.to_owned()));
        }
        Ok(Self { expression: expression.to_owned(), subject, condition, window_s })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.expression)
    }
}

impl Condition {
    pub(super) fn holds(&self, actual: f64) -> bool {
        self.comparison.holds(actual, self.limit)
    }
}

impl Unit {
    /// A value of this unit for people.
    pub(super) fn text(self, value: f64) -> String {
        match self {
            Self::Ns => Nanos::new(value as u64).to_string(),
            Self::Ratio => format!("{:.1} %", value * 100.0),
            Self::PerS => rate_text(value),
            Self::Count => format!("{value:.0}"),
        }
    }
}

impl<'a> Scope<'a> {
    /// All attempts, or those of one population; `None` if there is no such population.
    pub(super) fn of(result: &'a RunResult, population: Option<&str>) -> Option<Self> {
        let subject = population.map_or(Subject::All, |name| Subject::Population(name.to_owned()));
        Self::of_subject(result, &subject).ok()
    }

    /// The attempts of `subject`, or why there are none.
    fn of_subject(result: &'a RunResult, subject: &Subject) -> Result<Self, String> {
        let rows = match subject {
            Subject::All => return Ok(Self::all(result)),
            Subject::Population(_) => &result.by_population,
            Subject::Stage(_) => &result.by_stage,
            Subject::Target(_) => &result.by_target,
            Subject::Client(_) => &result.by_client,
        };
        let index = subject.index(&result.plan)?;
        // What there is but one of has no row: it is all there is.
        Ok(rows.get(index).map_or(Self::all(result), Self::row))
    }

    fn all(result: &'a RunResult) -> Self {
        Self {
            attempts: &result.attempts,
            rate: &result.rate,
            modes: &result.modes,
            latency: &result.latency,
            media: &result.media,
        }
    }

    fn row(row: &'a Row) -> Self {
        Self { attempts: &row.attempts, rate: &row.rate, modes: &row.modes, latency: &row.latency, media: &row.media }
    }
}

#[cfg(test)]
mod tests;
