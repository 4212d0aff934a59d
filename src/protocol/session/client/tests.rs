//! The client against recorded servers, against our own, and against servers that break the rules.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::ClientProfile;
use crate::protocol::amf0::Writer;
use crate::protocol::session::fixtures::{command, control, message, recorded, segments};
use crate::protocol::session::{
    MAX_CHUNK_STREAMS, RejectRule, ScriptOptions, ServerEvent, ServerPolicy, ServerSession, SessionSpec,
};

/// An [`Event`] that owns its text. Parts of a media message are one.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Connected(String),
    StreamCreated,
    Started,
    Rejected { during: Course, code: String, redirect: Option<String> },
    Media(MessageKind, u32),
    Pinged,
    Acknowledged(u32),
    Ended(String),
    Announced(String, Option<String>),
    Unused(String),
    Other,
}

/// A session with its script, and all that it saw and said.
struct Bench {
    session: ClientSession,
    script: SessionScript,
    store: MessageStore,
    name: Vec<u8>,
    seen: Vec<Seen>,
    said: Vec<u8>,
}

const NAME: &str = "load-7?key=a1";

impl Bench {
    fn new(profile: ClientProfile, course: Course) -> Self {
        let spec = profile.session().expect("it has a session");
        let script = SessionScript::new(&spec, "live", "rtmp://a/live", course, ScriptOptions::default());
        let session = ClientSession::new(course);
        Self {
            session,
            script,
            store: MessageStore::for_answers(),
            name: NAME.into(),
            seen: Vec::new(),
            said: Vec::new(),
        }
    }

    /// `connect` is written.
    fn connecting(course: Course) -> Self {
        let mut bench = Self::new(ClientProfile::Shakedown, course);
        bench.write();
        bench
    }

    /// `publish` or `play` is written.
    fn starting(course: Course) -> Self {
        let mut bench = Self::connecting(course);
        bench.receive(&result(1.0)).unwrap();
        bench.write();
        bench.receive(&created(1.0, &bench.script)).unwrap();
        bench.write();
        bench.seen.clear();
        bench
    }

    fn started(course: Course) -> Self {
        let mut bench = Self::starting(course);
        let code = if course == Course::Play { "NetStream.Play.Start" } else { "NetStream.Publish.Start" };
        bench.receive(&status("status", code)).unwrap();
        assert_eq!(bench.seen, [Seen::Started]);
        bench.seen.clear();
        bench
    }

    fn receive(&mut self, mut input: &[u8]) -> Result<(), SessionViolation> {
        while let Some(event) = self.session.receive(&mut input, &mut self.store, &self.script)? {
            let seen = match event {
                Event::Connected(backend) => Seen::Connected(backend.to_string()),
                Event::StreamCreated => Seen::StreamCreated,
                Event::Started => Seen::Started,
                Event::Rejected { during, status } => {
                    let redirect = status.redirect.map(|url| url.to_string());
                    Seen::Rejected { during, code: status.code.to_string(), redirect }
                }
                Event::Media { kind, bytes, first_of_message } => match self.seen.last_mut() {
                    Some(Seen::Media(same, sum)) if *same == kind && !first_of_message => {
                        *sum += bytes;
                        continue;
                    }
                    _ => Seen::Media(kind, bytes),
                },
                Event::Pinged => Seen::Pinged,
                Event::Acknowledged(bytes) => Seen::Acknowledged(bytes),
                Event::Ended(status) => Seen::Ended(status.code.to_string()),
                Event::Unused(unused) => Seen::Unused(unused.to_string()),
                Event::Announced(status) => {
                    Seen::Announced(status.code.to_string(), status.redirect.map(|url| url.to_string()))
                }
                Event::Other => Seen::Other,
            };
            self.seen.push(seen);
        }
        assert!(input.is_empty());
        Ok(())
    }

