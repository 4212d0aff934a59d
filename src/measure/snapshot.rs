//! The totals of a recorder: plain data that merges exactly.

use std::sync::Arc;

use super::failure::{Failure, FailureDetail, FailureKind, Step};
use super::histogram::LatencyHistogram;
use super::layout::{RecorderLayout, StageInfo};
use super::pause::{Pause, Pauses};
use super::reaction::{Reaction, Reactions};
use super::sample::{Metric, Place, Sample};
use crate::base::Nanos;
use crate::base::table::counts;
use crate::protocol::Negotiated;
use crate::protocol::media::Amount;

/// With at most this many stages, targets or clients their histograms are allocated before the run, else each on its first use.
const ALLOCATED_AT_START: usize = 8;

/// Rows by target keep a latency distribution for the first targets only (up to 162 KiB each and worker); all keep counts.
const TARGET_HISTOGRAMS: usize = 64;

/// Room for the outcomes of probes at the start; more grow the list now and then.
const PROBES_AT_START: usize = 4_096;

/// Most backends told apart; what more there are count as one.
const MOST_BACKENDS: usize = 64;
/// The row of the backends beyond that.
const OTHER_BACKENDS: &str = "others";

/// Most texts kept of a server's refusals, and of its announcements, for each stage; what is refused is counted all the same.
const MOST_REASONS: usize = 32;

/// What a worker recorded, or what several did: a merge of snapshots is the snapshot of the merged run.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    layout: Arc<RecorderLayout>,
    stages: Vec<StageRecord>,
    /// Measured attempts by target; empty if there is only one target.
    targets: Vec<Tally>,
    /// Measured attempts by client; empty if there is only one kind.
    clients: Vec<Tally>,
    /// What each population has of the rows by target and by client, population by population; empty with one
    /// population, or without rows.
    target_parts: Vec<RowPart>,
    client_parts: Vec<RowPart>,
    /// Reactions by client, those in warm-ups left out; `None` for clients that are not hostile.
    reactions: Vec<Option<Box<Reactions>>>,
    /// Measured attempts by the backend that answered `connect`; in the order of their names.
    backends: Vec<BackendRecord>,
    turns: LatencyHistogram,
    oversleeps: LatencyHistogram,
    pauses: Pauses,
    lost_ages: LatencyHistogram,
}

/// Everything about the attempts intended in one stage, or in several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageRecord {
    /// Counts and latencies.
    pub tally: Tally,
    /// Failed attempts (`hold`: held connections lost) by step and kind.
    pub failures: FailureTable,
    /// What servers announced.
    pub announcements: Announcements,
    /// How long failed attempts took to fail.
    pub time_to_failure: Option<LatencyHistogram>,
    /// When the clients of a fleet were back, after they had lost their connections.
    pub back: Option<LatencyHistogram>,
    /// The clients of a fleet and their latest losses, as they were when its stage ended.
    pub comebacks: Vec<Comeback>,
    /// How each attempt of a probe ended, in the order of the ends.
    pub probes: Vec<ProbeOutcome>,
    /// When the last attempt ended, since the run's start.
    pub last_end: Nanos,
    /// When the last held connection was closed or lost, since the run's start.
    pub last_release: Option<Nanos>,
    /// Audio and video sent and received.
    pub media: MediaCounts,
    /// How TLS connections came to be.
    pub tls: TlsCounts,
}

/// Measured attempts that one backend answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackendRecord {
    /// What it says it is.
    pub name: String,
    /// Attempts whose `connect` it accepted: how they ended.
    pub tally: Tally,
}

counts! {
    /// Audio, video and metadata of streams published or played. Bytes are those of the messages' payload, without chunk
    /// headers, on both sides: what the other end counts too, whatever its chunk size.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct MediaCounts {
        /// Publishers that were held.
        #[serde(default)]
        pub publishers: u64,
        /// Of them those that could not send: once at least nothing of what was to leave was taken for
        /// [`STALLED`](Self::STALLED).
        #[serde(default)]
        pub stalled: u64,
        /// Messages whose time came while their publisher was held: those sent, those on their way and those that never left.
        #[serde(default)]
        pub due_messages: u64,
        /// Their payload bytes.
        #[serde(default)]
        pub due_bytes: u64,
        /// Messages that the kernel took whole. What lies in its socket buffer may never reach the target.
        pub sent_messages: u64,
        /// Their payload bytes.
        pub sent_bytes: u64,
        /// Messages that had not left when the hold was over or the connection lost.
        #[serde(default)]
        pub unsent_messages: u64,
        /// Their payload bytes.
        #[serde(default)]
        pub unsent_bytes: u64,
        /// Messages that left more than 100 ms after their time, as an earlier one was still on its way: the target reads
        /// too slowly, or this machine is late.
        pub late_messages: u64,
        /// Messages received.
        pub received_messages: u64,
        /// Their payload bytes.
        pub received_bytes: u64,
    }
}

