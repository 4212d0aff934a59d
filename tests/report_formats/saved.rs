//! Results of real commands on the simulated network, made once for all tests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::{PATIENCE, shakedown_command};

/// A saved result.
pub struct Saved {
    pub name: &'static str,
    pub file: PathBuf,
}

/// Runs, each for other parts of a result, and what they are started with.
const RUNS: [(&str, &str); 8] = [
    ("open", "rtmp://noisy.sim/live -R 1k -w 1s -d 8s --threshold response.p99<50ms --threshold failed<1% --label a=b"),
    ("closed", "rtmp://noisy.sim/live -c 32 -d 2s"),
    ("mix", "scenarios/cluster-mix.toml rtmp://serve.sim/live rtmp://refuse.sim/live -d 10s"),
    ("overshoot", "scenarios/overshoot-recovery.toml rtmp://overload.sim/live"),
    ("storm", "scenarios/relay-fleet.toml rtmp://backlog.sim/live -d 20s"),
    ("hostile", "scenarios/version-mismatch.toml rtmp://serve.sim/live"),
    ("lost", "rtmp://close-held.sim/live -R 10 -d 5s --hold 2s --proxy-protocol v1 --client-ips 10.9.0.0/24"),
    ("refused", "rtmp://refuse.sim/live -R 100 -d 2s"),
];

/// Searches: a target that serves 50 a second, and one that refuses all.
const SEARCHES: [(&str, &str); 2] = [
    ("capacity", "rtmp://slow.sim/live --deadline 300ms --confirm 10s --rfc9411"),
    ("no-capacity", "rtmp://refuse.sim/live"),
];

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

/// The results of runs.
pub static OF_RUNS: LazyLock<Vec<Saved>> = LazyLock::new(|| RUNS.map(|(name, words)| saved("run", name, words)).into());

/// The results of capacity searches.
pub static OF_SEARCHES: LazyLock<Vec<Saved>> =
    LazyLock::new(|| SEARCHES.map(|(name, words)| saved("capacity --no-control", name, words)).into());

fn saved(command: &str, name: &'static str, words: &str) -> Saved {
    let file = FOLDER.path().join(format!("{name}.json"));
    let mut shakedown = shakedown_command();
    shakedown.current_dir(env!("CARGO_MANIFEST_DIR")).args(command.split_whitespace()).args(words.split_whitespace());
    shakedown.args(["--engine", "sim", "--seed", "1", "--quiet", "-o"]).arg(&file);
    let output = assert_cmd::Command::from_std(shakedown).timeout(4 * PATIENCE).output().expect("an executable file");
    assert!(file.is_file(), "{name}: {output:?}");
    Saved { name, file }
}

impl Saved {
    /// The file's content.
    pub fn json(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.file).expect("it is saved")).expect("it is JSON")
    }

    /// The same result after an edit, beside the other files.
    pub fn edited(&self, name: &'static str, edit: impl FnOnce(&mut Value)) -> Self {
        let mut json = self.json();
        edit(&mut json);
        let file = FOLDER.path().join(format!("{name}.json"));
        std::fs::write(&file, json.to_string()).expect("a folder of our own");
        Self { name, file }
    }

    /// What `report` prints of it with these flags.
    pub fn report(&self, flags: &str) -> String {
        report(&self.file, flags)
    }
}

/// What `report` prints of `file`.
pub fn report(file: &Path, flags: &str) -> String {
    let mut command = assert_cmd::Command::from_std(shakedown_command());
    let output = command.arg("report").arg(file).args(flags.split_whitespace()).timeout(PATIENCE).output();
    let output = output.expect("an executable file");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.is_empty(), "{}: {told}", file.display());
    String::from_utf8(output.stdout).expect("only UTF-8 is printed")
}
