//! Networks that lack something, as namespaces of their own.

use shakedown::measure::{FailureKind, Side, Step};

use super::nginx::assert_completed;
use crate::support::{Namespace, RunOutput, run_by};

fn run_in(namespace: &Namespace, arguments: &str) -> RunOutput {
    run_by(namespace.command(env!("CARGO_BIN_EXE_shakedown")), arguments)
}

fn set(namespace: &Namespace, setting: &str, value: &str) {
    let script = format!("echo '{value}' > /proc/sys/net/ipv4/{setting}");
    let status = namespace.command("sh").args(["-c", &script]).status().expect("sh starts");
    assert!(status.success(), "{script}: {status}");
}

#[test]
fn without_a_route_the_network_is_to_blame() {
    let namespace = Namespace::new();
    let result = run_in(&namespace, "10.1.2.3:1935 -c 4 -n 40").ended_with(5);
    assert_eq!((result.attempts.completed, result.attempts.failed), (0, 40));
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.step, row.kind, row.side, row.count), (Step::Connect, FailureKind::Unreachable, Side::Network, 40));
}

#[test]
fn more_connections_than_ports_are_refused_before_the_load() {
    let namespace = Namespace::new();
    set(&namespace, "ip_local_port_range", "40000 40099");
    let RunOutput { code, told, printed } = run_in(&namespace, "127.0.0.1:1935 -c 250 -n 250");
    assert_eq!((code, printed.as_str()), (2, ""));
    assert!(told.contains("give 3 source addresses"), "{told}");

    let result = run_in(&namespace, "-c 250 -n 250 --hold forever --source 127.0.0.1-127.0.0.3").passed();
    assert_completed(&result, 250);
    assert_eq!(result.connections.held_peak, 250);
}

#[test]
fn ports_that_run_out_are_our_own_failure() {
    let namespace = Namespace::new();
    set(&namespace, "ip_local_port_range", "40000 40099");
    // A port in TIME_WAIT is not used again.
    set(&namespace, "tcp_tw_reuse", "0");
    let result = run_in(&namespace, "-c 10 -n 300 --close fin --source 127.0.0.1").passed();
    // The sink's own port lies in the range.
    assert_eq!((result.attempts.completed, result.attempts.failed), (99, 201));
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.step, row.kind, row.side, row.count), (Step::Connect, FailureKind::NoPorts, Side::Generator, 201));
    assert!(result.generator.limited);
}
