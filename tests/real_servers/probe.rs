//! `probe` beyond the handshake: what servers say to it, and what it makes of those that say nothing.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{Authority, Capture, FfmpegListen, Nginx, NginxOptions, Rtmpsrv, hook_server, shakedown};

/// What `probe` prints, words apart by single spaces, and its exit code.
fn probed(words: &[&str]) -> (String, Option<i32>) {
    let output = shakedown().arg("probe").args(words).output().unwrap();
    (printed(&output), output.status.code())
}

fn printed(output: &Output) -> String {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The handshake of a probe's JSON.
fn probed_as_json(words: &[&str]) -> Value {
    let output = shakedown().arg("probe").arg("--json").args(words).output().unwrap();
    let mut json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    json["handshakes"][0].take()
}

#[track_caller]
fn assert_says(text: &str, phrases: &[&str]) {
    for phrase in phrases {
        assert!(text.contains(phrase), "{phrase}\n{text}");
    }
}

#[test]
fn nginx_lets_a_publisher_in() {
    let nginx = Nginx::start(NginxOptions::default());
    for client in ["shakedown", "ffmpeg", "obs", "nginx-rtmp"] {
        let (text, code) = probed(&[&nginx.url("k3y?token=t0ken"), "--until", "publish", "--client", client]);
        assert_eq!(code, Some(0), "{client}: {text}");
        assert_says(
            &text,
            &[
                "handshake completed, publish accepted",
                "window_ack_size: an acknowledgement every 5000000 bytes",
                "_result (1): answers connect: NetConnection.Connect.Success (status): \"Connection succeeded.\": server FMS/3,0,1,123",
                "onStatus: NetStream.Publish.Start (status): \"Start publishing\"",
                "nginx-rtmp",
            ],
        );
        assert!(!text.contains("k3y") && !text.contains("t0ken"), "{text}");
    }
}

#[test]
fn nginx_hangs_up_on_what_it_does_not_know_and_on_what_a_hook_forbids() {
    let nginx = Nginx::start(NginxOptions::default());
    let (text, code) = probed(&[&format!("rtmp://{}/nope", nginx.address()), "--until", "connect"]);
    assert_eq!(code, Some(5), "{text}");
    assert_says(
        &text,
        &["failed at reply (closed)", "closed the connection on connect, without a word", "does not exist"],
    );

    let hooks = hook_server(|path, _| if path == "/publish" { 403 } else { 200 });
    let nginx = Nginx::start(NginxOptions { hooks: Some(hooks.address()), ..NginxOptions::default() });
    let (text, code) = probed(&[&format!("rtmp://{}/guarded/k3y", nginx.address()), "--until", "publish"]);
    assert_eq!(code, Some(5), "{text}");
    assert_says(&text, &["failed at publish (closed)", "on_publish hook says no"]);
}

#[test]
fn nginx_tells_a_player_nothing_of_a_stream_that_nobody_publishes() {
    let nginx = Nginx::start(NginxOptions::default());
    let (text, code) = probed(&[&nginx.url("nobody"), "--until", "play", "--timeout", "2s"]);
    assert_eq!(code, Some(5), "{text}");
    assert_says(&text, &["failed at play (timeout)", "check that somebody publishes this stream"]);
}

#[test]
fn ffmpeg_and_librtmps_server_answer() {
    let server = FfmpegListen::start();
    let (text, code) = probed(&[&server.url(), "--until", "publish"]);
    assert_eq!(code, Some(0), "{text}");
    assert_says(&text, &["simple instead of complex handshake completed, publish accepted", "ffmpeg -listen"]);

    let server = Rtmpsrv::start();
    let url = format!("rtmp://{}/live", Rtmpsrv::ADDRESS);
    for (words, code, said) in [
        (&[][..], 0, &["complex handshake completed", "rtmpsrv"][..]),
        (&["--until", "connect", "--client", "librtmp"], 0, &["connect accepted"]),
        // It reads chunks of 128 bytes, whatever size the client sets.
        (&["--until", "connect", "--timeout", "1s"], 5, &["did not answer connect", "ignores Set Chunk Size"]),
    ] {
        let mut command = server.command(env!("CARGO_BIN_EXE_shakedown"));
        let output = command.args(["probe", &url]).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert_says(&printed(&output), said);
    }
}

#[test]
fn tls_and_its_certificate_are_shown() {
    const NAME: &str = "rtmp.test";
    let authority = Authority::new("authority");
    let nginx = Nginx::start(NginxOptions { tls: Some(authority.issue(NAME)), ..NginxOptions::default() });
    let url = format!("rtmps://{}/live/x", nginx.tls_address());
    let ca = authority.file();
    let ca = ca.to_str().unwrap();
    let (text, code) = probed(&[&url, "--until", "publish", "--tls-ca", ca, "--tls-name", NAME]);
    assert_eq!(code, Some(0), "{text}");
    assert_says(&text, &["publish accepted", "TLS TLS 1.", "for rtmp.test", "issued by CN=authority", "nginx-rtmp"]);
    let facts = probed_as_json(&[&url, "--insecure"]);
    assert!(facts["tls"]["version"].as_str().is_some_and(|version| version.starts_with("TLS 1.")), "{facts}");
    assert_eq!(facts["tls"]["certificate_checked"], false);
    assert_eq!(facts["tls"]["certificates"][0]["names"][0], NAME);
    assert_eq!(facts["outcome"]["result"], "completed");

    // Who is refused is shown all the same.
    let foreign = Authority::new("foreign authority");
    for (authority, name, cause) in [(foreign.file(), NAME, "cause"), (authority.file(), "other.test", "another name")]
    {
        let (text, code) = probed(&[&url, "--tls-ca", path(&authority), "--tls-name", name]);
        assert_eq!(code, Some(5), "{text}");
        assert_says(&text, &["failed at TLS (bad_certificate)", cause, "for rtmp.test", "issued by CN=authority"]);
    }
    let (text, code) = probed(&[&format!("rtmps://{}/live", nginx.address()), "--insecure", "--timeout", "2s"]);
    assert_eq!(code, Some(5), "{text}");
    assert_says(&text, &["failed at TLS"]);
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

/// The same words from both sides of the wire.
#[test]
fn inspect_tells_what_probe_said() {
    let nginx = Nginx::start(NginxOptions::default());
    let capture = Capture::start(nginx.address().port());
    let probe = probed_as_json(&[&nginx.url("k3y"), "--until", "publish", "--client", "ffmpeg"]);
    let pcap = tempfile::NamedTempFile::new().unwrap();
    capture.save(pcap.path());
    let output = shakedown().args(["inspect", "--json"]).arg(pcap.path()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(!printed.contains("k3y") && !printed.contains("6b3379"), "{printed}");
    let inspected: Value = serde_json::from_str(&printed).unwrap();
    let inspected = &inspected["handshakes"][0];
    assert_eq!(inspected["likely_clients"]["clients"], serde_json::json!(["ffmpeg"]));
    let told = |report: &Value, from: &str| -> Vec<String> {
        let messages = report["session"]["messages"].as_array().unwrap().iter();
        let own = messages.filter(|said| said["from"] == from);
        own.map(|said| format!("{} {}", said["name"].as_str().unwrap(), said["text"].as_str().unwrap())).collect()
    };
    assert_eq!(told(inspected, "client"), told(&probe, "client"));
    // Answers to the goodbye come when the probe has gone.
    let (captured, heard) = (told(inspected, "server"), told(&probe, "server"));
    assert_eq!(captured[..heard.len()], heard[..]);
}
