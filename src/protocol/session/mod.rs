//! What follows the handshake: chunks, messages, commands, and both sides of a session.
//!
//! ```text
//! publisher or player                                      server
//!   | -- connect -------------------------------------------> |
//!   | <---- window ack size, peer bandwidth, chunk size,      |
//!   |       _result (NetConnection.Connect.Success) --------- |
//!   | -- createStream --------------------------------------> |
//!   | <------------------------- _result (message stream) --- |
//!   | -- publish or play -----------------------------------> |
//!   | <----- onStatus (NetStream.Publish.Start, Play.Start) - |
//!   | -- or <-- audio, video, data                            |
//! ```
//!
//! [`ClientSession`] and [`ServerSession`] are the two sides, sans-IO: they are given bytes, of any segmentation, and say
//! what happened and what is to be written. Both are small, and keep only commands that arrive in parts, in a
//! [`MessageStore`] that the sessions of a worker share.
//!
//! What real peers pass over is passed over: messages of unknown types, commands that nobody asked for or that cannot be
//! read, texts that are no UTF-8. A client says what it passed over ([`Event::Unused`]): it may have been the answer.
//!
//! Adobe's RTMP specification 1.0: sections 5.3 (chunks), 5.4 and 7 (messages).

mod chunk;
mod client;
mod command;
#[cfg(test)]
mod fixtures;
mod message;
mod refusal;
mod script;
mod server;
mod unused;
mod violation;

pub use chunk::{
    ChunkReader, Chunks, INITIAL_CHUNK_SIZE, KEPT_OF_ANSWER, KEPT_OF_REQUEST, MessageStore, Piece, Start, message_size,
    write_header, write_message,
};
pub use client::{ClientSession, Event};
pub use command::{Backend, Command, SrsBackend, Status};
pub use message::{Control, MessageKind};
pub use refusal::{BadRejectRule, Refusal, RejectRule, Request};
pub use script::{
    Argument, Body, Course, DEFAULT_WINDOW, Dialogue, FOUR_CCS, Header, Message, Property, PropertyValue,
    ScriptOptions, SessionScript, SessionSpec, Window,
};
pub use server::{ServerEvent, ServerPolicy, ServerSession};
pub use unused::{FirstBytes, Unused};
pub use violation::{ChunkViolation, MAX_CHUNK_STREAMS};

/// How a peer broke the session. It is data about the peer, not an error of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionViolation {
    /// Its bytes are no chunk stream.
    #[error(transparent)]
    Chunk(#[from] ChunkViolation),
    /// A command lacks what it is about.
    #[error("{command} without {lacks}")]
    Incomplete {
        /// Its name.
        command: &'static str,
        /// What it should say.
        lacks: &'static str,
        /// How what it says instead begins.
        first: FirstBytes,
    },
    /// A command before the one that it needs.
    #[error("{command} before {needs}")]
    TooEarly {
        /// Its name.
        command: &'static str,
        /// What should have come first.
        needs: &'static str,
    },
}
