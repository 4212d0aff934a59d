//! `-`, pipes and process substitution in the place of files, in every command that reads or writes one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::command::{BINARY, Ended, ended_in, finished, prepared};

/// Runs `shakedown` in `folder` with the content of `file` behind a pipe as its stdin.
fn piped(folder: &Path, file: &str, words: &str) -> Ended {
    let mut command = assert_cmd::Command::from_std(prepared(words));
    command.current_dir(folder).write_stdin(fs::read(folder.join(file)).unwrap());
    command.output().expect("it starts").into()
}

/// Runs a line of bash in `folder`, in which `shakedown` is the binary under test.
fn bash(folder: &Path, line: &str) -> Ended {
    let mut command = Command::new("bash");
    command.current_dir(folder).args(["-c", &format!("shakedown() {{ '{BINARY}' \"$@\"; }}; {line}")]);
    finished(command)
}

/// A folder with a result, those of two shares, a scenario, a suite, stream keys and a note.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for share in 0..2 {
        let words =
            format!("run --engine sim --seed 1 rtmp://serve.sim/live -R 100 -d 1s --share {share}/2 -o s{share}.json");
        assert_eq!(ended_in(folder.path(), &words).code, Some(0));
    }
    let run = ended_in(folder.path(), "run --engine sim --seed 1 rtmp://serve.sim/live -R 100 -d 1s -o a.json");
    assert_eq!(run.code, Some(0), "{run:#?}");
    let scenario = "engine = \"sim\"\nseed = 1\nstages = [{ rate = \"100/s\", for = \"1s\" }]\n";
    fs::write(folder.path().join("plan.toml"), scenario).unwrap();
    fs::write(folder.path().join("keys.csv"), (0..100).map(|key| format!("key{key}\n")).collect::<String>()).unwrap();
    fs::write(folder.path().join("note.txt"), "attached\n").unwrap();
    fs::write(
        folder.path().join("suite.toml"),
        "rounds = 1\ncontrol = false\nflags = \"--engine sim -n 10\"\n[[target]]\nname = \"t\"\nurl = \"rtmp://serve.sim/live\"\n",
    )
    .unwrap();
    folder
}

#[test]
fn stdin_serves_where_a_file_is_read() {
    let folder = folder();
    let path = folder.path();
    let plain = ended_in(path, "report a.json");
    for (file, words) in [
        ("a.json", "report -"),
        ("a.json", "report /dev/stdin"),
        ("s0.json", "merge - s1.json -o merged.json"),
        ("a.json", "compare one=- two=a.json"),
        ("plan.toml", "check -"),
        ("plan.toml", "run -"),
        ("plan.toml", "run /dev/stdin -q"),
        ("suite.toml", "bench - -q"),
        ("note.txt", "run --engine sim -n 10 --attach -"),
        ("keys.csv", "run --engine sim -n 20 --until publish --stream-keys -"),
        (
            "keys.csv",
            "capacity --engine sim rtmp://serve.sim/live --need 2/s --goal slo=10% --until publish --stream-keys -",
        ),
    ] {
        let ended = piped(path, file, words);
        let is_refused = ended.stderr.contains("cannot read") || ended.code == Some(2);
        assert!(!is_refused && !ended.stdout.is_empty(), "{words}: {ended:#?}");
    }
    assert_eq!(piped(path, "a.json", "report -").stdout, plain.stdout);
    assert_eq!(piped(path, "plan.toml", "run - --json").json()["plan"]["scenario"], "stdin");
    assert_eq!(
        piped(path, "note.txt", "run --engine sim -n 10 --json --attach -").json()["labels"]["attach:stdin"],
        "attached\n"
    );
}

#[test]
fn errors_name_stdin() {
    let folder = folder();
    fs::write(folder.path().join("wrong.toml"), "rate = \n").unwrap();
    for (file, words, part) in [
        ("note.txt", "report -", "stdin is damaged or not JSON"),
        ("note.txt", "compare one=- two=a.json", "stdin is damaged or not JSON"),
        ("wrong.toml", "check -", "stdin:1:"),
        ("wrong.toml", "bench -", "stdin:1:"),
        ("note.txt", "inspect -", "stdin is neither pcap nor pcapng"),
    ] {
        piped(folder.path(), file, words).assert_error(2, &[part]);
    }
}

