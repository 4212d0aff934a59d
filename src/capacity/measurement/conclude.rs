//! From what the trials showed to the result.

use crate::base::{Nanos, Rate, rate_text};
use crate::run::{Tool, Verdict};
use crate::search::Conclusion;
use crate::search::QualificationVerdict;

use super::{LEAST_HEADROOM, Measurement, Searched};
use crate::capacity::audience::Audience;
use crate::capacity::measurement::baseline::Unloaded;
use crate::capacity::result::*;
use crate::capacity::settings::{client_names, target_names};
use crate::capacity::trial::busiest_worker;
use crate::capacity::verdict::blame::blame;
use crate::capacity::verdict::{OWN_SINK, not_decidable, outcome_of};

/// A worker less busy than this had room, whatever a ceiling on shared cores says.
const BUSY_PERCENT: f64 = 85.0;

impl<A: Audience> Measurement<'_, A> {
    /// A result of a search that has found nothing yet.
    pub(in crate::capacity) fn empty(&self, started_at: String, unloaded: &Unloaded) -> CapacityResult {
        let request = self.request;
        let settings = &self.settings;
        let plan = unloaded.result.plan.clone();
        let population = &plan.populations[0];
        CapacityResult {
            schema: CAPACITY_SCHEMA.to_owned(),
            tool: Tool::this(),
            started_at,
            statement: String::new(),
            advice: Vec::new(),
            target: target_names(&plan),
            server: match self.site.names.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            local_target: self.site.local,
            deadline_ns: 0,
            until: population.until,
            close: population.close,
            clients: client_names(&plan),
            asked: Asked {
                find: request.find,
                deadline: request
                    .resumed()
                    .map_or_else(|| self.asked_deadline.to_string(), |resumed| resumed.asked.deadline.clone()),
                budget_ns: settings.budget.as_u64(),
                trial_ns: settings.trial.map(Nanos::as_u64),
                confirm_ns: settings.confirm.as_u64(),
                width: settings.width,
                max_rate_per_s: request.max_rate.map(Rate::as_per_second),
                need_per_s: settings.need.map(|(need, _)| need.as_per_second()),
                margin: settings.need.map(|(_, margin)| margin),
                rfc9411: request.rfc9411,
                resumed_from: request.resume.as_ref().map(|(file, _)| file.clone()),
            },
            labels: request.labels.clone(),
            environment: unloaded.result.environment.clone(),
            baseline: Some(unloaded.baseline.clone()),
            plan,
            warmup: None,
            goals: Vec::new(),
            trials: Vec::new(),
            searched: Vec::new(),
            confirmation: None,
            control: None,
            recovered: None,
            overload: None,
            loads: Vec::new(),
            half_sources: None,
            qualification: None,
            concurrent: None,
            thresholds: Vec::new(),
            findings: Vec::new(),
            time: TimeSpent::default(),
            verdict: Verdict::Inconclusive,
            interrupted: None,
            ended_by: None,
        }
    }

    /// From the conclusion of the search to the result's goals.
    pub(in crate::capacity) fn conclude(&mut self, result: &mut CapacityResult, searched: Searched, floor: f64) {
        self.conclude_goals(result, &searched, floor);
        result.warmup.clone_from(&searched.warmup);
        result.recovered = searched.conclusion.as_ref().and_then(|conclusion| conclusion.recovered);
        result.confirmation = self.confirmation(&searched);
        if result.confirmation.is_none()
            && let Some(resumed) = self.request.resumed()
        {
            result.confirmation.clone_from(&resumed.confirmation);
        }
        if let Some((_, trial)) = searched.confirmations.last() {
            // The deadline's own condition comes last in every plan and is not the user's. Texts do not tell them apart:
            // a plan's conditions are without keys.
            let asked = self.request.load.thresholds.len();
            result.thresholds = trial.result.thresholds.iter().take(asked).cloned().collect();
            result.environment.clone_from(&trial.result.environment);
            result.plan = trial.result.plan.clone();
        }
        result.overload = self.overload(result.goals.first());
        result.qualification = searched.conclusion.as_ref().and_then(|conclusion| self.qualification(conclusion));
    }

    fn conclude_goals(&mut self, result: &mut CapacityResult, searched: &Searched, floor: f64) {
        let own_sink = self.request.built_in_sink || self.site.own_sink;
        let busy = searched.confirmations.last().and_then(|(_, trial)| busiest_worker(&trial.result));
        for (index, asked) in self.settings.goals.iter().enumerate() {
            let place = searched.goals.iter().position(|goal| *goal == index);
            let concluded = place.zip(searched.conclusion.as_ref()).map(|(place, conclusion)| &conclusion.goals[place]);
            let Some(concluded) = concluded else {
                result.goals.push(not_decidable(asked, floor));
                continue;
            };
            let found = concluded.confirmed_per_s.or(concluded.lower_bound_per_s);
            let outcome = outcome_of(concluded, &self.settings);
            let outcome = match (&mut result.control, found) {
                (Some(control), Some(found)) if index == 0 => limited_by_control(outcome, control, found, busy),
                _ => outcome,
            };
            let (outcome, reason) = match outcome {
                (outcome, _) if own_sink && found.is_some() && outcome != Outcome::RangeLimited => {
                    (Outcome::GeneratorLimited, Some(OWN_SINK.to_owned()))
                }
                outcome => outcome,
            };
            let (limited_by, because) = match (outcome, reason) {
                (Outcome::NotDecidable, Some(reason)) => (LimitedBy::Unattributed, reason),
                (outcome, reason) => {
                    let blamed = blame(outcome, reason.as_deref(), &searched.evidence);
                    let before = self.blamed_before(index).filter(|_| blamed.0 == LimitedBy::Unattributed);
                    before.unwrap_or(blamed)
                }
            };
            result.goals.push(GoalResult {
                name: asked.name.clone(),
                loss_ratio: asked.loss_ratio,
                exceed_ratio: 0.5,
                outcome,
                lower_bound_per_s: concluded.lower_bound_per_s,
                upper_bound_per_s: concluded.upper_bound_per_s,
                confirmed_per_s: concluded.confirmed_per_s,
                conditional_throughput_per_s: concluded.conditional_throughput_per_s,
                resolution: concluded.resolution,
                loss_resolution: concluded.loss_resolution,
                limited_by,
                because,
            });
        }
    }

    /// Whether the need is met, if there is one.
    fn qualification(&self, conclusion: &Conclusion) -> Option<Qualification> {
        let answer = conclusion.qualification.as_ref()?;
        let (_, margin) = self.settings.need?;
        let offered = self.trials.iter().map(|trial| trial.rate_per_s).fold(0.0, f64::max);
        Some(Qualification {
            need_per_s: answer.need_per_s,
            margin,
            offered_per_s: offered,
            qualified: match answer.verdict {
                QualificationVerdict::Met => Some(true),
                QualificationVerdict::MarginMissed | QualificationVerdict::Missed => Some(false),
                QualificationVerdict::Inconclusive => None,
            },
            headroom: answer.headroom,
            fleet: self.settings.fleet.clone(),
        })
    }

    /// Whose limit the search that this one goes on with has found: its evidence is in no file.
    fn blamed_before(&self, goal: usize) -> Option<(LimitedBy, String)> {
        let before = self.request.resumed()?.goals.get(goal)?;
        let is_known = !matches!(before.limited_by, LimitedBy::Unattributed | LimitedBy::Range);
        is_known.then(|| (before.limited_by, before.because.clone()))
    }

    /// The confirmation of the first goal, or the last one that failed.
    fn confirmation(&self, searched: &Searched) -> Option<Confirmation> {
        let conclusion = searched.conclusion.as_ref()?;
        let confirming = conclusion.goals.first()?.confirming_trial;
        let (index, trial) = searched
            .confirmations
            .iter()
            .find(|(index, _)| Some(*index) == confirming)
            .or_else(|| searched.confirmations.last().filter(|_| confirming.is_none()))?;
        let row = &trial.row;
        let before = searched.confirmations.iter().filter(|(other, _)| other < index).count();
        Some(Confirmation {
            rate_per_s: row.rate_per_s,
            duration_s: row.duration_s,
            attempts: row.attempts,
            lost: row.lost,
            loss_ratio: row.lost as f64 / row.attempts.max(1) as f64,
            passed: confirming == Some(*index),
            missed_before: before as u32,
            busiest_worker_percent: row.busiest_worker_percent,
            latency: trial.result.latency.clone(),
            timeline: trial.result.timeline.clone(),
            observed: trial.result.observed.clone(),
            tcp_info: trial.result.tcp_info.clone(),
        })
    }

    /// The highest rate that was offered and missed.
    fn overload(&self, goal: Option<&GoalResult>) -> Option<Overload> {
        let lower = goal.and_then(|goal| goal.confirmed_per_s.or(goal.lower_bound_per_s));
        let judged = |trial: &&TrialRow| {
            matches!(trial.purpose, TrialPurpose::Climb | TrialPurpose::Decide | TrialPurpose::Confirm)
        };
        let missed = self.trials.iter().filter(judged).filter(|trial| trial.valid && trial.exceeds);
        // What is missed below a rate that is sustained is a stall.
        let above = missed.filter(|trial| lower.is_none_or(|lower| trial.rate_per_s > lower));
        let worst = above.max_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s))?;
        Some(Overload {
            rate_per_s: worst.rate_per_s,
            factor: lower.map(|lower| worst.rate_per_s / lower),
            completed_per_s: worst.completed_per_s,
            loss_ratio: worst.lost as f64 / worst.attempts.max(1) as f64,
            response_p99_ns: worst.response_p99_ns,
            failures: worst.failures.clone(),
        })
    }
}

/// The outcome of the first goal, for which the same load against a target that does nothing else has a ceiling too near to
/// `found`: that of a `control` on cores of its own, or one that left the `busy` workers time.
fn limited_by_control(
    outcome: (Outcome, Option<String>),
    control: &mut Control,
    found: f64,
    busy: Option<f64>,
) -> (Outcome, Option<String>) {
    let headroom = control.ceiling_per_s / found;
    control.headroom = Some(headroom);
    // A sink on the workers' cores makes a ceiling that is too low.
    let proves = control.own_cores || busy.is_none_or(|busy| busy >= BUSY_PERCENT);
    if outcome.0 != Outcome::Confirmed || control.at_least || headroom >= LEAST_HEADROOM || !proves {
        return outcome;
    }
    let reason = format!(
        "the same load against {} comes to {} only, {headroom:.2} times this rate; {LEAST_HEADROOM} times would leave no doubt: \
         use a faster machine, or several with `run --share`",
        control.target,
        rate_text(control.ceiling_per_s)
    );
    (Outcome::GeneratorLimited, Some(reason))
}
