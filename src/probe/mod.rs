//! One connection, explained.
//!
//! [`probe`] makes one connection over a blocking socket, with TLS if it is asked for, shakes hands, and goes on as far
//! as it is asked to: it records what arrives and when, and tells what it means. Whatever the server does is data: a
//! failure is a [`ProbeOutcome`] with its likely cause and the remedy.
//! `report::probe` makes the text for people; serialised, a report has the key names of
//! `tests/vectors/manifest.json`.

mod diagnosis;
mod exchange;
mod refusal;
mod session;
mod stop;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::base::Seed;
use crate::inspect::Trailing;
use crate::io::tls::{TlsClient, TlsFacts};
use crate::measure::{FailureKind, Side, Step, Until};
use crate::protocol::transcript::Conversation;
use crate::protocol::{ClientClock, ClientProfile, DigestAt, Explanation, HandshakeMode, Negotiated};

pub use session::ProbeSession;

/// Makes one connection by `plan`. Takes at most `connect_timeout` + `timeout` + `linger`.
pub fn probe(plan: &ProbePlan) -> ProbeReport {
    exchange::run(plan)
}

/// What to ask of whom, and how long to wait.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    /// The target as the user wrote it.
    pub target: String,
    /// One address of it.
    pub address: SocketAddr,
    /// How the connection is secured, if it is.
    pub tls: Option<TlsClient>,
    /// Whom the probe imitates.
    pub profile: ClientProfile,
    /// The clocks that the client's C1 shows.
    pub clock: ClientClock,
    /// What C1 asks for; of an imitated client, what its own C1 does.
    pub mode: HandshakeMode,
    /// Where C1 holds its digest; without meaning in simple mode.
    pub digest_at: DigestAt,
    /// How far it goes after the handshake; nowhere without one.
    pub session: Option<ProbeSession>,
    /// Timeout of the TCP connect; zero counts as a nanosecond.
    pub connect_timeout: Duration,
    /// Timeout from connected to complete.
    pub timeout: Duration,
    /// How long the connection is watched once it has come as far as was asked: a server that refuses C2 can say so only
    /// by closing.
    pub linger: Duration,
    /// Chooses C1's random bytes.
    pub seed: Seed,
}

/// One handshake and what it tells.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeReport {
    /// The target as the user wrote it.
    pub target: String,
    /// The address that was probed.
    pub address: SocketAddr,
    /// Completed, or how it failed.
    pub outcome: ProbeOutcome,
    /// What the bytes tell. In a failed handshake, what the bytes that crossed tell; C1 is explained even if it was
    /// never sent.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Sizes of the writes that C0C1 left in; empty if it did not leave.
    pub c0c1_segments: Vec<usize>,
    /// Sizes of the pieces that S0S1S2 arrived in, without what followed S2. The network may have joined or split what
    /// the server wrote.
    pub s0s1s2_segments: Vec<usize>,
    /// Servers known to answer so, the best guess first.
    pub likely_servers: Vec<&'static str>,
    /// The durations that a load run measures too.
    pub timings: Timings,
    /// When each step happened.
    pub at: StepTimes,
    /// Every read of the handshake, and of what followed it in the same reads.
    pub reads: Vec<Read>,
    /// What arrived behind S2 before the probe stopped watching.
    pub after_s2: Trailing,
    /// What the server did once it had all that it was to have; `None` if nobody watched or something failed.
    pub after_c2: Option<AfterC2>,
    /// What completed it, or was to complete it.
    pub until: Until,
    /// When that was reached, in nanoseconds since the start of the connect.
    pub reached_ns: Option<u64>,
    /// What was agreed on with TLS, and the server's certificate; `None` without TLS, and if it did not come to be.
    pub tls: Option<TlsFacts>,
    /// What was said behind the handshake, by both sides; `None` if nothing was.
    pub session: Option<Conversation>,
    /// Repeats C1's random bytes.
    pub seed: Seed,
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// It came as far as it was asked to.
    Completed {
        /// What the handshake turned out to be.
        mode: Negotiated,
    },
    /// It did not complete.
    Failed {
        /// What the probe was doing.
        step: Step,
        /// What went wrong.
        kind: FailureKind,
        /// Whose failure it is.
        side: Side,
        /// What happened and why it does, as far as that can be told from outside.
        cause: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Durations in nanoseconds; `None` where the handshake did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timings {
    /// From the start of the connect to the TCP connection.
    pub connect_ns: Option<u64>,
    /// From C0C1's hand-over to the kernel to the first byte of the answer.
    pub s0_ns: Option<u64>,
    /// From C0C1's hand-over to the kernel to the last byte of S1.
    pub s0s1_ns: Option<u64>,
    /// From C0C1's hand-over to the kernel to the last byte of S2.
    pub s2_ns: Option<u64>,
    /// From the start of the connect to the complete handshake: S2 in and C2 out.
    pub total_ns: Option<u64>,
}

/// Instants in nanoseconds since the start of the connect; `None` where the handshake did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepTimes {
    /// The TCP connection is there.
    pub connected_ns: Option<u64>,
    /// The connection is secured; `None` without TLS.
    pub secured_ns: Option<u64>,
    /// C0C1 goes to the kernel.
    pub c0c1_sent_ns: Option<u64>,
    /// The first byte is in.
    pub s0_ns: Option<u64>,
    /// S1 is complete.
    pub s1_ns: Option<u64>,
    /// S2 is complete.
    pub s2_ns: Option<u64>,
    /// C2 has gone to the kernel.
    pub c2_sent_ns: Option<u64>,
    /// The probe stopped watching.
    pub ended_ns: u64,
}

/// One read from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Read {
    /// How much it gave.
    pub bytes: usize,
    /// When, in nanoseconds since the start of the connect.
    pub at_ns: u64,
}

/// What the server did once it had C2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AfterC2 {
    /// What it did.
    pub reaction: Reaction,
    /// When, in nanoseconds since S2 was in and C2 was out; for [`Reaction::StaysOpen`], how long it was watched.
    pub after_ns: u64,
}

/// What a server does that has C2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// It keeps the connection, as it should.
    StaysOpen,
    /// It closes the connection: perhaps it refuses C2.
    Closes,
    /// It resets the connection: perhaps it refuses C2.
    Resets,
    /// It sends without end; the probe stopped reading.
    SendsOn,
}

impl StepTimes {
    /// The durations between the steps.
    pub fn timings(&self) -> Timings {
        let since_c0c1 = |instant: Option<u64>| Some(instant?.saturating_sub(self.c0c1_sent_ns?));
        Timings {
            connect_ns: self.connected_ns,
            s0_ns: since_c0c1(self.s0_ns),
            s0s1_ns: since_c0c1(self.s1_ns),
            s2_ns: since_c0c1(self.s2_ns),
            total_ns: self.s2_ns.zip(self.c2_sent_ns).map(|(s2, c2)| s2.max(c2)),
        }
    }
}
