//! Names of streams, one pattern for all clients.

use std::fmt;
use std::io::Write;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::REDACTED;

/// The longest name of a stream in bytes, a query included. It is sent in a message of at most 2^24 - 1 bytes, in which all
/// else takes less than 100.
pub const MAX_STREAM_NAME: usize = 0xff_ffff - 100;

/// The pattern of stream names: a text with placeholders, written for example `load-{id}` or `{key}?token=abc`.
///
/// | placeholder | stands for |
/// |---|---|
/// | `{id}` | the number of the attempt, publishers and players each from 0 on; in a storm that of the client |
/// | `{id%N}` | its remainder by N, so that there are N names |
/// | `{slot}` | the connection's place, which is used again after its end |
/// | `{worker}` | the number of the worker |
/// | `{source}` | the local address, or `any` |
/// | `{key}` | the stream key of the place |
///
/// `{{` and `}}` are braces. A name that is the same for all clients may be a stream key, and a query may hold a token:
/// texts, debug output and files show `***` for both, and two patterns are equal if they show the same.
#[derive(Clone)]
pub struct StreamName {
    parts: Box<[Part]>,
}

/// What placeholders stand for.
#[derive(Clone, Copy)]
pub struct NameValues<'a> {
    /// The number of the attempt; in a storm that of the client.
    pub id: u64,
    /// The connection's place.
    pub slot: u32,
    /// The number of the worker.
    pub worker: u32,
    /// The local address, or `any`.
    pub source: &'a str,
    /// The stream key of the place; empty if the pattern needs none.
    pub key: &'a str,
}

/// Why a text is no pattern of stream names: one sentence with the remedy. It does not repeat the text, which may hold a
/// stream key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stream name: {0}")]
pub struct StreamNameError(String);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Id,
    IdModulo(NonZeroU64),
    Slot,
    Worker,
    Source,
    Key,
}

impl StreamName {
    /// Writes the name of a client to the front of `out`; returns its length. Allocates nothing.
    ///
    /// # Panics
    /// If `out` is shorter than the name, which [`Self::max_len`] rules out.
    pub fn write(&self, values: &NameValues<'_>, out: &mut [u8]) -> usize {
        let size = out.len();
        let mut rest = out;
        for part in &self.parts {
            match part {
                Part::Text(text) => rest.write_all(text.as_bytes()),
                Part::Id => write!(rest, "{}", values.id),
                Part::IdModulo(modulus) => write!(rest, "{}", values.id % *modulus),
                Part::Slot => write!(rest, "{}", values.slot),
                Part::Worker => write!(rest, "{}", values.worker),
                Part::Source => rest.write_all(values.source.as_bytes()),
                Part::Key => rest.write_all(values.key.as_bytes()),
            }
            .expect("there is room for the longest name");
        }
        size - rest.len()
    }

    /// The length of the longest name in bytes, when the longest local address and the longest stream key have these
    /// lengths. To be sent, a name may have at most [`MAX_STREAM_NAME`].
    pub fn max_len(&self, longest_source: usize, longest_key: usize) -> usize {
        let length = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Id => digits(u64::MAX),
            Part::IdModulo(modulus) => digits(modulus.get() - 1),
            Part::Slot | Part::Worker => digits(u32::MAX.into()),
            Part::Source => longest_source,
            Part::Key => longest_key,
        };
        self.parts.iter().map(length).sum()
    }

    /// Whether stream keys must be given.
    pub fn needs_keys(&self) -> bool {
        self.parts.contains(&Part::Key)
    }

    /// Whether the other pattern is the same, in what is not shown, too.
    pub fn is(&self, other: &Self) -> bool {
        self.parts == other.parts
    }

    /// Whether all clients have the same name. Servers accept only the first publisher of a name.
    pub fn is_the_same_for_all(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }
}

