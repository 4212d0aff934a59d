use super::*;
use crate::engine::Hold;
use crate::measure::{IntervalCounts, IntervalReport, Timeline};
use crate::run::result::Phase;
use crate::run::{fixtures, recorder_layout};

const START: Time = Time::from_nanos(5_000_000_000);

/// A load of 2 s that `change` changes.
fn policy(keep_going: bool, change: impl FnOnce(&mut RunPlan)) -> Policy {
    let mut plan = fixtures::open_plan();
    change(&mut plan);
    let plan = Arc::new(plan);
    Policy::new(&plan, &recorder_layout(&plan), START, keep_going)
}

/// So many milliseconds after the start, with so many started, completed, failed and refused.
fn standing(at_ms: u64, [started, completed, failed, refused]: [u64; 4]) -> Standing {
    let progress = Progress { started, completed, failed, refused, ..Progress::default() };
    Standing { now: START + Nanos::from_millis(at_ms), progress, drained: false }
}

fn drained(at_ms: u64) -> Standing {
    Standing { drained: true, ..standing(at_ms, [10, 10, 0, 0]) }
}

/// Seconds in which so many were due and completed; the others failed.
fn seconds(counts: &[[u64; 2]]) -> Vec<CompletedSecond> {
    let mut timeline = Timeline::new(1).with_seconds();
    for (index, [due, completed]) in (0..).zip(counts.iter().copied()) {
        let mut report = IntervalReport::new(1);
        let counts = IntervalCounts { due, completed, failed: due - completed, ..IntervalCounts::default() };
        (report.index, report.totals, report.populations) = (index, counts, [counts].into());
        timeline.add(&report);
    }
    timeline.take_completed().collect()
}

fn take(policy: &mut Policy) -> Vec<Decision> {
    policy.decisions().collect()
}

fn decided(policy: Policy) -> Decided {
    policy.finish(std::iter::empty()).0
}

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());
const ENOUGH: ControlFlow<()> = ControlFlow::Break(());
const STOP: Decision = Decision::Order(Order::Stop);

#[test]
fn the_first_signal_stops_and_every_further_one_abandons() {
    let mut policy = policy(false, |_| ());
    policy.signal(Signal::Terminate, &standing(500, [10, 6, 1, 0]));
    assert_eq!(take(&mut policy), [STOP, Decision::Notice(Notice::Stopping(Signal::Terminate, 3))]);
    for signal in [Signal::Interrupt, Signal::Hangup] {
        policy.signal(signal, &standing(700, [10, 6, 1, 0]));
        assert_eq!(take(&mut policy), [Decision::Order(Order::Abandon), Decision::Notice(Notice::Abandoning)]);
    }
    let decided = decided(policy);
    let (signal, at) = decided.interrupted.unwrap();
    assert_eq!((signal, at.t_s, at.phase), (Signal::Terminate, 0.5, Phase::Load), "the first one counts");
    assert!(decided.ended_early);
}

#[test]
fn counts_of_different_instants_leave_nothing_in_flight() {
    let mut policy = policy(false, |_| ());
    policy.signal(Signal::Interrupt, &standing(500, [5, 6, 1, 0]));
    assert_eq!(take(&mut policy)[1], Decision::Notice(Notice::Stopping(Signal::Interrupt, 0)));
}

#[test]
fn what_comes_when_all_has_drained_leaves_the_load_as_planned() {
    let mut signalled = policy(false, |_| ());
    signalled.signal(Signal::Interrupt, &drained(9_000));
    assert_eq!(take(&mut signalled)[0], STOP);
    let mut tripped = policy(false, |plan| plan.abort_if = fixtures::conditions(&["failed>5% for 1s"]));
    for second in seconds(&[[10, 0]]) {
        tripped.second(second, GO_ON, true);
    }
    assert_eq!(take(&mut tripped)[0], STOP);
    let mut enough = policy(false, |_| ());
    for second in seconds(&[[10, 10]]) {
        enough.second(second, ENOUGH, true);
    }
    assert_eq!(take(&mut enough), [STOP]);
    for policy in [signalled, tripped, enough] {
        assert!(!decided(policy).ended_early);
    }
}

