//! Result files: what `-o` leaves behind, and what `report` makes of it and of files that are none.

use std::fs;
use std::path::Path;

use super::command::{Ended, ended_in, finished, prepared};
use super::limits::with_descriptors;

/// Runs in `folder`, saves `result.json`.
fn saved(folder: &Path, words: &str) -> Ended {
    ended_in(folder, &format!("run --engine sim --seed 1 -o result.json {words}"))
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn report_says_what_the_run_said() {
    let folder = tempfile::tempdir().unwrap();
    for (words, code) in [
        ("rtmp://noisy.sim/live -R 1k -w 500ms -d 1s --hold 100ms", 0),
        ("rtmp://noisy.sim/live -R 100 -d 1s --threshold failed<1% --threshold rate>10M/s", 3),
        ("rtmp://no-ports.sim/live -R 100 -d 1s --hold 1s", 4),
        ("rtmp://slow.sim/live -d 1s --threshold service.p99<1s", 4),
        ("rtmp://refuse.sim/live rtmp://silent.sim/live -n 10 --timeout 100ms", 5),
    ] {
        let run = saved(folder.path(), words);
        let report = ended_in(folder.path(), "report result.json");
        assert_eq!((run.code, report.code), (Some(code), Some(code)), "{words}");
        assert_eq!(run.stdout, report.stdout, "{words}");
        assert_eq!(report.stderr, "");
    }
    assert_eq!(names(folder.path()), ["result.json"]);
}

#[test]
fn the_file_is_what_json_prints() {
    let folder = tempfile::tempdir().unwrap();
    let words = "rtmp://serve.sim/live -n 100 --label server=nginx --attach server.conf --threshold failed<1%";
    fs::write(folder.path().join("server.conf"), "worker_processes 1;\n").unwrap();
    let run = saved(folder.path(), &format!("{words} --json"));
    let file = fs::read_to_string(folder.path().join("result.json")).unwrap();
    assert_eq!(run.stdout, file);
    for flags in ["--json", "--format json"] {
        assert_eq!(ended_in(folder.path(), &format!("report result.json {flags}")).stdout, file);
    }
    assert_eq!(run.json()["labels"]["attach:server.conf"], "worker_processes 1;\n");
    assert_eq!(run.json()["labels"]["server"], "nginx");
}

#[test]
fn report_writes_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = saved(folder.path(), "-n 10");
    let report = ended_in(folder.path(), "report result.json -o report.txt --color always");
    assert_eq!((report.code, report.stdout.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(folder.path().join("report.txt")).unwrap(), run.stdout);
    ended_in(folder.path(), "report result.json -o missing/report.txt")
        .assert_error(1, &["cannot write missing/report.txt"]);
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_load() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("taken")).unwrap();
    for place in ["missing/result.json", "taken"] {
        let ended = ended_in(folder.path(), &format!("run --engine sim -n 10 -o {place}"));
        ended.assert_error(1, &["cannot write", place, "give -o a place that can be written"]);
    }
    assert_eq!(names(folder.path()), ["taken"]);
}

#[test]
fn an_older_result_survives_a_run_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), "-n 10");
    let older = fs::read(folder.path().join("result.json")).unwrap();
    for (words, code) in [("--engine io_uring -c 0", 2), ("-R fast", 2), ("rtmp://unknown.sim/live", 2)] {
        assert_eq!(ended_in(folder.path(), &format!("run {words} -o result.json")).code, Some(code), "{words}");
    }
    let mut command = prepared("run -n 1 -q -o result.json");
    command.current_dir(folder.path());
    finished(with_descriptors(command, 11)).assert_error(1, &["Too many open files"]);
    assert_eq!(fs::read(folder.path().join("result.json")).unwrap(), older);
    assert_eq!(names(folder.path()), ["result.json"]);
    assert_eq!(saved(folder.path(), "-n 20").code, Some(0));
    assert_ne!(fs::read(folder.path().join("result.json")).unwrap(), older, "the next run replaces it");
}

