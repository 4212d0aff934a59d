//! What `-o` does to what is there: links, FIFOs, devices, files of others, full disks, readers that never read.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;

use super::command::{Ended, ended_in, finished, prepared};
use super::files::names;
use super::limits::with_limit;
use super::signals::Peer;
use crate::support::Server;

/// A run that is over at once, and a capacity search that is.
const RUN: &str = "run --engine sim --seed 1 rtmp://serve.sim/live -n 10";
const CAPACITY: &str = "capacity --engine sim --seed 1 rtmp://slow.sim/live --need 10/s --budget 2m";

const MERGE: &str = "merge part0.json part1.json";

/// Makes the results that [`MERGE`] merges.
fn make_parts(folder: &Path) {
    for share in 0..2 {
        let made = ended_in(folder, &format!("{RUN} -R 10 --share {share}/2 -o part{share}.json"));
        assert_eq!(made.code, Some(0), "{made:#?}");
    }
}

fn fifo(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a FIFO can be made");
    path
}

fn schema(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value["schema"].clone()
}

#[test]
fn a_fifo_gets_the_file() {
    for (words, kind) in [(RUN, "shakedown.result/2"), (CAPACITY, "shakedown.capacity/2")] {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path());
        let reader = thread::spawn(move || fs::read_to_string(path).unwrap());
        let ended = ended_in(folder.path(), &format!("{words} -o fifo"));
        assert!(matches!(ended.code, Some(0 | 4)), "{ended:#?}");
        assert_eq!(schema(&reader.join().unwrap()), kind);
        assert!(!ended.stdout.is_empty() && names(folder.path()) == ["fifo"], "{ended:#?}");
    }
}

#[test]
fn a_reader_is_waited_for_until_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    fifo(folder.path());
    let mut run = Server::start(
        prepared(&format!("{RUN} -o fifo")).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()),
    );
    run.wait_until(|line| line == "waiting for somebody to read fifo").expect("it binds no port");
    run.signal(Signal::TERM);
    let (status, _) = run.finish();
    assert!(!status.success(), "{status}");
}

#[test]
fn a_reader_that_does_not_read_on_is_left_at_a_signal() {
    // More than a pipe holds.
    let long = "x".repeat(1 << 20);
    for engine in ["sim", "epoll"] {
        for (signal, code) in [(Signal::INT, 130), (Signal::HUP, 129)] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("long.txt"), &long).unwrap();
            let path = fifo(folder.path());
            let words = format!("run --engine {engine} -n 1 -q --attach long.txt -o fifo");
            let mut command = prepared(&words);
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
            let run = Server::start(&mut command);
            let mut reader = File::open(path).unwrap();
            reader.read_exact(&mut [0]).expect("the result begins");
            run.signal(signal);
            let (status, _) = run.finish();
            assert_eq!(status.code(), Some(code), "{engine}");
        }
    }
}

#[test]
fn links_are_followed_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("results")).unwrap();
    symlink("results/today.json", folder.path().join("link")).unwrap();
    make_parts(folder.path());
    let rendered = ["report part0.json --json", "compare a=part0.json b=part0.json --json"];
    for words in [RUN, CAPACITY, MERGE].into_iter().chain(rendered) {
        let ended = ended_in(folder.path(), &format!("{words} -o link"));
        assert!(matches!(ended.code, Some(0 | 4)), "{ended:#?}");
        assert!(folder.path().join("link").is_symlink(), "{words}");
        assert_eq!(names(&folder.path().join("results")), ["today.json"], "{words}");
    }
}

#[test]
fn what_lies_beside_the_file_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("r.json.partial"), "somebody's").unwrap();
    assert_eq!(ended_in(folder.path(), &format!("{RUN} -o r.json")).code, Some(0));
    assert_eq!(fs::read_to_string(folder.path().join("r.json.partial")).unwrap(), "somebody's");
    assert_eq!(names(folder.path()), ["r.json", "r.json.partial"]);
}

#[test]
fn two_runs_with_one_file_keep_both_results() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::silent();
    let mut run = peer.start(folder.path(), "");
    peer.wait_for(2);
    assert_eq!(ended_in(folder.path(), &format!("{RUN} -o result.json")).code, Some(0));
    run.signal(Signal::INT);
    // Two signals at once would be one.
    run.wait_until(|line| line.starts_with("interrupted")).expect("it needs no port");
    run.signal(Signal::INT);
    let (status, told) = run.finish();
    assert_eq!(status.code(), Some(130), "{told:#?}");
    assert!(told.iter().any(|line| line.ends_with("this result is in result-2.json")), "{told:#?}");
    let due = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["attempts"]["due"].clone()
    };
    assert_eq!((due("result.json"), due("result-2.json")), (10.into(), 2.into()));
}

#[test]
fn files_are_saved_before_anything_is_printed() {
    for words in [format!("{RUN} -q"), format!("{CAPACITY} -q"), MERGE.to_owned()] {
        let folder = tempfile::tempdir().unwrap();
        make_parts(folder.path());
        let mut command = prepared(&format!("{words} -o saved.json"));
        command.current_dir(folder.path()).stdout(File::options().write(true).open("/dev/full").unwrap());
        finished_off_stdout(command).assert_error(1, &["cannot write to stdout", "No space left"]);
        let saved = fs::read_to_string(folder.path().join("saved.json")).unwrap();
        assert!(schema(&saved).as_str().is_some_and(|schema| schema.starts_with("shakedown.")), "{words}");
    }
}

fn finished_off_stdout(mut command: Command) -> Ended {
    command.output().expect("it starts").into()
}

#[test]
fn a_limit_on_file_sizes_loses_no_result() {
    for engine in ["sim", "epoll", "io_uring"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = prepared(&format!("run --engine {engine} -n 10 -q -o result.json"));
        command.current_dir(folder.path()).env("TMPDIR", folder.path());
        let ended = finished(with_limit(command, libc::RLIMIT_FSIZE, 1 << 10));
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        assert!(ended.stdout.starts_with("target "), "{ended:#?}");
        for part in ["cannot write result.json: File too large", "what stdout has is all"] {
            assert!(ended.stderr.contains(part), "{ended:#?}");
        }
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn a_result_that_cannot_be_written_is_kept_elsewhere() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for (words, stdout) in [("-o /dev/full", None), ("--json", Some(full())), ("-o -", Some(full()))] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = prepared(&format!("{RUN} -q {words}"));
        command.env("TMPDIR", folder.path());
        let ended = match stdout {
            Some(stdout) => {
                command.stdout(stdout);
                finished_off_stdout(command)
            }
            None => finished(command),
        };
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        let [kept] = &names(folder.path())[..] else { panic!("nothing is kept: {ended:#?}") };
        assert!(ended.stderr.contains(kept.as_str()) && ended.stderr.contains("No space left"), "{ended:#?}");
        assert_eq!(schema(&fs::read_to_string(folder.path().join(kept)).unwrap()), "shakedown.result/2");
    }
}
