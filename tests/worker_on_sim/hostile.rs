//! Hostile and odd clients: what a server does with them is told apart and counted, and disturbs nobody else.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use shakedown::base::Nanos;
use shakedown::io::sim::{Peer, PeerCounts, PeerScript, ServiceModel};
use shakedown::measure::{Attempts, Ending, FailureDetail, FailureKind, LatencyHistogram, Metric, Reactions, Step};
use shakedown::protocol::ClientProfile;
use shakedown::run::{ClientShare, ClosePolicy, Population, Row, Verdict};

use super::lab::*;
use super::outcomes::every_script;

const CONNECTED: Nanos = Nanos::from_micros(2 * ONE_WAY);
/// A message to a server that answers at once, and back.
const ROUND_TRIP: Nanos = Nanos::from_micros(2 * ONE_WAY);
/// How long these clients wait for a reaction, unless a test says otherwise.
const PATIENCE: Nanos = Nanos::from_secs(10);

fn hostile_profiles() -> Vec<ClientProfile> {
    ClientProfile::ALL.into_iter().filter(|profile| profile.is_hostile()).collect()
}

fn share(profile: ClientProfile, weight: u32) -> ClientShare {
    ClientShare { weight, ..client(profile, profile.spec().mode) }
}

/// One attempt after the other, so that nobody waits for a server.
fn attempts_of(profile: ClientProfile, count: u64) -> Lab {
    Lab::new(closed_of(count), 1).with(|clients| clients.clients = vec![share(profile, 1)])
}

fn expecting(lab: Lab, expectation: &str) -> Lab {
    lab.with(|clients| clients.expect = Some(expectation.parse().unwrap()))
}

/// The reactions to the only kind of client.
fn reactions(report: &Report) -> &Reactions {
    let [Some(reactions)] = report.snapshot.reactions() else { panic!("one kind of client, a hostile one") };
    reactions
}

