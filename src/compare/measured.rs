//! What a comparison takes from a result file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plans;
use crate::base::{Seed, input};
use crate::capacity::{CAPACITY_SCHEMA, CapacityResult, Concurrent, GoalResult, LimitedBy, Outcome};
use crate::measure::{LatencySummary, Metric};
use crate::run::{
    Environment, FailureRow, Population, ResultFileError, RunResult, Signal, Tool, Unit, nothing_completed, schema_kind,
};

/// One result, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The file it was read from.
    pub file: PathBuf,
    /// What measured it.
    pub(super) kind: Kind,
    /// What was asked, without what may differ.
    pub(super) plan: Value,
    /// The targets' names; of the built-in sink, that.
    pub target: String,
    /// The user's keys and values; attached files as their keys only.
    pub(super) labels: BTreeMap<String, String>,
    /// When the load began (RFC 3339).
    pub started_at: String,
    /// Who measured.
    pub tool: Tool,
    /// Where it was measured from.
    pub environment: Environment,
    /// What its randomness came from: results of a simulation differ in nothing else.
    pub(super) seed: Seed,
    /// The CPUs that workers were pinned to.
    pub cpus: Vec<u32>,
    /// Why its numbers are lower bounds, and no measure of the target; none if they are one.
    pub limited: Option<&'static str>,
    /// Nothing completed, and why.
    pub nothing: Option<String>,
    /// The signal that ended it early.
    pub interrupted: Option<Signal>,
    /// Its metrics.
    pub readings: Vec<Reading>,
}

/// What measured a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `shakedown run`.
    Run,
    /// `shakedown capacity`.
    Capacity,
}

/// One metric of one result.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Its name, as in thresholds.
    pub metric: String,
    /// The unit of its value.
    pub unit: Unit,
    /// The value; none where the samples do not support one.
    pub value: Option<f64>,
    /// How exactly one result can tell it.
    pub(super) error: Error,
}

/// The error that a value has by the way it is measured, beside the noise between runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Error {
    /// It lies anywhere in a range as wide as this.
    Within(f64),
    /// It is a share of so many attempts.
    Counted(u64),
}

/// Buckets of the histograms are no wider than this part of their value: three significant digits.
const BUCKET: f64 = 1e-3;

/// Reads one name and number of a summary.
type Percentile = (&'static str, fn(&LatencySummary) -> Option<u64>);

const PERCENTILES: [Percentile; 4] = [
    ("p50", |summary| summary.p50_ns),
    ("p90", |summary| summary.p90_ns),
    ("p99", |summary| summary.p99_ns),
    ("p99.9", |summary| summary.p999_ns),
];

impl Measured {
    /// Reads a result file of a run or of a capacity search.
    ///
    /// # Errors
    /// As [`RunResult::read`] and [`CapacityResult::read`].
    pub fn read(path: &Path) -> Result<Self, ResultFileError> {
        Self::parse(&ResultFileError::read(path)?, input::name(path))
    }

    /// Reads a result file's text; `path` is named in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, ResultFileError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        match serde_json::from_str::<Head>(text) {
            Ok(Head { schema }) if schema_kind(&schema) == schema_kind(CAPACITY_SCHEMA) => {
                CapacityResult::parse(text, path).map(|result| Self::of_capacity(path, &result))
            }
            _ => RunResult::parse(text, path).map(|result| Self::of_run(path, &result)),
        }
    }

    /// What is compared of a run. Latencies are those of `response`, or of `service` in closed loop, which has no
    /// planned starts.
    pub fn of_run(path: &Path, result: &RunResult) -> Self {
        let open_loop = result.plan.asked().any(Population::is_open_loop);
        Self {
            file: path.to_owned(),
            kind: Kind::Run,
            plan: plans::of_run(&result.plan),
            target: target(result),
            labels: labels(&result.labels),
            started_at: result.started_at.clone(),
            tool: result.tool.clone(),
            environment: result.environment.clone(),
            seed: result.plan.seed,
            cpus: result.plan.cpus.clone(),
            // A closed loop asks for no rate: a saturated generator is what it measures there.
            limited: (result.generator.limited && open_loop).then_some("the generator was the limit"),
            nothing: nothing(nothing_completed(result).is_some(), &result.failures),
            interrupted: result.interrupted,
            readings: of_run(result, open_loop),
        }
    }

    /// What is compared of a capacity search: the confirmed rate of each goal, or the connections held at once.
    pub fn of_capacity(path: &Path, result: &CapacityResult) -> Self {
        let ended_by = |outcome| result.goals.iter().any(|goal| goal.outcome == outcome);
        let held_by = |limit| result.concurrent.as_ref().is_some_and(|concurrent| concurrent.limited_by == limit);
        Self {
            file: path.to_owned(),
            kind: Kind::Capacity,
            plan: plans::of_capacity(result),
            target: result.target.clone(),
            labels: labels(&result.labels),
            started_at: result.started_at.clone(),
            tool: result.tool.clone(),
            environment: result.environment.clone(),
            seed: result.plan.seed,
            cpus: result.plan.cpus.clone(),
            limited: if ended_by(Outcome::GeneratorLimited) || held_by(LimitedBy::Generator) {
                Some("the generator was the limit")
            } else if held_by(LimitedBy::Range) {
                Some("the ramp ended before the target's limit")
            } else {
                ended_by(Outcome::RangeLimited).then_some("the highest rate allowed was the limit")
            },
            nothing: result
                .baseline
                .as_ref()
                .and_then(|baseline| nothing(result.nothing_completed().is_some(), &baseline.failures)),
            interrupted: result.interrupted,
            readings: result.goals.iter().map(of_goal).chain(result.concurrent.as_ref().map(of_concurrent)).collect(),
        }
    }
}

