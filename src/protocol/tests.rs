//! Both sides against each other in memory, and what must hold for any bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::digest::Signer;
use super::wire::{self, Block};
use super::*;
use crate::base::{RandomStream, Seed, StreamPurpose};

const FIRST: C1Spec = C1Spec::complex(DigestAt::FirstHalf);
const SECOND: C1Spec = C1Spec::complex(DigestAt::SecondHalf);
const SIMPLE: C1Spec = C1Spec::simple();
const READ_AT_MS: u32 = 0x0102_0304;
const TEMPLATES: usize = 3;

#[test]
fn client_and_server_agree_in_every_mode() {
    for seed in 0..40 {
        for spec in [FIRST, SECOND, SIMPLE] {
            for check in [Check::Full, Check::Locate, Check::Trust(trusted(&spec))] {
                let pair = Pair::new(seed, &spec);
                let mut client = pair.client(check);
                let mut server = pair.server(true);

                server.advance(pair.c0c1(), &pair.server_templates).unwrap();
                assert_eq!(server.state(), ServerState::AwaitingC2);
                assert_eq!(server.mode(), Some(spec.mode));
                let answer = pair.answer();

                let state = client.advance(&answer, &pair.client_templates).unwrap();
                assert_eq!(state, ClientState::Done(expected(&spec, check)));
                assert_eq!(client.s1_digest(), Some(trusted(&spec)), "the server mirrors the place of C1's digest");

                let signed = spec.mode == HandshakeMode::Complex;
                let verdict = if signed { C2Verdict::Valid } else { C2Verdict::Echo };
                let c2 = pair.c2(&client, &answer);
                let sent = [pair.c0c1(), &c2].concat();
                assert_eq!(server.advance(&sent, &pair.server_templates), Ok(ServerState::Done(verdict)));
            }
        }
    }
}

#[test]
fn any_segmentation_passes_through_the_same_states() {
    let all_at_once: &[usize] = &[3073];
    let byte_by_byte: &[usize] = &[1; 3073];
    let cuts =
        [all_at_once, byte_by_byte, &[1, 1536, 1536], &[1537, 1536], &[1, 3072], &[1536, 1, 1535, 1], &[1538, 1535]];
    for spec in [FIRST, SECOND, SIMPLE] {
        let pair = Pair::new(7, &spec);
        for segments in cuts {
            pair.check_states_after(segments);
        }
    }
}

#[test]
fn bytes_of_the_next_stage_are_ignored() {
    for spec in [FIRST, SECOND, SIMPLE] {
        let pair = Pair::new(3, &spec);
        let answer = [&pair.answer()[..], &[0xA5; 109]].concat();
        let mut client = pair.client(Check::Full);
        let state = client.advance(&answer, &pair.client_templates).unwrap();
        assert_eq!(state, ClientState::Done(expected(&spec, Check::Full)));
        let sent = [pair.c0c1(), &pair.c2(&client, &answer), b"connect"].concat();
        let verdict = pair.server(true).advance(&sent, &pair.server_templates).unwrap();
        assert!(matches!(verdict, ServerState::Done(C2Verdict::Valid | C2Verdict::Echo)));
    }
}

#[test]
fn a_wrong_c2_is_told_from_a_right_one() {
    for spec in [FIRST, SECOND, SIMPLE] {
        let pair = Pair::new(11, &spec);
        let answer = pair.answer();
        let mut client = pair.client(Check::Full);
        client.advance(&answer, &pair.client_templates).unwrap();
        let mut wrong = [0; C2_SIZE];
        client.write_wrong_c2(&answer, &pair.client_templates, READ_AT_MS, &mut wrong);
        let sent = [pair.c0c1(), &wrong].concat();
        assert_eq!(pair.server(true).advance(&sent, &pair.server_templates), Ok(ServerState::Done(C2Verdict::Invalid)));
        assert_eq!(
            pair.server(false).advance(&sent, &pair.server_templates),
            Ok(ServerState::Done(C2Verdict::Unchecked))
        );
        let same_layout = if spec.mode == HandshakeMode::Complex { 0..1504 } else { 0..8 };
        assert_eq!(wrong[same_layout.clone()], pair.c2(&client, &answer)[same_layout]);
    }
}

