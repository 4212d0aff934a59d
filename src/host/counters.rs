//! Counters that are read before a load and after it: of TCP, and of CPU time.

use std::collections::BTreeMap;
use std::fs;

use crate::observe::counters;

/// Counters of `/proc/net/netstat` (TcpExt) and `/proc/net/snmp` (Tcp) that say what happened on the way, with the
/// names they have in a result. They are host-wide: on loopback they are the target's too.
const COUNTERS: [(&str, &str, &str); 9] = [
    ("Tcp", "RetransSegs", "retransmits"),
    ("Tcp", "OutRsts", "resets_sent"),
    ("Tcp", "EstabResets", "resets_of_established"),
    ("TcpExt", "TCPSynRetrans", "syn_retransmits"),
    ("TcpExt", "ListenOverflows", "listen_overflows"),
    ("TcpExt", "ListenDrops", "listen_drops"),
    ("TcpExt", "TCPReqQFullDoCookies", "syn_cookies_sent"),
    ("TcpExt", "TCPReqQFullDrop", "syn_drops"),
    ("TcpExt", "TCPTimeouts", "timeouts"),
];

/// The host's TCP counters now; empty where `/proc/net` cannot be read.
pub fn tcp_counters() -> BTreeMap<String, u64> {
    let text = ["/proc/net/snmp", "/proc/net/netstat"].map(|path| fs::read_to_string(path).unwrap_or_default());
    parse_counters(&text.concat())
}

fn parse_counters(text: &str) -> BTreeMap<String, u64> {
    let known = counters(text).filter_map(|(table, name, value)| {
        let (.., key) = COUNTERS.iter().find(|(t, n, _)| (*t, *n) == (table, name))?;
        Some(((*key).to_string(), value))
    });
    known.collect()
}

/// Shares of this machine's CPU time between two readings of `/proc/stat`, percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuShares {
    /// Time that the hypervisor gave to others.
    pub steal: f64,
    /// Time in soft interrupts: on loopback, much of the network's work.
    pub softirq: f64,
}

/// CPU time counters of `/proc/stat`, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    total: u64,
    steal: u64,
    softirq: u64,
}

impl CpuTicks {
    /// The counters now; zero where they cannot be read.
    pub fn read() -> Self {
        fs::read_to_string("/proc/stat").ok().and_then(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// The shares since `earlier`.
    pub fn since(self, earlier: Self) -> CpuShares {
        let total = self.total.saturating_sub(earlier.total);
        let percent = |now: u64, then: u64| match total {
            0 => 0.0,
            total => now.saturating_sub(then) as f64 / total as f64 * 100.0,
        };
        CpuShares { steal: percent(self.steal, earlier.steal), softirq: percent(self.softirq, earlier.softirq) }
    }

    /// The part of the CPU time since the machine started that the hypervisor gave to others, per mille; `None` where no time
    /// has passed.
    pub(super) fn steal_per_mille(self) -> Option<u32> {
        u32::try_from(self.steal.saturating_mul(1000).checked_div(self.total)?).ok()
    }

    /// The line `cpu user nice system idle iowait irq softirq steal guest guest_nice` (proc_stat(5)); guest time is
    /// part of user time.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<u64> =
            text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().flat_map(str::parse).collect();
        Some(Self { total: fields.get(..8)?.iter().sum(), softirq: fields[6], steal: fields[7] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_values_in_pairs() {
        let text = "Tcp: RtoMin RetransSegs OutRsts\nTcp: 200 7 9\nUdp: InDatagrams\nUdp: 3\n\
                    TcpExt: SyncookiesSent ListenDrops\nTcpExt: 0 4\n";
        let counters = parse_counters(text);
        assert_eq!(counters["retransmits"], 7);
        assert_eq!(counters["resets_sent"], 9);
        assert_eq!(counters["listen_drops"], 4);
        assert_eq!(counters.len(), 3);
    }

    #[test]
    fn cpu_shares_are_of_the_time_between() {
        let before = CpuTicks::parse("cpu  100 0 100 700 0 0 50 50 9 9\ncpu0 1 2\n").unwrap();
        let after = CpuTicks::parse("cpu  150 0 150 760 0 0 80 60 9 9\n").unwrap();
        assert_eq!(after.since(before), CpuShares { steal: 5.0, softirq: 15.0 });
        assert_eq!(CpuTicks::parse("cpu 1 2 3\n"), None);
        assert_eq!(before.since(before), CpuShares::default());
    }

    #[test]
    fn damaged_tables_are_no_counters() {
        assert!(parse_counters("Tcp: RetransSegs\nTcp: many\nnonsense\n").is_empty());
    }
}
