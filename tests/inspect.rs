//! `inspect` on recorded streams, and on captures of real clients and servers.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Capture, Nginx, NginxOptions, ffmpeg_publish, shakedown, tool};

#[test]
fn recorded_streams_have_the_facts_of_the_manifest() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let manifest = std::fs::read(vectors.join("manifest.json")).unwrap();
    let entries: Vec<serde_json::Map<String, Value>> = serde_json::from_slice(&manifest).unwrap();
    for entry in entries {
        let name = entry["name"].as_str().unwrap();
        let files = ["c0c1.bin", "s0s1s2.bin", "c2.bin"].map(|part| vectors.join(name).join(part));
        let told = handshakes(&files);
        assert_eq!(told.len(), 1, "{name}");
        // Names of the programs, and segments, which raw streams do not have.
        let unknown = ["name", "client", "server", "c0c1_segments", "s0s1s2_segments"];
        for (key, fact) in entry.iter().filter(|(key, _)| !unknown.contains(&key.as_str())) {
            assert_eq!(&told[0][key], fact, "{name}: {key}");
        }
        assert_eq!(told[0]["outcome"]["result"], "completed", "{name}");
        let asked = if entry["c1_digest_at"].is_null() { "simple" } else { "complex" };
        assert_eq!(told[0]["asked"], asked, "{name}");
    }
}

#[test]
fn our_own_load_and_ffmpeg_are_explained_from_captures() {
    let nginx = Nginx::start(NginxOptions::default());
    let port = nginx.address().port();
    let capture = Capture::start(port);
    let run = shakedown().args(["run", &nginx.url("x"), "-c", "2", "-n", "6", "-q"]).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let status = ffmpeg_publish(&nginx.url("x"), 1).status().expect("ffmpeg starts");
    assert!(status.success(), "{status}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pcap = folder.path().join("load.pcap");
    capture.save(&pcap);

    let told = handshakes(&[&pcap]);
    assert_eq!(told.len(), 7);
    for handshake in &told {
        assert_eq!(handshake["outcome"]["mode"], "complex_verified", "{handshake}");
        assert_eq!(handshake["likely_servers"][0], "nginx-rtmp", "{handshake}");
        assert_eq!(handshake["endpoints"]["server"], nginx.address().to_string());
        assert_eq!(handshake["c0c1_segments"], json!([1537]));
        for timing in ["connect_ns", "s0_ns", "s0s1_ns", "s2_ns", "c2_ns", "total_ns"] {
            assert!(handshake["timings"][timing].is_u64(), "{timing}: {handshake}");
        }
    }
    for ours in &told[..6] {
        assert_eq!(ours["c2_digest_verifies"], true);
        assert_eq!((&ours["ending"]["how"], &ours["ending"]["by"]), (&"rst".into(), &"client".into()));
    }
    assert_eq!((&told[6]["c1_digest_position"], &told[6]["c2_echoes_s1"]), (&494.into(), &true.into()));

    let pcapng = folder.path().join("load.pcapng");
    let mut convert = Command::new(tool("tshark"));
    convert.arg("-r").arg(&pcap).args(["-F", "pcapng", "-w"]).arg(&pcapng).stdin(Stdio::null());
    assert!(convert.output().expect("tshark starts").status.success());
    assert_eq!(handshakes(&[&pcapng]), told);
}

#[test]
fn clients_that_break_the_rules_are_explained_from_a_capture() {
    let nginx = Nginx::start(NginxOptions::default());
    let capture = Capture::start(nginx.address().port());
    let clients = "wrong-digest,half-c1,no-c2,wrong-c2,split-1536,close-after-c1";
    let options = ["-t", "1", "-c", "1", "-n", "6", "--timeout", "300ms", "--client", clients, "-q"];
    let run = shakedown().args(["run", &nginx.url("x")]).args(options).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let pcap = tempfile::NamedTempFile::new().expect("a temporary file");
    capture.save(pcap.path());

    let told = handshakes(&[pcap.path()]);
    let [wrong_digest, half_c1, no_c2, wrong_c2, split, left] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&wrong_digest["asked"], &wrong_digest["outcome"]["mode"]), (&"simple".into(), &"simple".into()));
    assert_eq!((&half_c1["outcome"]["missing"], &half_c1["outcome"]["received"]), (&"c0c1".into(), &769.into()));
    assert_eq!((&no_c2["outcome"]["missing"], &no_c2["outcome"]["received"]), (&"c2".into(), &0.into()));
    assert_eq!((&wrong_c2["c2_digest_verifies"], &wrong_c2["c2_echoes_s1"]), (&false.into(), &false.into()));
    assert_eq!((&split["c0c1_segments"], &split["c2_digest_verifies"]), (&json!([1536, 1]), &true.into()));
    for patient in &told[..5] {
        assert_eq!(patient["ending"], json!({"how": "rst", "by": "client"}), "{patient}");
    }
    // Where the answer arrives before this client closes, the kernel resets the connection: nobody read the answer.
    assert_eq!(left["ending"]["by"], "client", "{left}");
}

#[test]
fn connections_that_are_no_handshake_are_listed_with_what_they_look_like() {
    let nginx = Nginx::start(NginxOptions::default());
    let capture = Capture::start(nginx.address().port());
    let options = ["-t", "1", "-c", "1", "-n", "3", "--timeout", "300ms", "--client", "obs,tls,http", "-q"];
    let run = shakedown().args(["run", &nginx.url("x")]).args(options).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let pcap = tempfile::NamedTempFile::new().expect("a temporary file");
    capture.save(pcap.path());

    let json = shakedown().args(["inspect", "--json"]).arg(pcap.path()).output().unwrap();
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["handshakes"].as_array().unwrap().len(), 1);
    let looks: Vec<&Value> = told["others"].as_array().unwrap().iter().map(|other| &other["looks_like"]).collect();
    assert_eq!(looks, ["tls", "http"]);
    let text = shakedown().arg("inspect").arg(pcap.path()).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    for looks in ["no handshake, looks like TLS (16 03 01", "no handshake, looks like HTTP (47 45 54 20"] {
        assert!(text.contains(looks), "{text}");
    }
}

#[test]
fn files_that_cannot_be_explained_exit_with_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a writable temporary folder");
        path
    };
    let empty = write("empty.pcap", &[&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 12], &[1, 0, 0, 0]].concat());
    let cut = write("cut.pcap", &[&std::fs::read(&empty).unwrap()[..], &[0; 9]].concat());
    let text = write("text", b"text");
    let missing = folder.path().join("missing");
    for (files, says) in [
        (vec![&cut], "byte 24"),
        (vec![&text], "neither pcap nor pcapng"),
        (vec![&missing], "cannot read"),
        (vec![&empty, &text], "one at a time"),
        (vec![&text, &empty], "is a capture"),
    ] {
        let output = shakedown().arg("inspect").args(&files).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{files:?}: {stderr}");
        assert!(stderr.contains(says), "{files:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    let output = shakedown().args(["inspect", "--json"]).arg(&empty).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["handshakes"], &told["others"], &told["skipped"]["packets"]),
        (&json!([]), &json!([]), &json!(0))
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(["no RTMP handshake", "holds no packets"].iter().all(|part| stderr.contains(part)), "{output:?}");
}

fn handshakes(files: &[impl AsRef<Path>]) -> Vec<Value> {
    let files: Vec<PathBuf> = files.iter().map(|file| file.as_ref().to_owned()).collect();
    let output = shakedown().args(["inspect", "--json"]).args(&files).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["others"].is_array(), "{told}");
    serde_json::from_value(told["handshakes"].take()).unwrap()
}
