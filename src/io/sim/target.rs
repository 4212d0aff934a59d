//! A target at work: its kernel, its queue of handshakes, its script.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::freeze::Freezes;
use super::peer::{Peer, PeerCounts, PeerScript};
use super::session::{Said, Session, Then};
use super::wire::{ConnectionId, Event, Syn, ToClient, ToTarget, Wire};
use crate::base::{Nanos, Time};
use crate::io::{Errno, SlotIndex, TargetId};
use crate::protocol::{
    BLOCK_SIZE, C0C1_SIZE, C2_SIZE, C2Verdict, HandshakeMode, S0S1_SIZE, S0S1S2_SIZE, ServerHandshake, ServerState,
    ServerTemplates,
};

/// One target of the plan.
pub(super) struct Target {
    id: TargetId,
    peer: Peer,
    freezes: Freezes,
    templates: Arc<ServerTemplates>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that the kernel has established and the application has not seen: it is frozen.
    unaccepted: usize,
    /// Handshakes with a complete C0C1 and no server.
    waiting: VecDeque<ConnectionId>,
    in_service: u32,
    /// An overload keeps it down until then.
    down_until: Time,
    counts: PeerCounts,
}

/// Bytes under way or unread on a stream without end.
const WINDOW: u64 = 64 * 1024;
/// An endless stream: one full segment every so often.
const STREAM_SEGMENT: usize = 1460;
const STREAM_GAP: Nanos = Nanos::from_micros(100);
/// S0 of [`PeerScript::EndlessGarbage`], and all that follows.
const GARBAGE: u8 = 3;

const HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

struct Connection {
    slot: SlotIndex,
    stage: Stage,
    /// What is left of the script, from its next act.
    acts: VecDeque<Act>,
    /// A timer runs, after which the acts go on.
    pausing: bool,
    ended: Option<Ended>,
    last_arrival: Time,
    sent: u64,
    taken_by_client: u64,
}

/// A held connection carries no handshake.
enum Stage {
    /// The application has not seen the connection yet.
    Established(Box<Handshake>),
    AwaitingC0C1(Box<Handshake>),
    InService(Box<Handshake>),
    AwaitingC2(Box<Handshake>),
    /// C2 is in. A client that says nothing more costs no session.
    InSession(Option<Box<Session>>),
    /// The script takes no interest in what the client sends.
    Deaf,
    /// The socket is closed: whatever arrives is answered by an RST.
    Closed,
}

struct Handshake {
    server: ServerHandshake,
    received: Vec<u8>,
    after_c2: Vec<Act>,
}

/// How the client ended the connection.
#[derive(Clone, Copy)]
enum Ended {
    Fin,
    Rst,
}

#[derive(Debug)]
enum Act {
    Write(Vec<u8>),
    Pause(Nanos),
    Fin,
    Rst,
    /// From now on nothing that either side sends arrives.
    Vanish,
    /// Sends `GARBAGE` for ever, as far as the window lets it.
    Stream,
}

