//! The generator's end of the network: its sockets, its buffers, and the referee of the backend contract.

use std::collections::VecDeque;

use super::peer::{Peer, PeerScript};
use super::wire::{ConnectionId, Event, Syn, ToClient, ToTarget, Wire};
use crate::base::{Nanos, Time};
use crate::io::{
    BufferId, Buffers, Bytes, CloseHow, Completion, Destination, Errno, IoPlan, KeepAlive, Op, OpKind, Payload,
    SlotIndex, SourceId, TargetId, Token,
};

/// The generator's host.
///
/// # Panics
/// On every op that breaks the contract of [`Io`](crate::io::Io): the engine is wrong then.
pub(super) struct Client {
    pub(super) buffers: Buffers,
    slots: Vec<Slot>,
    shared_bytes: Bytes,
    media: Bytes,
    sources: usize,
    keep_alive: Option<KeepAlive>,
    /// By target: what this host itself refuses, and how many connections occupy ports.
    local: Vec<LocalLimit>,
    completions: Vec<Completion>,
    connections: u64,
}

/// When the client's kernel sends its SYN again: seconds since the connect (Linux 6.5 and later:
/// `tcp_syn_linear_timeouts` 4, `tcp_syn_retries` 6). At the last one the connect fails with `ETIMEDOUT`.
const SYN_TIMERS_S: [u64; 11] = [1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131];

/// What this host refuses itself, it refuses after this long. An attempt that took no time would be repeated by a closed
/// loop for ever in one instant, and the virtual clock would stand still.
const LOCAL_REFUSAL: Nanos = Nanos::from_millis(1);

/// The target hears about the window after this many bytes were taken.
const WINDOW_STEP: u64 = 16 * 1024;

struct Slot {
    generation: u32,
    socket: Socket,
    /// One bit for each [`OpKind`] submitted whose completion was not returned yet.
    in_flight: u8,
    /// A `Send` queued behind the `Open`, or one for which the target leaves no room.
    queued_send: Option<Vec<u8>>,
    waiting_recv: Option<Destination>,
    send_buffer: Option<BufferId>,
    recv_buffer: Option<BufferId>,
}

enum Socket {
    Closed,
    /// The `Open` failed; what the other ops get.
    Failed {
        send: Errno,
        recv: Errno,
    },
    Open(Box<Connection>),
}

struct Connection {
    id: ConnectionId,
    target: TargetId,
    /// This host's limits leave room for it.
    admitted: bool,
    phase: Phase,
    inbox: VecDeque<u8>,
    fin: bool,
    reset: bool,
    /// What an RST left for the next op to report (the kernel's `sk_err`).
    error: Option<Errno>,
    /// Bytes that it still takes from this side.
    room: u64,
    taken: u64,
    window_told: u64,
    last_arrival: Time,
    /// When the last packet of the peer arrived, and the probes sent since.
    heard_at: Time,
    probes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    /// The `Open` was cancelled: ops queued behind it stay until they are cancelled too.
    Abandoned,
}

struct LocalLimit {
    most: u32,
    errno: Errno,
    open: u32,
    /// Bytes that a connection takes.
    room: u64,
}

impl Client {
    pub(super) fn new(plan: &IoPlan, peers: impl Iterator<Item = Peer>) -> Self {
        Self {
            buffers: Buffers::new(plan.buffers),
            slots: (0..plan.slots).map(|_| Slot::new()).collect(),
            shared_bytes: plan.shared_bytes.clone(),
            media: plan.media.clone(),
            sources: plan.sources.len(),
            keep_alive: plan.hold_check.map(KeepAlive::after),
            local: peers.map(|peer| LocalLimit::of(&peer)).collect(),
            completions: Vec::new(),
            connections: 0,
        }
    }

    /// Executes one op of the generator.
    pub(super) fn execute(&mut self, op: Op, wire: &mut Wire) {
        match op {
            // A simulated socket takes what is sent in the writes it came in: Nagle's algorithm has nothing to delay.
            Op::Open { token, target, source, nagle: _ } => self.open(token, target, source, wire),
            Op::Send { token, payload } => self.send(token, payload, wire),
            Op::Secure { token } => panic!("{token:?}: a simulated network has no TLS"),
            Op::Recv { token, into } => self.recv(token, into, wire),
            Op::Close { token, how } => self.close(token, how, wire),
            Op::Cancel { of } => self.cancel(of),
            // A simulated server writes when it likes: acknowledgements hold nothing back.
            Op::AcknowledgeAtOnce { of: _ } => {}
            Op::Accept { token, .. } => panic!("{token:?}: a simulated worker has no listeners"),
        }
    }

