//! Sessions against captured ones of real clients; see `vectors/README.md`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use shakedown::protocol::session::{Course, ScriptOptions, SessionScript, SessionSpec};
use shakedown::protocol::{C0C1_SIZE, C2_SIZE, ClientProfile, Provenance};

/// What nginx-rtmp announces in all captures; it gives out message stream 1.
const WINDOW: u32 = 5_000_000;
const MESSAGE_STREAM: u32 = 1;

/// An entry of the manifest.
#[derive(Deserialize)]
struct Capture {
    name: String,
    app: String,
    tc_url: String,
    stream: String,
    tcp_nodelay: bool,
    writes: Vec<usize>,
}

impl Capture {
    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(vectors().join(&self.name).join(file)).unwrap()
    }
}

#[test]
fn every_capture_is_in_the_manifest_and_belongs_to_a_client() {
    let captures = captures();
    let folders = std::fs::read_dir(vectors()).unwrap().map(|entry| entry.unwrap().file_name());
    let folders = folders.filter(|name| name.to_str().unwrap().starts_with("session__"));
    assert_eq!(captures.len(), folders.count());
    for capture in &captures {
        let owners = recorded().into_iter().filter(|(_, _, _, name)| *name == capture.name);
        assert_eq!(owners.count(), 1, "{}", capture.name);
    }
}

#[test]
fn recorded_clients_say_what_was_recorded_byte_for_byte() {
    let captures = captures();
    for (client, spec, course, name) in recorded() {
        let capture = captures.iter().find(|capture| capture.name == name).unwrap();
        let script = SessionScript::new(&spec, &capture.app, &capture.tc_url, course, ScriptOptions::default());
        let stream = capture.stream.as_bytes();
        let mut out = vec![0; script.max_len(stream.len())];

        let mut said = Vec::new();
        let length = script.write_connect(&mut out);
        said.extend_from_slice(&out[..length]);
        let length = script.write_after_connect(stream, WINDOW, &mut out);
        said.extend_from_slice(&out[..length]);
        let length = script.write_start(stream, MESSAGE_STREAM, &mut out);
        said.extend_from_slice(&out[..length]);
        let recorded = capture.read("client.bin");
        assert_eq!(recorded[..said.len().min(recorded.len())], said, "{client}: {name}");
        if course == Course::Play {
            assert_eq!(recorded.len(), said.len(), "{client}: a player says nothing more");
        }

        let length = script.write_goodbye(stream, MESSAGE_STREAM, &mut out);
        assert_eq!(out[..length], capture.read("goodbye.bin"), "{client}: {name}");
    }
}

#[test]
fn recorded_clients_write_and_set_options_as_recorded() {
    let captures = captures();
    for (client, spec, _, name) in recorded() {
        let capture = captures.iter().find(|capture| capture.name == name).unwrap();
        assert_eq!(spec.nodelay, capture.tcp_nodelay, "{client}: {name}");
        // C2 ends a write where connect leaves apart.
        let handshake = C0C1_SIZE + C2_SIZE;
        let ends = capture.writes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        assert_eq!(spec.connect_apart, ends.into_iter().any(|end| end == handshake), "{client}: {name}");
        let client_bytes = capture.read("client.bin").len();
        assert_eq!(capture.writes.iter().sum::<usize>(), handshake + client_bytes, "{client}: {name}");
    }
}

/// Clients that were recorded, and the folders.
fn recorded() -> Vec<(ClientProfile, SessionSpec, Course, &'static str)> {
    let mut recorded = Vec::new();
    for client in ClientProfile::ALL {
        let Some(spec) = client.session() else { continue };
        for course in [Course::Publish, Course::Play] {
            let Some(dialogue) = spec.dialogue(course) else { continue };
            let Provenance::Captured(folders) = dialogue.provenance else { continue };
            recorded.extend(folders.iter().map(|folder| (client, spec, course, *folder)));
        }
    }
    recorded
}

fn captures() -> Vec<Capture> {
    let manifest = std::fs::read(vectors().join("sessions.json")).unwrap();
    serde_json::from_slice(&manifest).unwrap()
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}
