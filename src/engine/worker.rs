//! The worker: a batch of completions and the time in, ops out.
//!
//! One turn applies completions, expires deadlines, starts due arrivals (bounded) and, at the end, releases what is
//! held. Nothing is allocated and no lock is taken after [`Worker::new`].

use rand::Rng;

use crate::base::{Nanos, RandomStream, Time};
use crate::io::{Buffers, CloseHow, Completion, Destination, Op, OpKind, SourceId, TargetId};
use crate::load::{Arrivals, QuotaShare, WeightedTurns};
use crate::measure::{Failure, FailureDetail, FailureKind, IntervalReport, Place, Recorder, Sample, Snapshot, Step};
use crate::protocol::{Check, S1Digest};

use super::connection::{Attempt, AttemptId, Connection, Context, Milestones, Progress};
use super::deadlines::Deadlines;
use super::plan::{Client, ClosePolicy, Hold, Load, PopulationSpec, Verify, WorkerPlan};
use super::slots::{FreeQueue, SlotState, Slots};

/// Attempts started in one turn: a burst must not keep completions waiting for their timestamp. Opening a loopback
/// connection takes about 10 us of kernel time, so a turn stays well under a millisecond.
const STARTS_PER_TURN: u32 = 32;
/// Held connections looked at in one turn while they are released.
const RELEASES_PER_TURN: u32 = 1_024;
/// `--verify sample` checks one handshake in this many.
const SAMPLE_ONE_IN: u32 = 64;

/// Runs attempts on a fixed number of slots. See the module's text for the turn.
#[derive(Debug)]
pub struct Worker {
    start: Time,
    /// When held connections are released at the latest.
    hold_end: Time,
    clients: Vec<Client>,
    populations: Vec<Population>,
    slots: Slots,
    attempts: Attempts,
    deadlines: Deadlines,
    recorder: Recorder,
    /// Where S1 last carried its digest, by target and client, for attempts that are not verified: servers mirror the
    /// place of C1's.
    s1_digests: Box<[Option<S1Digest>]>,
    sampling: RandomStream,
    release: Release,
    /// Slots that are not free.
    busy: u32,
    next_start: Time,
    ends: Ends,
}

/// When the parts of a run came to their end, as far as they have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// No further attempt started.
    pub load: Option<Time>,
    /// Nothing was in flight any more.
    pub drained: Option<Time>,
    /// Connections held when nothing was in flight any more, or when their release began if that came first.
    pub held: Option<u32>,
}

/// How far the end of the run has come for held connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    /// Connections are held as planned.
    No,
    /// They are being closed; slots below the cursor have been seen.
    Sweeping { cursor: u32 },
    /// Every slot was seen; what completes now is closed at once.
    Swept,
}

#[derive(Debug)]
struct Population {
    schedule: Schedule,
    free: FreeQueue,
    rules: Rules,
    turns: WeightedTurns,
    mix: Vec<ClientTurns>,
}

/// What one kind of client of a population uses next. Each kind has turns of its own: else with as many kinds as targets
/// each kind would meet but one target.
#[derive(Debug)]
struct ClientTurns {
    client: u16,
    next_template: u16,
    next_target: usize,
    next_source: usize,
}

/// The part of the plan that stays as it is.
#[derive(Debug)]
struct Rules {
    verify: Verify,
    targets: Vec<TargetId>,
    sources: Vec<SourceId>,
    hold: Hold,
    close: ClosePolicy,
    connect_timeout: Nanos,
    timeout: Nanos,
}

/// When attempts start: what is left of the load.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one for each population; the cursors of an open loop stay where they are"
)]
enum Schedule {
    /// Two cursors of one plan: `due` counts arrivals as their instants pass, `waiting` gives the next one to start.
    /// What lies between them is the backlog; it needs no queue.
    Open {
        due: Arrivals,
        waiting: Arrivals,
        end: Nanos,
    },
    Closed {
        quota: QuotaShare,
        warmup_end: Time,
        end: Time,
        warmup_stage: u16,
        stage: u16,
    },
    /// No further attempt starts.
    Over,
}

/// When the next attempt can start.
enum Next {
    Now,
    At(Time),
    Never,
}

/// What an attempt is made with.
struct Choices {
    client: u16,
    target: TargetId,
    source: SourceId,
    template: u16,
}

