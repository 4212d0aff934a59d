//! The server's side of a session, as nginx-rtmp conducts it: it accepts every stream that no rule refuses.

use std::sync::Arc;

use super::SessionViolation;
use super::chunk::{ChunkReader, MessageStore, Piece, Start, write_header};
use super::command::Command;
use super::message::{Control, MessageKind};
use super::refusal::{MAX_REDIRECT, Refusal, RejectRule, Request};
use super::unused::FirstBytes;
use crate::protocol::amf0::{Text, Writer};
use crate::protocol::media::{Playhead, Track};

/// How a server conducts its sessions. One is shared by all of them.
#[derive(Clone, Debug)]
pub struct ServerPolicy {
    /// What it refuses; the first rule that fits decides.
    pub reject: Vec<RejectRule>,
    /// After how many bytes it acknowledges, until a client names another number, and wants to be acknowledged.
    pub ack_window: u32,
    /// What it says it is.
    pub fms_version: &'static str,
    /// Whether it answers a publisher's goodbye. nginx-rtmp does, though Adobe's specification (7.2.2.3) has no answer to
    /// `deleteStream`; one that meets a socket closed meanwhile makes a reset of an orderly end.
    pub answers_goodbye: bool,
    /// What it sends to players of any stream, in chunks of [`ServerSession::CHUNK_SIZE`]; without one they wait.
    pub track: Option<Arc<Track>>,
}

impl Default for ServerPolicy {
    /// That of nginx-rtmp 1.2.2 without hooks.
    fn default() -> Self {
        Self {
            reject: Vec::new(),
            ack_window: 5_000_000,
            fms_version: "FMS/3,0,1,123",
            answers_goodbye: true,
            track: None,
        }
    }
}

/// One session as its server sees it. Bytes go in through [`Self::receive`], events come out, and what has become due
/// is written by [`Self::write`].
#[derive(Debug)]
pub struct ServerSession {
    reader: ChunkReader,
    stage: Stage,
    due: Due,
    /// Of the last `createStream`.
    create_transaction: f64,
    /// Of the last `connect`.
    connect_transaction: f64,
    /// What is published or played goes over it.
    message_stream: u32,
    ack_window: u32,
    /// The count of bytes that was acknowledged last.
    acknowledged: u32,
    player: Player,
}

/// Something a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEvent<'a> {
    /// It connects to an application, and is let in.
    Connect {
        /// The application's name, with its query.
        app: Text<'a>,
    },
    /// It wants a message stream, and gets one.
    StreamCreated,
    /// It publishes, and may.
    Publish {
        /// The stream's name, with its query.
        name: Text<'a>,
    },
    /// It plays, and may.
    Play {
        /// The stream's name, with its query.
        name: Text<'a>,
    },
    /// It asks for something that a rule refuses.
    Refused {
        /// What it asks for.
        request: Request,
        /// The application or stream.
        name: Text<'a>,
    },
    /// Bytes of audio, video or data.
    Media {
        /// What they belong to.
        kind: MessageKind,
        /// How many.
        bytes: u32,
        /// Whether they are the first of their message.
        first: bool,
    },
    /// It has received so many bytes, modulo 2^32.
    Acknowledged(u32),
    /// It answers a ping.
    Pong {
        /// The clock that the ping carried, in milliseconds.
        clock_ms: u32,
    },
    /// It says goodbye to its stream (`deleteStream`, `closeStream`). Many do this just before they close.
    Closed,
    /// Something that needs no answer: FCPublish, _checkbw, getStreamLength, a buffer length and the like.
    Other,
}

/// How far the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opened,
    Connected,
    Publishing,
    Playing,
    /// Nothing more is read, and the connection is to be closed.
    Over,
}

/// What is to be written, in this order.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    connect: Answer,
    create: bool,
    publish: Answer,
    play: Answer,
    unpublished: bool,
    /// A request of the client, which sends few.
    pong: Option<u32>,
    ping: Option<u32>,
}

