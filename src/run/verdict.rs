//! Whether a result is to be believed, what it says, and the exit code.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::diagnosis;
use super::limiter;
use super::plan::{Hold, Lane, LoadPlan, Pace, Population};
use super::result::{FailureRow, ReactionRow, RunResult};
use super::threshold::{Scope, Threshold};
use super::unserved::{self, Unserved, unserved};
use super::watch::WatchOutcome;
use crate::base::Nanos;
use crate::measure::{FailureKind, LatencySummary, Side, Step};

/// Whether a result is what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every condition holds (there may be none).
    Pass,
    /// A condition does not hold, or nothing completed: at all, or of a whole target, population or kind of client.
    Fail,
    /// A condition cannot be decided, or the generator was the limit of what was asked.
    Inconclusive,
}

/// Something to know beside the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its stable name, in snake case.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What was found, with the numbers.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// Others had CPU time of this machine meanwhile: other programs, or other machines of its host. Or nobody was allowed to.
    pub fn is_lost_cpu_time(&self) -> bool {
        matches!(self.code.as_str(), CPU_CONTENTION | CPU_STEAL | CPU_THROTTLED)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// May change what the numbers mean.
    Warning,
    /// Nothing can be measured like this.
    Blocking,
}

/// A signal that ends a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

impl Signal {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }

    /// What it has done to a command.
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
            Self::Hangup => "ended by SIGHUP",
        }
    }
}

/// Why nothing completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// This machine's limits.
    OwnLimits,
    /// The target or the way to it.
    Target,
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// As asked. Failures without a condition on them are no miss: they stand in the first lines.
    Pass = 0,
    /// It could not run, or nothing completed because of this machine's limits.
    CouldNotRun = 1,
    /// The command line or the scenario is wrong.
    Usage = 2,
    /// A condition does not hold, or nothing completed of a whole target, population or kind of client.
    Missed = 3,
    /// It cannot be told.
    Inconclusive = 4,
    /// Nothing completed, and all failures are the target's or the network's.
    NothingCompleted = 5,
    /// Ended by SIGHUP; the report is of what was measured.
    HungUp = 129,
    /// Ended by SIGINT; likewise.
    Interrupted = 130,
    /// Ended by SIGTERM; likewise.
    Terminated = 143,
}

/// All that an exit code depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitFacts {
    /// The command line or the scenario is wrong.
    pub usage_error: bool,
    /// The run could not start or go on.
    pub could_not_run: bool,
    /// What ended the run early.
    pub interrupted: Option<Signal>,
    /// Why nothing completed, if nothing did.
    pub nothing_completed: Option<Obstacle>,
    /// What the result says.
    pub verdict: Verdict,
}

/// Fewer of the planned attempts started than this: the plan was not carried out.
const LEAST_STARTED: f64 = 0.99;

/// Lateness is never held against the generator below this: a scheduler's time slice is of this order.
const LATENESS_FLOOR: Nanos = Nanos::from_millis(5);

/// A worker this busy has no time left for arrivals.
const BUSY_PERCENT: f64 = 95.0;

/// A worker that waited this long for its CPU shows others' work in its latencies.
const CPU_WAIT_PERCENT: f64 = 5.0;

/// The finding of such workers.
const CPU_CONTENTION: &str = "cpu_contention";
/// The finding of a program whose CPU quota was used up.
pub(super) const CPU_THROTTLED: &str = "cpu_throttled";
/// The finding of a machine that slept while the load ran.
pub(super) const MACHINE_SUSPENDED: &str = "machine_suspended";
/// The finding of a machine whose host took time from it.
pub(super) const CPU_STEAL: &str = "cpu_steal";

/// The finding of a generator that stood still.
const GENERATOR_PAUSED: &str = "generator_paused";

/// Waits that are shorter on average are the time a wake-up takes.
const WAKE_UP: Nanos = Nanos::from_micros(30);

/// The findings made here; a merged result is judged anew.
const JUDGED: [&str; 14] = [
    GENERATOR_PAUSED,
    unserved::CODE,
    unserved::ONE_FAMILY,
    unserved::UNTRIED,
    "never_connected",
    diagnosis::MEDIA_UNSENT,
    limiter::CODE,
    "local_errors",
    "late_starts",
    "pool_too_small",
    "missed_starts",
    "slots_held_by_target",
    CPU_CONTENTION,
    "worker_busy",
];

