//! `shakedown bench`: suites of targets in turn.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use serde_json::Value;
use shakedown::bench::Suite;
use shakedown::protocol::C0C1_SIZE;

use super::command::{ended_in, prepared};
use super::hostile::until_closed;
use crate::support::{PATIENCE, Server, scripted_peer};

/// Writes a suite of these targets on the simulated network, without pauses.
fn suite(folder: &Path, head: &str, targets: &[(&str, &str)]) {
    let targets: String =
        targets.iter().map(|(name, rest)| format!("[[target]]\nname = \"{name}\"\n{rest}\n")).collect();
    fs::write(folder.join("suite.toml"), format!("pause = \"0s\"\n{head}\n{targets}")).unwrap();
}

const LOAD: &str = "flags = \"--engine sim -c 8 -n 200\"\nrounds = 2\ncontrol = false";

#[test]
fn targets_are_measured_in_turn_and_end_in_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("noisy.conf"), "workers 8;\n").unwrap();
    suite(
        path,
        &format!("{LOAD}\nmode = [\"complex\", \"simple\"]"),
        &[
            ("noisy", "url = \"rtmp://noisy.sim/live\"\nlabels = { version = \"1.0\" }\nattach = [\"noisy.conf\"]"),
            ("slow", "url = \"rtmp://slow.sim/live\""),
        ],
    );
    let bench = ended_in(path, "bench suite.toml -o results --json");
    assert_eq!(bench.code, Some(0), "{bench:#?}");
    let order: Vec<&str> = bench
        .stderr
        .lines()
        .skip(1)
        .filter(|line| !line.contains(": measured for "))
        .filter_map(|line| line.split(':').next())
        .collect();
    let expected = [
        "1/8 noisy complex",
        "2/8 slow complex",
        "3/8 noisy simple",
        "4/8 slow simple",
        "5/8 noisy complex",
        "6/8 slow complex",
        "7/8 noisy simple",
        "8/8 slow simple",
    ];
    assert_eq!(order, expected, "{bench:#?}");

    let result = bench.json();
    assert_eq!(result["schema"], "shakedown.bench/1");
    assert_eq!(result["rows"].as_array().map(Vec::len), Some(4));
    let row = &result["rows"][0];
    assert_eq!((row["target"].as_str(), row["mode"].as_str()), (Some("noisy"), Some("complex")));
    let command = "shakedown run rtmp://noisy.sim/live --engine sim -c 8 -n 200 --mode complex";
    assert_eq!(row["command"], command);
    assert_eq!(row["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(row["metrics"][0]["metric"], "rate");
    assert!(result["settings"]["net.core.somaxconn"].is_string(), "{result}");
    assert_eq!(result["targets"][0]["attachments"]["noisy.conf"], "workers 8;\n");

    let mut files: Vec<_> = fs::read_dir(path.join("results"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!((files.len(), files[0].as_str()), (11, "001-noisy-complex-round-1.json"), "{files:?}");
    let first: Value =
        serde_json::from_str(&fs::read_to_string(path.join("results").join(&files[0])).unwrap()).unwrap();
    assert_eq!(
        (first["schema"].as_str(), first["labels"]["version"].as_str()),
        (Some("shakedown.result/2"), Some("1.0"))
    );
    let page = fs::read_to_string(path.join("results/bench.md")).unwrap();
    for part in ["## Targets", "version = 1.0", "net.core.somaxconn", command, "## All runs", "workers 8;"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn a_target_that_fails_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    suite(
        folder.path(),
        LOAD,
        &[
            ("refusing", "url = \"rtmp://refuse.sim/live\""),
            ("unknown", "url = \"rtmp://unknown.sim/live\""),
            ("serving", "url = \"rtmp://serve.sim/live\""),
        ],
    );
    let bench = ended_in(folder.path(), "bench suite.toml");
    assert_eq!(bench.code, Some(1), "a row has no result: {bench:#?}");
    let table = |name: &str| bench.stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(table("refusing").contains("2/2") && table("refusing").contains("100 %"), "{bench:#?}");
    assert!(table("serving").contains("2/2"), "{bench:#?}");
    assert!(table("unknown").contains("0/2"), "{bench:#?}");
    assert!(bench.stdout.contains("unknown: ") && bench.stdout.contains("in round 1, 2"), "{bench:#?}");
}

#[test]
fn the_control_is_a_row_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path(), "flags = \"-c 2 -n 20\"\nrounds = 1", &[("refusing", "url = \"127.0.0.1:1\"")]);
    let bench = ended_in(folder.path(), "bench suite.toml --json -q");
    assert_eq!((bench.code, bench.stderr.as_str()), (Some(0), ""), "{bench:#?}");
    let result = bench.json();
    let control = &result["rows"][1];
    assert_eq!(control["target"], "built-in sink (control)");
    assert_eq!(control["command"], "shakedown run -c 2 -n 20");
    assert_eq!(control["runs"][0]["exit_code"], 0);
    assert_eq!(result["rows"][0]["runs"][0]["remark"], "nothing completed: connect refused");
}

#[test]
fn what_cannot_be_carried_out_is_refused_before_the_first_measurement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    suite(path, "flags = \"--rats 5\"", &[("a", "url = \"h:1\"")]);
    ended_in(path, "bench suite.toml").assert_error(2, &["suite.toml", "'a'", "--rats"]);
    suite(path, "flags = \"--mode simple\"\nmode = [\"simple\"]", &[("a", "url = \"h:1\"")]);
    ended_in(path, "bench suite.toml").assert_error(2, &["--mode", "multiple times"]);
    suite(path, "", &[("a", "url = \"rtmp://h:99999/live/S3CRET\"")]);
    let refused = ended_in(path, "bench suite.toml");
    refused.assert_error(2, &["suite.toml"]);
    assert!(!refused.stderr.contains("S3CRET"), "{refused:#?}");
    suite(path, "", &[("a", "url = \"h:1\"\nattach = [\"missing.conf\"]")]);
    ended_in(path, "bench suite.toml").assert_error(2, &["cannot attach", "missing.conf"]);
    suite(path, "", &[("a", "url = \"127.0.0.1:1\""), ("b", "url = \"203.0.113.1:1935\"")]);
    ended_in(path, "bench suite.toml").assert_error(2, &["suite.toml", "'b'", "public", "--allow-target 203.0.113.1"]);
    // What a scenario allows is allowed: the next target is what is refused.
    let clients =
        "allow = [\"203.0.113.0/24\"]\n[[population]]\nname = \"clients\"\nstages = [{ rate = 5, for = \"1s\" }]\n";
    fs::write(path.join("clients.toml"), clients).unwrap();
    let allowed = ("a", "url = \"203.0.113.1:1935\"\nflags = \"clients.toml\"");
    suite(path, "", &[allowed, ("b", "url = \"127.0.0.1:1\"\nflags = \"--rats 5\"")]);
    ended_in(path, "bench suite.toml").assert_error(2, &["'b'", "--rats"]);
    suite(path, "round = 1", &[("a", "url = \"h:1\"")]);
    ended_in(path, "bench suite.toml").assert_error(2, &["suite.toml:2:1", "unknown field `round`"]);
    ended_in(path, "bench missing.toml").assert_error(2, &["cannot read missing.toml"]);
}

#[test]
fn an_interrupt_keeps_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (reach, reached) = channel();
    let silent = scripted_peer(move |mut stream| {
        if stream.read_exact(&mut [0; C0C1_SIZE]).is_ok() {
            let _test_is_over = reach.send(());
            until_closed(&mut stream);
        }
    });
    let silent_url = format!("url = \"{}\"\nflags = \"-c 1 -d 10m --timeout 50ms --keep-going\"", silent.address());
    suite(
        path,
        "rounds = 3\ncontrol = false",
        &[("done", "url = \"rtmp://serve.sim/live\"\nflags = \"--engine sim -n 20\""), ("silent", &silent_url)],
    );
    let stdout = fs::File::create(path.join("stdout")).unwrap();
    let mut bench =
        Server::start(prepared("bench suite.toml --json").current_dir(path).stdin(Stdio::null()).stdout(stdout));
    bench.wait_until(|line| line.starts_with("1/6 done")).expect("nothing listens");
    // It listens to signals before it connects.
    reached.recv_timeout(PATIENCE).expect("the second target is measured");
    bench.signal(Signal::INT);
    let (status, printed) = bench.finish();
    assert_eq!(status.code(), Some(130), "{printed:#?}");
    let result: Value = serde_json::from_str(&fs::read_to_string(path.join("stdout")).unwrap()).unwrap();
    assert_eq!(result["interrupted"], "interrupt");
    let runs = |row: usize| result["rows"][row]["runs"].as_array().unwrap().clone();
    assert_eq!((runs(0).len(), runs(1).len()), (1, 1), "{result}");
    assert_eq!(runs(0)[0]["exit_code"], 0);
    assert_eq!(runs(1)[0]["remark"], "interrupted");
}

#[test]
fn the_suite_in_the_documentation_is_one() {
    let page = fs::read_to_string("docs/bench.md").expect("the page on suites");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let suite = Suite::parse(example, Path::new("docs/bench.md")).unwrap();
    assert_eq!((suite.targets.len(), suite.rounds, suite.variants().len()), (2, 5, 4));
}
