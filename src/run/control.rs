//! The control thread of a run on sockets: signals, progress, early ends, and the result's parts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;

use crate::base::{Nanos, Time};
use crate::doctor::MachineFacts;
use crate::engine::Ends;
use crate::fleet::{Fleet, LaunchError, Order, Outcome, Prepared, Progress, allowed_cpus};
use crate::io::epoll::Epoll;
use crate::io::ring::Ring;
use crate::io::tls::TlsIo;
use crate::io::{Engine, Io, IoPlan, TargetId, monotonic_now, suspended};
use crate::measure::{CompletedSecond, Snapshot, Timeline};
use crate::observe::{Observation, ObserveError, Observer, Observing};

use super::host::{CpuTicks, environment, local_ports, tcp_counters};
use super::interruption::InterruptedAt;
use super::names::{Names, Resolver};
use super::plan::{Hold, Population, RunPlan, Until};
use super::preflight;
use super::prepare::Preparation;
use super::result::{Event, ResultParts, Window, WorkerRow};
use super::signals::Signals;
use super::throttling::{self, Throttling};
use super::verdict::{Finding, Severity, Signal};
use super::watch::{RunWatch, Trip};

/// Between the workers' readiness and the first arrival: time enough to make the workers and go to sleep.
const LEAD: Nanos = Nanos::from_millis(50);
/// How often the control thread looks at the workers.
const TICK: Duration = Duration::from_millis(20);
/// A load that every target refuses is ended after this long.
const REFUSED_FOR: Nanos = Nanos::from_secs(3);

/// Why a run could not be carried out; the exit code is 1.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A worker could not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The control thread's own runtime cannot be made.
    #[error("{0}")]
    Runtime(String),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// What is to be observed cannot be.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

/// Something that happened while the load ran, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The first signal: what is in flight is waited for.
    Stopping(Signal, u64),
    /// A condition of `--abort-if`, or the canary: what is in flight is waited for.
    Tripped(&'a Trip),
    /// The second one.
    Abandoning,
    /// Every target refused every attempt for three seconds, and nothing completed.
    Refused,
}

/// Who looks on while the load runs.
pub trait Watch {
    /// Called every few tens of milliseconds; `elapsed` counts from the load's start.
    fn progress(&mut self, progress: &Progress, elapsed: Nanos);

