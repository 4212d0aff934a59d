//! One connection: the engine's ops above, the backend's ops below, a session between them.
//!
//! Above, at most one `Secure`, one `Send` and one `Recv` wait for their completions. Below, at most one send and one
//! receive are in flight, under the same tokens; a receive below is armed only while an op above waits for bytes, so
//! that a closing connection has none. Whatever happens, [`Connection::go_on`] completes what can be completed and asks
//! below for what is missing.

use super::session::{Output, RECORD_OVERHEAD, RECORD_PLAIN, Session};
use crate::io::{
    BufferId, Buffers, Bytes, CloseHow, Completion, Destination, Errno, Op, OpKind, Payload, SlotIndex, Token,
};

pub(super) struct Connection {
    session: Session,
    slot: SlotIndex,
    generation: u32,
    /// Received, and not a whole record yet.
    records: Vec<u8>,
    /// What the session gave; of `output.plain` the first `taken` bytes have been received above.
    output: Output,
    taken: usize,
    secure: Secure,
    send: Option<Send>,
    recv: Option<Recv>,
    close: Close,
    reading: Reading,
    /// Holds the records that the send in flight below sends.
    writing: Option<BufferId>,
    /// Nothing can be sent any more.
    write_error: Option<Errno>,
}

/// What a connection needs from its surroundings to go on.
pub(super) struct Turn<'a> {
    pub buffers: &'a mut Buffers,
    pub shared_bytes: &'a Bytes,
    pub media: &'a Bytes,
    /// Ops for the backend below.
    pub ops: &'a mut Vec<Op>,
    /// Completions for the engine above.
    pub completions: &'a mut Vec<Completion>,
}

/// Whether a connection that has gone on waits for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Supply {
    Enough,
    /// It wants to go on as soon as a buffer is free.
    Starved,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secure {
    /// Not asked for, or completed.
    No,
    InFlight,
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    No,
    /// Asked for above; first the send below ends.
    Asked(CloseHow),
    /// Asked for below.
    Begun,
}

#[derive(Clone, Copy)]
struct Send {
    payload: Payload,
    /// Bytes that have been encrypted.
    done: usize,
    cancelled: bool,
}

#[derive(Clone, Copy)]
struct Recv {
    into: Destination,
    cancelled: bool,
}

#[derive(Clone, Copy)]
enum Reading {
    Idle,
    /// There is something to receive.
    Readable,
    /// Waits for that, without a buffer.
    Watching,
    Receiving(BufferId),
}

impl Connection {
    pub(super) fn new(session: Session, token: Token) -> Self {
        let mut connection = Self {
            session,
            slot: token.slot(),
            generation: token.generation(),
            records: Vec::new(),
            output: Output::default(),
            taken: 0,
            secure: Secure::No,
            send: None,
            recv: None,
            close: Close::No,
            reading: Reading::Idle,
            writing: None,
            write_error: None,
        };
        // A client has something to say at once.
        connection.session.read(&mut [], &mut connection.output);
        connection
    }

    /// The engine asks for the handshake.
    pub(super) fn secure(&mut self) {
        self.secure = Secure::InFlight;
    }

    /// The engine sends.
    pub(super) fn send(&mut self, token: Token, payload: Payload, turn: &mut Turn) {
        self.check(token);
        assert!(self.send.is_none(), "{token:?} is in flight already");
        if let Payload::Buffer { buffer, len } = payload {
            assert!(len as usize <= turn.buffers.send.size(), "{token:?}: {len} bytes exceed a send buffer");
            turn.buffers.send.lend(buffer);
        }
        self.send = Some(Send { payload, done: 0, cancelled: false });
    }

    /// The engine receives.
    pub(super) fn recv(&mut self, token: Token, into: Destination, turn: &mut Turn) {
        self.check(token);
        assert!(self.recv.is_none(), "{token:?} is in flight already");
        if let Destination::Buffer { buffer, start, len } = into {
            let end = u64::from(start) + u64::from(len);
            let size = turn.buffers.receive.size() as u64;
            assert!(len > 0 && end <= size, "{token:?}: {start}+{len} does not fit");
            turn.buffers.receive.lend(buffer);
        }
        self.recv = Some(Recv { into, cancelled: false });
    }

