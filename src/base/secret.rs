//! What must not be seen: values that show as `***` wherever they are printed or saved, and URLs without their keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands for a secret in every output.
pub const REDACTED: &str = "***";

/// A value that shows as [`REDACTED`] in texts, in debug output and in files.
///
/// Read back from such a text it has no value any more. Two secrets are equal, as what is seen of them is: the plans of
/// a result and of its copy in memory, or of two machines' results, do not differ by secrets.
#[derive(Clone)]
pub struct Secret<T>(Option<T>);

/// A secret text: a token, a password.
pub type SecretText = Secret<String>;

impl<T> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, for the one place that needs it; none in what was read back from an output.
    pub const fn reveal(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

/// [`REDACTED`] is a secret without its value; any other text is its value.
impl<T: FromStr> FromStr for Secret<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == REDACTED { Ok(Self(None)) } else { text.parse().map(Self::new) }
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(REDACTED)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(REDACTED)
    }
}

impl<T> PartialEq for Secret<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Secret<T> {}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A target's URL without what gives access: scheme, host, port and application stay; what follows the application,
/// everything after `?`, `#` or a space, and a user's name are replaced by [`REDACTED`].
///
/// Takes any text, a URL or not, and what it gave once it gives again. Without `scheme://` nobody knows whether a host
/// comes first, so only what stands before the first slash stays.
pub fn redact_url(text: &str) -> String {
    let is_slash = |c: char| matches!(c, '/' | '\\');
    let (place, query) = match text.char_indices().find(|(_, c)| matches!(c, '?' | '#') || c.is_whitespace()) {
        Some((at, mark)) => (&text[..at], format!("{mark}{REDACTED}")),
        None => (text, String::new()),
    };
    let scheme = place.find("://").filter(|at| !place[..*at].contains(|c| is_slash(c) || c == '@'));
    let (scheme, place) = place.split_at(scheme.map_or(0, |at| at + "://".len()));
    let mut slashes = place.match_indices(is_slash).map(|(at, _)| at + 1);
    let first = slashes.next().unwrap_or(place.len());
    let shown = if scheme.is_empty() { first } else { slashes.next().unwrap_or(place.len()) };
    let (shown, hidden) = place.split_at(shown);
    let shown = match shown.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => shown.to_owned(),
    };
    let hidden = if hidden.chars().all(is_slash) { hidden } else { REDACTED };
    format!("{scheme}{shown}{hidden}{query}")
}

/// A message that repeats what somebody wrote, without keys of URLs: each of the `written` words that is one is shown
/// as [`redact_url`] shows it.
pub fn redact_repeated<'a>(message: &str, written: impl IntoIterator<Item = &'a str>) -> String {
    // `--flag=value` and lists repeat their parts.
    let parts = written.into_iter().flat_map(|word| {
        let value = word.split_once('=').map(|(_, value)| value);
        let parts = [Some(word), value].into_iter().flatten().flat_map(|word| word.split(',').chain([word]));
        parts.filter(|part| is_url(part) && message.contains(part))
    });
    let mut parts: Vec<&str> = parts.collect();
    // One may be a part of another.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(message.to_owned(), |message, part| message.replace(part, &redact_url(part)))
}

/// What a peer said about streams and applications, without what gives access. Each of `names` is the name of a stream,
/// with its query or without, or only a query that begins with `?`: the name shows as `{stream}`, a query and its values
/// as [`REDACTED`]. URLs and lists of parameters lose theirs, whoever named them.
///
/// So equal refusals of different streams are equal texts.
pub fn redact_words<'a>(said: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut said = said.to_owned();
    for name in names {
        let (bare, query) = name.split_once('?').unwrap_or((name, ""));
        for secret in [name, bare].into_iter().filter(|secret| !secret.is_empty() && !bare.is_empty()) {
            said = replace_words(&said, secret, "{stream}");
        }
        let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
        for secret in [query].into_iter().chain(values).filter(|secret| !secret.is_empty()) {
            said = replace_words(&said, secret, REDACTED);
        }
    }
    said.split_inclusive(' ').map(without_access).collect()
}

