//! Opening and closing connections, and reusing their sockets.
//!
//! A connection that is reset keeps its socket and its registration: connect(2) with the family AF_UNSPEC resets the
//! connection (the peer sees an RST, no TIME_WAIT is left) and returns the same socket to the closed state with its
//! options and its source address, so that the next `Open` of the slot only connects.

use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::net::{connect_unspec, sockopt};
use socket2::SockRef;

use super::{ENDED, Epoll, NAGLE_ON, NONE, READABLE, SOCKET_EVENTS, Slot, Stage, event_data};
use crate::io::socket::{NAGLE, NO_DELAY, Origin, QUICK_ACK, SocketPlan};
use crate::io::{CloseHow, Completion, Errno, OpKind, SlotIndex, SourceId, TargetId, Token};

impl Epoll {
    pub(super) fn open(
        &mut self,
        token: Token,
        target: TargetId,
        source: SourceId,
        nagle: bool,
        completions: &mut Vec<Completion>,
    ) {
        assert_eq!(token.kind(), OpKind::Open, "{token:?} does not name an open");
        let origin = Origin::new(source, &self.targets[target.0 as usize]);
        let slot = self.slot(token.slot());
        assert!(matches!(slot.stage, Stage::Vacant | Stage::Idle), "{token:?}: the slot is {:?}", slot.stage);
        let reusable = slot.stage == Stage::Idle && slot.origin == origin;
        let vacant = slot.stage == Stage::Vacant;
        slot.generation = token.generation();
        slot.origin = origin;
        slot.stage = Stage::Opening;
        slot.hints &= NAGLE_ON;
        self.occupied += u32::from(vacant);
        let nagle = nagle || !self.nodelay;
        let begun =
            if reusable { self.change_nagle(token.slot(), nagle) } else { self.make(token, target, source, nagle) };
        match begun.and_then(|()| self.connect(token.slot(), target, !reusable)) {
            Ok(true) => self.opened(token.slot(), Ok(0), completions),
            Ok(false) => {}
            Err(errno) => self.opened(token.slot(), Err(errno), completions),
        }
    }

    fn make(&mut self, token: Token, target: TargetId, source: SourceId, nagle: bool) -> Result<(), Errno> {
        // An idle socket of another origin goes first: its descriptor may be the last one.
        self.slot(token.slot()).socket = None;
        let made = SocketPlan {
            target: &self.targets[target.0 as usize],
            source: (source != SourceId::ANY).then(|| &self.sources[source.0 as usize]),
            nagle,
            options: &self.options,
            blocking: false,
        };
        let socket = made.make()?;
        let slot = self.slot(token.slot());
        slot.socket = Some(socket);
        slot.hints = if nagle { NAGLE_ON } else { 0 };
        Ok(())
    }

    fn change_nagle(&mut self, index: SlotIndex, nagle: bool) -> Result<(), Errno> {
        let slot = self.slot(index);
        if (slot.hints & NAGLE_ON != 0) != nagle {
            let option = if nagle { &NAGLE } else { &NO_DELAY };
            option.set(slot.socket()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            slot.hints ^= NAGLE_ON;
        }
        Ok(())
    }

    /// Whether it is connected at once; else an event tells.
    fn connect(&mut self, index: SlotIndex, target: TargetId, fresh: bool) -> Result<bool, Errno> {
        let registration = if fresh { self.next_registration() } else { self.slots[index.0 as usize].registration };
        let slot = &mut self.slots[index.0 as usize];
        slot.registration = registration;
        let connected = match SockRef::from(slot.socket()).connect(&self.targets[target.0 as usize]) {
            Ok(()) => true,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INPROGRESS | Errno::INTR) => false,
                errno => return Err(errno.unwrap_or(Errno::IO)),
            },
        };
        if fresh {
            // What is the case when a socket is registered is reported, too.
            epoll::add(&self.instance, slot.socket(), event_data(registration, index.0), SOCKET_EVENTS)?;
        }
        Ok(connected)
    }

    /// An event came while the socket was connecting: it is no longer.
    pub(super) fn connect_ready(&mut self, index: SlotIndex, flags: EventFlags, completions: &mut Vec<Completion>) {
        let result = if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            sockopt::socket_error(self.slots[index.0 as usize].socket()).unwrap_or_else(Err)
        } else {
            Ok(())
        };
        self.opened(index, result.map(|()| 0), completions);
    }

    fn opened(&mut self, index: SlotIndex, result: Result<u32, Errno>, completions: &mut Vec<Completion>) {
        self.slot(index).stage = if result.is_ok() { Stage::Connected } else { Stage::Failed };
        self.complete(index, OpKind::Open, result, completions);
        self.go_on(index, completions);
    }

    /// The `Open` is given up. What is queued behind it stays until it is given up, too.
    pub(super) fn abandon(&mut self, index: SlotIndex, completions: &mut Vec<Completion>) {
        self.slot(index).stage = Stage::Abandoned;
        self.complete(index, OpKind::Open, Err(Errno::CANCELED), completions);
    }

    pub(super) fn close(&mut self, token: Token, how: CloseHow, completions: &mut Vec<Completion>) {
        assert_eq!(token.kind(), OpKind::Close, "{token:?} does not name a close");
        let slot = self.slot(token.slot());
        assert!(
            matches!(slot.stage, Stage::Connected | Stage::Abandoned | Stage::Failed | Stage::Accepted),
            "{token:?}: the slot is {:?}",
            slot.stage
        );
        assert_eq!((slot.receiving, slot.sending), (NONE, NONE), "{token:?}: another op is in flight");
        completions.push(Completion { token, result: Ok(0) });
        if how == CloseHow::Rst && slot.stage == Stage::Connected && connect_unspec(slot.socket()).is_ok() {
            slot.stage = Stage::Idle;
            return;
        }
        if how == CloseHow::Rst
            && let Some(socket) = &slot.socket
        {
            // Fails on no TCP socket.
            let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
        let accepted = slot.stage == Stage::Accepted;
        // Closing the only descriptor ends the registration.
        *slot = Slot::VACANT;
        self.occupied -= 1;
        self.slot_freed = true;
        if accepted {
            self.free_slots.give_back(token.slot());
        }
    }

    pub(super) fn acknowledge_at_once(&mut self, of: Token) {
        if let Some(socket) = &self.slot(of.slot()).socket {
            // The connection may have ended.
            let _ = QUICK_ACK.set(socket);
        }
    }

    /// What an event says about an open connection.
    pub(super) fn note(&mut self, index: SlotIndex, flags: EventFlags) {
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let slot = self.slot(index);
        if ended {
            slot.hints |= READABLE | ENDED;
        } else if flags.contains(EventFlags::IN) {
            slot.hints |= READABLE;
        }
    }
}
