//! The worker: a batch of completions and the time in, ops out.
//!
//! One turn starts due arrivals (bounded), applies completions, expires deadlines and, at the end, releases what is
//! held. No lock is taken after [`Worker::new`], and nothing is allocated but what
//! [`Recorder`] says and a block for each message that is in the middle of its arrival, of which none is given up.

use rand::Rng;

use crate::base::{Nanos, RandomStream, Time};
use crate::io::{Buffers, CloseHow, Completion, Destination, Op, OpKind, SourceId, TargetId};
use crate::load::WeightedTurns;
use crate::measure::{
    Ending, Expectation, Failure, FailureDetail, FailureKind, IntervalReport, Place, Reaction, Recorder, Sample,
    Snapshot, Step, Until,
};
use crate::protocol::session::Course;
use crate::protocol::{Check, S1Digest};

use super::connection::{Attempt, AttemptId, Connection, Context, Milestones, Progress};
use super::deadlines::Deadlines;
use super::pauses::Pauses;
use super::plan::{
    Client, ClosePolicy, Headers, Hold, LaneSpec, Load, SessionPlan, SessionRules, SharedRange, Verify, WorkerPlan,
};
use super::schedule::{Next, Schedule, SlotUse, Start};
use super::session::{Identity, SessionStart, Sessions};
use super::slots::{FreeQueue, SlotState, Slots};

/// Attempts started in one turn. They share one start, but each SYN leaves after those before it, and opening a loopback
/// connection takes 10 to 20 us of kernel time: that of the last one is what its `service` is too long by. A burst must not
/// keep completions waiting for their timestamp either.
const STARTS_PER_TURN: u32 = 4;
/// Held connections looked at in one turn while they are released.
const RELEASES_PER_TURN: u32 = 1_024;
/// `--verify sample` checks one handshake in this many.
const SAMPLE_ONE_IN: u32 = 64;
/// How long an orderly close waits for the answer to a goodbye, which some servers do not give.
const ANSWER_TO_GOODBYE: Nanos = Nanos::from_millis(250);
/// After a pause, what an attempt has already received is worked off in so much time, whatever else there is to do.
const CATCH_UP: Nanos = Nanos::from_millis(20);

/// Runs attempts on a fixed number of slots. See the module's text for the turn.
#[derive(Debug)]
pub struct Worker {
    start: Time,
    /// When held connections are released at the latest.
    hold_end: Time,
    clients: Vec<Client>,
    /// Targets that want TLS.
    tls: Box<[bool]>,
    session: SessionPlan,
    sessions: Sessions,
    /// Attempts started with a session, by its course: their numbers. Players count apart from publishers, so that both
    /// go through all names of a pattern.
    numbered: [u64; Course::COUNT],
    lanes: Vec<Lane>,
    /// The lane that starts its attempts first in the next turn: each has its turn, so none starves.
    first_lane: usize,
    slots: Slots,
    attempts: Attempts,
    deadlines: Deadlines,
    pauses: Pauses,
    recorder: Recorder,
    /// Where S1 last carried its digest, by target and client, for attempts that are not verified: servers mirror the
    /// place of C1's.
    s1_digests: Box<[Option<S1Digest>]>,
    headers: Option<Headers>,
    next_header: u32,
    sampling: RandomStream,
    holding: RandomStream,
    release: Release,
    release_per_s: Option<f64>,
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
    /// They are being closed, since when and how many so far; slots below the cursor have been seen.
    Sweeping { cursor: u32, since: Time, released: u32 },
    /// Every slot was seen; what completes now is closed at once.
    Swept,
}

/// Attempts of the same kind, with slots of their own.
#[derive(Debug)]
struct Lane {
    schedule: Schedule,
    free: FreeQueue,
    first_slot: u32,
    slots: u32,
    /// It ends with the last lane that is none.
    companion: bool,
    /// Attempts whose outcome is open.
    in_flight: u32,
    /// Connections held.
    held: u32,
    /// How long the worker has paused since a slot was free and no arrival behind its plan. An arrival that waits for a slot
    /// waits longer by this at most than if the worker had gone on: all that goes on in the slots is so much later.
    held_up: Nanos,
    /// Where the search for held connections to close goes on when there are more than the plan has use for.
    surplus_cursor: u32,
    rules: Rules,
    turns: WeightedTurns,
    mix: Vec<ClientTurns>,
    /// Publishers that trickle, and those that send the clip.
    clip_turns: WeightedTurns,
}

/// What one kind of client of a lane uses next. Each kind has turns of its own: else with as many kinds as targets
/// each kind would meet but one target.
#[derive(Debug)]
struct ClientTurns {
    client: u16,
    next_template: u16,
    targets: WeightedTurns,
    /// Attempts until every target has had its weight and the next source is used.
    left_in_cycle: u32,
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
    expect: Option<Expectation>,
    until: Until,
    session: Option<SessionRules>,
}

