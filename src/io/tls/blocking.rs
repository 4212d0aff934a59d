//! TLS over one blocking socket, for a connection that is looked at rather than measured.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConnection, StreamOwned};
use serde::Serialize;

use super::certificate::{Certificate, describe};
use super::config::TlsClient;
use super::fault;
use crate::io::Errno;

/// A client's connection within TLS.
pub struct TlsStream {
    stream: StreamOwned<ClientConnection, TcpStream>,
    server_name: String,
    checks: bool,
}

/// What both sides agreed on, and who the server says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsFacts {
    /// The name that was asked for.
    pub server_name: String,
    /// `TLS 1.3` or `TLS 1.2`; `None` if there was no agreement.
    pub version: Option<String>,
    /// The cipher suite, by its registered name.
    pub cipher: Option<String>,
    /// The group of the key exchange.
    pub key_exchange: Option<String>,
    /// The application's protocol (ALPN), if the server named one.
    pub alpn: Option<String>,
    /// Whether the certificate was checked.
    pub certificate_checked: bool,
    /// The server's certificate first, then those that it sent to vouch for it.
    pub certificates: Vec<Certificate>,
}

/// Why there is no TLS.
#[derive(Debug)]
pub enum TlsStop {
    /// What is wrong: the error number of a [`TlsFault`](crate::protocol::TlsFault).
    Fault(Errno),
    /// The connection ended or was silent.
    Socket(io::Error),
}

impl TlsStream {
    /// Secures a connection. The socket's own timeouts limit each wait; `may_wait` says before each whether there is time.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn secure(
        client: &TlsClient,
        socket: TcpStream,
        mut may_wait: impl FnMut(&TcpStream) -> io::Result<()>,
    ) -> Result<Self, TlsStop> {
        let client = client.of_worker();
        let config = Arc::clone(&client.config);
        let connection = ClientConnection::new(config, client.server_name.clone())
            .map_err(|error| TlsStop::Fault(fault::errno(&error, false)))?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            may_wait(&stream.sock).map_err(TlsStop::Socket)?;
            match stream.conn.complete_io(&mut stream.sock) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(stop(error, &client)),
            }
        }
        Ok(Self { stream, server_name: client.server_name.to_str().into_owned(), checks: client.checks })
    }

    /// What was agreed on.
    pub fn facts(&self) -> TlsFacts {
        let connection = &self.stream.conn;
        let version = connection.protocol_version().map(|version| match version {
            rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
            rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
            other => format!("{other:?}"),
        });
        let named = |value: &dyn std::fmt::Debug| format!("{value:?}");
        TlsFacts {
            server_name: self.server_name.clone(),
            version,
            cipher: connection.negotiated_cipher_suite().map(|suite| named(&suite.suite())),
            key_exchange: connection.negotiated_key_exchange_group().map(|group| named(&group.name())),
            alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            certificate_checked: self.checks,
            certificates: connection.peer_certificates().unwrap_or_default().iter().map(describe).collect(),
        }
    }

    /// The connection below, for its timeouts.
    pub fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }
}

fn stop(error: io::Error, client: &TlsClient) -> TlsStop {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return TlsStop::Socket(error);
    };
    let errno = fault::errno(cause, false);
    TlsStop::Fault(if client.certificate_requests.take() { fault::without_certificate(errno) } else { errno })
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
