//! Every kind of peer, as the kernel's sockets show it and as the simulated network does.

use shakedown::base::Nanos;
use shakedown::fleet::End;
use shakedown::io::sim::PeerScript;
use shakedown::measure::{Attempts, FailureKind, ModeCounts, Step};
use shakedown::protocol::{DigestAt, HandshakeMode};
use shakedown::run::{ClosePolicy, Hold, RunPlan};

use super::drive::{BACKENDS, Outcomes, against, millis, on_sim, on_sockets, plan};
use super::peers::RealPeer;

const SLOTS: u32 = 8;
const ATTEMPTS: u64 = 24;

/// How each of a run's attempts ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Verified,
    Simple,
    Downgraded,
    Failed(Step, FailureKind),
}

/// Runs `plan` in the simulated network and on every backend with sockets, and compares.
fn compare(plan: &RunPlan, script: &PeerScript) -> Outcomes {
    let simulated = on_sim(plan, script.clone());
    assert_eq!(simulated.end, End::Finished);
    let expected = simulated.outcomes();
    let peer = RealPeer::start(script.clone());
    for backend in BACKENDS {
        let real = on_sockets(&against(plan, peer.address()), backend);
        assert_eq!(real.end, End::Finished);
        assert_eq!(real.outcomes(), expected, "{script:?} on {backend:?}");
    }
    expected
}

fn check(plan: &RunPlan, script: &PeerScript, fate: Fate) {
    let Outcomes { counts, modes, failures } = compare(plan, script);
    let all = Attempts { due: ATTEMPTS, started: ATTEMPTS, ..Attempts::default() };
    let (ended, modes_expected) = match fate {
        Fate::Verified => (true, ModeCounts { complex_verified: ATTEMPTS, ..ModeCounts::default() }),
        Fate::Simple => (true, ModeCounts { simple: ATTEMPTS, ..ModeCounts::default() }),
        Fate::Downgraded => (true, ModeCounts { downgraded: ATTEMPTS, ..ModeCounts::default() }),
        Fate::Failed(..) => (false, ModeCounts::default()),
    };
    assert_eq!(modes, modes_expected, "{script:?}");
    if let Fate::Failed(step, kind) = fate {
        let [(failed_step, failed_kind, _, count)] = failures[..] else { panic!("{script:?}: {failures:?}") };
        assert_eq!((failed_step, failed_kind, count), (step, kind, ATTEMPTS), "{script:?}");
        assert_eq!(counts, Attempts { failed: ATTEMPTS, ..all }, "{script:?}");
    }
    if ended {
        assert_eq!(failures, [], "{script:?}");
        assert_eq!(counts, Attempts { completed: ATTEMPTS, held: counts.held, ..all }, "{script:?}");
    }
}

fn serve(segments: &[usize], tail: usize, s2_after_c2: bool) -> PeerScript {
    PeerScript::Serve { segments: segments.to_vec(), gap: Nanos::ZERO, tail: vec![2; tail], s2_after_c2 }
}

fn simple() -> RunPlan {
    let mut plan = plan(SLOTS, ATTEMPTS);
    plan.populations[0].clients[0].client.mode = HandshakeMode::Simple;
    plan
}

/// Whose attempts give up after `timeout`.
fn impatient(timeout: u64) -> RunPlan {
    let mut plan = plan(SLOTS, ATTEMPTS);
    plan.populations[0].timeout_ns = millis(timeout);
    plan
}

#[test]
fn servers_are_served_however_they_write() {
    for script in [
        PeerScript::serve(),
        serve(&[1537], 0, false),
        serve(&[1, 1536], 0, false),
        serve(&[1, 1536], 16, false),
        serve(&[700, 700, 1600], 109, false),
        serve(&[], 16, true),
        PeerScript::OneByteAtATime { gap: Nanos::ZERO },
        PeerScript::Endless,
        PeerScript::ClosesWithFin,
    ] {
        check(&plan(SLOTS, ATTEMPTS), &script, Fate::Verified);
        check(&simple(), &script, Fate::Simple);
        let mut second_half = plan(SLOTS, ATTEMPTS);
        second_half.populations[0].clients[0].client.digest_at = DigestAt::SecondHalf;
        check(&second_half, &script, Fate::Verified);
    }
    check(&plan(SLOTS, ATTEMPTS), &PeerScript::ServeSimpleOnly, Fate::Downgraded);
    check(&simple(), &PeerScript::ServeSimpleOnly, Fate::Simple);
}

