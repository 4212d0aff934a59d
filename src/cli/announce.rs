//! What a run is about to do: addresses, peak rate and peak connections, said before the first packet.

use std::time::SystemTime;

use crate::base::{Nanos, rate_text};
use crate::report::plan::sessions;
use crate::run::{Population, RunPlan};

/// The lines for stderr; the load begins at `start_at`, if not at once.
pub(super) fn lines(plan: &RunPlan, start_at: Option<SystemTime>) -> Vec<String> {
    let mut targets: Vec<String> = plan.targets.iter().take(4).map(|target| target.label()).collect();
    if plan.targets.len() > targets.len() {
        targets.push(format!("and {} more", plan.targets.len() - targets.len()));
    }
    let mut lines = vec![format!("target {}, engine {}, seed {}", targets.join(", "), plan.engine, plan.seed)];
    if let Some(scenario) = &plan.scenario {
        lines.insert(0, format!("scenario {scenario}, {}", count(plan.populations.len() as u32, "population")));
    }
    for population in &plan.populations {
        let name = if plan.populations.len() > 1 { format!("{}: ", population.name) } else { String::new() };
        let rate = match population.peak_per_s() {
            None => "closed loop".to_string(),
            Some(peak) => format!("peak rate {}", rate_text(peak)),
        };
        let concurrency = population.concurrency();
        lines.push(format!(
            "{name}{rate}, at most {} at once, {} of {}, {}",
            count(concurrency, "connection"),
            count(plan.workers, "worker"),
            count(concurrency.div_ceil(plan.workers), "slot"),
            clients(population),
        ));
        lines.extend(sessions::course(plan, population).map(|course| format!("{name}{course}")));
    }
    lines.extend(
        sessions::media(plan).filter(|_| plan.media.is_some()).map(|media| format!("audio and video: {media}")),
    );
    lines.extend(sessions::tls(plan).map(|tls| format!("TLS: {tls}")));
    lines.extend(sessions::hold_check(plan));
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

/// Who connects, by weight if there are several.
fn clients(population: &Population) -> String {
    match population.clients.as_slice() {
        [only] => format!("as {}", only.client.name()),
        several => {
            let named: Vec<_> =
                several.iter().map(|share| format!("{}={}", share.client.name(), share.weight)).collect();
            format!("as {}", named.join(","))
        }
    }
}

fn count(number: u32, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
