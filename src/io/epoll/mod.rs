//! The epoll backend, for containers and kernels that forbid io_uring.
//!
//! Ops are carried out by system calls on non-blocking sockets, in the order given. What cannot be done at once waits in
//! its slot until the kernel reports its socket; each socket is registered once, edge-triggered (epoll(7)), for all that
//! can happen to it. It knows the contract of [`Io`] as the ring does, and needs no `unsafe`: nothing is lent to the
//! kernel for longer than a call.
//!
//! * `connect`: `Open` and `Close`, reuse of sockets.
//! * `transfer`: `Send`, `Recv` and `Cancel`.
//! * `accept`: listeners.

mod accept;
mod connect;
mod error;
#[cfg(test)]
mod tests;
mod transfer;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit};
use slab::Slab;
use socket2::SockAddr;

use self::accept::Listener;
pub use self::error::EpollError;
use self::transfer::{Receiving, Sending};
use super::clock::monotonic_now;
use super::free_slots::FreeSlots;
use super::socket::{self, Origin, SocketOption};
use super::{Buffers, Bytes, Completion, Errno, Io, IoPlan, Op, OpKind, SlotIndex, TargetId, Token};
use crate::base::{Nanos, Time};

/// An epoll instance of one worker thread, and the sockets it watches.
pub struct Epoll {
    instance: OwnedFd,
    events: Vec<Event>,
    slots: Box<[Slot]>,
    /// Of slots that wait to receive into a buffer.
    receives: Slab<Receiving>,
    /// Of slots that wait to send.
    sends: Slab<Sending>,
    registrations: u32,
    /// Slots that hold a socket, idle ones included.
    occupied: u32,
    /// For accepted connections.
    free_slots: FreeSlots,
    /// Since listeners were fed the last time.
    slot_freed: bool,
    listeners: Vec<Listener>,
    targets: Vec<SockAddr>,
    sources: Vec<SockAddr>,
    nodelay: bool,
    /// Further options of sockets that are opened.
    options: Box<[SocketOption]>,
    shared_bytes: Bytes,
    media: Bytes,
    buffers: Buffers,
    /// Named by receives that drop what they receive. Nobody writes to it, so that it takes no memory.
    nowhere: Box<[u8]>,
}

/// What is remembered of one slot. Held connections are counted in hundreds of thousands: 24 bytes.
struct Slot {
    socket: Option<OwnedFd>,
    /// Of the ops in flight.
    generation: u32,
    /// Tells events of this socket from those of one that the slot had before.
    registration: u32,
    /// The entry of the `Recv` in flight, or one of the markers below.
    receiving: u32,
    /// The entry of the `Send` in flight, or none.
    sending: u32,
    /// What the socket was made for, while there is one that was opened.
    origin: Origin,
    stage: Stage,
    /// Bits of what is known about the socket.
    hints: u8,
}

const _: () = assert!(size_of::<Slot>() == 24);

/// No op of this kind is in flight.
const NONE: u32 = u32::MAX;
/// A receive that drops what it receives.
const DISCARDING: u32 = u32::MAX - 1;
/// A receive that only waits until there is something to receive.
const WATCHING: u32 = u32::MAX - 2;

/// There may be something to receive: no event will tell again.
const READABLE: u8 = 1;
/// The peer has sent its last byte, or the connection broke: no event will tell again.
const ENDED: u8 = 2;
/// The socket has Nagle's algorithm on.
const NAGLE_ON: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// No socket.
    Vacant,
    /// `Open` in flight.
    Opening,
    /// `Open` was cancelled.
    Abandoned,
    /// `Open` failed; there may be a socket.
    Failed,
    /// `Open` succeeded.
    Connected,
    /// Handed out by a listener.
    Accepted,
    /// A disconnected socket, ready to be connected again.
    Idle,
}

impl Slot {
    const VACANT: Self = Self {
        socket: None,
        generation: 0,
        registration: 0,
        receiving: NONE,
        sending: NONE,
        origin: Origin::NONE,
        stage: Stage::Vacant,
        hints: 0,
    };

