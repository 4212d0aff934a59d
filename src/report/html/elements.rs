//! Parts of pages: tiles, tables, figures, findings, failures, the machine.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use crate::finding::{Finding, Severity};
use crate::report::chart::{Axis, Chart, Form, Ink};
use crate::report::outcomes;
use crate::report::quantity::{percent, span};
use crate::report::tables::Table;
use crate::run::{Environment, FailureRow, Signal, Tool, Verdict, WorkerRow};

/// The first lines of a page: what kind of report, of what, what came out, and whether that is what was asked.
pub(super) struct Head<'a> {
    pub kind: &'a str,
    pub target: &'a str,
    pub statement: &'a str,
    pub verdict: Verdict,
    /// Something was asked that the target could miss: without, a pass says nothing about it.
    pub judged: bool,
    pub reason: &'a str,
    pub started_at: &'a str,
    pub tool: &'a Tool,
    pub interrupted: Option<Signal>,
}

pub(super) fn head(head: &Head<'_>) -> Markup {
    let (class, mark) = match head.verdict {
        Verdict::Pass if !head.judged => ("plain", ""),
        Verdict::Pass => ("good", "\u{2713}"),
        Verdict::Fail => ("bad", "\u{2717}"),
        Verdict::Inconclusive => ("unsure", "?"),
    };
    html! {
        header {
            p.kind { (head.kind) }
            h1 { (head.target) }
            p.statement { (head.statement) }
            p class={ "verdict " (class) } {
                strong { @if !mark.is_empty() { span aria-hidden="true" { (mark) } " " } (head.verdict) }
                @if !head.reason.is_empty() { " " (head.reason) }
            }
            p.meta {
                time datetime=(head.started_at) { (head.started_at) }
                " \u{b7} " (tool(head.tool))
                @if let Some(signal) = head.interrupted { " \u{b7} ended by " (signal.name()) }
            }
        }
    }
}

fn tool(tool: &Tool) -> String {
    let commit = tool.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    format!("{} {}{commit}", tool.name, tool.version)
}

/// One number that matters, with what it is and what it means.
pub(super) struct Tile {
    pub label: String,
    pub value: String,
    pub note: String,
    pub bad: bool,
}

impl Tile {
    pub(super) fn new(label: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { label: label.into(), value: value.into(), note: note.into(), bad: false }
    }

    /// The same, marked as what should not be.
    pub(super) fn marked(self, bad: bool) -> Self {
        Self { bad, ..self }
    }
}

pub(super) fn tiles(tiles: &[Tile]) -> Markup {
    html! {
        dl.tiles {
            @for tile in tiles {
                div.tile.bad[tile.bad] {
                    dt { (tile.label) }
                    dd { strong { (tile.value) } @if !tile.note.is_empty() { small { (tile.note) } } }
                }
            }
        }
    }
}

/// A part of the page with a place of its own; nothing if it has no content.
pub(in crate::report) fn section(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        @if !content.0.trim().is_empty() {
            section id=(id) { h2 { (title) } (content) }
        }
    }
}

/// The places of a page, for those who look for one; only those that it has.
pub(super) fn contents(places: &[(&str, &str)], page: &Markup) -> Markup {
    let there = |id: &str| page.0.contains(&format!("<section id=\"{id}\">"));
    html! {
        nav aria-label="Contents" {
            @for (id, title) in places.iter().filter(|(id, _)| there(id)) {
                a href={ "#" (id) } { (title) }
            }
        }
    }
}

