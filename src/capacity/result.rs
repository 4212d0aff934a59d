//! The result of a capacity search, as it is saved (`shakedown.capacity/2`): units in key names, times in nanoseconds or
//! seconds as the names say.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::input;
use crate::finding::{Finding, FindingCode};
use crate::measure::{FailureKind, Side, Step, TimelineRow, Until};
use crate::observe::{Observed, TcpInfo};
use crate::run::{
    ClosePolicy, Environment, ExitCode, ExitFacts, FailureRow, LatencyTable, Obstacle, ResultFileError, RunPlan,
    Signal, ThresholdResult, Tool, Verdict, check,
};
use crate::search::TrialOutcome;

/// The schema of this version's capacity files.
pub const CAPACITY_SCHEMA: &str = "shakedown.capacity/2";

/// What a target can take, and how sure that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityResult {
    /// [`CAPACITY_SCHEMA`].
    pub schema: String,
    /// Who measured.
    pub tool: Tool,
    /// When the first attempt was made (RFC 3339).
    pub started_at: String,
    /// The capacity in one plain sentence, with what it was measured by.
    pub statement: String,
    /// What to do next, one sentence each, the most useful first.
    pub advice: Vec<String>,
    /// The targets as the user wrote them, without secrets.
    pub target: String,
    /// The name of the process that serves a local target; null if it is elsewhere, or cannot be seen.
    pub server: Option<String>,
    /// The target answers on this machine.
    pub local_target: bool,
    /// An attempt that completes later than this after its intended start is lost; 0 if the search ended before that
    /// was known.
    pub deadline_ns: u64,
    /// What completes an attempt.
    pub until: Until,
    /// How completed connections are closed.
    pub close: ClosePolicy,
    /// The clients' names, with their weights if there are several.
    pub clients: String,
    /// What was asked.
    pub asked: Asked,
    /// What a trial does: the plan of the last one.
    pub plan: RunPlan,
    /// The user's own keys and values.
    pub labels: BTreeMap<String, String>,
    /// Where it was measured from.
    pub environment: Environment,
    /// The unloaded target; null if the search ended before it was known.
    pub baseline: Option<Baseline>,
    /// Load before the search, until the target was steady; null if there was none.
    pub warmup: Option<WarmUp>,
    /// What was found for each goal, in the order asked; empty for `--find concurrent`.
    pub goals: Vec<GoalResult>,
    /// Every trial of the search, in its order, with the runs before and after it.
    pub trials: Vec<TrialRow>,
    /// The trials as the search was told of them: what `--resume` tells it again.
    pub searched: Vec<TrialOutcome>,
    /// The confirmation of the first goal's rate; null if there was none.
    pub confirmation: Option<Confirmation>,
    /// What this machine can generate; null if that was not measured.
    pub control: Option<Control>,
    /// Whether the target served again after it was overloaded; null if it never was, or was not looked at afterwards.
    pub recovered: Option<bool>,
    /// The search past the limit; null if no trial exceeded it.
    pub overload: Option<Overload>,
    /// Latency at parts of the capacity.
    pub loads: Vec<LoadRow>,
    /// The found rate from half of the sources; null if there was one source only, or no time.
    pub half_sources: Option<HalfSources>,
    /// The answer to `--need` or `--fleet`; null for a search.
    pub qualification: Option<Qualification>,
    /// The answer to `--find concurrent`.
    pub concurrent: Option<Concurrent>,
    /// Conditions on the confirmation, and what they met.
    pub thresholds: Vec<ThresholdResult>,
    /// What to know about the target, the way and the generator, each once.
    pub findings: Vec<Finding>,
    /// Where the time went.
    pub time: TimeSpent,
    /// Whether the result is what was asked.
    pub verdict: Verdict,
    /// The signal that ended the search early; null if it ended by itself.
    pub interrupted: Option<Signal>,
    /// Why the search ended before its end, if neither a signal nor the budget ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}

