//! The run second by second, all workers together.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::histogram::Quantile;
use super::interval::{IntervalCounts, IntervalReport};

/// Merges the workers' interval reports by their second; workers may be out of step.
///
/// It keeps at most [`MAX_ROWS`](Self::MAX_ROWS) rows: a longer run doubles the interval and joins rows two by two.
#[derive(Clone, Debug)]
pub struct Timeline {
    workers: u32,
    /// Seconds in a row.
    width_s: u32,
    rows: Vec<Row>,
    /// Simultaneously held connections by 10 ms, for the seconds that not every worker has reported yet.
    open_seconds: BTreeMap<u32, HeldSums>,
    /// The most in any second that every worker has reported.
    held_peak: u64,
}

/// One row of the timeline in a result file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineRow {
    /// Its beginning, whole seconds since the run's start.
    pub t_s: u32,
    /// Arrivals that became due.
    pub due: u64,
    /// Attempts started.
    pub started: u64,
    /// Attempts that ended complete in it.
    pub completed: u64,
    /// Attempts that failed in it.
    pub failed: u64,
    /// Arrivals given up in it.
    pub dropped: u64,
    /// Connections held at its end.
    pub held: u64,
    /// Median response time; like every percentile null unless at least 10 samples lie above it, and in closed loop.
    pub response_p50_ns: Option<u64>,
    /// 99th percentile of the response time.
    pub response_p99_ns: Option<u64>,
    /// 99th percentile of the lateness.
    pub lateness_p99_ns: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    counts: IntervalCounts,
    /// Held at the end of the latest second reported in this row, and that second.
    held: u64,
    held_second: u32,
    response: SparseCounts,
    lateness: SparseCounts,
}

#[derive(Clone, Debug)]
struct HeldSums {
    reports: u32,
    sums: Box<[u64; IntervalReport::BUCKETS]>,
}

/// The occupied buckets of a histogram, by value: a row has a few hundred of 4 000, and there are thousands of rows.
#[derive(Clone, Debug, Default)]
struct SparseCounts(Vec<(u64, u64)>);

impl Timeline {
    /// Most rows kept.
    pub const MAX_ROWS: usize = 3_600;

    /// A timeline of the reports of `workers` workers.
    pub fn new(workers: u32) -> Self {
        Self { workers, width_s: 1, rows: Vec::new(), open_seconds: BTreeMap::new(), held_peak: 0 }
    }

    /// Adds one worker's report of one second. A worker reports a second once.
    pub fn add(&mut self, report: &IntervalReport) {
        self.add_held(report);
        while (report.index / self.width_s) as usize >= Self::MAX_ROWS {
            self.double_width();
        }
        let index = (report.index / self.width_s) as usize;
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, Row::default);
        }
        self.rows[index].add(report);
    }

    /// Seconds in a row.
    pub fn width_s(&self) -> u32 {
        self.width_s
    }

    /// The most connections held at once: the maximum over 10 ms buckets of the sum over workers.
    pub fn held_peak(&self) -> u64 {
        let open = self.open_seconds.values().map(HeldSums::max).max().unwrap_or(0);
        self.held_peak.max(open)
    }

    /// The rows so far, from the run's start.
    pub fn rows(&self) -> Vec<TimelineRow> {
        let t_s = (0..).step_by(self.width_s as usize);
        t_s.zip(&self.rows).map(|(t_s, row)| row.to_result(t_s)).collect()
    }

    /// The latest second that every worker has reported, for a progress line; `None` before the first.
    pub fn latest(&self) -> Option<TimelineRow> {
        let reported = match self.open_seconds.first_key_value() {
            Some((second, _)) => *second / self.width_s,
            None => self.rows.len() as u32,
        };
        let index = reported.checked_sub(1)?;
        Some(self.rows.get(index as usize)?.to_result(index * self.width_s))
    }

    fn add_held(&mut self, report: &IntervalReport) {
        let second = self.open_seconds.entry(report.index).or_default();
        second.reports += 1;
        for (sum, held) in second.sums.iter_mut().zip(report.held_max) {
            *sum += u64::from(held);
        }
        if second.reports == self.workers {
            self.held_peak = self.held_peak.max(second.max());
            self.open_seconds.remove(&report.index);
        }
    }

    fn double_width(&mut self) {
        self.width_s *= 2;
        self.rows =
            self.rows.chunks(2).map(|pair| pair.iter().cloned().reduce(Row::join).unwrap_or_default()).collect();
    }
}

impl Row {
    fn add(&mut self, report: &IntervalReport) {
        self.counts += report.totals;
        if report.index > self.held_second {
            (self.held, self.held_second) = (0, report.index);
        }
        if report.index == self.held_second {
            self.held += u64::from(report.held);
        }
        self.response.add(&SparseCounts::from(&report.response));
        self.lateness.add(&SparseCounts::from(&report.lateness));
    }

    /// This row and the one after it.
    fn join(mut self, next: Self) -> Self {
        self.counts += next.counts;
        (self.held, self.held_second) = (next.held, next.held_second);
        self.response.add(&next.response);
        self.lateness.add(&next.lateness);
        self
    }

