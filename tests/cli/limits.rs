//! Processes that may not do what the generator needs: io_uring forbidden or missing, few descriptors.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::command::{ended, finished, prepared};
use crate::support::SinkProcess;

/// Lets `command` run with `descriptors` as its soft and hard limit of open files.
pub fn with_descriptors(command: Command, descriptors: u64) -> Command {
    with_limit(command, libc::RLIMIT_NOFILE, descriptors)
}

/// Lets `command` run with `most` as its soft and hard limit of a resource (getrlimit(2)).
pub fn with_limit(mut command: Command, resource: libc::__rlimit_resource_t, most: u64) -> Command {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: between fork and exec the closure makes one system call on a value of its own; it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(move || ok(libc::setrlimit(resource, &limit))) };
    command
}

/// Lets `command` run under a seccomp filter that answers one system call with an error, as container runtimes do.
fn without(mut command: Command, call: libc::c_long, errno: i32) -> Command {
    const NUMBER_AT: u32 = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let instruction = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 1 - jt, k };
    let mut filter = [
        libc::sock_filter { jf: 0, ..instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, NUMBER_AT) },
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, call as u32),
        libc::sock_filter {
            jf: 0,
            ..instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno as u32)
        },
        libc::sock_filter { jf: 0, ..instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW) },
    ];
    // SAFETY: between fork and exec the closure makes two system calls on values of its own; it allocates nothing and
    // takes no lock. The kernel copies the filter, whose length is that of the array.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            ok(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            ok(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program))
        })
    };
    command
}