counts! {
    /// TLS handshakes.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct TlsCounts {
        /// With certificates.
        pub full: u64,
        /// Resumed from an earlier connection's.
        pub resumed: u64,
    }
}

/// What servers said when they refused something: a text and how often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The failure's step.
    pub step: Step,
    /// The failure's kind.
    pub kind: FailureKind,
    /// The server's words.
    pub text: String,
    /// How often they came.
    pub count: u64,
}

/// What servers announced without refusing anything: each text once, in the order of their first coming.
#[derive(Clone, Debug, Default)]
pub struct Announcements {
    said: Vec<Announcement>,
}

/// A text that a server announced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// Its words.
    pub text: String,
    /// How often they came.
    pub count: u64,
    /// When they first came, since the run's start.
    pub first: Nanos,
    /// When they last came, since the run's start.
    pub last: Nanos,
}

/// When a client of a fleet lost its connection the last time, and when it was back after that, both since the run's
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// The loss: the stage's beginning if there was no other.
    pub lost: Nanos,
    /// `None` if it is not back.
    pub back: Option<Nanos>,
}

/// How one attempt of a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeOutcome {
    /// When it was intended, since the run's start.
    pub intended: Nanos,
    /// Where it went.
    pub target: u16,
    /// What kind of client made it.
    pub client: u16,
    /// It was completed.
    pub completed: bool,
}

/// Outcomes and latencies of a set of attempts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Outcomes.
    pub counts: Attempts,
    /// What the completed handshakes were.
    pub modes: ModeCounts,
    /// Latencies of the completed attempts.
    pub latencies: Latencies,
}

counts! {
    /// What one population has of a row by target or by client: populations may be measured for different times, so the
    /// row's rates are those of its parts.
    pub struct RowPart {
        /// Attempts started.
        pub started: u64,
        /// Attempts completed.
        pub completed: u64,
    }
}

counts! {
    /// Arrivals and what became of them: `due = started + dropped`,
    /// `started = completed + failed + observed + in_flight`.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Attempts {
        /// Arrivals that became due.
        pub due: u64,
        /// Attempts started.
        pub started: u64,
        /// Arrivals that never started.
        pub dropped: u64,
        /// Attempts completed.
        pub completed: u64,
        /// Attempts failed.
        pub failed: u64,
        /// Attempts of hostile clients that ended in a reaction of the target, neither completed nor failed.
        #[serde(default)]
        pub observed: u64,
        /// Attempts that had not ended when the run was cut; set when a result is put together.
        pub in_flight: u64,
        /// Completed attempts whose connection was held.
        #[serde(default)]
        pub held: u64,
        /// Of those the ones whose connection was lost meanwhile.
        #[serde(default)]
        pub lost_while_held: u64,
        /// Of the lost those that the server took back in words ([`Failure::is_taken_back`]). Conditions on `failed` count
        /// them beside the failed attempts.
        #[serde(default)]
        pub taken_back: u64,
    }
}

counts! {
    /// Completed handshakes by what they were; the four are disjoint and sum to `completed`.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct ModeCounts {
        /// Digests of S1 and S2 verified.
        pub complex_verified: u64,
        /// Asked complex, digests not checked.
        pub complex_unverified: u64,
        /// Asked simple.
        pub simple: u64,
        /// Asked complex, got simple.
        pub downgraded: u64,
    }
}

/// One distribution per metric, each there from its first sample (or from the start) on.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    histograms: [Option<Box<LatencyHistogram>>; Metric::COUNT],
}

/// Failures by step and kind.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureTable {
    cells: Vec<Option<FailureCount>>,
    /// Ordered, each text once.
    reasons: Vec<Reason>,
}

