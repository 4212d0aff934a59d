//! TLS above a real ring and above the simulated network.

mod authority;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};

use self::authority::{Authority, NAME, client};
use super::*;
use crate::base::{Nanos, Seed};
use crate::io::ring::Ring;
use crate::io::sim::{Peer, PeerScript, SimConfig, SimNetwork};
use crate::io::tests::driver::{Driver, PATIENCE, SHARED, discard, open, send_shared, token, watch};
use crate::io::{BufferId, BufferPlan, CloseHow, Destination, Errno, ListenerId, Payload, SourceId};
use crate::protocol::TlsFault;

/// Buffers of the engine's own, of each pool.
const BUFFERS: u32 = 4;

fn plan(targets: Vec<SocketAddr>) -> IoPlan {
    IoPlan {
        media: [].into(),
        slots: 4,
        targets,
        sources: Vec::new(),
        listeners: Vec::new(),
        nodelay: true,
        arrival_times: true,
        hold_check: None,
        ports: None,
        shared_bytes: Bytes::from(SHARED.as_slice()),
        buffers: BufferPlan { count: BUFFERS, receive_size: 3073, send_size: 1537 },
    }
}

impl Driver<TlsIo<Ring>> {
    fn on_ring(plan: IoPlan, tls: Tls) -> Self {
        Self::over(Box::new(TlsIo::new(plan, &tls, Ring::new).unwrap_or_else(|error| panic!("{error}"))))
    }

    /// One target, secured.
    fn securing(address: SocketAddr, client: TlsClient) -> Self {
        Self::on_ring(plan(vec![address]), Tls { clients: vec![Some(client)], server: None })
    }
}

impl<I: Io> Driver<TlsIo<I>> {
    /// Opens slot 0 and secures it.
    fn secure(&mut self, generation: u32) -> Result<u32, Errno> {
        assert_eq!(self.run(open(0, generation, SourceId::ANY)), Ok(0));
        self.run(secure(0, generation))
    }

    fn end(&mut self, generation: u32, how: CloseHow) {
        assert_eq!(self.close(0, generation, how), Ok(0));
    }

    /// Receives exactly `len` bytes on slot 0, at most `step` at a time.
    fn receive(&mut self, generation: u32, len: usize, step: u32) -> Vec<u8> {
        let buffer = self.io.buffers().receive.take().unwrap();
        let mut received = Vec::new();
        while received.len() < len {
            let step = step.min((len - received.len()) as u32);
            let token = token(OpKind::Recv, 0, generation);
            let count =
                self.run(Op::Recv { token, into: Destination::Buffer { buffer, start: 7, len: step } }).unwrap();
            assert!((1..=step).contains(&count), "{count} of {step} bytes");
            received.extend_from_slice(&self.io.buffers().receive.bytes(buffer)[7..][..count as usize]);
        }
        self.io.buffers().receive.release(buffer);
        received
    }

    /// The buffers that nobody holds.
    fn free_buffers(&mut self) -> (u32, u32) {
        let Buffers { receive, send, .. } = self.io.buffers();
        (receive.available(), send.available())
    }

    /// Everything that happened was asked for, and nothing is left of it.
    fn assert_ended(&mut self) {
        self.assert_quiet();
        assert_eq!(self.free_buffers(), (2 * BUFFERS, 2 * BUFFERS));
        assert!(self.io.slots.iter().all(|slot| slot.connection.is_none()));
    }
}

fn errno(fault: TlsFault) -> Errno {
    Errno::from_raw_os_error(fault.number())
}

fn secure(slot: u32, generation: u32) -> Op {
    Op::Secure { token: token(OpKind::Secure, slot, generation) }
}

fn cancel(kind: OpKind, slot: u32, generation: u32) -> Op {
    Op::Cancel { of: token(kind, slot, generation) }
}

fn close(slot: u32, generation: u32, how: CloseHow) -> Op {
    Op::Close { token: token(OpKind::Close, slot, generation), how }
}

/// A server of blocking sockets: `each` runs for every one of `connections` in turn.
fn serve<T: Send + 'static>(
    connections: usize,
    each: impl Fn(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<Vec<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE.into())).unwrap();
        each(stream)
    };
    (address, thread::spawn(move || (0..connections).map(|_| accept()).collect()))
}

/// The same with TLS.
fn serve_tls<T: Send + 'static>(
    config: Arc<ServerConfig>,
    connections: usize,
    each: impl Fn(&mut StreamOwned<ServerConnection, TcpStream>) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<Vec<T>>) {
    serve(connections, move |stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        each(&mut StreamOwned::new(session, stream))
    })
}

