//! Why a ring could not be made, and what to do about it.

use std::io;

use rustix::io::Errno;

use super::setup::disabled_level;

/// The environment does not allow the ring that the plan asks for. Every message ends in the remedy; where io_uring is
/// not to be had at all it names the engine that does without.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// `kernel.io_uring_disabled` (Linux 6.6) is 1 or 2.
    #[error(
        "io_uring is switched off on this host (kernel.io_uring_disabled = {level}): switch it on with \
         `sysctl -w kernel.io_uring_disabled=0`{}, or use the engine that does without: `--engine epoll`",
        if *level == 1 { ", or run with CAP_SYS_ADMIN or as a member of the group kernel.io_uring_group" } else { "" }
    )]
    SwitchedOff {
        /// The sysctl's value: 1 allows privileged processes only, 2 nobody.
        level: u8,
    },
    /// `EPERM` without the sysctl: a seccomp filter.
    #[error(
        "io_uring is forbidden to this process (EPERM) by a seccomp profile, as Docker's and containerd's default \
         one does: start the container with `--security-opt seccomp=docs/seccomp-io_uring.json`, or another profile \
         that allows io_uring_setup, io_uring_enter and io_uring_register (Kubernetes: \
         securityContext.seccompProfile), or use the engine that does without: `--engine epoll`"
    )]
    Forbidden,
    /// `ENOSYS`.
    #[error(
        "this kernel has no io_uring (ENOSYS): it is older than Linux 5.1, built without CONFIG_IO_URING, or a \
         sandbox such as gVisor; run on Linux 6.1 or later outside the sandbox (containers: the runtime `runc`), or \
         use the engine that does without: `--engine epoll`"
    )]
    Missing,
    /// The kernel knows io_uring but not the flags that the engine depends on.
    #[error(
        "this kernel's io_uring is too old (no IORING_SETUP_DEFER_TASKRUN): run on Linux 6.1 or \
         later, or use the engine that does without: `--engine epoll`"
    )]
    KernelTooOld,
    /// An operation is not known to the kernel.
    #[error(
        "this kernel's io_uring lacks the operation {operation}: run on Linux {since} or later, or use the engine that \
         does without: `--engine epoll`"
    )]
    MissingOperation {
        /// Its name as in `io_uring_enter(2)`.
        operation: &'static str,
        /// The first kernel version that has it.
        since: &'static str,
    },
    /// `ENOMEM`.
    #[error(
        "no memory for the ring's queues or file table (ENOMEM): raise the limit of locked memory (`ulimit -l`, \
         systemd LimitMEMLOCK=) or of the memory cgroup, or ask for fewer slots"
    )]
    NoMemory,
    /// More slots than the file table of one ring, or the process, may hold.
    #[error(
        "{slots} slots per ring asked, the {} is limited to RLIMIT_NOFILE = {limit}: raise `ulimit -n` or use {}",
        if *table { "file table" } else { "number of open files" },
        if *table { "more workers" } else { "fewer connections" }
    )]
    TooManySlots {
        /// Slots of the plan.
        slots: u32,
        /// The soft limit.
        limit: u64,
        /// The limit bounds one ring's table (direct descriptors), not the whole process (ordinary ones).
        table: bool,
    },
    /// More slots than any file table may have (`IORING_MAX_FIXED_FILES`).
    #[error("{slots} slots per ring asked, the kernel allows {most}: use more workers")]
    TableTooLarge {
        /// Slots of the plan.
        slots: u32,
        /// The kernel's limit.
        most: u32,
    },
    /// `EMFILE` or `ENFILE` when the ring itself was opened.
    #[error("no file descriptor left for a ring ({errno}): raise `ulimit -n` (or fs.file-max)")]
    NoDescriptor {
        /// Which of the two.
        errno: Errno,
    },
    /// A listening socket refused TCP_NODELAY.
    #[error("listener {index} is no usable TCP socket: {source}")]
    Listener {
        /// Its index in the plan.
        index: usize,
        /// The kernel's answer.
        source: Errno,
    },
    /// Anything else.
    #[error(
        "the ring could not be set up: {action} failed: {source}; `strace -f -e trace=io_uring_setup,io_uring_register` shows the call"
    )]
    Setup {
        /// What was attempted.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl RingError {
    /// What a failed `io_uring_setup` means on this host; for rings that others set up, too.
    pub fn of_setup(error: io::Error) -> Self {
        Self::from_setup(error, disabled_level())
    }

    /// What a failed `io_uring_setup` means. `disabled` is the value of `kernel.io_uring_disabled`, if there is one.
    pub(super) fn from_setup(error: io::Error, disabled: Option<u8>) -> Self {
        match (Errno::from_io_error(&error), disabled) {
            (Some(Errno::PERM), Some(level @ 1..)) => Self::SwitchedOff { level },
            (Some(Errno::PERM), _) => Self::Forbidden,
            (Some(Errno::NOSYS), _) => Self::Missing,
            (Some(Errno::INVAL), _) => Self::KernelTooOld,
            (Some(Errno::NOMEM), _) => Self::NoMemory,
            (Some(errno @ (Errno::MFILE | Errno::NFILE)), _) => Self::NoDescriptor { errno },
            _ => Self::Setup { action: "io_uring_setup", source: error },
        }
    }
}
