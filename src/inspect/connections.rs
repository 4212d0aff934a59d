//! The TCP connections in a capture, and which of them are RTMP.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::capture_file::{CaptureError, Record};
use super::copies::Copies;
use super::other::{Beginning, OtherConnection};
use super::packet::{NoSegment, Segment, decode};
use super::session::{Part, Session, Sessions};
use super::stream::Stream;
use super::{
    CapturedTimes, Delivery, Ending, EndingKind, Endpoints, Gap, Handshake, Inspection, Outcome, Side, Skipped,
    StepTimes,
};
use crate::protocol::{C0C1_SIZE, C2_SIZE, RTMP_VERSION, S0S1S2_SIZE, likely_clients};

/// Connections that are told apart: some 100 MB.
const MOST_CONNECTIONS: usize = 1 << 18;
/// Connections whose bytes are kept: 6 kB each.
const MOST_HANDSHAKES: usize = 1 << 14;
/// Bytes that all streams keep together: so many handshakes, each of a few segments. Only streams with holes or of tiny
/// segments come to it earlier.
const MOST_KEPT: usize = 160 << 20;
/// Connections without a handshake that are listed.
const MOST_OTHERS: usize = 1 << 10;

/// All connections of a capture so far.
pub(super) struct Connections {
    port: Option<u16>,
    connections: Vec<Connection>,
    /// The latest connection between two ends, the lesser first.
    by_ends: HashMap<[SocketAddr; 2], usize>,
    handshakes: usize,
    /// How many may be kept; of more than [`MOST_HANDSHAKES`] no bytes.
    most_handshakes: usize,
    sessions: Sessions,
    copies: Copies,
    /// Bytes that the streams keep now, and the most they may.
    kept: usize,
    most_kept: usize,
    skipped: Skipped,
}

impl Connections {
    /// Of any port, or only to `port`.
    pub(super) fn new(port: Option<u16>) -> Self {
        Self {
            port,
            connections: Vec::new(),
            by_ends: HashMap::new(),
            handshakes: 0,
            most_handshakes: MOST_HANDSHAKES,
            sessions: Sessions::default(),
            copies: Copies::default(),
            kept: 0,
            most_kept: MOST_KEPT,
            skipped: Skipped::default(),
        }
    }

    /// To `port`; of what they carry only the lengths are kept.
    pub(super) fn without_bytes(port: u16) -> Self {
        Self { most_handshakes: MOST_CONNECTIONS, ..Self::new(Some(port)) }
    }

    /// Takes the next packet.
    pub(super) fn take(&mut self, record: &Record<'_>) {
        self.skipped.packets += 1;
        let mut segment = match decode(record) {
            Ok(segment) => segment,
            Err(NoSegment::Other(kind)) => return *self.skipped.other_packets.entry(kind).or_default() += 1,
            Err(NoSegment::HeaderCut) => return self.skipped.cut_headers += 1,
            Err(NoSegment::Fragment) => return self.skipped.fragments += 1,
            Err(NoSegment::Link) => {
                self.skipped.unknown_link = Some(record.link);
                return self.skipped.unknown_links += 1;
            }
        };
        let ports = [segment.source.port(), segment.destination.port()];
        if self.port.is_some_and(|port| !ports.contains(&port)) {
            return;
        }
        if self.most_handshakes > MOST_HANDSHAKES {
            segment.payload = &[];
        }
        if self.copies.is_copy(&segment, record.at_ns) {
            return self.skipped.copies += 1;
        }
        let Some(index) = self.connection_of(&segment, record.at_ns) else { return };
        let connection = &mut self.connections[index];
        let kept = connection.kept();
        let part = connection.take(&segment, record.at_ns);
        if connection.state == State::Undecided {
            connection.decide(self.port);
            if connection.state == State::Candidate {
                if self.handshakes == self.most_handshakes {
                    connection.dismiss(State::BeyondLimit);
                } else {
                    self.handshakes += 1;
                }
            }
        }
        if connection.state == State::Candidate && self.most_handshakes == MOST_HANDSHAKES {
            connection.read_on(part, &mut self.sessions);
        }
        self.kept = self.kept + connection.kept() - kept;
        if self.kept > self.most_kept {
            self.kept -= connection.kept();
            connection.dismiss(State::BeyondLimit);
        }
    }

