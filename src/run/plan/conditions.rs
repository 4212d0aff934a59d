//! Whether a plan has what its conditions are about, and what recorders count for them.

use std::time::Duration;

use super::{Population, RunPlan};
use crate::base::{DurationText, Nanos};
use crate::measure::WatchedRow;
use crate::run::condition::{AbortCondition, ConditionError, Subject, Threshold};

impl Threshold {
    /// `plan` has what it is about.
    ///
    /// # Errors
    /// Says what it lacks.
    pub fn check(&self, plan: &RunPlan) -> Result<(), ConditionError> {
        let quantity = self.condition().quantity;
        self.subject().check(quantity, plan).map_err(|what| self.error(what))?;
        if self.is_watched() {
            self.subject().check_by_second(quantity, plan).map_err(|what| self.error(what))?;
        }
        Ok(())
    }

    /// A run of `plan` can hold one of its windows, if it has windows.
    ///
    /// # Errors
    /// If what it is about is measured for less than that.
    pub fn check_window(&self, plan: &RunPlan) -> Result<(), ConditionError> {
        let Some(window) = self.window_s().map(|seconds| Nanos::from_secs(seconds.into())) else { return Ok(()) };
        let measured =
            |population: &Population| population.length().as_u64().saturating_sub(population.warmup().as_u64());
        let population = match self.subject() {
            Subject::Population(name) => plan.populations.iter().find(|population| population.name == *name),
            _ => None,
        };
        let measured = population.map_or_else(|| plan.asked().map(measured).max().unwrap_or(0), measured);
        if window.as_u64() <= measured {
            return Ok(());
        }
        let text = |nanos: u64| DurationText(Duration::from_nanos(nanos));
        Err(self.error(format_args!(
            "has windows of {} and the load is measured for {}: shorten the window, or lengthen the load",
            text(window.as_u64()),
            text(measured)
        )))
    }

    /// A run of `plan` can decide it.
    ///
    /// # Errors
    /// If it needs more attempts than are planned: the verdict could only be that it cannot be told.
    pub fn check_prospect(&self, plan: &RunPlan) -> Result<(), ConditionError> {
        let checked = match self.window_s() {
            Some(seconds) => self.condition().check_window(self.subject(), seconds, plan),
            None => self.condition().check_total(self.subject(), plan),
        };
        checked.map_err(|what| self.error(what))
    }
}

impl AbortCondition {
    /// `plan` has what it is about.
    ///
    /// # Errors
    /// Says what it lacks.
    pub fn check(&self, plan: &RunPlan) -> Result<(), ConditionError> {
        let quantity = self.condition().quantity;
        let checked =
            self.subject().check(quantity, plan).and_then(|()| self.subject().check_by_second(quantity, plan));
        checked.map_err(|what| self.error(what))
    }

    /// A run of `plan` can meet it.
    ///
    /// # Errors
    /// Says why it would never end the run.
    pub fn check_prospect(&self, plan: &RunPlan) -> Result<(), ConditionError> {
        let checked = self.condition().check_seconds(self.subject(), self.seconds(), plan);
        checked.map_err(|what| self.error(what))
    }
}

/// What recorders count each second because a condition of `plan` asks about it.
pub(super) fn watched_rows(plan: &RunPlan) -> Vec<WatchedRow> {
    let thresholds = plan.thresholds.iter().filter(|threshold| threshold.is_watched()).map(Threshold::subject);
    let subjects = thresholds.chain(plan.abort_if.iter().map(AbortCondition::subject));
    let mut rows = Vec::new();
    for row in subjects.filter_map(|subject| subject.watched_row(plan)) {
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}
