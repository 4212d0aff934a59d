//! What of this machine's settings a reader of a comparison needs.

use std::collections::BTreeMap;
use std::fs;

/// Settings that decide how many connections a machine takes and how fast: queues before `accept`, ports, reuse, memory
/// (ip-sysctl.rst, net.rst and fs.rst of the kernel's documentation).
const NAMES: [&str; 16] = [
    "net.core.somaxconn",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_congestion_control",
    "net.netfilter.nf_conntrack_max",
    "fs.nr_open",
];

/// The settings as they are now; those that this kernel does not have are left out.
pub fn settings() -> BTreeMap<String, String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok();
    let value = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    NAMES.into_iter().filter_map(|name| Some((name.to_owned(), value(read(name)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_numbers_and_words_in_one_line() {
        let settings = settings();
        assert!(settings["net.core.somaxconn"].parse::<u32>().is_ok(), "{settings:?}");
        assert!(settings.values().all(|value| !value.contains(['\n', '\t'])), "{settings:?}");
    }
}