    /// One send.
    fn write(&mut self) -> Vec<u8> {
        let mut out = vec![0; ClientSession::max_output(&self.script, self.name.len())];
        let due = self.session.has_output();
        let size = self.session.write(&self.script, &self.name, &mut out);
        assert_eq!(due, size > 0, "a send when one is due, and only then");
        assert!(!self.session.has_output());
        out.truncate(size);
        self.said.extend(&out);
        out
    }

    fn see(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.receive(bytes).unwrap();
        std::mem::take(&mut self.seen)
    }
}

fn rejected(during: Course, code: &str) -> Seen {
    Seen::Rejected { during, code: code.to_owned(), redirect: None }
}

fn result(transaction: f64) -> Vec<u8> {
    command(0, |payload| {
        payload.string("_result").number(transaction).null().null();
    })
}

fn created(message_stream: f64, script: &SessionScript) -> Vec<u8> {
    command(0, |payload| {
        payload.string("_result").number(script.create_stream_transaction()).null().number(message_stream);
    })
}

fn error(transaction: f64, code: &str) -> Vec<u8> {
    command(0, |payload| {
        payload.string("_error").number(transaction).null();
        payload.object().key("level").string("error").key("code").string(code).end();
    })
}

fn status(level: &str, code: &str) -> Vec<u8> {
    command(1, |payload| named_status(payload, "onStatus", level, code))
}

fn named_status(payload: &mut Writer<&mut Vec<u8>>, name: &str, level: &str, code: &str) {
    payload.string(name).number(0.0).null();
    payload.object().key("level").string(level).key("code").string(code).end();
}

/// Every client on every course that it knows.
fn clients() -> Vec<(ClientProfile, Course)> {
    let courses = [Course::Reply, Course::Connect, Course::Publish, Course::Play];
    let knows = |profile: ClientProfile, course| profile.session().is_some_and(|spec| spec.dialogue(course).is_some());
    let with = |profile| courses.into_iter().filter(move |course| knows(profile, *course)).map(move |c| (profile, c));
    ClientProfile::ALL.into_iter().flat_map(with).collect()
}

/// What both sides saw, without what needs no answer.
#[derive(Debug, PartialEq)]
struct Conversation {
    client: Vec<Seen>,
    server: Vec<String>,
}

/// Lets both sides talk until neither has anything to say; then the client leaves. Each side reads the other's sends in
/// pieces of `sizes` bytes, and answers what it has understood after each piece.
fn converse(mut client: Bench, rules: &[&str], sizes: &[usize]) -> Conversation {
    let reject: Vec<RejectRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let policy = ServerPolicy { reject, ..ServerPolicy::default() };
    let mut server = ServerSession::new(&policy);
    let mut store = MessageStore::for_requests();
    let mut events = Vec::new();
    for leaving in [false, true] {
        if leaving {
            client.session.say_goodbye(&client.script);
        }
        while client.session.has_output() {
            let sent = client.write();
            let mut answers = Vec::new();
            for mut segment in segments(&sent, sizes) {
                while let Some(event) = server.receive(&mut segment, &mut store, &policy).unwrap() {
                    match event {
                        ServerEvent::Connect { app } => events.push(format!("connect {app}")),
                        ServerEvent::StreamCreated => events.push("createStream".to_owned()),
                        ServerEvent::Publish { name } => events.push(format!("publish {name}")),
                        ServerEvent::Play { name } => events.push(format!("play {name}")),
                        ServerEvent::Refused { request, name } => events.push(format!("refused {request} {name}")),
                        ServerEvent::Closed => events.push("closed".to_owned()),
                        ServerEvent::Other => {}
                        unexpected => panic!("{unexpected:?}"),
                    }
                }
                let mut out = [0; ServerSession::MAX_OUTPUT];
                let size = server.write(&policy, &mut out);
                answers.extend(&out[..size]);
            }
            for segment in segments(&answers, sizes) {
                client.receive(segment).unwrap();
            }
        }
    }
    client.session.release(&mut client.store);
    server.release(&mut store);
    assert_eq!((client.store.taken(), store.taken()), (0, 0));
    client.seen.retain(|seen| *seen != Seen::Other);
    Conversation { client: client.seen, server: events }
}

