//! When received bytes arrived: the kernel's own stamp of the packet, made before anybody is woken (socket(7),
//! SO_TIMESTAMPNS; on TCP it is that of the last packet that a recvmsg took from).
//!
//! A completion says only when the worker learned of it, which is later by the wake-up of an idle CPU, by the turn under
//! way and by whatever else ran on the worker's CPU.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::net::{Ipv4Addr, UdpSocket};
use std::ptr::NonNull;

use crate::base::{Nanos, Time};
use crate::io::clock::{monotonic_now, realtime_now};
use crate::io::socket::SocketOption;
use crate::io::{Arrivals, BufferId};

/// Has the kernel stamp what a socket receives.
pub(super) const STAMP: SocketOption = SocketOption { level: libc::SOL_SOCKET, name: libc::SO_TIMESTAMPNS, value: 1 };

/// What a recvmsg in flight points to, for each receive buffer.
pub(super) struct StampedReceives {
    messages: NonNull<Message>,
    layout: Layout,
    count: usize,
    /// How far the clock of the stamps is ahead of the run's, in the present turn.
    ahead: Option<Nanos>,
    /// The kernel stamps packets while any socket wants it. This one always does: connections that come and go one by one
    /// would switch it on and off, which patches the kernel's code each time (`net_enable_timestamp`).
    _keeps_stamping: Option<UdpSocket>,
}

/// A recvmsg for one buffer; all zeros is a valid value.
#[repr(C)]
struct Message {
    header: libc::msghdr,
    bytes: libc::iovec,
    control: Control,
}

/// The control message that brings the stamp.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    stamp: libc::timespec,
}

impl StampedReceives {
    /// Bytes for `count` buffers when each has been used.
    pub(super) const fn memory(count: u32) -> usize {
        count as usize * size_of::<Message>()
    }

    /// For `count` buffers; memory becomes resident on first use.
    pub(super) fn new(count: u32) -> Self {
        let count = count as usize;
        let layout = Layout::array::<Message>(count.max(1)).expect("a message header for each buffer fits the memory");
        // SAFETY: the layout has a non-zero size: there is at least one message.
        let messages = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let keeps_stamping = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok().filter(|socket| STAMP.set(socket).is_ok());
        Self { messages: messages.cast(), layout, count, ahead: None, _keeps_stamping: keeps_stamping }
    }

    /// The header of a receive of `len` bytes to `start`, which lie in `buffer`. It stays where it is for as long as `self`
    /// lives.
    pub(super) fn prepare(&mut self, buffer: BufferId, start: *mut u8, len: u32) -> *mut libc::msghdr {
        let message = self.message(buffer);
        // SAFETY: `message` is within the allocation, aligned and initialised (zeroed), and no operation in flight refers
        // to it, since the buffer was not lent until now.
        unsafe {
            (*message).bytes = libc::iovec { iov_base: start.cast(), iov_len: len as usize };
            (*message).header.msg_iov = &raw mut (*message).bytes;
            (*message).header.msg_iovlen = 1;
            (*message).header.msg_control = (&raw mut (*message).control).cast();
            (*message).header.msg_controllen = size_of::<Control>() as _;
            (*message).control.header.cmsg_len = 0;
            &raw mut (*message).header
        }
    }

    /// A turn begins: the distance of the two clocks is read anew when it is next needed.
    pub(super) fn begin_turn(&mut self) {
        self.ahead = None;
    }

    /// The receive into `buffer` has completed: notes the stamp that it brought, if it did.
    pub(super) fn note(&mut self, buffer: BufferId, arrivals: &mut Arrivals) {
        // SAFETY: within the allocation, aligned and initialised; the operation has completed, so the kernel writes to it
        // no more. `Control` is integers only, whatever the kernel wrote.
        let control = unsafe { &(*self.message(buffer)).control };
        let libc::cmsghdr { cmsg_len, cmsg_level, cmsg_type, .. } = control.header;
        if cmsg_len == 0 || (cmsg_level, cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            return;
        }
        let stamp_ns = control.stamp.tv_sec as u64 * 1_000_000_000 + control.stamp.tv_nsec as u64;
        let ahead = *self.ahead.get_or_insert_with(|| realtime_now().since(monotonic_now()));
        arrivals.note(buffer, Time::from_nanos(stamp_ns.saturating_sub(ahead.as_u64())));
    }

    fn message(&self, buffer: BufferId) -> *mut Message {
        let index = buffer.0 as usize;
        assert!(index < self.count, "{buffer:?} is none of the pool's");
        // SAFETY: the index is below the number of messages in the allocation.
        unsafe { self.messages.as_ptr().add(index) }
    }

    /// Gives up the memory for ever: an operation in flight may still write to it.
    pub(super) fn leak(&mut self) {
        self.count = 0;
    }
}

impl Drop for StampedReceives {
    fn drop(&mut self) {
        if self.count > 0 {
            // SAFETY: allocated with this layout in `new`, freed once; no operation in flight refers to it, or it would
            // have been leaked.
            unsafe { dealloc(self.messages.as_ptr().cast(), self.layout) }
        }
    }
}
