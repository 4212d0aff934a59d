//! The whole measurement, from the first look at the target to the result.

mod after;
mod announce;
mod baseline;
mod conclude;
mod concurrent;
mod connections;
mod control;
mod control_identity;
mod room;
mod site;
mod warm_up;

use crate::base::{Nanos, rate_text};
use crate::finding::{Finding, FindingCode};
use crate::io::Engine;
use crate::observe::Observer;
use crate::run::{ClosePolicy, RunResult};
use crate::scenario::{Lookup, Machine};
use crate::search::{Conclusion, Search, Step, TrialOutcome, TrialRequest};

use crate::capacity::audience::Audience;
use crate::capacity::error::CapacityError;
use crate::capacity::measurement::after::{SHARES, half_of_the_sources, load_at};
use crate::capacity::measurement::baseline::{BaselineOrder, Unloaded, deadline_over, measure_baseline};
use crate::capacity::measurement::control::{ControlOrder, measure_control};
use crate::capacity::measurement::site::Site;
use crate::capacity::measurement::warm_up::warm_up;
use crate::capacity::request::{CapacityRequest, Deadline};
use crate::capacity::result::*;
use crate::capacity::settings::{Settings, check_same_search};
use crate::capacity::trial::runner::Runner;
use crate::capacity::trial::shape::{Load, Shape, holds_forever, rate};
use crate::capacity::trial::{Trial, TrialOrder, run_order, serious};
use crate::capacity::verdict::blame::Evidence;
use crate::capacity::verdict::statement::statement;
use crate::capacity::verdict::{advice, half_finding, not_repeated, verdict};

/// Below this the generator is too close to its own ceiling.
const LEAST_HEADROOM: f64 = 1.25;

