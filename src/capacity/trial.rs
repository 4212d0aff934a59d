//! One trial: a run, and what it says about the target.

pub mod runner;
pub mod shape;

use std::ops::ControlFlow;

use crate::base::Nanos;
use crate::finding::{FindingCode, Severity};
use crate::fleet::Progress;
use crate::measure::{CompletedSecond, Metric, Side, Step};
use crate::observe::Usage;
use crate::run::{FailureRow, Notice, ResultParts, RunPlan, RunResult, Watch};
use crate::search::TrialRequest;

use crate::capacity::audience::{Audience, TrialProgress};
use crate::capacity::error::CapacityError;
use crate::capacity::result::{TrialPurpose, TrialRow};
use crate::capacity::trial::runner::Runner;

/// A trial that is over.
#[derive(Debug)]
pub struct Trial {
    /// It as it goes into the capacity file.
    pub row: TrialRow,
    /// It as a run.
    pub result: RunResult,
    /// A signal or a condition of its own ended it early: it is no trial.
    pub cut_short: bool,
    /// Of those that were late: how many the generator itself may have made so.
    pub own_late: u64,
}

/// What became of the attempts of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that count.
    pub attempts: u64,
    /// Completed too late.
    pub late: u64,
    /// Failed for a reason of the target, the way, or of nobody known.
    pub failed: u64,
    /// Waited for a slot for longer than the deadline.
    pub waiting: u64,
}

/// A trial to be run.
pub struct TrialOrder {
    /// It has a planned rate.
    pub plan: RunPlan,
    /// What it is for.
    pub purpose: TrialPurpose,
    /// What completes later is lost.
    pub deadline: Nanos,
    /// What a search asks of it: it ends as soon as that is settled.
    pub request: Option<TrialRequest>,
}

/// Codes of findings that make the generator the limit of a trial.
const LIMITS: [FindingCode; 4] =
    [FindingCode::LocalErrors, FindingCode::LateStarts, FindingCode::PoolTooSmall, FindingCode::MissedStarts];
/// A delay of the generator that is shorter, or shorter than a tenth of the deadline, spoils nothing.
const LEAST_DELAY: Nanos = Nanos::from_millis(5);

/// Runs `plan`, which has a planned rate, and judges it by `deadline`.
///
/// # Errors
/// If it cannot be run at all.
pub fn run_trial(
    runner: &mut Runner,
    audience: &mut impl Audience,
    plan: RunPlan,
    purpose: TrialPurpose,
    deadline: Nanos,
) -> Result<Trial, CapacityError> {
    run_order(runner, audience, TrialOrder { plan, purpose, deadline, request: None })
}

/// Carries out `order`.
///
/// # Errors
/// If it cannot be run at all.
pub fn run_order(runner: &mut Runner, audience: &mut impl Audience, order: TrialOrder) -> Result<Trial, CapacityError> {
    let TrialOrder { plan, purpose, deadline, request } = order;
    let begin = runner.elapsed();
    let (length, rate_per_s) = (plan.length(), intended_per_s(&plan));
    let samples = Vec::new();
    let mut watch =
        Sampler { audience, purpose, rate_per_s, length, deadline, samples, request, lost: 0, settled: false };
    let loaded = runner.run(plan, &mut watch)?;
    let (samples, settled) = (watch.samples, watch.settled);
    let parts = loaded.ran.parts;
    let late = late_attempts(&parts, deadline);
    let own_late = delayed_attempts(&parts, deadline).min(late);
    let result = RunResult::assemble(parts);
    let counts = Counts::of(&result, late, deadline, rate_per_s);
    let limit = result.generator.findings.iter().find(|finding| LIMITS.contains(&finding.code));
    let response = result.latency.get(Metric::Response);
    let row = TrialRow {
        purpose,
        begin_s: begin.as_secs_f64(),
        rate_per_s,
        duration_s: result.window.duration_s,
        ended_early: settled && result.window.duration_s < length.as_secs_f64(),
        took_s: loaded.took.as_secs_f64(),
        attempts: counts.attempts,
        lost: counts.lost(),
        late: counts.late,
        failed: counts.failed,
        waiting: counts.waiting,
        backlog_growth: backlog_growth(&samples, Nanos::from_secs_f64(result.window.duration_s), counts.attempts),
        valid: limit.is_none() || !result.generator.limited,
        exceeds: false,
        completed_per_s: completed_in_time(&result),
        response_p50_ns: response.and_then(|summary| summary.p50_ns),
        response_p95_ns: response.and_then(|summary| summary.p95_ns),
        response_p99_ns: response.and_then(|summary| summary.p99_ns),
        response_p999_ns: response.and_then(|summary| summary.p999_ns),
        lateness_p99_ns: result.latency.get(Metric::Lateness).and_then(|summary| summary.p99_ns),
        busiest_worker_percent: busiest_worker(&result),
        target_percent: target_cpu(&result),
        workers: result.plan.workers,
        sources: result.plan.sources.len() as u32,
        slots: result.plan.concurrency(),
        limited: limit.filter(|_| result.generator.limited).map(|finding| finding.code),
        failures: result.failures.clone(),
    };
    // A signal between two trials is seen by neither of them.
    let interrupted = result.interrupted.is_some() || runner.interrupted().is_some();
    let cut_short = interrupted || result.ended_by.is_some();
    Ok(Trial { row, result, cut_short, own_late })
}

