//! What of a missed condition may be the generator's own doing.

use super::scope::Scope;
use crate::base::Nanos;
use crate::measure::{FailureKind, HistogramError, LatencyHistogram, Metric, SparseCounts, Step};
use crate::run::condition::{Condition, Quantity, Statistic};
use crate::run::result::RunResult;

impl Condition {
    /// Why a miss with `actual` says nothing of the target: without what was the generator's own, it may hold. `None` if it is
    /// a miss all the same.
    pub(super) fn excuse(&self, actual: f64, scope: &Scope, result: &RunResult) -> Option<String> {
        // Each machine has its part of the load.
        let paused = Nanos::new(result.generator.paused().as_u64() / result.machines.len().max(1) as u64);
        let within = |seconds: f64| self.quantity.at_best(actual, seconds, paused, &SparseCounts::default());
        let (best, why) = match self.quantity {
            Quantity::Latency(metric, statistic) => {
                let own = own_part(metric, statistic, scope, result).ok()??;
                let statistic =
                    if statistic == Statistic::Mean { "on average".to_owned() } else { format!("at {statistic}") };
                (actual - own.as_u64() as f64, format!("up to {own} of it {statistic} is the generator's own delay"))
            }
            Quantity::Failed => {
                let slept = slept(result, |step| step != Step::Hold);
                let share = slept as f64 / scope.attempts.due.max(1) as f64;
                (actual - share, format!("the generator slept through the deadlines of {slept} attempts"))
            }
            Quantity::Lost => {
                let (slept, lost) = (slept(result, |step| step == Step::Hold), result.connections.lost_while_held);
                let share = slept as f64 / lost.max(1) as f64;
                (
                    actual * (1.0 - share),
                    format!("the generator stood still when {slept} of them had something to send"),
                )
            }
            Quantity::Dropped | Quantity::Rate => {
                (within(result.window.duration_s), format!("the generator stood still for {paused}"))
            }
            Quantity::Stalled | Quantity::Unsent | Quantity::Downgraded | Quantity::Outage => return None,
        };
        self.holds(best).then(|| format!("{why}; without that it may hold"))
    }
}

/// What failed, or was lost, because the generator stood still.
fn slept(result: &RunResult, in_step: impl Fn(Step) -> bool) -> u64 {
    let own = result.failures.iter().filter(|failure| failure.kind == FailureKind::GeneratorPaused);
    own.filter(|failure| in_step(failure.step)).map(|failure| failure.count).sum()
}

/// How much of the value of `metric` was the generator's own at most: attempts started late, and it paused while they were in
/// flight.
fn own_part(
    metric: Metric,
    statistic: Statistic,
    scope: &Scope,
    result: &RunResult,
) -> Result<Option<Nanos>, HistogramError> {
    if matches!(metric, Metric::SlotWait | Metric::Lateness) {
        return Ok(None);
    }
    // Rows by target, client and backend have no distributions of these; the whole run's say as much as there is to know.
    let read = |part: Metric| {
        let summary = scope.latency.get(part).or(result.latency.get(part));
        summary.map_or(Ok(LatencyHistogram::new()), |summary| summary.histogram())
    };
    let (late, paused) = (read(Metric::Lateness)?, read(Metric::Paused)?);
    let late = if metric == Metric::Response { late } else { LatencyHistogram::new() };
    let count = late.count().max(scope.latency.get(metric).map_or(0, |summary| summary.count));
    let sum = |histogram: &LatencyHistogram| {
        histogram.summary().mean_ns.map_or(0.0, |mean| mean as f64 * histogram.count() as f64)
    };
    let of_mean = || Nanos::new(((sum(&late) + sum(&paused)) / count.max(1) as f64) as u64);
    let mut all = late.clone();
    all.merge(&paused);
    // Those that are in neither had no delay: they come first.
    let nth = |rank: u64| match (rank + all.count()).saturating_sub(count) {
        0 => Nanos::ZERO,
        rank => all.nth(rank).unwrap_or(Nanos::ZERO),
    };
    Ok(match statistic {
        Statistic::Min => Some(nth(1)),
        Statistic::Mean => Some(of_mean()),
        Statistic::Quantile(quantile) => quantile.rank(count).map(nth),
        Statistic::Max => Some(all.max().unwrap_or(Nanos::ZERO)),
    })
}
