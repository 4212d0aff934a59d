//! The capacity search against targets whose limits are known.

#[path = "support/search/mod.rs"]
#[allow(dead_code, reason = "test and example use a part each")]
mod simulations;

use std::convert::Infallible;

use proptest::prelude::*;
use shakedown::base::{Nanos, Rate};
use shakedown::search::{
    Conclusion, Goal, GoalConclusion, Measurer, Mode, Purpose, QualificationVerdict, Search, SearchSpec, Step,
    TrialOutcome, TrialRequest, Verdict, search,
};
use simulations::simulated::Freeze;
use simulations::sweep::{Catalogue, Method, SWEEP_BUDGET, Tally};

/// A target without noise.
#[derive(Clone)]
struct Target {
    capacity_per_s: f64,
    /// The generator cannot offer more than this.
    generator_per_s: f64,
    /// Share of attempts that is always lost.
    floor: f64,
    /// An overload breaks it for good.
    breaks: bool,
    is_broken: bool,
}

impl Target {
    fn of(capacity_per_s: f64) -> Self {
        Self { capacity_per_s, generator_per_s: f64::INFINITY, floor: 0.0, breaks: false, is_broken: false }
    }
}

impl Measurer for Target {
    type Error = Infallible;

    fn trial(&mut self, request: &TrialRequest) -> Result<TrialOutcome, Infallible> {
        let is_warm_up = request.purpose == Purpose::WarmUp;
        let duration = if is_warm_up { request.duration.min(Nanos::from_secs(3)) } else { request.duration };
        let attempts = (request.rate_per_s * duration.as_secs_f64()).round() as u64;
        let excess = (1.0 - self.capacity_per_s / request.rate_per_s).max(0.0);
        let lost = if self.is_broken { 1.0 } else { excess.max(self.floor) };
        self.is_broken |= self.breaks && excess > 0.0;
        Ok(TrialOutcome {
            request: *request,
            attempts,
            lost: (attempts as f64 * lost).ceil() as u64,
            backlog_growth: 0.0,
            limited: (request.rate_per_s > self.generator_per_s).then(|| "the worker was busy".to_owned()),
            took: duration + Nanos::from_millis(500),
        })
    }
}

fn rate(per_s: f64) -> Rate {
    Rate::per_second(per_s).unwrap()
}

fn spec() -> SearchSpec {
    SearchSpec::new(Nanos::from_millis(100))
}

fn run(spec: SearchSpec, mut target: Target) -> (Search, Conclusion) {
    let mut under_way = Search::new(spec).unwrap();
    let Ok(conclusion) = search(&mut under_way, &mut target);
    assert!(under_way.spent() <= under_way.spec().budget, "spent {}", under_way.spent());
    (under_way, conclusion)
}

fn find(spec: SearchSpec, target: Target) -> GoalConclusion {
    run(spec, target).1.goals.remove(0)
}

fn qualify(need: f64, target: Target) -> (Search, QualificationVerdict, Option<f64>) {
    let (under_way, conclusion) =
        run(SearchSpec { mode: Mode::Qualify { need: rate(need), margin: 1.2 }, ..spec() }, target);
    let answer = conclusion.qualification.unwrap();
    (under_way, answer.verdict, answer.headroom)
}

fn offered(under_way: &Search) -> f64 {
    under_way.trials().iter().map(|trial| trial.request.rate_per_s).fold(0.0, f64::max)
}

#[test]
fn a_capacity_is_bounded_and_confirmed() {
    let goal = find(spec(), Target::of(15_200.0));
    let (lower, upper) = (goal.lower_bound_per_s.unwrap(), goal.upper_bound_per_s.unwrap());
    // Half a percent may be lost, so that much more than the capacity is sustained.
    assert!((15_000.0..=15_277.0).contains(&lower) && lower < upper && upper <= lower * 1.011, "{lower} {upper}");
    assert!(goal.confirmed_per_s.unwrap() > 0.99 * lower);
    assert_eq!(goal.verdict, Verdict::Confirmed);
    assert!(goal.conditional_throughput_per_s.unwrap() <= lower);
}

