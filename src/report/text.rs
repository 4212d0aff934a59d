//! The report for people: one screen.

use std::collections::BTreeSet;
use std::fmt::Write;

use anstyle::AnsiColor;

pub use super::page::Style;
use super::page::{PLAIN, Page, colored};
use super::quantity::{bytes, count, per_s, percent, seconds, span};
use super::summary::{Summary, measured};
use super::{observed, plot};
use crate::base::Nanos;
use crate::measure::{LatencySummary, MediaCounts, Metric, Side, Until};
use crate::run::{Event, FailureRow, ReactionRow, ReasonRow, RecoveryRow, Row, RunResult, Severity, StormRow, Verdict};

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
    failures(&mut page, "failures", &result.failures);
    for row in &result.by_population {
        failures(&mut page, &format!("failures of {}, which are in no sum", row.name), &row.failures);
    }
    reactions(&mut page, &result.by_client);
    storms(&mut page, result);
    recoveries(&mut page, &result.recoveries);
    for (title, rows, most) in [
        ("by population", result.by_population.iter().collect(), MOST_ROWS),
        ("by stage", result.by_stage.iter().collect(), MOST_ROWS),
        ("by target", asked_targets(result), MOST_ROWS),
        ("by client", result.by_client.iter().collect(), MOST_CLIENTS),
    ] {
        breakdown(&mut page, title, &rows, "due", most);
    }
    // One backend has its name beside the modes.
    if result.by_backend.len() > 1 {
        let rows: Vec<_> = result.by_backend.iter().collect();
        breakdown(&mut page, "by backend", &rows, "accepted", MOST_ROWS);
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
        let rows = result.thresholds.iter().map(|threshold| {
            let mark = match threshold.pass {
                Some(true) => "met",
                Some(false) => "missed",
                None => "unknown",
            };
            vec![threshold.expression.clone(), measured(threshold), mark.to_owned()]
        });
        page.table(&["thresholds", "measured", ""], rows.collect());
    }
}

