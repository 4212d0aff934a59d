//! `probe` against scripted servers on loopback: what it finds out, what it says, and what the command makes of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use shakedown::base::{Secret, Seed, StreamPurpose};
use shakedown::measure::{FailureKind, Side, Step, Until};
use shakedown::probe::{AfterC2, ProbeOutcome, ProbePlan, ProbeReport, ProbeSession, Reaction, StepTimes, probe};
use shakedown::protocol::session::{MessageStore, ServerEvent, ServerPolicy, ServerSession};
use shakedown::protocol::{
    C0C1_SIZE, C2_SIZE, C2Verdict, ClientClock, ClientProfile, DigestAt, HandshakeMode, Negotiated, S0S1_SIZE,
    S0S1S2_SIZE, ServerHandshake, ServerState, ServerTemplates,
};

/// Long enough never to be reached by a peer that answers.
const AMPLE: Duration = Duration::from_secs(30);
/// For peers that never answer.
const SHORT: Duration = Duration::from_millis(60);
/// For peers that answer for a while and then no more.
const PATIENT: Duration = Duration::from_secs(3);

#[test]
fn a_complex_handshake_is_explained() {
    for digest_at in [DigestAt::FirstHalf, DigestAt::SecondHalf] {
        let server = serve(complex_server);
        let report = probe(&ProbePlan { digest_at, ..plan(server.address) });
        assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::ComplexVerified });
        assert_eq!(server.join(), C2Verdict::Valid);
        let told = &report.explanation;
        assert_eq!((told.c1_digest_at, told.s1_digest_at), (Some(digest_at), Some(digest_at)));
        assert_eq!(told.c2_digest_verifies, Some(true));
        assert_eq!(report.c0c1_segments, [C0C1_SIZE]);
        assert_eq!(report.s0s1s2_segments.iter().sum::<usize>(), S0S1S2_SIZE);
        let at = report.at;
        let order = [at.connected_ns, at.c0c1_sent_ns, at.s0_ns, at.s1_ns, at.c2_sent_ns, Some(at.ended_ns)];
        assert!(order.is_sorted() && order[0].is_some(), "{order:?}");
        let timings = report.timings;
        assert!(timings.s0_ns <= timings.s0s1_ns && timings.s0s1_ns <= timings.s2_ns, "{timings:?}");
    }
}

#[test]
fn the_text_of_a_complex_handshake() {
    let server = serve(complex_server);
    let report = still(probe(&ProbePlan { linger: SHORT, ..plan(server.address) }));
    insta::assert_snapshot!(report.render(80, false), @r#"
    10.0.0.5:1935: complex handshake completed

      50.0 us  connect  TCP connection established
      52.0 us  C0C1     1537 bytes sent: version byte 0x03, complex C1
                        time 0, version 128.0.7.2
                        digest in the first half, at byte 376
       300 us  S0       version byte 0x03: RTMP
       300 us  S1       time 0, version 4.5.0.1
                        digest in the first half, at byte 448: it verifies
       300 us  S2       signed from C1's digest: it verifies
       420 us  C2       1536 bytes sent: signed from S1's digest
      60.4 ms  after    the server keeps the connection (watched for 60.0 ms)

               target   rtmp://10.0.0.5/live
               mode     asked complex, negotiated complex: both digests verify
               reads    3073 bytes in one piece (the network may have joined more)
               server   answers like shakedown's sink
               timings  connect 50.0 us, complete after 420 us
                        since C0C1 was sent: S0 248 us, S1 248 us, S2 248 us
    "#);
}

#[test]
fn the_text_of_a_failure() {
    let server = serve(|stream| answer(stream, b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"));
    let report = still(probe(&plan(server.address)));
    insta::assert_snapshot!(report.render(80, false), @r#"
    10.0.0.5:1935: failed at S0 (not_rtmp)

      50.0 us  connect  TCP connection established
      52.0 us  C0C1     1537 bytes sent: version byte 0x03, complex C1
                        time 0, version 128.0.7.2
                        digest in the first half, at byte 376
       300 us  S0       version byte 0x48 'H': not RTMP's 0x03

               target   rtmp://10.0.0.5/live
               cause    the server answered version byte 0x48 'H': this port speaks
                        HTTP (it begins "HTTP/1.1 400 Bad Request")
               remedy   probe the server's RTMP port: usually 1935; 80, 443 and 8080
                        are for HTTP (and HLS, HTTP-FLV)
               repeat   --seed 1 sends the same C1
               reads    39 bytes in one piece (the network may have joined more)
               timings  connect 50.0 us
                        since C0C1 was sent: S0 248 us
    "#);
}

#[test]
fn text_fits_the_width_and_colour_changes_nothing_else() {
    let server = serve(complex_server);
    let report = probe(&ProbePlan { linger: SHORT, ..plan(server.address) });
    for width in [60, 80, 120] {
        let text = report.render(width, false);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
        assert_eq!(without_colors(&report.render(width, true)), text);
    }
    let long = ProbeReport { address: "[2001:db8:1111:2222:3333:4444:5555:6666]:19350".parse().unwrap(), ..report };
    assert!(long.render(60, false).lines().all(|line| line.len() <= 60), "{}", long.render(60, false));
}

#[test]
fn a_server_without_digests_is_a_downgrade() {
    let server = serve(simple_server);
    let report = probe(&plan(server.address));
    assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::Downgraded });
    assert_eq!(report.explanation.negotiated, Some(HandshakeMode::Simple));
    assert_says(&report, &["asked complex, negotiated simple", "no digest", "C2 1536 bytes sent: the echo of S1"]);
}

#[test]
fn a_simple_handshake_is_asked_and_answered() {
    let server = serve(simple_server);
    let report = probe(&ProbePlan { mode: HandshakeMode::Simple, ..plan(server.address) });
    assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::Simple });
    assert_eq!(report.explanation.asked, Some(HandshakeMode::Simple));
    assert_says(&report, &["simple handshake completed", "S2 echoes C1", "simple C1"]);
}

