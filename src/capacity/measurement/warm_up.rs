//! Load until the target is steady: just-in-time compilers and caches are not what is measured.

use crate::base::Nanos;
use crate::measure::{LatencySummary, Metric};

use crate::capacity::audience::Audience;
use crate::capacity::error::CapacityError;
use crate::capacity::result::{TrialPurpose, WarmUp};
use crate::capacity::trial::runner::Runner;
use crate::capacity::trial::shape::{Load, Shape, rate};
use crate::capacity::trial::{Trial, run_trial};

/// Length of a part, whose median is compared with those before it.
const PART: Nanos = Nanos::from_secs(1);
/// As many parts in a row have the same median.
const PARTS: usize = 3;
/// Medians that differ by less are the same.
const SAME_RATIO: f64 = 0.05;
/// Likewise: below this they are the scheduler's.
const SAME: Nanos = Nanos::from_micros(20);

/// Loads the target at a low rate until it is steady, at most for so long (all the time if that is `fixed`). The last part comes along: it stands for all.
///
/// # Errors
/// If it cannot be run at all.
pub fn warm_up(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    (rate_per_s, longest): (f64, Nanos),
    fixed: bool,
) -> Result<(WarmUp, Trial), CapacityError> {
    let began = runner.elapsed();
    let mut medians: Vec<Option<u64>> = Vec::new();
    loop {
        let left = longest.saturating_sub(runner.elapsed().saturating_sub(began));
        let part = PART.min(left.max(Nanos::from_millis(100)));
        let plan = shape.plan(Load::Rate(rate(rate_per_s), part))?;
        let trial = run_trial(runner, audience, plan, TrialPurpose::WarmUp, shape.deadline())?;
        medians.push(trial.result.latency.get(Metric::Service).and_then(median));
        let spent = runner.elapsed().saturating_sub(began);
        let steady = is_steady(&medians);
        if trial.cut_short || steady && !fixed || spent + PART > longest {
            let warm_up = WarmUp { rate_per_s, duration_s: spent.as_secs_f64(), steady, service_p50_ns: medians };
            return Ok((warm_up, trial));
        }
    }
}

/// The median, or with few samples what comes nearest to it.
fn median(summary: &LatencySummary) -> Option<u64> {
    summary.p50_ns.or(summary.mean_ns)
}

/// The last medians are the same.
fn is_steady(medians: &[Option<u64>]) -> bool {
    let Some(last) = medians.last_chunk::<PARTS>() else { return false };
    let Some(last) = last.iter().copied().collect::<Option<Vec<u64>>>() else { return false };
    let (least, most) = last.iter().fold((u64::MAX, 0), |(least, most), ns| (least.min(*ns), most.max(*ns)));
    let difference = most - least;
    difference as f64 <= SAME_RATIO * least as f64 || difference <= SAME.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_is_three_times_the_same() {
        let steady = |micros: &[u64]| {
            is_steady(&micros.iter().map(|us| Some(Nanos::from_micros(*us).as_u64())).collect::<Vec<_>>())
        };
        assert!(!steady(&[1_000, 1_000]));
        assert!(steady(&[5_000, 1_000, 1_030, 1_050]));
        assert!(!steady(&[1_000, 1_030, 1_060]), "it still changes");
        assert!(steady(&[10, 25, 30]), "all of them are short");
        assert!(!is_steady(&[Some(1), None, Some(1)]));
    }
}