impl StreamNameError {
    /// The sentence without what it is about.
    pub fn cause(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        if text.is_empty() {
            return Err(StreamNameError("it is empty; write for example load-{id}".into()));
        }
        if text.chars().any(char::is_control) {
            return Err(StreamNameError("it holds a control character, such as a line break; leave it out".into()));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = (&rest[at..=at], &rest[at + 1..]);
            if let Some(after) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let column = text[..text.len() - after.len()].chars().count();
            let placeholder = match (brace, after.split_once('}')) {
                ("{", Some((name, after))) => {
                    rest = after;
                    placeholder(name)?
                }
                ("{", None) => {
                    return Err(StreamNameError(format!(
                        "no }} closes the {{ in column {column}; write {{{{ for a brace of the name"
                    )));
                }
                _ => {
                    return Err(StreamNameError(format!(
                        "no {{ opens before the }} in column {column}; write }}}} for a brace of the name"
                    )));
                }
            };
            parts.extend(text_part(&mut literal));
            parts.push(placeholder);
        }
        literal.push_str(rest);
        parts.extend(text_part(&mut literal));
        let name = Self { parts: parts.into() };
        match name.max_len(0, 0) {
            length if length > MAX_STREAM_NAME => Err(StreamNameError(format!(
                "it may become {length} bytes long; at most {MAX_STREAM_NAME} can be sent"
            ))),
            _ => Ok(name),
        }
    }
}

/// The collected text as a part, if there is any.
fn text_part(literal: &mut String) -> Option<Part> {
    (!literal.is_empty()).then(|| Part::Text(std::mem::take(literal).into()))
}

/// The placeholder that is called `name`.
fn placeholder(name: &str) -> Result<Part, StreamNameError> {
    const NAMES: [&str; 6] = ["id", "id%N", "slot", "worker", "source", "key"];
    Ok(match name {
        "id" => Part::Id,
        "slot" => Part::Slot,
        "worker" => Part::Worker,
        "source" => Part::Source,
        "key" => Part::Key,
        _ => match name.strip_prefix("id%") {
            Some(modulus) => Part::IdModulo(modulus.parse().map_err(|_| {
                StreamNameError(format!("{{{name}}} has no number above zero after %; write for example {{id%100}}"))
            })?),
            None => {
                let distance = |known: &&str| strsim::damerau_levenshtein(&name.to_lowercase(), known);
                let nearest = NAMES.into_iter().min_by_key(distance).filter(|known| distance(known) <= 2);
                let remedy = match nearest {
                    Some(known) => format!("did you mean {{{known}}}?"),
                    None => format!("known are {}", NAMES.map(|known| format!("{{{known}}}")).join(", ")),
                };
                return Err(StreamNameError(format!("{{{name}}} is no placeholder; {remedy}")));
            }
        },
    })
}

/// Decimal digits of `number`.
fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// The pattern, redacted: see [`StreamName`].
impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = String::new();
        let mut varies = false;
        let mut has_query = false;
        for part in &self.parts {
            let placeholder = match part {
                Part::Text(text) => {
                    let (before, query) =
                        text.split_once('?').map_or((&**text, None), |(text, query)| (text, Some(query)));
                    name.push_str(&before.replace('{', "{{").replace('}', "}}"));
                    has_query = query.is_some();
                    if has_query {
                        break;
                    }
                    continue;
                }
                Part::Id => "{id}",
                Part::IdModulo(modulus) => &format!("{{id%{modulus}}}"),
                Part::Slot => "{slot}",
                Part::Worker => "{worker}",
                Part::Source => "{source}",
                Part::Key => "{key}",
            };
            name.push_str(placeholder);
            varies = true;
        }
        if !varies && !name.is_empty() {
            name = REDACTED.into();
        }
        if has_query {
            name.push('?');
            name.push_str(REDACTED);
        }
        f.pad(&name)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamName({self})")
    }
}

impl PartialEq for StreamName {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for StreamName {}

impl Serialize for StreamName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUES: NameValues<'_> = NameValues { id: 1_234, slot: 7, worker: 2, source: "10.0.0.1", key: "k3y" };