/// An attempt about to start.
struct Start {
    stage: u16,
    intended: Option<Time>,
}

/// Attempts in flight; entries are reused last in, first out, so a few stay in the cache.
#[derive(Debug)]
struct Attempts {
    entries: Vec<Attempt>,
    free: Vec<u32>,
    /// Attempts whose outcome is open; a failed one keeps its entry until its operations have completed.
    in_flight: u32,
}

impl Worker {
    /// A worker that has not started anything yet. All its memory is reserved here.
    pub fn new(plan: WorkerPlan, recorder: Recorder) -> Self {
        let counts: Vec<u32> = plan.populations.iter().map(|population| population.slots).collect();
        let (slots, queues) = Slots::new(&counts);
        let start = plan.start;
        let hold_end = start + plan.hold_end;
        let populations =
            plan.populations.into_iter().zip(queues).map(|(spec, free)| Population::new(spec, free, start)).collect();
        Self {
            start,
            hold_end,
            populations,
            attempts: Attempts::with_capacity(slots.len()),
            deadlines: Deadlines::new(slots.len(), start),
            slots,
            recorder,
            s1_digests: vec![None; usize::from(plan.targets) * plan.clients.len()].into_boxed_slice(),
            clients: plan.clients,
            sampling: plan.sampling,
            release: Release::No,
            busy: 0,
            next_start: start,
            ends: Ends::default(),
        }
    }

    /// One turn at `now`: consumes `completions`, appends what is to be done to `ops`.
    pub fn step(&mut self, now: Time, completions: &[Completion], buffers: &mut Buffers, ops: &mut Vec<Op>) {
        for completion in completions {
            self.complete(now, completion, buffers, ops);
        }
        while let Some(slot) = self.deadlines.pop_expired(now) {
            self.expire(slot, now, buffers, ops);
        }
        self.start_due(now, ops);
        self.release_held(now, buffers, ops);
        if self.load_is_over() {
            self.ends.load.get_or_insert(now);
            if self.attempts.in_flight == 0 {
                self.ends.drained.get_or_insert(now);
                self.ends.held.get_or_insert(self.recorder.held_now());
            }
        }
    }

    /// When the next turn is due if nothing completes before.
    pub fn next_wakeup(&self) -> Time {
        let hold_end = match self.release {
            Release::No => self.hold_end,
            Release::Sweeping { .. } => Time::ZERO,
            Release::Swept => Time::MAX,
        };
        self.next_start.min(self.deadlines.next_wakeup()).min(hold_end)
    }

    /// No further attempt starts: what is due and has not started is dropped, held connections are released.
    pub fn stop(&mut self, now: Time) {
        let offset = if now < self.start { Nanos::ZERO } else { now.since(self.start) + Nanos::new(1) };
        for population in &mut self.populations {
            population.schedule.end(offset, &mut self.recorder, now);
        }
        self.next_start = Time::MAX;
        self.ends.load.get_or_insert(now);
        self.release();
    }

    /// Held connections are closed, and what completes from now on is not held.
    pub fn release(&mut self) {
        if self.release == Release::No {
            self.release = Release::Sweeping { cursor: 0 };
            self.ends.held.get_or_insert(self.recorder.held_now());
        }
    }

    /// When load, drain and hold ended.
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// The load is over and nothing is in flight; connections may still be held.
    pub fn is_drained(&self) -> bool {
        self.load_is_over() && self.attempts.in_flight == 0
    }

    /// The load is over and every slot is free.
    pub fn is_finished(&self) -> bool {
        self.load_is_over() && self.busy == 0
    }

    /// Ends the measurement at `now`: what was measured, and the interval reports not handed out yet.
    ///
    /// # Panics
    /// If an arrival has no outcome or an attempt has two: the books of this program are wrong.
    pub fn finish(self, now: Time) -> (Snapshot, Vec<Box<IntervalReport>>) {
        if let Err(error) = self.recorder.snapshot().check(&self.in_flight_by_stage()) {
            panic!("{error}");
        }
        self.recorder.finish(now)
    }