/// Failures of one step and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureCount {
    /// How many.
    pub count: u64,
    /// When the first happened, since the run's start.
    pub first: Nanos,
    /// When the last happened, since the run's start.
    pub last: Nanos,
    /// The first one's evidence.
    pub detail: FailureDetail,
}

/// Arrivals were lost or counted twice: a bug of the generator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {stage} ('{name}'): {left_name} = {left}, but {right_name} = {right}")]
pub struct ConservationError {
    stage: usize,
    name: String,
    left_name: &'static str,
    left: u64,
    right_name: &'static str,
    right: u64,
}

impl Snapshot {
    /// Nothing recorded yet.
    pub fn new(layout: Arc<RecorderLayout>) -> Self {
        let mut stages = vec![StageRecord::default(); layout.stages.len()];
        if stages.len() <= ALLOCATED_AT_START {
            for (record, info) in stages.iter_mut().zip(&layout.stages) {
                record.tally.latencies.allocate(|metric| is_recorded(metric, info));
                record.time_to_failure = Some(LatencyHistogram::new());
                record.back = info.storm.then(LatencyHistogram::of_ages);
                record.probes.reserve(if info.probe { PROBES_AT_START } else { 0 });
            }
        }
        let (targets, mut clients) = (rows(layout.targets.len(), &layout), rows(layout.clients.len(), &layout));
        if layout.hostile == [true] {
            // Its reactions are told in its row.
            clients.push(Tally::default());
        }
        let reactions = layout.hostile.iter().map(|hostile| hostile.then(Box::default)).collect();
        let populations = layout.populations.len();
        let parts = |rows: usize| vec![RowPart::default(); if populations > 1 { populations * rows } else { 0 }];
        let (target_parts, client_parts) = (parts(targets.len()), parts(clients.len()));
        Self {
            layout,
            stages,
            targets,
            clients,
            target_parts,
            client_parts,
            reactions,
            backends: Vec::new(),
            turns: LatencyHistogram::new(),
            oversleeps: LatencyHistogram::new(),
            pauses: Pauses::with_capacity(),
            lost_ages: LatencyHistogram::of_ages(),
        }
    }

    /// Bytes that it takes when everything that its layout names has been recorded.
    pub(super) fn most_memory(&self) -> usize {
        let (latencies, ages) = (self.turns.memory(), self.lost_ages.memory());
        let of_stage = |info: &StageInfo| {
            let cells = Step::COUNT * FailureKind::COUNT * size_of::<Option<FailureCount>>();
            let probes = if info.probe { PROBES_AT_START * size_of::<ProbeOutcome>() } else { 0 };
            let metrics = Metric::ALL.into_iter().filter(|metric| is_recorded(*metric, info)).count();
            let back = if info.storm { ages } else { 0 };
            // One more for the time to failure.
            size_of::<StageRecord>() + cells + probes + (metrics + 1) * latencies + back
        };
        let is_mixed = |pair: &[StageInfo]| pair[0].open_loop != pair[1].open_loop;
        let headlines = 1 + usize::from(self.layout.stages.windows(2).any(is_mixed));
        let rows = self.targets.len() + self.clients.len();
        let with_histogram = self.targets.len().min(TARGET_HISTOGRAMS) + self.clients.len();
        let parts = (self.target_parts.len() + self.client_parts.len()) * size_of::<RowPart>();
        let reactions = self.reactions.iter().flatten().map(|reactions| reactions.memory()).sum::<usize>();
        self.layout.stages.iter().map(of_stage).sum::<usize>()
            + rows * size_of::<Tally>()
            + with_histogram * headlines * latencies
            + parts
            + reactions
            + 2 * latencies
            + ages
    }

    /// The names behind the indices.
    pub fn layout(&self) -> &RecorderLayout {
        &self.layout
    }

    /// Each stage's record, in the layout's order.
    pub fn stages(&self) -> &[StageRecord] {
        &self.stages
    }

    /// Measured attempts by target (their latencies: response, or service in closed loop); empty with one target.
    pub fn targets(&self) -> &[Tally] {
        &self.targets
    }

    /// Measured attempts by client, likewise; empty with one kind of client.
    pub fn clients(&self) -> &[Tally] {
        &self.clients
    }

    /// What each population, in the layout's order, has of the row of `target`; nothing where one population has it all.
    pub fn target_parts(&self, target: usize) -> impl Iterator<Item = RowPart> {
        self.target_parts.iter().copied().skip(target).step_by(self.targets.len().max(1))
    }

