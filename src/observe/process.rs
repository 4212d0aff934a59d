//! A process of this machine with all that descend from it, from `/proc` (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::{LimitValue, Process, Stat, all_processes_with_root};

use super::listener::{allowed_cpus, opened_sockets, printable};
use super::netstat::ListenCounters;
use super::sample::{Observed, ObservedKind, ObservedSample};
use super::sockets::{AcceptQueue, accept_queues};
use super::subject::ObserveError;

/// Reads one process and its descendants; this program itself is never among them.
#[derive(Debug)]
pub(super) struct ProcessReader {
    /// `/proc`, but in tests.
    proc: PathBuf,
    identity: Identity,
    name: String,
    cpus: Option<u32>,
    /// It lives in this program's network namespace, so what the kernel tells this program is of it too.
    near: bool,
    /// Its listening sockets.
    listening: BTreeSet<u64>,
    descriptors_limit: Option<u64>,
    backlog: Option<u64>,
    before: Option<TreeReading>,
}

/// A process, not just its number, which another may have later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub pid: u32,
    /// In clock ticks since the machine's start.
    started: u64,
}

/// Why there is no reading: the process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended;

/// The state of all processes at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
struct TreeReading {
    /// CPU time that processes used, children that were waited for included, in clock ticks.
    ticks: u64,
    /// By thread.
    threads: BTreeMap<i32, ThreadTimes>,
    rss_bytes: u64,
    /// Of the process with most of them open, and its limit.
    descriptors: Option<(u64, Option<u64>)>,
    queue: Option<AcceptQueue>,
    listen: Option<ListenCounters>,
}

/// The first numbers of `schedstat` (Documentation/scheduler/sched-stats.rst), nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ThreadTimes {
    running: u64,
    /// Ready to run, but not running; `None` if the kernel does not say (no CONFIG_SCHED_INFO).
    waiting: Option<u64>,
}

impl Identity {
    /// The process with this number.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub(super) fn of(pid: u32) -> Result<Self, ObserveError> {
        Self::in_proc(Path::new("/proc"), pid)
    }

    fn in_proc(proc: &Path, pid: u32) -> Result<Self, ObserveError> {
        let stat = Process::new_with_root(proc.join(pid.to_string())).and_then(|process| process.stat());
        match stat {
            Ok(stat) if !has_ended(&stat) => Ok(Self { pid, started: stat.starttime }),
            Ok(_) | Err(procfs::ProcError::NotFound(_)) => Err(ObserveError::NoProcess(pid)),
            Err(error) => Err(ObserveError::Unreadable { pid, reason: error.to_string() }),
        }
    }
}

/// Ended and not yet waited for by its parent. A process goes on without its first thread while it has others.
fn has_ended(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1
}

impl ProcessReader {
    pub(super) fn new(identity: Identity) -> Self {
        Self::in_proc(Path::new("/proc"), identity)
    }

    fn in_proc(proc: &Path, identity: Identity) -> Self {
        let mut reader = Self {
            proc: proc.to_owned(),
            identity,
            name: format!("pid {}", identity.pid),
            cpus: None,
            near: false,
            listening: BTreeSet::new(),
            descriptors_limit: None,
            backlog: None,
            before: None,
        };
        let Ok(root) = reader.root() else { return reader };
        if let Ok(stat) = root.stat() {
            reader.name = format!("{} (pid {})", printable(&stat.comm), identity.pid);
        }
        let namespace = |process: &str| fs::read_link(proc.join(process).join("ns/net")).ok();
        // Where it cannot be seen it is another user's process, and most of those live in the same namespace.
        let own = namespace("self");
        reader.near = namespace(&identity.pid.to_string()).is_none_or(|of_process| Some(of_process) == own);
        let tree = reader.tree(root);
        let allowed: BTreeSet<u32> =
            tree.iter().filter_map(|process| process.status().ok()).flat_map(|status| allowed_cpus(&status)).collect();
        reader.cpus = (!allowed.is_empty()).then_some(allowed.len() as u32);
        reader.listening = tree.iter().flat_map(opened_sockets).collect();
        reader
    }

    /// What it is, with the limits that were seen.
    pub(super) fn describe(&self) -> Observed {
        Observed {
            name: self.name.clone(),
            kind: ObservedKind::Process,
            cpus: self.cpus,
            descriptors_limit: self.descriptors_limit,
            listen_backlog: self.backlog,
            conntrack_limit: self.conntrack("nf_conntrack_max"),
            memory_bytes: None,
            ended_s: None,
            missed: 0,
            samples: Vec::new(),
        }
    }

