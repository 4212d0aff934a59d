//! Reported latencies beside those of a packet capture of the same run.

use crate::support::CapturedRun;

/// Whether they are close is a question to a quiet machine: `cargo bench --bench latency`. Cause and effect hold on any:
/// an attempt starts before its SYN is sent and is complete when S2 has come, not before.
#[test]
fn no_reported_latency_is_shorter_than_what_was_on_the_wire() {
    let run = CapturedRun::record("-R 500/s -n 300");
    assert_eq!(run.captured.len(), 300);
    for compared in run.compare() {
        let name = compared.name;
        assert_eq!((compared.reported.count, compared.captured.len()), (300, 300), "{name}");
        let percentiles = compared.percentiles();
        assert_eq!(percentiles.iter().map(|at| at.name).collect::<Vec<_>>(), ["p50", "p90"], "{name}");
        assert!(percentiles.is_sorted_by_key(|at| at.reported_ns), "{name}: {percentiles:?}");
        assert!(percentiles.is_sorted_by_key(|at| at.captured_ns), "{name}: {percentiles:?}");
        for at in percentiles {
            assert!(0 < at.captured_ns && at.captured_ns <= at.reported_ns, "{name}: {at:?}");
        }
    }
}
