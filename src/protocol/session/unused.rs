//! What a server says that its client has no use for.

use std::fmt;

use super::message::MessageKind;
use crate::protocol::amf0::Text;

/// Something that a client passes over. Some of it may have been meant as an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unused<'a> {
    /// A command that nobody asked for, or an answer to nothing that is waited for.
    Command {
        /// Its name.
        name: Text<'a>,
        /// Which command it answers, by its own account.
        transaction: f64,
        /// The code in it; empty if there is none that can be read.
        code: Text<'a>,
    },
    /// A command or control message that cannot be read.
    Unreadable {
        /// What it is.
        kind: MessageKind,
        /// How its payload begins.
        first: FirstBytes,
    },
    /// A message of a type that nobody uses.
    Unknown {
        /// Its type.
        kind: MessageKind,
        /// How it begins, its header included.
        first: FirstBytes,
    },
}

/// The beginning of something that was not understood. As text: its bytes, and its characters where they are all ASCII.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstBytes {
    bytes: [u8; FirstBytes::MOST],
    length: u8,
}

impl Unused<'_> {
    /// Whether it may have been the answer that is waited for: a status, a result, or what cannot be read.
    pub fn may_be_an_answer(&self) -> bool {
        match self {
            Self::Command { name, .. } => ["onStatus", "_result", "_error"].iter().any(|answer| name == answer),
            Self::Unreadable { .. } | Self::Unknown { .. } => true,
        }
    }
}

impl FirstBytes {
    const MOST: usize = 16;

    /// The first of `parts`, which follow each other.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut first = Self::default();
        for byte in parts.into_iter().flatten().take(Self::MOST) {
            first.bytes[usize::from(first.length)] = *byte;
            first.length += 1;
        }
        first
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Unused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { name, transaction, code } => {
                write!(f, "{name}")?;
                if *transaction != 0.0 {
                    write!(f, " to command {transaction}")?;
                }
                if code.is_empty() { Ok(()) } else { write!(f, " {code}") }
            }
            Self::Unreadable { kind, first } => write!(f, "{kind} message that cannot be read ({first})"),
            Self::Unknown { kind, first } => write!(f, "message of unknown {kind} ({first})"),
        }
    }
}

impl fmt::Display for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        if bytes.is_empty() {
            return f.write_str("empty");
        }
        for (index, byte) in bytes.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index > 0 { " " } else { "" })?;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => write!(f, ", \"{text}\""),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_has_a_text() {
        let first = FirstBytes::of([&b"HTTP"[..], b"/1.1 400 Bad Request"]);
        for (unused, text, may_be_an_answer) in [
            (
                Unused::Command { name: Text::new("onFCInfo"), transaction: 0.0, code: Text::default() },
                "onFCInfo",
                false,
            ),
            (
                Unused::Command { name: Text::new("_result"), transaction: 7.0, code: Text::new("X.Y") },
                "_result to command 7 X.Y",
                true,
            ),
            (
                Unused::Unreadable { kind: MessageKind::CommandAmf0, first: FirstBytes::default() },
                "command message that cannot be read (empty)",
                true,
            ),
            (
                Unused::Unknown { kind: MessageKind::Other(49), first },
                "message of unknown type 49 (48 54 54 50 2f 31 2e 31 20 34 30 30 20 42 61 64, \"HTTP/1.1 400 Bad\")",
                true,
            ),
        ] {
            assert_eq!((unused.to_string().as_str(), unused.may_be_an_answer()), (text, may_be_an_answer));
        }
        assert_eq!(FirstBytes::of([&[0xc5, 0][..]]).to_string(), "c5 00");
    }
}
