//! Opening and closing connections, and reusing their sockets.
//!
//! With direct descriptors a connection that is reset keeps its socket: connect(2) with the family AF_UNSPEC resets
//! the connection (the peer sees an RST, no TIME_WAIT is left) and returns the same socket to the closed state with
//! its options and its source address, so that the next `Open` of the slot only connects. A receive that is armed
//! then would survive and take the next connection's bytes; the contract of `Op::Close` excludes it.

use std::mem::size_of;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use io_uring::squeue::Flags;
use io_uring::{opcode, squeue, types};
use rustix::net::sockopt;

use super::queues::Plain;
use super::{Auxiliary, Descriptors, NONE, Ring, Sending, Stage};
use crate::io::socket::{BIND_ADDRESS_ONLY, NAGLE, NO_DELAY, Origin, QUICK_ACK, SocketOption, SocketPlan};
use crate::io::{CloseHow, Completion, Errno, OpKind, SourceId, TargetId, Token};

static RESET_ON_CLOSE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
static DISCONNECT: libc::sockaddr =
    libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };

impl Ring {
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
        let slot = self.slot(token);
        assert!(matches!(slot.stage, Stage::Vacant | Stage::Idle), "{token:?}: the slot is {:?}", slot.stage);
        let reusable = slot.stage == Stage::Idle && slot.origin == origin;
        let vacant = slot.stage == Stage::Vacant;
        (slot.stage, slot.origin, slot.failure) = (Stage::Opening, origin, 0);
        self.occupied += u32::from(vacant);
        let nagle = nagle || !self.nodelay;
        let place = token.slot().0 as usize;
        if reusable {
            if self.nagle[place] != nagle {
                self.queue_option(token, if nagle { &NAGLE } else { &NO_DELAY });
            }
        } else {
            match self.descriptors {
                // An idle socket of another origin is replaced, which closes it.
                Descriptors::Direct => self.queue_socket(token, target, source, nagle),
                Descriptors::Ordinary => match self.make_socket(target, source, nagle) {
                    Ok(socket) => self.sockets[place] = Some(socket),
                    Err(errno) => {
                        self.slot(token).stage = Stage::Failed;
                        completions.push(Completion { token, result: Err(errno) });
                        return;
                    }
                },
            }
        }
        // Written only where it changes: pages that nobody wrote to take no memory.
        if self.nagle[place] != nagle {
            self.nagle[place] = nagle;
        }
        let address = &self.targets[target.0 as usize];
        let (socket, flags) = self.socket(token);
        let entry = opcode::Connect::new(socket, address.as_ptr().cast(), address.len())
            .build()
            .flags(flags)
            .user_data(token.to_bits());
        // SAFETY: the address has a place of its own on the heap, which the ring keeps until the kernel has copied it: one
        // that is replaced meanwhile is retired (see `retarget`).
        unsafe { self.queues.push(&entry) }
    }

    /// The entries that [`open`](Self::open) queues at most with so many further options: the socket, its delay, the
    /// options, the two that bind it, and the connect.
    pub(super) const fn entries_to_open(options: usize) -> usize {
        2 + options + 2 + 1
    }

    /// Queues what makes a direct socket ready to connect.
    ///
    /// The entries are not linked: the kernel tries them in order, each completes at its first try, and the socket is
    /// looked up when each is tried.
    pub(super) fn queue_socket(&mut self, token: Token, target: TargetId, source: SourceId, nagle: bool) {
        let family = i32::from(self.targets[target.0 as usize].family());
        let place = types::DestinationSlot::try_from_slot_target(token.slot().0).expect("slots fit the file table");
        let socket = opcode::Socket::new(family, libc::SOCK_STREAM, libc::IPPROTO_TCP).file_index(Some(place));
        let socket = Plain::from(socket).flags(Flags::SKIP_SUCCESS);
        self.queues.push_plain(&socket.user_data(Auxiliary::Setup.of(token)));
        if !nagle {
            self.queue_option(token, &NO_DELAY);
        }
        for index in 0..self.options.len() {
            let entry = self.option(token, &self.options[index]);
            // SAFETY: the option's value lies in the ring's own list, which never changes.
            unsafe { self.queue_setup(token, entry) }
        }
        if source != SourceId::ANY {
            self.queue_option(token, &BIND_ADDRESS_ONLY);
            let address = &self.sources[source.0 as usize];
            let (socket, flags) = self.socket(token);
            let bind = opcode::Bind::new(socket, address.as_ptr().cast(), address.len()).build().flags(flags);
            // SAFETY: the address lies in the ring's own list, which never changes.
            unsafe { self.queue_setup(token, bind) }
        }
    }

    fn queue_option(&mut self, token: Token, option: &'static SocketOption) {
        let entry = self.option(token, option);
        // SAFETY: the option's value is a static.
        unsafe { self.queue_setup(token, entry) }
    }

    fn option(&self, token: Token, option: &SocketOption) -> squeue::Entry {
        let (socket, flags) = self.socket(token);
        let value = &option.value;
        let (level, name) = (option.level as u32, option.name as u32);
        opcode::SetSockOpt::new(socket, level, name, ptr::from_ref(value).cast(), size_of_val(value) as u32)
            .build()
            .flags(flags)
    }

    /// The next bytes are acknowledged at once. Kernels that need ordinary descriptors may not know the operation.
    pub(super) fn acknowledge_at_once(&mut self, of: Token) {
        if self.descriptors == Descriptors::Direct {
            let entry = self.option(of, &QUICK_ACK);
            let entry = entry.flags(Flags::SKIP_SUCCESS).user_data(Auxiliary::Acknowledge.of(of));
            // SAFETY: the option's value is a static, and the kernel copies it when it takes the entry.
            unsafe { self.queues.push(&entry) }
        } else if let Some(socket) = &self.sockets[of.slot().0 as usize] {
            // The connection may have ended.
            let _ = QUICK_ACK.set(socket);
        }
    }

    /// Queues a step of an `Open`, which posts a completion only if it fails.
    ///
    /// # Safety
    /// As [`Queues::push`](super::queues::Queues::push).
    unsafe fn queue_setup(&mut self, token: Token, entry: squeue::Entry) {
        let entry = entry.flags(Flags::SKIP_SUCCESS).user_data(Auxiliary::Setup.of(token));
        // SAFETY: the caller vouches for the entry's memory.
        unsafe { self.queues.push(&entry) }
    }

    /// The same by system calls. It blocks nothing: the kernel's own waiting is what ring operations build on, so the
    /// socket is a blocking one.
    fn make_socket(&self, target: TargetId, source: SourceId, nagle: bool) -> Result<OwnedFd, Errno> {
        let target = &self.targets[target.0 as usize];
        let source = (source != SourceId::ANY).then(|| &self.sources[source.0 as usize]);
        SocketPlan { target, source, nagle, options: &self.options, blocking: true }.make()
    }

    /// A set-up operation of the `Open` failed. Its connect must not stand: it would come from the wrong address.
    pub(super) fn setup_failed(&mut self, token: Token, errno: Errno) {
        let slot = self.slot(token);
        if slot.failure == 0 {
            slot.failure = errno.raw_os_error() as u8;
            self.cancel(token);
        }
    }

    pub(super) fn opened(&mut self, token: Token, result: Result<u32, Errno>) -> Result<u32, Errno> {
        let direct = self.descriptors == Descriptors::Direct;
        let slot = self.slot(token);
        // Set-up operations complete before the connect is tried, so their failures are known by now.
        let result = match (result, slot.failure) {
            // A socket that was made but found no place in the table: the operation counts as a success and tells
            // nobody. The place exists, so it was memory for the table's node that lacked.
            (Err(Errno::BADF), 0) if direct => Err(Errno::NOMEM),
            (result, 0) => result,
            (_, failure) => Err(Errno::from_raw_os_error(i32::from(failure))),
        };
        slot.stage = if result.is_ok() { Stage::Connected } else { Stage::Failed };
        result
    }

    pub(super) fn close(&mut self, token: Token, how: CloseHow, completions: &mut Vec<Completion>) {
        assert_eq!(token.kind(), OpKind::Close, "{token:?} does not name a close");
        let direct = self.descriptors == Descriptors::Direct;
        let slot = self.slot(token);
        assert!(
            matches!(slot.stage, Stage::Connected | Stage::Failed | Stage::Accepted),
            "{token:?}: the slot is {:?}",
            slot.stage
        );
        assert_eq!((slot.receiving, slot.sending), (NONE, Sending::NONE), "{token:?}: another op is in flight");
        match how {
            CloseHow::Rst if direct && slot.stage == Stage::Connected => {
                slot.stage = Stage::Disconnecting;
                self.queue_disconnect(token);
            }
            CloseHow::Rst if direct => self.queue_reset(token),
            CloseHow::Fin if direct => self.queue_close(token),
            _ => match self.sockets[token.slot().0 as usize].take() {
                Some(socket) => self.close_ordinary(token, socket, how),
                None => {
                    self.vacate(token);
                    completions.push(Completion { token, result: Ok(0) });
                }
            },
        }
    }

    fn queue_disconnect(&mut self, token: Token) {
        let (socket, flags) = self.socket(token);
        let entry = opcode::Connect::new(socket, &raw const DISCONNECT, size_of::<libc::sockaddr>() as u32)
            .build()
            .flags(flags)
            .user_data(token.to_bits());
        // SAFETY: the address is a static.
        unsafe { self.queues.push(&entry) }
    }

    /// Closes a direct descriptor so that the peer sees an RST.
    fn queue_reset(&mut self, token: Token) {
        let (socket, flags) = self.socket(token);
        let linger = opcode::SetSockOpt::new(
            socket,
            libc::SOL_SOCKET as u32,
            libc::SO_LINGER as u32,
            (&raw const RESET_ON_CLOSE).cast(),
            size_of::<libc::linger>() as u32,
        )
        .build()
        .flags(flags | Flags::SKIP_SUCCESS)
        .user_data(Auxiliary::Linger.of(token));
        // SAFETY: the option's value is a static.
        unsafe { self.queues.push(&linger) }
        self.queue_close(token);
    }

    fn queue_close(&mut self, token: Token) {
        self.slot(token).stage = Stage::Closing;
        let close = Plain::from(opcode::Close::new(types::Fixed(token.slot().0)));
        self.queues.push_plain(&close.user_data(token.to_bits()));
    }

    fn close_ordinary(&mut self, token: Token, socket: OwnedFd, how: CloseHow) {
        if how == CloseHow::Rst {
            // Fails on no TCP socket.
            let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
        self.slot(token).stage = Stage::Closing;
        let close = Plain::from(opcode::Close::new(types::Fd(socket.into_raw_fd())));
        self.queues.push_plain(&close.user_data(token.to_bits()));
    }

    /// `None` if the close goes on.
    pub(super) fn closed(&mut self, token: Token, result: Result<u32, Errno>) -> Option<Result<u32, Errno>> {
        match (self.slot(token).stage, result) {
            (Stage::Disconnecting, Ok(_)) => self.slot(token).stage = Stage::Idle,
            (Stage::Disconnecting, Err(_)) => {
                self.queue_reset(token);
                return None;
            }
            // EBADF: the slot's `Open` failed before there was a socket.
            (_, Ok(_) | Err(Errno::BADF)) => self.vacate(token),
            (_, Err(errno)) => {
                self.vacate(token);
                return Some(Err(errno));
            }
        }
        Some(Ok(0))
    }

    /// The slot holds no socket any more.
    fn vacate(&mut self, token: Token) {
        let slot = self.slot(token);
        let accepted = slot.origin == Origin::NONE;
        (slot.stage, slot.origin) = (Stage::Vacant, Origin::NONE);
        self.occupied -= 1;
        self.slot_freed(token.slot(), accepted);
    }
}
