//! What clients say after the handshake.
//!
//! Recorded ones agree with `tests/vectors/session__*` byte for byte, chunk headers included; `tests/sessions.rs` checks
//! it. `docs/clients.md` has the same as tables.

use super::{ClientProfile, Provenance};
use crate::protocol::session::{Argument, Body, Dialogue, FOUR_CCS, Header, Message, Property, PropertyValue};
use crate::protocol::session::{SessionSpec, Window};

impl ClientProfile {
    /// What it says after the handshake; nothing from hostile and odd clients.
    pub const fn session(self) -> Option<SessionSpec> {
        Some(match self {
            Self::Shakedown => SHAKEDOWN,
            Self::Ffmpeg => FFMPEG,
            Self::FfmpegPlay => SessionSpec { publish: None, play: Some(FFMPEG_PLAY), ..FFMPEG },
            Self::Mpv => SessionSpec { publish: None, play: Some(through_ffmpeg(&["session__mpv__nginx"])), ..FFMPEG },
            Self::Vlc => SessionSpec { publish: None, play: Some(through_ffmpeg(&["session__vlc__nginx"])), ..FFMPEG },
            Self::Obs => OBS,
            Self::Librtmp => LIBRTMP,
            Self::LibrtmpSwf => SessionSpec { publish: None, play: Some(RTMPDUMP_SWF), ..LIBRTMP },
            Self::Gstreamer => RTMP2SINK,
            Self::NginxRtmp => NGINX_RTMP,
            Self::Srs => SRS,
            Self::Zlmediakit => ZLMEDIAKIT,
            Self::SrsBench => SRS_BENCH,
            Self::Version0x00
            | Self::Version0x01
            | Self::Version0x06
            | Self::Version0x20
            | Self::WrongDigest
            | Self::ZeroFiller
            | Self::HalfC1
            | Self::Drip
            | Self::NoC2
            | Self::WrongC2
            | Self::Silent
            | Self::CloseAfterC1
            | Self::Http
            | Self::Tls
            | Self::Split1536
            | Self::EarlyC2 => return None,
        })
    }

    /// Whether it can publish.
    pub const fn publishes(self) -> bool {
        matches!(self.session(), Some(SessionSpec { publish: Some(_), .. }))
    }

    /// Whether it can play.
    pub const fn plays(self) -> bool {
        matches!(self.session(), Some(SessionSpec { play: Some(_), .. }))
    }
}

/// Chunk streams of the control messages and of the connection's commands, in all clients.
const CONTROL: u8 = 2;
const COMMANDS: u8 = 3;

const APP: Property = Property("app", PropertyValue::App);
const TC_URL: Property = Property("tcUrl", PropertyValue::TcUrl);
const NONPRIVATE: Property = text("type", "nonprivate");

const SHAKEDOWN: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Own,
        connect: SHAKEDOWN_CONNECT,
        after_connect: &[create_stream(Header::Delta(0), 2)],
        start: &[publish(8, 3)],
        goodbye: &[delete_stream(4)],
    }),
    play: Some(Dialogue {
        provenance: Provenance::Own,
        connect: SHAKEDOWN_CONNECT,
        after_connect: &[create_stream(Header::Delta(0), 2)],
        start: &[play(8, 3, &[Argument::Null, Argument::Name, Argument::Number(-2000.0)])],
        goodbye: &[delete_stream(4)],
    }),
    nodelay: true,
    connect_apart: false,
    check_bandwidth: None,
};

const SHAKEDOWN_CONNECT: &[Message] =
    &[set_chunk_size(4096), connect(&[APP, NONPRIVATE, text("flashVer", "FMLE/3.0 (compatible; shakedown)"), TC_URL])];

/// FFmpeg 5.1. It writes each header and each payload by itself.
const FFMPEG: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Captured(&["session__ffmpeg__nginx"]),
        connect: &[
            connect(&[APP, NONPRIVATE, text("flashVer", "FMLE/3.0 (compatible; Lavf59.27.100)"), TC_URL]),
            set_chunk_size(4096),
        ],
        after_connect: &[release_stream(2), fc_publish(3), create_stream(Header::Delta(0), 4)],
        start: &[publish(8, 5)],
        goodbye: &[fc_unpublish(6), delete_stream(7)],
    }),
    play: None,
    nodelay: false,
    connect_apart: true,
    check_bandwidth: Some(Header::Delta(0)),
};