    fn to_result(&self, t_s: u32) -> TimelineRow {
        TimelineRow {
            t_s,
            due: self.counts.due,
            started: self.counts.started,
            completed: self.counts.completed,
            failed: self.counts.failed,
            dropped: self.counts.dropped,
            held: self.held,
            response_p50_ns: self.response.at(Quantile::P50),
            response_p99_ns: self.response.at(Quantile::P99),
            lateness_p99_ns: self.lateness.at(Quantile::P99),
        }
    }
}

impl HeldSums {
    fn max(&self) -> u64 {
        self.sums.iter().copied().max().unwrap_or(0)
    }
}

impl Default for HeldSums {
    fn default() -> Self {
        Self { reports: 0, sums: Box::new([0; IntervalReport::BUCKETS]) }
    }
}

impl SparseCounts {
    fn at(&self, quantile: Quantile) -> Option<u64> {
        let count: u64 = self.0.iter().map(|(_, count)| count).sum();
        let rank = quantile.rank(count)?;
        let mut below = 0;
        self.0.iter().find_map(|(value, count)| {
            below += count;
            (below >= rank).then_some(*value)
        })
    }

    fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable_by_key(|(value, _)| *value);
        self.0.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            kept.1 += if same { later.1 } else { 0 };
            same
        });
    }
}

impl From<&Histogram<u64>> for SparseCounts {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self(histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::new_histogram;
    use super::*;
    use proptest::prelude::*;

    fn report(index: u32, responses: impl IntoIterator<Item = u64>) -> IntervalReport {
        let mut report = IntervalReport { index, ..IntervalReport::new(1) };
        for response in responses {
            report.counts(0).into_iter().for_each(|counts| counts.completed += 1);
            report.response.saturating_record(response);
        }
        report
    }

    #[test]
    fn workers_out_of_step_meet_in_their_second() {
        let mut timeline = Timeline::new(2);
        timeline.add(&report(0, 1..=15));
        timeline.add(&report(1, [7]));
        timeline.add(&report(2, []));
        assert_eq!(timeline.latest(), None);
        timeline.add(&report(0, 16..=20));
        assert_eq!(timeline.latest().unwrap().t_s, 0);
        let rows = timeline.rows();
        assert_eq!(rows.iter().map(|row| (row.t_s, row.completed)).collect::<Vec<_>>(), [(0, 20), (1, 1), (2, 0)]);
        // 20 samples support the median and nothing above.
        assert_eq!((rows[0].response_p50_ns, rows[0].response_p99_ns), (Some(10), None));
        assert_eq!(rows[1].response_p50_ns, None);
    }

    #[test]
    fn the_held_peak_is_the_maximum_of_the_sum_not_the_sum_of_maxima() {
        let mut timeline = Timeline::new(2);
        let mut first = report(0, []);
        (first.held_max[3], first.held_max[4], first.held) = (10, 1, 1);
        let mut second = report(0, []);
        (second.held_max[4], second.held) = (10, 2);
        timeline.add(&first);
        assert_eq!(timeline.held_peak(), 10, "a second not yet reported by all counts too");
        timeline.add(&second);
        assert_eq!(timeline.held_peak(), 11);
        assert_eq!(timeline.rows()[0].held, 3);
    }

    #[test]
    fn a_long_run_doubles_the_interval() {
        let mut timeline = Timeline::new(1);
        for second in 0..Timeline::MAX_ROWS as u32 + 1 {
            let mut report = report(second, 1..=10);
            (report.totals.due, report.held) = (u64::from(second), second);
            timeline.add(&report);
        }
        let rows = timeline.rows();
        assert_eq!((timeline.width_s(), rows.len()), (2, Timeline::MAX_ROWS / 2 + 1));
        assert_eq!((rows[5].t_s, rows[5].due, rows[5].completed, rows[5].held), (10, 10 + 11, 20, 11));
        assert_eq!(rows[5].response_p50_ns, Some(5), "joined rows have the percentiles of their joint samples");
        assert_eq!(rows[1_800].completed, 10);
        assert_eq!(rows.iter().map(|row| row.completed).sum::<u64>(), 36_010);
    }

    #[test]
    fn a_late_report_of_a_joined_row_does_not_change_what_is_held_at_its_end() {
        let mut timeline = Timeline::new(2);
        let held = |index, held| IntervalReport { held, ..report(index, []) };
        timeline.add(&held(7_199, 5));
        timeline.add(&held(7_198, 9));
        assert_eq!(timeline.rows().last().unwrap().held, 5);
    }

    proptest! {
        #[test]
        fn sparse_percentiles_are_the_histograms(responses in prop::collection::vec(0..60_000_000_000_u64, 0..2_000)) {
            let mut histogram = new_histogram(2);
            responses.iter().for_each(|response| histogram.saturating_record(*response));
            let sparse = SparseCounts::from(&histogram);
            for quantile in [Quantile::P50, Quantile::P90, Quantile::P99] {
                prop_assert_eq!(sparse.at(quantile), quantile.of(&histogram).map(|value| value.as_u64()));
            }
        }
    }
}