#[test]
fn an_answer_in_single_bytes_is_put_together() {
    let server = serve(|mut stream| {
        stream.set_nodelay(true).unwrap();
        for byte in sign(&read_exactly(&mut stream, C0C1_SIZE)) {
            stream.write_all(&[byte]).unwrap();
        }
        read_to_end(stream);
    });
    let report = probe(&plan(server.address));
    assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::ComplexVerified });
    assert_eq!(report.s0s1s2_segments.iter().sum::<usize>(), S0S1S2_SIZE);
    assert!(report.s0s1s2_segments.len() > 1);
}

#[test]
fn s2_may_wait_for_c2() {
    let server = serve(|mut stream| {
        let signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
        stream.write_all(&signed[..S0S1_SIZE]).unwrap();
        read_exactly(&mut stream, C2_SIZE);
        answer_on(&mut stream, &signed[S0S1_SIZE..]);
        read_to_end(stream);
    });
    let report = probe(&plan(server.address));
    assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::ComplexVerified });
    assert_eq!(report.s0s1s2_segments, [S0S1_SIZE, 1536]);
    assert!(report.at.c2_sent_ns < report.at.s2_ns);
}

#[test]
fn bytes_behind_s2_are_shown_and_do_no_harm() {
    let server = serve(|mut stream| {
        let signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
        answer_on(&mut stream, &[&signed[..], &[2, 0, 0xff]].concat());
        read_to_end(stream);
    });
    let report = probe(&ProbePlan { linger: SHORT, ..plan(server.address) });
    assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::ComplexVerified });
    assert_eq!((report.after_s2.bytes, report.after_s2.first_hex.as_str()), (3, "0200ff"));
    assert_eq!(report.after_c2.map(|after| after.reaction), Some(Reaction::StaysOpen));
    assert_eq!(report.s0s1s2_segments.iter().sum::<usize>(), S0S1S2_SIZE);
    assert_says(&report, &["3 bytes, of the next stage of the protocol: 02 00 ff"]);
}

#[test]
fn a_hang_up_on_c2_is_noticed() {
    let server = serve(|mut stream| {
        let signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
        answer_on(&mut stream, &signed);
        read_exactly(&mut stream, C2_SIZE);
    });
    let report = probe(&ProbePlan { linger: AMPLE, ..plan(server.address) });
    assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::ComplexVerified });
    assert!(matches!(report.after_c2, Some(AfterC2 { reaction: Reaction::Closes, .. })), "{:?}", report.after_c2);
    assert_says(&report, &["complex handshake completed, hang-up on C2", "a server that refuses C2"]);
}

