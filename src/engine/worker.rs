//! The worker: a batch of completions and the time in, ops out.
//!
//! One turn starts due arrivals (bounded), applies completions, expires deadlines and, at the end, releases what is
//! held. No lock is taken after [`Worker::new`], and nothing is allocated but what
//! [`Recorder`] names, and memory for messages that arrive in pieces, which is kept for the next ones.

use rand::Rng;

use crate::base::{Nanos, RandomStream, Time};
use crate::io::{Buffers, CloseHow, Completion, Destination, Errno, Op, OpKind, TargetId};
use crate::measure::{
    Ending, Failure, FailureDetail, FailureKind, IntervalReport, Place, Reaction, Recorder, Sample, Snapshot, Step,
};
use crate::protocol::session::Course;
use crate::protocol::{Check, ClientHandshake, S1Digest};

use super::attempts::{Attempt, Attempts};
use super::connection::Connection;
use super::deadlines::Deadlines;
use super::lane::{Choices, Lane, Rules};
use super::pauses::Pauses;
use super::plan::{Client, ClosePolicy, Headers, Hold, SessionPlan, SharedRange, Verify, WorkerPlan};
use super::progress::{Begin, Milestones, Progress};
use super::schedule::{Next, Schedule, Start};
use super::sessions::{Identity, Role, Session, Sessions};
use super::slots::{AttemptId, SlotState, Slots};
use super::turn::{Context, Turn};

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

/// Since when a connection is held, and where it is counted.
#[derive(Clone, Copy, Debug)]
struct Held {
    since: Time,
    place: Place,
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
        let turn = &mut Turn { now, buffers, ops };
        let mut starts = STARTS_PER_TURN;
        // First: attempts count from this instant, and the kernel carries ops out in their order, so a SYN would leave only
        // after all that completions send.
        self.start_due(&mut starts, turn);
        for completion in completions {
            self.complete(completion, turn);
        }
        while let Some(slot) = self.deadlines.pop_expired(now) {
            self.expire(slot, turn);
        }
        // What had to wait for a slot.
        self.start_due(&mut starts, turn);
        self.first_lane = (self.first_lane + 1) % self.lanes.len().max(1);
        self.close_surplus(turn);
        self.release_held(turn);
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

    fn complete(&mut self, completion: &Completion, turn: &mut Turn<'_>) {
        let Completion { token, result } = *completion;
        if !self.slots.disarm(token) {
            debug_assert!(false, "{token:?} completed and was not in flight");
            return;
        }
        let (slot, kind) = (token.slot().0, token.kind());
        match self.slots.get(slot).state {
            SlotState::InFlight { attempt } => self.attempt_goes_on(attempt, completion, turn),
            SlotState::Held { since, place } => self.held_goes_on(slot, Held { since, place }, result, turn),
            SlotState::Session => self.session_goes_on(slot, kind, result, turn),
            SlotState::Goodbye if kind == OpKind::Send => self.goodbye_goes_on(slot, result, turn),
            // Whatever the server still says, or does: the goodbye's send tells when it is over.
            SlotState::Goodbye => self.sessions.heard(slot),
            SlotState::AwaitingFin => self.fin_is_awaited(slot, result, turn),
            SlotState::Releasing { how, attempt } => {
                if kind == OpKind::Send {
                    self.sessions.send_is_over(slot, result.is_ok(), turn.buffers, &mut self.recorder);
                }
                self.close(slot, how, attempt, turn);
            }
            SlotState::Closing => self.closed(slot, turn.now),
            SlotState::Free { .. } => unreachable!("a free slot has nothing in flight"),
        }
    }

    /// Something completed on the connection of an attempt in flight.
    fn attempt_goes_on(&mut self, id: AttemptId, completion: &Completion, turn: &mut Turn<'_>) {
        let Completion { token, result } = *completion;
        let slot = token.slot().0;
        let place = self.attempts.get(id).place;
        if token.kind() == OpKind::Open {
            self.deadlines.set(slot, turn.now + self.rules(slot).timeout);
        }
        let (attempts, mut context) = self.context(slot, place.client, turn);
        let (connection, context) = (&mut attempts.get_mut(id).connection, &mut context);
        let progress = match token.kind() {
            OpKind::Open => connection.opened(result, context),
            OpKind::Secure => connection.secured(result, place, context),
            OpKind::Send => connection.sent(result, context),
            OpKind::Recv => connection.received(result, context),
            OpKind::Close | OpKind::Accept => unreachable!("no attempt is in flight on a closing slot"),
        };
        self.follow(slot, id, progress, turn);
    }

