//! Records of pcap and pcapng files.

use std::io::{self, Read};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, InterfaceDescriptionBlock, PcapBlockOwned, PcapError, create_reader};

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is no capture.
    #[error("it begins with neither pcap's nor pcapng's magic bytes")]
    NotACapture,
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The file ends in the middle of a record.
    #[error(
        "the record at byte {offset} is cut short: the file ends before it does (was the capture stopped while it was \
         being written?)"
    )]
    CutShort {
        /// Where the record begins.
        offset: usize,
    },
    /// A record contradicts itself or the records before it.
    #[error("the record at byte {offset} is damaged: {what}")]
    Damaged {
        /// Where the record begins.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Whether a file that begins with `head` (4 bytes are enough) is pcap or pcapng, of either byte order.
pub fn is_capture(head: &[u8]) -> bool {
    // pcap in microseconds, in nanoseconds and with Kuznetzov's changes, and pcapng's section header: the magic numbers
    // of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
    const MAGIC: [u32; 4] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34, 0x0a0d_0d0a];
    head.first_chunk()
        .is_some_and(|head| MAGIC.contains(&u32::from_be_bytes(*head)) || MAGIC.contains(&u32::from_le_bytes(*head)))
}

/// One captured packet.
pub(super) struct Record<'a> {
    /// Link type, a number of tcpdump.org/linktypes.html.
    pub link: i32,
    /// When it was captured, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Its size on the wire.
    pub size: usize,
    /// As much of it as was captured.
    pub data: &'a [u8],
}

/// Larger than the packets of any link; a record that claims more is damaged.
const LARGEST_RECORD: usize = 16 << 20;
const BUFFER: usize = 1 << 17;
/// More than any machine has.
const MOST_INTERFACES: usize = 1 << 16;

/// Hands every packet of `file` to `take`, in the file's order.
///
/// # Errors
/// At the first record that cannot be read; the packets before it have been handed over.
pub(super) fn read_records(mut file: impl Read + Send, mut take: impl FnMut(Record<'_>)) -> Result<(), CaptureError> {
    // The parser judges a file by its first read, and a pipe may give little at once.
    let mut head = Vec::new();
    file.by_ref().take(BUFFER as u64 / 2).read_to_end(&mut head)?;
    if !is_capture(&head) {
        return Err(CaptureError::NotACapture);
    }
    let mut reader = create_reader(BUFFER, head.chain(file)).map_err(|error| match error {
        PcapError::Incomplete(_) | PcapError::Eof => CaptureError::CutShort { offset: 0 },
        _ => CaptureError::Damaged { offset: 0, what: "its file header cannot be read" },
    })?;
    let mut interfaces = Interfaces::default();
    let mut capacity = BUFFER;
    loop {
        let offset = reader.consumed();
        let damaged = |what| CaptureError::Damaged { offset, what };
        let next = match reader.next() {
            Ok((length, block)) => {
                if let Some(record) = interfaces.record(&block).map_err(damaged)? {
                    take(record);
                }
                Next::Consume(length)
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => Next::Refill,
            Err(PcapError::BufferTooSmall) => Next::Grow,
            Err(PcapError::UnexpectedEof) => return Err(CaptureError::CutShort { offset }),
            Err(PcapError::ReadError) => return Err(io::Error::other("reading stopped with an error").into()),
            Err(_) => return Err(damaged("its lengths contradict each other, or it is no record at all")),
        };
        match next {
            Next::Consume(0) => return Err(damaged("it has no length")),
            Next::Consume(length) => reader.consume(length),
            Next::Refill => {
                let before = reader.data().len();
                refill(reader.as_mut())?;
                if reader.data().len() == before && !reader.reader_exhausted() {
                    grow(reader.as_mut(), &mut capacity).map_err(damaged)?;
                }
            }
            Next::Grow => grow(reader.as_mut(), &mut capacity).map_err(damaged)?,
        }
    }
}

enum Next {
    Consume(usize),
    Refill,
    Grow,
}

fn refill(reader: &mut dyn PcapReaderIterator) -> Result<(), CaptureError> {
    reader.refill().map_err(|_| io::Error::other("reading stopped with an error").into())
}

fn grow(reader: &mut dyn PcapReaderIterator, capacity: &mut usize) -> Result<(), &'static str> {
    if *capacity >= LARGEST_RECORD {
        return Err("it claims to be larger than any packet");
    }
    *capacity *= 2;
    reader.grow(*capacity);
    // A failed read shows again at the next one.
    let _shown_again = reader.refill();
    Ok(())
}

/// What the records say of the interfaces that later records belong to.
#[derive(Default)]
struct Interfaces {
    known: Vec<Interface>,
    /// Of the last packet that has one: a pcapng file may hold packets without a time.
    last_ns: u64,
}

#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    /// Units of a timestamp per second.
    per_second: u128,
    /// Seconds to be added to a timestamp.
    offset_s: i64,
    /// The most that is captured of a packet; zero if there is no limit.
    snaplen: usize,
}

