//! The report of a capacity search for people: one sentence, then what it rests on.

use super::page::{PLAIN, Page, Style, verdict_style};
use super::quantity::{count, percent, seconds, share, span};
use super::tables::Table;
use crate::base::{DurationText, Nanos, rate_text};
use crate::capacity::{
    Baseline, CapacityResult, Concurrent, Find, GoalResult, HalfSources, LimitedBy, Outcome, Overload, TrialPurpose,
    TrialRow, criteria,
};
use crate::measure::Metric;
use crate::run::Verdict;

/// Most findings of failures past the limit.
const MOST_FAILURES: usize = 4;

/// The report of `result`.
pub fn render(result: &CapacityResult, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    page.labelled("capacity", &result.statement);
    head(&mut page, result);
    next(&mut page, result);
    goals(&mut page, result);
    page.cells(&trial_table(result));
    loads(&mut page, result);
    past_the_limit(&mut page, result);
    if let Some(concurrent) = &result.concurrent {
        held(&mut page, concurrent);
    }
    rfc9411(&mut page, result);
    page.findings(&result.findings);
    page.text
}

/// One trial in one line: rate, length, loss, and what it means.
pub fn trial_line(row: &TrialRow) -> String {
    let response = match (row.response_p99_ns, row.response_p95_ns, row.response_p50_ns) {
        (Some(p99), ..) => format!("p99 {}", Nanos::new(p99)),
        (None, Some(p95), _) => format!("p95 {}", Nanos::new(p95)),
        (None, None, Some(p50)) => format!("p50 {}", Nanos::new(p50)),
        (None, None, None) => String::new(),
    };
    format!(
        "{:<12} {:>9} for {:>5}  lost {:>8}  {response:>13}  {}",
        row.purpose.plural(1),
        rate_text(row.rate_per_s),
        short(row.duration_s),
        share(lost(row)),
        meaning(row)
    )
}

/// What a trial means, with the reason or the amount where there is one.
fn meaning(row: &TrialRow) -> String {
    match (word(row), &row.limited) {
        (INVALID, Some(limit)) => format!("{INVALID}: {limit}"),
        (EARLY, _) => "ended early".to_owned(),
        (BACKLOG, _) => format!("{BACKLOG} grew by {}", share(row.backlog_growth.max(0.0))),
        (word, _) => word.to_owned(),
    }
}

const INVALID: &str = "invalid";
const BACKLOG: &str = "backlog";
/// It had missed the goal before its end.
const EARLY: &str = "early";

/// What a trial means, in a word.
fn word(row: &TrialRow) -> &'static str {
    match (row.limited.is_some(), row.purpose, row.exceeds) {
        (true, ..) => INVALID,
        (false, TrialPurpose::WarmUp | TrialPurpose::Load | TrialPurpose::HalfSources | TrialPurpose::Hold, _) => "",
        (false, TrialPurpose::Probe, _) if lost(row) <= 0.5 => "serves",
        (false, TrialPurpose::Probe, _) => "silent",
        (false, _, false) => "met",
        (false, _, true) if row.ended_early => EARLY,
        (false, _, true) if row.backlog_growth > lost(row) => BACKLOG,
        (false, _, true) => "missed",
    }
}

/// Share of a trial's attempts that was lost.
pub(super) fn lost(row: &TrialRow) -> f64 {
    row.lost as f64 / row.attempts.max(1) as f64
}

