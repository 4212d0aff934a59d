//! What recorders count of a plan, and in which order.

use super::conditions::watched_rows;
use super::{ClientPlan, LoadPlan, RunPlan, Target};
use crate::measure::{RecorderLayout, StageInfo};

/// The stages, populations, targets and clients of a plan in the order in which recorders count them: stages are
/// numbered through all lanes of all populations.
pub fn recorder_layout(plan: &RunPlan) -> RecorderLayout {
    let clients = plan.clients();
    RecorderLayout {
        stages: stages_of(plan),
        populations: plan.populations.iter().map(|population| population.name.clone()).collect(),
        targets: plan.targets.iter().map(Target::label).collect(),
        clients: clients.iter().map(ClientPlan::name).collect(),
        hostile: clients.iter().map(ClientPlan::is_hostile).collect(),
        canary: plan.populations.iter().zip(0..).find(|(population, _)| population.canary).map(|(_, index)| index),
        watched: watched_rows(plan),
    }
}

/// The stages of a plan, in that order.
pub(in crate::run) fn stages_of(plan: &RunPlan) -> Vec<StageInfo> {
    let stages = plan.populations.iter().zip(0..).flat_map(|(population, index)| {
        population.lanes.iter().flat_map(move |lane| {
            lane.load.stages().map(move |stage| StageInfo {
                population: index,
                name: stage.name.to_owned(),
                warmup: stage.warmup || population.canary,
                open_loop: lane.load.is_open_loop(),
                probe: stage.probe,
                storm: matches!(lane.load, LoadPlan::Storm { .. }),
                until: population.until,
            })
        })
    });
    stages.collect()
}
