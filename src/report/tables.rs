//! What the tables of a report contain, as cells: terminal, Markdown and HTML lay the same cells out.

use std::collections::BTreeSet;

use super::quantity::{percent, span};
use super::summary::measured;
use crate::base::rate_text;
use crate::measure::{LatencySummary, Metric, Until};
use crate::run::{ReactionRow, Row, RunResult, StormRow, ThresholdResult};

/// Cells below a heading. The first column is text, the others are numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// A cell for each column; the first names the table.
    pub heading: Vec<String>,
    /// As many cells each.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<'a>(
        heading: impl IntoIterator<Item = &'a str>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        Self { heading: heading.into_iter().map(str::to_owned).collect(), rows: rows.into_iter().collect() }
    }
}

/// The conditions asked, what they met, and whether they hold.
pub(super) fn thresholds(result: &RunResult) -> Table {
    thresholds_of(&result.thresholds)
}

/// The same of any conditions.
pub(super) fn thresholds_of(thresholds: &[ThresholdResult]) -> Table {
    let rows = thresholds.iter().map(|threshold| {
        let mark = match threshold.pass {
            Some(true) => "met",
            Some(false) => "missed",
            None => "unknown",
        };
        vec![threshold.expression.clone(), measured(threshold), mark.to_owned()]
    });
    Table::new(["thresholds", "measured", ""], rows)
}

/// A row for each metric with samples.
pub(super) fn latency(result: &RunResult) -> Table {
    let measured = Metric::ALL.into_iter().filter_map(|metric| Some((metric, result.latency.get(metric)?)));
    let measured: Vec<_> = measured.filter(|(_, summary)| summary.count > 0).collect();
    let table = |heading: &[&'static str], of: &dyn Fn(&LatencySummary) -> Vec<String>| {
        let row = |(metric, summary): &(Metric, &LatencySummary)| {
            std::iter::once(metric.to_string()).chain(of(summary)).collect::<Vec<_>>()
        };
        Table::new(heading.iter().copied(), measured.iter().map(row))
    };
    if measured.iter().any(|(_, summary)| summary.p90_ns.is_some()) {
        return table(&["latency", "p50", "p90", "p99", "p99.9", "max"], &|summary| {
            [summary.p50_ns, summary.p90_ns, summary.p99_ns, summary.p999_ns, summary.max_ns].map(span).to_vec()
        });
    }
    // Few samples have few percentiles, or none.
    let number = |summary: &LatencySummary| summary.count.to_string();
    if measured.iter().any(|(_, summary)| summary.p50_ns.is_some()) {
        return table(&["latency", "n", "min", "mean", "p50", "max"], &|summary| {
            let spans = [summary.min_ns, summary.mean_ns, summary.p50_ns, summary.max_ns].map(span);
            std::iter::once(number(summary)).chain(spans).collect()
        });
    }
    table(&["latency", "n", "min", "mean", "max"], &|summary| {
        std::iter::once(number(summary)).chain([summary.min_ns, summary.mean_ns, summary.max_ns].map(span)).collect()
    })
}

/// What the target did with hostile clients; what never happened has no column.
pub(super) fn reactions(result: &RunResult) -> Table {
    type Count = fn(&ReactionRow) -> u64;
    let hostile: Vec<_> = result.by_client.iter().filter_map(|row| Some((row, row.reactions.as_ref()?))).collect();
    let counts: [(&str, Count); 8] = [
        ("answered", |row| row.answered),
        ("in part", |row| row.partly_answered),
        ("closed", |row| row.closed),
        ("reset", |row| row.reset),
        ("left open", |row| row.open),
        ("left by us", |row| row.left),
        ("no connection", |row| row.not_connected),
        ("unexpected", |row| row.unexpected),
    ];
    let happened = |(_, count): &(&str, Count)| hostile.iter().any(|(_, reactions)| count(reactions) > 0);
    let counts: Vec<_> = counts.into_iter().filter(happened).collect();
    let heading = ["reactions to"].into_iter().chain(counts.iter().map(|(name, _)| *name)).chain(["open p50", "max"]);
    let row = |(row, reactions): &(&Row, &ReactionRow)| {
        let counted = counts.iter().map(|(_, count)| count(reactions).to_string());
        let times = [reactions.open_time.p50_ns, reactions.open_time.max_ns].map(span);
        std::iter::once(row.name.clone()).chain(counted).chain(times).collect::<Vec<_>>()
    };
    Table::new(heading, hostile.iter().map(row))
}

