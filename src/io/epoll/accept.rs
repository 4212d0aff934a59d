//! Accepting connections.
//!
//! A listener is watched for as long as it accepts and there is a free slot; else connections wait in its backlog. Only
//! some are accepted at once, so that a burst does not keep those before it waiting.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{SocketFlags, accept_with, sockopt};

use super::{Epoll, EpollError, LISTENER, SOCKET_EVENTS, Slot, Stage, event_data};
use crate::io::{Completion, Errno, ListenerId, OpKind, SlotIndex, Token};

/// A listening socket and its `Op::Accept`.
pub(super) struct Listener {
    socket: OwnedFd,
    state: Accepting,
    token: Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// No op.
    Off,
    /// Waits for a slot to be freed.
    Starved,
    /// Is watched.
    On,
}

/// Connections accepted each time a listener is found ready.
const AT_ONCE: u32 = 64;

/// Makes the listeners ready to be watched. Accepted sockets inherit TCP_NODELAY.
pub(super) fn prepare(sockets: Vec<OwnedFd>, nodelay: bool, instance: &OwnedFd) -> Result<Vec<Listener>, EpollError> {
    let prepare = |(index, socket)| {
        let registered = sockopt::set_tcp_nodelay(&socket, nodelay)
            .and_then(|()| rustix::io::ioctl_fionbio(&socket, true))
            .and_then(|()| epoll::add(instance, &socket, of_listener(index), EventFlags::empty()));
        registered.map_err(|errno| EpollError::Listener { index, errno })?;
        let token = Token::new(OpKind::Accept, SlotIndex(index as u32), 0);
        Ok(Listener { socket, state: Accepting::Off, token })
    };
    sockets.into_iter().enumerate().map(prepare).collect()
}

fn of_listener(index: usize) -> EventData {
    event_data(LISTENER, index as u32)
}

impl Epoll {
    pub(super) fn accept(&mut self, token: Token, listener: ListenerId) {
        assert_eq!(token.kind(), OpKind::Accept, "{token:?} does not name an accept");
        assert_eq!(token.slot().0, u32::from(listener.0), "{token:?} names another listener");
        let entry = &mut self.listeners[listener.0 as usize];
        assert_eq!(entry.state, Accepting::Off, "{token:?}: an accept is in flight already");
        entry.token = token;
        self.turn_to(listener.0 as usize, Accepting::On);
    }

    pub(super) fn stop_accepting(&mut self, of: Token, completions: &mut Vec<Completion>) {
        let index = of.slot().0 as usize;
        if self.listeners.get(index).is_some_and(|entry| entry.token == of && entry.state != Accepting::Off) {
            self.end_accept(index, Errno::CANCELED, completions);
        }
    }

    /// Slots were freed: listeners that wait for one are watched again.
    pub(super) fn feed_listeners(&mut self) {
        if !std::mem::take(&mut self.slot_freed) {
            return;
        }
        for index in 0..self.listeners.len() {
            if self.listeners[index].state == Accepting::Starved {
                self.turn_to(index, Accepting::On);
            }
        }
    }

    /// A listener is ready.
    pub(super) fn accept_ready(&mut self, index: usize, completions: &mut Vec<Completion>) {
        if self.listeners[index].state != Accepting::On {
            return;
        }
        let token = self.listeners[index].token;
        for _ in 0..AT_ONCE {
            if self.free_slots.is_empty() {
                return self.turn_to(index, Accepting::Starved);
            }
            match self.accept_one(index) {
                Ok(slot) => completions.push(Completion { token, result: Ok(slot.0) }),
                Err(Errno::AGAIN) => return,
                // Interrupted, or the client left the backlog again.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
                // No descriptor, no memory, or too much is watched (fs.epoll.max_user_watches): closing something helps,
                // if there is something.
                Err(Errno::NFILE | Errno::MFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) if self.occupied > 0 => {
                    return self.turn_to(index, Accepting::Starved);
                }
                Err(errno) => return self.end_accept(index, errno, completions),
            }
        }
    }

    /// Accepts a connection into a free slot; there is one.
    fn accept_one(&mut self, index: usize) -> Result<SlotIndex, Errno> {
        let socket = accept_with(&self.listeners[index].socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let registration = self.next_registration();
        let slot = self.free_slots.take().expect("there is a free slot");
        let registered = epoll::add(&self.instance, &socket, event_data(registration, slot.0), SOCKET_EVENTS);
        if let Err(errno) = registered {
            self.free_slots.give_back(slot);
            return Err(errno);
        }
        self.slots[slot.0 as usize] =
            Slot { socket: Some(socket), registration, stage: Stage::Accepted, ..Slot::VACANT };
        self.occupied += 1;
        Ok(slot)
    }

    fn turn_to(&mut self, index: usize, state: Accepting) {
        let listener = &mut self.listeners[index];
        listener.state = state;
        let interest = if state == Accepting::On { EventFlags::IN } else { EventFlags::empty() };
        let changed = epoll::modify(&self.instance, &listener.socket, of_listener(index), interest);
        changed.expect("a socket that is registered can be watched for other events");
    }

    fn end_accept(&mut self, index: usize, errno: Errno, completions: &mut Vec<Completion>) {
        let token = self.listeners[index].token;
        self.turn_to(index, Accepting::Off);
        completions.push(Completion { token, result: Err(errno) });
    }
}