    /// What an attempt has come to.
    fn follow(&mut self, slot: u32, id: AttemptId, progress: Progress, turn: &mut Turn<'_>) {
        match progress {
            Progress::Pending => {}
            Progress::Wakes(at) => self.deadlines.set(slot, at),
            Progress::S0S1(digest) => {
                let place = self.attempts.get(id).place;
                self.s1_digests[s1_digest_index(place, self.clients.len())] = Some(digest);
            }
            Progress::Complete(milestones) => self.completed(slot, id, milestones, turn),
            Progress::Reacted(reaction) => self.reacted(slot, id, reaction, turn),
            Progress::Failed(failure) => self.failed(slot, id, failure, turn),
        }
    }

    /// Something came on a held connection that does not talk, or it ended.
    fn held_goes_on(&mut self, slot: u32, held: Held, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        let failure = match result {
            Ok(1..) => return self.watch(slot, turn),
            // Held to its end, as far as anybody can tell.
            _ if self.was_due_in_a_pause(slot) => return self.end_hold(slot, turn),
            Ok(0) => Failure { step: Step::Hold, kind: FailureKind::Closed, detail: FailureDetail::None },
            Err(errno) => Failure::lost(errno),
        };
        self.lost(slot, held, failure, turn);
    }

    fn session_goes_on(&mut self, slot: u32, kind: OpKind, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        let mut context = self.session_context(slot, turn);
        let goes_on = match kind {
            OpKind::Send => context.held_sent(result),
            _ => context.held_received(result),
        };
        match goes_on {
            Ok(wake_at) => self.deadlines.set(slot, wake_at),
            Err(failure) if failure.is_hang_up() && self.pauses.cover(self.sessions.get(slot).hold().until) => {
                self.end_hold(slot, turn);
            }
            // It had something to say and was silent: no wonder that the server hung up.
            Err(failure) if failure.is_hang_up() && self.was_due_in_a_pause(slot) => {
                self.lost_session(slot, Failure { kind: FailureKind::GeneratorPaused, ..failure }, turn);
            }
            Err(failure) => self.lost_session(slot, failure, turn),
        }
    }

    fn goodbye_goes_on(&mut self, slot: u32, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        let mut context = self.session_context(slot, turn);
        context.send_is_over(result.is_ok());
        if result.is_err() || !context.goes_on_saying_goodbye() {
            self.goodbye_is_out(slot, turn);
        }
    }

