//! The client's side of one handshake.

use std::fmt;

use serde::Serialize;

use super::digest::{RESPONSE_DIGEST_AT, Signer};
use super::profile::C2Signing;
use super::template::ClientTemplates;
use super::violation::{self, Violation};
use super::wire::{self, Block};
use super::{DigestAt, HandshakeMode};

/// How much of a server's answer is checked. S0 is checked always: it costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// S1's and S2's digests in complex mode, S2's echo in simple mode.
    Full,
    /// S1's digest is found, because C2 is signed from it; S2 is not looked at.
    Locate,
    /// S1's digest is taken from where this server put it before; neither S1 nor S2 is looked at.
    Trust(S1Digest),
}

/// Where S1 holds its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum S1Digest {
    /// In this half; most clients sign C2 from it.
    At(DigestAt),
    /// Nowhere, or nobody asked for one (simple mode); C2 is the echo of S1.
    Absent,
}

/// How far a client's handshake has come. Several states may pass in one [`ClientHandshake::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientState {
    /// Nothing has arrived.
    AwaitingS0,
    /// S0 is in and is RTMP's; S1 is not complete.
    AwaitingS1,
    /// S0S1 is complete and C2 is due; S2 is not complete.
    AwaitingS2,
    /// All 3073 bytes are in. C2 is due if it has not left.
    Done(Negotiated),
}

/// What a completed handshake turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Negotiated {
    /// Complex: S1's and S2's digests verify.
    ComplexVerified,
    /// S1 holds a digest, or is trusted to; S2 was not checked.
    ComplexUnverified,
    /// Simple was asked, simple was answered.
    Simple,
    /// Complex was asked, simple was answered: S2 is the echo of C1 or, where S2 was not checked, S1 holds no digest.
    Downgraded,
}

/// One handshake as its client sees it: a few bytes of state, to which all bytes received so far are shown again and
/// again. Every digest is computed once.
#[derive(Clone, Copy, Debug)]
pub struct ClientHandshake {
    template: u16,
    check: Check,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    AwaitingS0,
    AwaitingS1,
    AwaitingS2 { s1_digest: S1Digest },
    Done { s1_digest: S1Digest, negotiated: Negotiated },
}

const _: () = assert!(size_of::<ClientHandshake>() <= 8, "one lives in every connection in flight");

impl ClientHandshake {
    /// A handshake that opens with the C0C1 of index `template`.
    pub fn new(template: u16, check: Check) -> Self {
        Self { template, check, phase: Phase::AwaitingS0 }
    }

    /// Takes in all bytes `received` so far, from S0 on; call it after each receive. Bytes past S2 are ignored: they
    /// belong to the next stage. `templates` is the pool that C0C1 was sent from.
    pub fn advance(&mut self, received: &[u8], templates: &ClientTemplates) -> Result<ClientState, Violation> {
        if let Phase::AwaitingS0 = self.phase
            && let Some(&s0) = received.first()
        {
            violation::check_s0(s0)?;
            self.phase = Phase::AwaitingS1;
        }
        if let Phase::AwaitingS1 = self.phase
            && let Some(s1) = wire::opening_block(received)
        {
            self.phase = Phase::AwaitingS2 { s1_digest: self.locate_digest(s1, templates) };
        }
        if let Phase::AwaitingS2 { s1_digest } = self.phase
            && let Some(s2) = wire::response_block(received)
        {
            self.phase = Phase::Done { s1_digest, negotiated: self.judge(s1_digest, s2, templates)? };
        }
        Ok(self.state())
    }

    /// How far the handshake has come.
    pub fn state(&self) -> ClientState {
        match self.phase {
            Phase::AwaitingS0 => ClientState::AwaitingS0,
            Phase::AwaitingS1 => ClientState::AwaitingS1,
            Phase::AwaitingS2 { .. } => ClientState::AwaitingS2,
            Phase::Done { negotiated, .. } => ClientState::Done(negotiated),
        }
    }

    /// Where S1 holds what C2 may be signed from; known once S0S1 is complete, which is when C2 is due.
    pub fn s1_digest(&self) -> Option<S1Digest> {
        match self.phase {
            Phase::AwaitingS0 | Phase::AwaitingS1 => None,
            Phase::AwaitingS2 { s1_digest } | Phase::Done { s1_digest, .. } => Some(s1_digest),
        }
    }

