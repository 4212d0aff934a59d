//! Layer 3: worker threads: pinned to cores, started at one common instant, stopped through a mailbox.

mod affinity;

pub use affinity::{allowed_cpus, pin_current_thread, usable_cores};
