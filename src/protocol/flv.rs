//! FLV files as encoders and recorders write them: what an RTMP message of audio, video or data holds, with timestamps.
//!
//! The layout is that of Adobe's Video File Format Specification 10.1, annex E, and of Enhanced RTMP (veovera.org) for
//! codecs named by four letters. An FLV tag's type and body are an RTMP message's type and payload, unchanged.

#[cfg(test)]
mod tests;

/// Reads the tags of an FLV file in their order. Strict: the first thing that is wrong ends it with an error.
#[derive(Clone, Debug)]
pub struct FlvReader<'a> {
    file: &'a [u8],
    /// Where the next tag begins; the file's length when there is none.
    at: usize,
}

/// A tag of an FLV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlvTag<'a> {
    /// Where it begins in the file.
    pub offset: usize,
    /// What it holds.
    pub kind: TagKind,
    /// Decoding time; at most `i32::MAX`, 24 days.
    pub timestamp_ms: u32,
    /// Its body, which is the payload of an RTMP message of the same kind.
    pub body: &'a [u8],
}

/// What a tag holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// AMF0 data such as `onMetaData`.
    Script,
}

/// The part that a tag plays in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagRole<'a> {
    /// Coded sound or a coded picture.
    Frame {
        /// Nothing can be decoded before a sequence header came.
        needs_header: bool,
    },
    /// What a decoder is set up with: an AVC or AAC sequence header, or the sequence start of a codec of Enhanced RTMP.
    SequenceHeader,
    /// The stream ends here, says the tag.
    SequenceEnd,
    /// A tag without a body. It tells nothing.
    Empty,
    /// AMF0 data with this name, such as `onMetaData`.
    Script {
        /// The name's bytes.
        name: &'a [u8],
    },
}

/// Why bytes are no FLV file that can be streamed. Offsets are bytes from the file's beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// The file does not begin as an FLV file does.
    #[error("not an FLV file: it does not begin with 'FLV'; convert it: ffmpeg -i INPUT -c copy -f flv OUTPUT.flv")]
    NotFlv,
    /// The only version is 1.
    #[error("FLV version {version} in byte 3: only version 1 exists")]
    Version {
        /// What the file says.
        version: u8,
    },
    /// The file's header is too short, or ends beyond the file's end.
    #[error("the FLV header says that it has {size} bytes, in a file of {file} bytes; it has 9")]
    HeaderSize {
        /// What the file says.
        size: u32,
        /// Length of the file.
        file: usize,
    },
    /// The file ends in the middle of something.
    #[error(
        "the file ends within {what} at byte {offset}: {missing} bytes are missing; was it cut off while it was \
         written? Repair it: ffmpeg -i INPUT.flv -c copy OUTPUT.flv"
    )]
    Truncated {
        /// What is incomplete.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// What would complete it.
        missing: usize,
    },
    /// The size of the tag before, which follows each tag, is not the size of that tag.
    #[error("the size of the tag before byte {offset} is given as {found}, and is {expected}: the file is damaged")]
    PreviousTagSize {
        /// Where the size stands.
        offset: usize,
        /// What the file says.
        found: u32,
        /// What it is.
        expected: u32,
    },
    /// The tag is neither audio, video nor script data.
    #[error("the tag at byte {offset} is of type {tag_type}: only 8 (audio), 9 (video) and 18 (script data) exist")]
    UnknownTag {
        /// Where the tag begins.
        offset: usize,
        /// Its first byte.
        tag_type: u8,
    },
    /// The tag's filter bit is set.
    #[error("the tag at byte {offset} is encrypted: only clear media can be streamed")]
    Encrypted {
        /// Where the tag begins.
        offset: usize,
    },
    /// A file has a single stream, number 0.
    #[error("the tag at byte {offset} belongs to stream {stream}: an FLV file has only stream 0")]
    StreamId {
        /// Where the tag begins.
        offset: usize,
        /// What the file says.
        stream: u32,
    },
    /// The time is below zero.
    #[error("the tag at byte {offset} has a time below zero ({timestamp_ms} ms): remux the file with ffmpeg -c copy")]
    NegativeTimestamp {
        /// Where the tag begins.
        offset: usize,
        /// What the file says.
        timestamp_ms: i32,
    },
    /// Decoding times of one kind go back by more than a stream's jitter.
    #[error(
        "the {kind} tag at byte {offset} goes back in time, from {from_ms} to {to_ms} ms: join recordings with \
         ffmpeg -f concat, which makes their times go on"
    )]
    TimeGoesBack {
        /// Where the tag begins.
        offset: usize,
        /// What it holds.
        kind: TagKind,
        /// The latest time before it.
        from_ms: u32,
        /// Its time.
        to_ms: u32,
    },
    /// The body ends before its codec's header does.
    #[error("the {kind} tag at byte {offset} is too short to say what it holds ({length} bytes)")]
    ShortBody {
        /// Where the tag begins.
        offset: usize,
        /// What it holds.
        kind: TagKind,
        /// Bytes in its body.
        length: usize,
    },
    /// Script data begins with an AMF0 string.
    #[error("the script data at byte {offset} does not begin with a name")]
    NoScriptName {
        /// Where the tag begins.
        offset: usize,
    },
    /// No server takes that much data in a message.
    #[error("the script data at byte {offset} are {length} bytes long; at most {limit} can be sent")]
    LongScript {
        /// Where the tag begins.
        offset: usize,
        /// Bytes in its body.
        length: usize,
        /// The most.
        limit: usize,
    },
    /// Nobody can decode the frames from here.
    #[error("the {kind} tag at byte {offset} comes before its codec's sequence header: nothing could decode it")]
    NoSequenceHeader {
        /// Where the tag begins.
        offset: usize,
        /// What it holds.
        kind: TagKind,
    },
    /// There is nothing to stream.
    #[error("the file holds neither sound nor pictures")]
    NoMedia,
    /// More than is kept in memory.
    #[error(
        "{bytes} bytes are more than {limit}, the most that is kept in memory; cut it: ffmpeg -i INPUT.flv -t 60 -c \
         copy OUTPUT.flv"
    )]
    TooLarge {
        /// The size.
        bytes: usize,
        /// The largest.
        limit: usize,
    },
}