    /// What has been measured.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What has been measured, to add to.
    pub fn recorder_mut(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    /// Attempts in flight by stage: what `started = completed + failed + in_flight` needs.
    pub fn in_flight_by_stage(&self) -> Vec<u64> {
        let mut counts = vec![0; self.recorder.snapshot().layout().stages.len()];
        for slot in 0..self.slots.len() {
            if let SlotState::InFlight { attempt } = self.slots.get(slot).state {
                counts[usize::from(self.attempts.get(attempt).place.stage)] += 1;
            }
        }
        counts
    }

    /// Arrivals due whose attempt has not started, by stage.
    pub fn waiting_by_stage(&self) -> Vec<u64> {
        let mut counts = vec![0; self.recorder.snapshot().layout().stages.len()];
        for population in &self.populations {
            if let Schedule::Open { due, waiting, .. } = &population.schedule {
                let next_due = due.peek().map_or(Nanos::MAX, |arrival| arrival.intended);
                waiting.clone().take_until(next_due, |stage, count| counts[usize::from(stage)] += count);
            }
        }
        counts
    }

    fn load_is_over(&self) -> bool {
        self.populations.iter().all(|population| matches!(population.schedule, Schedule::Over))
    }

    fn complete(&mut self, now: Time, completion: &Completion, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let (token, result) = (completion.token, completion.result);
        if !self.slots.disarm(token) {
            debug_assert!(false, "{token:?} completed and was not in flight");
            return;
        }
        let slot = token.slot().0;
        match self.slots.get(slot).state {
            SlotState::InFlight { attempt } => {
                let entry = &mut self.attempts.entries[attempt.0 as usize];
                let rules = &self.populations[usize::from(self.slots.get(slot).population)].rules;
                let context = &mut Context {
                    now,
                    slot,
                    slots: &mut self.slots,
                    buffers,
                    ops,
                    client: &self.clients[usize::from(entry.place.client)],
                };
                let progress = match token.kind() {
                    OpKind::Open => {
                        self.deadlines.set(slot, now + rules.timeout);
                        entry.connection.opened(result, context)
                    }
                    OpKind::Send => entry.connection.sent(result, context),
                    OpKind::Recv => entry.connection.received(result, context),
                    OpKind::Close | OpKind::Accept => unreachable!("no attempt is in flight on a closing slot"),
                };
                match progress {
                    Progress::Pending => {}
                    Progress::S0S1(digest) => {
                        let place = entry.place;
                        self.s1_digests[s1_digest_index(place, self.clients.len())] = Some(digest);
                    }
                    Progress::Complete(milestones) => self.completed(slot, attempt, milestones, now, buffers, ops),
                    Progress::Failed(failure) => self.failed(slot, attempt, failure, now, buffers, ops),
                }
            }
            SlotState::Held { since, place } => match result {
                Ok(bytes) if bytes > 0 => self.watch(slot, ops),
                _ => {
                    let failure = match result {
                        Ok(_) => Failure { step: Step::Hold, kind: FailureKind::Closed, detail: FailureDetail::None },
                        Err(errno) => Failure::from_errno(Step::Hold, errno),
                    };
                    self.recorder.held(-1, now);
                    self.recorder.lost_while_held(place, now.since(since), now, failure);
                    self.close(slot, CloseHow::Rst, None, now, buffers, ops);
                }
            },
            SlotState::AwaitingFin => match result {
                Ok(0) => self.close(slot, CloseHow::Fin, None, now, buffers, ops),
                Ok(_) => self.watch(slot, ops),
                Err(_) => self.close(slot, CloseHow::Rst, None, now, buffers, ops),
            },
            SlotState::Releasing { how, attempt } => self.close(slot, how, attempt, now, buffers, ops),
            SlotState::Closing => {
                let population = usize::from(self.slots.get(slot).population);
                self.slots.put_free(&mut self.populations[population].free, slot, now);
                self.busy -= 1;
            }
            SlotState::Free { .. } => unreachable!("a free slot has nothing in flight"),
        }
    }

    fn expire(&mut self, slot: u32, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        match self.slots.get(slot).state {
            SlotState::InFlight { attempt } => {
                let failure = self.attempts.get(attempt).connection.timed_out();
                self.failed(slot, attempt, failure, now, buffers, ops);
            }
            SlotState::Held { .. } => self.end_hold(slot, now, buffers, ops),
            SlotState::AwaitingFin => self.close(slot, CloseHow::Rst, None, now, buffers, ops),
            state => unreachable!("no deadline is set in {state:?}"),
        }
    }

    fn completed(
        &mut self,
        slot: u32,
        id: AttemptId,
        milestones: Milestones,
        now: Time,
        buffers: &mut Buffers,
        ops: &mut Vec<Op>,
    ) {
        let attempt = *self.attempts.get(id);
        let population = self.slots.get(slot).population;
        self.recorder.completed(&Sample {
            place: attempt.place,
            intended: attempt.intended,
            slot_free: attempt.slot_free,
            started: attempt.started,
            connected: milestones.connected,
            sent: milestones.connected,
            s0s1: milestones.s0s1,
            s2: milestones.s2,
            completed: now,
            negotiated: milestones.negotiated,
        });
        self.deadlines.clear(slot);
        self.attempts.in_flight -= 1;
        self.free_attempt(id, buffers);
        let rules = &self.populations[usize::from(population)].rules;
        match rules.hold {
            Hold::ForNs(0) => self.leave(slot, now, buffers, ops),
            _ if self.release != Release::No => self.leave(slot, now, buffers, ops),
            hold => {
                if let Hold::ForNs(nanos) = hold {
                    self.deadlines.set(slot, now + Nanos::new(nanos));
                }
                self.slots.get_mut(slot).state = SlotState::Held { since: now, place: attempt.place };
                self.recorder.held(1, now);
                self.watch(slot, ops);
            }
        }
    }

    fn failed(
        &mut self,
        slot: u32,
        id: AttemptId,
        failure: Failure,
        now: Time,
        buffers: &mut Buffers,
        ops: &mut Vec<Op>,
    ) {
        let Attempt { place, started, .. } = *self.attempts.get(id);
        self.recorder.failed(place, started, now, failure);
        self.attempts.in_flight -= 1;
        self.close(slot, CloseHow::Rst, Some(id), now, buffers, ops);
    }

    /// A completed connection is not needed any more: closes it as planned.
    fn leave(&mut self, slot: u32, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let rules = &self.populations[usize::from(self.slots.get(slot).population)].rules;
        match rules.close {
            ClosePolicy::Rst => self.close(slot, CloseHow::Rst, None, now, buffers, ops),
            ClosePolicy::Fin => self.close(slot, CloseHow::Fin, None, now, buffers, ops),
            ClosePolicy::Peer => {
                self.deadlines.set(slot, now + rules.timeout);
                self.slots.get_mut(slot).state = SlotState::AwaitingFin;
                if self.slots.is_idle(slot) {
                    self.watch(slot, ops);
                }
            }
        }
    }

    fn end_hold(&mut self, slot: u32, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        self.recorder.held(-1, now);
        self.deadlines.clear(slot);
        self.leave(slot, now, buffers, ops);
    }

    /// Gives an attempt's entry and buffers back; none of its ops is in flight.
    fn free_attempt(&mut self, id: AttemptId, buffers: &mut Buffers) {
        self.attempts.get(id).connection.release_buffers(buffers);
        self.attempts.free.push(id.0);
    }

    /// Arms a receive that only notices what the server does with a connection.
    fn watch(&mut self, slot: u32, ops: &mut Vec<Op>) {
        let token = self.slots.arm(slot, OpKind::Recv);
        ops.push(Op::Recv { token, into: Destination::Discard });
    }

    /// Closes the connection once nothing is in flight on it; the slot is free when the close has completed.
    fn close(
        &mut self,
        slot: u32,
        how: CloseHow,
        attempt: Option<AttemptId>,
        now: Time,
        buffers: &mut Buffers,
        ops: &mut Vec<Op>,
    ) {
        debug_assert!(now >= self.start);
        self.deadlines.clear(slot);
        if !self.slots.is_idle(slot) {
            if !matches!(self.slots.get(slot).state, SlotState::Releasing { .. }) {
                ops.extend(self.slots.in_flight(slot).map(|of| Op::Cancel { of }));
            }
            self.slots.get_mut(slot).state = SlotState::Releasing { how, attempt };
            return;
        }
        if let Some(id) = attempt {
            self.free_attempt(id, buffers);
        }
        self.slots.get_mut(slot).state = SlotState::Closing;
        let token = self.slots.arm(slot, OpKind::Close);
        ops.push(Op::Close { token, how });
    }

    fn start_due(&mut self, now: Time, ops: &mut Vec<Op>) {
        let mut budget = STARTS_PER_TURN;
        let mut next_start = Time::MAX;
        for population in 0..self.populations.len() {
            let next = self.start_population(population, now, &mut budget, ops);
            next_start = next_start.min(next);
        }
        self.next_start = next_start;
    }

    /// Starts what is due of one population; says when to look again.
    fn start_population(&mut self, index: usize, now: Time, budget: &mut u32, ops: &mut Vec<Op>) -> Time {
        let start = self.start;
        self.populations[index].schedule.count_due(now, start, &mut self.recorder);
        loop {
            let population = &mut self.populations[index];
            let slot_is_free = !population.free.is_empty();
            match population.schedule.next(now, start, slot_is_free) {
                Next::At(at) => return at,
                Next::Never => {
                    let past = population.schedule.planned_end();
                    population.schedule.end(past, &mut self.recorder, now);
                    return Time::MAX;
                }
                Next::Now if *budget == 0 => return now,
                Next::Now => {
                    *budget -= 1;
                    if let Some(begin) = population.schedule.take(now, start, population.free.len(), &mut self.recorder)
                    {
                        self.start_attempt(index, begin, now, ops);
                    }
                }
            }
        }
    }

    fn start_attempt(&mut self, index: usize, begin: Start, now: Time, ops: &mut Vec<Op>) {
        let population = &mut self.populations[index];
        let (slot, slot_free) = self.slots.take_free(&mut population.free).expect("a slot is free");
        let Choices { client, target, source, template } = population.next_choices(&self.clients);
        let place = Place { stage: begin.stage, target: target.0, client };
        let rules = &population.rules;
        let check = match rules.verify {
            Verify::All => Check::Full,
            Verify::Sample if self.sampling.next_u32().is_multiple_of(SAMPLE_ONE_IN) => Check::Full,
            Verify::Sample | Verify::None => {
                let known = self.s1_digests[s1_digest_index(place, self.clients.len())];
                known.map_or(Check::Locate, Check::Trust)
            }
        };
        self.recorder.started(place, now);
        let id = self.attempts.insert(Attempt {
            place,
            intended: begin.intended,
            slot_free,
            started: now,
            connection: Connection::connecting(template, check),
        });
        self.slots.get_mut(slot).state = SlotState::InFlight { attempt: id };
        self.busy += 1;
        self.deadlines.set(slot, now + rules.connect_timeout);
        let token = self.slots.arm(slot, OpKind::Open);
        ops.push(Op::Open { token, target, source });
    }

    fn release_held(&mut self, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        if now >= self.hold_end {
            self.release();
        }
        let Release::Sweeping { cursor } = self.release else { return };
        let end = (cursor + RELEASES_PER_TURN).min(self.slots.len());
        for slot in cursor..end {
            if let SlotState::Held { .. } = self.slots.get(slot).state {
                self.end_hold(slot, now, buffers, ops);
            }
        }
        self.release = if end == self.slots.len() { Release::Swept } else { Release::Sweeping { cursor: end } };
    }
}

impl Population {
    fn new(spec: PopulationSpec, free: FreeQueue, start: Time) -> Self {
        // Each kind begins with another target, so that the first attempts do not all meet the same one.
        let first = |index: usize| index % spec.targets.len();
        let begin =
            |(index, &client)| ClientTurns { client, next_template: 0, next_target: first(index), next_source: 0 };
        let mix = spec.clients.iter().enumerate().map(begin).collect();
        let schedule = if spec.slots == 0 { Schedule::Over } else { Schedule::new(spec.load, start) };
        Self {
            schedule,
            free,
            rules: Rules {
                verify: spec.verify,
                targets: spec.targets,
                sources: spec.sources,
                hold: spec.hold,
                close: spec.close,
                connect_timeout: spec.connect_timeout,
                timeout: spec.timeout,
            },
            turns: spec.turns,
            mix,
        }
    }

