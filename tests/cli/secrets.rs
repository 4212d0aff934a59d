//! Stream keys and tokens are in no output: not in reports, files, errors or what is said before a run.

use std::fs;
use std::path::Path;

use super::command::{Ended, finished, prepared};

/// What must not be seen.
const SECRET: &str = "S3CRET";

/// Everything in a folder but the file of keys.
fn files(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let written = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    written.map(|path| fs::read_to_string(path).expect("a text")).collect()
}

#[track_caller]
fn assert_secret_is_kept(words: &str, folder: &Path, ended: &Ended) {
    for (place, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr), ("a file", &files(folder))] {
        assert!(!text.contains(SECRET), "{words}: {place} has it: {text}");
    }
}

/// Runs `shakedown` in `folder` with these words; `~` is a space within one.
fn ended_in(folder: &Path, words: &str) -> Ended {
    let mut command = prepared("");
    command.args(words.split_whitespace().map(|word| word.replace('~', " "))).current_dir(folder);
    finished(command)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let keys: String = (0..64).map(|number| format!("{SECRET}-{number}\n")).collect();
    fs::write(folder.path().join("keys.csv"), keys).expect("a writable folder");
    let scenario = format!(
        "targets = \"rtmp://serve.sim/live/{SECRET}?token={SECRET}\"\nengine = \"sim\"\nuntil = \"publish\"\n\
         stages = [{{ rate = 50, for = \"1s\" }}]\nstream = \"cam-{{key}}?token={SECRET}\"\nstream_keys = \"keys.csv\"\n"
    );
    fs::write(folder.path().join("secret.toml"), scenario).expect("a writable folder");
    let wrong = format!("until = \"rtmp://h/live/{SECRET}\"\n");
    fs::write(folder.path().join("wrong.toml"), wrong).expect("a writable folder");
    folder
}

#[test]
fn a_run_that_is_given_secrets_shows_none() {
    for host in ["serve", "name-taken", "unauthorized", "redirect", "hook-says-no", "connect-rejected", "refuse"] {
        for (target, flags) in [
            (format!("rtmp://{host}.sim/live?token={SECRET}"), "--stream-keys keys.csv"),
            (format!("rtmp://{host}.sim/live/cam-{{id}}?token={SECRET}"), ""),
            (format!("rtmp://{host}.sim/live/{SECRET}"), "-c 1"),
            (format!("rtmp://{host}.sim/live"), "--stream S3CRET?token=S3CRET"),
            (format!("rtmp://{host}.sim/live"), "--app live?token=S3CRET --stream S3CRET"),
            (format!("rtmp://{host}.sim/live/{SECRET}?token=a/b"), "-c 1"),
            (
                format!("rtmp://{host}.sim/live rtmp://{host}.sim/live/{SECRET}"),
                "--stream {key}?token=S3CRET --stream-keys keys.csv",
            ),
        ] {
            for output in ["", "--json"] {
                let folder = folder();
                let words =
                    format!("run --engine sim --seed 1 {target} --until publish -n 20 {flags} -o result.json {output}");
                let ended = ended_in(folder.path(), &words);
                assert!(matches!(ended.code, Some(0 | 5)), "{words}: {ended:#?}");
                assert!(folder.path().join("result.json").exists());
                assert_secret_is_kept(&words, folder.path(), &ended);
                let shown = ended_in(folder.path(), "report result.json");
                assert_eq!(shown.code, ended.code, "{words}: {shown:#?}");
                assert_secret_is_kept(&words, folder.path(), &shown);
            }
        }
    }
}

#[test]
fn players_and_scenarios_show_none_either() {
    for words in [
        "run secret.toml -o result.json",
        "run secret.toml rtmp://name-taken.sim/live/S3CRET?token=S3CRET --json",
        "run secret.toml rtmp://no-stream.sim/live/S3CRET --until play --client vlc",
        "check secret.toml",
        "check secret.toml --json",
        "run --engine sim rtmp://no-stream.sim/live/S3CRET --until play -n 5",
    ] {
        let folder = folder();
        let ended = ended_in(folder.path(), words);
        assert!(matches!(ended.code, Some(0 | 5)), "{words}: {ended:#?}");
        assert_secret_is_kept(words, folder.path(), &ended);
    }
}

