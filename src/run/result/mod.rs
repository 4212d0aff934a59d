//! The result of a run, as it is saved (`shakedown.result/2`): units in key names, latencies in nanoseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{Lane, LoadPlan, Population, Repeat, RunPlan};
use crate::base::Nanos;
use crate::finding::Finding;
use crate::io::Engine;
use crate::load::Share;
use crate::measure::{
    Announcement, Ending, Failure, FailureCount, FailureKind, LatencySummary, MediaCounts, Metric, ModeCounts, Pause,
    Quantile, Reactions, Reason, RowPart, Side, Snapshot, StageRecord, Step, Tally, TimelineRow, TlsCounts,
};
use crate::observe::{Happening, Observed, TcpInfo};

pub mod check;
mod environment;
mod file;
mod latency;
mod phase;
pub(super) mod recovery;
mod verdict;

pub use crate::measure::Attempts;
pub use environment::environment;
pub use file::{RESULT_SCHEMA, ResultFileError, schema_kind};
pub use latency::LatencyTable;
pub use phase::{InterruptedAt, Phase};
pub use recovery::{RecoveryRow, StormRow};
pub use verdict::{Signal, ThresholdResult, Verdict};

/// What a run measured, and whether to believe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`RESULT_SCHEMA`].
    pub schema: String,
    /// Who measured.
    pub tool: Tool,
    /// When the load began (RFC 3339).
    pub started_at: String,
    /// What was asked.
    pub plan: RunPlan,
    /// The user's own keys and values.
    pub labels: BTreeMap<String, String>,
    /// Where it was measured from.
    pub environment: Environment,
    /// The spans behind the rates.
    pub window: Window,
    /// What became of the arrivals, warm-up excluded.
    pub attempts: Attempts,
    /// Attempts per second, each population's over the time from the end of its warm-up to the end of the load.
    pub rate: Rates,
    /// Held connections, warm-up included.
    pub connections: Connections,
    /// What the completed handshakes were.
    pub modes: ModeCounts,
    /// How TLS came to be; absent without.
    #[serde(default, skip_serializing_if = "TlsCounts::is_empty")]
    pub tls: TlsCounts,
    /// Audio and video of streams published and played, warm-up included; absent without.
    #[serde(default, skip_serializing_if = "MediaCounts::is_empty")]
    pub media: MediaCounts,
    /// Why attempts failed; rows of the step `hold` are connections lost after completion, not failed attempts.
    pub failures: Vec<FailureRow>,
    /// What servers announced without refusing anything; absent if they announced nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announcements: Vec<AnnouncementRow>,
    /// Spans of completed attempts.
    pub latency: LatencyTable,
    /// How long failed attempts took to fail; null if none failed.
    pub time_to_failure: Option<LatencySummary>,
    /// A row per population, if there is more than one.
    pub by_population: Vec<Row>,
    /// A row per target, if there is more than one; like all that follows without the canary.
    pub by_target: Vec<Row>,
    /// A row per kind of client, if there is more than one.
    pub by_client: Vec<Row>,
    /// A row per backend that answered `connect`: behind one address there may be several. `due` and `started` are the
    /// attempts that it accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_backend: Vec<Row>,
    /// A row per stage, warm-up included, if there is more than one.
    pub by_stage: Vec<Row>,
    /// Fleets that lost their connections and came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storms: Vec<StormRow>,
    /// What probe stages found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<RecoveryRow>,
    /// What happened while the load ran, beside its attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// What the target's machine said while the load ran, a part for each `--observe`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Observed>,
    /// What TCP_INFO said of sampled connections; absent where nothing was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_info: Option<TcpInfo>,
    /// The generator's threads.
    pub workers: Vec<WorkerRow>,
    /// The run in rows of one second (long runs: of more).
    pub timeline: Vec<TimelineRow>,
    /// How the generator judges itself.
    pub generator: Generator,
    /// How much the host's TCP counters grew during the run (all of the host's traffic).
    pub network: BTreeMap<String, u64>,
    /// The conditions asked, and what they met.
    pub thresholds: Vec<ThresholdResult>,
    /// Whether the result is what was asked.
    pub verdict: Verdict,
    /// The signal that ended the run early; null if it ended by its plan.
    pub interrupted: Option<Signal>,
    /// When the signal came; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted_at: Option<InterruptedAt>,
    /// Which of its own conditions ended the run early, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// The machines' parts, if this result was merged from several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
}

