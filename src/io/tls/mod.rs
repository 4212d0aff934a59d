//! TLS over any backend.
//!
//! [`TlsIo`] is a backend above a backend. To its engine it is an [`Io`] whose connections carry plaintext once
//! [`Op::Secure`] has completed; below, the same connections carry TLS records. Connections that are never secured pass
//! through untouched, so targets with and without TLS share a worker. With a [`TlsServer`] every accepted connection is
//! secured: the handshake takes place while the first op waits, so that a server need not know.
//!
//! Records lie in buffers of the backend's own pools while they travel, of which [`TlsIo::new`] adds a share to the
//! plan, and on the heap while they wait to be complete; a held connection that only watches has neither. Each secured
//! connection has one session, allocated by `Secure` and freed by `Close`.
//!
//! * `config`: plans, certificates and keys, sessions to resume.
//! * `session`: the TLS machine of one connection (rustls, driven by bytes).
//! * `connection`: ops above, ops below.
//! * `verifier`: whether the server's certificate is accepted.
//! * `fault`: what is wrong, as an error number.
//! * `blocking`, `certificate`: one connection over a blocking socket, and what its server's certificate says.

mod blocking;
mod certificate;
mod config;
mod connection;
mod fault;
mod session;
#[cfg(test)]
mod tests;
mod verifier;

use std::collections::VecDeque;
use std::net::SocketAddr;

pub use self::blocking::{TlsFacts, TlsStop, TlsStream};
pub use self::certificate::Certificate;
pub use self::config::{TlsClient, TlsClientPlan, TlsError, TlsServer, TlsServerPlan, Trust};
use self::connection::{Connection, Supply, Turn};
use self::session::{RECORD_OVERHEAD, Session};
use super::{BufferPlan, Buffers, Bytes, Completion, Io, IoPlan, Op, OpKind, SlotIndex, TargetId, Token};
use crate::base::Time;

/// TLS of one worker's targets and listeners.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// By [`TargetId`]: how connections to the target are secured. A target beyond the end has no TLS, as one with
    /// `None`.
    pub clients: Vec<Option<TlsClient>>,
    /// How accepted connections are secured; `None` leaves them as they are.
    pub server: Option<TlsServer>,
}

/// A backend whose connections can be secured; see the [module](self).
pub struct TlsIo<I> {
    below: I,
    clients: Vec<Option<TlsClient>>,
    server: Option<TlsServer>,
    slots: Box<[Slot]>,
    shared_bytes: Bytes,
    media: Bytes,
    /// Connections that wait for a buffer, the one that has waited longest first.
    starving: VecDeque<SlotIndex>,
    /// For the backend below.
    ops: Vec<Op>,
    /// From the backend below.
    completions: Vec<Completion>,
}

/// What is remembered of every slot, secured or not.
struct Slot {
    connection: Option<Box<Connection>>,
    target: TargetId,
    /// Accepted, to be secured by its first op.
    accepted: bool,
    /// Has a place in the queue of those that wait for a buffer.
    starving: bool,
}

