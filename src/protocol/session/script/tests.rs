use proptest::prelude::*;

use super::*;
use crate::protocol::ClientProfile;
use crate::protocol::amf0::{Text, Value};
use crate::protocol::session::Command;

const APP: &str = "live";
const TC_URL: &str = "rtmp://192.0.2.1:1935/live";

/// A message as a receiver sees it.
#[derive(Clone, Debug)]
struct Received {
    kind: u8,
    message_stream: u32,
    payload: Vec<u8>,
}

/// Takes a chunk stream apart as section 5.3 of the specification says, and sees to it that nothing is left over. It
/// keeps what a receiver keeps from one send to the next.
struct Dechunker {
    chunk_size: usize,
    /// By chunk stream: length, type and message stream of the last message.
    known: [Option<(usize, u8, u32)>; 64],
}

impl Dechunker {
    fn new() -> Self {
        Self { chunk_size: 128, known: [None; 64] }
    }

    fn messages(&mut self, bytes: &[u8]) -> Vec<Received> {
        let mut messages = Vec::new();
        let mut at = 0;
        let mut take = |length: usize| {
            at += length;
            &bytes[at - length..at]
        };
        let mut left = bytes.len();
        while left > 0 {
            let basic = take(1)[0];
            let fields = take([11, 7, 3, 0][usize::from(basic >> 6)]);
            left -= 1 + fields.len();
            assert!(basic & 0x3f >= 2, "a chunk stream of one byte");
            let known = &mut self.known[usize::from(basic & 0x3f)];
            if let [_, _, _, a, b, c, kind, stream @ ..] = fields {
                let stream = stream.try_into().map(u32::from_le_bytes);
                let stream = stream.unwrap_or_else(|_| known.expect("fmt 1 follows another").2);
                *known = Some((u32::from_be_bytes([0, *a, *b, *c]) as usize, *kind, stream));
            }
            let (length, kind, message_stream) = known.expect("fmt 3 follows another");
            let mut payload = Vec::new();
            loop {
                let chunk = take(self.chunk_size.min(length - payload.len()));
                left -= chunk.len();
                payload.extend(chunk);
                if payload.len() == length {
                    break;
                }
                assert_eq!(take(1)[0], 0xc0 | basic, "the message goes on");
                left -= 1;
            }
            if kind == 1 {
                self.chunk_size = u32::from_be_bytes(payload[..].try_into().unwrap()) as usize;
            }
            messages.push(Received { kind, message_stream, payload });
        }
        messages
    }
}

/// Every client that has sessions, and what it can do in them.
fn dialogues() -> Vec<(ClientProfile, SessionSpec, Course)> {
    let courses = |client: ClientProfile| {
        let spec = client.session().into_iter();
        spec.flat_map(move |spec| [Course::Publish, Course::Play].map(|course| (client, spec, course)))
    };
    let all = ClientProfile::ALL.into_iter().flat_map(courses);
    all.filter(|(_, spec, course)| spec.dialogue(*course).is_some()).collect()
}

/// All sends of a session in order, each as long as it says.
fn sends(script: &SessionScript, name: &[u8], message_stream: u32) -> [Vec<u8>; 5] {
    let sent = |write: &dyn Fn(&mut [u8]) -> usize| {
        let mut out = vec![0xee; script.max_len(name.len())];
        let length = write(&mut out);
        assert!(out[length..].iter().all(|byte| *byte == 0xee), "nothing is written behind the end");
        out.truncate(length);
        out
    };
    [
        sent(&|out| script.write_connect(out)),
        sent(&|out| script.write_after_connect(name, DEFAULT_WINDOW, out)),
        sent(&|out| script.write_check_bandwidth(out)),
        sent(&|out| script.write_start(name, message_stream, out)),
        sent(&|out| script.write_goodbye(name, message_stream, out)),
    ]
}

/// The commands of a send: name, transaction, message stream and strings and numbers among the arguments.
fn commands(messages: &[Received]) -> Vec<(String, f64, u32, Vec<String>)> {
    let commands = messages.iter().filter(|message| message.kind == 20).map(|message| {
        let command = Command::parse(false, &message.payload).unwrap();
        let mut rest = command.arguments;
        let mut arguments = Vec::new();
        while !rest.is_empty() {
            match rest.value().unwrap() {
                Value::String(text) => arguments.push(text.to_string()),
                Value::Number(number) => arguments.push(number.to_string()),
                _ => (),
            }
        }
        (command.name.to_string(), command.transaction, message.message_stream, arguments)
    });
    commands.collect()
}

