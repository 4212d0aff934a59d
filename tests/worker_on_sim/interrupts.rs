//! Orders that end a run before its plan does.

use shakedown::base::Nanos;
use shakedown::fleet::{End, Order};
use shakedown::io::sim::PeerScript;
use shakedown::measure::Attempts;
use shakedown::run::Hold;

use super::lab::*;

/// 1 000/s for 4 s; an attempt takes 600 us.
fn planned() -> Lab {
    Lab::new(open_for(1_000.0, secs(4)), 100).simple()
}

#[test]
fn a_stop_leaves_due_what_was_planned_up_to_it_and_waits_for_what_is_in_flight() {
    // The 1 001st attempt is 500 us old.
    let report = planned().order(secs(1) + micros(500), Order::Stop).run();
    assert_eq!(report.end, End::Finished);
    assert_eq!(report.counts(), Attempts { due: 1_001, started: 1_001, completed: 1_001, ..Attempts::default() });
    assert_eq!(report.at(report.ends.load), secs(1) + micros(500));
    assert_eq!(report.ended, secs(1) + micros(ATTEMPT));
}

#[test]
fn an_arrival_of_the_very_instant_of_a_stop_starts() {
    let report = planned().order(secs(1), Order::Stop).run();
    assert_eq!(report.counts(), Attempts { due: 1_001, started: 1_001, completed: 1_001, ..Attempts::default() });
}

#[test]
fn an_abandoned_run_leaves_in_flight_what_had_not_ended_and_its_books_balance() {
    let report = planned().order(secs(1) + micros(500), Order::Abandon).run();
    assert_eq!(report.end, End::Abandoned);
    assert_eq!(report.counts(), Attempts { due: 1_001, started: 1_001, completed: 1_000, ..Attempts::default() });
    assert_eq!(report.counts().unended(), 1);
    assert_eq!((report.at(report.ends.load), report.ends.drained), (secs(1) + micros(500), None));
    assert_eq!(report.result().attempts.in_flight, 1);
}

#[test]
fn waiting_arrivals_are_dropped_by_either_order() {
    for (order, failed) in [(Order::Stop, 10), (Order::Abandon, 0)] {
        let lab = Lab::new(open_for(1_000.0, secs(4)), 10).against_script(PeerScript::Silent);
        let report = lab.order(secs(2) + micros(500), order).run();
        let started = Attempts { due: 2_001, started: 10, dropped: 1_991, failed, ..Attempts::default() };
        assert_eq!(report.counts(), started, "{order:?}");
        assert_eq!(report.counts().unended(), 10 - failed, "{order:?}");
    }
}

#[test]
fn a_second_order_cuts_the_wait_for_what_is_in_flight() {
    let lab = Lab::new(open_for(1_000.0, secs(4)), 10).against_script(PeerScript::Silent);
    let report = lab.order(secs(1), Order::Stop).order(secs(3), Order::Abandon).run();
    assert_eq!((report.end, report.ended), (End::Abandoned, secs(3)));
    assert_eq!(report.at(report.ends.load), secs(1));
    assert_eq!((report.counts().due, report.counts().unended()), (1_001, 10));
}

#[test]
fn a_stop_releases_what_is_held() {
    let report =
        planned().with(|clients| clients.hold = Hold::Forever).order(millis(50) + micros(700), Order::Stop).run();
    assert_eq!((report.counts().completed, report.timeline.held_peak()), (51, 51));
    assert_eq!(report.ended, millis(50) + micros(700));
    assert_eq!(report.peers[0].resets, 51);
}

#[test]
fn what_completes_after_a_stop_is_not_held() {
    let report =
        planned().with(|clients| clients.hold = Hold::Forever).order(millis(50) + micros(500), Order::Stop).run();
    assert_eq!((report.counts().completed, report.timeline.held_peak()), (51, 50));
    assert_eq!(report.ended, millis(50) + micros(ATTEMPT));
}

#[test]
fn a_release_closes_what_is_held_and_the_load_goes_on() {
    let held = |clients: &mut shakedown::run::Population| clients.hold = Hold::ForNs(secs(100).as_u64());
    let lab = Lab::new(open_of(1_000.0, 200), 200).simple().with(held);
    let report = lab.order(millis(50) + micros(700), Order::Release).run();
    assert_eq!(report.counts(), Attempts { due: 200, started: 200, completed: 200, held: 51, ..Attempts::default() });
    assert_eq!((report.timeline.held_peak(), report.ends.held), (51, Some(51)));
    assert_eq!(report.ended, millis(199) + micros(ATTEMPT));
}

#[test]
fn a_closed_loop_stops_too() {
    // One slot: attempts start at multiples of 600 us; the 1 667th starts at 999.6 ms.
    let report = Lab::new(closed_for(secs(4)), 1).simple().order(secs(1), Order::Stop).run();
    assert_eq!(report.counts(), Attempts { due: 1_667, started: 1_667, completed: 1_667, ..Attempts::default() });
    assert_eq!(report.ended, micros(1_667 * ATTEMPT));
}

#[test]
fn a_stop_in_the_warmup_leaves_nothing_measured() {
    let load = open(vec![warmup(1_000.0, secs(2)), stage("load", 1_000.0, 1_000.0, Some(secs(2)))], None);
    let report = Lab::new(load, 100).simple().order(secs(1) + micros(500), Order::Stop).run();
    assert_eq!((report.stage(0).due, report.stage(1)), (1_001, Attempts::default()));
    assert_eq!(report.counts(), Attempts::default());
}

#[test]
fn a_stop_before_the_load_leaves_nothing_due() {
    for order in [Order::Stop, Order::Abandon] {
        for load in [open_for(1_000.0, secs(4)), closed_of(10)] {
            let report = Lab::new(load.clone(), 10).order_early(micros(500), order).run();
            assert_eq!((report.counts(), report.peers[0].accepted), (Attempts::default(), 0), "{order:?} of {load:?}");
            assert_eq!(report.ended, Nanos::ZERO, "{order:?} of {load:?}");
        }
    }
}

#[test]
fn a_stop_after_the_load_changes_nothing_but_the_hold() {
    let held = |clients: &mut shakedown::run::Population| clients.hold = Hold::ForNs(secs(100).as_u64());
    let report = Lab::new(open_of(1_000.0, 100), 100).simple().with(held).order(secs(5), Order::Stop).run();
    assert_eq!(report.counts(), Attempts { due: 100, started: 100, completed: 100, held: 100, ..Attempts::default() });
    assert_eq!((report.at(report.ends.load), report.ended), (millis(99), secs(5)));
    assert_eq!(report.ends.held, Some(100));
}
