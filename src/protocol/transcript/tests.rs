//! Transcripts of recorded sessions, and of bytes that nobody should send.

use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::amf0::Writer;
use crate::protocol::session::{Chunks, Start, write_message};
use crate::protocol::{ClientGuess, explain, likely_clients};

const FOLDERS: [(&str, &[&str]); 10] = [
    ("ffmpeg", &["ffmpeg"]),
    ("ffmpeg-play", &["ffmpeg-play", "mpv", "vlc"]),
    ("mpv", &["ffmpeg-play", "mpv", "vlc"]),
    ("vlc", &["ffmpeg-play", "mpv", "vlc"]),
    ("gstreamer-rtmp2", &["gstreamer"]),
    ("gstreamer-rtmpsink", &["librtmp"]),
    ("nginx-relay-pull", &["nginx-rtmp"]),
    ("nginx-relay-push", &["nginx-rtmp"]),
    ("rtmpdump", &["librtmp"]),
    ("rtmpdump-swfvfy", &["librtmp-swf"]),
];

/// Bytes of `tests/vectors/session__CLIENT__nginx`.
fn recorded(client: &str, file: &str) -> Vec<u8> {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    std::fs::read(vectors.join(format!("session__{client}__nginx")).join(file)).unwrap()
}

fn notebook() -> Notebook {
    Notebook::new(100, 1000)
}

/// What is told of the bytes of both sides, and who the client may be.
fn told(client: &[u8], server: &[u8]) -> (Conversation, ClientGuess) {
    let (mut transcript, mut notebook) = (Transcript::default(), notebook());
    transcript.take(Side::Client, None, client, &mut notebook);
    transcript.take(Side::Server, None, server, &mut notebook);
    let guess = likely_clients(&explain(&[], &[], &[]), Some(&transcript));
    (transcript.finish(&mut notebook), guess)
}

fn lines(conversation: &Conversation, from: Side) -> Vec<String> {
    conversation.messages.iter().filter(|said| said.from == from).map(ToString::to_string).collect()
}

/// A command on chunk stream 3, in chunks of 128 bytes.
fn command(write: impl FnOnce(&mut Writer<&mut Vec<u8>>)) -> Vec<u8> {
    let mut payload = Vec::new();
    write(&mut Writer::new(&mut payload));
    message(MessageKind::CommandAmf0, &payload)
}

fn message(kind: MessageKind, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 2 * payload.len() + 32];
    let chunks = Chunks { stream: 3, size: 128 };
    let size = write_message(&mut out, chunks, Start::Full { timestamp: 0, message_stream: 1 }, kind, payload);
    out.truncate(size);
    out
}

#[test]
fn a_recorded_publisher_is_told() {
    let client = [recorded("ffmpeg", "client.bin"), recorded("ffmpeg", "goodbye.bin")].concat();
    let (told, _) = told(&client, &recorded("ffmpeg", "server.bin"));
    let client = lines(&told, Side::Client);
    let connect = "connect (1): app live, type nonprivate, flashVer FMLE/3.0 (compatible; Lavf59.27.100), \
                   tcUrl rtmp://127.0.0.1:35135/live";
    assert_eq!(client[0], connect);
    assert_eq!(
        client[1..6],
        [
            "set_chunk_size: chunks of up to 4096 bytes",
            "releaseStream (2): stream ***",
            "FCPublish (3): stream ***",
            "createStream (4)",
            "publish (5): stream ***, type live, on message stream 1",
        ]
    );
    assert!(client[6].starts_with("media: 1 ") && client[6].ends_with(" bytes"), "{}", client[6]);
    assert_eq!(client[7..], ["FCUnpublish (6): stream ***", "deleteStream (7): message stream 1"]);
    let server = lines(&told, Side::Server);
    assert_eq!(server[0], "window_ack_size: an acknowledgement every 5000000 bytes");
    assert_eq!(server[1], "set_peer_bandwidth: 5000000 bytes, dynamic");
    assert_eq!(server[2], "set_chunk_size: chunks of up to 4096 bytes");
    let accepted = "_result (1): answers connect: NetConnection.Connect.Success (status): \"Connection succeeded.\": \
                    server FMS/3,0,1,123";
    assert_eq!(server[3], accepted);
    assert!(server.contains(&"_result (4): answers createStream: message stream 1".to_owned()), "{server:#?}");
    let published = "onStatus: NetStream.Publish.Start (status): \"Start publishing\"";
    assert!(server.contains(&published.to_owned()), "{server:#?}");
}

