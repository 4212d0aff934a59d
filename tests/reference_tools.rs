//! The real servers and clients that other tests are judged by work here and behave as those tests assume.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use support::{
    Capture, FfmpegListen, Nginx, NginxOptions, PATIENCE, Rtmpsrv, ffmpeg_publish, malformed_packets, rtmpdump,
    scripted_peer, tshark,
};

#[test]
fn nginx_takes_a_publisher_and_the_capture_shows_its_handshake() {
    let nginx = Nginx::start(NginxOptions { workers: 2, ..NginxOptions::default() });
    let port = nginx.address().port();
    let capture = Capture::start(port);
    let status = ffmpeg_publish(&nginx.url("x"), 1).status().expect("ffmpeg starts");
    assert!(status.success(), "{status}");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("publish.pcap");
    capture.save(&file);
    assert_eq!(tshark(&file, port, "rtmpt.handshake.c0", &["rtmpt.handshake.c0"]), [["03"]]);
    assert_eq!(tshark(&file, port, "rtmpt.handshake.s0", &["rtmpt.handshake.s0"]), [["03"]]);
    assert_eq!(tshark(&file, port, "rtmpt.handshake.c2", &["tcp.len"]), [["1536"]]);
    assert_eq!(malformed_packets(&file, port), Vec::<Vec<String>>::new());
}

#[test]
fn rtmpdump_handshakes_with_nginx() {
    let nginx = Nginx::start(NginxOptions::default());
    let output = rtmpdump(&nginx.url("nobody")).output().expect("rtmpdump starts");
    assert!(String::from_utf8_lossy(&output.stderr).contains("INFO: Connected..."), "{output:?}");
}

#[test]
fn rtmpsrv_has_a_network_of_its_own() {
    let servers = [Rtmpsrv::start(), Rtmpsrv::start()];
    for server in servers {
        let output = server.rtmpdump().output().expect("rtmpdump starts");
        assert!(String::from_utf8_lossy(&output.stderr).contains("INFO: Connected..."), "{output:?}");
    }
}

#[test]
fn ffmpeg_listens_for_one_publisher() {
    let server = FfmpegListen::start();
    let status = ffmpeg_publish(&server.url(), 1).status().expect("ffmpeg starts");
    assert!(status.success(), "{status}");
    let (status, printed) = server.finish();
    assert!(status.success(), "{status}: {printed:?}");
}

#[test]
fn ffmpeg_listening_refuses_a_client_without_a_handshake() {
    let server = FfmpegListen::start();
    drop(TcpStream::connect(server.address()).expect("ffmpeg listens"));
    let (status, printed) = server.finish();
    assert_eq!(status.code(), Some(1));
    assert!(printed.iter().any(|line| line.contains("Unable to read handshake")), "{printed:?}");
}

#[test]
fn a_scripted_peer_serves_every_connection() {
    let peer = scripted_peer(|mut stream| {
        let mut c0 = [0];
        stream.read_exact(&mut c0).expect("the client sends a byte");
        stream.write_all(&[c0[0] + 3]).expect("the client reads a byte");
    });
    for _ in 0..2 {
        let mut client = TcpStream::connect(peer.address()).expect("the peer listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        client.write_all(&[3]).expect("the peer reads");
        client.shutdown(Shutdown::Write).expect("the connection stands");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("the peer answers and closes");
        assert_eq!(answer, [6]);
    }
}
