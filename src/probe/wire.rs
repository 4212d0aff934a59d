//! The connection of a probe: plain or within TLS, with a limit to every wait.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::stop::Stop;
use crate::io::tls::TlsStream;

/// A connection.
pub(super) enum Wire {
    Plain(TcpStream),
    Secured(Box<TlsStream>),
}

impl Wire {
    /// Sends all of `bytes`; false if the peer is gone.
    pub(super) fn send(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<bool, Stop> {
        let limit = deadline.remaining().ok_or(Stop::Timeout)?;
        self.socket().set_write_timeout(Some(limit)).map_err(Stop::Socket)?;
        let sent = match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Secured(stream) => stream.write_all(bytes),
        };
        match sent.map_err(Stop::from) {
            Ok(()) => Ok(true),
            Err(Stop::Reset) => Ok(false),
            Err(stop) => Err(stop),
        }
    }

    /// Waits for bytes; returns how many, at least 1.
    pub(super) fn receive(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, Stop> {
        loop {
            let limit = deadline.remaining().ok_or(Stop::Timeout)?;
            self.socket().set_read_timeout(Some(limit)).map_err(Stop::Socket)?;
            let received = match self {
                Self::Plain(stream) => stream.read(buffer),
                Self::Secured(stream) => stream.read(buffer),
            };
            match received {
                Ok(0) => return Err(Stop::Closed),
                Ok(size) => return Ok(size),
                // The socket's timer may be early.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // TLS that ends without a word of goodbye, as many servers end it.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Stop::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Secured(stream) => stream.socket(),
        }
    }
}

/// A limit that cannot overflow, however long.
pub(super) struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// What is left, never zero: a socket takes zero for no limit at all.
    pub(super) fn remaining(&self) -> Option<Duration> {
        self.limit.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())
    }
}
