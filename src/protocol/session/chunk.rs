//! Chunks: how messages are cut into pieces that share one connection, and put together again.
//!
//! ```text
//! basic header 1..3 bytes   message header 11, 7, 3 or 0 bytes (fmt 0..3)   extended timestamp 0 or 4   payload
//! ```
//!
//! Section 5.3.1 of Adobe's RTMP specification 1.0.

mod aggregate;

use aggregate::Aggregate;

use super::message::{self, Control, MessageKind};
use super::violation::{ChunkViolation, MAX_CHUNK_STREAMS};

/// Payload bytes of a chunk until a side sets its own chunk size.
pub const INITIAL_CHUNK_SIZE: u32 = 128;

/// Bytes that are kept of a server's command, which may be longer: what it is about comes first. Answers in use have some
/// hundred bytes.
pub const KEPT_OF_ANSWER: usize = 16 * 1024;

/// Bytes that are kept of a client's command: room for several texts of 65 535 bytes.
pub const KEPT_OF_REQUEST: usize = 256 * 1024;

/// Chunk streams that have their place in the reader. Others are a block of their own, for the peers that use more.
const OWN_CHUNK_STREAMS: usize = 7;

/// A block of a [`MessageStore`] that holds no command has this size, room for almost all of them.
const BLOCK: usize = 4096;

/// Where a partly received message has no block.
const NO_BLOCK: u32 = u32::MAX;

/// In place of a timestamp of 24 bits: the timestamp follows in 32.
const EXTENDED: u32 = 0xff_ffff;

const MAX_HEADER: usize = 3 + 11 + 4;

/// Reads a chunk stream of any segmentation. Every byte given is consumed: an incomplete header is kept here, the front of
/// an incomplete command in the [`MessageStore`]; media is counted and never kept. Aggregates are taken apart: what is in
/// them comes out as if it had come by itself.
#[derive(Debug)]
pub struct ChunkReader {
    chunk_size: u32,
    received: u32,
    /// Payload bytes that the current chunk still lacks.
    chunk_left: u32,
    streams: [ChunkStream; OWN_CHUNK_STREAMS],
    more_streams: Option<Box<[ChunkStream; MAX_CHUNK_STREAMS - OWN_CHUNK_STREAMS]>>,
    header: [u8; MAX_HEADER],
    reading: Reading,
    /// Of a message of an unknown type only the beginning comes out.
    skips_unknown: bool,
}

/// Something that a chunk stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A control message. What it does to the reader (chunk size, abort) is done.
    Control(Control),
    /// A control message that is too short to say anything; peers ignore it.
    ShortControl {
        /// Which one.
        kind: MessageKind,
    },
    /// A whole command.
    Command {
        /// Its encoding.
        kind: MessageKind,
        /// Milliseconds.
        timestamp: u32,
        /// The message stream it concerns; 0 is the connection.
        message_stream: u32,
        /// Its bytes; the first of them if it is longer than what its store keeps.
        payload: &'a [u8],
    },
    /// Some bytes of a message that nobody keeps: audio, video, data, or of an unknown type.
    Media {
        /// What they belong to.
        kind: MessageKind,
        /// Milliseconds.
        timestamp: u32,
        /// How many arrived.
        bytes: u32,
        /// Whether they are the message's first.
        first: bool,
        /// Whether they are the message's last.
        last: bool,
    },
}

/// Blocks for commands that arrive in parts: one store for all sessions of a worker. It grows to the most that were
/// incomplete at once, in bytes that came, and keeps no more of a command than its limit.
#[derive(Debug)]
pub struct MessageStore {
    blocks: Vec<Vec<u8>>,
    /// Last in, first out: a small working set stays in the cache.
    free: Vec<u32>,
    /// Bytes that are kept of a command.
    kept: usize,
    /// Aggregates that arrive in parts.
    aggregates: Vec<Aggregate>,
    free_aggregates: Vec<u32>,
}

/// How a message's first chunk says when and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// fmt 0.
    Full {
        /// Milliseconds.
        timestamp: u32,
        /// 0 is the connection.
        message_stream: u32,
    },
    /// fmt 1: the same message stream as the last message of the chunk stream, and so many milliseconds later.
    Delta(u32),
}

