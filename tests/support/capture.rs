//! Packets on loopback, recorded by tcpdump and read by tshark: an independent judge of what was sent.

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::NamedTempFile;

use super::process::{Server, tool};

/// A running capture of one TCP port on loopback. Needs root, or a tcpdump with CAP_NET_RAW.
pub struct Capture {
    tcpdump: Server,
    recorded: NamedTempFile,
    marker: UdpSocket,
}

/// What a capture is good for.
struct Kind {
    /// Most bytes recorded of a packet.
    snapshot: u32,
    /// Room for packets that tcpdump, waiting for a core, has not read yet.
    buffer_kib: u32,
    /// tcpdump is woken for each packet.
    immediate: bool,
    /// It runs only when nobody else wants the CPU.
    idle: bool,
}

/// In immediate mode each packet takes as much of the buffer as a snapshot may: 4 096 fit.
const PACKETS: Kind = Kind { snapshot: 8_192, buffer_kib: 32_768, immediate: true, idle: false };
/// Ethernet, IPv6 and TCP with all their options; without immediate mode packets take what they need, 200 bytes or so.
const HEADERS: Kind = Kind { snapshot: 128, buffer_kib: 131_072, immediate: false, idle: true };

impl Capture {
    /// Starts tcpdump on whole packets and waits until it records.
    pub fn start(port: u16) -> Self {
        Self::of_kind(port, &PACKETS)
    }

    /// Likewise, on headers only and with times in nanoseconds. It disturbs a measurement as little as can be.
    pub fn start_on_headers(port: u16) -> Self {
        Self::of_kind(port, &HEADERS)
    }

    fn of_kind(port: u16, kind: &Kind) -> Self {
        let marker = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        let marker_port = marker.local_addr().expect("a bound socket has an address").port();
        let recorded = NamedTempFile::new().expect("a temporary file");
        let mut command = Command::new(tool(if kind.idle { "chrt" } else { "tcpdump" }));
        if kind.idle {
            command.args(["--idle", "0"]).arg(tool("tcpdump"));
        }
        command.args(["-i", "lo", "-n", "-U", "-w", "-", "--time-stamp-precision=nano"]);
        command.args(["-s", &kind.snapshot.to_string(), "-B", &kind.buffer_kib.to_string()]);
        command.args(kind.immediate.then_some("--immediate-mode"));
        command.arg(format!("tcp port {port} or udp port {marker_port}"));
        let output = recorded.reopen().expect("the file is there");
        let mut tcpdump = Server::start(command.stdin(Stdio::null()).stdout(output));
        tcpdump.wait_until(|line| line.contains("listening on lo")).expect("tcpdump binds no port");
        Self { tcpdump, recorded, marker }
    }

    /// Writes everything sent before this call to `file`, as pcap.
    ///
    /// # Panics
    /// If the kernel dropped packets because tcpdump did not read them in time.
    pub fn save(self, file: &Path) {
        let Self { mut tcpdump, recorded, marker } = self;
        // Loopback keeps the order, so a datagram of our own is the last packet of interest.
        let mark: [u8; 16] = *b"end of capture\r\n";
        let own = marker.local_addr().expect("a bound socket has an address");
        marker.send_to(&mark, own).expect("loopback takes a datagram");
        tcpdump
            .wait_until(|_| ends_with(recorded.as_file(), &mark).expect("a readable file"))
            .expect("it binds no port");
        tcpdump.signal(Signal::INT);
        let (status, printed) = tcpdump.finish();
        assert!(status.success(), "tcpdump: {status}: {printed:?}");
        assert!(printed.iter().any(|line| line == "0 packets dropped by kernel"), "the capture has holes: {printed:?}");
        std::fs::copy(recorded.path(), file).expect("a writable file");
    }
}

fn ends_with(file: &File, mark: &[u8; 16]) -> io::Result<bool> {
    let Some(offset) = file.metadata()?.len().checked_sub(mark.len() as u64) else { return Ok(false) };
    let mut end = [0; 16];
    file.read_exact_at(&mut end, offset)?;
    Ok(end == *mark)
}

/// The `fields` of every packet in `file` that passes `filter`, with `port` read as RTMP.
pub fn tshark(file: &Path, port: u16, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new(tool("tshark"));
    command.arg("-n").arg("-r").arg(file).args(["-d", &format!("tcp.port=={port},rtmpt")]);
    command.args(["-Y", filter, "-T", "fields"]).args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.stdin(Stdio::null()).output().expect("tshark is an executable file");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("tshark prints UTF-8");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Packets in `file` that tshark cannot decode or that it calls errors: number and message.
pub fn malformed_packets(file: &Path, port: u16) -> Vec<Vec<String>> {
    // 8388608 is PI_ERROR, the highest severity of tshark's findings.
    tshark(file, port, "_ws.malformed || _ws.expert.severity >= 8388608", &["frame.number", "_ws.expert.message"])
}
