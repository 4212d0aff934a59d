//! `shakedown run` while it goes on.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::process::Server;
use super::run_command::{RunOutput, shakedown_command};

/// A running `shakedown run`; killed when dropped.
pub struct Load {
    process: Server,
    folder: tempfile::TempDir,
}

/// The result's name in the folder.
const RESULT: &str = "result.json";

impl Load {
    /// Starts a run with `arguments`, which are separated by spaces.
    pub fn start(arguments: &str) -> Self {
        Self::start_by(shakedown_command(), &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Starts a run of the scenario `text` inside the surroundings of `command`, with `arguments` after the file's name.
    pub fn start_scenario(command: Command, text: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("scenario.toml");
        std::fs::write(&file, text).expect("a writable temporary folder");
        let path = file.to_str().expect("a temporary folder with a name in UTF-8");
        Self::start_in(folder, command, &[&[path], arguments].concat())
    }

    /// Starts `command`, which starts the binary in some surroundings of its own, with `arguments` to its `run`.
    pub fn start_by(command: Command, arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), command, arguments)
    }

    fn start_in(folder: tempfile::TempDir, mut command: Command, arguments: &[&str]) -> Self {
        command.arg("run").args(arguments).arg("--no-progress").arg("-o").arg(folder.path().join(RESULT));
        let process = Server::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
        Self { process, folder }
    }

    /// Waits until something has happened that `done` looks for.
    pub fn wait_until(&mut self, mut done: impl FnMut() -> bool) {
        self.process.wait_until(|_| done()).expect("a load binds no port");
    }

    /// Ends it with SIGINT: its result is of what was measured until then.
    pub fn interrupt(self) -> RunOutput {
        self.process.signal(Signal::INT);
        self.finish()
    }

    /// Waits for its end.
    pub fn finish(self) -> RunOutput {
        let Self { process, folder } = self;
        let (status, told) = process.finish();
        let told = told.join("\n");
        let code = status.code().unwrap_or_else(|| panic!("{status}\n{told}"));
        let printed = std::fs::read_to_string(folder.path().join(RESULT)).unwrap_or_default();
        RunOutput { code, printed, told }
    }
}
