//! Whether so many held connections fit into this machine, computed before the first one is opened.

use super::verdict::{Verdict, bytes_text, count_text};
use crate::finding::{Finding, FindingCode, Severity};
use crate::fleet::MAX_WORKERS;
use crate::host::{Conntrack, MachineFacts, Usage};
use crate::io::Engine;

/// Connections that are held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldPlan {
    /// How many.
    pub connections: u64,
    /// Pairs of a local address and a target: each has the whole range of ports.
    pub pairs: u64,
    /// The target runs on this machine, too: both ends' memory and files are its own.
    pub both_ends: bool,
    /// Who holds them.
    pub engine: Engine,
}

/// Judges a plan: one finding for each resource, in a fixed order. [`Severity::Blocking`]: it does not suffice. Facts
/// that the kernel does not tell have none.
pub fn examine_held(plan: &HeldPlan, facts: &MachineFacts) -> Vec<Finding> {
    let checks: [Check; 6] = [
        (FindingCode::HeldMemory, memory),
        (FindingCode::HeldPorts, ports),
        (FindingCode::HeldDescriptors, descriptors),
        (FindingCode::HeldSystemFiles, system_files),
        (FindingCode::HeldConntrack, conntrack),
        (FindingCode::HeldTcpMemory, tcp_memory),
    ];
    checks.into_iter().filter_map(|(code, judge)| Some(judge(plan, facts)?.into_finding(code))).collect()
}

/// Kernel memory of an idle connection, measured on Linux 6.18 with 80 000 of them: 3.9 KB and, with an operation armed
/// on it, 0.7 KB. It counts for each end.
pub const KERNEL_BYTES_PER_END: u64 = 4_700;
type Check = (FindingCode, fn(&HeldPlan, &MachineFacts) -> Option<Verdict>);

/// What a held connection may take of the program's own memory, at each end.
const USER_BYTES_PER_END: u64 = 64;
/// Files of the process beside its workers', and of each worker on io_uring: its ring and an event (counted in `/proc/PID/fd`
/// of 50 workers: 112).
const OWN_FILES: u64 = 16;
const FILES_PER_WORKER: u64 = 2;
/// From this part of a resource on it is nearly used up.
const NEARLY: f64 = 0.8;
/// What the kernel charges to a socket's buffers at least, once there is something in them.
const PAGE: u64 = 4_096;

impl HeldPlan {
    fn ends(&self) -> u64 {
        self.connections.saturating_mul(if self.both_ends { 2 } else { 1 })
    }

    /// Memory of kernel and program, bytes.
    pub fn bytes(&self) -> u64 {
        self.ends().saturating_mul(KERNEL_BYTES_PER_END + USER_BYTES_PER_END)
    }
}

fn judged(need: u64, most: u64, value: String, message: String, remedy: impl Into<String>) -> Verdict {
    match need as f64 / most as f64 {
        share if share.is_nan() || share > 1.0 => Verdict::new(Severity::Blocking, value, message).remedy(remedy),
        share if share > NEARLY => Verdict::new(Severity::Warning, value, message).remedy(remedy),
        _ => Verdict::ok(value, message),
    }
}

fn memory(plan: &HeldPlan, facts: &MachineFacts) -> Option<Verdict> {
    let left = facts.memory_left()?;
    let per_connection = plan.bytes() / plan.connections.max(1);
    let ends = if plan.both_ends { ", both ends of it being here" } else { "" };
    let fit = count_text(left / per_connection.max(1));
    Some(judged(
        plan.bytes(),
        left,
        format!("{} of {}", bytes_text(plan.bytes()), bytes_text(left)),
        format!(
            "needed, {per_connection} bytes a connection{ends}, nearly all of it the kernel's; there is room for {fit}"
        ),
        "hold fewer, add memory, or run the target on another machine",
    ))
}

/// connect() takes ports of one parity first (those of even distance to the lowest, `__inet_hash_connect`); when these
/// are used up it looks at all of them before it finds one of the other half, for each further connection.
fn ports(plan: &HeldPlan, facts: &MachineFacts) -> Option<Verdict> {
    let ports = facts.port_range.clone()?.len() as u64;
    let (pairs, half) = (plan.pairs.max(1), (ports / 2).max(1));
    let need = plan.connections.div_ceil(pairs);
    let value = format!("{need} of {ports}");
    let what = format!("for each of {pairs} pairs of local address and target");
    let enough = |per_pair: u64| plan.connections.div_ceil(per_pair);
    let remedy = format!(
        "give as many --source addresses as make {} pairs or more, or widen net.ipv4.ip_local_port_range",
        enough(half)
    );
    Some(if need > ports {
        let message = format!("needed {what}: the kernel has no more ports there");
        Verdict::new(Severity::Blocking, value, message).remedy(remedy)
    } else if need > half {
        let message = format!(
            "{what}; connect() takes ports of one parity first, and past {half} it searches these in vain for every \
             further connection: opening slows down"
        );
        Verdict::new(Severity::Warning, value, message).remedy(remedy)
    } else {
        Verdict::ok(value, format!("{what}; connect() is fast up to {half}"))
    })
}

