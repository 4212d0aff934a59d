//! The page of a capacity search.

use maud::{Markup, html};

use super::elements::{self, Head, Tile, contents, details, facts, figure, section, table, tiles};
use super::over_time::OverTime;
use super::run::distribution;
use super::{observed, page, percentiles};
use crate::base::{DurationText, Nanos, rate_text};
use crate::capacity::{CapacityResult, GoalResult, LimitedBy, TrialPurpose, TrialRow};
use crate::measure::{Metric, TimelineRow};
use crate::report::capacity as words;
use crate::report::chart::{Axis, Chart, Form, Ink, Series};
use crate::report::quantity::{seconds, share};
use crate::report::tables;

/// The page of `result`: a whole file.
pub fn render(result: &CapacityResult) -> String {
    let target = words::target(result);
    let reason = words::reason(result);
    let sections = html! {
        (section("next", "What to do next", &next(result)))
        (section("findings", "Findings", &elements::findings(&result.findings)))
        (section("goals", "Goals", &goals(result)))
        (section("knee", "Over load", &over_load(result)))
        (section("latency", "Latency at parts of the capacity", &loads(result)))
        (section("confirmation", "Confirmation", &confirmation(result)))
        (section("held", "Connections held", &held(result)))
        (section("past", "Past the limit", &past_the_limit(result)))
        (section("trials", "Trials", &trials(result)))
        (section("plan", "What was measured", &measured(result)))
        (section("machine", "Machine", &elements::environment(&result.environment, &std::collections::BTreeMap::new())))
        (section("labels", "Labels and attachments", &elements::labels(&result.labels)))
    };
    let places = [
        ("next", "next"),
        ("findings", "findings"),
        ("goals", "goals"),
        ("knee", "over load"),
        ("latency", "latency"),
        ("confirmation", "confirmation"),
        ("held", "held"),
        ("past", "past the limit"),
        ("trials", "trials"),
        ("plan", "what was measured"),
        ("machine", "machine"),
    ];
    let body = html! {
        (elements::head(&Head {
            kind: "RTMP handshake capacity",
            target: &target,
            statement: &result.statement,
            verdict: result.verdict,
            judged: true,
            reason: &reason,
            started_at: &result.started_at,
            tool: &result.tool,
            interrupted: result.interrupted,
        }))
        (tiles(&key_figures(result)))
        (contents(&places, &sections))
        (sections)
        (elements::foot(&result.tool))
    };
    page(&format!("capacity of {target}"), &body)
}

fn key_figures(result: &CapacityResult) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(goal) = result.first_goal() {
        tiles.push(match (goal.confirmed_per_s, goal.lower_bound_per_s) {
            (Some(confirmed), _) => {
                let length = result.confirmation.as_ref().map(|run| format!("for {}", seconds(run.duration_s)));
                Tile::new("confirmed", rate_text(confirmed), length.unwrap_or_default())
            }
            (None, Some(lower)) => Tile::new("at least", rate_text(lower), "not confirmed"),
            (None, None) => Tile::new("capacity", "-", words::outcome(goal)),
        });
        if let (Some(lower), Some(upper)) = (goal.lower_bound_per_s, goal.upper_bound_per_s) {
            let width = goal.resolution.map(|width| format!("{} apart", share(width))).unwrap_or_default();
            tiles.push(Tile::new(
                "search",
                format!("{} to {}", rate_text(lower).trim_end_matches("/s"), rate_text(upper)),
                width,
            ));
        }
        let deadline = format!("failed, or later than {}", deadline(result));
        tiles.push(Tile::new("loss allowed", share(goal.loss_ratio), deadline));
        tiles.push(Tile::new("limited by", limiter(goal.limited_by), ""));
    }
    if let Some(qualification) = &result.qualification {
        let answer = match qualification.qualified {
            Some(true) => "yes",
            Some(false) => "no",
            None => "cannot be told",
        };
        let offered = format!("offered up to {}", rate_text(qualification.offered_per_s));
        let need = Tile::new(format!("takes {}?", rate_text(qualification.need_per_s)), answer, offered);
        tiles.insert(0, need.marked(qualification.qualified == Some(false)));
    }
    if let Some(concurrent) = &result.concurrent {
        let because = concurrent.because.clone();
        tiles.insert(0, Tile::new("held at once", concurrent.held_peak.to_string(), because));
    }
    if let Some(control) = &result.control {
        let headroom =
            control.headroom.map(|headroom| format!("{headroom:.2} times the found rate")).unwrap_or_default();
        let at_least = if control.at_least { "at least " } else { "" };
        let ceiling = format!("{at_least}{}", rate_text(control.ceiling_per_s));
        tiles.push(Tile::new("generator's ceiling", ceiling, headroom));
    }
    if result.overload.is_some() {
        let (value, note) = match result.recovered {
            Some(true) => ("yes", "after every overload"),
            Some(false) => ("no", "the search ended there"),
            None => ("not asked", "no overload was that heavy"),
        };
        tiles.push(Tile::new("recovered", value, note).marked(result.recovered == Some(false)));
    }
    tiles
}

