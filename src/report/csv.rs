//! Tables for spreadsheets: comma-separated, with a heading; numbers in the units of their names, nothing where there is
//! no value. No cell is taken for a formula, for the only text that may come from others begins with a quotation mark where it
//! could be one.

use csv::Writer;
use serde::Serialize;

use crate::capacity::{CapacityResult, TrialRow};
use crate::finding::FindingCode;
use crate::measure::{LatencySummary, Metric};
use crate::run::{LatencyTable, RunResult};

/// The timeline of a run: a row for each of the result file's.
pub fn timeline(result: &RunResult) -> String {
    written(&TIMELINE, result.timeline.iter())
}

/// The latencies of a run: a row for each metric.
pub fn latency(result: &RunResult) -> String {
    written(&LATENCY, rows(&result.latency))
}

/// The trials of a capacity search: a row for each, in their order.
pub fn trials(result: &CapacityResult) -> String {
    written(&TRIALS, result.trials.iter().map(Trial::of))
}

const TIMELINE: [&str; 11] = [
    "t_s",
    "due",
    "started",
    "completed",
    "failed",
    "dropped",
    "paused_ns",
    "held",
    "response_p50_ns",
    "response_p99_ns",
    "lateness_p99_ns",
];
const LATENCY: [&str; 13] = [
    "metric", "count", "overflow", "min_ns", "mean_ns", "stdev_ns", "p50_ns", "p90_ns", "p95_ns", "p99_ns", "p999_ns",
    "p9999_ns", "max_ns",
];
const TRIALS: [&str; 26] = [
    "begin_s",
    "purpose",
    "rate_per_s",
    "duration_s",
    "ended_early",
    "took_s",
    "attempts",
    "lost",
    "late",
    "failed",
    "waiting",
    "backlog_growth",
    "valid",
    "exceeds",
    "completed_per_s",
    "response_p50_ns",
    "response_p95_ns",
    "response_p99_ns",
    "response_p999_ns",
    "lateness_p99_ns",
    "busiest_worker_percent",
    "target_percent",
    "workers",
    "sources",
    "slots",
    "limited",
];

/// A metric's numbers, in the order of [`LATENCY`].
type LatencyRow<'a> = (String, u64, u64, [Option<u64>; 10]);

fn rows(latency: &LatencyTable) -> impl Iterator<Item = LatencyRow<'_>> {
    let measured = Metric::ALL.into_iter().filter_map(|metric| Some((metric, latency.get(metric)?)));
    measured.map(|(metric, summary): (Metric, &LatencySummary)| {
        let numbers = [
            summary.min_ns,
            summary.mean_ns,
            summary.stdev_ns,
            summary.p50_ns,
            summary.p90_ns,
            summary.p95_ns,
            summary.p99_ns,
            summary.p999_ns,
            summary.p9999_ns,
            summary.max_ns,
        ];
        (metric.to_string(), summary.count, summary.overflow, numbers)
    })
}

/// A trial without its lists, in the order of [`TRIALS`].
#[derive(Serialize)]
struct Trial {
    begin_s: f64,
    purpose: crate::capacity::TrialPurpose,
    rate_per_s: f64,
    duration_s: f64,
    ended_early: bool,
    took_s: f64,
    attempts: u64,
    lost: u64,
    late: u64,
    failed: u64,
    waiting: u64,
    backlog_growth: f64,
    valid: bool,
    exceeds: bool,
    completed_per_s: f64,
    response_p50_ns: Option<u64>,
    response_p95_ns: Option<u64>,
    response_p99_ns: Option<u64>,
    response_p999_ns: Option<u64>,
    lateness_p99_ns: Option<u64>,
    busiest_worker_percent: Option<f64>,
    target_percent: Option<f64>,
    workers: u32,
    sources: u32,
    slots: u32,
    limited: Option<FindingCode>,
}

impl Trial {
    fn of(row: &TrialRow) -> Self {
        Self {
            begin_s: row.begin_s,
            purpose: row.purpose,
            rate_per_s: row.rate_per_s,
            duration_s: row.duration_s,
            ended_early: row.ended_early,
            took_s: row.took_s,
            attempts: row.attempts,
            lost: row.lost,
            late: row.late,
            failed: row.failed,
            waiting: row.waiting,
            backlog_growth: row.backlog_growth,
            valid: row.valid,
            exceeds: row.exceeds,
            completed_per_s: row.completed_per_s,
            response_p50_ns: row.response_p50_ns,
            response_p95_ns: row.response_p95_ns,
            response_p99_ns: row.response_p99_ns,
            response_p999_ns: row.response_p999_ns,
            lateness_p99_ns: row.lateness_p99_ns,
            busiest_worker_percent: row.busiest_worker_percent,
            target_percent: row.target_percent,
            workers: row.workers,
            sources: row.sources,
            slots: row.slots,
            limited: row.limited,
        }
    }
}

/// The heading, also above no rows, and the rows.
fn written<R: Serialize>(heading: &[&str], rows: impl Iterator<Item = R>) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let write = |writer: &mut Writer<Vec<u8>>| {
        writer.write_record(heading)?;
        rows.into_iter().try_for_each(|row| writer.serialize(row))
    };
    write(&mut writer).expect("a Vec takes every row, and all rows have the heading's columns");
    String::from_utf8(writer.into_inner().expect("a Vec takes all")).expect("CSV of texts is text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Failure, FailureKind, Step};
    use crate::run::fixtures::{closed_result, open_result};

    #[test]
    fn a_timeline_has_a_row_for_each_second() {
        insta::assert_snapshot!(timeline(&open_result(&[])), @r"
        t_s,due,started,completed,failed,dropped,paused_ns,held,response_p50_ns,response_p99_ns,lateness_p99_ns
        0,999,999,999,0,0,0,0,501759,,
        1,1001,991,981,10,10,0,0,1490943,,
        ");
    }

    #[test]
    fn latencies_have_a_row_for_each_metric_that_exists() {
        insta::assert_snapshot!(latency(&open_result(&[])), @r"
        metric,count,overflow,min_ns,mean_ns,stdev_ns,p50_ns,p90_ns,p95_ns,p99_ns,p999_ns,p9999_ns,max_ns
        response,1980,0,1000,990504,571575,990207,1782783,1881087,1961983,,,1980415
        service,1980,0,1000,990504,571575,990207,1782783,1881087,1961983,,,1980415
        connect,1980,0,0,495004,285788,495103,891391,940031,980479,,,990207
        s0s1,1980,0,1000,495504,285788,495103,891391,941055,981503,,,990207
        s2,1980,0,1000,495504,285788,495103,891391,941055,981503,,,990207
        slot_wait,1980,0,0,0,0,0,0,0,0,,,0
        lateness,1980,0,0,0,0,0,0,0,0,,,0
        ");
        let closed = closed_result(&[], Failure::new(Step::S0, FailureKind::Reset), None);
        assert!(!latency(&closed).contains("response"));
    }

    #[test]
    fn without_rows_there_is_the_heading() {
        let mut result = open_result(&[]);
        result.timeline.clear();
        assert_eq!(timeline(&result).lines().collect::<Vec<_>>(), [TIMELINE.join(",")]);
    }
}