/// The program that measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Always "shakedown".
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from; null if the build did not say.
    pub commit: Option<String>,
}

/// The machine that measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The kernel's release.
    pub kernel: String,
    /// CPUs this process may use.
    pub cpus: u32,
    /// Their model.
    pub cpu_model: String,
    /// Who executed the operations.
    pub engine: Engine,
    /// Limit of open descriptors.
    pub nofile: u64,
    /// Whatever else was found out about the machine.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// The spans behind the rates, from the beginning of the load; draining and holding come after them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Length of the measured load, seconds.
    pub duration_s: f64,
    /// Length of the longest warm-up before it, seconds.
    pub warmup_s: f64,
}

impl Window {
    /// When the load was over, seconds since the run's start.
    pub fn end_s(&self) -> f64 {
        self.warmup_s + self.duration_s
    }
}

/// Attempts per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Planned arrivals; null in closed loop, which has no plan.
    pub intended_per_s: Option<f64>,
    /// Attempts started.
    pub started_per_s: f64,
    /// Attempts completed.
    pub completed_per_s: f64,
}

/// Held connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// At the end of the load.
    pub held: u64,
    /// The most at once.
    pub held_peak: u64,
    /// Lost before their hold was over.
    pub lost_while_held: u64,
    /// How long the lost ones had been held; null if none was lost.
    pub lost_age: Option<LatencySummary>,
}

/// Failures of one step and kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureRow {
    /// What the attempt was doing.
    pub step: Step,
    /// What went wrong.
    pub kind: FailureKind,
    /// Whose failure it is.
    pub side: Side,
    /// How many.
    pub count: u64,
    /// When the first happened, seconds since the run's start.
    pub first_s: f64,
    /// When the last happened, likewise.
    pub last_s: f64,
    /// The first one's evidence; null if there is none.
    pub detail: Option<String>,
    /// What to do about it.
    pub advice: String,
    /// What servers said, and how often; a part of it if they said many things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<ReasonRow>,
}

/// What servers announced: a request to connect again elsewhere, a warning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnnouncementRow {
    /// Its words; `{stream}` stands for the stream's name.
    pub text: String,
    /// How often.
    pub count: u64,
    /// When it was first said, seconds since the run's start.
    pub first_s: f64,
    /// When it was last said, likewise.
    pub last_s: f64,
}

/// A server's words about why it refused something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonRow {
    /// Its words; `{stream}` stands for the stream's name.
    pub text: String,
    /// How often.
    pub count: u64,
}

/// A part of the attempts under a name of its own. Rows by target and by client carry `response` or
/// `service` only, and their arrivals are those that started: what is dropped never had a target or a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The population, target, client or stage.
    pub name: String,
    /// Whose stage it is (rows by stage of several populations).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub population: Option<String>,
    /// Left out of the result's totals (rows by stage).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warmup: bool,
    /// What became of its arrivals.
    pub attempts: Attempts,
    /// Per second: of the population's own measured time, or of the stage; rows by target and by client as the whole.
    pub rate: Rates,
    /// What its completed handshakes were.
    pub modes: ModeCounts,
    /// Its connections lost while they were held.
    pub lost_while_held: u64,
    /// Its latencies.
    pub latency: LatencyTable,
    /// Audio and video of its streams, warm-up included (rows by population); absent without.
    #[serde(default, skip_serializing_if = "MediaCounts::is_empty")]
    pub media: MediaCounts,
    /// Why its attempts failed, if it is the canary, whose failures are not among the result's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailureRow>,
    /// What the target did with it, if it is a hostile client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactions: Option<ReactionRow>,
}

