//! What is measured at the found rate: latency at parts of it, and half of the sources.

use crate::base::Nanos;

use crate::capacity::audience::Audience;
use crate::capacity::error::CapacityError;
use crate::capacity::result::{HalfSources, LoadRow, TrialPurpose, TrialRow};
use crate::capacity::trial::run_trial;
use crate::capacity::trial::runner::Runner;
use crate::capacity::trial::shape::{Load, Shape, rate};

/// Parts of the capacity whose latency is shown.
pub const SHARES: [f64; 3] = [0.5, 0.9, 1.0];
/// With half of the sources less than this part of what the others did is a limit per source.
const LIMITED_BELOW: f64 = 0.75;

/// Latency at a part of the capacity; none if a signal ended it.
///
/// # Errors
/// If it cannot be run at all.
pub fn load_at(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    (share, capacity_per_s): (f64, f64),
    length: Nanos,
) -> Result<Option<(LoadRow, TrialRow)>, CapacityError> {
    let plan = shape.plan(Load::Rate(rate(capacity_per_s * share), length))?;
    let trial = run_trial(runner, audience, plan, TrialPurpose::Load, shape.deadline())?;
    let row = LoadRow {
        share,
        rate_per_s: trial.row.rate_per_s,
        duration_s: trial.row.duration_s,
        attempts: trial.row.attempts,
        lost: trial.row.lost,
        valid: trial.row.valid,
        latency: trial.result.latency,
    };
    Ok((!trial.cut_short).then_some((row, trial.row)))
}

/// The capacity from half of the sources; none with one source only, or if a signal ended it.
///
/// # Errors
/// If it cannot be run at all.
pub fn half_of_the_sources(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    capacity_per_s: f64,
    length: Nanos,
) -> Result<Option<(HalfSources, TrialRow)>, CapacityError> {
    let load = Load::Rate(rate(capacity_per_s), length);
    let sources = shape.plan(load)?.sources.len() as u32;
    if sources < 2 {
        return Ok(None);
    }
    let half = sources / 2;
    let plan = shape.plan_from(load, Some(half))?;
    let trial = run_trial(runner, audience, plan, TrialPurpose::HalfSources, shape.deadline())?;
    let row = trial.row;
    let in_time = 1.0 - row.lost as f64 / row.attempts.max(1) as f64;
    let halved = HalfSources {
        sources,
        half,
        rate_per_s: row.rate_per_s,
        attempts: row.attempts,
        lost: row.lost,
        goodput_per_s: row.rate_per_s * in_time,
        limited_per_source: row.valid.then_some(in_time < LIMITED_BELOW),
    };
    Ok((!trial.cut_short).then_some((halved, row)))
}
