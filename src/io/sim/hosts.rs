//! Simulated hosts with names, for runs that want no network.

use super::freeze::Freeze;
use super::peer::{Peer, PeerScript, ServiceModel, SessionAnswers, SessionModel, Unasked, UnaskedAct};
use crate::base::Nanos;
use crate::protocol::session::Request;

/// The simulated hosts: name and behaviour. [`Peer::by_host`] has a peer for each.
pub const SIM_HOSTS: &[(&str, &str)] = &{
    let mut hosts = [("", ""); HOSTS.len()];
    let mut index = 0;
    while index < HOSTS.len() {
        hosts[index] = (HOSTS[index].0, HOSTS[index].1);
        index += 1;
    }
    hosts
};

impl Peer {
    /// The peer behind the name of a simulated host; `None` if [`SIM_HOSTS`] does not list it. Case does not matter.
    pub fn by_host(name: &str) -> Option<Self> {
        HOSTS.iter().find(|(host, ..)| host.eq_ignore_ascii_case(name)).map(|(_, _, peer)| peer())
    }
}

type Host = (&'static str, &'static str, fn() -> Peer);

const HOSTS: &[Host] = &[
    ("serve.sim", "serves either mode: 8 at once, 200 us each", Peer::default),
    ("slow.sim", "serves one at a time, 20 ms each: 50 a second", || {
        served(ServiceModel { parallelism: 1, time: Nanos::from_millis(20), noise: Nanos::ZERO })
    }),
    ("queue.sim", "serves one at a time, 1 ms each: 1000 a second", || served(QUEUE)),
    ("hiccups.sim", "serves one at a time, 1 ms each, but stands still for 300 ms every 5 s", || Peer {
        freezes: stalls(),
        ..served(QUEUE)
    }),
    ("noisy.sim", "serves 8 at once, 100 us and an exponential 100 us each", || {
        let each = Nanos::from_micros(100);
        served(ServiceModel { parallelism: 8, time: each, noise: each })
    }),
    ("stalls.sim", "serves, but stands still for 300 ms every 5 s", || Peer { freezes: stalls(), ..Peer::default() }),
    ("backlog.sim", "serves 2 at once, 1 ms each, behind a backlog of 16", || Peer {
        service: ServiceModel { parallelism: 2, time: Nanos::from_millis(1), noise: Nanos::ZERO },
        backlog: Some(16),
        ..Peer::default()
    }),
    ("split.sim", "writes S0S1, and S2 1 ms later", || serves(&[1537], Nanos::from_millis(1), b"", false)),
    ("tail.sim", "sends 16 bytes after S2, in the same write", || serves(&[], Nanos::ZERO, WINDOW_ACK_SIZE, false)),
    ("s2-after-c2.sim", "sends S2 only when it has C2", || serves(&[], Nanos::ZERO, b"", true)),
    ("drip.sim", "sends S0S1S2 one byte a millisecond", || {
        Peer::scripted(PeerScript::OneByteAtATime { gap: Nanos::from_millis(1) })
    }),
    ("simple.sim", "answers complex handshakes in simple mode", || Peer::scripted(PeerScript::ServeSimpleOnly)),
    ("refuse.sim", "refuses connections", || Peer::scripted(PeerScript::Refuse)),
    ("unreachable.sim", "cannot be reached: host unreachable", || Peer::scripted(PeerScript::Unreachable)),
    ("no-route.sim", "cannot be reached: no route from here", || Peer::scripted(PeerScript::NoRoute)),
    ("drop.sim", "never answers a SYN", || Peer::scripted(PeerScript::DropSyn)),
    ("silent.sim", "accepts and never sends anything", || Peer::scripted(PeerScript::Silent)),
    ("version.sim", "answers with version 6 (RTMPE)", || Peer::scripted(PeerScript::Version(6))),
    ("http.sim", "answers like a web server", || Peer::scripted(PeerScript::Http)),
    ("close-at-once.sim", "closes as soon as it has accepted", || Peer::scripted(PeerScript::CloseAfterConnect)),
    ("close.sim", "closes instead of answering C0C1", || Peer::scripted(PeerScript::CloseAfterC0C1)),
    ("reset.sim", "resets instead of answering C0C1", || Peer::scripted(PeerScript::ResetAfterC0C1)),
    ("half.sim", "sends half of S1, then nothing", || Peer::scripted(PeerScript::HalfOfS1)),
    ("half-close.sim", "sends half of S1, then closes", || Peer::scripted(PeerScript::HalfOfS1ThenClose)),
    ("bad-s1.sim", "signs S1 wrongly", || Peer::scripted(PeerScript::WrongS1Digest)),
    ("bad-s2.sim", "signs S2 wrongly", || Peer::scripted(PeerScript::WrongS2Digest)),
    ("bad-echo.sim", "answers in simple mode with a wrong echo", || Peer::scripted(PeerScript::WrongEcho)),
    ("endless.sim", "serves, then never stops sending", || Peer::scripted(PeerScript::Endless)),
    ("garbage.sim", "sends noise without end", || Peer::scripted(PeerScript::EndlessGarbage)),
    ("reset-after-s2.sim", "resets right after S2", || Peer::scripted(PeerScript::ResetAfterS0S1S2)),
    ("close-after-c2.sim", "closes as soon as it has C2", || Peer::scripted(PeerScript::ClosesWithFin)),
    ("close-held.sim", "closes a held connection 500 ms after C2", || {
        Peer::scripted(PeerScript::CloseHeldAfter { after: Nanos::from_millis(500) })
    }),
    ("no-ports.sim", "this host has ports for 16 connections", || Peer::scripted(PeerScript::NoPorts { beyond: 16 })),
    ("no-descriptors.sim", "this host has descriptors for 16 connections", || {
        Peer::scripted(PeerScript::NoDescriptors { beyond: 16 })
    }),
    ("overload.sim", "serves 1000 connections at once; one more, and it refuses all for 5 s", || {
        Peer::scripted(PeerScript::Overloads { beyond: 1_000, down_for: Nanos::from_secs(5) })
    }),
    ("vanish.sim", "loses the flow of a held connection 500 ms after C2: nothing arrives any more", || {
        Peer::scripted(PeerScript::Vanishes { after: Nanos::from_millis(500) })
    }),
    ("connect-rejected.sim", "knows no application", || refuses("connect:rejected")),
    ("unauthorized.sim", "lets nobody publish or play", || {
        let mut sessions = SessionModel::refusing("publish:unauthorized");
        sessions.policy.reject.extend(SessionModel::refusing("play:unauthorized").policy.reject);
        Peer::conducting(sessions)
    }),
    ("redirect.sim", "sends clients to another server", || refuses("connect:redirect=rtmp://serve.sim/live")),
    ("name-taken.sim", "has a publisher of every stream", || refuses("publish:name-taken")),
    ("no-stream.sim", "has no stream to play", || refuses("play:not-found")),
    ("hook-says-no.sim", "closes instead of answering publish", || refuses("publish:close")),
    ("slow-hook.sim", "answers publish and play after 300 ms", || {
        Peer::conducting(SessionModel { hook: Nanos::from_millis(300), ..SessionModel::default() })
    }),
    ("no-connect.sim", "never answers connect", || answers(SessionAnswers::AllButTo(Request::Connect))),
    ("no-publish.sim", "never answers publish", || answers(SessionAnswers::AllButTo(Request::Publish))),
    ("close-after-connect.sim", "answers connect, then closes", || {
        answers(SessionAnswers::ThenCloses(Request::Connect))
    }),
    ("reset-after-publish.sim", "resets publishers after 500 ms", || {
        answers(SessionAnswers::ThenResets { last: Request::Publish, after: Nanos::from_millis(500) })
    }),
    ("ping.sim", "pings every second", || {
        Peer::conducting(SessionModel { ping_every: Nanos::from_secs(1), ..SessionModel::default() })
    }),
    ("noise-after-s2.sim", "sends what is no chunk after S2", || serves(&[], Nanos::ZERO, NOISE, false)),
    ("name-taken-late.sim", "lets publishers start, and says 500 ms later that the name is taken", || {
        does(NAME_TAKEN_LATE)
    }),
    ("stream-failed.sim", "ends streams by NetStream.Failed after 500 ms, and stays connected", || does(STREAM_FAILED)),
    ("unpublish.sim", "tells players after 500 ms that their stream is over", || does(UNPUBLISH)),
    ("reconnect.sim", "asks clients after 500 ms to connect elsewhere, and closes 300 ms later", || does(RECONNECT)),
    ("stops-reading.sim", "lets publishers start, and takes 1 MB from each", || Peer {
        takes: Some(1_000_000),
        ..Peer::default()
    }),
];