/// Judges the generator, evaluates `thresholds` (with what was `watched` while the run went on), and sets the verdict.
pub(super) fn judge(result: &mut RunResult, thresholds: &[Threshold], watched: &WatchOutcome) {
    let limits = generator_limits(result, thresholds);
    let remarks = remarks(result, thresholds);
    let generator = &mut result.generator;
    let suspended = generator.findings.iter().any(|finding| finding.code == MACHINE_SUSPENDED);
    generator.limited = !limits.is_empty() || suspended;
    generator.findings.retain(|finding| !JUDGED.contains(&finding.code.as_str()));
    generator.findings.extend(limits.into_iter().chain(remarks));
    result.generator.cpu_us_per_attempt = cpu_us_per_attempt(result);
    result.thresholds = thresholds.iter().map(|threshold| threshold.evaluate(result, watched)).collect();
    result.verdict = verdict(result, thresholds);
}

/// Why nothing completed; `None` if something did, nothing was due, or a signal ended everything first.
pub fn nothing_completed(result: &RunResult) -> Option<Obstacle> {
    let attempts = &result.attempts;
    if attempts.due == 0 || attempts.completed > 0 || !meant_to_complete(result) && reactions(result) > 0 {
        return None;
    }
    let mut failures = result.failures.iter().filter(|failure| failure.step != Step::Hold);
    let signalled = result.interrupted.is_some();
    let own = |side, kind| {
        let excused = signalled && kind == FailureKind::Cancelled || kind == FailureKind::GeneratorPaused;
        side == Side::Generator && !excused
    };
    if failures.clone().any(|failure| own(failure.side, failure.kind)) || attempts.started == 0 && !signalled {
        Some(Obstacle::OwnLimits)
    } else {
        failures.any(|failure| failure.side != Side::Generator).then_some(Obstacle::Target)
    }
}

/// Some client is no hostile one.
pub fn meant_to_complete(result: &RunResult) -> bool {
    let mut clients = result.plan.asked().flat_map(|population| &population.clients);
    clients.any(|share| !share.client.is_hostile())
}

/// Attempts of hostile clients that are over, treated as expected or not.
pub fn reactions(result: &RunResult) -> u64 {
    result.attempts.observed + unexpected_reactions(result)
}

/// Attempts of hostile clients that were not treated as the plan expects.
pub fn unexpected_reactions(result: &RunResult) -> u64 {
    let unexpected = |failure: &&FailureRow| failure.kind == FailureKind::Unexpected;
    result.failures.iter().filter(unexpected).map(|failure| failure.count).sum()
}

impl ExitCode {
    /// The exit code of a result.
    pub fn of(result: &RunResult) -> Self {
        Self::decide(ExitFacts {
            usage_error: false,
            could_not_run: false,
            interrupted: result.interrupted,
            nothing_completed: nothing_completed(result),
            verdict: result.verdict,
        })
    }

    /// Precedence: 2, 1, that of a signal, 5, 4, 3, 0.
    pub fn decide(facts: ExitFacts) -> Self {
        if facts.usage_error {
            return Self::Usage;
        }
        if facts.could_not_run || facts.nothing_completed == Some(Obstacle::OwnLimits) {
            return Self::CouldNotRun;
        }
        if let Some(signal) = facts.interrupted {
            return signal.into();
        }
        if facts.nothing_completed == Some(Obstacle::Target) {
            return Self::NothingCompleted;
        }
        match facts.verdict {
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::Fail => Self::Missed,
            Verdict::Pass => Self::Pass,
        }
    }

    /// The number the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Signal> for ExitCode {
    /// What a shell says of a command that the signal ended.
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
            Signal::Hangup => Self::HungUp,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Blocking => "blocking",
        })
    }
}

