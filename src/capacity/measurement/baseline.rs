//! The unloaded target: what is measured against, and whether there is anything to measure.

use crate::base::{DurationText, Nanos, Rate};
use crate::finding::{Finding, FindingCode};
use crate::measure::{FailureKind, Metric};
use crate::run::RunResult;

use crate::capacity::audience::Audience;
use crate::capacity::audience::Silent;
use crate::capacity::error::CapacityError;
use crate::capacity::request::Deadline;
use crate::capacity::result::{Baseline, TrialPurpose};
use crate::capacity::trial::run_trial;
use crate::capacity::trial::runner::Runner;
use crate::capacity::trial::shape::{Load, Shape, rate};

/// Attempts of the first look, all at once.
const FIRST: u32 = 5;
/// Attempts of the baseline: the 95th percentile has ten samples above it.
const ATTEMPTS: f64 = 200.0;
/// Attempts that are enough for a median.
const ATTEMPTS_OF_A_MEDIAN: f64 = 24.0;
/// A low rate makes the baseline no longer than this, as far as that is enough for a median.
const LONGEST: Nanos = Nanos::from_secs(10);
/// What is low for a target that takes five attempts at once and answers them together.
const LOWEST_PER_S: f64 = 20.0;
/// What is low for a target that answers at once.
const HIGHEST_PER_S: f64 = 100.0;
/// A target that answers one attempt after the other gets this share of what it answers a second.
const SHARE_OF_A_QUEUE: f64 = 0.5;
/// A loss of this share may be that of a load: a target with a low limit is looked at again at a lower rate.
const OVERLOADED: f64 = 0.05;
/// No look is at a lower rate for a loss.
const LEAST_PER_S: f64 = 1.0;
/// The share of a single server's time that the baseline takes.
const SHARE: f64 = 0.25;
/// Round trips of an attempt: connect, C0C1, C2 with a command.
const ROUND_TRIPS: f64 = 3.0;
/// So many looks at a target whose median is fast enough: a stall that comes now and then is for the trials to tell, and
/// three looks of 2 s one after another are not all hit by one that comes every 5 s.
const LOOKS: u32 = 3;
/// The deadline is to be so many times what an unloaded attempt takes.
const LEAST_DEADLINE: u64 = 2;

/// The baseline, and the result of the attempts behind it.
pub struct Unloaded {
    /// As it is saved.
    pub baseline: Baseline,
    /// Nothing completed.
    pub dead: bool,
    /// The run of it.
    pub result: RunResult,
    /// Looks before it were slower now and then than the deadline allows.
    pub stalled: Option<Finding>,
}

/// What the baseline takes against a target that answers at once, if no more than `highest` may be offered.
pub fn planned(highest: Option<Rate>) -> Nanos {
    const FIRST_LOOKS: Nanos = Nanos::from_secs(2);
    length(highest.map_or(HIGHEST_PER_S, |highest| highest.as_per_second().min(HIGHEST_PER_S))) + FIRST_LOOKS
}

/// How the unloaded target is measured.
pub struct BaselineOrder {
    /// The deadline that was asked for.
    pub asked: Deadline,
    /// The highest rate that may be offered.
    pub highest: Option<Rate>,
    /// No look begins later, but for the first.
    pub latest: Nanos,
}

/// Measures the unloaded target.
///
/// # Errors
/// If it cannot be run at all.
pub fn measure_baseline(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    order: BaselineOrder,
) -> Result<Unloaded, CapacityError> {
    let BaselineOrder { asked, highest, latest } = order;
    let mut first = first_look(runner, audience, shape)?;
    // Slow, or met by a stall.
    if first.attempts.completed > 0 && first.interrupted.is_none() && low_rate(&first) < HIGHEST_PER_S {
        let again = first_look(runner, audience, shape)?;
        if again.attempts.completed > 0 && low_rate(&again) > low_rate(&first) {
            first = again;
        }
    }
    if first.attempts.completed == 0 {
        let (attempts, lost) = (first.attempts.due, first.attempts.failed);
        let baseline = baseline_of(&first, attempts, lost, 0.0);
        return Ok(Unloaded { baseline, dead: true, result: first, stalled: None });
    }
    let mut look = |per_s: f64, latest: Nanos| -> Result<Option<Unloaded>, CapacityError> {
        if runner.elapsed() > latest {
            return Ok(None);
        }
        let plan = shape.plan(Load::Rate(rate(per_s), length(per_s)))?;
        let trial = run_trial(runner, audience, plan, TrialPurpose::Probe, shape.deadline())?;
        let baseline = baseline_of(&trial.result, trial.row.attempts, trial.row.lost, per_s);
        let dead = trial.result.attempts.completed == 0 && !trial.cut_short;
        Ok(Some(Unloaded { baseline, dead, result: trial.result, stalled: None }))
    };
    let low = highest.map_or(f64::INFINITY, Rate::as_per_second).min(low_rate(&first));
    let mut unloaded = look(low, Nanos::MAX)?.expect("nothing is later than the latest");
    for looks in 1..LOOKS {
        let is_interrupted = unloaded.result.interrupted.is_some();
        if unloaded.dead || is_interrupted {
            break;
        }
        let per_s = unloaded.baseline.rate_per_s;
        if let Some(lower) = lower_rate(&unloaded.baseline) {
            let Some(again) = look(lower, latest)? else { break };
            if again.dead || again.baseline.loss_ratio >= unloaded.baseline.loss_ratio {
                // Not the load's doing.
                break;
            }
            unloaded = again;
            continue;
        }
        if !stalls_now_and_then(asked, &unloaded.baseline) {
            break;
        }
        let stalled = stalled(asked, &unloaded.baseline, looks);
        let Some(again) = look(per_s, latest)? else { break };
        let quality = |baseline: &Baseline| Some((baseline.lost, baseline.highest_percentile()?.1));
        // A look that a signal cut short may have no percentile to compare.
        if quality(&again.baseline).is_some_and(|quality_again| Some(quality_again) < quality(&unloaded.baseline)) {
            unloaded = again;
        }
        unloaded.stalled = Some(stalled);
    }
    Ok(unloaded)
}