    #[cfg(test)]
    pub(super) fn keeping_at_most(self, most_kept: usize) -> Self {
        Self { most_kept, ..self }
    }

    /// Explains what looks like a handshake.
    pub(super) fn finish(mut self, damage: Option<CaptureError>) -> Inspection {
        let mut found = Vec::new();
        let mut others = Vec::new();
        for connection in &mut self.connections {
            match connection.state {
                State::BeyondLimit => self.skipped.beyond_limit += 1,
                State::Candidate if self.port.is_some() || connection.is_laid_out_like_rtmp() => {
                    found.push((connection.began_ns, connection.explain(&mut self.sessions)));
                }
                _ => others.push(&*connection),
            }
        }
        self.skipped.other_connections = others.len();
        others.sort_by_key(|connection| connection.began_ns);
        let others = others.into_iter().take(MOST_OTHERS).map(Connection::as_other).collect();
        found.sort_by_key(|(began_ns, _)| *began_ns);
        let handshakes = found.into_iter().map(|(_, handshake)| handshake).collect();
        Inspection { handshakes, others, skipped: self.skipped, damage }
    }

    /// When their steps happened.
    pub(super) fn finish_times(mut self, damage: Option<CaptureError>) -> CapturedTimes {
        let of_state = |state| self.connections.iter().filter(move |connection| connection.state == state);
        self.skipped.beyond_limit += of_state(State::BeyondLimit).count();
        let mut found: Vec<_> = of_state(State::Candidate).collect();
        self.skipped.other_connections = self.connections.len() - found.len() - of_state(State::BeyondLimit).count();
        found.sort_by_key(|connection| connection.began_ns);
        let handshakes = found.into_iter().map(Connection::step_times).collect();
        CapturedTimes { handshakes, skipped: self.skipped, damage }
    }

    /// Which connection `segment` belongs to; a new one if it begins one.
    fn connection_of(&mut self, segment: &Segment<'_>, at_ns: u64) -> Option<usize> {
        let mut ends = [segment.source, segment.destination];
        ends.sort();
        let begins = segment.syn && segment.acknowledgement.is_none();
        let known = self.by_ends.get(&ends).copied().filter(|&index| {
            let sender = &self.connections[index].streams[usize::from(segment.source != ends[0])];
            !begins || sender.first() == Some(segment.sequence.wrapping_add(1))
        });
        match known {
            Some(index) => Some(index),
            // What neither opens a connection nor carries data says too little to begin with.
            None if !segment.syn && segment.size == 0 => None,
            None if self.connections.len() == MOST_CONNECTIONS => {
                // Its later packets must not be taken for those of an earlier connection.
                self.by_ends.remove(&ends);
                self.skipped.beyond_limit += usize::from(begins);
                None
            }
            None => {
                self.connections.push(Connection::new(ends, at_ns));
                self.by_ends.insert(ends, self.connections.len() - 1);
                Some(self.connections.len() - 1)
            }
        }
    }
}

struct Connection {
    ends: [SocketAddr; 2],
    /// What each of the ends sends.
    streams: [Stream; 2],
    /// Which of the ends connected.
    client: Option<usize>,
    state: State,
    began_ns: u64,
    last_ns: u64,
    syn_ns: Option<u64>,
    syn_ack_ns: Option<u64>,
    syns: usize,
    /// The first FIN or RST: when, which, and by which of the ends.
    ending: Option<(u64, EndingKind, usize)>,
    /// Of what it carried instead of a handshake.
    beginning: Option<Beginning>,
    /// What it carried behind the handshake.
    session: Option<Box<Session>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client's first byte is not in.
    Undecided,
    /// The client's first byte may be C0.
    Candidate,
    /// It is something else.
    Other,
    /// There was no room for its bytes.
    BeyondLimit,
}

impl Connection {
    fn new(ends: [SocketAddr; 2], at_ns: u64) -> Self {
        Self {
            ends,
            streams: Default::default(),
            client: None,
            state: State::Undecided,
            began_ns: at_ns,
            last_ns: at_ns,
            syn_ns: None,
            syn_ack_ns: None,
            syns: 0,
            ending: None,
            beginning: None,
            session: None,
        }
    }