#[test]
fn every_client_completes_every_course() {
    let backend = || Seen::Connected("FMS/3,0,1,123".into());
    for (profile, course) in clients() {
        let sees = converse(Bench::new(profile, course), &[], &[1; 2000]);
        let says_goodbye = Bench::new(profile, course).script.says_goodbye();
        let (started, mut ends) = match course {
            Course::Reply | Course::Connect => (vec!["connect live".to_owned()], Vec::new()),
            Course::Publish | Course::Play => {
                let request = if course == Course::Publish { "publish" } else { "play" };
                let connect = ["connect live".to_owned(), "createStream".to_owned()];
                (
                    connect.into_iter().chain([format!("{request} {NAME}")]).collect(),
                    vec![Seen::StreamCreated, Seen::Started],
                )
            }
        };
        let mut server = started;
        let client = match course {
            Course::Reply | Course::Connect => vec![backend()],
            Course::Publish | Course::Play => {
                if says_goodbye {
                    server.push("closed".to_owned());
                }
                if says_goodbye && course == Course::Publish {
                    ends.push(Seen::Ended("NetStream.Unpublish.Success".into()));
                }
                [vec![backend()], ends].concat()
            }
        };
        assert_eq!(sees, Conversation { client, server }, "{profile:?} {course:?}");
    }
}

#[test]
fn every_client_hears_every_refusal() {
    const REJECTED: &str = "NetConnection.Connect.Rejected";
    let elsewhere = "rtmp://b:1935/live";
    for (profile, course) in clients() {
        let rules: &[(Course, &str, &str)] = match course {
            Course::Reply | Course::Connect => &[],
            Course::Publish => &[
                (course, "publish:name-taken", "NetStream.Publish.BadName"),
                (course, "publish:name=load-*key=a1:unauthorized", "NetStream.Publish.Unauthorized"),
                (course, "publish:redirect=rtmp://b:1935/live", REJECTED),
            ],
            Course::Play => &[
                (course, "play:not-found", "NetStream.Play.StreamNotFound"),
                (course, "play:unauthorized", "NetStream.Play.Unauthorized"),
                (course, "play:redirect=rtmp://b:1935/live", REJECTED),
            ],
        };
        let of_connect = [
            (Course::Connect, "connect:rejected", REJECTED),
            (Course::Connect, "connect:app=live:unauthorized", REJECTED),
            (Course::Connect, "connect:redirect=rtmp://b:1935/live", REJECTED),
        ];
        for (during, rule, code) in of_connect.into_iter().chain(rules.iter().copied()) {
            let redirect = rule.contains("redirect").then(|| elsewhere.to_owned());
            let Conversation { client, server } = converse(Bench::new(profile, course), &[rule], &[1; 2000]);
            let expected = Seen::Rejected { during, code: code.to_owned(), redirect };
            assert_eq!(client.last(), Some(&expected), "{profile:?} {course:?} {rule}");
            assert!(!client.contains(&Seen::Started), "{profile:?} {course:?} {rule}");
            assert!(server.last().unwrap().starts_with("refused "), "{profile:?} {rule}: {server:?}");
        }
    }
}

#[test]
fn a_server_that_says_nothing_leaves_the_client_waiting() {
    let seen = converse(Bench::new(ClientProfile::Ffmpeg, Course::Publish), &["publish:close"], &[]);
    assert_eq!(seen.client.last(), Some(&Seen::StreamCreated));
    let seen = converse(Bench::new(ClientProfile::Ffmpeg, Course::Publish), &["connect:close"], &[]);
    assert_eq!(seen.client, []);
}