    /// Called with each whole second as soon as every worker has reported it. The load ends with the first `Break`; what is
    /// in flight is waited for.
    fn second(&mut self, _second: &CompletedSecond) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Called once per event.
    fn notice(&mut self, notice: Notice<'_>);
}

/// How a run is carried out, beside its plan.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// Do not end a load that every target refuses.
    pub keep_going: bool,
    /// When the load begins, if not at once: the same instant on every machine, however long each takes to set up.
    pub start_at: Option<SystemTime>,
    /// Looks names up again while the load runs, if the plan asks for it.
    pub resolver: Option<Resolver>,
    /// Reads what the target's machine says while the load runs, and TCP_INFO of the connections.
    pub observer: Option<Observer>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ran {
    /// What its result is made of.
    pub parts: ResultParts,
    /// A worker's backend broke during the run: the reason.
    pub broken: Option<String>,
}

/// Runs `plan` on workers with sockets. Must be called on the control thread's runtime.
///
/// # Errors
/// If the workers or the signal handlers cannot be set up; once the load has begun there is always a result.
pub async fn run(plan: Arc<RunPlan>, conduct: Conduct, watch: &mut impl Watch) -> Result<Ran, ControlError> {
    let mut signals = Signals::new().map_err(ControlError::Signals)?;
    let preparation = Arc::new(Preparation::new(Arc::clone(&plan)).map_err(|error| LaunchError(error.to_string()))?);
    let mut fleet = launch(&plan, &preparation)?;
    let mut findings = preflight::findings(&plan, local_ports(), allowed_cpus().len() as u32);
    findings.extend(preflight::held(&plan, MachineFacts::detect_without_ring));
    let (network_before, ticks_before) = (tcp_counters(), CpuTicks::read());
    let (throttling_before, suspended_before) = (Throttling::read(), suspended());
    let (now, clock) = (fleet.now(), SystemTime::now());
    let lead = match conduct.start_at.map(|at| at.duration_since(clock)) {
        Some(Ok(left)) if Nanos::from(left) >= LEAD => Nanos::from(left),
        Some(left) => {
            let behind = left.map_or_else(|passed| passed.duration().into(), |_| Nanos::ZERO) + LEAD;
            findings.push(late_finding(behind));
            LEAD
        }
        None => LEAD,
    };
    let start = now + lead;
    let started_at = humantime::format_rfc3339_millis(clock + Duration::from(lead)).to_string();
    let addresses: Vec<_> = plan.targets.iter().map(|target| target.address).collect();
    let observer = conduct.observer.as_ref();
    let observing = observer.map(|observer| observer.begin(start, &addresses, monotonic_now)).transpose()?;
    fleet.start(start);

    let mut ticks = tokio::time::interval(TICK);
    let mut seconds = RunWatch::new(&plan, preparation.layout());
    let mut trip: Option<Trip> = None;
    let mut names = Names::of(&plan);
    let mut look_up: Option<JoinHandle<_>> = None;
    let mut next_look_up = conduct.resolver.as_ref().and(plan.resolve_every_ns).map(|every| start + Nanos::new(every));
    let mut events = Vec::new();
    let mut interrupted = None;
    let mut interrupted_at = None;
    let mut refused = false;
    let mut enough = false;
    let mut ended_early = false;
    while !fleet.collect() {
        let received = tokio::select! {
            _ = ticks.tick() => None,
            signal = signals.next() => Some(signal),
        };
        // All seconds are taken in, also those after one that ends the run.
        let (mut tripped, mut seen_enough) = (None, false);
        for second in fleet.take_seconds() {
            seen_enough |= watch.second(&second).is_break();
            tripped = tripped.or(seconds.push(second));
        }
        if seen_enough && !enough {
            enough = true;
            ended_early |= !fleet.is_drained();
            fleet.order(Order::Stop);
        }
        if let (None, Some(tripped)) = (&trip, tripped) {
            ended_early |= !fleet.is_drained();
            fleet.order(Order::Stop);
            watch.notice(Notice::Tripped(&tripped));
            events.push(Event::of_trip(&tripped));
            trip = Some(tripped);
        }
        let progress = fleet.progress();
        if let Some(signal) = received {
            if interrupted.is_none() {
                interrupted = Some(signal);
                interrupted_at = Some(InterruptedAt::new(&plan, start, fleet.now(), fleet.is_drained()));
                // A signal that ends only the hold leaves the load as it was planned.
                ended_early |= !fleet.is_drained();
                fleet.order(Order::Stop);
                watch.notice(Notice::Stopping(signal, progress.started - progress.completed - progress.failed));
            } else {
                fleet.order(Order::Abandon);
                watch.notice(Notice::Abandoning);
            }
        }
        let elapsed = fleet.now().since(start);
        if let (Some(resolver), Some(at)) = (&conduct.resolver, next_look_up)
            && fleet.now() >= at
            && look_up.is_none()
        {
            let (names, resolver) = (names.clone(), resolver.clone());
            look_up = Some(tokio::task::spawn_blocking(move || names.look_up(&resolver)));
            next_look_up = plan.resolve_every_ns.map(|every| at + Nanos::new(every));
        }
        if let Some(done) = look_up.take_if(|look_up| look_up.is_finished())
            && let Ok(found) = done.await
        {
            let changes = names.follow(found);
            let retargets = changes.retargets.iter().map(|(target, address)| (TargetId(*target), *address));
            fleet.retarget(&retargets.collect::<Vec<_>>());
            let event = |text| Event { t_s: elapsed.as_secs_f64(), code: "resolved".into(), text };
            events.extend(changes.texts.into_iter().map(event));
        }
        watch.progress(&progress, elapsed);
        let all_refused = progress.completed == 0 && progress.failed > 0 && progress.refused == progress.failed;
        if !conduct.keep_going && !refused && all_refused && elapsed >= REFUSED_FOR {
            refused = true;
            let text = format!("every target refused every connection for {REFUSED_FOR}");
            events.push(Event { t_s: elapsed.as_secs_f64(), code: "ended".into(), text });
            ended_early = true;
            fleet.order(Order::Stop);
            watch.notice(Notice::Refused);
        }
        if plan.releases_on_order() && fleet.is_drained() {
            fleet.order(Order::Release);
        }
    }
    let (outcomes, mut timeline) = fleet.join();
    let observation = observing.map(Observing::finish).unwrap_or_default();
    events.extend(observation.happenings.iter().map(Event::of_happening));
    events.sort_by(|one, other| one.t_s.total_cmp(&other.t_s));
    for second in timeline.take_completed() {
        seconds.push(second);
    }
    if refused {
        findings.push(refused_finding());
    }
    findings.extend(preflight::stolen(CpuTicks::read().since(ticks_before)));
    findings.extend(preflight::suspended(suspended().saturating_sub(suspended_before)));
    let took = monotonic_now().since(start);
    findings.extend(throttling::finding(&throttling_before, &Throttling::read(), took, plan.workers));
    let network = (network_before, tcp_counters());
    let broken = outcomes.iter().find_map(|outcome| outcome.error.clone());
    let ending = Ending {
        plan,
        start,
        started_at,
        interrupted,
        interrupted_at,
        trip,
        ended_early,
        network,
        findings,
        events,
        observation,
    };
    let parts = ending.parts(outcomes, timeline, seconds, &preparation);
    Ok(Ran { parts, broken })
}

/// What the control thread knows when the load is over.
pub(super) struct Ending {
    pub plan: Arc<RunPlan>,
    pub start: Time,
    pub started_at: String,
    pub interrupted: Option<Signal>,
    pub interrupted_at: Option<InterruptedAt>,
    /// Why the run was ended by its own conditions.
    pub trip: Option<Trip>,
    /// The load was ended by an order, not by its plan.
    pub ended_early: bool,
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
        let window = self.window(outcomes.iter().map(|outcome| outcome.ends));
        let load_end = ((window.warmup_s + window.duration_s) * 1e9).round() as u64;
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
            ended_by: self.trip.map(|trip| trip.text),
            interrupted: self.interrupted,
            interrupted_at: self.interrupted_at,
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
        let length = match (self.ended_early, closed) {
            (true, _) => load,
            (false, true) => last(|ends| ends.drained),
            (false, false) => load.max(self.plan.paced_length()),
        }
        .min(planned);
        Window { duration_s: length.saturating_sub(warmup).as_secs_f64(), warmup_s: warmup.min(length).as_secs_f64() }
    }
}

