//! What attempts do after the handshake.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::run::{MediaPlan, MediaSource, TlsPlan};
use crate::scenario::{BitRate, Percent, TlsRequest, read};

/// A closed loop of attempts that go on until then.
fn until(until: Until) -> Request {
    Request { until: Some(until), ..closed() }
}

fn streams(request: &Request) -> Vec<String> {
    let plan = plan(request);
    plan.populations[0].streams(&plan).iter().map(ToString::to_string).collect()
}

fn refusal(request: &Request) -> String {
    refusal_on(&machine(), request)
}

/// A file with this many stream keys.
fn keys(count: usize) -> (tempfile::TempDir, Option<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.csv");
    fs::write(&path, (0..count).map(|number| format!("S3CRET{number}\n")).collect::<String>()).unwrap();
    (folder, Some(path))
}

#[test]
fn streams_are_named_by_who_asks_or_by_the_target() {
    let named = |url: &str, stream: Option<&str>| {
        streams(&Request {
            until: Some(Until::Publish),
            stream: stream.map(|text| text.parse().unwrap()),
            ..to(&[url])
        })
    };
    assert_eq!(named("rtmp://10.0.0.5/live", None), ["shakedown-{id}"]);
    assert_eq!(named("rtmp://10.0.0.5/live/cam-{slot}?token=x", None), ["cam-{slot}?***"]);
    assert_eq!(named("rtmp://10.0.0.5/live/cam-{slot}", Some("load-{id}")), ["load-{id}"]);
    let several =
        Request { until: Some(Until::Publish), ..to(&["rtmp://10.0.0.5/live/a{id}", "rtmp://10.0.0.6/live"]) };
    assert_eq!(streams(&several), ["a{id}", "shakedown-{id}"]);
    assert!(streams(&until(Until::Connect)).is_empty(), "no stream before publish");
    assert!(streams(&to(&["rtmp://10.0.0.5/live/key"])).is_empty(), "nor in a handshake");
}

#[test]
fn each_client_finds_its_application_and_stream_in_a_url() {
    let found = |url: &str, clients: &str, app: Option<&str>| {
        let request = Request {
            until: Some(Until::Play),
            clients: clients.split(',').map(|text| text.parse().unwrap()).collect(),
            app: app.map(|text| text.parse().unwrap()),
            ..to(&[url])
        };
        let plan = plan(&request);
        let population = &plan.populations[0];
        let client = population.clients[0].client.profile;
        let target = &plan.targets[0];
        (population.shown_app_at(target, client), population.stream_at(target, client).is(&"key".parse().unwrap()))
    };
    let to_key = |app: &str| (app.to_owned(), true);
    for client in ["ffmpeg-play", "librtmp", "shakedown"] {
        assert_eq!(found("rtmp://10.0.0.5/live/inst/key", client, None), to_key("live/inst"), "{client}");
        assert_eq!(found("rtmp://10.0.0.5/live?vhost=demo/key", client, None), to_key("live?***"), "{client}");
        assert_eq!(found("rtmp://10.0.0.5/live/key", client, None), to_key("live"), "{client}");
    }
    assert_eq!(found("rtmp://10.0.0.5/a/b/c/key", "librtmp", None), to_key("a/b/c"));
    assert_eq!(found("rtmp://10.0.0.5/a/b/c/key", "ffmpeg-play", None), ("a/b".to_owned(), false), "c/key");
    assert_eq!(found("rtmp://10.0.0.5/a/b/c/key", "ffmpeg-play", Some("a/b/c")), to_key("a/b/c"));
    assert_eq!(found("rtmp://10.0.0.5/live/key", "ffmpeg-play", Some("vod?t=1")), to_key("vod?***"));
    assert_eq!(found("rtmp://10.0.0.5/live/mp4:dir/key", "librtmp", None), to_key("live/mp4:dir"));
    assert_eq!(found("rtmp://10.0.0.5/live/S3CRET?token=a/b", "librtmp", None), ("live?***".to_owned(), false));
}

