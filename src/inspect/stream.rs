//! One direction of a TCP connection, put together as far as the handshake goes.

use std::ops::Range;

use super::Trailing;
use crate::protocol::{C0C1_SIZE, S0S1S2_SIZE};

/// Bytes kept of a direction. Client and server send equally many in a handshake.
const KEPT: usize = S0S1S2_SIZE + Trailing::SHOWN;

/// The beginning of one direction.
#[derive(Default)]
pub(super) struct Stream {
    /// Sequence number of the first byte.
    first: Option<u32>,
    /// The first [`KEPT`] bytes; zero where none was captured.
    bytes: Vec<u8>,
    /// What crossed of them, in stream order and without overlaps: the first to come stays.
    pieces: Vec<Piece>,
    /// Where the farthest segment ended.
    length: u64,
    /// Where the farthest acknowledgement of the other end points.
    acknowledged: u64,
    /// Whether its FIN was seen, which an acknowledgement counts like a byte.
    finished: bool,
    /// When the first byte was there.
    pub first_byte_ns: Option<u64>,
    /// When C0C1 or S0S1 was there.
    pub opening_ns: Option<u64>,
    /// When C2 or S2 was there.
    pub response_ns: Option<u64>,
    /// Segments that brought nothing new.
    pub retransmits: usize,
    /// Segments that filled a hole.
    pub out_of_order: usize,
}

/// New bytes of one segment.
struct Piece {
    start: usize,
    /// On the wire.
    size: usize,
    captured: usize,
}

impl Stream {
    /// Whether a byte of it is known.
    pub(super) fn has_begun(&self) -> bool {
        self.length > 0
    }

    /// The sequence number of the first byte.
    pub(super) fn first(&self) -> Option<u32> {
        self.first
    }

    /// Says where the stream begins, unless that is known. A stream without this word begins with its first segment.
    pub(super) fn begin(&mut self, first: u32) {
        self.first.get_or_insert(first);
    }

    /// Takes a segment's payload, `size` bytes on the wire, of which `captured` are there. Returns where it begins.
    pub(super) fn take(&mut self, at_ns: u64, sequence: u32, captured: &[u8], size: usize) -> i64 {
        let begins_at = self.position(sequence);
        self.keep(at_ns, sequence, captured, size);
        begins_at
    }

    fn keep(&mut self, at_ns: u64, sequence: u32, captured: &[u8], size: usize) {
        if size == 0 {
            return;
        }
        self.begin(sequence);
        let (before, start) = (self.length, self.position(sequence));
        let end = start.saturating_add(i64::try_from(size).unwrap_or(i64::MAX));
        self.length = before.max(u64::try_from(end).unwrap_or(0));
        let Ok(end) = usize::try_from(end) else {
            self.retransmits += 1;
            return;
        };
        // Bytes before the beginning: a keep-alive, or a capture that began later.
        let skipped = usize::try_from(start.saturating_neg()).unwrap_or(0);
        let start = usize::try_from(start).unwrap_or(0);
        if start >= KEPT {
            return;
        }
        let captured = captured.get(skipped..).unwrap_or_default();
        let holes = self.holes(start..end.min(KEPT));
        if holes.is_empty() {
            self.retransmits += 1;
        } else if (start as u64) < before {
            self.out_of_order += 1;
        }
        for hole in holes {
            self.fill(&hole, captured.get(hole.start - start..).unwrap_or_default());
        }
        self.note_milestones(at_ns);
    }

    /// The other end has everything before `sequence`.
    pub(super) fn acknowledge(&mut self, sequence: u32) {
        if self.first.is_some() {
            let position = u64::try_from(self.position(sequence)).unwrap_or(0);
            self.acknowledged = self.acknowledged.max(position);
        }
    }

    /// Its FIN was seen.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether the other end has bytes of it, but the capture does not have the first.
    pub(super) fn is_missed(&self) -> bool {
        self.acknowledged > 0 && self.pieces.first().is_none_or(|piece| piece.start > 0)
    }

    /// The bytes from the first on, up to the first that was not captured.
    pub(super) fn readable(&self) -> &[u8] {
        &self.bytes[..self.prefix(|piece| piece.captured)]
    }

