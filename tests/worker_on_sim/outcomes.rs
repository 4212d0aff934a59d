//! Whatever a server does, each attempt ends in exactly one outcome with a name.

use shakedown::base::Nanos;
use shakedown::io::sim::{Peer, PeerScript, ServiceModel};
use shakedown::measure::{
    Attempts, Failure, FailureDetail as Detail, FailureKind as Kind, Metric, ModeCounts, Side, Step,
};
use shakedown::run::{ClosePolicy, Hold};

use super::lab::*;

/// S0 and half of S1.
const HALF_OF_S1: u32 = 1 + 1536 / 2;

const ECONNRESET: Detail = Detail::Errno(104);
const ECONNREFUSED: Detail = Detail::Errno(111);
const EHOSTUNREACH: Detail = Detail::Errno(113);
const ENETUNREACH: Detail = Detail::Errno(101);
const EADDRNOTAVAIL: Detail = Detail::Errno(99);
const ENFILE: Detail = Detail::Errno(23);

/// Serves in writes of these sizes.
fn serve(segments: &[usize], gap: Nanos, tail: usize, s2_after_c2: bool) -> PeerScript {
    PeerScript::Serve { segments: segments.to_vec(), gap, tail: vec![2; tail], s2_after_c2 }
}

/// Every behaviour that a simulated server knows; a new one does not compile until it is listed.
pub fn every_script() -> Vec<PeerScript> {
    use PeerScript::*;
    let listed = |script: &PeerScript| match script {
        Serve { .. } | ServeSimpleOnly | Refuse | Unreachable | NoRoute | DropSyn | Silent | Version(_) | Http => {}
        CloseAfterC0C1 | ResetAfterC0C1 | CloseAfterConnect | HalfOfS1 | HalfOfS1ThenClose | WrongS1Digest => {}
        WrongS2Digest | WrongEcho | Endless | EndlessGarbage | OneByteAtATime { .. } | ResetAfterS0S1S2 => {}
        CloseHeldAfter { .. }
        | ClosesWithFin
        | Vanishes { .. }
        | Overloads { .. }
        | NoPorts { .. }
        | NoDescriptors { .. } => {}
    };
    let scripts = vec![
        PeerScript::serve(),
        serve(&[1537], micros(40), 0, false),
        serve(&[1, 1536], micros(40), 16, false),
        serve(&[700, 700, 700], Nanos::ZERO, 63, false),
        serve(&[], Nanos::ZERO, 500, false),
        serve(&[], Nanos::ZERO, 0, true),
        ServeSimpleOnly,
        Refuse,
        Unreachable,
        NoRoute,
        DropSyn,
        Silent,
        Version(6),
        Http,
        CloseAfterC0C1,
        ResetAfterC0C1,
        CloseAfterConnect,
        HalfOfS1,
        HalfOfS1ThenClose,
        WrongS1Digest,
        WrongS2Digest,
        WrongEcho,
        Endless,
        EndlessGarbage,
        OneByteAtATime { gap: micros(1) },
        OneByteAtATime { gap: millis(1) },
        ResetAfterS0S1S2,
        CloseHeldAfter { after: millis(5) },
        ClosesWithFin,
        Vanishes { after: millis(5) },
        Overloads { beyond: 3, down_for: millis(2) },
        NoPorts { beyond: 3 },
        NoDescriptors { beyond: 3 },
    ];
    scripts.iter().for_each(listed);
    scripts
}

/// Bytes that have come when the attempt that started at zero runs out of time, one byte each `gap`.
fn received_by_timeout(gap: Nanos) -> Detail {
    let time_left = timeout_of_first().saturating_sub(micros(ATTEMPT));
    Detail::Received((time_left.as_u64() / gap.as_u64()) as u32 + 1)
}

/// When the first attempt times out: 10 s after it has connected.
fn timeout_of_first() -> Nanos {
    expiry(micros(2 * ONE_WAY) + secs(10))
}