#[test]
fn an_endless_stream_behind_s2_is_left() {
    let server = serve(|mut stream| {
        let signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
        answer_on(&mut stream, &signed);
        while stream.write_all(&[7; 4096]).is_ok() {}
    });
    let report = probe(&ProbePlan { linger: AMPLE, ..plan(server.address) });
    assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::ComplexVerified });
    assert_eq!(report.after_c2.map(|after| after.reaction), Some(Reaction::SendsOn));
    assert!(report.after_s2.bytes > 1 << 20);
}

#[test]
fn an_endless_stream_of_something_else_is_no_rtmp() {
    let server = serve(|mut stream| while stream.write_all(&[b'A'; 4096]).is_ok() {});
    let report = probe(&plan(server.address));
    assert_failed(&report, Step::S0, FailureKind::NotRtmp, Side::Target);
    assert_says(&report, &["version byte 0x41 'A': this port speaks a text protocol"]);
}

#[test]
fn other_protocols_are_named() {
    for (greeting, says) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "speaks HTTP (it begins \"HTTP/1.1 400 Bad Request\")"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "a text protocol, not RTMP (it begins \"SSH-2.0-OpenSSH_9.2p1\")"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "version byte 0x15: this port speaks TLS"),
    ] {
        let server = serve(move |stream| answer(stream, greeting));
        let report = probe(&plan(server.address));
        assert_failed(&report, Step::S0, FailureKind::NotRtmp, Side::Target);
        assert_says(&report, &[says, "1935"]);
    }
}

#[test]
fn other_versions_are_named() {
    for (byte, says) in [(6, "version byte 0x06: encrypted RTMP (RTMPE)"), (0, "version byte 0x00, RTMP's is 3")] {
        let server = serve(move |stream| answer(stream, &[byte; S0S1_SIZE]));
        let report = probe(&plan(server.address));
        assert_failed(&report, Step::S0, FailureKind::BadVersion, Side::Target);
        assert_says(&report, &[says]);
        assert_eq!(report.explanation.s0_version_byte, Some(byte));
    }
}

#[test]
fn silence_runs_into_the_timeout() {
    let server = serve(read_to_end);
    let report = probe(&ProbePlan { timeout: SHORT, ..plan(server.address) });
    assert_failed(&report, Step::S0, FailureKind::Timeout, Side::Target);
    assert_says(&report, &["sent nothing within 60.0 ms", "S0 nothing arrived", "a stopped process"]);
}

#[test]
fn silence_in_the_middle_of_s1_runs_into_the_timeout() {
    let server = serve(|mut stream| {
        answer_on(&mut stream, &[3; 769]);
        read_to_end(stream);
    });
    let report = probe(&ProbePlan { timeout: SHORT, ..plan(server.address) });
    assert_failed(&report, Step::S1, FailureKind::Timeout, Side::Target);
    assert_says(&report, &["S1 did not become complete: 768 of 1536 bytes arrived within 60.0 ms"]);
}

#[test]
fn silence_instead_of_s2_runs_into_the_timeout() {
    let server = serve(|mut stream| {
        let signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
        answer_on(&mut stream, &signed[..S0S1_SIZE]);
        read_to_end(stream);
    });
    let report = probe(&ProbePlan { timeout: SHORT, ..plan(server.address) });
    assert_failed(&report, Step::S2, FailureKind::Timeout, Side::Target);
    assert!(report.at.c2_sent_ns.is_some(), "C2 never waits for S2");
    assert_says(&report, &["S2 did not become complete: 0 of 1536 bytes", "although the server had C2"]);
}

#[test]
fn a_hang_up_after_c0c1_is_told_from_one_in_s1() {
    let server = serve(|mut stream| drop(read_exactly(&mut stream, C0C1_SIZE)));
    let report = probe(&plan(server.address));
    assert_failed(&report, Step::S0, FailureKind::Closed, Side::Target);
    let cause = "the server closed the connection after C0C1, without a byte of an answer";
    assert_says(&report, &[cause, "SRS hangs up so on a zero filler", "--mode simple"]);

    let server = serve(|mut stream| {
        read_exactly(&mut stream, C0C1_SIZE);
        stream.write_all(&[3; 769]).unwrap();
    });
    let report = probe(&plan(server.address));
    assert_failed(&report, Step::S1, FailureKind::Closed, Side::Target);
    assert_says(&report, &["closed the connection after S0 and 768 of S1's 1536 bytes", "768 of 1536 bytes arrived"]);
}