/// What is known of one chunk stream.
#[derive(Clone, Copy, Debug)]
struct ChunkStream {
    /// 0: the place is free.
    id: u32,
    timestamp: u32,
    /// The timestamp or delta that the last header carried, which a fmt 3 header repeats.
    step: u32,
    message_stream: u32,
    /// Of the message in progress, else of the last.
    length: U24,
    kind: u8,
    received: U24,
    /// Whether the last timestamp was extended; then fmt 3 headers carry it too.
    extended: bool,
    /// Where the store keeps the message in progress.
    block: u32,
}

/// Where in a chunk the reader is.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// In the header, of which `known` bytes are in.
    Header { known: u8 },
    /// In the payload of a chunk of this chunk stream.
    Payload { index: u8 },
}

/// Lengths of messages are 24 bits on the wire; here they make room for one byte more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct U24([u8; 3]);

const _: () = assert!(size_of::<ChunkReader>() <= 256, "one lives in every held connection");

/// What [`ChunkReader::advance`] came upon; the payload of a command is either still in the input or in a block.
enum Found<'i> {
    Whole(Payload<'i>),
    Passing(Passing),
}

/// Bytes that are not kept.
struct Passing {
    kind: MessageKind,
    timestamp: u32,
    bytes: u32,
    first: bool,
    last: bool,
}