impl<I: Io> TlsIo<I> {
    /// TLS above the backend that `make` makes of the plan.
    ///
    /// The plan's pools grow: the engine keeps the buffers it asked for, none of them smaller, and as many again carry
    /// records.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn new<E>(plan: IoPlan, tls: &Tls, make: impl FnOnce(IoPlan) -> Result<I, E>) -> Result<Self, E> {
        let plan = IoPlan { buffers: Self::buffers_below(plan.buffers), ..plan };
        let vacant = || Slot { connection: None, target: TargetId(0), accepted: false, starving: false };
        Ok(Self {
            clients: tls.clients.iter().map(|client| client.as_ref().map(TlsClient::of_worker)).collect(),
            server: tls.server.clone(),
            slots: (0..plan.slots).map(|_| vacant()).collect(),
            shared_bytes: plan.shared_bytes.clone(),
            media: plan.media.clone(),
            starving: VecDeque::new(),
            ops: Vec::new(),
            completions: Vec::new(),
            below: make(plan)?,
        })
    }

    /// The buffers of the backend below, for an engine that wants `buffers`.
    pub fn buffers_below(buffers: BufferPlan) -> BufferPlan {
        // What fits a buffer of the engine's leaves as one record in one send, and arrives likewise.
        BufferPlan {
            count: buffers.count.saturating_mul(2),
            receive_size: buffers.receive_size + RECORD_OVERHEAD as u32,
            send_size: buffers.send_size + RECORD_OVERHEAD as u32,
        }
    }

    /// The backend below.
    pub fn below(&self) -> &I {
        &self.below
    }

    fn slot(&mut self, slot: SlotIndex) -> &mut Slot {
        let count = self.slots.len();
        self.slots.get_mut(slot.0 as usize).unwrap_or_else(|| panic!("{slot:?}: there are {count} slots"))
    }

    /// Executes an op of the engine.
    fn begin(&mut self, op: Op, completions: &mut Vec<Completion>) {
        match op {
            Op::Open { token, target, .. } => {
                self.slot(token.slot()).target = target;
                self.ops.push(op);
            }
            Op::Secure { token } => self.secure(token, completions),
            Op::Accept { .. } => self.ops.push(op),
            Op::AcknowledgeAtOnce { .. } => self.ops.push(op),
            Op::Cancel { of } if of.kind() == OpKind::Accept => self.ops.push(op),
            Op::Send { token, .. } | Op::Recv { token, .. } | Op::Close { token, .. } | Op::Cancel { of: token } => {
                if matches!(op, Op::Send { .. } | Op::Recv { .. }) && self.slot(token.slot()).accepted {
                    self.secure_accepted(token);
                }
                let (connection, mut turn) = self.connection(token.slot(), completions);
                let Some(connection) = connection else {
                    self.ops.push(op);
                    self.slot(token.slot()).accepted &= !matches!(op, Op::Close { .. });
                    return;
                };
                match op {
                    Op::Send { payload, .. } => connection.send(token, payload, &mut turn),
                    Op::Recv { into, .. } => connection.recv(token, into, &mut turn),
                    Op::Close { how, .. } => connection.close(token, how, &mut turn),
                    // Below, the op of this name is the connection's own; only an open is the engine's.
                    Op::Cancel { .. } if token.kind() == OpKind::Open => turn.ops.push(op),
                    _ => connection.cancel(token, &mut turn),
                }
                self.go_on(token.slot(), completions);
            }
        }
    }

    fn secure(&mut self, token: Token, completions: &mut Vec<Completion>) {
        assert_eq!(token.kind(), OpKind::Secure, "{token:?} does not name a handshake");
        let slot = self.slot(token.slot());
        assert!(slot.connection.is_none(), "{token:?}: the connection is secured already");
        let target = slot.target;
        let client = self.clients.get(usize::from(target.0)).and_then(Option::as_ref);
        let client = client.unwrap_or_else(|| panic!("{token:?}: {target:?} has no TLS"));
        match Session::client(client) {
            Ok(session) => {
                let mut connection = Connection::new(session, token);
                connection.secure();
                self.slot(token.slot()).connection = Some(Box::new(connection));
                self.go_on(token.slot(), completions);
            }
            Err(errno) => completions.push(Completion { token, result: Err(errno) }),
        }
    }

    /// Only the first op of an accepted connection tells its generation.
    fn secure_accepted(&mut self, token: Token) {
        let server = self.server.as_ref().expect("only with a server's certificate connections are marked");
        let session = Session::server(server).expect("the configuration was accepted when it was loaded");
        let slot = self.slot(token.slot());
        slot.accepted = false;
        slot.connection = Some(Box::new(Connection::new(session, token)));
    }

    /// What a completion of the backend below means.
    fn finish(&mut self, completion: Completion, completions: &mut Vec<Completion>) {
        let Completion { token, result } = completion;
        match (token.kind(), result) {
            (OpKind::Accept, Ok(slot)) => {
                let accepted = self.server.is_some();
                self.slot(SlotIndex(slot)).accepted = accepted;
                completions.push(completion);
            }
            (OpKind::Send | OpKind::Recv, _) => {
                let (connection, mut turn) = self.connection(token.slot(), completions);
                match connection {
                    Some(connection) if token.kind() == OpKind::Send => connection.sent(result, &mut turn),
                    Some(connection) => connection.received(result, &mut turn),
                    None => return completions.push(completion),
                }
                self.go_on(token.slot(), completions);
            }
            (OpKind::Close, _) => {
                self.slot(token.slot()).connection = None;
                completions.push(completion);
            }
            (OpKind::Open | OpKind::Accept | OpKind::Secure, _) => completions.push(completion),
        }
    }

    fn go_on(&mut self, index: SlotIndex, completions: &mut Vec<Completion>) {
        let (connection, mut turn) = self.connection(index, completions);
        let Some(connection) = connection else { return };
        let supply = connection.go_on(&mut turn);
        let slot = self.slot(index);
        if supply == Supply::Starved && !slot.starving {
            slot.starving = true;
            self.starving.push_back(index);
        }
    }

    /// Lets those that wait for a buffer try again.
    fn feed_starving(&mut self, completions: &mut Vec<Completion>) {
        for _ in 0..self.starving.len() {
            let Buffers { receive, send, .. } = self.below.buffers();
            if receive.available() == 0 && send.available() == 0 {
                return;
            }
            let Some(index) = self.starving.pop_front() else { return };
            self.slot(index).starving = false;
            self.go_on(index, completions);
        }
    }

    /// The slot's connection, if it is secured, and what it needs to act.
    fn connection<'a>(
        &'a mut self,
        slot: SlotIndex,
        completions: &'a mut Vec<Completion>,
    ) -> (Option<&'a mut Connection>, Turn<'a>) {
        let Self { below, slots, shared_bytes, media, ops, .. } = self;
        let turn = Turn { buffers: below.buffers(), shared_bytes, media, ops, completions };
        (slots.get_mut(slot.0 as usize).and_then(|slot| slot.connection.as_deref_mut()), turn)
    }
}

impl<I: Io> Io for TlsIo<I> {
    fn now(&self) -> Time {
        self.below.now()
    }

    fn buffers(&mut self) -> &mut Buffers {
        self.below.buffers()
    }

    /// As the contract says. What the completions of one turn ask of the backend below (the next message of a
    /// handshake) is submitted by the next turn, which comes at once if there was nothing for the engine.
    fn submit_and_wait(
        &mut self,
        ops: &mut Vec<Op>,
        wake_at: Time,
        completions: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        let before = completions.len();
        for op in ops.drain(..) {
            self.begin(op, completions);
        }
        loop {
            self.feed_starving(completions);
            let wait_until = if completions.len() > before { Time::ZERO } else { wake_at };
            let mut from_below = std::mem::take(&mut self.completions);
            let answer = self.below.submit_and_wait(&mut self.ops, wait_until, &mut from_below);
            for completion in from_below.drain(..) {
                self.finish(completion, completions);
            }
            self.completions = from_below;
            answer?;
            if completions.len() > before || self.ops.is_empty() && self.now() >= wake_at {
                return Ok(());
            }
        }
    }

    fn retarget(&mut self, target: TargetId, address: SocketAddr) {
        self.below.retarget(target, address);
    }

    fn completion_overflows(&self) -> u64 {
        self.below.completion_overflows()
    }
}