/// Size of the file's header, up to the first size of a tag before.
const HEADER_SIZE: usize = 9;
/// Size of a tag's header: type, body size, timestamp, stream.
const TAG_HEADER_SIZE: usize = 11;
/// The size of the tag before, which stands between tags.
const BACK_POINTER_SIZE: usize = 4;

impl<'a> FlvReader<'a> {
    /// Reads the header of `file`, the whole file.
    ///
    /// # Errors
    /// If `file` does not begin as an FLV file does.
    pub fn new(file: &'a [u8]) -> Result<Self, FlvError> {
        if !file.starts_with(b"FLV") {
            return Err(FlvError::NotFlv);
        }
        let Some(header) = file.first_chunk::<HEADER_SIZE>() else {
            return Err(truncated("the file's header", 0, HEADER_SIZE, file));
        };
        if header[3] != 1 {
            return Err(FlvError::Version { version: header[3] });
        }
        let size = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let at = size as usize;
        if at < HEADER_SIZE || at > file.len() {
            return Err(FlvError::HeaderSize { size, file: file.len() });
        }
        Ok(Self { file, at: skip_back_pointer(file, at, 0)? })
    }

    fn read_tag(&mut self) -> Result<FlvTag<'a>, FlvError> {
        let offset = self.at;
        let rest = &self.file[offset..];
        let Some(header) = rest.first_chunk::<TAG_HEADER_SIZE>() else {
            return Err(truncated("the header of the tag", offset, TAG_HEADER_SIZE, self.file));
        };
        let kind = tag_kind(header[0], offset)?;
        let body_size = u32::from_be_bytes([0, header[1], header[2], header[3]]);
        // The upper eight bits come last: they were added when files grew beyond 24 bits of milliseconds.
        let timestamp = i32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        let timestamp_ms =
            u32::try_from(timestamp).map_err(|_| FlvError::NegativeTimestamp { offset, timestamp_ms: timestamp })?;
        let stream = u32::from_be_bytes([0, header[8], header[9], header[10]]);
        if stream != 0 {
            return Err(FlvError::StreamId { offset, stream });
        }
        let size = TAG_HEADER_SIZE + body_size as usize;
        let Some(body) = rest.get(TAG_HEADER_SIZE..size) else {
            return Err(truncated("the tag", offset, size, self.file));
        };
        self.at = skip_back_pointer(self.file, offset + size, TAG_HEADER_SIZE as u32 + body_size)?;
        Ok(FlvTag { offset, kind, timestamp_ms, body })
    }
}

impl<'a> Iterator for FlvReader<'a> {
    type Item = Result<FlvTag<'a>, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.file.len() {
            return None;
        }
        let tag = self.read_tag();
        if tag.is_err() {
            self.at = self.file.len();
        }
        Some(tag)
    }
}

impl<'a> FlvTag<'a> {
    /// The part that the tag plays in its stream.
    ///
    /// # Errors
    /// If the body ends before its codec's header does.
    pub fn role(&self) -> Result<TagRole<'a>, FlvError> {
        if self.body.is_empty() {
            return Ok(TagRole::Empty);
        }
        let role = match self.kind {
            TagKind::Audio => audio_role(self.body),
            TagKind::Video => video_role(self.body),
            TagKind::Script => {
                let name = script_name(self.body).ok_or(FlvError::NoScriptName { offset: self.offset })?;
                return Ok(TagRole::Script { name });
            }
        };
        role.ok_or(FlvError::ShortBody { offset: self.offset, kind: self.kind, length: self.body.len() })
    }
}

