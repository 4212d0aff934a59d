//! The server against what real clients said, and against clients that break the rules.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::session::fixtures::{
    command, connect, control, create_stream, message, recorded, segments, start,
};
use crate::protocol::session::{ChunkViolation, Status};

/// A [`ServerEvent`] that owns its text. Parts of a media message are one.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Connect(String),
    StreamCreated,
    Publish(String),
    Play(String),
    Refused(Request, String),
    Media(MessageKind, u32),
    Acknowledged(u32),
    Pong(u32),
    Closed,
    Other,
}

/// A session with its policy and all that it said.
struct Bench {
    session: ServerSession,
    policy: ServerPolicy,
    store: MessageStore,
    seen: Vec<Seen>,
    said: Vec<u8>,
}

impl Bench {
    fn new(rules: &[&str]) -> Self {
        let reject = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let policy = ServerPolicy { reject, ..ServerPolicy::default() };
        let session = ServerSession::new(&policy);
        Self { session, policy, store: MessageStore::for_requests(), seen: Vec::new(), said: Vec::new() }
    }

    fn receive(&mut self, mut input: &[u8]) -> Result<(), SessionViolation> {
        while let Some(event) = self.session.receive(&mut input, &mut self.store, &self.policy)? {
            let seen = match event {
                ServerEvent::Connect { app } => Seen::Connect(app.to_string()),
                ServerEvent::StreamCreated => Seen::StreamCreated,
                ServerEvent::Publish { name } => Seen::Publish(name.to_string()),
                ServerEvent::Play { name } => Seen::Play(name.to_string()),
                ServerEvent::Refused { request, name } => Seen::Refused(request, name.to_string()),
                ServerEvent::Media { kind, bytes, first } => match self.seen.last_mut() {
                    Some(Seen::Media(same, sum)) if *same == kind && !first => {
                        *sum += bytes;
                        continue;
                    }
                    _ => Seen::Media(kind, bytes),
                },
                ServerEvent::Acknowledged(bytes) => Seen::Acknowledged(bytes),
                ServerEvent::Pong { clock_ms } => Seen::Pong(clock_ms),
                ServerEvent::Closed => Seen::Closed,
                ServerEvent::Other => Seen::Other,
            };
            self.seen.push(seen);
        }
        assert!(input.is_empty());
        Ok(())
    }

    fn write(&mut self) -> usize {
        let mut out = [0; ServerSession::MAX_OUTPUT];
        let due = self.session.has_output();
        let size = self.session.write(&self.policy, &mut out);
        assert!(!self.session.has_output());
        assert!(due || size == 0, "nothing is written that was not due");
        self.said.extend(&out[..size]);
        size
    }

    /// What was said, as `onStatus NetStream.Publish.Start` and the like.
    fn answers(&self) -> Vec<String> {
        let (mut reader, mut store) = (ChunkReader::new(), MessageStore::for_answers());
        let mut input = &self.said[..];
        let mut answers = Vec::new();
        while let Some(piece) = reader.next(&mut input, &mut store).unwrap() {
            answers.push(match piece {
                Piece::Control(control) => format!("{control:?}"),
                Piece::Command { kind, message_stream, payload, .. } => {
                    assert_eq!(kind, MessageKind::CommandAmf0);
                    let command = Command::parse(false, payload).unwrap();
                    let Status { code, redirect, .. } = Status::of(&command);
                    let redirect = redirect.map_or(String::new(), |url| format!(" to {url}"));
                    format!("{message_stream} {} {} {code}{redirect}", command.name, command.transaction)
                }
                Piece::Media { kind, bytes, .. } => format!("{bytes} bytes of {kind}"),
                Piece::ShortControl { kind } => panic!("a short {kind} message"),
            });
        }
        answers
    }
}

const ACCEPTED: [&str; 4] = [
    "WindowAckSize(5000000)",
    "SetPeerBandwidth { window: 5000000, limit: 2 }",
    "SetChunkSize(4096)",
    "0 _result 1 NetConnection.Connect.Success",
];

