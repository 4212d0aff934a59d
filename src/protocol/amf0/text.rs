//! Texts, which are not always UTF-8.

use std::fmt::{self, Write};

/// A peer's text. AMF0 wants UTF-8, and not every peer sends it: a text is its bytes, compares by them, and is shown with
/// U+FFFD in place of what is no UTF-8.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// A text of our own.
    pub const fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// What a peer sent.
    pub const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The text, if it is UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    /// The parts of it that are UTF-8, in order.
    pub fn readable(self) -> impl Iterator<Item = &'a str> {
        self.0.utf8_chunks().map(|chunk| chunk.valid())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0).fmt(f)
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}
