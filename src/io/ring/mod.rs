//! The io_uring backend.
//!
//! One ring per worker thread, made in that thread (`SINGLE_ISSUER`, `DEFER_TASKRUN`). An op becomes one or more
//! submission entries; only the last of them posts a completion when all is well (`IOSQE_CQE_SKIP_SUCCESS`).
//!
//! * `queues`: the two queues and `io_uring_enter`.
//! * `setup`: flags, operations, file table, choice of descriptors.
//! * `connect`: `Open` and `Close`, reuse of sockets.
//! * `accept`: listeners.
//! * `arrival`: when received bytes arrived.

mod accept;
mod arrival;
mod connect;
mod error;
mod queues;
mod setup;
#[cfg(test)]
mod tests;

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;

use io_uring::squeue::Flags;
use io_uring::{opcode, types};
use socket2::SockAddr;

use self::accept::Listener;
use self::arrival::StampedReceives;
pub use self::error::{Barriers, RingError};
use self::queues::{Plain, Queues};
use super::clock::monotonic_now;
use super::free_slots::FreeSlots;
use super::socket::{self, Origin, SocketOption};
use super::{
    Buffers, Bytes, Completion, Destination, Errno, Io, IoPlan, Op, OpKind, Payload, SlotIndex, TargetId, Token,
};
use crate::base::Time;

/// How the ring names its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// Entries of the ring's own file table, numbered like the slots: no process descriptor is used, and sockets are
    /// made, bound and reused by ring operations. From Linux 6.13.
    Direct,
    /// Process file descriptors; sockets are made and bound by system calls.
    Ordinary,
}

/// An io_uring of one worker thread.
pub struct Ring {
    queues: Queues,
    descriptors: Descriptors,
    /// The slots used so far: places that nobody asked for yet take no memory.
    slots: Vec<Slot>,
    /// How many there may be.
    most_slots: u32,
    /// The sockets of the slots; empty with direct descriptors.
    sockets: Box<[Option<OwnedFd>]>,
    /// Slots that hold a socket, idle ones included.
    occupied: u32,
    free_slots: FreeSlots,
    listeners: Vec<Listener>,
    /// Each in a place of its own, to which entries that wait for submission point.
    targets: Vec<Rc<SockAddr>>,
    /// Addresses that were replaced while such entries waited.
    retired: Vec<Rc<SockAddr>>,
    sources: Vec<SockAddr>,
    nodelay: bool,
    /// Further options of sockets that are opened.
    options: Box<[SocketOption]>,
    /// The slot's socket, used or idle, was opened with Nagle's algorithm on.
    nagle: Box<[bool]>,
    shared_bytes: Bytes,
    media: Bytes,
    buffers: Buffers,
    /// Bytes that must be sent from each send buffer that is lent.
    send_lens: Box<[u32]>,
    /// If the plan asks when received bytes arrived.
    stamped: Option<StampedReceives>,
    overflowed_turns: u64,
}

/// What the ring remembers of one slot. Held connections are counted in millions: 12 bytes.
#[derive(Clone, Copy)]
struct Slot {
    /// The receive buffer that an op in flight holds, or one of the markers below.
    receiving: u32,
    sending: Sending,
    /// What the socket was made for, while there is one that the ring opened.
    origin: Origin,
    stage: Stage,
    /// Errno of the first set-up operation of an `Open` that failed; 0 for none.
    failure: u8,
}

const _: () = assert!(size_of::<Slot>() == 12);

/// The send in flight: the buffer of the pool that it holds, or the number of bytes that it sends from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sending(u32);

impl Sending {
    const NONE: Self = Self(u32::MAX);
    /// Set where the rest is a number of bytes.
    const ELSEWHERE: u32 = 1 << 31;

    fn from_elsewhere(len: u32) -> Self {
        assert!(len < Self::ELSEWHERE - 1, "{len} bytes are more than a send takes");
        Self(len | Self::ELSEWHERE)
    }

    const fn is_from_elsewhere(self) -> bool {
        self.0 & Self::ELSEWHERE != 0 && self.0 != Self::NONE.0
    }
}

