//! The page of a run.

use maud::{Markup, html};

use super::elements::{self, Head, Tile, contents, details, facts, figure, section, table, tiles};
use super::over_time::OverTime;
use super::{observed, page, percentiles};
use crate::base::rate_text;
use crate::measure::{LatencySummary, Metric};
use crate::report::quantity::{percent, seconds, span};
use crate::report::summary::{Summary, only_storms};
use crate::report::{outcomes, tables};
use crate::run::{LatencyTable, Row, RunResult, StormRow};

/// The metrics in the chart of the distribution: those that the time of an attempt is made of. The others are in the
/// table.
const DRAWN: [Metric; 8] = [
    Metric::Response,
    Metric::Service,
    Metric::Connect,
    Metric::Tls,
    Metric::S2,
    Metric::Confirm,
    Metric::Publish,
    Metric::FirstFrame,
];

/// Parts that are compared in one chart: more lines than that cannot be told apart.
const MOST_PARTS: usize = 8;

/// The page of `result`: a whole file.
pub fn render(result: &RunResult) -> String {
    let summary = Summary::of(result);
    let sections = html! {
        (section("findings", "Findings", &elements::findings(&result.generator.findings)))
        (section("conditions", "Conditions", &table(&tables::thresholds(result))))
        (section("latency", "Latency", &latency(result)))
        (section("time", "Over time", &over_time(result)))
        (section("observed", "The target's machine", &observed(result)))
        (section("failures", "Failures", &failures(result)))
        (section("recovery", "Recovery", &recovery(result)))
        (section("parts", "By part", &parts(result)))
        (section("plan", "Plan", &plan(result, &summary)))
        (section("machine", "Machine", &machine(result)))
        (section("labels", "Labels and attachments", &elements::labels(&result.labels)))
    };
    let places = [
        ("findings", "findings"),
        ("latency", "latency"),
        ("time", "over time"),
        ("observed", "the target's machine"),
        ("failures", "failures"),
        ("recovery", "recovery"),
        ("parts", "by part"),
        ("plan", "plan"),
        ("machine", "machine"),
        ("labels", "labels"),
    ];
    let body = html! {
        (elements::head(&Head {
            kind: "RTMP load, run",
            target: &summary.target,
            statement: &summary.result,
            verdict: summary.verdict,
            judged: !result.thresholds.is_empty(),
            reason: &summary.reason,
            started_at: &result.started_at,
            tool: &result.tool,
            interrupted: result.interrupted,
        }))
        (tiles(&key_figures(result)))
        (contents(&places, &sections))
        (sections)
        (elements::foot(&result.tool))
    };
    page(&format!("{}: {}", summary.target, summary.verdict), &body)
}

