//! Recorded handshakes, explained.
//!
//! [`capture`] reads a pcap or pcapng file, puts the TCP streams in it together and explains each RTMP handshake;
//! [`streams`] explains bytes that were recorded without their packets. A capture is evidence, not an attempt: what is
//! missing from it is said (gaps, packets cut by the snap length), never guessed. [`step_times`] reads only when the steps
//! of handshakes happened, for which headers are enough.
//!
//! [`text`] holds the sentences about a handshake's bytes; a probe says the same ones about its own.

mod capture_file;
mod connections;
mod copies;
mod other;
mod packet;
mod session;
mod stream;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use crate::base::redact_bytes;
use crate::protocol::transcript::{Conversation, Transcript};
use crate::protocol::{
    C0C1_SIZE, C2_SIZE, ClientGuess, Explanation, HandshakeMode, Negotiated, RTMP_VERSION, S0S1_SIZE, S0S1S2_SIZE,
    explain, likely_clients, likely_server,
};

pub use capture_file::{CaptureError, is_capture};
pub use other::{Appearance, OtherConnection};
pub use packet::PacketKind;

pub use crate::protocol::transcript::Side;

/// Explains the handshakes in a pcap or pcapng `file`, in the order in which their connections began.
///
/// A connection of any port counts if the client's first bytes are laid out like a handshake. With a `port`, only
/// connections to that port count, and they do whatever the client's bytes are.
///
/// Memory is bounded, however large the file: of each direction the first 3073 + 64 bytes are kept, of at most 16 384
/// handshakes, and the first 16 bytes of other connections, of which the first 1024 are listed; all streams together keep
/// at most 160 MiB. What lies beyond is counted in [`Inspection::skipped`].
pub fn capture(file: impl Read + Send, port: Option<u16>) -> Inspection {
    let mut connections = connections::Connections::new(port);
    let damage = capture_file::read_records(file, |record| connections.take(&record)).err();
    connections.finish(damage)
}

/// When the steps of the handshakes with the server at `port` in a pcap or pcapng `file` happened. No payload is looked
/// at, so packets may be cut behind their TCP header, and a part counts as there when so many bytes are.
///
/// Memory: some hundred bytes a connection, of at most 262 144.
pub fn step_times(file: impl Read + Send, port: u16) -> CapturedTimes {
    let mut connections = connections::Connections::without_bytes(port);
    let damage = capture_file::read_records(file, |record| connections.take(&record)).err();
    connections.finish_times(damage)
}

/// Explains recorded streams without packets, so without times and segments. Each may be cut short or empty. Where no
/// `c2` was recorded on its own, what follows C1 in `c0c1` is taken for it.
pub fn streams(c0c1: &[u8], s0s1s2: &[u8], c2: Option<&[u8]>) -> Handshake {
    let c2 = c2.unwrap_or_else(|| c0c1.get(C0C1_SIZE..).unwrap_or_default());
    let told = Handshake::explained(c0c1, s0s1s2, c2, Vec::new());
    let (mut transcript, mut notebook) = (Transcript::default(), session::Sessions::default().notebook);
    if [c0c1, s0s1s2].iter().all(|stream| stream.first().is_none_or(|&byte| byte == RTMP_VERSION)) {
        let streams = [(Side::Client, c2.get(C2_SIZE..)), (Side::Server, s0s1s2.get(S0S1S2_SIZE..))];
        for (from, bytes) in streams {
            transcript.take(from, None, bytes.unwrap_or_default(), &mut notebook);
        }
    }
    let likely_clients = likely_clients(&told.explanation, Some(&transcript));
    let session = Some(transcript.finish(&mut notebook)).filter(|session| !session.is_empty());
    Handshake { likely_clients, session, ..told }
}

/// What was found in a capture.
#[derive(Debug)]
pub struct Inspection {
    /// The handshakes, in the order in which their connections began.
    pub handshakes: Vec<Handshake>,
    /// The first of the connections that are none, likewise; [`Skipped::other_connections`] counts all of them.
    pub others: Vec<OtherConnection>,
    /// What was not looked at.
    pub skipped: Skipped,
    /// Why the file was not read to its end; what was found before that place is in `handshakes`.
    pub damage: Option<CaptureError>,
}

/// The times in a capture.
#[derive(Debug)]
pub struct CapturedTimes {
    /// One for each connection that carried something from its client, in the order in which they began.
    pub handshakes: Vec<StepTimes>,
    /// What was not looked at.
    pub skipped: Skipped,
    /// Why the file was not read to its end; what was found before that place is in `handshakes`.
    pub damage: Option<CaptureError>,
}