impl Target {
    pub(super) fn new(id: TargetId, peer: Peer, start: Time, templates: Arc<ServerTemplates>) -> Self {
        assert!(peer.service.parallelism > 0, "a simulated peer serves at least one handshake at a time");
        Self {
            id,
            freezes: Freezes::new(start, &peer.freezes),
            peer,
            templates,
            connections: BTreeMap::new(),
            unaccepted: 0,
            waiting: VecDeque::new(),
            in_service: 0,
            down_until: Time::ZERO,
            counts: PeerCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> PeerCounts {
        self.counts
    }

    /// The kernel answers a SYN, whatever the application does.
    pub(super) fn syn(&mut self, syn: Syn, wire: &mut Wire) {
        let refusal = match self.peer.script {
            PeerScript::Refuse => Some(Errno::CONNREFUSED),
            PeerScript::Overloads { beyond, down_for } => {
                if wire.now() >= self.down_until && self.open() >= beyond as usize {
                    self.down_until = wire.now() + down_for;
                }
                (wire.now() < self.down_until).then_some(Errno::CONNREFUSED)
            }
            PeerScript::Unreachable => Some(Errno::HOSTUNREACH),
            _ => None,
        };
        let backlog = self.unaccepted + self.waiting.len();
        let full = self.peer.backlog.is_some_and(|most| backlog >= most as usize);
        if let Some(errno) = refusal {
            let mut only_arrival = Time::ZERO;
            wire.send(&mut only_arrival, Event::AtClient(syn.slot, syn.id, ToClient::NoConnection(errno)));
        } else if full || self.peer.script == PeerScript::DropSyn {
            self.counts.lost_syns += 1;
            wire.schedule(syn.timer().max(wire.now()), Event::SynTimer(syn));
        } else {
            let template = syn.id.0 % self.templates.len() as u64;
            let mut connection = Connection::new(syn.slot, ServerHandshake::new(template as u16, true));
            connection.send(syn.id, ToClient::SynAck, wire);
            self.connections.insert(syn.id, connection);
            self.unaccepted += 1;
            self.poll(syn.id, wire);
        }
    }

    /// Connections that neither side has ended.
    fn open(&self) -> usize {
        let open = |connection: &&Connection| connection.ended.is_none() && !matches!(connection.stage, Stage::Closed);
        self.connections.values().filter(open).count()
    }

    /// Something reaches the kernel.
    pub(super) fn deliver(&mut self, id: ConnectionId, what: ToTarget, wire: &mut Wire) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match what {
            ToTarget::Data(bytes) => match &mut connection.stage {
                Stage::Established(handshake)
                | Stage::AwaitingC0C1(handshake)
                | Stage::InService(handshake)
                | Stage::AwaitingC2(handshake) => handshake.received.extend(bytes),
                Stage::InSession(session) => {
                    let model = &self.peer.sessions;
                    session.get_or_insert_with(|| Box::new(Session::new(model))).arrived(&bytes);
                }
                Stage::Deaf => {}
                Stage::Closed => {
                    connection.send(id, ToClient::Rst, wire);
                    self.connections.remove(&id);
                    return;
                }
            },
            ToTarget::Probe => return connection.send(id, ToClient::Alive, wire),
            ToTarget::Window(taken) => connection.taken_by_client = taken,
            ToTarget::Fin => connection.ended = Some(Ended::Fin),
            ToTarget::Rst => connection.ended = Some(Ended::Rst),
        }
        self.poll(id, wire);
    }

    /// The application looks at a connection: it reads what is there before it heeds the end of the connection.
    pub(super) fn poll(&mut self, id: ConnectionId, wire: &mut Wire) {
        let thawed = self.freezes.thaw(wire.now());
        if thawed > wire.now() {
            return wire.schedule(thawed, Event::TargetPolls(self.id, id));
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut stage = std::mem::replace(&mut connection.stage, Stage::Deaf);
        if let Stage::Established(handshake) = stage {
            self.unaccepted -= 1;
            self.counts.accepted += 1;
            let acts;
            (stage, acts) = accept(&self.peer.script, handshake);
            connection.acts.extend(acts);
        }
        let (stage, acts) = match stage {
            Stage::AwaitingC0C1(handshake) => self.read_c0c1(id, handshake),
            Stage::AwaitingC2(handshake) => self.read_c2(handshake),
            other => (other, Vec::new()),
        };
        self.go_on(id, stage, acts);
        self.start_service(wire);
        self.act(id, wire);
        self.converse(id, wire);
        self.heed_end(id);
    }

    /// A session looks whether there is something to say.
    pub(super) fn session_wakes(&mut self, id: ConnectionId, wire: &mut Wire) {
        let Some(Connection { stage: Stage::InSession(Some(session)), .. }) = self.connections.get_mut(&id) else {
            return;
        };
        if session.wakes_at <= wire.now() {
            session.wakes_at = Time::MAX;
            self.poll(id, wire);
        }
    }

    /// The application reads what a client said in its session, and says what is due. What is left of S0S1S2 goes first.
    fn converse(&mut self, id: ConnectionId, wire: &mut Wire) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let is_answered = !connection.acts.iter().any(|act| matches!(act, Act::Write(_)));
        let Stage::InSession(Some(session)) = &mut connection.stage else { return };
        if !is_answered {
            return;
        }
        let model = &self.peer.sessions;
        if session.read(wire.now(), model, &mut self.counts).is_err() {
            connection.acts = [Act::Rst].into();
            connection.pausing = false;
            return self.act(id, wire);
        }
        let Said { bytes, then, next } = session.speak(wire.now(), model);
        if next < session.wakes_at {
            session.wakes_at = next;
            wire.schedule(self.freezes.thaw(next), Event::SessionWakes(self.id, id));
        }
        match model.pieces {
            None if bytes.is_empty() => {}
            None => connection.write(id, bytes, wire),
            Some((size, gap)) => {
                let piece = |bytes: &[u8]| [Act::Write(bytes.to_vec()), Act::Pause(gap)];
                connection.acts.extend(bytes.chunks(size).flat_map(piece));
            }
        }
        match then {
            Some(Then::Close) => connection.acts.push_back(Act::Fin),
            Some(Then::ResetAfter(after)) => connection.acts.extend([Act::Pause(after), Act::Rst]),
            None => {}
        }
        self.act(id, wire);
    }

    /// Goes on with the script.
    pub(super) fn resume(&mut self, id: ConnectionId, wire: &mut Wire) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.pausing = false;
        }
        self.act(id, wire);
        self.converse(id, wire);
    }

    /// A server is done with a handshake: it answers, and takes the next one.
    pub(super) fn service_ends(&mut self, id: ConnectionId, wire: &mut Wire) {
        self.in_service -= 1;
        if let Some(connection) = self.connections.get_mut(&id)
            && let Stage::InService(handshake) = std::mem::replace(&mut connection.stage, Stage::Deaf)
        {
            let (stage, acts) = answer(&self.peer.script, handshake, &self.templates);
            self.go_on(id, stage, acts);
            self.poll(id, wire);
        }
        self.start_service(wire);
    }

    fn read_c0c1(&mut self, id: ConnectionId, mut handshake: Box<Handshake>) -> (Stage, Vec<Act>) {
        let end = handshake.received.len().min(C0C1_SIZE);
        let c0c1 = &mut handshake.received[..end];
        if end == C0C1_SIZE && self.peer.script.knows_no_digests() {
            hide_digest(c0c1);
        }
        match handshake.server.advance(c0c1, &self.templates) {
            Ok(ServerState::AwaitingC2) => {
                match handshake.server.mode() {
                    Some(HandshakeMode::Complex) => self.counts.complex += 1,
                    _ => self.counts.simple += 1,
                }
                self.waiting.push_back(id);
                (Stage::InService(handshake), vec![])
            }
            Ok(_) => (Stage::AwaitingC0C1(handshake), vec![]),
            Err(_) => {
                self.counts.violations += 1;
                (Stage::Deaf, vec![Act::Fin])
            }
        }
    }

    fn read_c2(&mut self, mut handshake: Box<Handshake>) -> (Stage, Vec<Act>) {
        match handshake.server.advance(&handshake.received, &self.templates) {
            Ok(ServerState::Done(verdict)) => {
                match verdict {
                    C2Verdict::Valid => self.counts.c2_valid += 1,
                    C2Verdict::Echo => self.counts.c2_echo += 1,
                    C2Verdict::Invalid | C2Verdict::Unchecked => self.counts.c2_invalid += 1,
                }
                let stage = match handshake.received.get(C0C1_SIZE + C2_SIZE..) {
                    _ if self.peer.script == PeerScript::Endless => Stage::Deaf,
                    None | Some([]) => Stage::InSession(None),
                    Some(early) => {
                        let mut session = Box::new(Session::new(&self.peer.sessions));
                        session.arrived(early);
                        Stage::InSession(Some(session))
                    }
                };
                (stage, handshake.after_c2)
            }
            _ => (Stage::AwaitingC2(handshake), vec![]),
        }
    }

    fn go_on(&mut self, id: ConnectionId, stage: Stage, acts: Vec<Act>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stage = stage;
            connection.acts.extend(acts);
        }
    }

    fn start_service(&mut self, wire: &mut Wire) {
        let service = self.peer.service;
        while self.in_service < service.parallelism
            && let Some(id) = self.waiting.pop_front()
        {
            self.in_service += 1;
            let work = service.time + wire.exponential(service.noise);
            wire.schedule(self.freezes.work_end(wire.now(), work), Event::ServiceEnds(self.id, id));
        }
    }

    /// Acts until the script pauses, ends, or a stream's window is full.
    fn act(&mut self, id: ConnectionId, wire: &mut Wire) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        while !connection.pausing
            && let Some(act) = connection.acts.pop_front()
        {
            let pause = match act {
                Act::Write(bytes) => {
                    connection.write(id, bytes, wire);
                    continue;
                }
                Act::Fin => {
                    connection.send(id, ToClient::Fin, wire);
                    connection.stage = Stage::Closed;
                    continue;
                }
                Act::Rst => {
                    connection.send(id, ToClient::Rst, wire);
                    self.connections.remove(&id);
                    return;
                }
                // What arrives for a connection that nobody knows is lost without a word.
                Act::Vanish => {
                    self.connections.remove(&id);
                    return;
                }
                Act::Stream => {
                    connection.acts.push_front(Act::Stream);
                    if connection.sent - connection.taken_by_client >= WINDOW {
                        return;
                    }
                    connection.write(id, vec![GARBAGE; STREAM_SEGMENT], wire);
                    STREAM_GAP
                }
                Act::Pause(length) => length,
            };
            connection.pausing = true;
            wire.schedule(self.freezes.thaw(wire.now() + pause), Event::TargetActs(self.id, id));
        }
    }

    /// The application closes a connection that the client has ended.
    fn heed_end(&mut self, id: ConnectionId) {
        let Some(ended) = self.connections.get(&id).and_then(|connection| connection.ended) else { return };
        match ended {
            Ended::Fin => self.counts.fins += 1,
            Ended::Rst => self.counts.resets += 1,
        }
        self.connections.remove(&id);
    }
}

