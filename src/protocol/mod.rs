//! The RTMP handshake and the session after it, both sides, pure: they receive bytes and never fetch them.
//!
//! ```text
//! client                                   server
//!   | -- C0 C1 (1 + 1536) -----------------> |
//!   | <----------- S0 S1 S2 (1 + 1536 + 1536) |   in one, two or three writes, by server
//!   | -- C2 (1536) ------------------------> |
//! ```
//!
//! Some servers send S2 only after they have C2, so a client sends C2 as soon as S0S1 is complete. Bytes may follow S2
//! and C2 at once; they belong to the next stage of the protocol.
//!
//! Adobe's RTMP specification 1.0, section 5.2, describes the *simple* handshake: each side echoes the other's block.
//! The *complex* handshake, which players and servers speak since Flash Player 9, was never published: what this module
//! knows of it is checked against the captured handshakes in `tests/vectors`.
//!
//! [`ClientHandshake`] and [`ServerHandshake`] are a few bytes of plain state. They look at the caller's receive buffer,
//! which holds all bytes of the handshake, and keep no copy of it; what can be computed before a connection exists is in
//! [`ClientTemplates`] and [`ServerTemplates`]. [`explain`] tells everything that recorded bytes tell.
//!
//! [`transcript`] does so for the session behind it.
//!
//! [`media`] is what a publisher sends once it may: an FLV file ([`flv`]) or synthetic media, as chunks.

pub mod amf0;
mod client;
mod digest;
mod explain;
mod fingerprint;
pub mod flv;
pub mod media;
mod profile;
mod server;
pub mod session;
mod template;
#[cfg(test)]
mod tests;
mod tls_fault;
pub mod transcript;
mod violation;
mod wire;

pub use client::{Check, ClientHandshake, ClientState, Negotiated, S1Digest};
pub use explain::{Explanation, explain};
pub use fingerprint::{ClientGuess, likely_clients, likely_server};
pub use profile::{
    Afterwards, C1Digest, C1Time, C2Rule, C2Signing, ClientClock, ClientProfile, ClientSpec, Filler, Opening, Pacing,
    Provenance, UnknownProfile, UrlRule,
};
pub use server::{C2Verdict, ServerHandshake, ServerState};
pub use template::{C1Spec, ClientTemplates, ServerTemplates};
pub use tls_fault::TlsFault;
pub use violation::{OtherProtocol, Violation};
pub use wire::{BLOCK_SIZE, C0C1_SIZE, C2_SIZE, RTMP_VERSION, S0S1_SIZE, S0S1S2_SIZE};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::table::{Choice, choices};

choices! {
    /// Whether a handshake carries digests.
    pub enum HandshakeMode {
        /// Random bytes and their echo.
        Simple = "simple",
        /// Digests in C1, S1, C2 and S2.
        Complex = "complex",
    }
}

/// Which half of C1 or S1 holds the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestAt {
    /// Offset bytes at 8..12. Others call it schema 1, or base 8.
    FirstHalf,
    /// Offset bytes at 772..776. Others call it schema 0, or base 772.
    SecondHalf,
}

impl Choice for DigestAt {
    const ALL: &'static [Self] = &[Self::FirstHalf, Self::SecondHalf];

    fn name(self) -> &'static str {
        match self {
            Self::FirstHalf => "first-half",
            Self::SecondHalf => "second-half",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::FirstHalf => "Offset bytes at 8..12 (\"schema 1\")",
            Self::SecondHalf => "Offset bytes at 772..776 (\"schema 0\")",
        }
    }
}

impl fmt::Display for DigestAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FirstHalf => "first half",
            Self::SecondHalf => "second half",
        })
    }
}