/// What of a capture was not looked at, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Packets in the capture, looked at or not.
    pub packets: usize,
    /// Packets that repeat the one just before, as mirror ports and captures on several interfaces give them: no
    /// retransmissions.
    pub copies: usize,
    /// Packets that carry no TCP, by what they carry.
    #[serde(serialize_with = "by_name")]
    pub other_packets: BTreeMap<PacketKind, usize>,
    /// TCP connections that do not look like RTMP, or carried nothing.
    pub other_connections: usize,
    /// Connections, as far as they can be told apart, beyond the limits of memory.
    pub beyond_limit: usize,
    /// Packets cut by the snap length before the end of their TCP header.
    pub cut_headers: usize,
    /// IP fragments; they are not put together.
    pub fragments: usize,
    /// Packets of link types that are not understood.
    pub unknown_links: usize,
    /// One of these link types (numbers of tcpdump.org/linktypes.html).
    pub unknown_link: Option<i32>,
}

/// With the kinds' names for keys.
fn by_name<S: Serializer>(counts: &BTreeMap<PacketKind, usize>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(kind, count)| (kind.to_string(), count)))
}

/// One recorded handshake and what it tells. Times are the capture's: when a packet passed the place of capture.
#[derive(Clone, Debug, Serialize)]
pub struct Handshake {
    /// Who spoke with whom; `None` for recorded streams.
    pub endpoints: Option<Endpoints>,
    /// Completed, or what is missing or wrong.
    pub outcome: Outcome,
    /// What the bytes tell; what was not captured is `None`.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Sizes of the TCP segments that carried C0C1, each byte counted once, in stream order. Segments may be larger than
    /// the link's packets: the kernel captures them before it splits and after it joins them.
    pub c0c1_segments: Vec<usize>,
    /// The same of S0S1S2.
    pub s0s1s2_segments: Vec<usize>,
    /// Servers known to answer so, the best guess first.
    pub likely_servers: Vec<&'static str>,
    /// Clients known to speak so.
    pub likely_clients: ClientGuess,
    /// Durations between the steps.
    pub timings: Timings,
    /// When each step happened.
    pub at: StepTimes,
    /// How the connection ended; `None` for recorded streams.
    pub ending: Option<Ending>,
    /// What the server sent behind S2.
    pub after_s2: Trailing,
    /// What the client sent behind C2.
    pub behind_c2: Trailing,
    /// What client and server said behind the handshake; `None` if nothing of it was captured, or nothing tells where it
    /// begins.
    pub session: Option<Conversation>,
    /// What is missing from the capture, or should be known of it.
    pub delivery: Delivery,
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoints {
    /// Who connected and sent C0C1.
    pub client: SocketAddr,
    /// Who answered.
    pub server: SocketAddr,
}

/// How far a recorded handshake came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// All of it is there, and the answer fits.
    Completed {
        /// What the handshake turned out to be.
        mode: Negotiated,
    },
    /// It ended early, or the capture lacks the rest.
    Incomplete {
        /// The first part that is not complete.
        missing: Part,
        /// How many bytes of this part are there.
        received: usize,
    },
    /// All of it is there, but S2 neither verifies nor echoes C1.
    Invalid,
}

/// A part of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Version byte and block of the client.
    C0c1,
    /// Version byte of the server.
    S0,
    /// Block of the server.
    S1,
    /// Answer of the server.
    S2,
    /// Answer of the client.
    C2,
}

/// Durations in nanoseconds; `None` where one of the two packets is not in the capture. A part counts as sent with its
/// last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timings {
    /// From the SYN to the SYN-ACK.
    pub connect_ns: Option<u64>,
    /// From C0C1 to the server's first byte.
    pub s0_ns: Option<u64>,
    /// From C0C1 to S1.
    pub s0s1_ns: Option<u64>,
    /// From C0C1 to S2.
    pub s2_ns: Option<u64>,
    /// From S1 to C2.
    pub c2_ns: Option<u64>,
    /// From the SYN to the complete handshake.
    pub total_ns: Option<u64>,
}

/// Instants in nanoseconds since the connection's first packet; `None` for what is not in the capture. A part counts as
/// there when its last byte and all bytes before it are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepTimes {
    /// The first packet, in nanoseconds since 1970.
    pub began_unix_ns: Option<u64>,
    /// The first SYN.
    pub syn_ns: Option<u64>,
    /// The first SYN-ACK.
    pub syn_ack_ns: Option<u64>,
    /// C1 is there.
    pub c0c1_ns: Option<u64>,
    /// The server's first byte is there.
    pub s0_ns: Option<u64>,
    /// S1 is there.
    pub s1_ns: Option<u64>,
    /// S2 is there.
    pub s2_ns: Option<u64>,
    /// C2 is there.
    pub c2_ns: Option<u64>,
    /// The first FIN or RST; for a connection that stays open, its last packet.
    pub ended_ns: Option<u64>,
}

