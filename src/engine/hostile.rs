//! The connection of a hostile or odd client: it plays its course, and what counts is what the target does.

use crate::base::{Nanos, Time};
use crate::io::{BufferId, Buffers, Destination, Errno, Payload};
use crate::measure::{Ending, Failure, Reaction, Side, Step};
use crate::protocol::{Afterwards, C2_SIZE, ClientHandshake, ClientState};

use super::plan::WorkerPlan;
use super::progress::{Begin, Progress};
use super::turn::Context;

/// A hostile client's side of one connection, from connected on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Play {
    handshake: ClientHandshake,
    template: u16,
    connected: Time,
    /// When its patience is over.
    limit: Time,
    /// Bytes of the opening whose send was issued.
    issued: u32,
    /// A piece of the opening is on its way.
    sending: bool,
    /// When the next piece goes out.
    next_piece: Option<Time>,
    receive: BufferId,
    received: u32,
    answered: Option<Time>,
    c2: C2,
}

/// Where the C2 of a hostile client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum C2 {
    /// S0S1 is not complete, or the opening is not out.
    NotYet,
    /// It sends none, or S0S1 was none that a C2 answers.
    Never,
    /// It is signed, and the opening is not out. It cannot be signed later: a receive has the buffer with S1 then.
    Waits(BufferId),
    Sending(BufferId),
    Sent,
}

impl Play {
    /// The connection is open: sends the first piece and listens.
    pub(super) fn begin(begin: Begin, connected: Time, context: &mut Context<'_>) -> Self {
        let receive = context.turn.buffers.receive.take().expect("a receive buffer for each slot");
        let mut play = Self {
            handshake: begin.handshake,
            template: begin.template,
            connected,
            limit: connected + context.timeout,
            issued: 0,
            sending: false,
            next_piece: None,
            receive,
            received: 0,
            answered: None,
            c2: C2::NotYet,
        };
        play.send_piece(context);
        play.listen(context);
        play
    }

    /// A send completed.
    pub(super) fn sent(&mut self, result: Result<u32, Errno>, context: &mut Context<'_>) -> Progress {
        if let C2::Sending(buffer) = self.c2 {
            context.turn.buffers.send.release(buffer);
            self.c2 = C2::Sent;
        }
        if let Err(errno) = result {
            return self.broken(Failure::from_errno(Step::SendC0c1, errno), context.turn.now);
        }
        self.sending = false;
        let templates = &context.client.templates;
        if (self.issued as usize) < templates.opening_len() {
            let at = context.turn.now + templates.pacing().gap();
            self.next_piece = Some(at);
            return Progress::Wakes(at.min(self.limit));
        }
        if templates.afterwards() == Afterwards::Close {
            return self.ends(Ending::Left, context.turn.now);
        }
        self.send_c2(context);
        Progress::Pending
    }

    /// A receive completed.
    pub(super) fn received(&mut self, result: Result<u32, Errno>, context: &mut Context<'_>) -> Progress {
        match result {
            Ok(0) => return self.ends(Ending::Closed, context.turn.now),
            Err(errno) => return self.broken(Failure::from_errno(Step::S0, errno), context.turn.now),
            Ok(bytes) => self.received = self.received.saturating_add(bytes),
        }
        if self.answered.is_none() && Reaction::is_answer(self.received) {
            self.answered = Some(context.turn.now);
        }
        self.sign_c2(context);
        self.send_c2(context);
        self.listen(context);
        Progress::Pending
    }

    /// Its deadline has come: the next piece is due, or its patience is over.
    pub(super) fn woken(&mut self, context: &mut Context<'_>) -> Progress {
        if context.turn.now >= self.limit {
            return self.ends(Ending::Open, context.turn.now);
        }
        if self.next_piece.take().is_some() {
            self.send_piece(context);
        }
        Progress::Wakes(self.limit)
    }

    /// Gives the buffers back; no op is in flight.
    pub(super) fn release_buffers(&self, buffers: &mut Buffers) {
        buffers.receive.release(self.receive);
        if let C2::Waits(send) | C2::Sending(send) = self.c2 {
            buffers.send.release(send);
        }
    }

