//! One worker of the sink, sans-IO: completions go in, ops come out.
//!
//! A connection's life:
//!
//! ```text
//! accepted -> recv until C0C1 is in -> S0S1S2 (after the delay)     ops in flight: recv
//!          -> recv until C2 is in, armed before S0S1S2 leaves       recv, send
//!          -> established: told when there is something to read     recv
//!          -> in session: read, answer, watch again                 recv, send
//!          -> close                                                 close
//! ```
//!
//! A connection that says nothing after C2 has neither buffer nor session; one that does has a session, and a buffer while
//! it is read or answered. Commands that come with C2 are taken in at once and answered after S0S1S2.
//!
//! **What arrived is read before a reset is honoured.** Linux keeps received bytes readable after an RST and reports the
//! error only once they are read (`tcp_recvmsg`), but a send fails at once. So a failed send ends nothing: the recv that
//! is always in flight yields the bytes that arrived, then the end. C2 followed at once by an RST is counted.
//!
//! There are no deadlines: a silent client keeps its slot until it goes away.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use rand::Rng;

use super::SinkCounts;
use super::delay::DelayQueue;
use super::sessions::{Receive, SessionId, Sessions};
use crate::base::{Nanos, RandomStream, Time};
use crate::engine::Verify;
use crate::io::{
    BufferId, BufferPlan, Buffers, CloseHow, Completion, Destination, Errno, ListenerId, Op, OpKind, Payload,
    SlotIndex, Token,
};
use crate::protocol::session::{ServerPolicy, ServerSession};
use crate::protocol::{
    C0C1_SIZE, C2_SIZE, C2Verdict, HandshakeMode, S0S1S2_SIZE, ServerHandshake, ServerState, ServerTemplates, TlsFault,
};

/// The part of a sink's plan that one worker needs.
#[derive(Clone, Copy, Debug)]
pub struct WorkerPlan {
    /// Most connections open at once.
    pub slots: u32,
    /// Which C2s are checked.
    pub verify: Verify,
    /// From C1's last byte to S0S1S2.
    pub delay: Nanos,
    /// How often a client in session is pinged; zero: never.
    pub ping_every: Nanos,
}

/// The connections of one worker.
#[derive(Debug)]
pub struct SinkWorker {
    plan: WorkerPlan,
    templates: ServerTemplates,
    next_template: u16,
    sampling: RandomStream,
    /// The slots used so far: a worker has room for more connections than most sinks see, and that takes no memory.
    slots: Vec<Slot>,
    /// Handshakes in flight, by the receive buffer each owns; likewise.
    attempts: Vec<Attempt>,
    delayed: DelayQueue,
    sessions: Sessions,
    /// Connections that lack a buffer, with their generations; the one that has waited longest is first.
    starving: VecDeque<(SlotIndex, u32)>,
    accepting: Accepting,
    counts: SinkCounts,
}

/// What every open connection costs, held or not.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// 24 bits, as in [`Token`].
    generation: u32,
    state: State,
    /// A send failed: the connection is reset, but what arrived is not read yet.
    reset: bool,
}

const _: () = assert!(size_of::<Slot>() <= 16, "a million connections are held");

impl Slot {
    const FREE: Self = Self { generation: 0, state: State::Free, reset: false };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Accepted, waiting for a free attempt. No op is in flight.
    Unread,
    Handshaking {
        attempt: BufferId,
    },
    /// The verdict on C2 is counted, and nothing came after it.
    Established,
    InSession {
        session: SessionId,
    },
    Closing,
}

/// A handshake in flight, with the buffers it owns.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    slot: SlotIndex,
    handshake: ServerHandshake,
    /// Bytes of the handshake in the receive buffer, and of what came with its end.
    received: u32,
    answer: Answer,
    /// What came after C2 while S0S1S2 was not out.
    session: Option<SessionId>,
    /// C2 is in, and what comes after it is being read into the buffer.
    reading: bool,
}

