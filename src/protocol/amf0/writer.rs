//! Writing.

use std::io::Write;

use super::marker;

/// Writes values one after another: `Writer::new(&mut vec)`, or `Writer::new(&mut buffer[..])` for a part of a buffer.
///
/// An object is [`Self::object`], then a [`Self::key`] before each value, then [`Self::end`].
///
/// # Panics
///
/// Every method, when what it writes to takes no more bytes: buffers are sized for what goes into them.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    written: usize,
}

impl<W: Write> Writer<W> {
    /// Begins at the front of `out`.
    pub const fn new(out: W) -> Self {
        Self { out, written: 0 }
    }

    /// The bytes written so far.
    pub const fn written(&self) -> usize {
        self.written
    }

    /// A number.
    pub fn number(&mut self, number: f64) -> &mut Self {
        self.bytes(&[marker::NUMBER]).bytes(&number.to_be_bytes())
    }

    /// A boolean.
    pub fn boolean(&mut self, boolean: bool) -> &mut Self {
        self.bytes(&[marker::BOOLEAN, u8::from(boolean)])
    }

    /// A string, which should be UTF-8; a long string when it has more than 65 535 bytes.
    ///
    /// # Panics
    ///
    /// Over 4 GiB.
    pub fn string(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        if let Ok(length) = u16::try_from(text.len()) {
            self.bytes(&[marker::STRING]).bytes(&length.to_be_bytes()).bytes(text)
        } else {
            let length = u32::try_from(text.len()).expect("a string below 4 GiB");
            self.bytes(&[marker::LONG_STRING]).bytes(&length.to_be_bytes()).bytes(text)
        }
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        self.bytes(&[marker::NULL])
    }

    /// Undefined.
    pub fn undefined(&mut self) -> &mut Self {
        self.bytes(&[marker::UNDEFINED])
    }

    /// Begins an object.
    pub fn object(&mut self) -> &mut Self {
        self.bytes(&[marker::OBJECT])
    }

    /// Begins an ECMA array that says it has `members`.
    pub fn ecma_array(&mut self, members: u32) -> &mut Self {
        self.bytes(&[marker::ECMA_ARRAY]).bytes(&members.to_be_bytes())
    }

    /// Begins a strict array: exactly `elements` values follow, without keys and without [`Self::end`].
    pub fn strict_array(&mut self, elements: u32) -> &mut Self {
        self.bytes(&[marker::STRICT_ARRAY]).bytes(&elements.to_be_bytes())
    }

    /// The name of the member whose value follows.
    ///
    /// # Panics
    ///
    /// Over 65 535 bytes.
    pub fn key(&mut self, key: &str) -> &mut Self {
        let length = u16::try_from(key.len()).expect("a key of at most 65 535 bytes");
        self.bytes(&length.to_be_bytes()).bytes(key.as_bytes())
    }

    /// Ends the object or ECMA array that was begun last.
    pub fn end(&mut self) -> &mut Self {
        self.bytes(&[0, 0, marker::OBJECT_END])
    }

    /// Bytes that are values already.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.write_all(bytes).expect("room for what is written");
        self.written += bytes.len();
        self
    }
}
