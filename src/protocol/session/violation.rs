//! How a peer breaks the chunk stream.

/// The most chunk streams one side of a connection may use. Servers and clients in use have two to six; nginx-rtmp follows 32.
pub const MAX_CHUNK_STREAMS: usize = 64;

/// How a peer broke the chunk stream. It is data about the peer, not an error of this program. The stream cannot be
/// read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChunkViolation {
    /// A header that repeats an earlier one, where there is none.
    #[error("chunk stream {chunk_stream} begins with a fmt {fmt} header, which repeats an earlier one")]
    NothingToRepeat {
        /// Which chunk stream.
        chunk_stream: u32,
        /// 2 or 3.
        fmt: u8,
    },
    /// A message begins before the last one on the same chunk stream is complete.
    #[error("on chunk stream {chunk_stream} a message begins after {received} of the {length} bytes of the last")]
    Interrupted {
        /// Which chunk stream.
        chunk_stream: u32,
        /// Bytes of the incomplete message.
        received: u32,
        /// Its length.
        length: u32,
    },
    /// More chunk streams than anybody uses.
    #[error("chunk stream {chunk_stream} is one more than the {MAX_CHUNK_STREAMS} that are followed")]
    TooManyChunkStreams {
        /// The one too many.
        chunk_stream: u32,
    },
    /// A chunk size that is not 1 to 2^31 - 1.
    #[error("chunk size set to {size}")]
    BadChunkSize {
        /// Bytes.
        size: u32,
    },
}
