//! Digests of the complex handshake: HMAC-SHA256 under keys that every player and server carries.
//!
//! C1 and S1 each hold a digest of themselves. C2 and S2 end in a digest of their own, keyed by the digest they answer:
//! S2 by C1's, C2 by S1's.

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::DigestAt;
use super::wire::{BLOCK_SIZE, Block, DIGEST_SIZE};

/// Where the digest of C2 and S2 begins; it covers everything before it.
pub(super) const RESPONSE_DIGEST_AT: usize = BLOCK_SIZE - DIGEST_SIZE;

type HmacSha256 = Hmac<Sha256>;

/// Whose keys sign: C1 and C2 are signed by the player, S1 and S2 by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    Player,
    Server,
}

impl Signer {
    /// Writes the digest of `block`, a C1 or S1, where its offset bytes say.
    pub(super) fn sign(self, block: &mut Block, at: DigestAt) {
        let digest = self.digest_of(block, at);
        let range = at.digest_range(block);
        block[range].copy_from_slice(&digest);
    }

    /// Whether `block`, a C1 or S1, holds its digest at `at`.
    pub(super) fn verifies(self, block: &Block, at: DigestAt) -> bool {
        self.digest_of(block, at) == block[at.digest_range(block)]
    }

    /// Where `block`, a C1 or S1, holds its digest, if anywhere; each place costs one HMAC, `first` is tried first.
    pub(super) fn find(self, block: &Block, first: DigestAt) -> Option<DigestAt> {
        [first, first.other()].into_iter().find(|&at| self.verifies(block, at))
    }

    /// The key of this side's C2 or S2, which answers an S1 or C1 that holds its digest at `at`.
    pub(super) fn response_key(self, answered: &Block, at: DigestAt) -> ResponseKey {
        let full_key = match self {
            Self::Player => &KEYS.player_full,
            Self::Server => &KEYS.server_full,
        };
        let key = finish(full_key.clone().chain_update(&answered[at.digest_range(answered)]));
        ResponseKey(keyed(&key))
    }

    /// HMAC of the two pieces around the digest.
    fn digest_of(self, block: &Block, at: DigestAt) -> [u8; DIGEST_SIZE] {
        let text_key = match self {
            Self::Player => &KEYS.player_text,
            Self::Server => &KEYS.server_text,
        };
        let digest = at.digest_range(block);
        finish(text_key.clone().chain_update(&block[..digest.start]).chain_update(&block[digest.end..]))
    }
}

/// Signs and verifies the C2 or S2 that answers one particular digest; the keyed state costs four SHA-256 blocks to make
/// and nothing to use again.
#[derive(Clone)]
pub(super) struct ResponseKey(HmacSha256);

impl ResponseKey {
    /// Writes the digest into the last 32 bytes of `response`, a C2 or S2.
    pub(super) fn sign(&self, response: &mut Block) {
        let digest = self.digest_of(response);
        response[RESPONSE_DIGEST_AT..].copy_from_slice(&digest);
    }

    /// Whether the last 32 bytes of `response`, a C2 or S2, are its digest.
    pub(super) fn verifies(&self, response: &Block) -> bool {
        self.digest_of(response) == response[RESPONSE_DIGEST_AT..]
    }

    fn digest_of(&self, response: &Block) -> [u8; DIGEST_SIZE] {
        finish(self.0.clone().chain_update(&response[..RESPONSE_DIGEST_AT]))
    }
}

const PLAYER_TEXT: &[u8; 30] = b"Genuine Adobe Flash Player 001";
const SERVER_TEXT: &[u8; 36] = b"Genuine Adobe Flash Media Server 001";
/// Follows either text in the full keys, which sign C2 and S2.
const FULL_KEY_TAIL: [u8; 32] = [
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57, 0x6E, 0xEC, 0x5D,
    0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];

/// HMAC states that have taken in their key.
struct Keys {
    player_text: HmacSha256,
    player_full: HmacSha256,
    server_text: HmacSha256,
    server_full: HmacSha256,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    player_text: keyed(PLAYER_TEXT),
    player_full: keyed(&[&PLAYER_TEXT[..], &FULL_KEY_TAIL].concat()),
    server_text: keyed(SERVER_TEXT),
    server_full: keyed(&[&SERVER_TEXT[..], &FULL_KEY_TAIL].concat()),
});

fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn finish(mac: HmacSha256) -> [u8; DIGEST_SIZE] {
    mac.finalize().into_bytes().into()
}
