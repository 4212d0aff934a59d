//! What a connection does after the handshake: the commands up to its milestone, and then what keeps a server content
//! as long as it is held.
//!
//! A held session owns no buffer: it is told when there is something to read, and takes one only then. Nor does it own a
//! timer: its slot's deadline is the next thing it has to do.

use std::fmt::Write;

use crate::base::{Nanos, Time, redact_words};
use crate::io::{BufferId, Buffers, Destination, Errno, Op, OpKind, Payload, SourceId};
use crate::load::NameValues;
use crate::measure::{Failure, FailureKind, MediaCounts, Place, Recorder, SessionTimes, Step, Until};
use crate::protocol::media::{Amount, Playhead, Tag};
use crate::protocol::session::{ClientSession, Course, Event, MessageKind, MessageStore, Status};

use super::connection::Context;
use super::passed_over::PassedOver;
use super::plan::{MediaTrack, SessionPlan, SessionRules, WorkerPlan};

/// A message of audio or video is late when it leaves this long after its time.
const LATE: Nanos = Nanos::from_millis(100);
/// Bytes of audio and video in one send, unless a single message is longer: a publisher that fell behind catches up in
/// pieces.
const MOST_AT_ONCE: usize = 64 * 1024;

/// Sessions of a worker's connections, found by their slot.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The entry of each slot; empty if no attempt goes on after the handshake.
    by_slot: Box<[u32]>,
    entries: Vec<Session>,
    free: Vec<u32>,
    store: MessageStore,
    /// Room for the longest name of a stream.
    name: Box<[u8]>,
}

/// A connection's session, from the start of its attempt to its close.
#[derive(Debug)]
pub(super) struct Session {
    machine: ClientSession,
    /// Index of the plan's scripts.
    script: u32,
    /// Index of its lane's names.
    name: u32,
    until: Until,
    place: Place,
    identity: Identity,
    sending: Sending,
    /// When the send in flight was issued.
    sending_since: Time,
    times: Times,
    hold: Hold,
    is_held: bool,
    /// What the server announced last, among what the recorder keeps.
    announced: Option<Announced>,
    /// A receive is in flight that only tells when there is something to read.
    listening: bool,
    /// What came instead of an answer.
    passed_over: Option<Box<PassedOver>>,
    /// What ended the session after its milestone and before it was held. Whoever does not hold it does not mind.
    broken: Option<Failure>,
}

/// What a stream's name is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// The attempt's number, or the client's in a storm.
    pub number: u64,
    /// The connection's place among all of its lane.
    pub client: u32,
    pub source: SourceId,
}

/// The send in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Nothing,
    Commands(BufferId),
    /// A part of the track's intro; the amount is that of all of it, with its last part.
    Intro(BufferId, Amount),
    Media(Amount),
}

/// An announcement of the server.
#[derive(Clone, Copy, Debug)]
struct Announced {
    /// Its place; `None` if its words are not kept.
    at: Option<u16>,
    asks_to_reconnect: bool,
}

/// Milestones, as far as they are reached.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    asked: Option<Time>,
    reply: Option<Time>,
    accepted: Option<Time>,
    started: Option<Time>,
    first_frame: Option<Time>,
    backend: Option<u16>,
}

/// What a session does while it is held.
#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Time,
    until: Time,
    receive: Receive,
    media: Option<Cursor>,
}

/// The receive in flight of a held session.
#[derive(Clone, Copy, Debug)]
enum Receive {
    /// It is told when there is something to read.
    Waiting,
    Reading(BufferId),
}

/// Where a publisher is in its track.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Index of the plan's tracks.
    track: u16,
    /// Bytes of the intro that were sent.
    intro: u32,
    /// When the last of them left.
    begun: Time,
    playhead: Playhead,
    /// It could not send for so long that it is counted as stalled.
    stalled: bool,
}