/// Whether FIN or RST is seen depends on whether C0C1 arrives before the peer is gone.
#[test]
fn a_hang_up_at_once_is_a_hang_up() {
    let server = serve(drop);
    let report = probe(&plan(server.address));
    let ProbeOutcome::Failed { step: Step::S0, kind, .. } = &report.outcome else { panic!("{:?}", report.outcome) };
    assert!(matches!(kind, FailureKind::Closed | FailureKind::Reset), "{kind}");
    assert_says(&report, &["after C0C1, without a byte of an answer"]);
}

/// Closing with unread bytes in the receive queue resets the connection.
#[test]
fn a_reset_is_told_from_a_close() {
    let server = serve(|mut stream| drop(read_exactly(&mut stream, 100)));
    let report = probe(&plan(server.address));
    assert_failed(&report, Step::S0, FailureKind::Reset, Side::Target);
    assert_says(&report, &["the server reset the connection after C0C1"]);
}

#[test]
fn wrong_digests_and_echoes_are_told_apart() {
    let complex = HandshakeMode::Complex;
    for (mode, flipped, step, kind, says) in [
        (complex, S0S1_SIZE - 1, Step::S1, FailureKind::BadS1Digest, "S1 holds no valid digest in either half"),
        (complex, S0S1S2_SIZE - 1, Step::S2, FailureKind::BadS2Digest, "S1 is signed, but S2 neither"),
        (HandshakeMode::Simple, S0S1S2_SIZE - 1, Step::S2, FailureKind::BadEcho, "S2 does not echo C1"),
    ] {
        let server = serve(move |mut stream| {
            let mut signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
            signed[flipped] ^= 1;
            answer_on(&mut stream, &signed);
            read_to_end(stream);
        });
        let report = probe(&ProbePlan { mode, ..plan(server.address) });
        assert_failed(&report, step, kind, Side::Target);
        assert_says(&report, &[says]);
        assert_eq!(report.explanation.negotiated, None);
    }
}

#[test]
fn a_port_where_nobody_listens_is_refused() {
    let report = probe(&plan(closed_port()));
    assert_failed(&report, Step::Connect, FailureKind::Refused, Side::Target);
    assert_says(&report, &["nothing listens on", "connect no connection"]);
    assert_eq!((report.c0c1_segments.len(), report.reads.len()), (0, 0));
    assert_eq!(report.explanation.asked, Some(HandshakeMode::Complex));
}

/// A full accept queue drops SYNs as a firewall does.
#[test]
fn a_connect_without_an_answer_times_out() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let waiting: Vec<TcpStream> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, SHORT).ok()).take(64).collect();
    let report = probe(&ProbePlan { connect_timeout: SHORT, ..plan(address) });
    assert_failed(&report, Step::Connect, FailureKind::Timeout, Side::Unattributed);
    assert_says(&report, &["no answer to the connect within 60.0 ms: a firewall drops the packets"]);
    drop(waiting);
}

#[test]
fn the_text_of_a_session() {
    let server = serve(|stream| conduct(stream, &ServerPolicy::default()));
    let report = probe(&ProbePlan { session: Some(asked(Until::Publish)), linger: SHORT, ..plan(server.address) });
    let connect = "client connect (1): app live, type nonprivate, flashVer FMLE/3.0 (compatible; shakedown), tcUrl \
                   rtmp://10.0.0.5:1935/live";
    let accepted = "server _result (1): answers connect: NetConnection.Connect.Success (status): \"Connection \
                    succeeded.\": server FMS/3,0,1,123";
    assert_says(
        &report,
        &[
            "complex handshake completed, publish accepted",
            connect,
            "server set_peer_bandwidth: 5000000 bytes, dynamic",
            accepted,
            "client createStream (2)",
            "server _result (2): answers createStream: message stream 1",
            "client publish (3): stream ***, type live, on message stream 1",
            "server onStatus: NetStream.Publish.Start (status): \"Start publishing\"",
            "client deleteStream (4): message stream 1",
            "after the server keeps the connection (watched for",
        ],
    );
    for width in [60, 80] {
        let text = report.render(width, false);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
    }
}

