//! What one message says, in facts and in words.

use std::collections::VecDeque;

use super::conversation::{Fact, Facts, Media, Said, Side};
use crate::base::{REDACTED, redact_url, redact_words};
use crate::protocol::amf0::{Amf0Error, Value};
use crate::protocol::session::{Backend, Command, Control, MessageKind, Status};

/// Names, queries and unanswered commands that are remembered: a session has a handful.
const MOST_REMEMBERED: usize = 32;
/// Members of an object that are told: `connect` has up to a dozen.
const MOST_MEMBERS: usize = 24;
/// What `publish` may ask for.
const KINDS: [&str; 3] = ["live", "record", "append"];
/// Characters of a text that are told.
const MOST_OF_A_TEXT: usize = 200;

/// What has to be remembered of a session to tell its commands.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Names of streams, with their queries, and queries by themselves: see [`redact_words`].
    names: VecDeque<String>,
    /// Commands of the client that wait for an answer.
    asked: VecDeque<(f64, String)>,
    /// `connect` was heard, so what follows its application is known.
    knows_application: bool,
    /// The name of a stream was heard.
    knows_stream: bool,
}

impl Words {
    /// A command, and what it tells about others.
    pub(super) fn command(&mut self, from: Side, command: &Command<'_>, message_stream: u32) -> Said {
        let name = clipped(&command.name.to_string());
        let answers = matches!(name.as_str(), "_result" | "_error").then(|| self.answered(command.transaction));
        let answers = answers.flatten();
        if from == Side::Client {
            remember(&mut self.asked, (command.transaction, name.clone()));
        }
        let (facts, text) = match (from, name.as_str()) {
            (Side::Client, "connect") => self.connect(command),
            (Side::Client, "publish" | "play" | "play2") => self.start(command, message_stream),
            (Side::Client, name) => self.request(name, command),
            (Side::Server, "_result" | "_error") => self.answer(command, name == "_error", answers.as_deref()),
            (Side::Server, _) => self.notice(command),
        };
        Said {
            from,
            at_ns: None,
            name: name.into(),
            transaction: Some(command.transaction.into()),
            answers,
            facts,
            text,
        }
    }

    /// A server's words without names and queries. What the client said about either has to be known for that: if it is
    /// not, because its side was not captured, the words are not shown.
    pub(super) fn redacted(&self, text: &str) -> String {
        clipped(&redact_words(text, self.names.iter().map(String::as_str)))
    }

    /// The command that an answer is for.
    fn answered(&self, transaction: f64) -> Option<String> {
        self.asked.iter().rev().find(|(number, _)| *number == transaction).map(|(_, name)| name.clone())
    }

    fn connect(&mut self, command: &Command<'_>) -> (Facts, String) {
        self.knows_application = true;
        let mut facts = Facts::default();
        let members = command.argument(0).and_then(|object| object.as_properties());
        for (key, value) in members.into_iter().flatten().take(MOST_MEMBERS) {
            let key = clipped(&key.to_string());
            let fact = match (key.as_str(), value) {
                ("app", Value::String(app)) => Fact::Text(self.application(&app.to_string())),
                ("tcUrl" | "swfUrl" | "pageUrl", Value::String(url)) => Fact::Text(self.url(&url.to_string())),
                ("flashVer" | "type" | "fourCcList", value) => described(&value),
                (_, value) => masked(&value),
            };
            facts.add(key, fact);
        }
        let more = command.argument(1).is_some();
        let text = list(&facts) + if more { ", and more arguments, which are not shown" } else { "" };
        (facts, text)
    }

    /// `publish` and `play`.
    fn start(&mut self, command: &Command<'_>, message_stream: u32) -> (Facts, String) {
        let mut facts = Facts::default();
        let mut text = self.stream_of(command, &mut facts);
        let labels = if command.name == "publish" { ["type", "", ""] } else { ["start", "duration", "reset"] };
        for (index, label) in (2..).zip(labels) {
            let Some(value) = command.argument(index) else { break };
            let fact = match value {
                Value::String(kind) if KINDS.contains(&kind.to_string().as_str()) => Fact::Text(kind.to_string()),
                value => masked(&value),
            };
            text += &format!(", {label} {fact}");
            facts.add(if label.is_empty() { "more" } else { label }, fact);
        }
        facts.add("message_stream", message_stream);
        (facts, format!("{text}, on message stream {message_stream}"))
    }

    /// Any other command of a client: most are about a stream, or about nothing.
    fn request(&mut self, name: &str, command: &Command<'_>) -> (Facts, String) {
        let mut facts = Facts::default();
        let text = match (name, command.argument(1)) {
            ("createStream", _) => String::new(),
            (_, Some(Value::String(_))) => self.stream_of(command, &mut facts),
            ("deleteStream" | "closeStream", Some(Value::Number(stream))) => {
                facts.add("message_stream", stream);
                format!("message stream {}", Fact::from(stream))
            }
            (_, Some(value)) => {
                facts.add("argument", masked(&value));
                masked(&value).to_string()
            }
            (_, None) => String::new(),
        };
        (facts, text)
    }