#[test]
fn an_echo_passes_for_an_echo_from_a_complex_client() {
    let pair = Pair::new(5, &FIRST);
    let sent = [pair.c0c1(), &pair.answer()[1..1537]].concat();
    assert_eq!(pair.server(true).advance(&sent, &pair.server_templates), Ok(ServerState::Done(C2Verdict::Echo)));
}

#[test]
fn an_echoing_c2_says_when_s1_was_read() {
    let pair = Pair::new(5, &SIMPLE);
    let answer = pair.answer();
    let mut client = pair.client(Check::Full);
    client.advance(&answer, &pair.client_templates).unwrap();
    let c2 = pair.c2(&client, &answer);
    assert_eq!(c2[..4], answer[1..5]);
    assert_eq!(c2[4..8], [1, 2, 3, 4]);
    assert_eq!(c2[8..], answer[9..1537]);
}

#[test]
fn a_simple_answer_to_a_complex_client_is_a_downgrade() {
    let pair = Pair::new(5, &SECOND);
    let simple_s1 = Pair::new(5, &SIMPLE).answer()[..1537].to_vec();
    let echo = &pair.c0c1()[1..];
    let mut echo_with_times = echo.to_vec();
    echo_with_times[..8].fill(0xEE);
    for s2 in [echo, &echo_with_times] {
        let answer = [&simple_s1, s2].concat();
        let mut client = pair.client(Check::Full);
        assert_eq!(client.advance(&answer, &pair.client_templates), Ok(ClientState::Done(Negotiated::Downgraded)));
        assert_eq!(client.s1_digest(), Some(S1Digest::Absent), "C2 will be an echo");
        assert_eq!(pair.c2(&client, &answer)[8..], answer[9..1537]);
    }
    let unchecked = [&simple_s1[..], &[0; 1536]].concat();
    for check in [Check::Locate, Check::Trust(S1Digest::Absent)] {
        let state = pair.client(check).advance(&unchecked, &pair.client_templates);
        assert_eq!(state, Ok(ClientState::Done(Negotiated::Downgraded)));
    }
    assert_eq!(pair.client(Check::Full).advance(&unchecked, &pair.client_templates), Err(Violation::BadS1Digest));
}

#[test]
fn a_signed_s1_with_an_echo_is_a_downgrade_whose_c2_is_signed() {
    let pair = Pair::new(6, &FIRST);
    let answer = [&pair.answer()[..1537], &pair.c0c1()[1..]].concat();
    let mut client = pair.client(Check::Full);
    assert_eq!(client.advance(&answer, &pair.client_templates), Ok(ClientState::Done(Negotiated::Downgraded)));
    let c2 = pair.c2(&client, &answer);
    assert_eq!(explain(pair.c0c1(), &answer, &c2).c2_digest_verifies, Some(true));
}

#[test]
fn s1_may_hold_its_digest_in_the_other_half() {
    let pair = Pair::new(8, &SECOND);
    let s1 = &Pair::new(8, &FIRST).answer()[..1537];
    let answer = [s1, &pair.answer()[1537..]].concat();
    let mut client = pair.client(Check::Full);
    assert_eq!(client.advance(&answer, &pair.client_templates), Ok(ClientState::Done(Negotiated::ComplexVerified)));
    assert_eq!(client.s1_digest(), Some(S1Digest::At(DigestAt::FirstHalf)));
}

#[test]
fn a_simple_client_wants_its_echo_but_not_its_times() {
    let pair = Pair::new(9, &SIMPLE);
    let mut answer = pair.answer();
    answer[1537..1545].fill(0xEE);
    assert_eq!(
        pair.client(Check::Full).advance(&answer, &pair.client_templates),
        Ok(ClientState::Done(Negotiated::Simple))
    );
    answer[1545] ^= 1;
    assert_eq!(pair.client(Check::Full).advance(&answer, &pair.client_templates), Err(Violation::BadEcho));
    for check in [Check::Locate, Check::Trust(S1Digest::Absent)] {
        let state = pair.client(check).advance(&answer, &pair.client_templates);
        assert_eq!(state, Ok(ClientState::Done(Negotiated::Simple)));
    }
}

