//! Servers that misbehave, over real sockets: each costs exactly one counted, named outcome an attempt, and nothing hangs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use shakedown::base::{Seed, StreamPurpose};
use shakedown::protocol::{C0C1_SIZE, S0S1S2_SIZE, ServerHandshake, ServerTemplates};

use super::command::{assert_conserved, ended, failures};
use crate::support::scripted_peer;

/// Two attempts on `target`: exit code, failures by step, kind and side, and how many completed.
fn outcome_at(target: SocketAddr, flags: &str) -> String {
    let ended = ended(&format!("run {target} -n 2 -c 2 -q --json {flags}"));
    let result = ended.json();
    assert_conserved(&result);
    assert_eq!(result["attempts"]["due"], 2);
    assert_eq!(result["attempts"]["in_flight"], 0);
    format!("exit {}: {} completed; {}", ended.code.unwrap(), result["attempts"]["completed"], failures(&result))
}

/// The same on a server that does `script` with each connection, after it has read C0C1.
fn outcome(flags: &str, script: impl Fn(&mut TcpStream, &[u8]) + Send + Sync + 'static) -> String {
    let peer = scripted_peer(move |mut stream| {
        let mut c0c1 = [0; C0C1_SIZE];
        if stream.read_exact(&mut c0c1).is_ok() {
            script(&mut stream, &c0c1);
        }
    });
    outcome_at(peer.address(), flags)
}

/// What a correct server answers.
pub fn answer(c0c1: &[u8]) -> [u8; S0S1S2_SIZE] {
    let templates = ServerTemplates::sign(1, &mut Seed::new(1).stream(StreamPurpose::ServerTemplates, 0));
    let mut handshake = ServerHandshake::new(0, false);
    handshake.advance(c0c1, &templates).expect("the client speaks RTMP");
    let mut s0s1s2 = [0; S0S1S2_SIZE];
    handshake.write_s0s1s2(c0c1, &templates, &mut s0s1s2);
    s0s1s2
}

/// Writes; a client that has gone is what the test is about.
pub fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

/// Reads until the client ends the connection.
pub fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

#[test]
fn nobody_listens() {
    // Bound, so that nobody else can listen there.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    assert_eq!(outcome_at(address, ""), "exit 5: 0 completed; connect refused target x 2");
}

#[test]
fn silence() {
    let silent = outcome("--timeout 200ms", |stream, _| until_closed(stream));
    assert_eq!(silent, "exit 5: 0 completed; s0 timeout target x 2");
}

#[test]
fn a_web_server() {
    let page = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    let http = outcome("", |stream, _| {
        send(stream, page);
    });
    assert_eq!(http, "exit 5: 0 completed; s0 not_rtmp target x 2");
}

#[test]
fn another_version() {
    let rtmpe = outcome("", |stream, c0c1| {
        let mut bytes = answer(c0c1);
        bytes[0] = 6;
        send(stream, &bytes);
        until_closed(stream);
    });
    assert_eq!(rtmpe, "exit 5: 0 completed; s0 bad_version target x 2");
}

#[test]
fn the_end_instead_of_an_answer() {
    assert_eq!(outcome("", |_, _| {}), "exit 5: 0 completed; s0 closed target x 2");
    let reset = outcome("", |stream, _| {
        socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).expect("a socket takes an option");
    });
    assert_eq!(reset, "exit 5: 0 completed; s0 reset target x 2");
}

#[test]
fn half_of_s1() {
    let silent = outcome("--timeout 1500ms", |stream, c0c1| {
        send(stream, &answer(c0c1)[..800]);
        until_closed(stream);
    });
    assert_eq!(silent, "exit 5: 0 completed; s1 timeout target x 2");
    let closed = outcome("", |stream, c0c1| {
        send(stream, &answer(c0c1)[..800]);
    });
    assert_eq!(closed, "exit 5: 0 completed; s1 closed target x 2");
}

#[test]
fn wrong_digests() {
    let s2 = outcome("", |stream, c0c1| {
        let mut bytes = answer(c0c1);
        bytes[S0S1S2_SIZE - 1] ^= 1;
        send(stream, &bytes);
        until_closed(stream);
    });
    assert_eq!(s2, "exit 5: 0 completed; s2 bad_s2_digest target x 2");
    let s1 = outcome("", |stream, c0c1| {
        let mut bytes = answer(c0c1);
        // Every byte of S1 but its digest is signed.
        bytes[1 + 1535] ^= 1;
        send(stream, &bytes);
        until_closed(stream);
    });
    assert_eq!(s1, "exit 5: 0 completed; s1 bad_s1_digest target x 2");
}

#[test]
fn a_stream_without_end() {
    let noise = [3; 1 << 16];
    let after_s2 = outcome("", move |stream, c0c1| {
        let mut open = send(stream, &answer(c0c1));
        while open {
            open = send(stream, &noise);
        }
    });
    assert_eq!(after_s2, "exit 0: 2 completed; ");
    let from_the_start = outcome("", move |stream, _| while send(stream, &noise) {});
    assert_eq!(from_the_start, "exit 5: 0 completed; s1 bad_s1_digest target x 2");
}

#[test]
fn a_byte_now_and_then() {
    let drip = outcome("--timeout 1500ms", |stream, c0c1| {
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a timeout");
        for byte in answer(c0c1) {
            let open = send(stream, &[byte]);
            // The client has nothing to say: reading only passes the time.
            match stream.read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && open => {}
                _ => return,
            }
        }
    });
    assert_eq!(drip, "exit 5: 0 completed; s1 timeout target x 2");
}
