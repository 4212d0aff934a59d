//! What is due, and when the load ends.

use shakedown::base::Nanos;
use shakedown::io::sim::{Peer, PeerScript};
use shakedown::load::Share;
use shakedown::measure::{Attempts, Metric};
use shakedown::run::{LoadPlan, RunResult, simulate};

use super::lab::*;

fn poisson_for(per_s: f64, length: Nanos) -> LoadPlan {
    poisson(vec![stage("load", per_s, per_s, Some(length))])
}

/// Nothing else than completed.
fn completed(count: u64) -> Attempts {
    Attempts { due: count, started: count, completed: count, ..Attempts::default() }
}

/// A server that nobody has to sign for: what is due does not depend on it.
fn refusing(load: LoadPlan) -> Lab {
    Lab::new(load, 500).against_script(PeerScript::Refuse)
}

#[test]
fn a_rate_for_a_time_is_due_exactly() {
    let report = refusing(open_for(5_000.0, secs(10))).run();
    let refused = Attempts { due: 50_000, started: 50_000, failed: 50_000, ..Attempts::default() };
    assert_eq!(report.counts(), refused);
    // The last arrival is intended 200 us before the end; its refusal takes a round trip.
    assert_eq!(report.at(report.ends.load), micros(9_999_800));
    assert_eq!(report.at(report.ends.drained), micros(9_999_800 + 2 * ONE_WAY));
}

#[test]
fn every_second_of_a_constant_rate_has_the_same_part() {
    let report = Lab::new(open_for(1_000.0, secs(5)), 100).simple().run();
    for row in report.timeline.rows() {
        // The last attempt of a second completes 400 us before the second does.
        assert_eq!((row.due, row.started, row.completed, row.failed), (1_000, 1_000, 1_000, 0), "second {}", row.t_s);
    }
    assert_eq!(report.timeline.rows().len(), 5);
}

#[test]
fn a_ramp_is_due_by_its_area() {
    for (from, to, due) in [(0.0, 1_000.0, 1_000), (1_000.0, 0.0, 1_000), (500.0, 1_500.0, 2_000)] {
        let report = refusing(open(vec![stage("ramp", from, to, Some(secs(2)))], None)).run();
        assert_eq!(report.counts().due, due, "{from} to {to}");
    }
    // L(1 s) of 0 to 1 000/s in 2 s is 250.
    let rows = refusing(open(vec![stage("ramp", 0.0, 1_000.0, Some(secs(2)))], None)).run().timeline.rows();
    assert_eq!(rows.iter().map(|row| row.due).collect::<Vec<_>>(), [250, 750]);
}

#[test]
fn shares_add_up_to_the_plan_whatever_its_arrivals() {
    for load in [open_for(1_000.0, secs(1)), poisson_for(1_000.0, secs(1)), open_of(1_000.0, 1_001)] {
        let whole = refusing(load.clone()).run().counts().due;
        let shares: Vec<u64> = (0..3)
            .map(|index| {
                let mut lab = refusing(load.clone());
                lab.plan.share = Share::new(index, 3).unwrap();
                lab.run().counts().due
            })
            .collect();
        assert_eq!(shares.iter().sum::<u64>(), whole, "{load:?}");
        assert!(shares.iter().all(|&due| due > 250), "{shares:?} of {load:?}");
    }
}

#[test]
fn workers_add_up_to_the_plan() {
    for (load, due) in [
        (open_for(1_000.0, secs(1)), 1_000),
        (open_of(1_000.0, 777), 777),
        (closed_of(500), 500),
        (open(vec![stage("ramp", 0.0, 1_000.0, Some(secs(1)))], None), 500),
    ] {
        let mut lab = Lab::new(load.clone(), 10).simple();
        lab.plan.workers = 3;
        let reports = lab.run_workers(3);
        assert_eq!(reports.iter().map(|report| report.counts().completed).sum::<u64>(), due, "{load:?}");
    }
}

