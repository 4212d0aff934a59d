//! The table of a worker's sessions, and what each of them remembers.

use crate::base::{Nanos, Time};
use crate::io::{BufferId, Buffers, SourceId};
use crate::measure::{Failure, Place, Recorder, SessionTimes, Step, Until};
use crate::protocol::media::{Amount, Playhead};
use crate::protocol::session::{ClientSession, Course, MessageStore};

use super::passed_over::PassedOver;
use super::plan::SessionPlan;

/// A message of audio or video is late when it leaves this long after its time.
pub(super) const LATE: Nanos = Nanos::from_millis(100);

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
    pub machine: ClientSession,
    pub role: Role,
    /// The send in flight.
    pub sending: Option<Sending>,
    pub times: Times,
    pub phase: Phase,
    /// What the server announced last, among what the recorder keeps.
    pub announced: Option<Announced>,
    /// What came instead of an answer.
    pub passed_over: Option<Box<PassedOver>>,
}

/// What a session is for, as its attempt was planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    /// Index of the plan's scripts.
    pub script: u32,
    /// Index of its lane's names.
    pub name: u32,
    pub until: Until,
    pub place: Place,
    pub identity: Identity,
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

/// A send in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    pub since: Time,
    pub what: Sent,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sent {
    Commands(BufferId),
    /// A part of the track's intro; the amount is that of all of it, with its last part.
    Intro(BufferId, Amount),
    Media(Amount),
}

/// An announcement of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// Its place; `None` if its words are not kept.
    pub at: Option<u16>,
    pub asks_to_reconnect: bool,
}

/// Milestones, as far as they are reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub asked: Option<Time>,
    pub reply: Option<Time>,
    pub accepted: Option<Time>,
    pub started: Option<Time>,
    pub first_frame: Option<Time>,
    pub backend: Option<u16>,
}

/// Whether a session is held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// It is on the way to its milestone, or there and not held.
    Underway {
        /// What it will publish while it is held, as an index of the plan's tracks.
        track: Option<u16>,
        /// What ended it after its milestone: whoever does not hold it does not mind.
        broken: Option<Failure>,
    },
    Held(Hold),
}

/// What a session does while it is held, and until it is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub since: Time,
    pub until: Time,
    pub receive: Receive,
    pub media: Option<Cursor>,
}

/// The receive of a held session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receive {
    /// None is in flight, or one that only watches the connection.
    Nothing,
    /// It is told when there is something to read.
    Listening,
    Reading(BufferId),
}

/// Where a publisher is in its track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Index of the plan's tracks.
    pub track: u16,
    pub at: Position,
    /// It could not send for so long that it is counted as stalled.
    pub stalled: bool,
}