/// Seconds without needless digits.
fn short(seconds: f64) -> String {
    if seconds < 9.95 && (seconds - seconds.round()).abs() > 0.05 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

fn head(page: &mut Page, result: &CapacityResult) {
    page.labelled_with(
        "verdict",
        (&result.verdict.to_string(), verdict_style(result.verdict)),
        &format!(": {}", reason(result)),
    );
    page.labelled("target", &target(result));
    page.labelled("measured", &measured(result));
    if let Some(baseline) = &result.baseline {
        page.labelled("baseline", &unloaded(baseline));
    }
    if let Some(warmup) = &result.warmup {
        let steady = if warmup.steady { "steady" } else { "not steady" };
        page.labelled(
            "warm-up",
            &format!("{steady} after {} at {}", seconds(warmup.duration_s), rate_text(warmup.rate_per_s)),
        );
    }
    page.labelled("generator", &generator(result));
    let time = &result.time;
    page.labelled(
        "time",
        &format!(
            "{} of a budget of {}",
            seconds(time.total_s),
            DurationText(Nanos::from_secs_f64(time.budget_s).into())
        ),
    );
}

/// Which clients, and what counts as lost.
pub(super) fn measured(result: &CapacityResult) -> String {
    let kind = match result.asked.find {
        Find::Rate => "lost: failed",
        Find::Concurrent => "connections held at once; lost: failed",
    };
    // 0 while it depends on a baseline that was not measured.
    let late = match Nanos::new(result.deadline_ns) {
        Nanos::ZERO => String::new(),
        deadline => format!(", or later than {} after the intended start", DurationText(deadline.into())),
    };
    format!("{}; {kind}{late}", result.clients)
}

/// The target at a low rate.
pub(super) fn unloaded(baseline: &Baseline) -> String {
    if baseline.attempts == 0 {
        return "not measured".to_owned();
    }
    let latency = [("connect", baseline.rtt_ns), ("p50", baseline.p50_ns), ("p95", baseline.p95_ns)]
        .into_iter()
        .filter_map(|(name, ns)| Some(format!("{name} {}", Nanos::new(ns?))))
        .collect::<Vec<_>>()
        .join(", ");
    let latency = if latency.is_empty() { "nothing completed".to_owned() } else { latency };
    format!("{latency}; {} of {} attempts lost without load", baseline.lost, baseline.attempts)
}

/// Why the verdict is what it is.
pub(super) fn reason(result: &CapacityResult) -> String {
    if let Some(signal) = result.interrupted {
        return format!("{}; what was known until then", signal.participle());
    }
    if let Some(reason) = &result.ended_by {
        return reason.clone();
    }
    if let Some(missed) = result.thresholds.iter().find(|threshold| threshold.pass == Some(false)) {
        return format!("{} was missed in the confirmation", missed.expression);
    }
    if result.concurrent.is_some() {
        return match result.verdict {
            Verdict::Pass => "the target's limit was reached".to_owned(),
            _ => "the target's limit was not reached".to_owned(),
        };
    }
    if let Some(qualification) = &result.qualification {
        return match qualification.qualified {
            Some(true) => "the need is met".to_owned(),
            Some(false) => "the need is missed".to_owned(),
            None => "whether the need is met cannot be told".to_owned(),
        };
    }
    match result.first_goal() {
        None => "nothing completed".to_owned(),
        Some(goal) => outcome(goal).to_owned(),
    }
}

/// How the search ended for a goal.
pub(super) fn outcome(goal: &GoalResult) -> &'static str {
    match goal.outcome {
        Outcome::Confirmed => "a longer run confirmed the rate",
        Outcome::NotConfirmed => "no longer run confirmed a rate",
        Outcome::Unstable => "unstable: trials at the same rate contradict each other",
        Outcome::GeneratorLimited => "generator-limited: a lower bound",
        Outcome::RangeLimited => "range-limited: no higher rate was allowed",
        Outcome::NothingCompletes => "not even the lowest rate is met",
        Outcome::DidNotRecover => "the target did not recover from an overload",
        Outcome::NotDecidable => "not decidable",
        Outcome::Undecided => "the search ended first: the bounds so far",
    }
}

/// What was measured, and where it is.
pub(super) fn target(result: &CapacityResult) -> String {
    let server = result.server.as_ref().map(|server| format!(" ({server})")).unwrap_or_default();
    let place = if result.local_target { ", on this machine" } else { "" };
    format!("{}{server}{place}", result.target)
}

