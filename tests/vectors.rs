//! The protocol against captured handshakes of real clients and servers; see `vectors/README.md`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use shakedown::base::{RandomStream, Seed, StreamPurpose};
use shakedown::protocol::{
    C0C1_SIZE, C2_SIZE, C2Verdict, Check, ClientClock, ClientHandshake, ClientProfile, ClientState, ClientTemplates,
    DigestAt, HandshakeMode, Negotiated, Provenance, S0S1_SIZE, S0S1S2_SIZE, S1Digest, ServerHandshake, ServerState,
    ServerTemplates, Violation, explain, likely_server,
};

/// Keys of the manifest that name a capture instead of explaining its bytes.
const NOT_EXPLAINED: [&str; 5] = ["name", "client", "server", "c0c1_segments", "s0s1s2_segments"];

#[test]
fn every_folder_is_in_the_manifest() {
    let captures = captures();
    let entries = std::fs::read_dir(vectors()).unwrap().map(|entry| entry.unwrap());
    // Those of sessions have a manifest of their own.
    let folders =
        entries.filter(|entry| entry.path().is_dir() && !entry.file_name().to_str().unwrap().starts_with("session__"));
    assert_eq!(captures.len(), folders.count());
    for capture in &captures {
        let sizes = (capture.c0c1.len(), capture.s0s1s2.len(), capture.c2.len());
        assert_eq!(sizes, (1537, 3073, 1536), "{}", capture.name);
    }
}

#[test]
fn explanations_agree_with_the_manifest() {
    for capture in captures() {
        let explained = explain(&capture.c0c1, &capture.s0s1s2, &capture.c2);
        let json = serde_json::to_value(&explained).unwrap();
        for (key, expected) in capture.manifest.iter().filter(|(key, _)| !NOT_EXPLAINED.contains(&key.as_str())) {
            assert_eq!(json.get(key), Some(expected), "{}: {key}", capture.name);
        }
        assert_eq!(explained.asked, Some(capture.asked()), "{}", capture.name);
        let negotiated = match capture.negotiated() {
            Negotiated::ComplexVerified => HandshakeMode::Complex,
            _ => HandshakeMode::Simple,
        };
        assert_eq!(explained.negotiated, Some(negotiated), "{}", capture.name);

        let with_tails = explain(
            &[&capture.c0c1, &b"tail"[..]].concat(),
            &[&capture.s0s1s2, &b"tail"[..]].concat(),
            &[&capture.c2, &b"tail"[..]].concat(),
        );
        assert_eq!(with_tails, explained, "{}", capture.name);
    }
}

#[test]
fn clients_take_captured_answers_in_any_segmentation() {
    let mut random = random();
    for capture in captures() {
        let answer = [&capture.s0s1s2[..], &[0xA5; 109]].concat();
        let templates = ClientTemplates::from_recorded(&capture.c0c1).unwrap();
        assert_eq!(templates.mode(), capture.asked(), "{}", capture.name);
        let mut segmentations = vec![vec![answer.len()], vec![1; answer.len()], capture.segments("s0s1s2_segments")];
        segmentations.extend((0..20).map(|_| random_segments(&mut random)));
        for segments in segmentations {
            let mut client = ClientHandshake::new(0, Check::Full);
            let mut end = 0;
            for size in segments.into_iter().chain([answer.len()]) {
                end = answer.len().min(end + size);
                let state = client.advance(&answer[..end], &templates).unwrap();
                let expected = match end {
                    0 => ClientState::AwaitingS0,
                    1..S0S1_SIZE => ClientState::AwaitingS1,
                    S0S1_SIZE..S0S1S2_SIZE => ClientState::AwaitingS2,
                    _ => ClientState::Done(capture.negotiated()),
                };
                assert_eq!(state, expected, "{} after {end} bytes", capture.name);
            }
            assert_eq!(client.s1_digest(), Some(capture.s1_digest()), "{}", capture.name);
        }
    }
}

#[test]
fn encrypted_rtmp_is_explained_but_not_served() {
    let capture = captures().into_iter().find(|capture| capture.name == "rtmpdump-rtmpe__srs").unwrap();
    let explained = explain(&capture.c0c1, &capture.s0s1s2, &capture.c2);
    assert_eq!((explained.version_byte, explained.s0_version_byte), (Some(6), Some(3)), "SRS answers in plain RTMP");
    let templates = ServerTemplates::sign(1, &mut random());
    let refused = ServerHandshake::new(0, true).advance(&capture.c0c1, &templates);
    assert_eq!(refused, Err(Violation::BadVersion { byte: 6 }));
}