#[test]
fn a_version_byte_is_judged_alone() {
    let pair = Pair::new(1, &FIRST);
    let http = Violation::NotRtmp { first: b'H', looks_like: OtherProtocol::Http };
    let mut client = pair.client(Check::Trust(S1Digest::Absent));
    assert_eq!(client.advance(b"H", &pair.client_templates), Err(http));
    assert_eq!(client.advance(b"HTTP/1.1 400", &pair.client_templates), Err(http), "a violation does not pass");
    assert_eq!(pair.server(false).advance(&[6], &pair.server_templates), Err(Violation::BadVersion { byte: 6 }));
}

#[test]
fn an_unsigned_c1_with_a_version_is_simple() {
    let pair = Pair::new(2, &C1Spec { version: [9, 0, 0x7c, 2], ..SIMPLE });
    let mut server = pair.server(true);
    server.advance(pair.c0c1(), &pair.server_templates).unwrap();
    assert_eq!(server.mode(), Some(HandshakeMode::Simple));
}

#[test]
fn a_signed_c1_without_a_version_is_simple() {
    let mut c0c1 = Pair::new(2, &SECOND).c0c1().to_vec();
    let c1: &mut Block = c0c1[1..].first_chunk_mut().unwrap();
    c1[wire::VERSION].fill(0);
    Signer::Player.sign(c1, DigestAt::SecondHalf);
    let mut server = ServerHandshake::new(0, true);
    server.advance(&c0c1, &Pair::new(2, &SECOND).server_templates).unwrap();
    assert_eq!(server.mode(), Some(HandshakeMode::Simple));
}

#[test]
fn a_pool_is_contiguous_varied_and_repeatable() {
    for spec in [FIRST, SECOND, SIMPLE, C1Spec { time: 0x0A0B_0C0D, ..FIRST }] {
        let pool = ClientTemplates::sign(&spec, 16, &mut client_stream(1));
        assert_eq!((pool.len(), pool.mode(), pool.bytes().len()), (16, spec.mode, 16 * 1537));
        let mut positions = Vec::new();
        for (index, c0c1) in pool.bytes().chunks(1537).enumerate() {
            assert_eq!(pool.c0c1(index), c0c1);
            let explained = explain(c0c1, &[], &[]);
            assert_eq!((explained.version_byte, explained.asked), (Some(3), Some(spec.mode)));
            assert_eq!(explained.c1_time, Some(spec.time));
            assert_eq!(c0c1[5..9], spec.version);
            assert!(c0c1[9..].chunks(128).all(|piece| piece.iter().any(|&byte| byte != 0)), "filler is not zero");
            positions.push(explained.c1_digest_position);
        }
        positions.sort_unstable();
        positions.dedup();
        assert_eq!(positions.len() > 1, spec.mode == HandshakeMode::Complex);
        assert_eq!(ClientTemplates::sign(&spec, 16, &mut client_stream(1)).bytes(), pool.bytes());
        assert_ne!(ClientTemplates::sign(&spec, 16, &mut client_stream(2)).bytes(), pool.bytes());
    }
}

#[test]
fn states_name_what_they_wait_for() {
    assert_eq!(
        format!("closed after 4 bytes while {}", ClientState::AwaitingS1),
        "closed after 4 bytes while awaiting S1"
    );
    assert_eq!(ServerState::AwaitingC2.to_string(), "awaiting C2");
    assert_eq!(ClientState::Done(Negotiated::Downgraded).to_string(), "asked complex, answered simple");
    assert_eq!(ServerState::Done(C2Verdict::Valid).to_string(), "C2 signed");
    assert_eq!(format!("{:>8}|{}", HandshakeMode::Simple, DigestAt::SecondHalf), "  simple|second half");
}