    /// The stream that a command names as its first argument.
    fn stream_of(&mut self, command: &Command<'_>, facts: &mut Facts) -> String {
        let Some(Value::String(name)) = command.argument(1) else { return "no stream".into() };
        self.knows_stream = true;
        self.remember_name(name.to_string());
        facts.add("stream", REDACTED);
        format!("stream {REDACTED}")
    }

    /// `_result` and `_error`.
    fn answer(&mut self, command: &Command<'_>, refused: bool, answers: Option<&str>) -> (Facts, String) {
        let mut facts = Facts::default();
        let what = answers.unwrap_or("an unknown command");
        if !refused
            && answers.is_none_or(|asked| asked == "createStream")
            && let Some(stream) = command.message_stream()
        {
            facts.add("message_stream", stream);
            return (facts, format!("answers {what}: message stream {stream}"));
        }
        let mut parts = vec![format!("{} {what}", if refused { "refuses" } else { "answers" })];
        parts.extend(self.status(&Status::of(command), &mut facts));
        if answers == Some("connect") || answers.is_none() {
            parts.extend(backend(&Backend::of(command), &mut facts));
        }
        (facts, parts.join(": "))
    }

    /// `onStatus` and other things that a server says unasked.
    fn notice(&mut self, command: &Command<'_>) -> (Facts, String) {
        let mut facts = Facts::default();
        let parts = self.status(&Status::of(command), &mut facts);
        (facts, parts.join(": "))
    }

    /// Level and code, words, redirect.
    fn status(&mut self, status: &Status<'_>, facts: &mut Facts) -> Vec<String> {
        let mut parts = Vec::new();
        let [level, code, description] = [status.level, status.code, status.description].map(|text| text.to_string());
        if !level.is_empty() {
            facts.add("level", clipped(&level));
        }
        if !code.is_empty() {
            facts.add("code", clipped(&code));
            let level = if level.is_empty() { String::new() } else { format!(" ({})", clipped(&level)) };
            parts.push(format!("{}{level}", clipped(&code)));
        }
        if !description.is_empty() {
            let about_stream = !code.starts_with("NetConnection.");
            let known = self.knows_application && (self.knows_stream || !about_stream);
            let words = if known { self.redacted(&description) } else { REDACTED.to_owned() };
            parts.push(format!("\"{words}\""));
            facts.add("description", words);
        }
        if let Some(url) = status.redirect {
            let url = clipped(&redact_url(&url.to_string()));
            parts.push(format!("go to {url}"));
            facts.add("redirect", url);
        }
        parts
    }

    /// The application, without what follows its first part: it may be a key, and its query a token.
    fn application(&mut self, app: &str) -> String {
        let end = app.find(['/', '?']).unwrap_or(app.len());
        let (shown, hidden) = app.split_at(end);
        self.remember_access(hidden);
        let (path, query) = hidden.split_once('?').map_or((hidden, ""), |(path, _)| (path, "?***"));
        let path = if path.len() > 1 { "/***" } else { path };
        clipped(&format!("{shown}{path}{query}"))
    }

    fn url(&mut self, url: &str) -> String {
        let place = url.split_once("://").map_or(url, |(_, place)| place);
        let path = place.split_once('/').map_or("", |(_, path)| path);
        self.remember_access(path.find(['/', '?']).map_or("", |end| &path[end..]));
        clipped(&redact_url(url))
    }

    /// What follows the application: parts of a path, and a query.
    fn remember_access(&mut self, hidden: &str) {
        let (path, query) = hidden.split_once('?').unwrap_or((hidden, ""));
        if !query.is_empty() {
            self.remember_name(format!("?{query}"));
        }
        path.split('/').filter(|part| !part.is_empty()).for_each(|part| self.remember_name(part.to_owned()));
    }

    fn remember_name(&mut self, name: String) {
        if !name.is_empty() && !self.names.contains(&name) {
            remember(&mut self.names, name);
        }
    }
}

/// What a server says about itself.
fn backend(backend: &Backend<'_>, facts: &mut Facts) -> Option<String> {
    if *backend == Backend::default() {
        return None;
    }
    let texts = [("fmsVer", backend.fms_version), ("version", backend.version)];
    for (name, text) in texts {
        text.into_iter().for_each(|text| facts.add(name, clipped(&text.to_string())));
    }
    for (name, number) in [("capabilities", backend.capabilities), ("mode", backend.mode)] {
        number.into_iter().for_each(|number| facts.add(name, number));
    }
    let identity = clipped(&backend.to_string());
    facts.add("server", identity.as_str());
    Some(format!("server {identity}"))
}

