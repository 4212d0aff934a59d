//! librtmp's server and client, from Debian's `rtmpdump`.

use std::process::{Command, Stdio};

use super::namespace::Namespace;
use super::process::{Server, tool};

/// A running `rtmpsrv`. It always binds 0.0.0.0:1935, so it has a network of its own, which its clients must share
/// (see [`Rtmpsrv::command`]). It serves one connection at a time: connect, createStream, play; then it closes.
pub struct Rtmpsrv {
    // Dropped first: the namespace ends the server, which a signal to `nsenter`, our child, would not reach.
    namespace: Namespace,
    server: Server,
    _folder: tempfile::TempDir,
}

impl Rtmpsrv {
    /// The address inside its namespace.
    pub const ADDRESS: &'static str = "127.0.0.1:1935";

    /// Starts `rtmpsrv` and waits until it listens.
    pub fn start() -> Self {
        let namespace = Namespace::new();
        // It runs `rtmpdump -o STREAM.flv` for each stream that is played, which writes to the working folder.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = namespace.command("rtmpsrv");
        // Its console thread spins at the end of its input and prints without limit, so its input stays open as
        // long as it lives; the namespace takes it along should this process be killed.
        command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut server = Server::start(&mut command);
        let ready = server.wait_until(|line| line.contains("Streaming on rtmp://"));
        ready.expect("port 1935 is free in a network of its own");
        Self { namespace, server, _folder: folder }
    }

    /// A command that runs `program` where the server can be reached.
    pub fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Ends the server: what it printed to stderr.
    pub fn finish(self) -> Vec<String> {
        let Self { namespace, server, _folder } = self;
        drop(namespace);
        let (_killed, printed) = server.finish();
        printed
    }

    /// The client `rtmpdump` playing from this server; it ends with 1 when the server closes.
    pub fn rtmpdump(&self) -> Command {
        let mut command = self.command("rtmpdump");
        play(&mut command, &format!("rtmp://{}/live/x", Self::ADDRESS));
        command
    }
}

/// The client `rtmpdump` playing `url`; it ends with 2 after a second of silence, and its stderr says
/// "Connected..." once the handshake and `connect` have succeeded.
pub fn rtmpdump(url: &str) -> Command {
    let mut command = Command::new(tool("rtmpdump"));
    play(&mut command, url);
    command
}

fn play(command: &mut Command, url: &str) {
    // Without --live it tries to resume a silent stream, several times.
    command.args(["-r", url, "--live", "-o", "/dev/null", "--timeout", "1"]).stdin(Stdio::null());
}