#[test]
fn c2_for_a_captured_s1_is_right() {
    for capture in captures() {
        let answer = &capture.s0s1s2;
        let templates = ClientTemplates::from_recorded(&capture.c0c1).unwrap();
        let mut client = ClientHandshake::new(0, Check::Full);
        client.advance(answer, &templates).unwrap();
        let mut c2 = [0; C2_SIZE];
        client.write_c2(answer, &templates, 77, &mut c2);
        let explained = explain(&capture.c0c1, answer, &c2);
        let signed = capture.s1_digest() != S1Digest::Absent;
        assert_eq!(explained.c2_digest_verifies, Some(signed), "{}", capture.name);
        assert_eq!(explained.c2_random_part_is_s1, Some(!signed), "{}", capture.name);
    }
}

#[test]
fn servers_find_the_digests_of_captured_clients() {
    let templates = ServerTemplates::sign(1, &mut random());
    for capture in captures() {
        let c0c1 = [&[3], &capture.c0c1[1..]].concat();
        let mut server = ServerHandshake::new(0, true);
        assert_eq!(server.advance(&c0c1, &templates), Ok(ServerState::AwaitingC2), "{}", capture.name);
        assert_eq!(server.mode(), Some(capture.asked()), "{}", capture.name);

        let mut answer = [0; S0S1S2_SIZE];
        server.write_s0s1s2(&c0c1, &templates, &mut answer);
        let explained = explain(&c0c1, &answer, &[]);
        assert_eq!(explained.s1_digest_at, explained.c1_digest_at, "{}", capture.name);
        assert_eq!(explained.negotiated, explained.asked, "{}", capture.name);

        let stranger = [&c0c1, &capture.c2[..]].concat();
        let verdict = server.advance(&stranger, &templates);
        assert_eq!(verdict, Ok(ServerState::Done(C2Verdict::Invalid)), "{}: C2 answers another S1", capture.name);
    }
}

#[test]
fn the_server_of_a_capture_is_guessed() {
    for capture in captures() {
        let explained = explain(&capture.c0c1, &capture.s0s1s2, &capture.c2);
        let guess = likely_server(&explained, &capture.segments("s0s1s2_segments"));
        let server = capture.name.split_once("__").unwrap().1;
        let expected: &[&str] = match (server, capture.asked()) {
            ("nginx", _) => &["nginx-rtmp"],
            ("srs", HandshakeMode::Complex) => &["SRS"],
            // Both answer with the client's time.
            ("srs", HandshakeMode::Simple) => &["SRS", "xiu"],
            ("zlmediakit", HandshakeMode::Complex) => &["ZLMediaKit"],
            // Both follow the published specification to the letter.
            ("zlmediakit", HandshakeMode::Simple) => &["ZLMediaKit", "ffmpeg -listen"],
            ("xiu", _) => &["xiu"],
            ("rml_rtmp", _) => &["rml_rtmp"],
            ("ffmpeg-listen", _) => &["ffmpeg -listen"],
            // Neither signs; the network may have joined what ffmpeg wrote.
            ("pyrtmp", _) => &["pyrtmp", "ffmpeg -listen"],
            _ => panic!("no expectation for {server}"),
        };
        assert_eq!(guess, expected, "{}", capture.name);
    }
}

#[test]
fn segments_only_rank_and_exclude() {
    let capture = captures().into_iter().find(|capture| capture.name == "ffmpeg__nginx").unwrap();
    let explained = explain(&capture.c0c1, &capture.s0s1s2, &capture.c2);
    assert_eq!(likely_server(&explained, &[1537, 1536]), ["nginx-rtmp"]);
    assert_eq!(likely_server(&explained, &[1537, 1600]), ["nginx-rtmp"], "bytes after S2 do not count");
    assert_eq!(likely_server(&explained, &[3073]), ["lal", "nginx-rtmp"], "two writes may arrive as one");
    assert_eq!(likely_server(&explained, &[]), ["nginx-rtmp", "lal"]);
    assert_eq!(likely_server(&explained, &[1448, 1448, 177]), ["nginx-rtmp", "lal"], "cut by the network");
}

#[test]
fn profiles_open_as_their_captures_do() {
    for (profile, capture) in captured_profiles() {
        let templates = capture.templates_of(profile);
        assert_eq!(
            capture.segments("c0c1_segments")[0],
            templates.pacing().next_send(0, C0C1_SIZE),
            "{}",
            capture.name
        );
        let ours = explain(templates.c0c1(0), &[], &[]);
        let theirs = explain(&capture.c0c1, &[], &[]);
        assert_eq!(
            (ours.version_byte, &ours.c1_time_version, ours.c1_digest_at),
            (theirs.version_byte, &theirs.c1_time_version, theirs.c1_digest_at),
            "{}",
            capture.name
        );
        if profile.spec().filler.is_constant() {
            assert!(templates.c0c1(0) == capture.c0c1, "{}: C0C1 in every byte", capture.name);
        }
    }
}