    /// Takes a packet; returns what it carried.
    fn take<'a>(&mut self, segment: &Segment<'a>, at_ns: u64) -> Part<'a> {
        let mut part = Part { from: Side::Client, at_ns, start: 0, captured: segment.payload, size: segment.size };
        self.last_ns = self.last_ns.max(at_ns);
        if matches!(self.state, State::Other | State::BeyondLimit) {
            return part;
        }
        let sender = usize::from(segment.source != self.ends[0]);
        let receiver = 1 - sender;
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        if segment.syn {
            self.streams[sender].begin(first);
            if segment.acknowledgement.is_none() {
                self.client.get_or_insert(sender);
                self.syn_ns.get_or_insert(at_ns);
                self.syns += 1;
            } else {
                self.client.get_or_insert(receiver);
                self.syn_ack_ns.get_or_insert(at_ns);
                // Where the client's bytes begin, should its SYN not be in the capture.
                segment.acknowledgement.into_iter().for_each(|first| self.streams[receiver].begin(first));
            }
        } else if segment.size > 0 {
            // Without SYNs the one who speaks first is the client, as in RTMP.
            self.client.get_or_insert(sender);
        } else if !segment.rst {
            self.streams[sender].begin(first);
        }
        part.start = self.streams[sender].take(at_ns, first, segment.payload, segment.size);
        part.from = if self.client == Some(sender) { Side::Client } else { Side::Server };
        if let Some(acknowledgement) = segment.acknowledgement {
            self.streams[receiver].acknowledge(acknowledgement);
        }
        if segment.fin {
            self.streams[sender].finish();
        }
        if self.ending.is_none() && (segment.rst || segment.fin) {
            let how = if segment.rst { EndingKind::Rst } else { EndingKind::Fin };
            self.ending = Some((at_ns, how, sender));
        }
        part
    }

    /// Reads on behind the handshake.
    fn read_on(&mut self, part: Part<'_>, sessions: &mut Sessions) {
        if part.size > 0 && part.is_behind_handshake() && !self.is_encrypted() {
            let part = Part { at_ns: part.at_ns.saturating_sub(self.began_ns), ..part };
            self.session.get_or_insert_default().take(&part, sessions);
        }
    }

    /// RTMPE: what follows the handshake cannot be read.
    fn is_encrypted(&self) -> bool {
        self.streams.iter().any(|stream| stream.readable().first().is_some_and(|&byte| byte != RTMP_VERSION))
    }

    /// Bytes that its streams keep.
    fn kept(&self) -> usize {
        self.streams.iter().map(Stream::kept).sum()
    }

    /// Whether the first byte can be C0, once it is in. With a `port`, that is what tells.
    fn decide(&mut self, port: Option<u16>) {
        let Some(client) = self.client else { return };
        if let Some(port) = port {
            if self.ends[1 - client].port() != port {
                self.dismiss(State::Other);
            } else if self.streams[client].has_begun() {
                self.state = State::Candidate;
            }
        } else if let Some(&byte) = self.streams[client].readable().first() {
            if is_version(byte) {
                self.state = State::Candidate;
            } else {
                self.dismiss(State::Other);
            }
        } else if let Some(&byte) = self.streams[1 - client].readable().first() {
            // The client speaks first in RTMP, so a server that answers what was not captured has acknowledged it.
            if self.streams[client].is_missed() && byte == RTMP_VERSION {
                self.state = State::Candidate;
            } else if !self.streams[client].has_begun() {
                self.dismiss(State::Other);
            }
        }
    }

    fn dismiss(&mut self, state: State) {
        self.state = state;
        self.beginning = self.beginning();
        self.streams.iter_mut().for_each(Stream::forget);
    }

    /// Whether this is RTMP, if the first byte can be C0.
    fn is_laid_out_like_rtmp(&self) -> bool {
        let [client, server] = self.client_and_server().map(Stream::readable);
        let answers_like_rtmp = server.first().is_none_or(|&byte| is_version(byte));
        match client.first() {
            Some(&RTMP_VERSION) => {
                // RFC 2126, section 4.3: what carries RDP and H.323 begins with 3, a zero and its own length.
                let is_tpkt = client.first_chunk().is_some_and(|&[_, zero, high, low]| {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    zero == 0
                        && length >= 4
                        && self.client_and_server()[0].segments(0..usize::MAX).first() == Some(&length)
                });
                !is_tpkt && (client.len() >= C0C1_SIZE || answers_like_rtmp)
            }
            Some(_) => client.len() >= C0C1_SIZE && answers_like_rtmp,
            None => server.first() == Some(&RTMP_VERSION),
        }
    }

    fn client_and_server(&self) -> [&Stream; 2] {
        let client = self.client.unwrap_or(0);
        [&self.streams[client], &self.streams[1 - client]]
    }

    fn endpoints(&self) -> Endpoints {
        let client = self.client.unwrap_or(0);
        Endpoints { client: self.ends[client], server: self.ends[1 - client] }
    }

    fn beginning(&self) -> Option<Beginning> {
        let [client, server] = self.client_and_server().map(Stream::readable);
        Beginning::of(client, server)
    }

    fn as_other(&self) -> OtherConnection {
        let beginning = self.beginning.clone().or_else(|| self.beginning());
        let missed = beginning.is_none() && self.streams.iter().any(|stream| stream.has_begun() || stream.is_missed());
        let begins_late = self.syn_ns.or(self.syn_ack_ns).is_none();
        OtherConnection::new(self.endpoints(), beginning.as_ref(), missed, begins_late)
    }

    fn explain(&mut self, sessions: &mut Sessions) -> Handshake {
        let ended_ns = self.last_ns.saturating_sub(self.began_ns);
        let session = self.session.take().map(|mut session| {
            session.finish(ended_ns, sessions);
            session.transcript
        });
        let [client, server] = self.client_and_server();
        let at = self.step_times();
        let opening = client.readable();
        let told = Handshake::explained(
            &opening[..opening.len().min(C0C1_SIZE)],
            server.readable(),
            client.readable_from(C0C1_SIZE),
            server.segments(0..S0S1S2_SIZE),
        );
        let has_beginning = self.syn_ns.or(self.syn_ack_ns).is_some();
        // Where the connection begins before the capture, only a handshake that fits tells where the session begins.
        let session = session.filter(|_| has_beginning || matches!(told.outcome, Outcome::Completed { .. }));
        let client_end = self.client.unwrap_or(0);
        Handshake {
            endpoints: Some(self.endpoints()),
            c0c1_segments: client.segments(0..C0C1_SIZE),
            timings: at.timings(),
            at,
            ending: Some(self.ending(client_end)),
            after_s2: server.trailing(),
            behind_c2: client.trailing(),
            delivery: Delivery {
                gaps: [(Side::Client, client), (Side::Server, server)]
                    .into_iter()
                    .flat_map(|(from, stream)| {
                        stream.gaps().map(move |(gap, acknowledged)| Gap {
                            from,
                            start: gap.start,
                            bytes: gap.len(),
                            acknowledged,
                        })
                    })
                    .collect(),
                cut_by_snaplen: client.cut() + server.cut(),
                syn_retransmits: self.syns.saturating_sub(1),
                retransmits: client.retransmits + server.retransmits,
                out_of_order: client.out_of_order + server.out_of_order,
                began_before_capture: self.syn_ns.is_none(),
            },
            likely_clients: likely_clients(&told.explanation, session.as_ref()),
            session: session.map(|session| session.finish(&mut sessions.notebook)),
            ..told
        }
    }

    fn step_times(&self) -> StepTimes {
        let [client, server] = self.client_and_server();
        let since = |instant: Option<u64>| Some(instant?.saturating_sub(self.began_ns));
        StepTimes {
            began_unix_ns: Some(self.began_ns),
            syn_ns: since(self.syn_ns),
            syn_ack_ns: since(self.syn_ack_ns),
            c0c1_ns: since(client.opening_ns),
            s0_ns: since(server.first_byte_ns),
            s1_ns: since(server.opening_ns),
            s2_ns: since(server.response_ns),
            c2_ns: since(client.response_ns),
            ended_ns: since(Some(self.ending.map_or(self.last_ns, |(at_ns, ..)| at_ns))),
        }
    }

    fn ending(&self, client: usize) -> Ending {
        match self.ending {
            Some((_, how, by)) => Ending { how, by: Some(if by == client { Side::Client } else { Side::Server }) },
            None => Ending { how: EndingKind::Open, by: None },
        }
    }
}

/// Plain and encrypted RTMP: C0's values in use.
fn is_version(byte: u8) -> bool {
    matches!(byte, RTMP_VERSION | 6 | 8 | 9)
}

const _: () = assert!(C0C1_SIZE + C2_SIZE == S0S1S2_SIZE, "both directions of a handshake are equally long");