/// What xiu sends with S2, unasked: Window Acknowledgement Size 5 000 000.
const WINDOW_ACK_SIZE: &[u8] = &[2, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0, 0, 0, 0x4c, 0x4b, 0x40];
/// A chunk header that repeats one that never was.
const NOISE: &[u8] = &[0xc3; 16];

const LATER: Nanos = Nanos::from_millis(500);
const NAME_TAKEN_LATE: &[Unasked] =
    &[error(Request::Publish, "NetStream.Publish.BadName", "Stream already publishing")];
const STREAM_FAILED: &[Unasked] = &[
    error(Request::Publish, "NetStream.Failed", "the stream broke"),
    error(Request::Play, "NetStream.Failed", "the stream broke"),
];
const UNPUBLISH: &[Unasked] = &[Unasked {
    to: Request::Play,
    after: LATER,
    act: UnaskedAct::Status {
        level: "status",
        code: "NetStream.Play.UnpublishNotify",
        description: "stream is now unpublished",
        tc_url: "",
    },
}];
const RECONNECT: &[Unasked] = &[
    Unasked {
        to: Request::Connect,
        after: LATER,
        act: UnaskedAct::Status {
            level: "status",
            code: "NetConnection.Connect.ReconnectRequest",
            description: "this server is about to restart",
            tc_url: "rtmp://serve.sim/live",
        },
    },
    Unasked { to: Request::Connect, after: Nanos::from_millis(800), act: UnaskedAct::Close },
];

