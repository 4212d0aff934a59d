//! A run against the built-in sink, recorded by tcpdump: what it reports beside what was on the wire.

use std::fs::File;

use hdrhistogram::Histogram;
use shakedown::fleet::allowed_cpus;
use shakedown::inspect::{Skipped, StepTimes, step_times};
use shakedown::measure::{LatencySummary, Metric};
use shakedown::run::RunResult;
use tempfile::NamedTempFile;

use super::capture::Capture;
use super::run_command::run;
use super::sink_process::SinkProcess;

/// The result of a run, and its handshakes as they were captured.
pub struct CapturedRun {
    pub result: RunResult,
    pub captured: Vec<StepTimes>,
    /// The CPU of the sink's only worker.
    pub sink_cpu: u32,
}

/// A span as the run reports it, and as it was on the wire: never more than what the run reports, which begins before the
/// first packet is sent and ends after the last one came.
pub struct Compared<'a> {
    pub name: &'static str,
    /// From which packet to which.
    pub on_the_wire: &'static str,
    pub reported: &'a LatencySummary,
    /// In nanoseconds, to five significant digits.
    pub captured: Histogram<u64>,
}

/// The same percentile of both.
#[derive(Clone, Copy, Debug)]
pub struct Percentile {
    pub name: &'static str,
    pub reported_ns: u64,
    pub captured_ns: u64,
}

impl Percentile {
    /// How much more the run reports.
    pub fn excess_ns(&self) -> i64 {
        self.reported_ns.cast_signed() - self.captured_ns.cast_signed()
    }
}

impl Compared<'_> {
    /// Those that the number of samples supports.
    pub fn percentiles(&self) -> Vec<Percentile> {
        let LatencySummary { p50_ns, p90_ns, p99_ns, p999_ns, .. } = *self.reported;
        [("p50", 0.5, p50_ns), ("p90", 0.9, p90_ns), ("p99", 0.99, p99_ns), ("p99.9", 0.999, p999_ns)]
            .into_iter()
            .filter_map(|(name, quantile, reported)| {
                let captured_ns = self.captured.value_at_quantile(quantile);
                Some(Percentile { name, reported_ns: reported?, captured_ns })
            })
            .collect()
    }
}

impl CapturedRun {
    /// Runs `load`, flags separated by spaces, by one worker. The sink has the last allowed CPU.
    pub fn record(load: &str) -> Self {
        let sink_cpu = *allowed_cpus().last().expect("a process may use a CPU");
        let sink = SinkProcess::start(&format!("--workers 1 --cpus {sink_cpu}"));
        let port = sink.address().port();
        let capture = Capture::start_on_headers(port);
        let result = run(&format!("{} --workers 1 {load}", sink.address()));
        let file = NamedTempFile::new().expect("a temporary file");
        capture.save(file.path());
        let times = step_times(File::open(file.path()).expect("the capture is there"), port);
        assert!(times.damage.is_none(), "{:?}", times.damage);
        // Another process may speak UDP on that port.
        let Skipped { packets, ref other_packets, .. } = times.skipped;
        let understood = Skipped { packets, other_packets: other_packets.clone(), ..Skipped::default() };
        assert_eq!(times.skipped, understood, "all of the capture is understood");
        Self { result, captured: times.handshakes, sink_cpu }
    }

    /// The spans that both know.
    ///
    /// # Panics
    /// Unless all attempts completed and each of them is in the capture.
    pub fn compare(&self) -> [Compared<'_>; 3] {
        let attempts = &self.result.attempts;
        assert_eq!(attempts.completed, attempts.due, "an attempt failed: {:?}", self.result.failures);
        assert_eq!(self.captured.len() as u64, attempts.completed, "handshakes in the capture");
        let latency = &self.result.latency;
        let rows: [(_, _, _, Span); 3] = [
            ("service", "SYN to S2", latency.get(Metric::Service), |at| at.s2_ns?.checked_sub(at.syn_ns?)),
            ("connect", "SYN to SYN-ACK", latency.get(Metric::Connect), |at| at.syn_ack_ns?.checked_sub(at.syn_ns?)),
            ("s2", "C0C1 to S2", latency.get(Metric::S2), |at| at.s2_ns?.checked_sub(at.c0c1_ns?)),
        ];
        rows.map(|(name, on_the_wire, reported, span)| Compared {
            name,
            on_the_wire,
            reported: reported.expect("each completed handshake has it"),
            captured: histogram(self.captured.iter().map(span)),
        })
    }
}

type Span = fn(&StepTimes) -> Option<u64>;

fn histogram(spans: impl Iterator<Item = Option<u64>>) -> Histogram<u64> {
    let mut histogram = Histogram::new(5).expect("five digits are the finest resolution");
    for span in spans {
        histogram.record(span.expect("each step is in the capture")).expect("it grows as needed");
    }
    histogram
}
