//! nginx-rtmp: the most common server, which reads C2 and drops it unseen.

use shakedown::measure::{Metric, ModeCounts, Side};
use shakedown::run::{Attempts, RunResult};

use crate::support::{Nginx, NginxOptions, run, run_by, shakedown_command};

/// All of `count` attempts completed.
pub fn assert_completed(result: &RunResult, count: u64) {
    let held = result.attempts.held;
    let all = Attempts { due: count, started: count, completed: count, held, ..Attempts::default() };
    assert_eq!(result.attempts, all, "{:?}", result.failures);
    assert_eq!(result.failures, []);
    assert_eq!(result.modes.total(), count);
}

fn nginx() -> Nginx {
    Nginx::start(NginxOptions::default())
}

/// Runs with `options` against an nginx of its own.
fn run_against_nginx(options: &str) -> RunResult {
    let nginx = nginx();
    run(&format!("{} {options}", nginx.url("x")))
}

#[test]
fn completes_and_verifies_every_complex_handshake() {
    let result = run_against_nginx("-c 256 -n 5000");
    assert_completed(&result, 5_000);
    assert_eq!(result.modes, ModeCounts { complex_verified: 5_000, ..ModeCounts::default() });
    assert_eq!(result.latency.get(Metric::Service).expect("completed attempts have a service time").count, 5_000);
    assert_eq!(result.latency.get(Metric::Response), None, "a closed loop has no plan");
}

#[test]
fn completes_simple_handshakes() {
    let result = run_against_nginx("-c 64 -n 1000 --mode simple");
    assert_completed(&result, 1_000);
    assert_eq!(result.modes, ModeCounts { simple: 1_000, ..ModeCounts::default() });
}

#[test]
fn verifies_an_answer_to_a_digest_in_either_half() {
    for half in ["first-half", "second-half"] {
        let result = run_against_nginx(&format!("-c 16 -n 500 --digest {half}"));
        assert_completed(&result, 500);
        assert_eq!(result.modes.complex_verified, 500, "{half}");
    }
}

#[test]
fn verifies_as_many_handshakes_as_asked() {
    let unverified = run_against_nginx("-c 16 -n 500 --verify none");
    assert_completed(&unverified, 500);
    assert_eq!(unverified.modes, ModeCounts { complex_unverified: 500, ..ModeCounts::default() });

    // One worker draws from one stream, so the seed decides how many.
    let nginx = nginx();
    let sampled = || run(&format!("{} -t 1 -c 16 -n 2000 --verify sample --seed 7", nginx.url("x")));
    let result = sampled();
    assert_completed(&result, 2_000);
    let ModeCounts { complex_verified, complex_unverified, simple: 0, downgraded: 0 } = result.modes else {
        panic!("{:?}", result.modes)
    };
    assert!((1..200).contains(&complex_verified), "about one in 64: {complex_verified} and {complex_unverified}");
    assert_eq!(sampled().modes, result.modes);
}

#[test]
fn a_planned_rate_is_due_exactly() {
    let nginx = nginx();
    // On a busy machine the generator may find itself late and its rate inconclusive; the books balance all the same.
    let result = run_by(shakedown_command(), &format!("{} -R 1k/s -d 2s", nginx.url("x"))).result();
    let Attempts { due, started, dropped, completed, failed, in_flight, .. } = result.attempts;
    assert_eq!((due, failed, in_flight), (2_000, 0, 0), "{:?}", result.failures);
    assert_eq!((started + dropped, completed), (2_000, started));
    let rows = &result.timeline;
    assert_eq!(rows.iter().map(|row| row.due).sum::<u64>(), due);
    assert_eq!(rows.iter().map(|row| row.started).sum::<u64>(), started);
    assert_eq!(rows.iter().map(|row| row.completed).sum::<u64>(), completed);
    let response = result.latency.get(Metric::Response).expect("a plan has response times");
    assert_eq!(
        (response.count, result.latency.get(Metric::Lateness).expect("and lateness").count),
        (completed, completed)
    );
}

#[test]
fn holds_connections_for_a_time_or_until_the_end() {
    let nginx = nginx();
    let for_a_time = run(&format!("{} -c 50 -n 100 --hold 300ms", nginx.url("x")));
    assert_completed(&for_a_time, 100);
    assert_eq!(for_a_time.connections.lost_while_held, 0);
    assert!((1..=50).contains(&for_a_time.connections.held_peak), "{:?}", for_a_time.connections);

    let to_the_end = run(&format!("{} -c 300 -n 300 --hold forever", nginx.url("x")));
    assert_completed(&to_the_end, 300);
    let connections = to_the_end.connections;
    assert_eq!((connections.held, connections.held_peak, connections.lost_while_held), (300, 300, 0));
}

#[test]
fn completes_whatever_the_close() {
    // nginx keeps a silent client for a minute, so the wait for its FIN ends with the timeout.
    for options in ["-c 64 -n 500 --close rst", "-c 64 -n 500 --close fin", "-c 500 -n 500 --close peer --timeout 1s"] {
        let result = run_against_nginx(options);
        assert_completed(&result, 500);
        assert_eq!(result.modes.complex_verified, 500, "{options}");
    }
}

#[test]
fn nginx_accepts_any_c2() {
    let result = run_against_nginx("-c 16 -n 200 --wrong-c2 --hold 100ms");
    assert_completed(&result, 200);
    assert_eq!(result.connections.lost_while_held, 0);
}

#[test]
fn connections_beyond_the_limit_of_nginx_are_its_failures() {
    let nginx = Nginx::start(NginxOptions { worker_connections: 64, ..NginxOptions::default() });
    let result = run(&format!("{} -c 200 -n 200 --hold forever", nginx.url("x")));
    let Attempts { due, started, dropped: 0, completed, failed, observed: 0, in_flight: 0, .. } = result.attempts
    else {
        panic!("{:?}", result.attempts)
    };
    assert_eq!((due, started, completed + failed), (200, 200, 200));
    assert!((1..64).contains(&completed), "{completed}");
    assert_eq!(result.connections.held_peak, completed);
    assert_eq!(result.failures.iter().map(|row| row.count).sum::<u64>(), failed);
    assert!(result.failures.iter().all(|row| row.side == Side::Target), "{:?}", result.failures);
}
