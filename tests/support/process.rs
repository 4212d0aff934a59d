//! A child process of a test: what it printed so far, and its end with the test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The longest that a fixture waits for anything; only a broken machine reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The path of a program that the tests run.
pub fn tool(name: &str) -> PathBuf {
    find_tool(name).unwrap_or_else(|| panic!("{name} is missing: run scripts/test, it installs what the tests need"))
}

/// The path of a program, if it is installed. Debian keeps some where a plain user's `PATH` does not lead.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    path.split(':').map(|folder| PathBuf::from(folder).join(name)).find(|file| file.is_file())
}

/// A started server; killed and waited for when dropped.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    /// Everything printed so far, for messages.
    printed: Vec<String>,
}

/// Why a server is not ready.
#[derive(Debug)]
pub enum NotReady {
    /// Someone took the port between its choice and its use: choose another.
    AddressInUse,
}

impl Server {
    /// Starts `command`, whose stderr tells when it is ready. The caller chooses stdin and stdout.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let lines = lines_of(child.stderr.take().expect("stderr is piped"));
        Self { child, lines, printed: Vec::new() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready`, which sees each printed line and is also asked now and then without one.
    ///
    /// # Panics
    /// When the server ends or is not ready within [`PATIENCE`]; the message holds what it printed.
    pub fn wait_until(&mut self, mut ready: impl FnMut(&str) -> bool) -> Result<(), NotReady> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = match self.lines.recv_timeout(Duration::from_millis(2)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => String::new(),
                Err(RecvTimeoutError::Disconnected) => panic!("the server ended:\n{}", self.printed.join("\n")),
            };
            if line.contains("Address already in use") {
                return Err(NotReady::AddressInUse);
            }
            if ready(&line) {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "the server is not ready:\n{}", self.printed.join("\n"));
            if !line.is_empty() {
                self.printed.push(line);
            }
        }
    }

    /// Waits for the server to end by itself; its status and the rest of what it printed.
    pub fn finish(mut self) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.printed.push(line);
        }
        assert!(Instant::now() < deadline, "the server does not end:\n{}", self.printed.join("\n"));
        let status = self.child.wait().expect("the child is ours");
        (status, std::mem::take(&mut self.printed))
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        // A child that is not waited for keeps its number, so the signal cannot hit another process.
        let _ended = kill_process(id, signal);
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM lets nginx take its workers along.
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        // stderr closes when the server and all that inherited it have ended.
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        if Instant::now() >= deadline {
            self.signal(Signal::KILL);
        }
        let _status = self.child.wait();
    }
}

/// Reads `pipe` to its end on a thread of its own, so that the writer never blocks.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            // The receiver may be gone; the pipe is drained all the same.
            let _unread = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

/// Starts a server that must be told its port, on ports that were free a moment ago until one still is.
pub fn start_on_free_port<T>(mut start: impl FnMut(u16) -> Result<T, NotReady>) -> T {
    loop {
        let chosen = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = chosen.local_addr().expect("a bound socket has an address").port();
        drop(chosen);
        if let Ok(server) = start(port) {
            return server;
        }
    }
}
