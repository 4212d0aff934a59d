//! What a publisher sends after `publish`, as bytes made once and shared by all clients.
//!
//! ```text
//! intro   | metadata | AAC header | AVC header | ...     full headers: times and the message stream id in them
//! tags    | audio | video | audio | ...                  fmt 1 headers: times as deltas, no message stream id
//!           ^ at_ms              again from the front every length_ms
//! ```
//!
//! Only the intro depends on the connection, through its message stream id. A tag's chunks say by how much their time is
//! later than that of the message before on the same chunk stream (Adobe's RTMP specification 1.0, section 5.3.1.2.2).
//! When the tags begin again, that is the same span each time, and the intro's times are chosen so that it is the span at
//! the first time, too: the bytes never change, and time goes on for ever.

mod picture;
mod synthetic;

use std::borrow::Cow;

use super::flv::{FlvError, FlvReader, FlvTag, TagKind, TagRole};
use super::session::{Chunks, MessageKind, Start, message_size, write_message};

pub use synthetic::{BitRateError, MAX_BIT_RATE, MIN_BIT_RATE};

/// A stream that a publisher sends again and again, as chunks.
#[derive(Debug)]
pub struct Track {
    intro: Box<[u8]>,
    /// Places of the message stream ids, four bytes each, in the intro.
    stream_ids_at: Box<[u32]>,
    /// Bytes of the intro's messages.
    intro_payload: u32,
    tags: Box<[Tag]>,
    /// Payload of the tags before each one, and of all of them.
    payload_before: Box<[u64]>,
    bytes: Box<[u8]>,
    length_ms: u32,
}

/// So many messages and bytes of their payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Messages.
    pub messages: u64,
    /// Bytes of payload.
    pub payload: u64,
}

/// A message of the part that is sent again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// When it is due, in ms after the part's beginning; at most the track's length, never less than the tag's before.
    pub at_ms: u32,
    /// Where its chunks begin in the track's bytes. The next tag's follow at once.
    pub offset: u32,
    /// Length of its chunks in bytes.
    pub len: u32,
    /// Of them those of the message itself, without chunk headers.
    pub payload: u32,
}

/// How far a connection is in a [`Track`]. The beginning is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Playhead {
    tag: u32,
    rounds: u32,
}

/// The largest FLV file and the most bytes of chunks that are kept in memory.
const MAX_SIZE: usize = 1 << 30;
/// The longest script data; hours of recording need less for an index of their key pictures.
const MAX_SCRIPT_SIZE: usize = 1 << 20;
/// The largest step back in time that is jitter: such a tag is sent with the time of the one before.
const JITTER_MS: u32 = 1_000;
/// Sound that is longer than the pictures by no more is cut where a recording begins again: encoders fill up the last
/// frames and put silence before the first.
const PADDING_MS: u32 = 100;
/// The earliest that the end of a recording is sent, so that pictures begin again while sound of the round before is due.
const AHEAD_MS: u32 = 1_000;
/// The chunk streams on which ffmpeg sends (rtmppkt.h); metadata goes with the audio.
const AUDIO_CHUNK_STREAM: u32 = 4;
const VIDEO_CHUNK_STREAM: u32 = 6;
/// Where the message stream id lies in a chunk with a full header: after fmt and chunk stream, time, length and type.
const STREAM_ID_AT: u32 = 1 + 3 + 3 + 1;

impl Track {
    /// The largest FLV file, in bytes.
    pub const MAX_FILE: usize = MAX_SIZE;

    /// The least that keeps servers and their viewers content: metadata, AVC and AAC sequence headers and a picture; then
    /// an audio tag of silence a second, and every four seconds the picture again for those who join late. About 35
    /// bytes a second.
    ///
    /// `chunk_size` is what the client announced with Set Chunk Size (128 if it did not).
    pub fn trickle(chunk_size: u32) -> Self {
        synthetic::trickle(chunk_size, set_data_frame)
    }

    /// What a server gives the players of a [trickle](Self::trickle): its metadata are for the players, so the command
    /// that told the server to keep them is taken off, as nginx-rtmp and SRS do.
    pub fn played_trickle(chunk_size: u32) -> Self {
        synthetic::trickle(chunk_size, <[u8]>::to_vec)
    }

