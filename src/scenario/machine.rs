//! What the plan needs to know of this machine, as a value.

use rustix::process::{Resource, getrlimit};

use crate::fleet::{allowed_cpus, usable_cores};

/// Facts of the machine that sizes depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs this process may run on.
    pub cpus: Vec<u32>,
    /// Cores' worth of time this process may use (cpuset and quota).
    pub cores: u32,
    /// Hard limit of open files: the size of one ring's file table.
    pub descriptors: u32,
    /// Ports in `ip_local_port_range`: connections from one source to one target.
    pub ports: u32,
}

/// The kernel's default number of local ports (32768..=60999).
pub const PORTS_PER_TUPLE_HINT: u32 = 28_232;
/// A ring's file table holds at most this many files (`IORING_MAX_FIXED_FILES`).
const MAX_FIXED_FILES: u32 = 1 << 20;

impl Machine {
    /// This machine.
    pub fn detect() -> Self {
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::from(MAX_FIXED_FILES));
        let ports = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
            .ok()
            .and_then(|text| parse_port_range(&text))
            .unwrap_or(PORTS_PER_TUPLE_HINT);
        Self {
            cpus: allowed_cpus(),
            cores: usable_cores(),
            descriptors: u32::try_from(limit).unwrap_or(MAX_FIXED_FILES).min(MAX_FIXED_FILES),
            ports,
        }
    }
}

fn parse_port_range(text: &str) -> Option<u32> {
    let mut ends = text.split_whitespace().map(str::parse::<u32>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some(last.checked_sub(first)? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_ports_of_a_range() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(28_232));
        assert_eq!(parse_port_range("9 8"), None);
        assert_eq!(parse_port_range(""), None);
    }
}
