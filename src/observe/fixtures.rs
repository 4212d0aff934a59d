//! A `/proc` made of files, as kernel 6.18 writes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A process in a `/proc` of a test.
#[derive(Clone, Copy)]
pub(super) struct FakeProcess<'a> {
    /// Larger than any that a kernel gives (PID_MAX_LIMIT is 2^22).
    pub pid: u32,
    pub parent: u32,
    pub name: &'a str,
    pub state: char,
    /// In clock ticks since the machine's start.
    pub started: u64,
    /// utime, stime, cutime, cstime in clock ticks.
    pub ticks: [u64; 4],
    /// Number, time on a CPU and time waiting for one in nanoseconds.
    pub threads: &'a [(u32, u64, u64)],
    pub children: &'a str,
    pub cpus: &'a str,
    pub sockets: &'a [u64],
}

impl Default for FakeProcess<'_> {
    fn default() -> Self {
        Self {
            pid: 5_000_100,
            parent: 1,
            name: "server",
            state: 'S',
            started: 5_000,
            ticks: [0; 4],
            threads: &[],
            children: "",
            cpus: "0-1",
            sockets: &[],
        }
    }
}

impl FakeProcess<'_> {
    /// Writes its files, in the place of those of an earlier state.
    pub fn write(&self, proc: &Path) {
        let folder = proc.join(self.pid.to_string());
        let _first_time = fs::remove_dir_all(&folder);
        let put = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let [utime, stime, cutime, cstime] = self.ticks;
        let stat = format!(
            "{} ({}) {} {} 7730 31914 0 -1 4194304 100 0 0 0 {utime} {stime} {cutime} {cstime} 20 0 {} 0 {} 3133440 \
             412 18446744073709551615 94705335558144 94705335578025 140731437978048 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 \
             94705335594032 94705335595648 94705729781760 140731437984467 140731437984487 140731437984487 \
             140731437985771 0\n",
            self.pid,
            self.name,
            self.state,
            self.parent,
            self.threads.len().max(1),
            self.started
        );
        put("stat", &stat);
        put("status", &status(self.cpus));
        fs::create_dir_all(folder.join("fd")).unwrap();
        for (descriptor, inode) in (3..).zip(self.sockets) {
            symlink(format!("socket:[{inode}]"), folder.join(format!("fd/{descriptor}"))).unwrap();
        }
        for (thread, running, waiting) in self.threads {
            put(&format!("task/{thread}/schedstat"), &format!("{running} {waiting} 17\n"));
            put(&format!("task/{thread}/children"), self.children);
            put(&format!("task/{thread}/status"), &status(self.cpus));
        }
    }
}

/// The lines of `status` that a reader insists on, and the affinity.
fn status(cpus: &str) -> String {
    format!(
        "Name:\tserver\nState:\tS (sleeping)\nTgid:\t100\nPid:\t100\nPPid:\t1\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n\
         FDSize:\t64\nGroups:\t0\nThreads:\t1\nSigQ:\t0/1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n\
         SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\nCapInh:\t0000000000000000\n\
         CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCpus_allowed_list:\t{cpus}\n"
    )
}
