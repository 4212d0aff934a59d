//! The checks: a pure function of the facts.

use std::io;

use super::held::KERNEL_BYTES_PER_END;
use super::verdict::{Verdict, bytes_text, count_text};
use crate::finding::{Finding, FindingCode, Severity};
use crate::fleet::CpuList;
use crate::host::{Conntrack, Limit, MachineFacts, RingTrial, TIME_WAIT, Usage};
use crate::io::Engine;
use crate::io::ring::{Barriers, RingError};

/// Judges a machine for loads on `engine`: one finding for each check, in a fixed order. Facts that the kernel does not
/// tell have none.
pub fn examine(facts: &MachineFacts, engine: Engine) -> Vec<Finding> {
    let of_engine: &[Check] = match engine {
        Engine::IoUring | Engine::Sim => &[
            (FindingCode::IoUring, io_uring),
            (FindingCode::UringSwitch, switch),
            (FindingCode::Kernel, kernel),
            (FindingCode::OpenFiles, open_files),
        ],
        Engine::Epoll => &[
            (FindingCode::IoUring, io_uring_unused),
            (FindingCode::Kernel, any_kernel),
            (FindingCode::OpenFiles, open_files_of_process),
            (FindingCode::EpollWatches, epoll_watches),
        ],
    };
    let of_machine: [Check; 14] = [
        (FindingCode::Seccomp, seccomp),
        (FindingCode::SystemFiles, system_files),
        (FindingCode::Ports, ports),
        (FindingCode::TimeWait, time_wait),
        (FindingCode::TwSockets, tw_sockets),
        (FindingCode::Backlog, backlog),
        (FindingCode::Conntrack, conntrack),
        (FindingCode::TcpMemory, tcp_memory),
        (FindingCode::Memory, memory),
        (FindingCode::Cpus, cpus),
        (FindingCode::Governor, governor),
        (FindingCode::Clock, clock),
        (FindingCode::Steal, steal),
        (FindingCode::Container, container),
    ];
    let judge = |(code, judge): Check| judge(facts).map(|verdict| verdict.into_finding(code));
    of_engine.iter().copied().chain(of_machine).filter_map(judge).collect()
}

type Check = (FindingCode, fn(&MachineFacts) -> Option<Verdict>);

fn io_uring(facts: &MachineFacts) -> Option<Verdict> {
    let (call, number) = match facts.ring {
        RingTrial::Works { direct_descriptors: true } => {
            return Some(Verdict::ok("works", "a ring was made; it knows direct descriptors"));
        }
        RingTrial::Works { direct_descriptors: false } => {
            let message = "a ring was made, without all operations for direct descriptors: ordinary ones are used";
            return Some(Verdict::new(Severity::Info, "works", message).remedy("run on Linux 6.13 or later"));
        }
        RingTrial::Refused { call, errno } => (call, errno),
    };
    let (release, error) = (facts.kernel.as_deref(), io::Error::from_raw_os_error(number));
    let barriers = Barriers {
        disabled: facts.io_uring_disabled.and_then(|level| u8::try_from(level).ok()),
        filtered: facts.seccomp != Some(0),
        new_enough: release.and_then(major_and_minor).is_some_and(|version| version >= (5, 1)),
    };
    let refusal = match call {
        "io_uring_setup" => RingError::from_setup(error, barriers),
        call => RingError::from_call(call, error, barriers),
    };
    let value = match refusal {
        RingError::SwitchedOff { .. } => "switched off",
        RingError::Filtered { .. } | RingError::Denied { .. } => "forbidden",
        RingError::Missing => "missing",
        RingError::KernelTooOld | RingError::MissingOperation { .. } => "too old",
        RingError::NoMemory => "no memory",
        RingError::NoDescriptor { .. } => "no descriptor",
        _ => "fails",
    };
    let without = if refusal.bars_io_uring() { OR_WITHOUT } else { "" };
    Some(Verdict::new(Severity::Blocking, value, refusal.cause()).remedy(refusal.remedy() + without))
}