enum Payload<'i> {
    InPlace(&'i [u8]),
    /// The block is free again, and its bytes stay until one is taken.
    InBlock(u32),
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkReader {
    /// A reader of the bytes that follow the handshake.
    pub fn new() -> Self {
        Self {
            chunk_size: INITIAL_CHUNK_SIZE,
            received: 0,
            chunk_left: 0,
            streams: [ChunkStream::FREE; OWN_CHUNK_STREAMS],
            more_streams: None,
            header: [0; MAX_HEADER],
            reading: Reading::Header { known: 0 },
            skips_unknown: false,
        }
    }

    /// The same, for who cares only that a message of an unknown type begins.
    pub fn skipping_unknown() -> Self {
        Self { skips_unknown: true, ..Self::new() }
    }

    /// Takes bytes off the front of `input` until they make a piece or there are none left: call it until it returns
    /// `None`. A command that lies whole in one chunk and in `input` is handed out in place.
    ///
    /// # Errors
    /// The peer broke the protocol; nothing sensible can be read from then on.
    pub fn next<'a, 'i: 'a>(
        &mut self,
        input: &mut &'i [u8],
        store: &'a mut MessageStore,
    ) -> Result<Option<Piece<'a>>, ChunkViolation> {
        let before = input.len();
        let found = self.advance(input, store);
        self.received = self.received.wrapping_add((before - input.len()) as u32);
        let Some((index, found)) = found? else { return Ok(None) };
        let ChunkStream { timestamp, message_stream, kind, .. } = *self.stream(index);
        let kind = MessageKind::from(kind);
        let payload = match found {
            Found::Passing(Passing { kind, timestamp, bytes, first, last }) => {
                return Ok(Some(Piece::Media { kind, timestamp, bytes, first, last }));
            }
            Found::Whole(payload) => payload,
        };
        if !kind.is_control() {
            return Ok(Some(Piece::Command { kind, timestamp, message_stream, payload: payload.bytes(store) }));
        }
        let Some(control) = Control::parse(kind, payload.bytes(store))? else {
            return Ok(Some(Piece::ShortControl { kind }));
        };
        match control {
            Control::SetChunkSize(size) => self.chunk_size = size,
            Control::Abort(chunk_stream) => self.abort(chunk_stream, store),
            _ => {}
        }
        Ok(Some(Piece::Control(control)))
    }

    /// Bytes taken so far, modulo 2^32, as acknowledgements count them.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Bytes that the current chunk still lacks, if they are audio, video, data or of an unknown type, which nobody keeps.
    pub fn media_left(&self) -> u32 {
        match self.reading {
            Reading::Payload { index } => {
                let kind = MessageKind::from(self.stream(usize::from(index)).kind);
                if kind.is_control() || kind.is_command() || kind == MessageKind::Aggregate {
                    0
                } else {
                    self.chunk_left
                }
            }
            Reading::Header { .. } => 0,
        }
    }

    /// The last header that was read: where a violation is, and what a message of an unknown type begins with.
    pub fn header(&self) -> &[u8] {
        let header = Header(&self.header);
        let fixed = header.basic_size() + header.message_size();
        &self.header[..if header.has_extended_time() { fixed + 4 } else { fixed }]
    }

    /// Gives the blocks of incomplete messages back; due when the connection ends.
    pub fn release(&mut self, store: &mut MessageStore) {
        let more = self.more_streams.iter_mut().flat_map(|more| more.iter_mut());
        for stream in self.streams.iter_mut().chain(more) {
            stream.forget_message(store);
        }
    }

    fn advance<'i>(
        &mut self,
        input: &mut &'i [u8],
        store: &mut MessageStore,
    ) -> Result<Option<(usize, Found<'i>)>, ChunkViolation> {
        loop {
            let index = match self.reading {
                Reading::Payload { index } => usize::from(index),
                Reading::Header { known } => {
                    if !self.take_header(known, input) {
                        return Ok(None);
                    }
                    self.begin_chunk()?
                }
            };
            let part = self.stream(index).part_left(store);
            let take = input.len().min(self.chunk_left as usize).min(part);
            if take == 0 && self.chunk_left > 0 {
                return Ok(None);
            }
            let bytes = input.split_off(..take).expect("no more is taken than there is");
            self.chunk_left -= take as u32;
            if self.chunk_left == 0 {
                self.reading = Reading::Header { known: 0 };
            }
            if let Some(found) = self.stream_mut(index).take(bytes, store) {
                if self.skips_unknown
                    && matches!(found, Found::Passing(Passing { kind: MessageKind::Other(_), first: false, .. }))
                {
                    continue;
                }
                return Ok(Some((index, found)));
            }
        }
    }

    /// Completes the header from `input`; false if that does not suffice.
    fn take_header(&mut self, known: u8, input: &mut &[u8]) -> bool {
        let mut known = usize::from(known);
        loop {
            let missing = self.header_size(known) - known;
            if missing == 0 {
                return true;
            }
            let bytes = input.split_off(..missing.min(input.len())).expect("no more is taken than there is");
            self.header[known..known + bytes.len()].copy_from_slice(bytes);
            known += bytes.len();
            if bytes.len() < missing {
                self.reading = Reading::Header { known: known as u8 };
                return false;
            }
        }
    }

    /// The size of the header whose first bytes are `known`, as far as they tell: each part announces the next.
    fn header_size(&self, known: usize) -> usize {
        if known == 0 {
            return 1;
        }
        let header = Header(&self.header);
        let fixed = header.basic_size() + header.message_size();
        if known < fixed {
            return fixed;
        }
        let extended = match header.fmt() {
            3 => self.find(header.chunk_stream()).is_some_and(|index| self.stream(index).extended),
            _ => header.has_extended_time(),
        };
        fixed + if extended { 4 } else { 0 }
    }

    /// Applies the complete header; returns the place of its chunk stream.
    fn begin_chunk(&mut self) -> Result<usize, ChunkViolation> {
        let bytes = self.header;
        let header = Header(&bytes);
        let (fmt, chunk_stream) = (header.fmt(), header.chunk_stream());
        let index = match (self.find(chunk_stream), fmt) {
            (Some(index), _) => index,
            // librtmp, and so OBS, begins its control chunk stream with fmt 1: its message stream is 0 anyway.
            (None, 0 | 1) => self.free_place().ok_or(ChunkViolation::TooManyChunkStreams { chunk_stream })?,
            (None, fmt) => return Err(ChunkViolation::NothingToRepeat { chunk_stream, fmt }),
        };
        let chunk_size = self.chunk_size;
        let stream = self.stream_mut(index);
        stream.id = chunk_stream;
        let continues = stream.received.get() > 0;
        if continues && fmt < 3 {
            let (received, length) = (stream.received.get(), stream.length.get());
            return Err(ChunkViolation::Interrupted { chunk_stream, received, length });
        }
        if fmt < 3 {
            stream.extended = header.time() == EXTENDED;
            stream.step = if stream.extended { header.extended_time() } else { header.time() };
        }
        if fmt < 2 {
            stream.length = header.length();
            stream.kind = header.kind();
        }
        match fmt {
            0 => {
                stream.timestamp = stream.step;
                stream.message_stream = header.message_stream();
            }
            _ if !continues => stream.timestamp = stream.timestamp.wrapping_add(stream.step),
            _ => {}
        }
        self.chunk_left = chunk_size.min(stream.length.get() - stream.received.get());
        self.reading = Reading::Payload { index: index as u8 };
        Ok(index)
    }

    /// A message on a chunk stream that was never used has no rest that could come: nothing to do.
    fn abort(&mut self, chunk_stream: u32, store: &mut MessageStore) {
        if chunk_stream != 0
            && let Some(index) = self.find(chunk_stream)
        {
            self.stream_mut(index).forget_message(store);
        }
    }

    fn find(&self, chunk_stream: u32) -> Option<usize> {
        let more = self.more_streams.iter().flat_map(|more| more.iter());
        self.streams.iter().chain(more).position(|stream| stream.id == chunk_stream)
    }

    /// A place for a chunk stream that was never used.
    fn free_place(&mut self) -> Option<usize> {
        self.find(0).or_else(|| {
            let made = self.more_streams.is_none();
            self.more_streams
                .get_or_insert_with(|| Box::new([ChunkStream::FREE; MAX_CHUNK_STREAMS - OWN_CHUNK_STREAMS]));
            made.then_some(OWN_CHUNK_STREAMS)
        })
    }

    fn stream(&self, index: usize) -> &ChunkStream {
        match (index.checked_sub(OWN_CHUNK_STREAMS), &self.more_streams) {
            (Some(index), Some(more)) => &more[index],
            _ => &self.streams[index],
        }
    }

    fn stream_mut(&mut self, index: usize) -> &mut ChunkStream {
        match (index.checked_sub(OWN_CHUNK_STREAMS), &mut self.more_streams) {
            (Some(index), Some(more)) => &mut more[index],
            _ => &mut self.streams[index],
        }
    }
}