#[test]
fn conditions_name_targets_as_they_were_written_and_show_no_key() {
    for (targets, named) in [
        ("rtmp://serve.sim/live/S3CRET", "rtmp://serve.sim/live/S3CRET"),
        ("rtmp://serve.sim/live/S3CRET", "rtmp://serve.sim/live"),
        ("rtmp://serve.sim/live/S3CRET", "rtmp://serve.sim/live/***"),
        ("rtmp://serve.sim/live/S3CRET.a<b?token=S3CRET", "rtmp://serve.sim/live/S3CRET.a<b?token=S3CRET"),
        ("rtmp://serve.sim/live?token=S3CRET", "rtmp://serve.sim/live?token=S3CRET"),
        ("rtmp://serve.sim/live?token=S3CRET", "rtmp://serve.sim/live"),
        ("rtmp://serve.sim/live/S3CRET rtmp://name-taken.sim/live/S3CRET", "rtmp://serve.sim/live/S3CRET"),
        // Streams of one server, which look alike.
        ("rtmp://serve.sim/live/S3CRET-a rtmp://serve.sim/live/S3CRET-b", "rtmp://serve.sim/live/S3CRET-b"),
    ] {
        let folder = folder();
        let words = format!(
            "run --engine sim --seed 1 {targets} --until publish -c 1 -n 20 -o result.json --threshold \
             target:{named}.failed<=0% --abort-if target:{named}.failed>50%~for~1s"
        );
        let ended = ended_in(folder.path(), &words);
        // Nothing completes of a target whose stream is taken.
        let code = if targets.contains("name-taken") { 3 } else { 0 };
        assert_eq!(ended.code, Some(code), "{words}: {ended:#?}");
        assert_secret_is_kept(&words, folder.path(), &ended);
        assert!(files(folder.path()).contains("target:rtmp://serve.sim/live"), "{named}");
        let shown = ended_in(folder.path(), "report result.json");
        assert_secret_is_kept("report", folder.path(), &shown);
    }
}

#[test]
fn a_condition_is_about_the_stream_that_it_names() {
    let folder = folder();
    // Which of two that look alike is told by the plan's name for it.
    let words = "run --engine sim --seed 1 rtmp://serve.sim/live/S3CRET-a rtmp://serve.sim/live/S3CRET-b -c 1 -n 20 \
                 --until publish --threshold target:rtmp://serve.sim/live/S3CRET-b.failed<=0% --json";
    let ended = ended_in(folder.path(), words);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("\"target:rtmp://serve.sim/live/*** (2).failed<=0%\""), "{}", ended.stdout);
    assert_secret_is_kept(words, folder.path(), &ended);
}

#[test]
fn a_condition_that_is_none_is_told_what_it_lacks() {
    let folder = folder();
    for (condition, lack) in [
        ("target:rtmp://serve.sim/live/S3CRET.faild<1%", "'target:rtmp://serve.sim/live/***<1%' names no metric"),
        ("target:rtmp://serve.sim/live/S3CRET.failed", "'target:rtmp://serve.sim/live/***' has no comparison"),
    ] {
        let ended = ended_in(folder.path(), &format!("run --engine sim --threshold {condition}"));
        assert!(ended.code == Some(2) && ended.stderr.contains(lack), "{condition}: {ended:#?}");
    }
}

