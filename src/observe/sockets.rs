//! What the kernel tells of sockets by NETLINK_SOCK_DIAG (sock_diag(7)): accept queues, and TCP_INFO of attempts.
//!
//! Attempts are asked about here, beside the workers, and not in them: a socket of a ring's own table has no descriptor
//! that `getsockopt` could take. To install one for each sampled attempt (IORING_OP_FIXED_FD_INSTALL, Linux 6.8) costs
//! three more system calls on the worker's thread and descriptors of the process; io_uring's own getsockopt knows
//! SOL_SOCKET only. One question a second costs the workers nothing and is the same for every engine.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_SYN_SENT};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};

use super::sample::TcpInfo;
use crate::base::Nanos;

/// Most connections looked at in one reading: among a million held ones, these say as much.
const MOST_SAMPLED: u64 = 2048;
/// The largest part of an answer that the kernel sends at once (netlink_dump, 32 KiB).
const PART: usize = 32 * 1024;

/// What waits before a process's listening sockets, and what they have dropped since they exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AcceptQueue {
    /// Connections that wait to be accepted.
    pub waiting: u64,
    /// As many may.
    pub backlog: u64,
    /// Dropped connections and SYNs (SK_MEMINFO_DROPS).
    pub drops: u64,
}

/// The accept queues of the listening sockets with these inodes, added up.
///
/// # Errors
/// If the kernel has no sock_diag, or refuses it.
pub(super) fn accept_queues(inodes: &BTreeSet<u64>) -> io::Result<AcceptQueue> {
    let mut queue = AcceptQueue::default();
    for socket_id in [SocketId::new_v4(), SocketId::new_v6()] {
        dump(socket_id, StateFlags::LISTEN, ExtensionFlags::SKMEMINFO, |socket| {
            if inodes.contains(&u64::from(socket.header.inode)) {
                queue.waiting += u64::from(socket.header.recv_queue);
                queue.backlog += u64::from(socket.header.send_queue);
                queue.drops += socket.nlas.iter().map(drops).sum::<u64>();
            }
            true
        })?;
    }
    Ok(queue)
}

fn drops(attribute: &Nla) -> u64 {
    match attribute {
        Nla::MemInfo(memory) => u64::from(memory.drops),
        _ => 0,
    }
}

/// TCP_INFO of connections to targets, one reading after the other.
#[derive(Debug, Default)]
pub(super) struct TcpInfoReader {
    summary: TcpInfo,
    round_trips: Vec<Nanos>,
}

impl TcpInfoReader {
    /// Samples the connections to `targets` that exist now.
    ///
    /// # Errors
    /// As [`accept_queues`].
    pub(super) fn read(&mut self, targets: &BTreeSet<SocketAddr>) -> io::Result<()> {
        let ports: BTreeSet<(bool, u16)> = targets.iter().map(|target| (target.is_ipv6(), target.port())).collect();
        let mut left = MOST_SAMPLED;
        for (is_ipv6, port) in ports {
            let any = if is_ipv6 { SocketId::new_v6() } else { SocketId::new_v4() };
            let socket_id = SocketId { destination_port: port, ..any };
            dump(socket_id, StateFlags::SYN_SENT | StateFlags::ESTABLISHED, ExtensionFlags::INFO, |socket| {
                let id = &socket.header.socket_id;
                if targets.contains(&SocketAddr::new(id.destination_address, id.destination_port)) {
                    self.take(socket);
                    left = left.saturating_sub(1);
                }
                left > 0
            })?;
        }
        self.summary.readings += 1;
        Ok(())
    }

    fn take(&mut self, socket: &InetResponse) {
        let info = socket.nlas.iter().find_map(|attribute| match attribute {
            Nla::TcpInfo(info) => Some(info),
            _ => None,
        });
        let Some(info) = info else { return };
        self.summary.sampled += 1;
        if socket.header.state == TCP_SYN_SENT {
            self.summary.connecting += 1;
            self.summary.syn_retries += u64::from(info.retransmits > 0 || info.total_retrans > 0);
        } else {
            self.summary.retransmitted += u64::from(info.total_retrans > 0);
            if info.rtt > 0 {
                self.round_trips.push(Nanos::from_micros(u64::from(info.rtt)));
            }
        }
    }

    /// What all readings amount to; `None` if none worked.
    pub(super) fn finish(mut self) -> Option<TcpInfo> {
        self.round_trips.sort_unstable();
        self.summary.rtt_p50_ns = self.round_trips.get(self.round_trips.len() / 2).map(|rtt| rtt.as_u64());
        self.summary.rtt_max_ns = self.round_trips.last().map(|rtt| rtt.as_u64());
        (self.summary.readings > 0).then_some(self.summary)
    }
}

/// Asks for the TCP sockets of this network namespace that match; `each` says whether to go on.
fn dump(
    socket_id: SocketId,
    states: StateFlags,
    extensions: ExtensionFlags,
    mut each: impl FnMut(&InetResponse) -> bool,
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    let family = if socket_id.source_address.is_ipv6() { AF_INET6 } else { AF_INET };
    let request = InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut question = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    question.finalize();
    let mut bytes = vec![0; question.buffer_len()];
    question.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut part = vec![0; PART];
    loop {
        let size = socket.recv(&mut &mut part[..], 0)?;
        let mut rest = &part[..size];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match &message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) if each(socket) => {}
                NetlinkPayload::InnerMessage(_) | NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are aligned to four bytes (NLMSG_ALIGNTO); `deserialize` has checked the length.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use socket2::{Domain, Type};

    use super::*;

    /// A listener with this backlog, its address and inode.
    fn listener(backlog: i32) -> (socket2::Socket, SocketAddr, u64) {
        let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(backlog).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino();
        (listener, address, inode)
    }

    #[test]
    fn connections_that_nobody_accepts_wait_in_the_queue() {
        let (_listener, address, inode) = listener(16);
        let _waiting: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        let queue = accept_queues(&BTreeSet::from([inode])).unwrap();
        assert_eq!(queue, AcceptQueue { waiting: 5, backlog: 16, drops: 0 });
        assert_eq!(accept_queues(&BTreeSet::from([1])).unwrap(), AcceptQueue::default());
    }

    #[test]
    fn connections_to_the_targets_are_sampled_and_no_others() {
        let (_listener, address, _) = listener(16);
        let (_other_listener, other, _) = listener(16);
        let _connections: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let _others = TcpStream::connect(other).unwrap();
        let mut reader = TcpInfoReader::default();
        reader.read(&BTreeSet::from([address])).unwrap();
        let info = reader.finish().unwrap();
        assert_eq!((info.readings, info.sampled, info.connecting, info.syn_retries), (1, 3, 0, 0));
        assert!(info.rtt_p50_ns.is_some_and(|rtt| rtt > 0) && info.rtt_max_ns >= info.rtt_p50_ns, "{info:?}");
    }

    #[test]
    fn nothing_asked_is_nothing_known() {
        assert_eq!(TcpInfoReader::default().finish(), None);
    }
}
