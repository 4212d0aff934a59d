//! What of the target was used up: the sentence that blames it, and the evidence.

use super::sample::{Observed, ObservedKind, ObservedSample};

/// A resource of which this share was in use is used up; the rest is what its accounting and a scheduler miss.
const USED_UP: f64 = 95.0;
/// Tables, descriptors and memory are used up later than a CPU: nothing waits for them before.
const FULL: f64 = 98.0;

/// Something that an observed subject had none left of.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Whose: [`Observed::name`].
    pub name: String,
    /// What.
    pub kind: LimitKind,
    /// The evidence, such as "target CPU 98 % (one core)".
    pub text: String,
}

/// What a target can be limited by, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitKind {
    /// It has ended.
    Ended,
    /// Its CPU time, or that of its one busy thread.
    Cpu,
    /// Its cores, which others used as well.
    SharedCpu,
    /// Its descriptors.
    Descriptors,
    /// The connection tracking table.
    Conntrack,
    /// Its memory.
    Memory,
    /// Its accept queue: it accepts too slowly, or too few may wait.
    AcceptQueue,
}

/// "at the limit: ..." with the strongest evidence of [`limits`]; `None` without evidence, and then no target is to be
/// blamed.
pub fn at_the_limit(observed: &[Observed], from_s: f64, to_s: f64) -> Option<String> {
    limits(observed, from_s, to_s).first().map(|limit| format!("at the limit: {}", limit.text))
}

/// What was used up between two instants of a run (seconds since its start), the most telling first.
///
/// Shares are means over the samples that lie wholly in that time, so one busy second in a minute is no limit; pass the
/// time in which the load in question was offered.
pub fn limits(observed: &[Observed], from_s: f64, to_s: f64) -> Vec<Limit> {
    let mut limits: Vec<Limit> =
        observed.iter().flat_map(|observed| limits_of(observed, &Means::of(observed, from_s, to_s))).collect();
    limits.sort_by_key(|limit| limit.kind);
    limits
}

/// What the samples of a span amount to: shares averaged over time, drops added, the largest of states.
#[derive(Clone, Copy, Debug, Default)]
struct Means {
    cpu: Option<f64>,
    busiest: Option<f64>,
    busiest_wait: Option<f64>,
    busiest_cpu: Option<f64>,
    threads: u64,
    memory: u64,
    descriptors: u64,
    conntrack: u64,
    queue: u64,
    socket_drops: Option<u64>,
    overflows: u64,
    ended: Option<f64>,
}

impl Means {
    fn of(observed: &Observed, from_s: f64, to_s: f64) -> Self {
        // A sample is read a little after its second.
        const SLACK_S: f64 = 0.1;
        let within =
            |sample: &&ObservedSample| sample.t_s - sample.span_s >= from_s - SLACK_S && sample.t_s <= to_s + SLACK_S;
        let samples: Vec<&ObservedSample> = observed.samples.iter().filter(within).collect();
        let mean = |share: fn(&ObservedSample) -> Option<f64>| {
            let known = samples.iter().filter_map(|sample| Some((share(sample)?, sample.span_s)));
            let (sum, time) = known.fold((0.0, 0.0), |(sum, time), (share, span)| (sum + share * span, time + span));
            (time > 0.0).then(|| sum / time)
        };
        let most = |state: fn(&ObservedSample) -> Option<u64>| {
            samples.iter().filter_map(|sample| state(sample)).max().unwrap_or(0)
        };
        let sum = |count: fn(&ObservedSample) -> Option<u64>| {
            samples.iter().filter_map(|sample| count(sample)).reduce(u64::saturating_add)
        };
        Self {
            cpu: mean(|sample| sample.cpu_percent),
            busiest: mean(|sample| sample.busiest_thread_percent),
            busiest_wait: mean(|sample| sample.busiest_thread_wait_percent),
            busiest_cpu: mean(|sample| sample.busiest_cpu_percent),
            threads: most(|sample| sample.threads),
            memory: most(|sample| sample.rss_bytes),
            descriptors: most(|sample| sample.descriptors),
            conntrack: most(|sample| sample.conntrack),
            queue: most(|sample| sample.listen_queue),
            socket_drops: sum(|sample| sample.socket_drops),
            overflows: sum(|sample| sample.listen_overflows).unwrap_or(0),
            ended: observed.ended_s.filter(|ended_s| *ended_s <= to_s + SLACK_S),
        }
    }
}

