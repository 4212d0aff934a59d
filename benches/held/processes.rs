//! The generator and the sink, each a process of its own.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use shakedown::run::RunResult;
use shakedown::sink::SinkCounts;
use tempfile::TempDir;

use super::machine::Usage;

/// How often a process is looked at.
pub const LOOK_EVERY_MS: i64 = 10;

/// A running sink.
pub struct Sink {
    child: Child,
    output: BufReader<ChildStdout>,
    pub address: String,
}

/// A running generator.
pub struct Generator {
    child: Child,
    ended: OwnedFd,
    folder: TempDir,
}

impl Sink {
    pub fn start(workers: u32) -> Result<Self, Box<dyn Error>> {
        let workers = workers.to_string();
        let mut child = shakedown()
            .args(["sink", "--listen", "127.0.0.1:0", "--json", "--workers", &workers])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line)?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        let address = line["listening"].as_str().ok_or("the sink does not listen")?.to_owned();
        Ok(Self { child, output, address })
    }

    pub fn usage(&self) -> Result<Usage, Box<dyn Error>> {
        Usage::of(self.child.id() as i32)
    }

    /// What it has seen, when it has ended.
    pub fn stop(mut self) -> Result<SinkCounts, Box<dyn Error>> {
        interrupt(&self.child)?;
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        Ok(serde_json::from_str(&text)?)
    }
}

impl Generator {
    /// Starts `shakedown run` with these arguments.
    pub fn start(arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let child = shakedown()
            .arg("run")
            .args(arguments)
            .args(["--no-progress", "-q", "-o"])
            .arg(result_in(&folder))
            .stdout(Stdio::null())
            .spawn()?;
        let ended = pidfd_open(pid(&child), PidfdFlags::empty())?;
        Ok(Self { child, ended, folder })
    }

    pub fn usage(&self) -> Result<Usage, Box<dyn Error>> {
        Usage::of(self.child.id() as i32)
    }

    /// Waits for its end, for one look's time at most; `true` if it has come.
    pub fn has_ended(&self) -> Result<bool, Box<dyn Error>> {
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY_MS * 1_000_000 };
        Ok(poll(&mut [PollFd::new(&self.ended, PollFlags::IN)], Some(&look))? > 0)
    }

    /// Ends its load or its hold in good order.
    pub fn interrupt(&self) -> Result<(), Box<dyn Error>> {
        interrupt(&self.child)
    }

    /// What it found, when it has ended.
    pub fn result(mut self) -> Result<RunResult, Box<dyn Error>> {
        let status = self.child.wait()?;
        let text = std::fs::read(result_in(&self.folder)).map_err(|_| format!("the generator ended by {status}"))?;
        Ok(serde_json::from_slice(&text)?)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn shakedown() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shakedown"))
}

fn result_in(folder: &TempDir) -> PathBuf {
    folder.path().join("result.json")
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn interrupt(child: &Child) -> Result<(), Box<dyn Error>> {
    Ok(kill_process(pid(child), Signal::INT)?)
}

/// Nothing is left behind where the bench ends early.
fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