/// Who begins a session, and what for.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionStart {
    /// Index of the plan's scripts.
    pub script: u32,
    /// Index of the lane's names.
    pub name: u32,
    pub course: Course,
    pub until: Until,
    pub place: Place,
    pub identity: Identity,
    /// The track that is published, as an index of the plan's.
    pub track: Option<u16>,
}

impl Sessions {
    /// None yet, on `slots` slots; 0 if no attempt goes on after the handshake. Streams have names of at most `name_size`
    /// bytes.
    pub(super) fn new(slots: u32, name_size: u32) -> Self {
        Self {
            by_slot: vec![u32::MAX; slots as usize].into(),
            entries: Vec::with_capacity(slots as usize),
            free: Vec::with_capacity(slots as usize),
            store: MessageStore::for_answers(),
            name: vec![0; name_size as usize].into(),
        }
    }

    /// Bytes of each slot that has a session.
    pub(super) const BYTES: usize = 2 * size_of::<u32>() + size_of::<Session>();

    /// Bytes when every slot has a session.
    pub(super) fn memory(&self) -> usize {
        self.by_slot.len() * Self::BYTES
    }

    /// The session of `slot`, if its attempt has one.
    pub(super) fn get(&self, slot: u32) -> Option<&Session> {
        let entry = *self.by_slot.get(slot as usize)?;
        self.entries.get(entry as usize)
    }

    /// An attempt begins that goes on after the handshake.
    pub(super) fn begin(&mut self, slot: u32, start: SessionStart) {
        let SessionStart { script, name, course, until, place, identity, track } = start;
        let media = track.map(|track| Cursor {
            track,
            intro: 0,
            begun: Time::ZERO,
            playhead: Playhead::default(),
            stalled: false,
        });
        let session = Session {
            machine: ClientSession::new(course),
            script,
            name,
            until,
            place,
            identity,
            sending: Sending::Nothing,
            sending_since: Time::ZERO,
            times: Times::default(),
            hold: Hold { since: Time::ZERO, until: Time::MAX, receive: Receive::Waiting, media },
            is_held: false,
            announced: None,
            listening: false,
            passed_over: None,
            broken: None,
        };
        self.by_slot[slot as usize] = match self.free.pop() {
            Some(entry) => {
                self.entries[entry as usize] = session;
                entry
            }
            None => {
                self.entries.push(session);
                self.entries.len() as u32 - 1
            }
        };
    }

    /// The connection is over and nothing is in flight on it: gives everything back. Sends whose ends nobody has asked
    /// about were cancelled.
    pub(super) fn end(&mut self, slot: u32, buffers: &mut Buffers, recorder: &mut Recorder) {
        self.send_is_over(slot, false, buffers, recorder);
        let Some(entry) = self.by_slot.get_mut(slot as usize) else { return };
        let index = std::mem::replace(entry, u32::MAX);
        let Some(session) = self.entries.get_mut(index as usize) else { return };
        session.machine.release(&mut self.store);
        session.passed_over = None;
        if let Receive::Reading(buffer) = session.hold.receive {
            buffers.receive.release(buffer);
        }
        self.free.push(index);
    }

    /// The send in flight has completed; `taken`: the kernel took all of it.
    pub(super) fn send_is_over(&mut self, slot: u32, taken: bool, buffers: &mut Buffers, recorder: &mut Recorder) {
        if self.get(slot).is_none() {
            return;
        }
        let (session, _) = self.parts(slot);
        let amount = match std::mem::replace(&mut session.sending, Sending::Nothing) {
            Sending::Nothing => return,
            Sending::Commands(buffer) => return buffers.send.release(buffer),
            Sending::Intro(buffer, amount) => {
                buffers.send.release(buffer);
                amount
            }
            Sending::Media(amount) => amount,
        };
        let counts = recorder.media(session.place);
        if taken {
            counts.sent(amount);
        } else {
            counts.unsent(amount);
        }
    }

