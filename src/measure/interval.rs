//! What one worker saw in one second.

use hdrhistogram::Histogram;

use super::histogram::{bytes_of, new_histogram};
use super::layout::{RecorderLayout, WatchedRow};
use super::sample::{Metric, Place, Sample};
use super::sparse::DIGITS;
use crate::base::table::counts;
use crate::base::{Nanos, Time};

/// Most spare reports a recorder keeps; more are dropped.
const SPARES: usize = 4;

/// What one worker saw in one whole second of the run. Travels to the control thread and back as a spare.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalReport {
    /// Whole seconds since the run's start.
    pub index: u32,
    /// Counts of all populations together, the canary's left out.
    pub totals: IntervalCounts,
    /// The same by population, in the order of the layout.
    pub populations: Box<[IntervalCounts]>,
    /// The same of what conditions ask about, in the order of the layout.
    pub watched: Box<[IntervalCounts]>,
    /// How much of it the worker did not run, though it had something to do.
    pub paused: Nanos,
    /// Connections held at its end.
    pub held: u32,
    /// Most connections held at once, by 10 ms.
    pub held_max: [u32; Self::BUCKETS],
    /// Response times of the attempts that completed in it, two significant digits, nanoseconds.
    pub response: Histogram<u64>,
    /// How much of that was the generator's own, likewise: lateness, and pauses on the way.
    pub lateness: Histogram<u64>,
}

counts! {
    /// What happened to arrivals and attempts in an interval.
    pub struct IntervalCounts {
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
        /// Connections that began to be held in it.
        pub kept: u64,
        /// Connections held until then, for whatever reason they are not any more.
        pub released: u64,
        /// Of those the ones that were lost.
        pub lost: u64,
        /// Of the lost those that the server took back in words ([`Failure::is_taken_back`](super::Failure::is_taken_back)).
        pub taken_back: u64,
    }
}

/// The recorder's current interval and the reports waiting to be used again.
#[derive(Debug)]
pub(super) struct IntervalRecorder {
    start: Time,
    end: Time,
    current: Box<IntervalReport>,
    #[allow(clippy::vec_box, reason = "a report changes threads by its pointer")]
    spares: Vec<Box<IntervalReport>>,
    /// Connections held now.
    held: u32,
    /// The latest pause of the worker, which may go on into the next intervals.
    pause: (Time, Time),
    /// The first bucket that `held` was not carried into.
    next_bucket: usize,
}

impl IntervalReport {
    /// The length of an interval.
    pub const LENGTH: Nanos = Nanos::from_secs(1);
    /// Buckets of `held_max`.
    pub const BUCKETS: usize = 100;
    /// The length of a bucket of `held_max`.
    pub const BUCKET_LENGTH: Nanos = Nanos::from_millis(10);

    /// An empty report of a run with `populations` populations.
    pub fn new(populations: usize) -> Self {
        Self {
            index: 0,
            totals: IntervalCounts::default(),
            populations: vec![IntervalCounts::default(); populations].into(),
            watched: Box::default(),
            paused: Nanos::ZERO,
            held: 0,
            held_max: [0; Self::BUCKETS],
            response: new_histogram(DIGITS),
            lateness: new_histogram(DIGITS),
        }
    }

    /// The same with counts of so many further rows.
    pub fn with_watched(self, rows: usize) -> Self {
        Self { watched: vec![IntervalCounts::default(); rows].into(), ..self }
    }

