//! What attempts do after the handshake: their milestones, how they are refused, and what is held.
//!
//! A session that nobody delays, in microseconds after its start: connected 200, S0S1S2 600, `connect` answered 800,
//! `createStream` 1000, `publish` or `play` 1200.

use proptest::prelude::*;
use proptest::sample::select;
use shakedown::base::Nanos;
use shakedown::fleet::{End, Order};
use shakedown::io::sim::{Freeze, Peer, PeerCounts, PeerScript, ServiceModel, SessionAnswers, SessionModel};
use shakedown::measure::{FailureDetail, FailureKind, MediaCounts, Metric, Step, Until};
use shakedown::protocol::amf0::Writer;
use shakedown::protocol::session::Request;
use shakedown::protocol::{ClientProfile, HandshakeMode};
use shakedown::run::{ClientShare, ClosePolicy, Hold, Population};

use super::lab::*;

/// There and back.
const ROUND_TRIP: u64 = 2 * ONE_WAY;
/// Window Acknowledgement Size, as xiu sends it with S2.
const WINDOW_ACK_SIZE: &[u8] = &[2, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0, 0, 0, 0x4c, 0x4b, 0x40];
/// Messages of the trickle before its first audio tag: metadata, two sequence headers and a picture.
const INTRO: u64 = 4;

fn until(until: Until) -> impl Fn(&mut Population) {
    move |clients| clients.until = until
}

fn held(length: Nanos) -> impl Fn(&mut Population) {
    move |clients| clients.hold = Hold::ForNs(length.as_u64())
}

fn closed_by(close: ClosePolicy) -> impl Fn(&mut Population) {
    move |clients| clients.close = close
}

fn lab(attempts: u64, milestone: Until) -> Lab {
    let mut lab = Lab::new(closed_of(attempts), attempts as u32).simple().with(until(milestone));
    lab.audited = true;
    lab
}

fn media(report: &Report) -> MediaCounts {
    report.snapshot.measured().media
}

fn reasons(report: &Report) -> Vec<(Step, FailureKind, String, u64)> {
    let measured = report.snapshot.measured();
    let reasons = measured.failures.reasons().iter();
    reasons.map(|reason| (reason.step, reason.kind, reason.text.clone(), reason.count)).collect()
}

/// Step, kind and number of the only failure.
fn only_failure(report: &Report) -> (Step, FailureKind, u64) {
    let failures = report.failures();
    let [(failure, count)] = &failures[..] else { panic!("one kind of failure: {failures:?}") };
    (failure.step, failure.kind, *count)
}

#[test]
fn every_milestone_takes_the_round_trips_before_it() {
    const N: usize = 5;
    let after_s2 = |trips: u64| micros(trips * ROUND_TRIP);
    for (milestone, trips, published, played) in [
        (Until::Reply, 1, 0, 0),
        (Until::Connect, 1, 0, 0),
        (Until::Publish, 3, N as u64, 0),
        (Until::Play, 3, 0, N as u64),
    ] {
        let report = lab(N as u64, milestone).run();
        assert_eq!(report.counts().completed, N as u64, "{milestone}: {:?}", report.failures());
        let all = |span: Nanos| spans([span; N]);
        let none = spans([]);
        let connected = milestone >= Until::Connect;
        let started = milestone >= Until::Publish;
        for (metric, expected) in [
            (Metric::Service, all(micros(ATTEMPT) + after_s2(trips))),
            (Metric::S2, all(micros(ATTEMPT - ROUND_TRIP))),
            (Metric::Reply, all(after_s2(1))),
            (Metric::AppConnect, if connected { all(after_s2(1)) } else { none.clone() }),
            (Metric::Publish, if started { all(after_s2(2)) } else { none.clone() }),
            (Metric::FirstFrame, if milestone == Until::Play { all(Nanos::ZERO) } else { none.clone() }),
            (Metric::Confirm, all(after_s2(trips))),
        ] {
            // All of one read is taken in: `_result` comes with the first bytes.
            if milestone == Until::Reply && metric == Metric::AppConnect {
                continue;
            }
            assert!(report.spans(metric) == expected, "{milestone}: {metric}");
        }
        let peer = report.peers[0];
        assert_eq!((peer.connected, peer.published, peer.played), (N as u64, published, played), "{milestone}");
        assert_eq!((peer.bad_messages, peer.resets, peer.goodbyes), (0, N as u64, 0), "{milestone}");
    }
}

