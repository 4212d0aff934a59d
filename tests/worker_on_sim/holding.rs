//! What is held, for how long, and how it is closed.

use shakedown::base::Nanos;
use shakedown::fleet::Order;
use shakedown::io::sim::{Peer, PeerCounts, PeerScript, ServiceModel};
use shakedown::measure::{Attempts, FailureDetail, FailureKind, Step};
use shakedown::run::{ClosePolicy, Hold, Population};

use super::lab::*;

fn hold(length: Nanos) -> impl Fn(&mut Population) {
    move |clients| clients.hold = Hold::ForNs(length.as_u64())
}

fn forever(clients: &mut Population) {
    clients.hold = Hold::Forever;
}

#[test]
fn a_timed_hold_runs_out_under_a_number() {
    let report = Lab::new(open_of(100.0, 10), 20).simple().with(hold(millis(500))).run();
    assert_eq!(report.counts().completed, 10);
    assert_eq!(report.ended, expiry(millis(90) + micros(ATTEMPT) + millis(500)));
    assert_eq!(report.at(report.ends.drained), millis(90) + micros(ATTEMPT));
    assert_eq!((report.timeline.held_peak(), report.ends.held), (10, Some(10)));
}

#[test]
fn time_cuts_a_hold() {
    for hold in [Hold::ForNs(secs(10).as_u64()), Hold::Forever] {
        let report = Lab::new(open_for(100.0, secs(1)), 200).simple().with(|clients| clients.hold = hold).run();
        assert_eq!(report.counts().completed, 100);
        assert_eq!(report.ended, secs(1), "{hold:?}");
        assert_eq!((report.timeline.held_peak(), report.ends.held), (100, Some(100)), "{hold:?}");
        assert_eq!(report.peers[0].resets, 100, "{hold:?}");
    }
}

#[test]
fn what_is_held_for_ever_under_a_number_is_released_when_the_last_attempt_is_over() {
    let report = Lab::new(open_of(100.0, 50), 50).simple().with(forever).run();
    assert_eq!(report.counts().completed, 50);
    assert_eq!(report.at(report.ends.drained), millis(490) + micros(ATTEMPT));
    assert_eq!((report.timeline.held_peak(), report.ends.held), (50, Some(50)));
    assert_eq!(report.peers[0].resets, 50);
}

#[test]
fn a_closed_loop_that_holds_all_its_slots_for_ever_ends_with_its_number() {
    for (attempts, slots) in [(64, 64), (10, 64), (1, 1)] {
        let report = Lab::new(closed_of(attempts), slots).simple().with(forever).run();
        assert_eq!(report.counts().completed, attempts);
        assert_eq!(report.at(report.ends.load), Nanos::ZERO);
        assert_eq!(report.timeline.held_peak(), attempts);
        assert_eq!(u64::from(report.ends.held.unwrap()), attempts);
    }
}

#[test]
fn the_time_a_slot_is_held_is_slot_wait_of_the_next() {
    // Two slots, each taken for an attempt and a hold.
    let report = Lab::new(closed_of(6), 2).simple().with(hold(millis(100))).run();
    let first = expiry(micros(ATTEMPT) + millis(100));
    let second = expiry(first + micros(ATTEMPT) + millis(100));
    assert_eq!(report.at(report.ends.load), second);
    assert_eq!(report.ended, expiry(second + micros(ATTEMPT) + millis(100)));
}

#[test]
fn the_peak_is_the_most_held_at_once() {
    // Held from 0.6 ms to a little over 100.6 ms of each 10 ms: the eleventh comes before the first one goes.
    let report = Lab::new(open_for(100.0, secs(2)), 50).simple().with(hold(millis(100))).run();
    assert_eq!(report.timeline.held_peak(), 11);
    let held: Vec<u64> = report.timeline.rows().iter().map(|row| row.held).collect();
    assert_eq!(held.len(), 3, "{held:?}");
    assert!(held[..2].iter().all(|held| (10..=11).contains(held)) && held[2] == 0, "{held:?}");
}