#[test]
fn only_what_is_sent_can_be_said_and_only_names_are_patterns() {
    let app = |text: &str| Some(text.parse().unwrap());
    insta::assert_snapshot!(refusal(&Request { app: app("live"), ..until(Until::Handshake) }), @"--app names an application and the attempts of clients end before any is asked for; add --until connect, or drop it");
    let rooms = Request { until: Some(Until::Publish), ..to(&["rtmp://10.0.0.5/live/room-{id}/cam"]) };
    insta::assert_snapshot!(refusal(&rooms), @"shakedown takes 'live/room-{id}' of the target's URL for the application, and only names of streams have placeholders; say which is which with --app and --stream");
    assert_eq!(streams(&Request { app: app("live"), ..rooms }), ["room-{id}/cam"]);
}

#[test]
fn keys_name_streams_and_limit_the_slots() {
    let (_folder, stream_keys) = keys(10);
    let publish = Request { stream_keys, ..until(Until::Publish) };
    assert_eq!(streams(&publish), ["{key}"]);
    assert_eq!(concurrency(&publish), 10, "of a closed loop");
    let open = Request { rate: Some("1k/s".parse().unwrap()), duration: secs(10), ..publish.clone() };
    let Resolved { plan, notes } = resolved(&open);
    assert_eq!(plan.concurrency(), 10);
    insta::assert_snapshot!(notes.join("\n"), @"clients has 10 stream keys and so at most as many connections at once");
    assert_eq!(plan.populations[0].stream_keys.get(9), Some("S3CRET9"));
    let halves = Request { share: Some(Share::new(1, 2).unwrap()), ..open.clone() };
    assert_eq!(concurrency(&halves), 5, "each machine has its own");
    for text in [serde_json::to_string(&plan).unwrap(), format!("{plan:?}")] {
        assert!(!text.contains("S3CRET"), "{text}");
    }
    insta::assert_snapshot!(refusal(&Request { concurrency: Some(11), ..publish.clone() }), @"11 connections of clients need a stream key each and there are 10; give more keys, or lower -c");
    insta::assert_snapshot!(refusal(&Request { stream: Some("load-{id}".parse().unwrap()), ..publish.clone() }), @"--stream-keys gives keys and the streams of clients have none in their names; write {key} into --stream, or drop one of them");
    insta::assert_snapshot!(refusal(&Request { stream: Some("{key}".parse().unwrap()), ..until(Until::Publish) }), @"the streams of clients are named by {key} and there are no keys; give a file with --stream-keys");
    insta::assert_snapshot!(refusal(&Request { until: Some(Until::Connect), ..publish }), @"--stream-keys names streams and the attempts of clients end before any; add --until publish, or drop it");
}

#[test]
fn clients_must_be_able_to_do_what_is_asked() {
    let asked = |until, client: &str| {
        let clients = client.split(',').map(|text| text.parse().unwrap()).collect();
        Request { until: Some(until), clients, stream: Some("cam-{id}".parse().unwrap()), ..closed() }
    };
    for able in [asked(Until::Publish, "obs,ffmpeg,shakedown"), asked(Until::Play, "vlc,mpv,ffmpeg-play")] {
        assert!(resolve(&able, &machine(), &lookup).is_ok(), "{able:?}");
    }
    insta::assert_snapshot!(refusal(&asked(Until::Publish, "obs,vlc")), @"vlc does not publish, as --until publish asks; those that do are shakedown, ffmpeg, obs, librtmp, gstreamer, nginx-rtmp, srs, zlmediakit, srs-bench");
    insta::assert_snapshot!(refusal(&asked(Until::Play, "obs")), @"obs does not play, as --until play asks; those that do are shakedown, ffmpeg-play, mpv, vlc, librtmp, librtmp-swf, nginx-rtmp, srs, zlmediakit, srs-bench");
    insta::assert_snapshot!(refusal(&asked(Until::Reply, "obs,half-c1")), @"half-c1 says nothing after the handshake and clients asks for --until reply; give it a population of its own in a scenario, or drop one of them");
    let streams = Request { stream: Some("a{id}".parse().unwrap()), ..until(Until::Handshake) };
    insta::assert_snapshot!(refusal(&streams), @"--stream names streams and the attempts of clients end before any; add --until publish, or drop it");
    insta::assert_snapshot!(refusal(&until(Until::Play)), @"clients plays and does not say which stream; name one that is published with --stream, or in the target's URL");
}

