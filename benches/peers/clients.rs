//! Who makes handshakes, and how each is asked for a number of them.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use shakedown::measure::Metric;
use shakedown::run::RunResult;

use super::process::find_tool;
use super::servers::{CLOSED_AT_CONNECT, Server};
use super::{Extent, Outcome, spent};

use Client::{BenchHandshake, Ffmpeg, Rtmpdump, Shakedown, ShakedownEach};
use Pace::{EachItsProcess, Many, OneAtATime};

/// A row of the table.
pub struct Row {
    pub name: &'static str,
    pub client: Client,
    pub pace: Pace,
    /// The row that it is compared with, by its place; its own for those that others are compared with. `None` where
    /// the start of the process is most of the cost.
    pub beside: Option<usize>,
}

/// A program and what it is to do.
pub enum Client {
    /// `shakedown run`: handshakes, each verified; or on to `publish`.
    Shakedown { publish: bool },
    /// The example of the crate librtmp2: a thread a connection, on to `publish`, with simple handshakes.
    BenchHandshake,
    /// `shakedown run -n 1`.
    ShakedownEach,
    /// Plays, and is closed when it asks for the application.
    Ffmpeg,
    /// Likewise.
    Rtmpdump,
}

/// How handshakes follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// [`AT_ONCE`] in flight, in one process.
    Many,
    /// One in flight, in one process.
    OneAtATime,
    /// One process after the other.
    EachItsProcess,
}

/// In flight, of those who make many at once.
pub const AT_ONCE: u32 = 64;

/// The rows of each server.
pub const ROWS: [Row; 8] = [
    Row { name: "shakedown", client: Shakedown { publish: false }, pace: Many, beside: Some(0) },
    Row { name: "shakedown, until publish", client: Shakedown { publish: true }, pace: Many, beside: Some(0) },
    Row { name: "librtmp2, until publish", client: BenchHandshake, pace: Many, beside: Some(1) },
    Row { name: "shakedown, until publish", client: Shakedown { publish: true }, pace: OneAtATime, beside: None },
    Row { name: "librtmp2, until publish", client: BenchHandshake, pace: OneAtATime, beside: None },
    Row { name: "shakedown", client: ShakedownEach, pace: EachItsProcess, beside: Some(0) },
    Row { name: "ffmpeg", client: Ffmpeg, pace: EachItsProcess, beside: Some(0) },
    Row { name: "rtmpdump", client: Rtmpdump, pace: EachItsProcess, beside: Some(0) },
];

/// What a program says of its handshakes.
struct Claim {
    completed: u64,
    p50_ms: Option<f64>,
}

impl Row {
    /// Handshakes of a round.
    pub fn number(&self, extent: &Extent) -> u32 {
        if self.pace == Many { extent.many } else { extent.few }
    }

    /// Makes a round's handshakes with `server`.
    pub fn run(&self, server: &Server, extent: &Extent) -> io::Result<Outcome> {
        let Some(program) = self.client.program() else { return Ok(Outcome::NotInstalled) };
        let number = self.number(extent);
        let at_once = if self.pace == Many { AT_ONCE } else { 1 };
        let (claim, spent) = spent::by_children(|| {
            if self.pace != EachItsProcess {
                return self.client.ask(&program, server, number, at_once);
            }
            let mut completed = 0;
            for _ in 0..number {
                completed += self.client.ask(&program, server, 1, 1)?.completed;
            }
            Ok(Claim { completed, p50_ms: None })
        })?;
        Ok(Outcome::Ended { completed: claim.completed, p50_ms: claim.p50_ms, spent })
    }
}

impl Client {
    pub fn publishes(&self) -> bool {
        matches!(self, Shakedown { publish: true } | BenchHandshake)
    }

    /// `None` if it is not installed.
    fn program(&self) -> Option<PathBuf> {
        match self {
            Shakedown { .. } | ShakedownEach => Some(env!("CARGO_BIN_EXE_shakedown").into()),
            BenchHandshake => find_tool("bench_handshake"),
            Ffmpeg => find_tool("ffmpeg"),
            Rtmpdump => find_tool("rtmpdump"),
        }
    }

    /// Runs it once: what it says.
    fn ask(&self, program: &PathBuf, server: &Server, number: u32, at_once: u32) -> io::Result<Claim> {
        let mut command = Command::new(program);
        let [count, in_flight] = [number, at_once].map(|number| number.to_string());
        match self {
            Shakedown { publish: false } | ShakedownEach => {
                command.args(["run", &server.url("live", "x"), "-n", &count, "-c", &in_flight]);
                command.args(["-t", "1", "--json", "--no-progress"]);
            }
            Shakedown { publish: true } => {
                command.args(["run", &server.url("live", "{id}"), "-n", &count, "-c", &in_flight]);
                command.args(["--until", "publish", "-t", "1", "--json", "--no-progress"]);
            }
            BenchHandshake => {
                command.arg(server.url("live", "x")).args(["--count", &count, "--concurrency", &in_flight]);
            }
            Ffmpeg => {
                command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]);
                command.args(["-i", &server.url(CLOSED_AT_CONNECT, "x")]);
            }
            Rtmpdump => {
                command.args(["-r", &server.url(CLOSED_AT_CONNECT, "x"), "--live", "-o", "/dev/null"]);
                // Whatever the server does, it does not stay longer.
                command.args(["--timeout", "1"]);
            }
        }
        let output = command.stdin(Stdio::null()).output()?;
        let [printed, told] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let broken = || io::Error::other(format!("{command:?}: {}\n{printed}{told}", output.status));
        match self {
            Shakedown { .. } | ShakedownEach => {
                let result: RunResult = serde_json::from_str(&printed).map_err(|_| broken())?;
                let p50_ns = result.latency.get(Metric::Service).and_then(|service| service.p50_ns);
                Ok(Claim { completed: result.attempts.completed, p50_ms: p50_ns.map(|p50| p50 as f64 / 1e6) })
            }
            BenchHandshake => {
                let figure = |name| printed.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok());
                let completed: f64 = figure("ok=").ok_or_else(broken)?;
                Ok(Claim { completed: completed as u64, p50_ms: figure("p50=") })
            }
            // It ends like this when the server closes, and the server does so after the handshake.
            Ffmpeg => Ok(Claim { completed: u64::from(told.contains("Input/output error")), p50_ms: None }),
            // It says so after the handshake.
            Rtmpdump => Ok(Claim { completed: u64::from(told.contains("Connected...")), p50_ms: None }),
        }
    }
}