#[test]
fn the_explanation_of_nothing_is_nothing() {
    let json = serde_json::to_value(explain(&[], &[3, 0], &[])).unwrap();
    for (key, value) in json.as_object().unwrap() {
        assert_eq!(value.is_null(), key != "s0_version_byte", "{key}");
    }
    assert!(likely_server(&explain(&[], &[], &[]), &[]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies_and_one_flipped_bit_does_not(
        filler in vec(any::<u8>(), BLOCK_SIZE),
        at in digest_at(),
        player in any::<bool>(),
        bit in any::<Index>(),
    ) {
        let (signer, other) =
            if player { (Signer::Player, Signer::Server) } else { (Signer::Server, Signer::Player) };
        let mut block: Block = filler.try_into().unwrap();
        signer.sign(&mut block, at);
        prop_assert!(signer.verifies(&block, at));
        prop_assert_eq!(signer.find(&block, at.other()), Some(at));
        prop_assert_eq!(other.find(&block, at), None);

        let key = other.response_key(&block, at);
        let mut response = block;
        key.sign(&mut response);
        prop_assert!(key.verifies(&response));

        let bit = bit.index(BLOCK_SIZE * 8);
        response[bit / 8] ^= 1 << (bit % 8);
        block[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!key.verifies(&response));
        prop_assert_eq!(signer.find(&block, at), None);
    }

    #[test]
    fn one_flipped_bit_of_a_complex_answer_is_noticed(seed in 0u64..1000, at in digest_at(), bit in any::<Index>()) {
        let pair = Pair::new(seed, &C1Spec::complex(at));
        let mut answer = pair.answer();
        let bit = 8 + bit.index((S0S1S2_SIZE - 1) * 8);
        answer[bit / 8] ^= 1 << (bit % 8);
        let in_s1 = bit / 8 < S0S1_SIZE;
        let violation = if in_s1 { Violation::BadS1Digest } else { Violation::BadS2Digest };
        let mut client = pair.client(Check::Full);
        prop_assert_eq!(client.advance(&answer, &pair.client_templates), Err(violation));
        prop_assert_eq!(client.state(), ClientState::AwaitingS2);
        prop_assert_eq!(client.advance(&answer, &pair.client_templates), Err(violation));
    }

    #[test]
    fn random_cuts_change_nothing(seed in 0u64..1000, spec in spec(), cuts in vec(1usize..800, 1..20)) {
        Pair::new(seed, &spec).check_states_after(&cuts);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut received in vec(any::<u8>(), 0..4000),
        rtmp in any::<bool>(),
        spec in spec(),
        check in check(),
        check_c2 in any::<bool>(),
        cut in any::<Index>(),
    ) {
        if let (true, Some(first)) = (rtmp, received.first_mut()) {
            *first = RTMP_VERSION;
        }
        // Arbitrary bytes may begin with the version byte, too.
        let rtmp = received.first() == Some(&RTMP_VERSION);
        let pair = Pair::new(1, &spec);
        let part = &received[..cut.index(received.len() + 1)];

        let mut client = pair.client(check);
        let _ = client.advance(part, &pair.client_templates);
        let _ = client.advance(&received, &pair.client_templates);
        prop_assert_eq!(client.s1_digest().is_some(), rtmp && received.len() >= S0S1_SIZE);
        if client.s1_digest().is_some() {
            pair.c2(&client, &received);
        }

        let mut server = pair.server(check_c2);
        let _ = server.advance(part, &pair.server_templates);
        let _ = server.advance(&received, &pair.server_templates);
        prop_assert_eq!(server.mode().is_some(), rtmp && received.len() >= C0C1_SIZE);
        if server.mode().is_some() {
            server.write_s0s1s2(&received, &pair.server_templates, &mut [0; S0S1S2_SIZE]);
        }

        let explained = explain(part, &received, part);
        likely_server(&explained, &[part.len(), usize::MAX, 1]);
        explain(&received, part, &received);
    }
}

/// A client's and a server's templates, and the index both use.
struct Pair {
    client_templates: ClientTemplates,
    server_templates: ServerTemplates,
    template: u16,
}

impl Pair {
    fn new(seed: u64, spec: &C1Spec) -> Self {
        Self {
            client_templates: ClientTemplates::sign(spec, TEMPLATES, &mut client_stream(seed)),
            server_templates: ServerTemplates::sign(
                TEMPLATES,
                &mut Seed::new(seed).stream(StreamPurpose::ServerTemplates, 0),
            ),
            template: (seed % TEMPLATES as u64) as u16,
        }
    }

    fn client(&self, check: Check) -> ClientHandshake {
        ClientHandshake::new(self.template, check)
    }

    fn server(&self, check_c2: bool) -> ServerHandshake {
        ServerHandshake::new(self.template, check_c2)
    }

    fn c0c1(&self) -> &[u8] {
        self.client_templates.c0c1(self.template.into())
    }

    /// The server's S0S1S2.
    fn answer(&self) -> Vec<u8> {
        let mut server = self.server(true);
        server.advance(self.c0c1(), &self.server_templates).unwrap();
        let mut answer = vec![0; S0S1S2_SIZE];
        server.write_s0s1s2(self.c0c1(), &self.server_templates, &mut answer);
        answer
    }

    fn c2(&self, client: &ClientHandshake, answer: &[u8]) -> [u8; C2_SIZE] {
        let mut c2 = [0; C2_SIZE];
        client.write_c2(answer, &self.client_templates, READ_AT_MS, &mut c2);
        c2
    }

    /// Delivers both directions in `segments`, the rest in one piece, and checks every state on the way.
    fn check_states_after(&self, segments: &[usize]) {
        let answer = self.answer();
        let mut client = self.client(Check::Full);
        for received in growing(&answer, segments) {
            let state = client.advance(received, &self.client_templates).unwrap();
            assert_eq!(
                matches!(state, ClientState::AwaitingS1),
                (1..S0S1_SIZE).contains(&received.len()),
                "{} bytes: {state}",
                received.len()
            );
            assert_eq!(matches!(state, ClientState::AwaitingS2), (S0S1_SIZE..S0S1S2_SIZE).contains(&received.len()));
            assert_eq!(client.s1_digest().is_some(), received.len() >= S0S1_SIZE);
        }
        assert!(matches!(client.state(), ClientState::Done(Negotiated::ComplexVerified | Negotiated::Simple)));

        let sent = [self.c0c1(), &self.c2(&client, &answer)].concat();
        let mut server = self.server(true);
        for received in growing(&sent, segments) {
            let state = server.advance(received, &self.server_templates).unwrap();
            assert_eq!(matches!(state, ServerState::AwaitingC1), (1..C0C1_SIZE).contains(&received.len()));
            assert_eq!(matches!(state, ServerState::AwaitingC2), (C0C1_SIZE..sent.len()).contains(&received.len()));
        }
        assert!(matches!(server.state(), ServerState::Done(C2Verdict::Valid | C2Verdict::Echo)));
    }
}

/// What has been received after each of `segments`, and at last everything.
fn growing<'a>(bytes: &'a [u8], segments: &[usize]) -> Vec<&'a [u8]> {
    let mut end = 0;
    let mut parts: Vec<&[u8]> = segments
        .iter()
        .map(|size| {
            end = bytes.len().min(end + size);
            &bytes[..end]
        })
        .collect();
    parts.push(bytes);
    parts
}

