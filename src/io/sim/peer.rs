//! What a simulated target does: its script and its speed.

use std::sync::Arc;

use super::freeze::Freeze;
use crate::base::Nanos;
use crate::protocol::media::Track;
use crate::protocol::session::{Request, ServerPolicy, ServerSession};

/// A simulated target.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it does with a connection.
    pub script: PeerScript,
    /// How fast it answers a complete C0C1.
    pub service: ServiceModel,
    /// When its application stands still. Its kernel goes on: connections are established, bytes arrive.
    pub freezes: Vec<Freeze>,
    /// A SYN that finds this many connections waiting is lost, and sent again by the client's kernel after 1 s, 2 s and
    /// so on. A connection waits while a frozen application has not accepted it, and while its C0C1 is complete and no
    /// server takes it. `None`: no SYN is lost.
    pub backlog: Option<u32>,
    /// How it goes on with clients that say something after C2, unless its script takes no interest.
    pub sessions: SessionModel,
    /// Bytes that it takes from each client: with a send that goes beyond, its application has stopped reading and all
    /// buffers on the way are full. `None`: it reads for ever.
    pub takes: Option<u64>,
}

/// How a target conducts sessions.
#[derive(Clone, Debug)]
pub struct SessionModel {
    /// What it refuses, and what players get.
    pub policy: ServerPolicy,
    /// What its hooks take: the time between `publish` or `play` and the answer.
    pub hook: Nanos,
    /// How often it pings who is connected; zero: never.
    pub ping_every: Nanos,
    /// What it answers at all.
    pub answers: SessionAnswers,
    /// What it says or does later, unasked.
    pub unasked: &'static [Unasked],
    /// The most bytes that reach the client together, and the time between two such pieces; `None`: all that is said at
    /// once arrives at once. For scripts that have nothing more to do after C2.
    pub pieces: Option<(usize, Nanos)>,
}

/// Something that a target does to a client that has asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// What the client has asked for.
    pub to: Request,
    /// How long after that.
    pub after: Nanos,
    /// What it does.
    pub act: UnaskedAct,
}

/// What a target does unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaskedAct {
    /// Says `onStatus`.
    Status {
        /// `status`, `warning` or `error`.
        level: &'static str,
        /// What happened.
        code: &'static str,
        /// For people.
        description: &'static str,
        /// Where a client is to connect again; empty: nowhere.
        tc_url: &'static str,
    },
    /// Says that the stream is over by the control message Stream EOF.
    StreamEof,
    /// Says the command `close`, and stays connected.
    SayClose,
    /// Sends what is no chunk.
    Noise,
    /// FIN.
    Close,
}

/// Which requests a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAnswers {
    /// Every one.
    All,
    /// It falls silent with the first of these.
    AllButTo(Request),
    /// It answers this one, and closes with FIN.
    ThenCloses(Request),
    /// It answers this one, and resets the connection.
    ThenResets {
        /// The last one that it answers.
        last: Request,
        /// How long after that.
        after: Nanos,
    },
}

/// A first-in, first-out queue of handshakes before a number of equal servers.
///
/// A handshake enters when its C0C1 is complete and leaves with whatever the script answers. The capacity is
/// `parallelism / (time + noise)`. A handshake whose client has gone takes its time all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceModel {
    /// Handshakes served at once; at least 1.
    pub parallelism: u32,
    /// What each handshake takes.
    pub time: Nanos,
    /// Mean of an exponentially distributed addition to `time`; zero for none.
    pub noise: Nanos,
}

/// What a target does with its connections: each variant is one behaviour met in the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerScript {
    /// Serves either mode as asked.
    Serve {
        /// Sizes of the writes that carry S0S1S2; the last write carries what is left. nginx-rtmp: `[1537]`,
        /// ffmpeg -listen: `[1, 1536]`, SRS: none.
        segments: Vec<usize>,
        /// The time between two writes.
        gap: Nanos,
        /// Bytes that follow S2 in its last write: the next stage of the protocol.
        tail: Vec<u8>,
        /// S2 is written only when C2 is complete.
        s2_after_c2: bool,
    },
    /// Knows no digests: a complex C1 is answered in simple mode.
    ServeSimpleOnly,
    /// Nobody listens: the SYN is answered by an RST.
    Refuse,
    /// A router answers the SYN with "host unreachable".
    Unreachable,
    /// The client's host has no route: the connect fails at once with `ENETUNREACH`.
    NoRoute,
    /// No SYN is ever answered.
    DropSyn,
    /// Accepts, then neither reads nor writes.
    Silent,
    /// Serves, but with this byte as S0.
    Version(u8),
    /// Answers C0C1 like a web server, then FIN.
    Http,
    /// FIN instead of an answer.
    CloseAfterC0C1,
    /// RST instead of an answer.
    ResetAfterC0C1,
    /// FIN as soon as it has accepted.
    CloseAfterConnect,
    /// S0 and half of S1, then nothing.
    HalfOfS1,
    /// S0 and half of S1, then FIN.
    HalfOfS1ThenClose,
    /// Serves, with one bit of S1 changed after it was signed.
    WrongS1Digest,
    /// Serves, with one bit of S2's digest changed.
    WrongS2Digest,
    /// Knows no digests, and its S2 echoes C1 with one bit changed.
    WrongEcho,
    /// Serves, then never stops sending.
    Endless,
    /// Sends bytes with the value 3 without end from the moment it accepts: S0 passes for RTMP, the rest is noise.
    EndlessGarbage,
    /// Serves, each byte in a write of its own.
    OneByteAtATime {
        /// The time between two bytes.
        gap: Nanos,
    },
    /// Serves, then RST without waiting for C2.
    ResetAfterS0S1S2,
    /// Serves, and closes the held connection with FIN.
    CloseHeldAfter {
        /// How long after C2.
        after: Nanos,
    },
    /// Serves, and then the flow is dropped on the way, as by a firewall that forgets it: neither side hears of the other
    /// again.
    Vanishes {
        /// How long after C2.
        after: Nanos,
    },
    /// Serves, then FIN as soon as it has C2.
    ClosesWithFin,
    /// Serves, but one connection too many brings it down: for a while it refuses every SYN, and what is open stays.
    Overloads {
        /// Connections it can hold at once.
        beyond: u32,
        /// How long it is down then.
        down_for: Nanos,
    },
    /// Serves, but the client's host has no port left (`EADDRNOTAVAIL`) for more than `beyond` connections at once.
    NoPorts {
        /// Connections that are possible.
        beyond: u32,
    },
    /// Serves, but the client's host has no descriptor left (`ENFILE`) for more than `beyond` connections at once.
    NoDescriptors {
        /// Connections that are possible.
        beyond: u32,
    },
}

