//! The end of a run: what its workers left behind, put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Nanos, Time};
use crate::engine::Ends;
use crate::fleet::Outcome;
use crate::io::Engine;
use crate::measure::{Snapshot, Timeline};
use crate::observe::Observation;

use super::policy::Decided;
use crate::finding::{Finding, FindingCode};
use crate::run::assemble::ResultParts;
use crate::run::judging::watch::RunWatch;
use crate::run::plan::{Population, RunPlan};
use crate::run::prepare::Preparation;
use crate::run::result::environment;
use crate::run::result::{Event, Window, WorkerRow};

/// What is known when the load is over, beside what the workers measured.
pub(super) struct Ending {
    pub plan: Arc<RunPlan>,
    pub start: Time,
    pub started_at: String,
    pub decided: Decided,
    /// TCP counters before and after.
    pub network: (BTreeMap<String, u64>, BTreeMap<String, u64>),
    pub findings: Vec<Finding>,
    pub events: Vec<Event>,
    pub observation: Observation,
}

impl Ending {
    /// Merges what the workers left behind.
    pub(super) fn parts(
        mut self,
        outcomes: Vec<Outcome>,
        timeline: Timeline,
        windows: RunWatch,
        preparation: &Preparation,
    ) -> ResultParts {
        let mut snapshot = Snapshot::new(Arc::clone(preparation.layout()));
        let mut workers = Vec::new();
        let mut overflows = 0;
        // A worker that has nothing to do ends at once; its share of so short a time would say nothing.
        let wall_s = outcomes.iter().map(|outcome| outcome.wall_time).max().unwrap_or(Nanos::ZERO).as_secs_f64();
        for (index, outcome) in (0..).zip(&outcomes) {
            snapshot.merge(&outcome.snapshot);
            let cpu_time_ns = (self.plan.engine != Engine::Sim).then(|| outcome.cpu_time.as_u64());
            workers.push(WorkerRow {
                cpu_wait_percent: outcome.cpu_wait.map(|wait| wait.time.as_secs_f64() / wall_s.max(1e-9) * 100.0),
                cpu_wait_mean_ns: outcome.cpu_wait.map(|wait| wait.time.as_u64() / wait.times.max(1)),
                ..WorkerRow::new(index, outcome.cpu, &outcome.snapshot, cpu_time_ns, wall_s)
            });
            overflows += outcome.completion_overflows;
        }
        if overflows > 0 {
            self.findings.push(overflow_finding(overflows));
        }
        self.findings.extend(self.decided.finding());
        let (interrupted, interrupted_at) = self.decided.interrupted.unzip();
        let window = self.window(outcomes.iter().map(|outcome| outcome.ends));
        let load_end = (window.end_s() * 1e9).round() as u64;
        ResultParts {
            window,
            watched: windows.finish(Nanos::new(load_end)),
            held: outcomes.iter().map(|outcome| u64::from(outcome.ends.held.unwrap_or(0))).sum(),
            snapshot,
            timeline,
            started_at: self.started_at,
            environment: environment(self.plan.engine),
            labels: BTreeMap::new(),
            workers,
            network_before: self.network.0,
            network_after: self.network.1,
            findings: self.findings,
            events: self.events,
            observation: self.observation,
            ended_by: self.decided.trip.map(|trip| trip.text),
            interrupted,
            interrupted_at,
            plan: RunPlan::clone(&self.plan),
        }
    }

    /// The length of the load as it was: as planned, unless an order ended it or slots were lacking. Planned arrivals
    /// take the time up to the one that would have followed, so 300 of them at 100/s take 3 s. A closed loop that only
    /// its number of attempts bounds takes until the last of them is over.
    fn window(&self, workers: impl Iterator<Item = Ends> + Clone) -> Window {
        let planned = self.plan.length();
        let warmup = self.plan.warmup();
        let last = |end: fn(Ends) -> Option<Time>| {
            workers.clone().filter_map(end).max().map_or(planned, |end| end.since(self.start))
        };
        let load = last(|ends| ends.load);
        let closed = !self.plan.asked().any(Population::is_open_loop);
        let length = match (self.decided.ended_early, closed) {
            (true, _) => load,
            (false, true) => last(|ends| ends.drained),
            (false, false) => load.max(self.plan.paced_length()),
        }
        .min(planned);
        Window { duration_s: length.saturating_sub(warmup).as_secs_f64(), warmup_s: warmup.min(length).as_secs_f64() }
    }
}

