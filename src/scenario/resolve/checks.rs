//! What only the whole plan tells: whether its loads and conditions can be, and where those stand that cannot.

use std::str::FromStr;
use std::sync::Arc;

use crate::run::{ConditionError, Lane, LoadError, LoadPlan, Population, Preparation, RunPlan, Threshold};
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

/// The conditions written in `texts`, each as it may be `shown`.
pub(super) fn conditions<T: FromStr<Err = ConditionError>>(
    origins: &Origins,
    setting: Setting,
    texts: &[String],
    shown: impl Fn(&str) -> String,
) -> Result<Vec<T>, PlanError> {
    let parsed = |(index, text): (usize, &String)| {
        shown(text).parse().map_err(|error| origins.refusal_of_condition(setting, index, error))
    };
    texts.iter().enumerate().map(parsed).collect()
}

/// Every condition is about something in the plan.
pub(super) fn check_conditions(origins: &Origins, plan: &RunPlan) -> Result<(), PlanError> {
    let thresholds = |check: fn(&Threshold, &RunPlan) -> Result<(), ConditionError>| {
        all(origins, Setting::THRESHOLDS, &plan.thresholds, |_, threshold| check(threshold, plan))
    };
    thresholds(Threshold::check)?;
    thresholds(Threshold::check_window)?;
    all(origins, Setting::ABORT_IF, &plan.abort_if, |_, condition| condition.check(plan))
}

/// Every condition can be decided, or met, by a run of `plan`, to which `request` was resolved. A search for a capacity
/// does not ask: its trials are as long as they have to be.
///
/// # Errors
/// Names the first condition that cannot, where it stands, and what would do.
pub fn check_prospects(request: &Request, plan: &RunPlan) -> Result<(), PlanError> {
    let origins = &request.origins;
    all(origins, Setting::THRESHOLDS, &plan.thresholds, |_, threshold| threshold.check_prospect(plan))?;
    all(origins, Setting::ABORT_IF, &plan.abort_if, |index, condition| {
        // What ends the load that the file describes may be too long for a shorter one, and does no harm there.
        let is_harmless = request.shortened && origins.has_condition(Setting::ABORT_IF, index);
        if is_harmless { Ok(()) } else { condition.check_prospect(plan) }
    })
}

/// Refuses the first of `conditions` that does not pass `check`, where it stands.
fn all<T>(
    origins: &Origins,
    setting: Setting,
    conditions: &[T],
    check: impl Fn(usize, &T) -> Result<(), ConditionError>,
) -> Result<(), PlanError> {
    let checked = |(index, condition): (usize, &T)| {
        check(index, condition).map_err(|error| origins.refusal_of_condition(setting, index, error))
    };
    conditions.iter().enumerate().try_for_each(checked)
}