fn limits_of(observed: &Observed, means: &Means) -> Vec<Limit> {
    let host = observed.kind == ObservedKind::Host;
    let ended = means.ended.map(|ended_s| (LimitKind::Ended, format!("{} ended after {ended_s:.0} s", observed.name)));
    let whose = if host { "target machine's" } else { "target's" };
    let descriptors = full(means.descriptors, observed.descriptors_limit)
        .map(|of| (LimitKind::Descriptors, format!("{whose} descriptors {} of {of}", means.descriptors)));
    let conntrack = full(means.conntrack, observed.conntrack_limit)
        .map(|of| (LimitKind::Conntrack, format!("conntrack table {} of {of}", means.conntrack)));
    let memory = full(means.memory, observed.memory_bytes)
        .map(|_| (LimitKind::Memory, "target machine's memory is used up".to_owned()));
    let found = [ended, cpu(observed, means), descriptors, conntrack, memory, accept_queue(observed, means)];
    let limit = |(kind, text)| Limit { name: observed.name.clone(), kind, text };
    found.into_iter().flatten().map(limit).collect()
}

fn full(used: u64, most: Option<u64>) -> Option<u64> {
    most.filter(|most| *most > 0 && used as f64 >= *most as f64 * FULL / 100.0)
}

fn cpu(observed: &Observed, means: &Means) -> Option<(LimitKind, String)> {
    let all = means.cpu?;
    let cores = observed.cpus.map(f64::from).filter(|cpus| *cpus > 0.0);
    let of_cores = match observed.cpus {
        Some(1) => "one core".to_owned(),
        Some(cpus) => format!("{cpus} cores"),
        None => "unknown cores".to_owned(),
    };
    let subject = if observed.kind == ObservedKind::Host { "target machine's CPU" } else { "target CPU" };
    if let Some(cores) = cores
        && all >= USED_UP * cores
    {
        return Some((LimitKind::Cpu, format!("{subject} {all:.0} % ({of_cores})")));
    }
    if let Some(busiest) = means.busiest.filter(|busiest| *busiest >= USED_UP) {
        // Threads that only wait do not make a server one of several threads.
        let alone = means.threads <= 1 || all - busiest < 5.0;
        let text = if alone {
            format!("{subject} {busiest:.0} % (one core)")
        } else {
            format!("{subject} {busiest:.0} % of a core in its busiest thread ({all:.0} % in all, {of_cores})")
        };
        return Some((LimitKind::Cpu, text));
    }
    if let Some((busiest, wait)) = means.busiest.zip(means.busiest_wait)
        && busiest + wait >= USED_UP
    {
        let text = format!(
            "{subject} {busiest:.0} % in its busiest thread, which waited for its core for another {wait:.0} % of the time: \
             others run there"
        );
        return Some((LimitKind::SharedCpu, text));
    }
    let busiest_cpu = means.busiest_cpu.filter(|busiest| *busiest >= USED_UP)?;
    let text = format!("{subject} {busiest_cpu:.0} % in its busiest core ({all:.0} % in all, {of_cores})");
    Some((LimitKind::Cpu, text))
}

