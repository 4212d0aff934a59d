//! A network and process namespace of a test, for programs that insist on a fixed port.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::tool;

/// Namespaces with loopback up and nothing else in them. They live as long as their anchor, which reads a pipe from
/// this process: however the test ends, the kernel ends every process inside and removes the namespaces.
pub struct Namespace {
    anchor: Child,
}

impl Namespace {
    /// # Panics
    /// Where neither root nor user namespaces are available.
    pub fn new() -> Self {
        let mut command = Command::new(tool("unshare"));
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let ip = tool("ip").display().to_string();
        let script = format!("{ip} link set lo up && echo ready && exec cat");
        command.args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
        let mut anchor =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare is an executable file");
        let mut line = String::new();
        BufReader::new(anchor.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("a readable pipe");
        assert_eq!(line, "ready\n", "no network namespace: run the tests as root, or allow user namespaces");
        Self { anchor }
    }

    /// A command that runs `program` inside.
    pub fn command(&self, program: &str) -> Command {
        let namespaces = format!("/proc/{}/ns", self.anchor.id());
        let mut command = Command::new(tool("nsenter"));
        if !rustix::process::geteuid().is_root() {
            command.args([&format!("--user={namespaces}/user"), "--preserve-credentials"]);
        }
        command.arg(format!("--net={namespaces}/net")).arg(format!("--pid={namespaces}/pid_for_children"));
        command.arg(tool(program));
        command
    }

    /// Connects that have failed inside since its network was made, by /proc/net/snmp (RFC 1213, tcpAttemptFails).
    pub fn failed_connects(&self) -> u64 {
        let path = format!("/proc/{}/net/snmp", self.anchor.id());
        let table = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let [names, values] = &table.lines().filter(|line| line.starts_with("Tcp:")).collect::<Vec<_>>()[..] else {
            panic!("{path} has two lines on TCP: {table}")
        };
        let columns = names.split_whitespace().zip(values.split_whitespace());
        let value = columns.into_iter().find_map(|(name, value)| (name == "AttemptFails").then_some(value));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{path} counts AttemptFails: {table}"))
    }

    /// What `make` returns on a thread inside the network: sockets and devices that it opens, and processes that it
    /// starts, are there and stay there. Those processes are in the caller's process namespace.
    ///
    /// # Panics
    /// Where the caller is not root: a process with several threads cannot enter a user namespace.
    pub fn within<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.anchor.id());
        let network = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let inside = || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .unwrap_or_else(|error| panic!("cannot enter {path}: {error}; run this test as root"));
            make()
        };
        let made = thread::scope(|scope| scope.spawn(inside).join());
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The anchor's `cat` reads the end of its input; as the first process inside it takes the others along.
        drop(self.anchor.stdin.take());
        let _status = self.anchor.wait();
    }
}