#[test]
fn what_limits_the_generator_never_counts_against_the_target() {
    let (under_way, conclusion) = run(spec(), Target { generator_per_s: 9_000.0, ..Target::of(1e9) });
    let goal = &conclusion.goals[0];
    assert!((8_000.0..=9_000.0).contains(&goal.confirmed_per_s.unwrap()), "{goal:?}");
    assert!(matches!(&goal.verdict, Verdict::GeneratorLimited { reason, .. } if reason == "the worker was busy"));
    assert_eq!(goal.upper_bound_per_s, None);
    assert!(under_way.trials().iter().filter(|trial| trial.is_valid()).all(|trial| !under_way.exceeds(trial, 0)));
}

#[test]
fn deciding_begins_where_the_climb_ended_whatever_ceiling_the_generator_has() {
    let (under_way, conclusion) = run(spec(), Target { generator_per_s: 12_500.0, ..Target::of(8_900.0) });
    let deciding = under_way.trials().iter().find(|trial| trial.request.purpose == Purpose::Decide).unwrap();
    let first = deciding.request.rate_per_s;
    assert!((8_300.0..9_300.0).contains(&first), "the first decision is at {first}");
    assert_eq!(conclusion.goals[0].verdict, Verdict::Confirmed);
}

#[test]
fn time_for_half_a_confirmation_is_not_left_unused() {
    let mut shortened = 0;
    for seconds in 40..140 {
        for capacity_per_s in [3_000.0, 8_900.0] {
            let spec = SearchSpec { budget: Nanos::from_secs(seconds), confirm: Nanos::from_secs(20), ..spec() };
            let (under_way, conclusion) = run(spec, Target::of(capacity_per_s));
            let goal = &conclusion.goals[0];
            let left = under_way.spec().budget.saturating_sub(under_way.spent());
            let is_used = goal.confirmed_per_s.is_some() || goal.lower_bound_per_s.is_none();
            assert!(is_used || left < Nanos::from_secs(12), "{seconds} s at {capacity_per_s}: {left} left, {goal:?}");
            let confirmations = under_way.trials().iter().filter(|trial| trial.request.purpose == Purpose::Confirm);
            shortened += confirmations.filter(|trial| trial.request.duration < Nanos::from_secs(20)).count();
        }
    }
    assert!(shortened > 0, "some budgets have room for a short one only");
}

/// Long runs above a rate lose a part of their attempts.
struct LongRunsFail {
    target: Target,
    sustains_per_s: f64,
    lost: f64,
    /// What comes back floods the generator.
    floods: bool,
}

impl Measurer for LongRunsFail {
    type Error = Infallible;

    fn trial(&mut self, request: &TrialRequest) -> Result<TrialOutcome, Infallible> {
        let Ok(mut outcome) = self.target.trial(request);
        if request.purpose == Purpose::Confirm && request.rate_per_s > self.sustains_per_s {
            outcome.lost = (outcome.attempts as f64 * self.lost) as u64;
            outcome.limited = self.floods.then(|| "starts were late".to_owned());
        }
        Ok(outcome)
    }
}

#[test]
fn a_confirmation_that_floods_the_generator_is_followed_by_one_well_below() {
    let mut under_way = Search::new(spec()).unwrap();
    let mut target = LongRunsFail { target: Target::of(10_000.0), sustains_per_s: 9_300.0, lost: 0.2, floods: true };
    let Ok(conclusion) = search(&mut under_way, &mut target);
    let confirmations: Vec<&TrialOutcome> =
        under_way.trials().iter().filter(|trial| trial.request.purpose == Purpose::Confirm).collect();
    let [flooded, met, ..] = &confirmations[..] else { panic!("{confirmations:?}") };
    assert!(met.request.rate_per_s < 0.92 * flooded.request.rate_per_s, "{confirmations:?}");
    assert_eq!(conclusion.goals[0].confirmed_per_s, Some(met.request.rate_per_s));
}

/// Something else spoils the first confirmation.
struct SpoilsFirstConfirmation(Target, bool);

impl Measurer for SpoilsFirstConfirmation {
    type Error = Infallible;