/// What its own sockets dropped, if that is known; else what the namespace's overflowed.
fn accept_queue(observed: &Observed, means: &Means) -> Option<(LimitKind, String)> {
    let backlog = observed.listen_backlog.map(|backlog| format!(" of {backlog}")).unwrap_or_default();
    let waited = if means.queue > 0 { format!(", {}{backlog} seen waiting", means.queue) } else { String::new() };
    let text = match means.socket_drops {
        Some(0) => return None,
        Some(drops) => format!("target's accept queue dropped {drops} connections{waited}"),
        None if means.overflows == 0 => return None,
        None => format!("accept queues on the target's machine overflowed {} times{waited}", means.overflows),
    };
    Some((LimitKind::AcceptQueue, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(cpus: u32, samples: &[ObservedSample]) -> Observed {
        let samples =
            (1..).zip(samples).map(|(t, sample)| ObservedSample { t_s: f64::from(t), span_s: 1.0, ..*sample });
        Observed {
            name: "nginx (pid 7)".into(),
            kind: ObservedKind::Process,
            cpus: Some(cpus),
            descriptors_limit: Some(1024),
            listen_backlog: Some(511),
            conntrack_limit: Some(65_536),
            memory_bytes: None,
            ended_s: None,
            missed: 0,
            samples: samples.collect(),
        }
    }

    fn busy(all: f64, busiest: f64, wait: f64) -> ObservedSample {
        ObservedSample {
            cpu_percent: Some(all),
            busiest_thread_percent: Some(busiest),
            busiest_thread_wait_percent: Some(wait),
            threads: Some(2),
            ..Default::default()
        }
    }

    fn sentence(observed: Observed) -> String {
        at_the_limit(&[observed], 0.0, 10.0).unwrap_or_else(|| "no evidence".into())
    }

    #[test]
    fn cpu_is_the_limit_of_one_thread_of_all_cores_or_of_shared_ones() {
        insta::assert_snapshot!(sentence(process(1, &[busy(98.2, 98.0, 0.0)])), @"");
        insta::assert_snapshot!(sentence(process(4, &[busy(98.9, 98.0, 0.0)])), @"");
        insta::assert_snapshot!(sentence(process(4, &[busy(240.0, 99.0, 0.0)])), @"");
        insta::assert_snapshot!(sentence(process(4, &[busy(391.0, 97.0, 0.0)])), @"");
        insta::assert_snapshot!(sentence(process(2, &[busy(66.0, 65.0, 33.0)])), @"");
        insta::assert_snapshot!(sentence(process(2, &[busy(66.0, 65.0, 3.0)])), @"");
    }

    #[test]
    fn shares_are_means_over_the_time_asked() {
        let samples = [busy(10.0, 10.0, 0.0), busy(99.0, 99.0, 0.0), busy(99.0, 99.0, 0.0), busy(10.0, 10.0, 0.0)];
        let observed = [process(1, &samples)];
        assert_eq!(at_the_limit(&observed, 0.0, 4.0), None);
        assert!(at_the_limit(&observed, 1.0, 3.0).is_some());
        assert_eq!(at_the_limit(&observed, 5.0, 9.0), None, "no samples, no evidence");
    }

    #[test]
    fn full_tables_and_dropped_connections_are_evidence_too() {
        let state = |sample| sentence(process(1, &[sample]));
        let none = ObservedSample::default();
        insta::assert_snapshot!(state(ObservedSample { descriptors: Some(1020), ..none }), @"");
        insta::assert_snapshot!(state(ObservedSample { descriptors: Some(900), ..none }), @"");
        insta::assert_snapshot!(state(ObservedSample { conntrack: Some(65_536), ..none }), @"");
        let dropped = ObservedSample { socket_drops: Some(12), listen_queue: Some(512), ..none };
        insta::assert_snapshot!(state(dropped), @"");
        let elsewhere = ObservedSample { socket_drops: Some(0), listen_overflows: Some(4), ..none };
        insta::assert_snapshot!(state(elsewhere), @"");
        insta::assert_snapshot!(state(ObservedSample { listen_overflows: Some(4), ..none }), @"");
    }

    #[test]
    fn the_most_telling_evidence_comes_first() {
        let sample = ObservedSample { socket_drops: Some(12), descriptors: Some(1024), ..busy(99.0, 99.0, 0.0) };
        let kinds = |observed| limits(&[observed], 0.0, 1.0).iter().map(|limit| limit.kind).collect::<Vec<_>>();
        let cpu_first = [LimitKind::Cpu, LimitKind::Descriptors, LimitKind::AcceptQueue];
        assert_eq!(kinds(process(1, &[sample])), cpu_first);
        let ended = Observed { ended_s: Some(0.5), ..process(1, &[sample]) };
        assert_eq!(kinds(ended)[0], LimitKind::Ended);
    }

    #[test]
    fn a_machine_is_at_its_limit_by_all_cores_or_by_one() {
        let host = |all, busiest| Observed {
            kind: ObservedKind::Host,
            memory_bytes: Some(100),
            ..process(
                2,
                &[ObservedSample {
                    cpu_percent: Some(all),
                    busiest_cpu_percent: Some(busiest),
                    rss_bytes: Some(10),
                    ..Default::default()
                }],
            )
        };
        insta::assert_snapshot!(sentence(host(197.0, 99.0)), @"");
        insta::assert_snapshot!(sentence(host(120.0, 99.0)), @"");
        insta::assert_snapshot!(sentence(host(120.0, 80.0)), @"");
    }
}