#[test]
fn a_handshake_is_no_session() {
    let report = lab(3, Until::Handshake).run();
    let expected = PeerCounts { accepted: 3, simple: 3, c2_echo: 3, resets: 3, ..PeerCounts::default() };
    assert_eq!(report.peers[0], expected);
    assert_eq!(report.spans(Metric::Confirm), spans([]));
}

#[test]
fn every_client_reaches_what_it_can() {
    let clients = ClientProfile::ALL.iter().copied();
    let (mut publishers, mut players) = (0, 0);
    for client in clients.filter(|client| client.session().is_some()) {
        for (milestone, can) in [(Until::Publish, client.publishes()), (Until::Play, client.plays())] {
            if !can {
                continue;
            }
            let lab = lab(2, milestone).with(held(secs(3))).with(closed_by(ClosePolicy::Fin));
            let lab = lab.with(|clients| clients.clients[0].client.profile = client);
            let report = lab.run();
            assert_eq!(report.counts().completed, 2, "{client} {milestone}: {:?}", report.failures());
            let peer = report.peers[0];
            assert_eq!((peer.connected, peer.published + peer.played), (2, 2), "{client} {milestone}");
            assert_eq!((peer.bad_messages, peer.fins), (0, 2), "{client} {milestone}");
            if milestone == Until::Publish {
                assert_eq!(peer.media_messages, media(&report).sent_messages, "{client}");
                publishers += 1;
            } else {
                assert!(media(&report).received_messages >= 2 * (INTRO + 2), "{client}");
                players += 1;
            }
        }
    }
    assert!(publishers > 5 && players > 3);
}

#[test]
fn every_refusal_has_its_name() {
    use FailureKind::{NameTaken, Redirected, Rejected, Unauthorized};
    for (rule, milestone, step, kind, text) in [
        (
            "connect:rejected",
            Until::Reply,
            Step::Reply,
            Rejected,
            "NetConnection.Connect.Rejected: No such application",
        ),
        (
            "connect:rejected",
            Until::Publish,
            Step::Reply,
            Rejected,
            "NetConnection.Connect.Rejected: No such application",
        ),
        (
            "connect:unauthorized",
            Until::Connect,
            Step::Reply,
            Unauthorized,
            "NetConnection.Connect.Rejected: [ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ",
        ),
        (
            "connect:redirect=rtmp://serve.sim/live",
            Until::Publish,
            Step::Reply,
            Redirected,
            "NetConnection.Connect.Rejected: RTMP 302 Redirect -> rtmp://serve.sim/live",
        ),
        (
            "publish:name-taken",
            Until::Publish,
            Step::Publish,
            NameTaken,
            "NetStream.Publish.BadName: Already publishing",
        ),
        (
            "publish:unauthorized",
            Until::Publish,
            Step::Publish,
            Unauthorized,
            "NetStream.Publish.Unauthorized: Not authorized to publish",
        ),
        (
            "publish:redirect=rtmp://serve.sim/live",
            Until::Publish,
            Step::Publish,
            Redirected,
            "NetConnection.Connect.Rejected: RTMP 302 Redirect -> rtmp://serve.sim/live",
        ),
        ("play:not-found", Until::Play, Step::Play, Rejected, "NetStream.Play.StreamNotFound: No such stream"),
    ] {
        let report = lab(4, milestone).against(Peer::conducting(SessionModel::refusing(rule))).run();
        assert_eq!(only_failure(&report), (step, kind, 4), "{rule}");
        assert_eq!(reasons(&report), [(step, kind, text.to_owned(), 4)], "{rule}");
        assert_eq!((report.peers[0].rejected, report.peers[0].bad_messages), (4, 0), "{rule}");
        // A refusal of `connect` takes one round trip, of a stream three.
        let trips = if step == Step::Reply { 1 } else { 3 };
        assert_eq!(report.time_to_failure(), spans([micros(ATTEMPT + trips * ROUND_TRIP); 4]), "{rule}");
    }
}

