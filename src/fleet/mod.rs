//! Worker threads: pinned to cores, started at one common instant, stopped through a mailbox.
//!
//! The control thread and a worker share two things only: a [`Mailbox`] of atomics (orders one way, progress the other)
//! and a channel on which a worker hands over an interval report each second and its outcome at the end.

mod affinity;
mod cpu_list;
mod mailbox;
mod threads;
mod topology;
mod turns;

pub use affinity::{allowed_cpus, pin_current_thread, usable_cores};
pub use cpu_list::{CpuList, CpuListError};
pub use mailbox::{Mailbox, Order, Progress};
pub use threads::{CpuWait, Fleet, LaunchError, Outcome, Prepared};
pub use topology::{Core, Topology};
pub use turns::{BATCH_MEMORY, End, Observer, run_turns};

/// Most workers of a run: more would be a typing error.
pub const MAX_WORKERS: u32 = 4_096;
