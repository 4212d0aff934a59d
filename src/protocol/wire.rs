//! Sizes of the handshake's parts and the layout of its 1536-byte blocks.

use std::ops::Range;

use super::DigestAt;

/// The version byte (C0, S0) of plain RTMP.
pub const RTMP_VERSION: u8 = 3;
/// Size of each of C1, S1, C2 and S2.
pub const BLOCK_SIZE: usize = 1536;
/// Size of an HMAC-SHA256.
pub(super) const DIGEST_SIZE: usize = 32;
/// Size of C0 and C1 together.
pub const C0C1_SIZE: usize = 1 + BLOCK_SIZE;
/// Size of S0 and S1 together.
pub const S0S1_SIZE: usize = 1 + BLOCK_SIZE;
/// Size of all that a server sends.
pub const S0S1S2_SIZE: usize = S0S1_SIZE + BLOCK_SIZE;
/// Size of C2.
pub const C2_SIZE: usize = BLOCK_SIZE;

/// One of C1, S1, C2 and S2.
pub(super) type Block = [u8; BLOCK_SIZE];

/// The sender's clock in ms, big-endian.
pub(super) const TIME: Range<usize> = 0..4;
/// In C1 and S1: the sender's software version in complex mode, zero in simple mode.
pub(super) const VERSION: Range<usize> = 4..8;
/// In an echoing C2 and S2: when the echoed block was read, in ms, big-endian.
pub(super) const TIME2: Range<usize> = 4..8;
/// What an echo repeats for certain. The bytes before it are the times, which servers set, clear and copy as they like.
pub(super) const ECHOED: Range<usize> = 8..BLOCK_SIZE;

/// C1 or S1 in all bytes from C0 or S0 on, once it is complete.
pub(super) fn opening_block(received: &[u8]) -> Option<&Block> {
    received.get(1..)?.first_chunk()
}

/// C2 or S2 in all bytes from C0 or S0 on, once it is complete.
pub(super) fn response_block(received: &[u8]) -> Option<&Block> {
    received.get(1 + BLOCK_SIZE..)?.first_chunk()
}

/// Whether `response` repeats the random bytes of `opening`.
pub(super) fn echoes(response: &Block, opening: &Block) -> bool {
    response[ECHOED] == opening[ECHOED]
}

impl DigestAt {
    /// Where the digest lies in `block`, a C1 or S1: the four offset bytes choose one of 728 places in their half.
    pub(super) fn digest_range(self, block: &Block) -> Range<usize> {
        let offset_at = match self {
            Self::FirstHalf => 8,
            Self::SecondHalf => 772,
        };
        let offset: usize = block[offset_at..offset_at + 4].iter().map(|&byte| usize::from(byte)).sum();
        let start = offset_at + 4 + offset % 728;
        start..start + DIGEST_SIZE
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::FirstHalf => Self::SecondHalf,
            Self::SecondHalf => Self::FirstHalf,
        }
    }
}