    /// Bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        let counts = size_of_val(&*self.populations) + size_of_val(&*self.watched);
        size_of::<Self>() + counts + bytes_of(&self.response) + bytes_of(&self.lateness)
    }

    /// Empties the report for its next use, without allocating.
    pub fn clear(&mut self) {
        self.response.reset();
        self.lateness.reset();
        self.paused = Nanos::ZERO;
        (self.index, self.held, self.held_max) = (0, 0, [0; Self::BUCKETS]);
        self.totals = IntervalCounts::default();
        self.populations.fill(IntervalCounts::default());
        self.watched.fill(IntervalCounts::default());
    }

    /// The counts that something in `stage` changes: of all, of its population, and its own if it is watched.
    pub(super) fn counts<'a>(
        &'a mut self,
        layout: &'a RecorderLayout,
        stage: u16,
    ) -> impl Iterator<Item = &'a mut IntervalCounts> {
        let totals = (!layout.is_canary(stage)).then_some(&mut self.totals);
        let population = &mut self.populations[usize::from(layout.population_of(stage))];
        let watched = layout.watched.iter().zip(&mut self.watched);
        let own = watched.filter(move |(row, _)| **row == WatchedRow::Stage(stage)).map(|(_, counts)| counts);
        totals.into_iter().chain([population]).chain(own)
    }

    /// The counts of the target and of the client of `place`, where they are watched. The canary has no part in them.
    pub(super) fn row_counts<'a>(
        &'a mut self,
        layout: &'a RecorderLayout,
        place: Place,
    ) -> impl Iterator<Item = &'a mut IntervalCounts> {
        let asked = !layout.is_canary(place.stage);
        let is_row = move |row| row == WatchedRow::Target(place.target) || row == WatchedRow::Client(place.client);
        let watched = layout.watched.iter().zip(&mut self.watched);
        watched.filter(move |(row, _)| asked && is_row(**row)).map(|(_, counts)| counts)
    }

    /// Counts one completed attempt.
    pub(super) fn completed(&mut self, layout: &RecorderLayout, sample: &Sample) {
        for counts in self.row_counts(layout, sample.place) {
            counts.completed += 1;
        }
        for counts in self.counts(layout, sample.place.stage) {
            counts.completed += 1;
        }
        if layout.is_canary(sample.place.stage) {
            return;
        }
        if let Some(response) = sample.span(Metric::Response) {
            self.response.saturating_record(response.as_u64());
        }
        if let Some(lateness) = sample.span(Metric::Lateness) {
            self.lateness.saturating_record((lateness + sample.paused).as_u64());
        }
    }
}

impl IntervalCounts {
    /// Connections held at its end, of so many `before` it.
    pub fn held_after(&self, before: u64) -> u64 {
        (before + self.kept).saturating_sub(self.released)
    }
}

impl IntervalRecorder {
    /// A recorder that fills reports like `report`, which is empty.
    pub(super) fn new(start: Time, report: IntervalReport) -> Self {
        let mut spares = Vec::with_capacity(SPARES);
        spares.push(Box::new(report.clone()));
        Self {
            start,
            end: start + IntervalReport::LENGTH,
            current: Box::new(report),
            spares,
            held: 0,
            pause: (Time::ZERO, Time::ZERO),
            next_bucket: 0,
        }
    }

    /// Bytes of the reports at hand.
    pub(super) fn memory(&self) -> usize {
        self.current.memory() + self.spares.iter().map(|spare| spare.memory()).sum::<usize>()
    }

    /// The report that counts what happens now.
    pub(super) fn current(&mut self) -> &mut IntervalReport {
        &mut self.current
    }

    /// The report that counts what happened at `at`: an event seen late counts in the second it was seen in.
    pub(super) fn at(&mut self, at: Time) -> &mut IntervalReport {
        debug_assert!(at < self.end, "roll() comes before what happened in the next interval");
        &mut self.current
    }

    pub(super) fn held_now(&self) -> u32 {
        self.held
    }

    /// When the current interval ends.
    pub(super) fn end(&self) -> Time {
        self.end
    }

    /// The worker did not run from one instant to the other.
    pub(super) fn paused(&mut self, from: Time, until: Time) {
        self.pause = (from, until);
        self.count_pause();
    }

    /// Counts what of the latest pause lies in the current interval.
    fn count_pause(&mut self) {
        let (from, until) = self.pause;
        self.current.paused += until.min(self.end).since(from.max(self.start));
    }

    /// Changes the number of held connections at `at`.
    pub(super) fn held(&mut self, change: i32, at: Time) {
        debug_assert!(at < self.end, "roll() comes before what happened in the next interval");
        let offset = at.since(self.start).as_u64() / IntervalReport::BUCKET_LENGTH.as_u64();
        let bucket = (offset as usize).min(IntervalReport::BUCKETS - 1);
        self.carry_held_through(bucket);
        self.held = self.held.checked_add_signed(change).expect("no more connections are released than were held");
        self.current.held_max[bucket] = self.current.held_max[bucket].max(self.held);
    }