#[test]
fn only_streams_that_a_rule_fits_are_refused() {
    let mut lab = lab(20, Until::Publish);
    lab.plan.populations[0].stream = Some("load-{id}".parse().unwrap());
    let report = lab.against(Peer::conducting(SessionModel::refusing("publish:name=load-1*:name-taken"))).run();
    // 1, and 10 to 19.
    assert_eq!((report.counts().completed, report.counts().failed), (9, 11));
    assert_eq!(only_failure(&report), (Step::Publish, FailureKind::NameTaken, 11));
    assert_eq!((report.peers[0].published, report.peers[0].rejected), (9, 11));
}

#[test]
fn what_never_comes_is_a_timeout_of_its_step() {
    for (answers, milestone, step) in [
        (SessionAnswers::AllButTo(Request::Connect), Until::Reply, Step::Reply),
        (SessionAnswers::AllButTo(Request::Connect), Until::Publish, Step::Reply),
        (SessionAnswers::AllButTo(Request::Publish), Until::Publish, Step::Publish),
        (SessionAnswers::AllButTo(Request::Play), Until::Play, Step::Play),
    ] {
        let report = lab(3, milestone).against(Peer::conducting(SessionModel::answering(answers))).run();
        assert_eq!(only_failure(&report), (step, FailureKind::Timeout, 3), "{answers:?}");
        assert_eq!(report.time_to_failure(), spans([expiry(micros(ROUND_TRIP) + secs(10)); 3]), "{answers:?}");
    }
}

#[test]
fn servers_that_hang_up_or_talk_nonsense_are_told_apart() {
    for (host, step, kind) in [
        ("close-after-connect.sim", Step::Publish, FailureKind::Closed),
        ("hook-says-no.sim", Step::Publish, FailureKind::Closed),
        ("noise-after-s2.sim", Step::Reply, FailureKind::BadMessage),
        ("close-after-c2.sim", Step::Reply, FailureKind::Closed),
        ("reset-after-s2.sim", Step::SendC2, FailureKind::Reset),
    ] {
        let report = lab(3, Until::Publish).against(Peer::by_host(host).unwrap()).run();
        assert_eq!(only_failure(&report), (step, kind, 3), "{host}");
    }
    let noise = lab(1, Until::Reply).against(Peer::by_host("noise-after-s2.sim").unwrap()).run();
    let said = reasons(&noise);
    assert!(said[0].2.contains("begins with a fmt 3 header"), "{said:?}");
}

#[test]
fn what_comes_with_s2_is_no_reply() {
    let serve = |segments: &[usize], gap: Nanos| PeerScript::Serve {
        segments: segments.to_vec(),
        gap,
        tail: WINDOW_ACK_SIZE.to_vec(),
        s2_after_c2: false,
    };
    let unanswered = SessionModel::answering(SessionAnswers::AllButTo(Request::Connect));
    for script in [serve(&[], Nanos::ZERO), serve(&[1537], millis(1)), serve(&[3073], millis(1))] {
        // The last of these sends it apart from S2, when the client has asked already: that cannot be told from a reply.
        let apart = matches!(&script, PeerScript::Serve { segments, .. } if segments[..] == [3073]);
        let silent = Peer { sessions: unanswered.clone(), ..Peer::scripted(script.clone()) };
        let report = lab(2, Until::Reply).against(silent).run();
        if apart {
            assert_eq!(report.counts().completed, 2, "{script:?}");
        } else {
            assert_eq!(only_failure(&report), (Step::Reply, FailureKind::Timeout, 2), "{script:?}");
        }
    }
    // The answer to `connect` may come before the rest of S2, of which the client has seen nothing when it asks.
    let report = lab(2, Until::Publish).against_script(serve(&[1537], millis(1))).run();
    assert_eq!(report.counts().completed, 2);
    assert_eq!(report.spans(Metric::Reply), report.spans(Metric::AppConnect));
}

