//! Text in columns: labels, wrapped words, tables, items. Every text is [`visible`] in it, so that none ends a line or takes
//! other columns than it seems to.

use anstyle::{AnsiColor, Style as Ansi};

use super::outcomes::findings_by_severity;
use super::quantity::count;
use super::tables::Table;
use crate::base::visible;
use crate::finding::{Finding, Severity};
use crate::run::Verdict;

/// How a report may look; asked of the terminal by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub color: bool,
    /// Columns; text is wrapped, tables are not. Taken as at least 40.
    pub width: u16,
}

/// Width of the labels at the left.
pub(super) const LABEL: usize = 11;

pub(super) const PLAIN: Ansi = Ansi::new();
pub(super) const BOLD: Ansi = Ansi::new().bold();

/// The text so far.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) style: Style,
}

/// The beginning of a line, perhaps coloured, and the columns it takes.
pub(super) struct Lead {
    text: String,
    columns: usize,
}

/// A line for people, at most `width` columns wide; what does not fit follows on lines of its own.
pub fn wrapped(line: &str, width: u16) -> String {
    let mut page = Page { text: String::new(), style: Style { color: false, width } };
    let lead = page.lead(&[]);
    page.wrapped(lead, 2, line);
    page.text
}

impl Page {
    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A heading after an empty line.
    pub(super) fn title(&mut self, title: &str) {
        self.blank();
        let lead = self.lead(&[(title, BOLD)]);
        self.line(&lead.text);
    }

    /// A label and its text, wrapped at the text's column.
    pub(super) fn labelled(&mut self, label: &str, text: &str) {
        self.labelled_with(label, ("", PLAIN), text);
    }

    /// A label, a first word in its own style, and text.
    pub(super) fn labelled_with(&mut self, label: &str, (word, ansi): (&str, Ansi), text: &str) {
        let gap = " ".repeat(LABEL.saturating_sub(label.len()));
        let lead = self.lead(&[(label, BOLD), (&gap, PLAIN), (word, ansi)]);
        self.wrapped(lead, LABEL, text);
    }

    /// An entry of a list, its first word in a style of its own, and below it what to do about it.
    pub(super) fn item(&mut self, (word, ansi): (&str, Ansi), text: &str, remedy: &str) {
        let entry = self.lead(&[("  ", PLAIN), (word, ansi)]);
        self.wrapped(entry, 4, text);
        self.remedy(remedy);
    }

    /// All findings and their remedies, the worst first; nothing if there are none.
    pub(super) fn findings(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.title("findings");
        for finding in findings_by_severity(findings) {
            let color = match finding.severity {
                Severity::Ok => AnsiColor::Green,
                Severity::Info => AnsiColor::Cyan,
                Severity::Warning => AnsiColor::Yellow,
                Severity::Blocking => AnsiColor::Red,
            };
            let text = format!(" {}: {}", finding.code, finding.message);
            self.item(
                (&finding.severity.to_string(), colored(color)),
                &text,
                finding.remedy.as_deref().unwrap_or_default(),
            );
        }
    }

    /// What to do about the entry above.
    pub(super) fn remedy(&mut self, remedy: &str) {
        let arrow = self.lead(&[("    -> ", PLAIN)]);
        self.wrapped(arrow, 7, remedy);
    }

    /// How many entries of a list are not shown.
    pub(super) fn rest(&mut self, entries: usize, shown: usize, thing: &str) {
        if entries > shown {
            self.line(&format!("  and {} in the result file", count(entries - shown, thing)));
        }
    }

    /// Aligned columns below a heading of their own: the first to the left, the others to the right.
    pub(super) fn table(&mut self, heading: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return;
        }
        let heading: Vec<_> = heading.iter().map(|cell| visible(cell)).collect();
        let seen = |row: Vec<String>| row.iter().map(|cell| visible(cell).into_owned()).collect();
        let rows: Vec<Vec<String>> = rows.into_iter().map(seen).collect();
        let mut widths: Vec<usize> = heading.iter().map(|cell| columns(cell)).collect();
        widths[0] = widths[0].max(LABEL);
        for row in &rows {
            for (width, (column, cell)) in widths.iter_mut().zip(row.iter().enumerate()) {
                *width = (*width).max(columns(cell) + if column == 0 { 2 } else { 0 });
            }
        }
        let aligned = |indent: &str, cells: &[&str]| {
            let first = format!("{:width$}", format!("{indent}{}", cells[0]), width = widths[0]);
            let others = cells.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
            first + &others.collect::<String>()
        };
        self.title(aligned("", &heading.iter().map(|cell| &**cell).collect::<Vec<_>>()).trim_end());
        for row in &rows {
            self.line(&aligned("  ", &row.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }

    /// All rows of a table.
    pub(super) fn cells(&mut self, table: &Table) {
        self.table(&table.heading.iter().map(String::as_str).collect::<Vec<_>>(), table.rows.clone());
    }

    /// Words after `lead`; further lines start at column `indent`.
    pub(super) fn wrapped(&mut self, lead: Lead, indent: usize, text: &str) {
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

    pub(super) fn lead(&self, pieces: &[(&str, Ansi)]) -> Lead {
        let mut lead = Lead { text: String::new(), columns: 0 };
        for (text, ansi) in pieces {
            let text = visible(text);
            lead.columns += columns(&text);
            if self.style.color && *ansi != PLAIN && !text.is_empty() {
                lead.text += &format!("{ansi}{text}{ansi:#}");
            } else {
                lead.text += &text;
            }
        }
        lead
    }
}

/// The words of `text`; a number and its unit are one.
fn unbreakable(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace().map(visible) {
        let unit = word.trim_end_matches([',', ';', ')', ':']);
        match words.last_mut() {
            Some(number) if ["ns", "us", "ms", "s", "%"].contains(&unit) => *number += &format!(" {word}"),
            _ => words.push(word.into_owned()),
        }
    }
    words
}

/// Columns that a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Of the word for a verdict.
pub(super) fn verdict_style(verdict: Verdict) -> Ansi {
    colored(match verdict {
        Verdict::Pass => AnsiColor::Green,
        Verdict::Fail => AnsiColor::Red,
        Verdict::Inconclusive => AnsiColor::Yellow,
    })
}

/// Bold, in this colour.
pub(super) fn colored(color: AnsiColor) -> Ansi {
    BOLD.fg_color(Some(color.into()))
}
