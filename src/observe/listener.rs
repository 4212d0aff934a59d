//! Who serves a local address, and on which cores.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use procfs::net::{TcpNetEntries, TcpNetEntry};
use procfs::process::{FDTarget, Process, Status, all_processes_with_root};
use procfs::{FromBufReadSI, current_system_info};

use super::sockets::accept_queues;

/// The sockets of this machine that listen on an address, and the processes that have them open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// How many sockets; several with `SO_REUSEPORT`. None: the address is another machine's, or in another network
    /// namespace.
    pub sockets: usize,
    /// Who has them open. Empty beside sockets: they are another user's, and only root can see whose.
    pub processes: Vec<ListeningProcess>,
}

/// A process that has a listening socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningProcess {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
    /// The CPUs it serves on, ascending: those of its pinned threads, or where none is pinned, those it may use.
    pub cpus: Vec<u32>,
}

impl Listening {
    /// The processes that descend from none of the others: observe these, and their children come along.
    pub fn roots(&self) -> Vec<u32> {
        let is_child = |process: &&ListeningProcess| self.processes.iter().any(|other| other.pid == process.parent);
        self.processes.iter().filter(|process| !is_child(process)).map(|process| process.pid).collect()
    }

    /// The CPUs on which the address is served, ascending. A process whose children have the socket too only watches
    /// over them (nginx's master), so its own CPUs do not count.
    pub fn cpus(&self) -> Vec<u32> {
        let is_parent = |process: &&ListeningProcess| self.processes.iter().any(|other| other.parent == process.pid);
        let serving = self.processes.iter().filter(|process| !is_parent(process));
        let cpus: BTreeSet<u32> = serving.flat_map(|process| process.cpus.iter().copied()).collect();
        cpus.into_iter().collect()
    }
}

/// Who listens on `address` in this process's network namespace.
///
/// A socket that is bound to the address goes before one bound to all of them, as the kernel delivers. What of `/proc`
/// cannot be read is left out.
pub fn listener_of(address: SocketAddr) -> Listening {
    listener_in(Path::new("/proc"), address)
}

/// How many connections may wait to be accepted at `address` (the `backlog` of listen(2), as far as net.core.somaxconn
/// allows), over all its sockets; `None` if none of this network namespace listens there, or the kernel does not tell.
pub fn accept_backlog(address: SocketAddr) -> Option<u64> {
    let inodes = accepting(Path::new("/proc"), address);
    let queues = (!inodes.is_empty()).then(|| accept_queues(&inodes).ok())?;
    queues.map(|queues| queues.backlog)
}

/// The same as [`listener_of`], read from another place than `/proc`.
fn listener_in(proc: &Path, address: SocketAddr) -> Listening {
    let inodes = accepting(proc, address);
    if inodes.is_empty() {
        return Listening::default();
    }
    let all = all_processes_with_root(proc).into_iter().flatten().flatten();
    let processes = all.filter(|process| opened_sockets(process).any(|inode| inodes.contains(&inode)));
    Listening {
        sockets: inodes.len(),
        processes: processes.filter_map(|process| listening_process(&process)).collect(),
    }
}

/// The inodes of the sockets that the kernel delivers connections for `address` to.
fn accepting(proc: &Path, address: SocketAddr) -> BTreeSet<u64> {
    let listening: Vec<_> = listening_sockets(&proc.join("self"))
        .into_iter()
        .filter(|socket| socket.local_address.port() == address.port())
        .collect();
    let of = |accepts: fn(IpAddr, IpAddr) -> bool| -> BTreeSet<u64> {
        let accepting = listening.iter().filter(|socket| accepts(socket.local_address.ip(), address.ip()));
        accepting.map(|socket| socket.inode).collect()
    };
    let mut inodes = of(|bound, asked| bound.to_canonical() == asked.to_canonical());
    if inodes.is_empty() {
        inodes = of(|bound, asked| bound.is_unspecified() && (bound.is_ipv6() || asked.is_ipv4()));
    }
    inodes
}

fn listening_process(process: &Process) -> Option<ListeningProcess> {
    let stat = process.stat().ok()?;
    Some(ListeningProcess {
        pid: process.pid.try_into().ok()?,
        parent: stat.ppid.try_into().unwrap_or(0),
        name: printable(&stat.comm),
        cpus: serving_cpus(process),
    })
}

/// A process's own name, without what would move a terminal's cursor.
pub(super) fn printable(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).collect()
}

/// Inodes of the sockets that a process has open; none where its descriptors may not be seen.
pub(super) fn opened_sockets(process: &Process) -> impl Iterator<Item = u64> + use<> {
    process.fd().into_iter().flatten().filter_map(|descriptor| match descriptor.ok()?.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    })
}

/// Servers that pin threads leave those unpinned that only wait.
fn serving_cpus(process: &Process) -> Vec<u32> {
    let own = process.status().map(|status| allowed_cpus(&status)).unwrap_or_default();
    let threads = process.tasks().into_iter().flatten().flatten().filter_map(|thread| thread.status().ok());
    let affinities: Vec<Vec<u32>> = threads.map(|status| allowed_cpus(&status)).collect();
    let most = affinities.iter().map(Vec::len).chain([own.len()]).max().unwrap_or(0);
    let pinned: BTreeSet<u32> = affinities.into_iter().filter(|cpus| cpus.len() < most).flatten().collect();
    if pinned.is_empty() { own } else { pinned.into_iter().collect() }
}

/// The list in `Cpus_allowed_list` (proc_pid_status(5)).
pub(super) fn allowed_cpus(status: &Status) -> Vec<u32> {
    let ranges = status.cpus_allowed_list.iter().flatten();
    ranges.flat_map(|(first, last)| *first..=(*last).min(first.saturating_add(MOST_CPUS))).collect()
}

/// The kernel's own limit (NR_CPUS on x86-64).
const MOST_CPUS: u32 = 8192;

/// The listening sockets of a process's network namespace. `/proc/PID/net/tcp` lists them before all others
/// (tcp_seq_start in net/ipv4/tcp_ipv4.c), so a hundred thousand connections behind them cost nothing.
pub(super) fn listening_sockets(process: &Path) -> Vec<TcpNetEntry> {
    ["net/tcp", "net/tcp6"]
        .into_iter()
        .flat_map(|table| listening_part(&process.join(table)).unwrap_or_default())
        .collect()
}

fn listening_part(table: &Path) -> Option<Vec<TcpNetEntry>> {
    let mut lines = BufReader::new(File::open(table).ok()?).lines();
    let mut text = lines.next()?.ok()? + "\n";
    for line in lines {
        let line = line.ok()?;
        if line.split_whitespace().nth(3) != Some("0A") {
            break;
        }
        text += &line;
        text += "\n";
    }
    let TcpNetEntries(entries) = TcpNetEntries::from_buf_read(text.as_bytes(), current_system_info()).ok()?;
    Some(entries)
}