/// A command on chunk stream 3.
fn command(write: impl FnOnce(&mut Writer<&mut Vec<u8>>)) -> Vec<u8> {
    let mut payload = Vec::new();
    write(&mut Writer::new(&mut payload));
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length <= 128, "one chunk");
    [&[3, 0, 0, 0, 0, 0, length, 20, 0, 0, 0, 0][..], &payload].concat()
}

fn answer_to_connect() -> Vec<u8> {
    command(|payload| {
        payload.string("_result").number(1.0).null().null();
    })
}

/// Says this behind S2, and then nothing, or what a server says.
fn saying(bytes: &[u8], answers: SessionAnswers) -> Peer {
    let script = PeerScript::Serve { segments: Vec::new(), gap: Nanos::ZERO, tail: bytes.to_vec(), s2_after_c2: false };
    Peer { sessions: SessionModel::answering(answers), ..Peer::scripted(script) }
}

const MUTE: SessionAnswers = SessionAnswers::AllButTo(Request::Connect);

#[test]
fn what_follows_a_milestone_is_judged_by_itself() {
    let broken = [&answer_to_connect()[..], &[0xc5; 40]].concat();
    let report = lab(3, Until::Connect).against(saying(&broken, MUTE)).run();
    assert_eq!((report.counts().completed, report.counts().failed), (3, 0), "{:?}", report.failures());
    let report = lab(3, Until::Connect).with(held(secs(3))).against(saying(&broken, MUTE)).run();
    assert_eq!((report.counts().completed, report.counts().lost_while_held), (3, 3));
    assert_eq!(only_failure(&report), (Step::Hold, FailureKind::BadMessage, 3));
    let said = reasons(&report);
    assert!(
        said[0].2.contains("fmt 3 header") && said[0].2.ends_with("(c5 c5 c5 c5 c5 c5 c5 c5 c5 c5 c5 c5 c5 c5 c5 c5)"),
        "{said:?}"
    );
    assert_eq!((said.len(), said[0].0, said[0].3), (1, Step::Hold, 3));
}

#[test]
fn what_is_passed_over_hinders_nobody() {
    let nobodys = [
        &[3, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0][..],
        &command(|payload| {
            payload.string("onBWDone").null();
        }),
        &[4, 0, 0, 0, 0, 0, 2, 99, 0, 0, 0, 0, 1, 2],
    ];
    for milestone in [Until::Connect, Until::Publish, Until::Play] {
        let report = lab(2, milestone).against(saying(&nobodys.concat(), SessionAnswers::All)).run();
        assert_eq!(report.counts().completed, 2, "{milestone}: {:?}", report.failures());
        assert_eq!(reasons(&report), []);
    }
}

#[test]
fn a_silence_after_something_else_says_what_that_was() {
    let status = command(|payload| {
        payload.string("onStatus").number(0.0).null();
    });
    let other = command(|payload| {
        payload.string("onFCInfo").number(0.0).null();
    });
    let empty = [3, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0];
    for (bytes, kind, text) in [
        (&other[..], FailureKind::Timeout, "onFCInfo"),
        (&status, FailureKind::BadMessage, "onStatus"),
        (
            &[&other[..], &empty].concat(),
            FailureKind::BadMessage,
            "onFCInfo, command message that cannot be read (empty)",
        ),
        (
            b"HTTP/1.1 400 Bad Request",
            FailureKind::BadMessage,
            "message of unknown type 49 (48 54 54 50 2f 31 2e 31, \"HTTP/1.1\")",
        ),
    ] {
        let report = lab(2, Until::Connect).against(saying(bytes, MUTE)).run();
        assert_eq!(only_failure(&report), (Step::Reply, kind, 2), "{text}");
        assert_eq!(reasons(&report), [(Step::Reply, kind, text.to_owned(), 2)]);
    }
}

