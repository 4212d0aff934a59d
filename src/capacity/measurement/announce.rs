//! What is said before and between the trials.

use crate::base::{DurationText, Nanos};
use crate::run::RunPlan;
use crate::search::Search;

use super::super::result::{Baseline, TrialPurpose};
use super::super::statement::rate_text;
use super::{Audience, BASELINE, CONTROL, Measurement, after_reserve};

impl<A: Audience> Measurement<'_, A> {
    /// Targets, limits and the time plan, before the first packet.
    pub(super) fn announce(&mut self, plan: &RunPlan, search: Option<&Search>) {
        let targets: Vec<String> = plan.targets.iter().take(4).map(|target| target.label()).collect();
        let more = plan.targets.len() - targets.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.audience.say(&format!("target {}{more}, engine {}, seed {}", targets.join(", "), plan.engine, plan.seed));
        let most = match (self.settings.need, self.request.max_rate) {
            (Some((need, margin)), _) => {
                format!("at most {} ({need} x {margin})", rate_text(need.as_per_second() * margin))
            }
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "as high as the target goes".to_owned(),
        };
        self.audience.say(&format!(
            "rates {most}; at most {} connections at once, {} worker{}",
            u64::from(self.shape.machine().descriptors) * u64::from(self.shape.cores()),
            plan.workers,
            if plan.workers == 1 { "" } else { "s" }
        ));
        if let Some(search) = search {
            let plan = search.time_plan();
            let parts: Vec<String> = plan
                .parts
                .iter()
                .map(|part| {
                    let purpose = TrialPurpose::from(part.purpose);
                    format!("{} {} {}", part.count, purpose.plural(part.count), seconds(part.takes))
                })
                .collect();
            let total = plan.total + BASELINE + CONTROL + after_reserve(&self.settings);
            self.time.planned_s = total.min(self.settings.budget).as_secs_f64();
            self.audience.say(&format!(
                "time plan: baseline {}, {}, latency at parts of the capacity {}: about {} of {}",
                seconds(BASELINE + CONTROL),
                parts.join(", "),
                seconds(after_reserve(&self.settings)),
                seconds(total.min(self.settings.budget)),
                seconds(self.settings.budget)
            ));
        }
    }

    /// What the unloaded target looks like.
    pub(super) fn say_baseline(&mut self, baseline: &Baseline) {
        let percentile =
            baseline.highest_percentile().map_or_else(String::new, |(name, value)| format!(", {name} {value}"));
        let p50 = baseline.p50_ns.map_or_else(String::new, |ns| format!(", p50 {}", Nanos::new(ns)));
        let rtt = baseline.rtt_ns.map_or_else(String::new, |ns| format!("connect {}", Nanos::new(ns)));
        self.audience.say(&format!(
            "baseline at {}: {rtt}{p50}{percentile}, {} of {} lost",
            rate_text(baseline.rate_per_s),
            baseline.lost,
            baseline.attempts
        ));
    }
}

fn seconds(length: Nanos) -> String {
    let rounded = Nanos::from_secs(length.as_secs_f64().round() as u64);
    DurationText(rounded.into()).to_string()
}