impl ChunkStream {
    const FREE: Self = Self {
        id: 0,
        timestamp: 0,
        step: 0,
        message_stream: 0,
        length: U24::ZERO,
        kind: 0,
        received: U24::ZERO,
        extended: false,
        block: NO_BLOCK,
    };

    /// How many of the next bytes belong together.
    fn part_left(&self, store: &MessageStore) -> usize {
        match MessageKind::from(self.kind) {
            MessageKind::Aggregate if self.block != NO_BLOCK => store.aggregates[self.block as usize].part_left(),
            MessageKind::Aggregate => Aggregate::HEADER,
            _ => usize::MAX,
        }
    }

    /// Takes the message's next bytes.
    fn take<'i>(&mut self, bytes: &'i [u8], store: &mut MessageStore) -> Option<Found<'i>> {
        let at = self.received.get() as usize;
        let end = at + bytes.len();
        let length = self.length.get() as usize;
        let (first, last) = (at == 0, end == length);
        self.received = if last { U24::ZERO } else { U24::new(end as u32) };
        let kind = MessageKind::from(self.kind);
        if kind == MessageKind::Aggregate {
            return self.take_aggregated(bytes, last, store).map(Found::Passing);
        }
        if !kind.is_control() && !kind.is_command() {
            let bytes = bytes.len() as u32;
            return Some(Found::Passing(Passing { kind, timestamp: self.timestamp, bytes, first, last }));
        }
        if first && last {
            return Some(Found::Whole(Payload::InPlace(bytes)));
        }
        if self.block == NO_BLOCK {
            self.block = store.take();
        }
        store.keep(self.block, bytes);
        last.then(|| {
            let block = self.block;
            self.forget_message(store);
            Found::Whole(Payload::InBlock(block))
        })
    }

    /// Takes the next bytes of an aggregate, not more than [`Self::part_left`].
    fn take_aggregated(&mut self, bytes: &[u8], last: bool, store: &mut MessageStore) -> Option<Passing> {
        if self.block == NO_BLOCK {
            self.block = store.take_aggregate();
        }
        let part = store.aggregates[self.block as usize].take(bytes);
        if last {
            self.forget_message(store);
        }
        // Where the aggregate ends, what is in it ends, whatever its length says.
        part.map(|part| Passing {
            timestamp: self.timestamp.wrapping_add(part.timestamp),
            last: part.last || last,
            ..part
        })
    }

    fn forget_message(&mut self, store: &mut MessageStore) {
        self.received = U24::ZERO;
        match std::mem::replace(&mut self.block, NO_BLOCK) {
            NO_BLOCK => {}
            block if MessageKind::from(self.kind) == MessageKind::Aggregate => store.free_aggregates.push(block),
            block => store.give_back(block),
        }
    }
}

