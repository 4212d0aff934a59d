//! The built-in sink as the witness of what a run says about itself.

use shakedown::measure::{FailureKind, Metric, Side, Step};
use shakedown::sink::SinkCounts;

use super::nginx::assert_completed;
use crate::support::{SinkProcess, run, run_by, shakedown_command};

/// All of `count` attempts with `options` complete; what the sink saw of them.
fn seen_of(count: u64, options: &str) -> SinkCounts {
    let sink = SinkProcess::start("");
    let result = run(&format!("{} -n {count} {options}", sink.address()));
    assert_completed(&result, count);
    let counts = sink.counts();
    assert_eq!((counts.accepted, counts.abandoned, counts.violations), (count, 0, 0), "{options}: {counts:?}");
    assert_eq!((counts.refused, counts.held), (0, 0), "{options}: {counts:?}");
    SinkCounts { accepted: 0, ..counts }
}

#[test]
fn every_c2_arrives_though_a_reset_follows_at_once() {
    for (count, options) in
        [(1, "-c 1"), (100, "-c 100"), (1_000, "-c 1 -t 1"), (5_000, "-c 64"), (20_000, "-c 512 --digest second-half")]
    {
        let counts = seen_of(count, options);
        let expected = SinkCounts { complex: count, c2_valid: count, reset: count, ..SinkCounts::default() };
        assert_eq!(counts, expected, "{options}");
    }
}

#[test]
fn a_simple_client_echoes() {
    let counts = seen_of(3_000, "-c 64 --mode simple");
    assert_eq!(counts, SinkCounts { simple: 3_000, c2_echo: 3_000, reset: 3_000, ..SinkCounts::default() });
}

#[test]
fn a_wrong_c2_is_wrong_in_either_mode() {
    let wrong = SinkCounts { c2_invalid: 1_000, reset: 1_000, ..SinkCounts::default() };
    assert_eq!(seen_of(1_000, "-c 64 --wrong-c2"), SinkCounts { complex: 1_000, ..wrong });
    assert_eq!(seen_of(1_000, "-c 64 --wrong-c2 --mode simple"), SinkCounts { simple: 1_000, ..wrong });
}

#[test]
fn what_is_not_verified_is_right_all_the_same() {
    let expected = SinkCounts { complex: 1_000, c2_valid: 1_000, reset: 1_000, ..SinkCounts::default() };
    for options in ["-c 64 --verify none", "-c 64 --verify sample"] {
        assert_eq!(seen_of(1_000, options), expected, "{options}");
    }
}

#[test]
fn a_close_by_fin_is_no_reset() {
    let counts = seen_of(500, "-c 64 --close fin");
    assert_eq!(counts, SinkCounts { complex: 500, c2_valid: 500, ..SinkCounts::default() });
}

#[test]
fn attempts_that_give_up_are_abandoned() {
    let sink = SinkProcess::start("--delay 1h");
    let arguments = format!("{} -c 50 -n 100 --timeout 100ms", sink.address());
    let result = run_by(shakedown_command(), &arguments).ended_with(5);
    assert_eq!((result.attempts.completed, result.attempts.failed), (0, 100));
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.step, row.kind, row.side, row.count), (Step::S0, FailureKind::Timeout, Side::Target, 100));
    let counts = sink.counts();
    assert_eq!((counts.accepted, counts.complex, counts.abandoned, counts.reset), (100, 100, 100, 100));
}

#[test]
fn a_delayed_answer_is_waited_for() {
    let sink = SinkProcess::start("--delay 200ms");
    let result = run(&format!("{} -c 100 -n 300", sink.address()));
    assert_completed(&result, 300);
    let shortest = result.latency.get(Metric::S0s1).and_then(|summary| summary.min_ns);
    assert!(shortest >= Some(200_000_000), "{shortest:?}");
    assert_eq!(sink.counts().c2_valid, 300);
}