fn verdict(result: &RunResult, thresholds: &[Threshold]) -> Verdict {
    match nothing_completed(result) {
        Some(Obstacle::OwnLimits) => return Verdict::Inconclusive,
        Some(Obstacle::Target) => return Verdict::Fail,
        // A signal came before anything was over: nothing is known of the target.
        None if result.attempts.completed + reactions(result) == 0 || met_nobody(result) => {
            return Verdict::Inconclusive;
        }
        None => {}
    }
    let rate_asked = result.plan.asked().any(Population::is_open_loop);
    let asked = rate_asked || thresholds.iter().any(Threshold::needs_an_unlimited_generator);
    let passes = || result.thresholds.iter().map(|threshold| threshold.pass);
    let unserved = unserved(result);
    // Of parts that never started, or may have met this machine's own limits, nothing is known.
    let unknown = |part: &Unserved| !part.failed() || result.generator.limited;
    if result.generator.limited && asked || passes().any(|pass| pass.is_none()) || unserved.iter().any(unknown) {
        Verdict::Inconclusive
    } else if passes().any(|pass| pass == Some(false))
        || unexpected_reactions(result) > 0
        || result.ended_by.is_some()
        || !unserved.is_empty()
    {
        Verdict::Fail
    } else {
        Verdict::Pass
    }
}

/// The findings that make the generator the limit; none: it did what was asked of it.
fn generator_limits(result: &RunResult, thresholds: &[Threshold]) -> Vec<Finding> {
    let tightest = thresholds.iter().filter_map(Threshold::latency_limit).min();
    let mut limits = Vec::from_iter(local_errors(result));
    for population in result.plan.asked().filter(|population| population.is_open_loop()) {
        let Some(scope) = Scope::of(result, Some(&population.name)) else { continue };
        limits.extend(late_starts(result, population, &scope, tightest));
        match missed_starts(result, population, &scope, tightest) {
            Some(Shortfall { cause: Cause::Target, .. }) | None => {}
            Some(shortfall) => limits.push(shortfall.finding(population)),
        }
    }
    limits
}

/// What to know beside the numbers, without being the generator's limit.
fn remarks(result: &RunResult, thresholds: &[Threshold]) -> Vec<Finding> {
    let tightest = thresholds.iter().filter_map(Threshold::latency_limit).min();
    let mut remarks = unserved::findings(result);
    remarks.extend(generator_paused(result));
    for population in result.plan.asked().filter(|population| population.is_open_loop()) {
        let shortfall = Scope::of(result, Some(&population.name))
            .and_then(|scope| missed_starts(result, population, &scope, tightest));
        if let Some(shortfall @ Shortfall { cause: Cause::Target, .. }) = shortfall {
            remarks.push(shortfall.finding(population));
        }
    }
    remarks.extend(never_connected(result));
    remarks.extend(diagnosis::media_unsent(&result.media));
    remarks.extend(limiter::finding(result));
    remarks.extend(cpu_contention(result));
    let busy = |percent: Option<f64>| percent.is_some_and(|percent| percent >= BUSY_PERCENT);
    let busy_workers = result.workers.iter().filter(|worker| busy(worker.cpu_busy_percent)).count();
    if busy_workers > 0 {
        remarks.push(Finding {
            code: "worker_busy".to_owned(),
            severity: Severity::Warning,
            message: format!(
                "{busy_workers} of {} workers were busy {BUSY_PERCENT} % of the time or more",
                result.workers.len()
            ),
            remedy: "the generator may be what is measured: add cores and workers (-t), or a second machine (--share)"
                .to_owned(),
        });
    }
    remarks
}

/// The generator stood still: whatever took long then was not the target's doing.
fn generator_paused(result: &RunResult) -> Option<Finding> {
    let generator = &result.generator;
    let longest = generator.pauses.iter().max_by(|one, other| one.duration_s.total_cmp(&other.duration_s))?;
    let (length, at) = (Nanos::from_secs_f64(longest.duration_s), longest.t_s);
    let times = match generator.pauses.len() {
        1 => format!("the generator stood still for {length} from {at:.2} s on"),
        count => format!(
            "the generator stood still {count} times, {} in all, the longest time for {length} from {at:.2} s on",
            generator.paused()
        ),
    };
    Some(Finding {
        code: GENERATOR_PAUSED.to_owned(),
        severity: Severity::Warning,
        message: format!("{times}: it was stopped, or had no CPU"),
        remedy: "what waited for it counts as lateness and is not held against the target; run it again undisturbed"
            .to_owned(),
    })
}