/// What else helps where there is no ring to be had.
const OR_WITHOUT: &str = "; or use `--engine epoll`, which needs none";

/// The switches of the administrator. Whether they stop this process is what the trial of a ring tells.
fn switch(facts: &MachineFacts) -> Option<Verdict> {
    let Some(level) = facts.io_uring_disabled else {
        return Some(Verdict::ok("not there", "no kernel.io_uring_disabled before Linux 6.6: nothing switches it off"));
    };
    let value = format!("io_uring_disabled {level}");
    let note = |message: &str| {
        let remedy = "`sysctl -w kernel.io_uring_disabled=0` on the host, or use `--engine epoll`";
        Verdict::new(Severity::Info, value.clone(), message).remedy(remedy)
    };
    Some(match level {
        0 => Verdict::ok(value, "any process may use it"),
        1 => note("only members of kernel.io_uring_group and processes with CAP_SYS_ADMIN may use it"),
        _ => note("no process may use it"),
    })
}

/// What stands in the way of io_uring is worth knowing, not in the way of epoll.
fn io_uring_unused(facts: &MachineFacts) -> Option<Verdict> {
    io_uring(facts).map(|verdict| match verdict.severity {
        Severity::Blocking => {
            let remedy = verdict.remedy.map(|remedy| remedy.trim_end_matches(OR_WITHOUT).to_owned());
            Verdict { severity: Severity::Info, remedy, ..verdict }
        }
        _ => Verdict::ok(verdict.value, "the epoll engine does without"),
    })
}

fn any_kernel(facts: &MachineFacts) -> Option<Verdict> {
    Some(Verdict::ok(facts.kernel.as_deref()?, "the epoll engine uses what every kernel has"))
}

fn kernel(facts: &MachineFacts) -> Option<Verdict> {
    let release = facts.kernel.as_deref()?;
    let Some(version) = major_and_minor(release) else {
        let message = "this release has no version number that says what the kernel can do";
        return Some(Verdict::ok(release, message));
    };
    let missing: Vec<&str> = [
        ((6, 1), "rings that defer their work (6.1)"),
        ((6, 7), "socket options through the ring (6.7)"),
        ((6, 11), "bind through the ring (6.11)"),
        ((6, 13), "direct descriptors that are released at once (6.13)"),
    ]
    .into_iter()
    .filter(|&(since, _)| version < since)
    .map(|(_, feature)| feature)
    .collect();
    if missing.is_empty() {
        return Some(Verdict::ok(release, "has all that the engine uses"));
    }
    let severity = if version < (6, 1) { Severity::Warning } else { Severity::Info };
    let message = format!("lacks {}", missing.join(", "));
    Some(Verdict::new(severity, release, message).remedy("run on Linux 6.13 or later"))
}