/// A control message.
pub(super) fn control(from: Side, control: Control) -> Said {
    let mut facts = Facts::default();
    let mut fact = |name, number: u32| facts.add(name, number);
    let (name, text) = match control {
        Control::SetChunkSize(size) => {
            fact("bytes", size);
            ("set_chunk_size", format!("chunks of up to {size} bytes"))
        }
        Control::Abort(chunk_stream) => {
            fact("chunk_stream", chunk_stream);
            ("abort", format!("the rest of the message on chunk stream {chunk_stream} will not come"))
        }
        Control::Acknowledgement(bytes) => {
            fact("bytes", bytes);
            ("acknowledgement", format!("{bytes} bytes received"))
        }
        Control::WindowAckSize(bytes) => {
            fact("bytes", bytes);
            ("window_ack_size", format!("an acknowledgement every {bytes} bytes"))
        }
        Control::SetPeerBandwidth { window, limit } => {
            fact("bytes", window);
            fact("limit", limit.into());
            let limit = ["hard", "soft", "dynamic"].get(usize::from(limit)).copied().unwrap_or("of an unknown kind");
            ("set_peer_bandwidth", format!("{window} bytes, {limit}"))
        }
        Control::StreamBegin(stream) => {
            fact("message_stream", stream);
            ("stream_begin", format!("message stream {stream}"))
        }
        Control::StreamEof(stream) => {
            fact("message_stream", stream);
            ("stream_eof", format!("message stream {stream}"))
        }
        Control::SetBufferLength { message_stream, length_ms } => {
            fact("message_stream", message_stream);
            fact("ms", length_ms);
            ("set_buffer_length", format!("{length_ms} ms of message stream {message_stream}"))
        }
        Control::PingRequest(clock_ms) => {
            fact("clock_ms", clock_ms);
            ("ping_request", String::new())
        }
        Control::PingResponse(clock_ms) => {
            fact("clock_ms", clock_ms);
            ("ping_response", String::new())
        }
        Control::OtherEvent(event) => {
            fact("event", event.into());
            ("user_control", format!("event {event}"))
        }
    };
    said(from, name, facts, text)
}

/// Messages of audio, video and data.
pub(super) fn media(from: Side, media: &Media) -> Said {
    said(from, "media", media.facts(), media.to_string())
}

/// A message that says it is a command.
pub(super) fn unreadable_command(from: Side, length: usize, error: &Amf0Error, first: &str) -> Said {
    let mut facts = Facts::default();
    facts.add("bytes", length as u64);
    facts.add("first_hex", first);
    said(from, "unreadable", facts, format!("a command of {length} bytes: {error}; it begins {first}"))
}

/// A control message that says nothing.
pub(super) fn short_control(from: Side, kind: MessageKind) -> Said {
    said(from, "unreadable", Facts::default(), format!("{kind} message that is too short"))
}

/// Everything that follows in one direction.
pub(super) fn unreadable_rest(from: Side, why: &str, bytes: u64, first: &str) -> Said {
    let mut facts = Facts::default();
    facts.add("bytes", bytes);
    facts.add("first_hex", first);
    let rest = match bytes {
        0 => "nothing follows".to_owned(),
        _ => format!("{bytes} bytes from here on, which begin {first}"),
    };
    said(from, "unreadable", facts, format!("{why}; {rest}"))
}

fn said(from: Side, name: &'static str, facts: Facts, text: String) -> Said {
    Said { from, at_ns: None, name: name.into(), transaction: None, answers: None, facts, text }
}

/// "app live, flashVer LNX 9,0,124,2".
fn list(facts: &Facts) -> String {
    facts.0.iter().map(|(name, fact)| format!("{name} {fact}")).collect::<Vec<_>>().join(", ")
}

/// A value that gives no access.
fn described(value: &Value<'_>) -> Fact {
    match value {
        Value::String(text) => Fact::Text(clipped(&text.to_string())),
        Value::StrictArray(elements) => {
            let texts: Vec<String> = elements.take(MOST_MEMBERS).map(|value| described(&value).to_string()).collect();
            Fact::Text(clipped(&texts.join(" ")))
        }
        value => masked(value),
    }
}

/// A value of unknown meaning: a text may be a token.
fn masked(value: &Value<'_>) -> Fact {
    match value {
        Value::Number(number) => (*number).into(),
        Value::Boolean(flag) => Fact::Flag(*flag),
        Value::String(text) if text.is_empty() => "\"\"".into(),
        Value::Null => "null".into(),
        Value::Undefined => "undefined".into(),
        Value::Object(_) | Value::EcmaArray(_) => "an object".into(),
        Value::StrictArray(_) => "an array".into(),
        Value::String(_) | Value::Xml(_) | Value::Reference(_) | Value::Date(_) | Value::Unsupported => REDACTED.into(),
    }
}

/// A peer's text as it can be printed on a line: not longer than anybody reads, and without control characters.
fn clipped(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters
        .by_ref()
        .take(MOST_OF_A_TEXT)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Keeps the latest.
fn remember<T>(known: &mut VecDeque<T>, new: T) {
    if known.len() == MOST_REMEMBERED {
        known.pop_front();
    }
    known.push_back(new);
}
