//! The clock of the backends that live in real time.

use rustix::time::{ClockId, clock_gettime};

use crate::base::{Nanos, Time};

/// Now, on `CLOCK_REALTIME`: the clock of the kernel's stamps. It may be set to anything: before 1970 is 1970.
pub(super) fn realtime_now() -> Time {
    let now = clock_gettime(ClockId::Realtime);
    Time::from_nanos(
        u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64),
    )
}

/// Now, on `CLOCK_MONOTONIC`: the run's clock of every backend but the simulated one.
pub fn monotonic_now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    Time::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// How long this machine has been suspended so far: `CLOCK_MONOTONIC` stands still then, `CLOCK_BOOTTIME` goes on.
pub fn suspended() -> Nanos {
    let awake = monotonic_now();
    let boot = clock_gettime(ClockId::Boottime);
    Time::from_nanos(boot.tv_sec as u64 * 1_000_000_000 + boot.tv_nsec as u64).since(awake)
}
