//! Whether a result is to be believed, what it says, and the exit code.

use super::generator::{cpu_us_per_attempt, generator_limits, remarks};
use super::outcome::{Obstacle, met_nobody, nothing_completed, reactions, unexpected_reactions};
use super::unserved::{Unserved, unserved};
use super::watch::WatchOutcome;
use crate::finding::FindingCode;
use crate::run::condition::Threshold;
use crate::run::plan::Population;
use crate::run::result::{RunResult, Verdict};

/// The findings made here; a merged result is judged anew.
const JUDGED: [FindingCode; 14] = [
    FindingCode::GeneratorPaused,
    FindingCode::Unserved,
    FindingCode::OneFamily,
    FindingCode::Untried,
    FindingCode::NeverConnected,
    FindingCode::MediaUnsent,
    FindingCode::PerSourceLimit,
    FindingCode::LocalErrors,
    FindingCode::LateStarts,
    FindingCode::PoolTooSmall,
    FindingCode::MissedStarts,
    FindingCode::SlotsHeldByTarget,
    FindingCode::CpuContention,
    FindingCode::WorkerBusy,
];

/// Judges the generator, evaluates the plan's thresholds (with what was `watched` while the run went on), and sets the
/// verdict.
pub(in crate::run) fn judge(result: &mut RunResult, watched: &WatchOutcome) {
    let tightest = result.plan.thresholds.iter().filter_map(Threshold::latency_limit).min();
    let (limits, remarks) = (generator_limits(result, tightest), remarks(result, tightest));
    let generator = &mut result.generator;
    let suspended = generator.findings.iter().any(|finding| finding.code == FindingCode::MachineSuspended);
    generator.limited = !limits.is_empty() || suspended;
    generator.findings.retain(|finding| !JUDGED.contains(&finding.code));
    generator.findings.extend(limits.into_iter().chain(remarks));
    result.generator.cpu_us_per_attempt = cpu_us_per_attempt(result);
    result.thresholds = result.plan.thresholds.iter().map(|threshold| threshold.evaluate(result, watched)).collect();
    result.verdict = verdict(result);
}

