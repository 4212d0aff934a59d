//! The whole measurement, from the first look at the target to the result.

use crate::base::{DurationText, Nanos, Rate};
use crate::fleet::Progress;
use crate::io::Engine;
use crate::observe::Observer;
use crate::run::{Finding, Notice, RunPlan, RunResult, Severity, Tool, Verdict};
use crate::scenario::{Lookup, Machine};
use crate::search::{
    Conclusion, Goal, GoalConclusion, Mode, QualificationVerdict, Recovery, Search, SearchSpec, Step, TrialOutcome,
    TrialRequest,
};

use super::after::{SHARES, half_of_the_sources, load_at};
use super::baseline::{Unloaded, deadline_over, measure_baseline};
use super::blame::{Evidence, blame};
use super::concurrent::{idle_timeout, ramp};
use super::control::measure_control;
use super::fleet_need::need_of;
use super::request::{CapacityRequest, Deadline, GoalRequest};
use super::result::*;
use super::rfc9411::SUSTAIN_S;
use super::runner::Runner;
use super::shape::{Load, Shape, holds_forever, rate};
use super::site::Site;
use super::statement::{percent_text, rate_text, statement};
use super::trial::{Trial, busiest_worker, run_trial, serious};
use super::warm_up::warm_up;

const DEFAULT_DEADLINE: Nanos = Nanos::from_millis(100);
const DEFAULT_BUDGET: Nanos = Nanos::from_secs(300);
/// The strict goal needs longer: a sustain phase of 300 s, and the search before it.
const RFC9411_BUDGET: Nanos = Nanos::from_secs(900);
const DEFAULT_CONFIRM: Nanos = Nanos::from_secs(60);
const DEFAULT_MARGIN: f64 = 1.2;
const DEFAULT_WIDTH: f64 = 0.01;
/// Setting up workers, draining, and a short cooldown.
const OVERHEAD: Nanos = Nanos::from_millis(500);
/// What the baseline takes against a target that answers at once.
const BASELINE: Nanos = Nanos::from_secs(4);
/// What a control takes that is not cached.
const CONTROL: Nanos = Nanos::from_secs(4);
/// Below this the generator is too close to its own ceiling.
const LEAST_HEADROOM: f64 = 1.25;
/// A worker less busy than this had room, whatever a ceiling on shared cores says.
const BUSY_PERCENT: f64 = 85.0;

/// Why a capacity cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// What was asked cannot be: one sentence with the remedy; the exit code is 2.
    #[error("{0}")]
    Usage(String),
    /// This machine cannot do it now; the exit code is 1.
    #[error("{0}")]
    Environment(String),
}

/// Who is told how it goes.
pub trait Audience {
    /// A line for people.
    fn say(&mut self, line: &str);

    /// Called every few tens of milliseconds while a run of a known length goes on.
    fn progress(&mut self, purpose: TrialPurpose, rate_per_s: f64, progress: &Progress, elapsed: Nanos, length: Nanos);

