//! The run second by second, all workers together.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::histogram::Quantile;
use super::interval::{IntervalCounts, IntervalReport};
use super::sparse::{SparseCounts, StoredCounts};
use crate::base::Nanos;

/// Merges the workers' interval reports by their second; workers may be out of step.
///
/// It keeps at most [`MAX_ROWS`](Self::MAX_ROWS) rows: a longer run doubles the interval and joins rows two by two.
#[derive(Clone, Debug)]
pub struct Timeline {
    workers: u32,
    /// Seconds in a row.
    width_s: u32,
    rows: Vec<Row>,
    /// The seconds that not every worker has reported yet.
    open_seconds: BTreeMap<u32, OpenSecond>,
    /// The last second of each worker that has ended.
    ended: Vec<u32>,
    /// The seconds to be taken; `None` if nobody asked for them.
    completed: Option<VecDeque<CompletedSecond>>,
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
    /// How long the worker that paused longest did not run in it, though it had something to do.
    #[serde(default)]
    pub paused_ns: u64,
    /// Connections held at its end.
    pub held: u64,
    /// Median response time; like every percentile null unless at least 10 samples lie above it, and in closed loop.
    pub response_p50_ns: Option<u64>,
    /// 99th percentile of the response time.
    pub response_p99_ns: Option<u64>,
    /// 99th percentile of the generator's own part of it: lateness, and pauses on the way.
    pub lateness_p99_ns: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    counts: IntervalCounts,
    /// Of the seconds that every worker has reported.
    paused: Nanos,
    /// Held at the end of the latest second reported in this row, and that second.
    held: u64,
    held_second: u32,
    response: StoredCounts,
    lateness: StoredCounts,
}

/// One second of the run, all workers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedSecond {
    /// Whole seconds since the run's start.
    pub index: u32,
    /// Counts of all populations together, the canary's left out.
    pub totals: IntervalCounts,
    /// The same by population, in the order of the layout.
    pub populations: Box<[IntervalCounts]>,
    /// The same of what conditions ask about, in the order of the layout.
    pub watched: Box<[IntervalCounts]>,
    /// How long the worker that paused longest did not run in it, though it had something to do.
    pub paused: Nanos,
    /// Response times of the attempts that completed in it, two significant digits, nanoseconds.
    pub response: SparseCounts,
    /// How much of that was the generator's own, likewise: lateness, and pauses on the way.
    pub lateness: SparseCounts,
}

#[derive(Clone, Debug)]
struct OpenSecond {
    reports: u32,
    /// Of the worker that paused longest.
    paused: Nanos,
    /// Simultaneously held connections by 10 ms.
    held: Box<[u64; IntervalReport::BUCKETS]>,
    /// What is handed out, if anything is.
    sum: Option<CompletedSecond>,
}

impl Timeline {
    /// Most rows kept.
    pub const MAX_ROWS: usize = 3_600;

    /// A timeline of the reports of `workers` workers.
    pub fn new(workers: u32) -> Self {
        Self {
            workers,
            width_s: 1,
            rows: Vec::new(),
            open_seconds: BTreeMap::new(),
            ended: Vec::new(),
            completed: None,
            held_peak: 0,
        }
    }

    /// Keeps every second that is complete until [`take_completed`](Self::take_completed) takes it.
    pub fn with_seconds(self) -> Self {
        Self { completed: Some(VecDeque::new()), ..self }
    }

    /// The seconds that every worker has reported and that were not taken yet, in order and without gaps. None without
    /// [`with_seconds`](Self::with_seconds); with it, take them about once a second: they wait in memory.
    pub fn take_completed(&mut self) -> impl Iterator<Item = CompletedSecond> {
        self.completed.iter_mut().flat_map(|completed| completed.drain(..))
    }

    /// A worker reports nothing after second `last`: later seconds are complete without it.
    pub fn worker_ended(&mut self, last: u32) {
        self.ended.push(last);
        self.complete_seconds();
    }