#[test]
fn every_recorded_session_is_read_to_its_end_and_its_client_recognised() {
    for (folder, clients) in FOLDERS {
        let (client, server) = (recorded(folder, "client.bin"), recorded(folder, "server.bin"));
        let (told, guess) = told(&client, &server);
        assert!(told.messages.iter().all(|said| said.name != "unreadable"), "{folder}: {:#?}", told.messages);
        assert_eq!((told.client.bytes, told.server.bytes), (client.len() as u64, server.len() as u64));
        assert_eq!(told.left_out, 0);
        let guessed: Vec<&str> = guess.clients.iter().map(|client| client.name()).collect();
        assert_eq!(guessed, clients, "{folder}");
        assert_eq!((guess.by_handshake, guess.by_commands), (None, Some(true)));
        let streams = told.messages.iter().filter(|said| said.facts.get("stream").is_some());
        assert!(streams.clone().count() > 0 && !format!("{:?}", streams.collect::<Vec<_>>()).contains("\"stream\"("));
    }
}

#[test]
fn another_version_is_recognised_and_another_client_is_not() {
    let connect = |flash_version: &str, key: &str| {
        command(|payload| {
            payload.string("connect").number(1.0).object().key("app").string("a").key("type").string("nonprivate");
            payload.key("flashVer").string(flash_version).key(key).string("rtmp://h/a").end();
        })
    };
    let guess = |bytes: &[u8]| told(bytes, &[]).1;
    let newer = guess(&connect("FMLE/3.0 (compatible; Lavf61.7.100)", "tcUrl"));
    assert_eq!(newer.clients.iter().map(|client| client.name()).collect::<Vec<_>>(), ["ffmpeg"]);
    for other in [connect("FMLE/3.0 (compatible; Wirecast)", "tcUrl"), connect("LNX 10,0,32,18", "token")] {
        let guess = guess(&other);
        assert_eq!((guess.clients.len(), guess.by_commands), (0, Some(false)));
    }
}

