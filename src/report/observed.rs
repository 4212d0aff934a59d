//! What was observed of the target's machine and of connections, in lines.

use super::quantity::{bytes, count, span};
use crate::observe::{Observed, TcpInfo, Usage, limits};
use crate::run::RunResult;

/// The lines of a run, over its measured load.
pub(super) fn lines(result: &RunResult) -> Vec<(&'static str, String)> {
    let load = (result.window.warmup_s, result.window.end_s());
    lines_of(&result.observed, result.tcp_info.as_ref(), load)
}

/// Lines with their labels: a line for each subject over the time of the load (from and to, seconds), one with what it
/// had none left of, and one about TCP.
pub(super) fn lines_of(
    observed: &[Observed],
    tcp: Option<&TcpInfo>,
    (from_s, to_s): (f64, f64),
) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for observed in observed {
        lines.push(("observed", usage(observed, &Usage::between(observed, from_s, to_s))));
        let used_up = limits(std::slice::from_ref(observed), from_s, to_s);
        if !used_up.is_empty() {
            let texts: Vec<_> = used_up.into_iter().map(|limit| limit.text).collect();
            lines.push(("", format!("at the limit: {}", texts.join("; "))));
        }
    }
    lines.extend(tcp.map(|info| ("tcp_info", tcp_info(info))));
    lines
}

fn usage(observed: &Observed, usage: &Usage) -> String {
    let of = |most: Option<u64>| most.map(|most| format!(" of {most}")).unwrap_or_default();
    let cores = observed.cpus.map(|cpus| format!(" of {}", count(cpus as usize, "core"))).unwrap_or_default();
    let cpu = usage.cpu_percent.map(|all| {
        let busiest = match (usage.busiest_thread_percent, usage.busiest_cpu_percent) {
            (Some(thread), _) => format!(", busiest thread {thread:.0} %"),
            (None, Some(cpu)) => format!(", busiest core {cpu:.0} %"),
            (None, None) => String::new(),
        };
        format!("CPU {all:.0} %{cores}{busiest}")
    });
    let queue =
        usage.listen_queue.map(|most| format!("at most {most}{} waiting to be accepted", of(observed.listen_backlog)));
    let conntrack = usage.conntrack.filter(|entries| *entries > 0);
    let drops = usage.socket_drops.filter(|drops| *drops > 0).map(|drops| format!("{drops} dropped"));
    let parts: Vec<String> = [
        cpu,
        usage.rss_bytes.map(|memory| format!("memory {}", bytes(memory))),
        usage.descriptors.map(|open| format!("descriptors {open}{}", of(observed.descriptors_limit))),
        queue,
        drops,
        conntrack.map(|entries| format!("conntrack {entries}{}", of(observed.conntrack_limit))),
        (observed.missed > 0).then(|| count(observed.missed as usize, "reading") + " missed"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        return format!("{}: nothing was read in the time of the load", observed.name);
    }
    format!("{}: {}", observed.name, parts.join(", "))
}

fn tcp_info(info: &TcpInfo) -> String {
    let sampled = count(info.sampled as usize, "connection");
    let round_trips = match info.rtt_p50_ns.or(info.rtt_max_ns) {
        Some(_) => format!(", round trip p50 {}, max {}", span(info.rtt_p50_ns), span(info.rtt_max_ns)),
        None => String::new(),
    };
    format!(
        "{sampled} sampled, {} connecting; {} had sent the SYN again, {} other segments{round_trips}",
        info.connecting, info.syn_retries, info.retransmitted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{ObservedKind, ObservedSample};
    use crate::run::fixtures;

    fn told(observed: Observed, tcp: Option<TcpInfo>) -> String {
        let mut result = fixtures::open_result(&[]);
        result.observed = vec![observed];
        result.tcp_info = tcp;
        lines(&result).into_iter().map(|(label, text)| format!("{label:8} {text}")).collect::<Vec<_>>().join("\n")
    }

    fn process(samples: Vec<ObservedSample>) -> Observed {
        Observed {
            name: "nginx (pid 7)".into(),
            kind: ObservedKind::Process,
            cpus: Some(1),
            descriptors_limit: Some(1024),
            listen_backlog: Some(511),
            conntrack_limit: None,
            memory_bytes: None,
            ended_s: None,
            missed: 0,
            samples,
        }
    }

    #[test]
    fn says_what_was_used_and_what_was_used_up() {
        let sample = ObservedSample {
            t_s: 1.0,
            span_s: 1.0,
            cpu_percent: Some(98.4),
            busiest_thread_percent: Some(98.1),
            threads: Some(2),
            rss_bytes: Some(12_345_678),
            descriptors: Some(40),
            listen_queue: Some(512),
            socket_drops: Some(3),
            ..Default::default()
        };
        let info = TcpInfo {
            readings: 2,
            sampled: 212,
            connecting: 4,
            syn_retries: 3,
            retransmitted: 0,
            rtt_p50_ns: Some(45_000),
            rtt_max_ns: Some(1_200_000),
        };
        insta::assert_snapshot!(told(process(vec![sample]), Some(info)), @r"
        observed nginx (pid 7): CPU 98 % of 1 core, busiest thread 98 %, memory 12.3 MB, descriptors 40 of 1024, at most 512 of 511 waiting to be accepted, 3 dropped
                 at the limit: target CPU 98 % (one core); target's accept queue dropped 3 connections, 512 of 511 seen waiting
        tcp_info 212 connections sampled, 4 connecting; 3 had sent the SYN again, 0 other segments, round trip p50 45.0 us, max 1.20 ms
        ");
    }

    #[test]
    fn says_where_nothing_was_read() {
        insta::assert_snapshot!(told(process(Vec::new()), None), @"observed nginx (pid 7): nothing was read in the time of the load");
        insta::assert_snapshot!(told(Observed { missed: 3, ..process(Vec::new()) }, None), @"observed nginx (pid 7): 3 readings missed");
    }
}