#[test]
fn workers_without_a_slot_leave_their_arrivals_to_the_others() {
    let mut lab = Lab::new(open_for(1_000.0, secs(1)), 2).simple();
    lab.plan.workers = 4;
    let completed: Vec<u64> = lab.run_workers(4).iter().map(|report| report.counts().completed).collect();
    assert_eq!(completed, [500, 500, 0, 0]);
}

#[test]
fn poisson_arrivals_are_those_of_their_seed() {
    let due = |seed| refusing(poisson_for(5_000.0, secs(2))).seeded(seed).run().counts().due;
    let drawn = [1, 2, 3].map(due);
    assert_eq!(drawn, [1, 2, 3].map(due), "the same again");
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2], "{drawn:?}");
    // 10 000 are planned; six standard deviations are 600.
    assert!(drawn.iter().all(|due| (9_400..=10_600).contains(due)), "{drawn:?}");
}

#[test]
fn a_number_ends_an_open_loop_at_its_last_arrival() {
    let report = Lab::new(open_of(1_000.0, 250), 100).simple().run();
    assert_eq!(report.counts(), completed(250));
    assert_eq!(report.at(report.ends.load), millis(249));
    assert_eq!(report.ended, millis(249) + micros(ATTEMPT));
}

#[test]
fn the_first_of_number_and_time_ends_an_open_loop() {
    for (attempts, due) in [(100, 100), (2_000, 1_000)] {
        let load = open(vec![stage("load", 1_000.0, 1_000.0, Some(secs(1)))], Some(attempts));
        assert_eq!(refusing(load).run().counts().due, due);
    }
}

#[test]
fn a_number_counts_without_the_warmup() {
    let report = Lab::new(open(vec![warmup(500.0, secs(1)), stage("load", 1_000.0, 1_000.0, None)], Some(300)), 100)
        .simple()
        .run();
    assert_eq!(report.counts(), completed(300));
    assert_eq!([report.stage(0), report.stage(1)], [completed(500), completed(300)]);
    assert_eq!(report.at(report.ends.load), millis(1_299));
}

#[test]
fn a_warmup_is_a_stage_of_its_own() {
    let result =
        Lab::new(open(vec![warmup(100.0, secs(1)), stage("load", 1_000.0, 1_000.0, Some(secs(2)))], None), 100)
            .simple()
            .run()
            .result();
    assert_eq!((result.attempts.due, result.modes.simple), (2_000, 2_000));
    assert_eq!(result.latency.get(Metric::Response).unwrap().count, 2_000);
    assert_eq!(result.rate.intended_per_s, Some(1_000.0));
    let rows: Vec<_> = result
        .by_stage
        .iter()
        .map(|row| (row.name.as_str(), row.warmup, row.attempts.due, row.rate.intended_per_s))
        .collect();
    assert_eq!(rows, [("warm-up", true, 100, Some(100.0)), ("load", false, 2_000, Some(1_000.0))]);
}

#[test]
fn a_number_is_met_exactly_by_a_closed_loop() {
    for (attempts, slots) in [(1, 64), (63, 64), (64, 64), (65, 64), (1_000, 7), (1, 1)] {
        let report = Lab::new(closed_of(attempts), slots).simple().run();
        assert_eq!(report.counts(), completed(attempts), "{attempts} in {slots} slots");
    }
}

#[test]
fn a_closed_loop_starts_the_next_attempt_when_a_slot_is_free() {
    // Four slots and eight servers: nobody waits, an attempt takes 600 us, and the 25th of each slot starts at 14.4 ms.
    let report = Lab::new(closed_of(100), 4).simple().run();
    assert_eq!(report.at(report.ends.load), micros(24 * ATTEMPT));
    assert_eq!(report.ended, micros(25 * ATTEMPT));
}

#[test]
fn time_ends_a_closed_loop() {
    let report = Lab::new(closed_for(secs(1)), 3).simple().run();
    // Attempts start at 0, 600 us, ... 999.6 ms.
    assert_eq!(report.counts(), completed(3 * 1_667));
    assert_eq!(report.at(report.ends.load), secs(1));
    assert_eq!(report.ended, micros(1_667 * ATTEMPT));
}

