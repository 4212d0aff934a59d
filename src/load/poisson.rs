//! A Poisson process as a fixed number of independent streams.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use rand::Rng;

use crate::base::{RandomStream, Seed, StreamPurpose};

use super::share::Share;

/// The number of independent streams of a Poisson process, each of 1/256 of the rate; stream j is share j mod count's.
///
/// Independent Poisson processes add up to one, so the union is the same for any split, at a cost proportional to the
/// share. Streams are whole: 256 of them split into 3 parts are 86, 85 and 85; near 256 parts the split becomes uneven,
/// and of more than 256 parts only the first 256 get arrivals.
pub const POISSON_STREAMS: u32 = 256;

/// Positions on the axis of L at which the arrivals of some of the streams are intended, in order.
#[derive(Clone, Debug)]
pub(super) struct PoissonStreams {
    share: Share,
    streams: Vec<ExponentialSums>,
    /// The next position of each stream, the earliest on top.
    next: BinaryHeap<Reverse<Position>>,
}

impl PoissonStreams {
    /// The streams of `share`; with `of_all_shares` also the others', which only count. None for a share that owns none.
    pub(super) fn new(seed: Seed, share: Share, of_all_shares: bool) -> Self {
        let of_all_shares = of_all_shares && share.index < POISSON_STREAMS;
        let numbers = (0..POISSON_STREAMS).filter(|&number| of_all_shares || share.owns(number));
        let mut streams: Vec<_> = numbers.map(|number| ExponentialSums::new(seed, number)).collect();
        let next = streams
            .iter_mut()
            .enumerate()
            .map(|(slot, stream)| Reverse(Position { on_axis: stream.advance(), slot }))
            .collect();
        Self { share, streams, next }
    }

    /// The next position below `bound` and whether it is this share's; `None`, and nothing is taken, if there is none.
    pub(super) fn next_below(&mut self, bound: f64) -> Option<(f64, bool)> {
        let mut earliest = self.next.peek_mut()?;
        let Reverse(Position { on_axis, slot }) = *earliest;
        if on_axis >= bound {
            return None;
        }
        let stream = &mut self.streams[slot];
        let owned = self.share.owns(stream.number);
        // The heap puts itself in order again, in place, when `earliest` goes out of scope.
        earliest.0.on_axis = stream.advance();
        Some((on_axis, owned))
    }
}

/// Stream `number`: 256 (E1 + ... + Ek) with unit exponentials E.
#[derive(Clone, Debug)]
struct ExponentialSums {
    number: u32,
    random: RandomStream,
    sum: f64,
}

impl ExponentialSums {
    fn new(seed: Seed, number: u32) -> Self {
        Self { number, random: seed.stream(StreamPurpose::Arrivals, number), sum: 0.0 }
    }

    fn advance(&mut self) -> f64 {
        // Uniform on (0, 1] in steps of 2^-53, so that the logarithm is finite.
        let uniform = ((self.random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        self.sum -= uniform.ln();
        self.sum * f64::from(POISSON_STREAMS)
    }
}

/// Where a stream is; ordered by position.
#[derive(Clone, Copy, Debug)]
struct Position {
    on_axis: f64,
    slot: usize,
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.on_axis.total_cmp(&other.on_axis).then(self.slot.cmp(&other.slot))
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Position {}