    /// The run is cut with a send in flight.
    pub(super) fn cut_send(&mut self, slot: u32, recorder: &mut Recorder) {
        if let Some(Session { sending: Sending::Intro(_, amount) | Sending::Media(amount), place, .. }) = self.get(slot)
        {
            recorder.media(*place).unsent(*amount);
        }
    }

    /// A publisher sends nothing more: counts what was due and has not left. What became due a moment ago may have waited for
    /// the tick at which messages leave together.
    pub(super) fn end_media(&mut self, slot: u32, now: Time, plan: &SessionPlan, recorder: &mut Recorder) {
        let Some(Session { hold: Hold { media: Some(cursor), .. }, is_held: true, place, .. }) = self.get(slot) else {
            return;
        };
        let track = &plan.tracks[usize::from(cursor.track)].track;
        let unsent = if (cursor.intro as usize) < track.intro_len() {
            track.intro_amount()
        } else {
            let elapsed = now.as_nanos().saturating_sub((cursor.begun + LATE).as_nanos());
            let (due, gone) = (track.due_by(elapsed / 1_000_000), track.before(cursor.playhead));
            Amount {
                messages: due.messages.saturating_sub(gone.messages),
                payload: due.payload.saturating_sub(gone.payload),
            }
        };
        let counts = recorder.media(*place);
        counts.due(unsent);
        counts.unsent(unsent);
        self.parts(slot).0.hold.media = None;
    }

    /// The receive in flight only tells that there is something to read.
    pub(super) fn is_listening(&self, slot: u32) -> bool {
        self.get(slot).is_some_and(|session| session.listening)
    }

    /// The receive in flight has completed.
    pub(super) fn heard(&mut self, slot: u32) {
        if self.is_listening(slot) {
            self.parts(slot).0.listening = false;
        }
    }

    fn parts(&mut self, slot: u32) -> (&mut Session, &mut MessageStore) {
        let entry = self.by_slot[slot as usize];
        (&mut self.entries[entry as usize], &mut self.store)
    }

    fn all_parts(&mut self, slot: u32) -> (&mut Session, &mut MessageStore, &mut [u8]) {
        let entry = self.by_slot[slot as usize];
        (&mut self.entries[entry as usize], &mut self.store, &mut self.name)
    }

    /// A session, and the room for its stream's name.
    fn with_name(&mut self, slot: u32) -> (&mut Session, &mut [u8]) {
        let entry = self.by_slot[slot as usize];
        (&mut self.entries[entry as usize], &mut self.name)
    }
}

impl Session {
    /// Where it stands if it fails now.
    pub(super) fn step(&self) -> Step {
        match self.until {
            _ if self.is_held => Step::Hold,
            _ if self.times.accepted.is_none() => Step::Reply,
            Until::Play => Step::Play,
            _ => Step::Publish,
        }
    }

    /// Where it is counted.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The backend that accepted its `connect`.
    pub(super) fn backend(&self) -> Option<u16> {
        self.times.backend
    }

    /// Until when it is held.
    pub(super) fn held_until(&self) -> Time {
        self.hold.until
    }

    /// Since when it is held.
    pub(super) fn held_since(&self) -> Time {
        self.hold.since
    }

    /// The server has started its stream: it has to be told before the connection is closed.
    pub(super) fn has_stream(&self) -> bool {
        self.times.started.is_some()
    }

    /// When the milestone was reached, and with it all that is waited for.
    fn reached(&self) -> Option<Time> {
        let Times { reply, accepted, started, first_frame, .. } = self.times;
        match self.until {
            Until::Handshake => None,
            Until::Reply => reply,
            Until::Connect => accepted,
            Until::Publish => started,
            Until::Play => Some(started?.max(first_frame?)),
        }
    }