#[test]
fn names_and_queries_of_any_length_are_sent() {
    let long = "x".repeat(70_000);
    for milestone in [Until::Publish, Until::Play] {
        let mut lab = lab(2, milestone);
        lab.plan.populations[0].stream = Some(format!("{long}-{{id}}").parse().unwrap());
        lab.plan.populations[0].app = Some(format!("live?token={}", &long[..33_000]).parse().unwrap());
        let report = lab.run();
        assert_eq!(report.counts().completed, 2, "{milestone}: {:?}", report.failures());
        assert_eq!((report.peers[0].published + report.peers[0].played, report.peers[0].bad_messages), (2, 0));
    }
}

#[test]
fn servers_that_send_s2_after_c2_answer_at_once() {
    let script = PeerScript::Serve { segments: Vec::new(), gap: Nanos::ZERO, tail: Vec::new(), s2_after_c2: true };
    let report = lab(4, Until::Publish).against_script(script).run();
    assert_eq!(report.counts().completed, 4);
    assert_eq!(report.spans(Metric::Reply), spans([micros(ROUND_TRIP); 4]));
    assert_eq!(report.spans(Metric::Service), spans([micros(ATTEMPT + 3 * ROUND_TRIP); 4]));
}

#[test]
fn a_slow_hook_is_a_slow_publish() {
    for milestone in [Until::Publish, Until::Play] {
        let report = lab(4, milestone).against(Peer::by_host("slow-hook.sim").unwrap()).run();
        assert_eq!(report.spans(Metric::AppConnect), spans([micros(ROUND_TRIP); 4]));
        assert_eq!(report.spans(Metric::Publish), spans([micros(2 * ROUND_TRIP) + millis(300); 4]), "{milestone}");
        assert_eq!(report.spans(Metric::Confirm), spans([micros(3 * ROUND_TRIP) + millis(300); 4]), "{milestone}");
    }
}

#[test]
fn answers_in_any_pieces_are_the_same_answers() {
    for size in [1, 2, 3, 7, 11, 12, 13, 100, 140] {
        for milestone in [Until::Reply, Until::Connect, Until::Publish, Until::Play] {
            let model = SessionModel { pieces: Some((size, micros(10))), ..SessionModel::default() };
            let report = lab(2, milestone).with(held(secs(3))).against(Peer::conducting(model)).run();
            assert_eq!(report.counts().completed, 2, "{milestone} in {size}: {:?}", report.failures());
            assert_eq!(report.counts().lost_while_held, 0);
            assert_eq!(report.spans(Metric::Reply), spans([micros(ROUND_TRIP); 2]), "the first piece is a reply");
            let longest = report.spans(Metric::Confirm).max();
            assert!(milestone == Until::Reply || longest > Some(micros(ROUND_TRIP)), "{milestone} in {size}");
        }
        let refusing =
            SessionModel { pieces: Some((size, micros(10))), ..SessionModel::refusing("publish:name-taken") };
        let report = lab(2, Until::Publish).against(Peer::conducting(refusing)).run();
        assert_eq!(only_failure(&report), (Step::Publish, FailureKind::NameTaken, 2), "in {size}");
    }
}

#[test]
fn held_publishers_send_the_trickle_and_both_sides_count_it() {
    const N: u64 = 20;
    let report = lab(N, Until::Publish).with(held(millis(10_500))).with(closed_by(ClosePolicy::Fin)).run();
    let (sent, peer) = (media(&report), report.peers[0]);
    // Ten audio tags, and a picture every four seconds.
    assert_eq!(sent.sent_messages, N * (INTRO + 10 + 2));
    assert_eq!(peer.media_messages, sent.sent_messages);
    assert_eq!(peer.media_bytes, sent.sent_bytes);
    assert_eq!((sent.late_messages, sent.received_messages, sent.received_bytes), (0, 0, 0));
    assert_eq!((peer.published, peer.goodbyes, peer.fins, peer.resets), (N, N, N, 0));
    assert_eq!(report.counts().lost_while_held, 0);
    assert_eq!(report.timeline.held_peak(), N);
}

#[test]
fn held_players_count_what_they_get() {
    const N: u64 = 5;
    let report = lab(N, Until::Play).with(held(secs(10))).with(closed_by(ClosePolicy::Fin)).run();
    let received = media(&report);
    assert_eq!((received.sent_messages, received.sent_bytes), (0, 0));
    assert_eq!(received.received_messages, N * (INTRO + 10 + 2));
    assert!(received.received_bytes > N * 500);
    assert_eq!((report.peers[0].played, report.peers[0].media_bytes), (N, 0));
}

