//! The built binary and a server with a real path between them: delay, packets of 1500 bytes, loss. The path is a link
//! that the test makes of two network namespaces (see `support::Link`); it needs root and TUN devices.
//!
//! Spans are compared with each other or with the link's delay as a lower bound: a busy machine only ever adds to them.

mod support;

use std::time::Duration;

use shakedown::measure::{FailureKind, LatencySummary, Metric, Side, Step};
use shakedown::report::{Style, text};
use shakedown::run::{Attempts, RunResult};
use support::{Link, LinkOptions, LostSyns, Nginx, NginxOptions, SinkProcess};

/// 40 ms for a round trip: a second one, or the 40 ms after which a delayed ACK is sent at the soonest, doubles a span.
const DELAYED: LinkOptions =
    LinkOptions { delay: Duration::from_millis(20), loss: 0.0, lost_syns: LostSyns::None, seed: 1 };

#[test]
fn each_phase_takes_one_round_trip() {
    let link = Link::start(DELAYED);
    let sink = sink_behind(&link);
    let result = link.run(&format!("{} -t 1 -R 200/s -n 300", sink.address())).result();
    assert_completed(&result, 300);
    let [connect, s0s1, s2] =
        [result.latency.get(Metric::Connect), result.latency.get(Metric::S0s1), result.latency.get(Metric::S2)]
            .map(spans);
    assert!(
        [connect, s0s1, s2].iter().all(|phase| phase.min_ns >= at_least(2 * DELAYED.delay)),
        "{:?}",
        result.latency
    );
    assert!(about(connect.p50_ns, connect.min_ns), "{connect:?}");
    assert!(about(s0s1.p50_ns, connect.p50_ns), "{s0s1:?} and {connect:?}");
    // S2 leaves the server together with S0S1.
    assert!(about(s2.p50_ns, connect.p50_ns), "{s2:?} and {connect:?}");
    let service = spans(result.latency.get(Metric::Service));
    assert!(service.min_ns >= at_least(4 * DELAYED.delay), "{service:?}");
    assert_eq!(sink.counts().complex, 300);
}

/// C0C1 is larger than a packet, and after a C0 of its own the rest of C1 would wait for C0's ACK but for TCP_NODELAY.
#[test]
fn a_handshake_of_several_packets_waits_for_no_ack() {
    // One writes C0C1 at once, the other C0 and then C1.
    for client in ["shakedown", "zlmediakit"] {
        let link = Link::start(DELAYED);
        let sink = sink_behind(&link);
        let result = link.run(&format!("{} -t 1 -R 200/s -n 200 --client {client}", sink.address())).result();
        assert_completed(&result, 200);
        let [connect, s0s1, s2] =
            [result.latency.get(Metric::Connect), result.latency.get(Metric::S0s1), result.latency.get(Metric::S2)]
                .map(spans);
        assert!(about(s0s1.p50_ns, connect.p50_ns), "{client}: {s0s1:?} and {connect:?}");
        assert!(about(s2.p50_ns, connect.p50_ns), "{client}: {s2:?} and {connect:?}");
        let [to_server, to_client] = link.finish();
        assert_eq!((to_server.largest, to_client.largest), (1500, 1500), "{client}");
    }
}

/// nginx writes S0S1 and S2 apart and leaves Nagle's algorithm on: S2's end waits until S0S1 is acknowledged.
#[test]
fn what_a_server_holds_back_shows_where_it_does() {
    let link = Link::start(DELAYED);
    let nginx =
        link.at_server(|| Nginx::start(NginxOptions { listen: Link::SERVER.into(), ..NginxOptions::default() }));
    let result = link.run(&format!("{} -t 1 -R 200/s -n 200", nginx.address())).result();
    assert_completed(&result, 200);
    let [connect, s0s1, s2] =
        [result.latency.get(Metric::Connect), result.latency.get(Metric::S0s1), result.latency.get(Metric::S2)]
            .map(spans);
    assert!(about(s0s1.p50_ns, connect.p50_ns), "{s0s1:?} and {connect:?}");
    assert!(s2.min_ns >= at_least(4 * DELAYED.delay), "{s2:?}");
}

