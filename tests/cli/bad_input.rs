//! What cannot be carried out is refused with one error that names cause and remedy, before anything is sent or written.

use super::command::{BINARY, Ended, ended, ended_in, finished, prepared};
use super::limits::with_descriptors;
use crate::support::Namespace;

/// Arguments of `run`, and what the error must say: the cause, then the remedy.
const REFUSED: &[(&str, &[&str])] = &[
    ("--frobnicate", &["unexpected argument '--frobnicate'", "--help"]),
    ("-R fast", &["'fast' is not a rate", "1.5k/s"]),
    ("-R 0", &["'0' is not a rate", "above zero"]),
    ("-R -5", &["'-5' is not a rate", "above zero"]),
    ("-R 1k:", &["'1k:' is not a rate or a ramp", "0:20k/s"]),
    ("-R 0:0 -d 1s", &["starts nothing", "above zero"]),
    ("-R 0:1k", &["ramp", "needs a length", "-d"]),
    ("-R 0:1k -n 5", &["ramp", "needs a length", "-d"]),
    ("-d 10", &["'10' lacks a unit", "90s"]),
    ("-d soon", &["'soon' is not a duration", "90s"]),
    ("-d 0s", &["-d 0s leaves no time", "10s"]),
    ("-w 1", &["'1' lacks a unit", "90s"]),
    ("--timeout 0s", &["--timeout 0s would fail every attempt", "10s"]),
    ("--connect-timeout 0s", &["--connect-timeout 0s would fail every attempt", "10s"]),
    ("-c 0", &["-c 0 leaves no slot", "at least 1"]),
    ("-c -1", &["-1", "--concurrency"]),
    ("-t 0", &["-t 0 leaves no worker", "at least 1"]),
    ("-n 0", &["-n 0 asks for no attempt", "at least 1"]),
    ("rtmps://serve.sim/live --engine sim", &["the simulated network does not speak", "write rtmp://"]),
    ("--tls-resume", &["no target uses it", "write rtmps://"]),
    ("rtmps://127.0.0.1/live --insecure --tls-ca ca.pem", &["an authority (ca)", "drop one of them"]),
    ("--until published", &["'published'", "handshake, reply, connect, publish, play"]),
    ("--until publish --client vlc", &["vlc does not publish", "shakedown, ffmpeg"]),
    ("--until connect --client drip", &["drip says nothing after the handshake", "drop one of them"]),
    ("--stream a{id}", &["--stream names streams", "add --until publish"]),
    ("--until publish --stream a{idd}", &["{idd} is no placeholder", "did you mean {id}"]),
    ("--until publish --stream-keys none.csv", &["cannot read the stream keys in none.csv", "check the path"]),
    ("--until play 127.0.0.1:1935", &["does not say which stream", "with --stream"]),
    ("--until publish rtmp://127.0.0.1/live/key", &["the same stream", "{id} or {slot}", "or -c 1"]),
    ("--until publish --hold 5s --bitrate 2.5m", &["'2.5m' is not a bit rate", "2.5M"]),
    ("--until publish --hold 5s --bitrate 5k", &["5000 bit/s", "16 kbit/s to 200 Mbit/s"]),
    ("--until publish --bitrate 2.5M", &["none of them stays", "add --hold 30s"]),
    ("--until publish --hold 5s --media-clients 5", &["'5' is not a part", "1% to 100%"]),
    ("--hold-check 30s", &["held connections and none are", "add --hold 5m"]),
    ("--enhanced-rtmp", &["which nobody sends", "add --until connect"]),
    ("http://localhost/live", &["scheme 'http', which is not RTMP", "write rtmp://"]),
    ("localhost", &["'localhost' names no port", "host:port"]),
    ("127.0.0.1", &["'127.0.0.1' names no port", "host:port"]),
    ("rtmp://", &["names no host", "write rtmp://"]),
    ("127.0.0.1:0", &["has port 0", "host:port"]),
    ("soak.toml", &["soak.toml", "give a scenario file"]),
    ("127.0.0.1:1935 224.0.0.1:1935", &["224.0.0.1, which no server can have"]),
    ("--mode simple --digest first-half", &["--mode simple has none", "drop one"]),
    ("--mode rtmpe", &["'rtmpe'", "simple, complex"]),
    ("--hold forever -c 10 -n 11", &["never frees a slot", "-c 11 or a hold time"]),
    ("--observe 17", &["'17' names nothing to observe", "give pid:N"]),
    ("--observe pid:0", &["'pid:0' is not the number of a process", "pgrep"]),
    ("--observe pid:5000000", &["cannot observe pid:5000000: there is no such process", "pgrep"]),
    ("--observe https://127.0.0.1/metrics", &["plain http", "http://HOST:9100/metrics"]),
    (
        "--observe http://127.0.0.1:1/metrics",
        &["cannot observe http://127.0.0.1:1/metrics", "is node_exporter running"],
    ),
    ("--engine sim --observe pid:1", &["have no processes", "leave out one"]),
    ("--hold 5", &["'5' lacks a unit", "'forever'"]),
    ("--threshold failed", &["has no comparison", "response.p99<50ms"]),
    ("--threshold respons.p99<1s", &["names no metric", "response, service"]),
    ("--threshold response.p42<1s -R 1k", &["no such statistic", "p50 to p99.99"]),
    ("--threshold service.p99<50", &["a latency needs a unit", "50ms"]),
    ("--threshold failed<5", &["a share of the due attempts", "1%"]),
    ("--threshold rate>fast", &["a rate is written as", "20k/s"]),
    ("--threshold response.p99<50ms", &["closed loop has none", "use service.p99", "-R"]),
    ("--threshold lateness.max<1ms", &["closed loop has none", "use service.max", "-R"]),
    ("--threshold others.failed<1%", &["names no population"]),
    (
        "-R 100 -d 3s --threshold response.p99<50ms",
        &["p99 needs 1000 attempts", "the plan has 300", "lengthen the load to 10s, or use response.p95"],
    ),
    ("-n 10 --threshold service.p99<1s", &["the plan has 10", "plan 1000 attempts, or use service.max"]),
    ("--client half-c1 -R 1k --threshold response.max<1s", &["hostile clients complete none"]),
    ("--ipv4 --ipv6", &["--ipv6", "--ipv4"]),
    ("--ipv6 127.0.0.1:1935", &["no IPv6 address, only 127.0.0.1", "choose IPv4, or no family"]),
    ("--share 0/3", &["a closed loop has none", "-R"]),
    ("--share 0/3 -R 1k", &["the arrivals of one seed", "such as --seed 1"]),
    ("--share 3/3 -R 1k", &["share 3/3 does not exist", "2/3"]),
    ("--share half -R 1k", &["'half'", "--share"]),
    ("--arrival poisson", &["a closed loop has none", "-R"]),
    ("--source eth0", &["'eth0' is not ADDR or ADDR-ADDR", "example"]),
    ("--source 127.0.0.9-127.0.0.1", &["does not go from a lower to a higher address"]),
    ("--source ::1 127.0.0.1:1935", &["different address families", "the target's family"]),
    ("--source 192.0.2.1 127.0.0.1:1935", &["192.0.2.1 is not an address of this host", "ip address"]),
    ("--start-at 2020-01-01T00:00:00Z", &["has passed", "in the future"]),
    ("--start-at tomorrow", &["is not an instant", "2026-01-31T18:00:00Z"]),
    ("--label server", &["KEY=VALUE", "server=nginx-1.22"]),
    ("--label =x", &["KEY=VALUE"]),
    ("--attach missing.conf", &["cannot attach missing.conf", "No such file"]),
    ("--cpus 4095", &["--cpus: CPU 4095 is not in this process's cpuset, which is", "taskset -c"]),
    ("--cpus 0,0", &["CPU 0 is given twice", "this process's cpuset is"]),
    ("--cpus 3-1", &["'3-1' is not a list of CPUs", "2-15,17", "this process's cpuset is"]),
    ("--cpus=", &["the list of CPUs is empty", "2-15,17", "this process's cpuset is"]),
    ("--cpus 0 --engine sim", &["pins no worker", "drop --cpus"]),
    ("--seed x", &["'x'", "--seed"]),
    ("--engine kqueue", &["'kqueue'", "io_uring, epoll, sim"]),
    ("--engine sim -c 4294967295", &["has room for 1048576 connections", "lower -c"]),
    ("--engine sim -t 2", &["one worker", "drop -t"]),
    ("--engine sim rtmp://unknown.sim/live", &["cannot resolve 'unknown.sim'", "serve.sim"]),
    ("-n 1 -n 2", &["cannot be used multiple times"]),
];