/// RLIMIT_NOFILE bounds each ring's file table, or all files of the process.
fn descriptors(plan: &HeldPlan, facts: &MachineFacts) -> Option<Verdict> {
    let Some(most) = facts.open_files.hard else {
        return Some(Verdict::ok("unlimited", "open files of a process"));
    };
    let raise = "raise the hard limit: `ulimit -Hn 1048576` as root, systemd: LimitNOFILE=";
    match plan.engine {
        Engine::Epoll => {
            let message = "open files of the process, which the epoll engine needs one each of";
            let value = format!("{} of {most}", plan.connections);
            Some(judged(plan.connections, most, value, message.into(), format!("{raise}; or use --engine io_uring")))
        }
        Engine::IoUring | Engine::Sim => {
            let workers = plan.connections.div_ceil(most.max(1));
            let files = OWN_FILES.saturating_add(workers.saturating_mul(FILES_PER_WORKER));
            if workers > MAX_WORKERS.into() || files > most {
                let message = format!(
                    "connections in a worker's file table, so {workers} workers, with about {files} files of the process: too \
                     many of them"
                );
                return Some(
                    Verdict::new(Severity::Blocking, format!("{} by {most}", plan.connections), message).remedy(raise),
                );
            }
            let message = match workers {
                0 | 1 => "connections in one worker's file table".to_owned(),
                _ => format!("connections in a worker's file table: {workers} workers, which `run` makes by itself"),
            };
            Some(Verdict::ok(format!("{} by {most}", plan.connections), message))
        }
    }
}

/// Every socket is a file of the system, those of a ring's table as well.
fn system_files(plan: &HeldPlan, facts: &MachineFacts) -> Option<Verdict> {
    let Usage { used, most } = facts.system_files?;
    let left = most.saturating_sub(used);
    // A quarter more than that, or what is nearly used up would stay so.
    let enough = used.saturating_add(plan.ends()).saturating_mul(5) / 4;
    let value = if most >= 1 << 62 { "unlimited".to_owned() } else { format!("{} of {left}", plan.ends()) };
    let remedy = format!("`sysctl -w fs.file-max={}`", enough.div_ceil(100_000).saturating_mul(100_000));
    Some(judged(plan.ends(), left, value, "files left to the system (fs.file-max)".into(), remedy))
}

fn conntrack(plan: &HeldPlan, facts: &MachineFacts) -> Option<Verdict> {
    let Some(Conntrack { entries: Usage { used, most }, .. }) = facts.conntrack else {
        return Some(Verdict::ok("not loaded", "no table of connections to fill"));
    };
    if used == 0 {
        return Some(Verdict::ok("idle", format!("loaded, but it tracks nothing now (most: {most})")));
    }
    let left = most.saturating_sub(used);
    let remedy = format!(
        "`sysctl -w net.netfilter.nf_conntrack_max={}`, or a NOTRACK rule for the target's port",
        used.saturating_add(plan.connections).saturating_mul(5) / 4
    );
    let message = "entries left, one a connection; in a full table new connections are dropped";
    Some(judged(plan.connections, left, format!("{} of {left}", plan.connections), message.into(), remedy))
}