/// No receive is in flight.
const NONE: u32 = u32::MAX;
/// A receive is in flight that holds no buffer of the pool.
const UNPOOLED: u32 = u32::MAX - 1;
/// A receive is in flight that only waits until there is something to receive.
const WATCHING: u32 = u32::MAX - 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// No socket.
    Vacant,
    /// `Open` in flight.
    Opening,
    /// `Open` succeeded.
    Connected,
    /// `Open` failed or was cancelled; there may be a socket.
    Failed,
    /// Handed out by a listener.
    Accepted,
    /// `Close` in flight, as connect(AF_UNSPEC).
    Disconnecting,
    /// A disconnected socket, ready to be connected again.
    Idle,
    /// `Close` in flight, as a close.
    Closing,
}

impl Slot {
    const VACANT: Self =
        Self { receiving: NONE, sending: Sending::NONE, origin: Origin::NONE, stage: Stage::Vacant, failure: 0 };
}

/// `IORING_RECVSEND_POLL_FIRST` (Linux 5.19): wait for data before the first attempt, which would fail.
const POLL_FIRST: u16 = 1;

/// What `Destination::Readable` waits for: bytes or the peer's FIN. Errors are always reported (poll(2)).
const READABLE: libc::c_short = libc::POLLIN | libc::POLLRDHUP;

/// Most bytes that one `Destination::Discard` takes off a socket.
const MOST_DISCARDED: u32 = 1 << 20;

/// The most entries that acting on one completion needs: a socket that cannot be disconnected is reset and closed.
const ENTRIES_PER_COMPLETION: usize = 2;

/// User data of operations that are no op's own: an op's token with one of these in place of its kind.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Auxiliary {
    /// Makes an `Open`'s socket ready for its connect: failure is the `Open`'s failure.
    Setup = 0x80,
    /// Sets SO_LINGER for a `Close`: on failure the connection is gone anyway.
    Linger = 0x81,
    /// Cancels: there may be nothing left to cancel.
    Cancel = 0x82,
    /// Sets TCP_QUICKACK: on failure the connection is gone anyway.
    Acknowledge = 0x83,
}

const KIND_SHIFT: u32 = 56;

impl Auxiliary {
    const fn of(self, token: Token) -> u64 {
        token.to_bits() & ((1 << KIND_SHIFT) - 1) | (self as u64) << KIND_SHIFT
    }

    /// The `Open` whose set-up operation has this user data.
    fn opening(user_data: u64) -> Option<Token> {
        let same = user_data & ((1 << KIND_SHIFT) - 1) | (OpKind::Open as u64) << KIND_SHIFT;
        Token::from_bits(same).filter(|token| Self::Setup.of(*token) == user_data)
    }
}

impl Ring {
    /// A ring for `plan`, with the descriptors that suit the kernel. To be called in the thread that will use it.
    ///
    /// # Errors
    /// When the environment forbids the ring or is too small for the plan; the message names cause and remedy.
    pub fn new(plan: IoPlan) -> Result<Self, RingError> {
        let descriptors = setup::choose_descriptors()?;
        Self::with_descriptors(plan, descriptors)
    }

    /// A ring with the given kind of descriptors. Direct ones work from Linux 6.11 on, but are fit for use from 6.13
    /// (see [`Ring::new`]).
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn with_descriptors(plan: IoPlan, descriptors: Descriptors) -> Result<Self, RingError> {
        let ring = setup::make_ring(plan.slots, descriptors)?;
        let sources = plan.bound_sources().into_iter().map(SockAddr::from).collect();
        let listeners = accept::prepare(plan.listeners, plan.nodelay)?;
        let slots = plan.slots as usize;
        let sockets = if descriptors == Descriptors::Ordinary { slots } else { 0 };
        let accepting = if listeners.is_empty() { 0 } else { sockets as u32 };
        let stamped = plan.arrival_times.then(|| StampedReceives::new(plan.buffers.count));
        let mut options = socket::options(plan.hold_check, plan.ports).into_vec();
        options.extend(stamped.is_some().then_some(arrival::STAMP));
        Ok(Self {
            queues: Queues::new(ring),
            descriptors,
            slots: Vec::with_capacity(slots),
            most_slots: plan.slots,
            sockets: (0..sockets).map(|_| None).collect(),
            occupied: 0,
            free_slots: FreeSlots::new(accepting),
            listeners,
            targets: plan.targets.into_iter().map(|address| Rc::new(address.into())).collect(),
            retired: Vec::new(),
            sources,
            nodelay: plan.nodelay,
            options: options.into_boxed_slice(),
            nagle: vec![false; slots].into_boxed_slice(),
            shared_bytes: plan.shared_bytes,
            media: plan.media,
            buffers: Buffers::new(plan.buffers),
            send_lens: vec![0; plan.buffers.count as usize].into_boxed_slice(),
            stamped,
            overflowed_turns: 0,
        })
    }

