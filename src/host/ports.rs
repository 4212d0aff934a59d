//! The range of local ports.

use std::fs;
use std::ops::RangeInclusive;

use crate::base::Nanos;

/// Linux keeps a connection in TIME_WAIT for this long (`TCP_TIMEWAIT_LEN`), and its port with it.
pub const TIME_WAIT: Nanos = Nanos::from_secs(60);

/// The kernel's default number of local ports (32768..=60999).
const DEFAULT_PORTS: u32 = 28_232;

/// Ports in `net.ipv4.ip_local_port_range`: the most connections from one local address to one target at a time.
pub fn local_ports() -> u32 {
    local_port_range().map_or(DEFAULT_PORTS, |ports| ports.len() as u32)
}

/// `net.ipv4.ip_local_port_range`; `None` where it cannot be read.
pub fn local_port_range() -> Option<RangeInclusive<u16>> {
    parse_port_range(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)
}

/// The first and the last port of the text of `ip_local_port_range`.
pub(super) fn parse_port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(str::parse::<u16>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_ports_of_a_range() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!((32_768..=60_999_u16).len(), DEFAULT_PORTS as usize);
        assert_eq!(parse_port_range("9 8"), None);
        assert_eq!(parse_port_range(""), None);
    }
}
