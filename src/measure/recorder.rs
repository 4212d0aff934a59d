//! Where a worker puts what happens.

use std::fmt::{self, Write};
use std::sync::Arc;

use super::failure::{Failure, Side};
use super::histogram::LatencyHistogram;
use super::interval::{IntervalCounts, IntervalRecorder, IntervalReport};
use super::layout::RecorderLayout;
use super::pause::Pause;
use super::reaction::Reaction;
use super::sample::{Place, Sample};
use super::snapshot::{Attempts, Comeback, MediaCounts, ProbeOutcome, Snapshot};
use crate::base::{Nanos, Time};

/// One worker's record of the run: exact totals for the end, one report a second for the timeline.
///
/// After construction nothing is allocated while recording, except, once each and to a limit, the histograms of plans with
/// many stages or targets and the rows of backends, and an interval report when no spare has come back. The words of a
/// server that refuses are text, and cost what text costs.
///
/// Call [`roll`](Self::roll) first in every turn: what is recorded counts in the current interval, and an event later
/// than its end is a bug of the caller.
#[derive(Debug)]
pub struct Recorder {
    record: Snapshot,
    interval: IntervalRecorder,
    start: Time,
    /// Reused, so that telling backends apart allocates nothing.
    backend_name: String,
}

impl Recorder {
    /// A recorder for a run that starts at `start`.
    pub fn new(layout: Arc<RecorderLayout>, start: Time) -> Self {
        let report = IntervalReport::new(layout.populations.len()).with_watched(layout.watched.len());
        Self {
            record: Snapshot::new(layout),
            interval: IntervalRecorder::new(start, report),
            start,
            backend_name: String::new(),
        }
    }

    /// `count` arrivals of `stage` became due, seen at `at`.
    pub fn due(&mut self, stage: u16, count: u64, at: Time) {
        self.record.stage(stage).tally.counts.due += count;
        for counts in self.interval.at(at).counts(self.record.layout(), stage) {
            counts.due += count;
        }
    }

    /// An attempt started.
    pub fn started(&mut self, place: Place, at: Time) {
        self.record.stage(place.stage).tally.counts.started += 1;
        for tally in self.record.rows(place) {
            tally.counts.due += 1;
            tally.counts.started += 1;
        }
        for part in self.record.row_parts(place) {
            part.started += 1;
        }
        let report = self.interval.at(at);
        for counts in report.row_counts(self.record.layout(), place) {
            counts.due += 1;
            counts.started += 1;
        }
        for counts in report.counts(self.record.layout(), place.stage) {
            counts.started += 1;
        }
    }

    /// `count` due arrivals of `stage` will never start.
    pub fn dropped(&mut self, stage: u16, count: u64) {
        self.record.stage(stage).tally.counts.dropped += count;
        for counts in self.interval.current().counts(self.record.layout(), stage) {
            counts.dropped += count;
        }
    }

    /// An attempt completed.
    pub fn completed(&mut self, sample: &Sample) {
        self.record.completed(sample);
        self.ended(sample.place, sample.intended, sample.completed, true);
        self.interval.at(sample.completed).completed(self.record.layout(), sample);
    }

    /// An attempt that was `intended` (if planned) and started at `started` failed at `at`.
    pub fn failed(&mut self, place: Place, intended: Option<Time>, started: Time, at: Time, failure: Failure) {
        let since_start = at.since(self.start);
        // What is the generator's own says nothing of whether the target accepts.
        self.ended(place, intended.filter(|_| failure.side() != Side::Generator), at, false);
        let record = self.record.stage(place.stage);
        record.failures.count(failure, since_start);
        record.time_to_failure.get_or_insert_default().record(at.since(started));
        self.count(place, at, |counts| counts.failed += 1, |second| second.failed += 1);
    }

    /// The attempt of a hostile client ended with a reaction of the target. Call [`observed`](Self::observed) as well, or
    /// [`failed`](Self::failed) if the target was to do something else.
    pub fn reacted(&mut self, place: Place, reaction: &Reaction, as_expected: bool) {
        self.record.reacted(place, reaction, as_expected);
    }