fn overflow_finding(count: u64) -> Finding {
    Finding::warning(
        FindingCode::CqOverflow,
        format!("{count} completions did not fit into the completion queues and came late"),
        "give more workers (-t) or fewer slots (-c)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::LoadPlan;
    use crate::run::fixtures::{closed_plan, open_load, open_plan, stage};

    const START: Time = Time::from_nanos(5_000_000_000);

    /// A worker whose load and drain ended so many milliseconds after the start.
    fn worker(load_ms: u64, drained_ms: u64) -> Ends {
        let at = |ms| Some(START + Nanos::from_millis(ms));
        Ends { load: at(load_ms), drained: at(drained_ms), held: Some(0) }
    }

    /// The window's and the warm-up's length in seconds.
    fn window(plan: RunPlan, ended_early: bool, workers: &[Ends]) -> (f64, f64) {
        let ending = Ending {
            plan: Arc::new(plan),
            start: START,
            started_at: String::new(),
            decided: Decided { ended_early, ..Decided::default() },
            network: (BTreeMap::new(), BTreeMap::new()),
            findings: Vec::new(),
            events: Vec::new(),
            observation: Observation::default(),
        };
        let Window { duration_s, warmup_s } = ending.window(workers.iter().copied());
        (duration_s, warmup_s)
    }

    /// `duration_s` of 0 is none.
    fn open(from_per_s: f64, to_per_s: f64, duration_s: u64, attempts: Option<u64>, warmup_s: u64) -> RunPlan {
        let mut plan = open_plan();
        let mut stages = vec![stage("load", false, from_per_s, to_per_s, (duration_s > 0).then_some(duration_s))];
        if warmup_s > 0 {
            stages.insert(0, stage("warm-up", true, 10.0, 10.0, Some(warmup_s)));
        }
        plan.populations[0].lanes[0].load = open_load(stages, attempts);
        plan
    }

    fn closed(duration_s: Option<u64>, attempts: Option<u64>, warmup_s: u64) -> RunPlan {
        let mut plan = closed_plan();
        let nanos = |seconds: u64| seconds * 1_000_000_000;
        plan.populations[0].lanes[0].load = LoadPlan::closed(64, nanos(warmup_s), duration_s.map(nanos), attempts);
        plan
    }

    #[test]
    fn a_planned_load_takes_its_planned_time() {
        for (plan, workers, expected) in [
            // The last arrival comes before the end, and the last attempt may end after it.
            (open(100.0, 100.0, 3, None, 0), vec![worker(2_990, 9_000)], (3.0, 0.0)),
            (open(100.0, 100.0, 3, None, 0), vec![worker(2_980, 3_000), worker(2_990, 2_991)], (3.0, 0.0)),
            // A generator that was late does not make it longer.
            (open(100.0, 100.0, 3, None, 0), vec![worker(3_500, 3_600)], (3.0, 0.0)),
            (open(100.0, 100.0, 3, None, 2), vec![worker(4_990, 9_000)], (3.0, 2.0)),
            (open(0.0, 100.0, 3, None, 0), vec![worker(2_995, 9_000)], (3.0, 0.0)),
        ] {
            assert_eq!(window(plan.clone(), false, &workers), expected, "{plan:?}");
        }
    }

    #[test]
    fn a_number_of_planned_arrivals_takes_up_to_the_one_that_would_have_followed() {
        for (plan, workers, expected) in [
            (open(100.0, 100.0, 0, Some(300), 0), vec![worker(2_990, 9_000)], (3.0, 0.0)),
            (open(100.0, 100.0, 5, Some(300), 0), vec![worker(2_990, 9_000)], (3.0, 0.0)),
            (open(100.0, 100.0, 3, Some(301), 0), vec![worker(2_990, 9_000)], (3.0, 0.0)),
            (open(100.0, 100.0, 0, Some(1), 0), vec![worker(0, 1)], (0.01, 0.0)),
            (open(100.0, 100.0, 0, Some(300), 2), vec![worker(4_990, 9_000)], (3.0, 2.0)),
            // Half the way up a ramp a quarter of it is due.
            (open(0.0, 100.0, 4, Some(50), 0), vec![worker(1_990, 2_000)], (2.0, 0.0)),
            // Without a slot the last one started later.
            (open(100.0, 100.0, 0, Some(300), 0), vec![worker(7_000, 9_000)], (7.0, 0.0)),
        ] {
            assert_eq!(window(plan.clone(), false, &workers), expected, "{plan:?}");
        }
    }

    #[test]
    fn a_closed_loop_takes_its_time_or_until_the_last_of_its_number_is_over() {
        for (plan, workers, expected) in [
            (closed(Some(3), None, 0), vec![worker(3_000, 9_000)], (3.0, 0.0)),
            (closed(Some(3), None, 2), vec![worker(5_000, 9_000)], (3.0, 2.0)),
            (closed(None, Some(10), 0), vec![worker(1_000, 1_500), worker(1_200, 1_300)], (1.5, 0.0)),
            (closed(None, Some(10), 1), vec![worker(1_000, 1_500)], (0.5, 1.0)),
            (closed(Some(3), Some(10), 0), vec![worker(1_000, 1_500)], (1.5, 0.0)),
            (closed(Some(3), Some(10), 0), vec![worker(3_000, 3_500)], (3.0, 0.0)),
        ] {
            assert_eq!(window(plan.clone(), false, &workers), expected, "{plan:?}");
        }
    }

    #[test]
    fn a_load_that_an_order_ended_took_until_then() {
        let abandoned = Ends { drained: None, ..worker(1_500, 0) };
        for (plan, workers, expected) in [
            (open(100.0, 100.0, 3, None, 0), vec![worker(1_500, 2_000)], (1.5, 0.0)),
            (open(100.0, 100.0, 3, None, 0), vec![abandoned], (1.5, 0.0)),
            (open(100.0, 100.0, 0, Some(300), 0), vec![worker(1_500, 2_000)], (1.5, 0.0)),
            (open(100.0, 100.0, 3, None, 2), vec![worker(1_500, 2_000)], (0.0, 1.5)),
            (open(100.0, 100.0, 3, None, 0), vec![worker(0, 0)], (0.0, 0.0)),
            (closed(Some(3), None, 0), vec![worker(1_500, 2_000)], (1.5, 0.0)),
            (closed(None, Some(10), 0), vec![abandoned], (1.5, 0.0)),
        ] {
            assert_eq!(window(plan.clone(), true, &workers), expected, "{plan:?}");
        }
    }

    #[test]
    fn without_a_word_of_the_workers_the_plan_stands() {
        let broken = Ends::default();
        assert_eq!(window(open(100.0, 100.0, 3, None, 1), false, &[broken]), (3.0, 1.0));
    }
}