    /// Something arrives from a target; what arrives for a connection that is gone is lost.
    pub(super) fn deliver(&mut self, slot: SlotIndex, id: ConnectionId, what: ToClient, wire: &mut Wire) {
        let Some(connection) = self.slots[slot.0 as usize].connection(id) else { return };
        (connection.heard_at, connection.probes) = (wire.now(), 0);
        match (what, connection.phase) {
            (_, Phase::Abandoned) | (ToClient::Alive, _) => {}
            (ToClient::SynAck, _) => {
                connection.phase = Phase::Connected;
                if let Some(KeepAlive { idle, .. }) = self.keep_alive {
                    wire.schedule(wire.now() + idle, Event::KeepAliveTimer(slot, id));
                }
                self.complete(slot, OpKind::Open, Ok(0));
                if let Some(bytes) = self.slots[slot.0 as usize].queued_send.take() {
                    self.transmit(slot, bytes, wire);
                }
                self.try_recv(slot, wire);
            }
            (ToClient::NoConnection(errno), _) => self.fail_open(slot, errno, wire),
            (ToClient::Data(bytes), _) => {
                connection.inbox.extend(bytes);
                self.try_recv(slot, wire);
            }
            (ToClient::Fin, _) => {
                connection.fin = true;
                self.try_recv(slot, wire);
            }
            (ToClient::Rst, _) => {
                // tcp_reset(): EPIPE in CLOSE_WAIT, else ECONNRESET.
                connection.error = Some(if connection.fin { Errno::PIPE } else { Errno::CONNRESET });
                connection.reset = true;
                self.try_recv(slot, wire);
                self.break_send(slot);
            }
        }
    }

    /// A SYN was not answered in time.
    pub(super) fn syn_timer(&mut self, syn: Syn, wire: &mut Wire) {
        let Some(connection) = self.slots[syn.slot.0 as usize].connection(syn.id) else { return };
        if connection.phase != Phase::Connecting {
            return;
        }
        if syn.attempt + 1 == SYN_TIMERS_S.len() {
            self.fail_open(syn.slot, Errno::TIMEDOUT, wire);
        } else {
            wire.send(&mut connection.last_arrival, Event::SynArrives(Syn { attempt: syn.attempt + 1, ..syn }));
        }
    }

    /// As `tcp_keepalive_timer`: silence is answered by probes, and unanswered probes by giving up.
    pub(super) fn keep_alive_timer(&mut self, slot: SlotIndex, id: ConnectionId, wire: &mut Wire) {
        let Some(keep_alive) = self.keep_alive else { return };
        let Some(connection) = self.slots[slot.0 as usize].connection(id) else { return };
        if connection.reset {
            return;
        }
        let mut next = connection.heard_at + keep_alive.idle;
        if next <= wire.now() {
            if connection.probes == KeepAlive::PROBES {
                (connection.error, connection.reset) = (Some(Errno::TIMEDOUT), true);
                self.try_recv(slot, wire);
                return self.break_send(slot);
            }
            connection.probes += 1;
            connection.send(ToTarget::Probe, wire);
            next = wire.now() + keep_alive.interval;
        }
        wire.schedule(next, Event::KeepAliveTimer(slot, id));
    }

    /// Whether there is something to return.
    pub(super) fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// Returns what completed: only now are its buffers the generator's again, and its tokens free.
    pub(super) fn return_completions(&mut self, into: &mut Vec<Completion>) {
        for completion in &self.completions {
            let slot = &mut self.slots[completion.token.slot().0 as usize];
            slot.in_flight &= !bit(completion.token.kind());
            match completion.token.kind() {
                OpKind::Send => slot.send_buffer.take().into_iter().for_each(|id| self.buffers.send.give_back(id)),
                OpKind::Recv => slot.recv_buffer.take().into_iter().for_each(|id| self.buffers.receive.give_back(id)),
                _ => {}
            }
        }
        into.append(&mut self.completions);
    }

