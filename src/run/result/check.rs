//! Whether what was read from a file can be a result: files are edited, cut and put together by other programs.

use serde_json::Value;

use super::{Attempts, RunPlan, RunResult};
use crate::base::Nanos;
use crate::measure::{ModeCounts, TimelineRow};
use crate::run::condition::ConditionError;

/// No count and no span in nanoseconds comes near this; sums over the machines of a merge stay below 2^64.
const LARGEST: f64 = (1_u64 << 56) as f64;

/// Keys whose content is the user's or the machine's own, and the plan, which has checks of its own.
const NOT_MEASURED: [&str; 3] = ["plan", "labels", "environment"];

/// Differences, which may be below zero.
const SIGNED: [&str; 2] = ["backlog_growth", "resolution"];

/// Says which number in the JSON of a result nothing measured can have: the first one.
pub fn numbers(result: &Value) -> Result<(), String> {
    numbers_of("", "", result)
}

/// The shortest span that a clock in nanoseconds tells from none: what is divided by a shorter one has no measure.
const SHORTEST_S: f64 = 1e-9;

/// Says what in `result` contradicts itself.
pub(super) fn equations(result: &RunResult) -> Result<(), String> {
    counts("attempts", &result.attempts, &result.modes)?;
    let rows = [
        ("by_population", &result.by_population),
        ("by_target", &result.by_target),
        ("by_client", &result.by_client),
        ("by_backend", &result.by_backend),
        ("by_stage", &result.by_stage),
    ];
    for (part, rows) in rows {
        for (index, row) in rows.iter().enumerate() {
            counts(&format!("{part}[{index}].attempts"), &row.attempts, &row.modes)?;
        }
    }
    Ok(())
}

/// Says which of the equations of [`Attempts`] does not hold. No sum overflows: [`numbers`] has been asked before.
fn counts(place: &str, attempts: &Attempts, modes: &ModeCounts) -> Result<(), String> {
    let Attempts {
        due,
        started,
        dropped,
        completed,
        failed,
        observed,
        in_flight,
        held,
        lost_while_held: lost,
        taken_back,
    } = *attempts;
    let ended = completed + failed + observed + in_flight;
    if due != started + dropped {
        return Err(format!("{place} has {due} due, which are not {started} started and {dropped} dropped"));
    }
    if started != ended {
        return Err(format!("{place} has {started} started, of which {ended} ended or are in flight"));
    }
    // Files of earlier versions tell of none that was held.
    if held > completed || lost > held || taken_back > lost {
        return Err(format!(
            "{place} has {completed} completed, {held} of them held, {lost} of those lost and {taken_back} taken back"
        ));
    }
    if completed != modes.total() {
        return Err(format!("{place} has {completed} completed, and modes are of {}", modes.total()));
    }
    Ok(())
}

/// Says what in `result` refers to nothing, or cannot be put together.
pub(super) fn references(result: &RunResult) -> Result<(), String> {
    let plan = &result.plan;
    references_of_plan(plan)?;
    for (part, rows, of) in [
        ("by_population", result.by_population.len(), plan.populations.len()),
        ("by_target", result.by_target.len(), plan.targets.len()),
        ("by_client", result.by_client.len(), plan.clients().len()),
    ] {
        if rows > 0 && rows != of {
            return Err(format!("{part} has {rows} rows for {of} in the plan"));
        }
    }
    order(&result.timeline)
}

/// Says where the rows of a timeline do not follow each other.
pub fn order(timeline: &[TimelineRow]) -> Result<(), String> {
    match timeline.windows(2).find(|pair| pair[0].t_s >= pair[1].t_s) {
        Some(pair) => Err(format!("timeline goes from {} s to {} s", pair[0].t_s, pair[1].t_s)),
        None => Ok(()),
    }
}

/// Says what in a plan refers to nothing, or cannot be put together.
pub fn references_of_plan(plan: &RunPlan) -> Result<(), String> {
    for (index, population) in plan.populations.iter().enumerate() {
        let here = format!("plan.populations[{index}]");
        let exists = |part: &str, index: u16, of: usize| match usize::from(index) < of {
            true => Ok(()),
            false => Err(format!("{here}.{part} has number {index}, and there are {of}")),
        };
        for share in &population.targets {
            exists("targets", share.target, plan.targets.len())?;
        }
        for source in &population.sources {
            exists("sources", *source, plan.sources.len())?;
        }
        for (part, length) in [
            ("targets", population.targets.len()),
            ("clients", population.clients.len()),
            ("lanes", population.lanes.len()),
        ] {
            if length == 0 {
                return Err(format!("{here}.{part} is empty"));
            }
        }
    }
    let lanes = plan.populations.iter().flat_map(|population| &population.lanes);
    for lane in lanes.clone() {
        let lengths = lane.load.stages().map(|stage| stage.length.map_or(0, Nanos::as_u64));
        if lengths.map(u128::from).sum::<u128>() > u128::from(u64::MAX) {
            return Err("a lane of plan.populations lasts longer than 584 years".to_owned());
        }
    }
    if lanes.map(|lane| u64::from(lane.concurrency)).sum::<u64>() > u64::from(u32::MAX) {
        return Err("plan.populations have more slots than can be numbered".to_owned());
    }
    if plan.asked().next().is_none() {
        return Err("plan.populations asks for nothing".to_owned());
    }
    let of_the_plan = |checked: Result<(), ConditionError>| checked.map_err(|error| error.to_string());
    plan.thresholds.iter().try_for_each(|threshold| of_the_plan(threshold.check(plan)))?;
    plan.abort_if.iter().try_for_each(|condition| of_the_plan(condition.check(plan)))
}

fn numbers_of(path: &str, key: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) => {
            let seconds = key.ends_with("_s") && !key.ends_with("_per_s");
            let largest = if seconds { Nanos::MAX.as_secs_f64() } else { LARGEST };
            match number.as_f64() {
                Some(value) if key == "duration_s" && value > 0.0 && value < SHORTEST_S => {
                    Err(format!("{path} is {number}, shorter than any clock can tell"))
                }
                Some(value) if (0.0..=largest).contains(&value.abs()) && (value >= 0.0 || SIGNED.contains(&key)) => {
                    Ok(())
                }
                _ => Err(format!("{path} is {number}")),
            }
        }
        Value::Array(list) => {
            let mut entries = (0_usize..).zip(list);
            entries.try_for_each(|(index, value)| numbers_of(&format!("{path}[{index}]"), key, value))
        }
        Value::Object(parts) => {
            let dot = if path.is_empty() { "" } else { "." };
            let mut measured = parts.iter().filter(|(key, _)| !NOT_MEASURED.contains(&key.as_str()));
            measured.try_for_each(|(key, part)| numbers_of(&format!("{path}{dot}{key}"), key, part))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}
