//! What a connection does after the handshake: the commands up to its milestone, and then what keeps a server content
//! as long as it is held.
//!
//! A held session owns no buffer: it is told when there is something to read, and takes one only then. Nor does it own a
//! timer: its slot's deadline is the next thing it has to do.

use std::fmt::Write;

use crate::base::{Nanos, Time, redact_words};
use crate::io::{BufferId, Destination, Errno, Op, OpKind, Payload};
use crate::load::NameValues;
use crate::measure::{Failure, FailureKind, MediaCounts, Recorder, SessionTimes, Step, Until};
use crate::protocol::media::{Amount, Tag};
use crate::protocol::session::{
    Backend, Course, Event, FirstBytes, MessageKind, SessionScript, SessionViolation, Status,
};

use super::passed_over::PassedOver;
use super::plan::{MediaTrack, SessionPlan, SessionRules, WorkerPlan};
use super::sessions::{Announced, Cursor, Hold, Identity, LATE, Phase, Position, Receive, Sending, Sent, Session};
use super::turn::Context;

/// Bytes of audio and video in one send, unless a single message is longer: a publisher that fell behind catches up in
/// pieces.
const MOST_AT_ONCE: usize = 64 * 1024;

impl Context<'_> {
    /// This connection goes on after the handshake.
    pub(super) fn has_session(&self) -> bool {
        self.sessions.find(self.slot).is_some()
    }

    /// Appends the client's first commands to its C2, if it writes both at once: the bytes of the send.
    pub(super) fn join_commands(&mut self, send: BufferId, c2_len: usize) -> usize {
        if !self.has_session() || self.script().connect_apart() {
            return c2_len;
        }
        let script = self.script();
        let room = &mut self.turn.buffers.send.bytes_mut(send)[c2_len..];
        c2_len + self.sessions.get_mut(self.slot).machine.write(script, b"", room)
    }

    /// C2 leaves, and the commands with it that were joined to it.
    pub(super) fn c2_leaves(&mut self) {
        if self.has_session() && !self.script().connect_apart() {
            self.sessions.get_mut(self.slot).times.asked = Some(self.turn.now);
            self.acknowledge_at_once();
        }
    }

    /// Bytes came after those that completed S2. What came with S2 may have left the server before it knew of `connect`,
    /// as xiu's window size does: that is a reply only if it answers `connect`.
    pub(super) fn note_reply(&mut self) {
        let times = &mut self.sessions.get_mut(self.slot).times;
        if times.asked.is_some() {
            times.reply.get_or_insert(self.turn.now);
        }
    }

    /// Sends what the client has to say, unless a send is in flight.
    pub(super) fn send_commands(&mut self) {
        let (script, rules, now) = (self.script(), self.session_rules(), self.turn.now);
        let (session, _, name) = self.sessions.parts(self.slot);
        if session.sending.is_some() || !session.machine.has_output() {
            return;
        }
        let name = stream_name(session, self.plan, rules, name);
        let buffer = self.turn.buffers.send.take().expect("a send buffer for each slot");
        let len = session.machine.write(script, name, self.turn.buffers.send.bytes_mut(buffer)) as u32;
        session.times.asked.get_or_insert(now);
        session.sending = Some(Sending { since: now, what: Sent::Commands(buffer) });
        self.send(Payload::Buffer { buffer, len });
        self.acknowledge_at_once();
    }

    /// The session's send is over; `taken`: the kernel took all of it.
    pub(super) fn send_is_over(&mut self, taken: bool) {
        self.sessions.send_is_over(self.slot, taken, self.turn.buffers, self.recorder);
    }

    /// The session's instants and that of its milestone, if it is reached; a send may be in flight.
    pub(super) fn milestone(&self) -> Option<(SessionTimes, Time)> {
        self.sessions.get(self.slot).milestone()
    }

    /// The same if no send is in flight.
    pub(super) fn settled(&self) -> Option<(SessionTimes, Time)> {
        let session = self.sessions.get(self.slot);
        if session.sending.is_none() { session.milestone() } else { None }
    }

    /// Nothing more is waited for; a send may be in flight.
    pub(super) fn has_reached(&self) -> bool {
        self.milestone().is_some()
    }

    /// Where the session stands if it fails now.
    pub(super) fn session_step(&self) -> Step {
        self.sessions.get(self.slot).step()
    }

    /// The session cannot go on. If its milestone is reached that counts, whatever came behind it: `None`, and whoever
    /// holds it learns of the failure.
    pub(super) fn breaks(&mut self, failure: Failure) -> Option<Failure> {
        self.listener().breaks(failure).err()
    }

    /// The failure of a session, with what came instead of an answer.
    pub(super) fn explained(&mut self, failure: Failure) -> Failure {
        self.listener().explained(failure)
    }

    /// Takes in bytes `from..to` of a receive buffer.
    ///
    /// # Errors
    /// If the server refuses what the client asks, or sends what cannot be read.
    pub(super) fn take_in(&mut self, buffer: BufferId, from: u32, to: u32) -> Result<(), Failure> {
        if from >= to {
            return Ok(());
        }
        let (plan, script, rules) = (self.plan, self.script(), self.session_rules());
        let mut input = &self.turn.buffers.receive.bytes(buffer)[from as usize..to as usize];
        let (session, store, name) = self.sessions.parts(self.slot);
        let (now, releases, recorder) = (self.turn.now, self.releases, &mut *self.recorder);
        let mut listener = Listener { session, plan, rules, name, recorder, now, releases };
        while listener.session.broken().is_none() {
            match listener.session.machine.receive(&mut input, store, script) {
                Ok(Some(event)) => listener.heed(&event)?,
                Ok(None) => return Ok(()),
                Err(violation) => {
                    let first = listener.session.machine.unreadable(&violation, input);
                    listener.cannot_read(&violation, &first)?;
                }
            }
        }
        Ok(())
    }

    /// The connection broke, or the server closed it. If the server had announced something, these are its words about it:
    /// one that has asked its clients to connect again hangs up on those that stay.
    pub(super) fn hung_up(&mut self, failure: Failure) -> Failure {
        let Session { announced, role, .. } = self.sessions.get(self.slot);
        let &Some(Announced { at, asks_to_reconnect }) = announced else { return failure };
        if !matches!(failure.kind, FailureKind::Closed | FailureKind::Reset) {
            return failure;
        }
        let kind = if asks_to_reconnect { FailureKind::Redirected } else { failure.kind };
        let failure = Failure { kind, ..failure };
        if let Some(index) = at {
            let said = self.recorder.announcement(role.place, index).to_owned();
            self.recorder.explain(role.place, &failure, &said);
        }
        failure
    }

    /// The attempt is complete, and its connection is kept until `until`: listens, and begins to send audio and video if
    /// it publishes. Says when it wants to be woken.
    ///
    /// # Errors
    /// The connection was lost right behind its milestone.
    pub(super) fn hold(&mut self, until: Time) -> Result<Time, Failure> {
        let now = self.turn.now;
        let session = self.sessions.get_mut(self.slot);
        let Phase::Underway { track, broken } = session.phase else { unreachable!("a session is held once") };
        let media = track.map(|track| Cursor { track, at: Position::Intro(0), stalled: false });
        session.phase = Phase::Held(Hold { since: now, until, receive: Receive::Nothing, media });
        if media.is_some() {
            self.recorder.media(session.role.place).publishers += 1;
        }
        if let Some(failure) = broken {
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
        match self.sessions.get(self.slot).hold().receive {
            Receive::Nothing => unreachable!("a held session listens or reads"),
            Receive::Listening => {
                let buffer = self.turn.buffers.receive.take().expect("a receive buffer for each slot");
                self.hold_mut().receive = Receive::Reading(buffer);
                self.read_into(buffer);
            }
            Receive::Reading(_) if bytes == 0 => {
                return Err(self.hung_up(Failure::new(Step::Hold, FailureKind::Closed)));
            }
            Receive::Reading(buffer) => {
                self.take_in(buffer, 0, bytes)?;
                if bytes as usize == WorkerPlan::RECEIVE_SIZE {
                    self.read_into(buffer);
                } else {
                    self.turn.buffers.receive.release(buffer);
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
        let session = self.sessions.get_mut(self.slot);
        let (sending, place) = (session.sending, session.role.place);
        let hold = session.hold_mut();
        let next_media = match (&mut hold.media, sending) {
            (None, _) => Time::MAX,
            // When the send is over it goes on by itself.
            (Some(cursor), Some(Sending { since, .. })) => {
                let stalls_at = since + MediaCounts::STALLED;
                if stalls_at <= self.turn.now && !cursor.stalled {
                    cursor.stalled = true;
                    self.recorder.media(place).stalled += 1;
                }
                if cursor.stalled { Time::MAX } else { stalls_at }
            }
            (Some(Cursor { at: Position::Intro(_), .. }), None) => unreachable!("an intro is sent at once"),
            (&mut Some(Cursor { at: Position::Tags { begun, playhead }, track, .. }), None) => {
                let MediaTrack { track, tick, .. } = &self.plan.tracks[usize::from(track)];
                let due = begun + Nanos::from_millis(track.next_at_ms(playhead));
                Time::from_nanos(due.as_nanos().next_multiple_of(tick.as_u64()))
            }
        };
        hold.until.min(next_media)
    }

    /// The connection is to be closed: tells the server that the stream ends, as this client does. `false` if there is
    /// nothing to tell.
    pub(super) fn say_goodbye(&mut self) -> bool {
        let script = self.script();
        self.sessions.get_mut(self.slot).machine.say_goodbye(script);
        self.goes_on_saying_goodbye()
    }

    /// Sends what of the goodbye is still to be said. `false` once nothing is on its way.
    pub(super) fn goes_on_saying_goodbye(&mut self) -> bool {
        self.send_commands();
        self.sessions.get(self.slot).sending.is_some()
    }

    /// Sends the part of the track that is due, unless a send is in flight.
    fn send_media(&mut self) {
        let Session { sending: None, phase: Phase::Held(Hold { media: Some(cursor), .. }), .. } =
            self.sessions.get(self.slot)
        else {
            return;
        };
        match *cursor {
            Cursor { at: Position::Intro(sent), track, .. } => self.send_intro(track, sent),
            Cursor { at: Position::Tags { .. }, .. } => self.send_tags(),
        }
    }

    /// Sends the intro from byte `sent` on, as far as it fits a send.
    fn send_intro(&mut self, track: u16, sent: u32) {
        let MediaTrack { track, .. } = &self.plan.tracks[usize::from(track)];
        let session = self.sessions.get_mut(self.slot);
        let buffer = self.turn.buffers.send.take().expect("a send buffer for each slot");
        let out = &mut self.turn.buffers.send.bytes_mut(buffer)[..self.plan.send_size as usize];
        let len = track.write_intro(session.machine.message_stream(), sent as usize, out) as u32;
        let is_whole = (sent + len) as usize == track.intro_len();
        let amount = if is_whole { track.intro_amount() } else { Amount::default() };
        self.recorder.media(session.role.place).due(amount);
        session.sending = Some(Sending { since: self.turn.now, what: Sent::Intro(buffer, amount) });
        if let Some(cursor) = &mut session.hold_mut().media {
            cursor.at = if is_whole {
                Position::Tags { begun: self.turn.now, playhead: Default::default() }
            } else {
                Position::Intro(sent + len)
            };
        }
        self.send(Payload::Buffer { buffer, len });
    }

    /// Sends the tags that are due.
    fn send_tags(&mut self) {
        let (now, pauses) = (self.turn.now, self.pauses);
        let session = self.sessions.get_mut(self.slot);
        let place = session.role.place;
        let Some(Cursor { track, at: Position::Tags { begun, playhead }, .. }) = &mut session.hold_mut().media else {
            return;
        };
        let MediaTrack { track, offset, .. } = &self.plan.tracks[usize::from(*track)];
        let first_due = *begun + Nanos::from_millis(track.next_at_ms(*playhead));
        let elapsed_ms = now.since(*begun).as_u64() / 1_000_000;
        let due = track.take_due(playhead, elapsed_ms, MOST_AT_ONCE);
        let (Some(first), Some(last)) = (due.first(), due.last()) else { return };
        // Those of one send are of one round, so they are as far apart as their places in the track.
        let is_late = |tag: &&Tag| {
            let due = first_due + Nanos::from_millis((tag.at_ms - first.at_ms).into());
            // What left late because the worker stood still waited for nobody.
            now > due + LATE + pauses.within(due, now)
        };
        let counts = self.recorder.media(place);
        counts.late_messages += due.iter().filter(is_late).count() as u64;
        let payload = due.iter().map(|tag| u64::from(tag.payload)).sum();
        let amount = Amount { messages: due.len() as u64, payload };
        counts.due(amount);
        session.sending = Some(Sending { since: now, what: Sent::Media(amount) });
        self.send(Payload::Media { offset: offset + first.offset, len: last.offset + last.len - first.offset });
    }

    /// The answer to what was just sent is acknowledged at once, if this client does so and waits for an answer.
    fn acknowledge_at_once(&mut self) {
        if self.client.acknowledges_at_once && !self.has_reached() {
            let of = self.slots.token(self.slot, OpKind::Send);
            self.turn.ops.push(Op::AcknowledgeAtOnce { of });
        }
    }

    /// Asks to be told when there is something to read.
    fn listen(&mut self) {
        self.hold_mut().receive = Receive::Listening;
        self.receive(Destination::Readable);
    }

    fn read_into(&mut self, buffer: BufferId) {
        self.receive(Destination::Buffer { buffer, start: 0, len: WorkerPlan::RECEIVE_SIZE as u32 });
    }

    fn hold_mut(&mut self) -> &mut Hold {
        self.sessions.get_mut(self.slot).hold_mut()
    }

    fn listener(&mut self) -> Listener<'_> {
        let (plan, rules, now, releases) = (self.plan, self.session_rules(), self.turn.now, self.releases);
        let (session, _, name) = self.sessions.parts(self.slot);
        Listener { session, plan, rules, name, recorder: self.recorder, now, releases }
    }
}

impl<'a> Context<'a> {
    /// What the client of this session says.
    fn script(&self) -> &'a SessionScript {
        &self.plan.scripts[self.sessions.get(self.slot).role.script as usize].script
    }

    fn session_rules(&self) -> &'a SessionRules {
        self.rules.expect("a lane with sessions has rules for them")
    }
}