    fn parsed(text: &str) -> StreamName {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn written(text: &str, values: &NameValues<'_>) -> String {
        let name = parsed(text);
        let mut out = vec![0; name.max_len(values.source.len(), values.key.len())];
        let length = name.write(values, &mut out);
        String::from_utf8(out[..length].to_vec()).unwrap()
    }

    #[test]
    fn placeholders_are_replaced() {
        for (text, name) in [
            ("load", "load"),
            ("load-{id}", "load-1234"),
            ("{id%100}", "34"),
            ("{worker}.{slot}@{source}", "2.7@10.0.0.1"),
            ("{key}?token=a{id%1}", "k3y?token=a0"),
            ("{{{id}}}", "{1234}"),
            ("a{{b}}c", "a{b}c"),
            ("ü-{slot}", "ü-7"),
        ] {
            assert_eq!(written(text, &VALUES), name, "{text}");
        }
    }

    #[test]
    fn the_longest_name_fits() {
        let values = NameValues { id: u64::MAX, slot: u32::MAX, worker: u32::MAX, ..VALUES };
        for text in ["{id}", "{id%10}", "{id%11}", "{id%18446744073709551615}", "{slot}{worker}", "{source}/{key}"] {
            let longest = parsed(text).max_len(values.source.len(), values.key.len());
            let id = if text == "{id%11}" { 10 } else { values.id - 1 };
            let at_most_longest = written(text, &NameValues { id, ..values }).len();
            assert_eq!(at_most_longest, longest, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        for (text, cause) in [
            ("", "stream name: it is empty; write for example load-{id}"),
            ("a\nb", "stream name: it holds a control character, such as a line break; leave it out"),
            ("{idd}", "stream name: {idd} is no placeholder; did you mean {id}?"),
            ("{Slots}", "stream name: {Slots} is no placeholder; did you mean {slot}?"),
            (
                "{number}",
                "stream name: {number} is no placeholder; known are {id}, {id%N}, {slot}, {worker}, {source}, {key}",
            ),
            ("{id%0}", "stream name: {id%0} has no number above zero after %; write for example {id%100}"),
            ("{id%}", "stream name: {id%} has no number above zero after %; write for example {id%100}"),
            ("ab{id", "stream name: no } closes the { in column 3; write {{ for a brace of the name"),
            ("ab}", "stream name: no { opens before the } in column 3; write }} for a brace of the name"),
        ] {
            assert_eq!(text.parse::<StreamName>().unwrap_err().to_string(), cause, "{text}");
        }
        let longest = format!("{}{{id}}", "x".repeat(MAX_STREAM_NAME - 20));
        assert_eq!(parsed(&longest).max_len(0, 0), MAX_STREAM_NAME);
        let longer = format!("x{longest}").parse::<StreamName>().unwrap_err();
        let cause = "stream name: it may become 16777116 bytes long; at most 16777115 can be sent";
        assert_eq!(longer.to_string(), cause);
    }

    #[test]
    fn keys_and_tokens_are_not_shown() {
        for (text, shown) in [
            ("load-{id}", "load-{id}"),
            ("load-{id%10}?token=t0ken{id}", "load-{id%10}?***"),
            ("s3cret", "***"),
            ("s3cret?token={id}", "***?***"),
            ("?token=t0ken", "?***"),
            ("{key}", "{key}"),
            ("{{{slot}-{worker}-{source}}}", "{{{slot}-{worker}-{source}}}"),
        ] {
            let name = parsed(text);
            assert_eq!(name.to_string(), shown);
            assert_eq!(format!("{name:?}"), format!("StreamName({shown})"));
            let saved = serde_json::to_string(&name).unwrap();
            assert_eq!(saved, format!("\"{shown}\""));
            let read: StreamName = serde_json::from_str(&saved).unwrap();
            assert_eq!(read, name);
            assert_eq!(read.to_string(), shown);
        }
        assert_ne!(parsed("a{id}"), parsed("b{id}"));
        assert!(parsed("s3cret") == parsed("other") && !parsed("s3cret").is(&parsed("other")));
        assert!(parsed("s3cret{{").is(&parsed("s3cret{{")));
    }

    #[test]
    fn a_pattern_tells_what_it_needs() {
        let told = |text| (parsed(text).needs_keys(), parsed(text).is_the_same_for_all());
        assert_eq!(told("load"), (false, true));
        assert_eq!(told("load?{id}"), (false, false));
        assert_eq!(told("{key}"), (true, false));
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_that_fits_or_an_error(text in "[a-z{}%?0-9]{0,30}|\\PC{0,60}", id: u64, slot: u32) {
            if let Ok(name) = text.parse::<StreamName>() {
                let mut out = vec![0; name.max_len(VALUES.source.len(), VALUES.key.len())];
                let length = name.write(&NameValues { id, slot, ..VALUES }, &mut out);
                prop_assert!(length <= out.len());
                prop_assert!(std::str::from_utf8(&out[..length]).is_ok());
            }
        }

        #[test]
        fn escaped_text_is_itself(text in "[a-z{}%]{1,30}") {
            prop_assert_eq!(written(&text.replace('{', "{{").replace('}', "}}"), &VALUES), text);
        }
    }
}