    /// What the next attempt uses: the client whose turn it is takes its target, source and template in turn.
    fn next_choices(&mut self, clients: &[Client]) -> Choices {
        let rules = &self.rules;
        let turns = &mut self.mix[self.turns.take()];
        let chosen = Choices {
            client: turns.client,
            target: rules.targets[turns.next_target],
            source: rules.sources[turns.next_source],
            template: turns.next_template,
        };
        // A source goes to every target before the next source is used, so every pair of them occurs.
        turns.next_target += 1;
        if turns.next_target == rules.targets.len() {
            turns.next_target = 0;
            turns.next_source = (turns.next_source + 1) % rules.sources.len();
        }
        let templates = &clients[usize::from(turns.client)].templates;
        turns.next_template = (turns.next_template + 1) % templates.len() as u16;
        chosen
    }
}

/// Where `place` has its entry among what is known of S1s.
fn s1_digest_index(place: Place, clients: usize) -> usize {
    usize::from(place.target) * clients + usize::from(place.client)
}

impl Schedule {
    fn new(load: Load, start: Time) -> Self {
        match load {
            Load::Open { arrivals, end } => Self::Open { due: arrivals.clone(), waiting: arrivals, end },
            Load::Closed { quota, warmup, end, warmup_stage, stage } => {
                Self::Closed { quota, warmup_end: start + warmup, end: start + end, warmup_stage, stage }
            }
        }
    }

