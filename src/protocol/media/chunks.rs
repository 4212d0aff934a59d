//! Messages cut into chunks (Adobe's RTMP specification 1.0, section 5.3).

use crate::protocol::flv::TagKind;

/// The header of a message's first chunk.
#[derive(Clone, Copy)]
pub(super) enum Header {
    /// fmt 0: an absolute time and a message stream id, which is left zero.
    Full { timestamp_ms: u32 },
    /// fmt 1: the time since the message before on the same chunk stream.
    Delta { delta_ms: u32 },
}

impl Header {
    /// Where the message stream id lies in a chunk with a full header, after fmt and chunk stream, time, length and type.
    pub(super) const STREAM_ID_AT: u32 = 1 + 3 + 3 + 1;
}

/// A time that does not fit into three bytes, or is this one, stands after the header, in every chunk of the message.
const EXTENDED: u32 = 0xff_ffff;

/// Appends a message as chunks of at most `chunk_size` bytes of `payload`. `chunk_stream` is one of 2 to 63.
pub(super) fn append_message(
    out: &mut Vec<u8>,
    chunk_stream: u8,
    header: Header,
    kind: TagKind,
    payload: &[u8],
    chunk_size: u32,
) {
    let (fmt, time) = match header {
        Header::Full { timestamp_ms } => (0, timestamp_ms),
        Header::Delta { delta_ms } => (1, delta_ms),
    };
    let extended = (time >= EXTENDED).then(|| time.to_be_bytes());
    let [high, length @ ..] = u32::try_from(payload.len()).expect("payloads are FLV bodies").to_be_bytes();
    assert_eq!(high, 0, "FLV bodies, with the name that metadata get, stay below 16 MiB");

    out.push(fmt << 6 | chunk_stream);
    out.extend_from_slice(&time.min(EXTENDED).to_be_bytes()[1..]);
    out.extend_from_slice(&length);
    out.push(kind.message_type());
    if matches!(header, Header::Full { .. }) {
        out.extend_from_slice(&[0; 4]);
    }
    out.extend(extended.into_iter().flatten());
    let (first, rest) = payload.split_at(payload.len().min(chunk_size as usize));
    out.extend_from_slice(first);
    for part in rest.chunks(chunk_size as usize) {
        out.push(3 << 6 | chunk_stream);
        out.extend(extended.into_iter().flatten());
        out.extend_from_slice(part);
    }
}