/// How long attempts arrive at so many a second.
fn length(per_s: f64) -> Nanos {
    let whole = Nanos::from_secs_f64(ATTEMPTS / per_s);
    whole.min(LONGEST.max(Nanos::from_secs_f64(ATTEMPTS_OF_A_MEDIAN / per_s)))
}

/// The rate for another look where so much was lost that the rate itself may have been too much.
fn lower_rate(baseline: &Baseline) -> Option<f64> {
    let served_per_s = baseline.rate_per_s * (1.0 - baseline.loss_ratio);
    let lower = (SHARE_OF_A_QUEUE * served_per_s).max(LEAST_PER_S);
    (baseline.loss_ratio >= OVERLOADED && lower < baseline.rate_per_s).then_some(lower)
}

/// A few attempts at once.
fn first_look(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
) -> Result<RunResult, CapacityError> {
    let length = Nanos::from_secs(10);
    let plan = shape.plan(Load::Closed { slots: FIRST, attempts: Some(FIRST.into()), length: Some(length) })?;
    let loaded = runner.run(plan, &mut Silent(audience))?;
    Ok(RunResult::assemble(loaded.ran.parts))
}

/// Whether the deadline is below what some attempts take, or some are lost, but most of them do not take so long.
fn stalls_now_and_then(asked: Deadline, baseline: &Baseline) -> bool {
    let most = Baseline { p95_ns: None, p99_ns: None, ..baseline.clone() };
    let some = deadline_over(asked, baseline).is_err() || baseline.loss_floor() > 0.0;
    some && baseline.loss_ratio < 0.5 && deadline_over(asked, &most).is_ok()
}

fn stalled(asked: Deadline, baseline: &Baseline, looks: u32) -> Finding {
    let slow = match deadline_over(asked, baseline) {
        Ok(_) => format!("{} of {} attempts were lost", baseline.lost, baseline.attempts),
        Err(_) => baseline.highest_percentile().map_or_else(String::new, |(name, value)| format!("{name} {value}")),
    };
    let times = if looks == 1 { "one look" } else { "two looks" };
    Finding::warning(
        FindingCode::BaselineStalled,
        format!("without load, {times} found the target slow for moments: {slow}"),
        "look for what stops the target now and then: pauses for memory, disks, backups, other programs",
    )
}

/// The deadline that follows from the baseline.
///
/// # Errors
/// If an unloaded attempt takes about as long.
pub fn deadline_over(asked: Deadline, baseline: &Baseline) -> Result<Nanos, CapacityError> {
    let deadline = match asked {
        Deadline::After(deadline) => deadline,
        Deadline::OverBaseline(over) => Nanos::new(baseline.p50_ns.unwrap_or(0)) + over,
    };
    let Some((name, unloaded)) = baseline.highest_percentile() else { return Ok(deadline) };
    if deadline.as_u64() >= LEAST_DEADLINE * unloaded.as_u64() {
        return Ok(deadline);
    }
    let enough = Nanos::from_millis((LEAST_DEADLINE * unloaded.as_u64()).div_ceil(1_000_000));
    let enough = DurationText(enough.into());
    Err(CapacityError::Usage(format!(
        "a deadline of {deadline} is below twice what the unloaded target takes ({name} {unloaded}), so it would measure \
         the way and not the load; give --deadline {enough} or more, or --deadline +100ms for 100 ms over the unloaded median"
    )))
}

impl Baseline {
    /// The highest percentile that its attempts support.
    pub fn highest_percentile(&self) -> Option<(&'static str, Nanos)> {
        [("p99", self.p99_ns), ("p95", self.p95_ns), ("p50", self.p50_ns)]
            .into_iter()
            .find_map(|(name, value)| Some((name, Nanos::new(value?))))
    }

