//! `shakedown sink`: where it listens, what it counted, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::command::{Ended, assert_conserved, ended, prepared};

/// A running `shakedown sink`; killed when dropped.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Running {
    fn start(flags: &str) -> Self {
        let mut command = prepared(&format!("sink --listen 127.0.0.1:0 {flags}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a readable pipe");
        let address = if flags.contains("--json") {
            let line: Value = serde_json::from_str(&line).expect("every line is JSON");
            line["listening"].as_str().and_then(|address| address.parse().ok())
        } else {
            line.strip_prefix("listening on ").and_then(|rest| rest.trim_end().parse().ok())
        };
        Self { child, stdout, address: address.unwrap_or_else(|| panic!("the first line is {line:?}")) }
    }

    /// Ends it by `signal`; exit code, the rest of stdout, and stderr.
    fn end(mut self, signal: Signal) -> Ended {
        kill_process(Pid::from_child(&self.child), signal).expect("the child is ours");
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("UTF-8");
        self.child.stderr.take().expect("stderr is piped").read_to_string(&mut stderr).expect("UTF-8");
        Ended { code: self.child.wait().expect("the child is ours").code(), stdout, stderr }
    }

    /// Makes `words` happen to it.
    fn load(&self, words: &str) -> Value {
        let ended = ended(&format!("run {} -q --json {words}", self.address));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert_conserved(&ended.json());
        ended.json()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, or a failed test: either way it is waited for.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn it_counts_what_it_served_as_text() {
    let sink = Running::start("-t 1");
    sink.load("-n 7");
    sink.load("-n 5 --mode simple --close fin");
    sink.load("-n 3 --wrong-c2");
    let ended = sink.end(Signal::INT);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(ended.stdout, @r"
    accepted 15
    complex 10
    simple 5
    c2_valid 7
    c2_echo 5
    c2_invalid 3
    c2_unchecked 0
    reset 10
    violations 0
    abandoned 0
    refused 0
    connected 0
    published 0
    played 0
    rejected 0
    media_bytes 0
    media_messages 0
    bad_messages 0
    full 0
    held 0
    ");
}

#[test]
fn it_counts_what_it_served_as_json() {
    let sink = Running::start("--json -t 2");
    sink.load("-n 40 -c 8");
    let counts = sink.end(Signal::TERM);
    assert_eq!((counts.code, counts.stdout.lines().count()), (Some(0), 1), "an object a line");
    let counts = counts.json();
    for (key, count) in [("accepted", 40), ("complex", 40), ("c2_valid", 40), ("reset", 40)] {
        assert_eq!(counts[key], count, "{key}: {counts}");
    }
    for key in ["simple", "c2_echo", "c2_invalid"] {
        assert_eq!(counts[key], 0, "{key}: {counts}");
    }
}

#[test]
fn a_terminal_that_is_gone_ends_it_as_well() {
    let sink = Running::start("-t 1");
    let ended = sink.end(Signal::HUP);
    assert_eq!((ended.code, ended.stdout.starts_with("accepted 0\n")), (Some(0), true), "{ended:#?}");
}

#[test]
fn unverified_c2s_are_said_to_be() {
    let sink = Running::start("--verify none --json");
    sink.load("-n 10 --wrong-c2");
    let counts = sink.end(Signal::INT).json();
    assert_eq!((&counts["c2_unchecked"], &counts["c2_invalid"]), (&json!(10), &json!(0)));
}

#[test]
fn a_delay_holds_every_attempt() {
    let sink = Running::start("--delay 120ms");
    let result = sink.load("-n 4 -c 4");
    let least = result["latency"]["s0s1"]["min_ns"].as_u64().unwrap();
    assert!(least >= 120_000_000, "{least} ns");
    let later = Running::start("--delay 1h");
    let ended = ended(&format!("run {} -q --json -n 4 -c 4 --timeout 100ms", later.address));
    assert_eq!(ended.code, Some(5));
    assert_eq!(super::command::failures(&ended.json()), "s0 timeout target x 4");
}

#[test]
fn rules_are_obeyed_and_counted() {
    let sink = Running::start("--json --reject publish:name=taken-*:name-taken --reject connect:app=old:rejected");
    sink.load("-n 6 --until publish --stream fine-{id} --close fin");
    for (path, words) in [("live", "-n 4 --until publish --stream taken-{id}"), ("old", "-n 2 --until connect")] {
        let ended = ended(&format!("run rtmp://{}/{path} -q --json {words}", sink.address));
        assert_eq!(ended.code, Some(5), "{ended:#?}");
    }
    let counts = sink.end(Signal::INT).json();
    for (key, count) in [("connected", 10), ("published", 6), ("rejected", 6), ("bad_messages", 0)] {
        assert_eq!(counts[key], count, "{key}: {counts}");
    }
}

#[test]
fn wrong_rules_and_certificates_are_usage_errors() {
    ended("sink --listen 127.0.0.1:0 --reject listen:no").assert_error(2, &["'listen' is no request", "publish"]);
    ended("sink --listen 127.0.0.1:0 --reject publish:gone").assert_error(2, &["'gone'", "name-taken"]);
    ended("sink --listen 127.0.0.1:0 --tls-cert /nonexistent --tls-key /nonexistent")
        .assert_error(2, &["/nonexistent"]);
    ended("sink --listen 127.0.0.1:0 --tls-cert /nonexistent").assert_error(2, &["--tls-key"]);
}

#[test]
fn an_address_in_use_or_of_another_host_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    ended(&format!("sink --listen {address}")).assert_error(1, &["cannot listen on", "in use", "another port"]);
    ended("sink --listen 192.0.2.1:0").assert_error(1, &["cannot listen on 192.0.2.1:0", "an address of this host"]);
    ended("sink --listen 127.0.0.1:0 --cpus 4095")
        .assert_error(2, &["--cpus", "CPU 4095 is not in this process's cpuset"]);
}
