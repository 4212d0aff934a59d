//! What the shape of the latencies says about their cause.

use crate::base::Nanos;
use crate::finding::{Finding, FindingCode};
use crate::measure::{FailureKind, LatencyHistogram, MediaCounts, Metric, Quantile, StageRecord, Step, Until};
use crate::run::plan::{ProxyPlan, ProxyVersion};
use crate::run::result::RunResult;

/// Linux delays an ACK for 40 ms (`TCP_DELACK_MIN`, or `TCP_ATO_MIN`); a sender under Nagle's algorithm waits for it.
const PLATEAU: [Nanos; 2] = [Nanos::from_millis(38), Nanos::from_millis(46)];
/// As wide as the plateau, on either side of it.
const BESIDE: [[Nanos; 2]; 2] =
    [[Nanos::from_millis(26), Nanos::from_millis(34)], [Nanos::from_millis(52), Nanos::from_millis(60)]];
/// A path this slow has latencies of this size of its own.
const SLOW_PATH: Nanos = Nanos::from_millis(20);
/// Fewer samples make no plateau.
const LEAST_SAMPLES: u64 = 20;

/// The first SYN is sent again after this long (`TCP_TIMEOUT_INIT`, RFC 6298).
const FIRST_SYN_RETRY: Nanos = Nanos::from_secs(1);
/// A connect that sits on a retry is late by no more than this and a few round trips.
const RETRY_SLACK: Nanos = Nanos::from_millis(30);

/// Findings about the measured attempts. The kernel sends a SYN again at constant distance `linear_syn_retries` times
/// (`net.ipv4.tcp_syn_linear_timeouts`, Linux 6.5) before it doubles the distance. With clients whose `connect_waits` the
/// answers to it say nothing about the target's writes.
pub(in crate::run) fn findings_of_latencies(
    measured: &StageRecord,
    connect_waits: bool,
    linear_syn_retries: u32,
    syn_retransmits: Option<u64>,
) -> Vec<Finding> {
    let latencies = &measured.tally.latencies;
    let connect = latencies.get(Metric::Connect);
    let slow_path = connect.and_then(|connect| connect.at(Quantile::P50)).is_some_and(|median| median >= SLOW_PATH);
    let mut findings: Vec<Finding> = Vec::new();
    if !slow_path {
        let phases = [Metric::S0s1, Metric::S2, Metric::Reply, Metric::AppConnect, Metric::Publish];
        let own = |phase: &Metric| connect_waits && matches!(phase, Metric::Reply | Metric::AppConnect);
        let phases = phases.into_iter().filter(|phase| !own(phase));
        let plateau = phases.into_iter().find_map(|phase| nagle_plateau(phase, latencies.get(phase)?));
        findings.extend(plateau);
    }
    findings.extend(connect.and_then(|connect| syn_retries(connect, linear_syn_retries, syn_retransmits)));
    findings
}

/// A flat plateau near 40 ms: more samples there than beside it.
fn nagle_plateau(phase: Metric, latency: &LatencyHistogram) -> Option<Finding> {
    let within = |[from, to]: [Nanos; 2]| latency.count_between(from, to);
    let there = within(PLATEAU);
    let beside = BESIDE.into_iter().map(within).max().unwrap_or(0);
    let stands_out = there >= LEAST_SAMPLES.max(latency.count() / 20) && there > 4 * beside;
    stands_out.then(|| Finding::warning(FindingCode::NaglePlateau, format!(
            "{there} of {} attempts lie on a flat plateau near 40 ms in {phase}: delayed ACK against Nagle suspected",
            latency.count()
        ), "it is no limit of capacity: set TCP_NODELAY on the server, or let it write its answer at once"))
}

/// Connects that took as long as a SYN retransmission.
fn syn_retries(connect: &LatencyHistogram, linear: u32, retransmits: Option<u64>) -> Option<Finding> {
    let usual = connect.at(Quantile::P50).unwrap_or(Nanos::ZERO);
    let late = RETRY_SLACK + Nanos::new(usual.as_u64().min(FIRST_SYN_RETRY.as_u64() / 8) * 4);
    let times = retry_times(linear);
    let on_retry: u64 = times.iter().map(|at| connect.count_between(*at, *at + late)).sum();
    let counted = match retransmits {
        Some(retransmits) => format!("; the host retransmitted {retransmits} SYNs"),
        None => String::new(),
    };
    (on_retry > 0).then(|| Finding::warning(FindingCode::SynRetries, format!(
            "{on_retry} of {} connects took as long as a SYN retransmission ({}, ...){counted}",
            connect.count(),
            times.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ), "SYNs were lost on the path or dropped by a full listen backlog: compare somaxconn and ListenDrops of the target"))
}