#[test]
fn recorded_servers_are_understood() {
    for (client, profile, course) in [
        ("ffmpeg", ClientProfile::Ffmpeg, Course::Publish),
        ("gstreamer-rtmp2", ClientProfile::Gstreamer, Course::Publish),
        ("gstreamer-rtmpsink", ClientProfile::Librtmp, Course::Publish),
        ("nginx-relay-push", ClientProfile::NginxRtmp, Course::Publish),
        ("ffmpeg-play", ClientProfile::FfmpegPlay, Course::Play),
        ("mpv", ClientProfile::Mpv, Course::Play),
        ("vlc", ClientProfile::Vlc, Course::Play),
        ("rtmpdump", ClientProfile::Librtmp, Course::Play),
        ("rtmpdump-swfvfy", ClientProfile::LibrtmpSwf, Course::Play),
        ("nginx-relay-pull", ClientProfile::NginxRtmp, Course::Play),
    ] {
        let mut bench = Bench::new(profile, course);
        bench.write();
        for byte in recorded(client, "server.bin") {
            bench.receive(&[byte]).unwrap();
            bench.write();
        }
        bench.seen.retain(|seen| *seen != Seen::Other);
        let expected = [Seen::Connected("FMS/3,0,1,123".into()), Seen::StreamCreated, Seen::Started];
        assert_eq!(bench.seen[..3], expected, "{client}");
        match course {
            Course::Play => assert!(matches!(bench.seen[3..], [Seen::Media(..), ..]), "{client}: {:?}", bench.seen),
            _ if client == "nginx-relay-push" => assert_eq!(bench.seen[3..], [], "{client}"),
            _ => assert_eq!(bench.seen[3..], [Seen::Ended("NetStream.Unpublish.Success".into())], "{client}"),
        }
    }
}

#[test]
fn refusals_are_known_by_their_codes_whatever_their_level() {
    for (course, code) in [
        (Course::Publish, "NetStream.Publish.BadName"),
        (Course::Publish, "NetStream.Publish.Denied"),
        (Course::Play, "NetStream.Play.StreamNotFound"),
        (Course::Play, "NetConnection.Connect.Closed"),
    ] {
        for level in ["status", "warning", "error"] {
            let mut bench = Bench::starting(course);
            assert_eq!(bench.see(&status(level, code)), [rejected(course, code)]);
            assert!(!bench.session.has_output());
            assert_eq!(bench.see(&status("status", "NetStream.Publish.Start")), [Seen::Other], "it is over");
            bench.session.say_goodbye(&bench.script);
            assert!(!bench.session.has_output());
        }
    }
    let mut bench = Bench::starting(Course::Publish);
    assert_eq!(bench.see(&status("error", "Vendor.Trouble")), [rejected(Course::Publish, "Vendor.Trouble")]);
    let mut bench = Bench::connecting(Course::Play);
    let closed = "NetConnection.Connect.Closed";
    assert_eq!(bench.see(&status("status", closed)), [rejected(Course::Connect, closed)]);
}

#[test]
fn errors_count_only_for_what_they_answer() {
    let mut bench = Bench::connecting(Course::Publish);
    let unasked = "_error to command 2 NetConnection.Call.Failed";
    assert_eq!(bench.see(&error(2.0, "NetConnection.Call.Failed")), [Seen::Unused(unasked.into())]);
    let rejection = "NetConnection.Connect.Rejected";
    assert_eq!(bench.see(&error(1.0, rejection)), [rejected(Course::Connect, rejection)]);
    assert!(!bench.session.has_output());

    let mut bench = Bench::new(ClientProfile::Ffmpeg, Course::Publish);
    bench.write();
    bench.receive(&result(1.0)).unwrap();
    bench.write();
    bench.seen.clear();
    let failed = "NetConnection.Call.Failed";
    assert_eq!(bench.see(&error(2.0, failed)), [Seen::Other], "of releaseStream");
    assert_eq!(bench.see(&error(3.0, failed)), [Seen::Other], "of FCPublish");
    assert_eq!(bench.see(&error(4.0, failed)), [rejected(Course::Publish, failed)], "of createStream");

    let mut bench = Bench::starting(Course::Play);
    assert_eq!(bench.see(&error(4.0, failed)), [Seen::Other], "of _checkbw");
    let not_found = "NetStream.Play.StreamNotFound";
    assert_eq!(bench.see(&error(3.0, not_found)), [rejected(Course::Play, not_found)]);
}

