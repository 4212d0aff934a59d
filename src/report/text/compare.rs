//! A comparison for people.

use anstyle::AnsiColor;

use super::{BOLD, PLAIN, Page, Style, colored};
use crate::compare::{Comparison, Judgement, Outcome};
use crate::report::compare::{conclusion, described, regression, remarks, table};

/// The comparison: what is found, then the tables.
pub fn render(comparison: &Comparison, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    for side in &comparison.sides {
        page.labelled(&side.name, &described(comparison.kind, side));
    }
    for (index, pair) in comparison.pairs.iter().enumerate() {
        let has = |judgement| pair.metrics.iter().any(|row| row.judgement == judgement);
        let ansi = if has(Judgement::Worse) {
            colored(AnsiColor::Red)
        } else if has(Judgement::Better) {
            colored(AnsiColor::Green)
        } else {
            PLAIN
        };
        let text = conclusion(pair);
        let (name, found) = text.split_once(": ").unwrap_or((&text, ""));
        page.labelled_with(if index == 0 { "found" } else { "" }, (name, ansi), &format!(": {found}"));
    }
    if let Some(limit) = &comparison.regression {
        let ansi = match comparison.outcome() {
            Outcome::Worse => colored(AnsiColor::Red),
            Outcome::Inconclusive => colored(AnsiColor::Yellow),
            Outcome::Pass => BOLD,
        };
        let text = regression(limit);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        page.labelled_with("limit", (word, ansi), &format!(" {rest}"));
    }
    for pair in &comparison.pairs {
        let (heading, rows) = table(pair);
        page.table(&heading.each_ref().map(String::as_str), rows.into_iter().map(Vec::from).collect());
    }
    let remarks = remarks(comparison);
    if !remarks.is_empty() {
        page.title("notes");
    }
    for remark in remarks {
        let lead = page.lead(&[("  ", PLAIN)]);
        page.wrapped(lead, 4, &remark);
    }
    page.text
}
