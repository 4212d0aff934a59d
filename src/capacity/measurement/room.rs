//! The search that a budget has room for, and what is refused before the first packet because it has room for none.

use crate::base::{DurationText, Nanos, Rate};
use crate::io::Engine;
use crate::search::{Goal, Mode, Recovery, Search, SearchSpec, attempts_to_tell};

use super::{Measurement, OVERHEAD};
use crate::capacity::audience::Audience;
use crate::capacity::error::CapacityError;
use crate::capacity::measurement::after::SHARES;
use crate::capacity::measurement::baseline;
use crate::capacity::request::{CapacityRequest, ControlRequest, GoalRequest};
use crate::capacity::settings::{LOSSES, Settings};
use crate::capacity::trial::shape::rate;
use crate::capacity::verdict::statement::percent_text;

/// What a control takes that goes as fast as it can, and one of a given rate.
const CONTROL: [Nanos; 2] = [Nanos::from_secs(4), Nanos::from_secs(2)];
/// What comes after the search gets this part of the budget at most.
const PART_AFTER: u64 = 10;
/// The lowest rate of a search that may go as high as it likes.
const LOWEST_PER_S: f64 = 1.0;
/// The baseline's rate, as long as it is not known.
const BASELINE_PER_S: f64 = 100.0;

impl<A: Audience> Measurement<'_, A> {
    /// The search that is to be expected, before anything is known of the target.
    pub(in crate::capacity) fn planned_search(&self) -> Result<Search, CapacityError> {
        if let Some(highest) = self.highest().filter(|_| self.request.resume.is_none()) {
            self.refuse_too_few_attempts(highest)?;
        }
        self.search(BASELINE_PER_S, Nanos::ZERO, &[])
    }

    /// The search of this budget, told of the trials that were made before. The unloaded target was offered so much.
    pub(in crate::capacity) fn search(
        &self,
        baseline_per_s: f64,
        spent: Nanos,
        goals: &[usize],
    ) -> Result<Search, CapacityError> {
        let search = self.search_of(&self.settings, baseline_per_s, spent, goals)?;
        search.ok_or_else(|| self.too_short())
    }

    /// The highest rate that a trial may offer, where something limits it.
    pub(in crate::capacity) fn highest(&self) -> Option<Rate> {
        let needed = self.settings.need.map(|(need, margin)| rate(need.as_per_second() * margin));
        needed.into_iter().chain(self.request.max_rate).reduce(|a, b| if b < a { b } else { a })
    }

    /// What comes before the search takes so long.
    pub(in crate::capacity) fn before_search(&self) -> Nanos {
        let highest = self.highest();
        let is_own = self.request.built_in_sink || self.site.own_sink || self.runner.engine() == Engine::Sim;
        let control = match self.request.control {
            _ if is_own => Nanos::ZERO,
            ControlRequest::Skip => Nanos::ZERO,
            ControlRequest::BuiltInSink | ControlRequest::Target(_) => CONTROL[usize::from(highest.is_some())],
        };
        baseline::planned(highest) + control
    }

    /// The search with these settings; none if their budget has no room for one.
    fn search_of(
        &self,
        settings: &Settings,
        baseline_per_s: f64,
        spent: Nanos,
        goals: &[usize],
    ) -> Result<Option<Search>, CapacityError> {
        let deadline = self.shape.deadline();
        if settings.budget < self.least_budget(settings) {
            return Ok(None);
        }
        let all: Vec<usize> = (0..settings.goals.len()).collect();
        let goals = if goals.is_empty() { &all } else { goals };
        let default = SearchSpec::new(deadline);
        let least = least_search(settings, goals, deadline);
        // Once it was found to have room for the attempts of its highest rate, it has.
        let longer = match self.highest().filter(|_| spent > Nanos::ZERO && self.request.resume.is_none()) {
            Some(highest) => needed_at(highest, &settings.goals[0]).saturating_sub(settings.confirm),
            None => Nanos::ZERO,
        };
        let goals: Vec<Goal> = goals.iter().map(|index| goal_of(settings, *index, deadline)).collect();
        let highest = self.highest().map_or(f64::INFINITY, Rate::as_per_second);
        let lowest = LOWEST_PER_S.min(highest / 10.0);
        let (mode, start) = match settings.need {
            None => (Mode::Find, 2.0 * baseline_per_s),
            Some((need, margin)) => (Mode::Qualify { need, margin }, baseline_per_s),
        };
        let left =
            settings.budget.saturating_sub(spent.max(self.before_search())).saturating_sub(after_reserve(settings));
        let climb_trial = default.climb_trial.min(goals[0].final_trial);
        let spec = SearchSpec {
            goals,
            min_rate: rate(lowest),
            max_rate: self.request.max_rate,
            start_rate: rate(start.max(lowest).min(highest)),
            // A slow baseline does not take the whole search along.
            budget: left.max(least + longer),
            confirm: settings.confirm,
            longest_confirm: settings.longest_confirm,
            climb_trial,
            warm_up: self.request.warmup.unwrap_or(default.warm_up),
            trial_overhead: OVERHEAD,
            recovery: Some(Recovery { probe: Nanos::from_secs(1), within: Nanos::from_secs(20) }),
            mode,
            ..default
        };
        let mut search = Search::new(spec).map_err(|error| CapacityError::Usage(error.to_string()))?;
        self.request.trials_before().for_each(|outcome| search.record(outcome.clone()));
        Ok(Some(search))
    }

    /// Refuses a budget that makes too few attempts at the highest rate there may be to tell the loss of the first goal,
    /// with the one that makes enough, and with a goal that this one decides.
    fn refuse_too_few_attempts(&self, highest: Rate) -> Result<(), CapacityError> {
        let settings = &self.settings;
        let goal = &settings.goals[0];
        let needed = needed_at(highest, goal);
        if needed <= settings.confirm || self.request.confirm.is_none() && self.answers(settings)? {
            return Ok(());
        }
        let text = |length: Nanos| DurationText(length.into());
        let offered = match settings.need {
            Some((need, margin)) => format!("a need of {need} with a margin of {margin} is {highest}"),
            None => format!("no more than {highest} is allowed"),
        };
        let attempts = format!(
            "{offered}, where the {} attempts that tell a loss of {} take {}",
            attempts_to_tell(goal.loss_ratio),
            percent_text(goal.loss_ratio),
            text(needed)
        );
        let remedy = match self.request.confirm {
            Some(confirm) => format!(
                "a confirmation of {} is too short; drop --confirm, or give --confirm {} or more",
                text(confirm),
                text(needed)
            ),
            None => format!(
                "a budget of {} is too short; give --budget {} or more",
                text(settings.budget),
                text(self.enough_budget(settings.budget.max(needed))?)
            ),
        };
        let looser =
            self.looser_goal()?.map_or_else(String::new, |goal| format!(", or --goal {goal}, which it can tell"));
        Err(CapacityError::Usage(format!("{attempts}: {remedy}{looser}")))
    }

    /// Whether an ideal target gets an answer.
    fn answers(&self, settings: &Settings) -> Result<bool, CapacityError> {
        let search = self.search_of(settings, BASELINE_PER_S, Nanos::ZERO, &[])?;
        Ok(search.is_some_and(|search| search.time_plan().answers))
    }

    /// The first budget of this length or more that gives an ideal target an answer.
    fn enough_budget(&self, least: Nanos) -> Result<Nanos, CapacityError> {
        /// Budgets are proposed in such steps, and none of more than some years.
        const STEP_S: f64 = 10.0;
        const STEPS: usize = 400;
        let mut budget = least;
        for _ in 0..STEPS {
            budget = Nanos::from_secs_f64((budget.as_secs_f64() / STEP_S).ceil() * STEP_S);
            let request = CapacityRequest { budget: Some(budget), ..self.request.clone() };
            if self.answers(&Settings::of(&request)?)? {
                break;
            }
            budget = budget + Nanos::from_secs_f64((budget.as_secs_f64() / 50.0).max(STEP_S));
        }
        Ok(budget)
    }

    /// The first goal with a loss that this budget can tell.
    fn looser_goal(&self) -> Result<Option<String>, CapacityError> {
        let first = &self.settings.goals[0];
        for loss_ratio in LOSSES.into_iter().filter(|loss| *loss > first.loss_ratio) {
            let goal = GoalRequest { name: first.name.clone(), loss_ratio };
            let settings = Settings::of(&CapacityRequest { goals: vec![goal], ..self.request.clone() })?;
            if self.answers(&settings)? {
                return Ok(Some(settings.goals[0].to_string()));
            }
        }
        Ok(None)
    }

    /// Why a budget has no room for a search.
    fn too_short(&self) -> CapacityError {
        let settings = &self.settings;
        let mut budget = self.least_budget(settings);
        // What it is divided into grows with it.
        while let Ok(longer) = self.with_budget(budget)
            && self.least_budget(&longer) > longer.budget
        {
            budget = self.least_budget(&longer);
        }
        CapacityError::Usage(format!(
            "a budget of {} has no room for the baseline, the trials that decide and a confirmation of {}; give at least \
             --budget {}, or a shorter --confirm or --trial",
            DurationText(settings.budget.into()),
            DurationText(settings.confirm.into()),
            DurationText(whole_seconds(budget).into())
        ))
    }

    fn with_budget(&self, budget: Nanos) -> Result<Settings, CapacityError> {
        Settings::of(&CapacityRequest { budget: Some(whole_seconds(budget)), ..self.request.clone() })
    }

    /// The shortest search with what comes before and after it.
    fn least_budget(&self, settings: &Settings) -> Nanos {
        let all: Vec<usize> = (0..settings.goals.len()).collect();
        self.before_search() + least_search(settings, &all, self.shape.deadline()) + after_reserve(settings)
    }
}

