//! A result, put together from what a run left behind, and judged.

use std::collections::BTreeMap;

use super::judging::{self, WatchOutcome};
use super::plan::{ClientPlan, Population, RunPlan, Target, recorder_layout};
use super::result::{
    AnnouncementRow, Connections, Environment, Event, FailureRow, Generator, InterruptedAt, LatencyTable, PauseRow,
    RESULT_SCHEMA, Rates, ReactionRow, Row, RunResult, Signal, Tool, Verdict, Window, WorkerRow, measured_length_s,
    recovery, stage_lengths_s,
};
use crate::finding::Finding;
use crate::measure::{BackendRecord, Metric, Snapshot, StageInfo, StageRecord, Tally, Timeline};
use crate::observe::Observation;

/// Everything a run leaves behind.
#[derive(Clone, Debug)]
pub struct ResultParts {
    /// What was asked.
    pub plan: RunPlan,
    /// All workers' records, merged; its layout is [`recorder_layout`] of the plan.
    pub snapshot: Snapshot,
    /// All workers' interval reports.
    pub timeline: Timeline,
    /// What conditions on single seconds met.
    pub watched: WatchOutcome,
    /// When the load began (RFC 3339).
    pub started_at: String,
    /// Where it was measured from.
    pub environment: Environment,
    /// The user's own keys and values.
    pub labels: BTreeMap<String, String>,
    /// One row per worker ([`WorkerRow::new`]).
    pub workers: Vec<WorkerRow>,
    /// The load's length as it was (an interrupt shortens it).
    pub window: Window,
    /// Connections held when the load ended.
    pub held: u64,
    /// The host's TCP counters before the load.
    pub network_before: BTreeMap<String, u64>,
    /// The same counters after it.
    pub network_after: BTreeMap<String, u64>,
    /// What was found before and during the run.
    pub findings: Vec<Finding>,
    /// What happened while the load ran.
    pub events: Vec<Event>,
    /// What was read of the target's machine and of connections.
    pub observation: Observation,
    /// The signal that ended the run early.
    pub interrupted: Option<Signal>,
    /// When it came.
    pub interrupted_at: Option<InterruptedAt>,
    /// Which of its own conditions ended the run early, and why.
    pub ended_by: Option<String>,
}

impl RunResult {
    /// Puts a result together and judges it.
    ///
    /// # Panics
    /// If the snapshot is not one of this plan.
    pub fn assemble(parts: ResultParts) -> Self {
        let ResultParts { plan, snapshot, timeline, window, .. } = parts;
        assert_eq!(*snapshot.layout(), recorder_layout(&plan), "the snapshot is of this plan");
        let open_loop = plan.asked().any(Population::is_open_loop);
        let measured = snapshot.measured();
        let lost_while_held = snapshot.stages().iter().map(|stage| stage.tally.counts.lost_while_held).sum();
        let network = growth(&parts.network_before, &parts.network_after);
        let pauses = snapshot.pauses().stretches().into_iter().map(PauseRow::from).collect();
        let mut findings = parts.findings;
        let retransmits = network.get("syn_retransmits").copied();
        let waits = !plan.clients_whose_connect_waits().is_empty();
        findings.extend(judging::findings_of_latencies(
            &measured,
            waits,
            linear_syn_retries(&parts.environment),
            retransmits,
        ));
        let mut result = Self {
            schema: RESULT_SCHEMA.to_owned(),
            tool: Tool::this(),
            started_at: parts.started_at,
            labels: parts.labels,
            environment: parts.environment,
            window,
            attempts: measured.tally.counts.ended(),
            rate: Rates::of_asked(&plan, window, |index| snapshot.population(index as u16).tally.counts.ended()),
            connections: Connections {
                // Each worker counts at the end of its own load, so what one has lost by then may come again at another.
                held: parts.held.min(timeline.held_peak()),
                held_peak: timeline.held_peak(),
                lost_while_held,
                lost_age: (lost_while_held > 0).then(|| snapshot.lost_ages().summary()),
            },
            modes: measured.tally.modes,
            tls: measured.tls,
            media: snapshot.all().media,
            failures: FailureRow::of(&measured),
            announcements: measured.announcements.sorted().into_iter().map(AnnouncementRow::of).collect(),
            latency: LatencyTable::of(&measured.tally.latencies, &Metric::ALL, open_loop),
            time_to_failure: measured.time_to_failure.filter(|times| times.count() > 0).map(|times| times.summary()),
            by_population: rows_by_population(&plan, &snapshot, window),
            by_target: rows_by_target(&plan, &snapshot, window),
            by_client: rows_by_client(&plan, &snapshot, window),
            by_backend: rows_by_backend(&snapshot, window),
            by_stage: rows_by_stage(&plan, &snapshot, window),
            storms: recovery::storms(&plan, &snapshot),
            recoveries: recovery::recoveries(&plan, &snapshot),
            events: parts.events,
            observed: parts.observation.observed,
            tcp_info: parts.observation.tcp_info,
            workers: parts.workers,
            timeline: timeline.rows(),
            generator: Generator { limited: false, cpu_us_per_attempt: None, pauses, findings },
            network,
            thresholds: Vec::new(),
            verdict: Verdict::Pass,
            interrupted: parts.interrupted,
            interrupted_at: parts.interrupted_at,
            ended_by: parts.ended_by,
            machines: Vec::new(),
            plan,
        };
        judging::advise(&mut result);
        judging::judge(&mut result, &parts.watched);
        result
    }
}