#[test]
fn every_failure_has_its_step_kind_side_and_evidence() {
    use PeerScript::*;
    let answered = micros(ATTEMPT);
    let connected = micros(2 * ONE_WAY);
    let refused_here = millis(1);
    let (target, generator) = (Side::Target, Side::Generator);
    let cases = [
        (Refuse, Step::Connect, Kind::Refused, target, ECONNREFUSED, connected),
        (Unreachable, Step::Connect, Kind::Unreachable, Side::Network, EHOSTUNREACH, connected),
        (NoRoute, Step::Connect, Kind::Unreachable, Side::Network, ENETUNREACH, refused_here),
        (DropSyn, Step::Connect, Kind::Timeout, Side::Unattributed, Detail::None, expiry(secs(10))),
        (Silent, Step::S0, Kind::Timeout, target, Detail::Received(0), timeout_of_first()),
        (Version(6), Step::S0, Kind::BadVersion, target, Detail::VersionByte(6), answered),
        (Version(0x16), Step::S0, Kind::NotRtmp, target, Detail::FirstByte(0x16), answered),
        (Http, Step::S0, Kind::NotRtmp, target, Detail::FirstByte(b'H'), answered),
        (CloseAfterC0C1, Step::S0, Kind::Closed, target, Detail::Received(0), answered),
        (ResetAfterC0C1, Step::S0, Kind::Reset, target, Detail::Received(0), answered),
        // Its FIN travels with the answer to the SYN.
        (CloseAfterConnect, Step::S0, Kind::Closed, target, Detail::Received(0), connected),
        (HalfOfS1, Step::S1, Kind::Timeout, target, Detail::Received(HALF_OF_S1), timeout_of_first()),
        (HalfOfS1ThenClose, Step::S1, Kind::Closed, target, Detail::Received(HALF_OF_S1), answered),
        (WrongS1Digest, Step::S1, Kind::BadS1Digest, target, Detail::None, answered),
        (WrongS2Digest, Step::S2, Kind::BadS2Digest, target, Detail::None, answered),
        // Without a digest in S1 nothing but the echo could have shown that the server speaks the simple handshake.
        (WrongEcho, Step::S1, Kind::BadS1Digest, target, Detail::None, answered),
        // 1 460 bytes each 100 us from the accept on: the third segment completes what should be S2.
        (EndlessGarbage, Step::S1, Kind::BadS1Digest, target, Detail::None, connected + micros(200)),
        (
            OneByteAtATime { gap: millis(10) },
            Step::S1,
            Kind::Timeout,
            target,
            received_by_timeout(millis(10)),
            timeout_of_first(),
        ),
        (
            OneByteAtATime { gap: millis(4) },
            Step::S2,
            Kind::Timeout,
            target,
            received_by_timeout(millis(4)),
            timeout_of_first(),
        ),
        (ResetAfterS0S1S2, Step::SendC2, Kind::Reset, target, ECONNRESET, answered),
        (Overloads { beyond: 0, down_for: secs(1) }, Step::Connect, Kind::Refused, target, ECONNREFUSED, connected),
        (NoPorts { beyond: 0 }, Step::Connect, Kind::NoPorts, generator, EADDRNOTAVAIL, refused_here),
        (NoDescriptors { beyond: 0 }, Step::Socket, Kind::NoDescriptors, generator, ENFILE, refused_here),
    ];
    for (script, step, kind, side, detail, after) in cases {
        let one = Lab::new(closed_of(1), 1).against_script(script.clone()).run();
        assert_eq!(one.failures(), [(failure(step, kind, detail), 1)], "{script:?}");
        assert_eq!(one.failures()[0].0.side(), side, "{script:?}");
        assert_eq!(one.time_to_failure(), spans([after]), "{script:?}");

        let many = Lab::new(closed_of(20), 4).against_script(script.clone()).run();
        assert_eq!(many.counts(), Attempts { due: 20, started: 20, failed: 20, ..Attempts::default() }, "{script:?}");
        let named: Vec<_> =
            many.failures().iter().map(|(failure, count)| (failure.step, failure.kind, *count)).collect();
        assert_eq!(named, [(step, kind, 20)], "{script:?}");
    }
}

#[test]
fn every_way_of_serving_completes_when_its_last_byte_is_there() {
    use PeerScript::*;
    let verified = ModeCounts { complex_verified: 1, ..ModeCounts::default() };
    let downgraded = ModeCounts { downgraded: 1, ..ModeCounts::default() };
    for (script, modes, after) in [
        (PeerScript::serve(), verified, 0),
        (serve(&[1537], micros(40), 0, false), verified, 40),
        (serve(&[1, 1536], micros(40), 0, false), verified, 80),
        (serve(&[700, 700, 700, 700], micros(1), 16, false), verified, 4),
        (serve(&[], Nanos::ZERO, 63, false), verified, 0),
        // More than the buffer has room for.
        (serve(&[], Nanos::ZERO, 5_000, false), verified, 0),
        // C2 takes its way, then S2.
        (serve(&[], Nanos::ZERO, 0, true), verified, 2 * ONE_WAY),
        (serve(&[1, 1536], micros(40), 16, true), verified, 40 + 2 * ONE_WAY),
        (ServeSimpleOnly, downgraded, 0),
        (Endless, verified, 0),
        (OneByteAtATime { gap: micros(1_000) }, verified, 3_072_000),
        (CloseHeldAfter { after: Nanos::ZERO }, verified, 0),
        (ClosesWithFin, verified, 0),
        (Overloads { beyond: 1, down_for: secs(1) }, verified, 0),
        (NoPorts { beyond: 1 }, verified, 0),
        (NoDescriptors { beyond: 1 }, verified, 0),
    ] {
        let report = Lab::new(closed_of(1), 1).against_script(script.clone()).run();
        assert_eq!(report.counts().completed, 1, "{script:?}: {:?}", report.failures());
        assert_eq!(report.snapshot.measured().tally.modes, modes, "{script:?}");
        assert_eq!(report.spans(Metric::Service), spans([micros(ATTEMPT + after)]), "{script:?}");
        assert_eq!(report.failures(), [], "{script:?}");
    }
}

