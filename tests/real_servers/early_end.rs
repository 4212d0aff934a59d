//! Loads that end before their time: the canary, and conditions of the user.

use shakedown::measure::{FailureKind, Side};

use crate::support::{Load, Namespace, Nginx, NginxOptions, shakedown_command};

/// Much longer than anything here waits.
const LONG: &str = "10m";

#[test]
fn a_canary_that_fails_ends_the_load() {
    let nginx = Nginx::start(NginxOptions::default());
    let mut watched = Nginx::start(NginxOptions { logs_connections: true, ..NginxOptions::default() });
    let load = Load::start(&format!("{} -c 4 -d {LONG} --hold 100ms --canary {}", nginx.url("x"), watched.url("x")));
    watched.wait_for_disconnects(1);
    watched.stop();
    let result = load.finish().ended_with(3);

    let why = result.ended_by.as_deref().expect("the canary ended it");
    assert!(why.contains("canary failed: none of its attempts"), "{why}");
    assert!(result.window.duration_s < 600.0, "{:?}", result.window);
    // The canary's failures are no failures of the load.
    assert_eq!((result.attempts.failed, result.failures.len()), (0, 0), "{:?}", result.failures);
    assert!(result.attempts.completed > 0);
    let canary = result.by_population.iter().find(|row| row.name == "canary").expect("it has a row");
    assert!(canary.attempts.completed >= 1 && canary.attempts.failed >= 3, "{:?}", canary.attempts);
}

#[test]
fn a_canary_that_lives_lets_the_load_end_by_its_plan() {
    let [nginx, watched] = [(); 2].map(|()| Nginx::start(NginxOptions::default()));
    let load = Load::start(&format!("{} -c 4 -d 3s --hold 100ms --canary {}", nginx.url("x"), watched.url("x")));
    let result = load.finish().passed();
    assert_eq!((&result.ended_by, result.window.duration_s), (&None, 3.0));
    let canary = result.by_population.iter().find(|row| row.name == "canary").expect("it has a row");
    assert_eq!((canary.attempts.due, canary.attempts.completed), (3, 3));
}

/// A run inside `namespace`, whose port 1 refuses, that ends when most of its attempts fail.
fn run_to_a_refusing_target(namespace: &Namespace, targets: &[&str], limit: &str) -> Load {
    let condition = format!("failed>{limit} for 2s");
    let options = ["-c", "4", "-d", LONG, "--hold", "100ms", "--keep-going", "--abort-if", &condition];
    Load::start_by(namespace.command(env!("CARGO_BIN_EXE_shakedown")), &[targets, &options].concat())
}

#[test]
fn a_target_that_only_refuses_meets_the_condition() {
    let namespace = Namespace::new();
    let result = run_to_a_refusing_target(&namespace, &["127.0.0.1:1"], "50%").finish().ended_with(5);
    let why = result.ended_by.as_deref().expect("the condition ended it");
    assert!(why.contains("failed>50% for 2s"), "{why}");
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.kind, row.side, row.count), (FailureKind::Refused, Side::Target, result.attempts.failed));
    assert!((2.0..600.0).contains(&result.window.duration_s), "{:?}", result.window);
}

#[test]
fn a_part_of_the_targets_that_refuses_meets_a_lower_condition() {
    let namespace = Namespace::new();
    let nginx = namespace.within(|| Nginx::start(NginxOptions::default()));
    let targets = [&nginx.url("x"), "127.0.0.1:1"];
    let result = run_to_a_refusing_target(&namespace, &targets, "30%").finish().ended_with(3);
    assert!(result.ended_by.as_deref().is_some_and(|why| why.contains("failed>30% for 2s")), "{:?}", result.ended_by);
    assert!(result.attempts.completed > 0 && result.attempts.failed > 0, "{:?}", result.attempts);
}

#[test]
fn a_condition_that_is_not_met_ends_nothing() {
    let nginx = Nginx::start(NginxOptions::default());
    let options = ["-c", "4", "-d", "3s", "--hold", "100ms", "--abort-if", "failed>50% for 2s"];
    let result = Load::start_by(shakedown_command(), &[&[nginx.url("x").as_str()], &options[..]].concat()).finish();
    let result = result.passed();
    assert_eq!((&result.ended_by, result.window.duration_s), (&None, 3.0));
}
