//! What the checks judge, read from the kernel.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use io_uring::register::Probe;
use io_uring::{IoUring, opcode};
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

use super::counters::CpuTicks;
use super::ports::parse_port_range;
use crate::fleet::{CpuList, Topology, allowed_cpus, usable_cores};

/// Facts of a machine and of this process on it. `None`: the kernel does not tell.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineFacts {
    /// Release of the kernel, as in `uname -r`.
    pub kernel: Option<String>,
    /// Whether a ring could be made.
    pub ring: RingTrial,
    /// `kernel.io_uring_disabled` (Linux 6.6).
    pub io_uring_disabled: Option<u32>,
    /// Seccomp mode of this process: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
    /// What contains this process, if anything does.
    pub container: Option<String>,
    /// RLIMIT_NOFILE.
    pub open_files: Limit,
    /// `fs.file-max`, and how many of them are open (`fs.file-nr`).
    pub system_files: Option<Usage>,
    /// `net.ipv4.ip_local_port_range`.
    pub port_range: Option<RangeInclusive<u16>>,
    /// `net.ipv4.tcp_tw_reuse`: 0 off, 1 on, 2 on for loopback.
    pub tw_reuse: Option<u32>,
    /// `net.ipv4.tcp_timestamps`, without which `tcp_tw_reuse` does nothing.
    pub timestamps: Option<u32>,
    /// `net.ipv4.tcp_max_tw_buckets`.
    pub tw_buckets: Option<u64>,
    /// `fs.epoll.max_user_watches`.
    pub epoll_watches: Option<u64>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u32>,
    /// The third value of `net.ipv4.tcp_mem`, in bytes.
    pub tcp_memory: Option<u64>,
    /// `net.netfilter.nf_conntrack_*`; `None` where connection tracking is not loaded.
    pub conntrack: Option<Conntrack>,
    /// CPUs of the machine that are on line.
    pub cpus_online: Option<u32>,
    /// CPUs in this process's cpuset.
    pub cpus_allowed: u32,
    /// Their cores and nodes.
    pub topology: Topology,
    /// Cores' worth of time that cpuset and quota leave to this process.
    pub cores: u32,
    /// The frequency governors in use, each once.
    pub governors: Vec<String>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// Whether the CPU says that it is a virtual one.
    pub virtual_machine: bool,
    /// Per mille of CPU time since boot that the hypervisor gave to others.
    pub steal_per_mille: Option<u32>,
    /// Memory that new work can have, in bytes.
    pub memory_available: Option<u64>,
    /// What the memory cgroup leaves, in bytes; `None` without a limit.
    pub cgroup_memory_left: Option<u64>,
}

/// An attempt to make a ring as the engine makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingTrial {
    /// There is one.
    Works {
        /// It knows the operations for direct descriptors: SOCKET, URING_CMD (socket options) and BIND (Linux 6.11).
        direct_descriptors: bool,
    },
    /// One of io_uring's system calls was refused.
    Refused {
        /// Which.
        call: &'static str,
        /// The error number.
        errno: i32,
    },
}

/// A soft and a hard limit; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// How far this process may raise it.
    pub hard: Option<u64>,
}

/// A counter and its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub used: u64,
    /// At most.
    pub most: u64,
}

/// The connection tracking of the packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Entries in the table.
    pub entries: Usage,
    /// How long an entry outlives an RST, in seconds.
    pub after_rst_s: u32,
    /// How long an entry outlives the closing FIN, in seconds.
    pub after_fin_s: u32,
}

impl MachineFacts {
    /// Memory that this process can still have: what the machine has available, or less where a cgroup leaves less.
    pub fn memory_left(&self) -> Option<u64> {
        [self.memory_available, self.cgroup_memory_left].into_iter().flatten().min()
    }

    /// This machine. Makes and drops one small ring.
    pub fn detect() -> Self {
        Self { ring: RingTrial::make(), ..Self::detect_without_ring() }
    }