    /// An attempt of a hostile client, `intended` (if planned), ended well at `at`.
    pub fn observed(&mut self, place: Place, intended: Option<Time>, at: Time) {
        self.ended(place, intended, at, true);
        self.count(place, at, |counts| counts.observed += 1, |_| {});
    }

    /// A client of a fleet is back, so long after the fleet lost its connections.
    pub fn back(&mut self, stage: u16, after: Nanos) {
        self.record.stage(stage).back.get_or_insert_with(LatencyHistogram::of_ages).record(after);
    }

    /// The stage of a fleet ended, and this was the state of its clients.
    pub fn fleet_ended(&mut self, stage: u16, clients: Vec<Comeback>) {
        self.record.stage(stage).comebacks = clients;
    }

    /// A backend that calls itself `name` accepted the `connect` of an attempt; says which one it is.
    pub fn accepted(&mut self, place: Place, name: fmt::Arguments<'_>) -> u16 {
        self.backend_name.clear();
        // Writing to a string cannot fail.
        let _ = self.backend_name.write_fmt(name);
        if self.backend_name.contains(char::is_control) {
            self.backend_name = printable(&self.backend_name);
        }
        let backend = self.record.backend(&self.backend_name);
        if let Some(tally) = self.record.backend_row(place.stage, backend) {
            tally.counts.due += 1;
            tally.counts.started += 1;
        }
        backend
    }

    /// The attempt that `backend` had accepted failed. Call [`failed`](Self::failed) as well.
    pub fn failed_at(&mut self, place: Place, backend: u16) {
        if let Some(tally) = self.record.backend_row(place.stage, backend) {
            tally.counts.failed += 1;
        }
    }

    /// What the server said about a failure. Call [`failed`](Self::failed) or [`lost_while_held`](Self::lost_while_held)
    /// as well.
    pub fn explain(&mut self, place: Place, failure: &Failure, text: &str) {
        self.record.stage(place.stage).failures.explain(failure.step, failure.kind, &printable(text));
    }

    /// TLS was established.
    pub fn secured(&mut self, place: Place, resumed: bool) {
        let counts = &mut self.record.stage(place.stage).tls;
        if resumed {
            counts.resumed += 1;
        } else {
            counts.full += 1;
        }
    }

    /// Audio and video sent and received.
    pub fn media(&mut self, place: Place) -> &mut MediaCounts {
        &mut self.record.stage(place.stage).media
    }

    /// The connection of a completed attempt is held from now on.
    pub fn kept(&mut self, place: Place, at: Time) {
        self.interval.held(1, at);
        self.count(place, at, |counts| counts.held += 1, |second| second.kept += 1);
    }

    /// A held connection is not held any more. If it was lost, call [`lost_while_held`](Self::lost_while_held) as well.
    pub fn released(&mut self, place: Place, at: Time) {
        self.interval.held(-1, at);
        let since_start = at.since(self.start);
        self.record.stage(place.stage).last_release = Some(since_start);
        self.count(place, at, |_| {}, |second| second.released += 1);
    }

    /// A completed attempt's connection was lost while it was held, `age` after it was complete. Call
    /// [`released`](Self::released) as well.
    pub fn lost_while_held(&mut self, place: Place, age: Nanos, at: Time, failure: Failure) {
        let since_start = at.since(self.start);
        let taken_back = u64::from(failure.is_taken_back());
        self.record.stage(place.stage).failures.count(failure, since_start);
        let total = |counts: &mut Attempts| {
            counts.lost_while_held += 1;
            counts.taken_back += taken_back;
        };
        let in_second = |second: &mut IntervalCounts| {
            second.lost += 1;
            second.taken_back += taken_back;
        };
        self.count(place, at, total, in_second);
        self.record.lost_age(age);
    }