#[test]
fn lost_syns_cost_a_second_and_are_named() {
    let link = Link::start(LinkOptions { lost_syns: LostSyns::FirstOfEvery(10), ..DELAYED });
    let sink = sink_behind(&link);
    let result = link.run(&format!("{} -t 1 -R 200/s -n 300", sink.address())).result();
    assert_completed(&result, 300);
    // RFC 6298 waits a second before it sends a SYN again; that happened to 30 of 300.
    let [connect, s0s1] = [result.latency.get(Metric::Connect), result.latency.get(Metric::S0s1)].map(spans);
    assert!(connect.p95_ns >= at_least(Duration::from_secs(1)), "{connect:?}");
    assert!(about(connect.p50_ns, connect.min_ns), "{connect:?}");
    // What is slow is the connect alone.
    assert!(2 * s0s1.p95_ns.expect("enough samples") < connect.p95_ns.expect("enough samples"), "{s0s1:?}");
    let sent_again = result.network["syn_retransmits"];
    assert!(sent_again >= 30, "{:?}", result.network);
    let report = text::render(&result, Style { color: false, width: 120 });
    assert!(report.contains(&format!("syn_retransmits {sent_again}")), "{report}");
    assert_eq!(sink.counts().accepted, 300);
    assert_eq!(link.finish()[0].lost_syns, 30);
}

#[test]
fn without_any_syn_nobody_is_to_blame() {
    let link = Link::start(LinkOptions { lost_syns: LostSyns::All, ..DELAYED });
    let sink = sink_behind(&link);
    let output = link.run(&format!("{} -t 1 -c 20 -n 20 --connect-timeout 1500ms", sink.address()));
    let result = output.ended_with(5);
    assert_eq!(result.attempts, Attempts { due: 20, started: 20, failed: 20, ..Attempts::default() });
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!(
        (row.step, row.kind, row.side, row.count),
        (Step::Connect, FailureKind::Timeout, Side::Unattributed, 20)
    );
    assert!(row.advice.contains("loss on the path"), "{}", row.advice);
    assert!(result.network["syn_retransmits"] >= 20, "{:?}", result.network);
    assert_eq!(sink.counts().accepted, 0);
    let [to_server, to_client] = link.finish();
    assert!(to_server.lost_syns >= 40, "{to_server:?}");
    assert_eq!((to_server.delivered, to_client.delivered), (0, 0));
}

#[test]
fn loss_is_repaired_and_blames_nobody() {
    let link = Link::start(LinkOptions { loss: 0.02, ..DELAYED });
    let sink = sink_behind(&link);
    let result = link.run(&format!("{} -t 1 -R 200/s -n 400 --close fin", sink.address())).result();
    // TCP repairs single losses far below the timeout of 10 s; one attempt in a billion loses all that it sends.
    assert_completed(&result, 400);
    assert_eq!(result.modes.complex_verified, 400);
    assert!(result.network["retransmits"] > 0, "{:?}", result.network);
    assert_eq!(result.connections.lost_while_held, 0);
    let counts = sink.counts();
    assert_eq!((counts.accepted, counts.complex, counts.violations, counts.c2_invalid), (400, 400, 0, 0), "{counts:?}");
    let [to_server, to_client] = link.finish();
    assert!(to_server.lost > 0 && to_client.lost > 0, "{to_server:?} {to_client:?}");
}

/// The sink at the far end of `link`, on one worker: few threads beside the link's own.
fn sink_behind(link: &Link) -> SinkProcess {
    link.at_server(|| SinkProcess::start_on(Link::SERVER, "--workers 1"))
}

/// All of `count` attempts completed.
fn assert_completed(result: &RunResult, count: u64) {
    let all = Attempts { due: count, started: count, completed: count, ..Attempts::default() };
    assert_eq!(result.attempts, all, "{:?}", result.failures);
    assert_eq!(result.failures, []);
}

fn spans(summary: Option<&LatencySummary>) -> &LatencySummary {
    summary.expect("completed attempts have spans")
}

/// A lower bound of a span as histograms keep it: to three significant digits.
fn at_least(bound: Duration) -> Option<u64> {
    u64::try_from(bound.as_nanos() * 999 / 1000).ok()
}

/// Less than half as much again.
fn about(span: Option<u64>, unit: Option<u64>) -> bool {
    let (span, unit) = (span.expect("enough samples"), unit.expect("enough samples"));
    2 * span < 3 * unit
}
