//! Whether the generator was the limit of what was asked, and what to know of it beside the numbers.

use super::outcome::shut_out;
use super::scope::Scope;
use super::{diagnosis, limiter, unserved};
use crate::base::Nanos;
use crate::finding::{Finding, FindingCode};
use crate::measure::{LatencySummary, Metric};
use crate::run::plan::{Hold, Lane, LoadPlan, Pace, Population};
use crate::run::result::{RunResult, WorkerRow};

/// Fewer of the planned attempts started than this: the plan was not carried out.
const LEAST_STARTED: f64 = 0.99;

/// Lateness is never held against the generator below this: a scheduler's time slice is of this order.
const LATENESS_FLOOR: Nanos = Nanos::from_millis(5);

/// A worker this busy has no time left for arrivals.
const BUSY_PERCENT: f64 = 95.0;

/// A worker that waited this long for its CPU shows others' work in its latencies.
const CPU_WAIT_PERCENT: f64 = 5.0;

/// Waits that are shorter on average are the time a wake-up takes.
const WAKE_UP: Nanos = Nanos::from_micros(30);

/// The findings that make the generator the limit; none: it did what was asked of it.
pub(super) fn generator_limits(result: &RunResult, tightest: Option<Nanos>) -> Vec<Finding> {
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
pub(super) fn remarks(result: &RunResult, tightest: Option<Nanos>) -> Vec<Finding> {
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
        remarks.push(Finding::warning(
            FindingCode::WorkerBusy,
            format!(
                "{busy_workers} of {} workers were busy {BUSY_PERCENT} % of the time or more",
                result.workers.len()
            ),
            "the generator may be what is measured: add cores and workers (-t), or a second machine (--share)",
        ));
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
    Some(Finding::warning(
        FindingCode::GeneratorPaused,
        format!("{times}: it was stopped, or had no CPU"),
        "what waited for it counts as lateness and is not held against the target; run it again undisturbed",
    ))
}

/// Hostile clients that never got a connection say nothing about what the target does with them.
fn never_connected(result: &RunResult) -> Option<Finding> {
    let names: Vec<_> = shut_out(result).collect();
    (!names.is_empty()).then(|| {
        Finding::warning(
            FindingCode::NeverConnected,
            format!("{} never got a connection: how the target treats them is unknown", names.join(", ")),
            "check that the server runs and listens on this address",
        )
    })
}

/// Other threads had the workers' CPUs: latencies contain the generator's own pauses.
fn cpu_contention(result: &RunResult) -> Option<Finding> {
    // A pinned thread that wakes often waits a little each time, on an idle machine too.
    let contended = |worker: &&WorkerRow| worker.cpu_wait_mean_ns.is_some_and(|mean| mean >= WAKE_UP.as_u64());
    let waits = result.workers.iter().filter(contended).filter_map(|worker| worker.cpu_wait_percent);
    let waited = waits.fold(0.0, f64::max);
    // Who may not run waits, too: for its quota, not for others.
    let throttled = result.generator.findings.iter().any(|finding| finding.code == FindingCode::CpuThrottled);
    (!throttled && waited >= CPU_WAIT_PERCENT).then(|| {
        Finding::warning(
            FindingCode::CpuContention,
            format!("a worker waited {waited:.0} % of the time for its CPU, which other threads had"),
            match result.workers.len() {
                1 => "latencies contain these pauses: stop other programs, or pin to a free CPU (--cpus)".to_owned(),
                _ => "latencies contain these pauses: stop other programs, or use fewer workers (-t)".to_owned(),
            },
        )
    })
}

fn local_errors(result: &RunResult) -> Option<Finding> {
    let local: Vec<_> = result.failures.iter().filter(|failure| failure.kind.is_local_limit()).collect();
    let first = local.first()?;
    let count: u64 = local.iter().map(|failure| failure.count).sum();
    let mut kinds: Vec<_> = local.iter().map(|failure| failure.kind.to_string()).collect();
    kinds.dedup();
    Some(Finding::warning(
        FindingCode::LocalErrors,
        format!("{count} attempts failed at a limit of this machine ({})", kinds.join(", ")),
        first.advice.clone(),
    ))
}

fn late_starts(result: &RunResult, population: &Population, scope: &Scope, tightest: Option<Nanos>) -> Option<Finding> {
    let limit = match tightest {
        Some(limit) => LATENESS_FLOOR.max(Nanos::new(limit.as_u64() / 10)),
        None => LATENESS_FLOOR + starting_time(result, population),
    };
    let (name, lateness) = highest_supported(scope.latency.get(Metric::Lateness)?)?;
    (lateness > limit).then(|| {
        Finding::warning(
            FindingCode::LateStarts,
            format!(
                "attempts of {} started late although slots were free: lateness {name} {lateness}, limit {limit}",
                population.name
            ),
            "lower the rate, or give the workers (-t) cores of their own; the numbers are a lower bound",
        )
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
    let longest = |metric| scope.latency.get(metric).and_then(|summary| summary.max_ns);
    let cause = match (longest(Metric::SlotWait), longest(Metric::Lateness)) {
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
                FindingCode::SlotsHeldByTarget,
                format!("{missed}: the target kept all {} slots busy", open_slots(population)),
                "the target is slower than the load: lower the rate, or raise -c to see its queue grow",
            ),
            Cause::Pool { slots, needed } => (
                FindingCode::PoolTooSmall,
                format!("{missed}: all {slots:.0} slots were busy, and the plan may need {needed:.0}"),
                "raise -c to rate x (timeout + hold), or shorten --timeout or --hold; the numbers are a lower bound",
            ),
            Cause::Generator => (
                FindingCode::MissedStarts,
                format!("{missed} although slots were free"),
                "lower the rate, or give the workers (-t) cores of their own; the numbers are a lower bound",
            ),
        };
        Finding::warning(code, message, remedy.to_owned())
    }
}

/// CPU time of all workers per attempt started, the warm-up's included on both sides.
pub(super) fn cpu_us_per_attempt(result: &RunResult) -> Option<f64> {
    let used_ns = result.workers.iter().map(|worker| worker.cpu_time_ns).sum::<Option<u64>>()?;
    let started = match result.by_stage.as_slice() {
        [] => result.attempts.started,
        stages => stages.iter().map(|stage| stage.attempts.started).sum(),
    };
    (started > 0 && !result.workers.is_empty()).then(|| used_ns as f64 / 1e3 / started as f64)
}