/// What is to become of an attempt whose deadline has come.
#[derive(Clone, Copy, Debug)]
enum Overdue {
    /// It is out of time.
    Yes,
    /// It is, and its time was over while the worker did not run.
    SinceAPause,
    /// It has until this instant: the worker did not run all the time.
    NotYet(Time),
}

/// What an attempt is made with.
struct Choices {
    /// Which of the lane's.
    turn: usize,
    client: u16,
    target: TargetId,
    source: SourceId,
    template: u16,
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
        let counts: Vec<u32> = plan.lanes.iter().map(|lane| lane.slots).collect();
        let (slots, queues) = Slots::new(&counts);
        let start = plan.start;
        let hold_end = start + plan.hold_end;
        let has_sessions = plan.lanes.iter().any(|lane| lane.session.is_some());
        let mut first_slot = 0;
        let mut lanes = Vec::with_capacity(plan.lanes.len());
        for (spec, free) in plan.lanes.into_iter().zip(queues) {
            let lane = Lane::new(spec, free, first_slot, start);
            first_slot += lane.slots;
            lanes.push(lane);
        }
        Self {
            start,
            hold_end,
            lanes,
            first_lane: 0,
            sessions: Sessions::new(if has_sessions { slots.len() } else { 0 }, plan.session.name_size),
            session: plan.session,
            numbered: [0; Course::COUNT],
            tls: plan.tls,
            attempts: Attempts::with_capacity(slots.len()),
            deadlines: Deadlines::new(slots.len(), start),
            pauses: Pauses::default(),
            slots,
            recorder,
            s1_digests: vec![None; usize::from(plan.targets) * plan.clients.len()].into_boxed_slice(),
            clients: plan.clients,
            headers: plan.headers,
            next_header: 0,
            sampling: plan.sampling,
            holding: plan.holding,
            release: Release::No,
            release_per_s: plan.release_per_s,
            busy: 0,
            next_start: start,
            ends: Ends::default(),
        }
    }

    /// The worker is back at `now`, and was to be back at `expected` at the latest: a pause in between was nobody's doing but
    /// the generator's. Says whether there was one. Comes before anything is recorded at `now`.
    pub fn resumes(&mut self, expected: Time, now: Time) -> bool {
        let from = expected.max(self.start);
        if !self.pauses.note(from, now) {
            return false;
        }
        self.recorder.paused(from, now);
        for lane in &mut self.lanes {
            lane.held_up += now.since(from);
        }
        true
    }

    /// The report of the current second if it is over at `now`; call again until `None`, before anything is recorded at `now`.
    /// What became due in a second counts in it, whenever the worker sees to it.
    pub fn roll(&mut self, now: Time) -> Option<Box<IntervalReport>> {
        let end = self.recorder.interval_end();
        if now < end {
            return None;
        }
        let (last, start) = (end - Nanos::new(1), self.start);
        for lane in &mut self.lanes {
            lane.schedule.count_due(last, start, &mut self.recorder);
        }
        self.recorder.roll(now)
    }

    /// One turn at `now`: consumes `completions`, appends what is to be done to `ops`.
    pub fn step(&mut self, now: Time, completions: &[Completion], buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let mut starts = STARTS_PER_TURN;
        // First: attempts count from this instant, and the kernel carries ops out in their order, so a SYN would leave only
        // after all that completions send.
        self.start_due(now, &mut starts, ops);
        for completion in completions {
            self.complete(now, completion, buffers, ops);
        }
        while let Some(slot) = self.deadlines.pop_expired(now) {
            self.expire(slot, now, buffers, ops);
        }
        // What had to wait for a slot.
        self.start_due(now, &mut starts, ops);
        self.first_lane = (self.first_lane + 1) % self.lanes.len().max(1);
        self.close_surplus(now, buffers, ops);
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
        let release = match self.release {
            Release::No => self.hold_end,
            Release::Sweeping { since, released, .. } => self.release_at(since, released),
            Release::Swept => Time::MAX,
        };
        self.next_start.min(self.deadlines.next_wakeup()).min(release)
    }

    /// When the next held connection is released, of which `released` have been since `since`.
    fn release_at(&self, since: Time, released: u32) -> Time {
        match self.release_per_s {
            Some(per_s) => since + Nanos::from_secs_f64(f64::from(released) / per_s),
            None => Time::ZERO,
        }
    }

    /// No further attempt starts: what is due and has not started is dropped, held connections are released.
    pub fn stop(&mut self, now: Time) {
        let start = self.start;
        let offset = if now < start { Nanos::ZERO } else { now.since(start) + Nanos::new(1) };
        for lane in &mut self.lanes {
            lane.schedule.end(offset, start, &mut self.recorder, now);
        }
        self.next_start = Time::MAX;
        self.ends.load.get_or_insert(now);
        self.release(now);
    }

    /// Held connections are closed, and what completes from now on is not held.
    pub fn release(&mut self, now: Time) {
        if self.release == Release::No {
            self.release = Release::Sweeping { cursor: 0, since: now, released: 0 };
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
    pub fn finish(mut self, now: Time) -> (Snapshot, Vec<Box<IntervalReport>>) {
        // Sessions of a run that was cut are held still.
        for slot in 0..self.slots.len() {
            self.sessions.end_media(slot, now, &self.session, &mut self.recorder);
            self.sessions.cut_send(slot, &mut self.recorder);
        }
        if let Err(error) = self.recorder.snapshot().check(&self.in_flight_by_stage()) {
            panic!("{error}");
        }
        self.recorder.finish(now)
    }

    /// Bytes of its tables, which are of one size from the beginning: those of the slots, and of the attempts on them.
    /// Sessions are counted as if every slot had one; what they need beside (messages that cross chunks) is not.
    pub fn memory(&self) -> usize {
        self.slots.memory() + self.attempts.memory() + self.deadlines.memory() + self.sessions.memory()
    }

    /// The same for so many slots, before any is made; with sessions, if attempts go on after the handshake.
    pub const fn memory_of(slots: u32, sessions: bool) -> usize {
        let of_slot = Slots::BYTES + Attempts::BYTES + Deadlines::BYTES + if sessions { Sessions::BYTES } else { 0 };
        slots as usize * of_slot
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
        for lane in &self.lanes {
            lane.schedule.waiting(|stage, count| counts[usize::from(stage)] += count);
        }
        counts
    }

    fn load_is_over(&self) -> bool {
        self.lanes.iter().all(|lane| lane.schedule.is_over())
    }

    fn complete(&mut self, now: Time, completion: &Completion, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let (token, result) = (completion.token, completion.result);
        if !self.slots.disarm(token) {
            debug_assert!(false, "{token:?} completed and was not in flight");
            return;
        }
        let slot = token.slot().0;
        match self.slots.get(slot).state {
            SlotState::InFlight { attempt } => self.attempt_goes_on(attempt, completion, now, buffers, ops),
            SlotState::Held { since, place } => match result {
                Ok(bytes) if bytes > 0 => self.watch(slot, ops),
                // Held to its end, as far as anybody can tell.
                _ if self.was_due_in_a_pause(slot) => self.end_hold(slot, now, buffers, ops),
                _ => {
                    let failure = match result {
                        Ok(_) => Failure { step: Step::Hold, kind: FailureKind::Closed, detail: FailureDetail::None },
                        Err(errno) => Failure::lost(errno),
                    };
                    self.lost_held(slot, place, since, failure, now, buffers, ops);
                }
            },
            SlotState::Session => {
                let place = self.session_place(slot);
                let (_, mut context) = self.context(slot, place.client, now, buffers, ops);
                let goes_on = match token.kind() {
                    OpKind::Send => context.held_sent(result),
                    _ => context.held_received(result),
                };
                match goes_on {
                    Ok(wake_at) => self.deadlines.set(slot, wake_at),
                    Err(failure) if failure.is_hang_up() && self.pauses.cover(self.held_until(slot)) => {
                        self.end_hold(slot, now, buffers, ops);
                    }
                    // It had something to say and was silent: no wonder that the server hung up.
                    Err(failure) if failure.is_hang_up() && self.was_due_in_a_pause(slot) => {
                        let failure = Failure { kind: FailureKind::GeneratorPaused, ..failure };
                        self.lost(slot, failure, now, buffers, ops);
                    }
                    Err(failure) => self.lost(slot, failure, now, buffers, ops),
                }
            }
            SlotState::Goodbye if token.kind() == OpKind::Send => {
                let place = self.session_place(slot);
                let (_, mut context) = self.context(slot, place.client, now, buffers, ops);
                if result.is_err() {
                    context.send_is_over(false);
                    self.goodbye_is_out(slot, now, buffers, ops);
                } else if !context.goes_on_saying_goodbye() {
                    self.goodbye_is_out(slot, now, buffers, ops);
                }
            }
            // Whatever the server still says, or does: the goodbye's send tells when it is over.
            SlotState::Goodbye => self.sessions.heard(slot),
            SlotState::AwaitingFin => match result {
                Ok(0) => self.close(slot, CloseHow::Fin, None, now, buffers, ops),
                // The answer to the goodbye is read: nothing is left that would turn the FIN into an RST.
                Ok(_) if self.closes_by_fin(slot) && !self.sessions.is_listening(slot) => {
                    self.close(slot, CloseHow::Fin, None, now, buffers, ops);
                }
                Ok(_) => {
                    self.sessions.heard(slot);
                    self.watch(slot, ops);
                }
                Err(_) => self.close(slot, CloseHow::Rst, None, now, buffers, ops),
            },
            SlotState::Releasing { how, attempt } => {
                if token.kind() == OpKind::Send {
                    self.sessions.send_is_over(slot, result.is_ok(), buffers, &mut self.recorder);
                }
                self.close(slot, how, attempt, now, buffers, ops);
            }
            SlotState::Closing => self.closed(slot, now),
            SlotState::Free { .. } => unreachable!("a free slot has nothing in flight"),
        }
    }

    /// The connection of a slot is closed: the slot is free.
    fn closed(&mut self, slot: u32, now: Time) {
        self.busy -= 1;
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        match &mut lane.schedule {
            Schedule::Storm(fleet) => {
                self.slots.put_aside(slot, now);
                fleet.slot_is_free(slot - lane.first_slot);
                // The client may try again at once: look when.
                self.next_start = Time::ZERO;
            }
            _ => self.slots.put_free(&mut lane.free, slot, now),
        }
    }

    /// Something completed on the connection of an attempt in flight.
    fn attempt_goes_on(
        &mut self,
        attempt: AttemptId,
        completion: &Completion,
        now: Time,
        buffers: &mut Buffers,
        ops: &mut Vec<Op>,
    ) {
        let (token, result) = (completion.token, completion.result);
        let slot = token.slot().0;
        let place = self.attempts.get(attempt).place;
        if token.kind() == OpKind::Open {
            let timeout = self.lanes[usize::from(self.slots.get(slot).lane)].rules.timeout;
            self.deadlines.set(slot, now + timeout);
        }
        let (attempts, mut context) = self.context(slot, place.client, now, buffers, ops);
        let context = &mut context;
        let entry = &mut attempts.entries[attempt.0 as usize];
        let progress = match token.kind() {
            OpKind::Open => entry.connection.opened(result, context),
            OpKind::Secure => entry.connection.secured(result, place, context),
            OpKind::Send => entry.connection.sent(result, context),
            OpKind::Recv => entry.connection.received(result, context),
            OpKind::Close | OpKind::Accept => {
                unreachable!("no attempt is in flight on a closing slot")
            }
        };
        match progress {
            Progress::Pending => {}
            Progress::Wakes(at) => self.deadlines.set(slot, at),
            Progress::S0S1(digest) => {
                self.s1_digests[s1_digest_index(place, self.clients.len())] = Some(digest);
            }
            Progress::Complete(milestones) => self.completed(slot, attempt, milestones, now, buffers, ops),
            Progress::Reacted(reaction) => self.reacted(slot, attempt, reaction, now, buffers, ops),
            Progress::Failed(failure) => self.failed(slot, attempt, failure, now, buffers, ops),
        }
    }

    fn expire(&mut self, slot: u32, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        match self.slots.get(slot).state {
            SlotState::InFlight { attempt } => {
                let overdue = self.overdue(slot, attempt, now);
                if let Overdue::NotYet(at) = overdue {
                    return self.deadlines.set(slot, at);
                }
                let client = self.attempts.get(attempt).place.client;
                let (attempts, mut context) = self.context(slot, client, now, buffers, ops);
                let entry = &mut attempts.entries[attempt.0 as usize];
                match entry.connection.woken(&mut context) {
                    Progress::Wakes(at) => self.deadlines.set(slot, at),
                    Progress::Reacted(reaction) => self.reacted(slot, attempt, reaction, now, buffers, ops),
                    Progress::Failed(failure) => {
                        let kind = match overdue {
                            Overdue::SinceAPause => FailureKind::GeneratorPaused,
                            _ => failure.kind,
                        };
                        self.failed(slot, attempt, Failure { kind, ..failure }, now, buffers, ops);
                    }
                    // Its milestone was reached, and the server did not take what was sent since.
                    Progress::Complete(milestones) => self.completed(slot, attempt, milestones, now, buffers, ops),
                    progress => unreachable!("time alone leads to no {progress:?}"),
                }
            }
            SlotState::Held { .. } => self.end_hold(slot, now, buffers, ops),
            SlotState::Session if self.sessions.get(slot).is_some_and(|session| session.held_until() <= now) => {
                self.end_hold(slot, now, buffers, ops);
            }
            SlotState::Session => {
                let place = self.session_place(slot);
                let (_, mut context) = self.context(slot, place.client, now, buffers, ops);
                let wake_at = context.go_on();
                self.deadlines.set(slot, wake_at);
            }
            SlotState::AwaitingFin if self.closes_by_fin(slot) => {
                self.close(slot, CloseHow::Fin, None, now, buffers, ops);
            }
            SlotState::AwaitingFin | SlotState::Goodbye => self.close(slot, CloseHow::Rst, None, now, buffers, ops),
            state => unreachable!("no deadline is set in {state:?}"),
        }
    }

    /// What an attempt's deadline, which has come, says of the target. An attempt has its time while the worker runs: pauses are
    /// added to it, and what has arrived in them is used first.
    fn overdue(&self, slot: u32, id: AttemptId, now: Time) -> Overdue {
        let attempt = self.attempts.get(id);
        let rules = &self.lanes[usize::from(self.slots.get(slot).lane)].rules;
        let (since, limit) = match attempt.connection.connected() {
            Some(connected) => (connected, rules.timeout),
            None => (attempt.started, rules.connect_timeout),
        };
        let paused = self.pauses.within(since, now);
        if paused == Nanos::ZERO || attempt.connection.is_hostile() {
            return Overdue::Yes;
        }
        let at = since + limit + paused + CATCH_UP;
        if at > now {
            Overdue::NotYet(at)
        } else if self.pauses.cover(since + limit) {
            Overdue::SinceAPause
        } else {
            Overdue::Yes
        }
    }

    /// The slot's deadline passed while the worker did not run.
    fn was_due_in_a_pause(&self, slot: u32) -> bool {
        self.deadlines.at(slot).is_some_and(|at| self.pauses.cover(at))
    }

    fn held_until(&self, slot: u32) -> Time {
        self.sessions.get(slot).expect("the slot holds a session").held_until()
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
        self.recorder.completed(&Sample {
            place: attempt.place,
            intended: attempt.intended,
            slot_free: attempt.slot_free,
            started: attempt.started,
            connected: milestones.connected,
            secured: milestones.secured,
            sent: milestones.sent,
            s0s1: milestones.s0s1,
            s2: milestones.s2,
            session: milestones.session,
            completed: milestones.complete,
            paused: self.pauses.within(attempt.started, milestones.complete),
            negotiated: milestones.negotiated,
        });
        self.deadlines.clear(slot);
        self.attempts.in_flight -= 1;
        self.free_attempt(id, buffers);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.in_flight -= 1;
        if let Schedule::Storm(fleet) = &mut lane.schedule
            && let Some((stage, after)) = fleet.completed(slot - lane.first_slot, now)
        {
            self.recorder.back(stage, after);
        }
        let hold = match lane.rules.hold {
            _ if self.release != Release::No => None,
            Hold::ForNs(0) => None,
            Hold::ForNs(nanos) => Some(Nanos::new(nanos)),
            Hold::Exponential { mean_ns } => Some(exponential(&mut self.holding, mean_ns)),
            Hold::Forever => Some(Nanos::MAX),
        };
        let orderly = lane.rules.close != ClosePolicy::Rst;
        let Some(hold) = hold else {
            // Who resets its connection at once does not say goodbye.
            return if orderly { self.part(slot, now, buffers, ops) } else { self.leave(slot, now, buffers, ops) };
        };
        let until = if hold < Nanos::MAX { now + hold } else { Time::MAX };
        lane.held += 1;
        self.recorder.kept(attempt.place, now);
        if milestones.session.is_some() {
            self.slots.get_mut(slot).state = SlotState::Session;
            let (_, mut context) = self.context(slot, attempt.place.client, now, buffers, ops);
            return match context.hold(until) {
                Ok(wake_at) => self.deadlines.set(slot, wake_at),
                Err(failure) => self.lost(slot, failure, now, buffers, ops),
            };
        }
        if until < Time::MAX {
            self.deadlines.set(slot, until);
        }
        self.slots.get_mut(slot).state = SlotState::Held { since: now, place: attempt.place };
        self.watch(slot, ops);
    }

    /// The parts of the worker that a connection uses, beside the attempts.
    fn context<'a>(
        &'a mut self,
        slot: u32,
        client: u16,
        now: Time,
        buffers: &'a mut Buffers,
        ops: &'a mut Vec<Op>,
    ) -> (&'a mut Attempts, Context<'a>) {
        let releases = self.release != Release::No || now >= self.hold_end;
        let rules = &self.lanes[usize::from(self.slots.get(slot).lane)].rules;
        let context = Context {
            now,
            releases,
            slot,
            buffers,
            ops,
            client: &self.clients[usize::from(client)],
            timeout: rules.timeout,
            rules: rules.session.as_ref(),
            plan: &self.session,
            slots: &mut self.slots,
            sessions: &mut self.sessions,
            recorder: &mut self.recorder,
            pauses: &self.pauses,
        };
        (&mut self.attempts, context)
    }

    fn session_place(&self, slot: u32) -> Place {
        self.sessions.get(slot).expect("the slot holds a session").place()
    }

    /// A held session is lost.
    fn lost(&mut self, slot: u32, failure: Failure, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let session = self.sessions.get(slot).expect("the slot holds a session");
        self.lost_held(slot, session.place(), session.held_since(), failure, now, buffers, ops);
    }

    /// A held connection is lost: its slot is closed, and a client of a fleet comes back.
    #[allow(clippy::too_many_arguments, reason = "the turn's three and what is lost")]
    fn lost_held(
        &mut self,
        slot: u32,
        place: Place,
        since: Time,
        failure: Failure,
        now: Time,
        buffers: &mut Buffers,
        ops: &mut Vec<Op>,
    ) {
        self.recorder.lost_while_held(place, now.since(since), now, failure);
        let lane = self.no_longer_held(slot, now);
        if let Schedule::Storm(fleet) = &mut lane.schedule {
            fleet.lost(slot - lane.first_slot, now);
        }
        let how = match lane.rules.close {
            ClosePolicy::Fin | ClosePolicy::Peer if failure.leaves_open() => CloseHow::Fin,
            _ => CloseHow::Rst,
        };
        self.close(slot, how, None, now, buffers, ops);
    }

    /// An attempt of a hostile client is over: what the target did.
    fn reacted(
        &mut self,
        slot: u32,
        id: AttemptId,
        reaction: Reaction,
        now: Time,
        buffers: &mut Buffers,
        ops: &mut Vec<Op>,
    ) {
        let Attempt { place, intended, started, .. } = *self.attempts.get(id);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.in_flight -= 1;
        let paused = self.pauses.within(now - reaction.after, now);
        let unexpected = lane.rules.expect.filter(|expected| !expected.may_be_met_by(&reaction, paused));
        let unexpected = unexpected.map(|_| Failure::unexpected(&reaction));
        let how = match (reaction.ending, lane.rules.close) {
            // Hanging up is what this client is about, and programs that hang up send a FIN.
            (Ending::Left, _) | (_, ClosePolicy::Fin | ClosePolicy::Peer) => CloseHow::Fin,
            (_, ClosePolicy::Rst) => CloseHow::Rst,
        };
        self.recorder.reacted(place, intended, started, now, &reaction, unexpected);
        self.attempts.in_flight -= 1;
        self.close(slot, how, Some(id), now, buffers, ops);
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
        let Attempt { place, intended, started, .. } = *self.attempts.get(id);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.in_flight -= 1;
        if let Schedule::Storm(fleet) = &mut lane.schedule {
            fleet.failed(slot - lane.first_slot, now);
        }
        if let Some(backend) = self.sessions.get(slot).and_then(|session| session.backend()) {
            self.recorder.failed_at(place, backend);
        }
        self.recorder.failed(place, intended, started, now, failure);
        self.attempts.in_flight -= 1;
        self.close(slot, CloseHow::Rst, Some(id), now, buffers, ops);
    }

    /// A completed connection is not needed any more: closes it as planned.
    fn leave(&mut self, slot: u32, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let rules = &self.lanes[usize::from(self.slots.get(slot).lane)].rules;
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
        self.no_longer_held(slot, now);
        self.deadlines.clear(slot);
        self.part(slot, now, buffers, ops);
    }

    /// Tells the server that the stream ends, if there is one, and closes the connection then.
    fn part(&mut self, slot: u32, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        let Some(client) = self.sessions.get(slot).filter(|session| session.has_stream()).map(|s| s.place().client)
        else {
            return self.leave(slot, now, buffers, ops);
        };
        let (_, mut context) = self.context(slot, client, now, buffers, ops);
        let timeout = context.timeout;
        if context.say_goodbye() {
            self.slots.get_mut(slot).state = SlotState::Goodbye;
            self.deadlines.set(slot, now + timeout);
        } else {
            self.leave(slot, now, buffers, ops);
        }
    }

    /// The server has been told that the stream ends. Before an orderly close its answer, if it gives one, is read: a socket
    /// that is closed with unread bytes sends an RST instead of a FIN (RFC 2525, section 2.17), and the server may lose
    /// the goodbye by it.
    fn goodbye_is_out(&mut self, slot: u32, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        if !self.closes_by_fin(slot) {
            return self.leave(slot, now, buffers, ops);
        }
        self.slots.get_mut(slot).state = SlotState::AwaitingFin;
        self.deadlines.set(slot, now + ANSWER_TO_GOODBYE);
        if self.slots.is_idle(slot) {
            self.watch(slot, ops);
        }
    }

    fn closes_by_fin(&self, slot: u32) -> bool {
        self.lanes[usize::from(self.slots.get(slot).lane)].rules.close == ClosePolicy::Fin
    }

    /// Counts one held connection less; returns its lane.
    fn no_longer_held(&mut self, slot: u32, now: Time) -> &mut Lane {
        let place = match self.slots.get(slot).state {
            SlotState::Held { place, .. } => place,
            _ => self.session_place(slot),
        };
        self.recorder.released(place, now);
        self.sessions.end_media(slot, now, &self.session, &mut self.recorder);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.held -= 1;
        lane
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
        self.sessions.end(slot, buffers, &mut self.recorder);
        self.slots.get_mut(slot).state = SlotState::Closing;
        let token = self.slots.arm(slot, OpKind::Close);
        ops.push(Op::Close { token, how });
    }

    /// Starts at most `budget` of what is due.
    fn start_due(&mut self, now: Time, budget: &mut u32, ops: &mut Vec<Op>) {
        let mut next_start = Time::MAX;
        let lanes = self.lanes.len();
        for lane in (self.first_lane..lanes).chain(0..self.first_lane) {
            if !self.lanes[lane].schedule.is_over() {
                next_start = next_start.min(self.start_lane(lane, now, budget, ops));
            }
        }
        if self.lanes.iter().all(|lane| lane.companion || lane.schedule.is_over()) {
            let start = self.start;
            let offset = now.since(start) + Nanos::new(1);
            for lane in &mut self.lanes {
                lane.schedule.end(offset, start, &mut self.recorder, now);
            }
        }
        self.next_start = next_start;
    }

    /// Starts what is due of one lane; says when to look again.
    fn start_lane(&mut self, index: usize, now: Time, budget: &mut u32, ops: &mut Vec<Op>) -> Time {
        let start = self.start;
        self.lanes[index].schedule.count_due(now, start, &mut self.recorder);
        loop {
            let lane = &mut self.lanes[index];
            let slots = lane.slot_use();
            match lane.schedule.next(now, start, slots) {
                Next::At(at) => {
                    if lane.held_up > Nanos::ZERO && slots.free > 0 && !lane.schedule.is_behind(now, start) {
                        lane.held_up = Nanos::ZERO;
                    }
                    return at;
                }
                Next::Never => {
                    let past = lane.schedule.planned_end(start);
                    lane.schedule.end(past, start, &mut self.recorder, now);
                    return Time::MAX;
                }
                Next::Now if *budget == 0 => return now,
                Next::Now => {
                    *budget -= 1;
                    if let Some(begin) = lane.schedule.take(now, start, slots, &mut self.recorder) {
                        self.start_attempt(index, begin, now, ops);
                    }
                }
            }
        }
    }

    fn start_attempt(&mut self, index: usize, begin: Start, now: Time, ops: &mut Vec<Op>) {
        let lane = &mut self.lanes[index];
        let (slot, slot_free) = match begin.client {
            None => self.slots.take_free(&mut lane.free).expect("a slot is free"),
            Some(client) => {
                let slot = lane.first_slot + client;
                (slot, self.slots.free_since(slot))
            }
        };
        let held_up = lane.held_up;
        let Choices { turn, client, target, source, template } = lane.next_choices(&self.clients);
        lane.in_flight += 1;
        let place = Place { stage: begin.stage, target: target.0, client };
        let rules = &lane.rules;
        let check = match rules.verify {
            Verify::All => Check::Full,
            Verify::Sample if self.sampling.next_u32().is_multiple_of(SAMPLE_ONE_IN) => Check::Full,
            Verify::Sample | Verify::None => {
                let known = self.s1_digests[s1_digest_index(place, self.clients.len())];
                known.map_or(Check::Locate, Check::Trust)
            }
        };
        let header = self.headers.as_ref().map(|headers| {
            self.next_header = (self.next_header + 1) % headers.per_target;
            headers.of(target, self.next_header)
        });
        let spec = &self.clients[usize::from(client)];
        let tls = self.tls[usize::from(target.0)];
        if let Some(session) = &lane.rules.session {
            let pair = turn * self.tls.len() + usize::from(target.0);
            let script = session.scripts[pair];
            let (trickle, clip) = self.session.scripts[script as usize].tracks();
            let client = session.first_client + (slot - lane.first_slot);
            let numbered = &mut self.numbered[session.course as usize];
            let number = match begin.client {
                Some(_) => client.into(),
                None => *numbered * u64::from(self.session.workers) + u64::from(self.session.worker),
            };
            *numbered += 1;
            let start = SessionStart {
                script,
                name: pair as u32,
                course: session.course,
                until: lane.rules.until,
                place,
                identity: Identity { number, client, source },
                track: if lane.clip_turns.take() == 0 { trickle } else { clip },
            };
            self.sessions.begin(slot, start);
        }
        let rules = &lane.rules;
        self.recorder.started(place, now);
        let id = self.attempts.insert(Attempt {
            place,
            intended: begin.intended,
            slot_free: slot_free - held_up,
            started: now,
            connection: Connection::connecting(spec, template, check, header, tls),
        });
        self.slots.get_mut(slot).state = SlotState::InFlight { attempt: id };
        self.busy += 1;
        self.deadlines.set(slot, now + rules.connect_timeout);
        let token = self.slots.arm(slot, OpKind::Open);
        ops.push(Op::Open { token, target, source, nagle: spec.nagle });
    }

    /// Closes held connections of lanes whose plan has use for fewer.
    fn close_surplus(&mut self, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let mut surplus = lane.schedule.surplus(now, self.start, lane.in_flight + lane.held).min(lane.held);
            while surplus > 0 {
                let lane = &mut self.lanes[index];
                let slot = lane.first_slot + lane.surplus_cursor;
                lane.surplus_cursor = (lane.surplus_cursor + 1) % lane.slots;
                if let SlotState::Held { .. } | SlotState::Session = self.slots.get(slot).state {
                    self.end_hold(slot, now, buffers, ops);
                    surplus -= 1;
                }
            }
        }
    }

    fn release_held(&mut self, now: Time, buffers: &mut Buffers, ops: &mut Vec<Op>) {
        if now >= self.hold_end {
            self.release(now);
        }
        let Release::Sweeping { mut cursor, since, mut released } = self.release else { return };
        let end = (cursor + RELEASES_PER_TURN).min(self.slots.len());
        while cursor < end {
            if let SlotState::Held { .. } | SlotState::Session = self.slots.get(cursor).state {
                if self.release_at(since, released) > now {
                    break;
                }
                released += 1;
                self.end_hold(cursor, now, buffers, ops);
            }
            cursor += 1;
        }
        let swept = cursor == self.slots.len();
        self.release = if swept { Release::Swept } else { Release::Sweeping { cursor, since, released } };
    }
}

