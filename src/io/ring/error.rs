//! Why a ring could not be made, and what to do about it.

use std::{fmt, fs, io};

use rustix::io::Errno;

/// The environment does not allow the ring that the plan asks for. Every message ends in the remedy; where io_uring is
/// not to be had at all it names the engine that does without.
#[derive(Debug)]
pub enum RingError {
    /// `kernel.io_uring_disabled` (Linux 6.6) is 1 or 2.
    SwitchedOff {
        /// The sysctl's value: 1 allows privileged processes only, 2 nobody.
        level: u8,
    },
    /// A seccomp filter refuses one of io_uring's system calls.
    Filtered {
        /// The system call.
        call: &'static str,
        /// What it answered.
        errno: Errno,
    },
    /// A security module refuses one of io_uring's system calls.
    Denied {
        /// The system call.
        call: &'static str,
        /// What it answered.
        errno: Errno,
    },
    /// `ENOSYS`.
    Missing,
    /// The kernel knows io_uring but not the flags that the engine depends on.
    KernelTooOld,
    /// An operation is not known to the kernel.
    MissingOperation {
        /// Its name as in `io_uring_enter(2)`.
        operation: &'static str,
        /// The first kernel version that has it.
        since: &'static str,
    },
    /// `ENOMEM`.
    NoMemory,
    /// More slots than the file table of one ring, or the process, may hold.
    TooManySlots {
        /// Slots of the plan.
        slots: u32,
        /// The soft limit.
        limit: u64,
        /// The limit bounds one ring's table (direct descriptors), not the whole process (ordinary ones).
        table: bool,
    },
    /// More slots than any file table may have (`IORING_MAX_FIXED_FILES`).
    TableTooLarge {
        /// Slots of the plan.
        slots: u32,
        /// The kernel's limit.
        most: u32,
    },
    /// `EMFILE` or `ENFILE` when the ring itself was opened.
    NoDescriptor {
        /// Which of the two.
        errno: Errno,
    },
    /// A listening socket refused TCP_NODELAY.
    Listener {
        /// Its index in the plan.
        index: usize,
        /// The kernel's answer.
        source: Errno,
    },
    /// Anything else.
    Setup {
        /// What was attempted.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl RingError {
    /// What stands in the way.
    pub fn cause(&self) -> String {
        match self {
            Self::SwitchedOff { level } => {
                format!("io_uring is switched off on this host (kernel.io_uring_disabled = {level})")
            }
            Self::Filtered { call, errno } => format!(
                "{call} is forbidden to this process ({}) by a seccomp profile, as the default ones of Docker, containerd \
                 and podman do",
                name(*errno)
            ),
            Self::Denied { call, errno } => format!(
                "{call} is forbidden to this process ({}) by a security module (SELinux, AppArmor, a BPF policy)",
                name(*errno)
            ),
            Self::Missing => "this kernel has no io_uring (ENOSYS)".to_owned(),
            Self::KernelTooOld => "this kernel's io_uring is too old (no IORING_SETUP_DEFER_TASKRUN)".to_owned(),
            Self::MissingOperation { operation, .. } => {
                format!("this kernel's io_uring lacks the operation {operation}")
            }
            Self::NoMemory => "no memory for the ring's queues or file table (ENOMEM)".to_owned(),
            Self::TooManySlots { slots, limit, table } => format!(
                "{slots} slots per ring asked, the {} is limited to RLIMIT_NOFILE = {limit}",
                if *table { "file table" } else { "number of open files" }
            ),
            Self::TableTooLarge { slots, most } => format!("{slots} slots per ring asked, the kernel allows {most}"),
            Self::NoDescriptor { errno } => format!("no file descriptor left for a ring ({errno})"),
            Self::Listener { index, source } => format!("listener {index} is no usable TCP socket ({source})"),
            Self::Setup { action, source } => format!("the ring could not be set up: {action} failed: {source}"),
        }
    }

    /// What to do about it on the way to a ring.
    pub fn remedy(&self) -> String {
        let text = match self {
            Self::SwitchedOff { level: 1 } => {
                "switch it on with `sysctl -w kernel.io_uring_disabled=0` as root, or run with CAP_SYS_ADMIN or as a member \
                 of the group kernel.io_uring_group"
            }
            Self::SwitchedOff { .. } => "switch it on with `sysctl -w kernel.io_uring_disabled=0` as root",
            Self::Filtered { .. } => {
                "start the container with `--security-opt seccomp=docs/seccomp-io_uring.json`, or another profile that \
                 allows io_uring_setup, io_uring_enter and io_uring_register (Kubernetes: securityContext.seccompProfile)"
            }
            Self::Denied { .. } => "look for the denial in the audit log and allow io_uring for this program",
            Self::Missing => {
                "it is older than Linux 5.1, built without CONFIG_IO_URING, or a sandbox such as gVisor; run on Linux 6.1 or \
                 later outside the sandbox (containers: the runtime `runc`)"
            }
            Self::KernelTooOld => "run on Linux 6.1 or later",
            Self::MissingOperation { since, .. } => return format!("run on Linux {since} or later"),
            Self::NoMemory => {
                "raise the limit of locked memory (`ulimit -l`, systemd LimitMEMLOCK=) or of the memory cgroup, or ask for \
                 fewer slots"
            }
            Self::TooManySlots { table: true, .. } => "raise `ulimit -n` or use more workers",
            Self::TooManySlots { .. } => "raise `ulimit -n` or use fewer connections",
            Self::TableTooLarge { .. } => "use more workers",
            Self::NoDescriptor { .. } => "raise `ulimit -n` (or fs.file-max)",
            Self::Listener { .. } => "listen on a TCP address",
            Self::Setup { .. } => "`strace -f -e trace=io_uring_setup,io_uring_register` shows the call",
        };
        text.to_owned()
    }

    /// There is no ring to be had here: the other engine does without.
    pub fn bars_io_uring(&self) -> bool {
        matches!(
            self,
            Self::SwitchedOff { .. }
                | Self::Filtered { .. }
                | Self::Denied { .. }
                | Self::Missing
                | Self::KernelTooOld
                | Self::MissingOperation { .. }
        )
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without = if self.bars_io_uring() { ", or use the engine that does without: `--engine epoll`" } else { "" };
        write!(f, "{}: {}{without}", self.cause(), self.remedy())
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listener { source, .. } => Some(source),
            Self::Setup { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What on this host may stand between a process and its ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Barriers {
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
    pub fn from_setup(error: io::Error, barriers: Barriers) -> Self {
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

    /// What it means behind these barriers that `call` failed.
    pub fn from_call(call: &'static str, error: io::Error, barriers: Barriers) -> Self {
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