/// A place in a track.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position {
    /// So many bytes of the intro were sent.
    Intro(u32),
    /// The last of them left at `begun`.
    Tags { begun: Time, playhead: Playhead },
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
    pub(super) fn find(&self, slot: u32) -> Option<&Session> {
        let entry = *self.by_slot.get(slot as usize)?;
        self.entries.get(entry as usize)
    }

    /// The same, to change.
    fn find_mut(&mut self, slot: u32) -> Option<&mut Session> {
        let entry = *self.by_slot.get(slot as usize)?;
        self.entries.get_mut(entry as usize)
    }

    /// The session of `slot`, whose attempt has one.
    pub(super) fn get(&self, slot: u32) -> &Session {
        &self.entries[self.by_slot[slot as usize] as usize]
    }

    /// The same, to change.
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Session {
        self.parts(slot).0
    }

    /// The session of `slot`, the messages that have arrived in part, and the room for its stream's name.
    pub(super) fn parts(&mut self, slot: u32) -> (&mut Session, &mut MessageStore, &mut [u8]) {
        let entry = self.by_slot[slot as usize];
        (&mut self.entries[entry as usize], &mut self.store, &mut self.name)
    }

    /// An attempt begins that goes on after the handshake; a publisher's with its track.
    pub(super) fn begin(&mut self, slot: u32, course: Course, role: Role, track: Option<u16>) {
        let session = Session {
            machine: ClientSession::new(course),
            role,
            sending: None,
            times: Times::default(),
            phase: Phase::Underway { track, broken: None },
            announced: None,
            passed_over: None,
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
        if let Phase::Held(Hold { receive: Receive::Reading(buffer), .. }) = session.phase {
            buffers.receive.release(buffer);
        }
        self.free.push(index);
    }

    /// The send in flight has completed; `taken`: the kernel took all of it.
    pub(super) fn send_is_over(&mut self, slot: u32, taken: bool, buffers: &mut Buffers, recorder: &mut Recorder) {
        let Some(session) = self.find_mut(slot) else { return };
        let Some(Sending { what, .. }) = session.sending.take() else { return };
        let amount = match what {
            Sent::Commands(buffer) => return buffers.send.release(buffer),
            Sent::Intro(buffer, amount) => {
                buffers.send.release(buffer);
                amount
            }
            Sent::Media(amount) => amount,
        };
        let counts = recorder.media(session.role.place);
        if taken {
            counts.sent(amount);
        } else {
            counts.unsent(amount);
        }
    }

    /// The run is cut with a send in flight.
    pub(super) fn cut_send(&mut self, slot: u32, recorder: &mut Recorder) {
        if let Some(Session { sending: Some(Sending { what, .. }), role, .. }) = self.find(slot)
            && let Sent::Intro(_, amount) | Sent::Media(amount) = what
        {
            recorder.media(role.place).unsent(*amount);
        }
    }

    /// A publisher sends nothing more: counts what was due and has not left. What became due a moment ago may have waited for
    /// the tick at which messages leave together.
    pub(super) fn end_media(&mut self, slot: u32, now: Time, plan: &SessionPlan, recorder: &mut Recorder) {
        let Some(Session { phase: Phase::Held(hold), role, .. }) = self.find_mut(slot) else { return };
        let Some(cursor) = hold.media.take() else { return };
        let track = &plan.tracks[usize::from(cursor.track)].track;
        let unsent = match cursor.at {
            Position::Intro(_) => track.intro_amount(),
            Position::Tags { begun, playhead } => {
                let elapsed = now.as_nanos().saturating_sub((begun + LATE).as_nanos());
                let (due, gone) = (track.due_by(elapsed / 1_000_000), track.before(playhead));
                Amount {
                    messages: due.messages.saturating_sub(gone.messages),
                    payload: due.payload.saturating_sub(gone.payload),
                }
            }
        };
        let counts = recorder.media(role.place);
        counts.due(unsent);
        counts.unsent(unsent);
    }

    /// The receive in flight only tells that there is something to read.
    pub(super) fn is_listening(&self, slot: u32) -> bool {
        self.find(slot)
            .is_some_and(|session| matches!(session.phase, Phase::Held(Hold { receive: Receive::Listening, .. })))
    }

    /// The receive in flight has completed, and nobody wants to know more.
    pub(super) fn heard(&mut self, slot: u32) {
        if let Some(Session { phase: Phase::Held(Hold { receive: receive @ Receive::Listening, .. }), .. }) =
            self.find_mut(slot)
        {
            *receive = Receive::Nothing;
        }
    }
}

impl Session {
    /// Where it stands if it fails now.
    pub(super) fn step(&self) -> Step {
        match (self.phase, self.role.until) {
            (Phase::Held(_), _) => Step::Hold,
            _ if self.times.accepted.is_none() => Step::Reply,
            (_, Until::Play) => Step::Play,
            _ => Step::Publish,
        }
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held(_))
    }

    /// What it does while it is held, which it is.
    pub(super) fn hold(&self) -> &Hold {
        match &self.phase {
            Phase::Held(hold) => hold,
            Phase::Underway { .. } => unreachable!("the session is held"),
        }
    }

    /// The same, to change.
    pub(super) fn hold_mut(&mut self) -> &mut Hold {
        match &mut self.phase {
            Phase::Held(hold) => hold,
            Phase::Underway { .. } => unreachable!("the session is held"),
        }
    }

    /// What ended it after its milestone and before it was held.
    pub(super) fn broken(&self) -> Option<Failure> {
        match self.phase {
            Phase::Underway { broken, .. } => broken,
            Phase::Held(_) => None,
        }
    }

    /// The server has started its stream: it has to be told before the connection is closed.
    pub(super) fn has_stream(&self) -> bool {
        self.times.started.is_some()
    }

    /// Its instants and that of its milestone, if it is reached and with it all that is waited for.
    pub(super) fn milestone(&self) -> Option<(SessionTimes, Time)> {
        let Times { asked, reply, accepted, started, first_frame, backend } = self.times;
        let reached = match self.role.until {
            Until::Handshake => None,
            Until::Reply => reply,
            Until::Connect => accepted,
            Until::Publish => started,
            Until::Play => Some(started?.max(first_frame?)),
        };
        let times = SessionTimes { asked: asked?, reply: reply?, accepted, started, first_frame, backend };
        Some((times, reached?))
    }
}
