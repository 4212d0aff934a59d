//! The clock of the backends that live in real time.

use rustix::time::{ClockId, clock_gettime};

use crate::base::Time;

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
