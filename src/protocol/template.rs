//! What a handshake can have ready before its connection exists: openings (C0C1, S1) and the filler of responses.

use std::fmt;

use rand::Rng;

use super::digest::{RESPONSE_DIGEST_AT, ResponseKey, Signer};
use super::profile::{Afterwards, C1Digest, C2Rule, ClientClock, ClientSpec, Opening, Pacing};
use super::wire::{self, BLOCK_SIZE, Block, C0C1_SIZE, C2_SIZE};
use super::{DigestAt, HandshakeMode};
use crate::base::RandomStream;

/// What distinguishes one kind of client's C1 from another's; the rest of it is filler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct C1Spec {
    /// Whether C1 is signed.
    pub mode: HandshakeMode,
    /// Where a signed C1 holds its digest; without meaning in simple mode.
    pub digest_at: DigestAt,
    /// The client's clock, in ms by the specification, in s by some clients.
    pub time: u32,
    /// The client's software version; zero in simple mode, not zero in complex mode, or servers take C1 for a simple one.
    pub version: [u8; 4],
}

impl C1Spec {
    /// A signed C1: time 0 and version 128.0.7.2, as ZLMediaKit sends as a client.
    pub const fn complex(at: DigestAt) -> Self {
        Self { mode: HandshakeMode::Complex, digest_at: at, time: 0, version: [0x80, 0x00, 0x07, 0x02] }
    }

    /// A C1 by the published specification: time and version are zero.
    pub const fn simple() -> Self {
        Self { mode: HandshakeMode::Simple, digest_at: DigestAt::FirstHalf, time: 0, version: [0; 4] }
    }
}

/// A pool of openings made before the load starts: C0C1s, each with the keyed HMAC state that verifies its S2, or what a
/// hostile client sends in their place.
///
/// Real clients do the same or less: ffmpeg sends one constant C1 for ever.
pub struct ClientTemplates {
    mode: HandshakeMode,
    digest_at: DigestAt,
    count: usize,
    opening_len: usize,
    bytes: Box<[u8]>,
    /// One for each C1 in complex mode, none in simple mode.
    s2_keys: Box<[ResponseKey]>,
    /// A C2 without its digest.
    c2_filler: Box<[u8; RESPONSE_DIGEST_AT]>,
    c2_rule: C2Rule,
    pacing: Pacing,
    afterwards: Afterwards,
}

