//! The machine as it stands in the result.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Resource, getrlimit};

use super::Environment;
use crate::fleet::allowed_cpus;
use crate::io::Engine;

/// The machine as it stands in the result.
pub fn environment(engine: Engine) -> Environment {
    let uname = rustix::system::uname();
    let cpu_model = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_string())
        })
        .unwrap_or_else(|| "unknown".into());
    Environment {
        kernel: uname.release().to_string_lossy().into_owned(),
        cpus: allowed_cpus().len() as u32,
        cpu_model,
        engine,
        nofile: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        more: sysctls(),
    }
}

/// Settings of this kernel that the numbers depend on, by the last part of their names; those it does not have are left
/// out.
fn sysctls() -> BTreeMap<String, serde_json::Value> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim().parse::<u64>().ok();
    ["core/somaxconn", "ipv4/tcp_syn_linear_timeouts", "ipv4/tcp_syncookies"]
        .into_iter()
        .filter_map(|name| Some((name.rsplit('/').next()?.to_owned(), read(name)?.into())))
        .collect()
}