fn good_server<T: Send + 'static>(
    authority: &Authority,
    connections: usize,
    each: impl Fn(&mut StreamOwned<ServerConnection, TcpStream>) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<Vec<T>>) {
    serve_tls(authority.good().config(&TLS13), connections, each)
}

#[test]
fn carries_plaintext_from_the_handshake_to_the_close() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let (address, server) = serve_tls(authority.good().config(version), 1, |stream| {
            let mut received = [0; 1537 + 100];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(&[0x5a; 3073]).unwrap();
            // An orderly end is a close_notify: without it this is an error.
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            received.to_vec()
        });
        let mut driver = Driver::securing(address, authority.client());
        assert_eq!(driver.secure(1), Ok(0));
        assert_eq!(driver.run(send_shared(0, 1)), Ok(1537));
        let sent = driver.io.buffers().send.take().unwrap();
        driver.io.buffers().send.bytes_mut(sent).fill(7);
        let payload = Payload::Buffer { buffer: sent, len: 100 };
        assert_eq!(driver.run(Op::Send { token: token(OpKind::Send, 0, 1), payload }), Ok(100));
        driver.io.buffers().send.release(sent);
        assert_eq!(driver.receive(1, 3073, 3073), [0x5a; 3073]);
        driver.end(1, CloseHow::Fin);
        assert_eq!(server.join().unwrap(), [[SHARED.as_slice(), &[7; 100]].concat()]);
        driver.assert_ended();
    }
}

#[test]
fn a_session_is_resumed_with_a_ticket_that_was_received() {
    let authority = Authority::new();
    for (version, resume) in [(&TLS12, true), (&TLS13, true), (&TLS13, false)] {
        let (address, server) = serve_tls(authority.good().config(version), 3, |stream| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[1; 10]).unwrap();
            let _ = stream.read(&mut [0; 1]);
        });
        let client = client(&TlsClientPlan { resume, ..authority.plan() });
        let mut driver = Driver::securing(address, client);
        let resumed: Vec<_> = (0..3)
            .map(|generation| {
                let resumed = driver.secure(generation);
                driver.run(send_shared(0, generation)).unwrap();
                driver.receive(generation, 10, 10);
                driver.end(generation, CloseHow::Rst);
                resumed
            })
            .collect();
        assert_eq!(resumed, [Ok(0), Ok(u32::from(resume)), Ok(u32::from(resume))], "{version:?}");
        server.join().unwrap();
        driver.assert_ended();
    }
}

