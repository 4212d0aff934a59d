//! What follows the handshake: chunks, messages, commands, and both sides of a session.
//!
//! ```text
//! bytes --ChunkReader--> control messages, commands, media bytes --ClientSession--> events of a publisher or player
//! ```
//!
//! Adobe's RTMP specification 1.0, sections 5.3 (chunks), 5.4 and 7 (messages).

mod chunk;
mod message;

pub use chunk::{
    ChunkReader, ChunkViolation, INITIAL_CHUNK_SIZE, MAX_CHUNK_STREAMS, MAX_COMMAND, MessageStore, Piece, Start,
    message_size, write_message,
};
pub use message::{Control, MessageKind};