#[test]
fn only_the_right_start_starts() {
    let mut bench = Bench::starting(Course::Publish);
    let on_fc_publish = command(1, |payload| named_status(payload, "onFCPublish", "status", "NetStream.Publish.Start"));
    assert_eq!(bench.see(&on_fc_publish), [Seen::Other], "SRS sends it for FCPublish");
    let play = "onStatus NetStream.Play.Start";
    assert_eq!(bench.see(&status("status", "NetStream.Play.Start")), [Seen::Unused(play.into())]);
    assert_eq!(bench.see(&status("status", "NetStream.Publish.Start")), [Seen::Started]);
    assert_eq!(bench.see(&status("status", "NetStream.Publish.Start")), [Seen::Other], "it has started");

    let mut bench = Bench::starting(Course::Play);
    assert_eq!(bench.see(&status("status", "NetStream.Play.Reset")), [Seen::Other]);
    assert_eq!(bench.see(&status("status", "NetStream.Play.PublishNotify")), [Seen::Other]);
    assert_eq!(bench.see(&status("status", "NetStream.Play.Start")), [Seen::Started]);
}

#[test]
fn answers_in_amf3_are_read() {
    let mut bench = Bench::connecting(Course::Connect);
    let payload = [&[0], &result(1.0)[12..]].concat();
    assert_eq!(bench.see(&message(MessageKind::CommandAmf3, 0, &payload)), [Seen::Connected("unnamed".into())]);
    assert!(!bench.session.has_output(), "it has come as far as it wants");
}

#[test]
fn streams_end() {
    for code in ENDINGS.into_iter().chain(["NetConnection.Connect.Closed", "NetStream.Play.Failed"]) {
        let mut bench = Bench::started(Course::Play);
        assert_eq!(bench.see(&status("status", code)), [Seen::Ended(code.into())]);
    }
    let mut bench = Bench::started(Course::Play);
    assert_eq!(bench.see(&control(Control::StreamEof(2))), [Seen::Other], "another stream");
    assert_eq!(bench.see(&control(Control::StreamEof(1))), [Seen::Ended("Stream EOF".into())]);
    let mut bench = Bench::starting(Course::Play);
    assert_eq!(bench.see(&control(Control::StreamEof(1))), [Seen::Other], "of what played before");
    let stop = "onStatus NetStream.Play.Stop";
    assert_eq!(bench.see(&status("status", "NetStream.Play.Stop")), [Seen::Unused(stop.into())]);
}

#[test]
fn what_peers_pass_over_is_passed_over_and_told() {
    let long = [&b"\x02\0\x08onFCInfo"[..], &[5; 5000]].concat();
    for (bytes, text) in [
        (message(MessageKind::CommandAmf0, 0, &[]), Some("command message that cannot be read (empty)")),
        (
            message(MessageKind::CommandAmf0, 0, &[0; 9]),
            Some("command message that cannot be read (00 00 00 00 00 00 00 00 00)"),
        ),
        (message(MessageKind::CommandAmf3, 0, &[9, 1]), Some("AMF3 command message that cannot be read (09 01)")),
        (message(MessageKind::CommandAmf0, 0, &long), Some("onFCInfo")),
        (message(MessageKind::CommandAmf0, 0, b"\x02\0\x08onBWDone\x05"), None),
        (
            message(MessageKind::Other(99), 0, &[7; 300]),
            Some("message of unknown type 99 (03 00 00 00 00 01 2c 63 00 00 00 00)"),
        ),
        (
            message(MessageKind::SetChunkSize, 0, &[1]),
            Some("set chunk size message that cannot be read (03 00 00 00 00 00 01 01 00 00 00 00)"),
        ),
        (message(MessageKind::UserControl, 0, &[1; 100]), None),
        (message(MessageKind::UserControl, 0, &[0, 32, 0, 0, 0, 1]), None),
        (message(MessageKind::DataAmf3, 1, &[1; 100]), None),
        (
            command(0, |payload| {
                payload.string("_result").number(9.0).null();
            }),
            Some("_result to command 9"),
        ),
        (
            command(0, |payload| {
                payload.string("onStatus").number(0.0).null().undefined();
            }),
            Some("onStatus"),
        ),
    ] {
        let mut bench = Bench::connecting(Course::Publish);
        let seen: Vec<Seen> = bench.see(&bytes).into_iter().filter(|seen| matches!(seen, Seen::Unused(_))).collect();
        assert_eq!(seen, Vec::from_iter(text.map(|text| Seen::Unused(text.to_owned()))));
        assert_eq!(bench.see(&result(1.0)), [Seen::Connected("unnamed".into())], "{text:?}");
    }
    let mut bench = Bench::connecting(Course::Connect);
    bench.receive(&[result(1.0), message(MessageKind::CommandAmf0, 0, &[])].concat()).unwrap();
    assert_eq!(bench.seen.last(), Some(&Seen::Other), "nothing more is waited for");
}

