//! Cores, their hardware threads and their NUMA nodes, and the order in which workers take them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::affinity::allowed_cpus;
use super::cpu_list::CpuList;

/// From this many cores on one is left free: fewer, and a worker less would cost more than what disturbs it.
const ENOUGH_CORES: usize = 8;

/// A core: those of its hardware threads that this process may use, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// The NUMA node it belongs to.
    pub node: u32,
    /// Its hardware threads.
    pub cpus: Vec<u32>,
}

/// The cores that this process may use, node by node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cores: Vec<Core>,
    /// The place of the core that is left free.
    free: Option<usize>,
}

impl Topology {
    /// No core is known: workers are not pinned.
    pub const UNKNOWN: Self = Self { cores: Vec::new(), free: None };

    /// Those of this process's cpuset on this machine.
    pub fn detect() -> Self {
        Self::read(Path::new("/sys/devices/system"), &allowed_cpus())
    }

    /// Those of the CPUs `allowed`, as `cpu/cpuN/topology/thread_siblings_list` and `node/nodeN/cpulist` below `root`
    /// describe them (Documentation/ABI/stable/sysfs-devices-system-cpu and -node). A CPU of which nothing is said is a
    /// core of its own on node 0.
    ///
    /// From 8 cores on the core of the lowest CPU is left free: Linux keeps time, runs unbound work and takes most
    /// interrupts there.
    pub fn read(root: &Path, allowed: &[u32]) -> Self {
        let nodes = nodes(root);
        let node_of = |cpu| nodes.iter().find(|(_, cpus)| cpus.contains(&cpu)).map_or(0, |(node, _)| *node);
        let mut left: BTreeSet<u32> = allowed.iter().copied().collect();
        let lowest = left.first().copied();
        let mut cores = Vec::new();
        while let Some(first) = left.pop_first() {
            let siblings = list(&root.join(format!("cpu/cpu{first}/topology/thread_siblings_list")));
            let mut cpus = vec![first];
            cpus.extend(siblings.into_iter().filter(|cpu| left.remove(cpu)));
            cores.push(Core { node: node_of(first), cpus });
        }
        cores.sort_by_key(|core| core.node);
        let free = cores.iter().position(|core| lowest.is_some_and(|cpu| core.cpus.contains(&cpu)));
        Self { free: free.filter(|_| cores.len() >= ENOUGH_CORES), cores }
    }

    /// Cores of one thread each on one node, none left free.
    #[cfg(test)]
    pub fn of_cpus(cpus: impl IntoIterator<Item = u32>) -> Self {
        Self { cores: cpus.into_iter().map(|cpu| Core { node: 0, cpus: vec![cpu] }).collect(), free: None }
    }

    /// Only the cores' threads among `cpus`. Where they are few, none is left free.
    pub fn only(&self, cpus: &[u32]) -> Self {
        let free = self.free.map(|index| &self.cores[index]);
        let kept = |core: &Core| {
            let left: Vec<u32> = core.cpus.iter().copied().filter(|cpu| cpus.contains(cpu)).collect();
            (!left.is_empty()).then(|| (free == Some(core), Core { node: core.node, cpus: left }))
        };
        let (is_free, cores): (Vec<bool>, Vec<Core>) = self.cores.iter().filter_map(kept).unzip();
        let free = is_free.iter().position(|free| *free).filter(|_| cores.len() >= ENOUGH_CORES);
        Self { cores, free }
    }

    /// Every CPU in the order in which workers take them: one hardware thread of each core, node by node; then the other
    /// threads in the same order; last those of the core that is left free.
    ///
    /// Two workers on one core take turns at its execution units and caches, which no account of CPU time shows, so every
    /// core has a worker before one has two. Node by node, because few workers do best on one node: what they share (the
    /// kernel's tables of ports and sockets, a sink beside them) stays in its cache.
    pub fn cpus(&self) -> Vec<u32> {
        let most = self.cores.iter().map(|core| core.cpus.len()).max().unwrap_or(0);
        let thread = |index| self.working().filter_map(move |core| core.cpus.get(index).copied());
        let free = self.free_core().into_iter().flat_map(|core| core.cpus.iter().copied());
        (0..most).flat_map(thread).chain(free).collect()
    }

    /// Cores for workers: all but the one left free.
    pub fn worker_cores(&self) -> u32 {
        self.working().count() as u32
    }

    /// The core that is left to the control thread, to interrupts and to the kernel's own work, if there are enough.
    pub fn free_core(&self) -> Option<&Core> {
        self.free.map(|index| &self.cores[index])
    }

    /// Where another program does not disturb what runs on `taken`: a hardware thread of every core that has none of
    /// them; without such a core the CPUs that are not taken, and without these all.
    pub fn apart_from(&self, taken: &[u32]) -> Vec<u32> {
        let untouched = |core: &&Core| !core.cpus.iter().any(|cpu| taken.contains(cpu));
        let apart: Vec<u32> = self.working().filter(untouched).filter_map(|core| core.cpus.first().copied()).collect();
        let others = || self.cpus().into_iter().filter(|cpu| !taken.contains(cpu)).collect::<Vec<u32>>();
        let choices = [apart, others()];
        choices.into_iter().find(|cpus| !cpus.is_empty()).unwrap_or_else(|| self.cpus())
    }

    /// NUMA nodes with a core.
    pub fn nodes(&self) -> usize {
        self.cores.iter().map(|core| core.node).collect::<BTreeSet<_>>().len()
    }

    /// All cores, the one left free included.
    pub fn cores(&self) -> &[Core] {
        &self.cores
    }

    fn working(&self) -> impl Iterator<Item = &Core> {
        self.cores.iter().enumerate().filter(|(index, _)| self.free != Some(*index)).map(|(_, core)| core)
    }
}

