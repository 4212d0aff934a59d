//! The TLS machine of one connection, driven by bytes.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedConnectionCommon, UnbufferedStatus,
    WriteTraffic,
};

use super::config::{CertificateRequests, TlsClient, TlsServer};
use super::fault;
use crate::io::Errno;

/// Either side. It keeps no bytes of its own: records and messages lie with its owner.
///
/// A session whose output has ended with an error is not to be used again.
pub(super) enum Session {
    Client(ClientSession),
    Server(UnbufferedServerConnection),
}

/// The client's side.
pub(super) struct ClientSession {
    session: UnbufferedClientConnection,
    certificate_requests: Arc<CertificateRequests>,
    /// The server has asked for a certificate, and got none.
    was_asked: bool,
}

/// What a session gives its owner.
#[derive(Default)]
pub(super) struct Output {
    /// Decrypted bytes that nobody has received yet.
    pub plain: Vec<u8>,
    /// Records to be sent: handshake messages, alerts.
    pub records: Vec<u8>,
    /// Nothing more will be decrypted: the peer's close_notify, or what is wrong.
    pub end: Option<Result<(), Errno>>,
}

/// What to do once there are no more records to read.
enum Then<'a> {
    Nothing,
    /// Encrypt these bytes.
    Encrypt(&'a [u8]),
    /// Say that nothing more will be sent.
    CloseNotify,
}

/// Bytes that a record of up to 16 KiB has beyond its plaintext, with room for a key update before it: 22 in TLS 1.3
/// (RFC 8446, section 5.2), at most 29 in TLS 1.2 with an AEAD (RFC 5288).
pub(super) const RECORD_OVERHEAD: usize = 64;

/// Most plaintext in a record (RFC 8446, section 5.1).
pub(super) const RECORD_PLAIN: usize = 1 << 14;

impl Session {
    pub(super) fn client(client: &TlsClient) -> Result<Self, Errno> {
        let session = UnbufferedClientConnection::new(client.config.clone(), client.server_name.clone());
        let certificate_requests = client.certificate_requests.clone();
        session
            .map(|session| Self::Client(ClientSession { session, certificate_requests, was_asked: false }))
            .map_err(|error| fault::errno(&error, false))
    }

    pub(super) fn server(server: &TlsServer) -> Result<Self, Errno> {
        let session = UnbufferedServerConnection::new(server.config.clone());
        session.map(Self::Server).map_err(|error| fault::errno(&error, false))
    }

    /// Both sides have proved who they are: bytes can be sent and received.
    pub(super) fn is_established(&self) -> bool {
        match self {
            Self::Client(client) => !client.session.is_handshaking(),
            Self::Server(session) => !session.is_handshaking(),
        }
    }

    /// Whether the handshake was a resumed one.
    pub(super) fn is_resumed(&self) -> bool {
        let kind = match self {
            Self::Client(client) => client.session.handshake_kind(),
            Self::Server(session) => session.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// Takes records off the front of `records`; what is left is an incomplete one. Returns the number of bytes taken.
    pub(super) fn read(&mut self, records: &mut [u8], output: &mut Output) -> usize {
        self.go_on(records, output, Then::Nothing)
    }

    /// Encrypts `plain` to `output.records`. `records` is what [`read`](Self::read) left.
    pub(super) fn encrypt(&mut self, plain: &[u8], records: &mut [u8], output: &mut Output) -> usize {
        self.go_on(records, output, Then::Encrypt(plain))
    }

    /// Writes a close_notify to `output.records`, if the handshake came so far.
    pub(super) fn close_notify(&mut self, records: &mut [u8], output: &mut Output) -> usize {
        self.go_on(records, output, Then::CloseNotify)
    }

    fn go_on(&mut self, records: &mut [u8], output: &mut Output, then: Then) -> usize {
        match self {
            Self::Client(client) => {
                let process = UnbufferedConnectionCommon::<ClientConnectionData>::process_tls_records;
                let taken = go_on(&mut client.session, process, records, output, then);
                client.was_asked |= client.certificate_requests.take();
                if client.was_asked
                    && let Some(Err(errno)) = &mut output.end
                {
                    *errno = fault::without_certificate(*errno);
                }
                taken
            }
            Self::Server(session) => {
                let process = UnbufferedConnectionCommon::<ServerConnectionData>::process_tls_records;
                go_on(session, process, records, output, then)
            }
        }
    }
}

fn go_on<Data>(
    session: &mut UnbufferedConnectionCommon<Data>,
    process: impl for<'c, 'i> Fn(&'c mut UnbufferedConnectionCommon<Data>, &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Data>,
    records: &mut [u8],
    output: &mut Output,
    mut then: Then,
) -> usize {
    let mut taken = 0;
    loop {
        let UnbufferedStatus { discard, state } = process(session, &mut records[taken..]);
        taken += discard;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            output.plain.extend_from_slice(record.payload);
                            taken += record.discard;
                        }
                        Err(error) => output.end = Some(Err(fault::errno(&error, true))),
                    }
                }
            }
            Ok(ConnectionState::EncodeTlsData(message)) => encode(message, &mut output.records),
            Ok(ConnectionState::TransmitTlsData(messages)) => messages.done(),
            Ok(ConnectionState::PeerClosed) => output.end = Some(Ok(())),
            Ok(ConnectionState::WriteTraffic(traffic)) => match std::mem::replace(&mut then, Then::Nothing) {
                Then::Nothing => return taken,
                wish => write(traffic, wish, &mut output.records),
            },
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => return taken,
            // A server that accepts no early data is asked for none.
            Ok(_) => unreachable!("early data is not accepted"),
            Err(error) => {
                output.end = Some(Err(fault::errno(&error, !session.is_handshaking())));
                // The alert for the peer. To read on after an error is a panic, and messages come before reading.
                while session.wants_write()
                    && let Ok(ConnectionState::EncodeTlsData(message)) = process(session, &mut records[taken..]).state
                {
                    encode(message, &mut output.records);
                }
                return taken;
            }
        }
    }
}

fn encode<Data>(mut message: EncodeTlsData<'_, Data>, records: &mut Vec<u8>) {
    let start = records.len();
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = message.encode(&mut []) else {
        return;
    };
    records.resize(start + required_size, 0);
    message.encode(&mut records[start..]).expect("the room that was asked for");
}

fn write<Data>(mut traffic: WriteTraffic<'_, Data>, what: Then, records: &mut Vec<u8>) {
    let start = records.len();
    let written = match what {
        Then::Encrypt(plain) => {
            let overhead = RECORD_OVERHEAD * plain.len().div_ceil(RECORD_PLAIN);
            records.resize(start + plain.len() + overhead, 0);
            traffic.encrypt(plain, &mut records[start..])
        }
        Then::CloseNotify => {
            records.resize(start + RECORD_OVERHEAD, 0);
            traffic.queue_close_notify(&mut records[start..])
        }
        Then::Nothing => Ok(0),
    };
    // It fails when the keys are used up (RFC 8446, section 5.5): nothing is written then.
    records.truncate(start + written.unwrap_or(0));
}