/// How much of the track a player was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Player {
    /// Bytes of the intro.
    intro: u32,
    playhead: Playhead,
    /// Bytes of the tag at the playhead.
    of_tag: u32,
    /// The last bytes sent are not the end of a message: nothing else may be said before it.
    cut: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    None,
    Accept,
    /// By the policy's rule of this index.
    Refuse(u32),
}

const _: () = assert!(size_of::<ServerSession>() <= 352, "one lives in every held connection");

/// nginx-rtmp's. No answer is longer than a chunk.
const CHUNK_SIZE: u32 = 4096;

/// The chunk streams and the message stream that nginx-rtmp uses.
const COMMAND_CHUNK_STREAM: u32 = 3;
const STATUS_CHUNK_STREAM: u32 = 5;
const MESSAGE_STREAM: u32 = 1;

/// The header of every command we send.
const HEADER_SIZE: usize = 12;

impl ServerSession {
    /// The most bytes that one [`Self::write`] writes: all answers at once take some 900, and one may carry a URL.
    pub const MAX_OUTPUT: usize = 2048 + MAX_REDIRECT;

    /// Bytes of payload in the chunks that the server sends after it has announced so.
    pub const CHUNK_SIZE: u32 = CHUNK_SIZE;

    /// A session whose handshake is over.
    pub fn new(policy: &ServerPolicy) -> Self {
        Self {
            reader: ChunkReader::skipping_unknown(),
            stage: Stage::Opened,
            due: Due::default(),
            create_transaction: 0.0,
            connect_transaction: 0.0,
            message_stream: MESSAGE_STREAM,
            ack_window: policy.ack_window,
            acknowledged: 0,
            player: Player::default(),
        }
    }