/// When the kernel has sent the SYN again, after the first: at constant distance first, then the distance doubles.
fn retry_times(linear: u32) -> Vec<Nanos> {
    let mut times = vec![FIRST_SYN_RETRY];
    let mut distance = FIRST_SYN_RETRY;
    let mut at = FIRST_SYN_RETRY;
    for retry in 0.. {
        if retry >= linear {
            distance += distance;
        }
        at += distance;
        if at > LatencyHistogram::LONGEST {
            return times;
        }
        times.push(at);
    }
    times
}

/// Publishers that could not send, or by what part of it they fell behind.
pub(super) fn media_unsent(media: &MediaCounts) -> Option<Finding> {
    /// Of the bytes due: what is on its way when a hold ends, is no matter.
    const MUCH: f64 = 0.01;
    let part = media.unsent_bytes as f64 / media.due_bytes.max(1) as f64;
    let stalled = match media.stalled {
        0 => String::new(),
        stalled => {
            format!("{stalled} of {} publishers could not send for {}; ", media.publishers, MediaCounts::STALLED)
        }
    };
    (media.stalled > 0 || part >= MUCH).then(|| {
        Finding::warning(
            FindingCode::MediaUnsent,
            format!("{stalled}{:.1} % of the audio and video that was due never left", part * 100.0),
            "the target reads too slowly, or the path is full: lower --bitrate, or hold fewer publishers",
        )
    })
}

/// Gives failures the advice that only the whole result tells.
pub(in crate::run) fn advise(result: &mut RunResult) {
    advise_of_proxy_header(result);
    advise_of_late_refusals(result);
}

/// Says of connections that ended before any answer that the header may be why: a server that expects none takes its
/// first byte for C0, and one that expects the other version for nonsense. Where the only target has completed
/// handshakes behind such headers, they are not.
fn advise_of_proxy_header(result: &mut RunResult) {
    let Some(ProxyPlan { version, .. }) = result.plan.proxy_protocol else { return };
    if result.attempts.completed > 0 && result.plan.targets.len() == 1 {
        return;
    }
    let advice = match version {
        ProxyVersion::V1 => {
            "a PROXY header went before C0: does the server expect one on this port (nginx: listen ... proxy_protocol)?"
        }
        ProxyVersion::V2 => {
            "a PROXY header went before C0: does the server expect one on this port, and of version 2? nginx-rtmp reads \
             v1 only"
        }
    };
    let over_tls = "a PROXY header went before the TLS handshake: does the server expect one on this port (nginx: listen \
                    ... ssl proxy_protocol), and outside of TLS?";
    for row in &mut result.failures {
        match (row.step, row.kind) {
            (Step::SendC0c1 | Step::S0, FailureKind::Reset | FailureKind::Closed) => row.advice = advice.to_owned(),
            // A server that expects none takes the header for a broken record.
            (Step::Tls, FailureKind::Reset | FailureKind::Closed | FailureKind::TlsRefused) => {
                row.advice = over_tls.to_owned();
            }
            _ => {}
        }
    }
}

