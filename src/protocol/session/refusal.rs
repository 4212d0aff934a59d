//! What a server of ours refuses, on purpose.

use std::fmt;
use std::str::FromStr;

use crate::base::{REDACTED, redact_url};

/// A client's request that a server may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// `connect` to an application.
    Connect,
    /// `publish` of a stream.
    Publish,
    /// `play` of a stream.
    Play,
}

/// How a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `NetConnection.Connect.Rejected`.
    Rejected,
    /// `NetStream.Publish.BadName`: somebody publishes that stream already.
    NameTaken,
    /// `NetConnection.Connect.Rejected`, `NetStream.Publish.Unauthorized` or `NetStream.Play.Unauthorized`.
    Unauthorized,
    /// `NetStream.Play.StreamNotFound`.
    NotFound,
    /// `NetConnection.Connect.Rejected` with the URL of another server, as Adobe's servers and SRS send it.
    Redirect(Box<str>),
    /// Not a word: the connection is closed, as nginx-rtmp does when an `on_publish` hook says no.
    Close,
}

/// One rule of what is refused. As text, which is how it is parsed and printed:
///
/// ```text
/// connect:rejected                            every client
/// connect:app=old*:redirect=rtmp://b/live     applications by pattern
/// publish:name=live-*:name-taken              stream names by pattern
/// publish:name=*key=wrong*:unauthorized
/// play:not-found
/// ```
///
/// `*` stands for any text. Names are matched whole, with their query, as the client sends them; a pattern has no `:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectRule {
    request: Request,
    pattern: Box<str>,
    refusal: Refusal,
}

/// The longest URL of a redirect, in bytes.
pub(super) const MAX_REDIRECT: usize = 1024;

/// Why a text is no [`RejectRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRejectRule {
    /// It does not begin with a request.
    #[error("'{0}' is no request: write connect, publish or play, then ':' and what happens, e.g. publish:name-taken")]
    Request(String),
    /// The field is not the one of the request.
    #[error("{request} is matched by {}, not by '{field}'", request.field())]
    Field {
        /// Of the rule.
        request: Request,
        /// What stands before the `=`.
        field: String,
    },
    /// It does not say how.
    #[error("'{refusal}' is no way to refuse {request}: write {}", request.refusals())]
    Refusal {
        /// Of the rule.
        request: Request,
        /// What stands last.
        refusal: String,
    },
    /// The URL is not RTMP's, or too long.
    #[error("a redirect leads to rtmp://... or rtmps://... of at most {MAX_REDIRECT} bytes, not to '{0}'")]
    Redirect(String),
}

impl RejectRule {
    /// Whether it refuses `request` of that application or stream.
    pub fn refuses(&self, request: Request, name: &str) -> bool {
        self.request == request && matches(&self.pattern, name)
    }

    /// How it refuses.
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    // The first place is always right for a part between two stars: what follows has only more room.
    while let Some((part, rest)) = pattern.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
        pattern = rest;
    }
    text.ends_with(pattern)
}

impl Request {
    fn field(self) -> &'static str {
        match self {
            Self::Connect => "app",
            Self::Publish | Self::Play => "name",
        }
    }

    fn refusals(self) -> &'static str {
        match self {
            Self::Connect => "rejected, unauthorized, redirect=URL or close",
            Self::Publish => "name-taken, unauthorized, redirect=URL or close",
            Self::Play => "not-found, unauthorized, redirect=URL or close",
        }
    }
}

impl FromStr for RejectRule {
    type Err = BadRejectRule;