#[test]
fn wrong_answers_are_told_apart() {
    use FailureKind::{BadEcho, BadS1Digest, BadS2Digest, BadVersion, NotRtmp};
    for (script, step, kind) in [
        (PeerScript::Version(6), Step::S0, BadVersion),
        (PeerScript::Http, Step::S0, NotRtmp),
        (PeerScript::WrongS1Digest, Step::S1, BadS1Digest),
        (PeerScript::WrongS2Digest, Step::S2, BadS2Digest),
        (PeerScript::WrongEcho, Step::S1, BadS1Digest),
        (PeerScript::EndlessGarbage, Step::S1, BadS1Digest),
    ] {
        check(&plan(SLOTS, ATTEMPTS), &script, Fate::Failed(step, kind));
    }
    check(&simple(), &PeerScript::WrongEcho, Fate::Failed(Step::S2, BadEcho));
    check(&simple(), &PeerScript::EndlessGarbage, Fate::Failed(Step::S2, BadEcho));
}

#[test]
fn connections_that_end_early_are_told_apart() {
    for (script, step, kind) in [
        (PeerScript::Refuse, Step::Connect, FailureKind::Refused),
        (PeerScript::CloseAfterConnect, Step::S0, FailureKind::Closed),
        (PeerScript::CloseAfterC0C1, Step::S0, FailureKind::Closed),
        (PeerScript::ResetAfterC0C1, Step::S0, FailureKind::Reset),
        (PeerScript::HalfOfS1ThenClose, Step::S1, FailureKind::Closed),
    ] {
        check(&plan(SLOTS, ATTEMPTS), &script, Fate::Failed(step, kind));
        check(&simple(), &script, Fate::Failed(step, kind));
    }
}

#[test]
fn a_silent_server_times_out() {
    check(&impatient(50), &PeerScript::Silent, Fate::Failed(Step::S0, FailureKind::Timeout));
}

#[test]
fn a_server_that_stops_halfway_times_out() {
    // Long enough for half of S1 to arrive first.
    let mut plan = impatient(1_500);
    plan.populations[0].lanes[0].concurrency = ATTEMPTS as u32;
    check(&plan, &PeerScript::HalfOfS1, Fate::Failed(Step::S1, FailureKind::Timeout));
}

#[test]
fn an_unanswered_syn_times_out() {
    let mut plan = plan(SLOTS, ATTEMPTS);
    plan.populations[0].connect_timeout_ns = millis(50);
    check(&plan, &PeerScript::DropSyn, Fate::Failed(Step::Connect, FailureKind::Timeout));
}

#[test]
fn a_reset_after_s2_meets_c2_or_comes_too_late() {
    let peer = RealPeer::start(PeerScript::ResetAfterS0S1S2);
    for backend in BACKENDS {
        let plan = against(&plan(SLOTS, ATTEMPTS), peer.address());
        let Outcomes { counts, failures, .. } = on_sockets(&plan, backend).outcomes();
        assert_eq!((counts.started, counts.completed + counts.failed), (ATTEMPTS, ATTEMPTS));
        for (step, kind, _, count) in failures {
            assert_eq!((step, kind, count), (Step::SendC2, FailureKind::Reset, counts.failed));
        }
    }
}

#[test]
fn held_connections_are_lost_when_the_server_ends_them() {
    // A hold without end is released as soon as nothing is in flight, so the last FIN could come too late to be a loss.
    let mut plan = plan(SLOTS, ATTEMPTS);
    plan.populations[0].hold = Hold::ForNs(millis(60_000));
    let outcomes = compare(&plan, &PeerScript::CloseHeldAfter { after: Nanos::ZERO });
    assert_eq!((outcomes.counts.completed, outcomes.counts.lost_while_held), (ATTEMPTS, ATTEMPTS));
    let [(Step::Hold, FailureKind::Closed, _, ATTEMPTS)] = outcomes.failures[..] else { panic!("{outcomes:?}") };
}

#[test]
fn held_connections_are_released() {
    for (hold, slots) in [(Hold::ForNs(millis(20)), SLOTS), (Hold::Forever, ATTEMPTS as u32)] {
        for close in [ClosePolicy::Rst, ClosePolicy::Fin] {
            for script in [PeerScript::serve(), serve(&[1537], 16, false), PeerScript::Endless] {
                let mut plan = plan(slots, ATTEMPTS);
                (plan.populations[0].hold, plan.populations[0].close) = (hold, close);
                check(&plan, &script, Fate::Verified);
            }
        }
    }
}

#[test]
fn a_close_may_wait_for_the_server() {
    let closing_by_peer = |timeout| {
        let mut plan = impatient(timeout);
        (plan.populations[0].close, plan.populations[0].lanes[0].concurrency) = (ClosePolicy::Peer, ATTEMPTS as u32);
        plan
    };
    check(&closing_by_peer(60_000), &PeerScript::ClosesWithFin, Fate::Verified);
    // A server that does not close is left by RST when the time is over.
    check(&closing_by_peer(1_000), &PeerScript::serve(), Fate::Verified);
}