    /// Something happened in a run.
    fn notice(&mut self, notice: Notice<'_>);

    /// A trial is over.
    fn trial(&mut self, row: &TrialRow);
}

/// Measures what `request` asks for.
///
/// # Errors
/// If that cannot be, or cannot be measured here; once the target has answered there is a result, whatever it says.
pub fn measure(
    request: &CapacityRequest,
    machine: Machine,
    lookup: Lookup<'_>,
    runner: &mut Runner,
    audience: &mut impl Audience,
) -> Result<CapacityResult, CapacityError> {
    let allowed = machine.cpus.clone();
    let asked_deadline = match &request.resume {
        Some((_, resumed)) if request.deadline.is_none() => Deadline::After(Nanos::new(resumed.deadline_ns)),
        _ => request.deadline.unwrap_or(Deadline::After(DEFAULT_DEADLINE)),
    };
    let (Deadline::After(guess) | Deadline::OverBaseline(guess)) = asked_deadline;
    let mut load = request.load.clone();
    if request.rfc9411 {
        load.close = Some(load.close.unwrap_or(crate::run::ClosePolicy::Fin));
    }
    let mut shape = Shape::new(load, machine, lookup, guess)?;
    let first_plan = shape.plan(Load::Rate(rate(100.0), Nanos::from_secs(1)))?;
    if request.find == Find::Rate && holds_forever(&first_plan) {
        return Err(CapacityError::Usage(
            "connections held for ever leave no attempts a second to look for; drop --hold forever, or look for \
             --find concurrent"
                .to_owned(),
        ));
    }
    let settings = Settings::of(request)?;
    let sim = runner.engine() == Engine::Sim;
    let site = if sim { Site::default() } else { Site::of(&first_plan) };
    let mut findings = Vec::new();
    if !sim && request.load.workers.is_none() && !request.built_in_sink {
        let placement = site.placement(&allowed);
        if let Some(cpus) = placement.cpus {
            shape.on_cpus(cpus);
        }
        findings.extend(placement.finding);
    }
    observe(request, &site, runner)?;
    let mut measurement = Measurement {
        request,
        settings,
        shape,
        site,
        allowed,
        asked_deadline,
        runner,
        audience,
        findings,
        trials: Vec::new(),
        searched: Vec::new(),
        time: TimeSpent::default(),
        ended_by: None,
    };
    measurement.run(first_plan)
}

/// The processes of a local target are observed without being asked for.
fn observe(request: &CapacityRequest, site: &Site, runner: &mut Runner) -> Result<(), CapacityError> {
    if runner.engine() == Engine::Sim {
        return match request.observe.as_slice() {
            [] => Ok(()),
            _ => Err(CapacityError::Usage("the simulated network has nothing to observe; drop --observe".to_owned())),
        };
    }
    let mut subjects = request.observe.clone();
    let own = site.subjects().into_iter().filter(|subject| !request.observe.contains(subject));
    // What was asked for must be there; what was found may have ended since.
    if Observer::new(&own.clone().collect::<Vec<_>>()).is_ok() {
        subjects.extend(own);
    }
    if !subjects.is_empty() {
        let observer = Observer::new(&subjects).map_err(|error| CapacityError::Usage(error.to_string()))?;
        runner.observe(observer);
    }
    Ok(())
}

/// What was asked, with every default applied.
struct Settings {
    budget: Nanos,
    confirm: Nanos,
    trial: Option<Nanos>,
    width: f64,
    goals: Vec<GoalRequest>,
    need: Option<(Rate, f64)>,
    fleet: Option<FleetNeed>,
}

impl Settings {
    fn of(request: &CapacityRequest) -> Result<Self, CapacityError> {
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
            return usage("--need is attempts a second and --find concurrent looks for connections; drop one of them");
        }
        let whole = if request.rfc9411 { Nanos::from_secs_f64(SUSTAIN_S) } else { DEFAULT_CONFIRM };
        // A short budget has a short confirmation.
        let confirm = request
            .confirm
            .unwrap_or_else(|| whole.min(Nanos::new(budget.as_u64() / if request.rfc9411 { 3 } else { 5 })));
        Ok(Self {
            budget,
            confirm,
            trial: request.trial,
            width: request.width.unwrap_or(DEFAULT_WIDTH),
            goals,
            need: need.map(|need| (need, request.margin.unwrap_or(DEFAULT_MARGIN))),
            fleet,
        })
    }

    /// Length of the runs for the latency at parts of the capacity.
    fn load_length(&self) -> Nanos {
        Nanos::new(self.budget.as_u64() / 60).max(Nanos::from_secs(1)).min(Nanos::from_secs(5))
    }
}

struct Measurement<'a, A> {
    request: &'a CapacityRequest,
    settings: Settings,
    shape: Shape<'a>,
    site: Site,
    allowed: Vec<u32>,
    asked_deadline: Deadline,
    runner: &'a mut Runner,
    audience: &'a mut A,
    findings: Vec<Finding>,
    trials: Vec<TrialRow>,
    searched: Vec<TrialOutcome>,
    time: TimeSpent,
    ended_by: Option<String>,
}

/// What the search leaves behind.
#[derive(Default)]
struct Searched {
    conclusion: Option<Conclusion>,
    /// The goals of the search, by their place in the settings.
    goals: Vec<usize>,
    warmup: Option<WarmUp>,
    /// The last confirmation of each goal: confirming trial and its run.
    confirmations: Vec<(usize, Box<Trial>)>,
    evidence: Vec<Evidence>,
}

