//! What was asked, with every default applied; and whether a saved search asked the same.

use crate::base::{Nanos, Rate, rate_text};
use crate::run::RunPlan;

use crate::capacity::error::CapacityError;
use crate::capacity::fleet_need::need_of;
use crate::capacity::request::{CapacityRequest, GoalRequest, default_confirm};
use crate::capacity::result::{CapacityResult, Find, FleetNeed};
use crate::capacity::verdict::statement::percent_text;

const DEFAULT_BUDGET: Nanos = Nanos::from_secs(300);
/// The strict goal needs longer: a sustain phase of 300 s, and the search before it.
const RFC9411_BUDGET: Nanos = Nanos::from_secs(900);
const DEFAULT_MARGIN: f64 = 1.2;
const DEFAULT_WIDTH: f64 = 0.01;

/// Losses that are proposed where a smaller one cannot be told.
pub(super) const LOSSES: [f64; 5] = [0.01, 0.02, 0.05, 0.1, 0.2];

/// What was asked, with every default applied.
pub(super) struct Settings {
    pub(super) budget: Nanos,
    /// The confirmation, at rates that make enough attempts in that time.
    pub(super) confirm: Nanos,
    /// How long it may be at lower rates.
    pub(super) longest_confirm: Nanos,
    pub(super) trial: Option<Nanos>,
    pub(super) width: f64,
    pub(super) goals: Vec<GoalRequest>,
    pub(super) need: Option<(Rate, f64)>,
    pub(super) fleet: Option<FleetNeed>,
}

impl Settings {
    pub(super) fn of(request: &CapacityRequest) -> Result<Self, CapacityError> {
        let usage = |text: &str| Err(CapacityError::Usage(text.to_owned()));
        let budget = request.budget.unwrap_or(if request.rfc9411 { RFC9411_BUDGET } else { DEFAULT_BUDGET });
        let goals = match (request.goals.as_slice(), request.rfc9411) {
            ([], true) => vec!["strict".parse()?],
            ([], false) => vec!["slo".parse()?],
            (goals, _) => goals.to_vec(),
        };
        let mut names: Vec<&str> = goals.iter().map(|goal| goal.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return usage("two goals have the same name; give each its own");
        }
        let (need, fleet) = match (request.need, request.fleet) {
            (Some(_), Some(_)) => {
                return usage("--need and --fleet both say what the target must take; drop one of them");
            }
            (Some(need), None) => (Some(need), None),
            (None, Some(fleet)) => {
                let (need, explained) = need_of(fleet)?;
                (Some(need), Some(explained))
            }
            (None, None) => (None, None),
        };
        if need.is_none() && request.margin.is_some() {
            return usage("--margin is what is offered over a need; give one with --need or --fleet");
        }
        if request.find == Find::Concurrent && need.is_some() {
            let flag = if request.fleet.is_some() { "--fleet" } else { "--need" };
            return Err(CapacityError::Usage(format!(
                "{flag} asks for attempts a second and --find concurrent looks for connections; drop one of them"
            )));
        }
        Ok(Self {
            budget,
            confirm: request.confirm.unwrap_or_else(|| default_confirm(budget, request.rfc9411)),
            longest_confirm: request.confirm.unwrap_or(budget),
            trial: request.trial,
            width: request.width.unwrap_or(DEFAULT_WIDTH),
            goals,
            need: need.map(|need| (need, request.margin.unwrap_or(DEFAULT_MARGIN))),
            fleet,
        })
    }

    /// Length of the runs for the latency at parts of the capacity.
    pub(super) fn load_length(&self) -> Nanos {
        Nanos::new(self.budget.as_u64() / 60).max(Nanos::from_secs(1)).min(Nanos::from_secs(5))
    }
}

/// Trials of one search say nothing about another one.
pub(super) fn check_same_search(
    file: &str,
    resumed: &CapacityResult,
    request: &CapacityRequest,
    settings: &Settings,
    plan: &RunPlan,
) -> Result<(), CapacityError> {
    let goals = |goals: &mut dyn Iterator<Item = (String, f64)>| {
        goals.map(|(name, loss)| format!("{name}={}", percent_text(loss))).collect::<Vec<_>>().join(", ")
    };
    let there = goals(&mut resumed.goals.iter().map(|goal| (goal.name.clone(), goal.loss_ratio)));
    let here = goals(&mut settings.goals.iter().map(|goal| (goal.name.clone(), goal.loss_ratio)));
    let need = |need: Option<f64>| need.map_or_else(|| "none".to_owned(), rate_text);
    let word = |value: serde_json::Result<String>| value.unwrap_or_default();
    let population = &plan.populations[0];
    let deadline = request.deadline.map_or_else(|| resumed.asked.deadline.clone(), |deadline| deadline.to_string());
    let pairs = [
        ("target", resumed.target.clone(), target_names(plan)),
        ("clients", resumed.clients.clone(), client_names(plan)),
        ("until", word(serde_json::to_string(&resumed.until)), word(serde_json::to_string(&population.until))),
        ("close", word(serde_json::to_string(&resumed.close)), word(serde_json::to_string(&population.close))),
        ("deadline", resumed.asked.deadline.clone(), deadline),
        // A search that ended before its first trial has no goals, and no trials either.
        ("goals", if resumed.goals.is_empty() { here.clone() } else { there }, here),
        ("need", need(resumed.asked.need_per_s), need(settings.need.map(|(need, _)| need.as_per_second()))),
    ];
    match pairs.into_iter().find(|(_, there, here)| there != here) {
        None => Ok(()),
        Some((what, there, here)) => Err(CapacityError::Usage(format!(
            "{file} is another search, its {what}: {there}, not {here}; give the flags it was begun with, or begin anew \
             without --resume"
        ))),
    }
}

/// The targets as the user wrote them.
pub(super) fn target_names(plan: &RunPlan) -> String {
    let mut names: Vec<&str> = plan.targets.iter().map(|target| target.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

pub(super) fn client_names(plan: &RunPlan) -> String {
    plan.clients().iter().map(|client| client.name()).collect::<Vec<_>>().join(", ")
}