/// Where S0S1S2 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// C0C1 is not complete.
    NotDue,
    /// C0C1 is complete, and no send buffer is free.
    Starving,
    /// Written, held back in the delay queue.
    Delayed { buffer: BufferId },
    /// Handed to the kernel.
    Sending { buffer: BufferId },
    /// Handed to the kernel on a connection that has ended meanwhile; it is closed when the send is over.
    Orphaned { buffer: BufferId, close: CloseHow },
    /// Sent, or failed to be.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// A multishot accept is in flight.
    Armed,
    /// None is; the next is armed at this instant at the earliest, and only when a slot is free.
    Paused { until: Time },
    /// The accept in flight is being cancelled.
    Ending,
    /// No connection is accepted any more.
    Ended,
}

/// The instant, buffers and ops of one step.
struct Turn<'a> {
    now: Time,
    buffers: &'a mut Buffers,
    ops: &'a mut Vec<Op>,
}

/// C0, C1 and C2.
const HANDSHAKE_SIZE: u32 = (C0C1_SIZE + C2_SIZE) as u32;
/// Room for a handshake, and for the commands that most clients send with C2.
const RECEIVE_SIZE: u32 = 4096;
/// Room for S0S1S2, and for all answers of a session at once.
const SEND_SIZE: u32 = S0S1S2_SIZE as u32;

const _: () = assert!(RECEIVE_SIZE > HANDSHAKE_SIZE && SEND_SIZE as usize >= ServerSession::MAX_OUTPUT);

/// Buffers of each pool, and so handshakes in flight per worker: 1 GB of address space, resident only as far as it is
/// used at once.
pub(super) const MOST_ATTEMPTS: u32 = 1 << 17;

/// A failed accept is repeated after this long. Where it failed for want of a slot, the kernel may have accepted a
/// connection before it looked for a place, and dropped it: tries are few.
const ACCEPT_PAUSE: Nanos = Nanos::from_millis(10);

const LISTENER: ListenerId = ListenerId(0);
const ACCEPT_TOKEN: Token = Token::new(OpKind::Accept, SlotIndex(LISTENER.0 as u32), 0);

impl WorkerPlan {
    /// The buffers a [`SinkWorker`] of this plan needs. Connections that are established own none.
    pub fn buffers(&self) -> BufferPlan {
        BufferPlan { count: self.slots.min(MOST_ATTEMPTS), receive_size: RECEIVE_SIZE, send_size: SEND_SIZE }
    }
}

impl SinkWorker {
    /// A worker with no connection, which conducts sessions by `policy`. `sampling` chooses the C2s checked under
    /// [`Verify::Sample`]; `now` is not later than any instant that follows.
    pub fn new(
        plan: WorkerPlan,
        policy: Arc<ServerPolicy>,
        templates: ServerTemplates,
        sampling: RandomStream,
        now: Time,
    ) -> Self {
        let attempts = plan.buffers().count;
        Self {
            plan,
            templates,
            next_template: 0,
            sampling,
            slots: Vec::with_capacity(plan.slots as usize),
            attempts: Vec::with_capacity(attempts as usize),
            delayed: DelayQueue::new(if plan.delay > Nanos::ZERO { attempts } else { 0 }),
            sessions: Sessions::new(policy, plan.ping_every, now),
            starving: VecDeque::with_capacity((plan.slots - attempts) as usize),
            accepting: Accepting::Paused { until: Time::ZERO },
            counts: SinkCounts::default(),
        }
    }

    /// Applies `completions`, sends the answers due at `now` and appends what to do next to `ops`.
    ///
    /// # Panics
    /// If the backend breaks its contract: a slot accepted twice, a completion of an op that was never queued.
    pub fn step(&mut self, now: Time, completions: &[Completion], buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let turn = &mut Turn { now, buffers, ops };
        for &Completion { token, result } in completions {
            if token.kind() == OpKind::Accept {
                self.on_accept(result, turn);
                continue;
            }
            let slot = token.slot();
            if self.slots[slot.0 as usize].generation != token.generation() {
                continue;
            }
            match token.kind() {
                OpKind::Recv => self.on_recv(slot, result, turn),
                OpKind::Send => self.on_send(slot, result, turn),
                OpKind::Close => self.on_close(slot),
                OpKind::Open | OpKind::Accept | OpKind::Secure => {
                    unreachable!("{token:?}: a sink opens no connections")
                }
            }
        }
        self.send_due_answers(turn);
        while let Some(session) = self.sessions.pop_due(now) {
            self.speak(self.sessions.get(session).slot, session, turn);
        }
        self.feed_starving(turn);
        self.arm_accept(turn);
    }

