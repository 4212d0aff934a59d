//! What ends a run early: conditions of the user, and a guard that fails.

use std::fmt;
use std::str::FromStr;

use super::super::plan::RunPlan;
use super::super::threshold::{Condition, Quantity, Subject, ThresholdError, parse_condition};
use super::{CountsOf, Followed, Outage};
use crate::base::Nanos;
use crate::measure::{CompletedSecond, Metric};

/// A condition that ends the run: `failed>5% for 5s`, with a time from 1 s to 1 h.
///
/// It can be on `failed`, `lost`, `dropped`, `rate`, `response` and `outage`, of all attempts or, but for `response`, of a
/// population, stage, target or client (`encoders.failed>5% for 5s`). It is met when it held in each of so many seconds; a second that cannot tell, because
/// nothing was due (or held) in it, neither counts nor breaks the row.
#[derive(Clone, Debug, PartialEq)]
pub struct AbortCondition {
    text: String,
    subject: Subject,
    condition: Condition,
    seconds: u32,
}

/// Follows the conditions that end a run.
#[derive(Clone, Debug)]
pub struct AbortWatch {
    conditions: Vec<WatchedCondition>,
}

/// Follows a canary: it trips when all its attempts fail for three seconds in a row. Seconds in which none of them ended
/// are left out.
#[derive(Clone, Debug)]
pub struct GuardWatch {
    population: usize,
    name: String,
    /// Seconds in a row with failures and no completion.
    failing: u32,
}

/// Why a run is to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The condition as it was written, or the guard's name.
    pub condition: String,
    /// When it was decided, seconds since the run's start.
    pub at_s: u32,
    /// What happened, in one sentence.
    pub text: String,
}

#[derive(Clone, Debug)]
struct WatchedCondition {
    condition: AbortCondition,
    counts: CountsOf,
    outage: Outage,
    /// Connections held at the end of the last second.
    held_before: u64,
    /// Seconds in a row in which it held.
    held: u32,
}

impl AbortCondition {
    /// The conditions written in `texts`, in their order.
    ///
    /// # Errors
    /// Names the first that is not one, or that a run of `plan` cannot have.
    pub fn of_plan(texts: &[String], plan: &RunPlan) -> Result<Vec<Self>, ThresholdError> {
        let checked = |text: &String| {
            let condition: Self = text.parse()?;
            let error = |text: String| error(&condition.text, &text);
            condition.subject.check(condition.condition.quantity, plan).map_err(error)?;
            condition.subject.check_by_second(condition.condition.quantity, plan).map_err(error)?;
            Ok(condition)
        };
        texts.iter().map(checked).collect()
    }

    /// A run of `plan` can meet it.
    ///
    /// # Errors
    /// Says why it would never end the run.
    pub fn check_prospect(&self, plan: &RunPlan) -> Result<(), ThresholdError> {
        let checked = self.condition.check_seconds(&self.subject, self.seconds, plan);
        checked.map_err(|text| error(&self.text, &text))
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl FromStr for AbortCondition {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let text = text.trim();
        let (subject, condition, seconds) =
            parse_condition(text, "for", "failed>5% for 5s").map_err(|what| error(text, &what))?;
        let Some(seconds) = seconds else {
            return Err(error(text, "does not say for how long: write for example 'failed>5% for 5s'"));
        };
        match condition.quantity {
            Quantity::Failed
            | Quantity::Lost
            | Quantity::Dropped
            | Quantity::Rate
            | Quantity::Outage
            | Quantity::Latency(Metric::Response, _) => Ok(Self { text: text.to_owned(), subject, condition, seconds }),
            Quantity::Stalled | Quantity::Unsent | Quantity::Downgraded | Quantity::Latency(..) => Err(error(
                text,
                "is not seen while the run goes on: there is failed, lost, dropped, rate, outage, and response with a statistic",
            )),
        }
    }
}

impl fmt::Display for AbortCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl AbortWatch {
    /// A watch for `conditions`, each with what it follows. Warm-ups count too.
    pub fn new(conditions: impl IntoIterator<Item = (AbortCondition, Followed)>) -> Self {
        let watched = |(condition, followed): (AbortCondition, Followed)| WatchedCondition {
            counts: followed.counts,
            condition,
            outage: Outage::default(),
            held_before: 0,
            held: 0,
        };
        Self { conditions: conditions.into_iter().map(watched).collect() }
    }

    /// Takes in the next second; the first condition that is now met, again and again while it lasts.
    pub fn push(&mut self, second: &CompletedSecond) -> Option<Trip> {
        self.conditions.iter_mut().fold(None, |first, condition| first.or(condition.push(second)))
    }
}

impl GuardWatch {
    /// So many seconds without a completion are not chance.
    const FAILING_SECONDS: u32 = 3;

    /// A watch for the population at `population` of the layout, called `name`.
    pub fn new(population: usize, name: &str) -> Self {
        Self { population, name: name.to_owned(), failing: 0 }
    }

    /// Takes in the next second; whether the guard has failed, again and again while it does.
    pub fn push(&mut self, second: &CompletedSecond) -> Option<Trip> {
        let counts = &second.populations[self.population];
        if counts.completed > 0 {
            self.failing = 0;
        } else if counts.failed > 0 && second.paused == Nanos::ZERO {
            self.failing += 1;
        }
        (self.failing >= Self::FAILING_SECONDS).then(|| {
            let at_s = second.index + 1;
            let text = format!(
                "{} failed: none of its attempts completed in {} seconds in a row, up to {at_s} s",
                self.name, self.failing
            );
            Trip { condition: self.name.clone(), at_s, text }
        })
    }
}

impl WatchedCondition {
    fn push(&mut self, second: &CompletedSecond) -> Option<Trip> {
        let value = self.value(second)?;
        if !self.condition.condition.holds(value) {
            self.held = 0;
            return None;
        }
        self.held += 1;
        (self.held >= self.condition.seconds).then(|| {
            let (at_s, value) = (second.index + 1, self.condition.condition.quantity.unit().text(value));
            let row = if self.held == 1 { "a second".to_owned() } else { format!("{} seconds in a row", self.held) };
            let text = format!("{} held in {row} up to {at_s} s, in the last one with {value}", self.condition.text);
            Trip { condition: self.condition.text.clone(), at_s, text }
        })
    }

    /// What the condition compares in this second, if that can tell anything.
    fn value(&mut self, second: &CompletedSecond) -> Option<f64> {
        let counts = self.counts.of(second);
        let quantity = self.condition.condition.quantity;
        if quantity == Quantity::Outage {
            self.outage.push(second, self.counts);
            let lasts_s = self.outage.since.map_or(0, |since| second.index + 1 - since);
            return (lasts_s > 0 || counts.due > 0).then_some(f64::from(lasts_s) * 1e9);
        }
        let before = self.held_before;
        self.held_before = counts.held_after(before);
        // Connections are lost when nothing is due any more, too.
        let tells = counts.due > 0 || quantity == Quantity::Lost || counts.taken_back > 0;
        let value = tells.then(|| quantity.over(1, counts, before, &second.response)).flatten()?;
        let best = quantity.at_best(value, 1.0, second.paused, &second.lateness);
        // What the generator may have done itself tells nothing of the target.
        let condition = self.condition.condition;
        (condition.holds(best) || !condition.holds(value)).then_some(value)
    }
}

fn error(text: &str, what: &str) -> ThresholdError {
    ThresholdError(format!("the condition '{text}' to end the run {what}"))
}
