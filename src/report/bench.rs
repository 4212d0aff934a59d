//! What came of a suite: the table for the terminal, and the page that a comparison is published as.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table as ColumnTable};

use super::compare::one_line;
use super::markdown::escaped;
use super::quantity::value;
use super::tables::Table;
use crate::base::visible_lines;
use crate::bench::{BenchMetric, BenchResult, BenchRow, BenchTarget, Measure, RunRow};
use crate::run::Unit;

/// A value with its unit.
pub fn told(unit: Unit, number: f64) -> String {
    value(unit, number)
}

/// The table and its remarks, for people, at most `width` columns wide. Percentiles beside the median and the 99th are
/// left to the page.
pub fn text(result: &BenchResult, width: u16) -> String {
    let left_out = |metric: &str| metric.ends_with(".p90") || metric.ends_with(".p99.9");
    let cells = cells(result, |metric| !left_out(metric), "\n");
    let mut table = ColumnTable::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(cells.heading).add_rows(cells.rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut page = format!("{}\n\n", headline(result));
    for line in table.to_string().lines() {
        page += line.trim_end();
        page.push('\n');
    }
    let mut remarks = remarks(result);
    if metrics(result).iter().any(|metric| left_out(&metric.metric)) {
        remarks.push("p90 and p99.9 are on the page: --format md or html".to_owned());
    }
    if !remarks.is_empty() {
        page.push('\n');
    }
    for remark in remarks {
        page += &format!("{remark}\n");
    }
    page
}

/// The page to publish in Markdown: one table, then all that a reader needs to judge and to repeat it.
pub fn markdown(result: &BenchResult) -> String {
    let mut page = format!("# {}\n\n{}\n\n", escaped(&one_line(&result.title)), escaped(&headline(result)));
    page += &markdown_table(&cells(result, |_| true, " "));
    let remarks = remarks(result);
    if !remarks.is_empty() {
        page.push('\n');
    }
    for remark in remarks {
        page += &format!("- {}\n", escaped(&remark));
    }
    page += "\n## Targets\n\n";
    page += &markdown_table(&targets(&result.targets));
    page += "\n## Generator\n\n";
    let mut facts = generator(result);
    facts.heading = vec!["generator".to_owned(), String::new()];
    page += &markdown_table(&facts);
    page += "\n## Commands\n\n";
    page += &fenced("sh", &commands(result));
    page += "\n## All runs\n\n";
    page += &markdown_table(&runs(result));
    for target in &result.targets {
        for (name, text) in &target.attachments {
            page += &format!("\n## {} of {}\n\n", escaped(&one_line(name)), escaped(&one_line(&target.name)));
            page += &fenced("", &visible_lines(text));
        }
    }
    page
}

/// What it is of, and how it was measured.
pub(super) fn headline(result: &BenchResult) -> String {
    let measured = match result.measure {
        Measure::Run => "runs",
        Measure::Capacity => "capacity searches",
    };
    let rounds = result.rows.iter().map(|row| row.runs.len()).max().unwrap_or(0);
    let early = if result.interrupted.is_some() { ", interrupted" } else { "" };
    one_line(&format!(
        "{}: medians of {rounds} {measured} a row (lowest to highest), in turn{early}; {}",
        result.title, result.started_at
    ))
}

/// A row for each target and variant, a column for each metric of those `shown` that some run has; `gap` stands between a
/// median and its range.
pub(super) fn cells(result: &BenchResult, shown: impl Fn(&str) -> bool, gap: &str) -> Table {
    let metrics: Vec<&str> =
        metrics(result).into_iter().map(|metric| metric.metric.as_str()).filter(|name| shown(name)).collect();
    let varies = result.rows.iter().any(|row| !row.variant.to_string().is_empty());
    let heading = ["target"].into_iter().chain(varies.then_some("asked")).chain(["runs"]);
    let row = |row: &BenchRow| {
        let known = row.runs.iter().filter(|run| run.started_at.is_some()).count();
        let asked = varies.then(|| one_line(&row.variant.to_string()));
        let values = metrics.iter().map(|name| row.metric(name).map_or("-".to_owned(), |metric| summary(metric, gap)));
        let first = [one_line(&row.target)].into_iter().chain(asked);
        first.chain([format!("{known}/{}", row.runs.len())]).chain(values).collect()
    };
    Table {
        heading: heading.chain(metrics.iter().copied()).map(one_line).collect(),
        rows: result.rows.iter().map(row).collect(),
    }
}

/// Each metric that some run has, once.
fn metrics(result: &BenchResult) -> Vec<&BenchMetric> {
    let mut metrics: Vec<&BenchMetric> = Vec::new();
    for metric in result.rows.iter().flat_map(|row| &row.metrics) {
        if metric.runs > 0 && !metrics.iter().any(|known| known.metric == metric.metric) {
            metrics.push(metric);
        }
    }
    metrics
}

fn summary(metric: &BenchMetric, gap: &str) -> String {
    let [median, min, max] = [metric.median, metric.min, metric.max].map(|number| value(metric.unit, number));
    if min == max { median } else { format!("{median}{gap}({min} to {max})") }
}

/// As they can be given again, a line each.
pub(super) fn commands(result: &BenchResult) -> String {
    let commands: Vec<_> = result.rows.iter().map(|row| one_line(&row.command)).collect();
    commands.join("\n")
}

/// What keeps a row from being believed: once for each remark, with the rounds.
pub(super) fn remarks(result: &BenchResult) -> Vec<String> {
    let mut remarks: Vec<(String, Vec<String>)> = Vec::new();
    for row in &result.rows {
        for run in &row.runs {
            let Some(why) = &run.remark else { continue };
            let variant = row.variant.to_string();
            let asked = if variant.is_empty() { String::new() } else { format!(" ({variant})") };
            let text = one_line(&format!("{}{asked}: {why}", row.target));
            match remarks.iter_mut().find(|(known, _)| *known == text) {
                Some((_, rounds)) => rounds.push(run.round.to_string()),
                None => remarks.push((text, vec![run.round.to_string()])),
            }
        }
    }
    remarks.into_iter().map(|(text, rounds)| format!("{text}; in round {}", rounds.join(", "))).collect()
}

/// What is known of each target.
pub(super) fn targets(targets: &[BenchTarget]) -> Table {
    let row = |target: &BenchTarget| {
        let labels: Vec<_> = target.labels.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let cpus: Vec<_> = target.cpus.iter().map(u32::to_string).collect();
        let attached: Vec<_> = target.attachments.keys().cloned().collect();
        let cells = [
            target.name.clone(),
            target.url.clone().unwrap_or_default(),
            labels.join(", "),
            target.processes.join(", "),
            cpus.join(", "),
            target.backlog.map_or(String::new(), |backlog| backlog.to_string()),
            attached.join(", "),
        ];
        cells.iter().map(|cell| one_line(cell)).collect()
    };
    let heading = ["target", "at", "labels", "processes here", "their CPUs", "backlog", "attached below"];
    Table { heading: heading.map(str::to_owned).to_vec(), rows: targets.iter().map(row).collect() }
}

/// Names and values.
pub(super) fn generator(result: &BenchResult) -> Table {
    let commit = result.tool.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let mut facts = vec![("shakedown".to_owned(), format!("{}{commit}", result.tool.version))];
    if let Some(environment) = &result.environment {
        facts.push(("kernel".to_owned(), environment.kernel.clone()));
        facts.push(("CPU".to_owned(), format!("{} allowed of {}", environment.cpus, environment.cpu_model)));
        facts.push(("engine".to_owned(), environment.engine.to_string()));
        facts.push(("open files".to_owned(), environment.nofile.to_string()));
    }
    facts.extend(result.settings.iter().map(|(name, value)| (name.clone(), value.clone())));
    let rows = facts.into_iter().map(|(name, value)| vec![one_line(&name), one_line(&value)]);
    Table { heading: Vec::new(), rows: rows.collect() }
}

/// Every value of every run.
pub(super) fn runs(result: &BenchResult) -> Table {
    let metrics = metrics(result);
    let heading = ["target", "asked", "round", "began", "CPUs", "exit code"].into_iter();
    let row = |(row, run): (&BenchRow, &RunRow)| {
        let cpus: Vec<_> = run.cpus.iter().map(u32::to_string).collect();
        let first = [
            row.target.clone(),
            row.variant.to_string(),
            run.round.to_string(),
            run.started_at.clone().unwrap_or_else(|| "-".to_owned()),
            cpus.join(", "),
            run.exit_code.map_or("-".to_owned(), |code| code.to_string()),
        ];
        let of =
            |metric: &&BenchMetric| run.values.get(&metric.metric).map_or("-".into(), |of| value(metric.unit, *of));
        first.into_iter().chain(metrics.iter().map(of)).map(|cell| one_line(&cell)).collect()
    };
    let mut all: Vec<_> = result.rows.iter().flat_map(|row| row.runs.iter().map(move |run| (row, run))).collect();
    all.sort_by_key(|(_, run)| run.round);
    Table {
        heading: heading.chain(metrics.iter().map(|metric| metric.metric.as_str())).map(one_line).collect(),
        rows: all.into_iter().map(row).collect(),
    }
}

fn markdown_table(table: &Table) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", " --- |".repeat(table.heading.len()));
    line(&table.heading) + &rule + &table.rows.iter().map(|row| line(row)).collect::<String>()
}

/// A block of code that its own content cannot end.
fn fenced(language: &str, text: &str) -> String {
    let mut longest = 2;
    let mut now = 0;
    for c in text.chars() {
        now = if c == '`' { now + 1 } else { 0 };
        longest = longest.max(now);
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end_matches('\n'))
}