/// How fleets came back, and how far: what completes their attempts.
pub(super) fn storms(result: &RunResult) -> Table {
    let until = |storm: &StormRow| {
        let population = result.plan.populations.iter().find(|population| population.name == storm.population);
        population.map_or(Until::Handshake, |population| population.until)
    };
    let untils: BTreeSet<Until> = result.storms.iter().map(until).collect();
    // One word above the times of all, or one for each storm beside its name.
    let (after, each) = match untils.first() {
        Some(Until::Handshake) if untils.len() == 1 => ("50 % after".to_owned(), false),
        Some(until) if untils.len() == 1 => (format!("50 % {until} after"), false),
        _ => ("50 % after".to_owned(), true),
    };
    let row = |storm: &StormRow| {
        let times = [storm.back_50_ns, storm.back_90_ns, storm.back_99_ns, storm.back_100_ns].map(|time| match time {
            Some(_) => span(time),
            None => "never".to_owned(),
        });
        let attempts = storm.attempts_per_success.map_or("-".to_owned(), |attempts| format!("{attempts:.2}"));
        let until = if each { format!(", until {}", until(storm)) } else { String::new() };
        let name = format!("{}: {}{until}", storm.population, storm.stage);
        let cells = [name, format!("{} of {}", storm.back, storm.fleet)];
        cells.into_iter().chain(times).chain([attempts]).collect::<Vec<_>>()
    };
    let heading = ["storm", "back", &after, "90 %", "99 %", "100 %", "attempts each"];
    Table::new(heading, result.storms.iter().map(row))
}

/// The attempts by population, stage, target, client and backend: those tables that have something to tell apart.
pub(super) fn breakdowns(result: &RunResult) -> Vec<Table> {
    let mut tables = vec![
        breakdown("by population", result.by_population.iter(), "due"),
        breakdown("by stage", result.by_stage.iter(), "due"),
        breakdown("by target", asked_targets(result).into_iter(), "due"),
        breakdown("by client", result.by_client.iter(), "due"),
    ];
    // One backend has its name among the outcomes.
    if result.by_backend.len() > 1 {
        tables.push(breakdown("by backend", result.by_backend.iter(), "accepted"));
    }
    tables.retain(|table| !table.rows.is_empty());
    tables
}

fn breakdown<'a>(title: &str, rows: impl Iterator<Item = &'a Row> + Clone, due: &str) -> Table {
    let open_loop = rows.clone().any(|row| row.latency.get(Metric::Response).is_some());
    let metric = if open_loop { Metric::Response } else { Metric::Service };
    let any =
        |of: fn(&LatencySummary) -> Option<u64>| rows.clone().any(|row| row.latency.get(metric).and_then(of).is_some());
    // Percentiles that no row has samples for are no columns.
    type Number = (&'static str, fn(&LatencySummary) -> Option<u64>);
    let p50: Number = ("p50", |summary| summary.p50_ns);
    let p99: Number = ("p99", |summary| summary.p99_ns);
    let mean: Number = ("mean", |summary| summary.mean_ns);
    let max: Number = ("max", |summary| summary.max_ns);
    let middle = if any(p50.1) { p50 } else { mean };
    let high = if any(p99.1) { p99 } else { max };
    let cells = |row: &Row| {
        let number = |(_, of): Number| span(row.latency.get(metric).and_then(of));
        vec![
            name(row),
            row.attempts.due.to_string(),
            rate_text(row.rate.completed_per_s),
            percent(row.attempts.failed, row.attempts.due),
            number(middle),
            number(high),
        ]
    };
    let named = format!("{metric} {}", middle.0);
    // Of hostile clients alone there are no latencies.
    let columns = if any(max.1) { 6 } else { 4 };
    let heading = [title, due, "completed", "failed", &named, high.0];
    Table::new(
        heading.into_iter().take(columns),
        rows.clone().map(|row| cells(row).into_iter().take(columns).collect::<Vec<_>>()),
    )
}

fn name(row: &Row) -> String {
    let population = row.population.as_ref().map(|population| format!("{population}: ")).unwrap_or_default();
    let warmup = if row.warmup && row.name != "warm-up" { " (warm-up)" } else { "" };
    format!("{population}{}{warmup}", row.name)
}

/// The rows of targets that something was asked of; of the canary's alone there is nothing to tell.
pub(super) fn asked_targets(result: &RunResult) -> Vec<&Row> {
    let is_asked = |target: usize| {
        let mut shares = result.plan.asked().flat_map(|population| &population.targets);
        shares.any(|share| usize::from(share.target) == target)
    };
    let rows: Vec<_> = result.by_target.iter().enumerate().filter(|(target, _)| is_asked(*target)).collect();
    if rows.len() > 1 { rows.into_iter().map(|(_, row)| row).collect() } else { Vec::new() }
}