#[test]
fn texts_that_are_not_utf8_hide_nothing() {
    let said = |level: &str, code: &str| {
        command(1, |payload| {
            payload.string("onStatus").number(0.0).null().object().key("level").string(level).key("code").string(code);
            payload.key("description").string(b"\xb7\xa2\xb2\xbc\xb3\xc9\xb9\xa6").end();
        })
    };
    let mut bench = Bench::starting(Course::Publish);
    assert_eq!(bench.see(&said("status", "NetStream.Publish.Start")), [Seen::Started]);
    let mut bench = Bench::starting(Course::Publish);
    let code = "NetStream.Publish.BadName";
    assert_eq!(bench.see(&said("error", code)), [rejected(Course::Publish, code)]);
}

#[test]
fn an_answer_of_any_length_is_an_answer() {
    let result = command(0, |payload| {
        payload
            .string("_result")
            .number(1.0)
            .object()
            .key("fmsVer")
            .string("FMS/3,0,1,123")
            .key("data")
            .string("x".repeat(100_000))
            .end();
    });
    for size in [usize::MAX, 1000] {
        let mut bench = Bench::connecting(Course::Connect);
        result.chunks(size.min(result.len())).for_each(|segment| bench.receive(segment).unwrap());
        assert_eq!(bench.seen, [Seen::Connected("FMS/3,0,1,123".into())]);
    }
}

#[test]
fn media_in_aggregates_is_media() {
    let mut payload = Vec::new();
    for (kind, length) in [(8u8, 7u8), (9, 200), (18, 0)] {
        payload.extend([kind, 0, 0, length, 0, 0, 40, 0, 0, 0, 0]);
        payload.extend(vec![1; length.into()]);
        payload.extend([0, 0, 0, 11 + length]);
    }
    let aggregate = message(MessageKind::Aggregate, 1, &payload);
    let expected = [
        Seen::Media(MessageKind::Audio, 7),
        Seen::Media(MessageKind::Video, 200),
        Seen::Media(MessageKind::DataAmf0, 0),
    ];
    for size in [1, 2, 13, 1000] {
        let mut bench = Bench::started(Course::Play);
        aggregate.chunks(size).for_each(|segment| bench.receive(segment).unwrap());
        assert_eq!(bench.seen, expected, "in {size}");
        bench.session.release(&mut bench.store);
        assert_eq!(bench.store.taken(), 0);
    }
}

#[test]
fn servers_end_sessions_in_other_ways_too() {
    let close = command(0, |payload| {
        payload.string("close").number(0.0).null();
    });
    let unsubscribed = command(0, |payload| {
        payload.string("onFCUnsubscribe").number(0.0).null();
    });
    let failed = error(0.0, "NetStream.Failed");
    for course in [Course::Publish, Course::Play] {
        assert_eq!(Bench::started(course).see(&close), [Seen::Ended("close".into())]);
        assert_eq!(Bench::started(course).see(&failed), [Seen::Ended("NetStream.Failed".into())]);
        let seen = Bench::started(course).see(&unsubscribed);
        let expected = if course == Course::Play { Seen::Ended("onFCUnsubscribe".into()) } else { Seen::Other };
        assert_eq!(seen, [expected]);
    }
    let mut publisher = Bench::started(Course::Publish);
    assert_eq!(publisher.see(&control(Control::StreamEof(1))), [Seen::Other], "nothing is played");
    assert_eq!(publisher.see(&error(0.0, "NetConnection.Call.Failed")), [Seen::Other], "FCPublish is unknown there");
}

