//! A target's side of what follows the handshake.

use super::peer::{PeerCounts, SessionAnswers, SessionModel, UnaskedAct};
use crate::base::{Nanos, Time};
use crate::protocol::amf0::Writer;
use crate::protocol::session::{
    Chunks, Control, MessageKind, MessageStore, Request, ServerEvent, ServerSession, Start, message_size, write_message,
};

/// One client's session with a target.
pub(super) struct Session {
    machine: ServerSession,
    store: MessageStore,
    /// What has arrived and was not looked at.
    input: Vec<u8>,
    /// Nothing is said before: a hook takes its time.
    speaks_from: Time,
    /// Nothing more is said.
    is_mute: bool,
    /// What happens once all that is due is said.
    then: Option<Then>,
    /// What it does unasked, and when.
    unasked: Vec<(Time, UnaskedAct)>,
    publishes: bool,
    plays_since: Time,
    ping_at: Time,
    /// When the target looks at it again.
    pub(super) wakes_at: Time,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Close,
    ResetAfter(Nanos),
}

/// What a session has to say now.
pub(super) struct Said {
    pub bytes: Vec<u8>,
    pub then: Option<Then>,
    /// When it has something to say again.
    pub next: Time,
}

impl Session {
    pub(super) fn new(model: &SessionModel) -> Self {
        Self {
            machine: ServerSession::new(&model.policy),
            store: MessageStore::for_requests(),
            input: Vec::new(),
            speaks_from: Time::ZERO,
            is_mute: false,
            then: None,
            unasked: Vec::new(),
            publishes: false,
            plays_since: Time::ZERO,
            ping_at: Time::MAX,
            wakes_at: Time::MAX,
        }
    }

    pub(super) fn arrived(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Looks at what has arrived.
    ///
    /// # Errors
    /// The client broke the protocol.
    pub(super) fn read(&mut self, now: Time, model: &SessionModel, counts: &mut PeerCounts) -> Result<(), ()> {
        let input = std::mem::take(&mut self.input);
        let mut input = &input[..];
        loop {
            let event = match self.machine.receive(&mut input, &mut self.store, &model.policy) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(_) => {
                    counts.bad_messages += 1;
                    return Err(());
                }
            };
            let mut asked = None;
            match event {
                ServerEvent::Connect { .. } => {
                    counts.connected += 1;
                    asked = Some(Request::Connect);
                    if model.ping_every > Nanos::ZERO {
                        self.ping_at = now + model.ping_every;
                    }
                }
                ServerEvent::Publish { .. } => {
                    counts.published += 1;
                    asked = Some(Request::Publish);
                    self.publishes = true;
                }
                ServerEvent::Play { .. } => {
                    counts.played += 1;
                    asked = Some(Request::Play);
                    self.plays_since = now + model.hook;
                }
                ServerEvent::Refused { request, .. } => {
                    counts.rejected += 1;
                    asked = Some(request);
                }
                ServerEvent::Media { bytes, first, .. } if self.publishes => {
                    counts.media_bytes += u64::from(bytes);
                    counts.media_messages += u64::from(first);
                }
                ServerEvent::Closed => {
                    counts.goodbyes += 1;
                    self.publishes = false;
                }
                ServerEvent::Pong { .. } => counts.pongs += 1,
                ServerEvent::Acknowledged(_) => counts.acknowledgements += 1,
                ServerEvent::StreamCreated | ServerEvent::Media { .. } | ServerEvent::Other => {}
            }
            if let Some(request) = asked {
                self.asked(request, now, model);
            }
        }
    }

    fn asked(&mut self, request: Request, now: Time, model: &SessionModel) {
        if request != Request::Connect {
            self.speaks_from = now + model.hook;
        }
        let unasked = model.unasked.iter().filter(|unasked| unasked.to == request);
        self.unasked.extend(unasked.map(|unasked| (now + unasked.after, unasked.act)));
        match model.answers {
            SessionAnswers::AllButTo(mute) => self.is_mute |= mute == request,
            SessionAnswers::ThenCloses(last) if last == request => self.then = Some(Then::Close),
            SessionAnswers::ThenResets { last, after } if last == request => self.then = Some(Then::ResetAfter(after)),
            SessionAnswers::All | SessionAnswers::ThenCloses(_) | SessionAnswers::ThenResets { .. } => {}
        }
    }

    /// What is due at `now`.
    pub(super) fn speak(&mut self, now: Time, model: &SessionModel) -> Said {
        let mut said = Said { bytes: Vec::new(), then: None, next: Time::MAX };
        if self.is_mute {
            return said;
        }
        if self.speaks_from > now {
            return Said { next: self.speaks_from, ..said };
        }
        if self.ping_at <= now {
            self.machine.ping((now.as_nanos() / 1_000_000) as u32);
            self.ping_at = now + model.ping_every;
        }
        let elapsed_ms = now.since(self.plays_since).as_u64() / 1_000_000;
        loop {
            let mut out = [0; ServerSession::MAX_OUTPUT];
            let written = self.machine.write(&model.policy, &mut out);
            let written = written + self.machine.write_media(&model.policy, elapsed_ms, &mut out[written..]);
            if written == 0 {
                break;
            }
            said.bytes.extend_from_slice(&out[..written]);
        }
        for (_, act) in self.unasked.extract_if(.., |(at, _)| *at <= now) {
            match act {
                UnaskedAct::Close => self.then = Some(Then::Close),
                act => said.bytes.extend(unasked(act)),
            }
        }
        said.then = if self.machine.is_over() { Some(Then::Close) } else { self.then.take() };
        let media_ms = self.machine.next_media_ms(&model.policy);
        let media_at = media_ms.map_or(Time::MAX, |due_ms| self.plays_since + Nanos::from_millis(due_ms));
        let unasked_at = self.unasked.iter().map(|(at, _)| *at).min().unwrap_or(Time::MAX);
        said.next = media_at.min(self.ping_at).min(unasked_at);
        said
    }
}

/// What a server says unasked, on chunk stream 3 and message stream 1.
fn unasked(act: UnaskedAct) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut writer = Writer::new(&mut payload);
    match act {
        UnaskedAct::Status { level, code, description, tc_url } => {
            writer.string("onStatus").number(0.0).null().object();
            writer.key("level").string(level).key("code").string(code).key("description").string(description);
            if !tc_url.is_empty() {
                writer.key("tcUrl").string(tc_url);
            }
            writer.end();
        }
        UnaskedAct::SayClose => {
            writer.string("close").number(0.0).null();
        }
        UnaskedAct::StreamEof => {
            let mut out = vec![0; Control::MAX_SIZE];
            let len = Control::StreamEof(1).write(&mut out);
            out.truncate(len);
            return out;
        }
        // A header that repeats one that never was.
        UnaskedAct::Noise => return vec![0xff; 16],
        UnaskedAct::Close => return Vec::new(),
    }
    let start = Start::Full { timestamp: 0, message_stream: 1 };
    let chunks = Chunks { stream: 3, size: ServerSession::CHUNK_SIZE };
    let mut out = vec![0; message_size(chunks, start, payload.len())];
    write_message(&mut out, chunks, start, MessageKind::CommandAmf0, &payload);
    out
}