/// What a target did with the connections of a hostile client. The first five add up to its attempts that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReactionRow {
    /// The connection never came to be.
    pub not_connected: u64,
    /// The target closed it (FIN).
    pub closed: u64,
    /// The target reset it.
    pub reset: u64,
    /// It was open when the client's patience was over.
    pub open: u64,
    /// The client closed it itself, as it always does.
    pub left: u64,
    /// It was answered with S0, S1 and S2.
    pub answered: u64,
    /// It received some bytes, but no whole answer.
    pub partly_answered: u64,
    /// The reaction was not the expected one.
    pub unexpected: u64,
    /// How long the connections were open.
    pub open_time: LatencySummary,
}

/// Something that happened while the load ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, seconds since the run's start.
    pub t_s: f64,
    /// What kind of event, in snake case.
    pub code: String,
    /// What happened.
    pub text: String,
}

/// One thread of the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Which worker.
    pub index: u32,
    /// The CPU it was pinned to; null if it was not.
    pub cpu: Option<u32>,
    /// CPU time over wall time of the load, percent; null where there is no CPU to measure (`sim`).
    pub cpu_busy_percent: Option<f64>,
    /// CPU time it used, nanoseconds; null likewise.
    pub cpu_time_ns: Option<u64>,
    /// Share of the wall time in which it was ready to run and another thread had its CPU, percent; null if unknown.
    #[serde(default)]
    pub cpu_wait_percent: Option<f64>,
    /// How long it waited each time on average; every wake-up takes some microseconds, more is other threads' work.
    #[serde(default)]
    pub cpu_wait_mean_ns: Option<u64>,
    /// Turns of its loop.
    pub turns: u64,
    /// 99th percentile of a turn's length: the error bar of every time stamp.
    pub turn_p99_ns: Option<u64>,
    /// The longest turn.
    pub turn_max_ns: Option<u64>,
    /// 99th percentile of how much later than asked it woke.
    pub oversleep_p99_ns: Option<u64>,
}

/// How the generator judges itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// The generator was the limit: the numbers are a lower bound of what the target can do.
    pub limited: bool,
    /// CPU time of all workers per attempt started, microseconds; null if unknown.
    pub cpu_us_per_attempt: Option<f64>,
    /// When workers stood still for 50 ms or longer though they had something to do: stopped, or without a CPU. The longest, if
    /// there are hundreds; absent without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<PauseRow>,
    /// What to know, and what to do about it.
    pub findings: Vec<Finding>,
}

/// A stretch in which the generator stood still.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseRow {
    /// Its beginning, seconds since the run's start.
    pub t_s: f64,
    /// How long it lasted.
    pub duration_s: f64,
}

/// One machine's part of a merged result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Which part of the arrivals it started.
    pub share: Share,
    /// When its load began (RFC 3339).
    pub started_at: String,
    /// The machine.
    pub environment: Environment,
}

impl Event {
    /// Something became of what is observed.
    pub(in crate::run) fn of_happening(happening: &Happening) -> Self {
        Self { t_s: happening.t_s, code: "observed".into(), text: happening.text.clone() }
    }
}

impl Tool {
    /// The program that runs.
    pub fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("SHAKEDOWN_COMMIT").map(str::to_owned),
        }
    }
}

impl WorkerRow {
    /// The row of worker `index`: `snapshot` is its own, not yet merged; `cpu_time_ns` what its thread used over
    /// `wall_s` seconds, if that is known.
    pub fn new(index: u32, cpu: Option<u32>, snapshot: &Snapshot, cpu_time_ns: Option<u64>, wall_s: f64) -> Self {
        let ns = Nanos::as_u64;
        let busy = |used: u64| if wall_s > 0.0 { used as f64 / 1e9 / wall_s * 100.0 } else { 0.0 };
        Self {
            index,
            cpu,
            cpu_busy_percent: cpu_time_ns.map(busy),
            cpu_time_ns,
            cpu_wait_percent: None,
            cpu_wait_mean_ns: None,
            turns: snapshot.turns().count(),
            turn_p99_ns: snapshot.turns().at(Quantile::P99).map(ns),
            turn_max_ns: snapshot.turns().max().map(ns),
            oversleep_p99_ns: snapshot.oversleeps().at(Quantile::P99).map(ns),
        }
    }
}