    /// What each population has of the row of `client`, likewise.
    pub fn client_parts(&self, client: usize) -> impl Iterator<Item = RowPart> {
        self.client_parts.iter().copied().skip(client).step_by(self.clients.len().max(1))
    }

    /// Reactions of the target by client; `None` for clients that are not hostile.
    pub fn reactions(&self) -> &[Option<Box<Reactions>>] {
        &self.reactions
    }

    /// Measured attempts by the backend that answered, in the order of their names.
    pub fn backends(&self) -> &[BackendRecord] {
        &self.backends
    }

    /// All stages but the warm-up.
    pub fn measured(&self) -> StageRecord {
        self.sum_of(|stage| !self.layout.stages[stage].warmup)
    }

    /// All stages.
    pub fn all(&self) -> StageRecord {
        self.sum_of(|_| true)
    }

    /// The stages of one population but its warm-up.
    pub fn population(&self, population: u16) -> StageRecord {
        self.sum_of(|stage| {
            let info = &self.layout.stages[stage];
            info.population == population && !info.warmup
        })
    }

    /// All stages of one population.
    pub fn whole_population(&self, population: u16) -> StageRecord {
        self.sum_of(|stage| self.layout.stages[stage].population == population)
    }

    /// How long the workers' turns took.
    pub fn turns(&self) -> &LatencyHistogram {
        &self.turns
    }

    /// How much later than asked the workers woke.
    pub fn oversleeps(&self) -> &LatencyHistogram {
        &self.oversleeps
    }

    /// When workers did not run, though they had something to do.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// How long lost connections had been held.
    pub fn lost_ages(&self) -> &LatencyHistogram {
        &self.lost_ages
    }