#[test]
fn the_first_of_number_and_time_ends_a_closed_loop() {
    for (attempts, due) in [(10, 10), (1_000_000, 1_667)] {
        let load = closed(Nanos::ZERO, Some(secs(1)), Some(attempts));
        assert_eq!(Lab::new(load, 1).simple().run().counts(), completed(due));
    }
}

#[test]
fn a_closed_loop_warms_up_beside_its_number_and_before_its_time() {
    let load = |length, attempts| closed(millis(60), length, attempts);
    // 60 ms are a hundred attempts one after the other.
    let report = Lab::new(load(None, Some(50)), 1).simple().run();
    assert_eq!([report.stage(0), report.stage(1)], [completed(100), completed(50)]);
    let report = Lab::new(load(Some(millis(120)), None), 1).simple().run();
    assert_eq!([report.stage(0), report.stage(1)], [completed(100), completed(200)]);
    assert_eq!(report.counts(), completed(200));
}

#[test]
fn targets_and_sources_are_taken_in_turn() {
    let mut lab = Lab::new(open_for(1_000.0, secs(1)), 50).simple();
    aim(&mut lab.plan, targets(3));
    lab.sources(vec!["10.1.0.1".parse().unwrap(), "10.1.0.2".parse().unwrap()]);
    lab.network.peers = vec![Peer::default()];
    let report = lab.run();
    let accepted: Vec<u64> = report.peers.iter().map(|peer| peer.accepted).collect();
    assert_eq!(accepted, [334, 333, 333]);
    let by_target: Vec<u64> = report.snapshot.targets().iter().map(|tally| tally.counts.completed).collect();
    assert_eq!(by_target, accepted);
}

#[test]
fn populations_share_a_worker_and_nothing_else() {
    let mut lab = Lab::new(open_for(1_000.0, secs(1)), 50).simple();
    let mut scanners = population("scanners", closed_of(100), 1);
    scanners.clients = lab.plan.populations[0].clients.clone();
    lab.plan.populations.push(scanners);
    lab.audited = true;
    let report = lab.run();
    assert_eq!([report.stage(0), report.stage(1)], [completed(1_000), completed(100)]);
    assert_eq!(report.snapshot.population(1).tally.counts, completed(100));
}

#[test]
fn a_burst_starts_at_once_whatever_a_turn_may_start() {
    // More than a turn starts; a turn takes no time here, so nobody is late.
    let report = Lab::new(closed_of(1_000), 1_000).simple().run();
    assert_eq!(report.at(report.ends.load), Nanos::ZERO);
    // Eight at a time, 125 times.
    assert_eq!(report.ended, micros(ATTEMPT + 124 * SERVICE));
}

#[test]
fn rates_are_those_of_the_window_that_was_planned() {
    for (load, window_s, per_s) in [
        (open_for(100.0, secs(3)), 3.0, 100.0),
        (open_of(100.0, 300), 3.0, 100.0),
        (open(vec![warmup(10.0, secs(1)), stage("load", 100.0, 100.0, None)], Some(150)), 1.5, 100.0),
        (open(vec![stage("load", 0.0, 100.0, Some(secs(2)))], Some(25)), 1.0, 25.0),
        (open(vec![stage("load", 100.0, 100.0, Some(secs(1)))], Some(1_000)), 1.0, 100.0),
    ] {
        let plan = Lab::new(load.clone(), 500).simple().plan;
        let result = RunResult::assemble(simulate(plan.into()).parts);
        assert_eq!(result.window.duration_s, window_s, "{load:?}");
        assert_eq!(result.rate.intended_per_s, Some(per_s), "{load:?}");
        assert_eq!(result.rate.completed_per_s, per_s, "{load:?}");
    }
}

#[test]
fn a_number_of_attempts_that_slots_delay_takes_until_the_last_has_started() {
    // 600 us in one slot: 100 attempts planned for 10 ms take 60 ms to start, less the last one's own time.
    let plan = Lab::new(open_of(10_000.0, 100), 1).simple().plan;
    let result = RunResult::assemble(simulate(plan.into()).parts);
    assert_eq!(result.window.duration_s, 0.0594);
    assert_eq!(result.attempts.completed, 100);
}