impl ClientTemplates {
    /// Bytes that they take.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.bytes) + size_of_val(&*self.s2_keys) + size_of_val(&*self.c2_filler)
    }

    /// Draws `count` C0C1s of the kind `spec`, and signs them in complex mode. The offset bytes are random too, so the
    /// digest's place differs from one to the next. C2 is by the book ([`C2Rule::SHAKEDOWN`]).
    ///
    /// # Panics
    /// If `count` is zero or a template's index would not fit 16 bits, or if a complex `spec` has version zero.
    pub fn sign(spec: &C1Spec, count: usize, random: &mut RandomStream) -> Self {
        Self::draw(spec, &ClientSpec::shakedown(spec.mode, spec.digest_at), count, random)
    }

    /// Draws up to `count` openings as the client that `spec` describes sends them, all at the time that `clock` shows; one
    /// is enough for a client whose opening is constant.
    ///
    /// # Panics
    /// As [`Self::sign`].
    pub fn of_client(spec: &ClientSpec, clock: ClientClock, count: usize, random: &mut RandomStream) -> Self {
        let count = if spec.is_constant() { count.min(1) } else { count };
        Self::draw(&spec.c1(clock), spec, count, random)
    }

    fn draw(c1: &C1Spec, client: &ClientSpec, count: usize, random: &mut RandomStream) -> Self {
        assert_countable(count);
        assert!(c1.mode == HandshakeMode::Simple || c1.version != [0; 4], "a complex C1 has a non-zero version");
        let opening_len = client.opening.size();
        let mut bytes = Vec::with_capacity(count * opening_len);
        let mut s2_keys = Vec::new();
        for _ in 0..count {
            if let Opening::Bytes(fixed) = client.opening {
                bytes.extend_from_slice(fixed);
                continue;
            }
            let mut block = opening(c1.time, c1.version);
            client.filler.fill_c1(&mut block, random);
            if c1.mode == HandshakeMode::Complex {
                sign_c1(&mut block, c1.digest_at, client.digest);
                s2_keys.push(Signer::Server.response_key(&block, c1.digest_at));
            }
            bytes.push(client.c0);
            bytes.extend_from_slice(&block[..BLOCK_SIZE.min(opening_len - 1)]);
            if let Opening::C0C1C2 = client.opening {
                let mut c2 = [0; C2_SIZE];
                random.fill_bytes(&mut c2);
                bytes.extend_from_slice(&c2);
            }
        }
        Self {
            mode: c1.mode,
            digest_at: c1.digest_at,
            count,
            opening_len,
            bytes: bytes.into(),
            s2_keys: s2_keys.into(),
            c2_filler: client.filler.c2(random),
            c2_rule: client.c2,
            pacing: client.pacing,
            afterwards: client.afterwards,
        }
    }

    /// A pool of one: the C0C1 of a recorded handshake, so that its server's answer can be checked. The mode is what
    /// C1's digest says; C2's filler repeats C1. `None` if `c0c1` is not 1537 bytes long.
    pub fn from_recorded(c0c1: &[u8]) -> Option<Self> {
        let c0c1: &[u8; C0C1_SIZE] = c0c1.try_into().ok()?;
        let c1 = wire::opening_block(c0c1)?;
        let found = Signer::Player.find(c1, DigestAt::FirstHalf);
        Some(Self {
            mode: if found.is_some() { HandshakeMode::Complex } else { HandshakeMode::Simple },
            digest_at: found.unwrap_or(DigestAt::FirstHalf),
            count: 1,
            opening_len: C0C1_SIZE,
            bytes: c0c1.to_vec().into(),
            s2_keys: found.map(|at| Signer::Server.response_key(c1, at)).into_iter().collect(),
            c2_filler: Box::new(*c1.first_chunk()?),
            c2_rule: C2Rule::SHAKEDOWN,
            pacing: Pacing::AtOnce,
            afterwards: Afterwards::Handshake,
        })
    }

    /// Whether the C1s are signed.
    pub fn mode(&self) -> HandshakeMode {
        self.mode
    }

    /// How many openings there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Bytes of each opening: 1537, and any number that fits 16 bits for hostile clients.
    pub fn opening_len(&self) -> usize {
        self.opening_len
    }

    /// All openings back to back: the one with index `i` begins at `i * opening_len()`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes of one opening.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    pub fn opening(&self, index: usize) -> &[u8] {
        assert!(index < self.count, "opening {index} of {}", self.count);
        &self.bytes[index * self.opening_len..][..self.opening_len]
    }

    /// The 1537 bytes of one C0C1.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`], or if the opening holds no whole C0C1.
    pub fn c0c1(&self, index: usize) -> &[u8] {
        &self.opening(index)[..C0C1_SIZE]
    }

    /// How an opening is cut into sends.
    pub fn pacing(&self) -> Pacing {
        self.pacing
    }

    /// What the client does when its opening is out. Only those that go on with the handshake may show an answer to a
    /// [`ClientHandshake`](super::ClientHandshake).
    pub fn afterwards(&self) -> Afterwards {
        self.afterwards
    }

    pub(super) fn c1(&self, index: u16) -> &Block {
        wire::opening_block(self.c0c1(index.into())).expect("a template holds a whole C1")
    }

    /// Where the C1s hold their digest, which is where many servers put S1's.
    pub(super) fn digest_at(&self) -> DigestAt {
        self.digest_at
    }

    /// What verifies the S2 that answers a template of a complex pool.
    pub(super) fn s2_key(&self, index: u16) -> &ResponseKey {
        &self.s2_keys[usize::from(index)]
    }

    pub(super) fn c2_filler(&self) -> &[u8; RESPONSE_DIGEST_AT] {
        &self.c2_filler
    }

    pub(super) fn c2_rule(&self) -> C2Rule {
        self.c2_rule
    }
}