    fn fin_is_awaited(&mut self, slot: u32, result: Result<u32, Errno>, turn: &mut Turn<'_>) {
        match result {
            Ok(0) => self.close(slot, CloseHow::Fin, None, turn),
            // The answer to the goodbye is read: nothing is left that would turn the FIN into an RST.
            Ok(_) if self.closes_by_fin(slot) && !self.sessions.is_listening(slot) => {
                self.close(slot, CloseHow::Fin, None, turn);
            }
            Ok(_) => {
                self.sessions.heard(slot);
                self.watch(slot, turn);
            }
            Err(_) => self.close(slot, CloseHow::Rst, None, turn),
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

    fn expire(&mut self, slot: u32, turn: &mut Turn<'_>) {
        match self.slots.get(slot).state {
            SlotState::InFlight { attempt } => self.attempt_expires(slot, attempt, turn),
            SlotState::Held { .. } => self.end_hold(slot, turn),
            SlotState::Session if self.sessions.get(slot).hold().until <= turn.now => self.end_hold(slot, turn),
            SlotState::Session => {
                let wake_at = self.session_context(slot, turn).go_on();
                self.deadlines.set(slot, wake_at);
            }
            SlotState::AwaitingFin if self.closes_by_fin(slot) => self.close(slot, CloseHow::Fin, None, turn),
            SlotState::AwaitingFin | SlotState::Goodbye => self.close(slot, CloseHow::Rst, None, turn),
            state => unreachable!("no deadline is set in {state:?}"),
        }
    }

    fn attempt_expires(&mut self, slot: u32, id: AttemptId, turn: &mut Turn<'_>) {
        let overdue = self.overdue(slot, id, turn.now);
        if let Overdue::NotYet(at) = overdue {
            return self.deadlines.set(slot, at);
        }
        let client = self.attempts.get(id).place.client;
        let (attempts, mut context) = self.context(slot, client, turn);
        let progress = match (attempts.get_mut(id).connection.woken(&mut context), overdue) {
            (Progress::Failed(failure), Overdue::SinceAPause) => {
                Progress::Failed(Failure { kind: FailureKind::GeneratorPaused, ..failure })
            }
            // Also a milestone that was reached when the server did not take what was sent since.
            (progress, _) => progress,
        };
        self.follow(slot, id, progress, turn);
    }

    /// What an attempt's deadline, which has come, says of the target. An attempt has its time while the worker runs: pauses are
    /// added to it, and what has arrived in them is used first.
    fn overdue(&self, slot: u32, id: AttemptId, now: Time) -> Overdue {
        let attempt = self.attempts.get(id);
        let rules = self.rules(slot);
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

    fn completed(&mut self, slot: u32, id: AttemptId, milestones: Milestones, turn: &mut Turn<'_>) {
        let now = turn.now;
        let attempt = *self.attempts.get(id);
        let Milestones { handshake, session, complete, .. } = milestones;
        self.recorder.completed(&Sample {
            place: attempt.place,
            intended: attempt.intended,
            slot_free: attempt.slot_free,
            started: attempt.started,
            connected: milestones.connected,
            secured: milestones.secured,
            sent: milestones.sent,
            s0s1: handshake.s0s1,
            s2: handshake.s2,
            session,
            completed: complete,
            paused: self.pauses.within(attempt.started, complete),
            negotiated: handshake.negotiated,
        });
        self.deadlines.clear(slot);
        self.attempts.in_flight -= 1;
        self.attempts.free(id, turn.buffers);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.in_flight -= 1;
        if let Schedule::Storm(fleet) = &mut lane.schedule
            && let Some((stage, after)) = fleet.completed(slot - lane.first_slot, now)
        {
            self.recorder.back(stage, after);
        }
        let until = match lane.rules.hold {
            _ if self.release != Release::No => None,
            Hold::ForNs(0) => None,
            Hold::ForNs(nanos) => Some(now + Nanos::new(nanos)),
            Hold::Exponential { mean_ns } => Some(now + exponential(&mut self.holding, mean_ns)),
            Hold::Forever => Some(Time::MAX),
        };
        match until {
            Some(until) => self.hold(slot, Held { since: now, place: attempt.place }, until, turn),
            // Who resets its connection at once does not say goodbye.
            None if lane.rules.close == ClosePolicy::Rst => self.leave(slot, turn),
            None => self.part(slot, turn),
        }
    }

    /// Keeps a completed connection until `until`.
    fn hold(&mut self, slot: u32, held: Held, until: Time, turn: &mut Turn<'_>) {
        self.lanes[usize::from(self.slots.get(slot).lane)].held += 1;
        self.recorder.kept(held.place, turn.now);
        if self.sessions.find(slot).is_some() {
            self.slots.get_mut(slot).state = SlotState::Session;
            return match self.session_context(slot, turn).hold(until) {
                Ok(wake_at) => self.deadlines.set(slot, wake_at),
                Err(failure) => self.lost_session(slot, failure, turn),
            };
        }
        if until < Time::MAX {
            self.deadlines.set(slot, until);
        }
        let Held { since, place } = held;
        self.slots.get_mut(slot).state = SlotState::Held { since, place };
        self.watch(slot, turn);
    }

    /// The attempts, and the parts of the worker that a connection uses beside them.
    fn context<'a>(&'a mut self, slot: u32, client: u16, turn: &'a mut Turn<'_>) -> (&'a mut Attempts, Context<'a>) {
        let releases = self.release != Release::No || turn.now >= self.hold_end;
        let rules = &self.lanes[usize::from(self.slots.get(slot).lane)].rules;
        let context = Context {
            turn: turn.reborrow(),
            releases,
            slot,
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

    /// The same for a slot that has a session.
    fn session_context<'a>(&'a mut self, slot: u32, turn: &'a mut Turn<'_>) -> Context<'a> {
        let client = self.sessions.get(slot).role.place.client;
        self.context(slot, client, turn).1
    }

    /// The rules of the slot's lane.
    fn rules(&self, slot: u32) -> &Rules {
        &self.lanes[usize::from(self.slots.get(slot).lane)].rules
    }

    /// A held session is lost.
    fn lost_session(&mut self, slot: u32, failure: Failure, turn: &mut Turn<'_>) {
        let session = self.sessions.get(slot);
        self.lost(slot, Held { since: session.hold().since, place: session.role.place }, failure, turn);
    }

    /// A held connection is lost: its slot is closed, and a client of a fleet comes back.
    fn lost(&mut self, slot: u32, held: Held, failure: Failure, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.recorder.lost_while_held(held.place, now.since(held.since), now, failure);
        let lane = self.no_longer_held(slot, now);
        if let Schedule::Storm(fleet) = &mut lane.schedule {
            fleet.lost(slot - lane.first_slot, now);
        }
        let how = match lane.rules.close {
            ClosePolicy::Fin | ClosePolicy::Peer if failure.leaves_open() => CloseHow::Fin,
            _ => CloseHow::Rst,
        };
        self.close(slot, how, None, turn);
    }

    /// An attempt of a hostile client is over: what the target did.
    fn reacted(&mut self, slot: u32, id: AttemptId, reaction: Reaction, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Attempt { place, intended, started, .. } = *self.attempts.get(id);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.in_flight -= 1;
        let paused = self.pauses.within(now - reaction.after, now);
        let as_expected = lane.rules.expect.is_none_or(|expected| expected.may_be_met_by(&reaction, paused));
        let how = match (reaction.ending, lane.rules.close) {
            // Hanging up is what this client is about, and programs that hang up send a FIN.
            (Ending::Left, _) | (_, ClosePolicy::Fin | ClosePolicy::Peer) => CloseHow::Fin,
            (_, ClosePolicy::Rst) => CloseHow::Rst,
        };
        self.recorder.reacted(place, &reaction, as_expected);
        if as_expected {
            self.recorder.observed(place, intended, now);
        } else {
            self.recorder.failed(place, intended, started, now, Failure::unexpected(&reaction));
        }
        self.attempts.in_flight -= 1;
        self.close(slot, how, Some(id), turn);
    }

    fn failed(&mut self, slot: u32, id: AttemptId, failure: Failure, turn: &mut Turn<'_>) {
        let Attempt { place, intended, started, .. } = *self.attempts.get(id);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.in_flight -= 1;
        if let Schedule::Storm(fleet) = &mut lane.schedule {
            fleet.failed(slot - lane.first_slot, turn.now);
        }
        if let Some(backend) = self.sessions.find(slot).and_then(|session| session.times.backend) {
            self.recorder.failed_at(place, backend);
        }
        self.recorder.failed(place, intended, started, turn.now, failure);
        self.attempts.in_flight -= 1;
        self.close(slot, CloseHow::Rst, Some(id), turn);
    }

    /// A completed connection is not needed any more: closes it as planned.
    fn leave(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let rules = self.rules(slot);
        match rules.close {
            ClosePolicy::Rst => self.close(slot, CloseHow::Rst, None, turn),
            ClosePolicy::Fin => self.close(slot, CloseHow::Fin, None, turn),
            ClosePolicy::Peer => {
                let limit = turn.now + rules.timeout;
                self.await_fin(slot, limit, turn);
            }
        }
    }

    fn await_fin(&mut self, slot: u32, limit: Time, turn: &mut Turn<'_>) {
        self.deadlines.set(slot, limit);
        self.slots.get_mut(slot).state = SlotState::AwaitingFin;
        if self.slots.is_idle(slot) {
            self.watch(slot, turn);
        }
    }

    fn end_hold(&mut self, slot: u32, turn: &mut Turn<'_>) {
        self.no_longer_held(slot, turn.now);
        self.deadlines.clear(slot);
        self.part(slot, turn);
    }

    /// Tells the server that the stream ends, if there is one, and closes the connection then.
    fn part(&mut self, slot: u32, turn: &mut Turn<'_>) {
        if self.sessions.find(slot).is_some_and(Session::has_stream) && self.session_context(slot, turn).say_goodbye() {
            self.slots.get_mut(slot).state = SlotState::Goodbye;
            self.deadlines.set(slot, turn.now + self.rules(slot).timeout);
        } else {
            self.leave(slot, turn);
        }
    }

    /// The server has been told that the stream ends. Before an orderly close its answer, if it gives one, is read: a socket
    /// that is closed with unread bytes sends an RST instead of a FIN (RFC 2525, section 2.17), and the server may lose
    /// the goodbye by it.
    fn goodbye_is_out(&mut self, slot: u32, turn: &mut Turn<'_>) {
        if self.closes_by_fin(slot) {
            self.await_fin(slot, turn.now + ANSWER_TO_GOODBYE, turn);
        } else {
            self.leave(slot, turn);
        }
    }

    fn closes_by_fin(&self, slot: u32) -> bool {
        self.rules(slot).close == ClosePolicy::Fin
    }

    /// Counts one held connection less; returns its lane.
    fn no_longer_held(&mut self, slot: u32, now: Time) -> &mut Lane {
        let place = match self.slots.get(slot).state {
            SlotState::Held { place, .. } => place,
            _ => self.sessions.get(slot).role.place,
        };
        self.recorder.released(place, now);
        self.sessions.end_media(slot, now, &self.session, &mut self.recorder);
        let lane = &mut self.lanes[usize::from(self.slots.get(slot).lane)];
        lane.held -= 1;
        lane
    }

    /// Arms a receive that only notices what the server does with a connection.
    fn watch(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let token = self.slots.arm(slot, OpKind::Recv);
        turn.ops.push(Op::Recv { token, into: Destination::Discard });
    }

    /// Closes the connection once nothing is in flight on it; the slot is free when the close has completed.
    fn close(&mut self, slot: u32, how: CloseHow, attempt: Option<AttemptId>, turn: &mut Turn<'_>) {
        debug_assert!(turn.now >= self.start);
        self.deadlines.clear(slot);
        if !self.slots.is_idle(slot) {
            if !matches!(self.slots.get(slot).state, SlotState::Releasing { .. }) {
                turn.ops.extend(self.slots.in_flight(slot).map(|of| Op::Cancel { of }));
            }
            self.slots.get_mut(slot).state = SlotState::Releasing { how, attempt };
            return;
        }
        if let Some(id) = attempt {
            self.attempts.free(id, turn.buffers);
        }
        self.sessions.end(slot, turn.buffers, &mut self.recorder);
        self.slots.get_mut(slot).state = SlotState::Closing;
        let token = self.slots.arm(slot, OpKind::Close);
        turn.ops.push(Op::Close { token, how });
    }

    /// Starts at most `budget` of what is due.
    fn start_due(&mut self, budget: &mut u32, turn: &mut Turn<'_>) {
        let mut next_start = Time::MAX;
        let lanes = self.lanes.len();
        for lane in (self.first_lane..lanes).chain(0..self.first_lane) {
            if !self.lanes[lane].schedule.is_over() {
                next_start = next_start.min(self.start_lane(lane, budget, turn));
            }
        }
        if self.lanes.iter().all(|lane| lane.is_canary || lane.schedule.is_over()) {
            let start = self.start;
            let offset = turn.now.since(start) + Nanos::new(1);
            for lane in &mut self.lanes {
                lane.schedule.end(offset, start, &mut self.recorder, turn.now);
            }
        }
        self.next_start = next_start;
    }

    /// Starts what is due of one lane; says when to look again.
    fn start_lane(&mut self, index: usize, budget: &mut u32, turn: &mut Turn<'_>) -> Time {
        let (start, now) = (self.start, turn.now);
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
                        self.start_attempt(index, begin, turn);
                    }
                }
            }
        }
    }

    fn start_attempt(&mut self, index: usize, start: Start, turn: &mut Turn<'_>) {
        let now = turn.now;
        let lane = &mut self.lanes[index];
        let (slot, slot_free) = match start.client {
            None => self.slots.take_free(&mut lane.free).expect("a slot is free"),
            Some(client) => {
                let slot = lane.first_slot + client;
                (slot, self.slots.free_since(slot))
            }
        };
        let choices = lane.next_choices(&self.clients);
        let Choices { client, target, source, template, .. } = choices;
        let (slot_free, connect_timeout) = (slot_free - lane.held_up, lane.rules.connect_timeout);
        lane.in_flight += 1;
        let place = Place { stage: start.stage, target: target.0, client };
        let header = self.headers.as_ref().map(|headers| {
            self.next_header = (self.next_header + 1) % headers.per_target;
            headers.of(target, self.next_header)
        });
        let begin = Begin {
            handshake: ClientHandshake::new(template, self.check(index, place)),
            template,
            hostile: self.clients[usize::from(client)].hostile,
            tls: self.tls[usize::from(target.0)],
        };
        if self.lanes[index].rules.session.is_some() {
            self.begin_session(index, slot, start.client, &choices, place);
        }
        self.recorder.started(place, now);
        let connection = Connection::connecting(begin, header);
        let attempt = Attempt { place, intended: start.intended, slot_free, started: now, connection };
        self.slots.get_mut(slot).state = SlotState::InFlight { attempt: self.attempts.insert(attempt) };
        self.busy += 1;
        self.deadlines.set(slot, now + connect_timeout);
        let token = self.slots.arm(slot, OpKind::Open);
        turn.ops.push(Op::Open { token, target, source, nagle: self.clients[usize::from(client)].nagle });
    }

    /// How the handshake of a lane's next attempt is checked.
    fn check(&mut self, index: usize, place: Place) -> Check {
        match self.lanes[index].rules.verify {
            Verify::All => Check::Full,
            Verify::Sample if self.sampling.next_u32().is_multiple_of(SAMPLE_ONE_IN) => Check::Full,
            Verify::Sample | Verify::None => {
                let known = self.s1_digests[s1_digest_index(place, self.clients.len())];
                known.map_or(Check::Locate, Check::Trust)
            }
        }
    }

    /// An attempt of a lane with sessions begins; `of_fleet` is its client's number in a storm.
    fn begin_session(&mut self, index: usize, slot: u32, of_fleet: Option<u32>, choices: &Choices, place: Place) {
        let lane = &mut self.lanes[index];
        let rules = lane.rules.session.as_ref().expect("the lane has sessions");
        let pair = choices.turn * self.tls.len() + usize::from(choices.target.0);
        let script = rules.scripts[pair];
        let numbered = &mut self.numbered[rules.course as usize];
        let client = rules.first_client + (slot - lane.first_slot);
        let number = match of_fleet {
            Some(_) => client.into(),
            None => *numbered * u64::from(self.session.workers) + u64::from(self.session.worker),
        };
        *numbered += 1;
        let identity = Identity { number, client, source: choices.source };
        let role = Role { script, name: pair as u32, until: lane.rules.until, place, identity };
        let (trickle, clip) = self.session.scripts[script as usize].tracks();
        let track = if lane.clip_turns.take() == 0 { trickle } else { clip };
        self.sessions.begin(slot, rules.course, role, track);
    }

    /// Closes held connections of lanes whose plan has use for fewer.
    fn close_surplus(&mut self, turn: &mut Turn<'_>) {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let mut surplus = lane.schedule.surplus(turn.now, self.start, lane.in_flight + lane.held).min(lane.held);
            while surplus > 0 {
                let lane = &mut self.lanes[index];
                let slot = lane.first_slot + lane.surplus_cursor;
                lane.surplus_cursor = (lane.surplus_cursor + 1) % lane.slots;
                if self.slots.get(slot).is_held() {
                    self.end_hold(slot, turn);
                    surplus -= 1;
                }
            }
        }
    }

    fn release_held(&mut self, turn: &mut Turn<'_>) {
        if turn.now >= self.hold_end {
            self.release(turn.now);
        }
        let Release::Sweeping { mut cursor, since, mut released } = self.release else { return };
        let end = (cursor + RELEASES_PER_TURN).min(self.slots.len());
        while cursor < end {
            if self.slots.get(cursor).is_held() {
                if self.release_at(since, released) > turn.now {
                    break;
                }
                released += 1;
                self.end_hold(cursor, turn);
            }
            cursor += 1;
        }
        let swept = cursor == self.slots.len();
        self.release = if swept { Release::Swept } else { Release::Sweeping { cursor, since, released } };
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
