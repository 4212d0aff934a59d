//! What was told of a session.

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::protocol::session::MessageKind;

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who connected.
    Client,
    /// Who accepted.
    Server,
}

/// A session, told.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Conversation {
    /// What was said, in the order in which it was complete. Without times the server's words follow the client's.
    pub messages: Vec<Said>,
    /// How many messages were said beyond those that are told.
    pub left_out: u64,
    /// All that the client sent.
    pub client: Totals,
    /// All that the server sent.
    pub server: Totals,
}

/// A message; neighbouring ones of audio, video and data of one side are told as one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// Who said it.
    pub from: Side,
    /// When it was complete, in nanoseconds; `None` if no times were recorded.
    pub at_ns: Option<u64>,
    /// What it is: the name of a command (`connect`, `_result`, `onStatus`), of a control message (`set_chunk_size`),
    /// `media`, or `unreadable`.
    pub name: Cow<'static, str>,
    /// The number of a command.
    pub transaction: Option<Fact>,
    /// The command that it answers.
    pub answers: Option<String>,
    /// What it says, by the protocol's own names.
    pub facts: Facts,
    /// What it says, in words; nothing if its name says all.
    pub text: String,
}

/// Facts by their names, in the order in which they were said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(pub Vec<(Cow<'static, str>, Fact)>);

/// The value of a fact.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// Another number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// All that one side sent behind its handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Bytes, chunk headers included, without those that are missing.
    pub bytes: u64,
    /// Bytes that are not in the capture.
    pub missing: u64,
    /// Audio, video and data.
    #[serde(flatten)]
    pub media: Media,
}

/// Counts of messages that nobody keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Media {
    /// Messages of audio.
    pub audio: u64,
    /// Messages of video.
    pub video: u64,
    /// Messages of data: metadata.
    pub data: u64,
    /// Messages that hold several of them.
    pub aggregates: u64,
    /// Messages of types that nobody defines.
    pub others: u64,
    /// Bytes of all of them, without chunk headers.
    pub media_bytes: u64,
}

impl Conversation {
    /// Whether nothing crossed.
    pub fn is_empty(&self) -> bool {
        self.client.is_empty() && self.server.is_empty()
    }

    /// Whether a message of that side is told.
    pub fn tells_of(&self, side: Side) -> bool {
        self.messages.iter().any(|said| said.from == side)
    }

    pub(super) fn totals(&mut self, of: Side) -> &mut Totals {
        match of {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// By time; what has none, or the same, stays as it is.
    pub(super) fn put_in_order(&mut self) {
        if self.messages.iter().all(|said| said.at_ns.is_some()) {
            self.messages.sort_by_key(|said| said.at_ns);
        } else {
            self.messages.sort_by_key(|said| said.from == Side::Server);
        }
    }
}

impl Totals {
    fn is_empty(&self) -> bool {
        self.bytes == 0 && self.missing == 0
    }
}

impl Media {
    /// Counts bytes of a message, the first or later ones.
    pub(super) fn count(&mut self, kind: MessageKind, bytes: u32, first: bool) {
        let count = match kind {
            MessageKind::Audio => &mut self.audio,
            MessageKind::Video => &mut self.video,
            MessageKind::DataAmf0 | MessageKind::DataAmf3 => &mut self.data,
            MessageKind::Aggregate => &mut self.aggregates,
            _ => &mut self.others,
        };
        *count += u64::from(first);
        self.media_bytes += u64::from(bytes);
    }

    /// The counts that are not zero, by their names.
    pub(super) fn facts(&self) -> Facts {
        let Self { audio, video, data, aggregates, others, media_bytes } = *self;
        let named = [
            ("audio", audio),
            ("video", video),
            ("data", data),
            ("aggregates", aggregates),
            ("others", others),
            ("media_bytes", media_bytes),
        ];
        let named = named.into_iter().filter(|(_, count)| *count > 0);
        Facts(named.map(|(name, count)| (name.into(), Fact::from(count))).collect())
    }
}

/// "12 audio, 30 video and 1 data messages, 45123 bytes".
impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { audio, video, data, aggregates, others, media_bytes } = *self;
        let kinds =
            [(audio, "audio"), (video, "video"), (data, "data"), (aggregates, "aggregate"), (others, "unknown")];
        let kinds: Vec<String> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
        let messages = audio + video + data + aggregates + others;
        let plural = if messages == 1 { "message" } else { "messages" };
        match kinds.split_last() {
            None => write!(f, "the rest of a message, ")?,
            Some((last, [])) => write!(f, "{last} {plural}, ")?,
            Some((last, before)) => write!(f, "{} and {last} {plural}, ", before.join(", "))?,
        }
        write!(f, "{media_bytes} bytes")
    }
}

/// A line: the name, the number of a command, and what it says.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.transaction {
            None | Some(Fact::Whole(0)) => {}
            Some(number) => write!(f, " ({number})")?,
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl Facts {
    /// The fact of that name.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, fact)| fact)
    }

    /// Adds a fact; of two with one name the first counts.
    pub(super) fn add(&mut self, name: impl Into<Cow<'static, str>>, fact: impl Into<Fact>) {
        let name = name.into();
        if self.get(&name).is_none() {
            self.0.push((name, fact.into()));
        }
    }
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, fact) in &self.0 {
            map.serialize_entry(name, fact)?;
        }
        map.end()
    }
}

/// Numbers of AMF0 are doubles; most are meant to be whole.
impl From<f64> for Fact {
    fn from(number: f64) -> Self {
        /// Above it not every whole number is a double.
        const EXACT: f64 = (1_u64 << 53) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        if number.fract() == 0.0 && number.abs() < EXACT { Self::Whole(number as i64) } else { Self::Number(number) }
    }
}

impl From<u32> for Fact {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

impl Side {
    /// `client` or `server`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}