#[test]
fn held_sessions_answer_pings() {
    for (milestone, host) in [
        (Until::Connect, "ping.sim"),
        (Until::Publish, "ping.sim"),
        (Until::Play, "ping.sim"),
        (Until::Publish, "serve.sim"),
    ] {
        let report = lab(6, milestone).with(held(millis(5_500))).against(Peer::by_host(host).unwrap()).run();
        assert_eq!(report.counts().completed, 6);
        let pings = if host == "ping.sim" { 5 } else { 0 };
        assert_eq!(report.peers[0].pongs, 6 * pings, "{milestone} at {host}");
        assert_eq!(report.counts().lost_while_held, 0);
    }
}

#[test]
fn sessions_that_are_held_for_ever_are_told_goodbye_at_the_end() {
    for close in [ClosePolicy::Rst, ClosePolicy::Fin, ClosePolicy::Peer] {
        let lab = lab(8, Until::Publish).with(closed_by(close)).with(|clients| clients.hold = Hold::Forever);
        let report = lab.order(secs(3), Order::Release).run();
        let peer = report.peers[0];
        assert_eq!((report.counts().completed, report.end), (8, End::Finished));
        assert_eq!((peer.published, peer.goodbyes), (8, 8), "{close:?}");
        let fins = if close == ClosePolicy::Fin { 8 } else { 0 };
        // A server that is left open ends nothing by itself, so the client gives up waiting for it.
        assert_eq!((peer.fins, peer.resets), (fins, 8 - fins), "{close:?}");
    }
}

#[test]
fn publishers_that_do_not_stay_say_goodbye_unless_they_reset() {
    for (close, goodbyes) in [(ClosePolicy::Rst, 0), (ClosePolicy::Fin, 4)] {
        let report = lab(4, Until::Publish).with(closed_by(close)).run();
        assert_eq!((report.counts().completed, report.peers[0].goodbyes), (4, goodbyes), "{close:?}");
    }
}

#[test]
fn lost_sessions_are_counted() {
    let hosts = [("reset-after-publish.sim", FailureKind::Reset), ("close-held.sim", FailureKind::Closed)];
    for (host, kind) in hosts {
        let report = lab(5, Until::Publish).with(held(secs(3))).against(Peer::by_host(host).unwrap()).run();
        assert_eq!(
            (report.counts().completed, report.counts().failed, report.counts().lost_while_held),
            (5, 0, 5),
            "{host}"
        );
        assert_eq!(only_failure(&report), (Step::Hold, kind, 5), "{host}");
        assert_eq!((report.peers[0].published, report.peers[0].goodbyes), (5, 0), "{host}");
    }
}

#[test]
fn a_session_that_vanishes_is_found_out() {
    for milestone in [Until::Connect, Until::Publish] {
        let mut lab = lab(3, milestone).with(held(secs(30))).against(Peer::by_host("vanish.sim").unwrap());
        lab.plan.hold_check_ns = Some(secs(3).as_u64());
        let report = lab.run();
        assert_eq!((report.counts().completed, report.counts().lost_while_held), (3, 3), "{milestone}");
        assert_eq!(only_failure(&report), (Step::Hold, FailureKind::LostSilently, 3), "{milestone}");
    }
}

#[test]
fn a_frozen_server_delays_sessions_and_loses_none() {
    let freezes = vec![freeze(micros(650), secs(1))];
    let report = lab(4, Until::Publish).against(Peer { freezes, ..Peer::default() }).run();
    assert_eq!(report.counts().completed, 4);
    // `connect` arrives 700 us after the start, and the server is back 1 000 650 us after it.
    assert_eq!(report.spans(Metric::Reply), spans([secs(1) + micros(150); 4]));
    assert_eq!(report.spans(Metric::Publish), spans([micros(2 * ROUND_TRIP); 4]));
}

