//! Packets on loopback, recorded by tcpdump and read by tshark: an independent judge of what was sent.

use std::io::Read;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::process::{PATIENCE, Server, tool};

/// A running capture of one TCP port on loopback. Needs root, or a tcpdump with CAP_NET_RAW.
pub struct Capture {
    _tcpdump: Server,
    recorded: Receiver<Vec<u8>>,
    marker: UdpSocket,
}

/// Most bytes recorded of a packet. In immediate mode each packet takes this much of the buffer, however short it is.
const SNAPSHOT_BYTES: &str = "8192";
/// Room for 4 096 packets that tcpdump, waiting for a core, has not read yet.
const BUFFER_KIB: &str = "32768";

impl Capture {
    /// Starts tcpdump and waits until it records.
    pub fn start(port: u16) -> Self {
        let marker = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        let marker_port = marker.local_addr().expect("a bound socket has an address").port();
        let filter = format!("tcp port {port} or udp port {marker_port}");
        let mut command = Command::new(tool("tcpdump"));
        command.args(["-i", "lo", "-n", "--immediate-mode", "-U", "-s", SNAPSHOT_BYTES, "-B", BUFFER_KIB, "-w", "-"]);
        command.arg(&filter);
        let mut tcpdump = Server::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut output = tcpdump.child().stdout.take().expect("stdout is piped");
        let (sender, recorded) = channel();
        std::thread::spawn(move || {
            let mut block = vec![0; 1 << 16];
            while let Ok(length @ 1..) = output.read(&mut block) {
                // The receiver may be gone; the pipe is drained all the same.
                let _unread = sender.send(block[..length].to_vec());
            }
        });
        tcpdump.wait_until(|line| line.contains("listening on lo")).expect("tcpdump binds no port");
        Self { _tcpdump: tcpdump, recorded, marker }
    }

    /// Writes everything sent before this call to `file`, as pcap.
    pub fn save(self, file: &Path) {
        // Loopback keeps the order, so a datagram of our own is the last packet of interest.
        let mark: [u8; 16] = *b"end of capture\r\n";
        let own = self.marker.local_addr().expect("a bound socket has an address");
        self.marker.send_to(&mark, own).expect("loopback takes a datagram");
        let deadline = Instant::now() + PATIENCE;
        let mut pcap = Vec::new();
        while !pcap.ends_with(&mark) {
            let left = deadline.saturating_duration_since(Instant::now());
            pcap.extend(self.recorded.recv_timeout(left).expect("tcpdump records our datagram"));
        }
        std::fs::write(file, pcap).expect("a writable file");
    }
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
