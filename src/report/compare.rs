//! Comparisons: their words and cells, which terminal and Markdown lay out, and their JSON and Markdown forms.

use anstyle::AnsiColor;

use super::markdown::escaped;
use super::page::{BOLD, PLAIN, Page, Style, colored};
use super::quantity::{count, share, value};
use crate::base::visible;
use crate::compare::{Comparison, Judgement, Kind, MetricRow, Outcome, Pair, Regression, RegressionRow, SideRow};
use crate::run::Unit;

/// The comparison as indented JSON, ending in a newline.
pub fn json(comparison: &Comparison) -> String {
    let mut text = serde_json::to_string_pretty(comparison).expect("a comparison has string keys only");
    text.push('\n');
    text
}

/// The comparison for people: what is found, then the tables.
pub fn text(comparison: &Comparison, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    for (index, side) in comparison.sides.iter().enumerate() {
        let label = ["baseline", "compared", ""][index.min(2)];
        page.labelled(label, &format!("{}: {}", one_line(&side.name), described(comparison.kind, side)));
    }
    for (index, pair) in comparison.pairs.iter().enumerate() {
        let has = |judgement| pair.metrics.iter().any(|row| row.judgement == judgement);
        // A worsening that the limit allows alarms nobody.
        let allowed = comparison.regression.is_some() && comparison.outcome() == Outcome::Pass;
        let ansi = if has(Judgement::Worse) {
            if allowed { BOLD } else { colored(AnsiColor::Red) }
        } else if has(Judgement::Better) {
            colored(AnsiColor::Green)
        } else {
            BOLD
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

/// The comparison in Markdown, fit for a pull request: what is found, the tables, and what to know about them.
pub fn markdown(comparison: &Comparison) -> String {
    let mut page = String::new();
    for pair in &comparison.pairs {
        page += &format!("**{}**\n\n", escaped(&conclusion(pair)));
        let (heading, rows) = table(pair);
        if !rows.is_empty() {
            page += &row(&heading);
            page += "| --- | ---: | ---: | ---: | ---: | --- |\n";
            rows.iter().for_each(|cells| page += &row(cells));
            page.push('\n');
        }
    }
    let sides = comparison.sides.iter().map(|side| format!("{}: {}", side.name, described(comparison.kind, side)));
    for item in sides.chain(comparison.regression.iter().map(regression)).chain(remarks(comparison)) {
        page += &format!("- {}\n", escaped(&item));
    }
    page
}

/// How many results of what.
fn described(kind: Kind, side: &SideRow) -> String {
    let results = match kind {
        Kind::Run => count(side.files.len(), "run"),
        Kind::Capacity if side.files.len() == 1 => "1 search".to_owned(),
        Kind::Capacity => format!("{} searches", side.files.len()),
    };
    let labels: Vec<_> = side.labels.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("; {}", labels.join(", ")) };
    one_line(&format!("{results} of {}{labels}", side.target))
}

/// What is found, in a sentence.
fn conclusion(pair: &Pair) -> String {
    let those = |judgement| pair.metrics.iter().filter(move |row| row.judgement == judgement);
    let listed = |judgement| {
        let rows: Vec<_> = those(judgement).map(|row| format!("{} ({})", row.metric, difference(row))).collect();
        (!rows.is_empty()).then(|| rows.join(", "))
    };
    let worse = listed(Judgement::Worse).map(|rows| format!("worse in {rows}"));
    let better = listed(Judgement::Better).map(|rows| format!("better in {rows}"));
    let within = match those(Judgement::WithinNoise).count() {
        0 => None,
        all if all == pair.metrics.len() => Some(format!("no difference beyond noise in {}", count(all, "metric"))),
        some => Some(format!("{} within noise", count(some, "metric"))),
    };
    let unknown = (those(Judgement::NoiseUnknown).count() > 0)
        .then(|| "noise unknown, for a side has a single result: repeat it, at least three times a side".to_owned());
    let inconclusive =
        (those(Judgement::Inconclusive).count() > 0).then(|| "inconclusive: only lower bounds are known".to_owned());
    let nothing = pair.metrics.is_empty().then(|| "nothing to compare: no metric is in every result".to_owned());
    let parts: Vec<_> = [worse, better, within, unknown, inconclusive, nothing].into_iter().flatten().collect();
    one_line(&format!("{} against {}: {}", pair.side, pair.baseline, parts.join("; ")))
}

/// Heading and rows: metric, both means, difference, interval, judgement.
fn table(pair: &Pair) -> ([String; 6], Vec<[String; 6]>) {
    let heading = [
        format!("{} against {}", pair.side, pair.baseline),
        pair.baseline.clone(),
        pair.side.clone(),
        "difference".to_owned(),
        "95 % interval".to_owned(),
        String::new(),
    ];
    let row = |row: &MetricRow| {
        [
            row.metric.clone(),
            value(row.unit, row.baseline.mean),
            value(row.unit, row.side.mean),
            difference(row),
            interval(row),
            judgement(row.judgement).to_owned(),
        ]
    };
    (
        heading.map(|cell| one_line(&cell)),
        pair.metrics.iter().map(|metric| row(metric).map(|cell| one_line(&cell))).collect(),
    )
}

/// What became of the limit.
fn regression(regression: &Regression) -> String {
    let Regression { limit, strict, worse, undecided, not_excluded, tests, .. } = regression;
    let limit = share(*limit);
    let named = |rows: &[RegressionRow]| {
        let names: Vec<_> = rows.iter().map(|row| format!("{} of {}", row.metric, row.side)).collect();
        names.join(", ")
    };
    if !worse.is_empty() {
        let by = |row: &RegressionRow| row.worsening.map_or(String::new(), |by| format!(" by {}", share(by)));
        let rows: Vec<_> = worse.iter().map(|row| format!("{} of {}{}", row.metric, row.side, by(row))).collect();
        return one_line(&format!("worse by more than {limit} beyond noise: {}", rows.join(", ")));
    }
    let found = if *tests == 0 {
        format!("whether anything is worse by more than {limit} cannot be told")
    } else {
        format!("nothing is worse by more than {limit} beyond noise ({} tested)", count(*tests, "metric"))
    };
    let excluded = (!not_excluded.is_empty()).then(|| {
        let strict = if *strict { ", so it cannot be told" } else { "" };
        format!(
            "the noise is too large to exclude it in {}{strict}: more runs narrow the intervals",
            named(not_excluded)
        )
    });
    let undecided = (!undecided.is_empty() && *tests > 0).then(|| format!("not tested: {}", named(undecided)));
    let parts: Vec<_> = [Some(found), excluded, undecided].into_iter().flatten().collect();
    one_line(&parts.join("; "))
}

/// Differences of the plans, then notes.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut differences: Vec<(String, Vec<String>)> = Vec::new();
    for found in &comparison.differences {
        let (text, file) = (found.difference.to_string(), found.file.display().to_string());
        match differences.iter_mut().find(|(known, _)| *known == text) {
            Some((_, files)) => files.push(file),
            None => differences.push((text, vec![file])),
        }
    }
    let differences = differences.into_iter().map(|(text, files)| format!("{text} ({})", files.join(", ")));
    differences.chain(comparison.notes.iter().cloned()).map(|remark| one_line(&remark)).collect()
}

fn judgement(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Better => "better",
        Judgement::Worse => "worse",
        Judgement::WithinNoise => "within noise",
        Judgement::NoiseUnknown => "noise unknown",
        Judgement::Inconclusive => "inconclusive",
    }
}

