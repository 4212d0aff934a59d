//! Conditions, as users write them and plans keep them: on a result (`[SCOPE.]METRIC OP VALUE [in WINDOW]`) and to end a
//! run early (`... for TIME`). Whether a plan has what they are about is `run::plan`'s business, what they met
//! `run::judging`'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::{Nanos, rate_text};
use crate::measure::Metric;

mod quantity;
mod subject;

use quantity::parse_condition;
pub use quantity::redact_condition;
pub(super) use quantity::{Quantity, Statistic};
pub(super) use subject::Subject;

/// A condition: `response.p99<50ms`, `failed<=1%`, `rate>=19k/s`, `outage<10s`.
///
/// A scope and a point may stand in front: a population's name (`encoders.failed<1%`), `population:NAME`, `stage:NAME`,
/// `target:NAME` or `client:NAME`; without one it is about all. A window may follow (`failed<1% in 1m`): the condition
/// must then hold in every window of that length. In files it is its own text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    text: String,
    subject: Subject,
    condition: Condition,
    /// Length of the windows in seconds.
    window_s: Option<u32>,
}

/// A condition that ends the run: `failed>5% for 5s`, with a time from 1 s to 1 h.
///
/// It can be on `failed`, `lost`, `dropped`, `rate`, `response` and `outage`, of all attempts or, except for `response`, of
/// a population, stage, target or client (`encoders.failed>5% for 5s`). It is met when it held in each of so many seconds;
/// a second that cannot tell, because nothing was due (or held) in it, neither counts nor breaks the row. In files it is
/// its own text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AbortCondition {
    text: String,
    subject: Subject,
    condition: Condition,
    seconds: u32,
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

/// Why a text is not a condition, or not one of this plan: one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConditionError(String);

/// `METRIC OP VALUE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) quantity: Quantity,
    pub(super) comparison: quantity::Comparison,
    /// Nanoseconds, a ratio, or per second, as the quantity has it.
    pub(super) limit: f64,
}

impl Threshold {
    /// It is decided second by second while the run goes on, not from the totals.
    pub(super) fn is_watched(&self) -> bool {
        self.window_s.is_some() || self.condition.quantity == Quantity::Outage
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

    pub(super) fn text(&self) -> &str {
        &self.text
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

    /// That it cannot be one, for the reason that `what` gives.
    pub(super) fn error(&self, what: impl fmt::Display) -> ConditionError {
        ConditionError::of_threshold(&self.text, what)
    }
}

impl AbortCondition {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn condition(&self) -> Condition {
        self.condition
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(super) fn seconds(&self) -> u32 {
        self.seconds
    }

    /// That it cannot be one, for the reason that `what` gives.
    pub(super) fn error(&self, what: impl fmt::Display) -> ConditionError {
        ConditionError::of_abort(&self.text, what)
    }
}

impl ConditionError {
    fn of_threshold(text: &str, what: impl fmt::Display) -> Self {
        Self(format!("threshold '{text}' {what}"))
    }

    fn of_abort(text: &str, what: impl fmt::Display) -> Self {
        Self(format!("the condition '{text}' to end the run {what}"))
    }
}

impl FromStr for Threshold {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let text = text.trim();
        let error = |what: &str| ConditionError::of_threshold(text, what);
        let (subject, condition, window_s) =
            parse_condition(text, "in", "response.p99<50ms").map_err(|what| error(&what))?;
        let why = match condition.quantity {
            Quantity::Outage => "needs no window: an outage is looked for in the whole run",
            Quantity::Downgraded => "cannot have a window: downgrades are counted for the whole run only",
            Quantity::Stalled | Quantity::Unsent => "cannot have a window: media is counted for the whole run only",
            _ => "",
        };
        if window_s.is_some() && !why.is_empty() {
            return Err(error(why));
        }
        Ok(Self { text: text.to_owned(), subject, condition, window_s })
    }
}

impl FromStr for AbortCondition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let text = text.trim();
        let error = |what: &str| ConditionError::of_abort(text, what);
        let (subject, condition, seconds) =
            parse_condition(text, "for", "failed>5% for 5s").map_err(|what| error(&what))?;
        let Some(seconds) = seconds else {
            return Err(error("does not say for how long: write for example 'failed>5% for 5s'"));
        };
        match condition.quantity {
            Quantity::Failed
            | Quantity::Lost
            | Quantity::Dropped
            | Quantity::Rate
            | Quantity::Outage
            | Quantity::Latency(Metric::Response, _) => Ok(Self { text: text.to_owned(), subject, condition, seconds }),
            Quantity::Stalled | Quantity::Unsent | Quantity::Downgraded | Quantity::Latency(..) => Err(error(
                "is not seen while the run goes on: there is failed, lost, dropped, rate, outage, and response with a statistic",
            )),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Display for AbortCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Threshold {
    type Error = ConditionError;

    fn try_from(text: String) -> Result<Self, ConditionError> {
        text.parse()
    }
}

impl TryFrom<String> for AbortCondition {
    type Error = ConditionError;

    fn try_from(text: String) -> Result<Self, ConditionError> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.text
    }
}

impl From<AbortCondition> for String {
    fn from(condition: AbortCondition) -> Self {
        condition.text
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