    /// What it did in the `span_s` since the last reading; the first one has no span.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn read(&mut self, span_s: f64) -> Result<ObservedSample, Ended> {
        let now = self.reading()?;
        if let Some((_, limit)) = now.descriptors {
            self.descriptors_limit = limit;
        }
        if let Some(queue) = now.queue {
            self.backlog = Some(queue.backlog);
        }
        let conntrack = self.conntrack("nf_conntrack_count");
        let before = self.before.replace(now.clone());
        Ok(ObservedSample { conntrack, ..now.since(before.as_ref(), span_s) })
    }

    fn root(&self) -> Result<Process, Ended> {
        let process = Process::new_with_root(self.proc.join(self.identity.pid.to_string())).map_err(|_| Ended)?;
        let stat = process.stat().map_err(|_| Ended)?;
        if has_ended(&stat) || stat.starttime != self.identity.started { Err(Ended) } else { Ok(process) }
    }

    /// The process and its descendants.
    fn tree(&self, root: Process) -> Vec<Process> {
        let own = std::process::id();
        let mut tree = vec![root];
        let mut seen = BTreeSet::from([self.identity.pid, own]);
        let mut all_children = None;
        let mut next = 0;
        while next < tree.len() {
            let children = children_of(&tree[next]).unwrap_or_else(|| {
                let all = all_children.get_or_insert_with(|| children_by_parent(&self.proc));
                all.get(&tree[next].pid).cloned().unwrap_or_default()
            });
            let new = children.into_iter().filter(|child| seen.insert(*child));
            tree.extend(new.filter_map(|child| Process::new_with_root(self.proc.join(child.to_string())).ok()));
            next += 1;
        }
        tree
    }

    fn reading(&self) -> Result<TreeReading, Ended> {
        let mut reading = TreeReading::default();
        let (hertz, page_size) = (procfs::ticks_per_second().max(1), procfs::page_size());
        for process in self.tree(self.root()?) {
            // It may end between one file and the next.
            let Ok(stat) = process.stat() else { continue };
            let waited_for = u64::try_from(stat.cutime).unwrap_or(0) + u64::try_from(stat.cstime).unwrap_or(0);
            reading.ticks += stat.utime + stat.stime + waited_for;
            reading.rss_bytes += stat.rss * page_size;
            let threads = process.tasks().into_iter().flatten().flatten();
            reading.threads.extend(threads.filter_map(|thread| {
                let times = match thread.schedstat() {
                    Ok(times) => ThreadTimes { running: times.sum_exec_runtime, waiting: Some(times.run_delay) },
                    Err(_) => {
                        let stat = thread.stat().ok()?;
                        ThreadTimes { running: (stat.utime + stat.stime) * (1_000_000_000 / hertz), waiting: None }
                    }
                };
                Some((thread.tid, times))
            }));
            let open = process.fd_count().ok().map(|open| open as u64);
            if let Some(open) = open.filter(|open| reading.descriptors.is_none_or(|(most, _)| *open > most)) {
                reading.descriptors = Some((open, soft_limit(&process)));
            }
        }
        reading.queue =
            if self.near && !self.listening.is_empty() { accept_queues(&self.listening).ok() } else { None };
        let netstat = self.proc.join(self.identity.pid.to_string()).join("net/netstat");
        reading.listen = fs::read_to_string(netstat).ok().and_then(|text| ListenCounters::parse(&text));
        Ok(reading)
    }

    /// A number about the connection tracking table of this program's own network namespace.
    fn conntrack(&self, name: &str) -> Option<u64> {
        let path = self.proc.join("sys/net/netfilter").join(name);
        self.near.then(|| fs::read_to_string(path).ok()?.trim().parse().ok())?
    }
}

/// `None` where the kernel does not tell (no CONFIG_PROC_CHILDREN).
fn children_of(process: &Process) -> Option<Vec<u32>> {
    let threads = process.tasks().ok()?.flatten();
    let children: Vec<_> = threads.map(|thread| thread.children()).collect();
    // Threads that ended meanwhile have none.
    let known: Vec<_> = children.into_iter().filter_map(Result::ok).collect();
    (!known.is_empty()).then(|| known.into_iter().flatten().collect())
}