    /// A synthetic encoder of `bits_per_second` (payload of audio and video messages): 30 pictures a second, of which
    /// every 60th is a key picture, with silence; pictures are filled up to their size with filler data, which decoders skip.
    ///
    /// # Errors
    /// If the rate is below [`MIN_BIT_RATE`] or above [`MAX_BIT_RATE`].
    pub fn of_bit_rate(bits_per_second: u64, chunk_size: u32) -> Result<Self, BitRateError> {
        synthetic::of_bit_rate(bits_per_second, chunk_size)
    }

    /// The stream of an FLV file, `file` being all of it, paced by its own times.
    ///
    /// The metadata and the leading sequence headers are the intro. Sequence headers within the file are left out unless
    /// one differs from those; then all are sent at their times. Tags without a body and ends of sequence are left out,
    /// for the stream does not end. Tags are sent in the order of their times. A time that goes back by a second
    /// or less becomes that of the tag before. When the stream begins again, its next picture is a picture's length later
    /// than its last one, or its sound a frame's length, whichever is longer.
    ///
    /// # Errors
    /// If the file is damaged, encrypted, has no media, cannot be decoded from its beginning, or is too large.
    pub fn from_flv(file: &[u8], chunk_size: u32) -> Result<Self, FlvError> {
        if file.len() > Self::MAX_FILE {
            return Err(FlvError::TooLarge { bytes: file.len(), limit: Self::MAX_FILE });
        }
        let recording = Recording::read(file)?;
        Self::assemble(&recording.intro, &recording.looped, recording.length_ms, chunk_size)
    }