    /// The same without the trial of a ring, which counts as refused.
    pub fn detect_without_ring() -> Self {
        let mut facts = Self::read(Path::new("/"));
        let nofile = getrlimit(Resource::Nofile);
        facts.open_files = Limit { soft: nofile.current, hard: nofile.maximum };
        facts.cpus_allowed = allowed_cpus().len() as u32;
        facts.topology = Topology::detect();
        facts.cores = usable_cores();
        facts
    }

    /// What the files under `root` tell (`/` but in tests). What only system calls tell is as on a machine without
    /// anything.
    fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let number = |path: &str| text(path)?.trim().parse().ok();
        let number64 = |path: &str| text(path)?.trim().parse().ok();
        Self {
            kernel: text("proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
            ring: RingTrial::Refused { call: "io_uring_setup", errno: libc::ENOSYS },
            io_uring_disabled: number("proc/sys/kernel/io_uring_disabled"),
            seccomp: text("proc/self/status").and_then(|status| field(&status, "Seccomp:")?.parse().ok()),
            container: container(root),
            open_files: Limit { soft: Some(0), hard: Some(0) },
            system_files: text("proc/sys/fs/file-nr").and_then(|counts| file_usage(&counts)),
            port_range: text("proc/sys/net/ipv4/ip_local_port_range").and_then(|range| parse_port_range(&range)),
            tw_reuse: number("proc/sys/net/ipv4/tcp_tw_reuse"),
            timestamps: number("proc/sys/net/ipv4/tcp_timestamps"),
            tw_buckets: number64("proc/sys/net/ipv4/tcp_max_tw_buckets"),
            epoll_watches: number64("proc/sys/fs/epoll/max_user_watches"),
            somaxconn: number("proc/sys/net/core/somaxconn"),
            tcp_memory: text("proc/sys/net/ipv4/tcp_mem").and_then(|pages| tcp_memory(&pages)),
            conntrack: conntrack(root),
            cpus_online: text("sys/devices/system/cpu/online")
                .and_then(|list| Some(list.parse::<CpuList>().ok()?.as_slice().len() as u32)),
            cpus_allowed: 0,
            topology: Topology::UNKNOWN,
            cores: 0,
            governors: governors(root),
            clock_source: text("sys/devices/system/clocksource/clocksource0/current_clocksource")
                .map(|name| name.trim().to_owned()),
            virtual_machine: text("proc/cpuinfo").is_some_and(|cpus| has_hypervisor_flag(&cpus)),
            steal_per_mille: text("proc/stat").and_then(|stat| CpuTicks::parse(&stat)?.steal_per_mille()),
            memory_available: text("proc/meminfo").and_then(|memory| memory_available(&memory)),
            cgroup_memory_left: cgroup_memory_left(root),
        }
    }
}

impl RingTrial {
    /// With the flags that the engine cannot do without (Linux 6.1); each of the three system calls is tried.
    fn make() -> Self {
        Self::each_call().unwrap_or_else(|(call, error)| Self::Refused { call, errno: errno(&error) })
    }