    fn open(&mut self, token: Token, target: TargetId, source: SourceId, wire: &mut Wire) {
        let sources = self.sources;
        assert!(source == SourceId::ANY || usize::from(source.0) < sources, "{token:?}: there is no {source:?}");
        assert!(usize::from(target.0) < self.local.len(), "{token:?}: there is no {target:?}");
        let slot = self.slot_of(token, OpKind::Open);
        assert!(slot.in_flight == 0, "{token:?}: the slot still has ops in flight");
        assert!(matches!(slot.socket, Socket::Closed), "{token:?}: the slot was not closed");
        slot.generation = token.generation();
        slot.in_flight = bit(OpKind::Open);
        let local = &mut self.local[usize::from(target.0)];
        let (admitted, room) = (local.open < local.most, local.room);
        local.open += u32::from(admitted);
        self.connections += 1;
        let id = ConnectionId(self.connections);
        let mut connection = Box::new(Connection::new(id, target, admitted, room));
        if admitted {
            let syn = Syn { id, slot: token.slot(), target, opened_at: wire.now(), attempt: 0 };
            wire.send(&mut connection.last_arrival, Event::SynArrives(syn));
        } else {
            let refused = Event::AtClient(token.slot(), id, ToClient::NoConnection(local.errno));
            wire.schedule(wire.now() + LOCAL_REFUSAL, refused);
        }
        self.slots[token.slot().0 as usize].socket = Socket::Open(connection);
    }

    fn send(&mut self, token: Token, payload: Payload, wire: &mut Wire) {
        self.begin(token, OpKind::Send);
        let slot = &mut self.slots[token.slot().0 as usize];
        let bytes = match payload {
            Payload::Shared { offset, len } => self.shared_bytes[offset as usize..][..len as usize].to_vec(),
            Payload::Media { offset, len } => self.media[offset as usize..][..len as usize].to_vec(),
            Payload::Buffer { buffer, len } => {
                let bytes = self.buffers.send.bytes(buffer)[..len as usize].to_vec();
                self.buffers.send.lend(buffer);
                slot.send_buffer = Some(buffer);
                bytes
            }
        };
        assert!(!bytes.is_empty(), "{token:?}: nothing to send");
        match &slot.socket {
            Socket::Failed { send, .. } => {
                let errno = *send;
                self.complete(token.slot(), OpKind::Send, Err(errno));
            }
            Socket::Open(connection) if connection.phase == Phase::Connected => {
                self.transmit(token.slot(), bytes, wire);
            }
            Socket::Open(_) => slot.queued_send = Some(bytes),
            Socket::Closed => unreachable!("begin() refuses ops on a closed slot"),
        }
    }

    fn recv(&mut self, token: Token, into: Destination, wire: &mut Wire) {
        self.begin(token, OpKind::Recv);
        let slot = &mut self.slots[token.slot().0 as usize];
        if let Destination::Buffer { buffer, start, len } = into {
            let size = self.buffers.receive.size();
            assert!(len >= 1 && start as usize + len as usize <= size, "{token:?}: {start}+{len} of {size} bytes");
            self.buffers.receive.lend(buffer);
            slot.recv_buffer = Some(buffer);
        }
        slot.waiting_recv = Some(into);
        self.try_recv(token.slot(), wire);
    }

    fn close(&mut self, token: Token, how: CloseHow, wire: &mut Wire) {
        self.begin(token, OpKind::Close);
        let slot = &mut self.slots[token.slot().0 as usize];
        assert!(slot.in_flight == bit(OpKind::Close), "{token:?}: the slot still has ops in flight");
        if let Socket::Open(mut connection) = std::mem::replace(&mut slot.socket, Socket::Closed) {
            self.local[usize::from(connection.target.0)].open -= u32::from(connection.admitted);
            // A close with unread data resets the connection however it was meant (RFC 2525, 2.17).
            let orderly = how == CloseHow::Fin && connection.phase == Phase::Connected && connection.inbox.is_empty();
            if !connection.reset {
                let end = if orderly { ToTarget::Fin } else { ToTarget::Rst };
                connection.send(end, wire);
            }
        }
        self.complete(token.slot(), OpKind::Close, Ok(0));
    }

