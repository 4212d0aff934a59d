//! What becomes of held connections, as the report and the exit code tell it.

use super::command::{ended, simulated};
use super::scenario::with_file;

/// A report's words, whatever lines they stand in.
fn said(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn publishers_that_are_refused_while_they_are_held_miss_the_conditions() {
    let words = "rtmp://name-taken-late.sim/live -n 4 -c 4 --until publish --hold 3s";
    for (condition, code) in [("failed<1%", 3), ("lost<1%", 3), ("clients.lost<1%", 3), ("lost<=100%", 0)] {
        let ended = simulated(&format!("{words} --threshold {condition}"));
        assert_eq!(ended.code, Some(code), "{condition}: {ended:#?}");
        let report = said(&ended.stdout);
        for part in [
            "0 failed (0 %), 4 of 4 lost while held",
            "4 x hold name_taken (the target's,",
            "4 x \"NetStream.Publish.BadName: Stream already publishing\"",
        ] {
            assert!(report.contains(part), "'{part}' is not in {}", ended.stdout);
        }
    }
}

#[test]
fn a_request_to_reconnect_is_told() {
    let ended = simulated("rtmp://reconnect.sim/live -n 4 -c 4 --until publish --hold 3s");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let report = said(&ended.stdout);
    let words = "NetConnection.Connect.ReconnectRequest: this server is about to restart -> rtmp://serve.sim/live";
    for part in [&format!("announced 4 x \"{words}\""), "4 x hold redirected", &format!("4 x \"{words}\"")] {
        assert!(report.contains(part), "'{part}' is not in {}", ended.stdout);
    }
    assert!(!report.contains("deny publish"), "{report}");
}

#[test]
fn media_that_never_leaves_is_told() {
    let ended = simulated(
        "rtmp://stops-reading.sim/live -n 2 -c 2 --until publish --hold 10s --bitrate 8M --threshold stalled<1%",
    );
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    let report = said(&ended.stdout);
    for part in ["never left; 2 of 2 publishers could not send for 2", "stalled<1% is missed: 100", "media_unsent"] {
        assert!(report.contains(part), "'{part}' is not in {}", ended.stdout);
    }
}

#[test]
fn conditions_on_what_nobody_holds_are_refused() {
    for (words, parts) in [
        ("--threshold lost<1%", &["no connection is held", "--hold"][..]),
        ("--threshold stalled<1% --hold 5s", &["no publisher is held", "--until publish"]),
        ("--threshold client:shakedown.unsent<1% --until publish --hold 5s", &["by population only"]),
        ("--threshold lost<1 --hold 5s", &["a share of the held connections is written as 1%"]),
        ("--drain --hold forever -d 1s", &["--drain waits for every hold", "--drain out"]),
    ] {
        ended(&format!("run --engine sim rtmp://serve.sim/live {words}")).assert_error(2, parts);
    }
}

#[test]
fn a_load_that_cuts_its_holds_says_so_before_it_begins() {
    let note = "note: connections are to be held 30s, and the load is over after 2s, which cuts most holds";
    let cut = simulated("rtmp://serve.sim/live -R 10 -d 2s --hold 30s");
    assert!(cut.stderr.contains(note), "{}", cut.stderr);
    assert!(
        said(&cut.stdout).contains("20 when the load ended; the end of the load cut their holds"),
        "{}",
        cut.stdout
    );
    let waits = simulated("rtmp://serve.sim/live -R 10 -d 2s --hold 30s --drain --json");
    assert!(!waits.stderr.contains("note:"), "{}", waits.stderr);
    assert_eq!(waits.json()["plan"]["drain"], true);
    assert!(waits.json()["timeline"].as_array().unwrap().len() > 30, "the run goes on to the last hold's end");

    let file = "targets = \"10.0.0.5:1935\"\nhold = \"30s\"\nstages = [{ rate = \"10/s\", for = \"2s\" }]\n";
    let checked = with_file(file, "check wrong.toml");
    assert!(checked.stderr.contains(note), "{}", checked.stderr);
    let drained = with_file(format!("drain = true\n{file}"), "check wrong.toml");
    assert_eq!(drained.stderr, "");
    assert!(drained.stdout.contains("waits until every hold is over"), "{}", drained.stdout);
}
