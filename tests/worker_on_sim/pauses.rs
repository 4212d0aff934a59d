//! The generator stands still, as when it is stopped or its machine is paused: whatever comes of it is its own.

use shakedown::base::Nanos;
use shakedown::finding::FindingCode;
use shakedown::io::sim::{Peer, PeerScript, ServiceModel};
use shakedown::measure::{Ending, FailureDetail, FailureKind, Metric, Side, Step};
use shakedown::protocol::ClientProfile;
use shakedown::run::{ClientShare, Hold, RunResult, Verdict};

use super::lab::*;

/// 500/s for so many seconds on ten slots, with the generator standing still for a while.
fn paused(length: Nanos, at: Nanos, pause: Nanos) -> Lab {
    let mut lab = Lab::new(open_for(500.0, length), 10).simple();
    lab.network.freezes = vec![freeze(at, pause)];
    lab
}

fn asking(mut lab: Lab, thresholds: &[&str]) -> RunResult {
    lab.plan.thresholds = thresholds.iter().map(|text| text.parse().unwrap()).collect();
    lab.run().result()
}

fn passes(result: &RunResult) -> Vec<Option<bool>> {
    result.thresholds.iter().map(|met| met.pass).collect()
}

fn codes(result: &RunResult) -> Vec<FindingCode> {
    result.generator.findings.iter().map(|finding| finding.code).collect()
}

/// A server that takes everybody at once and answers after this long.
fn slow(time: Nanos) -> Peer {
    Peer { service: ServiceModel { parallelism: 10_000, time, noise: Nanos::ZERO }, ..Peer::default() }
}

#[test]
fn no_slot_is_held_by_the_target_while_the_generator_stands_still() {
    let report = paused(secs(8), secs(3), secs(2)).run();
    assert_eq!(report.counts().completed, 4_000);
    // The thousand arrivals of the pause go through ten slots after it, each later than planned because of the pause alone.
    assert_eq!(report.spans(Metric::SlotWait), spans([Nanos::ZERO; 4_000]));
    // Ten at once, before eight servers.
    assert_eq!(report.spans(Metric::Service).max(), spans([micros(ATTEMPT + SERVICE)]).max());
    assert_eq!(report.spans(Metric::Lateness).max(), spans([secs(2)]).max());
    assert!(report.spans(Metric::Lateness).count_between(millis(10), secs(2)) >= 1_000);

    let result = asking(paused(secs(8), secs(3), secs(2)), &["response.p99<100ms"]);
    assert_eq!(
        (codes(&result), result.verdict),
        (vec![FindingCode::LateStarts, FindingCode::GeneratorPaused], Verdict::Inconclusive)
    );
    assert_eq!(passes(&result), [None]);
    insta::assert_snapshot!(result.generator.findings[1].message, @"the generator stood still for 2.00 s from 3.00 s on: it was stopped, or had no CPU");
    let reason = result.thresholds[0].reason.as_ref().unwrap();
    assert!(reason.ends_with("of it at p99 is the generator's own delay; without that it may hold"), "{reason}");
}

#[test]
fn each_condition_is_weighed_against_the_lateness_of_its_own_percentile() {
    let asked = ["response.p99.9<50ms", "response.max<50ms", "response.p99<50ms", "response.p50<50ms", "rate>=499/s"];
    let result = asking(paused(secs(24), secs(10), millis(200)), &asked);
    assert_eq!(passes(&result), [None, None, Some(true), Some(true), Some(true)]);
    assert_eq!((result.generator.limited, result.verdict), (false, Verdict::Inconclusive));
    // What is met is met: with nothing else asked there is nothing to doubt.
    let met = asking(paused(secs(10), secs(5), millis(60)), &asked[2..]);
    assert_eq!((met.verdict, codes(&met)), (Verdict::Pass, vec![FindingCode::GeneratorPaused]));
}

#[test]
fn a_pause_excuses_no_more_than_it_can_have_caused() {
    // A server that stands still for longer, and later.
    let lab = || {
        let peer = Peer { freezes: vec![freeze(secs(4), secs(1))], ..Peer::default() };
        paused(secs(8), secs(1), millis(100)).against(peer)
    };
    let result = asking(lab(), &["response.p99<300ms", "response.max<950ms"]);
    assert_eq!(passes(&result), [Some(false), None]);
    assert_eq!(asking(lab(), &["response.p99<300ms"]).verdict, Verdict::Fail);
    // While arrivals wait for slots, each of them waits longer by the pause and no more.
    let report = lab().run();
    assert!(report.spans(Metric::SlotWait).max() > Some(millis(900)));
}

#[test]
fn a_backlog_behind_a_pause_is_put_down_to_it_to_its_length() {
    // Ten slots and 18 ms for each attempt: 555/s are served, so what a pause of 0.5 s has kept waiting takes seconds to go.
    let lab = paused(secs(10), secs(2), millis(500)).against(slow(micros(17_600)));
    let report = lab.run();
    assert!(report.spans(Metric::Lateness).count_between(millis(10), secs(1)) > 1_000);
    // Once nobody is behind any more, one attempt's time at most is not told from the server's.
    assert!(report.spans(Metric::SlotWait).max() <= spans([millis(18)]).max());
}