fn children_by_parent(proc: &Path) -> BTreeMap<i32, Vec<u32>> {
    let mut children: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for process in all_processes_with_root(proc).into_iter().flatten().flatten() {
        if let (Ok(stat), Ok(pid)) = (process.stat(), u32::try_from(process.pid)) {
            children.entry(stat.ppid).or_default().push(pid);
        }
    }
    children
}

fn soft_limit(process: &Process) -> Option<u64> {
    match process.limits().ok()?.max_open_files.soft_limit {
        // No number near the largest is a limit.
        LimitValue::Value(limit) if limit < 1 << 53 => Some(limit),
        LimitValue::Value(_) | LimitValue::Unlimited => None,
    }
}

impl TreeReading {
    fn since(&self, before: Option<&Self>, span_s: f64) -> ObservedSample {
        let state = ObservedSample {
            span_s,
            threads: Some(self.threads.len() as u64),
            rss_bytes: Some(self.rss_bytes),
            descriptors: self.descriptors.map(|(open, _)| open),
            listen_queue: self.queue.map(|queue| queue.waiting),
            ..Default::default()
        };
        let Some(before) = before.filter(|_| span_s > 0.0) else { return state };
        let percent = |nanos: u64| nanos as f64 / 1e9 / span_s * 100.0;
        // A thread that is new, or has the number of one that ended, has used all its time since.
        let grown = |tid: &i32, now: &ThreadTimes| {
            let then = before.threads.get(tid).copied().filter(|then| then.running <= now.running).unwrap_or_default();
            let waiting = now.waiting.map(|waiting| waiting.saturating_sub(then.waiting.unwrap_or(0)));
            (now.running - then.running, waiting)
        };
        let threads: Vec<_> = self.threads.iter().map(|(tid, now)| grown(tid, now)).collect();
        let busiest = threads.iter().max_by_key(|(running, _)| *running);
        // Ticks are coarse, and threads that ended are in no list: each is a lower bound of what was used.
        let in_threads: u64 = threads.iter().map(|(running, _)| running).sum();
        let in_ticks = self.ticks.saturating_sub(before.ticks) * (1_000_000_000 / procfs::ticks_per_second().max(1));
        let grown = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_sub(other?));
        let queue = |reading: &Self| reading.queue.map(|queue| queue.drops);
        let overflows = |reading: &Self| reading.listen.map(|counters| counters.overflows);
        let drops = |reading: &Self| reading.listen.map(|counters| counters.drops);
        ObservedSample {
            cpu_percent: Some(percent(in_threads.max(in_ticks))),
            busiest_thread_percent: busiest.map(|(running, _)| percent(*running)),
            busiest_thread_wait_percent: busiest.and_then(|(_, waiting)| waiting.map(percent)),
            socket_drops: grown(queue(self), queue(before)),
            listen_overflows: grown(overflows(self), overflows(before)),
            listen_drops: grown(drops(self), drops(before)),
            ..state
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::FakeProcess;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn identity(proc: &Path) -> Result<Identity, ObserveError> {
        Identity::in_proc(proc, 5_000_100)
    }

    #[test]
    fn cpu_time_is_that_of_all_threads_and_children() {
        let proc = tempfile::tempdir().unwrap();
        let master = FakeProcess { threads: &[(5_000_100, SECOND, 0)], children: "5000101 ", ..Default::default() };
        let worker = FakeProcess {
            pid: 5_000_101,
            parent: 5_000_100,
            threads: &[(5_000_101, 7 * SECOND, 5)],
            ..Default::default()
        };
        master.write(proc.path());
        worker.write(proc.path());
        let mut reader = ProcessReader::in_proc(proc.path(), identity(proc.path()).unwrap());
        assert_eq!(reader.describe().name, "server (pid 5000100)");
        assert_eq!(reader.describe().cpus, Some(2));
        let first = reader.read(0.0).unwrap();
        assert_eq!((first.cpu_percent, first.threads), (None, Some(2)), "the first reading has no span");
        assert_eq!(first.rss_bytes, Some(2 * 412 * procfs::page_size()));
        let later = [(5_000_101, 7 * SECOND + 1_800_000_000, 5 + 100_000_000)];
        FakeProcess { threads: &later, ..worker }.write(proc.path());
        FakeProcess { threads: &[(5_000_100, SECOND + 20_000_000, 0)], ..master }.write(proc.path());
        let second = reader.read(2.0).unwrap();
        assert_eq!(second.cpu_percent, Some(91.0));
        assert_eq!(second.busiest_thread_percent, Some(90.0));
        assert_eq!(second.busiest_thread_wait_percent, Some(5.0));
    }

    #[test]
    fn time_of_threads_that_ended_counts_by_the_process_s_ticks() {
        let proc = tempfile::tempdir().unwrap();
        let before = FakeProcess { threads: &[(5_000_100, SECOND, 0), (5_000_102, SECOND, 0)], ..Default::default() };
        before.write(proc.path());
        let mut reader = ProcessReader::in_proc(proc.path(), identity(proc.path()).unwrap());
        reader.read(0.0).unwrap();
        let hertz = procfs::ticks_per_second();
        let after =
            FakeProcess { threads: &[(5_000_100, SECOND, 0)], ticks: [hertz / 4, hertz / 4, 0, hertz / 4], ..before };
        after.write(proc.path());
        let sample = reader.read(1.0).unwrap();
        assert_eq!((sample.cpu_percent, sample.busiest_thread_percent), (Some(75.0), Some(0.0)));
    }

    #[test]
    fn a_thread_that_took_the_number_of_another_has_used_what_it_says() {
        let proc = tempfile::tempdir().unwrap();
        let before = FakeProcess { threads: &[(5_000_100, 9 * SECOND, 9 * SECOND)], ..Default::default() };
        before.write(proc.path());
        let mut reader = ProcessReader::in_proc(proc.path(), identity(proc.path()).unwrap());
        reader.read(0.0).unwrap();
        FakeProcess { threads: &[(5_000_100, SECOND / 2, SECOND / 4)], ..before }.write(proc.path());
        let sample = reader.read(1.0).unwrap();
        assert_eq!((sample.busiest_thread_percent, sample.busiest_thread_wait_percent), (Some(50.0), Some(25.0)));
    }

    #[test]
    fn another_process_with_its_number_is_not_it() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(identity(proc.path()), Err(ObserveError::NoProcess(5_000_100)));
        let first = FakeProcess::default();
        first.write(proc.path());
        let mut reader = ProcessReader::in_proc(proc.path(), identity(proc.path()).unwrap());
        assert!(reader.read(0.0).is_ok());
        FakeProcess { started: 6_000, ..first }.write(proc.path());
        assert_eq!(reader.read(1.0), Err(Ended));
        FakeProcess { state: 'Z', ..first }.write(proc.path());
        assert_eq!(reader.read(1.0), Err(Ended));
        assert_eq!(identity(proc.path()), Err(ObserveError::NoProcess(5_000_100)), "it waits for its parent only");
    }