/// The nodes and their CPUs.
fn nodes(root: &Path) -> Vec<(u32, BTreeSet<u32>)> {
    let Ok(entries) = fs::read_dir(root.join("node")) else { return Vec::new() };
    let node = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
        Some((number, list(&entry.path().join("cpulist")).into_iter().collect()))
    };
    let mut nodes: Vec<_> = entries.flatten().filter_map(node).collect();
    nodes.sort_by_key(|(number, _)| *number);
    nodes
}

/// The CPUs of a file; none if it cannot be read, or for a node that has memory only.
fn list(path: &Path) -> Vec<u32> {
    let list = fs::read_to_string(path).ok().and_then(|text| text.parse::<CpuList>().ok());
    list.map(|list| list.as_slice().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/sys/devices/system` of a machine: CPU `n` and CPU `n + cores` are the threads of core `n`, as on Intel and AMD
    /// servers, and the nodes have equal parts of the cores.
    fn machine(cores: u32, threads: u32, nodes: u32) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: String, text: String| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text + "\n").unwrap();
        };
        for core in 0..cores {
            let siblings: Vec<String> = (0..threads).map(|thread| (core + thread * cores).to_string()).collect();
            for cpu in &siblings {
                write(format!("cpu/cpu{cpu}/topology/thread_siblings_list"), siblings.join(","));
            }
        }
        let of_node = cores / nodes;
        for node in 0..nodes {
            let range = |thread| {
                let first = node * of_node + thread * cores;
                format!("{first}-{}", first + of_node - 1)
            };
            write(format!("node/node{node}/cpulist"), (0..threads).map(range).collect::<Vec<_>>().join(","));
        }
        // A node of memory alone, and what is no node.
        write(format!("node/node{nodes}/cpulist"), String::new());
        write("node/possible".into(), "0-3".into());
        root
    }

    #[test]
    fn a_server_of_128_cores_on_two_nodes_with_two_threads_each() {
        let root = machine(128, 2, 2);
        let topology = Topology::read(root.path(), &(0..256).collect::<Vec<_>>());
        assert_eq!((topology.cores().len(), topology.nodes(), topology.worker_cores()), (128, 2, 127));
        assert_eq!(topology.free_core(), Some(&Core { node: 0, cpus: vec![0, 128] }));
        let cpus = topology.cpus();
        assert_eq!(cpus.len(), 256);
        let expected = (1..128).chain(129..256).chain([0, 128]);
        assert_eq!(cpus, expected.collect::<Vec<_>>());
        // 40 workers are on one node, each on a core of its own, and a sink beside them on the rest of the cores.
        let workers = &cpus[..40];
        assert!(workers.iter().all(|cpu| *cpu < 64));
        assert_eq!(topology.apart_from(workers), (41..128).collect::<Vec<_>>());
        // Half of the cores each: nobody shares one.
        assert_eq!(topology.apart_from(&cpus[..63]), (64..128).collect::<Vec<_>>());
    }

    #[test]
    fn nodes_may_be_interleaved() {
        let root = machine(4, 1, 1);
        fs::write(root.path().join("node/node0/cpulist"), "0,2\n").unwrap();
        fs::write(root.path().join("node/node1/cpulist"), "1,3\n").unwrap();
        let topology = Topology::read(root.path(), &[0, 1, 2, 3]);
        assert_eq!((topology.cpus(), topology.nodes()), (vec![0, 2, 1, 3], 2));
    }

    #[test]
    fn only_the_cpuset_counts() {
        let root = machine(16, 2, 2);
        // Cores 4 to 11; of core 5 the second thread only.
        let allowed: Vec<u32> = (4..12).chain(20..28).filter(|cpu| *cpu != 5).collect();
        let topology = Topology::read(root.path(), &allowed);
        assert_eq!(topology.free_core().map(|core| core.cpus.clone()), Some(vec![4, 20]));
        assert_eq!(topology.worker_cores(), 7);
        assert_eq!(topology.cpus(), [6, 7, 21, 8, 9, 10, 11, 22, 23, 24, 25, 26, 27, 4, 20]);
        let few = topology.only(&[4, 6, 20, 22]);
        assert_eq!((few.free_core(), few.cpus()), (None, vec![4, 6, 20, 22]), "too few to leave one free");
    }

    #[test]
    fn a_small_machine_leaves_no_core_free() {
        let root = machine(7, 1, 1);
        let topology = Topology::read(root.path(), &[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((topology.free_core(), topology.worker_cores()), (None, 7));
        assert_eq!(topology.apart_from(&[0, 1, 2]), [3, 4, 5, 6]);
        assert_eq!(topology.apart_from(&[0, 1, 2, 3, 4, 5, 6]), [0, 1, 2, 3, 4, 5, 6], "nothing is apart from all");
        let one = machine(1, 2, 1);
        let topology = Topology::read(one.path(), &[0, 1]);
        assert_eq!((topology.worker_cores(), topology.cpus()), (1, vec![0, 1]));
        assert_eq!(topology.apart_from(&[0]), [1], "the other thread of the only core");
    }

    #[test]
    fn without_sys_every_cpu_is_a_core() {
        let nowhere = tempfile::tempdir().unwrap();
        let topology = Topology::read(nowhere.path(), &[3, 1]);
        assert_eq!((topology.cpus(), topology.nodes(), topology.free_core()), (vec![1, 3], 1, None));
        assert_eq!(Topology::read(nowhere.path(), &[]), Topology::UNKNOWN);
    }

    #[test]
    fn this_machine_has_the_cpus_of_its_cpuset() {
        let mut cpus = Topology::detect().cpus();
        cpus.sort_unstable();
        assert_eq!(cpus, allowed_cpus());
    }
}
