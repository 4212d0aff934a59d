//! The yardstick: the least an epoll program can do to send and receive the bytes of a handshake.
//!
//! Eight system calls per attempt and the waits between them: socket, setsockopt (linger 0), connect, epoll_ctl, send,
//! recv, send, close. It looks at no byte that it receives, keeps no time, and has no timeouts. TCP_NODELAY is left out:
//! on loopback no segment waits for it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with, sockopt,
};

use super::plan::CONCURRENCY;
use shakedown::protocol::{C2_SIZE, S0S1S2_SIZE};

/// A loop that sends the same C0C1 and the same C2 for ever.
pub struct BareLoop {
    target: SocketAddr,
    c0c1: Vec<u8>,
    c2: [u8; C2_SIZE],
    received: [u8; S0S1S2_SIZE],
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
}

struct Connection {
    socket: OwnedFd,
    state: State,
}

enum State {
    Connecting,
    Receiving { missing: usize },
}

impl BareLoop {
    pub fn new(target: SocketAddr, c0c1: Vec<u8>) -> io::Result<Self> {
        Ok(Self {
            target,
            c0c1,
            c2: [0; C2_SIZE],
            received: [0; S0S1S2_SIZE],
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: (0..CONCURRENCY).map(|_| None).collect(),
        })
    }

    /// Completes `attempts` handshakes.
    pub fn complete(&mut self, attempts: u64) -> io::Result<u64> {
        let mut unstarted = attempts;
        for slot in 0..self.connections.len() {
            self.start(slot, &mut unstarted)?;
        }
        let mut completed = 0;
        let mut events: Vec<Event> = Vec::with_capacity(self.connections.len());
        while completed < attempts {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            for event in &events {
                let slot = event.data.u64() as usize;
                if self.advance(slot)? {
                    completed += 1;
                    self.connections[slot] = None;
                    self.start(slot, &mut unstarted)?;
                }
            }
        }
        Ok(completed)
    }

    fn start(&mut self, slot: usize, unstarted: &mut u64) -> io::Result<()> {
        if *unstarted == 0 {
            return Ok(());
        }
        *unstarted -= 1;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        match connect(&socket, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.epoll, &socket, EventData::new_u64(slot as u64), interest)?;
        self.connections[slot] = Some(Connection { socket, state: State::Connecting });
        Ok(())
    }

    /// Acts on an event; `true` when the handshake is complete.
    fn advance(&mut self, slot: usize) -> io::Result<bool> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(false) };
        match &mut connection.state {
            State::Connecting => {
                send_all(&connection.socket, &self.c0c1)?;
                connection.state = State::Receiving { missing: S0S1S2_SIZE };
                Ok(false)
            }
            State::Receiving { missing } => {
                match recv(&connection.socket, &mut self.received[..*missing], RecvFlags::empty()) {
                    Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok((bytes, _)) => *missing -= bytes,
                    Err(Errno::AGAIN) => {}
                    Err(errno) => return Err(errno.into()),
                }
                if *missing > 0 {
                    return Ok(false);
                }
                send_all(&connection.socket, &self.c2)?;
                Ok(true)
            }
        }
    }
}

/// A send buffer that holds nothing takes a handshake's message whole.
fn send_all(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    match send(socket, bytes, SendFlags::NOSIGNAL)? {
        sent if sent == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