impl TagKind {
    /// The type of an RTMP message that holds the same (Adobe's RTMP specification 1.0, section 7.1).
    pub const fn message_type(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Script => 18,
        }
    }
}

impl std::fmt::Display for TagKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Script => "script data",
        })
    }
}

fn tag_kind(tag_type: u8, offset: usize) -> Result<TagKind, FlvError> {
    const FILTER: u8 = 0x20;
    let kind = match tag_type & !FILTER {
        8 => TagKind::Audio,
        9 => TagKind::Video,
        18 => TagKind::Script,
        _ => return Err(FlvError::UnknownTag { offset, tag_type }),
    };
    if tag_type & FILTER != 0 { Err(FlvError::Encrypted { offset }) } else { Ok(kind) }
}

/// The place after the size of the tag before, which stands at `at` and must be `expected`.
fn skip_back_pointer(file: &[u8], at: usize, expected: u32) -> Result<usize, FlvError> {
    let Some(bytes) = file[at..].first_chunk::<BACK_POINTER_SIZE>() else {
        return Err(truncated("the size of the tag before", at, BACK_POINTER_SIZE, file));
    };
    let found = u32::from_be_bytes(*bytes);
    if found != expected {
        return Err(FlvError::PreviousTagSize { offset: at, found, expected });
    }
    Ok(at + BACK_POINTER_SIZE)
}

fn truncated(what: &'static str, offset: usize, size: usize, file: &[u8]) -> FlvError {
    FlvError::Truncated { what, offset, missing: offset + size - file.len() }
}

/// None: the body is too short.
fn video_role(body: &[u8]) -> Option<TagRole<'static>> {
    const ENHANCED: u8 = 0x80;
    const AVC: u8 = 7;
    /// Not in the specification: how HEVC was carried before Enhanced RTMP, laid out as AVC is.
    const HEVC: u8 = 12;
    if body[0] & ENHANCED != 0 {
        return enhanced_role(body, TagKind::Video);
    }
    match body[0] & 0x0f {
        // Packet type and composition time.
        AVC | HEVC if body.len() < 5 => None,
        AVC | HEVC => Some(match body[1] {
            0 => TagRole::SequenceHeader,
            2 => TagRole::SequenceEnd,
            _ => TagRole::Frame { needs_header: true },
        }),
        _ => Some(TagRole::Frame { needs_header: false }),
    }
}

/// None: the body is too short.
fn audio_role(body: &[u8]) -> Option<TagRole<'static>> {
    const ENHANCED: u8 = 9;
    const AAC: u8 = 10;
    match body[0] >> 4 {
        ENHANCED => enhanced_role(body, TagKind::Audio),
        AAC => Some(match body.get(1)? {
            0 => TagRole::SequenceHeader,
            _ => TagRole::Frame { needs_header: true },
        }),
        _ => Some(TagRole::Frame { needs_header: false }),
    }
}

/// Audio and video of Enhanced RTMP 2: the packet type is in the low half of the first byte, and of each byte that ends
/// a modifier or begins a multitrack body. None: the body is too short.
fn enhanced_role(body: &[u8], kind: TagKind) -> Option<TagRole<'static>> {
    const SEQUENCE_START: u8 = 0;
    const SEQUENCE_END: u8 = 2;
    /// Of video; the same number is multitrack in audio.
    const MPEG2_SEQUENCE_START: u8 = 5;
    const MODIFIER: u8 = 7;
    let multitrack = if kind == TagKind::Video { 6 } else { 5 };
    let mut packet_type = body[0] & 0x0f;
    let mut rest = &body[1..];
    while packet_type == MODIFIER {
        // The size less one in a byte; 255 announces the size less one in two bytes.
        let (&short, after) = rest.split_first()?;
        let (size, after) = match short {
            255 => {
                let (long, after) = after.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*long)) + 1, after)
            }
            short => (usize::from(short) + 1, after),
        };
        let (&next, after) = after.get(size..)?.split_first()?;
        packet_type = next & 0x0f;
        rest = after;
    }
    if packet_type == multitrack {
        let (&next, after) = rest.split_first()?;
        packet_type = next & 0x0f;
        rest = after;
    }
    // The codec's four letters.
    rest.first_chunk::<4>()?;
    Some(match packet_type {
        SEQUENCE_START => TagRole::SequenceHeader,
        MPEG2_SEQUENCE_START if kind == TagKind::Video => TagRole::SequenceHeader,
        SEQUENCE_END => TagRole::SequenceEnd,
        // Some codecs of Enhanced RTMP (AC-3, MP3) have no header.
        _ => TagRole::Frame { needs_header: false },
    })
}

/// The AMF0 string (marker 2, two bytes of length) at the beginning of script data.
fn script_name(body: &[u8]) -> Option<&[u8]> {
    let ([2, high, low], rest) = body.split_first_chunk::<3>()? else { return None };
    rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
}