impl Connection {
    fn new(slot: SlotIndex, server: ServerHandshake) -> Self {
        let handshake = Handshake { server, received: Vec::new(), after_c2: Vec::new() };
        Self {
            slot,
            stage: Stage::Established(Box::new(handshake)),
            acts: VecDeque::new(),
            pausing: false,
            ended: None,
            last_arrival: Time::ZERO,
            sent: 0,
            taken_by_client: 0,
        }
    }

    fn write(&mut self, id: ConnectionId, bytes: Vec<u8>, wire: &mut Wire) {
        self.sent += bytes.len() as u64;
        self.send(id, ToClient::Data(bytes), wire);
    }

    fn send(&mut self, id: ConnectionId, what: ToClient, wire: &mut Wire) {
        wire.send(&mut self.last_arrival, Event::AtClient(self.slot, id, what));
    }
}

/// What the application does with a connection it has accepted.
fn accept(script: &PeerScript, handshake: Box<Handshake>) -> (Stage, Vec<Act>) {
    match script {
        PeerScript::Silent => (Stage::Deaf, vec![]),
        PeerScript::CloseAfterConnect => (Stage::Deaf, vec![Act::Fin]),
        PeerScript::EndlessGarbage => (Stage::Deaf, vec![Act::Stream]),
        _ => (Stage::AwaitingC0C1(handshake), vec![]),
    }
}