const FFMPEG_PLAY: Dialogue = Dialogue {
    provenance: Provenance::Captured(&["session__ffmpeg-play__nginx"]),
    connect: &[connect(&[
        APP,
        text("flashVer", "LNX 9,0,124,2"),
        TC_URL,
        Property("fpad", PropertyValue::Boolean(false)),
        number("capabilities", 15.0),
        number("audioCodecs", 4071.0),
        number("videoCodecs", 252.0),
        number("videoFunction", 1.0),
    ])],
    after_connect: &[window_ack_size(Window::OfServer), create_stream(Header::Delta(0), 2)],
    start: &[
        command(8, Header::Connection, "getStreamLength", 3, &[Argument::Null, Argument::Name]),
        play(8, 4, &[Argument::Null, Argument::Name, Argument::Number(-2000.0)]),
        buffer_length(Header::Delta(1), true, 3000),
    ],
    goodbye: &[delete_stream(5)],
};

/// mpv and VLC play through FFmpeg's library, and both were recorded.
const fn through_ffmpeg(captures: &'static [&'static str]) -> Dialogue {
    Dialogue { provenance: Provenance::Captured(captures), ..FFMPEG_PLAY }
}

/// librtmp 2.4: gstreamer's rtmpsink publishes, rtmpdump plays.
const LIBRTMP: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Captured(&["session__gstreamer-rtmpsink__nginx"]),
        connect: &[connect(&[APP, NONPRIVATE, TC_URL])],
        ..LIBRTMP_PUBLISH
    }),
    play: Some(RTMPDUMP),
    nodelay: true,
    connect_apart: true,
    check_bandwidth: Some(Header::Connection),
};

/// What librtmp's publishers have in common.
const LIBRTMP_PUBLISH: Dialogue = Dialogue {
    provenance: Provenance::Source,
    connect: &[],
    after_connect: &[release_stream(2), fc_publish(3), create_stream(Header::Delta(0), 4)],
    start: &[publish(4, 5)],
    goodbye: &[fc_unpublish(6), delete_stream(7)],
};

/// `-v`: a live stream.
const RTMPDUMP: Dialogue = Dialogue {
    provenance: Provenance::Captured(&["session__rtmpdump__nginx"]),
    connect: &[connect(&[
        APP,
        text("flashVer", "LNX 10,0,32,18"),
        TC_URL,
        Property("fpad", PropertyValue::Boolean(false)),
        number("capabilities", 15.0),
        number("audioCodecs", 3191.0),
        number("videoCodecs", 252.0),
        number("videoFunction", 1.0),
    ])],
    after_connect: &[
        window_ack_size(Window::OfServer),
        buffer_length(Header::Delta(0), false, 300),
        create_stream(Header::Delta(0), 2),
        command(COMMANDS, Header::Delta(0), "FCSubscribe", 3, &[Argument::Null, Argument::Name]),
    ],
    start: &[
        play(8, 4, &[Argument::Null, Argument::Name, Argument::Number(-1000.0)]),
        buffer_length(Header::Repeat, true, 36_000_000),
    ],
    goodbye: &[delete_stream(5)],
};

/// `-w` and `-x`: with SWF verification.
const RTMPDUMP_SWF: Dialogue = Dialogue {
    provenance: Provenance::Captured(&["session__rtmpdump-swfvfy__nginx"]),
    connect: &[connect(&[
        APP,
        text("flashVer", "LNX 10,0,32,18"),
        text("swfUrl", "http://localhost/player.swf"),
        TC_URL,
        Property("fpad", PropertyValue::Boolean(false)),
        number("capabilities", 15.0),
        number("audioCodecs", 3191.0),
        number("videoCodecs", 252.0),
        number("videoFunction", 1.0),
    ])],
    ..RTMPDUMP
};

/// OBS Studio 30: `try_connect` of `rtmp-stream.c` and its librtmp. It leaves Nagle's algorithm on.
const OBS: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        connect: &[
            set_chunk_size(4096),
            connect(&[
                APP,
                NONPRIVATE,
                text("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)"),
                Property("swfUrl", PropertyValue::TcUrl),
                TC_URL,
            ]),
        ],
        ..LIBRTMP_PUBLISH
    }),
    play: None,
    nodelay: false,
    ..LIBRTMP
};