    /// Counts the arrivals whose instant has passed.
    fn count_due(&mut self, now: Time, start: Time, recorder: &mut Recorder) {
        if let Self::Open { due, .. } = self
            && now >= start
        {
            due.take_until(now.since(start) + Nanos::new(1), |stage, count| recorder.due(stage, count, now));
        }
    }

    /// When the next attempt can start.
    fn next(&self, now: Time, start: Time, slot_is_free: bool) -> Next {
        match self {
            Self::Over => Next::Never,
            Self::Open { waiting, end, .. } => match waiting.peek() {
                None => Next::Never,
                Some(arrival) if start + arrival.intended > now => Next::At(start + arrival.intended),
                Some(_) if slot_is_free => Next::Now,
                Some(_) if now >= start + *end => Next::Never,
                Some(_) => Next::At(start + *end),
            },
            Self::Closed { end, .. } if now >= *end => Next::Never,
            Self::Closed { .. } if now < start => Next::At(start),
            Self::Closed { .. } if slot_is_free => Next::Now,
            // Held slots may never be free again: the load is over with the quota, not with the slot that misses it.
            Self::Closed { quota, .. } if quota.is_used_up() => Next::Never,
            Self::Closed { end, .. } => Next::At(*end),
        }
    }

    /// Takes the next attempt, which is due; `None` if there turns out to be none left.
    fn take(&mut self, now: Time, start: Time, free_slots: u32, recorder: &mut Recorder) -> Option<Start> {
        match self {
            Self::Over => None,
            Self::Open { waiting, .. } => {
                waiting.pop().map(|arrival| Start { stage: arrival.stage, intended: Some(start + arrival.intended) })
            }
            Self::Closed { quota, warmup_end, warmup_stage, stage, .. } => {
                let stage = if now < *warmup_end {
                    *warmup_stage
                } else if quota.take(free_slots) {
                    *stage
                } else {
                    *self = Self::Over;
                    return None;
                };
                recorder.due(stage, 1, now);
                Some(Start { stage, intended: None })
            }
        }
    }

