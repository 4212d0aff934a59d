//! How often a CPU quota (cgroup `cpu.max`; a container's `--cpus` or `limits.cpu`) stopped this program.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::Nanos;

/// What `cpu.stat` says of the quota of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which its quota was used up.
    pub times: u64,
    /// How long its threads were kept from running, all together.
    pub time: Nanos,
}

impl Throttling {
    /// Of this process's cgroup and those around it, each of which may have a quota; those without are left out.
    pub fn read() -> Vec<(PathBuf, Self)> {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let files = stat_files(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"));
        let read = |path: PathBuf| {
            let throttling = Self::parse(&fs::read_to_string(&path).ok()?)?;
            Some((path, throttling))
        };
        files.into_iter().filter_map(read).collect()
    }

    /// The lines `nr_throttled` and `throttled_usec` (version 2; Documentation/admin-guide/cgroup-v2.rst) or
    /// `throttled_time` in nanoseconds (version 1; Documentation/scheduler/sched-bwc.rst). A cgroup that has no CPU
    /// controller has none of them.
    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
        };
        let micros = value("throttled_usec").map(Nanos::from_micros);
        Some(Self { times: value("nr_throttled")?, time: micros.or(value("throttled_time").map(Nanos::new))? })
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self { times: self.times.saturating_sub(earlier.times), time: self.time.saturating_sub(earlier.time) }
    }
}

/// Where the `cpu.stat` of this process's cgroup and of those around it may lie, by `/proc/self/cgroup` (cgroups(7)) and
/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn stat_files(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let is_cpu = |options: &str| options.split(',').any(|controller| controller == "cpu");
        let version_2 = controllers.is_empty();
        if !version_2 && !is_cpu(controllers) {
            continue;
        }
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            let is_this =
                if version_2 { mount.kind == "cgroup2" } else { mount.kind == "cgroup" && is_cpu(mount.options) };
            if is_this {
                // What is not below the mounted directory is seen at no other place than there.
                let inside = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
                files.extend(inside.ancestors().map(|part| Path::new(mount.point).join(part).join("cpu.stat")));
            }
        }
    }
    files
}

/// A line of `mountinfo`.
struct Mount<'a> {
    /// Which directory of the file system is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    /// Of the file system.
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut system = system.split(' ');
        Some(Self { root: mount.next()?, point: mount.next()?, kind: system.next()?, options: system.nth(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_2: &str =
        "usage_usec 52\nuser_usec 40\nnr_periods 87\nnr_throttled 43\nthrottled_usec 3200000\nnr_bursts 0\n";
    const VERSION_1: &str = "nr_periods 87\nnr_throttled 43\nthrottled_time 3200000000\n";

    fn files(cgroup: &str, mountinfo: &str) -> Vec<String> {
        stat_files(cgroup, mountinfo).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn both_versions_of_cpu_stat_are_read() {
        let throttled = Throttling { times: 43, time: Nanos::from_millis(3_200) };
        assert_eq!(Throttling::parse(VERSION_2), Some(throttled));
        assert_eq!(Throttling::parse(VERSION_1), Some(throttled));
        assert_eq!(Throttling::parse("usage_usec 52\nuser_usec 40\n"), None, "no CPU controller here");
        assert_eq!(Throttling::parse("nr_throttled many\nthrottled_usec 1\n"), None);
    }

    #[test]
    fn a_cgroup_of_version_2_lies_in_those_around_it() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
                      31 23 0:5 / /dev rw - devtmpfs udev rw\n";
        let expected = [
            "/sys/fs/cgroup/user.slice/load.scope/cpu.stat",
            "/sys/fs/cgroup/user.slice/cpu.stat",
            "/sys/fs/cgroup/cpu.stat",
        ];
        assert_eq!(files("0::/user.slice/load.scope\n", mounts), expected);
        assert_eq!(files("0::/\n", mounts), ["/sys/fs/cgroup/cpu.stat"], "in a namespace of its own");
    }

    #[test]
    fn a_container_of_version_1_sees_its_own_cgroup_alone() {
        let cgroups = "12:memory:/docker/4f\n4:cpu,cpuacct:/docker/4f\n1:name=systemd:/docker/4f\n0::/system.slice\n";
        let mounts = "40 39 0:30 /docker/4f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      41 39 0:31 /docker/4f /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(files(cgroups, mounts), ["/sys/fs/cgroup/cpu,cpuacct/cpu.stat"]);
        assert!(files("nonsense", "nonsense - \n").is_empty());
    }
}
