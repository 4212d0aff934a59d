//! What the plan needs to know of this machine, as a value.

use rustix::process::{Resource, getrlimit};

use crate::fleet::{Topology, usable_cores};
use crate::host::local_ports;

/// Facts of the machine that sizes depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The cores that this process may run on.
    pub topology: Topology,
    /// Cores' worth of time this process may use (cpuset and quota).
    pub cores: u32,
    /// Hard limit of open files: the size of one ring's file table, and of the process with the epoll engine.
    pub descriptors: u32,
    /// Ports in `ip_local_port_range`: connections from one source to one target.
    pub ports: u32,
}

/// A ring's file table holds at most this many files (`IORING_MAX_FIXED_FILES`).
const MAX_FIXED_FILES: u32 = 1 << 20;

impl Machine {
    /// This machine.
    pub fn detect() -> Self {
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::from(MAX_FIXED_FILES));
        Self {
            topology: Topology::detect(),
            cores: usable_cores(),
            descriptors: u32::try_from(limit).unwrap_or(MAX_FIXED_FILES).min(MAX_FIXED_FILES),
            ports: local_ports(),
        }
    }

    /// Workers unless asked otherwise: one for each core that is not left free, as far as a quota has time for them.
    pub fn workers(&self) -> u32 {
        match self.topology.worker_cores() {
            0 => self.cores.max(1),
            cores => self.cores.clamp(1, cores),
        }
    }

    /// The same machine for a process that may run on `cpus` only.
    pub fn only(&self, cpus: &[u32]) -> Self {
        let cores = self.cores.min(cpus.len() as u32).max(1);
        Self { topology: self.topology.only(cpus), cores, ..self.clone() }
    }
}
