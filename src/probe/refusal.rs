//! Why a session failed, as far as that can be told from outside, and what to do about it.

use super::stop::{Advice, Refused, Stopped};
use crate::base::Nanos;
use crate::measure::{FailureKind, Step};

impl Stopped<'_> {
    /// The server said no.
    pub(super) fn refused(&self, refused: &Refused, step: Step) -> Advice {
        let description = self.transcript.redacted(&refused.description);
        let words = match (refused.code.as_str(), description.as_str()) {
            ("", "") => "without a reason".to_owned(),
            (code, "") => code.to_owned(),
            ("", words) => format!("\"{words}\""),
            (code, words) => format!("{code}, \"{words}\""),
        };
        let cause = format!("the server refuses {}: {words}", asked(step));
        let remedy = match (refused.failure.kind, step) {
            (FailureKind::Redirected, _) => {
                let place = refused.redirect.as_deref().unwrap_or("the address that it names");
                format!("probe {place}, where the server sends its clients")
            }
            (FailureKind::NameTaken, _) => {
                "somebody publishes this stream already, or its last publisher is not timed out yet: end that, or name \
                 another with --stream"
                    .into()
            }
            (FailureKind::Unauthorized, _) if description.contains("authmod") => {
                "the server asks for Adobe's or Limelight's authentication (user and password), which this program \
                 does not speak: probe an application without it"
                    .into()
            }
            (FailureKind::Unauthorized, _) => {
                "give the credentials that the server asks for: a key or token in the URL or with --stream; its log \
                 and its hooks name the reason"
                    .into()
            }
            (_, Step::Reply) => {
                "check the application in the URL, with its query: the server's configuration names those that exist, \
                 its log the reason"
                    .into()
            }
            (_, Step::Play) => {
                "check that the stream is published, under this name and application; the server's log names the reason"
                    .into()
            }
            _ => "check the stream's name and key; the server's log and its hooks name the reason".into(),
        };
        (cause, remedy)
    }

    /// The server ended the connection.
    pub(super) fn session_hang_up(&self, how: &str, step: Step) -> Advice {
        let cause = format!("the server {how} the connection on {}, without a word", asked(step));
        let remedy = match step {
            Step::Reply => {
                "check the application in the URL: nginx-rtmp hangs up so where it does not exist, and where its \
                 on_connect hook says no; the server's log names the reason"
            }
            Step::Play => {
                "check the stream's name and key: nginx-rtmp hangs up so where `deny play` or its on_play hook says no; \
                 the server's log names the reason"
            }
            _ => {
                "check the stream's name and key: nginx-rtmp hangs up so where `deny publish` or its on_publish hook \
                 says no, others where the key is wrong; the server's log names the reason"
            }
        };
        (cause, remedy.into())
    }

    /// The server accepted, and ended the connection at once.
    pub(super) fn taken_back(&self, after: Nanos, step: Step) -> Advice {
        let what = asked(step);
        (
            format!("the server accepts {what} and hangs up {after} later"),
            format!(
                "check the stream's name and key: nginx-rtmp answers so where `deny {what}` applies, others where a hook \
                 says no late; the server's log names the reason"
            ),
        )
    }

    /// The server keeps the connection and does not answer.
    pub(super) fn session_silence(&self, step: Step) -> Advice {
        let limit = Nanos::from(self.plan.timeout);
        let has_started = self.has_started;
        match step {
            Step::Reply => (
                format!("the server did not answer connect within {limit}"),
                "look for a hook (on_connect) that hangs, or a proxy whose backend does; a server that ignores Set \
                 Chunk Size, as rtmpsrv does, waits so, too: --client librtmp sends none; raise --timeout if it is only \
                 slow"
                    .into(),
            ),
            Step::Play if has_started => (
                format!("the server let the player in and sent no audio or video within {limit}"),
                "check that somebody publishes this stream, under this name and application: many servers let players \
                 wait for it"
                    .into(),
            ),
            step => (
                format!("the server did not answer {} within {limit}", asked(step)),
                "look for a hook that hangs; a server that waits for a publisher lets a player wait so, too; raise \
                 --timeout if it is only slow"
                    .into(),
            ),
        }
    }

    /// The server's bytes cannot be read.
    pub(super) fn unreadable(&self, violation: &str) -> Advice {
        (
            format!("what the server sends behind the handshake is no RTMP: {violation}"),
            "look for a bug in the server, or for something on the way that changes bytes; the last rows above show \
             how far it could be read"
                .into(),
        )
    }
}

/// What the server was asked for.
fn asked(step: Step) -> &'static str {
    match step {
        Step::Reply => "connect",
        Step::Play => "play",
        _ => "publish",
    }
}