    /// Bytes of its tables for `plan`, and of the queues that it shares with the kernel; its buffers not included.
    pub fn memory(plan: &IoPlan) -> (usize, usize) {
        let slots = plan.slots as usize * (size_of::<Slot>() + size_of::<bool>());
        let stamped = if plan.arrival_times { StampedReceives::memory(plan.buffers.count) } else { 0 };
        let send_lens = plan.buffers.count as usize * size_of::<u32>();
        (slots + send_lens + stamped, setup::queue_memory(plan.slots))
    }

    /// The kind of descriptors in use.
    pub fn descriptors(&self) -> Descriptors {
        self.descriptors
    }

    fn slot(&mut self, token: Token) -> &mut Slot {
        self.place(token.slot())
    }

    fn place(&mut self, slot: SlotIndex) -> &mut Slot {
        let place = slot.0 as usize;
        if place >= self.slots.len() {
            assert!(slot.0 < self.most_slots, "{slot:?}: the ring has {} slots", self.most_slots);
            self.slots.resize(place + 1, Slot::VACANT);
        }
        &mut self.slots[place]
    }

    /// How entries name the slot's socket: the flag tells the two numberings apart.
    fn socket(&self, token: Token) -> (types::Fd, Flags) {
        let slot = token.slot().0;
        match self.descriptors {
            Descriptors::Direct => (types::Fd(slot as RawFd), Flags::FIXED_FILE),
            // Without a socket the answer is EBADF.
            Descriptors::Ordinary => {
                (types::Fd(self.sockets[slot as usize].as_ref().map_or(-1, AsRawFd::as_raw_fd)), Flags::empty())
            }
        }
    }

    /// Queues what `op` means. Ops that need no kernel operation complete here.
    fn begin(&mut self, op: Op, completions: &mut Vec<Completion>) {
        match op {
            Op::Open { token, target, source, nagle } => self.open(token, target, source, nagle, completions),
            Op::Send { token, payload } => self.send(token, payload),
            Op::Recv { token, into } => self.receive(token, into),
            Op::Secure { token } => panic!("{token:?}: a ring has no TLS"),
            Op::Close { token, how } => self.close(token, how, completions),
            Op::Cancel { of } if of.kind() == OpKind::Accept => self.stop_accepting(of, completions),
            Op::Cancel { of } => self.cancel(of),
            Op::AcknowledgeAtOnce { of } => self.acknowledge_at_once(of),
            Op::Accept { token, listener } => self.accept(token, listener),
        }
    }

    fn send(&mut self, token: Token, payload: Payload) {
        assert_eq!(token.kind(), OpKind::Send, "{token:?} does not name a send");
        assert_eq!(self.slot(token).sending, Sending::NONE, "{token:?}: a send is in flight already");
        let (start, len, sending) = match payload {
            Payload::Shared { offset, len } => {
                let bytes = &self.shared_bytes[offset as usize..][..len as usize];
                (bytes.as_ptr(), len, Sending::from_elsewhere(len))
            }
            Payload::Media { offset, len } => {
                let bytes = &self.media[offset as usize..][..len as usize];
                (bytes.as_ptr(), len, Sending::from_elsewhere(len))
            }
            Payload::Buffer { buffer, len } => {
                assert!(len as usize <= self.buffers.send.size(), "{token:?}: {len} bytes exceed a send buffer");
                self.send_lens[buffer.0 as usize] = len;
                (self.buffers.send.lend(buffer).as_ptr().cast_const(), len, Sending(buffer.0))
            }
        };
        self.slot(token).sending = sending;
        let (socket, flags) = self.socket(token);
        let entry = opcode::Send::new(socket, start, len)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .flags(flags)
            .user_data(token.to_bits());
        // SAFETY: `len` readable bytes start at `start`: bounds were checked above. A lent buffer is neither written
        // nor freed until its completion (or ever, if the pool is dropped first); the shared bytes and the media are immutable and
        // outlive the ring, or every send that refers to them (see `Drop`).
        unsafe { self.queues.push(&entry) }
    }