/// Says of publishers that were lost as soon as they were held that they may have been refused: nginx-rtmp's
/// `deny publish` (1.2.2) says `NetStream.Publish.Start` and hangs up then.
fn advise_of_late_refusals(result: &mut RunResult) {
    const AT_ONCE: Nanos = Nanos::from_secs(1);
    let ages = result.connections.lost_age.as_ref();
    let at_once = ages.and_then(|ages| ages.max_ns).is_some_and(|oldest| oldest < AT_ONCE.as_u64());
    if !at_once || !result.plan.asked().any(|population| population.until == Until::Publish) {
        return;
    }
    for row in &mut result.failures {
        // What the server has announced is the better cause.
        let is_wordless = row.reasons.is_empty();
        if row.step == Step::Hold && is_wordless && matches!(row.kind, FailureKind::Closed | FailureKind::Reset) {
            row.advice =
                "the server let them publish and hung up at once: nginx's `deny publish`, or a hook that says no, \
                          does so"
                    .to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fixtures;
    use crate::run::result::FailureRow;

    fn histogram(spans_ms: impl IntoIterator<Item = u64>) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::new();
        spans_ms.into_iter().for_each(|span| histogram.record(Nanos::from_millis(span)));
        histogram
    }

    #[test]
    fn the_kernels_retries_are_linear_and_then_double() {
        let seconds = |linear| retry_times(linear).iter().map(|at| at.as_u64() / 1_000_000_000).collect::<Vec<_>>();
        assert_eq!(seconds(0), [1, 3, 7, 15, 31]);
        assert_eq!(seconds(4), [1, 2, 3, 4, 5, 7, 11, 19, 35]);
    }

    #[test]
    fn a_plateau_near_40_ms_is_suspected() {
        let plateau = histogram((0..100).map(|n| if n % 3 == 0 { 41 } else { 1 }));
        let finding = nagle_plateau(Metric::S2, &plateau).unwrap();
        insta::assert_snapshot!(finding.message, @"34 of 100 attempts lie on a flat plateau near 40 ms in s2: delayed ACK against Nagle suspected");
        assert_eq!(nagle_plateau(Metric::S2, &histogram(1..=100)), None, "spread evenly");
        assert_eq!(nagle_plateau(Metric::S2, &histogram([41; 19])), None, "too few");
        assert_eq!(nagle_plateau(Metric::S2, &histogram([30; 100].into_iter().chain([41; 100]))), None, "no plateau");
    }

    #[test]
    fn publishers_that_are_lost_at_once_may_have_been_refused() {
        let mut result = fixtures::open_result(&[]);
        let mut row = result.failures[0].clone();
        (row.step, row.kind, row.advice) = (Step::Hold, FailureKind::Closed, "its own".to_owned());
        let other = FailureRow { kind: FailureKind::BadMessage, ..row.clone() };
        result.failures = vec![row, other];
        let advised = |until, oldest_ms| {
            let mut result = result.clone();
            result.plan.populations[0].until = until;
            result.connections.lost_age = Some(histogram([1, oldest_ms]).summary());
            advise_of_late_refusals(&mut result);
            result.failures.iter().map(|row| row.advice.contains("deny publish")).collect::<Vec<_>>()
        };
        assert_eq!(advised(Until::Publish, 900), [true, false]);
        assert_eq!(advised(Until::Publish, 1_100), [false; 2], "held for a while");
        assert_eq!(advised(Until::Connect, 900), [false; 2]);
    }

    #[test]
    fn connects_on_a_syn_retry_are_named() {
        let connect = histogram([1; 97].into_iter().chain([1_001, 2_002, 1_500]));
        let finding = syn_retries(&connect, 4, Some(3)).unwrap();
        insta::assert_snapshot!(finding.message, @"2 of 100 connects took as long as a SYN retransmission (1.00 s, 2.00 s, 3.00 s, ...); the host retransmitted 3 SYNs");
        assert_eq!(syn_retries(&histogram([1; 100].into_iter().chain([900, 1_500])), 4, None), None);
    }

    #[test]
    fn connections_that_end_before_an_answer_are_told_of_the_header() {
        let mut result = crate::run::fixtures::open_result(&[]);
        let row = |step, kind| crate::run::FailureRow {
            step,
            kind,
            side: crate::measure::Side::Target,
            count: 1,
            first_s: 0.0,
            last_s: 0.0,
            detail: None,
            advice: "its own".to_owned(),
            reasons: Vec::new(),
        };
        result.failures = vec![
            row(Step::S0, FailureKind::Reset),
            row(Step::S0, FailureKind::Timeout),
            row(Step::S2, FailureKind::Closed),
            row(Step::Tls, FailureKind::TlsRefused),
            row(Step::Tls, FailureKind::BadCertificate),
        ];
        let advised = |result: &RunResult| {
            let mut result = result.clone();
            advise_of_proxy_header(&mut result);
            result.failures.iter().map(|row| row.advice != "its own").collect::<Vec<_>>()
        };
        assert_eq!(advised(&result), [false; 5], "none was sent");
        result.plan.proxy_protocol = Some(proxy(ProxyVersion::V1, "10.9.0.0/16"));
        assert_eq!(advised(&result), [false; 5], "the only target completes handshakes behind it");
        result.plan.targets.push(result.plan.targets[0].clone());
        assert_eq!(advised(&result), [true, false, false, true, false], "one of several may not");
        result.plan.targets.pop();
        result.attempts.completed = 0;
        assert_eq!(advised(&result), [true, false, false, true, false]);
    }

    fn proxy(version: ProxyVersion, client_ips: &str) -> ProxyPlan {
        ProxyPlan { version, client_ips: client_ips.parse().unwrap() }
    }
}
