//! What follows the handshake: the session of an encoder or a player, as bytes.

mod command;

pub use command::{Backend, Command, SrsBackend, Status};
