//! One deadline per slot: a hierarchical timer wheel with links in arrays, 12 bytes a slot.
//!
//! Setting, clearing and expiring cost constant time, so a million held connections can each have a deadline without
//! a kernel timer or a heap. The shape is that of the hashed hierarchical wheels of Varghese and Lauck (1987), level
//! by highest differing digit as in tokio's timer.

use crate::base::{Nanos, Time};

/// A tick is 2^20 ns, about 1.05 ms: a deadline expires at its instant or at most one tick later, never earlier.
const TICK_BITS: u32 = 20;
const LEVEL_BITS: u32 = 6;
const BUCKETS: usize = 1 << LEVEL_BITS;
/// Six levels of six bits cover 32-bit ticks: 52 days from the origin.
const LEVELS: usize = 6;
const NONE: u32 = u32::MAX;
/// The last tick; later deadlines are cut to it.
const LAST_TICK: u32 = u32::MAX - 1;

/// The deadlines of a worker's slots.
#[derive(Debug)]
pub struct Deadlines {
    origin: Time,
    /// All deadlines before this tick have expired.
    elapsed: u32,
    links: Vec<Link>,
    heads: [[u32; BUCKETS]; LEVELS],
    occupied: [u64; LEVELS],
}

#[derive(Clone, Copy, Debug)]
struct Link {
    /// `NONE` in a slot without a deadline.
    tick: u32,
    next: u32,
    previous: u32,
}

impl Link {
    const UNSET: Self = Self { tick: NONE, next: NONE, previous: NONE };
}

impl Deadlines {
    /// No deadlines yet, for slots `0..slots`; `origin` is not later than any instant that follows.
    pub fn new(slots: u32, origin: Time) -> Self {
        // A zeroed allocation would stay untouched until used, but a link's "none" is not zero: the table is written
        // once here, 12 bytes a slot.
        Self {
            origin,
            elapsed: 0,
            links: vec![Link::UNSET; slots as usize],
            heads: [[NONE; BUCKETS]; LEVELS],
            occupied: [0; LEVELS],
        }
    }

    /// Makes room for slots `0..slots`; none is taken away.
    pub fn grow(&mut self, slots: u32) {
        if self.links.len() < slots as usize {
            self.links.resize(slots as usize, Link::UNSET);
        }
    }

    /// Bytes of each slot.
    pub(super) const BYTES: usize = size_of::<Link>();

    /// Bytes of the links.
    pub(super) fn memory(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }

    /// Sets the slot's deadline, replacing an earlier one.
    pub fn set(&mut self, slot: u32, at: Time) {
        self.clear(slot);
        let tick = self.tick_after(at).max(self.elapsed);
        self.insert(slot, tick);
    }

    /// The slot's deadline as it is kept: a tick later than it was set at most.
    pub(super) fn at(&self, slot: u32) -> Option<Time> {
        let tick = self.links[slot as usize].tick;
        (tick != NONE).then(|| self.origin + Nanos::new(u64::from(tick) << TICK_BITS))
    }