impl Interfaces {
    /// The packet in `block`, if it holds one.
    fn record<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Result<Option<Record<'a>>, &'static str> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // The upper bits tell of a frame check sequence.
                let link = header.network.0 & 0x0fff_ffff;
                self.known = vec![Interface { link, per_second, offset_s: 0, snaplen: 0 }];
                Ok(None)
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.known.first().ok_or("it comes before the file header")?;
                let fraction = u128::from(packet.ts_usec) * 1_000_000_000 / interface.per_second;
                self.last_ns = nanos(u128::from(packet.ts_sec) * 1_000_000_000 + fraction, 0);
                Ok(Some(self.packet(interface.link, packet.origlen, packet.data)))
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.known.clear();
                Ok(None)
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(_)) if self.known.len() == MOST_INTERFACES => {
                Err("it describes more interfaces than any machine has")
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                self.known.push(Interface::from(description));
                Ok(None)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.known.get(packet.if_id as usize).copied();
                let interface = interface.ok_or("it belongs to an interface that the file does not describe")?;
                let units = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                self.last_ns = nanos(units * 1_000_000_000 / interface.per_second, interface.offset_s);
                let captured = packet.data.get(..packet.caplen as usize).ok_or("its packet is shorter than it says")?;
                Ok(Some(self.packet(interface.link, packet.origlen, captured)))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface =
                    self.known.first().ok_or("it belongs to an interface that the file does not describe")?;
                let limit = if interface.snaplen == 0 { usize::MAX } else { interface.snaplen };
                let captured = packet.data.len().min(packet.origlen as usize).min(limit);
                Ok(Some(self.packet(interface.link, packet.origlen, &packet.data[..captured])))
            }
            PcapBlockOwned::NG(_) => Ok(None),
        }
    }

    fn packet<'a>(&self, link: i32, size: u32, data: &'a [u8]) -> Record<'a> {
        Record { link, at_ns: self.last_ns, size: (size as usize).max(data.len()), data }
    }
}

impl From<&InterfaceDescriptionBlock<'_>> for Interface {
    fn from(description: &InterfaceDescriptionBlock<'_>) -> Self {
        // if_tsresol of draft-ietf-opsawg-pcapng: the highest bit chooses between powers of 2 and of 10.
        let exponent = u32::from(description.if_tsresol & 0x7f);
        let per_second = if description.if_tsresol & 0x80 == 0 { 10_u128 } else { 2 }.checked_pow(exponent);
        Self {
            link: description.linktype.0,
            // Finer than that, every timestamp of 64 bits is zero nanoseconds.
            per_second: per_second.unwrap_or(u128::MAX),
            offset_s: description.if_tsoffset,
            snaplen: description.snaplen as usize,
        }
    }
}

fn nanos(ns: u128, offset_s: i64) -> u64 {
    let shifted = i128::try_from(ns).unwrap_or(i128::MAX).saturating_add(i128::from(offset_s) * 1_000_000_000);
    u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
}