impl<'i> Payload<'i> {
    fn bytes<'a>(&self, store: &'a MessageStore) -> &'a [u8]
    where
        'i: 'a,
    {
        match *self {
            Self::InPlace(bytes) => bytes,
            Self::InBlock(block) => &store.blocks[block as usize],
        }
    }
}

impl MessageStore {
    /// An empty store for what servers say.
    pub const fn for_answers() -> Self {
        Self::keeping(KEPT_OF_ANSWER)
    }

    /// An empty store for what clients say.
    pub const fn for_requests() -> Self {
        Self::keeping(KEPT_OF_REQUEST)
    }

    const fn keeping(kept: usize) -> Self {
        Self { blocks: Vec::new(), free: Vec::new(), kept, aggregates: Vec::new(), free_aggregates: Vec::new() }
    }

    /// Blocks allocated so far: the most that were taken at once.
    pub fn allocated(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks and the like that hold an incomplete message.
    pub fn taken(&self) -> usize {
        self.blocks.len() - self.free.len() + self.aggregates.len() - self.free_aggregates.len()
    }

    fn take(&mut self) -> u32 {
        self.shrink_last();
        let block = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(Vec::with_capacity(BLOCK));
            // So that giving back never allocates.
            self.free.reserve(self.blocks.len());
            self.blocks.len() as u32 - 1
        });
        self.blocks[block as usize].clear();
        block
    }

    /// Appends to a block, up to the limit.
    fn keep(&mut self, block: u32, bytes: &[u8]) {
        let block = &mut self.blocks[block as usize];
        block.extend_from_slice(&bytes[..bytes.len().min(self.kept - block.len())]);
    }

    fn give_back(&mut self, block: u32) {
        self.shrink_last();
        self.free.push(block);
    }

    /// The block that was given back last keeps its bytes until then: they were handed out.
    fn shrink_last(&mut self) {
        if let Some(&last) = self.free.last()
            && let block = &mut self.blocks[last as usize]
            && block.capacity() > BLOCK
        {
            *block = Vec::with_capacity(BLOCK);
        }
    }

    fn take_aggregate(&mut self) -> u32 {
        let index = self.free_aggregates.pop().unwrap_or_else(|| {
            self.aggregates.push(Aggregate::default());
            self.free_aggregates.reserve(self.aggregates.len());
            self.aggregates.len() as u32 - 1
        });
        self.aggregates[index as usize] = Aggregate::default();
        index
    }
}

impl U24 {
    const ZERO: Self = Self([0; 3]);

    fn new(value: u32) -> Self {
        let [high, rest @ ..] = value.to_be_bytes();
        assert_eq!(high, 0, "messages have at most 2^24 - 1 bytes");
        Self(rest)
    }

    fn get(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_be_bytes([0, a, b, c])
    }
}

/// A chunk header; each part may be read once its bytes are in.
#[derive(Clone, Copy)]
struct Header<'a>(&'a [u8; MAX_HEADER]);

impl Header<'_> {
    fn fmt(self) -> u8 {
        self.0[0] >> 6
    }

    fn basic_size(self) -> usize {
        match self.0[0] & 0x3f {
            0 => 2,
            1 => 3,
            _ => 1,
        }
    }

    fn message_size(self) -> usize {
        match self.fmt() {
            0 => 11,
            1 => 7,
            2 => 3,
            _ => 0,
        }
    }

    fn chunk_stream(self) -> u32 {
        match self.0[0] & 0x3f {
            0 => 64 + u32::from(self.0[1]),
            1 => 64 + u32::from(self.0[1]) + 256 * u32::from(self.0[2]),
            id => u32::from(id),
        }
    }

    /// Of fmt 0 to 2: the timestamp or delta, or [`EXTENDED`].
    fn time(self) -> u32 {
        U24(self.message_bytes(0)).get()
    }

    /// Of fmt 0 to 2; that of fmt 3 is told by the header it repeats.
    fn has_extended_time(self) -> bool {
        self.fmt() < 3 && self.time() == EXTENDED
    }

    /// Of fmt 0 and 1.
    fn length(self) -> U24 {
        U24(self.message_bytes(3))
    }

    /// Of fmt 0 and 1.
    fn kind(self) -> u8 {
        let [kind] = self.message_bytes(6);
        kind
    }

    /// Of fmt 0. The only number of the protocol that is little-endian.
    fn message_stream(self) -> u32 {
        u32::from_le_bytes(self.message_bytes(7))
    }

    fn extended_time(self) -> u32 {
        u32::from_be_bytes(self.message_bytes(self.message_size()))
    }

    fn message_bytes<const N: usize>(self, at: usize) -> [u8; N] {
        *self.0[self.basic_size() + at..].first_chunk().expect("a header has room for all its parts")
    }
}