/// Hostile clients that never got a connection say nothing about what the target does with them.
fn never_connected(result: &RunResult) -> Option<Finding> {
    let names: Vec<_> = shut_out(result).collect();
    (!names.is_empty()).then(|| Finding {
        code: "never_connected".to_owned(),
        severity: Severity::Warning,
        message: format!(
            "no connection came to be for {}: nothing is known of what the target does with them",
            names.join(", ")
        ),
        remedy: "check that the server runs and listens on this address".to_owned(),
    })
}

/// The hostile clients none of whose attempts got a connection.
fn shut_out(result: &RunResult) -> impl Iterator<Item = &str> {
    let reactions = result.by_client.iter().filter_map(|row| Some((row.name.as_str(), row.reactions.as_ref()?)));
    let is_shut_out = |reactions: &ReactionRow| {
        let met = reactions.closed + reactions.reset + reactions.open + reactions.left;
        reactions.not_connected > 0 && met == 0
    };
    reactions.filter(move |(_, reactions)| is_shut_out(reactions)).map(|(name, _)| name)
}

/// All clients were hostile ones, none of them was held to an expectation, and none got a connection.
pub fn met_nobody(result: &RunResult) -> bool {
    let ended = result.by_client.iter().filter_map(|row| row.reactions.as_ref());
    let ended = ended.filter(|reactions| {
        reactions.not_connected + reactions.closed + reactions.reset + reactions.open + reactions.left > 0
    });
    !meant_to_complete(result)
        && unexpected_reactions(result) == 0
        && result.attempts.observed > 0
        && ended.count() == shut_out(result).count()
}

/// Other threads had the workers' CPUs: latencies contain the generator's own pauses.
fn cpu_contention(result: &RunResult) -> Option<Finding> {
    // A pinned thread that wakes often waits a little each time, on an idle machine too.
    let contended = |worker: &&super::WorkerRow| worker.cpu_wait_mean_ns.is_some_and(|mean| mean >= WAKE_UP.as_u64());
    let waits = result.workers.iter().filter(contended).filter_map(|worker| worker.cpu_wait_percent);
    let waited = waits.fold(0.0, f64::max);
    // Who may not run waits, too: for its quota, not for others.
    let throttled = result.generator.findings.iter().any(|finding| finding.code == CPU_THROTTLED);
    (!throttled && waited >= CPU_WAIT_PERCENT).then(|| Finding {
        code: CPU_CONTENTION.to_owned(),
        severity: Severity::Warning,
        message: format!("a worker waited {waited:.0} % of the time for its CPU, which other threads had"),
        remedy: match result.workers.len() {
            1 => "latencies contain these pauses: stop what else runs here, or give a CPU that is free (--cpus)"
                .to_owned(),
            _ => "latencies contain these pauses: stop what else runs here, or give fewer workers (-t)".to_owned(),
        },
    })
}

fn local_errors(result: &RunResult) -> Option<Finding> {
    let local: Vec<_> = result.failures.iter().filter(|failure| failure.kind.is_local_limit()).collect();
    let first = local.first()?;
    let count: u64 = local.iter().map(|failure| failure.count).sum();
    let mut kinds: Vec<_> = local.iter().map(|failure| failure.kind.to_string()).collect();
    kinds.dedup();
    Some(Finding {
        code: "local_errors".to_owned(),
        severity: Severity::Warning,
        message: format!("{count} attempts failed at a limit of this machine ({})", kinds.join(", ")),
        remedy: first.advice.clone(),
    })
}

fn late_starts(result: &RunResult, population: &Population, scope: &Scope, tightest: Option<Nanos>) -> Option<Finding> {
    let limit = match tightest {
        Some(limit) => LATENESS_FLOOR.max(Nanos::new(limit.as_u64() / 10)),
        None => LATENESS_FLOOR + starting_time(result, population),
    };
    let (name, lateness) = highest_supported(scope.latency.lateness.as_ref()?)?;
    (lateness > limit).then(|| Finding {
        code: "late_starts".to_owned(),
        severity: Severity::Warning,
        message: format!(
            "attempts of {} started late although slots were free: lateness {name} {lateness}, limit {limit}",
            population.name
        ),
        remedy: "lower the rate, or give the workers (-t) cores of their own; the numbers are a lower bound".to_owned(),
    })
}