/// An idle connection has nothing in its buffers and counts for nothing here.
fn tcp_memory(plan: &HeldPlan, facts: &MachineFacts) -> Option<Verdict> {
    let most = facts.tcp_memory?;
    let at_once = most / PAGE / if plan.both_ends { 2 } else { 1 };
    let value = bytes_text(most);
    if at_once >= plan.connections {
        return Some(Verdict::ok(value, "for buffers (tcp_mem): enough for a page on each connection at once"));
    }
    let message = format!(
        "for buffers (tcp_mem): idle connections use none, but only {} can have a page of data on the way at once",
        count_text(at_once)
    );
    let remedy = "raise the third value of net.ipv4.tcp_mem (pages) if many of them send or are released at once";
    Some(Verdict::new(Severity::Info, value, message).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;

    const PLAN: HeldPlan = HeldPlan { connections: 100_000, pairs: 10, both_ends: false, engine: Engine::IoUring };

    fn finding(check: &str, plan: HeldPlan, facts: &MachineFacts) -> (Severity, String) {
        let found =
            examine_held(&plan, facts).into_iter().find(|finding| finding.code.to_string() == check).expect(check);
        assert_eq!(found.remedy.is_none(), found.severity == Severity::Ok, "{found:?}");
        (found.severity, format!("{}: {} -> {}", found.value.unwrap(), found.message, found.remedy.unwrap_or_default()))
    }

    #[test]
    fn a_plan_that_fits_has_no_fault() {
        let findings = examine_held(&PLAN, &sound());
        let checks: Vec<String> = findings.iter().map(|finding| finding.code.to_string()).collect();
        assert_eq!(
            checks,
            ["held_memory", "held_ports", "held_descriptors", "held_system_files", "held_conntrack", "held_tcp_memory"]
        );
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:?}");
    }

    #[test]
    fn what_does_not_suffice_is_found_and_how_much_would() {
        use Severity::{Blocking, Info, Ok, Warning};
        let million = HeldPlan { connections: 1_000_000, pairs: 100, both_ends: true, engine: Engine::IoUring };
        let tracked = |used, most| {
            let entries = Usage { used, most };
            MachineFacts { conntrack: Some(Conntrack { entries, after_rst_s: 10, after_fin_s: 120 }), ..sound() }
        };
        let files = |most| MachineFacts { system_files: Some(Usage { used: 1_000, most }), ..sound() };
        let cases = [
            // 9 528 bytes each: 8.9 GiB.
            ("held_memory", million, sound(), Ok, "8.9 GiB of 16.0 GiB: needed, 9528 bytes a connection, both ends"),
            (
                "held_memory",
                million,
                MachineFacts { memory_available: Some(10 << 30), ..sound() },
                Warning,
                "there is room for 1.1 million",
            ),
            (
                "held_memory",
                million,
                MachineFacts { cgroup_memory_left: Some(1 << 30), ..sound() },
                Blocking,
                "8.9 GiB of 1.0 GiB",
            ),
            ("held_ports", HeldPlan { pairs: 71, ..million }, sound(), Ok, "14085 of 28232: for each of 71 pairs"),
            ("held_ports", HeldPlan { pairs: 70, ..million }, sound(), Warning, "of one parity first, and past 14116"),
            ("held_ports", HeldPlan { pairs: 35, ..million }, sound(), Blocking, "as make 71 pairs or more"),
            ("held_ports", HeldPlan { pairs: 0, ..million }, sound(), Blocking, "1000000 of 28232"),
            (
                "held_descriptors",
                million,
                MachineFacts { open_files: crate::host::Limit { soft: None, hard: Some(20_000) }, ..sound() },
                Ok,
                "50 workers, which `run` makes by itself",
            ),
            ("held_descriptors", HeldPlan { engine: Engine::Epoll, ..million }, sound(), Warning, "--engine io_uring"),
            ("held_descriptors", HeldPlan { engine: Engine::Epoll, ..PLAN }, sound(), Ok, "100000 of 1048576"),
            ("held_system_files", million, files(1_500_000), Blocking, "fs.file-max=2600000"),
            ("held_system_files", million, files(2_200_000), Warning, "fs.file-max=2600000"),
            ("held_system_files", million, files(i64::MAX as u64), Ok, "unlimited"),
            ("held_conntrack", million, tracked(10, 262_144), Blocking, "nf_conntrack_max=1250012"),
            ("held_conntrack", million, tracked(0, 262_144), Ok, "tracks nothing now"),
            ("held_tcp_memory", million, sound(), Info, "only 131 thousand can have a page"),
        ];
        for (check, plan, facts, severity, phrase) in cases {
            let (found, text) = finding(check, plan, &facts);
            assert_eq!(found, severity, "{text}");
            assert!(text.contains(phrase), "{phrase}: {text}");
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let plan = HeldPlan { connections: u64::MAX / 2, pairs: 1, both_ends: true, engine: Engine::Epoll };
        let severities: Vec<Severity> = examine_held(&plan, &sound()).iter().map(|finding| finding.severity).collect();
        assert_eq!(severities.iter().filter(|severity| **severity == Severity::Blocking).count(), 4, "{severities:?}");
    }
}