const DEFAULT_DEADLINE: Nanos = Nanos::from_millis(100);
/// Setting up workers, draining, and a short cooldown.
const OVERHEAD: Nanos = Nanos::from_millis(500);

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
    let allowed = machine.topology.cpus();
    let resumed = request.resumed();
    let asked_deadline = match resumed {
        // What +T came to is part of the search.
        Some(resumed) if resumed.deadline_ns > 0 => Deadline::After(Nanos::new(resumed.deadline_ns)),
        _ => request.deadline.unwrap_or(Deadline::After(DEFAULT_DEADLINE)),
    };
    let (Deadline::After(guess) | Deadline::OverBaseline(guess)) = asked_deadline;
    let mut load = request.load.clone();
    if request.rfc9411 {
        // Each connection is closed as the RFC's are, unless asked otherwise.
        load.close = load.close.or(Some(ClosePolicy::Fin));
        for population in &mut load.populations {
            population.close = population.close.or(Some(ClosePolicy::Fin));
        }
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
    if let Some((file, resumed)) = &request.resume {
        check_same_search(file, resumed, request, &settings, &first_plan)?;
    }
    let sim = runner.engine() == Engine::Sim;
    let site = if sim { Site::default() } else { Site::of(&first_plan) };
    // What spoiled the trials of before still has.
    let mut findings = resumed.map_or_else(Vec::new, |resumed| resumed.findings.clone());
    findings.retain(|finding| finding.is_lost_cpu_time());
    let chosen = request.load.workers.is_some() || request.load.cpus.is_some();
    if !sim && !chosen && !request.built_in_sink {
        let placement = site.placement(&allowed);
        if let Some(cpus) = placement.cpus {
            shape.on_cpus(&cpus);
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
        trials: resumed.map_or_else(Vec::new, |resumed| resumed.trials.clone()),
        searched: resumed.map_or_else(Vec::new, |resumed| resumed.searched.clone()),
        time: TimeSpent::default(),
        ended_by: None,
    };
    measurement.run()
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
    fn run(&mut self) -> Result<CapacityResult, CapacityError> {
        let first_plan = self.shape.plan(Load::Rate(rate(100.0), Nanos::from_secs(1)))?;
        // Whether the search can be is known before the first packet.
        let planned = if self.request.find == Find::Rate { Some(self.planned_search()?) } else { None };
        self.announce(&first_plan, planned.as_ref());
        let started_at = self.started_at();
        let began = self.runner.elapsed();
        // What looks closer at a slow target takes no more than a part of the time.
        let latest = Nanos::new(self.settings.budget.as_u64() / 8);
        let order = BaselineOrder { asked: self.asked_deadline, highest: self.highest(), latest };
        let unloaded = measure_baseline(self.runner, self.audience, &self.shape, order)?;
        self.time.baseline_s = self.runner.elapsed().saturating_sub(began).as_secs_f64();
        self.note_findings(&unloaded.result, false);
        self.findings.extend(unloaded.stalled.clone());
        let mut result = self.empty(started_at, &unloaded);
        if self.runner.interrupted().is_some() {
            self.conclude_from_before(&mut result, &unloaded)?;
        } else if !unloaded.dead {
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

    fn find_rate(&mut self, result: &mut CapacityResult, unloaded: &Unloaded) -> Result<(), CapacityError> {
        if self.request.built_in_sink || self.site.own_sink {
            self.audience
                .say("note: the target is this program's own sink: what is found is what this machine can generate");
        } else if self.runner.engine() != Engine::Sim {
            self.measure_control(result, true)?;
        }
        let floor = unloaded.baseline.loss_floor();
        let goals: Vec<usize> =
            (0..self.settings.goals.len()).filter(|goal| self.settings.goals[*goal].loss_ratio >= floor).collect();
        let mut searched = Searched { goals: goals.clone(), ..Searched::default() };
        if !goals.is_empty() {
            self.run_search(&mut searched, unloaded)?;
        }
        // A ceiling of another time is not what convicts the generator.
        let found = searched.conclusion.as_ref().and_then(|conclusion| conclusion.goals.first());
        let found = found.and_then(|goal| goal.confirmed_per_s.or(goal.lower_bound_per_s));
        let is_close = |control: &Control| {
            !control.at_least && found.is_some_and(|found| control.ceiling_per_s < LEAST_HEADROOM * found)
        };
        if result.control.as_ref().is_some_and(|control| control.cached && is_close(control)) {
            self.measure_control(result, false)?;
        }
        self.conclude(result, searched, floor);
        if self.settings.need.is_none() {
            self.after(result)?;
        }
        Ok(())
    }

    /// Measures the generator's ceiling, unless the `cache` has it.
    fn measure_control(&mut self, result: &mut CapacityResult, cache: bool) -> Result<(), CapacityError> {
        let began = self.runner.elapsed();
        let order =
            ControlOrder { asked: &self.request.control, highest: self.highest(), allowed: &self.allowed, cache };
        result.control = measure_control(self.runner, self.audience, &self.shape, order)?;
        self.time.control_s += self.runner.elapsed().saturating_sub(began).as_secs_f64();
        if let Some(control) = &result.control {
            let cached = if control.cached { " (measured before)" } else { "" };
            let at_least = if control.at_least { "at least " } else { "" };
            let line =
                format!("control: {at_least}{} against {}{cached}", rate_text(control.ceiling_per_s), control.target);
            self.audience.say(&line);
        }
        self.say_whether_the_need_is_in_reach(result.control.as_ref());
        Ok(())
    }

    /// A search that goes on and is interrupted before its first trial knows what it knew before.
    fn conclude_from_before(&mut self, result: &mut CapacityResult, unloaded: &Unloaded) -> Result<(), CapacityError> {
        if !self.searched.is_empty() {
            let mut searched = Searched { goals: (0..self.settings.goals.len()).collect(), ..Searched::default() };
            self.run_search(&mut searched, unloaded)?;
            result.deadline_ns = self.shape.deadline().as_u64();
            self.conclude(result, searched, 0.0);
        }
        Ok(())
    }

    fn run_search(&mut self, searched: &mut Searched, unloaded: &Unloaded) -> Result<(), CapacityError> {
        let began = self.runner.elapsed();
        let mut search = self.search(unloaded.baseline.rate_per_s, began, &searched.goals)?;
        searched.warmup = self.request.resumed().and_then(|resumed| resumed.warmup.clone());
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
        let mut trial = if purpose == TrialPurpose::WarmUp {
            let fixed = self.request.warmup.is_some();
            let (warmup, trial) =
                warm_up(self.runner, self.audience, &self.shape, (request.rate_per_s, request.duration), fixed)?;
            searched.warmup = Some(warmup);
            trial
        } else {
            let plan = self.shape.plan(Load::Rate(rate(request.rate_per_s), request.duration))?;
            let order = TrialOrder { plan, purpose, deadline: self.shape.deadline(), request: Some(request) };
            run_order(self.runner, self.audience, order)?
        };
        if let Some(reason) = &trial.result.ended_by {
            self.ended_by = Some(reason.clone());
        }
        if trial.cut_short {
            return Ok(None);
        }
        self.time.cooldown_s += self.site.cool_down(self.runner).as_secs_f64();
        let took = self.runner.elapsed().saturating_sub(began);
        let mut outcome = TrialOutcome {
            request,
            attempts: trial.row.attempts,
            lost: trial.row.lost,
            backlog_growth: trial.row.backlog_growth,
            limited: trial.limit(),
            took,
        };
        let alone = TrialOutcome { lost: outcome.lost.saturating_sub(trial.own_late), ..outcome.clone() };
        let goals = 0..searched.goals.len();
        if goals.into_iter().any(|goal| search.exceeds(&outcome, goal) != search.exceeds(&alone, goal)) {
            trial.spoil();
            outcome.limited = trial.limit();
        }
        let exceeds = search.exceeds(&outcome, 0);
        let row = TrialRow { took_s: took.as_secs_f64(), exceeds, ..trial.row.clone() };
        self.audience.trial(&row);
        self.note_findings(&trial.result, exceeds || !row.valid);
        // What the generator spoiled is no evidence of anything.
        if row.valid && (exceeds || purpose == TrialPurpose::Confirm) {
            searched.evidence.push(Evidence::of(&trial.result, trial.row.lost, self.site.local));
        }
        self.trials.push(row);
        if purpose == TrialPurpose::Confirm {
            searched.confirmations.push((self.searched.len(), Box::new(trial)));
        }
        Ok(Some(outcome))
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
        let spent = self.runner.elapsed() + self.request.spent_before();
        self.runner.interrupted().is_none() && spent + length + OVERHEAD <= self.settings.budget
    }

    /// What every trial repeats is said once. A full accept queue drops SYNs, and makes all attempts wait for about the same
    /// time: where a trial exceeds the goal, that is the overload.
    fn note_findings(&mut self, result: &RunResult, is_overload: bool) {
        const OF_AN_OVERLOAD: [FindingCode; 2] = [FindingCode::NaglePlateau, FindingCode::SynRetries];
        /// These are about one trial, and stand in its row; or about what the search does on purpose.
        const OF_A_TRIAL: [FindingCode; 6] = [
            FindingCode::LateStarts,
            FindingCode::PoolTooSmall,
            FindingCode::MissedStarts,
            FindingCode::SlotsHeldByTarget,
            FindingCode::RefusedByAll,
            FindingCode::TargetOnThisMachine,
        ];
        let of_an_overload: &[FindingCode] = if is_overload { &OF_AN_OVERLOAD } else { &[] };
        for finding in serious(result) {
            let known = self.findings.iter().any(|known| known.code == finding.code);
            let expected = OF_A_TRIAL.iter().chain(of_an_overload).any(|code| *code == finding.code);
            if !known && !expected {
                self.findings.push(finding.clone());
            }
        }
    }

    fn started_at(&self) -> String {
        let at = match self.runner.engine() {
            Engine::Sim => std::time::SystemTime::UNIX_EPOCH,
            _ => std::time::SystemTime::now(),
        };
        humantime::format_rfc3339_millis(at).to_string()
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
        result.verdict = verdict(result, unloaded.dead && result.interrupted.is_none());
        result.findings.extend(half_finding(result.half_sources.as_ref()));
        let loss_ratio = result.first_goal().map(|goal| goal.loss_ratio);
        result.findings.extend(loss_ratio.and_then(|loss_ratio| not_repeated(&result.loads, loss_ratio)));
        result.advice = advice(result, self.request.saved_as.as_deref());
        result.statement = statement(result);
    }
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