#[test]
fn every_recorded_publisher_gets_what_nginx_gave_it() {
    for client in ["ffmpeg", "gstreamer-rtmp2", "gstreamer-rtmpsink", "nginx-relay-push"] {
        let mut bench = Bench::new(&[]);
        for byte in recorded(client, "client.bin") {
            bench.receive(&[byte]).unwrap();
            bench.write();
        }
        bench.receive(&recorded(client, "goodbye.bin")).unwrap();
        bench.write();
        let mut nginx = Bench::new(&[]);
        nginx.said = recorded(client, "server.bin");
        assert_eq!(bench.answers(), nginx.answers(), "{client}");
        bench.seen.retain(|seen| !matches!(seen, Seen::Other | Seen::Media(..)));
        let [Seen::Connect(app), Seen::StreamCreated, Seen::Publish(name), rest @ ..] = &bench.seen[..] else {
            panic!("{client}: {:?}", bench.seen)
        };
        assert_eq!((&app[..], &name[..]), ("live", "stream"), "{client}");
        assert_eq!(rest.is_empty(), client == "nginx-relay-push", "{client}: {rest:?}");
        assert!(rest.iter().all(|seen| *seen == Seen::Closed), "{client}: {rest:?}");
    }
}

#[test]
fn every_recorded_player_plays() {
    for client in ["ffmpeg-play", "mpv", "vlc", "rtmpdump", "rtmpdump-swfvfy", "nginx-relay-pull"] {
        let mut bench = Bench::new(&[]);
        for byte in recorded(client, "client.bin") {
            bench.receive(&[byte]).unwrap();
            bench.write();
        }
        bench.receive(&recorded(client, "goodbye.bin")).unwrap();
        bench.write();
        let answers = bench.answers();
        let started = ["StreamBegin(1)", "1 onStatus 0 NetStream.Play.Reset", "1 onStatus 0 NetStream.Play.Start"];
        assert_eq!(answers[..4], ACCEPTED, "{client}");
        assert!(answers[4].starts_with("0 _result "), "{client}: {answers:?}");
        assert_eq!(answers[5..], started, "{client}");
        assert!(bench.seen.contains(&Seen::Play("stream".into())), "{client}: {:?}", bench.seen);
    }
}

#[test]
fn requests_written_at_once_are_answered_in_order() {
    let mut bench = Bench::new(&[]);
    bench.receive(&[connect("live?key=1"), create_stream(4.0), start("publish", "a?token=b")].concat()).unwrap();
    bench.write();
    let expected = [&ACCEPTED[..], &["0 _result 4 ", "1 onStatus 0 NetStream.Publish.Start"]].concat();
    assert_eq!(bench.answers(), expected);
    let seen = [Seen::Connect("live?key=1".into()), Seen::StreamCreated, Seen::Publish("a?token=b".into())];
    assert_eq!(bench.seen, seen);
    assert_eq!(bench.write(), 0);
}

#[test]
fn amf3_commands_are_read() {
    let mut bench = Bench::new(&[]);
    for amf0 in [connect("live"), create_stream(2.0), start("publish", "x")] {
        let payload = [&[0], &amf0[12..]].concat();
        bench.receive(&message(MessageKind::CommandAmf3, 1, &payload)).unwrap();
        bench.write();
    }
    assert_eq!(bench.answers()[3..].len(), 3);
    assert_eq!(bench.seen.last(), Some(&Seen::Publish("x".into())));
}

#[test]
fn what_nginx_leaves_unanswered_is_left_unanswered() {
    let mut bench = Bench::new(&[]);
    bench.receive(&[connect("live"), create_stream(2.0)].concat()).unwrap();
    bench.write();
    let before = bench.said.len();
    for name in ["releaseStream", "FCPublish", "_checkbw", "getStreamLength", "FCSubscribe", "FCUnpublish", "_result"] {
        bench.receive(&start(name, "x")).unwrap();
    }
    bench.receive(&control(Control::SetBufferLength { message_stream: 1, length_ms: 3000 })).unwrap();
    bench.receive(&start("deleteStream", "x")).unwrap();
    bench.write();
    assert_eq!(bench.said.len(), before);
    assert_eq!(bench.seen[2..], [const { Seen::Other }; 9]);
}

