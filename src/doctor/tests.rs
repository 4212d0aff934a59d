use super::*;
use crate::finding::{Finding, FindingCode, Severity};
use crate::fleet::Topology;
use crate::host::{Conntrack, Limit, MachineFacts, RingTrial, Usage};
use crate::io::Engine;

/// The trial of a ring where io_uring_setup is refused.
fn refused(errno: i32) -> RingTrial {
    RingTrial::Refused { call: "io_uring_setup", errno }
}

/// A machine without a fault.
pub(super) fn sound() -> MachineFacts {
    MachineFacts {
        kernel: Some("6.18.0".into()),
        ring: RingTrial::Works { direct_descriptors: true },
        io_uring_disabled: Some(0),
        seccomp: Some(0),
        container: None,
        open_files: Limit { soft: Some(1024), hard: Some(1 << 20) },
        system_files: Some(Usage { used: 1_000, most: 2_000_000 }),
        port_range: Some(32_768..=60_999),
        tw_reuse: Some(1),
        timestamps: Some(1),
        tw_buckets: Some(131_072),
        epoll_watches: Some(5_000_000),
        somaxconn: Some(4096),
        tcp_memory: Some(1 << 30),
        conntrack: None,
        cpus_online: Some(8),
        cpus_allowed: 8,
        topology: Topology::of_cpus(0..8),
        cores: 8,
        governors: vec!["performance".into()],
        clock_source: Some("tsc".into()),
        virtual_machine: false,
        steal_per_mille: Some(0),
        memory_available: Some(16 << 30),
        cgroup_memory_left: None,
    }
}

fn finding(check: &str, facts: &MachineFacts) -> Finding {
    examine(facts, Engine::IoUring)
        .into_iter()
        .find(|finding| finding.code.to_string() == check)
        .unwrap_or_else(|| panic!("no finding {check}"))
}

fn text(finding: &Finding) -> String {
    let Finding { value, message, remedy, .. } = finding;
    format!("{}: {message} -> {}", value.as_deref().unwrap_or_default(), remedy.as_deref().unwrap_or("nothing"))
}

#[test]
fn a_sound_machine_has_no_fault() {
    for finding in examine(&sound(), Engine::IoUring) {
        assert_eq!((finding.severity, &finding.remedy), (Severity::Ok, &None), "{finding:?}");
    }
}

#[test]
fn a_refused_ring_blocks_and_says_why() {
    let (eperm, enosys) = (libc::EPERM, libc::ENOSYS);
    let gvisor = Some("gVisor".to_owned());
    let cases = [
        (
            MachineFacts { io_uring_disabled: Some(2), ..sound() },
            eperm,
            ["io_uring_disabled = 2", "switched off", "sysctl -w kernel.io_uring_disabled=0"],
        ),
        (
            MachineFacts { io_uring_disabled: Some(1), ..sound() },
            eperm,
            ["io_uring_disabled = 1", "switched off", "CAP_SYS_ADMIN"],
        ),
        (
            MachineFacts { seccomp: Some(2), ..sound() },
            eperm,
            ["seccomp profile", "Docker", "--security-opt seccomp=docs/seccomp-io_uring.json"],
        ),
        (
            MachineFacts { seccomp: None, io_uring_disabled: None, ..sound() },
            eperm,
            ["seccomp profile", "containerd", "io_uring_enter"],
        ),
        (
            MachineFacts { seccomp: Some(2), ..sound() },
            enosys,
            ["io_uring_setup is forbidden", "podman", "--security-opt seccomp=docs/seccomp-io_uring.json"],
        ),
        (MachineFacts { seccomp: Some(2), kernel: Some("4.19.0".into()), ..sound() }, enosys, ["older", "5.1", "6.1"]),
        (sound(), eperm, ["SELinux", "BPF", "audit log"]),
        (sound(), enosys, ["older than Linux 5.1", "CONFIG_IO_URING", "Linux 6.1 or later"]),
        (MachineFacts { container: gvisor, ..sound() }, enosys, ["gVisor", "ENOSYS", "runc"]),
        (sound(), libc::EINVAL, ["too old", "DEFER_TASKRUN", "Linux 6.1 or later"]),
        (sound(), libc::ENOMEM, ["no memory", "ulimit -l", "cgroup"]),
        (sound(), libc::EMFILE, ["descriptor", "ulimit -n", "fs.file-max"]),
        (sound(), libc::EIO, ["io_uring_setup failed", "Input/output error", "strace"]),
    ];
    for (facts, errno, phrases) in cases {
        let finding = finding("io_uring", &MachineFacts { ring: refused(errno), ..facts });
        assert_eq!(finding.severity, Severity::Blocking);
        for phrase in phrases {
            assert!(text(&finding).contains(phrase), "{phrase}: {}", text(&finding));
        }
        let forbidden = [eperm, enosys, libc::EINVAL].contains(&errno);
        assert_eq!(text(&finding).contains("`--engine epoll`"), forbidden, "{}", text(&finding));
    }
}