pub(in crate::report) fn table(table: &Table) -> Markup {
    html! {
        @if !table.rows.is_empty() {
            div.scroll tabindex="0" {
                table {
                    thead { tr { @for cell in &table.heading { th scope="col" { (cell) } } } }
                    tbody {
                        @for row in &table.rows {
                            tr {
                                @for (column, cell) in row.iter().enumerate() {
                                    @if column == 0 { th scope="row" { (cell) } }
                                    @else { td.met[cell == "met"].missed[matches!(cell.as_str(), "missed" | "backlog" | "early")] { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A chart with its title, how to read it, and its legend; nothing without points.
pub(super) fn figure(title: &str, hint: &str, chart: &Chart) -> Markup {
    let svg = chart.svg();
    html! {
        @if !svg.is_empty() {
            figure {
                figcaption {
                    strong { (title) }
                    @if !hint.is_empty() { span.hint { (hint) } }
                }
                div role="img" aria-label=(described(title, chart)) { (PreEscaped(svg)) }
                ul.legend {
                    @for series in &chart.series {
                        li { (swatch(series.ink, series.form)) (series.name) }
                    }
                    @for (ink, name) in &chart.notes {
                        li { (swatch(*ink, if *ink == Ink::Band { Form::Area } else { Form::Dashed })) (name) }
                    }
                }
            }
        }
    }
}

fn swatch(ink: Ink, form: Form) -> Markup {
    let form = match form {
        Form::Line => "line",
        Form::Thin => "line thin",
        Form::Dashed => "line dashed",
        Form::Area => "area",
        Form::Dots => "dot",
        Form::Rings => "dot ring",
    };
    html! { i class={ "swatch " (ink.class()) " " (form) } aria-hidden="true" {} }
}

/// The chart for those who cannot see it: what each line goes from and to.
fn described(title: &str, chart: &Chart) -> String {
    let range = |axis: Axis, values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        (low <= high).then(|| format!("{} to {}", axis.value(low), axis.value(high)))
    };
    let series = chart.series.iter().filter_map(|series| {
        let values = range(chart.y, &mut series.runs.iter().flatten().map(|(_, y)| *y))?;
        Some(format!("{}: {values}", series.name))
    });
    format!("Chart: {title}. {}", series.collect::<Vec<_>>().join("; "))
}

pub(super) fn findings(findings: &[Finding]) -> Markup {
    html! {
        @if !findings.is_empty() {
            ul.cards {
                @for finding in outcomes::findings_by_severity(findings) {
                    li class={ "card " (severity(finding.severity)) } {
                        p { span.badge { (finding.severity) } " " code { (finding.code) } }
                        p { (finding.message) }
                        @if let Some(remedy) = &finding.remedy { p.advice { (remedy) } }
                    }
                }
            }
        }
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok | Severity::Info => "info",
        Severity::Warning => "unsure",
        Severity::Blocking => "bad",
    }
}

/// A row for each way in which attempts failed, of `due` attempts, and what to do about it.
pub(super) fn failures(failures: &[FailureRow], due: u64) -> Markup {
    html! {
        @if !failures.is_empty() {
            table.stacked {
                thead {
                    tr {
                        th scope="col" { "failure" }
                        th scope="col" { "count" }
                        th scope="col" { "of due" }
                        th scope="col" { "when" }
                        th scope="col" { "evidence and advice" }
                    }
                }
                tbody {
                    @for failure in outcomes::by_count(failures) {
                        tr {
                            th scope="row" {
                                (failure.step) " " (failure.kind)
                                small { (outcomes::whose(failure.side)) }
                            }
                            td data-label="count" { (failure.count) }
                            td data-label="of due" { (percent(failure.count, due)) }
                            td data-label="when" { (outcomes::when(failure)) }
                            td.text {
                                @if let Some(detail) = &failure.detail { p { (detail) } }
                                (reasons(failure))
                                p.advice { (failure.advice) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn reasons(failure: &FailureRow) -> Markup {
    html! {
        @if !failure.reasons.is_empty() {
            ul.reasons {
                @for reason in outcomes::reasons_by_count(failure) {
                    li { (reason.count) " \u{d7} " q { (reason.text) } }
                }
            }
        }
    }
}

/// Terms and what they are; entries without a value are left out.
pub(in crate::report) fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        @if facts.iter().any(|(_, value)| !value.is_empty()) {
            dl.facts {
                @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                    div { dt { (name) } dd { (value) } }
                }
            }
        }
    }
}

/// What a reader may want to open, and paper shows.
pub(in crate::report) fn details(summary: &str, content: &Markup) -> Markup {
    html! { details { summary { (summary) } (content) } }
}

/// Text as it is.
pub(in crate::report) fn text(text: &str) -> Markup {
    html! { pre { (text) } }
}

pub(super) fn environment(environment: &Environment, counters: &BTreeMap<String, u64>) -> Markup {
    let mut known = vec![
        ("kernel", environment.kernel.clone()),
        ("CPU", environment.cpu_model.clone()),
        ("CPUs allowed", environment.cpus.to_string()),
        ("engine", environment.engine.to_string()),
        ("open files limit", environment.nofile.to_string()),
    ];
    let more = environment.more.iter().map(|(name, value)| {
        // Texts stand without their quotes.
        (name.as_str(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    known.extend(more);
    let grown: Vec<_> = counters.iter().filter(|(_, count)| **count > 0).collect();
    known.push((
        "TCP counters of the host, growth",
        grown.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
    ));
    facts(&known)
}

pub(super) fn workers(workers: &[WorkerRow]) -> Markup {
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} %"));
    let rows = workers.iter().map(|worker| {
        vec![
            worker.index.to_string(),
            worker.cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string()),
            percent(worker.cpu_busy_percent),
            percent(worker.cpu_wait_percent),
            worker.turns.to_string(),
            span(worker.turn_p99_ns),
            span(worker.turn_max_ns),
            span(worker.oversleep_p99_ns),
        ]
    });
    let heading = ["worker", "CPU", "busy", "waited for CPU", "turns", "turn p99", "longest", "oversleep p99"];
    table(&Table { heading: heading.map(str::to_owned).to_vec(), rows: rows.collect() })
}

/// The user's own keys and values, and the texts attached.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> Markup {
    let attached = |(name, _): &(&String, &String)| name.starts_with("attach:");
    let (files, short): (Vec<_>, Vec<_>) = labels.iter().partition(attached);
    let short: Vec<_> = short.into_iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    html! {
        (facts(&short))
        @for (name, content) in files {
            (details(&format!("attached: {}", name.trim_start_matches("attach:")), &text(content)))
        }
    }
}

/// The last line.
pub(super) fn foot(tool: &Tool) -> Markup {
    html! {
        footer {
            p {
                "Made by " (self::tool(tool)) ". Percentiles with fewer than 10 samples above them are not shown: a dash "
                "stands where the number of samples does not support a value."
            }
        }
    }
}