    /// Adds one worker's report of one second. A worker reports every second once, in order.
    pub fn add(&mut self, report: &IntervalReport) {
        let response = SparseCounts::from(&report.response);
        self.add_to_second(report, &response);
        while (report.index / self.width_s) as usize >= Self::MAX_ROWS {
            self.double_width();
        }
        let index = (report.index / self.width_s) as usize;
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, Row::default);
        }
        self.rows[index].add(report, &response);
        self.complete_seconds();
    }

    /// Seconds in a row.
    pub fn width_s(&self) -> u32 {
        self.width_s
    }

    /// The most connections held at once: the maximum over 10 ms buckets of the sum over workers.
    pub fn held_peak(&self) -> u64 {
        let open = self.open_seconds.values().map(OpenSecond::held_peak).max().unwrap_or(0);
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

    fn add_to_second(&mut self, report: &IntervalReport, response: &SparseCounts) {
        let handed_out = self.completed.is_some();
        let second = self.open_seconds.entry(report.index).or_insert_with(|| OpenSecond::new(report, handed_out));
        second.reports += 1;
        second.paused = second.paused.max(report.paused);
        for (sum, held) in second.held.iter_mut().zip(report.held_max) {
            *sum += u64::from(held);
        }
        if let Some(sum) = &mut second.sum {
            sum.totals += report.totals;
            let rows = sum.populations.iter_mut().chain(&mut sum.watched);
            for (sum, counts) in rows.zip(report.populations.iter().chain(&report.watched)) {
                *sum += *counts;
            }
            sum.paused = second.paused;
            sum.response.add(response);
            sum.lateness.add(&SparseCounts::from(&report.lateness));
        }
    }

    /// Closes the seconds that have all their reports. Workers report in order, so seconds become complete in order.
    fn complete_seconds(&mut self) {
        while let Some(second) = self.open_seconds.first_entry() {
            let ended_before = self.ended.iter().filter(|last| *last < second.key()).count() as u32;
            if second.get().reports + ended_before < self.workers {
                return;
            }
            let (index, second) = second.remove_entry();
            self.held_peak = self.held_peak.max(second.held_peak());
            if let Some(row) = self.rows.get_mut((index / self.width_s) as usize) {
                row.paused += second.paused;
                // Nothing more comes to a row after its last second.
                if (index + 1).is_multiple_of(self.width_s) {
                    row.pack();
                }
            }
            if let Some(completed) = &mut self.completed {
                completed.extend(second.sum);
            }
        }
    }

    fn double_width(&mut self) {
        self.width_s *= 2;
        let joined = self.rows.chunks(2).map(|pair| {
            let mut row = pair.iter().cloned().reduce(Row::join).unwrap_or_default();
            row.pack();
            row
        });
        self.rows = joined.collect();
    }
}

impl Row {
    fn add(&mut self, report: &IntervalReport, response: &SparseCounts) {
        self.counts += report.totals;
        if report.index > self.held_second {
            (self.held, self.held_second) = (0, report.index);
        }
        if report.index == self.held_second {
            self.held += u64::from(report.held);
        }
        self.response.add(response);
        self.lateness.add(&SparseCounts::from(&report.lateness));
    }

    /// This row and the one after it.
    fn join(mut self, next: Self) -> Self {
        self.counts += next.counts;
        self.paused += next.paused;
        (self.held, self.held_second) = (next.held, next.held_second);
        self.response.add(&next.response.counts());
        self.lateness.add(&next.lateness.counts());
        self
    }

    fn pack(&mut self) {
        self.response.pack();
        self.lateness.pack();
    }

    fn to_result(&self, t_s: u32) -> TimelineRow {
        let response = self.response.counts();
        TimelineRow {
            t_s,
            due: self.counts.due,
            started: self.counts.started,
            completed: self.counts.completed,
            failed: self.counts.failed,
            dropped: self.counts.dropped,
            paused_ns: self.paused.as_u64(),
            held: self.held,
            response_p50_ns: response.at(Quantile::P50),
            response_p99_ns: response.at(Quantile::P99),
            lateness_p99_ns: self.lateness.counts().at(Quantile::P99),
        }
    }
}

impl OpenSecond {
    /// The second of `report`, before that is added.
    fn new(report: &IntervalReport, handed_out: bool) -> Self {
        let sum = || CompletedSecond {
            index: report.index,
            totals: IntervalCounts::default(),
            populations: vec![IntervalCounts::default(); report.populations.len()].into(),
            watched: vec![IntervalCounts::default(); report.watched.len()].into(),
            paused: Nanos::ZERO,
            response: SparseCounts::default(),
            lateness: SparseCounts::default(),
        };
        Self {
            reports: 0,
            paused: Nanos::ZERO,
            held: Box::new([0; IntervalReport::BUCKETS]),
            sum: handed_out.then(sum),
        }
    }