#[test]
fn epoll_asks_for_less() {
    let old = MachineFacts { ring: refused(libc::EPERM), kernel: Some("4.19.0".into()), ..sound() };
    let findings = examine(&old, Engine::Epoll);
    let severities: Vec<_> = findings.iter().take(4).map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(
        severities,
        [
            (FindingCode::IoUring, Severity::Info),
            (FindingCode::Kernel, Severity::Ok),
            (FindingCode::OpenFiles, Severity::Ok),
            (FindingCode::EpollWatches, Severity::Ok)
        ]
    );
    assert!(text(&findings[2]).contains("in all workers together"), "{}", text(&findings[2]));
    for finding in examine(&sound(), Engine::Epoll) {
        assert_eq!((finding.severity, &finding.remedy), (Severity::Ok, &None), "{finding:?}");
    }
}

#[test]
fn each_fault_has_its_finding() {
    use Severity::{Blocking, Info, Ok, Warning};
    let entries = |used, most| Some(Conntrack { entries: Usage { used, most }, after_rst_s: 10, after_fin_s: 120 });
    let files = |hard| Limit { soft: Some(64), hard };
    let kernel = |release: &str| MachineFacts { kernel: Some(release.into()), ..sound() };
    let clock = |name: &str| MachineFacts { clock_source: Some(name.into()), ..sound() };
    let cases = [
        ("io_uring", MachineFacts { ring: RingTrial::Works { direct_descriptors: false }, ..sound() }, Info, "6.13"),
        ("kernel", kernel("5.15.0-91-generic"), Warning, "defer their work (6.1)"),
        ("kernel", kernel("6.1.0-25-amd64"), Info, "lacks socket options through the ring (6.7), bind"),
        ("kernel", kernel("6.12.9"), Info, "lacks direct descriptors that are released at once (6.13) ->"),
        ("kernel", kernel("6.13"), Ok, "has all"),
        ("kernel", kernel("7.0.1"), Ok, "has all"),
        ("kernel", kernel("custom"), Ok, "no version number"),
        ("open_files", MachineFacts { open_files: files(Some(50)), ..sound() }, Blocking, "too few"),
        ("open_files", MachineFacts { open_files: files(Some(64)), ..sound() }, Warning, "ulimit -Hn"),
        ("open_files", MachineFacts { open_files: files(Some(1024)), ..sound() }, Warning, "ulimit -Hn"),
        ("open_files", MachineFacts { open_files: files(None), ..sound() }, Ok, "unlimited (soft 64)"),
        (
            "system_files",
            MachineFacts { system_files: Some(Usage { used: 95_000, most: 100_000 }), ..sound() },
            Warning,
            "5000 of 100000",
        ),
        (
            "system_files",
            MachineFacts { system_files: Some(Usage { used: 1, most: i64::MAX as u64 }), ..sound() },
            Ok,
            "unlimited",
        ),
        ("ports", sound(), Ok, "28232: per source and target; connects slow past 14116"),
        ("ports", MachineFacts { port_range: Some(60_000..=60_999), ..sound() }, Warning, "1000: per source"),
        ("ports", MachineFacts { port_range: Some(0..=65_535), ..sound() }, Ok, "65536"),
        ("time_wait", MachineFacts { tw_reuse: Some(0), ..sound() }, Info, "ends at 470/s ->"),
        ("time_wait", MachineFacts { tw_reuse: Some(2), ..sound() }, Info, "470/s beyond loopback"),
        ("time_wait", MachineFacts { timestamps: Some(0), ..sound() }, Info, "tcp_timestamps is 0"),
        ("tw_sockets", sound(), Ok, "131072: connections that may be in TIME_WAIT"),
        ("tw_sockets", MachineFacts { tw_buckets: Some(4_096), ..sound() }, Info, "tcp_max_tw_buckets=65536"),
        ("uring_switch", sound(), Ok, "any process"),
        ("uring_switch", MachineFacts { io_uring_disabled: None, ..sound() }, Ok, "nothing switches it off"),
        ("uring_switch", MachineFacts { io_uring_disabled: Some(1), ..sound() }, Info, "kernel.io_uring_group"),
        ("uring_switch", MachineFacts { io_uring_disabled: Some(2), ..sound() }, Info, "no process may"),
        ("seccomp", sound(), Ok, "no filter"),
        ("seccomp", MachineFacts { seccomp: Some(2), ..sound() }, Ok, "it allows io_uring"),
        (
            "seccomp",
            MachineFacts { seccomp: Some(2), ring: refused(libc::EPERM), ..sound() },
            Info,
            "seccomp-io_uring.json",
        ),
        ("backlog", MachineFacts { somaxconn: Some(128), ..sound() }, Info, "retry after 1 s"),
        ("conntrack", MachineFacts { conntrack: entries(0, 65_536), ..sound() }, Ok, "tracks nothing now"),
        (
            "conntrack",
            MachineFacts { conntrack: entries(9, 65_536), ..sound() },
            Warning,
            "6553/s with --close rst, 546/s with --close fin",
        ),
        ("conntrack", MachineFacts { conntrack: entries(9, 1 << 20), ..sound() }, Info, "NOTRACK"),
        ("tcp_memory", MachineFacts { tcp_memory: Some(1 << 20), ..sound() }, Warning, "1 MiB"),
        ("memory", sound(), Ok, "16.0 GiB: left, room for 3.6 million held connections"),
        (
            "memory",
            MachineFacts { memory_available: Some(100 << 20), ..sound() },
            Warning,
            "100 MiB: left, room for 22 thousand",
        ),
        (
            "memory",
            MachineFacts { cgroup_memory_left: Some(1 << 20), ..sound() },
            Warning,
            "by the memory cgroup, room for 223 held",
        ),
        ("cpus", MachineFacts { cpus_allowed: 4, cores: 4, ..sound() }, Ok, "4 of 8"),
        ("cpus", MachineFacts { cores: 2, ..sound() }, Warning, "leaves 2 cores' worth"),
        ("cpus", MachineFacts { cpus_allowed: 1, cores: 1, ..sound() }, Warning, "takes turns"),
        (
            "governor",
            MachineFacts { governors: vec!["powersave".into(), "schedutil".into()], ..sound() },
            Info,
            "powersave, schedutil",
        ),
        ("governor", MachineFacts { governors: vec![], ..sound() }, Ok, "not visible"),
        ("clock", clock("kvm-clock"), Ok, "without a system call"),
        ("clock", clock("hpet"), Warning, "dmesg"),
        ("clock", clock("acpi_pm"), Warning, "available_clocksource"),
        ("steal", MachineFacts { virtual_machine: true, ..sound() }, Ok, "0.0 %"),
        ("steal", MachineFacts { steal_per_mille: Some(12), ..sound() }, Info, "1.2 %"),
        ("steal", MachineFacts { steal_per_mille: Some(207), ..sound() }, Warning, "20.7 %"),
        (
            "container",
            MachineFacts { container: Some("Docker".into()), ..sound() },
            Info,
            "limits and sysctls are the host's",
        ),
    ];
    for (check, facts, severity, phrase) in cases {
        let finding = finding(check, &facts);
        assert_eq!(finding.severity, severity, "{}", text(&finding));
        assert_eq!(finding.remedy.is_none(), severity == Ok, "{}", text(&finding));
        assert!(text(&finding).contains(phrase), "{phrase}: {}", text(&finding));
    }
}

