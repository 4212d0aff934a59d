//! The two queues of a ring and its one system call.

use std::io;
use std::ptr;
use std::ptr::NonNull;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue, types};

use crate::base::{Nanos, Time};

/// A ring together with long-lived handles of its queues.
///
/// The handles are kept, not borrowed per call, because the registered ring descriptor sticks to one `Submitter`.
/// Neither `Send` nor `Sync`: a ring of a single issuer belongs to the thread that made it.
pub(super) struct Queues {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    /// The kernel takes the instant at which a wait ends, not its length (Linux 6.12).
    absolute: bool,
    /// Declared last, so dropped last: the handles above point into it.
    _ring: OwnedRing,
}

/// An entry that refers to no memory: anybody may queue it.
pub(super) struct Plain(squeue::Entry);

impl Plain {
    /// A single accept that does not ask who connected.
    pub(super) fn accept(listener: types::Fd, place: Option<types::DestinationSlot>, flags: i32) -> Self {
        let accept = opcode::Accept::new(listener, ptr::null_mut(), ptr::null_mut());
        Self(accept.file_index(place).flags(flags).build())
    }

    pub(super) fn user_data(self, user_data: u64) -> Self {
        Self(self.0.user_data(user_data))
    }

    pub(super) fn flags(self, flags: squeue::Flags) -> Self {
        Self(self.0.flags(flags))
    }
}

/// These operations have numbers for arguments only.
macro_rules! plain {
    ($($operation:ident),*) => {
        $(impl From<opcode::$operation> for Plain {
            fn from(operation: opcode::$operation) -> Self {
                Self(operation.build())
            }
        })*
    };
}
plain!(AcceptMulti, AsyncCancel, Close, PollAdd, Socket);
#[cfg(test)]
plain!(FixedFdInstall);

/// Waits are cut to this length (the caller waits again): a relative timeout is added to the kernel's clock, and a huge
/// one would overflow it.
const LONGEST_WAIT: Nanos = Nanos::from_secs(3600);

impl Queues {
    pub(super) fn new(ring: IoUring) -> Self {
        // Both came with Linux 6.12, but only this one has a flag of its own.
        let absolute = ring.params().is_feature_min_timeout();
        let ring = OwnedRing(NonNull::from(Box::leak(Box::new(ring))));
        // SAFETY: the pointer comes from a leaked box, so it is valid and unique; `OwnedRing` frees it only when it is
        // dropped, after the three handles made here, and nothing else dereferences it before.
        let handles: &'static mut IoUring = unsafe { &mut *ring.0.as_ptr() };
        let (mut submitter, submissions, completions) = handles.split();
        // Saves a descriptor lookup per enter (Linux 5.18). Without it the plain descriptor is used.
        let _ = submitter.register_ring_fd();
        Self { submitter, submissions, completions, absolute, _ring: ring }
    }

    /// Free entries of the submission queue.
    pub(super) fn room(&self) -> usize {
        self.submissions.capacity() - self.submissions.len()
    }

    /// Queues one entry; the kernel sees it at the next [`Queues::enter`].
    ///
    /// # Safety
    /// All memory that the entry points to must be valid for what the kernel does with it until the request completes.
    /// Of addresses and option values that is until the kernel takes the entry, when it copies them. That may be long
    /// after the next `enter`, which can leave entries in the queue (EAGAIN, EBUSY, or a batch that is cut short):
    /// they were all taken once [`Queues::is_submitted`] holds, or never will be, once the ring is dropped.
    ///
    /// # Panics
    /// If the queue is full: callers ask [`Queues::room`] first.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller vouches for the entry's memory.
        unsafe { self.submissions.push(entry) }.expect("room in the submission queue was checked");
    }

    /// Queues an entry that refers to no memory.
    ///
    /// # Panics
    /// As [`Queues::push`].
    pub(super) fn push_plain(&mut self, entry: &Plain) {
        // SAFETY: it points to nothing.
        unsafe { self.push(&entry.0) }
    }

    /// Whether the kernel has taken every entry.
    pub(super) fn is_submitted(&self) -> bool {
        self.submissions.is_empty()
    }

    /// Submits everything queued, runs the ring's deferred work and waits for `want` completions, at most until
    /// `wake_at`. Completions are delivered by an enter that asks for events only (`DEFER_TASKRUN`), so each one does.
    ///
    /// A relative timeout begins when all is submitted, so a long batch delays it; an absolute one does not.
    pub(super) fn enter(&mut self, want: u32, wake_at: Time, now: Time) -> io::Result<()> {
        let wake_at = wake_at.min(now + LONGEST_WAIT);
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let nanos = if self.absolute {
            flags |= EnterFlags::ABS_TIMER;
            wake_at.as_nanos()
        } else {
            wake_at.since(now).as_u64()
        };
        let timespec = Timespec::new().sec(nanos / 1_000_000_000).nsec((nanos % 1_000_000_000) as u32);
        let args = SubmitArgs::new().timespec(&timespec);
        self.submissions.sync();
        let queued = self.submissions.len() as u32;
        // SAFETY: EXT_ARG goes with a `SubmitArgs`, which has the layout of io_uring_getevents_arg and, like the
        // timespec it points to, outlives the call. The queued entries were vouched for when they were pushed.
        let entered = unsafe { self.submitter.enter(queued, want, flags.bits(), Some(&args)) };
        self.submissions.sync();
        self.completions.sync();
        entered.map(drop)
    }

    /// Submits everything queued and waits for nothing.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.enter(0, Time::ZERO, Time::ZERO)
    }

    /// The next completion that the last [`Queues::enter`] delivered. Frees its entry.
    pub(super) fn next(&mut self) -> Option<cqueue::Entry> {
        let entry = self.completions.next();
        if entry.is_none() {
            self.completions.sync();
        }
        entry
    }

    /// Whether completions wait outside the full completion queue (they are delivered later, at a cost).
    pub(super) fn overflowing(&self) -> bool {
        self.submissions.cq_overflow()
    }

    /// Completions that the kernel lost because it had no memory to keep them outside the full queue.
    pub(super) fn lost(&self) -> u32 {
        self.completions.overflow()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // A registered descriptor would keep the ring alive until its thread ends. It fails where none is registered.
        let _ = self.submitter.unregister_ring_fd();
    }
}

/// The ring's memory and descriptor, freed on drop.
struct OwnedRing(NonNull<IoUring>);

impl Drop for OwnedRing {
    fn drop(&mut self) {
        // SAFETY: made from a leaked box in `Queues::new` and freed once; the handles into it are gone, since this is
        // the last field of `Queues`.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
