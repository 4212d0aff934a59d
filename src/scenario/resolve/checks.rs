//! What only the whole plan tells: whether its loads and conditions can be, and where those stand that cannot.

use std::sync::Arc;

use crate::run::{
    AbortCondition, Lane, LoadError, LoadPlan, Population, Preparation, RunPlan, Threshold, ThresholdError,
};
use crate::scenario::origins::{Origins, Setting};
use crate::scenario::request::{PopulationRequest, Request, StageLoad, StageRequest};
use crate::scenario::{PlanError, stages};

/// A share is one of planned arrivals, and those of all machines come from one seed.
pub(super) fn check_share(
    request: &Request,
    asked: &[PopulationRequest],
    populations: &[Population],
) -> Result<(), PlanError> {
    let Some(share) = request.share.filter(|share| share.count > 1) else { return Ok(()) };
    let closed = |lane: &Lane| matches!(lane.load, LoadPlan::Closed { .. });
    let Some(index) = populations.iter().position(|population| population.lanes.iter().any(closed)) else {
        return request.seed.map(drop).ok_or_else(|| {
            PlanError::new(format!(
                "--share {share} is a part of the arrivals of one seed, and without one every machine draws its own; give all \
                 machines the same, such as --seed 1"
            ))
        });
    };
    let closed = |load: StageLoad| matches!(load, StageLoad::Concurrency { .. });
    match asked[index].stages.iter().position(|stage| closed(stage.load)) {
        Some(stage) => Err(asked[index].origins.refusal_of_element(
            Setting::STAGES,
            stage,
            "--share deals out planned arrivals and a stage of 'concurrency' has none; give it a rate, or drop --share",
        )),
        None => {
            Err(PlanError::new("--share deals out planned arrivals and a closed loop has none; give a rate with -R"))
        }
    }
}

/// The load model can plan every lane, and files that sessions need can be read.
pub(super) fn check_loads(request: &Request, asked: &[PopulationRequest], plan: &RunPlan) -> Result<(), PlanError> {
    let Err(error) = Preparation::new(Arc::new(plan.clone())) else { return Ok(()) };
    match error {
        LoadError::Tls(_) => return Err(request.origins.refusal(&[Setting::TLS], error)),
        LoadError::Session(_) => return Err(request.origins.refusal(&[Setting::MEDIA, Setting::BITRATE], error)),
        LoadError::Profile(_) | LoadError::Concurrency(_) => {}
    }
    // Where it stands: in the first population that cannot be planned alone, in its first stage that cannot either.
    let none = RunPlan { populations: Vec::new(), ..plan.clone() };
    let fails = |population: Population| {
        Preparation::new(Arc::new(RunPlan { populations: vec![population], ..none.clone() })).is_err()
    };
    let Some((asked, population)) =
        asked.iter().zip(&plan.populations).find(|(_, population)| fails((*population).clone()))
    else {
        return Err(PlanError::new(error.to_string()));
    };
    let alone = |stage: &StageRequest| {
        let stages = vec![StageRequest { every: None, warmup: false, ..stage.clone() }];
        let lanes = stages::lanes(&PopulationRequest { stages, ..asked.clone() }).ok()?;
        Some(Population { lanes, ..population.clone() })
    };
    let stage = asked.stages.iter().position(|stage| alone(stage).is_some_and(fails));
    Err(match stage {
        Some(index) => asked.origins.refusal_of_element(Setting::STAGES, index, error),
        None => asked.origins.refusal(&[Setting::STAGES], error),
    })
}

/// Every condition is about something in the plan.
pub(super) fn check_conditions(origins: &Origins, plan: &RunPlan) -> Result<(), PlanError> {
    match Threshold::of_plan(plan) {
        Ok(thresholds) => {
            for (index, threshold) in thresholds.iter().enumerate() {
                threshold
                    .check_window(plan)
                    .map_err(|error| origins.refusal_of_condition(Setting::THRESHOLDS, index, error))?;
            }
        }
        Err(error) => {
            let mut alone = plan.clone();
            let wrong = plan.thresholds.iter().position(|text| {
                alone.thresholds = vec![text.clone()];
                Threshold::of_plan(&alone).is_err()
            });
            let index = wrong.expect("one of them is wrong");
            return Err(origins.refusal_of_condition(Setting::THRESHOLDS, index, error));
        }
    }
    for (index, text) in plan.abort_if.iter().enumerate() {
        AbortCondition::of_plan(std::slice::from_ref(text), plan)
            .map_err(|error| origins.refusal_of_condition(Setting::ABORT_IF, index, error))?;
    }
    Ok(())
}

/// Every condition can be decided, or met, by a run of `plan`, to which `request` was resolved. A search for a capacity
/// does not ask: its trials are as long as they have to be.
///
/// # Errors
/// Names the first condition that cannot, where it stands, and what would do.
pub fn check_prospects(request: &Request, plan: &RunPlan) -> Result<(), PlanError> {
    let refusal = |setting, index, error: ThresholdError| request.origins.refusal_of_condition(setting, index, error);
    let thresholds = Threshold::of_plan(plan).map_err(|error| PlanError::new(error.to_string()))?;
    for (index, threshold) in thresholds.iter().enumerate() {
        threshold.check_prospect(plan).map_err(|error| refusal(Setting::THRESHOLDS, index, error))?;
    }
    let conditions =
        AbortCondition::of_plan(&plan.abort_if, plan).map_err(|error| PlanError::new(error.to_string()))?;
    for (index, condition) in conditions.iter().enumerate() {
        // What ends the load that the file describes may be too long for a shorter one, and does no harm there.
        if request.shortened && request.origins.has_condition(Setting::ABORT_IF, index) {
            continue;
        }
        condition.check_prospect(plan).map_err(|error| refusal(Setting::ABORT_IF, index, error))?;
    }
    Ok(())
}
