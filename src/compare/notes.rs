//! What may explain a difference beside the targets, and what is left out of a comparison.

use std::collections::BTreeSet;

use super::measured::Measured;
use super::metric::common;
use super::{Side, metric};

/// Notes on all sides, what matters most first.
pub(super) fn of(sides: &[Side]) -> Vec<String> {
    let mut notes: Vec<String> = sides.iter().flat_map(of_side).collect();
    notes.extend(environments(sides));
    notes.extend(in_turn(sides));
    notes.extend(left_out(sides));
    notes
}

fn of_side(side: &Side) -> Vec<String> {
    let (name, results) = (&side.name, side.results.len());
    let mut notes = Vec::new();
    for reason in distinct(side.results.iter().filter_map(|result| result.limited).map(str::to_owned)) {
        let limited = side.results.iter().filter(|result| result.limited == Some(reason.as_str())).count();
        notes.push(format!(
            "{reason} in {limited} of {results} results of {name}: they are lower bounds, and the targets are not \
             compared; see what `shakedown report` finds there"
        ));
    }
    let interrupted = side.results.iter().filter(|result| result.interrupted.is_some()).count();
    if interrupted > 0 {
        notes.push(format!(
            "{interrupted} of {results} results of {name} were interrupted: they cover less than planned"
        ));
    }
    let targets = distinct(side.results.iter().map(|result| result.target.clone()));
    if targets.len() > 1 {
        notes.push(format!("the results of {name} are of different targets: {}", listed(&targets)));
    }
    notes
}

/// What differs between the machines and programs that measured.
fn environments(sides: &[Side]) -> Vec<String> {
    let all = || sides.iter().flat_map(|side| &side.results);
    let differs = |what: &str, of: &dyn Fn(&Measured) -> String| {
        let values = distinct(all().map(of));
        (values.len() > 1).then(|| format!("the results differ in {what}, too: {}", listed(&values)))
    };
    let commit = |result: &Measured| match &result.tool.commit {
        Some(commit) => format!("{} ({commit})", result.tool.version),
        None => result.tool.version.clone(),
    };
    [
        differs("the version that measured", &commit),
        differs("the kernel", &|result| result.environment.kernel.clone()),
        differs("the CPU model", &|result| result.environment.cpu_model.clone()),
        differs("the number of CPUs", &|result| result.environment.cpus.to_string()),
        differs("the CPUs of the workers", &|result| format!("{:?}", result.cpus)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs that were made one side after the other differ by whatever else changed in between.
fn in_turn(sides: &[Side]) -> Option<String> {
    // Instants of one form and one time zone: their texts are in their order.
    let started = |side: &Side| {
        let mut texts: Vec<_> = side.results.iter().map(|result| result.started_at.clone()).collect();
        texts.sort_unstable();
        (texts[0].clone(), texts[texts.len() - 1].clone())
    };
    let (baseline, others) = sides.split_first()?;
    let (first, last) = started(baseline);
    let apart = |side: &&Side| {
        let (other_first, other_last) = started(side);
        side.results.len() > 1 && (last < other_first || other_last < first)
    };
    let apart: Vec<_> = others.iter().filter(apart).map(|side| side.name.clone()).collect();
    (!apart.is_empty() && baseline.results.len() > 1).then(|| {
        format!(
            "all runs of {} were made before or after all of {}: whatever else changed in between is part of the \
             difference; take turns, as `shakedown bench` does",
            listed(&apart),
            baseline.name
        )
    })
}

/// Metrics that some result has and some other does not support.
fn left_out(sides: &[Side]) -> Option<String> {
    let (baseline, others) = sides.split_first()?;
    let compared: BTreeSet<String> =
        others.iter().flat_map(|side| common(baseline, side)).map(|common| common.metric).collect();
    let readings = sides.iter().flat_map(|side| &side.results).flat_map(|result| &result.readings);
    let known = readings.filter(|reading| reading.value.is_some() && !metric::is_left_out_at_zero(&reading.metric));
    let missing = distinct(known.map(|reading| reading.metric.clone()).filter(|name| !compared.contains(name)));
    (!missing.is_empty()).then(|| {
        format!(
            "left out, for not every result supports it (a percentile needs 10 samples above it): {}",
            listed(&missing)
        )
    })
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

fn listed(values: &[String]) -> String {
    values.join(", ")
}
