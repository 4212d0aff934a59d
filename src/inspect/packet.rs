//! From a captured packet to its TCP segment, through whatever it is wrapped in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::capture_file::Record;

/// A TCP segment (RFC 9293, section 3.1).
pub(super) struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Of the first byte of the payload, or of the SYN.
    pub sequence: u32,
    /// The next byte that the sender expects.
    pub acknowledgement: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// As much of the payload as was captured.
    pub payload: &'a [u8],
    /// The payload's size on the wire.
    pub size: usize,
    /// Its TCP header, as much of it as was captured.
    pub header: &'a [u8],
    /// The identification of its IPv4 packet, 0 in IPv6.
    pub ip_id: u16,
}

/// Why a packet is no readable TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSegment {
    /// The link type is not understood.
    Link,
    /// It is a fragment of an IP packet.
    Fragment,
    /// Its headers are not all there.
    HeaderCut,
    /// It carries something else.
    Other(PacketKind),
}

/// What a packet without a TCP segment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketKind {
    /// Of this EtherType (IEEE 802 numbers).
    EtherType(u16),
    /// Of this IP protocol (IANA's protocol numbers).
    IpProtocol(u8),
    /// Wrapped in more tunnels than are opened.
    TooManyTunnels,
    /// No packet of its own kind: a header contradicts itself.
    Malformed,
}

/// Tunnels within tunnels, of which one may count twice (GRE that carries Ethernet). Captures of data centres have two.
const MOST_TUNNELS: u32 = 8;

/// Decodes Ethernet (with VLAN tags, MPLS labels, PPPoE), Linux cooked v1 and v2, BSD loopback and raw IP; IPv4 and IPv6 (with
/// extension headers), also within VXLAN, Geneve, GRE (ERSPAN as well), GTP-U and IP in IP.
pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Segment<'a>, NoSegment> {
    let data = Bytes { captured: record.data, size: record.size, tunnels: 0 };
    // Numbers of tcpdump.org/linktypes.html; raw IP is 12 or 14 in files of some BSDs.
    match record.link {
        0 | 108 => internet(data.skip(4)?),
        1 => ethernet(data),
        12 | 14 | 101 | 228 | 229 => internet(data),
        113 => by_ether_type(data.u16(14)?, data.skip(16)?),
        276 => by_ether_type(data.u16(0)?, data.skip(20)?),
        _ => Err(NoSegment::Link),
    }
}

/// The rest of a packet.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    captured: &'a [u8],
    /// On the wire.
    size: usize,
    /// Around it.
    tunnels: u32,
}

impl<'a> Bytes<'a> {
    fn u8(&self, at: usize) -> Result<u8, NoSegment> {
        self.captured.get(at).copied().ok_or(NoSegment::HeaderCut)
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], NoSegment> {
        self.captured.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(NoSegment::HeaderCut)
    }

    fn u16(&self, at: usize) -> Result<u16, NoSegment> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, NoSegment> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn skip(&self, length: usize) -> Result<Self, NoSegment> {
        let captured = self.captured.get(length..).ok_or(NoSegment::HeaderCut)?;
        Ok(Self { captured, size: self.size.saturating_sub(length), ..*self })
    }

    /// What a tunnel carries behind a header of `length` bytes.
    fn in_tunnel(&self, length: usize) -> Result<Self, NoSegment> {
        if self.tunnels == MOST_TUNNELS {
            return Err(NoSegment::Other(PacketKind::TooManyTunnels));
        }
        Ok(Self { tunnels: self.tunnels + 1, ..self.skip(length)? })
    }

    /// The first `size` bytes of what was on the wire: without the padding of a link.
    fn limited_to(&self, size: usize) -> Self {
        let size = size.min(self.size);
        Self { captured: &self.captured[..size.min(self.captured.len())], size, ..*self }
    }
}

fn ethernet(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    by_ether_type(data.u16(12)?, data.skip(14)?)
}

