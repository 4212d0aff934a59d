//! The client's side of a session: a publisher or a player.

use super::SessionViolation;
use super::chunk::{ChunkReader, MessageStore, Piece};
use super::command::{Backend, Command, Status};
use super::message::{Control, MessageKind};
use super::script::{Course, DEFAULT_WINDOW, SessionScript};
use super::unused::{FirstBytes, Unused};
use crate::protocol::amf0::Text;

/// One session as its client sees it. Bytes go in through [`Self::receive`], events come out, and what has become due is
/// written by [`Self::write`] from the client's [`SessionScript`]. `connect` is due at once.
#[derive(Debug)]
pub struct ClientSession {
    reader: ChunkReader,
    message_stream: u32,
    /// What the server announced; 0: nothing.
    ack_window: u32,
    /// The count of bytes that was acknowledged last.
    acknowledged: u32,
    /// A ping that waits for its answer. Servers send the next when they have one.
    pong: Option<u32>,
    course: Course,
    stage: Stage,
    due: Due,
    bandwidth_check: BandwidthCheck,
}

/// Something a server did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// It accepts `connect`.
    Connected(Backend<'a>),
    /// It gives a message stream.
    StreamCreated,
    /// NetStream.Publish.Start or NetStream.Play.Start.
    Started,
    /// It refuses what the client asked for. The session goes no further.
    Rejected {
        /// What it refuses: [`Course::Connect`], [`Course::Publish`] or [`Course::Play`].
        during: Course,
        /// What it says.
        status: Status<'a>,
    },
    /// Bytes of audio, video or data.
    Media {
        /// What they belong to.
        kind: MessageKind,
        /// How many.
        bytes: u32,
        /// Whether they are the first of their message.
        first_of_message: bool,
    },
    /// It asks for a sign of life; the answer is due.
    Pinged,
    /// It has received so many bytes, modulo 2^32.
    Acknowledged(u32),
    /// What it had granted is over, it says: the stream that was published or played, or the session. The connection may
    /// stay open.
    Ended(Status<'a>),
    /// It asks the client to connect again, elsewhere perhaps (Enhanced RTMP's reconnect request), or warns it. The session
    /// goes on.
    Announced(Status<'a>),
    /// Something that is passed over, before the client has what it asked for.
    Unused(Unused<'a>),
    /// Something that needs no answer.
    Other,
}

/// How far the server has let the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// `connect` is not answered.
    Connecting,
    /// It is, and nothing more is asked for.
    Connected,
    /// `createStream` is not answered.
    Creating,
    /// `publish` or `play` is not answered.
    Starting,
    Started,
    /// The server said no.
    Refused,
}

/// Which part of the script is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Connect,
    AfterConnect,
    Start,
    Goodbye,
    Nothing,
}

/// Some clients answer the first `onBWDone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BandwidthCheck {
    NotAsked,
    Due,
    Over,
}

const _: () = assert!(size_of::<ClientSession>() <= 288, "one lives in every held publisher and player");

/// The transaction of `connect`, in every client.
const CONNECT: f64 = 1.0;

/// Codes that are a refusal whatever their level: not every server says `error`.
const REFUSALS: [&str; 13] = [
    "NetConnection.Connect.AppShutdown",
    "NetConnection.Connect.Closed",
    "NetConnection.Connect.Failed",
    "NetConnection.Connect.InvalidApp",
    "NetConnection.Connect.Rejected",
    "NetStream.Failed",
    "NetStream.Play.Failed",
    "NetStream.Play.StreamNotFound",
    "NetStream.Play.Unauthorized",
    "NetStream.Publish.BadName",
    "NetStream.Publish.Denied",
    "NetStream.Publish.Rejected",
    "NetStream.Publish.Unauthorized",
];

/// Codes that tell the end of a stream that had started.
const ENDINGS: [&str; 4] =
    ["NetStream.Play.Complete", "NetStream.Play.Stop", "NetStream.Play.UnpublishNotify", "NetStream.Unpublish.Success"];

