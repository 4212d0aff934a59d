//! What goes to stdout, what to stderr, and in which colours.

use std::fs::File;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::command::{BINARY, Ended, ended, prepared, simulated};
use crate::support::tool;

const ESCAPE: char = '\u{1b}';

#[test]
fn the_report_is_on_stdout_and_all_else_on_stderr() {
    let ended = simulated("rtmp://serve.sim/live -n 10");
    assert!(ended.stdout.starts_with("target     rtmp://serve.sim/live\n"), "{ended:#?}");
    assert!(
        ended.stderr.starts_with("target rtmp://serve.sim/live (10.255.0.1:1935), engine sim, seed 1\n"),
        "{ended:#?}"
    );
    assert!(ended.stderr.contains("at most 64 connections at once, 1 worker of 64 slots"), "{ended:#?}");
}

#[test]
fn addresses_peak_rate_and_peak_connections_are_said_first() {
    let ended = ended("run -R 1k -n 20 -c 40 -t 1 --source 127.0.0.2-127.0.0.4 --seed 5");
    // 4 where this machine is too busy to start attempts in time: what is said before is the same.
    assert!(matches!(ended.code, Some(0 | 4)), "{ended:#?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(
        lines[0].starts_with("target built-in sink (127.0.0.1:") && lines[0].ends_with("engine io_uring, seed 5"),
        "{ended:#?}"
    );
    assert_eq!(lines[1], "peak rate 1000/s, at most 40 connections at once, 1 worker of 40 slots, as shakedown");
    assert_eq!(lines[2], "3 local addresses, 127.0.0.2 to 127.0.0.4");
    assert!(ended.stdout.starts_with("target     the built-in sink, 127.0.0.1:"), "{ended:#?}");
}

#[test]
fn the_last_attempt_ends_a_run_however_many_workers_there_are() {
    let ended = ended("run -c 1 -n 50 -t 2 --json");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let result = ended.json();
    assert_eq!((&result["attempts"]["completed"], &result["attempts"]["due"]), (&50.into(), &50.into()));
    assert_eq!(result["workers"].as_array().map(Vec::len), Some(2));
    // The worker without a slot is not busy, however little time it had.
    let busy = |finding: &Value| finding["code"] == "worker_busy";
    assert!(!result["generator"]["findings"].as_array().unwrap().iter().any(busy), "{result}");
}

#[test]
fn quiet_is_silent_on_stderr() {
    for words in ["run --engine sim -n 10 -q", "run -n 10 -q", "run -n 10 --quiet --json"] {
        assert_eq!(ended(words).stderr, "", "{words}");
    }
}

#[test]
fn colours_are_as_asked_and_never_off_a_terminal() {
    let colored = |flags: &str| simulated(&format!("-n 10 -q {flags}")).stdout.contains(ESCAPE);
    assert!(colored("--color always"));
    assert!(!colored("--color never"));
    assert!(!colored("--color auto"));
    assert!(!colored(""));
    assert!(!colored("--color always --json"));
    let plain = simulated("-n 10 -q").stdout;
    assert_eq!(without_escapes(&simulated("-n 10 -q --color always").stdout), plain);
}

/// Text without its `ESC [ ... m` sequences.
fn without_escapes(text: &str) -> String {
    let mut pieces = text.split(ESCAPE);
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or("", |(_, rest)| rest))
}

/// The command on a terminal of its own: everything it shows there.
fn on_terminal(words: &str, no_color: Option<&str>) -> String {
    let mut script = Command::new(tool("script"));
    script.args(["-qec", &format!("stty cols 80 rows 24; {BINARY} {words}"), "/dev/null"]).env_remove("NO_COLOR");
    script.env("TERM", "xterm").stdin(std::process::Stdio::null());
    script.envs(no_color.map(|value| ("NO_COLOR", value)));
    let Output { status, stdout, .. } = script.output().expect("script starts");
    assert!(status.success(), "{words}");
    String::from_utf8(stdout).expect("UTF-8")
}