#[test]
fn a_generator_that_stands_still_catches_up_with_its_media() {
    let mut lab = lab(3, Until::Publish).with(held(millis(10_500)));
    lab.network.freezes = vec![freeze(millis(2_500), secs(3))];
    let report = lab.run();
    let sent = media(&report);
    assert_eq!(sent.sent_messages, 3 * (INTRO + 10 + 2), "what is late is sent all the same");
    assert_eq!(report.peers[0].media_messages, sent.sent_messages);
    // Those of 3, 4 and 5 s, and the picture at 4 s, waited for nobody but the generator.
    assert_eq!(sent.late_messages, 0);
}

#[test]
fn failures_are_counted_for_the_backend_that_let_the_client_in() {
    let report = lab(4, Until::Publish).against(Peer::by_host("name-taken.sim").unwrap()).run();
    let backends: Vec<_> =
        report.snapshot.backends().iter().map(|b| (b.name.as_str(), b.tally.counts.failed)).collect();
    assert_eq!(backends, [("FMS/3,0,1,123", 4)]);
    let report = lab(4, Until::Publish).run();
    let backends: Vec<_> =
        report.snapshot.backends().iter().map(|b| (b.name.as_str(), b.tally.counts.completed)).collect();
    assert_eq!(backends, [("FMS/3,0,1,123", 4)]);
}

fn models() -> Vec<SessionModel> {
    let all = |request| {
        [
            SessionAnswers::AllButTo(request),
            SessionAnswers::ThenCloses(request),
            SessionAnswers::ThenResets { last: request, after: millis(3) },
        ]
    };
    let rules = ["connect:rejected", "connect:close", "publish:name-taken", "publish:close", "play:not-found"];
    let mut models = vec![SessionModel::default(), SessionModel { ping_every: millis(20), ..SessionModel::default() }];
    models.push(SessionModel { hook: millis(5), ..SessionModel::default() });
    models.extend([1, 5, 64].map(|size| SessionModel { pieces: Some((size, micros(3))), ..SessionModel::default() }));
    models.extend(rules.map(SessionModel::refusing));
    models.extend(
        [Request::Connect, Request::Publish, Request::Play].into_iter().flat_map(all).map(SessionModel::answering),
    );
    models
}

fn scripts() -> Vec<PeerScript> {
    let mut scripts = vec![
        PeerScript::serve(),
        PeerScript::ServeSimpleOnly,
        PeerScript::OneByteAtATime { gap: micros(1) },
        PeerScript::CloseHeldAfter { after: millis(30) },
        PeerScript::Vanishes { after: millis(30) },
        PeerScript::ClosesWithFin,
        PeerScript::ResetAfterS0S1S2,
        PeerScript::Endless,
    ];
    for s2_after_c2 in [false, true] {
        for (segments, tail) in [(vec![], WINDOW_ACK_SIZE), (vec![1537], WINDOW_ACK_SIZE), (vec![1, 1536], &[])] {
            scripts.push(PeerScript::Serve { segments, gap: micros(50), tail: tail.to_vec(), s2_after_c2 });
        }
    }
    scripts
}