const fn limiter(limited_by: LimitedBy) -> &'static str {
    match limited_by {
        LimitedBy::Target => "the target",
        LimitedBy::Network => "the network",
        LimitedBy::Generator => "the generator",
        LimitedBy::Range => "the range allowed",
        LimitedBy::Unattributed => "cannot be told",
    }
}

fn deadline(result: &CapacityResult) -> String {
    DurationText(Nanos::new(result.deadline_ns).into()).to_string()
}

fn next(result: &CapacityResult) -> Markup {
    html! {
        @if !result.advice.is_empty() {
            ol.next { @for advice in &result.advice { li { (advice) } } }
        }
    }
}

fn goals(result: &CapacityResult) -> Markup {
    let because = |goal: &GoalResult| format!("{}; {}", words::outcome(goal), goal.because);
    html! {
        (table(&words::goal_table(result)))
        @for goal in &result.goals { p { strong { (goal.name) } ": " (because(goal)) "." } }
        (table(&tables::thresholds_of(&result.thresholds)))
        @if result.asked.rfc9411 { (table(&words::criterion_table(result))) }
    }
}

/// How a trial is drawn: what it says about the first goal.
fn drawn_as(trial: &TrialRow) -> Option<(&'static str, Ink, Form)> {
    match trial.purpose {
        TrialPurpose::Climb | TrialPurpose::Decide | TrialPurpose::Confirm if !trial.valid => {
            Some(("invalid: the generator was the limit", Ink::Text, Form::Rings))
        }
        TrialPurpose::Climb | TrialPurpose::Decide | TrialPurpose::Confirm if trial.exceeds => {
            Some(("goal missed", Ink::Red, Form::Dots))
        }
        TrialPurpose::Climb | TrialPurpose::Decide | TrialPurpose::Confirm => {
            Some(("goal met", Ink::Green, Form::Dots))
        }
        _ => None,
    }
}

/// The search's trials as dots, those of one kind together.
fn dots(result: &CapacityResult, value: impl Fn(&TrialRow) -> Option<f64>) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for trial in &result.trials {
        let (Some((name, ink, form)), Some(value)) = (drawn_as(trial), value(trial)) else { continue };
        let index = all.iter().position(|series| series.name == name).unwrap_or_else(|| {
            all.push(Series::new(name, ink, form, vec![Vec::new()]));
            all.len() - 1
        });
        all[index].runs[0].push((trial.rate_per_s, value));
    }
    all
}

/// A percentile of a trial, nanoseconds.
type Percentile = fn(&TrialRow) -> Option<u64>;

/// The percentile that most of the search's trials have attempts enough for: one for all dots of a chart.
fn tail(result: &CapacityResult) -> (&'static str, Percentile) {
    let with =
        |of: Percentile| result.trials.iter().filter(|trial| drawn_as(trial).is_some() && of(trial).is_some()).count();
    let percentiles: [(&str, Percentile); 3] = [
        ("p99", |trial| trial.response_p99_ns),
        ("p95", |trial| trial.response_p95_ns),
        ("median", |trial| trial.response_p50_ns),
    ];
    let [.., (_, median)] = percentiles;
    percentiles.into_iter().find(|(_, of)| 2 * with(*of) >= with(median)).expect("the median is as frequent as itself")
}

