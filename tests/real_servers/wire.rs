//! Our bytes as an independent dissector reads them.

use std::net::SocketAddr;
use std::path::Path;

use shakedown::protocol::{DigestAt, HandshakeMode, explain};

use super::nginx::assert_completed;
use crate::support::{Capture, Nginx, NginxOptions, SinkProcess, malformed_packets, run, tshark};

const ATTEMPTS: usize = 20;

/// One attempt as it was recorded. The parts of the handshake are as tshark cut them out of the packets.
#[derive(Clone, Debug, Default)]
struct Connection {
    c0: Vec<u8>,
    c1: Vec<u8>,
    c2: Vec<u8>,
    s0: Vec<u8>,
    s1: Vec<u8>,
    s2: Vec<u8>,
    /// Payload sizes of the client's segments.
    sent: Vec<u32>,
    /// Payload sizes of the server's segments.
    received: Vec<u32>,
    /// The client's FINs and RSTs.
    fins: u32,
    resets: u32,
}

/// The connections of a run against `server` with each of `options`, in that order.
fn record(server: SocketAddr, options: &[&str]) -> Vec<Vec<Connection>> {
    let capture = Capture::start(server.port());
    for options in options {
        let result = run(&format!("{server} -c 4 -n {ATTEMPTS} {options}"));
        assert_completed(&result, ATTEMPTS as u64);
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    capture.save(file.path());
    assert_eq!(malformed_packets(file.path(), server.port()), Vec::<Vec<String>>::new());
    let connections = connections(file.path(), server.port());
    assert_eq!(connections.len(), ATTEMPTS * options.len());
    connections.chunks(ATTEMPTS).map(<[Connection]>::to_vec).collect()
}

fn connections(file: &Path, port: u16) -> Vec<Connection> {
    let fields = ["tcp.stream", "tcp.dstport", "tcp.len", "tcp.flags.fin", "tcp.flags.reset"];
    let parts = ["c0", "c1", "c2", "s0", "s1", "s2"].map(|part| format!("rtmpt.handshake.{part}"));
    let fields: Vec<&str> = fields.into_iter().chain(parts.iter().map(String::as_str)).collect();
    let mut connections: Vec<Connection> = Vec::new();
    // The kernel sends again what a busy machine acknowledges late: that is not ours.
    let first_sent =
        format!("tcp.port == {port} && !tcp.analysis.retransmission && !tcp.analysis.spurious_retransmission");
    // tshark numbers the connections in the order of their first packets.
    for packet in tshark(file, port, &first_sent, &fields) {
        let [stream, to, len, fin, reset, c0, c1, c2, s0, s1, s2] = &packet[..] else { panic!("{packet:?}") };
        let stream: usize = number(stream) as usize;
        connections.resize(connections.len().max(stream + 1), Connection::default());
        let connection = &mut connections[stream];
        let ours = number(to) == u32::from(port);
        if number(len) > 0 {
            if ours { &mut connection.sent } else { &mut connection.received }.push(number(len));
        }
        connection.fins += u32::from(ours) * number(fin);
        connection.resets += u32::from(ours) * number(reset);
        for (part, hex) in [
            (&mut connection.c0, c0),
            (&mut connection.c1, c1),
            (&mut connection.c2, c2),
            (&mut connection.s0, s0),
            (&mut connection.s1, s1),
            (&mut connection.s2, s2),
        ] {
            part.extend(from_hex(hex));
        }
    }
    connections
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("tshark prints bytes in hexadecimal") as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

impl Connection {
    /// C0 and C1 left in one segment and C2 in one of its own; the handshake is what was asked for.
    fn check(&self, asked: HandshakeMode, digest_at: Option<DigestAt>) {
        assert_eq!(self.sent, [1537, 1536]);
        let explained =
            explain(&[&self.c0[..], &self.c1].concat(), &[&self.s0[..], &self.s1, &self.s2].concat(), &self.c2);
        assert_eq!((explained.version_byte, explained.s0_version_byte), (Some(3), Some(3)));
        assert_eq!((explained.asked, explained.negotiated), (Some(asked), Some(asked)));
        assert_eq!(explained.c1_digest_at, digest_at);
        let signed = digest_at.is_some();
        assert_eq!((explained.c2_digest_verifies, explained.c2_random_part_is_s1), (Some(signed), Some(!signed)));
    }
}

/// What the options ask for: mode, and where C1's digest lies.
const CLIENTS: [(&str, HandshakeMode, Option<DigestAt>); 3] = [
    ("--digest first-half", HandshakeMode::Complex, Some(DigestAt::FirstHalf)),
    ("--digest second-half", HandshakeMode::Complex, Some(DigestAt::SecondHalf)),
    ("--mode simple", HandshakeMode::Simple, None),
];

fn check_each_client(server: SocketAddr, segments: &[u32]) {
    let runs = record(server, &CLIENTS.map(|(options, ..)| options));
    for ((_, asked, digest_at), connections) in CLIENTS.into_iter().zip(runs) {
        for connection in connections {
            connection.check(asked, digest_at);
            assert_eq!(connection.received, segments);
        }
    }
}

#[test]
fn handshakes_with_nginx_are_well_formed() {
    check_each_client(Nginx::start(NginxOptions::default()).address(), &[1537, 1536]);
}

#[test]
fn handshakes_with_the_sink_are_well_formed() {
    check_each_client(SinkProcess::start("").address(), &[3073]);
}

#[test]
fn a_connection_ends_as_asked() {
    let sink = SinkProcess::start("");
    // Neither the sink nor the hold ends a connection first, so the wait for a FIN lasts as long as the timeout.
    let closes = [
        ("--close rst", (0, 1)),
        ("--close fin", (1, 0)),
        ("--close peer --timeout 200ms", (0, 1)),
        ("--close fin --hold 200ms", (1, 0)),
    ];
    let runs = record(sink.address(), &closes.map(|(options, _)| options));
    for ((options, ends), connections) in closes.into_iter().zip(runs) {
        for connection in connections {
            assert_eq!((connection.fins, connection.resets), ends, "{options}");
        }
    }
}
