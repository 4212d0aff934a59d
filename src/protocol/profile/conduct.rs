//! What a client does with its connection: what it sends first, how that is cut, and what it does then.

use crate::base::Nanos;
use crate::protocol::wire::{BLOCK_SIZE, C0C1_SIZE, C2_SIZE};

/// What a client sends before it has read anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// C0 and C1: 1537 bytes.
    C0C1,
    /// C0 and the first half of C1: 769 bytes.
    HalfC1,
    /// C0, C1 and 1536 random bytes in the place of C2, which nobody can know before S1: 3073 bytes.
    C0C1C2,
    /// These bytes, which are no handshake; they may be none. Mode, C1 and C2 of the client are without meaning.
    Bytes(&'static [u8]),
}

/// How the opening is cut into sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// One send.
    AtOnce,
    /// Two sends.
    Split {
        /// Bytes of the first send.
        first: u16,
        /// From the end of the first send to the second; zero is one after the other.
        gap: Nanos,
    },
    /// A send for each byte.
    Drip {
        /// From the end of a send to the next.
        gap: Nanos,
    },
}

/// What a client does when its opening is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// The rest of the handshake: C2, as its rule says, once S0S1 is complete.
    Handshake,
    /// The rest of the handshake, but it sends no C2: it reads the answer, then waits for what the server does.
    WithoutC2,
    /// The rest of the handshake with a C2 of the right layout whose digest, or echo, is wrong
    /// ([`ClientHandshake::write_wrong_c2`](crate::protocol::ClientHandshake::write_wrong_c2)).
    WrongC2,
    /// Nothing: it never looks at an answer and waits for what the server does.
    Nothing,
    /// Closes at once.
    Close,
}

impl Opening {
    /// How many bytes it has.
    pub const fn size(self) -> usize {
        match self {
            Self::C0C1 => C0C1_SIZE,
            Self::HalfC1 => 1 + BLOCK_SIZE / 2,
            Self::C0C1C2 => C0C1_SIZE + C2_SIZE,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl Pacing {
    /// Bytes of the send that follows the first `sent` of an opening of `size` bytes; zero when all are sent.
    pub fn next_send(self, sent: usize, size: usize) -> usize {
        let rest = size - sent;
        match self {
            Self::AtOnce => rest,
            Self::Split { first, .. } if sent == 0 => rest.min(first.into()),
            Self::Split { .. } => rest,
            Self::Drip { .. } => rest.min(1),
        }
    }

    /// How long a send waits after the end of the one before it.
    pub const fn gap(self) -> Nanos {
        match self {
            Self::AtOnce => Nanos::ZERO,
            Self::Split { gap, .. } | Self::Drip { gap } => gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sends of an opening of `size` bytes.
    fn sends(pacing: Pacing, size: usize) -> Vec<usize> {
        let mut sent = 0;
        std::iter::from_fn(|| {
            let next = pacing.next_send(sent, size);
            sent += next;
            (next > 0).then_some(next)
        })
        .collect()
    }

    #[test]
    fn openings_are_cut_as_paced() {
        let gap = Nanos::from_millis(50);
        assert_eq!(sends(Pacing::AtOnce, 3073), [3073]);
        assert_eq!(sends(Pacing::Split { first: 1536, gap }, 1537), [1536, 1]);
        assert_eq!(sends(Pacing::Split { first: 1, gap: Nanos::ZERO }, 1537), [1, 1536]);
        assert_eq!(sends(Pacing::Split { first: 1536, gap }, 769), [769], "shorter than its first send");
        assert_eq!(sends(Pacing::Drip { gap }, 1537), [1; 1537]);
        for pacing in [Pacing::AtOnce, Pacing::Split { first: 1, gap }, Pacing::Drip { gap }] {
            assert!(sends(pacing, 0).is_empty());
        }
        assert_eq!((Pacing::AtOnce.gap(), Pacing::Drip { gap }.gap()), (Nanos::ZERO, gap));
    }
}
