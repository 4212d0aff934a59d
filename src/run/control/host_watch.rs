//! What happened to this machine while a load ran: counters read before it and after it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::Nanos;
use crate::io::suspended;

use crate::finding::Finding;
use crate::host::Throttling;
use crate::host::{CpuTicks, tcp_counters};
use crate::run::judging::preflight;
use crate::run::judging::throttling;

/// The counters before the load.
pub(super) struct HostWatch {
    network: BTreeMap<String, u64>,
    ticks: CpuTicks,
    throttling: Vec<(PathBuf, Throttling)>,
    suspended: Nanos,
}

/// The host's TCP counters before and after.
pub(super) type NetworkCounters = (BTreeMap<String, u64>, BTreeMap<String, u64>);

impl HostWatch {
    /// Reads them.
    pub(super) fn begin() -> Self {
        Self {
            network: tcp_counters(),
            ticks: CpuTicks::read(),
            throttling: Throttling::read(),
            suspended: suspended(),
        }
    }

    /// Reads them again: what they say of a run that `took` so long on so many workers.
    pub(super) fn finish(self, took: Nanos, workers: u32) -> (NetworkCounters, Vec<Finding>) {
        let stolen = preflight::stolen(CpuTicks::read().since(self.ticks));
        let slept = preflight::suspended(suspended().saturating_sub(self.suspended));
        let throttled = throttling::finding(&self.throttling, &Throttling::read(), took, workers);
        let findings = [stolen, slept, throttled].into_iter().flatten().collect();
        ((self.network, tcp_counters()), findings)
    }
}