#[test]
fn a_simple_client_checks_the_echo() {
    for (script, failures) in [
        (PeerScript::serve(), vec![]),
        (PeerScript::ServeSimpleOnly, vec![]),
        (PeerScript::WrongEcho, vec![(Failure::new(Step::S2, Kind::BadEcho), 1)]),
    ] {
        let report = Lab::new(closed_of(1), 1).simple().against_script(script.clone()).run();
        assert_eq!(report.failures(), failures, "{script:?}");
        assert_eq!(report.snapshot.measured().tally.modes.simple, 1 - failures.len() as u64, "{script:?}");
    }
}

#[test]
fn this_hosts_limits_fail_what_goes_beyond_them_and_nothing_else() {
    for (script, step, kind, errno) in [
        (PeerScript::NoPorts { beyond: 3 }, Step::Connect, Kind::NoPorts, EADDRNOTAVAIL),
        (PeerScript::NoDescriptors { beyond: 3 }, Step::Socket, Kind::NoDescriptors, ENFILE),
    ] {
        // Three are held, so each of the seven after them finds nothing left.
        let held = |clients: &mut shakedown::run::Population| clients.hold = Hold::ForNs(secs(1).as_u64());
        let report = Lab::new(open_of(100.0, 10), 10).with(held).against_script(script.clone()).run();
        assert_eq!(report.counts().completed, 3, "{script:?}");
        assert_eq!(report.failures(), [(failure(step, kind, errno), 7)], "{script:?}");
        assert!(report.result().generator.limited, "{script:?}");
    }
}

#[test]
fn a_lost_syn_is_sent_again_after_a_second() {
    // One server takes 300 ms each, two may wait: of four at once the fourth's SYN is lost.
    let service = ServiceModel { parallelism: 1, time: millis(300), noise: Nanos::ZERO };
    let peer = Peer { service, backlog: Some(2), ..Peer::default() };
    let report = Lab::new(open_of(1_000.0, 4), 4).against(peer).run();
    assert_eq!((report.counts().completed, report.peers[0].lost_syns), (4, 1));
    let connects = [0, 0, 0, 1_000_000].map(|retry| micros(2 * ONE_WAY + retry));
    assert_eq!(report.spans(Metric::Connect), spans(connects));
}

#[test]
fn timeouts_expire_at_the_next_tick_never_early() {
    let limits = |clients: &mut shakedown::run::Population| {
        (clients.connect_timeout_ns, clients.timeout_ns) = (millis(300).as_u64(), millis(700).as_u64());
    };
    for (script, after) in [(PeerScript::DropSyn, millis(300)), (PeerScript::Silent, micros(2 * ONE_WAY) + millis(700))]
    {
        let report = Lab::new(open_of(10.0, 10), 10).with(limits).against_script(script.clone()).run();
        let starts = (0..10).map(|k| millis(100 * k));
        let expected = starts.map(|start| expiry(start + after).saturating_sub(start));
        assert_eq!(report.time_to_failure(), spans(expected), "{script:?}");
    }
}

#[test]
fn a_mixture_of_targets_keeps_their_outcomes_apart() {
    let mut lab = Lab::new(open_for(1_000.0, secs(1)), 50);
    aim(&mut lab.plan, targets(4));
    lab.network.peers = [PeerScript::serve(), PeerScript::Refuse, PeerScript::ServeSimpleOnly, PeerScript::Http]
        .map(Peer::scripted)
        .into();
    let report = lab.run();
    let by_target: Vec<(u64, u64)> =
        report.snapshot.targets().iter().map(|tally| (tally.counts.completed, tally.counts.failed)).collect();
    assert_eq!(by_target, [(250, 0), (0, 250), (250, 0), (0, 250)]);
    let modes = report.snapshot.measured().tally.modes;
    assert_eq!((modes.complex_verified, modes.downgraded, modes.total()), (250, 250, 500));
}

#[test]
fn no_script_leaves_a_connection_behind() {
    for script in every_script() {
        for close in [ClosePolicy::Rst, ClosePolicy::Fin, ClosePolicy::Peer] {
            let patient = |clients: &mut shakedown::run::Population| {
                clients.hold = Hold::ForNs(millis(10).as_u64());
                clients.close = close;
                (clients.connect_timeout_ns, clients.timeout_ns) = (millis(50).as_u64(), millis(50).as_u64());
            };
            let mut lab = Lab::new(open_of(1_000.0, 12), 4).with(patient).against_script(script.clone());
            lab.audited = true;
            let report = lab.run();
            let Attempts { due, completed, failed, .. } = report.counts();
            assert_eq!((due, completed + failed), (12, 12), "{script:?}, {close:?}");
        }
    }
}