    /// When [`Self::step`] has something to do even if nothing completes.
    pub fn next_wakeup(&self) -> Time {
        let accept = match self.accepting {
            Accepting::Paused { until } if self.has_free_slot() => until,
            _ => Time::MAX,
        };
        self.delayed.next_due().min(self.sessions.next_due()).min(accept)
    }

    /// Accepts no further connections. Those accepted before the cancel takes effect are served.
    pub fn stop_accepting(&mut self, ops: &mut Vec<Op>) {
        self.accepting = match self.accepting {
            Accepting::Armed => {
                ops.push(Op::Cancel { of: ACCEPT_TOKEN });
                Accepting::Ending
            }
            Accepting::Ending => Accepting::Ending,
            Accepting::Paused { .. } | Accepting::Ended => Accepting::Ended,
        }
    }

    /// Whether [`Self::stop_accepting`] has taken effect and every connection is closed.
    pub fn is_finished(&self) -> bool {
        self.accepting == Accepting::Ended && self.counts.held == 0
    }

    /// Everything seen so far.
    pub fn counts(&self) -> SinkCounts {
        self.counts
    }

    fn on_accept(&mut self, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        match result {
            Ok(index) => {
                if self.slots.len() <= index as usize {
                    self.slots.resize(index as usize + 1, Slot::FREE);
                }
                let slot = &mut self.slots[index as usize];
                assert_eq!(slot.state, State::Free, "slot {index} accepted twice");
                slot.reset = false;
                self.counts.accepted += 1;
                self.counts.held += 1;
                self.counts.full += u64::from(self.counts.held >= u64::from(self.plan.slots));
                if self.starving.is_empty() {
                    self.begin(SlotIndex(index), turn);
                } else {
                    // Those that wait come first.
                    slot.state = State::Unread;
                    self.queue(SlotIndex(index));
                }
            }
            Err(_) if self.accepting == Accepting::Ending => self.accepting = Accepting::Ended,
            Err(_) => {
                self.counts.refused += 1;
                self.accepting = Accepting::Paused { until: turn.now + ACCEPT_PAUSE };
            }
        }
    }

    /// Starts the handshake of an accepted connection, or queues it until an attempt is over.
    fn begin(&mut self, slot: SlotIndex, turn: &mut Turn<'_>) {
        let Some(attempt) = turn.buffers.receive.take() else {
            self.slots[slot.0 as usize].state = State::Unread;
            return self.queue(slot);
        };
        let check_c2 = match self.plan.verify {
            Verify::All => true,
            Verify::Sample => self.sampling.next_u32().is_multiple_of(64),
            Verify::None => false,
        };
        let handshake = ServerHandshake::new(self.next_template, check_c2);
        self.next_template = (self.next_template + 1) % self.templates.len() as u16;
        if self.attempts.len() <= attempt.0 as usize {
            self.attempts.resize(attempt.0 as usize + 1, Attempt::NONE);
        }
        self.attempts[attempt.0 as usize] = Attempt { slot, handshake, ..Attempt::NONE };
        self.slots[slot.0 as usize].state = State::Handshaking { attempt };
        self.receive(slot, turn);
    }

