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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use super::super::fixtures::FakeProcess;
    use super::*;

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    /// A line of `/proc/net/tcp`.
    fn socket(address: &str, state: &str, inode: u64) -> String {
        format!(
            "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 \
             000000007c486f4e 100 0 0 10 0\n"
        )
    }

    /// A `/proc` with these tables, where a master watches over two workers and all have socket 7 open.
    fn machine(tcp: &str, tcp6: &str) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir_all(proc.path().join("self/net")).unwrap();
        fs::write(proc.path().join("self/net/tcp"), format!("{HEADING}{tcp}")).unwrap();
        fs::write(proc.path().join("self/net/tcp6"), format!("{HEADING}{tcp6}")).unwrap();
        let master = FakeProcess { name: "nginx", sockets: &[5, 7], cpus: "0-3", ..Default::default() };
        master.write(proc.path());
        FakeProcess { pid: 5_000_101, parent: 5_000_100, cpus: "2", ..master }.write(proc.path());
        FakeProcess { pid: 5_000_102, parent: 5_000_100, cpus: "3", ..master }.write(proc.path());
        FakeProcess { pid: 5_000_103, name: "other", sockets: &[8], ..Default::default() }.write(proc.path());
        proc
    }

    fn pids(listening: &Listening) -> Vec<u32> {
        let mut pids: Vec<u32> = listening.processes.iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn finds_all_processes_with_the_socket_and_those_that_serve() {
        let proc = machine(&socket("0100007F:078F", "0A", 7), "");
        let found = listener_in(proc.path(), "127.0.0.1:1935".parse().unwrap());
        assert_eq!((found.sockets, pids(&found)), (1, vec![5_000_100, 5_000_101, 5_000_102]));
        assert_eq!(found.roots(), [5_000_100]);
        assert_eq!(found.cpus(), [2, 3], "the master only watches");
        assert_eq!(listener_in(proc.path(), "127.0.0.1:1936".parse().unwrap()), Listening::default());
        assert_eq!(listener_in(proc.path(), "127.0.0.2:1935".parse().unwrap()), Listening::default());
    }

    #[test]
    fn a_socket_bound_to_the_address_goes_before_one_bound_to_all() {
        let both = socket("00000000:078F", "0A", 8) + &socket("0100007F:078F", "0A", 7);
        let proc = machine(&both, "");
        assert_eq!(
            pids(&listener_in(proc.path(), "127.0.0.1:1935".parse().unwrap())),
            [5_000_100, 5_000_101, 5_000_102]
        );
        assert_eq!(pids(&listener_in(proc.path(), "127.0.0.2:1935".parse().unwrap())), [5_000_103]);
    }

    #[test]
    fn a_socket_for_both_families_serves_both() {
        let proc = machine("", &socket("00000000000000000000000000000000:078F", "0A", 8));
        for address in ["127.0.0.1:1935", "[::1]:1935"] {
            assert_eq!(pids(&listener_in(proc.path(), address.parse().unwrap())), [5_000_103], "{address}");
        }
        let only_4 = machine(&socket("00000000:078F", "0A", 8), "");
        assert_eq!(listener_in(only_4.path(), "[::1]:1935".parse().unwrap()), Listening::default());
    }

    #[test]
    fn sockets_behind_the_listening_ones_are_not_read() {
        let tcp = socket("0100007F:078F", "0A", 7) + &socket("0100007F:078F", "01", 8) + "what no reader understands\n";
        let proc = machine(&tcp, "");
        assert_eq!(listener_in(proc.path(), "127.0.0.1:1935".parse().unwrap()).sockets, 1);
    }

    #[test]
    fn a_socket_of_nobody_that_may_be_seen_is_told() {
        let proc = machine(&socket("0100007F:078F", "0A", 99), "");
        let found = listener_in(proc.path(), "127.0.0.1:1935".parse().unwrap());
        assert_eq!((found.sockets, found.processes.len()), (1, 0));
    }

    #[test]
    fn this_process_is_found_by_its_own_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = listener_of(listener.local_addr().unwrap());
        assert_eq!(found.sockets, 1);
        // A child that another test has just forked holds the socket, too, until it executes its program.
        assert!(pids(&found).contains(&std::process::id()), "{:?}", pids(&found));
        assert!(!found.cpus().is_empty());
    }
}
