//! What a search came to: outcomes, the verdict, and what to do next.

pub mod blame;
pub mod rfc9411;
pub mod statement;

use std::time::Duration;

use crate::base::{DurationText, Nanos, rate_text};
use crate::finding::{Finding, FindingCode};
use crate::measure::FailureKind;
use crate::run::Verdict;
use crate::search::{GoalConclusion, attempts_to_tell};

use crate::capacity::request::GoalRequest;
use crate::capacity::result::*;
use crate::capacity::settings::{LOSSES, Settings};
use crate::capacity::verdict::statement::percent_text;

/// Bounds further apart than this, or than three times the width asked for, are no capacity.
const CLOSE: f64 = 0.05;

/// Why a search of the program's own sink is one of the generator.
pub(super) const OWN_SINK: &str = "the target is this program's own sink, which is as fast as the generator";

/// How the search ended for a goal, and why in words.
pub(super) fn outcome_of(goal: &GoalConclusion, settings: &Settings) -> (Outcome, Option<String>) {
    use crate::search::Verdict as Search;
    match &goal.verdict {
        Search::Confirmed if goal.resolution.is_none_or(|width| width > CLOSE.max(3.0 * settings.width)) => {
            (Outcome::Undecided, Some("the budget ended before the bounds were close".to_owned()))
        }
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
                "{attempts} attempts are too few to measure a loss of {}: {needed} are needed; {}",
                percent_text(goal.loss_ratio),
                more_attempts(*attempts, *needed, goal, settings)
            )),
        ),
        Search::Undecided => (Outcome::Undecided, None),
    }
}

/// How to get the attempts that are needed, or by with those there are.
fn more_attempts(attempts: u64, needed: u64, goal: &GoalConclusion, settings: &Settings) -> String {
    let offered = settings.need.map(|(need, margin)| need.as_per_second() * margin);
    let text = |seconds: f64| DurationText(Nanos::from_secs_f64((seconds / 10.0).ceil() * 10.0).into());
    let is_given = settings.longest_confirm < settings.budget;
    let longer = match offered.or(goal.lower_bound_per_s) {
        Some(per_s) if is_given => format!("--confirm {}", text(needed as f64 / per_s)),
        Some(per_s) => {
            let missing_s = needed.saturating_sub(attempts) as f64 / per_s;
            format!("--budget {}", text(settings.budget.as_secs_f64() + 1.1 * missing_s))
        }
        None => "a longer --budget".to_owned(),
    };
    let looser = LOSSES.into_iter().find(|loss| attempts_to_tell(*loss) < attempts);
    let looser = looser.map_or_else(String::new, |loss| {
        format!(
            ", or choose a goal that fewer attempts can decide: --goal {}",
            GoalRequest { name: goal.name.clone(), loss_ratio: loss }
        )
    });
    format!("give {longer} or more{looser}")
}

