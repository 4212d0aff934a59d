//! An nginx beyond its limit, what a probe finds afterwards, and what is held meanwhile.

use std::time::{Duration, Instant};

use shakedown::measure::Side;
use shakedown::run::RunResult;

use super::nginx::assert_completed;
use crate::support::{Load, Nginx, NginxOptions, SinkProcess, run, shakedown, shakedown_command};

/// Many more clients at once than nginx has connections; each that gets one keeps it for three seconds. The probes begin
/// a second before they are gone.
const OVERSHOOT: &str = r#"
hold = "3s"
stages = [
    { name = "overload", burst = 300, for = "2s" },
    { name = "after", probe = "10/s", for = "4s" },
]
"#;

/// An nginx with room for about 60 clients.
fn small_nginx() -> Nginx {
    Nginx::start(NginxOptions { worker_connections: 64, logs_connections: true, ..NginxOptions::default() })
}

/// What `shakedown report` prints of a result.
fn report(result: &RunResult) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), result.to_text()).expect("a writable temporary file");
    let output = shakedown().arg("report").arg(file.path()).output().expect("an executable file");
    String::from_utf8(output.stdout).expect("only UTF-8 is printed")
}

#[test]
fn a_server_that_recovers_says_when() {
    let nginx = small_nginx();
    let result = Load::start_scenario(shakedown_command(), OVERSHOOT, &[&nginx.url("x")]).finish().result();
    let [overload, after] = &result.by_stage[..] else { panic!("{:?}", result.by_stage) };
    assert_eq!((overload.attempts.due, after.attempts.due), (300, 40));
    assert!((1..64).contains(&overload.attempts.completed), "{:?}", overload.attempts);
    assert!(result.failures.iter().all(|row| row.side == Side::Target), "{:?}", result.failures);

    let [recovery] = &result.recoveries[..] else { panic!("{:?}", result.recoveries) };
    assert_eq!((recovery.stage.as_str(), recovery.began_s, recovery.watched_s), ("after", 2.0, 4.0));
    assert_eq!((recovery.probes, recovery.failed), (40, after.attempts.failed));
    assert!(recovery.failed > 0, "nginx was full when the probes began: {recovery:?}");
    let accepted_after = recovery.accepted_after_s.expect("nginx accepts again");
    assert!((0.8..4.0).contains(&accepted_after), "not before the held connections are gone: {recovery:?}");
    assert!(report(&result).contains("recovered after "), "{}", report(&result));
}

#[test]
fn a_server_that_never_recovers_is_named() {
    let mut nginx = small_nginx();
    let load = Load::start_scenario(shakedown_command(), OVERSHOOT, &[&nginx.url("x")]);
    nginx.wait_for_connections(30);
    nginx.stop();
    let result = load.finish().result();
    let [recovery] = &result.recoveries[..] else { panic!("{:?}", result.recoveries) };
    assert_eq!((recovery.probes, recovery.failed, recovery.accepted_after_s), (40, 40, None));
    assert!(report(&result).contains("never, in 4.00 s"), "{}", report(&result));
}

#[test]
fn a_server_that_was_not_overloaded_accepts_at_once() {
    let nginx = Nginx::start(NginxOptions::default());
    let result = Load::start_scenario(shakedown_command(), OVERSHOOT, &[&nginx.url("x")]).finish().result();
    assert_completed(&result, 340);
    let [recovery] = &result.recoveries[..] else { panic!("{:?}", result.recoveries) };
    assert_eq!((recovery.probes, recovery.failed, recovery.accepted_after_s), (40, 0, Some(0.0)));
}

/// Clients that come one by one and stay.
const HELD_RAMP: &str = r#"
hold = "forever"
release = "100/s"
stages = [{ concurrency = "0:50", for = "2s" }, { concurrency = 50, for = "1s" }]
"#;

#[test]
fn held_connections_follow_a_ramp_and_leave_one_by_one() {
    let nginx = Nginx::start(NginxOptions::default());
    let began = Instant::now();
    let result = Load::start_scenario(shakedown_command(), HELD_RAMP, &[&nginx.url("x")]).finish().passed();
    // The first leaves at once.
    assert!(began.elapsed() >= Duration::from_millis(3_000 + 490), "{:?}", began.elapsed());
    assert_completed(&result, 50);
    let connections = &result.connections;
    assert_eq!((connections.held, connections.held_peak, connections.lost_while_held), (50, 50, 0));
    let held: Vec<u64> = result.timeline.iter().map(|row| row.held).collect();
    assert!(held.first().is_some_and(|first| *first < 50), "a ramp, not all at once: {held:?}");
}

#[test]
fn all_held_connections_leave_at_once_without_a_rate() {
    let sink = SinkProcess::start("");
    let result = run(&format!("{} -c 50 -n 50 --hold forever", sink.address()));
    assert_completed(&result, 50);
    assert_eq!(sink.counts().reset, 50);
}

#[test]
fn a_release_rate_closes_all_of_them() {
    let sink = SinkProcess::start("");
    let began = Instant::now();
    let result = run(&format!("{} -c 50 -n 50 --hold forever --release 50/s", sink.address()));
    assert!(began.elapsed() >= Duration::from_millis(980), "{:?}", began.elapsed());
    assert_completed(&result, 50);
    let counts = sink.counts();
    assert_eq!((counts.reset, counts.held), (50, 0), "{counts:?}");
}
