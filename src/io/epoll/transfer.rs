//! Sending and receiving.
//!
//! Both are tried before they wait: a send at once, a receive as soon as an event says that there may be something. An
//! event is an edge, told once, so a slot remembers it until a receive has found the socket empty.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{DISCARDING, ENDED, Epoll, NONE, READABLE, Stage, WATCHING};
use crate::io::{BufferId, Completion, Destination, Errno, OpKind, Payload, SlotIndex, Token};

/// A `Recv` into a buffer that waits.
#[derive(Clone, Copy)]
pub(super) struct Receiving {
    buffer: BufferId,
    start: u32,
    len: u32,
}

/// A `Send` that waits.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    payload: Payload,
    /// Bytes that have been sent.
    done: usize,
}

impl Receiving {
    pub(super) fn buffer(&self) -> BufferId {
        self.buffer
    }
}

impl Sending {
    pub(super) fn buffer(&self) -> Option<BufferId> {
        match self.payload {
            Payload::Buffer { buffer, .. } => Some(buffer),
            Payload::Shared { .. } | Payload::Media { .. } => None,
        }
    }
}

/// How far a transfer came.
enum Tried {
    Ended(Result<u32, Errno>),
    Waits,
}

/// What `Destination::Readable` waits for: bytes or the peer's FIN. Errors are always reported (poll(2)).
const SOMETHING: PollFlags = PollFlags::IN.union(PollFlags::RDHUP);

impl Epoll {
    pub(super) fn send(&mut self, token: Token, payload: Payload, completions: &mut Vec<Completion>) {
        assert_eq!(token.kind(), OpKind::Send, "{token:?} does not name a send");
        let slot = self.name(token);
        assert_eq!(slot.sending, NONE, "{token:?}: a send is in flight already");
        let connected = matches!(slot.stage, Stage::Connected | Stage::Accepted);
        let mut sending = Sending { payload, done: 0 };
        if connected && let Tried::Ended(result) = self.try_send(token.slot(), &mut sending) {
            return completions.push(Completion { token, result });
        }
        if let Some(buffer) = sending.buffer() {
            self.buffers.send.lend(buffer);
        }
        let place = self.sends.insert(sending) as u32;
        self.slot(token.slot()).sending = place;
        self.fail_transfers(token.slot(), completions);
    }

    pub(super) fn receive(&mut self, token: Token, into: Destination, completions: &mut Vec<Completion>) {
        assert_eq!(token.kind(), OpKind::Recv, "{token:?} does not name a receive");
        let receiving = self.name(token).receiving;
        assert_eq!(receiving, NONE, "{token:?}: a receive is in flight already");
        let place = match into {
            Destination::Buffer { buffer, start, len } => {
                let end = u64::from(start) + u64::from(len);
                assert!(len > 0 && end <= self.buffers.receive.size() as u64, "{token:?}: {start}+{len} does not fit");
                self.buffers.receive.lend(buffer);
                self.receives.insert(Receiving { buffer, start, len }) as u32
            }
            Destination::Discard => DISCARDING,
            Destination::Readable => WATCHING,
        };
        let slot = self.slot(token.slot());
        slot.receiving = place;
        if matches!(slot.stage, Stage::Connected | Stage::Accepted) && slot.hints & READABLE != 0 {
            if place == WATCHING && !self.is_readable(token.slot()) {
                return;
            }
            self.go_on_receiving(token.slot(), completions);
        }
        self.fail_transfers(token.slot(), completions);
    }

    /// Gives up the op named `of`, if it is in flight.
    pub(super) fn cancel(&mut self, of: Token, completions: &mut Vec<Completion>) {
        let index = of.slot();
        let slot = self.slot(index);
        if slot.generation != of.generation() {
            return;
        }
        let (stage, sending, receiving) = (slot.stage, slot.sending, slot.receiving);
        match of.kind() {
            OpKind::Open if stage == Stage::Opening => self.abandon(index, completions),
            OpKind::Send if sending != NONE => {
                // A part of it is on its way: the connection is of no use for other bytes.
                let begun = self.sends[sending as usize].done > 0;
                let errno = if begun { Errno::PIPE } else { Errno::CANCELED };
                self.end_send(index, Err(errno), completions);
            }
            OpKind::Recv if receiving != NONE => self.end_receive(index, Err(Errno::CANCELED), completions),
            _ => {}
        }
    }

    /// Something has happened to the slot's connection: what waits for it is tried again. A receive is first, so that it
    /// is the one to report why a connection broke.
    pub(super) fn go_on(&mut self, index: SlotIndex, completions: &mut Vec<Completion>) {
        let slot = self.slot(index);
        if matches!(slot.stage, Stage::Connected | Stage::Accepted) {
            let (receives, sends) = (slot.receiving != NONE && slot.hints & READABLE != 0, slot.sending != NONE);
            if receives {
                self.go_on_receiving(index, completions);
            }
            if sends {
                self.go_on_sending(index, completions);
            }
        }
        self.fail_transfers(index, completions);
    }

    fn go_on_receiving(&mut self, index: SlotIndex, completions: &mut Vec<Completion>) {
        if let Tried::Ended(result) = self.try_receive(index) {
            self.end_receive(index, result, completions);
        }
    }