#[test]
fn errors_show_none() {
    for words in [
        "run rtmp://h:99999/live/S3CRET?token=S3CRET",
        "run rtmp://127.0.0.1/live/S3CRET --until publish",
        "run rtmp://203.0.113.7/live/S3CRET?token=S3CRET",
        "run rtmp://nowhere.sim/live/S3CRET?token=S3CRET --engine sim",
        "run rtmps://127.0.0.1/live/S3CRET?token=S3CRET --engine sim",
        "run http://127.0.0.1/live/S3CRET",
        "run rtmp://127.0.0.1/live/S3CRET.toml",
        "run --canary rtmp://h:99999/live/S3CRET",
        "run --stream S3CRET{idd}",
        "run --app live?S3CRET{id}",
        "run --app live?token=S3CRET",
        "run --until publish --stream S3CRET{key}",
        "run --until publish --stream-keys keys.csv --stream cam-{id}?S3CRET",
        "run --until publish --stream-keys keys.csv -c 65",
        "probe rtmp://h:99999/live/S3CRET",
        "probe rtmp://127.0.0.1/live/S3CRET --insecure",
        "probe rtmp://127.0.0.1/live --until publish --stream S3CRET{key}",
        "probe rtmp://127.0.0.1/live --stream S3CRET{idd}",
        "check secret.toml rtmp://h:99999/live/S3CRET",
        "run secret.toml --client vlc",
        "run secret.toml -c 100",
        "run 127.0.0.1:1/live/S3CRET",
        "run 127.0.0.1:1/live/S3CRET://x",
        "run live/S3CRET",
        "run rtmp:/h/live/S3CRET",
        "run rtmp:h/live/S3CRET",
        "run rtmp://h:99999/live/S3CRET/S3CRET/S3CRET",
        "run rtmp://me:S3CRET@h/live",
        "run rtmp://me:S3CRET/S3CRET@h/live",
        "run rtmp://h:99999/live~playpath=S3CRET",
        "run --canary=rtmp:/h/live/S3CRET",
        "run --canary live/S3CRET",
        "run --client rtmp://h/live/S3CRET",
        "run --source h:1/live/S3CRET",
        "run --start-at rtmp://h/live/S3CRET",
        "run --rate=rtmp://h/live/S3CRET",
        "run --unknown=rtmp://h/live/S3CRET",
        "run --attach rtmp://h/live/S3CRET",
        "run --label rtmp://h/live/S3CRET",
        "run rtmp://h/live --media rtmp://h/live/S3CRET --until publish --engine sim",
        "run rtmp://h/live --tls-ca rtmp://h/live/S3CRET --engine sim",
        "run --engine sim --threshold target:rtmp://serve.sim/live/S3CRET.faild<1%",
        "run --engine sim --threshold target:rtmp://serve.sim/live/S3CRET?S3CRET.failed<1",
        "run --engine sim --threshold target:h:1935/live/S3CRET.failed<1%",
        "run --engine sim --threshold rtmp://serve.sim/live/S3CRET.failed<1%",
        "run --engine sim --abort-if target:rtmp://serve.sim/live/S3CRET.failed>1%",
        "run --engine sim --abort-if target:rtmp://other.sim/x/S3CRET.failed>1%~for~5s",
        "capacity 127.0.0.1:1/live/S3CRET",
        "capacity rtmp:/h/live/S3CRET",
        "capacity --canary live/S3CRET",
        "capacity --engine sim rtmp://serve.sim/live --threshold target:rtmp://serve.sim/live/S3CRET.faild<1%",
        "probe rtmp:/h/live/S3CRET",
        "probe 127.0.0.1:1/live/S3CRET",
        "probe live/S3CRET",
        "probe live/S3CRET.toml",
        "probe 127.0.0.1:1 rtmp://h/live/S3CRET",
        "probe 127.0.0.1:1 live/S3CRET",
        "probe rtmp://h:0/live/S3CRET",
        "check secret.toml 127.0.0.1:1/live/S3CRET",
        "check secret.toml live/S3CRET",
        "check rtmp://h/live/S3CRET",
        "check wrong.toml",
        "run wrong.toml",
        "sink --listen rtmp://h/live/S3CRET",
        "sink --reject publish:name=S3CRET:refused",
        "sink --reject publish:name=S3CRET",
        "sink --reject connect:redirect=http://h/live/S3CRET",
        "sink 127.0.0.1:1/live/S3CRET",
        "report rtmp://h/live/S3CRET",
        "merge rtmp://h/live/S3CRET -o x.json",
        "inspect rtmp://h/live/S3CRET",
        "rtmp://h/live/S3CRET",
        "live/S3CRET",
    ] {
        let folder = folder();
        let ended = ended_in(folder.path(), words);
        assert!(matches!(ended.code, Some(1 | 2)), "{words}: {ended:#?}");
        assert!(ended.stderr.starts_with("error: "), "{words}: {ended:#?}");
        assert_secret_is_kept(words, folder.path(), &ended);
    }
}
