//! Where the subject of a condition is in a plan, and whether it has what the condition measures.

use super::layout::stages_of;
use super::{ClientPlan, Hold, Population, RunPlan, Target};
use crate::base::REDACTED;
use crate::measure::{Metric, StageInfo, Until, WatchedRow};
use crate::run::condition::{Quantity, Subject};

impl Subject {
    /// Which population, stage, target or client of the plan it is.
    ///
    /// # Errors
    /// None has the name (those that exist are listed), or several have it.
    pub(in crate::run) fn index(&self, plan: &RunPlan) -> Result<usize, String> {
        let (kind, name, rows) = match self {
            Self::All => unreachable!("all attempts are no row"),
            Self::Population(name) => {
                let names = plan.populations.iter().map(|population| vec![population.name.clone()]);
                ("population", name, names.collect())
            }
            Self::Stage(name) => ("stage", name, stage_names(plan)),
            Self::Target(name) => {
                let names = |target: &Target| {
                    let named = format!("{}:{}", target.host, target.address.port());
                    let short = without_stream(&target.name);
                    vec![
                        target.label(),
                        target.name.clone(),
                        short,
                        target.address.to_string(),
                        named,
                        target.host.clone(),
                    ]
                };
                ("target", name, plan.targets.iter().map(names).collect())
            }
            Self::Client(name) => {
                let names = plan.clients().iter().map(|client| vec![ClientPlan::name(client)]).collect();
                ("client", name, names)
            }
        };
        let rows: Vec<Vec<String>> = rows;
        let named: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].contains(name)).collect();
        let list = |rows: Vec<String>| rows.join(", ");
        match named.as_slice() {
            [index] => Ok(*index),
            [] => {
                let known = rows.into_iter().map(|mut names| names.swap_remove(0)).collect();
                Err(format!("names no {kind} of the plan: there is {}", list(known)))
            }
            several => {
                // The first name of a row is told apart from all others.
                let meant = several.iter().map(|row| rows[*row][0].clone()).collect();
                Err(format!("names {} {kind}s: write one of {}", several.len(), list(meant)))
            }
        }
    }

    /// The plan has it, and it has the quantity.
    pub(in crate::run) fn check(&self, quantity: Quantity, plan: &RunPlan) -> Result<(), String> {
        let about: Vec<&Population> = match self {
            Self::All | Self::Target(_) | Self::Client(_) => plan.populations.iter().collect(),
            Self::Population(_) => vec![&plan.populations[self.index(plan)?]],
            Self::Stage(_) => {
                let stage = &stages_of(plan)[self.index(plan)?];
                vec![&plan.populations[usize::from(stage.population)]]
            }
        };
        let any_open = about.iter().any(|population| Population::is_open_loop(population));
        let any_closed = about.iter().any(|population| !Population::is_open_loop(population));
        if let Quantity::Latency(metric, statistic) = quantity {
            if metric == Metric::Tls && !plan.targets.iter().any(|target| target.tls) {
                return Err("has nothing to measure: no target is rtmps://".to_owned());
            }
            if metric != Metric::Tls && !about.iter().any(|population| metric.is_reached_by(population.until)) {
                return Err(
                    "has nothing to measure: attempts end earlier, use s2 or service, or a later --until".to_owned()
                );
            }
            if metric.needs_plan() && !any_open {
                return Err(format!(
                    "needs planned arrivals, and closed loop has none: use service.{statistic}, or give a rate (-R, or a \
                     stage's rate)"
                ));
            }
        }
        if let Quantity::Stalled | Quantity::Unsent = quantity {
            if !about.iter().any(|population| population.until == Until::Publish && population.hold != Hold::ForNs(0)) {
                return Err("has nothing to count: no publisher is held; use --until publish with a --hold".to_owned());
            }
            if let Self::Stage(_) | Self::Target(_) | Self::Client(_) = self {
                return Err("is counted by population only: name one, or leave the scope out".to_owned());
            }
        }
        if quantity == Quantity::Lost && about.iter().all(|population| population.hold == Hold::ForNs(0)) {
            return Err("has nothing to count: no connection is held; give a hold (--hold)".to_owned());
        }
        let kind = match self {
            Self::All | Self::Population(_) | Self::Stage(_) => return Ok(()),
            Self::Target(_) => "target",
            Self::Client(_) => "client",
        };
        self.index(plan)?;
        match quantity {
            Quantity::Dropped => Err(format!(
                "has nothing to count: what is dropped never had a {kind}; leave it out, or name a population or a stage"
            )),
            Quantity::Latency(Metric::Response, _) => Ok(()),
            Quantity::Latency(Metric::Service, _) if any_closed => Ok(()),
            Quantity::Latency(_, statistic) => {
                let kept = if any_open { Metric::Response } else { Metric::Service };
                Err(format!(
                    "is not measured by {kind}, only {kept} is: use {kept}.{statistic}, or leave the {kind} out"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Its seconds have the quantity.
    pub(in crate::run) fn check_by_second(&self, quantity: Quantity, plan: &RunPlan) -> Result<(), String> {
        let is_all = match self {
            Self::All => true,
            // The canary comes last.
            Self::Population(_) => plan.asked().nth(1).is_none() && self.index(plan)? == 0,
            Self::Stage(_) | Self::Target(_) | Self::Client(_) => false,
        };
        match quantity {
            Quantity::Latency(Metric::Response, statistic) if !is_all => Err(format!(
                "has latencies second by second of all attempts together only: write response.{statistic} alone, or leave \
                 the seconds out"
            )),
            Quantity::Latency(Metric::Response, _) => Ok(()),
            Quantity::Latency(_, statistic) => Err(format!(
                "has no such latency second by second: use response.{statistic}, with planned arrivals (-R, or a \
                 stage's rate)"
            )),
            _ => Ok(()),
        }
    }

    /// What recorders have to count each second for it, beside all attempts and those of each population; `None` where
    /// that suffices, and if it is not in the plan.
    pub(in crate::run) fn watched_row(&self, plan: &RunPlan) -> Option<WatchedRow> {
        let row = match self {
            Self::All | Self::Population(_) => return None,
            Self::Stage(_) => WatchedRow::Stage,
            Self::Target(_) => WatchedRow::Target,
            Self::Client(_) => WatchedRow::Client,
        };
        self.index(plan).ok().map(|index| row(index as u16))
    }
}

/// The name of a target up to its application.
fn without_stream(name: &str) -> String {
    let shown = name.split_once(REDACTED).map_or(name, |(shown, _)| shown);
    shown.trim_end_matches(['/', '?', '#']).to_owned()
}

/// The names of each stage, the unambiguous one first: a stage's name alone, or after its population's.
fn stage_names(plan: &RunPlan) -> Vec<Vec<String>> {
    let several = plan.asked().nth(1).is_some();
    let population = |stage: &StageInfo| &plan.populations[usize::from(stage.population)];
    let names = |stage: &StageInfo| {
        let qualified = format!("{}:{}", population(stage).name, stage.name);
        if several { vec![qualified, stage.name.clone()] } else { vec![stage.name.clone(), qualified] }
    };
    // The canary has no row by stage; it is the last of the populations, so the others' numbers are the rows'.
    stages_of(plan).iter().filter(|stage| !population(stage).canary).map(names).collect()
}
