//! `shakedown sink` as a process: a server that counts what it saw.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ChildStdout, Stdio};

use rustix::process::Signal;
use shakedown::sink::SinkCounts;

use super::process::Server;
use super::run_command::shakedown_command;

/// A running sink on a free port.
pub struct SinkProcess {
    process: Server,
    printed: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl SinkProcess {
    /// Starts a sink on loopback with `options`, which are separated by spaces, and waits until it listens.
    pub fn start(options: &str) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST, options)
    }

    /// Likewise, on another address of this machine or of the network that the calling thread is in.
    pub fn start_on(address: Ipv4Addr, options: &str) -> Self {
        let mut command = shakedown_command();
        command.args(["sink", "--listen", &format!("{address}:0"), "--json"]).args(options.split_whitespace());
        let mut process = Server::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut printed = BufReader::new(process.child().stdout.take().expect("stdout is piped"));
        let mut first = String::new();
        printed.read_line(&mut first).expect("a readable pipe");
        let line: Option<serde_json::Value> = serde_json::from_str(&first).ok();
        let address = line.and_then(|line| line["listening"].as_str()?.parse().ok());
        match address {
            Some(address) => Self { process, printed, address },
            None => panic!("the sink did not start: {:?}", process.finish()),
        }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it with SIGINT: what it saw until then.
    pub fn counts(mut self) -> SinkCounts {
        self.process.signal(Signal::INT);
        let (status, told) = self.process.finish();
        assert!(status.success(), "{status}: {told:?}");
        let mut json = String::new();
        self.printed.read_to_string(&mut json).expect("a readable pipe");
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
    }
}
