//! From the stages of a population to its lanes.

use std::time::Duration;

use crate::base::Nanos;
use crate::load::ArrivalPattern;
use crate::run::{Lane, LoadPlan, Pace, Repeat, StagePlan, StepPlan};

use super::PlanError;
use super::origins::Setting;
use super::request::{PopulationRequest, StageLoad, StageRequest};

/// Most repetitions of an event: more would be a typing error.
const MOST_REPEATS: u64 = 10_000;

/// The lanes of a population. Stages follow each other; planned rates and bursts in a row are one lane, concurrency in a
/// row is one, each storm and each probe has one of its own. Events (`every`) stand beside them.
pub(super) fn lanes(population: &PopulationRequest) -> Result<Vec<Lane>, PlanError> {
    let refusal = |number: usize, text: String| {
        let text = format!("population '{}': {text}", population.name);
        population.origins.refusal_of_element(Setting::STAGES, number - 1, text)
    };
    let arrival = population.arrival.unwrap_or(ArrivalPattern::Uniform);
    let mut lanes: Vec<Lane> = Vec::new();
    let mut at = Nanos::ZERO;
    let mut measured = false;
    for (number, stage) in (1..).zip(&population.stages).filter(|(_, stage)| stage.every.is_none()) {
        check(stage, measured).map_err(|text| refusal(number, format!("stage {number} {text}")))?;
        measured |= !stage.warmup;
        let open = |stage: StagePlan| LoadPlan::Open { arrival, stages: vec![stage], attempts: None, repeat: None };
        let last = lanes.last_mut().filter(|lane| Nanos::new(lane.begins_ns) + lane.load.length() == at);
        let added = match (stage.load, last.map(|lane| &mut lane.load)) {
            (StageLoad::Rate(_) | StageLoad::Burst(_), Some(LoadPlan::Open { stages, .. })) if !stages[0].probe => {
                stages.push(stage_plan(stage, number));
                None
            }
            (StageLoad::Rate(_) | StageLoad::Burst(_) | StageLoad::Probe(_), _) => {
                Some(open(stage_plan(stage, number)))
            }
            (StageLoad::Concurrency { from, to }, Some(LoadPlan::Closed { steps, .. })) => {
                steps.push(step_plan(stage, number, from, to));
                None
            }
            (StageLoad::Concurrency { from, to }, _) => {
                Some(LoadPlan::Closed { steps: vec![step_plan(stage, number, from, to)], attempts: None })
            }
            (StageLoad::Storm { fleet, reconnect }, _) => {
                Some(LoadPlan::Storm { name: name(stage, number), fleet, reconnect, duration_ns: nanos(stage.length) })
            }
        };
        if let Some(load) = added {
            lanes.push(Lane { begins_ns: at.as_u64(), concurrency: 0, load });
        }
        at += Nanos::from(stage.length);
    }
    if lanes.is_empty() {
        return Err(refusal(
            1,
            "it has no stages that follow each other; give at least one without `every`".to_owned(),
        ));
    }
    for (number, stage) in (1..).zip(&population.stages) {
        if let Some(every) = stage.every {
            lanes.push(
                event(stage, number, every, at, arrival)
                    .map_err(|text| refusal(number, format!("stage {number} {text}")))?,
            );
        }
    }
    Ok(lanes)
}

/// What is wrong with a stage that follows others, of which some are `measured`.
fn check(stage: &StageRequest, measured: bool) -> Result<(), &'static str> {
    if stage.length.is_zero() {
        return Err("lasts no time; give it a length, such as for = \"10s\"");
    }
    if stage.warmup && measured {
        return Err("is a warm-up after measured stages; put warm-ups first");
    }
    match stage.load {
        StageLoad::Storm { .. } | StageLoad::Probe(_) if stage.warmup => {
            Err("is a storm or a probe, which nothing needs to warm up for; drop its warmup")
        }
        StageLoad::Storm { fleet: 0, .. } => Err("is a storm of no clients; give its fleet at least 1"),
        _ => Ok(()),
    }
}

/// An event: its stage again and again until the other stages are over.
fn event(
    stage: &StageRequest,
    number: usize,
    every: Duration,
    end: Nanos,
    arrival: ArrivalPattern,
) -> Result<Lane, String> {
    if matches!(stage.load, StageLoad::Concurrency { .. } | StageLoad::Storm { .. }) {
        return Err("cannot come again and again: `every` is for rate, burst and probe".to_owned());
    }
    if stage.warmup {
        return Err("is an event and a warm-up; drop one of both".to_owned());
    }
    if stage.length.is_zero() || stage.length > every {
        return Err("comes again before it is over; make `for` shorter than `every`, and above 0".to_owned());
    }
    let every = Nanos::from(every);
    let times = end.as_u64().saturating_sub(1) / every.as_u64();
    match times {
        0 => Err(format!("never comes: the other stages are over after {end}, its first time is after {every}")),
        1..=MOST_REPEATS => Ok(Lane {
            begins_ns: every.as_u64(),
            concurrency: 0,
            load: LoadPlan::Open {
                arrival,
                stages: vec![stage_plan(stage, number)],
                attempts: None,
                repeat: Some(Repeat { every_ns: every.as_u64(), times: times as u32 }),
            },
        }),
        _ => Err(format!("would come {times} times; the most is {MOST_REPEATS}, so make `every` longer")),
    }
}

fn stage_plan(stage: &StageRequest, number: usize) -> StagePlan {
    let (pace, probe) = match stage.load {
        StageLoad::Rate(rate) => {
            (Pace::Rate { from_per_s: rate.from().as_per_second(), to_per_s: rate.to().as_per_second() }, false)
        }
        StageLoad::Burst(count) => (Pace::Burst { count }, false),
        StageLoad::Probe(rate) => {
            (Pace::Rate { from_per_s: rate.as_per_second(), to_per_s: rate.as_per_second() }, true)
        }
        StageLoad::Concurrency { .. } | StageLoad::Storm { .. } => unreachable!("no stage of an open loop"),
    };
    StagePlan { name: name(stage, number), warmup: stage.warmup, probe, pace, duration_ns: Some(nanos(stage.length)) }
}

fn step_plan(stage: &StageRequest, number: usize, from: u32, to: u32) -> StepPlan {
    StepPlan { name: name(stage, number), warmup: stage.warmup, from, to, duration_ns: Some(nanos(stage.length)) }
}

/// Its own name, or what it is and its number.
fn name(stage: &StageRequest, number: usize) -> String {
    stage.name.clone().unwrap_or_else(|| match stage.load {
        _ if stage.warmup => "warm-up".to_owned(),
        StageLoad::Rate(_) => format!("rate {number}"),
        StageLoad::Burst(_) => format!("burst {number}"),
        StageLoad::Concurrency { .. } => format!("concurrency {number}"),
        StageLoad::Storm { .. } => format!("storm {number}"),
        StageLoad::Probe(_) => format!("probe {number}"),
    })
}

fn nanos(duration: Duration) -> u64 {
    Nanos::from(duration).as_u64()
}

#[cfg(test)]
mod tests;
