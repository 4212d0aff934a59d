//! What only the whole plan tells: whether its loads and conditions can be, and where those stand that cannot.

use std::sync::Arc;

use crate::load::Share;
use crate::run::{AbortCondition, Lane, LoadError, LoadPlan, Population, Preparation, RunPlan, Threshold};
use crate::scenario::origins::{Origins, Setting};
use crate::scenario::request::{PopulationRequest, Request, StageLoad, StageRequest};
use crate::scenario::{PlanError, stages};

/// A share is one of planned arrivals.
pub(super) fn check_share(
    share: Share,
    asked: &[PopulationRequest],
    populations: &[Population],
) -> Result<(), PlanError> {
    let closed = |lane: &Lane| matches!(lane.load, LoadPlan::Closed { .. });
    let Some(index) = populations.iter().position(|population| population.lanes.iter().any(closed)) else {
        return Ok(());
    };
    if share.count == 1 {
        return Ok(());
    }
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