/// What was asked, defaults included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What was looked for.
    pub find: Find,
    /// The deadline as it was written, such as `100ms` or `+100ms`.
    pub deadline: String,
    /// Time for everything.
    pub budget_ns: u64,
    /// Shortest trial that may decide; null: from the deadline and the width.
    pub trial_ns: Option<u64>,
    /// Length of the confirmation.
    pub confirm_ns: u64,
    /// Relative width at which the search ends.
    pub width: f64,
    /// No rate above this is offered.
    pub max_rate_per_s: Option<f64>,
    /// The rate that the target must take.
    pub need_per_s: Option<f64>,
    /// The rate that is offered, over the need.
    pub margin: Option<f64>,
    /// The criteria of RFC 9411 were asked for.
    pub rfc9411: bool,
    /// The file that the search went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<String>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Find {
    /// Attempts per second.
    #[default]
    Rate,
    /// Connections held at once.
    Concurrent,
}

/// The target at a low rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Attempts made.
    pub attempts: u64,
    /// At this rate.
    pub rate_per_s: f64,
    /// Attempts that failed or were later than the deadline.
    pub lost: u64,
    /// Their share: no goal below it can be decided on this path.
    pub loss_ratio: f64,
    /// Median time of the TCP connect: about one round trip.
    pub rtt_ns: Option<u64>,
    /// Median response time.
    pub p50_ns: Option<u64>,
    /// 95th percentile, which so few attempts still support.
    pub p95_ns: Option<u64>,
    /// 99th percentile; null unless at least 10 samples lie above it.
    pub p99_ns: Option<u64>,
    /// The longest response.
    pub max_ns: Option<u64>,
    /// Why attempts failed.
    pub failures: Vec<FailureRow>,
}

/// The load before the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Its rate.
    pub rate_per_s: f64,
    /// Its length.
    pub duration_s: f64,
    /// The median service time was the same at its end as shortly before.
    pub steady: bool,
    /// Median service time of each part of it.
    pub service_p50_ns: Vec<Option<u64>>,
}

/// What was found for one goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalResult {
    /// Its name.
    pub name: String,
    /// Share of attempts that may be lost.
    pub loss_ratio: f64,
    /// Share of trials that may lose more.
    pub exceed_ratio: f64,
    /// How the search ended for it.
    pub outcome: Outcome,
    /// The highest rate that its trials show to be met; null if there is none.
    pub lower_bound_per_s: Option<f64>,
    /// The lowest rate that its trials show not to be met; null if none was found.
    pub upper_bound_per_s: Option<f64>,
    /// The rate that a longer run confirmed: the capacity; null if there is none.
    pub confirmed_per_s: Option<f64>,
    /// What is left of the lower bound once the losses of its trials are taken off.
    pub conditional_throughput_per_s: Option<f64>,
    /// Distance of the bounds, relative to the lower one; null without both.
    pub resolution: Option<f64>,
    /// Smallest loss that the attempts at the confirmed rate or the lower bound can tell from none: three over their
    /// number; null without such attempts.
    pub loss_resolution: Option<f64>,
    /// Who sets the limit.
    pub limited_by: LimitedBy,
    /// The same in words, with the evidence.
    pub because: String,
}

/// How the search ended for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A longer run at the rate met the goal.
    Confirmed,
    /// Every longer run within the budget missed the goal.
    NotConfirmed,
    /// Trials at the same rate contradict each other: stalls, not a limit.
    Unstable,
    /// The generator's limit came first: the target can do at least this.
    GeneratorLimited,
    /// The highest rate that was allowed was met: the target can do at least this.
    RangeLimited,
    /// Not even the lowest rate was met.
    NothingCompletes,
    /// An overload broke the target: nothing was learned after it.
    DidNotRecover,
    /// The path loses more than the goal allows without any load, or the attempts are too few to tell.
    NotDecidable,
    /// The budget, a signal or a condition ended the search first.
    Undecided,
}

/// Who sets a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// The target, by evidence.
    Target,
    /// The way to it, by evidence.
    Network,
    /// This program or its machine.
    Generator,
    /// The range that was allowed.
    Range,
    /// It cannot be told.
    Unattributed,
}

