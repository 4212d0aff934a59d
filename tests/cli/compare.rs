//! `shakedown compare`: results of several runs a side.

use std::fs;
use std::path::Path;

use super::command::{Ended, ended_in};

/// Three runs of `words`, whose seeds begin at `seed`; the argument that names their files.
fn side(folder: &Path, name: &str, seed: u32, words: &str) -> String {
    let file = |seed| format!("{name}{seed}.json");
    for seed in seed..seed + 3 {
        let run = ended_in(folder, &format!("run {words} --engine sim --seed {seed} -o {}", file(seed)));
        assert_eq!(run.code, Some(0), "{run:#?}");
    }
    format!("{name}={},{},{}", file(seed), file(seed + 1), file(seed + 2))
}

const NOISY: &str = "rtmp://noisy.sim/live -c 8 -d 1s";
const SLOW: &str = "rtmp://slow.sim/live -c 8 -d 1s";

#[track_caller]
fn assert_succeeds(ended: &Ended) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
}

#[test]
fn a_slower_target_is_worse_and_another_run_of_the_same_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (noisy, again) = (side(path, "noisy", 1, NOISY), side(path, "again", 11, NOISY));
    let slow = side(path, "slow", 1, SLOW);
    let compared = ended_in(path, &format!("compare {noisy} {again} {slow}"));
    assert_succeeds(&compared);
    assert!(compared.stdout.contains("again against noisy: no difference beyond noise in 6 metrics"), "{compared:#?}");
    assert!(compared.stdout.contains("slow against noisy: worse in rate ("), "{compared:#?}");

    let gated = |other: &str| ended_in(path, &format!("compare {noisy} {other} --fail-on-regression 5%"));
    let (same, worse) = (gated(&again), gated(&slow));
    assert_eq!((same.code, worse.code), (Some(0), Some(3)), "{same:#?} {worse:#?}");
    let strict = ended_in(path, &format!("compare {noisy} {again} --fail-on-regression 5% --strict"));
    let hidden = "the noise is too large to exclude it in";
    assert_eq!((strict.code, strict.stdout.contains(hidden)), (Some(4), true), "{strict:#?}");
    ended_in(path, &format!("compare {noisy} {again} --strict")).assert_error(2, &["--fail-on-regression"]);
    assert!(worse.stdout.contains("worse by more than 5.00 % beyond noise: rate of slow"), "{worse:#?}");

    let json = ended_in(path, &format!("compare {noisy} {slow} --json")).json();
    assert_eq!((json["schema"].as_str(), json["kind"].as_str()), (Some("shakedown.compare/1"), Some("run")));
    let rate = &json["pairs"][0]["metrics"][0];
    assert_eq!((rate["metric"].as_str(), rate["judgement"].as_str()), (Some("rate"), Some("worse")));
    assert_eq!(rate["baseline"]["values"].as_array().map(Vec::len), Some(3));
    assert!(rate["difference_high"].as_f64().unwrap() < 0.0, "{rate}");
}

#[test]
fn markdown_is_a_table_for_a_pull_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (noisy, slow) = (side(path, "noisy", 1, NOISY), side(path, "slow", 1, SLOW));
    let printed = ended_in(path, &format!("compare {noisy} {slow} --format md"));
    assert_succeeds(&printed);
    let tables = printed.stdout.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>();
    assert_eq!(tables.len(), 5, "a heading, a rule and three metrics: {printed:#?}");
    assert!(tables.iter().all(|line| line.matches('|').count() == 7), "{printed:#?}");
    let written = ended_in(path, &format!("compare {noisy} {slow} --format md -o table.md"));
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(path.join("table.md")).unwrap(), printed.stdout);
    ended_in(path, &format!("compare {noisy} {slow} -o missing/table.md"))
        .assert_error(1, &["cannot write missing/table.md"]);
}

#[test]
fn single_runs_show_no_noise_and_decide_nothing() {
    let folder = tempfile::tempdir().unwrap();
    side(folder.path(), "noisy", 1, NOISY);
    let single = ended_in(folder.path(), "compare A=noisy1.json B=noisy2.json");
    assert_succeeds(&single);
    assert!(single.stdout.contains("noise unknown"), "{single:#?}");
    let gated = ended_in(folder.path(), "compare A=noisy1.json B=noisy2.json --fail-on-regression 5%");
    assert_eq!(gated.code, Some(4), "{gated:#?}");
}

#[test]
fn results_of_other_loads_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (noisy, other) = (side(path, "noisy", 1, NOISY), side(path, "other", 1, "rtmp://slow.sim/live -c 9 -d 1s"));
    let sides = format!("compare {noisy} {other}");
    ended_in(path, &sides).assert_error(
        2,
        &["other1.json was asked something else than noisy1.json", "concurrency is 9, not 8", "compare --anyway"],
    );
    let anyway = ended_in(path, &format!("{sides} --anyway"));
    assert_succeeds(&anyway);
    assert!(anyway.stdout.contains("concurrency is 9, not 8"), "{anyway:#?}");
}

#[test]
fn what_is_no_comparison_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    side(path, "noisy", 1, NOISY);
    fs::write(path.join("foreign.json"), "{\"schema\": \"other/1\"}").unwrap();
    for (words, parts) in [
        ("A=noisy1.json", vec!["one side is nothing to compare", "B=new1.json"]),
        ("A=noisy1.json,noisy1.json B=noisy2.json", vec!["the same result", "give each once"]),
        ("noisy1.json B=noisy2.json", vec!["noisy1.json", "NAME=FILE"]),
        ("A=noisy1.json,, B=noisy2.json", vec!["a file is missing"]),
        ("A=noisy1.json B=missing.json", vec!["cannot read missing.json"]),
        ("A=noisy1.json B=foreign.json", vec!["foreign.json", "other/1"]),
        ("A=noisy1.json B=noisy2.json --fail-on-regression 5", vec!["'5'", "5% or 0.5%"]),
        ("A=noisy1.json B=noisy2.json --fail-on-regression 2000%", vec!["'2000%'", "0% to 1000%"]),
    ] {
        ended_in(path, &format!("compare {words}")).assert_error(2, &parts);
    }
}

#[test]
fn connections_held_at_once_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=4 {
        let words = "rtmp://overload.sim/live --find concurrent --max-rate 400 --budget 90s --engine sim -q";
        let searched = ended_in(folder.path(), &format!("capacity {words} --seed {seed} -o {seed}.json"));
        assert_eq!(searched.code, Some(0), "{searched:#?}");
    }
    let compared = ended_in(folder.path(), "compare A=1.json,2.json B=3.json,4.json");
    assert_succeeds(&compared);
    assert!(compared.stdout.contains("B against A: no difference beyond noise in 1 metric"), "{compared:#?}");
    assert!(compared.stdout.contains("held"), "{compared:#?}");
}