    fn trial(&mut self, request: &TrialRequest) -> Result<TrialOutcome, Infallible> {
        let outcome = self.0.trial(request)?;
        let spoils = request.purpose == Purpose::Confirm && !std::mem::replace(&mut self.1, true);
        Ok(if spoils { TrialOutcome { lost: outcome.attempts / 50, ..outcome } } else { outcome })
    }
}

#[test]
fn an_upper_bound_rests_on_two_trials() {
    // No time is left to try the spoiled load again.
    let mut under_way = Search::new(SearchSpec { budget: Nanos::from_secs(255), ..spec() }).unwrap();
    let Ok(conclusion) = search(&mut under_way, &mut SpoilsFirstConfirmation(Target::of(10_000.0), false));
    let goal = &conclusion.goals[0];
    let spoiled = under_way.trials().iter().find(|trial| trial.request.purpose == Purpose::Confirm).unwrap();
    assert!(spoiled.request.rate_per_s > goal.confirmed_per_s.unwrap(), "{goal:?}");
    assert!(goal.upper_bound_per_s.unwrap() > 10_000.0, "not {}: {goal:?}", spoiled.request.rate_per_s);
}

#[test]
fn the_last_confirmation_takes_what_time_is_left() {
    // All up to the first confirmation takes 130 s.
    let mut under_way = Search::new(SearchSpec { budget: Nanos::from_secs(175), ..spec() }).unwrap();
    let mut target = LongRunsFail { target: Target::of(10_000.0), sustains_per_s: 9_300.0, lost: 0.05, floods: false };
    let Ok(conclusion) = search(&mut under_way, &mut target);
    let last = under_way.trials().last().expect("it has trials");
    let spec = under_way.spec();
    assert_eq!(last.request.purpose, Purpose::Confirm);
    assert!(last.request.duration < spec.confirm && last.request.duration + last.request.duration >= spec.confirm);
    assert_eq!(conclusion.goals[0].confirmed_per_s, Some(last.request.rate_per_s));
    assert!(under_way.spent() <= spec.budget);
}

#[test]
fn the_highest_rate_allowed_is_not_passed() {
    let (under_way, conclusion) = run(SearchSpec { max_rate: Some(rate(3_000.0)), ..spec() }, Target::of(15_200.0));
    assert_eq!(offered(&under_way), 3_000.0);
    let goal = &conclusion.goals[0];
    assert_eq!((goal.confirmed_per_s, &goal.verdict), (Some(3_000.0), &Verdict::RangeLimited));
}

#[test]
fn a_target_that_completes_nothing_is_given_up_soon() {
    let (under_way, conclusion) = run(spec(), Target { is_broken: true, ..Target::of(1e9) });
    assert_eq!(conclusion.goals[0].verdict, Verdict::NothingCompletes);
    assert!(under_way.spent() < Nanos::from_secs(30), "spent {}", under_way.spent());
}

#[test]
fn a_path_that_always_loses_sustains_nothing_and_is_not_called_unstable() {
    let goal = find(spec(), Target { floor: 0.02, ..Target::of(1e9) });
    assert_eq!((goal.verdict, goal.lower_bound_per_s), (Verdict::NothingSustained, None));
}

#[test]
fn a_target_that_an_overload_breaks_is_found_out() {
    let (under_way, conclusion) = run(spec(), Target { breaks: true, ..Target::of(3_000.0) });
    let goal = &conclusion.goals[0];
    assert!(matches!(goal.verdict, Verdict::DidNotRecover { after_per_s } if after_per_s == 4_000.0), "{goal:?}");
    assert_eq!((goal.lower_bound_per_s, conclusion.recovered), (Some(2_000.0), Some(false)));
    let probes = under_way.trials().iter().filter(|trial| trial.request.purpose == Purpose::Probe);
    assert!(probes.map(|probe| probe.took.as_secs_f64()).sum::<f64>() >= 20.0);
}