    /// `intro` is sent once, in its order; it has data or sound in it, and its times are not used. `looped`, not empty,
    /// is in the order of its times; on each chunk stream they span at most `length_ms`.
    fn assemble(
        intro: &[Message<'_>],
        looped: &[Message<'_>],
        length_ms: u32,
        chunk_size: u32,
    ) -> Result<Self, FlvError> {
        assert!(chunk_size > 0, "a chunk holds at least a byte");
        // A chunk stream begins with a full header, so one that the intro does not use cannot be used later. Video
        // without a sequence header then goes with the audio: the message type is in every header.
        let video = if intro.iter().any(|message| message.kind == TagKind::Video) {
            VIDEO_CHUNK_STREAM
        } else {
            AUDIO_CHUNK_STREAM
        };
        let chunk_stream = |kind| if kind == TagKind::Video { video } else { AUDIO_CHUNK_STREAM };
        // From a chunk stream's last message to the end of the round; negative if it comes after it.
        let rest = |stream| {
            let last = looped.iter().rfind(|message| chunk_stream(message.kind) == stream);
            last.map_or(0, |last| i64::from(length_ms) - i64::from(last.timestamp_ms))
        };
        // The first round begins at this time. The intro comes earlier, by as much on each chunk stream as a last message
        // of a round is before the next round: the first delta is then the same in all rounds.
        let begins_ms = rest(AUDIO_CHUNK_STREAM).max(rest(video));

        let mut intro_bytes = Vec::new();
        let mut stream_ids_at = Vec::new();
        for message in intro {
            let stream = chunk_stream(message.kind);
            let timestamp = u32::try_from(begins_ms - rest(stream)).expect("no rest is longer");
            stream_ids_at.push(place(&intro_bytes)? + STREAM_ID_AT);
            let start = Start::Full { timestamp, message_stream: 0 };
            message.append_to(&mut intro_bytes, Chunks { stream, size: chunk_size }, start);
        }

        // Time since the last message of a chunk stream, as if a round had gone before.
        let mut before: [i64; 2] = [AUDIO_CHUNK_STREAM, VIDEO_CHUNK_STREAM].map(|stream| -rest(stream));
        let mut bytes = Vec::new();
        let mut tags = Vec::with_capacity(looped.len());
        for message in looped {
            let stream = chunk_stream(message.kind);
            let before = &mut before[usize::from(stream == VIDEO_CHUNK_STREAM)];
            let now = i64::from(message.timestamp_ms);
            let delta_ms = u32::try_from(now - *before).expect("messages are in the order of their times");
            *before = now;
            let offset = place(&bytes)?;
            message.append_to(&mut bytes, Chunks { stream, size: chunk_size }, Start::Delta(delta_ms));
            tags.push(Tag {
                at_ms: message.timestamp_ms.min(length_ms),
                offset,
                len: place(&bytes)? - offset,
                payload: message.body.len() as u32,
            });
        }
        let payload_before = std::iter::once(0).chain(tags.iter().scan(0, |sum, tag| {
            *sum += u64::from(tag.payload);
            Some(*sum)
        }));
        Ok(Self {
            payload_before: payload_before.collect(),
            intro: intro_bytes.into(),
            stream_ids_at: stream_ids_at.into(),
            intro_payload: intro.iter().map(|message| message.body.len() as u32).sum(),
            tags: tags.into(),
            bytes: bytes.into(),
            length_ms,
        })
    }

    /// Length of the intro in bytes.
    pub fn intro_len(&self) -> usize {
        self.intro.len()
    }

    /// What the intro holds.
    pub fn intro_amount(&self) -> Amount {
        Amount { messages: self.stream_ids_at.len() as u64, payload: self.intro_payload.into() }
    }

    /// Writes the intro from its byte `from` on, for the message stream that `createStream` gave, as far as `out` goes;
    /// returns the bytes written, zero when the intro is over. A file's metadata may be longer than a send.
    pub fn write_intro(&self, message_stream: u32, from: usize, out: &mut [u8]) -> usize {
        let rest = self.intro.get(from..).unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        // The only little-endian number of RTMP.
        let id = message_stream.to_le_bytes();
        let id_at = self.stream_ids_at.iter().flat_map(|&at| (at as usize..).zip(id));
        for (at, byte) in id_at.filter(|(at, _)| (from..from + len).contains(at)) {
            out[at - from] = byte;
        }
        len
    }

    /// The chunks of tags that follow each other.
    pub fn chunks(&self, tags: &[Tag]) -> &[u8] {
        let (Some(first), Some(last)) = (tags.first(), tags.last()) else { return &[] };
        &self.bytes[first.offset as usize..(last.offset + last.len) as usize]
    }

    /// The messages that are sent again and again, in their order.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The chunks of all tags, the same for every client.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// After this time the tags begin again; above zero.
    pub fn length_ms(&self) -> u32 {
        self.length_ms
    }

    /// When the tag at `playhead` is due, in ms since the intro was sent.
    pub fn next_at_ms(&self, playhead: Playhead) -> u64 {
        u64::from(playhead.rounds) * u64::from(self.length_ms) + u64::from(self.tags[playhead.tag as usize].at_ms)
    }

    /// What is due up to `elapsed_ms` after the intro, from the beginning.
    pub fn due_by(&self, elapsed_ms: u64) -> Amount {
        let rounds = elapsed_ms / u64::from(self.length_ms);
        let of_round = elapsed_ms % u64::from(self.length_ms);
        // A tag that is due when the round ends is one of the round before.
        self.amount(rounds, self.tags.partition_point(|tag| u64::from(tag.at_ms) <= of_round))
    }

    /// What lies before `playhead`, from the beginning.
    pub fn before(&self, playhead: Playhead) -> Amount {
        self.amount(playhead.rounds.into(), playhead.tag as usize)
    }

    fn amount(&self, rounds: u64, tags: usize) -> Amount {
        let in_round = self.payload_before[self.tags.len()];
        Amount {
            messages: rounds * self.tags.len() as u64 + tags as u64,
            payload: rounds * in_round + self.payload_before[tags],
        }
    }

    /// The tags from `playhead` on that are due `elapsed_ms` after the intro, up to the end of the round and about `most`
    /// bytes: not more, unless already the first tag is longer. Their chunks follow each other. Moves the playhead behind
    /// them. Empty when none is due.
    pub fn take_due(&self, playhead: &mut Playhead, elapsed_ms: u64, most: usize) -> &[Tag] {
        let first = playhead.tag as usize;
        let start = self.tags[first].offset as usize;
        let mut count = 0;
        while self.next_at_ms(*playhead) <= elapsed_ms {
            let tag = self.tags[playhead.tag as usize];
            let tag_end = tag.offset as usize + tag.len as usize;
            if count > 0 && tag_end - start > most {
                break;
            }
            count += 1;
            playhead.tag += 1;
            if playhead.tag as usize == self.tags.len() {
                *playhead = Playhead { tag: 0, rounds: playhead.rounds + 1 };
                break;
            }
        }
        &self.tags[first..first + count]
    }
}

/// A message before it is cut into chunks.
struct Message<'a> {
    kind: TagKind,
    timestamp_ms: u32,
    body: Cow<'a, [u8]>,
}

impl Message<'_> {
    /// Appends it as chunks.
    fn append_to(&self, out: &mut Vec<u8>, chunks: Chunks, start: Start) {
        assert!(self.body.len() < 1 << 24, "FLV bodies, with the name that metadata get, stay below 16 MiB");
        let kind = MessageKind::from(self.kind.message_type());
        let begin = out.len();
        out.resize(begin + message_size(chunks, start, self.body.len()), 0);
        write_message(&mut out[begin..], chunks, start, kind, &self.body);
    }
}