#[test]
fn a_capture_may_come_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    // The header of a pcap file without packets (draft-ietf-opsawg-pcap).
    let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    fs::write(folder.path().join("empty.pcap"), header).unwrap();
    let plain = ended_in(folder.path(), "inspect empty.pcap --json");
    assert_eq!(plain.code, Some(0), "{plain:#?}");
    for words in ["inspect - --json", "inspect /dev/stdin --json"] {
        let ended = piped(folder.path(), "empty.pcap", words);
        assert_eq!((ended.code, &ended.stdout), (plain.code, &plain.stdout), "{words}: {ended:#?}");
    }
    let ended = bash(folder.path(), "shakedown inspect <(cat empty.pcap) --json");
    assert_eq!((ended.code, &ended.stdout), (plain.code, &plain.stdout), "{ended:#?}");
}

#[test]
fn streams_may_come_from_pipes() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ffmpeg__nginx");
    let plain = ended_in(&vectors, "inspect c0c1.bin s0s1s2.bin c2.bin");
    assert!(plain.stdout.contains("complex"), "{plain:#?}");
    for line in [
        "cat c0c1.bin | shakedown inspect - s0s1s2.bin c2.bin",
        "shakedown inspect <(cat c0c1.bin) <(cat s0s1s2.bin) <(cat c2.bin)",
        "cat c2.bin | shakedown inspect c0c1.bin s0s1s2.bin -",
    ] {
        let ended = bash(&vectors, line);
        assert_eq!((ended.code, &ended.stdout), (plain.code, &plain.stdout), "{line}: {ended:#?}");
    }
}

#[test]
fn process_substitution_serves_as_files() {
    let folder = folder();
    for line in [
        "shakedown report <(cat a.json)",
        "shakedown compare one=<(cat a.json) two=<(cat a.json)",
        "shakedown run <(cat plan.toml) --stream-keys keys.csv --until publish",
        "shakedown run plan.toml --until publish --stream-keys <(cat keys.csv)",
        "shakedown run plan.toml -o >(cat > through.json) > out.txt; cat out.txt",
    ] {
        let ended = bash(folder.path(), line);
        assert_eq!((ended.code, ended.stdout.is_empty()), (Some(0), false), "{line}: {ended:#?}");
    }
}

#[test]
fn with_stdout_as_the_file_the_report_is_on_stderr() {
    let folder = folder();
    let run = "run --engine sim --seed 1 rtmp://serve.sim/live -R 100 -d 1s";
    let (json, text) =
        (ended_in(folder.path(), &format!("{run} --json -q")), ended_in(folder.path(), &format!("{run} -q")));
    for place in ["-", "/dev/stdout"] {
        let both = ended_in(folder.path(), &format!("{run} -o {place}"));
        assert_eq!((both.code, &both.stdout), (Some(0), &json.stdout), "{both:#?}");
        assert!(both.stderr.contains(text.stdout.trim_end()), "{both:#?}");
        let quiet = ended_in(folder.path(), &format!("{run} -q -o {place}"));
        assert_eq!((&quiet.stdout, quiet.stderr.as_str()), (&json.stdout, ""));
        let once = ended_in(folder.path(), &format!("{run} -q --json -o {place}"));
        assert_eq!(once.stdout, json.stdout);
    }
    assert_eq!(ended_in(folder.path(), "report a.json -o -").stdout, ended_in(folder.path(), "report a.json").stdout);
    let merged = ended_in(folder.path(), "merge s0.json s1.json -o -");
    assert_eq!(merged.json()["schema"], "shakedown.result/2");
    assert_eq!(merged.json(), ended_in(folder.path(), "merge s0.json s1.json --json -o merged.json").json());
}