/// What a trial was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialPurpose {
    /// Load until the target is steady.
    WarmUp,
    /// A short one on the way up: it finds the region of the limit.
    Climb,
    /// One that may decide whether a rate is met.
    Decide,
    /// A long one at the found rate.
    Confirm,
    /// A low rate after an overload: does the target serve again?
    Probe,
    /// For the latency at a part of the capacity.
    Load,
    /// For the limit per source.
    HalfSources,
    /// Held connections.
    Hold,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRow {
    /// What it was for.
    pub purpose: TrialPurpose,
    /// When it began, seconds since the first attempt of all.
    pub begin_s: f64,
    /// Intended arrivals a second.
    pub rate_per_s: f64,
    /// Its length, seconds.
    pub duration_s: f64,
    /// It was to be longer, but had lost more than any goal allows.
    #[serde(default)]
    pub ended_early: bool,
    /// What it cost of the budget, set-up and draining included, seconds.
    pub took_s: f64,
    /// Attempts that count: those due, less those that were still waiting within the deadline when it ended.
    pub attempts: u64,
    /// Of them failed, later than the deadline, or waiting for longer.
    pub lost: u64,
    /// Of the lost: completed, but too late.
    pub late: u64,
    /// Of the lost: failed.
    pub failed: u64,
    /// Of the lost: never started.
    pub waiting: u64,
    /// By how much what was in flight or waiting grew from the first quarter to the end, as a share of the attempts.
    pub backlog_growth: f64,
    /// It counts for or against the target.
    pub valid: bool,
    /// The first goal was missed in it.
    pub exceeds: bool,
    /// Completed a second.
    pub completed_per_s: f64,
    /// Median response time; like every percentile null unless at least 10 samples lie above it.
    pub response_p50_ns: Option<u64>,
    /// 95th percentile of the response time.
    pub response_p95_ns: Option<u64>,
    /// 99th percentile of the response time.
    pub response_p99_ns: Option<u64>,
    /// 99.9th percentile of the response time.
    pub response_p999_ns: Option<u64>,
    /// 99th percentile of the generator's own lateness.
    pub lateness_p99_ns: Option<u64>,
    /// CPU of the busiest worker, percent; null where there is no CPU to measure.
    pub busiest_worker_percent: Option<f64>,
    /// CPU of the observed target: of its busiest thread, or of the busiest core of its machine; null if it was not
    /// observed.
    #[serde(default)]
    pub target_percent: Option<f64>,
    /// Workers.
    pub workers: u32,
    /// Local addresses named; 0: the kernel chose.
    pub sources: u32,
    /// Slots.
    pub slots: u32,
    /// Why the generator was the limit, by the finding's code; null if it was not.
    pub limited: Option<FindingCode>,
    /// Why attempts failed.
    pub failures: Vec<FailureRow>,
}

/// The longer run at the found rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Its rate.
    pub rate_per_s: f64,
    /// Its length, seconds.
    pub duration_s: f64,
    /// Attempts that count.
    pub attempts: u64,
    /// Of them lost.
    pub lost: u64,
    /// Their share.
    pub loss_ratio: f64,
    /// The goal's loss was kept.
    pub passed: bool,
    /// Confirmations before it that missed the goal, at higher rates.
    pub missed_before: u32,
    /// Busy share of the busiest worker, percent.
    pub busiest_worker_percent: Option<f64>,
    /// Spans of completed attempts.
    pub latency: LatencyTable,
    /// The run in rows of one second.
    pub timeline: Vec<TimelineRow>,
    /// What was observed of the target meanwhile, second by second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Observed>,
    /// What TCP_INFO said of sampled connections; absent where nothing was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_info: Option<TcpInfo>,
}

/// What this machine can generate of the same load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Against whom.
    pub target: String,
    /// It is the built-in sink, which shares this machine and skips network and way.
    pub built_in_sink: bool,
    /// The sink had none of the workers' cores.
    pub own_cores: bool,
    /// Completed a second at most; or the highest rate that the search may offer, which it kept.
    pub ceiling_per_s: f64,
    /// More may be possible: no higher rate was tried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// The ceiling over the found rate; null without one.
    pub headroom: Option<f64>,
    /// It was measured before, on this machine in the same shape, and taken from the cache.
    pub cached: bool,
}

