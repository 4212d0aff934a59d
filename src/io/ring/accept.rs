//! Accepting connections.
//!
//! A multishot accept takes connections for as long as there is a place for them. One that finds the file table full
//! has accepted a connection already and drops it, so when places get few they are accepted one by one, and when none
//! is left they wait in the listener's backlog until a slot is closed.
//!
//! A ring with listeners leaves its slots to them: `Op::Open` in the same ring may meet an accepted connection.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::{opcode, types};
use rustix::net::sockopt;

use super::queues::Plain;
use super::{Descriptors, Ring, RingError, Slot, Stage};
use crate::io::{Completion, Errno, ListenerId, OpKind, SlotIndex, Token};

/// A listening socket and its `Op::Accept`.
pub(super) struct Listener {
    socket: OwnedFd,
    state: Accepting,
    token: Token,
    /// Its op was cancelled; what is armed still has to end.
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// No op.
    Off,
    /// Waits for a free slot.
    Starved,
    /// An accept of one connection is armed.
    Once,
    /// An accept of many connections is armed.
    Many,
    /// The same, being cancelled to go on one by one.
    Slowing,
}

/// Sets the listeners' options: accepted sockets inherit TCP_NODELAY, and only a blocking listener is waited for.
pub(super) fn prepare(sockets: Vec<OwnedFd>, nodelay: bool) -> Result<Vec<Listener>, RingError> {
    let prepare = |(index, socket)| {
        let set = sockopt::set_tcp_nodelay(&socket, nodelay).and_then(|()| rustix::io::ioctl_fionbio(&socket, false));
        set.map_err(|source| RingError::Listener { index, source })?;
        let token = Token::new(OpKind::Accept, SlotIndex(index as u32), 0);
        Ok(Listener { socket, state: Accepting::Off, token, cancelled: false })
    };
    sockets.into_iter().enumerate().map(prepare).collect()
}

impl Ring {
    pub(super) fn accept(&mut self, token: Token, listener: ListenerId) {
        assert_eq!(token.kind(), OpKind::Accept, "{token:?} does not name an accept");
        assert_eq!(token.slot().0, u32::from(listener.0), "{token:?} names another listener");
        let entry = &mut self.listeners[listener.0 as usize];
        assert_eq!(entry.state, Accepting::Off, "{token:?}: an accept is in flight already");
        (entry.token, entry.cancelled) = (token, false);
        self.arm(listener.0 as usize);
    }

    pub(super) fn stop_accepting(&mut self, of: Token, completions: &mut Vec<Completion>) {
        let Some(listener) = self.listeners.get_mut(of.slot().0 as usize).filter(|listener| listener.token == of)
        else {
            return;
        };
        match listener.state {
            Accepting::Off => {}
            Accepting::Starved => self.end_accept(of, Errno::CANCELED, completions),
            Accepting::Once | Accepting::Many | Accepting::Slowing => {
                listener.cancelled = true;
                self.cancel(of);
            }
        }
    }

    /// Arms the listener as the number of free slots allows.
    fn arm(&mut self, index: usize) {
        let once = self.listeners.iter().filter(|listener| listener.state == Accepting::Once).count() as u32;
        let free = self.free().saturating_sub(once);
        let direct = self.descriptors == Descriptors::Direct;
        let socket = types::Fd(self.listeners[index].socket.as_raw_fd());
        let (state, entry) = if free == 0 {
            self.listeners[index].state = Accepting::Starved;
            return;
        } else if direct && free > self.few() * 2 {
            (Accepting::Many, opcode::AcceptMulti::new(socket).allocate_file_index(true).into())
        } else {
            let (place, flags) = match self.descriptors {
                Descriptors::Direct => (Some(types::DestinationSlot::auto_target()), 0),
                Descriptors::Ordinary => (None, libc::SOCK_CLOEXEC),
            };
            (Accepting::Once, Plain::accept(socket, place, flags))
        };
        self.listeners[index].state = state;
        let user_data = self.listeners[index].token.to_bits();
        self.queues.push_plain(&entry.user_data(user_data));
    }

    fn free(&self) -> u32 {
        self.most_slots - self.occupied
    }

    /// So few free slots that a burst could fill them before the multishot accept is stopped.
    fn few(&self) -> u32 {
        self.most_slots / 8 + 8
    }

    pub(super) fn accepted(
        &mut self,
        token: Token,
        result: Result<u32, Errno>,
        more: bool,
        completions: &mut Vec<Completion>,
    ) {
        let starved = match result {
            Ok(value) => {
                if let Some(slot) = self.install(value) {
                    completions.push(Completion { token, result: Ok(slot.0) });
                }
                false
            }
            // No place in the table or the process, or no memory: closing something helps, if there is something.
            Err(Errno::NFILE | Errno::MFILE | Errno::NOBUFS | Errno::NOMEM) if self.occupied > 0 => true,
            // Cancelled, by the engine or to go on one by one; interrupted; or the client left the backlog again.
            Err(Errno::CANCELED | Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => false,
            Err(errno) => return self.end_accept(token, errno, completions),
        };
        let few_left = self.free() <= self.few();
        let index = token.slot().0 as usize;
        let listener = &mut self.listeners[index];
        if more {
            if listener.state == Accepting::Many && few_left {
                listener.state = Accepting::Slowing;
                self.cancel(token);
            }
        } else if listener.cancelled {
            self.end_accept(token, Errno::CANCELED, completions);
        } else if starved {
            listener.state = Accepting::Starved;
        } else {
            listener.state = Accepting::Off;
            self.arm(index);
        }
    }

    /// Gives an accepted socket its slot; `None` if there is none left, which closes it.
    fn install(&mut self, value: u32) -> Option<SlotIndex> {
        let slot = match self.descriptors {
            Descriptors::Direct => SlotIndex(value),
            Descriptors::Ordinary => {
                // SAFETY: a successful accept returns a new descriptor that nobody else knows.
                let socket = unsafe { OwnedFd::from_raw_fd(value as i32) };
                let slot = self.free_slots.take()?;
                self.sockets[slot.0 as usize] = Some(socket);
                slot
            }
        };
        *self.place(slot) = Slot { stage: Stage::Accepted, ..Slot::VACANT };
        self.occupied += 1;
        Some(slot)
    }

    /// A slot is vacant again; `accepted` tells whose it was.
    pub(super) fn slot_freed(&mut self, slot: SlotIndex, accepted: bool) {
        if accepted && self.descriptors == Descriptors::Ordinary {
            self.free_slots.give_back(slot);
        }
        for index in 0..self.listeners.len() {
            if self.listeners[index].state == Accepting::Starved && self.queues.room() > 0 {
                self.arm(index);
            }
        }
    }

    fn end_accept(&mut self, token: Token, errno: Errno, completions: &mut Vec<Completion>) {
        self.listeners[token.slot().0 as usize].state = Accepting::Off;
        completions.push(Completion { token, result: Err(errno) });
    }
}
