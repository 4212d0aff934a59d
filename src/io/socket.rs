//! Sockets as the kernel's backends make them: what they are made for, and their options.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Errno, KeepAlive, SourceId};
use crate::base::Nanos;

/// What a socket was made for: a slot's next `Open` can use it again if it asks for the same.
///
/// A bound socket is known by its source, which has a family; an unbound one by its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(u16);

impl Origin {
    /// Of no socket.
    pub(super) const NONE: Self = Self(u16::MAX);
    const UNBOUND_V4: Self = Self(u16::MAX - 1);
    const UNBOUND_V6: Self = Self(u16::MAX - 2);

    pub(super) fn new(source: SourceId, target: &SockAddr) -> Self {
        match source {
            SourceId::ANY if target.is_ipv6() => Self::UNBOUND_V6,
            SourceId::ANY => Self::UNBOUND_V4,
            SourceId(index) => Self(index),
        }
    }
}

/// A socket option as setsockopt(2) takes it.
pub(super) struct SocketOption {
    pub(super) level: libc::c_int,
    pub(super) name: libc::c_int,
    pub(super) value: libc::c_int,
}

pub(super) static NO_DELAY: SocketOption = tcp(libc::TCP_NODELAY, 1);
pub(super) static NAGLE: SocketOption = tcp(libc::TCP_NODELAY, 0);
pub(super) static QUICK_ACK: SocketOption = tcp(libc::TCP_QUICKACK, 1);
/// Lets bind(2) leave the choice of the port to connect(2), which can use a port once per destination instead of once.
pub(super) static BIND_ADDRESS_ONLY: SocketOption =
    SocketOption { level: libc::IPPROTO_IP, name: libc::IP_BIND_ADDRESS_NO_PORT, value: 1 };

const fn tcp(name: libc::c_int, value: libc::c_int) -> SocketOption {
    SocketOption { level: libc::IPPROTO_TCP, name, value }
}

impl SocketOption {
    /// Sets it by a system call.
    pub(super) fn set(&self, socket: impl AsFd) -> io::Result<()> {
        let Self { level, name, value } = self;
        let (socket, len) = (socket.as_fd(), size_of_val(value) as libc::socklen_t);
        // SAFETY: the descriptor is open for as long as it is borrowed, and the value is an integer of the given length
        // that outlives the call.
        let answer = unsafe { libc::setsockopt(socket.as_raw_fd(), *level, *name, ptr::from_ref(value).cast(), len) };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Further options of opened sockets, as the plan wants them.
pub(super) fn options(hold_check: Option<Nanos>, ports: Option<RangeInclusive<u16>>) -> Box<[SocketOption]> {
    let keep_alive = hold_check.map(KeepAlive::after).map(keep_alive);
    keep_alive.into_iter().flatten().chain(ports.and_then(port_range)).collect()
}

/// `IP_LOCAL_PORT_RANGE` of linux/in.h: the last port in the upper half, the first in the lower one.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

/// The option for this range, if the kernel knows it.
fn port_range(ports: RangeInclusive<u16>) -> Option<SocketOption> {
    let value = (u32::from(*ports.end()) << 16 | u32::from(*ports.start())) as libc::c_int;
    let option = SocketOption { level: libc::IPPROTO_IP, name: IP_LOCAL_PORT_RANGE, value };
    let trial = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).ok()?;
    option.set(&trial).is_ok().then_some(option)
}

/// What a socket needs to notice that its peer is gone without a word. With `TCP_USER_TIMEOUT` the number of probes has
/// no say, so it is not set.
fn keep_alive(keep_alive: KeepAlive) -> [SocketOption; 4] {
    let seconds = |span: Nanos| (span.as_u64() / 1_000_000_000) as libc::c_int;
    [
        SocketOption { level: libc::SOL_SOCKET, name: libc::SO_KEEPALIVE, value: 1 },
        tcp(libc::TCP_KEEPIDLE, seconds(keep_alive.idle)),
        tcp(libc::TCP_KEEPINTVL, seconds(keep_alive.interval)),
        tcp(libc::TCP_USER_TIMEOUT, seconds(keep_alive.gives_up_after()) * 1000),
    ]
}

/// A socket for `Op::Open`, made by system calls.
pub(super) struct SocketPlan<'a> {
    pub(super) target: &'a SockAddr,
    /// Bound to, without a port; `None` leaves the choice to connect(2).
    pub(super) source: Option<&'a SockAddr>,
    /// Leave TCP_NODELAY off.
    pub(super) nagle: bool,
    pub(super) options: &'a [SocketOption],
    pub(super) blocking: bool,
}

impl SocketPlan<'_> {
    /// Ready to be connected.
    pub(super) fn make(&self) -> Result<OwnedFd, Errno> {
        let made = || -> io::Result<OwnedFd> {
            let kind = if self.blocking { Type::STREAM } else { Type::STREAM.nonblocking() };
            let socket = Socket::new(Domain::from(i32::from(self.target.family())), kind, Some(Protocol::TCP))?;
            if !self.nagle {
                NO_DELAY.set(&socket)?;
            }
            self.options.iter().try_for_each(|option| option.set(&socket))?;
            if let Some(source) = self.source {
                BIND_ADDRESS_ONLY.set(&socket)?;
                socket.bind(source)?;
            }
            Ok(socket.into())
        };
        made().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}