fn client_stream(seed: u64) -> RandomStream {
    Seed::new(seed).stream(StreamPurpose::ClientTemplates, 0)
}

/// Where this crate's server puts S1's digest for a client of the kind `spec`.
fn trusted(spec: &C1Spec) -> S1Digest {
    match spec.mode {
        HandshakeMode::Simple => S1Digest::Absent,
        HandshakeMode::Complex => S1Digest::At(spec.digest_at),
    }
}

fn expected(spec: &C1Spec, check: Check) -> Negotiated {
    match (spec.mode, check) {
        (HandshakeMode::Simple, _) => Negotiated::Simple,
        (HandshakeMode::Complex, Check::Full) => Negotiated::ComplexVerified,
        (HandshakeMode::Complex, _) => Negotiated::ComplexUnverified,
    }
}

fn digest_at() -> impl Strategy<Value = DigestAt> {
    prop_oneof![Just(DigestAt::FirstHalf), Just(DigestAt::SecondHalf)]
}

fn spec() -> impl Strategy<Value = C1Spec> {
    prop_oneof![Just(FIRST), Just(SECOND), Just(SIMPLE)]
}

fn check() -> impl Strategy<Value = Check> {
    prop_oneof![
        Just(Check::Full),
        Just(Check::Locate),
        Just(Check::Trust(S1Digest::Absent)),
        digest_at().prop_map(|at| Check::Trust(S1Digest::At(at))),
    ]
}