    fn socket(&self) -> &OwnedFd {
        self.socket.as_ref().expect("a slot with a connection has a socket")
    }
}

/// What sockets are registered for.
const SOCKET_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// In place of a registration's number: the event is a listener's.
const LISTENER: u32 = u32::MAX;

/// Events taken at once; the others are taken next time.
const MOST_EVENTS: usize = 1024;

/// Most bytes that one `Destination::Discard` takes off a socket.
const MOST_DISCARDED: usize = 1 << 20;

/// Waits are cut to this length (the caller waits again).
const LONGEST_WAIT: Nanos = Nanos::from_secs(3600);

/// epoll_wait(2) counts milliseconds, and kernels before 5.11 have nothing finer.
const MILLISECOND: Nanos = Nanos::from_millis(1);

fn event_data(registration: u32, index: u32) -> EventData {
    EventData::new_u64(u64::from(registration) << 32 | u64::from(index))
}

impl Epoll {
    /// A backend for `plan`.
    ///
    /// # Errors
    /// When this process may not have enough files open for the plan, or a listener cannot be watched; the message names
    /// cause and remedy.
    pub fn new(plan: IoPlan) -> Result<Self, EpollError> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if u64::from(plan.slots) > limit {
            return Err(EpollError::TooManySlots { slots: plan.slots, limit });
        }
        let instance = epoll::create(CreateFlags::CLOEXEC).map_err(|errno| EpollError::Instance { errno })?;
        let sources = plan.bound_sources().into_iter().map(SockAddr::from).collect();
        let listeners = accept::prepare(plan.listeners, plan.nodelay, &instance)?;
        let accepting = if listeners.is_empty() { 0 } else { plan.slots };
        let at_once = plan.buffers.count as usize;
        Ok(Self {
            events: Vec::with_capacity(MOST_EVENTS.min(plan.slots as usize + listeners.len()).max(1)),
            slots: (0..plan.slots).map(|_| Slot::VACANT).collect(),
            receives: Slab::with_capacity(at_once),
            sends: Slab::with_capacity(at_once),
            registrations: 0,
            occupied: 0,
            free_slots: FreeSlots::new(accepting),
            slot_freed: false,
            listeners,
            targets: plan.targets.into_iter().map(SockAddr::from).collect(),
            sources,
            nodelay: plan.nodelay,
            options: socket::options(plan.hold_check, plan.ports),
            shared_bytes: plan.shared_bytes,
            media: plan.media,
            buffers: Buffers::new(plan.buffers),
            nowhere: vec![0; MOST_DISCARDED].into_boxed_slice(),
            instance,
        })
    }

    /// Bytes of its table for `plan`, and of the events of a turn; its buffers not included.
    pub fn memory(plan: &IoPlan) -> (usize, usize) {
        let waiting = plan.buffers.count as usize * (size_of::<(usize, Receiving)>() + size_of::<(usize, Sending)>());
        let events = MOST_EVENTS.min(plan.slots as usize).max(1) * size_of::<Event>();
        (plan.slots as usize * size_of::<Slot>() + waiting, events)
    }

    fn slot(&mut self, index: SlotIndex) -> &mut Slot {
        &mut self.slots[index.0 as usize]
    }

    /// The slot of an op that begins on an open connection: all its ops are of one generation.
    fn name(&mut self, token: Token) -> &mut Slot {
        let slot = self.slot(token.slot());
        assert!(!matches!(slot.stage, Stage::Vacant | Stage::Idle), "{token:?}: the slot was not opened");
        if slot.stage == Stage::Accepted && (slot.receiving, slot.sending) == (NONE, NONE) {
            // Only its ops tell the generation of an accepted connection.
            slot.generation = token.generation();
        }
        assert_eq!(slot.generation, token.generation(), "{token:?}: the slot is in another generation");
        slot
    }

    fn next_registration(&mut self) -> u32 {
        self.registrations = self.registrations.wrapping_add(1) % LISTENER;
        self.registrations
    }

    fn begin(&mut self, op: Op, completions: &mut Vec<Completion>) {
        match op {
            Op::Open { token, target, source, nagle } => self.open(token, target, source, nagle, completions),
            Op::Send { token, payload } => self.send(token, payload, completions),
            Op::Recv { token, into } => self.receive(token, into, completions),
            Op::Secure { token } => panic!("{token:?}: this backend has no TLS"),
            Op::Close { token, how } => self.close(token, how, completions),
            Op::Cancel { of } if of.kind() == OpKind::Accept => self.stop_accepting(of, completions),
            Op::Cancel { of } => self.cancel(of, completions),
            Op::AcknowledgeAtOnce { of } => self.acknowledge_at_once(of),
            Op::Accept { token, listener } => self.accept(token, listener),
        }
    }

    fn complete(
        &mut self,
        index: SlotIndex,
        kind: OpKind,
        result: Result<u32, Errno>,
        completions: &mut Vec<Completion>,
    ) {
        let token = Token::new(kind, index, self.slot(index).generation);
        completions.push(Completion { token, result });
    }

    /// Waits for events at most for `left`, and acts on them.
    fn turn(&mut self, left: Nanos, completions: &mut Vec<Completion>) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let waited = self.wait(left, &mut events);
        for event in &events {
            self.finish(event, completions);
        }
        self.events = events;
        Ok(waited?)
    }

    /// Whole milliseconds are waited for together with the events, what is left of one before them: poll(2) takes
    /// nanoseconds.
    fn wait(&self, left: Nanos, events: &mut Vec<Event>) -> Result<(), Errno> {
        let left = left.min(LONGEST_WAIT).as_u64();
        let whole = left - left % MILLISECOND.as_u64();
        if left > 0 && whole == 0 {
            let mut instance = [PollFd::new(&self.instance, PollFlags::IN)];
            interruptible(poll(&mut instance, Some(&timespec(left))))?;
        }
        interruptible(epoll::wait(&self.instance, spare_capacity(events), Some(&timespec(whole)))).map(drop)
    }

    fn finish(&mut self, event: &Event, completions: &mut Vec<Completion>) {
        let (data, flags) = (event.data.u64(), event.flags);
        let (registration, index) = ((data >> 32) as u32, data as u32);
        if registration == LISTENER {
            return self.accept_ready(index as usize, completions);
        }
        let slot = &self.slots[index as usize];
        if slot.registration != registration {
            return;
        }
        let (index, stage) = (SlotIndex(index), slot.stage);
        match stage {
            Stage::Opening => {
                self.note(index, flags);
                if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                    self.connect_ready(index, flags, completions);
                }
            }
            Stage::Connected | Stage::Accepted => {
                self.note(index, flags);
                self.go_on(index, completions);
            }
            Stage::Vacant | Stage::Abandoned | Stage::Failed | Stage::Idle => {}
        }
    }
}

fn timespec(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as _ }
}

/// A signal ends a wait as its time does.
fn interruptible<T: Default>(waited: Result<T, Errno>) -> Result<T, Errno> {
    match waited {
        Err(Errno::INTR) => Ok(T::default()),
        waited => waited,
    }
}

impl Io for Epoll {
    fn retarget(&mut self, target: TargetId, address: SocketAddr) {
        self.targets[usize::from(target.0)] = SockAddr::from(address);
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
            self.begin(op, completions);
        }
        self.feed_listeners();
        loop {
            let left = if completions.len() > before { Nanos::ZERO } else { wake_at.since(self.now()) };
            self.turn(left, completions)?;
            if left == Nanos::ZERO || completions.len() > before {
                return Ok(());
            }
        }
    }

    /// There is no queue that could overflow.
    fn completion_overflows(&self) -> u64 {
        0
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // What waits is given up here and now: its buffers are nobody's, and their memory can be freed.
        for (_, receiving) in &self.receives {
            self.buffers.receive.give_back(receiving.buffer());
        }
        for (_, sending) in &self.sends {
            sending.buffer().into_iter().for_each(|buffer| self.buffers.send.give_back(buffer));
        }
    }
}