#[test]
fn goals_share_trials() {
    let deadline = Nanos::from_millis(100);
    let goals = vec![Goal::new("loose", 0.05, deadline), Goal::slo(deadline)];
    let (under_way, conclusion) = run(SearchSpec { goals, ..spec() }, Target::of(10_000.0));
    let confirmed: Vec<f64> = conclusion.goals.iter().map(|goal| goal.confirmed_per_s.unwrap()).collect();
    assert!(
        (10_300.0..=10_530.0).contains(&confirmed[0]) && (9_750.0..=10_055.0).contains(&confirmed[1]),
        "{confirmed:?}"
    );
    let climbs = under_way.trials().iter().filter(|trial| trial.request.rate_per_s == 500.0).count();
    assert_eq!(climbs, 1);
}

#[test]
fn a_goal_that_needs_more_attempts_than_there_is_time_for_is_not_decided() {
    let goals = vec![Goal::strict(Nanos::from_millis(100))];
    let goal = find(SearchSpec { goals: goals.clone(), ..spec() }, Target::of(500.0));
    assert!(matches!(goal.verdict, Verdict::NotDecidable { attempts: 60_000..=150_000, needed: 300_000 }), "{goal:?}");
    // A confirmation that may not be longer has too few of them at a higher rate, too.
    let short = SearchSpec { goals: goals.clone(), longest_confirm: Nanos::from_secs(60), ..spec() };
    let goal = find(short, Target::of(2_000.0));
    assert!(matches!(goal.verdict, Verdict::NotDecidable { attempts: 100_000..=130_000, needed: 300_000 }), "{goal:?}");
    let (under_way, conclusion) = run(SearchSpec { goals: goals.clone(), ..spec() }, Target::of(2_000.0));
    let confirming = &under_way.trials()[conclusion.goals[0].confirming_trial.unwrap()];
    assert!(confirming.attempts >= 300_000 && confirming.request.duration > under_way.spec().confirm, "{confirming:?}");
    let fast = find(SearchSpec { goals, ..spec() }, Target::of(20_000.0));
    assert_eq!(fast.verdict, Verdict::Confirmed);
    assert!(fast.loss_resolution.unwrap() <= 0.000_01);
}

#[test]
fn a_qualification_offers_no_more_than_the_need_and_its_margin() {
    let (under_way, verdict, headroom) = qualify(8_000.0, Target::of(15_000.0));
    assert_eq!((verdict, offered(&under_way), headroom), (QualificationVerdict::Met, 9_600.0, Some(1.2)));
    let (under_way, verdict, headroom) = qualify(8_000.0, Target::of(9_000.0));
    assert_eq!((verdict, offered(&under_way), headroom), (QualificationVerdict::MarginMissed, 9_600.0, Some(1.0)));
    let (under_way, verdict, headroom) = qualify(8_000.0, Target::of(3_000.0));
    assert_eq!((verdict, headroom), (QualificationVerdict::Missed, None));
    assert!(offered(&under_way) < 8_000.0, "half of the need is enough to know");
    let limited = Target { generator_per_s: 5_000.0, ..Target::of(15_000.0) };
    assert_eq!(qualify(8_000.0, limited).1, QualificationVerdict::Inconclusive);
}

/// A qualification of a need that the target takes, with so much time.
fn small_need(need: f64, seconds: u64) -> (Search, Conclusion) {
    let mode = Mode::Qualify { need: rate(need), margin: 1.2 };
    let (low, budget) = (rate(need.min(1.0)), Nanos::from_secs(seconds));
    let confirm = Nanos::from_secs(60).min(Nanos::from_secs(seconds / 5));
    run(SearchSpec { mode, min_rate: low, start_rate: rate(need), budget, confirm, ..spec() }, Target::of(1e3))
}

#[test]
fn a_low_need_is_confirmed_for_as_long_as_its_attempts_take() {
    for (need, seconds) in [(2.0, 300), (5.0, 150), (50.0, 60)] {
        let (under_way, conclusion) = small_need(need, seconds);
        let last = under_way.trials().last().unwrap();
        assert_eq!(conclusion.qualification.unwrap().verdict, QualificationVerdict::Met, "{need}");
        assert!(last.request.purpose == Purpose::Confirm && last.attempts >= 600, "{need}: {last:?}");
        assert!(offered(&under_way) <= need * 1.2, "{need}");
    }
}

