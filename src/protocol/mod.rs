//! Layer 1: the RTMP handshake, both sides, pure: it receives bytes and never fetches them.

use serde::{Deserialize, Serialize};

/// Whether a handshake carries digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandshakeMode {
    /// Plain: random bytes and their echo.
    Simple,
    /// Digests in C1, S1, C2 and S2.
    Complex,
}

/// Which half of C1 or S1 holds the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestAt {
    /// Offset bytes at 8..12.
    FirstHalf,
    /// Offset bytes at 772..776.
    SecondHalf,
}
