//! What the samples of a span of time amount to.

use super::sample::{Observed, ObservedSample};

/// A sample is read a little after its second.
const SLACK_S: f64 = 0.1;

/// What a subject used over a span of time: shares are averaged over it, drops added, and of states the largest is taken;
/// `None` where no sample says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// As [`ObservedSample::cpu_percent`].
    pub cpu_percent: Option<f64>,
    /// As [`ObservedSample::busiest_thread_percent`].
    pub busiest_thread_percent: Option<f64>,
    /// As [`ObservedSample::busiest_thread_wait_percent`].
    pub busiest_thread_wait_percent: Option<f64>,
    /// As [`ObservedSample::busiest_cpu_percent`].
    pub busiest_cpu_percent: Option<f64>,
    /// The most threads.
    pub threads: Option<u64>,
    /// The most memory.
    pub rss_bytes: Option<u64>,
    /// The most open descriptors.
    pub descriptors: Option<u64>,
    /// The most entries in the connection tracking table.
    pub conntrack: Option<u64>,
    /// The most connections that waited to be accepted.
    pub listen_queue: Option<u64>,
    /// What its own listening sockets dropped.
    pub socket_drops: Option<u64>,
    /// Full accept queues of its network namespace.
    pub listen_overflows: Option<u64>,
    /// When it ended, if by then.
    pub ended_s: Option<f64>,
}

impl Usage {
    /// Of the samples that lie wholly between two instants, seconds since the run's start.
    pub fn between(observed: &Observed, from_s: f64, to_s: f64) -> Self {
        let within =
            |sample: &&ObservedSample| sample.t_s - sample.span_s >= from_s - SLACK_S && sample.t_s <= to_s + SLACK_S;
        let samples: Vec<&ObservedSample> = observed.samples.iter().filter(within).collect();
        let mean = |share: fn(&ObservedSample) -> Option<f64>| {
            let known = samples.iter().filter_map(|sample| Some((share(sample)?, sample.span_s)));
            let (sum, time) = known.fold((0.0, 0.0), |(sum, time), (share, span)| (sum + share * span, time + span));
            (time > 0.0).then(|| sum / time)
        };
        let most = |state: fn(&ObservedSample) -> Option<u64>| samples.iter().filter_map(|sample| state(sample)).max();
        let sum = |count: fn(&ObservedSample) -> Option<u64>| {
            samples.iter().filter_map(|sample| count(sample)).reduce(u64::saturating_add)
        };
        Self {
            cpu_percent: mean(|sample| sample.cpu_percent),
            busiest_thread_percent: mean(|sample| sample.busiest_thread_percent),
            busiest_thread_wait_percent: mean(|sample| sample.busiest_thread_wait_percent),
            busiest_cpu_percent: mean(|sample| sample.busiest_cpu_percent),
            threads: most(|sample| sample.threads),
            rss_bytes: most(|sample| sample.rss_bytes),
            descriptors: most(|sample| sample.descriptors),
            conntrack: most(|sample| sample.conntrack),
            listen_queue: most(|sample| sample.listen_queue),
            socket_drops: sum(|sample| sample.socket_drops),
            listen_overflows: sum(|sample| sample.listen_overflows),
            ended_s: observed.ended_s.filter(|ended_s| *ended_s <= to_s + SLACK_S),
        }
    }
}