    fn each_call() -> Result<Self, (&'static str, io::Error)> {
        let ring: IoUring = IoUring::builder()
            .dontfork()
            .setup_clamp()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(8)
            .map_err(|error| ("io_uring_setup", error))?;
        // Nothing is queued, so nothing is waited for.
        ring.submit().map_err(|error| ("io_uring_enter", error))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(|error| ("io_uring_register", error))?;
        let needed = [opcode::Socket::CODE, opcode::SetSockOpt::CODE, opcode::Bind::CODE];
        Ok(Self::Works { direct_descriptors: needed.into_iter().all(|operation| probe.is_supported(operation)) })
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// The first word after `name` at the start of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// `fs.file-nr`: allocated, free (always 0), maximum.
fn file_usage(counts: &str) -> Option<Usage> {
    let mut counts = counts.split_whitespace().map(str::parse);
    let used = counts.next()?.ok()?;
    let most = counts.nth(1)?.ok()?;
    Some(Usage { used, most })
}

/// `net.ipv4.tcp_mem` counts pages.
fn tcp_memory(pages: &str) -> Option<u64> {
    let pages: u64 = pages.split_whitespace().nth(2)?.parse().ok()?;
    Some(pages.saturating_mul(page_size() as u64))
}

fn conntrack(root: &Path) -> Option<Conntrack> {
    let number = |name: &str| {
        let path = root.join("proc/sys/net/netfilter").join(name);
        fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    };
    let seconds = |name, default| number(name).and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(default);
    Some(Conntrack {
        entries: Usage { used: number("nf_conntrack_count")?, most: number("nf_conntrack_max")? },
        after_rst_s: seconds("nf_conntrack_tcp_timeout_close", 10),
        after_fin_s: seconds("nf_conntrack_tcp_timeout_time_wait", 120),
    })
}

fn governors(root: &Path) -> Vec<String> {
    let Ok(policies) = fs::read_dir(root.join("sys/devices/system/cpu/cpufreq")) else { return Vec::new() };
    let mut governors: Vec<String> = policies
        .filter_map(|policy| fs::read_to_string(policy.ok()?.path().join("scaling_governor")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    governors.sort();
    governors.dedup();
    governors
}

fn has_hypervisor_flag(cpus: &str) -> bool {
    cpus.lines().filter(|line| line.starts_with("flags")).any(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
}

fn memory_available(memory: &str) -> Option<u64> {
    let kilobytes: u64 = field(memory, "MemAvailable:")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The tightest of this process's memory cgroups, version 2 or 1, as far as they are visible.
fn cgroup_memory_left(root: &Path) -> Option<u64> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let left = |folder: &Path, most: &str, used: &str| -> Option<u64> {
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        Some(number(most)?.saturating_sub(number(used)?))
    };
    let of_line = |line: &str| -> Option<u64> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let (base, most, used) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max", "memory.current"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => return None,
        };
        let base = root.join(base);
        let group = base.join(group.trim_start_matches('/'));
        group
            .ancestors()
            .take_while(|folder| folder.starts_with(&base))
            .filter_map(|folder| left(folder, most, used))
            .min()
    };
    // Version 1 writes "no limit" as a number near 2^63.
    membership.lines().filter_map(of_line).min().filter(|&left| left < 1 << 60)
}

fn container(root: &Path) -> Option<String> {
    let exists = |path: &str| root.join(path).exists();
    if exists("run/.containerenv") {
        return Some("Podman".into());
    }
    if exists("var/run/secrets/kubernetes.io") {
        return Some("Kubernetes".into());
    }
    if exists(".dockerenv") {
        return Some("Docker".into());
    }
    let version = fs::read_to_string(root.join("proc/version")).unwrap_or_default();
    version.contains("gVisor").then(|| "gVisor".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, MachineFacts) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let facts = MachineFacts::read(root.path());
        (root, facts)
    }

    #[test]
    fn missing_files_are_unknown_facts() {
        let (_root, facts) = machine(&[]);
        assert_eq!(facts.kernel, None);
        assert_eq!(facts.conntrack, None);
        assert_eq!(facts.container, None);
        assert_eq!(facts.governors, Vec::<String>::new());
        assert_eq!(facts.cgroup_memory_left, None);
        assert!(!facts.virtual_machine);
    }

    #[test]
    fn reads_every_file() {
        let (_root, facts) = machine(&[
            ("proc/sys/kernel/osrelease", "6.1.0-25-amd64\n"),
            ("proc/sys/kernel/io_uring_disabled", "2\n"),
            ("proc/self/status", "Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
            ("proc/sys/fs/file-nr", "787\t0\t2466170\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/sys/net/ipv4/tcp_tw_reuse", "2\n"),
            ("proc/sys/net/ipv4/tcp_timestamps", "1\n"),
            ("proc/sys/net/ipv4/tcp_max_tw_buckets", "131072\n"),
            ("proc/sys/fs/epoll/max_user_watches", "5376983\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "12\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
            ("proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close", "5\n"),
            ("sys/devices/system/cpu/online", "0-3,8\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n"),
            ("sys/devices/system/cpu/cpufreq/policy1/scaling_governor", "powersave\n"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
            ("proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n"),
            ("proc/stat", "cpu  100 0 100 780 0 0 0 20 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"),
            ("proc/meminfo", "MemTotal: 2048 kB\nMemAvailable:   1024 kB\n"),
            ("proc/self/cgroup", "0::/box\n"),
            ("sys/fs/cgroup/box/memory.max", "4096\n"),
            ("sys/fs/cgroup/box/memory.current", "1024\n"),
            (".dockerenv", ""),
        ]);
        assert_eq!(facts.kernel.as_deref(), Some("6.1.0-25-amd64"));
        assert_eq!(facts.io_uring_disabled, Some(2));
        assert_eq!(facts.seccomp, Some(2));
        assert_eq!(facts.system_files, Some(Usage { used: 787, most: 2_466_170 }));
        assert_eq!(facts.port_range, Some(32_768..=60_999));
        assert_eq!(facts.tw_reuse, Some(2));
        assert_eq!(
            (facts.timestamps, facts.tw_buckets, facts.epoll_watches),
            (Some(1), Some(131_072), Some(5_376_983))
        );
        assert_eq!(facts.somaxconn, Some(4096));
        assert_eq!(facts.tcp_memory, Some(575_796 * page_size() as u64));
        let entries = Usage { used: 12, most: 65_536 };
        assert_eq!(facts.conntrack, Some(Conntrack { entries, after_rst_s: 5, after_fin_s: 120 }));
        assert_eq!(facts.cpus_online, Some(5));
        assert_eq!(facts.governors, ["powersave"]);
        assert_eq!(facts.clock_source.as_deref(), Some("tsc"));
        assert!(facts.virtual_machine);
        assert_eq!(facts.steal_per_mille, Some(20));
        assert_eq!(facts.memory_available, Some(1024 * 1024));
        assert_eq!(facts.cgroup_memory_left, Some(3072));
        assert_eq!(facts.container.as_deref(), Some("Docker"));
    }

    #[test]
    fn version_1_cgroups_are_read_and_no_limit_is_none() {
        let group = ("proc/self/cgroup", "5:cpu:/\n4:memory:/a/b\n");
        let limit = "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        let used = ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "100");
        let outer = [
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "700"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "500"),
        ];
        assert_eq!(machine(&[group, (limit, "9223372036854771712"), used]).1.cgroup_memory_left, None);
        assert_eq!(machine(&[group, (limit, "1000"), used]).1.cgroup_memory_left, Some(900));
        assert_eq!(machine(&[group, (limit, "1000"), used, outer[0], outer[1]]).1.cgroup_memory_left, Some(200));
    }

    #[test]
    fn nonsense_in_files_is_unknown() {
        let (_root, facts) = machine(&[
            ("proc/sys/fs/file-nr", "x"),
            ("proc/sys/net/ipv4/ip_local_port_range", "9 8"),
            ("proc/sys/net/ipv4/tcp_mem", "1 2"),
            ("sys/devices/system/cpu/online", "3-1"),
            ("proc/stat", "cpu  0 0 0 0 0 0 0 0"),
            ("proc/meminfo", "MemAvailable: many kB"),
        ]);
        assert_eq!((facts.system_files, facts.port_range, facts.tcp_memory), (None, None, None));
        assert_eq!((facts.cpus_online, facts.steal_per_mille, facts.memory_available), (None, None, None));
    }

    #[test]
    fn this_machine_has_a_cpu() {
        let facts = MachineFacts::detect();
        assert!(facts.cpus_allowed >= 1 && facts.cores >= 1);
        assert!(facts.kernel.is_some());
    }
}