/// Who made the load, and how much more it can.
pub(super) fn generator(result: &CapacityResult) -> String {
    let plan = &result.plan;
    let workers = count(plan.workers as usize, "worker");
    let busy = result
        .confirmation
        .as_ref()
        .and_then(|confirmation| confirmation.busiest_worker_percent)
        .map(|busy| format!(", busy {busy:.0} %"))
        .unwrap_or_default();
    let sources = match plan.sources.len() {
        0 => String::new(),
        sources => format!(", {}", count(sources, "source")),
    };
    let control = match &result.control {
        Some(control) => {
            let shared = match (control.built_in_sink, control.own_cores) {
                (true, true) => ", which skips the network",
                (true, false) => ", which skips the network and shares the workers' cores",
                (false, _) => "",
            };
            let cached = if control.cached { ", measured before" } else { "" };
            let at_least = if control.at_least { "at least " } else { "" };
            format!(
                "; ceiling {at_least}{} against {}{shared}{cached}",
                rate_text(control.ceiling_per_s),
                control.target
            )
        }
        None => String::new(),
    };
    format!("{workers}{busy}{sources}, {}, seed {}{control}", plan.engine, plan.seed)
}

fn next(page: &mut Page, result: &CapacityResult) {
    for (index, advice) in result.advice.iter().enumerate() {
        page.labelled(if index == 0 { "next" } else { "" }, advice);
    }
}

/// A row for each goal.
pub(super) fn goal_table(result: &CapacityResult) -> Table {
    let bound = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), rate_text);
    let row = |goal: &GoalResult| {
        vec![
            format!("{} {}", goal.name, share(goal.loss_ratio)),
            bound(goal.lower_bound_per_s),
            bound(goal.upper_bound_per_s),
            bound(goal.confirmed_per_s),
            bound(goal.conditional_throughput_per_s),
            goal.loss_resolution.map_or_else(|| "-".to_owned(), share),
            match goal.limited_by {
                LimitedBy::Target => "target",
                LimitedBy::Network => "network",
                LimitedBy::Generator => "generator",
                LimitedBy::Range => "range",
                LimitedBy::Unattributed => "not known",
            }
            .to_owned(),
        ]
    };
    let heading = ["goal", "lower", "upper", "confirmed", "conditional", "resolves", "limited by"];
    Table::new(heading, result.goals.iter().map(row))
}

fn goals(page: &mut Page, result: &CapacityResult) {
    page.cells(&goal_table(result));
    for goal in result.goals.iter().skip(1) {
        let lead = page.lead(&[("  ", PLAIN), (&goal.name, PLAIN)]);
        page.wrapped(lead, 4, &format!(": {}; {}", outcome(goal), goal.because));
    }
}

/// A row for each trial.
pub(super) fn trial_table(result: &CapacityResult) -> Table {
    let share_of = |busy: Option<f64>| busy.map_or_else(|| "-".to_owned(), |busy| format!("{busy:.0} %"));
    let row = |(number, row): (usize, &TrialRow)| {
        vec![
            format!(
                "{number} {}",
                if row.purpose == TrialPurpose::Confirm { "confirm" } else { row.purpose.plural(1) }
            ),
            rate_text(row.rate_per_s),
            short(row.duration_s),
            share(lost(row)),
            span(row.response_p50_ns),
            span(row.response_p99_ns),
            share_of(row.busiest_worker_percent),
            share_of(row.target_percent),
            word(row).to_owned(),
        ]
    };
    let heading = ["trials", "rate", "for", "lost", "p50", "p99", "busy", "target", "goal"];
    Table::new(heading, (1..).zip(&result.trials).map(row))
}

/// Response times at parts of the capacity.
pub(super) fn load_table(result: &CapacityResult) -> Table {
    let rows = result.loads.iter().map(|load| {
        let response = load.latency.get(Metric::Response);
        let at = |value: Option<u64>| span(value);
        let mut row =
            vec![format!("{} at {}", share(load.share), rate_text(load.rate_per_s)), percent(load.lost, load.attempts)];
        row.extend([
            at(response.and_then(|summary| summary.p50_ns)),
            at(response.and_then(|summary| summary.p90_ns)),
            at(response.and_then(|summary| summary.p99_ns)),
            at(response.and_then(|summary| summary.p999_ns)),
            at(response.and_then(|summary| summary.max_ns)),
        ]);
        row
    });
    Table::new(["latency at", "lost", "p50", "p90", "p99", "p99.9", "max"], rows)
}