#[test]
fn every_milestone_is_reached() {
    for (until, name, says) in [
        (Until::Reply, "window_ack_size", "connect answered"),
        (Until::Connect, "_result", "connect accepted"),
        (Until::Publish, "onStatus", "publish accepted"),
    ] {
        let server = serve(|stream| conduct(stream, &ServerPolicy::default()));
        let report = probe(&ProbePlan { session: Some(asked(until)), ..plan(server.address) });
        assert_eq!(report.outcome, ProbeOutcome::Completed { mode: Negotiated::ComplexVerified });
        assert_eq!(report.until, until);
        assert!(report.reached_ns > report.at.c2_sent_ns, "{report:?}");
        let told = report.session.as_ref().unwrap();
        assert!(told.messages.iter().any(|said| said.name == name), "{told:?}");
        assert_says(&report, &[says, "server answers like shakedown's sink"]);
    }
}

#[test]
fn a_server_that_refuses_is_quoted_with_cause_and_remedy() {
    for (rule, until, step, kind, says) in [
        (
            "connect:rejected",
            Until::Connect,
            Step::Reply,
            FailureKind::Rejected,
            "refuses connect: NetConnection.Connect.Rejected",
        ),
        (
            "connect:close",
            Until::Publish,
            Step::Reply,
            FailureKind::Closed,
            "closed the connection on connect, without a word",
        ),
        (
            "connect:redirect=rtmp://edge/live/k",
            Until::Publish,
            Step::Reply,
            FailureKind::Redirected,
            "probe rtmp://edge/live/***",
        ),
        (
            "publish:name-taken",
            Until::Publish,
            Step::Publish,
            FailureKind::NameTaken,
            "refuses publish: NetStream.Publish.BadName",
        ),
        ("publish:unauthorized", Until::Publish, Step::Publish, FailureKind::Unauthorized, "give the credentials"),
        ("publish:close", Until::Publish, Step::Publish, FailureKind::Closed, "`deny publish`"),
        (
            "play:not-found",
            Until::Play,
            Step::Play,
            FailureKind::Rejected,
            "refuses play: NetStream.Play.StreamNotFound",
        ),
    ] {
        let policy = ServerPolicy { reject: vec![rule.parse().unwrap()], ..ServerPolicy::default() };
        let server = serve(move |stream| conduct(stream, &policy));
        let report = probe(&ProbePlan { session: Some(asked(until)), ..plan(server.address) });
        assert_failed(&report, step, kind, Side::Target);
        assert_says(&report, &[says]);
        assert_eq!(report.explanation.negotiated, Some(HandshakeMode::Complex), "the handshake is told all the same");
    }
}

#[test]
fn a_session_that_goes_no_further_runs_into_the_timeout() {
    let server = serve(complex_server);
    let report = probe(&ProbePlan { session: Some(asked(Until::Connect)), timeout: PATIENT, ..plan(server.address) });
    assert_failed(&report, Step::Reply, FailureKind::Timeout, Side::Target);
    assert_says(&report, &["the server did not answer connect within 3.00 s", "client connect (1): app live"]);
    let server = serve(|stream| conduct(stream, &ServerPolicy::default()));
    let report = probe(&ProbePlan { session: Some(asked(Until::Play)), timeout: PATIENT, ..plan(server.address) });
    assert_failed(&report, Step::Play, FailureKind::Timeout, Side::Target);
    assert_says(
        &report,
        &["let the player in and sent no audio or video within 3.00 s", "somebody publishes this stream"],
    );
}

/// As nginx-rtmp does where it denies a publisher.
#[test]
fn a_server_that_accepts_and_hangs_up_has_not_accepted() {
    let server = serve(|stream| {
        conduct_until(stream, &ServerPolicy::default(), |event| matches!(event, ServerEvent::Publish { .. }))
    });
    let report = probe(&ProbePlan { session: Some(asked(Until::Publish)), linger: AMPLE, ..plan(server.address) });
    assert_failed(&report, Step::Publish, FailureKind::Closed, Side::Target);
    assert_says(&report, &["NetStream.Publish.Start", "the server accepts publish and hangs up", "`deny publish`"]);
}

