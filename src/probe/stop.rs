//! What ended a probe early, and where it was then.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use super::ProbePlan;
use crate::base::{Nanos, redact_url};
use crate::measure::{Failure, FailureKind, Step};
use crate::protocol::session::Status;
use crate::protocol::transcript::Transcript;
use crate::protocol::{ClientState, Violation};

/// What ended a probe early.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is no connection.
    Connect(io::Error),
    /// Time is up.
    Timeout,
    /// The peer closed the connection.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// The peer's bytes are wrong.
    Violation(Violation),
    /// There is no TLS, for this reason.
    Tls(Errno),
    /// The server says no.
    Refused(Refused),
    /// The server lets the client in and hangs up so much later.
    TakenBack(Nanos),
    /// The server's bytes after the handshake are wrong.
    BadMessage(String),
    /// The connection broke in another way.
    Socket(io::Error),
}

impl From<io::Error> for Stop {
    /// For errors of an established connection.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Timeout,
            _ if kind_of(&error) == FailureKind::Reset => Self::Reset,
            _ => Self::Socket(error),
        }
    }
}

/// A probe that ended early.
pub(super) struct Stopped<'a> {
    pub stop: Stop,
    pub plan: &'a ProbePlan,
    /// How far the handshake had come.
    pub state: ClientState,
    /// TLS is there, or not asked for.
    pub is_secured: bool,
    /// Where the session stood; `None` before there was one.
    pub session_step: Option<Step>,
    /// The stream that was asked for had started.
    pub has_started: bool,
    /// All bytes from S0 on.
    pub received: &'a [u8],
    /// What was said after the handshake.
    pub transcript: &'a Transcript,
}

/// Cause and remedy.
pub(super) type Advice = (String, String);

/// A server's no.
#[derive(Debug)]
pub(super) struct Refused {
    pub failure: Failure,
    pub code: String,
    pub description: String,
    pub redirect: Option<String>,
}

impl Refused {
    /// In these words.
    pub(super) fn new(step: Step, status: &Status<'_>) -> Self {
        Self {
            failure: Failure::refused(step, status),
            code: status.code.to_string(),
            description: status.description.to_string(),
            redirect: status.redirect.map(|url| redact_url(&url.to_string())),
        }
    }
}

/// An error of `TcpStream::connect_timeout` that is its timeout has no number.
pub(super) fn kind_of(error: &io::Error) -> FailureKind {
    match Errno::from_io_error(error) {
        Some(errno) => FailureKind::from_errno(errno),
        None if error.kind() == ErrorKind::TimedOut => FailureKind::Timeout,
        None => FailureKind::Cancelled,
    }
}
