//! Whether results differ by more than the noise between runs.
//!
//! Several runs a side are compared metric by metric with the first side. The noise is taken from the runs themselves
//! (Welch's t): with one run a side nothing is known of it, and nothing is judged.

mod measured;
mod metric;
mod notes;
mod plans;
mod regression;
mod welch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::run::Tool;

pub use measured::{Kind, Measured, Reading};
pub use metric::{Better, Judgement, MetricRow, SideValues};
pub use plans::Difference;
pub use regression::{Regression, RegressionRow};

/// The schema of this version's comparisons.
pub const COMPARE_SCHEMA: &str = "shakedown.compare/1";

/// Each interval covers the true difference with this probability.
pub const CONFIDENCE: f64 = 0.95;

/// Results of the same thing.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name in the comparison.
    pub name: String,
    /// Its results; never empty.
    pub results: Vec<Measured>,
}

/// How strictly results are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rules {
    /// Compare results of different plans, and say what differs.
    pub anyway: bool,
    /// How much worse a side may be.
    pub regression: Option<Limit>,
}

/// How much worse a side may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The comparison fails where a metric is worse by more than this share beyond noise.
    pub limit: f64,
    /// Where the noise is too large to exclude that, it is inconclusive; else it passes.
    pub strict: bool,
}

/// Every side beside the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// [`COMPARE_SCHEMA`].
    pub schema: String,
    /// Who compared.
    pub tool: Tool,
    /// What measured the results.
    pub kind: Kind,
    /// Probability with which each interval covers the true difference.
    pub confidence: f64,
    /// The sides, the baseline first.
    pub sides: Vec<SideRow>,
    /// What differs between plans, beside targets, labels and attachments.
    pub differences: Vec<PlanDifference>,
    /// What may explain a difference beside the targets, and what is left out.
    pub notes: Vec<String>,
    /// Each further side against the first.
    pub pairs: Vec<Pair>,
    /// What became of the limit asked for; null if none was.
    pub regression: Option<Regression>,
}

/// A side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideRow {
    /// Its name.
    pub name: String,
    /// Its target's name.
    pub target: String,
    /// The labels that all its results share; of attached files the length.
    pub labels: BTreeMap<String, String>,
    /// Its result files.
    pub files: Vec<PathBuf>,
}

/// A difference between the plan of the first result and that of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanDifference {
    /// The other result.
    pub file: PathBuf,
    /// What differs.
    #[serde(flatten)]
    pub difference: Difference,
}

/// A side beside the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The first side's name.
    pub baseline: String,
    /// This side's name.
    pub side: String,
    /// What both measured.
    pub metrics: Vec<MetricRow>,
}

/// How a comparison ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is worse by more than the limit, or there is no limit.
    Pass,
    /// Something is.
    Worse,
    /// A limit was asked, and the results cannot tell: nothing could be tested or, if strictly asked, the noise is too
    /// large to exclude that something is.
    Inconclusive,
}

/// Why results cannot be compared: one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// There is nothing to compare with.
    #[error("one side is nothing to compare; give at least two, as A=old1.json,old2.json B=new1.json,new2.json")]
    OneSide,
    /// The same measurement counts twice.
    #[error(
        "{} and {} of {side} are the same result; noise shows only between different runs: give each once",
        .first.display(), .other.display()
    )]
    Twice {
        /// The side's name.
        side: String,
        /// The one.
        first: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A run and a capacity are two things.
    #[error("{} is the result of another command than {}; compare results of one", .other.display(), .first.display())]
    OtherKind {
        /// The first result.
        first: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// Other load, other numbers.
    #[error(
        "{} was asked something else than {}: {}; repeat one of them, or compare --anyway",
        .other.display(), .first.display(), named(.differences)
    )]
    OtherPlan {
        /// The first result.
        first: PathBuf,
        /// The other.
        other: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
}

/// Compares every side with the first.
///
/// # Errors
/// If there are fewer than two sides, a result is there twice in one, or the results are of different plans.
pub fn compare(sides: &[Side], rules: Rules) -> Result<Comparison, CompareError> {
    let [baseline, others @ ..] = sides else { return Err(CompareError::OneSide) };
    if others.is_empty() {
        return Err(CompareError::OneSide);
    }
    sides.iter().try_for_each(check_once)?;
    let differences = differences(sides, rules)?;
    let pairs: Vec<_> = others.iter().map(|side| metric::pair(baseline, side)).collect();
    Ok(Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        tool: Tool::this(),
        kind: baseline.results[0].kind,
        confidence: CONFIDENCE,
        sides: sides.iter().map(SideRow::of).collect(),
        differences,
        notes: notes::of(sides),
        regression: rules.regression.map(|limit| Regression::of(limit, baseline, others)),
        pairs,
    })
}

impl Comparison {
    /// How it ends.
    pub fn outcome(&self) -> Outcome {
        self.regression.as_ref().map_or(Outcome::Pass, Regression::outcome)
    }
}

impl SideRow {
    fn of(side: &Side) -> Self {
        let [first, others @ ..] = side.results.as_slice() else { unreachable!("a side has results") };
        let shared =
            |(key, value): &(&String, &String)| others.iter().all(|other| other.labels.get(*key) == Some(*value));
        let labels = first.labels.iter().filter(shared).map(|(key, value)| (key.clone(), value.clone()));
        Self {
            name: side.name.clone(),
            target: first.target.clone(),
            labels: labels.collect(),
            files: side.results.iter().map(|result| result.file.clone()).collect(),
        }
    }
}

fn check_once(side: &Side) -> Result<(), CompareError> {
    let same = |one: &Measured, two: &Measured| *one == Measured { file: one.file.clone(), ..two.clone() };
    for (index, other) in side.results.iter().enumerate() {
        if let Some(first) = side.results[..index].iter().find(|first| same(first, other)) {
            let [first, other] = [first, other].map(|result| result.file.clone());
            return Err(CompareError::Twice { side: side.name.clone(), first, other });
        }
    }
    Ok(())
}

/// What differs from the plan of the first result: refused, unless it is wanted.
fn differences(sides: &[Side], rules: Rules) -> Result<Vec<PlanDifference>, CompareError> {
    let mut results = sides.iter().flat_map(|side| &side.results);
    let Some(first) = results.next() else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for other in results {
        let files = || (first.file.clone(), other.file.clone());
        if other.kind != first.kind {
            let (first, other) = files();
            return Err(CompareError::OtherKind { first, other });
        }
        let differences = plans::differences(&first.plan, &other.plan);
        if !differences.is_empty() && !rules.anyway {
            let (first, other) = files();
            return Err(CompareError::OtherPlan { first, other, differences });
        }
        all.extend(differences.into_iter().map(|difference| PlanDifference { file: other.file.clone(), difference }));
    }
    Ok(all)
}

/// All differences in one line.
fn named(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests;
