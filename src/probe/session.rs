//! What a probe says after the handshake, and what comes of it.

use super::stop::{Refused, Stop};
use crate::base::SecretText;
use crate::measure::{Step, Until};
use crate::protocol::ClientProfile;
use crate::protocol::session::{ClientSession, Course, Event, MessageKind, MessageStore, ScriptOptions, SessionScript};

/// How far a probe goes after the handshake, and as whom.
#[derive(Clone, Debug)]
pub struct ProbeSession {
    /// What completes it: anything but the handshake.
    pub until: Until,
    /// The application, with its query.
    pub app: SecretText,
    /// The URL of the application.
    pub tc_url: SecretText,
    /// The stream that is published or played.
    pub stream: SecretText,
}

/// A session in progress.
pub(super) struct Dialogue {
    machine: ClientSession,
    script: SessionScript,
    until: Until,
    name: String,
    store: MessageStore,
    has_asked: bool,
    replied: bool,
    accepted: bool,
    started: bool,
    has_media: bool,
}

impl Dialogue {
    /// As `profile` conducts it.
    ///
    /// # Panics
    /// If the profile cannot do what is asked, which the caller has checked.
    pub(super) fn new(profile: ClientProfile, asked: &ProbeSession) -> Self {
        let course = match asked.until {
            Until::Handshake | Until::Reply => Course::Reply,
            Until::Connect => Course::Connect,
            Until::Publish => Course::Publish,
            Until::Play => Course::Play,
        };
        let text = |secret: &SecretText| secret.reveal().cloned().unwrap_or_default();
        let spec = profile.session().expect("only clients that have sessions are asked for one");
        let (app, tc_url) = (text(&asked.app), text(&asked.tc_url));
        Self {
            machine: ClientSession::new(course),
            script: SessionScript::new(&spec, &app, &tc_url, course, ScriptOptions::default()),
            until: asked.until,
            name: text(&asked.stream),
            store: MessageStore::for_answers(),
            has_asked: false,
            replied: false,
            accepted: false,
            started: false,
            has_media: false,
        }
    }

    /// What is to be sent now; empty if nothing is.
    pub(super) fn due(&mut self) -> Vec<u8> {
        if !self.machine.has_output() {
            return Vec::new();
        }
        let mut bytes = vec![0; ClientSession::max_output(&self.script, self.name.len())];
        let size = self.machine.write(&self.script, self.name.as_bytes(), &mut bytes);
        bytes.truncate(size);
        self.has_asked = true;
        bytes
    }

    /// What is to be said before the connection is closed.
    pub(super) fn goodbye(&mut self) -> Vec<u8> {
        self.machine.say_goodbye(&self.script);
        self.due()
    }

    /// Takes what the server says.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        self.replied |= self.has_asked && !bytes.is_empty();
        loop {
            let step = self.step();
            let event = self.machine.receive(&mut bytes, &mut self.store, &self.script);
            match event.map_err(|violation| Stop::BadMessage(violation.to_string()))? {
                None => return Ok(()),
                Some(Event::Connected(_)) => self.accepted = true,
                Some(Event::Started) => self.started = true,
                Some(Event::Media { kind: MessageKind::Audio | MessageKind::Video, .. }) => self.has_media = true,
                Some(Event::Rejected { status, .. }) => return Err(Stop::Refused(Refused::new(step, &status))),
                Some(Event::Ended(status)) => return Err(Stop::Refused(Refused::new(step, &status))),
                Some(_) => {}
            }
        }
    }

    /// Nothing more is waited for.
    pub(super) fn has_reached(&self) -> bool {
        match self.until {
            Until::Handshake => true,
            Until::Reply => self.replied,
            Until::Connect => self.accepted,
            Until::Publish => self.started,
            Until::Play => self.started && self.has_media,
        }
    }

    /// Where it stands if it fails now.
    pub(super) fn step(&self) -> Step {
        match self.until {
            _ if !self.accepted => Step::Reply,
            Until::Play => Step::Play,
            _ => Step::Publish,
        }
    }

    /// The server has started the stream that is asked for.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }
}