/// All that may give access, wherever it is said.
#[test]
fn no_secret_is_told_in_any_form() {
    const SECRETS: [&str; 9] = ["k3y", "t0ken", "resp0nse", "us3r", "room7", "p4ss", "x1tra", "un4med", "r3direct"];
    let client = [
        command(|payload| {
            payload.string("connect").number(1.0).object();
            payload.key("app").string("live/room7?authmod=adobe&user=us3r&response=resp0nse");
            payload.key("tcUrl").string("rtmp://me:p4ss@h/live/room7?token=t0ken").key("unknown").string("un4med");
            payload.key("token").string("x1tra").end().string("x1tra");
        }),
        command(|payload| {
            payload.string("publish").number(5.0).null().string("k3y?sign=t0ken").string("x1tra");
        }),
        command(|payload| {
            payload.string("custom").number(6.0).null().object().key("x1tra").string("x1tra").end();
        }),
        // No command at all, and then no message at all.
        message(MessageKind::CommandAmf0, b"x1tra x1tra"),
        [&[0x43, 0xff][..], b"k3y t0ken x1tra"].concat(),
    ];
    let status = |description: &str, redirect: &str| {
        command(|payload| {
            payload.string("onStatus").number(0.0).null().object().key("level").string("error");
            payload.key("code").string("NetStream.Publish.BadName").key("description").string(description);
            payload.key("ex").object().key("redirect").string(redirect).end().end();
        })
    };
    let server = [
        status("live/room7/k3y is taken by us3r, t0ken", "rtmp://edge/live/k3y?token=r3direct"),
        status("rtmp://h/live/k3y?t0ken user=us3r&response=resp0nse", "rtmp://edge/live"),
    ];
    for (client, server) in
        [(client.concat(), server.concat()), (Vec::new(), server.concat()), (client.concat(), Vec::new())]
    {
        let (told, guess) = told(&client, &server);
        let shown = format!("{}\n{told:?}\n{guess:?}", serde_json::to_string(&told).unwrap());
        for secret in SECRETS {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert!(!shown.contains("is taken") || !client.is_empty(), "a server's words without the client's: {shown}");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_first_bytes() {
    let create = command(|payload| {
        payload.string("createStream").number(2.0).null();
    });
    let broken = [&create[..], &[0xff, 1, 2, 3]];
    let (told, _) = told(&broken.concat(), &message(MessageKind::CommandAmf0, &[0, 1, 2]));
    let why = "unreadable: chunk stream 63 begins with a fmt 3 header, which repeats an earlier one; 4 bytes from here on, \
               which begin ff 01 02 03";
    assert_eq!(lines(&told, Side::Client), ["createStream (2)", why]);
    let server = lines(&told, Side::Server);
    assert!(server[0].starts_with("unreadable: a command of 3 bytes: AMF0, byte 1: "), "{server:?}");
    assert!(server[0].ends_with("; it begins 00 01 02"), "{server:?}");
}

#[test]
fn bytes_that_are_missing_inside_of_media_do_no_harm() {
    let video = message(MessageKind::Video, &[7; 100]);
    let status = command(|payload| {
        payload.string("onBWDone").number(0.0).null();
    });
    let lost = |from: usize, missing: u64| {
        let (mut transcript, mut notebook) = (Transcript::default(), notebook());
        transcript.take(Side::Server, Some(1), &video[..from], &mut notebook);
        transcript.miss(Side::Server, Some(2), missing, &mut notebook);
        transcript.take(Side::Server, Some(3), &video[from + missing as usize..], &mut notebook);
        transcript.take(Side::Server, Some(4), &status, &mut notebook);
        transcript.finish(&mut notebook)
    };
    let told = lost(20, 50);
    assert_eq!(lines(&told, Side::Server), ["media: 1 video message, 100 bytes", "onBWDone"]);
    assert_eq!((told.server.missing, told.server.bytes), (50, (video.len() - 50 + status.len()) as u64));
    let told = lost(0, 50);
    assert_eq!(told.messages.len(), 1);
    assert!(told.messages[0].text.starts_with("50 bytes before these are missing; "), "{:?}", told.messages[0]);
    assert_eq!(told.messages[0].at_ns, Some(2));
}

#[test]
fn messages_beyond_the_limits_are_counted() {
    let mut notebook = Notebook::new(2, 3);
    let ping = message(MessageKind::WindowAckSize, &[0, 0, 0, 9]);
    let mut told = || {
        let mut transcript = Transcript::default();
        (0..4).for_each(|at| transcript.take(Side::Server, Some(at), &ping, &mut notebook));
        transcript.finish(&mut notebook)
    };
    let (first, second) = (told(), told());
    assert_eq!((first.messages.len(), first.left_out), (2, 2));
    assert_eq!((second.messages.len(), second.left_out), (1, 3));
}

#[test]
fn json_names_the_facts() {
    let (told, _) = told(&recorded("rtmpdump", "client.bin"), &recorded("rtmpdump", "server.bin"));
    let json = serde_json::to_value(&told).unwrap();
    let connect = &json["messages"][0];
    assert_eq!(
        (&connect["from"], &connect["name"], &connect["transaction"]),
        (&"client".into(), &"connect".into(), &1.into())
    );
    assert_eq!((&connect["facts"]["app"], &connect["facts"]["fpad"]), (&"live".into(), &false.into()));
    assert_eq!(connect["facts"]["audioCodecs"], 3191);
    assert!(json["server"]["media_bytes"].as_u64().unwrap() > 0, "{json}");
    let answer = json["messages"].as_array().unwrap().iter().find(|said| said["name"] == "_result").unwrap();
    assert_eq!((&answer["answers"], &answer["facts"]["fmsVer"]), (&"connect".into(), &"FMS/3,0,1,123".into()));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        client in vec(any::<u8>(), 0..600),
        server in vec(any::<u8>(), 0..600),
        cut in 0usize..600,
        missing in 0u64..200,
    ) {
        let (mut transcript, mut notebook) = (Transcript::default(), notebook());
        let cut = cut.min(server.len());
        transcript.take(Side::Server, Some(1), &server[..cut], &mut notebook);
        transcript.miss(Side::Server, Some(2), missing, &mut notebook);
        transcript.take(Side::Client, Some(2), &client, &mut notebook);
        transcript.take(Side::Server, Some(3), &server[cut..], &mut notebook);
        let told = transcript.finish(&mut notebook);
        prop_assert_eq!(told.server.bytes, server.len() as u64);
        prop_assert!(told.messages.len() <= 102);
        let _ = serde_json::to_string(&told).unwrap();
    }
}