fn over_load(result: &CapacityResult) -> Markup {
    let (name, ns) = tail(result);
    let mut series = dots(result, |trial| ns(trial).map(|ns| ns as f64));
    for dots in &mut series {
        dots.name = format!("{name}, {}", dots.name);
    }
    series.push(Series::new("median where the goal was met", Ink::Blue, Form::Thin, vec![medians(result)]));
    let mut latency = with_bounds(result, Chart::new(Axis::PerSAround, Axis::LogSpan, series));
    if result.deadline_ns > 0 {
        latency.levels.push((result.deadline_ns as f64, Ink::Pink));
        latency.notes.push((Ink::Pink, format!("deadline, {}", deadline(result))));
    }
    let loss = dots(result, |trial| Some(words::lost(trial)));
    let mut loss = with_bounds(result, Chart::new(Axis::PerSAround, Axis::Share, loss));
    if let Some(goal) = result.first_goal() {
        loss.levels.push((goal.loss_ratio, Ink::Pink));
        loss.notes.push((Ink::Pink, format!("loss allowed, {}", share(goal.loss_ratio))));
    }
    html! {
        (figure(
            "Response time over offered rate",
            "A dot for each trial of the search; where they turn up is the knee. Past it they rise with the length of the \
             trial. Logarithmic.",
            &latency,
        ))
        (figure("Attempts lost over offered rate", "", &loss))
    }
}

/// The medians of the trials that met the goal, at each rate the highest one: what an attempt takes below the limit.
fn medians(result: &CapacityResult) -> Vec<(f64, f64)> {
    let met = result.trials.iter().filter(|trial| drawn_as(trial).is_some_and(|(_, ink, _)| ink == Ink::Green));
    let mut medians: Vec<_> = met.filter_map(|trial| Some((trial.rate_per_s, trial.response_p50_ns? as f64))).collect();
    medians.sort_by(|one, other| one.0.total_cmp(&other.0).then(other.1.total_cmp(&one.1)));
    medians.dedup_by_key(|(rate, _)| *rate);
    medians
}

/// With what the search found for the first goal.
fn with_bounds(result: &CapacityResult, mut chart: Chart) -> Chart {
    let Some(goal) = result.first_goal() else { return chart };
    if let (Some(lower), Some(upper)) = (goal.lower_bound_per_s, goal.upper_bound_per_s) {
        chart.bands.push((lower, upper));
        chart.notes.push((Ink::Band, "between the bounds".to_owned()));
    }
    if let Some(confirmed) = goal.confirmed_per_s {
        chart.marks.push((confirmed, Ink::Purple));
        chart.notes.push((Ink::Purple, format!("confirmed, {}", rate_text(confirmed))));
    }
    chart
}

fn loads(result: &CapacityResult) -> Markup {
    let named = result.loads.iter().filter_map(|load| {
        let name = format!("{} of the capacity, {}", share(load.share), rate_text(load.rate_per_s));
        Some((name, load.latency.get(Metric::Response)?))
    });
    html! {
        (figure("Response time by percentile", "Logarithmic.", &percentiles::chart(named)))
        (table(&words::load_table(result)))
        @if let Some(half) = &result.half_sources { p { "The same rate " (words::half_sources(half)) "." } }
    }
}

