//! `--cpus`: the value of the flag.

use crate::fleet::{CpuList, allowed_cpus};

/// Reads a list of CPUs; a text that is none is told which CPUs there are. Whether each may be used is checked with the
/// plan, which may also come from a file.
pub(super) fn parse(text: &str) -> Result<CpuList, String> {
    let cpuset = || CpuList::from(allowed_cpus());
    text.parse().map_err(|error| format!("{error} (this process's cpuset is {})", cpuset()))
}