    #[test]
    fn damaged_files_are_unknown_and_not_the_end() {
        let proc = tempfile::tempdir().unwrap();
        FakeProcess { threads: &[(5_000_100, 0, 0)], ..Default::default() }.write(proc.path());
        let mut reader = ProcessReader::in_proc(proc.path(), identity(proc.path()).unwrap());
        fs::write(proc.path().join("5000100/task/5000100/schedstat"), "many").unwrap();
        fs::create_dir_all(proc.path().join("5000100/net")).unwrap();
        fs::write(proc.path().join("5000100/net/netstat"), "TcpExt: ListenDrops\n").unwrap();
        let sample = reader.read(0.0).unwrap();
        assert_eq!((sample.threads, sample.listen_drops, sample.conntrack), (Some(0), None, None));
    }

    #[test]
    fn drops_are_what_the_namespace_counted_since_the_last_reading() {
        let proc = tempfile::tempdir().unwrap();
        FakeProcess::default().write(proc.path());
        let netstat = proc.path().join("5000100/net/netstat");
        fs::create_dir_all(netstat.parent().unwrap()).unwrap();
        let mut reader = ProcessReader::in_proc(proc.path(), identity(proc.path()).unwrap());
        fs::write(&netstat, "TcpExt: ListenOverflows ListenDrops\nTcpExt: 10 20\n").unwrap();
        reader.read(0.0).unwrap();
        fs::write(&netstat, "TcpExt: ListenOverflows ListenDrops\nTcpExt: 13 25\n").unwrap();
        let sample = reader.read(1.0).unwrap();
        assert_eq!((sample.listen_overflows, sample.listen_drops), (Some(3), Some(5)));
    }
}