    fn cancel(&mut self, of: Token) {
        let index = of.slot().0 as usize;
        assert!(index < self.slots.len(), "{of:?}: there is no such slot");
        let slot = &mut self.slots[index];
        if slot.generation != of.generation() {
            return;
        }
        let cancelled = match of.kind() {
            OpKind::Open => match &mut slot.socket {
                Socket::Open(connection) if connection.phase == Phase::Connecting => {
                    connection.phase = Phase::Abandoned;
                    true
                }
                _ => false,
            },
            OpKind::Send => slot.queued_send.take().is_some(),
            OpKind::Recv => slot.waiting_recv.take().is_some(),
            OpKind::Close | OpKind::Accept | OpKind::Secure => false,
        };
        if cancelled {
            self.complete(of.slot(), of.kind(), Err(Errno::CANCELED));
        }
    }

    /// An op on a connection: its slot was opened in this generation, and has no other op of this kind in flight.
    fn begin(&mut self, token: Token, kind: OpKind) {
        let slot = self.slot_of(token, kind);
        assert!(!matches!(slot.socket, Socket::Closed), "{token:?}: the slot was not opened");
        assert!(slot.generation == token.generation(), "{token:?}: the slot is in generation {}", slot.generation);
        assert!(slot.in_flight & bit(kind) == 0, "{token:?} is in flight already");
        slot.in_flight |= bit(kind);
    }

    fn slot_of(&mut self, token: Token, kind: OpKind) -> &mut Slot {
        assert!(token.kind() == kind, "{token:?} names an op of another kind than {kind:?}");
        let count = self.slots.len();
        self.slots.get_mut(token.slot().0 as usize).unwrap_or_else(|| panic!("{token:?}: there are {count} slots"))
    }

    fn complete(&mut self, index: SlotIndex, kind: OpKind, result: Result<u32, Errno>) {
        let token = Token::new(kind, index, self.slots[index.0 as usize].generation);
        self.completions.push(Completion { token, result });
    }

    /// The `Open` fails, and what is queued behind it gets what Linux answers on a socket that is not connected.
    fn fail_open(&mut self, index: SlotIndex, errno: Errno, wire: &mut Wire) {
        // Without a descriptor there is no file that the later ops could name.
        let (send, recv) = match errno {
            Errno::NFILE => (Errno::BADF, Errno::BADF),
            _ => (Errno::PIPE, Errno::NOTCONN),
        };
        let slot = &mut self.slots[index.0 as usize];
        if let Socket::Open(connection) = std::mem::replace(&mut slot.socket, Socket::Failed { send, recv }) {
            self.local[usize::from(connection.target.0)].open -= u32::from(connection.admitted);
        }
        let queued_send = slot.queued_send.take().is_some();
        self.complete(index, OpKind::Open, Err(errno));
        if queued_send {
            self.complete(index, OpKind::Send, Err(send));
        }
        self.try_recv(index, wire);
    }

    /// The connection is over: a send that waits for room is, too.
    fn break_send(&mut self, index: SlotIndex) {
        if self.slots[index.0 as usize].queued_send.take().is_some() {
            self.complete(index, OpKind::Send, Err(Errno::PIPE));
        }
    }

    /// The socket buffer takes everything at once, as long as the target takes it.
    fn transmit(&mut self, index: SlotIndex, bytes: Vec<u8>, wire: &mut Wire) {
        let slot = &mut self.slots[index.0 as usize];
        let Socket::Open(connection) = &mut slot.socket else { return };
        if connection.error.is_none() && !connection.reset {
            match connection.room.checked_sub(bytes.len() as u64) {
                Some(room) => connection.room = room,
                None => {
                    slot.queued_send = Some(bytes);
                    return;
                }
            }
        }
        let result = match connection.error.take() {
            Some(errno) => Err(errno),
            None if connection.reset => Err(Errno::PIPE),
            None => {
                let len = bytes.len() as u32;
                connection.send(ToTarget::Data(bytes), wire);
                Ok(len)
            }
        };
        self.complete(index, OpKind::Send, result);
    }

