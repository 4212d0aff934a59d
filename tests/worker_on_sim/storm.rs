//! Fleets that have lost their connections and come back.

use std::iter::successors;

use shakedown::base::{Nanos, Seed, StreamPurpose};
use shakedown::fleet::Order;
use shakedown::io::sim::{Peer, PeerScript, ServiceModel};
use shakedown::load::{Backoff, Reconnect, Share};
use shakedown::measure::{Attempts, Comeback};
use shakedown::run::Hold;

use super::lab::*;

const FLEET: u32 = 200;
/// Longer than a client of OBS tries.
const FOUR_HOURS: Nanos = Nanos::from_secs(4 * 3_600);

fn flat(delay: Nanos) -> Reconnect {
    Reconnect::Flat { delay_ns: delay.as_u64() }
}

/// Seed 1, and connections held for ever, as a resolved plan has them.
fn lab(rule: Reconnect, length: Nanos) -> Lab {
    Lab::new(storm(FLEET, rule, length), FLEET).simple().with(|fleet| fleet.hold = Hold::Forever)
}

/// More servers than clients.
fn roomy() -> Peer {
    Peer { service: ServiceModel { parallelism: 2 * FLEET, ..Peer::default().service }, ..Peer::default() }
}

/// How long each client waits before each of its tries if none succeeds, by the rule alone.
fn delays(rule: Reconnect) -> Vec<Vec<Nanos>> {
    let mut random = Seed::new(1).stream(StreamPurpose::Reconnects, 0);
    let waits = |first: Backoff| successors(Some(first), |backoff| backoff.after_failure(rule));
    (0..FLEET).map(|_| waits(rule.first(&mut random)).map(|backoff| backoff.delay()).take(100).collect()).collect()
}

/// The instants before `until` at which clients try if `tried` says when a try that began then had failed.
fn tries(rule: Reconnect, until: Nanos, failed: impl Fn(Nanos) -> Nanos) -> Vec<Nanos> {
    let mut tries = Vec::new();
    for delays in delays(rule) {
        let mut at = Nanos::ZERO;
        for delay in delays {
            at += delay;
            if at >= until {
                break;
            }
            tries.push(at);
            at = failed(at);
        }
    }
    tries.sort();
    tries
}

fn came_back_at_once(counts: Attempts) {
    let fleet = u64::from(FLEET);
    let all = Attempts { due: fleet, started: fleet, completed: fleet, held: fleet, ..Attempts::default() };
    assert_eq!(counts, all);
}

#[test]
fn everybody_is_back_after_one_try_each() {
    for (rule, delay) in [(flat(secs(3)), secs(3)), (Reconnect::NginxRtmp, secs(3)), (Reconnect::Obs, secs(2))] {
        let report = lab(rule, secs(10)).traced().run();
        assert_eq!(report.starts(0), [delay; FLEET as usize], "{rule}");
        came_back_at_once(report.counts());
        // Eight at a time are served.
        let back = ages((0..u64::from(FLEET)).map(|number| delay + micros(ATTEMPT + number / 8 * SERVICE)));
        assert_eq!(report.snapshot.stages()[0].back, Some(back), "{rule}");
        assert_eq!((report.ends.held, report.at(report.ends.load)), (Some(FLEET), secs(10)));
        assert_eq!((report.peers[0].accepted, report.peers[0].resets), (u64::from(FLEET), u64::from(FLEET)));
    }
}

#[test]
fn a_fleet_that_is_refused_tries_by_its_rule() {
    let refused = |at| at + micros(2 * ONE_WAY);
    for rule in [flat(secs(3)), Reconnect::NginxRtmp, Reconnect::Obs] {
        let report = lab(rule, secs(120)).against_script(PeerScript::Refuse).traced().run();
        let expected = tries(rule, secs(120), refused);
        assert_eq!(report.starts(0), expected, "{rule}");
        let counts = report.counts();
        assert_eq!((counts.due, counts.failed, counts.dropped), (counts.started, counts.started, 0), "{rule}");
        assert_eq!(report.snapshot.stages()[0].back, Some(ages([])), "nobody is back");
    }
}

#[test]
fn a_client_of_obs_gives_up_after_25_tries() {
    let report = lab(Reconnect::Obs, FOUR_HOURS).against_script(PeerScript::Refuse).run();
    let counts = report.counts();
    assert_eq!((counts.due, counts.failed), (25 * u64::from(FLEET), 25 * u64::from(FLEET)));
    assert_eq!(report.at(report.ends.load), FOUR_HOURS);
}

#[test]
fn a_fleet_that_meets_a_frozen_target_comes_back_with_it() {
    // The kernel accepts, nobody answers until 10 s; an attempt gives up a second after its connect.
    for rule in [flat(secs(3)), Reconnect::NginxRtmp, Reconnect::Obs] {
        let mut lab = lab(rule, secs(20)).traced();
        lab = lab.against(Peer { freezes: vec![freeze(Nanos::ZERO, secs(10))], ..roomy() });
        lab = lab.with(|fleet| fleet.timeout_ns = secs(1).as_u64());
        let report = lab.run();
        let gave_up = |at| expiry(at + micros(2 * ONE_WAY) + secs(1));
        // The try that began last before the target was back is the first that it answers, or the one after it.
        let starts = report.starts(0);
        let expected = tries(rule, secs(9), gave_up);
        assert_eq!(starts[..expected.len()], expected, "{rule}");
        assert_eq!(expected.len(), 2 * FLEET as usize, "{rule}");
        let counts = report.counts();
        assert_eq!((counts.started, counts.failed, counts.completed), (3 * 200, 2 * 200, 200), "{rule}");
        assert_eq!(starts, tries(rule, secs(12), gave_up), "{rule}");
        assert_eq!(report.snapshot.stages()[0].back.as_ref().unwrap().count(), u64::from(FLEET));
        assert_eq!(report.ends.held, Some(FLEET));
    }
}