    /// Ends the load at `offset` (exclusive): arrivals before it are due, and dropped if they have not started.
    fn end(&mut self, offset: Nanos, recorder: &mut Recorder, now: Time) {
        if let Self::Open { due, waiting, .. } = self {
            due.take_until(offset, |stage, count| recorder.due(stage, count, now));
            waiting.take_until(offset, |stage, count| recorder.dropped(stage, count));
        }
        *self = Self::Over;
    }

    /// The offset at which the plan ends the load.
    fn planned_end(&self) -> Nanos {
        match self {
            Self::Open { end, .. } => *end,
            Self::Closed { .. } | Self::Over => Nanos::ZERO,
        }
    }
}

impl Attempts {
    fn with_capacity(capacity: u32) -> Self {
        let capacity = capacity as usize;
        Self { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), in_flight: 0 }
    }

    fn get(&self, id: AttemptId) -> &Attempt {
        &self.entries[id.0 as usize]
    }

    /// Within the reserved capacity: there are never more attempts than slots.
    fn insert(&mut self, attempt: Attempt) -> AttemptId {
        self.in_flight += 1;
        match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = attempt;
                AttemptId(id)
            }
            None => {
                self.entries.push(attempt);
                AttemptId(self.entries.len() as u32 - 1)
            }
        }
    }
}
