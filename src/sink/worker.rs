//! One worker of the sink, sans-IO: completions go in, ops come out.
//!
//! A connection's life:
//!
//! ```text
//! accepted -> recv until C0C1 is in -> S0S1S2 (after the delay)     ops in flight: recv
//!          -> recv until C2 is in, armed before S0S1S2 leaves       recv, send
//!          -> established: recv into nothing, watching for the end  recv
//!          -> close                                                 close
//! ```
//!
//! **What arrived is read before a reset is honoured.** Linux keeps received bytes readable after an RST and reports the
//! error only once they are read (`tcp_recvmsg`), but a send fails at once. So a failed send ends nothing: the recv that
//! is always in flight yields the bytes that arrived, then the end. C2 followed at once by an RST is counted.
//!
//! There are no deadlines: a silent client keeps its slot until it goes away.

use std::collections::VecDeque;

use rand::Rng;

use super::delay::DelayQueue;
use super::{SinkCounts, VerifyC2};
use crate::base::{Nanos, RandomStream, Time};
use crate::io::{
    BufferId, BufferPlan, Buffers, CloseHow, Completion, Destination, Errno, ListenerId, Op, OpKind, Payload,
    SlotIndex, Token,
};
use crate::protocol::{C2Verdict, HandshakeMode, S0S1S2_SIZE, ServerHandshake, ServerState, ServerTemplates};

/// The part of a sink's plan that one worker needs.
#[derive(Clone, Copy, Debug)]
pub struct WorkerPlan {
    /// Most connections open at once.
    pub slots: u32,
    /// Which C2s are checked.
    pub verify: VerifyC2,
    /// From C1's last byte to S0S1S2.
    pub delay: Nanos,
}

/// The connections of one worker.
#[derive(Debug)]
pub struct SinkWorker {
    plan: WorkerPlan,
    templates: ServerTemplates,
    next_template: u16,
    sampling: RandomStream,
    slots: Vec<Slot>,
    /// Handshakes in flight, by the receive buffer each owns.
    attempts: Vec<Attempt>,
    delayed: DelayQueue,
    /// Accepted connections that nobody reads yet, as every attempt is taken. No op is in flight on them.
    unread: VecDeque<SlotIndex>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Accepted, waiting for a free attempt.
    Unread,
    Handshaking {
        attempt: BufferId,
    },
    /// The verdict on C2 is counted; further bytes are discarded.
    Established,
    Closing,
}

/// A handshake in flight, with the buffers it owns.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    slot: SlotIndex,
    handshake: ServerHandshake,
    /// Bytes in the receive buffer.
    received: u32,
    answer: Answer,
}

/// Where S0S1S2 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// C0C1 is not complete.
    NotDue,
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

/// The largest handshake a worker reads: C0, C1 and C2.
const RECEIVE_SIZE: u32 = 3073;
const SEND_SIZE: u32 = S0S1S2_SIZE as u32;