/// What the application answers to a complete C0C1.
fn answer(script: &PeerScript, mut handshake: Box<Handshake>, templates: &ServerTemplates) -> (Stage, Vec<Act>) {
    let mut s0s1s2 = vec![0; S0S1S2_SIZE];
    handshake.server.write_s0s1s2(&handshake.received, templates, &mut s0s1s2);
    let half = 1 + BLOCK_SIZE / 2;
    let (acts, after_c2) = match script {
        PeerScript::Serve { segments, gap, tail, s2_after_c2 } => {
            s0s1s2.extend(tail);
            serve(&s0s1s2, segments, *gap, *s2_after_c2)
        }
        PeerScript::OneByteAtATime { gap } => serve(&s0s1s2, &[1; S0S1S2_SIZE], *gap, false),
        PeerScript::ServeSimpleOnly
        | PeerScript::Overloads { .. }
        | PeerScript::NoPorts { .. }
        | PeerScript::NoDescriptors { .. } => (vec![Act::Write(s0s1s2)], vec![]),
        PeerScript::Version(byte) => {
            s0s1s2[0] = *byte;
            (vec![Act::Write(s0s1s2)], vec![])
        }
        PeerScript::WrongS1Digest => {
            s0s1s2[S0S1_SIZE - 1] ^= 1;
            (vec![Act::Write(s0s1s2)], vec![])
        }
        PeerScript::WrongS2Digest | PeerScript::WrongEcho => {
            s0s1s2[S0S1S2_SIZE - 1] ^= 1;
            (vec![Act::Write(s0s1s2)], vec![])
        }
        PeerScript::Http => (vec![Act::Write(HTTP_ANSWER.to_vec()), Act::Fin], vec![]),
        PeerScript::CloseAfterC0C1 => (vec![Act::Fin], vec![]),
        PeerScript::ResetAfterC0C1 => (vec![Act::Rst], vec![]),
        PeerScript::HalfOfS1 => (vec![Act::Write(s0s1s2[..half].to_vec())], vec![]),
        PeerScript::HalfOfS1ThenClose => (vec![Act::Write(s0s1s2[..half].to_vec()), Act::Fin], vec![]),
        PeerScript::Endless => (vec![Act::Write(s0s1s2), Act::Stream], vec![]),
        PeerScript::ResetAfterS0S1S2 => (vec![Act::Write(s0s1s2), Act::Rst], vec![]),
        PeerScript::CloseHeldAfter { after } => (vec![Act::Write(s0s1s2)], vec![Act::Pause(*after), Act::Fin]),
        PeerScript::Vanishes { after } => (vec![Act::Write(s0s1s2)], vec![Act::Pause(*after), Act::Vanish]),
        PeerScript::ClosesWithFin => (vec![Act::Write(s0s1s2)], vec![Act::Fin]),
        PeerScript::Refuse
        | PeerScript::Unreachable
        | PeerScript::NoRoute
        | PeerScript::DropSyn
        | PeerScript::Silent
        | PeerScript::CloseAfterConnect
        | PeerScript::EndlessGarbage => unreachable!("{script:?} reads no C0C1"),
    };
    handshake.after_c2 = after_c2;
    (Stage::AwaitingC2(handshake), acts)
}

