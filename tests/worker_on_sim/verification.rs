//! Which handshakes are checked, and what is sent as C2.

use rand::Rng;
use shakedown::base::{Seed, StreamPurpose};
use shakedown::io::sim::{PeerCounts, PeerScript};
use shakedown::measure::{FailureKind, ModeCounts};
use shakedown::protocol::{DigestAt, HandshakeMode};
use shakedown::run::Verify;

use super::lab::*;

/// A thousand handshakes, one in flight at a time.
fn thousand(verify: Verify) -> Lab {
    Lab::new(closed_of(1_000), 1).with(|clients| clients.verify = verify)
}

/// How many of the first `attempts` the seed chooses: one in 64.
fn chosen(seed: u64, attempts: u64) -> u64 {
    let mut sampling = Seed::new(seed).stream(StreamPurpose::Sampling, 0);
    (0..attempts).filter(|_| sampling.next_u32().is_multiple_of(64)).count() as u64
}

fn modes(report: &Report) -> ModeCounts {
    report.snapshot.measured().tally.modes
}

#[test]
fn all_sample_and_none_are_what_they_say() {
    for (verify, verified) in [(Verify::All, 1_000), (Verify::Sample, chosen(1, 1_000)), (Verify::None, 0)] {
        let expected =
            ModeCounts { complex_verified: verified, complex_unverified: 1_000 - verified, ..ModeCounts::default() };
        assert_eq!(modes(&thousand(verify).run()), expected, "{verify:?}");
    }
}

#[test]
fn the_seed_chooses_the_sample() {
    let samples: Vec<u64> =
        (1..=4).map(|seed| modes(&thousand(Verify::Sample).seeded(seed).run()).complex_verified).collect();
    assert_eq!(samples, (1..=4).map(|seed| chosen(seed, 1_000)).collect::<Vec<_>>());
    // 4 000 of one in 64 are 62; six standard deviations are 47.
    assert!((16..=109).contains(&samples.iter().sum::<u64>()), "{samples:?}");
    assert!(samples.iter().any(|sample| *sample != samples[0]), "{samples:?}");
}

#[test]
fn what_is_not_checked_is_signed_all_the_same() {
    // Clients that take the digest's place from an earlier S1 still sign C2 from this one's.
    for at in [DigestAt::FirstHalf, DigestAt::SecondHalf] {
        for verify in [Verify::All, Verify::Sample, Verify::None] {
            let report = thousand(verify).with(|clients| clients.clients[0].client.digest_at = at).run();
            let seen =
                PeerCounts { accepted: 1_000, complex: 1_000, c2_valid: 1_000, resets: 1_000, ..PeerCounts::default() };
            assert_eq!(report.peers, [seen], "{at:?}, {verify:?}");
        }
    }
}

#[test]
fn a_digest_in_the_second_half_verifies() {
    let report = thousand(Verify::All).with(|clients| clients.clients[0].client.digest_at = DigestAt::SecondHalf).run();
    assert_eq!(modes(&report), ModeCounts { complex_verified: 1_000, ..ModeCounts::default() });
}

#[test]
fn a_wrong_c2_is_seen_by_the_server() {
    for mode in [HandshakeMode::Complex, HandshakeMode::Simple] {
        let wrong = |clients: &mut shakedown::run::Population| {
            (clients.clients[0].client.mode, clients.clients[0].client.wrong_c2) = (mode, true);
        };
        let report = thousand(Verify::All).with(wrong).run();
        assert_eq!(report.counts().completed, 1_000, "the server does not say that it minds");
        let seen = report.peers[0];
        assert_eq!((seen.c2_invalid, seen.c2_valid, seen.c2_echo), (1_000, 0, 0), "{mode:?}");
    }
}

#[test]
fn a_simple_client_echoes() {
    let report = thousand(Verify::All).simple().run();
    assert_eq!(modes(&report), ModeCounts { simple: 1_000, ..ModeCounts::default() });
    let seen = PeerCounts { accepted: 1_000, simple: 1_000, c2_echo: 1_000, resets: 1_000, ..PeerCounts::default() };
    assert_eq!(report.peers, [seen]);
}

#[test]
fn a_downgrade_is_seen_without_a_check() {
    for verify in [Verify::All, Verify::Sample, Verify::None] {
        let report = thousand(verify).against_script(PeerScript::ServeSimpleOnly).run();
        assert_eq!(modes(&report), ModeCounts { downgraded: 1_000, ..ModeCounts::default() }, "{verify:?}");
        assert_eq!((report.peers[0].simple, report.peers[0].c2_echo), (1_000, 1_000), "{verify:?}");
    }
}

#[test]
fn wrong_digests_fail_where_they_are_checked() {
    for (script, kind) in
        [(PeerScript::WrongS1Digest, FailureKind::BadS1Digest), (PeerScript::WrongS2Digest, FailureKind::BadS2Digest)]
    {
        for (verify, failed) in [(Verify::All, 1_000), (Verify::Sample, chosen(1, 1_000)), (Verify::None, 0)] {
            let report = thousand(verify).against_script(script.clone()).run();
            let named: Vec<_> = report.failures().iter().map(|(failure, count)| (failure.kind, *count)).collect();
            let expected = if failed > 0 { vec![(kind, failed)] } else { vec![] };
            assert_eq!(named, expected, "{script:?}, {verify:?}");
        }
    }
}
