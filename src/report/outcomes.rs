//! What became of the attempts beside the tables, in sentences: terminal, Markdown and HTML print the same.

use std::fmt::Write;

use super::observed;
use super::quantity::{bytes, count, percent, seconds};
use crate::base::Nanos;
use crate::finding::Finding;
use crate::measure::{MediaCounts, Metric, Side};
use crate::run::{FailureRow, ReasonRow, RunResult, StormRow, preflight};

/// Labels and their sentences: those that there are.
pub(super) fn of(result: &RunResult) -> Vec<(&'static str, String)> {
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
        let full = count(result.tls.full as usize, "full handshake");
        lines.push(("tls", format!("{full}, {} resumed", result.tls.resumed)));
    }
    if let [backend] = result.by_backend.as_slice() {
        lines.push(("backend", backend.name.clone()));
    }
    if let Some(held) = held(result) {
        lines.push(("held", held));
    }
    lines.extend(announced(result));
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
    lines
}

fn held(result: &RunResult) -> Option<String> {
    let connections = &result.connections;
    if connections.held_peak == 0 {
        return None;
    }
    let mut held = format!("{} at most, {} when the load ended", connections.held_peak, connections.held);
    if connections.lost_while_held > 0 {
        write!(held, ", {} lost", connections.lost_while_held).expect("a String takes all");
        let age = connections.lost_age.as_ref().and_then(|age| age.p50_ns);
        if let Some(age) = age {
            write!(held, " (median age {})", Nanos::new(age)).expect("a String takes all");
        }
    }
    if connections.held > 0 && !preflight::cut_holds(&result.plan).is_empty() {
        held += "; the end of the load cut their holds";
    }
    Some(held)
}

/// What servers announced, the most frequent first.
fn announced(result: &RunResult) -> impl Iterator<Item = (&'static str, String)> {
    const MOST: usize = 3;
    let mut rows: Vec<_> = result.announcements.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    let more = rows.len().saturating_sub(MOST);
    let label = |index| if index == 0 { "announced" } else { "" };
    let lines: Vec<_> = rows.iter().take(MOST).map(|row| format!("{} x \"{}\"", row.count, row.text)).collect();
    let more = (more > 0).then(|| format!("and {} in the result file", count(more, "more announcement")));
    lines.into_iter().chain(more).enumerate().map(move |(index, line)| (label(index), line))
}

fn media(media: &MediaCounts) -> String {
    let published = media.sent_messages > 0 || media.unsent_messages > 0;
    let sent = published.then(|| {
        let late = match media.late_messages {
            0 => ", none late".to_owned(),
            late => format!(", {late} of them late ({})", percent(late, media.sent_messages.max(late))),
        };
        let sent =
            format!("{} ({}) sent{late}", count(media.sent_messages as usize, "message"), bytes(media.sent_bytes));
        match media.unsent_messages {
            0 => sent,
            unsent => {
                format!("{sent}, {unsent} ({} of {}) never left", bytes(media.unsent_bytes), bytes(media.due_bytes))
            }
        }
    });
    let stalled = (media.stalled > 0).then(|| {
        let publishers = count(media.publishers as usize, "publisher");
        format!("{} of {publishers} could not send for {} and more", media.stalled, MediaCounts::STALLED)
    });
    let received = (media.received_messages > 0).then(|| {
        let messages = count(media.received_messages as usize, "message");
        format!("{messages} ({}) received", bytes(media.received_bytes))
    });
    sent.into_iter().chain(stalled).chain(received).collect::<Vec<_>>().join("; ")
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

/// How many attempts took longer than latencies are told apart; none is nothing.
pub(super) fn overflow(result: &RunResult) -> Option<String> {
    let overflow = result.latency.get(Metric::Service).map_or(0, |summary| summary.overflow);
    (overflow > 0).then(|| format!("{overflow} attempts took longer than 60 s and count as 60 s"))
}

/// Fleets that lost their connections again.
pub(super) fn storm_notes(result: &RunResult) -> Vec<String> {
    let since = |ns: u64| seconds(Nanos::new(ns).as_secs_f64());
    let note = |storm: &StormRow| {
        let mut text = format!("{}: {}: {} lost again", storm.population, storm.stage, storm.lost_again);
        if let Some(after) = storm.lost_again_after_ns {
            text += &format!(", most of the fleet at once after {}: times count from there", since(after));
        }
        if let Some(after) = storm.last_back_after_ns {
            text += &format!("; last back {} after the beginning", since(after));
        }
        text
    };
    result.storms.iter().filter(|storm| storm.lost_again > 0).map(note).collect()
}

/// Whether the target accepted again.
pub(super) fn recoveries(result: &RunResult) -> Vec<String> {
    let sentences = result.recoveries.iter().map(|row| {
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
        format!(
            "{}, {}: {accepted} ({} of {} probes failed); what was in flight before had ended after {}{held}",
            row.population,
            row.stage,
            row.failed,
            row.probes,
            seconds(row.drained_after_s)
        )
    });
    sentences.collect()
}

/// The most frequent first.
pub(super) fn by_count(failures: &[FailureRow]) -> Vec<&FailureRow> {
    let mut sorted: Vec<_> = failures.iter().collect();
    sorted.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    sorted
}

/// What servers said, likewise.
pub(super) fn reasons_by_count(failure: &FailureRow) -> Vec<&ReasonRow> {
    let mut sorted: Vec<_> = failure.reasons.iter().collect();
    sorted.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    sorted
}

/// Whose failure it is.
pub(super) fn whose(side: Side) -> &'static str {
    match side {
        Side::Target => "the target's",
        Side::Network => "the network's",
        Side::Generator => "our own",
        Side::Unattributed => "whose cannot be told",
    }
}

/// When failures of a row happened, since the run's start.
pub(super) fn when(failure: &FailureRow) -> String {
    match [failure.first_s, failure.last_s].map(|at_s| format!("{at_s:.1} s")) {
        [first, last] if first == last => format!("at {first}"),
        [first, last] => format!("{first} to {last}"),
    }
}

/// The failures that there are, each list with its title: all populations', then those that are in no sum.
pub(super) fn failure_lists(result: &RunResult) -> Vec<(String, &[FailureRow])> {
    let own = result.by_population.iter();
    let apart = own.map(|row| (format!("failures of {}, which are in no sum", row.name), row.failures.as_slice()));
    let all = std::iter::once(("failures".to_owned(), result.failures.as_slice()));
    all.chain(apart).filter(|(_, failures)| !failures.is_empty()).collect()
}

/// The gravest first.
pub(super) fn findings_by_severity(findings: &[Finding]) -> Vec<&Finding> {
    let mut sorted: Vec<_> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    sorted
}