#[test]
fn a_certificate_at_fault_is_named() {
    let (authority, foreign) = (Authority::new(), Authority::foreign());
    for (identity, fault) in [
        (foreign.good(), TlsFault::UnknownIssuer),
        (foreign.self_signed(|_| {}), TlsFault::SelfSigned),
        (authority.expired(), TlsFault::Expired),
        (authority.not_yet_valid(), TlsFault::NotYetValid),
        (authority.issue("other.test", |_| {}), TlsFault::WrongName),
        (
            authority.issue(NAME, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            TlsFault::AuthorityCertificate,
        ),
        (
            authority.issue(NAME, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            TlsFault::WrongPurpose,
        ),
    ] {
        let (address, server) =
            serve_tls(identity.config(&TLS13), 2, |stream| stream.read_exact(&mut [0; 1537]).is_ok());
        let mut driver = Driver::securing(address, authority.client());
        assert_eq!(driver.secure(1), Err(errno(fault)), "{fault:?}");
        driver.end(1, CloseHow::Fin);
        driver.assert_ended();
        let mut driver =
            Driver::securing(address, client(&TlsClientPlan { trust: Trust::Anybody, ..authority.plan() }));
        assert_eq!(driver.secure(1), Ok(0));
        assert_eq!(driver.run(send_shared(0, 1)), Ok(1537));
        assert_eq!(server.join().unwrap(), [false, true], "{fault:?}");
        driver.end(1, CloseHow::Rst);
        driver.assert_ended();
    }
}

/// What `openssl req -x509` makes: openssl accepts it where it is trusted, whatever it says of itself.
#[test]
fn a_trusted_certificate_may_be_the_servers_own() {
    let issuer = Authority::new();
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
        for (name, answer) in [(NAME, Ok(0)), ("other.test", Err(errno(TlsFault::WrongName)))] {
            let identity = issuer.self_signed(|params| params.is_ca = is_ca);
            let (address, server) =
                serve_tls(identity.config(&TLS13), 1, |stream| stream.read_exact(&mut [0; 1537]).is_ok());
            let trust = Trust::Authorities(identity.certificate.clone());
            let plan = TlsClientPlan { server_name: name.to_owned(), trust, resume: true };
            let mut driver = Driver::securing(address, client(&plan));
            assert_eq!(driver.secure(1), answer, "{is_ca:?}");
            if answer.is_ok() {
                assert_eq!(driver.run(send_shared(0, 1)), Ok(1537));
            }
            driver.end(1, CloseHow::Fin);
            server.join().unwrap();
            driver.assert_ended();
        }
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_told_from_one_that_refuses() {
    const ALERT_RECORD: [u8; 5] = [21, 3, 3, 0, 2];
    let alert = |level: u8, description: u8| [&ALERT_RECORD[..], &[level, description]].concat();
    for (answer, fault) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), errno(TlsFault::OtherProtocol)),
        (vec![3; 3073], errno(TlsFault::OtherProtocol)),
        (vec![], Errno::NOTCONN),
        (vec![22, 3, 3], Errno::NOTCONN),
        // handshake_failure, protocol_version, unrecognized_name, internal_error, certificate_required.
        (alert(2, 40), errno(TlsFault::NoCommonCipher)),
        (alert(2, 70), errno(TlsFault::NoCommonVersion)),
        (alert(2, 112), errno(TlsFault::UnrecognisedName)),
        (alert(2, 80), errno(TlsFault::Alert(80))),
        (alert(2, 116), errno(TlsFault::ClientCertificateRequired)),
        // Application data before the handshake; a handshake message that is none.
        (vec![23, 3, 3, 0, 1, 0], errno(TlsFault::Violation)),
        (vec![22, 3, 3, 0, 5, 2, 0, 0, 1, 0], errno(TlsFault::Violation)),
    ] {
        let sent = answer.clone();
        let (address, server) = serve(1, move |mut stream| {
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
            stream.read_exact(&mut hello).unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).is_ok()
        });
        let mut driver = Driver::securing(address, Authority::new().client());
        assert_eq!(driver.secure(1), Err(fault), "{answer:02x?}");
        driver.end(1, CloseHow::Fin);
        server.join().unwrap();
        driver.assert_ended();
    }
}

#[test]
fn a_reset_during_the_handshake_is_a_reset() {
    let (address, server) = serve(1, |mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    });
    let mut driver = Driver::securing(address, Authority::new().client());
    assert_eq!(driver.secure(1), Err(Errno::CONNRESET));
    driver.end(1, CloseHow::Rst);
    server.join().unwrap();
    driver.assert_ended();
}

#[test]
fn what_is_no_record_ends_an_established_connection_once_and_for_all() {
    let authority = Authority::new();
    let (address, server) = good_server(&authority, 1, |stream| {
        stream.write_all(&[1; 10]).unwrap();
        stream.sock.write_all(&[3; 100]).unwrap();
        stream.sock.read_to_end(&mut Vec::new()).is_ok()
    });
    let mut driver = Driver::securing(address, authority.client());
    driver.secure(1).unwrap();
    assert_eq!(driver.receive(1, 10, 10), [1; 10], "what came before is received");
    assert_eq!(driver.run(watch(0, 1)), Ok(1), "there is something to say");
    for _ in 0..2 {
        assert_eq!(driver.run(discard(0, 1)), Err(errno(TlsFault::Violation)));
        assert_eq!(driver.run(send_shared(0, 1)), Err(Errno::PIPE));
    }
    driver.end(1, CloseHow::Fin);
    assert!(server.join().unwrap()[0], "the end is orderly");
    driver.assert_ended();
}

#[test]
fn the_peers_close_notify_is_its_fin() {
    let authority = Authority::new();
    for notify in [true, false] {
        let (address, server) = good_server(&authority, 1, move |stream| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[2; 20]).unwrap();
            if notify {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            } else {
                stream.sock.shutdown(Shutdown::Write).unwrap();
            }
            stream.read_exact(&mut [0; 1537]).unwrap();
        });
        let mut driver = Driver::securing(address, authority.client());
        driver.secure(1).unwrap();
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(driver.receive(1, 20, 20), [2; 20]);
        assert_eq!(driver.run(discard(0, 1)), Ok(0));
        assert_eq!(driver.run(watch(0, 1)), Ok(1));
        assert_eq!(driver.run(discard(0, 1)), Ok(0));
        assert_eq!(driver.run(send_shared(0, 1)), Ok(1537), "the other way is still open");
        server.join().unwrap();
        driver.end(1, CloseHow::Fin);
        driver.assert_ended();
    }
}