#[test]
fn each_rule_has_its_answer() {
    let over = true;
    for (rule, request, answer, closes) in [
        ("connect:rejected", Request::Connect, Some("0 _error 1 NetConnection.Connect.Rejected"), over),
        ("connect:unauthorized", Request::Connect, Some("0 _error 1 NetConnection.Connect.Rejected"), over),
        (
            "connect:redirect=rtmp://b:1935/live",
            Request::Connect,
            Some("0 _error 1 NetConnection.Connect.Rejected to rtmp://b:1935/live"),
            over,
        ),
        ("connect:close", Request::Connect, None, over),
        ("publish:name-taken", Request::Publish, Some("1 onStatus 0 NetStream.Publish.BadName"), !over),
        ("publish:unauthorized", Request::Publish, Some("1 onStatus 0 NetStream.Publish.Unauthorized"), !over),
        (
            "publish:redirect=rtmp://b/live",
            Request::Publish,
            Some("0 onStatus 0 NetConnection.Connect.Rejected to rtmp://b/live"),
            over,
        ),
        ("publish:close", Request::Publish, None, over),
        ("play:not-found", Request::Play, Some("1 onStatus 0 NetStream.Play.StreamNotFound"), !over),
        ("play:unauthorized", Request::Play, Some("1 onStatus 0 NetStream.Play.Unauthorized"), !over),
        ("play:close", Request::Play, None, over),
    ] {
        let mut bench = Bench::new(&["publish:name=other:close", rule]);
        let name = if request == Request::Connect { "live" } else { "x" };
        let mut before = if answer.is_some() { 3 } else { 0 };
        if request != Request::Connect {
            bench.receive(&[connect("live"), create_stream(2.0)].concat()).unwrap();
            bench.write();
            before = bench.answers().len();
        }
        let asks = if request == Request::Connect { connect("live") } else { start(&request.to_string(), "x") };
        bench.receive(&[asks, start("FCSubscribe", "rest")].concat()).unwrap();
        bench.write();
        assert_eq!(bench.answers()[before..], answer.map(str::to_owned).as_slice()[..], "{rule}");
        assert_eq!(bench.session.is_over(), closes, "{rule}");
        let refused = bench.seen.iter().position(|seen| *seen == Seen::Refused(request, name.into())).expect(rule);
        assert_eq!(bench.seen.len() - refused, if closes { 1 } else { 2 }, "{rule}: nothing is read when it is over");
    }
}

#[test]
fn the_longest_redirect_fits() {
    let url = format!("rtmp://{}", "b".repeat(MAX_REDIRECT - 7));
    let mut bench = Bench::new(&[&format!("publish:redirect={url}")]);
    bench.receive(&[connect("live"), create_stream(2.0), start("play", "x")].concat()).unwrap();
    bench.receive(&[start("deleteStream", "x"), start("publish", "x")].concat()).unwrap();
    bench.session.ping(1);
    assert!(bench.write() > MAX_REDIRECT);
    assert!(bench.answers().iter().any(|answer| answer.ends_with(&url)));
}

#[test]
fn a_refused_publisher_may_try_another_name() {
    let mut bench = Bench::new(&["publish:name=a:name-taken"]);
    bench.receive(&[connect("live"), create_stream(2.0), start("publish", "a")].concat()).unwrap();
    bench.write();
    bench.receive(&start("publish", "b")).unwrap();
    bench.write();
    assert_eq!(
        bench.answers()[5..],
        ["1 onStatus 0 NetStream.Publish.BadName", "1 onStatus 0 NetStream.Publish.Start"]
    );
}

#[test]
fn pings_are_answered_and_asked() {
    let mut bench = Bench::new(&[]);
    bench.receive(&control(Control::PingRequest(7))).unwrap();
    bench.session.ping(8);
    bench.write();
    assert_eq!(bench.answers(), ["PingResponse(7)", "PingRequest(8)"]);
    bench.receive(&control(Control::PingResponse(8))).unwrap();
    assert_eq!(bench.seen, [Seen::Other, Seen::Pong(8)]);
}

