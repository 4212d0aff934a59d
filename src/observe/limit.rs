//! What of the target was used up: the sentence that blames it, and the evidence.

use super::sample::{Observed, ObservedKind};
use super::usage::Usage;

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
        observed.iter().flat_map(|observed| limits_of(observed, &Usage::between(observed, from_s, to_s))).collect();
    limits.sort_by_key(|limit| limit.kind);
    limits
}

fn limits_of(observed: &Observed, usage: &Usage) -> Vec<Limit> {
    let host = observed.kind == ObservedKind::Host;
    let ended =
        usage.ended_s.map(|ended_s| (LimitKind::Ended, format!("{} ended after {ended_s:.0} s", observed.name)));
    let whose = if host { "target machine's" } else { "target's" };
    let descriptors = full(usage.descriptors, observed.descriptors_limit)
        .map(|(open, of)| (LimitKind::Descriptors, format!("{whose} descriptors {open} of {of}")));
    let conntrack = full(usage.conntrack, observed.conntrack_limit)
        .map(|(entries, of)| (LimitKind::Conntrack, format!("conntrack table {entries} of {of}")));
    let memory = full(usage.rss_bytes, observed.memory_bytes)
        .map(|_| (LimitKind::Memory, "target machine's memory is used up".to_owned()));
    let found = [ended, cpu(observed, usage), descriptors, conntrack, memory, accept_queue(observed, usage)];
    let limit = |(kind, text)| Limit { name: observed.name.clone(), kind, text };
    found.into_iter().flatten().map(limit).collect()
}

/// What is used and what there is, if that is all.
fn full(used: Option<u64>, most: Option<u64>) -> Option<(u64, u64)> {
    used.zip(most).filter(|(used, most)| *most > 0 && *used as f64 >= *most as f64 * FULL / 100.0)
}

fn cpu(observed: &Observed, usage: &Usage) -> Option<(LimitKind, String)> {
    let all = usage.cpu_percent?;
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
    if let Some(busiest) = usage.busiest_thread_percent.filter(|busiest| *busiest >= USED_UP) {
        // Threads that only wait do not make a server one of several threads.
        let alone = usage.threads == Some(1) || all - busiest < 5.0;
        let text = if alone {
            format!("{subject} {busiest:.0} % (one core)")
        } else {
            format!("{subject} {busiest:.0} % of a core in its busiest thread ({all:.0} % in all, {of_cores})")
        };
        return Some((LimitKind::Cpu, text));
    }
    if let Some((busiest, wait)) = usage.busiest_thread_percent.zip(usage.busiest_thread_wait_percent)
        && busiest + wait >= USED_UP
    {
        let text = format!(
            "{subject} {busiest:.0} % in its busiest thread, which waited for its core for another {wait:.0} % of the time: \
             others run there"
        );
        return Some((LimitKind::SharedCpu, text));
    }
    let busiest_cpu = usage.busiest_cpu_percent.filter(|busiest| *busiest >= USED_UP)?;
    let text = format!("{subject} {busiest_cpu:.0} % in its busiest core ({all:.0} % in all, {of_cores})");
    Some((LimitKind::Cpu, text))
}

/// What its own sockets dropped, if that is known; else what the namespace's overflowed.
fn accept_queue(observed: &Observed, usage: &Usage) -> Option<(LimitKind, String)> {
    let backlog = observed.listen_backlog.map(|backlog| format!(" of {backlog}")).unwrap_or_default();
    let waiting = usage.listen_queue.filter(|waiting| *waiting > 0);
    let waited = waiting.map(|waiting| format!(", {waiting}{backlog} seen waiting")).unwrap_or_default();
    let text = match (usage.socket_drops, usage.listen_overflows) {
        (Some(0), _) | (None, None | Some(0)) => return None,
        (Some(drops), _) => format!("target's accept queue dropped {drops} connections{waited}"),
        (None, Some(overflows)) => {
            format!("accept queues on the target's machine overflowed {overflows} times{waited}")
        }
    };
    Some((LimitKind::AcceptQueue, text))
}

#[cfg(test)]
mod tests {
    use super::super::sample::ObservedSample;
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
        insta::assert_snapshot!(sentence(process(1, &[busy(98.2, 98.0, 0.0)])), @"at the limit: target CPU 98 % (one core)");
        insta::assert_snapshot!(sentence(process(4, &[busy(98.9, 98.0, 0.0)])), @"at the limit: target CPU 98 % (one core)");
        insta::assert_snapshot!(sentence(process(4, &[busy(240.0, 99.0, 0.0)])), @"at the limit: target CPU 99 % of a core in its busiest thread (240 % in all, 4 cores)");
        insta::assert_snapshot!(sentence(process(4, &[busy(391.0, 97.0, 0.0)])), @"at the limit: target CPU 391 % (4 cores)");
        insta::assert_snapshot!(sentence(process(2, &[busy(66.0, 65.0, 33.0)])), @"at the limit: target CPU 65 % in its busiest thread, which waited for its core for another 33 % of the time: others run there");
        insta::assert_snapshot!(sentence(process(2, &[busy(66.0, 65.0, 3.0)])), @"no evidence");
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
        insta::assert_snapshot!(state(ObservedSample { descriptors: Some(1020), ..none }), @"at the limit: target's descriptors 1020 of 1024");
        insta::assert_snapshot!(state(ObservedSample { descriptors: Some(900), ..none }), @"no evidence");
        insta::assert_snapshot!(state(ObservedSample { conntrack: Some(65_536), ..none }), @"at the limit: conntrack table 65536 of 65536");
        let dropped = ObservedSample { socket_drops: Some(12), listen_queue: Some(512), ..none };
        insta::assert_snapshot!(state(dropped), @"at the limit: target's accept queue dropped 12 connections, 512 of 511 seen waiting");
        let elsewhere = ObservedSample { socket_drops: Some(0), listen_overflows: Some(4), ..none };
        insta::assert_snapshot!(state(elsewhere), @"no evidence");
        insta::assert_snapshot!(state(ObservedSample { listen_overflows: Some(4), ..none }), @"at the limit: accept queues on the target's machine overflowed 4 times");
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
        insta::assert_snapshot!(sentence(host(197.0, 99.0)), @"at the limit: target machine's CPU 197 % (2 cores)");
        insta::assert_snapshot!(sentence(host(120.0, 99.0)), @"at the limit: target machine's CPU 99 % in its busiest core (120 % in all, 2 cores)");
        insta::assert_snapshot!(sentence(host(120.0, 80.0)), @"no evidence");
    }
}