fn major_and_minor(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Mode 2: a filter, such as a container runtime's.
fn seccomp(facts: &MachineFacts) -> Option<Verdict> {
    let works = matches!(facts.ring, RingTrial::Works { .. });
    Some(match facts.seccomp? {
        0 => Verdict::ok("none", "no filter of system calls"),
        _ if works => Verdict::ok("filter", "it allows io_uring"),
        _ => Verdict::new(Severity::Info, "filter", "system calls are filtered, io_uring's perhaps among them").remedy(
            "allow io_uring_setup, io_uring_enter and io_uring_register (docs/seccomp-io_uring.json), or use \
             `--engine epoll`",
        ),
    })
}

/// epoll_ctl(2) fails with ENOSPC beyond it; it counts for the user.
fn epoll_watches(facts: &MachineFacts) -> Option<Verdict> {
    let most = facts.epoll_watches?;
    let message = "sockets that this user's processes may watch (fs.epoll.max_user_watches)";
    let wanted = facts.open_files.hard.unwrap_or(u64::MAX).min(1 << 20);
    if most < wanted {
        let remedy = format!("`sysctl -w fs.epoll.max_user_watches={wanted}`: fewer than files that may be open");
        return Some(Verdict::new(Severity::Warning, most.to_string(), message).remedy(remedy));
    }
    Some(Verdict::ok(most.to_string(), message))
}

/// The default concurrency of a closed loop.
const DEFAULT_SLOTS: u64 = 64;
/// With so many files, [`DEFAULT_SLOTS`] connections fit into one ring's table, and what the process opens beside.
const LEAST_FILES: u64 = DEFAULT_SLOTS;

/// RLIMIT_NOFILE bounds the file table of each ring, so it counts for each worker.
fn open_files(facts: &MachineFacts) -> Option<Verdict> {
    files(facts, "connections in one worker, at most", LEAST_FILES)
}

/// Without file tables it bounds what the process has open.
fn open_files_of_process(facts: &MachineFacts) -> Option<Verdict> {
    files(facts, "connections in all workers together, at most", 2 * DEFAULT_SLOTS)
}

fn files(facts: &MachineFacts, of_what: &str, least: u64) -> Option<Verdict> {
    let Limit { soft, hard } = facts.open_files;
    let value = format!("{} (soft {})", limit_text(hard), limit_text(soft));
    let verdict = match hard {
        Some(hard) if hard < least => Verdict::new(
            Severity::Blocking,
            value,
            format!("too few for {DEFAULT_SLOTS} connections and the program's own files"),
        ),
        Some(hard) if hard < 4096 => Verdict::new(Severity::Warning, value, of_what),
        _ => return Some(Verdict::ok(value, of_what)),
    };
    Some(verdict.remedy("raise the hard limit: `ulimit -Hn 1048576` as root, systemd: LimitNOFILE="))
}

fn limit_text(limit: Option<u64>) -> String {
    limit.map_or("unlimited".into(), |limit| limit.to_string())
}

fn system_files(facts: &MachineFacts) -> Option<Verdict> {
    let Usage { used, most } = facts.system_files?;
    // The kernel says "no limit" as a number near 2^63.
    let value = if most >= 1 << 62 { "unlimited".into() } else { format!("{} of {most}", most.saturating_sub(used)) };
    let message = "files left to the system";
    if most.saturating_sub(used) < 10_000 {
        return Some(Verdict::new(Severity::Warning, value, message).remedy("`sysctl -w fs.file-max=1000000`"));
    }
    Some(Verdict::ok(value, message))
}

/// connect() takes ports of one parity first; when these are used up it scans all of them for each further connection.
fn ports(facts: &MachineFacts) -> Option<Verdict> {
    let range = facts.port_range.clone()?;
    let ports = range.len() as u32;
    let message = format!("per source and target; connects slow past {}", ports / 2);
    let verdict = |severity| Verdict::new(severity, ports.to_string(), message.clone());
    if ports < 10_000 {
        let remedy = "`sysctl -w net.ipv4.ip_local_port_range='1024 65535'`, or more addresses with --source";
        return Some(verdict(Severity::Warning).remedy(remedy));
    }
    Some(verdict(Severity::Ok))
}

fn time_wait(facts: &MachineFacts) -> Option<Verdict> {
    let (reuse, range) = (facts.tw_reuse?, facts.port_range.clone()?);
    let per_s = (range.len() as f64 / TIME_WAIT.as_secs_f64()) as u64;
    let value = format!("tcp_tw_reuse {reuse}");
    if reuse == 1 && facts.timestamps == Some(0) {
        let message = "without effect: net.ipv4.tcp_timestamps is 0, so ports wait their full time";
        let remedy = "`sysctl -w net.ipv4.tcp_timestamps=1`";
        return Some(Verdict::new(Severity::Info, value, message).remedy(remedy));
    }
    if reuse == 1 {
        return Some(Verdict::ok(value, "ports come back 1 s after --close fin"));
    }
    let beyond = if reuse == 2 { " beyond loopback" } else { "" };
    let message = format!("--close fin ends at {per_s}/s{beyond}");
    let remedy = format!(
        "a port waits {:.0} s after its FIN: keep to --close rst, spread over --source addresses, or \
         `sysctl -w net.ipv4.tcp_tw_reuse=1`",
        TIME_WAIT.as_secs_f64()
    );
    Some(Verdict::new(Severity::Info, value, message).remedy(remedy))
}

/// Beyond it TIME_WAIT is cut short, and the kernel logs "time wait bucket table overflow".
fn tw_sockets(facts: &MachineFacts) -> Option<Verdict> {
    let most = facts.tw_buckets?;
    let message = "connections that may be in TIME_WAIT at once (tcp_max_tw_buckets)";
    if most < 16_384 {
        let remedy =
            "`sysctl -w net.ipv4.tcp_max_tw_buckets=65536`: beyond it --close fin leaves none, unlike in the field";
        return Some(Verdict::new(Severity::Info, most.to_string(), message).remedy(remedy));
    }
    Some(Verdict::ok(most.to_string(), message))
}

fn backlog(facts: &MachineFacts) -> Option<Verdict> {
    let most = facts.somaxconn?;
    let message = "connects that may wait for a server on this machine";
    if most < 4096 {
        let remedy = "`sysctl -w net.core.somaxconn=4096`: a full backlog drops SYNs, and clients retry after 1 s";
        return Some(Verdict::new(Severity::Info, most.to_string(), message).remedy(remedy));
    }
    Some(Verdict::ok(most.to_string(), message))
}

fn conntrack(facts: &MachineFacts) -> Option<Verdict> {
    let Some(Conntrack { entries: Usage { used, most }, after_rst_s, after_fin_s }) = facts.conntrack else {
        return Some(Verdict::ok("not loaded", "no table of connections to fill"));
    };
    if used == 0 {
        return Some(Verdict::ok("idle", format!("loaded, but it tracks nothing now (most: {most})")));
    }
    let (rst_per_s, fin_per_s) = (most / u64::from(after_rst_s.max(1)), most / u64::from(after_fin_s.max(1)));
    let message = format!(
        "entries used; the table is full at {rst_per_s}/s with --close rst, {fin_per_s}/s with --close fin, and \
         packets are dropped"
    );
    let severity = if rst_per_s < 20_000 { Severity::Warning } else { Severity::Info };
    let remedy = "`sysctl -w net.netfilter.nf_conntrack_max=1048576`, or a NOTRACK rule for the target's port";
    Some(Verdict::new(severity, format!("{used} of {most}"), message).remedy(remedy))
}

const MIB: u64 = 1 << 20;

fn tcp_memory(facts: &MachineFacts) -> Option<Verdict> {
    let most = facts.tcp_memory?;
    let message = "for the buffers of all TCP sockets (tcp_mem)";
    if most < 64 * MIB {
        let remedy = "raise the third value of net.ipv4.tcp_mem (pages); above it the kernel drops data";
        return Some(Verdict::new(Severity::Warning, bytes_text(most), message).remedy(remedy));
    }
    Some(Verdict::ok(bytes_text(most), message))
}

fn memory(facts: &MachineFacts) -> Option<Verdict> {
    let left = facts.memory_left()?;
    let limited = facts.cgroup_memory_left.is_some_and(|of_group| of_group == left);
    let by = if limited { " by the memory cgroup" } else { "" };
    let message = format!("left{by}, room for {} held connections", count_text(left / KERNEL_BYTES_PER_END));
    if left < 256 * MIB {
        let remedy = if limited { "raise the cgroup's limit" } else { "end other programs, or add memory" };
        return Some(Verdict::new(Severity::Warning, bytes_text(left), message).remedy(remedy));
    }
    Some(Verdict::ok(bytes_text(left), message))
}

fn cpus(facts: &MachineFacts) -> Option<Verdict> {
    let (allowed, cores) = (facts.cpus_allowed, facts.cores);
    let online = facts.cpus_online.unwrap_or(allowed).max(allowed);
    let of = if online > allowed { format!(" of {online}") } else { String::new() };
    if cores < allowed {
        let message = format!("a CPU quota leaves {cores} cores' worth of time: throttled workers are late");
        let remedy = format!("lift the quota (cgroup cpu.max, `docker --cpus`), or give a cpuset, or use -t {cores}");
        return Some(Verdict::new(Severity::Warning, format!("{allowed}{of}"), message).remedy(remedy));
    }
    if allowed < 2 {
        let message = "a server or sink on this machine takes turns with the generator: latencies include that";
        let remedy = "test a server on another machine, or allow more CPUs";
        return Some(Verdict::new(Severity::Warning, format!("{allowed}{of}"), message).remedy(remedy));
    }
    let topology = &facts.topology;
    let cores = match (topology.cores().len(), topology.nodes()) {
        (cores, nodes @ 0..=1) if nodes == 0 || cores == allowed as usize => String::new(),
        (cores, 1) => format!(": {cores} cores"),
        (cores, nodes) => format!(": {cores} cores on {nodes} nodes"),
    };
    let free = topology.free_core().map_or_else(String::new, |core| {
        format!("; CPU {} is left free unless --cpus says otherwise", CpuList::from(core.cpus.clone()))
    });
    Some(Verdict::ok(format!("{allowed}{of}"), format!("CPUs that workers can be pinned to{cores}{free}")))
}

fn governor(facts: &MachineFacts) -> Option<Verdict> {
    let names = facts.governors.join(", ");
    match facts.governors.as_slice() {
        [] => Some(Verdict::ok("not visible", "this kernel does not govern the frequency")),
        [only] if only == "performance" => Some(Verdict::ok(names, "the CPU keeps its frequency")),
        _ => {
            let message = "the CPU changes its frequency with the load: low loads look slow";
            let remedy = "`cpupower frequency-set -g performance`";
            Some(Verdict::new(Severity::Info, names, message).remedy(remedy))
        }
    }
}

fn clock(facts: &MachineFacts) -> Option<Verdict> {
    let name = facts.clock_source.as_deref()?;
    match name {
        // Those that the vDSO can read.
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter" | "riscv_clocksource" => {
            Some(Verdict::ok(name, "read without a system call"))
        }
        _ => {
            let message = "each look at the clock is a system call or a slow device: timestamps cost and distort";
            let remedy = "see current_clocksource and available_clocksource in \
                          /sys/devices/system/clocksource/clocksource0; `dmesg | grep -i tsc` says why tsc is not used";
            Some(Verdict::new(Severity::Warning, name, message).remedy(remedy))
        }
    }
}

fn steal(facts: &MachineFacts) -> Option<Verdict> {
    let per_mille = facts.steal_per_mille?;
    if !facts.virtual_machine && per_mille == 0 {
        return Some(Verdict::ok("none", "no hypervisor shares the CPUs"));
    }
    let value = format!("{}.{} %", per_mille / 10, per_mille % 10);
    let message = "of the time since boot went to other guests";
    let remedy = "use dedicated CPUs; compare differences below 10 % over several rounds only";
    Some(match per_mille {
        0..5 => Verdict::ok(value, message),
        5..20 => Verdict::new(Severity::Info, value, message).remedy(remedy),
        20.. => Verdict::new(Severity::Warning, value, message).remedy(remedy),
    })
}

fn container(facts: &MachineFacts) -> Option<Verdict> {
    match &facts.container {
        Some(name) => {
            let message = "limits and sysctls are the host's";
            Some(
                Verdict::new(Severity::Info, name.clone(), message)
                    .remedy("change them there, or in the runtime's flags"),
            )
        }
        None => Some(Verdict::ok("none", "no container is visible")),
    }
}