/// What an FLV file gives a track.
struct Recording<'a> {
    intro: Vec<Message<'a>>,
    /// In the order of their times, which begin at zero.
    looped: Vec<Message<'a>>,
    length_ms: u32,
}

impl<'a> Recording<'a> {
    fn read(file: &'a [u8]) -> Result<Self, FlvError> {
        let mut metadata = None;
        let mut audio = Stream::default();
        let mut video = Stream::default();
        let mut script = Stream::default();
        for tag in FlvReader::new(file)? {
            let mut tag = tag?;
            let stream = match tag.kind {
                TagKind::Audio => &mut audio,
                TagKind::Video => &mut video,
                TagKind::Script => &mut script,
            };
            match tag.role()? {
                TagRole::Empty | TagRole::SequenceEnd => continue,
                TagRole::Script { .. } if tag.body.len() > MAX_SCRIPT_SIZE => {
                    let (offset, length) = (tag.offset, tag.body.len());
                    return Err(FlvError::LongScript { offset, length, limit: MAX_SCRIPT_SIZE });
                }
                TagRole::Script { name: b"onMetaData" } if metadata.is_none() => {
                    metadata = Some(tag.body);
                    continue;
                }
                TagRole::SequenceHeader if stream.tags.is_empty() => {
                    stream.headers.push(tag.body);
                    continue;
                }
                TagRole::SequenceHeader => stream.is_constant &= stream.headers.contains(&tag.body),
                TagRole::Frame { needs_header: true } if stream.headers.is_empty() => {
                    return Err(FlvError::NoSequenceHeader { offset: tag.offset, kind: tag.kind });
                }
                TagRole::Frame { .. } | TagRole::Script { .. } => {}
            }
            tag.timestamp_ms = stream.tick(&tag)?;
            stream.tags.push(tag);
        }
        if audio.tags.is_empty() && video.tags.is_empty() {
            return Err(FlvError::NoMedia);
        }

        let metadata = metadata.unwrap_or(EMPTY_METADATA);
        let mut intro = vec![Message { kind: TagKind::Script, timestamp_ms: 0, body: set_data_frame(metadata).into() }];
        for (kind, stream) in [(TagKind::Audio, &audio), (TagKind::Video, &video)] {
            let header = |&body| Message { kind, timestamp_ms: 0, body: Cow::Borrowed(body) };
            intro.extend(stream.headers.iter().map(header));
        }

        let length_ms = round_ms(&mut audio, &video, &script);
        let mut looped: Vec<_> = [audio, video, script].into_iter().flat_map(Stream::into_messages).collect();
        looped.sort_by_key(|(offset, message)| (message.timestamp_ms, *offset));
        let mut looped: Vec<Message<'a>> = looped.into_iter().map(|(_, message)| message).collect();
        // Recordings of a running stream do not begin at zero.
        let begin = looped.first().expect("there is media").timestamp_ms;
        for message in &mut looped {
            message.timestamp_ms -= begin;
        }
        Ok(Self { intro, looped, length_ms })
    }
}

/// After how long a recording begins again: each of its streams has its own beginning and end, and the longest of them
/// goes on without a hole. Cuts sound that is a little longer than the pictures, if nothing else is.
fn round_ms(audio: &mut Stream<'_>, video: &Stream<'_>, script: &Stream<'_>) -> u32 {
    let (sound, pictures) = (audio.length().unwrap_or(0), video.length().unwrap_or(0));
    if pictures > 0 && (1..=PADDING_MS).contains(&sound.saturating_sub(pictures)) {
        let end = audio.tags[0].timestamp_ms.saturating_add(pictures);
        if shortest_round_ms(audio, video, script, Some(end)) <= pictures {
            audio.tags.retain(|tag| tag.timestamp_ms < end);
            return pictures;
        }
    }
    sound.max(pictures).max(shortest_round_ms(audio, video, script, None)).max(1)
}