#[test]
fn answers_that_are_no_rtmp_are_said_with_their_first_bytes() {
    let server = serve(|mut stream| {
        let signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
        answer_on(&mut stream, &signed);
        read_exactly(&mut stream, C2_SIZE + 1);
        answer_on(&mut stream, &[0xff, 1, 2, 3]);
        read_to_end(stream);
    });
    let report = probe(&ProbePlan { session: Some(asked(Until::Connect)), ..plan(server.address) });
    assert_failed(&report, Step::Reply, FailureKind::BadMessage, Side::Unattributed);
    assert_says(&report, &["is no RTMP", "begin ff 01 02 03"]);
}

#[test]
fn imitated_clients_speak_as_they_do() {
    for profile in [ClientProfile::Ffmpeg, ClientProfile::Obs, ClientProfile::Zlmediakit, ClientProfile::NginxRtmp] {
        let server = serve(|stream| conduct(stream, &ServerPolicy::default()));
        let spec = profile.spec();
        let imitating = ProbePlan { profile, mode: spec.mode, digest_at: spec.digest_at, ..plan(server.address) };
        let report = probe(&ProbePlan { session: Some(asked(Until::Publish)), ..imitating });
        assert!(matches!(report.outcome, ProbeOutcome::Completed { .. }), "{profile}: {:?}", report.outcome);
        let told = report.session.unwrap();
        let says = |name: &str| told.messages.iter().any(|said| said.name == name);
        assert_eq!(says("FCPublish"), matches!(profile, ClientProfile::Ffmpeg | ClientProfile::Obs), "{profile}");
    }
}

#[test]
fn no_secret_leaves_the_command() {
    for json in [&["--json"][..], &[]] {
        let policy = ServerPolicy { reject: vec!["publish:name-taken".parse().unwrap()], ..ServerPolicy::default() };
        let server = serve(move |stream| conduct(stream, &policy));
        let url = format!("rtmp://{}/live/k3y?token=t0ken", server.address);
        let output = shakedown(&[&["probe", &url, "--until", "publish"], json].concat());
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(printed.contains("NetStream.Publish.BadName"), "{printed}");
        assert!(!printed.contains("k3y") && !printed.contains("t0ken"), "{printed}");
    }
}