fn by_ether_type(mut ether_type: u16, mut data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    // IEEE 802.1Q, 802.1ad, and the number that switches used before it.
    while matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) {
        ether_type = data.u16(2)?;
        data = data.skip(4)?;
    }
    match ether_type {
        0x0800 | 0x86dd => internet(data),
        0x8847 | 0x8848 => multiprotocol_labels(data),
        // PPPoE's session stage (RFC 2516, section 4) and PPP's numbers of IPv4 and IPv6 (RFC 1661, section 2).
        0x8864 if matches!(data.u16(6)?, 0x0021 | 0x0057) => internet(data.skip(8)?),
        // Transparent Ethernet bridging (RFC 7637, section 3.2).
        0x6558 => ethernet(data.in_tunnel(0)?),
        // ERSPAN II and III (draft-foschini-erspan).
        0x88be => ethernet(data.in_tunnel(8)?),
        0x22eb => {
            let has_subheader = data.u16(10)? & 1 != 0;
            ethernet(data.in_tunnel(if has_subheader { 20 } else { 12 })?)
        }
        other => Err(NoSegment::Other(PacketKind::EtherType(other))),
    }
}

/// MPLS: labels of four bytes, up to the one at the bottom of the stack (RFC 3032, section 2.1).
fn multiprotocol_labels(mut data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    loop {
        let is_bottom = data.u8(2)? & 1 != 0;
        data = data.skip(4)?;
        if is_bottom {
            return internet(data);
        }
    }
}

const IPV4: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const GRE: u8 = 47;

/// What an IP packet of `protocol` carries.
fn by_protocol<'a>(protocol: u8, ends: [IpAddr; 2], ip_id: u16, data: Bytes<'a>) -> Result<Segment<'a>, NoSegment> {
    match protocol {
        TCP => tcp(ends, ip_id, data),
        UDP => user_datagram(data),
        GRE => generic_routing(data),
        IPV4 | IPV6 => internet(data.in_tunnel(0)?),
        other => Err(NoSegment::Other(PacketKind::IpProtocol(other))),
    }
}

/// The tunnels that go by a UDP port.
fn user_datagram(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    const HEADER: usize = 8;
    let payload = data.skip(HEADER);
    match data.u16(2)? {
        // VXLAN (RFC 7348, section 5); 8472 is where Linux used to put it.
        4789 | 8472 if payload?.u8(0)? & 0x08 != 0 => ethernet(data.in_tunnel(HEADER + 8)?),
        // Geneve (RFC 8926, section 3.4): options in words of four bytes.
        6081 => {
            let payload = payload?;
            let options = usize::from(payload.u8(0)? & 0x3f) * 4;
            by_ether_type(payload.u16(2)?, data.in_tunnel(HEADER + 8 + options)?)
        }
        // GTP-U (3GPP TS 29.281, section 5.1), of user data without extension headers.
        2152 if matches!(payload?.u16(0)? & 0xe4ff, 0x20ff) => {
            let optional = if payload?.u8(0)? & 0x03 == 0 { 0 } else { 4 };
            internet(data.in_tunnel(HEADER + 8 + optional)?)
        }
        _ => Err(NoSegment::Other(PacketKind::IpProtocol(UDP))),
    }
}

/// GRE (RFC 2784, RFC 2890): checksum, key and sequence number are there if their bits are set.
fn generic_routing(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    let flags = data.u16(0)?;
    if flags & 0x4007 != 0 {
        // Source routes of RFC 1701, or PPTP's version 1.
        return Err(NoSegment::Other(PacketKind::IpProtocol(GRE)));
    }
    let optional = [0x8000, 0x2000, 0x1000].into_iter().filter(|bit| flags & bit != 0).count() * 4;
    let ether_type = data.u16(2)?;
    let payload = data.in_tunnel(4 + optional)?;
    match ether_type {
        // ERSPAN I has no header of its own, and no sequence number before it.
        0x88be if flags & 0x1000 == 0 => ethernet(payload),
        _ => by_ether_type(ether_type, payload),
    }
}

fn internet(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    match data.u8(0)? >> 4 {
        4 => version_4(data),
        6 => version_6(data),
        _ => Err(NoSegment::Other(PacketKind::Malformed)),
    }
}

