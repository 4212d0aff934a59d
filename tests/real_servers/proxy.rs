//! The PROXY header, as nginx-rtmp (version 1) and the `ppp` crate (version 2) read it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::mpsc::{Sender, channel};

use ppp::v2;
use shakedown::base::{Seed, StreamPurpose};
use shakedown::measure::{FailureKind, Step};
use shakedown::protocol::{C0C1_SIZE, S0S1S2_SIZE, ServerHandshake, ServerTemplates};
use shakedown::run::FailureRow;

use super::nginx::assert_completed;
use crate::support::{Nginx, NginxOptions, run, run_by, scripted_peer, shakedown_command};

/// nginx that wants a header.
fn behind_a_proxy() -> Nginx {
    Nginx::start(NginxOptions { proxy_protocol: true, logs_connections: true, ..NginxOptions::default() })
}

/// The addresses of 10.9.0.0/28.
fn client_ips() -> BTreeSet<Ipv4Addr> {
    (0..16).map(|last| Ipv4Addr::new(10, 9, 0, last)).collect()
}

#[test]
fn nginx_takes_the_clients_addresses_from_version_1() {
    for options in ["", "--mode simple", "--client obs=1,ffmpeg=1 --hold 200ms"] {
        let nginx = behind_a_proxy();
        let proxied = format!("{} -c 8 -n 100 --proxy-protocol v1 --client-ips 10.9.0.0/28 {options}", nginx.url("x"));
        assert_completed(&run(&proxied), 100);
        let logged: BTreeSet<Ipv4Addr> = nginx.stop().iter().filter_map(|line| disconnected(line)).collect();
        assert_eq!(logged, client_ips(), "{options}");
    }
}

/// The client of a line such as `... disconnect, client: 10.9.0.4, server: 127.0.0.1:1935`.
fn disconnected(line: &str) -> Option<Ipv4Addr> {
    let (_, client) = line.split_once("disconnect, client: ")?;
    client.split(',').next()?.parse().ok()
}

#[test]
fn nginx_that_waits_for_a_header_resets_without_one() {
    let nginx = behind_a_proxy();
    let result = run_by(shakedown_command(), &format!("{} -c 8 -n 100", nginx.url("x"))).ended_with(5);
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    // It closes with the rest of C1 unread, which the kernel turns into a reset.
    assert_eq!((row.step, row.kind, row.count), (Step::S0, FailureKind::Reset, 100));
    assert!(!row.advice.contains("PROXY"), "none was sent: {row:?}");
}

#[test]
fn nginx_that_waits_for_none_closes_after_one() {
    let nginx = Nginx::start(NginxOptions::default());
    let arguments = format!("{} -c 8 -n 100 --proxy-protocol v1 --client-ips 10.9.0.0/28", nginx.url("x"));
    // Its letter P is no version of RTMP.
    let result = run_by(shakedown_command(), &arguments).ended_with(5);
    assert_eq!(result.attempts.failed, 100);
    let closed = |kind| matches!(kind, FailureKind::Closed | FailureKind::Reset);
    assert!(result.failures.iter().all(|row| closed(row.kind)), "{:?}", result.failures);
    assert!(
        result.failures.iter().all(|row| row.advice.contains("does the server expect one")),
        "{:?}",
        result.failures
    );
}

#[test]
fn nginx_does_not_read_version_2() {
    let nginx = behind_a_proxy();
    let arguments = format!("{} -c 8 -n 100 --proxy-protocol v2 --client-ips 10.9.0.0/28", nginx.url("x"));
    let result = run_by(shakedown_command(), &arguments).ended_with(5);
    assert_eq!(result.attempts.failed, 100);
    // While C0C1 follows the header, or after it.
    let told = |row: &FailureRow| row.kind == FailureKind::Reset && row.advice.contains("nginx-rtmp reads v1 only");
    assert!(result.failures.iter().all(told), "{:?}", result.failures);
}

#[test]
fn version_2_is_read_by_others() {
    let (sender, headers) = channel();
    let peer = scripted_peer(move |stream| serve_behind_a_proxy(stream, &sender));
    let arguments = format!("{} -c 4 -n 64 --proxy-protocol v2 --client-ips 10.9.0.0/28", peer.url());
    assert_completed(&run(&arguments), 64);
    let headers: Vec<v2::IPv4> = headers.try_iter().collect();
    assert_eq!(headers.len(), 64);
    assert_eq!(headers.iter().map(|header| header.source_address).collect::<BTreeSet<_>>(), client_ips());
    for header in headers {
        let named = SocketAddrV4::new(header.destination_address, header.destination_port);
        assert_eq!(SocketAddr::V4(named), peer.address());
        assert!(header.source_port >= 1_024, "{header:?}");
    }
}

/// Reads a header of version 2, then serves.
fn serve_behind_a_proxy(mut stream: TcpStream, headers: &Sender<v2::IPv4>) {
    // Signature, version and command, family and protocol, length of the rest.
    let mut header = vec![0; 16];
    stream.read_exact(&mut header).expect("a header comes first");
    let length = u16::from_be_bytes([header[14], header[15]]);
    header.resize(16 + usize::from(length), 0);
    stream.read_exact(&mut header[16..]).expect("the header is as long as it says");
    let header = v2::Header::try_from(header.as_slice()).expect("a header that others read");
    assert_eq!((header.version, header.command), (v2::Version::Two, v2::Command::Proxy));
    let v2::Addresses::IPv4(addresses) = header.addresses else { panic!("{header:?}") };

    let templates = ServerTemplates::sign(1, &mut Seed::new(1).stream(StreamPurpose::ServerTemplates, 0));
    let mut server = ServerHandshake::new(0, true);
    let mut c0c1 = [0; C0C1_SIZE];
    stream.read_exact(&mut c0c1).expect("C0C1 follows the header");
    server.advance(&c0c1, &templates).expect("C0 is RTMP's");
    let mut answer = [0; S0S1S2_SIZE];
    server.write_s0s1s2(&c0c1, &templates, &mut answer);
    // Before the answer: the run may be over as soon as it is there.
    headers.send(addresses).expect("the test waits for the headers");
    stream.write_all(&answer).expect("the client reads its answer");
    // The client ends the connection, however it does.
    let _ended = stream.read_to_end(&mut Vec::new());
}