/// The chunks that messages are cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Their chunk stream, 2 to 65599.
    pub stream: u32,
    /// The most payload of one, in bytes; not 0.
    pub size: u32,
}

/// Writes a whole message as chunks; returns its bytes with all headers.
///
/// # Panics
/// If `out` is shorter than [`message_size`] says, `chunks` are none, or `payload` has 2^24 bytes or more.
pub fn write_message(out: &mut [u8], chunks: Chunks, start: Start, kind: MessageKind, payload: &[u8]) -> usize {
    let at = write_header(out, chunks.stream, start, kind, payload.len());
    let mut out = Cursor { out, at };
    // One chunk even of nothing.
    let (first, rest) = payload.split_at(payload.len().min(chunks.size as usize));
    out.put(first);
    for chunk in rest.chunks(chunks.size as usize) {
        out.basic_header(3, chunks.stream);
        out.extended_time(start.time());
        out.put(chunk);
    }
    out.at
}

/// Writes the header of a message's first chunk; returns its bytes. The payload goes behind it, and is the whole
/// message if it is not longer than the chunk size.
///
/// # Panics
/// As [`write_message`].
pub fn write_header(out: &mut [u8], chunk_stream: u32, start: Start, kind: MessageKind, length: usize) -> usize {
    let mut out = Cursor { out, at: 0 };
    out.basic_header(if matches!(start, Start::Full { .. }) { 0 } else { 1 }, chunk_stream);
    out.put(&U24::new(start.time().min(EXTENDED)).0);
    out.put(&U24::new(length as u32).0);
    out.put(&[kind.into()]);
    if let Start::Full { message_stream, .. } = start {
        out.put(&message_stream.to_le_bytes());
    }
    out.extended_time(start.time());
    out.at
}

/// The bytes that [`write_message`] writes for a payload of `length` bytes.
pub fn message_size(chunks: Chunks, start: Start, length: usize) -> usize {
    let basic = match chunks.stream {
        ..64 => 1,
        64..320 => 2,
        320.. => 3,
    };
    let message = if matches!(start, Start::Full { .. }) { 11 } else { 7 };
    let extended = if start.time() >= EXTENDED { 4 } else { 0 };
    let count = length.div_ceil(chunks.size as usize).max(1);
    count * (basic + extended) + message + length
}

impl Start {
    fn time(self) -> u32 {
        match self {
            Self::Full { timestamp, .. } => timestamp,
            Self::Delta(delta) => delta,
        }
    }
}

struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn basic_header(&mut self, fmt: u8, chunk_stream: u32) {
        let fmt = fmt << 6;
        match chunk_stream {
            2..64 => self.put(&[fmt | chunk_stream as u8]),
            64..320 => self.put(&[fmt, (chunk_stream - 64) as u8]),
            320..=65599 => {
                let [low, high] = ((chunk_stream - 64) as u16).to_le_bytes();
                self.put(&[fmt | 1, low, high]);
            }
            _ => panic!("there is no chunk stream {chunk_stream}"),
        }
    }

    fn extended_time(&mut self, time: u32) {
        if time >= EXTENDED {
            self.put(&time.to_be_bytes());
        }
    }
}

impl Control {
    /// Writes the whole message, in one chunk; returns its bytes.
    ///
    /// # Panics
    /// If `out` is shorter than that; [`Self::MAX_SIZE`] always suffices.
    pub fn write(self, out: &mut [u8]) -> usize {
        let (kind, payload, length) = self.payload();
        let start = Start::Full { timestamp: 0, message_stream: 0 };
        let chunks = Chunks { stream: message::CHUNK_STREAM, size: INITIAL_CHUNK_SIZE };
        write_message(out, chunks, start, kind, &payload[..length])
    }
}

#[cfg(test)]
mod tests;