    /// The captured bytes from `start` on, up to the first that was not.
    pub(super) fn readable_from(&self, start: usize) -> &[u8] {
        let mut end = start;
        for piece in &self.pieces {
            if piece.start <= end && piece.start + piece.captured > end {
                end = piece.start + piece.captured;
            }
        }
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Sizes of the segments in `part`.
    pub(super) fn segments(&self, part: Range<usize>) -> Vec<usize> {
        let in_part = self.pieces.iter().map(|piece| {
            let end = (piece.start + piece.size).min(part.end);
            end.saturating_sub(piece.start.max(part.start))
        });
        in_part.filter(|&size| size > 0).collect()
    }

    /// Holes in the handshake, and whether the other end has what was in them.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (Range<usize>, bool)> {
        let length = if self.finished { self.length } else { self.length.max(self.acknowledged) };
        let known = usize::try_from(length).unwrap_or(usize::MAX).min(S0S1S2_SIZE);
        self.holes(0..known).into_iter().map(|hole| {
            let acknowledged = self.acknowledged >= hole.end as u64;
            (hole, acknowledged)
        })
    }

    /// Bytes of the handshake that crossed in packets captured without them.
    pub(super) fn cut(&self) -> usize {
        let cut = self.pieces.iter().map(|piece| {
            let end = (piece.start + piece.size).min(S0S1S2_SIZE);
            end.saturating_sub(piece.start + piece.captured)
        });
        cut.sum()
    }

    /// What follows the handshake.
    pub(super) fn trailing(&self) -> Trailing {
        let bytes = usize::try_from(self.length).unwrap_or(usize::MAX).saturating_sub(S0S1S2_SIZE);
        Trailing { bytes, ..Trailing::of(self.readable_from(S0S1S2_SIZE)) }
    }

    /// Bytes that it holds.
    pub(super) fn kept(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Frees what a stream of no interest holds.
    pub(super) fn forget(&mut self) {
        self.bytes = Vec::new();
        self.pieces = Vec::new();
    }

    /// Where `sequence` lies in the stream. Exact as long as segments are displaced by less than 2 GiB.
    fn position(&self, sequence: u32) -> i64 {
        let first = self.first.unwrap_or(sequence);
        // The low 32 bits are meant: sequence numbers wrap.
        let farthest = first.wrapping_add(self.length as u32);
        let distance = sequence.wrapping_sub(farthest).cast_signed();
        i64::try_from(self.length).unwrap_or(i64::MAX).saturating_add(distance.into())
    }

    /// What of `range` no piece covers.
    fn holes(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut holes = Vec::new();
        let mut at = range.start;
        for piece in &self.pieces {
            if piece.start >= range.end {
                break;
            }
            if piece.start > at {
                holes.push(at..piece.start);
            }
            at = at.max(piece.start + piece.size);
        }
        if at < range.end {
            holes.push(at..range.end);
        }
        holes
    }

    fn fill(&mut self, hole: &Range<usize>, captured: &[u8]) {
        let captured = &captured[..captured.len().min(hole.len())];
        let end = hole.start + captured.len();
        if self.bytes.len() < end {
            // Twice as much each time, but never more than is kept.
            self.bytes.reserve_exact((2 * self.bytes.len()).clamp(end, KEPT) - self.bytes.len());
            self.bytes.resize(end, 0);
        }
        self.bytes[hole.start..end].copy_from_slice(captured);
        let place = self.pieces.partition_point(|piece| piece.start < hole.start);
        self.pieces.insert(place, Piece { start: hole.start, size: hole.len(), captured: captured.len() });
    }

    fn note_milestones(&mut self, at_ns: u64) {
        let crossed = self.prefix(|piece| piece.size);
        let milestones =
            [(1, &mut self.first_byte_ns), (C0C1_SIZE, &mut self.opening_ns), (S0S1S2_SIZE, &mut self.response_ns)];
        for (size, instant) in milestones {
            if crossed >= size {
                instant.get_or_insert(at_ns);
            }
        }
    }

    /// How far the stream goes without a hole, if of each piece only the first `there` bytes are.
    fn prefix(&self, there: impl Fn(&Piece) -> usize) -> usize {
        let mut end = 0;
        for piece in &self.pieces {
            if piece.start != end {
                break;
            }
            end += there(piece);
        }
        end
    }
}