/// What happened past the limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overload {
    /// The highest rate that was offered and missed.
    pub rate_per_s: f64,
    /// Over the lower bound of the first goal; null without one.
    pub factor: Option<f64>,
    /// Completed a second at that rate.
    pub completed_per_s: f64,
    /// Share of the attempts lost.
    pub loss_ratio: f64,
    /// 99th percentile of the response time.
    pub response_p99_ns: Option<u64>,
    /// Why attempts failed.
    pub failures: Vec<FailureRow>,
}

/// Latency at a part of the capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadRow {
    /// The part: 0.5, 0.9 or 1.
    pub share: f64,
    /// The rate.
    pub rate_per_s: f64,
    /// Its length, seconds.
    pub duration_s: f64,
    /// Attempts that count.
    pub attempts: u64,
    /// Of them lost.
    pub lost: u64,
    /// The generator kept to the plan.
    pub valid: bool,
    /// Spans of completed attempts.
    pub latency: LatencyTable,
}

/// The found rate from half of the sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfSources {
    /// Sources of the search.
    pub sources: u32,
    /// Sources of this trial.
    pub half: u32,
    /// The rate.
    pub rate_per_s: f64,
    /// Attempts that count.
    pub attempts: u64,
    /// Of them lost.
    pub lost: u64,
    /// Completed within the deadline, a second.
    pub goodput_per_s: f64,
    /// Fewer sources can do less: a limit per source, or a load balancer's affinity to it. Null if the trial was not valid.
    pub limited_per_source: Option<bool>,
}

/// The yes or no before an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Qualification {
    /// The rate that the target must take.
    pub need_per_s: f64,
    /// What was offered over it.
    pub margin: f64,
    /// The highest rate that was offered.
    pub offered_per_s: f64,
    /// Whether the target takes it; null if that cannot be told.
    pub qualified: Option<bool>,
    /// What is shown to be taken, over the need; null without a rate that is.
    pub headroom: Option<f64>,
    /// How the need follows from a fleet; null if it was given.
    pub fleet: Option<FleetNeed>,
}

/// The rate at which a fleet comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetNeed {
    /// Clients.
    pub clients: u32,
    /// Time within which all of them must be back, seconds.
    pub recover_in_s: f64,
    /// The rule by which they come back.
    pub reconnect: String,
    /// The most attempts in any second if every attempt succeeds: that wave arrives whatever the target does.
    pub first_wave_per_s: f64,
}

/// Connections held at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Concurrent {
    /// The age at which the server closes connections that say nothing; null if it closed none while that was watched.
    pub idle_timeout_s: Option<f64>,
    /// How long that was watched, seconds.
    pub watched_s: f64,
    /// Connections opened a second.
    pub ramp_per_s: f64,
    /// The most held at once.
    pub held_peak: u64,
    /// Attempts made in the ramp.
    pub attempts: u64,
    /// Attempts that failed or were late.
    pub lost: u64,
    /// Connections lost while they were held, those that the idle time-out explains left out.
    pub lost_while_held: u64,
    /// Connections that the server closed at the age of its idle time-out.
    pub idled_out: u64,
    /// What ended the ramp.
    pub limited_by: LimitedBy,
    /// The same in words.
    pub because: String,
    /// The ramp in rows of one second.
    pub timeline: Vec<TimelineRow>,
}

/// Where the time went, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeSpent {
    /// What was allowed.
    pub budget_s: f64,
    /// What the plan said before the start.
    pub planned_s: f64,
    /// Everything.
    pub total_s: f64,
    /// The baseline.
    pub baseline_s: f64,
    /// The control.
    pub control_s: f64,
    /// Warm-up and trials of the search, confirmations included.
    pub search_s: f64,
    /// Waiting for sockets to drain.
    pub cooldown_s: f64,
    /// Latency at parts of the capacity, and the half of the sources.
    pub after_s: f64,
}