/// gstreamer's rtmp2sink 1.22. What follows NetStream.Publish.Start, Set Chunk Size with the size as it was, is left out.
const RTMP2SINK: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Captured(&["session__gstreamer-rtmp2__nginx"]),
        connect: &[connect(&[APP, NONPRIVATE, text("flashVer", "LNX 10,0,32,18"), TC_URL])],
        after_connect: &[
            window_ack_size(Window::OfServer),
            release_stream(0),
            fc_publish(0),
            create_stream(Header::Delta(0), 2),
        ],
        start: &[publish(COMMANDS, 0)],
        goodbye: &[
            // The last command of this chunk stream was in the message stream.
            command(COMMANDS, Header::Connection, "FCUnpublish", 0, &[Argument::Null, Argument::Name]),
            // The name, where others give the number of the message stream.
            command(COMMANDS, Header::Delta(0), "deleteStream", 0, &[Argument::Null, Argument::Name]),
        ],
    }),
    play: None,
    nodelay: false,
    connect_apart: true,
    check_bandwidth: None,
};

/// nginx-rtmp 1.2.2, `push` and `pull`.
const NGINX_RTMP: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Captured(&["session__nginx-relay-push__nginx"]),
        connect: NGINX_RTMP_CONNECT,
        after_connect: &[create_stream(Header::Connection, 2)],
        start: &[publish(5, 0), Message { chunk_stream: CONTROL, header: Header::Connection, body: Body::StreamBegin }],
        goodbye: &[],
    }),
    play: Some(Dialogue {
        provenance: Provenance::Captured(&["session__nginx-relay-pull__nginx"]),
        connect: NGINX_RTMP_CONNECT,
        after_connect: &[create_stream(Header::Connection, 2)],
        start: &[
            play(5, 0, &[Argument::Null, Argument::Name, Argument::Number(-2000.0), Argument::Number(-1000.0)]),
            buffer_length(Header::Connection, true, 5000),
        ],
        goodbye: &[],
    }),
    nodelay: false,
    connect_apart: true,
    check_bandwidth: None,
};

const NGINX_RTMP_CONNECT: &[Message] = &[
    set_chunk_size(4096),
    window_ack_size(Window::Own(5_000_000)),
    connect(&[
        APP,
        TC_URL,
        text("pageUrl", ""),
        text("swfUrl", ""),
        text("flashVer", "LNX.11,1,102,55"),
        number("audioCodecs", 3575.0),
        number("videoCodecs", 252.0),
    ]),
];

/// SRS 7: `SrsRtmpClient` as its forwarder (publish) and its edge (play) use it.
const SRS: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Source,
        connect: SRS_CONNECT,
        after_connect: &[create_stream(Header::Connection, 2)],
        start: &[set_chunk_size(60_000), publish(5, 0)],
        goodbye: &[],
    }),
    play: Some(Dialogue {
        provenance: Provenance::Source,
        connect: SRS_CONNECT,
        after_connect: &[create_stream(Header::Connection, 2)],
        start: &[
            play(5, 0, &[Argument::Null, Argument::Name]),
            buffer_length(Header::Connection, true, 1000),
            set_chunk_size(60_000),
        ],
        goodbye: &[],
    }),
    nodelay: false,
    connect_apart: true,
    check_bandwidth: None,
};

const SRS_CONNECT: &[Message] = &[
    connect(&[
        APP,
        text("flashVer", "WIN 15,0,0,239"),
        text("swfUrl", ""),
        TC_URL,
        Property("fpad", PropertyValue::Boolean(false)),
        number("capabilities", 239.0),
        number("audioCodecs", 3575.0),
        number("videoCodecs", 252.0),
        number("videoFunction", 1.0),
        text("pageUrl", ""),
        number("objectEncoding", 0.0),
    ]),
    window_ack_size(Window::Own(2_500_000)),
];