    /// Takes bytes of the client off the front of `input`; call it until it returns `None`. What has become due then is
    /// kept for [`Self::write`]; a request repeated before it was answered is answered once.
    ///
    /// # Errors
    /// The client broke the protocol; the session is at its end.
    pub fn receive<'a, 'i: 'a>(
        &mut self,
        input: &mut &'i [u8],
        store: &'a mut MessageStore,
        policy: &ServerPolicy,
    ) -> Result<Option<ServerEvent<'a>>, SessionViolation> {
        if self.stage == Stage::Over {
            *input = &[];
            return Ok(None);
        }
        let Some(piece) = self.reader.next(input, store)? else { return Ok(None) };
        Ok(Some(match piece {
            Piece::Control(control) => self.take_control(control),
            Piece::ShortControl { .. } => ServerEvent::Other,
            Piece::Command { kind, message_stream, payload, .. } => {
                match Command::parse(kind == MessageKind::CommandAmf3, payload) {
                    Ok(command) => self.take_command(&command, message_stream, policy)?,
                    // As other servers do.
                    Err(_) => ServerEvent::Other,
                }
            }
            Piece::Media { kind: MessageKind::Other(_), .. } => ServerEvent::Other,
            Piece::Media { kind, bytes, first, .. } => ServerEvent::Media { kind, bytes, first },
        }))
    }

    /// Whether [`Self::write`] has anything to write. Nothing is due inside a message that [`Self::write_media`] has to
    /// finish first.
    pub fn has_output(&self) -> bool {
        if self.player.cut {
            return false;
        }
        let Due { connect, create, publish, play, unpublished, pong, ping } = self.due;
        let answer = [connect, publish, play].into_iter().any(|answer| answer != Answer::None);
        answer || create || unpublished || pong.is_some() || ping.is_some() || self.owes_acknowledgement()
    }

    /// Writes all that is due; returns its bytes, 0 if nothing is.
    ///
    /// # Panics
    /// If `out` is too short; [`Self::MAX_OUTPUT`] always suffices.
    pub fn write(&mut self, policy: &ServerPolicy, out: &mut [u8]) -> usize {
        if self.player.cut {
            return 0;
        }
        let mut out = Output { out, at: 0 };
        let due = std::mem::take(&mut self.due);
        match due.connect {
            Answer::None => {}
            Answer::Accept => {
                out.announce(policy);
                out.accept_connect(self.connect_transaction, policy);
            }
            Answer::Refuse(rule) => {
                let refusal = policy.reject[rule as usize].refusal();
                if *refusal != Refusal::Close {
                    out.announce(policy);
                }
                out.refuse(Request::Connect, refusal, Some(self.connect_transaction), 0);
            }
        }
        if due.create {
            let transaction = self.create_transaction;
            out.command(COMMAND_CHUNK_STREAM, 0, |payload| {
                payload.string("_result").number(transaction).null().number(MESSAGE_STREAM.into());
            });
        }
        let stream = self.message_stream;
        match due.publish {
            Answer::None => {}
            Answer::Accept => out.status(stream, "NetStream.Publish.Start", "Start publishing"),
            Answer::Refuse(rule) => out.refuse(Request::Publish, policy.reject[rule as usize].refusal(), None, stream),
        }
        match due.play {
            Answer::None => {}
            Answer::Accept => {
                self.player = Player::default();
                out.control(Control::StreamBegin(stream));
                out.status(stream, "NetStream.Play.Reset", "Playing and resetting stream");
                out.status(stream, "NetStream.Play.Start", "Start live");
            }
            Answer::Refuse(rule) => out.refuse(Request::Play, policy.reject[rule as usize].refusal(), None, stream),
        }
        if due.unpublished {
            out.status(stream, "NetStream.Unpublish.Success", "Stop publishing");
        }
        if let Some(clock_ms) = due.pong {
            out.control(Control::PingResponse(clock_ms));
        }
        if let Some(clock_ms) = due.ping {
            out.control(Control::PingRequest(clock_ms));
        }
        if self.owes_acknowledgement() {
            self.acknowledged = self.reader.received();
            out.control(Control::Acknowledgement(self.acknowledged));
        }
        out.at
    }

    /// When a player's next media is due, in milliseconds after [`ServerEvent::Play`]; `None` if it gets none, or is not
    /// told yet that it plays.
    pub fn next_media_ms(&self, policy: &ServerPolicy) -> Option<u64> {
        let track = policy.track.as_ref()?;
        match self.stage {
            _ if self.player.cut => Some(0),
            Stage::Playing if self.due.play != Answer::None => None,
            Stage::Playing if self.player.intro == 0 => Some(0),
            Stage::Playing => Some(track.next_at_ms(self.player.playhead)),
            _ => None,
        }
    }

    /// Writes a player's media that is due `elapsed_ms` after [`ServerEvent::Play`], as far as `out` goes; returns its
    /// bytes. If they end inside a message, [`Self::next_media_ms`] says so with a time that is over.
    pub fn write_media(&mut self, policy: &ServerPolicy, elapsed_ms: u64, out: &mut [u8]) -> usize {
        let Some(track) = &policy.track else { return 0 };
        let mut at = 0;
        while at < out.len() && self.next_media_ms(policy).is_some_and(|due| due <= elapsed_ms) {
            let player = &mut self.player;
            if (player.intro as usize) < track.intro_len() {
                let written = track.write_intro(self.message_stream, player.intro as usize, &mut out[at..]);
                player.intro += written as u32;
                player.cut = (player.intro as usize) < track.intro_len();
                at += written;
                continue;
            }
            let mut next = player.playhead;
            // That it is due is known; one that was cut is finished even if the clock was set back by a second `play`.
            let rest = &track.chunks(track.take_due(&mut next, u64::MAX, 0))[player.of_tag as usize..];
            let written = rest.len().min(out.len() - at);
            out[at..at + written].copy_from_slice(&rest[..written]);
            at += written;
            player.cut = written < rest.len();
            (player.playhead, player.of_tag) =
                if player.cut { (player.playhead, player.of_tag + written as u32) } else { (next, 0) };
        }
        at
    }

    /// Whether the connection is to be closed once all output is written: the client was refused, and has no
    /// business here any more.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Asks the client for a sign of life with the next [`Self::write`]; `clock_ms` comes back in its answer.
    pub fn ping(&mut self, clock_ms: u32) {
        self.due.ping = Some(clock_ms);
    }

    /// Gives what it keeps in `store` back; due when the connection ends.
    pub fn release(&mut self, store: &mut MessageStore) {
        self.reader.release(store);
    }

    fn owes_acknowledgement(&self) -> bool {
        self.ack_window > 0 && self.reader.received().wrapping_sub(self.acknowledged) >= self.ack_window
    }

    fn take_control(&mut self, control: Control) -> ServerEvent<'static> {
        match control {
            Control::WindowAckSize(window) => self.ack_window = window,
            Control::PingRequest(clock_ms) => self.due.pong = Some(clock_ms),
            Control::PingResponse(clock_ms) => return ServerEvent::Pong { clock_ms },
            Control::Acknowledgement(bytes) => return ServerEvent::Acknowledged(bytes),
            _ => {}
        }
        ServerEvent::Other
    }

    fn take_command<'a>(
        &mut self,
        command: &Command<'a>,
        message_stream: u32,
        policy: &ServerPolicy,
    ) -> Result<ServerEvent<'a>, SessionViolation> {
        let needs_connect = |command: &'static str| match self.stage {
            Stage::Opened => Err(SessionViolation::TooEarly { command, needs: "connect" }),
            _ => Ok(command),
        };
        match command.name.as_str().unwrap_or_default() {
            "connect" => {
                let object = command.argument(0).and_then(|argument| argument.as_properties());
                let app = object.and_then(|object| object.get_text("app"));
                let app = app.ok_or_else(|| incomplete("connect", "an application", command))?;
                self.connect_transaction = command.transaction;
                self.due.connect = self.judge(Request::Connect, app, policy);
                Ok(match self.due.connect {
                    Answer::Refuse(_) => ServerEvent::Refused { request: Request::Connect, name: app },
                    _ => {
                        self.stage = Stage::Connected;
                        ServerEvent::Connect { app }
                    }
                })
            }
            "createStream" => {
                needs_connect("createStream")?;
                self.create_transaction = command.transaction;
                self.due.create = true;
                Ok(ServerEvent::StreamCreated)
            }
            "publish" => {
                let name = stream_name(needs_connect("publish")?, command)?;
                self.message_stream = message_stream;
                self.due.publish = self.judge(Request::Publish, name, policy);
                Ok(match self.due.publish {
                    Answer::Refuse(_) => ServerEvent::Refused { request: Request::Publish, name },
                    _ => {
                        self.stage = Stage::Publishing;
                        ServerEvent::Publish { name }
                    }
                })
            }
            "play" => {
                let name = stream_name(needs_connect("play")?, command)?;
                self.message_stream = message_stream;
                self.due.play = self.judge(Request::Play, name, policy);
                Ok(match self.due.play {
                    Answer::Refuse(_) => ServerEvent::Refused { request: Request::Play, name },
                    _ => {
                        self.stage = Stage::Playing;
                        ServerEvent::Play { name }
                    }
                })
            }
            "deleteStream" | "closeStream" => {
                match self.stage {
                    Stage::Publishing => self.due.unpublished = policy.answers_goodbye,
                    Stage::Playing => {}
                    // librtmp says both.
                    Stage::Opened | Stage::Connected | Stage::Over => return Ok(ServerEvent::Other),
                }
                self.stage = Stage::Connected;
                Ok(ServerEvent::Closed)
            }
            _ => Ok(ServerEvent::Other),
        }
    }

    /// The answer to a request; it may end the session.
    fn judge(&mut self, request: Request, name: Text<'_>, policy: &ServerPolicy) -> Answer {
        let name = String::from_utf8_lossy(name.as_bytes());
        let Some(rule) = policy.reject.iter().position(|rule| rule.refuses(request, &name)) else {
            return Answer::Accept;
        };
        let refusal = policy.reject[rule].refusal();
        if request == Request::Connect || matches!(refusal, Refusal::Redirect(_) | Refusal::Close) {
            self.stage = Stage::Over;
        }
        Answer::Refuse(rule as u32)
    }
}