impl Generator {
    /// How long it stood still, as far as that is kept.
    pub fn paused(&self) -> Nanos {
        Nanos::from_secs_f64(self.pauses.iter().map(|pause| pause.duration_s).sum())
    }
}

impl From<Pause> for PauseRow {
    fn from(pause: Pause) -> Self {
        Self { t_s: pause.begin.as_secs_f64(), duration_s: pause.length.as_secs_f64() }
    }
}

impl Rates {
    /// The rates of `attempts` over `seconds`; zero if no time has passed.
    pub fn over(seconds: f64, attempts: &Attempts, open_loop: bool) -> Self {
        let per_s = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Self {
            intended_per_s: open_loop.then(|| per_s(attempts.due)),
            started_per_s: per_s(attempts.started),
            completed_per_s: per_s(attempts.completed),
        }
    }

    /// The rates of all that was asked. Each population counts from the end of its own warm-up to the end of the load:
    /// what one does while another still warms up is measured, and so is the time it takes.
    pub(in crate::run) fn of_asked(plan: &RunPlan, window: Window, of_population: impl Fn(usize) -> Attempts) -> Self {
        let open_loop = plan.asked().any(Population::is_open_loop);
        let asked = plan.populations.iter().enumerate().filter(|(_, population)| !population.canary);
        Self::of_parts(
            asked.map(|(index, population)| (counted_s(population, window), of_population(index))),
            open_loop,
        )
    }

    /// The sum of the rates of attempts that were each counted for so many seconds. Those of the same time are added
    /// before they are divided, so a number that needs no rounding gets none.
    fn of_parts(parts: impl Iterator<Item = (f64, Attempts)>, open_loop: bool) -> Self {
        let mut by_time: Vec<(f64, Attempts)> = Vec::new();
        for (seconds, attempts) in parts {
            match by_time.iter_mut().find(|(known, _)| *known == seconds) {
                Some((_, sum)) => sum.merge(&attempts),
                None => by_time.push((seconds, attempts)),
            }
        }
        let mut sum = Self::over(0.0, &Attempts::default(), open_loop);
        by_time.iter().for_each(|(seconds, attempts)| sum.add(&Self::over(*seconds, attempts, open_loop)));
        sum
    }
}

impl FailureRow {
    pub(in crate::run) fn of(record: &StageRecord) -> Vec<Self> {
        let reasons = record.failures.reasons();
        let completed = record.tally.counts.completed > 0;
        record.failures.iter().map(|(failure, count)| Self::new(failure, count, reasons, completed)).collect()
    }

    pub(in crate::run) fn new(
        failure: Failure,
        count: &FailureCount,
        reasons: &[Reason],
        others_completed: bool,
    ) -> Self {
        let detail = failure.detail.to_string();
        let reasons: Vec<ReasonRow> = reasons
            .iter()
            .filter(|reason| (reason.step, reason.kind) == (failure.step, failure.kind))
            .map(|reason| ReasonRow { text: reason.text.clone(), count: reason.count })
            .collect();
        let is_silence = matches!(failure.kind, FailureKind::Timeout | FailureKind::Closed | FailureKind::Reset);
        Self {
            step: failure.step,
            kind: failure.kind,
            side: failure.side(),
            count: count.count,
            first_s: count.first.as_secs_f64(),
            last_s: count.last.as_secs_f64(),
            detail: (!detail.is_empty()).then_some(detail),
            advice: if closed_at_once(failure, count) {
                "the server closed all of them at once: was it restarted or stopped?".to_owned()
            } else if is_silence && !reasons.is_empty() && failure.step != Step::Hold {
                "something else came before, as quoted: should that have been the answer?".to_owned()
            } else {
                failure.advice(others_completed).to_owned()
            },
            reasons,
        }
    }
}

