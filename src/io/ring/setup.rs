//! Making a ring: flags, operations, the file table, and the trial that chooses the kind of descriptors.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::register::Probe;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::process::{Resource, getrlimit};

use super::{Descriptors, RingError};

/// Entries of the submission queue: 64 KiB of memory that stays in the cache. A longer batch is submitted in parts.
const SUBMISSIONS: u32 = 1024;

/// Bounds of the completion queue: `IORING_MAX_CQ_ENTRIES` is 65 536; below some thousands a burst of refused connects
/// could overflow it. An entry takes 16 bytes of resident memory from the start.
const COMPLETIONS: (u32, u32) = (4096, 65_536);

/// `IORING_MAX_FIXED_FILES`.
const MOST_SLOTS: u32 = 1 << 20;

/// A ring for `slots` connections, its file table registered if it uses direct descriptors.
pub(super) fn make_ring(slots: u32, descriptors: Descriptors) -> Result<IoUring, RingError> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let table = descriptors == Descriptors::Direct;
    if u64::from(slots) > limit {
        return Err(RingError::TooManySlots { slots, limit, table });
    }
    if table && slots > MOST_SLOTS {
        return Err(RingError::TableTooLarge { slots, most: MOST_SLOTS });
    }
    let ring = build(SUBMISSIONS, completions(slots, descriptors))?;
    check_operations(&ring, descriptors)?;
    if table {
        ring.submitter().register_files_sparse(slots.max(1)).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::MFILE) => RingError::TooManySlots { slots, limit, table },
            Some(Errno::NOMEM) => RingError::NoMemory,
            _ => RingError::Setup { action: "the registration of the file table", source: error },
        })?;
    }
    Ok(ring)
}

/// Bytes of both queues. The kernel makes queues of a power of two.
pub(super) fn queue_memory(slots: u32) -> usize {
    let completions =
        completions(slots, Descriptors::Ordinary).next_power_of_two() as usize * size_of::<cqueue::Entry>();
    SUBMISSIONS as usize * size_of::<squeue::Entry>() + completions
}

/// Entries of the completion queue.
fn completions(slots: u32, descriptors: Descriptors) -> u32 {
    match descriptors {
        // From Linux 6.13 on, where they are used, an enter runs no more deferred work than 20 pieces or as many as it
        // waits for (`IO_LOCAL_TW_DEFAULT_MAX`): however many connections end at once, their completions come by and by.
        Descriptors::Direct => COMPLETIONS.0,
        // Two per slot (its one armed op and the one that ends it) never overflow the queue below the maximum.
        Descriptors::Ordinary => slots.saturating_mul(2).clamp(COMPLETIONS.0, COMPLETIONS.1),
    }
}

/// Which descriptors suit this kernel, found out by trying.
///
/// Up to Linux 6.12 a closed direct descriptor is released only when every request begun earlier on the ring's file
/// table has completed, so one held connection would keep all later ones open. The trial: a poll stays armed on one
/// direct descriptor, another is closed; whether its peer sees the end of the stream at once is the answer.
pub(super) fn choose_descriptors() -> Result<Descriptors, RingError> {
    let mut ring = build(4, 8)?;
    // A filter may allow io_uring_setup and nothing else; better told now than by a worker's first turn.
    // SAFETY: the entry points to no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.expect("the queue was empty");
    enter(&ring)?;
    ring.completion().next();
    match check_operations(&ring, Descriptors::Direct) {
        Err(RingError::MissingOperation { .. }) => return Ok(Descriptors::Ordinary),
        checked => checked?,
    }
    let freed = closes_at_once(ring)?;
    Ok(if freed { Descriptors::Direct } else { Descriptors::Ordinary })
}

fn closes_at_once(mut ring: IoUring) -> Result<bool, RingError> {
    const POLLED: u32 = 0;
    const CLOSED: u32 = 1;
    let trial_failed = |source: io::Error| RingError::Setup { action: "the trial close", source };
    let pair = || {
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        pair.map_err(|errno| match errno {
            Errno::MFILE | Errno::NFILE => RingError::NoDescriptor { errno },
            errno => trial_failed(errno.into()),
        })
    };
    let ((polled, _silent), (closed, peer)) = (pair()?, pair()?);
    let not_registered = |error| RingError::of_call("io_uring_register", error);
    ring.submitter().register_files_sparse(2).map_err(not_registered)?;
    let files = [polled.as_raw_fd(), closed.as_raw_fd()];
    ring.submitter().register_files_update(POLLED, &files).map_err(not_registered)?;
    // The table holds the only reference now.
    drop(closed);
    let poll = opcode::PollAdd::new(types::Fixed(POLLED), libc::POLLIN as u32).build();
    let close = opcode::Close::new(types::Fixed(CLOSED)).build();
    // SAFETY: neither entry points to memory.
    unsafe { ring.submission().push_multiple(&[poll, close]) }.expect("the queue was empty");
    enter(&ring)?;
    let answer = ring.completion().next().map_or(0, |entry| entry.result());
    if answer < 0 {
        return Err(trial_failed(io::Error::from_raw_os_error(-answer)));
    }
    match recv(&peer, &mut [0_u8; 1][..], RecvFlags::DONTWAIT) {
        Ok((_, received)) => Ok(received == 0),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(trial_failed(errno.into())),
    }
}

/// Submits what is queued and waits for a completion.
fn enter(ring: &IoUring) -> Result<(), RingError> {
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer.map(drop).map_err(|error| RingError::of_call("io_uring_enter", error)),
        }
    }
}

/// A ring with the newest flags that the kernel knows.
fn build(submissions: u32, completions: u32) -> Result<IoUring, RingError> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_cqsize(completions)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun();
    // Linux 6.6; an unknown flag is EINVAL. All others are in 6.1, the oldest kernel supported.
    let newest = builder.clone().setup_no_sqarray().build(submissions);
    let ring = match newest {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => builder.build(submissions),
        answer => answer,
    };
    ring.map_err(RingError::of_setup)
}

/// The operations used on either kind of descriptors, with the versions that brought them.
const ALWAYS: [(u8, &str, &str); 7] = [
    (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD", "5.1"),
    (opcode::Connect::CODE, "IORING_OP_CONNECT", "5.5"),
    (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL", "5.5"),
    (opcode::Accept::CODE, "IORING_OP_ACCEPT", "5.5"),
    (opcode::Send::CODE, "IORING_OP_SEND", "5.6"),
    (opcode::Recv::CODE, "IORING_OP_RECV", "5.6"),
    (opcode::Close::CODE, "IORING_OP_CLOSE", "5.6"),
];

/// Those of direct descriptors. A kernel with BIND also has the URING_CMD that sets socket options (6.7).
const DIRECT: [(u8, &str, &str); 3] = [
    (opcode::Socket::CODE, "IORING_OP_SOCKET", "5.19"),
    (opcode::SetSockOpt::CODE, "IORING_OP_URING_CMD", "5.19"),
    (opcode::Bind::CODE, "IORING_OP_BIND", "6.11"),
];

fn check_operations(ring: &IoUring, descriptors: Descriptors) -> Result<(), RingError> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| RingError::of_call("io_uring_register", error))?;
    let direct = if descriptors == Descriptors::Direct { &DIRECT[..] } else { &[] };
    match ALWAYS.iter().chain(direct).find(|(code, ..)| !probe.is_supported(*code)) {
        Some(&(_, operation, since)) => Err(RingError::MissingOperation { operation, since }),
        None => Ok(()),
    }
}
