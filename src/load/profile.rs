//! L(t), the arrivals planned by time t, and its inverse.

use std::ops::Range;

use crate::base::Nanos;

/// The highest rate a profile may plan, in arrivals per second: one a nanosecond, the resolution of its instants.
pub const MAX_PER_S: f64 = 1e9;

/// The most arrivals a profile may plan; a segment without an end ends there (at 1 000 000/s: after 8.9 years).
///
/// Up to this number double precision keeps the instants of successive arrivals of a ramp in order.
pub const MAX_ARRIVALS: u64 = 1 << 48;

/// How the rate develops within a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// The same rate all the time; zero is a pause.
    Constant {
        /// Arrivals per second.
        per_s: f64,
    },
    /// A rate that changes evenly over the segment's length.
    Ramp {
        /// Arrivals per second at the start.
        from_per_s: f64,
        /// Arrivals per second at the end.
        to_per_s: f64,
    },
    /// All arrivals at the segment's start, then none for the rest of its length.
    Burst {
        /// How many; exact under any [`ArrivalPattern`](super::ArrivalPattern).
        count: u64,
    },
}

/// A stretch of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// How the rate develops.
    pub shape: Shape,
    /// How long the segment lasts; [`Nanos::MAX`] is "until stopped", for a last segment of constant rate only.
    pub length: Nanos,
    /// The stage of the run that its arrivals are counted under.
    pub stage: u16,
}

/// The whole plan of an open-loop load: segments one after the other.
///
/// L is continuous except at bursts: a segment may end between two arrivals, and the next one goes on from there, so
/// `600/m` for a minute plans 600 arrivals however it is cut up. Arrival k belongs to the segment in which L reaches k,
/// and is intended at or after that segment's start and before its end.
#[derive(Clone, Debug)]
pub struct LoadProfile {
    segments: Vec<PlannedSegment>,
    limit: Option<u64>,
    length: Nanos,
}

/// Why a load cannot be planned. Segments are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum LoadProfileError {
    /// No segments.
    #[error("a load needs at least one stage, for example 20k/s for 10s")]
    Empty,
    /// Negative, not a number, or above [`MAX_PER_S`].
    #[error("stage {segment}: {per_s} arrivals per second is not a rate: it must be from 0 to 1000M/s")]
    Rate {
        /// Which segment.
        segment: usize,
        /// Its rate in arrivals per second.
        per_s: f64,
    },
    /// A segment that lasts no time.
    #[error("stage {segment} lasts no time: give it a length, for example 10s")]
    NoLength {
        /// Which segment.
        segment: usize,
    },
    /// A burst of nothing.
    #[error("stage {segment} is a burst of no arrivals: give it a count of 1 or more")]
    EmptyBurst {
        /// Which segment.
        segment: usize,
    },
    /// A segment without an end that is not the last.
    #[error("stage {segment} has no end, so the stages after it would never begin: give it a length")]
    EndlessNotLast {
        /// Which segment.
        segment: usize,
    },
    /// A segment without an end that is a ramp, a burst or a pause.
    #[error("stage {segment} has no end: only a constant rate above zero can go on until stopped, so give it a length")]
    EndlessShape {
        /// Which segment.
        segment: usize,
    },
    /// A limit of zero.
    #[error("a limit of 0 attempts starts nothing: make it 1 or more, or leave it out")]
    ZeroLimit,
    /// All rates are zero.
    #[error("the load plans no arrivals: at least one rate must be above zero")]
    NoArrivals,
    /// More than [`MAX_ARRIVALS`].
    #[error("the load plans more than 281 trillion arrivals: lower the rates or shorten the stages")]
    TooManyArrivals,
    /// Longer than nanoseconds can count.
    #[error("the load lasts longer than 584 years: shorten the stages")]
    TooLong,
}

impl LoadProfile {
    /// Plans `segments` one after the other, with at most `limit` arrivals in the last one (over all shares).
    pub fn new(segments: Vec<Segment>, limit: Option<u64>) -> Result<Self, LoadProfileError> {
        let last = segments.len().checked_sub(1).ok_or(LoadProfileError::Empty)?;
        if limit == Some(0) {
            return Err(LoadProfileError::ZeroLimit);
        }
        let mut joint = Joint { at: Nanos::ZERO, level: 0.0, paced: 0.0 };
        let mut planned = Vec::with_capacity(segments.len());
        for (index, segment) in segments.into_iter().enumerate() {
            let segment = PlannedSegment::plan(segment, index, index == last, joint)?;
            joint = segment.end;
            planned.push(segment);
        }
        if joint.level == 0.0 {
            return Err(LoadProfileError::NoArrivals);
        }
        let length = if planned[last].endless { Nanos::MAX } else { joint.at };
        if let Some(limit) = limit {
            planned[last].limit_to(limit);
        }
        Ok(Self { segments: planned, limit, length })
    }