/// A word, which may be a URL, an application with its query, or parameters without either.
fn without_access(word: &str) -> String {
    let text = word.trim_end();
    let space = &word[text.len()..];
    let has_query = text.split_once('?').is_some_and(|(_, query)| !query.is_empty());
    if has_query || text.contains("://") {
        return format!("{}{space}", redact_url(text));
    }
    if !(text.contains('&') && text.contains('=')) {
        return word.to_owned();
    }
    let hidden = text.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) => format!("{key}={REDACTED}"),
        None => REDACTED.to_owned(),
    });
    format!("{}{space}", hidden.collect::<Vec<_>>().join("&"))
}

/// `text` with each occurrence of `word` replaced that is not a part of a longer word.
fn replace_words(text: &str, word: &str, by: &str) -> String {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut replaced = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(word) {
        if part_of_word(text[..at].chars().next_back()) || part_of_word(text[at + word.len()..].chars().next()) {
            continue;
        }
        replaced.push_str(&text[done..at]);
        replaced.push_str(by);
        done = at + word.len();
    }
    replaced.push_str(&text[done..]);
    replaced
}

/// Bytes in hexadecimal, apart from each other, for people and files alike: what may be text in them, and so a key or a
/// token, shows as `**`.
///
/// Text is two or more bytes in a row that are printable or part of UTF-8, and a printable one at the end, where more may
/// follow.
pub fn redact_bytes(bytes: &[u8]) -> Vec<String> {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | 0x80..);
    let mut shown = Vec::with_capacity(bytes.len());
    for run in bytes.chunk_by(|a, b| is_text(a) == is_text(b)) {
        let goes_on = shown.len() + 1 == bytes.len() && run[0].is_ascii();
        let hidden = is_text(&run[0]) && (run.len() > 1 || goes_on);
        shown.extend(run.iter().map(|byte| if hidden { "**".to_owned() } else { format!("{byte:02x}") }));
    }
    shown
}