impl Trial {
    /// The generator was late itself, or stood still, and whether the target met a goal hangs on it: the trial says nothing.
    pub fn spoil(&mut self) {
        let paused = self.result.generator.findings.iter().any(|finding| finding.code == FindingCode::GeneratorPaused);
        self.row.valid = false;
        self.row.limited = Some(if paused { FindingCode::GeneratorPaused } else { FindingCode::LateStarts });
    }

    /// The generator's limit in one sentence, if it was the limit.
    pub fn limit(&self) -> Option<String> {
        let code = self.row.limited?;
        let finding = self.result.generator.findings.iter().find(|finding| finding.code == code);
        let late = || format!("{} attempts started late although slots were free", self.own_late);
        Some(finding.map_or_else(late, |finding| finding.message.clone()))
    }
}

impl Counts {
    /// The counts of a run of which so many completed later than the deadline.
    fn of(result: &RunResult, late: u64, deadline: Nanos, rate_per_s: f64) -> Self {
        let attempts = &result.attempts;
        let own = |failure: &&FailureRow| failure.side == Side::Generator && failure.step != Step::Hold;
        let own: u64 = result.failures.iter().filter(own).map(|failure| failure.count).sum();
        // The last arrivals of all: those that had waited for less than the deadline when the load ended say nothing.
        let young = ((rate_per_s * deadline.as_secs_f64()).ceil() as u64).min(attempts.dropped);
        Self {
            attempts: attempts.due.saturating_sub(own + young + attempts.in_flight),
            late,
            failed: attempts.failed.saturating_sub(own),
            waiting: attempts.dropped - young,
        }
    }

    /// Those that the target did not serve in time.
    pub fn lost(&self) -> u64 {
        (self.late + self.failed + self.waiting).min(self.attempts)
    }
}

/// Completed attempts whose response took longer than the deadline.
fn late_attempts(parts: &ResultParts, deadline: Nanos) -> u64 {
    let measured = parts.snapshot.measured();
    let response = measured.tally.latencies.get(Metric::Response);
    response.map_or(0, |histogram| histogram.count_between(Nanos::new(deadline.as_u64() + 1), Nanos::MAX))
}

/// Completed attempts that the generator itself delayed: it started them late, or stood still while they were in flight.
fn delayed_attempts(parts: &ResultParts, deadline: Nanos) -> u64 {
    let measured = parts.snapshot.measured();
    let delayed = [Metric::Lateness, Metric::Paused].into_iter().filter_map(|own| measured.tally.latencies.get(own));
    delayed.map(|histogram| histogram.count_between(least_delay(deadline), Nanos::MAX)).sum()
}

fn least_delay(deadline: Nanos) -> Nanos {
    LEAST_DELAY.max(Nanos::new(deadline.as_u64() / 10))
}

