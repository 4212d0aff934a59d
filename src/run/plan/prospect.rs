//! What a plan can give a condition at most: one that cannot be told whatever happens is refused before the load.

use super::{ClientShare, Lane, LoadPlan, Pace, Population, Repeat, RunPlan, StagePlan, TargetShare};
use crate::base::{DurationText, Nanos};
use crate::load::ArrivalPattern;
use crate::measure::{Metric, Quantile};
use crate::run::condition::{Condition, Quantity, Statistic, Subject};

/// Percentiles that are named in place of one that needs more samples.
const PERCENTILES: [Quantile; 6] =
    [Quantile::P99_99, Quantile::P99_9, Quantile::P99, Quantile::P95, Quantile::P90, Quantile::P50];

/// Attempts that a plan has for a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Attempts {
    /// As planned, on average where chance decides.
    planned: f64,
    /// How far chance may exceed that: six standard deviations.
    spread: f64,
    /// Only time, or the target, bounds them.
    unbounded: bool,
}

/// A part of a lane that a condition is about.
struct Part<'a> {
    lane: &'a Lane,
    /// Which of the lane's stages.
    stage: usize,
    /// The part of its attempts that the condition is about.
    share: f64,
}

impl Condition {
    /// A whole run of `plan` can decide it.
    ///
    /// # Errors
    /// If it asks for a percentile that the planned attempts cannot support, with the remedy.
    pub(super) fn check_total(&self, subject: &Subject, plan: &RunPlan) -> Result<(), String> {
        let Quantity::Latency(metric, statistic) = self.quantity else { return Ok(()) };
        let parts = parts(subject, metric, plan);
        let attempts: Attempts = parts.iter().map(Part::attempts).sum();
        let Some(quantile) = unsupported(statistic, &parts, &attempts)? else { return Ok(()) };
        let needed = quantile.samples_needed();
        let longer = match parts.as_slice() {
            [part] => part.remedy(needed),
            _ => format!("plan {needed} attempts"),
        };
        Err(format!(
            "can never be told: {quantile} needs {needed} attempts that complete, and the plan has {:.0}; {longer}, or use {}",
            attempts.planned,
            attempts.instead(metric, quantile)
        ))
    }

    /// Windows of so many seconds can decide it.
    ///
    /// # Errors
    /// As [`check_total`](Self::check_total).
    pub(super) fn check_window(&self, subject: &Subject, seconds: u32, plan: &RunPlan) -> Result<(), String> {
        let Quantity::Latency(metric, statistic) = self.quantity else { return Ok(()) };
        let parts = parts(subject, metric, plan);
        let within = |seconds: u32| -> Attempts { parts.iter().map(|part| part.attempts_within(seconds, plan)).sum() };
        let attempts = within(seconds);
        let Some(quantile) = unsupported(statistic, &parts, &attempts)? else { return Ok(()) };
        let needed = quantile.samples_needed();
        let enough = (u64::from(seconds) * needed).div_ceil((attempts.planned as u64).max(1));
        let enough = u32::try_from(enough).ok().filter(|enough| {
            let measured = plan.length().saturating_sub(plan.warmup());
            Nanos::from_secs(u64::from(*enough)) <= measured && within(*enough).has(needed)
        });
        let longer = enough.map(|enough| format!("windows of {} or ", written(Nanos::from_secs(u64::from(enough)))));
        Err(format!(
            "can never be told: {quantile} needs {needed} attempts that complete in a window, and the plan has at most {:.0} \
             in {}; use {}{}",
            attempts.planned,
            written(Nanos::from_secs(u64::from(seconds))),
            longer.unwrap_or_default(),
            attempts.instead(metric, quantile)
        ))
    }