/// How long the workers need to start the most arrivals that are due at one instant: the last of a burst, or of a fleet,
/// is later than the first by this, however fast the generator is. Zero where the workers' CPU time is unknown.
fn starting_time(result: &RunResult, population: &Population) -> Nanos {
    let at_once = |lane: &Lane| match &lane.load {
        LoadPlan::Open { stages, .. } => {
            let bursts = stages.iter().map(|stage| if let Pace::Burst { count } = stage.pace { count } else { 0 });
            bursts.max().unwrap_or(0)
        }
        LoadPlan::Storm { fleet, .. } => u64::from(*fleet),
        LoadPlan::Closed { .. } => 0,
    };
    let at_once = population.lanes.iter().map(at_once).max().unwrap_or(0) as f64 / f64::from(result.plan.share.count);
    let of_a_worker = at_once / result.workers.len().max(1) as f64;
    Nanos::new((of_a_worker * cpu_us_per_attempt(result).unwrap_or(0.0) * 1e3) as u64)
}

/// The 99th percentile, or the highest one below it that the number of samples supports.
fn highest_supported(summary: &LatencySummary) -> Option<(&'static str, Nanos)> {
    [("p99", summary.p99_ns), ("p95", summary.p95_ns), ("p90", summary.p90_ns), ("p50", summary.p50_ns)]
        .into_iter()
        .find_map(|(name, value)| Some((name, Nanos::new(value?))))
}

/// Planned attempts that did not start.
struct Shortfall {
    missed: u64,
    due: u64,
    cause: Cause,
}

#[derive(Clone, Copy)]
enum Cause {
    /// The target kept the slots busy.
    Target,
    /// There were fewer slots than the plan needs, whatever the target does.
    Pool { slots: f64, needed: f64 },
    /// Slots were free.
    Generator,
}

fn missed_starts(
    result: &RunResult,
    population: &Population,
    scope: &Scope,
    tightest: Option<Nanos>,
) -> Option<Shortfall> {
    let attempts = scope.attempts;
    if attempts.started as f64 >= LEAST_STARTED * attempts.due as f64 {
        return None;
    }
    // A machine's slots are for its share of the arrivals; a merged result has the slots of all machines.
    let slots = f64::from(open_slots(population)) * result.machines.len().max(1) as f64;
    let patience = tightest.unwrap_or(Nanos::new(population.timeout_ns));
    let needed = slots_needed(population, patience) / f64::from(result.plan.share.count);
    let needed = needed.min(attempts.due as f64);
    let longest = |summary: &Option<LatencySummary>| summary.as_ref().and_then(|summary| summary.max_ns);
    let cause = match (longest(&scope.latency.slot_wait), longest(&scope.latency.lateness)) {
        // The last arrivals to start had waited longest: for a slot, or for the generator? Where every slot was held and none
        // came free, those that waited never started.
        (Some(slot_wait), Some(lateness)) if slot_wait > lateness || holds_all_slots(result) => {
            if needed > slots {
                Cause::Pool { slots, needed }
            } else {
                Cause::Target
            }
        }
        (Some(_), Some(_)) => Cause::Generator,
        // Nothing completed: if every slot was in use, none would have been enough.
        _ if attempts.started as f64 >= slots => Cause::Target,
        _ => Cause::Generator,
    };
    Some(Shortfall { missed: attempts.due - attempts.started, due: attempts.due, cause })
}

/// Whether held connections took every slot at some time.
fn holds_all_slots(result: &RunResult) -> bool {
    let slots: u64 = result.plan.asked().map(|population| u64::from(population.concurrency())).sum();
    let held = result.connections.held_peak;
    held > 0 && held >= slots * result.machines.len().max(1) as u64
}