/// How a connection ended: by its first FIN or RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// In which way.
    pub how: EndingKind,
    /// By whom; `None` for a connection that stays open.
    pub by: Option<Side>,
}

/// In which way a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingKind {
    /// Orderly.
    Fin,
    /// At once.
    Rst,
    /// Not within the capture.
    Open,
}

/// Bytes behind the handshake; they belong to the next stage of the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trailing {
    /// How many there were.
    pub bytes: usize,
    /// The first of them in hexadecimal, at most 64 bytes. What may be text shows as `**`: it may be a key.
    pub first_hex: String,
}

/// How the handshake's bytes came into the capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Bytes of the handshake that no packet of the capture carries.
    pub gaps: Vec<Gap>,
    /// Bytes of the handshake whose packets are captured without them: the snap length was too short.
    pub cut_by_snaplen: usize,
    /// SYNs after the first.
    pub syn_retransmits: usize,
    /// Segments of the handshake that brought nothing new.
    pub retransmits: usize,
    /// Segments of the handshake that filled a hole: sent again, or overtaken.
    pub out_of_order: usize,
    /// Whether the capture begins after the connection: without its SYN.
    pub began_before_capture: bool,
}

/// Bytes that are not in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Who sent them.
    pub from: Side,
    /// Where they begin, counted from C0 or S0.
    pub start: usize,
    /// How many.
    pub bytes: usize,
    /// Whether the other end acknowledged them: then they were not lost, only not captured.
    pub acknowledged: bool,
}

impl Handshake {
    /// What the bytes alone tell.
    fn explained(c0c1: &[u8], s0s1s2: &[u8], c2: &[u8], s0s1s2_segments: Vec<usize>) -> Self {
        let explanation = explain(c0c1, s0s1s2, c2);
        Self {
            endpoints: None,
            outcome: Outcome::of(&explanation, c0c1.len(), s0s1s2.len(), c2.len()),
            likely_servers: likely_server(&explanation, &s0s1s2_segments),
            likely_clients: likely_clients(&explanation, None),
            explanation,
            c0c1_segments: Vec::new(),
            s0s1s2_segments,
            timings: Timings::default(),
            at: StepTimes::default(),
            ending: None,
            after_s2: Trailing::of(s0s1s2.get(S0S1S2_SIZE..).unwrap_or_default()),
            behind_c2: Trailing::of(c2.get(C2_SIZE..).unwrap_or_default()),
            session: None,
            delivery: Delivery::default(),
        }
    }
}

impl Outcome {
    /// By how many bytes there are of each stream.
    fn of(explained: &Explanation, c0c1: usize, s0s1s2: usize, c2: usize) -> Self {
        let (missing, received) = if c0c1 < C0C1_SIZE {
            (Part::C0c1, c0c1)
        } else if s0s1s2 == 0 {
            (Part::S0, 0)
        } else if s0s1s2 < S0S1_SIZE {
            (Part::S1, s0s1s2 - 1)
        } else if s0s1s2 < S0S1S2_SIZE {
            (Part::S2, s0s1s2 - S0S1_SIZE)
        } else if let Some(mode) = negotiated(explained) {
            if c2 >= C2_SIZE {
                return Self::Completed { mode };
            }
            (Part::C2, c2)
        } else {
            return Self::Invalid;
        };
        Self::Incomplete { missing, received }
    }
}

/// What a handshake with a complete S2 turned out to be.
fn negotiated(explained: &Explanation) -> Option<Negotiated> {
    Some(match (explained.asked?, explained.negotiated?) {
        (HandshakeMode::Complex, HandshakeMode::Complex) => Negotiated::ComplexVerified,
        (HandshakeMode::Complex, HandshakeMode::Simple) => Negotiated::Downgraded,
        (HandshakeMode::Simple, _) => Negotiated::Simple,
    })
}

impl Trailing {
    /// How many of the bytes are shown.
    pub const SHOWN: usize = 64;

    /// All of `bytes`, the first of them shown.
    pub fn of(bytes: &[u8]) -> Self {
        let first_hex = redact_bytes(&bytes[..bytes.len().min(Self::SHOWN)]).concat();
        Self { bytes: bytes.len(), first_hex }
    }
}

impl StepTimes {
    /// The durations between the steps.
    fn timings(&self) -> Timings {
        let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
        let completed = self.s2_ns.zip(self.c2_ns).map(|(s2, c2)| s2.max(c2));
        Timings {
            connect_ns: between(self.syn_ns, self.syn_ack_ns),
            s0_ns: between(self.c0c1_ns, self.s0_ns),
            s0s1_ns: between(self.c0c1_ns, self.s1_ns),
            s2_ns: between(self.c0c1_ns, self.s2_ns),
            c2_ns: between(self.s1_ns, self.c2_ns),
            total_ns: between(self.syn_ns, completed),
        }
    }
}
