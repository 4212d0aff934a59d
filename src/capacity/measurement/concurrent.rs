//! Connections held at once: how old an idle one gets, then as many as the target, the budget and this machine allow.

use crate::base::Nanos;
use crate::measure::Side;
use crate::run::{FailureRow, RunResult};

use crate::capacity::audience::Audience;
use crate::capacity::audience::Silent;
use crate::capacity::error::CapacityError;
use crate::capacity::result::{Concurrent, LimitedBy, TrialPurpose};
use crate::capacity::trial::run_trial;
use crate::capacity::trial::runner::Runner;
use crate::capacity::trial::shape::{Load, Shape, rate};

/// Idle connections watched.
const WATCHED: u32 = 8;
/// How long: servers close idle connections after 2 to 30 s.
pub const WATCH: Nanos = Nanos::from_secs(35);
/// Closures at ages this much apart are no time-out.
const AGE_SPREAD: f64 = 0.25;
/// What is closed at this part of the time-out's age or later is closed by it.
const IDLED_OUT: f64 = 0.8;
/// The ramp ends when this share of a second's attempts fails, two seconds in a row.
const ENDS_RAMP: &str = "failed>1% for 2s";
/// More of the ramp's attempts than this are loss.
const LOSS: f64 = 0.005;
/// A ramp that used this part of the slots used all of them.
const ALL_SLOTS: f64 = 0.99;
/// Memory that a held connection takes here and in the kernel, with room to spare.
const BYTES_EACH: u64 = 48 * 1024;

/// How many of the ramp's connections have a place to be held.
#[derive(Clone, Copy)]
enum Room {
    /// All of them.
    ForAll,
    /// So many, by the limits of open files and ports.
    Tables(u32),
    /// So many, by the memory that is free.
    Memory(u32),
}

/// The age at which the server closes connections that say nothing, and how long that was watched.
pub struct IdleTimeout {
    /// None if it closed none of them.
    pub age: Option<Nanos>,
    /// How long they were watched.
    pub watched: Nanos,
}

/// Watches a few idle connections until the server closes them, at most for `watch`.
///
/// # Errors
/// If they cannot be opened at all.
pub fn idle_timeout(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    watch: Nanos,
) -> Result<IdleTimeout, CapacityError> {
    let began = runner.elapsed();
    let plan = shape.plan(Load::Watched { count: WATCHED, hold: watch })?;
    let loaded = runner.run(plan, &mut Silent(audience))?;
    let result = RunResult::assemble(loaded.ran.parts);
    let watched = runner.elapsed().saturating_sub(began);
    Ok(IdleTimeout { age: closed_at(&result), watched })
}

/// The age at which most idle connections were closed, if it was about the same for all of them.
fn closed_at(result: &RunResult) -> Option<Nanos> {
    let ages = result.connections.lost_age.as_ref()?;
    let (least, most, mean) = (ages.min_ns?, ages.max_ns?, ages.mean_ns?);
    let most_closed = 2 * result.connections.lost_while_held >= result.attempts.completed;
    let together = (most - least) as f64 <= AGE_SPREAD * mean as f64;
    (most_closed && together).then_some(Nanos::new(mean))
}

