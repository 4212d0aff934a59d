//! Messages as bytes with blanks.

use std::ops::Range;

use super::{Argument, Body, FOUR_CCS, Header, Message, Property, PropertyValue, ScriptOptions, Window};
use crate::protocol::amf0::Writer;

/// Message types: RTMP 1.0, sections 5.4 and 7.1.
const SET_CHUNK_SIZE: u8 = 1;
const USER_CONTROL: u8 = 4;
const WINDOW_ACK_SIZE: u8 = 5;
const COMMAND_AMF0: u8 = 20;

/// Events of user control messages: section 7.1.7.
const STREAM_BEGIN: u16 = 0;
const SET_BUFFER_LENGTH: u16 = 3;

/// Marker and length before a string, and before a long one.
const STRING_HEAD: usize = 3;
const LONG_STRING_HEAD: usize = 5;
/// Marker and number.
const NUMBER_SIZE: usize = 9;

/// The basic header of a chunk that continues a message, but for its chunk stream.
const CONTINUES: u8 = 0xc0;

/// What is filled in for one connection.
pub struct Blanks<'a> {
    pub name: &'a [u8],
    pub message_stream: u32,
    pub window: u32,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Template {
    /// The first chunk's header, its length field to be filled in where it has one.
    header: Box<[u8]>,
    /// Whether the header's last four bytes are the message stream.
    in_stream: bool,
    /// What lies between the blanks.
    bytes: Box<[u8]>,
    parts: Box<[Part]>,
    chunk_size: usize,
}

/// A part of a payload.
#[derive(Clone, Debug)]
enum Part {
    Bytes(Range<usize>),
    /// The name as an AMF0 string.
    Name,
    /// The message stream as an AMF0 number.
    StreamNumber,
    /// The message stream in four bytes.
    Stream,
    /// The server's window in four bytes.
    Window,
}

/// Writes one message after another; returns the bytes.
pub fn write(templates: &[Template], blanks: &Blanks<'_>, out: &mut [u8]) -> usize {
    let mut at = 0;
    for template in templates {
        at += template.write(blanks, &mut out[at..]);
    }
    at
}

/// Messages without blanks, as they are on the wire.
pub fn fixed(templates: &[Template]) -> Box<[u8]> {
    assert!(templates.iter().all(|template| !template.in_stream && template.parts.iter().all(Part::is_bytes)));
    let mut bytes = vec![0; templates.iter().map(|template| template.length(0)).sum()];
    write(templates, &Blanks { name: &[], message_stream: 0, window: 0 }, &mut bytes);
    bytes.into()
}

impl Template {
    /// Its bytes on the wire.
    pub fn length(&self, name: usize) -> usize {
        let payload: usize = self.parts.iter().map(|part| part.length(name)).sum();
        self.header.len() + payload + self.continuations(payload)
    }

    fn write(&self, blanks: &Blanks<'_>, out: &mut [u8]) -> usize {
        let (header, payload) = out.split_at_mut(self.header.len());
        let mut length = 0;
        for part in &self.parts {
            length += self.write_part(part, blanks, &mut payload[length..]);
        }
        header.copy_from_slice(&self.header);
        // fmt 0 and 1 have a length; it follows the basic header and the time.
        if header.len() >= 8 {
            let [_, length @ ..] = u32::try_from(length).expect("a message below 16 MiB").to_be_bytes();
            header[4..7].copy_from_slice(&length);
        }
        if self.in_stream {
            header[8..12].copy_from_slice(&blanks.message_stream.to_le_bytes());
        }
        // From the last chunk to the first, each makes room for the headers before it.
        let continuations = self.continuations(length);
        for chunk in (1..=continuations).rev() {
            let begin = chunk * self.chunk_size;
            let end = length.min(begin + self.chunk_size);
            payload.copy_within(begin..end, begin + chunk);
            payload[begin + chunk - 1] = CONTINUES | self.header[0];
        }
        header.len() + length + continuations
    }

    fn write_part(&self, part: &Part, blanks: &Blanks<'_>, out: &mut [u8]) -> usize {
        match part {
            Part::Bytes(range) => super::copy(&self.bytes[range.clone()], out),
            Part::Name => {
                let mut writer = Writer::new(out);
                writer.string(blanks.name);
                writer.written()
            }
            Part::StreamNumber => {
                let mut writer = Writer::new(out);
                writer.number(blanks.message_stream.into());
                writer.written()
            }
            Part::Stream => super::copy(&blanks.message_stream.to_be_bytes(), out),
            Part::Window => super::copy(&blanks.window.to_be_bytes(), out),
        }
    }

    /// The chunks after the first.
    fn continuations(&self, payload: usize) -> usize {
        payload.saturating_sub(1) / self.chunk_size
    }
}

impl Part {
    fn length(&self, name: usize) -> usize {
        match self {
            Self::Bytes(range) => range.len(),
            Self::Name if name <= usize::from(u16::MAX) => STRING_HEAD + name,
            Self::Name => LONG_STRING_HEAD + name,
            Self::StreamNumber => NUMBER_SIZE,
            Self::Stream | Self::Window => 4,
        }
    }

    fn is_bytes(&self) -> bool {
        matches!(self, Self::Bytes(_))
    }
}

