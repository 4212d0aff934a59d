//! What tells clients apart in what they say.

use crate::protocol::amf0::Value;
use crate::protocol::session::{Command, Control};

/// A message of a client, as far as it differs from one client to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Utterance {
    /// `connect`: the keys of its members, and `flashVer`.
    Connect { keys: Vec<String>, flash_version: Option<String> },
    /// Another command and its number.
    Command { name: String, transaction: i64 },
    /// Set Chunk Size.
    ChunkSize(u32),
    /// Window Acknowledgement Size.
    Window,
    /// Set Buffer Length.
    Buffer,
    /// Stream Begin.
    StreamBegin,
}

impl Utterance {
    /// No client says more before its media.
    pub(super) const MOST: usize = 16;
    /// Of a text that is compared.
    const MOST_OF_A_TEXT: usize = 64;

    /// `None` for what clients say when a server makes them.
    pub(super) fn of_command(command: &Command<'_>) -> Option<Self> {
        let clipped = |text: String| text.chars().take(Self::MOST_OF_A_TEXT).collect::<String>();
        let name = clipped(command.name.to_string());
        match name.as_str() {
            "connect" => {
                let members = command.argument(0).and_then(|object| object.as_properties());
                let keys = members.into_iter().flatten().take(Self::MOST).map(|(key, _)| clipped(key.to_string()));
                let flash_version = match members.and_then(|members| members.get("flashVer")) {
                    Some(Value::String(text)) => Some(clipped(text.to_string())),
                    _ => None,
                };
                Some(Self::Connect { keys: keys.collect(), flash_version })
            }
            "_checkbw" | "_result" | "_error" => None,
            #[expect(clippy::cast_possible_truncation, reason = "numbers of commands are small and whole")]
            _ => Some(Self::Command { name, transaction: command.transaction as i64 }),
        }
    }

    /// Likewise.
    pub(super) fn of_control(control: Control) -> Option<Self> {
        Some(match control {
            Control::SetChunkSize(size) => Self::ChunkSize(size),
            Control::WindowAckSize(_) => Self::Window,
            Control::SetBufferLength { .. } => Self::Buffer,
            Control::StreamBegin(_) => Self::StreamBegin,
            _ => return None,
        })
    }
}