    fn on_recv(&mut self, slot: SlotIndex, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        let state = self.slots[slot.0 as usize].state;
        match result {
            Ok(received @ 1..) => match state {
                State::Handshaking { attempt } => self.advance(slot, attempt, received, turn),
                State::Established => {
                    let session = self.sessions.open(slot);
                    self.slots[slot.0 as usize].state = State::InSession { session };
                    self.read(slot, session, turn);
                }
                State::InSession { session } => self.converse(slot, session, received, turn),
                State::Free | State::Unread | State::Closing => panic!("slot {} received while {state:?}", slot.0),
            },
            Ok(0) => self.abandon(slot, turn),
            Err(errno) if is_fault_of_tls(errno) && self.awaits_c2(slot) => {
                self.counts.violations += 1;
                self.end(slot, CloseHow::Rst, turn);
            }
            Err(_) => {
                self.slots[slot.0 as usize].reset = true;
                self.abandon(slot, turn);
            }
        }
    }

    /// Takes in `received` more bytes of a handshake.
    fn advance(&mut self, slot: SlotIndex, id: BufferId, received: u32, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[id.0 as usize];
        if let ServerState::Done(_) = attempt.handshake.state() {
            return self.go_on_before_the_answer(slot, id, received, turn);
        }
        attempt.received += received;
        let bytes = &turn.buffers.receive.bytes(id)[..attempt.received as usize];
        let Ok(state) = attempt.handshake.advance(bytes, &self.templates) else {
            self.counts.violations += 1;
            return self.end(slot, CloseHow::Rst, turn);
        };
        if attempt.answer == Answer::NotDue
            && let Some(mode) = attempt.handshake.mode()
        {
            match mode {
                HandshakeMode::Complex => self.counts.complex += 1,
                HandshakeMode::Simple => self.counts.simple += 1,
            }
            self.answer(slot, id, turn);
        }
        if let ServerState::Done(verdict) = state {
            match verdict {
                C2Verdict::Valid => self.counts.c2_valid += 1,
                C2Verdict::Echo => self.counts.c2_echo += 1,
                C2Verdict::Invalid => self.counts.c2_invalid += 1,
                C2Verdict::Unchecked => self.counts.c2_unchecked += 1,
            }
            let received = self.attempts[id.0 as usize].received;
            if received > HANDSHAKE_SIZE {
                let session = self.sessions.open(slot);
                self.attempts[id.0 as usize].session = Some(session);
                if !self.take_in(session, id, HANDSHAKE_SIZE..received, turn) {
                    return;
                }
            }
        }
        self.receive(slot, turn);
        self.establish_when_answered(slot, id, turn);
    }

    /// What comes after C2 is taken in although S0S1S2 is not out: its answers wait.
    fn go_on_before_the_answer(&mut self, slot: SlotIndex, id: BufferId, received: u32, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[id.0 as usize];
        attempt.reading = !attempt.reading;
        let session = *attempt.session.get_or_insert_with(|| self.sessions.open(slot));
        if attempt.reading || self.take_in(session, id, 0..received, turn) {
            self.receive(slot, turn);
        }
    }

    /// Takes in what a session has said, or learns that it has.
    fn converse(&mut self, slot: SlotIndex, session: SessionId, received: u32, turn: &mut Turn<'_>) {
        match self.sessions.get(session).receive {
            Receive::Watching => self.read(slot, session, turn),
            Receive::Reading(buffer) => {
                if !self.take_in(session, buffer, 0..received, turn) {
                    return;
                }
                let more = received as usize == turn.buffers.receive.size() && !self.sessions.is_over(session);
                if !more {
                    turn.buffers.receive.release(buffer);
                    self.sessions.get_mut(session).receive = Receive::Watching;
                }
                self.receive(slot, turn);
                self.speak(slot, session, turn);
            }
            Receive::Starving => panic!("slot {} received without a receive", slot.0),
        }
    }

    /// Takes in a range of a receive buffer. If the client broke the protocol, its connection is ended: `false`.
    fn take_in(&mut self, session: SessionId, buffer: BufferId, range: Range<u32>, turn: &mut Turn<'_>) -> bool {
        let input = &turn.buffers.receive.bytes(buffer)[range.start as usize..range.end as usize];
        let taken = self.sessions.take_in(session, input, turn.now, &mut self.counts).is_ok();
        if !taken {
            self.counts.bad_messages += 1;
            self.end(self.sessions.get(session).slot, CloseHow::Rst, turn);
        }
        taken
    }

