//! What processes spend.

use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// What a stretch of work took.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: Duration,
    /// Of the children that ended in it and were waited for, with theirs: the kernel's part included, and with it the
    /// softirq work that their packets cause in their system calls.
    pub cpu: Duration,
}

/// Does `work`, which starts processes and waits for them.
pub fn by_children<T>(work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<(T, Spent)> {
    let (began, before) = (Instant::now(), cpu_of_children()?);
    let done = work()?;
    Ok((done, Spent { wall: began.elapsed(), cpu: cpu_of_children()?.saturating_sub(before) }))
}

fn cpu_of_children() -> std::io::Result<Duration> {
    let usage: Usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
}