    fn go_on_sending(&mut self, index: SlotIndex, completions: &mut Vec<Completion>) {
        let place = self.slot(index).sending as usize;
        let mut sending = self.sends[place];
        if let Some(buffer) = sending.buffer() {
            // Read as a kernel would read it; for the engine the buffer stays lent.
            self.buffers.send.give_back(buffer);
        }
        let tried = self.try_send(index, &mut sending);
        if let Some(buffer) = sending.buffer() {
            self.buffers.send.lend(buffer);
        }
        self.sends[place] = sending;
        if let Tried::Ended(result) = tried {
            self.end_send(index, result, completions);
        }
    }

    /// Ends what waits for a connection that did not come about, with the answers of a socket that is not connected.
    fn fail_transfers(&mut self, index: SlotIndex, completions: &mut Vec<Completion>) {
        let slot = self.slot(index);
        if slot.stage != Stage::Failed {
            return;
        }
        let (send, recv) = match (&slot.socket, slot.receiving) {
            (None, _) => (Errno::BADF, Err(Errno::BADF)),
            (Some(_), WATCHING) => (Errno::PIPE, Ok(1)),
            (Some(_), _) => (Errno::PIPE, Err(Errno::NOTCONN)),
        };
        let (sending, receiving) = (slot.sending != NONE, slot.receiving != NONE);
        if sending {
            self.end_send(index, Err(send), completions);
        }
        if receiving {
            self.end_receive(index, recv, completions);
        }
    }

    fn try_send(&mut self, index: SlotIndex, sending: &mut Sending) -> Tried {
        let Sending { payload, done } = sending;
        let bytes = match *payload {
            Payload::Shared { offset, len } => &self.shared_bytes[offset as usize..][..len as usize],
            Payload::Media { offset, len } => &self.media[offset as usize..][..len as usize],
            Payload::Buffer { buffer, len } => &self.buffers.send.bytes(buffer)[..len as usize],
        };
        let socket = self.slots[index.0 as usize].socket();
        loop {
            match send(socket, &bytes[*done..], SendFlags::NOSIGNAL) {
                Ok(sent) => *done += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Tried::Waits,
                Err(errno) => return Tried::Ended(Err(errno)),
            }
            if *done == bytes.len() {
                return Tried::Ended(Ok(*done as u32));
            }
        }
    }

    fn try_receive(&mut self, index: SlotIndex) -> Tried {
        let slot = &mut self.slots[index.0 as usize];
        let (asked, received) = match slot.receiving {
            // It was just reported, or looked up.
            WATCHING => return Tried::Ended(Ok(1)),
            // tcp(7): with MSG_TRUNC the received bytes are dropped, nothing is written.
            DISCARDING => {
                let flags = RecvFlags::TRUNC;
                (self.nowhere.len(), retry(|| recv(slot.socket(), &mut self.nowhere[..], flags)))
            }
            place => {
                let Receiving { buffer, start, len } = self.receives[place as usize];
                // Written as a kernel would write it; for the engine the buffer stays lent.
                self.buffers.receive.give_back(buffer);
                let room = &mut self.buffers.receive.bytes_mut(buffer)[start as usize..][..len as usize];
                let received = retry(|| recv(slot.socket(), &mut *room, RecvFlags::empty()));
                self.buffers.receive.lend(buffer);
                (len as usize, received)
            }
        };
        match received {
            Ok(received) => {
                // Less than asked for: there was no more. Of the end the next receive must hear without an event.
                if received < asked && slot.hints & ENDED == 0 {
                    slot.hints &= !READABLE;
                }
                Tried::Ended(Ok(received as u32))
            }
            Err(Errno::AGAIN) => {
                slot.hints &= !(READABLE | ENDED);
                Tried::Waits
            }
            Err(errno) => Tried::Ended(Err(errno)),
        }
    }

    /// Whether there is something to receive, where an event has told so some time ago.
    fn is_readable(&mut self, index: SlotIndex) -> bool {
        let slot = self.slot(index);
        let mut asked = [PollFd::new(slot.socket(), SOMETHING)];
        let found = poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let readable = found != Ok(0);
        if !readable {
            slot.hints &= !(READABLE | ENDED);
        }
        readable
    }

    fn end_send(&mut self, index: SlotIndex, result: Result<u32, Errno>, completions: &mut Vec<Completion>) {
        let place = std::mem::replace(&mut self.slot(index).sending, NONE);
        if let Some(buffer) = self.sends.remove(place as usize).buffer() {
            self.buffers.send.give_back(buffer);
        }
        self.complete(index, OpKind::Send, result, completions);
    }

    fn end_receive(&mut self, index: SlotIndex, result: Result<u32, Errno>, completions: &mut Vec<Completion>) {
        let place = std::mem::replace(&mut self.slot(index).receiving, NONE);
        if !matches!(place, DISCARDING | WATCHING) {
            let receiving = self.receives.remove(place as usize);
            self.buffers.receive.give_back(receiving.buffer);
        }
        self.complete(index, OpKind::Recv, result, completions);
    }
}

/// The number of bytes; with MSG_TRUNC of those that were dropped.
fn retry(receive: impl FnMut() -> rustix::io::Result<(usize, usize)>) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(receive).map(|(_, received)| received)
}