/// Completed a second while the load lasted: what completes while the last attempts drain is no throughput.
fn completed_in_time(result: &RunResult) -> f64 {
    let whole = result.window.duration_s.floor();
    let within = result.timeline.iter().filter(|row| f64::from(row.t_s) + 1.0 <= whole);
    let completed: u64 = within.map(|row| row.completed).sum();
    if whole >= 1.0 { completed as f64 / whole } else { result.rate.completed_per_s }
}

/// Arrivals a second of all populations.
fn intended_per_s(plan: &RunPlan) -> f64 {
    plan.asked().filter_map(|population| population.peak_per_s()).sum()
}

/// Busy share of the busiest worker.
pub fn busiest_worker(result: &RunResult) -> Option<f64> {
    result.workers.iter().filter_map(|worker| worker.cpu_busy_percent).reduce(f64::max)
}

/// CPU of the observed target that was nearest to its limit while the load ran.
fn target_cpu(result: &RunResult) -> Option<f64> {
    let (from_s, to_s) = (result.window.warmup_s, result.window.end_s());
    let busiest = result.observed.iter().filter_map(|observed| {
        let usage = Usage::between(observed, from_s, to_s);
        usage.busiest_thread_percent.or(usage.busiest_cpu_percent).or(usage.cpu_percent)
    });
    busiest.reduce(f64::max)
}

/// By how much the floor of what is in flight or waiting rose from the first quarter of the load to its last one, as a
/// share of the attempts. The floor: a stall lifts the backlog for a moment, an overload for good.
fn backlog_growth(samples: &[(Nanos, u64)], length: Nanos, attempts: u64) -> f64 {
    let quarter = length.as_u64() / 4;
    let floor = |from: u64, to: u64| {
        let within = samples.iter().filter(|(at, _)| (from..to).contains(&at.as_u64()));
        within.map(|(_, backlog)| *backlog).min()
    };
    let (first, last) = (floor(0, quarter), floor(3 * quarter, 4 * quarter));
    first.zip(last).map_or(0.0, |(first, last)| (last as f64 - first as f64) / attempts.max(1) as f64)
}

/// Follows the backlog, and shows the progress.
struct Sampler<'a, A> {
    audience: &'a mut A,
    purpose: TrialPurpose,
    rate_per_s: f64,
    length: Nanos,
    deadline: Nanos,
    samples: Vec<(Nanos, u64)>,
    /// What the search had asked for, if it did.
    request: Option<TrialRequest>,
    /// Failed or late, in the seconds that all workers have reported.
    lost: u64,
    settled: bool,
}

impl<A: Audience> Watch for Sampler<'_, A> {
    fn progress(&mut self, progress: &Progress, elapsed: Nanos) {
        // What was published when nothing had begun is of no instant of the load.
        if elapsed < self.length && progress.due > 0 {
            let over = progress.completed + progress.failed + progress.dropped;
            self.samples.push((elapsed, progress.due.saturating_sub(over)));
        }
        let Self { purpose, rate_per_s, length, .. } = *self;
        self.audience.progress(TrialProgress { purpose, rate_per_s, elapsed, length }, progress);
    }

    fn second(&mut self, second: &CompletedSecond) -> ControlFlow<()> {
        let late = second.response.count_above(self.deadline.as_u64());
        let own = second.lateness.count_above(least_delay(self.deadline).as_u64());
        self.lost += second.totals.failed + late.saturating_sub(own);
        let elapsed = Nanos::from_secs(u64::from(second.index) + 1);
        self.settled |= self.request.is_some_and(|request| request.is_settled(elapsed, self.lost));
        if self.settled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn notice(&mut self, notice: &Notice) {
        self.audience.notice(notice);
    }
}