impl Lane {
    fn new(spec: LaneSpec, free: FreeQueue, first_slot: u32, start: Time) -> Self {
        // The slots of a fleet are its clients', not anybody's whose turn it is.
        let free = if matches!(spec.load, Load::Storm { .. }) { FreeQueue::EMPTY } else { free };
        let begin = |(index, &client)| {
            let mut targets = WeightedTurns::new(spec.targets.iter().map(|(_, weight)| *weight));
            // Each kind begins with another target, so that the first attempts do not all meet the same one.
            for _ in 0..index % spec.targets.len() {
                targets.take();
            }
            ClientTurns { client, next_template: 0, left_in_cycle: targets.cycle(), targets, next_source: 0 }
        };
        let mix = spec.clients.iter().enumerate().map(begin).collect();
        let clip_weights = spec.session.as_ref().map_or([1, 0], |session| session.clip_weights);
        let clip_turns = WeightedTurns::new(clip_weights);
        Self {
            schedule: Schedule::new(spec.load, spec.slots, start),
            free,
            first_slot,
            slots: spec.slots,
            companion: spec.companion,
            in_flight: 0,
            held: 0,
            held_up: Nanos::ZERO,
            surplus_cursor: 0,
            rules: Rules {
                verify: spec.verify,
                targets: spec.targets.iter().map(|(target, _)| *target).collect(),
                sources: spec.sources,
                hold: spec.hold,
                close: spec.close,
                connect_timeout: spec.connect_timeout,
                timeout: spec.timeout,
                expect: spec.expect,
                until: spec.until,
                session: spec.session,
            },
            turns: spec.turns,
            mix,
            clip_turns,
        }
    }