    /// Removes the slot's deadline, if it has one.
    pub fn clear(&mut self, slot: u32) {
        let Link { tick, next, previous } = self.links[slot as usize];
        if tick == NONE {
            return;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if previous != NONE {
            self.links[previous as usize].next = next;
        } else {
            let (level, bucket) = self.place(tick);
            self.heads[level][bucket] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << bucket);
            }
        }
        self.links[slot as usize] = Link::UNSET;
    }

    /// Takes one expired deadline; call until `None`. Its slot has no deadline afterwards.
    pub fn pop_expired(&mut self, now: Time) -> Option<u32> {
        let now = self.tick_before(now);
        loop {
            match self.next_bucket() {
                Some((tick, level, bucket)) if tick <= now => {
                    self.elapsed = tick;
                    let slot = self.heads[level][bucket];
                    if level == 0 {
                        self.clear(slot);
                        return Some(slot);
                    }
                    self.cascade(level, bucket);
                }
                _ => {
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
            }
        }
    }

    /// When [`pop_expired`](Self::pop_expired) should be called next; [`Time::MAX`] without deadlines. May be earlier
    /// than the earliest deadline (a bucket of a coarser level has to be sorted then), never later by more than a tick.
    pub fn next_wakeup(&self) -> Time {
        self.next_bucket().map_or(Time::MAX, |(tick, ..)| self.origin + Nanos::new(u64::from(tick) << TICK_BITS))
    }

    fn tick_after(&self, at: Time) -> u32 {
        let nanos = at.since(self.origin).as_u64();
        u32::try_from(nanos.div_ceil(1 << TICK_BITS)).unwrap_or(LAST_TICK).min(LAST_TICK)
    }

    fn tick_before(&self, at: Time) -> u32 {
        u32::try_from(at.since(self.origin).as_u64() >> TICK_BITS).unwrap_or(LAST_TICK).min(LAST_TICK)
    }

    /// The level is that of the highest digit in which the deadline differs from the present. It stays the same until
    /// the present reaches the deadline's bucket, which is when the bucket is cascaded.
    fn place(&self, tick: u32) -> (usize, usize) {
        let differing = (self.elapsed ^ tick) | (BUCKETS as u32 - 1);
        let level = (31 - differing.leading_zeros()) / LEVEL_BITS;
        let bucket = (tick >> (level * LEVEL_BITS)) & (BUCKETS as u32 - 1);
        (level as usize, bucket as usize)
    }

    fn insert(&mut self, slot: u32, tick: u32) {
        let (level, bucket) = self.place(tick);
        let next = self.heads[level][bucket];
        if next != NONE {
            self.links[next as usize].previous = slot;
        }
        self.links[slot as usize] = Link { tick, next, previous: NONE };
        self.heads[level][bucket] = slot;
        self.occupied[level] |= 1 << bucket;
    }

    /// Moves the deadlines of a bucket, which the present has just reached, to finer levels.
    fn cascade(&mut self, level: usize, bucket: usize) {
        let mut slot = std::mem::replace(&mut self.heads[level][bucket], NONE);
        self.occupied[level] &= !(1 << bucket);
        while slot != NONE {
            let Link { tick, next, .. } = self.links[slot as usize];
            self.insert(slot, tick);
            slot = next;
        }
    }

    /// The first occupied bucket: its first tick, level and index. A finer level always comes before a coarser one.
    fn next_bucket(&self) -> Option<(u32, usize, usize)> {
        (0..LEVELS).find(|&level| self.occupied[level] != 0).map(|level| {
            let shift = level as u32 * LEVEL_BITS;
            let present = (self.elapsed >> shift) & (BUCKETS as u32 - 1);
            // Buckets of a level lie at or after the present digit: those before it would differ in a higher digit.
            let bucket = self.occupied[level].trailing_zeros();
            debug_assert!(bucket >= present, "a deadline lies in the past of its level");
            let above = u64::from(self.elapsed) >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
            ((above | u64::from(bucket) << shift) as u32, level, bucket as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const ORIGIN: Time = Time::from_nanos(12_345);

    fn expired(deadlines: &mut Deadlines, now: Time) -> Vec<u32> {
        let mut slots: Vec<u32> = std::iter::from_fn(|| deadlines.pop_expired(now)).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn expires_at_its_instant_or_a_tick_later_never_earlier() {
        for millis in [0, 1, 63, 64, 65, 4_096, 10_000, 3_600_000, 86_400_000 * 40] {
            let mut deadlines = Deadlines::new(1, ORIGIN);
            let at = ORIGIN + Nanos::from_millis(millis);
            deadlines.set(0, at);
            let before = at - Nanos::new(1);
            if millis > 0 {
                assert_eq!(deadlines.pop_expired(before), None, "{millis} ms");
            }
            assert_eq!(deadlines.pop_expired(at + Nanos::new(1 << TICK_BITS)), Some(0), "{millis} ms");
            assert_eq!(deadlines.next_wakeup(), Time::MAX);
        }
    }

    #[test]
    fn a_cleared_deadline_never_expires() {
        let mut deadlines = Deadlines::new(3, ORIGIN);
        for slot in 0..3 {
            deadlines.set(slot, ORIGIN + Nanos::from_millis(500));
        }
        deadlines.clear(1);
        assert_eq!(expired(&mut deadlines, ORIGIN + Nanos::from_secs(1)), [0, 2]);
    }

    #[test]
    fn a_table_that_grows_keeps_its_deadlines() {
        let mut deadlines = Deadlines::new(0, ORIGIN);
        let at = ORIGIN + Nanos::from_secs(1);
        for slot in 0..3 {
            deadlines.grow(slot + 1);
            deadlines.set(slot, at);
        }
        deadlines.grow(1);
        assert_eq!(expired(&mut deadlines, at + Nanos::from_millis(2)), [0, 1, 2]);
    }

    proptest! {
        /// Against a sorted map: whatever is set, cleared and waited for, the same slots expire, within one tick.
        #[test]
        fn agrees_with_a_sorted_map(actions in prop::collection::vec((0u8..3, 0u32..40, 0u64..200_000_000_000), 1..200)) {
            let mut wheel = Deadlines::new(40, ORIGIN);
            let mut model: BTreeMap<u32, Time> = BTreeMap::new();
            let mut now = ORIGIN;
            for (action, slot, span) in actions {
                match action {
                    0 => { wheel.set(slot, now + Nanos::new(span)); model.insert(slot, now + Nanos::new(span)); }
                    1 => { wheel.clear(slot); model.remove(&slot); }
                    _ => {
                        now += Nanos::new(span / 8);
                        for slot in expired(&mut wheel, now) {
                            let at = model.remove(&slot).expect("only what is set expires");
                            prop_assert!(at <= now, "expired early");
                        }
                        for (slot, at) in &model {
                            prop_assert!(*at + Nanos::new(1 << TICK_BITS) > now, "slot {slot} was missed");
                        }
                        if let Some(first) = model.values().min() {
                            prop_assert!(wheel.next_wakeup() <= *first + Nanos::new(1 << TICK_BITS), "would oversleep");
                        }
                    }
                }
            }
        }
    }
}