#[test]
fn imitated_clients_have_sessions_and_hostile_ones_none() {
    for client in ClientProfile::ALL {
        assert_eq!(client.session().is_none(), client.is_hostile(), "{client}");
        assert_eq!(client.publishes() || client.plays(), !client.is_hostile(), "{client}");
    }
    assert!(ClientProfile::Obs.publishes() && !ClientProfile::Obs.plays());
    assert!(ClientProfile::Mpv.plays() && !ClientProfile::Mpv.publishes());
}

#[test]
fn a_reply_and_connect_are_awaited_as_a_publisher_if_possible() {
    let connect = |client: ClientProfile, course| {
        let script = SessionScript::new(&client.session().unwrap(), APP, TC_URL, course, ScriptOptions::default());
        sends(&script, b"", 0)[0].clone()
    };
    for client in [ClientProfile::Librtmp, ClientProfile::NginxRtmp, ClientProfile::Ffmpeg] {
        assert_eq!(connect(client, Course::Reply), connect(client, Course::Publish));
        assert_eq!(connect(client, Course::Connect), connect(client, Course::Publish));
    }
    assert_eq!(connect(ClientProfile::FfmpegPlay, Course::Reply), connect(ClientProfile::FfmpegPlay, Course::Play));
}

#[test]
fn connect_says_app_and_url_first_of_all_commands() {
    for (client, spec, course) in dialogues() {
        let script = SessionScript::new(&spec, APP, TC_URL, course, ScriptOptions::default());
        let [connect, ..] = sends(&script, b"name", 1);
        let messages = Dechunker::new().messages(&connect);
        let message = messages.iter().find(|message| message.kind == 20).unwrap();
        let command = Command::parse(false, &message.payload).unwrap();
        assert_eq!((command.name, command.transaction), (Text::new("connect"), 1.0), "{client}");
        let object = command.argument(0).unwrap().as_properties().unwrap();
        assert_eq!(object.get_text("app"), Some(Text::new(APP)), "{client}");
        assert_eq!(object.get_text("tcUrl"), Some(Text::new(TC_URL)), "{client}");
        assert!(command.argument(1).is_none(), "{client}");
    }
}

#[test]
fn four_cc_lists_are_sent_on_demand_and_never_twice() {
    for (client, spec, course) in dialogues() {
        let lists = |four_cc| {
            let script = SessionScript::new(&spec, APP, TC_URL, course, ScriptOptions { four_cc });
            let messages = Dechunker::new().messages(&sends(&script, b"name", 1)[0]);
            let message = messages.iter().find(|message| message.kind == 20).unwrap();
            let command = Command::parse(false, &message.payload).unwrap();
            let object = command.argument(0).unwrap().as_properties().unwrap();
            let values = object.filter(|(key, _)| *key == "fourCcList").map(|(_, value)| match value {
                Value::StrictArray(codecs) => codecs.map(|codec| codec.as_text().unwrap().to_string()).collect(),
                other => panic!("{other:?}"),
            });
            values.collect::<Vec<Vec<String>>>()
        };
        let own = usize::from(client == ClientProfile::Zlmediakit);
        assert_eq!(lists(false).len(), own, "{client}");
        assert_eq!(lists(true), [FOUR_CCS], "{client}");
    }
}

#[test]
fn the_window_is_the_servers_where_clients_repeat_it() {
    let window = |client: ClientProfile, course| {
        let script = SessionScript::new(&client.session().unwrap(), APP, TC_URL, course, ScriptOptions::default());
        let mut out = vec![0; script.max_len(4)];
        let mut dechunker = Dechunker::new();
        let length = script.write_connect(&mut out);
        let mut messages = dechunker.messages(&out[..length]);
        let length = script.write_after_connect(b"name", 0x0102_0304, &mut out);
        messages.extend(dechunker.messages(&out[..length]));
        messages.into_iter().find(|message| message.kind == 5).map(|message| message.payload)
    };
    assert_eq!(window(ClientProfile::Librtmp, Course::Play), Some(vec![1, 2, 3, 4]));
    assert_eq!(window(ClientProfile::Gstreamer, Course::Publish), Some(vec![1, 2, 3, 4]));
    assert_eq!(window(ClientProfile::NginxRtmp, Course::Play), Some(5_000_000_u32.to_be_bytes().to_vec()));
    assert_eq!(window(ClientProfile::Ffmpeg, Course::Publish), None);
}