/// RFC 791, section 3.1.
fn version_4(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    let header = usize::from(data.u8(0)? & 0x0f) * 4;
    if header < 20 {
        return Err(NoSegment::Other(PacketKind::Malformed));
    }
    // Zero in packets that are captured before the network card splits them.
    let total = Some(usize::from(data.u16(2)?)).filter(|&total| total > 0).unwrap_or(data.size);
    let (ip_id, protocol) = (data.u16(4)?, data.u8(9)?);
    if data.u16(6)? & 0x3fff != 0 {
        return Err(NoSegment::Fragment);
    }
    let [source, destination] = [12, 16].map(|at| data.array::<4>(at).map(|octets| Ipv4Addr::from(octets).into()));
    by_protocol(protocol, [source?, destination?], ip_id, data.limited_to(total).skip(header)?)
}

/// RFC 8200, sections 3 and 4.
fn version_6(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    const HEADER: usize = 40;
    // Zero as in IPv4, and in jumbograms.
    let payload = Some(usize::from(data.u16(4)?)).filter(|&payload| payload > 0);
    let [source, destination] = [8, 24].map(|at| data.array::<16>(at).map(|octets| Ipv6Addr::from(octets).into()));
    let (source, destination) = (source?, destination?);
    let mut next = data.u8(6)?;
    let mut data = data.limited_to(payload.map_or(data.size, |payload| HEADER + payload)).skip(HEADER)?;
    loop {
        let length = match next {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => (usize::from(data.u8(1)?) + 1) * 8,
            44 if data.u16(2)? & 0xfff9 != 0 => return Err(NoSegment::Fragment),
            44 => 8,
            // Authentication (RFC 4302).
            51 => (usize::from(data.u8(1)?) + 2) * 4,
            protocol => return by_protocol(protocol, [source, destination], 0, data),
        };
        next = data.u8(0)?;
        data = data.skip(length)?;
    }
}

/// RFC 9293, section 3.1.
fn tcp<'a>([source, destination]: [IpAddr; 2], ip_id: u16, data: Bytes<'a>) -> Result<Segment<'a>, NoSegment> {
    let header = usize::from(data.u8(12)? >> 4) * 4;
    if header < 20 {
        return Err(NoSegment::Other(PacketKind::Malformed));
    }
    let flags = data.u8(13)?;
    // Options that were cut off are of no interest, and there is no captured payload behind them.
    let payload = data.captured.get(header..).unwrap_or_default();
    Ok(Segment {
        source: SocketAddr::new(source, data.u16(0)?),
        destination: SocketAddr::new(destination, data.u16(2)?),
        sequence: data.u32(4)?,
        acknowledgement: (flags & 0x10 != 0).then_some(data.u32(8)?),
        syn: flags & 0x02 != 0,
        fin: flags & 0x01 != 0,
        rst: flags & 0x04 != 0,
        payload,
        size: data.size.saturating_sub(header),
        header: &data.captured[..header.min(data.captured.len())],
        ip_id,
    })
}

impl fmt::Display for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::EtherType(0x0806) => "ARP",
            Self::EtherType(0x888e) => "EAPOL",
            Self::EtherType(0x88cc) => "LLDP",
            Self::EtherType(0x88e5) => "MACsec, which is encrypted",
            Self::EtherType(0x8863 | 0x8864) => "PPPoE",
            // Below 1536 it is a length (IEEE 802.3): spanning tree and the like.
            Self::EtherType(0..1536) => "IEEE 802.2",
            Self::EtherType(number) => return write!(f, "EtherType {number:#06x}"),
            Self::IpProtocol(1 | 58) => "ICMP",
            Self::IpProtocol(2) => "IGMP",
            Self::IpProtocol(UDP) => "UDP",
            Self::IpProtocol(GRE) => "GRE in a form that is not opened",
            Self::IpProtocol(50) => "IPsec (ESP), which is encrypted",
            Self::IpProtocol(89) => "OSPF",
            Self::IpProtocol(112) => "VRRP",
            Self::IpProtocol(132) => "SCTP",
            Self::IpProtocol(number) => return write!(f, "IP protocol {number}"),
            Self::TooManyTunnels => "more tunnels within each other than are opened",
            Self::Malformed => "malformed IP or TCP",
        };
        f.write_str(name)
    }
}