    /// Writes the 1536 bytes of C2 into `out` as the client of `templates` does: signed from S1's digest, or the echo of
    /// S1, in which `read_at_ms` may stand as the time S1 was read. `received` is what [`Self::advance`] saw last.
    ///
    /// # Panics
    /// If S0S1 is not complete, or `out` is not 1536 bytes long.
    pub fn write_c2(&self, received: &[u8], templates: &ClientTemplates, read_at_ms: u32, out: &mut [u8]) {
        let s1 = wire::opening_block(received).expect("the bytes of S0S1 are shown again for C2");
        let c2: &mut Block = out.try_into().expect("C2 has 1536 bytes");
        match self.c2_signed_from(s1, templates) {
            Some(at) => {
                let body = match templates.c2_rule().signing {
                    C2Signing::CopyOfS1 => &s1[..RESPONSE_DIGEST_AT],
                    _ => templates.c2_filler(),
                };
                c2[..RESPONSE_DIGEST_AT].copy_from_slice(body);
                Signer::Player.response_key(s1, at).sign(c2);
            }
            None => {
                c2.copy_from_slice(s1);
                if templates.c2_rule().echo_sets_time {
                    c2[wire::TIME2].copy_from_slice(&read_at_ms.to_be_bytes());
                }
            }
        }
    }

    /// Writes a C2 of the right layout that no server should accept: all bits of the digest, or of the echo, are
    /// inverted. For experiments with servers that read C2; most drop it unread.
    ///
    /// # Panics
    /// As [`Self::write_c2`].
    pub fn write_wrong_c2(&self, received: &[u8], templates: &ClientTemplates, read_at_ms: u32, out: &mut [u8]) {
        self.write_c2(received, templates, read_at_ms, out);
        let s1 = wire::opening_block(received).expect("the bytes of S0S1 are shown again for C2");
        let proof = match self.c2_signed_from(s1, templates) {
            Some(_) => &mut out[RESPONSE_DIGEST_AT..],
            None => &mut out[wire::ECHOED],
        };
        proof.iter_mut().for_each(|byte| *byte = !*byte);
    }

    /// Where the digest lies that C2 is signed from; `None` if C2 is an echo.
    fn c2_signed_from(&self, s1: &Block, templates: &ClientTemplates) -> Option<DigestAt> {
        let S1Digest::At(at) = self.s1_digest().expect("C2 is written once S0S1 is complete") else { return None };
        let signed = match templates.c2_rule().signing {
            C2Signing::Never => false,
            C2Signing::Filler | C2Signing::CopyOfS1 => true,
            C2Signing::FillerFromVersion3 => s1[wire::VERSION.start] >= 3,
        };
        signed.then_some(at)
    }

    fn locate_digest(&self, s1: &Block, templates: &ClientTemplates) -> S1Digest {
        match (templates.mode(), self.check) {
            (HandshakeMode::Simple, _) => S1Digest::Absent,
            (HandshakeMode::Complex, Check::Trust(s1_digest)) => s1_digest,
            (HandshakeMode::Complex, Check::Full | Check::Locate) => {
                Signer::Server.find(s1, templates.digest_at()).map_or(S1Digest::Absent, S1Digest::At)
            }
        }
    }

    /// S1 alone does not tell the mode: rml_rtmp signs S1 for simple clients too, and nginx-rtmp returns C1 as S1.
    fn judge(&self, s1_digest: S1Digest, s2: &Block, templates: &ClientTemplates) -> Result<Negotiated, Violation> {
        let echoes_c1 = || wire::echoes(s2, templates.c1(self.template));
        match (templates.mode(), self.check, s1_digest) {
            (HandshakeMode::Simple, Check::Full, _) if !echoes_c1() => Err(Violation::BadEcho),
            (HandshakeMode::Simple, _, _) => Ok(Negotiated::Simple),
            (HandshakeMode::Complex, Check::Full, S1Digest::At(_)) if templates.s2_key(self.template).verifies(s2) => {
                Ok(Negotiated::ComplexVerified)
            }
            (HandshakeMode::Complex, Check::Full, _) if echoes_c1() => Ok(Negotiated::Downgraded),
            (HandshakeMode::Complex, Check::Full, S1Digest::At(_)) => Err(Violation::BadS2Digest),
            (HandshakeMode::Complex, Check::Full, S1Digest::Absent) => Err(Violation::BadS1Digest),
            (HandshakeMode::Complex, _, S1Digest::At(_)) => Ok(Negotiated::ComplexUnverified),
            (HandshakeMode::Complex, _, S1Digest::Absent) => Ok(Negotiated::Downgraded),
        }
    }
}

impl fmt::Display for ClientState {
    /// Fits "closed after 1 byte while {}".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitingS0 => f.pad("awaiting S0"),
            Self::AwaitingS1 => f.pad("awaiting S1"),
            Self::AwaitingS2 => f.pad("awaiting S2"),
            Self::Done(negotiated) => negotiated.fmt(f),
        }
    }
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ComplexVerified => "complex, verified",
            Self::ComplexUnverified => "complex, not verified",
            Self::Simple => "simple",
            Self::Downgraded => "asked complex, answered simple",
        })
    }
}
