//! The arrivals of a share of the load, one after the other.

use std::sync::Arc;

use crate::base::table::choices;
use crate::base::{Nanos, Seed};

use super::poisson::PoissonStreams;
use super::profile::{LoadProfile, PlannedSegment};
use super::share::Share;

choices! {
    /// How arrivals are spaced along L(t), the planned number of arrivals up to t.
    pub enum ArrivalPattern {
        /// Evenly: arrival k is intended where L reaches k.
        Uniform = "uniform",
        /// As a Poisson process of the planned rate, whose number of arrivals varies; bursts stay exact.
        Poisson = "poisson",
    }
}

/// An attempt that is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, after the start of the load.
    pub intended: Nanos,
    /// The stage of the segment it belongs to.
    pub stage: u16,
}

/// A cursor over one share's arrivals, in the order of their intended instants. Clones go on independently.
///
/// Nothing is allocated after [`Arrivals::new`].
#[derive(Clone, Debug)]
pub struct Arrivals {
    profile: Arc<LoadProfile>,
    share: Share,
    /// The segment of `next`; past the last one when the plan is over.
    segment: usize,
    next: Option<Arrival>,
    /// The number of the share's arrival after `next`, where arrivals are counted.
    number: u64,
    /// `None`: arrivals are evenly spaced.
    poisson: Option<LimitedStreams>,
}

/// A Poisson process of which only so many arrivals are wanted.
#[derive(Clone, Debug)]
struct LimitedStreams {
    streams: PoissonStreams,
    /// How many arrivals of all shares the last segment may still have.
    left_in_last: u64,
}

impl Arrivals {
    /// The arrivals of `share` under `profile`.
    ///
    /// Evenly spaced ones do not depend on `seed`. A Poisson process with a limit costs each share as much as the whole:
    /// which arrivals fall under the limit is known only by merging the streams of all shares.
    ///
    /// # Panics
    /// If `share.index` is not below `share.count`; [`Share::new`] makes no such share.
    pub fn new(profile: Arc<LoadProfile>, pattern: ArrivalPattern, share: Share, seed: Seed) -> Self {
        assert!(share.index < share.count, "share {share} does not exist");
        let poisson = (pattern == ArrivalPattern::Poisson).then(|| LimitedStreams {
            streams: PoissonStreams::new(seed, share, profile.limits_a_process()),
            left_in_last: profile.limit().unwrap_or(u64::MAX),
        });
        let mut arrivals = Self { profile, share, segment: 0, next: None, number: u64::from(share.index), poisson };
        arrivals.next = arrivals.find_next();
        arrivals
    }

    /// The next arrival of this share; `None` when the plan is over.
    pub fn peek(&self) -> Option<Arrival> {
        self.next
    }

    /// Takes the next arrival of this share; `None` when the plan is over.
    pub fn pop(&mut self) -> Option<Arrival> {
        let next = self.next;
        if next.is_some() {
            self.next = self.find_next();
        }
        next
    }

    /// Takes all arrivals intended before `until` (exclusive), calling `each(stage, count)` once per segment that has
    /// any. Counted arrivals (evenly spaced ones and bursts) take a few evaluations of L⁻¹ a segment, Poisson arrivals
    /// are drawn one by one.
    pub fn take_until(&mut self, until: Nanos, mut each: impl FnMut(u16, u64)) {
        while let Some(Arrival { intended, stage }) = self.next
            && intended < until
        {
            let segment = self.segment;
            let mut count = 1 + self.skip_counted(until);
            self.next = self.find_next();
            while self.segment == segment && self.next.is_some_and(|next| next.intended < until) {
                count += 1;
                self.next = self.find_next();
            }
            each(stage, count);
        }
    }

    fn find_next(&mut self) -> Option<Arrival> {
        loop {
            let segment = self.profile.segment(self.segment)?;
            let intended = match &mut self.poisson {
                Some(poisson) if !segment.is_burst() => {
                    let is_last = self.segment == self.profile.last_segment();
                    poisson.next_in(segment, is_last)
                }
                _ if self.number < segment.arrivals().end => {
                    let intended = segment.instant_of_arrival(self.number);
                    self.number += u64::from(self.share.count);
                    Some(intended)
                }
                _ => None,
            };
            if let Some(intended) = intended {
                return Some(Arrival { intended, stage: segment.stage() });
            }
            self.segment += 1;
            if let Some(entered) = self.profile.segment(self.segment) {
                self.number = self.share.first_from(entered.arrivals().start);
            }
        }
    }

    /// Skips this share's counted arrivals in the segment of `next` that are intended before `until`.
    fn skip_counted(&mut self, until: Nanos) -> u64 {
        let Some(segment) = self.profile.segment(self.segment) else { return 0 };
        if self.poisson.is_some() && !segment.is_burst() {
            return 0;
        }
        let stride = u64::from(self.share.count);
        let remaining = segment.arrivals().end.saturating_sub(self.number).div_ceil(stride);
        let skipped = partition_point(remaining, |nth| segment.instant_of_arrival(self.number + nth * stride) < until);
        self.number += skipped * stride;
        skipped
    }
}

impl LimitedStreams {
    /// The share's next arrival in `segment`; `None` when the process has left it or the limit is reached.
    fn next_in(&mut self, segment: &PlannedSegment, is_last: bool) -> Option<Nanos> {
        while self.left_in_last > 0 {
            let (position, owned) = self.streams.next_below(segment.paced().end)?;
            self.left_in_last -= u64::from(is_last);
            if owned {
                return Some(segment.instant_of_position(position));
            }
        }
        None
    }
}

/// How many of the numbers below `end` satisfy `holds`, which does so up to a point and no further.
fn partition_point(end: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