    /// L(t): the arrivals planned by `t`, those of a burst at `t` included. Under a limit L stops there.
    pub fn arrivals_by(&self, t: Nanos) -> f64 {
        let started = self.segments.partition_point(|segment| segment.start.at <= t);
        // The first segment starts at zero, so at least one has started.
        self.segments[started - 1].level_at(t)
    }

    /// L⁻¹(n): the instant at which arrival `n` is intended, rounded to whole nanoseconds (arrivals count from 0, and `n`
    /// may lie between two). `None` outside the plan: if `n` is negative, not a number, or not below the last L.
    pub fn instant_of(&self, n: f64) -> Option<Nanos> {
        let index = self.segments.partition_point(|segment| segment.end.level <= n);
        let segment = self.segments.get(index)?;
        (n >= segment.start.level).then(|| segment.instant_at(n - segment.start.level))
    }

    /// The sum of the segments' lengths, whatever the limit; [`Nanos::MAX`] if the last one has no end.
    pub fn length(&self) -> Nanos {
        self.length
    }

    /// The highest rate planned, in arrivals per second; a burst counts as if spread over one second.
    pub fn peak_per_s(&self) -> f64 {
        self.segments.iter().map(|segment| segment.shape.peak_per_s()).fold(0.0, f64::max)
    }

    /// How many arrivals are planned in `stage`, over all shares: exact for [`ArrivalPattern::Uniform`] and bursts, the
    /// mean of a Poisson process. `None` where only a stop ends them.
    ///
    /// [`ArrivalPattern::Uniform`]: super::ArrivalPattern::Uniform
    pub fn arrivals_of(&self, stage: u16) -> Option<u64> {
        let of_stage = self.segments.iter().filter(|segment| segment.stage == stage);
        of_stage
            .map(|segment| {
                let counted = segment.arrivals.end - segment.arrivals.start;
                (self.limit.is_some() || !segment.endless).then_some(counted)
            })
            .sum()
    }

    /// The most arrivals in the last segment, over all shares.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Whether the limit falls on arrivals that a Poisson process would draw; the number of a burst's is known.
    pub(super) fn limits_a_process(&self) -> bool {
        self.limit.is_some() && self.segments.last().is_some_and(|last| !last.is_burst())
    }

    pub(super) fn segment(&self, index: usize) -> Option<&PlannedSegment> {
        self.segments.get(index)
    }

    pub(super) fn last_segment(&self) -> usize {
        self.segments.len() - 1
    }
}

impl Shape {
    /// The rates at both ends, in arrivals per second; a burst leaves the rest of its length empty.
    fn rates(self) -> [f64; 2] {
        match self {
            Self::Constant { per_s } => [per_s, per_s],
            Self::Ramp { from_per_s, to_per_s } => [from_per_s, to_per_s],
            Self::Burst { .. } => [0.0, 0.0],
        }
    }

    fn peak_per_s(self) -> f64 {
        match self {
            Self::Burst { count } => count as f64,
            paced => paced.rates().into_iter().fold(0.0, f64::max),
        }
    }
}

/// Where two segments meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joint {
    /// The instant.
    at: Nanos,
    /// L there.
    level: f64,
    /// L without its bursts, which a Poisson process does not pace.
    paced: f64,
}

/// A segment and its place in the plan.
#[derive(Clone, Debug)]
pub(super) struct PlannedSegment {
    shape: Shape,
    slope: Slope,
    stage: u16,
    endless: bool,
    start: Joint,
    end: Joint,
    /// The numbers of its arrivals, if they are counted.
    arrivals: Range<u64>,
}

impl PlannedSegment {
    fn plan(segment: Segment, index: usize, is_last: bool, start: Joint) -> Result<Self, LoadProfileError> {
        let Segment { shape, length, stage } = segment;
        let segment = index + 1;
        if let Some(per_s) = shape.rates().into_iter().find(|per_s| !(0.0..=MAX_PER_S).contains(per_s)) {
            return Err(LoadProfileError::Rate { segment, per_s });
        }
        if length == Nanos::ZERO {
            return Err(LoadProfileError::NoLength { segment });
        }
        if shape == (Shape::Burst { count: 0 }) {
            return Err(LoadProfileError::EmptyBurst { segment });
        }
        let endless = length == Nanos::MAX;
        if endless && !is_last {
            return Err(LoadProfileError::EndlessNotLast { segment });
        }
        if endless && !matches!(shape, Shape::Constant { per_s } if per_s > 0.0) {
            return Err(LoadProfileError::EndlessShape { segment });
        }
        let at = start.at + length;
        if at == Nanos::MAX && !endless {
            return Err(LoadProfileError::TooLong);
        }
        let slope = Slope::new(shape.rates(), at.saturating_sub(start.at));
        let burst = if let Shape::Burst { count } = shape { count as f64 } else { 0.0 };
        let most = MAX_ARRIVALS as f64;
        let level = snap(start.level + burst + slope.area);
        if level > most && !endless {
            return Err(LoadProfileError::TooManyArrivals);
        }
        let end = Joint { at, level: level.min(most), paced: (start.paced + slope.area).min(most) };
        let arrivals = start.level.ceil() as u64..end.level.ceil() as u64;
        Ok(Self { shape, slope, stage, endless, start, end, arrivals })
    }

