//! What a client sends in a session, as bytes that are ready but for a few blanks.

mod template;
#[cfg(test)]
mod tests;

use template::{Blanks, Template};

use crate::protocol::Provenance;

/// What a session is for, and so how far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Course {
    /// To the first byte of the server's reply to `connect`.
    Reply,
    /// To `connect`'s `_result`.
    Connect,
    /// To NetStream.Publish.Start.
    Publish,
    /// To NetStream.Play.Start and the first media message.
    Play,
}

impl Course {
    /// How many there are.
    pub const COUNT: usize = Self::Play as usize + 1;
}

/// Everything that distinguishes a client's side of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionSpec {
    /// What it says when it publishes, if it can.
    pub publish: Option<Dialogue>,
    /// What it says when it plays, if it can.
    pub play: Option<Dialogue>,
    /// Whether it sets TCP_NODELAY.
    pub nodelay: bool,
    /// Whether C2 and `connect` leave in two sends.
    pub connect_apart: bool,
    /// Whether it asks back (`_checkbw`) on `onBWDone`, and in which header.
    pub check_bandwidth: Option<Header>,
}

/// What a publisher or player says. All that it says without waiting in between is one list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dialogue {
    /// How it is known.
    pub provenance: Provenance,
    /// After C2.
    pub connect: &'static [Message],
    /// On the `_result` of `connect`.
    pub after_connect: &'static [Message],
    /// On the `_result` of `createStream`.
    pub start: &'static [Message],
    /// Before it closes the connection.
    pub goodbye: &'static [Message],
}

/// A message and the header of its first chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    /// 2 to 63.
    pub chunk_stream: u8,
    /// How its first chunk begins.
    pub header: Header,
    /// What it says.
    pub body: Body,
}

/// How a message's first chunk says when and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// fmt 0, time 0, the connection itself (message stream 0).
    Connection,
    /// fmt 0, time 0, the message stream that the server gave.
    Stream,
    /// fmt 1, so many milliseconds after the last message of its chunk stream.
    Delta(u8),
    /// fmt 3: as the last message of its chunk stream, in length and type too.
    Repeat,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    /// Its chunks have this size from now on.
    SetChunkSize(u32),
    /// It wants acknowledgements every so many bytes.
    WindowAckSize(Window),
    /// The buffer of a message stream, in milliseconds.
    SetBufferLength {
        /// The stream is the one that the server gave, not 0.
        of_stream: bool,
        /// Its length.
        ms: u32,
    },
    /// The message stream begins, as a server would say.
    StreamBegin,
    /// `connect`, transaction 1.
    Connect(&'static [Property]),
    /// Any other command.
    Command {
        /// Its name.
        name: &'static str,
        /// Its number.
        transaction: u8,
        /// What follows.
        arguments: &'static [Argument],
    },
}

/// The size of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Its own.
    Own(u32),
    /// What the server announced for itself.
    OfServer,
}

/// A member of `connect`'s command object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Property(pub &'static str, pub PropertyValue);

/// The value of a [`Property`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PropertyValue {
    /// The application.
    App,
    /// The URL of the application.
    TcUrl,
    /// A string.
    Text(&'static str),
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
    /// Codecs beyond H.264 and AAC (Enhanced RTMP): a strict array of strings.
    FourCcs(&'static [&'static str]),
}

/// An argument of a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// Null: the command object of most commands.
    Null,
    /// The name of the stream.
    Name,
    /// The message stream that the server gave, as a number.
    MessageStream,
    /// A string.
    Text(&'static str),
    /// A number.
    Number(f64),
}

/// What a user may choose about sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptOptions {
    /// `connect` ends with a `fourCcList`, as Enhanced RTMP wants it, even from clients that send none.
    pub four_cc: bool,
}

/// The codecs that clients of Enhanced RTMP (version 1) name.
pub const FOUR_CCS: &[&str] = &["av01", "vp09", "hvc1"];

/// The window that clients assume until the server announces one.
pub const DEFAULT_WINDOW: u32 = 2_500_000;

impl SessionSpec {
    /// What it says on that course; to a reply or to `connect`'s answer it is a publisher if it can be one.
    pub fn dialogue(&self, course: Course) -> Option<&Dialogue> {
        match course {
            Course::Publish => self.publish.as_ref(),
            Course::Play => self.play.as_ref(),
            Course::Reply | Course::Connect => self.publish.as_ref().or(self.play.as_ref()),
        }
    }

    /// Whether `connect` waits for the acknowledgement of C2: it leaves apart, and Nagle's algorithm holds it back. Most
    /// servers delay the acknowledgement by 40 ms.
    pub const fn connect_waits(&self) -> bool {
        self.connect_apart && !self.nodelay
    }
}

/// What a client sends to one target, made once and shared by all its attempts.
///
/// Each method is one send of [`Dialogue`]'s parts, with the chunk headers that its length needs.
#[derive(Clone, Debug)]
pub struct SessionScript {
    connect: Box<[u8]>,
    after_connect: Box<[Template]>,
    start: Box<[Template]>,
    goodbye: Box<[Template]>,
    check_bandwidth: Box<[u8]>,
    create_stream_transaction: u8,
    chunk_size: u32,
    nodelay: bool,
    connect_apart: bool,
}

