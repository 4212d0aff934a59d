//! What is said before and between the trials.

use crate::base::{DurationText, Nanos, rate_text};
use crate::run::RunPlan;
use crate::search::{Search, attempts_to_tell};

use super::Measurement;
use super::connections::{longest_watch, quarter};
use super::room::after_reserve;
use crate::capacity::audience::Audience;
use crate::capacity::measurement::baseline;
use crate::capacity::result::{Baseline, Control, TrialPurpose};
use crate::capacity::verdict::rfc9411::SUSTAIN_S;
use crate::capacity::verdict::statement::percent_text;

impl<A: Audience> Measurement<'_, A> {
    /// Targets, limits and the time plan, before the first packet.
    pub(in crate::capacity) fn announce(&mut self, plan: &RunPlan, search: Option<&Search>) {
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
            let mut parts: Vec<String> = plan
                .parts
                .iter()
                .map(|part| {
                    let purpose = TrialPurpose::from(part.purpose);
                    format!("{} {} {}", part.count, purpose.plural(part.count), seconds(part.takes))
                })
                .collect();
            if parts.is_empty() {
                parts.push("no more trials".to_owned());
            }
            let left = self.settings.budget.saturating_sub(self.request.spent_before());
            let before_search = self.before_search();
            let total = (plan.total + before_search + after_reserve(&self.settings)).min(left);
            self.time.planned_s = total.as_secs_f64();
            let before = match self.request.trials_before().count() {
                0 => String::new(),
                trials => format!(" after the {trials} that took {}", seconds(self.request.spent_before())),
            };
            self.audience.say(&format!(
                "time plan: baseline and control {}, {}, latency at parts of the capacity {}: about {} of {}{before}",
                seconds(before_search),
                parts.join(", "),
                seconds(after_reserve(&self.settings)),
                seconds(total),
                seconds(self.settings.budget)
            ));
            self.say_what_goals_need();
        } else {
            let budget = self.settings.budget;
            self.time.planned_s = budget.as_secs_f64();
            self.audience.say(&format!(
                "time plan: baseline {}, idle time-out {} at most, a rate for the ramp {} at most, then the ramp: {} at most",
                seconds(baseline::planned(self.highest())),
                seconds(longest_watch(budget)),
                if self.request.max_rate.is_some() { "0s".to_owned() } else { seconds(quarter(budget)) },
                seconds(budget)
            ));
        }
    }

    /// A loss so small that only a high rate can show it within the confirmation is said beforehand.
    fn say_what_goals_need(&mut self) {
        /// Lower rates than this are what most searches are about anyway.
        const WORTH_SAYING_PER_S: f64 = 1_000.0;
        let confirm = self.settings.confirm;
        if self.request.rfc9411 && confirm.as_secs_f64() < SUSTAIN_S {
            self.audience.say(&format!(
                "note: RFC 9411 has a sustain phase of {SUSTAIN_S:.0} s, and the confirmation takes {}: give a longer --budget, or \
                 --confirm",
                seconds(confirm)
            ));
        }
        let (what, flag, longest) = match self.request.confirm {
            Some(confirm) => ("confirmation", "--confirm", confirm),
            None => ("budget", "--budget", self.settings.budget),
        };
        for goal in &self.settings.goals {
            let needed = attempts_to_tell(goal.loss_ratio);
            let from_per_s = needed as f64 / longest.as_secs_f64();
            if from_per_s >= WORTH_SAYING_PER_S {
                self.audience.say(&format!(
                    "note: to tell a loss of {} takes {needed} attempts, so a {what} of {} decides the goal {} above {}; a longer \
                     {flag} decides it below",
                    percent_text(goal.loss_ratio),
                    seconds(longest),
                    goal.name,
                    rate_text(from_per_s)
                ));
            }
        }
    }

    /// A need above what this machine can generate will not be answered.
    pub(in crate::capacity) fn say_whether_the_need_is_in_reach(&mut self, control: Option<&Control>) {
        let Some(((need, margin), control)) = self.settings.need.zip(control) else { return };
        let offered = need.as_per_second() * margin;
        if !control.at_least && control.ceiling_per_s < offered {
            self.audience.say(&format!(
                "note: {} is more than the {} that this machine comes to: a yes is not to be expected; several machines have \
                 more (`run --share`)",
                rate_text(offered),
                rate_text(control.ceiling_per_s)
            ));
        }
    }

    /// What the unloaded target looks like.
    pub(in crate::capacity) fn say_baseline(&mut self, baseline: &Baseline) {
        let higher = baseline.highest_percentile().filter(|(name, _)| *name != "p50");
        let percentile = higher.map_or_else(String::new, |(name, value)| format!(", {name} {value}"));
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