    /// Adds what another worker of the same run recorded.
    ///
    /// # Panics
    /// If `other` has another layout.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.layout, other.layout, "snapshots of one run share one layout");
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.targets.iter_mut().zip(&other.targets) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.clients.iter_mut().zip(&other.clients) {
            mine.merge(theirs);
        }
        let parts = self.target_parts.iter_mut().chain(&mut self.client_parts);
        for (mine, theirs) in parts.zip(other.target_parts.iter().chain(&other.client_parts)) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.reactions.iter_mut().flatten().zip(other.reactions.iter().flatten()) {
            mine.merge(theirs);
        }
        for theirs in &other.backends {
            let index = self.backend(&theirs.name);
            self.backends[usize::from(index)].tally.merge(&theirs.tally);
        }
        self.backends.sort_by(|a, b| a.name.cmp(&b.name));
        self.turns.merge(&other.turns);
        self.oversleeps.merge(&other.oversleeps);
        self.pauses.merge(&other.pauses);
        self.lost_ages.merge(&other.lost_ages);
    }

    /// Every arrival ended in exactly one counted outcome, given the attempts of each stage still in flight.
    ///
    /// # Errors
    /// Names the first stage whose counts do not add up, and both sides.
    pub fn check(&self, in_flight_by_stage: &[u64]) -> Result<(), ConservationError> {
        assert_eq!(in_flight_by_stage.len(), self.stages.len(), "one number per stage");
        for (stage, (record, in_flight)) in self.stages.iter().zip(in_flight_by_stage).enumerate() {
            let counts = &record.tally.counts;
            let ended = counts.completed + counts.failed + counts.observed + in_flight;
            for (left_name, left, right_name, right) in [
                ("due", counts.due, "started + dropped", counts.started + counts.dropped),
                ("started", counts.started, "completed + failed + observed + in flight", ended),
                ("completed", counts.completed, "the four modes", record.tally.modes.total()),
            ] {
                if left != right {
                    let name = self.layout.stages[stage].name.clone();
                    return Err(ConservationError { stage, name, left_name, left, right_name, right });
                }
            }
        }
        Ok(())
    }

    pub(super) fn stage(&mut self, stage: u16) -> &mut StageRecord {
        &mut self.stages[usize::from(stage)]
    }

    /// The rows of the target and of the client, where there are rows and the stage is measured.
    pub(super) fn rows(&mut self, place: Place) -> impl Iterator<Item = &mut Tally> {
        let measured = !self.layout.stages[usize::from(place.stage)].warmup;
        let target = self.targets.get_mut(usize::from(place.target));
        let client = self.clients.get_mut(usize::from(place.client));
        target.into_iter().chain(client).filter(move |_| measured)
    }

    /// The place of a backend of this name, which is new or known. Backends are told apart to a limit.
    pub(super) fn backend(&mut self, name: &str) -> u16 {
        let known = self.backends.iter().position(|backend| backend.name == name);
        let index = known.unwrap_or_else(|| {
            let full = self.backends.len() >= MOST_BACKENDS && name != OTHER_BACKENDS;
            if full {
                return usize::from(self.backend(OTHER_BACKENDS));
            }
            self.backends.push(BackendRecord { name: name.to_owned(), tally: Tally::default() });
            self.backends.len() - 1
        });
        index as u16
    }

    /// The row of a backend, if the stage is measured.
    pub(super) fn backend_row(&mut self, stage: u16, backend: u16) -> Option<&mut Tally> {
        let measured = !self.layout.stages[usize::from(stage)].warmup;
        self.backends.get_mut(usize::from(backend)).map(|record| &mut record.tally).filter(|_| measured)
    }

    /// Its population's parts of the same rows.
    pub(super) fn row_parts(&mut self, place: Place) -> impl Iterator<Item = &mut RowPart> {
        let info = &self.layout.stages[usize::from(place.stage)];
        let (measured, population) = (!info.warmup, usize::from(info.population));
        let target = self.target_parts.get_mut(population * self.targets.len() + usize::from(place.target));
        let client = self.client_parts.get_mut(population * self.clients.len() + usize::from(place.client));
        target.into_iter().chain(client).filter(move |_| measured)
    }

    /// Counts the reaction to a hostile client, if its stage is measured.
    pub(super) fn reacted(&mut self, place: Place, reaction: &Reaction, expected: bool) {
        if self.layout.stages[usize::from(place.stage)].warmup {
            return;
        }
        if let Some(Some(reactions)) = self.reactions.get_mut(usize::from(place.client)) {
            reactions.count(reaction, expected);
        }
    }

    /// Counts a completed attempt in its stage and, if measured, in the rows of its target and of its client.
    pub(super) fn completed(&mut self, sample: &Sample) {
        let Place { stage, target, client } = sample.place;
        self.stage(stage).tally.completed(sample, Metric::ALL);
        if self.layout.stages[usize::from(stage)].warmup {
            return;
        }
        for part in self.row_parts(sample.place) {
            part.completed += 1;
        }
        let headline = if sample.intended.is_some() { Metric::Response } else { Metric::Service };
        let has_histogram = usize::from(target) < TARGET_HISTOGRAMS;
        if let Some(tally) = self.targets.get_mut(usize::from(target)) {
            tally.completed(sample, has_histogram.then_some(headline));
        }
        if let Some(tally) = self.clients.get_mut(usize::from(client)) {
            tally.completed(sample, [headline]);
        }
        if let Some(backend) = sample.session.and_then(|session| session.backend)
            && let Some(record) = self.backends.get_mut(usize::from(backend))
        {
            record.tally.completed(sample, [headline, Metric::Confirm]);
        }
    }

    pub(super) fn turn(&mut self, took: Nanos, oversleep: Nanos) {
        self.turns.record(took);
        self.oversleeps.record(oversleep);
    }

    pub(super) fn paused(&mut self, pause: Pause) {
        self.pauses.add(pause);
    }

    pub(super) fn lost_age(&mut self, age: Nanos) {
        self.lost_ages.record(age);
    }

    fn sum_of(&self, included: impl Fn(usize) -> bool) -> StageRecord {
        let mut sum = StageRecord::default();
        for (_, record) in self.stages.iter().enumerate().filter(|(stage, _)| included(*stage)) {
            sum.merge(record);
        }
        sum
    }
}

/// Attempts of the stage have the metric, unless only TLS gives it.
fn is_recorded(metric: Metric, info: &StageInfo) -> bool {
    metric.is_reached_by(info.until) && (info.open_loop || !metric.needs_plan())
}