    /// It can hold in each of so many seconds of a load of `plan`.
    ///
    /// # Errors
    /// Says why a condition to end the run would never be met.
    pub(in crate::run) fn check_seconds(&self, subject: &Subject, seconds: u32, plan: &RunPlan) -> Result<(), String> {
        let lasting = match subject {
            Subject::Population(_) => plan.populations[subject.index(plan)?].length(),
            _ => plan.length(),
        };
        // Where the load ends in the middle of a second, arrivals are due in that one, too.
        let load_s = lasting.as_u64().div_ceil(1_000_000_000);
        match self.quantity {
            // It goes on while connections drain or are held.
            Quantity::Outage | Quantity::Lost => return Ok(()),
            _ if u64::from(seconds) > load_s => {
                return Err(format!(
                    "can never be met: the load lasts {}; give it fewer seconds, or lengthen the load",
                    written(lasting)
                ));
            }
            Quantity::Dropped if !drops_before_the_end(plan) => {
                return Err(
                    "can never be met: arrivals that find no slot wait to the end of the load and are dropped only \
                            then; use response.max or outage"
                        .to_owned(),
                );
            }
            Quantity::Failed | Quantity::Dropped if !self.comparison.is_upper() && !self.holds(1.0) => {
                return Err(
                    "can never be met: no share is more than all; write for example 'failed>=100% for 5s'".to_owned()
                );
            }
            Quantity::Latency(metric, Statistic::Quantile(quantile)) => {
                let parts = all_parts(subject, metric, plan, true);
                let attempts: Attempts = parts.iter().map(|part| part.attempts_within(1, plan)).sum();
                let needed = quantile.samples_needed();
                if !attempts.has(needed) {
                    return Err(format!(
                        "can never be met: {quantile} needs {needed} attempts that complete in a second, and the plan has at \
                         most {:.0}; use {}",
                        attempts.planned,
                        attempts.instead(metric, quantile)
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Attempts {
    /// So many may come to be.
    fn has(&self, needed: u64) -> bool {
        self.unbounded || self.planned + self.spread >= needed as f64
    }

    /// What they can support in place of `quantile`.
    fn instead(&self, metric: Metric, quantile: Quantile) -> String {
        let supported =
            PERCENTILES.into_iter().find(|other| *other < quantile && other.is_supported_by(self.planned as u64));
        supported.map_or_else(|| format!("{metric}.max"), |other| format!("{metric}.{other}"))
    }
}

impl std::iter::Sum for Attempts {
    fn sum<I: Iterator<Item = Self>>(attempts: I) -> Self {
        attempts.fold(Self::default(), |sum, next| Self {
            planned: sum.planned + next.planned,
            spread: sum.spread + next.spread,
            unbounded: sum.unbounded || next.unbounded,
        })
    }
}

impl Part<'_> {
    fn attempts(&self) -> Attempts {
        let planned = match &self.lane.load {
            LoadPlan::Open { .. } => self.lane.planned_arrivals()[self.stage],
            LoadPlan::Closed { attempts, .. } => *attempts,
            LoadPlan::Storm { .. } => None,
        };
        planned.map_or(Attempts { unbounded: true, ..Attempts::default() }, |planned| self.varied(planned as f64))
    }

    /// In any so many seconds, of this machine.
    fn attempts_within(&self, seconds: u32, plan: &RunPlan) -> Attempts {
        let LoadPlan::Open { stages, repeat, .. } = &self.lane.load else { return self.attempts() };
        let stage = &stages[self.stage];
        let length = Nanos::from_secs(u64::from(seconds));
        let once = match stage.pace {
            Pace::Burst { count } => count as f64,
            Pace::Rate { from_per_s, to_per_s } => {
                let length = stage.duration_ns.map_or(length, |ns| length.min(Nanos::new(ns)));
                from_per_s.max(to_per_s) * length.as_secs_f64()
            }
        };
        let times =
            repeat.map_or(1, |Repeat { every_ns, times }| u64::from(times).min(length.as_u64() / every_ns.max(1) + 1));
        let machine = 1.0 / f64::from(plan.share.count);
        let all = self.attempts();
        let within = self.varied(once * times as f64 * machine);
        if all.unbounded || within.planned < all.planned { within } else { all }
    }

    /// So many attempts, and those of other clients and targets among them left out.
    fn varied(&self, attempts: f64) -> Attempts {
        let planned = attempts * self.share;
        let poisson = matches!(self.lane.load, LoadPlan::Open { arrival: ArrivalPattern::Poisson, .. });
        let by_chance = poisson || self.share < 1.0;
        Attempts { planned, spread: if by_chance { 6.0 * planned.sqrt() } else { 0.0 }, unbounded: false }
    }

    /// What to change so that it has so many attempts.
    fn remedy(&self, needed: u64) -> String {
        let attempts = (needed as f64 / self.share).ceil();
        match &self.lane.load {
            LoadPlan::Open { stages, attempts: None, repeat: None, .. } => match stages[self.stage] {
                StagePlan { pace: Pace::Rate { from_per_s, to_per_s }, .. } if from_per_s == to_per_s => {
                    let seconds = attempts / from_per_s;
                    let seconds = if seconds > 1.0 { seconds.ceil() } else { seconds };
                    format!("lengthen the load to {}", written(Nanos::new((seconds * 1e9) as u64)))
                }
                _ => format!("plan {attempts:.0} attempts"),
            },
            _ => format!("plan {attempts:.0} attempts"),
        }
    }
}

/// The measured parts of a plan whose attempts have `metric` and belong to `subject`.
fn parts<'a>(subject: &Subject, metric: Metric, plan: &'a RunPlan) -> Vec<Part<'a>> {
    all_parts(subject, metric, plan, false)
}

fn all_parts<'a>(subject: &Subject, metric: Metric, plan: &'a RunPlan, warm_ups: bool) -> Vec<Part<'a>> {
    let index = match subject {
        Subject::All => None,
        named => named.index(plan).ok(),
    };
    let mut parts = Vec::new();
    let mut number = 0;
    for (at, population) in plan.populations.iter().enumerate() {
        let meant = match subject {
            Subject::Population(_) => index == Some(at),
            _ => !population.canary,
        };
        let share = share_of(subject, index, population, plan);
        let measures = metric == Metric::Tls || metric.is_reached_by(population.until);
        for lane in &population.lanes {
            for (stage, planned) in lane.load.stages().enumerate() {
                let counts = match subject {
                    Subject::Stage(_) => index == Some(number),
                    _ => warm_ups || !planned.warmup,
                };
                number += 1;
                let has_metric = measures && (lane.load.is_open_loop() || !metric.needs_plan());
                if meant && counts && has_metric && share > 0.0 {
                    parts.push(Part { lane, stage, share });
                }
            }
        }
    }
    parts
}

/// The part of a population's attempts that `subject` is about and that are to complete.
fn share_of(subject: &Subject, index: Option<usize>, population: &Population, plan: &RunPlan) -> f64 {
    let clients = plan.clients();
    let of_clients = |wanted: &dyn Fn(usize) -> bool| {
        let weight = |share: &ClientShare| f64::from(share.weight);
        let number = |share: &ClientShare| clients.iter().position(|client| *client == share.client);
        let meant =
            population.clients.iter().filter(|share| !share.client.is_hostile() && number(share).is_some_and(wanted));
        meant.map(weight).sum::<f64>() / population.clients.iter().map(weight).sum::<f64>()
    };
    let of_targets = |target: usize| {
        let weight = |share: &TargetShare| f64::from(share.weight);
        let own = population.targets.iter().filter(|share| usize::from(share.target) == target);
        own.map(weight).sum::<f64>() / population.targets.iter().map(weight).sum::<f64>()
    };
    match (subject, index) {
        (Subject::Client(_), Some(index)) => of_clients(&|client| client == index),
        (Subject::Target(_), Some(index)) => of_clients(&|_| true) * of_targets(index),
        _ => of_clients(&|_| true),
    }
}

/// Some lane ends, and drops what still waits, while others go on.
fn drops_before_the_end(plan: &RunPlan) -> bool {
    let lanes = plan.asked().flat_map(|population| &population.lanes);
    lanes.filter(|lane| lane.load.is_open_loop()).any(|lane| lane.end() < plan.length())
}

fn needed(statistic: Statistic) -> u64 {
    match statistic {
        Statistic::Min | Statistic::Mean | Statistic::Max => 1,
        Statistic::Quantile(quantile) => quantile.samples_needed(),
    }
}

/// The percentile that so many attempts cannot support; none if they suffice.
fn unsupported(statistic: Statistic, parts: &[Part<'_>], attempts: &Attempts) -> Result<Option<Quantile>, String> {
    match statistic {
        _ if attempts.has(needed(statistic)) => Ok(None),
        Statistic::Quantile(quantile) if !parts.is_empty() => Ok(Some(quantile)),
        _ => Err(nothing_completes()),
    }
}

fn nothing_completes() -> String {
    "can never be told: the plan has no attempt for it that is measured and completes (hostile clients complete none)"
        .to_owned()
}

fn written(nanos: Nanos) -> String {
    DurationText(nanos.into()).to_string()
}