#[test]
fn a_client_that_loses_its_connection_again_begins_its_rule_anew() {
    // Held for 500 ms each time.
    let close_held = Peer { script: PeerScript::CloseHeldAfter { after: millis(500) }, ..roomy() };
    for rule in [flat(secs(3)), Reconnect::Obs] {
        let first = delays(rule)[0][0];
        let round = first + micros(ATTEMPT) + millis(500) + micros(2 * ONE_WAY);
        let report = lab(rule, secs(10)).against(close_held.clone()).traced().run();
        let rounds = (secs(10).as_u64() - first.as_u64()).div_ceil(round.as_u64());
        let expected: Vec<Nanos> =
            (0..rounds).flat_map(|number| [first + Nanos::new(round.as_u64() * number); FLEET as usize]).collect();
        assert_eq!(report.starts(0), expected, "{rule}");
        let counts = report.counts();
        assert_eq!((counts.completed, counts.failed), (counts.started, 0));
        assert_eq!(counts.lost_while_held + u64::from(report.ends.held.unwrap()), counts.completed);
        // Back is back: a client that was counted is not counted again.
        assert_eq!(report.snapshot.stages()[0].back.as_ref().unwrap().count(), u64::from(FLEET), "{rule}");
    }
}

#[test]
fn a_fleet_that_is_lost_again_is_judged_by_its_last_loss() {
    let end = millis(10_200);
    // All are back at once, held for half a second, lost, and back three seconds later, the last time for good.
    let close_held = Peer { script: PeerScript::CloseHeldAfter { after: millis(500) }, ..roomy() };
    let report = lab(flat(secs(3)), end).against(close_held).run();
    let round = secs(3) + micros(ATTEMPT) + millis(500) + micros(2 * ONE_WAY);
    let comebacks = &report.snapshot.stages()[0].comebacks;
    let last = Comeback { lost: round + round, back: Some(round + round + secs(3) + micros(ATTEMPT)) };
    // The third round ends after the storm.
    assert!(last.back.unwrap() < end && round + round + round > end);
    assert_eq!(*comebacks, vec![last; FLEET as usize]);
}

#[test]
fn a_loss_after_failed_tries_forgets_them() {
    // Refused to begin with by a full backlog is no rule of this peer, so frozen it is: two tries fail, the third is held
    // for half a second, and the next one comes two seconds later.
    let frozen = Peer {
        script: PeerScript::CloseHeldAfter { after: millis(500) },
        freezes: vec![freeze(Nanos::ZERO, secs(10))],
        ..roomy()
    };
    let mut lab = lab(Reconnect::Obs, secs(15)).against(frozen).traced();
    lab = lab.with(|fleet| fleet.timeout_ns = secs(1).as_u64());
    let starts = lab.run().starts(0);
    let third: Vec<Nanos> = starts[2 * FLEET as usize..3 * FLEET as usize].to_vec();
    let again = third.iter().map(|at| *at + micros(ATTEMPT) + millis(500) + micros(2 * ONE_WAY) + secs(2));
    assert_eq!(starts[3 * FLEET as usize..], again.filter(|at| *at < secs(15)).collect::<Vec<_>>());
}

#[test]
fn a_fleet_is_the_same_whoever_plays_its_clients() {
    let whole = lab(Reconnect::Obs, secs(60)).against_script(PeerScript::Refuse).traced();
    let mut parts = Vec::new();
    for index in 0..2 {
        let mut machine = whole.clone();
        machine.plan.share = Share::new(index, 2).unwrap();
        machine.plan.workers = 3;
        for report in machine.run_workers(3) {
            parts.extend(report.starts(0));
        }
    }
    parts.sort();
    assert_eq!(parts, whole.run().starts(0));
}

#[test]
fn a_storm_stands_beside_other_lanes_and_begins_when_it_is_to() {
    let mut lab = Lab::new(open_for(100.0, secs(5)), 50).simple().traced().against(roomy());
    let mut fleet = population("fleet", storm(FLEET, flat(millis(250)), secs(2)), FLEET);
    fleet.hold = Hold::Forever;
    fleet.lanes[0].begins_ns = secs(1).as_u64();
    lab.plan.populations.push(fleet);
    let report = lab.run();
    assert_eq!(report.starts(1), [secs(1) + millis(250); FLEET as usize]);
    came_back_at_once(report.stage(1));
    assert_eq!(report.stage(0), Attempts { due: 500, started: 500, completed: 500, ..Attempts::default() });
    // What comes back is counted from the loss.
    assert_eq!(report.snapshot.stages()[1].back, Some(ages([millis(250) + micros(ATTEMPT); FLEET as usize])));
}

#[test]
fn a_stop_ends_a_storm() {
    let report =
        lab(flat(secs(3)), secs(60)).against_script(PeerScript::Refuse).order(secs(4), Order::Stop).traced().run();
    came_back_never(report.counts());
    assert_eq!(report.ended, secs(4));
}

/// One failed try for each client.
fn came_back_never(counts: Attempts) {
    let fleet = u64::from(FLEET);
    assert_eq!(counts, Attempts { due: fleet, started: fleet, failed: fleet, ..Attempts::default() });
}