pub(super) fn not_decidable(asked: &GoalRequest, floor: f64) -> GoalResult {
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
pub(super) fn verdict(result: &CapacityResult, dead: bool) -> Verdict {
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

pub(super) fn half_finding(half: Option<&HalfSources>) -> Option<Finding> {
    let half = half.filter(|half| half.limited_per_source == Some(true))?;
    Some(Finding::warning(
        FindingCode::PerSourceLimit,
        format!(
            "from {} instead of {} sources only {} are served in time: a limit per source, or a load balancer's affinity to \
             sources",
            half.half,
            half.sources,
            rate_text(half.goodput_per_s)
        ),
        "the capacity is of this many sources: give more with --source to see it grow",
    ))
}

/// The confirmed rate that lost more than `loss_ratio` when it was offered once more.
pub(super) fn not_repeated(loads: &[LoadRow], loss_ratio: f64) -> Option<Finding> {
    let again = loads.iter().find(|load| load.share >= 1.0 && load.valid)?;
    let lost = again.lost as f64 / again.attempts.max(1) as f64;
    (lost > loss_ratio).then(|| {
        Finding::warning(
            FindingCode::NotRepeated,
            format!(
                "{} lost {} when it was offered once more, for {:.0} s: what the target sustains changes with time",
                rate_text(again.rate_per_s),
                percent_text(lost),
                again.duration_s
            ),
            "plan with less, or find out what else its machine is doing; several searches show how far it drifts",
        )
    })
}

/// What to do next; `saved_as` is the file that the result goes to.
pub(super) fn advice(result: &CapacityResult, saved_as: Option<&str>) -> Vec<String> {
    let mut advice = Vec::new();
    let resume = |flags: &str| match saved_as {
        Some(file) => format!("`shakedown capacity --resume {file}{flags}` resumes the search"),
        None => format!("with -o FILE a search can be resumed: `shakedown capacity --resume FILE{flags}`"),
    };
    if let Some(concurrent) = &result.concurrent {
        return vec![next_of_concurrent(concurrent)];
    }
    if result.interrupted.is_some() && !result.searched.is_empty() {
        advice.push(resume(""));
        return advice;
    }
    let others_had_cpu_time = result.findings.iter().any(Finding::is_lost_cpu_time);
    let Some(goal) = result.first_goal() else {
        let failures = result.baseline.iter().flat_map(|baseline| &baseline.failures);
        advice.extend(failures.max_by_key(|failure| failure.count).map(|failure| failure.advice.clone()));
        return advice;
    };
    let fleet = result.qualification.as_ref().and_then(|qualification| qualification.fleet.as_ref());
    let fleet = fleet.map(|fleet| {
        format!(
            "all {} clients try again at the same time: the target's accept queue (net.core.somaxconn, its own backlog) is to \
             have room for them",
            fleet.clients
        )
    });
    if result.qualification.as_ref().is_some_and(|qualification| qualification.qualified == Some(false)) {
        advice.push("the same command without the need finds what it does take".to_owned());
        advice.extend(fleet);
        return advice;
    }
    advice.extend(advice_of(result, goal, others_had_cpu_time, resume));
    advice.extend(fleet);
    advice
}

/// What to do next about the outcome of a goal.
fn advice_of(
    result: &CapacityResult,
    goal: &GoalResult,
    others_had_cpu_time: bool,
    resume: impl Fn(&str) -> String,
) -> Option<String> {
    let text = match goal.outcome {
        Outcome::Confirmed if goal.limited_by == LimitedBy::Target => {
            "run below the confirmed rate with room to spare: latency at 90 % of it stands below, and an overload shows past \
             it"
        }
        Outcome::Confirmed => "add --observe pid:N or the URL of the target's node_exporter to see what limits it",
        Outcome::GeneratorLimited if goal.because == OWN_SINK => {
            "give a target: this is what this machine can generate"
        }
        Outcome::GeneratorLimited if others_had_cpu_time => {
            "other programs used CPU time on this machine (see the findings): search again when the workers have their cores to \
             themselves, or give them free ones (--cpus); if that says the same, load it from several machines"
        }
        Outcome::GeneratorLimited => {
            "load it from a machine with more cores, or from several: this one cannot show what the target can do"
        }
        Outcome::RangeLimited if result.qualification.is_none() => "drop --max-rate, or raise it, to find the capacity",
        Outcome::Unstable => {
            "look for what stops the target now and then (garbage collection, disk, a neighbour on its machine); `run` at \
             half of the rate shows the stalls on its timeline"
        }
        Outcome::NothingCompletes => "`probe` explains one handshake; a longer --deadline tells slow from broken",
        Outcome::DidNotRecover if refuses_all(result) => {
            "every connection was refused at the end: look whether the server ended, and why; start it again, and keep \
             clients away from such a load if that was the reason"
        }
        Outcome::DidNotRecover => "restart the target, and keep clients away from such an overload",
        Outcome::Undecided | Outcome::NotConfirmed => {
            let longer = DurationText(Duration::from_secs(2 * (result.asked.budget_ns / 1_000_000_000)));
            return Some(format!("give it more time: {}", resume(&format!(" --budget {longer}"))));
        }
        Outcome::NotDecidable | Outcome::RangeLimited => return None,
    };
    Some(text.to_owned())
}

/// Whether the last trial met nobody who listens.
fn refuses_all(result: &CapacityResult) -> bool {
    result.trials.last().is_some_and(|trial| {
        let refused = trial.failures.iter().filter(|failure| failure.kind == FailureKind::Refused);
        trial.attempts > 0 && refused.map(|failure| failure.count).sum::<u64>() >= trial.attempts
    })
}

/// How more connections could be held at once.
fn next_of_concurrent(concurrent: &Concurrent) -> String {
    match concurrent.limited_by {
        LimitedBy::Target | LimitedBy::Network => {
            "keep below it with room to spare; `run --hold` at a part of it shows how latency and loss grow on the way there"
        }
        LimitedBy::Unattributed => {
            "add --observe pid:N or the URL of the target's node_exporter to see what limits it"
        }
        LimitedBy::Generator => {
            "`doctor --hold N` says what this machine lacks for N connections; or hold them from several machines"
        }
        LimitedBy::Range => "give a longer --budget, or a higher --max-rate: connections are opened at half of it",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Verdict as Search;

    fn concluded(verdict: Search, resolution: Option<f64>) -> GoalConclusion {
        GoalConclusion {
            name: "slo".into(),
            loss_ratio: 0.005,
            lower_bound_per_s: Some(100.0),
            upper_bound_per_s: resolution.map(|width| 100.0 * (1.0 + width)),
            confirmed_per_s: Some(100.0),
            confirming_trial: Some(0),
            conditional_throughput_per_s: Some(100.0),
            resolution,
            loss_resolution: Some(0.001),
            verdict,
        }
    }

    fn settings() -> Settings {
        Settings::of(&super::super::request::CapacityRequest::default()).unwrap()
    }

    #[test]
    fn a_confirmed_rate_is_a_capacity_only_between_close_bounds() {
        let outcome = |resolution| outcome_of(&concluded(Search::Confirmed, resolution), &settings()).0;
        assert_eq!(outcome(Some(0.01)), Outcome::Confirmed);
        assert_eq!(outcome(Some(0.5)), Outcome::Undecided);
        assert_eq!(outcome(None), Outcome::Undecided);
    }

    #[test]
    fn too_few_attempts_are_said_with_the_number_needed() {
        let few = Search::NotDecidable { attempts: 500, needed: 600 };
        let (outcome, reason) = outcome_of(&concluded(few, None), &settings());
        assert_eq!(outcome, Outcome::NotDecidable);
        insta::assert_snapshot!(reason.unwrap(), @"500 attempts are too few to measure a loss of 0.5 %: 600 are needed; give --budget 5m10s or more, or choose a goal that fewer attempts can decide: --goal slo=1%");
    }

    #[test]
    fn a_goal_below_the_loss_floor_is_not_decidable() {
        let asked: GoalRequest = "slo=0.5%".parse().unwrap();
        let goal = not_decidable(&asked, 0.02);
        assert_eq!((goal.outcome, goal.limited_by), (Outcome::NotDecidable, LimitedBy::Network));
        insta::assert_snapshot!(goal.because, @"without any load the path and the target lose 2 %, more than 0.5 %; not decidable on this path");
    }

    #[test]
    fn a_rate_that_does_not_hold_again_is_a_finding() {
        let load = |share, lost, valid| LoadRow {
            share,
            rate_per_s: 7_921.0,
            duration_s: 5.0,
            attempts: 10_000,
            lost,
            valid,
            latency: crate::run::LatencyTable::default(),
        };
        let found = not_repeated(&[load(0.9, 0, true), load(1.0, 465, true)], 0.005).unwrap();
        insta::assert_snapshot!(found.message, @"7921/s lost 4.65 % when it was offered once more, for 5 s: what the target sustains changes with time");
        assert_eq!(not_repeated(&[load(1.0, 50, true)], 0.005), None);
        assert_eq!(not_repeated(&[load(0.5, 465, true), load(1.0, 465, false)], 0.005), None);
    }

    #[test]
    fn a_limit_per_source_is_a_finding() {
        let half = |limited_per_source| HalfSources {
            sources: 4,
            half: 2,
            rate_per_s: 1_000.0,
            attempts: 5_000,
            lost: 2_500,
            goodput_per_s: 500.0,
            limited_per_source,
        };
        assert_eq!(half_finding(Some(&half(Some(true)))).unwrap().code, FindingCode::PerSourceLimit);
        assert_eq!(half_finding(Some(&half(Some(false)))), None);
        assert_eq!(half_finding(Some(&half(None))), None);
    }
}
