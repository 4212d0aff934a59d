//! Intents, completions and the small names they carry.

use rustix::io::Errno;

use super::buffers::BufferId;

/// A connection's place in a worker's slot table and in the backend's file table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotIndex(pub u32);

/// Index into [`IoPlan::targets`](super::IoPlan).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TargetId(pub u16);

/// Index into [`IoPlan::sources`](super::IoPlan); [`SourceId::ANY`] leaves the choice to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(pub u16);

impl SourceId {
    /// The kernel chooses the local address.
    pub const ANY: Self = Self(u16::MAX);
}

/// Index into [`IoPlan::listeners`](super::IoPlan).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// Which op of a slot a token names. At most one op of each kind is in flight per slot and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpKind {
    /// [`Op::Open`].
    Open = 0,
    /// [`Op::Send`].
    Send = 1,
    /// [`Op::Recv`].
    Recv = 2,
    /// [`Op::Close`].
    Close = 3,
    /// [`Op::Accept`].
    Accept = 4,
    /// [`Op::Secure`].
    Secure = 5,
}

/// Names one op: slot, the slot's generation, and the kind of op. Unique among the ops in flight.
///
/// Layout: slot in bits 0..32, generation (24 bits, wrapping) in 32..56, kind in 56..64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// Generations wrap at this many bits: a stale completion would have to survive 16 million reuses of its slot.
    pub const GENERATION_BITS: u32 = 24;

    /// The token of `kind` on `slot` in `generation` (its low 24 bits).
    pub const fn new(kind: OpKind, slot: SlotIndex, generation: u32) -> Self {
        let generation = generation & ((1 << Self::GENERATION_BITS) - 1);
        Self(slot.0 as u64 | (generation as u64) << 32 | (kind as u64) << 56)
    }

    /// The 64 bits a backend hands to the kernel.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Reads back what [`Token::to_bits`] gave; `None` if the bits name no kind.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if (bits >> 56) as u8 <= OpKind::Secure as u8 { Some(Self(bits)) } else { None }
    }

    /// The slot (for `Accept`: the listener's index).
    pub const fn slot(self) -> SlotIndex {
        SlotIndex(self.0 as u32)
    }

    /// The slot's generation, 24 bits.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & ((1 << Self::GENERATION_BITS) - 1)
    }

    /// The kind of op.
    pub const fn kind(self) -> OpKind {
        match (self.0 >> 56) as u8 {
            0 => OpKind::Open,
            1 => OpKind::Send,
            2 => OpKind::Recv,
            3 => OpKind::Close,
            4 => OpKind::Accept,
            _ => OpKind::Secure,
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}@{}#{}", self.kind(), self.slot().0, self.generation())
    }
}

/// Bytes to send; all of them are sent, or the op fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A range of [`IoPlan::shared_bytes`](super::IoPlan): read-only, never copied per attempt.
    Shared {
        /// First byte.
        offset: u32,
        /// Number of bytes.
        len: u32,
    },
    /// A range of [`IoPlan::media`](super::IoPlan), likewise.
    Media {
        /// First byte.
        offset: u32,
        /// Number of bytes.
        len: u32,
    },
    /// The first `len` bytes of a send buffer, lent until completion.
    Buffer {
        /// A buffer of the send pool.
        buffer: BufferId,
        /// Number of bytes.
        len: u32,
    },
}

/// Where received bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `start..start + len` of a receive buffer, lent until completion.
    Buffer {
        /// A buffer of the receive pool.
        buffer: BufferId,
        /// First byte to fill.
        start: u32,
        /// Most bytes to receive; at least 1.
        len: u32,
    },
    /// The bytes are of no interest (a held connection is only watched): no buffer is occupied.
    Discard,
    /// Nothing is received: the op completes with `Ok(1)` as soon as there is something to receive (bytes, the peer's
    /// FIN, or an error, which the next receive reports). For connections that must answer what comes and own no buffer
    /// until then.
    Readable,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseHow {
    /// RST, no TIME_WAIT (linger 0, or `connect(AF_UNSPEC)`).
    Rst,
    /// An orderly FIN.
    Fin,
}