/// A row for each of `count` targets or clients; none if there is but one.
fn rows(count: usize, layout: &RecorderLayout) -> Vec<Tally> {
    if count < 2 {
        return Vec::new();
    }
    let mut rows = vec![Tally::default(); count];
    if count <= ALLOCATED_AT_START {
        let any_open = layout.stages.iter().any(|stage| stage.open_loop);
        let any_closed = layout.stages.iter().any(|stage| !stage.open_loop);
        for tally in &mut rows {
            tally
                .latencies
                .allocate(|metric| metric == Metric::Response && any_open || metric == Metric::Service && any_closed);
        }
    }
    rows
}

impl StageRecord {
    /// Adds `other`.
    pub fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.failures.merge(&other.failures);
        self.announcements.merge(&other.announcements);
        if let Some(theirs) = &other.time_to_failure {
            self.time_to_failure.get_or_insert_default().merge(theirs);
        }
        if let Some(theirs) = &other.back {
            self.back.get_or_insert_with(LatencyHistogram::of_ages).merge(theirs);
        }
        self.comebacks.extend_from_slice(&other.comebacks);
        self.probes.extend_from_slice(&other.probes);
        self.last_end = self.last_end.max(other.last_end);
        self.media.merge(&other.media);
        self.tls.merge(&other.tls);
        self.last_release = self.last_release.max(other.last_release);
    }
}

impl Tally {
    /// Adds `other`.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.modes.merge(&other.modes);
        self.latencies.merge(&other.latencies);
    }

    fn completed(&mut self, sample: &Sample, metrics: impl IntoIterator<Item = Metric>) {
        self.counts.completed += 1;
        *self.modes.of(sample.negotiated) += 1;
        for metric in metrics {
            if let Some(span) = sample.span(metric) {
                self.latencies.record(metric, span);
            }
        }
    }
}

impl Attempts {
    /// Attempts started and not ended.
    pub fn unended(&self) -> u64 {
        self.started.saturating_sub(self.completed + self.failed + self.observed)
    }

    /// At the end of a run, when what has not ended never will.
    pub fn ended(self) -> Self {
        Self { in_flight: self.unended(), ..self }
    }
}

impl Announcements {
    /// What was announced, ordered by text.
    pub fn sorted(&self) -> Vec<&Announcement> {
        let mut sorted: Vec<_> = self.said.iter().collect();
        sorted.sort();
        sorted
    }

    /// Counts a text that came `at` after the run's start; says its place, unless there are too many.
    pub(super) fn count(&mut self, text: &str, at: Nanos) -> Option<u16> {
        self.add(&Announcement { text: text.to_owned(), count: 1, first: at, last: at })
    }

    /// The text at a place.
    pub(super) fn text(&self, index: u16) -> &str {
        &self.said[usize::from(index)].text
    }

    fn merge(&mut self, other: &Self) {
        for more in &other.said {
            self.add(more);
        }
    }

    fn add(&mut self, more: &Announcement) -> Option<u16> {
        let index = match self.said.iter().position(|known| known.text == more.text) {
            Some(index) => {
                let sum = &mut self.said[index];
                sum.count += more.count;
                (sum.first, sum.last) = (sum.first.min(more.first), sum.last.max(more.last));
                index
            }
            None if self.said.len() < MOST_REASONS => {
                self.said.push(more.clone());
                self.said.len() - 1
            }
            None => return None,
        };
        u16::try_from(index).ok()
    }
}

impl PartialEq for Announcements {
    /// In which order their words came first is no difference.
    fn eq(&self, other: &Self) -> bool {
        self.sorted() == other.sorted()
    }
}

impl MediaCounts {
    /// A publisher of whose media nothing is taken for this long is stalled: beyond what a segment that is sent again takes.
    pub const STALLED: Nanos = Nanos::from_secs(2);

    /// Nothing was sent or received.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The time of so much came.
    pub fn due(&mut self, amount: Amount) {
        self.due_messages += amount.messages;
        self.due_bytes += amount.payload;
    }

    /// The kernel took so much.
    pub fn sent(&mut self, amount: Amount) {
        self.sent_messages += amount.messages;
        self.sent_bytes += amount.payload;
    }

    /// So much of what was due never left.
    pub fn unsent(&mut self, amount: Amount) {
        self.unsent_messages += amount.messages;
        self.unsent_bytes += amount.payload;
    }
}

impl TlsCounts {
    /// No connection used TLS.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ModeCounts {
    /// All completed handshakes.
    pub fn total(&self) -> u64 {
        self.complex_verified + self.complex_unverified + self.simple + self.downgraded
    }

