//! The report for people: one screen.

use anstyle::{AnsiColor, Style as Ansi};

use super::quantity::{count, seconds};
use super::summary::Summary;
use super::tables::{self, Table};
use super::{outcomes, plot};
use crate::run::{Event, FailureRow, RunResult, Severity, Verdict};

/// How a report may look; asked of the terminal by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub color: bool,
    /// Columns; text is wrapped, tables are not. Taken as at least 40.
    pub width: u16,
}

/// Most rows of a table of failures, stages, targets: the rest is counted and stands in the result file.
const MOST_ROWS: usize = 8;
/// Most of a server's reasons below a failure, likewise.
const MOST_REASONS: usize = 3;

/// Most rows by client: as many as there are clients, so that a mix of all imitated and hostile ones is seen whole.
const MOST_CLIENTS: usize = 32;

/// Width of the labels at the left.
const LABEL: usize = 11;

const PLAIN: Ansi = Ansi::new();
const BOLD: Ansi = Ansi::new().bold();

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
    page.table(&tables::reactions(result), usize::MAX);
    storms(&mut page, result);
    recoveries(&mut page, result);
    for table in tables::breakdowns(result) {
        page.table(&table, if table.heading[0] == "by client" { MOST_CLIENTS } else { MOST_ROWS });
    }
    events(&mut page, &result.events);
    findings(&mut page, result);
    page.text
}

fn head(page: &mut Page, result: &RunResult) {
    let summary = Summary::of(result);
    page.labelled("target", &summary.target);
    for (index, load) in summary.load.iter().enumerate() {
        page.labelled(if index == 0 { "load" } else { "" }, load);
    }
    page.labelled("result", &summary.result);
    let color = match summary.verdict {
        Verdict::Pass => AnsiColor::Green,
        Verdict::Fail => AnsiColor::Red,
        Verdict::Inconclusive => AnsiColor::Yellow,
    };
    page.labelled_with("verdict", (&summary.verdict.to_string(), colored(color)), &format!(": {}", summary.reason));
    if result.thresholds.len() > 1 {
        page.table(&tables::thresholds(result), usize::MAX);
    }
}

fn latency(page: &mut Page, result: &RunResult) {
    page.table(&tables::latency(result), usize::MAX);
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
    let plots = plot::timeline(&result.timeline, planned, page.style.color, page.style.width);
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
    page.table(&tables::storms(result), usize::MAX);
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

fn findings(page: &mut Page, result: &RunResult) {
    if result.generator.findings.is_empty() {
        return;
    }
    page.title("findings");
    for finding in outcomes::findings_by_severity(&result.generator.findings) {
        let color = match finding.severity {
            Severity::Info => AnsiColor::Cyan,
            Severity::Warning => AnsiColor::Yellow,
            Severity::Blocking => AnsiColor::Red,
        };
        let text = format!(" {}: {}", finding.code, finding.message);
        page.item((&finding.severity.to_string(), colored(color)), &text, &finding.remedy);
    }
}

fn colored(color: AnsiColor) -> Ansi {
    BOLD.fg_color(Some(color.into()))
}

/// The text so far.
struct Page {
    text: String,
    style: Style,
}

/// The beginning of a line, perhaps coloured, and the columns it takes.
struct Lead {
    text: String,
    columns: usize,
}

impl Page {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A heading after an empty line.
    fn title(&mut self, title: &str) {
        self.blank();
        let lead = self.lead(&[(title, BOLD)]);
        self.line(&lead.text);
    }

    /// A label and its text, wrapped at the text's column.
    fn labelled(&mut self, label: &str, text: &str) {
        self.labelled_with(label, ("", PLAIN), text);
    }

    /// A label, a first word in its own style, and text.
    fn labelled_with(&mut self, label: &str, (word, ansi): (&str, Ansi), text: &str) {
        let gap = " ".repeat(LABEL.saturating_sub(label.len()));
        let lead = self.lead(&[(label, BOLD), (&gap, PLAIN), (word, ansi)]);
        self.wrapped(lead, LABEL, text);
    }

    /// An entry of a list, its first word in a style of its own, and below it what to do about it.
    fn item(&mut self, (word, ansi): (&str, Ansi), text: &str, remedy: &str) {
        let entry = self.lead(&[("  ", PLAIN), (word, ansi)]);
        self.wrapped(entry, 4, text);
        self.remedy(remedy);
    }

    /// What to do about the entry above.
    fn remedy(&mut self, remedy: &str) {
        let arrow = self.lead(&[("    -> ", PLAIN)]);
        self.wrapped(arrow, 7, remedy);
    }

    /// How many entries of a list are not shown.
    fn rest(&mut self, entries: usize, shown: usize, thing: &str) {
        if entries > shown {
            self.line(&format!("  and {} in the result file", count(entries - shown, thing)));
        }
    }

    /// Aligned columns below a heading of their own: the first to the left, the others to the right; at most `most` rows.
    fn table(&mut self, table: &Table, most: usize) {
        if table.rows.is_empty() {
            return;
        }
        let shown = &table.rows[..table.rows.len().min(most)];
        let mut widths: Vec<usize> = table.heading.iter().map(|cell| columns(cell)).collect();
        widths[0] = widths[0].max(LABEL);
        for row in shown {
            for (width, (column, cell)) in widths.iter_mut().zip(row.iter().enumerate()) {
                *width = (*width).max(columns(cell) + if column == 0 { 2 } else { 0 });
            }
        }
        let aligned = |indent: &str, cells: &[String]| {
            let first = format!("{:width$}", format!("{indent}{}", cells[0]), width = widths[0]);
            let others = cells.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
            first + &others.collect::<String>()
        };
        self.title(aligned("", &table.heading).trim_end());
        for row in shown {
            self.line(&aligned("  ", row));
        }
        self.rest(table.rows.len(), most, "more row");
    }

    /// Words after `lead`; further lines start at column `indent`.
    fn wrapped(&mut self, lead: Lead, indent: usize, text: &str) {
        let width = usize::from(self.style.width).max(40);
        // Text that starts with a blank is set apart from its lead, other text (": ...") follows at once.
        let (mut line, mut column, mut fresh) = (lead.text, lead.columns, !text.starts_with(' '));
        for word in unbreakable(text) {
            if !fresh && column + 1 + columns(&word) > width {
                self.line(&line);
                (line, column, fresh) = (" ".repeat(indent), indent, true);
            }
            if !fresh {
                line.push(' ');
                column += 1;
            }
            line.push_str(&word);
            column += columns(&word);
            fresh = false;
        }
        self.line(&line);
    }

    fn lead(&self, pieces: &[(&str, Ansi)]) -> Lead {
        let mut lead = Lead { text: String::new(), columns: 0 };
        for (text, ansi) in pieces {
            lead.columns += columns(text);
            if self.style.color && *ansi != PLAIN && !text.is_empty() {
                lead.text += &format!("{ansi}{text}{ansi:#}");
            } else {
                lead.text += text;
            }
        }
        lead
    }
}

/// The words of `text`; a number and its unit are one.
fn unbreakable(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = word.trim_end_matches([',', ';', ')', ':']);
        match words.last_mut() {
            Some(number) if ["ns", "us", "ms", "s", "%"].contains(&unit) => *number += &format!(" {word}"),
            _ => words.push(word.to_owned()),
        }
    }
    words
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests;