#[test]
fn bytes_are_acknowledged_by_window() {
    let mut bench = Bench::new(&[]);
    bench.receive(&control(Control::WindowAckSize(1000))).unwrap();
    let audio = message(MessageKind::Audio, 1, &[0; 100]);
    while bench.session.reader.received() < 1000 {
        assert!(!bench.session.has_output());
        bench.receive(&audio).unwrap();
    }
    let received = bench.session.reader.received();
    bench.write();
    assert_eq!(bench.answers(), [format!("Acknowledgement({received})")]);
    bench.receive(&control(Control::Acknowledgement(123))).unwrap();
    assert_eq!(bench.seen.last(), Some(&Seen::Acknowledged(123)));
    assert!(!bench.session.has_output(), "another thousand first");
}

#[test]
fn broken_clients_are_told_apart() {
    let violation = |bytes: &[u8]| Bench::new(&[]).receive(bytes).unwrap_err().to_string();
    assert_eq!(violation(&create_stream(2.0)), "createStream before connect");
    assert_eq!(violation(&start("publish", "x")), "publish before connect");
    assert_eq!(violation(&start("play", "x")), "play before connect");
    let without_app = command(0, |payload| {
        payload.string("connect").number(1.0).null();
    });
    assert_eq!(violation(&without_app), "connect without an application");
    let nameless = command(1, |payload| {
        payload.string("publish").number(0.0).null().number(1.0);
    });
    assert_eq!(violation(&[connect("live"), nameless].concat()), "publish without a stream name");
    assert_eq!(violation(&[0xff]), ChunkViolation::NothingToRepeat { chunk_stream: 63, fmt: 3 }.to_string());
}

#[test]
fn what_no_server_minds_is_passed_over() {
    let mut bench = Bench::new(&[]);
    let nobodys = [
        message(MessageKind::CommandAmf0, 0, &[]),
        message(MessageKind::CommandAmf0, 0, &[2, 0]),
        message(MessageKind::CommandAmf3, 0, &[10, 11, 1]),
        message(MessageKind::Other(99), 0, &[1; 300]),
        message(MessageKind::UserControl, 0, &[0]),
        message(MessageKind::UserControl, 0, &[0, 200, 0, 0]),
        message(MessageKind::CommandAmf0, 0, &[&b"\x02\0\x05onXYZ"[..], &[5; 5000]].concat()),
    ];
    bench.receive(&nobodys.concat()).unwrap();
    assert_eq!(bench.seen, vec![Seen::Other; nobodys.len()]);
    bench.receive(&[connect("live"), create_stream(2.0), start("publish", "x")].concat()).unwrap();
    assert_eq!(bench.seen.last(), Some(&Seen::Publish("x".into())));
}

#[test]
fn long_and_strange_names_are_names() {
    let long = "x".repeat(65_536);
    let app = format!("live?token={}", "y".repeat(65_500));
    let mut bench = Bench::new(&[]);
    bench.receive(&[connect(&app), create_stream(2.0), start("publish", &long)].concat()).unwrap();
    assert_eq!(bench.seen, [Seen::Connect(app), Seen::StreamCreated, Seen::Publish(long)]);

    let mut bench = Bench::new(&["publish:name=a*:name-taken"]);
    let named = command(1, |payload| {
        payload.string("publish").number(5.0).null().string(b"a\xb7\xa2");
    });
    bench.receive(&[connect("live"), named].concat()).unwrap();
    assert_eq!(bench.seen.last(), Some(&Seen::Refused(Request::Publish, "a\u{fffd}\u{fffd}".into())));
}

/// A policy with a track, and a session that plays it.
fn playing() -> Bench {
    let mut bench = Bench::new(&[]);
    bench.policy.track = Some(Arc::new(Track::played_trickle(ServerSession::CHUNK_SIZE)));
    bench.receive(&[connect("live"), create_stream(2.0), start("play", "x")].concat()).unwrap();
    bench
}

impl Bench {
    /// Media that is due, in sends of at most `most` bytes.
    fn write_media(&mut self, elapsed_ms: u64, most: usize) -> Vec<usize> {
        let mut sends = Vec::new();
        while self.session.next_media_ms(&self.policy).is_some_and(|due| due <= elapsed_ms) {
            let mut out = vec![0; most];
            let size = self.session.write_media(&self.policy, elapsed_ms, &mut out);
            self.said.extend(&out[..size]);
            sends.push(size);
        }
        sends
    }
}