impl AnnouncementRow {
    pub(in crate::run) fn of(announcement: &Announcement) -> Self {
        let Announcement { text, count, first, last } = announcement;
        Self { text: text.clone(), count: *count, first_s: first.as_secs_f64(), last_s: last.as_secs_f64() }
    }
}

/// Held connections that end together were not closed for idling, each in its time.
fn closed_at_once(failure: Failure, count: &FailureCount) -> bool {
    const AT_ONCE: Nanos = Nanos::from_millis(200);
    let by_peer = matches!(failure.kind, FailureKind::Closed | FailureKind::Reset);
    failure.step == Step::Hold && by_peer && count.count > 1 && count.last.saturating_sub(count.first) <= AT_ONCE
}

impl Row {
    pub(in crate::run) fn new(name: String, tally: &Tally, seconds: f64, open_loop: bool, metrics: &[Metric]) -> Self {
        let attempts = tally.counts.ended();
        Self {
            name,
            population: None,
            warmup: false,
            attempts,
            rate: Rates::over(seconds, &attempts, open_loop),
            modes: tally.modes,
            lost_while_held: tally.counts.lost_while_held,
            latency: LatencyTable::of(&tally.latencies, metrics, open_loop),
            media: MediaCounts::default(),
            failures: Vec::new(),
            reactions: None,
        }
    }
}

impl Row {
    /// Its rate from what each population has of it, where there are several.
    pub(in crate::run) fn set_rate_of_parts(
        &mut self,
        plan: &RunPlan,
        window: Window,
        parts: impl Iterator<Item = RowPart>,
    ) {
        let attempts =
            |part: RowPart| Attempts { started: part.started, completed: part.completed, ..Attempts::default() };
        let parts = plan.populations.iter().zip(parts);
        let mut parts = parts.map(|(population, part)| (counted_s(population, window), attempts(part))).peekable();
        if parts.peek().is_some() {
            self.rate = Rates::of_parts(parts, false);
        }
    }
}

impl ReactionRow {
    pub(in crate::run) fn of(reactions: &Reactions) -> Self {
        Self {
            not_connected: reactions.ended(Ending::NotConnected),
            closed: reactions.ended(Ending::Closed),
            reset: reactions.ended(Ending::Reset),
            open: reactions.ended(Ending::Open),
            left: reactions.ended(Ending::Left),
            answered: reactions.answered,
            partly_answered: reactions.partly_answered,
            unexpected: reactions.unexpected,
            open_time: reactions.open_time.summary(),
        }
    }
}

/// How long each stage of a lane lasted: as planned, as far as the load went.
pub(in crate::run) fn stage_lengths_s(lane: &Lane, window: Window) -> Vec<f64> {
    let load_s = window.end_s();
    let times = match lane.load {
        LoadPlan::Open { repeat: Some(Repeat { times, .. }), .. } => f64::from(times),
        _ => 1.0,
    };
    let mut left_s = (load_s - Nanos::new(lane.begins_ns).as_secs_f64()).max(0.0);
    let mut length = |planned: Option<Nanos>| {
        let length_s = planned.map_or(left_s, |planned| (planned.as_secs_f64() * times).min(left_s));
        left_s -= length_s;
        length_s
    };
    lane.load.stages().map(|stage| length(stage.length)).collect()
}

/// From the end of a population's warm-up to the end of the load.
pub(in crate::run) fn counted_s(population: &Population, window: Window) -> f64 {
    window.duration_s + (window.warmup_s - population.warmup().as_secs_f64()).max(0.0)
}

/// How long a population's load was measured: to the end of its own plan, as far as the load went.
pub(in crate::run) fn measured_length_s(population: &Population, window: Window) -> f64 {
    let load_s = window.end_s();
    let end_s = match population.length() {
        Nanos::MAX => load_s,
        length => length.as_secs_f64().min(load_s),
    };
    (end_s - population.warmup().as_secs_f64()).max(0.0)
}

#[cfg(test)]
mod tests;