prop_compose! {
    fn any_lab()(
        attempts in 1..40_u64,
        slots in 1..12_u32,
        milestone in select(vec![Until::Reply, Until::Connect, Until::Publish, Until::Publish, Until::Play]),
        hold in select(vec![Hold::ForNs(0), Hold::ForNs(2_000_000), Hold::ForNs(3_000_000_000), Hold::Exponential { mean_ns: 50_000_000 }]),
        close in select(vec![ClosePolicy::Rst, ClosePolicy::Fin, ClosePolicy::Peer]),
        clients in prop::collection::vec(select(vec![
            ClientProfile::Shakedown, ClientProfile::Ffmpeg, ClientProfile::Obs, ClientProfile::Gstreamer, ClientProfile::Srs,
        ]), 1..3),
        script in select(scripts()),
        model in select(models()),
        check in prop::option::of(Just(secs(1).as_u64())),
        jitter in prop_oneof![Just(0), 0..500_u64],
        frozen in prop::option::of((0..40_u64, 1..30_u64)),
        time in 0..500_u64,
        seed in any::<u64>(),
        orders in prop::collection::vec(
            (0..200_u64, select(vec![Order::Stop, Order::Release, Order::Abandon])),
            0..2,
        ),
    ) -> Lab {
        let mut lab = Lab::new(closed_of(attempts), slots).seeded(seed).with(until(milestone)).with(closed_by(close));
        let population = &mut lab.plan.populations[0];
        population.hold = hold;
        population.timeout_ns = millis(60).as_u64();
        population.clients = clients
            .into_iter()
            .filter(|client| if milestone == Until::Play { client.plays() } else { client.publishes() })
            .map(|profile| client(profile, HandshakeMode::Simple))
            .collect();
        if population.clients.is_empty() {
            population.clients = vec![client(ClientProfile::Shakedown, HandshakeMode::Simple)];
        }
        let mut seen: Vec<ClientShare> = Vec::new();
        population.clients.retain(|share| !seen.contains(share) && { seen.push(*share); true });
        let service = ServiceModel { time: micros(time), ..ServiceModel::default() };
        let freezes = frozen.map(|(at, length)| Freeze { at: millis(at), length: millis(length) }).into_iter().collect();
        lab.network.peers = vec![Peer { service, freezes, sessions: model, ..Peer::scripted(script) }];
        lab.network.jitter = micros(jitter);
        lab.plan.hold_check_ns = check;
        lab.orders = orders.into_iter().map(|(at, order)| (millis(at), order)).collect();
        lab.audited = true;
        lab
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the server does, in whatever pieces: every attempt has one outcome after every turn, the run ends with all
    /// slots, buffers and sessions free (both asserted by the lab), and the server's account confirms what is reported.
    #[test]
    fn every_session_is_accounted_for(lab in any_lab()) {
        let report = lab.run();
        let abandoned = lab.orders.iter().any(|(_, order)| *order == Order::Abandon);
        prop_assert!(abandoned || report.end == End::Finished);
        let (counts, peer) = (report.counts(), report.peers[0]);
        if report.end == End::Finished {
            prop_assert_eq!(counts.unended(), 0);
        }
        let milestone = lab.plan.populations[0].until;
        let reached = match milestone {
            Until::Handshake | Until::Reply => peer.accepted,
            Until::Connect => peer.connected,
            Until::Publish => peer.published,
            Until::Play => peer.played,
        };
        prop_assert!(counts.completed <= reached, "{} of {:?}", counts.completed, peer);
        prop_assert_eq!(peer.bad_messages, 0, "our clients speak RTMP");
        let media = report.snapshot.measured().media;
        prop_assert!(peer.media_messages <= media.due_messages && peer.media_bytes <= media.due_bytes);
        if report.end == End::Finished {
            prop_assert_eq!(media.due_messages, media.sent_messages + media.unsent_messages);
            prop_assert_eq!(media.due_bytes, media.sent_bytes + media.unsent_bytes);
        }
        for span in [Metric::Reply, Metric::Confirm] {
            prop_assert_eq!(report.spans(span).count(), counts.completed, "{}", span);
        }
        let reached_by = |metric| report.spans(metric).count();
        if milestone >= Until::Connect {
            prop_assert_eq!(reached_by(Metric::AppConnect), counts.completed);
            prop_assert!(report.spans(Metric::Reply).max() <= report.spans(Metric::AppConnect).max());
            prop_assert!(report.spans(Metric::AppConnect).max() <= report.spans(Metric::Confirm).max());
        }
        if milestone >= Until::Publish {
            prop_assert_eq!(reached_by(Metric::Publish), counts.completed);
        }
        // A failure's detail never says more than was received.
        for (failure, _) in report.failures() {
            if let FailureDetail::Received(bytes) = failure.detail {
                prop_assert!(bytes < 10_000_000);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_of_sessions_is_repeated_by_its_seed(mut lab in any_lab()) {
        lab.audited = false;
        let (first, second) = (lab.run(), lab.run());
        prop_assert_eq!((first.end, first.ended, first.peers), (second.end, second.ended, second.peers));
        prop_assert!(first.snapshot == second.snapshot);
    }
}