fn key_figures(result: &RunResult) -> Vec<Tile> {
    let attempts = &result.attempts;
    let asked = result
        .rate
        .intended_per_s
        .map_or_else(|| "not a capacity".to_owned(), |intended| format!("of {} intended", rate_text(intended)));
    let of_due = |count: u64| format!("{count} of {}", attempts.due);
    let storms = &result.storms;
    let all_back = only_storms(result) && storms.iter().all(|storm| storm.back == storm.fleet);
    let mut tiles: Vec<_> = storms.iter().map(back).collect();
    tiles.extend([
        Tile::new("rate", rate_text(result.rate.completed_per_s), asked),
        Tile::new("completed", percent(attempts.completed, attempts.due), of_due(attempts.completed)),
        // A fleet that comes back is refused at first; what matters is whether it came back.
        Tile::new("failed", percent(attempts.failed, attempts.due), of_due(attempts.failed))
            .marked(attempts.failed > 0 && !all_back),
    ]);
    if attempts.dropped > 0 {
        let dropped = Tile::new("dropped", percent(attempts.dropped, attempts.due), of_due(attempts.dropped));
        tiles.push(dropped.marked(true));
    }
    if let Some((metric, summary)) = headline(&result.latency) {
        let most = format!("{} at most", span(summary.max_ns));
        let few = |ns: Option<u64>, name: &str| ns.map(|ns| format!("{} {name}", span(Some(ns))));
        let middle =
            Tile::new(format!("{metric} p50"), span(summary.p50_ns), few(summary.p90_ns, "p90").unwrap_or_default());
        let mean =
            Tile::new(format!("{metric} mean"), span(summary.mean_ns), format!("{} at least", span(summary.min_ns)));
        tiles.push(if summary.p50_ns.is_some() { middle } else { mean });
        tiles.push(match summary.p99_ns {
            Some(p99) => Tile::new(format!("{metric} p99"), span(Some(p99)), most),
            None => Tile::new(format!("{metric} max"), span(summary.max_ns), format!("of {}", summary.count)),
        });
    }
    if result.connections.held_peak > 0 {
        let lost = format!("{} lost while held", result.connections.lost_while_held);
        let held = Tile::new("held at once", result.connections.held_peak.to_string(), lost);
        tiles.push(held.marked(result.connections.lost_while_held > 0));
    }
    if let Some(lateness) = result.latency.get(Metric::Lateness) {
        let late = match lateness.p99_ns {
            Some(p99) => Tile::new("lateness p99", span(Some(p99)), "the generator's own"),
            None => Tile::new("lateness max", span(lateness.max_ns), "the generator's own"),
        };
        tiles.push(late.marked(result.generator.limited));
    }
    tiles
}

/// How far a fleet came back.
fn back(storm: &StormRow) -> Tile {
    let back = format!("{} of {}", storm.back, storm.fleet);
    let tile = match (storm.back_100_ns, storm.back_99_ns) {
        (Some(all), _) => Tile::new("all back after", span(Some(all)), back),
        (None, Some(most)) => Tile::new("99 % back after", span(Some(most)), back),
        (None, None) => Tile::new("back", back, String::new()),
    };
    tile.marked(storm.back < storm.fleet)
}

/// The latency that is spoken of: response, or service in closed loop.
fn headline(latency: &LatencyTable) -> Option<(Metric, &LatencySummary)> {
    let there = |metric| latency.get(metric).map(|summary| (metric, summary)).filter(|(_, summary)| summary.count > 0);
    there(Metric::Response).or_else(|| there(Metric::Service))
}

fn latency(result: &RunResult) -> Markup {
    html! {
        (distribution("Latency by percentile", &result.latency))
        (table(&tables::latency(result)))
        @if let Some(overflow) = outcomes::overflow(result) { p { (overflow) "." } }
        (details("What the names mean", &meanings(&result.latency)))
        @if let Some(failed) = result.time_to_failure.as_ref() {
            p {
                "Failed attempts are no latency samples: they took " (span(failed.p50_ns)) " in the median, "
                (span(failed.max_ns)) " at most, to fail."
            }
        }
    }
}

/// The distributions of the metrics that an attempt's time is made of.
pub(super) fn distribution(title: &str, latency: &LatencyTable) -> Markup {
    let drawn = DRAWN.into_iter().filter_map(|metric| Some((metric.to_string(), latency.get(metric)?)));
    figure(
        title,
        "To the right each step has a tenth of the attempts of the one before; logarithmic. A line ends where fewer than \
         10 samples are left.",
        &percentiles::chart(drawn.collect::<Vec<_>>()),
    )
}

fn meanings(latency: &LatencyTable) -> Markup {
    let there = Metric::ALL.into_iter().filter(|metric| latency.get(*metric).is_some());
    let named: Vec<_> = there.map(|metric| (metric.to_string(), meaning(metric))).collect();
    facts(&named.iter().map(|(name, meaning)| (name.as_str(), (*meaning).to_owned())).collect::<Vec<_>>())
}

