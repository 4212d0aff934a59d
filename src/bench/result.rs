//! What came of a suite (`shakedown.bench/1`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::suite::{Measure, Measurement, Suite, Variant};
use crate::compare::Measured;
use crate::run::{Environment, Signal, Tool, Unit};

/// The schema of this version's bench files.
pub const BENCH_SCHEMA: &str = "shakedown.bench/1";

/// What came of a suite, and what a reader needs to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchResult {
    /// [`BENCH_SCHEMA`].
    pub schema: String,
    /// Who measured.
    pub tool: Tool,
    /// When the first measurement began (RFC 3339).
    pub started_at: String,
    /// The suite's title.
    pub title: String,
    /// What measured.
    pub measure: Measure,
    /// Rounds planned.
    pub rounds: u32,
    /// The machine of the generator; null if nothing was measured.
    pub environment: Option<Environment>,
    /// Its kernel's settings.
    pub settings: BTreeMap<String, String>,
    /// The targets, the control among them.
    pub targets: Vec<BenchTarget>,
    /// Every target under every variant.
    pub rows: Vec<BenchRow>,
    /// The signal that ended it early; null if it was measured whole.
    pub interrupted: Option<Signal>,
}

/// A target, as far as it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchTarget {
    /// Its name.
    pub name: String,
    /// Where it is, without what gives access; null for the control, whose place is another each time.
    pub url: Option<String>,
    /// What the suite says of it: its version, its cores.
    pub labels: BTreeMap<String, String>,
    /// The texts of its attached files.
    pub attachments: BTreeMap<String, String>,
    /// The processes that serve it, if it is on this machine.
    pub processes: Vec<String>,
    /// The CPUs that it may use, likewise.
    pub cpus: Vec<u32>,
    /// Connections that may wait to be accepted, likewise.
    pub backlog: Option<u64>,
}

/// A target under a variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRow {
    /// The target's name.
    pub target: String,
    /// How the load is varied.
    #[serde(flatten)]
    pub variant: Variant,
    /// The command, as it can be given again.
    pub command: String,
    /// One for each round, as far as it came.
    pub runs: Vec<RunRow>,
    /// Over the runs that gave a result.
    pub metrics: Vec<BenchMetric>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// The round, from 1.
    pub round: u32,
    /// When its load began (RFC 3339); null without a result.
    pub started_at: Option<String>,
    /// The command's exit code; null if a signal ended it.
    pub exit_code: Option<i32>,
    /// Why there is no result, or why it is no measure of the target; null if there is nothing to say.
    pub remark: Option<String>,
    /// The CPUs of the generator.
    pub cpus: Vec<u32>,
    /// The values of its metrics, each in its unit.
    pub values: BTreeMap<String, f64>,
}

/// A metric over all runs of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchMetric {
    /// Its name, as in thresholds.
    pub metric: String,
    /// The unit of its values.
    pub unit: Unit,
    /// How many runs have it.
    pub runs: usize,
    /// The median.
    pub median: f64,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
}

impl BenchResult {
    /// The result of a suite of which nothing is measured yet.
    pub fn new(
        suite: &Suite,
        started_at: String,
        settings: BTreeMap<String, String>,
        targets: Vec<BenchTarget>,
    ) -> Self {
        let first_round = suite.measurements().into_iter().filter(|one| one.round == 1);
        let row = |one: Measurement| BenchRow {
            target: suite.name(one.target).to_owned(),
            command: one.command_line(),
            variant: one.variant,
            runs: Vec::new(),
            metrics: Vec::new(),
        };
        Self {
            schema: BENCH_SCHEMA.to_owned(),
            tool: Tool::this(),
            started_at,
            title: suite.title.clone(),
            measure: suite.measure,
            rounds: suite.rounds,
            environment: None,
            settings,
            targets,
            rows: first_round.map(row).collect(),
            interrupted: None,
        }
    }

    /// Adds what a measurement gave.
    pub fn add(&mut self, measurement: &Measurement, exit_code: Option<i32>, measured: Result<Measured, String>) {
        let row = &mut self.rows[measurement.row];
        let run = match measured {
            Err(why) => RunRow {
                round: measurement.round,
                started_at: None,
                exit_code,
                remark: Some(why),
                cpus: Vec::new(),
                values: BTreeMap::new(),
            },
            Ok(measured) => {
                self.environment.get_or_insert_with(|| measured.environment.clone());
                row.add(measurement.round, exit_code, measured)
            }
        };
        row.runs.push(run);
        row.summarize();
    }