fn rows_by_population(plan: &RunPlan, snapshot: &Snapshot, window: Window) -> Vec<Row> {
    if plan.populations.len() < 2 {
        return Vec::new();
    }
    let row = |(population, index): (&Population, u16)| {
        // The canary stays out of the totals, not out of its own row.
        let whole = snapshot.whole_population(index);
        let media = whole.media;
        let record = if population.canary { whole } else { snapshot.population(index) };
        let length_s = measured_length_s(population, window);
        let name = population.name.clone();
        let mut row = Row::new(name, &record.tally, length_s, population.is_open_loop(), &Metric::ALL);
        row.media = media;
        if population.canary {
            row.failures = FailureRow::of(&record);
        }
        row
    };
    plan.populations.iter().zip(0..).map(row).collect()
}

fn rows_by_target(plan: &RunPlan, snapshot: &Snapshot, window: Window) -> Vec<Row> {
    // Rows for all targets: a row's number is the target's.
    let mut rows = rows_by(plan.targets.iter().map(Target::label), snapshot.targets(), window);
    for (target, row) in rows.iter_mut().enumerate() {
        row.set_rate_of_parts(plan, window, snapshot.target_parts(target));
    }
    rows
}

fn rows_by_client(plan: &RunPlan, snapshot: &Snapshot, window: Window) -> Vec<Row> {
    let mut rows = rows_by(plan.clients().iter().map(ClientPlan::name), snapshot.clients(), window);
    for (client, row) in rows.iter_mut().enumerate() {
        row.set_rate_of_parts(plan, window, snapshot.client_parts(client));
    }
    for (row, reactions) in rows.iter_mut().zip(snapshot.reactions()) {
        row.reactions = reactions.as_deref().map(ReactionRow::of);
    }
    rows
}

fn rows_by_backend(snapshot: &Snapshot, window: Window) -> Vec<Row> {
    let row = |record: &BackendRecord| {
        let has = |metric: &Metric| record.tally.latencies.get(*metric).is_some();
        let metrics: Vec<_> =
            [Metric::Response, Metric::Service, Metric::Confirm].into_iter().filter(|metric| has(metric)).collect();
        let mut row = Row::new(record.name.clone(), &record.tally, window.duration_s, true, &metrics);
        row.rate.intended_per_s = None;
        row
    };
    snapshot.backends().iter().map(row).collect()
}

fn rows_by(names: impl Iterator<Item = String>, tallies: &[Tally], window: Window) -> Vec<Row> {
    let row = |(name, tally): (String, &Tally)| {
        let has = |metric| tally.latencies.get(metric).is_some();
        let metrics = [Metric::Response, Metric::Service].into_iter().filter(|metric| has(*metric)).collect::<Vec<_>>();
        // An arrival has no target and no client before it starts: no rate was intended for one of several.
        let mut row = Row::new(name, tally, window.duration_s, true, &metrics);
        row.rate.intended_per_s = None;
        row
    };
    names.zip(tallies).map(row).collect()
}

fn rows_by_stage(plan: &RunPlan, snapshot: &Snapshot, window: Window) -> Vec<Row> {
    let layout = snapshot.layout();
    if layout.stages.len() < 2 {
        return Vec::new();
    }
    let lengths = plan.populations.iter().flat_map(|population| &population.lanes);
    let lengths = lengths.flat_map(|lane| stage_lengths_s(lane, window));
    let row = |((info, record), length_s): ((&StageInfo, &StageRecord), f64)| {
        let population = &plan.populations[usize::from(info.population)];
        let mut row = Row::new(info.name.clone(), &record.tally, length_s, info.open_loop, &Metric::ALL);
        row.population = (plan.populations.len() > 1).then(|| population.name.clone());
        row.warmup = info.warmup;
        row
    };
    let asked =
        |((info, _), _): &((&StageInfo, &StageRecord), f64)| !plan.populations[usize::from(info.population)].canary;
    layout.stages.iter().zip(snapshot.stages()).zip(lengths).filter(asked).map(row).collect()
}

/// How often this kernel sends a SYN again at constant distance; 0 on kernels that double it from the beginning.
fn linear_syn_retries(environment: &Environment) -> u32 {
    let known = environment.more.get("tcp_syn_linear_timeouts").and_then(serde_json::Value::as_u64);
    known.unwrap_or(0) as u32
}

/// How much each counter grew; counters known at one end only are left out.
fn growth(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, end): (&String, &u64)| Some((name.clone(), end.saturating_sub(*before.get(name)?)));
    after.iter().filter_map(grown).collect()
}