fn difference(row: &MetricRow) -> String {
    let (scale, unit) = scale(row);
    format!("{} {unit}", signed(row.difference * scale))
}

fn interval(row: &MetricRow) -> String {
    let (scale, unit) = scale(row);
    match (row.difference_low, row.difference_high) {
        (Some(low), Some(high)) => format!("{} to {} {unit}", signed(low * scale), signed(high * scale)),
        _ => "-".to_owned(),
    }
}

/// What differences are multiplied by: they are parts of the baseline's mean, and shares differ by points.
fn scale(row: &MetricRow) -> (f64, &'static str) {
    match row.unit {
        Unit::Ratio => (100.0, "points"),
        _ if row.baseline.mean > 0.0 => (100.0 / row.baseline.mean, "%"),
        Unit::PerS => (1.0, "/s"),
        Unit::Ns => (1e-6, "ms"),
        Unit::Count => (1.0, ""),
    }
}

fn signed(value: f64) -> String {
    match value.abs() {
        size if size < 0.005 => "0".to_owned(),
        size if size < 0.995 => format!("{value:+.2}"),
        size if size < 99.95 => format!("{value:+.1}"),
        size if size < 1e5 => format!("{value:+.0}"),
        _ => format!("{value:+.0e}"),
    }
}

/// Names and labels are anybody's texts: no line ends, no control sequences.
pub(super) fn one_line(text: &str) -> String {
    visible(text).into_owned()
}

fn row(cells: &[String; 6]) -> String {
    format!("| {} |\n", cells.each_ref().map(|cell| escaped(cell)).join(" | "))
}