fn ok(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Every command that needs a ring.
const NEED_IO_URING: [&str; 3] = ["run -n 1 -q", "run 127.0.0.1:1935 -n 1 -q", "sink --listen 127.0.0.1:0 -t 2"];

/// Each of io_uring's system calls, and what profiles answer: Docker's EPERM, podman's ENOSYS.
fn refusals() -> impl Iterator<Item = (&'static str, libc::c_long, &'static str, i32)> {
    let calls = [
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_enter", libc::SYS_io_uring_enter),
        ("io_uring_register", libc::SYS_io_uring_register),
    ];
    let answers = [("EPERM", libc::EPERM), ("ENOSYS", libc::ENOSYS)];
    calls.into_iter().flat_map(move |(call, number)| answers.map(|(name, errno)| (call, number, name, errno)))
}

#[test]
fn a_profile_that_forbids_io_uring_is_named_with_its_remedy() {
    for (call, number, name, errno) in refusals() {
        for words in NEED_IO_URING {
            let ended = finished(without(prepared(words), number, errno));
            let cause = format!("{call} is forbidden to this process ({name}) by a seccomp profile");
            let remedies = ["--security-opt", "or use the engine that does without: `--engine epoll`"];
            ended.assert_error(1, &[cause.as_str(), remedies[0], remedies[1]]);
        }
    }
}

#[test]
fn doctor_sees_what_a_profile_forbids() {
    for (call, number, name, errno) in refusals() {
        let ended = finished(without(prepared("doctor --json"), number, errno));
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        let report = ended.json();
        let findings = report["findings"].as_array().expect("findings");
        let finding = findings.iter().find(|finding| finding["code"] == "io_uring").expect("the check");
        let text = finding.to_string();
        let parts = [&format!("{call} is forbidden to this process ({name})"), "by a seccomp profile"];
        assert!(parts.iter().all(|part| text.contains(part)), "{call} {name}: {text}");
    }
}

#[test]
fn what_needs_no_io_uring_works_without() {
    let peer = SinkProcess::start("-t 1");
    for words in [
        "run --engine sim -n 10 -q",
        "run --engine epoll -n 10 -q",
        "doctor --engine epoll --json",
        &format!("run --engine epoll {} -n 10 -q", peer.address()),
        &format!("probe {} --json", peer.address()),
    ] {
        let ended = finished(without(prepared(words), libc::SYS_io_uring_setup, libc::EPERM));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
}

#[test]
fn few_descriptors_are_enough_for_few_connections() {
    let sink = SinkProcess::start("-t 1");
    for (engine, descriptors) in [("io_uring", 64), ("epoll", 80)] {
        let words = format!("run {} -n 10 -c 4 -t 1 --engine {engine}", sink.address());
        let ended = finished(with_descriptors(prepared(&words), descriptors));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
}

/// Without file tables of their own all workers share the limit, and the built-in sink with them.
#[test]
fn epoll_has_one_limit_for_all_workers() {
    let ended = finished(with_descriptors(prepared("run 127.0.0.1:1935 --engine epoll -c 1000 -t 2 -n 1"), 1_000));
    ended.assert_error(2, &["1000 slots need as many open files", "has 928 for them", "--engine io_uring", "lower -c"]);
    let ended = finished(with_descriptors(prepared("run --engine epoll -c 400 -t 1 -n 1"), 1_000));
    ended.assert_error(2, &["has 310 for them", "the built-in sink's included"]);
    let ended = finished(with_descriptors(prepared("run --engine epoll -c 300 -t 1 -n 3000 -q"), 1_000));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

#[test]
fn too_few_descriptors_are_named_wherever_they_run_out() {
    for words in NEED_IO_URING {
        for descriptors in [5, 8, 11, 13, 15] {
            let ended = finished(with_descriptors(prepared(words), descriptors));
            ended.assert_error(1, &["Too many open files", "raise `ulimit -n`"]);
        }
    }
    let ended = finished(with_descriptors(prepared("run -c 1000 -n 10 -q"), 64));
    ended.assert_error(1, &["Too many open files", "raise `ulimit -n`"]);
}

/// `docs/seccomp-io_uring.json`, as container runtimes read it.
#[test]
fn the_seccomp_profile_allows_io_uring_and_what_it_does_not_name_is_denied() {
    let profile: serde_json::Value =
        serde_json::from_str(include_str!("../../docs/seccomp-io_uring.json")).expect("JSON");
    assert_eq!(
        (&profile["defaultAction"], &profile["defaultErrnoRet"]),
        (&"SCMP_ACT_ERRNO".into(), &libc::EPERM.into())
    );
    let groups = profile["syscalls"].as_array().expect("groups of calls");
    assert!(groups.iter().all(|group| group["action"] == "SCMP_ACT_ALLOW"));
    let names = groups.iter().flat_map(|group| group["names"].as_array().expect("names"));
    let mut names: Vec<&str> = names.map(|name| name.as_str().expect("a name")).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "each call is named once: {names:?}");
    let has = |name| names.binary_search(&name).is_ok();
    assert!(["io_uring_setup", "io_uring_enter", "io_uring_register", "epoll_pwait", "ppoll"].into_iter().all(has));
    assert!(!["bpf", "keyctl", "mount", "ptrace", "unshare", "userfaultfd"].into_iter().any(has));
}

#[test]
fn a_pool_that_holds_all_its_connections_is_too_small_and_the_generator_is_not_slow() {
    let ended = ended("run --engine sim rtmp://serve.sim/live -R 50/s -d 6s --hold 10s -c 50 --json -q");
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    let result = ended.json();
    let codes: Vec<_> =
        result["generator"]["findings"].as_array().unwrap().iter().map(|found| &found["code"]).collect();
    assert!(codes.contains(&&"pool_too_small".into()) && !codes.contains(&&"missed_starts".into()), "{codes:?}");
}

#[test]
fn tokens_and_names_are_as_long_as_they_are() {
    let (token, name) = ("x".repeat(33_000), "y".repeat(317));
    for engine in ["", "--engine epoll"] {
        let words = format!(
            "run --until publish -n 5 -c 2 -t 1 --json --app live?token={token} --stream {name}-{{id}} {engine}"
        );
        let ended = ended(&words);
        let result: serde_json::Value = serde_json::from_str(&ended.stdout).expect("a result");
        assert_eq!((ended.code, &result["attempts"]["completed"]), (Some(0), &5.into()), "{engine}: {}", ended.stderr);
    }
}