#[test]
fn announcements_end_nothing() {
    let reconnect = command(1, |payload| {
        payload.string("onStatus").number(0.0).null().object();
        payload.key("level").string("status").key("code").string("NetConnection.Connect.ReconnectRequest");
        payload.key("tcUrl").string("rtmp://b/live").end();
    });
    for mut bench in [Bench::starting(Course::Publish), Bench::started(Course::Publish), Bench::started(Course::Play)] {
        let expected = Seen::Announced("NetConnection.Connect.ReconnectRequest".into(), Some("rtmp://b/live".into()));
        assert_eq!(bench.see(&reconnect), [expected]);
        let warning = Seen::Announced("NetStream.Play.InsufficientBW".into(), None);
        assert_eq!(bench.see(&status("warning", "NetStream.Play.InsufficientBW")), [warning]);
    }
    let refused = Bench::started(Course::Publish).see(&status("warning", "NetStream.Publish.BadName"));
    assert_eq!(refused, [Seen::Ended("NetStream.Publish.BadName".into())], "a refusal at whatever level");
}

#[test]
fn the_message_stream_is_the_servers() {
    let mut bench = Bench::connecting(Course::Publish);
    bench.receive(&result(1.0)).unwrap();
    bench.write();
    assert_eq!(bench.session.message_stream(), 0);
    bench.receive(&created(5.0, &bench.script)).unwrap();
    assert_eq!(bench.session.message_stream(), 5);
    let publish = bench.write();
    assert_eq!(publish[8..12], [5, 0, 0, 0]);

    let mut bench = Bench::connecting(Course::Publish);
    bench.receive(&result(1.0)).unwrap();
    let violation = bench.receive(&created(-1.0, &bench.script)).unwrap_err();
    assert_eq!(violation.to_string(), "createStream's _result without a message stream");
}

#[test]
fn pings_are_answered_at_every_stage() {
    let benches = [Bench::connecting(Course::Publish), Bench::starting(Course::Publish), Bench::started(Course::Play)];
    for mut bench in benches {
        assert_eq!(bench.see(&control(Control::PingRequest(0x0102_0304))), [Seen::Pinged]);
        assert_eq!(bench.write(), control(Control::PingResponse(0x0102_0304)));
    }
    let mut bench = Bench::connecting(Course::Publish);
    bench.receive(&[control(Control::PingRequest(9)), result(1.0)].concat()).unwrap();
    assert!(bench.write().ends_with(&control(Control::PingResponse(9))), "one send for the step and the pong");
}

#[test]
fn bytes_are_acknowledged_by_half_the_window() {
    let mut bench = Bench::started(Course::Play);
    let audio = message(MessageKind::Audio, 1, &[0; 100]);
    for _ in 0..100 {
        bench.receive(&audio).unwrap();
    }
    assert!(!bench.session.has_output(), "nobody asked");
    bench.receive(&control(Control::WindowAckSize(2000))).unwrap();
    let acknowledgement = bench.write();
    assert_eq!(acknowledgement, control(Control::Acknowledgement(bench.session.reader.received())));
    for _ in 0..8 {
        bench.receive(&audio).unwrap();
        assert!(!bench.session.has_output());
    }
    bench.receive(&audio).unwrap();
    assert_eq!(bench.write(), control(Control::Acknowledgement(bench.session.reader.received())));

    bench.receive(&control(Control::WindowAckSize(1))).unwrap();
    assert_eq!(bench.write().len(), 16, "not for ever");
    bench.receive(&control(Control::Acknowledgement(5))).unwrap();
    assert_eq!(bench.seen.last(), Some(&Seen::Acknowledged(5)));
}