/// Opens connections at `ramp_per_s` and keeps them, for `longest` or until something fails.
///
/// # Errors
/// If the ramp cannot be run at all.
pub fn ramp(
    runner: &mut Runner,
    audience: &mut impl Audience,
    shape: &Shape<'_>,
    (ramp_per_s, longest): (f64, Nanos),
    idle: &IdleTimeout,
) -> Result<(Concurrent, RunResult), CapacityError> {
    let arrivals = (ramp_per_s * longest.as_secs_f64()).ceil();
    let asked = arrivals.min(by_memory() as f64).max(1.0) as u32;
    let mut plan = shape.plan(Load::Held { rate: rate(ramp_per_s), length: longest, slots: asked })?;
    plan.abort_if.push(ENDS_RAMP.parse().expect("it is a condition"));
    let slots = plan.concurrency();
    let room = match (slots < asked, f64::from(asked) < arrivals) {
        (true, _) => Room::Tables(slots),
        (false, true) => Room::Memory(slots),
        (false, false) => Room::ForAll,
    };
    let trial = run_trial(runner, audience, plan, TrialPurpose::Hold, shape.deadline())?;
    let (row, result) = (trial.row, trial.result);
    // Arrivals without a slot were no attempts.
    let (attempts, lost) = (row.attempts - row.waiting.min(row.attempts), row.late + row.failed);
    let held = &result.connections;
    let idled_out = match (idle.age, &held.lost_age) {
        (Some(age), Some(ages)) => {
            let from = Nanos::from_secs_f64(age.as_secs_f64() * IDLED_OUT);
            let histogram = ages.histogram().map_err(|error| CapacityError::Environment(error.to_string()))?;
            histogram.count_between(from, Nanos::MAX)
        }
        _ => 0,
    };
    let lost_while_held = held.lost_while_held - idled_out.min(held.lost_while_held);
    let (limited_by, because) = limit(&result, (lost, attempts), lost_while_held, (held.held_peak, room), idled_out);
    let concurrent = Concurrent {
        idle_timeout_s: idle.age.map(Nanos::as_secs_f64),
        watched_s: idle.watched.as_secs_f64(),
        ramp_per_s,
        held_peak: held.held_peak,
        attempts,
        lost,
        lost_while_held,
        idled_out,
        limited_by,
        because,
        timeline: result.timeline.clone(),
    };
    Ok((concurrent, result))
}

/// What ended the ramp.
fn limit(
    result: &RunResult,
    (lost, attempts): (u64, u64),
    lost_while_held: u64,
    (peak, room): (u64, Room),
    idled_out: u64,
) -> (LimitedBy, String) {
    let worst = result.failures.iter().max_by_key(|failure| failure.count);
    let words = |row: &FailureRow| format!("{} {}", row.step, row.kind);
    if result.failures.iter().any(|failure| failure.kind.is_local_limit()) {
        return (LimitedBy::Generator, "this machine's own limits ended the ramp".to_owned());
    }
    let all_in_use = |slots: u32| peak as f64 >= ALL_SLOTS * f64::from(slots);
    match room {
        Room::Tables(slots) if all_in_use(slots) => {
            let text =
                format!("all {slots} slots that this machine's limits of open files and ports allow were in use");
            return (LimitedBy::Generator, text);
        }
        Room::Memory(slots) if all_in_use(slots) => {
            let text = format!("all {slots} slots that half of this machine's free memory has room for were in use");
            return (LimitedBy::Generator, text);
        }
        Room::Tables(_) | Room::Memory(_) | Room::ForAll => {}
    }
    if lost as f64 > LOSS * attempts as f64 || lost_while_held as f64 > LOSS * attempts as f64 {
        let side = worst.map_or(Side::Unattributed, |row| row.side);
        let what = worst.map_or_else(|| "attempts came late".to_owned(), words);
        let by = match side {
            Side::Network => LimitedBy::Network,
            Side::Generator => LimitedBy::Generator,
            Side::Target => LimitedBy::Target,
            Side::Unattributed => LimitedBy::Unattributed,
        };
        return (by, format!("beyond that it loses connections: {what}"));
    }
    if idled_out > 0 {
        let text = "its idle time-out closes connections as fast as the ramp opens them: no loss".to_owned();
        return (LimitedBy::Range, text);
    }
    let ended_by = match (result.interrupted, &result.ended_by) {
        (Some(_), _) => "a signal",
        (None, Some(_)) => "a condition",
        (None, None) => "the budget",
    };
    (LimitedBy::Range, format!("{ended_by} ended the ramp before anything was lost"))
}

/// Connections that half of the available memory has room for.
fn by_memory() -> u64 {
    let available = procfs::Current::current().ok().and_then(|memory: procfs::Meminfo| memory.mem_available);
    available.map_or(100_000, |bytes| (bytes / 2 / BYTES_EACH).max(1_000))
}