    /// Its instants and that of its milestone, if it is reached.
    fn milestone(&self) -> Option<(SessionTimes, Time)> {
        let Times { asked, reply, accepted, started, first_frame, backend } = self.times;
        let times = SessionTimes { asked: asked?, reply: reply?, accepted, started, first_frame, backend };
        Some((times, self.reached()?))
    }
}

impl Context<'_> {
    /// This connection goes on after the handshake.
    pub(super) fn has_session(&self) -> bool {
        self.sessions.get(self.slot).is_some()
    }

    /// Appends the client's first commands to its C2, if it writes both at once: the bytes of the send.
    pub(super) fn join_commands(&mut self, send: BufferId, c2_len: usize) -> usize {
        if !self.has_session() {
            return c2_len;
        }
        let (session, _) = self.sessions.parts(self.slot);
        let script = &self.plan.scripts[session.script as usize].script;
        if script.connect_apart() {
            return c2_len;
        }
        c2_len + session.machine.write(script, b"", &mut self.buffers.send.bytes_mut(send)[c2_len..])
    }

    /// C2 leaves, and the commands with it that were joined to it.
    pub(super) fn c2_leaves(&mut self) {
        if !self.has_session() {
            return;
        }
        let (session, _) = self.sessions.parts(self.slot);
        if !self.plan.scripts[session.script as usize].script.connect_apart() {
            session.times.asked = Some(self.now);
            self.acknowledge_at_once();
        }
    }

    /// Bytes came after those that completed S2. What came with S2 may have left the server before it knew of `connect`,
    /// as xiu's window size does: that is a reply only if it answers `connect`.
    pub(super) fn note_reply(&mut self) {
        let (session, _) = self.sessions.parts(self.slot);
        if session.times.asked.is_some() {
            session.times.reply.get_or_insert(self.now);
        }
    }

    /// Sends what the client has to say, unless a send is in flight.
    pub(super) fn send_commands(&mut self) {
        let (session, name) = self.sessions.with_name(self.slot);
        if session.sending != Sending::Nothing || !session.machine.has_output() {
            return;
        }
        let rules = self.rules.expect("a lane with sessions has rules for them");
        let name = stream_name(session, self.plan, rules, name);
        let buffer = self.buffers.send.take().expect("a send buffer for each slot");
        let script = &self.plan.scripts[session.script as usize].script;
        let len = session.machine.write(script, name, self.buffers.send.bytes_mut(buffer)) as u32;
        session.times.asked.get_or_insert(self.now);
        (session.sending, session.sending_since) = (Sending::Commands(buffer), self.now);
        let token = self.slots.arm(self.slot, OpKind::Send);
        self.ops.push(Op::Send { token, payload: Payload::Buffer { buffer, len } });
        self.acknowledge_at_once();
    }

    /// The session's send is over; `taken`: the kernel took all of it.
    pub(super) fn send_is_over(&mut self, taken: bool) {
        self.sessions.send_is_over(self.slot, taken, self.buffers, self.recorder);
    }

    /// The session's instants and that of its milestone, if it is reached and no send is in flight.
    pub(super) fn settled(&self) -> Option<(SessionTimes, Time)> {
        let session = self.sessions.get(self.slot)?;
        if session.sending == Sending::Nothing { session.milestone() } else { None }
    }

    /// The session cannot go on. If its milestone is reached that counts, whatever came behind it: `None`, and whoever
    /// holds it learns of the failure.
    pub(super) fn breaks(&mut self, failure: Failure) -> Option<Failure> {
        let (session, _) = self.sessions.parts(self.slot);
        if session.milestone().is_none() {
            return Some(self.explained(failure));
        }
        session.broken = Some(failure);
        None
    }

    /// The failure of a session, with what came instead of an answer: where that may have been the answer, nobody can tell
    /// whose fault it is that it was not understood.
    pub(super) fn explained(&mut self, failure: Failure) -> Failure {
        let (session, _) = self.sessions.parts(self.slot);
        let Some(passed_over) = session.passed_over.take() else { return failure };
        let failure = passed_over.judge(failure);
        let (session, name) = self.sessions.with_name(self.slot);
        let rules = self.rules.expect("a lane with sessions has rules for them");
        let said = without_secrets(passed_over.text(), session, self.plan, rules, name);
        self.recorder.explain(session.place, &failure, &said);
        failure
    }

    /// Where the session stands if it fails now.
    pub(super) fn session_step(&self) -> Step {
        self.sessions.get(self.slot).map_or(Step::Reply, Session::step)
    }

    /// Nothing more is waited for; a send may be in flight.
    pub(super) fn has_reached(&self) -> bool {
        self.milestone().is_some()
    }

    /// The session's instants and that of its milestone, if it is reached; a send may be in flight.
    pub(super) fn milestone(&self) -> Option<(SessionTimes, Time)> {
        self.sessions.get(self.slot)?.milestone()
    }

    /// Takes in bytes `from..to` of a receive buffer.
    ///
    /// # Errors
    /// If the server refuses what the client asks, or sends what cannot be read.
    pub(super) fn take_in(&mut self, buffer: BufferId, from: u32, to: u32) -> Result<(), Failure> {
        if from >= to {
            return Ok(());
        }
        let (now, plan) = (self.now, self.plan);
        let rules = self.rules.expect("a lane with sessions has rules for them");
        let (session, store, name) = self.sessions.all_parts(self.slot);
        let script = &plan.scripts[session.script as usize].script;
        let mut input = &self.buffers.receive.bytes(buffer)[from as usize..to as usize];
        loop {
            let event = match session.machine.receive(&mut input, store, script) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(violation) => {
                    let first = session.machine.unreadable(&violation, input);
                    let failure = Failure::new(session.step(), FailureKind::BadMessage);
                    session.passed_over.get_or_insert_default().broke_off(&violation, &first);
                    return self.breaks(failure).map_or(Ok(()), Err);
                }
            };
            match event {
                // Whether it has come along with the first byte is chance.
                Event::Connected(_) if session.until == Until::Reply => {}
                Event::Connected(backend) => {
                    session.times.reply.get_or_insert(now);
                    session.times.accepted = Some(now);
                    session.times.backend = Some(self.recorder.accepted(session.place, format_args!("{backend}")));
                    session.passed_over = None;
                }
                Event::StreamCreated => session.passed_over = None,
                Event::Started => {
                    session.times.started = Some(now);
                    session.passed_over = None;
                }
                Event::Media { kind, bytes, first_of_message } => {
                    let counts = self.recorder.media(session.place);
                    counts.received_bytes += u64::from(bytes);
                    counts.received_messages += u64::from(first_of_message);
                    // What a server says about a stream before it has one, such as RtmpSampleAccess, is no frame.
                    if matches!(kind, MessageKind::Audio | MessageKind::Video) {
                        session.times.first_frame.get_or_insert(now);
                    }
                }
                Event::Rejected { during, status } => {
                    let step = match during {
                        _ if session.is_held => Step::Hold,
                        Course::Reply | Course::Connect => Step::Reply,
                        Course::Publish => Step::Publish,
                        Course::Play => Step::Play,
                    };
                    let (failure, said) = (Failure::refused(step, &status), words(&status));
                    return Err(self.refused(failure, &said));
                }
                // A player whose stream has not begun waits on: it may be published yet. At the end of a run the publisher
                // may be of this load, and have said goodbye before its players.
                Event::Ended(status) if status.is_refusal() || session.milestone().is_some() && !self.releases => {
                    let said = words(&status);
                    if session.milestone().is_none() {
                        let failure = Failure::refused(session.step(), &status);
                        return Err(self.refused(failure, &said));
                    }
                    let failure = Failure::ended(&status, session.until == Until::Play);
                    if session.is_held {
                        return Err(self.refused(failure, &said));
                    }
                    session.broken = Some(failure);
                    session.passed_over = Some(Box::new(PassedOver::said(said)));
                    return Ok(());
                }
                Event::Ended(status) if session.milestone().is_none() => {
                    session.passed_over.get_or_insert_default().ended(&status);
                }
                Event::Announced(status) => {
                    let said = without_secrets(&words(&status), session, plan, rules, name);
                    let at = self.recorder.announced(session.place, &said, now);
                    session.announced = Some(Announced { at, asks_to_reconnect: status.asks_to_reconnect() });
                }
                Event::Unused(unused) => session.passed_over.get_or_insert_default().add(&unused),
                Event::Pinged | Event::Acknowledged(_) | Event::Ended(_) | Event::Other => {}
            }
        }
    }

    /// The connection broke, or the server closed it. If the server had announced something, these are its words about it:
    /// one that has asked its clients to connect again hangs up on those that stay.
    pub(super) fn hung_up(&mut self, failure: Failure) -> Failure {
        let by_peer = matches!(failure.kind, FailureKind::Closed | FailureKind::Reset);
        let Some(session) = self.sessions.get(self.slot).filter(|_| by_peer) else { return failure };
        let (Some(Announced { at, asks_to_reconnect }), place) = (session.announced, session.place) else {
            return failure;
        };
        let kind = if asks_to_reconnect { FailureKind::Redirected } else { failure.kind };
        let failure = Failure { kind, ..failure };
        if let Some(index) = at {
            let said = self.recorder.announcement(place, index).to_owned();
            self.recorder.explain(place, &failure, &said);
        }
        failure
    }

    /// The server said no, in these words.
    fn refused(&mut self, failure: Failure, said: &str) -> Failure {
        let (session, name) = self.sessions.with_name(self.slot);
        let rules = self.rules.expect("a lane with sessions has rules for them");
        let said = without_secrets(said, session, self.plan, rules, name);
        self.recorder.explain(session.place, &failure, &said);
        session.passed_over = None;
        failure
    }

    /// The attempt is complete, and its connection is kept until `until`: listens, and begins to send audio and video if
    /// it publishes. Says when it wants to be woken.
    ///
    /// # Errors
    /// The connection was lost right behind its milestone.
    pub(super) fn hold(&mut self, until: Time) -> Result<Time, Failure> {
        let now = self.now;
        let (session, _) = self.sessions.parts(self.slot);
        session.hold = Hold { since: now, until, receive: Receive::Waiting, media: session.hold.media };
        session.is_held = true;
        if session.hold.media.is_some() {
            self.recorder.media(session.place).publishers += 1;
        }
        if let Some(failure) = session.broken {
            return Err(self.explained(Failure { step: Step::Hold, ..failure }));
        }
        session.passed_over = None;
        self.listen();
        Ok(self.go_on())
    }

    /// A receive of a held session completed.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn held_received(&mut self, result: Result<u32, Errno>) -> Result<Time, Failure> {
        let bytes = result.map_err(|errno| self.hung_up(Failure::lost(errno)))?;
        self.sessions.heard(self.slot);
        let (session, _) = self.sessions.parts(self.slot);
        match session.hold.receive {
            Receive::Waiting => {
                let buffer = self.buffers.receive.take().expect("a receive buffer for each slot");
                session.hold.receive = Receive::Reading(buffer);
                self.read_into(buffer);
            }
            Receive::Reading(_) if bytes == 0 => {
                return Err(self.hung_up(Failure::new(Step::Hold, FailureKind::Closed)));
            }
            Receive::Reading(buffer) => {
                self.take_in(buffer, 0, bytes)?;
                if let Some(failure) = self.sessions.parts(self.slot).0.broken {
                    return Err(self.explained(Failure { step: Step::Hold, ..failure }));
                }
                if bytes as usize == WorkerPlan::RECEIVE_SIZE {
                    self.read_into(buffer);
                } else {
                    self.buffers.receive.release(buffer);
                    self.sessions.parts(self.slot).0.hold.receive = Receive::Waiting;
                    self.listen();
                }
            }
        }
        Ok(self.go_on())
    }

    /// A send of a held session completed.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn held_sent(&mut self, result: Result<u32, Errno>) -> Result<Time, Failure> {
        self.send_is_over(result.is_ok());
        result.map_err(|errno| self.hung_up(Failure::lost(errno)))?;
        Ok(self.go_on())
    }

    /// Sends what is due in a held session; says when it wants to be woken.
    pub(super) fn go_on(&mut self) -> Time {
        self.send_commands();
        self.send_media();
        let now = self.now;
        let (session, _) = self.sessions.parts(self.slot);
        let next_media = match &mut session.hold.media {
            // When the send is over it goes on by itself.
            Some(cursor) if session.sending != Sending::Nothing => {
                let stalls_at = session.sending_since + MediaCounts::STALLED;
                if stalls_at <= now && !cursor.stalled {
                    cursor.stalled = true;
                    self.recorder.media(session.place).stalled += 1;
                }
                if cursor.stalled { Time::MAX } else { stalls_at }
            }
            &mut Some(Cursor { track, begun, playhead, .. }) => {
                let MediaTrack { track, tick, .. } = &self.plan.tracks[usize::from(track)];
                let due = begun + Nanos::from_millis(track.next_at_ms(playhead));
                Time::from_nanos(due.as_nanos().next_multiple_of(tick.as_u64()))
            }
            None => Time::MAX,
        };
        session.hold.until.min(next_media)
    }

    /// The hold is over: tells the server that the stream ends, as this client does. `false` if there is nothing to tell.
    pub(super) fn say_goodbye(&mut self) -> bool {
        let (session, _) = self.sessions.parts(self.slot);
        let script = &self.plan.scripts[session.script as usize].script;
        session.machine.say_goodbye(script);
        self.send_commands();
        self.sessions.parts(self.slot).0.sending != Sending::Nothing
    }

    /// A send is over, and the goodbye may still be due behind it. `false` once all is said.
    pub(super) fn goes_on_saying_goodbye(&mut self) -> bool {
        self.send_is_over(true);
        self.send_commands();
        self.sessions.parts(self.slot).0.sending != Sending::Nothing
    }

    /// Sends the part of the track that is due, unless a send is in flight.
    fn send_media(&mut self) {
        let now = self.now;
        let (session, _) = self.sessions.parts(self.slot);
        let (Sending::Nothing, Some(cursor)) = (session.sending, &mut session.hold.media) else { return };
        let MediaTrack { track, offset, .. } = &self.plan.tracks[usize::from(cursor.track)];
        let counts = self.recorder.media(session.place);
        let (payload, sending) = if (cursor.intro as usize) < track.intro_len() {
            let buffer = self.buffers.send.take().expect("a send buffer for each slot");
            let out = &mut self.buffers.send.bytes_mut(buffer)[..self.plan.send_size as usize];
            let len = track.write_intro(session.machine.message_stream(), cursor.intro as usize, out) as u32;
            cursor.intro += len;
            cursor.begun = now;
            let is_whole = cursor.intro as usize == track.intro_len();
            let amount = if is_whole { track.intro_amount() } else { Amount::default() };
            counts.due(amount);
            (Payload::Buffer { buffer, len }, Sending::Intro(buffer, amount))
        } else {
            let elapsed_ms = now.since(cursor.begun).as_u64() / 1_000_000;
            let before = cursor.playhead;
            let due = track.take_due(&mut cursor.playhead, elapsed_ms, MOST_AT_ONCE);
            let (Some(first), Some(last)) = (due.first(), due.last()) else { return };
            // Those of one send are of one round, so they are as far apart as their places in the track.
            let first_due = cursor.begun + Nanos::from_millis(track.next_at_ms(before));
            let pauses = self.pauses;
            let is_late = |tag: &&Tag| {
                let due = first_due + Nanos::from_millis((tag.at_ms - first.at_ms).into());
                // What left late because the worker stood still waited for nobody.
                now > due + LATE + pauses.within(due, now)
            };
            counts.late_messages += due.iter().filter(is_late).count() as u64;
            let payload = due.iter().map(|tag| u64::from(tag.payload)).sum();
            let amount = Amount { messages: due.len() as u64, payload };
            counts.due(amount);
            (
                Payload::Media { offset: offset + first.offset, len: last.offset + last.len - first.offset },
                Sending::Media(amount),
            )
        };
        (session.sending, session.sending_since) = (sending, now);
        let token = self.slots.arm(self.slot, OpKind::Send);
        self.ops.push(Op::Send { token, payload });
    }

    /// The answer to what was just sent is acknowledged at once, if this client does so and waits for an answer.
    fn acknowledge_at_once(&mut self) {
        if self.client.acknowledges_at_once && !self.has_reached() {
            let of = self.slots.token(self.slot, OpKind::Send);
            self.ops.push(Op::AcknowledgeAtOnce { of });
        }
    }

    /// Asks to be told when there is something to read.
    fn listen(&mut self) {
        let token = self.slots.arm(self.slot, OpKind::Recv);
        self.ops.push(Op::Recv { token, into: Destination::Readable });
        self.sessions.parts(self.slot).0.listening = true;
    }

    fn read_into(&mut self, buffer: BufferId) {
        let token = self.slots.arm(self.slot, OpKind::Recv);
        let len = WorkerPlan::RECEIVE_SIZE as u32;
        self.ops.push(Op::Recv { token, into: Destination::Buffer { buffer, start: 0, len } });
    }
}