/// An intent, executed by a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Open a TCP connection to `target` from `source` in the token's slot. Completes with `Ok(0)` when connected.
    Open {
        /// Names the op.
        token: Token,
        /// Where to.
        target: TargetId,
        /// Where from.
        source: SourceId,
        /// Leave TCP_NODELAY off although the plan sets it: the client played does so.
        nagle: bool,
    },
    /// Do the client's side of a TLS handshake on the connection in the token's slot; from its completion on `Send` and
    /// `Recv` of the slot carry plaintext, and the peer's close_notify is received as its FIN is. Completes with `Ok(0)`
    /// after a full handshake, `Ok(1)` after a resumed one. Only [`tls::TlsIo`](super::tls::TlsIo) executes it, on
    /// targets that have TLS; other backends are never asked.
    ///
    /// Errors, beside those of the connection itself (`CONNRESET`, `TIMEDOUT`, ...): `NOTCONN` if the server closed it during
    /// the handshake, else the number of a [`TlsFault`](crate::protocol::TlsFault), which later `Recv`s report likewise.
    Secure {
        /// Names the op.
        token: Token,
    },
    /// Send all of `payload`. Completes with the number of bytes.
    Send {
        /// Names the op.
        token: Token,
        /// What to send.
        payload: Payload,
    },
    /// Receive at least one byte. Completes with the number of bytes, 0 for the peer's FIN. With
    /// [`Destination::Readable`] nothing is received.
    Recv {
        /// Names the op.
        token: Token,
        /// Where to.
        into: Destination,
    },
    /// Close the connection in the token's slot, or give up a slot whose `Open` failed. Completes with `Ok(0)`.
    Close {
        /// Names the op.
        token: Token,
        /// RST or FIN.
        how: CloseHow,
    },
    /// Cancel the op named `of` if it is still in flight. Has no completion of its own.
    Cancel {
        /// The op to cancel.
        of: Token,
    },
    /// Acknowledge what arrives next on the connection of `of` at once, instead of waiting up to 40 ms for something to
    /// send (TCP_QUICKACK, tcp(7), which the next send undoes). A server that leaves Nagle's algorithm on, as nginx-rtmp
    /// does, holds back the rest of an answer until its first bytes are acknowledged. Has no completion; a connection that
    /// is gone is none of its business.
    AcknowledgeAtOnce {
        /// A token of the connection's slot.
        of: Token,
    },
    /// Accept connections for ever. Each completion carries the new connection's slot index.
    Accept {
        /// Names the op; its slot is the listener's index.
        token: Token,
        /// Which listener.
        listener: ListenerId,
    },
}

/// What became of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The op.
    pub token: Token,
    /// Bytes moved, the accepted slot, whether the session was resumed, or 0; or why it failed.
    pub result: Result<u32, Errno>,
}

#[cfg(test)]
impl Op {
    /// The token in it: its own, or that of the op it is about.
    pub(crate) fn token(self) -> Token {
        match self {
            Self::Open { token, .. }
            | Self::Secure { token }
            | Self::Send { token, .. }
            | Self::Recv { token, .. }
            | Self::Close { token, .. }
            | Self::Accept { token, .. } => token,
            Self::Cancel { of } | Self::AcknowledgeAtOnce { of } => of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        for kind in [OpKind::Open, OpKind::Send, OpKind::Recv, OpKind::Close, OpKind::Accept, OpKind::Secure] {
            let token = Token::new(kind, SlotIndex(u32::MAX), 0x1ff_ffff);
            assert_eq!(token.kind(), kind);
            assert_eq!(token.slot(), SlotIndex(u32::MAX));
            assert_eq!(token.generation(), 0xff_ffff);
            assert_eq!(Token::from_bits(token.to_bits()), Some(token));
        }
        assert_eq!(Token::from_bits(u64::MAX), None);
    }

    #[test]
    fn ops_stay_small() {
        assert!(size_of::<Op>() <= 32);
        assert!(size_of::<Completion>() <= 16);
    }
}