    fn held_peak(&self) -> u64 {
        self.held.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(index: u32, responses: impl IntoIterator<Item = u64>) -> IntervalReport {
        let mut report = IntervalReport { index, ..IntervalReport::new(1) };
        for response in responses {
            report.totals.completed += 1;
            report.populations[0].completed += 1;
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
    fn rows_are_packed_when_their_last_second_is_complete() {
        let packed = |timeline: &Timeline| {
            let of_row = |row: &Row| matches!(row.response, StoredCounts::Packed(_));
            timeline.rows.iter().map(of_row).collect::<Vec<_>>()
        };
        let mut timeline = Timeline::new(2);
        timeline.add(&report(0, [1]));
        timeline.add(&report(1, [2]));
        assert_eq!(packed(&timeline), [false, false]);
        timeline.add(&report(0, [3]));
        assert_eq!(packed(&timeline), [true, false]);
        timeline.worker_ended(0);
        assert_eq!(packed(&timeline), [true, true]);
    }

    #[test]
    fn a_late_report_of_a_joined_row_does_not_change_what_is_held_at_its_end() {
        let mut timeline = Timeline::new(2);
        let held = |index, held| IntervalReport { held, ..report(index, []) };
        timeline.add(&held(7_199, 5));
        timeline.add(&held(7_198, 9));
        assert_eq!(timeline.rows().last().unwrap().held, 5);
    }

    #[test]
    fn a_row_paused_as_long_as_the_worker_that_paused_longest() {
        let mut timeline = Timeline::new(2);
        for (index, millis) in [(0, 300), (0, 500), (1, 200), (1, 0)] {
            timeline.add(&IntervalReport { paused: Nanos::from_millis(millis), ..report(index, []) });
        }
        let paused: Vec<u64> = timeline.rows().iter().map(|row| row.paused_ns).collect();
        assert_eq!(paused, [500_000_000, 200_000_000]);
    }

    /// Indices and completions of the seconds that can be taken.
    fn taken(timeline: &mut Timeline) -> Vec<(u32, u64, u64)> {
        let numbers = |second: CompletedSecond| (second.index, second.totals.completed, second.response.count());
        timeline.take_completed().map(numbers).collect()
    }

    #[test]
    fn a_second_is_handed_out_once_every_worker_has_reported_it() {
        let mut timeline = Timeline::new(2).with_seconds();
        timeline.add(&report(0, [1, 2]));
        timeline.add(&report(1, [3]));
        assert_eq!(taken(&mut timeline), []);
        timeline.add(&report(0, [4]));
        assert_eq!(taken(&mut timeline), [(0, 3, 3)]);
        assert_eq!(taken(&mut timeline), []);
        timeline.add(&report(1, []));
        timeline.add(&report(2, []));
        timeline.add(&report(2, [5, 6]));
        assert_eq!(taken(&mut timeline), [(1, 1, 1), (2, 2, 2)]);
    }

    #[test]
    fn a_second_has_the_counts_of_its_populations_and_of_what_is_watched() {
        let mut timeline = Timeline::new(2).with_seconds();
        for due in [[3, 4], [10, 20]] {
            let mut report = IntervalReport::new(2).with_watched(2);
            for (counts, due) in report.populations.iter_mut().chain(&mut report.watched).zip(due.repeat(2)) {
                counts.due = due;
            }
            timeline.add(&report);
        }
        let second = timeline.take_completed().next().unwrap();
        for rows in [&second.populations, &second.watched] {
            assert_eq!(rows.iter().map(|counts| counts.due).collect::<Vec<_>>(), [13, 24]);
        }
    }

    #[test]
    fn workers_that_have_ended_are_not_waited_for() {
        let mut timeline = Timeline::new(3).with_seconds();
        timeline.add(&report(0, []));
        timeline.worker_ended(0);
        timeline.add(&report(0, [1]));
        timeline.add(&report(1, [2]));
        timeline.add(&report(0, [3]));
        assert_eq!(taken(&mut timeline), [(0, 2, 2)]);
        timeline.add(&report(1, [4]));
        timeline.add(&report(2, [5]));
        assert_eq!(taken(&mut timeline), [(1, 2, 2)]);
        assert_eq!(timeline.latest().unwrap().t_s, 1);
        timeline.worker_ended(1);
        assert_eq!(taken(&mut timeline), [(2, 1, 1)]);
    }

    #[test]
    fn nothing_waits_where_nobody_takes() {
        let mut timeline = Timeline::new(1);
        timeline.add(&report(0, [1]));
        assert_eq!(taken(&mut timeline), []);
    }
}