#[test]
fn a_terminal_gets_colours_unless_no_color_is_set() {
    let colored =
        |no_color, flags| on_terminal(&format!("run --engine sim -n 10 -q {flags}"), no_color).contains(ESCAPE);
    assert!(colored(None, ""));
    assert!(colored(Some(""), ""), "an empty NO_COLOR is none");
    assert!(!colored(Some("1"), ""));
    assert!(colored(Some("1"), "--color always"));
    assert!(!colored(None, "--color never"));
}

#[test]
fn a_terminal_gets_a_progress_bar_which_is_gone_in_the_end() {
    let shown = on_terminal("run -d 300ms -c 4 --color never", None);
    assert!(shown.contains("s of 300ms") && shown.contains("completed"), "{shown}");
    // Erased before the report: cursor to the line's start, line cleared.
    let (bar, report) = shown.split_once("target     ").expect("the report follows");
    assert!(bar.ends_with("\r\u{1b}[2K") || bar.ends_with("\u{1b}[2K\r") || bar.ends_with("\u{1b}[2K"), "{bar:?}");
    assert!(!report.contains("] "), "{report:?}");
    for flag in ["-q", "--no-progress"] {
        let without = on_terminal(&format!("run -d 100ms -c 4 --color never {flag}"), None);
        assert!(!without.contains(" of 100ms  "), "{flag}: {without}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let file = file.to_str().unwrap();
    assert_eq!(simulated(&format!("-n 10 -q -o {file}")).code, Some(0));
    let unreadable = |words: &str| -> Ended {
        // A pipe whose reading end is closed, as that of `| head` once it has enough.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        prepared(words).stdout(writer).output().expect("it starts").into()
    };
    for (words, code) in [
        ("run --engine sim -n 10 -q", 0),
        ("run --engine sim -n 10 -q --json", 0),
        ("run --engine sim -n 10 -q rtmp://refuse.sim/live", 5),
        ("run -n 10 -q", 0),
        (&format!("report {file}"), 0),
        ("completions bash", 0),
        ("man", 0),
        ("--help", 0),
        ("run --help", 0),
        ("--version", 0),
    ] {
        let ended = unreadable(words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{words}");
    }
}

#[test]
fn a_reader_that_takes_the_first_line_gets_it() {
    let script = format!("{BINARY} run --engine sim -n 10 -q | head -1");
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "target     rtmp://serve.sim/live\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
    for words in ["run --engine sim -n 10 -q", "completions bash", "man"] {
        let ended: Ended = prepared(words).stdout(full()).output().expect("it starts").into();
        ended.assert_error(1, &["cannot write to stdout", "No space left"]);
    }
}

#[test]
fn a_load_begins_at_the_instant_that_was_asked() {
    let at = SystemTime::now() + Duration::from_millis(1_500);
    let asked = humantime::format_rfc3339_millis(at).to_string();
    let ended = ended(&format!("run -n 10 -c 4 --json --start-at {asked}"));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stderr.contains("the load begins in "), "{ended:#?}");
    let (result, late) = (ended.json(), "late_begin");
    let began = result["started_at"].as_str().expect("an instant");
    // A machine that needed longer to set up says so.
    let said = result["generator"]["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == late);
    assert!(began == asked || said && began > asked.as_str(), "{began}, not {asked}: {result}");
}

#[test]
fn off_a_terminal_a_line_says_now_and_then_how_far_it_is() {
    let told = |flags: &str| ended(&format!("run -d 1s -c 1 -t 1 {flags}")).stderr;
    let is_progress = |line: &str| line.contains("s of 1s") && line.contains("/s");
    let often = told("--progress-every 100ms");
    assert!(often.lines().any(is_progress), "{often}");
    for flags in ["--progress-every 1h", "--progress-every 100ms --no-progress", "--progress-every 100ms -q"] {
        let never = told(flags);
        assert!(!never.lines().any(is_progress), "{flags}: {never}");
    }
    ended("run --progress-every 0s").assert_error(2, &["100ms or more", "--no-progress"]);
}

#[test]
fn schemes_are_read_in_any_case() {
    for target in ["RTMP://serve.sim/live", "Rtmp://serve.sim:1935/live"] {
        let ended = ended(&format!("run --engine sim {target} -n 10 -q --json"));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert_eq!(ended.json()["plan"]["targets"][0]["host"], "serve.sim");
    }
}
