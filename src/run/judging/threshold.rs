//! What a condition met in a result.

use super::scope::Scope;
use super::watch::WatchOutcome;
use crate::run::condition::{Quantity, Threshold};
use crate::run::result::{RunResult, ThresholdResult};

impl Threshold {
    /// What the condition met in `result`; `watched` is what was seen while the run went on.
    pub fn evaluate(&self, result: &RunResult, watched: &WatchOutcome) -> ThresholdResult {
        let (actual, at_s, reason) = if self.is_watched() {
            match watched.of(self.text()) {
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
            let measured = Scope::of_subject(result, self.subject())
                .and_then(|scope| Ok((self.condition().quantity.measured(&scope)?, scope)));
            match measured {
                Ok((actual, _)) if self.condition().holds(actual) => (Some(actual), None, None),
                Ok((actual, scope)) => (Some(actual), None, self.condition().excuse(actual, &scope, result)),
                Err(reason) => (None, None, Some(reason)),
            }
        };
        ThresholdResult {
            expression: self.text().to_owned(),
            actual,
            unit: self.condition().quantity.unit(),
            at_s,
            pass: actual.filter(|_| reason.is_none()).map(|actual| self.condition().holds(actual)),
            reason,
        }
    }
}

impl Quantity {
    /// The value over a whole run, or why there is none.
    pub(super) fn measured(self, scope: &Scope) -> Result<f64, String> {
        let part = |count: u64, of: u64, without: &str| match of {
            0 => Err(without.to_owned()),
            of => Ok(count as f64 / of as f64),
        };
        let share = |count: u64| part(count, scope.attempts.due, "no attempt was due");
        match self {
            Self::Latency(metric, statistic) => {
                let summary = scope.latency.get(metric).ok_or_else(|| format!("{metric} was not measured"))?;
                statistic.of(summary).map(|value| value as f64)
            }
            Self::Failed => share(scope.attempts.failed + scope.attempts.taken_back),
            Self::Lost => part(scope.attempts.lost_while_held, scope.attempts.held, "no connection was held"),
            Self::Stalled => part(scope.media.stalled, scope.media.publishers, "no publisher was held"),
            Self::Unsent => part(scope.media.unsent_bytes, scope.media.due_bytes, "no publisher was held"),
            Self::Dropped => share(scope.attempts.dropped),
            Self::Downgraded => share(scope.modes.downgraded),
            Self::Rate => Ok(scope.rate.completed_per_s),
            Self::Outage => Err("it was not watched while the run went on".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