#[test]
fn a_large_payload_takes_many_records_and_many_sends() {
    let authority = Authority::new();
    let large: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    for (send_size, len) in [(1, 1000), (1537, large.len()), (100_000, large.len())] {
        let (address, server) = good_server(&authority, 1, move |stream| {
            let mut received = vec![0; len];
            stream.read_exact(&mut received).unwrap();
            received
        });
        let buffers = BufferPlan { count: BUFFERS, receive_size: 3073, send_size };
        let plan = IoPlan { shared_bytes: large.clone().into(), buffers, ..plan(vec![address]) };
        let mut driver = Driver::on_ring(plan, Tls { clients: vec![Some(authority.client())], server: None });
        driver.secure(1).unwrap();
        let payload = Payload::Shared { offset: 0, len: len as u32 };
        assert_eq!(driver.run(Op::Send { token: token(OpKind::Send, 0, 1), payload }), Ok(len as u32));
        assert!(server.join().unwrap()[0] == large[..len], "{send_size}");
        driver.end(1, CloseHow::Rst);
        driver.assert_ended();
    }
}

#[test]
fn a_record_is_received_in_parts() {
    let authority = Authority::new();
    let (address, server) = good_server(&authority, 1, |stream| {
        let bytes: Vec<u8> = (0..16_384_u32).map(|n| (n % 253) as u8).collect();
        stream.write_all(&bytes).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        bytes
    });
    let mut driver = Driver::securing(address, authority.client());
    driver.secure(1).unwrap();
    let mut received = driver.receive(1, 1, 1);
    // One record was decrypted whole, so the rest is there without any help of the network.
    driver.submit(&[watch(0, 1)]);
    assert_eq!(driver.unclaimed.pop().map(|completion| completion.result), Some(Ok(1)));
    received.extend(driver.receive(1, 9_999, 1000));
    assert_eq!(driver.run(discard(0, 1)), Ok(6_384));
    driver.end(1, CloseHow::Fin);
    assert!(server.join().unwrap()[0].starts_with(&received));
    driver.assert_ended();
}

#[test]
fn a_held_connection_occupies_no_buffer() {
    let authority = Authority::new();
    let (address, server) = good_server(&authority, 1, |stream| {
        stream.read_exact(&mut [0; 1537]).unwrap();
        stream.write_all(&[1; 10]).unwrap();
        stream.read_exact(&mut [0; 1537]).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    });
    let mut driver = Driver::securing(address, authority.client());
    driver.secure(1).unwrap();
    for ask in [watch, discard] {
        driver.submit(&[ask(0, 1)]);
        // Tickets may have come, which tell the engine nothing.
        driver.submit(&[cancel(OpKind::Recv, 0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Err(Errno::CANCELED));
        assert_eq!(driver.free_buffers(), (2 * BUFFERS, 2 * BUFFERS));
    }
    driver.submit(&[watch(0, 1), send_shared(0, 1)]);
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
    assert_eq!(driver.run(discard(0, 1)), Ok(10));
    driver.submit(&[discard(0, 1)]);
    assert_eq!(driver.wait(token(OpKind::Send, 0, 1)), Ok(1537));
    assert_eq!(driver.free_buffers(), (2 * BUFFERS, 2 * BUFFERS));
    driver.run(send_shared(0, 1)).unwrap();
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(0));
    driver.end(1, CloseHow::Fin);
    server.join().unwrap();
    driver.assert_ended();
}

#[test]
fn each_op_can_be_cancelled() {
    const LARGE: usize = 64 << 20;
    let authority = Authority::new();
    // The first connection never gets an answer, the second is not read from.
    let config = authority.good().config(&TLS13);
    let (address, server) = serve(2, move |stream| {
        let stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        let mut asks_for_silence = [0; 1];
        stream.sock.peek(&mut asks_for_silence).unwrap();
        stream
    });
    let plan = IoPlan { shared_bytes: vec![0; LARGE].into(), ..plan(vec![address]) };
    let mut driver = Driver::on_ring(plan, Tls { clients: vec![Some(authority.client())], server: None });
    driver.run(open(0, 1, SourceId::ANY)).unwrap();
    driver.submit(&[secure(0, 1), send_shared(0, 1), discard(0, 1)]);
    driver.submit(&[cancel(OpKind::Secure, 0, 0), cancel(OpKind::Recv, 0, 2)]);
    assert_eq!(driver.unclaimed, [], "the names of other generations do not fit");
    for kind in [OpKind::Recv, OpKind::Send, OpKind::Secure] {
        driver.submit(&[cancel(kind, 0, 1)]);
        assert_eq!(driver.wait(token(kind, 0, 1)), Err(Errno::CANCELED));
    }
    driver.end(1, CloseHow::Fin);

    driver.run(open(0, 2, SourceId::ANY)).unwrap();
    driver.submit(&[secure(0, 2)]);
    let mut streams = server.join().unwrap();
    let mut stream = streams.pop().unwrap();
    let handshake = thread::spawn(move || {
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.write_all(&[9; 10]).unwrap();
        stream
    });
    assert_eq!(driver.wait(token(OpKind::Secure, 0, 2)), Ok(0));
    let stream = handshake.join().unwrap();
    let payload = Payload::Shared { offset: 0, len: LARGE as u32 };
    driver.submit(&[Op::Send { token: token(OpKind::Send, 0, 2), payload }]);
    assert_eq!(driver.receive(2, 10, 10), [9; 10]);
    driver.submit(&[discard(0, 2)]);
    driver.submit(&[cancel(OpKind::Recv, 0, 2)]);
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 2)), Err(Errno::CANCELED));
    driver.submit(&[cancel(OpKind::Send, 0, 2)]);
    let cancelled = driver.wait(token(OpKind::Send, 0, 2));
    assert!(matches!(cancelled, Err(Errno::CANCELED | Errno::PIPE)), "{cancelled:?}");
    assert_eq!(driver.run(send_shared(0, 2)), Err(Errno::PIPE), "a record is missing");
    driver.end(2, CloseHow::Fin);
    drop(stream);
    driver.assert_ended();
}