impl TrialPurpose {
    /// Its name for so many of them.
    pub const fn plural(self, count: usize) -> &'static str {
        match (self, count) {
            (Self::WarmUp, 1) => "warm-up",
            (Self::WarmUp, _) => "warm-ups",
            (Self::Climb, 1) => "climb",
            (Self::Climb, _) => "climbs",
            (Self::Decide, 1) => "decision",
            (Self::Decide, _) => "decisions",
            (Self::Confirm, 1) => "confirmation",
            (Self::Confirm, _) => "confirmations",
            (Self::Probe, 1) => "probe",
            (Self::Probe, _) => "probes",
            (Self::Load, 1) => "load",
            (Self::Load, _) => "loads",
            (Self::HalfSources, _) => "half the sources",
            (Self::Hold, _) => "held connections",
        }
    }
}

impl CapacityResult {
    /// The goal in the headline: the first one asked.
    pub fn first_goal(&self) -> Option<&GoalResult> {
        self.goals.first()
    }

    /// Why nothing completed; `None` if something did, or nothing was tried.
    pub fn nothing_completed(&self) -> Option<Obstacle> {
        let baseline = self.baseline.as_ref()?;
        if baseline.attempts == 0 || baseline.lost < baseline.attempts || baseline.p50_ns.is_some() {
            return None;
        }
        let failed: u64 = baseline.failures.iter().map(|failure| failure.count).sum();
        let own = |failure: &FailureRow| failure.side == Side::Generator && failure.kind != FailureKind::Cancelled;
        let counted = baseline.failures.iter().filter(|failure| failure.step != Step::Hold);
        if counted.clone().any(own) {
            return Some(Obstacle::OwnLimits);
        }
        (failed >= baseline.attempts && counted.count() > 0).then_some(Obstacle::Target)
    }

    /// The exit code: 0 if all is as asked, 3 if the need or a condition was missed or the target has no capacity to
    /// state, 4 if that cannot be told, 5 if nothing completed, 130 or 143 after a signal.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::decide(ExitFacts {
            usage_error: false,
            could_not_run: false,
            interrupted: self.interrupted,
            nothing_completed: self.nothing_completed(),
            verdict: self.verdict,
        })
    }

    /// Reads a capacity file.
    ///
    /// # Errors
    /// Names the file, what is wrong with it and what to do.
    pub fn read(path: &Path) -> Result<Self, ResultFileError> {
        Self::parse(&ResultFileError::read(path)?, input::name(path))
    }

    /// Reads a capacity file's text; `path` is named in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, ResultFileError> {
        let value = ResultFileError::check_schema(text, path, CAPACITY_SCHEMA)?;
        let mut result: Self = serde_json::from_str(text).map_err(|source| ResultFileError::Malformed {
            path: path.to_owned(),
            reads: CAPACITY_SCHEMA,
            source,
        })?;
        result.schema = CAPACITY_SCHEMA.to_owned();
        let possible = check::numbers(&value).and_then(|()| result.check());
        possible.map(|()| result).map_err(|what| ResultFileError::Impossible { path: path.to_owned(), what })
    }

    /// Says what in it cannot be.
    fn check(&self) -> Result<(), String> {
        check::references_of_plan(&self.plan)?;
        check::order(self.confirmation.as_ref().map_or(&[], |confirmation| &confirmation.timeline))?;
        check::order(self.concurrent.as_ref().map_or(&[], |concurrent| &concurrent.timeline))?;
        let shown = self.trials.iter().map(|trial| ("trials", trial.lost, trial.attempts));
        let searched = self.searched.iter().map(|trial| ("searched", trial.lost, trial.attempts));
        match shown.chain(searched).find(|(_, lost, attempts)| lost > attempts) {
            Some((part, lost, attempts)) => Err(format!("{part} has {lost} lost of {attempts} attempts")),
            None => Ok(()),
        }
    }

    /// The text of the capacity file.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a result has string keys only");
        text.push('\n');
        text
    }
}