impl SessionScript {
    /// Writes everything down. `app` and `tc_url` are what `connect` says, for example `live` and
    /// `rtmp://127.0.0.1:1935/live`.
    ///
    /// # Panics
    ///
    /// If the client has no dialogue for this course, which the plan has checked ([`SessionSpec::dialogue`]).
    pub fn new(spec: &SessionSpec, app: &str, tc_url: &str, course: Course, options: ScriptOptions) -> Self {
        let dialogue = spec.dialogue(course).expect("the plan has checked that this client goes this course");
        let mut draft = template::Draft::new(app, tc_url, options);
        let connect = draft.write(dialogue.connect);
        let after_connect = draft.write(dialogue.after_connect);
        let start = draft.write(dialogue.start);
        let chunk_size = draft.chunk_size();
        let goodbye = draft.write(dialogue.goodbye);
        let check_bandwidth = spec.check_bandwidth.map(|header| {
            let body =
                Body::Command { name: "_checkbw", transaction: last(dialogue) + 1, arguments: &[Argument::Null] };
            draft.write(&[Message { chunk_stream: 3, header, body }])
        });
        Self {
            connect: template::fixed(&connect),
            after_connect,
            start,
            goodbye,
            check_bandwidth: check_bandwidth.map(|written| template::fixed(&written)).unwrap_or_default(),
            create_stream_transaction: create_stream(dialogue),
            chunk_size,
            nodelay: spec.nodelay,
            connect_apart: spec.connect_apart,
        }
    }

    /// The size of this client's chunks after [`Self::write_start`], in which its media leave.
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Whether C2 and `connect` leave in two sends.
    pub const fn connect_apart(&self) -> bool {
        self.connect_apart
    }

    /// Whether the client sets TCP_NODELAY.
    pub const fn nodelay(&self) -> bool {
        self.nodelay
    }

    /// Whether the client says anything before it closes the connection.
    pub const fn says_goodbye(&self) -> bool {
        !self.goodbye.is_empty()
    }

    /// Whether the client answers `onBWDone`.
    pub const fn checks_bandwidth(&self) -> bool {
        !self.check_bandwidth.is_empty()
    }

    /// The number of `createStream`, which its `_result` repeats. That of `connect` is 1.
    pub fn create_stream_transaction(&self) -> f64 {
        self.create_stream_transaction.into()
    }

    /// The longest of the sends, for a stream name of that many bytes.
    pub fn max_len(&self, name: usize) -> usize {
        let templates = [&self.after_connect, &self.start, &self.goodbye];
        let lengths = templates.map(|templates| templates.iter().map(|template| template.length(name)).sum());
        lengths.into_iter().chain([self.connect.len(), self.check_bandwidth.len()]).max().unwrap_or_default()
    }

    /// What follows C2: `connect`, and what the client sends before and behind it.
    ///
    /// # Panics
    ///
    /// This and the other writes, if `out` is shorter than [`Self::max_len`] for this name.
    pub fn write_connect(&self, out: &mut [u8]) -> usize {
        copy(&self.connect, out)
    }

    /// What the client sends on `connect`'s `_result`, `createStream` at last. `window` is what the server announced,
    /// else [`DEFAULT_WINDOW`].
    pub fn write_after_connect(&self, name: &[u8], window: u32, out: &mut [u8]) -> usize {
        template::write(&self.after_connect, &Blanks { name, message_stream: 0, window }, out)
    }

    /// What the client sends on `createStream`'s `_result`: `publish` or `play`.
    pub fn write_start(&self, name: &[u8], message_stream: u32, out: &mut [u8]) -> usize {
        template::write(&self.start, &Blanks { name, message_stream, window: DEFAULT_WINDOW }, out)
    }

    /// What the client sends before it closes the connection; nothing from those that only close it.
    pub fn write_goodbye(&self, name: &[u8], message_stream: u32, out: &mut [u8]) -> usize {
        template::write(&self.goodbye, &Blanks { name, message_stream, window: DEFAULT_WINDOW }, out)
    }

    /// What the client sends on `onBWDone`: nothing from most.
    pub fn write_check_bandwidth(&self, out: &mut [u8]) -> usize {
        copy(&self.check_bandwidth, out)
    }
}

fn copy(bytes: &[u8], out: &mut [u8]) -> usize {
    out[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

/// The commands of a dialogue, and their numbers.
fn commands(dialogue: &Dialogue) -> impl Iterator<Item = (&'static str, u8)> {
    let lists = [dialogue.after_connect, dialogue.start, dialogue.goodbye];
    lists.into_iter().flatten().filter_map(|message| match message.body {
        Body::Command { name, transaction, .. } => Some((name, transaction)),
        _ => None,
    })
}

fn create_stream(dialogue: &Dialogue) -> u8 {
    let numbers = commands(dialogue).filter(|(name, _)| *name == "createStream").map(|(_, number)| number);
    numbers.last().expect("every dialogue creates a stream")
}

fn last(dialogue: &Dialogue) -> u8 {
    commands(dialogue).map(|(_, number)| number).max().expect("every dialogue has commands")
}
