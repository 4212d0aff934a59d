//! What others wrote (files, names, words of a command line) neither acts upon a terminal nor takes memory.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::command::{Ended, ended_in, finished, prepared};

/// What a terminal would act upon: an escape sequence, a C1 control, an override of direction, a character without
/// width, a line end.
const HOSTILE: &str = "a\u{1b}[2J\u{9b}31mb\u{202e}c\u{200b}d\nverdict    pass";

fn is_seen(c: char) -> bool {
    c == '\n' || !(c.is_control() || matches!(c, '\u{200b}' | '\u{202e}'))
}

/// Saves a run of the simulated network in `folder`, and the same with edits.
fn saved(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let run = ended_in(folder, "run --engine sim --seed 1 rtmp://refuse.sim/live -R 100 -d 2s -q -o run.json");
    assert_eq!(run.code, Some(5), "{run:#?}");
    let mut result = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    edit(&mut result);
    fs::write(folder.join("edited.json"), result.to_string()).unwrap();
}

fn names(result: &mut Value) {
    for place in ["/plan/targets/0/name", "/failures/0/detail", "/failures/0/advice", "/environment/cpu_model"] {
        *result.pointer_mut(place).unwrap() = HOSTILE.into();
    }
    result["labels"] = json!({ HOSTILE: HOSTILE });
    result["events"] = json!([{ "t_s": 1.0, "code": HOSTILE, "text": HOSTILE }]);
    result["failures"][0]["reasons"] = json!([{ "text": HOSTILE, "count": 1 }]);
    result["generator"]["findings"] =
        json!([{ "code": "cpu_steal", "severity": "warning", "message": HOSTILE, "remedy": HOSTILE }]);
}

#[test]
fn texts_of_a_file_are_only_seen() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), names);
    for format in ["text", "html", "md", "csv"] {
        let report = ended_in(folder.path(), &format!("report edited.json --format {format}"));
        // Markdown parts mentions by a character without width.
        let text = report.stdout.replace("@\u{2060}", "@");
        assert!(text.chars().all(is_seen), "{format}: {text:?}");
        // In HTML a line end is a blank like any other.
        let forged = format != "html" && text.lines().any(|line| line.starts_with("verdict    pass"));
        assert!(!forged, "{format}: {text}");
        assert_eq!(report.stderr, "", "{format}");
    }
    let text = ended_in(folder.path(), "report edited.json").stdout;
    assert!(text.contains(r"a\u{1b}[2J\u{9b}31mb\u{202e}c\u{200b}d verdict pass"), "{text}");
}

#[test]
fn colours_are_the_reports_own() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), names);
    let colored = ended_in(folder.path(), "report edited.json --color always").stdout;
    assert!(colored.contains("\u{1b}[1m"), "{colored}");
    let own: String = colored.split('\u{1b}').skip(1).filter(|rest| !rest.starts_with('[')).collect();
    assert_eq!(own, "");
    assert!(!colored.contains("\u{1b}[2J"), "{colored:?}");
}

#[test]
fn json_keeps_texts_exactly_and_shows_none_of_them_raw() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), names);
    let printed = ended_in(folder.path(), "report edited.json --json");
    assert!(printed.stdout.chars().all(is_seen), "{printed:#?}");
    assert_eq!(printed.json()["plan"]["targets"][0]["name"], HOSTILE);
    ended_in(folder.path(), "report edited.json --json -o again.json");
    let written = fs::read_to_string(folder.path().join("again.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), printed.json());
}

/// All of `words`, which may hold blanks.
fn with_words(words: &[&str]) -> Ended {
    let mut command = prepared("");
    command.args(words);
    finished(command)
}

#[test]
fn errors_show_words_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let suite = folder.path().join("suite.toml");
    fs::write(&suite, "measure = \"\\u001b[2J\\u202e\"\n[[target]]\nname = \"a\"\nurl = \"h:1\"\n").unwrap();
    for words in [
        &["run", HOSTILE][..],
        &[HOSTILE],
        &["run", "--engine", HOSTILE],
        &["run", "-R", HOSTILE],
        &["run", "--client", HOSTILE],
        &["report", HOSTILE],
        &["compare", HOSTILE, "b=c"],
        &["check", "scenario\u{1b}[2J.toml"],
        &["bench", suite.to_str().unwrap()],
    ] {
        let refused = with_words(words);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.chars().all(is_seen), "{words:?}: {:?}", refused.stderr);
        assert!(refused.stderr.contains(r"\u{1b}[2J"), "{words:?}: {}", refused.stderr);
    }
}

/// Lets `command` have so many bytes of address space.
fn with_address_space(mut command: Command, bytes: u64) -> Command {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: between fork and exec the closure makes one system call on a value of its own; it allocates nothing and
    // takes no lock.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_AS, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    command
}

#[test]
fn lengths_that_a_file_claims_are_not_allocated() {
    use base64::Engine as _;
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), |result| {
        let head = [0x1c, 0x84, 0x93, 0x13, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1];
        let range = [60_000_000_000_u64.to_be_bytes(), 1.0_f64.to_be_bytes()].concat();
        let inner = [&head[..], &range].concat();
        let mut deflated = flate2::read::ZlibEncoder::new(&inner[..], flate2::Compression::fast());
        let mut payload = vec![0x1c, 0x84, 0x93, 0x14, 0, 0, 0, 0];
        std::io::copy(&mut deflated, &mut payload).unwrap();
        let length = payload.len() as u32 - 8;
        payload[4..8].copy_from_slice(&length.to_be_bytes());
        let text = base64::engine::general_purpose::STANDARD.encode(payload);
        result["latency"]["response"]["hdr_v2_base64"] = text.into();
    });
    for words in ["report edited.json --format hgrm", "report edited.json", "merge edited.json -o merged.json"] {
        let mut command = prepared(words);
        command.current_dir(folder.path());
        finished(with_address_space(command, 1 << 30))
            .assert_error(2, &["edited.json", "hdr_v2_base64", "announces 4294967295 bytes, and 0 follow"]);
    }
}

#[test]
fn a_load_shorter_than_any_clock_tells_is_no_result() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), |result| result["window"]["duration_s"] = 1e-160.into());
    ended_in(folder.path(), "compare a=run.json,edited.json b=edited.json,run.json")
        .assert_error(2, &["edited.json cannot be a result", "window.duration_s is 1e-160"]);
}

#[test]
fn slots_without_memory_are_refused_before_they_are_made() {
    for gigabytes in [1, 4] {
        for words in ["run --engine sim -c 1000000 -n 1", "run --engine sim -R 1 -d 1s -c 1000000"] {
            let ended = finished(with_address_space(prepared(words), gigabytes << 30));
            ended.assert_error(1, &["1000000 slots need at least", "ulimit -v", "take fewer (-c)"]);
        }
    }
    let fits = finished(with_address_space(prepared("run --engine sim -c 1000 -n 1000 -q"), 1 << 30));
    assert_eq!(fits.code, Some(0), "{fits:#?}");
}