/// Handshakes in flight per worker: 0.8 GB of address space, resident only as far as it is used at once.
const MOST_ATTEMPTS: u32 = 1 << 17;

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
    /// A worker with no connection. `sampling` chooses the C2s checked under [`VerifyC2::Sample`].
    pub fn new(plan: WorkerPlan, templates: ServerTemplates, sampling: RandomStream) -> Self {
        let attempts = plan.buffers().count;
        let free = Slot { generation: 0, state: State::Free, reset: false };
        let none = Attempt {
            slot: SlotIndex(0),
            handshake: ServerHandshake::new(0, false),
            received: 0,
            answer: Answer::NotDue,
        };
        Self {
            plan,
            templates,
            next_template: 0,
            sampling,
            slots: vec![free; plan.slots as usize],
            attempts: vec![none; attempts as usize],
            delayed: DelayQueue::new(if plan.delay > Nanos::ZERO { attempts } else { 0 }),
            unread: VecDeque::with_capacity((plan.slots - attempts) as usize),
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
        self.arm_accept(turn);
    }

    /// When [`Self::step`] has something to do even if nothing completes.
    pub fn next_wakeup(&self) -> Time {
        let accept = match self.accepting {
            Accepting::Paused { until } if self.has_free_slot() => until,
            _ => Time::MAX,
        };
        self.delayed.next_due().min(accept)
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
                let slot = &mut self.slots[index as usize];
                assert_eq!(slot.state, State::Free, "slot {index} accepted twice");
                slot.reset = false;
                self.counts.accepted += 1;
                self.counts.held += 1;
                self.begin(SlotIndex(index), turn);
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
            self.unread.push_back(slot);
            return;
        };
        let check_c2 = match self.plan.verify {
            VerifyC2::All => true,
            VerifyC2::Sample => self.sampling.next_u32().is_multiple_of(64),
            VerifyC2::None => false,
        };
        let handshake = ServerHandshake::new(self.next_template, check_c2);
        self.next_template = (self.next_template + 1) % self.templates.len() as u16;
        self.attempts[attempt.0 as usize] = Attempt { slot, handshake, received: 0, answer: Answer::NotDue };
        self.slots[slot.0 as usize].state = State::Handshaking { attempt };
        self.receive(slot, turn);
    }

    fn on_recv(&mut self, slot: SlotIndex, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        match (result, self.slots[slot.0 as usize].state) {
            (Ok(received @ 1..), State::Handshaking { attempt }) => self.advance(slot, attempt, received, turn),
            (Ok(1..), State::Established) => self.receive(slot, turn),
            (Ok(1..), state) => panic!("slot {} received while {state:?}", slot.0),
            (Ok(0), _) => self.abandon(slot, turn),
            (Err(_), _) => {
                self.slots[slot.0 as usize].reset = true;
                self.abandon(slot, turn);
            }
        }
    }

    /// Takes in `received` more bytes of a handshake.
    fn advance(&mut self, slot: SlotIndex, id: BufferId, received: u32, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[id.0 as usize];
        if let ServerState::Done(_) = attempt.handshake.state() {
            return self.receive(slot, turn);
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
            let buffer = turn.buffers.send.take().expect("as many send buffers as attempts");
            attempt.handshake.write_s0s1s2(bytes, &self.templates, turn.buffers.send.bytes_mut(buffer));
            if self.plan.delay > Nanos::ZERO {
                attempt.answer = Answer::Delayed { buffer };
                self.delayed.push(id.0, turn.now + self.plan.delay);
            } else {
                self.send_answer(id, buffer, turn);
            }
        }
        if let ServerState::Done(verdict) = state {
            match verdict {
                C2Verdict::Valid => self.counts.c2_valid += 1,
                C2Verdict::Echo => self.counts.c2_echo += 1,
                C2Verdict::Invalid => self.counts.c2_invalid += 1,
                C2Verdict::Unchecked => self.counts.c2_unchecked += 1,
            }
            self.establish_when_answered(slot, id, turn);
        }
        self.receive(slot, turn);
    }

    /// Arms the recv of a slot: into its buffer as long as C2 is not complete, then into nothing.
    fn receive(&self, slot: SlotIndex, turn: &mut Turn<'_>) {
        let mut into = Destination::Discard;
        if let State::Handshaking { attempt: id } = self.slots[slot.0 as usize].state {
            let start = self.attempts[id.0 as usize].received;
            if start < RECEIVE_SIZE {
                into = Destination::Buffer { buffer: id, start, len: RECEIVE_SIZE - start };
            }
        }
        turn.ops.push(Op::Recv { token: self.token(OpKind::Recv, slot), into });
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

    fn on_send(&mut self, slot: SlotIndex, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        let State::Handshaking { attempt: id } = self.slots[slot.0 as usize].state else {
            unreachable!("an attempt lives until its send is over");
        };
        self.slots[slot.0 as usize].reset |= result.is_err();
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

    /// Gives up the attempt once its verdict is in and its answer out.
    fn establish_when_answered(&mut self, slot: SlotIndex, id: BufferId, turn: &mut Turn<'_>) {
        let attempt = &self.attempts[id.0 as usize];
        if attempt.answer == Answer::Over && matches!(attempt.handshake.state(), ServerState::Done(_)) {
            self.slots[slot.0 as usize].state = State::Established;
            self.release(id, turn);
        }
    }

    /// The peer has ended the connection.
    fn abandon(&mut self, slot: SlotIndex, turn: &mut Turn<'_>) {
        if let State::Handshaking { attempt } = self.slots[slot.0 as usize].state
            && !matches!(self.attempts[attempt.0 as usize].handshake.state(), ServerState::Done(_))
        {
            self.counts.abandoned += 1;
        }
        self.end(slot, CloseHow::Fin, turn);
    }

    /// Closes a slot whose recv is not in flight; if its send is, then after that.
    fn end(&mut self, slot: SlotIndex, close: CloseHow, turn: &mut Turn<'_>) {
        if let State::Handshaking { attempt: id } = self.slots[slot.0 as usize].state {
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
                Answer::NotDue | Answer::Over | Answer::Orphaned { .. } => {}
            }
        }
        self.close(slot, close, turn);
    }

    /// Closes a slot that has no op in flight.
    fn close(&mut self, slot: SlotIndex, how: CloseHow, turn: &mut Turn<'_>) {
        let connection = &mut self.slots[slot.0 as usize];
        let state = std::mem::replace(&mut connection.state, State::Closing);
        self.counts.reset += u64::from(connection.reset);
        turn.ops.push(Op::Close { token: self.token(OpKind::Close, slot), how });
        if let State::Handshaking { attempt } = state {
            self.release(attempt, turn);
        }
    }

    fn on_close(&mut self, slot: SlotIndex) {
        let connection = &mut self.slots[slot.0 as usize];
        assert_eq!(connection.state, State::Closing, "slot {} closed unasked", slot.0);
        connection.state = State::Free;
        connection.generation = (connection.generation + 1) & ((1 << Token::GENERATION_BITS) - 1);
        self.counts.held -= 1;
    }

    /// Gives an attempt's receive buffer to the connection that has waited longest for one.
    fn release(&mut self, attempt: BufferId, turn: &mut Turn<'_>) {
        turn.buffers.receive.release(attempt);
        if let Some(waiting) = self.unread.pop_front() {
            self.begin(waiting, turn);
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

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
