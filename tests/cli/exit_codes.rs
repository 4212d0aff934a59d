//! Exit codes and their precedence: 2, 1, 130/143, 5, 4, 3, 0. Those of signals are in `signals`, of usage in
//! `bad_input`.

use shakedown::run::RunResult;

use super::command::{BINARY, ended, finished, prepared, simulated};
use crate::support::Namespace;

fn code(words: &str) -> i32 {
    simulated(words).code.expect("no signal")
}

#[test]
fn as_asked_is_0_with_or_without_failures() {
    assert_eq!(code("rtmp://serve.sim/live -n 10"), 0);
    assert_eq!(code("rtmp://slow.sim/live -n 100 -c 100 --timeout 1s"), 0);
    assert_eq!(code("rtmp://serve.sim/live -R 100 -n 10 --threshold rate>=10/s"), 0);
}

#[test]
fn a_missed_condition_is_3() {
    assert_eq!(code("rtmp://serve.sim/live rtmp://refuse.sim/live -n 10 --threshold failed<1%"), 3);
    assert_eq!(code("rtmp://serve.sim/live -n 1000 --threshold service.p50<1us"), 3);
    assert_eq!(code("rtmp://serve.sim/live -n 10 --threshold rate>10M/s"), 3);
    assert_eq!(code("rtmp://simple.sim/live -n 10 --threshold downgraded<=0"), 3);
}

#[test]
fn a_whole_target_or_client_of_which_nothing_completed_is_3() {
    let dead = simulated("rtmp://serve.sim/live rtmp://refuse.sim/live -n 10");
    assert_eq!(dead.code, Some(3), "{dead:#?}");
    let named = "target rtmp://refuse.sim/live (10.255.0.13:1935): none of 5 attempts completed";
    assert!(dead.stdout.split_whitespace().collect::<Vec<_>>().join(" ").contains(named), "{dead:#?}");
}

#[test]
fn a_simulated_load_that_its_target_refuses_ends_as_one_on_sockets_does() {
    let refused = |flag: &str| {
        let ended = simulated(&format!("rtmp://refuse.sim/live -R 100 -d 10s --json {flag}"));
        let result: RunResult =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
        let told = ended.stderr.contains("every target refuses every connection: ending the load");
        let codes: Vec<_> = result.generator.findings.iter().map(|finding| finding.code.to_string()).collect();
        let events: Vec<_> = result.events.iter().map(|event| event.code.as_str()).collect();
        (ended.code, result.window.duration_s, told, codes.contains(&"refused_by_all".to_owned()), events == ["ended"])
    };
    let (code, duration_s, told, found, noted) = refused("");
    assert_eq!((code, told, found, noted), (Some(5), true, true, true));
    assert!((3.0..3.1).contains(&duration_s), "{duration_s}");
    assert_eq!(refused("--keep-going"), (Some(5), 10.0, false, false, false));
}

#[test]
fn a_run_of_hostile_clients_says_what_happened_to_them() {
    let met = |target: &str, expect: &str| {
        let mut command =
            prepared(&format!("run --engine sim --seed 1 rtmp://{target}.sim/live -n 3 --client half-c1"));
        command.args(if expect.is_empty() { Vec::new() } else { vec!["--expect", expect] });
        let ended = finished(command);
        let verdict =
            ended.stdout.lines().skip_while(|line| !line.starts_with("verdict")).take_while(|line| !line.is_empty());
        (ended.code, verdict.map(str::trim).collect::<Vec<_>>().join(" "))
    };
    let known = |code, verdict: &str| (Some(code), format!("verdict    {verdict}"));
    assert_eq!(met("silent", ""), known(0, "pass: no thresholds were set; closed loop asks no rate"));
    let otherwise = "fail: 3 attempts of hostile clients went otherwise than expected";
    assert_eq!(met("silent", "closed within 1s"), known(3, otherwise));
    let nobody = "inconclusive: nothing is known about the target: no hostile client got a connection";
    assert_eq!(met("refuse", ""), known(4, nobody));
}

#[test]
fn what_cannot_be_told_is_4_and_goes_before_3() {
    // How many attempts a closed loop makes is not known before.
    let few = "rtmp://slow.sim/live -d 1s --threshold service.p99<1s";
    assert_eq!(code(few), 4);
    assert_eq!(code(&format!("{few} --threshold rate>10M/s")), 4);
    let limited = "rtmp://no-ports.sim/live -R 100 -d 1s --hold 1s";
    assert_eq!(code(limited), 4);
    assert_eq!(code(&format!("{limited} --threshold failed<1%")), 4);
}

#[test]
fn nothing_completed_is_5_and_goes_before_4_and_3() {
    for host in ["refuse", "unreachable", "no-route", "reset", "http"] {
        assert_eq!(code(&format!("rtmp://{host}.sim/live -n 3")), 5, "{host}");
    }
    assert_eq!(code("rtmp://refuse.sim/live -d 1s --threshold service.p99<1s"), 5);
    assert_eq!(code("rtmp://refuse.sim/live -n 3 --threshold failed<1%"), 5);
}

#[test]
fn a_load_ended_by_its_own_condition_is_3_and_5_if_nothing_had_completed() {
    let ended = |targets: &str| {
        let mut command = prepared(&format!("run --engine sim --seed 1 {targets} -R 50 -d 20s"));
        command.args(["--abort-if", "failed>40% for 2s"]);
        finished(command)
    };
    let half = ended("rtmp://serve.sim/live rtmp://refuse.sim/live");
    let none = ended("rtmp://refuse.sim/live");
    assert_eq!([half.code, none.code], [Some(3), Some(5)], "{half:#?} {none:#?}");
    // The verdict names the condition either way.
    let verdict = |stdout: &str| {
        let lines = stdout.lines().skip_while(|line| !line.starts_with("verdict"));
        let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    };
    insta::assert_snapshot!(verdict(&half.stdout), @"verdict    fail: the load was ended: failed>40% for 2s held in 2 seconds in a row up to 2 s, in the last one with 50.0 %; target rtmp://refuse.sim/live (10.255.0.13:1935): none of 50 attempts completed");
    insta::assert_snapshot!(verdict(&none.stdout), @"verdict    fail: the load was ended: failed>40% for 2s held in 2 seconds in a row up to 2 s, in the last one with 100.0 %; nothing completed: the target or the way to it failed");
}

#[test]
fn nothing_completed_for_want_of_ports_is_1_and_goes_before_3() {
    let namespace = Namespace::new();
    let script = "echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range
        echo 40000-40009 > /proc/sys/net/ipv4/ip_local_reserved_ports
        exec \"$0\" run 127.0.0.1:1935 -n 2 -c 2 -q --threshold 'failed<1%'";
    let mut command = namespace.command("sh");
    command.args(["-c", script, BINARY]);
    let ended = finished(command);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let named = ["2 x connect no_ports (our own,", "this machine's limits"].map(|text| ended.stdout.contains(text));
    assert_eq!(named, [true, true], "{ended:#?}");
}

#[test]
fn a_result_that_cannot_be_saved_is_1_after_the_report_and_goes_before_3() {
    let ended = simulated("rtmp://serve.sim/live -n 10 -q -o /dev/full --threshold rate>10M/s");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("rate>10M/s is missed"), "{ended:#?}");
    assert!(
        ended.stderr.starts_with("error: cannot write /dev/full") && ended.stderr.lines().count() == 1,
        "{ended:#?}"
    );
}

#[test]
fn usage_is_2_and_goes_before_1() {
    assert_eq!(ended("run --engine sim -c 0 -o /nowhere/result.json").code, Some(2));
}
