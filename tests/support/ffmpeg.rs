//! ffmpeg as an RTMP publisher and as a server for one publisher.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};

use super::process::{NotReady, Server, start_on_free_port, tool};

/// ffmpeg publishing `seconds` of a tiny test picture to `url`, as fast as the server takes it; ends with 0.
pub fn ffmpeg_publish(url: &str, seconds: u32) -> Command {
    let mut command = Command::new(tool("ffmpeg"));
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi"]);
    command.args(["-i", "testsrc=size=64x64:rate=10", "-t", &seconds.to_string()]);
    command.args(["-c:v", "flv1", "-f", "flv", url]).stdin(Stdio::null());
    command
}

/// ffmpeg listening for one publisher. It serves exactly one connection, whatever comes over it, then ends: with 0
/// after a stream, with 1 and "Unable to read handshake" when the handshake does not come.
pub struct FfmpegListen {
    server: Server,
    address: SocketAddr,
}

impl FfmpegListen {
    /// Starts ffmpeg and waits until it listens.
    pub fn start() -> Self {
        start_on_free_port(Self::start_on)
    }

    fn start_on(port: u16) -> Result<Self, NotReady> {
        let url = format!("rtmp://127.0.0.1:{port}/live/x");
        let mut command = Command::new(tool("ffmpeg"));
        command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "info", "-listen", "1", "-i", &url]);
        let mut server = Server::start(command.args(["-f", "null", "-"]).stdin(Stdio::null()).stdout(Stdio::null()));
        let id = server.id();
        // It prints nothing when it listens, and a trial connection would be the one that it serves.
        server.wait_until(|_| listens(id, port))?;
        Ok(Self { server, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The one URL that it takes.
    pub fn url(&self) -> String {
        format!("rtmp://{}/live/x", self.address)
    }

    /// Waits for its end; its status and what it printed.
    pub fn finish(self) -> (ExitStatus, Vec<String>) {
        self.server.finish()
    }
}

/// Whether process `id` has a listening IPv4 socket on `port`, by /proc/net/tcp: column 2 is the local address in
/// hexadecimal, column 4 the state (0A: listening), column 10 the inode.
fn listens(id: u32, port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc is mounted");
    let suffix = format!(":{port:04X}");
    let inode = table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns[1].ends_with(&suffix) && columns[3] == "0A").then(|| format!("socket:[{}]", columns[9]))
    });
    let (Some(inode), Ok(descriptors)) = (inode, fs::read_dir(format!("/proc/{id}/fd"))) else { return false };
    let mut links = descriptors.flatten().flat_map(|entry| fs::read_link(entry.path()));
    links.any(|link| link.to_str() == Some(&inode))
}