/// What a round lasts at least, with the sound up to `end_of_sound`: times never go back on a chunk stream, on which data
/// and sound go, and pictures without a header too; and nothing is sent much too early.
fn shortest_round_ms(audio: &Stream<'_>, video: &Stream<'_>, script: &Stream<'_>, end_of_sound: Option<u32>) -> u32 {
    // The times of the first and the last tag.
    let times = |stream: &Stream<'_>, end: Option<u32>| {
        let mut times = stream.tags.iter().map(|tag| tag.timestamp_ms).filter(|time| end.is_none_or(|end| *time < end));
        let first = times.next()?;
        Some((first, times.next_back().unwrap_or(first)))
    };
    let span = |streams: &[Option<(u32, u32)>]| {
        let known = || streams.iter().flatten();
        let first = known().map(|(first, _)| *first).min().unwrap_or(0);
        known().map(|(_, last)| *last).max().unwrap_or(0) - first
    };
    let (sound, data, pictures) = (times(audio, end_of_sound), times(script, None), times(video, None));
    let on_one_chunk_stream = [sound, data, pictures.filter(|_| video.headers.is_empty())];
    span(&on_one_chunk_stream).max(span(&[sound, data, pictures]).saturating_sub(AHEAD_MS))
}

/// The tags of one kind.
struct Stream<'a> {
    /// Sequence headers before the first frame.
    headers: Vec<&'a [u8]>,
    /// What comes after them.
    tags: Vec<FlvTag<'a>>,
    /// All sequence headers among the tags repeat leading ones.
    is_constant: bool,
}

impl Default for Stream<'_> {
    fn default() -> Self {
        Self { headers: Vec::new(), tags: Vec::new(), is_constant: true }
    }
}

impl<'a> Stream<'a> {
    /// The time of the next tag: its own, or that of the tag before if it is a little later.
    fn tick(&self, tag: &FlvTag<'a>) -> Result<u32, FlvError> {
        let before = self.tags.last().map_or(0, |tag| tag.timestamp_ms);
        if tag.timestamp_ms + JITTER_MS < before {
            let (offset, kind) = (tag.offset, tag.kind);
            return Err(FlvError::TimeGoesBack { offset, kind, from_ms: before, to_ms: tag.timestamp_ms });
        }
        Ok(tag.timestamp_ms.max(before))
    }

    /// From the first tag to the end of the last: tags last as long as they do on average. None without tags.
    fn length(&self) -> Option<u32> {
        /// Of a single tag.
        const USUAL_MS: u32 = 40;
        let (first, last) = (self.tags.first()?.timestamp_ms, self.tags.last()?.timestamp_ms);
        let spans = u32::try_from(self.tags.len() - 1).expect("a tag takes 15 bytes, and files are smaller than 4 GiB");
        let each = (last - first).checked_div(spans).unwrap_or(USUAL_MS).max(1);
        Some((last - first).saturating_add(each))
    }

    /// What is sent in each round, with the places in the file.
    fn into_messages(self) -> impl Iterator<Item = (usize, Message<'a>)> {
        let Self { mut headers, mut tags, is_constant } = self;
        if is_constant {
            tags.retain(|tag| !headers.contains(&tag.body));
            headers.clear();
        }
        // A round that ended with another header must begin with the leading ones again.
        let first = tags.first().copied();
        let again = headers.into_iter().zip(first.into_iter().cycle()).map(|(body, first)| FlvTag { body, ..first });
        again.chain(tags).map(|tag| {
            let is_metadata = tag.kind == TagKind::Script && tag.body.starts_with(ON_METADATA);
            let body = if is_metadata { set_data_frame(tag.body).into() } else { Cow::Borrowed(tag.body) };
            (tag.offset, Message { kind: tag.kind, timestamp_ms: tag.timestamp_ms, body })
        })
    }
}

/// The AMF0 string that metadata begin with in a file.
const ON_METADATA: &[u8] = b"\x02\0\x0aonMetaData";
/// Metadata that tell nothing: the name, and an ECMA array without members.
const EMPTY_METADATA: &[u8] = b"\x02\0\x0aonMetaData\x08\0\0\0\0\0\0\x09";

/// Metadata as a publisher sends them: servers hand on and keep what comes under this name.
fn set_data_frame(metadata: &[u8]) -> Vec<u8> {
    [b"\x02\0\x0d@setDataFrame", metadata].concat()
}

/// Where the next byte goes.
fn place(bytes: &[u8]) -> Result<u32, FlvError> {
    match u32::try_from(bytes.len()) {
        Ok(place) if bytes.len() <= 2 * MAX_SIZE => Ok(place),
        _ => Err(FlvError::TooLarge { bytes: bytes.len(), limit: 2 * MAX_SIZE }),
    }
}