fn confirmation(result: &CapacityResult) -> Markup {
    let Some(run) = &result.confirmation else { return html! {} };
    let same = |trial: &&TrialRow| trial.purpose == TrialPurpose::Confirm && trial.rate_per_s == run.rate_per_s;
    let is_valid = result.trials.iter().rfind(same).is_none_or(|trial| trial.valid);
    let passed = match (run.passed, is_valid) {
        (true, _) => "the goal was kept",
        (false, true) => "the goal was missed",
        (false, false) => "the generator was the limit: it says nothing of the target",
    };
    let before = match run.missed_before {
        0 => String::new(),
        missed => format!(", after {missed} at higher rates that missed it"),
    };
    html! {
        p {
            (rate_text(run.rate_per_s)) " for " (seconds(run.duration_s)) ": " (run.lost) " of " (run.attempts)
            " attempts lost (" (share(run.loss_ratio)) "), " (passed) (before) "."
        }
        (distribution("Latency by percentile", &run.latency))
        (charts(&run.timeline))
        (observed::content(&run.observed, run.tcp_info.as_ref(), (0.0, run.duration_s)))
    }
}

fn charts(rows: &[TimelineRow]) -> Markup {
    OverTime { rows, planned: true, warmup_s: 0.0, load_end_s: 0.0, events: Vec::new() }.charts()
}

fn held(result: &CapacityResult) -> Markup {
    html! {
        @if let Some(concurrent) = &result.concurrent {
            p { (words::held_text(concurrent)) "." }
            (charts(&concurrent.timeline))
        }
    }
}

fn past_the_limit(result: &CapacityResult) -> Markup {
    let Some(overload) = &result.overload else { return html! {} };
    let attempts: u64 =
        result.trials.iter().filter(|trial| trial.rate_per_s == overload.rate_per_s).map(|trial| trial.attempts).sum();
    html! {
        p { (words::overloaded(overload)) "; " (words::recovered(result.recovered)) "." }
        (elements::failures(&overload.failures, attempts))
    }
}

/// The search as it went.
fn trials(result: &CapacityResult) -> Markup {
    let lasting = |name: &str, ink, chosen: &dyn Fn(&TrialRow) -> bool| {
        let trials = result.trials.iter().filter(|trial| chosen(trial));
        let runs = trials
            .map(|trial| vec![(trial.begin_s, trial.rate_per_s), (trial.begin_s + trial.duration_s, trial.rate_per_s)]);
        Series::new(name, ink, Form::Line, runs.collect())
    };
    let named = |wanted: &'static str| move |trial: &TrialRow| drawn_as(trial).is_some_and(|(name, ..)| name == wanted);
    let mut series = vec![
        lasting("goal met", Ink::Green, &named("goal met")),
        lasting("goal missed", Ink::Red, &named("goal missed")),
        lasting("invalid: the generator was the limit", Ink::Text, &named("invalid: the generator was the limit")),
        lasting("not of the search: warm-up, probes, latency at parts", Ink::Blue, &|trial| drawn_as(trial).is_none()),
    ];
    series.retain(|series| !series.runs.is_empty());
    html! {
        (figure("Offered rates in their order", "A line for each trial, as long as it took.", &Chart::new(Axis::Time, Axis::PerS, series)))
        (table(&words::trial_table(result)))
    }
}

fn measured(result: &CapacityResult) -> Markup {
    let time = &result.time;
    let budget = DurationText(Nanos::from_secs_f64(time.budget_s).into());
    let baseline = result.baseline.as_ref().map(words::unloaded).unwrap_or_default();
    let json = serde_json::to_string_pretty(&result.plan).expect("a plan has string keys only");
    let parts = [
        ("baseline", time.baseline_s),
        ("control", time.control_s),
        ("search", time.search_s),
        ("cooldown", time.cooldown_s),
        ("after the search", time.after_s),
    ];
    let parts =
        parts.into_iter().filter(|(_, part)| *part > 0.0).map(|(name, part)| format!("{name} {}", seconds(part)));
    html! {
        (facts(&[
            ("attempts", words::measured(result)),
            ("until", result.until.to_string()),
            ("baseline", baseline),
            ("generator", words::generator(result)),
            ("time", format!("{} of a budget of {budget}: {}", seconds(time.total_s), parts.collect::<Vec<_>>().join(", "))),
        ]))
        (details("The plan of a trial, every default applied", &elements::text(&json)))
    }
}