#[test]
fn a_load_that_every_target_refuses_ends_after_three_seconds() {
    let refused = [8, 0, 5, 5];
    let mut policy = policy(false, |_| ());
    policy.tick(&standing(2_999, refused));
    assert_eq!(take(&mut policy), []);
    policy.tick(&standing(3_000, refused));
    let [STOP, Decision::Event(event), Decision::Notice(Notice::Refused)] = &take(&mut policy)[..] else {
        panic!("stopped, noted and told")
    };
    assert_eq!((event.t_s, event.code.as_str()), (3.0, "ended"));
    policy.tick(&standing(3_020, refused));
    assert_eq!(take(&mut policy), [], "once");
    let decided = decided(policy);
    assert!(decided.ended_early && decided.interrupted.is_none() && decided.trip.is_none());
    assert_eq!(decided.finding().unwrap().code, crate::finding::FindingCode::RefusedByAll);
}

#[test]
fn a_load_goes_on_if_asked_to_or_if_not_everything_is_refused() {
    for (case, keep_going, counts) in [
        ("asked to", true, [8, 0, 5, 5]),
        ("one completed", false, [8, 1, 5, 5]),
        ("one failed otherwise", false, [8, 0, 5, 4]),
        ("none has failed yet", false, [8, 0, 0, 0]),
    ] {
        let mut policy = policy(keep_going, |_| ());
        policy.tick(&standing(10_000, counts));
        assert_eq!(take(&mut policy), [], "{case}");
        let decided = decided(policy);
        assert!(!decided.ended_early && decided.finding().is_none(), "{case}");
    }
}

#[test]
fn the_first_condition_that_trips_ends_the_load() {
    let conditions = ["failed>5% for 1s", "rate<100/s for 2s"];
    let mut policy = policy(false, |plan| plan.abort_if = fixtures::conditions(&conditions));
    let mut decisions = Vec::new();
    for second in seconds(&[[10, 10], [10, 0], [10, 0]]) {
        policy.second(second, GO_ON, false);
        decisions.extend(take(&mut policy));
    }
    let [STOP, Decision::Event(event), Decision::Notice(Notice::Tripped(trip))] = &decisions[..] else {
        panic!("{decisions:?}")
    };
    assert_eq!((event.t_s, event.code.as_str(), &event.text), (2.0, "ended", &trip.text));
    assert_eq!((trip.condition.as_str(), trip.at_s), ("failed>5% for 1s", 2));
    let decided = decided(policy);
    assert_eq!((decided.trip.as_ref(), decided.ended_early), (Some(trip), true));
}

#[test]
fn whoever_has_seen_enough_stops_the_load_once() {
    let mut policy = policy(false, |_| ());
    let mut stops = Vec::new();
    for (second, wish) in seconds(&[[10, 10]; 3]).into_iter().zip([GO_ON, ENOUGH, ENOUGH]) {
        policy.second(second, wish, false);
        stops.push(take(&mut policy));
    }
    assert_eq!(stops, [vec![], vec![STOP], vec![]]);
    assert!(decided(policy).ended_early);
}

#[test]
fn what_is_held_for_ever_is_released_once_when_all_has_drained() {
    let released = |change: fn(&mut RunPlan)| {
        let mut policy = policy(false, change);
        policy.tick(&standing(2_000, [10, 9, 0, 0]));
        assert_eq!(take(&mut policy), [], "one is in flight");
        [2_020, 2_040].map(|at_ms| {
            policy.tick(&drained(at_ms));
            take(&mut policy)
        })
    };
    let hold = |plan: &mut RunPlan| plan.populations[0].hold = Hold::Forever;
    assert_eq!(released(hold), [vec![Decision::Order(Order::Release)], vec![]]);
    assert_eq!(released(|_| ()), [vec![], vec![]], "nothing is held");
}

#[test]
fn seconds_that_come_after_the_end_are_judged_and_decide_nothing() {
    let change = |plan: &mut RunPlan| {
        plan.abort_if = fixtures::conditions(&["failed>5% for 1s"]);
        plan.thresholds = fixtures::conditions(&["failed<5% in 1s"]);
    };
    let (decided, seconds) = policy(false, change).finish(seconds(&[[10, 0]]).into_iter());
    assert!(decided.trip.is_none() && !decided.ended_early);
    let met = seconds.finish(Nanos::from_secs(1));
    assert_eq!(met.of("failed<5% in 1s").unwrap().as_ref().unwrap().value, 1.0);
}