    fn receive(&mut self, token: Token, into: Destination) {
        assert_eq!(token.kind(), OpKind::Recv, "{token:?} does not name a receive");
        assert_eq!(self.slot(token).receiving, NONE, "{token:?}: a receive is in flight already");
        let (socket, flags) = self.socket(token);
        let (start, len, message_flags, lent) = match into {
            Destination::Buffer { buffer, start, len } => {
                let end = u64::from(start) + u64::from(len);
                assert!(len > 0 && end <= self.buffers.receive.size() as u64, "{token:?}: {start}+{len} does not fit");
                let memory = self.buffers.receive.lend(buffer);
                // SAFETY: `start` is within the buffer, checked above.
                let memory = unsafe { memory.add(start as usize) }.as_ptr();
                if let Some(stamped) = &mut self.stamped {
                    let message = stamped.prepare(buffer, memory, len);
                    self.slot(token).receiving = buffer.0;
                    let entry = opcode::RecvMsg::new(socket, message).ioprio(POLL_FIRST).build();
                    // SAFETY: as below; the header stays where it is until the completion, or for ever (see `Drop`).
                    return unsafe { self.queues.push(&entry.flags(flags).user_data(token.to_bits())) };
                }
                (memory, len, 0, buffer.0)
            }
            // tcp(7): with MSG_TRUNC the received bytes are dropped, nothing is written.
            Destination::Discard => (ptr::null_mut(), MOST_DISCARDED, libc::MSG_TRUNC, UNPOOLED),
            Destination::Readable => {
                self.slot(token).receiving = WATCHING;
                let poll = Plain::from(opcode::PollAdd::new(socket, READABLE as u32)).flags(flags);
                return self.queues.push_plain(&poll.user_data(token.to_bits()));
            }
        };
        self.slot(token).receiving = lent;
        let entry = opcode::Recv::new(socket, start, len)
            .ioprio(POLL_FIRST)
            .flags(message_flags)
            .build()
            .flags(flags)
            .user_data(token.to_bits());
        // SAFETY: the kernel writes at most `len` bytes from `start` on, which lie in a buffer that is lent: nobody
        // reads, writes or frees it until the completion gives it back. With MSG_TRUNC it writes nothing.
        unsafe { self.queues.push(&entry) }
    }

    /// Cancels the operation whose user data is exactly `of`.
    fn cancel(&mut self, of: Token) {
        let entry = Plain::from(opcode::AsyncCancel::new(of.to_bits())).flags(Flags::SKIP_SUCCESS);
        self.queues.push_plain(&entry.user_data(Auxiliary::Cancel.of(of)));
    }

    /// Makes room for one more op by submitting those before it.
    fn make_room(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        // No op needs more than an `Open`.
        while self.queues.room() < Self::entries_to_open(self.options.len()) {
            self.turn(0, Time::ZERO, Time::ZERO, completions)?;
        }
        Ok(())
    }

    /// Makes room for what acting on a completion queues. A batch that is cut short submits something, or fails.
    fn make_room_to_finish(&mut self) -> io::Result<()> {
        while self.queues.room() < ENTRIES_PER_COMPLETION {
            self.queues.flush()?;
        }
        Ok(())
    }