#[test]
fn a_name_for_all_is_for_one_publisher() {
    let url = Request { until: Some(Until::Publish), ..to(&["rtmp://10.0.0.5/live/S3CRET"]) };
    insta::assert_snapshot!(refusal(&url), @"the target's URL gives all 64 connections of clients the same stream, and servers take only the first publisher of a name; write {id} or {slot} into it, give --stream load-{id}, or -c 1");
    assert_eq!(streams(&Request { concurrency: Some(1), ..url.clone() }), ["***"]);
    assert_eq!(streams(&Request { until: Some(Until::Play), ..url.clone() }), ["***"], "all play the same");
    let asked = Request { stream: Some("S3CRET".parse().unwrap()), ..until(Until::Publish) };
    insta::assert_snapshot!(resolved(&asked).notes.join("\n"), @"all 64 connections of clients publish the same stream: servers take the first and refuse the others as name_taken; {id} or {slot} in --stream gives each its own");
    let long = format!("{}-{{source}}", "x".repeat(16_777_110));
    let sources = vec!["10.0.1.2".parse().unwrap()];
    insta::assert_snapshot!(refusal(&Request { stream: Some(long.parse().unwrap()), sources, ..until(Until::Publish) }), @"a stream of clients may have a name of 16777119 bytes; at most 16777115 can be sent, shorten --stream");
}

#[test]
fn publishers_that_stay_send_media() {
    let bitrate = Some(BitRate { bits_per_second: 2_500_000 });
    let publish = Request { hold: held_for(30), bitrate, ..until(Until::Publish) };
    let media = |clients_percent| Some(MediaPlan { source: MediaSource::BitsPerSecond(2_500_000), clients_percent });
    assert_eq!(plan(&publish).media, media(100));
    assert_eq!(plan(&Request { media_clients: Some(Percent(10)), ..publish.clone() }).media, media(10));
    let refused = |request: Request| refusal(&request);
    insta::assert_snapshot!(refused(Request { media: Some("a.flv".into()), ..publish.clone() }), @"--media and --bitrate contradict each other: a file has its own rate; drop one of them");
    insta::assert_snapshot!(refused(Request { until: None, ..publish.clone() }), @"--bitrate is for publishers, and there are none; add --until publish, or drop it");
    insta::assert_snapshot!(refused(Request { hold: None, ..publish.clone() }), @"--bitrate is for publishers, and none of them stays; add --hold 30s, or drop it");
    insta::assert_snapshot!(refused(Request { bitrate: Some(BitRate { bits_per_second: 5 }), ..publish.clone() }), @"5 bit/s: a synthetic encoder makes 16 kbit/s to 200 Mbit/s");
    insta::assert_snapshot!(refused(Request { bitrate: None, media: Some("/none.flv".into()), ..publish }), @"cannot read /none.flv: No such file or directory (os error 2); give --media an FLV file");
    insta::assert_snapshot!(refused(Request { media_clients: Some(Percent(10)), ..closed() }), @"--media-clients is the part of the publishers that send audio and video, and none are given; add --media or --bitrate");
}

#[test]
fn held_connections_may_be_checked() {
    let check = |seconds| Request { hold_check: secs(seconds), hold: held_for(600), ..closed() };
    assert_eq!(plan(&check(30)).hold_check_ns, Some(30_000_000_000));
    insta::assert_snapshot!(refusal(&check(0)), @"--hold-check is a silence of 1s to 32767s, which the kernel counts in seconds; give it 30s");
    insta::assert_snapshot!(refusal(&check(40_000)), @"--hold-check is a silence of 1s to 32767s, which the kernel counts in seconds; give it 30s");
    insta::assert_snapshot!(refusal(&Request { hold: None, ..check(30) }), @"--hold-check is about held connections and none are; add --hold 5m");
    assert!(plan(&Request { enhanced_rtmp: Some(true), ..until(Until::Connect) }).enhanced_rtmp);
    insta::assert_snapshot!(refusal(&Request { enhanced_rtmp: Some(true), ..closed() }), @"--enhanced-rtmp offers codecs in the command connect, which nobody sends; add --until connect");
}