#[test]
fn profiles_answer_a_captured_s1_as_their_captures_do() {
    for (profile, capture) in captured_profiles() {
        let templates = capture.templates_of(profile);
        let s0s1 = &capture.s0s1s2[..S0S1_SIZE];
        let mut client = ClientHandshake::new(0, Check::Full);
        assert_eq!(client.advance(s0s1, &templates), Ok(ClientState::AwaitingS2), "{}", capture.name);
        let read_at_ms = u32::from_be_bytes(capture.c2[4..8].try_into().unwrap());
        let mut c2 = [0; C2_SIZE];
        client.write_c2(s0s1, &templates, read_at_ms, &mut c2);

        let ours = explain(&capture.c0c1, s0s1, &c2);
        let theirs = explain(&capture.c0c1, s0s1, &capture.c2);
        assert_eq!(
            (ours.c2_digest_verifies, ours.c2_echoes_s1, ours.c2_random_part_is_s1),
            (theirs.c2_digest_verifies, theirs.c2_echoes_s1, theirs.c2_random_part_is_s1),
            "{}",
            capture.name
        );
        // nginx-rtmp's C2 begins with random bytes; all others can be foretold.
        if profile != ClientProfile::NginxRtmp {
            assert!(c2[..] == capture.c2[..], "{}: C2 in every byte", capture.name);
        }
    }
}

/// Every profile that was captured, with each of its captures.
fn captured_profiles() -> Vec<(ClientProfile, Capture)> {
    let captured = ClientProfile::ALL.into_iter().flat_map(|profile| match profile.provenance() {
        Provenance::Captured(names) => names.iter().map(|name| (profile, *name)).collect(),
        _ => Vec::new(),
    });
    captured
        .map(|(profile, name)| {
            let capture = captures().into_iter().find(|capture| capture.name == name);
            (profile, capture.unwrap_or_else(|| panic!("{profile}: no capture {name}")))
        })
        .collect()
}

/// One folder of `tests/vectors` and what the manifest says of it.
struct Capture {
    name: String,
    manifest: Map<String, Value>,
    c0c1: Vec<u8>,
    s0s1s2: Vec<u8>,
    c2: Vec<u8>,
}

impl Capture {
    fn asked(&self) -> HandshakeMode {
        if self.manifest["c1_digest_at"].is_null() { HandshakeMode::Simple } else { HandshakeMode::Complex }
    }

    fn negotiated(&self) -> Negotiated {
        match (self.asked(), &self.manifest["s2_digest_verifies"]) {
            (HandshakeMode::Complex, Value::Bool(true)) => Negotiated::ComplexVerified,
            (HandshakeMode::Complex, _) => Negotiated::Downgraded,
            (HandshakeMode::Simple, _) => Negotiated::Simple,
        }
    }

    /// What C2 is made from: nothing but an echo if the client asked for a simple handshake.
    fn s1_digest(&self) -> S1Digest {
        match (self.asked(), self.manifest["s1_digest_at"].as_str()) {
            (HandshakeMode::Simple, _) | (_, None) => S1Digest::Absent,
            (_, Some("first_half")) => S1Digest::At(DigestAt::FirstHalf),
            (_, Some("second_half")) => S1Digest::At(DigestAt::SecondHalf),
            (_, Some(at)) => panic!("{}: s1_digest_at is {at}", self.name),
        }
    }

    /// What `profile` sends when its clock shows this capture's time.
    fn templates_of(&self, profile: ClientProfile) -> ClientTemplates {
        let time = u32::from_be_bytes(self.c0c1[1..5].try_into().unwrap());
        let clock = ClientClock { uptime_ms: time, unix_s: time };
        ClientTemplates::of_client(&profile.spec(), clock, 4, &mut random())
    }

    fn segments(&self, key: &str) -> Vec<usize> {
        serde_json::from_value(self.manifest[key].clone()).unwrap()
    }
}

fn captures() -> Vec<Capture> {
    let manifest = std::fs::read_to_string(vectors().join("manifest.json")).unwrap();
    let entries: Vec<Map<String, Value>> = serde_json::from_str(&manifest).unwrap();
    let captures = entries.into_iter().map(|manifest| {
        let name = manifest["name"].as_str().unwrap().to_owned();
        let read = |part: &str| std::fs::read(vectors().join(&name).join(part)).unwrap();
        Capture { c0c1: read("c0c1.bin"), s0s1s2: read("s0s1s2.bin"), c2: read("c2.bin"), name: name.clone(), manifest }
    });
    captures.collect()
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn random() -> RandomStream {
    Seed::new(1).stream(StreamPurpose::Simulation, 0)
}

/// Cuts that fall anywhere in an answer.
fn random_segments(random: &mut RandomStream) -> Vec<usize> {
    use rand::RngExt;
    (0..6).map(|_| random.random_range(1..900)).collect()
}