    /// The engine gives an op up.
    pub(super) fn cancel(&mut self, of: Token, turn: &mut Turn) {
        if of.generation() != self.generation {
            return;
        }
        let (mut stop_reading, mut stop_writing) = (false, false);
        match (of.kind(), &mut self.send, &mut self.recv) {
            (OpKind::Secure, ..) if self.secure == Secure::InFlight => {
                self.secure = Secure::Cancelled;
                (stop_reading, stop_writing) = (true, true);
            }
            (OpKind::Send, Some(send), _) => {
                send.cancelled = true;
                stop_writing = send.done > 0;
            }
            (OpKind::Recv, _, Some(recv)) => {
                recv.cancelled = true;
                stop_reading = self.secure == Secure::No;
            }
            _ => {}
        }
        if stop_reading && matches!(self.reading, Reading::Watching | Reading::Receiving(_)) {
            turn.ops.push(Op::Cancel { of: self.token(OpKind::Recv) });
        }
        if stop_writing && self.writing.is_some() {
            turn.ops.push(Op::Cancel { of: self.token(OpKind::Send) });
        }
    }

    /// The engine closes. An orderly close says so to the peer (RFC 8446, section 6.1), if that takes no waiting.
    pub(super) fn close(&mut self, token: Token, how: CloseHow, turn: &mut Turn) {
        self.check(token);
        let idle = self.secure == Secure::No && self.send.is_none() && self.recv.is_none() && self.close == Close::No;
        assert!(idle, "{token:?}: another op is in flight");
        self.close = Close::Asked(how);
        if self.writing.is_some() {
            turn.ops.push(Op::Cancel { of: self.token(OpKind::Send) });
        }
        if how == CloseHow::Fin && self.may_send() {
            let taken = self.session.close_notify(&mut self.records, &mut self.output);
            self.records.drain(..taken);
        }
    }

    /// The receive below has completed.
    pub(super) fn received(&mut self, result: Result<u32, Errno>, turn: &mut Turn) {
        let reading = std::mem::replace(&mut self.reading, Reading::Idle);
        match (reading, result) {
            (Reading::Watching, Ok(_)) => self.reading = Reading::Readable,
            (_, Err(Errno::CANCELED)) => {}
            (_, Err(errno)) => self.output.end = Some(Err(errno)),
            // Many end with a FIN alone, without a close_notify.
            (_, Ok(0)) => self.output.end = Some(Ok(())),
            (Reading::Receiving(buffer), Ok(len)) => {
                let bytes = &mut turn.buffers.receive.bytes_mut(buffer)[..len as usize];
                self.read(bytes);
            }
            (Reading::Idle | Reading::Readable, Ok(_)) => unreachable!("nothing was received"),
        }
        if let Reading::Receiving(buffer) = reading {
            turn.buffers.receive.release(buffer);
        }
    }

    /// The send below has completed.
    pub(super) fn sent(&mut self, result: Result<u32, Errno>, turn: &mut Turn) {
        let buffer = self.writing.take().expect("a send was in flight");
        turn.buffers.send.release(buffer);
        if let Err(errno) = result {
            // Records have numbers: after a lost one there is nothing that the peer would accept.
            self.write_error = Some(errno);
            self.output.records = Vec::new();
        }
    }

    /// Completes what can be completed, and asks below for what is missing.
    pub(super) fn go_on(&mut self, turn: &mut Turn) -> Supply {
        match self.close {
            Close::No => {}
            Close::Asked(how) => {
                self.go_on_closing(how, turn);
                return Supply::Enough;
            }
            Close::Begun => return Supply::Enough,
        }
        let writing = self.write(turn);
        self.finish_send(turn);
        self.finish_secure(turn);
        self.finish_recv(turn);
        let reading = self.arm(turn);
        if writing == Supply::Starved { writing } else { reading }
    }

    /// Decrypts what was received.
    fn read(&mut self, received: &mut [u8]) {
        if self.records.is_empty() {
            let taken = self.session.read(received, &mut self.output);
            if taken < received.len() {
                self.records = received[taken..].to_vec();
            }
            return;
        }
        self.records.extend_from_slice(received);
        let taken = self.session.read(&mut self.records, &mut self.output);
        self.records.drain(..taken);
        if self.records.is_empty() {
            // A held connection keeps no memory for what is not there.
            self.records = Vec::new();
        }
    }