#[test]
fn only_connects_that_are_held_back_wait() {
    let waits = |client: ClientProfile| client.session().unwrap().connect_waits();
    assert!(waits(ClientProfile::Ffmpeg) && waits(ClientProfile::Obs));
    assert!(!waits(ClientProfile::Shakedown) && !waits(ClientProfile::Librtmp));
}

#[test]
fn a_bandwidth_check_has_a_number_of_its_own() {
    let script = |client: ClientProfile| {
        SessionScript::new(&client.session().unwrap(), APP, TC_URL, Course::Publish, ScriptOptions::default())
    };
    let sent = sends(&script(ClientProfile::Ffmpeg), b"name", 1);
    let mut dechunker = Dechunker::new();
    let [.., check] = [&sent[0], &sent[1], &sent[2]].map(|bytes| commands(&dechunker.messages(bytes)));
    assert_eq!(check, [("_checkbw".to_owned(), 8.0, 0, vec![])]);
    assert!(sends(&script(ClientProfile::Gstreamer), b"name", 1)[2].is_empty());
}

#[test]
#[should_panic(expected = "the plan has checked")]
fn a_player_does_not_publish() {
    let spec = ClientProfile::Mpv.session().unwrap();
    SessionScript::new(&spec, APP, TC_URL, Course::Publish, ScriptOptions::default());
}

/// The same client with chunks of another size: it announces it first, and wherever it announces one.
fn with_chunk_size(mut spec: SessionSpec, size: u32) -> SessionSpec {
    let resized = |messages: &'static [Message]| {
        messages.iter().map(move |message| match message.body {
            Body::SetChunkSize(_) => Message { body: Body::SetChunkSize(size), ..*message },
            _ => *message,
        })
    };
    let announcement = Message { chunk_stream: 2, header: Header::Connection, body: Body::SetChunkSize(size) };
    for dialogue in [&mut spec.publish, &mut spec.play].into_iter().flatten() {
        dialogue.connect = [announcement].into_iter().chain(resized(dialogue.connect)).collect::<Vec<_>>().leak();
        dialogue.start = resized(dialogue.start).collect::<Vec<_>>().leak();
    }
    spec
}

proptest! {
    #[test]
    fn every_send_is_read_back_whole(
        name in "[ -~]{1,255}",
        message_stream in prop_oneof![1_u32..10, any::<u32>()],
        chunk_size in proptest::option::of(128_u32..=65_536),
        tc_url in "rtmp://[a-z]{1,300}",
        four_cc in any::<bool>(),
    ) {
        for (client, spec, course) in dialogues() {
            let spec = chunk_size.map_or(spec, |size| with_chunk_size(spec, size));
            let script = SessionScript::new(&spec, APP, &tc_url, course, ScriptOptions { four_cc });
            let mut receiver = Dechunker::new();
            let [connect, after_connect, check, start, goodbye] =
                sends(&script, name.as_bytes(), message_stream).map(|bytes| commands(&receiver.messages(&bytes)));
            prop_assert_eq!(receiver.chunk_size as u32, script.chunk_size(), "{}", client);

            prop_assert_eq!(connect.len(), 1);
            prop_assert_eq!((&connect[0].0[..], connect[0].1, connect[0].2), ("connect", 1.0, 0));
            let (created, transaction, ..) = after_connect.iter().find(|command| command.0 == "createStream").unwrap();
            prop_assert_eq!((&created[..], *transaction), ("createStream", script.create_stream_transaction()));
            prop_assert!(check.len() <= 1);
            let (started, _, stream, arguments) = start.last().unwrap();
            prop_assert_eq!(started, if course == Course::Publish { "publish" } else { "play" });
            prop_assert_eq!((*stream, &arguments[0]), (message_stream, &name));
            prop_assert_eq!(arguments.get(1).is_some_and(|kind| kind == "live"), course == Course::Publish);
            for (_, _, stream, arguments) in goodbye {
                prop_assert_eq!(stream, 0);
                prop_assert!(arguments == [name.as_str()] || arguments == [message_stream.to_string()]);
            }
        }
    }
}