/// The more serious findings of a run, which belong to the whole search.
pub fn serious(result: &RunResult) -> impl Iterator<Item = &crate::finding::Finding> {
    result.generator.findings.iter().filter(|finding| finding.severity >= Severity::Warning)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::base::Seed;
    use crate::capacity::trial::shape::{Load, Shape, rate};
    use crate::fleet::Topology;
    use crate::io::Engine;
    use crate::measure::{Failure, FailureKind};
    use crate::run::fixtures::OpenRun;
    use crate::scenario::{Machine, Request};
    use crate::search::Purpose;

    /// Nobody.
    struct Deaf;

    impl Audience for Deaf {
        fn say(&mut self, _line: &str) {}
        fn progress(&mut self, _: TrialProgress, _: &Progress) {}
        fn notice(&mut self, _: &Notice) {}
        fn trial(&mut self, _row: &TrialRow) {}
    }

    /// A decision of 8 s at so many a second on a server that serves 1 000.
    fn decision(rate_per_s: f64, may_lose: f64) -> Trial {
        let machine = Machine { topology: Topology::of_cpus([0]), cores: 1, descriptors: 1 << 20, ports: 28_232 };
        let asked = Request {
            targets: vec!["queue.sim:1935".parse().unwrap()],
            engine: Some(Engine::Sim),
            seed: Some(Seed::new(1)),
            ..Request::default()
        };
        let (deadline, duration) = (Nanos::from_millis(50), Nanos::from_secs(8));
        let lookup = |_: &str, port| Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))]);
        let shape = Shape::new(asked, machine, &lookup, deadline).unwrap();
        let plan = shape.plan(Load::Rate(rate(rate_per_s), duration)).unwrap();
        let request = TrialRequest { rate_per_s, duration, purpose: Purpose::Decide, goal: 0, may_lose };
        let mut runner = Runner::simulated(Arc::default());
        let order = TrialOrder { plan, purpose: TrialPurpose::Decide, deadline, request: Some(request) };
        run_order(&mut runner, &mut Deaf, order).unwrap()
    }

    #[test]
    fn an_overload_is_ended_once_it_is_certain() {
        let overload = decision(1_200.0, 0.005).row;
        assert!(overload.ended_early);
        // 200 of 1 200 a second pile up: 50 ms of them are there after 0.3 s, a tenth of 9 600 attempts is late 1 s later.
        assert!((2.0..2.1).contains(&overload.duration_s) && overload.attempts <= 2_500, "{overload:?}");
        assert!(overload.lost > 960 && overload.backlog_growth > 0.05 && overload.valid, "{overload:?}");
        let sustained = decision(900.0, 0.005).row;
        assert_eq!((sustained.ended_early, sustained.duration_s, sustained.lost), (false, 8.0, 0));
        let allowed = decision(1_200.0, 1.0).row;
        assert_eq!((allowed.ended_early, allowed.duration_s), (false, 8.0));
    }

    fn samples(backlogs: &[u64]) -> Vec<(Nanos, u64)> {
        (0..).zip(backlogs).map(|(at, backlog)| (Nanos::from_millis(at), *backlog)).collect()
    }

    #[test]
    fn a_backlog_grows_by_its_floor() {
        let growth = |backlogs: &[u64]| backlog_growth(&samples(backlogs), Nanos::from_millis(8), 100);
        assert_eq!(growth(&[5, 6, 9, 9, 9, 9, 15, 16]), 0.1);
        assert_eq!(growth(&[5, 90, 5, 5, 5, 5, 90, 5]), 0.0, "a stall");
        assert_eq!(growth(&[9, 9, 5, 5, 5, 5, 4, 4]), -0.05);
        assert_eq!(growth(&[]), 0.0);
    }

    #[test]
    fn what_was_still_waiting_within_the_deadline_does_not_count() {
        let reset = Failure::new(Step::S0, FailureKind::Reset);
        let run = OpenRun { failure: reset, dropped: 70, ..OpenRun::default() };
        let result = run.result(&[]);
        // 1 000 a second: of 70 that never started, 50 had waited for less than 50 ms.
        let counts = Counts::of(&result, 3, Nanos::from_millis(50), 1_000.0);
        assert_eq!((counts.waiting, counts.failed, counts.late), (20, result.attempts.failed, 3));
        assert_eq!(counts.attempts, result.attempts.due - 50);
        assert_eq!(counts.lost(), 23 + result.attempts.failed);
    }

    #[test]
    fn failures_of_the_generator_are_no_attempts() {
        let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts);
        let result = OpenRun { failure: no_ports, dropped: 0, ..OpenRun::default() }.result(&[]);
        let counts = Counts::of(&result, 0, Nanos::from_millis(50), 1_000.0);
        assert_eq!(counts, Counts { attempts: result.attempts.due - result.attempts.failed, ..Counts::default() });
    }
}