    fn slot_use(&self) -> SlotUse {
        SlotUse { free: self.free.len(), busy: self.slots - self.free.len() }
    }

    /// What the next attempt uses: the client whose turn it is takes its target, source and template in turn.
    fn next_choices(&mut self, clients: &[Client]) -> Choices {
        let rules = &self.rules;
        let turn = self.turns.take();
        let turns = &mut self.mix[turn];
        let chosen = Choices {
            turn,
            client: turns.client,
            target: rules.targets[turns.targets.take()],
            source: rules.sources[turns.next_source],
            template: turns.next_template,
        };
        // A source goes to every target before the next source is used, so every pair of them occurs.
        turns.left_in_cycle -= 1;
        if turns.left_in_cycle == 0 {
            turns.left_in_cycle = turns.targets.cycle();
            turns.next_source = (turns.next_source + 1) % rules.sources.len();
        }
        let templates = &clients[usize::from(turns.client)].templates;
        turns.next_template = (turns.next_template + 1) % templates.len() as u16;
        chosen
    }
}

impl Headers {
    fn of(&self, target: TargetId, number: u32) -> SharedRange {
        self.ranges[(u32::from(target.0) * self.per_target + number) as usize]
    }
}

/// A span drawn from the exponential distribution with this mean.
fn exponential(random: &mut RandomStream, mean_ns: u64) -> Nanos {
    // From 1 down to just above 0: the logarithm of 0 is not needed.
    let uniform = (f64::from(random.next_u32()) + 1.0) / (f64::from(u32::MAX) + 1.0);
    Nanos::new((-uniform.ln() * mean_ns as f64) as u64)
}

/// Where `place` has its entry among what is known of S1s.
fn s1_digest_index(place: Place, clients: usize) -> usize {
    usize::from(place.target) * clients + usize::from(place.client)
}

impl Attempts {
    fn with_capacity(capacity: u32) -> Self {
        let capacity = capacity as usize;
        Self { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), in_flight: 0 }
    }

    /// Bytes of each that there is room for.
    const BYTES: usize = size_of::<Attempt>() + size_of::<u32>();

    fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Attempt>() + self.free.capacity() * size_of::<u32>()
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