    /// Counted arrivals end after `limit`; a Poisson process counts its own.
    fn limit_to(&mut self, limit: u64) {
        self.arrivals.end = self.arrivals.end.min(self.arrivals.start.saturating_add(limit));
        self.end.level = self.end.level.min(self.arrivals.end as f64);
    }

    pub(super) fn is_burst(&self) -> bool {
        matches!(self.shape, Shape::Burst { .. })
    }

    pub(super) fn stage(&self) -> u16 {
        self.stage
    }

    /// The numbers of the arrivals in this segment when they are counted: evenly spaced, or a burst.
    pub(super) fn arrivals(&self) -> Range<u64> {
        self.arrivals.clone()
    }

    /// When counted arrival `number` is intended; it must be one of [`PlannedSegment::arrivals`].
    pub(super) fn instant_of_arrival(&self, number: u64) -> Nanos {
        self.instant_at(number as f64 - self.start.level)
    }

    /// The stretch of L that a Poisson process passes through in this segment; bursts are not on its axis.
    pub(super) fn paced(&self) -> Range<f64> {
        self.start.paced..self.end.paced
    }

    /// When a Poisson process is at `position`, which must be in [`PlannedSegment::paced`].
    pub(super) fn instant_of_position(&self, position: f64) -> Nanos {
        self.instant_at(position - self.start.paced)
    }

    fn length(&self) -> Nanos {
        self.end.at.saturating_sub(self.start.at)
    }

    /// L at `t`, which is not before this segment.
    fn level_at(&self, t: Nanos) -> f64 {
        if self.is_burst() || t >= self.end.at {
            return self.end.level;
        }
        let grown = self.slope.area_after(t.saturating_sub(self.start.at).as_secs_f64());
        (self.start.level + grown).min(self.end.level)
    }

    /// The instant at which L has grown by `growth` in this segment, which includes its start but not its end.
    fn instant_at(&self, growth: f64) -> Nanos {
        if self.is_burst() {
            return self.start.at;
        }
        let after = (self.slope.time_of(growth) * 1e9).round() as u64;
        self.start.at + Nanos::new(after.min(self.length().as_u64() - 1))
    }
}

/// L at a joint of two segments, freed of rounding: 11 000.000 000 000 002 planned arrivals are 11 000, not 11 001.
fn snap(level: f64) -> f64 {
    let whole = level.round();
    if (level - whole).abs() <= level * 1e-14 { whole } else { level }
}

/// A rate that changes evenly over a time, or stays.
#[derive(Clone, Copy, Debug)]
struct Slope {
    falling: bool,
    low_per_s: f64,
    /// How fast the rate changes, without sign.
    per_s_per_s: f64,
    length_s: f64,
    area: f64,
}

impl Slope {
    fn new([from_per_s, to_per_s]: [f64; 2], length: Nanos) -> Self {
        let length_s = length.as_secs_f64();
        Self {
            falling: from_per_s > to_per_s,
            low_per_s: from_per_s.min(to_per_s),
            per_s_per_s: (from_per_s - to_per_s).abs() / length_s,
            length_s,
            area: (from_per_s + to_per_s) / 2.0 * length_s,
        }
    }

    /// The arrivals in the first `seconds`.
    fn area_after(&self, seconds: f64) -> f64 {
        if self.falling {
            self.area - self.area_from_low_end(self.length_s - seconds)
        } else {
            self.area_from_low_end(seconds)
        }
    }

    /// After how many seconds `area` arrivals are due. Counted from the end with the lower rate on falling slopes too:
    /// there the rate may be zero, and the difference of two nearly equal squares would lose half of the digits.
    fn time_of(&self, area: f64) -> f64 {
        if self.falling {
            self.length_s - self.time_from_low_end(self.area - area)
        } else {
            self.time_from_low_end(area)
        }
    }

    fn area_from_low_end(&self, seconds: f64) -> f64 {
        seconds * (self.low_per_s + self.per_s_per_s * seconds / 2.0)
    }

    /// The root of `area_from_low_end(t) = area` in its form without cancellation.
    fn time_from_low_end(&self, area: f64) -> f64 {
        if area <= 0.0 {
            return 0.0;
        }
        2.0 * area / (self.low_per_s + (self.low_per_s * self.low_per_s + 2.0 * self.per_s_per_s * area).sqrt())
    }
}