#[test]
fn files_that_are_no_results_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), "-n 10");
    let whole = fs::read_to_string(folder.path().join("result.json")).unwrap();
    for (name, text, cause, remedy) in [
        ("empty.json", "", "damaged or not JSON", "copied whole"),
        ("cut.json", &whole[..whole.len() / 2], "damaged or not JSON", "copied whole"),
        ("notes.txt", "hello\n", "damaged or not JSON", "copied whole"),
        ("foreign.json", "{\"version\": 2}", "not a result of this program", "written with `-o`"),
        ("list.json", "[1, 2]", "not a result of this program", "written with `-o`"),
        ("newer.json", &whole.replace("result/2", "result/3"), "shakedown.result/3", "use the version that wrote it"),
        ("other.json", &whole.replace("result/2", "capacity/2"), "shakedown.capacity/2", "edited by hand"),
        (
            "edited.json",
            &whole.replacen("\"due\": 10", "\"due\": \"ten\"", 1),
            "does not follow its schema",
            "edited by hand",
        ),
        ("short.json", "{\"schema\": \"shakedown.result/2\"}", "does not follow its schema", "edited by hand"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        ended_in(folder.path(), &format!("report {name}")).assert_error(2, &[name, cause, remedy]);
    }
    fs::write(folder.path().join("binary.json"), [0xff, 0xfe, 0x00]).unwrap();
    ended_in(folder.path(), "report binary.json").assert_error(2, &["binary.json"]);
    ended_in(folder.path(), "report missing.json").assert_error(2, &["cannot read missing.json", "No such file"]);
    ended_in(folder.path(), "report .").assert_error(2, &["cannot read ."]);
}

#[test]
fn merge_puts_the_shares_of_a_plan_together() {
    let folder = tempfile::tempdir().unwrap();
    let words = "rtmp://serve.sim/live -R 900 -d 1s -c 100 --threshold failed<1%";
    for share in 0..3 {
        ended_in(folder.path(), &format!("run --engine sim --seed 1 {words} --share {share}/3 -o part{share}.json"));
    }
    let whole = saved(folder.path(), &format!("{words} --json")).json();
    let merge = ended_in(folder.path(), "merge part0.json part1.json part2.json -o merged.json");
    assert_eq!((merge.code, merge.stderr.as_str()), (Some(0), ""));
    let merged = ended_in(folder.path(), "report merged.json --json").json();
    for key in ["schema", "attempts", "modes", "rate", "window", "thresholds", "verdict"] {
        assert_eq!(merged[key], whole[key], "{key}");
    }
    ended_in(folder.path(), "merge part0.json part1.json -o merged.json").assert_error(2, &["share 2/3 is missing"]);
    ended_in(folder.path(), "merge part0.json part1.json -o ./part0.json")
        .assert_error(2, &["would overwrite", "part0.json"]);
    ended_in(folder.path(), "merge part0.json part0.json -o merged.json")
        .assert_error(2, &["share 0/3 is there twice"]);
    ended_in(folder.path(), "merge part0.json missing.json -o merged.json")
        .assert_error(2, &["cannot read missing.json"]);
    ended_in(folder.path(), "merge part0.json part1.json part2.json -o missing/merged.json")
        .assert_error(1, &["cannot write missing/merged.json"]);
}

#[test]
fn merge_exits_as_a_run_with_that_result_would() {
    let folder = tempfile::tempdir().unwrap();
    for (words, code) in [
        ("rtmp://refuse.sim/live -R 10 -n 20", 5),
        ("rtmp://reset.sim/live rtmp://serve.sim/live -R 10 -n 20 --threshold failed<1%", 3),
    ] {
        for share in 0..2 {
            ended_in(
                folder.path(),
                &format!("run --engine sim --seed 1 {words} --share {share}/2 -o part{share}.json"),
            );
        }
        assert_eq!(ended_in(folder.path(), "merge part0.json part1.json -o merged.json").code, Some(code), "{words}");
        assert_eq!(ended_in(folder.path(), "report merged.json").code, Some(code), "{words}");
    }
}

/// Files that version 1 of the schemas left behind, as they were saved: `tests/saved`.
#[test]
fn files_of_the_first_schema_are_read_merged_and_compared() {
    let saved = |name: &str| format!("{}/tests/saved/{name}", env!("CARGO_MANIFEST_DIR"));
    let shares = [saved("result-1-share-0.json"), saved("result-1-share-1.json")];
    let report = finished(prepared(&format!("report {}", shares[0])));
    assert_eq!((report.code, report.stderr.as_str()), (Some(0), ""));
    assert!(report.stdout.contains("both thresholds are met"), "{}", report.stdout);
    let merged = finished(prepared(&format!("merge {} {} -o -", shares[0], shares[1])));
    assert_eq!(merged.code, Some(0), "{}", merged.stderr);
    let merged = merged.json();
    assert_eq!((&merged["schema"], &merged["attempts"]["completed"]), (&"shakedown.result/2".into(), &300.into()));
    assert_eq!(merged["plan"]["media"]["source"]["bits_per_second"], 500_000);
    assert_eq!((&merged["plan"]["enhanced_rtmp"], merged["plan"].get("clip")), (&true.into(), None));
    let compared = finished(prepared(&format!("compare one={} two={}", shares[0], shares[0])));
    assert_eq!(compared.stderr, "");
    let capacity = finished(prepared(&format!("report {}", saved("capacity-1.json"))));
    assert_eq!((capacity.code, capacity.stderr.as_str()), (Some(4), ""));
}