/// How long the attempts take at this rate that tell the loss of a goal.
fn needed_at(rate: Rate, goal: &GoalRequest) -> Nanos {
    whole_seconds(Nanos::from_secs_f64(attempts_to_tell(goal.loss_ratio) as f64 / rate.as_per_second()))
}

fn whole_seconds(length: Nanos) -> Nanos {
    Nanos::from_secs(length.as_secs_f64().ceil() as u64)
}

/// A goal as it is searched for, with trials that fit the budget.
fn goal_of(settings: &Settings, index: usize, deadline: Nanos) -> Goal {
    let asked = &settings.goals[index];
    let goal = Goal::new(&asked.name, asked.loss_ratio, deadline);
    let fitting = || goal.final_trial.min(Nanos::new(settings.budget.as_u64() / 20)).max(Nanos::from_secs(1));
    let final_trial = settings.trial.unwrap_or_else(fitting);
    let sum = final_trial.as_secs_f64() * (goal.duration_sum.as_secs_f64() / goal.final_trial.as_secs_f64());
    Goal { width: settings.width, duration_sum: Nanos::from_secs_f64(sum), final_trial, ..goal }
}

/// Less time than this is no search.
fn least_search(settings: &Settings, goals: &[usize], deadline: Nanos) -> Nanos {
    let goals: Vec<Goal> = goals.iter().map(|index| goal_of(settings, *index, deadline)).collect();
    let climb_trial = SearchSpec::new(deadline).climb_trial.min(goals[0].final_trial);
    let sums = goals.iter().fold(climb_trial, |sum, goal| sum + goal.duration_sum);
    settings.confirm + sums + OVERHEAD + OVERHEAD
}

/// Time kept for what comes after the search.
pub(in crate::capacity) fn after_reserve(settings: &Settings) -> Nanos {
    if settings.need.is_some() {
        return Nanos::ZERO;
    }
    let one = (settings.load_length() + OVERHEAD).as_secs_f64();
    Nanos::from_secs_f64(one * (SHARES.len() as f64 + 1.0)).min(Nanos::new(settings.budget.as_u64() / PART_AFTER))
}
