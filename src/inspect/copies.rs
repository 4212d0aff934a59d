//! Packets that a capture holds twice.
//!
//! A mirror port that shows both ways, a bridge, or `tcpdump -i any` capture the same packet at several places, so it is
//! there again after some microseconds. A retransmission looks different: the kernel gives it another IP identification
//! or timestamp option. One without either is told by the time it takes: no sender repeats a segment within
//! [`LATEST_COPY_NS`] (Linux waits at least 200 ms, RFC 6298 a second; a fast retransmission takes three acknowledgements).

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::packet::Segment;

/// The most that lies between a packet and its copy, in nanoseconds.
const LATEST_COPY_NS: u64 = 5_000_000;
/// Packets that are remembered: those of 5 ms at 13 million a second.
const MOST_REMEMBERED: usize = 1 << 16;

/// The packets of the last milliseconds.
#[derive(Default)]
pub(super) struct Copies {
    seen_ns: HashMap<u64, u64>,
    in_order: VecDeque<(u64, u64)>,
}

impl Copies {
    /// Whether the same segment was captured a moment ago. Headers of the link and of tunnels do not count, nor what routers
    /// change on the way (TTL, IP checksum).
    pub(super) fn is_copy(&mut self, segment: &Segment<'_>, at_ns: u64) -> bool {
        while let Some(&(seen_ns, fingerprint)) = self.in_order.front()
            && (at_ns.saturating_sub(seen_ns) > LATEST_COPY_NS || self.in_order.len() == MOST_REMEMBERED)
        {
            self.in_order.pop_front();
            if self.seen_ns.get(&fingerprint) == Some(&seen_ns) {
                self.seen_ns.remove(&fingerprint);
            }
        }
        let mut hasher = DefaultHasher::new();
        (segment.source, segment.destination, segment.ip_id, segment.header, segment.payload, segment.size)
            .hash(&mut hasher);
        let fingerprint = hasher.finish();
        let is_copy = self.seen_ns.insert(fingerprint, at_ns).is_some();
        self.in_order.push_back((at_ns, fingerprint));
        is_copy
    }
}
