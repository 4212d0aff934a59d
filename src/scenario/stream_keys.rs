//! Files of stream keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use super::PlanError;
use crate::base::input;
use crate::load::{MAX_STREAM_NAME, StreamKeys};

/// The longest file that is read: millions of keys.
const LONGEST: u64 = 1 << 30;

/// Reads a CSV file with a stream key in the first column of each line.
///
/// Further columns, blank lines and lines that begin with `#` are ignored, and so is a first line that only names the
/// column (`key`, `stream key` or the like). A key with a comma or a leading `#` stands in double quotes.
///
/// Keys are for one client each: two that publish one stream refuse each other.
///
/// # Errors
/// If the file cannot be read, has no key, has one twice, or a line has none that can be sent. Errors name the line and
/// never show a key.
pub fn read_stream_keys(path: &Path) -> Result<StreamKeys, PlanError> {
    let named = input::name(path).display();
    let bytes = input::read(path, LONGEST)
        .map_err(|error| PlanError::new(format!("cannot read the stream keys in {named}: {error}; check the path")))?;
    parse_stream_keys(&bytes).map_err(|error| PlanError::new(format!("stream keys in {named}{error}")))
}

/// The keys in the bytes of such a file.
///
/// # Errors
/// As [`read_stream_keys`]; the text continues one that names the file.
pub fn parse_stream_keys(bytes: &[u8]) -> Result<StreamKeys, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!(", line {line}: not UTF-8; save the file as UTF-8")
    })?;
    // Spreadsheets mark UTF-8 files by this.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut keys = StreamKeys::default();
    let mut is_first = true;
    let mut lines: HashMap<Cow<'_, str>, usize> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |cause: &str| format!(", line {}: {cause}", index + 1);
        let key = first_column(line).map_err(wrong)?;
        if std::mem::take(&mut is_first) && names_the_column(&key) {
            continue;
        }
        if key.is_empty() {
            return Err(wrong("the first column is empty; give the line a key or remove it"));
        }
        if key.chars().any(char::is_control) {
            return Err(wrong("the key holds a control character; remove it"));
        }
        if key.len() > MAX_STREAM_NAME {
            return Err(wrong(&format!("the key has {} bytes; at most {MAX_STREAM_NAME} can be sent", key.len())));
        }
        keys.extend([&*key]);
        match lines.entry(key) {
            Entry::Vacant(new) => drop(new.insert(index + 1)),
            Entry::Occupied(known) => {
                return Err(wrong(&format!("the same key as in line {}; give each client its own", known.get())));
            }
        }
    }
    if keys.is_empty() {
        return Err(": the file has no key; write one a line".into());
    }
    Ok(keys)
}

/// The first field of a line of CSV (RFC 4180), without spaces around it.
fn first_column(line: &str) -> Result<Cow<'_, str>, &'static str> {
    let Some(quoted) = line.strip_prefix('"') else {
        let field = line.split(',').next().unwrap_or(line).trim_end();
        return if field.contains('"') {
            Err("a quote within the key; put all of it in quotes")
        } else {
            Ok(field.into())
        };
    };
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"').ok_or("no quote closes the key; keys end on their line")?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None if after.trim_start().is_empty() || after.trim_start().starts_with(',') => return Ok(field.into()),
            None => return Err("text after the quoted key; separate columns by a comma"),
        }
    }
}

/// Whether the first line's field is what people write above keys.
fn names_the_column(field: &str) -> bool {
    let letters: String = field.chars().filter(|c| c.is_alphanumeric()).collect();
    ["key", "keys", "streamkey", "streamkeys", "stream", "streamname", "name"].contains(&&*letters.to_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let keys = parse_stream_keys(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}{error}"));
        (0..keys.len()).map(|place| keys.get(place).unwrap().to_owned()).collect()
    }

    fn refused(bytes: &[u8]) -> String {
        parse_stream_keys(bytes).unwrap_err()
    }

    #[test]
    fn the_first_column_has_the_keys() {
        assert_eq!(keys("a\nb\n"), ["a", "b"]);
        assert_eq!(keys("Stream Key,owner\r\na,me\r\n\r\n# spare\r\nb,you"), ["a", "b"]);
        assert_eq!(keys("\u{feff}key\nkey\n"), ["key"]);
        assert_eq!(keys("\"a,b\" , x\n\"#c\"\n\"say \"\"d\"\"\""), ["a,b", "#c", "say \"d\""]);
        assert_eq!(keys("  a?token=x  ,"), ["a?token=x"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_without_keys() {
        assert_eq!(refused(b""), ": the file has no key; write one a line");
        assert_eq!(refused(b"key\n# none\n"), ": the file has no key; write one a line");
        assert_eq!(refused(b"s3cret\n,x\n"), ", line 2: the first column is empty; give the line a key or remove it");
        assert_eq!(refused(b"\n\"s3cret\nb"), ", line 2: no quote closes the key; keys end on their line");
        assert_eq!(refused(b"s3\"cret"), ", line 1: a quote within the key; put all of it in quotes");
        assert_eq!(refused(b"\"s3\"cret"), ", line 1: text after the quoted key; separate columns by a comma");
        assert_eq!(refused(b"a\nb\xff"), ", line 2: not UTF-8; save the file as UTF-8");
        assert_eq!(
            refused(b"key\ns3cret\na\n\"s3cret\",x"),
            ", line 4: the same key as in line 2; give each client its own"
        );
        assert_eq!(refused(b"a\tb"), ", line 1: the key holds a control character; remove it");
        let long = "x".repeat(MAX_STREAM_NAME + 1);
        assert_eq!(refused(long.as_bytes()), ", line 1: the key has 16777116 bytes; at most 16777115 can be sent");
        assert_eq!(keys(&"x".repeat(70_000))[0].len(), 70_000);
    }

    #[test]
    fn a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.csv");
        let missing = read_stream_keys(&path).unwrap_err().to_string();
        assert!(
            missing.starts_with("cannot read the stream keys in /") && missing.ends_with("; check the path"),
            "{missing}"
        );
        std::fs::write(&path, "a\n").unwrap();
        assert_eq!(read_stream_keys(&path).unwrap().get(0), Some("a"));
        std::fs::write(&path, ",\n").unwrap();
        assert!(read_stream_keys(&path).unwrap_err().to_string().contains("keys.csv, line 1: "));
    }

    proptest! {
        #[test]
        fn quoted_keys_come_back(written in prop::collection::btree_set("[ -~]{0,20}x", 1..20)) {
            let written = Vec::from_iter(written);
            let file: String = written.iter().map(|key| format!("\"{}\",1\n", key.replace('"', "\"\""))).collect();
            prop_assert_eq!(keys(&format!("key\n{file}")), written);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(keys) = parse_stream_keys(&bytes) {
                prop_assert!(!keys.is_empty());
            }
        }
    }
}
