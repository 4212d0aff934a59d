//! The server's side of one handshake.

use std::fmt;

use super::digest::{RESPONSE_DIGEST_AT, Signer};
use super::template::ServerTemplates;
use super::violation::{self, Violation};
use super::wire::{self, BLOCK_SIZE, Block, RTMP_VERSION, S0S1S2_SIZE};
use super::{DigestAt, HandshakeMode};

/// How far a server's handshake has come. Several states may pass in one [`ServerHandshake::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    /// Nothing has arrived.
    AwaitingC0,
    /// C0 is in and is RTMP's; C1 is not complete.
    AwaitingC1,
    /// C0C1 is complete and S0S1S2 is due; C2 is not complete.
    AwaitingC2,
    /// All 3073 bytes are in. S0S1S2 is due if it has not left.
    Done(C2Verdict),
}

/// What C2 proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum C2Verdict {
    /// It is signed from S1's digest.
    Valid,
    /// It repeats S1 in bytes 8..1536, as simple clients and publishing ffmpegs do.
    Echo,
    /// Neither.
    Invalid,
    /// Nobody looked.
    Unchecked,
}

/// One handshake as its server sees it: a few bytes of state, to which all bytes received so far are shown again and
/// again. Every digest is computed once.
#[derive(Clone, Copy, Debug)]
pub struct ServerHandshake {
    template: u16,
    check_c2: bool,
    phase: Phase,
}

/// `c1_digest` is where C1 holds its digest; without one the handshake is simple.
#[derive(Clone, Copy, Debug)]
enum Phase {
    AwaitingC0,
    AwaitingC1,
    AwaitingC2 { c1_digest: Option<DigestAt> },
    Done { c1_digest: Option<DigestAt>, verdict: C2Verdict },
}

const _: () = assert!(size_of::<ServerHandshake>() <= 8, "one lives in every connection in flight");

impl ServerHandshake {
    /// A handshake that answers with the S1 of index `template`.
    pub const fn new(template: u16, check_c2: bool) -> Self {
        Self { template, check_c2, phase: Phase::AwaitingC0 }
    }

    /// Takes in all bytes `received` so far, from C0 on; call it after each receive. Bytes past C2 are ignored: they
    /// belong to the next stage. The only violations are those of C0; a wrong C2 is a [`C2Verdict`].
    pub fn advance(&mut self, received: &[u8], templates: &ServerTemplates) -> Result<ServerState, Violation> {
        if let Phase::AwaitingC0 = self.phase
            && let Some(&c0) = received.first()
        {
            violation::check_c0(c0)?;
            self.phase = Phase::AwaitingC1;
        }
        if let Phase::AwaitingC1 = self.phase
            && let Some(c1) = wire::opening_block(received)
        {
            self.phase = Phase::AwaitingC2 { c1_digest: locate_digest(c1) };
        }
        if let Phase::AwaitingC2 { c1_digest } = self.phase
            && let Some(c2) = wire::response_block(received)
        {
            self.phase = Phase::Done { c1_digest, verdict: self.judge(c1_digest, c2, templates) };
        }
        Ok(self.state())
    }

    /// How far the handshake has come.
    pub fn state(&self) -> ServerState {
        match self.phase {
            Phase::AwaitingC0 => ServerState::AwaitingC0,
            Phase::AwaitingC1 => ServerState::AwaitingC1,
            Phase::AwaitingC2 { .. } => ServerState::AwaitingC2,
            Phase::Done { verdict, .. } => ServerState::Done(verdict),
        }
    }

    /// What the client asked for; known once C0C1 is complete, which is when S0S1S2 is due.
    pub fn mode(&self) -> Option<HandshakeMode> {
        self.c1_digest().map(|at| if at.is_some() { HandshakeMode::Complex } else { HandshakeMode::Simple })
    }

    /// Writes the 3073 bytes of S0S1S2 into `out`. For a complex client S1 holds its digest in the half where C1 does,
    /// and S2 is signed from C1's digest; for a simple one S1 has time and version zero, and S2 is C1. `received` is
    /// what [`Self::advance`] saw last.
    ///
    /// # Panics
    /// If C0C1 is not complete, or `out` is not 3073 bytes long.
    pub fn write_s0s1s2(&self, received: &[u8], templates: &ServerTemplates, out: &mut [u8]) {
        let c1_digest = self.c1_digest().expect("S0S1S2 is written once C0C1 is complete");
        let c1 = wire::opening_block(received).expect("the bytes of C0C1 are shown again for S0S1S2");
        let [s0, blocks @ ..]: &mut [u8; S0S1S2_SIZE] = out.try_into().expect("S0S1S2 has 3073 bytes");
        let (s1, s2) = blocks.split_at_mut(BLOCK_SIZE);
        let s2: &mut Block = s2.try_into().expect("S2 is what follows S1");
        *s0 = RTMP_VERSION;
        match c1_digest {
            Some(at) => {
                s1.copy_from_slice(&templates.signed_s1(self.template, at).block);
                s2[..RESPONSE_DIGEST_AT].copy_from_slice(templates.s2_filler());
                Signer::Server.response_key(c1, at).sign(s2);
            }
            None => {
                s1.copy_from_slice(templates.simple_s1(self.template));
                s2.copy_from_slice(c1);
            }
        }
    }

    fn c1_digest(&self) -> Option<Option<DigestAt>> {
        match self.phase {
            Phase::AwaitingC0 | Phase::AwaitingC1 => None,
            Phase::AwaitingC2 { c1_digest } | Phase::Done { c1_digest, .. } => Some(c1_digest),
        }
    }

    fn judge(&self, c1_digest: Option<DigestAt>, c2: &Block, templates: &ServerTemplates) -> C2Verdict {
        if !self.check_c2 {
            return C2Verdict::Unchecked;
        }
        let signed_s1 = c1_digest.map(|at| templates.signed_s1(self.template, at));
        let s1 = signed_s1.map_or(templates.simple_s1(self.template), |signed| &signed.block);
        if signed_s1.is_some_and(|signed| signed.c2_key.verifies(c2)) {
            C2Verdict::Valid
        } else if wire::echoes(c2, s1) {
            C2Verdict::Echo
        } else {
            C2Verdict::Invalid
        }
    }
}

/// A C1 of version zero is simple without a look at its digests, as for nginx-rtmp, lal and ZLMediaKit.
fn locate_digest(c1: &Block) -> Option<DigestAt> {
    if c1[wire::VERSION] == [0; 4] { None } else { Signer::Player.find(c1, DigestAt::FirstHalf) }
}

impl fmt::Display for ServerState {
    /// Fits "closed after 1 byte while {}".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitingC0 => f.pad("awaiting C0"),
            Self::AwaitingC1 => f.pad("awaiting C1"),
            Self::AwaitingC2 => f.pad("awaiting C2"),
            Self::Done(verdict) => verdict.fmt(f),
        }
    }
}

impl fmt::Display for C2Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Valid => "C2 signed",
            Self::Echo => "C2 echoes S1",
            Self::Invalid => "C2 invalid",
            Self::Unchecked => "C2 not checked",
        })
    }
}
