//! Reading, with limits.

use std::fmt;

use super::{Text, marker};

/// Objects and arrays in each other.
pub const MAX_DEPTH: usize = 8;
/// Members of an object or array, those of all the objects and arrays in it included.
pub const MAX_MEMBERS: usize = 256;

/// Takes one value after another off the front of some bytes. Copies share nothing, so one can look ahead.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// A value, in place.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A double.
    Number(f64),
    /// Any byte but 0 is true.
    Boolean(bool),
    /// A string or a long string.
    String(Text<'a>),
    /// An object, typed or not.
    Object(Properties<'a>),
    /// Null.
    Null,
    /// Undefined.
    Undefined,
    /// The index of an earlier object, which is not followed.
    Reference(u16),
    /// An ECMA array. Its own count of members is ignored: it is a hint, and often 0.
    EcmaArray(Properties<'a>),
    /// An array without keys.
    StrictArray(Elements<'a>),
    /// Milliseconds since 1970, UTC.
    Date(f64),
    /// The sender could not encode it.
    Unsupported,
    /// An XML document.
    Xml(Text<'a>),
}

/// The members of an object or ECMA array, in order; those before a fault if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    rest: Reader<'a>,
}

/// The elements of a strict array; those before a fault if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: Reader<'a>,
    left: u32,
}

/// Bytes that are not the values they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AMF0, byte {offset}: {fault}")]
pub struct Amf0Error {
    /// What is wrong.
    pub fault: Amf0Fault,
    /// Where, from the first byte the reader was made with.
    pub offset: usize,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amf0Fault {
    /// The bytes end in the middle of a value.
    Truncated,
    /// There is a value of another type.
    Expected {
        /// The type asked for.
        what: &'static str,
        /// The marker that is there.
        marker: u8,
    },
    /// A marker that stands for nothing that can be read: movie clips, record sets, AMF3 and those not defined.
    UnknownMarker(u8),
    /// More than [`MAX_DEPTH`] objects in each other.
    TooDeep,
    /// More than [`MAX_MEMBERS`] members.
    TooManyMembers,
    /// The marker of an object's end after a key, or outside of objects.
    StrayEnd,
}

impl fmt::Display for Amf0Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends in the middle of a value"),
            Self::Expected { what, marker } => write!(f, "not a {what} but a value with marker 0x{marker:02x}"),
            Self::UnknownMarker(marker) => write!(f, "no value begins with 0x{marker:02x}"),
            Self::TooDeep => write!(f, "objects nested deeper than {MAX_DEPTH}"),
            Self::TooManyMembers => write!(f, "an object or array of more than {MAX_MEMBERS} members"),
            Self::StrayEnd => f.write_str("the end of an object where a value should be"),
        }
    }
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that were not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// A string or a long string.
    ///
    /// # Errors
    ///
    /// Another value, or none; the reader is then where it was.
    pub fn string(&mut self) -> Result<Text<'a>, Amf0Error> {
        self.expect("string", |value| if let Value::String(text) = value { Some(text) } else { None })
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// Another value, or none; the reader is then where it was.
    pub fn number(&mut self) -> Result<f64, Amf0Error> {
        self.expect("number", |value| if let Value::Number(number) = value { Some(number) } else { None })
    }

    /// A boolean.
    ///
    /// # Errors
    ///
    /// Another value, or none; the reader is then where it was.
    pub fn boolean(&mut self) -> Result<bool, Amf0Error> {
        self.expect("boolean", |value| if let Value::Boolean(boolean) = value { Some(boolean) } else { None })
    }

    /// Any value.
    ///
    /// # Errors
    ///
    /// There is none, or one that breaks a limit or cannot be read.
    pub fn value(&mut self) -> Result<Value<'a>, Amf0Error> {
        let (value, walked) = self.walked_value()?;
        walked.map(|()| value)
    }

    /// Any value, as far as it goes: of an object or array that is cut, breaks a limit or holds what cannot be read, the
    /// members before that, and nothing after it.
    ///
    /// # Errors
    ///
    /// There is none, or one without members that cannot be read.
    pub fn value_as_far(&mut self) -> Result<Value<'a>, Amf0Error> {
        let (value, walked) = self.walked_value()?;
        if walked.is_err() {
            self.bytes = &[];
        }
        Ok(value)
    }

    /// A value, and what was met on the way to its end.
    fn walked_value(&mut self) -> Result<(Value<'a>, Result<(), Amf0Error>), Amf0Error> {
        let begin = *self;
        Ok(match self.head()? {
            Head::Value(value) => (value, Ok(())),
            Head::Members { ecma } => {
                let properties = Properties { rest: *self };
                let value = if ecma { Value::EcmaArray(properties) } else { Value::Object(properties) };
                (value, self.walk(begin, Open::Members))
            }
            Head::Elements(count) => {
                let elements = Elements { rest: *self, left: count };
                (Value::StrictArray(elements), self.walk(begin, Open::Elements(count)))
            }
        })
    }

    /// Passes over a value.
    ///
    /// # Errors
    ///
    /// As [`Self::value`].
    pub fn skip(&mut self) -> Result<(), Amf0Error> {
        self.value().map(drop)
    }

    fn expect<T>(&mut self, what: &'static str, of: impl FnOnce(Value<'a>) -> Option<T>) -> Result<T, Amf0Error> {
        let mut ahead = *self;
        let value = ahead.value()?;
        let taken = of(value).ok_or_else(|| self.error(Amf0Fault::Expected { what, marker: self.bytes[0] }))?;
        *self = ahead;
        Ok(taken)
    }

    /// A value without members, or the part of an object or array before its members.
    fn head(&mut self) -> Result<Head<'a>, Amf0Error> {
        let begin = *self;
        let [marker] = self.array()?;
        Ok(Head::Value(match marker {
            marker::NUMBER => Value::Number(f64::from_be_bytes(self.array()?)),
            marker::BOOLEAN => Value::Boolean(self.array::<1>()? != [0]),
            marker::STRING => Value::String(self.short_text()?),
            marker::OBJECT => return Ok(Head::Members { ecma: false }),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::REFERENCE => Value::Reference(u16::from_be_bytes(self.array()?)),
            marker::ECMA_ARRAY => {
                self.array::<4>()?;
                return Ok(Head::Members { ecma: true });
            }
            marker::STRICT_ARRAY => return Ok(Head::Elements(u32::from_be_bytes(self.array()?))),
            marker::DATE => {
                let milliseconds = f64::from_be_bytes(self.array()?);
                // The time zone, which the specification reserves.
                self.array::<2>()?;
                Value::Date(milliseconds)
            }
            marker::LONG_STRING => Value::String(self.long_text()?),
            marker::UNSUPPORTED => Value::Unsupported,
            marker::XML => Value::Xml(self.long_text()?),
            marker::TYPED_OBJECT => {
                self.short_text()?;
                return Ok(Head::Members { ecma: false });
            }
            marker::OBJECT_END => return Err(begin.error(Amf0Fault::StrayEnd)),
            unknown => return Err(begin.error(Amf0Fault::UnknownMarker(unknown))),
        }))
    }

    /// Passes over what is left of an object or array whose head has been read. `begin` is where it began.
    fn walk(&mut self, begin: Self, outermost: Open) -> Result<(), Amf0Error> {
        // No recursion: how deep it goes is the sender's choice.
        let mut stack = [outermost; MAX_DEPTH];
        let mut depth = 1;
        let mut members = 0;
        while depth > 0 {
            let inside = match &mut stack[depth - 1] {
                Open::Members => self.key()?.is_some(),
                Open::Elements(0) => false,
                Open::Elements(left) => {
                    *left -= 1;
                    true
                }
            };
            if !inside {
                depth -= 1;
                continue;
            }
            members += 1;
            if members > MAX_MEMBERS {
                return Err(begin.error(Amf0Fault::TooManyMembers));
            }
            let opened = match self.head()? {
                Head::Value(_) => continue,
                Head::Members { .. } => Open::Members,
                Head::Elements(count) => Open::Elements(count),
            };
            *stack.get_mut(depth).ok_or_else(|| begin.error(Amf0Fault::TooDeep))? = opened;
            depth += 1;
        }
        Ok(())
    }

    /// The next key, or none at the end of the members, which is passed.
    fn key(&mut self) -> Result<Option<Text<'a>>, Amf0Error> {
        // An empty key is one, unless the end's marker follows.
        if self.bytes.starts_with(&[0, 0, marker::OBJECT_END]) {
            self.take(3)?;
            return Ok(None);
        }
        self.short_text().map(Some)
    }

    fn short_text(&mut self) -> Result<Text<'a>, Amf0Error> {
        let length = u16::from_be_bytes(self.array()?);
        self.text(usize::from(length))
    }

    fn long_text(&mut self) -> Result<Text<'a>, Amf0Error> {
        let length = u32::from_be_bytes(self.array()?);
        // Where it does not fit, the bytes are too few as well.
        self.text(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn text(&mut self, length: usize) -> Result<Text<'a>, Amf0Error> {
        self.take(length).map(Text::from_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Amf0Error> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or_else(|| self.error(Amf0Fault::Truncated))?;
        (self.bytes, self.offset) = (rest, self.offset + N);
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Amf0Error> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| self.error(Amf0Fault::Truncated))?;
        (self.bytes, self.offset) = (rest, self.offset + length);
        Ok(taken)
    }

    const fn error(&self, fault: Amf0Fault) -> Amf0Error {
        Amf0Error { fault, offset: self.offset }
    }
}

impl<'a> Value<'a> {
    /// The text of a string.
    pub const fn as_text(&self) -> Option<Text<'a>> {
        if let Self::String(text) = self { Some(*text) } else { None }
    }

    /// The value of a number.
    pub const fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The members of an object or ECMA array.
    pub const fn as_properties(&self) -> Option<Properties<'a>> {
        if let Self::Object(properties) | Self::EcmaArray(properties) = self { Some(*properties) } else { None }
    }
}

impl<'a> Properties<'a> {
    /// The value of the first member of that name.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        { *self }.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Likewise, if it is a string.
    pub fn get_text(&self, key: &str) -> Option<Text<'a>> {
        self.get(key)?.as_text()
    }

    /// Likewise, if it is a number.
    pub fn get_number(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_number()
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let ahead = &mut { self.rest };
        let key = ahead.key().ok()??;
        let value = ahead.value_as_far().ok()?;
        self.rest = *ahead;
        Some((key, value))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.rest.value_as_far().ok()
    }
}

/// What a marker begins.
enum Head<'a> {
    Value(Value<'a>),
    Members { ecma: bool },
    Elements(u32),
}

/// An object or array whose end was not reached yet.
#[derive(Clone, Copy)]
enum Open {
    Members,
    Elements(u32),
}
