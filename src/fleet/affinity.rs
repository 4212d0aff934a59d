//! Which CPUs this process may use, and pinning a thread to one of them.

use std::num::NonZeroU64;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs this process may run on, ascending (its cpuset).
pub fn allowed_cpus() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).map(|cpu| cpu as u32).collect()
}

/// How many cores' worth of time this process may use: its cpuset, bounded by its cgroup's CPU quota (rounded down, at
/// least one).
pub fn usable_cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// Pins the calling thread to `cpu` and asks for timers without slack (the default of 50 us would show as lateness).
///
/// # Errors
/// If the CPU is not in this process's cpuset.
pub fn pin_current_thread(cpu: u32) -> std::io::Result<()> {
    if cpu as usize >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu as usize);
    sched_setaffinity(None, &set)?;
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    Ok(())
}