    /// One enter and the completions it delivered.
    fn turn(&mut self, want: u32, wake_at: Time, now: Time, completions: &mut Vec<Completion>) -> io::Result<()> {
        if let Some(stamped) = &mut self.stamped {
            stamped.begin_turn();
        }
        let room = self.queues.room();
        let entered = self.queues.enter(want, wake_at, now);
        self.overflowed_turns += u64::from(self.queues.overflowing());
        let submitted = self.queues.room() > room;
        let mut reaped = false;
        let entered = loop {
            // What cannot be acted on stays in the queue for the next turn.
            if let Err(error) = self.make_room_to_finish() {
                break Err(error);
            }
            let Some(entry) = self.queues.next() else { break entered };
            reaped = true;
            self.finish(&entry, completions);
        };
        if self.queues.is_submitted() {
            self.retired.clear();
        }
        match entered {
            Ok(()) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                // The time is over, or a signal came: both are what waiting is like.
                Some(Errno::TIME | Errno::INTR) => Ok(()),
                // The kernel was short of memory or of completion entries: taking completions away helps.
                Some(Errno::AGAIN | Errno::BUSY) if reaped || submitted => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// What a kernel completion means.
    fn finish(&mut self, entry: &io_uring::cqueue::Entry, completions: &mut Vec<Completion>) {
        let result = match entry.result() {
            value @ 0.. => Ok(value as u32),
            negative => Err(Errno::from_raw_os_error(-negative)),
        };
        let Some(token) = Token::from_bits(entry.user_data()) else {
            if let (Some(token), Err(errno)) = (Auxiliary::opening(entry.user_data()), result) {
                self.setup_failed(token, errno);
            }
            return;
        };
        let result = match token.kind() {
            OpKind::Open => self.opened(token, result),
            OpKind::Send => self.sent(token, result),
            OpKind::Recv => self.received(token, result),
            OpKind::Close => match self.closed(token, result) {
                Some(result) => result,
                None => return,
            },
            OpKind::Secure => unreachable!("{token:?}: a ring has no TLS"),
            OpKind::Accept => {
                let more = io_uring::cqueue::more(entry.flags());
                return self.accepted(token, result, more, completions);
            }
        };
        completions.push(Completion { token, result });
    }

    fn sent(&mut self, token: Token, result: Result<u32, Errno>) -> Result<u32, Errno> {
        let slot = self.slot(token);
        let sending = mem::replace(&mut slot.sending, Sending::NONE);
        let len = if sending.is_from_elsewhere() {
            sending.0 & !Sending::ELSEWHERE
        } else {
            self.buffers.send.give_back(super::BufferId(sending.0));
            self.send_lens[sending.0 as usize]
        };
        // MSG_WAITALL sends all unless the connection breaks or the op is cancelled on the way; then the kernel tells
        // how far it came and keeps the reason to itself.
        result.and_then(|bytes| if bytes == len { Ok(bytes) } else { Err(Errno::PIPE) })
    }

    fn received(&mut self, token: Token, result: Result<u32, Errno>) -> Result<u32, Errno> {
        let lent = mem::replace(&mut self.slot(token).receiving, NONE);
        if lent < WATCHING {
            self.buffers.receive.give_back(super::BufferId(lent));
            if let (Some(stamped), Ok(1..)) = (&mut self.stamped, result) {
                stamped.note(super::BufferId(lent), &mut self.buffers.arrivals);
            }
        }
        // A poll answers with the events that it found.
        if lent == WATCHING { result.map(|_| 1) } else { result }
    }
}

impl Io for Ring {
    fn retarget(&mut self, target: TargetId, address: SocketAddr) {
        let replaced = mem::replace(&mut self.targets[usize::from(target.0)], Rc::new(SockAddr::from(address)));
        if !self.queues.is_submitted() {
            self.retired.push(replaced);
        }
    }

    fn now(&self) -> Time {
        monotonic_now()
    }

    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    fn submit_and_wait(
        &mut self,
        ops: &mut Vec<Op>,
        wake_at: Time,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let before = completions.len();
        for op in ops.drain(..) {
            self.make_room(completions)?;
            self.begin(op, completions);
        }
        loop {
            let now = self.now();
            let want = u32::from(completions.len() == before && now < wake_at);
            self.turn(want, wake_at, now, completions)?;
            if want == 0 || completions.len() > before {
                return Ok(());
            }
        }
    }

    /// Counts the turns that found completions waiting outside the full queue, plus the completions lost altogether.
    fn completion_overflows(&self) -> u64 {
        self.overflowed_turns + u64::from(self.queues.lost())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel cancels what is in flight some time after the ring is closed. Until then it may write to lent
        // receive buffers and read from lent send buffers, which `BufferPool` therefore never frees, write to the headers
        // of receives, and read the shared bytes: both are kept for ever if an op in flight refers to them. Nothing else is
        // referred to: addresses and option values are read when an entry is taken, receives into nowhere write nothing.
        if self.slots.iter().any(|slot| slot.sending.is_from_elsewhere()) {
            mem::forget(Bytes::clone(&self.shared_bytes));
            mem::forget(Bytes::clone(&self.media));
        }
        if self.slots.iter().any(|slot| slot.receiving < WATCHING)
            && let Some(stamped) = &mut self.stamped
        {
            stamped.leak();
        }
    }
}
