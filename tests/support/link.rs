//! A link with delay and loss between two networks: the kernel's TCP on both ends, packets of at most 1500 bytes, and
//! in between a thread of the test that decides about each of them.

use std::collections::{HashSet, VecDeque};
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use shakedown::base::{RandomStream, Seed, StreamPurpose};

use super::load::Load;
use super::namespace::Namespace;
use super::run_command::{RunOutput, run_by};

/// Largest packet, as on Ethernet: TCP with timestamps has room for 1448 bytes in it, less than a C0C1.
const MTU: usize = 1500;
/// Packets that the link delays at once, per direction; also what the kernel keeps for a link that does not read.
const MOST_QUEUED: usize = 10_000;

/// What a link does to packets, in each direction.
#[derive(Clone, Copy, Debug)]
pub struct LinkOptions {
    /// How long every packet is under way at least; round trips take twice as long.
    pub delay: Duration,
    /// Probability of a packet's loss. Packet n of a direction is lost if draw n of the direction says so, whenever the
    /// packet comes.
    pub loss: f64,
    /// Connection attempts lost besides.
    pub lost_syns: LostSyns,
    /// Seed of the draws.
    pub seed: u64,
}

/// Which SYNs of the client are lost for certain.
#[derive(Clone, Copy, Debug)]
pub enum LostSyns {
    /// None.
    None,
    /// The first SYN of every n-th flow, the first flow included; when it is sent again, it passes.
    FirstOfEvery(usize),
    /// All.
    All,
}

/// What one direction of a link has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets handed over.
    pub delivered: u64,
    /// Packets lost to the probability.
    pub lost: u64,
    /// SYNs lost to [`LostSyns`].
    pub lost_syns: u64,
    /// Bytes of the largest packet.
    pub largest: usize,
}

/// A running link: a client's network, a server's, and nothing else between them. Needs root and `/dev/net/tun`.
pub struct Link {
    client: Namespace,
    server: Namespace,
    relay: Option<JoinHandle<[Carried; 2]>>,
    /// Closed to end the relay.
    stop: Option<PipeWriter>,
}

impl Link {
    /// The client's address.
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The server's address.
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Makes both networks and connects them.
    ///
    /// # Panics
    /// Where the system has no TUN devices or does not let us make them.
    pub fn start(options: LinkOptions) -> Self {
        let [client, server] = [Namespace::new(), Namespace::new()];
        let ends = [end_in(&client, Self::CLIENT), end_in(&server, Self::SERVER)];
        let (stopped, stop) = io::pipe().expect("a pipe");
        let relay = Relay { ends, directions: [0, 1].map(|index| Direction::new(options, index)) };
        let relay = std::thread::spawn(move || relay.run(&stopped));
        Self { client, server, relay: Some(relay), stop: Some(stop) }
    }

    /// `shakedown run` with `arguments` in the client's network.
    pub fn run(&self, arguments: &str) -> RunOutput {
        run_by(self.client.command(env!("CARGO_BIN_EXE_shakedown")), arguments)
    }

    /// Starts `shakedown run` with `arguments`, which are separated by spaces, in the client's network.
    pub fn start_run(&self, arguments: &str) -> Load {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        Load::start_by(self.client.command(env!("CARGO_BIN_EXE_shakedown")), &arguments)
    }

    /// From now on nothing that the server sends leaves its network: for the client, it falls silent.
    pub fn silence_server(&self) {
        let arguments = format!("route add blackhole {}", Self::CLIENT);
        let status = self.server.command("ip").args(arguments.split(' ')).status().expect("nsenter is executable");
        assert!(status.success(), "ip {arguments}: {status}");
    }

    /// What `start` returns in the server's network; a server should listen on [`SERVER`](Self::SERVER).
    pub fn at_server<T: Send>(&self, start: impl FnOnce() -> T + Send) -> T {
        self.server.within(start)
    }