/// A session to which its server speaks, and what it takes to record that.
struct Listener<'a> {
    session: &'a mut Session,
    plan: &'a SessionPlan,
    rules: &'a SessionRules,
    /// Room for the stream's name.
    name: &'a mut [u8],
    recorder: &'a mut Recorder,
    now: Time,
    /// The run is over for what is held.
    releases: bool,
}

impl Listener<'_> {
    /// # Errors
    /// If the server refuses what the client asks, or has ended a held stream.
    fn heed(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Connected(backend) => self.connected(backend),
            Event::StreamCreated => self.session.passed_over = None,
            Event::Started => {
                self.session.times.started = Some(self.now);
                self.session.passed_over = None;
            }
            Event::Media { kind, bytes, first_of_message } => {
                let counts = self.recorder.media(self.session.role.place);
                counts.received_bytes += u64::from(*bytes);
                counts.received_messages += u64::from(*first_of_message);
                // What a server says about a stream before it has one, such as RtmpSampleAccess, is no frame.
                if matches!(kind, MessageKind::Audio | MessageKind::Video) {
                    self.session.times.first_frame.get_or_insert(self.now);
                }
            }
            Event::Rejected { during, status } => {
                let step = match during {
                    _ if self.session.is_held() => Step::Hold,
                    Course::Reply | Course::Connect => Step::Reply,
                    Course::Publish => Step::Publish,
                    Course::Play => Step::Play,
                };
                return Err(self.refused(Failure::refused(step, status), &words(status)));
            }
            Event::Ended(status) => return self.stream_ended(status),
            Event::Announced(status) => {
                let said = self.without_secrets(&words(status));
                let at = self.recorder.announced(self.session.role.place, &said, self.now);
                self.session.announced = Some(Announced { at, asks_to_reconnect: status.asks_to_reconnect() });
            }
            Event::Unused(unused) => self.session.passed_over.get_or_insert_default().add(unused),
            Event::Pinged | Event::Acknowledged(_) | Event::Other => {}
        }
        Ok(())
    }

    fn connected(&mut self, backend: &Backend<'_>) {
        // Whether it has come along with the first byte is chance.
        if self.session.role.until == Until::Reply {
            return;
        }
        let backend = self.recorder.accepted(self.session.role.place, format_args!("{backend}"));
        let times = &mut self.session.times;
        times.reply.get_or_insert(self.now);
        times.accepted = Some(self.now);
        times.backend = Some(backend);
        self.session.passed_over = None;
    }

    /// A player whose stream has not begun waits on: it may be published yet. At the end of a run the publisher may be of this
    /// load, and have said goodbye before its players.
    fn stream_ended(&mut self, status: &Status<'_>) -> Result<(), Failure> {
        let has_reached = self.session.milestone().is_some();
        if !has_reached && status.is_refusal() {
            let failure = Failure::refused(self.session.step(), status);
            return Err(self.refused(failure, &words(status)));
        }
        if !has_reached {
            self.session.passed_over.get_or_insert_default().ended(status);
            return Ok(());
        }
        if self.releases && !status.is_refusal() {
            return Ok(());
        }
        let failure = Failure::ended(status, self.session.role.until == Until::Play);
        match &mut self.session.phase {
            Phase::Held(_) => Err(self.refused(failure, &words(status))),
            Phase::Underway { broken, .. } => {
                *broken = Some(failure);
                self.session.passed_over = Some(Box::new(PassedOver::said(words(status))));
                Ok(())
            }
        }
    }

    /// The rest of what the server sends cannot be read.
    fn cannot_read(&mut self, violation: &SessionViolation, first: &FirstBytes) -> Result<(), Failure> {
        let failure = Failure::new(self.session.step(), FailureKind::BadMessage);
        self.session.passed_over.get_or_insert_default().broke_off(violation, first);
        self.breaks(failure)
    }

    /// The session cannot go on. That its milestone is reached counts, unless it is held.
    fn breaks(&mut self, failure: Failure) -> Result<(), Failure> {
        let has_reached = self.session.milestone().is_some();
        match &mut self.session.phase {
            Phase::Underway { broken, .. } if has_reached => {
                *broken = Some(failure);
                Ok(())
            }
            _ => Err(self.explained(failure)),
        }
    }

    /// The failure with what came instead of an answer: where that may have been the answer, nobody can tell whose fault it is
    /// that it was not understood.
    fn explained(&mut self, failure: Failure) -> Failure {
        let Some(passed_over) = self.session.passed_over.take() else { return failure };
        let failure = passed_over.judge(failure);
        let said = self.without_secrets(passed_over.text());
        self.recorder.explain(self.session.role.place, &failure, &said);
        failure
    }

    /// The server said no, in these words.
    fn refused(&mut self, failure: Failure, said: &str) -> Failure {
        let said = self.without_secrets(said);
        self.recorder.explain(self.session.role.place, &failure, &said);
        self.session.passed_over = None;
        failure
    }

    /// What a server said, with the stream's name, which may be a key, taken out, and without queries, those of the application
    /// and of any URL: so equal refusals are equal texts.
    fn without_secrets(&mut self, said: &str) -> String {
        let name = std::str::from_utf8(stream_name(self.session, self.plan, self.rules, self.name)).ok();
        let app_query = &*self.plan.scripts[self.session.role.script as usize].app_query;
        redact_words(said, name.into_iter().chain([app_query]))
    }
}

/// The name of the session's stream.
fn stream_name<'a>(session: &Session, plan: &SessionPlan, rules: &SessionRules, out: &'a mut [u8]) -> &'a [u8] {
    let Identity { number, client, source } = session.role.identity;
    let values = NameValues {
        id: number,
        slot: client,
        worker: plan.worker,
        source: plan.source_names.get(usize::from(source.0)).map_or("any", String::as_str),
        key: rules.keys.get(client as usize).unwrap_or(""),
    };
    let len = rules.names[session.role.name as usize].write(&values, out);
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