#[test]
fn tls_is_for_targets_that_want_it() {
    let rtmps = |tls: TlsRequest| Request { tls, ..to(&["rtmps://10.0.0.5/live"]) };
    let insecure = TlsRequest { insecure: Some(true), ..TlsRequest::default() };
    let secured = plan(&rtmps(insecure.clone()));
    assert_eq!(secured.tls, Some(TlsPlan { insecure: true, ..TlsPlan::default() }));
    let target = &secured.targets[0];
    assert!(target.tls && target.address.port() == 443 && target.tc_url == "rtmps://10.0.0.5:443/live", "{target:?}");
    insta::assert_snapshot!(refusal(&Request { tls: insecure.clone(), ..closed() }), @"TLS is asked for and no target uses it; write rtmps:// for its target, or drop it");
    let both = TlsRequest { ca: Some("ca.pem".into()), ..insecure.clone() };
    insta::assert_snapshot!(refusal(&rtmps(both)), @"TLS cannot both check certificates by an authority (ca) and accept any (insecure); drop one of them");
    let missing = TlsRequest { ca: Some("/none.pem".into()), ..TlsRequest::default() };
    insta::assert_snapshot!(refusal(&rtmps(missing)), @"cannot read the certificates of authorities from /none.pem: No such file or directory (os error 2); it must be a readable PEM file");
    insta::assert_snapshot!(refusal(&Request { engine: Some(Engine::Sim), ..rtmps(insecure) }), @"rtmps://10.0.0.5/live is a target with TLS, which the simulated network does not speak; write rtmp://");
}

#[test]
fn refusals_have_their_place_in_a_file() {
    let refused = |text: &str| {
        let request = read(text, std::path::Path::new("evening.toml")).unwrap();
        let from_file = Request {
            targets: if request.targets.is_empty() { closed().targets } else { request.targets.clone() },
            ..request
        };
        refusal(&from_file)
    };
    let stages = "stages = [{ rate = 5, for = \"9s\" }]";
    insta::assert_snapshot!(refused(&format!("{stages}\nuntil = \"publish\"\nclients = \"vlc\"")), @r#"evening.toml:3:11: vlc does not publish, as until = "publish" asks; those that do are shakedown, ffmpeg, obs, librtmp, gstreamer, nginx-rtmp, srs, zlmediakit, srs-bench"#);
    insta::assert_snapshot!(refused(&format!("{stages}\nstream = \"a{{id}}\"")), @r#"evening.toml:2:10: 'stream' names streams and the attempts of clients end before any; add until = "publish", or drop it"#);
    insta::assert_snapshot!(refused(&format!("{stages}\nuntil = \"publish\"\nstream_keys = \"none.csv\"")), @"evening.toml:3:15: cannot read the stream keys in none.csv: No such file or directory (os error 2); check the path");
    insta::assert_snapshot!(refused(&format!("{stages}\nhold_check = \"30s\"")), @r#"evening.toml:2:14: 'hold_check' is about held connections and none are; add hold = "5m""#);
    insta::assert_snapshot!(refused(&format!("{stages}\nbitrate = \"2.5M\"")), @r#"evening.toml:2:11: 'bitrate' is for publishers, and there are none; add until = "publish", or drop it"#);
    insta::assert_snapshot!(refused(&format!("{stages}\n[tls]\nresume = true")), @"evening.toml:2:1: TLS is asked for and no target uses it; write rtmps:// for its target, or drop it");
    insta::assert_snapshot!(refused(&format!("{stages}\ntargets = \"rtmps://10.0.0.5/live\"\n[tls]\nca = \"none.pem\"")), @"evening.toml:3:1: cannot read the certificates of authorities from none.pem: No such file or directory (os error 2); it must be a readable PEM file");
}