impl fmt::Debug for ClientTemplates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTemplates").field("mode", &self.mode).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A pool of S1s made before the first client comes, each in three forms, so that an answer to a complex C1 costs the
/// HMACs that find C1's digest and sign S2, and an answer to a simple C1 costs none.
pub struct ServerTemplates {
    answers: Box<[S1Forms]>,
    /// An S2 without its digest.
    s2_filler: Box<[u8; RESPONSE_DIGEST_AT]>,
}

impl ServerTemplates {
    /// Draws `count` S1s, signs them for both places of the digest, and draws as many for simple clients.
    ///
    /// # Panics
    /// If `count` is zero or a template's index would not fit 16 bits.
    pub fn sign(count: usize, random: &mut RandomStream) -> Self {
        assert_countable(count);
        let answers = (0..count)
            .map(|_| S1Forms {
                first_half: SignedS1::draw(DigestAt::FirstHalf, random),
                second_half: SignedS1::draw(DigestAt::SecondHalf, random),
                simple: random_block(random, SERVER_TIME, [0; 4]),
            })
            .collect();
        let mut s2_filler = Box::new([0; RESPONSE_DIGEST_AT]);
        random.fill_bytes(&mut s2_filler[..]);
        Self { answers, s2_filler }
    }

    /// How many S1s of each form there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// The S1 for a client whose C1 holds no digest.
    pub(super) fn simple_s1(&self, index: u16) -> &Block {
        &self.answers[usize::from(index)].simple
    }

    /// The S1 that holds its digest at `at`.
    pub(super) fn signed_s1(&self, index: u16, at: DigestAt) -> &SignedS1 {
        let forms = &self.answers[usize::from(index)];
        match at {
            DigestAt::FirstHalf => &forms.first_half,
            DigestAt::SecondHalf => &forms.second_half,
        }
    }

    pub(super) fn s2_filler(&self) -> &[u8; RESPONSE_DIGEST_AT] {
        &self.s2_filler
    }
}

impl fmt::Debug for ServerTemplates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTemplates").field("len", &self.len()).finish_non_exhaustive()
    }
}

struct S1Forms {
    first_half: SignedS1,
    second_half: SignedS1,
    simple: Block,
}

/// An S1 with the keyed HMAC state that verifies its C2.
pub(super) struct SignedS1 {
    pub(super) block: Block,
    pub(super) c2_key: ResponseKey,
}

impl SignedS1 {
    fn draw(at: DigestAt, random: &mut RandomStream) -> Self {
        let mut block = random_block(random, SERVER_TIME, SERVER_VERSION);
        Signer::Server.sign(&mut block, at);
        let c2_key = Signer::Player.response_key(&block, at);
        Self { block, c2_key }
    }
}

/// S1's time: the server's clock starts with the handshake.
const SERVER_TIME: u32 = 0;
/// 4.5.0.1, a Flash Media Server. ffmpeg signs its C2 only for a major version of at least 3.
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];

fn sign_c1(c1: &mut Block, at: DigestAt, digest: C1Digest) {
    Signer::Player.sign(c1, at);
    if digest == C1Digest::OneBitWrong {
        let place = at.digest_range(c1);
        c1[place.start] ^= 1;
    }
}

fn assert_countable(count: usize) {
    assert!((1..=1 << 16).contains(&count), "{count} templates: expected 1 to 65536");
}

/// Filler is random everywhere: the 128-byte key block in it must pass for a Diffie-Hellman public value, and SRS closes
/// the connection when it is zero.
fn random_block(random: &mut RandomStream, time: u32, version: [u8; 4]) -> Block {
    let mut block = opening(time, version);
    random.fill_bytes(&mut block[wire::ECHOED]);
    block
}

/// A block without its filler.
fn opening(time: u32, version: [u8; 4]) -> Block {
    let mut block = [0; BLOCK_SIZE];
    block[wire::TIME].copy_from_slice(&time.to_be_bytes());
    block[wire::VERSION].copy_from_slice(&version);
    block
}