/// What Stream EOF would say if it could.
const STREAM_EOF: Status<'static> = Status {
    level: Text::new("status"),
    code: Text::new("Stream EOF"),
    description: Text::new("the stream is over"),
    redirect: None,
};

/// What the command `close` would say if it could.
const CLOSE: Status<'static> = Status {
    level: Text::new("status"),
    code: Text::new("close"),
    description: Text::new("the connection is to be closed"),
    redirect: None,
};
/// What `onFCUnsubscribe` would say if it could: Adobe's servers end a player's stream by it, and librtmp leaves then.
const UNSUBSCRIBED: Status<'static> = Status {
    level: Text::new("status"),
    code: Text::new("onFCUnsubscribe"),
    description: Text::new("the stream is over"),
    redirect: None,
};

/// Commands of servers that need no answer and are none.
const COURTESIES: [&str; 6] =
    ["onBWDone", "onFCPublish", "onFCSubscribe", "onFCUnpublish", "onMetaData", "|RtmpSampleAccess"];

/// What servers say on the way to the start of a stream.
const ON_THE_WAY: [&str; 4] =
    ["NetConnection.Connect.Success", "NetStream.Data.Start", "NetStream.Play.PublishNotify", "NetStream.Play.Reset"];

impl ClientSession {
    /// A session whose handshake is over, or whose `connect` leaves with C2. Its script is made for the same course.
    pub fn new(course: Course) -> Self {
        Self {
            reader: ChunkReader::skipping_unknown(),
            message_stream: 0,
            ack_window: 0,
            acknowledged: 0,
            pong: None,
            course,
            stage: Stage::Connecting,
            due: Due::Connect,
            bandwidth_check: BandwidthCheck::NotAsked,
        }
    }

    /// The room that [`Self::write`] needs at most, for a stream name of `name` bytes.
    pub fn max_output(script: &SessionScript, name: usize) -> usize {
        // A part of the script, the check of the bandwidth, a pong and an acknowledgement.
        2 * script.max_len(name) + 2 * Control::MAX_SIZE
    }

