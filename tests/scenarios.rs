//! Every file of `scenarios/` is documentation and a test: its rehearsal, as its comment gives it, is run.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use shakedown::measure::Metric;
use shakedown::run::RunResult;
use shakedown::scenario::read_file;
use support::{run_by, shakedown, shakedown_command};

/// The names of the shipped scenarios.
fn shipped() -> BTreeSet<String> {
    let files = std::fs::read_dir("scenarios").expect("the folder of the scenarios");
    let paths = files.map(|file| file.expect("a readable folder").path());
    paths.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

/// The words after `shakedown run`, and the exit code, of the rehearsal in a scenario's comment.
fn rehearsal(name: &str) -> (String, i32) {
    let text = std::fs::read_to_string(format!("scenarios/{name}.toml")).expect("a scenario");
    let comment = text.split("# Rehearsal without a network").nth(1).unwrap_or_else(|| panic!("{name} has none"));
    let (code, rest) = comment.split_once("exit code ").expect("its exit code").1.split_once(":\n").expect("a command");
    let command = rest.lines().next().and_then(|line| line.strip_prefix("#   shakedown run "));
    (command.expect("a run").to_owned(), code.parse().expect("a number"))
}

fn assert_conserved(name: &str, result: &RunResult) {
    let attempts = &result.attempts;
    assert!(attempts.due > 0, "{name} does nothing");
    assert_eq!(attempts.due, attempts.started + attempts.dropped, "{name}: {attempts:?}");
    let ended = attempts.completed + attempts.failed + attempts.observed + attempts.in_flight;
    assert_eq!(attempts.started, ended, "{name}: {attempts:?}");
}

#[test]
fn every_scenario_is_rehearsed_as_its_comment_says() {
    for name in shipped() {
        let (words, code) = rehearsal(&name);
        assert!(words.starts_with(&format!("scenarios/{name}.toml ")) && words.contains("--engine sim"), "{words}");
        let output = run_by(shakedown_command(), &format!("{words} --seed 1"));
        assert_eq!(output.code, code, "{name}: {}", output.told);
        let result = output.result();
        assert_conserved(&name, &result);
        assert_eq!(result.plan.scenario.as_deref(), Some(name.as_str()));
        let rows = result.by_population.len();
        assert_eq!(rows, if result.plan.populations.len() > 1 { result.plan.populations.len() } else { 0 }, "{name}");
    }
}

#[test]
fn every_command_that_a_scenario_names_exists() {
    let help = shakedown().arg("--help").output().expect("the built binary").stdout;
    let help = String::from_utf8(help).expect("text");
    let commands: BTreeSet<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(commands.contains("run") && commands.contains("check"), "{help}");
    let pages = shipped().into_iter().map(|name| format!("scenarios/{name}.toml"));
    for page in pages.chain(["docs/scenarios.md", "docs/clients.md"].map(str::to_owned)) {
        let text = std::fs::read_to_string(&page).expect("a readable file");
        for named in text.split("shakedown ").skip(1) {
            let word = named.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
            let is_command =
                text.contains(&format!("`shakedown {word}")) || text.contains(&format!("  shakedown {word}"));
            assert!(!is_command || commands.contains(word), "{page} names `shakedown {word}`");
        }
    }
}

#[test]
fn a_rehearsal_is_repeated_by_its_seed() {
    let (words, _) = rehearsal("cluster-mix");
    let run = || {
        let result = run_by(shakedown_command(), &format!("{words} --seed 5")).result();
        (result.attempts, result.latency.get(Metric::Response).expect("completed attempts").hdr_v2_base64.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn every_scenario_is_checked_without_traffic() {
    for name in shipped() {
        let file = format!("scenarios/{name}.toml");
        let output = shakedown().args(["check", &file]).output().expect("the built binary");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        for population in read_file(Path::new(&file)).expect("a scenario").populations {
            assert!(text.lines().any(|line| line == population.name), "{name} lacks {}: {text}", population.name);
        }
        assert!(text.starts_with(&format!("{name}: ")) && text.contains("\nin all\n"), "{text}");
    }
}

#[test]
fn the_folder_and_the_page_have_the_same_scenarios() {
    let page = std::fs::read_to_string("docs/scenarios.md").expect("the page");
    let links = page.split("(../scenarios/").skip(1).filter_map(|rest| rest.split_once(".toml)"));
    let listed: BTreeSet<String> = links.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(listed, shipped());
}
