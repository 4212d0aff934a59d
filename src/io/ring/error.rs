//! Why a ring could not be made, and what to do about it.

use std::{fs, io};

use rustix::io::Errno;

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
    /// A seccomp filter refuses one of io_uring's system calls.
    #[error(
        "{call} is forbidden to this process ({}) by a seccomp profile, as the default ones of Docker, containerd and \
         podman do: start the container with `--security-opt seccomp=docs/seccomp-io_uring.json`, or another profile that \
         allows io_uring_setup, io_uring_enter and io_uring_register (Kubernetes: securityContext.seccompProfile), or use \
         the engine that does without: `--engine epoll`",
        name(*errno)
    )]
    Filtered {
        /// The system call.
        call: &'static str,
        /// What it answered.
        errno: Errno,
    },
    /// A security module refuses one of io_uring's system calls.
    #[error(
        "{call} is forbidden to this process ({}) by a security module (SELinux, AppArmor, a BPF policy): look for the \
         denial in the audit log and allow io_uring for this program, or use the engine that does without: `--engine epoll`",
        name(*errno)
    )]
    Denied {
        /// The system call.
        call: &'static str,
        /// What it answered.
        errno: Errno,
    },
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

/// What on this host may stand between a process and its ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Barriers {
    /// `kernel.io_uring_disabled`; `None` before Linux 6.6.
    pub disabled: Option<u8>,
    /// System calls of this process are filtered (`Seccomp: 2` in proc_pid_status(5)).
    pub filtered: bool,
    /// The kernel has had io_uring from the start (Linux 5.1), so that its absence has another cause.
    pub new_enough: bool,
}

impl Barriers {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        let release = rustix::system::uname();
        let mut numbers = release.release().to_str().unwrap_or_default().split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
        Self {
            disabled: fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|level| level.trim().parse().ok()),
            filtered: seccomp.is_some_and(|mode| mode.trim() == "2"),
            new_enough: (number(), number()) >= (5, 1),
        }
    }
}

impl RingError {
    /// What a failed `io_uring_setup` means on this host; for rings that others set up, too.
    pub fn of_setup(error: io::Error) -> Self {
        Self::from_setup(error, Barriers::read())
    }

    /// What a failed `io_uring_setup` means behind these barriers.
    pub(super) fn from_setup(error: io::Error, barriers: Barriers) -> Self {
        match (Errno::from_io_error(&error), barriers.disabled) {
            (Some(Errno::PERM), Some(level @ 1..)) => Self::SwitchedOff { level },
            (Some(Errno::NOSYS), _) if !(barriers.filtered && barriers.new_enough) => Self::Missing,
            (Some(Errno::INVAL), _) => Self::KernelTooOld,
            (Some(Errno::NOMEM), _) => Self::NoMemory,
            (Some(errno @ (Errno::MFILE | Errno::NFILE)), _) => Self::NoDescriptor { errno },
            _ => Self::from_call("io_uring_setup", error, barriers),
        }
    }

    /// What it means that `call`, one of io_uring's system calls, failed.
    pub(super) fn of_call(call: &'static str, error: io::Error) -> Self {
        Self::from_call(call, error, Barriers::read())
    }

    fn from_call(call: &'static str, error: io::Error, barriers: Barriers) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno @ (Errno::PERM | Errno::ACCESS | Errno::NOSYS)) if barriers.filtered => {
                Self::Filtered { call, errno }
            }
            Some(errno @ (Errno::PERM | Errno::ACCESS)) => Self::Denied { call, errno },
            Some(errno @ (Errno::MFILE | Errno::NFILE)) => Self::NoDescriptor { errno },
            Some(Errno::NOMEM) => Self::NoMemory,
            _ => Self::Setup { action: call, source: error },
        }
    }
}

fn name(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "EPERM",
        Errno::ACCESS => "EACCES",
        _ => "ENOSYS",
    }
}