#[test]
fn only_those_that_check_the_bandwidth_do_and_once() {
    let done = command(0, |payload| {
        payload.string("onBWDone").number(0.0).null();
    });
    let mut checking = Bench::new(ClientProfile::Librtmp, Course::Publish);
    checking.write();
    checking.receive(&done).unwrap();
    let check = checking.write();
    assert!(check.windows(8).any(|bytes| bytes == b"_checkbw"), "{check:?}");
    checking.receive(&done).unwrap();
    assert!(checking.write().is_empty());

    let mut silent = Bench::connecting(Course::Publish);
    silent.receive(&done).unwrap();
    assert!(silent.write().is_empty());
}

#[test]
fn goodbye_is_for_those_who_have_a_stream() {
    let mut bench = Bench::connecting(Course::Publish);
    bench.session.say_goodbye(&bench.script);
    assert!(!bench.session.has_output());
    for mut bench in [Bench::starting(Course::Publish), Bench::started(Course::Play)] {
        bench.session.say_goodbye(&bench.script);
        let goodbye = bench.write();
        assert!(goodbye.windows(12).any(|bytes| bytes == b"deleteStream"));
    }
}

#[test]
fn long_names_fit() {
    for (profile, course) in clients() {
        let mut bench = Bench::new(profile, course);
        bench.name = vec![b'x'; 70_000];
        let Conversation { server, .. } = converse(bench, &[], &[]);
        if matches!(course, Course::Publish | Course::Play) {
            assert!(server[2].ends_with(&"x".repeat(70_000)), "{profile:?} {course:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn courses_do_not_depend_on_segmentation(
        (profile, course) in prop::sample::select(clients()),
        sizes in vec(1..200usize, 0..60),
        name in "[a-z0-9?=&-]{0,255}",
    ) {
        let bench = || {
            let mut bench = Bench::new(profile, course);
            bench.name = name.clone().into_bytes();
            bench
        };
        prop_assert_eq!(converse(bench(), &[], &sizes), converse(bench(), &[], &[]));
    }

    /// What a server says, damaged or not: the same events and answers under any segmentation, never a panic, never
    /// more memory than one block for each chunk stream.
    #[test]
    fn damaged_servers_do_no_harm(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        sizes in vec(1..200usize, 0..60),
        player in any::<bool>(),
    ) {
        let (client, profile, course) = if player {
            ("rtmpdump", ClientProfile::Librtmp, Course::Play)
        } else {
            ("ffmpeg", ClientProfile::Ffmpeg, Course::Publish)
        };
        let mut bytes = recorded(client, "server.bin");
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        let run = |segments: Vec<&[u8]>| {
            let mut bench = Bench::new(profile, course);
            bench.write();
            let result = segments.into_iter().try_for_each(|segment| bench.receive(segment));
            if result.is_ok() {
                bench.write();
            }
            assert!(bench.store.allocated() <= MAX_CHUNK_STREAMS);
            bench.session.release(&mut bench.store);
            assert_eq!(bench.store.taken(), 0);
            (result, bench.seen, bench.said)
        };
        let whole = run(vec![&bytes]);
        prop_assert_eq!(&run(bytes.chunks(1).collect()), &whole);
        prop_assert_eq!(&run(segments(&bytes, &sizes)), &whole);
    }

    #[test]
    fn garbage_does_no_harm(bytes in vec(any::<u8>(), 0..600)) {
        let mut bench = Bench::connecting(Course::Publish);
        if bench.receive(&bytes).is_ok() {
            bench.write();
        }
    }
}

#[test]
fn a_hostile_client_has_no_session() {
    let with: Vec<SessionSpec> = ClientProfile::ALL.into_iter().filter_map(ClientProfile::session).collect();
    let real = ClientProfile::ALL.into_iter().filter(|profile| !profile.is_hostile()).count();
    assert_eq!(with.len(), real);
}
