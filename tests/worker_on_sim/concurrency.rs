//! Closed loops whose concurrency goes by steps and ramps.

use shakedown::base::Nanos;
use shakedown::load::{ConcurrencyPlan, ConcurrencyStep};
use shakedown::run::{Hold, LoadPlan, StepPlan};

use super::lab::*;

fn stepped(steps: Vec<StepPlan>, attempts: Option<u64>) -> Lab {
    let slots = steps.iter().map(|step| step.from.max(step.to)).max().unwrap();
    Lab::new(LoadPlan::Closed { steps, attempts }, slots).simple().traced()
}

/// What `steps` allow, by the arithmetic of the plan.
fn planned(steps: &[StepPlan]) -> ConcurrencyPlan {
    let step = |(stage, plan): (u16, &StepPlan)| ConcurrencyStep {
        from: plan.from,
        to: plan.to,
        length: Nanos::new(plan.duration_ns.unwrap()),
        stage,
        counts: true,
    };
    ConcurrencyPlan::new(Nanos::ZERO, (0..).zip(steps).map(step).collect()).unwrap()
}

#[test]
fn connections_in_flight_and_held_follow_the_plan_at_every_turn() {
    let second = secs(1);
    let steps = vec![step(0, 50, second), step(50, 50, second), step(20, 20, second), step(20, 1, second)];
    let plan = planned(&steps);
    let report = stepped(steps, None).with(|clients| clients.hold = Hold::Forever).run();
    assert!(report.turns.len() > 100);
    for turn in &report.turns {
        if let Some((allowed, _)) = plan.at(turn.at) {
            assert_eq!(turn.in_flight + turn.held, u64::from(allowed), "at {}", turn.at);
        }
    }
    // The ramp and one of each that a step or ramp sent away came; nobody was replaced.
    assert_eq!(report.snapshot.stages().iter().map(|row| row.tally.counts.started).collect::<Vec<_>>(), [49, 1, 0, 0]);
    assert_eq!((report.counts().completed, report.counts().lost_while_held), (50, 0));
    assert_eq!((report.peers[0].accepted, report.peers[0].resets), (50, 50));
}

#[test]
fn attempts_in_flight_never_exceed_a_ramp_and_reach_it() {
    let steps = vec![step(0, 40, secs(1)), step(40, 0, secs(1)), step(5, 5, millis(500))];
    let plan = planned(&steps);
    let report = stepped(steps, None).run();
    let mut before = 0;
    for turn in &report.turns {
        let Some((allowed, _)) = plan.at(turn.at) else { continue };
        // Attempts that a falling ramp finds in flight end as they would, and nobody takes their places.
        assert!(turn.in_flight <= u64::from(allowed).max(before), "at {}: {turn:?}", turn.at);
        before = turn.in_flight;
    }
    let most = |from, to| {
        let turns = report.turns.iter().filter(|turn| (from..to).contains(&turn.at));
        turns.map(|turn| turn.in_flight).max()
    };
    assert_eq!(
        [most(secs(0), millis(501)), most(secs(0), secs(2)), most(secs(2), secs(3))].map(Option::unwrap),
        [20, 40, 5]
    );
    assert_eq!(report.counts().started, report.counts().completed);
}

#[test]
fn a_number_bounds_a_loop_of_several_steps() {
    for (attempts, slots) in [(1, 10), (100, 10), (2_999, 10)] {
        let steps = vec![step(2, 2, millis(10)), step(1, slots, millis(500)), step(slots, slots, secs(60))];
        let report = stepped(steps, Some(attempts)).run();
        assert_eq!((report.counts().due, report.counts().completed), (attempts, attempts));
        assert!(report.at(report.ends.load) < secs(60));
    }
}

#[test]
fn a_warm_up_step_is_beside_the_number() {
    let warm = StepPlan { warmup: true, ..step(3, 3, millis(60)) };
    let report = stepped(vec![warm, step(1, 1, secs(1))], Some(50)).run();
    assert_eq!((report.stage(0).completed, report.stage(1).completed), (300, 50));
}

#[test]
fn workers_have_their_parts_of_the_steps() {
    let steps = vec![step(3, 10, secs(1)), step(7, 7, secs(1))];
    let plan = planned(&steps);
    let mut lab = stepped(steps, None).with(|clients| clients.hold = Hold::Forever);
    lab.plan.workers = 3;
    let reports = lab.run_workers(3);
    for at in [millis(0), millis(500), millis(900), millis(1_001), millis(1_900)] {
        let held: u64 = reports
            .iter()
            .map(|report| {
                let turn = report.turns.iter().rev().find(|turn| turn.at <= at).unwrap();
                turn.in_flight + turn.held
            })
            .sum();
        assert_eq!(held, u64::from(plan.at(at).unwrap().0), "at {at}");
    }
}

#[test]
fn a_loop_that_begins_later_is_counted_from_its_beginning() {
    let mut lab = stepped(vec![step(1, 1, millis(60))], None);
    lab.plan.populations[0].lanes[0].begins_ns = secs(2).as_u64();
    let report = lab.run();
    assert_eq!(report.counts().completed, 100);
    assert_eq!((report.starts(0)[0], report.at(report.ends.load)), (secs(2), secs(2) + millis(60)));
}