/// What templates are made with, in the order of their sending: the size of chunks changes on the way.
pub struct Draft<'a> {
    app: &'a str,
    tc_url: &'a str,
    options: ScriptOptions,
    chunk_size: u32,
}

impl<'a> Draft<'a> {
    pub fn new(app: &'a str, tc_url: &'a str, options: ScriptOptions) -> Self {
        Self { app, tc_url, options, chunk_size: 128 }
    }

    /// Of the chunks from now on.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Writes messages down.
    pub fn write(&mut self, messages: &[Message]) -> Box<[Template]> {
        messages.iter().map(|message| self.template(message)).collect()
    }

    fn template(&mut self, message: &Message) -> Template {
        let mut payload = Payload::default();
        let kind = self.body(&message.body, &mut payload);
        let chunk_stream = message.chunk_stream;
        let header: &[u8] = match message.header {
            Header::Connection | Header::Stream => &[chunk_stream, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0],
            Header::Delta(ms) => &[0x40 | chunk_stream, 0, 0, ms, 0, 0, 0, kind],
            Header::Repeat => &[CONTINUES | chunk_stream],
        };
        let template = Template {
            header: header.into(),
            in_stream: message.header == Header::Stream,
            parts: payload.parts(),
            bytes: payload.bytes.into(),
            chunk_size: usize::try_from(self.chunk_size).expect("a size of chunks fits in memory"),
        };
        if let Body::SetChunkSize(size) = message.body {
            self.chunk_size = size;
        }
        template
    }

    /// Writes a payload; returns its type.
    fn body(&self, body: &Body, payload: &mut Payload) -> u8 {
        match *body {
            Body::SetChunkSize(size) => {
                payload.put(&size.to_be_bytes());
                SET_CHUNK_SIZE
            }
            Body::WindowAckSize(window) => {
                match window {
                    Window::Own(window) => payload.put(&window.to_be_bytes()),
                    Window::OfServer => payload.blank(Part::Window),
                }
                WINDOW_ACK_SIZE
            }
            Body::SetBufferLength { of_stream, ms } => {
                payload.put(&SET_BUFFER_LENGTH.to_be_bytes());
                if of_stream {
                    payload.blank(Part::Stream);
                } else {
                    payload.put(&[0; 4]);
                }
                payload.put(&ms.to_be_bytes());
                USER_CONTROL
            }
            Body::StreamBegin => {
                payload.put(&STREAM_BEGIN.to_be_bytes());
                payload.blank(Part::Stream);
                USER_CONTROL
            }
            Body::Connect(properties) => {
                self.connect(properties, &mut Writer::new(&mut payload.bytes));
                COMMAND_AMF0
            }
            Body::Command { name, transaction, arguments } => {
                Writer::new(&mut payload.bytes).string(name).number(transaction.into());
                for argument in arguments {
                    let mut writer = Writer::new(&mut payload.bytes);
                    match *argument {
                        Argument::Null => writer.null(),
                        Argument::Text(text) => writer.string(text),
                        Argument::Number(number) => writer.number(number),
                        Argument::Name => {
                            payload.blank(Part::Name);
                            continue;
                        }
                        Argument::MessageStream => {
                            payload.blank(Part::StreamNumber);
                            continue;
                        }
                    };
                }
                COMMAND_AMF0
            }
        }
    }

    fn connect(&self, properties: &[Property], writer: &mut Writer<&mut Vec<u8>>) {
        writer.string("connect").number(1.0).object();
        for Property(key, value) in properties {
            writer.key(key);
            self.property(*value, writer);
        }
        let names_codecs = properties.iter().any(|Property(_, value)| matches!(value, PropertyValue::FourCcs(_)));
        if self.options.four_cc && !names_codecs {
            writer.key("fourCcList");
            self.property(PropertyValue::FourCcs(FOUR_CCS), writer);
        }
        writer.end();
    }

    fn property(&self, value: PropertyValue, writer: &mut Writer<&mut Vec<u8>>) {
        match value {
            PropertyValue::App => writer.string(self.app),
            PropertyValue::TcUrl => writer.string(self.tc_url),
            PropertyValue::Text(text) => writer.string(text),
            PropertyValue::Number(number) => writer.number(number),
            PropertyValue::Boolean(boolean) => writer.boolean(boolean),
            PropertyValue::FourCcs(codecs) => {
                writer.strict_array(u32::try_from(codecs.len()).expect("a few codecs"));
                codecs.iter().fold(writer, |writer, codec| writer.string(codec))
            }
        };
    }
}

/// A payload in the making.
#[derive(Default)]
struct Payload {
    bytes: Vec<u8>,
    /// Blanks, each behind so many of the bytes.
    blanks: Vec<(usize, Part)>,
}

impl Payload {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn blank(&mut self, part: Part) {
        self.blanks.push((self.bytes.len(), part));
    }

    fn parts(&self) -> Box<[Part]> {
        let mut parts = Vec::new();
        let mut begin = 0;
        for (end, blank) in &self.blanks {
            parts.extend([Part::Bytes(begin..*end), blank.clone()]);
            begin = *end;
        }
        parts.push(Part::Bytes(begin..self.bytes.len()));
        parts.into()
    }
}