#[test]
fn run_refuses_with_cause_and_remedy_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (words, parts) in REFUSED {
        let ended = ended_in(folder.path(), &format!("run {words} -o result.json"));
        ended.assert_error(2, parts);
        assert!(!ended.stderr.contains("\ntarget "), "announced: {ended:#?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn conditions_that_the_plan_cannot_decide_or_meet_are_refused_with_what_would_do() {
    for (words, flag, condition, parts) in [
        (
            "-R 100 -d 1m",
            "--threshold",
            "response.p99<1s in 5s",
            ["needs 1000 attempts that complete in a window", "at most 500 in 5s; use windows of 10s or response.p95"],
        ),
        (
            "-R 100",
            "--abort-if",
            "response.p99>10us for 2s",
            ["can never be met: p99 needs 1000", "most 100; use response.p90"],
        ),
        ("-R 100", "--abort-if", "failed>5% for 30s", ["can never be met: the load lasts 10s", "fewer seconds"]),
        ("-R 100", "--abort-if", "failed>100% for 3s", ["no share is more than all", "failed>=100% for 5s"]),
        ("-R 100", "--abort-if", "dropped>5% for 3s", ["are dropped only then", "response.max or outage"]),
    ] {
        let mut command = prepared(&format!("run --engine sim {words} {flag}"));
        command.arg(condition);
        finished(command).assert_error(2, &parts);
    }
}

#[test]
fn other_commands_refuse_too() {
    for (words, parts) in [
        ("frobnicate", ["unrecognized subcommand 'frobnicate'", "--help"]),
        ("sink --listen 1935", ["'1935' is not an address and a port", "127.0.0.1:1935"]),
        ("sink --listen localhost:1935", ["'localhost:1935' is not an address and a port", "127.0.0.1:1935"]),
        ("sink -t 0", ["-t 0 leaves no worker", "at least 1"]),
        ("sink --ping-every 0s", ["--ping-every 0s would ask without end", "leave it out"]),
        ("sink --delay 5", ["'5' lacks a unit", "90s"]),
        ("completions tcsh", ["'tcsh'", "bash"]),
        ("man frobnicate", ["no command 'frobnicate'", "there is run"]),
        ("probe", ["<TARGET>", "Usage"]),
        ("probe rtmp://localhost/live --insecure", ["TLS is asked for", "write rtmps:// for it"]),
        ("merge part.json", ["--output <FILE>", "Usage"]),
        ("merge -o merged.json", ["<RESULT.json>", "Usage"]),
        ("merge missing.json -o merged.json", ["cannot read missing.json", "No such file"]),
        ("report", ["<RESULT.json>", "Usage"]),
    ] {
        ended(words).assert_error(2, &parts);
    }
}

#[test]
fn no_command_shows_the_commands() {
    let ended = ended("");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("Usage: shakedown <COMMAND>"), "{ended:#?}");
}