    /// Something became of an attempt or its connection: counts it wherever the attempt is counted.
    fn count(
        &mut self,
        place: Place,
        at: Time,
        total: impl Fn(&mut Attempts),
        in_second: impl Fn(&mut IntervalCounts),
    ) {
        total(&mut self.record.stage(place.stage).tally.counts);
        for tally in self.record.rows(place) {
            total(&mut tally.counts);
        }
        let report = self.interval.at(at);
        for second in report.row_counts(self.record.layout(), place) {
            in_second(second);
        }
        for second in report.counts(self.record.layout(), place.stage) {
            in_second(second);
        }
    }

    /// A server announced something; what it said is kept. Says where, unless it said too many different things.
    pub fn announced(&mut self, place: Place, text: &str, at: Time) -> Option<u16> {
        let since_start = at.since(self.start);
        self.record.stage(place.stage).announcements.count(&printable(text), since_start)
    }

    /// What a server announced, by its place.
    pub fn announcement(&self, place: Place, index: u16) -> &str {
        self.record.stages()[usize::from(place.stage)].announcements.text(index)
    }

    /// An attempt came to its end.
    fn ended(&mut self, place: Place, intended: Option<Time>, at: Time, well: bool) {
        let start = self.start;
        let probe = self.record.layout().stages[usize::from(place.stage)].probe;
        let record = self.record.stage(place.stage);
        record.last_end = record.last_end.max(at.since(start));
        if probe && let Some(intended) = intended {
            let Place { target, client, .. } = place;
            record.probes.push(ProbeOutcome { intended: intended.since(start), target, client, completed: well });
        }
    }

    /// One turn of the worker: how long it took, and how much later than asked it woke.
    pub fn turn(&mut self, took: Nanos, oversleep: Nanos) {
        self.record.turn(took, oversleep);
    }

    /// The worker did not run from one instant to the other, though it had something to do. Comes before [`roll`](Self::roll):
    /// a pause may go through several intervals.
    pub fn paused(&mut self, from: Time, until: Time) {
        let pause = Pause { begin: from.since(self.start), length: until.since(from) };
        if pause.length >= Pause::LEAST {
            self.record.paused(pause);
            self.interval.paused(from, until);
        }
    }

    /// When the current interval ends.
    pub fn interval_end(&self) -> Time {
        self.interval.end()
    }

    /// The report of the current interval if that is over at `now`; call again until `None`: a worker that slept hands out
    /// every second.
    pub fn roll(&mut self, now: Time) -> Option<Box<IntervalReport>> {
        self.interval.roll(now)
    }

    /// Takes a used report back, to be filled again.
    pub fn give_spare(&mut self, spare: Box<IntervalReport>) {
        self.interval.give_spare(spare);
    }

    /// Connections held now.
    pub fn held_now(&self) -> u32 {
        self.interval.held_now()
    }

    /// Bytes that it takes at most: the histograms of all that can be recorded, those that are made on first use among
    /// them. Left out is what depends on the target's words: names of backends and reasons of refusals.
    pub fn memory(&self) -> usize {
        self.record.most_memory() + self.interval.memory()
    }

    /// The totals so far.
    pub fn snapshot(&self) -> &Snapshot {
        &self.record
    }

    /// Ends the recording at `now`: the totals, and the reports not handed out yet, the last of a part of a second.
    pub fn finish(mut self, now: Time) -> (Snapshot, Vec<Box<IntervalReport>>) {
        let mut reports: Vec<_> = std::iter::from_fn(|| self.roll(now)).collect();
        reports.push(self.interval.finish());
        (self.record, reports)
    }
}