const fn error(to: Request, code: &'static str, description: &'static str) -> Unasked {
    Unasked { to, after: LATER, act: UnaskedAct::Status { level: "error", code, description, tc_url: "" } }
}

fn does(unasked: &'static [Unasked]) -> Peer {
    Peer::conducting(SessionModel::doing(unasked))
}

/// Stalls of a host that stalls every 5 s: a day of them.
const STALLS: u64 = 24 * 3600 / 5;

/// A queue that a search for a capacity finds the end of.
const QUEUE: ServiceModel = ServiceModel { parallelism: 1, time: Nanos::from_millis(1), noise: Nanos::ZERO };

fn stalls() -> Vec<Freeze> {
    let stall = |n| Freeze { at: Nanos::from_secs(5 * n), length: Nanos::from_millis(300) };
    (1..=STALLS).map(stall).collect()
}

fn served(service: ServiceModel) -> Peer {
    Peer { service, ..Peer::default() }
}

fn refuses(rule: &str) -> Peer {
    Peer::conducting(SessionModel::refusing(rule))
}

fn answers(answers: SessionAnswers) -> Peer {
    Peer::conducting(SessionModel::answering(answers))
}

fn serves(segments: &[usize], gap: Nanos, tail: &[u8], s2_after_c2: bool) -> Peer {
    Peer::scripted(PeerScript::Serve { segments: segments.to_vec(), gap, tail: tail.to_vec(), s2_after_c2 })
}