#[test]
fn a_close_waits_for_no_reader() {
    let authority = Authority::new();
    let (address, server) = good_server(&authority, 1, |stream| {
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.sock.try_clone().unwrap()
    });
    let large = IoPlan { shared_bytes: vec![0; 64 << 20].into(), ..plan(vec![address]) };
    let mut driver = Driver::on_ring(large, Tls { clients: vec![Some(authority.client())], server: None });
    driver.secure(1).unwrap();
    let unread = server.join().unwrap();
    // Fills the window with what one send below carries at a time, so that the last one waits for room.
    let payload = Payload::Shared { offset: 0, len: 64 << 20 };
    driver.submit(&[Op::Send { token: token(OpKind::Send, 0, 1), payload }]);
    driver.submit(&[cancel(OpKind::Send, 0, 1)]);
    driver.wait(token(OpKind::Send, 0, 1)).unwrap_err();
    driver.end(1, CloseHow::Fin);
    drop(unread);
    driver.assert_ended();
}

#[test]
fn everything_may_be_queued_behind_the_open() {
    let authority = Authority::new();
    let (address, server) = good_server(&authority, 1, |stream| {
        stream.read_exact(&mut [0; 1537]).unwrap();
        stream.write_all(&[1; 10]).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    });
    let mut driver = Driver::securing(address, authority.client());
    driver.submit(&[open(0, 1, SourceId::ANY), secure(0, 1), send_shared(0, 1), discard(0, 1)]);
    assert_eq!(driver.wait(token(OpKind::Open, 0, 1)), Ok(0));
    assert_eq!(driver.wait(token(OpKind::Secure, 0, 1)), Ok(0));
    assert_eq!(driver.wait(token(OpKind::Send, 0, 1)), Ok(1537));
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(10));
    driver.end(1, CloseHow::Fin);
    server.join().unwrap();
    driver.assert_ended();

    let refusing = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    refusing.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = refusing.local_addr().unwrap().as_socket().unwrap();
    let mut driver = Driver::securing(address, authority.client());
    driver.submit(&[open(0, 1, SourceId::ANY), secure(0, 1), send_shared(0, 1), discard(0, 1)]);
    assert_eq!(driver.wait(token(OpKind::Open, 0, 1)), Err(Errno::CONNREFUSED));
    for kind in [OpKind::Secure, OpKind::Send, OpKind::Recv] {
        driver.wait(token(kind, 0, 1)).expect_err("nothing without a connection");
    }
    driver.end(1, CloseHow::Rst);
    driver.assert_ended();
}