    /// Reads what a session has to say into a buffer.
    fn read(&mut self, slot: SlotIndex, session: SessionId, turn: &mut Turn<'_>) {
        let Some(buffer) = turn.buffers.receive.take() else {
            self.sessions.get_mut(session).receive = Receive::Starving;
            return self.queue(slot);
        };
        self.sessions.get_mut(session).receive = Receive::Reading(buffer);
        self.receive(slot, turn);
    }

    /// Arms the recv of a slot, unless nothing more is to be read.
    fn receive(&self, slot: SlotIndex, turn: &mut Turn<'_>) {
        let mut into = Destination::Readable;
        match self.slots[slot.0 as usize].state {
            State::Handshaking { attempt: id } => {
                let attempt = &self.attempts[id.0 as usize];
                if attempt.session.is_some_and(|session| self.sessions.is_over(session)) {
                    return;
                }
                let start = if attempt.is_judged() { 0 } else { attempt.received };
                if attempt.reading || !attempt.is_judged() {
                    into = Destination::Buffer { buffer: id, start, len: RECEIVE_SIZE - start };
                }
            }
            State::InSession { session } => {
                if self.sessions.is_over(session) {
                    return;
                }
                if let Receive::Reading(buffer) = self.sessions.get(session).receive {
                    into = Destination::Buffer { buffer, start: 0, len: turn.buffers.receive.size() as u32 };
                }
            }
            State::Free | State::Unread | State::Established | State::Closing => {}
        }
        turn.ops.push(Op::Recv { token: self.token(OpKind::Recv, slot), into });
    }

    /// Writes S0S1S2 and sends it at its time.
    fn answer(&mut self, slot: SlotIndex, id: BufferId, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[id.0 as usize];
        let Some(buffer) = turn.buffers.send.take() else {
            attempt.answer = Answer::Starving;
            return self.queue(slot);
        };
        let received = &turn.buffers.receive.bytes(id)[..attempt.received as usize];
        let out = &mut turn.buffers.send.bytes_mut(buffer)[..S0S1S2_SIZE];
        attempt.handshake.write_s0s1s2(received, &self.templates, out);
        if self.plan.delay > Nanos::ZERO {
            attempt.answer = Answer::Delayed { buffer };
            self.delayed.grow(id.0 + 1);
            self.delayed.push(id.0, turn.now + self.plan.delay);
        } else {
            self.send_answer(id, buffer, turn);
        }
    }

    fn send_due_answers(&mut self, turn: &mut Turn<'_>) {
        while let Some(id) = self.delayed.pop_due(turn.now) {
            let Answer::Delayed { buffer } = self.attempts[id as usize].answer else {
                unreachable!("only delayed answers are queued");
            };
            self.send_answer(BufferId(id), buffer, turn);
        }
    }

    fn send_answer(&mut self, id: BufferId, buffer: BufferId, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[id.0 as usize];
        attempt.answer = Answer::Sending { buffer };
        let slot = attempt.slot;
        let token = self.token(OpKind::Send, slot);
        turn.ops.push(Op::Send { token, payload: Payload::Buffer { buffer, len: SEND_SIZE } });
    }

    /// Sends what a session has to say, unless a send is in flight. Closes the connection if nothing is left to say to
    /// a client that was refused.
    fn speak(&mut self, slot: SlotIndex, session: SessionId, turn: &mut Turn<'_>) {
        let attempt_is_open = matches!(self.slots[slot.0 as usize].state, State::Handshaking { .. });
        if attempt_is_open || self.sessions.get(session).sending.is_some() {
            return;
        }
        if self.sessions.has_output(session, turn.now) {
            let Some(buffer) = turn.buffers.send.take() else { return self.queue(slot) };
            let len = self.sessions.write(session, turn.now, turn.buffers.send.bytes_mut(buffer)) as u32;
            if len > 0 {
                self.sessions.get_mut(session).sending = Some(buffer);
                let token = self.token(OpKind::Send, slot);
                turn.ops.push(Op::Send { token, payload: Payload::Buffer { buffer, len } });
                return;
            }
            turn.buffers.send.release(buffer);
        }
        if self.sessions.is_over(session) {
            self.end(slot, CloseHow::Fin, turn);
        }
    }