fn endings(reactions: &Reactions) -> Vec<(Ending, u64)> {
    let counted = Ending::ALL.map(|ending| (ending, reactions.ended(ending)));
    counted.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn open_times(times: impl IntoIterator<Item = Nanos>) -> LatencyHistogram {
    let mut histogram = LatencyHistogram::of_ages();
    times.into_iter().for_each(|time| histogram.record(time));
    histogram
}

/// How long the first attempt's connection is open when nobody closes it.
fn whole_patience() -> Nanos {
    expiry(CONNECTED + PATIENCE).saturating_sub(CONNECTED)
}

#[test]
fn a_server_that_follows_the_rules_reacts_to_each() {
    use ClientProfile::*;
    let [complex, simple] = [(1, 0), (0, 1)].map(|(complex, simple)| PeerCounts {
        accepted: 1,
        complex,
        simple,
        resets: 1,
        ..PeerCounts::default()
    });
    let refused = PeerCounts { accepted: 1, violations: 1, resets: 1, ..PeerCounts::default() };
    let silent = PeerCounts { accepted: 1, resets: 1, ..PeerCounts::default() };
    for profile in hostile_profiles() {
        let (ending, answered, seen) = match profile {
            Version0x00 | Version0x01 | Version0x06 | Version0x20 | Http | Tls => (Ending::Closed, 0, refused),
            WrongDigest => (Ending::Open, 1, PeerCounts { c2_echo: 1, ..simple }),
            ZeroFiller | Split1536 => (Ending::Open, 1, PeerCounts { c2_valid: 1, ..complex }),
            WrongC2 | EarlyC2 => (Ending::Open, 1, PeerCounts { c2_invalid: 1, ..complex }),
            NoC2 => (Ending::Open, 1, complex),
            HalfC1 | Drip | Silent => (Ending::Open, 0, silent),
            // It is gone when the answer comes.
            CloseAfterC1 => (Ending::Left, 0, PeerCounts { resets: 0, fins: 1, ..complex }),
            honest => panic!("{honest} is not hostile"),
        };
        let after = match ending {
            Ending::Closed => ROUND_TRIP,
            Ending::Left => Nanos::ZERO,
            _ => whole_patience(),
        };
        let report = attempts_of(profile, 1).run();
        let observed = Attempts { due: 1, started: 1, observed: 1, ..Attempts::default() };
        assert_eq!((report.counts(), report.failures()), (observed, vec![]), "{profile}");
        let reactions = reactions(&report);
        assert_eq!(endings(reactions), [(ending, 1)], "{profile}");
        assert_eq!((reactions.answered, reactions.partly_answered), (answered, 0), "{profile}");
        assert_eq!(reactions.open_time, open_times([after]), "{profile}");
        assert_eq!(report.peers, [seen], "{profile}");
    }
}

#[test]
fn a_servers_ways_to_end_a_connection_are_told_apart() {
    let (wrong, silent) = (ClientProfile::WrongDigest, ClientProfile::Silent);
    let answered = ROUND_TRIP + micros(SERVICE);
    for (profile, script, ending, after, (answers, parts)) in [
        (wrong, PeerScript::CloseAfterC0C1, Ending::Closed, answered, (0, 0)),
        (wrong, PeerScript::ResetAfterC0C1, Ending::Reset, answered, (0, 0)),
        (wrong, PeerScript::ResetAfterS0S1S2, Ending::Reset, answered, (1, 0)),
        (wrong, PeerScript::HalfOfS1ThenClose, Ending::Closed, answered, (0, 1)),
        (wrong, PeerScript::HalfOfS1, Ending::Open, whole_patience(), (0, 1)),
        (wrong, PeerScript::Http, Ending::Closed, answered, (0, 1)),
        (wrong, PeerScript::ClosesWithFin, Ending::Closed, answered + ROUND_TRIP, (1, 0)),
        (wrong, PeerScript::Endless, Ending::Open, whole_patience(), (1, 0)),
        (silent, PeerScript::CloseAfterConnect, Ending::Closed, Nanos::ZERO, (0, 0)),
        (silent, PeerScript::EndlessGarbage, Ending::Open, whole_patience(), (1, 0)),
        (silent, PeerScript::Silent, Ending::Open, whole_patience(), (0, 0)),
    ] {
        let report = attempts_of(profile, 1).against_script(script.clone()).run();
        let reactions = reactions(&report);
        assert_eq!(endings(reactions), [(ending, 1)], "{profile} to {script:?}");
        assert_eq!((reactions.answered, reactions.partly_answered), (answers, parts), "{profile} to {script:?}");
        assert_eq!(reactions.open_time, open_times([after]), "{profile} to {script:?}");
        assert_eq!(report.failures(), [], "{profile} to {script:?}");
    }
}

#[test]
fn a_connection_that_never_comes_to_be_is_a_reaction() {
    for script in [PeerScript::Refuse, PeerScript::Unreachable, PeerScript::NoRoute, PeerScript::DropSyn] {
        for profile in hostile_profiles() {
            let report = attempts_of(profile, 5).against_script(script.clone()).run();
            assert_eq!(report.counts().observed, 5, "{profile} to {script:?}");
            let reactions = reactions(&report);
            assert_eq!(endings(reactions), [(Ending::NotConnected, 5)], "{profile} to {script:?}");
            assert_eq!(reactions.open_time.count(), 0, "{profile} to {script:?}: it was never open");
        }
    }
}

#[test]
fn this_hosts_limits_stay_failures() {
    for (script, step, kind, errno) in [
        (PeerScript::NoPorts { beyond: 3 }, Step::Connect, FailureKind::NoPorts, 99),
        (PeerScript::NoDescriptors { beyond: 3 }, Step::Socket, FailureKind::NoDescriptors, 23),
    ] {
        for expectation in [None, Some("open for 1s")] {
            let silent = |clients: &mut Population| {
                clients.clients = vec![share(ClientProfile::Silent, 1)];
                clients.expect = expectation.map(|text| text.parse().unwrap());
            };
            let report = Lab::new(open_of(100.0, 10), 10).with(silent).against_script(script.clone()).run();
            assert_eq!((report.counts().observed, report.counts().failed), (3, 7), "{script:?}");
            assert_eq!(report.failures(), [(failure(step, kind, FailureDetail::Errno(errno)), 7)]);
            assert_eq!((reactions(&report).total(), reactions(&report).unexpected), (3, 0), "{script:?}");
            assert!(report.result().generator.limited, "{script:?}");
        }
    }
}

#[test]
fn patience_is_the_timeout() {
    for patience in [millis(700), secs(3), secs(3_600)] {
        let patient = |clients: &mut Population| clients.timeout_ns = patience.as_u64();
        let report = attempts_of(ClientProfile::HalfC1, 1).with(patient).run();
        let open = expiry(CONNECTED + patience).saturating_sub(CONNECTED);
        assert_eq!(reactions(&report).open_time, open_times([open]), "{patience}");
        assert_eq!(report.ended, CONNECTED + open, "{patience}");
    }
}

#[test]
fn a_slot_is_taken_as_long_as_the_connection() {
    // Two slots, each taken for the whole patience.
    let impatient = |clients: &mut Population| {
        clients.clients = vec![share(ClientProfile::Silent, 1)];
        clients.timeout_ns = secs(1).as_u64();
    };
    let report = Lab::new(open_for(10.0, secs(10)), 2).with(impatient).run();
    let Attempts { due, started, dropped, observed, failed, .. } = report.counts();
    assert_eq!((due, started + dropped, observed, failed), (100, 100, started, 0));
    assert!((18..=20).contains(&started), "two a second: {started}");
}

#[test]
fn drip_sends_a_byte_a_second() {
    // Every gap ends with a tick; the first byte leaves at once.
    let gap = Nanos::new(expiry(secs(1)).as_u64());
    let whole = Nanos::new(gap.as_u64() * 1536);
    let patient = |clients: &mut Population| clients.timeout_ns = secs(3_600).as_u64();
    for (limit_s, expected) in [(1_535, false), (1_538, true)] {
        let lab = attempts_of(ClientProfile::Drip, 1).with(patient);
        let report = expecting(lab, &format!("answered within {limit_s}s")).run();
        assert_eq!(report.peers[0].complex, 1);
        assert_eq!((reactions(&report).answered, reactions(&report).unexpected), (1, u64::from(!expected)));
        assert!(secs(1_535) < whole && whole < secs(1_538), "the limits enclose {whole}");
    }
    let too_short = |clients: &mut Population| clients.timeout_ns = secs(1_535).as_u64();
    let report = attempts_of(ClientProfile::Drip, 1).with(too_short).run();
    assert_eq!((report.peers[0].complex, reactions(&report).answered), (0, 0), "the last byte is missing");
}

#[test]
fn split_1536_keeps_its_last_byte_for_50_ms() {
    for (limit, unexpected) in [("answered within 50ms", 5), ("answered within 53ms", 0)] {
        let report = expecting(attempts_of(ClientProfile::Split1536, 5), limit).run();
        assert_eq!(reactions(&report).unexpected, unexpected, "{limit}");
    }
}

#[test]
fn what_is_not_expected_is_a_failure_with_a_name() {
    use ClientProfile::{EarlyC2, HalfC1, Http, NoC2, Silent, WrongDigest};
    let tenth = FailureDetail::Ended(Ending::Open, (whole_patience().as_u64() / 1_000_000) as u32);
    let closed = |ms| FailureDetail::Ended(Ending::Closed, ms);
    let serve = PeerScript::serve;
    for (profile, script, expectation, missed) in [
        (Http, serve(), "closed within 5s", None),
        (Http, serve(), "reset within 5s", Some((Step::S0, closed(0)))),
        (Http, serve(), "open for 1s", Some((Step::S0, closed(0)))),
        (Http, serve(), "answered within 1s", Some((Step::S0, closed(0)))),
        (
            Http,
            PeerScript::Refuse,
            "closed within 5s",
            Some((Step::Connect, FailureDetail::Ended(Ending::NotConnected, 0))),
        ),
        (Silent, serve(), "closed within 5s", Some((Step::S0, tenth))),
        (Silent, serve(), "open for 10s", None),
        (HalfC1, serve(), "answered within 2s", Some((Step::S0, tenth))),
        (WrongDigest, serve(), "answered within 2s", None),
        (WrongDigest, PeerScript::HalfOfS1, "answered within 2s", Some((Step::S1, tenth))),
        (WrongDigest, PeerScript::ResetAfterC0C1, "reset within 1ms", None),
        (WrongDigest, PeerScript::ResetAfterC0C1, "closed within 1ms", None),
        (NoC2, serve(), "closed within 5s", Some((Step::Hold, tenth))),
        (EarlyC2, serve(), "open for 10s", None),
        (EarlyC2, PeerScript::CloseHeldAfter { after: secs(2) }, "closed within 3s", None),
        (EarlyC2, PeerScript::CloseHeldAfter { after: secs(2) }, "closed within 1s", Some((Step::Hold, closed(2_000)))),
    ] {
        let report = expecting(attempts_of(profile, 1), expectation).against_script(script.clone()).run();
        let expected: Vec<_> =
            missed.map(|(step, detail)| (failure(step, FailureKind::Unexpected, detail), 1)).into_iter().collect();
        assert_eq!(report.failures(), expected, "{profile} to {script:?}, {expectation}");
        let (observed, failed) = (u64::from(missed.is_none()), u64::from(missed.is_some()));
        assert_eq!((report.counts().observed, report.counts().failed), (observed, failed), "{profile} to {script:?}");
        assert_eq!((reactions(&report).total(), reactions(&report).unexpected), (1, failed));
        let verdict = if missed.is_some() { Verdict::Fail } else { Verdict::Pass };
        assert_eq!(report.result().verdict, verdict, "{profile} to {script:?}, {expectation}");
    }
}

#[test]
fn hostile_clients_have_rows_of_their_own_and_no_latencies() {
    let mixed = |clients: &mut Population| {
        clients.clients = vec![share(ClientProfile::Shakedown, 3), share(ClientProfile::Silent, 1)];
        clients.timeout_ns = secs(1).as_u64();
    };
    let report = Lab::new(open_for(100.0, secs(4)), 200).with(mixed).run();
    assert_eq!((report.counts().completed, report.counts().observed), (300, 100));
    assert_eq!(report.spans(Metric::Service), spans([micros(ATTEMPT); 300]));
    let result = report.result();
    assert_eq!((result.verdict, result.failures.len()), (Verdict::Pass, 0));
    let rows: Vec<_> = result
        .by_client
        .iter()
        .map(|row: &Row| {
            (
                row.name.as_str(),
                row.attempts.completed,
                row.attempts.observed,
                row.reactions.as_ref().map(|row| row.open),
            )
        })
        .collect();
    assert_eq!(rows, [("shakedown", 300, 0, None), ("silent", 0, 100, Some(100))]);
}

#[test]
fn those_who_follow_the_rules_are_not_disturbed() {
    // The server has room for all of them; so does the generator.
    let service = ServiceModel { parallelism: 1_000, ..ServiceModel::default() };
    let encoders = Lab::new(open_for(200.0, secs(2)), 10).against(Peer { service, ..Peer::default() });
    let alone = encoders.run();
    let mut together = encoders.clone();
    let mut others = population("others", open_for(300.0, secs(2)), 600);
    others.clients = hostile_profiles().into_iter().map(|profile| share(profile, 1)).collect();
    others.timeout_ns = secs(1).as_u64();
    together.plan.populations.push(others);
    together.audited = true;
    let together = together.run();
    assert_eq!((alone.counts().completed, alone.counts().started), (400, 400));
    let population = together.snapshot.population(0).tally;
    assert_eq!(population, alone.snapshot.population(0).tally);
    let Attempts { due: 600, started: 600, observed: 600, .. } = together.snapshot.population(1).tally.counts else {
        panic!("{:?}", together.snapshot.population(1).tally.counts)
    };
    assert_eq!(together.failures(), []);
}

#[test]
fn hostile_connections_are_closed_as_asked() {
    for (close, resets, fins) in [(ClosePolicy::Rst, 5, 0), (ClosePolicy::Fin, 0, 5), (ClosePolicy::Peer, 0, 5)] {
        let report = attempts_of(ClientProfile::HalfC1, 5).with(|clients| clients.close = close).run();
        assert_eq!((report.peers[0].resets, report.peers[0].fins), (resets, fins), "{close:?}");
        // Hanging up by FIN is what this client does.
        let report = attempts_of(ClientProfile::CloseAfterC1, 5).with(|clients| clients.close = close).run();
        assert_eq!((report.peers[0].resets, report.peers[0].fins), (0, 5), "{close:?}");
    }
}

#[test]
fn every_script_lets_every_one_of_them_end() {
    let generators =
        |script: &PeerScript| matches!(script, PeerScript::NoPorts { .. } | PeerScript::NoDescriptors { .. });
    for script in every_script() {
        let all = |clients: &mut Population| {
            clients.clients = hostile_profiles().into_iter().map(|profile| share(profile, 1)).collect();
            (clients.connect_timeout_ns, clients.timeout_ns) = (millis(50).as_u64(), millis(50).as_u64());
        };
        let mut lab = Lab::new(open_of(1_000.0, 64), 64).with(all).against_script(script.clone());
        lab.audited = true;
        let report = lab.run();
        let Attempts { due, started, completed, failed, observed, .. } = report.counts();
        assert_eq!((due, started, completed, failed + observed), (64, 64, 0, 64), "{script:?}");
        assert_eq!(failed > 0, generators(&script), "{script:?}: {:?}", report.failures());
        let reactions = report.snapshot.reactions().iter().flatten().map(|reactions| reactions.total()).sum::<u64>();
        assert_eq!(reactions, observed, "{script:?}");
    }
}

prop_compose! {
    /// A mixture of clients, at least one of which is hostile, on a network that delays.
    fn mixture()(
        profiles in subsequence(ClientProfile::ALL.to_vec(), 1..6),
        hostile in select(hostile_profiles()),
        weights in prop::collection::vec(1..5_u32, 7),
        script in select(every_script()),
        rate in 10.0..4_000.0,
        attempts in 1..120_u64,
        slots in 1..40_u32,
        (connect_timeout, timeout) in (1..200_u64, 1..200_u64),
        expectation in select(vec![None, Some("closed within 20ms"), Some("open for 20ms"), Some("answered within 20ms")]),
        close in select(vec![ClosePolicy::Rst, ClosePolicy::Fin, ClosePolicy::Peer]),
        jitter in 0..500_u64,
        seed in any::<u64>(),
    ) -> Lab {
        let mut profiles = profiles;
        if !profiles.contains(&hostile) {
            profiles.push(hostile);
        }
        let clients = |clients: &mut Population| {
            clients.clients = profiles.iter().zip(weights).map(|(profile, weight)| share(*profile, weight)).collect();
            clients.expect = expectation.map(|text| text.parse().unwrap());
            clients.close = close;
            (clients.connect_timeout_ns, clients.timeout_ns) = (millis(connect_timeout).as_u64(), millis(timeout).as_u64());
        };
        let mut lab = Lab::new(open_of(rate, attempts), slots).seeded(seed).with(clients).against_script(script);
        lab.network.jitter = micros(jitter);
        lab.audited = true;
        lab
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The books are audited after every turn; each ended attempt of a hostile client is one reaction, or this host's
    /// failure.
    #[test]
    fn every_mixture_is_accounted_for(lab in mixture()) {
        let report = lab.run();
        let counts = report.counts();
        prop_assert_eq!(counts.started, counts.completed + counts.failed + counts.observed);
        for (reactions, tally) in report.snapshot.reactions().iter().zip(report.snapshot.clients()) {
            let Some(reactions) = reactions else {
                prop_assert_eq!(tally.counts.observed, 0);
                continue;
            };
            prop_assert_eq!(tally.counts.completed, 0);
            prop_assert_eq!(reactions.total() - reactions.unexpected, tally.counts.observed);
            prop_assert!(reactions.unexpected <= tally.counts.failed);
            prop_assert!(reactions.answered + reactions.partly_answered <= reactions.total());
            let connected = reactions.total() - reactions.ended(Ending::NotConnected);
            prop_assert_eq!(reactions.open_time.count(), connected);
        }
    }
}