#[test]
fn connections_that_are_not_secured_pass_through() {
    let authority = Authority::new();
    let (secured, tls_server) = good_server(&authority, 1, |stream| stream.read_exact(&mut [0; 1537]).unwrap());
    let (plain, plain_server) = serve(1, |mut stream| {
        let mut received = [0; 1537];
        stream.read_exact(&mut received).unwrap();
        assert_eq!(received, *SHARED);
        stream.write_all(&[4; 40]).unwrap();
        let end = stream.read(&mut [0; 1]);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
    let tls = Tls { clients: vec![None, Some(authority.client())], server: None };
    let mut driver = Driver::on_ring(plan(vec![plain, secured]), tls);
    driver.run(open(0, 1, SourceId::ANY)).unwrap();
    driver.run(send_shared(0, 1)).unwrap();
    assert_eq!(driver.receive(1, 40, 40), [4; 40]);
    let other = Op::Open { token: token(OpKind::Open, 1, 1), target: TargetId(1), source: SourceId::ANY, nagle: false };
    driver.run(other).unwrap();
    assert_eq!(driver.run(secure(1, 1)), Ok(0));
    driver.run(send_shared(1, 1)).unwrap();
    driver.submit(&[discard(0, 1)]);
    driver.submit(&[cancel(OpKind::Recv, 0, 1)]);
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Err(Errno::CANCELED));
    driver.end(1, CloseHow::Rst);
    tls_server.join().unwrap();
    driver.run(close(1, 1, CloseHow::Rst)).unwrap();
    plain_server.join().unwrap();
    driver.assert_ended();
}

/// Accepts `connections`, answers each 1537 bytes with 3073 bytes, and says how each ended.
fn accept_and_answer(server: TlsServer, connections: u32) -> (SocketAddr, JoinHandle<Vec<Result<u32, Errno>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let plan = IoPlan { listeners: vec![listener.into()], shared_bytes: vec![6; 3073].into(), ..plan(Vec::new()) };
        let mut driver = Driver::on_ring(plan, Tls { clients: Vec::new(), server: Some(server) });
        driver.submit(&[Op::Accept { token: token(OpKind::Accept, 0, 0), listener: ListenerId(0) }]);
        let mut each = |generation| {
            let slot = driver.wait(token(OpKind::Accept, 0, 0)).unwrap();
            let mut received = 0;
            loop {
                match driver.run(discard(slot, generation)) {
                    Ok(count @ 1..) => received += count,
                    end => {
                        assert_eq!(driver.run(close(slot, generation, CloseHow::Fin)), Ok(0));
                        return end;
                    }
                }
                if received == 1537 {
                    let payload = Payload::Shared { offset: 0, len: 3073 };
                    driver.run(Op::Send { token: token(OpKind::Send, slot, generation), payload }).unwrap();
                }
            }
        };
        let ends = (0..connections).map(&mut each).collect();
        driver.submit(&[cancel(OpKind::Accept, 0, 0)]);
        assert_eq!(driver.wait(token(OpKind::Accept, 0, 0)), Err(Errno::CANCELED));
        driver.assert_ended();
        ends
    };
    (address, thread::spawn(serve))
}

#[test]
fn both_sides_can_be_ours() {
    let authority = Authority::new();
    let (address, server) = accept_and_answer(authority.good().server(), 3);
    let mut driver = Driver::securing(address, authority.client());
    for generation in 0..3 {
        assert_eq!(driver.secure(generation), Ok(u32::from(generation > 0)));
        driver.run(send_shared(0, generation)).unwrap();
        assert_eq!(driver.receive(generation, 3073, 3073), [6; 3073]);
        driver.end(generation, CloseHow::Fin);
    }
    assert_eq!(server.join().unwrap(), [Ok(0); 3]);
    driver.assert_ended();
}

