//! What a CPU quota did to a run.

use std::path::PathBuf;

use crate::base::Nanos;
use crate::finding::{Finding, FindingCode};
use crate::host::Throttling;

/// Quotas that stop a program for less of the time are not what its numbers are made of.
const TELLING_PERCENT: f64 = 1.0;

/// What quotas did between two readings in a run of so many workers that took `wall`.
pub fn finding(
    before: &[(PathBuf, Throttling)],
    after: &[(PathBuf, Throttling)],
    wall: Nanos,
    workers: u32,
) -> Option<Finding> {
    let grown = after.iter().filter_map(|(path, now)| {
        let (_, then) = before.iter().find(|(known, _)| known == path)?;
        Some(now.since(*then))
    });
    let most = grown.max_by_key(|throttling| throttling.time)?;
    let percent = most.time.as_secs_f64() / (wall.as_secs_f64() * f64::from(workers)).max(1e-9) * 100.0;
    (most.times > 0 && percent >= TELLING_PERCENT).then(|| Finding::warning(FindingCode::CpuThrottled, format!(
            "this program's CPU quota was used up {} times: its threads were kept from running for {} in all",
            most.times, most.time
        ), "raise the quota (cgroup cpu.max, a container's --cpus or limits.cpu), or lower the load; the pauses are in \
                 every number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_was_used_up_is_named() {
        let of =
            |path: &str, times, millis| (PathBuf::from(path), Throttling { times, time: Nanos::from_millis(millis) });
        let before = [of("/own", 1, 100), of("/around", 0, 0)];
        let after = [of("/own", 44, 3_300), of("/around", 2, 10), of("/new", 9, 9_000)];
        let found = finding(&before, &after, Nanos::from_secs(4), 1).unwrap();
        insta::assert_snapshot!(found.message, @"this program's CPU quota was used up 43 times: its threads were kept from running for 3.20 s in all");
        assert_eq!(finding(&before, &before, Nanos::from_secs(4), 1), None);
        assert_eq!(finding(&before, &after, Nanos::from_secs(400), 1), None, "a hundredth of the time tells nothing");
        assert_eq!(finding(&[], &after, Nanos::from_secs(4), 1), None);
    }
}