    fn send_piece(&mut self, context: &mut Context<'_>) {
        let client = context.client;
        let whole = client.templates.opening_len();
        let len = client.templates.pacing().next_send(self.issued as usize, whole) as u32;
        if len == 0 {
            return;
        }
        let offset = client.templates_offset + u32::from(self.template) * whole as u32 + self.issued;
        context.send(Payload::Shared { offset, len });
        self.issued += len;
        self.sending = true;
    }

    /// Signs the C2 that its course asks for, once S0S1 is there. No receive is armed.
    fn sign_c2(&mut self, context: &mut Context<'_>) {
        if self.c2 != C2::NotYet {
            return;
        }
        let client = context.client;
        let wrong = match client.templates.afterwards() {
            Afterwards::Handshake => false,
            Afterwards::WrongC2 => true,
            Afterwards::WithoutC2 | Afterwards::Nothing | Afterwards::Close => {
                self.c2 = C2::Never;
                return;
            }
        };
        let in_buffer = (self.received as usize).min(WorkerPlan::RECEIVE_SIZE);
        let Buffers { receive, send, .. } = &mut *context.turn.buffers;
        let received = &receive.bytes(self.receive)[..in_buffer];
        match self.handshake.advance(received, &client.templates) {
            Ok(ClientState::AwaitingS0 | ClientState::AwaitingS1) => return,
            // A violation of S2 comes after S0S1: there is something to answer.
            Err(_) if self.handshake.s1_digest().is_none() => {
                self.c2 = C2::Never;
                return;
            }
            _ => {}
        }
        let buffer = send.take().expect("a send buffer for each slot");
        let read_at_ms = (context.turn.now.as_nanos() / 1_000_000) as u32;
        let c2 = &mut send.bytes_mut(buffer)[..C2_SIZE];
        if wrong {
            self.handshake.write_wrong_c2(received, &client.templates, read_at_ms, c2);
        } else {
            self.handshake.write_c2(received, &client.templates, read_at_ms, c2);
        }
        self.c2 = C2::Waits(buffer);
    }

    /// Sends C2 if it is signed and the opening is out.
    fn send_c2(&mut self, context: &mut Context<'_>) {
        let out = !self.sending && self.issued as usize >= context.client.templates.opening_len();
        if let C2::Waits(buffer) = self.c2
            && out
        {
            context.send(Payload::Buffer { buffer, len: C2_SIZE as u32 });
            self.c2 = C2::Sending(buffer);
            self.sending = true;
        }
    }

    /// Arms a receive: into the buffer as long as it has room, then only to notice what comes.
    fn listen(&self, context: &mut Context<'_>) {
        let room = (WorkerPlan::RECEIVE_SIZE as u32).saturating_sub(self.received);
        context.receive(match room {
            0 => Destination::Discard,
            len => Destination::Buffer { buffer: self.receive, start: self.received, len },
        });
    }

    fn ends(&self, ending: Ending, now: Time) -> Progress {
        Progress::Reacted(Reaction {
            ending,
            after: now.since(self.connected),
            received: self.received,
            answered: self.answered.map(|at| at.since(self.connected)),
        })
    }

    /// An operation failed: the target reset the connection, or this machine could not go on.
    fn broken(&self, failure: Failure, now: Time) -> Progress {
        match failure.side() {
            Side::Generator => Progress::Failed(failure),
            Side::Target | Side::Network | Side::Unattributed => self.ends(Ending::Reset, now),
        }
    }
}

/// The open failed: that too is what the target, or the way to it, did.
pub(super) fn not_connected(failure: Failure) -> Progress {
    match failure.side() {
        Side::Generator => Progress::Failed(failure),
        Side::Target | Side::Network | Side::Unattributed => Progress::Reacted(Reaction {
            ending: Ending::NotConnected,
            after: Nanos::ZERO,
            received: 0,
            answered: None,
        }),
    }
}