/// What a peer's application saw: the other side's account of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Complete C0C1 with a digest that verifies.
    pub complex: u64,
    /// Complete C0C1 read as simple.
    pub simple: u64,
    /// Complete C2 with a digest that verifies.
    pub c2_valid: u64,
    /// Complete C2 that echo S1.
    pub c2_echo: u64,
    /// Complete C2 that do neither.
    pub c2_invalid: u64,
    /// Connections the client ended with RST.
    pub resets: u64,
    /// Connections the client ended with FIN.
    pub fins: u64,
    /// Connections the client opened with bytes that no handshake begins with.
    pub violations: u64,
    /// SYNs lost because the backlog was full.
    pub lost_syns: u64,
    /// `connect`s let in.
    pub connected: u64,
    /// `publish`es let in, answered or not.
    pub published: u64,
    /// `play`s let in, answered or not.
    pub played: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Bytes of audio, video and data that publishers sent, without the headers of their chunks.
    pub media_bytes: u64,
    /// Messages of audio, video and data that publishers began to send.
    pub media_messages: u64,
    /// Streams whose end was told.
    pub goodbyes: u64,
    /// Pings that were answered.
    pub pongs: u64,
    /// Acknowledgements of bytes.
    pub acknowledgements: u64,
    /// Connections that broke the protocol after the handshake; they are reset.
    pub bad_messages: u64,
}

impl Default for Peer {
    /// Serves either mode in one write; 8 handshakes at once, 200 us each: 40 000 a second.
    fn default() -> Self {
        Self::scripted(PeerScript::serve())
    }
}

impl Peer {
    /// The default peer with another script.
    pub fn scripted(script: PeerScript) -> Self {
        let (service, sessions) = (ServiceModel::default(), SessionModel::default());
        Self { script, service, freezes: Vec::new(), backlog: None, sessions, takes: None }
    }

    /// The default peer with other sessions.
    pub fn conducting(sessions: SessionModel) -> Self {
        Self { sessions, ..Self::default() }
    }
}

impl Default for SessionModel {
    /// Accepts everything at once, as nginx-rtmp without hooks; players get the trickle of publishers.
    fn default() -> Self {
        let track = Some(Arc::new(Track::played_trickle(ServerSession::CHUNK_SIZE)));
        Self {
            policy: ServerPolicy { track, ..ServerPolicy::default() },
            hook: Nanos::ZERO,
            ping_every: Nanos::ZERO,
            answers: SessionAnswers::All,
            unasked: &[],
            pieces: None,
        }
    }
}

impl SessionModel {
    /// The default one with a rule, in its text form.
    ///
    /// # Panics
    /// If the text is no rule.
    pub fn refusing(rule: &str) -> Self {
        let mut model = Self::default();
        model.policy.reject.push(rule.parse().unwrap_or_else(|error| panic!("{error}")));
        model
    }

    /// The default one that does something unasked.
    pub fn doing(unasked: &'static [Unasked]) -> Self {
        Self { unasked, ..Self::default() }
    }

    /// The default one that does not answer everything.
    pub fn answering(answers: SessionAnswers) -> Self {
        Self { answers, ..Self::default() }
    }
}

impl Default for ServiceModel {
    /// 8 handshakes at once, 200 us each, no noise.
    fn default() -> Self {
        Self { parallelism: 8, time: Nanos::from_micros(200), noise: Nanos::ZERO }
    }
}

impl PeerScript {
    /// Serves either mode with S0S1S2 in one write and nothing after it.
    pub const fn serve() -> Self {
        Self::Serve { segments: Vec::new(), gap: Nanos::ZERO, tail: Vec::new(), s2_after_c2: false }
    }
}