#[test]
fn a_low_need_that_the_time_is_too_short_for_is_not_decidable_at_the_rate_of_its_confirmation() {
    let (under_way, conclusion) = small_need(2.0, 60);
    assert!(!under_way.time_plan().answers);
    assert_eq!(conclusion.qualification.unwrap().verdict, QualificationVerdict::Inconclusive);
    // 2.4 a second for nearly a minute, not the climb's rate.
    let verdict = &conclusion.goals[0].verdict;
    assert!(matches!(verdict, Verdict::NotDecidable { attempts: 90..=144, needed: 600 }), "{verdict:?}");
}

#[test]
fn a_climb_that_is_interrupted_has_met_so_much_and_nothing_is_too_few() {
    let mut under_way = Search::new(SearchSpec { start_rate: rate(10.0), ..spec() }).unwrap();
    let mut target = Target::of(1e9);
    for _ in 0..2 {
        let Step::Trial(request) = under_way.next() else { panic!("it goes on") };
        let Ok(outcome) = target.trial(&request);
        under_way.record(outcome);
    }
    let goal = &under_way.stop().goals[0];
    assert_eq!(
        (goal.lower_bound_per_s, goal.upper_bound_per_s, &goal.verdict),
        (Some(20.0), None, &Verdict::Undecided)
    );
}

#[test]
fn the_time_plan_is_what_an_undisturbed_search_takes() {
    let plan = Search::new(spec()).unwrap().time_plan();
    let purposes: Vec<Purpose> = plan.parts.iter().map(|part| part.purpose).collect();
    assert_eq!(purposes, [Purpose::Climb, Purpose::Probe, Purpose::WarmUp, Purpose::Decide, Purpose::Confirm]);
    let sum = plan.parts.iter().fold(Nanos::ZERO, |sum, part| sum + part.takes);
    assert!(sum == plan.total && plan.total < plan.budget, "{plan:?}");
}

#[test]
fn specs_that_cannot_be_searched_are_refused() {
    let refusal = |spec: SearchSpec| Search::new(spec).unwrap_err().to_string();
    let short = refusal(SearchSpec { budget: Nanos::from_secs(60), ..spec() });
    assert!(short.contains("60.0 s") && short.contains("give at least"), "{short}");
    let margin = Mode::Qualify { need: rate(100.0), margin: 0.5 };
    assert!(refusal(SearchSpec { mode: margin, ..spec() }).contains("margin of 0.5"));
    assert!(refusal(SearchSpec { goals: Vec::new(), ..spec() }).contains("a goal"));
    assert!(refusal(SearchSpec { max_rate: Some(rate(1.0)), ..spec() }).contains("highest rate"));
}

/// A small part of what `examples/search_parameters.rs` prints.
fn sweep(deadline_ms: u64, freeze: Option<Freeze>, spoiled: f64, seeds: u64) -> Tally {
    let deadline = Nanos::from_millis(deadline_ms);
    let spec = SearchSpec { budget: SWEEP_BUDGET, ..SearchSpec::new(deadline) };
    Catalogue::new(deadline, 0.005, freeze, 6).sweep(&spec, Method::Search, spoiled, 0..seeds)
}

#[test]
fn noisy_servers_are_measured_within_the_budget_and_never_flattered() {
    for deadline_ms in [100, 1_000] {
        let tally = sweep(deadline_ms, None, 0.1, 60);
        assert_eq!(tally.over, 0, "{tally:?}");
        assert!(tally.good >= 54 && tally.longest_time <= Nanos::from_secs(300), "{tally:?}");
    }
}

/// Such limits have small fleets; five minutes are to be enough.
fn low_limit(limit_per_s: f64) -> (Catalogue, SearchSpec) {
    let deadline = Nanos::from_secs(1);
    let spec = SearchSpec { budget: SWEEP_BUDGET, ..SearchSpec::new(deadline) };
    (Catalogue::low(deadline, 0.005, &[limit_per_s]), spec)
}