#[test]
fn a_connection_that_the_server_closes_while_it_is_held_is_lost_and_its_attempt_stays_completed() {
    let close_held = PeerScript::CloseHeldAfter { after: millis(500) };
    let report = Lab::new(open_of(100.0, 20), 50).with(hold(secs(10))).against_script(close_held).run();
    let kept = Attempts { due: 20, started: 20, completed: 20, held: 20, lost_while_held: 20, ..Attempts::default() };
    assert_eq!(report.counts(), kept);
    let lost = failure(Step::Hold, FailureKind::Closed, FailureDetail::None);
    assert_eq!(report.failures(), [(lost, 20)]);
    // C2 goes to the server, its FIN comes back.
    assert_eq!(*report.snapshot.lost_ages(), ages([millis(500) + micros(2 * ONE_WAY); 20]));
    assert_eq!(report.ended, millis(190 + 500) + micros(ATTEMPT + 2 * ONE_WAY), "nothing is left to hold");
    assert_eq!(report.peers[0].resets, 20);

    let result = report.result();
    assert_eq!((result.connections.lost_while_held, result.attempts.completed, result.attempts.failed), (20, 20, 0));
}

#[test]
fn a_hold_that_is_over_before_the_server_closes_loses_nothing() {
    let close_held = PeerScript::CloseHeldAfter { after: millis(500) };
    let report = Lab::new(open_of(100.0, 20), 50).with(hold(millis(100))).against_script(close_held).run();
    assert_eq!((report.counts().lost_while_held, report.failures()), (0, vec![]));
}

#[test]
fn a_slot_whose_connection_was_lost_serves_again() {
    // One slot: each connection is held for ever, and lost after 10 ms.
    let close_held = PeerScript::CloseHeldAfter { after: millis(10) };
    let report = Lab::new(open_for(1_000.0, secs(1)), 1).with(forever).against_script(close_held).run();
    let cycle = micros(ATTEMPT + 2 * ONE_WAY) + millis(10);
    assert_eq!(report.counts().started, secs(1).as_u64().div_ceil(cycle.as_u64()));
    assert_eq!(report.counts().dropped, 1_000 - report.counts().started);
}

#[test]
fn bytes_on_a_held_connection_are_read_and_ignored() {
    for script in [
        PeerScript::Endless,
        PeerScript::Serve { segments: vec![], gap: Nanos::ZERO, tail: vec![2; 5_000], s2_after_c2: false },
    ] {
        let report = Lab::new(open_of(100.0, 5), 5).with(hold(millis(50))).against_script(script.clone()).run();
        let kept = Attempts { due: 5, started: 5, completed: 5, held: 5, ..Attempts::default() };
        assert_eq!(report.counts(), kept, "{script:?}");
    }
}

#[test]
fn connections_are_closed_as_asked() {
    let timeout = |clients: &mut Population| clients.timeout_ns = millis(700).as_u64();
    let never_closes = PeerScript::serve();
    for (close, script, resets, fins, ended) in [
        (ClosePolicy::Rst, never_closes.clone(), 20, 0, micros(ATTEMPT)),
        (ClosePolicy::Fin, never_closes.clone(), 0, 20, micros(ATTEMPT)),
        // C2 goes there, the server's FIN comes back and is answered by a FIN.
        (ClosePolicy::Peer, PeerScript::ClosesWithFin, 0, 20, micros(ATTEMPT + 2 * ONE_WAY)),
        // A server that does not close in time is reset.
        (ClosePolicy::Peer, never_closes, 20, 0, micros(ATTEMPT) + millis(700)),
    ] {
        // All at once, and each with a server of its own.
        let service = ServiceModel { parallelism: 20, ..ServiceModel::default() };
        let peer = Peer { service, ..Peer::scripted(script.clone()) };
        let report =
            Lab::new(closed_of(20), 20).with(timeout).with(|clients| clients.close = close).against(peer).run();
        assert_eq!(report.counts().completed, 20);
        let seen = PeerCounts { accepted: 20, complex: 20, c2_valid: 20, resets, fins, ..PeerCounts::default() };
        assert_eq!(report.peers, [seen], "{close:?} to {script:?}");
        assert!(report.ended == ended || report.ended == expiry(ended), "{close:?} to {script:?}: {}", report.ended);
        assert_eq!(report.failures(), [], "{close:?} to {script:?}: how it was closed is no failure");
    }
}

#[test]
fn held_connections_are_closed_as_asked_too() {
    for (close, resets, fins) in [(ClosePolicy::Rst, 10, 0), (ClosePolicy::Fin, 0, 10)] {
        for load in [open_of(100.0, 10), open_for(100.0, millis(100))] {
            let closed = |clients: &mut Population| clients.close = close;
            let report = Lab::new(load.clone(), 20).simple().with(hold(secs(1))).with(closed).run();
            assert_eq!((report.peers[0].resets, report.peers[0].fins), (resets, fins), "{close:?} after {load:?}");
        }
    }
}