/// srs-bench, which is built on SRS's client library: it plays as SRS does, and publishes as Flash Media Live Encoder.
const SRS_BENCH: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Source,
        connect: SRS_CONNECT,
        after_connect: &[
            command(COMMANDS, Header::Connection, "releaseStream", 2, &[Argument::Null, Argument::Name]),
            command(COMMANDS, Header::Connection, "FCPublish", 3, &[Argument::Null, Argument::Name]),
            create_stream(Header::Connection, 4),
        ],
        start: &[publish(5, 0)],
        goodbye: &[],
    }),
    ..SRS
};

/// ZLMediaKit: `RtmpPusher` and `RtmpPlayer`. It writes the members of objects in the order of their names.
const ZLMEDIAKIT: SessionSpec = SessionSpec {
    publish: Some(Dialogue {
        provenance: Provenance::Source,
        connect: &[
            set_chunk_size(60_000),
            connect(&[
                APP,
                Property("fourCcList", PropertyValue::FourCcs(FOUR_CCS)),
                Property("swfUrl", PropertyValue::TcUrl),
                TC_URL,
                NONPRIVATE,
            ]),
        ],
        after_connect: &[create_stream(Header::Connection, 2)],
        start: &[publish(COMMANDS, 3)],
        goodbye: &[],
    }),
    play: Some(Dialogue {
        provenance: Provenance::Source,
        connect: &[connect(&[
            APP,
            number("audioCodecs", 1024.0),
            number("capabilities", 15.0),
            Property("fourCcList", PropertyValue::FourCcs(FOUR_CCS)),
            Property("fpad", PropertyValue::Boolean(false)),
            TC_URL,
            number("videoCodecs", 128.0),
            number("videoFunction", 1.0),
        ])],
        after_connect: &[create_stream(Header::Connection, 2)],
        start: &[play(COMMANDS, 3, &[Argument::Null, Argument::Name, Argument::Number(-2000.0)])],
        goodbye: &[],
    }),
    nodelay: true,
    connect_apart: true,
    check_bandwidth: None,
};

const fn text(key: &'static str, text: &'static str) -> Property {
    Property(key, PropertyValue::Text(text))
}

const fn number(key: &'static str, number: f64) -> Property {
    Property(key, PropertyValue::Number(number))
}

const fn connect(properties: &'static [Property]) -> Message {
    Message { chunk_stream: COMMANDS, header: Header::Connection, body: Body::Connect(properties) }
}

const fn set_chunk_size(size: u32) -> Message {
    Message { chunk_stream: CONTROL, header: Header::Connection, body: Body::SetChunkSize(size) }
}

const fn window_ack_size(window: Window) -> Message {
    Message { chunk_stream: CONTROL, header: Header::Connection, body: Body::WindowAckSize(window) }
}

const fn buffer_length(header: Header, of_stream: bool, ms: u32) -> Message {
    Message { chunk_stream: CONTROL, header, body: Body::SetBufferLength { of_stream, ms } }
}

const fn release_stream(transaction: u8) -> Message {
    command(COMMANDS, Header::Delta(0), "releaseStream", transaction, &[Argument::Null, Argument::Name])
}

const fn fc_publish(transaction: u8) -> Message {
    command(COMMANDS, Header::Delta(0), "FCPublish", transaction, &[Argument::Null, Argument::Name])
}

const fn create_stream(header: Header, transaction: u8) -> Message {
    command(COMMANDS, header, "createStream", transaction, &[Argument::Null])
}

const fn publish(chunk_stream: u8, transaction: u8) -> Message {
    let arguments = &[Argument::Null, Argument::Name, Argument::Text("live")];
    command(chunk_stream, Header::Stream, "publish", transaction, arguments)
}

const fn play(chunk_stream: u8, transaction: u8, arguments: &'static [Argument]) -> Message {
    command(chunk_stream, Header::Stream, "play", transaction, arguments)
}

const fn fc_unpublish(transaction: u8) -> Message {
    command(COMMANDS, Header::Delta(0), "FCUnpublish", transaction, &[Argument::Null, Argument::Name])
}

const fn delete_stream(transaction: u8) -> Message {
    command(COMMANDS, Header::Delta(0), "deleteStream", transaction, &[Argument::Null, Argument::MessageStream])
}

const fn command(
    chunk_stream: u8,
    header: Header,
    name: &'static str,
    transaction: u8,
    arguments: &'static [Argument],
) -> Message {
    Message { chunk_stream, header, body: Body::Command { name, transaction, arguments } }
}