/// That nothing completed, and the most frequent failure.
fn nothing(is_so: bool, failures: &[FailureRow]) -> Option<String> {
    let worst = failures.iter().max_by_key(|failure| failure.count);
    let why = worst.map_or_else(String::new, |worst| format!(": {} {}", worst.step, worst.kind));
    is_so.then(|| format!("nothing completed{why}"))
}

/// Attached files may be long: they are named, not repeated.
fn labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let shown = |(key, value): (&String, &String)| {
        let value = if key.starts_with("attach:") { format!("{} bytes", value.len()) } else { value.clone() };
        (key.clone(), value)
    };
    labels.iter().map(shown).collect()
}

fn target(result: &RunResult) -> String {
    if result.plan.built_in_sink {
        return "the built-in sink".to_owned();
    }
    let mut names: Vec<&str> = result.plan.targets.iter().map(|target| target.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

fn of_run(result: &RunResult, open_loop: bool) -> Vec<Reading> {
    let attempts = &result.attempts;
    let one_attempt_per_s = if result.window.duration_s > 0.0 { 1.0 / result.window.duration_s } else { 0.0 };
    let rate = Reading {
        metric: "rate".to_owned(),
        unit: Unit::PerS,
        value: Some(result.rate.completed_per_s),
        error: Error::Within(one_attempt_per_s),
    };
    let share = |name: &str, count: u64, of: u64| Reading {
        metric: name.to_owned(),
        unit: Unit::Ratio,
        value: (of > 0).then(|| count as f64 / of as f64),
        error: Error::Counted(of),
    };
    let mut readings = vec![rate, share("failed", attempts.failed, attempts.due)];
    if open_loop {
        readings.push(share("dropped", attempts.dropped, attempts.due));
    }
    if attempts.held > 0 {
        readings.push(share("lost", attempts.lost_while_held, attempts.held));
    }
    if result.media.publishers > 0 {
        readings.push(share("stalled", result.media.stalled, result.media.publishers));
    }
    let metric = if open_loop { Metric::Response } else { Metric::Service };
    readings.extend(PERCENTILES.into_iter().map(|(name, of)| {
        let value = result.latency.get(metric).and_then(of).map(|ns| ns as f64);
        Reading {
            metric: format!("{metric}.{name}"),
            unit: Unit::Ns,
            value,
            error: Error::Within(value.unwrap_or(0.0) * BUCKET),
        }
    }));
    readings
}

fn of_concurrent(concurrent: &Concurrent) -> Reading {
    Reading {
        metric: "held".to_owned(),
        unit: Unit::Count,
        value: Some(concurrent.held_peak as f64),
        error: Error::Within(1.0),
    }
}

/// The search tells the rate no more exactly than the bounds around it are apart.
fn of_goal(goal: &GoalResult) -> Reading {
    /// No rate, of attempts or of anything else that this program counts, comes near it.
    const IMPOSSIBLE: f64 = 1e15;
    let rate = |rate: Option<f64>| rate.filter(|rate| (0.0..IMPOSSIBLE).contains(rate));
    let width = match (rate(goal.lower_bound_per_s), rate(goal.upper_bound_per_s)) {
        (Some(low), Some(high)) => (high - low).max(0.0),
        _ => 0.0,
    };
    Reading {
        metric: format!("{}.confirmed", goal.name),
        unit: Unit::PerS,
        value: rate(goal.confirmed_per_s),
        error: Error::Within(width),
    }
}