/// Slots that the planned peak rate needs (Little's law) if every attempt takes the whole of `patience`, the time after
/// which it is lost anyway, and is then held as planned. With fewer, an arrival that finds no slot says as much about
/// the pool as about the target.
fn slots_needed(population: &Population, patience: Nanos) -> f64 {
    let peak: f64 = open_lanes(population).filter_map(|lane| lane.load.peak_per_s()).sum();
    match population.hold {
        Hold::ForNs(hold) | Hold::Exponential { mean_ns: hold } => peak * (patience + Nanos::new(hold)).as_secs_f64(),
        Hold::Forever => f64::INFINITY,
    }
}

/// The slots of the lanes whose arrivals wait for one. The clients of a fleet have slots of their own.
fn open_slots(population: &Population) -> u32 {
    open_lanes(population).map(|lane| lane.concurrency).sum()
}

fn open_lanes(population: &Population) -> impl Iterator<Item = &Lane> {
    population.lanes.iter().filter(|lane| matches!(lane.load, LoadPlan::Open { .. }))
}

impl Shortfall {
    fn finding(&self, population: &Population) -> Finding {
        let missed = format!("{} of {} planned attempts of {} never started", self.missed, self.due, population.name);
        let (code, message, remedy) = match self.cause {
            Cause::Target => (
                "slots_held_by_target",
                format!("{missed}: the target kept all {} slots busy", open_slots(population)),
                "the target is slower than the load: lower the rate, or raise -c to see its queue grow",
            ),
            Cause::Pool { slots, needed } => (
                "pool_too_small",
                format!("{missed}: all {slots:.0} slots were busy, and the plan may need {needed:.0}"),
                "raise -c to rate x (timeout + hold), or shorten --timeout or --hold; the numbers are a lower bound",
            ),
            Cause::Generator => (
                "missed_starts",
                format!("{missed} although slots were free"),
                "lower the rate, or give the workers (-t) cores of their own; the numbers are a lower bound",
            ),
        };
        Finding { code: code.to_owned(), severity: Severity::Warning, message, remedy: remedy.to_owned() }
    }
}

/// CPU time of all workers per attempt started, the warm-up's included on both sides.
fn cpu_us_per_attempt(result: &RunResult) -> Option<f64> {
    let used_ns = result.workers.iter().map(|worker| worker.cpu_time_ns).sum::<Option<u64>>()?;
    let started = match result.by_stage.as_slice() {
        [] => result.attempts.started,
        stages => stages.iter().map(|stage| stage.attempts.started).sum(),
    };
    (started > 0 && !result.workers.is_empty()).then(|| used_ns as f64 / 1e3 / started as f64)
}

#[cfg(test)]
mod tests {
    use super::super::result::{PauseRow, fixtures};
    use super::*;
    use crate::measure::{Failure, FailureDetail};