#[test]
fn players_get_the_track_as_time_goes_by() {
    let mut bench = playing();
    assert_eq!(bench.session.next_media_ms(&bench.policy), None, "it is not told yet that it plays");
    assert_eq!(bench.session.write_media(&bench.policy, 0, &mut [0; 10]), 0);
    bench.write();
    let before = bench.answers().len();
    assert_eq!(bench.session.next_media_ms(&bench.policy), Some(0));
    assert_eq!(bench.write_media(0, 1 << 16).len(), 1);
    let track = bench.policy.track.clone().unwrap();
    let started = bench.answers().len() - before;
    assert!(started >= 3, "metadata and two sequence headers");
    let mut elapsed_ms = 0;
    for round in 1..=3 {
        elapsed_ms += u64::from(track.length_ms());
        let due = bench.session.next_media_ms(&bench.policy).unwrap();
        assert!((1..=elapsed_ms).contains(&due));
        bench.write_media(elapsed_ms, 1 << 16);
        let media = bench.answers().len() - before - started;
        assert_eq!(media, round * track.tags().len(), "round {round}");
    }
}

#[test]
fn cut_sends_of_media_are_the_same_bytes() {
    let run = |most: usize| {
        let mut bench = playing();
        bench.write();
        for elapsed_ms in [0, 1500, 4500, 20_000] {
            bench.write_media(elapsed_ms, most);
        }
        bench.said
    };
    let whole = run(1 << 16);
    for most in [1, 7, 100, 1000] {
        assert_eq!(run(most), whole, "in sends of {most}");
    }
}

#[test]
fn nothing_is_said_inside_a_message() {
    let mut bench = playing();
    bench.write();
    let mut out = [0; 5];
    let size = bench.session.write_media(&bench.policy, 0, &mut out);
    bench.said.extend(&out[..size]);
    bench.session.ping(1);
    bench.receive(&[start("deleteStream", "x"), start("play", "y")].concat()).unwrap();
    assert!(!bench.session.has_output());
    assert_eq!(bench.write(), 0, "the message first");
    assert_eq!(bench.session.next_media_ms(&bench.policy), Some(0));
    bench.write_media(0, 5);
    assert!(bench.session.has_output());
    bench.write();
    let answers = bench.answers();
    let starts = answers.iter().filter(|answer| answer.ends_with("NetStream.Play.Start")).count();
    assert_eq!((starts, answers.last().unwrap().as_str()), (2, "PingRequest(1)"));
    let before = answers.len();
    bench.write_media(0, 1 << 16);
    assert!(bench.answers().len() > before + 2, "the second play begins with the intro");
    bench.receive(&start("deleteStream", "y")).unwrap();
    assert_eq!(bench.session.next_media_ms(&bench.policy), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Publishing clients, damaged or not: the same events and answers under any segmentation, and never a panic.
    #[test]
    fn segmentation_changes_nothing(
        media in vec((any::<bool>(), 0..600usize), 0..6),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cuts in vec(1..200usize, 0..40),
        rules in prop::sample::select(vec![vec![], vec!["publish:name-taken"], vec!["connect:app=l*:redirect=rtmp://b"]]),
    ) {
        let mut bytes = [connect("live"), create_stream(2.0), start("publish", "x")].concat();
        for (audio, length) in media {
            let kind = if audio { MessageKind::Audio } else { MessageKind::Video };
            bytes.extend(message(kind, 1, &vec![7; length]));
        }
        bytes.extend(start("deleteStream", "x"));
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }

        let run = |segments: Vec<&[u8]>| {
            let mut bench = Bench::new(&rules);
            let result = segments.into_iter().try_for_each(|segment| bench.receive(segment));
            bench.write();
            bench.session.release(&mut bench.store);
            assert_eq!(bench.store.taken(), 0);
            (result, bench.seen, bench.said)
        };
        let whole = run(vec![&bytes]);
        prop_assert_eq!(&run(bytes.chunks(1).collect()), &whole);
        prop_assert_eq!(&run(segments(&bytes, &cuts)), &whole);
    }
}
