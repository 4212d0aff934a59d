//! The report for people: one screen.

pub use super::page::Style;
use super::page::{PLAIN, Page, verdict_style};
use super::quantity::{count, seconds};
use super::summary::Summary;
use super::tables::{self, Table};
use super::{outcomes, plot};
use crate::run::{Event, FailureRow, RunResult};

/// Most rows of a table of failures, stages, targets: the rest is counted and stands in the result file.
const MOST_ROWS: usize = 8;
/// Most of a server's reasons below a failure, likewise.
const MOST_REASONS: usize = 3;

/// Most rows by client: as many as there are clients, so that a mix of all imitated and hostile ones is seen whole.
const MOST_CLIENTS: usize = 32;

/// The report of `result`.
pub fn render(result: &RunResult, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    head(&mut page, result);
    latency(&mut page, result);
    outcomes(&mut page, result);
    over_time(&mut page, result);
    for (title, rows) in outcomes::failure_lists(result) {
        failures(&mut page, &title, rows);
    }
    page.cells(&tables::reactions(result));
    storms(&mut page, result);
    recoveries(&mut page, result);
    for parts in tables::breakdowns(result) {
        table(&mut page, &parts, if parts.heading[0] == "by client" { MOST_CLIENTS } else { MOST_ROWS });
    }
    events(&mut page, &result.events);
    page.findings(&result.generator.findings);
    page.text
}

fn head(page: &mut Page, result: &RunResult) {
    let summary = Summary::of(result);
    page.labelled("target", &summary.target);
    for (index, load) in summary.load.iter().enumerate() {
        page.labelled(if index == 0 { "load" } else { "" }, load);
    }
    page.labelled("result", &summary.result);
    page.labelled_with(
        "verdict",
        (&summary.verdict.to_string(), verdict_style(summary.verdict)),
        &format!(": {}", summary.reason),
    );
    if result.thresholds.len() > 1 {
        page.cells(&tables::thresholds(result));
    }
}

fn latency(page: &mut Page, result: &RunResult) {
    page.cells(&tables::latency(result));
    if let Some(overflow) = outcomes::overflow(result) {
        page.labelled("", &overflow);
    }
}

fn outcomes(page: &mut Page, result: &RunResult) {
    let lines = outcomes::of(result);
    if !lines.is_empty() {
        page.blank();
    }
    for (label, text) in lines {
        page.labelled(label, &text);
    }
}

fn over_time(page: &mut Page, result: &RunResult) {
    let planned = result.rate.intended_per_s.is_some();
    let rows = plot::of_load(&result.timeline, result.window.end_s());
    let plots = plot::timeline(rows, planned, page.style.color, page.style.width);
    if !plots.is_empty() {
        page.title("over time");
        page.text += &plots;
    }
}

fn failures(page: &mut Page, title: &str, failures: &[FailureRow]) {
    page.title(title);
    for failure in outcomes::by_count(failures).into_iter().take(MOST_ROWS) {
        let detail = failure.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let (side, when) = (outcomes::whose(failure.side), outcomes::when(failure));
        let text = format!(" x {} {} ({side}, {when}){detail}", failure.step, failure.kind);
        let entry = page.lead(&[("  ", PLAIN), (&failure.count.to_string(), PLAIN)]);
        page.wrapped(entry, 4, &text);
        reasons(page, failure);
        page.remedy(&failure.advice);
    }
    page.rest(failures.len(), MOST_ROWS, "more kind");
}

/// What servers said, the most frequent first.
fn reasons(page: &mut Page, failure: &FailureRow) {
    for reason in outcomes::reasons_by_count(failure).into_iter().take(MOST_REASONS) {
        let lead = page.lead(&[("    ", PLAIN), (&reason.count.to_string(), PLAIN)]);
        page.wrapped(lead, 6, &format!(" x \"{}\"", reason.text));
    }
    let reasons = failure.reasons.len();
    if reasons > MOST_REASONS {
        page.line(&format!("    and {} in the result file", count(reasons - MOST_REASONS, "more reason")));
    }
}

/// How fleets came back.
fn storms(page: &mut Page, result: &RunResult) {
    page.cells(&tables::storms(result));
    for note in outcomes::storm_notes(result) {
        let lead = page.lead(&[("  ", PLAIN)]);
        page.wrapped(lead, 4, &note);
    }
}

/// Whether the target accepted again.
fn recoveries(page: &mut Page, result: &RunResult) {
    let recoveries = outcomes::recoveries(result);
    if !recoveries.is_empty() {
        page.blank();
    }
    for recovery in recoveries {
        page.labelled("recovery", &recovery);
    }
}

/// What happened while the load ran.
fn events(page: &mut Page, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    page.title("events");
    for event in events.iter().take(MOST_ROWS) {
        let lead = page.lead(&[("  ", PLAIN), (&seconds(event.t_s), PLAIN)]);
        page.wrapped(lead, 4, &format!(" {}: {}", event.code, event.text));
    }
    page.rest(events.len(), MOST_ROWS, "more event");
}

/// A table of at most `most` rows.
fn table(page: &mut Page, table: &Table, most: usize) {
    let heading: Vec<_> = table.heading.iter().map(String::as_str).collect();
    page.table(&heading, table.rows.iter().take(most).cloned().collect());
    page.rest(table.rows.len(), most, "more row");
}

#[cfg(test)]
mod tests;