    fn codes(result: &RunResult) -> Vec<&str> {
        result.generator.findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn exit_codes_follow_their_precedence() {
        let pass = ExitFacts {
            usage_error: false,
            could_not_run: false,
            interrupted: None,
            nothing_completed: None,
            verdict: Verdict::Pass,
        };
        // Each fact alone, in order of precedence.
        type Set = fn(&mut ExitFacts);
        let facts: [(u8, Set); 9] = [
            (2, |facts| facts.usage_error = true),
            (1, |facts| facts.could_not_run = true),
            (1, |facts| facts.nothing_completed = Some(Obstacle::OwnLimits)),
            (130, |facts| facts.interrupted = Some(Signal::Interrupt)),
            (143, |facts| facts.interrupted = Some(Signal::Terminate)),
            (129, |facts| facts.interrupted = Some(Signal::Hangup)),
            (5, |facts| facts.nothing_completed = Some(Obstacle::Target)),
            (4, |facts| facts.verdict = Verdict::Inconclusive),
            (3, |facts| facts.verdict = Verdict::Fail),
        ];
        assert_eq!(ExitCode::decide(pass).code(), 0);
        for (index, (code, set)) in facts.iter().enumerate() {
            // Every weaker fact on top changes nothing; the strong one is set last, over a weaker value of its field.
            for (_, set_weaker) in &facts[index..] {
                let mut both = pass;
                set_weaker(&mut both);
                set(&mut both);
                assert_eq!(ExitCode::decide(both).code(), *code, "{both:?}");
            }
        }
    }

    #[test]
    fn failures_without_a_threshold_pass() {
        let result = fixtures::open_result(&[]);
        assert_eq!((result.attempts.failed, result.verdict), (10, Verdict::Pass));
        assert_eq!(ExitCode::of(&result), ExitCode::Pass);
        assert_eq!(codes(&result), [""; 0]);
    }

    #[test]
    fn thresholds_decide_between_pass_fail_and_inconclusive() {
        for (thresholds, code) in [
            (&["service.p50<10ms", "failed<1%"][..], 0),
            (&["service.p50<10ms", "failed<0.1%"], 3),
            (&["service.p99.9<10s"], 4),
            (&["service.p99.9<10s", "failed<0.1%"], 4),
        ] {
            assert_eq!(ExitCode::of(&fixtures::open_result(thresholds)).code(), code, "{thresholds:?}");
        }
    }

    #[test]
    fn late_starts_make_an_open_loop_run_inconclusive() {
        let late = |ms| fixtures::OpenRun { lateness_ms: ms, ..fixtures::OpenRun::default() };
        assert_eq!(late(4).result(&[]).verdict, Verdict::Pass);
        let result = late(6).result(&["failed<0.1%"]);
        assert_eq!((result.verdict, result.generator.limited), (Verdict::Inconclusive, true));
        assert_eq!(codes(&result), ["late_starts"]);
        // A tenth of the tightest limit asked is 10 ms.
        assert_eq!(late(6).result(&["response.p50<100ms", "service.p50<10s"]).verdict, Verdict::Pass);
        assert_eq!(late(11).result(&["response.p50<100ms"]).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn the_last_of_a_burst_may_be_as_late_as_it_takes_to_start_them_all() {
        let mut result = fixtures::OpenRun { lateness_ms: 20, ..fixtures::OpenRun::default() }.result(&[]);
        assert_eq!(codes(&result), ["late_starts"]);
        let LoadPlan::Open { stages, .. } = &mut result.plan.populations[0].lanes[0].load else { unreachable!() };
        stages[0].pace = Pace::Burst { count: 2_000 };
        // One worker starts 2 000 in 20 or in 10 ms.
        for (cpu_us, verdict) in [(10, Verdict::Pass), (5, Verdict::Inconclusive)] {
            result.workers[0].cpu_time_ns = Some(cpu_us * 1_000 * result.attempts.started);
            judge(&mut result, &[], &WatchOutcome::default());
            assert_eq!(result.verdict, verdict, "{cpu_us} us for each");
        }
    }

    #[test]
    fn missed_starts_are_blamed_on_whoever_kept_them_waiting() {
        let run = fixtures::OpenRun { dropped: 30, ..fixtures::OpenRun::default() };
        let generator = run.result(&[]);
        assert_eq!((codes(&generator), generator.verdict), (vec!["missed_starts"], Verdict::Inconclusive));
        // 1 000 a second need 50 slots to tell within 50 ms; there are 64.
        let target = fixtures::OpenRun { slot_wait_ms: 40, ..run.clone() }.result(&["response.p50<50ms"]);
        assert_eq!((codes(&target), target.verdict), (vec!["slots_held_by_target"], Verdict::Pass));
        assert!(!target.generator.limited);
        // Held for 2 s they need as many slots as there are arrivals; without a limit they need the whole timeout.
        let pool = fixtures::OpenRun { slot_wait_ms: 40, hold_ms: 2_000, ..run.clone() }.result(&["response.p50<50ms"]);
        assert_eq!(codes(&pool), ["pool_too_small"]);
        let pool = fixtures::OpenRun { slot_wait_ms: 40, ..run }.result(&[]);
        assert_eq!((codes(&pool), pool.verdict), (vec!["pool_too_small"], Verdict::Inconclusive));
        insta::assert_snapshot!(pool.generator.findings[0].message, @"30 of 2020 planned attempts of encoders never started: all 64 slots were busy, and the plan may need 2020");
    }

    #[test]
    fn a_generator_that_stood_still_says_when_and_blames_nobody_else() {
        let mut result = fixtures::OpenRun::default().result(&["rate>=999/s", "rate>=980/s"]);
        let pause = |t_s, duration_s| PauseRow { t_s, duration_s };
        result.generator.pauses = vec![pause(0.5, 0.06), pause(1.25, 0.2)];
        let thresholds = Threshold::of_plan(&result.plan).unwrap();
        judge(&mut result, &thresholds, &WatchOutcome::default());
        assert_eq!(codes(&result), ["generator_paused"]);
        insta::assert_snapshot!(result.generator.findings[0].message, @"the generator stood still 2 times, 260 ms in all, the longest time for 200 ms from 1.25 s on: it was stopped, or had no CPU");
        // 990 a second, and it stood still for 0.26 s of 2 s.
        assert_eq!(result.thresholds.iter().map(|met| met.pass).collect::<Vec<_>>(), [None, Some(true)]);
        insta::assert_snapshot!(result.thresholds[0].reason.as_ref().unwrap(), @"the generator stood still for 260 ms; without that it may hold");
        assert_eq!(result.verdict, Verdict::Inconclusive);
        let slept = Failure::new(Step::S0, FailureKind::GeneratorPaused);
        let failed = |failure| {
            fixtures::OpenRun { failure, ..fixtures::OpenRun::default() }.result(&["failed<0.1%"]).thresholds[0].pass
        };
        assert_eq!((failed(slept), failed(Failure::new(Step::S0, FailureKind::Timeout))), (None, Some(false)));
        let nothing = fixtures::OpenRun { completed: 0, failure: slept, ..fixtures::OpenRun::default() }.result(&[]);
        assert_eq!(ExitCode::of(&nothing).code(), 4, "nothing is known of the target");
    }

    #[test]
    fn local_errors_limit_the_generator() {
        let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts).with_detail(FailureDetail::Errno(99));
        let run = fixtures::OpenRun { failure: no_ports, ..fixtures::OpenRun::default() };
        let result = run.result(&[]);
        assert_eq!((codes(&result), result.verdict), (vec!["local_errors"], Verdict::Inconclusive));
    }

    #[test]
    fn closed_loop_is_inconclusive_only_where_a_rate_or_latency_was_asked() {
        let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts);
        for (threshold, verdict) in [
            (&[][..], Verdict::Pass),
            (&["failed<50%"], Verdict::Pass),
            (&["failed<=0"], Verdict::Fail),
            (&["service.p50<1s"], Verdict::Inconclusive),
            (&["rate>1"], Verdict::Inconclusive),
        ] {
            let result = fixtures::closed_result(threshold, no_ports, Some(99.0));
            assert!(result.generator.limited);
            assert_eq!(result.verdict, verdict, "{threshold:?}");
            assert_eq!(codes(&result), ["local_errors", "worker_busy"]);
        }
    }

    #[test]
    fn nothing_completed_is_the_targets_or_ours() {
        let nothing = |failure, interrupted| {
            let run = fixtures::OpenRun { completed: 0, failure, interrupted, ..fixtures::OpenRun::default() };
            ExitCode::of(&run.result(&[])).code()
        };
        let refused = Failure::new(Step::Connect, FailureKind::Refused);
        let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts);
        let cancelled = Failure::new(Step::S1, FailureKind::Cancelled);
        assert_eq!(nothing(refused, None), 5);
        assert_eq!(nothing(Failure::new(Step::Connect, FailureKind::Timeout), None), 5);
        assert_eq!(nothing(no_ports, None), 1);
        assert_eq!(nothing(no_ports, Some(Signal::Interrupt)), 1);
        assert_eq!(nothing(cancelled, None), 1, "the kernel refused every operation");
        assert_eq!(nothing(cancelled, Some(Signal::Interrupt)), 130);
        assert_eq!(nothing(refused, Some(Signal::Terminate)), 143);
    }

    #[test]
    fn cpu_time_is_shared_by_all_attempts() {
        let result = fixtures::closed_result(&[], Failure::new(Step::S0, FailureKind::Reset), Some(50.0));
        // Half of 2 s in 1 000 attempts.
        assert_eq!(result.generator.cpu_us_per_attempt, Some(1_000.0));
    }
}
