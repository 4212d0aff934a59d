//! What the kernel says of the machine and of processes.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;

use procfs::Current;
use procfs::process::Process;

use super::rounds;

/// What a process has used so far, and has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident bytes at their peak.
    pub peak_rss: u64,
    /// Resident bytes now.
    pub rss: u64,
    /// Of them those that no file backs.
    pub anonymous: u64,
    /// CPU time, user and kernel, in steps of the kernel's tick.
    pub cpu_s: f64,
}

impl Usage {
    /// Of a process that is running.
    pub fn of(pid: i32) -> Result<Self, Box<dyn Error>> {
        let process = Process::new(pid)?;
        let (status, stat) = (process.status()?, process.stat()?);
        let bytes = |kibibytes: Option<u64>| kibibytes.unwrap_or(0) * 1024;
        Ok(Self {
            peak_rss: bytes(status.vmhwm),
            rss: bytes(status.vmrss),
            anonymous: bytes(status.rssanon),
            cpu_s: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        })
    }
}

/// What the kernel keeps for sockets.
#[derive(Clone, Copy, Debug)]
pub struct KernelMemory {
    /// Of all slab caches.
    pub slab: u64,
    /// Of TCP's send and receive queues.
    pub tcp_queues: u64,
    /// What new programs could have.
    pub available: u64,
}

impl KernelMemory {
    pub fn now() -> Result<Self, Box<dyn Error>> {
        let memory = procfs::Meminfo::current()?;
        let queues = sockstat("mem")? * procfs::page_size();
        Ok(Self { slab: memory.slab, tcp_queues: queues, available: memory.mem_available.unwrap_or(memory.mem_free) })
    }
}

/// TCP sockets in use in this network namespace.
pub fn tcp_sockets() -> Result<u64, Box<dyn Error>> {
    sockstat("inuse")
}

/// A number of the line of TCP in `/proc/net/sockstat`.
fn sockstat(name: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let mut words = text.lines().find_map(|line| line.strip_prefix("TCP: ")).unwrap_or("").split_whitespace();
    words.find(|word| *word == name);
    Ok(words.next().ok_or("/proc/net/sockstat does not count TCP sockets")?.parse()?)
}

/// Loopback addresses for so many connections at once: none has more than six tenths of what connect(2) tries first,
/// the ports of one parity. Past these it searches them all for every connection.
pub fn sources(connections: u32) -> Result<String, Box<dyn Error>> {
    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(low)), Some(Ok(high))) = (ends.next(), ends.next()) else {
        return Err("net.ipv4.ip_local_port_range is not two numbers".into());
    };
    let each = ((high + 1 - low) / 2 * 6 / 10).max(1);
    let last = Ipv4Addr::from(u32::from(FIRST) + connections.div_ceil(each) - 1);
    Ok(format!("{FIRST}-{last}"))
}

/// The hard limit of open files, which bounds a worker's connections.
pub fn most_files() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(1 << 20).min(1 << 20)
}

/// Where the figures come from.
pub fn write_head(out: &mut impl Write) -> io::Result<()> {
    let memory = procfs::Meminfo::current().map_or(0, |memory| memory.mem_total >> 20);
    writeln!(out, "{}, memory: {memory} MiB", rounds::this_machine())?;
    writeln!(out, "generator and sink share the CPUs, loopback, at most {} files a process", most_files())
}