/// A server's words without what a terminal would obey, and not for ever long.
fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    text.chars().take(LONGEST).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::failure::{FailureKind, Step};
    use super::super::layout::{StageInfo, WatchedRow};
    use super::super::sample::Until;
    use super::*;
    use crate::protocol::Negotiated;

    /// An attempt that took no time.
    fn at_once(place: Place, at: Time) -> Sample {
        Sample {
            place,
            intended: Some(at),
            slot_free: at,
            started: at,
            connected: at,
            secured: None,
            sent: at,
            s0s1: at,
            s2: at,
            session: None,
            completed: at,
            paused: Nanos::ZERO,
            negotiated: Negotiated::Simple,
        }
    }

    #[test]
    fn a_second_counts_each_population_and_all_of_them() {
        let stage = |population| StageInfo {
            population,
            name: "load".to_owned(),
            warmup: false,
            open_loop: true,
            probe: false,
            storm: false,
            until: Until::Handshake,
        };
        let layout = RecorderLayout {
            stages: vec![stage(0), stage(1), stage(1)],
            populations: vec!["encoders".to_owned(), "scanners".to_owned()],
            targets: vec!["a".to_owned()],
            clients: vec!["obs".to_owned()],
            hostile: Vec::new(),
            canary: None,
            watched: vec![WatchedRow::Stage(2), WatchedRow::Client(0), WatchedRow::Client(1)],
        };
        let mut recorder = Recorder::new(Arc::new(layout), Time::ZERO);
        let at = Time::from_nanos(5);
        let place = |stage| Place { stage, target: 0, client: 0 };
        recorder.due(0, 7, at);
        recorder.dropped(0, 6);
        recorder.started(place(1), at);
        recorder.started(place(2), at);
        recorder.failed(place(2), None, at, at, Failure::new(Step::S0, FailureKind::Reset));
        recorder.completed(&at_once(place(1), at));
        let report = recorder.roll(Time::from_nanos(1_000_000_000)).unwrap();
        let encoders = IntervalCounts { due: 7, dropped: 6, ..IntervalCounts::default() };
        let scanners = IntervalCounts { started: 2, completed: 1, failed: 1, ..IntervalCounts::default() };
        assert_eq!(*report.populations, [encoders, scanners]);
        // Two arrivals of the client have started; nothing became due in the stage, and the other client has none.
        let stage = IntervalCounts { started: 1, failed: 1, ..IntervalCounts::default() };
        let client = IntervalCounts { due: 2, started: 2, completed: 1, failed: 1, ..IntervalCounts::default() };
        assert_eq!(report.totals, IntervalCounts { due: 7, dropped: 6, ..client });
        assert_eq!(*report.watched, [stage, client, IntervalCounts::default()]);
        assert_eq!(report.response.len(), 1);
    }

    #[test]
    fn a_canary_is_in_no_sum() {
        let stage = |population| StageInfo {
            population,
            name: "load".to_owned(),
            warmup: population == 1,
            open_loop: true,
            probe: false,
            storm: false,
            until: Until::Handshake,
        };
        let layout = RecorderLayout {
            stages: vec![stage(0), stage(1)],
            populations: vec!["encoders".to_owned(), "canary".to_owned()],
            targets: vec!["a".to_owned()],
            clients: vec!["obs".to_owned()],
            hostile: Vec::new(),
            canary: Some(1),
            watched: vec![WatchedRow::Target(0)],
        };
        let mut recorder = Recorder::new(Arc::new(layout), Time::ZERO);
        let at = Time::from_nanos(5);
        let place = Place { stage: 1, target: 0, client: 0 };
        recorder.due(1, 2, at);
        for _ in 0..2 {
            recorder.started(place, at);
        }
        recorder.failed(place, Some(at), at, at, Failure::new(Step::S0, FailureKind::Reset));
        recorder.completed(&at_once(place, at));
        let report = recorder.roll(Time::from_nanos(1_000_000_000)).unwrap();
        let canary = IntervalCounts { due: 2, started: 2, completed: 1, failed: 1, ..IntervalCounts::default() };
        assert_eq!(*report.populations, [IntervalCounts::default(), canary]);
        assert_eq!((report.totals, report.watched[0]), Default::default());
        assert_eq!((report.response.len(), report.lateness.len()), (0, 0));
    }
}