    fn on_send(&mut self, slot: SlotIndex, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        let state = self.slots[slot.0 as usize].state;
        let was_cancelled = result == Err(Errno::CANCELED);
        self.slots[slot.0 as usize].reset |= result.is_err() && !was_cancelled;
        let id = match state {
            State::Handshaking { attempt } => attempt,
            State::InSession { session } => return self.said(slot, session, result.is_ok(), turn),
            _ => unreachable!("an attempt lives until its send is over"),
        };
        match std::mem::replace(&mut self.attempts[id.0 as usize].answer, Answer::Over) {
            Answer::Sending { buffer } => {
                turn.buffers.send.release(buffer);
                self.establish_when_answered(slot, id, turn);
            }
            Answer::Orphaned { buffer, close } => {
                turn.buffers.send.release(buffer);
                self.close(slot, close, turn);
            }
            answer => unreachable!("a send completed while {answer:?}"),
        }
    }

    /// A session's send is over.
    fn said(&mut self, slot: SlotIndex, id: SessionId, sent: bool, turn: &mut Turn<'_>) {
        let session = self.sessions.get_mut(id);
        turn.buffers.send.release(session.sending.take().expect("a send was in flight"));
        let ending = session.ending;
        match ending {
            Some(close) => self.close(slot, close, turn),
            None if sent => self.speak(slot, id, turn),
            None if self.sessions.is_over(id) => self.end(slot, CloseHow::Fin, turn),
            // The recv in flight yields what arrived, and then the end.
            None => {}
        }
    }

    /// Gives up the attempt once its verdict is in and its answer out. A recv may be in flight.
    fn establish_when_answered(&mut self, slot: SlotIndex, id: BufferId, turn: &mut Turn<'_>) {
        let Attempt { answer, session, reading, .. } = self.attempts[id.0 as usize];
        if answer != Answer::Over || !self.attempts[id.0 as usize].is_judged() {
            return;
        }
        let Some(session) = session else {
            self.slots[slot.0 as usize].state = State::Established;
            return turn.buffers.receive.release(id);
        };
        self.slots[slot.0 as usize].state = State::InSession { session };
        if reading {
            self.sessions.get_mut(session).receive = Receive::Reading(id);
        } else {
            turn.buffers.receive.release(id);
        }
        self.speak(slot, session, turn);
    }

    /// The peer has ended the connection.
    fn abandon(&mut self, slot: SlotIndex, turn: &mut Turn<'_>) {
        self.counts.abandoned += u64::from(self.awaits_c2(slot));
        self.end(slot, CloseHow::Fin, turn);
    }

    /// Whether the verdict on C2 is open.
    fn awaits_c2(&self, slot: SlotIndex) -> bool {
        matches!(self.slots[slot.0 as usize].state, State::Handshaking { attempt }
            if !self.attempts[attempt.0 as usize].is_judged())
    }

    /// Closes a slot whose recv is not in flight; if its send is, then after that.
    fn end(&mut self, slot: SlotIndex, close: CloseHow, turn: &mut Turn<'_>) {
        match self.slots[slot.0 as usize].state {
            State::Handshaking { attempt: id } => {
                let attempt = &mut self.attempts[id.0 as usize];
                match attempt.answer {
                    Answer::Sending { buffer } => {
                        attempt.answer = Answer::Orphaned { buffer, close };
                        return;
                    }
                    Answer::Delayed { buffer } => {
                        self.delayed.remove(id.0);
                        turn.buffers.send.release(buffer);
                    }
                    Answer::NotDue | Answer::Starving | Answer::Over | Answer::Orphaned { .. } => {}
                }
            }
            State::InSession { session } if self.sessions.get(session).sending.is_some() => {
                self.sessions.get_mut(session).ending = Some(close);
                // Its peer may never read what is being sent.
                turn.ops.push(Op::Cancel { of: self.token(OpKind::Send, slot) });
                return;
            }
            _ => {}
        }
        self.close(slot, close, turn);
    }