#[test]
fn what_has_arrived_during_a_pause_is_used_before_deadlines_that_passed_in_it() {
    for s2_after_c2 in [false, true] {
        let script = PeerScript::Serve { segments: vec![1_537], gap: Nanos::ZERO, tail: Vec::new(), s2_after_c2 };
        let lab = Lab::new(open_for(100.0, secs(8)), 400).simple();
        let mut lab = lab.with(|clients| clients.timeout_ns = secs(1).as_u64());
        lab.network.freezes = vec![freeze(secs(3), secs(2))];
        lab.plan.thresholds = ["service.p99<300ms", "service.p50<300ms"].map(|text| text.parse().unwrap()).into();
        let report = lab.against(Peer { script, ..slow(millis(200)) }).run();
        assert_eq!((report.counts().completed, report.failures()), (800, vec![]), "S2 after C2: {s2_after_c2}");
        // Twenty were in flight when it began.
        assert_eq!(report.spans(Metric::Paused), spans([secs(2); 20]), "S2 after C2: {s2_after_c2}");
        let result = report.result();
        assert_eq!(passes(&result), [None, Some(true)]);
    }
}

#[test]
fn a_deadline_that_passed_in_a_pause_is_the_generators() {
    let lab = Lab::new(open_for(100.0, secs(4)), 1_000).simple().with(|clients| clients.timeout_ns = secs(1).as_u64());
    let mut lab = lab.against_script(PeerScript::Silent);
    lab.network.freezes = vec![freeze(secs(2), millis(2_500))];
    let report = lab.run();
    let failed = |kind| failure(Step::S0, kind, FailureDetail::Received(0));
    // Those that began before 1 s, and those that the pause put off; and those of the second before it.
    let expected = [(failed(FailureKind::Timeout), 300), (failed(FailureKind::GeneratorPaused), 100)];
    assert_eq!(report.failures(), expected);
    assert_eq!(expected.map(|(failure, _)| failure.side()), [Side::Target, Side::Generator]);
    let result = report.result();
    assert_eq!(result.failures.iter().map(|row| row.side).collect::<Vec<_>>(), [Side::Target, Side::Generator]);
}

#[test]
fn every_second_has_what_was_due_in_it_whether_or_not_the_generator_ran() {
    let mut lab = Lab::new(open_for(100.0, secs(5)), 100).simple();
    lab.network.freezes = vec![freeze(millis(1_500), millis(2_500))];
    let rows = lab.run().timeline.rows();
    assert_eq!(rows.iter().map(|row| row.due).collect::<Vec<_>>(), [100; 5], "and nothing after the load");
    assert_eq!(rows.iter().map(|row| row.completed).collect::<Vec<_>>(), [100, 50, 0, 0, 350]);
    assert_eq!(rows.iter().map(|row| row.paused_ns / 1_000_000).collect::<Vec<_>>(), [0, 500, 1_000, 1_000, 0]);
}

#[test]
fn a_hold_that_ended_in_a_pause_is_not_lost_to_the_server() {
    let close_held = PeerScript::CloseHeldAfter { after: secs(1) };
    let hold = |clients: &mut shakedown::run::Population| clients.hold = Hold::ForNs(millis(900).as_u64());
    let mut lab = Lab::new(open_of(100.0, 20), 50).simple().with(hold).against_script(close_held);
    lab.network.freezes = vec![freeze(millis(500), secs(1))];
    let report = lab.run();
    assert_eq!((report.counts().completed, report.counts().lost_while_held), (20, 0));
    // One that was to be held for longer was lost.
    let hold = |clients: &mut shakedown::run::Population| clients.hold = Hold::ForNs(secs(2).as_u64());
    assert_eq!(lab.with(hold).run().counts().lost_while_held, 20);
}

#[test]
fn a_reaction_that_may_have_come_in_time_is_not_unexpected() {
    // Closed 1 s after C2, expected within 1.5 s, and seen at 3 s.
    let script = PeerScript::CloseAfterC0C1;
    let hostile =
        ClientShare { weight: 1, ..client(ClientProfile::WrongDigest, ClientProfile::WrongDigest.spec().mode) };
    let lab = |expected: &str| {
        let lab = Lab::new(closed_of(1), 1).with(|clients| {
            clients.clients = vec![hostile];
            clients.expect = Some(expected.parse().unwrap());
        });
        let mut lab = lab.against(Peer { script: script.clone(), ..slow(secs(1)) });
        lab.network.freezes = vec![freeze(millis(500), millis(2_500))];
        lab
    };
    let report = lab("closed within 1500ms").run();
    let [Some(reactions)] = report.snapshot.reactions() else { panic!("one kind of client, a hostile one") };
    assert_eq!((reactions.ended(Ending::Closed), reactions.unexpected), (1, 0));
    let report = lab("closed within 100ms").run();
    let [Some(reactions)] = report.snapshot.reactions() else { panic!("one kind of client, a hostile one") };
    assert_eq!((reactions.ended(Ending::Closed), reactions.unexpected), (1, 1));
}
