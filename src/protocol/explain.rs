//! Recorded handshakes, explained.

use serde::{Deserialize, Serialize};

use super::digest::Signer;
use super::wire::{self, Block};
use super::{DigestAt, HandshakeMode};

/// Everything that can be told from the bytes of a handshake. What the bytes are too short to tell is `None`.
///
/// Digest positions are counted from the start of C1 or S1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// C0.
    pub version_byte: Option<u8>,
    /// S0.
    pub s0_version_byte: Option<u8>,
    /// What C1 asks for: complex if it holds its digest.
    pub asked: Option<HandshakeMode>,
    /// What was answered: complex if S1's and S2's digests verify, else simple if S2 repeats bytes 8..1536 of C1;
    /// unknown if neither.
    pub negotiated: Option<HandshakeMode>,
    /// Bytes 0..8 of C1 in hexadecimal.
    pub c1_time_version: Option<String>,
    /// C1's time, in ms by the specification, in s by some clients.
    pub c1_time: Option<u32>,
    /// The half of C1 that holds its digest.
    pub c1_digest_at: Option<DigestAt>,
    /// Where C1's digest begins.
    pub c1_digest_position: Option<usize>,
    /// Bytes 0..8 of S1 in hexadecimal. The last four are a version in complex mode; in simple mode they may be anything.
    pub s1_time_version: Option<String>,
    /// S1's time.
    pub s1_time: Option<u32>,
    /// The half of S1 that holds its digest.
    pub s1_digest_at: Option<DigestAt>,
    /// Where S1's digest begins.
    pub s1_digest_position: Option<usize>,
    /// Whether S1 is printable ASCII but for its first eight bytes and its digest.
    pub s1_filler_is_text: Option<bool>,
    /// Whether S1 equals C1 in all 1536 bytes.
    pub s1_is_c1: Option<bool>,
    /// Whether S2 is signed from C1's digest.
    pub s2_digest_verifies: Option<bool>,
    /// Whether S2 equals C1 in all 1536 bytes.
    pub s2_echoes_c1: Option<bool>,
    /// Whether S2 repeats bytes 8..1536 of C1.
    pub s2_random_part_is_c1: Option<bool>,
    /// Whether C2 is signed from S1's digest.
    pub c2_digest_verifies: Option<bool>,
    /// Whether C2 equals S1 in all 1536 bytes.
    pub c2_echoes_s1: Option<bool>,
    /// Whether C2 repeats bytes 8..1536 of S1.
    pub c2_random_part_is_s1: Option<bool>,
}

/// Explains a handshake from what the client sent first, what the server answered and what the client sent then. Each
/// may be cut short, empty, or followed by other bytes.
pub fn explain(c0c1: &[u8], s0s1s2: &[u8], c2: &[u8]) -> Explanation {
    let c1 = wire::opening_block(c0c1);
    let s1 = wire::opening_block(s0s1s2);
    let s2 = wire::response_block(s0s1s2);
    let c2: Option<&Block> = c2.first_chunk();

    let c1_digest_at = c1.and_then(|c1| Signer::Player.find(c1, DigestAt::FirstHalf));
    let s1_digest_at = s1.and_then(|s1| Signer::Server.find(s1, DigestAt::FirstHalf));
    let s2_digest_verifies = s2.zip(c1).map(|(s2, c1)| is_signed(s2, Signer::Server, c1, c1_digest_at));
    let s2_random_part_is_c1 = s2.zip(c1).map(|(s2, c1)| wire::echoes(s2, c1));

    Explanation {
        version_byte: c0c1.first().copied(),
        s0_version_byte: s0s1s2.first().copied(),
        asked: c1.map(|_| if c1_digest_at.is_some() { HandshakeMode::Complex } else { HandshakeMode::Simple }),
        negotiated: if s1_digest_at.is_some() && s2_digest_verifies == Some(true) {
            Some(HandshakeMode::Complex)
        } else if s2_random_part_is_c1 == Some(true) {
            Some(HandshakeMode::Simple)
        } else {
            None
        },
        c1_time_version: c0c1.get(1..).and_then(time_version),
        c1_time: c0c1.get(1..).and_then(time),
        c1_digest_at,
        c1_digest_position: digest_position(c1, c1_digest_at),
        s1_time_version: s0s1s2.get(1..).and_then(time_version),
        s1_time: s0s1s2.get(1..).and_then(time),
        s1_digest_at,
        s1_digest_position: digest_position(s1, s1_digest_at),
        s1_filler_is_text: s1.map(|s1| is_text(s1, s1_digest_at)),
        s1_is_c1: s1.zip(c1).map(|(s1, c1)| s1 == c1),
        s2_digest_verifies,
        s2_echoes_c1: s2.zip(c1).map(|(s2, c1)| s2 == c1),
        s2_random_part_is_c1,
        c2_digest_verifies: c2.zip(s1).map(|(c2, s1)| is_signed(c2, Signer::Player, s1, s1_digest_at)),
        c2_echoes_s1: c2.zip(s1).map(|(c2, s1)| c2 == s1),
        c2_random_part_is_s1: c2.zip(s1).map(|(c2, s1)| wire::echoes(c2, s1)),
    }
}

fn is_signed(response: &Block, signer: Signer, answered: &Block, digest_at: Option<DigestAt>) -> bool {
    digest_at.is_some_and(|at| signer.response_key(answered, at).verifies(response))
}

fn is_text(block: &Block, digest_at: Option<DigestAt>) -> bool {
    let digest = digest_at.map_or(0..0, |at| at.digest_range(block));
    let filler = (wire::VERSION.end..block.len()).filter(|index| !digest.contains(index));
    filler.into_iter().all(|index| matches!(block[index], b' '..=b'~'))
}

fn digest_position(block: Option<&Block>, at: Option<DigestAt>) -> Option<usize> {
    block.zip(at).map(|(block, at)| at.digest_range(block).start)
}

fn time_version(block: &[u8]) -> Option<String> {
    Some(block.get(..wire::VERSION.end)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn time(block: &[u8]) -> Option<u32> {
    block.first_chunk().map(|time| u32::from_be_bytes(*time))
}