#[test]
fn a_server_sees_what_its_clients_do_wrong() {
    let (address, server) = accept_and_answer(Authority::foreign().good().server(), 4);
    let connect = || TcpStream::connect(address).unwrap();
    let mut no_tls = connect();
    no_tls.write_all(SHARED).unwrap();
    no_tls.read_to_end(&mut Vec::new()).unwrap();
    let mut gone = connect();
    gone.write_all(&[22, 3, 1, 2]).unwrap();
    gone.shutdown(Shutdown::Write).unwrap();
    assert_eq!(gone.read(&mut [0; 1]).unwrap(), 0);
    let reset = connect();
    rustix::net::sockopt::set_socket_linger(&reset, Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    let mut driver = Driver::securing(address, Authority::new().client());
    assert_eq!(driver.secure(1), Err(errno(TlsFault::UnknownIssuer)));
    driver.end(1, CloseHow::Fin);
    let ends = server.join().unwrap();
    // Alert 48 is unknown_ca.
    let [no_tls, unknown_ca] = [TlsFault::OtherProtocol, TlsFault::Alert(48)].map(errno);
    assert_eq!(ends, [Err(no_tls), Ok(0), Err(Errno::CONNRESET), Err(unknown_ca)]);
}

#[test]
fn those_that_find_no_buffer_wait_for_one() {
    let authority = Authority::new();
    let (address, server) = good_server(&authority, 1, |stream| {
        stream.read_exact(&mut [0; 1537]).unwrap();
        stream.write_all(&[1; 10]).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    });
    let mut driver = Driver::securing(address, authority.client());
    driver.run(open(0, 1, SourceId::ANY)).unwrap();
    let taken: Vec<(BufferId, BufferId)> = (0..2 * BUFFERS)
        .map(|_| (driver.io.buffers().receive.take().unwrap(), driver.io.buffers().send.take().unwrap()))
        .collect();
    driver.submit(&[secure(0, 1)]);
    assert_eq!(driver.unclaimed, []);
    let (receive, send) = taken[0];
    driver.io.buffers().send.release(send);
    driver.io.buffers().receive.release(receive);
    assert_eq!(driver.wait(token(OpKind::Secure, 0, 1)), Ok(0));
    assert_eq!(driver.run(send_shared(0, 1)), Ok(1537));
    let receive = driver.io.buffers().receive.take().unwrap();
    driver.submit(&[discard(0, 1)]);
    driver.io.buffers().receive.release(receive);
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(10));
    for &(receive, send) in &taken[1..] {
        driver.io.buffers().receive.release(receive);
        driver.io.buffers().send.release(send);
    }
    driver.end(1, CloseHow::Fin);
    server.join().unwrap();
    driver.assert_ended();
}

#[test]
fn works_on_the_simulated_network() {
    let garbage = PeerScript::EndlessGarbage;
    for (script, opened, secured) in [
        (garbage, Ok(0), Err(errno(TlsFault::OtherProtocol))),
        (PeerScript::CloseAfterConnect, Ok(0), Err(Errno::NOTCONN)),
        (PeerScript::Silent, Ok(0), Err(Errno::CANCELED)),
        (PeerScript::Refuse, Err(Errno::CONNREFUSED), Err(Errno::NOTCONN)),
    ] {
        let silent = script == PeerScript::Silent;
        let config = SimConfig { peers: vec![Peer::scripted(script.clone())], ..SimConfig::new(Seed::new(1)) };
        let tls = Tls { clients: vec![Some(Authority::new().client())], server: None };
        let make = |plan| Ok::<_, std::convert::Infallible>(SimNetwork::new(plan, config));
        let io = TlsIo::new(plan(vec!["10.0.0.1:443".parse().unwrap()]), &tls, make).unwrap();
        let mut driver = Driver::over(Box::new(io));
        driver.submit(&[open(0, 1, SourceId::ANY), secure(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Open, 0, 1)), opened, "{script:?}");
        if silent {
            let hour = driver.io.now() + Nanos::from_secs(3600);
            driver.io.submit_and_wait(&mut Vec::new(), hour, &mut driver.unclaimed).unwrap();
            driver.submit(&[cancel(OpKind::Secure, 0, 1)]);
        }
        assert_eq!(driver.wait(token(OpKind::Secure, 0, 1)), secured, "{script:?}");
        driver.end(1, CloseHow::Fin);
        driver.assert_ended();
    }
}

/// A million held connections are counted in gigabytes.
#[test]
fn a_connection_is_as_large_as_the_documents_say() {
    let size = size_of::<Connection>();
    assert!(size <= 2048, "{size} bytes");
    assert!(size_of::<Slot>() <= 16);
}

mod files {
    use super::*;