    /// Takes bytes of the server off the front of `input`; call it until it returns `None`. What has become due then is
    /// kept for [`Self::write`].
    ///
    /// # Errors
    /// The server broke the protocol; the session is at its end.
    pub fn receive<'a, 'i: 'a>(
        &mut self,
        input: &mut &'i [u8],
        store: &'a mut MessageStore,
        script: &SessionScript,
    ) -> Result<Option<Event<'a>>, SessionViolation> {
        let Some(piece) = self.reader.next(input, store)? else { return Ok(None) };
        Ok(Some(match piece {
            Piece::Control(control) => self.take_control(control),
            Piece::ShortControl { kind } => {
                self.unused(Unused::Unreadable { kind, first: FirstBytes::of([self.reader.header()]) })
            }
            Piece::Command { kind, payload, .. } => match Command::parse(kind == MessageKind::CommandAmf3, payload) {
                Ok(command) => self.take_command(&command, script)?,
                Err(_) => self.unused(Unused::Unreadable { kind, first: FirstBytes::of([payload]) }),
            },
            Piece::Media { kind: kind @ MessageKind::Other(_), .. } => {
                self.unused(Unused::Unknown { kind, first: FirstBytes::of([self.reader.header()]) })
            }
            Piece::Media { kind, bytes, first, .. } => Event::Media { kind, bytes, first_of_message: first },
        }))
    }

    /// How that begins which [`Self::receive`] could not read; `rest` is what it left of its input.
    pub fn unreadable(&self, violation: &SessionViolation, rest: &[u8]) -> FirstBytes {
        match violation {
            SessionViolation::Incomplete { first, .. } => *first,
            SessionViolation::Chunk(_) | SessionViolation::TooEarly { .. } => {
                FirstBytes::of([self.reader.header(), rest])
            }
        }
    }

    /// Whether [`Self::write`] has anything to write.
    pub fn has_output(&self) -> bool {
        self.due != Due::Nothing
            || self.bandwidth_check == BandwidthCheck::Due
            || self.pong.is_some()
            || self.owes_acknowledgement()
    }

    /// Writes what is due, which is one send of the client; returns its bytes, 0 if nothing is.
    ///
    /// # Panics
    /// If `out` is too short; [`Self::max_output`] always suffices.
    pub fn write(&mut self, script: &SessionScript, name: &[u8], out: &mut [u8]) -> usize {
        let mut at = match std::mem::replace(&mut self.due, Due::Nothing) {
            Due::Nothing => 0,
            Due::Connect => script.write_connect(out),
            Due::AfterConnect => {
                let window = if self.ack_window > 0 { self.ack_window } else { DEFAULT_WINDOW };
                script.write_after_connect(name, window, out)
            }
            Due::Start => script.write_start(name, self.message_stream, out),
            Due::Goodbye => script.write_goodbye(name, self.message_stream, out),
        };
        if self.bandwidth_check == BandwidthCheck::Due {
            self.bandwidth_check = BandwidthCheck::Over;
            at += script.write_check_bandwidth(&mut out[at..]);
        }
        if let Some(clock_ms) = self.pong.take() {
            at += Control::PingResponse(clock_ms).write(&mut out[at..]);
        }
        if self.owes_acknowledgement() {
            self.acknowledged = self.reader.received();
            at += Control::Acknowledgement(self.acknowledged).write(&mut out[at..]);
        }
        at
    }

    /// Makes what the client says before it leaves due, if it has a stream and says anything.
    pub fn say_goodbye(&mut self, script: &SessionScript) {
        if matches!(self.stage, Stage::Starting | Stage::Started) && script.says_goodbye() {
            self.due = Due::Goodbye;
        }
    }

    /// The message stream that the server gave, 0 before. Media goes over it.
    pub fn message_stream(&self) -> u32 {
        self.message_stream
    }

    /// Gives what it keeps in `store` back; due when the connection ends.
    pub fn release(&mut self, store: &mut MessageStore) {
        self.reader.release(store);
    }

    /// At half the window, as ffmpeg does: the server has its acknowledgement before it would wait for it.
    fn owes_acknowledgement(&self) -> bool {
        let window = (self.ack_window / 2).max(1);
        self.ack_window > 0 && self.reader.received().wrapping_sub(self.acknowledged) >= window
    }

    fn take_control(&mut self, control: Control) -> Event<'static> {
        match control {
            Control::PingRequest(clock_ms) => {
                self.pong = Some(clock_ms);
                Event::Pinged
            }
            Control::Acknowledgement(bytes) => Event::Acknowledged(bytes),
            Control::StreamEof(stream) if self.plays() && stream == self.message_stream => Event::Ended(STREAM_EOF),
            Control::WindowAckSize(window) => {
                self.ack_window = window;
                Event::Other
            }
            _ => Event::Other,
        }
    }

    fn take_command<'a>(
        &mut self,
        command: &Command<'a>,
        script: &SessionScript,
    ) -> Result<Event<'a>, SessionViolation> {
        let answers = |transaction: f64| command.transaction == transaction;
        let created = script.create_stream_transaction();
        let name = command.name.as_str().unwrap_or_default();
        Ok(match (name, self.stage) {
            // What comes before `connect` is said answers something else.
            ("_result", Stage::Connecting) if answers(CONNECT) && self.due != Due::Connect => {
                (self.stage, self.due) = match self.course {
                    Course::Reply | Course::Connect => (Stage::Connected, Due::Nothing),
                    Course::Publish | Course::Play => (Stage::Creating, Due::AfterConnect),
                };
                Event::Connected(Backend::of(command))
            }
            ("_result", Stage::Creating) if answers(created) => {
                let stream = command.message_stream();
                self.message_stream = stream.ok_or_else(|| SessionViolation::Incomplete {
                    command: "createStream's _result",
                    lacks: "a message stream",
                    first: FirstBytes::of([command.arguments.rest()]),
                })?;
                (self.stage, self.due) = (Stage::Starting, Due::Start);
                Event::StreamCreated
            }
            ("_error", Stage::Connecting) if answers(CONNECT) => self.refused(Status::of(command)),
            ("_error", Stage::Creating) if answers(created) => self.refused(Status::of(command)),
            // Servers that do not know FCPublish or _checkbw say so with an `_error`, too: that is no refusal.
            ("_error", Stage::Starting | Stage::Started) => match Status::of(command) {
                status if !status.code.as_bytes().starts_with(b"NetStream.") => Event::Other,
                status if self.stage == Stage::Started => Event::Ended(status),
                status => self.refused(status),
            },
            ("close", Stage::Connected | Stage::Started) => Event::Ended(CLOSE),
            ("onFCUnsubscribe", _) if self.plays() => Event::Ended(UNSUBSCRIBED),
            ("_result", Stage::Starting) => Event::Other,
            // The answers to what was said beside createStream.
            ("_result" | "_error", Stage::Creating) if (1.0..created).contains(&command.transaction) => Event::Other,
            ("onStatus", stage) => self.take_status(Status::of(command), stage, command),
            ("onBWDone", _) if self.bandwidth_check == BandwidthCheck::NotAsked && script.checks_bandwidth() => {
                self.bandwidth_check = BandwidthCheck::Due;
                Event::Other
            }
            (courtesy, _) if COURTESIES.contains(&courtesy) => Event::Other,
            _ => self.unused_command(command),
        })
    }

    fn take_status<'a>(&mut self, status: Status<'a>, stage: Stage, command: &Command<'a>) -> Event<'a> {
        let code = status.code.as_str().unwrap_or_default();
        let refuses = status.is_refusal();
        match stage {
            _ if status.asks_to_reconnect() || !refuses && status.level == "warning" => Event::Announced(status),
            Stage::Connecting | Stage::Creating | Stage::Starting if refuses => self.refused(status),
            Stage::Starting => match (self.course, code) {
                (Course::Publish, "NetStream.Publish.Start") | (Course::Play, "NetStream.Play.Start") => {
                    self.stage = Stage::Started;
                    Event::Started
                }
                (_, on_the_way) if ON_THE_WAY.contains(&on_the_way) => Event::Other,
                _ => self.unused_command(command),
            },
            Stage::Connected | Stage::Started if refuses => Event::Ended(status),
            Stage::Started if ENDINGS.contains(&code) => Event::Ended(status),
            Stage::Connecting | Stage::Creating if !ON_THE_WAY.contains(&code) => self.unused_command(command),
            _ => Event::Other,
        }
    }

    fn plays(&self) -> bool {
        self.course == Course::Play && self.stage == Stage::Started
    }

    fn unused_command<'a>(&self, command: &Command<'a>) -> Event<'a> {
        let Command { name, transaction, .. } = *command;
        self.unused(Unused::Command { name, transaction, code: Status::of(command).code })
    }

    /// Once the client has what it asked for, nothing that is passed over can have been an answer to it.
    fn unused<'a>(&self, unused: Unused<'a>) -> Event<'a> {
        match self.stage {
            Stage::Connecting | Stage::Creating | Stage::Starting => Event::Unused(unused),
            Stage::Connected | Stage::Started | Stage::Refused => Event::Other,
        }
    }

    fn refused<'a>(&mut self, status: Status<'a>) -> Event<'a> {
        let during = if self.stage == Stage::Connecting { Course::Connect } else { self.course };
        (self.stage, self.due) = (Stage::Refused, Due::Nothing);
        Event::Rejected { during, status }
    }
}

impl Status<'_> {
    /// It says no, or that what was granted is withdrawn: by its level, or by its code, as not every server says `error`.
    pub fn is_refusal(&self) -> bool {
        self.is_error() || self.code.as_str().is_some_and(|code| REFUSALS.contains(&code))
    }
}

#[cfg(test)]
mod tests;
