//! What a run is about to do: addresses, peak rate and peak connections, said before the first packet.

use std::time::SystemTime;

use crate::base::{Nanos, Rate};
use crate::run::{LoadPlan, RunPlan};

/// The lines for stderr; the load begins at `start_at`, if not at once.
pub(super) fn lines(plan: &RunPlan, start_at: Option<SystemTime>) -> Vec<String> {
    let mut targets: Vec<String> = plan.targets.iter().take(4).map(|target| target.label()).collect();
    if plan.targets.len() > targets.len() {
        targets.push(format!("and {} more", plan.targets.len() - targets.len()));
    }
    let mut lines = vec![format!("target {}, engine {}, seed {}", targets.join(", "), plan.engine, plan.seed)];
    for population in &plan.populations {
        let rate = match &population.load {
            LoadPlan::Closed { .. } => "closed loop".to_string(),
            LoadPlan::Open { stages, .. } => {
                let peak = stages.iter().map(|stage| stage.from_per_s.max(stage.to_per_s)).fold(0.0, f64::max);
                format!("peak rate {}", Rate::per_second(peak).map(|rate| rate.to_string()).unwrap_or_default())
            }
        };
        lines.push(format!(
            "{rate}, at most {} at once, {} of {}",
            count(population.concurrency, "connection"),
            count(plan.workers, "worker"),
            count(population.concurrency.div_ceil(plan.workers), "slot"),
        ));
    }
    if plan.sources.len() > 1 {
        lines.push(format!(
            "{} local addresses, {} to {}",
            plan.sources.len(),
            plan.sources[0],
            plan.sources[plan.sources.len() - 1]
        ));
    }
    if let Some(left) = start_at.and_then(|at| at.duration_since(SystemTime::now()).ok()) {
        lines.push(format!("the load begins in {}", Nanos::from(left)));
    }
    lines
}

fn count(number: u32, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