fn loads(page: &mut Page, result: &CapacityResult) {
    page.cells(&load_table(result));
    if let Some(half) = &result.half_sources {
        page.labelled("", &half_sources(half));
    }
}

/// What the found rate from half of the sources shows.
pub(super) fn half_sources(half: &HalfSources) -> String {
    let means = match half.limited_per_source {
        Some(true) => "a limit per source, or a load balancer's affinity",
        Some(false) => "no limit per source",
        None => "the generator was the limit: nothing is shown",
    };
    let (sources, goodput) = (count(half.sources as usize, "source"), rate_text(half.goodput_per_s));
    format!("from {} of {sources}: {goodput} in time: {means}", half.half)
}

fn past_the_limit(page: &mut Page, result: &CapacityResult) {
    let Some(overload) = &result.overload else { return };
    page.title("past the limit");
    let lead = page.lead(&[("  ", PLAIN)]);
    page.wrapped(lead, 4, &overloaded(overload));
    let mut failures: Vec<_> = overload.failures.iter().collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    for failure in failures.iter().take(MOST_FAILURES) {
        let lead = page.lead(&[("  ", PLAIN), (&failure.count.to_string(), PLAIN)]);
        page.wrapped(lead, 4, &format!(" x {} {}", failure.step, failure.kind));
        page.remedy(&failure.advice);
    }
    page.rest(failures.len(), MOST_FAILURES, "more kind");
    page.line(&format!("  {}", recovered(result.recovered)));
}

/// What was offered past the limit, and what came of it.
pub(super) fn overloaded(overload: &Overload) -> String {
    let factor = overload.factor.map_or_else(String::new, |factor| format!(" ({factor:.2} times the found rate)"));
    format!(
        "at {}{factor}: {} completed, {} lost, response p99 {}",
        rate_text(overload.rate_per_s),
        rate_text(overload.completed_per_s),
        share(overload.loss_ratio),
        span(overload.response_p99_ns)
    )
}

/// Whether the target served again after overloads.
pub(super) const fn recovered(recovered: Option<bool>) -> &'static str {
    match recovered {
        Some(true) => "it served again at once after every overload",
        Some(false) => "it did not serve again: the search ended there",
        None => "no overload was so heavy that it had to be probed afterwards",
    }
}

fn held(page: &mut Page, concurrent: &Concurrent) {
    page.title("connections held");
    let lead = page.lead(&[("  ", PLAIN)]);
    page.wrapped(lead, 4, &held_text(concurrent));
}

/// How many connections were held at once, and what became of them.
pub(super) fn held_text(concurrent: &Concurrent) -> String {
    let idle = concurrent.idle_timeout_s.map_or_else(
        || format!("closed none that said nothing within {}", seconds(concurrent.watched_s)),
        |age| format!("closes connections that say nothing after {}", seconds(age)),
    );
    format!(
        "the server {idle}; ramp at {}: {} at once at most, {} of {} attempts lost, {} lost while held, {} idled out",
        rate_text(concurrent.ramp_per_s),
        concurrent.held_peak,
        concurrent.lost,
        concurrent.attempts,
        concurrent.lost_while_held,
        concurrent.idled_out
    )
}

fn rfc9411(page: &mut Page, result: &CapacityResult) {
    if !result.asked.rfc9411 {
        return;
    }
    let criteria = criterion_table(result);
    if criteria.rows.is_empty() {
        page.title(&criteria.heading[0]);
        page.line("  not judged: there is no confirmation");
    }
    page.cells(&criteria);
}

/// The criteria of RFC 9411; no rows without a confirmation.
pub(super) fn criterion_table(result: &CapacityResult) -> Table {
    let rows = criteria(result).into_iter().map(|criterion| {
        let met = match criterion.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not decidable",
        };
        let measured = criterion.measured.unwrap_or_else(|| "-".to_owned());
        vec![criterion.name.to_owned(), criterion.limit, measured, met.to_owned()]
    });
    Table::new(["RFC 9411, 7.2.3.3", "limit", "measured", ""], rows)
}