impl PeerScript {
    fn knows_no_digests(&self) -> bool {
        matches!(self, Self::ServeSimpleOnly | Self::WrongEcho)
    }
}

/// Cuts `answer` into writes of the sizes given, with pauses between them; what waits for C2 comes second.
fn serve(answer: &[u8], segments: &[usize], gap: Nanos, s2_after_c2: bool) -> (Vec<Act>, Vec<Act>) {
    let mut ends: Vec<usize> = segments
        .iter()
        .scan(0_usize, |end, size| {
            *end = end.saturating_add(*size);
            Some((*end).min(answer.len()))
        })
        .chain([answer.len()])
        .chain(s2_after_c2.then_some(S0S1_SIZE))
        .filter(|&end| end > 0)
        .collect();
    ends.sort_unstable();
    ends.dedup();
    let (mut now, mut after_c2) = (Vec::new(), Vec::new());
    let mut start = 0;
    for end in ends {
        let acts = if s2_after_c2 && start >= S0S1_SIZE { &mut after_c2 } else { &mut now };
        if !acts.is_empty() && gap > Nanos::ZERO {
            acts.push(Act::Pause(gap));
        }
        acts.push(Act::Write(answer[start..end].to_vec()));
        start = end;
    }
    (now, after_c2)
}

/// Clears C1's version: [`ServerHandshake`] then reads C1 as a server does that knows no digests. S2 still counts as
/// C1's echo, which is compared in bytes 8..1536 only.
fn hide_digest(c0c1: &mut [u8]) {
    c0c1[5..9].fill(0);
}
