//! ffmpeg as an RTMP publisher and as a server for one publisher.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
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

/// Records `seconds` of a moving picture, 25 frames a second, and a tone to `file`, as encoders send them.
pub fn record_flv(file: &Path, seconds: u32) {
    let mut command = Command::new(tool("ffmpeg"));
    command.args([
        "-hide_banner",
        "-nostdin",
        "-loglevel",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=128x96:rate=25",
    ]);
    command.args(["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", &seconds.to_string()]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-c:a", "aac"]);
    let status = command.args(["-f", "flv"]).arg(file).stdin(Stdio::null()).status().expect("ffmpeg is executable");
    assert!(status.success(), "{command:?}: {status}");
}

/// The first `count` video packets of `input`, a file or a URL: timestamp in ms and checksum.
pub fn packets(input: &str, count: usize) -> Vec<(i64, String)> {
    let mut command = Command::new(tool("ffmpeg"));
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-fpsprobesize", "0", "-i", input]);
    command.args(["-map", "0:v", "-c", "copy", "-frames:v", &count.to_string(), "-f", "framecrc", "-"]);
    let output = command.stdin(Stdio::null()).output().expect("ffmpeg is executable");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("ffmpeg prints UTF-8");
    // Stream, decoding time, presentation time, duration, size, checksum.
    let packet = |line: &str| {
        let columns: Vec<&str> = line.split(',').map(str::trim).collect();
        (columns[1].parse().expect("a time"), columns[5].to_owned())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(packet).collect()
}

/// The codecs of the streams in `url`, by ffprobe. It takes a second: by itself ffprobe wants 20 pictures, for which a
/// trickle needs more than a minute.
pub fn ffprobe(url: &str) -> Vec<String> {
    let mut command = Command::new(tool("ffprobe"));
    command.args(["-v", "error", "-f", "flv", "-analyzeduration", "1000000", "-fpsprobesize", "0"]);
    command.args(["-show_entries", "stream=codec_name", "-of", "csv=p=0", url]);
    let output = command.stdin(Stdio::null()).output().expect("ffprobe is executable");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command:?}");
    let mut codecs: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    codecs.sort();
    codecs
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
