//! What the host tells about itself: its name plate for the result, and the TCP counters before and after a run.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::fleet::allowed_cpus;
use crate::io::Engine;

use super::result::Environment;

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

/// Each table is two lines with the same prefix: the names, then the values.
fn parse_counters(text: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let (Some((table, names)), Some((same, values))) = (pair[0].split_once(':'), pair[1].split_once(':')) else {
            continue;
        };
        if table != same {
            continue;
        }
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Some((.., key)) = COUNTERS.iter().find(|(t, n, _)| (*t, *n) == (table, name))
                && let Ok(value) = value.parse()
            {
                counters.insert((*key).to_string(), value);
            }
        }
    }
    counters
}

/// The machine as it stands in the result.
pub fn environment(engine: Engine) -> Environment {
    let uname = rustix::system::uname();
    let cpu_model = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_string())
        })
        .unwrap_or_else(|| "unknown".into());
    Environment {
        kernel: uname.release().to_string_lossy().into_owned(),
        cpus: allowed_cpus().len() as u32,
        cpu_model,
        engine,
        nofile: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        more: BTreeMap::new(),
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
    fn damaged_tables_are_no_counters() {
        assert!(parse_counters("Tcp: RetransSegs\nTcp: many\nnonsense\n").is_empty());
    }
}
