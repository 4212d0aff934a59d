//! `shakedown run` as a process, and the result it prints.

use std::process::{Command, Output};

use shakedown::run::RunResult;

use super::process::PATIENCE;

/// A finished `shakedown run --json`.
#[derive(Debug)]
pub struct RunOutput {
    /// Its exit code.
    pub code: i32,
    /// stdout.
    pub printed: String,
    /// stderr.
    pub told: String,
}

/// The built binary, for those who need more than its exit: see [`run_by`].
pub fn shakedown_command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shakedown"))
}

/// The result of `shakedown run` with `arguments`, which are separated by spaces.
///
/// # Panics
/// Unless it ends with exit code 0.
pub fn run(arguments: &str) -> RunResult {
    run_by(shakedown_command(), arguments).passed()
}

/// Runs `command`, which starts the binary in some surroundings of its own, with `arguments` to its `run`.
pub fn run_by(command: Command, arguments: &str) -> RunOutput {
    let mut command = assert_cmd::Command::from_std(command);
    command.arg("run").args(arguments.split_whitespace()).args(["--json", "--no-progress"]);
    let Output { status, stdout, stderr } = command.timeout(2 * PATIENCE).output().expect("an executable file");
    let text = |bytes| String::from_utf8(bytes).expect("only UTF-8 is printed");
    let (printed, told) = (text(stdout), text(stderr));
    let code = status.code().unwrap_or_else(|| panic!("run {arguments}: {status}\n{told}"));
    RunOutput { code, printed, told }
}

impl RunOutput {
    /// The result of a run that did what was asked.
    pub fn passed(self) -> RunResult {
        self.ended_with(0)
    }

    /// The result of a run that ended with `code`.
    pub fn ended_with(self, code: i32) -> RunResult {
        assert_eq!(self.code, code, "{}", self.told);
        self.result()
    }

    /// The result, whatever the exit code says of it.
    pub fn result(self) -> RunResult {
        serde_json::from_str(&self.printed).unwrap_or_else(|error| panic!("{error}: {}{}", self.printed, self.told))
    }
}