    fn of(&mut self, negotiated: Negotiated) -> &mut u64 {
        match negotiated {
            Negotiated::ComplexVerified => &mut self.complex_verified,
            Negotiated::ComplexUnverified => &mut self.complex_unverified,
            Negotiated::Simple => &mut self.simple,
            Negotiated::Downgraded => &mut self.downgraded,
        }
    }
}

impl Latencies {
    /// The distribution of `metric`, if it was measured.
    pub fn get(&self, metric: Metric) -> Option<&LatencyHistogram> {
        self.histograms[metric as usize].as_deref()
    }

    fn allocate(&mut self, wanted: impl Fn(Metric) -> bool) {
        for metric in Metric::ALL.into_iter().filter(|metric| wanted(*metric)) {
            self.of(metric);
        }
    }

    fn record(&mut self, metric: Metric, span: Nanos) {
        self.of(metric).record(span);
    }

    fn merge(&mut self, other: &Self) {
        for metric in Metric::ALL {
            if let Some(theirs) = other.get(metric) {
                self.of(metric).merge(theirs);
            }
        }
    }

    fn of(&mut self, metric: Metric) -> &mut LatencyHistogram {
        self.histograms[metric as usize].get_or_insert_default()
    }
}

impl PartialEq for Latencies {
    /// Two are equal if they hold the same samples: whether an empty histogram is allocated makes no difference.
    fn eq(&self, other: &Self) -> bool {
        let samples = |histogram: Option<&LatencyHistogram>| histogram.map_or(0, LatencyHistogram::count);
        Metric::ALL.into_iter().all(|metric| match (self.get(metric), other.get(metric)) {
            (Some(mine), Some(theirs)) => mine == theirs,
            (mine, theirs) => samples(mine) == samples(theirs),
        })
    }
}

impl FailureTable {
    /// Counts one failure, `at` after the run's start.
    pub fn count(&mut self, failure: Failure, at: Nanos) {
        let one = FailureCount { count: 1, first: at, last: at, detail: failure.detail };
        self.add(failure.step, failure.kind, &one);
    }

    /// Notes what a server said about a failure, which is counted apart.
    pub fn explain(&mut self, step: Step, kind: FailureKind, text: &str) {
        self.add_reason(step, kind, text, 1);
    }

    /// What servers said, by step, kind and text.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// Every failure that happened: its name with the first one's evidence, and its counts.
    pub fn iter(&self) -> impl Iterator<Item = (Failure, &FailureCount)> {
        Step::ALL.into_iter().flat_map(move |step| {
            FailureKind::ALL.into_iter().filter_map(move |kind| {
                let count = self.cells[Self::index(step, kind)].as_ref()?;
                Some((Failure::new(step, kind).with_detail(count.detail), count))
            })
        })
    }

    fn merge(&mut self, other: &Self) {
        for (failure, count) in other.iter() {
            self.add(failure.step, failure.kind, count);
        }
        for reason in &other.reasons {
            self.add_reason(reason.step, reason.kind, &reason.text, reason.count);
        }
    }

    fn add_reason(&mut self, step: Step, kind: FailureKind, text: &str, count: u64) {
        let found = self
            .reasons
            .binary_search_by(|known| (known.step, known.kind, known.text.as_str()).cmp(&(step, kind, text)));
        match found {
            Ok(index) => self.reasons[index].count += count,
            Err(index) if self.reasons.len() < MOST_REASONS => {
                self.reasons.insert(index, Reason { step, kind, text: text.to_owned(), count });
            }
            Err(_) => {}
        }
    }

    fn add(&mut self, step: Step, kind: FailureKind, more: &FailureCount) {
        let cell = &mut self.cells[Self::index(step, kind)];
        *cell = Some(match *cell {
            None => *more,
            Some(sum) => {
                // Ordered by instant and then by detail: merging is commutative even for simultaneous failures.
                let (first, detail) = (sum.first, sum.detail).min((more.first, more.detail));
                FailureCount { count: sum.count + more.count, first, last: sum.last.max(more.last), detail }
            }
        });
    }

    const fn index(step: Step, kind: FailureKind) -> usize {
        step as usize * FailureKind::COUNT + kind as usize
    }
}

impl Default for FailureTable {
    fn default() -> Self {
        Self { cells: vec![None; Step::COUNT * FailureKind::COUNT], reasons: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
