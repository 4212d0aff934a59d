//! Starts the built binary and keeps what it leaves behind.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{PATIENCE, shakedown_command};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_shakedown");

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `shakedown` with these words as arguments, off a terminal, 80 columns wide.
pub fn ended(words: &str) -> Ended {
    ended_in(Path::new("."), words)
}

/// The same in `folder`.
pub fn ended_in(folder: &Path, words: &str) -> Ended {
    let mut command = prepared(words);
    command.current_dir(folder);
    finished(command)
}

/// `run` on the simulated network with seed 1.
pub fn simulated(words: &str) -> Ended {
    ended(&format!("run --engine sim --seed 1 {words}"))
}

/// The command of [`ended`], for tests that prepare its process.
pub fn prepared(words: &str) -> Command {
    let mut command = shakedown_command();
    command.args(words.split_whitespace()).env("COLUMNS", "80").env_remove("NO_COLOR");
    command
}

/// Runs `command` to its end; one that hangs is killed, and has no exit code then.
pub fn finished(command: Command) -> Ended {
    assert_cmd::Command::from_std(command).timeout(PATIENCE).output().expect("an executable file").into()
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        let ended = Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
        ended
    }
}

impl Ended {
    /// The only thing it said was one error, with this exit code and all of `parts` in its text.
    #[track_caller]
    pub fn assert_error(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        assert!(self.stderr.starts_with("error: "), "{self:#?}");
        assert_eq!(self.stderr.matches("error: ").count(), 1, "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "'{part}' is not in {self:#?}");
        }
    }

    /// Its stdout, which is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// The failures of a result, one a line: step, kind, side and count.
pub fn failures(result: &Value) -> String {
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let row =
        |row: &Value| format!("{} {} {} x {}", text(row, "step"), text(row, "kind"), text(row, "side"), row["count"]);
    let rows = result["failures"].as_array().expect("a list");
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// Every arrival has exactly one outcome, and the modes add up to what completed.
#[track_caller]
pub fn assert_conserved(result: &Value) {
    let count = |group: &Value, key: &str| group[key].as_u64().unwrap_or_else(|| panic!("{key} is no count: {group}"));
    let attempts = |key| count(&result["attempts"], key);
    assert_eq!(attempts("due"), attempts("started") + attempts("dropped"));
    assert_eq!(attempts("started"), attempts("completed") + attempts("failed") + attempts("in_flight"));
    let modes = ["complex_verified", "complex_unverified", "simple", "downgraded"];
    assert_eq!(modes.map(|mode| count(&result["modes"], mode)).iter().sum::<u64>(), attempts("completed"));
    let rows = result["failures"].as_array().expect("a list").iter().filter(|row| row["step"] != "hold");
    assert_eq!(rows.map(|row| count(row, "count")).sum::<u64>(), attempts("failed"));
}