    /// The loss of more than one attempt that nobody caused by load.
    pub const fn loss_floor(&self) -> f64 {
        if self.lost > 1 { self.loss_ratio } else { 0.0 }
    }
}

/// A rate at which a target of one thread is idle most of the time, as far as its first answers tell.
fn low_rate(first: &RunResult) -> f64 {
    let least =
        |metric| first.latency.get(metric).and_then(|summary| summary.min_ns).map(|ns| Nanos::new(ns).as_secs_f64());
    let service = least(Metric::Service).unwrap_or(0.0);
    let round_trip = least(Metric::Connect).unwrap_or(0.0);
    // What is left of an answer without the way: at least a part of it, for round trips vary.
    let serving = (service - ROUND_TRIPS * round_trip).max(service / 10.0);
    let lowest = LOWEST_PER_S.min(SHARE_OF_A_QUEUE / apart_s(first).max(1e-9));
    (SHARE / serving.max(1e-9)).clamp(lowest, HIGHEST_PER_S)
}

/// How far apart the answers to attempts that were made at once came, on average: far where one waits for the other.
fn apart_s(first: &RunResult) -> f64 {
    let Some(service) = first.latency.get(Metric::Service) else { return 0.0 };
    let span = service.max_ns.unwrap_or(0).saturating_sub(service.min_ns.unwrap_or(0));
    Nanos::new(span).as_secs_f64() / (service.count.max(2) - 1) as f64
}

fn baseline_of(result: &RunResult, attempts: u64, lost: u64, rate_per_s: f64) -> Baseline {
    let response = result.latency.get(Metric::Response).or(result.latency.get(Metric::Service));
    Baseline {
        attempts,
        rate_per_s,
        lost,
        loss_ratio: if attempts == 0 { 0.0 } else { lost as f64 / attempts as f64 },
        rtt_ns: result.latency.get(Metric::Connect).and_then(|summary| summary.p50_ns.or(summary.min_ns)),
        p50_ns: response.and_then(|summary| summary.p50_ns),
        p95_ns: response.and_then(|summary| summary.p95_ns),
        p99_ns: response.and_then(|summary| summary.p99_ns),
        max_ns: response.and_then(|summary| summary.max_ns),
        failures: result.failures.iter().filter(|failure| failure.kind != FailureKind::Cancelled).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(p95_ms: u64) -> Baseline {
        let ns = |ms: u64| Some(Nanos::from_millis(ms).as_u64());
        Baseline {
            attempts: 200,
            rate_per_s: 100.0,
            lost: 0,
            loss_ratio: 0.0,
            rtt_ns: ns(1),
            p50_ns: ns(20),
            p95_ns: ns(p95_ms),
            p99_ns: None,
            max_ns: ns(p95_ms),
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_deadline_that_an_unloaded_attempt_takes_is_refused_with_the_remedy() {
        let absolute = |ms| Deadline::After(Nanos::from_millis(ms));
        assert_eq!(deadline_over(absolute(60), &baseline(30)), Ok(Nanos::from_millis(60)));
        let Err(CapacityError::Usage(told)) = deadline_over(absolute(59), &baseline(30)) else { panic!("refused") };
        insta::assert_snapshot!(told, @"a deadline of 59.0 ms is below twice what the unloaded target takes (p95 30.0 ms), so it would measure the way and not the load; give --deadline 60ms or more, or --deadline +100ms for 100 ms over the unloaded median");
    }

    #[test]
    fn a_relative_deadline_is_over_the_median() {
        let over = Deadline::OverBaseline(Nanos::from_millis(100));
        assert_eq!(deadline_over(over, &baseline(30)), Ok(Nanos::from_millis(120)));
    }

    #[test]
    fn stalls_of_an_unloaded_target_are_told_from_a_deadline_that_is_too_short() {
        let deadline = Deadline::After(Nanos::from_millis(50));
        assert!(stalls_now_and_then(deadline, &baseline(30)));
        assert!(!stalls_now_and_then(deadline, &baseline(25)), "the deadline is long enough");
        let slow = Baseline { p50_ns: Some(Nanos::from_millis(26).as_u64()), ..baseline(30) };
        assert!(!stalls_now_and_then(deadline, &slow), "the median is too slow as well");
        let lossy = |lost| Baseline { lost, loss_ratio: lost as f64 / 200.0, ..baseline(25) };
        assert!(stalls_now_and_then(deadline, &lossy(8)));
        assert!(!stalls_now_and_then(deadline, &lossy(1)), "one may be anything");
        assert!(!stalls_now_and_then(deadline, &lossy(120)), "more than now and then");
        insta::assert_snapshot!(stalled(deadline, &lossy(8), 1).message, @"without load, one look found the target slow for moments: 8 of 200 attempts were lost");
    }
}