#[test]
fn low_limits_are_found_but_for_a_few_attempts() {
    for (limit, least_found) in [(3.0, 8), (20.0, 18), (80.0, 18), (300.0, 20)] {
        let (servers, spec) = low_limit(limit);
        let tally = servers.sweep(&spec, Method::Search, 0.0, 0..20);
        // 3/s leave no time for narrow bounds: some searches confirm nothing. 600 attempts take some percent too much.
        assert!(tally.found >= least_found && tally.highest < 0.05, "{limit}/s: {tally:?}");
        assert!(tally.longest_time <= SWEEP_BUDGET && tally.unstable == 0, "{limit}/s: {tally:?}");
    }
}

#[test]
fn needs_of_small_fleets_are_told_from_what_is_too_much() {
    for limit in [3.0, 20.0, 80.0, 300.0] {
        let (servers, spec) = low_limit(limit);
        let answers = |share| servers.qualify(&spec, share, 1.2, 0..20);
        let (enough, over, twice) = (answers(0.95), answers(1.1), answers(2.0));
        assert!(enough.met >= 18 && enough.missed == 0, "{limit}/s: {enough:?}");
        assert!(over.met == 0, "{limit}/s: {over:?}");
        assert!(twice.met == 0 && twice.missed >= 18, "{limit}/s: {twice:?}");
        assert!(enough.longest_time.max(over.longest_time) <= SWEEP_BUDGET, "{limit}/s");
    }
}

#[test]
fn freezing_servers_are_called_unstable() {
    let freeze = Freeze { length_s: 0.3, period_s: 5.0 };
    let tally = sweep(100, Some(freeze), 0.0, 12);
    assert_eq!((tally.unstable, tally.found), (12, 0), "{tally:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a target does, the search ends, keeps its budget and its highest rate, and can be resumed anywhere.
    #[test]
    fn any_outcomes_lead_to_an_end_and_resume_to_the_same(
        answers in prop::collection::vec((0.0..1.0f64, -0.2..1.0f64, 0..20u8, 1..3_000u64), 1..40),
        highest in 20.0..50_000.0f64,
        qualifies in any::<bool>(),
    ) {
        let mode = if qualifies { Mode::Qualify { need: rate(highest / 2.0), margin: 1.5 } } else { Mode::Find };
        let spec = SearchSpec { max_rate: Some(rate(highest)), mode, ..spec() };
        let mut under_way = Search::new(spec.clone()).unwrap();
        for step in 0.. {
            prop_assert!(step < 500, "no end");
            let Step::Trial(request) = under_way.next() else { break };
            prop_assert!(request.rate_per_s <= highest && request.rate_per_s > 0.0);
            let (lost, growth, limited, over_ms) = answers[step % answers.len()];
            let attempts = (request.rate_per_s * request.duration.as_secs_f64()).round() as u64;
            under_way.record(TrialOutcome {
                request,
                attempts,
                // Half of the answers lose nothing, so that searches get somewhere.
                lost: (attempts as f64 * (2.0 * lost - 1.0).max(0.0)).round() as u64,
                backlog_growth: growth.min(0.0) + (growth - 0.7).max(0.0),
                limited: (limited == 0).then(|| "busy".to_owned()),
                took: request.duration + Nanos::from_millis(over_ms),
            });
        }
        let budget = spec.budget + Nanos::from_secs(3);
        prop_assert!(under_way.spent() <= budget, "spent {}", under_way.spent());
        let conclusion = under_way.stop();
        for goal in &conclusion.goals {
            if let (Some(lower), Some(upper)) = (goal.lower_bound_per_s, goal.upper_bound_per_s) {
                prop_assert!(lower < upper);
            }
        }
        let saved = serde_json::to_string(under_way.trials()).unwrap();
        let trials: Vec<TrialOutcome> = serde_json::from_str(&saved).unwrap();
        let mut resumed = Search::new(spec).unwrap();
        for trial in trials {
            let Step::Trial(request) = resumed.next() else { panic!("ended early") };
            prop_assert_eq!(&request, &trial.request);
            resumed.record(trial);
        }
        prop_assert_eq!(resumed.next(), Step::Done(conclusion));
    }
}