    fn refused<T>(result: Result<T, TlsError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_remedy() {
        let authority = Authority::new();
        let load = |plan| TlsClient::load(&[None, Some(plan)]);
        let trusting = |path| TlsClientPlan { trust: Trust::Authorities(path), ..authority.plan() };
        let good = authority.good();
        assert!(refused(load(trusting("/no/such.pem".into()))).contains("/no/such.pem"));
        assert!(refused(load(trusting(good.key.clone()))).contains("holds no certificate"));
        // A file that ends halfway.
        let half = |path: &std::path::Path| {
            let text = std::fs::read(path).unwrap();
            let cut = path.with_extension("half");
            std::fs::write(&cut, &text[..text.len() / 2]).unwrap();
            cut
        };
        let told = refused(load(trusting(half(&good.certificate))));
        assert!(told.contains("`-----END CERTIFICATE-----` is missing, so it is cut off; it must be"), "{told}");
        let nameless = TlsClientPlan { server_name: "not a name".to_owned(), ..authority.plan() };
        assert!(refused(load(nameless)).contains("`not a name` cannot be the name"));
        let serve = |certificate: &std::path::Path, key: &std::path::Path| {
            TlsServer::load(&TlsServerPlan { certificate: certificate.to_owned(), key: key.to_owned() })
        };
        assert!(refused(serve(&good.certificate, &good.certificate)).contains("the private key"));
        let told = refused(serve(&good.certificate, &half(&good.key)));
        assert!(told.contains("PRIVATE KEY-----` is missing, so it is cut off"), "{told}");
        let other = authority.issue("other.test", |_| {});
        assert!(refused(serve(&good.certificate, &other.key)).contains("the key it was made for"));
    }

    #[test]
    fn an_address_can_be_the_name() {
        let authority = Authority::new();
        let identity = authority.issue("127.0.0.1", |_| {});
        let (address, server) = serve_tls(identity.config(&TLS13), 1, |stream| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.conn.server_name().map(str::to_owned)
        });
        let plan = TlsClientPlan { server_name: "127.0.0.1".to_owned(), ..authority.plan() };
        let mut driver = Driver::securing(address, client(&plan));
        assert_eq!(driver.secure(1), Ok(0));
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(server.join().unwrap(), [None]);
        driver.end(1, CloseHow::Rst);
    }

    #[test]
    fn the_name_is_sent_and_each_target_has_its_own() {
        let authority = Authority::new();
        let (address, server) = good_server(&authority, 1, |stream| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.conn.server_name().map(str::to_owned)
        });
        let mut driver = Driver::securing(address, authority.client());
        driver.secure(1).unwrap();
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(server.join().unwrap(), [Some(NAME.to_owned())]);
        driver.end(1, CloseHow::Rst);
    }
}

mod contract {
    use super::*;

    fn lab() -> (Driver<TlsIo<Ring>>, JoinHandle<Vec<()>>) {
        let authority = Authority::new();
        let (address, server) = good_server(&authority, 1, |stream| drop(stream.read(&mut [0; 1])));
        (Driver::securing(address, authority.client()), server)
    }

    #[test]
    #[should_panic(expected = "Recv@0#1 is in flight already")]
    fn a_kind_is_in_flight_once() {
        let (mut driver, _server) = lab();
        driver.secure(1).unwrap();
        driver.submit(&[discard(0, 1), watch(0, 1)]);
    }

    #[test]
    #[should_panic(expected = "Close@0#1: another op is in flight")]
    fn a_close_is_alone() {
        let (mut driver, _server) = lab();
        driver.secure(1).unwrap();
        driver.submit(&[discard(0, 1), close(0, 1, CloseHow::Rst)]);
    }

    #[test]
    #[should_panic(expected = "Send@0#2: the slot is in generation 1")]
    fn an_op_names_the_generation_of_its_slot() {
        let (mut driver, _server) = lab();
        driver.secure(1).unwrap();
        driver.submit(&[send_shared(0, 2)]);
    }

    #[test]
    #[should_panic(expected = "TargetId(0) has no TLS")]
    fn only_targets_with_tls_are_secured() {
        let (address, _server) = serve(1, drop);
        let mut driver = Driver::on_ring(plan(vec![address]), Tls::default());
        driver.run(open(0, 1, SourceId::ANY)).unwrap();
        driver.submit(&[secure(0, 1)]);
    }

    #[test]
    #[should_panic(expected = "is lent")]
    fn a_buffer_is_lent_until_its_completion() {
        let (mut driver, _server) = lab();
        driver.secure(1).unwrap();
        let buffer = driver.io.buffers().receive.take().unwrap();
        let into = Destination::Buffer { buffer, start: 0, len: 100 };
        driver.submit(&[Op::Recv { token: token(OpKind::Recv, 0, 1), into }]);
        driver.io.buffers().receive.bytes(buffer);
    }

    #[test]
    #[should_panic(expected = "Secure@0#1: a ring has no TLS")]
    fn a_ring_alone_has_no_tls() {
        let mut ring = Ring::new(plan(Vec::new())).unwrap_or_else(|error| panic!("{error}"));
        ring.submit_and_wait(&mut vec![secure(0, 1)], Time::ZERO, &mut Vec::new()).unwrap();
    }
}