const fn meaning(metric: Metric) -> &'static str {
    match metric {
        Metric::Response => "from the intended arrival to complete: what a client of the plan would have waited",
        Metric::Service => "from the actual start to complete",
        Metric::Connect => "from the actual start to TCP connected",
        Metric::Tls => "from TCP connected to TLS established",
        Metric::S0s1 => "from C0C1 handed to the kernel to S0S1 complete",
        Metric::S2 => "from C0C1 handed to the kernel to S2 complete",
        Metric::Reply => "from the command connect to the first byte of the server's answer",
        Metric::AppConnect => "from the command connect to its _result",
        Metric::Publish => "from the _result of connect to the start of the stream",
        Metric::FirstFrame => "from the start of a stream that is played to its first audio or video",
        Metric::Confirm => "from C2 with the command connect to the answer that completes the attempt",
        Metric::SlotWait => "from the intended arrival to a free slot: the target, or the hold, kept the slots",
        Metric::Lateness => "from intended and slot free to the actual start: the generator's own error",
        Metric::Paused => "how long the generator stood still between start and completion, of attempts that met it",
    }
}

fn over_time(result: &RunResult) -> Markup {
    let charts = OverTime {
        rows: &result.timeline,
        planned: result.rate.intended_per_s.is_some(),
        warmup_s: result.window.warmup_s,
        load_end_s: result.window.end_s(),
        events: result.events.iter().map(|event| event.t_s).collect(),
    };
    html! {
        (charts.charts())
        @if !result.events.is_empty() {
            h3 { "Events" }
            ol.events {
                @for event in &result.events {
                    li { span.at { (seconds(event.t_s)) } " " code { (event.code) } " " (event.text) }
                }
            }
        }
    }
}

fn observed(result: &RunResult) -> Markup {
    let load = (result.window.warmup_s, result.window.end_s());
    observed::content(&result.observed, result.tcp_info.as_ref(), load)
}

fn failures(result: &RunResult) -> Markup {
    html! {
        @for (title, failures) in outcomes::failure_lists(result) {
            @if title != "failures" { h3 { (title) } }
            (elements::failures(failures, result.attempts.due))
        }
        (table(&tables::reactions(result)))
    }
}

fn recovery(result: &RunResult) -> Markup {
    let sentences = || outcomes::storm_notes(result).into_iter().chain(outcomes::recoveries(result));
    html! {
        (table(&tables::storms(result)))
        @for sentence in sentences() { p { (sentence) "." } }
    }
}

/// Populations, stages, targets, clients, backends, side by side.
fn parts(result: &RunResult) -> Markup {
    let compared = |title: &str, rows: &[Row]| {
        let named = rows.iter().take(MOST_PARTS).filter_map(|row| Some((row.name.clone(), headline(&row.latency)?.1)));
        figure(
            title,
            "Response time, or service time in closed loop; logarithmic.",
            &percentiles::chart(named.collect::<Vec<_>>()),
        )
    };
    html! {
        (compared("Latency by population", &result.by_population))
        @if result.by_population.is_empty() { (compared("Latency by target", &result.by_target)) }
        @for breakdown in tables::breakdowns(result) { (table(&breakdown)) }
    }
}

fn plan(result: &RunResult, summary: &Summary) -> Markup {
    let plan = &result.plan;
    let json = serde_json::to_string_pretty(plan).expect("a plan has string keys only");
    let outcome: Vec<_> =
        outcomes::of(result).into_iter().filter(|(name, _)| *name == "modes" || *name == "media").collect();
    html! {
        @if let Some(scenario) = &plan.scenario { p { "Scenario " strong { (scenario) } } }
        ul.load { @for load in &summary.load { li { (load) } } }
        (facts(&outcome))
        (details("The effective plan, every default applied", &elements::text(&json)))
    }
}

fn machine(result: &RunResult) -> Markup {
    html! {
        (elements::environment(&result.environment, &result.network))
        (elements::workers(&result.workers))
        @for machine in &result.machines {
            h3 { "Share " (machine.share.index) "/" (machine.share.count) ", started " (machine.started_at) }
            (elements::environment(&machine.environment, &std::collections::BTreeMap::new()))
        }
    }
}