/// Starts the workers on the backend that the plan names.
fn launch(plan: &RunPlan, preparation: &Arc<Preparation>) -> Result<Fleet, LaunchError> {
    match plan.engine {
        Engine::IoUring => launch_on(plan, preparation, Ring::new),
        Engine::Epoll => launch_on(plan, preparation, Epoll::new),
        Engine::Sim => unreachable!("a simulated run has no threads"),
    }
}

/// The same on the backends that `make` makes, each in its own thread, with TLS above them if a target needs it.
fn launch_on<I: Io + 'static, E: std::fmt::Display + 'static>(
    plan: &RunPlan,
    preparation: &Arc<Preparation>,
    make: fn(IoPlan) -> Result<I, E>,
) -> Result<Fleet, LaunchError> {
    match preparation.tls().cloned() {
        None => launch_with(plan, preparation, make),
        Some(tls) => launch_with(plan, preparation, move |io_plan| TlsIo::new(io_plan, &tls, make)),
    }
}

fn launch_with<I: Io + 'static, E: std::fmt::Display>(
    plan: &RunPlan,
    preparation: &Arc<Preparation>,
    make: impl Fn(IoPlan) -> Result<I, E> + Send + Sync + 'static,
) -> Result<Fleet, LaunchError> {
    let preparation = Arc::clone(preparation);
    Fleet::launch(plan.workers, &plan.cpus, monotonic_now, move |worker| {
        let (parts, io_plan) = preparation.parts(worker);
        let io = make(io_plan).map_err(|error| error.to_string())?;
        let preparation = Arc::clone(&preparation);
        Ok(Prepared { io, begin: Box::new(move |start| preparation.worker(worker, parts, start)) })
    })
}

impl RunPlan {
    /// Connections are held until every worker has drained, then released by an order.
    pub(super) fn releases_on_order(&self) -> bool {
        let for_ever = || self.populations.iter().any(|population| population.hold == Hold::Forever);
        !self.drain && (self.feeds_players() || for_ever())
    }

    /// Some attempts play, maybe what others publish: streams go on as long as a player still waits for its first frame.
    pub(super) fn feeds_players(&self) -> bool {
        self.populations.iter().any(|population| population.until == Until::Play)
    }
}

fn late_finding(behind: Nanos) -> Finding {
    Finding {
        code: "late_begin".into(),
        severity: Severity::Warning,
        message: format!(
            "the load began up to {behind} after --start-at: setting it up took longer than there was time"
        ),
        remedy: "give an instant that is some seconds away".into(),
    }
}

fn refused_finding() -> Finding {
    Finding {
        code: "refused_by_all".into(),
        severity: Severity::Warning,
        message: format!("every target refused every connection for {REFUSED_FOR}; the load was ended"),
        remedy: "check that the server runs and listens on this address; --keep-going loads it all the same".into(),
    }
}

fn overflow_finding(count: u64) -> Finding {
    Finding {
        code: "cq_overflow".into(),
        severity: Severity::Warning,
        message: format!("{count} completions did not fit into the completion queues and came late"),
        remedy: "give more workers (-t) or fewer slots (-c)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::LoadPlan;
    use super::super::result::fixtures::{closed_plan, open_load, open_plan, stage};
    use super::*;

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
            interrupted: None,
            interrupted_at: None,
            trip: None,
            ended_early,
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