/// The first argument after the null that stands for the command object.
fn stream_name<'a>(request: &'static str, command: &Command<'a>) -> Result<Text<'a>, SessionViolation> {
    let name = command.argument(1).and_then(|argument| argument.as_text());
    name.ok_or_else(|| incomplete(request, "a stream name", command))
}

fn incomplete(name: &'static str, lacks: &'static str, command: &Command<'_>) -> SessionViolation {
    SessionViolation::Incomplete { command: name, lacks, first: FirstBytes::of([command.arguments.rest()]) }
}

struct Output<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    /// Answers may be longer than a chunk of the initial size.
    fn announce(&mut self, policy: &ServerPolicy) {
        self.control(Control::WindowAckSize(policy.ack_window));
        self.control(Control::SetPeerBandwidth { window: policy.ack_window, limit: 2 });
        self.control(Control::SetChunkSize(CHUNK_SIZE));
    }

    fn accept_connect(&mut self, transaction: f64, policy: &ServerPolicy) {
        self.command(COMMAND_CHUNK_STREAM, 0, |payload| {
            payload.string("_result").number(transaction);
            payload.object().key("fmsVer").string(policy.fms_version).key("capabilities").number(31.0).end();
            begin_information(payload, "status", "NetConnection.Connect.Success", "Connection succeeded.");
            payload.key("objectEncoding").number(0.0).end();
        });
    }

    /// `answers` is the transaction that an `_error` answers; without one it is an `onStatus`.
    fn refuse(&mut self, request: Request, refusal: &Refusal, answers: Option<f64>, message_stream: u32) {
        const REJECTED: &str = "NetConnection.Connect.Rejected";
        let (code, description) = match (refusal, request) {
            (Refusal::Close, _) => return,
            (Refusal::NameTaken, _) => ("NetStream.Publish.BadName", "Already publishing"),
            (Refusal::NotFound, _) => ("NetStream.Play.StreamNotFound", "No such stream"),
            (Refusal::Unauthorized, Request::Connect) => {
                (REJECTED, "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ")
            }
            (Refusal::Unauthorized, Request::Publish) => {
                ("NetStream.Publish.Unauthorized", "Not authorized to publish")
            }
            (Refusal::Unauthorized, Request::Play) => ("NetStream.Play.Unauthorized", "Not authorized to play"),
            (Refusal::Rejected, _) => (REJECTED, "No such application"),
            (Refusal::Redirect(_), _) => (REJECTED, "RTMP 302 Redirect"),
        };
        // A redirect concerns the connection, whatever it answers.
        let message_stream = if code == REJECTED { 0 } else { message_stream };
        let chunk_stream = if message_stream == 0 { COMMAND_CHUNK_STREAM } else { STATUS_CHUNK_STREAM };
        self.command(chunk_stream, message_stream, |payload| {
            match answers {
                Some(transaction) => payload.string("_error").number(transaction).null(),
                None => payload.string("onStatus").number(0.0).null(),
            };
            begin_information(payload, "error", code, description);
            if let Refusal::Redirect(url) = refusal {
                payload.key("ex").object().key("code").number(302.0).key("redirect").string(&**url).end();
            }
            payload.end();
        });
    }

    fn status(&mut self, message_stream: u32, code: &str, description: &str) {
        self.command(STATUS_CHUNK_STREAM, message_stream, |payload| {
            payload.string("onStatus").number(0.0).null();
            begin_information(payload, "status", code, description);
            payload.end();
        });
    }

    fn control(&mut self, control: Control) {
        self.at += control.write(&mut self.out[self.at..]);
    }

    fn command(&mut self, chunk_stream: u32, message_stream: u32, write: impl FnOnce(&mut Writer<&mut [u8]>)) {
        let (header, body) = self.out[self.at..].split_at_mut(HEADER_SIZE);
        let mut payload = Writer::new(body);
        write(&mut payload);
        let length = payload.written();
        assert!(length <= CHUNK_SIZE as usize, "an answer is one chunk");
        let start = Start::Full { timestamp: 0, message_stream };
        let header_size = write_header(header, chunk_stream, start, MessageKind::CommandAmf0, length);
        assert_eq!(header_size, HEADER_SIZE);
        self.at += HEADER_SIZE + length;
    }
}

/// Further members and the end of the object may follow.
fn begin_information(payload: &mut Writer<&mut [u8]>, level: &str, code: &str, description: &str) {
    payload.object().key("level").string(level).key("code").string(code).key("description").string(description);
}

#[cfg(test)]
mod tests;
