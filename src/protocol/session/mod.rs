//! What follows the handshake: the session of an encoder or a player, as bytes.

mod command;
mod script;

pub use command::{Backend, Command, SrsBackend, Status};
pub use script::{
    Argument, Body, Course, DEFAULT_WINDOW, Dialogue, FOUR_CCS, Header, Message, Property, PropertyValue,
    ScriptOptions, SessionScript, SessionSpec, Window,
};
