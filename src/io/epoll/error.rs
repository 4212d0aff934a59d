//! Why the backend could not be made, and what to do about it.

use rustix::io::Errno;

/// The environment does not allow what the plan asks for. Every message ends in the remedy.
#[derive(Debug, thiserror::Error)]
pub enum EpollError {
    /// More slots than this process may have files open.
    #[error(
        "{slots} slots asked, the number of open files is limited to RLIMIT_NOFILE = {limit}: raise `ulimit -n` or use \
         fewer connections"
    )]
    TooManySlots {
        /// Slots of the plan.
        slots: u32,
        /// The soft limit.
        limit: u64,
    },
    /// The epoll instance itself.
    #[error("no epoll instance can be made ({errno}): {}", remedy(*errno))]
    Instance {
        /// The kernel's answer.
        errno: Errno,
    },
    /// A listening socket refused TCP_NODELAY, or to be watched.
    #[error("listener {index} is no usable TCP socket: {errno}; give one of a TCP listener that nobody else uses")]
    Listener {
        /// Its index in the plan.
        index: usize,
        /// The kernel's answer.
        errno: Errno,
    },
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::MFILE | Errno::NFILE => "raise `ulimit -n` (or fs.file-max)",
        Errno::NOMEM => "raise the limit of the memory cgroup, or end other programs",
        _ => "`strace -f -e trace=epoll_create1` shows the call",
    }
}