    /// Completes a waiting `Recv` if there is anything to say: bytes first, then the FIN, then an error, as Linux does
    /// (`tcp_recvmsg_locked`).
    fn try_recv(&mut self, index: SlotIndex, wire: &mut Wire) {
        let slot = &mut self.slots[index.0 as usize];
        let Some(into) = slot.waiting_recv else { return };
        let result = match &mut slot.socket {
            // Without a descriptor there is nothing to poll; a socket that is not connected has hung up.
            Socket::Failed { recv, .. } if into == Destination::Readable && *recv != Errno::BADF => Ok(1),
            Socket::Failed { recv, .. } => Err(*recv),
            Socket::Open(connection) if connection.phase == Phase::Connected => {
                if into == Destination::Readable {
                    if !connection.is_readable() {
                        return;
                    }
                    Ok(1)
                } else if !connection.inbox.is_empty() {
                    let taken = connection.take(into, &mut self.buffers);
                    connection.tell_window(wire);
                    Ok(taken)
                } else if connection.fin {
                    Ok(0)
                } else if let Some(errno) = connection.error.take() {
                    Err(errno)
                } else if connection.reset {
                    Ok(0)
                } else {
                    return;
                }
            }
            _ => return,
        };
        slot.waiting_recv = None;
        self.complete(index, OpKind::Recv, result);
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            generation: 0,
            socket: Socket::Closed,
            in_flight: 0,
            queued_send: None,
            waiting_recv: None,
            send_buffer: None,
            recv_buffer: None,
        }
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        match &mut self.socket {
            Socket::Open(connection) if connection.id == id => Some(connection),
            _ => None,
        }
    }
}

impl Connection {
    fn new(id: ConnectionId, target: TargetId, admitted: bool, room: u64) -> Self {
        Self {
            id,
            target,
            admitted,
            phase: Phase::Connecting,
            inbox: VecDeque::new(),
            fin: false,
            reset: false,
            error: None,
            room,
            taken: 0,
            window_told: 0,
            last_arrival: Time::ZERO,
            heard_at: Time::ZERO,
            probes: 0,
        }
    }

    fn send(&mut self, what: ToTarget, wire: &mut Wire) {
        wire.send(&mut self.last_arrival, Event::AtTarget(self.target, self.id, what));
    }

    /// What poll(2) would report.
    fn is_readable(&self) -> bool {
        !self.inbox.is_empty() || self.fin || self.reset
    }

    fn take(&mut self, into: Destination, buffers: &mut Buffers) -> u32 {
        let taken = match into {
            Destination::Discard => self.inbox.drain(..).count(),
            Destination::Readable => unreachable!("a watch takes nothing"),
            Destination::Buffer { buffer, start, len } => {
                let count = self.inbox.len().min(len as usize);
                // The backend writes as the kernel would; for the generator the buffer stays lent.
                buffers.receive.give_back(buffer);
                let room = &mut buffers.receive.bytes_mut(buffer)[start as usize..][..count];
                room.iter_mut().zip(self.inbox.drain(..count)).for_each(|(byte, received)| *byte = received);
                buffers.receive.lend(buffer);
                count
            }
        };
        if self.inbox.is_empty() {
            // A held connection has nothing to receive and keeps no memory for it.
            self.inbox = VecDeque::new();
        }
        self.taken += taken as u64;
        taken as u32
    }

    fn tell_window(&mut self, wire: &mut Wire) {
        if !self.reset && self.taken - self.window_told >= WINDOW_STEP {
            self.window_told = self.taken;
            self.send(ToTarget::Window(self.taken), wire);
        }
    }
}

impl LocalLimit {
    fn of(peer: &Peer) -> Self {
        let (most, errno) = match peer.script {
            PeerScript::NoRoute => (0, Errno::NETUNREACH),
            PeerScript::NoDescriptors { beyond } => (beyond, Errno::NFILE),
            PeerScript::NoPorts { beyond } => (beyond, Errno::ADDRNOTAVAIL),
            _ => (u32::MAX, Errno::ADDRNOTAVAIL),
        };
        Self { most, errno, open: 0, room: peer.takes.unwrap_or(u64::MAX) }
    }
}

impl Syn {
    /// When the client's kernel gives up waiting for the answer to this SYN.
    pub(super) fn timer(&self) -> Time {
        self.opened_at + Nanos::from_secs(SYN_TIMERS_S[self.attempt])
    }
}

const fn bit(kind: OpKind) -> u8 {
    1 << kind as u8
}