    fn finish_secure(&mut self, turn: &mut Turn) {
        let told = self.output.records.is_empty() && self.writing.is_none();
        let result = match self.output.end {
            _ if self.secure == Secure::No => return,
            _ if self.session.is_established() && told && self.write_error.is_none() => {
                Ok(u32::from(self.session.is_resumed()))
            }
            Some(Err(errno)) => Err(errno),
            // What the failed send reported, the receive does not report again.
            Some(Ok(())) if self.write_error.is_some() => Err(Errno::CONNRESET),
            Some(Ok(())) => Err(Errno::NOTCONN),
            None if self.secure == Secure::Cancelled && self.writing.is_none() && !self.is_reading() => {
                Err(Errno::CANCELED)
            }
            None => return,
        };
        self.secure = Secure::No;
        self.complete(OpKind::Secure, result, turn);
    }

    fn finish_recv(&mut self, turn: &mut Turn) {
        let Some(Recv { into, cancelled }) = self.recv else { return };
        let waiting = &self.output.plain[self.taken..];
        let result = match (into, self.output.end) {
            (Destination::Readable, _) if !waiting.is_empty() => Ok(1),
            (Destination::Readable, Some(_)) => Ok(1),
            (Destination::Discard, _) if !waiting.is_empty() => Ok(waiting.len()),
            (Destination::Buffer { buffer, start, len }, _) if !waiting.is_empty() => {
                let len = waiting.len().min(len as usize);
                turn.buffers.receive.give_back(buffer);
                turn.buffers.receive.bytes_mut(buffer)[start as usize..][..len].copy_from_slice(&waiting[..len]);
                turn.buffers.receive.lend(buffer);
                Ok(len)
            }
            (_, Some(Ok(()))) => Ok(0),
            (_, Some(Err(errno))) => Err(errno),
            (_, None) if cancelled && (self.secure != Secure::No || !self.is_reading()) => Err(Errno::CANCELED),
            (_, None) => return,
        };
        if let (Ok(len), Destination::Buffer { .. } | Destination::Discard) = (result, into) {
            self.taken += len;
            if self.taken == self.output.plain.len() {
                (self.output.plain, self.taken) = (Vec::new(), 0);
            }
        }
        if let Destination::Buffer { buffer, .. } = into {
            turn.buffers.receive.give_back(buffer);
        }
        self.recv = None;
        self.complete(OpKind::Recv, result.map(|len| len as u32), turn);
    }

    fn finish_send(&mut self, turn: &mut Turn) {
        let Some(Send { payload, done, cancelled }) = self.send else { return };
        let len = payload_len(payload);
        let idle = self.output.records.is_empty() && self.writing.is_none();
        let result = if self.writing.is_some() {
            return;
        } else if let Some(errno) = self.write_error {
            // Another op may have been the one that was cancelled.
            Err(if errno == Errno::CANCELED && !cancelled { Errno::PIPE } else { errno })
        } else if done == len && idle && self.session.is_established() {
            Ok(len as u32)
        } else if !self.may_send() && self.output.end.is_some() {
            Err(Errno::PIPE)
        } else if cancelled && (done == 0 || idle) {
            Err(Errno::CANCELED)
        } else {
            return;
        };
        if let Payload::Buffer { buffer, .. } = payload {
            turn.buffers.send.give_back(buffer);
        }
        self.send = None;
        self.complete(OpKind::Send, result, turn);
    }

    /// Sends what the session has to say, then what the engine sends.
    fn write(&mut self, turn: &mut Turn) -> Supply {
        if self.writing.is_some() || self.write_error.is_some() || self.secure == Secure::Cancelled {
            return Supply::Enough;
        }
        if self.output.records.is_empty() {
            self.encrypt(turn);
        }
        if self.output.records.is_empty() {
            return Supply::Enough;
        }
        let Some(buffer) = turn.buffers.send.take() else { return Supply::Starved };
        self.write_to(buffer, turn);
        Supply::Enough
    }

    /// Sends as much as the buffer holds.
    fn write_to(&mut self, buffer: BufferId, turn: &mut Turn) {
        let records = &mut self.output.records;
        let room = turn.buffers.send.bytes_mut(buffer);
        let len = records.len().min(room.len());
        room[..len].copy_from_slice(&records[..len]);
        if len == records.len() {
            *records = Vec::new();
        } else {
            records.drain(..len);
        }
        self.writing = Some(buffer);
        let payload = Payload::Buffer { buffer, len: len as u32 };
        turn.ops.push(Op::Send { token: self.token(OpKind::Send), payload });
    }