    /// Closes a slot that has no op in flight.
    fn close(&mut self, slot: SlotIndex, how: CloseHow, turn: &mut Turn<'_>) {
        let connection = &mut self.slots[slot.0 as usize];
        let state = std::mem::replace(&mut connection.state, State::Closing);
        self.counts.reset += u64::from(connection.reset);
        turn.ops.push(Op::Close { token: self.token(OpKind::Close, slot), how });
        let session = match state {
            State::Handshaking { attempt: id } => {
                turn.buffers.receive.release(id);
                self.attempts[id.0 as usize].session
            }
            State::InSession { session } => {
                if let Receive::Reading(buffer) = self.sessions.get(session).receive {
                    turn.buffers.receive.release(buffer);
                }
                Some(session)
            }
            _ => None,
        };
        if let Some(session) = session {
            self.sessions.close(session);
        }
    }

    fn on_close(&mut self, slot: SlotIndex) {
        let connection = &mut self.slots[slot.0 as usize];
        assert_eq!(connection.state, State::Closing, "slot {} closed unasked", slot.0);
        connection.state = State::Free;
        connection.generation = (connection.generation + 1) & ((1 << Token::GENERATION_BITS) - 1);
        self.counts.held -= 1;
    }

    /// The connection waits for a buffer.
    fn queue(&mut self, slot: SlotIndex) {
        let Slot { state, generation, .. } = self.slots[slot.0 as usize];
        if let State::InSession { session } = state
            && std::mem::replace(&mut self.sessions.get_mut(session).starving, true)
        {
            return;
        }
        self.starving.push_back((slot, generation));
    }

    /// Gives free buffers to those that have waited longest for one.
    fn feed_starving(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..self.starving.len() {
            let Buffers { receive, send, .. } = &*turn.buffers;
            if receive.available() == 0 && send.available() == 0 {
                return;
            }
            let Some((slot, generation)) = self.starving.pop_front() else { return };
            let Slot { state, generation: current, .. } = self.slots[slot.0 as usize];
            if generation != current {
                continue;
            }
            match state {
                State::Unread => self.begin(slot, turn),
                State::Handshaking { attempt } if self.attempts[attempt.0 as usize].answer == Answer::Starving => {
                    self.answer(slot, attempt, turn);
                }
                State::InSession { session } => {
                    self.sessions.get_mut(session).starving = false;
                    if self.sessions.get(session).receive == Receive::Starving {
                        self.read(slot, session, turn);
                    }
                    self.speak(slot, session, turn);
                }
                // It has ended meanwhile.
                _ => {}
            }
        }
    }

    fn arm_accept(&mut self, turn: &mut Turn<'_>) {
        if let Accepting::Paused { until } = self.accepting
            && until <= turn.now
            && self.has_free_slot()
        {
            self.accepting = Accepting::Armed;
            turn.ops.push(Op::Accept { token: ACCEPT_TOKEN, listener: LISTENER });
        }
    }

    fn has_free_slot(&self) -> bool {
        self.counts.held < u64::from(self.plan.slots)
    }

    fn token(&self, kind: OpKind, slot: SlotIndex) -> Token {
        Token::new(kind, slot, self.slots[slot.0 as usize].generation)
    }
}

impl Attempt {
    const NONE: Self = Self {
        slot: SlotIndex(0),
        handshake: ServerHandshake::new(0, false),
        received: 0,
        answer: Answer::NotDue,
        session: None,
        reading: false,
    };

    /// The verdict on C2 is in.
    fn is_judged(&self) -> bool {
        matches!(self.handshake.state(), ServerState::Done(_))
    }
}

/// The peer does not speak TLS, or ended it by an alert, or speaks it wrong.
fn is_fault_of_tls(errno: Errno) -> bool {
    TlsFault::from_number(errno.raw_os_error()).is_some()
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