#[test]
fn epoll_may_watch_as_many_sockets_as_may_be_open() {
    let watches = |most| {
        let facts = MachineFacts { epoll_watches: Some(most), ..sound() };
        examine(&facts, Engine::Epoll).into_iter().find(|finding| finding.code == FindingCode::EpollWatches).unwrap()
    };
    assert_eq!(watches(1 << 20).severity, Severity::Ok);
    let few = watches(100_000);
    assert_eq!(few.severity, Severity::Warning);
    assert!(text(&few).contains("max_user_watches=1048576"), "{}", text(&few));
}

#[test]
fn a_large_machine_says_what_its_cpus_are() {
    let nowhere = tempfile::tempdir().unwrap();
    let topology = Topology::read(nowhere.path(), &(0..16).collect::<Vec<_>>());
    let facts = MachineFacts { topology, cpus_allowed: 16, cpus_online: Some(16), cores: 16, ..sound() };
    let found = text(&finding("cpus", &facts));
    assert!(found.contains("pinned to; CPU 0 is left free unless --cpus says otherwise"), "{found}");
}

#[test]
fn unknown_facts_have_no_finding() {
    let facts = MachineFacts {
        kernel: None,
        system_files: None,
        port_range: None,
        tw_reuse: None,
        tw_buckets: None,
        seccomp: None,
        somaxconn: None,
        tcp_memory: None,
        clock_source: None,
        steal_per_mille: None,
        memory_available: None,
        ..sound()
    };
    let checks: Vec<String> =
        examine(&facts, Engine::IoUring).into_iter().map(|finding| finding.code.to_string()).collect();
    assert_eq!(checks, ["io_uring", "uring_switch", "open_files", "conntrack", "cpus", "governor", "container"]);
}

#[test]
fn findings_survive_json() {
    let findings = examine(&sound(), Engine::IoUring);
    let json = serde_json::to_string(&findings).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Finding>>(&json).unwrap(), findings);
    assert!(json.contains(r#""severity":"ok""#));
}