    fn from_str(text: &str) -> Result<Self, BadRejectRule> {
        let (request, rest) = text.split_once(':').unwrap_or((text, ""));
        let request = match request {
            "connect" => Request::Connect,
            "publish" => Request::Publish,
            "play" => Request::Play,
            other => return Err(BadRejectRule::Request(other.to_owned())),
        };
        let (pattern, refusal) =
            match rest.split_once(':').and_then(|(field, rest)| Some((field.split_once('=')?, rest))) {
                // "redirect=rtmp" before "//...".
                None | Some((("redirect", _), _)) => ("*", rest),
                Some(((field, pattern), rest)) if field == request.field() => (pattern, rest),
                Some(((field, _), _)) => return Err(BadRejectRule::Field { request, field: field.to_owned() }),
            };
        let refusal = match (request, refusal) {
            (Request::Connect, "rejected") => Refusal::Rejected,
            (Request::Publish, "name-taken") => Refusal::NameTaken,
            (Request::Play, "not-found") => Refusal::NotFound,
            (_, "unauthorized") => Refusal::Unauthorized,
            (_, "close") => Refusal::Close,
            (_, other) => match other.strip_prefix("redirect=") {
                Some(url) => Refusal::Redirect(redirect(url)?),
                None => return Err(BadRejectRule::Refusal { request, refusal: shown(other) }),
            },
        };
        Ok(Self { request, pattern: pattern.into(), refusal })
    }
}

/// What stands for a refusal and is none; after a `=` it may be the name of a stream.
fn shown(refusal: &str) -> String {
    refusal.split_once('=').map_or_else(|| refusal.to_owned(), |(field, _)| format!("{field}={REDACTED}"))
}

fn redirect(url: &str) -> Result<Box<str>, BadRejectRule> {
    let is_rtmp = url.starts_with("rtmp://") || url.starts_with("rtmps://");
    if is_rtmp && url.len() <= MAX_REDIRECT { Ok(url.into()) } else { Err(BadRejectRule::Redirect(redact_url(url))) }
}

impl fmt::Display for RejectRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.request)?;
        if &*self.pattern != "*" {
            write!(f, "{}={}:", self.request.field(), self.pattern)?;
        }
        self.refusal.fmt(f)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Play => "play",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rejected => "rejected",
            Self::NameTaken => "name-taken",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not-found",
            Self::Redirect(url) => return write!(f, "redirect={url}"),
            Self::Close => "close",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> RejectRule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_round_trip() {
        for text in [
            "connect:rejected",
            "connect:unauthorized",
            "connect:app=old*:redirect=rtmp://10.0.0.2:1935/live",
            "connect:redirect=rtmps://b/live",
            "connect:app=x:close",
            "publish:name-taken",
            "publish:name=live-*:name-taken",
            "publish:name=*?key=wrong:unauthorized",
            "publish:redirect=rtmp://b/live",
            "play:name=:not-found",
            "play:not-found",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
        assert_eq!(rule("publish:name=*:close"), rule("publish:close"));
    }

    #[test]
    fn wrong_rules_say_what_is_right() {
        let error = |text: &str| text.parse::<RejectRule>().unwrap_err().to_string();
        let no_request = "'record' is no request: write connect, publish or play, then ':' and what happens, e.g. publish:name-taken";
        assert_eq!(error("record:close"), no_request);
        assert_eq!(error("publish:app=x:close"), "publish is matched by name, not by 'app'");
        let publish = "is no way to refuse publish: write name-taken, unauthorized, redirect=URL or close";
        assert_eq!(error("publish:not-found"), format!("'not-found' {publish}"));
        assert_eq!(error("publish"), format!("'' {publish}"));
        assert_eq!(error("publish:name=x"), format!("'name=***' {publish}"));
        let http = "a redirect leads to rtmp://... or rtmps://... of at most 1024 bytes, not to 'http://b'";
        assert_eq!(error("connect:redirect=http://b"), http);
        assert!(format!("connect:redirect=rtmp://{}", "b".repeat(1018)).parse::<RejectRule>().is_err());
    }

    #[test]
    fn patterns_match_whole_names() {
        let taken = rule("publish:name=live-*:name-taken");
        assert!(taken.refuses(Request::Publish, "live-7"));
        assert!(taken.refuses(Request::Publish, "live-"));
        assert!(!taken.refuses(Request::Publish, "a-live-7"));
        assert!(!taken.refuses(Request::Play, "live-7"));
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbxbxc", true),
            ("a*b*c", "acb", false),
            ("*aa*a", "aa", false),
            ("*aa*a", "aaa", true),
            ("ab*ba", "aba", false),
            ("*ü*", "grün", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