/// It may be a URL: it has a query, or a scheme or port before its path.
fn is_url(text: &str) -> bool {
    text.contains('?') || text.split_once('/').is_some_and(|(before, _)| before.contains(':'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Plan {
            token: SecretText,
        }
        let plan = Plan { token: Secret::new("t0ken".into()) };
        assert_eq!(format!("{plan:?} {} {:>5}", plan.token, plan.token), "Plan { token: *** } ***   ***");
        let saved = serde_json::to_string(&plan).unwrap();
        assert_eq!(saved, r#"{"token":"***"}"#);
        let read: Plan = serde_json::from_str(&saved).unwrap();
        assert_eq!(read, plan);
        assert_eq!((read.token.reveal(), plan.token.reveal()), (None, Some(&"t0ken".to_owned())));
    }

    #[test]
    fn a_secret_is_read_from_its_text() {
        let secret: SecretText = "t0ken".parse().unwrap();
        assert_eq!(secret.reveal().unwrap(), "t0ken");
        assert!("x".parse::<Secret<u32>>().is_err());
        assert!(serde_json::from_str::<Secret<u32>>("\"x\"").is_err());
    }

    #[test]
    fn urls_keep_all_but_keys_and_queries() {
        for (text, shown) in [
            ("rtmp://h/live/abc?token=x", "rtmp://h/live/***?***"),
            ("rtmps://h:443/live/abc", "rtmps://h:443/live/***"),
            ("rtmp://h/live", "rtmp://h/live"),
            ("rtmp://h/live/", "rtmp://h/live/"),
            ("rtmp://h/live/abc/", "rtmp://h/live/***"),
            ("rtmp://h/live?vhost=a/stream", "rtmp://h/live?***"),
            ("rtmp://h", "rtmp://h"),
            ("rtmp://h?token=x", "rtmp://h?***"),
            ("rtmp://[::1]:1935/app/room/key#t", "rtmp://[::1]:1935/app/***#***"),
            ("rtmp://h/live/key/a/b", "rtmp://h/live/***"),
            ("rtmp://h//live/key", "rtmp://h//***"),
            ("rtmp://h/live playpath=key", "rtmp://h/live ***"),
            ("rtmp://me:pw@h/live/key", "rtmp://***@h/live/***"),
            ("rtmp://me:p/w@h/live/key", "rtmp://***@h/***"),
            ("rtmp:/h/live/key", "rtmp:/***"),
            ("rtmp:h/live/key", "rtmp:h/***"),
            (r"rtmp:\\h\live\key", r"rtmp:\***"),
            ("10.0.0.5:1935", "10.0.0.5:1935"),
            ("10.0.0.5:1935/", "10.0.0.5:1935/"),
            ("h:1935/live/key", "h:1935/***"),
            ("h:1935/live/key://x", "h:1935/***"),
            ("live/key", "live/***"),
            ("h:1935/live?from=http://t/token", "h:1935/***?***"),
            ("", ""),
        ] {
            assert_eq!(redact_url(text), shown, "{text}");
        }
    }

    #[test]
    fn what_is_repeated_is_redacted() {
        let written = ["--canary=rtmp://h/live/k1", "a:1/live/k2,rtmp://h/x/k3", "live?t=k4", "scenarios/a.toml", "k"];
        let told = |message| redact_repeated(message, written);
        assert_eq!(told("no 'rtmp://h/live/k1', k1"), "no 'rtmp://h/live/***', k1", "words, not their ends");
        assert_eq!(told("a:1/live/k2 and rtmp://h/x/k3"), "a:1/*** and rtmp://h/x/***");
        assert_eq!(told("'live?t=k4'; write rtmp://host/app/stream"), "'live?***'; write rtmp://host/app/stream");
        assert_eq!(told("cannot read scenarios/a.toml"), "cannot read scenarios/a.toml");
    }

    #[test]
    fn what_is_said_never_repeats_a_stream_key() {
        let said = |text: &str, name: &str| redact_words(text, [name]);
        assert_eq!(said("Already publishing", "k"), "Already publishing");
        assert_eq!(said("live/k3y is taken", "k3y"), "live/{stream} is taken");
        assert_eq!(said("k3y?token=x, k3y", "k3y?token=x"), "{stream}, {stream}");
        assert_eq!(said("k3y is no k", "k"), "k3y is no {stream}", "whole words only");
        assert_eq!(
            said("live?token=x of rtmp://h/live/x?y is what?", "k"),
            "live?*** of rtmp://h/live/***?*** is what?"
        );
        assert_eq!(said("t0ken is wrong for live", "?token=t0ken&live"), "*** is wrong for ***");
        assert_eq!(said("authmod=adobe&user=me&response=x no", ""), "authmod=***&user=***&response=*** no");
        assert_eq!(said("[ code=403 need auth; authmod=adobe ]", ""), "[ code=403 need auth; authmod=adobe ]");
        assert_eq!(redact_words("a of b", ["a", "b"]), "{stream} of {stream}");
        assert_eq!(
            redact_words("k3y?token=x, k3y, not t0ken", ["k3y?token=x", "?t=t0ken"]),
            "{stream}, {stream}, not ***"
        );
    }

    #[test]
    fn bytes_show_no_text() {
        let shown = |bytes: &[u8]| redact_bytes(bytes).join(" ");
        assert_eq!(shown(&[3, 0, 0, 0, 20]), "03 00 00 00 14");
        assert_eq!(shown(b"\x02\x00\x03key\x00"), "02 00 03 ** ** ** 00");
        assert_eq!(shown(b"\x02A\x00k"), "02 41 00 **", "more may follow the last");
        assert_eq!(shown("\u{1}ü\u{2}".as_bytes()), "01 ** ** 02");
        assert_eq!(shown(&[]), "");
    }

    proptest! {
        #[test]
        fn no_key_and_no_query_survive(key in "[a-z]{8,20}", token in "[A-Z]{8,20}", text in "\\PC*") {
            let shown = redact_url(&format!("rtmp://h:1935/live/{key}?token={token}"));
            prop_assert_eq!(shown, "rtmp://h:1935/live/***?***");
            let once = redact_url(&text);
            prop_assert_eq!(redact_url(&once), once);
        }
    }
}
