//! What a comparison takes from a result file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::plans::comparable;
use crate::measure::{LatencySummary, Metric};
use crate::run::{Environment, Population, ResultFileError, RunResult, Signal, Tool, Unit};

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
    pub(super) target: String,
    /// The user's keys and values; attached files as their keys only.
    pub(super) labels: BTreeMap<String, String>,
    /// When the load began (RFC 3339).
    pub(super) started_at: String,
    pub(super) tool: Tool,
    pub(super) environment: Environment,
    /// The CPUs that workers were pinned to.
    pub(super) cpus: Vec<u32>,
    /// The generator was the limit of what was asked.
    pub(super) limited: bool,
    pub(super) interrupted: Option<Signal>,
    pub(super) readings: Vec<Reading>,
}

/// What measured a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `shakedown run`.
    Run,
}

/// One metric of one result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    /// Its name, as in thresholds.
    pub metric: String,
    pub unit: Unit,
    /// The value; none where the samples do not support one.
    pub value: Option<f64>,
    /// How exactly one result can tell it.
    pub error: Error,
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
    /// Reads a result file.
    ///
    /// # Errors
    /// As [`RunResult::read`].
    pub fn read(path: &Path) -> Result<Self, ResultFileError> {
        RunResult::read(path).map(|result| Self::of_run(path, &result))
    }

    /// What is compared of a run. Latencies are those of `response`, or of `service` in closed loop, which has no
    /// planned starts.
    pub fn of_run(path: &Path, result: &RunResult) -> Self {
        let open_loop = result.plan.asked().any(Population::is_open_loop);
        Self {
            file: path.to_owned(),
            kind: Kind::Run,
            plan: comparable(&result.plan),
            target: target(result),
            labels: result.labels.iter().map(|(key, value)| shown(key, value)).collect(),
            started_at: result.started_at.clone(),
            tool: result.tool.clone(),
            environment: result.environment.clone(),
            cpus: result.plan.cpus.clone(),
            // A closed loop asks for no rate: a saturated generator is what it measures there.
            limited: result.generator.limited && open_loop,
            interrupted: result.interrupted,
            readings: readings(result, open_loop),
        }
    }
}

/// Attached files may be long: they are named, not repeated.
fn shown(key: &str, value: &str) -> (String, String) {
    let value = if key.starts_with("attach:") { format!("{} bytes", value.len()) } else { value.to_owned() };
    (key.to_owned(), value)
}

fn target(result: &RunResult) -> String {
    if result.plan.built_in_sink {
        return "the built-in sink".to_owned();
    }
    let mut names: Vec<&str> = result.plan.targets.iter().map(|target| target.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

fn readings(result: &RunResult, open_loop: bool) -> Vec<Reading> {
    let attempts = &result.attempts;
    let one_attempt_per_s = if result.window.duration_s > 0.0 { 1.0 / result.window.duration_s } else { 0.0 };
    let rate = Reading {
        metric: "rate".to_owned(),
        unit: Unit::PerS,
        value: Some(result.rate.completed_per_s),
        error: Error::Within(one_attempt_per_s),
    };
    let share = |name: &str, count: u64| Reading {
        metric: name.to_owned(),
        unit: Unit::Ratio,
        value: (attempts.due > 0).then(|| count as f64 / attempts.due as f64),
        error: Error::Counted(attempts.due),
    };
    let mut readings = vec![rate, share("failed", attempts.failed)];
    if open_loop {
        readings.push(share("dropped", attempts.dropped));
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