    /// The filled report, if the current interval ends at or before `now`.
    pub(super) fn roll(&mut self, now: Time) -> Option<Box<IntervalReport>> {
        if now < self.end {
            return None;
        }
        // Without a spare the control thread is more than a second behind: one allocation, off the fast path.
        let mut next = self.spares.pop().unwrap_or_else(|| {
            let like = &self.current;
            Box::new(IntervalReport::new(like.populations.len()).with_watched(like.watched.len()))
        });
        next.index = self.current.index + 1;
        self.close();
        self.start = self.end;
        self.end += IntervalReport::LENGTH;
        self.next_bucket = 0;
        let filled = std::mem::replace(&mut self.current, next);
        self.count_pause();
        Some(filled)
    }

    pub(super) fn give_spare(&mut self, mut spare: Box<IntervalReport>) {
        if self.spares.len() < SPARES {
            spare.clear();
            self.spares.push(spare);
        }
    }

    /// The last report, of an interval that is not over yet.
    pub(super) fn finish(mut self) -> Box<IntervalReport> {
        self.close();
        self.current
    }

    fn close(&mut self) {
        self.carry_held_through(IntervalReport::BUCKETS - 1);
        self.current.held = self.held;
    }

    /// The connections held now were held in every bucket since the last change, up to and including `bucket`.
    fn carry_held_through(&mut self, bucket: usize) {
        while self.next_bucket <= bucket {
            self.current.held_max[self.next_bucket] = self.held;
            self.next_bucket += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn held_connections_are_carried_from_bucket_to_bucket() {
        let mut recorder = IntervalRecorder::new(Time::from_nanos(7 * MS), IntervalReport::new(1));
        let at = |ms: u64| Time::from_nanos((7 + ms) * MS);
        recorder.held(3, at(12));
        recorder.held(-2, at(15));
        recorder.held(4, at(999));
        assert!(recorder.roll(at(999)).is_none());
        let report = recorder.roll(at(1_000)).unwrap();
        assert_eq!(report.held_max[0], 0);
        assert_eq!(report.held_max[1], 3);
        assert!(report.held_max[2..99].iter().all(|held| *held == 1));
        assert_eq!((report.held_max[99], report.held), (5, 5));
        recorder.held(-5, at(1_500));
        let report = recorder.finish();
        assert_eq!(report.index, 1);
        assert!(report.held_max[..=50].iter().all(|held| *held == 5));
        assert!(report.held_max[51..].iter().all(|held| *held == 0));
    }

    #[test]
    fn a_worker_that_slept_hands_out_every_second() {
        let mut recorder = IntervalRecorder::new(Time::ZERO, IntervalReport::new(1));
        recorder.held(2, Time::from_nanos(1));
        let reports: Vec<_> = std::iter::from_fn(|| recorder.roll(Time::from_nanos(3_500 * MS))).collect();
        assert_eq!(reports.iter().map(|report| report.index).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(reports.iter().all(|report| report.held == 2));
        assert_eq!(recorder.current().index, 3);
    }

    #[test]
    fn a_pause_counts_in_every_second_that_it_goes_through() {
        let mut recorder = IntervalRecorder::new(Time::ZERO, IntervalReport::new(1));
        let at = |ms: u64| Time::from_nanos(ms * MS);
        recorder.paused(at(100), at(200));
        recorder.paused(at(400), at(2_300));
        let reports: Vec<_> = std::iter::from_fn(|| recorder.roll(at(3_500))).collect();
        let paused = reports.iter().map(|report| report.paused).collect::<Vec<_>>();
        assert_eq!(paused, [700, 1_000, 300].map(Nanos::from_millis));
        assert_eq!(recorder.current().paused, Nanos::ZERO);
    }

    #[test]
    fn a_spare_comes_back_empty() {
        let mut recorder = IntervalRecorder::new(Time::ZERO, IntervalReport::new(1));
        recorder.current().totals.due = 5;
        recorder.current().populations[0].due = 5;
        recorder.current().response.saturating_record(9);
        recorder.held(1, Time::from_nanos(1));
        for second in 1..4 {
            let used = recorder.roll(Time::from_nanos(second * 1_000 * MS)).unwrap();
            recorder.give_spare(used);
        }
        let mut expected = IntervalReport::new(1);
        expected.index = 3;
        assert_eq!(*recorder.current(), expected);
    }
}