/// The name of the session's stream.
fn stream_name<'a>(session: &Session, plan: &SessionPlan, rules: &SessionRules, out: &'a mut [u8]) -> &'a [u8] {
    let Identity { number, client, source } = session.identity;
    let values = NameValues {
        id: number,
        slot: client,
        worker: plan.worker,
        source: plan.source_names.get(usize::from(source.0)).map_or("any", String::as_str),
        key: rules.keys.get(client as usize).unwrap_or(""),
    };
    let len = rules.names[session.name as usize].write(&values, out);
    &out[..len]
}

/// What the server said, and where it sends the client.
fn words(status: &Status<'_>) -> String {
    let mut said = status.code.to_string();
    if !status.description.is_empty() {
        let _ = write!(said, ": {}", status.description);
    }
    if let Some(place) = status.redirect {
        let _ = write!(said, " -> {place}");
    }
    said
}

/// What a server said, with the stream's name, which may be a key, taken out, and without queries, those of the application
/// and of any URL: so equal refusals are equal texts.
fn without_secrets(
    said: &str,
    session: &Session,
    plan: &SessionPlan,
    rules: &SessionRules,
    name_space: &mut [u8],
) -> String {
    let name = std::str::from_utf8(stream_name(session, plan, rules, name_space)).ok();
    let app_query = &*plan.scripts[session.script as usize].app_query;
    redact_words(said, name.into_iter().chain([app_query]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::amf0::Text;

    #[test]
    fn a_servers_words_have_code_description_and_redirect() {
        let status = |description, redirect| {
            let code = Text::new("NetStream.Publish.BadName");
            words(&Status { code, description: Text::new(description), redirect, ..Status::default() })
        };
        assert_eq!(status("", None), "NetStream.Publish.BadName");
        assert_eq!(status("Already publishing", None), "NetStream.Publish.BadName: Already publishing");
        let redirect = Some(Text::new("rtmp://edge/live"));
        assert_eq!(status("gone", redirect), "NetStream.Publish.BadName: gone -> rtmp://edge/live");
    }
}