fn verdict(result: &RunResult) -> Verdict {
    match nothing_completed(result) {
        Some(Obstacle::OwnLimits) => return Verdict::Inconclusive,
        Some(Obstacle::Target) => return Verdict::Fail,
        // A signal came before anything was over: nothing is known about the target.
        None if result.attempts.completed + reactions(result) == 0 || met_nobody(result) => {
            return Verdict::Inconclusive;
        }
        None => {}
    }
    let rate_asked = result.plan.asked().any(Population::is_open_loop);
    let asked = rate_asked || result.plan.thresholds.iter().any(Threshold::needs_an_unlimited_generator);
    let passes = || result.thresholds.iter().map(|threshold| threshold.pass);
    let unserved = unserved(result);
    // Of parts that never started, or may have met this machine's own limits, nothing is known.
    let unknown = |part: &Unserved| !part.failed() || result.generator.limited;
    if result.generator.limited && asked || passes().any(|pass| pass.is_none()) || unserved.iter().any(unknown) {
        Verdict::Inconclusive
    } else if passes().any(|pass| pass == Some(false))
        || unexpected_reactions(result) > 0
        || result.ended_by.is_some()
        || !unserved.is_empty()
    {
        Verdict::Fail
    } else {
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Failure, FailureDetail, FailureKind, Step};
    use crate::run::fixtures;
    use crate::run::judging::{ExitCode, ExitFacts};
    use crate::run::plan::{LoadPlan, Pace};
    use crate::run::result::PauseRow;
    use crate::run::result::Signal;

    fn codes(result: &RunResult) -> Vec<String> {
        result.generator.findings.iter().map(|finding| finding.code.to_string()).collect()
    }

    #[test]
    fn exit_codes_follow_their_precedence() {
        let pass = ExitFacts {
            usage_error: false,
            could_not_run: false,
            interrupted: None,
            nothing_completed: None,
            verdict: Verdict::Pass,
        };
        // Each fact alone, in order of precedence.
        type Set = fn(&mut ExitFacts);
        let facts: [(u8, Set); 9] = [
            (2, |facts| facts.usage_error = true),
            (1, |facts| facts.could_not_run = true),
            (1, |facts| facts.nothing_completed = Some(Obstacle::OwnLimits)),
            (130, |facts| facts.interrupted = Some(Signal::Interrupt)),
            (143, |facts| facts.interrupted = Some(Signal::Terminate)),
            (129, |facts| facts.interrupted = Some(Signal::Hangup)),
            (5, |facts| facts.nothing_completed = Some(Obstacle::Target)),
            (4, |facts| facts.verdict = Verdict::Inconclusive),
            (3, |facts| facts.verdict = Verdict::Fail),
        ];
        assert_eq!(ExitCode::decide(pass).code(), 0);
        for (index, (code, set)) in facts.iter().enumerate() {
            // Every weaker fact on top changes nothing; the strong one is set last, over a weaker value of its field.
            for (_, set_weaker) in &facts[index..] {
                let mut both = pass;
                set_weaker(&mut both);
                set(&mut both);
                assert_eq!(ExitCode::decide(both).code(), *code, "{both:?}");
            }
        }
    }

    #[test]
    fn failures_without_a_threshold_pass() {
        let result = fixtures::open_result(&[]);
        assert_eq!((result.attempts.failed, result.verdict), (10, Verdict::Pass));
        assert_eq!(ExitCode::of(&result), ExitCode::Pass);
        assert_eq!(codes(&result), [""; 0]);
    }

    #[test]
    fn thresholds_decide_between_pass_fail_and_inconclusive() {
        for (thresholds, code) in [
            (&["service.p50<10ms", "failed<1%"][..], 0),
            (&["service.p50<10ms", "failed<0.1%"], 3),
            (&["service.p99.9<10s"], 4),
            (&["service.p99.9<10s", "failed<0.1%"], 4),
        ] {
            assert_eq!(ExitCode::of(&fixtures::open_result(thresholds)).code(), code, "{thresholds:?}");
        }
    }

    #[test]
    fn late_starts_make_an_open_loop_run_inconclusive() {
        let late = |ms| fixtures::OpenRun { lateness_ms: ms, ..fixtures::OpenRun::default() };
        assert_eq!(late(4).result(&[]).verdict, Verdict::Pass);
        let result = late(6).result(&["failed<0.1%"]);
        assert_eq!((result.verdict, result.generator.limited), (Verdict::Inconclusive, true));
        assert_eq!(codes(&result), ["late_starts"]);
        // A tenth of the tightest limit asked is 10 ms.
        assert_eq!(late(6).result(&["response.p50<100ms", "service.p50<10s"]).verdict, Verdict::Pass);
        assert_eq!(late(11).result(&["response.p50<100ms"]).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn the_last_of_a_burst_may_be_as_late_as_it_takes_to_start_them_all() {
        let mut result = fixtures::OpenRun { lateness_ms: 20, ..fixtures::OpenRun::default() }.result(&[]);
        assert_eq!(codes(&result), ["late_starts"]);
        let LoadPlan::Open { stages, .. } = &mut result.plan.populations[0].lanes[0].load else { unreachable!() };
        stages[0].pace = Pace::Burst { count: 2_000 };
        // One worker starts 2 000 in 20 or in 10 ms.
        for (cpu_us, verdict) in [(10, Verdict::Pass), (5, Verdict::Inconclusive)] {
            result.workers[0].cpu_time_ns = Some(cpu_us * 1_000 * result.attempts.started);
            judge(&mut result, &WatchOutcome::default());
            assert_eq!(result.verdict, verdict, "{cpu_us} us for each");
        }
    }

    #[test]
    fn missed_starts_are_blamed_on_whoever_kept_them_waiting() {
        let run = fixtures::OpenRun { dropped: 30, ..fixtures::OpenRun::default() };
        let generator = run.result(&[]);
        assert_eq!((codes(&generator), generator.verdict), (vec!["missed_starts".to_owned()], Verdict::Inconclusive));
        // 1 000 a second need 50 slots to tell within 50 ms; there are 64.
        let target = fixtures::OpenRun { slot_wait_ms: 40, ..run.clone() }.result(&["response.p50<50ms"]);
        assert_eq!((codes(&target), target.verdict), (vec!["slots_held_by_target".to_owned()], Verdict::Pass));
        assert!(!target.generator.limited);
        // Held for 2 s they need as many slots as there are arrivals; without a limit they need the whole timeout.
        let pool = fixtures::OpenRun { slot_wait_ms: 40, hold_ms: 2_000, ..run.clone() }.result(&["response.p50<50ms"]);
        assert_eq!(codes(&pool), ["pool_too_small"]);
        let pool = fixtures::OpenRun { slot_wait_ms: 40, ..run }.result(&[]);
        assert_eq!((codes(&pool), pool.verdict), (vec!["pool_too_small".to_owned()], Verdict::Inconclusive));
        insta::assert_snapshot!(pool.generator.findings[0].message, @"30 of 2020 planned attempts of encoders never started: all 64 slots were busy, and the plan may need 2020");
    }

    #[test]
    fn a_generator_that_stood_still_says_when_and_blames_nobody_else() {
        let mut result = fixtures::OpenRun::default().result(&["rate>=999/s", "rate>=980/s"]);
        let pause = |t_s, duration_s| PauseRow { t_s, duration_s };
        result.generator.pauses = vec![pause(0.5, 0.06), pause(1.25, 0.2)];
        judge(&mut result, &WatchOutcome::default());
        assert_eq!(codes(&result), ["generator_paused"]);
        insta::assert_snapshot!(result.generator.findings[0].message, @"the generator stood still 2 times, 260 ms in all, the longest time for 200 ms from 1.25 s on: it was stopped, or had no CPU");
        // 990 a second, and it stood still for 0.26 s of 2 s.
        assert_eq!(result.thresholds.iter().map(|met| met.pass).collect::<Vec<_>>(), [None, Some(true)]);
        insta::assert_snapshot!(result.thresholds[0].reason.as_ref().unwrap(), @"the generator stood still for 260 ms; without that it may hold");
        assert_eq!(result.verdict, Verdict::Inconclusive);
        let slept = Failure::new(Step::S0, FailureKind::GeneratorPaused);
        let failed = |failure| {
            fixtures::OpenRun { failure, ..fixtures::OpenRun::default() }.result(&["failed<0.1%"]).thresholds[0].pass
        };
        assert_eq!((failed(slept), failed(Failure::new(Step::S0, FailureKind::Timeout))), (None, Some(false)));
        let nothing = fixtures::OpenRun { completed: 0, failure: slept, ..fixtures::OpenRun::default() }.result(&[]);
        assert_eq!(ExitCode::of(&nothing).code(), 4, "nothing is known about the target");
    }

    #[test]
    fn local_errors_limit_the_generator() {
        let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts).with_detail(FailureDetail::Errno(99));
        let run = fixtures::OpenRun { failure: no_ports, ..fixtures::OpenRun::default() };
        let result = run.result(&[]);
        assert_eq!((codes(&result), result.verdict), (vec!["local_errors".to_owned()], Verdict::Inconclusive));
    }

    #[test]
    fn closed_loop_is_inconclusive_only_where_a_rate_or_latency_was_asked() {
        let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts);
        for (threshold, verdict) in [
            (&[][..], Verdict::Pass),
            (&["failed<50%"], Verdict::Pass),
            (&["failed<=0"], Verdict::Fail),
            (&["service.p50<1s"], Verdict::Inconclusive),
            (&["rate>1"], Verdict::Inconclusive),
        ] {
            let result = fixtures::closed_result(threshold, no_ports, Some(99.0));
            assert!(result.generator.limited);
            assert_eq!(result.verdict, verdict, "{threshold:?}");
            assert_eq!(codes(&result), ["local_errors", "worker_busy"]);
        }
    }

    #[test]
    fn nothing_completed_is_the_targets_or_ours() {
        let nothing = |failure, interrupted| {
            let run = fixtures::OpenRun { completed: 0, failure, interrupted, ..fixtures::OpenRun::default() };
            ExitCode::of(&run.result(&[])).code()
        };
        let refused = Failure::new(Step::Connect, FailureKind::Refused);
        let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts);
        let cancelled = Failure::new(Step::S1, FailureKind::Cancelled);
        assert_eq!(nothing(refused, None), 5);
        assert_eq!(nothing(Failure::new(Step::Connect, FailureKind::Timeout), None), 5);
        assert_eq!(nothing(no_ports, None), 1);
        assert_eq!(nothing(no_ports, Some(Signal::Interrupt)), 1);
        assert_eq!(nothing(cancelled, None), 1, "the kernel refused every operation");
        assert_eq!(nothing(cancelled, Some(Signal::Interrupt)), 130);
        assert_eq!(nothing(refused, Some(Signal::Terminate)), 143);
    }

    #[test]
    fn cpu_time_is_shared_by_all_attempts() {
        let result = fixtures::closed_result(&[], Failure::new(Step::S0, FailureKind::Reset), Some(50.0));
        // Half of 2 s in 1 000 attempts.
        assert_eq!(result.generator.cpu_us_per_attempt, Some(1_000.0));
    }
}