    /// Ends the link; what was carried to the server, and to the client.
    pub fn finish(mut self) -> [Carried; 2] {
        self.end().expect("it ends once").unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn end(&mut self) -> Option<std::thread::Result<[Carried; 2]>> {
        drop(self.stop.take());
        Some(self.relay.take()?.join())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _carried = self.end();
    }
}

/// A TUN device with `address` in `namespace`; what is routed to it can be read from the returned end, and vice versa.
fn end_in(namespace: &Namespace, address: Ipv4Addr) -> File {
    let end = namespace.within(|| open_tun(c"path0"));
    let end = end.unwrap_or_else(|error| panic!("no TUN device: {error}; this test needs root and /dev/net/tun"));
    for arguments in [
        format!("address add {address}/30 dev path0"),
        format!("link set dev path0 mtu {MTU} txqueuelen {MOST_QUEUED} up"),
    ] {
        let status = namespace.command("ip").args(arguments.split(' ')).status().expect("nsenter is executable");
        assert!(status.success(), "ip {arguments}: {status}");
    }
    end
}

/// Makes the TUN device `name` in the calling thread's network (Linux: Documentation/networking/tuntap.rst): each read
/// takes one packet, each write gives one, and neither waits. The device is gone when the file is closed.
fn open_tun(name: &CStr) -> io::Result<File> {
    let tun = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let mut request =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives until the call is over.
    match unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(tun),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The thread between the ends. Direction 0 leads from the client's end 0 to the server's end 1, direction 1 back.
struct Relay {
    ends: [File; 2],
    directions: [Direction; 2],
}

impl Relay {
    /// Carries packets until the other end of `stopped` is closed.
    fn run(mut self, stopped: &PipeReader) -> [Carried; 2] {
        loop {
            let next = self.directions.iter().filter_map(Direction::next_due).min();
            let wait = next.map(|due| due.saturating_duration_since(Instant::now()));
            let wait = wait.map(|wait| Timespec::try_from(wait).expect("a delay is short"));
            let [client, server] = &self.ends;
            let mut events = [
                PollFd::new(client, PollFlags::IN),
                PollFd::new(server, PollFlags::IN),
                PollFd::new(stopped, PollFlags::IN),
            ];
            retry_on_intr(|| poll(&mut events, wait.as_ref())).expect("open descriptors can be polled");
            if !events[2].revents().is_empty() {
                return self.directions.map(|direction| direction.carried);
            }
            for (index, direction) in self.directions.iter_mut().enumerate() {
                direction.take_from(&self.ends[index]);
                direction.deliver_to(&self.ends[1 - index]);
            }
        }
    }
}

/// One direction of a link: packets wait for their time in the order in which they came.
struct Direction {
    options: LinkOptions,
    draws: RandomStream,
    /// When each packet is due, and the packet.
    queue: VecDeque<(Instant, Vec<u8>)>,
    flows: HashSet<Flow>,
    carried: Carried,
}

/// A connection attempt: the port that it comes from and the sequence number of its SYN, which stays the same when the
/// SYN is sent again and differs when the port is used again.
type Flow = (u16, u32);

impl Direction {
    fn new(options: LinkOptions, index: u32) -> Self {
        Self {
            options,
            draws: Seed::new(options.seed).stream(StreamPurpose::Simulation, index),
            queue: VecDeque::new(),
            flows: HashSet::new(),
            carried: Carried::default(),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.queue.front().map(|&(due, _)| due)
    }

    /// Takes every packet that `end` has.
    fn take_from(&mut self, mut end: &File) {
        let mut packet = [0; MTU];
        loop {
            match end.read(&mut packet) {
                Ok(length) => self.take(&packet[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("cannot read from the link: {error}"),
            }
        }
    }

    fn take(&mut self, packet: &[u8]) {
        // Whatever else the kernels say to a new link, such as IPv6 looking for routers, is no packet of the test.
        let Some(segment) = tcp_segment(packet) else { return };
        self.carried.largest = self.carried.largest.max(packet.len());
        let unlucky = self.draws.random_bool(self.options.loss);
        if syn_of(segment).is_some_and(|flow| self.loses_syn(flow)) {
            self.carried.lost_syns += 1;
        } else if unlucky {
            self.carried.lost += 1;
        } else {
            assert!(self.queue.len() < MOST_QUEUED, "more packets than the link has room for: lower the test's rate");
            self.queue.push_back((Instant::now() + self.options.delay, packet.to_vec()));
        }
    }

    fn loses_syn(&mut self, flow: Flow) -> bool {
        let number = self.flows.len();
        let first = self.flows.insert(flow);
        match self.options.lost_syns {
            LostSyns::None => false,
            LostSyns::FirstOfEvery(every) => first && number.is_multiple_of(every),
            LostSyns::All => true,
        }
    }

    /// Hands over every packet whose time has come.
    fn deliver_to(&mut self, mut end: &File) {
        let now = Instant::now();
        while let Some((_, packet)) = self.queue.pop_front_if(|(due, _)| *due <= now) {
            end.write_all(&packet).expect("one write takes a packet whole");
            self.carried.delivered += 1;
        }
    }
}

/// The TCP segment in an IPv4 packet (RFC 791, section 3.1).
fn tcp_segment(packet: &[u8]) -> Option<&[u8]> {
    const TCP: u8 = 6;
    let (version, words) = (packet.first()? >> 4, packet[0] & 0xf);
    (version == 4 && *packet.get(9)? == TCP).then(|| packet.get(usize::from(words) * 4..))?
}

/// The connection attempt that `segment` (RFC 9293, section 3.1) begins, if it is a SYN without ACK.
fn syn_of(segment: &[u8]) -> Option<Flow> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let &[p0, p1, _, _, s0, s1, s2, s3, _, _, _, _, _, flags, ..] = segment else { return None };
    (flags & (SYN | ACK) == SYN).then(|| (u16::from_be_bytes([p0, p1]), u32::from_be_bytes([s0, s1, s2, s3])))
}