/// Without a way out of this host, whatever the test might send by mistake.
fn offline(words: &str) -> Ended {
    let namespace = Namespace::new();
    let mut command = namespace.command(BINARY);
    command.args(words.split_whitespace());
    finished(command)
}

#[test]
fn a_public_address_is_refused_until_it_is_allowed() {
    for target in ["203.0.113.7:1935", "rtmp://203.0.113.7/live", "[2001:db8::7]:1935", "[::ffff:203.0.113.7]:1935"] {
        offline(&format!("run {target} -n 1")).assert_error(2, &["a public address", "--allow-target"]);
    }
    offline("run 203.0.113.7:1935 -n 1 --allow-target 198.51.100.0/24").assert_error(2, &["a public address"]);
    for allowed in ["203.0.113.7", "203.0.113.0/24"] {
        let ended = offline(&format!("run 203.0.113.7:1935 -n 1 --allow-target {allowed}"));
        assert_eq!(ended.code, Some(5), "{ended:#?}");
        assert!(ended.stdout.contains("1 x connect unreachable (the network's,"), "{ended:#?}");
    }
}

#[test]
fn an_unknown_host_is_named() {
    offline("run rtmp://nowhere.invalid/live -n 1")
        .assert_error(2, &["cannot resolve 'nowhere.invalid'", "check the name"]);
}

#[test]
fn too_many_slots_for_the_workers_names_how_many_are_needed() {
    let ended = finished(with_descriptors(prepared("run 127.0.0.1:1935 -t 1 -c 200"), 64));
    ended.assert_error(2, &["200 slots need 4 workers", "holds 64 connections", "give -t 4"]);
}

#[test]
fn too_few_ports_names_how_many_sources_are_needed() {
    let script = "echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$0\" run 127.0.0.1:1935 -c 25";
    let namespace = Namespace::new();
    let mut command = namespace.command("sh");
    command.args(["-c", script, BINARY]);
    finished(command).assert_error(2, &["25 connections", "there are 10", "give 3 source addresses"]);
}
