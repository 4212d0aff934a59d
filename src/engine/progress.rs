//! What a connection begins with, and what it has come to after each completion.

use crate::base::Time;
use crate::measure::{Failure, Reaction, SessionTimes};
use crate::protocol::{ClientHandshake, Negotiated, S1Digest};

/// What a connection begins with once it is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub handshake: ClientHandshake,
    pub template: u16,
    pub hostile: bool,
    /// The target wants TLS.
    pub tls: bool,
}

/// What a completion led to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// The attempt goes on.
    Pending,
    /// The attempt goes on; its deadline is this instant from now on.
    Wakes(Time),
    /// S0S1 has just become complete; says where S1's digest lies.
    S0S1(S1Digest),
    /// S2 is in and C2 is out. No op is in flight.
    Complete(Milestones),
    /// A hostile client's attempt is over: what the target did. Ops may be in flight.
    Reacted(Reaction),
    /// The attempt is over. Ops may be in flight.
    Failed(Failure),
}

/// The instants of a completed handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Milestones {
    pub connected: Time,
    pub secured: Option<Time>,
    pub sent: Time,
    pub handshake: Handshaken,
    pub session: Option<SessionTimes>,
    pub complete: Time,
}

/// A handshake that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshaken {
    pub s0s1: Time,
    pub s2: Time,
    pub negotiated: Negotiated,
}
