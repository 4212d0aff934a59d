//! Real clients against the sink. They get no further than the handshake: the sink drops their commands.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use shakedown::base::{Nanos, Seed};
use shakedown::engine::Verify;
use shakedown::io::Engine;
use shakedown::sink::{Sink, SinkCounts, SinkPlan};

use crate::support::{Server, ffmpeg_publish, rtmpdump, tool};

/// What a sink has seen of a client once the client's C2 is there.
fn seen_of(client: impl Fn(&str) -> Command) -> SinkCounts {
    let sink = Sink::start(SinkPlan {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        engine: Engine::IoUring,
        workers: 2,
        cpus: Vec::new(),
        verify: Verify::All,
        delay: Nanos::ZERO,
        slots_per_worker: 16,
        reject: Vec::new(),
        ping_every: Nanos::ZERO,
        tls: None,
        seed: Seed::new(1),
    })
    .expect("a sink on loopback");
    let mut command = client(&format!("rtmp://{}/live/x", sink.address()));
    let mut client = Server::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
    let judged = |counts: SinkCounts| counts.c2_valid + counts.c2_echo + counts.c2_invalid;
    client.wait_until(|_| judged(sink.counts()) > 0).expect("a client binds no port");
    drop(client);
    let counts = sink.stop();
    // How far a client goes after its C2 before it is told to end, and how it then ends, is its own affair.
    SinkCounts { connected: 0, published: 0, played: 0, reset: 0, held: 0, media_bytes: 0, media_messages: 0, ..counts }
}

fn ffmpeg_play(url: &str) -> Command {
    let mut command = Command::new(tool("ffmpeg"));
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-i", url, "-f", "null", "-"]);
    command
}

#[test]
fn ffmpeg_publishing_asks_complex_and_echoes_s1() {
    let counts = seen_of(|url| ffmpeg_publish(url, 1));
    assert_eq!(counts, SinkCounts { accepted: 1, complex: 1, c2_echo: 1, ..SinkCounts::default() });
}

#[test]
fn ffmpeg_playing_signs_its_c2() {
    let counts = seen_of(ffmpeg_play);
    assert_eq!(counts, SinkCounts { accepted: 1, complex: 1, c2_valid: 1, ..SinkCounts::default() });
}

#[test]
fn rtmpdump_asks_simple_and_echoes_s1() {
    let counts = seen_of(rtmpdump);
    assert_eq!(counts, SinkCounts { accepted: 1, simple: 1, c2_echo: 1, ..SinkCounts::default() });
}
