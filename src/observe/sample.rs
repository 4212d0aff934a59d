//! What was read, as it is saved.

use serde::{Deserialize, Serialize};

/// One subject and what it did, second by second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// A process by its name and number, a machine by its exporter's URL.
    pub name: String,
    /// What it is.
    pub kind: ObservedKind,
    /// CPUs it may use: those of the process's affinity, those of the machine; null if unknown.
    pub cpus: Option<u32>,
    /// Soft limit of open descriptors of the process that has most of them open; the machine's maximum; null if unknown.
    pub descriptors_limit: Option<u64>,
    /// Connections that may wait to be accepted, over all its listening sockets; null if unknown.
    pub listen_backlog: Option<u64>,
    /// Most entries of the connection tracking table; null if there is none, or it is not the one this program sees.
    pub conntrack_limit: Option<u64>,
    /// Memory of the machine, bytes; null for a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// When it was found to have ended, seconds since the run's start; null if it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_s: Option<f64>,
    /// Readings that failed and are not among the samples.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// A row a second, of more in long runs.
    pub samples: Vec<ObservedSample>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObservedKind {
    /// A process of this machine with its descendants.
    Process,
    /// A machine.
    Host,
}

/// The state of a subject at `t_s`, and what it did since the row before; null where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedSample {
    /// When it was read, seconds since the run's start.
    pub t_s: f64,
    /// The time since the row before, seconds.
    pub span_s: f64,
    /// CPU time of all threads over that time, percent: 100 is one core.
    pub cpu_percent: Option<f64>,
    /// CPU time of its busiest thread, percent: what a server with one thread is limited by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busiest_thread_percent: Option<f64>,
    /// How long that thread was ready to run while another had its CPU, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busiest_thread_wait_percent: Option<f64>,
    /// The busiest CPU of a machine, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busiest_cpu_percent: Option<f64>,
    /// Threads of all its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// Resident memory; pages that its processes share count once for each. A machine's memory in use.
    pub rss_bytes: Option<u64>,
    /// Open descriptors of the process that has most of them; a machine's open files.
    pub descriptors: Option<u64>,
    /// Connections that wait to be accepted, at this instant.
    pub listen_queue: Option<u64>,
    /// Connections and SYNs that its own listening sockets dropped.
    pub socket_drops: Option<u64>,
    /// TcpExt ListenOverflows of its network namespace: accept queues were full.
    pub listen_overflows: Option<u64>,
    /// TcpExt ListenDrops of its network namespace: likewise, or there was no memory or no room for another SYN.
    pub listen_drops: Option<u64>,
    /// Entries of the connection tracking table.
    pub conntrack: Option<u64>,
}

impl ObservedSample {
    /// One row in the place of this and the `next`: shares are averaged over time, counts added, states the later ones.
    pub(super) fn joined(self, next: Self) -> Self {
        let span_s = self.span_s + next.span_s;
        let mean = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) if span_s > 0.0 => Some((one * self.span_s + other * next.span_s) / span_s),
            (one, other) => other.or(one),
        };
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => other.or(one),
        };
        Self {
            t_s: next.t_s,
            span_s,
            cpu_percent: mean(self.cpu_percent, next.cpu_percent),
            busiest_thread_percent: mean(self.busiest_thread_percent, next.busiest_thread_percent),
            busiest_thread_wait_percent: mean(self.busiest_thread_wait_percent, next.busiest_thread_wait_percent),
            busiest_cpu_percent: mean(self.busiest_cpu_percent, next.busiest_cpu_percent),
            threads: next.threads,
            rss_bytes: next.rss_bytes,
            descriptors: next.descriptors,
            listen_queue: self.listen_queue.max(next.listen_queue),
            socket_drops: sum(self.socket_drops, next.socket_drops),
            listen_overflows: sum(self.listen_overflows, next.listen_overflows),
            listen_drops: sum(self.listen_drops, next.listen_drops),
            conntrack: next.conntrack,
        }
    }
}

/// What `TCP_INFO` said of attempts that were under way when they were sampled, once a second.
///
/// Attempts that take longer are sampled more often: it describes what slow attempts wait for, not a typical one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TcpInfo {
    /// How often it was asked.
    pub readings: u64,
    /// Connections sampled, held ones among them.
    pub sampled: u64,
    /// Of these: those whose SYN was not answered yet.
    pub connecting: u64,
    /// Those whose SYN had been sent again.
    pub syn_retries: u64,
    /// Those that are connected and had sent any segment again.
    pub retransmitted: u64,
    /// The median of the round trip times that the kernel measured (its smoothed estimate); null if none is known.
    pub rtt_p50_ns: Option<u64>,
    /// The largest.
    pub rtt_max_ns: Option<u64>,
}

impl TcpInfo {
    /// Adds what another machine sampled. A median of two is not to be had from them: it becomes null.
    pub fn merge(&mut self, other: &Self) {
        self.rtt_p50_ns = match (self.rtt_p50_ns, other.rtt_p50_ns) {
            (Some(_), Some(_)) => None,
            (one, other) => one.or(other),
        };
        self.rtt_max_ns = self.rtt_max_ns.max(other.rtt_max_ns);
        for (mine, theirs) in [
            (&mut self.readings, other.readings),
            (&mut self.sampled, other.sampled),
            (&mut self.connecting, other.connecting),
            (&mut self.syn_retries, other.syn_retries),
            (&mut self.retransmitted, other.retransmitted),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_rows_average_shares_add_counts_and_keep_the_later_state() {
        let one = ObservedSample {
            t_s: 1.0,
            span_s: 1.0,
            cpu_percent: Some(10.0),
            listen_drops: Some(3),
            listen_queue: Some(9),
            rss_bytes: Some(100),
            ..Default::default()
        };
        let other = ObservedSample {
            t_s: 4.0,
            span_s: 3.0,
            cpu_percent: Some(50.0),
            listen_drops: Some(4),
            listen_queue: Some(2),
            rss_bytes: Some(70),
            conntrack: Some(5),
            ..Default::default()
        };
        let expected = ObservedSample {
            t_s: 4.0,
            span_s: 4.0,
            cpu_percent: Some(40.0),
            listen_drops: Some(7),
            listen_queue: Some(9),
            rss_bytes: Some(70),
            conntrack: Some(5),
            ..Default::default()
        };
        assert_eq!(one.joined(other), expected);
    }

    #[test]
    fn what_is_unknown_is_null_in_the_file() {
        let text = serde_json::to_string(&ObservedSample { t_s: 1.0, span_s: 1.0, ..Default::default() }).unwrap();
        insta::assert_snapshot!(text, @r#"{"t_s":1.0,"span_s":1.0,"cpu_percent":null,"rss_bytes":null,"descriptors":null,"listen_queue":null,"socket_drops":null,"listen_overflows":null,"listen_drops":null,"conntrack":null}"#);
    }
}