    /// Rows without a single result.
    pub fn missing(&self) -> impl Iterator<Item = &BenchRow> {
        self.rows.iter().filter(|row| row.runs.iter().all(|run| run.started_at.is_none()))
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a result has string keys only");
        text.push('\n');
        text
    }
}

impl BenchRow {
    fn add(&mut self, round: u32, exit_code: Option<i32>, measured: Measured) -> RunRow {
        for reading in &measured.readings {
            if !self.metrics.iter().any(|known| known.metric == reading.metric) {
                let (metric, unit) = (reading.metric.clone(), reading.unit);
                self.metrics.push(BenchMetric { metric, unit, runs: 0, median: 0.0, min: 0.0, max: 0.0 });
            }
        }
        let interrupted = measured.interrupted.map(|_| "interrupted".to_owned());
        let remark = interrupted.or(measured.nothing).or_else(|| measured.limited.map(str::to_owned));
        RunRow {
            round,
            started_at: Some(measured.started_at),
            exit_code,
            remark,
            cpus: measured.cpus,
            values: measured
                .readings
                .into_iter()
                .filter_map(|reading| Some((reading.metric, reading.value?)))
                .collect(),
        }
    }

    fn summarize(&mut self) {
        for metric in &mut self.metrics {
            let mut values: Vec<f64> =
                self.runs.iter().filter_map(|run| run.values.get(&metric.metric).copied()).collect();
            values.sort_by(f64::total_cmp);
            let (Some(min), Some(max)) = (values.first(), values.last()) else { continue };
            let middle = values.len() / 2;
            let median =
                if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
            (metric.runs, metric.median, metric.min, metric.max) = (values.len(), median, *min, *max);
        }
    }

    /// A metric that some run has.
    pub fn metric(&self, name: &str) -> Option<&BenchMetric> {
        self.metrics.iter().find(|metric| metric.metric == name && metric.runs > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::run::fixtures::open_result;

    fn measured(rate: f64) -> Measured {
        let mut result = open_result(&[]);
        result.rate.completed_per_s = rate;
        Measured::of_run(Path::new("run.json"), &result)
    }

    fn bench() -> (Vec<Measurement>, BenchResult) {
        let suite = Suite::parse("[[target]]\nname = \"a\"\nurl = \"h:1\"\n", Path::new("s.toml")).unwrap();
        let result = BenchResult::new(&suite, "2026-01-02T03:04:05Z".to_owned(), BTreeMap::new(), Vec::new());
        (suite.measurements(), result)
    }

    #[test]
    fn rows_have_medians_and_ranges_of_the_runs_that_gave_a_result() {
        let (measurements, mut result) = bench();
        let of_target: Vec<_> = measurements.iter().filter(|one| one.target == Some(0)).collect();
        for (one, measured) in of_target.iter().zip([
            Ok(measured(30.0)),
            Err("could not start".to_owned()),
            Ok(measured(10.0)),
            Ok(measured(20.0)),
            Ok(measured(90.0)),
        ]) {
            result.add(one, Some(0), measured);
        }
        let rate = result.rows[0].metric("rate").unwrap();
        assert_eq!((rate.runs, rate.median, rate.min, rate.max), (4, 25.0, 10.0, 90.0));
        assert_eq!(result.rows[0].metric("response.p99.9"), None, "2 000 attempts do not support it");
        assert_eq!(result.rows[0].runs[1].remark.as_deref(), Some("could not start"));
        let missing: Vec<_> = result.missing().map(|row| row.target.as_str()).collect();
        assert_eq!(missing, [super::super::suite::CONTROL]);
    }

    #[test]
    fn a_result_is_read_as_it_was_written() {
        let (measurements, mut result) = bench();
        result.add(&measurements[0], Some(0), Ok(measured(30.0)));
        result.add(&measurements[1], None, Err("killed".to_owned()));
        assert_eq!(serde_json::from_str::<BenchResult>(&result.to_text()).unwrap(), result);
    }
}