#[test]
fn json_has_the_keys_of_the_recorded_handshakes() {
    let server = serve(complex_server);
    let output = shakedown(&["probe", &server.address.to_string(), "--json", "--linger", "0s", "--seed", "7"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let handshake = &json["handshakes"][0];

    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/manifest.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let names_of_a_capture = ["name", "client", "server"];
    for key in recorded[0].as_object().unwrap().keys().filter(|key| !names_of_a_capture.contains(&key.as_str())) {
        assert!(handshake.get(key).is_some_and(|value| !value.is_null()), "{key}: {json}");
    }
    for (key, value) in [("asked", "complex"), ("negotiated", "complex"), ("c1_digest_at", "first_half")] {
        assert_eq!(handshake[key], value, "{key}");
    }
    assert_eq!(handshake["outcome"]["result"], "completed");
    assert_eq!(handshake["outcome"]["mode"], "complex_verified");
    assert_eq!(handshake["seed"], 7);
    assert_eq!(handshake["after_c2"], Value::Null);
    for timing in ["connect_ns", "s0_ns", "s0s1_ns", "s2_ns", "total_ns"] {
        assert!(handshake["timings"][timing].as_u64().is_some_and(|nanos| nanos > 0), "{timing}: {json}");
    }
}

#[test]
fn the_command_prints_text_and_reports_progress_aside() {
    let server = serve(complex_server);
    let output = shakedown(&["probe", &format!("rtmp://{}/live", server.address), "--linger", "0s"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.starts_with(&format!("{}: complex handshake completed\n", server.address)), "{stdout}");
    assert!(stderr.contains(&format!("probing {}", server.address)), "{stderr}");
}

#[test]
fn a_failed_probe_exits_with_5() {
    let output = shakedown(&["probe", &closed_port().to_string(), "--json"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let outcome = &json["handshakes"][0]["outcome"];
    assert_eq!(
        (&outcome["result"], &outcome["step"], &outcome["kind"]),
        (&"failed".into(), &"connect".into(), &"refused".into())
    );
}

#[test]
fn what_cannot_be_probed_exits_with_2_before_any_packet() {
    for (words, says) in [
        (&["probe", "203.0.113.1:1935"][..], "--allow-target 203.0.113.1"),
        (&["probe", "rtmp://127.0.0.1/live", "--insecure"], "TLS"),
        (&["probe", "127.0.0.1:1935", "--timeout", "0s"], "--timeout"),
        (&["probe", "127.0.0.1:1935", "--mode", "simple", "--digest", "first-half"], "--digest"),
    ] {
        let output = shakedown(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{words:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_doctor_gives_findings() {
    let output = shakedown(&["doctor", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let severity = |finding: &Value| finding["severity"].as_str().unwrap().to_owned();
    assert_eq!(findings[0]["code"], "io_uring");
    for finding in findings {
        assert!(["ok", "info", "warning", "blocking"].contains(&severity(finding).as_str()), "{finding}");
        assert_eq!(finding["remedy"].is_null(), severity(finding) == "ok", "{finding}");
    }
    let blocked = findings.iter().any(|finding| severity(finding) == "blocking");
    assert_eq!(output.status.code(), Some(i32::from(blocked)));
}

#[test]
fn the_doctor_computes_whether_connections_can_be_held() {
    let held = |words: &[&str]| {
        let output = shakedown(&[&["doctor", "--json"], words].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let held = json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["code"].as_str().is_some_and(|check| check.starts_with("held_")));
        held.cloned().collect::<Vec<_>>()
    };
    assert_eq!(held(&[]), [Value::Null; 0]);
    let ports = |words: &[&str]| {
        let found = held(words).into_iter().find(|finding| finding["code"] == "held_ports").unwrap();
        (found["severity"].as_str().unwrap().to_owned(), found["value"].as_str().unwrap().to_owned())
    };
    let (severity, value) = ports(&["--hold", "100000"]);
    assert!(severity == "blocking" && value.starts_with("100000 of "), "no range has so many: {value}");
    let (severity, value) = ports(&["--hold", "100000", "--source", "127.0.0.1-127.0.0.250,127.0.0.9", "--both-ends"]);
    assert!(severity == "ok" && value.starts_with("400 of "), "each address once: {severity}: {value}");
    assert_eq!(shakedown(&["doctor", "--both-ends"]).status.code(), Some(2));
}

/// A server for one connection.
struct Server<T> {
    address: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T> Server<T> {
    fn join(self) -> T {
        self.thread.join().unwrap()
    }
}

fn serve<T: Send + 'static>(script: impl FnOnce(TcpStream) -> T + Send + 'static) -> Server<T> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    Server { address, thread: thread::spawn(move || script(listener.accept().unwrap().0)) }
}

fn closed_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn complex_server(mut stream: TcpStream) -> C2Verdict {
    let templates = server_templates();
    let mut handshake = ServerHandshake::new(0, true);
    let mut received = read_exactly(&mut stream, C0C1_SIZE);
    handshake.advance(&received, &templates).unwrap();
    let mut signed = vec![0; S0S1S2_SIZE];
    handshake.write_s0s1s2(&received, &templates, &mut signed);
    stream.write_all(&signed).unwrap();
    received.extend(read_exactly(&mut stream, C2_SIZE));
    let state = handshake.advance(&received, &templates).unwrap();
    read_to_end(stream);
    let ServerState::Done(verdict) = state else { panic!("{state:?}") };
    verdict
}

/// A server that shakes hands and then conducts a session by `policy`, until the client hangs up.
fn conduct(stream: TcpStream, policy: &ServerPolicy) {
    conduct_until(stream, policy, |_| false);
}

/// Likewise, and hangs up once it has answered what it leaves on.
fn conduct_until(mut stream: TcpStream, policy: &ServerPolicy, leaves_on: impl Fn(&ServerEvent<'_>) -> bool) {
    let signed = sign(&read_exactly(&mut stream, C0C1_SIZE));
    answer_on(&mut stream, &signed);
    read_exactly(&mut stream, C2_SIZE);
    let (mut session, mut store) = (ServerSession::new(policy), MessageStore::for_requests());
    let (mut received, mut answer) = ([0; 4096], [0; ServerSession::MAX_OUTPUT]);
    let mut leaves = false;
    loop {
        let size = session.write(policy, &mut answer);
        if stream.write_all(&answer[..size]).is_err() || session.is_over() || leaves {
            return;
        }
        let Ok(size @ 1..) = stream.read(&mut received) else { return };
        let mut bytes = &received[..size];
        while let Some(event) = session.receive(&mut bytes, &mut store, policy).unwrap() {
            leaves |= leaves_on(&event);
        }
    }
}

fn asked(until: Until) -> ProbeSession {
    ProbeSession {
        until,
        app: Secret::new("live".into()),
        tc_url: Secret::new("rtmp://10.0.0.5:1935/live".into()),
        stream: Secret::new("k3y?token=t0ken".into()),
    }
}

/// As ffmpeg -listen: S1 without a digest, S2 the echo of C1 with bytes 4..8 cleared.
fn simple_server(mut stream: TcpStream) {
    let mut s2 = read_exactly(&mut stream, C0C1_SIZE).split_off(1);
    s2[4..8].fill(0);
    let s1 = [&[0; 8][..], &[0x5a; 1528]].concat();
    stream.write_all(&[&[3], &s1[..], &s2].concat()).unwrap();
    read_to_end(stream);
}

/// The right S0S1S2 for a C0C1.
fn sign(c0c1: &[u8]) -> Vec<u8> {
    let templates = server_templates();
    let mut handshake = ServerHandshake::new(0, false);
    handshake.advance(c0c1, &templates).unwrap();
    let mut signed = vec![0; S0S1S2_SIZE];
    handshake.write_s0s1s2(c0c1, &templates, &mut signed);
    signed
}

fn server_templates() -> ServerTemplates {
    ServerTemplates::sign(1, &mut Seed::new(2).stream(StreamPurpose::ServerTemplates, 0))
}

/// Answers a C0C1 and stays.
fn answer(mut stream: TcpStream, bytes: &[u8]) {
    read_exactly(&mut stream, C0C1_SIZE);
    answer_on(&mut stream, bytes);
    read_to_end(stream);
}

fn answer_on(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

fn read_exactly(stream: &mut TcpStream, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Until the probe hangs up; it resets a connection whose answer it did not want to read.
fn read_to_end(mut stream: TcpStream) {
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

fn plan(address: SocketAddr) -> ProbePlan {
    ProbePlan {
        target: address.to_string(),
        address,
        tls: None,
        profile: ClientProfile::Shakedown,
        clock: ClientClock::default(),
        mode: HandshakeMode::Complex,
        digest_at: DigestAt::FirstHalf,
        session: None,
        connect_timeout: AMPLE,
        timeout: AMPLE,
        linger: Duration::ZERO,
        seed: Seed::new(1),
    }
}

/// The report with everything replaced that differs from one time to the next.
fn still(mut report: ProbeReport) -> ProbeReport {
    report.address = "10.0.0.5:1935".parse().unwrap();
    report.target = "rtmp://10.0.0.5/live".into();
    let instant = |recorded: Option<u64>, ns| recorded.map(|_| ns);
    report.at = StepTimes {
        connected_ns: instant(report.at.connected_ns, 50_000),
        secured_ns: None,
        c0c1_sent_ns: instant(report.at.c0c1_sent_ns, 52_000),
        s0_ns: instant(report.at.s0_ns, 300_000),
        s1_ns: instant(report.at.s1_ns, 300_000),
        s2_ns: instant(report.at.s2_ns, 300_000),
        c2_sent_ns: instant(report.at.c2_sent_ns, 420_000),
        ended_ns: 60_420_000,
    };
    report.timings = report.at.timings();
    if let Some(after) = &mut report.after_c2 {
        after.after_ns = 60_000_000;
    }
    report
}

fn assert_failed(report: &ProbeReport, step: Step, kind: FailureKind, side: Side) {
    let ProbeOutcome::Failed { step: at, kind: as_kind, side: of, cause, remedy } = &report.outcome else {
        panic!("{:?}", report.outcome);
    };
    assert_eq!((*at, *as_kind, *of), (step, kind, side), "{cause}");
    assert!(!cause.is_empty() && !remedy.is_empty());
}

/// The text says each of the phrases, wherever lines break.
fn assert_says(report: &ProbeReport, phrases: &[&str]) {
    let text = report.render(80, false);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for phrase in phrases {
        assert!(words.contains(phrase), "{phrase}\n{text}");
    }
}

fn without_colors(text: &str) -> String {
    let mut plain = String::new();
    for (index, piece) in text.split('\x1b').enumerate() {
        plain.push_str(if index == 0 { piece } else { piece.split_once('m').unwrap().1 });
    }
    plain
}

fn shakedown(words: &[&str]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_shakedown")).args(words).output().unwrap()
}
