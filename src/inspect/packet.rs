//! From a captured packet to its TCP segment.

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
    NotTcp,
}

/// Decodes Ethernet (with VLAN tags), Linux cooked v1 and v2, BSD loopback and raw IP; IPv4 and IPv6 (with extension
/// headers).
pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Segment<'a>, NoSegment> {
    let data = Bytes { captured: record.data, size: record.size };
    // Numbers of tcpdump.org/linktypes.html; raw IP is 12 or 14 in files of some BSDs.
    match record.link {
        0 | 108 => internet(data.skip(4)?),
        1 => by_ether_type(data.u16(12)?, data.skip(14)?),
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
        Ok(Self { captured, size: self.size.saturating_sub(length) })
    }

    /// The first `size` bytes of what was on the wire: without the padding of a link.
    fn limited_to(&self, size: usize) -> Self {
        let size = size.min(self.size);
        Self { captured: &self.captured[..size.min(self.captured.len())], size }
    }
}

fn by_ether_type(mut ether_type: u16, mut data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    // IEEE 802.1Q, 802.1ad, and the number that switches used before it.
    while matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) {
        ether_type = data.u16(2)?;
        data = data.skip(4)?;
    }
    match ether_type {
        0x0800 | 0x86dd => internet(data),
        _ => Err(NoSegment::NotTcp),
    }
}

const TCP: u8 = 6;

fn internet(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    match data.u8(0)? >> 4 {
        4 => version_4(data),
        6 => version_6(data),
        _ => Err(NoSegment::NotTcp),
    }
}

/// RFC 791, section 3.1.
fn version_4(data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    let header = usize::from(data.u8(0)? & 0x0f) * 4;
    if header < 20 {
        return Err(NoSegment::NotTcp);
    }
    // Zero in packets that are captured before the network card splits them.
    let total = Some(usize::from(data.u16(2)?)).filter(|&total| total > 0).unwrap_or(data.size);
    let fragment = data.u16(6)? & 0x3fff != 0;
    match data.u8(9)? {
        TCP if fragment => return Err(NoSegment::Fragment),
        TCP => {}
        _ => return Err(NoSegment::NotTcp),
    }
    let [source, destination] = [12, 16].map(|at| data.array::<4>(at).map(|octets| Ipv4Addr::from(octets).into()));
    tcp(source?, destination?, data.limited_to(total).skip(header)?)
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
            TCP => return tcp(source, destination, data),
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => (usize::from(data.u8(1)?) + 1) * 8,
            44 if data.u16(2)? & 0xfff9 != 0 => return Err(NoSegment::Fragment),
            44 => 8,
            // Authentication (RFC 4302).
            51 => (usize::from(data.u8(1)?) + 2) * 4,
            _ => return Err(NoSegment::NotTcp),
        };
        next = data.u8(0)?;
        data = data.skip(length)?;
    }
}

/// RFC 9293, section 3.1.
fn tcp(source: IpAddr, destination: IpAddr, data: Bytes<'_>) -> Result<Segment<'_>, NoSegment> {
    let header = usize::from(data.u8(12)? >> 4) * 4;
    if header < 20 {
        return Err(NoSegment::NotTcp);
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
    })
}