    /// Encrypts the next part of what the engine sends: as much as goes out in one send below.
    fn encrypt(&mut self, turn: &mut Turn) {
        if !self.may_send() {
            return;
        }
        let Some(Send { payload, done, cancelled: false }) = &mut self.send else { return };
        if *done == payload_len(*payload) {
            return;
        }
        let size = turn.buffers.send.size();
        let most = size.saturating_sub(RECORD_OVERHEAD * size.div_ceil(RECORD_PLAIN)).max(1);
        let end = payload_len(*payload).min(*done + most);
        let taken = match *payload {
            Payload::Shared { offset, .. } => {
                let plain = &turn.shared_bytes[offset as usize..][*done..end];
                self.session.encrypt(plain, &mut self.records, &mut self.output)
            }
            Payload::Media { offset, .. } => {
                let plain = &turn.media[offset as usize..][*done..end];
                self.session.encrypt(plain, &mut self.records, &mut self.output)
            }
            Payload::Buffer { buffer, .. } => {
                // Read as the kernel would read it; for the engine the buffer stays lent.
                turn.buffers.send.give_back(buffer);
                let plain = &turn.buffers.send.bytes(buffer)[*done..end];
                let taken = self.session.encrypt(plain, &mut self.records, &mut self.output);
                turn.buffers.send.lend(buffer);
                taken
            }
        };
        *done = end;
        self.records.drain(..taken);
        if self.output.records.is_empty() {
            // The keys are used up.
            self.write_error = Some(Errno::PIPE);
        }
    }

    /// Receives, if an op above waits for bytes: at once into a buffer, or first without one where that may take long.
    fn arm(&mut self, turn: &mut Turn) -> Supply {
        let wanted = match (self.secure, &self.recv) {
            _ if self.output.end.is_some() || self.is_reading() => return Supply::Enough,
            // After a failed send the receive has the reason.
            (Secure::InFlight, _) if !self.session.is_established() || self.write_error.is_some() => {
                Destination::Discard
            }
            (Secure::Cancelled, _) => return Supply::Enough,
            (_, Some(Recv { into, cancelled: false })) => *into,
            _ => return Supply::Enough,
        };
        let patient = self.secure == Secure::No && !matches!(wanted, Destination::Buffer { .. });
        if patient && !matches!(self.reading, Reading::Readable) {
            self.reading = Reading::Watching;
            turn.ops.push(Op::Recv { token: self.token(OpKind::Recv), into: Destination::Readable });
            return Supply::Enough;
        }
        let Some(buffer) = turn.buffers.receive.take() else { return Supply::Starved };
        self.reading = Reading::Receiving(buffer);
        let into = Destination::Buffer { buffer, start: 0, len: turn.buffers.receive.size() as u32 };
        turn.ops.push(Op::Recv { token: self.token(OpKind::Recv), into });
        Supply::Enough
    }

    fn go_on_closing(&mut self, how: CloseHow, turn: &mut Turn) {
        if self.writing.is_some() {
            return;
        }
        let last_words = !self.output.records.is_empty() && how == CloseHow::Fin && self.write_error.is_none();
        if last_words && let Some(buffer) = turn.buffers.send.take() {
            self.write_to(buffer, turn);
            self.output.records = Vec::new();
            // What the socket does not take at once is not waited for.
            turn.ops.push(Op::Cancel { of: self.token(OpKind::Send) });
        } else {
            self.close = Close::Begun;
            turn.ops.push(Op::Close { token: self.token(OpKind::Close), how });
        }
    }

    /// A peer that has said its last word may still listen; one that broke the protocol does not.
    fn may_send(&self) -> bool {
        self.session.is_established() && !matches!(self.output.end, Some(Err(_)))
    }

    fn is_reading(&self) -> bool {
        matches!(self.reading, Reading::Watching | Reading::Receiving(_))
    }

    fn complete(&self, kind: OpKind, result: Result<u32, Errno>, turn: &mut Turn) {
        turn.completions.push(Completion { token: self.token(kind), result });
    }

    fn token(&self, kind: OpKind) -> Token {
        Token::new(kind, self.slot, self.generation)
    }

    fn check(&self, token: Token) {
        assert!(token.generation() == self.generation, "{token:?}: the slot is in generation {}", self.generation);
    }
}

fn payload_len(payload: Payload) -> usize {
    match payload {
        Payload::Shared { len, .. } | Payload::Media { len, .. } | Payload::Buffer { len, .. } => len as usize,
    }
}