fn latency(page: &mut Page, result: &RunResult) {
    let measured = Metric::ALL.into_iter().filter_map(|metric| Some((metric, result.latency.get(metric)?)));
    let row = |(metric, summary): (Metric, &LatencySummary)| {
        let columns = [summary.p50_ns, summary.p90_ns, summary.p99_ns, summary.p999_ns, summary.max_ns];
        std::iter::once(metric.to_string()).chain(columns.map(span)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = measured.filter(|(_, summary)| summary.count > 0).map(row).collect();
    page.table(&["latency", "p50", "p90", "p99", "p99.9", "max"], rows);
    let overflow = result.latency.service.as_ref().map_or(0, |summary| summary.overflow);
    if overflow > 0 {
        page.labelled("", &format!("{overflow} attempts took longer than 60 s and count as 60 s"));
    }
}

fn outcomes(page: &mut Page, result: &RunResult) {
    let mut lines = Vec::new();
    let modes = &result.modes;
    let modes: Vec<_> = [
        ("complex, verified", modes.complex_verified),
        ("complex, not verified", modes.complex_unverified),
        ("simple", modes.simple),
        ("downgraded to simple", modes.downgraded),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| format!("{count} {name}"))
    .collect();
    if !modes.is_empty() {
        lines.push(("modes", modes.join("; ")));
    }
    if !result.tls.is_empty() {
        lines.push((
            "tls",
            format!("{}, {} resumed", count(result.tls.full as usize, "full handshake"), result.tls.resumed),
        ));
    }
    if let [backend] = result.by_backend.as_slice() {
        lines.push(("backend", backend.name.clone()));
    }
    let connections = &result.connections;
    if connections.held_peak > 0 {
        let mut held = format!("{} at most, {} when the load ended", connections.held_peak, connections.held);
        if connections.lost_while_held > 0 {
            write!(held, ", {} lost", connections.lost_while_held).expect("a String takes all");
            let age = connections.lost_age.as_ref().and_then(|age| age.p50_ns);
            if let Some(age) = age {
                write!(held, " (median age {})", Nanos::new(age)).expect("a String takes all");
            }
        }
        lines.push(("held", held));
    }
    if !result.media.is_empty() {
        lines.push(("media", media(&result.media)));
        let rows: Vec<_> = result.by_population.iter().filter(|row| !row.media.is_empty()).collect();
        // One population has all there is.
        for row in rows.iter().filter(|_| rows.len() > 1) {
            lines.push(("", format!("{}: {}", row.name, media(&row.media))));
        }
    }
    if let Some(workers) = workers(result) {
        lines.push(("workers", workers));
    }
    // Resets are how this load closes its connections: they say nothing about the network.
    let tells = |name: &str, count: u64| count > 0 && !name.starts_with("resets");
    let network: Vec<_> = result.network.iter().filter(|(name, count)| tells(name, **count)).collect();
    if !network.is_empty() {
        let counters: Vec<_> = network.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
        lines.push(("network", format!("{} (of the whole host)", counters.join(", "))));
    }
    lines.extend(observed::lines(result));
    if !lines.is_empty() {
        page.blank();
    }
    for (label, text) in lines {
        page.labelled(label, &text);
    }
}

fn media(media: &MediaCounts) -> String {
    let sent = (media.sent_messages > 0).then(|| {
        let late = match media.late_messages {
            0 => ", none late".to_owned(),
            late => format!(", {late} of them late ({})", percent(late, media.sent_messages)),
        };
        format!("{} ({}) sent{late}", count(media.sent_messages as usize, "message"), bytes(media.sent_bytes))
    });
    let received = (media.received_messages > 0).then(|| {
        let messages = count(media.received_messages as usize, "message");
        format!("{messages} ({}) received", bytes(media.received_bytes))
    });
    sent.into_iter().chain(received).collect::<Vec<_>>().join("; ")
}

fn over_time(page: &mut Page, result: &RunResult) {
    let planned = result.rate.intended_per_s.is_some();
    let plots = plot::timeline(&result.timeline, planned, page.style.color, page.style.width);
    if !plots.is_empty() {
        page.title("over time");
        page.text += &plots;
    }
}

fn workers(result: &RunResult) -> Option<String> {
    let range = |values: Vec<f64>| {
        let (least, most) =
            values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
        (!values.is_empty())
            .then(|| [format!("{least:.0}"), format!("{most:.0}")])
            .map(|[least, most]| if least == most { most } else { format!("{least} to {most}") })
    };
    let busy = range(result.workers.iter().filter_map(|worker| worker.cpu_busy_percent).collect());
    // Turns take no time where time is virtual.
    let longest_turn = result.workers.iter().filter_map(|worker| worker.turn_p99_ns).max().filter(|ns| *ns > 0);
    let parts: Vec<_> = [
        busy.map(|busy| format!("busy {busy} %")),
        longest_turn.map(|ns| format!("turn p99 {}", Nanos::new(ns))),
        result.generator.cpu_us_per_attempt.map(|us| format!("{} of CPU an attempt", Nanos::new((us * 1e3) as u64))),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn failures(page: &mut Page, title: &str, failures: &[FailureRow]) {
    if failures.is_empty() {
        return;
    }
    page.title(title);
    let mut by_count: Vec<_> = failures.iter().collect();
    by_count.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    for failure in by_count.iter().take(MOST_ROWS) {
        let side = match failure.side {
            Side::Target => "the target's",
            Side::Network => "the network's",
            Side::Generator => "our own",
            Side::Unattributed => "whose cannot be told",
        };
        let detail = failure.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let when = match [failure.first_s, failure.last_s].map(|at_s| format!("{at_s:.1} s")) {
            [first, last] if first == last => format!("at {first}"),
            [first, last] => format!("{first} to {last}"),
        };
        let text = format!(" x {} {} ({side}, {when}){detail}", failure.step, failure.kind);
        let entry = page.lead(&[("  ", PLAIN), (&failure.count.to_string(), PLAIN)]);
        page.wrapped(entry, 4, &text);
        reasons(page, &failure.reasons);
        page.remedy(&failure.advice);
    }
    page.rest(failures.len(), MOST_ROWS, "more kind");
}

/// What servers said, the most frequent first.
fn reasons(page: &mut Page, reasons: &[ReasonRow]) {
    let mut by_count: Vec<_> = reasons.iter().collect();
    by_count.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    for reason in by_count.iter().take(MOST_REASONS) {
        let lead = page.lead(&[("    ", PLAIN), (&reason.count.to_string(), PLAIN)]);
        page.wrapped(lead, 6, &format!(" x \"{}\"", reason.text));
    }
    if reasons.len() > MOST_REASONS {
        page.line(&format!("    and {} in the result file", count(reasons.len() - MOST_REASONS, "more reason")));
    }
}

/// What the target did with hostile clients; what never happened has no column.
fn reactions(page: &mut Page, clients: &[Row]) {
    type Count = fn(&ReactionRow) -> u64;
    let hostile: Vec<_> = clients.iter().filter_map(|row| Some((row, row.reactions.as_ref()?))).collect();
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
    let heading: Vec<_> =
        ["reactions to"].into_iter().chain(counts.iter().map(|(name, _)| *name)).chain(["open p50", "max"]).collect();
    let row = |(row, reactions): &(&Row, &ReactionRow)| {
        let counted = counts.iter().map(|(_, count)| count(reactions).to_string());
        let times = [reactions.open_time.p50_ns, reactions.open_time.max_ns].map(span);
        std::iter::once(row.name.clone()).chain(counted).chain(times).collect::<Vec<_>>()
    };
    page.table(&heading, hostile.iter().map(row).collect());
}

/// How fleets came back, and how far: what completes their attempts.
fn storms(page: &mut Page, result: &RunResult) {
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
    page.table(&heading, result.storms.iter().map(row).collect());
    for storm in result.storms.iter().filter(|storm| storm.lost_again > 0) {
        let since = |ns: u64| seconds(Nanos::new(ns).as_secs_f64());
        let mut text = format!("{}: {}: {} lost again", storm.population, storm.stage, storm.lost_again);
        if let Some(after) = storm.lost_again_after_ns {
            text += &format!(", most of the fleet at once after {}: times count from there", since(after));
        }
        if let Some(after) = storm.last_back_after_ns {
            text += &format!("; last back {} after the beginning", since(after));
        }
        let lead = page.lead(&[("  ", PLAIN)]);
        page.wrapped(lead, 4, &text);
    }
}

/// Whether the target accepted again.
fn recoveries(page: &mut Page, recoveries: &[RecoveryRow]) {
    if recoveries.is_empty() {
        return;
    }
    page.blank();
    for row in recoveries {
        let accepted = match row.accepted_after_s {
            _ if row.probes == 0 => format!("cannot be told, no probe ended in {}", seconds(row.watched_s)),
            Some(0.0) => "accepted all the time".to_owned(),
            Some(after_s) => format!("recovered after {}", seconds(after_s)),
            None if row.not_accepted.is_empty() => format!("never, in {}", seconds(row.watched_s)),
            None => format!("never for {}, in {}", row.not_accepted.join(", "), seconds(row.watched_s)),
        };
        let held = row.released_after_s.map_or_else(String::new, |after_s| {
            format!(", the last connection held from before was closed after {}", seconds(after_s))
        });
        let text = format!(
            "{}, {}: {accepted} ({} of {} probes failed); what was in flight before had ended after {}{held}",
            row.population,
            row.stage,
            row.failed,
            row.probes,
            seconds(row.drained_after_s)
        );
        page.labelled("recovery", &text);
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

/// The rows of targets that something was asked of; of the canary's alone there is nothing to tell here.
fn asked_targets(result: &RunResult) -> Vec<&Row> {
    let is_asked = |target: usize| {
        let mut shares = result.plan.asked().flat_map(|population| &population.targets);
        shares.any(|share| usize::from(share.target) == target)
    };
    let rows: Vec<_> = result.by_target.iter().enumerate().filter(|(target, _)| is_asked(*target)).collect();
    if rows.len() > 1 { rows.into_iter().map(|(_, row)| row).collect() } else { Vec::new() }
}

/// A table of at most `most` rows.
fn breakdown(page: &mut Page, title: &str, rows: &[&Row], due: &str, most: usize) {
    if rows.is_empty() {
        return;
    }
    let open_loop = rows.iter().any(|row| row.latency.response.is_some());
    let (p50, p99) = if open_loop { ("response p50", "p99") } else { ("service p50", "p99") };
    let cells = |row: &&Row| {
        let latency = if open_loop { &row.latency.response } else { &row.latency.service };
        let quantile = |of: fn(&LatencySummary) -> Option<u64>| span(latency.as_ref().and_then(of));
        let population = row.population.as_ref().map(|population| format!("{population}: ")).unwrap_or_default();
        let warmup = if row.warmup && row.name != "warm-up" { " (warm-up)" } else { "" };
        vec![
            format!("{population}{}{warmup}", row.name),
            row.attempts.due.to_string(),
            per_s(row.rate.completed_per_s),
            percent(row.attempts.failed, row.attempts.due),
            quantile(|summary| summary.p50_ns),
            quantile(|summary| summary.p99_ns),
        ]
    };
    let table = rows.iter().take(most).map(cells).collect();
    page.table(&[title, due, "completed", "failed", p50, p99], table);
    page.rest(rows.len(), most, "more row");
}

fn findings(page: &mut Page, result: &RunResult) {
    if result.generator.findings.is_empty() {
        return;
    }
    page.title("findings");
    let mut findings: Vec<_> = result.generator.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in findings {
        let color = match finding.severity {
            Severity::Info => AnsiColor::Cyan,
            Severity::Warning => AnsiColor::Yellow,
            Severity::Blocking => AnsiColor::Red,
        };
        let text = format!(" {}: {}", finding.code, finding.message);
        page.item((&finding.severity.to_string(), colored(color)), &text, &finding.remedy);
    }
}

#[cfg(test)]
mod tests;
