//! Several lanes: bursts, events that come again and again, probes, and what begins later.

use shakedown::base::Nanos;
use shakedown::io::sim::{Peer, PeerScript};
use shakedown::measure::{Attempts, Metric, ProbeOutcome};
use shakedown::run::{Hold, Lane, LoadPlan, Repeat};

use super::lab::*;

/// `lane`, `begins` after the load's beginning.
fn later(begins: Nanos, lane: Lane) -> Lane {
    Lane { begins_ns: begins.as_u64(), ..lane }
}

#[test]
fn a_burst_is_intended_at_one_instant() {
    let load = open(vec![burst(500, secs(1)), stage("load", 100.0, 100.0, Some(secs(1)))], None);
    let report = Lab::new(load, 500).simple().traced().run();
    assert_eq!(report.starts(0), [Nanos::ZERO; 500]);
    let steady: Vec<Nanos> = (0..100).map(|number| secs(1) + millis(10 * number)).collect();
    assert_eq!(report.starts(1), steady);
    let lateness = report.spans(Metric::Lateness);
    assert_eq!((lateness.count(), lateness.max()), (600, Some(Nanos::ZERO)));
    // Eight at a time.
    let response = report.snapshot.stages()[0].tally.latencies.get(Metric::Response).unwrap();
    assert_eq!(*response, spans((0..500).map(|number| micros(ATTEMPT + number / 8 * SERVICE))));
}

#[test]
fn a_burst_beyond_the_slots_waits_from_its_instant_on() {
    let report = Lab::new(open(vec![burst(100, secs(1))], None), 10).simple().traced().run();
    assert_eq!((report.counts().due, report.counts().completed, report.counts().dropped), (100, 100, 0));
    assert_eq!(report.starts(0)[..11].iter().filter(|at| **at == Nanos::ZERO).count(), 10);
    assert_eq!(report.spans(Metric::Response).max(), spans([report.at(report.ends.drained)]).max());
}

#[test]
fn an_event_comes_again_and_again() {
    let event = LoadPlan::Open {
        arrival: shakedown::load::ArrivalPattern::Uniform,
        stages: vec![burst(20, millis(100))],
        attempts: None,
        repeat: Some(Repeat { every_ns: secs(2).as_u64(), times: 4 }),
    };
    let mut lab = Lab::new(open_for(10.0, secs(9)), 50).simple().traced();
    lab.plan.populations[0].lanes.push(later(secs(2), lane(event, 20)));
    assert_eq!(lab.plan.length(), secs(9));
    let report = lab.run();
    let events: Vec<Nanos> = [2, 4, 6, 8].into_iter().flat_map(|second| [secs(second); 20]).collect();
    assert_eq!(report.starts(1), events);
    assert_eq!((report.stage(0).completed, report.stage(1).completed), (90, 80));
    assert_eq!(report.spans(Metric::Lateness).max(), Some(Nanos::ZERO));
}

#[test]
fn lanes_begin_when_they_are_to() {
    let mut lab = Lab::new(open_for(100.0, secs(1)), 10).simple().traced();
    let lanes = &mut lab.plan.populations[0].lanes;
    lanes.push(later(secs(1), lane(closed_for(millis(60)), 1)));
    lanes.push(later(secs(3), lane(open_for(50.0, secs(1)), 10)));
    let report = lab.run();
    assert_eq!(report.starts(1).first(), Some(&secs(1)));
    assert_eq!(report.starts(2), (0..50).map(|number| secs(3) + millis(20 * number)).collect::<Vec<_>>());
    assert_eq!([0, 1, 2].map(|stage| report.stage(stage).completed), [100, 100, 50]);
    assert_eq!(report.at(report.ends.load), secs(3) + millis(980));
}

#[test]
fn a_lane_whose_slots_are_taken_leaves_those_of_the_other_alone() {
    // The first population holds its ten connections for ever and has a backlog from then on.
    let mut lab = Lab::new(open_for(1_000.0, secs(1)), 10).simple().with(|clients| clients.hold = Hold::Forever);
    let mut others = population("others", open_for(1_000.0, secs(1)), 10);
    others.clients = lab.plan.populations[0].clients.clone();
    lab.plan.populations.push(others);
    lab.audited = true;
    let report = lab.run();
    let held = Attempts { due: 1_000, started: 10, dropped: 990, completed: 10, held: 10, ..Attempts::default() };
    assert_eq!(report.stage(0), held);
    assert_eq!(report.stage(1), Attempts { due: 1_000, started: 1_000, completed: 1_000, ..Attempts::default() });
    let lateness = |stage: usize| report.snapshot.stages()[stage].tally.latencies.get(Metric::Lateness).unwrap().max();
    assert_eq!(lateness(1), Some(Nanos::ZERO));
}

#[test]
fn a_probe_says_when_the_target_accepts_again() {
    // It stands still from 0.5 s to 4.25 s, and probes that take more than half a second have failed.
    let peer = Peer { freezes: vec![freeze(millis(500), millis(3_750))], ..Peer::default() };
    let mut lab = Lab::new(open_for(1_000.0, secs(1)), 1_000).simple().against(peer);
    lab.plan.populations[0].timeout_ns = millis(500).as_u64();
    lab.plan.populations[0].lanes.push(later(secs(1), lane(open(vec![probe(2.0, secs(6))], None), 10)));
    lab.audited = true;
    let report = lab.run();
    let [load, probes] = report.snapshot.stages() else { panic!("two stages") };
    assert!(load.probes.is_empty());
    let mut outcomes = probes.probes.clone();
    outcomes.sort();
    let expected: Vec<ProbeOutcome> = (0..12)
        .map(|number| secs(1) + millis(500 * number))
        .map(|intended| ProbeOutcome { intended, target: 0, client: 0, completed: intended >= secs(4) })
        .collect();
    assert_eq!(outcomes, expected);
    assert_eq!(probes.last_end, secs(6) + millis(500) + micros(ATTEMPT));
    // The last one of the load gave up: its limit counts from its connect.
    assert_eq!(load.last_end, expiry(millis(999) + micros(2 * ONE_WAY) + millis(500)));
}

#[test]
fn a_probe_of_a_refusing_target_fails_each_time() {
    let lab = Lab::new(open(vec![probe(10.0, secs(1))], None), 10).against_script(PeerScript::Refuse);
    let report = lab.run();
    let failed = |number: u64| ProbeOutcome { intended: millis(100 * number), target: 0, client: 0, completed: false };
    let expected: Vec<ProbeOutcome> = (0..10).map(failed).collect();
    assert_eq!(report.snapshot.stages()[0].probes, expected);
    assert_eq!(report.snapshot.stages()[0].last_end, millis(900) + micros(2 * ONE_WAY));
}