impl<A: Audience> Measurement<'_, A> {
    fn run(&mut self, first_plan: RunPlan) -> Result<CapacityResult, CapacityError> {
        // Whether the search can be is known before the first packet.
        let planned =
            if self.request.find == Find::Rate { Some(self.search(rate(200.0), Nanos::ZERO, &[])?) } else { None };
        self.announce(&first_plan, planned.as_ref());
        let started_at = self.started_at();
        let began = self.runner.elapsed();
        let unloaded = measure_baseline(self.runner, self.audience, &self.shape)?;
        self.time.baseline_s = self.runner.elapsed().saturating_sub(began).as_secs_f64();
        self.note_findings(&unloaded.result);
        let mut result = self.empty(started_at, &unloaded);
        if !unloaded.dead && self.runner.interrupted().is_none() {
            self.say_baseline(&unloaded.baseline);
            let deadline = deadline_over(self.asked_deadline, &unloaded.baseline)?;
            self.shape.set_deadline(deadline);
            result.deadline_ns = deadline.as_u64();
            match self.request.find {
                Find::Rate => self.find_rate(&mut result, &unloaded)?,
                Find::Concurrent => self.find_concurrent(&mut result, &unloaded)?,
            }
        }
        self.finish(&mut result, &unloaded);
        Ok(result)
    }

    /// The search of this budget, told of the trials that were made before.
    fn search(&self, start: Rate, spent: Nanos, goals: &[usize]) -> Result<Search, CapacityError> {
        let settings = &self.settings;
        let deadline = self.shape.deadline();
        let all: Vec<usize> = (0..settings.goals.len()).collect();
        let goals = if goals.is_empty() { &all } else { goals };
        let goal = |index: &usize| {
            let asked = &settings.goals[*index];
            let goal = Goal::new(&asked.name, asked.loss_ratio, deadline);
            let final_trial = settings.trial.unwrap_or_else(|| self.final_trial(goal.final_trial));
            let sum = final_trial.as_secs_f64() * (goal.duration_sum.as_secs_f64() / goal.final_trial.as_secs_f64());
            Goal { width: settings.width, duration_sum: Nanos::from_secs_f64(sum), final_trial, ..goal }
        };
        let goals: Vec<Goal> = goals.iter().map(goal).collect();
        let default = SearchSpec::new(deadline);
        let final_trial = goals[0].final_trial;
        let highest = match (self.request.max_rate, settings.need) {
            (_, Some((need, margin))) => need.as_per_second() * margin,
            (Some(most), None) => most.as_per_second(),
            (None, None) => f64::INFINITY,
        };
        let lowest = default.min_rate.as_per_second().min(highest / 10.0);
        let start = start.as_per_second().max(lowest).min(highest);
        let after = self.after_reserve();
        let spec = SearchSpec {
            goals,
            min_rate: rate(lowest),
            max_rate: self.request.max_rate,
            start_rate: rate(start),
            budget: settings.budget.saturating_sub(spent.max(BASELINE)).saturating_sub(after),
            confirm: settings.confirm,
            climb_trial: default.climb_trial.min(final_trial),
            warm_up: self.request.warmup.unwrap_or(default.warm_up),
            trial_overhead: OVERHEAD,
            recovery: Some(Recovery { probe: Nanos::from_secs(1), within: Nanos::from_secs(20) }),
            mode: settings.need.map_or(Mode::Find, |(need, margin)| Mode::Qualify { need, margin }),
            ..default
        };
        let mut search = Search::new(spec).map_err(|error| CapacityError::Usage(error.to_string()))?;
        if let Some((_, resumed)) = &self.request.resume {
            resumed.searched.iter().for_each(|outcome| search.record(outcome.clone()));
        }
        Ok(search)
    }

    /// Length of the trials that decide, where the budget is short.
    fn final_trial(&self, whole: Nanos) -> Nanos {
        whole.min(Nanos::new(self.settings.budget.as_u64() / 20)).max(Nanos::from_secs(1))
    }

    /// Time kept for what comes after the search.
    fn after_reserve(&self) -> Nanos {
        if self.settings.need.is_some() {
            return Nanos::ZERO;
        }
        let one = (self.settings.load_length() + OVERHEAD).as_secs_f64();
        Nanos::from_secs_f64(one * (SHARES.len() as f64 + 1.0))
    }

    fn find_rate(&mut self, result: &mut CapacityResult, unloaded: &Unloaded) -> Result<(), CapacityError> {
        if self.request.built_in_sink || self.site.own_sink {
            self.audience
                .say("note: the target is this program's own sink: what is found is what this machine can generate");
        } else if self.runner.engine() != Engine::Sim {
            let began = self.runner.elapsed();
            result.control =
                measure_control(self.runner, self.audience, &self.shape, &self.request.control, &self.allowed)?;
            self.time.control_s = self.runner.elapsed().saturating_sub(began).as_secs_f64();
            if let Some(control) = &result.control {
                let cached = if control.cached { " (measured before)" } else { "" };
                self.audience.say(&format!(
                    "control: {} against {}{cached}",
                    rate_text(control.ceiling_per_s),
                    control.target
                ));
            }
        }
        let floor = unloaded.baseline.loss_floor();
        let goals: Vec<usize> =
            (0..self.settings.goals.len()).filter(|goal| self.settings.goals[*goal].loss_ratio >= floor).collect();
        let mut searched = Searched { goals: goals.clone(), ..Searched::default() };
        if !goals.is_empty() {
            self.run_search(&mut searched, unloaded)?;
        }
        self.conclude(result, searched, floor);
        if self.settings.need.is_none() {
            self.after(result)?;
        }
        Ok(())
    }

    fn run_search(&mut self, searched: &mut Searched, unloaded: &Unloaded) -> Result<(), CapacityError> {
        let began = self.runner.elapsed();
        let start = rate((2.0 * unloaded.baseline.rate_per_s).max(1.0));
        let mut search = self.search(start, began, &searched.goals)?;
        if let Some((_, resumed)) = &self.request.resume {
            self.searched.extend(resumed.searched.iter().cloned());
            self.trials.extend(resumed.trials.iter().cloned());
            searched.warmup.clone_from(&resumed.warmup);
        }
        let conclusion = loop {
            if self.runner.interrupted().is_some() {
                break search.stop();
            }
            let request = match search.next() {
                Step::Trial(request) => request,
                Step::Done(conclusion) => break conclusion,
            };
            let Some(outcome) = self.one_trial(&search, request, searched)? else { break search.stop() };
            self.searched.push(outcome.clone());
            search.record(outcome);
        };
        searched.conclusion = Some(conclusion);
        self.time.search_s = self.runner.elapsed().saturating_sub(began).as_secs_f64();
        Ok(())
    }

    /// Runs what the search asked for; none if it was cut short, and then it says nothing.
    fn one_trial(
        &mut self,
        search: &Search,
        request: TrialRequest,
        searched: &mut Searched,
    ) -> Result<Option<TrialOutcome>, CapacityError> {
        let began = self.runner.elapsed();
        let purpose = TrialPurpose::from(request.purpose);
        let trial = if purpose == TrialPurpose::WarmUp {
            let fixed = self.request.warmup.is_some();
            let (warmup, trial) =
                warm_up(self.runner, self.audience, &self.shape, request.rate_per_s, request.duration, fixed)?;
            searched.warmup = Some(warmup);
            trial
        } else {
            let plan = self.shape.plan(Load::Rate(rate(request.rate_per_s), request.duration))?;
            run_trial(self.runner, self.audience, plan, purpose, self.shape.deadline())?
        };
        if let Some(reason) = &trial.result.ended_by {
            self.ended_by = Some(reason.clone());
        }
        if trial.cut_short {
            return Ok(None);
        }
        self.time.cooldown_s += self.site.cool_down(self.runner).as_secs_f64();
        self.note_findings(&trial.result);
        let took = self.runner.elapsed().saturating_sub(began);
        let outcome = TrialOutcome {
            request,
            attempts: trial.row.attempts,
            lost: trial.row.lost,
            backlog_growth: trial.row.backlog_growth,
            limited: trial.limit(),
            took,
        };
        let exceeds = search.exceeds(&outcome, 0);
        let row = TrialRow { took_s: took.as_secs_f64(), exceeds, ..trial.row.clone() };
        self.audience.trial(&row);
        if exceeds || purpose == TrialPurpose::Confirm {
            searched.evidence.push(Evidence::of(&trial.result, trial.row.lost, self.site.local));
        }
        self.trials.push(row);
        if purpose == TrialPurpose::Confirm {
            searched.confirmations.push((self.searched.len(), Box::new(trial)));
        }
        Ok(Some(outcome))
    }

    /// From the conclusion of the search to the result's goals.
    fn conclude(&mut self, result: &mut CapacityResult, searched: Searched, floor: f64) {
        let own_sink = self.request.built_in_sink || self.site.own_sink;
        let busy = searched.confirmations.last().and_then(|(_, trial)| busiest_worker(&trial.result));
        for (index, asked) in self.settings.goals.iter().enumerate() {
            let place = searched.goals.iter().position(|goal| *goal == index);
            let concluded = place.zip(searched.conclusion.as_ref()).map(|(place, conclusion)| &conclusion.goals[place]);
            let Some(concluded) = concluded else {
                result.goals.push(not_decidable(asked, floor));
                continue;
            };
            let (mut outcome, mut reason) = outcome_of(concluded, &self.settings);
            let found = concluded.confirmed_per_s.or(concluded.lower_bound_per_s);
            if index == 0
                && let (Some(control), Some(found)) = (&mut result.control, found)
            {
                let headroom = control.ceiling_per_s / found;
                control.headroom = Some(headroom);
                // A sink on the workers' cores makes a ceiling that is too low.
                let proves = control.own_cores || busy.is_none_or(|busy| busy >= BUSY_PERCENT);
                if outcome == Outcome::Confirmed && headroom < LEAST_HEADROOM && proves {
                    outcome = Outcome::GeneratorLimited;
                    reason = Some(format!(
                        "the same load against {} comes to {} only, {headroom:.2} times this rate; {LEAST_HEADROOM} times \
                         would leave no doubt: use a faster machine, or several with `run --share`",
                        control.target,
                        rate_text(control.ceiling_per_s)
                    ));
                }
            }
            if own_sink && found.is_some() && outcome != Outcome::RangeLimited {
                outcome = Outcome::GeneratorLimited;
                reason = Some("the target is this program's own sink, which is as fast as the generator".to_owned());
            }
            let (limited_by, because) = match (outcome, reason) {
                (Outcome::NotDecidable, Some(reason)) => (LimitedBy::Unattributed, reason),
                (outcome, reason) => blame(outcome, reason.as_deref(), &searched.evidence),
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
        result.warmup.clone_from(&searched.warmup);
        result.recovered = searched.conclusion.as_ref().and_then(|conclusion| conclusion.recovered);
        result.confirmation = self.confirmation(&searched);
        if result.confirmation.is_none()
            && let Some((_, resumed)) = &self.request.resume
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
        result.qualification = searched.conclusion.as_ref().and_then(|conclusion| {
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
        });
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
        })
    }

    /// The highest rate that was offered and missed.
    fn overload(&self, goal: Option<&GoalResult>) -> Option<Overload> {
        let lower = goal.and_then(|goal| goal.confirmed_per_s.or(goal.lower_bound_per_s));
        let judged = |trial: &&TrialRow| {
            matches!(trial.purpose, TrialPurpose::Climb | TrialPurpose::Decide | TrialPurpose::Confirm)
        };
        let missed = self.trials.iter().filter(judged).filter(|trial| trial.valid && trial.exceeds);
        let worst = missed.max_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s))?;
        Some(Overload {
            rate_per_s: worst.rate_per_s,
            factor: lower.map(|lower| worst.rate_per_s / lower),
            completed_per_s: worst.completed_per_s,
            loss_ratio: worst.lost as f64 / worst.attempts.max(1) as f64,
            response_p99_ns: worst.response_p99_ns,
            failures: worst.failures.clone(),
        })
    }

    /// Latency at parts of the capacity, and half of the sources, as far as the budget goes.
    fn after(&mut self, result: &mut CapacityResult) -> Result<(), CapacityError> {
        let Some(goal) = result.first_goal() else { return Ok(()) };
        let recovered = result.recovered != Some(false);
        let found = goal.confirmed_per_s.or(goal.lower_bound_per_s).filter(|_| recovered);
        let Some(found) = found else { return Ok(()) };
        let began = self.runner.elapsed();
        let length = self.settings.load_length();
        for share in SHARES {
            if !self.has_time_for(length) {
                break;
            }
            let at = (share, found);
            if let Some((load, row)) = load_at(self.runner, self.audience, &self.shape, at, length)? {
                self.audience.trial(&row);
                result.loads.push(load);
                self.trials.push(row);
            }
            self.time.cooldown_s += self.site.cool_down(self.runner).as_secs_f64();
        }
        if self.has_time_for(length)
            && let Some((half, row)) = half_of_the_sources(self.runner, self.audience, &self.shape, found, length)?
        {
            self.audience.trial(&row);
            self.trials.push(row);
            result.half_sources = Some(half);
        }
        self.time.after_s = self.runner.elapsed().saturating_sub(began).as_secs_f64();
        Ok(())
    }

    fn has_time_for(&self, length: Nanos) -> bool {
        self.runner.interrupted().is_none() && self.runner.elapsed() + length + OVERHEAD <= self.settings.budget
    }

    fn find_concurrent(&mut self, result: &mut CapacityResult, unloaded: &Unloaded) -> Result<(), CapacityError> {
        let budget = self.settings.budget;
        let share = |part: f64| Nanos::from_secs_f64(budget.as_secs_f64() * part);
        let idle = idle_timeout(self.runner, self.audience, &self.shape, share(0.25))?;
        self.audience.say(&match idle.age {
            Some(age) => format!("idle time-out: it closes connections that say nothing after {age}"),
            None => format!("idle time-out: none within {}", DurationText(idle.watched.into())),
        });
        if self.runner.interrupted().is_some() {
            return Ok(());
        }
        let per_s = match self.request.max_rate {
            Some(given) => given.as_per_second(),
            None => self.quick_rate(unloaded)?,
        };
        if per_s <= 0.0 || self.runner.interrupted().is_some() {
            return Ok(());
        }
        let left = budget.saturating_sub(self.runner.elapsed()).saturating_sub(OVERHEAD).max(Nanos::from_secs(2));
        let began = self.runner.elapsed();
        let (concurrent, run) = ramp(self.runner, self.audience, &self.shape, per_s / 2.0, &idle, left)?;
        self.time.search_s += self.runner.elapsed().saturating_sub(began).as_secs_f64();
        self.note_findings(&run);
        result.environment.clone_from(&run.environment);
        result.plan = run.plan;
        result.concurrent = Some(concurrent);
        Ok(())
    }

    /// About what the target takes, by short trials only.
    fn quick_rate(&mut self, unloaded: &Unloaded) -> Result<f64, CapacityError> {
        const LENGTH: Nanos = Nanos::from_secs(1);
        let limit = self.runner.elapsed() + Nanos::from_secs_f64(self.settings.budget.as_secs_f64() * 0.25);
        let loss = self.settings.goals[0].loss_ratio;
        let (mut met, mut offered) = (0.0, 2.0 * unloaded.baseline.rate_per_s);
        while self.runner.elapsed() < limit && self.runner.interrupted().is_none() {
            let plan = self.shape.plan(Load::Rate(rate(offered), LENGTH))?;
            let trial = run_trial(self.runner, self.audience, plan, TrialPurpose::Climb, self.shape.deadline())?;
            self.time.cooldown_s += self.site.cool_down(self.runner).as_secs_f64();
            let exceeds = trial.row.lost as f64 > loss * trial.row.attempts as f64;
            let row = TrialRow { exceeds, ..trial.row };
            self.audience.trial(&row);
            let over = exceeds || !row.valid || trial.cut_short;
            self.trials.push(row);
            if over {
                break;
            }
            met = offered;
            offered *= 2.0;
        }
        Ok(if met > 0.0 { met } else { unloaded.baseline.rate_per_s })
    }

    /// What every trial repeats is said once.
    fn note_findings(&mut self, result: &RunResult) {
        /// These are about one trial, and stand in its row; or about what the search does on purpose.
        const OF_A_TRIAL: [&str; 6] = [
            "late_starts",
            "pool_too_small",
            "missed_starts",
            "slots_held_by_target",
            "refused_by_all",
            "target_on_this_machine",
        ];
        for finding in serious(result) {
            let known = self.findings.iter().any(|known| known.code == finding.code);
            if !known && !OF_A_TRIAL.contains(&finding.code.as_str()) {
                self.findings.push(finding.clone());
            }
        }
    }

    fn announce(&mut self, plan: &RunPlan, search: Option<&Search>) {
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
        let machine = self.shape.machine();
        self.audience.say(&format!(
            "rates {most}; at most {} connections at once, {} worker{}",
            u64::from(machine.descriptors) * u64::from(machine.cores),
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
            let total = plan.total + BASELINE + CONTROL + self.after_reserve();
            self.time.planned_s = total.min(self.settings.budget).as_secs_f64();
            self.audience.say(&format!(
                "time plan: baseline {}, {}, latency at parts of the capacity {}: about {} of {}",
                seconds(BASELINE + CONTROL),
                parts.join(", "),
                seconds(self.after_reserve()),
                seconds(total.min(self.settings.budget)),
                seconds(self.settings.budget)
            ));
        }
    }

    fn say_baseline(&mut self, baseline: &Baseline) {
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

    fn started_at(&self) -> String {
        let at = match self.runner.engine() {
            Engine::Sim => std::time::SystemTime::UNIX_EPOCH,
            _ => std::time::SystemTime::now(),
        };
        humantime::format_rfc3339_millis(at).to_string()
    }

    /// A result of a search that has found nothing yet.
    fn empty(&self, started_at: String, unloaded: &Unloaded) -> CapacityResult {
        let request = self.request;
        let settings = &self.settings;
        let plan = unloaded.result.plan.clone();
        let population = &plan.populations[0];
        let mut names: Vec<&str> = plan.targets.iter().map(|target| target.name.as_str()).collect();
        names.dedup();
        let clients: Vec<String> = plan.clients().iter().map(|client| client.name()).collect();
        CapacityResult {
            schema: CAPACITY_SCHEMA.to_owned(),
            tool: Tool::this(),
            started_at,
            statement: String::new(),
            advice: Vec::new(),
            target: names.join(", "),
            server: match self.site.names.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            local_target: self.site.local,
            deadline_ns: 0,
            until: population.until,
            close: population.close,
            clients: clients.join(", "),
            asked: Asked {
                find: request.find,
                deadline: self.asked_deadline.to_string(),
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

    fn finish(&mut self, result: &mut CapacityResult, unloaded: &Unloaded) {
        result.interrupted = self.runner.interrupted();
        result.ended_by = self.ended_by.take();
        result.trials = std::mem::take(&mut self.trials);
        result.searched = std::mem::take(&mut self.searched);
        result.findings = std::mem::take(&mut self.findings);
        self.time.budget_s = self.settings.budget.as_secs_f64();
        self.time.total_s = self.runner.elapsed().as_secs_f64();
        result.time = self.time;
        result.verdict = verdict(result, unloaded.dead);
        result.findings.extend(half_finding(result.half_sources.as_ref()));
        result.advice = advice(result);
        result.statement = statement(result);
    }
}

/// How the search ended for a goal, and why in words.
fn outcome_of(goal: &GoalConclusion, settings: &Settings) -> (Outcome, Option<String>) {
    use crate::search::Verdict as Search;
    match &goal.verdict {
        Search::Confirmed => (Outcome::Confirmed, None),
        Search::NotConfirmed { .. } => (Outcome::NotConfirmed, None),
        Search::Unstable { .. } => (Outcome::Unstable, None),
        Search::GeneratorLimited { reason, .. } => (Outcome::GeneratorLimited, Some(reason.clone())),
        Search::RangeLimited => {
            let reason = match settings.need {
                Some(_) => "no more than the need and its margin was offered",
                None => "no more than --max-rate was offered",
            };
            (Outcome::RangeLimited, Some(reason.to_owned()))
        }
        Search::NothingCompletes | Search::NothingSustained => (Outcome::NothingCompletes, None),
        Search::DidNotRecover { .. } => (Outcome::DidNotRecover, None),
        Search::NotDecidable { attempts, needed } => (
            Outcome::NotDecidable,
            Some(format!(
                "{attempts} attempts are too few to tell a loss of {}: {needed} are needed; give a longer --confirm and \
                 --budget, or a goal that allows more",
                percent_text(goal.loss_ratio)
            )),
        ),
        Search::Undecided => (Outcome::Undecided, None),
    }
}

fn not_decidable(asked: &GoalRequest, floor: f64) -> GoalResult {
    GoalResult {
        name: asked.name.clone(),
        loss_ratio: asked.loss_ratio,
        exceed_ratio: 0.5,
        outcome: Outcome::NotDecidable,
        lower_bound_per_s: None,
        upper_bound_per_s: None,
        confirmed_per_s: None,
        conditional_throughput_per_s: None,
        resolution: None,
        loss_resolution: None,
        limited_by: LimitedBy::Network,
        because: format!(
            "without any load the path and the target lose {}, more than {}; not decidable on this path",
            percent_text(floor),
            percent_text(asked.loss_ratio)
        ),
    }
}

/// Whether the result is what was asked.
fn verdict(result: &CapacityResult, dead: bool) -> Verdict {
    if dead {
        return Verdict::Fail;
    }
    if result.ended_by.is_some() || result.thresholds.iter().any(|threshold| threshold.pass == Some(false)) {
        return Verdict::Fail;
    }
    if let Some(concurrent) = &result.concurrent {
        return match concurrent.limited_by {
            LimitedBy::Generator | LimitedBy::Range => Verdict::Inconclusive,
            LimitedBy::Target | LimitedBy::Network | LimitedBy::Unattributed => Verdict::Pass,
        };
    }
    if let Some(qualification) = &result.qualification {
        return match qualification.qualified {
            Some(true) => Verdict::Pass,
            Some(false) => Verdict::Fail,
            None => Verdict::Inconclusive,
        };
    }
    match result.first_goal().map(|goal| goal.outcome) {
        Some(Outcome::Confirmed | Outcome::RangeLimited) => Verdict::Pass,
        Some(Outcome::NothingCompletes | Outcome::DidNotRecover) => Verdict::Fail,
        _ => Verdict::Inconclusive,
    }
}

fn half_finding(half: Option<&HalfSources>) -> Option<Finding> {
    let half = half.filter(|half| half.limited_per_source == Some(true))?;
    Some(Finding {
        code: "per_source_limit".to_owned(),
        severity: Severity::Warning,
        message: format!(
            "from {} instead of {} sources only {} are served in time: a limit per source, or a load balancer's affinity to \
             sources",
            half.half,
            half.sources,
            rate_text(half.goodput_per_s)
        ),
        remedy: "the capacity is of this many sources: give more with --source to see it grow".to_owned(),
    })
}

/// What to do next.
fn advice(result: &CapacityResult) -> Vec<String> {
    let mut advice = Vec::new();
    let Some(goal) = result.first_goal() else {
        let failures = result.baseline.iter().flat_map(|baseline| &baseline.failures);
        advice.extend(failures.max_by_key(|failure| failure.count).map(|failure| failure.advice.clone()));
        return advice;
    };
    match goal.outcome {
        Outcome::Confirmed => match goal.limited_by {
            LimitedBy::Target => advice.push(
                "run below the confirmed rate with room to spare: latency at 90 % of it stands below, and an overload \
                 shows past it"
                    .to_owned(),
            ),
            _ => advice.push("add --observe pid:N or the URL of the target's node_exporter to see what limits it".to_owned()),
        },
        Outcome::GeneratorLimited => advice.push(
            "load it from a machine with more cores, or from several: this one cannot show what the target can do".to_owned(),
        ),
        Outcome::RangeLimited if result.qualification.is_none() => {
            advice.push("drop --max-rate, or raise it, to find the capacity".to_owned());
        }
        Outcome::Unstable => advice.push(
            "look for what stops the target now and then (garbage collection, disk, a neighbour on its machine); `run` at \
             half of the rate shows the stalls on its timeline"
                .to_owned(),
        ),
        Outcome::NothingCompletes => {
            advice.push("`probe` explains one handshake; a longer --deadline tells slow from broken".to_owned());
        }
        Outcome::DidNotRecover => {
            advice.push("restart the target, and keep clients away from such an overload".to_owned());
        }
        Outcome::Undecided | Outcome::NotConfirmed => {
            advice.push("give a longer --budget; --resume FILE goes on from a saved search".to_owned());
        }
        Outcome::NotDecidable | Outcome::RangeLimited => {}
    }
    if let Some(fleet) = result.qualification.as_ref().and_then(|qualification| qualification.fleet.as_ref()) {
        advice.push(format!(
            "all {} clients try again at the same time: the target's accept queue (net.core.somaxconn, its own backlog) is \
             to have room for them",
            fleet.clients
        ));
    }
    advice
}

fn seconds(length: Nanos) -> String {
    let rounded = Nanos::from_secs(length.as_secs_f64().round() as u64);
    DurationText(rounded.into()).to_string()
}

impl From<crate::search::Purpose> for TrialPurpose {
    fn from(purpose: crate::search::Purpose) -> Self {
        use crate::search::Purpose;
        match purpose {
            Purpose::Climb => Self::Climb,
            Purpose::WarmUp => Self::WarmUp,
            Purpose::Decide => Self::Decide,
            Purpose::Confirm => Self::Confirm,
            Purpose::Probe => Self::Probe,
        }
    }
}