#[test]
fn a_release_is_swept_through_more_slots_than_one_turn_looks_at() {
    let service = ServiceModel { parallelism: 5_000, ..ServiceModel::default() };
    let peer = Peer { service, ..Peer::default() };
    let report = Lab::new(closed_of(3_000), 3_000).simple().with(forever).against(peer).run();
    assert_eq!((report.timeline.held_peak(), report.peers[0].resets), (3_000, 3_000));
    // The order to release comes when the worker has drained; it is read 20 ms later at most.
    assert_eq!(report.ended, micros(ATTEMPT) + millis(20));
}

#[test]
fn exponential_holds_have_their_mean_and_are_those_of_the_seed() {
    let mean = millis(400);
    let lab = Lab::new(open_for(500.0, secs(10)), 2_000)
        .simple()
        .traced()
        .with(|clients| clients.hold = Hold::Exponential { mean_ns: mean.as_u64() });
    let report = lab.run();
    let counts = report.counts();
    assert_eq!((counts.completed, counts.dropped, counts.lost_while_held), (5_000, 0, 0));
    // Connections held, summed up over time, are all holds together; the end of the load cuts a few of them short.
    let held: u64 =
        report.turns.windows(2).map(|turns| turns[0].held * (turns[1].at.as_u64() - turns[0].at.as_u64())).sum();
    let measured = held as f64 / counts.completed as f64;
    let expected = mean.as_u64() as f64 * (1.0 - 0.04);
    // Five standard errors of 5 000 holds are 7 %.
    assert!((measured / expected - 1.0).abs() < 0.07, "{measured} instead of {expected}");
    assert!(report.timeline.held_peak() > 150);
    let again = lab.run();
    assert!(report.turns == again.turns && report.snapshot == again.snapshot);
    assert_ne!(lab.seeded(2).run().turns, again.turns);
}

/// When held connections were closed after the load, one by one.
fn releases(report: &Report) -> Vec<Nanos> {
    let most = report.turns.iter().map(|turn| turn.held).max();
    let begin = report.turns.iter().rposition(|turn| Some(turn.held) == most).unwrap();
    let released = |turns: &[Turn]| vec![turns[1].at; (turns[0].held - turns[1].held) as usize];
    report.turns[begin..].windows(2).flat_map(released).collect()
}

/// The first at once, number k after k of as many as go in a second.
fn spaced(report: &Report, count: u32, per_s: f64) -> Vec<Nanos> {
    let first = releases(report)[0];
    (0..count).map(|k| first + Nanos::from_secs_f64(f64::from(k) / per_s)).collect()
}

#[test]
fn connections_are_released_no_faster_than_asked() {
    for per_s in [1.0, 3.0, 30.0, 7_919.0] {
        let mut lab = Lab::new(open_of(1_000.0, 60), 60).simple().traced();
        lab = lab.with(forever);
        lab.plan.release_per_s = Some(per_s);
        let report = lab.run();
        assert_eq!((report.ends.held, report.counts().lost_while_held), (Some(60), 0));
        assert_eq!(releases(&report), spaced(&report, 60, per_s), "{per_s} a second");
        assert_eq!(report.peers[0].resets, 60);
    }
}

#[test]
fn workers_release_their_parts_of_the_rate() {
    let mut lab = Lab::new(open_of(1_000.0, 60), 60).simple().traced().with(forever);
    (lab.plan.release_per_s, lab.plan.workers) = (Some(10.0), 2);
    for report in lab.run_workers(2) {
        assert_eq!(report.ends.held, Some(30));
        assert_eq!(releases(&report), spaced(&report, 30, 5.0));
    }
}

#[test]
fn what_completes_during_a_release_is_not_held() {
    let peer = Peer { freezes: vec![freeze(millis(20), secs(1))], ..Peer::default() };
    let mut lab = Lab::new(open_of(1_000.0, 60), 60).simple().against(peer);
    lab = lab.with(forever).order(millis(500), Order::Release);
    lab.plan.release_per_s = Some(10.0);
    let report = lab.run();
    assert_eq!(report.counts().completed, 60);
    let held = report.ends.held.unwrap();
    assert!((15..=25).contains(&held), "{held} were held before the server stood still");
    assert_eq!(report.peers[0].resets, 60);
}
